/* SPDX-License-Identifier: MIT */
/*
 * Runs a scenario again and again, cancelled at its 1st, 2nd, ... place where it may wait, until a
 * run ends untouched (runtime/suspension.h). Each run must end; with 0 or as cancelled; and leave
 * no task. Memory is the address sanitizer's to watch, and what else is to be conserved the
 * scenario's: it checks that itself at its end, cancelled or not.
 */
#ifndef BNX_TESTS_SUPPORT_EVERYWHERE_H
#define BNX_TESTS_SUPPORT_EVERYWHERE_H

#include "runtime/suspension.h"
#include "tests/support/sched.h"

static inline int everywhere_count_task(const struct bnx_task_info *info, void *arg) {
    (void)info;
    ++*(int *)arg;
    return 0;
}

/** Yields until no task but the calling one is left in the runtime. */
static inline void everywhere_await_alone(void) {
    int count = 0;
    do { /* ends when what the run has left in the root scope has ended */
        bnx_yield();
        count = 0;
        CHECK_EQ(bnx_tasks_foreach(bnx_runtime_current(), everywhere_count_task, &count), 0);
    } while (count > 1);
}

struct everywhere_once {
    bnx_task_fn scenario;
    int result; /* of it */
};

static inline int everywhere_call(void *arg) {
    struct everywhere_once *once = arg;
    once->result = once->scenario(NULL);
    return once->result;
}

/* Runs the scenario once. Returns whether it ended before it came to the target-th place. */
static inline bool everywhere_run(bnx_task_fn scenario, uint64_t target) {
    struct bnx_scope scope;
    struct everywhere_once once = {scenario, 1};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_suspension_watch(&scope, target);
    CHECK_EQ(bnx_spawn(&scope, everywhere_call, &once), 0);
    int error = bnx_scope_close(&scope);
    uint64_t count = bnx_suspension_unwatch();
    bool is_untouched = count < target;
    if (is_untouched) {
        CHECK_EQ(once.result, 0);
        CHECK_EQ(error, 0);
    } else {
        CHECK(once.result == 0 || once.result == -ECANCELED);
        CHECK(error == 0 || error == -ECANCELED);
    }
    everywhere_await_alone();
    return is_untouched;
}

static inline int everywhere_drive(void *arg) {
    bnx_task_fn scenario = *(const bnx_task_fn *)arg;
    uint64_t target = 1;
    while (!everywhere_run(scenario, target)) { /* ends: a scenario waits so many times */
        target++;
    }
    CHECK(target > 1);
    return 0;
}

/** Does that with each worker count. For builds with plants: others count nothing. */
static inline void everywhere(bnx_task_fn scenario) {
    sched_run_each(everywhere_drive, &scenario);
}

#endif
