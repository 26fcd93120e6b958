/* SPDX-License-Identifier: MIT */
/* The slow side of stacks: slabs, guards, the depot, trimming, and finding a stack by address. */
#include "runtime/stack.h"

#include "runtime/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Newer than the packaged headers (Linux 6.13). */
#define ADVICE_GUARD_INSTALL 102

/* The first slab of a class holds 64 slots and each next one twice as much, up to 1 GiB: little
 * address space for a small process (RLIMIT_AS), few mappings for a large one. */
#define SLAB_SLOTS_FIRST BNX_CAPACITY(64, 2)
#define SLAB_BYTES_MAX ((size_t)1 << 30)

/* 4 TiB of stacks at 1 GiB a slab; 32 KiB of which a small process touches one page. */
#define SLABS_MAX 4096

#define MAP_COUNT_DEFAULT 65530 /* of Linux, where /proc does not say */
#define GUARD_MAPPINGS_PERCENT 45
#define BATCH_FIRST BNX_CAPACITY(4, 1)
#define MAPPINGS_PER_GUARD 2 /* the guard itself, and the slab around it is cut in two */

/* A slab's word: page-aligned address | class index << 6 | log2 of its bytes. */
#define SLAB_SHIFT_MASK UINT64_C(0x3f)
#define SLAB_CLASS_SHIFT 6
#define SLAB_CLASS_MASK UINT64_C(0x3)
#define SLAB_ADDRESS_MASK (~UINT64_C(0xff))

struct slab {
    uint64_t word;               /* 0 = none; relaxed, written under the registry's lock */
    struct bnx_stack_pool *pool; /* whose it is, NULL = free; under the registry's lock */
};

/* Of the process, because a signal handler is of the process. */
static struct {
    struct bnx_lock lock;         /* over pool pointers and the choice of an entry */
    struct slab slabs[SLABS_MAX]; /* entries are reused, never moved */
    size_t slabs_end;             /* entries ever used; relaxed, grows only */
    size_t page_bytes;            /* relaxed; every init stores the same value */
    size_t guard_mappings;        /* relaxed; of all pools */
} registry;

/* log2 of the bytes of a class at the usual page of 4 KiB. */
static const uint8_t class_shift[BNX_STACK_CLASSES] = {14, 16, 18, 20};

static size_t class_bytes(unsigned class_index) {
    /* Where pages are larger, a stack is still four of them. */
    size_t bytes = (size_t)1 << class_shift[class_index];
    size_t pages_bytes = 4 * bnx_load_relaxed(&registry.page_bytes); /* constant */
    return bytes > pages_bytes ? bytes : pages_bytes;
}

/* An odd number of pages, so that the slot is one as well. */
static size_t guard_bytes(unsigned class_index) {
    size_t page = bnx_load_relaxed(&registry.page_bytes); /* constant */
    return ((class_bytes(class_index) / page / 16) | 1) * page;
}

static size_t slot_bytes(unsigned class_index) {
    return class_bytes(class_index) + guard_bytes(class_index);
}

static struct bnx_stack *slot_header(char *slot, unsigned class_index, size_t slot_index) {
    size_t colour = BNX_PLANT(stack_no_colour) ? 0 : slot_index % BNX_STACK_COLOURS;
    char *end = slot + slot_bytes(class_index) - colour * BNX_STACK_COLOUR_BYTES;
    return (struct bnx_stack *)(void *)(end - sizeof(struct bnx_stack));
}

static void pool_log(const struct bnx_stack_pool *pool, const char *text) {
    if (pool->options.log != NULL) {
        pool->options.log(pool->options.log_arg, text);
    }
}

static void pool_lock(struct bnx_stack_pool *pool) { /* E1 */
    if (!BNX_PLANT(stack_depot_unlocked)) {
        bnx_lock_acquire(&pool->lock);
    }
}

static void pool_unlock(struct bnx_stack_pool *pool) { /* E1 */
    if (!BNX_PLANT(stack_depot_unlocked)) {
        bnx_lock_release(&pool->lock);
    }
}

/* ---- guards ---- */

static size_t map_count_max(void) {
    int fd = bnx_os.openat(AT_FDCWD, "/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return MAP_COUNT_DEFAULT;
    }
    char text[32];
    ssize_t got = bnx_os.read(fd, text, sizeof(text) - 1);
    (void)bnx_os.close(fd);
    if (got <= 0) {
        return MAP_COUNT_DEFAULT;
    }
    text[got] = '\0';
    long value = strtol(text, NULL, 10);
    return value > 0 ? (size_t)value : MAP_COUNT_DEFAULT;
}

