/* SPDX-License-Identifier: MIT */
/* Claims about what a scope makes of its children's results: policies, errors, limits, reasons. */
#include "tests/support/sched.h"

static int succeed(void *arg) {
    return (int)(intptr_t)arg;
}

static int sleep_for_ever(void *arg) {
    (void)arg;
    return bnx_sleep_until(UINT64_MAX);
}

static struct bnx_scope_options policy(enum bnx_scope_policy policy) {
    return (struct bnx_scope_options){.policy = policy, .name = "policy"};
}

/* ---- Fail fast, and what a sibling learns ---- */

struct witness {
    struct bnx_cancel_info info;
    int code;
};

static int witness_cancel(void *arg) {
    struct witness *witness = arg;
    int error = bnx_sleep_until(UINT64_MAX);
    witness->code = bnx_cancel_info_get(&witness->info);
    return error;
}

static int fail_after_others_wait(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    return -ENXIO;
}

static int fail_fast(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *failing = NULL;
    struct witness witness = {.code = 0};
    const struct bnx_scope_options options = policy(BNX_SCOPE_FAIL_FAST);
    const struct bnx_spawn_options named = {.name = "the-failing"};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn(&scope, witness_cancel, &witness), 0);
    CHECK_EQ(bnx_spawn(&scope, sleep_for_ever, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &named, fail_after_others_wait, NULL, &failing), 0);
    uint64_t id = bnx_task_id(failing);
    CHECK_EQ(bnx_scope_close(&scope), -ENXIO);
    const struct bnx_scope_error *errors = NULL;
    CHECK_EQ(bnx_scope_errors(&scope, &errors), 1);
    CHECK_EQ(bnx_scope_error_count(&scope), 1);
    CHECK_EQ(errors[0].result, -ENXIO);
    CHECK_EQ(errors[0].task_id, id);
    CHECK_STR(errors[0].name, "the-failing");
    CHECK(errors[0].site != NULL);
    CHECK_EQ(witness.code, -ECANCELED);
    CHECK_EQ(witness.info.source, BNX_CANCEL_CHILD);
    CHECK_EQ(witness.info.reason, -ENXIO);
    CHECK_STR(witness.info.scope_name, "policy");
    CHECK(witness.info.is_own);
    CHECK_EQ(bnx_cancel_info_get(&witness.info), 0);
    CHECK_EQ(witness.info.source, BNX_CANCEL_NONE);
    return 0;
}

/* Claim: the first error cancels the siblings, which learn the reason; close returns it, and the
 * error is kept with task id, name and spawn site. */
TEST(policy_fail_fast, "policy.fail_fast") {
    sched_run_each(fail_fast, NULL);
}

/* ---- Collect, supervise ---- */

static int count_and_end(void *arg) {
    CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0); /* nobody is cancelled */
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

#define FAILING 12

static void fail_many(enum bnx_scope_policy which, int expected) {
    struct bnx_scope scope;
    uint64_t ended = 0;
    const struct bnx_scope_options options = policy(which);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    for (int i = 0; i < FAILING; i++) {
        CHECK_EQ(bnx_spawn(&scope, count_and_end, &ended), 0);
        CHECK_EQ(bnx_spawn(&scope, succeed, (void *)(intptr_t)-ENXIO), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), expected);
    CHECK_EQ(ended, FAILING);
    const struct bnx_scope_error *errors = NULL;
    CHECK_EQ(bnx_scope_errors(&scope, &errors), BNX_SCOPE_ERRORS_MAX);
    CHECK_EQ(bnx_scope_error_count(&scope), FAILING);
    for (int i = 0; i < BNX_SCOPE_ERRORS_MAX; i++) {
        CHECK_EQ(errors[i].result, -ENXIO);
        CHECK(errors[i].task_id != 0);
    }
}

static int collect(void *arg) {
    (void)arg;
    fail_many(BNX_SCOPE_COLLECT, -ENXIO);
    return 0;
}

/* Claim: with COLLECT twelve failures cancel nobody; the first eight are kept, all are counted. */
TEST(policy_collect, "policy.collect") {
    sched_run_each(collect, NULL);
}

static int supervise(void *arg) {
    (void)arg;
    fail_many(BNX_SCOPE_SUPERVISE, 0);
    return 0;
}

static void count_line(enum bnx_log_level level, const char *line, void *arg) {
    if (level == BNX_LOG_ERROR && strstr(line, "failed: -6") != NULL) {
        bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    }
}

/* Claim: with SUPERVISE failures are logged, each, and close returns 0. */
TEST(policy_supervise, "policy.supervise") {
    uint64_t lines = 0;
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = count_line, .log_arg = &lines};
    CHECK_EQ(bnx_run(&options, supervise, NULL), 0);
    CHECK_EQ(lines, FAILING);
}

/* ---- Race ---- */

