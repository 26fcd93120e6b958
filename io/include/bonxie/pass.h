/* SPDX-License-Identifier: MIT */
/*
 * Passing descriptors and credentials over unix sockets, streams and datagrams alike.
 *
 *     struct bnx_parcel parcel = {.data = "take", .bytes = 4, .fds = &fd, .fd_count = 1};
 *     ssize_t sent = bnx_send_fds(socket, &parcel);
 *
 * A passed descriptor is a duplicate: the sender keeps his and closes it when he likes. No
 * descriptor is lost: one that did not fit is closed, and one that comes together with a cancel is
 * handed out, since data wins. On a stream they come with the first byte that they were sent with;
 * who reads that byte with another call than bnx_recv_fds or bnx_recvmsg makes the kernel close
 * them.
 */
#ifndef BONXIE_PASS_H
#define BONXIE_PASS_H

#include <bonxie/base.h>

#include <stdbool.h>
#include <sys/types.h>

BNX_EXTERN_C_BEGIN

#define BNX_PASS_FDS_MAX 253 /* descriptors in one message: the kernel's own limit */

/* Who is at the other end, as the kernel knows it. */
struct bnx_credentials {
    pid_t pid; /* 0: of a namespace whose processes are not to be seen here */
    uid_t uid;
    gid_t gid;
};

/* Data, and what goes with it. */
struct bnx_parcel {
    void *data;           /* to send (not written), or room to receive into */
    size_t bytes;         /* of data or room, > 0 */
    int *fds;             /* to send, or room for so many; NULL with fd_count 0 */
    size_t fd_count;      /* how many; written by a receive */
    bool has_credentials; /* a send: .credentials go along; a receive: they have come */
    struct bnx_credentials credentials; /* a sender's own, unless it may take on others' */
    int flags; /* a receive: MSG_TRUNC: the end of a datagram did not fit; MSG_CTRUNC: descriptors
                  have come that did not fit, or were more than the process may have: closed */
};

/**
 * Sends data with descriptors, and credentials where that is asked for.
 * @param parcel borrowed for the call. The descriptors stay the caller's.
 * Returns how many bytes were sent, > 0: all descriptors went with the first; the rest of a
 * stream's bytes are the caller's to send (bnx_send). -EINVAL: no byte, or too many descriptors;
 * -EBADF: one of them, or the socket; -EPERM: others' credentials, or off a task; -ETOOMANYREFS:
 * too many are under way; otherwise as bnx_sendmsg.
 * Context: task, suspends when there is no room.
 */
BNX_API ssize_t bnx_send_fds(int fd, const struct bnx_parcel *parcel);

/**
 * Receives data with the descriptors that come with it, close-on-exec.
 * @param parcel says what room there is; on success receives what came.
 * Returns the count of bytes; 0: the end; -EINVAL: no room for a byte; otherwise as bnx_recvmsg:
 * then nothing was received and the parcel is as it was.
 * Context: task, suspends. Ownership: parcel->fds[0 .. fd_count) are the caller's to close.
 */
BNX_API ssize_t bnx_recv_fds(int fd, struct bnx_parcel *parcel);

/**
 * Has the kernel put the sender's credentials to everything that is received from now on
 * (SO_PASSCRED).
 * Returns 0 or -errno. Context: anywhere; never suspends.
 */
BNX_API int bnx_credentials_receive(int fd, int is_on);

/**
 * Says who the peer of a connected unix stream was when it connected, or listened (SO_PEERCRED).
 * Returns 0; -ENOTCONN; -errno with *out untouched. Context: anywhere; never suspends.
 */
BNX_API int bnx_credentials_peer(int fd, struct bnx_credentials *out);

BNX_EXTERN_C_END

#endif
