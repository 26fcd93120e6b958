/* SPDX-License-Identifier: MIT */
/* Beginning, claiming and ending the waits of tasks and threads (waiter.h). */
#include "runtime/waiter.h"

#include <errno.h>

static inline bool claim(struct bnx_sleeper *sleeper, struct bnx_waiter *waiter,
                         struct bnx_wakee *out_wakee) {
    struct bnx_task *task = sleeper->task;
    if (bnx_likely(task != NULL)) {
        if (!bnx_wait_claim(task, sleeper->sequence, BNX_WAKE)) {
            return false;
        }
        out_wakee->task = task;
    } else {
        if (!bnx_thread_block_claim(sleeper->block, sleeper->sequence)) {
            return false;
        }
        out_wakee->block = sleeper->block;
    }
    sleeper->winner = waiter;
    return true;
}

bool bnx_waiter_claim(struct bnx_waiter *waiter, int result, struct bnx_wakee *out_wakee) {
    waiter->result = result;
    out_wakee->task = NULL;
    out_wakee->block = NULL;
    /* Spares the most common an indirect call. */
    if (bnx_likely(waiter->fire == bnx_sleeper_fire)) {
        return claim(waiter->owner, waiter, out_wakee);
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
    return claim(waiter->owner, waiter, out_wakee);
}

bool bnx_sleeper_claim(struct bnx_sleeper *sleeper, struct bnx_waiter *waiter,
                       struct bnx_wakee *out_wakee) {
    return claim(sleeper, waiter, out_wakee);
}

static int begin_thread(struct bnx_sleeper *sleeper) {
    if (sleeper->block == NULL) {
        sleeper->block = bnx_thread_block_take();
        if (sleeper->block == NULL) {
            return -ENOMEM;
        }
    }
    sleeper->sequence = bnx_thread_block_begin(sleeper->block);
    return 0;
}

int bnx_sleeper_begin(struct bnx_sleeper *sleeper) {
    struct bnx_task *task = sleeper->task;
    sleeper->winner = NULL;
    if (bnx_unlikely(task == NULL)) {
        return begin_thread(sleeper);
    }
    int error = bnx_wait_publish(task);
    if (bnx_unlikely(error < 0)) {
        return error;
    }
    /* Relaxed: only the task bumps it. Nobody has the sleeper yet who could miss it. */
    sleeper->sequence = BNX_WAIT_SEQUENCE(bnx_load_relaxed(&task->wait));
    return 0; /* after a 1 too: a canceller has it already, which sleep will say */
}

int bnx_sleeper_begin_always(struct bnx_sleeper *sleeper) {
    sleeper->winner = NULL;
    if (sleeper->task == NULL) {
        return begin_thread(sleeper);
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
