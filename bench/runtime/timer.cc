/* SPDX-License-Identifier: MIT */
/*
 * BM_TimerFire: a thousand tasks sleep until one deadline. The time from the moment when it has
 * passed until the last of them has been woken, run and ended, per task; not the waiting.
 */
#include "bench/runtime/harness.h"

static const int64_t sleepers_count = 1000;
/* Ahead of the clock by so much, all tasks are asleep when the deadline comes. */
static const uint64_t deadline_after_ns = 1000000;
/* A sleep may last one tick of the wheel longer; so they are all due after two. */
static const uint64_t late_ns_max = 2 * 65536;

struct sleepers {
    uint64_t deadline_ns;
    int64_t woken;  /* in time or later */
    int64_t asleep; /* that have come as far as the sleep */
};

static int sleep_once(void *arg) {
    struct sleepers *sleepers = static_cast<struct sleepers *>(arg);
    sleepers->asleep++;
    int error = bnx_sleep_until(sleepers->deadline_ns);
    sleepers->woken += bnx_now() >= sleepers->deadline_ns;
    return error;
}

static void BM_TimerFire(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(sleepers_count)) {
            struct sleepers sleepers = {bnx_now() + deadline_after_ns, 0, 0};
            bnx_bench_scope scope;
            for (int64_t i = 0; i < sleepers_count; i++) {
                scope.spawn(sleep_once, &sleepers);
            }
            while (sleepers.asleep < sleepers_count) {
                bnx_yield();
            }
            uint64_t start_ns;
            do { /* without giving way: nothing fires before the clock starts */
                start_ns = bnx_now();
            } while (start_ns < sleepers.deadline_ns + late_ns_max);
            scope.close();
            state.SetIterationTime(static_cast<double>(bnx_now() - start_ns) / 1e9);
            bnx_bench_require(sleepers.woken == sleepers_count, "BM_TimerFire");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
/* A tenth of the usual time: nine tenths of each batch are the wait. */
BENCHMARK(BM_TimerFire)->UseManualTime()->MinTime(0.05);
