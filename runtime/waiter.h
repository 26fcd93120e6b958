/* SPDX-License-Identifier: MIT */
/*
 * Who waits: a task or an OS thread, for one thing or for several of which one shall win.
 *
 * Concepts
 *   sleeper  one wait of one task or thread, in its frame. One CAS claims it: the wait word of the
 *            task, or the same word in the thread's block. Whoever wins it commits what it hands
 *            over and wakes; everybody else, cancels and timers included, fails.
 *   waiter   the sleeper's registration with one waitable (bonxie/waitable.h). A sleeper has one
 *            for each thing it waits for.
 *
 * Protocol
 *     begin -> add a waiter to each queue -> sleep -> remove every waiter that did not win
 *   begin publishes the wait, so that everything after it may be claimed. When an add finds that
 *   the thing is there already, withdraw: true, nobody has claimed the sleeper and it may take the
 *   thing itself; false, somebody has: sleep, and believe him.
 *   A claimed sleeper does not run before it is woken: its frame may be written to until then.
 *
 * Invariants
 *   Between begin and the end of sleep or a true withdraw nothing else begins a wait of this task.
 *   winner != NULL after sleep has returned 0.
 *
 * Ordering
 *   N1 thread claim  CAS acq_rel of the block's word; what the sleeper wrote before begin is
 *                    visible to the claimer. (A task's: T3 in task_pvt.h.)
 *   N2 thread woken  store-release of the block's word -> the sleeping thread's load-acquire: what
 *                    the claimer committed.
 */
#ifndef BNX_RUNTIME_WAITER_H
#define BNX_RUNTIME_WAITER_H

#include "runtime/task_pvt.h"
#include "runtime/thread_wait.h"
#include "runtime/wait.h"

#include <bonxie/waitable.h>

struct bnx_sleeper {
    struct bnx_task *task;          /* who; NULL: an OS thread; immutable after init */
    struct bnx_thread_block *block; /* the thread's; taken by the first begin */
    uint64_t sequence;              /* of the wait; the sleeper, before its first waiter is added */
    struct bnx_waiter *winner;      /* the waiter through which it was claimed; the claimer */
};

/** Prepares a sleeper for the caller, task or thread. No resource is held yet. */
static inline void bnx_sleeper_init(struct bnx_sleeper *sleeper) {
    sleeper->task = bnx_task_current();
    sleeper->block = NULL;
    sleeper->winner = NULL;
}

/** The fire function of a waiter whose owner is a sleeper that one claim ends. */
bool bnx_sleeper_fire(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee);

/** Prepares a waiter of the sleeper. */
static inline void bnx_waiter_init(struct bnx_waiter *waiter, struct bnx_sleeper *sleeper,
                                   void *data) {
    waiter->fire = bnx_sleeper_fire;
    waiter->owner = sleeper;
    waiter->data = data;
    waiter->state = 0;
}

/**
 * Claims a sleeper on behalf of one of its waiters, which becomes the winner.
 * Returns false when it was claimed, or had given up, before. Any thread; the sleeper is known to
 * be there.
 */
