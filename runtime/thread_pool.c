/* SPDX-License-Identifier: MIT */
/* The pool's threads: started when jobs wait, gone when none come (thread_pool.h). */
#include "runtime/thread_pool.h"

#include "runtime/clock.h"
#include "runtime/rescue.h"
#include "runtime/runtime_pvt.h"
#include "runtime/worker.h"

#include <errno.h>
#include <string.h>

#define IDLE_NS (UINT64_C(5) * BNX_NS_PER_S)
#define THREAD_STACK_BYTES ((size_t)256 * 1024) /* tasks bring their own stacks */

struct bnx_pool_thread {
    struct bnx_os_thread os;
    struct bnx_carrier carrier;
    uint32_t tid; /* immutable once it runs */
    struct bnx_thread_pool *pool;
    struct bnx_fp fp;                     /* the workers' control words */
    CK_SLIST_ENTRY(bnx_pool_thread) link; /* under the lock */
};

struct bnx_thread_pool {
    uint32_t threads_max; /* immutable */
    bool may_interrupt;   /* immutable */
    struct bnx_lock lock;
    CK_STAILQ_HEAD(job_list, bnx_thread_job) jobs;
    CK_SLIST_HEAD(ended_list, bnx_pool_thread) ended; /* threads that have left, to be joined */
    uint32_t thread_count;                            /* alive or starting */
    uint32_t starting_count;                          /* of those, not at their first job yet */
    uint32_t idle_count;                              /* of those, waiting for a job */
    uint32_t job_count;                               /* queued */
    bool is_stopping;
    uint32_t jobs_posted;  /* futex: jobs pushed so far, and stop; O1 */
    uint32_t threads_left; /* futex: threads that have left; O1 */
};

/* Takes the oldest job off the list. Under the lock. */
static struct bnx_thread_job *pop_job(struct bnx_thread_pool *pool) {
    struct bnx_thread_job *job = CK_STAILQ_FIRST(&pool->jobs);
    if (job != NULL) {
        CK_STAILQ_REMOVE_HEAD(&pool->jobs, link);
        pool->job_count--;
        job->is_queued = false;
    }
    return job;
}

/* Takes a job that this thread shall run. Under the lock. */
static struct bnx_thread_job *take_claimed(struct bnx_pool_thread *self) {
    struct bnx_thread_job *job;
    while ((job = pop_job(self->pool)) != NULL) { /* ends: one fewer each round */
        if (job->claim(job, self)) {
            return job;
        }
    }
    return NULL;
}

/* The next job of a thread; NULL: it has left the pool, idle too long or told to stop. */
static struct bnx_thread_job *wait_for_job(struct bnx_pool_thread *self) {
    struct bnx_thread_pool *pool = self->pool;
    uint64_t deadline_ns = bnx_clock_after(bnx_clock_now(), IDLE_NS);
    bool is_late = false;
    bnx_lock_acquire(&pool->lock); /* L1 */
    struct bnx_thread_job *job = take_claimed(self);
    while (job == NULL && !is_late && !pool->is_stopping) { /* ends with a job, time, or stop */
        pool->idle_count++;
        uint32_t seen = bnx_load_seq_cst(&pool->jobs_posted); /* O1 */
        bnx_lock_release(&pool->lock);                        /* L1 */
        is_late = bnx_os.futex_wait(&pool->jobs_posted, seen, deadline_ns) == -ETIMEDOUT;
        bnx_lock_acquire(&pool->lock); /* L1 */
        pool->idle_count--;
        job = take_claimed(self);
    }
    if (job == NULL) {
        pool->thread_count--;
        CK_SLIST_INSERT_HEAD(&pool->ended, self, link);
    }
    bnx_lock_release(&pool->lock); /* L1 */
    return job;
}

static void thread_main(void *arg) {
    struct bnx_pool_thread *self = arg;
    struct bnx_thread_pool *pool = self->pool;
    bnx_carrier_init(&self->carrier);
    self->tid = (uint32_t)bnx_os.thread_id();
    /* A new thread inherits the control words of the task that started it: not ours to keep. */
    bnx_fp_swap(&self->carrier.fp, &self->fp);
    self->carrier.fp = self->fp;
    bnx_lock_acquire(&pool->lock); /* L1 */
    pool->starting_count--;
    bnx_lock_release(&pool->lock); /* L1 */
    struct bnx_thread_job *job;
    while ((job = wait_for_job(self)) != NULL) { /* ends: see there */
        job->run(job, self);
    }
    (void)bnx_fetch_add_seq_cst(&pool->threads_left, 1); /* O1 */
    (void)bnx_os.futex_wake(&pool->threads_left, 1);
}

/* Joins and frees threads that have left. */
static void reap_ended(struct bnx_thread_pool *pool) {
    for (;;) {                         /* ends: one fewer each round */
        bnx_lock_acquire(&pool->lock); /* L1 */
        struct bnx_pool_thread *thread = CK_SLIST_FIRST(&pool->ended);
        if (thread != NULL) {
            CK_SLIST_REMOVE_HEAD(&pool->ended, link);
        }
        bnx_lock_release(&pool->lock); /* L1 */
        if (thread == NULL) {
            return;
        }
        (void)bnx_os.thread_join(&thread->os); /* it has nothing left to do */
        bnx_os.release(thread);
    }
}

int bnx_thread_start(struct bnx_os_thread *thread) {
    const struct bnx_worker *worker = bnx_worker_current();
    bool is_kept = worker != NULL && (worker->runtime->flags & BNX_GUEST) == 0;
    if (is_kept && !BNX_PLANT(threads_stay_near)) {
        bnx_worker_keep_near(worker, false);
    }
    int error = bnx_os.thread_create(thread);
    if (is_kept) {
        bnx_worker_keep_near(worker, true);
    }
    return error;
}

