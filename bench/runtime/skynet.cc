/* SPDX-License-Identifier: MIT */
/*
 * skynet: a tree with ten children a node and a million leaves, whose numbers are added up. One
 * operation is one task (or fork) of any level; there are 1,111,110 of them.
 */
#include "bench/runtime/harness.h"

static const int children_count = 10;
static const uint64_t leaves_count = 1000000;
static const int64_t tasks_count = 1111110; /* the root is the caller itself */
static const uint64_t sum_expected = UINT64_C(499999500000);
static const uint64_t leaves_per_yield = 1000;

struct subtree {
    uint64_t first;
    uint64_t leaves;
    uint64_t sum; /* out */
};

static void split(const struct subtree *tree, struct subtree *out_children) {
    uint64_t leaves = tree->leaves / children_count;
    for (uint64_t i = 0; i < children_count; i++) {
        out_children[i] = {tree->first + i * leaves, leaves, 0};
    }
}

static void add_up(struct subtree *tree, const struct subtree *children) {
    for (int i = 0; i < children_count; i++) {
        tree->sum += children[i].sum;
    }
}

template <bool leaves_yield> static int grow_tasks(void *arg) {
    struct subtree *tree = static_cast<struct subtree *>(arg);
    if (tree->leaves == 1) {
        if (leaves_yield && tree->first % leaves_per_yield == 0) {
            bnx_yield();
        }
        tree->sum = tree->first;
        return 0;
    }
    struct subtree children[children_count];
    split(tree, children);
    bnx_bench_scope scope;
    for (int i = 0; i < children_count; i++) {
        scope.spawn(grow_tasks<leaves_yield>, &children[i]);
    }
    scope.close();
    add_up(tree, children);
    return 0;
}

static int grow_forks(void *arg) {
    struct subtree *tree = static_cast<struct subtree *>(arg);
    if (tree->leaves == 1) {
        tree->sum = tree->first;
        return 0;
    }
    struct subtree children[children_count];
    split(tree, children);
    struct bnx_fork forks[children_count];
    for (int i = 0; i < children_count; i++) {
        bnx_bench_require(bnx_fork(&forks[i], grow_forks, &children[i]) == 0, "bnx_fork");
    }
    int error = 0;
    for (int i = children_count; i-- > 0;) {
        error |= bnx_fork_join(&forks[i]);
    }
    add_up(tree, children);
    return error;
}

static void skynet_batches(benchmark::State &state, int64_t workers, bnx_task_fn grow) {
    bnx_bench_run_workers(workers, [&] {
        while (state.KeepRunningBatch(tasks_count)) {
            struct subtree tree = {0, leaves_count, 0};
            int error = grow(&tree);
            bnx_bench_require(error == 0 && tree.sum == sum_expected, "skynet");
        }
    });
    state.SetItemsProcessed(state.iterations());
}

/* BM_SkynetTasks/WORKERS */
static void BM_SkynetTasks(benchmark::State &state) {
    skynet_batches(state, state.range(0), grow_tasks<false>);
}
BENCHMARK(BM_SkynetTasks)->Arg(1)->Arg(2)->UseRealTime();

/* BM_SkynetTasksYield: every 1000th leaf lets others run first. */
static void BM_SkynetTasksYield(benchmark::State &state) {
    skynet_batches(state, 1, grow_tasks<true>);
}
BENCHMARK(BM_SkynetTasksYield)->UseRealTime();

/* BM_SkynetForks/WORKERS */
static void BM_SkynetForks(benchmark::State &state) {
    skynet_batches(state, state.range(0), grow_forks);
}
BENCHMARK(BM_SkynetForks)->Arg(1)->Arg(2)->UseRealTime();
