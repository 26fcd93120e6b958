/* SPDX-License-Identifier: MIT */
/* Cancels and stops under load: against tasks that are about to wait, at any time, with foreign
 * sets. */
#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <stdio.h>

/* ---- Cancel against block ---- */

#define BLOCKERS 16

struct block {
    struct bnx_scope scope;
    struct bnx_task *tasks[BLOCKERS];
    struct bnx_future *never;
    uint64_t ended;     /* blockers that have come back */
    uint64_t arrived;   /* blockers that are about to wait */
    uint64_t helped;    /* cancels by a task that are through */
    uint32_t may_start; /* futex: rounds that the foreign canceller may begin */
    uint32_t finished;  /* futex: rounds that it has finished */
    uint64_t rounds;
};

static int block_once(void *arg) {
    struct block *block = arg;
    uint64_t place = bnx_fetch_add_acq_rel(&block->arrived, 1);
    int error = place % 2 == 0 ? bnx_sleep_until(UINT64_MAX) : bnx_future_await(block->never, NULL);
    CHECK_EQ(error, -ECANCELED);
    bnx_fetch_add_acq_rel(&block->ended, 1);
    return error;
}

static void wait_arrived(const struct block *block, uint64_t count) {
    while (bnx_load_acquire(&block->arrived) < count) { /* ends: they come by themselves */
        bnx_os.thread_yield();
    }
}

static void foreign_canceller(void *arg) {
    struct block *block = arg;
    for (uint64_t round = 0; round < block->rounds; round++) {
        sched_wait_post(&block->may_start, (uint32_t)round + 1);
        wait_arrived(block, 1 + round % BLOCKERS);
        if (round % 2 == 0) {
            bnx_scope_cancel(&block->scope, 0);
        } else {
            for (int i = 0; i < BLOCKERS; i++) {
                bnx_cancel(block->tasks[i], 0);
            }
        }
        sched_post(&block->finished);
    }
}

static int cancel_when_some(void *arg) {
    struct block *block = arg;
    while (bnx_load_acquire(&block->arrived) < 5) { /* ends: as wait_arrived */
        bnx_yield();
    }
    bnx_scope_cancel(&block->scope, 0);
    bnx_fetch_add_acq_rel(&block->helped, 1);
    return 0;
}

/* One round: blockers on their way to wait, cancelled by the foreign thread and, in some rounds, by
 * a task on another worker as well. */
static void block_round(struct block *block, uint64_t round) {
    struct bnx_scope outer;
    bnx_store_relaxed(&block->ended, 0);
    bnx_store_relaxed(&block->arrived, 0);
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&block->scope, NULL), 0);
    for (int i = 0; i < BLOCKERS; i++) {
        CHECK_EQ(bnx_spawn_with(&block->scope, NULL, block_once, block, &block->tasks[i]), 0);
    }
    uint64_t helped = bnx_load_relaxed(&block->helped);
    if (round % 4 < 2) {
        CHECK_EQ(bnx_spawn(&outer, cancel_when_some, block), 0);
        helped++;
    }
    sched_post(&block->may_start);
    while (bnx_load_acquire(&block->ended) < BLOCKERS) { /* ends: each is cancelled */
        bnx_yield();
    }
    /* The cancellers may use scope and handles until they say that they are through. */
    while (bnx_load_acquire(&block->finished) <= round) {
        bnx_yield();
    }
    sched_await_count(&block->helped, helped);
    /* Where only the tasks were cancelled, the scope was not. */
    bool is_cancelled = round % 2 == 0 || round % 4 < 2;
    CHECK_EQ(bnx_scope_close(&block->scope), is_cancelled ? -ECANCELED : 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    CHECK_EQ(bnx_load_relaxed(&block->ended), BLOCKERS);
}

static int block_rounds(void *arg) {
    struct block *block = arg;
    for (uint64_t round = 0; round < block->rounds; round++) {
        block_round(block, round);
    }
    return 0;
}

/* Claim: a cancel that meets a task on its way to wait is not lost, and ends the wait exactly once.
 * Method: three workers; scopes and single tasks cancelled by a foreign thread and from another
 * worker while the tasks arrive; a lost cancel hangs. */
TEST(task_cancel_against_block, "task.cancel_against_block") {
    struct block block = {.rounds = bnx_test_scale(10000)};
    struct bnx_os_thread thread;
    CHECK_EQ(bnx_future_create(&block.never), 0);
    sched_thread_start(&thread, foreign_canceller, &block);
    sched_run(3, block_rounds, &block);
    sched_thread_join(&thread);
    bnx_future_unref(block.never);
}

/* ---- Stop at any time ---- */

struct traffic {
    uint64_t seed;
    uint64_t started; /* functions called */
    uint64_t ended;   /* and returned from */
};

static int traffic_offload(void *arg) {
    bnx_os.thread_yield();
    return arg == NULL ? -EINVAL : 0;
}

static int traffic_fork(void *arg) {
    struct traffic *traffic = arg;
    bnx_fetch_add_relaxed(&traffic->started, 1);
    bnx_yield();
    bnx_fetch_add_relaxed(&traffic->ended, 1);
    return 0;
}

static int traffic_leaf(void *arg) {
    struct traffic *traffic = arg;
    bnx_fetch_add_relaxed(&traffic->started, 1);
    (void)bnx_sleep(20000);
    bnx_fetch_add_relaxed(&traffic->ended, 1);
    return 0;
}

