/* SPDX-License-Identifier: MIT */
/* Slabs of pooled objects, and the batches that move between a worker's cache and the pool. */
#include "runtime/pool.h"

#include "runtime/check.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_BYTES_FIRST ((size_t)64 * 1024)
#define SLAB_BYTES_MAX ((size_t)8 * 1024 * 1024)
/* From here on huge pages: a first touch costs 0.7 us a page, more than the rest of a spawn. */
#define SLAB_BYTES_HUGE ((size_t)2 * 1024 * 1024)

struct bnx_pool_slab {
    struct bnx_pool_slab *next; /* immutable once published */
    size_t bytes;               /* of the mapping; immutable */
    uint32_t count;             /* of objects; immutable */
    _Alignas(BNX_CACHELINE_BYTES) unsigned char objects[];
};

void bnx_pool_init(struct bnx_pool *pool, uint32_t object_bytes, uint32_t objects_max) {
    memset(pool, 0, sizeof(*pool));
    bnx_lock_init(&pool->lock);
    pool->object_bytes = object_bytes;
    pool->objects_max = objects_max;
    pool->slab_bytes = SLAB_BYTES_FIRST;
}

void bnx_pool_fini(struct bnx_pool *pool) {
    struct bnx_pool_slab *slab = pool->slabs;
    while (slab != NULL) {
        struct bnx_pool_slab *next = slab->next;
        (void)bnx_os.munmap(slab, slab->bytes); /* a whole mapping of ours */
        slab = next;
    }
    memset(pool, 0, sizeof(*pool));
}

/* Maps a slab; its objects are zero and stay untouched until they are taken. Under the lock: slabs
 * are made rarely, and two workers that both miss would otherwise both make one. */
static int make_slab(struct bnx_pool *pool) {
    uint32_t limit = BNX_PLANT(task_limit_ignored) ? UINT32_MAX : pool->objects_max;
    uint32_t room = limit - pool->count;
    size_t fit = (pool->slab_bytes - sizeof(struct bnx_pool_slab)) / pool->object_bytes;
    uint32_t count = fit < room ? (uint32_t)fit : room;
    if (count == 0) {
        return -EAGAIN;
    }
    int error = 0;
    struct bnx_pool_slab *slab = bnx_os.mmap(pool->slab_bytes, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &error);
    if (slab == MAP_FAILED) {
        return -ENOMEM;
    }
    if (pool->slab_bytes >= SLAB_BYTES_HUGE) {
        (void)bnx_os.madvise(slab, pool->slab_bytes, MADV_HUGEPAGE); /* slower without */
    }
    slab->bytes = pool->slab_bytes;
    slab->count = count;
    slab->next = pool->slabs;
    pool->fresh = slab->objects;
    pool->fresh_count = count;
    pool->count += count;
    bnx_store_release(&pool->slabs, slab); /* P1 */
    if (pool->slab_bytes < SLAB_BYTES_MAX) {
        pool->slab_bytes *= 2;
    }
    return 0;
}

void *bnx_pool_refill(struct bnx_pool *pool, struct bnx_pool_cache *cache, int *out_error) {
    uint32_t wanted = cache != NULL ? BNX_POOL_BATCH : 1;
    uint32_t count = 0;
    struct bnx_pool_object *taken = NULL;
    bnx_lock_acquire(&pool->lock); /* L1 */
    int error = pool->free == NULL && pool->fresh_count == 0 ? make_slab(pool) : 0;
    for (; count < wanted && pool->free != NULL; count++) {
        struct bnx_pool_object *object = pool->free;
        pool->free = object->next;
        object->next = taken;
        taken = object;
    }
    unsigned char *fresh = pool->fresh;
    uint32_t fresh_count = wanted - count;
    fresh_count = fresh_count < pool->fresh_count ? fresh_count : pool->fresh_count;
    if (fresh_count != 0) {
        pool->fresh += (size_t)fresh_count * pool->object_bytes;
        pool->fresh_count -= fresh_count;
    }
    bnx_lock_release(&pool->lock); /* L1 */

    /* Not under the lock: what was never used is not there yet, and to fault a huge page in takes
     * as long as a thousand lock holds. */
    for (uint32_t i = fresh_count; i-- > 0;) {
        struct bnx_pool_object *object = (void *)(fresh + (size_t)i * pool->object_bytes);
        object->next = taken;
        taken = object;
    }
    if (taken == NULL) {
        *out_error = error;
        return NULL;
    }
    if (cache != NULL) {
        cache->free = taken->next;
        cache->count = count + fresh_count - 1;
    }
    return taken;
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
