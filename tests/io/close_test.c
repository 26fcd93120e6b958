/* SPDX-License-Identifier: MIT */
/* Tests bnx_close: who waits on a descriptor is told, and the file behind it is really let go. */
#include "tests/io/fixture.h"

/* ---- Each kind of wait ---- */

struct closing {
    int fd;
    ssize_t (*call)(int fd);
    enum bnx_wait_reason reason;
    struct bnx_task *task;
};

static ssize_t call_recv(int fd) {
    char buffer[64];
    return bnx_recv(fd, buffer, sizeof(buffer), 0);
}

static ssize_t call_send(int fd) {
    char data[64] = {0};
    return bnx_send(fd, data, sizeof(data), 0);
}

static ssize_t call_accept(int fd) {
    return bnx_accept(fd, NULL);
}

static ssize_t call_read(int fd) {
    char buffer[64];
    return bnx_read(fd, buffer, sizeof(buffer));
}

static ssize_t call_write(int fd) {
    char data[64] = {0};
    return bnx_write(fd, data, sizeof(data));
}

static int wait_for_close(void *arg) {
    struct closing *closing = arg;
    CHECK_EQ(closing->call(closing->fd), -EBADF);
    return 0;
}

#define WAITERS 5 /* on one descriptor, on all workers */

static void close_under(int fd, ssize_t (*call)(int), enum bnx_wait_reason reason) {
    struct closing closings[WAITERS];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < WAITERS; i++) {
        closings[i] = (struct closing){.fd = fd, .call = call, .reason = reason};
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_for_close, &closings[i], &closings[i].task), 0);
    }
    for (int i = 0; i < WAITERS; i++) {
        io_await_wait(closings[i].task, reason);
    }
    io_round_trip(); /* on one worker the waits are the kernel's by now */
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_close(fd), -EBADF);
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static int close_each(void *arg) {
    (void)arg;
    int fds[2];
    char byte;
    io_unix_pair(fds);
    close_under(fds[0], call_recv, BNX_WAIT_RECV);
    CHECK_EQ(recv(fds[1], &byte, 1, 0), 0);
    CHECK_EQ(close(fds[1]), 0);
    io_tcp_pair(fds);
    close_under(fds[0], call_recv, BNX_WAIT_RECV);
    CHECK_EQ(recv(fds[1], &byte, 1, 0), 0); /* the end, and not a reset */
    CHECK_EQ(close(fds[1]), 0);
    io_unix_pair(fds);
    io_fill_up(fds[0]);
    close_under(fds[0], call_send, BNX_WAIT_SEND);
    CHECK_EQ(close(fds[1]), 0);
    io_pipe(fds);
    close_under(fds[0], call_read, BNX_WAIT_READ);
    CHECK_EQ(bnx_os.write(fds[1], "x", 1), -EPIPE);
    CHECK_EQ(close(fds[1]), 0);
    io_pipe(fds);
    io_fill_up(fds[1]);
    close_under(fds[1], call_write, BNX_WAIT_WRITE);
    CHECK_EQ(close(fds[0]), 0);

    struct sockaddr_in address;
    int listener = io_tcp_listener(&address, 8);
    close_under(listener, call_accept, BNX_WAIT_ACCEPT);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = bnx_os.connect(late, (struct sockaddr *)&address, sizeof(address));
    CHECK_EQ(error, -ECONNREFUSED); /* the port is given up */
    CHECK_EQ(close(late), 0);
    return 0;
}

/* Tasks that wait on a descriptor get -EBADF when it is closed, whatever they wait for; the peer of
 * a socket sees its end at once, a listener gives up its port. */
