/* SPDX-License-Identifier: MIT */
/*
 * Operations that block a thread of the pool, on drivers without a ring: files, paths.
 *
 * Concepts
 *   The task waits; a thread of the pool (thread_pool.h) does the call. A cancel takes the
 *   operation off the pool's list, or interrupts the thread that is at it with a signal, again and
 *   again, since the first may come before the call: then the task goes on with what the call has
 *   returned. Where the signal is not to be had (BNX_NO_RESCUE), it waits for the call.
 *
 * Ordering
 *   K1 end    the pool's thread stores the result, then claims the task's wait (T3) and makes it
 *             ready; or, when a cancel has claimed that, store-release DONE of `state` -> the
 *             task's load-acquire. Either is the thread's last access to the record.
 *   K2 list   of an instance, under its lock: by bnx_close, to find what is at a descriptor.
 *   K3 orders store-release of `is_interrupted`, then the signal; load-acquire by the thread.
 */
#ifndef BNX_IO_BLOCKING_H
#define BNX_IO_BLOCKING_H

#include "runtime/list.h"
#include "runtime/lock.h"
#include "runtime/wait.h"

struct bnx_op;
struct bnx_blocking_op;

/* The operations that began on one worker. */
struct bnx_blocking {
    struct bnx_lock lock;
    CK_LIST_HEAD(bnx_blocking_list, bnx_blocking_op) ops; /* K2 */
};

static inline void bnx_blocking_init(struct bnx_blocking *blocking) {
    bnx_lock_init(&blocking->lock);
    CK_LIST_INIT(&blocking->ops);
}

/**
 * Runs an op on a thread of the pool. Returns as bnx_op_run; -EAGAIN, -ENOMEM: no thread could be
 * started. Context: task; suspends.
 */
ssize_t bnx_blocking_run(struct bnx_blocking *blocking, struct bnx_task *self, struct bnx_op *op,
                         enum bnx_wait_reason reason);

/** Ends those at a descriptor, which then return -EBADF, unless they have a result. Returns whether
 * there were any. Any thread. */
bool bnx_blocking_close_fd(struct bnx_blocking *blocking, int fd);

#endif
