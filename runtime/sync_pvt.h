/* SPDX-License-Identifier: MIT */
/*
 * What the synchronisation objects share: the way in, a word that is its own lock, chains of wakes.
 *
 * Concepts
 *   locked word  the object's state with a LOCK bit in it. Fast paths are one CAS that fails while
 *                LOCK is set; everything that touches the list of waiters holds it. Since state and
 *                lock are one word, the store that releases the lock publishes the new state as the
 *                holder's last touch: who has seen that state may free the object.
 *   wake chain   those whom a locked section has claimed, to be woken after it. The links are in
 *                the waiters: a claimed sleeper does not run before it is woken.
 *
 * Ordering
 *   Y1 word      store-release by the unlock, or by a fast path's CAS -> load-acquire or CAS
 *                acquire of whoever takes the lock or passes: he sees what was done before.
 *   Y2 waitable  the pointer to the ops is set once, CAS acq_rel; whoever finds it set reads it by
 *                a load-acquire, so that plain reads of it follow the one write.
 */
#ifndef BNX_RUNTIME_SYNC_PVT_H
#define BNX_RUNTIME_SYNC_PVT_H

#include "runtime/lock.h"
#include "runtime/waiter.h"
#include "runtime/worker.h"

#include <bonxie/mutex.h>

/* ---- The way in ---- */

/** The current task, or NULL; inline, for calls that cost ten nanoseconds in all. */
static inline struct bnx_task *bnx_sync_self(void) {
    struct bnx_worker *worker = bnx_worker_current();
    return bnx_likely(worker != NULL) ? worker->current : NULL;
}

/**
 * What every call that may wait begins with: an operation counts against the time slice, and a
 * cancel refuses it. It gives way here and not when it has got what it came for: nobody who holds a
 * mutex is sent to the end of the queue for having taken it.
 * Returns 0, -ECANCELED, -ETIMEDOUT. self NULL (a thread): 0.
 */
static inline int bnx_sync_enter(struct bnx_task *self) {
    if (bnx_unlikely(self == NULL)) {
        return 0;
    }
    struct bnx_worker *worker = bnx_worker_current();
    if (bnx_unlikely(--worker->budget <= 0)) {
        worker->budget++;
        bnx_task_spend(self);
    }
    return BNX_PLANT(sync_enters_cancelled) ? 0 : bnx_task_cancel_check(self);
}

/** Who calls: the task, or what stands for the OS thread; NULL where that is virtual. (mutex.c) */
const void *bnx_sync_caller(const struct bnx_task *self);

/* ---- A word that is its own lock ---- */

#define BNX_SYNC_LOCK 1u

/* For words of both widths; the section is some ten instructions, or one claim a waiter. */
#define BNX_SYNC_LOCK_WORD(word)                                                                   \
    __extension__({                                                                                \
        int pauses_ = 0;                                                                           \
        __typeof__(*(word)) seen_ = bnx_load_relaxed(word); /* the CAS decides */                  \
        /* Ends: holders never sleep. */                                                           \
        while ((seen_ & BNX_SYNC_LOCK) != 0 ||                                                     \
               !bnx_cas_acquire((word), &seen_, seen_ | BNX_SYNC_LOCK)) { /* Y1 */                 \
            if ((seen_ & BNX_SYNC_LOCK) != 0) {                                                    \
                bnx_sync_pause(&pauses_);                                                          \
                seen_ = bnx_load_relaxed(word); /* the CAS decides */                              \
            }                                                                                      \
        }                                                                                          \
        seen_;                                                                                     \
    })

static inline void bnx_sync_pause(int *pauses) {
    if (++*pauses < BNX_LOCK_PAUSES_MAX) {
        bnx_pause();
    } else {
        *pauses = 0;
        bnx_os.thread_yield(); /* the holder may have been preempted, and need this CPU */
    }
}

/** Takes the lock. Returns the word, without LOCK. */
static inline uint32_t bnx_sync_lock(uint32_t *word) {
    return BNX_SYNC_LOCK_WORD(word);
}

static inline uint64_t bnx_sync_lock_wide(uint64_t *word) {
    return BNX_SYNC_LOCK_WORD(word);
}

