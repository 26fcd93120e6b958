/* SPDX-License-Identifier: MIT */
/*
 * What the two bare io_uring loops share: a ring for one thread, its submissions and its waits.
 *
 * DEFER_TASKRUN, one submit-and-wait a turn.
 */
#ifndef BNX_BENCH_PEERS_BARE_RING_H
#define BNX_BENCH_PEERS_BARE_RING_H

#include "bench/peers/server.h"

#include <liburing.h>
#include <pthread.h>

#define RING_ENTRIES 1024
#define RING_COMPLETIONS 8192
#define RING_BATCH 256 /* completions taken at once */

#ifndef IORING_RECVSEND_POLL_FIRST
#define IORING_RECVSEND_POLL_FIRST (1U << 0)
#endif

static inline void ring_fail(const char *what, int error) {
    errno = -error;
    server_fail(what);
}

/* On the thread that uses it. */
static inline void ring_open(struct io_uring *ring) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = RING_COMPLETIONS,
    };
    int error = io_uring_queue_init_params(RING_ENTRIES, ring, &params);
    if (error < 0) {
        ring_fail("io_uring", error);
    }
    (void)io_uring_register_ring_fd(ring); /* saves a lookup where it works */
}

/* The workers of a server, which says that it listens when each has its ring. */
struct ring_start {
    pthread_barrier_t ready;
    const struct server_options *options;
};

static inline void ring_started(struct ring_start *start) {
    if (pthread_barrier_wait(&start->ready) == PTHREAD_BARRIER_SERIAL_THREAD) {
        server_announce(start->options);
    }
}

static inline bool ring_is_passing(int error) {
    return error == -EAGAIN || error == -EBUSY || error == -EINTR;
}

static inline struct io_uring_sqe *ring_sqe(struct io_uring *ring) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    while (sqe == NULL) { /* ends: the submission empties the queue, or the program ends */
        int submitted = io_uring_submit(ring);
        if (submitted < 0 && !ring_is_passing(submitted)) {
            ring_fail("io_uring_submit", submitted);
        }
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

/* Submits and waits. Returns how many completions it has put into cqes. */
static inline unsigned ring_wait(struct io_uring *ring, struct io_uring_cqe **cqes) {
    int error = io_uring_submit_and_wait(ring, 1);
    if (error < 0 && !ring_is_passing(error)) {
        ring_fail("io_uring_submit_and_wait", error);
    }
    return io_uring_peek_batch_cqe(ring, cqes, RING_BATCH);
}

/* Its completions have no user data. */
static inline void ring_accept(struct io_uring *ring, int listener) {
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, NULL);
}

#endif
