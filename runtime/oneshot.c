/* SPDX-License-Identifier: MIT */
/*
 * The oneshot (bonxie/oneshot.h).
 *
 * Concepts
 *   What has happened is a set of flags under the lock. Whoever sets the second of the two drops
 *   frees the oneshot: the first one's last touch was its release of the lock.
 */
#include <bonxie/oneshot.h>

#include "runtime/list_wait.h"

#include <errno.h>
#include <string.h>

#define ELEM_BYTES_MAX 4096

#define SENT 1u
#define RECEIVED 2u
#define SENDER_GONE 4u
#define RECEIVER_GONE 8u

struct bnx_oneshot {
    uint32_t lock;                 /* guards what is not immutable */
    uint32_t flags;                /* what has happened */
    size_t elem_bytes;             /* immutable */
    struct bnx_waiter *waiters[2]; /* the receiver, when it waits */
    unsigned char elem[];          /* once SENT */
};

/* One receive; waiter->data. */
struct receive {
    void *out_elem;
    int result;
};

static struct bnx_lock *lock_of(struct bnx_oneshot *oneshot) {
    return bnx_lock_of(&oneshot->lock);
}

int bnx_oneshot_create(size_t elem_bytes, struct bnx_oneshot **out_oneshot) {
    if (elem_bytes > ELEM_BYTES_MAX) {
        return -EINVAL;
    }
    struct bnx_oneshot *oneshot =
        bnx_os.allocate(sizeof(*oneshot) + elem_bytes, _Alignof(struct bnx_oneshot));
    if (oneshot == NULL) {
        return -ENOMEM;
    }
    *oneshot = (struct bnx_oneshot){.elem_bytes = elem_bytes};
    *out_oneshot = oneshot;
    return 0;
}

int bnx_oneshot_send(struct bnx_oneshot *oneshot, const void *elem) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    int error = 0;
    bnx_lock_acquire(lock_of(oneshot)); /* L1 */
    BNX_CHECK((oneshot->flags & SENDER_GONE) == 0);
    if ((oneshot->flags & SENT) != 0) {
        error = -EALREADY;
    } else if ((oneshot->flags & RECEIVER_GONE) != 0) {
        error = -EPIPE;
    } else {
        if (oneshot->elem_bytes != 0) {
            memcpy(oneshot->elem, elem, oneshot->elem_bytes);
        }
        oneshot->flags |= SENT;
        bnx_wake_chain_claim_all(&chain, bnx_waiters_of(oneshot->waiters), 0);
    }
    bnx_lock_release(lock_of(oneshot)); /* L1 */
    bnx_wake_chain_wake(&chain);
    return error;
}

bool bnx_oneshot_is_wanted(struct bnx_oneshot *oneshot) {
    bnx_lock_acquire(lock_of(oneshot)); /* L1 */
    bool is_wanted = (oneshot->flags & RECEIVER_GONE) == 0;
    bnx_lock_release(lock_of(oneshot)); /* L1 */
    return is_wanted;
}

/* Under the lock. */
static int get(struct bnx_oneshot *oneshot, void *out_elem) {
    BNX_CHECK((oneshot->flags & RECEIVER_GONE) == 0);
    if ((oneshot->flags & (SENT | RECEIVED)) == SENT) {
        if (oneshot->elem_bytes != 0) {
            memcpy(out_elem, oneshot->elem, oneshot->elem_bytes);
        }
        oneshot->flags |= RECEIVED;
        return 0;
    }
    return (oneshot->flags & (RECEIVED | SENDER_GONE)) != 0 ? -ENODATA : -EAGAIN;
}

static bool get_or_wait(void *object, void *data) {
    struct receive *receive = data;
    receive->result = get(object, receive->out_elem);
    return receive->result != -EAGAIN;
}

int bnx_oneshot_try_recv(struct bnx_oneshot *oneshot, void *out_elem) {
    bnx_lock_acquire(lock_of(oneshot)); /* L1 */
    int result = get(oneshot, out_elem);
    bnx_lock_release(lock_of(oneshot)); /* L1 */
    return result;
}

int bnx_oneshot_recv(struct bnx_oneshot *oneshot, void *out_elem) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    struct receive receive = {out_elem, bnx_oneshot_try_recv(oneshot, out_elem)};
    struct bnx_list_wait wait = {
        .lock = &oneshot->lock,
        .waiters = oneshot->waiters,
        .object = oneshot,
        .data = &receive,
        .reason = BNX_WAIT_CHAN_RECV,
        .take = get_or_wait,
    };
    while (receive.result == -EAGAIN) { /* ends: who is woken finds the value, or the end */
        int result = bnx_list_wait(&wait);
        if (result < 0) {
            return result;
        }
        if (result == 1) {
            receive.result = bnx_oneshot_try_recv(oneshot, out_elem);
        }
    }
    return receive.result;
}

static void drop(struct bnx_oneshot *oneshot, uint32_t side) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(lock_of(oneshot)); /* L1 */
    BNX_CHECK((oneshot->flags & side) == 0);
    oneshot->flags |= side;
    bool is_last =
        (oneshot->flags & (SENDER_GONE | RECEIVER_GONE)) == (SENDER_GONE | RECEIVER_GONE);
    if (!BNX_PLANT(oneshot_drop_quietly)) {
        bnx_wake_chain_claim_all(&chain, bnx_waiters_of(oneshot->waiters), 0);
    }
    bnx_lock_release(lock_of(oneshot)); /* L1 */
    bnx_wake_chain_wake(&chain);
    if (is_last) {
        bnx_os.release(oneshot);
    }
}

void bnx_oneshot_drop_sender(struct bnx_oneshot *oneshot) {
    if (oneshot != NULL) {
        drop(oneshot, SENDER_GONE);
    }
}

void bnx_oneshot_drop_receiver(struct bnx_oneshot *oneshot) {
    if (oneshot != NULL) {
        drop(oneshot, RECEIVER_GONE);
    }
}
