/* SPDX-License-Identifier: MIT */
/*
 * What tests of the scheduler share: runtimes of a given size, a bell between tasks, threads.
 *
 * Everything here waits through the runtime or the os table: a simulated machine can run it.
 */
#ifndef BNX_TESTS_SUPPORT_SCHED_H
#define BNX_TESTS_SUPPORT_SCHED_H

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>
#include <errno.h>
#include <limits.h>

/* One worker, the machine's two, an odd number, more than the machine has. */
static const uint32_t sched_worker_counts[] = {1, 2, 3, 8};
#define SCHED_WORKER_COUNTS BNX_ARRAY_COUNT(sched_worker_counts)

/** Makes a runtime of so many workers. */
static inline struct bnx_runtime *sched_create(uint32_t worker_count) {
    struct bnx_options options = {.worker_count = worker_count, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    return runtime;
}

/** Stops it, waits for its tasks, destroys it. */
static inline void sched_destroy(struct bnx_runtime *runtime) {
    CHECK_EQ(bnx_runtime_stop(runtime), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
}

/** Runs fn(arg) as the first task of a runtime of its own and expects it to return 0. */
static inline void sched_run(uint32_t worker_count, bnx_task_fn fn, void *arg) {
    struct bnx_options options = {.worker_count = worker_count, .seed = 1};
    CHECK_EQ(bnx_run(&options, fn, arg), 0);
}

/** sched_run with each worker count. */
static inline void sched_run_each(bnx_task_fn fn, void *arg) {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        sched_run(sched_worker_counts[i], fn, arg);
    }
}

/** How many workers the calling task's runtime has. */
static inline uint32_t sched_worker_count(void) {
    return bnx_runtime_worker_count(bnx_runtime_current());
}

/** The index of the worker that runs the calling task. Read anew at each call. */
static inline uint32_t sched_worker_index(void) {
    return bnx_worker_index(bnx_worker_current());
}

/** Yields until *counter has reached count. Ends when others get their turn. */
static inline void sched_await_count(const uint64_t *counter, uint64_t count) {
    while (bnx_load_acquire(counter) < count) {
        bnx_yield();
    }
}

/** Starts an OS thread. */
static inline void sched_thread_start(struct bnx_os_thread *thread, void (*entry)(void *),
                                      void *arg) {
    *thread = (struct bnx_os_thread){.entry = entry, .arg = arg};
    CHECK_EQ(bnx_os.thread_create(thread), 0);
}

static inline void sched_thread_join(struct bnx_os_thread *thread) {
    CHECK_EQ(bnx_os.thread_join(thread), 0);
}

/** Adds one to a count and wakes threads that wait for it. Any thread, any task. */
static inline void sched_post(uint32_t *count) {
    bnx_fetch_add_seq_cst(count, 1);
    (void)bnx_os.futex_wake(count, INT_MAX);
}

/** Blocks an OS thread until *count has reached `until`. */
static inline void sched_wait_post(uint32_t *count, uint32_t until) {
    uint32_t seen;
    while ((seen = bnx_load_seq_cst(count)) < until) { /* ends with the posts */
        (void)bnx_os.futex_wait(count, seen, BNX_NEVER_NS);
    }
}

/*
 * A bell: one task waits, anybody rings; a ring that comes first is kept, a second one is lost. The
 * wait is not cancelled: for messages between tasks that end by themselves.
 */
#define SCHED_BELL_SILENT ((uintptr_t)0)
#define SCHED_BELL_RUNG ((uintptr_t)1)

struct sched_bell {
    uintptr_t word; /* silent, rung, or the waiting struct sched_ear */
};

struct sched_ear {
    struct bnx_task *task;
    uint64_t sequence;
};

static inline void sched_bell_wait(struct sched_bell *bell) {
    struct bnx_task *self = bnx_task_current();
    uintptr_t rung = SCHED_BELL_RUNG;
    if (bnx_cas_acq_rel(&bell->word, &rung, SCHED_BELL_SILENT)) {
        return;
    }
    struct sched_ear ear = {self, bnx_wait_next_sequence(self)};
    CHECK_EQ(bnx_wait_publish(self), 0);
    uintptr_t silent = SCHED_BELL_SILENT;
    if (!bnx_cas_acq_rel(&bell->word, &silent, (uintptr_t)&ear)) {
        CHECK(bnx_wait_withdraw(self));
        bnx_store_release(&bell->word, SCHED_BELL_SILENT);
        return;
    }
    (void)bnx_task_park(self, BNX_WAIT_TEST, bell);
    CHECK_EQ(bnx_wait_end(self), 0);
}

static inline void sched_bell_ring(struct sched_bell *bell) {
    uintptr_t word = bnx_load_acquire(&bell->word);
    for (;;) { /* ends: each failure means that the waiter came or another has rung */
        if (word == SCHED_BELL_RUNG) {
            return;
        }
        uintptr_t next = word == SCHED_BELL_SILENT ? SCHED_BELL_RUNG : SCHED_BELL_SILENT;
        if (bnx_cas_acq_rel(&bell->word, &word, next)) {
            break;
        }
    }
    if (word != SCHED_BELL_SILENT) {
        struct sched_ear ear = *(struct sched_ear *)word;
        CHECK(bnx_wait_claim(ear.task, ear.sequence, BNX_WAKE));
        bnx_task_ready(ear.task);
    }
}

#endif
