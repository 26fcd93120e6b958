/* SPDX-License-Identifier: MIT */
/*
 * compute_sum: a task calls a function that calls another, which waits. No call is different from
 * any other: whoever waits, the whole stack waits with it, and goes on where it was. The trace
 * shows who ran when.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <stdatomic.h>
#include <stdio.h>

#define PAUSE_NS UINT64_C(500000000)
#define STEPS_MAX 16

/* What happened, in order. Usually whoever writes has been woken by who wrote before; after a
 * cancel two may write at once, each a line of his own. Read when all have ended. */
struct trace {
    const char *who[STEPS_MAX];
    const char *what[STEPS_MAX];
    atomic_size_t count;
};

struct sum {
    struct trace trace;
    struct bnx_future *is_waiting; /* set when compute is about to wait */
    struct bnx_future *may_go_on;  /* set when main has run meanwhile */
};

static void note(struct trace *trace, const char *who, const char *what) {
    size_t step = atomic_fetch_add(&trace->count, 1);
    if (step < STEPS_MAX) {
        trace->who[step] = who;
        trace->what[step] = what;
    }
}

static int compute(struct sum *sum, int x, int y) {
    printf("Compute %d + %d ...\n", x, y);
    note(&sum->trace, "compute", "begins, and waits");
    (void)bnx_future_set(sum->is_waiting, NULL);
    int error = bnx_sleep(PAUSE_NS);
    error = error < 0 ? error : bnx_future_await(sum->may_go_on, NULL);
    note(&sum->trace, "compute", "goes on");
    return error < 0 ? error : x + y;
}

static int print_sum(void *arg) {
    struct sum *sum = arg;
    note(&sum->trace, "print_sum", "calls compute");
    int result = compute(sum, 1, 2);
    note(&sum->trace, "print_sum", "has the result");
    if (result >= 0) {
        printf("1 + 2 = %d\n", result);
    }
    return result;
}

static int run_traced(struct sum *sum, struct bnx_scope *scope) {
    struct bnx_task *task = NULL;
    note(&sum->trace, "main", "spawns print_sum");
    int error = bnx_spawn_with(scope, NULL, print_sum, sum, &task);
    error = error < 0 ? error : bnx_future_await(sum->is_waiting, NULL);
    if (error < 0) {
        return error;
    }
    note(&sum->trace, "main", "runs meanwhile");
    (void)bnx_future_set(sum->may_go_on, NULL);
    error = bnx_join(task, NULL);
    note(&sum->trace, "main", "has joined print_sum");
    return error;
}

static int run(void *arg) {
    struct sum *sum = arg;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    error = run_traced(sum, &scope);
    int close_error = bnx_scope_close(&scope);
    for (size_t i = 0; i < sum->trace.count; i++) {
        printf("%zu %s %s\n", i + 1, sum->trace.who[i], sum->trace.what[i]);
    }
    return error < 0 ? error : close_error;
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed =
        bnx_workers_parse(argc, argv, "nested calls, and who ran when", &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct sum sum = {.is_waiting = NULL};
    int result = -1;
    if (bnx_future_create(&sum.is_waiting) == 0 && bnx_future_create(&sum.may_go_on) == 0) {
        result = bnx_main_with(&options, run, &sum);
    }
    bnx_future_unref(sum.is_waiting);
    bnx_future_unref(sum.may_go_on);
    return result == 0 ? 0 : 1;
}
