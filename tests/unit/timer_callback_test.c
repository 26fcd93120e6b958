/* SPDX-License-Identifier: MIT */
/* Claims about the callbacks of timers: their end, their task, what they may do. */
#include "tests/unit/timer_fixture.h"

#include <stdlib.h>
#include <string.h>

/* ---- The end of a callback ---- */

/* On the heap, so that whoever touches it too late is seen. */
struct prey {
    uint64_t inside; /* the callback is between its first and its last touch */
    uint64_t touches;
};

static void touch(struct bnx_timer *timer, void *arg) {
    (void)timer;
    struct prey *prey = arg;
    bnx_store_release(&prey->inside, 1);
    for (int i = 0; i < 3; i++) {
        bnx_yield();
        bnx_fetch_add_relaxed(&prey->touches, 1);
    }
    bnx_store_release(&prey->inside, 0);
}

static int cancel_and_free(void *arg) {
    uint64_t rounds = bnx_test_scale(400);
    for (uint64_t i = 0; i < rounds; i++) {
        struct prey *prey = calloc(1, sizeof(*prey));
        CHECK(prey != NULL);
        struct bnx_timer *timer = create((struct bnx_timer_options){.fn = touch, .arg = prey});
        CHECK_EQ(bnx_timer_start_after(timer, i % 4 * BNX_WHEEL_TICK_NS / 2), 0);
        for (uint64_t k = *(uint64_t *)arg + i % 7; k > 0; k--) {
            bnx_yield();
        }
        if (i % 2 == 0) { /* else the cancel races the expiry itself */
            CHECK_EQ(bnx_timer_wait(timer), 0);
        }
        int was_armed = bnx_timer_cancel(timer);
        CHECK_EQ(bnx_load_acquire(&prey->inside), 0);
        CHECK_EQ(prey->touches, was_armed == 1 ? 0 : 3);
        memset(prey, 0xa5, sizeof(*prey));
        free(prey);
        bnx_timer_destroy(timer);
    }
    return 0;
}

static int cancel_all_over(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(bnx_spawn(&scope, cancel_and_free, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: when a cancel has returned, no callback runs and none will: what it uses may be freed.
 * Method: the callback touches a heap block before, between and after its waits; the canceller, on
 * whatever worker, frees it at once. */
TEST(cancel_waits, "time.cancel_waits_callback") {
    uint64_t yields = 0;
    sched_run_each(cancel_all_over, &yields);
}

static void block_until_set(struct bnx_timer *timer, void *arg) {
    struct record *record = arg;
    CHECK_EQ(bnx_timer_cancel(timer), -EDEADLK);
    CHECK_EQ(bnx_future_await(record->done, NULL), 0);
    bnx_fetch_add_acq_rel(&record->calls, 1);
}

static int cancel_while_cancelled(void *arg) {
    struct record *record = arg;
    CHECK_EQ(bnx_timer_cancel(record->timer), 0);
    CHECK_EQ(bnx_load_acquire(&record->calls), 1); /* it has waited all the same */
    CHECK_EQ(bnx_checkpoint(), -ECANCELED);
    return 0;
}

static int cancel_is_a_close(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct record record = {0};
        CHECK_EQ(bnx_future_create(&record.done), 0);
        record.timer = create((struct bnx_timer_options){.fn = block_until_set, .arg = &record});
        CHECK_EQ(bnx_timer_start(record.timer, 0), 0);
        CHECK_EQ(bnx_timer_wait(record.timer), 0);
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, cancel_while_cancelled, &record), 0);
        for (int k = 0; k < i; k++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        for (int k = 0; k < 5; k++) {
            bnx_yield();
        }
        CHECK_EQ(bnx_future_set(record.done, NULL), 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        bnx_timer_destroy(record.timer);
        bnx_future_unref(record.done);
    }
    return 0;
}

/* Claim: a timer's cancel is a close: neither refused nor cut short by a cancel of the caller; from
 * its own callback it is -EDEADLK. Method: the callback waits for a future that is set only after
 * the caller was cancelled. */
TEST(cancel_close, "timer.cancel_is_a_close") {
    sched_run_each(cancel_is_a_close, NULL);
}

static void again_until_three(struct bnx_timer *timer, void *arg) {
    struct record *record = arg;
    record_call(timer, arg);
    if (record->calls < 3) {
        CHECK_EQ(bnx_timer_start_after(timer, 0), 0);
        return;
    }
    struct bnx_future *done = record->done;
    bnx_timer_destroy(timer); /* the last use */
    CHECK_EQ(bnx_future_set(done, NULL), 0);
}

static int callback_restarts(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct record record = {0};
        CHECK_EQ(bnx_future_create(&record.done), 0);
        record.timer = create((struct bnx_timer_options){.fn = again_until_three, .arg = &record});
        CHECK_EQ(bnx_timer_start(record.timer, bnx_now()), 0);
        CHECK_EQ(bnx_future_await(record.done, NULL), 0);
        CHECK_EQ(record.calls, 3);
        bnx_future_unref(record.done);
    }
    return 0;
}

/* Claim: a callback may start its own timer again, and destroy it. Method: three calls, the last
 * one destroys; sanitizers see the rest. */
TEST(timer_own, "timer.callback_restarts_and_destroys") {
    sched_run_each(callback_restarts, NULL);
}

static void again_until_refused(struct bnx_timer *timer, void *arg) {
    struct record *record = arg;
    if (record->calls++ == 0) {
        CHECK_EQ(bnx_future_set(record->done, NULL), 0);
    }
    int error = 0;
    for (int i = 0; i < 1000000 && error != -ESHUTDOWN; i++) {
        error = bnx_timer_start_after(timer, 0);
        CHECK(error >= 0 || error == -ESHUTDOWN);
        bnx_yield();
    }
    CHECK_EQ(error, -ESHUTDOWN);
}

static int destroy_beside_restarts(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct record record = {0};
        CHECK_EQ(bnx_future_create(&record.done), 0);
        record.timer =
            create((struct bnx_timer_options){.fn = again_until_refused, .arg = &record});
        CHECK_EQ(bnx_timer_start(record.timer, bnx_now()), 0);
        CHECK_EQ(bnx_future_await(record.done, NULL), 0);
        bnx_timer_destroy(record.timer);
        uint64_t calls = record.calls;
        CHECK_EQ(bnx_sleep(2 * BNX_WHEEL_TICK_NS), 0);
        CHECK_EQ(record.calls, calls);
        bnx_future_unref(record.done);
    }
    return 0;
}

