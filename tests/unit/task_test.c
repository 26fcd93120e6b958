/* SPDX-License-Identifier: MIT */
/* Claims about single tasks: how they start, wait, move between workers, are joined, given up. */
#include "runtime/thread_wait.h"
#include "tests/support/sched.h"

#include <stdio.h>

static int count_up(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1); /* read after the close or the run */
    return 0;
}

static int return_number(void *arg) {
    return (int)(intptr_t)arg;
}

static void *as_arg(int number) {
    return (void *)(intptr_t)number;
}

/* ---- Each way to spawn runs the function once ---- */

#define SPAWNS 1000

static int spawn_all_ways(void *arg) {
    uint64_t *counts = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < SPAWNS; i++) {
        CHECK_EQ(bnx_spawn(&scope, count_up, &counts[0]), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, count_up, &counts[1], NULL), 0);
        if (i % 7 == 0) {
            bnx_yield();
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_load_relaxed(&counts[0]), SPAWNS);
    CHECK_EQ(bnx_load_relaxed(&counts[1]), SPAWNS);
    for (int i = 0; i < SPAWNS; i++) {
        CHECK_EQ(bnx_spawn(NULL, count_up, &counts[2]), 0);
    }
    return 0;
}

/* Claim: a task runs exactly once, whichever way it was spawned and wherever it was taken from.
 * Method: children of a scope, with and without options, and of the root scope, counted. */
TEST(task_runs_once, "task.runs_once") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        uint64_t counts[3] = {0};
        sched_run(sched_worker_counts[i], spawn_all_ways, counts);
        CHECK_EQ(counts[2], SPAWNS);
    }
}

/* Claim: bnx_run and bnx_runtime_run return fn's value, errors included, again and again. */
TEST(task_result, "task.result_is_returned") {
    struct bnx_runtime *runtime = sched_create(2);
    CHECK_EQ(bnx_runtime_run(runtime, return_number, as_arg(7)), 7);
    CHECK_EQ(bnx_runtime_run(runtime, return_number, as_arg(-EIO)), -EIO);
    CHECK_EQ(bnx_runtime_run(runtime, return_number, as_arg(INT_MAX)), INT_MAX);
    sched_destroy(runtime);
    CHECK_EQ(bnx_run(NULL, return_number, as_arg(-3)), -3);
}

/* ---- States ---- */

struct two_sides {
    struct sched_bell bell;
    struct bnx_task *other;
};

static int wait_for_bell(void *arg) {
    struct two_sides *sides = arg;
    CHECK_EQ(bnx_task_state(bnx_task_self()), BNX_TASK_RUNNING);
    sched_bell_wait(&sides->bell);
    return 5;
}

static int see_parent_beneath(void *arg) {
    CHECK_EQ(bnx_task_state(arg), BNX_TASK_BENEATH);
    return 0;
}

static void await_state(const struct bnx_task *task, enum bnx_task_state state) {
    while (bnx_task_state(task) != state) { /* ends: the task gets there by itself */
        bnx_yield();
    }
}

