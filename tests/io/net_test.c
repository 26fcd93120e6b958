/* SPDX-License-Identifier: MIT */
/* Tests sockets as bonxie/net.h promises them: addresses, listeners, streams, wrong use. */
#include "tests/io/fixture.h"

#include <sys/stat.h>
#include <sys/un.h>

/* ---- Addresses ---- */

/* Every form is read and written back; NULL: it is refused and the output stays as it was. */
static const struct {
    const char *text;
    const char *formatted;
} addresses[] = {
    {"127.0.0.1:8080", "127.0.0.1:8080"},
    {"0.0.0.0:0", "0.0.0.0:0"},
    {"255.255.255.255:65535", "255.255.255.255:65535"},
    {":80", "0.0.0.0:80"},
    {"1.2.3.4:00080", "1.2.3.4:80"},
    {"[::1]:80", "[::1]:80"},
    {"[::]:0", "[::]:0"},
    {"[2001:db8:0:0:0:0:0:1]:443", "[2001:db8::1]:443"},
    {"[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1"},
    {"unix:/run/x.sock", "unix:/run/x.sock"},
    {"unix:x", "unix:x"},
    {"unix:@name", "unix:@name"},
    {"unix:@", "unix:@"},
    {"", NULL},
    {":", NULL},
    {"80", NULL},
    {"127.0.0.1", NULL},
    {"127.0.0.1:", NULL},
    {"127.0.0.1:65536", NULL},
    {"127.0.0.1:99999999999999999999", NULL},
    {"127.0.0.1:-1", NULL},
    {"127.0.0.1:+1", NULL},
    {"127.0.0.1: 1", NULL},
    {"127.0.0.1:1x", NULL},
    {"127.0.0:1", NULL},
    {"127.0.0.256:1", NULL},
    {"localhost:1", NULL},
    {"a-host-name-that-is-longer-than-any-address-could-be.example:1", NULL},
    {"::1:80", NULL},
    {"[::1]", NULL},
    {"[::1]:", NULL},
    {"[::1]80", NULL},
    {"[::1:80", NULL},
    {"[127.0.0.1]:80", NULL},
    {"[]:80", NULL},
    {"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:1", NULL},
    {"unix:", NULL},
    {"unix", NULL},
};

TEST(net_address, "net.address") {
    for (size_t i = 0; i < BNX_ARRAY_COUNT(addresses); i++) {
        struct bnx_address address;
        memset(&address, 0x5a, sizeof(address));
        struct bnx_address before = address;
        int error = bnx_address_parse(addresses[i].text, &address);
        if (addresses[i].formatted == NULL) {
            if (error != -EINVAL) {
                bnx_test_fail(__FILE__, __LINE__, "\"%s\" gives %d", addresses[i].text, error);
            }
            CHECK(memcmp(&address, &before, sizeof(address)) == 0);
            continue;
        }
        CHECK_EQ(error, 0);
        char text[BNX_ADDRESS_TEXT_BYTES];
        CHECK_EQ(bnx_address_format(&address, text, sizeof(text)), strlen(addresses[i].formatted));
        CHECK_STR(text, addresses[i].formatted);
    }
    struct bnx_address address;
    CHECK_EQ(bnx_address_parse(NULL, &address), -EINVAL);
    CHECK_EQ(bnx_address_parse(":1", NULL), -EINVAL);
}

/* The longest names fit, one more byte does not; too small a buffer and no address are refused. */
TEST(net_address_limits, "net.address_limits") {
    char text[BNX_ADDRESS_TEXT_BYTES + 8] = "unix:/";
    char formatted[BNX_ADDRESS_TEXT_BYTES];
    struct bnx_address address;
    memset(text + 6, 'a', 106); /* 107 bytes and the NUL are what sun_path holds */
    CHECK_EQ(bnx_address_parse(text, &address), 0);
    CHECK_EQ(bnx_address_format(&address, formatted, sizeof(formatted)), 112);
    CHECK_STR(formatted, text);
    text[112] = 'a';
    CHECK_EQ(bnx_address_parse(text, &address), -EINVAL);
    CHECK_EQ(bnx_address_parse("127.0.0.1:80", &address), 0);
    CHECK_EQ(bnx_address_format(&address, formatted, sizeof("127.0.0.1:80")), 12);
    CHECK_EQ(bnx_address_format(&address, formatted, sizeof("127.0.0.1:80") - 1), -ENOSPC);
    memset(&address, 0, sizeof(address));
    CHECK_EQ(bnx_address_format(&address, formatted, sizeof(formatted)), -EINVAL);
}

/* ---- Listening ---- */

