/* SPDX-License-Identifier: MIT */
/*
 * timer: a timer with a callback.
 *
 * The main task starts the timer and waits until it fires; the callback, a task of its own, says
 * so. Destroying the timer waits until the callback is over.
 */
#include "runtime/examples/seconds.h"

#include <bonxie/bonxie.h>

#include <stdio.h>

static void say_done(struct bnx_timer *timer, void *arg) {
    (void)timer;
    printf("%s\n", (const char *)arg);
}

static int run(void *arg) {
    const struct bnx_seconds_options *wait = arg;
    struct bnx_timer_options options = {.fn = say_done, .arg = ">>> Done", .name = "say_done"};
    struct bnx_timer *timer = NULL;
    int error = bnx_timer_create(&timer, &options);
    if (error < 0) {
        return error;
    }
    printf("Waiting %ss ...\n", wait->seconds);
    (void)fflush(stdout);
    error = bnx_timer_start_after(timer, wait->ns);
    if (error == 0) {
        error = bnx_timer_wait(timer);
    }
    bnx_timer_destroy(timer); /* the callback does not run any more */
    return error;
}

int main(int argc, char **argv) {
    struct bnx_seconds_options wait = {.seconds = "30"};
    int parsed = bnx_seconds_parse(argc, argv, "a timer calls back after a while", &wait);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct bnx_options options = {.worker_count = wait.worker_count};
    int result = bnx_main_with(&options, run, &wait);
    return result > 0 ? result : result < 0; /* 130 after Ctrl-C */
}
