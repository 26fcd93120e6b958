/* SPDX-License-Identifier: MIT */
/*
 * The runtime's internal mechanisms as C++ can call them, for their headers are C. Each function
 * makes `rounds` operations in a loop and returns a number that shows that all of them happened.
 */
#ifndef BNX_BENCH_MICRO_INTERNALS_H
#define BNX_BENCH_MICRO_INTERNALS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Switches to a second stack and back, two switches a round. Returns the visits; 0: no memory. */
uint64_t bnx_bench_switch(uint64_t rounds);

/** Pushes an item onto a runq and pops it. Returns how often the item came back. */
uint64_t bnx_bench_runq_push_pop(uint64_t rounds);

/**
 * Two runqs rob each other in turn of half of what they have.
 * @param out_moved receives how many items changed sides.
 * Returns the raids that found something; 0 when an item was lost.
 */
uint64_t bnx_bench_runq_steal(uint64_t rounds, uint64_t *out_moved);

/** Pushes an item onto a deque that holds others and pops it. Returns how often it came back. */
uint64_t bnx_bench_deque_push_pop(uint64_t rounds);

/** Pushes messages into an inbox, 64 at a time, and pops them. Returns how many came in order. */
uint64_t bnx_bench_inbox_push(uint64_t rounds);

/**
 * Takes a timer node, arms it on the calling task's worker and ends it.
 * Returns the rounds made; 0 when a timer was left. Context: a task; 0 elsewhere.
 */
uint64_t bnx_bench_timer_arm_cancel(uint64_t rounds);

/** Arms a timer on a wheel and disarms it. Returns how many were armed when they were disarmed. */
uint64_t bnx_bench_wheel_arm_disarm(uint64_t rounds);

/** Arms timers by the thousand, moves the clock and takes them off. Returns how many expired. */
uint64_t bnx_bench_wheel_fire(uint64_t rounds);

#ifdef __cplusplus
}
#endif

#endif