static void local_address(int fd, char out[BNX_ADDRESS_TEXT_BYTES]) {
    struct bnx_address local;
    CHECK_EQ(bnx_address_local(fd, &local), 0);
    CHECK(bnx_address_format(&local, out, BNX_ADDRESS_TEXT_BYTES) > 0);
}

/* Wrong addresses, an address in use, a path that cannot be; options that show on the socket. */
TEST(net_listen, "net.listen") {
    CHECK_EQ(bnx_listen(NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_listen("nonsense", NULL), -EINVAL);
    CHECK_EQ(bnx_listen("192.0.2.1:1", NULL), -EADDRNOTAVAIL);
    CHECK_EQ(bnx_listen("unix:/none/such/socket", NULL), -ENOENT);

    char address[BNX_ADDRESS_TEXT_BYTES];
    int first = bnx_listen("127.0.0.1:0", NULL);
    CHECK(first >= 0);
    local_address(first, address);
    CHECK_EQ(bnx_listen(address, NULL), -EADDRINUSE);
    struct bnx_listen_options shared = {.reuse_port = 1};
    CHECK_EQ(bnx_listen(address, &shared), -EADDRINUSE); /* the first one did not share */
    CHECK_EQ(bnx_close(first), 0);

    int second = bnx_listen(address, &shared);
    CHECK(second >= 0);
    int third = bnx_listen(address, &shared);
    CHECK(third >= 0);
    CHECK((fcntl(third, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(third, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_EQ(bnx_close(second), 0);
    CHECK_EQ(bnx_close(third), 0);
    CHECK_EQ(bnx_address_local(third, &(struct bnx_address){0}), -EBADF);
}

/* A unix socket's file that nobody listens on is replaced; one in use, and a file that is no
 * socket, are left alone. */
TEST(net_listen_stale, "net.listen_replaces_stale_socket") {
    char directory[] = "/tmp/bonxie-net-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    char path[64];
    char address[72];
    (void)snprintf(path, sizeof(path), "%s/socket", directory);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    struct bnx_listen_options options = {.mode = 0600};
    int first = bnx_listen(address, &options);
    CHECK(first >= 0);
    struct stat status;
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0600);
    CHECK_EQ(bnx_listen(address, NULL), -EADDRINUSE);
    CHECK_EQ(bnx_close(first), 0);
    int second = bnx_listen(address, NULL);
    CHECK(second >= 0);
    CHECK_EQ(bnx_close(second), 0);
    CHECK_EQ(unlink(path), 0);

    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    CHECK_EQ(write(file, "precious", 8), 8);
    CHECK_EQ(close(file), 0);
    CHECK_EQ(bnx_listen(address, NULL), -EADDRINUSE);
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_size, 8);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(directory), 0);
}

/* ---- Connections of each family ---- */

struct meeting {
    const char *address;
    int listener;
    char bound[BNX_ADDRESS_TEXT_BYTES];
    char peer[BNX_ADDRESS_TEXT_BYTES]; /* as the accepting side sees the connecting one */
};

static int connect_and_ask(void *arg) {
    struct meeting *meeting = arg;
    int fd = bnx_connect(meeting->bound);
    CHECK(fd >= 0);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    char own[BNX_ADDRESS_TEXT_BYTES];
    local_address(fd, own);
    CHECK_EQ(bnx_send_all(fd, "ask", 3), 3);
    char answer[8];
    CHECK_EQ(bnx_recv_exact(fd, answer, 6), 6);
    CHECK(memcmp(answer, "answer", 6) == 0);
    CHECK_STR(meeting->peer, own);
    CHECK_EQ(bnx_recv(fd, answer, sizeof(answer), 0), 0);
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int meet(void *arg) {
    struct meeting *meeting = arg;
    meeting->listener = bnx_listen(meeting->address, NULL);
    if (meeting->listener == -EADDRNOTAVAIL) {
        return 0; /* no IPv6 here */
    }
    CHECK(meeting->listener >= 0);
    local_address(meeting->listener, meeting->bound);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, connect_and_ask, meeting), 0);
    struct bnx_address peer;
    int fd = bnx_accept(meeting->listener, &peer);
    CHECK(fd >= 0);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(bnx_address_format(&peer, meeting->peer, sizeof(meeting->peer)) > 0);
    char ask[8];
    CHECK_EQ(bnx_recv_exact(fd, ask, 3), 3);
    CHECK_EQ(bnx_send_all(fd, "answer", 6), 6);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(meeting->listener), 0);
    return 0;
}

