/* SPDX-License-Identifier: MIT */
/* Claims about scopes at their edges: cancelled while they close, nested deep, spawned into from
 * elsewhere, shields beside a stalled worker. */
#include "tests/support/sched.h"

#define LONG_NS (UINT64_C(3600) * BNX_NS_PER_S)
#define SHORT_NS BNX_NS_PER_MS

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static int sleep_for_ever(void *arg) {
    (void)arg;
    return bnx_sleep_until(UINT64_MAX);
}

/* ---- Cancelled between the last child and the opener ---- */

struct closing {
    struct bnx_scope scope;
    struct bnx_future *never;
    int got;              /* by the call that waits in the deferred function */
    uint64_t is_deferred; /* the deferred function waits */
};

static int cancel_closing(void *arg) {
    struct closing *closing = arg;
    bnx_scope_cancel(&closing->scope, 0);
    return 0;
}

/* The canceller is ready before the opener is: it finds the scope sealed and without a child. */
static int leave_canceller(void *arg) {
    CHECK_EQ(bnx_spawn(NULL, cancel_closing, arg), 0);
    return 0;
}

static void wait_deferred(void *arg) {
    struct closing *closing = arg;
    bnx_store_release(&closing->is_deferred, 1);
    closing->got = bnx_future_await(closing->never, NULL);
}

static int set_when_deferred(void *arg) {
    struct closing *closing = arg;
    sched_await_count(&closing->is_deferred, 1);
    for (int i = 0; i < 10; i++) {
        bnx_yield();
    }
    return bnx_future_set(closing->never, NULL);
}

static const struct bnx_spawn_options on_own_stack = {.stack = BNX_STACK_64K};

static int cancel_sealed(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct closing closing = {.got = 1};
    CHECK_EQ(bnx_future_create(&closing.never), 0);
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&closing.scope, NULL), 0);
    CHECK_EQ(bnx_defer(&closing.scope, wait_deferred, &closing), 0);
    CHECK_EQ(bnx_spawn(&outer, set_when_deferred, &closing), 0);
    CHECK_EQ(bnx_spawn_with(&closing.scope, &on_own_stack, leave_canceller, &closing, NULL), 0);
    CHECK_EQ(bnx_scope_close(&closing.scope), -ECANCELED);
    CHECK_EQ(closing.got, 0); /* woken once, by the future */
    CHECK_EQ(bnx_scope_close(&outer), 0);
    bnx_future_unref(closing.never);
    return 0;
}

/* Claim: a cancel that comes when the last child has left and the opener is on its way to the
 * deferred functions resumes nobody a second time. Method: one worker, on which this order is
 * certain. */
TEST(scope_cancel_sealed, "scope.cancel_while_closing") {
    sched_run(1, cancel_sealed, NULL);
}

static int open_shield_with_deferred(void *arg) {
    struct closing *closing = arg;
    struct bnx_scope shield;
    const struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = SHORT_NS};
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    CHECK_EQ(bnx_defer(&shield, wait_deferred, closing), 0);
    CHECK_EQ(bnx_spawn_with(&shield, &on_own_stack, leave_canceller, closing, NULL), 0);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    return 0;
}

static int grace_of_sealed(void *arg) {
    (void)arg;
    struct closing closing = {.got = 1};
    CHECK_EQ(bnx_future_create(&closing.never), 0);
    CHECK_EQ(bnx_scope_open(&closing.scope, NULL), 0);
    CHECK_EQ(
        bnx_spawn_with(&closing.scope, &on_own_stack, open_shield_with_deferred, &closing, NULL),
        0);
    CHECK_EQ(bnx_scope_close(&closing.scope), -ECANCELED);
    CHECK_EQ(closing.got, -ECANCELED);
    bnx_future_unref(closing.never);
    return 0;
}

/* Claim: a cancel from above that meets a shield just then begins its grace period: what its
 * deferred functions wait for ends. */
TEST(shield_sealed, "shield.grace_begins_while_closing") {
    sched_run(1, grace_of_sealed, NULL);
}

/* ---- Deep ---- */

#define NESTED UINT64_C(20000)

struct deep {
    uint64_t left;
    uint64_t *bottom;
};

static int go_deeper(void *arg) {
    struct deep deep = *(struct deep *)arg;
    struct bnx_scope scope;
    if (deep.left == 0) {
        bnx_store_release(deep.bottom, 1);
        return bnx_sleep_until(UINT64_MAX);
    }
    deep.left--;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_copy(&scope, go_deeper, &deep, sizeof(deep)), 0);
    return bnx_scope_close(&scope);
}

