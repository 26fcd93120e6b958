/* SPDX-License-Identifier: MIT */
/* The scheduler under load: lost wakes, tasks in two places, steals while workers come and go. */
#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- No wake is lost ---- */

struct trip {
    struct sched_bell there;
    struct sched_bell back;
    uint64_t rounds;
    uint32_t answers; /* futex: trips that the task has answered to the thread */
    uint64_t is_over;
};

static int trip_answer(void *arg) {
    struct trip *trip = arg;
    for (uint64_t i = 0; i < trip->rounds; i++) {
        sched_bell_wait(&trip->there);
        sched_bell_ring(&trip->back);
    }
    return 0;
}

static int trip_ask(void *arg) {
    struct trip *trip = arg;
    for (uint64_t i = 0; i < trip->rounds; i++) {
        sched_bell_ring(&trip->there);
        sched_bell_wait(&trip->back);
    }
    return 0;
}

static int trip_pair(void *arg) {
    struct trip *trip = arg;
    struct bnx_scope scope;
    uint32_t last = sched_worker_count() - 1;
    struct bnx_spawn_options here = {.flags = BNX_SPAWN_PINNED, .worker = 0};
    struct bnx_spawn_options there = {.flags = BNX_SPAWN_PINNED, .worker = last};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &there, trip_answer, trip, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &here, trip_ask, trip, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int trip_free_pair(void *arg) {
    struct trip *trip = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, trip_answer, trip), 0);
    CHECK_EQ(bnx_spawn(&scope, trip_ask, trip), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int trip_to_thread(void *arg) {
    struct trip *trip = arg;
    for (uint64_t i = 0; i < trip->rounds; i++) {
        sched_bell_wait(&trip->there);
        sched_post(&trip->answers);
    }
    return 0;
}

/* Round trips of every kind on a runtime without a watchdog, which would wake whom we forgot. */
static void trips(uint32_t worker_count, uint64_t spin_ns, uint64_t rounds) {
    struct bnx_options options = {
        .worker_count = worker_count, .spin_ns = spin_ns, .flags = BNX_NO_WATCHDOG, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    struct trip trip = {.rounds = rounds};
    CHECK_EQ(bnx_runtime_run(runtime, trip_pair, &trip), 0);
    CHECK_EQ(bnx_runtime_run(runtime, trip_free_pair, &trip), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, trip_to_thread, &trip, NULL), 0);
    for (uint64_t i = 0; i < rounds; i++) {
        sched_bell_ring(&trip.there);
        sched_wait_post(&trip.answers, (uint32_t)i + 1);
    }
    sched_destroy(runtime);
}

/* Claim: a wake is never lost, whether the worker it is for runs, spins, is about to sleep or
 * sleeps. Method: round trips between two pinned tasks, two free ones, and a thread and a task;
 * each must complete, a lost wake hangs. Parked: the workers do not spin, so each trip meets
 * somebody on the way to sleep. Hot: they spin for a while, so it meets both. */
TEST(idle_no_lost_wake, "idle.no_lost_wake") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        trips(sched_worker_counts[i], BNX_SPIN_NEVER, bnx_test_scale(15000));
        trips(sched_worker_counts[i], 5000, bnx_test_scale(60000));
    }
}

/* ---- One place at a time ---- */

#define PLACES 64

struct place {
    uint64_t holder; /* tasks that run this place's code: 1, never 2 */
    uint64_t rounds;
};

struct places {
    struct place place[PLACES];
    struct sched_bell bells[PLACES];
    uint64_t seed;
    uint64_t rounds;
    uint64_t done;
};

struct place_arg {
    struct places *places;
    uint32_t index;
};

static void leave_and_come_back(struct place *place, struct bnx_rng *rng, struct sched_bell *bell) {
    CHECK_EQ(bnx_fetch_sub_acq_rel(&place->holder, 1), 1);
    switch (bnx_rng_below(rng, 4)) {
    case 0:
        CHECK_EQ(bnx_sleep(1 + bnx_rng_below(rng, 100000)), 0);
        break;
    case 1:
        sched_bell_wait(bell); /* others ring at random */
        break;
    case 2: {
        struct bnx_scope_options soon = {.deadline_ns = bnx_now() + bnx_rng_below(rng, 200000)};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
        int error = bnx_sleep(bnx_rng_below(rng, 200000));
        CHECK(error == 0 || error == -ETIMEDOUT);
        (void)bnx_scope_close(&scope);
        break;
    }
    default:
        bnx_yield();
        break;
    }
    CHECK_EQ(bnx_fetch_add_acq_rel(&place->holder, 1), 0);
}

