/* SPDX-License-Identifier: MIT */
/* A bare level-triggered epoll loop, echo or HTTP /plaintext: what a library is compared with. */
#include "bench/peers/server.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EVENTS_MAX 256

struct connection {
    int fd;
    bool waits_to_send; /* out is registered instead of in */
    struct server_buffers buffers;
};

struct loop {
    pthread_t thread;
    int listener;
    int epoll_fd;
    bool is_http;
    struct server_answer answer;
};

static void connection_close(struct connection *connection) {
    close(connection->fd);
    free(connection);
}

static void connections_accept(struct loop *loop) {
    while (true) { /* ends: the backlog is finite */
        int fd = accept4(loop->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        server_nodelay(fd);
        struct connection *connection = malloc(sizeof(*connection));
        if (connection == NULL) {
            close(fd);
            return;
        }
        memset(connection, 0, offsetof(struct connection, buffers.in));
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
            connection_close(connection);
        }
    }
}

/* Sends what is due. Returns 1 all sent, 0 the socket is full and waited for, -1 closed. */
static int output_send(struct loop *loop, struct connection *connection, const char *data) {
    while (connection->buffers.out_at < connection->buffers.out_bytes) {
        ssize_t bytes =
            send(connection->fd, data + connection->buffers.out_at,
                 connection->buffers.out_bytes - connection->buffers.out_at, MSG_NOSIGNAL);
        if (bytes < 0 && errno != EAGAIN) {
            return -1;
        }
        if (bytes < 0) {
            if (data != connection->buffers.out) {
                connection->buffers.out_bytes -= connection->buffers.out_at;
                memcpy(connection->buffers.out, data + connection->buffers.out_at,
                       connection->buffers.out_bytes);
                connection->buffers.out_at = 0;
            }
            break;
        }
        connection->buffers.out_at += (size_t)bytes;
    }
    bool is_full = connection->buffers.out_at < connection->buffers.out_bytes;
    if (is_full != connection->waits_to_send) {
        struct epoll_event event = {.events = is_full ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
        connection->waits_to_send = is_full;
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) < 0) {
            return -1;
        }
    }
    if (!is_full) {
        connection->buffers.out_at = 0;
        connection->buffers.out_bytes = 0;
    }
    return is_full ? 0 : 1;
}

/* Answers what is complete in the input and sends it. Returns as output_send. */
static int requests_answer(struct loop *loop, struct connection *connection) {
    int result = 1;
    while (result > 0) { /* ends: each turn consumes input */
        result = server_http_answer(&loop->answer, &connection->buffers);
        if (result <= 0) {
            return result;
        }
        result = output_send(loop, connection, connection->buffers.out);
        if (connection->buffers.in_bytes == 0) {
            return result;
        }
    }
    return result;
}

/* Serves one event: level-triggered, so one receive is enough. Returns -1 to close. */
static int connection_serve(struct loop *loop, struct connection *connection) {
    if (connection->waits_to_send) {
        int sent = output_send(loop, connection, connection->buffers.out);
        if (sent <= 0 || !loop->is_http) {
            return sent;
        }
        return requests_answer(loop, connection);
    }
    ssize_t bytes = recv(connection->fd, connection->buffers.in + connection->buffers.in_bytes,
                         sizeof(connection->buffers.in) - connection->buffers.in_bytes, 0);
    if (bytes <= 0) {
        return bytes < 0 && errno == EAGAIN ? 0 : -1;
    }
    if (loop->is_http) {
        connection->buffers.in_bytes += (size_t)bytes;
        return requests_answer(loop, connection);
    }
    connection->buffers.out_bytes = (size_t)bytes;
    return output_send(loop, connection, connection->buffers.in);
}

static void *loop_run(void *arg) {
    struct loop *loop = arg;
    struct epoll_event events[EVENTS_MAX];
    (void)prctl(PR_SET_TIMERSLACK, 1);
    while (true) { /* until the process is ended by a signal */
        int count = epoll_wait(loop->epoll_fd, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            server_fail("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                connections_accept(loop);
            } else if (connection_serve(loop, connection) < 0) {
                connection_close(connection);
            }
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    static struct loop loops[SERVER_WORKERS_MAX];
    struct server_options options;
    server_options_parse(&options, argc, argv);
    for (int i = 0; i < options.worker_count; i++) {
        loops[i].is_http = options.is_http;
        loops[i].listener = server_listen(&options, SOCK_NONBLOCK);
        loops[i].epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        if (loops[i].epoll_fd < 0 ||
            epoll_ctl(loops[i].epoll_fd, EPOLL_CTL_ADD, loops[i].listener, &event) < 0) {
            server_fail("epoll");
        }
    }
    server_announce(&options);
    for (int i = 1; i < options.worker_count; i++) {
        if (pthread_create(&loops[i].thread, NULL, loop_run, &loops[i]) != 0) {
            server_fail("pthread_create");
        }
    }
    loop_run(&loops[0]);
    return 0;
}
