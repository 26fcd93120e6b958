/* SPDX-License-Identifier: MIT */
/*
 * Tests the passing of descriptors and credentials (bonxie/pass.h): what comes is what was sent,
 * and nothing is ever left over. With pairs, pipes and socket options (bonxie/socket.h).
 */
#include "tests/io/fixture.h"

#include <bonxie/datagram.h>
#include <bonxie/pass.h>
#include <bonxie/socket.h>

#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

static void check_same_file(int fd, int other) {
    struct stat status, expected;
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(fstat(other, &expected), 0);
    CHECK(status.st_ino == expected.st_ino && status.st_dev == expected.st_dev);
}

/* ---- Descriptors ---- */

static void pass_some(const int pair[2], size_t count) {
    int pipes[2], sent[BNX_PASS_FDS_MAX], got[BNX_PASS_FDS_MAX];
    char data[8] = "";
    io_pipe(pipes);
    for (size_t i = 0; i < count; i++) {
        sent[i] = pipes[i % 2];
    }
    struct bnx_parcel out = {.data = "data", .bytes = 4, .fds = sent, .fd_count = count};
    struct bnx_parcel in = {
        .data = data, .bytes = sizeof(data), .fds = got, .fd_count = BNX_PASS_FDS_MAX};
    CHECK_EQ(bnx_send_fds(pair[0], &out), 4);
    CHECK_EQ(bnx_recv_fds(pair[1], &in), 4);
    CHECK(memcmp(data, "data", 4) == 0);
    CHECK_EQ(in.fd_count, count);
    CHECK_EQ(in.flags, 0);
    CHECK(!in.has_credentials);
    for (size_t i = 0; i < count; i++) {
        check_same_file(got[i], sent[i]);
        CHECK((fcntl(got[i], F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_EQ(close(got[i]), 0);
    }
    io_close_pair(pipes); /* the sender's own are still there */
}

static int pass_each(void *arg) {
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(kinds); i++) {
        int pair[2];
        CHECK_EQ(bnx_socketpair(kinds[i], pair), 0);
        CHECK((fcntl(pair[0], F_GETFD) & FD_CLOEXEC) != 0);
        pass_some(pair, 0);
        pass_some(pair, 1);
        pass_some(pair, 2);
        pass_some(pair, BNX_PASS_FDS_MAX);
        int many[BNX_PASS_FDS_MAX + 1] = {0};
        struct bnx_parcel wrong = {
            .data = "x", .bytes = 1, .fds = many, .fd_count = BNX_PASS_FDS_MAX + 1};
        CHECK_EQ(bnx_send_fds(pair[0], &wrong), -EINVAL);
        wrong.fd_count = 1;
        wrong.bytes = 0;
        CHECK_EQ(bnx_send_fds(pair[0], &wrong), -EINVAL);
        CHECK_EQ(bnx_recv_fds(pair[0], &wrong), -EINVAL);
        wrong.bytes = 1;
        many[0] = -1;
        CHECK_EQ(bnx_send_fds(pair[0], &wrong), -EBADF);
        CHECK_EQ(bnx_close(pair[0]), 0);
        CHECK_EQ(bnx_close(pair[1]), 0);
    }
    return 0;
}

/* None, one and as many as fit arrive, over each kind of socket: the same files, close-on-exec. */
TEST(pass_fds, "pass.fds") {
    int before = io_fd_count();
    sched_run_each(pass_each, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- What does not fit ---- */

static void send_three(int fd) {
    int pipes[2];
    io_pipe(pipes);
    int sent[] = {pipes[0], pipes[1], pipes[0]};
    struct bnx_parcel out = {.data = "data", .bytes = 4, .fds = sent, .fd_count = 3};
    CHECK_EQ(bnx_send_fds(fd, &out), 4);
    io_close_pair(pipes);
}

static int receive_too_few(void *arg) {
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(kinds); i++) {
        int pair[2], got[3];
        char data[2];
        CHECK_EQ(bnx_socketpair(kinds[i], pair), 0);
        for (size_t room = 0; room < 3; room++) {
            int before = io_fd_count();
            struct bnx_parcel in = {
                .data = data, .bytes = sizeof(data), .fds = got, .fd_count = room};
            send_three(pair[0]);
            CHECK_EQ(bnx_recv_fds(pair[1], &in), 2);
            CHECK_EQ(in.fd_count, room);
            CHECK_EQ(in.flags, kinds[i] == SOCK_STREAM ? MSG_CTRUNC : MSG_CTRUNC | MSG_TRUNC);
            if (kinds[i] == SOCK_STREAM) { /* the rest of the data has none */
                CHECK_EQ(bnx_recv(pair[1], data, sizeof(data), 0), 2);
            }
            CHECK_EQ(io_fd_count(), before + (int)room);
            for (size_t j = 0; j < room; j++) {
                CHECK_EQ(close(got[j]), 0);
            }
        }
        io_close_pair(pair);
    }
    return 0;
}

/* Descriptors for which there is no room are closed, and the receiver is told. */
TEST(pass_truncation, "pass.what_is_too_much_is_closed") {
    int before = io_fd_count();
    sched_run_each(receive_too_few, NULL);
    CHECK_EQ(io_fd_count(), before);
}

static int receive_at_limit(void *arg) {
    struct rlimit limit, low;
    int pair[2], got[3];
    char data[4];
    (void)arg;
    CHECK_EQ(bnx_socketpair(SOCK_STREAM, pair), 0);
    send_three(pair[0]);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int before = io_fd_count();
    int next = dup(pair[0]); /* the lowest number that is free */
    CHECK(next >= 0);
    CHECK_EQ(close(next), 0);
    low = limit;
    low.rlim_cur = (rlim_t)next + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct bnx_parcel in = {.data = data, .bytes = sizeof(data), .fds = got, .fd_count = 3};
    ssize_t bytes = bnx_recv_fds(pair[1], &in);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQ(bytes, 4);
    CHECK_EQ(in.fd_count, 1);
    CHECK_EQ(in.flags, MSG_CTRUNC);
    CHECK_EQ(io_fd_count(), before + 1);
    CHECK_EQ(close(got[0]), 0);
    io_close_pair(pair);
    return 0;
}

/* At the limit of the process the data comes all the same, with what there is room for. A watchdog
 * of a busy machine opens files: there would be room for one more when it has closed one. */
TEST(pass_limit, "pass.at_the_descriptor_limit") {
    int before = io_fd_count();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = {
            .worker_count = sched_worker_counts[i], .seed = 1, .flags = BNX_NO_WATCHDOG};
        CHECK_EQ(bnx_run(&options, receive_at_limit, NULL), 0);
    }
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Cancels ---- */

struct census {
    int pair[2];
    int passed; /* the descriptor that is sent */
    uint64_t sent;
    uint64_t received;
    uint64_t cancelled;
};

static int receive_one(void *arg) {
    struct census *census = arg;
    int got = -1;
    char data;
    struct bnx_parcel in = {.data = &data, .bytes = 1, .fds = &got, .fd_count = 1};
    ssize_t bytes = bnx_recv_fds(census->pair[1], &in);
    if (bytes == -ECANCELED) {
        CHECK_EQ(in.fd_count, 1); /* as it was */
        CHECK_EQ(got, -1);
        census->cancelled++;
        return 0;
    }
    CHECK_EQ(bytes, 1);
    CHECK_EQ(in.fd_count, 1);
    CHECK_EQ((unsigned char)data, census->received % 251);
    CHECK_EQ(close(got), 0);
    census->received++;
    return 0;
}

static int race_cancels(void *arg) {
    struct census *census = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 0);
    uint64_t rounds = bnx_test_scale(5000) + 50;
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_scope scope;
        struct bnx_task *receiver;
        char data = (char)(census->sent % 251);
        struct bnx_parcel out = {.data = &data, .bytes = 1, .fds = &census->passed, .fd_count = 1};
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_one, census, &receiver), 0);
        io_await_wait(receiver, BNX_WAIT_RECV);
        bool is_cancelled_first = bnx_rng_below(&rng, 2) != 0;
        if (is_cancelled_first) {
            bnx_cancel(receiver, 0);
        }
        CHECK_EQ(bnx_send_fds(census->pair[0], &out), 1);
        census->sent++;
        for (uint32_t turns = bnx_rng_below(&rng, 4); turns > 0; turns--) {
            bnx_yield();
        }
        bnx_cancel(receiver, 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        if (census->received < census->sent) { /* the cancelled one has left it there */
            CHECK_EQ(receive_one(census), 0);
        }
        CHECK_EQ(census->received, census->sent);
    }
    return 0;
}

