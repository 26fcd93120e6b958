/* SPDX-License-Identifier: MIT */
/*
 * Copying from one descriptor to another inside the kernel (bnx_copy_file in bonxie/file.h).
 *
 * Concepts
 *   A way is one system call that moves a piece, made by a thread of the pool, since it may wait
 *   for a disk on either side. What does not suit the two descriptors says so at its first piece;
 *   then the copy goes through a buffer: between two files by such a thread too, otherwise by the
 *   task. Nothing is ever taken from `from` that is not written: the offset of a file moves with
 *   what was written, and out of a pipe the kernel takes no more. Where a pipe or a socket is not
 *   ready, the task waits for it, not the thread.
 *
 * Rejected
 *   One call for all: it would not notice a cancel for as long as the whole copy takes.
 */
#include <bonxie/file.h>

#include "io/op.h"

#include <bonxie/offload.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* 2 ms from the page cache: the hop to a thread and back, 20 us, is 1 % of it. */
#define PIECE_BYTES ((uint64_t)8 << 20)
/* What a socket that poll(2) calls writable takes without waiting, unless others write as well. */
#define BLOCKING_BYTES 4096
#define BUFFER_BYTES ((size_t)256 << 10)
#define BUFFER_ALIGNMENT 4096 /* fits direct I/O as well */

enum way {
    WAY_RANGE,
    WAY_SEND,
    WAY_SPLICE,
    WAY_FILES, /* from file to file, through a buffer, by the thread that has the piece */
    WAY_BUFFER /* through a buffer, by the task */
};

struct copy {
    enum way way;
    int from;
    int to;
    off_t from_at; /* -1: a pipe, which has none */
    off_t to_at;   /* -1: the position */
    uint64_t left;
    uint64_t done;
    char *buffer;   /* of BUFFER_BYTES; NULL: none was needed yet */
    bool is_tried;  /* a thread has made the call, whose result is then not the pool's */
    bool is_within; /* both are one file */
    bool has_size;  /* so that a read of `from` does not wait for what somebody may say */
    bool may_block; /* `to` may block the thread, unless it has room */
    struct bnx_fd_steps at_from;  /* each call, and each wait, is a step */
    struct bnx_fd_steps at_to;    /* the same */
    struct bnx_fd_counts *counts; /* for the calls of threads */
};

/* ---- In the kernel ---- */

static bool take_buffer(struct copy *copy) {
    if (copy->buffer == NULL) {
        copy->buffer = bnx_os.allocate(BUFFER_BYTES, BUFFER_ALIGNMENT);
    }
    return copy->buffer != NULL;
}

/* Writes what was read. Returns how much was taken, or -errno. */
static ssize_t put_file(struct copy *copy, size_t bytes) {
    size_t wrote = 0;
    while (wrote < bytes) { /* ends: progress, or an error */
        struct iovec rest = {copy->buffer + wrote, bytes - wrote};
        ssize_t result = bnx_os.pwritev(copy->to, &rest, 1, copy->to_at, 0);
        if (result <= 0) {
            return wrote > 0 ? (ssize_t)wrote : result == 0 ? -EIO : result;
        }
        wrote += (size_t)result;
        copy->from_at += result;
        copy->to_at += copy->to_at >= 0 ? result : 0;
    }
    return (ssize_t)wrote;
}

/* A piece from file to file where the kernel has no way: what an operation for each read and each
 * write would be, without a hop between threads for every one of them, which made it 2.5 times as
 * long. */
static int move_files(struct copy *copy, size_t bytes) {
    if (!take_buffer(copy)) {
        return -ENOMEM;
    }
    size_t done = 0;
    while (done < bytes) { /* ends: progress, the end, or an error */
        struct iovec part = {copy->buffer, BUFFER_BYTES};
        part.iov_len = bytes - done < BUFFER_BYTES ? bytes - done : BUFFER_BYTES;
        ssize_t got = bnx_os.preadv(copy->from, &part, 1, copy->from_at, 0);
        got = got > 0 ? put_file(copy, (size_t)got) : got;
        if (got <= 0) {
            return done > 0 ? (int)done : (int)got;
        }
        done += (size_t)got;
    }
    return (int)done;
}

