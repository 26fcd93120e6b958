/* SPDX-License-Identifier: MIT */
/*
 * Timers on one worker.
 *   BM_TimerArmCancel   take a node, arm it, end it: what a wait with a deadline pays
 *   BM_WheelArmDisarm   the wheel's part of that
 *   BM_WheelFire        arm a timer and let it expire, the wheel alone
 */
#include "bench/micro/internals.h"
#include "bench/runtime/harness.h"

static const int64_t rounds_per_batch = 50000;

static void timer_batches(benchmark::State &state, uint64_t (*loop)(uint64_t), const char *what) {
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(rounds_per_batch)) {
            bnx_bench_require(loop(rounds_per_batch) == rounds_per_batch, what);
        }
    });
    state.SetItemsProcessed(state.iterations());
}

static void BM_TimerArmCancel(benchmark::State &state) {
    timer_batches(state, bnx_bench_timer_arm_cancel, "BM_TimerArmCancel");
}
BENCHMARK(BM_TimerArmCancel)->UseRealTime();

static void BM_WheelArmDisarm(benchmark::State &state) {
    timer_batches(state, bnx_bench_wheel_arm_disarm, "BM_WheelArmDisarm");
}
BENCHMARK(BM_WheelArmDisarm)->UseRealTime();

static void BM_WheelFire(benchmark::State &state) {
    timer_batches(state, bnx_bench_wheel_fire, "BM_WheelFire");
}
BENCHMARK(BM_WheelFire)->UseRealTime();
