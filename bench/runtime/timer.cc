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

/*
 * BM_TimerCallback: a timer that is due at once, until its callback has run: what it costs beyond
 * the wait for the tick, for a thousand of them at a time.
 */
static const int64_t timers_count = 1000;

struct callbacks {
    struct bnx_timer *timers[timers_count];
    uint64_t deadline_ns;
    int64_t called; /* one worker: no callback runs beside another */
    int64_t early;
};

static void count_callback(struct bnx_timer *, void *arg) {
    struct callbacks *callbacks = static_cast<struct callbacks *>(arg);
    callbacks->called++;
    callbacks->early += bnx_now() < callbacks->deadline_ns;
}

static void create_timers(struct callbacks &callbacks) {
    struct bnx_timer_options options = {};
    options.fn = count_callback;
    options.arg = &callbacks;
    for (struct bnx_timer *&timer : callbacks.timers) {
        bnx_bench_require(bnx_timer_create(&timer, &options) == 0, "bnx_timer_create");
    }
}

static void BM_TimerCallback(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        static struct callbacks callbacks;
        create_timers(callbacks);
        while (state.KeepRunningBatch(timers_count)) {
            callbacks.called = 0;
            callbacks.early = 0;
            callbacks.deadline_ns = bnx_now() + deadline_after_ns;
            for (struct bnx_timer *timer : callbacks.timers) {
                bnx_bench_require(bnx_timer_start(timer, callbacks.deadline_ns) == 0,
                                  "bnx_timer_start");
            }
            uint64_t start_ns;
            do { /* without giving way: nothing fires before the clock starts */
                start_ns = bnx_now();
            } while (start_ns < callbacks.deadline_ns + late_ns_max);
            while (callbacks.called < timers_count) {
                bnx_yield();
            }
            state.SetIterationTime(static_cast<double>(bnx_now() - start_ns) / 1e9);
            bnx_bench_require(callbacks.called == timers_count && callbacks.early == 0,
                              "BM_TimerCallback");
        }
        for (struct bnx_timer *timer : callbacks.timers) {
            bnx_timer_destroy(timer);
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TimerCallback)->UseManualTime()->MinTime(0.05);

/*
 * BM_TimerExtend: putting an armed timer off, each time a bit further. /0: the exact deadline, a
 * compare-and-swap a call; /1: with BNX_TIMER_COARSE, most calls find that nothing changes.
 */
static void BM_TimerExtend(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        struct bnx_timer_options options = {};
        options.slack_ns = state.range(0) != 0 ? BNX_TIMER_COARSE : 0;
        struct bnx_timer *timer = nullptr;
        bnx_bench_require(bnx_timer_create(&timer, &options) == 0, "bnx_timer_create");
        uint64_t deadline_ns = bnx_now() + UINT64_C(3600000000000);
        bnx_bench_require(bnx_timer_start(timer, deadline_ns) == 0, "bnx_timer_start");
        int64_t failed = 0;
        for (auto _ : state) {
            deadline_ns += 1000;
            failed += bnx_timer_extend(timer, deadline_ns) != 0;
        }
        bnx_bench_require(failed == 0 && bnx_timer_deadline(timer) >= deadline_ns &&
                              bnx_timer_deadline(timer) - deadline_ns <= options.slack_ns,
                          "BM_TimerExtend");
        bnx_timer_destroy(timer);
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TimerExtend)->Arg(0)->Arg(1);

/*
 * BM_TickerLateness: a ticker of 1 ms on an otherwise idle runtime. The time is that of the wait;
 * the counters say how much later than due the ticks came.
 */
static void BM_TickerLateness(benchmark::State &state) {
    const uint64_t period_ns = 1000000;
    uint64_t late_sum_ns = 0;
    uint64_t late_max_ns = 0;
    uint64_t missed_sum = 0;
    bnx_bench_run_workers(1, [&] {
        struct bnx_ticker ticker;
        uint64_t due_ns = bnx_now() + period_ns;
        bnx_bench_require(bnx_ticker_init(&ticker, period_ns, BNX_TICKER_SKIP) == 0,
                          "bnx_ticker_init");
        for (auto _ : state) {
            uint64_t missed = 0;
            bnx_bench_require(bnx_ticker_next(&ticker, &missed) == 0, "bnx_ticker_next");
            uint64_t now_ns = bnx_now();
            bnx_bench_require(now_ns >= due_ns, "BM_TickerLateness");
            uint64_t late_ns = now_ns - due_ns;
            late_sum_ns += late_ns;
            late_max_ns = late_ns > late_max_ns ? late_ns : late_max_ns;
            missed_sum += missed;
            due_ns += (missed + 1) * period_ns;
        }
    });
    state.counters["late_mean_us"] =
        static_cast<double>(late_sum_ns) / static_cast<double>(state.iterations()) / 1e3;
    state.counters["late_max_us"] = static_cast<double>(late_max_ns) / 1e3;
    state.counters["missed"] = static_cast<double>(missed_sum);
}
BENCHMARK(BM_TickerLateness)->UseRealTime()->MinTime(0.3);
