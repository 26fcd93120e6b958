/* SPDX-License-Identifier: MIT */
/*
 * One TLS connection: the transport of its stream (bonxie/tls.h).
 *
 * Concepts
 *   OpenSSL reads and writes the socket itself, by calls that never wait; where they would have to,
 *   it says so, and the task waits until the socket is ready and calls again. So no byte is copied
 *   beside OpenSSL's own buffers, and a cancel, which ends the wait, leaves its state untouched.
 *   A connection has one reader and one writer at most (stream.h), and OpenSSL takes one call at a
 *   time: the mutex is held over each, never over a wait. OpenSSL's errors are per thread: they are
 *   fetched before the mutex is given back, and nothing between suspends.
 *   The descriptor may be closed by another than the stream, and its number mean another file: each
 *   call is a step (bonxie/ready.h) of what the number meant when the handshake began, the farewell
 *   too. It stands over the waits, all of which are at this descriptor; the mutex is held by calls
 *   that do not wait.
 *   A write that OpenSSL has begun must be repeated with the same bytes, of which it may have sent
 *   a part, encrypted. A stream does (repeats_writes): they stay first in its buffer.
 */
#include "io/tls_pvt.h"

#include <bonxie/file.h>
#include <bonxie/mutex.h>
#include <bonxie/ready.h>
#include <bonxie/task.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tls_connection {
    SSL *ssl;
    struct bnx_tls *tls;
    struct bnx_fd_steps steps; /* at its descriptor; each call takes a copy */
    int fd;
    bool keeps_open;       /* the descriptor stays when the stream is closed */
    struct bnx_mutex lock; /* of ssl */
    char host[BNX_TLS_HOST_BYTES];
};

const char *bnx_tls_host_of(const SSL *ssl) {
    const struct tls_connection *connection = SSL_get_app_data(ssl);
    return connection->host;
}

/* ---- The socket, as OpenSSL sees it ---- */

static int socket_of(BIO *bio) {
    return (int)(intptr_t)BIO_get_data(bio);
}

static bool is_for_later(int error) {
    return error == EAGAIN || error == EINTR;
}

static int socket_read(BIO *bio, char *buffer, int bytes) {
    ssize_t got = recv(socket_of(bio), buffer, (size_t)bytes, MSG_DONTWAIT);
    BIO_clear_retry_flags(bio);
    if (got < 0 && is_for_later(errno)) {
        BIO_set_retry_read(bio);
    } else if (got < 0) {
        ERR_raise(ERR_LIB_SYS, errno);
    } else if (got == 0) {
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    }
    return (int)got;
}

static int socket_write(BIO *bio, const char *buffer, int bytes) {
    ssize_t sent = send(socket_of(bio), buffer, (size_t)bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (sent < 0 && is_for_later(errno)) {
        BIO_set_retry_write(bio);
    } else if (sent < 0) {
        ERR_raise(ERR_LIB_SYS, errno);
    }
    return (int)sent;
}

static long socket_control(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1; /* nothing is held back */
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

static BIO_METHOD *socket_method;

static void make_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "bonxie socket");
    if (method != NULL) {
        (void)BIO_meth_set_read(method, socket_read);
        (void)BIO_meth_set_write(method, socket_write);
        (void)BIO_meth_set_ctrl(method, socket_control);
    }
    socket_method = method;
}

