/* SPDX-License-Identifier: MIT */
/*
 * The semaphore (bonxie/sem.h): a locked word {tokens, WAITERS, LOCK} and a list of those who wait.
 *
 * Concepts
 *   serve   under LOCK: as long as the tokens suffice for the oldest waiter, he is claimed and his
 *           tokens taken off. A claim that fails, because a cancel was first, costs nothing: the
 *           tokens are the next one's. So a token is always either in the word or with somebody
 *           whose acquire returns 0.
 *   wants   how many tokens a waiter waits for. One whose `data` is his own address is ours and
 *           says so beside it; any other, of bnx_wait or bnx_select, wants one.
 *
 * Invariants, whenever LOCK is free
 *   WAITERS <=> the list is not empty
 *   WAITERS  => tokens < wants of the oldest waiter. He may have been claimed by a cancel: then he
 *               is about to take himself out, and to serve those behind him
 *
 * Ordering
 *   Y1 (sync_pvt.h): a release's CAS or unlock -> the CAS of the acquire that passes; what a waiter
 *   is handed travels with his wake. The unlock is the last access of a release to the semaphore.
 */
#include <bonxie/sem.h>

#include "runtime/sync_pvt.h"

#include <errno.h>

#define WAITERS 2u
#define FLAGS (BNX_SYNC_LOCK | WAITERS)
#define COUNT_SHIFT 2
#define TOKENS(count) ((uint64_t)(count) << COUNT_SHIFT)
_Static_assert(TOKENS(1) == FLAGS + 1 && COUNT_SHIFT == 2, "BNX_SEM_INIT shifts by as much");

struct sem_waiter {
    struct bnx_waiter waiter;
    uint32_t wants; /* immutable */
};

static struct bnx_waiter_list *list_of(struct bnx_sem *sem) {
    return (struct bnx_waiter_list *)(void *)&sem->first;
}
_Static_assert(offsetof(struct bnx_sem, last) - offsetof(struct bnx_sem, first) ==
                   offsetof(struct bnx_waiter_list, last),
               "the public struct has room for the list");
_Static_assert(offsetof(struct bnx_sem, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

static struct bnx_sem *sem_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_sem, waitable);
}

static uint64_t tokens_wanted(struct bnx_waiter *waiter) {
    if (waiter->data != waiter) {
        return TOKENS(1);
    }
    return TOKENS(BNX_CONTAINER_OF(waiter, struct sem_waiter, waiter)->wants);
}

void bnx_sem_init(struct bnx_sem *sem, uint32_t count) {
    *sem = (struct bnx_sem)BNX_SEM_INIT(count);
}

/* Takes tokens where nobody waits. */
static inline bool take_free(struct bnx_sem *sem, uint64_t tokens) {
    uint64_t word = bnx_load_relaxed(&sem->word);   /* the CAS decides */
    while ((word & FLAGS) == 0 && word >= tokens) { /* lock-free: a failure is another's success */
        if (bnx_cas_acquire(&sem->word, &word, word - tokens)) { /* Y1 */
            return true;
        }
    }
    return false;
}

/* ---- Under LOCK; `word` is the word without its flags ---- */

static uint64_t serve(struct bnx_sem *sem, uint64_t word, struct bnx_wake_chain *chain) {
    struct bnx_waiter *waiter;
    while ((waiter = sem->first) != NULL) { /* ends: one fewer each round */
        struct bnx_wakee wakee;
        uint64_t wanted = tokens_wanted(waiter);
        if (word < wanted) {
            break;
        }
        bnx_waiter_list_remove(list_of(sem), waiter);
        if (bnx_waiter_claim(waiter, 0, &wakee) || BNX_PLANT(sem_eats_token)) {
            word -= wanted;
            bnx_wake_chain_add(chain, waiter, &wakee);
        }
    }
    return word;
}

static uint64_t lock_word(struct bnx_sem *sem) {
    return bnx_sync_lock_wide(&sem->word) & ~(uint64_t)WAITERS;
}

static void unlock_word(struct bnx_sem *sem, uint64_t word) {
    bnx_store_release(&sem->word, word | (sem->first != NULL ? WAITERS : 0)); /* Y1 */
}

/* Takes the tokens, or adds the waiter. Returns whether it was added. */
static bool take_or_add(struct bnx_sem *sem, struct bnx_waiter *waiter) {
    uint64_t wanted = tokens_wanted(waiter);
    uint64_t word = lock_word(sem);
    bool is_free = sem->first == NULL && word >= wanted;
    if (is_free) {
        word -= wanted;
    } else {
        bnx_waiter_list_push(list_of(sem), waiter);
    }
    unlock_word(sem, word);
    return !is_free;
}

