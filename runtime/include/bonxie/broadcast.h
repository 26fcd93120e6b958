/* SPDX-License-Identifier: MIT */
/*
 * A broadcast channel: every subscriber gets every message sent since it subscribed.
 *
 * Sending never waits: the last `capacity` messages are kept, and a subscriber that falls further
 * behind is told how many it has lost and goes on with the oldest one that is kept. Messages are
 * copied, in and out, in a short critical section: a large thing goes by its pointer.
 */
#ifndef BONXIE_BROADCAST_H
#define BONXIE_BROADCAST_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_broadcast;

/* One subscriber's place, in its own memory; one task or thread at a time uses it. Private. */
struct bnx_subscription {
    struct bnx_broadcast *broadcast; /* NULL: it is over */
    uint64_t next;                   /* the number of the message to get next; under its lock */
};

/**
 * Creates a broadcast channel.
 * @param elem_bytes of one message, 1 to 4096. @param capacity messages that are kept, at least 1.
 * Returns 0; -EINVAL; -ENOMEM. Context: any thread.
 */
BNX_API int bnx_broadcast_create(size_t elem_bytes, size_t capacity,
                                 struct bnx_broadcast **out_broadcast);

/** Frees it. NULL is allowed. Nobody uses it any more; subscriptions to it are over. */
BNX_API void bnx_broadcast_destroy(struct bnx_broadcast *broadcast);

/**
 * Sends a copy of *elem to all subscribers, of whom there may be none.
 * Returns 0; -EPIPE: it is closed. Context: any thread; never suspends.
 */
BNX_API int bnx_broadcast_send(struct bnx_broadcast *broadcast, const void *elem);

/** No more messages: subscribers get what is kept, then -ENODATA. Any thread; never suspends. */
BNX_API void bnx_broadcast_close(struct bnx_broadcast *broadcast);

/** Subscribes: the next message sent is the first to get. Any thread; never suspends. */
BNX_API void bnx_broadcast_subscribe(struct bnx_broadcast *broadcast,
                                     struct bnx_subscription *subscription);

/** Ends a subscription; a zeroed or ended one is allowed. Any thread; never suspends. */
BNX_API void bnx_broadcast_unsubscribe(struct bnx_subscription *subscription);

/** Counts the subscriptions that have not ended. Any thread; a snapshot. */
BNX_API size_t bnx_broadcast_subscriber_count(struct bnx_broadcast *broadcast);

/**
 * Waits for the next message.
 * @param out_elem receives it; untouched on failure.
 * @param out_lost with -EOVERFLOW receives how many messages were lost; else untouched; may be
 * NULL.
 * Returns 0; -EOVERFLOW: messages were lost, the next call gets the oldest that is kept; -ENODATA:
 * closed, and all that was kept has been got; -ECANCELED or -ETIMEDOUT: the caller's scope was
 * cancelled first, nothing was taken; -EINVAL: the subscription is over; -ENOMEM (an OS thread).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_broadcast_recv(struct bnx_subscription *subscription, void *out_elem,
                               uint64_t *out_lost);

/** As bnx_broadcast_recv without waiting: -EAGAIN. Context: any thread. */
BNX_API int bnx_broadcast_try_recv(struct bnx_subscription *subscription, void *out_elem,
                                   uint64_t *out_lost);

BNX_EXTERN_C_END

#endif
