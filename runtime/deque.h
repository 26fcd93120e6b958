/* SPDX-License-Identifier: MIT */
/*
 * A growing work-stealing deque: the owner pushes and pops the newest, thieves take the oldest.
 *
 * Concepts
 *   owner   the one thread that pushes and pops, at the bottom.
 *   thief   any other thread; it takes one item from the top.
 *   top     the index of the oldest item. It only grows, by compare-and-swap.
 *   bottom  the index after the newest item. Only the owner writes it, up and down.
 *   array   a power-of-two ring of slots; item i is at i & mask. A full one is replaced by one of
 *           twice the size. Old ones are kept until fini, since a slow thief may still read them;
 *           together they are smaller than the newest.
 *
 *   This is the deque of Chase and Lev (SPAA 2005) in the C11 form of Le, Pop, Cohen and Zappa
 *   Nardelli (PPoPP 2013), whose two fences have become accesses: see E3.
 *
 *   Cost: push is two stores; pop is a store and a load while more than one item is there, and a
 *   compare-and-swap for the last one; a steal is a compare-and-swap, behind a heavy barrier that
 *   is not reached when the deque looks empty.
 *
 *   The deque knows no task: an item is any pointer but NULL, and is never looked into.
 *
 * Invariants
 *   0 <= bottom - top <= mask + 1 <= BNX_DEQUE_ITEMS_MAX between operations of the owner; during a
 *   pop bottom - top may be -1. Differences are signed, so the indices may wrap.  (bnx_deque_check)
 *   An index is taken by one thread: the owner takes `bottom` without a compare-and-swap only when
 *   it has seen top < bottom after announcing bottom; all others move top from that very index.
 *
 * Ordering
 *   E1 publish    push store-release bottom -> steal load-seq_cst bottom. Who sees the index sees
 *                 the slot, the array and what the item points to. A later store of bottom by a
 *                 pop may be relaxed: it is by the same thread, and so belongs to the release
 *                 sequence that the push heads (C17 5.1.2.4); arm64 keeps stores to one location
 *                 in order.
 *   E2 slot free  steal cas-seq_cst top -> push load-acquire top. A thief has read the slot before
 *                 the owner fills it again, one lap later.
 *   E3 last item  pop store-light bottom, load-light top; steal load-seq_cst top, heavy barrier,
 *                 load-seq_cst bottom. A StoreLoad pair: not both of the owner, taking index i
 *                 without a compare-and-swap, and a thief that found top = i, can have missed the
 *                 other. Le et al. have a seq_cst fence at each of the two places.
 *   E4 array      grow store-release array -> steal load-acquire array. A new array is full of what
 *                 it must hold before a thief can see it.
 *   E5 park       the parker's own seq_cst store of "parked" -> is_empty load-seq_cst top, bottom.
 *                 The parker's half of a StoreLoad pair. A push has no other half: a parker may
 *                 miss one that is under way, and who cannot live with that makes it good with a
 *                 seq_cst access of his own.
 *
 *   Why E3 holds. Let a thief take i: it read top = i, then bottom > i, then its compare-and-swap
 *   moved top from i. Let the owner have popped i with no compare-and-swap: it stored bottom = i,
 *   then read top < i.
 *   - All seq_cst (no membarrier, ThreadSanitizer, simulator): in the one order of these accesses
 *     the thief's load of bottom precedes the owner's store of i; its load of top precedes that,
 *     and read i; so the owner's later load of top cannot be less than i. Contradiction.
 *   - Light: membarrier puts a full barrier into the owner at a point P, after the thief's load of
 *     top and before its load of bottom. If the owner's store of bottom comes before P, the thief
 *     reads it, or a later one, and not a bottom > i that is older. If it comes after P, so does
 *     the owner's load of top, which then sees i, since the thief has seen it before its barrier.
 *     An owner that is switched out at that moment has its barrier in the context switch.
 *   A bottom > i that the thief reads may be newer than that pop as well: the owner has pushed
 *   another item at i. Then the thief takes the new one, if top still is i, and that is right; E1
 *   makes it see the new slot.
 *
 *   Attempts to break it, and why they fail:
 *   - A stale array: the thief loads bottom before array. If item i was pushed into the newer
 *     array, E1 brings that array; if into the older one, the older still holds it:
 *     nobody writes to it any more.
 *   - A slow thief reads a slot that has been filled again: top has moved on by then, its
 *     compare-and-swap fails and it throws the item away. The indices have 64 bits, so top does not
 *     come back to an old value; with 32 it would after 2^32 forks, which is a minute.
 *   - The last item: owner and thief both move top from that index; one of them fails.
 *   - Bottom is put back after a pop of the last item, or of none: it then equals top, so nothing
 *     is exposed. A thief that still holds the older top fails.
 *   - is_empty reads top, then bottom. top never moves back, so bottom <= the top read before means
 *     that there was nothing to take when bottom was read, except the item that a running pop has
 *     announced for itself.
 *
 * Rejected
 *   The fences of the paper as they stand: ThreadSanitizer does not see them, and the owner's one
 *   is a full barrier on each pop. The pair of store-light and membarrier moves that cost to
 *   the thief, who has lost some microseconds anyway.
 *   Load-consume for the array: compilers make an acquire of it; so it is written as one.
 *   Stealing half: a fork-join deque has its biggest subtree on top, so one item is a lot of work.
 *   Freeing old arrays early: it needs to know that no thief reads them, and saves less memory than
 *   the newest array takes.
 *   Shrinking: the array of a deep recursion is wanted again by the next one.
 */