/* TCP over IPv4 and IPv6, unix sockets by file and by abstract name: both sides see each other. */
TEST(net_families, "net.families") {
    char file[64];
    char name[64];
    (void)snprintf(file, sizeof(file), "unix:/tmp/bonxie-net-%d", getpid());
    (void)snprintf(name, sizeof(name), "unix:@bonxie-net-%d", getpid());
    const char *const all[] = {"127.0.0.1:0", "[::1]:0", file, name};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(all); i++) {
        struct meeting meeting = {.address = all[i]};
        sched_run_each(meet, &meeting);
    }
    CHECK_EQ(unlink(file + 5), 0);
}

/* ---- Streams ---- */

#define STREAM_BYTES (UINT64_C(64) << 20)
#define PIECE_BYTES 16384

struct stream {
    int fds[2]; /* the client's end, the server's end */
    uint64_t seed;
    uint64_t bytes;
    uint64_t sent_hash;
};

static int echo_server(void *arg) {
    struct stream *stream = arg;
    char buffer[PIECE_BYTES];
    ssize_t got;
    while ((got = bnx_recv(stream->fds[1], buffer, sizeof(buffer), 0)) > 0) {
        CHECK_EQ(bnx_send_all(stream->fds[1], buffer, (size_t)got), got);
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(bnx_close(stream->fds[1]), 0);
    return 0;
}

static int stream_sender(void *arg) {
    struct stream *stream = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, stream->seed, 0);
    uint64_t buffer[PIECE_BYTES / 8];
    stream->sent_hash = IO_HASH_START;
    for (uint64_t left = stream->bytes; left > 0;) {
        size_t bytes = left < sizeof(buffer) ? (size_t)left : sizeof(buffer);
        for (size_t i = 0; i < BNX_ARRAY_COUNT(buffer); i++) {
            buffer[i] = bnx_rng_next(&rng);
        }
        stream->sent_hash = io_hash(stream->sent_hash, buffer, bytes);
        CHECK_EQ(bnx_send_all(stream->fds[0], buffer, bytes), bytes);
        left -= bytes;
    }
    CHECK_EQ(bnx_shutdown(stream->fds[0], SHUT_WR), 0);
    return 0;
}

static int stream_receiver(void *arg) {
    struct stream *stream = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, echo_server, stream), 0);
    CHECK_EQ(bnx_spawn(&scope, stream_sender, stream), 0);
    char buffer[PIECE_BYTES];
    uint64_t hash = IO_HASH_START;
    uint64_t bytes = 0;
    ssize_t got;
    while ((got = bnx_recv(stream->fds[0], buffer, sizeof(buffer), 0)) > 0) {
        hash = io_hash(hash, buffer, (size_t)got);
        bytes += (uint64_t)got;
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bytes, stream->bytes);
    CHECK(hash == stream->sent_hash);
    CHECK_EQ(bnx_close(stream->fds[0]), 0);
    return 0;
}

struct streams {
    size_t count;
    uint64_t seed;
    void (*make_pair)(int out_fds[2]);
};

static int run_streams(void *arg) {
    const struct streams *streams = arg;
    struct stream *all = calloc(streams->count, sizeof(*all));
    CHECK(all != NULL);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < streams->count; i++) {
        all[i].seed = streams->seed + i;
        all[i].bytes = bnx_test_scale(STREAM_BYTES) / streams->count + 1;
        streams->make_pair(all[i].fds);
        CHECK_EQ(bnx_spawn(&scope, stream_receiver, &all[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    free(all);
    return 0;
}

/* 64 MiB go through 1, 64 and 1000 connections to an echo and back, TCP and unix, and are the same
 * bytes; half-closing one direction ends that direction alone. */
TEST(net_echo, "net.echo") {
    uint64_t seed = bnx_test_seed();
    CHECK(io_fd_limit_raise() >= 2100);
    for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
        static const size_t counts[] = {1, 64, 1000};
        for (size_t i = 0; i < BNX_ARRAY_COUNT(counts); i++) {
            struct streams streams = {counts[i], seed, is_tcp ? io_tcp_pair : io_unix_pair};
            sched_run(2, run_streams, &streams);
        }
    }
}

/* ---- Flags and errors ---- */

static int use_flags(void *arg) {
    (void)arg;
    int fds[2];
    char buffer[16];
    io_unix_pair(fds);
    CHECK_EQ(bnx_recv(fds[0], buffer, sizeof(buffer), MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_send(fds[1], "abcdef", 6, 0), 6);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, MSG_PEEK), 2);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, MSG_PEEK), 2);
    CHECK(memcmp(buffer, "ab", 2) == 0);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, MSG_DONTWAIT), 2);
    CHECK(memcmp(buffer, "ab", 2) == 0);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, 0), 2);
    CHECK(memcmp(buffer, "cd", 2) == 0);
    CHECK_EQ(bnx_recv_exact(fds[0], buffer, 2), 2);
    CHECK(memcmp(buffer, "ef", 2) == 0);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_recv_exact(fds[0], buffer, 0), 0);
    CHECK_EQ(bnx_send_all(fds[0], buffer, 0), 0);

    /* The end of the stream cuts an exact receive short, and is seen again and again. */
    CHECK_EQ(bnx_send(fds[1], "xyz", 3, 0), 3);
    CHECK_EQ(bnx_shutdown(fds[1], SHUT_WR), 0);
    CHECK_EQ(bnx_recv_exact(fds[0], buffer, sizeof(buffer)), 3);
    CHECK_EQ(bnx_recv(fds[0], buffer, sizeof(buffer), 0), 0);
    CHECK_EQ(bnx_recv_exact(fds[0], buffer, sizeof(buffer)), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_close(fds[1]), 0);
    return 0;
}

