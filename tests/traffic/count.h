/* SPDX-License-Identifier: MIT */
/*
 * Counts the accesses to shared words on the simulated machine: how many are locked instructions,
 * and how many take a cache line from another CPU.
 *
 * Concepts
 *   locked     a read-modify-write, or a store seq_cst, which x86 makes by an exchange. A
 *              compare-and-swap that fails is one too.
 *   contended  a write of any sort to a line of 64 bytes that another thread has read or written
 *              since this thread wrote to it last: it waits for that one's cache to give it up.
 *   What goes by way of runtime/atomic.h and runtime/lock.h is seen, plain fields are not.
 */
#ifndef BNX_TESTS_TRAFFIC_COUNT_H
#define BNX_TESTS_TRAFFIC_COUNT_H

#include <stdint.h>

struct traffic {
    uint64_t loads;
    uint64_t writes;    /* of all sorts */
    uint64_t locked;    /* of those */
    uint64_t contended; /* of the writes */
};

/** Forgets everything and counts from now on. Context: within bnx_sim_run. */
void traffic_start(void);

/** Counts no more; what was counted stays. */
void traffic_stop(void);

/** Returns what was counted since traffic_start. */
struct traffic traffic_so_far(void);

/** The accesses from now on count as those of a thread with this number; -1: of who makes them. */
void traffic_as(int thread);

/** Calls fn for each word of four bytes that was touched, in no order. */
void traffic_each_word(void (*fn)(uintptr_t address, const struct traffic *word));

#endif
