/* SPDX-License-Identifier: MIT */
/*
 * BM_IdleTaskMemory/TASKS: resident memory of tasks that do nothing. The counters are the result:
 *   bytes_parked     per task that waits for a future, on a stack of the 64K class
 *   bytes_unstarted  per task that is spawned and has not run
 *   maps_lines       memory mappings of the process with all of them parked
 *   spawn_ns         to spawn one
 *   park_ns          to start one on a stack of its own, until it waits
 *   teardown_ns      to wake one, end it and free its stack
 * The time is that of all three, cold: the first use of each stack. A million under the name
 * BM_IdleTaskMemory/slow/1000000.
 */
#include "bench/runtime/harness.h"

static int64_t resident_bytes() {
    long pages_all = 0;
    long pages_resident = 0;
    std::FILE *file = std::fopen("/proc/self/statm", "r");
    bool is_read =
        file != nullptr && std::fscanf(file, "%ld %ld", &pages_all, &pages_resident) == 2;
    bnx_bench_require(is_read, "/proc/self/statm");
    std::fclose(file);
    return static_cast<int64_t>(pages_resident) * sysconf(_SC_PAGESIZE);
}

static int64_t maps_lines() {
    std::FILE *file = std::fopen("/proc/self/maps", "r");
    bnx_bench_require(file != nullptr, "/proc/self/maps");
    int64_t lines = 0;
    for (int c; (c = std::fgetc(file)) != EOF;) {
        lines += c == '\n';
    }
    std::fclose(file);
    return lines;
}

struct idle_crowd {
    struct bnx_future *gate;
    int64_t parked; /* tasks that have come as far as the await */
    int64_t ended;
};

static int wait_at_gate(void *arg) {
    struct idle_crowd *crowd = static_cast<struct idle_crowd *>(arg);
    crowd->parked++;
    int error = bnx_future_await(crowd->gate, nullptr);
    crowd->ended++;
    return error;
}

static int64_t ns_between(uint64_t begin_ns, uint64_t end_ns) {
    return static_cast<int64_t>(end_ns - begin_ns);
}

static double per_task(int64_t value, const benchmark::State &state) {
    return static_cast<double>(value) / static_cast<double>(state.range(0));
}

static void BM_IdleTaskMemory(benchmark::State &state) {
    const int64_t tasks_count = state.range(0);
    struct bnx_options options = {};
    options.worker_count = 1;
    options.stack = BNX_STACK_64K;
    bnx_bench_run(options, [&] {
        while (state.KeepRunningBatch(tasks_count)) {
            struct idle_crowd crowd = {nullptr, 0, 0};
            bnx_bench_require(bnx_future_create(&crowd.gate) == 0, "bnx_future_create");
            bnx_bench_scope scope;
            int64_t bytes_before = resident_bytes();
            uint64_t begin_ns = bnx_now();
            for (int64_t i = 0; i < tasks_count; i++) {
                scope.spawn(wait_at_gate, &crowd);
            }
            uint64_t spawned_ns = bnx_now();
            bnx_bench_require(crowd.parked == 0, "BM_IdleTaskMemory"); /* none has run */
            int64_t bytes_unstarted = resident_bytes();
            while (crowd.parked < tasks_count) {
                bnx_yield();
            }
            uint64_t parked_ns = bnx_now();
            int64_t bytes_parked = resident_bytes();
            state.counters["bytes_unstarted"] = per_task(bytes_unstarted - bytes_before, state);
            state.counters["bytes_parked"] = per_task(bytes_parked - bytes_before, state);
            state.counters["maps_lines"] = static_cast<double>(maps_lines());
            uint64_t wake_ns = bnx_now();
            bnx_bench_require(bnx_future_set(crowd.gate, nullptr) == 0, "bnx_future_set");
            scope.close();
            uint64_t end_ns = bnx_now();
            state.counters["spawn_ns"] = per_task(ns_between(begin_ns, spawned_ns), state);
            state.counters["park_ns"] = per_task(ns_between(spawned_ns, parked_ns), state);
            state.counters["teardown_ns"] = per_task(ns_between(wake_ns, end_ns), state);
            bnx_future_unref(crowd.gate);
            bnx_bench_require(crowd.ended == tasks_count, "BM_IdleTaskMemory");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
/* One batch: a second one would find the memory of the first. */
BENCHMARK(BM_IdleTaskMemory)->Arg(1000)->Iterations(1000)->UseRealTime();
BENCHMARK(BM_IdleTaskMemory)->Arg(10000)->Iterations(10000)->UseRealTime();
BENCHMARK(BM_IdleTaskMemory)->Arg(100000)->Iterations(100000)->UseRealTime();
BENCHMARK(BM_IdleTaskMemory)
    ->Name("BM_IdleTaskMemory/slow")
    ->Arg(1000000)
    ->Iterations(1000000)
    ->UseRealTime();
