/* SPDX-License-Identifier: MIT */
/*
 * Opening files, reading and writing any descriptor (bonxie/file.h).
 *
 * A read of a file is tried at once with RWF_NOWAIT, which gives what is in the page cache or
 * nothing: an operation of the ring costs more than the copy. Not where that would wait for the
 * disk all the same (O_DIRECT), nor of what is no file.
 */
#include <bonxie/file.h>

#include "io/hint.h"
#include "io/op.h"
#include "io/perform.h"

#include <bonxie/offload.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>

/* The kernel itself transfers no more in one call. */
#define TRANSFER_BYTES_MAX ((size_t)0x7ffff000)
/* So much is copied from the page cache before others get their turn: about 50 us. */
#define AT_ONCE_BYTES_MAX ((size_t)256 << 10)
/* Where nobody says what direct I/O needs: no device that is known needs more. */
#define DIRECT_BYTES_DEFAULT 4096

/* ---- Opening ---- */

int bnx_openat2(int directory, const char *path, const struct open_how *how) {
    if (path == NULL || how == NULL) {
        return -EINVAL;
    }
    struct bnx_op op = {.kind = BNX_OP_OPEN,
                        .fd = directory,
                        .buffer = (void *)(uintptr_t)path,
                        .other = (void *)(uintptr_t)how};
    int fd = (int)bnx_op_run(&op, BNX_WAIT_OPEN);
    if (fd >= 0) {
        bnx_hint_clear(fd); /* of the number's last life */
        if ((how->flags & O_DIRECT) != 0) {
            bnx_hint_set(fd, BNX_HINT_SEEN, true);
            bnx_hint_set(fd, BNX_HINT_DIRECT, true);
        }
    }
    return fd;
}

int bnx_open(const char *path, int flags, mode_t mode) {
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = mode};
    return bnx_openat2(AT_FDCWD, path, &how);
}

/* ---- Reading and writing ---- */

/* What is in a read or write of one buffer. */
struct transfer {
    int fd;
    char *buffer;
    size_t bytes;
    uint64_t offset; /* UINT64_MAX: the position */
};

static ssize_t run(enum bnx_op_kind kind, const struct transfer *transfer) {
    struct bnx_op op = {.kind = kind,
                        .fd = transfer->fd,
                        .buffer = transfer->buffer,
                        .bytes = transfer->bytes,
                        .offset = transfer->offset};
    return bnx_op_run(&op, kind == BNX_OP_READ ? BNX_WAIT_READ : BNX_WAIT_WRITE);
}

/* Its part that is done is behind it. */
static void advance(struct transfer *transfer, size_t bytes) {
    transfer->buffer += bytes;
    transfer->bytes -= bytes;
    transfer->offset += transfer->offset == UINT64_MAX ? 0 : bytes;
}

/* A piece of a read from the page cache. -EAGAIN: a part of it, or all, is not there. */
static ssize_t read_piece(const struct transfer *transfer) {
    size_t bytes = transfer->bytes < AT_ONCE_BYTES_MAX ? transfer->bytes : AT_ONCE_BYTES_MAX;
    struct iovec piece = {transfer->buffer, bytes};
    off_t offset = transfer->offset == UINT64_MAX ? -1 : (off_t)transfer->offset;
    ssize_t got = bnx_os.preadv(transfer->fd, &piece, 1, offset, RWF_NOWAIT);
    if (got == -EOPNOTSUPP) { /* this file system cannot */
        bnx_hint_set(transfer->fd, BNX_HINT_CACHED, false);
        return -EAGAIN;
    }
    return got;
}

enum read_by { BY_CACHE, BY_OP };

/* After the first piece the task may have given way: then each is a step (fd_counts.h). NULL: it is
 * the first. */
static ssize_t read_next(const struct transfer *transfer, enum read_by by,
                         struct bnx_fd_steps *steps) {
    ssize_t got = steps != NULL ? bnx_fd_step_begin_here(steps) : 0;
    if (got != 0) {
        return got;
    }
    got = by == BY_OP ? run(BNX_OP_READ, transfer) : read_piece(transfer);
    if (steps != NULL) {
        bnx_fd_step_end(steps);
    }
    return got;
}

/* Reads from the page cache while it can, and by an operation what is not there. A file is read
 * short at its end only: another try tells that from a page that is not there. */
