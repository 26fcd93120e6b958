/* SPDX-License-Identifier: MIT */
/*
 * Blocking work: the task itself goes over to a thread of an elastic pool (bonxie/offload.h).
 *
 * Concepts
 *   A job lies in the waiting task's frame. A pool thread takes it off the list and claims the
 *   task's wait under the pool's lock; from then on the task is its own. It resumes the task on its
 *   own OS thread, where the task calls the blocking function and comes back to the pool thread's
 *   stack, and only then becomes ready for the workers again.
 *   A cancel that claims the wait first makes the task ready elsewhere; it takes its job off the
 *   list itself. A pool thread that finds a claimed job drops it without touching it again.
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
#include <bonxie/offload.h>

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"

#include <errno.h>
#include <string.h>

#define IDLE_NS (UINT64_C(5) * BNX_NS_PER_S)
#define THREAD_STACK_BYTES ((size_t)256 * 1024) /* tasks bring their own stacks */

struct job {
    CK_STAILQ_ENTRY(job) link; /* under the lock */
    struct bnx_task *task;
    uint64_t sequence;
    struct bnx_carrier *carrier; /* of the thread that claimed it, before it resumes the task */
    int error;                   /* no thread could be started: the job is refused */
    bool is_queued;              /* under the lock */
};

struct pool_thread {
    struct bnx_os_thread os;
    struct bnx_carrier carrier;
    struct bnx_offload_pool *pool;
    struct bnx_fp fp;                 /* the workers' control words */
    CK_SLIST_ENTRY(pool_thread) link; /* under the lock */
};

struct bnx_offload_pool {
    struct bnx_runtime *runtime;
    uint32_t threads_max;
    struct bnx_lock lock;
    CK_STAILQ_HEAD(job_list, job) jobs;
    CK_SLIST_HEAD(ended_list, pool_thread) ended; /* threads that have left, to be joined */
    uint32_t thread_count;                        /* alive or starting */
    uint32_t starting_count;                      /* of those, not at their first job yet */
    uint32_t idle_count;                          /* of those, waiting for a job */
    uint32_t job_count;                           /* queued */
    bool is_stopping;
    uint32_t jobs_posted;  /* futex: jobs pushed so far, and stop; O1 */
    uint32_t threads_left; /* futex: threads that have left; O1 */
};

/* Takes the oldest job off the list. Under the lock. */
static struct job *pop_job(struct bnx_offload_pool *pool) {
    struct job *job = CK_STAILQ_FIRST(&pool->jobs);
    if (job != NULL) {
        CK_STAILQ_REMOVE_HEAD(&pool->jobs, link);
        pool->job_count--;
        job->is_queued = false;
    }
    return job;
}

/* Takes a job whose task this thread then owns. Under the lock. */
static struct job *take_claimed(struct bnx_offload_pool *pool, struct bnx_carrier *carrier) {
    struct job *job;
    while ((job = pop_job(pool)) != NULL) { /* ends: one fewer each round */
        job->carrier = carrier;
        if (bnx_wait_claim(job->task, job->sequence, BNX_WAKE)) {
            return job;
        }
    }
    return NULL;
}

/* The next job of a thread; NULL: it has left the pool, idle too long or told to stop. */
static struct job *wait_for_job(struct pool_thread *self) {
    struct bnx_offload_pool *pool = self->pool;
    uint64_t deadline_ns = bnx_clock_after(bnx_clock_now(), IDLE_NS);
    bool is_late = false;
    bnx_lock_acquire(&pool->lock); /* L1 */
    struct job *job = take_claimed(pool, &self->carrier);
    while (job == NULL && !is_late && !pool->is_stopping) { /* ends with a job, time, or stop */
        pool->idle_count++;
        uint32_t seen = bnx_load_seq_cst(&pool->jobs_posted); /* O1 */
        bnx_lock_release(&pool->lock);                        /* L1 */
        is_late = bnx_os.futex_wait(&pool->jobs_posted, seen, deadline_ns) == -ETIMEDOUT;
        bnx_lock_acquire(&pool->lock); /* L1 */
        pool->idle_count--;
        job = take_claimed(pool, &self->carrier);
    }
    if (job == NULL) {
        pool->thread_count--;
        CK_SLIST_INSERT_HEAD(&pool->ended, self, link);
    }
    bnx_lock_release(&pool->lock); /* L1 */
    return job;
}

