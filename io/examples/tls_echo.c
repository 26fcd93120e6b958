/* SPDX-License-Identifier: MIT */
/*
 * An echo server behind TLS: one task per connection, each reading and writing a stream.
 *
 *   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
 *       -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
 *   tls_echo --certificate cert.pem --key key.pem
 *   openssl s_client -quiet -CAfile cert.pem -connect localhost:8443      (type, and read it again)
 *
 * With --http each request's head comes back as the body of an answer, so that a browser sees it:
 *
 *   tls_echo --certificate cert.pem --key key.pem --http 1
 *   curl --cacert cert.pem https://localhost:8443/
 *
 * SIGTERM ends it: an answer that has begun goes out, then each connection gets its close_notify.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/serve.h>
#include <bonxie/tls.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HANDSHAKE_NS UINT64_C(10000000000) /* a peer that dawdles in it is let go */
#define HEAD_MAX 8192                      /* with the empty line at its end */

struct service {
    struct bnx_tls *tls;
    const char *address;
    const char *certificate;
    const char *key;
    uint32_t is_http;
};

/* ---- One connection ---- */

/* In a shield: the end of the service does not cut it short, the end of its patience does. */
static int answer(struct bnx_stream *stream, const struct iovec *pieces, int count) {
    const struct bnx_scope_options shield = {.flags = BNX_SCOPE_SHIELD};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, &shield);
    if (error != 0) {
        return error;
    }
    ssize_t written = bnx_stream_write_pieces(stream, pieces, count);
    error = written < 0 ? (int)written : bnx_stream_flush(stream); /* it also says why it is less */
    int closed = bnx_scope_close(&scope);
    return error != 0 ? error : closed;
}

static int echo_bytes(struct bnx_stream *stream) {
    for (;;) { /* ends when the peer does, or with the service */
        const void *data = NULL;
        ssize_t there = bnx_stream_peek(stream, 1, &data);
        if (there <= 0) {
            return (int)there;
        }
        /* Written before it is consumed: the peeked bytes stay where they are until then. */
        const struct iovec piece = {(void *)(uintptr_t)data, (size_t)there};
        int error = answer(stream, &piece, 1);
        if (error != 0) {
            return error;
        }
        (void)bnx_stream_consume(stream, (size_t)there);
    }
}

/* Returns the bytes of the head, up to and with its empty line; 0: no more requests. */
static ssize_t read_head(struct bnx_stream *stream, char head[HEAD_MAX]) {
    const char *data = NULL;
    ssize_t bytes = bnx_stream_read_until(stream, "\r\n\r\n", 4, &data);
    if (bytes <= 0) {
        return bytes;
    }
    if (bytes < 4 || memcmp(data + bytes - 4, "\r\n\r\n", 4) != 0) {
        return 0; /* it ended in the middle */
    }
    memcpy(head, data, (size_t)bytes);
    return bytes;
}

static int answer_requests(struct bnx_stream *stream) {
    char head[HEAD_MAX];
    for (;;) { /* as above */
        ssize_t bytes = read_head(stream, head);
        if (bytes <= 0) {
            return (int)bytes;
        }
        char line[128];
        int line_bytes = snprintf(line, sizeof(line),
                                  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                  "Content-Length: %zd\r\n\r\n",
                                  bytes);
        const struct iovec pieces[] = {{line, (size_t)line_bytes}, {head, (size_t)bytes}};
        int error = answer(stream, pieces, 2);
        if (error != 0) {
            return error;
        }
    }
}

struct handshake {
    struct service *service;
    int fd;
    struct bnx_stream *stream;
};

static int shake_hands(void *arg) {
    struct handshake *handshake = arg;
    const struct bnx_stream_options options = {
        .line_max = HEAD_MAX - 4, /* what may precede the empty line */
        .keep_open = 1};          /* bnx_serve closes what it has opened */
    return bnx_tls_accept(handshake->service->tls, handshake->fd, &options, &handshake->stream,
                          NULL);
}

static int serve_connection(int fd, void *arg) {
    struct handshake handshake = {.service = arg, .fd = fd};
    int error = bnx_timeout(HANDSHAKE_NS, shake_hands, &handshake);
    if (error != 0) {
        return error;
    }
    error = handshake.service->is_http != 0 ? answer_requests(handshake.stream)
                                            : echo_bytes(handshake.stream);
    int closed = bnx_stream_close(handshake.stream);
    return error != 0 ? error : closed;
}

/* ---- The service ---- */

static int announce(const int *listeners, size_t count, void *arg) {
    (void)count;
    (void)arg;
    return bnx_announce(listeners[0]);
}

static int serve(void *arg) {
    struct service *service = arg;
    const struct bnx_tls_options tls = {
        .certificate_file = service->certificate, .key_file = service->key, .alpn = "http/1.1"};
    const struct bnx_serve_options options = {.flags = BNX_SERVE_CANCEL, .on_listening = announce};
    int error = bnx_tls_server_create(&tls, &service->tls);
    if (error != 0) {
        fprintf(stderr, "cannot use the certificate in %s with the key in %s: %s\n",
                service->certificate, service->key != NULL ? service->key : service->certificate,
                strerror(-error));
        return 1;
    }
    error = bnx_serve(NULL, service->address, serve_connection, service, &options);
    bnx_tls_destroy(service->tls);
    if (error != -ECANCELED) {
        fprintf(stderr, "cannot serve on %s: %s\n", service->address, strerror(-error));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct service service = {.address = "127.0.0.1:8443"};
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:8443).", &service.address, NULL},
        {"certificate", "FILE", "PEM, with its chain; must be given.", &service.certificate, NULL},
        {"key", "FILE", "PEM; if not given, it is in the certificate's file.", &service.key, NULL},
        {"http", "0|1", "Answer HTTP requests with their own head (0).", NULL, &service.is_http},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "sends back, by TLS, what it receives", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (service.certificate == NULL) {
        fprintf(stderr, "%s: --certificate FILE must be given\n", argv[0]);
        return 2;
    }
    status = bnx_main_with(&options, serve, &service);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
