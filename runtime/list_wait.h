/* SPDX-License-Identifier: MIT */
/*
 * Waiting in the FIFO of an object that has a spin lock: what most synchronisation objects share.
 *
 * Concepts
 *   take      the object's own look, under its lock: what is wanted is there and now the caller's,
 *             or it is not, and the waiter goes to the end of the list in the same lock hold.
 *   Every waiter in such a list is of a sleeper (waiter.h) and waits for this one thing.
 *
 * Who gives up
 *   A cancel claims the sleeper without the object's lock, so the object may still count a waiter
 *   that is about to leave. The leaver takes the lock and is told whether it was in the list until
 *   then: only if it was, it has not been counted or chosen by anybody.
 */
#ifndef BNX_RUNTIME_LIST_WAIT_H
#define BNX_RUNTIME_LIST_WAIT_H

#include "runtime/sync_pvt.h"

_Static_assert(sizeof(struct bnx_lock) <= sizeof(uint32_t), "a public struct has room for a lock");
_Static_assert(sizeof(struct bnx_waiter_list) == sizeof(struct bnx_waiter *[2]),
               "a public struct has room for a list");

/** The lock that a public struct keeps as a plain word. */
static inline struct bnx_lock *bnx_lock_of(uint32_t *word) {
    return (struct bnx_lock *)(void *)word;
}

/** The list that a public struct keeps as two pointers; touched through this alone. */
static inline struct bnx_waiter_list *bnx_waiters_of(struct bnx_waiter **pair) {
    return (struct bnx_waiter_list *)(void *)pair;
}

/**
 * Claims the oldest waiter that can be claimed, for the chain. Returns it, or NULL: none is left.
 */
static inline struct bnx_waiter *bnx_wake_chain_claim(struct bnx_wake_chain *chain,
                                                      struct bnx_waiter_list *list) {
    struct bnx_wakee wakee;
    struct bnx_waiter *waiter = bnx_waiter_list_claim(list, 0, &wakee);
    if (waiter != NULL) {
        bnx_wake_chain_add(chain, waiter, &wakee);
    }
    return waiter;
}

struct bnx_list_wait {
    uint32_t *lock;              /* of the object */
    struct bnx_waiter **waiters; /* its list */
    void *object;                /* for the calls below, and for reports */
    void *data;                  /* of this wait; also in waiter->data, for the waker */
    enum bnx_wait_reason reason;
    /** Under the lock, before the waiter is added. True: there is nothing to wait for. */
    bool (*take)(void *object, void *data);
    /** Under the lock, after a cancel; the waiter is out of the list. Returns what the wait shall
     * return. NULL: `error` it is. */
    int (*give_up)(void *object, void *data, bool was_in_list, int error);
};

/**
 * Waits. The caller has checked for a cancel, and found that it probably has to wait.
 * Returns 0: take said true; 1: woken; what give_up returned; -ECANCELED, -ETIMEDOUT: refused,
 * neither take nor give_up was called; -ENOMEM as well on a thread.
 * Context: task, suspends; on any other thread it blocks.
 */
int bnx_list_wait(const struct bnx_list_wait *wait);

#endif
