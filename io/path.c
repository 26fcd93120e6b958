/* SPDX-License-Identifier: MIT */
/* What is done to files by their names (bonxie/path.h). */
#include <bonxie/path.h>

#include "io/op.h"

#include <bonxie/offload.h>

#include <errno.h>
#include <limits.h>

static void *borrow(const char *path) {
    return (void *)(uintptr_t)path; /* the kernel only reads it */
}

/* ---- Attributes ---- */

int bnx_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out) {
    if (path == NULL || out == NULL) {
        return -EINVAL;
    }
    struct bnx_op op = {.kind = BNX_OP_STATX,
                        .fd = directory,
                        .buffer = borrow(path),
                        .bytes = mask,
                        .other = out,
                        .flags = flags};
    return (int)bnx_op_run(&op, BNX_WAIT_FILE);
}

#define USUAL_FIELDS (STATX_BASIC_STATS | STATX_BTIME)

int bnx_stat(const char *path, struct statx *out) {
    return bnx_statx(AT_FDCWD, path, 0, USUAL_FIELDS, out);
}

int bnx_lstat(const char *path, struct statx *out) {
    return bnx_statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, USUAL_FIELDS, out);
}

int bnx_fstat(int fd, struct statx *out) {
    return bnx_statx(fd, "", AT_EMPTY_PATH, USUAL_FIELDS, out);
}

/* ---- Names ---- */

/* One that changes names: the first path, or both, begin in a directory. */
static int change(struct bnx_op *op) {
    if (op->buffer == NULL) {
        return -EINVAL;
    }
    return (int)bnx_op_run(op, BNX_WAIT_FILE);
}

int bnx_renameat(int directory, const char *path, int new_directory, const char *new_path,
                 unsigned flags) {
    struct bnx_op op = {.kind = BNX_OP_RENAME,
                        .fd = directory,
                        .buffer = borrow(path),
                        .fd2 = new_directory,
                        .other = borrow(new_path),
                        .flags = (int)flags};
    return new_path == NULL ? -EINVAL : change(&op);
}

int bnx_rename(const char *path, const char *new_path) {
    return bnx_renameat(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

int bnx_unlinkat(int directory, const char *path, int flags) {
    struct bnx_op op = {
        .kind = BNX_OP_UNLINK, .fd = directory, .buffer = borrow(path), .flags = flags};
    return change(&op);
}

int bnx_unlink(const char *path) {
    return bnx_unlinkat(AT_FDCWD, path, 0);
}

int bnx_rmdir(const char *path) {
    return bnx_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int bnx_mkdirat(int directory, const char *path, mode_t mode) {
    struct bnx_op op = {
        .kind = BNX_OP_MKDIR, .fd = directory, .buffer = borrow(path), .bytes = mode};
    return change(&op);
}

int bnx_mkdir(const char *path, mode_t mode) {
    return bnx_mkdirat(AT_FDCWD, path, mode);
}

int bnx_linkat(int directory, const char *path, int new_directory, const char *new_path,
               int flags) {
    struct bnx_op op = {.kind = BNX_OP_LINK,
                        .fd = directory,
                        .buffer = borrow(path),
                        .fd2 = new_directory,
                        .other = borrow(new_path),
                        .flags = flags};
    return new_path == NULL ? -EINVAL : change(&op);
}

int bnx_link(const char *path, const char *new_path) {
    return bnx_linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0);
}

int bnx_symlinkat(const char *target, int directory, const char *path) {
    struct bnx_op op = {.kind = BNX_OP_SYMLINK,
                        .fd = -1, /* the target is but text */
                        .buffer = borrow(target),
                        .fd2 = directory,
                        .other = borrow(path)};
    return path == NULL ? -EINVAL : change(&op);
}

int bnx_symlink(const char *target, const char *path) {
    return bnx_symlinkat(target, AT_FDCWD, path);
}

/* ---- Reading a link: no operation of a ring ---- */

struct link_reading {
    struct bnx_fd_steps at; /* the directory */
    struct bnx_fd_counts *counts;
    const char *path;
    char *target;
    size_t bytes;
};

static int read_link_now(void *arg) {
    struct link_reading *reading = arg;
    int result = bnx_fd_step_begin(&reading->at, reading->counts);
    if (result == 0) {
        result =
            (int)bnx_os.readlinkat(reading->at.fd, reading->path, reading->target, reading->bytes);
        bnx_fd_step_end(&reading->at);
    }
    return result;
}

ssize_t bnx_readlinkat(int directory, const char *path, char *out_target, size_t bytes) {
    if (bnx_task_current() == NULL) {
        return bnx_off_task_error();
    }
    if (path == NULL || out_target == NULL) {
        return -EINVAL;
    }
    struct link_reading reading = {.counts = &bnx_io_driver_of(bnx_driver_current())->counts,
                                   .path = path,
                                   .target = out_target,
                                   .bytes = bytes < INT_MAX ? bytes : INT_MAX};
    bnx_fd_steps_init(&reading.at, directory);
    return bnx_offload(read_link_now, &reading);
}

ssize_t bnx_readlink(const char *path, char *out_target, size_t bytes) {
    return bnx_readlinkat(AT_FDCWD, path, out_target, bytes);
}
