/* SPDX-License-Identifier: MIT */
/*
 * Sockets for tasks: the calls look like POSIX and return what POSIX returns, errors as -errno, on
 * plain file descriptors. A call that must wait parks the task.
 *
 * Once the task's scope is cancelled every call here but bnx_close returns -ECANCELED (-ETIMEDOUT
 * when the innermost scope's own deadline did it), also when it would not have waited. A cancel
 * that comes while a call waits never loses data: what was transferred is returned, the next call
 * says -ECANCELED. The caller's buffer is its own again when the call returns, whatever it returns.
 */
#ifndef BONXIE_NET_H
#define BONXIE_NET_H

#include <bonxie/base.h>

#include <sys/socket.h>
#include <sys/types.h>

BNX_EXTERN_C_BEGIN

#define BNX_ADDRESS_TEXT_BYTES 128 /* room for any address as text, with its NUL */

/* A socket address; .bytes is its length in use. */
struct bnx_address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

/* Zeroed means defaults. */
struct bnx_listen_options {
    int backlog;       /* 0 = 4096 (the kernel caps it at net.core.somaxconn) */
    int reuse_port;    /* non-zero: SO_REUSEPORT */
    int no_reuse_addr; /* non-zero: without SO_REUSEADDR */
    unsigned mode;     /* of a unix socket's file; 0 = as the umask says */
};

/**
 * Reads "127.0.0.1:8080", "[::1]:80", ":8080" (any IPv4 address), "unix:/run/x.sock" or
 * "unix:@name" (abstract). No names are looked up.
 * Returns 0, or -EINVAL with *out untouched. Context: anywhere.
 */
BNX_API int bnx_address_parse(const char *text, struct bnx_address *out);

/** Writes an address as bnx_address_parse reads it. Returns the length, or -EINVAL, -ENOSPC. */
BNX_API int bnx_address_format(const struct bnx_address *address, char *out, size_t out_bytes);

/** Gets the local address of a socket. Returns 0 or -errno. */
BNX_API int bnx_address_local(int fd, struct bnx_address *out);

/**
 * Opens a listening socket, non-blocking and close-on-exec. A stale unix socket file is replaced.
 * @param options NULL for defaults.
 * Returns the fd (the caller closes it with bnx_close) or -errno: -EINVAL (address), -EADDRINUSE, …
 * Context: anywhere; never suspends.
 */
BNX_API int bnx_listen(const char *address, const struct bnx_listen_options *options);

/**
 * Accepts a connection: non-blocking, close-on-exec, TCP_NODELAY set on TCP.
 * @param out_peer the peer's address; may be NULL.
 * Returns the fd (the caller closes it with bnx_close), or -errno; -ECANCELED, -ETIMEDOUT; -EBADF
 * when the listener was closed meanwhile. -EPERM off a task. Context: task, suspends.
 */
BNX_API int bnx_accept(int listener, struct bnx_address *out_peer);

/**
 * Connects to an address as bnx_address_parse reads it.
 * Returns the fd (the caller closes it with bnx_close), or -errno; -ECANCELED, -ETIMEDOUT; -EPERM
 * off a task. Context: task, suspends.
 */
BNX_API int bnx_connect(const char *address);

/** As bnx_connect, for an address in binary form. */
BNX_API int bnx_connect_to(const struct bnx_address *address);

/**
 * Receives up to so many bytes, as recv(2).
 * Returns the count, 0 at the end of the stream, or -errno; -ECANCELED, -ETIMEDOUT; -EBADF: closed
 * meanwhile; with MSG_DONTWAIT -EAGAIN. -EPERM off a task. Context: task, suspends.
 */
BNX_API ssize_t bnx_recv(int fd, void *buffer, size_t bytes, int flags);

/**
 * Sends up to so many bytes, as send(2) with MSG_NOSIGNAL: the first count the socket accepts.
 * Returns as bnx_recv; -EPIPE when the peer is gone.
 * Context: task, suspends when the socket is full, and where many tasks send at once: then the
 * worker's sends go to the kernel together. Not in a task of class LATENCY.
 */
BNX_API ssize_t bnx_send(int fd, const void *buffer, size_t bytes, int flags);

/**
 * Receives until the buffer is full. Returns bytes; less at the end of the stream; -errno when
 * nothing was received before the error, otherwise the count so far (the next call says why).
 * Context: as bnx_recv.
 */
BNX_API ssize_t bnx_recv_exact(int fd, void *buffer, size_t bytes);

/** Sends everything. Returns bytes, or as bnx_recv_exact. */
BNX_API ssize_t bnx_send_all(int fd, const void *buffer, size_t bytes);

/**
 * Sends everything, and copies nothing where it can: the kernel reads the buffer while it sends, so
 * the call returns only when the peer has acknowledged what the socket has taken, and the buffer is
 * the caller's again. For large buffers that leave the machine: within it the kernel copies them
 * all the same.
 * A peer that does not read holds the call. A cancel, a deadline, a stop and bnx_close end what has
 * not been taken yet; what has been taken ends with its acknowledgement, or with the connection,
 * and the socket option TCP_USER_TIMEOUT bounds that.
 * As bnx_send_all on epoll, for a socket that cannot (a unix socket), and where less memory may be
 * locked than is sent (RLIMIT_MEMLOCK).
 * @param bytes beyond 2 GiB no more than that is sent.
 * Returns as bnx_send_all. Context: task, suspends.
 */
BNX_API ssize_t bnx_send_zerocopy(int fd, const void *buffer, size_t bytes);

/** As shutdown(2). Returns 0 or -errno. Context: anywhere; never suspends. */
BNX_API int bnx_shutdown(int fd, int how);

BNX_EXTERN_C_END

#endif
