/* SPDX-License-Identifier: MIT */
/*
 * Fork-join: parallelism inside one task, at nearly the cost of a call.
 *
 *     struct bnx_fork left;
 *     bnx_fork(&left, sort_half, &lower);
 *     sort_half(&upper);
 *     int error = bnx_fork_join(&left);
 *
 * A fork has no identity, no cancel and no stack of its own: at the join the caller runs it as a
 * plain call, unless another worker has stolen it meanwhile. Strict: join in reverse order of
 * forking, in the same function, before any scope opened earlier is closed.
 */
#ifndef BONXIE_FORK_H
#define BONXIE_FORK_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/* In the forking function's frame. All fields are private. */
struct bnx_fork {
    void *next;              /* link in a queue of the scheduler */
    bnx_task_fn fn;          /* immutable after fork */
    void *arg;               /* immutable after fork */
    struct bnx_task *forker; /* immutable after fork */
    struct bnx_scope *scope; /* the forker's innermost scope; immutable after fork */
    uintptr_t word;          /* 0 pending, 1 done, else the task that waits; shared */
    int result;              /* of fn; written before word says done */
};

/**
 * Offers fn(arg) to idle workers.
 * Returns 0. -EPERM off a task. Never suspends. When the queue cannot grow, fn runs at once.
 */
BNX_API int bnx_fork(struct bnx_fork *fork, bnx_task_fn fn, void *arg);

/**
 * Runs the forked function if nobody has taken it, or waits for whoever did.
 * Returns fn's value. Context: the forking task; may suspend; not refused by a cancel.
 */
BNX_API int bnx_fork_join(struct bnx_fork *fork);

/**
 * Calls fn over pieces of [begin, end), in parallel, and returns when all are done.
 * @param grain the largest piece; 0 = chosen from the number of workers.
 * Returns 0; -EINVAL: begin > end or fn NULL. Off a task fn runs in one piece on the caller.
 * Context: task, suspends while others are at their pieces, or where fn does; not refused by a
 * cancel.
 */
BNX_API int bnx_parallel_for(size_t begin, size_t end, size_t grain,
                             void (*fn)(size_t begin, size_t end, void *arg), void *arg);

BNX_EXTERN_C_END

#endif
