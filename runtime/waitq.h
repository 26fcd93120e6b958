/* SPDX-License-Identifier: MIT */
/*
 * The wait queue of something that happens once: a future is set, a task ends.
 *
 * Concepts
 *   One word {first waiter | LOCK | DONE}. A waiter is a node in the frame of whoever waits, task
 *   or OS thread (bonxie/waitable.h); the queue knows neither: it claims, and wakes whom it is
 *   told. LOCK is held for a few instructions; waiting for it yields after 64 pauses.
 *
 * Leaving
 *   Whoever added a node leaves its frame only after bnx_waitq_remove returned true (it was
 *   unlinked under LOCK), or after the node was marked: the setter reads the next pointer, claims,
 *   and marks the node as its last touch of it, before it wakes. DONE alone is not enough: the
 *   setter may still be on its way to the node.
 *
 * Ordering
 *   Q1 lock   acquired by CAS -> released by a store-release of the word.
 *   Q2 done   complete's store-release of DONE -> is_done's load-acquire: what the setter wrote.
 *   Q3 mark   the setter's last touch, store-release -> the leaver's load-acquire.
 */
#ifndef BNX_RUNTIME_WAITQ_H
#define BNX_RUNTIME_WAITQ_H

#include "runtime/atomic.h"

#include <bonxie/waitable.h>

#define BNX_WAITQ_LOCK ((uintptr_t)1)
#define BNX_WAITQ_DONE ((uintptr_t)2)

/* All zero is empty and not done. A plain word, so that it fits where a word is. */
struct bnx_waitq {
    uintptr_t word; /* any thread */
};

#define BNX_WAITER_MARKED 1u /* waiter->state: the setter is through with it; Q3 */

/** The rest of bnx_waitq_lock: somebody holds LOCK, or it is done. */
bool bnx_waitq_lock_slow(struct bnx_waitq *queue, uintptr_t *out_word);

/**
 * Takes LOCK, for a few instructions. Returns false: the queue is done. Otherwise *out_word goes to
 * one of unlock, push, finish, which release it.
 */
static inline bool bnx_waitq_lock(struct bnx_waitq *queue, uintptr_t *out_word) {
    uintptr_t word = bnx_load_relaxed(&queue->word); /* the CAS decides */
    if (bnx_likely((word & (BNX_WAITQ_LOCK | BNX_WAITQ_DONE)) == 0 &&
                   bnx_cas_acquire(&queue->word, &word, word | BNX_WAITQ_LOCK))) { /* Q1 */
        *out_word = word;
        return true;
    }
    return bnx_waitq_lock_slow(queue, out_word);
}

static inline void bnx_waitq_unlock(struct bnx_waitq *queue, uintptr_t word) {
    bnx_store_release(&queue->word, word); /* Q1 */
}

/** Adds a node and unlocks. */
static inline void bnx_waitq_push(struct bnx_waitq *queue, uintptr_t word,
                                  struct bnx_waiter *waiter) {
    struct bnx_waiter *first = (struct bnx_waiter *)word;
    bnx_store_relaxed(&waiter->state, 0); /* not shared yet */
    waiter->prev = NULL;
    waiter->next = first;
    if (first != NULL) {
        first->prev = waiter;
    }
    bnx_waitq_unlock(queue, (uintptr_t)waiter);
}

/** Sets DONE, unlocks and wakes all, as bnx_waitq_complete. */
void bnx_waitq_finish(struct bnx_waitq *queue, uintptr_t word, int result);

/** Adds a node. Returns true; false: done already, nobody has touched the node. */
bool bnx_waitq_add(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/** Unlinks an added node, or waits until the setter is through with it: it may then be left. */
void bnx_waitq_remove(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/**
 * Sets DONE and wakes all, first added first. Returns false when it was done before: nothing
 * happened. The waiters' claims say `result`. The queue itself is not touched after DONE is
 * visible.
 */
bool bnx_waitq_complete(struct bnx_waitq *queue, int result);

/** True once complete has happened; what the setter wrote before is visible. */
static inline bool bnx_waitq_is_done(const struct bnx_waitq *queue) {
    return (bnx_load_acquire(&queue->word) & BNX_WAITQ_DONE) != 0; /* Q2 */
}

#endif
