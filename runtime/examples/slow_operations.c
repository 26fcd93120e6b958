/* SPDX-License-Identifier: MIT */
/*
 * slow_operations: three operations at once, waited for in four ways. Each is as slow as its number
 * says, in tenths of a second; all together take as long as the slowest alone.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <stdio.h>

#define OPERATIONS 3
#define UNIT_NS UINT64_C(100000000)

static int tenths[OPERATIONS] = {3, 1, 2}; /* in the order in which they are begun */

struct operations {
    struct bnx_scope scope;
    struct bnx_task *tasks[OPERATIONS];
    struct bnx_waitable *waitables[OPERATIONS];
};

static int be_slow(void *arg) {
    int count = *(const int *)arg;
    int error = bnx_sleep((uint64_t)count * UNIT_NS);
    return error < 0 ? error : count;
}

/* Runs `way` while the three operations do, and waits for what it has left of them. */
static int run_three(const char *name, int (*way)(struct operations *operations)) {
    struct operations operations;
    uint64_t start_ns = bnx_now();
    int error = bnx_scope_open(&operations.scope, NULL);
    if (error < 0) {
        return error;
    }
    for (int i = 0; i < OPERATIONS && error == 0; i++) {
        error = bnx_spawn_with(&operations.scope, NULL, be_slow, &tenths[i], &operations.tasks[i]);
        if (error == 0) {
            operations.waitables[i] = bnx_task_waitable(operations.tasks[i]);
        }
    }
    printf("%s:", name);
    error = error < 0 ? error : way(&operations);
    int close_error = bnx_scope_close(&operations.scope);
    printf("; all in %.2f s\n", (double)(bnx_now() - start_ns) / 1e9);
    return error < 0 ? error : close_error;
}

/* All results, in the order in which the operations were begun. */
static int gather(struct operations *operations) {
    int results[OPERATIONS];
    int error = bnx_gather(operations->waitables, OPERATIONS, results, 0);
    for (int i = 0; i < OPERATIONS && error == 0; i++) {
        printf(" %d", results[i]);
    }
    return error;
}

/* The first one that is done. */
static int wait_first(struct operations *operations) {
    size_t index = 0;
    int result = bnx_wait(operations->waitables, OPERATIONS, BNX_WAIT_FIRST, &index);
    if (result >= 0) {
        printf(" %d was first", result);
    }
    return result < 0 ? result : 0;
}

/* Each one as soon as it is done. */
static int as_completed(struct operations *operations) {
    struct bnx_iter iter;
    int error = bnx_as_completed(operations->waitables, OPERATIONS, &iter);
    if (error < 0) {
        return error;
    }
    BNX_FOR_EACH_OR(value, &iter, &error) {
        printf(" %d", tenths[(uintptr_t)value]);
    }
    return error;
}

static void print_done(struct bnx_future *future, void *arg) {
    void *value = NULL;
    if (bnx_future_poll(future, &value) == 0) {
        printf(" %d", (int)(intptr_t)value);
    }
    bnx_waitgroup_done(arg);
}

/* Operations that nobody waits for: each has a callback. */
static int callbacks(struct operations *operations) {
    (void)operations;
    static struct bnx_waitgroup left = BNX_WAITGROUP_INIT; /* the callbacks may come after us */
    int error = 0;
    for (int i = 0; i < OPERATIONS && error == 0; i++) {
        struct bnx_future *future = NULL;
        error = bnx_runtime_spawn(bnx_runtime_current(), be_slow, &tenths[i], &future);
        if (error == 0) {
            bnx_waitgroup_add(&left, 1);
            error = bnx_future_on_done(future, print_done, &left);
            if (error < 0) {
                bnx_waitgroup_done(&left);
            }
            bnx_future_unref(future);
        }
    }
    int wait_error = bnx_waitgroup_wait(&left);
    return error < 0 ? error : wait_error;
}

static int run(void *arg) {
    (void)arg;
    int error = run_three("gather", gather);
    error = error < 0 ? error : run_three("wait", wait_first);
    error = error < 0 ? error : run_three("as completed", as_completed);
    return error < 0 ? error : run_three("callbacks", callbacks);
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "three slow operations, waited for in four ways",
                                   &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    return bnx_main_with(&options, run, NULL) == 0 ? 0 : 1;
}