/* A cancel races the receipt of a descriptor: each comes once, with its byte, and none is left. */
TEST(pass_census, "pass.success_beats_cancel") {
    struct census census = {.passed = STDERR_FILENO};
    int before = io_fd_count();
    for (size_t i = 0; i < BNX_ARRAY_COUNT(kinds); i++) {
        CHECK_EQ(bnx_socketpair(kinds[i], census.pair), 0);
        sched_run(1 + (uint32_t)i, race_cancels, &census);
        io_close_pair(census.pair);
    }
    CHECK_EQ(io_fd_count(), before);
    CHECK(census.cancelled > 0 || bnx_test_scale(1000) < 1000); /* few rounds may all be won */
}

static int receive_then_end(void *arg) {
    int fd = *(int *)arg;
    char data[4];
    struct bnx_parcel in = {.data = data, .bytes = sizeof(data)};
    CHECK_EQ(bnx_recv_fds(fd, &in), 0);
    return 0;
}

/* A sender vanishes with descriptors under way; the receiver does, and nobody takes them. */
static int vanish(void *arg) {
    int pair[2];
    struct bnx_scope scope;
    struct bnx_task *receiver;
    (void)arg;
    CHECK_EQ(bnx_socketpair(SOCK_STREAM, pair), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_then_end, &pair[1], &receiver), 0);
    io_await_wait(receiver, BNX_WAIT_RECV);
    CHECK_EQ(bnx_close(pair[0]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(pair[1]), 0);

    CHECK_EQ(bnx_socketpair(SOCK_STREAM, pair), 0);
    send_three(pair[0]);
    CHECK_EQ(bnx_close(pair[1]), 0);
    struct bnx_parcel out = {.data = "x", .bytes = 1, .fds = pair, .fd_count = 1};
    CHECK_EQ(bnx_send_fds(pair[0], &out), -EPIPE);
    CHECK_EQ(bnx_close(pair[0]), 0);
    return 0;
}