/* Claim: a callback that starts its own timer again and again is no danger to the one who destroys
 * it. Method: it does so until it is refused, however often the timer fires meanwhile; that it is
 * not called afterwards, its counter says, and sanitizers that nobody uses what was freed. */
TEST(timer_shut, "timer.destroy_ends_restarts") {
    sched_run_each(destroy_beside_restarts, NULL);
}

static uint64_t destroyed;

/* Runs when the callback has returned and its task has not ended. */
static void end_slowly(void *value) {
    (void)value;
    uint64_t until_ns = bnx_now() + 3 * BNX_WHEEL_TICK_NS;
    while (bnx_now() < until_ns) { /* ends with time */
        bnx_pause();
    }
    bnx_fetch_add_acq_rel(&destroyed, 1);
}

static const struct bnx_local slow_end = {.destroy = end_slowly};

static void leave_a_value(struct bnx_timer *timer, void *arg) {
    (void)timer;
    CHECK(bnx_local_get(&slow_end) == NULL);
    CHECK_EQ(bnx_local_set(&slow_end, arg), 0);
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
}

static int fire_while_ending(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    uint64_t rounds = 1 + bnx_test_scale(100);
    bnx_store_relaxed(&destroyed, 0);
    struct bnx_timer *timer =
        create((struct bnx_timer_options){.fn = leave_a_value, .arg = &calls});
    for (uint64_t i = 0; i < rounds; i++) {
        CHECK_EQ(bnx_timer_start(timer, 0), 0);
        CHECK_EQ(bnx_timer_wait(timer), 0);
        sched_await_count(&calls, i + 1);
    }
    bnx_timer_destroy(timer);
    CHECK_EQ(calls, rounds);
    CHECK_EQ(bnx_load_acquire(&destroyed), rounds); /* the destroy has waited for the task's end */
    return 0;
}

/* Claim: a callback's task is used again only when it has ended. Method: its end takes three ticks,
 * in a task-local value's destructor, while the timer is due at once, on other workers. */
TEST(timer_ending, "timer.waits_for_callback_task") {
    sched_run_each(fire_while_ending, NULL);
}

/* ---- Limits ---- */

static uint32_t is_memory_gone;

static void *(*allocate_really)(size_t bytes, size_t alignment);
static void *(*mmap_really)(size_t bytes, int protection, int flags, int *out_error);

/* To workers alone: who called bnx_run may come late to its wait, and needs memory for it. */
static bool is_memory_refused(void) {
    return bnx_load_acquire(&is_memory_gone) != 0 && bnx_worker_current() != NULL;
}

static void *allocate_while_there(size_t bytes, size_t alignment) {
    return is_memory_refused() ? NULL : allocate_really(bytes, alignment);
}

