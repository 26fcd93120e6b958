/* SPDX-License-Identifier: MIT */
/* Claims about futures, and about the event counts on which OS threads wait for them. */
#include "runtime/thread_wait.h"
#include "tests/support/sched.h"

static int await_number(void *arg) {
    void *value = NULL;
    int error = bnx_future_await(arg, &value);
    return error != 0 ? error : (int)(intptr_t)value;
}

static void *as_value(int number) {
    return (void *)(intptr_t)number;
}

static struct bnx_future *create(void) {
    struct bnx_future *future = NULL;
    CHECK_EQ(bnx_future_create(&future), 0);
    return future;
}

/* Claim: a future is set once; later sets, fails and drops are -EALREADY or without effect; poll
 * and await return what was set. Method: off a task, where nothing needs to wait. */
TEST(future_once, "future.is_set_once") {
    void *value = as_value(99);
    struct bnx_future *future = create();
    CHECK_EQ(bnx_future_poll(future, &value), -EAGAIN);
    CHECK_EQ(bnx_future_fail(future, 0), -EINVAL);
    CHECK_EQ(bnx_future_fail(future, 5), -EINVAL);
    CHECK(value == as_value(99));
    CHECK_EQ(bnx_future_set(future, as_value(7)), 0);
    CHECK_EQ(bnx_future_set(future, as_value(8)), -EALREADY);
    CHECK_EQ(bnx_future_fail(future, -EIO), -EALREADY);
    CHECK_EQ(bnx_future_poll(future, &value), 0);
    CHECK(value == as_value(7));
    CHECK_EQ(bnx_future_await(future, NULL), 0);
    bnx_promise_drop(bnx_future_ref(future));
    CHECK_EQ(bnx_future_await(future, &value), 0);
    CHECK(value == as_value(7));
    bnx_future_unref(future);

    future = create();
    CHECK_EQ(bnx_future_fail(future, -EIO), 0);
    CHECK_EQ(bnx_future_set(future, NULL), -EALREADY);
    value = as_value(99);
    CHECK_EQ(bnx_future_poll(future, &value), -EIO);
    CHECK_EQ(bnx_future_await(future, &value), -EIO);
    CHECK(value == as_value(99));
    bnx_future_unref(future);

    future = create();
    bnx_promise_drop(bnx_future_ref(future));
    CHECK_EQ(bnx_future_await(future, &value), -EPIPE);
    bnx_future_unref(future);
    bnx_future_unref(NULL);
    bnx_promise_drop(NULL);
}

/* ---- Many waiters ---- */

#define WAITERS 100

static int set_for_many(void *arg) {
    (void)arg;
    for (int round = 0; round < 10; round++) {
        struct bnx_future *future = create();
        struct bnx_task *tasks[WAITERS];
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < WAITERS; i++) {
            CHECK_EQ(bnx_spawn_with(&scope, NULL, await_number, future, &tasks[i]), 0);
        }
        if (round % 2 == 0) {
            bnx_yield();
        }
        CHECK_EQ(bnx_future_set(future, as_value(round)), 0);
        for (int i = 0; i < WAITERS; i++) {
            int result = -1;
            CHECK_EQ(bnx_join(tasks[i], &result), 0);
            CHECK_EQ(result, round);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        bnx_future_unref(future);
    }
    return 0;
}

/* Claim: every task that waits is woken with the value, those that come later get it at once. */
TEST(future_many, "future.wakes_all_waiters") {
    sched_run_each(set_for_many, NULL);
}

/* ---- Threads ---- */

struct thread_wait {
    struct bnx_os_thread thread;
    struct bnx_future *future;
    int result;
};

static void thread_await(void *arg) {
    struct thread_wait *wait = arg;
    wait->result = await_number(wait->future);
    bnx_future_unref(wait->future);
}

static int set_later(void *arg) {
    for (int i = 0; i < 3; i++) {
        bnx_yield();
    }
    return bnx_future_set(arg, as_value(11));
}

/* Claim: OS threads wait for a future that a task sets. Method: several threads at once, many
 * rounds; set before, during and after they begin to wait. */
