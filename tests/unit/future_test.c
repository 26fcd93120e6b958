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

/* ---- Callbacks ---- */

#define CALLBACKS 8

struct callbacks {
    struct bnx_future *future;
    uint64_t count;                 /* that have begun */
    int order[CALLBACKS];           /* numbers of those called, as they came */
    int outcome[CALLBACKS];         /* what poll said to each */
    struct bnx_task *in[CALLBACKS]; /* the task that each ran in */
    uint32_t called;                /* futex: how many have been through */
};

struct callback {
    struct callbacks *all;
    int number;
};

static void note_call(struct bnx_future *future, void *arg) {
    struct callback *own = arg;
    struct callbacks *all = own->all;
    CHECK(future == all->future);
    uint64_t place = bnx_fetch_add_acq_rel(&all->count, 1);
    CHECK(place < CALLBACKS);
    all->order[place] = own->number;
    all->in[place] = bnx_task_current();
    all->outcome[place] = bnx_future_poll(future, NULL);
    sched_post(&all->called);
}

static void note_call_slowly(struct bnx_future *future, void *arg) {
    bnx_yield();
    CHECK_EQ(bnx_sleep(1000), 0);
    note_call(future, arg);
}

static int register_in_task(void *arg) {
    (void)arg;
    struct callbacks all = {.future = create()};
    struct callback own[CALLBACKS];
    CHECK_EQ(bnx_future_on_done(all.future, NULL, NULL), -EINVAL);
    for (int i = 0; i < CALLBACKS; i++) {
        own[i] = (struct callback){&all, i};
        if (i == CALLBACKS - 1) {
            bnx_yield();
            CHECK_EQ(bnx_load_relaxed(&all.count), 0); /* not before it is done */
            CHECK_EQ(bnx_future_fail(all.future, -EIO), 0);
        }
        CHECK_EQ(bnx_future_on_done(all.future, i % 2 == 0 ? note_call : note_call_slowly, &own[i]),
                 0);
    }
    struct bnx_future *future = bnx_future_ref(all.future);
    bnx_future_unref(all.future);
    while (bnx_load_acquire(&all.called) < CALLBACKS) { /* ends: each comes */
        bnx_yield();
    }
    uint32_t seen = 0;
    for (int i = 0; i < CALLBACKS; i++) {
        CHECK(all.in[i] != NULL && all.in[i] != bnx_task_current());
        CHECK_EQ(all.outcome[i], -EIO);
        seen |= 1u << all.order[i];
    }
    CHECK_EQ(seen, (1u << CALLBACKS) - 1);
    bnx_future_unref(future);
    return 0;
}

/* Claim: a callback that a task has registered runs once, after the future is done, in a task of
 * its own that may wait; also one that comes too late. */
TEST(future_callback_task, "future.callback_is_a_task") {
    sched_run_each(register_in_task, NULL);
}

static int set_seven(void *arg) {
    CHECK_EQ(bnx_future_set(arg, as_value(7)), 0);
    return 0;
}

/* Claim: a callback that was registered off a task runs where the future is set, before the set
 * returns, in the order of registration; one that comes too late before the registration returns; a
 * dropped promise is a failure with -EPIPE. */
TEST(future_callback_foreign, "future.callback_by_setter") {
    for (int way = 0; way < 3; way++) {
        struct callbacks all = {.future = create()};
        struct callback own[CALLBACKS];
        for (int i = 0; i < CALLBACKS; i++) {
            own[i] = (struct callback){&all, i};
        }
        for (int i = 0; i < CALLBACKS - 1; i++) {
            CHECK_EQ(bnx_future_on_done(all.future, note_call, &own[i]), 0);
            CHECK_EQ(all.count, 0);
        }
        int outcome = 0;
        struct bnx_future *kept = bnx_future_ref(all.future);
        if (way == 0) {
            CHECK_EQ(set_seven(all.future), 0);
        } else if (way == 1) {
            bnx_promise_drop(bnx_future_ref(all.future));
            outcome = -EPIPE;
        } else {
            sched_run(1, set_seven, all.future);
        }
        CHECK_EQ(all.count, CALLBACKS - 1);
        CHECK_EQ(bnx_future_on_done(all.future, note_call, &own[CALLBACKS - 1]), 0);
        CHECK_EQ(all.count, CALLBACKS);
        for (int i = 0; i < CALLBACKS; i++) {
            CHECK_EQ(all.order[i], i);
            CHECK_EQ(all.outcome[i], outcome);
            CHECK((all.in[i] != NULL) == (way == 2 && i < CALLBACKS - 1));
        }
        bnx_future_unref(all.future);
        bnx_future_unref(kept);
    }
}

static void note_stop(struct bnx_future *future, void *arg) {
    CHECK_EQ(bnx_future_poll(future, NULL), -EAGAIN);
    CHECK_EQ(bnx_sleep(1), -ECANCELED);
    sched_post(arg);
}

struct stopped {
    struct bnx_future *future;
    uint32_t called; /* futex */
};

static int register_and_leave(void *arg) {
    struct stopped *stopped = arg;
    for (int i = 0; i < CALLBACKS; i++) {
        CHECK_EQ(bnx_future_on_done(stopped->future, note_stop, &stopped->called), 0);
    }
    return 0;
}

