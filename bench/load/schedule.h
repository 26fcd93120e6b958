/* SPDX-License-Identifier: MIT */
/*
 * When the requests of an open loop are due, whatever the server does.
 *
 * Concepts
 *   Each connection has arrivals of its own: every connections/rate seconds, the connections evenly
 *   apart, or at random with that mean. Random ones together are a Poisson process of the whole
 *   rate. An arrival that finds its connection busy waits, and its latency runs: nothing is left
 *   out because the server was slow.
 *
 *   A connection that may send is in a heap, the earliest arrival on top. Its next arrival is known
 *   from the last, so a backlog takes no memory.
 */
#ifndef BNX_BENCH_LOAD_SCHEDULE_H
#define BNX_BENCH_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct bnx_schedule_options {
    double rate;               /* arrivals a second, of all connections of all threads; > 0 */
    bool is_poisson;           /* at random instead of evenly */
    uint64_t seed;             /* of the random ones */
    uint32_t connection_count; /* of all threads */
    uint32_t first;            /* of the connections here, counted over all threads */
    uint32_t count;            /* connections here */
};

/* The arrivals of one connection. */
struct bnx_arrival {
    uint64_t due_ns;  /* of the next one, since the start */
    uint64_t index;   /* of the next one */
    uint64_t random;  /* state of the generator */
    double offset_ns; /* random ones: due_ns with its fraction */
};

/* Of one thread. Zeroed = without connections. */
struct bnx_schedule {
    struct bnx_schedule_options options; /* immutable after init, and so are the two pointers */
    struct bnx_arrival *arrivals;        /* by connection, of this thread's from 0 */
    uint32_t *heap;                      /* of connections: the earliest arrival is heap[0] */
    uint32_t heap_count;
};

/** Returns 0 with no connection in the heap, or -1 without memory. */
int bnx_schedule_init(struct bnx_schedule *schedule, const struct bnx_schedule_options *options);

void bnx_schedule_fini(struct bnx_schedule *schedule);

/** Puts a connection, which is not there, into the heap. */
void bnx_schedule_push(struct bnx_schedule *schedule, uint32_t connection);

/** Takes the connection whose arrival is the earliest out of the heap, which has one. */
uint32_t bnx_schedule_pop(struct bnx_schedule *schedule);

/** Goes on to the next arrival of a connection that is not in the heap. */
void bnx_schedule_advance(struct bnx_schedule *schedule, uint32_t connection);

/** Returns when the earliest arrival of the heap is due; UINT64_MAX when it has none. */
static inline uint64_t bnx_schedule_due(const struct bnx_schedule *schedule) {
    return schedule->heap_count > 0 ? schedule->arrivals[schedule->heap[0]].due_ns : UINT64_MAX;
}

#endif
