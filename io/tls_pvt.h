/* SPDX-License-Identifier: MIT */
/* What the two halves of TLS share: what a program has once, and what each connection has. */
#ifndef BNX_IO_TLS_PVT_H
#define BNX_IO_TLS_PVT_H

#include <bonxie/tls.h>

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>

#define BNX_TLS_SESSIONS 64        /* a client remembers so many, the latest */
#define BNX_TLS_SESSIONS_OF_HOST 8 /* for connections made at once; a server gives two at a time */
#define BNX_TLS_HOST_BYTES 256

struct bnx_tls_session {
    SSL_SESSION *session; /* NULL: a free place */
    uint64_t number;      /* the oldest has the lowest */
    char host[BNX_TLS_HOST_BYTES];
};

struct bnx_tls_host {
    struct bnx_tls_host *next;
    SSL_CTX *context;
    char name[];
};

/* References: its creator's, and one of each SSL, whose callbacks come here. */
struct bnx_tls {
    SSL_CTX *context;
    bool is_server;
    uint32_t references;        /* F1 */
    struct bnx_tls_host *hosts; /* of a server, beside the first; immutable once it accepts */
    unsigned char *alpn;        /* in wire format; NULL: none; immutable */
    unsigned alpn_bytes;
    pthread_mutex_t lock;   /* guards the sessions; never held over a suspension */
    uint64_t session_count; /* kept so far */
    struct bnx_tls_session sessions[BNX_TLS_SESSIONS];
};

/** Counts a user more, or less. The last one frees. */
void bnx_tls_ref(struct bnx_tls *tls);
void bnx_tls_unref(struct bnx_tls *tls);

/** The session to take up with a host, a reference; NULL: none. */
SSL_SESSION *bnx_tls_session_take(struct bnx_tls *tls, const char *host);

/** Keeps a session, whose reference it takes over. */
void bnx_tls_session_keep(struct bnx_tls *tls, const char *host, SSL_SESSION *session);

/** The host name of a connection, set before its handshake. (tls.c) */
const char *bnx_tls_host_of(const SSL *ssl);

/** OpenSSL's oldest complaint on this thread as -errno, its text to out_reason (may be NULL). */
int bnx_tls_error(char *out_reason, size_t bytes);

#endif
