/* SPDX-License-Identifier: MIT */
/*
 * Cancelling a task wherever it may wait, one place after the other: for tests.
 *
 * Only builds with plants have it. Each look at the cancel state and each park is a place
 * (BNX_SUSPENSION).
 * They are counted beneath one scope, and at the count that was asked for the scope is cancelled:
 * by the task itself, before it looks, or when its wait is published and it is about to park. In
 * whole programs BONXIE_CANCEL_AT=N stops the runtime of the task that comes to the N-th, as a
 * signal would (bnx_main), and says so on stderr.
 *
 * Ordering
 *   K1 watch  store-release of the scope -> load-acquire at each place: its target is set.
 */
#ifndef BNX_RUNTIME_SUSPENSION_H
#define BNX_RUNTIME_SUSPENSION_H

#include "runtime/check.h"

#include <stdint.h>

struct bnx_scope;
struct bnx_task;

/** What stands at each place. Context: the task; under no lock that a cancel takes. */
void bnx_suspension_point(struct bnx_task *self);

/**
 * From now on the tasks beneath the scope, but not its opener, are counted; at the target-th place
 * it is cancelled. One scope at a time.
 */
void bnx_suspension_watch(struct bnx_scope *scope, uint64_t target);

/** Ends that, when no task is left beneath. Returns how many places were counted. */
uint64_t bnx_suspension_unwatch(void);

#endif
