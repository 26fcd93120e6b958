/* SPDX-License-Identifier: MIT */
/* Runs a scenario on the simulated machine, once for each of many seeds. */
#ifndef BNX_TESTS_SIM_SEEDS_H
#define BNX_TESTS_SIM_SEEDS_H

#include <bonxie/runtime.h>
#include <bonxie/sim.h>

/**
 * Runs scenario(NULL) under `count` seeds, scaled by BONXIE_SCALE, from bnx_test_seed() on. Returns
 * when it returned 0 each time; else prints the seed and ends the test as failed. With BONXIE_SEED
 * the first run is that seed's.
 */
void seeds_run(uint64_t count, bnx_task_fn scenario);

/** The options of a scenario's runtime, by the seed: 1 to 3 workers, spin, watchdog. */
struct bnx_options seeds_options(void);

/** bnx_run with seeds_options. Returns fn's value. */
int seeds_bnx_run(bnx_task_fn fn, void *arg);

#endif
