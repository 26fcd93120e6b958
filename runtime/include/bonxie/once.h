/* SPDX-License-Identifier: MIT */
/* Once: what the first caller does for all, while the others wait. */
#ifndef BONXIE_ONCE_H
#define BONXIE_ONCE_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;

/* All zero is ready. All fields are private. */
struct bnx_once {
    struct bnx_waiter *first; /* of those who wait for the one that runs: the oldest */
    struct bnx_waiter *last;  /* the youngest */
    const void *owner;        /* who runs it */
    uint32_t word;            /* is it done, does somebody run it, the lock of the list */
    int result;               /* once it is done */
};

#define BNX_ONCE_INIT                                                                              \
    { NULL, NULL, NULL, 0, 0 }

/** Makes a once ready, as all zero is. */
BNX_API void bnx_once_init(struct bnx_once *once);

/**
 * Calls fn(arg), if no call of it with this once has succeeded yet; waits while another is at it.
 * A value >= 0 is kept: every later call returns it at once. A value < 0 is returned to all who
 * waited for that try; the next who calls tries again.
 * Returns fn's value; -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before, or while
 * it waited for another's fn, which runs on; -EDEADLK: called from fn itself; -ENOMEM: a thread
 * that must block has no memory to block with.
 * Context: task, suspends while another is at it, or if fn does; on any other thread it blocks.
 */
BNX_API int bnx_once_run(struct bnx_once *once, bnx_task_fn fn, void *arg);

BNX_EXTERN_C_END

#endif
