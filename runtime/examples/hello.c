/* SPDX-License-Identifier: MIT */
/*
 * hello: three tasks in one scope, each with an argument, a wait and a result.
 *
 * The tasks sleep at the same time, the first one longest; the main task joins them in the order of
 * spawning. So the output is always the same.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <stdio.h>

#define GREETERS 3

struct greeter {
    int number;        /* in the order of spawning, from 1 */
    uint64_t sleep_ns; /* how long it waits before it answers */
};

static int greet(void *arg) {
    const struct greeter *greeter = arg;
    int error = bnx_sleep(greeter->sleep_ns);
    return error < 0 ? error : greeter->number * greeter->number;
}

static int run(void *arg) {
    (void)arg;
    struct greeter greeters[GREETERS];
    struct bnx_task *tasks[GREETERS] = {NULL};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (int i = 0; i < GREETERS && error == 0; i++) {
        greeters[i] = (struct greeter){i + 1, (uint64_t)(GREETERS - i) * 1000000};
        error = bnx_spawn_with(&scope, NULL, greet, &greeters[i], &tasks[i]);
    }
    for (int i = 0; i < GREETERS && error == 0; i++) {
        int result = 0;
        error = bnx_join(tasks[i], &result);
        if (error == 0) {
            printf("hello from task %d: its square is %d\n", i + 1, result);
        }
    }
    int close_error = bnx_scope_close(&scope); /* nothing of ours runs any more */
    return error < 0 ? error : close_error;
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "three tasks say hello", &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    return bnx_main_with(&options, run, NULL) == 0 ? 0 : 1;
}
