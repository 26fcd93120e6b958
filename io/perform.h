/* SPDX-License-Identifier: MIT */
/*
 * An operation as the system call that it is: for drivers without a ring, and for the pool.
 */
#ifndef BNX_IO_PERFORM_H
#define BNX_IO_PERFORM_H

#include "io/op.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100 /* Linux 6.18; kernel ABI */
#endif

/** What a descriptor has to be ready for; 0: the operation waits for something else. */
unsigned bnx_op_events(const struct bnx_op *op);

/**
 * Does the operation now, or not at all.
 * Returns its result; -EAGAIN: it would have to wait; -EOPNOTSUPP: this descriptor cannot say so
 * (read and write of some devices, fifos and files).
 */
ssize_t bnx_op_try(const struct bnx_op *op);

/**
 * The flags of each write: no SIGPIPE, where the kernel knows that (Linux 6.18). Workers and
 * threads of the pool block the signal; the host of a guest may not.
 */
int bnx_op_write_flags(void);

/** Does the operation, however long it waits. -EINTR: a signal. */
ssize_t bnx_op_perform(const struct bnx_op *op);

#endif
