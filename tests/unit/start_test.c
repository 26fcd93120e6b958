/* SPDX-License-Identifier: MIT */
/* Claims about tasks that do nothing until they are started by hand, and those never started. */
#include "tests/support/sched.h"

#include <stdio.h>

static const struct bnx_spawn_options manual = {.name = "by hand", .start = BNX_START_MANUAL};

static int count_one(void *arg) {
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
    return 5;
}

static void yield_often(void) {
    for (int i = 0; i < 20; i++) {
        bnx_yield();
    }
}

/* ---- Starting ---- */

static int start_once(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    int result = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &manual, count_one, &calls, &task), 0);
    yield_often();
    CHECK_EQ(bnx_load_acquire(&calls), 0);
    CHECK_EQ(bnx_task_state(task), BNX_TASK_NEW);
    CHECK_EQ(bnx_task_start(task), 0);
    CHECK_EQ(bnx_task_start(task), -EALREADY);
    CHECK_EQ(bnx_join(task, &result), 0);
    CHECK_EQ(result, 5);
    CHECK_EQ(bnx_task_start(task), -EALREADY);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, count_one, &calls, &task), 0);
    CHECK_EQ(bnx_task_start(task), -EALREADY);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(calls, 2);
    return 0;
}

/* Claim: a task that is to be started by hand is not called before that, and then once; a second
 * start is -EALREADY, also of a task that started by itself. */
TEST(start_once, "start.runs_once") {
    sched_run_each(start_once, NULL);
}

struct sleeper {
    struct sched_bell bell;
    uint64_t phase;
};

static int wait_for_bell(void *arg) {
    struct sleeper *sleeper = arg;
    bnx_fetch_add_acq_rel(&sleeper->phase, 1);
    sched_bell_wait(&sleeper->bell);
    bnx_fetch_add_acq_rel(&sleeper->phase, 1);
    return 0;
}

static int start_waiting(void *arg) {
    (void)arg;
    struct sleeper sleeper = {.phase = 0};
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &manual, wait_for_bell, &sleeper, &task), 0);
    CHECK_EQ(bnx_task_start(task), 0);
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: nobody rings */
        bnx_yield();
    }
    CHECK_EQ(bnx_task_start(task), -EALREADY);
    yield_often();
    CHECK_EQ(bnx_load_acquire(&sleeper.phase), 1);
    sched_bell_ring(&sleeper.bell);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(sleeper.phase, 2);
    return 0;
}

/* Claim: a start of a task that waits for something else does not end that wait. */
TEST(start_waiting, "start.wakes_nobody") {
    sched_run_each(start_waiting, NULL);
}

static void start_from_thread(void *arg) {
    CHECK_EQ(bnx_task_start(arg), 0);
}

static int start_elsewhere(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        uint64_t calls = 0;
        struct bnx_task *task = NULL;
        struct bnx_scope scope;
        struct bnx_spawn_options options = manual;
        options.task_class = (enum bnx_class)(i % 4);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &options, count_one, &calls, &task), 0);
        struct bnx_os_thread thread;
        sched_thread_start(&thread, start_from_thread, task);
        CHECK_EQ(bnx_join(task, NULL), 0);
        sched_thread_join(&thread);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(calls, 1);
    }
    return 0;
}

/* Claim: any thread may start a task, of any class. */
TEST(start_elsewhere, "start.from_a_thread") {
    sched_run_each(start_elsewhere, NULL);
}

static int spawn_into_parents(void *arg) {
    struct bnx_task *task = NULL;
    uint64_t calls = 0;
    CHECK_EQ(bnx_spawn_with(arg, &manual, count_one, &calls, &task), -EPERM);
    return 0;
}

static int misuse(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    struct bnx_spawn_options unknown = {.start = (enum bnx_start)2};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &manual, count_one, &calls, NULL), -EINVAL);
    CHECK_EQ(bnx_spawn_with(&scope, &unknown, count_one, &calls, &task), -EINVAL);
    CHECK_EQ(bnx_spawn(&scope, spawn_into_parents, &scope), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(calls, 0);
    return 0;
}

/* Claim: without a handle nobody could start it; into another task's scope, which may be closing,
 * nothing is spawned that waits for a start. */
TEST(start_misuse, "start.misuse_is_refused") {
    sched_run_each(misuse, NULL);
}

static int check_cancelled(void *arg) {
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
    return bnx_checkpoint();
}

static int start_cancelled(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &manual, check_cancelled, &calls, &task), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_load_acquire(&calls), 0);
    CHECK_EQ(bnx_task_state(task), BNX_TASK_NEW);
    CHECK_EQ(bnx_task_start(task), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(calls, 1);
    return 0;
}

