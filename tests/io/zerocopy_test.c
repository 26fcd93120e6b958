/* SPDX-License-Identifier: MIT */
/*
 * Tests sends without a copy: the buffer is the caller's again when the call returns, never before.
 *
 * Method: the buffers of the sockets are small, so that a send waits until the peer reads, with
 * some of it taken. Each sender overwrites its buffer at once when the call has returned: what the
 * kernel then still reads arrives as something else.
 */
#include "io/ring.h"
#include "tests/io/fixture.h"

#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define SOCKET_BUFFER_BYTES (64 << 10)
#define BYTES ((size_t)1 << 20) /* of a send: more than both ends' buffers hold */

/* What is sent, from whose pattern. */
struct sender {
    int fds[2]; /* the sender's, the peer's */
    uint64_t seed;
    uint64_t rounds;
    ssize_t sent;   /* where it is ended early */
    bool is_closed; /* meanwhile: its descriptor is not to be used any more */
    unsigned char *buffer;
    struct bnx_task *task;
};

static void set_buffer(int fd, int name) {
    int bytes = SOCKET_BUFFER_BYTES;
    CHECK_EQ(bnx_os.setsockopt(fd, SOL_SOCKET, name, &bytes, sizeof(bytes)), 0);
}

static void sender_open(struct sender *sender) {
    io_tcp_pair(sender->fds);
    set_buffer(sender->fds[0], SO_SNDBUF);
    set_buffer(sender->fds[1], SO_RCVBUF);
    sender->seed = bnx_test_seed();
    sender->buffer = malloc(BYTES);
    CHECK(sender->buffer != NULL);
}

static void sender_close(struct sender *sender) {
    free(sender->buffer);
    io_close_pair(sender->fds);
}

static int send_rounds(void *arg) {
    struct sender *sender = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, sender->seed, 0);
    for (uint64_t round = 0; round < sender->rounds; round++) {
        io_fill(sender->buffer, BYTES, &rng);
        CHECK_EQ(bnx_send_zerocopy(sender->fds[0], sender->buffer, BYTES), BYTES);
        memset(sender->buffer, 0xa5, BYTES);
    }
    return 0;
}

/* Reads up to so many bytes of the pattern and compares. Returns how many there were. */
static size_t receive(const struct sender *sender, size_t bytes) {
    static const size_t piece = 16384;
    unsigned char got[16384];
    unsigned char *expected = malloc(BYTES);
    CHECK(expected != NULL);
    struct bnx_rng rng;
    bnx_rng_init(&rng, sender->seed, 0);
    size_t done = 0;
    while (done < bytes) { /* ends: the end of the stream at the latest */
        size_t left = bytes - done < piece ? bytes - done : piece;
        ssize_t count = bnx_task_self() != NULL
                            ? bnx_recv_exact(sender->fds[1], got, left)
                            : bnx_os.recv(sender->fds[1], got, left, MSG_WAITALL);
        CHECK(count >= 0);
        if (done % BYTES == 0) {
            io_fill(expected, BYTES, &rng);
        }
        CHECK(memcmp(got, expected + done % BYTES, (size_t)count) == 0);
        done += (size_t)count;
        if ((size_t)count < left) {
            break;
        }
    }
    free(expected);
    return done;
}

/* Until it waits with a part sent: by the operation, or by the copy that takes its place. */
static void await_sent(const struct sender *sender) {
    int bytes = 0;
    while (bytes == 0) { /* ends: there is room for a part */
        bnx_yield();
        CHECK_EQ(ioctl(sender->fds[1], FIONREAD, &bytes), 0);
    }
    io_await_wait(sender->task, BNX_WAIT_SEND);
}

static void spawn_sender(struct bnx_scope *scope, bnx_task_fn fn, struct sender *sender) {
    CHECK_EQ(bnx_spawn_with(scope, NULL, fn, sender, &sender->task), 0);
    await_sent(sender);
}

/* ---- The buffer ---- */

static int send_and_receive(void *arg) {
    struct sender *sender = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_sender(&scope, send_rounds, sender);
    CHECK_EQ(receive(sender, sender->rounds * BYTES), sender->rounds * BYTES);
    return bnx_scope_close(&scope);
}