#ifndef BNX_RUNTIME_DEQUE_H
#define BNX_RUNTIME_DEQUE_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Depth of a fork-join recursion without growing; 2 KiB of slots. */
#define BNX_DEQUE_CAPACITY BNX_CAPACITY(256, 2)

/* 128 MiB of slots. Who has more unstarted work than that has a runaway recursion. */
#define BNX_DEQUE_ITEMS_MAX ((uint64_t)1 << 24)

struct bnx_deque_array {
    uint64_t mask;                    /* capacity - 1; immutable */
    struct bnx_deque_array *previous; /* the next older array, for fini; immutable */
    void *slots[]; /* the owner writes, thieves read; relaxed, guarded by indices */
};

struct bnx_deque {
    /* Any thread, by compare-and-swap. */
    uint64_t top BNX_APART; /* index of the oldest item */

    /* The owner writes; thieves read. */
    uint64_t bottom BNX_APART;     /* index after the newest item */
    struct bnx_deque_array *array; /* the newest */
};

_Static_assert(offsetof(struct bnx_deque, bottom) >= BNX_APART_BYTES, "top has its own cache line");

/**
 * Makes an empty deque.
 * @param capacity     items, a power of two, 2 .. BNX_DEQUE_ITEMS_MAX; as a rule BNX_DEQUE_CAPACITY
 * @param start_index  the first index; 0, or near a maximum where a test wants to see the wrap.
 * Returns: 0, or -ENOMEM (the deque is then zeroed, and fini accepts it).
 * Threads: none may use the deque yet.
 */
int bnx_deque_init(struct bnx_deque *deque, uint32_t capacity, uint64_t start_index) BNX_MUST_USE;

/**
 * Frees all arrays. Items that are still there are forgotten. Accepts a zeroed deque.
 * Threads: none may use the deque any more.
 */
void bnx_deque_fini(struct bnx_deque *deque);

/**
 * The rest of a push that found the array full: grows and pushes.
 * Returns: as bnx_deque_push. Context: owner, from bnx_deque_push alone.
 */
int bnx_deque_push_grow(struct bnx_deque *deque, void *item) BNX_COLD;

/**
 * The rest of a pop that found one item or none: takes it if no thief did, puts bottom back.
 * @param bottom  what the pop has stored. @param top  what it has seen then, not below bottom.
 * Context: owner, from bnx_deque_pop alone.
 */
void *bnx_deque_pop_last(struct bnx_deque *deque, uint64_t bottom, uint64_t top);

/**
 * Takes the oldest item, as a thief.
 * @param out_lost_race  receives true when there was an item, but another thread took it meanwhile:
 *   worth another look; false otherwise.
 * Returns: the item, or NULL. Tries once.
 * Context: any thread but the owner; never waits. One membarrier(2), unless the deque looks empty.
 */
void *bnx_deque_steal(struct bnx_deque *deque, bool *out_lost_race);

/**
 * Takes the oldest item, as the owner: no barrier, since nobody pops meanwhile.
 * Returns: the item, or NULL when there is none.
 * Context: owner; never waits.
 */
void *bnx_deque_pop_oldest(struct bnx_deque *deque);

