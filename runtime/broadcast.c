/* SPDX-License-Identifier: MIT */
/*
 * The broadcast channel (bonxie/broadcast.h).
 *
 * Concepts
 *   Messages are numbered from 0. Message n lies in slot n % capacity until n + capacity overwrites
 *   it; a subscription is the number of the message that it gets next. Nothing is kept per
 *   subscriber, so a slow one holds up nobody.
 *
 * Invariants
 *   subscription.next <= sent; what is kept: [sent - min(sent, capacity), sent).
 */
#include <bonxie/broadcast.h>

#include "runtime/list_wait.h"

#include <errno.h>
#include <string.h>

#define ELEM_BYTES_MAX 4096

struct bnx_broadcast {
    uint32_t lock;                 /* guards what is not immutable */
    bool is_closed;                /* no more messages */
    size_t elem_bytes;             /* immutable */
    size_t capacity;               /* immutable */
    size_t subscriber_count;       /* subscriptions that have not ended */
    uint64_t sent;                 /* messages so far */
    struct bnx_waiter *waiters[2]; /* receivers that wait, first and last */
    unsigned char elems[];         /* capacity slots */
};

/* One receive; waiter->data. */
struct receive {
    struct bnx_subscription *subscription;
    void *out_elem;
    uint64_t *out_lost;
    int result;
};

static struct bnx_lock *lock_of(struct bnx_broadcast *broadcast) {
    return bnx_lock_of(&broadcast->lock);
}

static unsigned char *slot_of(struct bnx_broadcast *broadcast, uint64_t number) {
    return broadcast->elems + (size_t)(number % broadcast->capacity) * broadcast->elem_bytes;
}

int bnx_broadcast_create(size_t elem_bytes, size_t capacity, struct bnx_broadcast **out_broadcast) {
    if (elem_bytes == 0 || elem_bytes > ELEM_BYTES_MAX || capacity == 0) {
        return -EINVAL;
    }
    if (capacity > (SIZE_MAX / 2 - sizeof(struct bnx_broadcast)) / elem_bytes) {
        return -ENOMEM;
    }
    struct bnx_broadcast *broadcast =
        bnx_os.allocate(sizeof(*broadcast) + elem_bytes * capacity, _Alignof(struct bnx_broadcast));
    if (broadcast == NULL) {
        return -ENOMEM;
    }
    *broadcast = (struct bnx_broadcast){.elem_bytes = elem_bytes, .capacity = capacity};
    *out_broadcast = broadcast;
    return 0;
}

void bnx_broadcast_destroy(struct bnx_broadcast *broadcast) {
    if (broadcast != NULL) {
        BNX_CHECK(bnx_waiters_of(broadcast->waiters)->first == NULL);
        bnx_os.release(broadcast);
    }
}

int bnx_broadcast_send(struct bnx_broadcast *broadcast, const void *elem) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    int error = -EPIPE;
    bnx_lock_acquire(lock_of(broadcast)); /* L1 */
    if (!broadcast->is_closed) {
        error = 0;
        memcpy(slot_of(broadcast, broadcast->sent), elem, broadcast->elem_bytes);
        broadcast->sent++;
        bnx_wake_chain_claim_all(&chain, bnx_waiters_of(broadcast->waiters), 0);
    }
    bnx_lock_release(lock_of(broadcast)); /* L1 */
    bnx_wake_chain_wake(&chain);
    return error;
}

void bnx_broadcast_close(struct bnx_broadcast *broadcast) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(lock_of(broadcast)); /* L1 */
    broadcast->is_closed = true;
    bnx_wake_chain_claim_all(&chain, bnx_waiters_of(broadcast->waiters), 0);
    bnx_lock_release(lock_of(broadcast)); /* L1 */
    bnx_wake_chain_wake(&chain);
}

void bnx_broadcast_subscribe(struct bnx_broadcast *broadcast,
                             struct bnx_subscription *subscription) {
    bnx_lock_acquire(lock_of(broadcast)); /* L1 */
    broadcast->subscriber_count++;
    *subscription = (struct bnx_subscription){broadcast, broadcast->sent};
    bnx_lock_release(lock_of(broadcast)); /* L1 */
}

void bnx_broadcast_unsubscribe(struct bnx_subscription *subscription) {
    struct bnx_broadcast *broadcast = subscription->broadcast;
    if (broadcast != NULL) {
        bnx_lock_acquire(lock_of(broadcast)); /* L1 */
        broadcast->subscriber_count--;
        bnx_lock_release(lock_of(broadcast)); /* L1 */
        subscription->broadcast = NULL;
    }
}

size_t bnx_broadcast_subscriber_count(struct bnx_broadcast *broadcast) {
    bnx_lock_acquire(lock_of(broadcast)); /* L1 */
    size_t count = broadcast->subscriber_count;
    bnx_lock_release(lock_of(broadcast)); /* L1 */
    return count;
}

/* Gets the next message. Under the lock. */
static int get(struct bnx_broadcast *broadcast, const struct receive *receive) {
    struct bnx_subscription *subscription = receive->subscription;
    uint64_t behind = broadcast->sent - subscription->next;
    if (behind == 0) {
        return broadcast->is_closed ? -ENODATA : -EAGAIN;
    }
    if (behind > broadcast->capacity && !BNX_PLANT(broadcast_loses_quietly)) {
        uint64_t lost = behind - broadcast->capacity;
        subscription->next += lost;
        if (receive->out_lost != NULL) {
            *receive->out_lost = lost;
        }
        return -EOVERFLOW;
    }
    memcpy(receive->out_elem, slot_of(broadcast, subscription->next), broadcast->elem_bytes);
    subscription->next++;
    return 0;
}

static bool get_or_wait(void *object, void *data) {
    struct receive *receive = data;
    receive->result = get(object, receive);
    return receive->result != -EAGAIN;
}

static int try_get(struct bnx_broadcast *broadcast, const struct receive *receive) {
    bnx_lock_acquire(lock_of(broadcast)); /* L1 */
    int result = get(broadcast, receive);
    bnx_lock_release(lock_of(broadcast)); /* L1 */
    return result;
}

int bnx_broadcast_try_recv(struct bnx_subscription *subscription, void *out_elem,
                           uint64_t *out_lost) {
    struct bnx_broadcast *broadcast = subscription->broadcast;
    if (broadcast == NULL) {
        return -EINVAL;
    }
    struct receive receive = {subscription, out_elem, out_lost, 0};
    return try_get(broadcast, &receive);
}

int bnx_broadcast_recv(struct bnx_subscription *subscription, void *out_elem, uint64_t *out_lost) {
    struct bnx_broadcast *broadcast = subscription->broadcast;
    if (broadcast == NULL) {
        return -EINVAL;
    }
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    struct receive receive = {subscription, out_elem, out_lost, 0};
    receive.result = try_get(broadcast, &receive);
    struct bnx_list_wait wait = {
        .lock = &broadcast->lock,
        .waiters = broadcast->waiters,
        .object = broadcast,
        .data = &receive,
        .reason = BNX_WAIT_BROADCAST,
        .take = get_or_wait,
    };
    while (receive.result == -EAGAIN) { /* ends: who is woken finds a message, or the end */
        int result = bnx_list_wait(&wait);
        if (result < 0) {
            return result;
        }
        if (result == 1) {
            receive.result = try_get(broadcast, &receive);
        }
    }
    return receive.result;
}
