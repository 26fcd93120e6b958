/* SPDX-License-Identifier: MIT */
/* The scheduler on the simulated machine: each claim holds under thousands of interleavings. */
#include "runtime/atomic.h"
#include "runtime/clock.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 3000
#define TASKS_MAX 8
#define ROUNDS_MAX 6

/* Something that takes a while, of which sort the seed says. */
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

/* The same for a thread: lets others run, or time pass. */
static void dawdle_on_thread(void) {
    for (uint32_t i = bnx_sim_draw(20); i > 0; i--) {
        bnx_pause();
    }
    if (bnx_sim_draw(2) == 0) {
        (void)bnx_sleep(1 + bnx_sim_draw(100000));
    }
}

/* Overwrites what a call before it has left on the stack: who still reads that reads nonsense. */
static BNX_NOINLINE void scribble(void) {
    volatile unsigned char frame[768];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xee;
    }
}

/* ---- Park and wake ---- */

struct rally {
    struct bnx_future *balls[2 * ROUNDS_MAX];
    uint32_t count;
};

/* Player `me` returns every other ball. */
static void play(struct rally *rally, uint32_t me) {
    for (uint32_t i = 0; i < rally->count; i++) {
        if (i % 2 == me) {
            dawdle();
            CHECK_EQ(bnx_future_set(rally->balls[i], NULL), 0);
        } else {
            CHECK_EQ(bnx_future_await(rally->balls[i], NULL), 0);
        }
    }
}

static int play_first(void *arg) {
    play(arg, 0);
    return 0;
}

static int play_second(void *arg) {
    play(arg, 1);
    return 0;
}

static void rally_init(struct rally *rally) {
    rally->count = 2 * (1 + bnx_sim_draw(ROUNDS_MAX));
    for (uint32_t i = 0; i < rally->count; i++) {
        CHECK_EQ(bnx_future_create(&rally->balls[i]), 0);
    }
}

static void rally_fini(struct rally *rally) {
    for (uint32_t i = 0; i < rally->count; i++) {
        bnx_future_unref(rally->balls[i]);
    }
}

static int play_both(void *arg) {
    (void)arg;
    struct rally rally;
    rally_init(&rally);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, play_first, &rally), 0);
    CHECK_EQ(bnx_spawn(&scope, play_second, &rally), 0);
    dawdle();
    CHECK_EQ(bnx_scope_close(&scope), 0);
    rally_fini(&rally);
    return 0;
}

static int park_wake(void *arg) {
    return seeds_bnx_run(play_both, arg);
}

/* Two tasks that wake each other in turn: no wake is lost, whoever sleeps. */
TEST(park_wake, "sim.park_wake") {
    seeds_run(SEEDS, park_wake);
}

static int remote_wake(void *arg) {
    (void)arg;
    struct rally rally;
    rally_init(&rally);
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    struct bnx_future *done = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, play_second, &rally, &done), 0);
    for (uint32_t i = 0; i < rally.count; i++) {
        if (i % 2 == 0) {
            dawdle_on_thread();
            CHECK_EQ(bnx_future_set(rally.balls[i], NULL), 0);
        } else {
            CHECK_EQ(bnx_future_await(rally.balls[i], NULL), 0);
        }
    }
    CHECK_EQ(bnx_future_await(done, NULL), 0);
    bnx_future_unref(done);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    rally_fini(&rally);
    return 0;
}

/* A task and a thread that is no worker wake each other in turn. */
TEST(remote_wake, "sim.remote_wake") {
    seeds_run(SEEDS, remote_wake);
}

/* ---- Spawn, steal, join, fork ---- */

static int work(void *arg) {
    uint32_t *sum = arg;
    dawdle();
    (void)bnx_fetch_add_relaxed(sum, 1); /* read after the join */
    return 7;
}

