/* SPDX-License-Identifier: MIT */
/* What lives long or ends oddly, on the simulated machine: pool threads, handles, pins, nested
 * scopes, several runtimes. */
#include "runtime/atomic.h"
#include "runtime/clock.h"
#include "runtime/worker.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 3000
#define TASKS_MAX 6

static void dawdle(void) {
    switch (bnx_sim_draw(5)) {
    case 0:
        bnx_yield();
        break;
    case 1:
        (void)bnx_sleep(1 + bnx_sim_draw(200000));
        break;
    case 2:
        (void)bnx_checkpoint();
        break;
    default:
        break;
    }
}

static BNX_NOINLINE void scribble(void) {
    volatile unsigned char frame[768];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xee;
    }
}

/* ---- Offload threads that retire ---- */

#define IDLE_NS (5 * BNX_NS_PER_S) /* after which a pool thread ends */

static int nine(void *arg) {
    (void)arg;
    return 9;
}

static int offload_around_retirement(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_offload(nine, NULL), 9);
        CHECK_EQ(bnx_sleep(IDLE_NS - 100000 + bnx_sim_draw(200000)), 0);
    }
    return bnx_offload(nine, NULL);
}

static int retire(void *arg) {
    CHECK_EQ(seeds_bnx_run(offload_around_retirement, arg), 9);
    return 0;
}

/* A job comes just as the only thread of the pool gives up waiting for one. */
TEST(offload_thread_retires, "sim.offload_thread_retires") {
    seeds_run(SEEDS, retire);
}

/* ---- Handles ---- */

struct held {
    struct bnx_task *task;
    uint32_t joined; /* by whom is counted; any thread */
};

static int last(void *arg) {
    (void)arg;
    int error = bnx_sleep(1 + bnx_sim_draw(100000));
    CHECK(error == 0 || error == -ECANCELED);
    dawdle();
    return 11;
}

static int join_it(void *arg) {
    struct held *held = arg;
    dawdle();
    int result = 0;
    CHECK_EQ(bnx_join(held->task, &result), 0);
    CHECK_EQ(result, 11);
    scribble();
    (void)bnx_fetch_add_relaxed(&held->joined, 1); /* read after the close */
    return 0;
}

static int hold(void *arg) {
    (void)arg;
    struct held held = {0};
    struct bnx_task *root_task = NULL;
    struct bnx_scope scope;
    CHECK_EQ(bnx_spawn_with(NULL, NULL, last, NULL, &root_task), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, last, NULL, &held.task), 0);
    uint32_t count = bnx_sim_draw(3);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn(&scope, join_it, &held), 0);
    }
    dawdle();
    bnx_cancel(held.task, -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(held.joined, count);
    if (bnx_sim_draw(2) == 0) {
        bnx_cancel(root_task, -ECANCELED);
    }
    if (bnx_sim_draw(2) == 0) {
        bnx_task_detach(root_task);
    } else {
        CHECK_EQ(bnx_join(root_task, NULL), 0);
    }
    return 0;
}

static int handles(void *arg) {
    return seeds_bnx_run(hold, arg);
}

/* A task with a handle is joined, cancelled and detached at once: each joiner gets its result. */
TEST(handles, "sim.handles") {
    seeds_run(SEEDS, handles);
}

/* ---- Pins ---- */

static uint32_t here(void) {
    return bnx_worker_current()->index;
}

static int stay(void *arg) {
    uint32_t worker = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(here(), worker);
        dawdle();
        CHECK_EQ(here(), worker);
    }
    return 0;
}

static int stay_awhile(void *arg) {
    (void)arg;
    dawdle();
    bnx_pin_begin();
    uint32_t worker = here();
    dawdle();
    CHECK_EQ(here(), worker);
    bnx_pin_end();
    dawdle();
    return 0;
}

