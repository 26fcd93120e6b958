/* SPDX-License-Identifier: MIT */
/*
 * The condition variable: wait, without a mutex, for what others do under it.
 *
 *     bnx_mutex_lock(&queue->mutex);
 *     while (queue->count == 0 && error == 0) {
 *         error = bnx_cond_wait(&queue->not_empty, &queue->mutex);
 *     }
 *
 * After a wake the condition is to be looked at again: somebody may have been faster.
 */
#ifndef BONXIE_COND_H
#define BONXIE_COND_H

#include <bonxie/base.h>
#include <bonxie/mutex.h>

BNX_EXTERN_C_BEGIN

/* All zero is ready. All fields are private. */
struct bnx_cond {
    struct bnx_waiter *first; /* of those who wait: the oldest */
    struct bnx_waiter *last;  /* the youngest */
    uint32_t word;            /* guards the list, and says whether it is empty */
};

#define BNX_COND_INIT                                                                              \
    { NULL, NULL, 0 }

/** Makes a condition variable ready, as all zero is. */
BNX_API void bnx_cond_init(struct bnx_cond *cond);

/**
 * Unlocks the mutex, waits for a signal, and locks the mutex again: whatever it returns, the caller
 * holds the mutex. Unlocking and beginning to wait are one step for everybody who holds the mutex
 * when he changes the condition.
 * Returns 0: a signal or broadcast was meant for the caller, also when a cancel came between it and
 * the return. -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before or meanwhile, and
 * no signal was used up; the mutex is locked again, which no cancel refuses. -ENOMEM: a thread has
 * no memory to block with; it did not wait.
 * Context: who holds the mutex; task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_cond_wait(struct bnx_cond *cond, struct bnx_mutex *mutex);

/**
 * Ends the wait of the one who has waited longest, if there is one. He runs once he has the mutex:
 * while it is held nobody is woken only to find it so.
 * Context: any thread, with or without the mutex; never suspends.
 */
BNX_API void bnx_cond_signal(struct bnx_cond *cond);

/** Ends the waits of all who wait now; each runs once he has the mutex. Context: as signal. */
BNX_API void bnx_cond_broadcast(struct bnx_cond *cond);

BNX_EXTERN_C_END

#endif
