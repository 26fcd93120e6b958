/* SPDX-License-Identifier: MIT */
/*
 * Tests calls that could block a worker: of several that were told one alone gets it, descriptors
 * that cannot say "not now", errors that nobody takes.
 *
 * Method: one worker, and no watchdog, whose signal would end the call. What blocks the worker
 * blocks the task that would end the wait: the claim then hangs.
 */
#include "tests/io/fixture.h"

#include <poll.h>
#include <termios.h>

static void run_unwatched(bnx_task_fn fn, void *arg) {
    struct bnx_options options = {.worker_count = 1, .seed = 1, .flags = BNX_NO_WATCHDOG};
    CHECK_EQ(bnx_run(&options, fn, arg), 0);
}

/* ---- A terminal that takes no more ---- */

#define TERMINAL_BYTES ((size_t)256 * 1024) /* more than it buffers, and a fifo */

struct terminal {
    int master;
    int slave;
};

static void terminal_open(struct terminal *terminal) {
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal->master < 0) {
        SKIP("no terminals here: %s", strerror(errno));
    }
    CHECK_EQ(grantpt(terminal->master), 0);
    CHECK_EQ(unlockpt(terminal->master), 0);
    char name[64];
    CHECK_EQ(ptsname_r(terminal->master, name, sizeof(name)), 0);
    terminal->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(terminal->slave >= 0);
    struct termios mode;
    CHECK_EQ(tcgetattr(terminal->slave, &mode), 0);
    cfmakeraw(&mode);
    CHECK_EQ(tcsetattr(terminal->slave, TCSANOW, &mode), 0);
}

static int write_much(void *arg) {
    static char data[TERMINAL_BYTES];
    const struct terminal *terminal = arg;
    size_t done = 0;
    memset(data, 'x', sizeof(data));
    while (done < sizeof(data)) {
        ssize_t got = bnx_write(terminal->slave, data + done, sizeof(data) - done);
        CHECK(got > 0);
        done += (size_t)got;
    }
    return 0;
}

static int write_and_read(void *arg) {
    struct terminal *terminal = arg;
    static char data[4096];
    struct bnx_scope scope;
    struct bnx_task *writer;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, write_much, terminal, &writer), 0);
    io_await_wait(writer, BNX_WAIT_WRITE); /* it is full */
    for (size_t done = 0; done < TERMINAL_BYTES;) {
        ssize_t got = bnx_read(terminal->master, data, sizeof(data));
        CHECK(got > 0);
        done += (size_t)got;
    }
    return bnx_scope_close(&scope);
}

/* A write of more than a terminal takes waits as any other does: its task, and not the worker. */
TEST(full_terminal, "io.full_terminal_blocks_nobody") {
    struct terminal terminal;
    terminal_open(&terminal);
    run_unwatched(write_and_read, &terminal);
    CHECK_EQ(close(terminal.master), 0);
    CHECK_EQ(close(terminal.slave), 0);
}

/* The same of a fifo, which cannot say "not now" to a call of ours, as a pipe can. */
TEST(full_fifo, "io.full_fifo_blocks_nobody") {
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/bonxie-fifo-%d", getpid());
    CHECK_EQ(mkfifo(path, 0600), 0);
    struct terminal fifo;
    fifo.master = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fifo.master >= 0);
    fifo.slave = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fifo.slave >= 0);
    CHECK_EQ(unlink(path), 0);
    run_unwatched(write_and_read, &fifo);
    CHECK_EQ(close(fifo.master), 0);
    CHECK_EQ(close(fifo.slave), 0);
}

/* ---- A connection that another process accepts ---- */

static struct {
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int listener;
    int stolen;
} thief;

/* Whoever has learned that somebody comes finds him gone. */
static int poll_and_steal(struct pollfd *fds, nfds_t count, int timeout_ms) {
    int result = thief.poll(fds, count, timeout_ms);
    if (count == 1 && fds->fd == thief.listener && result == 1) {
        int fd = accept4(thief.listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(fd >= 0);
        CHECK_EQ(close(fd), 0);
        thief.stolen++;
    }
    return result;
}

static int accept_until_cancelled(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_accept(thief.listener, NULL), -ECANCELED);
    return 0;
}

static int accept_stolen(void *arg) {
    const struct sockaddr_in *address = arg;
    struct bnx_scope scope;
    struct bnx_task *acceptor;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, accept_until_cancelled, NULL, &acceptor), 0);
    io_await_wait(acceptor, BNX_WAIT_ACCEPT);
    int fd = io_tcp_connect(address);
    while (thief.stolen == 0) { /* ends: the worker goes on */
        io_round_trip();
    }
    CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(close(fd), 0);
    return 0;
}

/* An accept on a listener in blocking mode, whose connection another process has taken meanwhile:
 * the worker goes on, and a cancel ends the accept. */
TEST(stolen_connection, "io.stolen_connection_blocks_nobody") {
    CHECK_EQ(setenv("BONXIE_DRIVER", "epoll", 1), 0); /* on io_uring the kernel accepts */
    struct sockaddr_in address;
    thief.listener = io_tcp_listener(&address, 8);
    thief.poll = bnx_os.poll;
    bnx_os.poll = poll_and_steal;
    sched_run(1, accept_stolen, &address);
    bnx_os.poll = thief.poll;
    CHECK(thief.stolen > 0);
    CHECK_EQ(close(thief.listener), 0);
}

/* ---- An error that nobody takes ---- */

