/* SPDX-License-Identifier: MIT */
/* Operations as system calls (perform.h). */
#include "io/perform.h"

#include "io/hint.h"

#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8 /* Linux 4.14; kernel ABI */
#endif

unsigned bnx_op_events(const struct bnx_op *op) {
    switch (op->kind) {
    case BNX_OP_READ:
    case BNX_OP_READV:
    case BNX_OP_RECV:
    case BNX_OP_RECVMSG:
    case BNX_OP_ACCEPT:
        return POLLIN;
    case BNX_OP_WRITE:
    case BNX_OP_WRITEV:
    case BNX_OP_SEND:
    case BNX_OP_SENDMSG:
    case BNX_OP_CONNECT:
        return POLLOUT;
    case BNX_OP_POLL:
        return (unsigned)op->flags;
    default: /* a file's, or a path's */
        return 0;
    }
}

static off_t position_of(const struct bnx_op *op) {
    return op->offset == UINT64_MAX ? -1 : (off_t)op->offset;
}

/* What RWF_NOSIGNAL means to this kernel: 0 not known yet; relaxed, since all find the same. */
enum { NO_SIGNAL_ABSENT = 1, NO_SIGNAL_THERE = 2 };
static uint32_t no_signal;

static uint32_t ask_for_no_signal(void) {
    int fds[2];
    struct iovec byte = {(void *)(uintptr_t) "", 1};
    if (bnx_os.pipe2(fds, O_CLOEXEC) != 0) {
        return 0; /* out of descriptors: ask again */
    }
    bool is_there = bnx_os.pwritev(fds[1], &byte, 1, -1, RWF_NOSIGNAL) == 1;
    (void)bnx_os.close(fds[0]);
    (void)bnx_os.close(fds[1]);
    return is_there ? NO_SIGNAL_THERE : NO_SIGNAL_ABSENT;
}

int bnx_op_write_flags(void) {
    uint32_t known = bnx_load_relaxed(&no_signal); /* see there */
    if (known == 0) {
        known = ask_for_no_signal();
        bnx_store_relaxed(&no_signal, known); /* see there */
    }
    return known == NO_SIGNAL_THERE && !BNX_PLANT(write_signals) ? RWF_NOSIGNAL : 0;
}

/* Files that know no flags at all, an eventfd for instance, raise no signal either. */
static ssize_t write_quietly(const struct bnx_op *op, const struct iovec *parts, int count,
                             int flags) {
    off_t position = position_of(op);
    ssize_t result = bnx_os.pwritev(op->fd, parts, count, position, flags | bnx_op_write_flags());
    return result != -EOPNOTSUPP ? result : bnx_os.pwritev(op->fd, parts, count, position, flags);
}

/* Reads and writes, whole or in parts. */
static ssize_t transfer(const struct bnx_op *op, int flags) {
    struct iovec whole = {op->buffer, op->bytes};
    bool is_whole = op->kind == BNX_OP_READ || op->kind == BNX_OP_WRITE;
    const struct iovec *parts = is_whole ? &whole : op->buffer;
    int count = is_whole ? 1 : (int)op->bytes;
    flags |= is_whole ? 0 : op->flags;
    return op->kind == BNX_OP_READ || op->kind == BNX_OP_READV
               ? bnx_os.preadv(op->fd, parts, count, position_of(op), flags)
               : write_quietly(op, parts, count, flags);
}

/* With O_DIRECT even what does not wait for a page waits for the disk. */
static ssize_t transfer_now(const struct bnx_op *op) {
    bnx_hint_look(op->fd);
    return bnx_hint_has(op->fd, BNX_HINT_DIRECT) ? -EOPNOTSUPP : transfer(op, RWF_NOWAIT);
}

static ssize_t poll_now(const struct bnx_op *op) {
    struct pollfd ready = {.fd = op->fd, .events = (short)op->flags};
    int count = bnx_os.poll(&ready, 1, 0);
    if (count <= 0) {
        return count < 0 ? count : -EAGAIN;
    }
    return (ready.revents & POLLNVAL) != 0 ? -EBADF : ready.revents;
}

/* Of a file that epoll has refused: what is not there never comes. */
static ssize_t poll_always_ready(const struct bnx_op *op) {
    ssize_t result = poll_now(op);
    return result == -EAGAIN ? -EPERM : result;
}

/* Whether nobody comes at a listener. */
static bool is_listener_idle(int fd) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int listens = 0;
    socklen_t bytes = sizeof(listens);
    return bnx_os.poll(&ready, 1, 0) == 0 &&
           bnx_os.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && listens != 0;
}

/* A listener that blocks is not ours, or not any more. It is asked first; but of several who are
 * told that somebody comes one alone gets him: the accept itself is for a thread that may wait. */
static ssize_t accept_now(const struct bnx_op *op) {
    int flags = bnx_os.fcntl(op->fd, F_GETFL, 0);
    if (flags < 0) {
        return flags;
    }
    if ((flags & O_NONBLOCK) == 0 && !BNX_PLANT(accept_blocks)) {
        return is_listener_idle(op->fd) ? -EAGAIN : -EOPNOTSUPP;
    }
    return bnx_os.accept4(op->fd, op->buffer, op->other, op->flags);
}

