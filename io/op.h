/* SPDX-License-Identifier: MIT */
/*
 * One operation: what a task asks of the kernel and waits for.
 *
 * Concepts
 *   The record lies in the calling task's frame, and so do the buffers and structs that it points
 *   to. On io_uring that is safe because the task resumes only on the terminal completion
 *   (task_pvt.h): a cancel asks the kernel to hurry and changes nothing else. On epoll the task
 *   waits for readiness and does the call itself, or a thread of the pool does (blocking.h).
 *   A result >= 0 wins over a cancel: data and accepted descriptors are never lost.
 *
 * Two completions
 *   A zero-copy send that has begun to transfer ends with two: its result, and, once the kernel no
 *   longer reads the buffer, the notification, which alone is terminal. With the first the kernel
 *   lets go of the descriptor, so bnx_close does not wait for the second; nor is there anything
 *   left that a cancel could end: the task waits until the peer has acknowledged what was sent, or
 *   the connection is gone. The first may be seen by another thread than the second (the owner, a
 *   rescuer), so it is dealt with where it is taken out of the queue, under the service lock.
 *
 * Counting (fd_counts.h)
 *   The uring driver counts its ops in flight at each descriptor, of a call with two directories at
 *   both, so that bnx_close knows whom to ask. An op may end although nobody has asked for that: it
 *   is begun again. In between nothing is in flight, so beginning again is a step, as is whatever
 *   follows a wait for room.
 *
 * Closing
 *   bnx_close notes itself first, then makes passes over all workers: it ends what it finds at the
 *   descriptor, and waits. A step that was begun at one worker may wait at another, which the pass
 *   has looked at before: so the descriptor is closed after a pass that has found nobody at all.
 */
#ifndef BNX_IO_OP_H
#define BNX_IO_OP_H

#include "io/blocking.h"
#include "io/busy.h"
#include "io/fd_counts.h"
#include "io/poller.h"

#include "runtime/driver.h"
#include "runtime/wait.h"

#include <sys/socket.h>

/* Without a ring those of the first group wait for readiness; for the others a thread waits. */
enum bnx_op_kind {
    BNX_OP_READ,
    BNX_OP_WRITE,
    BNX_OP_READV,
    BNX_OP_WRITEV,
    BNX_OP_RECV,
    BNX_OP_SEND,
    BNX_OP_RECVMSG,
    BNX_OP_SENDMSG,
    BNX_OP_ACCEPT,
    BNX_OP_CONNECT,
    BNX_OP_POLL,

    BNX_OP_OPEN,
    BNX_OP_FSYNC,
    BNX_OP_FALLOCATE,
    BNX_OP_STATX,
    BNX_OP_RENAME,
    BNX_OP_UNLINK,
    BNX_OP_MKDIR,
    BNX_OP_LINK,
    BNX_OP_SYMLINK,
    BNX_OP_SEND_ZEROCOPY, /* -EOPNOTSUPP without a ring */
    BNX_OP_RAW            /* a submission of the caller's own; -ENOSYS without a ring */
};

#define BNX_FSYNC_DATA 1 /* flags of fsync: fdatasync(2); io_uring's own number */

struct bnx_op {
    enum bnx_op_kind kind;
    int fd;          /* or the directory that a path begins at; -1 once a send's result is there */
    int fd2;         /* the directory that the second path begins at: bnx_op_second_fd */
    void *buffer;    /* address (accept, connect), msghdr, array of iovec, path, submission (raw) */
    size_t bytes;    /* of the buffer or address; how many iovec; mode (mkdir, fallocate), mask */
    uint64_t offset; /* of read, write, fallocate; UINT64_MAX = the file's position */
    void *other;     /* socklen_t (accept), open_how (open), second path, statx */
    int flags;       /* as of the call of the same name; of poll the events */
    bool was_tried;  /* a send: the socket was full */
    uint64_t length; /* of fallocate */

    CK_LIST_ENTRY(bnx_op) flying; /* in its driver's list; under the service lock */
    bool is_closed;               /* bnx_close has ended it; under the service lock */
    struct bnx_task *task;        /* who waits; set by bnx_op_run */
    int32_t result;               /* of the completion, of two the first; the driver */
    uint32_t result_flags;        /* the completion's flags; the driver */
};

/* What each driver of io/ has beyond the port's. */
struct bnx_io_driver {
    struct bnx_driver base;
    struct bnx_poller poller; /* the worker's; on uring opened by the first who waits in it */
    struct bnx_blocking blocking;
    struct bnx_busy busy; /* never on epoll; owner */
    struct bnx_fd_counts counts;
};

/** The second descriptor that it is at; -1: none. */
static inline int bnx_op_second_fd(const struct bnx_op *op) {
    bool has_two =
        op->kind == BNX_OP_RENAME || op->kind == BNX_OP_LINK || op->kind == BNX_OP_SYMLINK;
    return has_two && !BNX_PLANT(op_has_one_directory) ? op->fd2 : -1;
}

/** Whether it is at that descriptor. */
static inline bool bnx_op_is_at(const struct bnx_op *op, int fd) {
    return op->fd == fd || bnx_op_second_fd(op) == fd;
}

/** Whether it is a zero-copy send that has only to wait for its notification. Under the service
 * lock. */
static inline bool bnx_op_is_only_notified(const struct bnx_op *op) {
    return op->kind == BNX_OP_SEND_ZEROCOPY && op->fd < 0;
}

/* What the drivers of io/ can do beyond the port. */
struct bnx_io_ops {
    struct bnx_driver_ops port;

    /** Runs an op of the calling task to its end: see bnx_op_run. op->result is set as well. */
    ssize_t (*run)(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason);

    /* Of drivers whose ops are in flight until they complete (bnx_op_run_in_flight); else NULL. */

    /** Owner: makes room for one op and one cancel. False: the kernel takes nothing now. */
    bool (*make_room)(struct bnx_driver *driver);

    /** Owner: starts the op. False: no room after all (a signal handler has used it). */
    bool (*start)(struct bnx_driver *driver, struct bnx_op *op);

    /** Owner: asks the kernel to end every op that was started here on that number. */
    void (*cancel_fd)(struct bnx_driver *driver, int fd);
};

/** The io side of a driver of this library. */
static inline const struct bnx_io_ops *bnx_io_ops_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF((struct bnx_driver_ops *)(uintptr_t)driver->ops, struct bnx_io_ops,
                            port);
}

static inline struct bnx_io_driver *bnx_io_driver_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF((struct bnx_driver *)(uintptr_t)driver, struct bnx_io_driver, base);
}

/** Begins a step of the calling task: see bnx_fd_step_begin. */
static inline int bnx_fd_step_begin_here(struct bnx_fd_steps *steps) {
    return bnx_fd_step_begin(steps, &bnx_io_driver_of(bnx_driver_current())->counts);
}

/**
 * Runs an op to its end.
 * Returns the result; -ECANCELED or -ETIMEDOUT: cancelled before it began, or before it transferred
 * anything; -EBADF: its descriptor was closed by bnx_close; -EPERM: off a task.
 * Context: task; suspends.
 */
ssize_t bnx_op_run(struct bnx_op *op, enum bnx_wait_reason reason);

/** The same on a driver that completes ops: starts it and waits for its terminal completion. */
ssize_t bnx_op_run_in_flight(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason);

/** What each completion of an op ends with: result stored, task made ready. Owner or rescuer. */
void bnx_op_complete(struct bnx_op *op, int32_t result, uint32_t flags);

#endif
