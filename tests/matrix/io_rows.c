/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: sockets and descriptors. */
#include "tests/matrix/matrix.h"

#include "tests/io/names.h"

#include <bonxie/dial.h>
#include <bonxie/serve.h>

#include <sys/un.h>

static void close_pair(struct matrix_place *place) {
    io_close_pair(place->fds);
}

static void pair_prepare(struct matrix_place *place) {
    io_unix_pair(place->fds);
}

/* Reads all there is; the other side may be writing meanwhile. */
static void drain(struct matrix_place *place) {
    int flags = bnx_os.fcntl(place->fds[0], F_GETFL, 0);
    CHECK_EQ(bnx_os.fcntl(place->fds[0], F_SETFL, flags | O_NONBLOCK), 0);
    char data[4096];
    while (bnx_os.read(place->fds[0], data, sizeof(data)) > 0) { /* ends: nobody writes that fast */
    }
    CHECK_EQ(bnx_os.fcntl(place->fds[0], F_SETFL, flags), 0);
}

/* ---- Receiving and sending: fds[0] reads, fds[1] writes ---- */

static int64_t recv_some(struct matrix_place *place) {
    return bnx_recv(place->fds[0], place->data, sizeof(place->data), 0);
}

static int64_t recv_exact(struct matrix_place *place) {
    return bnx_recv_exact(place->fds[0], place->data, 4);
}

static int64_t read_some(struct matrix_place *place) {
    return bnx_read(place->fds[0], place->data, sizeof(place->data));
}

static void write_four(struct matrix_place *place) {
    CHECK_EQ(bnx_os.write(place->fds[1], "four", 4), 4);
}

static void full_prepare(struct matrix_place *place) {
    io_unix_pair(place->fds);
    io_fill_up(place->fds[1]);
}

static int64_t send_some(struct matrix_place *place) {
    return bnx_send(place->fds[1], "four", 4, 0);
}

static int64_t send_all(struct matrix_place *place) {
    return bnx_send_all(place->fds[1], "four", 4);
}

static int64_t send_zerocopy(struct matrix_place *place) {
    return bnx_send_zerocopy(place->fds[1], "four", 4);
}

static void pipe_prepare(struct matrix_place *place) {
    io_pipe(place->fds);
}

static void full_pipe_prepare(struct matrix_place *place) {
    io_pipe(place->fds);
    io_fill_up(place->fds[1]);
}

static int64_t write_some(struct matrix_place *place) {
    return bnx_write(place->fds[1], "four", 4);
}

/* ---- Files: what they need comes by itself ---- */

static void file_prepare(struct matrix_place *place) {
    char name[] = "/tmp/bonxie-matrix-XXXXXX";
    place->fds[0] = mkstemp(name);
    CHECK(place->fds[0] >= 0);
    CHECK_EQ(unlink(name), 0);
    CHECK_EQ(bnx_os.write(place->fds[0], "four", 4), 4);
}

static void file_end(struct matrix_place *place) {
    CHECK_EQ(close(place->fds[0]), 0);
}

static int64_t pread_four(struct matrix_place *place) {
    return bnx_pread(place->fds[0], place->data, sizeof(place->data), 0);
}

static int64_t pwrite_four(struct matrix_place *place) {
    return bnx_pwrite(place->fds[0], "five", 4, 0);
}

/* ---- Connections ---- */

static void listener_prepare(struct matrix_place *place, int backlog) {
    static uint32_t number; /* no two listeners of this process have a name in common */
    (void)snprintf(place->name, sizeof(place->name), "unix:@bonxie-matrix-%d-%u", getpid(),
                   bnx_fetch_add_relaxed(&number, 1));
    struct bnx_listen_options options = {.backlog = backlog};
    place->listener = bnx_listen(place->name, &options);
    CHECK(place->listener >= 0);
    CHECK_EQ(bnx_address_parse(place->name, &place->target), 0);
}

static int plain_connect(struct matrix_place *place) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    const struct sockaddr *target = (const void *)&place->target.storage;
    CHECK(connect(fd, target, place->target.bytes) == 0 || errno == EAGAIN);
    return fd;
}

static void accept_prepare(struct matrix_place *place) {
    place->filler[0] = -1;
    listener_prepare(place, 0);
}

static int64_t accept_one(struct matrix_place *place) {
    int fd = bnx_accept(place->listener, NULL);
    return fd < 0 ? fd : close(fd);
}

static void accept_pass(struct matrix_place *place) {
    place->filler[0] = plain_connect(place);
}

static void accept_end(struct matrix_place *place) {
    CHECK_EQ(close(place->filler[0]), 0);
    CHECK_EQ(close(place->listener), 0);
}

static int64_t iterate_once(struct matrix_place *place) {
    struct bnx_iter iter;
    void *value;
    int result = bnx_iter_next(bnx_iter_from_listener(&iter, place->listener), &value);
    return result == 1 ? close((int)(intptr_t)value) : result;
}

static int serve_nobody(int fd, void *arg) {
    (void)fd;
    (void)arg;
    CHECK(false);
    return 0;
}

static int64_t serve_until_cancelled(struct matrix_place *place) {
    struct bnx_serve_options options = {.listeners = &place->listener, .listener_count = 1};
    return bnx_serve(NULL, NULL, serve_nobody, NULL, &options);
}

