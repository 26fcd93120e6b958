/* SPDX-License-Identifier: MIT */
/* The task of a connection of httpd. */
#include "io/examples/httpd_handler.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>
#include <bonxie/ready.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define NS_PER_S UINT64_C(1000000000)
#define SILENCE_NS (2 * NS_PER_S)   /* of an awake connection: then it sleeps */
#define PROGRESS_BYTES 4096         /* of a body or an answer, within one window */
#define SEND_PATIENCES 3            /* in the window of an answer */
#define LINGER_NS (1 * NS_PER_S)    /* for an error's answer to be taken */
#define LINGER_BYTES_MAX (1u << 20) /* of what the peer still sends then */

enum outcome {
    OUTCOME_END = 0,   /* the last answer is sent, or the peer has ended */
    OUTCOME_SILENT = 1 /* nothing has come for a while, and nothing is owed */
};

enum window_kind {
    WINDOW_NONE,
    WINDOW_IDLE, /* between requests, and for what is done without waiting */
    WINDOW_HEAD, /* a head has begun; not renewed */
    WINDOW_BODY, /* renewed by progress, as the next */
    WINDOW_SEND,
};

/* The deadline of the waits of one connection. */
struct window {
    struct bnx_scope scope;
    enum window_kind kind;  /* WINDOW_NONE: not open */
    int64_t opened_seconds; /* by the connection's cheap clock */
    size_t moved_bytes;     /* since then, of a body or an answer */
};

struct session {
    const struct bnx_httpd_service *service;
    uint64_t quiet_until_ns; /* draining: when a peer that says nothing is given up; else 0 */
    bool sends_slowly;       /* the answer on its way had to wait for the peer */
    struct window window;
    struct bnx_httpd_connection connection;
};

static void window_close(struct window *window) {
    if (window->kind != WINDOW_NONE) {
        (void)bnx_scope_close(&window->scope); /* it says what the call in it has said already */
        window->kind = WINDOW_NONE;
    }
}

static bool window_holds(const struct window *window, enum window_kind kind, int64_t now_seconds) {
    if (window->kind != kind) {
        return false;
    }
    return kind == WINDOW_IDLE ? window->opened_seconds == now_seconds
                               : kind == WINDOW_HEAD || window->moved_bytes < PROGRESS_BYTES;
}

static int window_open(struct session *session, enum window_kind kind) {
    struct window *window = &session->window;
    uint64_t patience_ns = session->service->patience_ns;
    const uint64_t lengths_ns[] = {0, SILENCE_NS, patience_ns, patience_ns,
                                   SEND_PATIENCES * patience_ns};
    if (window_holds(window, kind, session->connection.date_seconds)) {
        return 0;
    }
    window_close(window);
    if (kind == WINDOW_NONE) {
        return 0;
    }
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + lengths_ns[kind]};
    bool is_quiet_longer = kind != WINDOW_IDLE && options.deadline_ns < session->quiet_until_ns;
    if (session->quiet_until_ns != 0 && kind != WINDOW_SEND && !is_quiet_longer) {
        options.deadline_ns = session->quiet_until_ns;
    }
    int error = bnx_scope_open(&window->scope, &options);
    if (error == 0) {
        window->kind = kind;
        window->opened_seconds = session->connection.date_seconds;
        window->moved_bytes = 0;
    }
    return error;
}

/* The window for what the connection wants. */
static enum window_kind window_for(struct session *session, enum bnx_httpd_want want) {
    const struct bnx_httpd_connection *connection = &session->connection;
    if (want != BNX_HTTPD_RECEIVE) {
        return session->sends_slowly || session->quiet_until_ns != 0 ? WINDOW_SEND : WINDOW_IDLE;
    }
    session->sends_slowly = false;
    if (connection->is_draining && !connection->is_dry) {
        return WINDOW_NONE; /* it asks without waiting */
    }
    if (!bnx_httpd_is_mid_request(connection)) {
        return WINDOW_IDLE;
    }
    return connection->is_in_body ? WINDOW_BODY : WINDOW_HEAD;
}

/* Receives. While draining it asks first whether more has come, which tells the last answer. */
static ssize_t receive(struct bnx_httpd_connection *connection) {
    bool only_asks = connection->is_draining && !connection->is_dry;
    ssize_t bytes = bnx_recv(connection->fd, connection->buffers->in + connection->in_end,
                             sizeof(connection->buffers->in) - connection->in_end,
                             only_asks ? MSG_DONTWAIT : 0);
    if (bytes == -EAGAIN && only_asks) {
        connection->is_dry = true;
        return 0;
    }
    if (bytes >= 0) {
        bnx_httpd_received(connection, (size_t)bytes);
    }
    return bytes;
}

/* Does what the connection wants, once. Suspends. Returns the count, or -errno. */
static ssize_t step(struct session *session, enum bnx_httpd_want want) {
    struct bnx_httpd_connection *connection = &session->connection;
    struct bnx_httpd_buffers *buffers = connection->buffers;
    ssize_t bytes = 0;
    if (want == BNX_HTTPD_RECEIVE) {
        bytes = receive(connection);
    } else if (want == BNX_HTTPD_SEND) {
        bytes = bnx_send(connection->fd, buffers->out + connection->out_begin,
                         connection->out_end - connection->out_begin, 0);
        if (bytes > 0) {
            bnx_httpd_sent(connection, (size_t)bytes);
            session->sends_slowly = session->sends_slowly || connection->out_begin > 0;
        }
    } else {
        size_t room = sizeof(buffers->out) - connection->out_end;
        size_t wanted =
            connection->file_bytes_left < room ? (size_t)connection->file_bytes_left : room;
        bytes = bnx_read(connection->file_fd, buffers->out + connection->out_end, wanted);
        if (bytes != -ECANCELED && bytes != -ETIMEDOUT) {
            bnx_httpd_file_read(connection, bytes);
            bytes = 0;
        }
    }
    session->window.moved_bytes += bytes > 0 ? (size_t)bytes : 0;
    return bytes;
}