TEST(future_threads, "future.awaited_by_threads") {
    struct bnx_runtime *runtime = sched_create(2);
    uint64_t rounds = bnx_test_scale(200);
    for (uint64_t round = 0; round < rounds; round++) {
        struct thread_wait waits[3];
        struct bnx_future *future = create();
        for (int i = 0; i < 3; i++) {
            waits[i].future = bnx_future_ref(future);
            waits[i].result = -1;
            sched_thread_start(&waits[i].thread, thread_await, &waits[i]);
        }
        CHECK_EQ(bnx_runtime_run(runtime, set_later, future), 0);
        for (int i = 0; i < 3; i++) {
            sched_thread_join(&waits[i].thread);
            CHECK_EQ(waits[i].result, 11);
        }
        bnx_future_unref(future);
    }
    sched_destroy(runtime);
}

/* ---- Cancel against set ---- */

#define RACERS 200

struct race {
    struct bnx_future *future;
    uint64_t got_value;
    uint64_t got_cancel;
};

/* Overwrites the part of the stack where the wait's record lay. */
static BNX_NOINLINE void trample(void) {
    volatile unsigned char frame[512];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xa5;
    }
}

static int race_wait(void *arg) {
    struct race *race = arg;
    void *value = NULL;
    int error = bnx_future_await(race->future, &value);
    trample();
    if (error == 0) {
        CHECK(value == race);
        bnx_fetch_add_relaxed(&race->got_value, 1);
        return 0;
    }
    CHECK_EQ(error, -ECANCELED);
    bnx_fetch_add_relaxed(&race->got_cancel, 1);
    return -ECANCELED;
}

static int race_set(void *arg) {
    struct race *race = arg;
    CHECK_EQ(bnx_future_set(race->future, race), 0);
    return 0;
}

static int race_once(uint64_t round) {
    struct race race = {.future = create()};
    struct bnx_scope outer;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < RACERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, race_wait, &race), 0);
    }
    bnx_yield();
    bnx_yield();
    struct bnx_task *setter = NULL;
    CHECK_EQ(bnx_spawn_with(&outer, NULL, race_set, &race, &setter), 0);
    for (uint64_t i = 0; i < round % 64; i++) {
        bnx_pause();
    }
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_load_relaxed(&race.got_value) + bnx_load_relaxed(&race.got_cancel), RACERS);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    bnx_future_unref(race.future);
    return 0;
}

static int race_rounds(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(2000);
    for (uint64_t round = 0; round < rounds; round++) {
        CHECK_EQ(race_once(round), 0);
    }
    return 0;
}

/* Claim: a waiter gets exactly one outcome, value or cancel, and nobody touches its frame
 * afterwards. Method: 200 waiters, set on one worker while their scope is cancelled on another;
 * each overwrites the stack below it as soon as it is back. */
TEST(future_race, "future.cancel_races_set") {
    sched_run(3, race_rounds, NULL);
}

/* ---- Event counts ---- */

struct ec_shared {
    struct bnx_thread_block *block;
    uint64_t given; /* signals sent */
    uint64_t taken; /* signals that the waiter has seen */
};

static void ec_signal(void *arg) {
    struct ec_shared *shared = arg;
    for (uint64_t i = 0; i < 1000; i++) {
        while (bnx_load_acquire(&shared->taken) < i) { /* ends: the waiter takes each */
            bnx_os.thread_yield();
        }
        bnx_store_release(&shared->given, i + 1);
        bnx_thread_block_signal(shared->block);
    }
}

/* Claim: an OS thread on an event count (ck_ec) sees each signal that comes after it read the
 * count. Method: one signal at a time, each sent only when the last was seen: a lost one hangs. A
 * block that was given back is the next one taken. */
TEST(thread_wait_signal, "thread_wait.no_lost_signal") {
    struct ec_shared shared = {.block = bnx_thread_block_take()};
    CHECK(shared.block != NULL);
    struct bnx_os_thread thread;
    sched_thread_start(&thread, ec_signal, &shared);
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t seen = bnx_thread_block_count(shared.block);
        while (bnx_load_acquire(&shared.given) <= i) { /* ends: the signaller sends each */
            bnx_thread_block_wait(shared.block, seen);
            seen = bnx_thread_block_count(shared.block);
        }
        bnx_store_release(&shared.taken, i + 1);
    }
    sched_thread_join(&thread);
    bnx_thread_block_give(shared.block);
    struct bnx_thread_block *again = bnx_thread_block_take();
    CHECK(again == shared.block);
    bnx_thread_block_give(again);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
