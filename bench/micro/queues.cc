/* SPDX-License-Identifier: MIT */
/*
 * The queues of one worker, used by one thread: what they cost when nobody else is near.
 *   BM_RunqPushPop   a push and a pop
 *   BM_RunqSteal     one raid that takes half of what is there
 *   BM_DequePushPop  a push and a pop, others beneath
 *   BM_InboxPush     a push and a pop, in batches
 */
#include "bench/micro/internals.h"
#include "bench/runtime/harness.h"

static const int64_t rounds_per_batch = 64000;

/* In a task, because the deque's cheap form needs what a runtime sets up. */
static void queue_batches(benchmark::State &state, uint64_t (*loop)(uint64_t), const char *what) {
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(rounds_per_batch)) {
            bnx_bench_require(loop(rounds_per_batch) == rounds_per_batch, what);
        }
    });
    state.SetItemsProcessed(state.iterations());
}

static void BM_RunqPushPop(benchmark::State &state) {
    queue_batches(state, bnx_bench_runq_push_pop, "BM_RunqPushPop");
}
BENCHMARK(BM_RunqPushPop)->UseRealTime();

static void BM_RunqSteal(benchmark::State &state) {
    uint64_t moved = 0;
    while (state.KeepRunningBatch(rounds_per_batch)) {
        uint64_t raids = bnx_bench_runq_steal(rounds_per_batch, &moved);
        bnx_bench_require(raids == rounds_per_batch, "BM_RunqSteal");
    }
    state.SetItemsProcessed(state.iterations());
    state.counters["items_per_raid"] = static_cast<double>(moved) / rounds_per_batch;
}
BENCHMARK(BM_RunqSteal)->UseRealTime();

static void BM_DequePushPop(benchmark::State &state) {
    queue_batches(state, bnx_bench_deque_push_pop, "BM_DequePushPop");
}
BENCHMARK(BM_DequePushPop)->UseRealTime();

static void BM_InboxPush(benchmark::State &state) {
    queue_batches(state, bnx_bench_inbox_push, "BM_InboxPush");
}
BENCHMARK(BM_InboxPush)->UseRealTime();
