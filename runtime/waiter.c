/* SPDX-License-Identifier: MIT */
/* Beginning, claiming and ending the waits of tasks and threads (waiter.h). */
#include "runtime/waiter.h"

#include <errno.h>

bool bnx_waiter_claim(struct bnx_waiter *waiter, int result, struct bnx_wakee *out_wakee) {
    waiter->result = result;
    out_wakee->task = NULL;
    out_wakee->block = NULL;
    /* Spares the most common an indirect call. */
    if (bnx_likely(waiter->fire == bnx_sleeper_fire)) {
        return bnx_sleeper_claim(waiter->owner, waiter, out_wakee);
    }
    return waiter->fire(waiter, out_wakee);
}

void bnx_wakee_wake(const struct bnx_wakee *wakee) {
    if (bnx_likely(wakee->task != NULL)) {
        bnx_task_ready(wakee->task);
    } else if (wakee->block != NULL) {
        bnx_thread_block_wake(wakee->block);
    }
}

bool bnx_sleeper_fire(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee) {
    return bnx_sleeper_claim(waiter->owner, waiter, out_wakee);
}

int bnx_sleeper_begin_thread(struct bnx_sleeper *sleeper) {
    if (sleeper->block == NULL) {
        sleeper->block = bnx_thread_block_take();
        if (sleeper->block == NULL) {
            return -ENOMEM;
        }
    }
    sleeper->sequence = bnx_thread_block_begin(sleeper->block);
    return 0;
}

int bnx_sleeper_begin_always(struct bnx_sleeper *sleeper) {
    sleeper->winner = NULL;
    if (sleeper->task == NULL) {
        return bnx_sleeper_begin_thread(sleeper);
    }
    sleeper->sequence = bnx_wait_publish_always(sleeper->task);
    return 0;
}

bool bnx_sleeper_withdraw(struct bnx_sleeper *sleeper) {
    if (bnx_likely(sleeper->task != NULL)) {
        return bnx_wait_withdraw(sleeper->task);
    }
    return bnx_thread_block_claim(sleeper->block, sleeper->sequence);
}

int bnx_waitable_wait(const struct bnx_waitable_ops *ops, struct bnx_waitable *waitable,
                      enum bnx_wait_reason reason, const void *object) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, NULL);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        return error;
    }
    bool is_added = ops->add(waitable, &waiter);
    if (is_added || !bnx_sleeper_withdraw(&sleeper)) {
        error = bnx_sleeper_sleep(&sleeper, reason, object);
        if (error != 0 && is_added) {
            ops->remove(waitable, &waiter);
        }
    }
    bnx_sleeper_fini(&sleeper);
    return error;
}
