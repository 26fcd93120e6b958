/* SPDX-License-Identifier: MIT */
/* Tests a guest on the real driver: sockets, cancels and several guests in the loop of one host. */
#include "tests/io/fixture.h"
#include "tests/unit/guest_fixture.h"

#include <sys/epoll.h>

/* ---- Echo ---- */

#define CONNECTIONS 8
#define MESSAGE_BYTES 64

struct line {
    int fds[2];  /* the guest's end, the client's */
    int rounds;  /* messages to echo */
    int *served; /* connections that have ended; the host's tasks */
};

static int serve_line(void *arg) {
    struct line *line = arg;
    char buffer[MESSAGE_BYTES];
    for (;;) { /* ends with the client */
        ssize_t bytes = bnx_recv(line->fds[0], buffer, sizeof(buffer), 0);
        CHECK(bytes >= 0);
        if (bytes == 0) {
            ++*line->served;
            return 0;
        }
        CHECK_EQ(bnx_send_all(line->fds[0], buffer, (size_t)bytes), bytes);
    }
}

static void use_line(void *arg) {
    struct line *line = arg;
    char sent[MESSAGE_BYTES];
    char back[MESSAGE_BYTES];
    for (int i = 0; i < line->rounds; i++) {
        memset(sent, 'a' + i % 26, sizeof(sent));
        CHECK_EQ(send(line->fds[1], sent, sizeof(sent), 0), sizeof(sent));
        CHECK_EQ(recv(line->fds[1], back, sizeof(back), MSG_WAITALL), sizeof(back));
        CHECK(memcmp(sent, back, sizeof(sent)) == 0);
    }
    CHECK_EQ(shutdown(line->fds[1], SHUT_WR), 0);
}

static void echo(void (*make_pair)(int out_fds[2]), int rounds) {
    struct bnx_runtime *runtime = guest_create();
    struct line lines[CONNECTIONS];
    struct bnx_os_thread threads[CONNECTIONS];
    int served = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        lines[i] = (struct line){.rounds = rounds, .served = &served};
        make_pair(lines[i].fds);
        CHECK_EQ(bnx_runtime_spawn(runtime, serve_line, &lines[i], NULL), 0);
        sched_thread_start(&threads[i], use_line, &lines[i]);
    }
    long visits = 0;
    while (served < CONNECTIONS) { /* ends with the clients */
        (void)turn(runtime);
        visits++;
    }
    CHECK(visits <= 3L * CONNECTIONS * (rounds + 2));
    CHECK(falls_silent(runtime));
    for (int i = 0; i < CONNECTIONS; i++) {
        sched_thread_join(&threads[i]);
        io_close_pair(lines[i].fds);
    }
    sched_destroy(runtime);
}

/* Threads talk to tasks of a host that sleeps on the guest's descriptor alone: completions wake it,
 * about one visit a message, and it is quiet once all has been said. */
TEST(guest_echo, "guest.echo") {
    int rounds = (int)bnx_test_scale(1000);
    echo(io_unix_pair, rounds);
    echo(io_tcp_pair, rounds);
}

/* ---- Cancel ---- */

static int receive(void *arg) {
    char byte;
    return (int)bnx_recv(*(int *)arg, &byte, 1, 0);
}

static int receive_in_time(void *arg) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + 2 * BNX_NS_PER_MS};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    int error = receive(arg);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    return error;
}

/* A deadline, and then a stop from another thread, end operations that nobody else would end. */
TEST(guest_cancel, "guest.cancel") {
    uint64_t rounds = bnx_test_scale(50);
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_runtime *runtime = guest_create();
        int fds[2];
        io_unix_pair(fds);
        CHECK_EQ(bnx_runtime_run(runtime, receive_in_time, &fds[0]), -ETIMEDOUT);
        struct bnx_future *done[CONNECTIONS];
        for (int k = 0; k < CONNECTIONS; k++) {
            CHECK_EQ(bnx_runtime_spawn(runtime, receive, &fds[0], &done[k]), 0);
        }
        (void)turn(runtime);
        CHECK(falls_silent(runtime));
        CHECK_EQ(bnx_runtime_stop(runtime), 0);
        for (int k = 0; k < CONNECTIONS; k++) {
            void *value = NULL;
            while (bnx_future_poll(done[k], &value) == -EAGAIN) { /* ends with the cancel */
                (void)turn(runtime);
            }
            CHECK_EQ((intptr_t)value, -ECANCELED);
            bnx_future_unref(done[k]);
        }
        CHECK_EQ(bnx_runtime_wait(runtime, 0), 0);
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
        io_close_pair(fds);
    }
}

/* ---- Several ---- */

static int pass_on(void *arg) {
    const int *fds = arg;
    int rounds = (int)bnx_test_scale(1000);
    char byte = 'x';
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(bnx_recv(fds[0], &byte, 1, 0), 1);
        CHECK_EQ(bnx_send(fds[1], &byte, 1, 0), 1);
    }
    return 0;
}

/* Two guests of one host, whose descriptors it watches by epoll, pass a byte to and fro. */
TEST(guest_two_guests, "guest.two_guests") {
    struct bnx_runtime *runtimes[2];
    struct bnx_future *done[2];
    int ways[2][2];
    int routes[2][2];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll_fd >= 0);
    for (int i = 0; i < 2; i++) {
        io_unix_pair(ways[i]);
    }
    for (int i = 0; i < 2; i++) {
        runtimes[i] = guest_create();
        routes[i][0] = ways[i][0];
        routes[i][1] = ways[1 - i][1];
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = runtimes[i]}};
        CHECK_EQ(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bnx_runtime_fd(runtimes[i]), &event), 0);
        CHECK_EQ(bnx_runtime_spawn(runtimes[i], pass_on, routes[i], &done[i]), 0);
    }
    char byte = 'x';
    CHECK_EQ(send(ways[0][1], &byte, 1, 0), 1);
    while (bnx_future_poll(done[0], NULL) == -EAGAIN || bnx_future_poll(done[1], NULL) == -EAGAIN) {
        struct epoll_event events[2];
        int count = epoll_wait(epoll_fd, events, 2, -1);
        CHECK(count > 0);
        for (int i = 0; i < count; i++) {
            CHECK(bnx_runtime_poll(events[i].data.ptr, 0) >= 0);
        }
    }
    for (int i = 0; i < 2; i++) {
        bnx_future_unref(done[i]);
        sched_destroy(runtimes[i]);
        io_close_pair(ways[i]);
    }
    CHECK_EQ(close(epoll_fd), 0);
}

static int talk_to_oneself(void *arg) {
    (void)arg;
    io_round_trip();
    return 0;
}

/* A thousand lives leave no descriptor behind. */
TEST(guest_thousand_rings, "guest.thousand_rings") {
    int before = io_fd_count();
    uint64_t lives = bnx_test_scale(1000);
    for (uint64_t i = 0; i < lives; i++) {
        struct bnx_runtime *runtime = guest_create();
        if (i % 4 != 0) {
            CHECK_EQ(bnx_runtime_run(runtime, talk_to_oneself, NULL), 0);
        }
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    }
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
