/* SPDX-License-Identifier: MIT */
/* Claims about forks and scopes at their edges: no descriptor left, special parents. */
#include "tests/support/sched.h"

#include <bonxie/fork.h>
#include <fenv.h>
#include <stdio.h>

/* ---- Forks without a descriptor ---- */

#define RETURNED ((uintptr_t)2) /* a fork's word: who took it has given it back */

struct returned {
    uint64_t ran;
    uint64_t returned; /* forks that came back */
};

static int count_run(void *arg) {
    struct returned *state = arg;
    bnx_fetch_add_relaxed(&state->ran, 1);
    return 5;
}

/* A fork that another worker takes while this one computes. */
static void fork_for_thief(struct returned *state) {
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, count_run, state), 0);
    while (bnx_load_acquire(&fork.word) == 0) { /* ends: an idle worker is woken for it */
        bnx_pause();
    }
    state->returned += bnx_load_acquire(&fork.word) == RETURNED;
    CHECK_EQ(bnx_fork_join(&fork), 5);
}

/* Forks that a suspension has moved to the queues before anybody joins them. */
static void fork_and_yield(struct returned *state) {
    struct bnx_fork forks[5];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(forks); i++) {
        CHECK_EQ(bnx_fork(&forks[i], count_run, state), 0);
    }
    bnx_yield();
    for (size_t i = BNX_ARRAY_COUNT(forks); i-- > 0;) {
        CHECK_EQ(bnx_fork_join(&forks[i]), 5);
    }
}

static int fork_at_limit(void *arg) {
    struct returned *state = arg;
    uint64_t rounds = bnx_test_scale(100);
    uint64_t expected = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        if (sched_worker_count() > 1) {
            fork_for_thief(state);
            expected++;
        }
        fork_and_yield(state);
        expected += 5;
        CHECK_EQ(bnx_load_relaxed(&state->ran), expected);
    }
    return 0;
}

/* Claim: where tasks_max leaves no descriptor for a fork that was taken, the fork is its forker's
 * again and runs once. Method: the forker is the only task there may be. */
TEST(fork_limit, "fork.limit_runs_at_forker") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct returned state = {0};
        struct bnx_options options = {
            .worker_count = sched_worker_counts[i], .seed = 1, .tasks_max = 1};
        CHECK_EQ(bnx_run(&options, fork_at_limit, &state), 0);
        printf("%u workers: %llu came back\n", sched_worker_counts[i],
               (unsigned long long)state.returned);
        CHECK(state.returned > 0 || sched_worker_counts[i] == 1);
    }
}

/* ---- A cancel of the forker ---- */

struct forker {
    bool is_spinning; /* the forker computes until others have its fork, else it yields */
    uint64_t waiting; /* forks that have begun to wait */
    struct sched_bell all_wait;
};

static int wait_in_fork(void *arg) {
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
    return bnx_sleep_until(BNX_NEVER_NS);
}

/* A fork within a fork: the canceller's task is two steps above. */
static int wait_in_two(void *arg) {
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, wait_in_fork, arg), 0);
    CHECK_EQ(wait_in_fork(arg), -ECANCELED);
    return bnx_fork_join(&fork);
}

static int fork_and_join(void *arg) {
    struct forker *forker = arg;
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, wait_in_two, &forker->waiting), 0);
    if (forker->is_spinning) {
        while (bnx_load_acquire(&forker->waiting) < 2) { /* ends: thieves take both forks */
            bnx_pause();
        }
    } else {
        sched_await_count(&forker->waiting, 2);
    }
    sched_bell_ring(&forker->all_wait);
    return bnx_fork_join(&fork);
}

static int cancel_forkers(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 10; round++) {
        struct forker forker = {.is_spinning = round % 2 == 0 && sched_worker_count() > 1};
        struct bnx_scope scope;
        struct bnx_task *task;
        int result = 0;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, fork_and_join, &forker, &task), 0);
        sched_bell_wait(&forker.all_wait); /* parked: its worker is free to steal */
        bnx_cancel(task, 0);
        CHECK_EQ(bnx_join(task, &result), 0);
        CHECK_EQ(result, -ECANCELED);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

