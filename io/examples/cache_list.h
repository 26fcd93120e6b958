/* SPDX-License-Identifier: MIT */
/*
 * A list that is pushed to and popped from at its head: blocks of items.
 *
 * Concepts
 *   A block fills from its end downward, so the newest item is the first of the first block. An
 *   item is its length in four bytes, then its bytes. A push into a block that has room costs no
 *   allocation.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_LIST_H
#define BNX_IO_EXAMPLES_CACHE_LIST_H

#include "io/examples/cache_text.h"

struct bnx_cache_block {
    struct bnx_cache_block *next; /* with older items */
    uint32_t count;               /* of its items */
    uint32_t begin;               /* where the newest of them stands */
    uint32_t room;
    char data[];
};

struct bnx_cache_list {
    struct bnx_cache_block *first;
    size_t count; /* of all items */
};

/** Makes an empty list; NULL: no memory. */
struct bnx_cache_list *bnx_cache_list_make(struct bnx_cache_budget *budget);

/** Frees a list and its items. */
void bnx_cache_list_free(struct bnx_cache_budget *budget, struct bnx_cache_list *list);

/** Pushes an item. Returns false: no memory. */
bool bnx_cache_list_push(struct bnx_cache_budget *budget, struct bnx_cache_list *list,
                         const char *item, size_t bytes);

/** Gives the newest item, borrowed until the list changes. The list is not empty. */
const char *bnx_cache_list_head(const struct bnx_cache_list *list, size_t *out_bytes);

/** Removes the newest item. The list is not empty. */
void bnx_cache_list_drop(struct bnx_cache_budget *budget, struct bnx_cache_list *list);

/** Calls fn with count items, the newest but `skipped` first; there are as many. */
void bnx_cache_list_walk(const struct bnx_cache_list *list, size_t skipped, size_t count,
                         void (*fn)(struct bnx_cache_text *, const void *, size_t),
                         struct bnx_cache_text *reply);

#endif
