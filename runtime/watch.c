/* SPDX-License-Identifier: MIT */
/*
 * The watched value (bonxie/watch.h).
 *
 * Invariants
 *   reader.seen <= version; a reader waits in the list only while they are equal and it is open.
 */
#include <bonxie/watch.h>

#include "runtime/list_wait.h"

#include <errno.h>
#include <string.h>

#define ELEM_BYTES_MAX 4096

struct bnx_watch {
    uint32_t lock;                 /* guards what is not immutable */
    bool is_closed;                /* it changes no more */
    size_t elem_bytes;             /* immutable */
    uint64_t version;              /* counts the values set; the initial one is 0 */
    struct bnx_waiter *waiters[2]; /* readers that wait, first and last */
    unsigned char elem[];          /* the latest value */
};

/* One look of a reader; waiter->data. */
struct look {
    struct bnx_watch_reader *reader;
    void *out_elem;
    int result;
};

static struct bnx_lock *lock_of(struct bnx_watch *watch) {
    return bnx_lock_of(&watch->lock);
}

int bnx_watch_create(size_t elem_bytes, const void *initial, struct bnx_watch **out_watch) {
    if (elem_bytes == 0 || elem_bytes > ELEM_BYTES_MAX) {
        return -EINVAL;
    }
    struct bnx_watch *watch =
        bnx_os.allocate(sizeof(*watch) + elem_bytes, _Alignof(struct bnx_watch));
    if (watch == NULL) {
        return -ENOMEM;
    }
    *watch = (struct bnx_watch){.elem_bytes = elem_bytes};
    memset(watch->elem, 0, elem_bytes);
    if (initial != NULL) {
        memcpy(watch->elem, initial, elem_bytes);
    }
    *out_watch = watch;
    return 0;
}

void bnx_watch_destroy(struct bnx_watch *watch) {
    if (watch != NULL) {
        BNX_CHECK(bnx_waiters_of(watch->waiters)->first == NULL);
        bnx_os.release(watch);
    }
}

int bnx_watch_set(struct bnx_watch *watch, const void *elem) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    int error = -EPIPE;
    bnx_lock_acquire(lock_of(watch)); /* L1 */
    if (!watch->is_closed) {
        error = 0;
        memcpy(watch->elem, elem, watch->elem_bytes);
        watch->version++;
        if (!BNX_PLANT(watch_sets_quietly)) {
            bnx_wake_chain_claim_all(&chain, bnx_waiters_of(watch->waiters), 0);
        }
    }
    bnx_lock_release(lock_of(watch)); /* L1 */
    bnx_wake_chain_wake(&chain);
    return error;
}

void bnx_watch_get(struct bnx_watch *watch, void *out_elem) {
    bnx_lock_acquire(lock_of(watch)); /* L1 */
    memcpy(out_elem, watch->elem, watch->elem_bytes);
    bnx_lock_release(lock_of(watch)); /* L1 */
}

void bnx_watch_close(struct bnx_watch *watch) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(lock_of(watch)); /* L1 */
    watch->is_closed = true;
    bnx_wake_chain_claim_all(&chain, bnx_waiters_of(watch->waiters), 0);
    bnx_lock_release(lock_of(watch)); /* L1 */
    bnx_wake_chain_wake(&chain);
}

void bnx_watch_reader_init(struct bnx_watch_reader *reader, struct bnx_watch *watch) {
    bnx_lock_acquire(lock_of(watch)); /* L1 */
    *reader = (struct bnx_watch_reader){watch, watch->version};
    bnx_lock_release(lock_of(watch)); /* L1 */
}

/* Under the lock. */
static int look_at(struct bnx_watch *watch, const struct look *look) {
    struct bnx_watch_reader *reader = look->reader;
    if (reader->seen == watch->version) {
        return watch->is_closed ? -ENODATA : -EAGAIN;
    }
    reader->seen = watch->version;
    if (look->out_elem != NULL) {
        memcpy(look->out_elem, watch->elem, watch->elem_bytes);
    }
    return 0;
}

static bool look_or_wait(void *object, void *data) {
    struct look *look = data;
    look->result = look_at(object, look);
    return look->result != -EAGAIN;
}

static int try_look(struct bnx_watch *watch, const struct look *look) {
    bnx_lock_acquire(lock_of(watch)); /* L1 */
    int result = look_at(watch, look);
    bnx_lock_release(lock_of(watch)); /* L1 */
    return result;
}

int bnx_watch_try_changed(struct bnx_watch_reader *reader, void *out_elem) {
    struct look look = {reader, out_elem, 0};
    return try_look(reader->watch, &look);
}

int bnx_watch_changed(struct bnx_watch_reader *reader, void *out_elem) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    struct bnx_watch *watch = reader->watch;
    struct look look = {reader, out_elem, 0};
    look.result = try_look(watch, &look);
    struct bnx_list_wait wait = {
        .lock = &watch->lock,
        .waiters = watch->waiters,
        .object = watch,
        .data = &look,
        .reason = BNX_WAIT_WATCH,
        .take = look_or_wait,
    };
    while (look.result == -EAGAIN) { /* ends: who is woken finds a version, or the end */
        int result = bnx_list_wait(&wait);
        if (result < 0) {
            return result;
        }
        if (result == 1) {
            look.result = try_look(watch, &look);
        }
    }
    return look.result;
}
