/* SPDX-License-Identifier: MIT */
/* Claims about blocking work: on another thread and back, the worker goes on, cancels before it. */
#include "tests/support/sched.h"

struct journey {
    int worker_thread; /* id of the OS thread before */
    int pool_thread;   /* within */
    uint64_t frame[4];
};

static int look_around(void *arg) {
    struct journey *journey = arg;
    struct bnx_scope scope;
    struct bnx_fork fork;
    journey->pool_thread = bnx_os.thread_id();
    /* Here the task is off its worker: calls that need one are refused. */
    CHECK(bnx_task_self() == NULL);
    CHECK_EQ(bnx_scope_open(&scope, NULL), -EPERM);
    CHECK_EQ(bnx_spawn(NULL, look_around, NULL), -EPERM);
    CHECK_EQ(bnx_fork(&fork, look_around, NULL), -EPERM);
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(journey->frame[i], i);
        journey->frame[i] = i + 10;
    }
    return 42;
}

static int count_call(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 1;
}

static int go_and_return(void *arg) {
    (void)arg;
    for (int i = 0; i < 50; i++) {
        struct journey journey = {.frame = {0, 1, 2, 3}};
        struct bnx_task *self = bnx_task_self();
        journey.worker_thread = bnx_os.thread_id();
        CHECK_EQ(bnx_offload(look_around, &journey), 42);
        CHECK(bnx_task_self() == self);
        CHECK(journey.pool_thread != journey.worker_thread);
        CHECK(bnx_os.thread_id() != journey.pool_thread);
        CHECK_EQ(journey.frame[3], 13);
        CHECK_EQ(bnx_sleep(0), 0);
    }
    return 0;
}

static int go_many(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&scope, go_and_return, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: bnx_offload runs its function on another OS thread, with the caller's frame, and comes
 * back to a worker with its value; calls that need a task are -EPERM there. */
TEST(offload_journey, "offload.goes_and_comes_back") {
    sched_run_each(go_many, NULL);
    uint64_t called = 0;
    CHECK_EQ(bnx_offload(count_call, &called), 1); /* off a task: at once */
    CHECK_EQ(called, 1);
}

/* ---- Blocking ---- */

struct blocking {
    uint32_t release;  /* futex: what the blocked functions wait for */
    uint64_t blocked;  /* functions that are about to block */
    uint64_t returned; /* tasks that have come back */
};

static int block_for_real(void *arg) {
    struct blocking *blocking = arg;
    bnx_fetch_add_acq_rel(&blocking->blocked, 1);
    sched_wait_post(&blocking->release, 1);
    return 1;
}

static int offload_block(void *arg) {
    struct blocking *blocking = arg;
    CHECK_EQ(bnx_offload(block_for_real, blocking), 1);
    bnx_fetch_add_acq_rel(&blocking->returned, 1);
    return 0;
}

static int others_go_on(void *arg) {
    (void)arg;
    struct blocking blocking = {.release = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn(&scope, offload_block, &blocking), 0);
    }
    sched_await_count(&blocking.blocked, 4); /* all at once, in as many threads */
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(bnx_sleep(1000), 0);
        bnx_yield();
    }
    CHECK_EQ(bnx_load_relaxed(&blocking.returned), 0);
    sched_post(&blocking.release);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_load_relaxed(&blocking.returned), 4);
    return 0;
}

/* Claim: functions that block stop neither the worker's other tasks nor each other. */
TEST(offload_blocking, "offload.blocking_stops_nobody") {
    sched_run_each(others_go_on, NULL);
}

/* ---- Cancel ---- */

static int offload_counted(void *arg) {
    int result = bnx_offload(count_call, arg);
    CHECK(result == 1 || result == -ECANCELED);
    return result < 0 ? result : 0;
}

static int cancel_before_start(void *arg) {
    (void)arg;
    struct blocking blocking = {.release = 0};
    struct bnx_scope outer;
    struct bnx_scope scope;
    uint64_t called = 0;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn(&outer, offload_block, &blocking), 0);
    sched_await_count(&blocking.blocked, 1); /* the only thread is taken */
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_task *waiting[20];
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, offload_counted, &called, &waiting[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        while (bnx_task_state(waiting[i]) != BNX_TASK_PARKED) { /* ends: it queues its job */
            bnx_yield();
        }
    }
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_load_relaxed(&called), 0);
    sched_post(&blocking.release);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    CHECK_EQ(bnx_offload(count_call, &called), 1);
    return 0;
}

/* Claim: a task that still waits for a thread is cancelled at once and its function never runs.
 * Method: a pool of one thread, which is blocked. */
TEST(offload_cancel, "offload.cancel_before_start") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = {
            .worker_count = sched_worker_counts[i], .offload_threads_max = 1, .seed = 1};
        CHECK_EQ(bnx_run(&options, cancel_before_start, NULL), 0);
    }
}

static int offload_cancel_storm(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(500);
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t called = 0;
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 8; i++) {
            CHECK_EQ(bnx_spawn(&scope, offload_counted, &called), 0);
        }
        for (uint64_t i = 0; i < round % 5; i++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK(bnx_load_relaxed(&called) <= 8);
    }
    return 0;
}

/* Claim: a cancel that races the pool for a task leaves it with one outcome. */
TEST(offload_races, "offload.cancel_races_start") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = {
            .worker_count = sched_worker_counts[i], .offload_threads_max = 2, .seed = 1};
        CHECK_EQ(bnx_run(&options, offload_cancel_storm, NULL), 0);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
