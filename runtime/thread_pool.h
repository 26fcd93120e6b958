/* SPDX-License-Identifier: MIT */
/*
 * Threads for what blocks: an elastic pool, one a runtime.
 *
 * Concepts
 *   A job is a record of its poster's, in a list. A thread takes it off and claims it under the
 *   pool's lock: false, nobody wants it any more, and the thread has touched it for the last time.
 *   Then it runs the job, outside the lock.
 *   A thread is started when there are more jobs than idle and starting threads; it ends after five
 *   idle seconds. Both are decided under the lock that guards the jobs, so no job is posted past
 *   the last thread's leaving.
 *
 * Ordering
 *   All lists and counts are under the lock.
 *   O1 futexes  `jobs_posted` is bumped after the push, `threads_left` after the thread has left
 *               the count, both seq_cst; who waits loads the word, looks under the lock, and sleeps
 *               on the value it loaded.
 */
#ifndef BNX_RUNTIME_THREAD_POOL_H
#define BNX_RUNTIME_THREAD_POOL_H

#include "runtime/compiler.h"
#include "runtime/list.h"

#include <stdbool.h>
#include <stdint.h>

struct bnx_carrier;
struct bnx_os_thread;
struct bnx_pool_thread;
struct bnx_thread_pool;

struct bnx_thread_job {
    CK_STAILQ_ENTRY(bnx_thread_job) link; /* under the lock */
    bool is_queued;                       /* under the lock */
    /** Under the pool's lock, on the thread that would run it. False: it shall not run. */
    bool (*claim)(struct bnx_thread_job *job, struct bnx_pool_thread *thread);
    /** Runs it; the record may be gone before this returns. */
    void (*run)(struct bnx_thread_job *job, struct bnx_pool_thread *thread);
    /** Under the pool's lock, in place of claim and run: no thread could be started. */
    void (*refuse)(struct bnx_thread_job *job, int error);
};

/**
 * bnx_os.thread_create for a thread that may run on all CPUs of the runtime: it would inherit where
 * the worker that starts it stays. Any thread. Returns as that.
 */
int bnx_thread_start(struct bnx_os_thread *thread);

/**
 * Makes a pool without threads.
 * @param may_interrupt its runtime has taken the signals (rescue.h), so calls can be interrupted.
 * Returns 0, -ENOMEM.
 */
int bnx_thread_pool_create(uint32_t threads_max, bool may_interrupt,
                           struct bnx_thread_pool **out_pool);

/** Waits for its threads and frees it. No job may be posted any more. NULL is fine. */
void bnx_thread_pool_destroy(struct bnx_thread_pool *pool);

/** Posts a job. Context: a worker's thread. */
void bnx_thread_pool_post(struct bnx_thread_pool *pool, struct bnx_thread_job *job);

/** Takes a job off the list. False: a thread has it, or has had it. Any thread. */
bool bnx_thread_pool_take_back(struct bnx_thread_pool *pool, struct bnx_thread_job *job);

/** The thread's gettid(2), to interrupt it by; 0: it cannot be interrupted. */
uint32_t bnx_pool_thread_tid(const struct bnx_pool_thread *thread);

/** For a job that runs a task on the thread: where its own stack goes on. */
struct bnx_carrier *bnx_pool_thread_carrier(struct bnx_pool_thread *thread);

/** In a job: from now on a call that blocks may be interrupted (-EINTR), or no more. Does nothing
 * where no signal was to be had (BNX_NO_RESCUE). */
void bnx_pool_thread_interruptible(const struct bnx_pool_thread *thread, bool is_interruptible);

/** Interrupts the call in which a thread, known to be alive, blocks; 0 is none. Any thread. */
void bnx_pool_thread_interrupt(uint32_t tid);

/** The pool of the runtime that the calling task belongs to. (runtime.c) */
struct bnx_thread_pool *bnx_thread_pool_current(void);

#endif
