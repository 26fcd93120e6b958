/* SPDX-License-Identifier: MIT */
/* The rows, by file. */
#ifndef BNX_BENCH_PEERS_BOOST_FIBER_ROWS_H
#define BNX_BENCH_PEERS_BOOST_FIBER_ROWS_H

struct peer_run;

/* tasks.cc */
void run_spawn_join(const struct peer_run *run);
void run_spawn_1000(const struct peer_run *run);
void run_yield_2(const struct peer_run *run);
void run_yield_1000(const struct peer_run *run);
void run_fib(const struct peer_run *run);
void run_skynet_tasks(const struct peer_run *run);
void run_idle_task(const struct peer_run *run);

/* sync.cc */
void run_chan_hop(const struct peer_run *run);
void run_mpmc(const struct peer_run *run);
void run_mutex_1(const struct peer_run *run);
void run_mutex_16(const struct peer_run *run);
void run_mutex_yield(const struct peer_run *run);
void run_bounce(const struct peer_run *run);
void run_wake_hot(const struct peer_run *run);
void run_wake_parked(const struct peer_run *run);

#endif
