/* SPDX-License-Identifier: MIT */
/*
 * A lock that many may hold to read, or one to write.
 *
 *     static struct bnx_rwlock lock = BNX_RWLOCK_INIT;
 *     int error = bnx_rwlock_read_lock(&lock);
 *     if (error == 0) {
 *         look_up(table);
 *         bnx_rwlock_read_unlock(&lock);
 *     }
 *
 * Tasks and OS threads share it. It is fair: whoever comes while somebody waits, waits behind him,
 * so a waiting writer stops new readers. When it is a reader's turn all readers that wait go in
 * together; so nobody is overtaken by more than one round of readers.
 * Not recursive: a reader that locks again while a writer waits between the two waits for ever.
 * Uncontended, each call is one atomic operation.
 */
#ifndef BONXIE_RWLOCK_H
#define BONXIE_RWLOCK_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_waiter;

/* All zero is unlocked. All fields are private. */
struct bnx_rwlock {
    uint64_t word;                 /* how many read, whether one writes, whether somebody waits */
    struct bnx_waiter *waiters[2]; /* first and last; under lock */
    uint32_t lock;                 /* guards the waiters */
};

/* clang-format off */
#define BNX_RWLOCK_INIT {0}
/* clang-format on */

/**
 * Locks to read.
 * Returns 0: locked; -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled, it is not locked;
 * -ENOMEM (an OS thread).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_rwlock_read_lock(struct bnx_rwlock *rwlock);

/** Locks to read if that is possible at once. Returns 0, or -EAGAIN. Any thread; never suspends. */
BNX_API int bnx_rwlock_try_read_lock(struct bnx_rwlock *rwlock);

/** Ends a read lock. Context: any task or thread, not only the one that locked; never suspends. */
BNX_API void bnx_rwlock_read_unlock(struct bnx_rwlock *rwlock);

/** Locks to write. Returns and context as bnx_rwlock_read_lock. */
BNX_API int bnx_rwlock_write_lock(struct bnx_rwlock *rwlock);

/**
 * Locks to write if nobody holds it or waits. Returns 0, or -EAGAIN. Any thread; never suspends.
 */
BNX_API int bnx_rwlock_try_write_lock(struct bnx_rwlock *rwlock);

/** Ends a write lock. Context: as bnx_rwlock_read_unlock. */
BNX_API void bnx_rwlock_write_unlock(struct bnx_rwlock *rwlock);

BNX_EXTERN_C_END

#endif
