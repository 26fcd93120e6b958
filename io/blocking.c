/* SPDX-License-Identifier: MIT */
/* Operations on threads of the pool (blocking.h). */
#include "io/blocking.h"

#include "io/op.h"
#include "io/perform.h"

#include "runtime/clock.h"
#include "runtime/thread_pool.h"

#include <errno.h>

#define INTERRUPT_NS BNX_NS_PER_MS /* between two signals, and two looks */

enum { WAITING, RUNNING, DONE };

struct bnx_blocking_op {
    struct bnx_thread_job job;
    CK_LIST_ENTRY(bnx_blocking_op) at; /* K2 */
    struct bnx_blocking *blocking;
    struct bnx_op *op;
    struct bnx_task *task;
    uint64_t sequence;       /* of the wait */
    ssize_t result;          /* K1 */
    uint32_t tid;            /* of the thread; 0: not to be interrupted; written before RUNNING */
    uint32_t state;          /* K1 */
    uint32_t is_interrupted; /* K3 */
    bool is_closed;          /* K2 */
};

static struct bnx_blocking_op *blocking_op_of(struct bnx_thread_job *job) {
    return BNX_CONTAINER_OF(job, struct bnx_blocking_op, job);
}

/* It has no more to do with its descriptor. */
static void leave_list(struct bnx_blocking_op *self) {
    bnx_lock_acquire(&self->blocking->lock); /* K2 */
    CK_LIST_REMOVE(self, at);
    bnx_lock_release(&self->blocking->lock); /* K2 */
}

/* ---- On a thread of the pool ---- */

static bool claim(struct bnx_thread_job *job, struct bnx_pool_thread *thread) {
    struct bnx_blocking_op *self = blocking_op_of(job);
    bnx_store_relaxed(&self->tid, bnx_pool_thread_tid(thread)); /* published by the state */
    bnx_store_release(&self->state, RUNNING);                   /* K1 */
    return true;
}

/* K1: the last access of this thread. */
static void end(struct bnx_blocking_op *self, ssize_t result) {
    struct bnx_task *task = self->task;
    self->result = result;
    if (bnx_wait_claim(task, self->sequence, BNX_WAKE)) {
        bnx_task_ready(task);
    } else {
        bnx_store_release(&self->state, DONE); /* K1 */
    }
}

static void run(struct bnx_thread_job *job, struct bnx_pool_thread *thread) {
    struct bnx_blocking_op *self = blocking_op_of(job);
    ssize_t result = -EINTR;
    bnx_pool_thread_interruptible(thread, true);
    while (result == -EINTR && bnx_load_acquire(&self->is_interrupted) == 0) { /* K3 */
        result = bnx_op_perform(self->op); /* ends: a signal that is not for this op comes once */
    }
    bnx_pool_thread_interruptible(thread, false);
    leave_list(self);
    end(self, result);
}

static void refuse(struct bnx_thread_job *job, int error) {
    struct bnx_blocking_op *self = blocking_op_of(job);
    leave_list(self);
    end(self, error);
}

/* ---- On the task ---- */

static void interrupt(struct bnx_blocking_op *self) {
    bnx_store_release(&self->is_interrupted, 1);     /* K3 */
    if (bnx_load_acquire(&self->state) == RUNNING) { /* K1; else it has not begun, or is over */
        bnx_pool_thread_interrupt(bnx_load_relaxed(&self->tid));
    }
}

/* A cancel has claimed the wait. Returns whether the call was made at all. */
static bool wait_for_call(struct bnx_blocking_op *self) {
    if (bnx_thread_pool_take_back(bnx_thread_pool_current(), &self->job)) {
        leave_list(self);
        return false;
    }
    while (bnx_load_acquire(&self->state) != DONE) { /* K1; ends with the call */
        if (!BNX_PLANT(blocking_not_interrupted)) {
            interrupt(self);
        }
        bnx_task_nap(self->task, INTERRUPT_NS);
    }
    return true;
}

ssize_t bnx_blocking_run(struct bnx_blocking *blocking, struct bnx_task *self, struct bnx_op *op,
                         enum bnx_wait_reason reason) {
    struct bnx_blocking_op record = {.job = {.claim = claim, .run = run, .refuse = refuse},
                                     .blocking = blocking,
                                     .op = op,
                                     .task = self,
                                     .sequence = bnx_wait_next_sequence(self)};
    int error = bnx_wait_publish(self);
    if (error < 0) {
        return error;
    }
    bnx_lock_acquire(&blocking->lock); /* K2 */
    CK_LIST_INSERT_HEAD(&blocking->ops, &record, at);
    bnx_lock_release(&blocking->lock); /* K2 */
    bnx_thread_pool_post(bnx_thread_pool_current(), &record.job);
    (void)bnx_task_park(self, reason, (const void *)(intptr_t)op->fd);
    error = bnx_wait_end(self);
    if (error != 0 && !wait_for_call(&record)) {
        return error;
    }
    if (record.result == -EINTR) {
        return record.is_closed ? -EBADF : error != 0 ? error : -EINTR;
    }
    return record.result;
}

/* ---- Closing ---- */

bool bnx_blocking_close_fd(struct bnx_blocking *blocking, int fd) {
    bool is_any = false;
    struct bnx_blocking_op *record;
    bnx_lock_acquire(&blocking->lock); /* K2 */
    CK_LIST_FOREACH(record, &blocking->ops, at) {
        if (bnx_op_is_at(record->op, fd)) {
            is_any = true;
            record->is_closed = true;
            interrupt(record);
        }
    }
    bnx_lock_release(&blocking->lock); /* K2 */
    return is_any;
}