TEST(pass_vanish, "pass.peers_that_vanish") {
    int before = io_fd_count();
    sched_run_each(vanish, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Credentials ---- */

static void check_own(const struct bnx_credentials *credentials) {
    CHECK_EQ(credentials->pid, getpid());
    CHECK_EQ(credentials->uid, geteuid());
    CHECK_EQ(credentials->gid, getegid());
}

static int pass_credentials(void *arg) {
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(kinds); i++) {
        int pair[2], got;
        char data[4];
        CHECK_EQ(bnx_socketpair(kinds[i], pair), 0);
        struct bnx_parcel out = {.data = "data", .bytes = 4, .fds = pair, .fd_count = 1};
        struct bnx_parcel in = {.data = data, .bytes = 4, .fds = &got, .fd_count = 1};
        out.has_credentials = true;
        out.credentials = (struct bnx_credentials){getpid(), geteuid(), getegid()};
        CHECK_EQ(bnx_credentials_receive(pair[1], 1), 0);
        CHECK_EQ(bnx_send_fds(pair[0], &out), 4); /* said by the sender */
        CHECK_EQ(bnx_recv_fds(pair[1], &in), 4);
        CHECK(in.has_credentials && in.fd_count == 1 && in.flags == 0);
        check_own(&in.credentials);
        CHECK_EQ(close(got), 0);
        CHECK_EQ(bnx_send(pair[0], "more", 4, 0), 4); /* by the kernel */
        CHECK_EQ(bnx_recv_fds(pair[1], &in), 4);
        CHECK(in.has_credentials && in.fd_count == 0);
        check_own(&in.credentials);
        out.credentials.pid = INT_MAX; /* nobody */
        CHECK(bnx_send_fds(pair[0], &out) < 0);
        if (kinds[i] == SOCK_STREAM) {
            struct bnx_credentials peer;
            CHECK_EQ(bnx_credentials_peer(pair[0], &peer), 0);
            check_own(&peer);
        }
        io_close_pair(pair);
    }
    struct bnx_credentials none = {1, 2, 3};
    int alone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bnx_credentials_peer(alone, &none), -ENOTCONN);
    CHECK_EQ(close(alone), 0);
    CHECK_EQ(bnx_credentials_peer(alone, &none), -EBADF);
    CHECK(none.pid == 1 && none.gid == 3);
    return 0;
}

/* Credentials come along, said by the sender or added by the kernel; nobody can say others'. */
TEST(pass_credentials, "pass.credentials") {
    sched_run_each(pass_credentials, NULL);
}

#define NO_NAMESPACE 77

/* The first process of a namespace sees no number of who made the pair, but the user. */
static int look_as_first(int fd) {
    struct bnx_credentials peer = {.pid = -1};
    CHECK_EQ(bnx_credentials_peer(fd, &peer), 0);
    CHECK_EQ(peer.pid, 0);
    CHECK_EQ(peer.uid, geteuid());
    return 0;
}

