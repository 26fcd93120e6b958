/* SPDX-License-Identifier: MIT */
/* Waiting on a one-shot wait queue, from a task or from an OS thread: futures and joins. */
#ifndef BNX_RUNTIME_WAIT_ONCE_H
#define BNX_RUNTIME_WAIT_ONCE_H

#include "runtime/task_pvt.h"
#include "runtime/waitq.h"

/**
 * Waits until the queue is done.
 * @param reason, object what reports say the task waits for.
 * Returns 0; -ECANCELED or -ETIMEDOUT when the calling task's scope was cancelled before or first;
 * -ENOMEM on an OS thread.
 * Context: task, suspends; on any other thread it blocks. Nobody points into the caller's frame
 * after the return.
 */
int bnx_wait_once(struct bnx_waitq *queue, enum bnx_wait_reason reason, const void *object);

/** What a future is as a waitable, and what tells it from other handles. (future.c) */
extern const struct bnx_waitable_ops bnx_future_ops;

#endif
