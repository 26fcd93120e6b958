/* SPDX-License-Identifier: MIT */
/*
 * Channels: items of one size, passed by copy from any number of senders to any number of
 * receivers.
 *
 *     struct bnx_chan *jobs;
 *     bnx_chan_create(sizeof(struct job), 64, &jobs);
 *     ...
 *     bnx_chan_send(jobs, &job);                      one side
 *     while (bnx_chan_recv(jobs, &job) == 0) { ... }  the other, until closed and drained
 *
 * With a capacity of 0 nothing is buffered: a send returns when a receiver has the item. With items
 * of 0 bytes a channel counts signals. Items come out in the order in which they went in, and those
 * who wait are served in the order in which they came. A channel may be used from tasks of several
 * runtimes and from OS threads at the same time.
 *
 * An item is received exactly once or, when its send fails, not at all: a cancel or a deadline that
 * meets a transfer in the middle either comes first or is too late, and then the call returns 0.
 */
#ifndef BONXIE_CHAN_H
#define BONXIE_CHAN_H

#include <bonxie/base.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

struct bnx_chan;

/**
 * Creates a channel.
 * @param elem_bytes size of an item; may be 0.
 * @param capacity items that it buffers; 0: none, sender and receiver meet.
 * Returns 0 or -ENOMEM (also when the size of the buffer overflows). Context: any thread.
 * Ownership: the caller ends it with bnx_chan_destroy.
 */
BNX_API int bnx_chan_create(size_t elem_bytes, size_t capacity, struct bnx_chan **out_chan);

/**
 * Frees a channel and what is left in its buffer. NULL is allowed.
 * Nobody may use it any more: no call is waiting in it, and none comes later. A call whose effect
 * the caller has seen (its item has been received, its own send has been woken) may still be on its
 * way out; bnx_chan_close, send_many and recv_many must have returned. Context: any thread.
 */
BNX_API void bnx_chan_destroy(struct bnx_chan *chan);

/**
 * Sends a copy of *item, waiting for room or for a receiver.
 * @param item elem_bytes long; NULL only where that is 0.
 * Returns 0; -EPIPE: the channel is closed, or was while this waited: the item was not sent;
 * -ECANCELED, -ETIMEDOUT: the caller's scope was cancelled, the item was not sent; -EINVAL: item is
 * NULL; -ENOMEM (an OS thread that has to wait).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_chan_send(struct bnx_chan *chan, const void *item);

/**
 * Receives the oldest item, waiting for one.
 * @param out_item receives it; NULL: it is thrown away. Untouched on failure.
 * Returns 0; -ENODATA: the channel is closed and drained; -ECANCELED, -ETIMEDOUT: the caller's
 * scope was cancelled, nothing was received; -ENOMEM (an OS thread that has to wait).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_chan_recv(struct bnx_chan *chan, void *out_item);

/** As bnx_chan_send without waiting, and not refused by a cancel: -EAGAIN where it would wait. */
BNX_API int bnx_chan_try_send(struct bnx_chan *chan, const void *item);

/** As bnx_chan_recv without waiting, and not refused by a cancel: -EAGAIN where it would wait. */
BNX_API int bnx_chan_try_recv(struct bnx_chan *chan, void *out_item);

/**
 * Sends from an array: as many as go at once, at least one, for which it waits.
 * @param items count items, in a row; NULL only where elem_bytes is 0.
 * Returns how many were sent, in order; the items of other senders may come in between. 0 only when
 * count is 0. Otherwise as bnx_chan_send; an error after the first item is left to the next call.
 */
BNX_API ssize_t bnx_chan_send_many(struct bnx_chan *chan, const void *items, size_t count);

/**
 * Receives into an array: as many as there are, at most count, at least one, for which it waits.
 * @param out_items room for count items; NULL only where elem_bytes is 0.
 * Returns how many were received. 0 only when count is 0; -EINVAL: out_items is NULL. Otherwise as
 * bnx_chan_recv.
 */
BNX_API ssize_t bnx_chan_recv_many(struct bnx_chan *chan, void *out_items, size_t count);

/**
 * Closes the channel: later and waiting sends are -EPIPE; receivers take what is buffered, then
 * -ENODATA. Closing it again does nothing. Context: any thread; never suspends.
 */
BNX_API void bnx_chan_close(struct bnx_chan *chan);

/** Returns how many items are buffered: a snapshot. Context: any thread. */
BNX_API size_t bnx_chan_count(const struct bnx_chan *chan);

/** Returns the capacity it was created with. Context: any thread. */
BNX_API size_t bnx_chan_capacity(const struct bnx_chan *chan);

BNX_EXTERN_C_END

#endif