static void traffic_round(struct traffic *traffic) {
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + 30000};
    struct bnx_scope scope;
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, traffic_fork, traffic), 0);
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    for (int i = 0; i < 4; i++) {
        int error = bnx_spawn(&scope, traffic_leaf, traffic);
        CHECK(error == 0 || error == -ECANCELED);
    }
    (void)bnx_offload(traffic_offload, traffic);
    (void)bnx_scope_close(&scope);
    CHECK_EQ(bnx_fork_join(&fork), 0);
}

static int traffic_root(void *arg) {
    struct traffic *traffic = arg;
    bnx_fetch_add_relaxed(&traffic->started, 1);
    while (bnx_checkpoint() == 0) { /* ends with the stop */
        traffic_round(traffic);
        int error = bnx_spawn(NULL, traffic_leaf, traffic);
        CHECK(error == 0 || error == -ESHUTDOWN);
    }
    bnx_fetch_add_relaxed(&traffic->ended, 1);
    return -ECANCELED;
}

static void stop_once(uint64_t seed, uint64_t round) {
    struct bnx_rng rng;
    struct traffic traffic = {.seed = seed};
    bnx_rng_init(&rng, seed, round);
    struct bnx_runtime *runtime = sched_create(sched_worker_counts[round % SCHED_WORKER_COUNTS]);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(bnx_runtime_spawn(runtime, traffic_root, &traffic, NULL), 0);
    }
    uint64_t count = bnx_rng_below(&rng, 100);
    while (bnx_load_relaxed(&traffic.started) < count) { /* ends: the traffic goes on */
        bnx_os.thread_yield();
    }
    sched_destroy(runtime);
    CHECK_EQ(traffic.started, traffic.ended);
}

/* Claim: a stop at any time ends everything: sleeps, deadlines, forks, the offload pool, spawns.
 * Method: stops after a random amount of traffic; each must end, and every function called has
 * returned. */
TEST(runtime_stop_any_time, "runtime.stop_any_time") {
    uint64_t seed = bnx_test_seed();
    uint64_t rounds = bnx_test_scale(1000);
    for (uint64_t round = 0; round < rounds; round++) {
        stop_once(seed, round);
    }
}

/* ---- Foreign sets while the runtime stops ---- */

#define PROMISES 32

struct promises {
    struct bnx_future *futures[PROMISES];
    uint64_t waiting;
    uint64_t woken;
};

struct promise_arg {
    struct promises *promises;
    uint64_t index;
};

static int await_promise(void *arg) {
    struct promise_arg *mine = arg;
    struct bnx_future *future = mine->promises->futures[mine->index];
    void *value = NULL;
    bnx_fetch_add_acq_rel(&mine->promises->waiting, 1);
    int error = bnx_future_await(future, &value);
    CHECK(error == -ECANCELED || (error == 0 && value == mine->promises));
    bnx_future_unref(future);
    bnx_fetch_add_relaxed(&mine->promises->woken, 1);
    return error;
}

static int await_promises(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < PROMISES; i++) {
        struct promise_arg mine = {arg, i};
        CHECK_EQ(bnx_spawn_copy(&scope, await_promise, &mine, sizeof(mine)), 0);
    }
    int error = bnx_scope_close(&scope);
    CHECK(error == 0 || error == -ECANCELED);
    return 0;
}

struct setter {
    struct bnx_os_thread thread;
    struct bnx_future *futures[PROMISES]; /* one reference each */
    struct promises *promises;
};

static void set_promises(void *arg) {
    struct setter *setter = arg;
    for (int i = 0; i < PROMISES; i++) {
        int error = bnx_future_set(setter->futures[i], setter->promises);
        CHECK(error == 0 || error == -EALREADY);
        bnx_future_unref(setter->futures[i]);
    }
}

static void set_during_stop(uint64_t round) {
    struct promises promises = {.waiting = 0};
    struct setter setters[2];
    struct bnx_runtime *runtime = sched_create(2);
    for (int i = 0; i < PROMISES; i++) {
        CHECK_EQ(bnx_future_create(&promises.futures[i]), 0);
        for (int setter = 0; setter < 2; setter++) {
            setters[setter].futures[i] = bnx_future_ref(promises.futures[i]);
        }
    }
    CHECK_EQ(bnx_runtime_spawn(runtime, await_promises, &promises, NULL), 0);
    while (bnx_load_acquire(&promises.waiting) < PROMISES) { /* ends: they come by themselves */
        bnx_os.thread_yield();
    }
    for (int i = 0; i < 2; i++) {
        setters[i].promises = &promises;
        sched_thread_start(&setters[i].thread, set_promises, &setters[i]);
    }
    if (round % 2 == 0) {
        CHECK_EQ(bnx_runtime_stop(runtime), 0);
    }
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0); /* while setters may still be at it */
    CHECK_EQ(promises.woken, PROMISES);
    for (int i = 0; i < 2; i++) {
        sched_thread_join(&setters[i].thread);
    }
}

/* Claim: foreign threads may set futures while the runtime whose tasks wait for them stops and is
 * destroyed: each waiter has one outcome, and nobody touches the runtime afterwards. Method: two
 * setters against stop, wait and destroy; in every other round nobody stops, so that the last set
 * is what lets the destroy begin. */
TEST(future_foreign_set, "future.foreign_set_during_stop") {
    uint64_t rounds = bnx_test_scale(2000);
    for (uint64_t round = 0; round < rounds; round++) {
        set_during_stop(round);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
