/* SPDX-License-Identifier: MIT */
/* Waits for several things and callbacks on the simulated machine: every order of a few steps. */
#include "tests/sim/seeds.h"
#include "tests/support/sched.h"

#include <bonxie/iter.h>
#include <bonxie/sim.h>

#define SEEDS 1000
#define FUTURES 3

struct trio {
    struct bnx_future *futures[FUTURES];
    struct bnx_waitable *waitables[FUTURES];
    struct bnx_scope *scope;
    uint32_t called;     /* callbacks that have run */
    uint32_t registered; /* callbacks that were accepted */
};

static void open_trio(struct trio *trio) {
    for (int i = 0; i < FUTURES; i++) {
        CHECK_EQ(bnx_future_create(&trio->futures[i]), 0);
        trio->waitables[i] = bnx_future_waitable(trio->futures[i]);
    }
}

static void close_trio(struct trio *trio) {
    for (int i = 0; i < FUTURES; i++) {
        bnx_future_unref(trio->futures[i]);
    }
}

static void dawdle(void) {
    for (uint32_t i = bnx_sim_draw(3); i > 0; i--) {
        bnx_yield();
    }
}

static int set_one(void *arg) {
    dawdle();
    CHECK_EQ(bnx_future_set(arg, NULL), 0);
    return 0;
}

static int fail_one(void *arg) {
    dawdle();
    CHECK_EQ(bnx_future_fail(arg, -EIO), 0);
    return 0;
}

/* ---- Several against cancel ---- */

static BNX_NOINLINE void trample(void) {
    volatile unsigned char frame[1024];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xa5;
    }
}

/* The futures 0 and 1 are set, 2 fails. */
static int wait_somehow(void *arg) {
    struct trio *trio = arg;
    size_t index = 99;
    int results[FUTURES] = {1, 1, 1};
    int result;
    switch (bnx_sim_draw(4)) {
    case 0:
        result = bnx_wait(trio->waitables, FUTURES, BNX_WAIT_FIRST, &index);
        CHECK(result == -ECANCELED || result == (index == 2 ? -EIO : 0));
        CHECK((result == -ECANCELED) == (index == 99));
        break;
    case 1:
        result = bnx_gather(trio->waitables, FUTURES, results, 0);
        CHECK(result == -ECANCELED || (result == -EIO && results[2] == -EIO));
        break;
    case 2:
        result = bnx_gather(trio->waitables, FUTURES, results, BNX_GATHER_COLLECT);
        CHECK(result == -ECANCELED || (result == 0 && results[0] == 0 && results[2] == -EIO));
        break;
    default:
        result = bnx_race(trio->waitables, FUTURES, &index);
        CHECK(result == -ECANCELED || (result == 0 && index < 2));
        break;
    }
    trample();
    return result == -ECANCELED ? result : 0;
}

static int cancel_scope(void *arg) {
    struct trio *trio = arg;
    dawdle();
    bnx_scope_cancel(trio->scope, 0);
    return 0;
}

static int fight(void *arg) {
    (void)arg;
    struct trio trio = {0};
    struct bnx_scope outer, inner;
    open_trio(&trio);
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
    trio.scope = &inner;
    CHECK_EQ(bnx_spawn(&inner, wait_somehow, &trio), 0);
    CHECK_EQ(bnx_spawn(&inner, wait_somehow, &trio), 0);
    if (bnx_sim_draw(2) == 0) {
        CHECK_EQ(bnx_spawn(&inner, cancel_scope, &trio), 0);
    }
    for (int i = 0; i < FUTURES; i++) {
        CHECK_EQ(bnx_spawn(&outer, i == 2 ? fail_one : set_one, trio.futures[i]), 0);
    }
    int error = bnx_scope_close(&inner);
    CHECK(error == 0 || error == -ECANCELED);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    close_trio(&trio);
    return 0;
}

static int several_against_cancel(void *arg) {
    return seeds_bnx_run(fight, arg);
}

/* Each wait for several ends, by the event that its mode names or by the cancel, and no setter
 * touches its frame afterwards. */
TEST(several_vs_cancel, "sim.several_vs_cancel") {
    seeds_run(SEEDS, several_against_cancel);
}

/* ---- As completed, left early ---- */

static int complete_some(void *arg) {
    (void)arg;
    struct trio trio = {0};
    struct bnx_scope scope;
    struct bnx_iter iter;
    uint32_t seen = 0;
    open_trio(&trio);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < FUTURES; i++) {
        CHECK_EQ(bnx_spawn(&scope, set_one, trio.futures[i]), 0);
    }
    if (bnx_sim_draw(2) == 0) {
        bnx_yield();
    }
    CHECK_EQ(bnx_as_completed(trio.waitables, FUTURES, &iter), 0);
    uint32_t wanted = bnx_sim_draw(FUTURES + 1);
    for (uint32_t i = 0; i < wanted; i++) {
        void *value = NULL;
        CHECK_EQ(iter.next(&iter, &value), 1);
        CHECK((uintptr_t)value < FUTURES && (seen & 1u << (uintptr_t)value) == 0);
        seen |= 1u << (uintptr_t)value;
    }
    iter.close(&iter);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    close_trio(&trio);
    return 0;
}

static int completed_against_close(void *arg) {
    return seeds_bnx_run(complete_some, arg);
}

/* Each is given out once; closed at any point, nobody is registered any more. */
TEST(completed_vs_close, "sim.completed_vs_close") {
    seeds_run(SEEDS, completed_against_close);
}

/* ---- Callbacks against a stop ---- */

static void count_call(struct bnx_future *future, void *arg) {
    struct trio *trio = arg;
    (void)bnx_future_poll(future, NULL);
    bnx_fetch_add_relaxed(&trio->called, 1);
}

static int register_calls(void *arg) {
    struct trio *trio = arg;
    for (int i = 0; i < FUTURES; i++) {
        int error = bnx_future_on_done(trio->futures[i], count_call, trio);
        CHECK(error == 0 || error == -ESHUTDOWN);
        trio->registered += error == 0;
    }
    return 0;
}

static void set_from_thread(void *arg) {
    struct trio *trio = arg;
    for (int i = 0; i < FUTURES - 1; i++) {
        CHECK_EQ(bnx_future_set(trio->futures[i], NULL), 0);
    }
}

static int callbacks_against_stop(void *arg) {
    (void)arg;
    struct trio trio = {0};
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    struct bnx_os_thread setter;
    open_trio(&trio);
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, register_calls, &trio, NULL), 0);
    sched_thread_start(&setter, set_from_thread, &trio);
    for (uint32_t i = bnx_sim_draw(20); i > 0; i--) {
        bnx_os.thread_yield();
    }
    sched_destroy(runtime);
    CHECK_EQ(trio.called, trio.registered);
    sched_thread_join(&setter);
    close_trio(&trio);
    return 0;
}

/* Each registered callback runs once, whether the future is set, the runtime stops, or both; also
 * the one whose future nobody sets. */
TEST(callbacks_vs_stop, "sim.callbacks_vs_stop") {
    seeds_run(SEEDS, callbacks_against_stop);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
