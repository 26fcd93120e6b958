/* SPDX-License-Identifier: MIT */
/* As tests/unit/everywhere_test.c, with sockets on the real driver. */
#include "tests/support/everywhere.h"

#include "tests/io/fixture.h"

struct server {
    int listener;
    char name[64];
};

static int echo_once(void *arg) {
    int fd = (int)(intptr_t)arg;
    char data[64];
    ssize_t bytes = bnx_recv(fd, data, sizeof(data), 0);
    if (bytes > 0) {
        bytes = bnx_send_all(fd, data, (size_t)bytes);
    }
    CHECK_EQ(bnx_close(fd), 0);
    return bytes < 0 && bytes != -EPIPE && bytes != -ECONNRESET ? (int)bytes : 0;
}

static int serve(void *arg) {
    struct server *server = arg;
    struct bnx_scope scope;
    int error = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2 && error == 0; i++) {
        int fd = bnx_accept(server->listener, NULL);
        if (fd < 0) {
            error = fd;
        } else if (bnx_spawn(&scope, echo_once, (void *)(intptr_t)fd) != 0) {
            CHECK_EQ(bnx_close(fd), 0);
            error = -ECANCELED;
        }
    }
    int closed = bnx_scope_close(&scope);
    return error != 0 ? error : closed;
}

static int ask(void *arg) {
    struct server *server = arg;
    int fd = bnx_connect(server->name);
    if (fd < 0) {
        return fd;
    }
    char data[4];
    ssize_t bytes = bnx_send_all(fd, "four", 4);
    if (bytes == 4) {
        bytes = bnx_recv_exact(fd, data, 4);
        CHECK(bytes != 4 || memcmp(data, "four", 4) == 0);
    }
    CHECK_EQ(bnx_close(fd), 0);
    return bytes < 0 ? (int)bytes : 0;
}

static int use_sockets(void *arg) {
    (void)arg;
    struct server server;
    struct bnx_scope scope;
    int fds = io_fd_count();
    (void)snprintf(server.name, sizeof(server.name), "unix:@bonxie-everywhere-%d", getpid());
    server.listener = bnx_listen(server.name, NULL);
    CHECK(server.listener >= 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 3; i++) {
        int error = bnx_spawn(&scope, i == 0 ? serve : ask, &server);
        CHECK(error == 0 || error == -ECANCELED);
    }
    int error = bnx_scope_close(&scope);
    CHECK_EQ(bnx_close(server.listener), 0);
    CHECK_EQ(io_fd_count(), fds);
    return error == -EPIPE || error == -ECONNRESET ? -ECANCELED : error;
}

TEST(everywhere_sockets, "cancel.at_every_suspension_sockets") {
    everywhere(use_sockets);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
