/* SPDX-License-Identifier: MIT */
/* Claims about cancel and deadlines: a level that calls in and beneath a scope see. */
#include "tests/support/sched.h"

/* ---- Every suspending call says so, again and again ---- */

struct everything {
    struct bnx_future *never; /* a future that nobody sets */
    struct bnx_task *other;   /* a task that does not end before */
    uint64_t calls;           /* tasks that have been through all calls */
    int expected;
};

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static int never_called(void *arg) {
    (void)arg;
    bnx_test_fail(__FILE__, __LINE__, "a refused call has run its function");
}

static void refuse_all(const struct everything *all) {
    struct bnx_scope scope;
    struct bnx_fork fork;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_sleep(0), all->expected);
        CHECK_EQ(bnx_sleep(1), all->expected);
        CHECK_EQ(bnx_sleep_until(0), all->expected);
        CHECK_EQ(bnx_sleep_until(UINT64_MAX), all->expected);
        CHECK_EQ(bnx_checkpoint(), all->expected);
        CHECK_EQ(bnx_future_await(all->never, NULL), all->expected);
        CHECK_EQ(bnx_join(all->other, NULL), all->expected);
        CHECK_EQ(bnx_offload(never_called, NULL), all->expected);
        bnx_yield();
        /* Never refused: what ends others. */
        CHECK_EQ(bnx_fork(&fork, do_nothing, NULL), 0);
        CHECK_EQ(bnx_fork_join(&fork), 0);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, never_called, NULL), -ECANCELED);
        CHECK_EQ(bnx_spawn_copy(&scope, never_called, NULL, 0), -ECANCELED);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, never_called, NULL, NULL), -ECANCELED);
        int error = bnx_scope_close(&scope);
        CHECK(error == 0 || error == -ECANCELED);
    }
}

static int wait_then_refuse(void *arg) {
    struct everything *all = arg;
    CHECK_EQ(bnx_future_await(all->never, NULL), all->expected);
    refuse_all(all);
    bnx_fetch_add_relaxed(&all->calls, 1);
    return all->expected;
}

static int refuse_from_start(void *arg) {
    struct everything *all = arg;
    while (bnx_checkpoint() == 0) { /* ends with the cancel, which may come after the start */
        bnx_yield();
    }
    refuse_all(all);
    bnx_fetch_add_relaxed(&all->calls, 1);
    return all->expected;
}

static int await_never(void *arg) {
    return bnx_future_await(arg, NULL);
}

static int cancel_scope_full(void *arg) {
    (void)arg;
    struct everything all = {.expected = -ECANCELED};
    struct bnx_future *end = NULL;
    struct bnx_scope outer;
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&all.never), 0);
    CHECK_EQ(bnx_future_create(&end), 0);
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&outer, NULL, await_never, end, &all.other), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_spawn(&scope, wait_then_refuse, &all), 0);
        CHECK_EQ(bnx_spawn(&scope, refuse_from_start, &all), 0);
    }
    bnx_yield();
    bnx_scope_cancel(&scope, 0);
    refuse_all(&all); /* the opener is in it as well */
    CHECK_EQ(bnx_spawn(&scope, never_called, NULL), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_load_relaxed(&all.calls), 20);
    CHECK_EQ(bnx_sleep(1), 0); /* the level ends with the scope */
    CHECK_EQ(bnx_future_set(end, NULL), 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    bnx_future_unref(all.never);
    bnx_future_unref(end);
    return 0;
}

/* Claim: once a scope is cancelled every suspending call in it is -ECANCELED, each time, for tasks
 * that waited, that had not started, and for the opener; calls that end others are not refused;
 * after the close it is over. */
TEST(cancel_sticky, "cancel.is_sticky_everywhere") {
    sched_run_each(cancel_scope_full, NULL);
}

