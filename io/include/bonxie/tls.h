/* SPDX-License-Identifier: MIT */
/*
 * TLS: encrypted streams over connected sockets, by OpenSSL. A component of its own: link
 * bonxie::tls (libbonxie-tls).
 *
 *     struct bnx_tls *client;
 *     struct bnx_stream *stream;
 *     bnx_tls_client_create(NULL, &client);                      once a program
 *     int fd = bnx_dial("example.org:443", NULL);
 *     int error = bnx_tls_connect(client, fd, "example.org", NULL, &stream, NULL);
 *
 * The result is a stream (stream.h) and is read, written, half-closed and closed as any other.
 * TLS 1.2 and 1.3. A client verifies the certificate and the name in it unless it is told not to,
 * sends the name (SNI), and resumes sessions. A server resumes by tickets.
 *
 * A stream whose peer ends the connection without saying so (close_notify) ends with -ECONNRESET:
 * what came may be only a part. A cancel ends a call as on any stream and harms nothing; one that
 * ends a handshake ends the connection.
 *
 * Stack: a handshake takes about 10 KiB of the calling task's; give it BNX_STACK_64K or more.
 */
#ifndef BONXIE_TLS_H
#define BONXIE_TLS_H

#include <bonxie/base.h>
#include <bonxie/stream.h>

BNX_EXTERN_C_BEGIN

struct bnx_tls;

enum bnx_tls_verify {
    BNX_TLS_VERIFY_DEFAULT = 0, /* a client verifies its server, a server asks for nothing */
    BNX_TLS_VERIFY_NONE = 1,    /* whoever answers is believed: for tests */
    BNX_TLS_VERIFY_PEER = 2     /* also a server demands a certificate, of its authorities */
};

/* Zeroed means defaults. Strings are borrowed for the call. */
struct bnx_tls_options {
    const char *certificate_file; /* PEM, the chain included; a server needs one */
    const char *key_file;         /* PEM, under no passphrase; NULL: in certificate_file */
    const char *authorities_file; /* PEM of those who may sign the peer's; NULL: the system's */
    const char *alpn; /* protocols by preference, "h2,http/1.1", of 31 bytes at most; NULL: none */
    enum bnx_tls_verify verify;
    int no_tls_1_2; /* non-zero: TLS 1.3 alone */
};

/* What a handshake has agreed on, or why it failed. */
struct bnx_tls_info {
    const char *protocol; /* "TLSv1.3"; static */
    const char *cipher;   /* static */
    char alpn[32];        /* the protocol chosen; "": none */
    int is_resumed;       /* non-zero: an earlier session was taken up */
    char reason[128];     /* of a failure, in OpenSSL's words; "": none */
};

/**
 * Makes what all connections of a client share: settings, authorities, sessions to resume.
 * @param options NULL for defaults.
 * @param out_tls receives it; free with bnx_tls_destroy when no handshake runs any more. Streams
 *   may outlive it.
 * Returns 0; -ENOENT, -EACCES: a file cannot be read; -EINVAL: it is no certificate or key, or they
 * do not fit, or the options are wrong; -ENOMEM. Context: anywhere; reads files, so before many
 * wait for it.
 */
BNX_API int bnx_tls_client_create(const struct bnx_tls_options *options, struct bnx_tls **out_tls);

/** The same for a server; -EINVAL also without a certificate. */
BNX_API int bnx_tls_server_create(const struct bnx_tls_options *options, struct bnx_tls **out_tls);

/**
 * Gives a server a certificate for one host: who asks for that name (SNI, case ignored) gets it,
 * everybody else the first. Before the first accept.
 * @param key_file NULL: in certificate_file.
 * Otherwise as bnx_tls_client_create.
 */
BNX_API int bnx_tls_server_add(struct bnx_tls *server, const char *host,
                               const char *certificate_file, const char *key_file);

/** Frees it. NULL is fine. Any thread. */
BNX_API void bnx_tls_destroy(struct bnx_tls *tls);

/**
 * Makes a client's handshake on a connected stream socket and opens a stream on it.
 * @param fd taken over on success, still the caller's after an error: then only to be closed.
 * @param host the name or address that the certificate must be for, and the session's key; neither
 *   NULL nor empty, not longer than 255 bytes, with no dot at its begin.
 * @param options of the stream; NULL for defaults. With keep_open the descriptor is the caller's
 *   again when the stream is closed. Closed by bnx_close before, beneath handshake or stream, it is
 *   as with bnx_stream_open: -EBADF, and no farewell.
 * @param out_info filled, also on failure; may be NULL.
 * Returns 0; -EACCES: the peer's certificate was refused, or ours by the peer; -EPROTO: no common
 * protocol, or no TLS at all; -ECONNRESET: the peer went away; -ECANCELED, -ETIMEDOUT, -EPERM off a
 * task; -EINVAL: the host, the options, or a server's; -ENOMEM; the socket's error. Context: task,
 * suspends.
 */
BNX_API int bnx_tls_connect(struct bnx_tls *client, int fd, const char *host,
                            const struct bnx_stream_options *options,
                            struct bnx_stream **out_stream, struct bnx_tls_info *out_info);

/** Makes a server's handshake: as bnx_tls_connect, for an accepted socket. */
BNX_API int bnx_tls_accept(struct bnx_tls *server, int fd, const struct bnx_stream_options *options,
                           struct bnx_stream **out_stream, struct bnx_tls_info *out_info);

BNX_EXTERN_C_END

#endif
