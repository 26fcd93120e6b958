/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel of one worker: arm and disarm in O(1), nothing fires early.
 *
 * Decision: a hierarchical wheel that cascades. Most timers are timeouts and are disarmed long
 * before they are due, so arm and disarm must cost a few nanoseconds, however many others are
 * pending; what a cascade costs is paid only by the few that live on. One word a level says which
 * slots are occupied, so no empty slot is ever visited and a jump of any size costs
 * O(levels + expired + cascaded).
 *
 *   level   slot covers     level covers
 *     0       65.5 us          4.19 ms
 *     1        4.19 ms       268    ms
 *     2      268    ms        17.2  s
 *     3       17.2  s         18.3  min
 *     4       18.3  min       19.5  h
 *     5       19.5  h         52.1  days
 *     6       52.1  days       9.13 years
 *
 * A slot of a second or an hour may hold a million timers, and all of them had to move on when it
 * comes up, while others are due. So the slot that comes up next on its level is emptied ahead of
 * time, a few timers at each advance: from a quarter of a slot before its start on, and in passes
 * of half the time left each, because a timer can go down only when it is less than a round of the
 * lower level away. Some 3 % of them are left for the start.
 *
 * A deadline beyond that waits in the last slot of the top level and is sorted in again when the
 * slot comes up. The constants below derive from three: tick bits, slot bits, levels.
 *
 * Concepts
 *   tick        2^16 ns. A deadline rounds up to a tick, the clock rounds down: nothing fires
 *               early, and all is due less than one tick after its deadline.
 *   structural  the calls that link and unlink: arm, disarm, advance. One thread at a time makes
 *               them, the worker that owns the wheel or whoever stands in for it under a lock. The
 *               wheel has no lock of its own and calls nobody back.
 *   word        all that other threads touch: {generation, state, deadline tick} of one timer. Any
 *               thread that was given {timer, generation} may cancel or extend by one CAS.
 *               Disarm exchanges the word and expiry claims by CAS, because each must learn whether
 *               a remote came first; arm is one store, for nobody else changes an idle timer.
 *
 *   IDLE -> ARMED       arm
 *   ARMED -> IDLE       disarm
 *   ARMED -> ARMED      extend: a later tick; the node moves when its old slot comes up
 *   ARMED -> CANCELLED  cancel, by any thread; the node stays linked
 *   ARMED -> TAKEN      expiry claims it: it is on the expired list of a batch
 *   CANCELLED -> IDLE   disarm
 *   CANCELLED -> TAKEN  expiry finds it: it is on the dropped list of a batch
 *   TAKEN -> IDLE       finish, by whoever took the batch
 *
 * One end for each arming
 *   An arming ends by exactly one of: disarm returns BNX_DISARM_ARMED, cancel returns true, the
 *   timer is on one expired list. Each leaves ARMED, a remote only by CAS, a structural call by CAS
 *   or exchange, and nothing but arm enters it; so the first to leave is the only one. A cancelled
 *   arming then comes out exactly once more, for its memory: disarm returns BNX_DISARM_CANCELLED,
 *   or it is on one dropped list. TAKEN and IDLE are entered and left by the owner's side alone;
 *   this is why disarm may believe a plain load that says so.
 *
 * Who may hold a pointer
 *   The owner; a batch's taker until it calls finish; and anybody who was given {timer,
 *   generation}, who may call cancel, extend and the readers of the word, also when the arming is
 *   long over. So a timer whose handle is given away lies in pooled memory that stays a timer as
 *   long as any thread may hold such a handle, never on a stack, and is zeroed once in its life,
 *   not at each reuse: that would start the generation anew.
 *   The generation has 14 bits: a handle that sleeps through an exact multiple of 16384 armings of
 *   its node would hit the wrong one. A pool whose handles may go stale therefore gives nodes out
 *   oldest first, or counts the handles; the generation is what catches the ordinary race.
 *
 * Invariants (now = now_tick; start(l, s) = first tick of slot s of level l at or after now's slot)
 *   I1  bit s of occupied[l] is set  <=>  slot {l, s} is not empty
 *   I2  a timer is linked  <=>  its state is ARMED or CANCELLED (checked for what is linked)
 *   I3  a timer linked in {l, s} has tick >= start(l, s), or l == 0 and s is now's slot (overdue)
 *   I4  l > 0 and now's slot of level l is occupied  =>  start == now (a cascade cut short by max)
 *   I5  next_ns <= max(tick, now) of every linked timer, in ns
 *
 * Ordering
 *   E1 arm: word store-release -> cancel, extend CAS acquire. The canceller sees the timer filled.
 *   E2 end: cancel, extend CAS release -> disarm exchange acquire, expiry load and CAS acquire. Who
 *      returns the memory sees all that the canceller did before.
 *   E3 finish: word store-release -> bnx_wheel_timer_state load-acquire. Who waits until a timer is
 *      no longer TAKEN sees all that its taker did.
 *
 * Rejected
 *   A heap: O(log n), and a cache miss a step with a million pending. The wheel without cascades
 *   that kernels use: it rounds a long deadline by up to an eighth, and sleeps must not.
 *   A flag for timers that no remote knows, and plain stores for them: over 20 million pairs of arm
 *   and disarm (x86-64, gcc -O2) both forms took 7 to 10 ns a pair, no difference beyond the noise;
 *   and a flag can be wrong.
 *   Lists of ck_queue: their stores are invisible to ThreadSanitizer, which would then not see a
 *   structural call made without the lock.
 */
#ifndef BNX_RUNTIME_WHEEL_H
#define BNX_RUNTIME_WHEEL_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/clock.h"
#include "runtime/compiler.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 65.5 us, near the 50 us of slack that Linux adds to a wait by default: finer buys nothing. */
#define BNX_WHEEL_TICK_BITS 16
/* The shrink build reaches every level within hours. Not below 4: a deadline in 200 years must not
 * need more than some 10^5 rounds of the top level. */
#define BNX_WHEEL_SLOT_BITS BNX_CAPACITY(6, 4)
#define BNX_WHEEL_LEVELS 7

#define BNX_WHEEL_TICK_NS (UINT64_C(1) << BNX_WHEEL_TICK_BITS)
#define BNX_WHEEL_SLOTS (1u << BNX_WHEEL_SLOT_BITS) /* per level */
#define BNX_WHEEL_RANGE_BITS (BNX_WHEEL_LEVELS * BNX_WHEEL_SLOT_BITS)
#define BNX_WHEEL_RANGE_TICKS (UINT64_C(1) << BNX_WHEEL_RANGE_BITS)

/* The word: | generation 14 | state 2 | tick 48 |. 48 bits hold every tick of a 64-bit clock. */
#define BNX_TIMER_TICK_BITS (64 - BNX_WHEEL_TICK_BITS)
#define BNX_TIMER_STATE_SHIFT BNX_TIMER_TICK_BITS
#define BNX_TIMER_STATE_BITS 2
#define BNX_TIMER_GENERATION_SHIFT (BNX_TIMER_STATE_SHIFT + BNX_TIMER_STATE_BITS)
#define BNX_TIMER_GENERATION_BITS (64 - BNX_TIMER_GENERATION_SHIFT)
#define BNX_TIMER_GENERATION_MASK ((1u << BNX_TIMER_GENERATION_BITS) - 1)
/* The last tick stands for "never": the wheel's clock stops one before it. */
#define BNX_TIMER_TICK_NEVER ((UINT64_C(1) << BNX_TIMER_TICK_BITS) - 1)

static_assert(BNX_WHEEL_SLOTS <= 64, "a level's occupancy is one word");
static_assert(BNX_WHEEL_LEVELS * BNX_WHEEL_SLOTS <= 1u << 12, "slot numbers fit bnx_wheel_timer");
static_assert(BNX_WHEEL_RANGE_BITS < BNX_TIMER_TICK_BITS, "the word holds more than the wheel");
static_assert(BNX_TIMER_GENERATION_BITS >= 14, "see Who may hold a pointer");

enum bnx_timer_phase {
    BNX_TIMER_IDLE = 0,  /* not linked, the owner's to arm */
    BNX_TIMER_ARMED,     /* linked; the only state that a remote may change */
    BNX_TIMER_TAKEN,     /* on a batch's list until finish */
    BNX_TIMER_CANCELLED, /* linked, but will not fire */
};

/* What disarm found; zero is "not linked any more". */
enum bnx_disarm {
    BNX_DISARM_GONE = 0,  /* IDLE, or taken by expiry: fired, or on a dropped list */
    BNX_DISARM_ARMED,     /* this call ended the arming */
    BNX_DISARM_CANCELLED, /* a cancel had ended it; this call unlinked it */
};

/* The two ends of a node, and the head of each slot's circle. */
struct bnx_wheel_timer_link {
    struct bnx_wheel_timer_link *next; /* structural; on a batch's list the next timer or NULL */
    struct bnx_wheel_timer_link *prev; /* structural; meaningless on a batch's list */
};

/* One timer. All zero is an idle one. */
struct bnx_wheel_timer {
    struct bnx_wheel_timer_link link; /* first, so that a link of a slot is its timer */
    uint64_t word;                    /* {generation, state, tick}; any thread */
    uint16_t slot : 12;               /* level * BNX_WHEEL_SLOTS + index while linked; structural */
    uint16_t pass : 4;                /* in which it was left where it is; 0: in none; structural */
    /* Three fields for the caller, who writes them while idle and reads them when taken. */
    uint16_t kind; /* what to do when it fires */
    uint32_t tag;  /* for instance whose wheel holds it */
    void *arg;     /* for instance the record that waits */
};

static_assert(sizeof(struct bnx_wheel_timer) <= 48, "a pool of a million stays below 48 MiB");
static_assert(offsetof(struct bnx_wheel_timer, link) == 0, "cast from link");

/* Timers that a batch took, first to last. */
struct bnx_wheel_timer_list {
    struct bnx_wheel_timer *first; /* NULL when empty */
    struct bnx_wheel_timer *last;  /* valid when first is not NULL */
    size_t count;                  /* of timers */
};

/* What one advance took off the wheel. The taker calls bnx_wheel_timer_finish for each of both. */
struct bnx_wheel_batch {
    struct bnx_wheel_timer_list expired; /* claimed, by rising tick */
    struct bnx_wheel_timer_list dropped; /* cancelled before: nothing to fire, memory to return */
    bool has_more;                       /* max was spent first: call again */
};

struct bnx_wheel {
    /* Written by structural calls; one line holds all that arm and disarm need of the levels. */
    uint64_t now_tick __attribute__((aligned(BNX_CACHELINE_BYTES))); /* all before it is expired */
    uint64_t occupied[BNX_WHEEL_LEVELS];                             /* bit s: slot s not empty */
    /* Written by structural calls, read by any thread: a lower bound of the next expiry. */
    uint64_t next_ns;
    struct bnx_wheel_timer_link slots[BNX_WHEEL_LEVELS * BNX_WHEEL_SLOTS]
        __attribute__((aligned(BNX_CACHELINE_BYTES)));
};

static_assert(offsetof(struct bnx_wheel, next_ns) == BNX_CACHELINE_BYTES,
              "clock and map: one line");

/** Makes an empty wheel whose clock stands at now_ns (CLOCK_MONOTONIC or virtual). */
void bnx_wheel_init(struct bnx_wheel *wheel, uint64_t now_ns);

/**
 * Arms an idle timer. Overwrites neither kind, tag nor arg.
 *
 * @param timer        state IDLE; the caller keeps its memory until the arming has come out
 * @param deadline_ns  absolute, rounded up to a tick; past: it expires on the next advance;
 *                     from 131 us before BNX_NEVER_NS on: never
 * Returns: the generation of this arming, for handles given to other threads.
 * Context: structural. Never fails.
 */
uint32_t bnx_wheel_arm(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer,
                       uint64_t deadline_ns);

/**
 * Unlinks a timer that is armed or cancelled; it is then IDLE.
 *
 * @param wheel  the one on which timer was armed
 * Returns: BNX_DISARM_ARMED, this call ended the arming; BNX_DISARM_CANCELLED, a cancel did and the
 *   memory is now the caller's; BNX_DISARM_GONE (0), expiry has taken it or it was not armed.
 * Context: structural. Threads: cancel and extend may run at the same time.
 */
enum bnx_disarm bnx_wheel_disarm(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer);

/**
 * Moves the clock and takes what has expired, by rising tick; a tick's timers in no promised order.
 *
 * @param now_ns     the clock; earlier than before counts as before
 * @param max        > 0; bounds all timers touched: expired, dropped and moved down a level; then
 *                   at most 256 are moved down ahead of time. A cascade may be cut and goes on with
 *                   the next call
 * @param out_batch  not NULL, overwritten
 * Returns: how many expired; out_batch->has_more says that max was spent before all was done.
 * Context: structural. Threads: cancel and extend may run at the same time.
 * Ownership: the batch's timers are the caller's until it calls bnx_wheel_timer_finish for each; it
 *   reads the next one before it finishes one.
 */
size_t bnx_wheel_advance(struct bnx_wheel *wheel, uint64_t now_ns, size_t max,
                         struct bnx_wheel_batch *out_batch);

/**
 * Computes a lower bound of the next expiry, for a park's timeout.
 *
 * Returns: never later than the earliest deadline; a past time when something is due already;
 *   BNX_NEVER_NS when no timer is linked.
 * Context: structural (it reads what those write).
 */
uint64_t bnx_wheel_next_ns(const struct bnx_wheel *wheel);

/**
 * Checks I1 to I5; O(timers linked).
 *
 * Returns: whether all hold. Context: structural. Threads: cancel and extend may run.
 */
bool bnx_wheel_check(const struct bnx_wheel *wheel);

/**
 * Cancels one arming. The node stays linked: afterwards tell the owner, who disarms it, or leave it
 * to expiry, which drops it.
 *
 * @param timer       its memory is a timer still, in whatever state
 * @param generation  what bnx_wheel_arm returned
 * Returns: true, this call ended the arming and it will never fire; false, it had ended before.
 * Context: any thread. Lock-free.
 */
bool bnx_wheel_timer_cancel(struct bnx_wheel_timer *timer, uint32_t generation);

/**
 * Moves the deadline of one arming to a later time.
 *
 * @param timer       its memory is a timer still, in whatever state
 * @param generation  what bnx_wheel_arm returned
 * @param deadline_ns absolute, rounded as by bnx_wheel_arm
 * Returns: true, it will not fire earlier than that; false, the arming had ended before, or has a
 *   later deadline already (only the owner can shorten: disarm and arm).
 * Context: any thread. Lock-free.
 */
bool bnx_wheel_timer_extend(struct bnx_wheel_timer *timer, uint32_t generation,
                            uint64_t deadline_ns);

/** Reads the published lower bound of the next expiry. Any thread; a moment old. */
static inline uint64_t bnx_wheel_next_published(const struct bnx_wheel *wheel) {
    return bnx_load_relaxed(&wheel->next_ns); /* relaxed: a hint, nothing is reached through it */
}

/** Reads the generation of the present or last arming. Any thread. */
static inline uint32_t bnx_wheel_timer_generation(const struct bnx_wheel_timer *timer) {
    /* relaxed: the CAS that uses it compares it again */
    return (uint32_t)(bnx_load_relaxed(&timer->word) >> BNX_TIMER_GENERATION_SHIFT);
}

/** Reads the state. Any thread; for ARMED a moment old. */
static inline enum bnx_timer_phase bnx_wheel_timer_state(const struct bnx_wheel_timer *timer) {
    uint64_t word = bnx_load_acquire(&timer->word); /* E3 */
    return (enum bnx_timer_phase)((word >> BNX_TIMER_STATE_SHIFT) &
                                  ((1u << BNX_TIMER_STATE_BITS) - 1));
}

/** Reads the deadline, rounded up to a tick, of an armed or taken timer; BNX_NEVER_NS for never. */
static inline uint64_t bnx_wheel_timer_deadline_ns(const struct bnx_wheel_timer *timer) {
    /* relaxed: a number to compare with the clock */
    uint64_t tick = bnx_load_relaxed(&timer->word) & BNX_TIMER_TICK_NEVER;
    return tick == BNX_TIMER_TICK_NEVER ? BNX_NEVER_NS : tick << BNX_WHEEL_TICK_BITS;
}

/**
 * Makes a taken timer idle again: it may be armed, or returned to its pool, from here on.
 *
 * Context: the taker of its batch, once, after it is done with the timer. Any thread.
 */
static inline void bnx_wheel_timer_finish(struct bnx_wheel_timer *timer) {
    /* relaxed: nobody but the taker changes the word of a taken timer */
    uint64_t word = bnx_load_relaxed(&timer->word);
    BNX_ASSERT(bnx_wheel_timer_state(timer) == BNX_TIMER_TAKEN);
    word &= ~((uint64_t)((1u << BNX_TIMER_STATE_BITS) - 1) << BNX_TIMER_STATE_SHIFT);
    bnx_store_release(&timer->word, word); /* E3 */
}

/** Takes the first timer off a batch's list; NULL when it is empty. The taker. */
static inline struct bnx_wheel_timer *bnx_wheel_timer_list_pop(struct bnx_wheel_timer_list *list) {
    struct bnx_wheel_timer *timer = list->first;
    if (timer != NULL) {
        list->first = (struct bnx_wheel_timer *)(void *)timer->link.next;
        list->count--;
    }
    return timer;
}

#endif