TEST(close_ends_waits, "io.close_ends_waits") {
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    int before = io_fd_count();
    sched_run_each(close_each, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Churn ---- */

#define CLIENTS 12

struct churn {
    int listener;
    struct bnx_address address;
    uint64_t cycles; /* of each client */
    uint64_t ends;   /* streams that the server has seen end */
    struct bnx_scope handlers;
};

static int handle(void *arg) {
    int fd = (int)(intptr_t)((uintptr_t *)arg)[0];
    struct churn *churn = (struct churn *)((uintptr_t *)arg)[1];
    uint64_t nonce = 0;
    CHECK_EQ(bnx_recv_exact(fd, &nonce, sizeof(nonce)), sizeof(nonce));
    nonce = ~nonce;
    CHECK_EQ(bnx_send_all(fd, &nonce, sizeof(nonce)), sizeof(nonce));
    CHECK_EQ(bnx_recv(fd, &nonce, sizeof(nonce), 0), 0);
    bnx_fetch_add_relaxed(&churn->ends, 1);
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int accept_all(void *arg) {
    struct churn *churn = arg;
    int fd;
    CHECK_EQ(bnx_scope_open(&churn->handlers, NULL), 0);
    while ((fd = bnx_accept(churn->listener, NULL)) >= 0) {
        uintptr_t words[2] = {(uintptr_t)fd, (uintptr_t)churn};
        CHECK_EQ(bnx_spawn_copy(&churn->handlers, handle, words, sizeof(words)), 0);
    }
    CHECK_EQ(fd, -EBADF);
    CHECK_EQ(bnx_scope_close(&churn->handlers), 0);
    return 0;
}

static int wait_on_connection(void *arg) {
    uint64_t stray = 0;
    CHECK_EQ(bnx_recv((int)(intptr_t)arg, &stray, sizeof(stray), 0), -EBADF);
    return 0;
}

static int run_client(void *arg) {
    struct churn *churn = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_task_id(bnx_task_self()), 0);
    for (uint64_t i = 0; i < churn->cycles; i++) {
        int fd = bnx_connect_to(&churn->address);
        CHECK(fd >= 0);
        uint64_t nonce = bnx_rng_next(&rng);
        uint64_t answer = 0;
        CHECK_EQ(bnx_send_all(fd, &nonce, sizeof(nonce)), sizeof(nonce));
        CHECK_EQ(bnx_recv_exact(fd, &answer, sizeof(answer)), sizeof(answer));
        CHECK(answer == ~nonce); /* else another connection of the same number has got in */
        struct bnx_scope scope;
        struct bnx_task *task;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_on_connection, (void *)(intptr_t)fd, &task), 0);
        io_await_wait(task, BNX_WAIT_RECV);
        CHECK_EQ(bnx_close(fd), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

static int run_churn(void *arg) {
    struct churn *churn = arg;
    struct bnx_scope server, clients;
    struct bnx_task *accepter;
    churn->ends = 0;
    churn->listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(churn->listener >= 0);
    CHECK_EQ(bnx_address_local(churn->listener, &churn->address), 0);
    CHECK_EQ(bnx_scope_open(&server, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&server, NULL, accept_all, churn, &accepter), 0);
    CHECK_EQ(bnx_scope_open(&clients, NULL), 0);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(bnx_spawn(&clients, run_client, churn), 0);
    }
    CHECK_EQ(bnx_scope_close(&clients), 0);
    io_await_wait(accepter, BNX_WAIT_ACCEPT);
    CHECK_EQ(bnx_close(churn->listener), 0);
    CHECK_EQ(bnx_scope_close(&server), 0);
    CHECK_EQ(churn->ends, churn->cycles * CLIENTS);
    return 0;
}

/* Connections come and go on reused numbers, each closed while a task waits on it. A nonce shows
 * that no operation outlives its connection; the server sees the end of every stream. */
TEST(close_is_final, "io.close_is_final") {
    struct churn churn = {.cycles = bnx_test_scale(1500) + 3};
    int before = io_fd_count();
    sched_run(1, run_churn, &churn);
    sched_run(2, run_churn, &churn);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- A close beside one who is told that there is something ---- */

struct reader {
    int fd;
    char byte;
    ssize_t got;
    struct bnx_task *task;
};

static int read_one(void *arg) {
    struct reader *reader = arg;
    reader->got = bnx_recv(reader->fd, &reader->byte, 1, 0);
    return 0;
}

/* Collects until the task is awake, and gives it no turn. */
static void collect_for(const struct bnx_task *task) {
    struct bnx_driver *driver = bnx_worker_driver(bnx_worker_current());
    while (bnx_task_state(task) == BNX_TASK_PARKED) { /* ends: it has been sent something */
        (void)driver->ops->poll(driver);
    }
}

static int close_beside_wake(void *arg) {
    bool is_robbed = *(const bool *)arg;
    int own[2], stranger[2];
    char byte = 0;
    struct bnx_scope scope;
    struct reader reader = {0};
    io_unix_pair(own);
    io_unix_pair(stranger);
    reader.fd = own[0];
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_one, &reader, &reader.task), 0);
    io_await_wait(reader.task, BNX_WAIT_RECV);
    io_round_trip(); /* the wait is the kernel's by now */
    CHECK_EQ(send(own[1], "o", 1, 0), 1);
    collect_for(reader.task);
    is_robbed = is_robbed && recv(own[0], &byte, 1, MSG_DONTWAIT) == 1;
    CHECK_EQ(bnx_close(own[0]), 0);
    CHECK_EQ(dup3(stranger[0], own[0], O_CLOEXEC), own[0]); /* the number means another file */
    CHECK_EQ(send(stranger[1], "s", 1, 0), 1);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(reader.got, is_robbed ? -EBADF : 1);
    CHECK_EQ(reader.byte, is_robbed ? '\0' : 'o');
    CHECK_EQ(recv(stranger[0], &byte, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(byte, 's');
    io_close_pair(own);
    io_close_pair(stranger);
    return 0;
}

/* One is told that there is something to read, and before it has its turn the descriptor is closed
 * and its number given to another file: it reads its own data, or nothing where somebody else has
 * taken them, but never the other's. */
TEST(close_beside_wake, "io.close_beside_a_wake") {
    for (int robbed = 0; robbed < 2; robbed++) {
        bool is_robbed = robbed != 0;
        sched_run(1, close_beside_wake, &is_robbed);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
