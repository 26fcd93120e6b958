/* SPDX-License-Identifier: MIT */
/*
 * Blocking work: the task itself goes over to a thread of the pool (bonxie/offload.h).
 *
 * Concepts
 *   A job lies in the waiting task's frame. A pool thread claims the task's wait, and from then on
 *   the task is its own: it resumes the task on its own OS thread, where the task calls the
 *   blocking function and comes back to the pool thread's stack, and only then becomes ready for
 *   the workers again.
 *   A cancel that claims the wait first makes the task ready elsewhere; it takes its job off the
 *   list itself. A pool thread that finds a claimed job drops it without touching it again.
 */
#include <bonxie/offload.h>

#include "runtime/runtime_pvt.h"
#include "runtime/thread_pool.h"

struct offload {
    struct bnx_thread_job job;
    struct bnx_task *task;
    uint64_t sequence;
    struct bnx_carrier *carrier; /* of the thread that claimed it, before it resumes the task */
    int error;                   /* no thread could be started: refused */
};

static struct offload *offload_of(struct bnx_thread_job *job) {
    return BNX_CONTAINER_OF(job, struct offload, job);
}

static bool claim(struct bnx_thread_job *job, struct bnx_pool_thread *thread) {
    struct offload *offload = offload_of(job);
    offload->carrier = bnx_pool_thread_carrier(thread);
    return bnx_wait_claim(offload->task, offload->sequence, BNX_WAKE);
}

static void run(struct bnx_thread_job *job, struct bnx_pool_thread *thread) {
    bnx_carrier_run(bnx_pool_thread_carrier(thread), offload_of(job)->task);
}

static void refuse(struct bnx_thread_job *job, int error) {
    struct offload *offload = offload_of(job);
    struct bnx_task *task = offload->task;
    offload->error = error;
    if (bnx_wait_claim(task, offload->sequence, BNX_WAKE)) {
        bnx_task_ready(task);
    }
}

int bnx_offload(bnx_task_fn fn, void *arg) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (self == NULL) {
        return fn(arg);
    }
    struct bnx_thread_pool *pool = worker->runtime->threads;
    struct offload offload = {.job = {.claim = claim, .run = run, .refuse = refuse},
                              .task = self,
                              .sequence = bnx_wait_next_sequence(self)};
    int error = bnx_wait_publish(self);
    if (error < 0) {
        return error;
    }
    bnx_thread_pool_post(pool, &offload.job);
    (void)bnx_task_park(self, BNX_WAIT_OFFLOAD, (const void *)(uintptr_t)fn);
    /* Here on a pool thread, which has claimed the wait; or on a worker, cancelled or refused. */
    if (self->wake_code == BNX_WAKE_CANCEL) {
        (void)bnx_thread_pool_take_back(pool, &offload.job);
        return bnx_wait_end(self);
    }
    if (offload.error != 0) {
        (void)bnx_wait_end(self);
        return offload.error;
    }
    int result = fn(arg);
    bnx_carrier_leave(offload.carrier, self);
    (void)bnx_wait_end(self);
    return result;
}
