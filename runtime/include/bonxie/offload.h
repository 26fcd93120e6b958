/* SPDX-License-Identifier: MIT */
/* Blocking work: the calling task moves to a thread of an elastic pool, and back. */
#ifndef BONXIE_OFFLOAD_H
#define BONXIE_OFFLOAD_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/**
 * Runs fn(arg) where it may block: the task itself, stack and all, goes over to a pool thread for
 * the call and comes back. fn may use the caller's locals; it must not call anything that suspends
 * (such calls return -EPERM there, as off a task).
 * Returns fn's value; when fn never ran: -ECANCELED or -ETIMEDOUT (cancelled before it began),
 * -ENOMEM or -EAGAIN (no thread could be started and none exists).
 * Context: task, suspends. fn is not interrupted by a cancel. Off a task fn runs at once.
 */
BNX_API int bnx_offload(bnx_task_fn fn, void *arg);

BNX_EXTERN_C_END

#endif
