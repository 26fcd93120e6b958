/* SPDX-License-Identifier: MIT */
/*
 * The run queue of one worker: a bounded FIFO ring that its owner fills and drains and that thieves
 * halve.
 *
 * Concepts
 *   owner   the one thread that pushes, pops and overflows this queue.
 *   thief   any other owner of a run queue, while it moves items from this queue into its own.
 *   real    the index of the oldest item that nobody has claimed; the next one to be popped.
 *   steal   the index of the oldest item whose slot is still in use. It trails behind real while a
 *           thief copies [steal, real) out, and equals real otherwise. One thief at a time.
 *   head    steal and real in one 64-bit word, so that one compare-and-swap moves or checks both.
 *   tail    the index after the newest item.
 *
 *          steal        real                     tail      steal + capacity
 *            |  claimed   |  waiting              |   free    |
 *
 *   A steal has three steps: claim (real jumps over the older half, steal stays), copy, and finish
 *   (steal catches up with real). Pops by the owner go on meanwhile; they move real alone.
 *
 *   Cost: push one release store; pop and overflow one compare-and-swap; a steal two, however many
 *   items it moves. A thief never waits: it gives up when another thief is at work.
 *
 *   The queue knows no task: an item is any pointer but NULL, and is never looked into.
 *
 * Invariants
 *   steal <= real <= tail <= steal + BNX_RUNQ_CAPACITY, in arithmetic modulo 2^32  (bnx_runq_check)
 *   Only the owner writes tail and slots; head moves by compare-and-swap only, and only forwards.
 *   A slot in [steal, tail) is not written: room is counted from steal, never from real.
 *
 * Ordering
 *   E1 publish    push (and a thief, into its own queue) store-release tail -> claim load-acquire
 *                 tail. Who sees the index sees the slot, and what the item points to.
 *   E2 slot free  finish cas-release head -> push, steal (as owner) load-acquire head. The thief's
 *                 reads of the slots come before the owner's next writes of them. A pop or an
 *                 overflow in between is a read-modify-write of the same word and carries the edge.
 *   E3 real<=tail pop, overflow cas-release head -> claim load-acquire head (or its failed cas). A
 *                 thief that sees real after a pop sees a tail that is not older than that pop. It
 *                 must load head first. Without E3 a weakly ordered CPU may pair a new real with an
 *                 old tail; tail - real is then huge, the cas succeeds, and the thief takes slots
 *                 that hold nothing.
 *   E4 park       the parker's own seq_cst store of "parked" -> is_empty load-seq_cst head, tail.
 *                 The parker's half of a StoreLoad pair. A push has no other half: it is not
 *                 ordered before its owner's next load, so a local push may be missed by a parker,
 *                 and who cannot live with that makes it good with a seq_cst access of his own.
 *
 *   Attempts to break it, and why they fail:
 *   - An old head with a new tail gives a wrong count, too; but then head has changed, and since it
 *     only moves forwards the claim's cas fails.
 *   - The thief's slot loads may be satisfied early, between the load and the store of the claim's
 *     cas (a weakly ordered CPU does that). If the cas succeeds, head stood still in that window,
 *     and while steal stands still the owner cannot write those slots.
 *   - A slow thief, the owner one lap ahead: the owner needs a head whose steal has passed the
 *     slot, which only this thief's finish stores, after its last read (E2).
 *   - Two thieves: the second one sees steal != real, or its cas fails on the word.
 *   - Pop against claim: both are compare-and-swap on one word; one of them retries.
 *   - is_empty reads head, then tail. real <= tail at all times and tail never moves back, so equal
 *     values mean that the queue was empty at the moment head was read. Read the other way round, a
 *     push in between would be missed.
 *   - Wrap: the claim's cas could be fooled only by a thief that stops between its load and its cas
 *     until head has moved by an exact multiple of 2^32 items (minutes at 20 million items a
 *     second) and then resumes on that very value.
 *
 * Rejected
 *   A single head index, as in a plain ring: a thief would have to copy first and claim afterwards,
 *   from slots that the owner may be overwriting, and throw the copy away when it was late; the
 *   copy of a half queue under contention then mostly is thrown away.
 *   16-bit indices in a 32-bit head: they wrap in 3 ms, and then the claim can be fooled.
 *   Spinning when full: two full workers that wait for each other never end. Full is an answer.
 *   A seq_cst push, so that no push can slip past a parking worker: a full barrier on every local
 *   wake-up. Remote pushes carry the fence; a local one is followed by the owner's own look.
 */
