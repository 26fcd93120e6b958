/* SPDX-License-Identifier: MIT */
/*
 * Waitables: whatever a task or an OS thread can wait for, one at a time or many at once.
 *
 *     struct bnx_waitable *both[] = {bnx_future_waitable(reply), bnx_task_waitable(helper)};
 *     size_t which;
 *     int result = bnx_wait(both, 2, BNX_WAIT_FIRST, &which);
 *
 * Futures, tasks, events, semaphores and timers are waitables; bnx_select (select.h) takes them
 * too. Something of your own becomes one by filling a struct bnx_waitable_ops and embedding a
 * struct bnx_waitable; the second half of this file is for its author.
 */
#ifndef BONXIE_WAITABLE_H
#define BONXIE_WAITABLE_H

#include <bonxie/base.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

struct bnx_iter;
struct bnx_waitable_ops;

/* First and only word: what it is. Embedded in each thing that can be waited for. */
struct bnx_waitable {
    const struct bnx_waitable_ops *ops; /* immutable */
};

enum bnx_wait_mode {
    BNX_WAIT_ALL = 0,        /* until all are done */
    BNX_WAIT_FIRST = 1,      /* until one is */
    BNX_WAIT_FIRST_ERROR = 2 /* until one has failed, or all are done */
};

/**
 * Waits for waitables.
 * @param waitables not NULL, count of them, the same one not twice; borrowed for the call.
 * @param count 0 is done at once (FIRST: -EINVAL).
 * @param mode with ALL and FIRST_ERROR each must be one that happens once (a future, a task, an
 *   event, a timer): a semaphore, which hands something out, is -EINVAL there.
 * @param out_index receives which one ended the wait: FIRST the first done (of several that are
 *   done already, the first in the array), FIRST_ERROR the first failed; else untouched. May be
 *   NULL.
 * Returns FIRST: its result, >= 0 or < 0. ALL: 0, whatever the results were. FIRST_ERROR: the first
 * error, or 0. -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled first; nothing was taken.
 * A waitable's own result may be one of these two as well: out_index, or bnx_checkpoint, tells.
 * -ENOMEM (more than 16 and no memory, or a thread that cannot wait); -EINVAL; -EDEADLK: one of
 * them is the calling task.
 * Waiting for a task is no join: a handle of the root scope is still to be joined or detached.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_wait(struct bnx_waitable *const *waitables, size_t count, enum bnx_wait_mode mode,
                     size_t *out_index);

enum bnx_gather_flags {
    BNX_GATHER_COLLECT = 1u << 0 /* wait for all, also when one has failed */
};

/**
 * Waits for all and collects their results; without COLLECT, returns as soon as one has failed.
 * Cancels nobody: the tasks that are left belong to their scopes.
 * @param out_results receives count results, in the order of waitables: a task's value, 0 for a
 *   future with a value, or the error; those not done yet -EINPROGRESS. Untouched when the wait
 *   itself failed (its caller was cancelled, -ENOMEM, -EINVAL). May be NULL.
 * Returns 0; the first error (with COLLECT: 0, the errors are in out_results); otherwise as
 * bnx_wait with ALL. Context: as bnx_wait.
 */
BNX_API int bnx_gather(struct bnx_waitable *const *waitables, size_t count, int *out_results,
                       unsigned flags);

/**
 * Waits until one has succeeded (result >= 0), or all have failed.
 * @param out_index receives which one succeeded; untouched otherwise. May be NULL.
 * Returns the winner's result; when all failed the last error; otherwise as bnx_wait with ALL, and
 * -EINVAL where count is 0.
 * Context: as bnx_wait. Cancels nobody: a race of tasks that ends the losers is a scope with
 * BNX_SCOPE_RACE.
 */
BNX_API int bnx_race(struct bnx_waitable *const *waitables, size_t count, size_t *out_index);

