/* SPDX-License-Identifier: MIT */
/*
 * A bare io_uring loop, echo or HTTP /plaintext: multishot RECV into provided buffers, SEND on the
 * ring, one a thread.
 *
 * Concepts
 *   A connection arms its receive once; each completion brings a buffer, which waits in the
 *   connection's queue. An echo is sent from the buffer, and the kernel gets it back when the send
 *   is over; HTTP copies it to the input and gives it back at once. One send is in flight at most.
 *
 *   A peer that does not read would take all buffers: with HELD_MAX of them a connection has its
 *   receive cancelled, and arms it again when they are gone. Some 40 may have come by then, so a
 *   few dozens of such peers stop everybody: this is a limit to compare with, no server. When
 *   buffers run out, receives end with ENOBUFS and are armed again as buffers come back.
 */
#include "bench/peers/bare/ring.h"

#include <sys/mman.h>

#define BUFFERS 1024 /* a power of two */
#define BUFFER_BYTES 2048
#define BUFFER_GROUP 0
#define HELD_MAX 8
#define NO_BUFFER UINT16_MAX

/* In the low bits of the user data, which are 0 in an address. */
enum { KIND_RECEIVE = 0, KIND_SEND = 1, KIND_CANCEL = 2, KIND_MASK = 3 };

struct connection {
    int fd;
    bool is_armed;      /* the receive is in flight */
    bool is_sending;    /* and the send */
    bool is_cancelling; /* the receive is to end, for there are too many buffers */
    bool has_ended;     /* the peer sends no more: over once it has its answers */
    bool is_over;       /* nothing is begun any more */
    bool is_starved;    /* in the loop's list */
    uint16_t first;     /* queue of received buffers, by the loop's next[] */
    uint16_t last;      /* of it; meaningless when it is empty */
    uint16_t held;      /* its length */
    size_t first_at;    /* consumed of the first buffer */
    struct connection *next_starved;
    struct server_buffers buffers; /* HTTP only */
};

struct loop {
    pthread_t thread;
    struct ring_start *start;
    struct io_uring ring;
    int listener;
    bool is_http;
    unsigned returned; /* buffers given back in this turn and not yet announced */
    struct io_uring_buf_ring *provided;
    char *memory;               /* BUFFERS of BUFFER_BYTES */
    uint16_t next[BUFFERS];     /* of a buffer in a queue */
    uint16_t bytes[BUFFERS];    /* received into it */
    struct connection *starved; /* want to receive, and found no buffer */
    struct server_answer answer;
};

static void buffer_return(struct loop *loop, uint16_t id) {
    io_uring_buf_ring_add(loop->provided, loop->memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES,
                          id, io_uring_buf_ring_mask(BUFFERS), (int)loop->returned);
    loop->returned++;
}

static void buffers_announce(struct loop *loop) {
    if (loop->returned > 0) {
        io_uring_buf_ring_advance(loop->provided, (int)loop->returned);
        loop->returned = 0;
    }
}

static void buffers_open(struct loop *loop) {
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    size_t bytes = ring_bytes + (size_t)BUFFERS * BUFFER_BYTES;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        server_fail("mmap");
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)memory,
        .ring_entries = BUFFERS,
        .bgid = BUFFER_GROUP,
    };
    int error = io_uring_register_buf_ring(&loop->ring, &registration, 0);
    if (error < 0) {
        ring_fail("io_uring_register_buf_ring", error);
    }
    loop->provided = (struct io_uring_buf_ring *)memory;
    loop->memory = memory + ring_bytes;
    io_uring_buf_ring_init(loop->provided);
    for (uint16_t id = 0; id < BUFFERS; id++) {
        buffer_return(loop, id);
    }
    buffers_announce(loop);
}

static void sqe_tag(struct io_uring_sqe *sqe, struct connection *connection, unsigned kind) {
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)connection | kind);
}

static void receive_arm(struct loop *loop, struct connection *connection) {
    struct io_uring_sqe *sqe = ring_sqe(&loop->ring);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe_tag(sqe, connection, KIND_RECEIVE);
    connection->is_armed = true;
}

