/* SPDX-License-Identifier: MIT */
/* The peer Boost.Fiber: work stealing where there are two workers. */
#include "bench/peers/boost_fiber/rows.h"
#include "bench/peers/peer.h"

#include <boost/version.hpp>

static void print_version() {
    printf("Boost.Fiber " BOOST_LIB_VERSION ", " PEER_COMPILER "\n");
}

static const struct peer_row rows[] = {
    {"spawn_join", "1 2", run_spawn_join},
    {"spawn_1000", "1 2", run_spawn_1000},
    {"yield_2", "1 2", run_yield_2},
    {"yield_1000", "1 2", run_yield_1000},
    {"fib", "1 2", run_fib},
    {"skynet_tasks", "1 2", run_skynet_tasks},
    {"idle_task", "1", run_idle_task},
    {"chan_hop", "1 2", run_chan_hop},
    {"mpmc", "1 2", run_mpmc},
    {"mutex_1", "1", run_mutex_1},
    {"mutex_16", "1 2", run_mutex_16},
    {"mutex_yield", "1 2", run_mutex_yield},
    {"bounce", "2", run_bounce},
    {"wake_hot", "2", run_wake_hot},
    {"wake_parked", "2", run_wake_parked},
    {nullptr, nullptr, nullptr},
};

int main(int argc, char **argv) {
    const struct peer peer = {print_version, rows, nullptr};
    return peer_main(&peer, argc, argv);
}
