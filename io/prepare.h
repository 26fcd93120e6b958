/* SPDX-License-Identifier: MIT */
/* An operation as the submission that it is on io_uring; perform.h has it as a system call. */
#ifndef BNX_IO_PREPARE_H
#define BNX_IO_PREPARE_H

#include "io/op.h"
#include "io/ring.h"

/** Fills a zeroed SQE; user_data is left to the caller. */
void bnx_op_prepare(struct io_uring_sqe *sqe, const struct bnx_op *op);

#endif
