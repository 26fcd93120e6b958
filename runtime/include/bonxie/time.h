/* SPDX-License-Identifier: MIT */
/* Time and sleeping. All times are CLOCK_MONOTONIC nanoseconds, virtual in a simulated runtime. */
#ifndef BONXIE_TIME_H
#define BONXIE_TIME_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/** Returns the time now. 20-70 ns. Context: anywhere. */
BNX_API uint64_t bnx_now(void);

/**
 * Sleeps at least so long; up to 65.5 us longer (one tick of the timer wheel) on an idle worker, up
 * to 0.33 ms where timers come up in crowds: it then wakes less often than for each of them.
 * @param ns 0 yields.
 * Returns 0; -ECANCELED or -ETIMEDOUT: the task's scope was cancelled before or meanwhile; -ENOMEM.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_sleep(uint64_t ns);

/** As bnx_sleep, until a time; UINT64_MAX sleeps until cancelled. */
BNX_API int bnx_sleep_until(uint64_t deadline_ns);

BNX_EXTERN_C_END

#endif