static int walk_states(void *arg) {
    (void)arg;
    struct two_sides sides = {.bell = {SCHED_BELL_SILENT}};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_for_bell, &sides, &sides.other), 0);
    CHECK_EQ(bnx_task_state(sides.other), BNX_TASK_NEW); /* one worker: nobody can have taken it */
    CHECK_EQ(bnx_task_stack_used(sides.other), 0);
    await_state(sides.other, BNX_TASK_PARKED);
    CHECK(bnx_task_stack_used(sides.other) > 0);
    sched_bell_ring(&sides.bell);
    CHECK_EQ(bnx_task_state(sides.other), BNX_TASK_READY);
    await_state(sides.other, BNX_TASK_DONE);
    int result = 0;
    CHECK_EQ(bnx_join(sides.other, &result), 0);
    CHECK_EQ(result, 5);
    CHECK_EQ(bnx_spawn(&scope, see_parent_beneath, bnx_task_self()), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a handle shows each state of a task's life, and costs no stack before the start. Method:
 * one worker, so that each state is there when it is looked at. */
TEST(task_states, "task.states") {
    sched_run(1, walk_states, NULL);
}

/* ---- Joining and giving up ---- */

static int yield_some(void *arg) {
    for (int i = 0; i < 5; i++) {
        bnx_yield();
    }
    return (int)(intptr_t)arg;
}

#define JOINED 200

static int join_all(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < JOINED; i++) {
        struct bnx_task *child = NULL;
        struct bnx_task *root = NULL;
        int result = -1;
        CHECK_EQ(bnx_spawn_with(&scope, NULL, yield_some, as_arg(i), &child), 0);
        CHECK_EQ(bnx_spawn_with(NULL, NULL, yield_some, as_arg(i + 1), &root), 0);
        CHECK(bnx_task_id(child) != 0 && bnx_task_id(child) != bnx_task_id(root));
        CHECK_EQ(bnx_join(child, &result), 0);
        CHECK_EQ(result, i);
        CHECK_EQ(bnx_join(child, NULL), 0); /* a scope's handle lives on until the close */
        CHECK_EQ(bnx_join(root, &result), 0);
        CHECK_EQ(result, i + 1);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: join returns the task's value, of a scope's task more than once, of a root task once. */
TEST(task_join, "task.join_returns_result") {
    sched_run_each(join_all, NULL);
}

struct never_lost {
    uint64_t ended; /* tasks that have come to their end */
};

static int end_late(void *arg) {
    struct never_lost *lost = arg;
    yield_some(NULL);
    bnx_fetch_add_relaxed(&lost->ended, 1);
    return 0;
}

#define LOST 500

static int detach_all(void *arg) {
    for (int i = 0; i < LOST; i++) {
        struct bnx_task *task = NULL;
        CHECK_EQ(bnx_spawn_with(NULL, NULL, end_late, arg, &task), 0);
        if (i % 2 != 0) {
            bnx_yield(); /* some have ended before they are given up */
        }
        bnx_task_detach(task);
        struct bnx_future *future = NULL;
        CHECK_EQ(bnx_runtime_spawn(bnx_runtime_current(), end_late, arg, &future), 0);
        bnx_future_unref(future);
    }
    return 0;
}

static void *(*real_allocate)(size_t bytes, size_t alignment);
static void (*real_release)(void *block);
static uint64_t blocks; /* of the heap, in use */

static void *counted_allocate(size_t bytes, size_t alignment) {
    bnx_fetch_add_relaxed(&blocks, 1);
    return real_allocate(bytes, alignment);
}

static void counted_release(void *block) {
    if (block != NULL) {
        bnx_fetch_sub_relaxed(&blocks, 1);
    }
    real_release(block);
}

/* Claim: a task whose handle was detached or whose future was dropped runs to its end, once, and
 * what it was made of is given back. */
TEST(task_never_lost, "task.never_lost") {
    bnx_thread_block_give(bnx_thread_block_take()); /* is never freed, only used again */
    real_allocate = bnx_os.allocate;
    real_release = bnx_os.release;
    bnx_os.allocate = counted_allocate;
    bnx_os.release = counted_release;
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct never_lost lost = {0};
        sched_run(sched_worker_counts[i], detach_all, &lost);
        CHECK_EQ(lost.ended, 2 * LOST);
        CHECK_EQ(blocks, 0);
    }
}

/* ---- The limit ---- */

/* Free descriptors that other workers may keep in their caches, so many tasks fewer fit. */
static uint32_t cached_max(uint32_t worker_count) {
    return worker_count * 2 * (uint32_t)BNX_POOL_BATCH;
}

#define LIVE_MAX 100 /* that fit in any case */

static struct bnx_options limited(uint32_t worker_count) {
    return (struct bnx_options){
        .worker_count = worker_count, .tasks_max = cached_max(worker_count) + LIVE_MAX, .seed = 1};
}

/* Claim: the descriptor of every task comes back, also of one that was detached. Method: a limit on
 * descriptors, and many times more tasks than that, a few at a time. */
TEST(task_descriptors, "task.descriptors_come_back") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct never_lost lost = {0};
        struct bnx_options options = limited(sched_worker_counts[i]);
        struct bnx_runtime *runtime = NULL;
        CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
        uint64_t spawned = 0;
        while (spawned < 3 * (uint64_t)options.tasks_max) {
            for (int task = 0; task < LIVE_MAX; task++) {
                CHECK_EQ(bnx_runtime_spawn(runtime, end_late, &lost, NULL), 0);
            }
            spawned += LIVE_MAX;
            CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
            CHECK_EQ(bnx_load_relaxed(&lost.ended), spawned);
        }
        sched_destroy(runtime);
    }
}