static ssize_t read_cached(struct bnx_task *self, struct transfer *transfer) {
    size_t done = 0;
    struct bnx_fd_steps steps;
    bnx_fd_steps_init(&steps, transfer->fd);
    ssize_t got = bnx_task_cancel_check(self);
    while (got == 0 && transfer->bytes > 0) { /* ends: at the end, or with all of it */
        struct bnx_fd_steps *step = done > 0 && !BNX_PLANT(cached_is_no_step) ? &steps : NULL;
        got = read_next(transfer, BY_CACHE, step);
        if (got == -EAGAIN || BNX_PLANT(cached_read_short)) {
            got = got == -EAGAIN ? read_next(transfer, BY_OP, step) : got;
            return got >= 0 ? (ssize_t)done + got : done > 0 ? (ssize_t)done : got;
        }
        if (!BNX_PLANT(cached_no_spend)) {
            bnx_task_spend(self);
        }
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
        if ((size_t)got == transfer->bytes) {
            break; /* a cancel that has come meanwhile is the next call's */
        }
        advance(transfer, (size_t)got);
        got = bnx_task_cancel_check(self);
    }
    return done > 0 ? (ssize_t)done : got;
}

/* Whether what is not read through the page cache has offsets: a pipe has none, and a ring would
 * leave that aside and read from it. */
static bool has_offsets(int fd) {
    return bnx_hint_has(fd, BNX_HINT_DIRECT) || bnx_os.lseek(fd, 0, SEEK_CUR) != -ESPIPE ||
           BNX_PLANT(offset_left_aside);
}

static ssize_t transfer_at(enum bnx_op_kind kind, int fd, void *buffer, size_t bytes,
                           uint64_t offset) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    bytes = bytes < TRANSFER_BYTES_MAX ? bytes : TRANSFER_BYTES_MAX;
    struct transfer transfer = {fd, buffer, bytes, offset};
    bool is_cached = bnx_hint_is_cached(fd);
    if (offset != UINT64_MAX && !is_cached && !has_offsets(fd)) {
        return -ESPIPE;
    }
    if (kind == BNX_OP_READ && is_cached && bytes > 0) {
        return read_cached(self, &transfer);
    }
    return run(kind, &transfer);
}

ssize_t bnx_read(int fd, void *buffer, size_t bytes) {
    return transfer_at(BNX_OP_READ, fd, buffer, bytes, UINT64_MAX);
}

ssize_t bnx_write(int fd, const void *buffer, size_t bytes) {
    return transfer_at(BNX_OP_WRITE, fd, (void *)(uintptr_t)buffer, bytes, UINT64_MAX);
}

ssize_t bnx_pread(int fd, void *buffer, size_t bytes, off_t offset) {
    return offset < 0 ? -EINVAL : transfer_at(BNX_OP_READ, fd, buffer, bytes, (uint64_t)offset);
}

ssize_t bnx_pwrite(int fd, const void *buffer, size_t bytes, off_t offset) {
    void *source = (void *)(uintptr_t)buffer;
    return offset < 0 ? -EINVAL : transfer_at(BNX_OP_WRITE, fd, source, bytes, (uint64_t)offset);
}

/* ---- Several buffers ---- */

static size_t bytes_of(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        bytes += parts[i].iov_len; /* a sum that wraps is refused by the kernel */
    }
    return bytes;
}

/* Reads part by part what follows the first `done` bytes. Somebody else's write may come in
 * between, as it may between two pages of one read. */
static ssize_t read_rest(struct bnx_fd_steps *steps, const struct bnx_op *op, size_t done) {
    const struct iovec *parts = op->buffer;
    int count = (int)op->bytes;
    uint64_t offset = op->offset;
    size_t skip = done;
    for (int i = 0; i < count; i++) {
        if (skip >= parts[i].iov_len) {
            skip -= parts[i].iov_len;
            continue;
        }
        char *at = (char *)parts[i].iov_base + skip;
        size_t bytes = parts[i].iov_len - skip;
        uint64_t from = offset == UINT64_MAX ? offset : offset + done;
        ssize_t got = bnx_fd_step_begin_here(steps);
        if (got == 0) {
            got = transfer_at(BNX_OP_READ, op->fd, at, bytes, from);
            bnx_fd_step_end(steps);
        }
        if (got < 0) {
            return done > 0 ? (ssize_t)done : got;
        }
        done += (size_t)got;
        if ((size_t)got < bytes) {
            break;
        }
        skip = 0;
    }
    return (ssize_t)done;
}

static ssize_t read_parts_cached(struct bnx_task *self, struct bnx_op *op) {
    const struct iovec *parts = op->buffer;
    int count = (int)op->bytes;
    size_t bytes = bytes_of(parts, count);
    struct bnx_fd_steps steps;
    bnx_fd_steps_init(&steps, op->fd);
    ssize_t got = bnx_task_cancel_check(self);
    if (got != 0 || bytes > AT_ONCE_BYTES_MAX) {
        return got != 0 ? got : read_rest(&steps, op, 0);
    }
    got = bnx_op_try(op);
    if (got == -EAGAIN || got == -EOPNOTSUPP) {
        return bnx_op_run(op, BNX_WAIT_READ);
    }
    bnx_task_spend(self);
    if (got <= 0 || (size_t)got == bytes) {
        return got;
    }
    return read_rest(&steps, op, (size_t)got);
}