static bool guard_by_mprotect(struct bnx_stack_pool *pool, char *start, size_t bytes) {
    size_t before =
        bnx_fetch_add_relaxed(&registry.guard_mappings, MAPPINGS_PER_GUARD); /* a count */
    bool has_room = before + MAPPINGS_PER_GUARD <= pool->guard_mappings_max ||
                    BNX_PLANT(stack_map_count_unbounded);
    if (!has_room || bnx_os.mprotect(start, bytes, PROT_NONE) != 0) {
        (void)bnx_fetch_sub_relaxed(&registry.guard_mappings, MAPPINGS_PER_GUARD); /* a count */
        return false;
    }
    (void)bnx_fetch_add_relaxed(&pool->guard_mappings, MAPPINGS_PER_GUARD); /* a count */
    return true;
}

static bool guard_install(struct bnx_stack_pool *pool, char *start, size_t bytes) {
    if (BNX_PLANT(stack_no_guard)) {
        return true;
    }
    if (pool->can_madvise_guard && !BNX_PLANT(stack_guard_by_mprotect) &&
        bnx_os.madvise(start, bytes, ADVICE_GUARD_INSTALL) == 0) {
        return true;
    }
    /* Memory may have become locked since the probe; mprotect does not mind. */
    if (guard_by_mprotect(pool, start, bytes)) {
        return true;
    }
    (void)bnx_fetch_add_relaxed(&pool->unguarded_count, 1); /* a count */
    if (!bnx_exchange_relaxed(&pool->is_warned, true)) {    /* one of them logs, whichever */
        pool_log(pool, "stacks: no mappings left for guard pages; further stacks have none, an "
                       "overflow is noticed when the task ends (raise vm.max_map_count)");
    }
    return false;
}

/* Instrumentation would report the neighbourhood of a live stack, which is what is read here. */
BNX_NO_ASAN BNX_NO_TSAN static const uintptr_t *first_nonzero(const uintptr_t *from,
                                                              const uintptr_t *end) {
    while (from < end && *from == 0) {
        from++;
    }
    return from;
}

void bnx_stack_check_unguarded(const struct bnx_stack *stack) {
    size_t bytes = guard_bytes(stack->class_index);
    const uintptr_t *low = (const uintptr_t *)(const void *)stack->low;
    const uintptr_t *start = low - bytes / sizeof(*start);
    if (bnx_unlikely(first_nonzero(start, low) != low)) {
        bnx_panic(__FILE__, __LINE__, "a task overflowed its stack of %zu KiB, which has no guard",
                  class_bytes(stack->class_index) / 1024);
    }
}

/* ---- slabs ---- */

static struct slab *slab_register(struct bnx_stack_pool *pool, char *start, uint64_t tag) {
    struct slab *found = NULL;
    bnx_lock_acquire(&registry.lock); /* E2 */
    for (size_t i = 0; i < SLABS_MAX && found == NULL; i++) {
        struct slab *slab = &registry.slabs[i];
        if (slab->pool != NULL) {
            continue;
        }
        found = slab;
        slab->pool = pool;
        /* The word needs no company; its reader is ordered by E1. */
        bnx_store_relaxed(&slab->word, (uint64_t)(uintptr_t)start | tag);
        /* Stored in any case: a simulated run must not tell what earlier ones have left here. */
        size_t end = bnx_load_relaxed(&registry.slabs_end); /* our own: under the lock */
        bnx_store_relaxed(&registry.slabs_end, i >= end ? i + 1 : end); /* as the word */
    }
    bnx_lock_release(&registry.lock); /* E2 */
    return found;
}

static void stacks_deregister(char *start, unsigned class_index, size_t slab_bytes) {
    size_t slot = slot_bytes(class_index);
    for (size_t i = 0; i < slab_bytes / slot; i++) {
        struct bnx_stack *stack = slot_header(start + i * slot, class_index, i);
        if (stack->valgrind_id != 0) {
            bnx_valgrind_stack_deregister(stack->valgrind_id);
        }
    }
}

