/* SPDX-License-Identifier: MIT */
/*
 * BM_WorkerWake: two tasks, each pinned to a worker of its own, wake each other in turn through
 * futures. One operation is one wake, from the set to the other task's return from its await.
 *   hot     the other worker spins while it waits
 *   parked  it sleeps in the kernel
 * BM_Bounce: two tasks, pinned likewise, send a message back and forth through unbuffered channels;
 * one way of it.
 *   spin     as the defaults have it: a worker spins for a while before it sleeps
 *   no_spin  it sleeps at once
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

/* ---- A message ---- */

struct bounce {
    struct bnx_chan *there;
    struct bnx_chan *back;
    int64_t sum; /* of what came back */
};

static int throw_ball(void *arg) {
    struct bounce *bounce = static_cast<struct bounce *>(arg);
    for (int64_t i = 0; i < rounds_per_batch; i++) {
        int64_t ball = i;
        int error = bnx_chan_send(bounce->there, &ball);
        error = error < 0 ? error : bnx_chan_recv(bounce->back, &ball);
        if (error < 0) {
            return error;
        }
        bounce->sum += ball;
    }
    bnx_chan_close(bounce->there);
    return 0;
}

static int return_ball(void *arg) {
    struct bounce *bounce = static_cast<struct bounce *>(arg);
    int64_t ball;
    while (bnx_chan_recv(bounce->there, &ball) == 0) { /* until it is closed */
        int error = bnx_chan_send(bounce->back, &ball);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static void bounce_batches(benchmark::State &state, uint64_t spin_ns) {
    struct bnx_options options = {};
    options.worker_count = 2;
    options.spin_ns = spin_ns;
    bnx_bench_run(options, [&] {
        while (state.KeepRunningBatch(2 * rounds_per_batch)) { /* a round is two ways */
            struct bounce bounce = {nullptr, nullptr, 0};
            bnx_bench_require(bnx_chan_create(sizeof(int64_t), 0, &bounce.there) == 0 &&
                                  bnx_chan_create(sizeof(int64_t), 0, &bounce.back) == 0,
                              "bnx_chan_create");
            bnx_bench_scope scope;
            scope.spawn_pinned(0, throw_ball, &bounce);
            scope.spawn_pinned(1, return_ball, &bounce);
            scope.close();
            bnx_bench_require(bounce.sum == rounds_per_batch * (rounds_per_batch - 1) / 2,
                              "BM_Bounce");
            bnx_chan_destroy(bounce.there);
            bnx_chan_destroy(bounce.back);
        }
    });
    state.SetItemsProcessed(state.iterations());
}

static void BM_BounceSpin(benchmark::State &state) {
    bounce_batches(state, 0);
}
BENCHMARK(BM_BounceSpin)->Name("BM_Bounce/spin")->MeasureProcessCPUTime()->UseRealTime();

static void BM_BounceNoSpin(benchmark::State &state) {
    bounce_batches(state, BNX_SPIN_NEVER);
}
BENCHMARK(BM_BounceNoSpin)->Name("BM_Bounce/no_spin")->MeasureProcessCPUTime()->UseRealTime();
