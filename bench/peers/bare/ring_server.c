/* SPDX-License-Identifier: MIT */
/*
 * A bare io_uring loop, echo or HTTP /plaintext: RECV and SEND on the ring, one a thread.
 *
 * RECV with POLL_FIRST: data is hardly ever there at once. Each connection has one operation in
 * flight, so its address is the user data.
 */
#include "bench/peers/bare/ring.h"

struct connection {
    int fd;
    bool is_sending;               /* which operation is in flight */
    struct server_buffers buffers; /* echo sends from .in, out_bytes of it */
};

struct loop {
    pthread_t thread;
    struct ring_start *start;
    struct io_uring ring;
    int listener;
    bool is_http;
    struct server_answer answer;
};

static void receive_start(struct loop *loop, struct connection *connection) {
    struct io_uring_sqe *sqe = ring_sqe(&loop->ring);
    io_uring_prep_recv(sqe, connection->fd, connection->buffers.in + connection->buffers.in_bytes,
                       sizeof(connection->buffers.in) - connection->buffers.in_bytes, 0);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, connection);
    connection->is_sending = false;
}

static void send_start(struct loop *loop, struct connection *connection) {
    const char *data = loop->is_http ? connection->buffers.out : connection->buffers.in;
    struct io_uring_sqe *sqe = ring_sqe(&loop->ring);
    io_uring_prep_send(sqe, connection->fd, data + connection->buffers.out_at,
                       connection->buffers.out_bytes - connection->buffers.out_at, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, connection);
    connection->is_sending = true;
}

static void accepted(struct loop *loop, int fd) {
    struct connection *connection = fd >= 0 ? malloc(sizeof(*connection)) : NULL;
    if (connection == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    memset(connection, 0, offsetof(struct connection, buffers.in));
    connection->fd = fd;
    server_nodelay(fd);
    receive_start(loop, connection);
}

/* Starts what follows on the input. Returns -1 to close. */
static int input_serve(struct loop *loop, struct connection *connection) {
    if (!loop->is_http) {
        connection->buffers.out_bytes = connection->buffers.in_bytes;
        connection->buffers.in_bytes = 0;
        send_start(loop, connection);
        return 0;
    }
    int result = server_http_answer(&loop->answer, &connection->buffers);
    if (result > 0) {
        send_start(loop, connection);
    } else if (result == 0) {
        receive_start(loop, connection);
    }
    return result < 0 ? -1 : 0;
}

/* Takes a completion. Returns -1 to close. */
static int completed(struct loop *loop, struct connection *connection, int result) {
    if (result <= 0) {
        return -1;
    }
    if (!connection->is_sending) {
        connection->buffers.in_bytes += (size_t)result;
        return input_serve(loop, connection);
    }
    connection->buffers.out_at += (size_t)result;
    if (connection->buffers.out_at < connection->buffers.out_bytes) {
        send_start(loop, connection);
        return 0;
    }
    connection->buffers.out_at = 0;
    connection->buffers.out_bytes = 0;
    if (loop->is_http && connection->buffers.in_bytes > 0) {
        return input_serve(loop, connection);
    }
    receive_start(loop, connection);
    return 0;
}

static void *loop_run(void *arg) {
    struct loop *loop = arg;
    ring_open(&loop->ring);
    ring_accept(&loop->ring, loop->listener);
    ring_started(loop->start);
    while (true) { /* until the process is ended by a signal */
        struct io_uring_cqe *cqes[RING_BATCH];
        unsigned count = ring_wait(&loop->ring, cqes);
        for (unsigned i = 0; i < count; i++) {
            struct connection *connection = io_uring_cqe_get_data(cqes[i]);
            int result = cqes[i]->res;
            if (connection == NULL) {
                accepted(loop, result);
                if ((cqes[i]->flags & IORING_CQE_F_MORE) == 0) {
                    ring_accept(&loop->ring, loop->listener);
                }
            } else if (completed(loop, connection, result) < 0) {
                close(connection->fd);
                free(connection);
            }
        }
        io_uring_cq_advance(&loop->ring, count);
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct loop loops[SERVER_WORKERS_MAX];
    struct server_options options;
    server_options_parse(&options, argc, argv);
    struct ring_start start = {.options = &options};
    (void)pthread_barrier_init(&start.ready, NULL, (unsigned)options.worker_count);
    for (int i = 0; i < options.worker_count; i++) {
        loops[i].start = &start;
        loops[i].is_http = options.is_http;
        loops[i].listener = server_listen(&options, 0);
    }
    for (int i = 1; i < options.worker_count; i++) {
        if (pthread_create(&loops[i].thread, NULL, loop_run, &loops[i]) != 0) {
            server_fail("pthread_create");
        }
    }
    loop_run(&loops[0]);
    return 0;
}
