/* SPDX-License-Identifier: MIT */
/*
 * One operation in flight: what a task asks of the kernel and waits for.
 *
 * Concepts
 *   The record lies in the waiting task's frame, and so do the buffers and structs that it points
 *   to. That is safe because the task resumes only on the terminal completion (task_pvt.h): a
 *   cancel asks the kernel to hurry and changes nothing else.
 *   A result >= 0 wins over a cancel: data and accepted descriptors are never lost.
 *
 * Counting
 *   Each driver counts its ops in flight per descriptor, so that bnx_close knows whom to ask (O1:
 *   fetch_add and fetch_sub seq_cst of the count <-> the closer's load seq_cst).
 */
#ifndef BNX_IO_OP_H
#define BNX_IO_OP_H

#include "runtime/driver.h"
#include "runtime/wait.h"

#include <sys/socket.h>

enum bnx_op_kind {
    BNX_OP_READ,
    BNX_OP_WRITE,
    BNX_OP_RECV,
    BNX_OP_SEND,
    BNX_OP_ACCEPT,
    BNX_OP_CONNECT,
    BNX_OP_OPEN
};

struct bnx_op {
    enum bnx_op_kind kind;
    int fd;
    void *buffer;             /* or the address, for accept and connect; the path, for open */
    size_t bytes;             /* of the buffer or address; of open the mode */
    uint64_t offset;          /* of read and write; UINT64_MAX = the file's position */
    socklen_t *address_bytes; /* of accept */
    int flags;                /* of recv, send, accept, open */

    CK_LIST_ENTRY(bnx_op) flying; /* in its driver's list; under the service lock */
    bool is_closed;               /* bnx_close has ended it; under the service lock */
    struct bnx_task *task;        /* who waits; set by bnx_op_run */
    int32_t result;               /* of the terminal completion; the driver */
    uint32_t result_flags;        /* the completion's flags; the driver */
};

/* What the drivers of io/ can do beyond the port. */
struct bnx_io_ops {
    struct bnx_driver_ops port;

    /** Owner: makes room for one op and one cancel. False: the kernel takes nothing now. */
    bool (*make_room)(struct bnx_driver *driver);

    /** Owner: starts the op. False: no room after all (a signal handler has used it). */
    bool (*start)(struct bnx_driver *driver, struct bnx_op *op);

    /** Owner: asks the kernel to end every op that was started here on that number. */
    void (*cancel_fd)(struct bnx_driver *driver, int fd);

    /** Ops in flight on a descriptor. Any thread; O1. */
    uint32_t (*count_fd)(const struct bnx_driver *driver, int fd);
};

/** The io side of a driver of this library. */
static inline const struct bnx_io_ops *bnx_io_ops_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF((struct bnx_driver_ops *)(uintptr_t)driver->ops, struct bnx_io_ops,
                            port);
}

/**
 * Runs an op to its end.
 * Returns the result; -ECANCELED or -ETIMEDOUT: cancelled before it began, or before it transferred
 * anything; -EBADF: its descriptor was closed by bnx_close; -EPERM: off a task.
 * Context: task; suspends.
 */
ssize_t bnx_op_run(struct bnx_op *op, enum bnx_wait_reason reason);

/** What each completion of an op ends with: result stored, task made ready. Owner or rescuer. */
void bnx_op_complete(struct bnx_op *op, int32_t result, uint32_t flags);

#endif