static int register_late(void *arg) {
    struct stopped *stopped = arg;
    CHECK_EQ(bnx_runtime_stop(bnx_runtime_current()), 0);
    CHECK_EQ(bnx_future_on_done(stopped->future, note_stop, &stopped->called), -ESHUTDOWN);
    return 0;
}

/* Claim: a stop ends what waits for the future: each callback is called, in a cancelled task, once;
 * a later registration is refused; a set afterwards finds nobody. */
TEST(future_callback_stop, "future.callback_at_stop") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct stopped stopped = {.future = create()};
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        CHECK_EQ(bnx_runtime_run(runtime, register_and_leave, &stopped), 0);
        CHECK_EQ(bnx_runtime_destroy(runtime), -EBUSY); /* they live */
        CHECK_EQ(bnx_load_seq_cst(&stopped.called), 0);
        CHECK_EQ(bnx_runtime_run(runtime, register_late, &stopped), 0);
        sched_destroy(runtime);
        CHECK_EQ(stopped.called, CALLBACKS);
        CHECK_EQ(bnx_future_set(stopped.future, NULL), 0);
        bnx_future_unref(stopped.future);
    }
}

/* ---- As an fd ---- */

static int is_readable(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return bnx_os.poll(&poll_fd, 1, 0);
}

static int refuse_eventfd(unsigned value, int flags) {
    (void)value;
    (void)flags;
    return -EMFILE;
}

/* Claim: the fd of a future is readable from when it is done on, whether it was asked for before or
 * after; it is one fd, and closed with the future. */
TEST(future_fd, "future.fd") {
    for (int way = 0; way < 3; way++) {
        struct bnx_future *future = create();
        struct bnx_future *kept = bnx_future_ref(future);
        int fd = way == 0 ? -1 : bnx_future_fd(future);
        if (way != 0) {
            CHECK(fd >= 0);
            CHECK_EQ(bnx_future_fd(future), fd);
            CHECK_EQ(is_readable(fd), 0);
        }
        if (way == 1) {
            bnx_promise_drop(future);
        } else {
            CHECK_EQ(bnx_future_set(future, NULL), 0);
            bnx_future_unref(future);
        }
        fd = bnx_future_fd(kept);
        CHECK(fd >= 0);
        CHECK_EQ(is_readable(fd), 1);
        CHECK_EQ(is_readable(fd), 1);
        CHECK_EQ(bnx_os.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
        bnx_future_unref(kept);
        CHECK_EQ(bnx_os.fcntl(fd, F_GETFD, 0), -EBADF);
    }
    struct bnx_future *future = create();
    int (*real_eventfd)(unsigned value, int flags) = bnx_os.eventfd;
    bnx_os.eventfd = refuse_eventfd;
    CHECK_EQ(bnx_future_fd(future), -EMFILE);
    bnx_os.eventfd = real_eventfd;
    int fd = bnx_future_fd(future);
    CHECK(fd >= 0 && is_readable(fd) == 0);
    bnx_future_unref(future);
}

/* ---- Memory ---- */

static void *(*real_allocate)(size_t bytes, size_t alignment);
static void (*real_release)(void *block);
static bool is_out_of_memory;
static uint64_t blocks;

static void *counted_allocate(size_t bytes, size_t alignment) {
    if (is_out_of_memory) {
        return NULL;
    }
    bnx_fetch_add_relaxed(&blocks, 1);
    return real_allocate(bytes, alignment);
}

static void counted_release(void *block) {
    if (block != NULL) {
        bnx_fetch_sub_relaxed(&blocks, 1);
    }
    real_release(block);
}

static void not_called(struct bnx_future *future, void *arg) {
    (void)future;
    (void)arg;
    CHECK(false);
}

#define KEPT 5000

static int use_futures(void *arg) {
    struct bnx_future **kept = arg;
    is_out_of_memory = true;
    struct bnx_future *none = NULL;
    CHECK_EQ(bnx_future_create(&none), -ENOMEM); /* the worker has none yet */
    CHECK(none == NULL);
    is_out_of_memory = false;
    for (int i = 0; i < KEPT; i++) {
        kept[i] = create();
    }
    for (int i = 1; i < KEPT; i++) {
        bnx_future_unref(kept[i]);
    }
    is_out_of_memory = true;
    CHECK_EQ(bnx_future_on_done(kept[0], not_called, NULL), -ENOMEM);
    CHECK_EQ(bnx_future_set(kept[0], as_value(3)), 0);
    is_out_of_memory = false;
    return 0;
}

/* Claim: a future outlives its runtime; none leaks, whoever creates and drops it, however many; a
 * set needs no memory. */
TEST(future_memory, "future.memory_returns") {
    static struct bnx_future *kept[KEPT];
    bnx_thread_block_give(bnx_thread_block_take()); /* is never freed, only used again */
    real_allocate = bnx_os.allocate;
    real_release = bnx_os.release;
    bnx_os.allocate = counted_allocate;
    bnx_os.release = counted_release;
    sched_run(1, use_futures, kept);
    CHECK_EQ(blocks, 1);
    void *value = NULL;
    CHECK_EQ(bnx_future_await(kept[0], &value), 0);
    CHECK(value == as_value(3));
    bnx_future_unref(kept[0]);
    CHECK_EQ(blocks, 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