static void *mmap_while_there(size_t bytes, int protection, int flags, int *out_error) {
    if (is_memory_refused()) {
        *out_error = -ENOMEM;
        return (void *)(intptr_t)-1; /* MAP_FAILED */
    }
    return mmap_really(bytes, protection, flags, out_error);
}

static void note_call(struct bnx_timer *timer, void *arg) {
    (void)timer;
    bnx_fetch_add_acq_rel((uint64_t *)arg, 1);
}

#define HUNGRY_TIMERS 8

struct crew {
    uint64_t waiting;
    struct bnx_future *all;
};

static int wait_for_all(void *arg) {
    struct crew *crew = arg;
    if (bnx_fetch_add_acq_rel(&crew->waiting, 1) + 1 == 2 * HUNGRY_TIMERS) {
        CHECK_EQ(bnx_future_set(crew->all, NULL), 0);
    }
    return bnx_future_await(crew->all, NULL);
}

/* A callback is a task and runs on a stack: here are enough of them for all, wherever they run. */
static void make_stacks(void) {
    struct bnx_scope scope;
    struct crew crew = {.waiting = 0};
    CHECK_EQ(bnx_future_create(&crew.all), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2 * HUNGRY_TIMERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, wait_for_all, &crew), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_future_unref(crew.all);
}

static int fire_without_memory(void *arg) {
    (void)arg;
    uint64_t calls = 0;
    make_stacks();
    struct bnx_timer *timers[HUNGRY_TIMERS];
    for (int i = 0; i < HUNGRY_TIMERS; i++) {
        timers[i] = create((struct bnx_timer_options){.fn = note_call, .arg = &calls});
        CHECK_EQ(bnx_timer_start_after(timers[i], SOON_NS), 0);
    }
    bnx_store_release(&is_memory_gone, 1);
    sched_await_count(&calls, HUNGRY_TIMERS);
    bnx_store_release(&is_memory_gone, 0);
    for (int i = 0; i < HUNGRY_TIMERS; i++) {
        bnx_timer_destroy(timers[i]);
    }
    return 0;
}

/* Claim: firing allocates nothing. Method: once the timers are started all memory is refused; every
 * callback is called all the same. On one worker, whose free stacks are its own. */
TEST(timer_memory, "timer.fires_without_memory") {
    allocate_really = bnx_os.allocate;
    mmap_really = bnx_os.mmap;
    bnx_os.allocate = allocate_while_there;
    bnx_os.mmap = mmap_while_there;
    sched_run(1, fire_without_memory, NULL);
}

static int reach_the_limit(void *arg) {
    (void)arg;
    struct bnx_timer *timers[16] = {NULL};
    struct bnx_timer_options options = {.fn = note_call};
    int count = 0;
    int error = 0;
    while (error == 0 && count < 16) {
        error = bnx_timer_create(&timers[count], &options);
        count += error == 0 ? 1 : 0;
    }
    CHECK_EQ(error, -EAGAIN);
    CHECK(timers[count] == NULL);
    for (int i = 0; i < count; i++) {
        bnx_timer_destroy(timers[i]);
    }
    CHECK_EQ(bnx_timer_create(&timers[0], &options), 0); /* the descriptors have come back */
    bnx_timer_destroy(timers[0]);
    return 0;
}

/* Claim: a callback's descriptor counts as a task, and comes back with the destroy. */
TEST(timer_limit, "timer.limit_is_eagain") {
    struct bnx_options options = {.worker_count = 1, .tasks_max = 8};
    CHECK_EQ(bnx_run(&options, reach_the_limit, NULL), 0);
}

static int start_late(void *arg) {
    struct record *record = arg;
    CHECK_EQ(bnx_runtime_stop(bnx_runtime_current()), 0);
    CHECK_EQ(bnx_timer_start(record->timer, bnx_now()), 0);
    while (bnx_timer_deadline(record->timer) != 0) { /* ends: it fires */
        bnx_yield();
    }
    CHECK_EQ(bnx_timer_wait(record->timer), -ECANCELED); /* the task's own cancel comes first */
    CHECK_EQ(bnx_timer_cancel(record->timer), 0);
    return 0;
}

/* Claim: once the runtime stops a timer still fires, but no callback begins. */
TEST(timer_stopping, "timer.no_callback_after_stop") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        struct record record = {0};
        record.timer = create(
            (struct bnx_timer_options){.runtime = runtime, .fn = record_call, .arg = &record});
        CHECK_EQ(bnx_runtime_run(runtime, start_late, &record), 0);
        CHECK_EQ(record.calls, 0);
        bnx_timer_destroy(record.timer);
        sched_destroy(runtime);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