/**
 * Makes an iterator (iter.h) over waitables in the order in which they become done. A value is the
 * index of one of them, as `(void *)(uintptr_t)`; its result is the waitable's to tell.
 *     BNX_FOR_EACH(value, &iter) {
 *         show(pages[(uintptr_t)value]);
 *     }
 * @param waitables as for bnx_wait with ALL; the array may end, what it names must live until
 * close.
 * @param out_iter filled; next suspends (on a thread it blocks) and returns -ECANCELED or
 *   -ETIMEDOUT when its caller's scope is cancelled: it may then be called again. close lets go of
 *   those that are left and never suspends. One user at a time, task or thread.
 * Returns 0; -ENOMEM; -EINVAL (NULL, or one that hands out). Context: any thread; never suspends.
 */
BNX_API int bnx_as_completed(struct bnx_waitable *const *waitables, size_t count,
                             struct bnx_iter *out_iter);

/* ---- For the author of a waitable ---- */

struct bnx_waiter;

/* Whom to wake: filled by bnx_waiter_claim, for bnx_wakee_wake. Both NULL: nobody. */
struct bnx_wakee {
    struct bnx_task *task;
    struct bnx_thread_block *block;
};

/*
 * One registration of somebody who waits, in his frame. The waitable keeps it in a list of its own
 * from a successful `add` until it has claimed it or `remove` has taken it out.
 */
struct bnx_waiter {
    struct bnx_waiter *next; /* the waitable's to use, under its lock */
    struct bnx_waiter *prev; /* the waitable's to use */
    bool (*fire)(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee); /* the library's */
    void *owner;    /* the library's: who waits */
    void *data;     /* where what is handed over goes or comes from; NULL: nowhere */
    int result;     /* what the claim said */
    uint32_t state; /* the waitable's to use; 0 when it is added */
};

/*
 * A waitable either happens once and stays so (a future), or hands something out to one waiter at a
 * time (a semaphore): then it is taken from. None of the three functions suspends or blocks, and
 * the library calls them under none of its own locks.
 *
 * What happens once offers itself to all its waiters when it happens; from then on take says true
 * and add false. It may keep its lock over the claims, or not: then remove must wait until the
 * claim of its waiter is over.
 */
struct bnx_waitable_ops {
    /**
     * Takes what is there. data as in bnx_waiter. Any thread; never suspends.
     * Returns whether it was done, with its result in *out_result (>= 0, or an -errno).
     */
    bool (*take)(struct bnx_waitable *waitable, void *data, int *out_result);
    /**
     * Registers a waiter. Returns false when it could be taken from right now: then the waiter was
     * not touched. Looking and registering are one step, under the waitable's lock.
     */
    bool (*add)(struct bnx_waitable *waitable, struct bnx_waiter *waiter);
    /**
     * Ends a registration: the waiter is not touched any more after the return, whether it was
     * claimed meanwhile, and so is in no list any more, or not. Called at most once for each that
     * was added; one that was claimed need not be removed.
     */
    void (*remove)(struct bnx_waitable *waitable, struct bnx_waiter *waiter);
    bool hands_out;   /* each take uses something up */
    const char *name; /* of the kind, in reports: "future" */
};

/**
 * Offers the event to a waiter. Called under the lock that `remove` takes, so that the waiter is
 * still there, once a registration.
 * Returns true: it is his; hand over what `data` asks for, take the waiter out of the list and,
 * after the lock is released, call bnx_wakee_wake: *out_wakee may name nobody, as long as he waits
 * for others too. False: he has been served elsewhere or has given up; take him out and go on with
 * the next.
 * @param result what `take` would have said: >= 0, or an -errno.
 * Context: any thread; never suspends, never allocates, takes no lock but the waiter's own.
 */
BNX_API bool bnx_waiter_claim(struct bnx_waiter *waiter, int result, struct bnx_wakee *out_wakee);

/** Wakes whom a claim has named. The waiter's frame may be gone after it. Any thread. */
BNX_API void bnx_wakee_wake(const struct bnx_wakee *wakee);

BNX_EXTERN_C_END

#endif