static int cancel_one_task(void *arg) {
    (void)arg;
    struct everything all = {.expected = -ECANCELED};
    struct bnx_future *end = NULL;
    struct bnx_scope scope;
    struct bnx_task *victim = NULL;
    struct bnx_task *late = NULL;
    CHECK_EQ(bnx_future_create(&all.never), 0);
    CHECK_EQ(bnx_future_create(&end), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, await_never, end, &all.other), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, wait_then_refuse, &all, &victim), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, refuse_from_start, &all, &late), 0);
    bnx_yield();
    bnx_cancel(victim, 0);
    bnx_cancel(late, 0);
    bnx_cancel(late, -EIO);
    int result = 0;
    CHECK_EQ(bnx_join(victim, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(bnx_join(late, &result), 0);
    CHECK_EQ(bnx_checkpoint(), 0);
    CHECK_EQ(bnx_future_set(end, NULL), 0);
    CHECK_EQ(bnx_join(all.other, &result), 0);
    CHECK_EQ(result, 0); /* the others were not touched */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_load_relaxed(&all.calls), 2);
    bnx_future_unref(all.never);
    bnx_future_unref(end);
    return 0;
}

/* Claim: bnx_cancel makes the calls of one task -ECANCELED, and of no other. */
TEST(cancel_task, "cancel.one_task") {
    sched_run_each(cancel_one_task, NULL);
}

/* ---- Nested scopes ---- */

struct nest {
    uint64_t waiting;   /* leaves that are about to wait */
    uint64_t cancelled; /* leaves that were told */
    struct bnx_task *middle;
};

static int nest_leaf(void *arg) {
    struct nest *nest = arg;
    bnx_fetch_add_acq_rel(&nest->waiting, 1);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    bnx_fetch_add_relaxed(&nest->cancelled, 1);
    return -ECANCELED;
}

/* Two scopes of its own, leaves in both; closing is not cut short. */
static int nest_middle(void *arg) {
    struct nest *nest = arg;
    struct bnx_scope first;
    struct bnx_scope second;
    CHECK_EQ(bnx_scope_open(&first, NULL), 0);
    CHECK_EQ(bnx_spawn(&first, nest_leaf, nest), 0);
    CHECK_EQ(bnx_scope_open(&second, NULL), 0);
    CHECK_EQ(bnx_spawn(&second, nest_leaf, nest), 0);
    CHECK_EQ(bnx_spawn(&second, nest_leaf, nest), 0);
    CHECK_EQ(bnx_scope_close(&second), -ECANCELED);
    CHECK_EQ(bnx_sleep(1), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&first), -ECANCELED);
    CHECK_EQ(bnx_sleep(1), -ECANCELED); /* the cancel came from further out and is still there */
    return -ECANCELED;
}

static int cancel_from_outside(void *arg) {
    (void)arg;
    for (int round = 0; round < 10; round++) {
        struct nest nest = {0};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 5; i++) {
            CHECK_EQ(bnx_spawn(&scope, nest_middle, &nest), 0);
        }
        sched_await_count(&nest.waiting, 15);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(bnx_load_relaxed(&nest.cancelled), bnx_load_relaxed(&nest.waiting));
        CHECK_EQ(bnx_sleep(0), 0);
    }
    return 0;
}

/* Claim: a cancel reaches waiting tasks through any number of scopes opened beneath, whose closes
 * do not swallow it: the level is there until the scope that was cancelled ends. Method: leaves one
 * and two scopes down, with tasks in between that close. */
TEST(scope_outer_cancel, "scope.outer_cancel_survives") {
    sched_run_each(cancel_from_outside, NULL);
}

static int cancel_middle(void *arg) {
    (void)arg;
    for (int round = 0; round < 10; round++) {
        struct nest nest = {0};
        struct nest other = {0};
        struct bnx_task *left = NULL;
        struct bnx_task *right = NULL;
        CHECK_EQ(bnx_spawn_with(NULL, NULL, nest_middle, &nest, &left), 0);
        CHECK_EQ(bnx_spawn_with(NULL, NULL, nest_middle, &other, &right), 0);
        sched_await_count(&nest.waiting, 3);
        sched_await_count(&other.waiting, 3);
        bnx_cancel(left, 0);
        CHECK_EQ(bnx_join(left, NULL), 0);
        CHECK_EQ(bnx_load_relaxed(&nest.cancelled), 3);
        CHECK_EQ(bnx_load_relaxed(&other.cancelled), 0);
        bnx_cancel(right, 0);
        CHECK_EQ(bnx_join(right, NULL), 0);
        CHECK_EQ(bnx_load_relaxed(&other.cancelled), 3);
    }
    return 0;
}

/* Claim: cancelling a task cancels what is in the scopes it has open, and not its siblings. */
TEST(cancel_open_scopes, "cancel.task_takes_its_scopes") {
    sched_run_each(cancel_middle, NULL);
}

/* ---- Scopes opened after the first wait ---- */