/* Claim: a cancel leaves it unstarted; started after that, it is called, and told. */
TEST(start_cancelled, "start.cancel_leaves_it") {
    sched_run_each(start_cancelled, NULL);
}

/* ---- Dropping ---- */

static uint32_t drops_logged; /* any thread */

static void count_drops(enum bnx_log_level level, const char *line, void *arg) {
    (void)arg;
    if (level == BNX_LOG_WARNING && strstr(line, "(by hand) created but never started") != NULL) {
        bnx_fetch_add_relaxed(&drops_logged, 1);
    }
}

/* Runs fn in a runtime whose log counts what was dropped. Returns how often that was. */
static uint32_t count_dropped(uint32_t worker_count, bnx_task_fn fn) {
    struct bnx_options options = {.worker_count = worker_count, .seed = 1, .log = count_drops};
    bnx_store_relaxed(&drops_logged, 0);
    CHECK_EQ(bnx_run(&options, fn, NULL), 0);
    return bnx_load_relaxed(&drops_logged);
}

static int join_dropped(void *arg) {
    int result = 0;
    CHECK_EQ(bnx_join(arg, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    return 0;
}

static int close_unstarted(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    struct bnx_task *tasks[4];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, &manual, count_one, &calls, &tasks[i]), 0);
    }
    CHECK_EQ(bnx_task_start(tasks[1]), 0);
    CHECK_EQ(bnx_spawn(&scope, join_dropped, tasks[2]), 0);
    yield_often();
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(calls, 1);
    return 0;
}

/* Claim: a scope's close drops the tasks that nobody has started, says so in the log, once each,
 * and counts none of them as failed; who joins one of them learns -ECANCELED. */
TEST(start_close, "start.close_drops") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        CHECK_EQ(count_dropped(sched_worker_counts[i], close_unstarted), 3);
    }
}

static int detach_unstarted(void *arg) {
    (void)arg;
    static uint64_t calls;
    struct bnx_task *dropped = NULL;
    struct bnx_task *started = NULL;
    bnx_store_relaxed(&calls, 0);
    CHECK_EQ(bnx_spawn_with(NULL, &manual, count_one, &calls, &dropped), 0);
    CHECK_EQ(bnx_spawn_with(NULL, &manual, count_one, &calls, &started), 0);
    bnx_task_detach(dropped);
    CHECK_EQ(bnx_task_start(started), 0);
    bnx_task_detach(started);
    sched_await_count(&calls, 1);
    return 0;
}

/* Claim: a detach drops a task of the root scope that was not started, and no other. */
TEST(start_detach, "start.detach_drops") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        CHECK_EQ(count_dropped(sched_worker_counts[i], detach_unstarted), 1);
    }
}

static int leave_unstarted(void *arg) {
    (void)arg;
    static uint64_t calls;
    struct bnx_task *task = NULL;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_spawn_with(NULL, &manual, count_one, &calls, &task), 0);
    }
    return 0;
}

/* Claim: a runtime that stops does not wait for a start that will never come. */
TEST(start_stop, "start.stop_drops") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        CHECK_EQ(count_dropped(sched_worker_counts[i], leave_unstarted), 3);
    }
}

static int spawn_until_stopped(void *arg) {
    uint64_t *calls = arg;
    for (;;) { /* ends with the stop */
        struct bnx_task *task = NULL;
        int error = bnx_spawn_with(NULL, &manual, count_one, calls, &task);
        if (error != 0) {
            CHECK(error == -ESHUTDOWN || error == -ECANCELED);
            return 0;
        }
        if (bnx_task_id(task) % 3 == 0) {
            (void)bnx_task_start(task);
        }
        if (bnx_task_id(task) % 3 == 1) {
            bnx_task_detach(task);
        }
        bnx_yield();
    }
}

/* Claim: a stop at any moment of spawns, starts and detaches drops each of them or lets it run: the
 * runtime becomes empty. */
TEST(start_races_stop, "start.races_stop") {
    for (uint64_t i = bnx_test_scale(400) + 4; i > 0; i--) {
        uint64_t calls = 0;
        struct bnx_runtime *runtime = sched_create(1 + (uint32_t)(i % 3));
        CHECK_EQ(bnx_runtime_spawn(runtime, spawn_until_stopped, &calls, NULL), 0);
        CHECK_EQ(bnx_runtime_spawn(runtime, spawn_until_stopped, &calls, NULL), 0);
        for (uint64_t pauses = i * 37 % 2000; pauses > 0; pauses--) {
            bnx_pause();
        }
        sched_destroy(runtime);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
