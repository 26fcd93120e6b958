/* SPDX-License-Identifier: MIT */
/*
 * An echo server: one task per connection, each a plain loop of receive and send.
 *
 * SIGINT or SIGTERM cancels the root scope: every call that would wait then says -ECANCELED. The
 * listener closes, each connection sends back what has already arrived and closes, main returns 0.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_BYTES 16384
#define REST_BYTES_MAX (8u << 20) /* more than a receive buffer holds unless somebody tuned it */
#define ACCEPT_RETRY_NS 10000000u /* without descriptors or memory: try again in 10 ms */

/* After a cancel no call waits any more, but what the peer sent before it is still owed. The plain
 * system calls never suspend; a peer that does not read its echo loses the rest of it. */
static void echo_rest(int fd, char *buffer, size_t unsent_bytes, size_t unsent_at) {
    size_t rest_bytes = 0;
    while (rest_bytes < REST_BYTES_MAX) { /* and until the socket runs dry, or full */
        while (unsent_bytes > 0) {
            ssize_t sent = send(fd, buffer + unsent_at, unsent_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0) {
                return;
            }
            unsent_at += (size_t)sent;
            unsent_bytes -= (size_t)sent;
        }
        ssize_t received = recv(fd, buffer, BUFFER_BYTES, MSG_DONTWAIT);
        if (received <= 0) {
            return;
        }
        unsent_at = 0;
        unsent_bytes = (size_t)received;
        rest_bytes += unsent_bytes;
    }
}

static int connection_task(void *arg) {
    int fd = (int)(intptr_t)arg;
    char buffer[BUFFER_BYTES];
    size_t bytes = 0; /* received and not sent back */
    size_t at = 0;
    ssize_t result = 0;
    while (true) { /* ends when the peer does, or with the scope */
        result = bnx_recv(fd, buffer, sizeof(buffer), 0);
        if (result <= 0) {
            break;
        }
        bytes = (size_t)result;
        for (at = 0; bytes > 0; at += (size_t)result, bytes -= (size_t)result) {
            result = bnx_send(fd, buffer + at, bytes, 0);
            if (result < 0) {
                break;
            }
        }
        if (result < 0) {
            break;
        }
    }
    if (result == -ECANCELED) {
        echo_rest(fd, buffer, bytes, at);
    }
    bnx_close(fd);
    return 0; /* an error here would cancel the other connections */
}

static int accept_loop(struct bnx_scope *connections, int listener) {
    while (true) { /* ends with the scope */
        int fd = bnx_accept(listener, NULL);
        int error = fd;
        if (fd >= 0) {
            error = bnx_spawn(connections, connection_task, (void *)(intptr_t)fd);
            if (error < 0) {
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
            return error; /* the listener is gone; anything else is one connection's trouble */
        }
    }
}

static int serve(void *arg) {
    const char *address = arg;
    int listener = bnx_listen(address, NULL);
    if (listener < 0) {
        fprintf(stderr, "cannot listen on %s: %s\n", address, strerror(-listener));
        return 1;
    }
    struct bnx_scope connections;
    int error = bnx_scope_open(&connections, NULL);
    if (error == 0) {
        error = bnx_announce(listener);
        error = error == 0 ? accept_loop(&connections, listener) : error;
        bnx_close(listener);
        (void)bnx_scope_close(&connections); /* -ECANCELED is how it ends */
    }
    return error < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
    const struct bnx_small_server server = {"sends back what it receives", "127.0.0.1:25000",
                                            serve};
    return bnx_small_server_main(argc, argv, &server);
}
