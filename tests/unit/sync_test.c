/* SPDX-License-Identifier: MIT */
/* Claims about mutexes, condition variables, semaphores, events and once. */
#include "runtime/waiter.h"
#include "tests/support/sched.h"

#include <stddef.h>

/* ---- Each call that waits, in each situation ---- */

struct object {
    const struct call *call;
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    struct bnx_event event;
    struct bnx_once once;
    struct bnx_future *future; /* ends the fn of the once */
    struct bnx_task *runner;   /* who runs it */
    struct bnx_scope scope;    /* the runner's */
    uint32_t is_ready;         /* futex: the thread is about to wait */
};

/* A call that waits, and how to make it wait, and no longer. */
struct call {
    const char *name;
    void (*close)(struct object *object); /* from now on it waits; the task of the test */
    int (*wait)(struct object *object);   /* the call; leaves the object as it was */
    void (*open)(struct object *object);  /* lets those who wait pass, and all who come */
};

static void await_parked(const struct bnx_task *task) {
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: it comes by itself */
        bnx_yield();
    }
}

static void mutex_close(struct object *object) {
    CHECK_EQ(bnx_mutex_lock(&object->mutex), 0);
}

static int mutex_wait(struct object *object) {
    int error = bnx_mutex_lock(&object->mutex);
    if (error == 0) {
        CHECK(bnx_mutex_is_locked(&object->mutex));
        bnx_mutex_unlock(&object->mutex);
    }
    return error;
}

static void mutex_open(struct object *object) {
    bnx_mutex_unlock(&object->mutex);
}

/* The condition is the event, looked at under the mutex; which no cancel refuses here, so that it
 * is the wait that does. */
static int cond_wait(struct object *object) {
    int error = 0;
    while (bnx_mutex_try_lock(&object->mutex) != 0) { /* ends: nobody keeps it */
        bnx_yield();
    }
    while (error == 0 && !bnx_event_is_set(&object->event)) {
        error = bnx_cond_wait(&object->cond, &object->mutex);
        CHECK_EQ(bnx_mutex_try_lock(&object->mutex), -EBUSY);
    }
    error = error == 0 ? bnx_checkpoint() : error;
    bnx_mutex_unlock(&object->mutex);
    return error;
}

static void event_close(struct object *object) {
    bnx_event_clear(&object->event);
}

static void cond_open(struct object *object) {
    CHECK_EQ(bnx_mutex_lock(&object->mutex), 0);
    bnx_event_set(&object->event);
    bnx_cond_broadcast(&object->cond);
    bnx_mutex_unlock(&object->mutex);
}

static void sem_close(struct object *object) {
    while (bnx_sem_try_acquire(&object->sem) == 0) { /* ends: there are three */
    }
}

static int sem_wait(struct object *object) {
    int error = bnx_sem_acquire(&object->sem);
    CHECK(error != 0 || bnx_sem_release(&object->sem) == 0);
    return error;
}

static int sem_wait_n(struct object *object) {
    int error = bnx_sem_acquire_n(&object->sem, 3);
    CHECK(error != 0 || bnx_sem_release_n(&object->sem, 3) == 0);
    return error;
}

static void sem_open(struct object *object) {
    CHECK_EQ(bnx_sem_release_n(&object->sem, 3), 0);
}

static int event_wait(struct object *object) {
    return bnx_event_wait(&object->event);
}

static void event_open(struct object *object) {
    bnx_event_set(&object->event);
}

static int once_body(void *arg) {
    struct object *object = arg;
    return bnx_future_await(object->future, NULL);
}

static int run_once(void *arg) {
    struct object *object = arg;
    CHECK_EQ(bnx_once_run(&object->once, once_body, object), 0);
    return 0;
}

static void once_close(struct object *object) {
    bnx_once_init(&object->once);
    CHECK_EQ(bnx_future_create(&object->future), 0);
    CHECK_EQ(bnx_scope_open(&object->scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&object->scope, NULL, run_once, object, &object->runner), 0);
    await_parked(object->runner);
}

