/* SPDX-License-Identifier: MIT */
/*
 * Sockets (bonxie/net.h): an inline syscall where it is likely to succeed, an op where it is not.
 *
 * A send is tried at once: a socket usually has room. Not where many tasks are ready (busy.h):
 * there all their sends are submitted together. A receive is tried at once only when a hint
 * says that data is there, because a failed recv(2) costs 9-14 % of a request; otherwise it goes to
 * the driver, with the others of this tick. A zero-copy send is the driver's from the beginning.
 *
 * Rejected: to try every receive at once. On 64 connections, each with one request under way, that
 * cost as much CPU as the hint (a ratio of 1.00, 30 rounds as in busy.h), for its tries fail; and a
 * stream's succeed, but those have the hint.
 */
#include <bonxie/net.h>

#include "io/hint.h"
#include "io/listener.h"
#include "io/op.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* As op.c for the operations that it begins again. */
#define CONNECTS_AGAIN_MAX 8
#define CONNECT_NAP_NS UINT64_C(1000000)

#define BACKLOG_DEFAULT 4096
/* The kernel itself transfers no more in one call; beyond, lengths would not fit its int. */
#define TRANSFER_BYTES_MAX ((size_t)0x7ffff000)
/* CQE flag of a receive: the socket holds more (Linux 5.19). Kernel ABI. */
#define RESULT_SOCK_NONEMPTY (1u << 2)

uint8_t bnx_hints[BNX_HINT_FDS];

/* ---- Listening ---- */

static int set_option(int fd, int level, int name) {
    int one = 1;
    return bnx_os.setsockopt(fd, level, name, &one, sizeof(one));
}

static const char *path_of(const struct bnx_address *address) {
    return ((const struct sockaddr_un *)(const void *)&address->storage)->sun_path;
}

static bool look_at_file(const struct bnx_address *address, struct statx *out_status) {
    int fields = STATX_TYPE | STATX_INO;
    return bnx_os.statx(AT_FDCWD, path_of(address), AT_SYMLINK_NOFOLLOW, (unsigned)fields,
                        out_status) == 0 &&
           S_ISSOCK(out_status->stx_mode); /* a connect to another kind is refused as well */
}

/* A unix socket's file that nobody listens on. */
static void remove_stale(const struct bnx_address *address) {
    int probe = bnx_os.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return;
    }
    const struct sockaddr *target = (const void *)&address->storage;
    if (bnx_os.connect(probe, target, address->bytes) == -ECONNREFUSED) {
        (void)bnx_os.unlinkat(AT_FDCWD, path_of(address), 0);
    }
    (void)bnx_os.close(probe);
}

void bnx_socket_file_note(struct bnx_socket_file *file, int listener) {
    struct statx status;
    memset(file, 0, sizeof(*file));
    if (bnx_address_local(listener, &file->address) != 0 ||
        file->address.storage.ss_family != AF_UNIX || path_of(&file->address)[0] == '\0' ||
        !look_at_file(&file->address, &status)) {
        file->address.bytes = 0;
        return;
    }
    file->inode = status.stx_ino;
    file->device[0] = status.stx_dev_major;
    file->device[1] = status.stx_dev_minor;
}

void bnx_socket_file_remove(const struct bnx_socket_file *file) {
    struct statx status;
    if (file->address.bytes == 0 || !look_at_file(&file->address, &status)) {
        return;
    }
    bool is_same = status.stx_ino == file->inode && status.stx_dev_major == file->device[0] &&
                   status.stx_dev_minor == file->device[1];
    if (is_same || BNX_PLANT(serve_removes_any_file)) {
        remove_stale(&file->address);
    }
}