static int move_now(struct copy *copy) {
    off_t *from_at = copy->from_at >= 0 ? &copy->from_at : NULL;
    off_t *to_at = copy->to_at >= 0 ? &copy->to_at : NULL;
    uint64_t piece = copy->may_block ? BLOCKING_BYTES : PIECE_BYTES;
    size_t bytes = (size_t)(copy->left < piece ? copy->left : piece);
    switch (copy->way) {
    case WAY_RANGE:
        return (int)bnx_os.copy_file_range(copy->from, from_at, copy->to, to_at, bytes);
    case WAY_SEND:
        return (int)bnx_os.sendfile(copy->to, copy->from, from_at, bytes);
    case WAY_SPLICE:
        return (int)bnx_os.splice(copy->from, from_at, copy->to, to_at, bytes, SPLICE_F_NONBLOCK);
    case WAY_FILES:
        return move_files(copy, bytes);
    case WAY_BUFFER:
        break; /* not done by a thread */
    }
    return -EINVAL;
}

static int move_piece(void *arg) {
    struct copy *copy = arg;
    copy->is_tried = true;
    int result = bnx_fd_step_begin(&copy->at_from, copy->counts);
    if (result != 0) {
        return result;
    }
    result = BNX_PLANT(copy_counts_one) ? 0 : bnx_fd_step_begin(&copy->at_to, copy->counts);
    if (result == 0) {
        result = move_now(copy);
        if (!BNX_PLANT(copy_counts_one)) {
            bnx_fd_step_end(&copy->at_to);
        }
    }
    bnx_fd_step_end(&copy->at_from);
    return result;
}

/* At one of the two: a close of the other need not wait for it. */
static int wait_for(struct bnx_fd_steps *steps, int events, enum bnx_wait_reason reason) {
    int result = bnx_fd_step_begin_here(steps);
    if (result != 0) {
        return result;
    }
    struct bnx_op op = {.kind = BNX_OP_POLL, .fd = steps->fd, .flags = events};
    result = (int)bnx_op_run(&op, reason); /* a file is always ready */
    bnx_fd_step_end(steps);
    return result;
}

/* Which side was not ready is not said: one that is does not hold us up. */
static int wait_ready(struct copy *copy) {
    int error = copy->from_at < 0 ? wait_for(&copy->at_from, POLLIN, BNX_WAIT_READ) : 0;
    return error < 0 ? error : wait_for(&copy->at_to, POLLOUT, BNX_WAIT_WRITE);
}

/* What says that the way does not suit, as opposed to a failure of the copy. A range copied onto
 * itself is refused as well, and for good. */
static bool is_unsuitable(const struct copy *copy, int result) {
    bool is_within = copy->is_within && !BNX_PLANT(copy_onto_itself);
    if (copy->done > 0 || copy->from_at < 0 || is_within) {
        return false;
    }
    bool is_empty = result == 0 && copy->way == WAY_RANGE; /* a file that says so may be of /proc */
    bool is_late = result == -EAGAIN && copy->way == WAY_FILES; /* one that waits after all */
    return is_empty || is_late || result == -EINVAL || result == -EXDEV || result == -ENOSYS ||
           result == -EOPNOTSUPP || result == -EBADF;
}

/* Until the end, an error, or -EAGAIN with way changed: not in this way. */
static int move_all(struct copy *copy) {
    while (copy->left > 0) { /* ends: progress, the end, or an error */
        int result = copy->may_block && !BNX_PLANT(copy_blocks) ? wait_ready(copy) : 0;
        if (result < 0) {
            return result;
        }
        copy->is_tried = false;
        result = bnx_offload(move_piece, copy);
        if (!copy->is_tried && !BNX_PLANT(copy_blames_call)) {
            return result;
        }
        if (is_unsuitable(copy, result)) {
            if (copy->way == WAY_RANGE && copy->has_size) {
                copy->way = WAY_FILES;
                continue;
            }
            copy->way = WAY_BUFFER;
            return -EAGAIN;
        }
        if (result == -EAGAIN) {
            result = wait_ready(copy);
            if (result < 0) {
                return result;
            }
            continue;
        }
        if (result == -EINTR) {
            continue;
        }
        if (result <= 0) {
            return result;
        }
        copy->done += (uint64_t)result;
        copy->left -= (uint64_t)result;
    }
    return 0;
}

/* ---- Through a buffer ---- */

static int write_all(struct copy *copy, const char *data, size_t bytes) {
    while (bytes > 0) { /* ends: progress, or an error */
        ssize_t wrote = bnx_fd_step_begin_here(&copy->at_to);
        if (wrote != 0) {
            return (int)wrote;
        }
        wrote = copy->to_at >= 0 ? bnx_pwrite(copy->to, data, bytes, copy->to_at)
                                 : bnx_write(copy->to, data, bytes);
        bnx_fd_step_end(&copy->at_to);
        if (wrote <= 0) {
            return wrote == 0 ? -EIO : (int)wrote;
        }
        data += wrote;
        bytes -= (size_t)wrote;
        copy->from_at += wrote;
        copy->to_at += copy->to_at >= 0 ? wrote : 0;
        copy->done += (uint64_t)wrote;
        copy->left -= (uint64_t)wrote;
    }
    return 0;
}

