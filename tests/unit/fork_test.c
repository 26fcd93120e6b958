/* SPDX-License-Identifier: MIT */
/* Claims about fork-join: the right sum whoever runs a fork, waiting forks, forks among spawns. */
#include "tests/support/sched.h"

#include <stdio.h>

static int fib_plain(uint64_t n) {
    return n < 2 ? (int)n : fib_plain(n - 1) + fib_plain(n - 2);
}

static int fib_fork(void *arg) {
    uint64_t n = (uintptr_t)arg;
    if (n < 2) {
        return (int)n;
    }
    struct bnx_fork left;
    CHECK_EQ(bnx_fork(&left, fib_fork, (void *)(uintptr_t)(n - 1)), 0);
    int right = fib_fork((void *)(uintptr_t)(n - 2));
    return bnx_fork_join(&left) + right;
}

static int fib_run(void *arg) {
    uint64_t n = *(uint64_t *)arg;
    CHECK_EQ(fib_fork((void *)(uintptr_t)n), fib_plain(n));
    return 0;
}

/* Claim: a tree of forks gives the sum of the plain calls, with steals. Method: large enough that
 * on several workers some are stolen, until some have been. */
TEST(fork_tree, "fork.tree_with_steals") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        struct bnx_runtime_stats stats = {0};
        uint64_t n = BNX_TSAN || BNX_ASAN || BNX_SHRINK || BNX_SIM ? 15 : 25;
        /* Ends: the watchdog wakes an idle worker where a fork waits. */
        do {
            CHECK_EQ(bnx_runtime_run(runtime, fib_run, &n), 0);
            bnx_runtime_stats(runtime, &stats);
        } while (sched_worker_counts[i] > 1 && stats.forks_stolen == 0);
        printf("%u workers: %llu stolen\n", sched_worker_counts[i],
               (unsigned long long)stats.forks_stolen);
        sched_destroy(runtime);
    }
}

/* ---- Forks that wait ---- */

static int sum_waiting(void *arg) {
    uint64_t depth = (uintptr_t)arg;
    if (depth == 0) {
        CHECK_EQ(bnx_sleep(1000), 0);
        return 1;
    }
    struct bnx_fork left;
    struct bnx_fork middle;
    void *below = (void *)(uintptr_t)(depth - 1);
    CHECK_EQ(bnx_fork(&left, sum_waiting, below), 0);
    CHECK_EQ(bnx_fork(&middle, sum_waiting, below), 0);
    if (depth % 2 == 0) {
        bnx_yield(); /* the forks move to the run queue: others may take them */
    }
    int sum = sum_waiting(below);
    sum += bnx_fork_join(&middle);
    return sum + bnx_fork_join(&left);
}

static int run_waiting(void *arg) {
    (void)arg;
    for (int round = 0; round < 5; round++) {
        CHECK_EQ(sum_waiting((void *)(uintptr_t)5), 243);
    }
    return 0;
}

/* Claim: a fork may wait, and its forker may suspend between fork and join, in any mixture. */
TEST(fork_waits, "fork.may_wait") {
    sched_run_each(run_waiting, NULL);
}

static int add_one(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 3;
}

static int add_later(void *arg) {
    bnx_yield();
    return add_one(arg);
}

static int interleave(void *arg) {
    (void)arg;
    for (int round = 0; round < 50; round++) {
        uint64_t ran = 0;
        struct bnx_fork forks[4];
        struct bnx_scope scope;
        struct bnx_scope inner;
        CHECK_EQ(bnx_fork(&forks[0], add_one, &ran), 0);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, add_later, &ran), 0);
        CHECK_EQ(bnx_fork(&forks[1], add_later, &ran), 0);
        CHECK_EQ(bnx_spawn(&scope, add_one, &ran), 0);
        CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
        CHECK_EQ(bnx_spawn(&inner, add_one, &ran), 0);
        CHECK_EQ(bnx_fork(&forks[2], add_one, &ran), 0);
        CHECK_EQ(bnx_fork(&forks[3], add_one, &ran), 0);
        if (round % 3 == 0) {
            bnx_yield();
        }
        CHECK_EQ(bnx_fork_join(&forks[3]), 3);
        CHECK_EQ(bnx_fork_join(&forks[2]), 3);
        CHECK_EQ(bnx_scope_close(&inner), 0);
        CHECK_EQ(bnx_fork_join(&forks[1]), 3);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bnx_fork_join(&forks[0]), 3);
        CHECK_EQ(bnx_load_relaxed(&ran), 7);
    }
    return 0;
}

