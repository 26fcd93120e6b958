/* SPDX-License-Identifier: MIT */
/*
 * The mutex (bonxie/mutex.h).
 *
 * Concepts
 *   The word is one of
 *       0                          free
 *       LOCKED                     held; the unlock is one CAS
 *       LOCKED | WAITERS           held; the unlock claims the oldest waiter and wakes him
 *       LOCKED | WAITERS | STARVING   held; the unlock makes the oldest waiter the owner
 *   so taking a free mutex is one CAS from 0, whoever waits. The list is under `lock`.
 *   woken    is_woken: the unlock has claimed a waiter, who is on his way to try. Until he has
 *            looked WAITERS stays off, so that those who lock and unlock meanwhile do it by one CAS
 *            each and wake nobody in vain. Who was woken and finds it held goes back to the front.
 *   starving one who was woken in vain and has waited for 1 ms sets STARVING: the next unlock keeps
 *            LOCKED and hands the mutex over, and so does each after it while the next in the list
 *            has waited as long.
 *   moved    a signal has claimed a condition variable's waiter and puts him into the list. He is
 *            claimed already: only the mutex wakes him, and no cancel takes him out.
 *
 * Invariants, whenever `lock` is free
 *   waiters != {}  =>  WAITERS or is_woken       somebody will look at the list
 *   WAITERS        =>  LOCKED and not is_woken
 *   STARVING       =>  WAITERS
 *
 * Ordering
 *   M1 hold   the unlock's CAS release of word -> the next lock's CAS acquire.
 *   M2 hand   the owner's writes -> the wake -> the new owner's return from its sleep: the edges of
 *             the wake itself (T3 and the ready queues; N2, V3), the word is not written.
 *   Everything else about the word is relaxed: WAITERS and STARVING are set and cleared under
 *   `lock` (L1), by a CAS that fails when the holder unlocks at the same moment. While WAITERS is
 *   set the word changes under `lock` only, for the holder's CAS from LOCKED fails.
 *
 * Last touch
 *   The unlock's CAS to 0 is its last access to the mutex, also on the slow path, which releases
 *   `lock` before: a new owner may free it at once. Whom it wakes, it wakes after that: he waits
 *   for the mutex, so it must not be freed anyway.
 *
 * Rejected
 *   Spinning before the park: there is nothing to gain. Who finds it held parks, and the unlock
 *   puts him behind his waker on the same worker, so that a crowd gathers where the mutex's cache
 *   lines are. `bonxie-bench --benchmark_filter=BM_MutexContended`, 2 shared cores: 9.0 ns a
 *   section for four tasks on two workers, 7.0 on one.
 *   A hand-off at each unlock: every section then costs a switch, and threads that are not running
 *   own the mutex while those that run park for it: a convoy.
 */
#include <bonxie/mutex.h>

#include "runtime/clock.h"
#include "runtime/sync_pvt.h"

#include <errno.h>

#define LOCKED 1u
#define WAITERS 2u
#define STARVING 4u

#define STARVED_NS BNX_NS_PER_MS /* long beside a section and a switch, short for a person */
#define VAIN_PER_CLOCK 16        /* a look costs as much as a try in vain */

static struct bnx_lock *lock_of(struct bnx_mutex *mutex) {
    return (struct bnx_lock *)(void *)&mutex->lock;
}
_Static_assert(sizeof(struct bnx_lock) <= sizeof(uint32_t), "the public struct has room for it");

static struct bnx_waiter_list *list_of(struct bnx_mutex *mutex) {
    return (struct bnx_waiter_list *)(void *)&mutex->first;
}
_Static_assert(offsetof(struct bnx_mutex, last) - offsetof(struct bnx_mutex, first) ==
                   offsetof(struct bnx_waiter_list, last),
               "the public struct has room for the list");

static struct bnx_mutex_waiter *record_of(struct bnx_waiter *waiter) {
    return BNX_CONTAINER_OF(waiter, struct bnx_mutex_waiter, waiter);
}

/* Its address stands for the OS thread. Not inlined and not pure, or the compiler keeps the address
 * over a suspension. */
static BNX_NOINLINE const void *thread_tag(void) {
    static __thread char tag;
    const void *address = &tag;
    __asm__ volatile("" : "+r"(address));
    return address;
}

