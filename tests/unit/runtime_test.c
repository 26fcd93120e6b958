/* SPDX-License-Identifier: MIT */
/* Claims about a runtime's life: create, run, stop, wait, destroy; and that its slices are fair. */
#include "tests/support/sched.h"

#include <stdio.h>

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static int wait_cancelled(void *arg) {
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
    return bnx_sleep_until(UINT64_MAX);
}

/* ---- Stopping ---- */

static int log_lines; /* of reports that a task lives; the thread that calls destroy */

static void count_lines(enum bnx_log_level level, const char *line, void *arg) {
    (void)arg;
    if (level == BNX_LOG_ERROR && strstr(line, "still alive") != NULL) {
        log_lines++;
    }
}

/* Claim: destroy is -EBUSY with a report while tasks live, and changes nothing; stop cancels them,
 * spawns are refused from then on, wait sees the last one go. */
TEST(runtime_busy, "runtime.destroy_is_busy") {
    struct bnx_options options = {.worker_count = 2, .seed = 1, .log = count_lines};
    struct bnx_runtime *runtime = NULL;
    struct bnx_future *future = NULL;
    uint64_t waiting = 0;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, wait_cancelled, &waiting, &future), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), -EBUSY);
    CHECK(log_lines > 0);
    CHECK_EQ(bnx_runtime_wait(runtime, bnx_now() + BNX_NS_PER_MS), -ETIMEDOUT);
    CHECK_EQ(bnx_runtime_run(runtime, do_nothing, NULL), 0); /* as before */
    CHECK_EQ(bnx_runtime_stop(runtime), 0);
    CHECK_EQ(bnx_runtime_stop(runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, do_nothing, NULL, NULL), -ESHUTDOWN);
    CHECK_EQ(bnx_runtime_run(runtime, do_nothing, NULL), -ESHUTDOWN);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    void *value = NULL;
    CHECK_EQ(bnx_future_poll(future, &value), 0);
    CHECK_EQ((intptr_t)value, -ECANCELED);
    bnx_future_unref(future);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
}

static int stop_from_task(void *arg) {
    uint64_t *waiting = arg;
    CHECK_EQ(bnx_spawn(NULL, wait_cancelled, waiting), 0);
    sched_await_count(waiting, 1);
    CHECK_EQ(bnx_runtime_stop(bnx_runtime_current()), 0);
    CHECK_EQ(bnx_spawn(NULL, do_nothing, NULL), -ESHUTDOWN);
    CHECK_EQ(bnx_checkpoint(), -ECANCELED);
    return 9;
}

/* Claim: a task may stop its own runtime; what it returns still counts. */
static int answer(void *arg) {
    (void)arg;
    return 7;
}

/* Who has the answer may destroy at once, although the task that gave it is still leaving. */
TEST(runtime_destroy_after_run, "runtime.destroy_after_run") {
    for (int i = 0; i < 200; i++) {
        struct bnx_options options = {.worker_count = 1 + (uint32_t)i % 2};
        struct bnx_runtime *runtime = NULL;
        CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
        CHECK_EQ(bnx_runtime_run(runtime, answer, NULL), 7);
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    }
}

TEST(runtime_stop_from_task, "runtime.stop_from_task") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        uint64_t waiting = 0;
        CHECK_EQ(bnx_runtime_run(runtime, stop_from_task, &waiting), 9);
        sched_destroy(runtime);
    }
}

static int leave_some(void *arg) {
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_spawn(NULL, wait_cancelled, arg), 0);
    }
    return 4;
}

/* Claim: bnx_run cancels and waits for what its function left in the root scope. */
TEST(runtime_run_waits, "runtime.run_waits_for_leftovers") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = {.worker_count = sched_worker_counts[i], .seed = 1};
        uint64_t left = 0;
        CHECK_EQ(bnx_run(&options, leave_some, &left), 4);
        CHECK_EQ(left, 10);
    }
}

static int run_inner(void *arg) {
    struct bnx_runtime *other = arg;
    struct bnx_future *future = NULL;
    CHECK(bnx_runtime_current() != other);
    CHECK_EQ(bnx_runtime_spawn(other, do_nothing, NULL, &future), 0);
    CHECK_EQ(bnx_future_await(future, NULL), 0);
    bnx_future_unref(future);
    return 0;
}

