/* SPDX-License-Identifier: MIT */
/*
 * The reader-writer lock (bonxie/rwlock.h).
 *
 * Concepts
 *   word {readers << 2 | WAITERS | WRITER}. While WAITERS is set nobody takes the lock by himself:
 *   it is granted, under the spin lock, by whoever lets go last or gives up waiting.
 *   grant: the oldest waiter decides. A writer gets it once nobody holds it; a reader once nobody
 *   writes, and then all readers in the list with him.
 *
 * Invariants
 *   WAITERS is set whenever a waiter is in the list and the spin lock is free.
 *   WRITER and readers != 0 exclude each other.
 *
 * Ordering
 *   RW1 word: release by each unlock -> acquire by the CAS that locks, or by the grant, whose wake
 *       carries it on to the waiter.
 */
#include <bonxie/rwlock.h>

#include "runtime/list_wait.h"

#include <errno.h>

#define WRITER UINT64_C(1)
#define WAITERS UINT64_C(2)
#define READER UINT64_C(4)

/* One wait for the lock; waiter->data. */
struct request {
    bool is_writer;
    struct bnx_wake_chain chain; /* who is let in because this one gave up */
};

static struct bnx_waiter_list *list_of(struct bnx_rwlock *rwlock) {
    return bnx_waiters_of(rwlock->waiters);
}

static bool wants_write(const struct bnx_waiter *waiter) {
    return ((const struct request *)waiter->data)->is_writer;
}

/* ---- Taking it without waiting ---- */

static inline bool try_lock(struct bnx_rwlock *rwlock, bool is_writer) {
    uint64_t word = bnx_load_relaxed(&rwlock->word); /* the CAS decides */
    if (is_writer) {
        return word == 0 && bnx_cas_acquire(&rwlock->word, &word, WRITER); /* RW1 */
    }
    while ((word & (WRITER | WAITERS)) == 0 ||
           (BNX_PLANT(rwlock_readers_pass) && (word & WRITER) == 0)) {
        if (bnx_cas_acquire(&rwlock->word, &word, word + READER)) { /* RW1 */
            return true;
        }
        /* lock-free: a failure is another's success */
    }
    return false;
}

int bnx_rwlock_try_read_lock(struct bnx_rwlock *rwlock) {
    return try_lock(rwlock, false) ? 0 : -EAGAIN;
}

int bnx_rwlock_try_write_lock(struct bnx_rwlock *rwlock) {
    return try_lock(rwlock, true) ? 0 : -EAGAIN;
}

/* ---- Granting ---- */

static uint64_t let_readers_in(struct bnx_rwlock *rwlock, struct bnx_wake_chain *chain) {
    struct bnx_waiter_list readers = {NULL, NULL};
    struct bnx_waiter *waiter = list_of(rwlock)->first;
    while (waiter != NULL) { /* ends: a list under the lock */
        struct bnx_waiter *next = waiter->next;
        if (!wants_write(waiter)) {
            bnx_waiter_list_remove(list_of(rwlock), waiter);
            bnx_waiter_list_push(&readers, waiter);
        }
        waiter = next;
    }
    uint64_t count = 0;
    while (bnx_wake_chain_claim(chain, &readers) != NULL) { /* ends: one fewer each round */
        count++;
    }
    (void)bnx_fetch_add_acq_rel(&rwlock->word, count * READER); /* RW1 */
    return count;
}

/* Lets in whose turn it is, if any. Under the spin lock; nobody else takes the lock meanwhile, but
 * holders may let go. */