/* Whoever leaves may have been the one that those behind him waited for. */
static void leave(struct bnx_sem *sem, struct bnx_waiter *waiter) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    uint64_t word = lock_word(sem);
    bnx_waiter_list_remove(list_of(sem), waiter);
    if (!BNX_PLANT(sem_leave_serves_none)) {
        word = serve(sem, word, &chain);
    }
    unlock_word(sem, word);
    bnx_wake_chain_wake(&chain);
}

/* ---- Acquiring ---- */

static BNX_NOINLINE int acquire_slow(struct bnx_sem *sem, uint32_t count) {
    struct bnx_sleeper sleeper;
    struct sem_waiter self = {.wants = count};
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&self.waiter, &sleeper, &self.waiter);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        return error;
    }
    if (take_or_add(sem, &self.waiter)) {
        error = bnx_sleeper_sleep(&sleeper, BNX_WAIT_SEM, sem);
        if (error != 0) {
            leave(sem, &self.waiter);
        } else if (BNX_PLANT(sem_cancel_beats_wake) && sleeper.task != NULL) {
            error = bnx_task_cancel_check(sleeper.task);
        }
    } else if (!bnx_sleeper_withdraw(&sleeper)) {
        (void)bnx_sleeper_sleep(&sleeper, BNX_WAIT_SEM, sem); /* the next call says it */
    }
    bnx_sleeper_fini(&sleeper);
    return error;
}

int bnx_sem_acquire_n(struct bnx_sem *sem, uint32_t count) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0 || count == 0 || take_free(sem, TOKENS(count))) {
        return error;
    }
    return acquire_slow(sem, count);
}

int bnx_sem_acquire(struct bnx_sem *sem) {
    return bnx_sem_acquire_n(sem, 1);
}

int bnx_sem_try_acquire(struct bnx_sem *sem) {
    return take_free(sem, TOKENS(1)) ? 0 : -EAGAIN;
}

uint32_t bnx_sem_count(const struct bnx_sem *sem) {
    return (uint32_t)(bnx_load_relaxed(&sem->word) >> COUNT_SHIFT); /* a snapshot */
}

/* ---- Releasing ---- */

static BNX_NOINLINE int release_slow(struct bnx_sem *sem, uint64_t tokens) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    uint64_t word = lock_word(sem);
    int error = word + tokens > TOKENS(UINT32_MAX) ? -EOVERFLOW : 0;
    if (error == 0) {
        word = serve(sem, word + tokens, &chain);
    }
    unlock_word(sem, word);
    bnx_wake_chain_wake(&chain);
    return error;
}

int bnx_sem_release_n(struct bnx_sem *sem, uint32_t count) {
    uint64_t tokens = TOKENS(count);
    uint64_t word = bnx_load_relaxed(&sem->word); /* the CAS decides */
    while ((word & FLAGS) == 0) {                 /* lock-free: a failure is another's success */
        if (word + tokens > TOKENS(UINT32_MAX)) {
            return -EOVERFLOW;
        }
        if (bnx_cas_release(&sem->word, &word, word + tokens)) { /* Y1 */
            return 0;
        }
    }
    return release_slow(sem, tokens);
}

int bnx_sem_release(struct bnx_sem *sem) {
    return bnx_sem_release_n(sem, 1);
}

/* ---- A semaphore as a waitable ---- */

static bool take_one(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    if (!take_free(sem_of(waitable), TOKENS(1))) {
        return false;
    }
    *out_result = 0;
    return true;
}

/* Takes nothing: whoever is told that there is something comes to take it. */
static bool add_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_sem *sem = sem_of(waitable);
    uint64_t word = lock_word(sem);
    bool is_free = sem->first == NULL && word >= TOKENS(1);
    if (!is_free) {
        bnx_waiter_list_push(list_of(sem), waiter);
    }
    unlock_word(sem, word);
    return !is_free;
}

static void remove_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    leave(sem_of(waitable), waiter);
}

static const struct bnx_waitable_ops sem_ops = {
    .take = take_one,
    .add = add_waiter,
    .remove = remove_waiter,
    .hands_out = true,
    .name = "semaphore",
};

struct bnx_waitable *bnx_sem_waitable(struct bnx_sem *sem) {
    return bnx_sync_waitable(&sem->waitable, &sem_ops);
}