static void serve_end(struct matrix_place *place) {
    CHECK_EQ(close(place->listener), 0);
}

/* Takes no more: a blocking connect waits, on one of the kernel's threads. */
static void connect_prepare(struct matrix_place *place) {
    listener_prepare(place, 1);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(place->filler); i++) {
        place->filler[i] = plain_connect(place);
    }
}

static int64_t connect_named(struct matrix_place *place) {
    int fd = bnx_connect(place->name);
    return fd < 0 ? fd : close(fd);
}

static int64_t connect_to(struct matrix_place *place) {
    int fd = bnx_connect_to(&place->target);
    return fd < 0 ? fd : close(fd);
}

static void connect_pass(struct matrix_place *place) {
    int fd = accept4(place->listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
}

static void connect_end(struct matrix_place *place) {
    for (size_t i = 0; i < BNX_ARRAY_COUNT(place->filler); i++) {
        CHECK_EQ(close(place->filler[i]), 0);
    }
    CHECK_EQ(close(place->listener), 0);
}

/* ---- Names ---- */

/* The resolver hangs until the gate is opened; no two cells ask for the same name. */
static void resolve_prepare(struct matrix_place *place) {
    static const char *const answers[] = {"127.0.0.1", NULL};
    static uint32_t number;
    if (bnx_os.getaddrinfo != names_getaddrinfo) {
        names_install();
        names.answers = answers;
    }
    names_shut();
    (void)snprintf(place->name, sizeof(place->name), "held-%u:1",
                   bnx_fetch_add_relaxed(&number, 1));
}

static int64_t resolve_one(struct matrix_place *place) {
    return bnx_resolve(place->name, NULL, &place->target, 1);
}

/* Nobody listens at port 1. */
static int64_t dial_by_name(struct matrix_place *place) {
    return bnx_dial(place->name, NULL);
}

static void resolve_pass(struct matrix_place *place) {
    (void)place;
    names_open();
}

static int64_t dial_address(struct matrix_place *place) {
    int fd = bnx_dial(place->name, NULL);
    return fd < 0 ? fd : close(fd);
}

/* ---- Close ---- */

static int recv_until_closed(void *arg) {
    CHECK_EQ(recv_some(arg), -EBADF);
    return 0;
}

/* On a thread it is close(2), which ends nobody's wait. */
static void close_prepare(struct matrix_place *place) {
    pair_prepare(place);
    CHECK_EQ(bnx_scope_open(&place->scope, NULL), 0);
    if (!place->is_on_thread) {
        CHECK_EQ(bnx_spawn_with(&place->scope, NULL, recv_until_closed, place, &place->helper), 0);
        matrix_await_parked(place->helper);
    }
}

static int64_t close_one(struct matrix_place *place) {
    return bnx_close(place->fds[0]);
}

static void close_end(struct matrix_place *place) {
    matrix_help_end(place);
    CHECK_EQ(close(place->fds[1]), 0);
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_recv", "nothing there", pair_prepare, NULL, recv_some, write_four, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_recv_exact", "nothing there", pair_prepare, NULL, recv_exact, write_four, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send", "no room", full_prepare, NULL, send_some, drain, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send_all", "no room", full_prepare, NULL, send_all, drain, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send_zerocopy", "no room", full_prepare, NULL, send_zerocopy, drain, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_read", "nothing there", pipe_prepare, NULL, read_some, write_four, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_write", "no room", full_pipe_prepare, NULL, write_some, drain, close_pair,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_pread", "a file", file_prepare, NULL, pread_four, NULL, file_end,
     MATRIX_REFUSED_TASK(4), MATRIX_NO_EVENT},
    {"bnx_pwrite", "a file", file_prepare, NULL, pwrite_four, NULL, file_end,
     MATRIX_REFUSED_TASK(4), MATRIX_NO_EVENT},
    {"bnx_accept", "nobody comes", accept_prepare, NULL, accept_one, accept_pass, accept_end,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_iter_from_listener", "nobody comes", accept_prepare, NULL, iterate_once, accept_pass,
     accept_end, MATRIX_REFUSED_TASK(0), 0},
    {"bnx_serve", "nobody comes", accept_prepare, NULL, serve_until_cancelled, NULL, serve_end,
     MATRIX_REFUSED_TASK(0), MATRIX_ENDLESS},
    {"bnx_connect", "no room", connect_prepare, NULL, connect_named, connect_pass, connect_end,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_connect_to", "no room", connect_prepare, NULL, connect_to, connect_pass, connect_end,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_resolve", "no answer", resolve_prepare, NULL, resolve_one, resolve_pass, NULL,
     MATRIX_REFUSED_TASK(1), 0},
    {"bnx_dial", "no answer", resolve_prepare, NULL, dial_by_name, resolve_pass, NULL,
     MATRIX_REFUSED_TASK(-ECONNREFUSED), 0},
    {"bnx_dial", "no room", connect_prepare, NULL, dial_address, connect_pass, connect_end,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_close", "a task waits on it", close_prepare, NULL, close_one, NULL, close_end,
     MATRIX_SAME(0), MATRIX_NO_EVENT},
};
/* clang-format on */

const struct matrix_part matrix_io = {rows, BNX_ARRAY_COUNT(rows)};
