/* SPDX-License-Identifier: MIT */
/*
 * Pairs of sockets, pipes, and the socket options that programs set most. A descriptor of bonxie is
 * a plain one: what has no name here is setsockopt(2)'s, which never waits.
 *
 * No call here suspends; each may be made anywhere. Reading and writing a pipe is bnx_read and
 * bnx_write (file.h).
 */
#ifndef BONXIE_SOCKET_H
#define BONXIE_SOCKET_H

#include <bonxie/base.h>

#include <stddef.h>

BNX_EXTERN_C_BEGIN

/**
 * Makes a pipe, close-on-exec.
 * @param out_fds receives the reading end and the writing end, the caller's to close (bnx_close).
 * Returns 0; -EMFILE, -ENFILE, -ENOMEM. Never suspends.
 */
BNX_API int bnx_pipe(int out_fds[2]);

/**
 * Makes two unix sockets that are connected to each other, close-on-exec.
 * @param type SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
 * @param out_fds receives both, the caller's to close.
 * Returns 0; -EINVAL (the type); as bnx_pipe. Never suspends.
 */
BNX_API int bnx_socketpair(int type, int out_fds[2]);

/** TCP_NODELAY: small segments go at once. 0 or -errno. Accepted and connected sockets have it. */
BNX_API int bnx_socket_nodelay(int fd, int is_on);

/* When to ask a silent peer whether it is there. 0 = the kernel's setting. */
struct bnx_keepalive {
    int idle_s;     /* of silence before the first probe */
    int interval_s; /* between two probes */
    int probes;     /* unanswered, after which the connection is over: -ETIMEDOUT */
};

/**
 * SO_KEEPALIVE of a TCP socket, with its times.
 * @param keepalive NULL turns it off.
 * Returns 0; -EINVAL: a value that the kernel does not take; -errno. Never suspends.
 */
BNX_API int bnx_socket_keepalive(int fd, const struct bnx_keepalive *keepalive);

/**
 * SO_RCVBUF and SO_SNDBUF, in bytes; 0 leaves one as it is. The kernel doubles them, caps them at
 * net.core.rmem_max and wmem_max without a word, and stops tuning that of a TCP socket by itself.
 * Returns 0 or -errno. Never suspends.
 */
BNX_API int bnx_socket_buffers(int fd, int recv_bytes, int send_bytes);

/**
 * SO_LINGER: what a close does with data that was not sent yet.
 * @param seconds -1: the kernel sends it after the close, as it does by default. 0: it is thrown
 *   away and the peer sees a reset. > 0: the close waits so long; that holds up a worker: use it in
 *   bnx_offload.
 * Returns 0 or -errno. Never suspends.
 */
BNX_API int bnx_socket_linger(int fd, int seconds);

/**
 * Returns and clears the error that is pending on a socket (SO_ERROR): 0, or -errno, which may be
 * that of the call itself (-EBADF, -ENOTSOCK). Never suspends.
 */
BNX_API int bnx_socket_error(int fd);

BNX_EXTERN_C_END

#endif