/* Makes of a deadline that has passed what it means. Returns an outcome or an error if it ends the
 * exchange, else -EAGAIN. */
static int time_out(struct session *session, enum bnx_httpd_want want, enum window_kind kind) {
    struct bnx_httpd_connection *connection = &session->connection;
    window_close(&session->window);
    if (kind == WINDOW_IDLE && want == BNX_HTTPD_RECEIVE) {
        return session->quiet_until_ns == 0 ? OUTCOME_SILENT : -ETIMEDOUT;
    }
    if (kind == WINDOW_IDLE) {
        session->sends_slowly = true;
        return -EAGAIN;
    }
    if (kind != WINDOW_SEND) {
        bnx_httpd_timed_out(connection);
        return -EAGAIN;
    }
    /* Who does not read leaves the kernel with a full buffer: a reset frees that. */
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    return -ETIMEDOUT;
}

/* Reads requests and sends answers. Suspends. Returns an outcome, or the error that ended it; after
 * -ECANCELED it can be called again. */
static int exchange(struct session *session) {
    while (true) { /* ends with the connection; each wait has a deadline */
        enum bnx_httpd_want want = bnx_httpd_next(&session->connection);
        if (want == BNX_HTTPD_END) {
            return OUTCOME_END;
        }
        enum window_kind kind = window_for(session, want);
        int error = window_open(session, kind);
        if (error < 0) {
            return error;
        }
        ssize_t bytes = step(session, want);
        int result = bytes == -ETIMEDOUT ? time_out(session, want, kind) : -EAGAIN;
        if (bytes < 0 && bytes != -ETIMEDOUT) {
            return (int)bytes;
        }
        if (result != -EAGAIN) {
            return result;
        }
    }
}

/* Closes our side and reads on for a while: a close with unread bytes would be a reset, which may
 * destroy the answer on its way. Suspends. */
static void linger(struct bnx_httpd_connection *connection, uint64_t ns) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + ns};
    struct bnx_scope scope;
    if (bnx_shutdown(connection->fd, SHUT_WR) < 0 || bnx_scope_open(&scope, &options) < 0) {
        return;
    }
    ssize_t bytes = 1;
    for (size_t total = 0; bytes > 0 && total < LINGER_BYTES_MAX; total += (size_t)bytes) {
        bytes =
            bnx_recv(connection->fd, connection->buffers->in, sizeof(connection->buffers->in), 0);
        if (bytes < 0) {
            break;
        }
    }
    (void)bnx_scope_close(&scope);
}

/* After the cancel: answers what has come, in a shield whose grace is the service's drain. */
static void drain(struct session *session) {
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD};
    struct bnx_scope scope;
    if (bnx_scope_open(&scope, &options) != 0) {
        return;
    }
    session->quiet_until_ns = bnx_now() + session->service->quiet_ns;
    session->connection.is_draining = true;
    int result = exchange(session);
    window_close(&session->window);
    if (result == OUTCOME_END) {
        linger(&session->connection, session->service->quiet_ns);
    }
    (void)bnx_scope_close(&scope);
}

/* Serves as long as requests come. A function of its own: the buffers, 32 KiB, are in its frame.
 * Suspends. Returns an outcome or an error. */
static __attribute__((noinline)) int serve_awake(struct session *session) {
    struct bnx_httpd_connection *connection = &session->connection;
    struct bnx_httpd_buffers buffers;
    connection->buffers = &buffers;
    int result = exchange(session);
    window_close(&session->window);
    if (result == -ECANCELED) {
        drain(session);
    } else if (result == OUTCOME_END && connection->must_linger) {
        linger(connection, LINGER_NS);
    }
    connection->buffers = NULL;
    return result;
}

/* Waits for a request to begin, or for the cancel, which the next call says again. Returns 0 or an
 * error. */
static int sleep_silently(struct session *session) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + session->service->idle_ns};
    bnx_task_stack_trim();
    int result = bnx_scope_open(&session->window.scope, &options);
    if (result == 0) {
        result = bnx_fd_wait(session->connection.fd, POLLIN);
        (void)bnx_scope_close(&session->window.scope);
    }
    return result < 0 && result != -ECANCELED ? result : 0;
}

int bnx_httpd_handle(int fd, void *arg) {
    struct session session;
    session.service = arg;
    session.quiet_until_ns = 0;
    session.sends_slowly = false;
    session.window.kind = WINDOW_NONE;
    bnx_httpd_init(&session.connection, &session.service->site, fd);
    int result = serve_awake(&session);
    while (result == OUTCOME_SILENT) { /* ends with the connection; each wait has a deadline */
        result = sleep_silently(&session);
        result = result == 0 ? serve_awake(&session) : result;
    }
    bnx_httpd_fini(&session.connection);
    return 0;
}
