/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: processes and signals. */
#include "tests/matrix/matrix.h"

#include <bonxie/process.h>
#include <bonxie/signal.h>

static const int waited_for[] = {SIGUSR1};

/* In the main thread, before there are others. */
__attribute__((constructor)) static void block_signal(void) {
    (void)bnx_signal_block(waited_for, 1);
}

/* ---- Processes: cat, which ends when its input does ---- */

static char *const cat[] = {(char[]){"cat"}, NULL};

static void wait_prepare(struct matrix_place *place) {
    struct bnx_process_options options = {.argv = cat, .input = {.kind = BNX_STDIO_PIPE}};
    CHECK_EQ(bnx_scope_open(&place->scope, NULL), 0);
    CHECK_EQ(bnx_process_spawn(&place->scope, &options, &place->process), 0);
    place->fds[1] = bnx_process_take_pipe(place->process, 0);
    CHECK(place->fds[1] >= 0);
}

static int64_t wait_for_process(struct matrix_place *place) {
    return bnx_process_wait(place->process);
}

static void end_input(struct matrix_place *place) {
    CHECK_EQ(close(place->fds[1]), 0);
}

static void wait_end(struct matrix_place *place) {
    CHECK_EQ(bnx_scope_close(&place->scope), 0);
}

/* Its input is at its end: it is not there for long. */
static int64_t spawn_process(struct matrix_place *place) {
    struct bnx_process_options options = {.argv = cat, .input = {.kind = BNX_STDIO_NULL}};
    struct bnx_scope scope;
    (void)place;
    int error = bnx_scope_open(&scope, NULL);
    if (error != 0) {
        return error;
    }
    struct bnx_process *process;
    error = bnx_process_spawn(&scope, &options, &process);
    (void)bnx_scope_close(&scope);
    return error;
}

/* ---- Signals ---- */

static void next_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_signal_open(waited_for, 1, &place->signals), 0);
}

static int64_t next_signal(struct matrix_place *place) {
    return bnx_signal_next(place->signals, NULL);
}

static void next_pass(struct matrix_place *place) {
    (void)place;
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
}

/* None is left over for the next cell. */
static void next_end(struct matrix_place *place) {
    sigset_t pending;
    do { /* ends: the stream takes it */
        bnx_yield();
        CHECK_EQ(sigpending(&pending), 0);
    } while (sigismember(&pending, SIGUSR1) == 1);
    bnx_signal_close(place->signals);
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_process_wait", "it reads", wait_prepare, NULL, wait_for_process, end_input, wait_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_process_spawn", "on a thread of the pool", NULL, NULL, spawn_process, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_signal_next", "none comes", next_prepare, NULL, next_signal, next_pass, next_end,
     MATRIX_REFUSED(SIGUSR1), 0},
};
/* clang-format on */

const struct matrix_part matrix_process = {rows, BNX_ARRAY_COUNT(rows)};