#ifndef BNX_RUNTIME_RUNQ_H
#define BNX_RUNTIME_RUNQ_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At 40 ns a task this is 10 us of work: more would only hide it from the global queue. */
#define BNX_RUNQ_CAPACITY BNX_CAPACITY(256, 4)
#define BNX_RUNQ_MASK ((uint32_t)BNX_RUNQ_CAPACITY - 1u)

/* A claim fails when the owner pops meanwhile; after this many the thief looks elsewhere. */
#define BNX_RUNQ_CLAIM_TRIES 4

struct bnx_runq {
    /* Any thread, by compare-and-swap. */
    uint64_t head BNX_APART; /* steal << 32 | real */

    /* The owner writes; thieves read. */
    uint32_t tail BNX_APART; /* index after the newest item */
    void
        *slots[BNX_RUNQ_CAPACITY]; /* item i is at i & BNX_RUNQ_MASK; relaxed, guarded by indices */
};

_Static_assert(BNX_IS_POWER_OF_TWO(BNX_RUNQ_CAPACITY), "indices are masked");
_Static_assert(offsetof(struct bnx_runq, tail) >= BNX_APART_BYTES, "head has its own cache line");

/** Packs the two indices of a head word. */
static inline uint64_t bnx_runq_head(uint32_t steal, uint32_t real) {
    return (uint64_t)steal << 32 | real;
}

/** Reads the steal index out of a head word. */
static inline uint32_t bnx_runq_head_steal(uint64_t head) {
    return (uint32_t)(head >> 32);
}

/** Reads the real index out of a head word. */
static inline uint32_t bnx_runq_head_real(uint64_t head) {
    return (uint32_t)head;
}

/**
 * Makes an empty queue.
 * @param start_index  the first index; 0, or near UINT32_MAX where a test wants to see the wrap.
 * Threads: none may use the queue yet. A queue needs no fini.
 */
static inline void bnx_runq_init(struct bnx_runq *runq, uint32_t start_index) {
    /* Relaxed: whoever hands the queue to other threads publishes it. */
    bnx_store_relaxed(&runq->head, bnx_runq_head(start_index, start_index));
    bnx_store_relaxed(&runq->tail, start_index);
    for (uint32_t i = 0; i < BNX_RUNQ_CAPACITY; i++) {
        bnx_store_relaxed(&runq->slots[i], NULL);
    }
}

/**
 * Appends an item as the newest.
 * @param item  not NULL.
 * Returns: true, or false when the queue is full, which few items make it while a thief copies.
 * Context: owner; never waits. Threads: thieves may steal meanwhile.
 */
static inline bool bnx_runq_push(struct bnx_runq *runq, void *item) {
    uint32_t tail = bnx_load_relaxed(&runq->tail); /* the owner's own store */
    uint64_t head = bnx_load_acquire(&runq->head); /* E2 */
    bool is_wide = BNX_PLANT(runq_wide_index);     /* the difference must wrap as the indices do */
    uint64_t wide = (uint64_t)tail - bnx_runq_head_steal(head);
    if ((is_wide ? wide : tail - bnx_runq_head_steal(head)) >= BNX_RUNQ_CAPACITY) {
        return false;
    }
    /* Relaxed: E1 publishes it; atomic at all because a thief's early load may touch it. */
    bnx_store_relaxed(&runq->slots[tail & BNX_RUNQ_MASK], item);
    bnx_store_release(&runq->tail, tail + 1); /* E1 */
    return true;
}

/**
 * Takes the oldest item.
 * Returns: the item, or NULL when there is none.
 * Context: owner; never waits. Threads: thieves may steal meanwhile.
 */
