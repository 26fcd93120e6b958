/* SPDX-License-Identifier: MIT */
/*
 * Stacks for tasks: guarded address space in slabs, recycled by per-worker caches.
 *
 *   slot of a slab, addresses growing to the right:
 *
 *   | guard | usable ................................. frames | struct bnx_stack | colour |
 *           ^ low                                             ^ top
 *   class:    16K     64K     256K    1M     (usable + header + colour)
 *   guard:    1       1       5       17     pages
 *
 * Concepts
 *   header  struct bnx_stack lies in the stack's own top page, so an idle task costs that one page.
 *   colour  the header moves down by 0..15 cache lines, by slot number, so that the tops of many
 *           stacks do not meet in one cache set. At most 960 bytes: header and shallow frames still
 *           fit the page.
 *   slab    one mapping that holds many slots of one class. A slot is an odd number of pages long:
 *           slots of 64 pages put all tops into two sets of the TLB. Over 1000 stacks in random
 *           order (4 lines each, EPYC guest) a visit cost 20 ns with 64-page slots, 7.1 with 65,
 *           6.4 with 65 and 16 colours; more colours gained nothing.
 *   carve   taking slots from a slab for the first time: guard, header. By the batch, on demand.
 *   guard   MADV_GUARD_INSTALL where the kernel has it (no mapping is split); else mprotect while
 *           the process stays below 45 % of vm.max_map_count; else none, one warning, and the pages
 *           that the guard would have had must still be zero when the stack is freed.
 *   batch   up to BNX_STACK_BATCH free stacks linked by `next`; batches are linked by `next_batch`.
 *   cache   per worker and class two batches: `loaded`, which stacks come from and go to, and
 *           `spare`, full or empty. Strictly last in, first out, without a walk.
 *   depot   per class the free batches of the whole pool, under the pool's lock, O(1) a hold.
 *
 * Invariants
 *   loaded_count == length of loaded <= BNX_STACK_BATCH; spare == NULL or holds BNX_STACK_BATCH.
 *   A stack is in one place: carved and running, a cache, or a depot. owner == NULL while free.
 *
 * Ordering
 *   E1 depot     a batch put under the pool's lock -> taken under it: whoever frees a stack happens
 *                before whoever gets it.
 *   E2 registry  slab slots are claimed and given back under the registry's lock.
 *   bnx_stack_find takes no lock: a slab is one relaxed word {address, class, size}, whole in
 *   itself, and a thread that runs on a stack got that stack by E1, after the slab had been
 *   registered.
 *
 * Rejected
 *   A ck_stack as the depot: without pop it can only be emptied, and one worker would hold a
 *     million stacks. Batches make the lock hold a few instructions, once in 32 operations.
 *   MADV_DONTFORK: a task that calls fork runs on such a stack in the child as well.
 *   Huge pages: a slab is MADV_NOHUGEPAGE. Guards already prevent them (4 KiB resident a stack with
 *     MADV_HUGEPAGE); without guards each stack became resident whole, and a first touch took
 *     660 us.
 */
#ifndef BNX_RUNTIME_STACK_H
#define BNX_RUNTIME_STACK_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/compiler.h"
#include "runtime/lock.h"

#include <assert.h>
#include <bonxie/stack.h>
#include <stddef.h>
#include <stdint.h>

#define BNX_STACK_CLASSES 4 /* an index is class - 1 */

/* An exchange with the depot moves this many: a pair of alloc and free that goes through it costs
 * 5 to 14 ns, a hot one 1.6 to 4.7 (EPYC guest, busy), and 64 idle stacks a worker do no harm. */
#define BNX_STACK_BATCH BNX_CAPACITY(32, 1)
#define BNX_STACK_CACHED_MAX (2 * BNX_STACK_BATCH)

#define BNX_STACK_COLOURS 16
#define BNX_STACK_COLOUR_BYTES 64

/* Lies just above the frames of the stack that it describes. One cache line: a stack has one holder
 * at a time, who writes all of it but what is immutable. */