static void slab_remove(struct bnx_stack_pool *pool, struct slab *slab) {
    uint64_t word = bnx_load_relaxed(&slab->word); /* ours: nobody else has a slab of this pool */
    char *start = (char *)(uintptr_t)(word & SLAB_ADDRESS_MASK);
    size_t bytes = (size_t)1 << (word & SLAB_SHIFT_MASK);
    if (bnx_load_relaxed(&pool->has_valgrind_ids)) { /* a lost id is a wrong hint to valgrind */
        stacks_deregister(start, (unsigned)(word >> SLAB_CLASS_SHIFT & SLAB_CLASS_MASK), bytes);
    }
    bnx_asan_unpoison(start, bytes);
    bnx_store_relaxed(&slab->word, 0); /* no thread runs on it, so no handler wants it */
    if (bnx_os.munmap(start, bytes) != 0) {
        pool_log(pool, "stacks: a slab could not be unmapped; its address space is lost");
    }
    bnx_lock_acquire(&registry.lock); /* E2 */
    slab->pool = NULL;
    bnx_lock_release(&registry.lock); /* E2 */
}

/* Maps 2^shift bytes, or as far down as min_shift. Returns NULL where even that fails. */
static char *slab_map(unsigned shift, unsigned min_shift, unsigned *out_shift) {
    /* Ends: at most one try a bit. */
    for (; shift >= min_shift; shift--) {
        size_t bytes = (size_t)1 << shift;
        int error = 0;
        void *start = bnx_os.mmap(bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &error);
        if (start != MAP_FAILED) {
            /* -EINVAL from a kernel without huge pages is as good. */
            (void)bnx_os.madvise(start, bytes, MADV_NOHUGEPAGE);
            *out_shift = shift;
            return start;
        }
    }
    return NULL;
}

/* Makes a new slab the one being carved, unless another thread was quicker. Returns false where
 * there is no address space or no registry entry. */
static bool slab_add(struct bnx_stack_pool *pool, unsigned class_index, unsigned slab_count) {
    size_t slot = slot_bytes(class_index);
    unsigned min_shift = 63u - (unsigned)__builtin_clzll(slot * SLAB_SLOTS_FIRST);
    unsigned max_shift = 63u - (unsigned)__builtin_clzll(SLAB_BYTES_MAX);
    unsigned want = min_shift + slab_count < max_shift ? min_shift + slab_count : max_shift;
    unsigned shift = 0;
    char *start = slab_map(want, min_shift, &shift);
    if (start == NULL) {
        return false;
    }
    uint64_t tag = (uint64_t)class_index << SLAB_CLASS_SHIFT | shift;
    struct slab *slab = slab_register(pool, start, tag);
    if (slab == NULL) {
        (void)bnx_os.munmap(start, (size_t)1 << shift);
        return false;
    }
    struct bnx_stack_depot *depot = &pool->depots[class_index];
    pool_lock(pool); /* E1 */
    bool is_first = depot->slab_count == slab_count;
    if (is_first) {
        depot->slab = start;
        depot->slab_slots = ((size_t)1 << shift) / slot;
        depot->slab_carved = 0;
        depot->slab_count++;
    }
    pool_unlock(pool); /* E1 */
    if (!is_first) {
        slab_remove(pool, slab);
    }
    return true;
}

/* A run of slots that one thread has claimed. */
struct claim {
    char *first;           /* the first slot */
    size_t first_index;    /* its number in the slab */
    size_t count;          /* 0 = the slab is exhausted */
    unsigned slab_count;   /* slabs of the class at that moment */
    bool is_limit_reached; /* stacks_max */
};

/* The first batches are small: a runtime of few tasks does without the guards of many. */
static size_t batch_wanted(const struct bnx_stack_depot *depot) {
    size_t wanted = depot->slab_count > 1 ? BNX_STACK_BATCH : depot->slab_carved + BATCH_FIRST;
    return wanted < BNX_STACK_BATCH ? wanted : BNX_STACK_BATCH;
}