static inline void *bnx_runq_pop(struct bnx_runq *runq) {
    uint32_t tail = bnx_load_relaxed(&runq->tail); /* the owner's own store */
    uint64_t head = bnx_load_relaxed(&runq->head); /* the cas decides; the slots are the owner's */
    /* Ends: the cas fails only when a thief claims or finishes, each claim leaves fewer items, and
     * nobody but this thread adds any. */
    for (;;) {
        uint32_t real = bnx_runq_head_real(head);
        if (real == tail) {
            return NULL;
        }
        uint32_t steal = bnx_runq_head_steal(head);
        uint64_t popped = bnx_runq_head(steal == real ? real + 1 : steal, real + 1);
        if (bnx_likely(bnx_cas_release(&runq->head, &head, popped))) { /* E3 */
            /* Relaxed: this thread wrote it, and only this thread can overwrite it. */
            return bnx_load_relaxed(&runq->slots[real & BNX_RUNQ_MASK]);
        }
    }
}

/**
 * Takes the older half of the items (rounded up), to make room after a push that found none.
 * @param out  receives the items, oldest first; untouched when 0 is returned.
 * @param max  room in out, in items; BNX_RUNQ_CAPACITY / 2 is always enough for half.
 * Returns: the number of items taken. 0 when a thief is at work, or has just emptied the queue:
 *   then the caller sends its one item elsewhere, and room comes with the end of that steal.
 * Context: owner; never waits. Threads: thieves may steal meanwhile.
 */
static inline uint32_t bnx_runq_overflow(struct bnx_runq *runq, void **out, uint32_t max) {
    uint32_t tail = bnx_load_relaxed(&runq->tail); /* the owner's own store */
    uint64_t head = bnx_load_relaxed(&runq->head); /* the cas decides; the slots are the owner's */
    uint32_t real = bnx_runq_head_real(head);
    if (bnx_runq_head_steal(head) != real) {
        return 0;
    }
    uint32_t count = tail - real;
    count -= count / 2;
    if (count > max) {
        count = max;
    }
    uint64_t taken = bnx_runq_head(real + count, real + count);
    if (!bnx_cas_release(&runq->head, &head, taken)) { /* E3 */
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        /* Relaxed: this thread wrote them, and only this thread can overwrite them. */
        out[i] = bnx_load_relaxed(&runq->slots[(real + i) & BNX_RUNQ_MASK]);
    }
    return count;
}

/**
 * First step of a steal: claims the older half of the victim's items (rounded up, at most max).
 * Returns: the number claimed, with the oldest one's index in *out_first; 0 when there is nothing,
 *   another thief is at work, or the owner popped BNX_RUNQ_CLAIM_TRIES times in between.
 * Context: a thief, which must call bnx_runq_finish after a result other than 0.
 */
static inline uint32_t bnx_runq_claim(struct bnx_runq *victim, uint32_t max, uint32_t *out_first) {
    uint64_t head = bnx_load_acquire(&victim->head); /* E3 */
    for (int tries = 0; tries < BNX_RUNQ_CLAIM_TRIES; tries++) {
        uint32_t real = bnx_runq_head_real(head);
        if (bnx_runq_head_steal(head) != real) {
            return 0;
        }
        uint32_t count = bnx_load_acquire(&victim->tail) - real; /* E1 */
        count -= count / 2;
        if (count > max) {
            count = max;
        }
        if (count == 0) {
            return 0;
        }
        uint32_t steal = BNX_PLANT(runq_no_steal_mark) ? real + count : real;
        uint64_t claimed = bnx_runq_head(steal, real + count);
        if (bnx_cas_acq_rel(&victim->head, &head, claimed)) { /* E3 when it fails */
            *out_first = real;
            return count;
        }
    }
    return 0;
}

/**
 * Last step of a steal: gives the claimed slots back to the victim's owner.
 * Context: the thief that claimed, after its last read of a claimed slot.
 */