static int start_thread(struct bnx_thread_pool *pool) {
    struct bnx_pool_thread *thread =
        bnx_os.allocate(sizeof(*thread), _Alignof(struct bnx_pool_thread));
    if (thread == NULL) {
        return -ENOMEM;
    }
    memset(thread, 0, sizeof(*thread));
    thread->pool = pool;
    thread->fp = bnx_worker_current()->carrier.fp;
    thread->os = (struct bnx_os_thread){.entry = thread_main,
                                        .arg = thread,
                                        .stack_bytes = THREAD_STACK_BYTES,
                                        .name = "bnx-offload"};
    int error = bnx_thread_start(&thread->os);
    if (error != 0) {
        bnx_os.release(thread);
    }
    return error;
}

/* A thread could not be started. While another one lives or starts the jobs wait for that;
 * otherwise they are refused. */
static void refuse_jobs(struct bnx_thread_pool *pool, int error) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    pool->thread_count--;
    pool->starting_count--;
    struct bnx_thread_job *job;
    while (pool->thread_count == 0 &&
           (job = pop_job(pool)) != NULL) { /* ends: one fewer each round */
        job->refuse(job, error);
    }
    bnx_lock_release(&pool->lock); /* L1 */
}

void bnx_thread_pool_post(struct bnx_thread_pool *pool, struct bnx_thread_job *job) {
    reap_ended(pool);
    bnx_lock_acquire(&pool->lock); /* L1 */
    CK_STAILQ_INSERT_TAIL(&pool->jobs, job, link);
    pool->job_count++;
    job->is_queued = true;
    bool is_needed = pool->idle_count + pool->starting_count < pool->job_count &&
                     pool->thread_count < pool->threads_max;
    if (is_needed) {
        pool->thread_count++;
        pool->starting_count++;
    }
    (void)bnx_fetch_add_seq_cst(&pool->jobs_posted, 1); /* O1 */
    bnx_lock_release(&pool->lock);                      /* L1 */
    (void)bnx_os.futex_wake(&pool->jobs_posted, 1);
    int error = is_needed ? start_thread(pool) : 0;
    if (error != 0) {
        refuse_jobs(pool, error);
    }
}

bool bnx_thread_pool_take_back(struct bnx_thread_pool *pool, struct bnx_thread_job *job) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    bool is_queued = job->is_queued;
    if (is_queued) {
        CK_STAILQ_REMOVE(&pool->jobs, job, bnx_thread_job, link);
        pool->job_count--;
        job->is_queued = false;
    }
    bnx_lock_release(&pool->lock); /* L1 */
    return is_queued;
}

int bnx_thread_pool_create(uint32_t threads_max, bool may_interrupt,
                           struct bnx_thread_pool **out_pool) {
    struct bnx_thread_pool *pool = bnx_os.allocate(sizeof(*pool), _Alignof(struct bnx_thread_pool));
    if (pool == NULL) {
        return -ENOMEM;
    }
    memset(pool, 0, sizeof(*pool));
    pool->threads_max = threads_max;
    pool->may_interrupt = may_interrupt;
    bnx_lock_init(&pool->lock);
    CK_STAILQ_INIT(&pool->jobs);
    CK_SLIST_INIT(&pool->ended);
    *out_pool = pool;
    return 0;
}

void bnx_thread_pool_destroy(struct bnx_thread_pool *pool) {
    if (pool == NULL) {
        return;
    }
    bnx_lock_acquire(&pool->lock); /* L1 */
    pool->is_stopping = true;
    (void)bnx_fetch_add_seq_cst(&pool->jobs_posted, 1); /* O1 */
    uint32_t alive = pool->thread_count;
    bnx_lock_release(&pool->lock); /* L1 */
    (void)bnx_os.futex_wake(&pool->jobs_posted, INT32_MAX);
    while (alive != 0) { /* ends: no task is left, so every thread is idle or leaving */
        uint32_t left = bnx_load_seq_cst(&pool->threads_left); /* O1 */
        bnx_lock_acquire(&pool->lock);                         /* L1 */
        alive = pool->thread_count;
        bnx_lock_release(&pool->lock); /* L1 */
        if (alive != 0) {
            (void)bnx_os.futex_wait(&pool->threads_left, left, BNX_NEVER_NS);
        }
    }
    reap_ended(pool);
    bnx_os.release(pool);
}

/* ---- What jobs ask of their thread ---- */

/* The signals may be another runtime's, which gives them back whenever it ends: a signal that is
 * sent after that ends the process. */
static bool may_interrupt(const struct bnx_pool_thread *thread) {
    return thread->pool->may_interrupt || BNX_PLANT(pool_signals_unasked);
}

uint32_t bnx_pool_thread_tid(const struct bnx_pool_thread *thread) {
    return may_interrupt(thread) ? thread->tid : 0;
}

struct bnx_carrier *bnx_pool_thread_carrier(struct bnx_pool_thread *thread) {
    return &thread->carrier;
}

void bnx_pool_thread_interruptible(const struct bnx_pool_thread *thread, bool is_interruptible) {
    if (!may_interrupt(thread)) {
        return;
    }
    if (is_interruptible) {
        bnx_rescue_thread_enter();
    } else {
        bnx_rescue_thread_leave();
    }
}

void bnx_pool_thread_interrupt(uint32_t tid) {
    if (tid != 0) {
        bnx_rescue_interrupt(tid);
    }
}
