/* SPDX-License-Identifier: MIT */
/* Operations and their cancels on the simulated machine: states of the wait word that only a race
 * reaches. */
#include "runtime/atomic.h"
#include "runtime/clock.h"
#include "tests/sim/seeds.h"
#include "tests/support/driver_sim.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 3000
#define TASKS_MAX 5
#define LATENCY_NS_MAX 20000

/* Overwrites what a call before it has left on the stack: who still reads that reads nonsense. */
static BNX_NOINLINE void scribble(void) {
    volatile unsigned char frame[768];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xee;
    }
}

static int do_op(void) {
    int result = sim_op(bnx_sim_draw(LATENCY_NS_MAX), 3);
    scribble();
    CHECK(result == 3 || result == -EAGAIN || result == -ECANCELED || result == -ETIMEDOUT);
    return result;
}

static int some_ops(void *arg) {
    uint32_t *done = arg;
    for (uint32_t i = 1 + bnx_sim_draw(3); i > 0; i--) {
        int result = do_op();
        CHECK(result == 3 || result == -EAGAIN);
        (void)bnx_fetch_add_relaxed(done, 1); /* read after the close */
    }
    return 0;
}

static int many_ops(void *arg) {
    (void)arg;
    uint32_t done = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    uint32_t count = 1 + bnx_sim_draw(TASKS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn(&scope, some_ops, &done), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(done >= count);
    return 0;
}

static int complete(void *arg) {
    return seeds_bnx_run(many_ops, arg);
}

/* Operations of several tasks complete in any order, each with its own result. */
TEST(op_completes, "sim.op_completes") {
    seeds_run(SEEDS, complete);
}

static int ops_until_cancelled(void *arg) {
    (void)arg;
    int result;
    do { /* ends: the scope is cancelled */
        result = do_op();
    } while (result >= 0 || result == -EAGAIN);
    return result;
}

static int cancel_soon(void *arg) {
    int error = bnx_sleep(bnx_sim_draw(LATENCY_NS_MAX));
    CHECK(error == 0);
    bnx_scope_cancel(arg, -ECANCELED);
    return 0;
}

/* Round by round, so that descriptors are used again while messages may still be on their way. */
static int cancel_ops(void *arg) {
    (void)arg;
    for (uint32_t round = 1 + bnx_sim_draw(3); round > 0; round--) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        uint32_t count = 1 + bnx_sim_draw(TASKS_MAX);
        CHECK_EQ(bnx_spawn(&scope, cancel_soon, &scope), 0);
        for (uint32_t i = 0; i < count; i++) {
            int error = bnx_spawn(&scope, ops_until_cancelled, NULL);
            CHECK(error == 0 || error == -ECANCELED);
        }
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        scribble();
    }
    return 0;
}

static int cancel_races(void *arg) {
    return seeds_bnx_run(cancel_ops, arg);
}

/* A cancel and the completion of the same operation meet in every order: each wait ends once, by
 * the terminal completion. */
TEST(op_cancel_races_completion, "sim.op_cancel_races_completion") {
    seeds_run(SEEDS, cancel_races);
}

/* Both sorts of cancel happen: those that end an operation, and those that find it completed. */
TEST(op_cancels_of_both_sorts, "sim.op_cancels_of_both_sorts") {
    uint64_t first = bnx_test_seed();
    for (uint64_t i = 0; i < 300; i++) {
        struct bnx_sim_options options = {.seed = first + i};
        CHECK_EQ(bnx_sim_run(&options, cancel_races, NULL, NULL), 0);
    }
    CHECK(sim_ops_ended > 0);
    CHECK(sim_cancels_late > 0);
}

static int deadline_ops(void *arg) {
    (void)arg;
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + bnx_sim_draw(LATENCY_NS_MAX)};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (uint32_t i = 1 + bnx_sim_draw(TASKS_MAX); i > 0; i--) {
        int error = bnx_spawn(&scope, ops_until_cancelled, NULL);
        CHECK(error == 0 || error == -ECANCELED);
    }
    (void)do_op();
    int error = bnx_sleep_until(UINT64_MAX);
    CHECK_EQ(error, -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    scribble();
    return 0;
}

static int deadline_races(void *arg) {
    return seeds_bnx_run(deadline_ops, arg);
}

/* A deadline ends operations that are in flight on any worker. */
TEST(op_deadline, "sim.op_deadline") {
    seeds_run(SEEDS, deadline_races);
}

static int compute(void *arg) {
    const uint32_t *is_over = arg;
    while (bnx_load_acquire(is_over) == 0) { /* ends: somebody else sees to the operations */
        bnx_pause();
    }
    return 0;
}

static int ops_then_over(void *arg) {
    for (int i = 0; i < 2; i++) {
        (void)do_op();
        CHECK_EQ(bnx_sleep(1 + bnx_sim_draw(LATENCY_NS_MAX)), 0);
    }
    bnx_store_release((uint32_t *)arg, 1);
    return 0;
}

static int stalled(void *arg) {
    (void)arg;
    uint32_t is_over = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, ops_then_over, &is_over), 0);
    CHECK_EQ(bnx_spawn(&scope, compute, &is_over), 0);
    bnx_yield();
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int rescue(void *arg) {
    struct bnx_options options = {.worker_count = 2 + bnx_sim_draw(2), .spin_ns = BNX_SPIN_NEVER};
    return bnx_run(&options, stalled, arg);
}

/* A worker computes without a tick until the operations and timers that may be its own are done:
 * only a rescuer can finish them. */
TEST(op_rescue, "sim.op_rescue") {
    if (BNX_FORCE_MIGRATE) {
        SKIP("a task that is ready is sent to the worker that computes, and waits for it");
    }
    seeds_run(SEEDS / 30, rescue);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
