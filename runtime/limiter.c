/* SPDX-License-Identifier: MIT */
/*
 * The limiter (bonxie/limiter.h).
 *
 * Concepts
 *   The borrowers, and those that wait to become one, are in one hash table: linear probing, at
 *   most half full, entries moved up on removal. Who asks for a token first sees to it that the
 *   table has room, outside the lock; from then on neither waking nor giving up allocates.
 *
 * Invariants
 *   entries == borrowed + those that wait, 2 * entries <= slot_count;
 *   a waiter in the list => borrowed >= tokens, whenever the lock is free.
 */
#include <bonxie/limiter.h>

#include "runtime/list_wait.h"

#include <errno.h>
#include <string.h>

#define SLOTS_MIN BNX_CAPACITY(16, 2)
#define NO_ROOM (-ENOBUFS) /* never seen outside */

struct bnx_limiter_slot {
    const void *borrower; /* NULL: free */
    bool is_waiting;      /* it has no token yet */
};

/* One wait for a token; waiter->data. */
struct request {
    const void *borrower;
    int error; /* of the look before it waits: 0 it has a token, -EDEADLK, or NO_ROOM */
};

/* ---- The table ---- */

static size_t home_of(const void *borrower, size_t slot_count) {
    uint64_t hash = (uint64_t)(uintptr_t)borrower * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32) & (slot_count - 1);
}

/* The borrower's slot, or the free one where it belongs. NULL: there is no table. */
static struct bnx_limiter_slot *find(struct bnx_limiter_slot *slots, size_t slot_count,
                                     const void *borrower) {
    if (slot_count == 0) {
        return NULL;
    }
    size_t index = home_of(borrower, slot_count);
    while (slots[index].borrower != NULL && slots[index].borrower != borrower) {
        index = (index + 1) & (slot_count - 1); /* ends: half of the slots are free */
    }
    return &slots[index];
}

static struct bnx_limiter_slot *entry_of(const struct bnx_limiter *limiter, const void *borrower) {
    struct bnx_limiter_slot *slot = find(limiter->slots, limiter->slot_count, borrower);
    return slot != NULL && slot->borrower != NULL ? slot : NULL;
}

static void insert(struct bnx_limiter *limiter, const void *borrower, bool is_waiting) {
    struct bnx_limiter_slot *slot = find(limiter->slots, limiter->slot_count, borrower);
    *slot = (struct bnx_limiter_slot){borrower, is_waiting};
    limiter->entries++;
}

/* Frees a slot; what was pushed along by it moves up. */
static void erase(struct bnx_limiter *limiter, struct bnx_limiter_slot *slot) {
    size_t mask = limiter->slot_count - 1;
    size_t hole = (size_t)(slot - limiter->slots);
    for (size_t at = (hole + 1) & mask; limiter->slots[at].borrower != NULL; at = (at + 1) & mask) {
        size_t home = home_of(limiter->slots[at].borrower, limiter->slot_count);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            limiter->slots[hole] = limiter->slots[at];
            hole = at;
        }
    } /* ends: as in find */
    limiter->slots[hole].borrower = NULL;
    limiter->entries--;
}

static bool has_room(const struct bnx_limiter *limiter) {
    return 2 * (limiter->entries + 1) <= limiter->slot_count;
}

/* Takes over a larger table, unless it has become too small or needless meanwhile. Returns the one
 * that is to be freed. Under the lock: as long as the table, once for each doubling. */
static struct bnx_limiter_slot *adopt(struct bnx_limiter *limiter, struct bnx_limiter_slot *slots,
                                      size_t slot_count) {
    if (slot_count <= limiter->slot_count) {
        return slots;
    }
    struct bnx_limiter_slot *old = limiter->slots;
    for (size_t i = 0; i < limiter->slot_count; i++) {
        if (old[i].borrower != NULL) {
            *find(slots, slot_count, old[i].borrower) = old[i];
        }
    }
    limiter->slots = slots;
    limiter->slot_count = slot_count;
    return old;
}

/* Makes room for one more. Returns 0 or -ENOMEM. Another may take that room: try again. */
static int reserve(struct bnx_limiter *limiter) {
    bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
    size_t slot_count = limiter->slot_count;
    bool is_needed = !has_room(limiter);
    bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
    if (!is_needed) {
        return 0;
    }
    slot_count = slot_count == 0 ? SLOTS_MIN : 2 * slot_count;
    size_t bytes = slot_count * sizeof(struct bnx_limiter_slot);
    struct bnx_limiter_slot *slots = bnx_os.allocate(bytes, _Alignof(struct bnx_limiter_slot));
    if (slots == NULL) {
        return -ENOMEM;
    }
    memset(slots, 0, bytes);
    bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
    slots = adopt(limiter, slots, slot_count);
    bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
    if (slots != NULL) {
        bnx_os.release(slots);
    }
    return 0;
}

/* ---- Tokens; under the lock ---- */

/* Returns 0: the borrower has a token; -EAGAIN: it must wait; -EDEADLK; NO_ROOM. */
static int take_token(struct bnx_limiter *limiter, const void *borrower) {
    if (entry_of(limiter, borrower) != NULL && !BNX_PLANT(limiter_lends_twice)) {
        return -EDEADLK;
    }
    if (!has_room(limiter)) {
        return NO_ROOM;
    }
    if (limiter->borrowed >= limiter->tokens) {
        return -EAGAIN;
    }
    insert(limiter, borrower, false);
    limiter->borrowed++;
    return 0;
}

