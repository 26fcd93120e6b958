/* SPDX-License-Identifier: MIT */
/* Claims about timers: when they fire, what ends and moves them, who may do it. */
#include "tests/unit/timer_fixture.h"

/* ---- Firing ---- */

static int fire_once(void *arg) {
    (void)arg;
    for (uint64_t i = 0; i < 20; i++) {
        struct record record = {0};
        struct bnx_timer *timer = create(
            (struct bnx_timer_options){.fn = record_call, .arg = &record, .name = "fire_once"});
        record.timer = timer;
        CHECK_EQ(bnx_timer_deadline(timer), 0);
        record.not_before = bnx_now() + i * 50000;
        CHECK_EQ(bnx_timer_start(timer, record.not_before), 0);
        CHECK_EQ(bnx_timer_wait(timer), 0);
        CHECK_EQ(bnx_timer_wait(timer), 0); /* it stays so */
        CHECK(bnx_now() >= record.not_before);
        CHECK_EQ(bnx_timer_deadline(timer), 0);
        CHECK_EQ(bnx_timer_extend(timer, bnx_now() + HOUR_NS), -EALREADY);
        CHECK_EQ(bnx_timer_stop(timer), 0);
        CHECK_EQ(bnx_timer_cancel(timer), 0);
        CHECK_EQ(bnx_load_acquire(&record.calls), 1);
        CHECK_EQ(record.early, 0);
        bnx_timer_destroy(timer);
    }
    bnx_timer_destroy(NULL);
    return 0;
}

/* Claim: a started timer fires once, never early, calls its callback once and is done until it is
 * started again. Method: deadlines from now to 1 ms ahead; the cancel waits for the callback. */
TEST(timer_fires_once, "timer.fires_once") {
    sched_run_each(fire_once, NULL);
}

static int stop_in_time(void *arg) {
    (void)arg;
    struct record record = {0};
    struct bnx_timer *timer = create((struct bnx_timer_options){.fn = record_call, .arg = &record});
    record.timer = timer;
    CHECK_EQ(bnx_timer_stop(timer), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
        CHECK(bnx_timer_deadline(timer) > bnx_now());
        CHECK_EQ(bnx_timer_start_after(timer, 2 * HOUR_NS), 1);
        bnx_yield(); /* the next calls may come from another worker */
        CHECK_EQ(bnx_timer_stop(timer), 1);
        CHECK_EQ(bnx_timer_stop(timer), 0);
        CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
        CHECK_EQ(bnx_timer_start_after(timer, SOON_NS), 1); /* an earlier one */
        CHECK_EQ(bnx_timer_wait(timer), 0);
        CHECK_EQ(bnx_timer_cancel(timer), 0);
        CHECK_EQ(bnx_load_acquire(&record.calls), i);
    }
    CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
    CHECK_EQ(bnx_timer_cancel(timer), 1);
    CHECK_EQ(bnx_timer_start(timer, UINT64_MAX), 0);
    bnx_timer_destroy(timer); /* an armed one */
    CHECK_EQ(record.calls, 50);
    return 0;
}

/* Claim: a stopped timer does not fire, one that is started again fires at the new time, be it
 * earlier or later. Method: starts an hour ahead, replaced or stopped; the short ones fire. */
TEST(timer_stop, "timer.stop_and_restart") {
    sched_run_each(stop_in_time, NULL);
}

/* ---- From other workers and threads ---- */

static int shorten(void *arg) {
    return bnx_timer_start(arg, bnx_now());
}

static int shorten_elsewhere(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(200);
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_timer *timer = create((struct bnx_timer_options){0});
        CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        struct bnx_spawn_options pinned = {.flags = BNX_SPAWN_PINNED,
                                           .worker = (uint32_t)i % sched_worker_count()};
        struct bnx_task *task = NULL;
        CHECK_EQ(bnx_spawn_with(&scope, &pinned, shorten, timer, &task), 0);
        CHECK_EQ(bnx_timer_wait(timer), 0);
        int result = 0;
        CHECK_EQ(bnx_join(task, &result), 0);
        CHECK_EQ(result, 1); /* the long start has ended unfired */
        CHECK_EQ(bnx_scope_close(&scope), 0);
        bnx_timer_destroy(timer);
    }
    return 0;
}

/* Claim: any worker may shorten a timer that is armed on another one's wheel. Method: an hour, cut
 * to now by a task that is pinned to each worker in turn; else the wait lasts. */
TEST(timer_shorten, "timer.shorten_elsewhere") {
    sched_run_each(shorten_elsewhere, NULL);
}

struct keeper {
    struct record record;
    uint64_t until_ns; /* the last one to put the timer off stops here */
};