static int copy_through(struct copy *copy) {
    if (!take_buffer(copy)) {
        return -ENOMEM;
    }
    int error = 0;
    while (copy->left > 0 && error == 0) { /* ends: progress, the end, or an error */
        size_t bytes = copy->left < BUFFER_BYTES ? (size_t)copy->left : BUFFER_BYTES;
        error = bnx_fd_step_begin_here(&copy->at_from);
        if (error != 0) {
            break;
        }
        ssize_t got = bnx_pread(copy->from, copy->buffer, bytes, copy->from_at);
        bnx_fd_step_end(&copy->at_from);
        if (got <= 0) {
            error = (int)got;
            break;
        }
        error = write_all(copy, copy->buffer, (size_t)got);
    }
    return error;
}

/* ---- Which way ---- */

static bool is_nonblocking(int fd) {
    int flags = bnx_os.fcntl(fd, F_GETFL, 0);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/* A socket that blocks would hold the thread, out of a cancel's reach; but from a pipe nothing else
 * gives back what it does not take: little by little then. */
static enum way way_for(const struct copy *copy, const struct stat *from, const struct stat *to) {
    if (S_ISFIFO(from->st_mode) || S_ISFIFO(to->st_mode)) {
        return WAY_SPLICE;
    }
    if (S_ISREG(from->st_mode) && S_ISREG(to->st_mode)) {
        return WAY_RANGE;
    }
    if (S_ISREG(from->st_mode) && S_ISSOCK(to->st_mode) && copy->to_at < 0 &&
        is_nonblocking(copy->to)) {
        return WAY_SEND;
    }
    return WAY_BUFFER;
}

/* Looks at both sides; both offsets are known then. */
static int prepare(struct copy *copy, const off_t *from_offset, const off_t *to_offset) {
    if ((from_offset != NULL && *from_offset < 0) || (to_offset != NULL && *to_offset < 0)) {
        return -EINVAL;
    }
    struct stat from, to;
    int error = bnx_os.fstat(copy->from, &from);
    error = error != 0 ? error : bnx_os.fstat(copy->to, &to);
    if (error != 0) {
        return error;
    }
    copy->to_at = to_offset != NULL ? *to_offset : -1;
    copy->from_at = from_offset != NULL ? *from_offset : bnx_os.lseek(copy->from, 0, SEEK_CUR);
    if (copy->from_at < 0) {
        if (copy->from_at != -ESPIPE || !S_ISFIFO(from.st_mode)) {
            return (int)copy->from_at;
        }
        copy->from_at = -1;
    }
    copy->way = way_for(copy, &from, &to);
    bool is_quick = S_ISREG(to.st_mode) || S_ISFIFO(to.st_mode);
    copy->may_block = copy->way == WAY_SPLICE && !is_quick && !is_nonblocking(copy->to);
    copy->has_size = from.st_size > 0;
    copy->is_within = from.st_dev == to.st_dev && from.st_ino == to.st_ino;
    return 0;
}

int64_t bnx_copy_file(int from, off_t *from_offset, int to, off_t *to_offset, uint64_t bytes) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    struct copy copy = {.from = from, .to = to, .left = bytes};
    copy.counts = &bnx_io_driver_of(bnx_driver_current())->counts;
    bnx_fd_steps_init(&copy.at_from, from);
    bnx_fd_steps_init(&copy.at_to, to);
    int error = bnx_task_cancel_check(self);
    error = error != 0 ? error : prepare(&copy, from_offset, to_offset);
    if (error != 0) {
        return error;
    }
    error = copy.way != WAY_BUFFER ? move_all(&copy) : -EAGAIN;
    if (error == -EAGAIN && copy.way == WAY_BUFFER) {
        error = copy_through(&copy);
    }
    bnx_os.release(copy.buffer);
    if (copy.done == 0) {
        return error;
    }
    if (from_offset != NULL) {
        *from_offset = copy.from_at;
    } else if (copy.from_at >= 0 && bnx_fd_step_begin_here(&copy.at_from) == 0) {
        (void)bnx_os.lseek(from, copy.from_at, SEEK_SET);
        bnx_fd_step_end(&copy.at_from);
    }
    if (to_offset != NULL) {
        *to_offset = copy.to_at;
    }
    return (int64_t)copy.done;
}