/* Claim: a cancel of a task reaches the forks that others have taken from it, and theirs. Method:
 * the forks wait without end, and the forker joins them. */
TEST(fork_cancel, "fork.cancel_reaches_stolen") {
    sched_run_each(cancel_forkers, NULL);
}

/* ---- A pinned parent ---- */

#define HOME 0 /* the worker that the parent belongs to */

static int leave_home(void *arg) {
    while (sched_worker_index() == HOME) { /* ends: its worker is kept busy, another steals it */
        bnx_yield();
    }
    bnx_store_release((uint64_t *)arg, 1);
    return 0;
}

static int keep_home_busy(void *arg) {
    while (bnx_load_acquire((uint64_t *)arg) == 0) { /* ends: the child moves away */
        bnx_pause();
    }
    return 0;
}

static void be_parent_at_home(uint64_t *has_left) {
    const struct bnx_spawn_options at_home = {.flags = BNX_SPAWN_PINNED, .worker = HOME};
    struct bnx_scope scope;
    bnx_store_release(has_left, 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &at_home, keep_home_busy, has_left, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, leave_home, has_left), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(sched_worker_index(), HOME);
}

static int be_pinned_parent(void *arg) {
    for (uint64_t round = 0; round < bnx_test_scale(50); round++) {
        be_parent_at_home(arg);
    }
    return 0;
}

/* Pinned for a while, by itself. */
static int pin_parent(void *arg) {
    for (uint64_t round = 0; round < bnx_test_scale(50); round++) {
        bnx_pin_begin();
        uint64_t has_left = 0;
        uint32_t home = sched_worker_index();
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, leave_home, &has_left), 0);
        if (home == HOME) {
            const struct bnx_spawn_options here = {.flags = BNX_SPAWN_PINNED, .worker = HOME};
            CHECK_EQ(bnx_spawn_with(&scope, &here, keep_home_busy, &has_left, NULL), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(sched_worker_index(), home);
        bnx_pin_end();
    }
    return be_pinned_parent(arg);
}

static int pin_parents(void *arg) {
    (void)arg;
    const struct bnx_spawn_options at_home = {.flags = BNX_SPAWN_PINNED, .worker = HOME};
    uint64_t has_left = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &at_home, pin_parent, &has_left, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a pinned task is on its worker also after the close of a scope whose children others have
 * taken. Method: a child that goes on until it is elsewhere, while its worker is kept busy. */
TEST(pinned_parent, "scope.pinned_parent_stays") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        if (sched_worker_counts[i] > 1) {
            sched_run(sched_worker_counts[i], pin_parents, NULL);
        }
    }
}

/* ---- A parent with its own rounding mode ---- */

/* Not inlined: the compiler knows nothing of modes that change over a suspension. */
static BNX_NOINLINE int rounding(void) {
    return fegetround();
}

static int look_and_yield(void *arg) {
    (void)arg;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rounding(), FE_TONEAREST);
        bnx_yield();
    }
    CHECK_EQ(rounding(), FE_TONEAREST);
    return 0;
}

static int be_rounding_parent(void *arg) {
    (void)arg;
    CHECK_EQ(fesetround(FE_UPWARD), 0);
    for (uint64_t round = 0; round < bnx_test_scale(100); round++) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(bnx_spawn(&scope, look_and_yield, NULL), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(rounding(), FE_UPWARD);
    }
    return 0; /* and leaves it so */
}

static int round_parents(void *arg) {
    (void)arg;
    const struct bnx_spawn_options own = {.flags = BNX_SPAWN_FP_STATE};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, &own, be_rounding_parent, NULL, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, look_and_yield, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(rounding(), FE_TONEAREST);
    return 0;
}

/* Claim: the rounding mode of a task with its own control words is kept over the close of a scope,
 * and its children, which have none, do not get it. */
TEST(fp_parent, "scope.fp_parent_keeps_mode") {
    sched_run_each(round_parents, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
