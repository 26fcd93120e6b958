/* SPDX-License-Identifier: MIT */
/*
 * The simulator, in the library built with BONXIE_SIM: one OS thread plays the whole machine.
 *
 * While bnx_sim_run runs, every thread that the runtime starts is a virtual one, time is virtual,
 * and at each access to a shared word the machine may let another thread go on. One seed decides
 * all of it: the same seed gives the same run, step by step. A run in which every thread waits for
 * ever, or that does not end, prints its seed, each thread and each task, and aborts.
 */
#ifndef BONXIE_SIM_H
#define BONXIE_SIM_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/* Zeroed but for the seed means: as the seed says. */
struct bnx_sim_options {
    uint64_t seed;            /* decides everything that is not decided here */
    uint64_t steps_max;       /* a run that takes more has failed; 0 = 20,000,000 */
    uint32_t cpu_count;       /* that the runtime sees, 1 to 1024; 0 = 4 */
    uint32_t switch_one_in;   /* another thread goes on at one step in so many; 0 = by the seed */
    uint32_t demote_one_in;   /* nonzero: the thread of the highest priority runs, and becomes the
                                 lowest at one step in so many; switch_one_in does not count then */
    uint32_t spurious_one_in; /* futex waits that end without a cause; 0 = 64 */
};

struct bnx_sim_report {
    uint64_t trace_hash; /* of each switch: which step, to which thread; equal: the same run */
    uint64_t steps;      /* accesses to shared words */
    uint64_t switches;   /* between threads */
    uint64_t virtual_ns; /* that have passed */
};

/**
 * Runs fn(arg) on a simulated machine, as its first thread. fn may create runtimes, and must have
 * destroyed them when it returns; threads that it starts itself it must have joined.
 * @param out_report may be NULL.
 * Returns fn's value; -EINVAL: cpu_count; -EBUSY: a simulation is running.
 * Context: a thread that is alone in using bonxie. Blocks; aborts when the run fails.
 */
BNX_API int bnx_sim_run(const struct bnx_sim_options *options, bnx_task_fn fn, void *arg,
                        struct bnx_sim_report *out_report);

/**
 * Starts a virtual thread that runs fn(arg).
 * Returns its number, for bnx_sim_thread_join; -EAGAIN: too many. Context: any virtual thread.
 */
BNX_API int bnx_sim_thread_start(bnx_task_fn fn, void *arg);

/** Waits until a virtual thread has ended. Returns fn's value. Context: virtual thread, no task. */
BNX_API int bnx_sim_thread_join(int thread);

/** Draws a number below bound (> 0) from the seed, for choices of the simulated program's own. */
BNX_API uint32_t bnx_sim_draw(uint32_t bound);

BNX_EXTERN_C_END

#endif
