/* SPDX-License-Identifier: MIT */
/* Counts the cache's memory and grows its texts. */
#include "io/examples/cache_text.h"

#include <stdlib.h>

#define GROWN_BYTES_MIN 16384 /* the first piece of a text's own: a busy peer's turn fits */

void *bnx_cache_take(struct bnx_cache_budget *budget, size_t bytes) {
    size_t counted = bytes + BNX_CACHE_MALLOC_BYTES;
    size_t before = atomic_fetch_add_explicit(&budget->used, counted, memory_order_relaxed);
    void *memory = counted > budget->max || before > budget->max - counted ? NULL : malloc(bytes);
    if (memory == NULL) {
        atomic_fetch_sub_explicit(&budget->used, counted, memory_order_relaxed);
    }
    return memory;
}

void bnx_cache_give(struct bnx_cache_budget *budget, void *memory, size_t bytes) {
    if (memory != NULL) {
        free(memory);
        atomic_fetch_sub_explicit(&budget->used, bytes + BNX_CACHE_MALLOC_BYTES,
                                  memory_order_relaxed);
    }
}

void bnx_cache_text_init(struct bnx_cache_text *text, struct bnx_cache_budget *budget, char *small,
                         size_t small_room) {
    *text = (struct bnx_cache_text){.data = small,
                                    .room = small_room,
                                    .small = small,
                                    .small_room = small_room,
                                    .budget = budget};
}

static void grown_give(struct bnx_cache_text *text) {
    if (text->data != text->small) {
        bnx_cache_give(text->budget, text->data, text->room);
    }
}

void bnx_cache_text_reset(struct bnx_cache_text *text) {
    grown_give(text);
    bnx_cache_text_init(text, text->budget, text->small, text->small_room);
}

void bnx_cache_text_consume(struct bnx_cache_text *text, size_t bytes) {
    size_t rest = text->bytes - bytes;
    if (text->data != text->small && rest <= text->small_room / 2) {
        memcpy(text->small, text->data + bytes, rest);
        bnx_cache_text_reset(text);
        text->bytes = rest;
        return;
    }
    memmove(text->data, text->data + bytes, rest);
    text->bytes = rest;
}

bool bnx_cache_text_grow(struct bnx_cache_text *text, size_t bytes) {
    if (text->room - text->bytes >= bytes) {
        return true;
    }
    size_t room = text->room * 2 > GROWN_BYTES_MIN ? text->room * 2 : GROWN_BYTES_MIN;
    if (room - text->bytes < bytes) {
        room = text->bytes + bytes;
    }
    char *data = bnx_cache_take(text->budget, room);
    if (data == NULL) {
        text->has_failed = true;
        return false;
    }
    memcpy(data, text->data, text->bytes);
    grown_give(text);
    text->data = data;
    text->room = room;
    return true;
}
