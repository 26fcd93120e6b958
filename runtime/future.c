/* SPDX-License-Identifier: MIT */
/* Futures (bonxie/future.h): a one-shot wait queue, a value, a count of references. */
#include <bonxie/future.h>

#include "runtime/os.h"
#include "runtime/wait_once.h"

#include <errno.h>

/*
 * Ordering
 *   F1 references: fetch_sub acq_rel; the last one sees what all others did with the future.
 *   The value is written under the queue's lock and read after is_done (Q2 in waitq.h).
 */
struct bnx_future {
    struct bnx_waitq queue;       /* any thread */
    uint32_t references;          /* any thread; F1 */
    int error;                    /* written once before done; 0 = value counts */
    struct bnx_waitable waitable; /* tells a future from other handles; immutable */
    void *value;                  /* written once before done */
};
_Static_assert(offsetof(struct bnx_future, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

/* ---- A future as a waitable ---- */

static struct bnx_future *future_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_future, waitable);
}

static bool take_outcome(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct bnx_future *future = future_of(waitable);
    if (!bnx_waitq_is_done(&future->queue)) {
        return false;
    }
    *out_result = future->error;
    return true;
}

static bool add_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    return bnx_waitq_add(&future_of(waitable)->queue, waiter);
}

static void remove_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    bnx_waitq_remove(&future_of(waitable)->queue, waiter);
}

const struct bnx_waitable_ops bnx_future_ops = {
    .take = take_outcome,
    .add = add_waiter,
    .remove = remove_waiter,
    .name = "future",
};

struct bnx_waitable *bnx_future_waitable(struct bnx_future *future) {
    return &future->waitable;
}

int bnx_future_create(struct bnx_future **out_future) {
    struct bnx_future *future = bnx_os.allocate(sizeof(*future), _Alignof(struct bnx_future));
    if (future == NULL) {
        return -ENOMEM;
    }
    *future = (struct bnx_future){.references = 1, .waitable = {&bnx_future_ops}};
    *out_future = future;
    return 0;
}

struct outcome {
    struct bnx_future *future;
    void *value;
    int error;
};

static void store_outcome(void *arg) {
    struct outcome *outcome = arg;
    outcome->future->value = outcome->value;
    outcome->future->error = outcome->error;
}

/* A waiter that is woken may drop the last reference while complete still walks the other nodes; it
 * does not touch the future any more by then. */
static int complete(struct bnx_future *future, void *value, int error) {
    struct outcome outcome = {future, value, error};
    return bnx_waitq_complete(&future->queue, error, store_outcome, &outcome) ? 0 : -EALREADY;
}

int bnx_future_set(struct bnx_future *future, void *value) {
    return complete(future, value, 0);
}

int bnx_future_fail(struct bnx_future *future, int error) {
    return error >= 0 ? -EINVAL : complete(future, NULL, error);
}

static int outcome_of(const struct bnx_future *future, void **out_value) {
    if (future->error != 0) {
        return future->error;
    }
    if (out_value != NULL) {
        *out_value = future->value;
    }
    return 0;
}

int bnx_future_await(struct bnx_future *future, void **out_value) {
    int error = bnx_wait_once(&future->queue, BNX_WAIT_FUTURE, future);
    return error != 0 ? error : outcome_of(future, out_value);
}

int bnx_future_poll(struct bnx_future *future, void **out_value) {
    return bnx_waitq_is_done(&future->queue) ? outcome_of(future, out_value) : -EAGAIN;
}

struct bnx_future *bnx_future_ref(struct bnx_future *future) {
    (void)bnx_fetch_add_relaxed(&future->references, 1); /* the caller holds one: it is alive */
    return future;
}

void bnx_future_unref(struct bnx_future *future) {
    if (future != NULL && bnx_fetch_sub_acq_rel(&future->references, 1) == 1) { /* F1 */
        bnx_os.release(future);
    }
}

void bnx_promise_drop(struct bnx_future *future) {
    if (future != NULL) {
        (void)complete(future, NULL, -EPIPE); /* already set is fine */
        bnx_future_unref(future);
    }
}
