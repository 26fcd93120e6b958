/* SPDX-License-Identifier: MIT */
/*
 * Futures: a value that somebody will set once, and that tasks and OS threads can wait for.
 *
 * Reference counted. The creator holds one reference; whoever else keeps the pointer takes one with
 * bnx_future_ref. A producer that gives up its reference without having set the future should fail
 * it; bnx_promise_drop does both: waiters then get -EPIPE.
 */
#ifndef BONXIE_FUTURE_H
#define BONXIE_FUTURE_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/** Creates a pending future with one reference. Returns 0 or -ENOMEM. Context: any thread. */
BNX_API int bnx_future_create(struct bnx_future **out_future);

/**
 * Sets the value and wakes all waiters.
 * Returns 0; -EALREADY: it was set, failed or dropped before. Context: any thread; never suspends.
 */
BNX_API int bnx_future_set(struct bnx_future *future, void *value);

/** As bnx_future_set, with an error < 0 instead of a value. -EINVAL: error >= 0. */
BNX_API int bnx_future_fail(struct bnx_future *future, int error);

/**
 * Waits for the future.
 * @param out_value receives the value; may be NULL; untouched on failure.
 * Returns 0; the error it was failed with; -ECANCELED or -ETIMEDOUT when the caller's scope was
 * cancelled first. A future that is done by then wins over a cancel only if it was done on entry
 * and the caller's scope was not yet cancelled.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_future_await(struct bnx_future *future, void **out_value);

/** As bnx_future_await without waiting: -EAGAIN while pending. Context: any thread. */
BNX_API int bnx_future_poll(struct bnx_future *future, void **out_value);

/**
 * Returns the future as a waitable: its result is 0 or the error. Borrowed, valid as long as the
 * caller's reference. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_future_waitable(struct bnx_future *future);

/** Takes a reference; returns the future. Context: any thread that holds one. */
BNX_API struct bnx_future *bnx_future_ref(struct bnx_future *future);

/** Drops a reference; the last one frees the future. NULL is allowed. */
BNX_API void bnx_future_unref(struct bnx_future *future);

/** Fails the future with -EPIPE if it is still pending, and drops the caller's reference. */
BNX_API void bnx_promise_drop(struct bnx_future *future);

BNX_EXTERN_C_END

#endif