struct bnx_stack {
    struct bnx_stack *next;       /* free: the next of the batch; holder */
    struct bnx_stack *next_batch; /* first of a batch in a depot: the next batch; under its lock */
    void *owner;           /* the task on it, NULL while free; relaxed: scheduler -> crash report */
    char *low;             /* lowest usable address; immutable after carving */
    char *top;             /* where sp starts, 64-aligned; immutable after carving */
    void *asan_fake_stack; /* saved over a switch; holder */
    void *tsan_fiber;      /* made and destroyed by the holder, NULL while free */
    uint32_t valgrind_id;  /* of its registration; immutable after carving */
    uint16_t batch_count;  /* first of a batch in a depot: its length */
    uint8_t class_index;   /* enum bnx_stack_class - 1; immutable after carving */
    bool is_guarded;       /* an overflow faults; immutable after carving */
};
static_assert(sizeof(struct bnx_stack) == BNX_CACHELINE_BYTES, "the header is one cache line");

struct bnx_stack_options {
    size_t stacks_max;                            /* that may exist at once; 0 = no limit */
    void (*log)(void *log_arg, const char *text); /* warnings, one line, no newline; NULL = none */
    void *log_arg;                                /* log's first argument */
};

/* The free stacks and the slab of one class. All under the pool's lock. */
struct bnx_stack_depot {
    struct bnx_stack *used;    /* batches freed since the last trim */
    struct bnx_stack *trimmed; /* batches that keep one page a stack */
    char *slab;                /* the slab being carved, NULL before the first */
    size_t slab_slots;         /* its length */
    size_t slab_carved;        /* slots of it already taken */
    unsigned slab_count;       /* slabs of this class so far; each is twice its predecessor */
};

/* One per runtime. */
struct bnx_stack_pool {
    /* Immutable after init; read by any thread. */
    struct bnx_stack_options options;
    size_t guard_mappings_max; /* of the process, made by mprotect: 45 % of vm.max_map_count */
    bool is_open;              /* false in a zeroed pool */
    bool can_madvise_guard;    /* the probe went well */

    /* Any thread, relaxed: counts and flags that order nothing. */
    BNX_APART size_t guard_mappings; /* mappings that this pool's mprotect guards have added */
    size_t unguarded_count;          /* stacks without a guard */
    bool is_warned;                  /* the warning about them is out */
    bool has_valgrind_ids;           /* fini must deregister */

    /* Any thread under the lock. */
    BNX_APART struct bnx_lock lock;
    size_t carved_count; /* stacks that exist; relaxed reads from anywhere */
    struct bnx_stack_depot depots[BNX_STACK_CLASSES];
};
static_assert(offsetof(struct bnx_stack_pool, guard_mappings) % BNX_APART_BYTES == 0, "apart");
static_assert(offsetof(struct bnx_stack_pool, lock) % BNX_APART_BYTES == 0, "apart");

struct bnx_stack_bin {
    struct bnx_stack *loaded; /* newest first */
    size_t loaded_count;      /* 0..BNX_STACK_BATCH */
    struct bnx_stack *spare;  /* NULL or a full batch, all older than loaded */
};

/* One per worker; owner only. */
struct bnx_stack_cache {
    struct bnx_stack_pool *pool; /* immutable after init; NULL in a zeroed cache */
    struct bnx_stack_bin bins[BNX_STACK_CLASSES];
};

/**
 * Opens a pool: probes the kernel for guards, maps no slab yet.
 * @param options copied; NULL = zeroed.
 * Returns: 0; -ENOMEM the probe's page could not be mapped (the pool stays as it was).
 * Context: any thread, before the pool is shared.
 */
BNX_MUST_USE int bnx_stack_pool_init(struct bnx_stack_pool *pool,
                                     const struct bnx_stack_options *options);

/**
 * Unmaps every slab. No stack of the pool may be in use and no cache of it alive; a zeroed pool is
 * accepted. Context: any thread, alone with the pool, not on one of its stacks.
 */
void bnx_stack_pool_fini(struct bnx_stack_pool *pool);

/** Starts an empty cache on the pool. Context: owner worker. */
void bnx_stack_cache_init(struct bnx_stack_cache *cache, struct bnx_stack_pool *pool);

/** Gives every cached stack to the pool; a zeroed cache is accepted. Context: owner worker. */
void bnx_stack_cache_fini(struct bnx_stack_cache *cache);

/** The slow halves of bnx_stack_alloc and bnx_stack_free: refill, make room. */
bool bnx_stack_cache_refill(struct bnx_stack_cache *cache, struct bnx_stack_bin *bin);
void bnx_stack_cache_make_room(struct bnx_stack_cache *cache, struct bnx_stack_bin *bin);