static int once_wait(struct object *object) {
    return bnx_once_run(&object->once, once_body, object);
}

static void once_open(struct object *object) {
    CHECK_EQ(bnx_future_set(object->future, NULL), 0);
    CHECK_EQ(bnx_scope_close(&object->scope), 0);
    bnx_future_unref(object->future);
}

static const struct call calls[] = {
    {"mutex", mutex_close, mutex_wait, mutex_open}, {"cond", event_close, cond_wait, cond_open},
    {"sem", sem_close, sem_wait, sem_open},         {"sem n", sem_close, sem_wait_n, sem_open},
    {"event", event_close, event_wait, event_open}, {"once", once_close, once_wait, once_open},
};

static int wait_task(void *arg) {
    struct object *object = arg;
    return object->call->wait(object);
}

static int wait_until_soon(void *arg) {
    struct object *object = arg;
    struct bnx_scope scope;
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + 200000};
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    CHECK_EQ(object->call->wait(object), -ETIMEDOUT);
    CHECK_EQ(object->call->wait(object), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    return 0;
}

/* Cancelled before: refused, whether it would have to wait or not. */
static void check_refused(struct object *object) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(object->call->wait(object), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
}

/* Two wait; one is cancelled, the other one is let pass. */
static void check_cancelled(struct object *object) {
    struct bnx_scope scope;
    struct bnx_scope other;
    struct bnx_task *task = NULL;
    struct bnx_task *patient = NULL;
    int result = 1;
    object->call->close(object);
    CHECK_EQ(bnx_scope_open(&other, NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_task, object, &task), 0);
    await_parked(task);
    CHECK_EQ(bnx_spawn_with(&other, NULL, wait_task, object, &patient), 0);
    await_parked(patient);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(task->result, -ECANCELED);
    CHECK_EQ(bnx_task_state(patient), BNX_TASK_PARKED);
    if (object->call->open == once_open) { /* its close ends a scope: the innermost first */
        CHECK_EQ(bnx_future_set(object->future, NULL), 0);
        CHECK_EQ(bnx_join(patient, &result), 0);
        CHECK_EQ(bnx_scope_close(&other), 0);
        CHECK_EQ(bnx_scope_close(&object->scope), 0);
        bnx_future_unref(object->future);
    } else {
        object->call->open(object);
        CHECK_EQ(bnx_join(patient, &result), 0);
        CHECK_EQ(bnx_scope_close(&other), 0);
    }
    CHECK_EQ(result, 0);
}

static void check_deadline(struct object *object) {
    struct bnx_task *task = NULL;
    int result = 1;
    object->call->close(object);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, wait_until_soon, object, &task), 0);
    CHECK_EQ(bnx_join(task, &result), 0);
    CHECK_EQ(result, 0);
    object->call->open(object);
    CHECK_EQ(object->call->wait(object), 0);
}

static void wait_thread(void *arg) {
    struct object *object = arg;
    sched_post(&object->is_ready);
    CHECK_EQ(object->call->wait(object), 0);
}

static void check_thread(struct object *object) {
    for (uint32_t round = 0; round < 5; round++) {
        struct bnx_os_thread thread;
        bnx_store_relaxed(&object->is_ready, 0);
        object->call->close(object);
        sched_thread_start(&thread, wait_thread, object);
        while (bnx_load_acquire(&object->is_ready) == 0) { /* ends: it posts */
            bnx_yield();
        }
        for (uint32_t i = 0; i < round * 100; i++) {
            bnx_yield();
        }
        object->call->open(object);
        sched_thread_join(&thread);
    }
}

static int check_calls(void *arg) {
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(calls); i++) {
        struct object object = {.call = &calls[i], .sem = BNX_SEM_INIT(3)};
        bnx_event_set(&object.event);
        object.call->close(&object);
        check_refused(&object);
        object.call->open(&object);
        check_refused(&object);
        CHECK_EQ(object.call->wait(&object), 0);
        check_cancelled(&object);
        CHECK_EQ(object.call->wait(&object), 0);
        check_deadline(&object);
        check_thread(&object);
        CHECK_EQ(object.call->wait(&object), 0);
    }
    return 0;
}

