/* SPDX-License-Identifier: MIT */
/*
 * A barrier: a fixed number of tasks or OS threads wait until all of them have come, again and
 * again.
 */
#ifndef BONXIE_BARRIER_H
#define BONXIE_BARRIER_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;

/* All fields are private. */
struct bnx_barrier {
    uint32_t lock;                 /* guards what follows */
    uint32_t count;                /* how many make a round; immutable after init */
    uint32_t arrived;              /* of this round */
    struct bnx_waiter *waiters[2]; /* those, first and last */
};

/* clang-format off */
#define BNX_BARRIER_INIT(count) {0, (count), 0, {0, 0}}
/* clang-format on */

/**
 * Prepares a barrier in the caller's memory; it needs no end.
 * @param count how many make a round, at least 1.
 */
BNX_API void bnx_barrier_init(struct bnx_barrier *barrier, uint32_t count);

/**
 * Waits until count parties have come.
 * Returns 1 to the one that came last, 0 to the others; -ECANCELED or -ETIMEDOUT: the caller's
 * scope was cancelled before the round was complete, it is as if the caller had not come; -ENOMEM
 * (an OS thread). A round that is complete is so for all of its parties, also for one that is
 * cancelled in that moment.
 * Context: task, suspends; on any other thread it blocks. What any party did before is visible to
 * all after it. The barrier's memory may be given back once all parties have returned.
 */
BNX_API int bnx_barrier_wait(struct bnx_barrier *barrier);

BNX_EXTERN_C_END

#endif