const void *bnx_sync_caller(const struct bnx_task *self) {
    if (bnx_likely(self != NULL)) {
        return self;
    }
    return bnx_sim_is_running() ? NULL : thread_tag();
}

/* A claim about the caller: only he sets it to himself, and he clears it before he unlocks. */
static bool is_owner(const struct bnx_mutex *mutex, const void *caller) {
    return caller != NULL && bnx_load_relaxed(&mutex->owner) == caller; /* see above */
}

static void set_owner(struct bnx_mutex *mutex, const void *caller) {
    bnx_store_relaxed(&mutex->owner, caller); /* as is_owner */
}

/* The time, as of the worker's last look at the clock, which is some slices ago: a look costs as
 * much as two switches. */
static uint64_t coarse_now(void) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL ? worker->now_ns : bnx_clock_now();
}

static bool is_starved(const struct bnx_mutex_waiter *record, uint64_t now_ns) {
    return now_ns - record->since_ns > STARVED_NS && now_ns > record->since_ns;
}

/* The invariants. Under `lock`; each condition is stable there. */
static void check(struct bnx_mutex *mutex) {
    uint32_t word = bnx_load_relaxed(&mutex->word); /* as the head says */
    BNX_ASSERT(mutex->first == NULL || (word & WAITERS) != 0 || mutex->is_woken);
    BNX_ASSERT((word & WAITERS) == 0 || ((word & LOCKED) != 0 && !mutex->is_woken));
    BNX_ASSERT((word & STARVING) == 0 || (word & WAITERS) != 0);
    (void)word;
}

static inline bool take_free(struct bnx_mutex *mutex) {
    uint32_t none = 0;
    return bnx_cas_acquire(&mutex->word, &none, LOCKED) || BNX_PLANT(mutex_lets_all_in); /* M1 */
}

/* ---- Under `lock` ---- */

/* Takes the mutex when it is free, else sees to it that its holder looks at the list, to which the
 * caller is added. Returns whether it was taken. */
static bool take_or_announce(struct bnx_mutex *mutex, uint32_t extra) {
    bool is_other_waiting = mutex->first != NULL;
    uint32_t flags = mutex->is_woken ? 0 : (WAITERS | extra);
    uint32_t word = bnx_load_relaxed(&mutex->word); /* the CAS decides */
    for (;;) { /* lock-free: a failure is another's lock or unlock */
        if ((word & LOCKED) == 0) {
            uint32_t taken = LOCKED | (is_other_waiting ? flags & WAITERS : 0);
            if (bnx_cas_acquire(&mutex->word, &word, taken)) { /* M1 */
                return true;
            }
        } else if ((word & flags) == flags || bnx_cas_relaxed(&mutex->word, &word, word | flags)) {
            return false; /* relaxed: a flag for the holder, who then takes `lock` */
        }
    }
}

/* Restores the first invariant where nobody is on his way and the caller does not want the mutex:
 * the holder will look, or, when there is none, the oldest waiter is claimed. */
static void settle(struct bnx_mutex *mutex, struct bnx_wakee *out_wakee) {
    uint32_t word = bnx_load_relaxed(&mutex->word); /* the CAS decides */
    while (mutex->first != NULL && !mutex->is_woken && !BNX_PLANT(mutex_no_settle)) {
        if ((word & LOCKED) == 0) { /* lock-free: as take_or_announce */
            mutex->is_woken = bnx_waiter_list_claim(list_of(mutex), 0, out_wakee) != NULL;
            return;
        }
        if ((word & WAITERS) != 0 || bnx_cas_relaxed(&mutex->word, &word, word | WAITERS)) {
            return; /* relaxed: a flag for the holder */
        }
    }
}

/* ---- Unlocking ---- */

/* The word once the mutex was handed over: who is left, and has he waited for long as well? */
static uint32_t word_after_hand(const struct bnx_mutex *mutex) {
    if (mutex->first == NULL) {
        return LOCKED;
    }
    bool goes_on = is_starved(record_of(mutex->first), coarse_now());
    return LOCKED | WAITERS | (goes_on ? STARVING : 0);
}

