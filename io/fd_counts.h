/* SPDX-License-Identifier: MIT */
/*
 * How many operations of one ring are at which descriptor: for bnx_close (op.h, O1).
 *
 * Ordering
 *   O1: op.h. Any thread reads; the owner adds; the owner or a rescuer subtracts.
 */
#ifndef BNX_IO_FD_COUNTS_H
#define BNX_IO_FD_COUNTS_H

#include "runtime/atomic.h"
#include "runtime/os.h"

#include <sys/mman.h>

#define BNX_COUNTED_FDS (1 << 20) /* untouched pages cost nothing; the kernel's usual hard limit */

struct bnx_fd_counts {
    uint32_t *counts; /* by descriptor; O1 */
};

/** Returns 0 or -errno. */
static inline int bnx_fd_counts_init(struct bnx_fd_counts *self) {
    int error = 0;
    self->counts = bnx_os.mmap(BNX_COUNTED_FDS * sizeof(self->counts[0]), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &error);
    return self->counts == MAP_FAILED ? error : 0;
}

static inline void bnx_fd_counts_fini(struct bnx_fd_counts *self) {
    (void)bnx_os.munmap(self->counts, BNX_COUNTED_FDS * sizeof(self->counts[0]));
}

/** -1, and what is beyond the table, is not counted. */
static inline void bnx_fd_counts_add(struct bnx_fd_counts *self, int fd) {
    if ((unsigned)fd < BNX_COUNTED_FDS) {
        (void)bnx_fetch_add_seq_cst(&self->counts[fd], 1); /* O1 */
    }
}

static inline void bnx_fd_counts_sub(struct bnx_fd_counts *self, int fd) {
    if ((unsigned)fd < BNX_COUNTED_FDS) {
        (void)bnx_fetch_sub_seq_cst(&self->counts[fd], 1); /* O1 */
    }
}

static inline uint32_t bnx_fd_counts_get(const struct bnx_fd_counts *self, int fd) {
    return (unsigned)fd < BNX_COUNTED_FDS ? bnx_load_seq_cst(&self->counts[fd]) : 0; /* O1 */
}

#endif