/* The peer reads only once the send waits; the buffer is overwritten as soon as the call returns,
 * and what arrives is what was sent. */
TEST(buffer, "zerocopy.buffer_is_the_callers") {
    struct sender sender = {.rounds = 4 + bnx_test_scale(60)};
    sender_open(&sender);
    sched_run_each(send_and_receive, &sender);
    sender_close(&sender);
}

/* ---- Without a ring's help ---- */

static struct {
    ssize_t (*send)(int fd, const void *buffer, size_t bytes, int flags);
    int (*ring_register)(int ring_fd, unsigned opcode, const void *arg, unsigned count);
    uint64_t sends;
} counted;

static ssize_t send_counted(int fd, const void *buffer, size_t bytes, int flags) {
    bnx_fetch_add_relaxed(&counted.sends, 1);
    return counted.send(fd, buffer, bytes, flags);
}

static void count_sends(void) {
    counted.send = bnx_os.send;
    bnx_os.send = send_counted;
}

/* A kernel that was built without the opcode. */
static int register_without(int ring_fd, unsigned opcode, const void *arg, unsigned count) {
    int result = counted.ring_register(ring_fd, opcode, arg, count);
    if (opcode == IORING_REGISTER_PROBE && result == 0) {
        ((struct io_uring_probe *)(uintptr_t)arg)->ops[IORING_OP_SEND_ZC].flags = 0;
    }
    return result;
}

/* On a ring and over TCP nothing is sent by send(2). */
TEST(is_zero, "zerocopy.is_the_rings") {
    io_needs_ring();
    struct sender sender = {.rounds = 2};
    count_sends();
    sender_open(&sender);
    sched_run_each(send_and_receive, &sender);
    CHECK_EQ(counted.sends, 0);
    sender_close(&sender);
}

/* A unix socket knows no such sends: it gets plain ones. */
TEST(unix_socket, "zerocopy.unix_socket_copies") {
    struct sender sender = {.rounds = 2};
    sender_open(&sender);
    io_close_pair(sender.fds);
    io_unix_pair(sender.fds);
    count_sends();
    sched_run_each(send_and_receive, &sender);
    CHECK(counted.sends > 0);
    sender_close(&sender);
}

/* So does every socket where the kernel has no such opcode. */
TEST(no_opcode, "zerocopy.without_opcode_copies") {
    struct sender sender = {.rounds = 2};
    counted.ring_register = bnx_os.uring_register;
    bnx_os.uring_register = register_without;
    sender_open(&sender);
    count_sends();
    sched_run_each(send_and_receive, &sender);
    CHECK(counted.sends > 0);
    sender_close(&sender);
}

static int send_unlocked(void *arg) {
    struct rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    struct rlimit limit = {4096, before.rlim_max}; /* the rings are there by now */
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    CHECK_EQ(send_and_receive(arg), 0);
    CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &before), 0);
    return 0;
}

/* And where less memory may be locked than is sent. */
TEST(memlock, "zerocopy.locked_memory_copies") {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    memset(data, 0, sizeof(data));
    CHECK_EQ(syscall(SYS_capset, &header, data), 0);
    struct sender sender = {.rounds = 2};
    sender_open(&sender);
    count_sends();
    sched_run_each(send_unlocked, &sender);
    CHECK(counted.sends > 0);
    sender_close(&sender);
}

static int refuse_each(void *arg) {
    (void)arg;
    int fds[2];
    char bytes[16] = {0};
    io_tcp_pair(fds);
    CHECK_EQ(bnx_send_zerocopy(fds[0], bytes, 0), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_send_zerocopy(fds[0], bytes, sizeof(bytes)), -EBADF);
    ssize_t sent;
    do { /* ends: a reset comes back */
        sent = bnx_send_zerocopy(fds[1], bytes, sizeof(bytes));
    } while (sent >= 0);
    CHECK(sent == -EPIPE || sent == -ECONNRESET);
    CHECK_EQ(bnx_close(fds[1]), 0);
    io_pipe(fds);
    CHECK_EQ(bnx_send_zerocopy(fds[1], bytes, sizeof(bytes)), -ENOTSOCK);
    io_close_pair(fds);
    return 0;
}

