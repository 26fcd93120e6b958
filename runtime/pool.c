/* SPDX-License-Identifier: MIT */
/* Slabs of pooled objects, and the batches that move between a worker's cache and the pool. */
#include "runtime/pool.h"

#include <errno.h>
#include <string.h>

#define SLAB_OBJECTS_FIRST 64
#define SLAB_OBJECTS_MAX 4096 /* 1 MiB of descriptors: large enough to be a mapping of its own */

struct bnx_pool_slab {
    struct bnx_pool_slab *next; /* immutable once published */
    uint32_t count;             /* immutable once published */
    _Alignas(BNX_CACHELINE_BYTES) unsigned char objects[];
};

void bnx_pool_init(struct bnx_pool *pool, uint32_t object_bytes, uint32_t objects_max) {
    memset(pool, 0, sizeof(*pool));
    bnx_lock_init(&pool->lock);
    pool->object_bytes = object_bytes;
    pool->objects_max = objects_max;
    pool->slab_objects = SLAB_OBJECTS_FIRST;
}

void bnx_pool_fini(struct bnx_pool *pool) {
    struct bnx_pool_slab *slab = pool->slabs;
    while (slab != NULL) {
        struct bnx_pool_slab *next = slab->next;
        bnx_os.release(slab);
        slab = next;
    }
    memset(pool, 0, sizeof(*pool));
}

/* Makes a slab and puts its objects on the free list. Under the lock: a slab is made rarely, and
 * two workers that both miss would otherwise both make one. */
static int make_slab(struct bnx_pool *pool) {
    uint32_t room = pool->objects_max - pool->count;
    uint32_t count = pool->slab_objects < room ? pool->slab_objects : room;
    if (count == 0) {
        return -EAGAIN;
    }
    size_t bytes = sizeof(struct bnx_pool_slab) + (size_t)count * pool->object_bytes;
    struct bnx_pool_slab *slab = bnx_os.allocate(bytes, BNX_CACHELINE_BYTES);
    if (slab == NULL) {
        return -ENOMEM;
    }
    memset(slab, 0, bytes);
    slab->count = count;
    for (uint32_t i = count; i-- > 0;) {
        struct bnx_pool_object *object = (void *)(slab->objects + (size_t)i * pool->object_bytes);
        object->next = pool->free;
        pool->free = object;
    }
    slab->next = pool->slabs;
    bnx_store_release(&pool->slabs, slab); /* P1 */
    pool->count += count;
    if (pool->slab_objects < SLAB_OBJECTS_MAX) {
        pool->slab_objects *= 2;
    }
    return 0;
}

void *bnx_pool_refill(struct bnx_pool *pool, struct bnx_pool_cache *cache, int *out_error) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    if (pool->free == NULL) {
        int error = make_slab(pool);
        if (error != 0) {
            bnx_lock_release(&pool->lock); /* L1 */
            *out_error = error;
            return NULL;
        }
    }
    struct bnx_pool_object *first = pool->free;
    pool->free = first->next;
    if (cache != NULL) {
        for (uint32_t i = 1; i < BNX_POOL_BATCH && pool->free != NULL; i++) {
            struct bnx_pool_object *object = pool->free;
            pool->free = object->next;
            object->next = cache->free;
            cache->free = object;
            cache->count++;
        }
    }
    bnx_lock_release(&pool->lock); /* L1 */
    return first;
}

static void give_back(struct bnx_pool *pool, struct bnx_pool_cache *cache, uint32_t count) {
    for (uint32_t i = 0; i < count && cache->free != NULL; i++) {
        struct bnx_pool_object *object = cache->free;
        cache->free = object->next;
        cache->count--;
        object->next = pool->free;
        pool->free = object;
    }
}

void bnx_pool_spill(struct bnx_pool *pool, struct bnx_pool_cache *cache, void *object) {
    struct bnx_pool_object *freed = object;
    bnx_lock_acquire(&pool->lock); /* L1 */
    freed->next = pool->free;
    pool->free = freed;
    if (cache != NULL) {
        give_back(pool, cache, BNX_POOL_BATCH);
    }
    bnx_lock_release(&pool->lock); /* L1 */
}

void bnx_pool_cache_fini(struct bnx_pool *pool, struct bnx_pool_cache *cache) {
    bnx_lock_acquire(&pool->lock); /* L1 */
    give_back(pool, cache, cache->count);
    bnx_lock_release(&pool->lock); /* L1 */
}

int bnx_pool_foreach(struct bnx_pool *pool, int (*fn)(void *object, void *arg), void *arg) {
    struct bnx_pool_slab *slab = bnx_load_acquire(&pool->slabs); /* P1 */
    for (; slab != NULL; slab = slab->next) {
        for (uint32_t i = 0; i < slab->count; i++) {
            int stop = fn(slab->objects + (size_t)i * pool->object_bytes, arg);
            if (stop != 0) {
                return stop;
            }
        }
    }
    return 0;
}
