/* SPDX-License-Identifier: MIT */
/* BM_FutureSetAwait: create a future, park in its await, be woken by its set, drop it. */
#include "bench/runtime/harness.h"

#include <vector>

static const int64_t futures_per_batch = 1000;

/* Futures that one task sets and another awaits, one after the other. */
struct relay {
    std::vector<struct bnx_future *> futures;
    int64_t sum; /* of the values awaited */
};

static int await_all(void *arg) {
    struct relay *relay = static_cast<struct relay *>(arg);
    for (struct bnx_future *future : relay->futures) {
        void *value = nullptr;
        int error = bnx_future_await(future, &value);
        if (error < 0) {
            return error;
        }
        relay->sum += static_cast<int64_t>(reinterpret_cast<intptr_t>(value));
        bnx_future_unref(future);
    }
    return 0;
}

/* The setter gives way after each set, so that the other one parks at the next future. */
static void set_all(struct relay *relay) {
    bnx_bench_scope scope;
    for (struct bnx_future *&future : relay->futures) {
        bnx_bench_require(bnx_future_create(&future) == 0, "bnx_future_create");
    }
    scope.spawn(await_all, relay);
    bnx_yield(); /* it runs to its first await */
    for (int64_t i = 0; i < futures_per_batch; i++) {
        void *value = reinterpret_cast<void *>(static_cast<intptr_t>(i));
        int error = bnx_future_set(relay->futures[static_cast<size_t>(i)], value);
        bnx_bench_require(error == 0, "bnx_future_set");
        bnx_yield();
    }
    scope.close();
}

static void BM_FutureSetAwait(benchmark::State &state) {
    struct relay relay = {std::vector<struct bnx_future *>(futures_per_batch), 0};
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(futures_per_batch)) {
            relay.sum = 0;
            set_all(&relay);
            bnx_bench_require(relay.sum == futures_per_batch * (futures_per_batch - 1) / 2,
                              "BM_FutureSetAwait");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FutureSetAwait)->UseRealTime();
