/* SPDX-License-Identifier: MIT */
/*
 * Submissions of the caller's own (bonxie/raw.h).
 *
 * An op ends with its one completion (op.h). So what has two, none, or any number, or takes its
 * neighbours in the queue with it, is refused: what the kernel may have added since is not known,
 * and is refused as well.
 */
#include <bonxie/raw.h>

#include "io/op.h"
#include "io/ring_abi.h"

#include <errno.h>
#include <linux/io_uring.h>

_Static_assert(sizeof(struct io_uring_sqe) == 64, "as the header says");

#define REFUSED_FLAGS                                                                              \
    (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS)

static bool ends_with_one_completion(const struct io_uring_sqe *sqe) {
    switch (sqe->opcode) {
    case IORING_OP_POLL_ADD:
        return (sqe->len & IORING_POLL_ADD_MULTI) == 0;
    case IORING_OP_TIMEOUT:
        return (sqe->timeout_flags & BNX_RING_TIMEOUT_MULTISHOT) == 0;
    case IORING_OP_ACCEPT:
        return (sqe->ioprio & IORING_ACCEPT_MULTISHOT) == 0;
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
        return (sqe->ioprio & IORING_RECV_MULTISHOT) == 0;
    case IORING_OP_URING_CMD:
        return ((unsigned)sqe->rw_flags & BNX_RING_CMD_MULTISHOT) == 0;
    case IORING_OP_LINK_TIMEOUT: /* it belongs to a link */
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
    case BNX_RING_OP_READ_MULTISHOT:
    case BNX_RING_OP_RECV_ZC:
        return false;
    default:
        return sqe->opcode <= BNX_RING_OP_LAST_KNOWN;
    }
}

/* Whether the fd of the submission is a descriptor that bnx_close may be called with. */
static bool has_descriptor(const struct io_uring_sqe *sqe) {
    switch (sqe->opcode) {
    case IORING_OP_NOP:
    case IORING_OP_TIMEOUT:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_ASYNC_CANCEL: /* those it asks for are on it, not itself */
    case IORING_OP_CLOSE:
    case IORING_OP_MADVISE:
    case IORING_OP_FILES_UPDATE:
    case IORING_OP_PROVIDE_BUFFERS: /* a count, as in the next */
    case IORING_OP_REMOVE_BUFFERS:
    case IORING_OP_SOCKET:       /* a family */
    case BNX_RING_OP_WAITID:     /* an id */
    case BNX_RING_OP_FUTEX_WAIT: /* flags, as in the next two */
    case BNX_RING_OP_FUTEX_WAKE:
    case BNX_RING_OP_FUTEX_WAITV:
    case BNX_RING_OP_PIPE:
        return false;
    default:
        return true;
    }
}

int bnx_op_raw(const void *submission, uint32_t *out_flags) {
    const struct io_uring_sqe *sqe = submission;
    if (((sqe->flags & REFUSED_FLAGS) != 0 || !ends_with_one_completion(sqe)) &&
        !BNX_PLANT(raw_takes_anything)) {
        return -EINVAL;
    }
    struct bnx_op op = {.kind = BNX_OP_RAW,
                        .fd = has_descriptor(sqe) ? sqe->fd : -1,
                        .buffer = (void *)(uintptr_t)submission};
    ssize_t result = bnx_op_run(&op, BNX_WAIT_FD);
    if (out_flags != NULL && result >= 0) {
        *out_flags = op.result_flags;
    }
    return (int)result;
}
