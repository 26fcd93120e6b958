/* SPDX-License-Identifier: MIT */
/*
 * What a waiting task and those who end its wait do with the wait word (task_pvt.h has the word,
 * its states and the edges T2 and T3). Inline, because every hop between two tasks takes these
 * steps.
 */
#ifndef BNX_RUNTIME_WAIT_H
#define BNX_RUNTIME_WAIT_H

#include "runtime/suspension.h"
#include "runtime/task_pvt.h"

/** The rest of bnx_task_cancel_check: something was cancelled lately, maybe not this task. */
int bnx_task_cancel_check_slow(struct bnx_task *self) BNX_COLD;

/** The runtime's first word is the cancel epoch (runtime_pvt.h). */
static inline uint64_t bnx_task_cancel_epoch(const struct bnx_task *self) {
    return bnx_load_seq_cst((const uint64_t *)(const void *)self->runtime); /* T2 */
}

/** Whether anything was cancelled since bnx_task_cancel_check last returned 0; if not, it returns 0
 * now. For a fast way that leaves all else to a slow one. */
static inline bool bnx_task_cancel_is_new(const struct bnx_task *self) {
    return bnx_task_cancel_epoch(self) != self->cancel_seen;
}

/**
 * The check that every suspending call makes on entry.
 * Returns 0, -ECANCELED, -ETIMEDOUT. About 1 ns while nothing was cancelled lately.
 */
static inline int bnx_task_cancel_check(struct bnx_task *self) {
    BNX_SUSPENSION(self);
    return bnx_likely(!bnx_task_cancel_is_new(self)) ? 0 : bnx_task_cancel_check_slow(self);
}

/** Returns the sequence number that the next bnx_wait_publish of this task will use. */
static inline uint64_t bnx_wait_next_sequence(const struct bnx_task *self) {
    /* Relaxed: only the task itself bumps it. The counter wraps without touching the depth. */
    uint64_t before = BNX_WAIT_SEQUENCE(bnx_load_relaxed(&self->wait));
    uint64_t counter = (before + 1) & ((UINT64_C(1) << BNX_WAIT_COUNTER_BITS) - 1);
    return (uint64_t)bnx_task_scope(self)->shield_depth << BNX_WAIT_COUNTER_BITS | counter;
}

/**
 * Takes back a published wait. Returns true: nobody has claimed it and nobody will. False: somebody
 * has, and calls ready: the task must park and end the wait.
 */
static inline bool bnx_wait_withdraw(struct bnx_task *self) {
    uint64_t word = bnx_load_relaxed(&self->wait); /* the CAS decides */
    uint64_t sequence = BNX_WAIT_SEQUENCE(word);
    uint64_t waiting = BNX_WAIT_WORD(sequence, BNX_WAIT_WAITING);
    return bnx_cas_acq_rel(&self->wait, &waiting, BNX_WAIT_WORD(sequence, BNX_WAIT_IDLE)); /* T3 */
}

/** Publishes a wait that is not refused by a cancel. Returns its sequence number. */
static inline uint64_t bnx_wait_publish_always(struct bnx_task *self) {
    uint64_t sequence = bnx_wait_next_sequence(self);
    self->wake_code = BNX_WAKE;
    bnx_store_seq_cst(&self->wait, BNX_WAIT_WORD(sequence, BNX_WAIT_WAITING)); /* T2 */
    return sequence;
}

/** As bnx_wait_publish; *out_sequence receives the sequence number, whatever it returns. */
static inline int bnx_wait_publish_numbered(struct bnx_task *self, uint64_t *out_sequence) {
    bnx_scope_make_findable(self);
    BNX_SUSPENSION(self); /* a cancel that comes now finds nobody waiting */
    *out_sequence = bnx_wait_publish_always(self);
    BNX_SUSPENSION(self); /* one that comes now claims it */
    /* One look is enough, and it is this one: an earlier cancel is found as well. */
    if (bnx_likely(!bnx_task_cancel_is_new(self)) || BNX_PLANT(wait_no_reread)) {
        return 0;
    }
    int error = bnx_task_cancel_check_slow(self);
    if (error == 0) {
        return 0;
    }
    return bnx_wait_withdraw(self) ? error : 1;
}

/**
 * Begins a wait that wakers, cancels and timers may claim: publishes WAITING and only then looks at
 * the cancel state.
 * Returns 0: park now, then call bnx_wait_end. -ECANCELED, -ETIMEDOUT: cancelled, the wait is
 * withdrawn; nobody will call ready. 1: a waker has claimed it already: park all the same.
 * A waker needs bnx_wait_next_sequence, read before this call.
 */
static inline int bnx_wait_publish(struct bnx_task *self) {
    uint64_t sequence;
    return bnx_wait_publish_numbered(self, &sequence);
}

/**
 * Claims a wait. Returns true: the caller must call bnx_task_ready, exactly once. False: the wait
 * is over or somebody else has claimed it.
 */
static inline bool bnx_wait_claim(struct bnx_task *task, uint64_t sequence,
                                  enum bnx_wake_code code) {
    uint64_t waiting = BNX_WAIT_WORD(sequence, BNX_WAIT_WAITING);
    if (!bnx_cas_acq_rel(&task->wait, &waiting,
                         BNX_WAIT_WORD(sequence, BNX_WAIT_CLAIMED))) { /* T3 */
        return false;
    }
    task->wake_code = (uint8_t)code; /* the claimer's alone until it calls ready */
    return true;
}

/**
 * Ends a claimed wait after the park.
 * Returns 0 when woken; when cancelled -ECANCELED or -ETIMEDOUT.
 */
static inline int bnx_wait_end(struct bnx_task *self) {
    uint64_t word = bnx_load_relaxed(&self->wait); /* ready and resume ordered it */
    BNX_ASSERT(BNX_WAIT_STATE(word) == BNX_WAIT_CLAIMED);
    /* Relaxed: a stale claimer fails on the state as it did on the sequence. */
    bnx_store_relaxed(&self->wait, BNX_WAIT_WORD(BNX_WAIT_SEQUENCE(word), BNX_WAIT_IDLE));
    if (bnx_likely(self->wake_code == BNX_WAKE)) {
        return 0;
    }
    int error = bnx_task_cancel_check(self);
    BNX_ASSERT(error != 0);
    return error;
}

#endif
