/* SPDX-License-Identifier: MIT */
/* Claims about waiting for several things at once: wait, gather, race, as_completed. */
#include "runtime/thread_wait.h"
#include "tests/support/sched.h"

#include <bonxie/iter.h>

#define MANY 40 /* more than lie in a frame */

struct several {
    struct bnx_future *futures[MANY];
    struct bnx_waitable *waitables[MANY];
    int results[MANY];
    int outcome;
    size_t index;
};

static void make_futures(struct several *several) {
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(bnx_future_create(&several->futures[i]), 0);
        several->waitables[i] = bnx_future_waitable(several->futures[i]);
    }
    several->outcome = 99;
    several->index = 99;
}

static void drop_futures(struct several *several) {
    for (int i = 0; i < MANY; i++) {
        bnx_future_unref(several->futures[i]);
    }
}

static int return_number(void *arg) {
    return (int)(intptr_t)arg;
}

/* ---- What is there already ---- */

static void wait_for_done(void) {
    struct several several;
    make_futures(&several);
    struct bnx_waitable **all = several.waitables;
    size_t index = 99;
    CHECK_EQ(bnx_future_set(several.futures[1], NULL), 0);
    CHECK_EQ(bnx_future_fail(several.futures[2], -EIO), 0);
    CHECK_EQ(bnx_wait(all, 3, BNX_WAIT_FIRST, &index), 0);
    CHECK_EQ(index, 1);
    CHECK_EQ(bnx_wait(all, 3, BNX_WAIT_FIRST_ERROR, &index), -EIO);
    CHECK_EQ(index, 2);
    CHECK_EQ(bnx_race(all, 3, &index), 0);
    CHECK_EQ(index, 1);
    index = 99;
    CHECK_EQ(bnx_wait(all + 1, 2, BNX_WAIT_ALL, &index), 0);
    CHECK_EQ(bnx_wait(all + 1, 1, BNX_WAIT_FIRST_ERROR, &index), 0);
    CHECK_EQ(bnx_race(all + 2, 1, &index), -EIO);
    CHECK_EQ(index, 99);
    int results[3] = {7, 7, 7};
    CHECK_EQ(bnx_gather(all, 3, results, 0), -EIO);
    CHECK(results[0] == -EINPROGRESS && results[1] == 0 && results[2] == -EIO);
    CHECK_EQ(bnx_gather(all + 1, 2, results, BNX_GATHER_COLLECT), 0);
    CHECK(results[0] == 0 && results[1] == -EIO);
    CHECK_EQ(bnx_gather(all + 1, 1, NULL, 0), 0);
    drop_futures(&several);
}

static void refuse(void) {
    struct several several;
    make_futures(&several);
    struct bnx_waitable *none[] = {several.waitables[0], NULL};
    int results[2] = {7, 7};
    CHECK_EQ(bnx_wait(several.waitables, 0, BNX_WAIT_ALL, NULL), 0);
    CHECK_EQ(bnx_wait(NULL, 0, BNX_WAIT_FIRST_ERROR, NULL), 0);
    CHECK_EQ(bnx_gather(NULL, 0, NULL, 0), 0);
    CHECK_EQ(bnx_wait(several.waitables, 0, BNX_WAIT_FIRST, NULL), -EINVAL);
    CHECK_EQ(bnx_race(several.waitables, 0, NULL), -EINVAL);
    CHECK_EQ(bnx_wait(NULL, 1, BNX_WAIT_ALL, NULL), -EINVAL);
    CHECK_EQ(bnx_wait(none, 2, BNX_WAIT_ALL, NULL), -EINVAL);
    CHECK_EQ(bnx_wait(several.waitables, 1, (enum bnx_wait_mode)3, NULL), -EINVAL);
    CHECK_EQ(bnx_gather(several.waitables, 1, results, 2), -EINVAL);
    CHECK_EQ(bnx_gather(none, 2, results, 0), -EINVAL);
    CHECK_EQ(results[0], 7);
    struct bnx_iter iter;
    CHECK_EQ(bnx_as_completed(NULL, 1, &iter), -EINVAL);
    CHECK_EQ(bnx_as_completed(none, 2, &iter), -EINVAL);
    drop_futures(&several);
}

static int done_and_refused(void *arg) {
    (void)arg;
    struct bnx_waitable *self = bnx_task_waitable(bnx_task_self());
    wait_for_done();
    refuse();
    CHECK_EQ(bnx_wait(&self, 1, BNX_WAIT_ALL, NULL), -EDEADLK);
    return 0;
}

/* Claim: what is done already is taken without a wait, the first in the array first, each mode
 * giving the result that its doc block says; wrong arguments are refused and touch nothing. Method:
 * in a task, and on a thread that is none. */
