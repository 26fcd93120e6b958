/* SPDX-License-Identifier: MIT */
/* Generators in tasks: bodies that wait, scopes, cancels; misuse; what a debugger sees. */
#include "runtime/gen_pvt.h"
#include "tests/support/sched.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

static void *number(intptr_t value) {
    return (void *)value;
}

static struct bnx_gen *make(bnx_gen_fn fn, void *arg) {
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_gen_create(&gen, fn, arg, NULL), 0);
    return gen;
}

static void expect_value(struct bnx_gen *gen, intptr_t value) {
    void *got = NULL;
    CHECK_EQ(bnx_gen_next(gen, &got), 1);
    CHECK_EQ((intptr_t)got, value);
}

/* 1 ... n, and n as the result. arg: n */
static int count_up(struct bnx_gen *gen, void *arg) {
    intptr_t last = (intptr_t)arg;
    for (intptr_t n = 1; n <= last; n++) {
        int error = bnx_gen_yield(gen, number(n), NULL);
        if (error < 0) {
            return error;
        }
    }
    bnx_gen_return(gen, arg);
    return 0;
}

/* ---- In tasks ---- */

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int yield_for(void *arg) {
    return bnx_gen_yield(arg, NULL, NULL);
}

static int open_and_yield(struct bnx_gen *gen, void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, nothing, NULL), 0);
    CHECK_EQ(bnx_gen_yield(gen, number(1), NULL), -EDEADLK);
    CHECK_EQ(bnx_gen_yield_from(gen, gen, NULL), -EDEADLK);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_gen_yield(gen, number(2), NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, yield_for, gen), 0);
    CHECK_EQ(bnx_scope_close(&scope), -EPERM); /* a task that it has spawned is not the body */
    CHECK_EQ(bnx_offload(yield_for, gen), -EPERM);
    return 0;
}

static int keeps_scopes(void *arg) {
    (void)arg;
    struct bnx_gen *gen = make(open_and_yield, NULL);
    expect_value(gen, 2);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0); /* the driver's own scopes are no matter */
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* No yield over an open scope of the body, nor from what the body has spawned or offloaded. */
TEST(gen_scope_must_be_closed, "gen.scope_must_be_closed") {
    sched_run_each(keeps_scopes, NULL);
}

static int look_at_deque(struct bnx_gen *gen, void *arg) {
    (void)arg;
    CHECK_EQ(bnx_deque_count(&bnx_worker_current()->deque), 0);
    CHECK_EQ(bnx_spawn(NULL, nothing, NULL), 0);
    CHECK_EQ(bnx_deque_count(&bnx_worker_current()->deque), 1);
    return bnx_gen_yield(gen, NULL, NULL);
}

