/* SPDX-License-Identifier: MIT */
/* The one place where time is read: monotonic nanoseconds, virtual in the simulator. */
#ifndef BNX_RUNTIME_CLOCK_H
#define BNX_RUNTIME_CLOCK_H

#include "runtime/os.h"

#define BNX_NS_PER_US UINT64_C(1000)
#define BNX_NS_PER_MS UINT64_C(1000000)
#define BNX_NS_PER_S UINT64_C(1000000000)

/** Reads the monotonic clock. 20-70 ns: workers read it once per reap or every few ticks. */
static inline uint64_t bnx_clock_now(void) {
    return bnx_os.clock_now();
}

/** Adds a duration to a time; saturates at BNX_NEVER_NS, so "for ever" stays for ever. */
static inline uint64_t bnx_clock_after(uint64_t now_ns, uint64_t duration_ns) {
    uint64_t sum = now_ns + duration_ns;
    return sum < now_ns ? BNX_NEVER_NS : sum;
}

#endif
