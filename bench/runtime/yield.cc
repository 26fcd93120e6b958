/* SPDX-License-Identifier: MIT */
/* BM_Yield/TASKS/WORKERS: one bnx_yield, with TASKS tasks ready all the time. */
#include "bench/runtime/harness.h"

#include <vector>

/* In one batch, by all tasks together: the spawns and the close weigh less than 1 % of it. */
static const int64_t yields_per_batch = 1000000;

struct yielder {
    int64_t rounds; /* yields to make */
    int64_t done;   /* made */
};

static int yield_rounds(void *arg) {
    struct yielder *self = static_cast<struct yielder *>(arg);
    for (int64_t i = 0; i < self->rounds; i++) {
        bnx_yield();
        self->done++;
    }
    return 0;
}

static void BM_Yield(benchmark::State &state) {
    int64_t tasks = state.range(0);
    std::vector<struct yielder> yielders(static_cast<size_t>(tasks));
    bnx_bench_run_workers(state.range(1), [&] {
        while (state.KeepRunningBatch(yields_per_batch)) {
            bnx_bench_scope scope;
            for (struct yielder &yielder : yielders) {
                yielder = {yields_per_batch / tasks, 0};
                scope.spawn(yield_rounds, &yielder);
            }
            scope.close();
            int64_t done = 0;
            for (const struct yielder &yielder : yielders) {
                done += yielder.done;
            }
            bnx_bench_require(done == yields_per_batch, "BM_Yield");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Yield)->Args({2, 1})->Args({1000, 1})->Args({2, 2})->Args({1000, 2})->UseRealTime();
