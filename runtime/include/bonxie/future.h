/* SPDX-License-Identifier: MIT */
/*
 * Futures: a value that somebody will set once, and that tasks and OS threads can wait for.
 *
 * Reference counted, and independent of any runtime. The creator holds one reference; whoever else
 * keeps the pointer takes one with bnx_future_ref. Setting touches the future until those who wait
 * can see that it is done, and not after: a setter without a reference of its own is safe where the
 * waiter alone may drop the last one, once it is done. A producer that gives up its reference
 * without having set the future should fail it; bnx_promise_drop does both: waiters then get
 * -EPIPE.
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
 * Context: task, suspends; on any other thread it blocks. The host of a guest (runtime.h) that
 * waits here for one of that guest's tasks waits for ever: it polls, and asks bnx_future_poll.
 */
BNX_API int bnx_future_await(struct bnx_future *future, void **out_value);

/** As bnx_future_await without waiting: -EAGAIN while pending. Context: any thread. */
BNX_API int bnx_future_poll(struct bnx_future *future, void **out_value);

/**
 * Returns the future as a waitable: its result is 0 or the error. Borrowed, valid as long as the
 * caller's reference. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_future_waitable(struct bnx_future *future);

/**
 * Has fn(future, arg) called once the future is done, soon if it is done already.
 *
 * From a task: fn runs as a task of the caller's runtime, of its root scope, and may wait. It is
 * made now, so that setting a future never fails for want of memory; until it has run it counts as
 * a task that lives (bnx_runtime_wait). When the runtime stops first, fn is called then, in a
 * cancelled task, and bnx_future_poll says -EAGAIN.
 * From any other thread: fn runs in the thread or task that sets the future, within that call,
 * under no lock, after those who wait were woken; where the future is done already, within this
 * call.
 *
 * The callback holds a reference until it has run. Only those that the setter calls have an order:
 * that of their registration.
 * Returns 0: fn is called exactly once. -ENOMEM, -EAGAIN (tasks_max), -ESHUTDOWN (the runtime
 * stops), -EINVAL (fn is NULL): never. Context: any thread; never suspends, but for fn itself.
 */
BNX_API int bnx_future_on_done(struct bnx_future *future,
                               void (*fn)(struct bnx_future *future, void *arg), void *arg);

/**
 * Returns an fd that becomes readable when the future is done and stays so: for the poll or epoll
 * of another loop. The same one at each call; the future's, closed with it: neither read nor close
 * it.
 * -EMFILE, -ENFILE, -ENOMEM. Context: any thread; never suspends.
 */
BNX_API int bnx_future_fd(struct bnx_future *future);

/** Takes a reference; returns the future. Context: any thread that holds one. */
BNX_API struct bnx_future *bnx_future_ref(struct bnx_future *future);

/** Drops a reference; the last one frees the future. NULL is allowed. */
BNX_API void bnx_future_unref(struct bnx_future *future);

/** Fails the future with -EPIPE if it is still pending, and drops the caller's reference. */
BNX_API void bnx_promise_drop(struct bnx_future *future);

BNX_EXTERN_C_END

#endif
