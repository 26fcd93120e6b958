/* SPDX-License-Identifier: MIT */
/*
 * Raw mode and size of a terminal (bonxie/terminal.h).
 *
 * Modes are set at once, never after the output has drained: a terminal that is stopped, or that
 * nobody reads, would hold the worker. A background process may set them too, because workers block
 * SIGTTOU.
 */
#include <bonxie/terminal.h>

#include "runtime/check.h"
#include "runtime/os.h"
#include "runtime/task_pvt.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <termios.h>

/* What a raw terminal goes back to. */
struct restore {
    int fd;
    struct termios before;
};

static void restore(void *arg) {
    struct restore *self = arg;
    if (!BNX_PLANT(terminal_stays_raw)) {
        (void)bnx_os.terminal_set(self->fd, &self->before); /* fails where it has hung up */
    }
    bnx_os.release(self);
}

static struct termios raw_mode(const struct termios *before, unsigned flags) {
    struct termios raw = *before;
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1; /* a read waits for one key, and for no more */
    raw.c_cc[VTIME] = 0;
    if ((flags & BNX_TERMINAL_SIGNALS) != 0) {
        raw.c_lflag |= ISIG;
    }
    return raw;
}

int bnx_terminal_raw(struct bnx_scope *scope, int fd, unsigned flags) {
    if (bnx_task_current() == NULL) {
        return bnx_off_task_error();
    }
    if (scope == NULL || (flags & ~(unsigned)BNX_TERMINAL_SIGNALS) != 0) {
        return -EINVAL;
    }
    struct termios before;
    int error = bnx_os.terminal_get(fd, &before);
    if (error != 0) {
        return error;
    }
    struct restore *self = bnx_os.allocate(sizeof(*self), _Alignof(struct restore));
    if (self == NULL) {
        return -ENOMEM;
    }
    *self = (struct restore){fd, before};
    error = bnx_defer(scope, restore, self);
    if (error != 0) {
        bnx_os.release(self);
        return error;
    }
    struct termios raw = raw_mode(&before, flags);
    return bnx_os.terminal_set(fd, &raw); /* where it fails, the scope sets the same mode again */
}

int bnx_terminal_size(int fd, struct bnx_terminal_size *out_size) {
    struct winsize size;
    int error = bnx_os.terminal_size(fd, &size);
    if (error == 0) {
        *out_size = (struct bnx_terminal_size){size.ws_col, size.ws_row};
    }
    return error;
}
