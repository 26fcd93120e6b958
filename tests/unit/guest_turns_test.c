/* SPDX-License-Identifier: MIT */
/* Tests whom a guest serves when its visits are too short for all (guest.h). */
#include "tests/unit/guest_fixture.h"

#define ROUND_NS BNX_NS_PER_MS /* a visit ends with the first round that takes so long */
#define VISITS_MAX 4           /* until what waits in the global queue is served */

/* One round of the loop a visit: each slice ends with a poll that is due, and so late. */
static int fill_visits(void *arg) {
    const bool *is_enough = arg;
    while (!*is_enough) { /* ends when the host says so */
        uint64_t end_ns = bnx_clock_now() + ROUND_NS;
        while (bnx_clock_now() < end_ns) { /* ends with the time */
            bnx_pause();
        }
        bnx_store_relaxed(&bnx_worker_current()->poll_requested, 1); /* as the watchdog does */
        bnx_yield();
    }
    return 0;
}

static int ask_for_poll(void *arg) {
    (void)arg;
    bnx_store_relaxed(&bnx_worker_current()->poll_requested, 1); /* as above */
    return 0;
}

static int note(void *arg) {
    *(bool *)arg = true;
    return 0;
}

/* While its own tasks are always ready a guest serves the global queue all the same, also where
 * each visit is a single round. Method: after an even and an odd number of polls. */
TEST(guest_serves_global, "guest.serves_global_queue") {
    for (int polls = 0; polls < 2; polls++) {
        struct bnx_runtime *runtime = guest_create();
        bool is_enough = false;
        bool has_run = false;
        if (polls != 0) {
            CHECK_EQ(bnx_runtime_spawn(runtime, ask_for_poll, NULL, NULL), 0);
            CHECK(turn(runtime) > 0); /* a poll more than a visit takes else */
        }
        CHECK_EQ(bnx_runtime_spawn(runtime, fill_visits, &is_enough, NULL), 0);
        CHECK(turn(runtime) > 0);
        CHECK_EQ(bnx_runtime_spawn(runtime, note, &has_run, NULL), 0);
        for (int visits = 0; visits < VISITS_MAX && !has_run; visits++) {
            CHECK(turn(runtime) > 0);
        }
        CHECK(has_run);
        is_enough = true;
        CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
        sched_destroy(runtime);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
