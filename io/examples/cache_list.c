/* SPDX-License-Identifier: MIT */
/* The cache's lists. */
#include "io/examples/cache_list.h"

#define FIRST_BLOCK_BYTES 112 /* most lists are short */
#define BLOCK_BYTES 4064      /* with head and malloc's word a page */
#define LENGTH_BYTES sizeof(uint32_t)

struct bnx_cache_list *bnx_cache_list_make(struct bnx_cache_budget *budget) {
    struct bnx_cache_list *list = bnx_cache_take(budget, sizeof(*list));
    if (list != NULL) {
        *list = (struct bnx_cache_list){0};
    }
    return list;
}

static void first_free(struct bnx_cache_budget *budget, struct bnx_cache_list *list) {
    struct bnx_cache_block *block = list->first;
    list->first = block->next;
    bnx_cache_give(budget, block, sizeof(*block) + block->room);
}

void bnx_cache_list_free(struct bnx_cache_budget *budget, struct bnx_cache_list *list) {
    while (list->first != NULL) {
        first_free(budget, list);
    }
    bnx_cache_give(budget, list, sizeof(*list));
}

bool bnx_cache_list_push(struct bnx_cache_budget *budget, struct bnx_cache_list *list,
                         const char *item, size_t bytes) {
    size_t wanted = LENGTH_BYTES + bytes;
    struct bnx_cache_block *block = list->first;
    if (block == NULL || block->begin < wanted) {
        size_t room = block == NULL ? FIRST_BLOCK_BYTES : BLOCK_BYTES;
        room = room > wanted ? room : wanted;
        block = bnx_cache_take(budget, sizeof(*block) + room);
        if (block == NULL) {
            return false;
        }
        *block = (struct bnx_cache_block){
            .next = list->first, .begin = (uint32_t)room, .room = (uint32_t)room};
        list->first = block;
    }
    block->begin -= (uint32_t)wanted;
    uint32_t length = (uint32_t)bytes;
    memcpy(block->data + block->begin, &length, LENGTH_BYTES);
    memcpy(block->data + block->begin + LENGTH_BYTES, item, bytes);
    block->count++;
    list->count++;
    return true;
}

static size_t length_at(const struct bnx_cache_block *block, size_t at) {
    uint32_t length;
    memcpy(&length, block->data + at, LENGTH_BYTES);
    return length;
}

const char *bnx_cache_list_head(const struct bnx_cache_list *list, size_t *out_bytes) {
    const struct bnx_cache_block *block = list->first;
    *out_bytes = length_at(block, block->begin);
    return block->data + block->begin + LENGTH_BYTES;
}

void bnx_cache_list_drop(struct bnx_cache_budget *budget, struct bnx_cache_list *list) {
    struct bnx_cache_block *block = list->first;
    block->begin += (uint32_t)(LENGTH_BYTES + length_at(block, block->begin));
    block->count--;
    list->count--;
    if (block->count == 0) {
        first_free(budget, list);
    }
}

void bnx_cache_list_walk(const struct bnx_cache_list *list, size_t skipped, size_t count,
                         void (*fn)(struct bnx_cache_text *, const void *, size_t),
                         struct bnx_cache_text *reply) {
    const struct bnx_cache_block *block = list->first;
    for (; count > 0 && skipped >= block->count; block = block->next) {
        skipped -= block->count;
    }
    for (; count > 0; block = block->next) {
        size_t at = block->begin;
        for (uint32_t i = 0; i < block->count && count > 0; i++) {
            size_t bytes = length_at(block, at);
            if (skipped > 0) {
                skipped--;
            } else {
                fn(reply, block->data + at + LENGTH_BYTES, bytes);
                count--;
            }
            at += LENGTH_BYTES + bytes;
        }
    }
}