/* Claim: each call that waits returns 0 when it is let pass; -ECANCELED when its scope was
 * cancelled before, whether it would have waited or not, or while it waited; -ETIMEDOUT in the
 * scope whose deadline did it; and leaves the object usable for the next, be he a task or a
 * thread. */
TEST(sync_each_call, "sync.each_call_each_way") {
    sched_run_each(check_calls, NULL);
}

/* ---- Mutex ---- */

struct line {
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    uint64_t passed;   /* how many have had it */
    uint64_t order[2]; /* who: the first and the second */
    uint64_t number;   /* of the next to come */
};

static int stand_in_line(void *arg) {
    struct line *line = arg;
    uint64_t number = line->number++;
    int error = bnx_mutex_lock(&line->mutex);
    if (error == 0) {
        line->order[line->passed++] = number;
        bnx_mutex_unlock(&line->mutex);
    }
    return error;
}

static int check_place(void *arg) {
    (void)arg;
    struct line line = {.number = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_mutex_lock(&line.mutex), 0);
    for (uint64_t i = 0; i < 2; i++) {
        struct bnx_task *task = NULL;
        CHECK_EQ(bnx_spawn_with(&scope, NULL, stand_in_line, &line, &task), 0);
        await_parked(task);
    }
    bnx_mutex_unlock(&line.mutex); /* wakes the first */
    CHECK_EQ(bnx_mutex_try_lock(&line.mutex), 0);
    CHECK_EQ(bnx_mutex_try_lock(&line.mutex), -EBUSY);
    CHECK_EQ(bnx_mutex_lock(&line.mutex), -EDEADLK);
    bnx_yield(); /* in vain */
    CHECK_EQ(line.passed, 0);
    bnx_mutex_unlock(&line.mutex);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(line.passed, 2);
    CHECK_EQ(line.order[0], 0);
    CHECK_EQ(line.order[1], 1);
    return 0;
}

/* Claim: a free mutex is taken past a waiter who is on his way; the one who was woken in vain keeps
 * his place before those who came later. Locking twice is -EDEADLK. Method: one worker, so that the
 * woken one cannot be there before the test has locked again. */
TEST(mutex_place, "mutex.loser_keeps_his_place") {
    sched_run(1, check_place, NULL);
}

static int check_handed(void *arg) {
    (void)arg;
    struct line line = {.number = 0};
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_mutex_lock(&line.mutex), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, stand_in_line, &line, &task), 0);
    await_parked(task);
    bnx_mutex_unlock(&line.mutex);
    CHECK_EQ(bnx_mutex_try_lock(&line.mutex), 0);
    uint64_t until_ns = bnx_now() + 2 * BNX_NS_PER_MS;
    while (bnx_now() < until_ns) { /* ends: time passes; without giving way */
    }
    bnx_yield(); /* he is woken in vain, and has waited for more than 1 ms */
    await_parked(task);
    bnx_mutex_unlock(&line.mutex);
    CHECK_EQ(bnx_mutex_try_lock(&line.mutex), -EBUSY);
    CHECK(bnx_mutex_is_locked(&line.mutex));
    CHECK_EQ(line.passed, 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(line.passed, 1);
    CHECK(!bnx_mutex_is_locked(&line.mutex));
    return 0;
}

/* Claim: who has waited for a millisecond and was woken in vain is handed the mutex: from the
 * unlock on it is his, nobody gets in between. Method: as above, the holder keeps it for 2 ms. */
TEST(mutex_handed, "mutex.starved_is_handed_it") {
    sched_run(1, check_handed, NULL);
}

/* ---- Cond ---- */

#define CROWD 1000

static int wait_signal(void *arg) {
    struct line *line = arg;
    CHECK_EQ(bnx_mutex_lock(&line->mutex), 0);
    line->number++;
    int error = bnx_cond_wait(&line->cond, &line->mutex);
    bnx_yield();
    line->passed += error == 0 ? 1 : 0;
    bnx_mutex_unlock(&line->mutex);
    return error;
}

