/* SPDX-License-Identifier: MIT */
/*
 * The stacks of generators: one pool for the process, because a generator may be destroyed by any
 * thread, in another runtime than the one that made it, or after that.
 *
 * In front of the pool stand a few caches under locks of their own, chosen by worker. A thread that
 * is no worker takes one by where its stack is. So the lock is nearly always free. The pool stays
 * until the process ends: a later generator finds a stack whose pages are there.
 *
 * Rejected: the worker's own cache (its stacks die with its runtime); a cache by thread (somebody
 * must empty it when the thread ends, and a thread-local destructor runs code of a library that may
 * have been unloaded).
 *
 * Ordering
 *   G2 cache, G3 pool: what is under each lock.
 */
#include "runtime/gen_pvt.h"
#include "runtime/worker.h"

#define CACHES 8
#define THREAD_STACK_SHIFT 23 /* threads' stacks are 8 MiB apart by default */

struct locked_cache {
    BNX_APART struct bnx_lock lock;
    struct bnx_stack_cache cache; /* under the lock; of no pool before it is first used */
};

static struct locked_cache caches[CACHES];

static struct {
    struct bnx_lock lock;
    struct bnx_stack_pool pool; /* opened once, under the lock; then it has locks of its own */
} shared;

static struct locked_cache *cache_here(void) {
    const struct bnx_worker *worker = bnx_worker_current();
    uintptr_t number = worker != NULL ? worker->index
                                      : (uintptr_t)__builtin_frame_address(0) >> THREAD_STACK_SHIFT;
    return &caches[number % CACHES];
}

/* Opens the pool. Two threads may both try: one of them has made its pool in vain. */
static bool open_pool(void) {
    struct bnx_stack_pool fresh = {0};
    if (bnx_stack_pool_init(&fresh, NULL) != 0) {
        return false;
    }
    bnx_lock_acquire(&shared.lock); /* G3 */
    bool is_first = !shared.pool.is_open;
    if (is_first) {
        shared.pool = fresh;
    }
    bnx_lock_release(&shared.lock); /* G3 */
    if (!is_first) {
        bnx_stack_pool_fini(&fresh);
    }
    return true;
}

static bool is_open(void) {
    bnx_lock_acquire(&shared.lock); /* G3 */
    bool answer = shared.pool.is_open;
    bnx_lock_release(&shared.lock); /* G3 */
    return answer;
}

/* A batch from the pool, by system calls perhaps, so outside the cache's lock: by way of a cache
 * that nobody else sees. */
static BNX_COLD struct bnx_stack *take_slow(struct locked_cache *here, enum bnx_stack_class class) {
    if (!is_open() && !open_pool()) {
        return NULL;
    }
    struct bnx_stack_cache batch;
    bnx_stack_cache_init(&batch, &shared.pool);
    struct bnx_stack *stack = bnx_stack_alloc(&batch, class);
    if (stack == NULL) {
        return NULL;
    }
    struct bnx_stack_bin *rest = &batch.bins[stack->class_index];
    bnx_lock_acquire(&here->lock); /* G2 */
    if (here->cache.pool == NULL) {
        bnx_stack_cache_init(&here->cache, &shared.pool);
    }
    struct bnx_stack_bin *bin = &here->cache.bins[stack->class_index];
    if (bin->loaded == NULL) {
        bin->loaded = rest->loaded;
        bin->loaded_count = rest->loaded_count;
        *rest = (struct bnx_stack_bin){0};
    }
    bnx_lock_release(&here->lock); /* G2 */
    bnx_stack_cache_fini(&batch);
    return stack;
}

struct bnx_stack *bnx_gen_stack_take(enum bnx_stack_class class) {
    struct locked_cache *here = cache_here();
    unsigned real = class == BNX_STACK_DEFAULT ? BNX_STACK_256K : (unsigned)class;
    const struct bnx_stack_bin *bin = &here->cache.bins[real - 1];
    struct bnx_stack *stack = NULL;
    bnx_lock_acquire(&here->lock); /* G2 */
    if (bin->loaded != NULL || bin->spare != NULL) {
        stack = bnx_stack_alloc(&here->cache, class);
    }
    bnx_lock_release(&here->lock); /* G2 */
    return bnx_likely(stack != NULL) ? stack : take_slow(here, class);
}

void bnx_gen_stack_give(struct bnx_stack *stack) {
    struct locked_cache *here = cache_here();
    bnx_lock_acquire(&here->lock); /* G2 */
    if (bnx_unlikely(here->cache.pool == NULL)) {
        bnx_stack_cache_init(&here->cache, &shared.pool);
    }
    bnx_stack_free(&here->cache, stack);
    bnx_lock_release(&here->lock); /* G2 */
}
