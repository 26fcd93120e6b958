/* SPDX-License-Identifier: MIT */
/* Channels and selects under load: every item that went has come, once. */
#include "tests/support/chan_flow.h"

static void run_all(uint32_t threads) {
    static const size_t capacities[][2] = {{0, 0}, {1, 0}, {3, 2}, {64, 1}};
    static struct chan_flow_run run;
    uint64_t seed = bnx_test_seed();
    uint64_t rounds = bnx_test_scale(200);
    for (uint64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
            const size_t *pair = capacities[(round + i) % BNX_ARRAY_COUNT(capacities)];
            struct chan_flow_options options = {
                .runtime = {.worker_count = sched_worker_counts[i], .seed = seed},
                .seed = seed + round,
                .capacities = {pair[0], pair[1]},
                .producers = 3,
                .consumers = 3,
                .victims = 4,
                .threads = threads,
                .share = 300,
            };
            chan_flow_run(&run, &options);
        }
    }
}

/* Claim: no item is lost or doubled, whatever ends the calls that move it. Method: tests/support/
 * chan_flow.h among tasks, with 1, 2, 3 and 8 workers, buffered and not. */
TEST(chan_conserved, "chan.items_are_conserved") {
    run_all(0);
}

/* Claim: nor when OS threads take part. */
TEST(chan_conserved_threads, "chan.conserved_by_threads") {
    run_all(4);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