/** As bnx_deque_push where there is room; false, with nothing changed, where there is none. */
static inline BNX_MUST_USE bool bnx_deque_try_push(struct bnx_deque *deque, void *item) {
    uint64_t bottom = bnx_load_relaxed(&deque->bottom);              /* the owner's own store */
    struct bnx_deque_array *array = bnx_load_relaxed(&deque->array); /* the owner's own store */
    uint64_t top = bnx_load_acquire(&deque->top);                    /* E2 */
    if (bnx_unlikely(bottom - top > array->mask)) {
        return false;
    }
    /* Relaxed: E1 publishes it; atomic at all because a late thief may read it in vain. */
    bnx_store_relaxed(&array->slots[bottom & array->mask], item);
    bnx_store_release(&deque->bottom, bottom + 1); /* E1 */
    return true;
}

/**
 * Adds an item as the newest.
 * @param item  not NULL.
 * Returns: 0, or -ENOMEM: the array cannot grow, because the heap or BNX_DEQUE_ITEMS_MAX is at its
 *   end; nothing has changed.
 * Context: owner; never waits. Threads: thieves may steal meanwhile.
 */
static inline BNX_MUST_USE int bnx_deque_push(struct bnx_deque *deque, void *item) {
    return bnx_likely(bnx_deque_try_push(deque, item)) ? 0 : bnx_deque_push_grow(deque, item);
}

/**
 * Takes the newest item.
 * Returns: the item, or NULL when there is none (the last one may have been stolen).
 * Context: owner; never waits. Threads: thieves may steal meanwhile.
 */
static inline void *bnx_deque_pop(struct bnx_deque *deque) {
    uint64_t bottom = bnx_load_relaxed(&deque->bottom) - 1;          /* the owner's own store */
    struct bnx_deque_array *array = bnx_load_relaxed(&deque->array); /* the owner's own store */
    bnx_store_light(&deque->bottom, bottom);                         /* E3 */
    uint64_t top = bnx_load_light(&deque->top);                      /* E3 */
    if (bnx_unlikely((int64_t)(bottom - top) <= 0)) {
        return bnx_deque_pop_last(deque, bottom, top);
    }
    return bnx_load_relaxed(&array->slots[bottom & array->mask]); /* the owner's own store */
}

/**
 * Looks at the newest item without taking it.
 * Returns: the item, or NULL. A hint until a pop confirms it: a thief may have taken it.
 * Context: owner.
 */
static inline void *bnx_deque_newest(const struct bnx_deque *deque) {
    uint64_t bottom = bnx_load_relaxed(&deque->bottom); /* the owner's own store */
    uint64_t top = bnx_load_relaxed(&deque->top);       /* a hint */
    if ((int64_t)(bottom - top) <= 0) {
        return NULL;
    }
    const struct bnx_deque_array *array = bnx_load_relaxed(&deque->array); /* the owner's own */
    return bnx_load_relaxed(&array->slots[(bottom - 1) & array->mask]);    /* the owner's own */
}

/**
 * Counts the items.
 * Context: any thread. Another thread's result is a hint.
 */
static inline uint32_t bnx_deque_count(const struct bnx_deque *deque) {
    /* Relaxed: a hint. The two words may be of different moments, hence the clamps. */
    uint64_t top = bnx_load_relaxed(&deque->top);
    int64_t count = (int64_t)(bnx_load_relaxed(&deque->bottom) - top);
    if (count < 0) {
        return 0;
    }
    return (uint64_t)count > BNX_DEQUE_ITEMS_MAX ? (uint32_t)BNX_DEQUE_ITEMS_MAX : (uint32_t)count;
}

/**
 * Tells whether there is nothing to take: the last look of a worker that is about to park.
 * Returns: true when the deque was empty at one moment during the call, an item that a running pop
 *   has announced for itself not counted.
 * Context: any thread. The loads are seq_cst, so that they come after the caller's own seq_cst
 *   store that says "parked".
 */
static inline bool bnx_deque_is_empty_seq_cst(const struct bnx_deque *deque) {
    uint64_t top = bnx_load_seq_cst(&deque->top); /* E5, and top first: see Ordering */
    return (int64_t)(bnx_load_seq_cst(&deque->bottom) - top) <= 0; /* E5 */
}

/**
 * Checks the invariant of the indices.
 * Context: owner, between its operations; any thread while the owner is quiet.
 */
bool bnx_deque_check(const struct bnx_deque *deque);

#endif