static int join_all(void *arg) {
    (void)arg;
    uint32_t sum = 0;
    struct bnx_task *tasks[TASKS_MAX];
    uint32_t count = 1 + bnx_sim_draw(TASKS_MAX);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, work, &sum, &tasks[i]), 0);
    }
    for (uint32_t i = bnx_sim_draw(count + 1); i < count; i++) {
        int result = 0;
        CHECK_EQ(bnx_join(tasks[i], &result), 0);
        CHECK_EQ(result, 7);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(sum, count);
    return 0;
}

static int steal_join(void *arg) {
    return seeds_bnx_run(join_all, arg);
}

/* Every spawned task runs once and every join returns its result, whoever has run it. */
TEST(steal_join, "sim.steal_join") {
    seeds_run(SEEDS, steal_join);
}

static int nest(void *arg) {
    uint32_t depth = *(const uint32_t *)arg;
    dawdle();
    if (depth == 0) {
        return 0;
    }
    uint32_t below = depth - 1;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(2); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&scope, nest, &below), 0);
    }
    int error = bnx_scope_close(&scope);
    scribble();
    return error;
}

static int inline_waits(void *arg) {
    (void)arg;
    uint32_t depth = 1 + bnx_sim_draw(3);
    return seeds_bnx_run(nest, &depth);
}

/* Children run on their parent's stack, wait there, and come back on any worker. */
TEST(inline_child_waits, "sim.inline_child_waits") {
    seeds_run(SEEDS, inline_waits);
}

static int fibonacci(void *arg) {
    uint32_t n = (uint32_t)(uintptr_t)arg;
    if (n < 2) {
        if (bnx_sim_draw(4) == 0) {
            dawdle();
        }
        return (int)n;
    }
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, fibonacci, (void *)(uintptr_t)(n - 1)), 0);
    int second = fibonacci((void *)(uintptr_t)(n - 2));
    if (bnx_sim_draw(4) == 0) {
        dawdle();
    }
    return bnx_fork_join(&fork) + second;
}

static int fork_tree(void *arg) {
    (void)arg;
    CHECK_EQ(seeds_bnx_run(fibonacci, (void *)(uintptr_t)6), 8);
    return 0;
}

/* A tree of forks gives the right sum: each fork runs once and its joiner sees its result. */
TEST(fork_tree, "sim.fork_tree") {
    seeds_run(SEEDS, fork_tree);
}

/* ---- Cancel ---- */

struct duel {
    struct bnx_future *future;
    struct bnx_scope *scope;
};

static int await_or_cancelled(void *arg) {
    struct duel *duel = arg;
    int error = bnx_future_await(duel->future, NULL);
    scribble();
    CHECK(error == 0 || error == -ECANCELED);
    return error;
}

static int set_future(void *arg) {
    struct duel *duel = arg;
    dawdle();
    CHECK_EQ(bnx_future_set(duel->future, NULL), 0);
    return 0;
}

static int cancel_scope(void *arg) {
    struct duel *duel = arg;
    dawdle();
    bnx_scope_cancel(duel->scope, -ECANCELED);
    return 0;
}

/* The canceller is a child of the scope, so the scope lives; the setter is not: it acts anyway. */
static void fight_once(void) {
    struct duel duel = {0};
    struct bnx_scope outer, inner;
    CHECK_EQ(bnx_future_create(&duel.future), 0);
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
    duel.scope = &inner;
    for (uint32_t i = 1 + bnx_sim_draw(3); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&inner, await_or_cancelled, &duel), 0);
    }
    CHECK_EQ(bnx_spawn(&inner, cancel_scope, &duel), 0);
    CHECK_EQ(bnx_spawn(&outer, set_future, &duel), 0);
    if (bnx_sim_draw(2) == 0) {
        bnx_yield();
    }
    CHECK_EQ(bnx_scope_close(&inner), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    bnx_future_unref(duel.future);
}

static int fight(void *arg) {
    (void)arg;
    for (uint32_t i = 1 + bnx_sim_draw(ROUNDS_MAX); i > 0; i--) {
        fight_once();
    }
    return 0;
}

static int set_against_cancel(void *arg) {
    return seeds_bnx_run(fight, arg);
}

/* A future is set while its waiters are cancelled: each ends once, and the setter touches no frame
 * that is left. */