/* What is cancelled: the outer scope, the task in it, the one beneath that waits, a scope that this
 * one has opened, the same by its deadline. */
enum cancelled {
    CANCEL_OUTER,
    CANCEL_PARENT,
    CANCEL_TASK,
    CANCEL_OPENED,
    CANCEL_DEADLINE,
    CANCEL_KINDS
};

struct late {
    enum cancelled what;
    bool is_shielded;      /* it waits in a shield, which breaks soon */
    struct bnx_task *task; /* who opens scopes; seen once is_inside is */
    struct bnx_scope first;
    uint64_t is_inside;
};

static int open_after_waiting(void *arg) {
    struct late *late = arg;
    CHECK_EQ(bnx_sleep(1), 0);
    struct bnx_scope_options options = {.grace_ns = BNX_NS_PER_MS};
    if (late->what == CANCEL_DEADLINE) {
        options.deadline_ns = bnx_now() + BNX_NS_PER_MS;
    }
    struct bnx_scope_options second = {.flags = late->is_shielded ? BNX_SCOPE_SHIELD : 0};
    struct bnx_scope scopes[2];
    CHECK_EQ(bnx_scope_open(&late->first, &options), 0);
    CHECK_EQ(bnx_scope_open(&scopes[0], &second), 0);
    CHECK_EQ(bnx_scope_open(&scopes[1], NULL), 0);
    bnx_store_release(&late->is_inside, 1);
    CHECK_EQ(bnx_sleep(3600 * BNX_NS_PER_S), -ECANCELED);
    (void)bnx_scope_close(&scopes[1]);
    (void)bnx_scope_close(&scopes[0]);
    (void)bnx_scope_close(&late->first);
    return 0;
}

static int wait_for_late(void *arg) {
    struct late *late = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, open_after_waiting, late, &late->task), 0);
    (void)bnx_scope_close(&scope);
    return 0;
}

static void cancel_late(struct late *late) {
    struct bnx_scope outer;
    struct bnx_task *parent = NULL;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&outer, NULL, wait_for_late, late, &parent), 0);
    sched_await_count(&late->is_inside, 1);
    while (late->what != CANCEL_DEADLINE && bnx_task_state(late->task) != BNX_TASK_PARKED) {
        bnx_yield(); /* ends: it has nothing else to do */
    }
    switch (late->what) {
    case CANCEL_OUTER:
        bnx_scope_cancel(&outer, 0);
        break;
    case CANCEL_PARENT:
        bnx_cancel(parent, 0);
        break;
    case CANCEL_TASK:
        bnx_cancel(late->task, 0);
        break;
    case CANCEL_OPENED:
        bnx_scope_cancel(&late->first, 0);
        break;
    case CANCEL_DEADLINE:
    case CANCEL_KINDS:
        break;
    }
    (void)bnx_scope_close(&outer);
}

static int cancel_late_ones(void *arg) {
    (void)arg;
    for (int what = 0; what < CANCEL_KINDS; what++) {
        for (int is_shielded = 0; is_shielded < 2; is_shielded++) {
            struct late late = {.what = (enum cancelled)what, .is_shielded = is_shielded != 0};
            cancel_late(&late);
        }
    }
    return 0;
}

/* Claim: a task that has waited before and then waits in scopes that it has opened since is found
 * by every cancel above it and in it. Method: each kind of cancel, with a shield among the scopes
 * and without; the wait is an hour long. */
TEST(cancel_late_scopes, "cancel.finds_who_opens_more") {
    sched_run_each(cancel_late_ones, NULL);
}

/* ---- Spawning while cancelled ---- */

struct churn {
    struct bnx_scope *scope;
    uint64_t accepted; /* spawns that returned 0 */
    uint64_t ran;      /* functions called */
    uint64_t refused;  /* spawns that were -ECANCELED */
};

static int churn_child(void *arg) {
    struct churn *churn = arg;
    bnx_fetch_add_relaxed(&churn->ran, 1);
    return bnx_sleep(1);
}

static int churn_spawner(void *arg) {
    struct churn *churn = arg;
    int error;
    while ((error = bnx_spawn(churn->scope, churn_child, churn)) == 0) { /* ends with the cancel */
        bnx_fetch_add_relaxed(&churn->accepted, 1);
        bnx_yield();
    }
    CHECK_EQ(error, -ECANCELED);
    bnx_fetch_add_relaxed(&churn->refused, 1);
    return 0;
}

