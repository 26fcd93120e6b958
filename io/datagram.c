/* SPDX-License-Identifier: MIT */
/*
 * Messages and datagrams (bonxie/datagram.h): an inline syscall where it is likely to succeed, an
 * op where it is not, as in net.c.
 *
 * A unix datagram that goes to a name, rather than to the connected peer, waits for room in that
 * one's queue, of which poll(2) says nothing: it calls the socket writable. So a thread of the pool
 * makes the call, which blocks (blocking.h); the task is cancelled as in any op.
 */
#include <bonxie/datagram.h>

#include "io/hint.h"
#include "io/op.h"

#include "runtime/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>

/* A batch goes to the kernel in groups of so many; a header takes 80 bytes of stack. */
#define GROUP 32
/* A socket whose error queue nobody reads is ready for ever and has nothing: so long between two
 * tries. */
#define ERROR_NAP_NS BNX_NS_PER_MS
/* CQE flag of a receive: the socket holds more (Linux 5.19). Kernel ABI. */
#define RESULT_SOCK_NONEMPTY (1u << 2)

/* ---- Opening ---- */

static const struct sockaddr *sockaddr_of(const struct bnx_address *address) {
    return (const struct sockaddr *)&address->storage;
}

/* The file of a unix socket's address; NULL: it has none. */
static const char *path_of(const struct bnx_address *address) {
    const struct sockaddr_un *name = (const void *)&address->storage;
    bool is_path = address->storage.ss_family == AF_UNIX && name->sun_path[0] != '\0';
    return is_path ? name->sun_path : NULL;
}

/* A file that nobody receives on any more is in the way of bind. */
static void remove_stale(const struct bnx_address *address) {
    struct statx status;
    const char *path = path_of(address);
    if (path == NULL ||
        bnx_os.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status) != 0 ||
        !S_ISSOCK(status.stx_mode)) {
        return; /* a connect to a file of another kind is refused as well */
    }
    int probe = bnx_os.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return;
    }
    if (bnx_os.connect(probe, sockaddr_of(address), address->bytes) == -ECONNREFUSED) {
        (void)bnx_os.unlinkat(AT_FDCWD, path, 0); /* bind says what is wrong if this did not help */
    }
    (void)bnx_os.close(probe);
}

static int set_option(int fd, int name) {
    int one = 1;
    return bnx_os.setsockopt(fd, SOL_SOCKET, name, &one, sizeof(one));
}

static int set_options(int fd, const struct bnx_datagram_options *options) {
    int error = options->reuse_port != 0 ? set_option(fd, SO_REUSEPORT) : 0;
    return error == 0 && options->broadcast != 0 ? set_option(fd, SO_BROADCAST) : error;
}

/* Binds and connects to those that have a length. */
static int attach(int fd, const struct bnx_address *local, const struct bnx_address *peer,
                  unsigned mode) {
    int error = 0;
    const char *path = path_of(local);
    if (local->bytes != 0) {
        remove_stale(local);
        error = bnx_os.bind(fd, sockaddr_of(local), local->bytes);
        if (error != 0) {
            return error;
        }
        if (path != NULL && mode != 0) {
            error = bnx_os.chmod(path, (mode_t)mode);
        }
    }
    if (error == 0 && peer->bytes != 0) {
        error = bnx_os.connect(fd, sockaddr_of(peer), peer->bytes);
    }
    if (error != 0 && path != NULL) {
        (void)bnx_os.unlinkat(AT_FDCWD, path, 0);
    }
    return error;
}

/* NULL gives no address: length 0. */
static int parse(const char *text, struct bnx_address *out) {
    memset(out, 0, sizeof(*out));
    return text != NULL ? bnx_address_parse(text, out) : 0;
}

int bnx_datagram_open(const char *local, const char *peer,
                      const struct bnx_datagram_options *options) {
    static const struct bnx_datagram_options defaults;
    struct bnx_address from, to;
    if ((local == NULL && peer == NULL) || parse(local, &from) != 0 || parse(peer, &to) != 0) {
        return -EINVAL;
    }
    int family = local != NULL ? from.storage.ss_family : to.storage.ss_family;
    if (peer != NULL && to.storage.ss_family != family) {
        return -EINVAL;
    }
    options = options != NULL ? options : &defaults;
    /* A unix socket blocks, for the pool's sake: no other call here relies on its not blocking. */
    int nonblock = family != AF_UNIX ? SOCK_NONBLOCK : 0;
    int fd = bnx_os.socket(family, SOCK_DGRAM | SOCK_CLOEXEC | nonblock, 0);
    if (fd < 0) {
        return fd;
    }
    int error = set_options(fd, options);
    if (error == 0) {
        error = attach(fd, &from, &to, options->mode);
    }
    if (error != 0) {
        (void)bnx_os.close(fd);
        return error;
    }
    bnx_hint_clear(fd);
    bnx_hint_set(fd, BNX_HINT_SOCKET, true);
    return fd;
}

