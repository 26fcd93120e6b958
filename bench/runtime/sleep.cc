/* SPDX-License-Identifier: MIT */
/*
 * Very many timers.
 *   BM_TimerStartStop/PENDING   start a timer and stop it, beside so many that are armed
 *   BM_TimerStorm/WORKERS       a million timers, each worker arms its share of them and then
 *                               stops it; one start with its stop
 *   BM_Sleeps/first/TASKS       so many tasks sleep at the same time, each for a time of its own
 *                               between nothing and 10 us for each of them; the time is the CPU
 *                               that the process takes for one, from its spawn to its end. The
 *                               counters tell how much later than due those went on that were
 *                               due when all had begun
 *   BM_Sleeps/touched/TASKS     the same, on stacks that have been used before
 * BM_Sleeps/slow/... is a million of them over 10 s.
 */
#include "bench/runtime/latency.h"

#include <ctime>
#include <vector>

static const int64_t million = 1000000;
static const uint64_t hour_ns = UINT64_C(3600000000000);

/* ---- Armed and stopped ---- */

/* Stopped timers of the calling task's runtime. */
class stopped_timers {
  public:
    explicit stopped_timers(int64_t count) : timers(static_cast<size_t>(count)) {
        for (struct bnx_timer *&timer : timers) {
            bnx_bench_require(bnx_timer_create(&timer, nullptr) == 0, "bnx_timer_create");
        }
    }
    ~stopped_timers() {
        for (struct bnx_timer *timer : timers) {
            bnx_timer_destroy(timer);
        }
    }
    stopped_timers(const stopped_timers &) = delete;
    stopped_timers &operator=(const stopped_timers &) = delete;

    std::vector<struct bnx_timer *> timers;
};

/* In the course of an hour, in no order. */
static uint64_t far_deadline_ns(int64_t number) {
    return static_cast<uint64_t>(number) * UINT64_C(2654435761) % hour_ns;
}