static void pool_thread_main(void *arg) {
    struct pool_thread *self = arg;
    struct bnx_offload_pool *pool = self->pool;
    bnx_carrier_init(&self->carrier);
    /* A new thread inherits the control words of the task that started it: not ours to keep. */
    bnx_fp_swap(&self->carrier.fp, &self->fp);
    self->carrier.fp = self->fp;
    bnx_lock_acquire(&pool->lock); /* L1 */
    pool->starting_count--;
    bnx_lock_release(&pool->lock); /* L1 */
    struct job *job;
    while ((job = wait_for_job(self)) != NULL) { /* ends: see there */
        bnx_carrier_run(&self->carrier, job->task);
    }
    (void)bnx_fetch_add_seq_cst(&pool->threads_left, 1); /* O1 */
    (void)bnx_os.futex_wake(&pool->threads_left, 1);
}

/* Joins and frees threads that have left. */
static void reap_ended(struct bnx_offload_pool *pool) {
    for (;;) {                         /* ends: one fewer each round */
        bnx_lock_acquire(&pool->lock); /* L1 */
        struct pool_thread *thread = CK_SLIST_FIRST(&pool->ended);
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

static int start_thread(struct bnx_offload_pool *pool) {
    struct pool_thread *thread = bnx_os.allocate(sizeof(*thread), _Alignof(struct pool_thread));
    if (thread == NULL) {
        return -ENOMEM;
    }
    memset(thread, 0, sizeof(*thread));
    thread->pool = pool;
    thread->fp = bnx_worker_current()->carrier.fp;
    thread->os = (struct bnx_os_thread){.entry = pool_thread_main,
                                        .arg = thread,
                                        .stack_bytes = THREAD_STACK_BYTES,
                                        .name = "bnx-offload"};
    int error = bnx_os.thread_create(&thread->os);
    if (error != 0) {
        bnx_os.release(thread);
    }
    return error;
}

/* A thread could not be started. While another one lives or starts the jobs wait for that;
 * otherwise they are refused, and their tasks resumed to say so. */
static void refuse_jobs(struct bnx_offload_pool *pool, int error) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    pool->thread_count--;
    pool->starting_count--;
    struct job *job;
    while (pool->thread_count == 0 &&
           (job = pop_job(pool)) != NULL) { /* ends: one fewer each round */
        job->error = error;
        struct bnx_task *task = job->task;
        if (bnx_wait_claim(task, job->sequence, BNX_WAKE)) {
            bnx_task_ready(task);
        }
    }
    bnx_lock_release(&pool->lock); /* L1 */
}

static void post(struct bnx_offload_pool *pool, struct job *job) {
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

static void take_back(struct bnx_offload_pool *pool, struct job *job) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    if (job->is_queued) {
        CK_STAILQ_REMOVE(&pool->jobs, job, job, link);
        pool->job_count--;
    }
    bnx_lock_release(&pool->lock); /* L1 */
}

int bnx_offload(bnx_task_fn fn, void *arg) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (self == NULL) {
        return fn(arg);
    }
    struct bnx_offload_pool *pool = worker->runtime->offload;
    reap_ended(pool);
    struct job job = {.task = self, .sequence = bnx_wait_next_sequence(self)};
    int error = bnx_wait_publish(self);
    if (error < 0) {
        return error;
    }
    post(pool, &job);
    (void)bnx_task_park(self, BNX_WAIT_OFFLOAD, (const void *)(uintptr_t)fn);
    /* Here on a pool thread, which has claimed the wait; or on a worker, cancelled or refused. */
    if (self->wake_code == BNX_WAKE_CANCEL) {
        take_back(pool, &job);
        return bnx_wait_end(self);
    }
    if (job.error != 0) {
        (void)bnx_wait_end(self);
        return job.error;
    }
    int result = fn(arg);
    bnx_carrier_leave(job.carrier, self);
    (void)bnx_wait_end(self);
    return result;
}

int bnx_offload_create(struct bnx_runtime *runtime, uint32_t threads_max) {
    struct bnx_offload_pool *pool =
        bnx_os.allocate(sizeof(*pool), _Alignof(struct bnx_offload_pool));
    if (pool == NULL) {
        return -ENOMEM;
    }
    memset(pool, 0, sizeof(*pool));
    pool->runtime = runtime;
    pool->threads_max = threads_max;
    bnx_lock_init(&pool->lock);
    CK_STAILQ_INIT(&pool->jobs);
    CK_SLIST_INIT(&pool->ended);
    runtime->offload = pool;
    return 0;
}

void bnx_offload_destroy(struct bnx_runtime *runtime) {
    struct bnx_offload_pool *pool = runtime->offload;
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
    runtime->offload = NULL;
}