static int prepare_listener(int fd, const struct bnx_address *address,
                            const struct bnx_listen_options *options) {
    int error = 0;
    bool is_unix = address->storage.ss_family == AF_UNIX;
    struct statx status;
    if (is_unix && path_of(address)[0] != '\0' && look_at_file(address, &status)) {
        remove_stale(address); /* it is in the way; bind says what is wrong if this did not help */
    }
    if (!is_unix) {
        if (options->no_reuse_addr == 0) {
            error = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
        }
        /* Accepted sockets inherit it: no syscall a connection. */
        if (error == 0) {
            error = set_option(fd, IPPROTO_TCP, TCP_NODELAY);
        }
    }
    if (error == 0 && options->reuse_port != 0) {
        error = set_option(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (error == 0) {
        error = bnx_os.bind(fd, (const struct sockaddr *)&address->storage, address->bytes);
    }
    if (error == 0 && is_unix && options->mode != 0) {
        const char *path = path_of(address);
        error = path[0] != '\0' ? bnx_os.chmod(path, (mode_t)options->mode) : 0;
    }
    if (error == 0) {
        error = bnx_os.listen(fd, options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT);
    }
    return error;
}

int bnx_listen(const char *address, const struct bnx_listen_options *options) {
    static const struct bnx_listen_options defaults;
    struct bnx_address parsed;
    int error = bnx_address_parse(address, &parsed);
    if (error != 0) {
        return error;
    }
    int fd = bnx_os.socket(parsed.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fd;
    }
    error = prepare_listener(fd, &parsed, options != NULL ? options : &defaults);
    if (error != 0) {
        (void)bnx_os.close(fd);
        return error;
    }
    bnx_hint_clear(fd);
    return fd;
}

/* ---- Accepting and connecting ---- */

/* Accepts what is there. -EAGAIN also where the listener could block: it is not ours, or not any
 * more. */
static int accept_now(int listener, struct sockaddr *storage, socklen_t *bytes) {
    int flags = bnx_os.fcntl(listener, F_GETFL, 0);
    if (flags < 0 || (flags & O_NONBLOCK) == 0) {
        return -EAGAIN;
    }
    if (bytes != NULL) {
        *bytes = sizeof(struct sockaddr_storage);
    }
    return bnx_os.accept4(listener, storage, bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* After an accept that was ended. The kernel wakes one waiter a connection, and that may have been
 * this one; but by now the listener may be closed. */
static int accept_late(struct bnx_fd_steps *steps, struct sockaddr *storage, socklen_t *bytes) {
    int fd = bnx_fd_step_begin_here(steps);
    if (fd != 0 && BNX_PLANT(accept_late_unseen)) {
        return accept_now(steps->fd, storage, bytes);
    }
    if (fd == 0) {
        fd = accept_now(steps->fd, storage, bytes);
        bnx_fd_step_end(steps);
    }
    return fd;
}

int bnx_accept(int listener, struct bnx_address *out_peer) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    struct bnx_fd_steps steps;
    struct bnx_address peer;
    bnx_fd_steps_init(&steps, listener);
    memset(&peer, 0, sizeof(peer));
    peer.bytes = sizeof(peer.storage);
    struct sockaddr *storage = out_peer != NULL ? (struct sockaddr *)&peer.storage : NULL;
    socklen_t *bytes = out_peer != NULL ? &peer.bytes : NULL;
    int fd = -EAGAIN;
    /* Connections come in bursts: after one, the next is probably there. */
    if (bnx_hint_has(listener, BNX_HINT_READABLE)) {
        fd = accept_now(listener, storage, bytes);
        bnx_hint_set(listener, BNX_HINT_READABLE, fd >= 0);
        if (fd >= 0) {
            bnx_task_spend(self);
        }
    }
    if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED) {
        peer.bytes = sizeof(peer.storage);
        struct bnx_op op = {.kind = BNX_OP_ACCEPT,
                            .fd = listener,
                            .buffer = storage,
                            .other = bytes,
                            .flags = SOCK_CLOEXEC | SOCK_NONBLOCK};
        fd = (int)bnx_op_run(&op, BNX_WAIT_ACCEPT);
        if (op.result == -ECANCELED || op.result == -EINTR) {
            int late = op.is_closed ? -EBADF : accept_late(&steps, storage, bytes);
            fd = late >= 0 ? late : fd;
        }
        bnx_hint_set(listener, BNX_HINT_READABLE, fd >= 0);
    }
    if (fd < 0) {
        return fd;
    }
    bnx_hint_clear(fd);
    bnx_hint_set(fd, BNX_HINT_SOCKET, true);
    if (out_peer != NULL) {
        *out_peer = peer;
    }
    return fd;
}

static int connect_once(const struct bnx_address *address) {
    int family = address->storage.ss_family;
    /* A unix listener whose queue is full turns a non-blocking socket away with EAGAIN. */
    int nonblock = family != AF_UNIX ? SOCK_NONBLOCK : 0;
    int fd = bnx_os.socket(family, SOCK_STREAM | SOCK_CLOEXEC | nonblock, 0);
    if (fd < 0) {
        return fd;
    }
    if (family != AF_UNIX) {
        (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY); /* slower without, not wrong */
    }
    struct bnx_address target = *address;
    struct bnx_op op = {
        .kind = BNX_OP_CONNECT, .fd = fd, .buffer = &target.storage, .bytes = target.bytes};
    int error = (int)bnx_op_run(&op, BNX_WAIT_CONNECT);
    if (error == 0 && nonblock == 0) {
        error = bnx_os.fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    }
    if (error != 0) {
        (void)bnx_os.close(fd);
        return error;
    }
    bnx_hint_clear(fd);
    bnx_hint_set(fd, BNX_HINT_SOCKET, true);
    return fd;
}

int bnx_connect_to(const struct bnx_address *address) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    if (address == NULL) {
        return -EINVAL;
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    int result = connect_once(address);
    /* Ended unasked (op.c): what came of it cannot be seen, so another socket is asked. */
    for (int again = 0; (result == -ECANCELED || result == -EINTR) && again < CONNECTS_AGAIN_MAX &&
                        bnx_task_cancel_check(self) == 0 && !BNX_PLANT(connect_unasked_is_told);
         again++) {
        bnx_task_nap(self, CONNECT_NAP_NS);
        result = connect_once(address);
    }
    return result;
}

int bnx_connect(const char *address) {
    struct bnx_address parsed;
    int error = bnx_address_parse(address, &parsed);
    return error != 0 ? error : bnx_connect_to(&parsed);
}

/* ---- Transferring ---- */

ssize_t bnx_recv(int fd, void *buffer, size_t bytes, int flags) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    bytes = bytes < TRANSFER_BYTES_MAX ? bytes : TRANSFER_BYTES_MAX;
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    /* Inline, MSG_WAITALL would end with what is there. */
    bool is_likely = bnx_hint_has(fd, BNX_HINT_READABLE) && (flags & MSG_WAITALL) == 0;
    if (is_likely || (flags & MSG_DONTWAIT) != 0) {
        ssize_t got = bnx_os.recv(fd, buffer, bytes, flags | MSG_DONTWAIT);
        bnx_hint_set(fd, BNX_HINT_READABLE, got > 0 && (size_t)got == bytes);
        if ((got != -EAGAIN && got != -EINTR) || (flags & MSG_DONTWAIT) != 0) {
            bnx_task_spend(self);
            return got;
        }
    }
    struct bnx_op op = {
        .kind = BNX_OP_RECV, .fd = fd, .buffer = buffer, .bytes = bytes, .flags = flags};
    ssize_t got = bnx_op_run(&op, BNX_WAIT_RECV);
    if (got > 0) {
        bnx_hint_set(fd, BNX_HINT_SOCKET, true);
        bnx_hint_set(fd, BNX_HINT_READABLE,
                     (op.result_flags & RESULT_SOCK_NONEMPTY) != 0 || (size_t)got == bytes);
    }
    return got;
}

/* Many tasks are ready: their sends are submitted together. */
static bool sends_with_others(const struct bnx_task *self, int flags) {
    return (flags & MSG_DONTWAIT) == 0 && self->class != BNX_CLASS_LATENCY &&
           bnx_io_driver_of(bnx_driver_current())->busy.is_busy;
}

ssize_t bnx_send(int fd, const void *buffer, size_t bytes, int flags) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    bytes = bytes < TRANSFER_BYTES_MAX ? bytes : TRANSFER_BYTES_MAX;
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    bool is_tried = !sends_with_others(self, flags);
    if (is_tried) {
        ssize_t sent = bnx_os.send(fd, buffer, bytes, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
        if ((sent != -EAGAIN && sent != -EINTR) || (flags & MSG_DONTWAIT) != 0) {
            bnx_task_spend(self);
            return sent;
        }
    }
    struct bnx_op op = {.kind = BNX_OP_SEND,
                        .fd = fd,
                        .buffer = (void *)(uintptr_t)buffer,
                        .bytes = bytes,
                        .flags = flags | MSG_NOSIGNAL,
                        .was_tried = is_tried};
    return bnx_op_run(&op, BNX_WAIT_SEND);
}

/* Begins a part of a transfer. All but the first follow one that may have waited: steps. */
static ssize_t part_begin(struct bnx_fd_steps *steps, size_t done) {
    return done > 0 && !BNX_PLANT(exact_is_unseen) ? bnx_fd_step_begin_here(steps) : 0;
}

static void part_end(struct bnx_fd_steps *steps, size_t done) {
    if (done > 0 && !BNX_PLANT(exact_is_unseen)) {
        bnx_fd_step_end(steps);
    }
}

ssize_t bnx_recv_exact(int fd, void *buffer, size_t bytes) {
    struct bnx_fd_steps steps;
    size_t done = 0;
    bnx_fd_steps_init(&steps, fd);
    while (done < bytes) { /* ends: progress, the end of the stream, or an error */
        ssize_t got = part_begin(&steps, done);
        if (got == 0) {
            got = bnx_recv(fd, (char *)buffer + done, bytes - done, 0);
            part_end(&steps, done);
        }
        if (got < 0) {
            return done > 0 ? (ssize_t)done : got;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

ssize_t bnx_send_all(int fd, const void *buffer, size_t bytes) {
    struct bnx_fd_steps steps;
    size_t done = 0;
    bnx_fd_steps_init(&steps, fd);
    while (done < bytes) { /* ends: progress or an error */
        ssize_t sent = part_begin(&steps, done);
        if (sent == 0) {
            sent = bnx_send(fd, (const char *)buffer + done, bytes - done, 0);
            part_end(&steps, done);
        }
        if (sent < 0) {
            return done > 0 ? (ssize_t)done : sent;
        }
        done = BNX_PLANT(short_send_is_whole) ? bytes : done + (size_t)sent;
    }
    return (ssize_t)done;
}

/* The kernel, this socket, or the memory that may be locked allow of no sending without a copy. */
static bool needs_copy(ssize_t error) {
    return (error == -EOPNOTSUPP || error == -ENOMEM || error == -ENOBUFS) &&
           !BNX_PLANT(zerocopy_or_nothing);
}

/* One operation for all of it, since each waits until the peer has what it sent; and one alone,
 * since the descriptor may be closed during that, and its number another's. */
ssize_t bnx_send_zerocopy(int fd, const void *buffer, size_t bytes) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    bool has_ring = bnx_io_ops_of(bnx_driver_current())->start != NULL;
    if (!has_ring || bytes == 0) {
        return bnx_send_all(fd, buffer, bytes);
    }
    struct bnx_fd_steps steps;
    bnx_fd_steps_init(&steps, fd);
    struct bnx_op op = {.kind = BNX_OP_SEND_ZEROCOPY,
                        .fd = fd,
                        .buffer = (void *)(uintptr_t)buffer,
                        .bytes = bytes < TRANSFER_BYTES_MAX ? bytes : TRANSFER_BYTES_MAX,
                        .flags = MSG_WAITALL | MSG_NOSIGNAL};
    ssize_t sent = bnx_op_run(&op, BNX_WAIT_SEND);
    if (!needs_copy(sent) || op.is_closed) {
        return sent;
    }
    sent = bnx_fd_step_begin_here(&steps);
    if (sent == 0) {
        sent = bnx_send_all(fd, buffer, bytes);
        bnx_fd_step_end(&steps);
    }
    return sent;
}

int bnx_shutdown(int fd, int how) {
    return bnx_os.shutdown(fd, how);
}