TEST(future_set_vs_cancel, "sim.future_set_vs_cancel") {
    seeds_run(SEEDS, set_against_cancel);
}

static int wait_for_ever(void *arg) {
    struct duel *duel = arg;
    int error;
    switch (bnx_sim_draw(4)) {
    case 0:
        error = bnx_sleep_until(UINT64_MAX);
        break;
    case 1:
        error = bnx_sleep(3600 * BNX_NS_PER_S);
        break;
    case 2: {
        struct bnx_scope scope;
        error = bnx_scope_open(&scope, NULL);
        CHECK_EQ(error, 0);
        error = bnx_spawn(&scope, await_or_cancelled, duel);
        CHECK(error == 0 || error == -ECANCELED);
        error = bnx_scope_close(&scope);
        CHECK(error == 0 || error == -ECANCELED);
        error = -ECANCELED;
        break;
    }
    default:
        error = bnx_future_await(duel->future, NULL);
        break;
    }
    scribble();
    CHECK_EQ(error, -ECANCELED);
    return error;
}

static int cancel_blocked(void *arg) {
    (void)arg;
    struct duel duel = {0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&duel.future), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    duel.scope = &scope;
    uint32_t count = 1 + bnx_sim_draw(4);
    uint32_t canceller = bnx_sim_draw(count + 1);
    for (uint32_t i = 0; i <= count; i++) {
        int error = bnx_spawn(&scope, i == canceller ? cancel_scope : wait_for_ever, &duel);
        CHECK(error == 0 || error == -ECANCELED);
        if (error != 0) {
            CHECK(i > canceller);
        }
        dawdle();
    }
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    bnx_future_unref(duel.future);
    return 0;
}

static int cancel_against_block(void *arg) {
    return seeds_bnx_run(cancel_blocked, arg);
}

/* Tasks go to wait for ever while their scope is cancelled: every one of them is woken. */
TEST(scope_cancel_vs_block, "sim.scope_cancel_vs_block") {
    seeds_run(SEEDS, cancel_against_block);
}

struct remote {
    struct bnx_scope *scope; /* any thread; NULL until it is open */
    uint32_t is_cancelled;   /* set after the cancel: the scope may be closed */
};

static int sleep_a_while(void *arg) {
    (void)arg;
    int error = bnx_sleep(1 + bnx_sim_draw(200000));
    CHECK(error == 0 || error == -ECANCELED);
    return 0;
}

static int sleepers(void *arg) {
    struct remote *remote = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(4); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&scope, sleep_a_while, NULL), 0);
    }
    bnx_store_release(&remote->scope, &scope);
    while (bnx_load_acquire(&remote->is_cancelled) == 0) { /* ends with the canceller's thread */
        bnx_yield();
    }
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    scribble();
    return 0;
}

static int cancel_from_afar(void *arg) {
    struct remote *remote = arg;
    struct bnx_scope *scope;
    while ((scope = bnx_load_acquire(&remote->scope)) == NULL) { /* ends: the task publishes it */
        (void)bnx_sleep(1000);
    }
    dawdle_on_thread();
    bnx_scope_cancel(scope, -ECANCELED);
    bnx_store_release(&remote->is_cancelled, 1);
    return 0;
}

static int sleep_remote_cancel(void *arg) {
    (void)arg;
    struct remote remote = {0};
    int thread = bnx_sim_thread_start(cancel_from_afar, &remote);
    CHECK(thread > 0);
    CHECK_EQ(seeds_bnx_run(sleepers, &remote), 0);
    return bnx_sim_thread_join(thread);
}

/* Sleeping tasks are cancelled by a thread that is no worker about when their timers fire. */
TEST(sleep_remote_cancel, "sim.sleep_remote_cancel") {
    seeds_run(SEEDS, sleep_remote_cancel);
}

static int sleep_past(void *arg) {
    (void)arg;
    int error = bnx_sleep(1 + bnx_sim_draw(400000));
    CHECK(error == 0 || error == -ETIMEDOUT);
    return 0;
}