static int keep_alive(void *arg) {
    struct keeper *keeper = arg;
    for (;;) { /* ends at until_ns, or when the timer fires */
        uint64_t now_ns = bnx_now();
        if (now_ns >= keeper->until_ns) {
            return 0;
        }
        /* Announced only once it holds: another task may have put it off further. */
        uint64_t deadline_ns = now_ns + SOON_NS;
        if (bnx_timer_extend(keeper->record.timer, deadline_ns) != 0) {
            return 0;
        }
        uint64_t before_ns = bnx_load_acquire(&keeper->record.not_before);
        while (before_ns < deadline_ns && /* ends: it only grows */
               !bnx_cas_acq_rel(&keeper->record.not_before, &before_ns, deadline_ns)) {
        }
        bnx_yield();
    }
}

static int extend_often(void *arg) {
    (void)arg;
    for (uint64_t i = 0; i < 5; i++) {
        struct keeper keeper = {.until_ns = bnx_now() + 20 * SOON_NS};
        struct bnx_timer *timer =
            create((struct bnx_timer_options){.fn = record_call, .arg = &keeper.record});
        keeper.record.timer = timer;
        CHECK_EQ(bnx_timer_start(timer, keeper.until_ns - 19 * SOON_NS), 0);
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (uint32_t k = 0; k < sched_worker_count(); k++) {
            CHECK_EQ(bnx_spawn(&scope, keep_alive, &keeper), 0);
        }
        CHECK_EQ(bnx_timer_wait(timer), 0);
        CHECK_EQ(bnx_timer_cancel(timer), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(keeper.record.calls, 1);
        CHECK_EQ(keeper.record.early, 0);
        bnx_timer_destroy(timer);
    }
    return 0;
}

/* Claim: a timer that was put off, by whatever worker, does not fire before the time it was put off
 * to. Method: one task a worker puts it off all the time for a while; an extend that returned 0 is
 * announced, and the callback compares it with the clock. */
TEST(timer_extend, "timer.extend_holds") {
    sched_run_each(extend_often, NULL);
}

struct foreign {
    struct bnx_runtime *runtime;
    uint64_t rounds;
};

static void foreign_use(void *arg) {
    struct foreign *foreign = arg;
    for (uint64_t i = 0; i < foreign->rounds; i++) {
        struct record record = {0};
        struct bnx_timer *timer = create((struct bnx_timer_options){
            .runtime = foreign->runtime, .fn = record_call, .arg = &record});
        record.timer = timer;
        CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
        CHECK_EQ(bnx_timer_extend(timer, bnx_now() + 2 * HOUR_NS), 0);
        record.not_before = bnx_now() + i % 3 * BNX_WHEEL_TICK_NS;
        CHECK_EQ(bnx_timer_start(timer, record.not_before), 1);
        CHECK_EQ(bnx_timer_wait(timer), 0);
        CHECK_EQ(bnx_timer_cancel(timer), 0);
        CHECK_EQ(record.calls, 1);
        CHECK_EQ(record.early, 0);
        CHECK_EQ(bnx_timer_start_after(timer, HOUR_NS), 0);
        CHECK_EQ(bnx_timer_cancel(timer), 1);
        bnx_timer_destroy(timer);
    }
}

static void await_parked(const struct bnx_runtime *runtime) {
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        while (!bnx_idle_is_parked(&runtime->idle, i)) { /* ends: it has nothing to do */
            bnx_os.thread_yield();
        }
    }
}

/* The start alone must wake a worker. */
static void start_on_sleepers(struct bnx_runtime *runtime) {
    struct bnx_timer *timer = create((struct bnx_timer_options){.runtime = runtime});
    for (int i = 0; i < 30; i++) {
        await_parked(runtime);
        CHECK_EQ(bnx_timer_start_after(timer, SOON_NS), 0);
        CHECK_EQ(bnx_timer_wait(timer), 0);
    }
    bnx_timer_destroy(timer);
}

/* Claim: OS threads use timers as tasks do, also of a runtime whose workers all sleep. Method: one
 * thread that waits until they do, then three at once; a timer of which a sleeping worker does not
 * hear hangs. */
TEST(timer_threads, "timer.used_by_threads") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct foreign foreign = {sched_create(sched_worker_counts[i]), bnx_test_scale(100)};
        struct bnx_os_thread threads[3];
        start_on_sleepers(foreign.runtime);
        for (int k = 0; k < 3; k++) {
            sched_thread_start(&threads[k], foreign_use, &foreign);
        }
        for (int k = 0; k < 3; k++) {
            sched_thread_join(&threads[k]);
        }
        sched_destroy(foreign.runtime);
    }
    struct bnx_timer *timer = NULL;
    CHECK_EQ(bnx_timer_create(&timer, NULL), -EPERM);
}