/* MSG_PEEK, MSG_DONTWAIT, the end of a stream, nothing to transfer. */
TEST(net_flags, "net.flags") {
    sched_run_each(use_flags, NULL);
}

struct late_writer {
    int fd;
    struct bnx_task *reader;
};

static int write_rest(void *arg) {
    const struct late_writer *writer = arg;
    io_await_wait(writer->reader, BNX_WAIT_RECV);
    CHECK_EQ(bnx_send(writer->fd, "gh", 2, 0), 2);
    return 0;
}

static int wait_for_all(void *arg) {
    (void)arg;
    int fds[2];
    char buffer[8];
    io_unix_pair(fds);
    CHECK_EQ(bnx_send(fds[1], "abcdef", 6, 0), 6);
    CHECK_EQ(bnx_recv(fds[0], buffer, 2, 0), 2); /* now it is known that more is there */
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct late_writer writer = {fds[1], bnx_task_self()};
    CHECK_EQ(bnx_spawn(&scope, write_rest, &writer), 0);
    CHECK_EQ(bnx_recv(fds[0], buffer, 6, MSG_WAITALL), 6);
    CHECK(memcmp(buffer, "cdefgh", 6) == 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_close(fds[1]), 0);
    return 0;
}

/* MSG_WAITALL waits for all of it, also when a part is known to be there. */
TEST(net_waitall, "net.waitall") {
    sched_run_each(wait_for_all, NULL);
}

static int send_to_closed(void *arg) {
    (void)arg;
    for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
        int fds[2];
        char data[64] = {0};
        (is_tcp ? io_tcp_pair : io_unix_pair)(fds);
        CHECK_EQ(bnx_close(fds[1]), 0);
        ssize_t sent;
        do { /* ends: a reset comes back, and a socket holds only so much */
            sent = bnx_send(fds[0], data, sizeof(data), 0);
        } while (sent >= 0);
        CHECK(sent == -EPIPE || (is_tcp && sent == -ECONNRESET));
        CHECK_EQ(bnx_send(fds[0], data, sizeof(data), 0), -EPIPE);
        CHECK_EQ(bnx_close(fds[0]), 0);
    }
    return 0;
}

/* The peer is gone: an error, and no SIGPIPE, whose default would end the process. */
TEST(net_epipe, "net.send_to_closed_is_epipe") {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    sched_run_each(send_to_closed, NULL);
}

static int connect_wrongly(void *arg) {
    (void)arg;
    struct sockaddr_in address;
    CHECK_EQ(close(io_tcp_listener(&address, 1)), 0); /* a port that nobody listens on */
    struct bnx_address target = {.bytes = sizeof(address)};
    memcpy(&target.storage, &address, sizeof(address));
    CHECK_EQ(bnx_connect_to(&target), -ECONNREFUSED);
    CHECK_EQ(bnx_connect_to(NULL), -EINVAL);
    CHECK_EQ(bnx_connect("nonsense"), -EINVAL);
    CHECK_EQ(bnx_connect("unix:/none/such/socket"), -ENOENT);
    return 0;
}

#define SHARERS 8

static int receive_one(void *arg) {
    char byte;
    CHECK_EQ(bnx_recv(*(int *)arg, &byte, 1, 0), 1);
    return 0;
}

