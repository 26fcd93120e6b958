/* SPDX-License-Identifier: MIT */
/* The peer oneTBB: fork-join by task_group, which is all of the rows that it has. */
#include "bench/peers/peer.h"

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <tbb/version.h>

static void print_version() {
    printf("oneTBB %s, " PEER_COMPILER "\n", TBB_runtime_version());
}

/* Measures inside an arena of so many threads, the calling one among them. */
static void measure_in_arena(const struct peer_run *run, peer_batch_fn batch) {
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, run->workers);
    tbb::task_arena arena(static_cast<int>(run->workers));
    arena.execute([&] { peer_measure(run, batch, nullptr); });
}

/* One branch is forked, the other runs here. */
static uint64_t fib(unsigned n) {
    if (n < 2) {
        return n;
    }
    uint64_t left = 0;
    tbb::task_group group;
    group.run([&left, n] { left = fib(n - 1); });
    uint64_t right = fib(n - 2);
    group.wait();
    return left + right;
}

static struct peer_work fib_batch(void *, uint64_t rounds) {
    struct peer_work work = {rounds * peer_fib_calls(PEER_FIB_N), 0, rounds * peer_fib(PEER_FIB_N)};
    for (uint64_t i = 0; i < rounds; i++) {
        work.checksum += fib(PEER_FIB_N);
    }
    return work;
}

static void run_fib(const struct peer_run *run) {
    measure_in_arena(run, fib_batch);
}

static uint64_t skynet(uint64_t first, uint64_t leaves) {
    if (leaves == 1) {
        return first;
    }
    uint64_t share = leaves / 10;
    uint64_t sums[10];
    tbb::task_group group;
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t *sum = &sums[i];
        group.run([=] { *sum = skynet(first + i * share, share); });
    }
    group.wait();
    uint64_t sum = 0;
    for (uint64_t part : sums) {
        sum += part;
    }
    return sum;
}

static struct peer_work skynet_batch(void *, uint64_t rounds) {
    struct peer_work work = {rounds * PEER_SKYNET_TASKS, 0,
                             rounds * peer_sum_below(PEER_SKYNET_LEAVES)};
    for (uint64_t i = 0; i < rounds; i++) {
        work.checksum += skynet(0, PEER_SKYNET_LEAVES);
    }
    return work;
}

static void run_skynet_forks(const struct peer_run *run) {
    measure_in_arena(run, skynet_batch);
}

static const struct peer_row rows[] = {
    {"fib", "1 2", run_fib},
    {"skynet_forks", "1 2", run_skynet_forks},
    {nullptr, nullptr, nullptr},
};

int main(int argc, char **argv) {
    const struct peer peer = {print_version, rows, nullptr};
    return peer_main(&peer, argc, argv);
}
