/* SPDX-License-Identifier: MIT */
/*
 * spinner: something moves on the terminal while a slow function runs.
 *
 * The spinner is a task with a ticker. When the slow function has returned, the spinner is
 * cancelled: its wait for the next tick says so, and it blanks its line.
 */
#include "runtime/examples/seconds.h"

#include <bonxie/bonxie.h>

#include <errno.h>
#include <stdio.h>

#define PERIOD_NS UINT64_C(100000000)

static int spin(void *arg) {
    const char *message = arg;
    static const char frames[] = "|/-\\";
    struct bnx_ticker ticker;
    int error = bnx_ticker_init(&ticker, PERIOD_NS, BNX_TICKER_SKIP);
    for (unsigned i = 0; error == 0; i++) { /* ends: it is cancelled */
        printf("\r%c %s", frames[i % 4], message);
        (void)fflush(stdout);
        error = bnx_ticker_next(&ticker, NULL);
    }
    printf("\r\x1b[K"); /* to the begin of the line, and clear it */
    (void)fflush(stdout);
    return error;
}

/* Pretends to think. */
static int think(uint64_t ns) {
    int error = bnx_sleep(ns);
    return error < 0 ? error : 42;
}

static int supervise(void *arg) {
    const struct bnx_seconds_options *slow = arg;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    error = bnx_spawn(&scope, spin, "thinking!");
    int answer = error == 0 ? think(slow->ns) : error;
    bnx_scope_cancel(&scope, 0);
    error = bnx_scope_close(&scope); /* the line is blank from here on */
    if (answer >= 0) {
        printf("Answer: %d\n", answer);
    }
    return answer < 0 ? answer : error == -ECANCELED ? 0 : error; /* the cancel was ours */
}

int main(int argc, char **argv) {
    struct bnx_seconds_options slow = {.seconds = "10"};
    int parsed = bnx_seconds_parse(argc, argv, "a spinner while a slow function runs", &slow);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    struct bnx_options options = {.worker_count = slow.worker_count};
    int result = bnx_main_with(&options, supervise, &slow);
    return result > 0 ? result : result < 0; /* 130 after Ctrl-C */
}
