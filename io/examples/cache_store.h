/* SPDX-License-Identifier: MIT */
/*
 * The keys of the cache, spread by their hash over shards with a lock each.
 *
 * Concepts
 *   Whoever works on a key locks its shard, finds the entry, copies what it needs or changes it,
 *   and unlocks: a short time in which nothing suspends, so the lock is the C library's. Nothing
 *   points into a shard once it is unlocked. Commands on several keys lock one shard after the
 *   other: each key is consistent, all of them together are not a cut in time.
 *
 *   A key whose time has come is gone for everybody who looks; its memory is freed by who looks, or
 *   by bnx_cache_store_expire, which walks the shards that have such keys.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_STORE_H
#define BNX_IO_EXAMPLES_CACHE_STORE_H

#include "io/examples/cache_table.h"

#include <pthread.h>
#include <stdalign.h>

#define BNX_CACHE_SHARDS 64 /* two workers meet in one of 64: rarely; a power of two */
#define BNX_CACHE_KEY_BYTES_MAX (1u << 20)

/* All fields under the lock. */
struct bnx_cache_shard {
    alignas(64) pthread_mutex_t lock; /* held while nothing suspends */
    struct bnx_cache_table table;
    size_t expiring; /* entries with a time */
    size_t cursor;   /* the bucket that the next walk begins with */
    uint64_t hits;   /* of reading commands */
    uint64_t misses;
    uint64_t expired; /* entries whose time had come */
};

struct bnx_cache_store {
    uint64_t secret[2]; /* of the hash; immutable. Peers cannot make keys that collide */
    struct bnx_cache_budget budget;
    atomic_size_t keys; /* any thread; relaxed, as the budget */
    size_t keys_max;    /* immutable once the server listens */
    struct bnx_cache_shard shards[BNX_CACHE_SHARDS];
};

/* A key in its locked shard. */
struct bnx_cache_place {
    struct bnx_cache_store *store;
    struct bnx_cache_shard *shard;
    uint64_t hash;
    const char *key;
    size_t key_bytes;
    struct bnx_cache_entry **link; /* points to its entry; NULL: there is none */
};

/** Sums of INFO. */
struct bnx_cache_sums {
    uint64_t keys, expiring, hits, misses, expired;
};

/** Prepares an empty store. Returns 0 or -errno. */
int bnx_cache_store_init(struct bnx_cache_store *store, size_t bytes_max, size_t keys_max);

/** Frees everything. Nobody uses it any more. */
void bnx_cache_store_fini(struct bnx_cache_store *store);

/**
 * Locks the shard of a key and finds it; an expired entry is gone. Does not suspend, and neither
 * must its caller before bnx_cache_unlock.
 */
void bnx_cache_lock(struct bnx_cache_store *store, const char *key, size_t key_bytes,
                    struct bnx_cache_place *out_place);

/** Ends bnx_cache_lock. */
static inline void bnx_cache_unlock(struct bnx_cache_place *place) {
    pthread_mutex_unlock(&place->shard->lock);
}

/** Returns the entry of a place, or NULL. */
static inline struct bnx_cache_entry *bnx_cache_entry_of(const struct bnx_cache_place *place) {
    return place->link != NULL ? *place->link : NULL;
}

/**
 * Puts a string at a place, whatever was there; its time is never.
 * Returns what was there and is the caller's to free (NULL: nothing, or its memory was used
 * again) in *out_old, and true; false: no memory or too many keys, and nothing changed.
 */
bool bnx_cache_put(struct bnx_cache_place *place, const char *value, size_t bytes,
                   struct bnx_cache_entry **out_old);

/** Puts an empty list or set where nothing is. Returns it, or NULL: no memory, too many keys. */
struct bnx_cache_entry *bnx_cache_add(struct bnx_cache_place *place, enum bnx_cache_kind kind);

/** Takes the entry of a place out: the caller's to free, best unlocked. */
struct bnx_cache_entry *bnx_cache_detach(struct bnx_cache_place *place);

/** Sets when an entry expires; 0: never. */
void bnx_cache_expires_set(struct bnx_cache_place *place, uint64_t expires_ns);

/** Adds a member to a set. Returns 1, 0 when it is in it already, -1: no memory. */
int bnx_cache_set_add(struct bnx_cache_store *store, struct bnx_cache_table *set,
                      const char *member, size_t bytes);

/** Empties one shard. @param index below BNX_CACHE_SHARDS. */
void bnx_cache_shard_flush(struct bnx_cache_store *store, size_t index);

/** Calls fn for each entry of one shard that has not expired: under its lock, so fn must not
 * suspend, and keeps nothing. @param index below BNX_CACHE_SHARDS. */
void bnx_cache_shard_walk(struct bnx_cache_store *store, size_t index,
                          void (*fn)(void *arg, const struct bnx_cache_entry *entry), void *arg);

/**
 * Looks at some entries of each shard that has entries with a time and frees what has expired.
 * Returns whether there were any with a time.
 */
bool bnx_cache_store_expire(struct bnx_cache_store *store);

/** Sums up. */
void bnx_cache_store_sum(struct bnx_cache_store *store, struct bnx_cache_sums *out_sums);

#endif
