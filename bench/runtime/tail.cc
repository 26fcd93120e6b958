/* SPDX-License-Identifier: MIT */
/*
 * BM_OpenLoop/PERCENT/WORKERS: tasks that compute for 20 us arrive at random, as often as fills so
 * much of the workers' time, whether or not those before them are done. The counters are the time
 * from the moment when a task was to arrive, not from its spawn, to its end: what waits because the
 * arrivals themselves come late counts too. One operation is one task.
 * BM_StuckMessage/US: a task on worker 0 wakes another one, computes for US microseconds and does
 * not give way; whom it has woken waits in that worker's slot for the next task, until worker 1
 * takes it. One operation is one message with its answer; the counters are the times from the wake
 * to the message, and `stuck`, how many of them waited for all of the computing. With 0 there is
 * nothing to gain by taking it: the time says what the other worker's looking for work costs.
 */
#include "bench/runtime/arrivals.h"
#include "bench/runtime/latency.h"

#include <vector>

/* ---- Arrivals ---- */

static const uint64_t job_ns = 20000;
static const int64_t jobs_count = 8000;

struct job {
    uint64_t due_ns;
    bnx_bench_latencies *times;
};

static int do_job(void *arg) {
    struct job *job = static_cast<struct job *>(arg);
    bnx_bench_burn(job_ns);
    job->times->add(bnx_now() - job->due_ns);
    return 0;
}

static void BM_OpenLoop(benchmark::State &state) {
    const double load = static_cast<double>(state.range(0)) / 100;
    const double mean_ns = static_cast<double>(job_ns) / load / static_cast<double>(state.range(1));
    std::vector<struct job> jobs(jobs_count);
    bnx_bench_latencies times(jobs_count);
    bnx_bench_arrivals schedule(mean_ns);
    bnx_bench_run_workers(state.range(1), [&] {
        while (state.KeepRunningBatch(jobs_count)) {
            bnx_bench_scope scope;
            uint64_t due_ns = bnx_now();
            for (struct job &job : jobs) {
                due_ns += schedule.next_ns();
                if (bnx_now() < due_ns) {
                    bnx_bench_require(bnx_sleep_until(due_ns) == 0, "bnx_sleep_until");
                }
                job = {due_ns, &times};
                scope.spawn(do_job, &job);
            }
            scope.close();
        }
    });
    bnx_bench_require(times.count() == jobs_count, "BM_OpenLoop");
    times.report(state);
}
/* One batch: the times have room for one. */
BENCHMARK(BM_OpenLoop)
    ->Args({30, 1})
    ->Args({70, 1})
    ->Args({30, 2})
    ->Args({70, 2})
    ->Iterations(jobs_count)
    ->UseRealTime();

/* ---- Behind the next task ---- */

static const int64_t messages_count = 200;

struct errand {
    struct bnx_sem go;
    struct bnx_sem back;
    uint64_t wake_ns;
    uint64_t compute_ns;
    int64_t stuck;
    bnx_bench_latencies *times;
};

static int send_messages(void *arg) {
    struct errand *errand = static_cast<struct errand *>(arg);
    for (int64_t i = 0; i < messages_count; i++) {
        errand->wake_ns = bnx_now();
        int error = bnx_sem_release(&errand->go);
        bnx_bench_burn(errand->compute_ns);
        error = error < 0 ? error : bnx_sem_acquire(&errand->back);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static int take_messages(void *arg) {
    struct errand *errand = static_cast<struct errand *>(arg);
    for (int64_t i = 0; i < messages_count; i++) {
        int error = bnx_sem_acquire(&errand->go);
        uint64_t took_ns = bnx_now() - errand->wake_ns;
        errand->times->add(took_ns);
        errand->stuck += errand->compute_ns > 0 && took_ns >= errand->compute_ns;
        error = error < 0 ? error : bnx_sem_release(&errand->back);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static void BM_StuckMessage(benchmark::State &state) {
    bnx_bench_latencies times(messages_count);
    int64_t stuck = 0;
    bnx_bench_run_workers(2, [&] {
        while (state.KeepRunningBatch(messages_count)) {
            uint64_t compute_ns = static_cast<uint64_t>(state.range(0)) * 1000;
            struct errand errand = {BNX_SEM_INIT(0), BNX_SEM_INIT(0), 0, compute_ns, 0, &times};
            bnx_bench_scope scope;
            scope.spawn(take_messages, &errand);
            scope.spawn_pinned(0, send_messages, &errand);
            scope.close();
            stuck += errand.stuck;
        }
    });
    bnx_bench_require(times.count() == messages_count, "BM_StuckMessage");
    times.report(state);
    state.counters["stuck"] = static_cast<double>(stuck);
}
BENCHMARK(BM_StuckMessage)->Arg(0)->Arg(1000)->Arg(5000)->Iterations(messages_count)->UseRealTime();
