/* SPDX-License-Identifier: MIT */
/* What a line of progress looks like, apart from when and where it is written. */
#ifndef BNX_RUNTIME_PROGRESS_PVT_H
#define BNX_RUNTIME_PROGRESS_PVT_H

#include <stddef.h>
#include <stdint.h>

#define BNX_PROGRESS_COLUMNS_MAX 250 /* a wider terminal gets a line of this width */

struct bnx_progress_view {
    const char *label; /* NULL or "" = none */
    uint64_t count;
    uint64_t total;      /* 0 = not known */
    uint64_t elapsed_ns; /* since the open */
    uint32_t frame;      /* of the spinner */
    unsigned columns;    /* at most so many characters; a bar where there is room. 0: a plain line,
                            as long as need be, without a bar */
};

/**
 * Writes the line, without end of line, terminated.
 * @param bytes of out; 512 hold every line but for a label of more than 300 characters, of which
 *   the rest is left out.
 * Returns its length.
 */
size_t bnx_progress_format(const struct bnx_progress_view *view, char *out, size_t bytes);

#endif
