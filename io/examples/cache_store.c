/* SPDX-License-Identifier: MIT */
/* The shards of the cache. */
#include "io/examples/cache_store.h"

#include "io/examples/cache_list.h"

#include <bonxie/time.h>

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

#define EXPIRE_BUCKETS 64 /* of a shard in one hold of its lock, some microseconds */
#define EXPIRE_ROUNDS 64  /* in a row while a quarter of what was looked at had expired */

__extension__ typedef unsigned __int128 wide;

static uint64_t mix(uint64_t a, uint64_t b) {
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* A multiply a word, keyed: who does not know the secret cannot aim at a bucket. */
static uint64_t hash_of(const struct bnx_cache_store *store, const char *data, size_t bytes) {
    uint64_t hash = store->secret[0] ^ bytes;
    uint64_t word = 0;
    for (; bytes >= sizeof(word); data += sizeof(word), bytes -= sizeof(word)) {
        memcpy(&word, data, sizeof(word));
        hash = mix(hash ^ word, store->secret[1]);
    }
    word = 0;
    for (size_t i = 0; i < bytes; i++) {
        word |= (uint64_t)(unsigned char)data[i] << (8 * i);
    }
    return mix(hash ^ word, store->secret[1] ^ store->secret[0]);
}

int bnx_cache_store_init(struct bnx_cache_store *store, size_t bytes_max, size_t keys_max) {
    memset(store, 0, sizeof(*store));
    if (getrandom(store->secret, sizeof(store->secret), 0) != (ssize_t)sizeof(store->secret)) {
        return -errno;
    }
    store->secret[1] |= 1;
    store->budget.max = bytes_max;
    store->keys_max = keys_max;
    for (size_t i = 0; i < BNX_CACHE_SHARDS; i++) {
        int error = pthread_mutex_init(&store->shards[i].lock, NULL);
        if (error != 0) {
            return -error;
        }
    }
    return 0;
}

void bnx_cache_store_fini(struct bnx_cache_store *store) {
    for (size_t i = 0; i < BNX_CACHE_SHARDS; i++) {
        bnx_cache_shard_flush(store, i);
        pthread_mutex_destroy(&store->shards[i].lock);
    }
}

static bool has_expired(const struct bnx_cache_entry *entry, uint64_t now_ns) {
    return entry->expires_ns != 0 && now_ns >= entry->expires_ns;
}

static struct bnx_cache_entry *shard_remove(struct bnx_cache_store *store,
                                            struct bnx_cache_shard *shard,
                                            struct bnx_cache_entry **link) {
    struct bnx_cache_entry *entry = bnx_cache_table_remove(&shard->table, link);
    shard->expiring -= entry->expires_ns != 0;
    atomic_fetch_sub_explicit(&store->keys, 1, memory_order_relaxed);
    return entry;
}

void bnx_cache_lock(struct bnx_cache_store *store, const char *key, size_t key_bytes,
                    struct bnx_cache_place *out_place) {
    uint64_t hash = hash_of(store, key, key_bytes);
    struct bnx_cache_shard *shard = &store->shards[hash >> 58];
    static_assert(BNX_CACHE_SHARDS == 1 << (64 - 58), "the top bits choose among all shards");
    pthread_mutex_lock(&shard->lock);
    struct bnx_cache_entry **link = bnx_cache_table_find(&shard->table, hash, key, key_bytes);
    if (link != NULL && (*link)->expires_ns != 0 && has_expired(*link, bnx_now())) {
        bnx_cache_entry_free(&store->budget, shard_remove(store, shard, link));
        shard->expired++;
        link = NULL;
    }
    *out_place = (struct bnx_cache_place){.store = store,
                                          .shard = shard,
                                          .hash = hash,
                                          .key = key,
                                          .key_bytes = key_bytes,
                                          .link = link};
}

/* Adds an entry where there is none. Returns false, with the entry freed, when that cannot be. */
static bool place_insert(struct bnx_cache_place *place, struct bnx_cache_entry *entry) {
    struct bnx_cache_store *store = place->store;
    size_t before = atomic_fetch_add_explicit(&store->keys, 1, memory_order_relaxed);
    if (before >= store->keys_max ||
        !bnx_cache_table_insert(&place->shard->table, &store->budget, entry)) {
        atomic_fetch_sub_explicit(&store->keys, 1, memory_order_relaxed);
        bnx_cache_entry_free(&store->budget, entry);
        return false;
    }
    place->link =
        bnx_cache_table_find(&place->shard->table, place->hash, place->key, place->key_bytes);
    return true;
}

bool bnx_cache_put(struct bnx_cache_place *place, const char *value, size_t bytes,
                   struct bnx_cache_entry **out_old) {
    struct bnx_cache_entry *old = bnx_cache_entry_of(place);
    *out_old = NULL;
    /* In place when it fits, and does not leave most of a long one's memory unused. */
    if (old == NULL || old->kind != BNX_CACHE_STRING || bytes > old->value_room ||
        old->value_room > 2 * bytes + 64) {
        size_t room = (bytes + 15) & ~(size_t)15;
        struct bnx_cache_entry *entry = bnx_cache_entry_make(&place->store->budget, place->hash,
                                                             place->key, place->key_bytes, room);
        if (entry == NULL) {
            return false;
        }
        entry->kind = BNX_CACHE_STRING;
        if (old == NULL) {
            if (!place_insert(place, entry)) {
                return false;
            }
        } else {
            bnx_cache_expires_set(place, 0);
            entry->next = old->next;
            *place->link = entry;
            *out_old = old;
        }
    }
    struct bnx_cache_entry *entry = bnx_cache_entry_of(place);
    bnx_cache_expires_set(place, 0);
    memcpy(entry->data + entry->key_bytes, value, bytes);
    entry->value_bytes = bytes;
    return true;
}

struct bnx_cache_entry *bnx_cache_add(struct bnx_cache_place *place, enum bnx_cache_kind kind) {
    struct bnx_cache_budget *budget = &place->store->budget;
    struct bnx_cache_list *list = NULL;
    struct bnx_cache_table *set = NULL;
    if (kind == BNX_CACHE_LIST) {
        list = bnx_cache_list_make(budget);
    } else {
        set = bnx_cache_take(budget, sizeof(*set));
    }
    struct bnx_cache_entry *entry = NULL;
    if (list != NULL || set != NULL) {
        entry = bnx_cache_entry_make(budget, place->hash, place->key, place->key_bytes, 0);
    }
    if (entry == NULL) {
        bnx_cache_give(budget, list, sizeof(*list));
        bnx_cache_give(budget, set, sizeof(*set));
        return NULL;
    }
    entry->kind = kind & 0xffu;
    if (kind == BNX_CACHE_LIST) {
        entry->list = list;
    } else {
        *set = (struct bnx_cache_table){0};
        entry->set = set;
    }
    return place_insert(place, entry) ? entry : NULL;
}

struct bnx_cache_entry *bnx_cache_detach(struct bnx_cache_place *place) {
    struct bnx_cache_entry *entry = shard_remove(place->store, place->shard, place->link);
    place->link = NULL;
    return entry;
}

void bnx_cache_expires_set(struct bnx_cache_place *place, uint64_t expires_ns) {
    struct bnx_cache_entry *entry = *place->link;
    place->shard->expiring += (size_t)(expires_ns != 0) - (size_t)(entry->expires_ns != 0);
    entry->expires_ns = expires_ns;
}

int bnx_cache_set_add(struct bnx_cache_store *store, struct bnx_cache_table *set,
                      const char *member, size_t bytes) {
    uint64_t hash = hash_of(store, member, bytes);
    if (bnx_cache_table_find(set, hash, member, bytes) != NULL) {
        return 0;
    }
    struct bnx_cache_entry *entry = bnx_cache_entry_make(&store->budget, hash, member, bytes, 0);
    if (entry == NULL) {
        return -1;
    }
    entry->kind = BNX_CACHE_MEMBER;
    if (!bnx_cache_table_insert(set, &store->budget, entry)) {
        bnx_cache_entry_free(&store->budget, entry);
        return -1;
    }
    return 1;
}

void bnx_cache_shard_flush(struct bnx_cache_store *store, size_t index) {
    struct bnx_cache_shard *shard = &store->shards[index];
    pthread_mutex_lock(&shard->lock);
    struct bnx_cache_table table = shard->table;
    shard->table = (struct bnx_cache_table){0};
    shard->expiring = 0;
    shard->cursor = 0;
    pthread_mutex_unlock(&shard->lock);
    atomic_fetch_sub_explicit(&store->keys, table.entry_count, memory_order_relaxed);
    for (size_t i = 0; i < table.bucket_count; i++) {
        for (struct bnx_cache_entry *at = table.buckets[i], *next = NULL; at != NULL; at = next) {
            next = at->next;
            bnx_cache_entry_free(&store->budget, at);
        }
    }
    bnx_cache_table_fini(&table, &store->budget);
}

void bnx_cache_shard_walk(struct bnx_cache_store *store, size_t index,
                          void (*fn)(void *arg, const struct bnx_cache_entry *entry), void *arg) {
    struct bnx_cache_shard *shard = &store->shards[index];
    uint64_t now_ns = bnx_now();
    pthread_mutex_lock(&shard->lock);
    for (size_t i = 0; i < shard->table.bucket_count; i++) {
        const struct bnx_cache_entry *at = shard->table.buckets[i];
        for (; at != NULL; at = at->next) {
            if (!has_expired(at, now_ns)) {
                fn(arg, at);
            }
        }
    }
    pthread_mutex_unlock(&shard->lock);
}

/* Walks some buckets. Returns whether it is worth going on at once; *has_timed is set, or left. */
static bool shard_expire(struct bnx_cache_store *store, struct bnx_cache_shard *shard,
                         bool *has_timed) {
    struct bnx_cache_entry *dead = NULL;
    size_t looked = 0;
    size_t expired = 0;
    pthread_mutex_lock(&shard->lock);
    *has_timed = *has_timed || shard->expiring > 0;
    size_t buckets = shard->expiring > 0 ? shard->table.bucket_count : 0;
    buckets = buckets < EXPIRE_BUCKETS ? buckets : EXPIRE_BUCKETS;
    uint64_t now_ns = buckets > 0 ? bnx_now() : 0;
    for (size_t i = 0; i < buckets; i++) {
        shard->cursor = shard->cursor + 1 < shard->table.bucket_count ? shard->cursor + 1 : 0;
        struct bnx_cache_entry **link = &shard->table.buckets[shard->cursor];
        while (*link != NULL) {
            looked += (*link)->expires_ns != 0;
            if (!has_expired(*link, now_ns)) {
                link = &(*link)->next;
                continue;
            }
            struct bnx_cache_entry *entry = shard_remove(store, shard, link);
            entry->next = dead;
            dead = entry;
            expired++;
        }
    }
    shard->expired += expired;
    pthread_mutex_unlock(&shard->lock);
    for (struct bnx_cache_entry *next = NULL; dead != NULL; dead = next) {
        next = dead->next;
        bnx_cache_entry_free(&store->budget, dead);
    }
    return expired > 0 && expired * 4 >= looked;
}

bool bnx_cache_store_expire(struct bnx_cache_store *store) {
    bool has_timed = false;
    for (size_t i = 0; i < BNX_CACHE_SHARDS; i++) {
        int round = 0;
        while (round < EXPIRE_ROUNDS && shard_expire(store, &store->shards[i], &has_timed)) {
            round++;
        }
    }
    return has_timed;
}

void bnx_cache_store_sum(struct bnx_cache_store *store, struct bnx_cache_sums *out_sums) {
    struct bnx_cache_sums sums = {0};
    for (size_t i = 0; i < BNX_CACHE_SHARDS; i++) {
        struct bnx_cache_shard *shard = &store->shards[i];
        pthread_mutex_lock(&shard->lock);
        sums.keys += shard->table.entry_count;
        sums.expiring += shard->expiring;
        sums.hits += shard->hits;
        sums.misses += shard->misses;
        sums.expired += shard->expired;
        pthread_mutex_unlock(&shard->lock);
    }
    *out_sums = sums;
}
