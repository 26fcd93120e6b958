/* SPDX-License-Identifier: MIT */
/*
 * Readiness of descriptors: an epoll instance a worker, and who waits for what in it.
 *
 * Concepts
 *   slot     one a descriptor: its waiters (waiter.h), first come first served, and what epoll
 *            looks for on their behalf. Each registration is one-shot and made anew by every wait:
 *            the descriptor is a plain number, and may mean another file than a moment ago.
 *   An event claims the first waiter that wants to read and the first that wants to write; for
 *   those who are left epoll is asked again, and says at once when there is more.
 *   A waiter is told that the descriptor is ready, which may be over when it looks: it tries, and
 *   waits again. While it tries it holds the slot: who closes the descriptor waits for that, lest
 *   the try, or the next wait, meets the file that has the number by then. So it stays with this
 *   poller, wherever its task goes.
 *   The epoll driver sleeps in its worker's poller; on io_uring the ring watches it, as soon as
 *   somebody waits in one.
 *
 * Invariants
 *   Under the lock: a waiter is in a slot's list, or has been claimed, or has been removed. A slot
 *   with waiters is armed for all that they want, or an event for it is on its way to a collect.
 *   From its first wait to its end an op is a waiter of one slot, or holds it, or a close has ended
 *   it. A holder that waits again does both under one lock. So a close that has found neither
 *   leaves nobody behind.
 *
 * Ordering
 *   P1 lock: all slots. Any thread adds, removes and closes; the owner or its rescuer collects.
 *   P2 open: store seq_cst of epoll_fd after it is whole -> load seq_cst by who did not open it.
 *      The opener then looks whether the worker is parked (idle.h), which sets its bit before it
 *      looks here: a worker that does not sleep in its poller never sleeps unaware of it.
 */
#ifndef BNX_IO_POLLER_H
#define BNX_IO_POLLER_H

#include "runtime/lock.h"
#include "runtime/waiter.h"

struct bnx_poll_slot;

struct bnx_poller {
    int epoll_fd;              /* -1 until it is opened; P2 */
    struct bnx_worker *worker; /* whose it is; immutable after init */
    struct bnx_lock lock;
    struct bnx_poll_slot *slots; /* by descriptor; under the lock */
    uint32_t waiting;            /* waiters in all slots; under the lock; for others a hint */
};

/** Prepares a poller that is not open yet. */
void bnx_poller_init(struct bnx_poller *poller, struct bnx_worker *worker);

/** Opens it, unless it is open, and wakes its worker, which may have to watch it from now on.
 * Returns 0, or -errno. Any thread. */
int bnx_poller_open(struct bnx_poller *poller);

/** Also watches this eventfd, edge-triggered. Returns 0, or -errno. Before anybody waits. */
int bnx_poller_watch_wake(struct bnx_poller *poller, int wake_fd);

/** Closes it. Nobody waits in it. */
void bnx_poller_fini(struct bnx_poller *poller);

/** True once it is open. Any thread. */
static inline bool bnx_poller_is_open(const struct bnx_poller *poller) {
    return bnx_load_seq_cst(&poller->epoll_fd) >= 0; /* P2 */
}

/**
 * Registers a waiter for events (POLLIN, POLLOUT, POLLPRI, POLLRDHUP; errors and hang-ups come
 * always). It is claimed with the events as the result; with -EBADF by bnx_poller_close_fd, or
 * where several waited and the descriptor was closed without it.
 * Returns 0; -EPERM: a file that is always ready (a regular file, a directory); -EBADF; -ENOSPC,
 * -ENOMEM. Any thread; the poller is open.
 */
int bnx_poller_add(struct bnx_poller *poller, int fd, unsigned events, struct bnx_waiter *waiter);

/** Ends a registration, whether it was claimed or not. Any thread. */
void bnx_poller_remove(struct bnx_poller *poller, int fd, struct bnx_waiter *waiter);

/**
 * Ends all waits for a descriptor with -EBADF: it is about to be closed. Returns whether a slot of
 * it is still held: to be called again. Any thread.
 */
bool bnx_poller_close_fd(struct bnx_poller *poller, int fd);

/** After the close: ends those that have begun in between, which no event would end. Any thread. */
void bnx_poller_closed_fd(struct bnx_poller *poller, int fd);

/**
 * Wakes whose descriptors are ready, sleeping for the first event until the deadline (0: not at
 * all). *out_wake: the eventfd was written. Returns how many were woken. Owner, or its rescuer.
 */
size_t bnx_poller_collect(struct bnx_poller *poller, uint64_t deadline_ns, bool *out_wake);

/**
 * Waits until a descriptor is ready.
 * @param held the poller whose slot of fd the caller holds from its last wait of this op, or NULL:
 *        then it waits in `poller`. Afterwards: where it waited, if events came, else NULL.
 * Returns the events, > 0; -ECANCELED, -ETIMEDOUT; -EBADF: closed meanwhile; or as
 * bnx_poller_add.
 * Context: task, suspends; the poller is open.
 */
int bnx_poller_wait(struct bnx_poller *poller, int fd, unsigned events, enum bnx_wait_reason reason,
                    struct bnx_poller **held);

/** Lets go of what the last wait has left held, if anything. Any thread. */
void bnx_poller_let_go(struct bnx_poller **held, int fd);

#endif
