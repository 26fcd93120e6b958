/* SPDX-License-Identifier: MIT */
/*
 * BM_GenNext, BM_GenSend: one next (send) and the yield that answers it. BM_GenCreate: create,
 * first next, destroy. BM_GenDelegate/DEPTH: as BM_GenNext, through DEPTH delegations. BM_IterMap:
 * one value through a range, a filter that keeps it and a map. All in the main task of one worker.
 */
#include "bench/runtime/harness.h"

static const int64_t steps_per_batch = 100000;

/* Gives 1, 2, 3, ... and what was sent to it on top. */
static int count_up(struct bnx_gen *gen, void *) {
    for (intptr_t n = 1;; n++) {
        void *sent = nullptr;
        int error = bnx_gen_yield(gen, reinterpret_cast<void *>(n), &sent);
        if (error < 0) {
            return error;
        }
        n += reinterpret_cast<intptr_t>(sent);
    }
}

static struct bnx_gen *create(bnx_gen_fn fn, void *arg) {
    struct bnx_gen *gen = nullptr;
    bnx_bench_require(bnx_gen_create(&gen, fn, arg, nullptr) == 0, "bnx_gen_create");
    return gen;
}

/* The next number. */
static intptr_t take(struct bnx_gen *gen) {
    void *value = nullptr;
    bnx_bench_require(bnx_gen_next(gen, &value) == 1, "bnx_gen_next");
    return reinterpret_cast<intptr_t>(value);
}

/* Times steps of a generator; each adds `width` to the number that it gives. */
template <class Step>
static void time_steps(benchmark::State &state, struct bnx_gen *gen, intptr_t width, Step step) {
    intptr_t first = take(gen);
    int64_t steps = 0;
    int64_t succeeded = 0;
    void *last = nullptr;
    while (state.KeepRunningBatch(steps_per_batch)) {
        for (int64_t i = 0; i < steps_per_batch; i++) {
            succeeded += step(gen, &last);
        }
        steps += steps_per_batch;
    }
    bnx_bench_require(succeeded == steps, "bnx_gen_next");
    bnx_bench_require(reinterpret_cast<intptr_t>(last) == first + steps * width,
                      "a generator's number");
    bnx_gen_destroy(gen);
    state.SetItemsProcessed(state.iterations());
}

static int send_ten(struct bnx_gen *gen, void **out_value) {
    return bnx_gen_send(gen, reinterpret_cast<void *>(static_cast<intptr_t>(10)), out_value);
}

static void BM_GenNext(benchmark::State &state) {
    bnx_bench_run_workers(1,
                          [&] { time_steps(state, create(count_up, nullptr), 1, bnx_gen_next); });
}
BENCHMARK(BM_GenNext)->UseRealTime();

static void BM_GenSend(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] { time_steps(state, create(count_up, nullptr), 11, send_ten); });
}
BENCHMARK(BM_GenSend)->UseRealTime();

static void BM_GenCreate(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        intptr_t sum = 0;
        int64_t made = 0;
        while (state.KeepRunningBatch(steps_per_batch)) {
            for (int64_t i = 0; i < steps_per_batch; i++) {
                struct bnx_gen *gen = create(count_up, nullptr);
                sum += take(gen);
                bnx_gen_destroy(gen);
            }
            made += steps_per_batch;
        }
        bnx_bench_require(sum == made, "BM_GenCreate");
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_GenCreate)->UseRealTime();

/* Delegates to a generator that delegates, *arg times; the last one counts. */
static int delegate(struct bnx_gen *gen, void *arg) {
    int64_t depth = *static_cast<int64_t *>(arg) - 1;
    struct bnx_gen *inner = create(depth == 0 ? count_up : delegate, &depth);
    int error = bnx_gen_yield_from(gen, inner, nullptr);
    bnx_gen_destroy(inner);
    return error;
}

static void BM_GenDelegate(benchmark::State &state) {
    int64_t depth = state.range(0);
    bnx_bench_run_workers(1, [&] { time_steps(state, create(delegate, &depth), 1, bnx_gen_next); });
}
BENCHMARK(BM_GenDelegate)->Arg(1)->Arg(10)->Arg(100)->Arg(1000)->UseRealTime();

static int is_number(void *, void *) {
    return 1;
}

static int add_one(void *value, void **out_value, void *) {
    *out_value = static_cast<char *>(value) + 1;
    return 0;
}

static void BM_IterMap(benchmark::State &state) {
    while (state.KeepRunningBatch(steps_per_batch)) {
        struct bnx_iter_stage range;
        struct bnx_iter_stage filter;
        struct bnx_iter_stage map;
        struct bnx_iter *iter = bnx_iter_range(&range, 0, steps_per_batch, 1);
        iter = bnx_iter_filter(&filter, iter, is_number, nullptr);
        iter = bnx_iter_map(&map, iter, add_one, nullptr);
        int64_t sum = 0;
        BNX_FOR_EACH(value, iter) {
            sum += reinterpret_cast<intptr_t>(value);
        }
        bnx_bench_require(sum == steps_per_batch * (steps_per_batch + 1) / 2, "BM_IterMap");
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_IterMap)->UseRealTime();