/* Runs fn in a child. Returns its exit status. */
static int run_in_child(int (*fn)(int fd), int fd) {
    int status = -1;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(fn(fd));
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int make_namespace(int fd) {
    return unshare(CLONE_NEWPID) == 0 ? run_in_child(look_as_first, fd) : NO_NAMESPACE;
}

/* A peer in a namespace whose numbers are not ours is a peer all the same. */
TEST(pass_namespace, "pass.peer_of_another_namespace") {
    int pair[2];
    io_unix_pair(pair);
    int status = run_in_child(make_namespace, pair[0]);
    io_close_pair(pair);
    if (status == NO_NAMESPACE) {
        SKIP("no process namespace of its own is allowed");
    }
    CHECK_EQ(status, 0);
}

/* ---- Pairs, pipes, options ---- */

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t bytes = sizeof(value);
    CHECK_EQ(getsockopt(fd, level, name, &value, &bytes), 0);
    return value;
}

TEST(socket_options, "socket.options") {
    int fds[2];
    struct bnx_keepalive keepalive = {.idle_s = 70, .interval_s = 7, .probes = 3};
    struct linger linger;
    socklen_t bytes = sizeof(linger);
    io_tcp_pair(fds);
    CHECK_EQ(bnx_socket_nodelay(fds[0], 1), 0);
    CHECK(option_of(fds[0], IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK_EQ(bnx_socket_nodelay(fds[0], 0), 0);
    CHECK_EQ(option_of(fds[0], IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(bnx_socket_keepalive(fds[0], &keepalive), 0);
    CHECK(option_of(fds[0], SOL_SOCKET, SO_KEEPALIVE) != 0);
    CHECK_EQ(option_of(fds[0], IPPROTO_TCP, TCP_KEEPIDLE), 70);
    CHECK_EQ(option_of(fds[0], IPPROTO_TCP, TCP_KEEPINTVL), 7);
    CHECK_EQ(option_of(fds[0], IPPROTO_TCP, TCP_KEEPCNT), 3);
    keepalive.probes = -1;
    CHECK_EQ(bnx_socket_keepalive(fds[0], &keepalive), -EINVAL);
    CHECK_EQ(bnx_socket_keepalive(fds[0], NULL), 0);
    CHECK_EQ(option_of(fds[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_EQ(bnx_socket_buffers(fds[0], 8192, 16384), 0);
    CHECK_EQ(option_of(fds[0], SOL_SOCKET, SO_RCVBUF), 2 * 8192);
    CHECK_EQ(option_of(fds[0], SOL_SOCKET, SO_SNDBUF), 2 * 16384);
    CHECK_EQ(bnx_socket_buffers(fds[0], 0, 8192), 0);
    CHECK_EQ(option_of(fds[0], SOL_SOCKET, SO_RCVBUF), 2 * 8192);
    CHECK_EQ(option_of(fds[0], SOL_SOCKET, SO_SNDBUF), 2 * 8192);
    CHECK_EQ(bnx_socket_linger(fds[0], -1), 0);
    CHECK_EQ(getsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, &bytes), 0);
    CHECK_EQ(linger.l_onoff, 0);
    CHECK_EQ(bnx_socket_linger(fds[0], 0), 0); /* what follows is a reset */
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(bnx_socket_error(fds[1]), -ECONNRESET);
    CHECK_EQ(bnx_socket_error(fds[1]), 0); /* told once */
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(bnx_socket_error(fds[1]), -EBADF);
    CHECK_EQ(bnx_socket_linger(fds[1], 0), -EBADF);
    CHECK_EQ(bnx_socketpair(SOCK_RAW, fds), -EINVAL);
}

static int use_pipe(void *arg) {
    int fds[2];
    char data[8];
    (void)arg;
    CHECK_EQ(bnx_pipe(fds), 0);
    CHECK((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(fds[1], F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_EQ(bnx_write(fds[1], "four", 4), 4);
    CHECK_EQ(bnx_read(fds[0], data, sizeof(data)), 4);
    CHECK(memcmp(data, "four", 4) == 0);
    CHECK_EQ(bnx_close(fds[1]), 0);
    CHECK_EQ(bnx_read(fds[0], data, sizeof(data)), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    return 0;
}

TEST(socket_pipe, "socket.pipe") {
    int before = io_fd_count();
    sched_run_each(use_pipe, NULL);
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