static void receive_cancel(struct loop *loop, struct connection *connection) {
    struct io_uring_sqe *sqe = ring_sqe(&loop->ring);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)connection | KIND_RECEIVE, 0);
    sqe_tag(sqe, connection, KIND_CANCEL);
    connection->is_cancelling = true;
}

static void send_start(struct loop *loop, struct connection *connection, const char *data,
                       size_t bytes) {
    struct io_uring_sqe *sqe = ring_sqe(&loop->ring);
    io_uring_prep_send(sqe, connection->fd, data, bytes, MSG_NOSIGNAL);
    sqe_tag(sqe, connection, KIND_SEND);
    connection->is_sending = true;
}

/* Gives the first buffer of the queue back. */
static void buffer_consume(struct loop *loop, struct connection *connection) {
    uint16_t id = connection->first;
    connection->first = loop->next[id];
    connection->first_at = 0;
    connection->held--;
    buffer_return(loop, id);
}

/* Puts received bytes at the end of the queue. */
static void buffer_hold(struct loop *loop, struct connection *connection, uint16_t id, int bytes) {
    loop->bytes[id] = (uint16_t)bytes;
    loop->next[id] = NO_BUFFER;
    if (connection->held == 0) {
        connection->first = id;
    } else {
        loop->next[connection->last] = id;
    }
    connection->last = id;
    connection->held++;
}

/* Moves from the queue to the input what there is room for. Returns whether anything moved. */
static bool input_fill(struct loop *loop, struct connection *connection) {
    struct server_buffers *buffers = &connection->buffers;
    bool has_moved = false;
    while (connection->held > 0 && buffers->in_bytes < sizeof(buffers->in)) {
        uint16_t id = connection->first;
        size_t left = loop->bytes[id] - connection->first_at;
        size_t room = sizeof(buffers->in) - buffers->in_bytes;
        size_t taken = left < room ? left : room;
        memcpy(buffers->in + buffers->in_bytes,
               loop->memory + (size_t)id * BUFFER_BYTES + connection->first_at, taken);
        buffers->in_bytes += taken;
        connection->first_at += taken;
        has_moved = true;
        if (taken == left) {
            buffer_consume(loop, connection);
        }
    }
    return has_moved;
}

/* Sends what the queue allows, unless a send is in flight. Returns -1 to end the connection. */
static int output_advance(struct loop *loop, struct connection *connection) {
    struct server_buffers *buffers = &connection->buffers;
    if (connection->is_sending) {
        return 0;
    }
    if (!loop->is_http) {
        if (connection->held > 0) {
            uint16_t id = connection->first;
            send_start(loop, connection,
                       loop->memory + (size_t)id * BUFFER_BYTES + connection->first_at,
                       loop->bytes[id] - connection->first_at);
        }
        return 0;
    }
    while (input_fill(loop, connection) || buffers->in_bytes > 0) { /* ends: see the break */
        int result = server_http_answer(&loop->answer, buffers);
        if (result < 0) {
            return -1;
        }
        if (result > 0) {
            send_start(loop, connection, buffers->out, buffers->out_bytes);
            break;
        }
        if (connection->held == 0) {
            break; /* the head is not complete */
        }
    }
    return 0;
}

/* Frees the connection if nothing of it is in flight. Otherwise sees to it that that ends. */
static void connection_end(struct loop *loop, struct connection *connection) {
    if (!connection->is_over) {
        connection->is_over = true;
        (void)shutdown(connection->fd, SHUT_RDWR);
    }
    if (connection->is_armed || connection->is_sending || connection->is_cancelling ||
        connection->is_starved) {
        return;
    }
    while (connection->held > 0) {
        buffer_consume(loop, connection);
    }
    close(connection->fd);
    free(connection);
}

/* Arms the receive or has it cancelled, as the queue is short or long; or ends the connection. */
static void connection_settle(struct loop *loop, struct connection *connection, int result) {
    bool is_answered = connection->has_ended && !connection->is_sending;
    if (result < 0 || connection->is_over || is_answered) {
        connection_end(loop, connection);
    } else if (connection->is_armed && connection->held > HELD_MAX && !connection->is_cancelling) {
        receive_cancel(loop, connection);
    } else if (!connection->is_armed && !connection->has_ended &&
               connection->held <= HELD_MAX / 2 && !connection->is_cancelling &&
               !connection->is_starved) {
        receive_arm(loop, connection);
    }
}