static struct claim slots_claim(struct bnx_stack_pool *pool, unsigned class_index) {
    struct bnx_stack_depot *depot = &pool->depots[class_index];
    size_t limit = pool->options.stacks_max;
    struct claim claim = {0};
    pool_lock(pool); /* E1 */
    size_t count = depot->slab_slots - depot->slab_carved;
    size_t wanted = batch_wanted(depot);
    count = count < wanted ? count : wanted;
    if (limit != 0 && !BNX_PLANT(stack_limit_ignored)) {
        size_t left = limit - pool->carved_count;
        claim.is_limit_reached = left == 0;
        count = count < left ? count : left;
    }
    claim.first = depot->slab + depot->slab_carved * slot_bytes(class_index);
    claim.first_index = depot->slab_carved;
    claim.count = count;
    claim.slab_count = depot->slab_count;
    depot->slab_carved += count;
    /* Relaxed: other readers only want a figure. */
    bnx_store_relaxed(&pool->carved_count, pool->carved_count + count);
    pool_unlock(pool); /* E1 */
    return claim;
}

static struct bnx_stack *slot_carve(struct bnx_stack_pool *pool, unsigned class_index, char *slot,
                                    size_t slot_index) {
    size_t guard = guard_bytes(class_index);
    struct bnx_stack *stack = slot_header(slot, class_index, slot_index);
    stack->is_guarded = guard_install(pool, slot, guard);
    stack->low = slot + guard;
    stack->top = (char *)stack;
    stack->class_index = (uint8_t)class_index;
    stack->valgrind_id = bnx_valgrind_stack_register(stack->low, stack->top);
    if (stack->valgrind_id != 0) {
        bnx_store_relaxed(&pool->has_valgrind_ids, true); /* fini comes after every carve */
    }
    return stack;
}

/* Takes a batch of slots that were never used. System calls happen outside the lock, on slots that
 * nobody else can see. Returns NULL where there are none to be had. */
static struct bnx_stack *batch_carve(struct bnx_stack_pool *pool, unsigned class_index) {
    struct claim claim = slots_claim(pool, class_index);
    /* Ends: each round adds a slab or sees one that another thread has added. */
    while (claim.count == 0) {
        if (claim.is_limit_reached || !slab_add(pool, class_index, claim.slab_count)) {
            return NULL;
        }
        claim = slots_claim(pool, class_index);
    }
    struct bnx_stack *batch = NULL;
    for (size_t i = claim.count; i-- > 0;) {
        char *slot = claim.first + i * slot_bytes(class_index);
        struct bnx_stack *stack = slot_carve(pool, class_index, slot, claim.first_index + i);
        stack->next = batch;
        batch = stack;
    }
    batch->batch_count = (uint16_t)claim.count;
    return batch;
}

/* ---- caches and the depot ---- */

static void depot_put(struct bnx_stack_pool *pool, struct bnx_stack *batch, size_t count) {
    struct bnx_stack_depot *depot = &pool->depots[batch->class_index];
    batch->batch_count = (uint16_t)count;
    pool_lock(pool); /* E1 */
    batch->next_batch = depot->used;
    depot->used = batch;
    pool_unlock(pool); /* E1 */
}

static struct bnx_stack *batch_pop(struct bnx_stack **list) {
    struct bnx_stack *batch = *list;
    if (batch != NULL) {
        *list = batch->next_batch;
    }
    return batch;
}

/* Used batches first: their pages are there. */
static struct bnx_stack *depot_take(struct bnx_stack_pool *pool, unsigned class_index) {
    struct bnx_stack_depot *depot = &pool->depots[class_index];
    pool_lock(pool); /* E1 */
    struct bnx_stack *batch = batch_pop(&depot->used);
    if (batch == NULL) {
        batch = batch_pop(&depot->trimmed);
    }
    pool_unlock(pool); /* E1 */
    return batch;
}

bool bnx_stack_cache_refill(struct bnx_stack_cache *cache, struct bnx_stack_bin *bin) {
    if (bin->spare != NULL) {
        bin->loaded = bin->spare;
        bin->loaded_count = BNX_STACK_BATCH;
        bin->spare = NULL;
        return true;
    }
    unsigned class_index = (unsigned)(bin - cache->bins);
    struct bnx_stack *batch = depot_take(cache->pool, class_index);
    if (batch == NULL) {
        batch = batch_carve(cache->pool, class_index);
    }
    if (batch == NULL) {
        return false;
    }
    bin->loaded = batch;
    bin->loaded_count = batch->batch_count;
    return true;
}

void bnx_stack_cache_make_room(struct bnx_stack_cache *cache, struct bnx_stack_bin *bin) {
    if (BNX_PLANT(stack_cache_unbounded)) {
        return;
    }
    if (bin->spare != NULL) {
        depot_put(cache->pool, bin->spare, BNX_STACK_BATCH);
    }
    bin->spare = bin->loaded;
    bin->loaded = NULL;
    bin->loaded_count = 0;
}

