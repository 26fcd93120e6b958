/* SPDX-License-Identifier: MIT */
/*
 * The servers of the peer libuv: echo and HTTP /plaintext, a loop a thread.
 *
 * A connection reads into its own buffer and writes by uv_try_write; only what the socket does not
 * take becomes a write request, and reading stops until it is over.
 */
#include "bench/peers/server.h"

#include "bench/peers/peer.h"

#include <pthread.h>
#include <uv.h>

union stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct worker {
    pthread_t thread;
    uv_loop_t loop;
    union stream listener;
    bool is_http;
    bool is_unix;
    struct server_answer answer;
};

struct connection {
    union stream stream; /* its data is the connection */
    uv_write_t write;
    struct worker *worker;
    struct server_buffers buffers; /* echo sends from .in, out_bytes of it */
};

static void require(int status, const char *what) {
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
        exit(1);
    }
}

static void stream_init(struct worker *worker, union stream *stream) {
    int status = worker->is_unix ? uv_pipe_init(&worker->loop, &stream->pipe, 0)
                                 : uv_tcp_init(&worker->loop, &stream->tcp);
    require(status, "init");
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void connection_close(struct connection *connection) {
    if (!uv_is_closing(&connection->stream.handle)) {
        uv_close(&connection->stream.handle, on_closed);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested_bytes, uv_buf_t *out) {
    struct connection *connection = handle->data;
    struct server_buffers *buffers = &connection->buffers;
    (void)suggested_bytes;
    *out = uv_buf_init(buffers->in + buffers->in_bytes,
                       (unsigned)(sizeof(buffers->in) - buffers->in_bytes));
}

static void on_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer);
static void on_written(uv_write_t *write, int status);

/* Returns 1 when all is written, 0 when on_written is to come, -1 to close. */
static int output_write(struct connection *connection, char *data) {
    struct server_buffers *buffers = &connection->buffers;
    uv_buf_t buffer = uv_buf_init(data, (unsigned)buffers->out_bytes);
    int written = uv_try_write(&connection->stream.stream, &buffer, 1);
    if (written < 0 && written != UV_EAGAIN) {
        return -1;
    }
    size_t taken = written > 0 ? (size_t)written : 0;
    if (taken == buffers->out_bytes) {
        buffers->out_bytes = 0;
        return 1;
    }
    (void)uv_read_stop(&connection->stream.stream);
    buffer = uv_buf_init(data + taken, (unsigned)(buffers->out_bytes - taken));
    return uv_write(&connection->write, &connection->stream.stream, &buffer, 1, on_written);
}

/* Answers what is complete in the input. Returns as output_write. */
static int requests_answer(struct connection *connection) {
    int result = 1;
    while (result > 0) { /* ends: each turn consumes input */
        result = server_http_answer(&connection->worker->answer, &connection->buffers);
        if (result == 0) {
            return 1; /* more is to be read */
        }
        if (result > 0) {
            result = output_write(connection, connection->buffers.out);
        }
    }
    return result;
}

static void on_written(uv_write_t *write, int status) {
    struct connection *connection = write->handle->data;
    connection->buffers.out_bytes = 0;
    if (status == 0 && connection->worker->is_http) {
        status = requests_answer(connection);
        if (status == 0) {
            return;
        }
    }
    if (status >= 0) {
        status = uv_read_start(&connection->stream.stream, on_alloc, on_read);
    }
    if (status < 0) {
        connection_close(connection);
    }
}

static void on_read(uv_stream_t *stream, ssize_t bytes, const uv_buf_t *buffer) {
    struct connection *connection = stream->data;
    (void)buffer;
    if (bytes == 0) {
        return; /* EAGAIN */
    }
    int result = -1;
    if (bytes > 0 && connection->worker->is_http) {
        connection->buffers.in_bytes += (size_t)bytes;
        result = requests_answer(connection);
    } else if (bytes > 0) {
        connection->buffers.out_bytes = (size_t)bytes;
        result = output_write(connection, connection->buffers.in);
    }
    if (result < 0) {
        connection_close(connection);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    struct worker *worker = listener->data;
    struct connection *connection = status == 0 ? malloc(sizeof(*connection)) : NULL;
    if (connection == NULL) {
        return;
    }
    memset(connection, 0, offsetof(struct connection, buffers.in));
    connection->worker = worker;
    stream_init(worker, &connection->stream);
    connection->stream.handle.data = connection;
    if (uv_accept(listener, &connection->stream.stream) < 0 ||
        (!worker->is_unix && uv_tcp_nodelay(&connection->stream.tcp, 1) < 0) ||
        uv_read_start(&connection->stream.stream, on_alloc, on_read) < 0) {
        connection_close(connection);
    }
}

static void *worker_run(void *arg) {
    struct worker *worker = arg;
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    return NULL;
}

int server_main(int argc, char **argv) {
    static struct worker workers[SERVER_WORKERS_MAX];
    struct server_options options;
    server_options_parse(&options, argc, argv);
    for (int i = 0; i < options.worker_count; i++) {
        struct worker *worker = &workers[i];
        worker->is_http = options.is_http;
        worker->is_unix = options.address.any.sa_family == AF_UNIX;
        require(uv_loop_init(&worker->loop), "loop");
        stream_init(worker, &worker->listener);
        /* The socket is opened here, for this libuv has no flag for SO_REUSEPORT. */
        int fd = server_listen(&options, SOCK_NONBLOCK);
        require(worker->is_unix ? uv_pipe_open(&worker->listener.pipe, fd)
                                : uv_tcp_open(&worker->listener.tcp, fd),
                "open");
        worker->listener.handle.data = worker;
        require(uv_listen(&worker->listener.stream, SERVER_BACKLOG, on_connection), "listen");
    }
    server_announce(&options);
    for (int i = 1; i < options.worker_count; i++) {
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0) {
            server_fail("pthread_create");
        }
    }
    worker_run(&workers[0]);
    return 0;
}
