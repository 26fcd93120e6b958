/* SPDX-License-Identifier: MIT */
/*
 * One io_uring of one thread: liburing's structures, our own syscalls.
 *
 * Concepts
 *   liburing maps the queues and hands out SQEs; setup, enter and register go through the table in
 *   os.h, so that each of them can fail in a test. Nobody else includes liburing.h.
 *   Flags: SINGLE_ISSUER and DEFER_TASKRUN (completion work runs when the owner enters, not in
 *   interrupts: 20-43 % of throughput when inline syscalls are mixed in), TASKRUN_FLAG (pending
 *   work shows in memory), SUBMIT_ALL, CLAMP.
 *   What Linux 6.1 has in opcodes is taken for granted, unless the kernel, asked once a ring, says
 *   that it was built without one that has a substitute.
 *   The last slots of the submission queue (BNX_RING_RESERVED, or a quarter of a small one) are for
 *   cancels: a cancel is never refused for want of room.
 *
 * Sections
 *   The rescue signal's handler fills and enters the ring of the thread that it interrupts. While
 *   that thread is itself in a section (between taking an SQE and finishing it, inside enter, or
 *   where the driver says so), the handler only leaves a mark, and the ring is entered when the
 *   section ends.
 *
 * Ordering
 *   C1 queues  the kernel is the other side: SQ tail store-release, SQ head load-acquire, CQ tail
 *              load-acquire, CQ head store-release.
 *   C2 memory  a ring's munmap -> the mmap of one that gets the same memory: by the lock of the
 *              address space, in the kernel. We announce it to ThreadSanitizer.
 */
#ifndef BNX_IO_RING_H
#define BNX_IO_RING_H

#include "runtime/atomic.h"
#include "runtime/os.h"

#include "io/ring_abi.h"

#include <liburing.h>

#define BNX_RING_SQ_ENTRIES BNX_CAPACITY(256u, 16u)
#define BNX_RING_CQ_ENTRIES BNX_CAPACITY(2048u, 32u)
#define BNX_RING_RESERVED BNX_CAPACITY(16u, 4u)

struct bnx_ring {
    struct io_uring uring; /* owner; the CQ head also by a rescuer under the service lock */
    int enter_fd;          /* registered index, or the fd itself; immutable after init */
    unsigned enter_flags;  /* of every enter; immutable after init */
    unsigned reserved;     /* SQ slots for cancels alone; immutable after init */
    bool has_no_iowait;    /* immutable after init */
    bool has_min_wait;     /* immutable after init */
    bool lacks_any;        /* of the next, some are not there; immutable after init */
    bool has_openat2;      /* immutable after init */
    bool has_send_zc;      /* immutable after init */
    uint32_t sections;     /* depth; owner and the signal handler on its thread; relaxed */
    uint32_t is_marked;    /* as above: the handler wanted to enter */
};

/**
 * Opens a ring on the calling thread, which alone may use it.
 * Returns 0; -ENOSYS, -EPERM, -EACCES: refused; -EINVAL: the kernel lacks a flag; -ENOMEM even with
 * the smallest queues; -EMFILE.
 */
int bnx_ring_init(struct bnx_ring *ring);
void bnx_ring_fini(struct bnx_ring *ring);

/** Begins and ends a section; they nest. */
static inline void bnx_ring_section_enter(struct bnx_ring *ring) {
    /* Relaxed: one thread, so the compiler's order is enough. */
    bnx_store_relaxed(&ring->sections, ring->sections + 1);
    bnx_compiler_barrier();
}
void bnx_ring_section_leave(struct bnx_ring *ring);

/**
 * Takes an SQE, zeroed, and begins a section. NULL: only reserved slots are left (for a cancel: not
 * even those), and no section has begun.
 */
struct io_uring_sqe *bnx_ring_take(struct bnx_ring *ring, bool is_cancel);

/** The SQE is complete: ends the section. */
static inline void bnx_ring_put(struct bnx_ring *ring) {
    bnx_ring_section_leave(ring);
}

/** How many SQEs wait for submission. */
static inline unsigned bnx_ring_unsubmitted(const struct bnx_ring *ring) {
    return ring->uring.sq.sqe_tail - bnx_load_acquire(ring->uring.sq.khead); /* C1 */
}

/** Submits everything and lets the kernel post what has completed. Returns 0 or -errno. */
int bnx_ring_flush(struct bnx_ring *ring);

/* How long a sleep lasts, at most. */
struct bnx_ring_sleep {
    uint64_t deadline_ns;
    uint64_t min_wait_ns; /* after that one completion ends it; not beyond the deadline */
    uint32_t completions; /* so many end it at once; more than 1 only with has_min_wait */
};

/** As flush, then sleeps as it says. Returns 0, -ETIME, -EINTR, -errno. */
int bnx_ring_wait(struct bnx_ring *ring, const struct bnx_ring_sleep *sleep);

/**
 * From now on the kernel writes the eventfd for each completion, also for one that it holds back
 * until the ring is entered; poll(2) of the ring itself says nothing of those (Linux 6.18).
 * Returns 0 or -errno.
 */
int bnx_ring_notify(struct bnx_ring *ring, int eventfd);

/** In the signal handler: true when it may use the ring; else a mark is left. */
static inline bool bnx_ring_may_nudge(struct bnx_ring *ring) {
    if (bnx_load_relaxed(&ring->sections) == 0) { /* one thread */
        return true;
    }
    bnx_store_relaxed(&ring->is_marked, 1); /* one thread */
    return false;
}

/** True when completions are visible or held back by the kernel. Any thread; from memory alone. */
static inline bool bnx_ring_is_pending(const struct bnx_ring *ring) {
    /* Relaxed, all three: a hint that is followed by a real look. */
    return bnx_load_relaxed(ring->uring.cq.ktail) != bnx_load_relaxed(ring->uring.cq.khead) ||
           (bnx_load_relaxed(ring->uring.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

#endif