void bnx_stack_cache_init(struct bnx_stack_cache *cache, struct bnx_stack_pool *pool) {
    *cache = (struct bnx_stack_cache){.pool = pool};
}

void bnx_stack_cache_fini(struct bnx_stack_cache *cache) {
    for (unsigned i = 0; i < BNX_STACK_CLASSES; i++) {
        struct bnx_stack_bin *bin = &cache->bins[i];
        if (bin->loaded != NULL) {
            depot_put(cache->pool, bin->loaded, bin->loaded_count);
        }
        if (bin->spare != NULL) {
            depot_put(cache->pool, bin->spare, BNX_STACK_BATCH);
        }
        *bin = (struct bnx_stack_bin){0};
    }
}

static size_t batch_length(const struct bnx_stack *batch) {
    size_t count = 0;
    /* Ends: one more than a batch is already wrong. */
    for (; batch != NULL && count <= BNX_STACK_BATCH; batch = batch->next) {
        BNX_CHECK(bnx_load_relaxed(&batch->owner) == NULL); /* ours: the stack is in our cache */
        count++;
    }
    return count;
}

void bnx_stack_cache_check(const struct bnx_stack_cache *cache) {
    for (unsigned i = 0; i < BNX_STACK_CLASSES; i++) {
        const struct bnx_stack_bin *bin = &cache->bins[i];
        BNX_CHECK(bin->loaded_count <= BNX_STACK_BATCH);
        BNX_CHECK(batch_length(bin->loaded) == bin->loaded_count);
        BNX_CHECK(bin->spare == NULL || batch_length(bin->spare) == BNX_STACK_BATCH);
    }
}

void bnx_stack_trim_below(struct bnx_stack *stack, uintptr_t address) {
    size_t page = bnx_load_relaxed(&registry.page_bytes); /* constant */
    char *first_kept = (char *)(address & ~(uintptr_t)(page - 1));
    if (first_kept > stack->low) {
        /* Where it fails the pages stay, and nothing else is different. */
        (void)bnx_os.madvise(stack->low, (size_t)(first_kept - stack->low), MADV_DONTNEED);
    }
}

/* Trims one batch of a class. Returns its length, 0 where none is left. */
static size_t batch_trim(struct bnx_stack_pool *pool, struct bnx_stack_depot *depot) {
    pool_lock(pool); /* E1 */
    struct bnx_stack *batch = batch_pop(&depot->used);
    pool_unlock(pool); /* E1 */
    if (batch == NULL) {
        return 0;
    }
    for (struct bnx_stack *stack = batch; stack != NULL; stack = stack->next) {
        bnx_stack_trim_below(stack, (uintptr_t)stack);
    }
    size_t count = batch->batch_count;
    pool_lock(pool); /* E1 */
    batch->next_batch = depot->trimmed;
    depot->trimmed = batch;
    pool_unlock(pool); /* E1 */
    return count;
}

size_t bnx_stack_trim(struct bnx_stack_pool *pool, size_t stacks_max) {
    size_t trimmed = 0;
    for (unsigned i = 0; i < BNX_STACK_CLASSES; i++) {
        size_t count = 1;
        /* Ends: at stacks_max. */
        while (trimmed < stacks_max && count != 0) {
            count = batch_trim(pool, &pool->depots[i]);
            trimmed += count;
        }
    }
    return trimmed;
}

/* ---- the pool ---- */

int bnx_stack_pool_init(struct bnx_stack_pool *pool, const struct bnx_stack_options *options) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int error = 0;
    void *probe = bnx_os.mmap(page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &error);
    if (probe == MAP_FAILED) {
        return error;
    }
    *pool = (struct bnx_stack_pool){.is_open = true};
    if (options != NULL) {
        pool->options = *options;
    }
    pool->can_madvise_guard = bnx_os.madvise(probe, page, ADVICE_GUARD_INSTALL) == 0;
    (void)bnx_os.munmap(probe, page);
    pool->guard_mappings_max = map_count_max() * GUARD_MAPPINGS_PERCENT / 100;
    bnx_lock_init(&pool->lock);
    bnx_store_relaxed(&registry.page_bytes, page); /* the same value each time */
    return 0;
}

