/* SPDX-License-Identifier: MIT */
/*
 * BM_RuntimeStartStop/WORKERS: create a runtime, run an empty task in it, destroy it.
 * BM_IdleRuntime/WORKERS: a runtime with nothing to do, for a second. The counters are the result:
 *   wakes_per_s  times a second that one of its threads (workers, watchdog) went to sleep, for each
 *                worker
 *   cpu_percent  of one CPU that all its threads took
 */
#include "bench/runtime/harness.h"

#include <algorithm>
#include <ctime>
#include <sys/resource.h>

static int count_run(void *arg) {
    ++*static_cast<int64_t *>(arg);
    return 0;
}

static void BM_RuntimeStartStop(benchmark::State &state) {
    struct bnx_options options = {};
    options.worker_count = static_cast<uint32_t>(state.range(0));
    int64_t runs = 0;
    for (auto _ : state) {
        bnx_bench_require(bnx_run(&options, count_run, &runs) == 0, "bnx_run");
    }
    bnx_bench_require(runs == static_cast<int64_t>(state.iterations()), "BM_RuntimeStartStop");
}
BENCHMARK(BM_RuntimeStartStop)->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime();

static const uint64_t second_ns = UINT64_C(1000000000);
static const uint64_t settle_ns = UINT64_C(50000000); /* the spinning before the first sleep ends */

/* What all threads but the calling one have used so far. */
struct usage {
    double cpu_ns;
    double sleeps;
};

static double clock_ns(clockid_t clock) {
    struct timespec time;
    bnx_bench_require(clock_gettime(clock, &time) == 0, "clock_gettime");
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

static struct usage others_usage() {
    struct rusage all, own;
    bool is_read = getrusage(RUSAGE_SELF, &all) == 0 && getrusage(RUSAGE_THREAD, &own) == 0;
    bnx_bench_require(is_read, "getrusage");
    return {clock_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_ns(CLOCK_THREAD_CPUTIME_ID),
            static_cast<double>(all.ru_nvcsw - own.ru_nvcsw)};
}

static void BM_IdleRuntime(benchmark::State &state) {
    struct bnx_options options = {};
    struct bnx_runtime *runtime = nullptr;
    options.worker_count = static_cast<uint32_t>(state.range(0));
    bnx_bench_require(bnx_runtime_create(&options, &runtime) == 0, "bnx_runtime_create");
    int64_t runs = 0;
    bnx_bench_require(bnx_runtime_run(runtime, count_run, &runs) == 0, "bnx_runtime_run");
    bnx_bench_require(bnx_sleep(settle_ns) == 0, "bnx_sleep"); /* blocks this thread only */
    for (auto _ : state) {
        struct usage before = others_usage();
        uint64_t begin_ns = bnx_now();
        bnx_bench_require(bnx_sleep(second_ns) == 0, "bnx_sleep");
        double spent_ns = static_cast<double>(bnx_now() - begin_ns);
        struct usage after = others_usage();
        double sleeps = after.sleeps - before.sleeps;
        state.counters["wakes_per_s"] =
            sleeps * 1e9 / spent_ns / static_cast<double>(state.range(0));
        /* The clocks are read one after the other: nothing may look like less. */
        double cpu_ns = std::max(0.0, after.cpu_ns - before.cpu_ns);
        state.counters["cpu_percent"] = 100 * cpu_ns / spent_ns;
    }
    bnx_bench_require(bnx_runtime_run(runtime, count_run, &runs) == 0 && runs == 2,
                      "BM_IdleRuntime");
    bnx_bench_require(bnx_runtime_destroy(runtime) == 0, "bnx_runtime_destroy");
}
BENCHMARK(BM_IdleRuntime)->Arg(1)->Arg(2)->Iterations(1)->UseRealTime();
