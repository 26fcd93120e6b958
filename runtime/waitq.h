/* SPDX-License-Identifier: MIT */
/*
 * The wait queue of something that happens once: a future is set, a task ends.
 *
 * Concepts
 *   One word {first waiter | LOCK | DONE}. A waiter is a node in the frame of whoever waits, task
 *   or OS thread; the queue knows neither and calls the node's wake function.
 *   LOCK is held for a few instructions; waiting for it yields after 64 pauses.
 *
 * Leaving
 *   Whoever added a node leaves its frame only after bnx_waitq_remove returned true (it was
 *   unlinked under LOCK), or after the node was marked: the setter reads the next pointer, calls
 *   wake, and wake marks the node as its last touch of it. DONE alone is not enough: the setter may
 *   still be on its way to the node.
 *
 * Ordering
 *   Q1 lock   acquired by CAS -> released by a store-release of the word.
 *   Q2 done   complete's store-release of DONE -> is_done's load-acquire: what the setter wrote.
 *   Q3 mark   the setter's last touch, store-release -> the leaver's load-acquire.
 */
#ifndef BNX_RUNTIME_WAITQ_H
#define BNX_RUNTIME_WAITQ_H

#include "runtime/atomic.h"

#define BNX_WAITQ_LOCK ((uintptr_t)1)
#define BNX_WAITQ_DONE ((uintptr_t)2)

struct bnx_waiter {
    struct bnx_waiter *next;                 /* under LOCK; after DONE the setter's */
    struct bnx_waiter *prev;                 /* under LOCK */
    void (*wake)(struct bnx_waiter *waiter); /* by the setter; marks the node; set by the waiter */
    uint32_t is_marked;                      /* 1: the setter is through with it; Q3 */
};

/* All zero is empty and not done. A plain word, so that it fits where a word is. */
struct bnx_waitq {
    uintptr_t word; /* any thread */
};

/** Adds a node (its wake set). Returns true; false: done already, nobody has touched the node. */
bool bnx_waitq_add(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/** Unlinks an added node. True: it may be left. False: taken by a setter: bnx_waiter_wait_mark. */
bool bnx_waitq_remove(struct bnx_waitq *queue, struct bnx_waiter *waiter);

/**
 * Sets DONE and wakes all, first added first. Returns false when it was done before: nothing
 * happened. `before` runs under LOCK while it is not done yet: it stores the value. May be NULL.
 * The queue itself is not touched after DONE is visible.
 */
bool bnx_waitq_complete(struct bnx_waitq *queue, void (*before)(void *arg), void *arg);

/** True once complete has happened; what the setter wrote before is visible. */
static inline bool bnx_waitq_is_done(const struct bnx_waitq *queue) {
    return (bnx_load_acquire(&queue->word) & BNX_WAITQ_DONE) != 0; /* Q2 */
}

/** The wake function's last touch of its node. */
static inline void bnx_waiter_mark(struct bnx_waiter *waiter) {
    bnx_store_release(&waiter->is_marked, 1); /* Q3 */
}

/** Waits until the setter is through with a node that it has taken: a few instructions. */
void bnx_waiter_wait_mark(const struct bnx_waiter *waiter);

#endif