static BIO *socket_bio(int fd) {
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    if (CRYPTO_THREAD_run_once(&once, make_method) != 1 || socket_method == NULL) {
        return NULL;
    }
    BIO *bio = BIO_new(socket_method);
    if (bio != NULL) {
        BIO_set_data(bio, (void *)(intptr_t)fd);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ---- One call of OpenSSL's ---- */

typedef int (*ssl_call)(SSL *ssl, void *buffer, int bytes);

static int call_read(SSL *ssl, void *buffer, int bytes) {
    return SSL_read(ssl, buffer, bytes);
}

static int call_write(SSL *ssl, void *buffer, int bytes) {
    return SSL_write(ssl, buffer, bytes);
}

static int call_handshake(SSL *ssl, void *buffer, int bytes) {
    (void)buffer;
    (void)bytes;
    return SSL_do_handshake(ssl);
}

/* 0: our close_notify is on its way, and the peer's has not come: that is all we want. */
static int call_shutdown(SSL *ssl, void *buffer, int bytes) {
    (void)buffer;
    (void)bytes;
    int result = SSL_shutdown(ssl);
    return result == 0 ? 1 : result;
}

/* What a call has come to: > 0 its result; 0 the peer has said that no more comes; -EAGAIN:
 * *out_events first. */
static int outcome(struct tls_connection *self, int result, unsigned *out_events, char *reason,
                   size_t reason_bytes) {
    switch (SSL_get_error(self->ssl, result)) {
    case SSL_ERROR_NONE:
        return result;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
        *out_events = POLLIN;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *out_events = POLLOUT;
        return -EAGAIN;
    default:
        return ERR_peek_error() != 0 ? bnx_tls_error(reason, reason_bytes) : -ECONNRESET;
    }
}

/* Calls until it is done. Suspends. */
static int run_step(struct tls_connection *self, ssl_call call, void *buffer, size_t bytes,
                    char *reason, size_t reason_bytes) {
    int part = bytes < INT_MAX ? (int)bytes : INT_MAX;
    for (;;) { /* ends: with a result, or a cancel */
        unsigned events = 0;
        int error = bnx_mutex_lock(&self->lock);
        if (error != 0) {
            return error;
        }
        ERR_clear_error();
        int result = outcome(self, call(self->ssl, buffer, part), &events, reason, reason_bytes);
        (void)bnx_mutex_unlock(&self->lock);
        if (result != -EAGAIN) {
            return result;
        }
        int ready = bnx_fd_wait(self->fd, events);
        if (ready < 0) {
            return ready;
        }
    }
}

/* One call, from begin to end. reason NULL: nobody wants to know. Suspends. */
static int run(struct tls_connection *self, ssl_call call, void *buffer, size_t bytes, char *reason,
               size_t reason_bytes) {
    struct bnx_fd_steps steps = self->steps;
    int result = bnx_fd_steps_enter(&steps);
    if (result == 0) {
        result = run_step(self, call, buffer, bytes, reason, reason_bytes);
        bnx_fd_steps_leave(&steps);
    }
    return result;
}

/* ---- The transport ---- */

static ssize_t tls_read(void *transport, void *buffer, size_t bytes) {
    return run(transport, call_read, buffer, bytes, NULL, 0);
}

static ssize_t tls_write(void *transport, const void *buffer, size_t bytes) {
    int result = run(transport, call_write, (void *)(uintptr_t)buffer, bytes, NULL, 0);
    return result != 0 ? result : -EPIPE;
}

static int tls_shutdown(void *transport) {
    int result = run(transport, call_shutdown, NULL, 0, NULL, 0);
    return result < 0 ? result : 0;
}

static void free_connection(struct tls_connection *self) {
    SSL_free(self->ssl);
    bnx_tls_unref(self->tls);
    free(self);
}

/* The close_notify goes out if the socket takes it at once: a close waits for nobody. */
static int tls_close(void *transport) {
    struct tls_connection *self = transport;
    bool keeps_open = self->keeps_open;
    int fd = self->fd;
    int closed = bnx_fd_steps_enter(&self->steps);
    if (closed == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(self->ssl); /* nobody else is here any more */
        ERR_clear_error();
        bnx_fd_steps_leave(&self->steps);
    }
    free_connection(self);
    if (keeps_open) {
        return 0;
    }
    return closed == 0 ? bnx_close(fd) : closed; /* the number is another's */
}

static const struct bnx_transport_ops tls_transport = {
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .repeats_writes = 1,
};

/* ---- The handshake ---- */

/* No name at all would fit any certificate, and one with a dot before it those of all hosts beneath
 * it. */
static bool is_host(const char *host) {
    return host != NULL && host[0] != '\0' && host[0] != '.' && strlen(host) < BNX_TLS_HOST_BYTES;
}

/* The name that the certificate must bear; addresses are matched as such and not sent. */
static bool set_host(struct tls_connection *self, const char *host) {
    unsigned char address[16];
    (void)snprintf(self->host, sizeof(self->host), "%s", host);
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(self->ssl), host) == 1;
    }
    return SSL_set1_host(self->ssl, host) == 1 && SSL_set_tlsext_host_name(self->ssl, host) == 1;
}