static int share_reading(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 2 + bnx_test_scale(20); round++) {
        int fds[2];
        struct bnx_scope scope;
        struct bnx_task *sharers[SHARERS];
        io_unix_pair(fds);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < SHARERS; i++) {
            CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_one, &fds[0], &sharers[i]), 0);
        }
        for (int i = 0; i < SHARERS; i++) {
            io_await_wait(sharers[i], BNX_WAIT_RECV);
        }
        CHECK_EQ(bnx_send_all(fds[1], "12345678", SHARERS), SHARERS);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        io_close_pair(fds);
    }
    return 0;
}

/* Claim: of many tasks that wait to read from one socket each is served, although all the data
 * came with one event. */
TEST(readers_share, "net.readers_share") {
    sched_run_each(share_reading, NULL);
}

static int use_wrong_fds(void *arg) {
    (void)arg;
    char buffer[4];
    int pipe_fds[2];
    io_pipe(pipe_fds);
    const int closed = 4000; /* nobody has so many here */
    CHECK_EQ(fcntl(closed, F_GETFD), -1);
    const int absent[] = {-1, closed, INT_MAX};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(absent); i++) {
        int fd = absent[i];
        CHECK_EQ(bnx_recv(fd, buffer, 4, 0), -EBADF);
        CHECK_EQ(bnx_recv(fd, buffer, 4, MSG_DONTWAIT), -EBADF);
        CHECK_EQ(bnx_send(fd, buffer, 4, 0), -EBADF);
        CHECK_EQ(bnx_recv_exact(fd, buffer, 4), -EBADF);
        CHECK_EQ(bnx_send_all(fd, buffer, 4), -EBADF);
        CHECK_EQ(bnx_accept(fd, NULL), -EBADF);
        CHECK_EQ(bnx_shutdown(fd, SHUT_RD), -EBADF);
        CHECK_EQ(bnx_read(fd, buffer, 4), -EBADF);
        CHECK_EQ(bnx_write(fd, buffer, 4), -EBADF);
        CHECK_EQ(bnx_close(fd), -EBADF);
    }
    CHECK_EQ(bnx_recv(pipe_fds[0], buffer, 4, 0), -ENOTSOCK);
    CHECK_EQ(bnx_send(pipe_fds[1], buffer, 4, 0), -ENOTSOCK);
    CHECK_EQ(bnx_accept(pipe_fds[0], NULL), -ENOTSOCK);
    CHECK_EQ(bnx_shutdown(pipe_fds[0], SHUT_RD), -ENOTSOCK);
    CHECK_EQ(bnx_read(pipe_fds[1], buffer, 4), -EBADF); /* the wrong end */
    CHECK_EQ(bnx_write(pipe_fds[0], buffer, 4), -EBADF);
    int fds[2];
    io_unix_pair(fds);
    CHECK_EQ(bnx_accept(fds[0], NULL), -EINVAL); /* does not listen */
    CHECK_EQ(bnx_pread(fds[0], buffer, 4, -1), -EINVAL);
    CHECK_EQ(bnx_pwrite(fds[0], buffer, 4, -1), -EINVAL);
    io_close_pair(fds);
    io_close_pair(pipe_fds);
    return 0;
}

/* Descriptors that are none, no socket, of the wrong direction: what POSIX says, nothing else. */
TEST(net_wrong_fds, "net.wrong_fds") {
    sched_run_each(use_wrong_fds, NULL);
    sched_run_each(connect_wrongly, NULL);
}

/* Off a task, calls that would wait are refused, and those that never wait work. */
TEST(net_off_task, "net.off_task") {
    char buffer[4] = {0};
    int fds[2];
    io_unix_pair(fds);
    CHECK_EQ(bnx_recv(fds[0], buffer, 4, 0), -EPERM);
    CHECK_EQ(bnx_send(fds[0], buffer, 4, 0), -EPERM);
    CHECK_EQ(bnx_recv_exact(fds[0], buffer, 4), -EPERM);
    CHECK_EQ(bnx_send_all(fds[0], buffer, 4), -EPERM);
    CHECK_EQ(bnx_accept(fds[0], NULL), -EPERM);
    CHECK_EQ(bnx_connect("127.0.0.1:1"), -EPERM);
    CHECK_EQ(bnx_connect_to(NULL), -EPERM);
    CHECK_EQ(bnx_read(fds[0], buffer, 4), -EPERM);
    CHECK_EQ(bnx_write(fds[0], buffer, 4), -EPERM);
    CHECK_EQ(bnx_pread(fds[0], buffer, 4, 0), -EPERM);
    CHECK_EQ(bnx_pwrite(fds[0], buffer, 4, 0), -EPERM);
    CHECK_EQ(bnx_shutdown(fds[0], SHUT_WR), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_close(fds[0]), -EBADF);
    CHECK_EQ(bnx_close(fds[1]), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
