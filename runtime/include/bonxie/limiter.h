/* SPDX-License-Identifier: MIT */
/*
 * A limiter: so many tokens, each borrowed by somebody in particular.
 *
 *     struct bnx_limiter limiter;
 *     bnx_limiter_init(&limiter, 10);
 *     int error = bnx_limiter_acquire(&limiter);     at most ten tasks are past this line
 *     ...
 *     bnx_limiter_release(&limiter);
 *
 * Unlike a semaphore it knows who has a token: a second one for the same borrower is refused, which
 * would otherwise be a deadlock that shows under load alone, and so is a release by one who has
 * none. The borrower is the calling task or OS thread; or any pointer that stands for one: a
 * connection, a request. In a fork (fork.h), which may run in another task, name the borrower.
 * Tokens are handed out in the order in which they were asked for. A borrower that ends returns its
 * token first: another task may later have the same identity.
 */
#ifndef BONXIE_LIMITER_H
#define BONXIE_LIMITER_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;
struct bnx_limiter_slot;

/* All zero is a limiter without tokens. All fields are private. */
struct bnx_limiter {
    uint32_t lock;                  /* guards all that follows */
    size_t tokens;                  /* in all; may be less than are borrowed */
    size_t borrowed;                /* with a borrower */
    size_t entries;                 /* borrowers, those that wait included */
    struct bnx_limiter_slot *slots; /* a hash table of them */
    size_t slot_count;              /* a power of two, or 0 */
    struct bnx_waiter *waiters[2];  /* first and last */
};

/* A snapshot. */
struct bnx_limiter_statistics {
    size_t tokens;   /* in all */
    size_t borrowed; /* more than tokens after these were lowered, until enough are released */
    size_t waiting;  /* borrowers that wait */
};

/** Prepares a limiter in the caller's memory. @param tokens 0 is allowed; SIZE_MAX: no limit. */
BNX_API void bnx_limiter_init(struct bnx_limiter *limiter, size_t tokens);

/** Frees what the limiter keeps. Nobody waits any more; tokens that are still borrowed are gone. */
BNX_API void bnx_limiter_fini(struct bnx_limiter *limiter);

/**
 * Borrows a token for the caller, waiting for one if need be.
 * Returns 0; -EDEADLK: the caller has one; -ECANCELED or -ETIMEDOUT: its scope was cancelled first;
 * -ENOMEM. Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_limiter_acquire(struct bnx_limiter *limiter);

/** As bnx_limiter_acquire without waiting: -EAGAIN, no token or others wait. Any thread. */
BNX_API int bnx_limiter_try_acquire(struct bnx_limiter *limiter);

/** Gives the caller's token back. Returns 0; -EPERM: it has none. Any thread; never suspends. */
BNX_API int bnx_limiter_release(struct bnx_limiter *limiter);

/**
 * As bnx_limiter_acquire, for a borrower of the caller's choice.
 * @param borrower never followed, only compared; not NULL (-EINVAL). -EDEADLK: it has a token, or
 *   somebody waits for one on its behalf.
 */
BNX_API int bnx_limiter_acquire_for(struct bnx_limiter *limiter, const void *borrower);

/** As bnx_limiter_try_acquire, for a borrower. */
BNX_API int bnx_limiter_try_acquire_for(struct bnx_limiter *limiter, const void *borrower);

/** As bnx_limiter_release, for a borrower; not only by whoever acquired it. */
BNX_API int bnx_limiter_release_for(struct bnx_limiter *limiter, const void *borrower);

/**
 * Changes how many tokens there are. More go to those who wait, in order; when there are fewer than
 * are borrowed, nobody gets one until enough were released. Any thread; never suspends.
 */
BNX_API void bnx_limiter_tokens_set(struct bnx_limiter *limiter, size_t tokens);

/** Tells how many tokens there are, are borrowed, are waited for. Any thread; never suspends. */
BNX_API void bnx_limiter_statistics_get(struct bnx_limiter *limiter,
                                        struct bnx_limiter_statistics *out_statistics);

BNX_EXTERN_C_END

#endif