static struct {
    ssize_t (*recv)(int fd, void *buffer, size_t bytes, int flags);
    int fd;
    uint64_t tries;
} watched;

static ssize_t recv_counted(int fd, void *buffer, size_t bytes, int flags) {
    if (fd == watched.fd) {
        bnx_fetch_add_acq_rel(&watched.tries, 1);
    }
    return watched.recv(fd, buffer, bytes, flags);
}

static int receive_nothing(void *arg) {
    char byte;
    (void)arg;
    CHECK_EQ(bnx_recv(watched.fd, &byte, 1, 0), -ECANCELED);
    return 0;
}

#define NAPS 50
#define TRIES_PER_MS 4 /* it is tried again after a millisecond */

static int receive_beside_error(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *receiver;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_nothing, NULL, &receiver), 0);
    uint64_t start_ns = bnx_now();
    for (int i = 0; i < NAPS; i++) {
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    uint64_t passed_ms = (bnx_now() - start_ns) / BNX_NS_PER_MS;
    CHECK(bnx_load_acquire(&watched.tries) <= TRIES_PER_MS * (passed_ms + 1));
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* A socket that has an entry in its error queue is ready for ever, and has nothing to receive: who
 * waits there does not keep the worker busy. */
TEST(error_nobody_takes, "io.error_nobody_takes") {
    CHECK_EQ(setenv("BONXIE_DRIVER", "epoll", 1), 0); /* on io_uring the kernel bounds its tries */
    struct sockaddr_in nobody;
    int closed = io_tcp_listener(&nobody, 1); /* a number that no datagram socket has */
    watched.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(watched.fd >= 0);
    int on = 1;
    CHECK_EQ(setsockopt(watched.fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)), 0);
    CHECK_EQ(connect(watched.fd, (struct sockaddr *)&nobody, sizeof(nobody)), 0);
    CHECK_EQ(bnx_os.send(watched.fd, "x", 1, 0), 1);
    struct pollfd error = {.fd = watched.fd, .events = POLLIN};
    CHECK_EQ(bnx_os.poll(&error, 1, -1), 1);
    char byte;
    CHECK_EQ(bnx_os.recv(watched.fd, &byte, 1, MSG_DONTWAIT), -ECONNREFUSED);
    CHECK_EQ(bnx_os.recv(watched.fd, &byte, 1, MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_os.poll(&error, 1, 0), 1); /* and still it is in error */
    watched.recv = bnx_os.recv;
    bnx_os.recv = recv_counted;
    sched_run(1, receive_beside_error, NULL);
    bnx_os.recv = watched.recv;
    CHECK_EQ(close(watched.fd), 0);
    CHECK_EQ(close(closed), 0);
}

/* ---- MSG_WAITALL ---- */

static int receive_datagrams(void *arg) {
    int *fds = arg;
    char data[16];
    CHECK_EQ(bnx_os.send(fds[1], "abc", 3, 0), 3);
    CHECK_EQ(bnx_os.send(fds[1], "defg", 4, 0), 4);
    CHECK_EQ(bnx_recv(fds[0], data, sizeof(data), MSG_WAITALL), 3);
    CHECK_EQ(bnx_recv(fds[0], data, sizeof(data), MSG_WAITALL), 4);
    CHECK_EQ(memcmp(data, "defg", 4), 0);
    return 0;
}

/* Of datagrams MSG_WAITALL receives one, as ever. */
TEST(waitall_datagrams, "io.waitall_keeps_datagrams") {
    int fds[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    sched_run_each(receive_datagrams, fds);
    io_close_pair(fds);
}

/* ---- A runtime that takes no signals ---- */

static struct {
    int (*thread_signal)(int tid, int signo);
    uint64_t sent;
    char path[64];
} unasked;

static int signal_counted(int tid, int signo) {
    bnx_fetch_add_acq_rel(&unasked.sent, 1);
    return unasked.thread_signal(tid, signo);
}

static int open_fifo(void *arg) {
    (void)arg;
    int fd = bnx_open(unasked.path, O_RDONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0); /* the cancel cannot end it: it waits for the call */
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int cancel_open(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *opener;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, open_fifo, NULL, &opener), 0);
    io_await_wait(opener, BNX_WAIT_OPEN);
    for (int i = 0; i < 20; i++) { /* a thread is at it */
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    bnx_cancel(opener, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    int fd = open(unasked.path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(fd), 0);
    return 0;
}

/* Beside a runtime that has taken the signals one that was told to take none sends none: they could
 * be given back at any moment, and one that comes later ends the process. */
TEST(no_signals, "io.no_signals_unasked") {
    CHECK_EQ(setenv("BONXIE_DRIVER", "epoll", 1), 0); /* on io_uring the kernel's threads open */
    (void)snprintf(unasked.path, sizeof(unasked.path), "/tmp/bonxie-fifo-%d", getpid());
    CHECK_EQ(mkfifo(unasked.path, 0600), 0);
    struct bnx_runtime *other = sched_create(1);
    unasked.thread_signal = bnx_os.thread_signal;
    bnx_os.thread_signal = signal_counted;
    struct bnx_options options = {.worker_count = 1, .seed = 1, .flags = BNX_NO_RESCUE};
    CHECK_EQ(bnx_run(&options, cancel_open, NULL), 0);
    bnx_os.thread_signal = unasked.thread_signal;
    CHECK_EQ(unasked.sent, 0);
    sched_destroy(other);
    CHECK_EQ(unlink(unasked.path), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
