/* SPDX-License-Identifier: MIT */
/* Waiting on a one-shot wait queue (wait_once.h). */
#include "runtime/wait_once.h"

#include "runtime/thread_wait.h"

#include <errno.h>

struct task_waiter {
    struct bnx_waiter waiter;
    struct bnx_task *task;
    uint64_t sequence;
};

static void wake_task(struct bnx_waiter *waiter) {
    struct task_waiter *self = BNX_CONTAINER_OF(waiter, struct task_waiter, waiter);
    struct bnx_task *task = self->task;
    bool is_mine = bnx_wait_claim(task, self->sequence, BNX_WAKE);
    bnx_waiter_mark(waiter); /* before ready: the frame may be gone once the task runs */
    if (is_mine) {
        bnx_task_ready(task);
    }
}

static int wait_as_task(struct bnx_task *self, struct bnx_waitq *queue, enum bnx_wait_reason reason,
                        const void *object) {
    int error = bnx_task_cancel_check(self);
    if (error != 0 || bnx_waitq_is_done(queue)) {
        return error;
    }
    struct task_waiter node = {.task = self, .sequence = bnx_wait_next_sequence(self)};
    node.waiter.wake = wake_task;
    error = bnx_wait_publish(self);
    if (error < 0) {
        return error;
    }
    bool is_added = bnx_waitq_add(queue, &node.waiter);
    if (!is_added && bnx_wait_withdraw(self)) {
        return 0;
    }
    (void)bnx_task_park(self, reason, object);
    error = bnx_wait_end(self);
    if (error != 0 && is_added && !bnx_waitq_remove(queue, &node.waiter)) {
        bnx_waiter_wait_mark(&node.waiter);
    }
    return error;
}

struct thread_waiter {
    struct bnx_waiter waiter;
    struct bnx_thread_block *block;
};

static void wake_thread(struct bnx_waiter *waiter) {
    struct thread_waiter *self = BNX_CONTAINER_OF(waiter, struct thread_waiter, waiter);
    struct bnx_thread_block *block = self->block;
    bnx_waiter_mark(waiter); /* the frame may be gone from here on; the block is never freed */
    bnx_thread_block_signal(block);
}

static int wait_as_thread(struct bnx_waitq *queue) {
    struct thread_waiter node = {.block = bnx_thread_block_take()};
    if (node.block == NULL) {
        return -ENOMEM;
    }
    node.waiter.wake = wake_thread;
    if (bnx_waitq_add(queue, &node.waiter)) {
        uint32_t seen = bnx_thread_block_count(node.block);
        while (bnx_load_acquire(&node.waiter.is_marked) == 0) { /* Q3; ends with complete */
            bnx_thread_block_wait(node.block, seen);
            seen = bnx_thread_block_count(node.block);
        }
    }
    bnx_thread_block_give(node.block);
    return 0;
}

int bnx_wait_once(struct bnx_waitq *queue, enum bnx_wait_reason reason, const void *object) {
    struct bnx_task *self = bnx_task_current();
    if (self != NULL) {
        return wait_as_task(self, queue, reason, object);
    }
    return bnx_waitq_is_done(queue) ? 0 : wait_as_thread(queue);
}
