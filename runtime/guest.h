/* SPDX-License-Identifier: MIT */
/*
 * A guest: a runtime whose one worker has no thread of its own and runs in the loop of its host.
 *
 * Concepts
 *   host    the thread that created the runtime. A ring belongs to the thread that made it, so this
 *           thread alone polls and destroys; others may spawn, wake, stop and wait for the end.
 *   visit   one stay of the host inside: the worker is bound to the thread, polls, fires, runs what
 *           is ready, and is unbound. It ends when nothing is ready, or after a millisecond.
 *   away    between two visits. The worker counts as parked (idle.h): whoever has work for it takes
 *           its bit and wakes it, and the watchdog neither watches nor waits for it.
 *   fd      an epoll of an eventfd, written by wakes and by the kernel for each completion, and of
 *           a timerfd, armed to the next timer. The ring's own descriptor would not do: while a
 *           ring with deferred completions is not entered, poll(2) of it stays silent.
 *
 * Protocol, at the end of a visit
 *   1 the parked bit is set          3 the eventfd is read, then `notified` cleared
 *   2 the timerfd is armed           4 the last look (sees_work); found: the guest wakes itself
 *   A wake that finds `notified` set writes nothing: it has put its work where step 4 looks. One
 *   that finds it clear writes, and a late write costs one needless visit. The other order of
 *   step 3 would lose wakes: the read could eat the write of a waker whose mark stays.
 *
 * Ordering
 *   V1 wake: exchange seq_cst of `notified` to 1, after the work was queued -> exchange seq_cst to
 *      0 by the host, before its last look.
 *   V2 visit: store seq_cst of `is_visited`, then the watchdog's kick; see D1 in watchdog.c.
 */
#ifndef BNX_RUNTIME_GUEST_H
#define BNX_RUNTIME_GUEST_H

#include "runtime/atomic.h"

#include <stdbool.h>

struct bnx_future;
struct bnx_runtime;

struct bnx_guest {
    struct bnx_runtime *runtime; /* immutable after open, as are the next four */
    int host_tid;                /* of the thread that created it */
    int epoll_fd;                /* what the host waits for */
    int event_fd;                /* wakes and completions */
    int timer_fd;                /* the next timer */
    uint64_t armed_ns;           /* what the timerfd is set to; host */
    BNX_APART uint32_t notified; /* a wake has been written, or will be at once; any thread; V1 */
    uint32_t is_visited;         /* the host is inside; host; V2 */
};

/**
 * Makes the calling thread the host of the runtime's worker and opens the driver on it.
 * Returns 0; -ENOMEM, -EMFILE, -ENOSYS (the simulated machine), or as the driver's open.
 */
int bnx_guest_open(struct bnx_runtime *runtime);

/** A last visit, for messages; then closes driver and descriptors. Host; no task is left. */
void bnx_guest_close(struct bnx_runtime *runtime);

/** Makes the fd readable: work was put where the worker looks. Any thread. */
void bnx_guest_wake(struct bnx_guest *guest);

/** True on the host's thread. */
bool bnx_guest_is_host(const struct bnx_guest *guest);

/** One visit. Returns how many switches it made. Host, not inside a task. */
uint64_t bnx_guest_visit(struct bnx_guest *guest);

/** Sleeps until the fd is readable. False: the deadline has come, or a signal. Host. */
bool bnx_guest_wait(struct bnx_guest *guest, uint64_t deadline_ns);

/** Visits until the future, which is set and never failed, is done. Host. */
int bnx_guest_visit_until_set(struct bnx_guest *guest, struct bnx_future *future, void **out_value);

/** Visits until no task is left: 0; -ETIMEDOUT. Host. */
int bnx_guest_visit_until_empty(struct bnx_guest *guest, uint64_t deadline_ns);

/** True while the host is not inside. Any thread. */
static inline bool bnx_guest_is_away(const struct bnx_guest *guest) {
    return bnx_load_seq_cst(&guest->is_visited) == 0; /* V2 */
}

#endif
