/* SPDX-License-Identifier: MIT */
/* Timers under storms: starts, extends, stops, cancels and expiries of the same few timers. */
#include "runtime/rng.h"
#include "runtime/user_timer_pvt.h"
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

/* ---- In favour ---- */

/* A worker's uses of a timer that are enough for its favour, and for many in it. */
#define USES_ALONE 300
#define HOUR_NS (3600 * BNX_NS_PER_S)

struct hands {
    struct bnx_timer *timer;
    uint64_t visits;         /* of the other */
    uint64_t alone;          /* uses of the owner so far */
    uint64_t stopped;        /* the owner's */
    uint64_t visits_stopped; /* the other's */
    uint64_t favours;        /* looks at which the timer was in somebody's favour */
};

/* One start and one stop. Returns how many starts they have ended. */
static uint64_t use(struct bnx_timer *timer) {
    uint64_t stopped = (uint64_t)bnx_timer_start(timer, bnx_now() + HOUR_NS);
    return stopped + (uint64_t)bnx_timer_stop(timer);
}

static int use_alone(void *arg) {
    struct hands *hands = arg;
    for (uint64_t i = 1; i <= (hands->visits + 1) * USES_ALONE; i++) {
        hands->stopped += use(hands->timer);
        if (i % USES_ALONE == 0) { /* relaxed: a look */
            hands->favours += bnx_load_relaxed(&hands->timer->favoured) != NULL;
        }
        bnx_store_release(&hands->alone, i);
    }
    return 0;
}

static void visit(void *arg) {
    struct hands *hands = arg;
    for (uint64_t i = 1; i <= hands->visits; i++) {
        while (bnx_load_acquire(&hands->alone) < i * USES_ALONE) { /* ends: it uses it so often */
            bnx_os.thread_yield();
        }
        hands->visits_stopped += use(hands->timer);
    }
}

static void change_hands(uint32_t worker_count) {
    struct hands hands = {.visits = bnx_test_scale(2000)};
    struct bnx_runtime *runtime = sched_create(worker_count);
    struct bnx_timer_options options = {.runtime = runtime};
    CHECK_EQ(bnx_timer_create(&hands.timer, &options), 0);
    struct bnx_os_thread thread;
    sched_thread_start(&thread, visit, &hands);
    CHECK_EQ(bnx_runtime_run(runtime, use_alone, &hands), 0);
    sched_thread_join(&thread);
    CHECK_EQ(bnx_timer_cancel(hands.timer), 0); /* whose use was last has stopped it */
    uint64_t starts = (hands.visits + 1) * USES_ALONE + hands.visits;
    CHECK_EQ(hands.stopped + hands.visits_stopped, starts);
    CHECK(hands.favours > 0);
    bnx_timer_destroy(hands.timer);
    sched_destroy(runtime);
}

/* Claim: a timer that is in a worker's favour may be used by another thread at any time. Method: a
 * task starts and stops a timer all the time, a thread does once in a while; nothing fires, so the
 * starts and what ended them agree. */
TEST(timer_hands, "timer.changes_hands") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        change_hands(sched_worker_counts[i]);
    }
}

static struct {
    int (*membarrier)(int command);
    uint64_t count;
} barriers;

static int count_barrier(int command) {
    bnx_fetch_add_relaxed(&barriers.count, 1); /* a count */
    return barriers.membarrier(command);
}

#define LONERS 16

static int use_loners(void *arg) {
    struct bnx_timer **timers = arg;
    for (size_t i = 0; i < LONERS; i++) {
        for (int use_count = 0; use_count < USES_ALONE; use_count++) {
            (void)use(timers[i]);
        }
        CHECK_EQ(bnx_timer_start(timers[i], bnx_now() + HOUR_NS), 0);
        CHECK(bnx_load_relaxed(&timers[i]->favoured) != NULL); /* by this worker */
    }
    return 0;
}

/* Claim: a thread that destroys timers which are in a worker's favour interrupts nobody: no other
 * use of them is under way. Method: the system call of the barrier is counted, while timers with
 * callbacks and without are destroyed off their worker. */
TEST(timer_loners, "timer.destroy_needs_no_barrier") {
    if (BNX_TSAN || BNX_SIM) {
        SKIP("this build has no heavy barrier");
    }
    barriers.membarrier = bnx_os.membarrier;
    bnx_os.membarrier = count_barrier;
    struct bnx_options options = {.worker_count = 1, .seed = 1, .flags = BNX_NO_WATCHDOG};
    struct bnx_runtime *runtime = NULL;
    struct bnx_timer *timers[LONERS];
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    for (size_t i = 0; i < LONERS; i++) {
        struct bnx_timer_options how = {.runtime = runtime, .fn = i % 2 == 0 ? count_call : NULL};
        CHECK_EQ(bnx_timer_create(&timers[i], &how), 0);
    }
    CHECK_EQ(bnx_runtime_run(runtime, use_loners, timers), 0);
    uint64_t before = bnx_load_relaxed(&barriers.count); /* a count */
    for (size_t i = 0; i < LONERS; i++) {
        bnx_timer_destroy(timers[i]);
    }
    CHECK_EQ(bnx_load_relaxed(&barriers.count) - before, 0); /* as above */
    sched_destroy(runtime);
    bnx_os.membarrier = barriers.membarrier;
}

static int leave_node(void *arg) {
    struct target *target = arg;
    struct bnx_timer_options options = {.fn = count_call, .arg = target};
    CHECK_EQ(bnx_timer_create(&target->timer, &options), 0);
    /* Near enough to come up while the task sleeps, far enough not to while it is armed. */
    uint64_t begin_ns = bnx_now();
    uint64_t deadline_ns = begin_ns + 50 * BNX_NS_PER_MS;
    uint64_t fired = 0;
    for (int i = 0; i < USES_ALONE; i++) {
        CHECK_EQ(bnx_timer_start(target->timer, deadline_ns), 0);
        fired += bnx_timer_stop(target->timer) == 0;
    }
    CHECK_EQ(bnx_sleep_until(deadline_ns + 2 * BNX_WHEEL_TICK_NS), 0);
    CHECK_EQ(bnx_timer_cancel(target->timer), 0);
    CHECK_EQ(bnx_load_relaxed(&target->calls), fired); /* relaxed: the cancel has waited */

    CHECK_EQ(bnx_timer_start(target->timer, bnx_now()), 0);
    CHECK_EQ(bnx_timer_wait(target->timer), 0);
    CHECK_EQ(bnx_timer_cancel(target->timer), 0);
    CHECK_EQ(bnx_load_relaxed(&target->calls), fired + 1); /* relaxed: as above */
    bnx_timer_destroy(target->timer);
    return 0;
}

/* Claim: a timer that was stopped in favour does not fire when the node that it has left comes up,
 * and can be used on. Method: many short timeouts, a sleep until they would have been due. */
TEST(timer_left, "timer.stopped_in_favour_fires_not") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct target target = {0};
        sched_run(sched_worker_counts[i], leave_node, &target);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
