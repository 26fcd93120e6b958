/* SPDX-License-Identifier: MIT */
/*
 * The counting semaphore: tokens that are taken and given back.
 *
 * First come, first served: a token that is given back while somebody waits is his, and a cancel or
 * a deadline that comes at the same time either finds him served or leaves the token to the next.
 */
#ifndef BONXIE_SEM_H
#define BONXIE_SEM_H

#include <bonxie/base.h>
#include <bonxie/waitable.h>

BNX_EXTERN_C_BEGIN

/* All zero is ready and has no tokens. All fields are private. */
struct bnx_sem {
    struct bnx_waiter *first;     /* of those who wait: the oldest */
    struct bnx_waiter *last;      /* the youngest */
    struct bnx_waitable waitable; /* set when it is first asked for */
    uint64_t word;                /* tokens, and the lock of the list */
};

/* A semaphore with so many tokens, at most UINT32_MAX. */
#define BNX_SEM_INIT(count)                                                                        \
    { NULL, NULL, {NULL}, (uint64_t)(count) << 2 }

/** Makes a semaphore ready, with so many tokens. */
BNX_API void bnx_sem_init(struct bnx_sem *sem, uint32_t count);

/**
 * Takes a token, waiting for one.
 * Returns 0; -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before or meanwhile, and no
 * token was taken; -ENOMEM: a thread that must block has no memory to block with.
 * Context: task, suspends while there is none, and gives way when its time slice is used up; on any
 * other thread it blocks.
 */
BNX_API int bnx_sem_acquire(struct bnx_sem *sem);

/**
 * Takes count tokens at once: all or none. Who waits for many makes those behind him wait too.
 * @param count 0 is done at once. Otherwise as bnx_sem_acquire.
 */
BNX_API int bnx_sem_acquire_n(struct bnx_sem *sem, uint32_t count);

/**
 * Takes a token if there is one and nobody waits. Returns 0 or -EAGAIN. Any thread; never suspends,
 * no cancel refuses it.
 */
BNX_API int bnx_sem_try_acquire(struct bnx_sem *sem);

/**
 * Gives a token: to who has waited longest, if somebody waits.
 * Returns 0; -EOVERFLOW: there are UINT32_MAX already, nothing happened. Context: any thread; never
 * suspends.
 */
BNX_API int bnx_sem_release(struct bnx_sem *sem);

/** Gives count tokens. As bnx_sem_release. */
BNX_API int bnx_sem_release_n(struct bnx_sem *sem, uint32_t count);

/** Returns how many tokens nobody has. Out of date at once, while others use it. */
BNX_API uint32_t bnx_sem_count(const struct bnx_sem *sem);

/**
 * Returns the semaphore as a waitable: its result is 0, and whoever wins it has taken a token.
 * Borrowed, valid as long as the semaphore. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_sem_waitable(struct bnx_sem *sem);

BNX_EXTERN_C_END

#endif
