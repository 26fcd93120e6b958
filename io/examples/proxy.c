/* SPDX-License-Identifier: MIT */
/*
 * A proxy for TCP and unix sockets: each connection is passed on to another address.
 *
 *     httpd &                                      listens on 127.0.0.1:8080
 *     proxy &                                      listens on 127.0.0.1:8081
 *     curl http://127.0.0.1:8081/plaintext
 *     proxy --listen unix:/tmp/p.sock --to 192.0.2.1:80 --splice 1
 *
 * Concepts
 *   A connection is two streams and two tasks, one a direction, each a loop of bnx_stream_copy. The
 *   end of a direction, whatever it was, is passed on as a half-close: who has sent a request and
 *   shut down its side still gets the whole reply. The connection has ended when both have.
 *
 *   SIGTERM or SIGINT closes the listener. Connections go on until they end, --drain seconds at
 *   most; what is left then is cut.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>
#include <bonxie/serve.h>
#include <bonxie/stream.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define BUFFER_BYTES 65536 /* of a direction through which much flows; an idle one has none */

struct proxy {
    const char *listen; /* all of it immutable */
    const char *to;
    struct bnx_address target; /* the same, parsed */
    uint32_t splice;           /* non-zero: bulk data stays in the kernel */
    uint32_t connections_max;
    uint32_t connect_seconds; /* how long a connect may take */
    uint32_t drain_seconds;
};

struct direction {
    struct bnx_stream *from;
    struct bnx_stream *to;
};

/* Moves everything, then passes the end on. An error of one side is an end as well: what the other
 * has still to say may be a reply that is worth having. */
static int pass_on(void *arg) {
    const struct direction *direction = arg;
    while (bnx_stream_copy(direction->from, direction->to, SIZE_MAX) > 0) { /* ends: see above */
    }
    (void)bnx_stream_shutdown(direction->to); /* it may be gone */
    return 0;
}

static int run_both(struct bnx_stream *client, struct bnx_stream *server) {
    struct direction up = {client, server};
    struct direction down = {server, client};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error != 0) {
        return error;
    }
    error = bnx_spawn(&scope, pass_on, &up);
    if (error == 0) {
        error = pass_on(&down);
    }
    int closed = bnx_scope_close(&scope);
    return error != 0 ? error : closed;
}

static int open_streams(const struct proxy *proxy, int client_fd, int server_fd) {
    struct bnx_stream_options options = {
        .read_bytes = BUFFER_BYTES, .no_splice = proxy->splice == 0, .keep_open = 1};
    struct bnx_stream *client = NULL;
    struct bnx_stream *server = NULL;
    int error = bnx_stream_open(client_fd, &options, &client);
    if (error == 0) {
        error = bnx_stream_open(server_fd, &options, &server);
        if (error == 0) {
            error = run_both(client, server);
            (void)bnx_stream_close(server); /* a copy leaves nothing unsent */
        }
        (void)bnx_stream_close(client);
    }
    return error;
}

static int connect_task(void *arg) {
    return bnx_connect_to(arg);
}

/* Serves one connection; bnx_serve closes its descriptor. */
static int handle(int client_fd, void *arg) {
    struct proxy *proxy = arg;
    int server_fd = bnx_timeout(proxy->connect_seconds * NS_PER_S, connect_task, &proxy->target);
    if (server_fd < 0) {
        return server_fd; /* the client sees an end at once */
    }
    int error = open_streams(proxy, client_fd, server_fd);
    (void)bnx_close(server_fd);
    return error;
}

static int announce(const int *listeners, size_t listener_count, void *arg) {
    (void)arg;
    return listener_count > 0 ? bnx_announce(listeners[0]) : 0;
}

static int serve(void *arg) {
    struct proxy *proxy = arg;
    struct bnx_serve_options options = {.connections_max = proxy->connections_max,
                                        .drain_ns = proxy->drain_seconds * NS_PER_S,
                                        .name = "connection",
                                        .on_listening = announce};
    int error = bnx_serve(NULL, proxy->listen, handle, proxy, &options);
    if (error != -ECANCELED) {
        fprintf(stderr, "cannot serve on %s: %s\n", proxy->listen, strerror(-error));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct proxy proxy = {.listen = "127.0.0.1:8081",
                          .to = "127.0.0.1:8080",
                          .connections_max = 10000,
                          .connect_seconds = 10,
                          .drain_seconds = 1};
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:8081).", &proxy.listen, NULL},
        {"to", "ADDRESS:PORT", "Where connections go (127.0.0.1:8080).", &proxy.to, NULL},
        {"splice", "0|1", "1: much data at a time stays in the kernel (0).", NULL, &proxy.splice},
        {"connections", "N", "At a time; more wait (10000).", NULL, &proxy.connections_max},
        {"connect", "SECONDS", "How long a connect may take (10).", NULL, &proxy.connect_seconds},
        {"drain", "SECONDS", "What connections have at the end (1).", NULL, &proxy.drain_seconds},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "passes connections on", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (bnx_address_parse(proxy.to, &proxy.target) != 0) {
        fprintf(stderr, "--to %s is no address\n", proxy.to);
        return 2;
    }
    bnx_descriptors_raise(); /* a connection takes two, with splice up to six */
    options.grace_ns = (proxy.drain_seconds + 1) * NS_PER_S;
    status = bnx_main_with(&options, serve, &proxy);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
