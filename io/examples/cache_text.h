/* SPDX-License-Identifier: MIT */
/*
 * Memory of the cache that is counted, and growing text in such memory.
 *
 * Concepts
 *   A budget counts what entries and tables take, another one what long texts take; whoever would
 *   exceed it is refused. They are two, or a full store could not be read any more.
 *   A text begins in memory of its owner, small and not counted, and moves to memory of its own
 *   when it grows. A reset gives that back, so that a connection which waits holds little.
 */
#ifndef BNX_IO_EXAMPLES_CACHE_TEXT_H
#define BNX_IO_EXAMPLES_CACHE_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BNX_CACHE_MALLOC_BYTES 16 /* what malloc adds to a piece, about; counted as well */

struct bnx_cache_budget {
    atomic_size_t used; /* bytes; any thread. Relaxed: a sum, nothing is ordered by it */
    size_t max;         /* immutable once the server listens */
};

struct bnx_cache_text {
    char *data;   /* small, or from malloc and counted */
    size_t bytes; /* in use */
    size_t room;  /* of data */
    char *small;  /* its owner's */
    size_t small_room;
    struct bnx_cache_budget *budget;
    bool has_failed; /* an append found no memory and wrote nothing */
};

/** Allocates and counts; NULL: the budget or the memory is spent. Any thread. */
void *bnx_cache_take(struct bnx_cache_budget *budget, size_t bytes);

/** Frees what bnx_cache_take gave. @param bytes the same number. */
void bnx_cache_give(struct bnx_cache_budget *budget, void *memory, size_t bytes);

/** Makes an empty text. @param small at least one byte, alive as long as the text. */
void bnx_cache_text_init(struct bnx_cache_text *text, struct bnx_cache_budget *budget, char *small,
                         size_t small_room);

/** Empties the text and gives its memory back. */
void bnx_cache_text_reset(struct bnx_cache_text *text);

/** Removes its first bytes; a rest that fits goes back to the small memory. */
void bnx_cache_text_consume(struct bnx_cache_text *text, size_t bytes);

/**
 * Makes room for so many bytes behind those in use.
 * Returns true; false, with has_failed set and nothing else changed: no memory, or too little left
 * of the budget.
 */
bool bnx_cache_text_grow(struct bnx_cache_text *text, size_t bytes);

/** As bnx_cache_text_grow, at once when there is room. */
static inline bool bnx_cache_text_reserve(struct bnx_cache_text *text, size_t bytes) {
    return text->room - text->bytes >= bytes || bnx_cache_text_grow(text, bytes);
}

/** Appends, or sets has_failed. */
static inline void bnx_cache_text_append(struct bnx_cache_text *text, const void *data,
                                         size_t bytes) {
    if (bnx_cache_text_reserve(text, bytes)) {
        memcpy(text->data + text->bytes, data, bytes);
        text->bytes += bytes;
    }
}

#endif
