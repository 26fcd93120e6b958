/* SPDX-License-Identifier: MIT */
/* When things come in an open loop: at random, whether or not those before them are done. */
#ifndef BNX_BENCH_RUNTIME_ARRIVALS_H
#define BNX_BENCH_RUNTIME_ARRIVALS_H

#include <cmath>
#include <cstdint>

/* Times between arrivals, exponentially distributed, the same at each run. */
class bnx_bench_arrivals {
  public:
    explicit bnx_bench_arrivals(double mean_ns) : mean(mean_ns), random(88172645463325252) {
    }

    uint64_t next_ns() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        double part = static_cast<double>((random >> 11) + 1) / 9007199254740992.0; /* (0, 1] */
        return static_cast<uint64_t>(-std::log(part) * mean);
    }

  private:
    double mean;
    uint64_t random;
};

#endif