static int spawn_while_cancelled(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(100);
    for (uint64_t round = 0; round < rounds; round++) {
        struct bnx_scope scope;
        struct churn churn = {.scope = &scope};
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(bnx_spawn(&scope, churn_spawner, &churn), 0);
        }
        for (uint64_t i = 0; i < round % 8; i++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(bnx_load_relaxed(&churn.refused), 4);
        CHECK_EQ(bnx_load_relaxed(&churn.ran), bnx_load_relaxed(&churn.accepted));
    }
    return 0;
}

/* Claim: a spawn into a scope that is being cancelled either returns 0 and calls its function once,
 * or is -ECANCELED and never does. Method: children that spawn siblings until refused. */
TEST(scope_spawn_while_cancelled, "scope.spawn_while_cancelled") {
    sched_run_each(spawn_while_cancelled, NULL);
}

/* ---- Deadlines ---- */

static int expect_timeout(void *arg) {
    uint64_t deadline_ns = *(uint64_t *)arg;
    int error = bnx_sleep_until(UINT64_MAX);
    CHECK(error == -ETIMEDOUT || error == -ECANCELED);
    CHECK(bnx_now() >= deadline_ns);
    return error;
}

static int deadline_ends_scope(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    uint64_t deadline_ns = bnx_now() + BNX_NS_PER_MS;
    struct bnx_scope_options options = {.deadline_ns = deadline_ns};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn(&scope, expect_timeout, &deadline_ns), 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ETIMEDOUT);
    CHECK_EQ(bnx_checkpoint(), -ETIMEDOUT);
    CHECK(bnx_now() >= deadline_ns);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    CHECK_EQ(bnx_sleep(1), 0);
    /* Without anyone who waits. */
    options.deadline_ns = bnx_now() + BNX_NS_PER_MS;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    while (bnx_checkpoint() == 0) { /* ends with the deadline */
    }
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    /* One that does not come. */
    options.deadline_ns = bnx_now() + 3600 * BNX_NS_PER_S;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_sleep(1), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a scope's deadline cancels it, no earlier than said; calls and close are -ETIMEDOUT. */
TEST(scope_deadline, "scope.deadline") {
    sched_run_each(deadline_ends_scope, NULL);
}

static int deadline_inherited(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct bnx_scope inner;
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    struct bnx_scope_options late = {.deadline_ns = bnx_now() + 3600 * BNX_NS_PER_S};
    CHECK_EQ(bnx_scope_open(&outer, &soon), 0);
    CHECK_EQ(bnx_scope_open(&inner, &late), 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED); /* not this one's own deadline */
    (void)bnx_scope_close(&inner);
    CHECK_EQ(bnx_sleep(1), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&outer), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_open(&outer, &late), 0);
    soon.deadline_ns = bnx_now() + BNX_NS_PER_MS;
    CHECK_EQ(bnx_scope_open(&inner, &soon), 0);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&inner), -ETIMEDOUT);
    CHECK_EQ(bnx_sleep(1), 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return 0;
}

/* Claim: the earlier deadline counts; only the scope whose own it is says -ETIMEDOUT, scopes within
 * say -ECANCELED. */
TEST(scope_deadline_inherited, "scope.deadline_is_inherited") {
    sched_run_each(deadline_inherited, NULL);
}

static int join_gives_up(void *arg) {
    return bnx_join(arg, NULL);
}

static int join_cancelled(void *arg) {
    (void)arg;
    struct bnx_future *end = NULL;
    struct bnx_task *task = NULL;
    struct bnx_task *joiner = NULL;
    CHECK_EQ(bnx_future_create(&end), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, await_never, end, &task), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, join_gives_up, task, &joiner), 0);
    bnx_yield();
    bnx_cancel(joiner, 0);
    int result = 0;
    CHECK_EQ(bnx_join(joiner, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK(bnx_task_state(task) != BNX_TASK_DONE);
    CHECK_EQ(bnx_future_set(end, NULL), 0);
    CHECK_EQ(bnx_join(task, &result), 0);
    CHECK_EQ(result, 0);
    bnx_future_unref(end);
    return 0;
}

/* Claim: a cancelled join leaves the task that was joined as it was. */
TEST(cancel_join, "cancel.join_leaves_task_alone") {
    sched_run_each(join_cancelled, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
