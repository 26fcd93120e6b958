/* SPDX-License-Identifier: MIT */
/* Short run queues: they are left to their owner, but not for ever (runtime/steal.c). */
#include "tests/support/sched.h"

#define MEMBERS 4
#define WARM_YIELDS 5000

struct circle {
    struct bnx_event start;
    uint64_t waiting;          /* members that are about to wait for the start */
    uint64_t runs[MEMBERS];    /* how often each has run since then */
    uint64_t is_shared;        /* two workers have been seen */
    uint64_t is_judged;        /* the watchdog has found one that needs others */
    uint64_t workers[MEMBERS]; /* 1 + where each ran last; 0: not yet */
    uint32_t next;             /* members that have taken their number */
};

/* ---- A circle that never gets long ---- */

static int member(void *arg) {
    struct circle *circle = arg;
    uint32_t number = bnx_fetch_add_relaxed(&circle->next, 1);
    bnx_fetch_add_seq_cst(&circle->waiting, 1);
    CHECK_EQ(bnx_event_wait(&circle->start), 0);
    while (bnx_load_acquire(&circle->is_shared) == 0 || bnx_load_acquire(&circle->is_judged) == 0) {
        if (bnx_load_relaxed(&bnx_worker_current()->is_behind) != 0) {
            bnx_store_release(&circle->is_judged, 1);
        }
        uint64_t here = 1 + sched_worker_index();
        bnx_store_release(&circle->workers[number], here);
        for (uint32_t i = 0; i < MEMBERS; i++) {
            uint64_t there = bnx_load_acquire(&circle->workers[i]);
            if (there != 0 && there != here) {
                bnx_store_release(&circle->is_shared, 1);
            }
        }
        bnx_yield();
    }
    return 0;
}

static int run_circle(void *arg) {
    struct circle *circle = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < MEMBERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, member, circle), 0);
    }
    sched_await_count(&circle->waiting, MEMBERS);
    for (int i = 0; i < WARM_YIELDS; i++) { /* the worker learns that its tasks are short */
        bnx_yield();
    }
    bnx_event_set(&circle->start); /* all of them are ready here now */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: tasks that are always ready on one worker, few and short, come to be shared with one that
 * sleeps, since the watchdog sees them there. Method: four that yield until one of them meets
 * another worker's trace, and one the watchdog's word: a slice that the kernel takes shares them
 * too. */
TEST(circle_is_shared, "steal.circle_is_shared") {
    for (uint64_t round = 0; round < bnx_test_scale(20); round++) {
        struct circle circle = {.start = BNX_EVENT_INIT};
        sched_run(2, run_circle, &circle);
        CHECK_EQ(circle.is_shared, 1);
    }
}

/* ---- An owner that computes ---- */

struct helpers {
    struct bnx_event start;
    uint64_t waiting;
    uint64_t done;
};

static int helper(void *arg) {
    struct helpers *helpers = arg;
    bnx_fetch_add_seq_cst(&helpers->waiting, 1);
    CHECK_EQ(bnx_event_wait(&helpers->start), 0);
    bnx_fetch_add_seq_cst(&helpers->done, 1);
    return 0;
}

static int compute_until_helped(void *arg) {
    struct helpers *helpers = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(bnx_spawn(&scope, helper, helpers), 0);
    }
    sched_await_count(&helpers->waiting, 2);
    bnx_event_set(&helpers->start);
    while (bnx_load_acquire(&helpers->done) < 2) { /* and does not yield */
        bnx_pause();
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: what waits behind a task that computes is taken from it, though it is only one or two.
 * Method: a task that computes until those that it has woken have run. */
TEST(computing_owner_is_helped, "steal.computing_owner_is_helped") {
    for (uint64_t round = 0; round < bnx_test_scale(20); round++) {
        struct helpers helpers = {.start = BNX_EVENT_INIT};
        sched_run(2, compute_until_helped, &helpers);
        CHECK_EQ(helpers.done, 2);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
