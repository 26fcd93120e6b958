/* SPDX-License-Identifier: MIT */
/* The arrivals of an open loop, and the heap of the connections that wait for theirs. */
#include "bench/load/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9

/* SplitMix64. */
static uint64_t random_next(struct bnx_arrival *arrival) {
    arrival->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = arrival->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Sets due_ns of the arrival whose index it has. */
static void arrival_place(const struct bnx_schedule *schedule, uint32_t connection) {
    const struct bnx_schedule_options *options = &schedule->options;
    struct bnx_arrival *arrival = &schedule->arrivals[connection];
    if (options->is_poisson) {
        /* In (0, 1]: its logarithm is finite. */
        double uniform = ((double)(random_next(arrival) >> 11) + 1) / 9007199254740992.0;
        double mean_ns = NS_PER_S * options->connection_count / options->rate;
        arrival->offset_ns -= log(uniform) * mean_ns;
        arrival->due_ns = (uint64_t)arrival->offset_ns;
    } else {
        /* From the index, not from the last one: no rounding adds up. */
        double place = (double)arrival->index * options->connection_count;
        place += options->first + connection;
        arrival->due_ns = (uint64_t)(place * NS_PER_S / options->rate);
    }
}

int bnx_schedule_init(struct bnx_schedule *schedule, const struct bnx_schedule_options *options) {
    memset(schedule, 0, sizeof(*schedule));
    schedule->options = *options;
    schedule->arrivals = calloc(options->count, sizeof(*schedule->arrivals));
    schedule->heap = calloc(options->count, sizeof(*schedule->heap));
    if (schedule->arrivals == NULL || schedule->heap == NULL) {
        bnx_schedule_fini(schedule);
        return -1;
    }
    for (uint32_t i = 0; i < options->count; i++) {
        /* Streams of one seed begin far apart: their states differ by an odd multiple. */
        uint64_t stream = options->first + i;
        schedule->arrivals[i].random = options->seed ^ (stream * UINT64_C(0xd1342543de82ef95));
        arrival_place(schedule, i);
    }
    return 0;
}

void bnx_schedule_fini(struct bnx_schedule *schedule) {
    free(schedule->arrivals);
    free(schedule->heap);
    memset(schedule, 0, sizeof(*schedule));
}

static bool is_before(const struct bnx_schedule *schedule, uint32_t one, uint32_t other) {
    return schedule->arrivals[one].due_ns < schedule->arrivals[other].due_ns;
}

void bnx_schedule_push(struct bnx_schedule *schedule, uint32_t connection) {
    uint32_t *heap = schedule->heap;
    uint32_t at = schedule->heap_count++;
    while (at > 0 && is_before(schedule, connection, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = connection;
}

uint32_t bnx_schedule_pop(struct bnx_schedule *schedule) {
    uint32_t *heap = schedule->heap;
    uint32_t count = --schedule->heap_count;
    uint32_t earliest = heap[0];
    uint32_t last = heap[count];
    uint32_t at = 0;
    for (uint32_t child = 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && is_before(schedule, heap[child + 1], heap[child]);
        if (!is_before(schedule, heap[child], last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return earliest;
}

void bnx_schedule_advance(struct bnx_schedule *schedule, uint32_t connection) {
    schedule->arrivals[connection].index++;
    arrival_place(schedule, connection);
}
