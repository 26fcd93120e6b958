/* SPDX-License-Identifier: MIT */
/*
 * Pools of fixed-size objects whose memory stays what it is: task descriptors and timer nodes.
 *
 * Concepts
 *   One pool per runtime and kind, one cache per worker in front of it. An object that is given
 *   back keeps its type: a stale pointer may be read until the pool is destroyed, and says by a
 *   sequence number or an id of its own that it is stale. A new object is zeroed once, when its
 *   slab is made, and never again by the pool; memory of one that was never taken is not touched.
 *
 * Invariants
 *   An object is in exactly one place: a cache, the pool's free list, or in use.
 *   count <= objects_max.
 *
 * Ordering
 *   The free list and the counts are guarded by the lock. P1: a slab is published store-release and
 *   read load-acquire by foreach, which takes no lock.
 */
#ifndef BNX_RUNTIME_POOL_H
#define BNX_RUNTIME_POOL_H

#include "runtime/lock.h"

#define BNX_POOL_BATCH BNX_CAPACITY(64, 2) /* objects that change hands in one lock hold */

/* The first word of a free object. */
struct bnx_pool_object {
    struct bnx_pool_object *next;
};

struct bnx_pool_slab;

struct bnx_pool {
    struct bnx_lock lock;         /* guards the five below */
    struct bnx_pool_object *free; /* given back by caches */
    unsigned char *fresh;         /* objects of the newest slab that were never taken */
    uint32_t fresh_count;         /* how many */
    uint32_t count;               /* objects that exist */
    size_t slab_bytes;            /* of the next slab; doubles up to a bound */
    struct bnx_pool_slab *slabs;  /* newest first; P1 */
    uint32_t object_bytes;        /* immutable */
    uint32_t objects_max;         /* immutable */
};

/* Owner worker only. */
struct bnx_pool_cache {
    struct bnx_pool_object *free;
    uint32_t count;
};

/** Prepares a pool; nothing is allocated. object_bytes is a multiple of 8. */
void bnx_pool_init(struct bnx_pool *pool, uint32_t object_bytes, uint32_t objects_max);

/** Frees all slabs. Nobody holds an object. Accepts a zeroed pool. */
void bnx_pool_fini(struct bnx_pool *pool);

/** The slow half of bnx_pool_get: refills the cache, or takes one object where cache is NULL. */
void *bnx_pool_refill(struct bnx_pool *pool, struct bnx_pool_cache *cache, int *out_error);

/** The slow half of bnx_pool_put: gives a batch back, or one object where cache is NULL. */
void bnx_pool_spill(struct bnx_pool *pool, struct bnx_pool_cache *cache, void *object);

/**
 * Takes an object; its content is whatever its last user left.
 * @param cache the calling worker's; NULL from any other thread.
 * Returns NULL with *out_error -ENOMEM, or -EAGAIN when objects_max is reached.
 */
static inline void *bnx_pool_get(struct bnx_pool *pool, struct bnx_pool_cache *cache,
                                 int *out_error) {
    if (bnx_likely(cache != NULL && cache->free != NULL)) {
        struct bnx_pool_object *object = cache->free;
        cache->free = object->next;
        cache->count--;
        return object;
    }
    return bnx_pool_refill(pool, cache, out_error);
}

/** Gives an object back. cache as in bnx_pool_get. Never fails. */
static inline void bnx_pool_put(struct bnx_pool *pool, struct bnx_pool_cache *cache, void *object) {
    if (bnx_likely(cache != NULL && cache->count < 2 * BNX_POOL_BATCH)) {
        struct bnx_pool_object *freed = object;
        freed->next = cache->free;
        cache->free = freed;
        cache->count++;
        return;
    }
    bnx_pool_spill(pool, cache, object);
}

/** Returns everything in the cache to the pool. */
void bnx_pool_cache_fini(struct bnx_pool *pool, struct bnx_pool_cache *cache);

/**
 * Calls fn for every object ever made, in use or not; fn tells them apart. Stops when fn returns
 * nonzero and returns that. Any thread; objects may change meanwhile.
 */
int bnx_pool_foreach(struct bnx_pool *pool, int (*fn)(void *object, void *arg), void *arg);

#endif
