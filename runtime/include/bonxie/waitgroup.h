/* SPDX-License-Identifier: MIT */
/*
 * A wait group: counts what is still to be done, and lets others wait until that is nothing.
 *
 *     bnx_waitgroup_add(&group, 2);      each of two parties, in whatever tasks or threads they
 *     run, bnx_waitgroup_wait(&group);        calls bnx_waitgroup_done(&group)
 *
 * For tasks a scope is simpler: its close waits for them. A wait group also counts what is no task.
 */
#ifndef BONXIE_WAITGROUP_H
#define BONXIE_WAITGROUP_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;

/* All zero is a group with nothing to do. All fields are private. */
struct bnx_waitgroup {
    uint64_t word;                 /* what is to be done, and whether somebody waits */
    struct bnx_waiter *waiters[2]; /* first and last; under lock */
    uint32_t lock;                 /* guards the waiters */
};

/* clang-format off */
#define BNX_WAITGROUP_INIT {0}
/* clang-format on */

/**
 * Changes the count, which must not become negative (that panics). What brings it to zero wakes all
 * who wait. After that the group may be used again.
 * @param delta from -2^31 to 2^31.
 * Context: any thread; never suspends.
 */
BNX_API void bnx_waitgroup_add(struct bnx_waitgroup *group, int64_t delta);

/** Takes one off the count. Context: as bnx_waitgroup_add. */
BNX_API void bnx_waitgroup_done(struct bnx_waitgroup *group);

/**
 * Waits until the count is, or has been since the call, zero.
 * Returns 0: what was done before each call that lowered the count is visible, and the group's
 * memory may be given back if nobody else uses it: not even the last done touches it any more.
 * -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before; -ENOMEM (an OS thread).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_waitgroup_wait(struct bnx_waitgroup *group);

BNX_EXTERN_C_END

#endif
