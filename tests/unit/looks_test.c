/* SPDX-License-Identifier: MIT */
/* When a worker that is busy with its tasks looks at the outside (bnx_worker_plan_looks). */
#include "tests/support/sched.h"

#define TICKS_MAX 256          /* without a poll, however short the slices are */
#define LONG_SLICE_NS 10000u   /* so long that a poll is due after ten of them, by the clock */
#define LONG_TICKS_MAX 16      /* the clock is read every so many ticks */
#define POLLS_TO_LEARN 3       /* until the worker knows how long its slices are */
#define UNWATCHED_TICKS_MAX 61 /* nobody would ask for the poll of one whose slices get longer */

/* ---- The plan ---- */

static const struct plan {
    uint64_t slice_ns;
    uint32_t poll_since;
    uint32_t look_since;
} plans[] = {
    {0, 256, 256}, {6, 256, 256}, {7, 250, 250},  {31, 62, 62},
    {32, 61, 15},  {33, 61, 15},  {2000, 61, 15}, {1000000, 61, 15},
};

static int make_plans(void *arg) {
    bool is_watched = *(const bool *)arg;
    struct bnx_worker *worker = bnx_worker_current();
    uint64_t slice_ns = bnx_load_relaxed(&worker->slice_ns); /* its own */
    for (size_t i = 0; i < BNX_ARRAY_COUNT(plans); i++) {
        bnx_store_relaxed(&worker->slice_ns, plans[i].slice_ns); /* as above */
        bnx_worker_plan_looks(worker);
        CHECK_EQ(worker->poll_since, is_watched ? plans[i].poll_since : UNWATCHED_TICKS_MAX);
        CHECK_EQ(worker->look_since, is_watched ? plans[i].look_since : 15);
    }
    bnx_store_relaxed(&worker->slice_ns, slice_ns); /* as above */
    bnx_worker_plan_looks(worker);
    return 0;
}

static void run_with(uint32_t flags, bnx_task_fn fn, void *arg) {
    struct bnx_options options = {.worker_count = 1, .seed = 1, .flags = flags};
    CHECK_EQ(bnx_run(&options, fn, arg), 0);
}

/* Claim: polls are planned by the length of the slices, as many short ones as fit into the span,
 * within bounds; without a watchdog there are no short ones. Method: a table. */
TEST(plan, "looks.are_planned_by_slices") {
    bool is_watched = true;
    run_with(0, make_plans, &is_watched);
    is_watched = false;
    run_with(BNX_NO_WATCHDOG, make_plans, &is_watched);
}

/* ---- The polls ---- */

struct yielders {
    uint64_t slice_ns; /* at least */
    uint32_t ticks_max;
    uint64_t rounds;
};

static int yield_on(void *arg) {
    const struct yielders *yielders = arg;
    struct bnx_worker *worker = bnx_worker_current(); /* the only one */
    uint64_t polls = worker->counters.polls;
    for (uint64_t i = 0; i < yielders->rounds; i++) {
        if (worker->counters.polls - polls >= POLLS_TO_LEARN) {
            CHECK(worker->tick - worker->poll_tick <= yielders->ticks_max);
        }
        uint64_t end_ns = bnx_clock_now() + yielders->slice_ns;
        while (yielders->slice_ns != 0 && bnx_clock_now() < end_ns) { /* ends with the time */
            bnx_pause();
        }
        bnx_yield();
    }
    CHECK(worker->counters.polls - polls >= yielders->rounds / yielders->ticks_max);
    return 0;
}

static int yield_by_turns(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(bnx_spawn(&scope, yield_on, arg), 0);
    }
    return bnx_scope_close(&scope);
}

/* Claim: tasks that are always ready keep no poll waiting for longer than a number of ticks, and
 * long ones for fewer, by the clock. Method: two tasks that yield, and count the ticks since the
 * last poll; the long ones compute until a time has passed. */
TEST(polls, "looks.polls_are_in_time") {
    const uint32_t flags[] = {0, BNX_NO_WATCHDOG};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(flags); i++) {
        struct yielders quick = {.ticks_max = TICKS_MAX, .rounds = bnx_test_scale(100000) + 2000};
        struct yielders slow = {.slice_ns = LONG_SLICE_NS,
                                .ticks_max = LONG_TICKS_MAX,
                                .rounds = bnx_test_scale(2000) + 200};
        run_with(flags[i], yield_by_turns, &quick);
        run_with(flags[i], yield_by_turns, &slow);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
