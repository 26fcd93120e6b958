/* SPDX-License-Identifier: MIT */
/*
 * A crowd around one object: tasks in scopes that end in every way, and OS threads beside them.
 *
 * The crowd's function is one use of the object. Tasks call it in rounds, each in a scope of its
 * own that is left alone, cancelled, or run into its deadline; a refused call is counted. Threads,
 * which nobody cancels, call it so many times. Rounds go on until the threads are done, so a thread
 * that waits for a partner gets one.
 */
#ifndef BNX_TESTS_SUPPORT_CROWD_H
#define BNX_TESTS_SUPPORT_CROWD_H

#include "tests/support/sched.h"

#define CROWD_THREADS 2
#define CROWD_TASKS 12
#define CROWD_CALLS 3

struct crowd {
    bnx_task_fn use; /* >= 0 done, < 0 refused */
    void *arg;       /* its argument */
    bool never_left; /* no round is left alone: who waits may need a cancel to end */
    uint64_t rounds; /* at least */
    uint64_t done;   /* calls that were not refused */
    uint64_t refused;
    uint64_t threads_done;
};

/* Calls once. Returns what the call did. */
static inline int crowd_call(struct crowd *crowd) {
    int result = crowd->use(crowd->arg);
    if (result >= 0) {
        bnx_fetch_add_relaxed(&crowd->done, 1);
    } else {
        CHECK(result == -ECANCELED || result == -ETIMEDOUT);
        bnx_fetch_add_relaxed(&crowd->refused, 1);
    }
    return result;
}

static inline int crowd_task(void *arg) {
    for (int i = 0; i < CROWD_CALLS && crowd_call(arg) >= 0; i++) {
        bnx_pause();
    }
    return 0;
}

static inline void crowd_thread(void *arg) {
    struct crowd *crowd = arg;
    uint64_t calls = bnx_test_scale(2000);
    for (uint64_t i = 0; i < calls; i++) {
        CHECK(crowd_call(crowd) >= 0);
    }
    bnx_fetch_add_acq_rel(&crowd->threads_done, 1);
}

static inline void crowd_round(struct crowd *crowd, uint64_t round) {
    uint64_t kind = crowd->never_left ? 1 + round % 2 : round % 3;
    struct bnx_scope_options options = {.name = "crowd"};
    if (kind == 2) {
        options.deadline_ns = bnx_now() + round % 32 * 5000;
    }
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (int i = 0; i < CROWD_TASKS; i++) {
        int error = bnx_spawn(&scope, crowd_task, crowd);
        CHECK(error == 0 || error == -ECANCELED);
    }
    for (uint64_t i = 0; i < round % 5; i++) {
        bnx_yield();
    }
    if (kind == 1) {
        bnx_scope_cancel(&scope, 0);
    }
    int expected = kind == 0 ? 0 : (kind == 1 ? -ECANCELED : -ETIMEDOUT);
    int result = bnx_scope_close(&scope);
    CHECK(result == expected || (kind == 2 && result == 0));
}

static inline int crowd_rounds(void *arg) {
    struct crowd *crowd = arg;
    for (uint64_t round = 0;
         round < crowd->rounds || bnx_load_acquire(&crowd->threads_done) < CROWD_THREADS; round++) {
        crowd_round(crowd, round);
    }
    return 0;
}

/** Lets the crowd loose with each worker count. The counts are of all of them together. */
static inline void crowd_run(struct crowd *crowd) {
    crowd->rounds = bnx_test_scale(300);
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        struct bnx_os_thread threads[CROWD_THREADS];
        bnx_store_release(&crowd->threads_done, 0);
        for (int t = 0; t < CROWD_THREADS; t++) {
            sched_thread_start(&threads[t], crowd_thread, crowd);
        }
        CHECK_EQ(bnx_runtime_run(runtime, crowd_rounds, crowd), 0);
        for (int t = 0; t < CROWD_THREADS; t++) {
            sched_thread_join(&threads[t]);
        }
        sched_destroy(runtime);
    }
}

/** Yields until the task has parked: what it waits for knows it by then. */
static inline void crowd_await_parked(const struct bnx_task *task) {
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: it has nothing else to do */
        bnx_yield();
    }
}

#endif
