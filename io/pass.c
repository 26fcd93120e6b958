/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and credentials beside the data of a unix socket (bonxie/pass.h).
 *
 * A receive always has room for all that one message can carry: so it is we who decide what becomes
 * of a descriptor that the caller has no room for. What the kernel itself cannot hand out, for want
 * of descriptors, it closes.
 */
#include <bonxie/pass.h>

#include <bonxie/datagram.h>

#include "runtime/check.h"
#include "runtime/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(sizeof(struct bnx_credentials) == sizeof(struct ucred), "one layout for both");

/* All that may stand beside the data, aligned for its first header. */
union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(BNX_PASS_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

/* ---- Sending ---- */

static void put(struct msghdr *message, int type, const void *data, size_t bytes) {
    struct cmsghdr *header = (void *)((char *)message->msg_control + message->msg_controllen);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(header), data, bytes);
    message->msg_controllen += CMSG_SPACE(bytes);
}

ssize_t bnx_send_fds(int fd, const struct bnx_parcel *parcel) {
    /* Without a byte a stream would send nothing at all. */
    if (parcel->bytes == 0 || parcel->fd_count > BNX_PASS_FDS_MAX) {
        return -EINVAL;
    }
    union control control;
    memset(&control, 0, sizeof(control));
    struct iovec part = {parcel->data, parcel->bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
    if (parcel->fd_count != 0) {
        put(&message, SCM_RIGHTS, parcel->fds, parcel->fd_count * sizeof(int));
    }
    if (parcel->has_credentials) {
        put(&message, SCM_CREDENTIALS, &parcel->credentials, sizeof(parcel->credentials));
    }
    return bnx_sendmsg(fd, &message, 0);
}

/* ---- Receiving ---- */

/* Hands out as many as there is room for; the others are closed. */
static void take_fds(const struct cmsghdr *header, struct bnx_parcel *parcel, size_t room) {
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
        if (parcel->fd_count < room) {
            parcel->fds[parcel->fd_count++] = fd;
        } else {
            parcel->flags |= MSG_CTRUNC;
            if (!BNX_PLANT(pass_leaks_what_is_too_much)) {
                (void)bnx_os.close(fd);
            }
        }
    }
}

static void take_control(struct msghdr *message, struct bnx_parcel *parcel) {
    size_t room = parcel->fd_count;
    parcel->fd_count = 0;
    parcel->has_credentials = false;
    parcel->flags = message->msg_flags & (MSG_TRUNC | MSG_CTRUNC);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) { /* ends: the kernel wrote it */
        if (header->cmsg_level != SOL_SOCKET) {
            continue;
        }
        if (header->cmsg_type == SCM_RIGHTS) {
            take_fds(header, parcel, room);
        } else if (header->cmsg_type == SCM_CREDENTIALS &&
                   header->cmsg_len >= CMSG_LEN(sizeof(parcel->credentials))) {
            memcpy(&parcel->credentials, CMSG_DATA(header), sizeof(parcel->credentials));
            parcel->has_credentials = true;
        }
    }
}

ssize_t bnx_recv_fds(int fd, struct bnx_parcel *parcel) {
    if (parcel->bytes == 0) {
        return -EINVAL;
    }
    union control control;
    memset(&control, 0, sizeof(control));
    struct iovec room = {parcel->data, parcel->bytes};
    struct msghdr message = {.msg_iov = &room,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int flags = BNX_PLANT(pass_without_cloexec) ? 0 : MSG_CMSG_CLOEXEC;
    ssize_t got = bnx_recvmsg(fd, &message, flags);
    if (got >= 0) {
        take_control(&message, parcel);
    }
    return got;
}

/* ---- Credentials ---- */

int bnx_credentials_receive(int fd, int is_on) {
    int value = is_on != 0;
    return bnx_os.setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, sizeof(value));
}

int bnx_credentials_peer(int fd, struct bnx_credentials *out) {
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    int error = bnx_os.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
    if (error != 0) {
        return error;
    }
    if (peer.uid == (uid_t)-1) { /* how the kernel says that there is none */
        return -ENOTCONN;
    }
    *out = (struct bnx_credentials){peer.pid, peer.uid, peer.gid};
    return 0;
}
