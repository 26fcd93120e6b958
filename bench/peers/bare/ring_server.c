/* SPDX-License-Identifier: MIT */
/*
 * A bare io_uring loop, echo or HTTP /plaintext: RECV and SEND on the ring, one thread.
 *
 * DEFER_TASKRUN, one submit-and-wait a turn, RECV with POLL_FIRST (data is hardly ever there at
 * once). Each connection has one operation in flight, so its address is the user data.
 */
#include "bench/peers/bare/bare.h"

#include <liburing.h>
#include <unistd.h>

#define RING_ENTRIES 1024
#define COMPLETIONS_MAX 8192
#define BATCH_MAX 256

#ifndef IORING_RECVSEND_POLL_FIRST
#define IORING_RECVSEND_POLL_FIRST (1U << 0)
#endif

struct connection {
    int fd;
    bool is_sending;             /* which operation is in flight */
    struct bare_buffers buffers; /* echo sends from .in, out_bytes of it */
};

struct loop {
    struct io_uring ring;
    int listener;
    bool is_http;
    struct bare_answer answer;
};

static struct io_uring_sqe *sqe_get(struct loop *loop) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    while (sqe == NULL) { /* ends: the submission empties the queue, or the program ends */
        int submitted = io_uring_submit(&loop->ring);
        if (submitted < 0 && submitted != -EAGAIN && submitted != -EBUSY && submitted != -EINTR) {
            errno = -submitted;
            bare_fail("io_uring_submit");
        }
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

static void accept_start(struct loop *loop) {
    struct io_uring_sqe *sqe = sqe_get(loop);
    io_uring_prep_multishot_accept(sqe, loop->listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, NULL);
}

static void receive_start(struct loop *loop, struct connection *connection) {
    struct io_uring_sqe *sqe = sqe_get(loop);
    io_uring_prep_recv(sqe, connection->fd, connection->buffers.in + connection->buffers.in_bytes,
                       sizeof(connection->buffers.in) - connection->buffers.in_bytes, 0);
    sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
    io_uring_sqe_set_data(sqe, connection);
    connection->is_sending = false;
}

static void send_start(struct loop *loop, struct connection *connection) {
    const char *data = loop->is_http ? connection->buffers.out : connection->buffers.in;
    struct io_uring_sqe *sqe = sqe_get(loop);
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
    bare_nodelay(fd);
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
    int result = bare_http_answer(&loop->answer, &connection->buffers);
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

int main(int argc, char **argv) {
    static struct loop loop;
    struct bare_options options = bare_options_parse(argc, argv, 1);
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = COMPLETIONS_MAX,
    };
    int error = io_uring_queue_init_params(RING_ENTRIES, &loop.ring, &params);
    if (error < 0) {
        errno = -error;
        bare_fail("io_uring");
    }
    (void)io_uring_register_ring_fd(&loop.ring); /* saves a lookup where it works */
    loop.is_http = options.is_http;
    loop.listener = bare_listen(&options, 0);
    accept_start(&loop);
    bare_announce(&options);
    while (true) { /* until the process is ended by a signal */
        struct io_uring_cqe *cqes[BATCH_MAX];
        error = io_uring_submit_and_wait(&loop.ring, 1);
        if (error < 0 && error != -EINTR && error != -EAGAIN && error != -EBUSY) {
            errno = -error;
            bare_fail("io_uring_submit_and_wait");
        }
        unsigned count = io_uring_peek_batch_cqe(&loop.ring, cqes, BATCH_MAX);
        for (unsigned i = 0; i < count; i++) {
            struct connection *connection = io_uring_cqe_get_data(cqes[i]);
            int result = cqes[i]->res;
            if (connection == NULL) {
                accepted(&loop, result);
                if ((cqes[i]->flags & IORING_CQE_F_MORE) == 0) {
                    accept_start(&loop);
                }
            } else if (completed(&loop, connection, result) < 0) {
                close(connection->fd);
                free(connection);
            }
        }
        io_uring_cq_advance(&loop.ring, count);
    }
}