static int cancel_deep(void *arg) {
    (void)arg;
    uint64_t bottom = 0;
    struct bnx_scope scope;
    struct deep deep = {bnx_test_scale(NESTED), &bottom};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_copy(&scope, go_deeper, &deep, sizeof(deep)), 0);
    sched_await_count(&bottom, 1);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

static int cancel_from_small_stack(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    const struct bnx_spawn_options small = {.stack = BNX_STACK_16K};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &small, cancel_deep, NULL, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a cancel walks down any number of nested scopes in the stack of its caller, however small
 * that is. */
TEST(cancel_deep, "cancel.deep_tree") {
    sched_run_each(cancel_from_small_stack, NULL);
}

#define DEPTH_MAX 65534 /* as bonxie/scope.h says; the root scope is at 0 */

static int open_all(void *arg) {
    struct bnx_scope *scopes = arg;
    int depth = 0;
    int error;
    while ((error = bnx_scope_open(&scopes[depth], NULL)) == 0) { /* ends: at the limit */
        depth++;
        CHECK(depth <= DEPTH_MAX);
    }
    CHECK_EQ(error, -EAGAIN);
    CHECK_EQ(depth, DEPTH_MAX);
    struct closing closing = {.got = 1};
    CHECK_EQ(bnx_future_create(&closing.never), 0);
    CHECK_EQ(bnx_future_set(closing.never, NULL), 0);
    CHECK_EQ(bnx_defer(&scopes[depth - 1], wait_deferred, &closing), 0);
    bnx_scope_cancel(&scopes[depth - 2], 0);
    while (depth-- > 0) {
        (void)bnx_scope_close(&scopes[depth]);
    }
    CHECK_EQ(closing.got, 0); /* the innermost one's deferred function was shielded */
    bnx_future_unref(closing.never);
    return 0;
}

/* Claim: scopes nest 65534 deep and no deeper, and the deepest one's deferred functions are
 * shielded as any other's. */
TEST(scope_depth, "scope.depth_has_an_end") {
    struct bnx_scope *scopes = bnx_os.allocate((DEPTH_MAX + 1) * sizeof(*scopes), 16);
    CHECK(scopes != NULL);
    sched_run(1, open_all, scopes);
    bnx_os.release(scopes);
}

/* ---- Spawned into from elsewhere ---- */

static int spawn_as_stranger(void *arg) {
    struct bnx_scope *scope = arg;
    CHECK_EQ(bnx_spawn(scope, do_nothing, NULL), -EINVAL);
    bnx_scope_release(scope);
    return 0;
}

static int lend_to_stranger(void *arg) {
    struct bnx_runtime *other = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_hold(&scope);
    CHECK_EQ(bnx_runtime_spawn(other, spawn_as_stranger, &scope, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a task of another runtime cannot spawn into a scope, even if it holds it. */
TEST(scope_stranger, "scope.of_another_runtime") {
    struct bnx_runtime *other = sched_create(1);
    sched_run(1, lend_to_stranger, other);
    sched_destroy(other);
}

static int spawn_as_holder(void *arg) {
    struct bnx_scope *scope = arg;
    CHECK_EQ(bnx_spawn(scope, do_nothing, NULL), -ECANCELED);
    bnx_scope_release(scope);
    return 0;
}

static int spawn_in_fork(void *arg) {
    struct bnx_scope scope;
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, do_nothing, NULL), -ECANCELED);
    (void)bnx_scope_close(&scope);
    return 0;
}

static int fork_when_cancelled(void *arg) {
    struct bnx_fork fork;
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    CHECK_EQ(bnx_fork(&fork, spawn_in_fork, arg), 0);
    return bnx_fork_join(&fork);
}

static int spawn_into_cancelled(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct bnx_scope scope;
    struct bnx_scope shield;
    struct bnx_task *task = NULL;
    const struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = LONG_NS};
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&outer, NULL, fork_when_cancelled, NULL, &task), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_hold(&scope);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_spawn(&outer, spawn_as_holder, &scope), 0);
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    CHECK_EQ(bnx_spawn(&scope, do_nothing, NULL), -ECANCELED); /* from behind a shield */
    CHECK_EQ(bnx_spawn(&shield, do_nothing, NULL), 0);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    bnx_cancel(task, 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return 0;
}

/* Claim: a cancelled scope takes no task from a holder, from behind a shield, or from a fork of a
 * cancelled task. */
TEST(scope_spawn_cancelled, "scope.cancelled_takes_nobody") {
    sched_run_each(spawn_into_cancelled, NULL);
}

/* ---- Results ---- */

static int fail(void *arg) {
    (void)arg;
    return -EIO;
}

