/* SPDX-License-Identifier: MIT */
/*
 * Any operation of io_uring, for what has no call of its own here.
 *
 *     struct io_uring_sqe sqe = {.opcode = IORING_OP_SPLICE, .fd = to, ...};
 *     int result = bnx_op_raw(&sqe, NULL);
 */
#ifndef BONXIE_RAW_H
#define BONXIE_RAW_H

#include <bonxie/base.h>

#include <stdint.h>

BNX_EXTERN_C_BEGIN

/**
 * Runs one operation on the ring of the calling task's worker.
 * @param submission a struct io_uring_sqe (linux/io_uring.h), 64 bytes, copied; what it points to
 *   lives until the return, and is the caller's again then. Its user_data is ignored.
 * @param out_flags receives the completion's flags where the result is >= 0; may be NULL.
 * Returns the completion's result, -errno included; -ECANCELED, -ETIMEDOUT: cancelled before it had
 * an effect; -EBADF: its descriptor was closed by bnx_close; -EPERM off a task.
 * -ENOSYS: the runtime has no rings. -EINVAL, beside the kernel's own: what would not end with its
 * one completion (links, drains, a skipped completion, all multishot modes, zero-copy sends), a
 * registered descriptor, of which there are none, and an opcode newer than Linux 6.16, of which
 * this is not known.
 * Context: task, suspends. A task may be on another worker, and so another ring, at each call: what
 * belongs to a ring (provided buffers, a timeout that another submission removes) needs a task that
 * is pinned (BNX_SPAWN_PINNED).
 */
BNX_API int bnx_op_raw(const void *submission, uint32_t *out_flags);

BNX_EXTERN_C_END

#endif