/* Again while it is under way: the call then tells what became of it. A unix socket blocks (net.c
 * says why), so it is tried without. */
static ssize_t connect_now(const struct bnx_op *op) {
    const struct sockaddr *address = op->buffer;
    bool is_unix = address->sa_family == AF_UNIX;
    if (is_unix) {
        (void)bnx_os.fcntl(op->fd, F_SETFL, O_RDWR | O_NONBLOCK);
    }
    int error = bnx_os.connect(op->fd, address, (socklen_t)op->bytes);
    if (is_unix) {
        (void)bnx_os.fcntl(op->fd, F_SETFL, O_RDWR);
        return error == -EAGAIN ? -EOPNOTSUPP : error; /* its queue is full: nothing polls that */
    }
    return error == -EINPROGRESS || error == -EALREADY ? -EAGAIN : error;
}

/* Profiles of seccomp that are older than openat2(2) refuse it. Where no rule of its own is asked
 * for (RESOLVE_*, flags that an int does not hold) openat(2) does the same, except that it takes
 * flags that it does not know, and a mode where no file is made. Where the EPERM is the file's it
 * comes again. */
static int open_file(const struct bnx_op *op) {
    const struct open_how *how = op->other;
    int fd = bnx_os.openat2(op->fd, op->buffer, how);
    bool is_refused = fd == -ENOSYS || fd == -EPERM;
    if (!is_refused || how->resolve != 0 || how->flags > INT_MAX || BNX_PLANT(open_no_fallback)) {
        return fd;
    }
    return bnx_os.openat(op->fd, op->buffer, (int)how->flags, (mode_t)how->mode);
}

ssize_t bnx_op_try(const struct bnx_op *op) {
    switch (op->kind) {
    case BNX_OP_READ:
    case BNX_OP_WRITE:
    case BNX_OP_READV:
    case BNX_OP_WRITEV:
        return transfer_now(op);
    case BNX_OP_RECV:
        return bnx_os.recv(op->fd, op->buffer, op->bytes, op->flags | MSG_DONTWAIT);
    case BNX_OP_SEND:
        return bnx_os.send(op->fd, op->buffer, op->bytes, op->flags | MSG_DONTWAIT);
    case BNX_OP_RECVMSG:
        return bnx_os.recvmsg(op->fd, op->buffer, op->flags | MSG_DONTWAIT);
    case BNX_OP_SENDMSG:
        return bnx_os.sendmsg(op->fd, op->buffer, op->flags | MSG_DONTWAIT);
    case BNX_OP_ACCEPT:
        return accept_now(op);
    case BNX_OP_CONNECT:
        return connect_now(op);
    case BNX_OP_POLL:
        return poll_now(op);
    default:
        return -EOPNOTSUPP;
    }
}

ssize_t bnx_op_perform(const struct bnx_op *op) {
    switch (op->kind) {
    case BNX_OP_READ:
    case BNX_OP_WRITE:
    case BNX_OP_READV:
    case BNX_OP_WRITEV:
        return transfer(op, 0);
    case BNX_OP_SENDMSG:
        return bnx_os.sendmsg(op->fd, op->buffer, op->flags);
    case BNX_OP_ACCEPT:
        return bnx_os.accept4(op->fd, op->buffer, op->other, op->flags);
    case BNX_OP_CONNECT:
        return bnx_os.connect(op->fd, op->buffer, (socklen_t)op->bytes);
    case BNX_OP_POLL:
        return poll_always_ready(op);
    case BNX_OP_OPEN:
        return open_file(op);
    case BNX_OP_FSYNC:
        return bnx_os.fsync(op->fd, (op->flags & BNX_FSYNC_DATA) != 0);
    case BNX_OP_FALLOCATE:
        return bnx_os.fallocate(op->fd, (int)op->bytes, (off_t)op->offset, (off_t)op->length);
    case BNX_OP_STATX:
        return bnx_os.statx(op->fd, op->buffer, op->flags, (unsigned)op->bytes, op->other);
    case BNX_OP_RENAME:
        return bnx_os.renameat(op->fd, op->buffer, op->fd2, op->other, (unsigned)op->flags);
    case BNX_OP_UNLINK:
        return bnx_os.unlinkat(op->fd, op->buffer, op->flags);
    case BNX_OP_MKDIR:
        return bnx_os.mkdirat(op->fd, op->buffer, (mode_t)op->bytes);
    case BNX_OP_LINK:
        return bnx_os.linkat(op->fd, op->buffer, op->fd2, op->other, op->flags);
    case BNX_OP_SYMLINK:
        return bnx_os.symlinkat(op->buffer, op->fd2, op->other);
    case BNX_OP_RAW:
        return -ENOSYS;
    default: /* always pollable */
        return -EOPNOTSUPP;
    }
}
