/* SPDX-License-Identifier: MIT */
/*
 * The wait queue of something that happens once: a future is set, a task ends.
 *
 * Concepts
 *   One word {first waiter | LOCK | DONE}. A waiter is a node in the frame of whoever waits, task
 *   or OS thread (bonxie/waitable.h); the queue knows neither: it claims, and wakes whom it is told.
 *   LOCK is held for a few instructions; waiting for it yields after 64 pauses.
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

/** Adds a node. Returns true; false: done already, nobody has touched the node. */
bool bnx_waitq_add(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/** Unlinks an added node, or waits until the setter is through with it: it may then be left. */
void bnx_waitq_remove(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/**
 * Sets DONE and wakes all, first added first. Returns false when it was done before: nothing
 * happened. `before` runs under LOCK while it is not done yet: it stores the value. May be NULL.
 * The waiters' claims say `result`. The queue itself is not touched after DONE is visible.
 */
bool bnx_waitq_complete(struct bnx_waitq *queue, int result, void (*before)(void *arg), void *arg);

/** True once complete has happened; what the setter wrote before is visible. */
static inline bool bnx_waitq_is_done(const struct bnx_waitq *queue) {
    return (bnx_load_acquire(&queue->word) & BNX_WAITQ_DONE) != 0; /* Q2 */
}

#endif
