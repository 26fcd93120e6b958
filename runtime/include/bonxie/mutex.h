/* SPDX-License-Identifier: MIT */
/*
 * The mutex: one task or OS thread at a time.
 *
 *     static struct bnx_mutex mutex;
 *     BNX_LOCK(&mutex) {                          (defer.h; or bnx_mutex_lock and bnx_mutex_unlock)
 *         count++;
 *     }
 *
 * A task that must wait parks; a thread that is no task blocks. Whoever comes while it is free
 * takes it, also past others who wait; one that has waited for a millisecond is handed it. It may
 * be held over calls that suspend, and a task that holds it may come back on another thread.
 */
#ifndef BONXIE_MUTEX_H
#define BONXIE_MUTEX_H

#include <bonxie/base.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;

/* All zero is ready and free. All fields are private. */
struct bnx_mutex {
    struct bnx_waiter *first; /* of those who wait: the oldest */
    struct bnx_waiter *last;  /* the youngest */
    const void *owner;        /* who holds it; NULL: nobody, or not yet */
    uint32_t word;            /* is it held, does its unlock have more to do */
    uint32_t lock;            /* guards the list */
    uint32_t is_woken;        /* somebody from the list is on his way */
};

#define BNX_MUTEX_INIT                                                                             \
    { NULL, NULL, NULL, 0, 0, 0 }

/** Makes a mutex ready, as all zero is. */
BNX_API void bnx_mutex_init(struct bnx_mutex *mutex);

/**
 * Locks the mutex.
 * Returns 0: the caller holds it. -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before
 * or meanwhile, and it does not. -EDEADLK: it holds it already. -ENOMEM: a thread that must block
 * has no memory to block with.
 * Context: task, suspends while another holds it, and gives way when its time slice is used up; on
 * any other thread it blocks. About 10 ns when it is free.
 */
BNX_API int bnx_mutex_lock(struct bnx_mutex *mutex);

/** Locks it if it is free. Returns 0 or -EBUSY. Any thread; never suspends, not refused. */
BNX_API int bnx_mutex_try_lock(struct bnx_mutex *mutex);

/**
 * Unlocks the mutex and lets one of those who wait try. When somebody else has locked it since, he
 * may free its memory: this call does not touch it any more.
 * Context: who holds it (debug builds check that); never suspends, no cancel refuses it.
 */
BNX_API void bnx_mutex_unlock(struct bnx_mutex *mutex);

/** Returns whether somebody holds it. Out of date at once, unless it is the caller. */
BNX_API bool bnx_mutex_is_locked(const struct bnx_mutex *mutex);

BNX_EXTERN_C_END

#endif
