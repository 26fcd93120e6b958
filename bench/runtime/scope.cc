/* SPDX-License-Identifier: MIT */
/* BM_ScopeOpenClose, BM_ScopeDeadline: an empty scope. BM_CancelStorm/TASKS/WORKERS: one deadline
 * ends so many waiting tasks; the time runs from the deadline to the end of the last one. */
#include "bench/runtime/harness.h"

#include <atomic>
#include <cerrno>

static void BM_ScopeOpenClose(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        int64_t errors = 0;
        for (auto _ : state) {
            struct bnx_scope scope;
            errors += bnx_scope_open(&scope, nullptr);
            errors += bnx_scope_close(&scope);
        }
        bnx_bench_require(errors == 0, "BM_ScopeOpenClose");
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ScopeOpenClose)->UseRealTime();

static void BM_ScopeDeadline(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        struct bnx_scope_options options = {};
        options.deadline_ns = bnx_now() + UINT64_C(3600000000000);
        int64_t errors = 0;
        for (auto _ : state) {
            struct bnx_scope scope;
            errors += bnx_scope_open(&scope, &options);
            errors += bnx_scope_close(&scope);
        }
        bnx_bench_require(errors == 0, "BM_ScopeDeadline");
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ScopeDeadline)->UseRealTime();

static int sleep_until_cancelled(void *arg) {
    static_cast<std::atomic<int64_t> *>(arg)->fetch_add(1);
    return bnx_sleep_until(UINT64_MAX);
}

/* Returns the time from the deadline to the end of the last task; 0: some had not parked. */
static uint64_t storm(int64_t tasks, uint64_t lead_ns) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {};
    std::atomic<int64_t> parked(0);
    options.deadline_ns = bnx_now() + lead_ns;
    bnx_bench_require(bnx_scope_open(&scope, &options) == 0, "bnx_scope_open");
    int64_t spawned = 0;
    while (spawned < tasks && bnx_spawn(&scope, sleep_until_cancelled, &parked) == 0) {
        spawned++;
    }
    while (parked.load() < spawned) {
        bnx_yield();
    }
    bool is_in_time = spawned == tasks && bnx_now() < options.deadline_ns;
    bnx_bench_require(bnx_scope_close(&scope) == -ETIMEDOUT, "bnx_scope_close");
    return is_in_time ? bnx_now() - options.deadline_ns : 0;
}

static void BM_CancelStorm(benchmark::State &state) {
    const int64_t tasks = state.range(0);
    bnx_bench_run_workers(state.range(1), [&] {
        uint64_t lead_ns = UINT64_C(500000000);
        for (auto _ : state) {
            uint64_t took_ns;
            while ((took_ns = storm(tasks, lead_ns)) == 0) {
                lead_ns *= 2;
            }
            state.SetIterationTime(static_cast<double>(took_ns) * 1e-9 /
                                   static_cast<double>(tasks));
        }
    });
}
/* One iteration is one storm; the time shown is per task. */
BENCHMARK(BM_CancelStorm)
    ->Args({100000, 1})
    ->Args({100000, 2})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kNanosecond);
