/* SPDX-License-Identifier: MIT */
/* Claims about sleeping: never early, in order, ended by cancels from any worker. */
#include "runtime/rng.h"
#include "runtime/timer.h"
#include "tests/support/sched.h"

#include <stdio.h>

static int sleep_exactly(void *arg) {
    uint64_t ns = *(uint64_t *)arg;
    uint64_t until_ns = bnx_now() + ns;
    CHECK_EQ(bnx_sleep(ns), 0);
    CHECK(bnx_now() >= until_ns);
    until_ns = bnx_now() + ns;
    CHECK_EQ(bnx_sleep_until(until_ns), 0);
    CHECK(bnx_now() >= until_ns);
    return 0;
}

static int sleep_many(void *arg) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, *(uint64_t *)arg, 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 500; i++) {
        uint64_t ns = bnx_rng_below(&rng, 1u << bnx_rng_below(&rng, 24));
        CHECK_EQ(bnx_spawn_copy(&scope, sleep_exactly, &ns, sizeof(ns)), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_sleep_until(0), 0); /* a time that has passed */
    CHECK_EQ(bnx_sleep(0), 0);
    return 0;
}

/* Claim: no sleep ends before its time, on a task or a thread. Method: seeded durations from 0 to
 * 16 ms, the clock read afterwards. */
TEST(time_never_early, "time.never_early") {
    uint64_t seed = bnx_test_seed();
    sched_run_each(sleep_many, &seed);
    uint64_t ns = BNX_NS_PER_MS;
    CHECK_EQ(sleep_exactly(&ns), 0);
}

/* No more than one run queue holds: what overflows it has no order. */
#define SLEEPERS BNX_CAPACITY(100, 3)

struct order {
    uint64_t base_ns;         /* the first deadline */
    uint64_t late;            /* sleepers that came after it */
    uint64_t next;            /* place of the next one that wakes */
    uint32_t place[SLEEPERS]; /* by sleeper */
};

struct order_arg {
    struct order *order;
    uint64_t index;
};

static int sleep_in_order(void *arg) {
    struct order_arg *mine = arg;
    struct order *order = mine->order;
    order->late += bnx_now() >= order->base_ns ? 1 : 0; /* one worker: nobody else counts now */
    CHECK_EQ(bnx_sleep_until(order->base_ns + mine->index * 2 * BNX_WHEEL_TICK_NS), 0);
    order->place[mine->index] = (uint32_t)bnx_fetch_add_relaxed(&order->next, 1);
    return 0;
}

/* Returns false when not all were asleep before the first was due. */
static bool order_within(uint64_t lead_ns) {
    struct order order = {.base_ns = bnx_now() + lead_ns};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < SLEEPERS; i++) {
        struct order_arg mine = {&order, (i * 37) % SLEEPERS};
        CHECK_EQ(bnx_spawn_copy(&scope, sleep_in_order, &mine, sizeof(mine)), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (uint32_t i = 0; order.late == 0 && i < SLEEPERS; i++) {
        CHECK_EQ(order.place[i], i);
    }
    return order.late == 0;
}

static int order_sleepers(void *arg) {
    (void)arg;
    uint64_t lead_ns = BNX_NS_PER_MS;
    while (!order_within(lead_ns)) { /* ends: with twice the time each round */
        lead_ns *= 2;
    }
    return 0;
}

/* Claim: on one worker sleepers wake in the order of their deadlines. Method: deadlines two ticks
 * apart, spawned in another order, with a lead that grows until all are asleep in time. */
TEST(time_order, "time.sleep_order") {
    sched_run(1, order_sleepers, NULL);
}

/* ---- Cancels from other workers ---- */

struct remote {
    uint64_t ended;
    uint64_t cancelled;
};

static int sleep_long(void *arg) {
    struct remote *remote = arg;
    /* Some are about to fire when they are cancelled. */
    uint64_t ns = (uintptr_t)bnx_task_self() / sizeof(struct bnx_task) % 3 == 0
                      ? BNX_WHEEL_TICK_NS
                      : 3600 * BNX_NS_PER_S;
    int error = bnx_sleep(ns);
    CHECK(error == 0 || error == -ECANCELED);
    bnx_fetch_add_relaxed(error == 0 ? &remote->ended : &remote->cancelled, 1);
    return error;
}

#define REMOTE_SLEEPERS 64

static int cancel_sleepers(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(300);
    for (uint64_t round = 0; round < rounds; round++) {
        struct remote remote = {0};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < REMOTE_SLEEPERS; i++) {
            CHECK_EQ(bnx_spawn(&scope, sleep_long, &remote), 0);
        }
        for (uint64_t i = 0; i <= round % 8; i++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(remote.ended + remote.cancelled, REMOTE_SLEEPERS);
    }
    return 0;
}

/* Claim: sleepers that are cancelled on another worker than the one whose wheel they are in end at
 * once and exactly once, and their timers go back: none is lost. Method: rounds of 64 sleepers,
 * some due about then; the pool has made no more timers than a few rounds need. */
TEST(time_remote_cancel, "time.remote_cancel") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        CHECK_EQ(bnx_runtime_run(runtime, cancel_sleepers, NULL), 0);
        uint32_t made = runtime->timers.count;
        printf("%u workers: %u timers made\n", sched_worker_counts[i], made);
        sched_destroy(runtime);
        CHECK(made <= 64 * REMOTE_SLEEPERS);
    }
}

/* ---- Deadlines against close ---- */

static int close_at_deadline(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(500);
    uint64_t timeouts = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t now_ns = bnx_now();
        struct bnx_scope_options options = {.deadline_ns = now_ns + BNX_WHEEL_TICK_NS};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, &options), 0);
        int error = bnx_sleep_until(options.deadline_ns);
        CHECK(error == 0 || error == -ETIMEDOUT);
        int closed = bnx_scope_close(&scope);
        CHECK(closed == 0 || closed == -ETIMEDOUT);
        CHECK(error == 0 || closed == -ETIMEDOUT);
        timeouts += closed != 0 ? 1 : 0;
        memset((void *)&scope, 0xa5, sizeof(scope));
        bnx_yield();
    }
    (void)timeouts;
    return 0;
}

static int close_many_at_deadline(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(bnx_spawn(&scope, close_at_deadline, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a scope may close while its deadline fires; nobody touches it afterwards. Method: scopes
 * that end with a sleep of the same deadline, and are overwritten at once. */
TEST(time_close_at_deadline, "time.close_races_deadline") {
    sched_run_each(close_many_at_deadline, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
