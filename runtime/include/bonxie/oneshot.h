/* SPDX-License-Identifier: MIT */
/*
 * A oneshot: one value, from one sender to one receiver. For the reply to a request.
 *
 * It has two sides, and each is dropped exactly once, by whoever holds it; the second drop frees
 * it. Each side learns that the other one is gone: a sender that nobody waits for can stop its
 * work, a receiver does not wait for a sender that has given up.
 */
#ifndef BONXIE_ONESHOT_H
#define BONXIE_ONESHOT_H

#include <bonxie/base.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

struct bnx_oneshot;

/**
 * Creates a oneshot with both its sides.
 * @param elem_bytes of the value, 0 to 4096; larger things go by their pointer.
 * Returns 0; -EINVAL; -ENOMEM. Context: any thread.
 */
BNX_API int bnx_oneshot_create(size_t elem_bytes, struct bnx_oneshot **out_oneshot);

/**
 * The sender: sends a copy of *elem.
 * Returns 0: the receiver gets it unless it drops its side first; -EALREADY: one was sent before;
 * -EPIPE: the receiver is gone. Context: any thread; never suspends.
 */
BNX_API int bnx_oneshot_send(struct bnx_oneshot *oneshot, const void *elem);

/** The sender: whether a receiver is still there. Context: any thread; never suspends. */
BNX_API bool bnx_oneshot_is_wanted(struct bnx_oneshot *oneshot);

/**
 * The receiver: waits for the value. One task or thread at a time.
 * @param out_elem receives it; untouched on failure.
 * Returns 0; -ENODATA: none will come, the sender has gone without one, or it was received before;
 * -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled first, the value is not lost; -ENOMEM
 * (an OS thread).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_oneshot_recv(struct bnx_oneshot *oneshot, void *out_elem);

/** As bnx_oneshot_recv without waiting: -EAGAIN. Context: any thread. */
BNX_API int bnx_oneshot_try_recv(struct bnx_oneshot *oneshot, void *out_elem);

/**
 * The sender lets go: a receiver that waits for a value that was not sent is told. NULL is fine.
 */
BNX_API void bnx_oneshot_drop_sender(struct bnx_oneshot *oneshot);

/** The receiver lets go, and does not wait any more. NULL is allowed. */
BNX_API void bnx_oneshot_drop_receiver(struct bnx_oneshot *oneshot);

BNX_EXTERN_C_END

#endif