static void grant(struct bnx_rwlock *rwlock, struct bnx_wake_chain *chain) {
    struct bnx_waiter_list *list = list_of(rwlock);
    bool is_granted = false;
    while (!is_granted && list->first != NULL) {         /* ends: each round takes out a waiter */
        uint64_t word = bnx_load_acquire(&rwlock->word); /* RW1 */
        bool is_writer = wants_write(list->first);
        if ((word & WRITER) != 0 || (is_writer && word >= READER)) {
            return;
        }
        if (!is_writer) {
            is_granted = let_readers_in(rwlock, chain) != 0;
        } else {
            struct bnx_waiter_list first = {NULL, NULL};
            struct bnx_waiter *waiter = list->first;
            bnx_waiter_list_remove(list, waiter);
            bnx_waiter_list_push(&first, waiter);
            is_granted = bnx_wake_chain_claim(chain, &first) != NULL;
            if (is_granted) {
                (void)bnx_fetch_or_acq_rel(&rwlock->word, WRITER); /* RW1 */
            }
        }
    }
    if (list->first == NULL) {
        (void)bnx_fetch_and_acq_rel(&rwlock->word, ~WAITERS); /* RW1 */
    }
}

static BNX_NOINLINE void unlock_slow(struct bnx_rwlock *rwlock, uint64_t held) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(bnx_lock_of(&rwlock->lock));      /* L1 */
    (void)bnx_fetch_and_acq_rel(&rwlock->word, ~held); /* RW1 */
    grant(rwlock, &chain);
    bnx_lock_release(bnx_lock_of(&rwlock->lock)); /* L1 */
    bnx_wake_chain_wake(&chain);
}

void bnx_rwlock_read_unlock(struct bnx_rwlock *rwlock) {
    uint64_t before = bnx_fetch_sub_acq_rel(&rwlock->word, READER); /* RW1 */
    BNX_CHECK(before >= READER && (before & WRITER) == 0);
    if (bnx_unlikely(before == (READER | WAITERS))) {
        unlock_slow(rwlock, 0);
    }
}

void bnx_rwlock_write_unlock(struct bnx_rwlock *rwlock) {
    uint64_t word = WRITER;
    if (bnx_likely(bnx_cas_release(&rwlock->word, &word, 0))) { /* RW1 */
        return;
    }
    BNX_CHECK(word == (WRITER | WAITERS));
    unlock_slow(rwlock, WRITER);
}

/* ---- Waiting ---- */

static bool take(void *object, void *data) {
    struct bnx_rwlock *rwlock = object;
    const struct request *request = data;
    for (;;) { /* ends: each failure is another's step, and with WAITERS set there are no more */
        if (try_lock(rwlock, request->is_writer)) {
            return true;
        }
        uint64_t word = bnx_load_relaxed(&rwlock->word); /* the CAS decides */
        if ((word & WAITERS) != 0) {
            return false;
        }
        bool is_free = request->is_writer ? word == 0 : (word & WRITER) == 0;
        if (!is_free && bnx_cas_relaxed(&rwlock->word, &word, word | WAITERS)) { /* only a flag */
            return false;
        }
    }
}

/* One that leaves may have been what stopped those behind it. */
static int give_up(void *object, void *data, bool was_in_list, int error) {
    struct request *request = data;
    (void)was_in_list;
    if (!BNX_PLANT(rwlock_leave_quietly)) {
        grant(object, &request->chain);
    }
    return error;
}

static BNX_NOINLINE int lock_slow(struct bnx_rwlock *rwlock, bool is_writer) {
    struct request request = {.is_writer = is_writer};
    bnx_wake_chain_init(&request.chain);
    struct bnx_list_wait wait = {
        .lock = &rwlock->lock,
        .waiters = rwlock->waiters,
        .object = rwlock,
        .data = &request,
        .reason = BNX_WAIT_RWLOCK,
        .take = take,
        .give_up = give_up,
    };
    int result = bnx_list_wait(&wait);
    bnx_wake_chain_wake(&request.chain);
    return result < 0 ? result : 0;
}

static inline int lock(struct bnx_rwlock *rwlock, bool is_writer) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (bnx_unlikely(error != 0)) {
        return error;
    }
    return bnx_likely(try_lock(rwlock, is_writer)) ? 0 : lock_slow(rwlock, is_writer);
}

int bnx_rwlock_read_lock(struct bnx_rwlock *rwlock) {
    return lock(rwlock, false);
}

int bnx_rwlock_write_lock(struct bnx_rwlock *rwlock) {
    return lock(rwlock, true);
}
