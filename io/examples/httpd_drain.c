/* SPDX-License-Identifier: MIT */
/* Finishes the connections of httpd after the cancel. */
#include "io/examples/httpd_drain.h"

#include <bonxie/time.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define STEPS_MAX 4096 /* of one connection in a row: then the others have a turn */

void bnx_httpd_drain_add(struct bnx_httpd_drain *drain, struct bnx_httpd_connection *connection) {
    struct bnx_httpd_connection *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        bnx_httpd_fini(connection);
        close(connection->fd);
        return;
    }
    memcpy(copy, connection, offsetof(struct bnx_httpd_connection, in));
    memcpy(copy->in, connection->in, connection->in_end);
    memcpy(copy->out, connection->out, connection->out_end);
    copy->is_draining = true;
    copy->is_dry = false;
    pthread_mutex_lock(&drain->lock);
    copy->next = drain->first;
    drain->first = copy;
    pthread_mutex_unlock(&drain->lock);
}

/* Our side is closed: waits for the peer's end. Returns the events to wait for, 0 when it is
 * over. */
static short linger_step(struct bnx_httpd_connection *connection) {
    if (!connection->is_shut) {
        connection->is_shut = true;
        if (shutdown(connection->fd, SHUT_WR) < 0) {
            return 0;
        }
    }
    for (int i = 0; i < STEPS_MAX; i++) {
        ssize_t bytes = recv(connection->fd, connection->in, sizeof(connection->in), MSG_DONTWAIT);
        if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
            return POLLIN;
        }
        if (bytes <= 0) {
            return 0;
        }
    }
    return POLLIN;
}

/* Goes on until it would wait. Returns the events to wait for, 0 when the connection is over. */
static short connection_step(struct bnx_httpd_connection *connection) {
    short events = POLLIN | POLLOUT; /* a turn that ran out of steps is ready at once */
    for (int i = 0; i < STEPS_MAX; i++) {
        ssize_t bytes = 0;
        switch (bnx_httpd_next(connection)) {
        case BNX_HTTPD_RECEIVE:
            events = POLLIN;
            bytes = recv(connection->fd, connection->in + connection->in_end,
                         sizeof(connection->in) - connection->in_end, MSG_DONTWAIT);
            if (bytes >= 0) {
                bnx_httpd_received(connection, (size_t)bytes);
            } else if (errno == EAGAIN && !connection->is_dry) {
                connection->is_dry = true;
                continue; /* now it is known which answer is the last */
            }
            break;
        case BNX_HTTPD_SEND:
            events = POLLOUT;
            bytes = send(connection->fd, connection->out + connection->out_begin,
                         connection->out_end - connection->out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (bytes > 0) {
                bnx_httpd_sent(connection, (size_t)bytes);
            }
            break;
        case BNX_HTTPD_READ: {
            size_t room = sizeof(connection->out) - connection->out_end;
            size_t wanted =
                connection->file_bytes_left < room ? (size_t)connection->file_bytes_left : room;
            bytes = read(connection->file_fd, connection->out + connection->out_end, wanted);
            bnx_httpd_file_read(connection, bytes);
            bytes = 0;
            break;
        }
        case BNX_HTTPD_END:
            return linger_step(connection);
        }
        if (bytes < 0 && errno != EINTR) {
            return errno == EAGAIN ? events : 0;
        }
    }
    return events;
}

/* Closes and frees a connection. */
static void connection_end(struct bnx_httpd_connection *connection) {
    bnx_httpd_fini(connection);
    close(connection->fd);
    free(connection);
}

/* An idle peer owes nothing and is owed nothing; a shut one has had everything. */
static bool is_waiting_for_peer(short events, const struct bnx_httpd_connection *connection) {
    return connection->is_shut || (events & POLLOUT) == 0;
}

void bnx_httpd_drain_run(struct bnx_httpd_drain *drain) {
    size_t count = 0;
    for (struct bnx_httpd_connection *at = drain->first; at != NULL; at = at->next) {
        count++;
    }
    struct bnx_httpd_connection **connections = calloc(count + 1, sizeof(*connections));
    struct pollfd *polls = calloc(count + 1, sizeof(*polls));
    bool can_wait = connections != NULL && polls != NULL;
    uint64_t start_ns = bnx_now();
    size_t index = 0;
    for (struct bnx_httpd_connection *at = drain->first, *next = NULL; at != NULL; at = next) {
        next = at->next;
        if (!can_wait) {
            (void)connection_step(at); /* what goes without waiting */
            connection_end(at);
            continue;
        }
        polls[index] = (struct pollfd){.fd = at->fd, .revents = POLLIN};
        connections[index++] = at;
    }
    drain->first = NULL;
    count = can_wait ? count : 0;

    while (count > 0) { /* ends: after BNX_HTTPD_DRAIN_NS nothing is kept */
        uint64_t passed_ns = bnx_now() - start_ns;
        uint64_t end_ns = BNX_HTTPD_IDLE_NS;
        size_t kept = 0;
        for (index = 0; index < count; index++) {
            struct bnx_httpd_connection *connection = connections[index];
            short events =
                polls[index].revents != 0 ? connection_step(connection) : polls[index].events;
            bool is_waiting = is_waiting_for_peer(events, connection);
            if (events == 0 || passed_ns >= (is_waiting ? BNX_HTTPD_IDLE_NS : BNX_HTTPD_DRAIN_NS)) {
                connection_end(connection);
                continue;
            }
            end_ns = is_waiting ? end_ns : BNX_HTTPD_DRAIN_NS;
            connections[kept] = connection;
            polls[kept++] = (struct pollfd){.fd = connection->fd, .events = events};
        }
        count = kept;
        if (count > 0) {
            uint64_t left_ns = end_ns > passed_ns ? end_ns - passed_ns : 0;
            (void)poll(polls, (nfds_t)count,
                       (int)(left_ns / NS_PER_MS) + 1); /* EINTR: look again */
        }
    }
    free(connections);
    free(polls);
}