static int race_deadline(void *arg) {
    (void)arg;
    uint64_t begin_ns = bnx_now();
    struct bnx_scope_options options = {.deadline_ns = begin_ns + 1 + bnx_sim_draw(400000)};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (uint32_t i = 1 + bnx_sim_draw(3); i > 0; i--) {
        int error = bnx_spawn(&scope, sleep_past, NULL);
        CHECK(error == 0 || error == -ECANCELED);
    }
    int own = bnx_sim_draw(2) == 0 ? bnx_sleep(1 + bnx_sim_draw(400000)) : 0;
    CHECK(own == 0 || own == -ETIMEDOUT);
    int error = bnx_scope_close(&scope);
    scribble();
    CHECK(error == 0 || error == -ETIMEDOUT);
    CHECK(error == 0 || bnx_now() >= options.deadline_ns);
    return 0;
}

static int deadline(void *arg) {
    (void)arg;
    for (uint32_t i = 1 + bnx_sim_draw(3); i > 0; i--) {
        CHECK_EQ(seeds_bnx_run(race_deadline, NULL), 0);
    }
    return 0;
}

/* A scope's deadline comes while its tasks end by themselves; it never comes early. */
TEST(deadline, "sim.deadline") {
    seeds_run(SEEDS / 2, deadline);
}

/* ---- Offload, stop ---- */

static int block(void *arg) {
    uint32_t *sum = arg;
    CHECK(bnx_runtime_current() == NULL); /* not on a worker */
    dawdle_on_thread();
    (void)bnx_fetch_add_relaxed(sum, 1); /* read after the close */
    return 5;
}

static int offload_some(void *arg) {
    for (uint32_t i = 1 + bnx_sim_draw(3); i > 0; i--) {
        int result = bnx_offload(block, arg);
        scribble();
        CHECK(result == 5 || result == -ECANCELED);
        dawdle();
    }
    return 0;
}

static int offload_all(void *arg) {
    (void)arg;
    uint32_t sum = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    uint32_t count = 1 + bnx_sim_draw(4);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn(&scope, offload_some, &sum), 0);
    }
    bool is_cancelled = bnx_sim_draw(2) == 0;
    if (is_cancelled) {
        dawdle();
        bnx_scope_cancel(&scope, -ECANCELED);
    }
    CHECK_EQ(bnx_scope_close(&scope), is_cancelled ? -ECANCELED : 0);
    CHECK(is_cancelled || sum >= count);
    return 0;
}

static int offload(void *arg) {
    struct bnx_options options = seeds_options();
    options.offload_threads_max = 1 + bnx_sim_draw(3);
    return bnx_run(&options, offload_all, arg);
}

/* Tasks move to the pool and back while they are cancelled; each job runs at most once. */
TEST(offload, "sim.offload") {
    seeds_run(SEEDS, offload);
}

static int live(void *arg) {
    struct duel *duel = arg;
    for (int i = 0; i < 3; i++) {
        dawdle();
    }
    int error = bnx_spawn(NULL, await_or_cancelled, duel);
    CHECK(error == 0 || error == -ESHUTDOWN || error == -ECANCELED);
    return await_or_cancelled(duel);
}

static int stop_it(void *arg) {
    dawdle_on_thread();
    return bnx_runtime_stop(arg);
}

static int stop_anywhere(void *arg) {
    (void)arg;
    struct duel duel = {0};
    CHECK_EQ(bnx_future_create(&duel.future), 0);
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    int thread = bnx_sim_thread_start(stop_it, runtime);
    CHECK(thread > 0);
    for (uint32_t i = bnx_sim_draw(4); i > 0; i--) {
        int error = bnx_runtime_spawn(runtime, live, &duel, NULL);
        CHECK(error == 0 || error == -ESHUTDOWN);
    }
    CHECK_EQ(bnx_sim_thread_join(thread), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    bnx_future_unref(duel.future);
    return 0;
}

/* A runtime is stopped while tasks are spawned into it: each spawn is refused, or its task ends. */
TEST(stop_anywhere, "sim.stop_anywhere") {
    seeds_run(SEEDS, stop_anywhere);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