/* Claim: several runtimes live in one process, and a task of one waits for a task of another. */
TEST(runtime_several, "runtime.several_at_once") {
    struct bnx_runtime *first = sched_create(2);
    struct bnx_runtime *second = sched_create(1);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(bnx_runtime_run(first, run_inner, second), 0);
        CHECK_EQ(bnx_runtime_run(second, run_inner, first), 0);
    }
    sched_destroy(first);
    sched_destroy(second);
}

static int spawn_work(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(bnx_spawn(&scope, do_nothing, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: the counters count: spawned and inlined tasks, switches. */
TEST(runtime_stats, "runtime.stats_count") {
    struct bnx_runtime *runtime = sched_create(1);
    struct bnx_runtime_stats stats;
    CHECK_EQ(bnx_runtime_run(runtime, spawn_work, NULL), 0);
    bnx_runtime_stats(runtime, &stats);
    CHECK_EQ(bnx_runtime_worker_count(runtime), 1);
    CHECK_EQ(stats.spawned, 100);
    /* With tiny queues they all overflow to where others could take them. */
    CHECK(stats.inlined <= 100 && (BNX_SHRINK || stats.inlined > 0));
    CHECK(stats.switches > 0);
    CHECK_EQ(stats.steals, 0);
    sched_destroy(runtime);
}

/* ---- Fair slices ---- */

#define HEARTBEATS 10
/* Work that may pass between two heartbeats 10 ms apart: a hundred times what fits into 10 ms. */
#define WORK_MAX UINT64_C(500000000)

struct heart {
    uint64_t beats;   /* of the sleeper */
    uint64_t is_over; /* the sleeper is done */
    struct sched_bell ping;
    struct sched_bell pong;
};

static int beat(void *arg) {
    struct heart *heart = arg;
    for (int i = 0; i < HEARTBEATS; i++) {
        CHECK_EQ(bnx_sleep(10 * BNX_NS_PER_MS), 0);
        bnx_fetch_add_relaxed(&heart->beats, 1);
    }
    bnx_store_release(&heart->is_over, 1);
    return 0;
}

/* Fails when too much work passes between two beats. */
static void count_work(const struct heart *heart, uint64_t *work, uint64_t *beats_seen) {
    uint64_t beats = bnx_load_relaxed(&heart->beats);
    *work = beats != *beats_seen ? 0 : *work + 1;
    *beats_seen = beats;
    CHECK(*work < WORK_MAX);
}

static int complete_at_once(void *arg) {
    struct heart *heart = arg;
    uint64_t work = 0;
    uint64_t beats_seen = 0;
    while (bnx_load_acquire(&heart->is_over) == 0) { /* ends: count_work */
        CHECK_EQ(bnx_checkpoint(), 0);
        count_work(heart, &work, &beats_seen);
    }
    return 0;
}

static int pong(void *arg) {
    struct heart *heart = arg;
    while (bnx_load_acquire(&heart->is_over) == 0) { /* ends: count_work in ping */
        sched_bell_ring(&heart->pong);
        sched_bell_wait(&heart->ping);
    }
    sched_bell_ring(&heart->pong);
    return 0;
}

static int ping(void *arg) {
    struct heart *heart = arg;
    uint64_t work = 0;
    uint64_t beats_seen = 0;
    while (bnx_load_acquire(&heart->is_over) == 0) {
        sched_bell_wait(&heart->pong);
        sched_bell_ring(&heart->ping);
        count_work(heart, &work, &beats_seen);
    }
    return 0;
}

static int beat_beside_loop(void *arg) {
    (void)arg;
    struct heart heart = {.beats = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, beat, &heart), 0);
    bnx_yield();
    CHECK_EQ(bnx_spawn(&scope, complete_at_once, &heart), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(heart.beats, HEARTBEATS);
    return 0;
}

static int beat_beside_ping(void *arg) {
    (void)arg;
    struct heart heart = {.beats = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, beat, &heart), 0);
    bnx_yield();
    CHECK_EQ(bnx_spawn(&scope, ping, &heart), 0);
    CHECK_EQ(bnx_spawn(&scope, pong, &heart), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(heart.beats, HEARTBEATS);
    return 0;
}

/* Claim: on one worker a sleeper of 10 ms gets its turns beside a task whose operations all
 * complete at once. Method: the work done between two beats has a bound far above what fits. */
TEST(sched_heartbeat, "sched.heartbeat_survives") {
    sched_run(1, beat_beside_loop, NULL);
}

/* Claim: the same beside two tasks that make each other ready all the time. */
TEST(sched_ping_pong, "sched.heartbeat_beside_ping_pong") {
    sched_run(1, beat_beside_ping, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
