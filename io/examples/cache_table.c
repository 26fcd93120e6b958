/* SPDX-License-Identifier: MIT */
/* The cache's hash table and its entries. */
#include "io/examples/cache_table.h"

#include "io/examples/cache_list.h"

#define BUCKETS_MIN 4

static size_t bucket_of(const struct bnx_cache_table *table, uint64_t hash) {
    size_t index = hash & table->mask;
    return index < table->bucket_count ? index : index & (table->mask >> 1);
}

struct bnx_cache_entry **bnx_cache_table_find(struct bnx_cache_table *table, uint64_t hash,
                                              const char *key, size_t key_bytes) {
    if (table->entry_count == 0) {
        return NULL;
    }
    struct bnx_cache_entry **link = &table->buckets[bucket_of(table, hash)];
    for (; *link != NULL; link = &(*link)->next) {
        const struct bnx_cache_entry *entry = *link;
        if (entry->hash == hash && entry->key_bytes == key_bytes &&
            memcmp(entry->data, key, key_bytes) == 0) {
            return link;
        }
    }
    return NULL;
}

/* Makes room for more buckets. Returns false: no memory, which costs longer chains, no more. */
static bool array_grow(struct bnx_cache_table *table, struct bnx_cache_budget *budget) {
    size_t room = table->room > 0 ? table->room * 2 : BUCKETS_MIN;
    struct bnx_cache_entry **buckets =
        bnx_cache_take(budget, room * sizeof(struct bnx_cache_entry *));
    if (buckets == NULL) {
        return false;
    }
    if (table->buckets == NULL) {
        memset(buckets, 0, room * sizeof(struct bnx_cache_entry *));
        table->bucket_count = room;
        table->mask = room - 1;
    } else {
        memcpy(buckets, table->buckets, table->bucket_count * sizeof(struct bnx_cache_entry *));
        bnx_cache_give(budget, table->buckets, table->room * sizeof(struct bnx_cache_entry *));
    }
    table->buckets = buckets;
    table->room = room;
    return true;
}

/* Adds one bucket and moves into it what belongs there. */
static void bucket_split(struct bnx_cache_table *table) {
    size_t added = table->bucket_count++;
    if (added > table->mask) {
        table->mask = table->mask * 2 + 1;
    }
    struct bnx_cache_entry **link = &table->buckets[added & (table->mask >> 1)];
    struct bnx_cache_entry **moved = &table->buckets[added];
    *moved = NULL;
    while (*link != NULL) {
        struct bnx_cache_entry *entry = *link;
        if ((entry->hash & table->mask) != added) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        entry->next = NULL;
        *moved = entry;
        moved = &entry->next;
    }
}

bool bnx_cache_table_insert(struct bnx_cache_table *table, struct bnx_cache_budget *budget,
                            struct bnx_cache_entry *entry) {
    if (table->buckets == NULL && !array_grow(table, budget)) {
        return false;
    }
    if (table->entry_count >= table->bucket_count &&
        (table->bucket_count < table->room || array_grow(table, budget))) {
        bucket_split(table);
    }
    struct bnx_cache_entry **bucket = &table->buckets[bucket_of(table, entry->hash)];
    entry->next = *bucket;
    *bucket = entry;
    table->entry_count++;
    return true;
}

void bnx_cache_table_fini(struct bnx_cache_table *table, struct bnx_cache_budget *budget) {
    bnx_cache_give(budget, table->buckets, table->room * sizeof(struct bnx_cache_entry *));
    *table = (struct bnx_cache_table){0};
}

static size_t entry_bytes(const struct bnx_cache_entry *entry) {
    return sizeof(*entry) + entry->key_bytes + entry->value_room;
}

struct bnx_cache_entry *bnx_cache_entry_make(struct bnx_cache_budget *budget, uint64_t hash,
                                             const char *key, size_t key_bytes, size_t value_room) {
    struct bnx_cache_entry *entry = bnx_cache_take(budget, sizeof(*entry) + key_bytes + value_room);
    if (entry != NULL) {
        *entry = (struct bnx_cache_entry){
            .hash = hash, .value_room = (uint32_t)value_room, .key_bytes = key_bytes & 0xffffffu};
        memcpy(entry->data, key, key_bytes);
    }
    return entry;
}

/* Frees a set's members and the set. */
static void set_free(struct bnx_cache_budget *budget, struct bnx_cache_table *set) {
    for (size_t i = 0; i < set->bucket_count; i++) {
        for (struct bnx_cache_entry *at = set->buckets[i], *next = NULL; at != NULL; at = next) {
            next = at->next;
            bnx_cache_give(budget, at, entry_bytes(at));
        }
    }
    bnx_cache_table_fini(set, budget);
    bnx_cache_give(budget, set, sizeof(*set));
}

void bnx_cache_entry_free(struct bnx_cache_budget *budget, struct bnx_cache_entry *entry) {
    switch ((enum bnx_cache_kind)entry->kind) {
    case BNX_CACHE_STRING:
    case BNX_CACHE_MEMBER:
        break;
    case BNX_CACHE_LIST:
        bnx_cache_list_free(budget, entry->list);
        break;
    case BNX_CACHE_SET:
        set_free(budget, entry->set);
        break;
    }
    bnx_cache_give(budget, entry, entry_bytes(entry));
}
