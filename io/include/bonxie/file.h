/* SPDX-License-Identifier: MIT */
/*
 * Opening files, and reading, writing and closing any file descriptor, from a task. Cancel as in
 * net.h: neither data nor a descriptor is lost to it.
 */
#ifndef BONXIE_FILE_H
#define BONXIE_FILE_H

#include <bonxie/base.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

/**
 * Opens a file as open(2), without holding the worker: a fifo without its other end, a disk asleep.
 * @param path not NULL; borrowed for the call.
 * @param flags as of open(2); O_CLOEXEC is the caller's to give.
 * @param mode of a file that is created; else 0.
 * Returns the descriptor, which the caller closes; or -errno; -ECANCELED, -ETIMEDOUT: nothing was
 * opened; -EPERM off a task. Context: task, suspends.
 */
BNX_API int bnx_open(const char *path, int flags, mode_t mode);

/**
 * Reads up to so many bytes at the file's position, as read(2).
 * Returns the count, 0 at the end, or -errno; -ECANCELED, -ETIMEDOUT; -EBADF: closed meanwhile;
 * -EPERM off a task. Context: task, suspends.
 */
BNX_API ssize_t bnx_read(int fd, void *buffer, size_t bytes);

/**
 * Writes up to so many bytes at the file's position, as write(2); no SIGPIPE under bnx_main.
 * Context: as bnx_read.
 */
BNX_API ssize_t bnx_write(int fd, const void *buffer, size_t bytes);

/** As bnx_read at an offset of the file. */
BNX_API ssize_t bnx_pread(int fd, void *buffer, size_t bytes, off_t offset);

/** As bnx_write at an offset of the file. */
BNX_API ssize_t bnx_pwrite(int fd, const void *buffer, size_t bytes, off_t offset);

/**
 * Closes a descriptor. Tasks that wait on it get -EBADF first, so that the file is really released:
 * the peer of a socket sees its end, a listener gives up its port. An operation that is started
 * during the close is the caller's error, as in POSIX.
 * Returns 0 or -EBADF (it was not open); other errors of close(2) are returned with the fd closed.
 * Context: task, may suspend; not refused by a cancel. Off a task: close(2).
 */
BNX_API int bnx_close(int fd);

BNX_EXTERN_C_END

#endif
