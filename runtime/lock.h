/* SPDX-License-Identifier: MIT */
/*
 * A spin lock for sections of some ten instructions: Concurrency Kit's fetch-and-store lock.
 *
 * Never held over a switch, a syscall that can block, or a callback. After 64 failed tries the
 * waiter gives its CPU away: the holder may have been preempted, and on a small machine it then
 * needs this very CPU.
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

#define BNX_LOCK_PAUSES_MAX 64

struct bnx_lock {
    ck_spinlock_fas_t spin; /* any thread */
};

static inline void bnx_lock_init(struct bnx_lock *lock) {
    ck_spinlock_fas_init(&lock->spin);
}

/** Takes the lock if it is free. Never waits. */
static inline bool bnx_lock_try(struct bnx_lock *lock) {
    BNX_ATOMIC_POINT();
    if (!ck_spinlock_fas_trylock(&lock->spin)) {
        return false;
    }
    bnx_tsan_acquire(lock); /* L1 */
    return true;
}

static inline void bnx_lock_acquire(struct bnx_lock *lock) { /* L1 */
    int pauses = 0;
    /* Ends: holders run a bounded section and never sleep in it. */
    while (!bnx_lock_try(lock)) {
        if (++pauses < BNX_LOCK_PAUSES_MAX) {
            bnx_pause();
        } else {
            pauses = 0;
            bnx_os.thread_yield();
        }
    }
}

static inline void bnx_lock_release(struct bnx_lock *lock) { /* L1 */
    BNX_ATOMIC_POINT();
    bnx_tsan_release(lock);
    ck_spinlock_fas_unlock(&lock->spin);
}

#endif
