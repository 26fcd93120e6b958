/* SPDX-License-Identifier: MIT */
/*
 * A hash table of entries, which grows one bucket at a time (linear hashing).
 *
 * Concepts
 *   There are n buckets; mask is the smallest 2^k - 1 with n <= mask + 1. An entry whose
 *   hash & mask is a bucket that does not exist yet is in the one with that top bit cleared. Each
 *   insert beyond one entry a bucket adds bucket n and moves half of one chain into it: no insert
 *   ever moves the whole table, so none takes long while its shard is locked. What does move at
 *   once, when the array doubles, is an array of pointers.
 *
 * Invariants
 *   mask / 2 < bucket_count <= mask + 1, bucket_count <= room; entry_count is that of all chains.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_TABLE_H
#define BNX_IO_EXAMPLES_CACHE_TABLE_H

#include "io/examples/cache_text.h"

enum bnx_cache_kind {
    BNX_CACHE_STRING, /* the value stands behind the key */
    BNX_CACHE_LIST,
    BNX_CACHE_SET,
    BNX_CACHE_MEMBER, /* of a set: no value */
};

struct bnx_cache_list;
struct bnx_cache_table;

/* One key and its value, in one piece of memory if the value is a string. */
struct bnx_cache_entry {
    struct bnx_cache_entry *next; /* in its chain */
    uint64_t hash;                /* of the key */
    uint64_t expires_ns;          /* bnx_now's clock; 0: never */
    union {
        size_t value_bytes; /* STRING */
        struct bnx_cache_list *list;
        struct bnx_cache_table *set;
    };
    uint32_t value_room; /* STRING: bytes behind the key; else 0 */
    uint32_t key_bytes : 24;
    uint32_t kind : 8; /* enum bnx_cache_kind */
    char data[];       /* the key, then the value */
};

struct bnx_cache_table {
    struct bnx_cache_entry **buckets; /* NULL while it is empty */
    size_t bucket_count;
    size_t room; /* of buckets */
    size_t mask;
    size_t entry_count;
};

/** Finds a key. Returns the link that points to its entry, or NULL. */
struct bnx_cache_entry **bnx_cache_table_find(struct bnx_cache_table *table, uint64_t hash,
                                              const char *key, size_t key_bytes);

/** Adds an entry whose key is not there. Returns false when there is no memory for a first one. */
bool bnx_cache_table_insert(struct bnx_cache_table *table, struct bnx_cache_budget *budget,
                            struct bnx_cache_entry *entry);

/** Takes an entry out. @param link from bnx_cache_table_find. */
static inline struct bnx_cache_entry *bnx_cache_table_remove(struct bnx_cache_table *table,
                                                             struct bnx_cache_entry **link) {
    struct bnx_cache_entry *entry = *link;
    *link = entry->next;
    table->entry_count--;
    return entry;
}

/** Frees its array; the entries are the caller's. */
void bnx_cache_table_fini(struct bnx_cache_table *table, struct bnx_cache_budget *budget);

/** Makes an entry with its key. Returns NULL: no memory. The caller links and owns it. */
struct bnx_cache_entry *bnx_cache_entry_make(struct bnx_cache_budget *budget, uint64_t hash,
                                             const char *key, size_t key_bytes, size_t value_room);

/** Frees an entry with all that it has. A long one takes long: hold no lock. */
void bnx_cache_entry_free(struct bnx_cache_budget *budget, struct bnx_cache_entry *entry);

#endif