static int pin_some(void *arg) {
    (void)arg;
    uint32_t workers = bnx_runtime_worker_count(bnx_runtime_current());
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(TASKS_MAX); i > 0; i--) {
        struct bnx_spawn_options options = {.worker = bnx_sim_draw(workers),
                                            .flags = BNX_SPAWN_PINNED};
        void *worker = (void *)(uintptr_t)options.worker;
        CHECK_EQ(bnx_spawn_with(&scope, &options, stay, worker, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, stay_awhile, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int pinned(void *arg) {
    return seeds_bnx_run(pin_some, arg);
}

/* A pinned task comes back on its worker from every suspension, whoever wakes it and steals. */
TEST(pinned, "sim.pinned") {
    seeds_run(SEEDS, pinned);
}

/* ---- Nested scopes ---- */

struct tree {
    struct bnx_scope *root;
    uint32_t depth;
};

static int grow(void *arg) {
    struct tree tree = *(const struct tree *)arg;
    dawdle();
    if (tree.depth == 0) {
        int error = bnx_sleep_until(UINT64_MAX);
        scribble();
        CHECK_EQ(error, -ECANCELED);
        return error;
    }
    tree.depth--;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(2); i > 0; i--) {
        int error = bnx_spawn(&scope, grow, &tree);
        CHECK(error == 0 || error == -ECANCELED);
    }
    dawdle();
    int error = bnx_scope_close(&scope);
    scribble();
    CHECK(error == 0 || error == -ECANCELED);
    return -ECANCELED;
}

static int fell(void *arg) {
    struct tree *tree = arg;
    for (uint32_t i = bnx_sim_draw(4); i > 0; i--) {
        dawdle();
    }
    bnx_scope_cancel(tree->root, -ECANCELED);
    return 0;
}

static int grow_and_fell(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct tree tree = {&scope, 1 + bnx_sim_draw(3)};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bool is_first = bnx_sim_draw(2) == 0;
    CHECK_EQ(bnx_spawn(&scope, is_first ? fell : grow, &tree), 0);
    int error = bnx_spawn(&scope, is_first ? grow : fell, &tree);
    CHECK(error == 0 || (is_first && error == -ECANCELED));
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

static int nested_cancel(void *arg) {
    return seeds_bnx_run(grow_and_fell, arg);
}

/* A cancel comes down a tree of scopes that still grows: whoever waits for ever in it is found. */
TEST(nested_cancel, "sim.nested_cancel") {
    seeds_run(SEEDS, nested_cancel);
}

#define CROWD 150 /* more than one lock hold of the walk interrupts */

static int be_woken(void *arg) {
    (void)arg;
    int error = bnx_sleep_until(UINT64_MAX);
    CHECK_EQ(error, -ECANCELED);
    return error;
}

static int cancel_crowd(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(bnx_spawn(&scope, be_woken, NULL), 0);
    }
    dawdle();
    dawdle();
    bnx_scope_cancel(&scope, -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

static int crowd(void *arg) {
    return seeds_bnx_run(cancel_crowd, arg);
}

/* A cancel that gives its lock away between batches misses nobody, while members leave and come. */
TEST(crowd_cancel, "sim.crowd_cancel") {
    seeds_run(SEEDS / 10, crowd);
}

/* ---- Timers that are ended elsewhere ---- */

static int sleep_whole(void *arg) {
    (void)arg;
    uint64_t deadline_ns = bnx_now() + 1 + bnx_sim_draw(400000);
    int error = bnx_sleep_until(deadline_ns);
    CHECK(error == 0 || error == -ECANCELED);
    CHECK(error != 0 || bnx_now() >= deadline_ns);
    return 0;
}

static int cancel_later(void *arg) {
    CHECK_EQ(bnx_sleep(1 + bnx_sim_draw(200000)), 0);
    bnx_scope_cancel(arg, -ECANCELED);
    return 0;
}

static int sleep_in_rounds(void *arg) {
    (void)arg;
    for (uint32_t round = 1 + bnx_sim_draw(5); round > 0; round--) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, cancel_later, &scope), 0);
        for (uint32_t i = 1 + bnx_sim_draw(TASKS_MAX); i > 0; i--) {
            int error = bnx_spawn(&scope, sleep_whole, NULL);
            CHECK(error == 0 || error == -ECANCELED);
        }
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(bnx_sleep(1), 0);
    }
    return 0;
}

static int timer_rounds(void *arg) {
    return seeds_bnx_run(sleep_in_rounds, arg);
}

/* Timers end on other workers than the one whose wheel they are in, and their nodes are used again:
 * no sleep ends early and none is lost. */
TEST(timer_rounds, "sim.timer_rounds") {
    seeds_run(SEEDS, timer_rounds);
}

/* ---- Several runtimes ---- */

static int answer(void *arg) {
    struct bnx_future **futures = arg;
    CHECK_EQ(bnx_future_await(futures[0], NULL), 0);
    dawdle();
    CHECK_EQ(bnx_future_set(futures[1], NULL), 0);
    return 0;
}

static int ask(void *arg) {
    struct bnx_future **futures = arg;
    dawdle();
    CHECK_EQ(bnx_future_set(futures[0], NULL), 0);
    CHECK_EQ(bnx_future_await(futures[1], NULL), 0);
    return 0;
}

static int run_answer(void *arg) {
    return seeds_bnx_run(answer, arg);
}

static int two_runtimes(void *arg) {
    (void)arg;
    struct bnx_future *futures[2];
    CHECK_EQ(bnx_future_create(&futures[0]), 0);
    CHECK_EQ(bnx_future_create(&futures[1]), 0);
    int thread = bnx_sim_thread_start(run_answer, futures);
    CHECK(thread > 0);
    CHECK_EQ(seeds_bnx_run(ask, futures), 0);
    CHECK_EQ(bnx_sim_thread_join(thread), 0);
    bnx_future_unref(futures[0]);
    bnx_future_unref(futures[1]);
    return 0;
}

/* Tasks of two runtimes wake each other. */
TEST(two_runtimes, "sim.two_runtimes") {
    seeds_run(SEEDS, two_runtimes);
}

static int call(void *arg) {
    struct bnx_runtime *runtime = arg;
    CHECK_EQ(bnx_runtime_run(runtime, nine, NULL), 9);
    return 0;
}

static int many_callers(void *arg) {
    (void)arg;
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    int first = bnx_sim_thread_start(call, runtime);
    int second = bnx_sim_thread_start(call, runtime);
    CHECK_EQ(call(runtime), 0);
    CHECK_EQ(bnx_sim_thread_join(first), 0);
    CHECK_EQ(bnx_sim_thread_join(second), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    return 0;
}

/* Several threads run functions on one runtime at once; it is destroyed once no task is left. */
TEST(many_callers, "sim.many_callers") {
    seeds_run(SEEDS, many_callers);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
