/* SPDX-License-Identifier: MIT */
/*
 * An HTTP/1.1 server: one task per connection on every core.
 *
 *   GET /            a page, or index.html of --root
 *   GET /plaintext   Hello, World!
 *   GET /stats       the scheduler's counters, one `name value` a line
 *   POST /upload     the length and FNV-1a hash of the body that came, also with PUT
 *   anything else    a file below --root, if one was given
 *
 * Concepts
 *   A connection's state is a struct on its task's stack that does no I/O (httpd_connection.h); the
 *   task drives it. Its waits stand in a scope with a deadline, the window, which is renewed at
 *   most once a second: so a timeout costs nothing per request, and comes up to a second early.
 *
 *   Stopping: see httpd_drain.h.
 */
#include "io/examples/httpd_connection.h"
#include "io/examples/httpd_drain.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define IDLE_NS (60 * NS_PER_S)     /* between requests, and for the peer to take an answer */
#define HEAD_NS (10 * NS_PER_S)     /* for the rest of a head that has begun: 408 */
#define BODY_NS (10 * NS_PER_S)     /* between two pieces of a body: 408 */
#define LINGER_NS (1 * NS_PER_S)    /* for an error's answer to be taken */
#define LINGER_BYTES_MAX (1u << 20) /* of what the peer still sends then */
#define ACCEPT_RETRY_NS UINT64_C(10000000) /* out of descriptors or memory: again in 10 ms */
#define BACKLOG_MAX 65536                  /* taken at the stop; the kernel's backlog is smaller */

struct server {
    const char *address;        /* immutable */
    struct bnx_httpd_site site; /* immutable */
    struct bnx_httpd_drain drain;
};

/* What a connection's task gets: small enough to be copied into its descriptor. */
struct accepted {
    struct server *server;
    int fd;
};

enum window_kind {
    WINDOW_NONE,
    WINDOW_IDLE, /* between requests, or sending */
    WINDOW_HEAD, /* a head has begun; not renewed, or a byte a second would hold it for ever */
    WINDOW_BODY,
};

/* The deadline of the waits of one connection. */
struct window {
    struct bnx_scope scope;
    enum window_kind kind;  /* WINDOW_NONE: not open */
    int64_t opened_seconds; /* by the connection's cheap clock */
};

static void window_close(struct window *window) {
    if (window->kind != WINDOW_NONE) {
        (void)bnx_scope_close(&window->scope); /* it says what the call in it has said already */
        window->kind = WINDOW_NONE;
    }
}

static int window_open(struct window *window, enum window_kind kind, int64_t now_seconds) {
    static const uint64_t lengths_ns[] = {0, IDLE_NS, HEAD_NS, BODY_NS};
    if (window->kind == kind && (kind == WINDOW_HEAD || window->opened_seconds == now_seconds)) {
        return 0;
    }
    window_close(window);
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + lengths_ns[kind]};
    int error = bnx_scope_open(&window->scope, &options);
    if (error == 0) {
        window->kind = kind;
        window->opened_seconds = now_seconds;
    }
    return error;
}

/* Does what the connection wants, once. Suspends. Returns the count, or -errno. */
static ssize_t connection_step(struct bnx_httpd_connection *connection, enum bnx_httpd_want want) {
    ssize_t bytes = 0;
    if (want == BNX_HTTPD_RECEIVE) {
        bytes = bnx_recv(connection->fd, connection->in + connection->in_end,
                         sizeof(connection->in) - connection->in_end, 0);
        if (bytes >= 0) {
            bnx_httpd_received(connection, (size_t)bytes);
        }
    } else if (want == BNX_HTTPD_SEND) {
        bytes = bnx_send(connection->fd, connection->out + connection->out_begin,
                         connection->out_end - connection->out_begin, 0);
        if (bytes > 0) {
            bnx_httpd_sent(connection, (size_t)bytes);
        }
    } else {
        size_t room = sizeof(connection->out) - connection->out_end;
        size_t wanted =
            connection->file_bytes_left < room ? (size_t)connection->file_bytes_left : room;
        bytes = bnx_read(connection->file_fd, connection->out + connection->out_end, wanted);
        if (bytes != -ECANCELED && bytes != -ETIMEDOUT) {
            bnx_httpd_file_read(connection, bytes);
            bytes = 0;
        }
    }
    return bytes;
}

/* Serves until the connection has ended. Suspends. Returns 0, or the error that ended it. */
static int connection_serve(struct bnx_httpd_connection *connection, struct window *window) {
    while (true) { /* ends with the connection; each wait has a deadline */
        enum bnx_httpd_want want = bnx_httpd_next(connection);
        if (want == BNX_HTTPD_END) {
            return 0;
        }
        enum window_kind kind = WINDOW_IDLE;
        if (want == BNX_HTTPD_RECEIVE && bnx_httpd_is_mid_request(connection)) {
            kind = connection->is_in_body ? WINDOW_BODY : WINDOW_HEAD;
        }
        int error = window_open(window, kind, connection->date_seconds);
        if (error < 0) {
            return error;
        }
        ssize_t bytes = connection_step(connection, want);
        if (bytes == -ETIMEDOUT && kind != WINDOW_IDLE) {
            window_close(window);
            bnx_httpd_timed_out(connection);
        } else if (bytes < 0) {
            return (int)bytes;
        }
    }
}

/* Closes our side and reads on for a while: a close with unread bytes would be a reset, which may
 * destroy the answer on its way. Suspends. */
