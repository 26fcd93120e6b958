/* SPDX-License-Identifier: MIT */
/* Spawning, giving way, fork and join, and the memory of a fiber. */
#include "bench/peers/boost_fiber/rows.h"
#include "bench/peers/boost_fiber/workers.h"

#include <atomic>
#include <vector>

thread_local struct cached_stack::node *cached_stack::cached;

static const uint64_t tasks_per_round = 1000;
static const uint64_t yields_per_round = 10000;

/* ---- Spawning ---- */

/* On one worker nobody else writes. */
static void count_one(std::atomic<uint64_t> &count, bool is_alone) {
    if (is_alone) {
        count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    } else {
        count.fetch_add(1, std::memory_order_relaxed);
    }
}

void run_spawn_join(const struct peer_run *run) {
    bool is_alone = run->workers == 1;
    measure_on_workers(run, idle_thread::sleeps, [=](uint64_t rounds) {
        uint64_t operations = rounds * tasks_per_round;
        std::atomic<uint64_t> count{0};
        for (uint64_t i = 0; i < operations; i++) {
            spawn_now([&count, is_alone] { count_one(count, is_alone); }).join();
        }
        return peer_work{operations, count.load(), operations};
    });
}

void run_spawn_1000(const struct peer_run *run) {
    bool is_alone = run->workers == 1;
    measure_on_workers(run, idle_thread::sleeps, [=](uint64_t rounds) {
        uint64_t operations = rounds * tasks_per_round;
        std::atomic<uint64_t> count{0};
        std::vector<fibers::fiber> tasks(tasks_per_round);
        for (uint64_t i = 0; i < rounds; i++) {
            for (fibers::fiber &task : tasks) {
                task = spawn_later([&count, is_alone] { count_one(count, is_alone); });
            }
            for (fibers::fiber &task : tasks) {
                task.join();
            }
        }
        return peer_work{operations, count.load(), operations};
    });
}

/* ---- Giving way ---- */

static void run_yields(const struct peer_run *run, uint64_t tasks_count) {
    measure_on_workers(run, idle_thread::sleeps, [=](uint64_t rounds) {
        uint64_t share = rounds * yields_per_round / tasks_count;
        std::vector<fibers::fiber> tasks(tasks_count);
        std::atomic<uint64_t> done{0};
        for (fibers::fiber &task : tasks) {
            task = spawn_later([&done, share] {
                uint64_t count = 0;
                for (; count < share; count++) {
                    boost::this_fiber::yield();
                }
                done.fetch_add(count, std::memory_order_relaxed);
            });
        }
        for (fibers::fiber &task : tasks) {
            task.join();
        }
        return peer_work{share * tasks_count, done.load(), share * tasks_count};
    });
}

void run_yield_2(const struct peer_run *run) {
    run_yields(run, 2);
}

void run_yield_1000(const struct peer_run *run) {
    run_yields(run, 1000);
}

/* ---- Fork and join ---- */

/* One branch in a fiber that runs at once, the other here. */
static uint64_t fib(uint64_t n) {
    if (n < 2) {
        return n;
    }
    uint64_t left = 0;
    fibers::fiber fork = spawn_now([&left, n] { left = fib(n - 1); });
    uint64_t right = fib(n - 2);
    fork.join();
    return left + right;
}

void run_fib(const struct peer_run *run) {
    measure_on_workers(run, idle_thread::spins, [](uint64_t rounds) {
        struct peer_work work = {rounds * peer_fib_calls(PEER_FIB_N), 0,
                                 rounds * peer_fib(PEER_FIB_N)};
        for (uint64_t i = 0; i < rounds; i++) {
            work.checksum += fib(PEER_FIB_N);
        }
        return work;
    });
}

/* Children that run at once take three times as long on one worker. */
static uint64_t skynet(uint64_t first, uint64_t leaves) {
    if (leaves == 1) {
        return first;
    }
    uint64_t share = leaves / 10;
    uint64_t sums[10];
    fibers::fiber children[10];
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t *sum = &sums[i];
        children[i] = spawn_later([=] { *sum = skynet(first + i * share, share); });
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 10; i++) {
        children[i].join();
        sum += sums[i];
    }
    return sum;
}

void run_skynet_tasks(const struct peer_run *run) {
    measure_on_workers(run, idle_thread::spins, [](uint64_t rounds) {
        struct peer_work work = {rounds * PEER_SKYNET_TASKS, 0,
                                 rounds * peer_sum_below(PEER_SKYNET_LEAVES)};
        for (uint64_t i = 0; i < rounds; i++) {
            work.checksum += skynet(0, PEER_SKYNET_LEAVES);
        }
        return work;
    });
}

/* ---- Memory ---- */

/* The value is bytes. */
void run_idle_task(const struct peer_run *run) {
    (void)run;
    fibers::promise<void> gate;
    fibers::shared_future<void> opened = gate.get_future().share();
    uint64_t count = 0;
    uint64_t bytes_before = peer_resident_bytes();
    uint64_t cpu_begin_ns = peer_cpu_ns();
    for (uint64_t i = 0; i < PEER_IDLE_TASKS; i++) {
        spawn_now([&opened, &count] {
            opened.wait();
            count++;
        }).detach();
    }
    uint64_t cpu_ns = peer_cpu_ns() - cpu_begin_ns;
    uint64_t bytes = peer_resident_bytes() - bytes_before;
    gate.set_value();
    while (count < PEER_IDLE_TASKS) {
        boost::this_fiber::yield();
    }
    struct peer_work work = {PEER_IDLE_TASKS, count, PEER_IDLE_TASKS};
    peer_print_once(bytes, cpu_ns, &work);
}