static int race(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    const struct bnx_scope_options options = policy(BNX_SCOPE_RACE);
    for (intptr_t value = 0; value < 2; value++) {
        CHECK_EQ(bnx_scope_open(&scope, &options), 0);
        CHECK_EQ(bnx_spawn(&scope, sleep_for_ever, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, sleep_for_ever, NULL), 0);
        bnx_yield();
        CHECK_EQ(bnx_spawn(&scope, succeed, (void *)value), 0);
        CHECK_EQ(bnx_scope_close(&scope), value);
    }
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn(&scope, succeed, (void *)(intptr_t)-ENXIO), 0);
    CHECK_EQ(bnx_spawn(&scope, succeed, (void *)(intptr_t)-ENXIO), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ENXIO);
    CHECK_EQ(bnx_scope_error_count(&scope), 2);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0); /* nobody ran */
    return 0;
}

static int race_quiet(void *arg) {
    CHECK_EQ(race(arg), 0);
    return 0;
}

/* Claim: in a race the first that succeeds cancels the others and is the result, 0 included; when
 * all fail the first error is. */
TEST(policy_race, "policy.race") {
    sched_run_each(race_quiet, NULL);
}

/* ---- The opener fails; a surrender is no failure ---- */

static int opener_fails(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, sleep_for_ever, NULL), 0);
    bnx_scope_fail(&scope, -ENXIO);
    CHECK_EQ(bnx_sleep(0), -ECANCELED);
    bnx_scope_fail(&scope, -ECANCELED); /* giving up is no second failure */
    CHECK_EQ(bnx_scope_close(&scope), -ENXIO);
    CHECK_EQ(bnx_scope_error_count(&scope), 1);
    const struct bnx_scope_error *errors = NULL;
    CHECK_EQ(bnx_scope_errors(&scope, &errors), 1);
    CHECK_EQ(errors[0].task_id, 0);
    return 0;
}

/* Claim: the opener's own failure counts as a child's. */
TEST(policy_opener_fails, "policy.opener_fails") {
    sched_run_each(opener_fails, NULL);
}

static int open_inner(void *arg) {
    struct bnx_scope inner;
    CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
    CHECK_EQ(bnx_spawn(&inner, sleep_for_ever, NULL), 0);
    CHECK_EQ(bnx_spawn(&inner, sleep_for_ever, NULL), 0);
    bnx_fetch_add_release((uint64_t *)arg, 1);
    CHECK_EQ(bnx_scope_close(&inner), -ECANCELED); /* its children have not done their work */
    CHECK_EQ(bnx_scope_error_count(&inner), 0);
    return bnx_sleep(0);
}

static int surrender(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    uint64_t open = 0;
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn(&outer, open_inner, &open), 0);
    sched_await_count(&open, 1);
    bnx_scope_cancel(&outer, -EPROTO);
    CHECK_EQ(bnx_scope_close(&outer), -ECANCELED);
    CHECK_EQ(bnx_scope_error_count(&outer), 0);
    return 0;
}

/* Claim: children that give up because an enclosing scope was cancelled are no failures, but close
 * does not say 0 either. */
TEST(policy_surrender, "policy.surrender_is_no_error") {
    sched_run_each(surrender, NULL);
}

/* ---- Limits ---- */

struct limited {
    struct bnx_scope scope;
    uint64_t now;     /* tasks that are in the function */
    uint64_t most;    /* at most at once */
    uint64_t started; /* in all */
    uint64_t refused;
};

static int stay_a_little(void *arg) {
    struct limited *limited = arg;
    uint64_t now = bnx_fetch_add_acq_rel(&limited->now, 1) + 1;
    uint64_t most = bnx_load_relaxed(&limited->most);
    while (now > most && !bnx_cas_relaxed(&limited->most, &most, now)) { /* ends: it only grows */
    }
    bnx_yield();
    bnx_fetch_add_relaxed(&limited->started, 1);
    bnx_fetch_sub_acq_rel(&limited->now, 1);
    return 0;
}

#define CHILDREN_MAX 5
#define TRIES 200

static int spawn_into_limited(void *arg) {
    struct limited *limited = arg;
    for (int i = 0; i < TRIES; i++) {
        int error;
        while ((error = bnx_spawn(&limited->scope, stay_a_little, limited)) == -EAGAIN) {
            bnx_fetch_add_relaxed(&limited->refused, 1);
            bnx_yield(); /* ends when those that are in have ended */
        }
        CHECK_EQ(error, 0);
    }
    return 0;
}