static inline bool bnx_sleeper_claim(struct bnx_sleeper *sleeper, struct bnx_waiter *waiter,
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

/** The begin of a thread's. Returns 0 or -ENOMEM. */
int bnx_sleeper_begin_thread(struct bnx_sleeper *sleeper);

/**
 * Publishes the wait. A fully ended wait may be followed by another begin of the same sleeper.
 * Returns 0; -ECANCELED or -ETIMEDOUT: refused, nothing was published; -ENOMEM (a thread).
 */
static inline int bnx_sleeper_begin(struct bnx_sleeper *sleeper) {
    struct bnx_task *task = sleeper->task;
    sleeper->winner = NULL;
    if (bnx_unlikely(task == NULL)) {
        return bnx_sleeper_begin_thread(sleeper);
    }
    int error = bnx_wait_publish_numbered(task, &sleeper->sequence);
    return error < 0 ? error : 0; /* after a 1 a canceller has it already, which sleep will say */
}

/** As bnx_sleeper_begin for a wait that no cancel refuses; one may end it all the same. */
int bnx_sleeper_begin_always(struct bnx_sleeper *sleeper);

/** Takes the wait back. False: somebody has claimed it: bnx_sleeper_sleep must follow. */
bool bnx_sleeper_withdraw(struct bnx_sleeper *sleeper);

/**
 * Sleeps until somebody has claimed the sleeper.
 * Returns 0 with winner set; -ECANCELED or -ETIMEDOUT when a cancel did: the caller then removes
 * all its waiters.
 */
static inline int bnx_sleeper_sleep(struct bnx_sleeper *sleeper, enum bnx_wait_reason reason,
                                    const void *object) {
    if (bnx_unlikely(sleeper->task == NULL)) {
        bnx_thread_block_sleep(sleeper->block, sleeper->sequence);
        return 0;
    }
    (void)bnx_task_park(sleeper->task, reason, object); /* inline: see switch_away in task.c */
    return bnx_wait_end(sleeper->task);
}

/** Gives back what a thread's waits needed. The sleeper's last call; for a task it does nothing. */
static inline void bnx_sleeper_fini(struct bnx_sleeper *sleeper) {
    if (bnx_unlikely(sleeper->block != NULL)) {
        bnx_thread_block_give(sleeper->block);
        sleeper->block = NULL;
    }
}

/**
 * Waits until a waitable that hands nothing out is done; the caller has found that it is not.
 * @param ops its own: where they are set late, waitable->ops need not be.
 * Returns 0; -ECANCELED or -ETIMEDOUT; -ENOMEM (a thread).
 * Context: task, suspends; on any other thread it blocks.
 */
int bnx_waitable_wait(const struct bnx_waitable_ops *ops, struct bnx_waitable *waitable,
                      enum bnx_wait_reason reason, const void *object);

/* ---- A FIFO of waiters under its owner's lock: what sync objects and channels keep ---- */

struct bnx_waiter_list {
    struct bnx_waiter *first; /* has waited longest; all under the owner's lock */
    struct bnx_waiter *last;
};

#define BNX_WAITER_LINKED 1u /* in waiter->state of one that is in a list; the rest is its user's */

static inline void bnx_waiter_list_push(struct bnx_waiter_list *list, struct bnx_waiter *waiter) {
    waiter->next = NULL;
    waiter->prev = list->last;
    if (list->last != NULL) {
        list->last->next = waiter;
    } else {
        list->first = waiter;
    }
    list->last = waiter;
    waiter->state = BNX_WAITER_LINKED;
}

/** Back to the front: one that was woken and found nothing keeps its place. */
static inline void bnx_waiter_list_push_first(struct bnx_waiter_list *list,
                                              struct bnx_waiter *waiter) {
    waiter->prev = NULL;
    waiter->next = list->first;
    if (list->first != NULL) {
        list->first->prev = waiter;
    } else {
        list->last = waiter;
    }
    list->first = waiter;
    waiter->state = BNX_WAITER_LINKED;
}

/** Takes a waiter out; one that is in no list (somebody took it out) is left alone. */
static inline void bnx_waiter_list_remove(struct bnx_waiter_list *list, struct bnx_waiter *waiter) {
    if ((waiter->state & BNX_WAITER_LINKED) == 0) {
        return;
    }
    if (waiter->prev != NULL) {
        waiter->prev->next = waiter->next;
    } else {
        list->first = waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->prev = waiter->prev;
    } else {
        list->last = waiter->prev;
    }
    waiter->state = 0;
}

/**
 * Takes out the oldest waiter that can still be claimed, and claims it. Those that cannot are taken
 * out and forgotten. Returns NULL when none is left. The caller hands over, unlocks, wakes.
 */
static inline struct bnx_waiter *bnx_waiter_list_claim(struct bnx_waiter_list *list, int result,
                                                       struct bnx_wakee *out_wakee) {
    struct bnx_waiter *waiter;
    while ((waiter = list->first) != NULL) { /* ends: one fewer each round */
        bnx_waiter_list_remove(list, waiter);
        if (bnx_waiter_claim(waiter, result, out_wakee)) {
            return waiter;
        }
    }
    return NULL;
}

/**
 * What a waitable is. An atomic read: of several that ask a semaphore for its waitable first, the
 * losers' CAS may still be under way, and ThreadSanitizer takes one that fails for a write.
 */
static inline const struct bnx_waitable_ops *
bnx_waitable_ops_of(const struct bnx_waitable *waitable) {
    return bnx_load_relaxed(&waitable->ops); /* set before the caller had the waitable */
}

#endif