static int flushes(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_gen *gen = make(look_at_deque, NULL);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, nothing, NULL), 0);
    CHECK_EQ(bnx_gen_next(gen, NULL), 1);
    CHECK_EQ(bnx_deque_count(&bnx_worker_current()->deque), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* What was spawned on one stack and not started is in the queues before the other one runs. One
 * worker: no thief empties the deque. */
TEST(gen_switch_flushes, "gen.switch_flushes") {
    sched_run(1, flushes, NULL);
}

static int wait_and_count(struct bnx_gen *gen, void *arg) {
    struct bnx_task *task = bnx_task_current();
    for (intptr_t n = 1; n <= 20; n++) {
        CHECK(bnx_task_current() == task && task->stack == bnx_gen_stack(gen));
        bnx_yield();
        CHECK_EQ(bnx_sleep(1000), 0);
        CHECK(task->stack == bnx_gen_stack(gen));
        CHECK_EQ(bnx_gen_yield(gen, number(n), NULL), 0);
    }
    (void)arg;
    return 0;
}

static int body_waits(void *arg) {
    (void)arg;
    struct bnx_task *task = bnx_task_current();
    struct bnx_stack *stack = task->stack;
    struct bnx_gen *gen = make(wait_and_count, NULL);
    for (intptr_t n = 1; n <= 20; n++) {
        expect_value(gen, n);
        CHECK(task->stack == stack && bnx_task_current() == task);
        bnx_yield();
    }
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    CHECK(task->stack == stack);
    bnx_gen_destroy(gen);
    return 0;
}

static int many_bodies_wait(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(bnx_spawn(&scope, body_waits, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* A body may wait; the task parks on the body's stack and goes on wherever it comes back. */
TEST(gen_body_waits, "gen.body_waits") {
    sched_run_each(many_bodies_wait, NULL);
}

static int sleep_long(struct bnx_gen *gen, void *arg) {
    struct sched_bell *bell = arg;
    sched_bell_ring(bell);
    int error = bnx_sleep(UINT64_C(3600000000000));
    int second = bnx_gen_yield(gen, number(error), NULL); /* no suspending call: not refused */
    return second < 0 ? second : bnx_sleep(1);
}

static int driver_of_sleeper(void *arg) {
    struct bnx_gen *gen = make(sleep_long, arg);
    expect_value(gen, -ECANCELED);
    CHECK_EQ(bnx_gen_next(gen, NULL), -ECANCELED);
    bnx_gen_destroy(gen);
    return -ECANCELED;
}

static int cancels(void *arg) {
    (void)arg;
    struct sched_bell bell = {0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, driver_of_sleeper, &bell), 0);
    bnx_yield();
    sched_bell_wait(&bell);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* A cancel of the task that drives ends the wait of the body. */
TEST(gen_cancel_reaches_body, "gen.cancel_reaches_body") {
    sched_run_each(cancels, NULL);
}

struct handed {
    struct bnx_gen *gen;
    intptr_t expected;
};

static int drive_once(void *arg) {
    struct handed *handed = arg;
    expect_value(handed->gen, handed->expected);
    return 0;
}

static int create_in_task(void *arg) {
    struct handed *handed = arg;
    handed->gen = make(count_up, number(1000));
    expect_value(handed->gen, 1);
    return 0;
}

static void drive_in_thread(void *arg) {
    struct handed *handed = arg;
    expect_value(handed->gen, handed->expected);
    if (handed->expected == 4) {
        bnx_gen_destroy(handed->gen);
    }
}

/* A generator goes from a runtime that ends to a thread, to another runtime, and back. */
TEST(gen_outlives_runtime, "gen.outlives_runtime") {
    for (int round = 0; round < 20; round++) {
        struct handed handed = {0};
        struct bnx_os_thread thread;
        sched_run(2, create_in_task, &handed);
        handed.expected = 2;
        sched_thread_start(&thread, drive_in_thread, &handed);
        sched_thread_join(&thread);
        handed.expected = 3;
        sched_run(1, drive_once, &handed);
        handed.expected = 4;
        sched_thread_start(&thread, drive_in_thread, &handed);
        sched_thread_join(&thread);
    }
}

/* ---- Limits and misuse ---- */

static void *no_mmap(size_t bytes, int protection, int flags, int *out_error) {
    (void)bytes;
    (void)protection;
    (void)flags;
    *out_error = -ENOMEM;
    return (void *)-1;
}

/* Wrong arguments and missing memory are errors; the generator's kind is where kinds are. */
TEST(gen_create_fails, "gen.create_fails") {
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_gen_create(&gen, NULL, NULL, NULL), -EINVAL);
    struct bnx_gen_options options = {.flags = 1u << 7};
    CHECK_EQ(bnx_gen_create(&gen, count_up, NULL, &options), -EINVAL);
    options = (struct bnx_gen_options){.stack = (enum bnx_stack_class)(BNX_STACK_1M + 1)};
    CHECK_EQ(bnx_gen_create(&gen, count_up, NULL, &options), -EINVAL);
    options = (struct bnx_gen_options){.flags = BNX_GEN_PRIMED, .stack = BNX_STACK_1M};
    struct bnx_os saved = bnx_os;
    bnx_os.mmap = no_mmap;
    CHECK_EQ(bnx_gen_create(&gen, count_up, number(1), &options), -ENOMEM);
    bnx_os = saved;
    CHECK(gen == NULL);
    for (int class = BNX_STACK_DEFAULT; class <= BNX_STACK_1M; class ++) {
        options = (struct bnx_gen_options){.stack = (enum bnx_stack_class) class};
        CHECK_EQ(bnx_gen_create(&gen, count_up, number(2), &options), 0);
        CHECK(*(const void **)(void *)((char *)gen + BNX_KIND_OFFSET) == &bnx_gen_kind);
        expect_value(gen, 1);
        bnx_gen_destroy(gen);
    }
}

static int destroy_self(struct bnx_gen *gen, void *arg) {
    (void)arg;
    bnx_gen_destroy(gen);
    return 0;
}

static int return_with_scope(struct bnx_gen *gen, void *arg) {
    (void)gen;
    CHECK_EQ(bnx_scope_open(arg, NULL), 0);
    return 0;
}

static int drive_to_death(void *arg) {
    struct bnx_scope scope;
    (void)bnx_gen_next(make((bnx_gen_fn)(uintptr_t)arg, &scope), NULL);
    return 0;
}

static void expect_abort(bnx_gen_fn fn) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        struct bnx_options options = {.worker_count = 1};
        (void)bnx_run(&options, drive_to_death, (void *)(uintptr_t)fn);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
}

/* Destroying a running generator and returning with an open scope end the process. */
TEST(gen_misuse_panics, "gen.misuse_panics") {
    expect_abort(destroy_self);
    expect_abort(return_with_scope);
}

static int fork_in_task(void *arg) {
    (void)arg;
    struct bnx_gen *gen = make(count_up, number(3));
    expect_value(gen, 1);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct bnx_gen *other = NULL;
        CHECK_EQ(bnx_gen_next(gen, NULL), -ECHILD);
        CHECK_EQ(bnx_gen_close(gen), -ECHILD);
        CHECK_EQ(bnx_gen_create(&other, count_up, NULL, NULL), -ECHILD);
        bnx_gen_destroy(gen);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* In a fork child every call is -ECHILD. */
TEST(gen_fork_child, "gen.fork_child") {
    sched_run(1, fork_in_task, NULL);
}

/* ---- An overflow ---- */

static __attribute__((noinline)) int dig(int depth) {
    volatile char frame[512] = {0};
    frame[0] = 1;
    return depth == INT_MAX ? 0 : dig(depth + 1) + frame[0];
}

static int overflow(struct bnx_gen *gen, void *arg) {
    (void)gen;
    (void)arg;
    return dig(0);
}

static int drive_to_overflow(void *arg) {
    (void)arg;
    bnx_task_name_set("digger");
    (void)bnx_gen_next(make(overflow, NULL), NULL);
    return 0;
}

/* A body that overflows its stack is reported under the name of the task that drives it. */
TEST(gen_overflow_is_named, "gen.overflow_is_named") {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        struct bnx_options options = {.worker_count = 1, .flags = BNX_CRASH_REPORT};
        (void)bnx_run(&options, drive_to_overflow, NULL);
        _exit(0);
    }
    CHECK_EQ(close(ends[1]), 0);
    char text[4096];
    size_t count = 0;
    ssize_t got;
    while ((got = read(ends[0], text + count, sizeof(text) - 1 - count)) > 0) {
        count += (size_t)got;
    }
    text[count] = '\0';
    CHECK_EQ(close(ends[0]), 0);
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(status != 0);
    CHECK(strstr(text, "overflow") != NULL);
    CHECK(strstr(text, "digger") != NULL);
}

/* ---- What a debugger sees ---- */

#define FRAMES_MAX 32

struct trace {
    uintptr_t functions[FRAMES_MAX];
    int count;
};

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *arg) {
    struct trace *trace = arg;
    if (trace->count == FRAMES_MAX) {
        return _URC_END_OF_STACK;
    }
    trace->functions[trace->count++] = (uintptr_t)_Unwind_GetRegionStart(context);
    return _URC_NO_REASON;
}

static __attribute__((noinline)) int trace_body(struct bnx_gen *gen, void *arg) {
    bnx_yield(); /* left and entered again */
    int error = bnx_gen_yield(gen, NULL, NULL);
    struct trace *trace = arg;
    (void)_Unwind_Backtrace(add_frame, trace);
    return error;
}

static int trace_in_task(void *arg) {
    struct bnx_gen *gen = make(trace_body, arg);
    CHECK_EQ(bnx_gen_next(gen, NULL), 1);
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* The frames of a body end at the trampoline; who drives it is not among them. */
TEST(gen_unwind_ends_at_trampoline, "gen.unwind_ends_at_trampoline") {
    struct trace trace = {.count = 0};
    sched_run(1, trace_in_task, &trace);
    int body = -1;
    int trampoline = -1;
    for (int i = 0; i < trace.count; i++) {
        CHECK(trace.functions[i] != (uintptr_t)trace_in_task);
        body = trace.functions[i] == (uintptr_t)trace_body ? i : body;
        trampoline = trace.functions[i] == (uintptr_t)bnx_context_trampoline ? i : trampoline;
    }
    CHECK(body >= 0);
    CHECK(trampoline > body);
    for (int i = trampoline + 1; i < trace.count; i++) {
        CHECK_EQ(trace.functions[i], 0); /* the end of the stack, as some unwinders tell it */
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
