/* SPDX-License-Identifier: MIT */
/* Timers under storms: starts, extends, stops, cancels and expiries of the same few timers. */
#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <stdio.h>

#define TIMERS 6
#define PLAYERS 12
#define THREADS 2

struct target {
    struct bnx_timer *timer;
    uint64_t starts;  /* that returned */
    uint64_t stopped; /* starts that ended unfired, as stops, cancels and further starts said */
    uint64_t calls;   /* of the callback */
    uint64_t inside;  /* callbacks that run now */
};

struct storm {
    struct target targets[TIMERS];
    uint64_t seed;
    uint64_t rounds; /* of each player */
    uint64_t players;
};

static void count_call(struct bnx_timer *timer, void *arg) {
    struct target *target = arg;
    CHECK(timer == target->timer);
    CHECK_EQ(bnx_fetch_add_acq_rel(&target->inside, 1), 0); /* one at a time */
    if ((bnx_fetch_add_relaxed(&target->calls, 1) & 7) == 0) {
        bnx_yield();
    }
    CHECK_EQ(bnx_fetch_sub_acq_rel(&target->inside, 1), 1);
}

/* 0 to 2 ms ahead, most of them within a few ticks. */
static uint64_t some_deadline(struct bnx_rng *rng) {
    return bnx_now() + bnx_rng_below(rng, 1u << bnx_rng_below(rng, 22));
}

static void act_once(struct target *target, struct bnx_rng *rng) {
    uint64_t stopped = 0;
    switch (bnx_rng_below(rng, 8)) {
    case 0:
        stopped = (uint64_t)bnx_timer_stop(target->timer);
        break;
    case 1:
        stopped = (uint64_t)bnx_timer_cancel(target->timer);
        break;
    case 2:
    case 3:
    case 4: {
        int error = bnx_timer_extend(target->timer, some_deadline(rng));
        CHECK(error == 0 || error == -EALREADY);
        break;
    }
    default:
        stopped = (uint64_t)bnx_timer_start(target->timer, some_deadline(rng));
        bnx_fetch_add_relaxed(&target->starts, 1);
        break;
    }
    CHECK(stopped <= 1);
    bnx_fetch_add_relaxed(&target->stopped, stopped);
}

static void play(struct storm *storm) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm->seed, bnx_fetch_add_relaxed(&storm->players, 1));
    for (uint64_t i = 0; i < storm->rounds; i++) {
        act_once(&storm->targets[bnx_rng_below(&rng, TIMERS)], &rng);
        if (bnx_rng_below(&rng, 4) == 0) {
            bnx_yield();
        }
        if (bnx_rng_below(&rng, 16) == 0) {
            CHECK_EQ(bnx_sleep(bnx_rng_below(&rng, 200000)), 0);
        }
    }
}

static int play_task(void *arg) {
    play(arg);
    return 0;
}

static void play_thread(void *arg) {
    play(arg);
}

static int storm_tasks(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < PLAYERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, play_task, arg), 0);
    }
    return bnx_scope_close(&scope);
}

static void run_storm(uint32_t worker_count, uint64_t seed) {
    struct storm storm = {.seed = seed, .rounds = bnx_test_scale(4000)};
    struct bnx_runtime *runtime = sched_create(worker_count);
    for (int i = 0; i < TIMERS; i++) {
        struct target *target = &storm.targets[i];
        struct bnx_timer_options options = {.runtime = runtime, .fn = count_call, .arg = target};
        CHECK_EQ(bnx_timer_create(&target->timer, &options), 0);
    }
    struct bnx_os_thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        sched_thread_start(&threads[i], play_thread, &storm);
    }
    CHECK_EQ(bnx_runtime_run(runtime, storm_tasks, &storm), 0);
    for (int i = 0; i < THREADS; i++) {
        sched_thread_join(&threads[i]);
    }
    uint64_t starts = 0;
    uint64_t calls = 0;
    for (int i = 0; i < TIMERS; i++) {
        struct target *target = &storm.targets[i];
        target->stopped += (uint64_t)bnx_timer_cancel(target->timer);
        CHECK_EQ(target->calls + target->stopped, target->starts);
        bnx_timer_destroy(target->timer);
        starts += target->starts;
        calls += target->calls;
    }
    uint32_t nodes = runtime->timers.count;
    sched_destroy(runtime);
    printf("%u workers: %llu starts, %llu fired, %u nodes made\n", worker_count,
           (unsigned long long)starts, (unsigned long long)calls, nodes);
    CHECK(calls > 0);
}

/* Claim: each start ends by exactly one of: the callback is called, or a stop, a cancel or another
 * start says that it has not fired. Callbacks of one timer never overlap. Method: twelve tasks and
 * two threads act on six timers at random; the sums must agree. */
TEST(timer_storm, "timer.each_start_ends_once") {
    uint64_t seed = bnx_test_seed();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run_storm(sched_worker_counts[i], seed + i);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
