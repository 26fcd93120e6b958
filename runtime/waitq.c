/* SPDX-License-Identifier: MIT */
/* The one-shot wait queue (waitq.h). */
#include "runtime/waitq.h"

#include "runtime/check.h"
#include "runtime/lock.h"

static void pause_or_yield(int *pauses) {
    if (++*pauses < BNX_LOCK_PAUSES_MAX) {
        bnx_pause();
    } else {
        *pauses = 0;
        bnx_os.thread_yield();
    }
}

/* Ends: holders run a few instructions. */
bool bnx_waitq_lock_slow(struct bnx_waitq *queue, uintptr_t *out_word) {
    int pauses = 0;
    uintptr_t word = bnx_load_relaxed(&queue->word); /* the CAS decides */
    for (;;) {
        if ((word & BNX_WAITQ_DONE) != 0) {
            (void)bnx_load_acquire(
                &queue->word); /* Q2: done is an answer, so it must be a whole one */
            return false;
        }
        if ((word & BNX_WAITQ_LOCK) == 0) {
            if (bnx_cas_acquire(&queue->word, &word, word | BNX_WAITQ_LOCK)) { /* Q1 */
                *out_word = word;
                return true;
            }
            continue;
        }
        pause_or_yield(&pauses);
        word = bnx_load_relaxed(&queue->word); /* as above */
    }
}

bool bnx_waitq_add(struct bnx_waitq *queue, struct bnx_waiter *waiter) {
    uintptr_t word;
    if (!bnx_waitq_lock(queue, &word)) {
        return false;
    }
    bnx_waitq_push(queue, word, waiter);
    return true;
}

/* Waits until the setter is through with a node that it has taken: a few instructions. */
static void wait_mark(const struct bnx_waiter *waiter) {
    if (BNX_PLANT(waitq_leave_on_done)) {
        return;
    }
    int pauses = 0;
    while (bnx_load_acquire(&waiter->state) != BNX_WAITER_MARKED) { /* Q3; ends: see Leaving */
        pause_or_yield(&pauses);
    }
}

void bnx_waitq_remove(struct bnx_waitq *queue, struct bnx_waiter *waiter) {
    uintptr_t word;
    if (!bnx_waitq_lock(queue, &word)) {
        wait_mark(waiter);
        return;
    }
    if (waiter->prev != NULL) {
        waiter->prev->next = waiter->next;
    } else {
        BNX_ASSERT((struct bnx_waiter *)word == waiter);
        word = (uintptr_t)waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->prev = waiter->prev;
    }
    bnx_waitq_unlock(queue, word);
}

/* Claims, lets go of the node, wakes: in this order, for the frame may be gone once it wakes. */
static void serve(struct bnx_waiter *waiter, int result) {
    struct bnx_wakee wakee;
    bool is_taken = bnx_waiter_claim(waiter, result, &wakee);
    bnx_store_release(&waiter->state, BNX_WAITER_MARKED); /* Q3 */
    if (is_taken) {
        bnx_wakee_wake(&wakee);
    }
}

void bnx_waitq_finish(struct bnx_waitq *queue, uintptr_t word, int result) {
    bnx_store_release(&queue->word, BNX_WAITQ_DONE); /* Q1 Q2: the last touch of the queue */
    /* Nodes were added at the front; the one that has waited longest is woken first. */
    struct bnx_waiter *oldest = NULL;
    struct bnx_waiter *waiter = (struct bnx_waiter *)word;
    while (waiter != NULL) {
        struct bnx_waiter *next = waiter->next;
        waiter->next = oldest;
        oldest = waiter;
        waiter = next;
    }
    while (oldest != NULL) {
        struct bnx_waiter *next = oldest->next;
        serve(oldest, result);
        oldest = next;
    }
}

bool bnx_waitq_complete(struct bnx_waitq *queue, int result) {
    uintptr_t word;
    if (!bnx_waitq_lock(queue, &word)) {
        return false;
    }
    bnx_waitq_finish(queue, word, result);
    return true;
}
