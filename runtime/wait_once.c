/* SPDX-License-Identifier: MIT */
/* Waiting on a one-shot wait queue (wait_once.h). */
#include "runtime/wait_once.h"

#include "runtime/waiter.h"

static int wait_slow(struct bnx_waitq *queue, enum bnx_wait_reason reason, const void *object) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, NULL);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        return error;
    }
    bool is_added = bnx_waitq_add(queue, &waiter);
    if (is_added || !bnx_sleeper_withdraw(&sleeper)) {
        error = bnx_sleeper_sleep(&sleeper, reason, object);
        if (error != 0 && is_added) {
            bnx_waitq_remove(queue, &waiter);
        }
    }
    bnx_sleeper_fini(&sleeper);
    return error;
}

int bnx_wait_once(struct bnx_waitq *queue, enum bnx_wait_reason reason, const void *object) {
    if (!bnx_waitq_is_done(queue)) {
        return wait_slow(queue, reason, object); /* whose begin looks for a cancel */
    }
    struct bnx_task *self = bnx_task_current();
    return self != NULL ? bnx_task_cancel_check(self) : 0;
}
