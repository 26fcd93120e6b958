/* SPDX-License-Identifier: MIT */
/*
 * BM_WorkerWake: two tasks, each pinned to a worker of its own, wake each other in turn through
 * futures. One operation is one wake, from the set to the other task's return from its await.
 *   hot     the other worker spins while it waits
 *   parked  it sleeps in the kernel
 */
#include "bench/runtime/harness.h"

#include <vector>

static const int64_t rounds_per_batch = 200;

struct ping_pong {
    std::vector<struct bnx_future *> pings; /* set by worker 0 */
    std::vector<struct bnx_future *> pongs; /* set by worker 1 */
    int64_t rounds;                         /* counted by worker 0 */
};

static int send_pings(void *arg) {
    struct ping_pong *game = static_cast<struct ping_pong *>(arg);
    for (size_t i = 0; i < game->pings.size(); i++) {
        int error = bnx_future_set(game->pings[i], nullptr);
        error = error < 0 ? error : bnx_future_await(game->pongs[i], nullptr);
        if (error < 0) {
            return error;
        }
        game->rounds++;
    }
    return 0;
}

static int send_pongs(void *arg) {
    struct ping_pong *game = static_cast<struct ping_pong *>(arg);
    for (size_t i = 0; i < game->pings.size(); i++) {
        int error = bnx_future_await(game->pings[i], nullptr);
        error = error < 0 ? error : bnx_future_set(game->pongs[i], nullptr);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static void create_all(std::vector<struct bnx_future *> &futures) {
    for (struct bnx_future *&future : futures) {
        bnx_bench_require(bnx_future_create(&future) == 0, "bnx_future_create");
    }
}

static void drop_all(std::vector<struct bnx_future *> &futures) {
    for (struct bnx_future *future : futures) {
        bnx_future_unref(future);
    }
}

static void wake_batches(benchmark::State &state, uint64_t spin_ns) {
    struct bnx_options options = {};
    options.worker_count = 2;
    options.spin_ns = spin_ns;
    const size_t rounds = static_cast<size_t>(rounds_per_batch);
    struct ping_pong game = {std::vector<struct bnx_future *>(rounds),
                             std::vector<struct bnx_future *>(rounds), 0};
    bnx_bench_run(options, [&] {
        while (state.KeepRunningBatch(2 * rounds_per_batch)) { /* a round is two wakes */
            game.rounds = 0;
            create_all(game.pings);
            create_all(game.pongs);
            bnx_bench_scope scope;
            scope.spawn_pinned(0, send_pings, &game);
            scope.spawn_pinned(1, send_pongs, &game);
            scope.close();
            bnx_bench_require(game.rounds == rounds_per_batch, "BM_WorkerWake");
            drop_all(game.pings);
            drop_all(game.pongs);
        }
    });
    state.SetItemsProcessed(state.iterations());
}

static void BM_WorkerWakeHot(benchmark::State &state) {
    wake_batches(state, UINT64_C(1000000000));
}
BENCHMARK(BM_WorkerWakeHot)->Name("BM_WorkerWake/hot")->UseRealTime();

static void BM_WorkerWakeParked(benchmark::State &state) {
    wake_batches(state, BNX_SPIN_NEVER);
}
BENCHMARK(BM_WorkerWakeParked)->Name("BM_WorkerWake/parked")->UseRealTime();
