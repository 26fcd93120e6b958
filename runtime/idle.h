/* SPDX-License-Identifier: MIT */
/*
 * Who sleeps and who searches: the words behind "wake a worker" and "may I steal now".
 *
 * Concepts
 *   A worker without work searches (tries to steal), then parks. At most half of the awake workers
 *   search at a time, and at least one may: more of them only disturb those that work. A push that
 *   finds somebody searching wakes nobody: the searcher will see it. A worker that is woken comes
 *   out as a searcher; the waker has counted it already, so a burst of pushes wakes one worker,
 *   which wakes the next when there is more than it can take.
 *   The lowest index is woken first: a light load stays on few, warm workers.
 *
 * Protocol (two parties, either order; the model is tests/models/park.pml)
 *   producer                                  parker
 *   1 puts the work into a queue              1 sets its parked bit
 *   2 reads searching: > 0 means done         2 leaves searching, when it searched
 *   3 reads parked bits: takes one away       3 looks into every queue, and at stop; a short one
 *                                               is its owner's, who is awake (steal.c)
 *   4 whoever took the bit sends the wake     4 found: takes its bit back; else sleeps
 *
 *   Every access named here is seq_cst. If the producer saw the searcher, its put came before the
 *   parker's step 3. If it saw no bit, the same. So no work is left while all sleep. A worker whose
 *   bit was taken by another gets a wake, now or at its next park; wakes are sticky, one too many
 *   is harmless.
 *   A push by a worker to its own queue skips the order of steps 1 to 3 (relaxed reads): that
 *   worker is awake and will run it. If it does not come to that for a millisecond or two, the
 *   watchdog wakes somebody.
 *
 * Ordering
 *   I1 push / park: the producer's queue store and the parker's bit, as above.
 *   I2 push / stop searching: the producer's queue store and the searcher's decrement.
 */
#ifndef BNX_RUNTIME_IDLE_H
#define BNX_RUNTIME_IDLE_H

#include "runtime/atomic.h"

#define BNX_WORKERS_MAX 256
#define BNX_IDLE_WORDS (BNX_WORKERS_MAX / 64)

struct bnx_idle {
    BNX_APART uint32_t searching;    /* workers that search, woken ones included; any thread */
    uint32_t parked_count;           /* bits set below, a hint; any thread */
    uint64_t parked[BNX_IDLE_WORDS]; /* bit i: worker i sleeps or is about to; any thread */
    uint32_t worker_count;           /* immutable */
};

void bnx_idle_init(struct bnx_idle *idle, uint32_t worker_count);

/** Worker: may it search now? True: it is counted, and ends with bnx_idle_search_end. */
bool bnx_idle_search_begin(struct bnx_idle *idle);

/** Worker: it has found something, or gives up. Returns true when it was the last one. */
bool bnx_idle_search_end(struct bnx_idle *idle);

/** Worker: step 1 of the parker. */
void bnx_idle_enter(struct bnx_idle *idle, uint32_t index);

/**
 * Worker: takes its bit back, before or after sleeping. Returns true when the bit was still there.
 * False: somebody took it to wake this worker, and has counted it as a searcher.
 */
bool bnx_idle_leave(struct bnx_idle *idle, uint32_t index);

/**
 * Says whether a given worker sleeps or is about to: the caller has put work where only that worker
 * looks, and sends it a wake if so. The bit stays: the worker takes it back itself.
 * Context: any thread.
 */
bool bnx_idle_is_parked(const struct bnx_idle *idle, uint32_t index);

/**
 * Takes the bit of the lowest parked worker, unless somebody searches already. Returns its index:
 * the caller must wake it; or -1. Context: any thread, after putting work where all look.
 */
int bnx_idle_claim_any(struct bnx_idle *idle);

/** Says without any order whether a push may have somebody to wake. */
static inline bool bnx_idle_may_wake(const struct bnx_idle *idle) {
    /* Relaxed: a hint on a read-mostly line; see the last paragraph of Protocol. */
    return bnx_load_relaxed(&idle->parked_count) != 0 && bnx_load_relaxed(&idle->searching) == 0;
}

#endif