/* Nothing to send, a closed descriptor, a peer that is gone, no socket, no task. */
TEST(errors, "zerocopy.errors") {
    sched_run_each(refuse_each, NULL);
    CHECK_EQ(bnx_send_zerocopy(0, "x", 1), -EPERM);
}

/* ---- What ends it early ---- */

static int send_short(void *arg) {
    struct sender *sender = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, sender->seed, 0);
    io_fill(sender->buffer, BYTES, &rng);
    sender->sent = bnx_send_zerocopy(sender->fds[0], sender->buffer, BYTES);
    memset(sender->buffer, 0xa5, BYTES);
    if (!sender->is_closed) {
        CHECK_EQ(bnx_send_zerocopy(sender->fds[0], sender->buffer, 1), -ECANCELED);
        CHECK_EQ(bnx_shutdown(sender->fds[0], SHUT_WR), 0);
    }
    return 0;
}

/* Nobody has read: on a ring the kernel still has what it has taken, and so the sender waits. Where
 * it may not lock so much there was a copy. */
static void check_held(const struct sender *sender) {
    bool is_held = strcmp(bnx_driver_current()->ops->name, "uring") == 0 && io_may_lock(BYTES);
    for (int i = 0; i < 20 && is_held; i++) {
        io_round_trip();
        CHECK_EQ(bnx_task_state(sender->task), BNX_TASK_PARKED);
    }
}

/* What was said to be sent arrives, and no more. */
static void check_short(const struct sender *sender, size_t received) {
    CHECK(received > 0 && received < BYTES);
    CHECK_EQ(sender->sent, received);
}

static int cancel_in_send(void *arg) {
    struct sender *sender = arg;
    struct bnx_scope scope;
    sender_open(sender);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_sender(&scope, send_short, sender);
    bnx_cancel(sender->task, 0);
    check_held(sender);
    size_t received = receive(sender, BYTES);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    check_short(sender, received);
    sender_close(sender);
    sender_open(sender);
    sender->rounds = 1;
    CHECK_EQ(send_and_receive(sender), 0);
    sender_close(sender);
    return 0;
}

/* A cancel ends the send, but the sender waits until the peer has read what was taken; that is the
 * result, and the next call says -ECANCELED. */
TEST(cancelled, "zerocopy.cancel_keeps_the_buffer") {
    struct sender sender = {0};
    sched_run_each(cancel_in_send, &sender);
}

static int close_in_send(void *arg) {
    struct sender *sender = arg;
    struct bnx_scope scope;
    sender_open(sender);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_sender(&scope, send_short, sender);
    CHECK_EQ(bnx_close(sender->fds[0]), 0); /* nobody reads meanwhile */
    check_held(sender);
    size_t received = receive(sender, BYTES);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    check_short(sender, received);
    CHECK_EQ(close(sender->fds[1]), 0);
    free(sender->buffer);
    return 0;
}

/* bnx_close ends the send, and does not wait for the peer; the sender does. */
TEST(closed, "zerocopy.close_does_not_wait") {
    struct sender sender = {.is_closed = true};
    sched_run_each(close_in_send, &sender);
}

static int send_in_root(void *arg) {
    struct sender *sender = arg;
    struct bnx_spawn_options options = {0};
    CHECK_EQ(bnx_spawn_with(NULL, &options, send_short, sender, &sender->task), 0);
    await_sent(sender);
    bnx_task_detach(sender->task);
    return 0;
}

/* A stop ends the send as a cancel does; the runtime ends when the peer has read, and not before
 * the last completion. */
TEST(stopped, "zerocopy.stop") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct sender sender = {0};
        sender_open(&sender);
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        CHECK_EQ(bnx_runtime_run(runtime, send_in_root, &sender), 0);
        CHECK_EQ(bnx_runtime_stop(runtime), 0);
        size_t received = receive(&sender, BYTES);
        CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
        check_short(&sender, received);
        sender_close(&sender);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