static bool slab_is_of(struct slab *slab, const struct bnx_stack_pool *pool) {
    bnx_lock_acquire(&registry.lock); /* E2 */
    bool is_ours = slab->pool == pool;
    bnx_lock_release(&registry.lock); /* E2 */
    return is_ours;
}

void bnx_stack_pool_fini(struct bnx_stack_pool *pool) {
    if (!pool->is_open) {
        return;
    }
    size_t left = 0;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(pool->depots); i++) {
        left += pool->depots[i].slab_count;
    }
    for (size_t i = 0; i < SLABS_MAX && left > 0; i++) {
        if (slab_is_of(&registry.slabs[i], pool)) {
            slab_remove(pool, &registry.slabs[i]);
            left--;
        }
    }
    size_t mappings = bnx_load_relaxed(&pool->guard_mappings);       /* alone with the pool */
    (void)bnx_fetch_sub_relaxed(&registry.guard_mappings, mappings); /* a count */
    *pool = (struct bnx_stack_pool){0};
}

/* ---- looking at stacks ---- */

struct bnx_stack *bnx_stack_find(uintptr_t address) {
    size_t end = bnx_load_relaxed(&registry.slabs_end); /* ordered by E1, see the header */
    for (size_t i = 0; i < end; i++) {
        uint64_t word = bnx_load_relaxed(&registry.slabs[i].word); /* ordered by E1 */
        uintptr_t start = (uintptr_t)(word & SLAB_ADDRESS_MASK);
        size_t bytes = (size_t)1 << (word & SLAB_SHIFT_MASK);
        if (word == 0 || address < start || address - start >= bytes) {
            continue;
        }
        unsigned class_index = (unsigned)(word >> SLAB_CLASS_SHIFT & SLAB_CLASS_MASK);
        size_t slot = slot_bytes(class_index);
        size_t slot_index = (address - start) / slot;
        if (slot_index >= bytes / slot) {
            return NULL;
        }
        char *slot_start = (char *)(start + slot_index * slot);
        struct bnx_stack *stack = slot_header(slot_start, class_index, slot_index);
        /* A slot that was never carved is zero. */
        return stack->low != NULL ? stack : NULL;
    }
    return NULL;
}

/* /proc/self/pagemap: one word a page; present or swapped out means that it was touched. mincore(2)
 * would take a page that is swapped out for one that was never used. */
#define PAGEMAP_TOUCHED (UINT64_C(1) << 63 | UINT64_C(1) << 62)
#define PAGEMAP_CHUNK 64

/* Returns the lowest address in [from, end) whose word is not zero, end where there is none. Both
 * are multiples of the page size. */
static const char *lowest_in_pages(int pagemap, const char *from, const char *end, size_t page) {
    uint64_t entries[PAGEMAP_CHUNK];
    /* Ends: each round takes at least one page. */
    while (from < end) {
        size_t count = (size_t)(end - from) / page;
        count = count < PAGEMAP_CHUNK ? count : PAGEMAP_CHUNK;
        off_t at = (off_t)((uintptr_t)from / page * sizeof(entries[0]));
        ssize_t got = pread(pagemap, entries, count * sizeof(entries[0]), at);
        if (got < (ssize_t)sizeof(entries[0])) {
            return end;
        }
        size_t known = (size_t)got / sizeof(entries[0]);
        for (size_t i = 0; i < known; i++, from += page) {
            if ((entries[i] & PAGEMAP_TOUCHED) == 0) {
                continue;
            }
            const uintptr_t *page_end = (const uintptr_t *)(const void *)(from + page);
            const uintptr_t *word = first_nonzero((const uintptr_t *)(const void *)from, page_end);
            if (word != page_end) {
                return (const char *)word;
            }
        }
    }
    return end;
}

size_t bnx_stack_used(const struct bnx_stack *stack) {
    int pagemap = bnx_os.openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    if (pagemap < 0) {
        return 0;
    }
    size_t page = bnx_load_relaxed(&registry.page_bytes); /* constant */
    const char *top_page = (const char *)((uintptr_t)stack->top & ~(uintptr_t)(page - 1));
    const char *lowest = lowest_in_pages(pagemap, stack->low, top_page, page);
    (void)bnx_os.close(pagemap);
    if (lowest == top_page) {
        /* The header keeps this page touched. */
        lowest = (const char *)first_nonzero((const uintptr_t *)(const void *)top_page,
                                             (const uintptr_t *)(const void *)stack->top);
    }
    return (size_t)(stack->top - lowest);
}