/* Gives what is there to those who have waited longest. */
static void grant(struct bnx_limiter *limiter, struct bnx_wake_chain *chain) {
    struct bnx_waiter *waiter;
    while (limiter->borrowed < limiter->tokens &&
           (waiter = bnx_wake_chain_claim(chain, bnx_waiters_of(limiter->waiters))) != NULL) {
        const struct request *request = waiter->data; /* ends: one waiter fewer each round */
        entry_of(limiter, request->borrower)->is_waiting = false;
        limiter->borrowed++;
    }
}

/* ---- Waiting ---- */

static bool take_or_wait(void *object, void *data) {
    struct bnx_limiter *limiter = object;
    struct request *request = data;
    request->error = take_token(limiter, request->borrower);
    if (request->error != -EAGAIN) {
        return true;
    }
    insert(limiter, request->borrower, true);
    return false;
}

static int give_up(void *object, void *data, bool was_in_list, int error) {
    struct bnx_limiter *limiter = object;
    const struct request *request = data;
    (void)was_in_list;
    erase(limiter, entry_of(limiter, request->borrower));
    return error;
}

static int wait_for_token(struct bnx_limiter *limiter, const void *borrower) {
    struct request request = {borrower, 0};
    struct bnx_list_wait wait = {
        .lock = &limiter->lock,
        .waiters = limiter->waiters,
        .object = limiter,
        .data = &request,
        .reason = BNX_WAIT_LIMITER,
        .take = take_or_wait,
        .give_up = give_up,
    };
    int result = bnx_list_wait(&wait);
    if (result < 0) {
        return result;
    }
    return result == 0 ? request.error : 0;
}

static int acquire(struct bnx_limiter *limiter, const void *borrower, bool may_wait) {
    if (borrower == NULL) {
        return -EINVAL;
    }
    for (;;) { /* ends: NO_ROOM means that others got what this one had reserved */
        int error = reserve(limiter);
        if (error != 0) {
            return error;
        }
        bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
        error = take_token(limiter, borrower);
        bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
        if (error == -EAGAIN && may_wait) {
            error = wait_for_token(limiter, borrower);
        }
        if (error != NO_ROOM) {
            return error;
        }
    }
}

/* The calling task, or what stands for the calling thread: no object has so low an address. */
static const void *caller(void) {
    const struct bnx_task *self = bnx_task_current();
    return self != NULL ? (const void *)self : (const void *)(intptr_t)bnx_os.thread_id();
}

int bnx_limiter_acquire_for(struct bnx_limiter *limiter, const void *borrower) {
    int error = bnx_sync_enter(bnx_sync_self());
    return error != 0 ? error : acquire(limiter, borrower, true);
}

int bnx_limiter_try_acquire_for(struct bnx_limiter *limiter, const void *borrower) {
    return acquire(limiter, borrower, false);
}

int bnx_limiter_release_for(struct bnx_limiter *limiter, const void *borrower) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    int error = -EPERM;
    bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
    struct bnx_limiter_slot *entry = entry_of(limiter, borrower);
    if (entry != NULL && !entry->is_waiting) {
        error = 0;
        erase(limiter, entry);
        limiter->borrowed--;
        if (!BNX_PLANT(limiter_keeps_token)) {
            grant(limiter, &chain);
        }
    }
    bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
    bnx_wake_chain_wake(&chain);
    return error;
}

int bnx_limiter_acquire(struct bnx_limiter *limiter) {
    return bnx_limiter_acquire_for(limiter, caller());
}

int bnx_limiter_try_acquire(struct bnx_limiter *limiter) {
    return bnx_limiter_try_acquire_for(limiter, caller());
}

int bnx_limiter_release(struct bnx_limiter *limiter) {
    return bnx_limiter_release_for(limiter, caller());
}

/* ---- The limiter as a whole ---- */

void bnx_limiter_init(struct bnx_limiter *limiter, size_t tokens) {
    *limiter = (struct bnx_limiter){.tokens = tokens};
}

void bnx_limiter_fini(struct bnx_limiter *limiter) {
    BNX_CHECK(bnx_waiters_of(limiter->waiters)->first == NULL);
    if (limiter->slots != NULL) {
        bnx_os.release(limiter->slots);
    }
    *limiter = (struct bnx_limiter){.tokens = 0};
}

void bnx_limiter_tokens_set(struct bnx_limiter *limiter, size_t tokens) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
    limiter->tokens = tokens;
    grant(limiter, &chain);
    bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
    bnx_wake_chain_wake(&chain);
}

void bnx_limiter_statistics_get(struct bnx_limiter *limiter,
                                struct bnx_limiter_statistics *out_statistics) {
    bnx_lock_acquire(bnx_lock_of(&limiter->lock)); /* L1 */
    *out_statistics = (struct bnx_limiter_statistics){
        .tokens = limiter->tokens,
        .borrowed = limiter->borrowed,
        .waiting = limiter->entries - limiter->borrowed,
    };
    bnx_lock_release(bnx_lock_of(&limiter->lock)); /* L1 */
}
