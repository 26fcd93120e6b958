/* SPDX-License-Identifier: MIT */
/* The calls that wait for an operation (op_rows.h). */
#include "tests/faults/op_rows.h"

#include "io/hint.h"

#include <bonxie/datagram.h>
#include <bonxie/path.h>
#include <bonxie/raw.h>
#include <bonxie/ready.h>

#include <liburing.h>

#define TEXT OP_TEXT
#define TEXT_BYTES OP_TEXT_BYTES

/* ---- Receiving: at = fds[0] ---- */

static void prepare_socket(struct place *place) {
    io_unix_pair(place->fds);
    place->at = place->fds[0];
}

static void prepare_pipe(struct place *place) {
    io_pipe(place->fds);
    place->at = place->fds[0];
}

static void end_pair(struct place *place) {
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(place->fds[i] >= 0 ? close(place->fds[i]) : 0, 0);
    }
}

static void pass_text(struct place *place) {
    CHECK_EQ(write(place->fds[1], TEXT, TEXT_BYTES), TEXT_BYTES);
}

static int64_t call_recv(struct place *place) {
    return bnx_recv(place->at, place->data, sizeof(place->data), 0);
}

static int64_t call_recvmsg(struct place *place) {
    struct iovec parts[] = {{place->data, 4}, {place->data + 4, sizeof(place->data) - 4}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return bnx_recvmsg(place->at, &message, 0);
}

static int64_t call_read(struct place *place) {
    return bnx_read(place->at, place->data, sizeof(place->data));
}

static int64_t call_readv(struct place *place) {
    struct iovec parts[] = {{place->data, 4}, {place->data + 4, sizeof(place->data) - 4}};
    return bnx_readv(place->at, parts, 2);
}

/* What was received is in the buffer, and what was not is still to be. */
static void verify_received(struct place *place, int64_t took) {
    char rest[TEXT_BYTES + 1] = "";
    CHECK(memcmp(place->data, TEXT, (size_t)took) == 0);
    if (place->at >= 0 && took < TEXT_BYTES) {
        CHECK_EQ(read(place->at, rest, sizeof(rest)), TEXT_BYTES - took);
        CHECK(memcmp(rest, &TEXT[took], (size_t)(TEXT_BYTES - took)) == 0);
    }
    if (place->at >= 0) {
        CHECK_EQ(fcntl(place->at, F_SETFL, O_NONBLOCK), 0);
        CHECK_EQ(read(place->at, rest, 1), -1);
        CHECK_EQ(errno, EAGAIN);
        CHECK_EQ(fcntl(place->at, F_SETFL, 0), 0);
    }
}

/* ---- Sending: at = fds[1], which is full ---- */

static void prepare_full_socket(struct place *place) {
    io_unix_pair(place->fds);
    io_fill_up(place->fds[1]);
    place->at = place->fds[1];
}

static void prepare_full_pipe(struct place *place) {
    io_pipe(place->fds);
    io_fill_up(place->fds[1]);
    place->at = place->fds[1];
}

/* Takes what it was filled with, which is zeros, and collects what is not. */
static void drain(struct place *place) {
    char data[4096];
    ssize_t got;
    CHECK_EQ(fcntl(place->fds[0], F_SETFL, O_NONBLOCK), 0);
    while ((got = read(place->fds[0], data, sizeof(data))) > 0) { /* ends: little is sent */
        for (ssize_t i = 0; i < got; i++) {
            size_t length = strlen(place->data);
            if (data[i] != '\0' && length + 1 < sizeof(place->data)) {
                place->data[length] = data[i];
            }
        }
    }
}

static int64_t call_send(struct place *place) {
    return bnx_send(place->at, TEXT, TEXT_BYTES, 0);
}

static int64_t call_sendmsg(struct place *place) {
    char text[] = TEXT;
    struct iovec parts[] = {{text, 4}, {text + 4, TEXT_BYTES - 4}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return bnx_sendmsg(place->at, &message, 0);
}

static int64_t call_write(struct place *place) {
    return bnx_write(place->at, TEXT, TEXT_BYTES);
}

static int64_t call_writev(struct place *place) {
    char text[] = TEXT;
    struct iovec parts[] = {{text, 4}, {text + 4, TEXT_BYTES - 4}};
    return bnx_writev(place->at, parts, 2);
}

/* So much has arrived, once. */
static void verify_sent(struct place *place, int64_t took) {
    drain(place);
    CHECK_EQ(strlen(place->data), took);
    CHECK(memcmp(place->data, TEXT, (size_t)took) == 0);
}

/* ---- Connections ---- */

static void prepare_listener(struct place *place) {
    place->listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(place->listener >= 0);
    CHECK_EQ(bnx_address_local(place->listener, &place->address), 0);
    place->at = place->listener;
    place->peer = -1;
}

static int64_t close_opened(int64_t fd) {
    return fd < 0 ? fd : close((int)fd);
}

static int64_t call_accept(struct place *place) {
    return close_opened(bnx_accept(place->listener, NULL));
}

static void pass_client(struct place *place) {
    place->peer = io_tcp_connect((const struct sockaddr_in *)&place->address.storage);
}

/* Whom nobody has accepted is still in the queue. */
static void verify_accepted(struct place *place, int64_t took) {
    if (place->at >= 0) {
        int fd = accept4(place->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        CHECK_EQ(fd >= 0, took == 0);
        CHECK_EQ(close_opened(fd), fd >= 0 ? 0 : -1);
    }
}

static void end_listener(struct place *place) {
    if (place->at >= 0) {
        CHECK_EQ(close(place->listener), 0);
    }
    CHECK_EQ(close_opened(place->peer), place->peer < 0 ? -1 : 0);
}

static void prepare_to_connect(struct place *place) {
    prepare_listener(place);
    place->at = -1;
}

static int64_t call_connect(struct place *place) {
    return close_opened(bnx_connect_to(&place->address));
}

static void end_to_connect(struct place *place) {
    CHECK_EQ(close(place->listener), 0);
}

/* ---- Readiness, and what needs no descriptor ---- */

static int64_t call_fd_wait(struct place *place) {
    return bnx_fd_wait(place->at, POLLIN);
}

static void verify_unread(struct place *place, int64_t took) {
    (void)took;
    verify_received(place, 0);
}

static int64_t call_raw(struct place *place) {
    struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
    (void)place;
    return bnx_op_raw(&sqe, NULL);
}

/* A unix socket knows no sending without a copy. */
static void prepare_tcp(struct place *place) {
    io_tcp_pair(place->fds);
    place->at = place->fds[1];
}

static int64_t call_zerocopy(struct place *place) {
    return bnx_send_zerocopy(place->at, TEXT, TEXT_BYTES);
}

static void verify_zerocopy(struct place *place, int64_t took) {
    char got[TEXT_BYTES + 1] = "";
    ssize_t bytes = recv(place->fds[0], got, sizeof(got), took != 0 ? 0 : MSG_DONTWAIT);
    CHECK_EQ(bytes, took != 0 ? TEXT_BYTES : -1);
    CHECK_STR(got, took != 0 ? TEXT : "");
}

static void prepare_nothing(struct place *place) {
    place->at = -1;
}

/* ---- Files ---- */

static void prepare_file(struct place *place) {
    temp_open(&place->temp);
    temp_file(&place->temp, "from", TEXT);
    place->from = temp_name(&place->temp, "from");
    place->to = temp_name(&place->temp, "to");
    place->at = open(place->from.text, O_RDWR | O_CLOEXEC);
    CHECK(place->at >= 0);
    bnx_hint_clear(place->at); /* of a pipe that had the number */
}

static void end_file(struct place *place) {
    CHECK_EQ(close_opened(place->at), place->at < 0 ? -1 : 0);
    temp_close(&place->temp);
}

static int64_t call_pread(struct place *place) {
    return bnx_pread(place->at, place->data, sizeof(place->data), 0);
}

static void verify_read(struct place *place, int64_t took) {
    CHECK(memcmp(place->data, TEXT, (size_t)took) == 0);
}

static int64_t call_pwrite(struct place *place) {
    return bnx_pwrite(place->at, TEXT, TEXT_BYTES, TEXT_BYTES);
}

static void verify_written(struct place *place, int64_t took) {
    char all[2 * TEXT_BYTES];
    int fd = open(place->from.text, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(read(fd, all, sizeof(all)), TEXT_BYTES + took);
    CHECK(memcmp(all, TEXT TEXT, (size_t)(TEXT_BYTES + took)) == 0);
    CHECK_EQ(close(fd), 0);
}

static int64_t call_open(struct place *place) {
    return close_opened(bnx_open(place->to.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

static int64_t call_fsync(struct place *place) {
    return bnx_fsync(place->at);
}

static int64_t call_fallocate(struct place *place) {
    return bnx_fallocate(place->at, 0, 0, TEXT_BYTES);
}

static int64_t call_statx(struct place *place) {
    return bnx_fstat(place->at, &place->status);
}

static void verify_status(struct place *place, int64_t took) {
    CHECK(took == 0 || place->status.stx_size == TEXT_BYTES);
}

static int64_t call_rename(struct place *place) {
    return bnx_rename(place->from.text, place->to.text);
}

static int64_t call_unlink(struct place *place) {
    return bnx_unlink(place->from.text);
}

static int64_t call_mkdir(struct place *place) {
    return bnx_mkdir(place->to.text, 0700);
}

static int64_t call_link(struct place *place) {
    return bnx_link(place->from.text, place->to.text);
}

static int64_t call_symlink(struct place *place) {
    return bnx_symlink(place->from.text, place->to.text);
}

static void verify_new_name(struct place *place, int64_t took) {
    CHECK_EQ(access(place->to.text, F_OK), took != 0 ? 0 : -1);
}

static void verify_no_name(struct place *place, int64_t took) {
    CHECK_EQ(access(place->from.text, F_OK), took != 0 ? -1 : 0);
}

/* ---- A process ---- */

static void prepare_process(struct place *place) {
    char *const argv[] = {(char *)(uintptr_t) "cat", NULL};
    struct bnx_process_options options = {.argv = argv, .input = {.kind = BNX_STDIO_PIPE}};
    CHECK_EQ(bnx_process_spawn(place->scope, &options, &place->process), 0);
    place->peer = bnx_process_take_pipe(place->process, STDIN_FILENO);
    place->at = -1;
}

static int64_t call_process_wait(struct place *place) {
    return bnx_process_wait(place->process);
}

static void pass_process(struct place *place) {
    CHECK_EQ(close(place->peer), 0);
}

/* clang-format off */
const struct row op_rows[] = {
    {"recv", BNX_OP_RECV, ROW_COUNTED, TEXT_BYTES,
     prepare_socket, call_recv, pass_text, verify_received, end_pair,
     {ECONNRESET, ETIMEDOUT, ECONNREFUSED, ENOBUFS, ENOMEM, EHOSTUNREACH}},
    {"recvmsg", BNX_OP_RECVMSG, ROW_COUNTED, TEXT_BYTES,
     prepare_socket, call_recvmsg, pass_text, verify_received, end_pair,
     {ECONNRESET, ETIMEDOUT, ECONNREFUSED, ENOBUFS, ENOMEM}},
    {"read", BNX_OP_READ, ROW_COUNTED, TEXT_BYTES,
     prepare_pipe, call_read, pass_text, verify_received, end_pair,
     {EIO, ENOMEM, EINVAL, EISDIR, ENXIO}},
    {"readv", BNX_OP_READV, ROW_COUNTED, TEXT_BYTES,
     prepare_pipe, call_readv, pass_text, verify_received, end_pair,
     {EIO, ENOMEM, EINVAL}},
    {"send", BNX_OP_SEND, ROW_COUNTED, TEXT_BYTES,
     prepare_full_socket, call_send, drain, verify_sent, end_pair,
     {EPIPE, ECONNRESET, ETIMEDOUT, ENOBUFS, ENOMEM, EMSGSIZE}},
    {"sendmsg", BNX_OP_SENDMSG, ROW_COUNTED, TEXT_BYTES,
     prepare_full_socket, call_sendmsg, drain, verify_sent, end_pair,
     {EPIPE, ECONNRESET, ECONNREFUSED, ENOBUFS, ENOMEM}},
    {"write", BNX_OP_WRITE, ROW_COUNTED, TEXT_BYTES,
     prepare_full_pipe, call_write, drain, verify_sent, end_pair,
     {EPIPE, EIO, ENOSPC, EDQUOT, EFBIG, ENOMEM}},
    {"writev", BNX_OP_WRITEV, ROW_COUNTED, TEXT_BYTES,
     prepare_full_pipe, call_writev, drain, verify_sent, end_pair,
     {EPIPE, EIO, ENOSPC, EINVAL}},
    {"send_zerocopy", BNX_OP_SEND_ZEROCOPY, ROW_RING, TEXT_BYTES,
     prepare_tcp, call_zerocopy, NULL, verify_zerocopy, end_pair, {EPIPE, ECONNRESET, ETIMEDOUT}},
    {"accept", BNX_OP_ACCEPT, 0, 0,
     prepare_listener, call_accept, pass_client, verify_accepted, end_listener,
     {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EPERM}},
    {"connect", BNX_OP_CONNECT, 0, 0,
     prepare_to_connect, call_connect, NULL, NULL, end_to_connect,
     {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EACCES, ENOBUFS}},
    {"fd_wait", BNX_OP_POLL, 0, POLLIN,
     prepare_socket, call_fd_wait, pass_text, verify_unread, end_pair,
     {EBADF, ENOMEM, EPERM}},
    {"raw", BNX_OP_RAW, ROW_RING, 0,
     prepare_nothing, call_raw, NULL, NULL, NULL,
     {EINVAL, ENOMEM, EOPNOTSUPP}},
    {"pread", BNX_OP_READ, ROW_COUNTED | ROW_FILE | ROW_PAGES, TEXT_BYTES,
     prepare_file, call_pread, NULL, verify_read, end_file,
     {EIO, ENOMEM, EINVAL}},
    {"pwrite", BNX_OP_WRITE, ROW_COUNTED | ROW_FILE, TEXT_BYTES,
     prepare_file, call_pwrite, NULL, verify_written, end_file,
     {EIO, ENOSPC, EDQUOT, EFBIG, EROFS, ENOMEM}},
    {"open", BNX_OP_OPEN, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_open, NULL, verify_new_name, end_file,
     {EACCES, ENOENT, EMFILE, ENFILE, ENOSPC, ELOOP, EROFS, ENOMEM}},
    {"fsync", BNX_OP_FSYNC, ROW_FILE, 0,
     prepare_file, call_fsync, NULL, NULL, end_file, {EIO, ENOSPC, EDQUOT, EROFS}},
    {"fallocate", BNX_OP_FALLOCATE, ROW_FILE, 0,
     prepare_file, call_fallocate, NULL, NULL, end_file, {ENOSPC, EFBIG, EIO, EOPNOTSUPP, EPERM}},
    {"fstat", BNX_OP_STATX, ROW_FILE, 0,
     prepare_file, call_statx, NULL, verify_status, end_file, {EACCES, ENOENT, EIO, ENOMEM}},
    {"rename", BNX_OP_RENAME, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_rename, NULL, verify_new_name, end_file,
     {EXDEV, EACCES, ENOSPC, EBUSY, ENOTEMPTY, EROFS}},
    {"unlink", BNX_OP_UNLINK, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_unlink, NULL, verify_no_name, end_file, {EACCES, EBUSY, EISDIR, EROFS}},
    {"mkdir", BNX_OP_MKDIR, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_mkdir, NULL, verify_new_name, end_file, {EEXIST, ENOSPC, EMLINK, EDQUOT}},
    {"link", BNX_OP_LINK, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_link, NULL, verify_new_name, end_file, {EXDEV, EMLINK, EPERM, ENOSPC}},
    {"symlink", BNX_OP_SYMLINK, ROW_FILE | ROW_NAMES, 0,
     prepare_file, call_symlink, NULL, verify_new_name, end_file, {EEXIST, ENOSPC, EIO, EROFS}},
    {"process_wait", BNX_OP_POLL, ROW_POLLED | ROW_NO_FAULT, 0,
     prepare_process, call_process_wait, pass_process, NULL, NULL, {0}},
};
/* clang-format on */

const size_t op_row_count = BNX_ARRAY_COUNT(op_rows);
