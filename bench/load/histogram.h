/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of nanoseconds: 1024 buckets per power of two, so a percentile is at most
 * 1/1024 too high: three digits. Recording is a shift and an increment; each thread has its own,
 * merged at the end. It has 440 KiB, of which a run touches what its latencies need: about 20.
 */
#ifndef BNX_BENCH_LOAD_HISTOGRAM_H
#define BNX_BENCH_LOAD_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define BNX_HISTOGRAM_LINEAR_BITS 10
#define BNX_HISTOGRAM_LINEAR (1u << BNX_HISTOGRAM_LINEAR_BITS)
#define BNX_HISTOGRAM_BUCKETS ((64 - BNX_HISTOGRAM_LINEAR_BITS + 1) * BNX_HISTOGRAM_LINEAR)

struct bnx_histogram {
    uint64_t total;                         /* values recorded */
    uint64_t max_ns;                        /* the largest, exact */
    uint64_t counts[BNX_HISTOGRAM_BUCKETS]; /* values per bucket */
};

/* Values below 1024 have a bucket each; above, the top 11 bits of the value number the bucket. */
static inline size_t bnx_histogram_index(uint64_t ns) {
    if (ns < BNX_HISTOGRAM_LINEAR) {
        return (size_t)ns;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - BNX_HISTOGRAM_LINEAR_BITS;
    return (size_t)(shift + 1) * BNX_HISTOGRAM_LINEAR + (size_t)(ns >> shift) -
           BNX_HISTOGRAM_LINEAR;
}

/** Returns the largest value that falls into a bucket. */
static inline uint64_t bnx_histogram_top(size_t index) {
    if (index < BNX_HISTOGRAM_LINEAR) {
        return index;
    }
    unsigned shift = (unsigned)(index / BNX_HISTOGRAM_LINEAR) - 1;
    uint64_t top = index % BNX_HISTOGRAM_LINEAR + BNX_HISTOGRAM_LINEAR;
    return (top << shift) + ((UINT64_C(1) << shift) - 1);
}

static inline void bnx_histogram_add(struct bnx_histogram *histogram, uint64_t ns) {
    histogram->counts[bnx_histogram_index(ns)]++;
    histogram->total++;
    histogram->max_ns = ns > histogram->max_ns ? ns : histogram->max_ns;
}

static inline void bnx_histogram_merge(struct bnx_histogram *into,
                                       const struct bnx_histogram *from) {
    for (size_t i = 0; i < BNX_HISTOGRAM_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->total += from->total;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

/** Returns a value that at least fraction (0 to 1) of the values do not exceed; 0 when empty. */
static inline uint64_t bnx_histogram_percentile(const struct bnx_histogram *histogram,
                                                double fraction) {
    double wanted = fraction * (double)histogram->total;
    uint64_t seen = 0;
    for (size_t i = 0; i < BNX_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t top = bnx_histogram_top(i);
            return top < histogram->max_ns ? top : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}

#endif
