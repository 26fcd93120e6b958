/* SPDX-License-Identifier: MIT */
/*
 * Fork-join in its smallest form, fib(30), and beside it the same function with plain calls. One
 * operation is one call of fib; half of the calls are forked.
 */
#include "bench/runtime/harness.h"

struct fib {
    int n;
    int64_t value; /* out */
};

static int64_t fib_value(int64_t n) {
    int64_t before = 0;
    int64_t value = 1;
    for (int64_t i = 1; i < n; i++) {
        int64_t next = before + value;
        before = value;
        value = next;
    }
    return n == 0 ? 0 : value;
}

/* How many calls fib(n) makes, its own included: 2 fib(n + 1) - 1. */
static int64_t fib_calls(int64_t n) {
    return 2 * fib_value(n + 1) - 1;
}

__attribute__((noinline)) static int fib_fork(void *arg) {
    struct fib *self = static_cast<struct fib *>(arg);
    if (self->n < 2) {
        self->value = self->n;
        return 0;
    }
    struct fib left = {self->n - 1, 0};
    struct fib right = {self->n - 2, 0};
    struct bnx_fork fork;
    int error = bnx_fork(&fork, fib_fork, &left);
    error |= fib_fork(&right);
    error |= bnx_fork_join(&fork);
    self->value = left.value + right.value;
    return error;
}

/* The argument goes through memory, as a fork needs it; noinline, so that a call is a call. */
__attribute__((noinline)) static int fib_plain(void *arg) {
    struct fib *self = static_cast<struct fib *>(arg);
    if (self->n < 2) {
        self->value = self->n;
        return 0;
    }
    struct fib left = {self->n - 1, 0};
    struct fib right = {self->n - 2, 0};
    int error = fib_plain(&left);
    error |= fib_plain(&right);
    self->value = left.value + right.value;
    return error;
}

static void fib_batches(benchmark::State &state, bnx_task_fn fn) {
    int n = static_cast<int>(state.range(0));
    int64_t expected = fib_value(n);
    while (state.KeepRunningBatch(fib_calls(n))) {
        struct fib root = {n, 0};
        int error = fn(&root);
        bnx_bench_require(error == 0 && root.value == expected, "fib");
    }
}

/* BM_ForkFib/N/WORKERS */
static void BM_ForkFib(benchmark::State &state) {
    bnx_bench_run_workers(state.range(1), [&] { fib_batches(state, fib_fork); });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ForkFib)->Args({30, 1})->Args({30, 2})->UseRealTime();

/* BM_PlainFib/N: the bare limit. */
static void BM_PlainFib(benchmark::State &state) {
    fib_batches(state, fib_plain);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PlainFib)->Arg(30)->UseRealTime();
