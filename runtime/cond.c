/* SPDX-License-Identifier: MIT */
/*
 * The condition variable (bonxie/cond.h).
 *
 * A signal claims the oldest waiter and moves him to the list of his mutex, where he waits as if he
 * had called bnx_mutex_lock: the unlock of who holds it wakes him. So a broadcast to a thousand
 * wakes one, whose unlock wakes the next; nobody is woken to find the mutex held. The claim has
 * decided already: a cancel that comes while he waits for the mutex finds a wake, and the call
 * returns 0.
 *
 * Ordering
 *   The list is under the word's LOCK (Y1 in sync_pvt.h). A waiter is in it before he unlocks the
 *   mutex, so whoever locks that after him sees WAITERS (M1 in mutex.c): a signal may look at the
 *   word without the lock. One who signals without having held the mutex may miss a waiter who
 *   comes at the same time, as he may come a moment before.
 *   The waiter's record is his claimer's from the claim to the wake.
 */
#include <bonxie/cond.h>

#include "runtime/sync_pvt.h"

#define WAITERS 2u /* the list is not empty, but for those whom a cancel has claimed */

static struct bnx_waiter_list *list_of(struct bnx_cond *cond) {
    return (struct bnx_waiter_list *)(void *)&cond->first;
}
_Static_assert(offsetof(struct bnx_cond, last) - offsetof(struct bnx_cond, first) ==
                   offsetof(struct bnx_waiter_list, last),
               "the public struct has room for the list");

static void unlock_word(struct bnx_cond *cond) {
    bnx_store_release(&cond->word, cond->first != NULL ? WAITERS : 0); /* Y1 */
}

void bnx_cond_init(struct bnx_cond *cond) {
    *cond = (struct bnx_cond)BNX_COND_INIT;
}

static void add(struct bnx_cond *cond, struct bnx_waiter *waiter) {
    (void)bnx_sync_lock(&cond->word);
    bnx_waiter_list_push(list_of(cond), waiter);
    unlock_word(cond);
}

static void leave(struct bnx_cond *cond, struct bnx_waiter *waiter) {
    (void)bnx_sync_lock(&cond->word);
    bnx_waiter_list_remove(list_of(cond), waiter);
    unlock_word(cond);
}

int bnx_cond_wait(struct bnx_cond *cond, struct bnx_mutex *mutex) {
    struct bnx_sleeper sleeper;
    struct bnx_mutex_waiter self = {.mutex = mutex};
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&self.waiter, &sleeper, NULL);
    error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        return error;
    }
    add(cond, &self.waiter);
    bnx_mutex_unlock(mutex);
    error = bnx_sleeper_sleep(&sleeper, BNX_WAIT_COND, cond);
    if (error == 0) {
        bnx_mutex_finish_move(&sleeper, &self);
        if (BNX_PLANT(cond_cancel_beats_wake) && sleeper.task != NULL) {
            error = bnx_task_cancel_check(sleeper.task);
        }
    } else {
        leave(cond, &self.waiter);
        bnx_mutex_lock_always(&sleeper, &self);
    }
    bnx_sleeper_fini(&sleeper);
    return error;
}

/* Claims the oldest waiter. Returns NULL when there is none. Under LOCK. */
static struct bnx_mutex_waiter *claim(struct bnx_cond *cond) {
    struct bnx_wakee wakee;
    struct bnx_waiter *waiter = bnx_waiter_list_claim(list_of(cond), 0, &wakee);
    if (waiter == NULL) {
        return NULL;
    }
    struct bnx_mutex_waiter *claimed = BNX_CONTAINER_OF(waiter, struct bnx_mutex_waiter, waiter);
    claimed->wakee = wakee;
    return claimed;
}

static bool is_anybody_waiting(const struct bnx_cond *cond) {
    return bnx_load_relaxed(&cond->word) != 0; /* see Ordering */
}

void bnx_cond_signal(struct bnx_cond *cond) {
    if (!is_anybody_waiting(cond)) {
        return;
    }
    (void)bnx_sync_lock(&cond->word);
    struct bnx_mutex_waiter *claimed = claim(cond);
    unlock_word(cond);
    if (claimed != NULL) {
        bnx_mutex_move_waiter(claimed);
    }
}

/* The claimed form a chain by their links, which are nobody else's until they are moved. */
void bnx_cond_broadcast(struct bnx_cond *cond) {
    if (!is_anybody_waiting(cond)) {
        return;
    }
    struct bnx_waiter *first = NULL;
    struct bnx_waiter **end = &first;
    struct bnx_mutex_waiter *claimed;
    (void)bnx_sync_lock(&cond->word);
    while ((claimed = claim(cond)) != NULL) { /* ends: one fewer each round */
        claimed->waiter.next = NULL;
        *end = &claimed->waiter;
        end = &claimed->waiter.next;
    }
    unlock_word(cond);
    while (first != NULL) { /* ends: a list that nobody adds to */
        struct bnx_waiter *next = first->next;
        claimed = BNX_CONTAINER_OF(first, struct bnx_mutex_waiter, waiter);
        if (BNX_PLANT(cond_wakes_all)) {
            bnx_wakee_wake(&claimed->wakee);
        } else {
            bnx_mutex_move_waiter(claimed);
        }
        first = next;
    }
}
