/* SPDX-License-Identifier: MIT */
/*
 * An echo server of callbacks: functions that are called when a descriptor is ready, as with a
 * selector, in place of a loop for each connection.
 *
 *     build/release/bin/echo_callback
 *     echo hello world | nc -N 127.0.0.1 25000
 *
 * Each watch is a task, so a callback may wait: this one does when the peer is slow to read. A
 * callback that gets an error in place of events is called for the last time, and closes.
 *
 * SIGINT or SIGTERM cancels the root scope: each watch gets its last call, and the program ends.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>
#include <bonxie/ready.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define BUFFER_BYTES 4096
#define ACCEPT_RETRY_NS 10000000u /* without descriptors or memory: try again in 10 ms */

/* What plain calls, which never wait here, return. */
static ssize_t or_errno(ssize_t result) {
    return result < 0 ? -errno : result;
}

/* A connection has something to read, or its end. Non-zero ends the watch. */
static int on_readable(int fd, int revents, void *arg) {
    char data[BUFFER_BYTES];
    (void)arg;
    ssize_t got = revents < 0 ? revents : or_errno(recv(fd, data, sizeof(data), MSG_DONTWAIT));
    if (got == -EAGAIN || got == -EINTR) {
        return 0;
    }
    if (got > 0 && bnx_send_all(fd, data, (size_t)got) == got) {
        return 0;
    }
    bnx_close(fd);
    return 1;
}

/* The listener has a connection. */
static int on_connection(int listener, int revents, void *arg) {
    struct bnx_scope *connections = arg;
    if (revents < 0) {
        return 0;
    }
    int fd = (int)or_errno(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd < 0) {
        bool is_full = fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM;
        return is_full && bnx_sleep(ACCEPT_RETRY_NS) != 0 ? 1 : 0;
    }
    struct bnx_fd_watch_options watch = {.fd = fd, .events = POLLIN, .fn = on_readable};
    if (bnx_fd_watch(connections, &watch) != 0) {
        bnx_close(fd);
    }
    return 0;
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
        struct bnx_fd_watch_options watch = {
            .fd = listener, .events = POLLIN, .fn = on_connection, .arg = &connections};
        error = bnx_announce(listener);
        error = error == 0 ? bnx_fd_watch(&connections, &watch) : error;
        (void)bnx_scope_close(&connections); /* -ECANCELED is how it ends */
    }
    bnx_close(listener);
    return error < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
    const struct bnx_small_server server = {"sends back what it receives, by callbacks",
                                            "127.0.0.1:25000", serve};
    return bnx_small_server_main(argc, argv, &server);
}