static int prepare_client(struct tls_connection *self, const char *host) {
    if (!is_host(host)) {
        return -EINVAL;
    }
    if (!set_host(self, host)) {
        return -ENOMEM;
    }
    SSL_SESSION *session = bnx_tls_session_take(self->tls, host);
    if (session != NULL) {
        (void)SSL_set_session(self->ssl, session); /* refused: a full handshake */
        SSL_SESSION_free(session);
    }
    SSL_set_connect_state(self->ssl);
    return 0;
}

static int make_connection(struct bnx_tls *tls, int fd, const char *host,
                           struct tls_connection **out_connection) {
    struct tls_connection *self = calloc(1, sizeof(*self));
    BIO *bio = socket_bio(fd);
    SSL *ssl = SSL_new(tls->context);
    if (self == NULL || bio == NULL || ssl == NULL) {
        free(self);
        BIO_free(bio);
        SSL_free(ssl);
        return -ENOMEM;
    }
    bnx_tls_ref(tls);
    *self = (struct tls_connection){.ssl = ssl, .tls = tls, .fd = fd};
    self->steps = bnx_fd_steps_of(fd);
    SSL_set_bio(ssl, bio, bio); /* it owns it from now on */
    SSL_set_app_data(ssl, self);
    int error = 0;
    if (tls->is_server) {
        SSL_set_accept_state(ssl);
    } else {
        error = prepare_client(self, host);
    }
    if (error != 0) {
        free_connection(self);
        return error;
    }
    *out_connection = self;
    return 0;
}

static void describe(SSL *ssl, struct bnx_tls_info *out_info) {
    const unsigned char *alpn = NULL;
    unsigned bytes = 0;
    SSL_get0_alpn_selected(ssl, &alpn, &bytes);
    out_info->protocol = SSL_get_version(ssl);
    out_info->cipher = SSL_get_cipher_name(ssl);
    (void)snprintf(out_info->alpn, sizeof(out_info->alpn), "%.*s", (int)bytes, (const char *)alpn);
    out_info->is_resumed = SSL_session_reused(ssl);
}

static int shake_hands(struct bnx_tls *tls, int fd, const char *host,
                       const struct bnx_stream_options *options, struct bnx_stream **out_stream,
                       struct bnx_tls_info *out_info) {
    struct bnx_tls_info ignored;
    struct bnx_tls_info *info = out_info != NULL ? out_info : &ignored;
    struct tls_connection *self = NULL;
    struct bnx_stream_options chosen = {0};
    memset(info, 0, sizeof(*info));
    if (bnx_task_self() == NULL) {
        return -EPERM;
    }
    int error = make_connection(tls, fd, host, &self);
    if (error != 0) {
        return error;
    }
    int result = run(self, call_handshake, NULL, 0, info->reason, sizeof(info->reason));
    error = result < 0 ? result : result == 0 ? -ECONNRESET : 0;
    long verdict = SSL_get_verify_result(self->ssl);
    if (error == -EACCES && verdict != X509_V_OK) {
        (void)snprintf(info->reason, sizeof(info->reason), "%s",
                       X509_verify_cert_error_string(verdict));
    }
    if (error == 0) {
        describe(self->ssl, info);
        if (options != NULL) {
            chosen = *options;
        }
        self->keeps_open = chosen.keep_open != 0;
        chosen.keep_open = 0; /* the connection itself ends with the stream */
        error = bnx_stream_open_on(&tls_transport, self, &chosen, out_stream);
    }
    if (error != 0) {
        free_connection(self);
    }
    return error;
}

int bnx_tls_connect(struct bnx_tls *client, int fd, const char *host,
                    const struct bnx_stream_options *options, struct bnx_stream **out_stream,
                    struct bnx_tls_info *out_info) {
    if (client->is_server) {
        return -EINVAL;
    }
    return shake_hands(client, fd, host, options, out_stream, out_info);
}

int bnx_tls_accept(struct bnx_tls *server, int fd, const struct bnx_stream_options *options,
                   struct bnx_stream **out_stream, struct bnx_tls_info *out_info) {
    if (!server->is_server) {
        return -EINVAL;
    }
    return shake_hands(server, fd, NULL, options, out_stream, out_info);
}
