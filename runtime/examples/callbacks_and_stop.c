/* SPDX-License-Identifier: MIT */
/*
 * callbacks_and_stop: one runtime runs a function to its end, twice; then it runs on until a
 * callback stops it: the callback of all tasks together, not of the first one that ends.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <stdio.h>

#define UNIT_NS UINT64_C(100000000)

static int do_some_work(void *arg) {
    int units = *(const int *)arg;
    printf("Waiting %d\n", units);
    int error = bnx_sleep((uint64_t)units * UNIT_NS);
    printf("Done\n");
    return error < 0 ? error : units;
}

/* Both works as tasks of one worker, so that they begin in this order. */
static int gather_both(void *arg) {
    int *units = arg;
    struct bnx_spawn_options options = {.flags = BNX_SPAWN_PINNED};
    struct bnx_task *tasks[2] = {NULL};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    for (int i = 0; i < 2 && error == 0; i++) {
        error = bnx_spawn_with(&scope, &options, do_some_work, &units[i], &tasks[i]);
    }
    int results[2] = {0};
    if (error == 0) {
        struct bnx_waitable *both[] = {bnx_task_waitable(tasks[0]), bnx_task_waitable(tasks[1])};
        error = bnx_gather(both, 2, results, 0);
    }
    int close_error = bnx_scope_close(&scope);
    error = error < 0 ? error : close_error;
    return error < 0 ? error : results[0] + results[1];
}

static void stop(struct bnx_future *future, void *arg) {
    void *sum = NULL;
    if (bnx_future_poll(future, &sum) == 0) {
        printf("all done: %d, stop\n", (int)(intptr_t)sum);
    }
    (void)bnx_runtime_stop(arg);
}

static int run_until_stopped(struct bnx_runtime *runtime, int *units) {
    struct bnx_future *future = NULL;
    int error = bnx_runtime_spawn(runtime, gather_both, units, &future);
    if (error < 0) {
        return error;
    }
    error = bnx_future_on_done(future, stop, runtime);
    if (error == 0) {
        error = bnx_future_await(future, NULL);
    }
    bnx_future_unref(future);
    int wait_error = bnx_runtime_wait(runtime, UINT64_MAX);
    return error < 0 ? error : wait_error;
}

static int run_all(struct bnx_runtime *runtime) {
    static int units[] = {1, 1, 2, 3};
    for (int i = 0; i < 2; i++) {
        int result = bnx_runtime_run(runtime, do_some_work, &units[i]);
        if (result < 0) {
            return result;
        }
        printf("run %d: returned %d\n", i + 1, result);
    }
    int error = run_until_stopped(runtime, &units[2]);
    printf("stopped\n");
    return error;
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "run to the end, twice; run until a callback stops",
                                   &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct bnx_runtime *runtime = NULL;
    if (bnx_runtime_create(&options, &runtime) < 0) {
        fprintf(stderr, "%s: no runtime\n", argv[0]);
        return 1;
    }
    int error = run_all(runtime);
    int destroy_error = bnx_runtime_destroy(runtime);
    return error == 0 && destroy_error == 0 ? 0 : 1;
}
