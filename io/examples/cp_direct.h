/* SPDX-License-Identifier: MIT */
/* Copying a file past the page cache, for cp. */
#ifndef BNX_IO_EXAMPLES_CP_DIRECT_H
#define BNX_IO_EXAMPLES_CP_DIRECT_H

#include <stdint.h>

struct bnx_progress;

/**
 * Copies a file, several pieces at a time.
 * @param from and to are open with O_DIRECT. @param bytes of the file.
 * @param count tasks that read and write, 1 to 64. @param progress counts bytes.
 * Returns 0 or -errno; -EAGAIN: the file has become shorter meanwhile. Context: task, suspends.
 */
int bnx_copy_direct(int from, int to, uint64_t bytes, uint32_t count,
                    struct bnx_progress *progress);

#endif
