/* SPDX-License-Identifier: MIT */
/*
 * BM_IdleTaskMemory: resident memory of tasks that do nothing. The counters are the result:
 *   bytes_parked     per task that waits for a future, on a stack of the 64K class
 *   bytes_unstarted  per task that is spawned and has not run
 *   maps_lines       memory mappings of the process with all of them parked
 * The time is that of spawning, parking, waking and ending one task, cold.
 */
#include "bench/runtime/harness.h"

static const int64_t tasks_count = 100000;

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

struct crowd {
    struct bnx_future *gate;
    int64_t parked; /* tasks that have come as far as the await */
    int64_t ended;
};

static int wait_at_gate(void *arg) {
    struct crowd *crowd = static_cast<struct crowd *>(arg);
    crowd->parked++;
    int error = bnx_future_await(crowd->gate, nullptr);
    crowd->ended++;
    return error;
}

static void BM_IdleTaskMemory(benchmark::State &state) {
    struct bnx_options options = {};
    options.worker_count = 1;
    options.stack = BNX_STACK_64K;
    bnx_bench_run(options, [&] {
        while (state.KeepRunningBatch(tasks_count)) {
            struct crowd crowd = {nullptr, 0, 0};
            bnx_bench_require(bnx_future_create(&crowd.gate) == 0, "bnx_future_create");
            bnx_bench_scope scope;
            int64_t bytes_before = resident_bytes();
            for (int64_t i = 0; i < tasks_count; i++) {
                scope.spawn(wait_at_gate, &crowd);
            }
            bnx_bench_require(crowd.parked == 0, "BM_IdleTaskMemory"); /* none has run */
            int64_t bytes_unstarted = resident_bytes();
            while (crowd.parked < tasks_count) {
                bnx_yield();
            }
            int64_t bytes_parked = resident_bytes();
            state.counters["bytes_unstarted"] =
                static_cast<double>(bytes_unstarted - bytes_before) / tasks_count;
            state.counters["bytes_parked"] =
                static_cast<double>(bytes_parked - bytes_before) / tasks_count;
            state.counters["maps_lines"] = static_cast<double>(maps_lines());
            bnx_bench_require(bnx_future_set(crowd.gate, nullptr) == 0, "bnx_future_set");
            scope.close();
            bnx_future_unref(crowd.gate);
            bnx_bench_require(crowd.ended == tasks_count, "BM_IdleTaskMemory");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
/* One batch: a second one would find the memory of the first. */
BENCHMARK(BM_IdleTaskMemory)->Iterations(tasks_count)->UseRealTime();