/* Claim: forks, spawns and scopes may be mixed as long as each is ended in reverse order:
 * everything runs once, and a join returns its function's value. */
TEST(fork_interleaved, "fork.mixes_with_spawns") {
    sched_run_each(interleave, NULL);
}

static int wait_cancelled(void *arg) {
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
    return bnx_sleep_until(UINT64_MAX);
}

struct cancelled_fork {
    struct bnx_scope scope;
    uint64_t waiting;
};

static int cancel_forker(void *arg) {
    struct cancelled_fork *shared = arg;
    sched_await_count(&shared->waiting, 3);
    bnx_scope_cancel(&shared->scope, 0);
    return 0;
}

static int cancel_forks(void *arg) {
    (void)arg;
    for (int round = 0; round < 20; round++) {
        struct cancelled_fork shared = {.waiting = 0};
        struct bnx_fork forks[2];
        struct bnx_scope outer;
        CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
        CHECK_EQ(bnx_scope_open(&shared.scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&outer, cancel_forker, &shared), 0);
        CHECK_EQ(bnx_fork(&forks[0], wait_cancelled, &shared.waiting), 0);
        CHECK_EQ(bnx_fork(&forks[1], wait_cancelled, &shared.waiting), 0);
        CHECK_EQ(wait_cancelled(&shared.waiting), -ECANCELED);
        CHECK_EQ(bnx_fork_join(&forks[1]), -ECANCELED);
        CHECK_EQ(bnx_fork_join(&forks[0]), -ECANCELED);
        CHECK_EQ(bnx_scope_close(&shared.scope), -ECANCELED);
        CHECK_EQ(bnx_scope_close(&outer), 0);
    }
    return 0;
}

/* Claim: a fork is cancelled with the scope in which it was forked, whoever runs it; the join waits
 * for it and is not refused. */
TEST(fork_cancelled, "fork.cancelled_with_scope") {
    sched_run_each(cancel_forks, NULL);
}

/* ---- Ranges ---- */

#define INDEXES 10000

static void touch_range(size_t begin, size_t end, void *arg) {
    uint32_t *touched = arg;
    CHECK(begin < end && end <= INDEXES);
    for (size_t i = begin; i < end; i++) {
        bnx_fetch_add_relaxed(&touched[i], 1);
    }
    if (begin % 64 == 0) {
        bnx_yield();
    }
}

static void expect_touched(const uint32_t *touched, size_t begin, size_t end) {
    for (size_t i = 0; i < INDEXES; i++) {
        CHECK_EQ(bnx_load_relaxed(&touched[i]), i >= begin && i < end ? 1 : 0);
    }
}

static int cover_ranges(void *arg) {
    static const size_t grains[] = {0, 1, 7, 100, INDEXES, SIZE_MAX};
    uint32_t *touched = arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(grains); i++) {
        size_t begin = i * 13;
        size_t end = grains[i] == 1 ? begin + 500 : INDEXES - i;
        memset(touched, 0, sizeof(*touched) * INDEXES);
        CHECK_EQ(bnx_parallel_for(begin, end, grains[i], touch_range, touched), 0);
        expect_touched(touched, begin, end);
    }
    CHECK_EQ(bnx_parallel_for(5, 5, 1, touch_range, touched), 0);
    return 0;
}

/* Claim: parallel_for covers each index of its range once, whatever the grain, off a task too. */
TEST(fork_ranges, "fork.parallel_for_covers_once") {
    static uint32_t touched[INDEXES];
    sched_run_each(cover_ranges, touched);
    memset(touched, 0, sizeof(touched));
    CHECK_EQ(bnx_parallel_for(3, INDEXES, 10, touch_range, touched), 0);
    expect_touched(touched, 3, INDEXES);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
