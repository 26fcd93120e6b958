/* SPDX-License-Identifier: MIT */
/* Spawning tasks that do nothing but count: one at a time, by the thousand, by the million. */
#include "bench/runtime/harness.h"

#include <vector>

static int count_one(void *arg) {
    uint64_t *count = static_cast<uint64_t *>(arg);
    __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    return 0;
}

/* The same without the atomic, where one worker runs all. */
static int count_one_alone(void *arg) {
    ++*static_cast<uint64_t *>(arg);
    return 0;
}

/* BM_SpawnJoin/WORKERS: open a scope, spawn one task into it, close. */
static void BM_SpawnJoin(benchmark::State &state) {
    bnx_task_fn fn = state.range(0) == 1 ? count_one_alone : count_one;
    uint64_t count = 0;
    bnx_bench_run_workers(state.range(0), [&] {
        for (auto _ : state) {
            bnx_bench_scope scope;
            scope.spawn(fn, &count);
            scope.close();
        }
    });
    bnx_bench_require(count == static_cast<uint64_t>(state.iterations()), "BM_SpawnJoin");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SpawnJoin)->Arg(1)->Arg(2)->UseRealTime();

/* Each task counts in a word of its own: what a shared one costs is no matter of the runtime. */
static void spawn_batches(benchmark::State &state, int64_t batch, int64_t workers) {
    std::vector<uint64_t> counts(static_cast<size_t>(batch));
    uint64_t rounds = 0;
    bnx_bench_run_workers(workers, [&] {
        while (state.KeepRunningBatch(batch)) {
            bnx_bench_scope scope;
            for (uint64_t &count : counts) {
                scope.spawn(count_one_alone, &count);
            }
            scope.close();
            rounds++;
        }
    });
    for (uint64_t count : counts) {
        bnx_bench_require(count == rounds, "spawn batch");
    }
    state.SetItemsProcessed(state.iterations());
}

/* BM_SpawnBatch/TASKS/WORKERS: one of TASKS tasks, all spawned into one scope before its close. */
static void BM_SpawnBatch(benchmark::State &state) {
    spawn_batches(state, state.range(0), state.range(1));
}
BENCHMARK(BM_SpawnBatch)->Args({1000, 1})->Args({1000, 2})->UseRealTime();

/* BM_SpawnMillion: the same with a million, which the caches do not hold. */
static void BM_SpawnMillion(benchmark::State &state) {
    spawn_batches(state, 1000000, 1);
}
BENCHMARK(BM_SpawnMillion)->UseRealTime();
