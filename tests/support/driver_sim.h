/* SPDX-License-Identifier: MIT */
/*
 * A driver whose operations take a seeded virtual time, complete in any order and honour a cancel,
 * as the kernel does: a cancel may come too late, and the terminal completion alone ends the wait.
 * For tests on the simulated machine.
 */
#ifndef BNX_TESTS_SUPPORT_DRIVER_SIM_H
#define BNX_TESTS_SUPPORT_DRIVER_SIM_H

#include <stdint.h>

/**
 * Performs an operation that completes with `result` (>= 0) about latency_ns from now.
 * Returns result; -ECANCELED, -ETIMEDOUT: cancelled before it began, or ended by a cancel;
 * -EAGAIN: refused, which one in eight is.
 * Context: task; suspends. Not a yield: an operation without latency may still suspend.
 */
int sim_op(uint64_t latency_ns, int result);

/**
 * How many operations were ended by a cancel since the process began, and how many cancels came
 * after the operation had completed. For tests that want to have seen both.
 */
extern uint64_t sim_ops_ended, sim_cancels_late;

#endif
