/* SPDX-License-Identifier: MIT */
/* BM_FutureSetAwait: two tasks hand the turn to each other: one sets the future that the other one
 * waits in, and waits in the next itself; a switch for each. BM_FutureCreate: make one and drop it.
 *  */
#include "bench/runtime/harness.h"

#include <chrono>
#include <vector>

static const size_t futures_per_batch = 2000;

/* Futures that two tasks set in turn; each awaits the other's. */
struct relay {
    std::vector<struct bnx_future *> futures;
    int64_t sum; /* of the values awaited */
};

/* Awaits every second future from `first` on and sets the one after it. */
static void play(struct relay *relay, size_t first) {
    for (size_t i = first; i < futures_per_batch; i += 2) {
        void *value = nullptr;
        int error = bnx_future_await(relay->futures[i], &value);
        relay->sum += static_cast<int64_t>(reinterpret_cast<intptr_t>(value));
        if (i + 1 < futures_per_batch) {
            void *next = reinterpret_cast<void *>(static_cast<intptr_t>(i + 1));
            error |= bnx_future_set(relay->futures[i + 1], next);
        }
        bnx_bench_require(error == 0, "await and set");
    }
}

static int play_odd(void *arg) {
    play(static_cast<struct relay *>(arg), 1);
    return 0;
}

/* Returns the seconds that the relay took. */
static double run_relay(struct relay *relay) {
    bnx_bench_scope scope;
    for (struct bnx_future *&future : relay->futures) {
        bnx_bench_require(bnx_future_create(&future) == 0, "bnx_future_create");
    }
    scope.spawn(play_odd, relay);
    bnx_yield(); /* it waits in future 1 */
    auto begin = std::chrono::steady_clock::now();
    bnx_bench_require(bnx_future_set(relay->futures[0], nullptr) == 0, "bnx_future_set");
    play(relay, 0);
    scope.close();
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    for (struct bnx_future *future : relay->futures) {
        bnx_future_unref(future);
    }
    return took.count();
}

static void BM_FutureSetAwait(benchmark::State &state) {
    struct relay relay = {std::vector<struct bnx_future *>(futures_per_batch), 0};
    const int64_t count = static_cast<int64_t>(futures_per_batch);
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(count)) {
            relay.sum = 0;
            state.SetIterationTime(run_relay(&relay));
            bnx_bench_require(relay.sum == count * (count - 1) / 2, "BM_FutureSetAwait");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FutureSetAwait)->UseManualTime();

static void BM_FutureCreate(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        for (auto _ : state) {
            struct bnx_future *future = nullptr;
            bnx_bench_require(bnx_future_create(&future) == 0, "bnx_future_create");
            bnx_future_unref(future);
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FutureCreate)->UseRealTime();