TEST(wait_done, "wait.takes_what_is_done") {
    wait_for_done();
    refuse();
    sched_run(1, done_and_refused, NULL);
}

/* ---- What comes later ---- */

static int wait_first(void *arg) {
    struct several *several = arg;
    bnx_store_relaxed(&several->outcome,
                      bnx_wait(several->waitables, MANY, BNX_WAIT_FIRST, &several->index));
    return 0;
}

static int wait_error(void *arg) {
    struct several *several = arg;
    bnx_store_relaxed(&several->outcome,
                      bnx_wait(several->waitables, MANY, BNX_WAIT_FIRST_ERROR, &several->index));
    return 0;
}

static int race(void *arg) {
    struct several *several = arg;
    bnx_store_relaxed(&several->outcome, bnx_race(several->waitables, MANY, &several->index));
    return 0;
}

static int gather(void *arg) {
    struct several *several = arg;
    bnx_store_relaxed(&several->outcome, bnx_gather(several->waitables, MANY, several->results, 0));
    return 0;
}

static int collect(void *arg) {
    struct several *several = arg;
    bnx_store_relaxed(&several->outcome,
                      bnx_gather(several->waitables, MANY, several->results, BNX_GATHER_COLLECT));
    return 0;
}

/* Starts fn, lets it register, and completes `count` futures from the last to the first: those with
 * an index divisible by `failing` fail with -1000 - index. */
static void complete_backwards(struct several *several, bnx_task_fn fn, int count, int failing) {
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    make_futures(several);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, fn, several, &task), 0);
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: it registers, then parks */
        bnx_yield();
    }
    for (int i = MANY - 1; i >= MANY - count; i--) {
        bnx_yield();
        CHECK_EQ(bnx_load_relaxed(&several->outcome),
                 99); /* it waits on, until the last of these */
        int error = i % failing == 0 ? bnx_future_fail(several->futures[i], -1000 - i)
                                     : bnx_future_set(several->futures[i], NULL);
        CHECK_EQ(error, 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static int later(void *arg) {
    (void)arg;
    struct several several;
    complete_backwards(&several, wait_first, 1, MANY);
    CHECK_EQ(several.outcome, 0);
    CHECK_EQ(several.index, MANY - 1);
    drop_futures(&several);
    /* 39 .. 31 succeed, 30 fails. */
    complete_backwards(&several, wait_error, 10, 15);
    CHECK_EQ(several.outcome, -1030);
    CHECK_EQ(several.index, 30);
    drop_futures(&several);
    /* All fail; the last one counts. */
    complete_backwards(&several, race, MANY, 1);
    CHECK_EQ(several.outcome, -1000);
    CHECK_EQ(several.index, 99);
    drop_futures(&several);
    /* 39 .. 31 succeed, 30 fails, the others are not done. */
    complete_backwards(&several, gather, 10, 15);
    CHECK_EQ(several.outcome, -1030);
    CHECK_EQ(several.results[MANY - 1], 0);
    CHECK_EQ(several.results[30], -1030);
    CHECK_EQ(several.results[29], -EINPROGRESS);
    drop_futures(&several);
    complete_backwards(&several, collect, MANY, 3);
    CHECK_EQ(several.outcome, 0);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(several.results[i], i % 3 == 0 ? -1000 - i : 0);
    }
    drop_futures(&several);
    return 0;
}

/* Claim: a wait for several ends with the event that its mode names, not before, and says which it
 * was. Method: forty futures completed one by one from the last to the first; the waiter's outcome
 * is looked at before each. */
TEST(wait_later, "wait.ends_when_its_mode_says") {
    sched_run_each(later, NULL);
}

static int race_won(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *tasks[5];
    struct bnx_waitable *waitables[5];
    CHECK_EQ(bnx_scope_open(&scope, &(struct bnx_scope_options){.policy = BNX_SCOPE_COLLECT}), 0);
    for (int i = 0; i < 5; i++) {
        void *result = (void *)(intptr_t)(i == 3 ? 33 : -1 - i);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, return_number, result, &tasks[i]), 0);
        waitables[i] = bnx_task_waitable(tasks[i]);
    }
    size_t index = 99;
    CHECK_EQ(bnx_race(waitables, 5, &index), 33);
    CHECK_EQ(index, 3);
    int results[5];
    CHECK_EQ(bnx_gather(waitables, 5, results, BNX_GATHER_COLLECT), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(results[i], i == 3 ? 33 : -1 - i);
        int result = 0;
        CHECK_EQ(bnx_join(tasks[i], &result), 0); /* waiting was no join */
        CHECK_EQ(result, results[i]);
    }
    (void)bnx_scope_close(&scope);
    return 0;
}