/* Returns -1 to end the connection. */
static int received(struct loop *loop, struct connection *connection,
                    const struct io_uring_cqe *cqe) {
    connection->is_armed = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (cqe->res > 0) {
        buffer_hold(loop, connection, (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT), cqe->res);
        return connection->is_over ? 0 : output_advance(loop, connection);
    }
    if (cqe->res == -ENOBUFS && !connection->is_over) {
        connection->is_starved = true;
        connection->next_starved = loop->starved;
        loop->starved = connection;
        return 0;
    }
    if (cqe->res == 0) {
        connection->has_ended = true;
        return connection->is_over ? 0 : output_advance(loop, connection);
    }
    return cqe->res == -ECANCELED ? 0 : -1;
}

/* Returns -1 to end the connection. */
static int sent(struct loop *loop, struct connection *connection, int result) {
    struct server_buffers *buffers = &connection->buffers;
    connection->is_sending = false;
    if (result <= 0 || connection->is_over) {
        return -1;
    }
    if (!loop->is_http) {
        connection->first_at += (size_t)result;
        if (connection->first_at == loop->bytes[connection->first]) {
            buffer_consume(loop, connection);
        }
        return output_advance(loop, connection);
    }
    buffers->out_at += (size_t)result;
    if (buffers->out_at < buffers->out_bytes) {
        send_start(loop, connection, buffers->out + buffers->out_at,
                   buffers->out_bytes - buffers->out_at);
        return 0;
    }
    buffers->out_at = 0;
    buffers->out_bytes = 0;
    return output_advance(loop, connection);
}

static void accepted(struct loop *loop, const struct io_uring_cqe *cqe) {
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        ring_accept(&loop->ring, loop->listener);
    }
    struct connection *connection = cqe->res >= 0 ? malloc(sizeof(*connection)) : NULL;
    if (connection == NULL) {
        if (cqe->res >= 0) {
            close(cqe->res);
        }
        return;
    }
    memset(connection, 0, offsetof(struct connection, buffers.in));
    connection->fd = cqe->res;
    server_nodelay(connection->fd);
    receive_arm(loop, connection);
}

static void completed(struct loop *loop, const struct io_uring_cqe *cqe) {
    struct connection *connection =
        (struct connection *)(uintptr_t)(cqe->user_data & ~(uint64_t)KIND_MASK);
    int result = 0;
    if (connection == NULL) {
        accepted(loop, cqe);
        return;
    }
    switch (cqe->user_data & KIND_MASK) {
    case KIND_RECEIVE:
        result = received(loop, connection, cqe);
        break;
    case KIND_SEND:
        result = sent(loop, connection, cqe->res);
        break;
    default:
        connection->is_cancelling = false;
        break;
    }
    connection_settle(loop, connection, result);
}

/* After a turn: the kernel gets its buffers back, and who found none tries again. */
static void turn_end(struct loop *loop) {
    bool has_buffers = loop->returned > 0;
    buffers_announce(loop);
    while (has_buffers && loop->starved != NULL) {
        struct connection *connection = loop->starved;
        loop->starved = connection->next_starved;
        connection->is_starved = false;
        connection_settle(loop, connection, 0);
    }
}

static void *loop_run(void *arg) {
    struct loop *loop = arg;
    ring_open(&loop->ring);
    buffers_open(loop);
    ring_accept(&loop->ring, loop->listener);
    ring_started(loop->start);
    while (true) { /* until the process is ended by a signal */
        struct io_uring_cqe *cqes[RING_BATCH];
        unsigned count = ring_wait(&loop->ring, cqes);
        for (unsigned i = 0; i < count; i++) {
            completed(loop, cqes[i]);
        }
        io_uring_cq_advance(&loop->ring, count);
        turn_end(loop);
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
