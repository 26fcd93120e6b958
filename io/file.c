/* SPDX-License-Identifier: MIT */
/* Opening files, reading and writing any descriptor (bonxie/file.h). */
#include <bonxie/file.h>

#include "io/op.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

/* The kernel itself transfers no more in one call. */
#define TRANSFER_BYTES_MAX ((size_t)0x7ffff000)

static ssize_t transfer(enum bnx_op_kind kind, int fd, void *buffer, size_t bytes,
                        uint64_t offset) {
    struct bnx_op op = {.kind = kind,
                        .fd = fd,
                        .buffer = buffer,
                        .bytes = bytes < TRANSFER_BYTES_MAX ? bytes : TRANSFER_BYTES_MAX,
                        .offset = offset};
    return bnx_op_run(&op, kind == BNX_OP_READ ? BNX_WAIT_READ : BNX_WAIT_WRITE);
}

int bnx_open(const char *path, int flags, mode_t mode) {
    if (path == NULL) {
        return -EINVAL;
    }
    /* The kernel reads the path only, and before it returns from the submission. */
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = mode};
    struct bnx_op op = {
        .kind = BNX_OP_OPEN, .fd = AT_FDCWD, .buffer = (void *)(uintptr_t)path, .other = &how};
    return (int)bnx_op_run(&op, BNX_WAIT_OPEN);
}

ssize_t bnx_read(int fd, void *buffer, size_t bytes) {
    return transfer(BNX_OP_READ, fd, buffer, bytes, UINT64_MAX);
}

ssize_t bnx_write(int fd, const void *buffer, size_t bytes) {
    return transfer(BNX_OP_WRITE, fd, (void *)(uintptr_t)buffer, bytes, UINT64_MAX);
}

ssize_t bnx_pread(int fd, void *buffer, size_t bytes, off_t offset) {
    return offset < 0 ? -EINVAL : transfer(BNX_OP_READ, fd, buffer, bytes, (uint64_t)offset);
}

ssize_t bnx_pwrite(int fd, const void *buffer, size_t bytes, off_t offset) {
    void *source = (void *)(uintptr_t)buffer;
    return offset < 0 ? -EINVAL : transfer(BNX_OP_WRITE, fd, source, bytes, (uint64_t)offset);
}