static void await_number(struct line *line, uint64_t number) {
    uint64_t seen;
    do { /* ends: they come by themselves */
        bnx_yield();
        CHECK_EQ(bnx_mutex_lock(&line->mutex), 0);
        seen = line->number;
        bnx_mutex_unlock(&line->mutex);
    } while (seen < number);
}

static int check_broadcast(void *arg) {
    (void)arg;
    struct line line = {.number = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(bnx_spawn(&scope, wait_signal, &line), 0);
    }
    await_number(&line, CROWD);
    CHECK_EQ(bnx_mutex_lock(&line.mutex), 0);
    uint64_t before = bnx_worker_current()->counters.switches;
    bnx_cond_broadcast(&line.cond);
    bnx_cond_broadcast(&line.cond); /* nobody is left */
    bnx_cond_signal(&line.cond);
    bnx_mutex_unlock(&line.mutex);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(line.passed, CROWD);
    if (sched_worker_count() == 1) {
        CHECK(bnx_worker_current()->counters.switches - before < CROWD + CROWD / 2);
    }
    return 0;
}

/* Claim: a broadcast ends all waits, and nobody is woken only to find the mutex held. Method: a
 * thousand who give way while they hold it; on one worker each costs one switch, not two. */
TEST(cond_broadcast, "cond.broadcast_wakes_one_at_a_time") {
    sched_run_each(check_broadcast, NULL);
}

static int check_cond_wake(void *arg) {
    (void)arg;
    struct line line = {.number = 0};
    struct bnx_scope scope;
    struct bnx_task *tasks[2];
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < 2; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_signal, &line, &tasks[i]), 0);
        await_number(&line, i + 1);
    }
    CHECK_EQ(bnx_mutex_lock(&line.mutex), 0);
    bnx_cond_signal(&line.cond);
    bnx_scope_cancel(&scope, 0);
    bnx_mutex_unlock(&line.mutex);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(tasks[0]->result, 0);
    CHECK_EQ(tasks[1]->result, -ECANCELED);
    return 0;
}

/* Claim: a signal that has claimed a waiter is a wake, also when he is cancelled before he has the
 * mutex. Method: signal, then cancel, then unlock. */
TEST(cond_wake, "cond.signal_beats_cancel") {
    sched_run_each(check_cond_wake, NULL);
}

/* ---- Semaphore ---- */

static int take_three(void *arg) {
    struct line *line = arg;
    CHECK_EQ(bnx_sem_acquire_n(&line->sem, 3), -ECANCELED);
    return 0;
}

static int take_one(void *arg) {
    struct line *line = arg;
    return bnx_sem_acquire(&line->sem);
}

