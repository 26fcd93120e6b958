/* SPDX-License-Identifier: MIT */
/*
 * The barrier (bonxie/barrier.h).
 *
 * Invariants
 *   arrived == the number of waiters in the list < count, whenever the lock is free.
 *   So a round is complete when its last party says so under the lock; a waiter whom a cancel has
 *   claimed, but who was in the list until then, has passed.
 */
#include <bonxie/barrier.h>

#include "runtime/list_wait.h"

void bnx_barrier_init(struct bnx_barrier *barrier, uint32_t count) {
    BNX_CHECK(count > 0);
    *barrier = (struct bnx_barrier){.count = count};
}

/* One party's wait; waiter->data. */
struct party {
    bool is_last;
    struct bnx_wake_chain chain; /* the others, when it is */
};

/* Comes; the last one ends the round and takes all others out. */
static bool come(void *object, void *data) {
    struct bnx_barrier *barrier = object;
    struct party *party = data;
    if (++barrier->arrived < barrier->count) {
        return false;
    }
    barrier->arrived = 0;
    party->is_last = true;
    bnx_wake_chain_claim_all(&party->chain, bnx_waiters_of(barrier->waiters), 0);
    return true;
}

static int leave(void *object, void *data, bool was_in_list, int error) {
    struct bnx_barrier *barrier = object;
    (void)data;
    if (!was_in_list) {
        return 0;
    }
    if (!BNX_PLANT(barrier_counts_leavers)) {
        barrier->arrived--;
    }
    return error;
}

int bnx_barrier_wait(struct bnx_barrier *barrier) {
    BNX_CHECK(barrier->count > 0);
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    struct party party = {.is_last = false};
    bnx_wake_chain_init(&party.chain);
    struct bnx_list_wait wait = {
        .lock = &barrier->lock,
        .waiters = barrier->waiters,
        .object = barrier,
        .data = &party,
        .reason = BNX_WAIT_BARRIER,
        .take = come,
        .give_up = leave,
    };
    int result = bnx_list_wait(&wait);
    bnx_wake_chain_wake(&party.chain);
    return result < 0 ? result : party.is_last;
}
