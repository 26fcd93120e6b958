/* SPDX-License-Identifier: MIT */
/*
 * The terminal: keys as they are pressed, its size, and its old mode back at the end.
 *
 *     BNX_WITH_SCOPE(scope, NULL, &error) {
 *         bnx_terminal_raw(&scope, STDIN_FILENO, BNX_TERMINAL_SIGNALS);
 *         while (bnx_read(STDIN_FILENO, &key, 1) == 1) {
 *             ...
 *         }
 *     }
 *
 * The old mode comes back when the scope closes, so also when it is cancelled: by a deadline, by
 * the SIGINT or SIGTERM that bnx_main turns into a cancel. It does not come back where the process
 * is ended from outside the scope: by SIGKILL, a crash, _exit, a second SIGINT under bnx_main;
 * there `stty sane` helps.
 *
 * Its size may change: SIGWINCH says so (signal.h), in the foreground process group.
 */
#ifndef BONXIE_TERMINAL_H
#define BONXIE_TERMINAL_H

#include <bonxie/base.h>
#include <bonxie/scope.h>

BNX_EXTERN_C_BEGIN

enum bnx_terminal_flags {
    BNX_TERMINAL_SIGNALS = 1u << 0 /* Ctrl-C, Ctrl-Z, Ctrl-\ remain signals; else they are keys */
};

/**
 * Puts a terminal into raw mode until the scope closes: each key comes at once, unechoed and
 * unchanged; output is written as it is, so that a new line takes "\r\n".
 * @param scope opened by the calling task, not NULL.
 * @param fd of the terminal: open as long as the scope.
 * @param flags enum bnx_terminal_flags.
 * Returns 0; -ENOTTY: no terminal; -EBADF; -EIO: it has hung up; -EINVAL: an unknown flag, no
 * scope; -EPERM: off a task, or the scope is not the caller's own; -ENOMEM. On failure the mode is
 * as it was.
 * Context: task; never suspends.
 */
BNX_API int bnx_terminal_raw(struct bnx_scope *scope, int fd, unsigned flags);

struct bnx_terminal_size {
    unsigned columns; /* 0: it does not say */
    unsigned rows;    /* 0: it does not say */
};

/**
 * Says how large a terminal is now.
 * Returns 0; -ENOTTY: no terminal; -EBADF. Context: any thread; never suspends.
 */
BNX_API int bnx_terminal_size(int fd, struct bnx_terminal_size *out_size);

BNX_EXTERN_C_END

#endif
