/* SPDX-License-Identifier: MIT */
/* BM_Switch: one switch between two stacks, nothing of the scheduler. */
#include "bench/micro/internals.h"
#include "bench/runtime/harness.h"

static const int64_t rounds_per_batch = 100000;

static void BM_Switch(benchmark::State &state) {
    while (state.KeepRunningBatch(2 * rounds_per_batch)) {
        uint64_t visits = bnx_bench_switch(rounds_per_batch);
        bnx_bench_require(visits == rounds_per_batch, "BM_Switch");
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Switch)->UseRealTime();
