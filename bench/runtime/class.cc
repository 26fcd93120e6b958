/* SPDX-License-Identifier: MIT */
/*
 * BM_EchoBeside: one LATENCY task answers a client thread over a socket pair, on two workers. One
 * operation is one round trip; the counters p50_us and p99_us are of all of them.
 *   idle    nothing else runs
 *   batch   beside 100 BATCH tasks that compute for about 10 us and yield, for ever
 *   normal  beside the same 100 tasks of the usual class
 * batch_share is the part of the two workers' time that the 100 tasks computed; p99_slices, how
 * many of their slices ended in the course of a round trip, which tells what the scheduler does
 * where others than it have the CPUs.
 */
#include "bench/runtime/harness.h"

#include <algorithm>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include <bonxie/net.h>

static const int burners = 100;
static const uint64_t burn_ns = 10000;

struct fight {
    int server_fd;       /* the LATENCY task's end */
    enum bnx_class with; /* of the 100; INHERIT: there are none */
    int is_over;         /* the client has hung up; any thread */
    uint64_t burnt;      /* slices of the 100 */
    uint64_t echoed;     /* bytes sent back */
};

static int echo_bytes(void *arg) {
    struct fight *fight = static_cast<struct fight *>(arg);
    char byte;
    for (;;) { /* ends when the client hangs up */
        ssize_t count = bnx_recv(fight->server_fd, &byte, 1, 0);
        if (count <= 0 || bnx_send(fight->server_fd, &byte, 1, 0) != 1) {
            __atomic_store_n(&fight->is_over, 1, __ATOMIC_RELAXED);
            return 0;
        }
        fight->echoed++;
    }
}

static int burn(void *arg) {
    struct fight *fight = static_cast<struct fight *>(arg);
    while (__atomic_load_n(&fight->is_over, __ATOMIC_RELAXED) == 0) {
        uint64_t start_ns = bnx_now();
        while (bnx_now() - start_ns < burn_ns) {
        }
        __atomic_fetch_add(&fight->burnt, 1, __ATOMIC_RELAXED);
        bnx_yield();
    }
    return 0;
}

static int run_fight(void *arg) {
    struct fight *fight = static_cast<struct fight *>(arg);
    struct bnx_scope scope;
    struct bnx_spawn_options echo = {};
    struct bnx_spawn_options burner = {};
    echo.task_class = BNX_CLASS_LATENCY;
    burner.task_class = fight->with;
    int error = bnx_scope_open(&scope, nullptr);
    error = error < 0 ? error : bnx_spawn_with(&scope, &echo, echo_bytes, fight, nullptr);
    for (int i = 0; i < burners && fight->with != BNX_CLASS_INHERIT && error == 0; i++) {
        error = bnx_spawn_with(&scope, &burner, burn, fight, nullptr);
    }
    int closed = bnx_scope_close(&scope);
    return error < 0 ? error : closed;
}

static double at(const std::vector<uint64_t> &sorted, double part) {
    size_t index = static_cast<size_t>(part * static_cast<double>(sorted.size() - 1));
    return static_cast<double>(sorted[index]);
}

static void echo_beside(benchmark::State &state, enum bnx_class with) {
    int ends[2];
    bnx_bench_require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    struct fight fight = {ends[0], with, 0, 0, 0};
    std::thread server([&fight] {
        struct bnx_options options = {};
        options.worker_count = 2;
        bnx_bench_require(bnx_run(&options, run_fight, &fight) == 0, "bnx_run");
    });
    std::vector<uint64_t> trips;
    std::vector<uint64_t> slices;
    char byte = 'x';
    uint64_t begin_ns = bnx_now();
    for (auto _ : state) {
        uint64_t burnt = __atomic_load_n(&fight.burnt, __ATOMIC_RELAXED);
        uint64_t start_ns = bnx_now();
        bool is_right = send(ends[1], &byte, 1, 0) == 1 && recv(ends[1], &byte, 1, 0) == 1;
        bnx_bench_require(is_right, "BM_EchoBeside");
        trips.push_back(bnx_now() - start_ns);
        slices.push_back(__atomic_load_n(&fight.burnt, __ATOMIC_RELAXED) - burnt);
    }
    double spent_ns = static_cast<double>(bnx_now() - begin_ns);
    double burnt_ns = static_cast<double>(__atomic_load_n(&fight.burnt, __ATOMIC_RELAXED)) *
                      static_cast<double>(burn_ns);
    shutdown(ends[1], SHUT_RDWR);
    server.join();
    close(ends[0]);
    close(ends[1]);
    bnx_bench_require(fight.echoed == trips.size(), "BM_EchoBeside");
    std::sort(trips.begin(), trips.end());
    std::sort(slices.begin(), slices.end());
    state.counters["p50_us"] = at(trips, 0.5) / 1000;
    state.counters["p99_us"] = at(trips, 0.99) / 1000;
    state.counters["p99_slices"] = at(slices, 0.99);
    state.counters["batch_share"] = burnt_ns / (2 * spent_ns);
}

static void BM_EchoBesideNothing(benchmark::State &state) {
    echo_beside(state, BNX_CLASS_INHERIT);
}
BENCHMARK(BM_EchoBesideNothing)->Name("BM_EchoBeside/idle")->UseRealTime();

static void BM_EchoBesideBatch(benchmark::State &state) {
    echo_beside(state, BNX_CLASS_BATCH);
}
BENCHMARK(BM_EchoBesideBatch)->Name("BM_EchoBeside/batch")->UseRealTime();

static void BM_EchoBesideNormal(benchmark::State &state) {
    echo_beside(state, BNX_CLASS_NORMAL);
}
BENCHMARK(BM_EchoBesideNormal)->Name("BM_EchoBeside/normal")->UseRealTime();
