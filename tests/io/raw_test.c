/* SPDX-License-Identifier: MIT */
/* Tests bnx_op_raw: operations of io_uring that have no call of their own, and what is refused. */
#include "tests/io/fixture.h"

#include <bonxie/raw.h>

#include <linux/io_uring.h>
#include <sys/xattr.h>

_Static_assert(sizeof(struct io_uring_sqe) == 64, "what bnx_op_raw copies");

/* ---- What it does ---- */

struct raw_recv {
    int fd;
    int expected;
    char data[16];
};

static int recv_raw(void *arg) {
    struct raw_recv *raw = arg;
    struct io_uring_sqe sqe = {.opcode = IORING_OP_RECV,
                               .fd = raw->fd,
                               .addr = (uint64_t)(uintptr_t)raw->data,
                               .len = sizeof(raw->data),
                               .user_data = UINT64_MAX};
    CHECK_EQ(bnx_op_raw(&sqe, NULL), raw->expected);
    return 0;
}

enum ending { DATA, CANCEL, CLOSE, ENDINGS };

static void wait_and_end(enum ending ending) {
    static const int expected[ENDINGS] = {[DATA] = 4, [CANCEL] = -ECANCELED, [CLOSE] = -EBADF};
    int fds[2];
    struct bnx_scope scope;
    struct bnx_task *receiver;
    io_unix_pair(fds);
    struct raw_recv raw = {.fd = fds[0], .expected = expected[ending]};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, recv_raw, &raw, &receiver), 0);
    io_await_wait(receiver, BNX_WAIT_FD);
    switch (ending) {
    case DATA:
        CHECK_EQ(bnx_os.write(fds[1], "four", 4), 4);
        break;
    case CANCEL:
        bnx_cancel(receiver, 0);
        break;
    case CLOSE:
    case ENDINGS:
        CHECK_EQ(bnx_close(fds[0]), 0);
        break;
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(ending != DATA || memcmp(raw.data, "four", 4) == 0);
    CHECK_EQ(bnx_close(fds[0]), ending == CLOSE ? -EBADF : 0);
    CHECK_EQ(bnx_close(fds[1]), 0);
}

/* Splice and socket, which have no call here; flags; errors of the kernel's own. */
static int run_some(void *arg) {
    (void)arg;
    int from[2], to[2];
    char data[8];
    uint32_t flags = UINT32_MAX;
    struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};
    CHECK_EQ(bnx_op_raw(&nop, &flags), 0);
    CHECK_EQ(flags, 0);
    io_pipe(from);
    io_pipe(to);
    CHECK_EQ(bnx_os.write(from[1], "four", 4), 4);
    struct io_uring_sqe splice = {.opcode = IORING_OP_SPLICE,
                                  .fd = to[1],
                                  .off = UINT64_MAX,
                                  .splice_fd_in = from[0],
                                  .splice_off_in = UINT64_MAX,
                                  .len = 8};
    CHECK_EQ(bnx_op_raw(&splice, NULL), 4);
    CHECK_EQ(bnx_os.read(to[0], data, sizeof(data)), 4);
    CHECK(memcmp(data, "four", 4) == 0);
    io_close_pair(from);
    io_close_pair(to);
    struct io_uring_sqe made = {.opcode = IORING_OP_SOCKET, .fd = AF_UNIX, .off = SOCK_STREAM};
    int fd = bnx_op_raw(&made, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    struct io_uring_sqe bad = {.opcode = IORING_OP_FSYNC, .fd = fd};
    CHECK_EQ(bnx_op_raw(&bad, NULL), -EBADF);
    for (enum ending ending = DATA; ending < ENDINGS; ending++) {
        wait_and_end(ending);
    }
    return 0;
}

TEST(raw_runs, "raw.runs") {
    io_needs_ring();
    int before = io_fd_count();
    CHECK_EQ(bnx_op_raw(&(struct io_uring_sqe){.opcode = IORING_OP_NOP}, NULL), -EPERM);
    sched_run_each(run_some, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- What it refuses ---- */

static const struct io_uring_sqe refused[] = {
    {.opcode = IORING_OP_NOP, .flags = IOSQE_IO_LINK},
    {.opcode = IORING_OP_NOP, .flags = IOSQE_IO_HARDLINK},
    {.opcode = IORING_OP_NOP, .flags = IOSQE_IO_DRAIN},
    {.opcode = IORING_OP_NOP, .flags = IOSQE_CQE_SKIP_SUCCESS},
    {.opcode = IORING_OP_NOP, .flags = IOSQE_FIXED_FILE},
    {.opcode = IORING_OP_POLL_ADD, .len = IORING_POLL_ADD_MULTI},
    {.opcode = IORING_OP_TIMEOUT, .timeout_flags = 1u << 6},
    {.opcode = IORING_OP_ACCEPT, .ioprio = IORING_ACCEPT_MULTISHOT},
    {.opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT},
    {.opcode = IORING_OP_RECVMSG, .ioprio = IORING_RECV_MULTISHOT},
    {.opcode = IORING_OP_URING_CMD, .rw_flags = 1 << 1},
    {.opcode = IORING_OP_LINK_TIMEOUT},
    {.opcode = IORING_OP_SEND_ZC},
    {.opcode = IORING_OP_SENDMSG_ZC},
    {.opcode = 49}, /* READ_MULTISHOT */
    {.opcode = 58}, /* RECV_ZC */
    {.opcode = 63}, /* newer than the library */
    {.opcode = 255},
};

static int refuse_each(void *arg) {
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(refused); i++) {
        uint32_t flags = 7;
        if (bnx_op_raw(&refused[i], &flags) != -EINVAL || flags != 7) {
            bnx_test_fail(__FILE__, __LINE__, "submission %zu is not refused", i);
        }
    }
    return 0;
}

/* What would not end with its one completion never reaches the kernel. The first of them would
 * otherwise take the next operation of this worker with it. */
TEST(raw_refuses, "raw.refuses") {
    io_needs_ring();
    sched_run_each(refuse_each, NULL);
}

static int run_without(void *arg) {
    (void)arg;
    struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};
    CHECK_EQ(bnx_op_raw(&nop, NULL), -ENOSYS);
    return 0;
}

/* Without rings it says so. */
TEST(raw_without_ring, "raw.without_a_ring") {
    CHECK_EQ(setenv("BONXIE_DRIVER", "epoll", 1), 0);
    sched_run_each(run_without, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