/* ---- Wake chains ---- */

struct bnx_wake_chain {
    struct bnx_waiter *first;
    struct bnx_waiter **end; /* where the next one goes */
};

static inline void bnx_wake_chain_init(struct bnx_wake_chain *chain) {
    chain->first = NULL;
    chain->end = &chain->first;
}

/* Adds a claimed waiter that is in no list. Its links are free for use: next leads on, prev says
 * whom to wake, a thread's block with bit 0 set. */
static inline void bnx_wake_chain_add(struct bnx_wake_chain *chain, struct bnx_waiter *waiter,
                                      const struct bnx_wakee *wakee) {
    if (wakee->task == NULL && wakee->block == NULL) {
        return; /* he has noted it and sleeps on, or is awake: he may leave once we unlock */
    }
    void *whom = wakee->task != NULL ? (void *)wakee->task : (void *)((uintptr_t)wakee->block | 1);
    waiter->prev = whom;
    waiter->next = NULL;
    *chain->end = waiter;
    chain->end = &waiter->next;
}

/** Wakes all, first added first. Outside every lock; touches the object no more. */
static inline void bnx_wake_chain_wake(const struct bnx_wake_chain *chain) {
    struct bnx_waiter *waiter = chain->first;
    while (waiter != NULL) {                    /* ends: a list that nobody adds to */
        struct bnx_waiter *next = waiter->next; /* the frame may be gone after the wake */
        uintptr_t whom = (uintptr_t)waiter->prev;
        struct bnx_wakee wakee = {NULL, NULL};
        if ((whom & 1) != 0) {
            wakee.block = (struct bnx_thread_block *)(whom & ~(uintptr_t)1);
        } else {
            wakee.task = (struct bnx_task *)whom;
        }
        bnx_wakee_wake(&wakee);
        waiter = next;
    }
}

/** Claims all in the list, and adds them to the chain. Under the list's lock. */
static inline void bnx_wake_chain_claim_all(struct bnx_wake_chain *chain,
                                            struct bnx_waiter_list *list, int result) {
    struct bnx_wakee wakee;
    struct bnx_waiter *waiter;
    while ((waiter = bnx_waiter_list_claim(list, result, &wakee)) != NULL) { /* ends: one fewer */
        bnx_wake_chain_add(chain, waiter, &wakee);
    }
}

/* ---- Waitables that are all zero until somebody asks ---- */

static inline struct bnx_waitable *bnx_sync_waitable(struct bnx_waitable *waitable,
                                                     const struct bnx_waitable_ops *ops) {
    if (bnx_load_acquire(&waitable->ops) == NULL) { /* Y2 */
        const struct bnx_waitable_ops *none = NULL;
        (void)bnx_cas_acq_rel(&waitable->ops, &none, ops); /* Y2: only one writes */
    }
    return waitable;
}

/* ---- What a condition variable knows of the mutex ---- */

/* One who waits for a mutex, in his frame: at bnx_mutex_lock, or behind a condition variable. */
struct bnx_mutex_waiter {
    struct bnx_waiter waiter;
    struct bnx_mutex *mutex; /* he wants; immutable */
    struct bnx_wakee wakee;  /* a cond's waiter, claimed by a signal: whom to wake; the claimer */
    uint64_t since_ns;       /* when he came to the mutex; he, or who moved him there */
    uint32_t is_handed;      /* woken as the mutex's owner; who unlocked it */
    uint32_t vain_count;     /* times that he was woken and found it held; he */
};

/** Whom a signal has claimed waits for his mutex from now on. Any thread. (mutex.c) */
void bnx_mutex_move_waiter(struct bnx_mutex_waiter *claimed);

/** The rest of his wait, after sleep has returned 0: returns as owner. (mutex.c) */
void bnx_mutex_finish_move(struct bnx_sleeper *sleeper, struct bnx_mutex_waiter *self);

/** Locks whatever the cancel state, by a sleeper that has begun before. (mutex.c) */
void bnx_mutex_lock_always(struct bnx_sleeper *sleeper, struct bnx_mutex_waiter *self);

#endif