static int children_max(void *arg) {
    (void)arg;
    struct limited limited = {.now = 0};
    const struct bnx_scope_options options = {.children_max = CHILDREN_MAX + 2};
    CHECK_EQ(bnx_scope_open(&limited.scope, &options), 0);
    CHECK_EQ(bnx_spawn(&limited.scope, spawn_into_limited, &limited), 0);
    CHECK_EQ(bnx_spawn(&limited.scope, spawn_into_limited, &limited), 0);
    CHECK_EQ(bnx_scope_close(&limited.scope), 0);
    CHECK_EQ(limited.started, 2 * TRIES);
    CHECK(limited.most <= CHILDREN_MAX + 1); /* one spawner may have ended */
    CHECK(limited.refused > 0);
    CHECK_EQ(bnx_scope_open(&limited.scope, &options), 0);
    for (int i = 0; i < CHILDREN_MAX + 2; i++) {
        CHECK_EQ(bnx_spawn(&limited.scope, sleep_for_ever, NULL), 0);
    }
    CHECK_EQ(bnx_spawn(&limited.scope, sleep_for_ever, NULL), -EAGAIN);
    CHECK_EQ(bnx_spawn_copy(&limited.scope, sleep_for_ever, NULL, 0), -EAGAIN);
    CHECK_EQ(bnx_spawn_with(&limited.scope, NULL, sleep_for_ever, NULL, NULL), -EAGAIN);
    bnx_scope_cancel(&limited.scope, 0);
    CHECK_EQ(bnx_scope_close(&limited.scope), -ECANCELED);
    return 0;
}

/* Claim: a scope with children_max never has more, whoever spawns, and takes new ones when some
 * have ended. */
TEST(policy_children_max, "policy.children_max") {
    sched_run_each(children_max, NULL);
}

/* ---- Reason and source ---- */

static int tell(void *arg) {
    struct witness *witness = arg;
    while (bnx_sleep_until(UINT64_MAX) == 0) { /* ends: it is cancelled */
    }
    witness->code = bnx_cancel_info_get(&witness->info);
    return -ECANCELED;
}

static int sources(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    struct witness witness = {.code = 0};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, tell, &witness), 0);
    bnx_scope_cancel(&scope, -EPROTO);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(witness.info.source, BNX_CANCEL_CALL);
    CHECK_EQ(witness.info.reason, -EPROTO);
    CHECK_EQ(witness.code, -ECANCELED);

    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, tell, &witness, &task), 0);
    bnx_cancel(task, -EPROTO);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(witness.info.source, BNX_CANCEL_TASK);
    CHECK_EQ(witness.info.reason, -EPROTO);

    const struct bnx_scope_options soon = {.deadline_ns = bnx_now() + 1};
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    CHECK_EQ(bnx_spawn(&scope, tell, &witness), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    CHECK_EQ(witness.info.source, BNX_CANCEL_DEADLINE);
    CHECK_EQ(witness.info.reason, -ETIMEDOUT);
    CHECK_EQ(witness.code, -ETIMEDOUT);
    return 0;
}

/* Claim: a cancelled task can tell who cancelled it and why. */
TEST(policy_sources, "policy.reason_and_source") {
    sched_run_each(sources, NULL);
}

static int tell_stop(void *arg) {
    (void)tell(arg);
    return 0;
}

/* Claim: the same for a stop of the runtime. */
TEST(policy_stop, "policy.stop_is_a_source") {
    struct bnx_runtime *runtime = sched_create(2);
    struct witness witness = {.code = 0};
    CHECK_EQ(bnx_runtime_spawn(runtime, tell_stop, &witness, NULL), 0);
    sched_destroy(runtime);
    CHECK_EQ(witness.info.source, BNX_CANCEL_STOP);
    CHECK_EQ(witness.info.reason, -ESHUTDOWN);
}

/* ---- Bad options, holders ---- */

static int bad_options(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_scope_options options = {.policy = (enum bnx_scope_policy)4};
    CHECK_EQ(bnx_scope_open(&scope, &options), -EINVAL);
    options = (struct bnx_scope_options){.flags = 2};
    CHECK_EQ(bnx_scope_open(&scope, &options), -EINVAL);
    options = (struct bnx_scope_options){.task_class = (enum bnx_class)4};
    CHECK_EQ(bnx_scope_open(&scope, &options), -EINVAL);
    CHECK_EQ(bnx_sleep(0), 0);
    return 0;
}

/* Claim: an unknown policy, flag or class is refused and opens nothing. */
TEST(policy_bad_options, "policy.bad_options") {
    sched_run_each(bad_options, NULL);
}

struct held {
    struct bnx_scope *scope;
    uint64_t ran;
};

static int bump(void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

static int use_hold(void *arg) {
    struct held *held = arg;
    CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    CHECK_EQ(bnx_spawn(held->scope, bump, &held->ran), 0);
    bnx_scope_release(held->scope);
    return 0;
}

static int hold(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct bnx_scope scope;
    struct held held = {.scope = &scope};
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_hold(&scope);
    CHECK_EQ(bnx_spawn(&outer, use_hold, &held), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(held.ran, 1);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return 0;
}

/* Claim: close waits for a holder, and for what he spawns. */
TEST(policy_hold, "policy.holder_keeps_scope_open") {
    sched_run_each(hold, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