/* ---- Periods ---- */

static int count_periods(void *arg) {
    (void)arg;
    struct record record = {0};
    struct bnx_timer *timer = create((struct bnx_timer_options){
        .fn = record_call, .arg = &record, .period_ns = BNX_WHEEL_TICK_NS});
    record.timer = timer;
    CHECK_EQ(bnx_timer_start_after(timer, BNX_WHEEL_TICK_NS), 0);
    sched_await_count(&record.calls, 10);
    CHECK_EQ(bnx_timer_wait(timer), 0); /* the next one: it is never found done */
    CHECK_EQ(bnx_timer_cancel(timer), 1);
    uint64_t calls = bnx_load_acquire(&record.calls);
    CHECK_EQ(bnx_sleep(5 * BNX_WHEEL_TICK_NS), 0);
    CHECK_EQ(bnx_load_acquire(&record.calls), calls);
    bnx_timer_destroy(timer);
    return 0;
}

/* Claim: a timer with a period goes on until it is stopped, and not beyond. Method: ten periods and
 * one more, a cancel, and no call in the time of five more. */
TEST(timer_period, "timer.period") {
    sched_run_each(count_periods, NULL);
}

/* ---- Slack ---- */

static int round_coarse(void *arg) {
    (void)arg;
    struct bnx_timer *timer = create((struct bnx_timer_options){.slack_ns = BNX_TIMER_COARSE});
    uint64_t base_ns = (bnx_now() / BNX_TIMER_COARSE + 100) * BNX_TIMER_COARSE;
    CHECK_EQ(bnx_timer_start(timer, base_ns + 1), 0);
    CHECK_EQ(bnx_timer_deadline(timer), base_ns + BNX_TIMER_COARSE);
    CHECK_EQ(bnx_timer_extend(timer, base_ns + BNX_TIMER_COARSE), 0);
    CHECK_EQ(bnx_timer_deadline(timer), base_ns + BNX_TIMER_COARSE);
    CHECK_EQ(bnx_timer_extend(timer, base_ns), 0); /* an earlier one changes nothing */
    CHECK_EQ(bnx_timer_deadline(timer), base_ns + BNX_TIMER_COARSE);
    CHECK_EQ(bnx_timer_extend(timer, base_ns + BNX_TIMER_COARSE + 1), 0);
    CHECK_EQ(bnx_timer_deadline(timer), base_ns + 2 * BNX_TIMER_COARSE);
    CHECK_EQ(bnx_timer_start(timer, UINT64_MAX - 1), 1);
    CHECK_EQ(bnx_timer_deadline(timer), UINT64_MAX);
    CHECK_EQ(bnx_timer_start(timer, 0), 1);
    CHECK_EQ(bnx_timer_wait(timer), 0);
    bnx_timer_destroy(timer);

    timer = create((struct bnx_timer_options){.slack_ns = 1000}); /* rounds to 512, not beyond */
    CHECK_EQ(bnx_timer_start(timer, base_ns + 1), 0);
    CHECK_EQ(bnx_timer_deadline(timer), base_ns + 512);
    bnx_timer_destroy(timer);
    return 0;
}

/* Claim: slack rounds deadlines up, by less than the slack, to times that coincide. */
TEST(timer_slack, "timer.slack_rounds_up") {
    sched_run(1, round_coarse, NULL);
}

/* ---- Waiting ---- */

static int wait_result(void *arg) {
    return bnx_timer_wait(arg);
}

static void wait_on_thread(void *arg) {
    CHECK_EQ(bnx_timer_wait(arg), 0);
}

static int wait_many(void *arg) {
    struct bnx_timer *timer = arg;
    struct bnx_scope outer;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&outer, wait_result, timer), 0);
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_task *tasks[5];
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_result, timer, &tasks[i]), 0);
    }
    bnx_yield();
    bnx_scope_cancel(&scope, 0); /* some leave the list again */
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_timer_start_after(timer, SOON_NS), 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return 0;
}

/* Claim: a timer that fires wakes all who wait for it, tasks and threads, and no others. Method: 20
 * tasks and 2 threads wait before it is started, 5 more are cancelled. */
TEST(timer_waiters, "timer.wakes_all_waiters") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        struct bnx_timer *timer = create((struct bnx_timer_options){.runtime = runtime});
        struct bnx_os_thread threads[2];
        for (int k = 0; k < 2; k++) {
            sched_thread_start(&threads[k], wait_on_thread, timer);
        }
        CHECK_EQ(bnx_runtime_run(runtime, wait_many, timer), 0);
        for (int k = 0; k < 2; k++) {
            sched_thread_join(&threads[k]);
        }
        bnx_timer_destroy(timer);
        sched_destroy(runtime);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
