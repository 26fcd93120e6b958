/* SPDX-License-Identifier: MIT */
/*
 * Who is at which descriptor, so that bnx_close leaves nobody behind who would meet the next file
 * of that number.
 *
 * Concepts
 *   count    one a driver and descriptor: its operations in flight there (of rings), and its steps.
 *            A close asks a worker to end the former; of the latter it has nothing to end, and the
 *            worker may be held by a system call of one. So the two are told apart: an operation
 *            counts for BNX_FD_OP steps. More steps than that only make the close ask in vain.
 *   closes   one a number, of the whole process: how often bnx_close was called with it.
 *   step     a call of several steps at a descriptor (a wait, then a system call; an operation that
 *            is begun again) has nothing in flight between two of them. It remembers `closes` when
 *            it begins. Each further step is counted, and refused with -EBADF when the number has
 *            been closed since. Where a step waits, it waits at this same descriptor alone: the
 *            close ends that wait, and then waits for the step. But a copy's piece is one system
 *            call at two descriptors, made by a thread: a close of either waits until it is over.
 *   library  what does its own system calls on a descriptor has steps as well (bonxie/ready.h).
 *
 * Invariants
 *   While a step goes on, its count stands, and so the descriptor is the one it was when the call
 *   began. A close that has found all counts 0 in one pass leaves no step behind: one that it has
 *   not seen is refused.
 *
 * Ordering
 *   O1: fetch_add seq_cst of the count, then load seq_cst of `closes` <-> the closer's fetch_add
 *   seq_cst of `closes`, then load seq_cst of the count: one of the two sees the other. fetch_sub
 *   seq_cst of the count -> that load: what was done before is done. Any thread.
 */
#ifndef BNX_IO_FD_COUNTS_H
#define BNX_IO_FD_COUNTS_H

#include "runtime/atomic.h"
#include "runtime/os.h"

#include <bonxie/ready.h>

#include <errno.h>
#include <sys/mman.h>

#define BNX_COUNTED_FDS (1 << 20) /* untouched pages cost nothing; the kernel's usual hard limit */

/* What each adds to a count. 4 million operations a worker and descriptor: more than there are
 * tasks. */
#define BNX_FD_STEP 1u
#define BNX_FD_OP (1u << 10)

struct bnx_fd_counts {
    uint32_t *counts; /* by descriptor; O1 */
};

/* How often each number has been closed; wraps. O1. */
extern uint32_t bnx_fd_closes[BNX_COUNTED_FDS];

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
static inline void bnx_fd_counts_add(struct bnx_fd_counts *self, int fd, uint32_t what) {
    if ((unsigned)fd < BNX_COUNTED_FDS) {
        (void)bnx_fetch_add_seq_cst(&self->counts[fd], what); /* O1 */
    }
}

static inline void bnx_fd_counts_sub(struct bnx_fd_counts *self, int fd, uint32_t what) {
    if ((unsigned)fd < BNX_COUNTED_FDS) {
        (void)bnx_fetch_sub_seq_cst(&self->counts[fd], what); /* O1 */
    }
}

static inline uint32_t bnx_fd_counts_get(const struct bnx_fd_counts *self, int fd) {
    return (unsigned)fd < BNX_COUNTED_FDS ? bnx_load_seq_cst(&self->counts[fd]) : 0; /* O1 */
}

/** The number is about to be closed: steps that are not counted by now are refused. */
static inline void bnx_fd_closes_note(int fd) {
    if ((unsigned)fd < BNX_COUNTED_FDS) {
        (void)bnx_fetch_add_seq_cst(&bnx_fd_closes[fd], 1); /* O1 */
    }
}

/* ---- Steps ---- */

static inline uint32_t bnx_fd_closes_of(int fd) {
    return (unsigned)fd < BNX_COUNTED_FDS ? bnx_load_seq_cst(&bnx_fd_closes[fd]) : 0; /* O1 */
}

/** A call begins. Before its first step, which needs nothing else. */
static inline void bnx_fd_steps_init(struct bnx_fd_steps *self, int fd) {
    self->fd = fd;
    self->closes = bnx_fd_closes_of(fd);
}

/** Whether the descriptor has been closed, or is about to be: nothing more is to be begun there. */
static inline bool bnx_fd_steps_are_over(const struct bnx_fd_steps *self) {
    return bnx_fd_closes_of(self->fd) != self->closes && !BNX_PLANT(fd_step_after_close);
}

/** Begins a step, counted there. Returns 0, or -EBADF: the descriptor was closed. Any thread. */
static inline int bnx_fd_step_begin(struct bnx_fd_steps *self, struct bnx_fd_counts *counts) {
    self->counts = counts;
    bnx_fd_counts_add(counts, BNX_PLANT(fd_step_is_not_counted) ? -1 : self->fd, BNX_FD_STEP);
    if (bnx_unlikely(bnx_fd_steps_are_over(self))) {
        bnx_fd_counts_sub(counts, BNX_PLANT(fd_step_is_not_counted) ? -1 : self->fd, BNX_FD_STEP);
        return -EBADF;
    }
    return 0;
}

static inline void bnx_fd_step_end(struct bnx_fd_steps *self) {
    bnx_fd_counts_sub(self->counts, BNX_PLANT(fd_step_is_not_counted) ? -1 : self->fd, BNX_FD_STEP);
}

#endif
