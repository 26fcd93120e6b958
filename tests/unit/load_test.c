/* SPDX-License-Identifier: MIT */
/* The load generator's histogram and its schedule, against plain arithmetic. */
#include "bench/load/histogram.h"
#include "bench/load/schedule.h"

#include "runtime/rng.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdlib.h>

#define VALUES 20000
#define CONNECTIONS 7
#define NS_PER_S 1e9

static struct bnx_histogram whole; /* too large for a stack */
static struct bnx_histogram halves[2];

/* Of any magnitude, each as likely as the others. */
static uint64_t any_value(struct bnx_rng *rng) {
    return bnx_rng_next(rng) >> bnx_rng_below(rng, 64);
}

/* A bucket's largest value is at most 1/1024 above any value in it, and buckets are in order. */
TEST(load_histogram_precision, "load.histogram_precision") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 0);
    for (int i = 0; i < VALUES; i++) {
        uint64_t value = any_value(&rng);
        size_t index = bnx_histogram_index(value);
        uint64_t top = bnx_histogram_top(index);
        CHECK(index < BNX_HISTOGRAM_BUCKETS);
        CHECK(top >= value);
        CHECK(top - value <= value / 1024);
        CHECK(bnx_histogram_index(top) == index);
        CHECK(top == UINT64_MAX || bnx_histogram_index(top + 1) == index + 1);
    }
    CHECK(bnx_histogram_index(UINT64_MAX) == BNX_HISTOGRAM_BUCKETS - 1);
}

static int value_compare(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one;
    uint64_t b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

/* Percentiles are those of the sorted values, up to a bucket, also when two threads' are merged. */
TEST(load_histogram_percentiles, "load.histogram_percentiles") {
    static uint64_t values[VALUES];
    static const double fractions[] = {0, 0.5, 0.9, 0.99, 0.999, 1};
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    for (int i = 0; i < VALUES; i++) {
        values[i] = 20000 + bnx_rng_below(&rng, 1u << bnx_rng_below(&rng, 31));
        bnx_histogram_add(&whole, values[i]);
        bnx_histogram_add(&halves[i % 2], values[i]);
    }
    bnx_histogram_merge(&halves[0], &halves[1]);
    CHECK(memcmp(&halves[0], &whole, sizeof(whole)) == 0);
    qsort(values, VALUES, sizeof(values[0]), value_compare);
    for (size_t i = 0; i < sizeof(fractions) / sizeof(fractions[0]); i++) {
        size_t rank = (size_t)ceil(fractions[i] * VALUES);
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        uint64_t said = bnx_histogram_percentile(&whole, fractions[i]);
        CHECK(said >= exact);
        CHECK(said - exact <= exact / 1024);
    }
    CHECK(bnx_histogram_percentile(&whole, 1) == values[VALUES - 1]);
    CHECK(whole.total == VALUES);
}

static void schedule_make(struct bnx_schedule *schedule, double rate, bool is_poisson,
                          uint32_t first, uint32_t count) {
    struct bnx_schedule_options options = {
        .rate = rate,
        .is_poisson = is_poisson,
        .seed = bnx_test_seed(),
        .connection_count = CONNECTIONS,
        .first = first,
        .count = count,
    };
    CHECK(bnx_schedule_init(schedule, &options) == 0);
    for (uint32_t i = 0; i < count; i++) {
        bnx_schedule_push(schedule, i);
    }
}

/* Takes the earliest arrival and goes on to the connection's next one. */
static uint64_t arrival_take(struct bnx_schedule *schedule, uint32_t *out_connection) {
    uint64_t due_ns = bnx_schedule_due(schedule);
    *out_connection = bnx_schedule_pop(schedule);
    bnx_schedule_advance(schedule, *out_connection);
    bnx_schedule_push(schedule, *out_connection);
    return due_ns;
}

/* Arrival k of all threads is due at k / rate, after any number of them, on the connections in
 * turn. The connections are spread over two threads, as they are in the program. */
TEST(load_schedule_even, "load.schedule_even") {
    const double rate = 299999;
    struct bnx_schedule threads[2];
    schedule_make(&threads[0], rate, false, 0, 3);
    schedule_make(&threads[1], rate, false, 3, CONNECTIONS - 3);
    for (uint64_t k = 0; k < 70000; k++) {
        uint32_t connection = 0;
        int thread = bnx_schedule_due(&threads[0]) < bnx_schedule_due(&threads[1]) ? 0 : 1;
        uint64_t due_ns = arrival_take(&threads[thread], &connection);
        CHECK_EQ(due_ns, (uint64_t)((double)k * NS_PER_S / rate));
        CHECK_EQ(connection + (thread == 0 ? 0 : 3), k % CONNECTIONS);
    }
    bnx_schedule_fini(&threads[0]);
    bnx_schedule_fini(&threads[1]);
    CHECK(bnx_schedule_due(&threads[0]) == UINT64_MAX);
}

/* The gaps of random arrivals have the mean and the spread of a Poisson process (for a seed that is
 * fixed: within 5 standard deviations), and no two connections have the same ones. */
TEST(load_schedule_poisson, "load.schedule_poisson") {
    const double rate = 1000;
    const double mean_ns = NS_PER_S / rate;
    struct bnx_schedule schedule;
    double squares = 0;
    uint64_t last_ns = 0;
    schedule_make(&schedule, rate, true, 0, CONNECTIONS);
    for (uint32_t i = 1; i < CONNECTIONS; i++) {
        CHECK(schedule.arrivals[i].due_ns != schedule.arrivals[i - 1].due_ns);
    }
    for (int k = 0; k < VALUES; k++) {
        uint32_t connection = 0;
        uint64_t due_ns = arrival_take(&schedule, &connection);
        CHECK(due_ns >= last_ns);
        double gap = (double)(due_ns - last_ns) / mean_ns;
        squares += gap * gap;
        last_ns = due_ns;
    }
    /* An exponential's variance is the square of its mean; that of its square 20 times the fourth
     * power. */
    CHECK(fabs((double)last_ns / mean_ns / VALUES - 1) < 5 / sqrt(VALUES));
    CHECK(fabs(squares / VALUES - 2) < 5 * sqrt(20.0 / VALUES));
    bnx_schedule_fini(&schedule);
}

/* Connections come and go as they have room; what is on top is what a look at all of them finds. */
TEST(load_schedule_earliest, "load.schedule_earliest") {
    struct bnx_rng rng;
    struct bnx_schedule schedule;
    bool is_in[CONNECTIONS];
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    schedule_make(&schedule, 1e6, true, 0, CONNECTIONS);
    memset(is_in, 1, sizeof(is_in));
    for (int i = 0; i < VALUES; i++) {
        uint64_t earliest_ns = UINT64_MAX;
        for (uint32_t k = 0; k < CONNECTIONS; k++) {
            uint64_t due_ns = schedule.arrivals[k].due_ns;
            earliest_ns = is_in[k] && due_ns < earliest_ns ? due_ns : earliest_ns;
        }
        CHECK_EQ(bnx_schedule_due(&schedule), earliest_ns);
        uint32_t any = bnx_rng_below(&rng, CONNECTIONS);
        if (!is_in[any]) {
            is_in[any] = true;
            bnx_schedule_push(&schedule, any);
        } else if (schedule.heap_count > 0) {
            uint32_t taken = bnx_schedule_pop(&schedule);
            CHECK(is_in[taken]);
            CHECK_EQ(schedule.arrivals[taken].due_ns, earliest_ns);
            is_in[taken] = false;
            bnx_schedule_advance(&schedule, taken);
        }
    }
    bnx_schedule_fini(&schedule);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