static void spawn_to_limit(struct two_sides *sides, uint32_t tasks_max) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    uint32_t count = 0;
    int error = 0;
    /* Ends: this task is one of tasks_max. */
    while ((error = bnx_spawn(&scope, wait_for_bell, &sides[count])) == 0) {
        count++;
        CHECK(count < tasks_max);
    }
    CHECK_EQ(error, -EAGAIN);
    CHECK(count >= LIVE_MAX - 1);
    CHECK_EQ(bnx_spawn_copy(&scope, return_number, &count, sizeof(count)), -EAGAIN);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, return_number, NULL, NULL), -EAGAIN);
    CHECK_EQ(bnx_spawn(NULL, return_number, NULL), -EAGAIN);
    for (uint32_t i = 0; i < count; i++) {
        sched_bell_ring(&sides[i].bell);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static int reach_limit(void *arg) {
    const struct bnx_options *options = arg;
    size_t bytes = sizeof(struct two_sides) * options->tasks_max;
    struct two_sides *sides = bnx_os.allocate(bytes, 16);
    CHECK(sides != NULL);
    for (int round = 0; round < 3; round++) {
        memset(sides, 0, bytes);
        spawn_to_limit(sides, options->tasks_max);
    }
    bnx_os.release(sides);
    return 0;
}

/* Claim: beyond tasks_max a spawn is -EAGAIN, the function is not called, and when tasks have ended
 * spawning works again. Method: tasks that wait, up to the limit, three times. */
TEST(task_limit, "task.limit_is_eagain") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = limited(sched_worker_counts[i]);
        CHECK_EQ(bnx_run(&options, reach_limit, &options), 0);
    }
}

/* ---- Wrong use ---- */