/* Claim: tasks are waitables whose result is what their function returned; the first success wins a
 * race, whatever failed before. */
TEST(wait_tasks, "wait.tasks_race_and_gather") {
    sched_run_each(race_won, NULL);
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

static void count_blocks(void) {
    real_allocate = bnx_os.allocate;
    real_release = bnx_os.release;
    bnx_os.allocate = counted_allocate;
    bnx_os.release = counted_release;
}

static int without_memory(void *arg) {
    (void)arg;
    struct several several;
    make_futures(&several);
    struct bnx_iter iter = {NULL, NULL, NULL};
    uint64_t before = blocks;
    is_out_of_memory = true;
    CHECK_EQ(bnx_wait(several.waitables, MANY, BNX_WAIT_FIRST, &several.index), -ENOMEM);
    CHECK_EQ(bnx_gather(several.waitables, MANY, several.results, 0), -ENOMEM);
    CHECK_EQ(bnx_as_completed(several.waitables, MANY, &iter), -ENOMEM);
    CHECK_EQ(several.index, 99);
    CHECK(iter.ctx == NULL);
    CHECK_EQ(bnx_future_set(several.futures[15], NULL), 0);
    CHECK_EQ(bnx_wait(several.waitables, 16, BNX_WAIT_FIRST, &several.index), 0);
    CHECK_EQ(several.index, 15);
    is_out_of_memory = false;
    CHECK_EQ(bnx_wait(several.waitables, MANY, BNX_WAIT_FIRST, NULL), 0);
    CHECK_EQ(bnx_as_completed(several.waitables, MANY, &iter), 0);
    iter.close(&iter);
    CHECK_EQ(blocks, before);
    drop_futures(&several);
    return 0;
}

/* Claim: up to sixteen need no memory; beyond that its lack is an error that changes nothing, and
 * what was taken is given back. */
TEST(wait_memory, "wait.memory") {
    bnx_thread_block_give(bnx_thread_block_take()); /* is never freed, only used again */
    count_blocks();
    sched_run(1, without_memory, NULL);
    CHECK_EQ(blocks, 0);
}

/* ---- Cancel ---- */

static int wait_cancelled(void *arg) {
    struct several *several = arg;
    size_t index = 99;
    int result = 7;
    struct bnx_iter iter;
    CHECK_EQ(bnx_as_completed(several->waitables, MANY, &iter), 0);
    void *value = several;
    CHECK_EQ(bnx_wait(several->waitables, MANY, BNX_WAIT_FIRST, &index), -ECANCELED);
    /* From now on each refuses at once, also where something is done. */
    CHECK_EQ(bnx_future_set(several->futures[0], NULL), 0);
    CHECK_EQ(bnx_wait(several->waitables, 3, BNX_WAIT_ALL, &index), -ECANCELED);
    CHECK_EQ(bnx_wait(several->waitables, 1, BNX_WAIT_FIRST, &index), -ECANCELED);
    CHECK_EQ(bnx_wait(NULL, 0, BNX_WAIT_ALL, NULL), -ECANCELED);
    CHECK_EQ(bnx_gather(several->waitables, 1, &result, 0), -ECANCELED);
    CHECK_EQ(bnx_race(several->waitables, 1, &index), -ECANCELED);
    CHECK_EQ(bnx_iter_next(&iter, &value), -ECANCELED);
    CHECK(index == 99 && result == 7 && value == several);
    bnx_iter_close(&iter);
    return -ECANCELED;
}

static int cancel_waiters(void *arg) {
    (void)arg;
    struct several several;
    struct bnx_scope scope;
    make_futures(&several);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, wait_cancelled, &several), 0);
    bnx_yield();
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    /* Nobody is registered any more. */
    for (int i = 1; i < MANY; i++) {
        CHECK_EQ(bnx_future_set(several.futures[i], NULL), 0);
    }
    drop_futures(&several);
    return 0;
}

static int gather_in_time(void *arg) {
    struct several *several = arg;
    return bnx_gather(several->waitables, MANY, several->results, BNX_GATHER_COLLECT);
}

static int time_out(void *arg) {
    (void)arg;
    struct several several;
    make_futures(&several);
    several.results[0] = 7;
    struct bnx_scope scope;
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + 1000000};
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    CHECK_EQ(gather_in_time(&several), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    CHECK_EQ(several.results[0], 7);
    drop_futures(&several);
    return 0;
}

/* Claim: a cancel or a deadline ends a wait for several, which then is registered nowhere and has
 * touched no output; once cancelled each refuses at once. */
TEST(wait_cancel, "wait.cancel_leaves_nothing") {
    sched_run_each(cancel_waiters, NULL);
    sched_run_each(time_out, NULL);
}

/* ---- In the order of completion ---- */

