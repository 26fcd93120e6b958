/* SPDX-License-Identifier: MIT */
/*
 * Synchronisation objects.
 *
 *   BM_MutexUncontended         lock and unlock by one task
 *   BM_PthreadMutexUncontended  the same, a pthread mutex, by the same task
 *   BM_MutexContended/TASKS/WORKERS     sections of a few instructions, one after the other
 *   BM_MutexYieldInside/WORKERS 4 tasks that give way while they hold it: each lock waits
 *   BM_SemHop/WORKERS           a token goes back and forth between two tasks; one hop
 */
#include "bench/runtime/harness.h"

#include <pthread.h>

static void BM_MutexUncontended(benchmark::State &state) {
    struct bnx_mutex mutex = BNX_MUTEX_INIT;
    int64_t count = 0;
    bnx_bench_run_workers(1, [&] {
        for (auto _ : state) {
            bnx_bench_require(bnx_mutex_lock(&mutex) == 0, "bnx_mutex_lock");
            count++;
            bnx_mutex_unlock(&mutex);
        }
    });
    bnx_bench_require(count == static_cast<int64_t>(state.iterations()), "BM_MutexUncontended");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_MutexUncontended)->UseRealTime();

static void BM_PthreadMutexUncontended(benchmark::State &state) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int64_t count = 0;
    bnx_bench_run_workers(1, [&] {
        for (auto _ : state) {
            bnx_bench_require(pthread_mutex_lock(&mutex) == 0, "pthread_mutex_lock");
            count++;
            pthread_mutex_unlock(&mutex);
        }
    });
    bnx_bench_require(count == static_cast<int64_t>(state.iterations()),
                      "BM_PthreadMutexUncontended");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PthreadMutexUncontended)->UseRealTime();

/* Tasks that share a mutex and what it protects. */
struct crowd {
    struct bnx_mutex mutex;
    int64_t sections; /* each task's */
    int64_t count;    /* under the mutex */
    bool yields;      /* inside the section */
};

static int enter_sections(void *arg) {
    struct crowd *crowd = static_cast<struct crowd *>(arg);
    for (int64_t i = 0; i < crowd->sections; i++) {
        int error = bnx_mutex_lock(&crowd->mutex);
        if (error < 0) {
            return error;
        }
        int64_t count = crowd->count;
        if (crowd->yields) {
            bnx_yield();
        }
        crowd->count = count + 1;
        bnx_mutex_unlock(&crowd->mutex);
    }
    return 0;
}

static void run_crowd(benchmark::State &state, int64_t tasks, int64_t workers, bool yields) {
    const int64_t sections = yields ? 1000 : 100000;
    bnx_bench_run_workers(workers, [&] {
        while (state.KeepRunningBatch(tasks * sections)) {
            struct crowd crowd = {BNX_MUTEX_INIT, sections, 0, yields};
            bnx_bench_scope scope;
            for (int64_t i = 0; i < tasks; i++) {
                scope.spawn(enter_sections, &crowd);
            }
            scope.close();
            bnx_bench_require(crowd.count == tasks * sections, "a crowd at a mutex");
        }
    });
    state.SetItemsProcessed(state.iterations());
}

static void BM_MutexContended(benchmark::State &state) {
    run_crowd(state, state.range(0), state.range(1), false);
}
BENCHMARK(BM_MutexContended)
    ->Args({4, 1})
    ->Args({4, 2})
    ->Args({16, 1})
    ->Args({16, 2})
    ->Args({64, 2})
    ->UseRealTime();

static void BM_MutexYieldInside(benchmark::State &state) {
    run_crowd(state, 4, state.range(0), true);
}
BENCHMARK(BM_MutexYieldInside)->Arg(1)->Arg(2)->UseRealTime();

struct hop {
    struct bnx_sem from;
    struct bnx_sem to;
    int64_t hops;
};

static int hop_back(void *arg) {
    struct hop *hop = static_cast<struct hop *>(arg);
    for (int64_t i = 0; i < hop->hops; i++) {
        int error = bnx_sem_acquire(&hop->to);
        error = error < 0 ? error : bnx_sem_release(&hop->from);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static void BM_SemHop(benchmark::State &state) {
    const int64_t hops = 1000;
    bnx_bench_run_workers(state.range(0), [&] {
        while (state.KeepRunningBatch(2 * hops)) {
            struct hop hop = {BNX_SEM_INIT(0), BNX_SEM_INIT(0), hops};
            bnx_bench_scope scope;
            scope.spawn(hop_back, &hop);
            for (int64_t i = 0; i < hops; i++) {
                bnx_bench_require(bnx_sem_release(&hop.to) == 0, "bnx_sem_release");
                bnx_bench_require(bnx_sem_acquire(&hop.from) == 0, "bnx_sem_acquire");
            }
            scope.close();
            bnx_bench_require(bnx_sem_count(&hop.to) == 0 && bnx_sem_count(&hop.from) == 0,
                              "BM_SemHop");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SemHop)->Arg(1)->Arg(2)->UseRealTime();