static ssize_t transfer_parts(enum bnx_op_kind kind, int fd, const struct iovec *parts, int count,
                              uint64_t offset) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    if (count < 0 || count > IOV_MAX || (parts == NULL && count > 0)) {
        return -EINVAL;
    }
    struct bnx_op op = {.kind = kind,
                        .fd = fd,
                        .buffer = (void *)(uintptr_t)parts,
                        .bytes = (size_t)count,
                        .offset = offset};
    bool is_cached = bnx_hint_is_cached(fd);
    if (offset != UINT64_MAX && !is_cached && !has_offsets(fd)) {
        return -ESPIPE;
    }
    if (kind == BNX_OP_WRITEV) {
        return bnx_op_run(&op, BNX_WAIT_WRITE);
    }
    if (is_cached) {
        return read_parts_cached(self, &op);
    }
    return bnx_op_run(&op, BNX_WAIT_READ);
}

ssize_t bnx_readv(int fd, const struct iovec *parts, int count) {
    return transfer_parts(BNX_OP_READV, fd, parts, count, UINT64_MAX);
}

ssize_t bnx_writev(int fd, const struct iovec *parts, int count) {
    return transfer_parts(BNX_OP_WRITEV, fd, parts, count, UINT64_MAX);
}

ssize_t bnx_preadv(int fd, const struct iovec *parts, int count, off_t offset) {
    return offset < 0 ? -EINVAL : transfer_parts(BNX_OP_READV, fd, parts, count, (uint64_t)offset);
}

ssize_t bnx_pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return offset < 0 ? -EINVAL : transfer_parts(BNX_OP_WRITEV, fd, parts, count, (uint64_t)offset);
}

/* ---- What is on the disk ---- */

int bnx_fsync(int fd) {
    struct bnx_op op = {.kind = BNX_OP_FSYNC, .fd = fd};
    return (int)bnx_op_run(&op, BNX_WAIT_FILE);
}

int bnx_fdatasync(int fd) {
    struct bnx_op op = {.kind = BNX_OP_FSYNC, .fd = fd, .flags = BNX_FSYNC_DATA};
    return (int)bnx_op_run(&op, BNX_WAIT_FILE);
}

int bnx_fallocate(int fd, int mode, off_t offset, off_t bytes) {
    if (offset < 0 || bytes <= 0 || mode < 0) {
        return -EINVAL;
    }
    struct bnx_op op = {.kind = BNX_OP_FALLOCATE,
                        .fd = fd,
                        .bytes = (size_t)mode,
                        .offset = (uint64_t)offset,
                        .length = (uint64_t)bytes};
    return (int)bnx_op_run(&op, BNX_WAIT_FILE);
}

struct truncation {
    struct bnx_fd_steps at;
    struct bnx_fd_counts *counts;
    off_t bytes;
};

static int truncate_now(void *arg) {
    struct truncation *truncation = arg;
    int error = bnx_fd_step_begin(&truncation->at, truncation->counts);
    if (error != 0) {
        return error;
    }
    do { /* ends: a signal for somebody else comes once */
        error = bnx_os.ftruncate(truncation->at.fd, truncation->bytes);
    } while (error == -EINTR);
    bnx_fd_step_end(&truncation->at);
    return error;
}

/* No operation of a ring before Linux 6.9. */
int bnx_ftruncate(int fd, off_t bytes) {
    if (bnx_task_current() == NULL) {
        return bnx_off_task_error();
    }
    struct truncation truncation = {.counts = &bnx_io_driver_of(bnx_driver_current())->counts,
                                    .bytes = bytes};
    bnx_fd_steps_init(&truncation.at, fd);
    return bnx_offload(truncate_now, &truncation);
}

int bnx_direct_align(int fd, struct bnx_direct_alignment *out) {
    struct statx status = {0};
    struct bnx_op op = {.kind = BNX_OP_STATX,
                        .fd = fd,
                        .buffer = (void *)(uintptr_t) "",
                        .bytes = STATX_DIOALIGN,
                        .other = &status,
                        .flags = AT_EMPTY_PATH};
    int error = (int)bnx_op_run(&op, BNX_WAIT_FILE);
    if (error != 0) {
        return error;
    }
    struct bnx_direct_alignment said = {DIRECT_BYTES_DEFAULT, DIRECT_BYTES_DEFAULT};
    if ((status.stx_mask & STATX_DIOALIGN) != 0) {
        said = (struct bnx_direct_alignment){status.stx_dio_mem_align, status.stx_dio_offset_align};
    }
    if (said.offset_bytes == 0) {
        return -EOPNOTSUPP;
    }
    *out = said;
    return 0;
}
