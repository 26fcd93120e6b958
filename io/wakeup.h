/* SPDX-License-Identifier: MIT */
/*
 * The wake of a worker that sleeps: any thread sends it, the worker waits for it.
 *
 * Concepts
 *   A worker that waits for anything else too, a completion, a descriptor, sleeps where that comes,
 *   and watches an eventfd there, which a wake writes. One that waits for wakes alone sleeps on a
 *   word: a futex costs both sides less than an eventfd and the ring that watches it. The whole
 *   wake of `taskset -c 1 chrt -f 50 bonxie-bench --benchmark_filter=BM_WorkerWake/parked` takes
 *   3.05 us instead of 3.37, the bare futex 2.66 (medians of nine, alternating, on a 2-vCPU Xeon
 *   guest, Linux 6.18). On two CPUs the interrupt that wakes the other one, 13 us there, hides it.
 *   The word tells the sender which of the two it is.
 *   Rejected: a futex wait in the ring (IORING_OP_FUTEX_WAIT) in place of the eventfd, armed anew
 *   for each sleep: 3.4 us a bare wake against 3.2 with the poll, which stays armed.
 *
 * Invariants
 *   word is NONE, SENT, or ASLEEP. The owner alone makes it ASLEEP, out of NONE, and NONE; senders
 *   make it SENT. It stays SENT from a sender's step until the owner has looked.
 *
 * Ordering
 *   U1 wake: a sender puts its work into a queue, then exchanges seq_cst the word for SENT. The
 *      owner, when a wake has come, exchanges seq_cst the word for NONE and only then looks at the
 *      queues. A sender that finds SENT leaves it at that: its work came before that look.
 *   U2 sleep: the owner's CAS seq_cst NONE -> ASLEEP, then the futex wait, in which the kernel
 *      compares the word once more. A sender before the CAS makes it fail: the eventfd is written
 *      or about to be, and the owner sleeps where it is watched. One after the CAS finds ASLEEP and
 *      wakes the word; when it comes before the wait, the comparison fails. So the kind of the wake
 *      is always the kind of the sleep.
 *      An eventfd write may be late and show after the owner has looked, even while it sleeps on
 *      the word: its sender's work was seen at that look. It costs a look for nothing later.
 */
#ifndef BNX_IO_WAKEUP_H
#define BNX_IO_WAKEUP_H

#include "runtime/atomic.h"

enum bnx_wakeup_word {
    BNX_WAKEUP_NONE,
    BNX_WAKEUP_SENT,  /* a wake is on its way */
    BNX_WAKEUP_ASLEEP /* the owner sleeps on the word, or is about to */
};

struct bnx_wakeup {
    int fd;                  /* the eventfd; immutable after init */
    BNX_APART uint32_t word; /* enum bnx_wakeup_word, a futex; any thread; U1 U2 */
};

/** Opens the eventfd. Returns 0 or -errno. */
int bnx_wakeup_init(struct bnx_wakeup *wakeup);
void bnx_wakeup_fini(struct bnx_wakeup *wakeup);

/** Ends the owner's current sleep or its next one. Any thread, after putting the work. */
void bnx_wakeup_send(struct bnx_wakeup *wakeup);

/** The eventfd was seen written: takes the wake. Owner, before it looks at the queues. */
void bnx_wakeup_take(struct bnx_wakeup *wakeup);

/** Whether a wake is on its way. Any thread, a hint. */
static inline bool bnx_wakeup_is_sent(const struct bnx_wakeup *wakeup) {
    return bnx_load_relaxed(&wakeup->word) == BNX_WAKEUP_SENT; /* a hint */
}

/**
 * Sleeps on the word until a wake or the deadline, or less, and takes the wake. Owner, when nothing
 * but a wake could give it work. False: one is coming by the eventfd, and nobody has slept.
 */
bool bnx_wakeup_sleep(struct bnx_wakeup *wakeup, uint64_t deadline_ns);

#endif
