/* SPDX-License-Identifier: MIT */
/* Waiting in the FIFO of an object that has a spin lock (list_wait.h). */
#include "runtime/list_wait.h"

/* Leaves after a cancel. */
static int give_up(const struct bnx_list_wait *wait, struct bnx_waiter *waiter, int error) {
    bnx_lock_acquire(bnx_lock_of(wait->lock)); /* L1 */
    bool was_in_list = waiter->state == BNX_WAITER_LINKED;
    if (!BNX_PLANT(list_wait_stays_listed)) {
        bnx_waiter_list_remove(bnx_waiters_of(wait->waiters), waiter);
    }
    int result =
        wait->give_up != NULL ? wait->give_up(wait->object, wait->data, was_in_list, error) : error;
    bnx_lock_release(bnx_lock_of(wait->lock)); /* L1 */
    return result;
}

int bnx_list_wait(const struct bnx_list_wait *wait) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, wait->data);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        return error;
    }
    int result = 1;
    bnx_lock_acquire(bnx_lock_of(wait->lock)); /* L1 */
    if (wait->take(wait->object, wait->data)) {
        bnx_lock_release(bnx_lock_of(wait->lock)); /* L1 */
        result = 0;
        if (!bnx_sleeper_withdraw(&sleeper)) {
            /* Only a cancel can have claimed it. What was taken is taken: the next call says so. */
            (void)bnx_sleeper_sleep(&sleeper, wait->reason, wait->object);
        }
    } else {
        bnx_waiter_list_push(bnx_waiters_of(wait->waiters), &waiter);
        bnx_lock_release(bnx_lock_of(wait->lock)); /* L1 */
        error = bnx_sleeper_sleep(&sleeper, wait->reason, wait->object);
        if (error != 0) {
            result = give_up(wait, &waiter, error);
        }
    }
    bnx_sleeper_fini(&sleeper);
    return result;
}
