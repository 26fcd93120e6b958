/* SPDX-License-Identifier: MIT */
/*
 * one_two_three: functions with a self pointer as tasks. Each prints its number and sleeps for half
 * a second; each is joined before the next one is spawned.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <stdio.h>

#define PAUSE_NS UINT64_C(500000000)

/* What the functions belong to: their argument, as `self` would be. */
struct counter {
    uint64_t pause_ns;
};

static int say(const struct counter *self, int number) {
    printf("%d\n", number);
    return bnx_sleep(self->pause_ns);
}

static int one(void *self) {
    return say(self, 1);
}

static int two(void *self) {
    return say(self, 2);
}

static int three(void *self) {
    return say(self, 3);
}

/* Runs one of the functions as a task and waits for it. */
static int run_joined(struct bnx_scope *scope, bnx_task_fn fn, struct counter *self) {
    struct bnx_task *task = NULL;
    int result = 0;
    int error = bnx_spawn_with(scope, NULL, fn, self, &task);
    error = error < 0 ? error : bnx_join(task, &result);
    return error < 0 ? error : result;
}

static int start(void *self) {
    static const bnx_task_fn functions[] = {one, two, three};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]) && error == 0; i++) {
        error = run_joined(&scope, functions[i], self);
    }
    int close_error = bnx_scope_close(&scope);
    printf("start\n");
    return error < 0 ? error : close_error;
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "methods as tasks: 1, 2, 3", &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct counter counter = {PAUSE_NS};
    return bnx_main_with(&options, start, &counter) == 0 ? 0 : 1;
}