static inline void bnx_runq_finish(struct bnx_runq *victim) {
    uint64_t head = bnx_load_relaxed(&victim->head); /* the cas decides */
    /* Ends: while the mark stands no other thief gets in, so the cas fails only when the owner
     * pops; its pushes count room from steal, so after at most BNX_RUNQ_CAPACITY pops there is
     * nothing left to pop. */
    for (;;) {
        uint32_t real = bnx_runq_head_real(head);
        if (bnx_cas_release(&victim->head, &head, bnx_runq_head(real, real))) { /* E2 */
            return;
        }
    }
}

/**
 * Moves the older half (rounded up) of the victim's items, except the oldest, which is returned to
 * be run at once, to the end of the thief's queue, in order.
 * @param victim     another thread's queue, not thief.
 * @param thief      the calling thread's own queue; when its room is short, fewer items are moved.
 * @param out_count  receives the number of items taken, the returned one included; 0 with NULL.
 * Returns: the oldest item, or NULL: nothing there, another thief at work, or the owner too busy.
 * Context: owner of thief; never waits. Threads: all operations of other threads on both queues.
 */
static inline void *bnx_runq_steal(struct bnx_runq *victim, struct bnx_runq *thief,
                                   uint32_t *out_count) {
    BNX_ASSERT(victim != thief);
    uint32_t tail = bnx_load_relaxed(&thief->tail); /* the owner's own store */
    uint64_t head = bnx_load_acquire(&thief->head); /* E2 */
    uint32_t room = BNX_RUNQ_CAPACITY - (tail - bnx_runq_head_steal(head));

    uint32_t first = 0;
    uint32_t count = bnx_runq_claim(victim, room + 1, &first);
    *out_count = count;
    if (count == 0) {
        return NULL;
    }
    /* Relaxed: E1 brought the slots here, the mark keeps them as they are. */
    void *oldest = bnx_load_relaxed(&victim->slots[first & BNX_RUNQ_MASK]);
    for (uint32_t i = 1; i < count; i++) {
        void *item = bnx_load_relaxed(&victim->slots[(first + i) & BNX_RUNQ_MASK]);
        bnx_store_relaxed(&thief->slots[(tail + i - 1) & BNX_RUNQ_MASK], item);
    }
    bnx_runq_finish(victim);
    bnx_store_release(&thief->tail, tail + count - 1); /* E1 */
    return oldest;
}

/**
 * Counts the items that nobody has claimed.
 * Context: any thread. Another thread's result is a hint, between 0 and BNX_RUNQ_CAPACITY.
 */
static inline uint32_t bnx_runq_count(const struct bnx_runq *runq) {
    /* Relaxed: a hint. The two words may be of different moments, hence the clamps. */
    uint32_t real = bnx_runq_head_real(bnx_load_relaxed(&runq->head));
    int32_t count = (int32_t)(bnx_load_relaxed(&runq->tail) - real);
    if (count < 0) {
        return 0;
    }
    return count > BNX_RUNQ_CAPACITY ? BNX_RUNQ_CAPACITY : (uint32_t)count;
}

/**
 * Tells whether there is nothing to take: the last look of a worker that is about to park.
 * Returns: true when the queue was empty at one moment during the call. Items that a thief has
 *   claimed do not count: their thief is awake.
 * Context: any thread. The loads are seq_cst, so that they come after the caller's own seq_cst
 *   store that says "parked".
 */
static inline bool bnx_runq_is_empty_seq_cst(const struct bnx_runq *runq) {
    uint64_t head = bnx_load_seq_cst(&runq->head); /* E4, and head first: see Ordering */
    return bnx_load_seq_cst(&runq->tail) == bnx_runq_head_real(head); /* E4 */
}

/**
 * Checks the invariant of the indices.
 * Context: owner at any time; any thread while the owner is quiet.
 */
static inline bool bnx_runq_check(const struct bnx_runq *runq) {
    uint32_t tail = bnx_load_relaxed(&runq->tail); /* the owner's own store */
    uint64_t head = bnx_load_relaxed(&runq->head); /* one word, so consistent in itself */
    uint32_t used = tail - bnx_runq_head_steal(head);
    uint32_t waiting = tail - bnx_runq_head_real(head);
    return waiting <= used && used <= BNX_RUNQ_CAPACITY;
}

#endif