static void BM_TimerStartStop(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        stopped_timers pending(state.range(0));
        stopped_timers own(1);
        uint64_t begin_ns = bnx_now() + hour_ns;
        int64_t number = 0;
        for (struct bnx_timer *timer : pending.timers) {
            int error = bnx_timer_start(timer, begin_ns + far_deadline_ns(number++));
            bnx_bench_require(error == 0, "bnx_timer_start");
        }
        int64_t stopped = 0;
        for (auto _ : state) {
            int error = bnx_timer_start(own.timers[0], begin_ns + far_deadline_ns(number++));
            stopped += error == 0 && bnx_timer_stop(own.timers[0]) == 1;
        }
        bnx_bench_require(stopped == static_cast<int64_t>(state.iterations()), "BM_TimerStartStop");
        for (struct bnx_timer *timer : pending.timers) {
            bnx_bench_require(bnx_timer_stop(timer) == 1, "bnx_timer_stop");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
/* One call of the function: making the others takes longer than the measurement. */
BENCHMARK(BM_TimerStartStop)->Arg(0)->Arg(million)->Iterations(million)->UseRealTime();

struct timer_share {
    struct bnx_timer **begin;
    struct bnx_timer **end;
    int64_t stopped; /* out */
};

static int arm_and_stop(void *arg) {
    struct timer_share *share = static_cast<struct timer_share *>(arg);
    uint64_t begin_ns = bnx_now() + hour_ns;
    for (struct bnx_timer **timer = share->begin; timer < share->end; timer++) {
        int error = bnx_timer_start(*timer, begin_ns + far_deadline_ns(timer - share->begin));
        if (error != 0) {
            return error;
        }
    }
    for (struct bnx_timer **timer = share->begin; timer < share->end; timer++) {
        share->stopped += bnx_timer_stop(*timer);
    }
    return 0;
}

static void BM_TimerStorm(benchmark::State &state) {
    const int64_t workers = state.range(0);
    bnx_bench_run_workers(workers, [&] {
        stopped_timers all(million);
        std::vector<struct timer_share> shares(static_cast<size_t>(workers));
        while (state.KeepRunningBatch(million)) {
            bnx_bench_scope scope;
            for (int64_t i = 0; i < workers; i++) {
                struct timer_share &share = shares[static_cast<size_t>(i)];
                share = {&all.timers[static_cast<size_t>(i * million / workers)],
                         all.timers.data() + (i + 1) * million / workers, 0};
                scope.spawn_pinned(static_cast<uint32_t>(i), arm_and_stop, &share);
            }
            scope.close();
            int64_t stopped = 0;
            for (const struct timer_share &share : shares) {
                stopped += share.stopped;
            }
            bnx_bench_require(stopped == million, "BM_TimerStorm");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TimerStorm)->Arg(1)->Arg(2)->Iterations(million)->UseRealTime();

/* ---- Sleeps ---- */

static const uint64_t spread_ns = 10000; /* of the sleeps, for each task */

/* One worker: the counts are its own. */
struct doze_crowd {
    int64_t tasks;
    int64_t begun;
    int64_t woken;
    uint64_t all_begun_ns; /* 0: not yet */
    bnx_bench_latencies *late;
};

struct dozer {
    struct doze_crowd *crowd;
    uint64_t sleep_ns;
};

static int doze(void *arg) {
    struct dozer *dozer = static_cast<struct dozer *>(arg);
    struct doze_crowd *crowd = dozer->crowd;
    uint64_t begin_ns = bnx_now();
    uint64_t due_ns = begin_ns + dozer->sleep_ns;
    if (++crowd->begun == crowd->tasks) {
        crowd->all_begun_ns = begin_ns;
    }
    int error = bnx_sleep_until(due_ns);
    uint64_t now_ns = bnx_now();
    crowd->woken += error == 0 && now_ns >= due_ns;
    /* One that was due before waits behind those who begin, whatever the timers do. */
    if (crowd->all_begun_ns != 0 && due_ns > crowd->all_begun_ns) {
        crowd->late->add(now_ns - due_ns);
    }
    return error;
}

struct waiting_crowd {
    struct bnx_future *gate;
    int64_t parked; /* one worker */
};

static int park_once(void *arg) {
    struct waiting_crowd *crowd = static_cast<struct waiting_crowd *>(arg);
    crowd->parked++;
    return bnx_future_await(crowd->gate, nullptr);
}

/* Gives so many tasks a stack each, all at the same time. */
static void touch_stacks(int64_t tasks) {
    struct waiting_crowd crowd = {nullptr, 0};
    bnx_bench_require(bnx_future_create(&crowd.gate) == 0, "bnx_future_create");
    bnx_bench_scope scope;
    for (int64_t i = 0; i < tasks; i++) {
        scope.spawn(park_once, &crowd);
    }
    while (crowd.parked < tasks) { /* ends: each yield lets others begin */
        bnx_yield();
    }
    bnx_bench_require(bnx_future_set(crowd.gate, nullptr) == 0, "bnx_future_set");
    scope.close();
    bnx_future_unref(crowd.gate);
}

static double process_cpu_seconds() {
    struct timespec time;
    bnx_bench_require(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0, "clock_gettime");
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

static void sleep_batch(benchmark::State &state, bool is_touched) {
    const int64_t tasks = state.range(0);
    std::vector<struct dozer> dozers(static_cast<size_t>(tasks));
    bnx_bench_latencies late(tasks);
    struct doze_crowd crowd = {tasks, 0, 0, 0, &late};
    struct bnx_options options = {};
    options.worker_count = 1;
    options.stack = BNX_STACK_64K;
    bnx_bench_run(options, [&] {
        if (is_touched) {
            touch_stacks(tasks);
        }
        while (state.KeepRunningBatch(tasks)) {
            double begin_s = process_cpu_seconds();
            bnx_bench_scope scope;
            for (int64_t i = 0; i < tasks; i++) {
                uint64_t order = static_cast<uint64_t>(i) * UINT64_C(2654435761);
                uint64_t sleep_ns = order % (spread_ns * static_cast<uint64_t>(tasks)) + 1;
                dozers[static_cast<size_t>(i)] = {&crowd, sleep_ns};
                scope.spawn(doze, &dozers[static_cast<size_t>(i)]);
            }
            scope.close();
            state.SetIterationTime(process_cpu_seconds() - begin_s);
        }
    });
    bnx_bench_require(crowd.woken == tasks, "BM_Sleeps");
    late.report(state, "late_");
}

static void BM_SleepsFirst(benchmark::State &state) {
    sleep_batch(state, false);
}

static void BM_SleepsTouched(benchmark::State &state) {
    sleep_batch(state, true);
}

/* One batch each: the times have room for one. */
static void one_batch(benchmark::internal::Benchmark *row, int64_t tasks) {
    row->Arg(tasks)->Iterations(tasks)->UseManualTime();
}

static const int64_t few = 100000;
BENCHMARK(BM_SleepsFirst)->Name("BM_Sleeps/first")->Apply([](auto *row) { one_batch(row, few); });
BENCHMARK(BM_SleepsTouched)->Name("BM_Sleeps/touched")->Apply([](auto *row) {
    one_batch(row, few);
});
BENCHMARK(BM_SleepsFirst)->Name("BM_Sleeps/slow/first")->Apply([](auto *row) {
    one_batch(row, million);
});
BENCHMARK(BM_SleepsTouched)->Name("BM_Sleeps/slow/touched")->Apply([](auto *row) {
    one_batch(row, million);
});