static void spawn_failing(void *arg) {
    CHECK_EQ(bnx_spawn(arg, fail, NULL), 0);
}

static int late_results(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_scope inner;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_defer(&scope, spawn_failing, &scope), 0);
    CHECK_EQ(bnx_scope_close(&scope), -EIO);
    CHECK_EQ(bnx_scope_error_count(&scope), 1);

    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
    bnx_scope_cancel(&inner, 0);
    bnx_scope_fail(&scope, -ECANCELED); /* the outer scope is not cancelled: it is a failure */
    CHECK_EQ(bnx_scope_close(&inner), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(bnx_scope_error_count(&scope), 1);

    const struct bnx_scope_options race = {.policy = BNX_SCOPE_RACE};
    CHECK_EQ(bnx_scope_open(&scope, &race), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, sleep_for_ever, NULL, &task), 0);
    bnx_cancel(task, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: a failure counts when a deferred function's child has it, and when it is the opener's in a
 * scope that is not cancelled; a race that nobody won says so. */
TEST(scope_late_results, "scope.late_results_count") {
    sched_run_each(late_results, NULL);
}

/* ---- Grace beside a worker that does not tick ---- */

struct stalled {
    struct bnx_scope scope;
    uint64_t is_inside;
    uint64_t is_out;
};

static int be_sheltered(void *arg) {
    struct stalled *stalled = arg;
    struct bnx_scope shield;
    const struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = SHORT_NS};
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    bnx_store_release(&stalled->is_inside, 1);
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    bnx_store_release(&stalled->is_out, 1);
    return -ECANCELED;
}

/* Cancels, and computes until the other one has come out. */
static int cancel_and_compute(void *arg) {
    struct stalled *stalled = arg;
    sched_await_count(&stalled->is_inside, 1);
    bnx_yield();
    bnx_scope_cancel(&stalled->scope, 0);
    while (bnx_load_acquire(&stalled->is_out) == 0) { /* ends when the shield breaks elsewhere */
        bnx_pause();
    }
    return 0;
}

static int grace_beside_stall(void *arg) {
    (void)arg;
    struct bnx_scope outer;
    struct stalled stalled = {.is_inside = 0};
    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_spawn(&outer, cancel_and_compute, &stalled), 0);
    CHECK_EQ(bnx_scope_open(&stalled.scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&stalled.scope, be_sheltered, &stalled), 0);
    CHECK_EQ(bnx_scope_close(&stalled.scope), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    return 0;
}

/* Claim: the grace period ends although the worker of who cancelled has stopped ticking. */
TEST(shield_stall, "shield.breaks_beside_a_stall") {
    if (BNX_FORCE_MIGRATE) {
        SKIP("a forced migration goes to the stalled worker");
    }
    sched_run(2, grace_beside_stall, NULL);
}

/* ---- The report ---- */

struct reported {
    struct bnx_scope *scope;
    uint64_t lines;
};

static void cancel_from_log(enum bnx_log_level level, const char *line, void *arg) {
    struct reported *reported = arg;
    if (level == BNX_LOG_ERROR && strstr(line, "has outlived its grace") != NULL) {
        bnx_scope_cancel(reported->scope, 0);
        bnx_fetch_add_release(&reported->lines, 1);
    }
}

static int outlive(void *arg) {
    struct reported *reported = arg;
    CHECK_EQ(bnx_sleep(1), 0);                       /* who has never waited is in no list */
    while (bnx_load_acquire(&reported->lines) < 2) { /* ends with the report: opener and this one */
        (void)bnx_sleep(0);
        bnx_yield();
    }
    return 0;
}

static int report(void *arg) {
    struct reported *reported = arg;
    struct bnx_scope scope;
    struct bnx_scope shield;
    const struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = SHORT_NS};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    reported->scope = &shield;
    CHECK_EQ(bnx_spawn_with(&shield, &on_own_stack, do_nothing, NULL, NULL), 0);
    CHECK_EQ(bnx_spawn(&shield, sleep_for_ever, NULL), 0);
    CHECK_EQ(bnx_spawn(&shield, outlive, reported), 0);
    CHECK_EQ(bnx_sleep(1), 0);
    bnx_scope_cancel(&scope, 0);
    (void)bnx_scope_close(&shield);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: the report of stragglers is written under no lock: the log callback may cancel the very
 * scope that it is about. */
TEST(shield_report_lock, "shield.report_holds_no_lock") {
    struct reported reported = {.lines = 0};
    struct bnx_options options = {
        .worker_count = 1, .seed = 1, .log = cancel_from_log, .log_arg = &reported};
    CHECK_EQ(bnx_run(&options, report, &reported), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
