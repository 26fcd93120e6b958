/* SPDX-License-Identifier: MIT */
/*
 * Tasks on a strand (bonxie/strand.h), as the code sees them that suspends tasks.
 *
 * Concepts
 *   A task on a strand runs bnx_strand_main, and its argument is a struct bnx_strand_call in the
 *   descriptor: nothing else in a task says so, and other tasks pay one compare at each suspension.
 *   leave, come back: bnx_task_park and bnx_yield let go of the strand before they switch away, and
 *   take it again before they return. Waiting to come back is a park of its own, in which the wait
 *   word is not WAITING, so nothing but the strand ends it: not a cancel, not a late waker.
 *   On a thread of the offload pool a task is off its strand; bnx_carrier_leave brings it back.
 *
 * Invariants
 *   At most one task has its INSIDE bit set, and BUSY is set while one has. A task with INSIDE set
 *   is current on a worker. So it never lies beneath an inline child, which could wait while the
 *   strand is held: bnx_scope_close runs no child inline on its stack. The other way round is fine:
 *   a task on a strand may itself be an inline child.
 */
#ifndef BNX_RUNTIME_STRAND_H
#define BNX_RUNTIME_STRAND_H

#include "runtime/task_pvt.h"

#include <bonxie/strand.h>

#define BNX_STRAND_INSIDE ((uintptr_t)1)

/* What such a task runs; in task->copy. The task itself alone touches it. */
struct bnx_strand_call {
    uintptr_t strand; /* the struct bnx_strand | INSIDE while the task may touch its data */
    bnx_task_fn fn;
    void *arg;
};
_Static_assert(sizeof(struct bnx_strand_call) <= BNX_TASK_ARG_BYTES, "it needs no heap");

/** The function of every task that is on a strand. */
int bnx_strand_main(void *call);

/** True for a task that was spawned on a strand, whether it is inside now or not. */
static inline bool bnx_task_has_strand(const struct bnx_task *task) {
    return bnx_unlikely(task->fn == bnx_strand_main);
}

/** Lets go of the strand, if the task is inside. Returns whether it was. Never suspends. */
bool bnx_strand_leave(struct bnx_task *self);

/** Takes the strand again, waiting for it. Returns the worker. Context: task; suspends. */
struct bnx_worker *bnx_strand_come_back(struct bnx_task *self);

#endif
