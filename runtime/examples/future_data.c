/* SPDX-License-Identifier: MIT */
/* future_data: one task sleeps and then sets a future, another awaits it; a second set fails. */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <errno.h>
#include <stdio.h>

#define PAUSE_NS UINT64_C(300000000)

static int set_after_sleep(void *arg) {
    struct bnx_future *future = arg;
    int error = bnx_sleep(PAUSE_NS);
    return error < 0 ? bnx_future_fail(future, error) : bnx_future_set(future, "data");
}

static int print_value(void *arg) {
    void *value = NULL;
    int error = bnx_future_await(arg, &value);
    if (error == 0) {
        printf("%s\n", (const char *)value);
    }
    return error;
}

static int set_and_print(struct bnx_future *future) {
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    error = bnx_spawn(&scope, print_value, future);
    error = error < 0 ? error : bnx_spawn(&scope, set_after_sleep, future);
    if (error < 0) {
        bnx_scope_cancel(&scope, error);
    }
    int close_error = bnx_scope_close(&scope);
    return error < 0 ? error : close_error;
}

static int run(void *arg) {
    (void)arg;
    struct bnx_future *future = NULL;
    int error = bnx_future_create(&future);
    if (error < 0) {
        return error;
    }
    error = set_and_print(future);
    if (error == 0 && bnx_future_set(future, "more data") == -EALREADY) {
        printf("set again: it was set already\n");
    }
    bnx_future_unref(future);
    return error;
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "a value that somebody sets", &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    return bnx_main_with(&options, run, NULL) == 0 ? 0 : 1;
}