static int take_in_order(void *arg) {
    struct several *several = arg;
    struct bnx_iter iter;
    size_t taken = 0;
    CHECK_EQ(bnx_as_completed(several->waitables, MANY, &iter), 0);
    BNX_FOR_EACH(value, &iter) {
        CHECK_EQ((uintptr_t)value, (taken * 7) % MANY);
        taken++;
        bnx_store_release(&several->index, taken);
    }
    CHECK_EQ(taken, MANY);
    void *value = several;
    CHECK_EQ(bnx_iter_next(&iter, &value), 0);
    bnx_iter_close(&iter);
    CHECK(value == several);
    return 0;
}

static int complete_in_order(void *arg) {
    (void)arg;
    struct several several;
    struct bnx_scope scope;
    make_futures(&several);
    several.index = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_future_set(several.futures[0], NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, take_in_order, &several), 0);
    for (size_t i = 0; i < MANY; i++) {
        size_t index = (i * 7) % MANY; /* 7 and 40 share no divisor */
        if (i > 0) {
            CHECK_EQ(bnx_future_fail(several.futures[index], -EIO), 0);
        }
        if (i % 5 == 0) { /* else a few become done before it looks again */
            while (bnx_load_acquire(&several.index) <= i) { /* ends: it takes each */
                bnx_yield();
            }
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    drop_futures(&several);
    return 0;
}

static int leave_early(void *arg) {
    (void)arg;
    struct several several;
    make_futures(&several);
    struct bnx_iter iter;
    CHECK_EQ(bnx_future_set(several.futures[4], NULL), 0);
    CHECK_EQ(bnx_future_set(several.futures[9], NULL), 0);
    CHECK_EQ(bnx_as_completed(several.waitables, MANY, &iter), 0);
    BNX_FOR_EACH(value, &iter) {
        CHECK_EQ((uintptr_t)value, 4);
        break;
    }
    /* Nobody is registered any more: these would write to memory that is gone. */
    for (int i = 0; i < MANY; i++) {
        int error = bnx_future_set(several.futures[i], NULL);
        CHECK(error == 0 || i == 4 || i == 9);
    }
    CHECK_EQ(bnx_as_completed(NULL, 0, &iter), 0);
    void *value = NULL;
    CHECK_EQ(bnx_iter_next(&iter, &value), 0);
    bnx_iter_close(&iter);
    drop_futures(&several);
    return 0;
}

/* Claim: as_completed gives each index once, in the order in which the waitables became done, those
 * done already first; left early it is registered nowhere any more. */
TEST(completed_order, "completed.order") {
    sched_run_each(complete_in_order, NULL);
}
TEST(completed_break, "completed.break_lets_go") {
    leave_early(NULL);
    sched_run(1, leave_early, NULL);
}

/* ---- Threads ---- */

struct thread_gather {
    struct bnx_os_thread thread;
    struct several *several;
    int results[MANY];
    int taken;
};

static void gather_on_thread(void *arg) {
    struct thread_gather *own = arg;
    struct bnx_waitable **all = own->several->waitables;
    size_t index = 99;
    CHECK(bnx_wait(all, MANY, BNX_WAIT_FIRST, &index) <= 0);
    CHECK(index < MANY);
    CHECK_EQ(bnx_gather(all, MANY, own->results, BNX_GATHER_COLLECT), 0);
    struct bnx_iter iter;
    CHECK_EQ(bnx_as_completed(all, MANY, &iter), 0);
    BNX_FOR_EACH(value, &iter) {
        own->taken++;
    }
}

static int complete_for_threads(void *arg) {
    struct several *several = arg;
    for (int i = 0; i < MANY; i++) {
        bnx_yield();
        int error = i % 2 == 0 ? bnx_future_set(several->futures[i], NULL)
                               : bnx_future_fail(several->futures[i], -1000 - i);
        CHECK_EQ(error, 0);
    }
    return 0;
}

/* Claim: an OS thread that is no task waits for several in the same ways. */
TEST(wait_threads, "wait.on_threads") {
    uint64_t rounds = bnx_test_scale(100);
    for (uint64_t round = 0; round < rounds; round++) {
        struct several several;
        struct thread_gather threads[2] = {{.several = &several}, {.several = &several}};
        make_futures(&several);
        for (int i = 0; i < 2; i++) {
            sched_thread_start(&threads[i].thread, gather_on_thread, &threads[i]);
        }
        sched_run(2, complete_for_threads, &several);
        for (int i = 0; i < 2; i++) {
            sched_thread_join(&threads[i].thread);
            CHECK_EQ(threads[i].taken, MANY);
            CHECK_EQ(threads[i].results[2], 0);
            CHECK_EQ(threads[i].results[3], -1003);
        }
        drop_futures(&several);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
