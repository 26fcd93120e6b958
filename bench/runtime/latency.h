/* SPDX-License-Identifier: MIT */
/* Times that the tasks of a row have measured, and their percentiles as counters. */
#ifndef BNX_BENCH_RUNTIME_LATENCY_H
#define BNX_BENCH_RUNTIME_LATENCY_H

#include "bench/runtime/harness.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

/* Exact: every time is kept. Its room is touched before the run, so that an add is one store. */
class bnx_bench_latencies {
  public:
    explicit bnx_bench_latencies(int64_t room) : times_ns(static_cast<size_t>(room), 1), used(0) {
    }

    /* Any thread. */
    void add(uint64_t time_ns) {
        size_t at = used.fetch_add(1, std::memory_order_relaxed);
        bnx_bench_require(at < times_ns.size(), "more times than operations");
        times_ns[at] = time_ns;
    }

    int64_t count() const {
        return static_cast<int64_t>(used.load(std::memory_order_relaxed));
    }

    /* Counters NAMEp50_us, NAMEp99_us, NAMEp99.9_us, NAMEmax_us; everybody has added. */
    void report(benchmark::State &state, const std::string &name = "") {
        std::sort(times_ns.begin(), times_ns.begin() + count());
        state.counters[name + "p50_us"] = at(0.5);
        state.counters[name + "p99_us"] = at(0.99);
        state.counters[name + "p99.9_us"] = at(0.999);
        state.counters[name + "max_us"] = at(1);
    }

  private:
    double at(double part) const {
        bnx_bench_require(count() > 0, "no times");
        double index = part * static_cast<double>(count() - 1);
        return static_cast<double>(times_ns[static_cast<size_t>(index)]) / 1000;
    }

    std::vector<uint64_t> times_ns;
    std::atomic<size_t> used;
};

/* Computes for so long, and does not give way. */
static inline void bnx_bench_burn(uint64_t ns) {
    uint64_t start_ns = bnx_now();
    while (bnx_now() - start_ns < ns) { /* ends: the clock goes on */
    }
}

#endif