static int check_sem_order(void *arg) {
    (void)arg;
    struct line line = {.sem = BNX_SEM_INIT(0)};
    struct bnx_scope scope;
    struct bnx_task *three = NULL;
    struct bnx_task *one = NULL;
    int result = 1;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, take_three, &line, &three), 0);
    await_parked(three);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, take_one, &line, &one), 0);
    await_parked(one);
    CHECK_EQ(bnx_sem_release_n(&line.sem, 2), 0);
    CHECK_EQ(bnx_sem_count(&line.sem), 2);
    CHECK_EQ(bnx_sem_try_acquire(&line.sem), -EAGAIN);
    bnx_cancel(three, 0);
    CHECK_EQ(bnx_join(three, &result), 0);
    CHECK_EQ(bnx_join(one, &result), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(bnx_sem_count(&line.sem), 1);
    CHECK_EQ(bnx_sem_try_acquire(&line.sem), 0);
    CHECK_EQ(bnx_sem_try_acquire(&line.sem), -EAGAIN);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, take_one, &line, &one), 0);
    await_parked(one);
    CHECK_EQ(bnx_sem_release(&line.sem), 0);
    bnx_cancel(one, 0);
    CHECK_EQ(bnx_join(one, &result), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(bnx_sem_count(&line.sem), 0);
    CHECK_EQ(bnx_sem_release_n(&line.sem, UINT32_MAX), 0);
    CHECK_EQ(bnx_sem_release(&line.sem), -EOVERFLOW);
    CHECK_EQ(bnx_sem_count(&line.sem), UINT32_MAX);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: first come, first served, also when a later one could be served at once; who gives up lets
 * those behind him have what suffices for them; a token given to a waiter is his, cancelled or
 * not. */
TEST(sem_order, "sem.first_come_first_served") {
    sched_run_each(check_sem_order, NULL);
}

/* ---- Waitables ---- */

static int check_waitables(void *arg) {
    (void)arg;
    struct bnx_sem sem = BNX_SEM_INIT(1);
    struct bnx_event event = BNX_EVENT_INIT;
    struct bnx_waitable *both[] = {bnx_sem_waitable(&sem), bnx_event_waitable(&event)};
    CHECK(both[0] == bnx_sem_waitable(&sem));
    CHECK(both[0]->ops->hands_out && !both[1]->ops->hands_out);
    struct bnx_sleeper sleeper;
    for (int i = 0; i < 2; i++) {
        struct bnx_waiter waiter;
        struct bnx_waiter other;
        int result = 1;
        bnx_sleeper_init(&sleeper);
        bnx_waiter_init(&waiter, &sleeper, NULL);
        bnx_waiter_init(&other, &sleeper, NULL);
        const struct bnx_waitable_ops *ops = both[i]->ops;
        CHECK_EQ(bnx_sleeper_begin(&sleeper), 0);
        if (i == 0) {
            CHECK(!ops->add(both[i], &waiter)); /* there is a token, which adding does not take */
            CHECK(ops->take(both[i], NULL, &result));
            CHECK_EQ(result, 0);
        }
        CHECK(!ops->take(both[i], NULL, &result));
        CHECK(ops->add(both[i], &other));
        CHECK(ops->add(both[i], &waiter));
        ops->remove(both[i], &other);
        if (i == 0) {
            CHECK_EQ(bnx_sem_release(&sem), 0);
            CHECK_EQ(bnx_sem_count(&sem), 0);
        } else {
            bnx_event_set(&event);
        }
        CHECK_EQ(bnx_sleeper_sleep(&sleeper, BNX_WAIT_TEST, NULL), 0);
        CHECK(sleeper.winner == &waiter);
        CHECK_EQ(waiter.result, 0);
        ops->remove(both[i], &waiter);
        CHECK_EQ(bnx_event_is_set(&event), i == 1);
    }
    return 0;
}

/* Claim: as waitables a semaphore hands its tokens out and an event stays; adding takes nothing, a
 * removed waiter gets nothing, a release serves the one who is left. */
TEST(sync_waitables, "sync.waitables") {
    sched_run_each(check_waitables, NULL);
}

/* ---- Once ---- */

struct attempts {
    struct bnx_once once;
    int count; /* calls of fn */
};

static int fail_twice(void *arg) {
    struct attempts *attempts = arg;
    CHECK_EQ(bnx_once_run(&attempts->once, fail_twice, attempts), -EDEADLK);
    bnx_yield();
    return ++attempts->count < 3 ? -EIO : attempts->count;
}

static int try_once(void *arg) {
    struct attempts *attempts = arg;
    int result = bnx_once_run(&attempts->once, fail_twice, attempts);
    CHECK(result == -EIO || result == 3);
    return 0;
}

static int check_once(void *arg) {
    (void)arg;
    struct attempts attempts = {.count = 0};
    for (int round = 0; round < 4; round++) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(bnx_spawn(&scope, try_once, &attempts), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    CHECK_EQ(attempts.count, 3);
    CHECK_EQ(bnx_once_run(&attempts.once, fail_twice, &attempts), 3);
    return 0;
}

/* Claim: fn runs until it has succeeded, and then no more; all who waited for a try get what it
 * returned; fn calling itself is told so. Method: fn fails twice, ten callers at a time. */
TEST(once_retry, "once.tries_until_it_succeeds") {
    sched_run_each(check_once, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
