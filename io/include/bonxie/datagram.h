/* SPDX-License-Identifier: MIT */
/*
 * Datagrams, over UDP and unix sockets: one at a time, with all that a message can carry, or many
 * in a call. What net.h says of cancels and buffers holds here as well.
 *
 *     int fd = bnx_datagram_open("127.0.0.1:5000", NULL, NULL);
 *     while ((got = bnx_recv_from(fd, data, sizeof(data), &from)) >= 0) {
 *         bnx_send_to(fd, data, (size_t)got, &from);
 *     }
 *
 * bnx_recv and bnx_send do for a connected socket. Setsockopt(2) takes the descriptor as it takes
 * any other (socket.h names the usual options).
 */
#ifndef BONXIE_DATAGRAM_H
#define BONXIE_DATAGRAM_H

#include <bonxie/base.h>
#include <bonxie/net.h>

BNX_EXTERN_C_BEGIN

/* Zeroed means defaults. */
struct bnx_datagram_options {
    int reuse_port; /* non-zero: SO_REUSEPORT, so that several sockets share the address */
    int broadcast;  /* non-zero: SO_BROADCAST */
    unsigned mode;  /* of a unix socket's file; 0 = as the umask says */
};

/**
 * Opens a datagram socket, close-on-exec.
 * @param local where it receives, as bnx_address_parse reads it; a unix socket's file that nobody
 *   receives on any more is replaced. NULL: UDP gets a port with the first send; unix has no name.
 * @param peer whom it is connected to: it sends to him by default, and hears nobody else. NULL: not
 *   connected. One of the two is given.
 * @param options NULL for defaults.
 * Returns the fd (the caller closes it with bnx_close) or -errno: -EINVAL (an address, none, or two
 * of different families), -EADDRINUSE, -ECONNREFUSED (a unix peer that nobody receives on), …
 * Context: anywhere; never suspends.
 */
BNX_API int bnx_datagram_open(const char *local, const char *peer,
                              const struct bnx_datagram_options *options);

/**
 * Receives one message, as recvmsg(2), from any socket.
 * @param message as for recvmsg(2); read and written, as is what it points to, until the return.
 * @param flags as of recvmsg(2), but MSG_WAITALL.
 * Returns the count; 0 also for an empty datagram; -errno; -ECANCELED, -ETIMEDOUT; -EBADF: closed
 * meanwhile; with MSG_DONTWAIT -EAGAIN; -EINVAL (MSG_WAITALL); -ECONNREFUSED: an earlier datagram
 * found nobody. -EPERM off a task. Context: task, suspends.
 */
BNX_API ssize_t bnx_recvmsg(int fd, struct msghdr *message, int flags);

/**
 * Sends one message, as sendmsg(2) with MSG_NOSIGNAL, on any socket. Where a unix datagram socket
 * sends to a name whose queue is full, a thread of the offload pool waits: nothing else tells when
 * there is room. That needs a blocking socket, as bnx_datagram_open makes it: otherwise -EAGAIN.
 * @param message as for sendmsg(2); borrowed for the call.
 * Returns as bnx_recvmsg; -EPIPE, -ECONNREFUSED, -EMSGSIZE, …
 * Context: task, suspends when there is no room.
 */
BNX_API ssize_t bnx_sendmsg(int fd, const struct msghdr *message, int flags);

/**
 * Receives a datagram. What of it is longer than the buffer is lost; bnx_recvmsg and bnx_recv_batch
 * say so.
 * @param out_from who sent it; .bytes 0: he has no name. May be NULL; untouched on failure.
 * Returns as bnx_recvmsg. Context: task, suspends.
 */
BNX_API ssize_t bnx_recv_from(int fd, void *buffer, size_t bytes, struct bnx_address *out_from);

/**
 * Sends a datagram.
 * @param to NULL: the peer that the socket is connected to.
 * Returns as bnx_sendmsg. Context: task, suspends when there is no room.
 */
BNX_API ssize_t bnx_send_to(int fd, const void *data, size_t bytes, const struct bnx_address *to);

/* One of a batch. */
struct bnx_datagram {
    void *data;                 /* to send, or room to receive into; not written by a send */
    size_t room;                /* bytes of that room; a send ignores it */
    size_t bytes;               /* to send, or received */
    struct bnx_address address; /* to whom (.bytes 0: the connected peer), or from whom */
    int flags; /* received: MSG_TRUNC when the end did not fit; a send ignores it */
};

/**
 * Waits for a datagram and receives it with those that are there already, many a system call.
 * @param batch count of them: data and room are read, the others written, of those received alone.
 * @param count > 0.
 * Returns how many, >= 1, never more than count; -EINVAL (count); otherwise as bnx_recvmsg: then
 * none was received.
 * Context: task, suspends.
 */
BNX_API int bnx_recv_batch(int fd, struct bnx_datagram *batch, int count);

/**
 * Sends as many of them as there is room for, in order, many a system call; waits only for the
 * first.
 * Returns how many, >= 1; -EINVAL (count <= 0); otherwise as bnx_sendmsg: the first one was not
 * sent. An error of a later one is that of the next call, which begins with it.
 * Context: task, suspends when there is no room.
 */
BNX_API int bnx_send_batch(int fd, const struct bnx_datagram *batch, int count);

BNX_EXTERN_C_END

#endif