static BNX_NOINLINE void unlock_slow(struct bnx_mutex *mutex) {
    struct bnx_wakee wakee;
    for (;;) { /* ends: the word stays LOCKED unless somebody has come meanwhile, who is claimed */
        bnx_lock_acquire(lock_of(mutex));               /* L1 */
        uint32_t word = bnx_load_relaxed(&mutex->word); /* stable: WAITERS is set, or it is ours */
        struct bnx_waiter *waiter = bnx_waiter_list_claim(list_of(mutex), 0, &wakee);
        bool is_handed = waiter != NULL && (word & STARVING) != 0;
        if (is_handed) {
            record_of(waiter)->is_handed = 1;
            bnx_store_relaxed(&mutex->word, word_after_hand(mutex)); /* M2: the wake carries it */
        } else {
            mutex->is_woken = waiter != NULL;
            bnx_store_relaxed(&mutex->word, LOCKED); /* still ours; the CAS below releases it */
        }
        check(mutex);
        bnx_lock_release(lock_of(mutex)); /* L1 */
        word = LOCKED;
        if (is_handed || bnx_cas_release(&mutex->word, &word, 0)) { /* M1: the last touch */
            if (waiter != NULL) {
                bnx_wakee_wake(&wakee);
            }
            return;
        }
        /* Somebody has announced himself since, so nobody was claimed before. */
        BNX_ASSERT(waiter == NULL);
    }
}

void bnx_mutex_unlock(struct bnx_mutex *mutex) {
    BNX_ASSERT(is_owner(mutex, bnx_sync_caller(bnx_sync_self())) || bnx_sim_is_running());
    set_owner(mutex, NULL);
    uint32_t word = LOCKED;
    if (bnx_unlikely(!bnx_cas_release(&mutex->word, &word, 0))) { /* M1 */
        BNX_CHECK((word & LOCKED) != 0);
        unlock_slow(mutex);
    }
}

/* ---- Locking ---- */

/* What a try may find. */
struct attempt {
    bool is_woken; /* the caller was woken to try: is_woken of the mutex is his */
    bool is_first; /* he was in the list before: his place is at its front */
    bool may_wait; /* his wait has begun */
};

/* Who was woken in vain looks at the clock at first and now and then, else at what is left of
 * another's look: he may come again each few nanoseconds. */
static bool is_starved_loser(struct bnx_mutex_waiter *self) {
    bool looks = self->vain_count++ % VAIN_PER_CLOCK == 0;
    return is_starved(self, looks ? bnx_clock_now() : coarse_now());
}

/* One try of somebody whose wait has begun, or was refused. Returns whether he has the mutex; if
 * not, and he may wait, he is in the list. */
static bool try_once(struct bnx_mutex *mutex, struct bnx_mutex_waiter *self, struct attempt how) {
    uint32_t extra = 0;
    if (how.is_woken && bnx_load_relaxed(&mutex->word) != 0 && /* a hint */
        is_starved_loser(self) && !BNX_PLANT(mutex_never_hands)) {
        extra = STARVING;
    }
    struct bnx_wakee wakee = {NULL, NULL};
    bool is_taken = false;
    bnx_lock_acquire(lock_of(mutex)); /* L1 */
    if (how.is_woken) {
        mutex->is_woken = 0;
    }
    if (!how.may_wait) {
        settle(mutex, &wakee); /* the wake that was his goes on to the next */
    } else if (take_or_announce(mutex, extra)) {
        is_taken = true;
    } else if (how.is_first && !BNX_PLANT(mutex_loser_goes_last)) {
        bnx_waiter_list_push_first(list_of(mutex), &self->waiter);
    } else {
        bnx_waiter_list_push(list_of(mutex), &self->waiter);
    }
    check(mutex);
    bnx_lock_release(lock_of(mutex)); /* L1 */
    bnx_wakee_wake(&wakee);
    return is_taken;
}

/* Takes one whom a cancel has claimed out of the list. */
static void leave(struct bnx_mutex *mutex, struct bnx_mutex_waiter *self) {
    bnx_lock_acquire(lock_of(mutex)); /* L1 */
    bnx_waiter_list_remove(list_of(mutex), &self->waiter);
    bnx_lock_release(lock_of(mutex)); /* L1: WAITERS may be a false alarm now */
}