/** Panics where the stack has overrun the pages below it that a guard should have covered. */
void bnx_stack_check_unguarded(const struct bnx_stack *stack);

/**
 * Takes a stack, the one freed last by preference.
 * @param class any value of the enum; BNX_STACK_DEFAULT is BNX_STACK_256K.
 * Returns: the stack, its memory as its last user left it; NULL: out of address space or mappings,
 *   or stacks_max reached. Stacks in other workers' caches count, so with a limit it may be NULL
 *   while up to BNX_STACK_CACHED_MAX a worker are free.
 * Context: owner worker; never suspends; a system call only when neither cache nor depot has one.
 */
static inline struct bnx_stack *bnx_stack_alloc(struct bnx_stack_cache *cache,
                                                enum bnx_stack_class class) {
    unsigned real = class == BNX_STACK_DEFAULT ? BNX_STACK_256K : (unsigned)class;
    BNX_ASSERT(real <= BNX_STACK_CLASSES);
    struct bnx_stack_bin *bin = &cache->bins[real - 1];
    if (bnx_unlikely(bin->loaded == NULL) && !bnx_stack_cache_refill(cache, bin)) {
        return NULL;
    }
    struct bnx_stack *stack = bin->loaded;
    bin->loaded = stack->next;
    bin->loaded_count--;
    bnx_asan_unpoison(stack->low, (size_t)(stack->top - stack->low));
    return stack;
}

/**
 * Gives a stack back, of whichever worker's it was. It must not be the one running.
 * Context: owner worker of the cache; never suspends; no system call.
 */
static inline void bnx_stack_free(struct bnx_stack_cache *cache, struct bnx_stack *stack) {
    struct bnx_stack_bin *bin = &cache->bins[stack->class_index];
    BNX_ASSERT(stack != bin->loaded);
    if (bnx_unlikely(!stack->is_guarded)) {
        bnx_stack_check_unguarded(stack);
    }
    if (bnx_unlikely(bin->loaded_count == BNX_STACK_BATCH)) {
        bnx_stack_cache_make_room(cache, bin);
    }
    bnx_store_relaxed(&stack->owner, NULL); /* a report about a free stack names nobody */
    bnx_asan_poison(stack->low, (size_t)(stack->top - stack->low));
    stack->next = bin->loaded;
    bin->loaded = stack;
    bin->loaded_count++;
}

/**
 * Gives the memory of free stacks back to the kernel, all but their top page; those in caches stay.
 * @param stacks_max stop after about this many (a batch is not split): 1 to 6 us each.
 * Returns: how many were trimmed; 0: nothing is left to trim.
 * Context: any thread; never suspends. Threads: any other operation of the pool.
 */
size_t bnx_stack_trim(struct bnx_stack_pool *pool, size_t stacks_max);

/**
 * Gives the pages of one stack that lie wholly below an address in it back to the kernel.
 * Context: who runs on the stack, all of it above the address, or who holds it free.
 */
void bnx_stack_trim_below(struct bnx_stack *stack, uintptr_t address);

/**
 * Returns how deep below top a byte was ever written, rounded up to a word, since the stack was
 * carved or trimmed, by the present task or one before it; pages that were never touched stay so.
 * 0: none, or /proc is not there. Context: any thread, signal handlers included; three system
 * calls. Threads: the stack's user may be running; the answer is then a moment's.
 */
size_t bnx_stack_used(const struct bnx_stack *stack);

/**
 * Finds the stack whose slot, guard included, holds an address. Returns: NULL where none does.
 * Context: any thread, signal handlers included; no lock, no system call.
 * Ownership: valid while the pool is open, which a thread that runs on the stack ensures.
 */
struct bnx_stack *bnx_stack_find(uintptr_t address);

/** Returns the bytes between low and top. */
static inline size_t bnx_stack_usable_bytes(const struct bnx_stack *stack) {
    return (size_t)(stack->top - stack->low);
}

/** Returns the class of a stack, never BNX_STACK_DEFAULT. */
static inline enum bnx_stack_class bnx_stack_class_of(const struct bnx_stack *stack) {
    return (enum bnx_stack_class)(stack->class_index + 1);
}

/** Checks the Invariants of a cache by walking it. Context: owner worker; tests. */
void bnx_stack_cache_check(const struct bnx_stack_cache *cache);

#endif
