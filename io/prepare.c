/* SPDX-License-Identifier: MIT */
/* Operations as submissions (prepare.h). */
#include "io/prepare.h"

#include "io/hint.h"
#include "io/perform.h"

#include <string.h>

/* What is a file's, or a path's. */
static void prepare_for_file(struct io_uring_sqe *sqe, const struct bnx_op *op) {
    switch (op->kind) {
    case BNX_OP_OPEN:
        io_uring_prep_openat2(sqe, op->fd, op->buffer, op->other);
        /* At once the kernel would try with O_NONBLOCK: a fifo opens without its other end. */
        sqe->flags |= BNX_PLANT(open_at_once) ? 0 : IOSQE_ASYNC;
        break;
    case BNX_OP_FSYNC:
        io_uring_prep_fsync(sqe, op->fd, (unsigned)op->flags);
        break;
    case BNX_OP_FALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, (int)op->bytes, (off_t)op->offset, (off_t)op->length);
        break;
    case BNX_OP_STATX:
        io_uring_prep_statx(sqe, op->fd, op->buffer, op->flags, (unsigned)op->bytes, op->other);
        break;
    case BNX_OP_RENAME:
        io_uring_prep_renameat(sqe, op->fd, op->buffer, op->fd2, op->other, (unsigned)op->flags);
        break;
    case BNX_OP_UNLINK:
        io_uring_prep_unlinkat(sqe, op->fd, op->buffer, op->flags);
        break;
    case BNX_OP_MKDIR:
        io_uring_prep_mkdirat(sqe, op->fd, op->buffer, (mode_t)op->bytes);
        break;
    case BNX_OP_LINK:
        io_uring_prep_linkat(sqe, op->fd, op->buffer, op->fd2, op->other, op->flags);
        break;
    case BNX_OP_SYMLINK:
        io_uring_prep_symlinkat(sqe, op->buffer, op->fd2, op->other);
        break;
    default:
        bnx_panic(__FILE__, __LINE__, "an operation of kind %d", (int)op->kind);
    }
}

/* Reads and writes of what may wait although it is ready are for the kernel's own threads: at once
 * they would hold the worker. */
static unsigned char transfer_flags(int fd) {
    bnx_hint_look(fd);
    return bnx_hint_has(fd, BNX_HINT_WAITS) ? IOSQE_ASYNC : 0;
}

void bnx_op_prepare(struct io_uring_sqe *sqe, const struct bnx_op *op) {
    switch (op->kind) {
    case BNX_OP_READ:
        io_uring_prep_read(sqe, op->fd, op->buffer, (unsigned)op->bytes, op->offset);
        sqe->flags |= transfer_flags(op->fd);
        break;
    case BNX_OP_WRITE:
        io_uring_prep_write(sqe, op->fd, op->buffer, (unsigned)op->bytes, op->offset);
        sqe->rw_flags = bnx_op_write_flags();
        sqe->flags |= transfer_flags(op->fd);
        break;
    case BNX_OP_READV:
        io_uring_prep_readv2(sqe, op->fd, op->buffer, (unsigned)op->bytes, op->offset, op->flags);
        sqe->flags |= transfer_flags(op->fd);
        break;
    case BNX_OP_WRITEV:
        io_uring_prep_writev2(sqe, op->fd, op->buffer, (unsigned)op->bytes, op->offset,
                              op->flags | bnx_op_write_flags());
        sqe->flags |= transfer_flags(op->fd);
        break;
    case BNX_OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->buffer, (unsigned)op->flags);
        sqe->ioprio = bnx_hint_has(op->fd, BNX_HINT_SOCKET) ? IORING_RECVSEND_POLL_FIRST : 0;
        break;
    case BNX_OP_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->buffer, (unsigned)op->flags);
        sqe->ioprio = IORING_RECVSEND_POLL_FIRST;
        break;
    case BNX_OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->buffer, op->bytes, op->flags);
        /* With it the kernel waits before it looks whether this is a socket at all. */
        sqe->ioprio = bnx_hint_has(op->fd, BNX_HINT_SOCKET) ? IORING_RECVSEND_POLL_FIRST : 0;
        break;
    case BNX_OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->buffer, op->bytes, op->flags);
        sqe->ioprio = op->was_tried ? IORING_RECVSEND_POLL_FIRST : 0;
        break;
    case BNX_OP_SEND_ZEROCOPY:
        io_uring_prep_send_zc(sqe, op->fd, op->buffer, op->bytes, op->flags, 0);
        break;
    case BNX_OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, op->buffer, op->other, op->flags);
        break;
    case BNX_OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->buffer, (socklen_t)op->bytes);
        break;
    case BNX_OP_POLL:
        io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->flags);
        break;
    case BNX_OP_RAW:
        memcpy(sqe, op->buffer, sizeof(*sqe));
        break;
    default:
        prepare_for_file(sqe, op);
    }
}