static int run_place(void *arg) {
    struct place_arg mine = *(struct place_arg *)arg;
    struct places *places = mine.places;
    struct place *place = &places->place[mine.index];
    struct bnx_rng rng;
    bnx_rng_init(&rng, places->seed, mine.index);
    uint64_t on_stack = mine.index;
    CHECK_EQ(bnx_fetch_add_acq_rel(&place->holder, 1), 0);
    for (uint64_t i = 0; i < places->rounds; i++) {
        leave_and_come_back(place, &rng, &places->bells[mine.index]);
        CHECK_EQ(bnx_load_relaxed(&on_stack), mine.index + i);
        bnx_store_relaxed(&on_stack, mine.index + i + 1);
        sched_bell_ring(&places->bells[bnx_rng_below(&rng, PLACES)]);
        place->rounds++;
    }
    bnx_fetch_add_acq_rel(&places->done, 1);
    return 0;
}

static int run_places(void *arg) {
    struct places *places = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < PLACES; i++) {
        struct place_arg mine = {places, i};
        CHECK_EQ(bnx_spawn_copy(&scope, run_place, &mine, sizeof(mine)), 0);
    }
    while (bnx_load_acquire(&places->done) < PLACES) { /* ends: every round ends by a ring */
        for (uint32_t i = 0; i < PLACES; i++) {
            sched_bell_ring(&places->bells[i]);
        }
        CHECK_EQ(bnx_sleep(10000), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a task is in one place at a time: never resumed twice, never before it was left. Method:
 * tasks that sleep, wait with deadlines, wait for each other and yield on more workers than CPUs;
 * each counts itself in and out, and keeps a value on its stack. */
TEST(task_one_place, "task.one_place") {
    struct places *places = calloc(1, sizeof(*places));
    CHECK(places != NULL);
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        memset(places, 0, sizeof(*places));
        places->seed = bnx_test_seed() + i;
        places->rounds = bnx_test_scale(3000);
        sched_run(sched_worker_counts[i], run_places, places);
        for (uint32_t place = 0; place < PLACES; place++) {
            CHECK_EQ(places->place[place].rounds, places->rounds);
        }
    }
    free(places);
}

/* ---- Steals while workers come and go ---- */

static int storm_leaf(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

static int storm_branch(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&scope, storm_leaf, arg), 0);
        if (i % 5 == 0) {
            bnx_yield();
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int storm(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&scope, storm_branch, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: thieves find workers that have just started, and are just ending, and nothing is lost or
 * searched for ever. Method: runtimes made and ended one after the other, each with a storm of
 * small tasks from its first moment to its last. */
TEST(steal_bounded, "steal.bounded") {
    uint64_t rounds = bnx_test_scale(300);
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t leaves = 0;
        struct bnx_runtime *runtime = sched_create(2 + (uint32_t)(round % 7));
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(bnx_runtime_spawn(runtime, storm, &leaves, NULL), 0);
        }
        CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
        CHECK_EQ(leaves, 3 * 400);
    }
}

/* ---- Overflow ---- */

struct flood {
    uint64_t count;
    uint64_t ran;
};

static int flood_leaf(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

static int flood_all(void *arg) {
    struct flood *flood = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < flood->count; i++) {
        CHECK_EQ(bnx_spawn(&scope, flood_leaf, &flood->ran), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(flood->ran, flood->count);
    return 0;
}

/* Claim: a run queue that is full overflows to the global queue, and spawning never waits. Method:
 * one task spawns a million before it waits, on one worker and on two. */
TEST(runq_overflow, "runq.overflow_to_global") {
    for (uint32_t workers = 1; workers <= 2; workers++) {
        struct flood flood = {.count = bnx_test_scale(1000000)};
        sched_run(workers, flood_all, &flood);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