/* ---- One message ---- */

/* Returns the calling task where it may go on; else NULL with the error. */
static struct bnx_task *enter(int *out_error) {
    struct bnx_task *self = bnx_task_current();
    *out_error = self != NULL ? bnx_task_cancel_check(self) : bnx_off_task_error();
    return *out_error == 0 ? self : NULL;
}

ssize_t bnx_recvmsg(int fd, struct msghdr *message, int flags) {
    int error;
    struct bnx_task *self = enter(&error);
    if (self == NULL) {
        return error;
    }
    if ((flags & MSG_WAITALL) != 0) {
        return -EINVAL;
    }
    if (bnx_hint_has(fd, BNX_HINT_READABLE) || (flags & MSG_DONTWAIT) != 0) {
        ssize_t got = bnx_os.recvmsg(fd, message, flags | MSG_DONTWAIT);
        bnx_hint_set(fd, BNX_HINT_READABLE, got >= 0);
        if ((got != -EAGAIN && got != -EINTR) || (flags & MSG_DONTWAIT) != 0) {
            bnx_task_spend(self);
            return got;
        }
    }
    struct bnx_op op = {.kind = BNX_OP_RECVMSG, .fd = fd, .buffer = message, .flags = flags};
    ssize_t got = bnx_op_run(&op, BNX_WAIT_RECV);
    if (got >= 0) {
        bnx_hint_set(fd, BNX_HINT_SOCKET, true);
        bnx_hint_set(fd, BNX_HINT_READABLE, (op.result_flags & RESULT_SOCK_NONEMPTY) != 0);
    }
    return got;
}

/* Whether readiness says nothing of whether it can be sent. */
static bool is_to_unix_name(const void *name, socklen_t bytes) {
    const struct sockaddr *address = name;
    return bytes >= sizeof(address->sa_family) && address->sa_family == AF_UNIX &&
           !BNX_PLANT(datagram_polls_for_queue);
}

