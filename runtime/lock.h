/* SPDX-License-Identifier: MIT */
/*
 * A spin lock for sections of some ten instructions: Concurrency Kit's fetch-and-store lock.
 *
 * Never held over a switch, a syscall that can block, or a callback.
 *
 * Waiting
 *   Who finds it taken stays away for about a microsecond before it tries again, and for two the
 *   next time: some twenty sections long. Each try takes the cache line from the holder, and the
 *   line after it, which the section works on. With tries 30 ns apart two workers at one channel
 *   needed 57 ns an item where one worker needs 10; left alone for so long the one inside goes on
 *   undisturbed, and it is 14. Then the waiter gives its CPU away: the holder may have been
 *   preempted, and on a small machine it then needs this very CPU.
 *
 * Ordering
 *   L1 lock acquires what the last unlock released. ck_pr is invisible to ThreadSanitizer, so the
 *      edge is announced to it beside the call.
 */
#ifndef BNX_RUNTIME_LOCK_H
#define BNX_RUNTIME_LOCK_H

#include "runtime/atomic.h"
#include "runtime/os.h"

#include <ck_spinlock.h>

/* How many pauses, of some 30 ns each, between two tries. */
#if BNX_SIM
#define BNX_LOCK_PAUSES_MIN 1 /* a pause is a turn of the others there */
#define BNX_LOCK_PAUSES_MAX 32
#else
#define BNX_LOCK_PAUSES_MIN 32
#define BNX_LOCK_PAUSES_MAX 64
#endif

struct bnx_lock {
    ck_spinlock_fas_t spin; /* any thread */
};

static inline void bnx_lock_init(struct bnx_lock *lock) {
    ck_spinlock_fas_init(&lock->spin);
}

/** Takes the lock if it is free. Never waits. */
static inline bool bnx_lock_try(struct bnx_lock *lock) {
    BNX_ATOMIC_POINT(lock, RMW);
    if (!ck_spinlock_fas_trylock(&lock->spin)) {
        return false;
    }
    bnx_tsan_acquire(lock); /* L1 */
    return true;
}

/* The way of a lock that was not free at the first try. */
BNX_UNUSED static BNX_NOINLINE void bnx_lock_wait(struct bnx_lock *lock) {
    uint32_t pauses = BNX_LOCK_PAUSES_MIN;
    /* Ends: holders run a bounded section and never sleep in it. */
    do {
        if (pauses > BNX_LOCK_PAUSES_MAX) {
            pauses = BNX_LOCK_PAUSES_MIN;
            bnx_os.thread_yield();
        }
        for (uint32_t i = 0; i < pauses; i++) {
            bnx_pause();
        }
        pauses *= 2;
    } while (!bnx_lock_try(lock));
}

static inline void bnx_lock_acquire(struct bnx_lock *lock) { /* L1 */
    if (bnx_unlikely(!bnx_lock_try(lock))) {
        bnx_lock_wait(lock);
    }
}

static inline void bnx_lock_release(struct bnx_lock *lock) { /* L1 */
    BNX_ATOMIC_POINT(lock, STORE);
    bnx_tsan_release(lock);
    ck_spinlock_fas_unlock(&lock->spin);
}

#endif