static void connection_linger(struct bnx_httpd_connection *connection) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + LINGER_NS};
    struct bnx_scope scope;
    if (bnx_shutdown(connection->fd, SHUT_WR) < 0 || bnx_scope_open(&scope, &options) < 0) {
        return;
    }
    ssize_t bytes = 1;
    for (size_t total = 0; bytes > 0 && total < LINGER_BYTES_MAX; total += (size_t)bytes) {
        bytes = bnx_recv(connection->fd, connection->in, sizeof(connection->in), 0);
        if (bytes < 0) {
            break;
        }
    }
    (void)bnx_scope_close(&scope);
}

static int connection_task(void *arg) {
    const struct accepted *accepted = arg;
    struct server *server = accepted->server;
    struct bnx_httpd_connection
        connection; /* 33 KiB of address space, two pages in use when idle */
    bnx_httpd_init(&connection, &server->site, accepted->fd);
    struct window window;
    window.kind = WINDOW_NONE;
    int error = connection_serve(&connection, &window);
    window_close(&window);
    if (error == -ECANCELED) {
        bnx_httpd_drain_add(&server->drain, &connection);
        return 0;
    }
    bnx_httpd_fini(&connection);
    if (error == 0 && connection.must_linger) {
        connection_linger(&connection);
    }
    bnx_close(connection.fd);
    return 0; /* an error here would cancel the other connections */
}

/* Gives a connection that no task has served to the drain. A function of its own: its frame is as
 * large as the connection. */
static __attribute__((noinline)) void drain_new(struct server *server, int fd) {
    struct bnx_httpd_connection connection;
    bnx_httpd_init(&connection, &server->site, fd);
    bnx_httpd_drain_add(&server->drain, &connection);
}

/* Accepts until the scope is cancelled. Suspends. Returns 0, or -errno when the listener broke. */
static int accept_loop(struct server *server, struct bnx_scope *connections, int listener) {
    while (true) { /* ends with the scope */
        int fd = bnx_accept(listener, NULL);
        int error = fd;
        if (fd >= 0) {
            struct accepted accepted = {.server = server, .fd = fd};
            error = bnx_spawn_copy(connections, connection_task, &accepted, sizeof(accepted));
            if (error == -ECANCELED) {
                drain_new(server, fd);
            } else if (error < 0) {
                bnx_close(fd);
            }
        }
        if (error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM ||
            error == -EAGAIN) {
            error = bnx_sleep(ACCEPT_RETRY_NS);
        }
        if (error == -ECANCELED) {
            return 0;
        }
        if (error == -EBADF || error == -EINVAL || error == -ENOTSOCK) {
            return error; /* anything else is one connection's trouble */
        }
    }
}

/* Takes the connections whose handshake is done: their requests may have arrived. bnx_listen made
 * the listener non-blocking, so the last call says EAGAIN. */
static void backlog_take(struct server *server, int listener) {
    for (int i = 0; i < BACKLOG_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            drain_new(server, fd);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

static int serve(void *arg) {
    struct server *server = arg;
    int listener = bnx_listen(server->address, NULL);
    if (listener < 0) {
        fprintf(stderr, "cannot listen on %s: %s\n", server->address, strerror(-listener));
        return 1;
    }
    struct bnx_scope connections;
    int error = bnx_scope_open(&connections, NULL);
    if (error < 0) {
        bnx_close(listener);
        return 1;
    }
    error = bnx_announce(listener);
    error = error == 0 ? accept_loop(server, &connections, listener) : error;
    if (error < 0) {
        bnx_scope_cancel(&connections, error);
    }
    backlog_take(server, listener);
    bnx_close(listener);
    (void)bnx_scope_close(&connections); /* -ECANCELED is how it ends */
    bnx_httpd_drain_run(&server->drain);
    return error < 0 ? 1 : 0;
}

/* The counters of the runtime that the calling task belongs to. */
static size_t stats_write(char *out, size_t room) {
    struct bnx_runtime *runtime = bnx_runtime_current();
    struct bnx_runtime_stats stats = {0};
    if (runtime == NULL) {
        return 0;
    }
    bnx_runtime_stats(runtime, &stats);
    int bytes = snprintf(
        out, room,
        "workers %" PRIu32 "\nspawned %" PRIu64 "\ninlined %" PRIu64 "\nforks_stolen %" PRIu64
        "\nswitches %" PRIu64 "\nsteals %" PRIu64 "\nparks %" PRIu64 "\nwakes_sent %" PRIu64
        "\npolls %" PRIu64 "\ncompletions %" PRIu64 "\nrescues %" PRIu64 "\nstalls %" PRIu64 "\n",
        bnx_runtime_worker_count(runtime), stats.spawned, stats.inlined, stats.forks_stolen,
        stats.switches, stats.steals, stats.parks, stats.wakes_sent, stats.polls, stats.completions,
        stats.rescues, stats.stalls);
    return bytes > 0 && (size_t)bytes < room ? (size_t)bytes : 0;
}

int main(int argc, char **argv) {
    struct server server = {
        .address = "127.0.0.1:8080",
        .site = {.root_fd = -1, .stats_write = stats_write},
        .drain = {.lock = PTHREAD_MUTEX_INITIALIZER},
    };
    const char *root = NULL;
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:8080).", &server.address, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {"root", "DIRECTORY", "Serve the files below it (none).", &root, NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "serves HTTP/1.1", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (root != NULL) {
        server.site.root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (server.site.root_fd < 0) {
            fprintf(stderr, "%s: %s: %s\n", argv[0], root, strerror(errno));
            return 2;
        }
    }
    status = bnx_main_with(&options, serve, &server);
    if (server.site.root_fd >= 0) {
        close(server.site.root_fd);
    }
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