ssize_t bnx_sendmsg(int fd, const struct msghdr *message, int flags) {
    int error;
    struct bnx_task *self = enter(&error);
    if (self == NULL) {
        return error;
    }
    ssize_t sent = bnx_os.sendmsg(fd, message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    if ((sent != -EAGAIN && sent != -EINTR) || (flags & MSG_DONTWAIT) != 0) {
        bnx_task_spend(self);
        return sent;
    }
    struct bnx_op op = {.kind = BNX_OP_SENDMSG,
                        .fd = fd,
                        .buffer = (void *)(uintptr_t)message,
                        .flags = flags | MSG_NOSIGNAL};
    if (message->msg_name != NULL && is_to_unix_name(message->msg_name, message->msg_namelen)) {
        struct bnx_io_driver *driver = bnx_io_driver_of(bnx_driver_current());
        return bnx_blocking_run(&driver->blocking, self, &op, BNX_WAIT_SEND);
    }
    return bnx_op_run(&op, BNX_WAIT_SEND);
}

ssize_t bnx_recv_from(int fd, void *buffer, size_t bytes, struct bnx_address *out_from) {
    struct iovec room = {buffer, bytes};
    struct bnx_address from;
    memset(&from, 0, sizeof(from));
    struct msghdr message = {.msg_name = &from.storage,
                             .msg_namelen = sizeof(from.storage),
                             .msg_iov = &room,
                             .msg_iovlen = 1};
    ssize_t got = bnx_recvmsg(fd, &message, 0);
    if (got >= 0 && out_from != NULL) {
        from.bytes = message.msg_namelen;
        *out_from = from;
    }
    return got;
}

ssize_t bnx_send_to(int fd, const void *data, size_t bytes, const struct bnx_address *to) {
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (to != NULL) {
        message.msg_name = (void *)(uintptr_t)&to->storage;
        message.msg_namelen = to->bytes;
    }
    return bnx_sendmsg(fd, &message, 0);
}

/* ---- Many ---- */

struct group {
    struct mmsghdr headers[GROUP];
    struct iovec parts[GROUP];
};

static void fill_group(struct group *group, const struct bnx_datagram *batch, int count,
                       bool is_send) {
    memset(group->headers, 0, (size_t)count * sizeof(group->headers[0]));
    for (int i = 0; i < count; i++) {
        const struct bnx_address *address = &batch[i].address;
        struct msghdr *header = &group->headers[i].msg_hdr;
        group->parts[i] = (struct iovec){batch[i].data, is_send ? batch[i].bytes : batch[i].room};
        header->msg_iov = &group->parts[i];
        header->msg_iovlen = 1;
        header->msg_namelen = is_send ? address->bytes : (socklen_t)sizeof(address->storage);
        header->msg_name = header->msg_namelen != 0 ? (void *)(uintptr_t)&address->storage : NULL;
    }
}

static void store_received(const struct group *group, struct bnx_datagram *batch, int count) {
    for (int i = 0; i < count; i++) {
        const struct mmsghdr *header = &group->headers[i];
        batch[i].bytes = header->msg_len;
        batch[i].address.bytes = header->msg_hdr.msg_namelen;
        batch[i].flags = header->msg_hdr.msg_flags;
    }
}

/* All groups until one is not full. Returns how many, > 0, or the error of the first. */
static int transfer_now(int fd, struct bnx_datagram *batch, int count, bool is_send) {
    int done = 0;
    while (done < count) { /* ends: progress, or nothing is left */
        struct group group;
        int size = count - done < GROUP ? count - done : GROUP;
        fill_group(&group, batch + done, size, is_send);
        int moved = is_send ? bnx_os.sendmmsg(fd, group.headers, (unsigned)size,
                                              MSG_DONTWAIT | MSG_NOSIGNAL)
                            : bnx_os.recvmmsg(fd, group.headers, (unsigned)size, MSG_DONTWAIT);
        if (moved <= 0) {
            return done > 0 ? done : moved;
        }
        if (!is_send) {
            store_received(&group, batch + done, moved);
        }
        done += moved;
        if (moved < size) {
            break;
        }
    }
    return done;
}

/* Waits until it is ready, without taking anything; *io_found is what the last such wait has found.
 * Returns 0, or as bnx_op_run. */
static int await(struct bnx_task *self, int fd, bool is_send, int *io_found) {
    int wanted = is_send ? POLLOUT : POLLIN;
    if (*io_found != 0 && (*io_found & wanted) == 0) {
        bnx_task_nap(self, ERROR_NAP_NS);
    }
    struct bnx_op op = {.kind = BNX_OP_POLL, .fd = fd, .flags = wanted};
    ssize_t result = bnx_op_run(&op, is_send ? BNX_WAIT_SEND : BNX_WAIT_RECV);
    *io_found = (int)result;
    return result < 0 ? (int)result : 0;
}

static bool must_wait(int result) {
    return result == -EAGAIN || result == -EINTR;
}

/* Each wait and each try follow something: a step, in which the task waits at this descriptor. */
static int transfer_later(struct bnx_task *self, int fd, struct bnx_datagram *batch, int count,
                          bool is_send) {
    struct bnx_fd_steps steps;
    int found = 0;
    bnx_fd_steps_init(&steps, BNX_PLANT(batch_is_unseen) ? -1 : fd);
    int error = bnx_fd_step_begin_here(&steps);
    if (error != 0) {
        return error;
    }
    int moved = -EAGAIN;
    while (error == 0 && must_wait(moved)) { /* ends: with a result, or an error */
        error = bnx_fd_steps_are_over(&steps) ? -EBADF : await(self, fd, is_send, &found);
        if (error == 0) {
            moved = transfer_now(fd, batch, count, is_send); /* another may have been faster */
        }
    }
    bnx_fd_step_end(&steps);
    return error != 0 ? error : moved;
}

int bnx_recv_batch(int fd, struct bnx_datagram *batch, int count) {
    int error;
    struct bnx_task *self = enter(&error);
    if (self == NULL || count <= 0) {
        return self == NULL ? error : -EINVAL;
    }
    int got = bnx_hint_has(fd, BNX_HINT_READABLE) ? transfer_now(fd, batch, count, false) : -EAGAIN;
    if (must_wait(got)) {
        got = transfer_later(self, fd, batch, count, false);
    }
    bnx_hint_set(fd, BNX_HINT_READABLE, got == count);
    bnx_task_spend(self);
    return got;
}

int bnx_send_batch(int fd, const struct bnx_datagram *batch, int count) {
    int error;
    struct bnx_task *self = enter(&error);
    if (self == NULL || count <= 0) {
        return self == NULL ? error : -EINVAL;
    }
    struct bnx_datagram *items = (struct bnx_datagram *)(uintptr_t)batch; /* not written to */
    int sent = transfer_now(fd, items, count, true);
    if (must_wait(sent)) {
        if (is_to_unix_name(&batch->address.storage, batch->address.bytes)) {
            ssize_t bytes = bnx_send_to(fd, batch->data, batch->bytes, &batch->address);
            return bytes < 0 ? (int)bytes : 1;
        }
        sent = transfer_later(self, fd, items, count, true);
    }
    bnx_task_spend(self);
    return sent;
}