/* Waits for the mutex. Returns 0, or as bnx_sleeper_begin; never the latter if is_always. */
static int wait_for(struct bnx_sleeper *sleeper, struct bnx_mutex_waiter *self, bool is_always,
                    bool is_woken) {
    struct bnx_mutex *mutex = self->mutex;
    struct attempt how = {.is_woken = is_woken, .is_first = is_woken};
    for (;;) { /* ends: who is woken in vain for 1 ms is handed it; cancels come a few times */
        int error = is_always ? bnx_sleeper_begin_always(sleeper) : bnx_sleeper_begin(sleeper);
        how.may_wait = error == 0;
        if (!how.may_wait && !how.is_woken) {
            return error;
        }
        bool is_taken = try_once(mutex, self, how);
        if (error != 0) {
            return error;
        }
        if (is_taken) {
            if (!bnx_sleeper_withdraw(sleeper)) {
                (void)bnx_sleeper_sleep(sleeper, BNX_WAIT_MUTEX, mutex); /* the next call says it */
            }
            return 0;
        }
        error = bnx_sleeper_sleep(sleeper, BNX_WAIT_MUTEX, mutex);
        how.is_woken = error == 0;
        how.is_first = true;
        if (how.is_woken && self->is_handed) {
            return 0;
        }
        if (!how.is_woken) {
            leave(mutex, self);
            if (!is_always) {
                return error;
            }
        }
    }
}

static BNX_NOINLINE int lock_slow(struct bnx_mutex *mutex, const void *caller) {
    if (is_owner(mutex, caller)) {
        return -EDEADLK;
    }
    struct bnx_sleeper sleeper;
    struct bnx_mutex_waiter self = {.mutex = mutex, .since_ns = coarse_now()};
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&self.waiter, &sleeper, NULL);
    int error = wait_for(&sleeper, &self, false, false);
    bnx_sleeper_fini(&sleeper);
    if (error == 0) {
        set_owner(mutex, caller);
    }
    return error;
}

int bnx_mutex_lock(struct bnx_mutex *mutex) {
    struct bnx_task *self = bnx_sync_self();
    int error = bnx_sync_enter(self);
    if (bnx_unlikely(error != 0)) {
        return error;
    }
    const void *caller = bnx_sync_caller(self);
    if (bnx_unlikely(!take_free(mutex))) {
        return lock_slow(mutex, caller);
    }
    set_owner(mutex, caller);
    return 0;
}

int bnx_mutex_try_lock(struct bnx_mutex *mutex) {
    if (!take_free(mutex)) {
        return -EBUSY;
    }
    set_owner(mutex, bnx_sync_caller(bnx_sync_self()));
    return 0;
}

bool bnx_mutex_is_locked(const struct bnx_mutex *mutex) {
    return bnx_load_relaxed(&mutex->word) != 0; /* a snapshot */
}

void bnx_mutex_init(struct bnx_mutex *mutex) {
    *mutex = (struct bnx_mutex)BNX_MUTEX_INIT;
}

/* ---- For condition variables ---- */

/* He was claimed by the signal: the mutex's own claim of him always succeeds. */
static bool fire_moved(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee) {
    *out_wakee = record_of(waiter)->wakee;
    return true;
}

void bnx_mutex_move_waiter(struct bnx_mutex_waiter *claimed) {
    struct bnx_mutex *mutex = claimed->mutex;
    struct bnx_wakee wakee = {NULL, NULL};
    claimed->waiter.fire = fire_moved;
    claimed->since_ns = coarse_now();
    bnx_lock_acquire(lock_of(mutex)); /* L1 */
    bnx_waiter_list_push(list_of(mutex), &claimed->waiter);
    settle(mutex, &wakee);
    check(mutex);
    bnx_lock_release(lock_of(mutex)); /* L1 */
    bnx_wakee_wake(&wakee);
}

void bnx_mutex_finish_move(struct bnx_sleeper *sleeper, struct bnx_mutex_waiter *self) {
    if (!self->is_handed) {
        bnx_waiter_init(&self->waiter, sleeper, NULL);
        (void)wait_for(sleeper, self, true, true);
    }
    set_owner(self->mutex, bnx_sync_caller(sleeper->task));
}

void bnx_mutex_lock_always(struct bnx_sleeper *sleeper, struct bnx_mutex_waiter *self) {
    if (!take_free(self->mutex)) {
        self->since_ns = coarse_now();
        (void)wait_for(sleeper, self, !BNX_PLANT(cond_relock_refused), false);
    }
    set_owner(self->mutex, bnx_sync_caller(sleeper->task));
}
