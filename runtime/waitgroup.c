/* SPDX-License-Identifier: MIT */
/*
 * The wait group (bonxie/waitgroup.h).
 *
 * Concepts
 *   word {count << 1 | WAITERS}. A change that would bring the count to zero while WAITERS is set
 *   is made under the lock, together with taking out those who wait: who comes after it begins
 *   anew. wait always looks under the lock: once it is back, whoever brought the count to zero has
 *   released the lock, its last touch.
 *
 * Invariants
 *   WAITERS is set exactly while the list has a waiter, and then the count is not zero; whenever
 *   the lock is free.
 *
 * Ordering
 *   WG1 count: CAS acq_rel by each change -> load-acquire by wait, or through the wake of whoever
 *       made it zero: what was done before.
 */
#include <bonxie/waitgroup.h>

#include "runtime/list_wait.h"

#define WAITERS UINT64_C(1)
#define ONE UINT64_C(2)
#define DELTA_MAX (INT64_C(1) << 31)

static uint64_t changed(uint64_t word, int64_t delta) {
    int64_t count = (int64_t)(word / ONE) + delta;
    BNX_CHECK(count >= 0);
    return (uint64_t)count * ONE + word % ONE;
}

/* Makes the change under the lock, and wakes all if it leaves nothing to do. */
static BNX_NOINLINE void change_slow(struct bnx_waitgroup *group, int64_t delta) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    bnx_lock_acquire(bnx_lock_of(&group->lock));    /* L1 */
    uint64_t word = bnx_load_relaxed(&group->word); /* the CAS decides */
    uint64_t next;
    do { /* lock-free: a failure is another's success */
        next = changed(word, delta);
        next = next == WAITERS ? 0 : next;
    } while (!bnx_cas_acq_rel(&group->word, &word, next)); /* WG1 */
    if (next == 0) {
        bnx_wake_chain_claim_all(&chain, bnx_waiters_of(group->waiters), 0);
    }
    bnx_lock_release(bnx_lock_of(&group->lock)); /* L1 */
    bnx_wake_chain_wake(&chain);
}

void bnx_waitgroup_add(struct bnx_waitgroup *group, int64_t delta) {
    BNX_CHECK(delta >= -DELTA_MAX && delta <= DELTA_MAX);
    uint64_t word = bnx_load_relaxed(&group->word); /* the CAS decides */
    uint64_t next;
    do { /* lock-free: a failure is another's success */
        next = changed(word, delta);
        if (bnx_unlikely(next == WAITERS) && !BNX_PLANT(waitgroup_zero_unlocked)) {
            change_slow(group, delta);
            return;
        }
    } while (!bnx_cas_acq_rel(&group->word, &word, next)); /* WG1 */
}

void bnx_waitgroup_done(struct bnx_waitgroup *group) {
    bnx_waitgroup_add(group, -1);
}

static bool is_over(void *object, void *data) {
    struct bnx_waitgroup *group = object;
    (void)data;
    uint64_t word = bnx_load_acquire(&group->word); /* WG1 */
    while (word != 0) {                             /* lock-free: as above */
        if ((word & WAITERS) != 0 ||
            bnx_cas_acq_rel(&group->word, &word, word | WAITERS)) { /* WG1 */
            return false;
        }
    }
    return true;
}

static int give_up(void *object, void *data, bool was_in_list, int error) {
    struct bnx_waitgroup *group = object;
    (void)data;
    (void)was_in_list;
    if (bnx_waiters_of(group->waiters)->first == NULL) {
        uint64_t word = bnx_load_relaxed(&group->word);                  /* the CAS decides */
        while (!bnx_cas_relaxed(&group->word, &word, word & ~WAITERS)) { /* lock-free: as above */
        }
    }
    return error;
}

int bnx_waitgroup_wait(struct bnx_waitgroup *group) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0) {
        return error;
    }
    if (bnx_load_acquire(&group->word) == 0) {       /* WG1 */
        bnx_lock_acquire(bnx_lock_of(&group->lock)); /* L1: whoever made it zero is through */
        bnx_lock_release(bnx_lock_of(&group->lock)); /* L1 */
        return 0;
    }
    struct bnx_list_wait wait = {
        .lock = &group->lock,
        .waiters = group->waiters,
        .object = group,
        .reason = BNX_WAIT_WAITGROUP,
        .take = is_over,
        .give_up = give_up,
    };
    int result = bnx_list_wait(&wait);
    return result < 0 ? result : 0;
}