static int misuse(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    char large[8];
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_spawn(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_spawn_copy(&scope, count_up, large, 65537), -EINVAL);
    CHECK_EQ(bnx_spawn_copy(&scope, count_up, NULL, 1), -EINVAL);
    CHECK_EQ(bnx_spawn_copy(&scope, NULL, large, 1), -EINVAL);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, NULL, NULL, &task), -EINVAL);
    struct bnx_spawn_options flag = {.flags = 1u << 31};
    CHECK_EQ(bnx_spawn_with(&scope, &flag, count_up, NULL, &task), -EINVAL);
    struct bnx_spawn_options stack = {.stack = (enum bnx_stack_class)77};
    CHECK_EQ(bnx_spawn_with(&scope, &stack, count_up, NULL, &task), -EINVAL);
    struct bnx_spawn_options worker = {.flags = BNX_SPAWN_PINNED, .worker = sched_worker_count()};
    CHECK_EQ(bnx_spawn_with(&scope, &worker, count_up, NULL, &task), -EINVAL);
    CHECK(task == NULL);
    CHECK_EQ(bnx_join(bnx_task_self(), NULL), -EDEADLK);
    CHECK_EQ(bnx_runtime_run(bnx_runtime_current(), return_number, NULL), -EDEADLK);
    CHECK_EQ(bnx_runtime_wait(bnx_runtime_current(), 0), -EDEADLK);
    CHECK_EQ(bnx_runtime_destroy(bnx_runtime_current()), -EDEADLK);
    CHECK_EQ(bnx_run(NULL, return_number, NULL), -EDEADLK);
    CHECK_EQ(bnx_parallel_for(1, 0, 1, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_parallel_for(0, 1, 1, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: wrong arguments are refused with the documented code and change nothing; calls that need a
 * task are -EPERM off one, calls that would wait for themselves -EDEADLK on one. */
TEST(task_misuse, "task.misuse_is_refused") {
    sched_run(2, misuse, NULL);
    struct bnx_scope scope;
    struct bnx_fork fork;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), -EPERM);
    CHECK_EQ(bnx_spawn(&scope, return_number, NULL), -EPERM);
    CHECK_EQ(bnx_spawn_copy(&scope, return_number, NULL, 0), -EPERM);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, return_number, NULL, &task), -EPERM);
    CHECK_EQ(bnx_fork(&fork, return_number, NULL), -EPERM);
    CHECK_EQ(bnx_dump(1), -EPERM);
    CHECK_EQ(bnx_checkpoint(), 0);
    CHECK(bnx_task_self() == NULL && bnx_runtime_current() == NULL);
    bnx_yield();
    bnx_pin_begin();
    bnx_pin_end();
    CHECK_EQ(bnx_runtime_spawn(NULL, return_number, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_runtime_run(NULL, return_number, NULL), -EINVAL);
    CHECK_EQ(bnx_runtime_destroy(NULL), 0);
    struct bnx_runtime *runtime = NULL;
    struct bnx_options many = {.worker_count = 257};
    CHECK_EQ(bnx_runtime_create(&many, &runtime), -EINVAL);
    struct bnx_options unknown = {.flags = 1u << 31};
    CHECK_EQ(bnx_runtime_create(&unknown, &runtime), -EINVAL);
    CHECK_EQ(bnx_run(&unknown, return_number, NULL), -EINVAL);
    CHECK(runtime == NULL);
    runtime = sched_create(1);
    CHECK_EQ(bnx_runtime_spawn(runtime, NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_runtime_run(runtime, NULL, NULL), -EINVAL);
    sched_destroy(runtime);
}

/* ---- Arguments ---- */

struct large {
    uint64_t words[512];
};

static int check_large(void *arg) {
    const struct large *large = arg;
    for (uint64_t i = 1; i < BNX_ARRAY_COUNT(large->words); i++) {
        CHECK_EQ(large->words[i], large->words[0] + i);
    }
    return 0;
}

static int check_small(void *arg) {
    const uint64_t *pair = arg;
    CHECK_EQ(pair[1], pair[0] + 1);
    return 0;
}

static int end_at_once(void *arg) {
    CHECK(arg != NULL);
    return 0;
}

static int copy_arguments(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t pair[2] = {i, i + 1};
        struct large large;
        for (uint64_t word = 0; word < BNX_ARRAY_COUNT(large.words); word++) {
            large.words[word] = i + word;
        }
        CHECK_EQ(bnx_spawn_copy(&scope, check_small, pair, sizeof(pair)), 0);
        CHECK_EQ(bnx_spawn_copy(&scope, check_large, &large, sizeof(large)), 0);
    }
    CHECK_EQ(bnx_spawn_copy(&scope, end_at_once, NULL, 0), 0); /* nothing to copy */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: spawn_copy gives each task its own copy, of any size. Method: the originals are
 * overwritten at once; leaks are the sanitizer's to find. */
TEST(task_copy, "task.copy_is_its_own") {
    sched_run_each(copy_arguments, NULL);
}

/* ---- Pinned tasks ---- */

static int stay_home(void *arg) {
    uint32_t home = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(sched_worker_index(), home);
        if (i % 5 == 0) {
            CHECK_EQ(bnx_sleep(1000), 0);
        } else {
            bnx_yield();
        }
    }
    return 0;
}

static int pin_for_a_while(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++) {
        bnx_yield();
        bnx_pin_begin();
        uint32_t home = sched_worker_index();
        bnx_pin_begin();
        for (int round = 0; round < 20; round++) {
            bnx_yield();
            CHECK_EQ(sched_worker_index(), home);
            CHECK_EQ(bnx_sleep(1000), 0);
            CHECK_EQ(sched_worker_index(), home);
        }
        bnx_pin_end();
        bnx_yield();
        CHECK_EQ(sched_worker_index(), home);
        bnx_pin_end();
    }
    return 0;
}

static int pin_tasks(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < 40; i++) {
        struct bnx_spawn_options options = {.flags = BNX_SPAWN_PINNED,
                                            .worker = i % sched_worker_count()};
        CHECK_EQ(
            bnx_spawn_with(&scope, &options, stay_home, (void *)(uintptr_t)options.worker, NULL),
            0);
        CHECK_EQ(bnx_spawn(&scope, pin_for_a_while, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int spin_until_set(void *arg) {
    const uint64_t *is_set = arg;
    while (bnx_load_acquire(is_set) == 0) { /* ends with the other one's turn */
        bnx_yield();
    }
    return 0;
}

static int set_after_yields(void *arg) {
    for (int i = 0; i < 100; i++) {
        bnx_yield();
    }
    bnx_store_release((uint64_t *)arg, 1);
    return 0;
}

static int pin_spinner(void *arg) {
    (void)arg;
    uint64_t is_set = 0;
    struct bnx_scope scope;
    struct bnx_spawn_options options = {.flags = BNX_SPAWN_PINNED};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &options, spin_until_set, &is_set, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, set_after_yields, &is_set), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a pinned task that does nothing but yield lets the others of its worker run. Method: one
 * worker, so that no thief helps them; it waits for one of them. */
TEST(task_pinned_spinner, "task.pinned_spinner_starves_nobody") {
    sched_run(1, pin_spinner, NULL);
}

/* Claim: a pinned task runs on its worker only, and one that pins itself stays where it was.
 * Method: yields and sleeps among others that move. */
TEST(task_pinned, "task.pinned_stays") {
    sched_run_each(pin_tasks, NULL);
}

/* ---- Thread-locals ---- */

static _Thread_local uint32_t tls_worker = UINT32_MAX;

static BNX_NOINLINE void tls_write(void) {
    tls_worker = sched_worker_index();
}

static BNX_NOINLINE uint32_t tls_read(void) {
    return tls_worker;
}

/* The compiler keeps errno's address over a call as well, so it is touched out of line. */
static BNX_NOINLINE void errno_write(int value) {
    errno = value;
}

static BNX_NOINLINE int errno_read(void) {
    return errno;
}

struct tls_arg {
    uint64_t moved; /* suspensions after which a task was on another worker */
};

static int touch_tls(void *arg) {
    struct tls_arg *tls = arg;
    for (int i = 0; i < 200; i++) {
        uint32_t before = sched_worker_index();
        tls_write();
        errno_write(1000 + i);
        if (i % 8 == 0) {
            CHECK_EQ(bnx_sleep(1000), 0);
        } else {
            bnx_yield();
        }
        CHECK_EQ(errno_read(), 1000 + i);
        /* Whoever ran here last wrote its own worker: this one's. */
        uint32_t now = sched_worker_index();
        CHECK(tls_read() == now || tls_read() == UINT32_MAX);
        if (now != before) {
            bnx_fetch_add_relaxed(&tls->moved, 1);
        }
    }
    return 0;
}

static int move_with_tls(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(bnx_spawn(&scope, touch_tls, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: after a suspension errno is what it was and a thread_local, read through a call, is the
 * new thread's. Method: each task writes its worker's index before it suspends and expects the
 * index of the worker it is on after. In the build that moves a task at each suspension it must
 * have moved. */
TEST(task_tls, "task.tls_after_migration") {
    struct tls_arg tls = {0};
    sched_run_each(move_with_tls, &tls);
    printf("moved %llu times\n", (unsigned long long)tls.moved);
    CHECK(!BNX_FORCE_MIGRATE || tls.moved > 1000);
}

/* ---- Names ---- */

static int take_name(void *arg) {
    struct bnx_task *self = bnx_task_self();
    CHECK_STR(bnx_task_name(self), "first");
    bnx_task_name_set(arg);
    CHECK_STR(bnx_task_name(self), "second");
    CHECK(bnx_runtime_current() != NULL);
    return 0;
}

static int name_task(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    static char second[] = "second";
    CHECK(bnx_task_name(bnx_task_self()) == NULL);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_spawn_options options = {.name = "first"};
    CHECK_EQ(bnx_spawn_with(&scope, &options, take_name, second, &task), 0);
    CHECK_EQ(bnx_join(task, NULL), 0);
    CHECK_STR(bnx_task_name(task), "second");
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a task's name is what its spawn or it itself said last. */
TEST(task_names, "task.names") {
    sched_run_each(name_task, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
