/* SPDX-License-Identifier: MIT */
/*
 * Opening files, and reading, writing, copying and closing any file descriptor, from a task. Cancel
 * as in net.h: neither data nor a descriptor is lost to it. Paths are in path.h, directories in
 * dir.h.
 *
 * A read of a file is tried at once: what is in the page cache is copied without a wait. What has
 * to come from a disk, a pipe or a terminal does not hold the worker.
 */
#ifndef BONXIE_FILE_H
#define BONXIE_FILE_H

#include <bonxie/base.h>

#include <sys/types.h>
#include <sys/uio.h>

BNX_EXTERN_C_BEGIN

struct open_how; /* of linux/openat2.h */

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
 * Opens a file as openat2(2).
 * @param directory where a relative path begins; AT_FDCWD: the current directory.
 * @param how flags, mode and RESOLVE_*; not NULL; borrowed for the call.
 * Returns and context as bnx_open.
 */
BNX_API int bnx_openat2(int directory, const char *path, const struct open_how *how);

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
 * As bnx_read into several buffers, one after the other.
 * @param parts borrowed for the call. @param count at most 1024, as of readv(2).
 */
BNX_API ssize_t bnx_readv(int fd, const struct iovec *parts, int count);

/** As bnx_write from several buffers. */
BNX_API ssize_t bnx_writev(int fd, const struct iovec *parts, int count);

/** As bnx_readv at an offset of the file. Context: as bnx_read. */
BNX_API ssize_t bnx_preadv(int fd, const struct iovec *parts, int count, off_t offset);

/** As bnx_writev at an offset of the file. Context: as bnx_read. */
BNX_API ssize_t bnx_pwritev(int fd, const struct iovec *parts, int count, off_t offset);

/**
 * Waits until what was written is on the disk, as fsync(2).
 * Returns 0 or -errno; -ECANCELED, -ETIMEDOUT; -EPERM off a task. Context: task, suspends.
 */
BNX_API int bnx_fsync(int fd);

/** As bnx_fsync, without what no reader needs of the file's attributes: fdatasync(2). */
BNX_API int bnx_fdatasync(int fd);

/** Reserves, frees or zeroes a range of a file, as fallocate(2). Returns as bnx_fsync. */
BNX_API int bnx_fallocate(int fd, int mode, off_t offset, off_t bytes);

/**
 * Makes a file so long, as ftruncate(2). Returns as bnx_fsync; context as bnx_fsync; not ended by a
 * cancel once it has begun.
 */
BNX_API int bnx_ftruncate(int fd, off_t bytes);

/* What O_DIRECT asks of a read or write of a file; powers of two. */
struct bnx_direct_alignment {
    size_t memory_bytes; /* of the buffer's address */
    size_t offset_bytes; /* of the offset and of the length */
};

/**
 * Tells how reads and writes of a file that is open with O_DIRECT have to be aligned. A kernel or a
 * file system that does not say (before Linux 6.1) makes it 4096 and 4096.
 * Returns 0; -EOPNOTSUPP: this file has no direct I/O; or as bnx_fsync. Context: task, suspends.
 */
BNX_API int bnx_direct_align(int fd, struct bnx_direct_alignment *out);

/**
 * Copies a range from one descriptor to another by the best way that the kernel has for the two:
 * copy_file_range(2) between files, sendfile(2) from a file to a non-blocking socket, splice(2)
 * from and to pipes, and otherwise through a buffer. The worker is not held.
 * @param from a file or a pipe. Of a socket what was read and not written would be lost: -ESPIPE.
 * @param from_offset where to begin, moved by the count; NULL: at the position, which is moved.
 * @param to_offset the same of the other side.
 * @param bytes at most so many; UINT64_MAX: to the end.
 * Returns how many were copied: fewer at the end of `from`, or before an error (the next call says
 * which); -errno when nothing was; -ECANCELED, -ETIMEDOUT: a cancel ends it between two pieces of
 * 8 MiB, and where it waits for a pipe or a socket. -EAGAIN, -ENOMEM: no thread to do it. -EPERM
 * off a task. Context: task, suspends.
 */
BNX_API int64_t bnx_copy_file(int from, off_t *from_offset, int to, off_t *to_offset,
                              uint64_t bytes);

/**
 * Closes a descriptor. Tasks that wait on it get -EBADF first, so that the file is really released:
 * the peer of a socket sees its end, a listener gives up its port; those of another runtime in the
 * process are not told. A call that has begun before
 * does not go on with another file that gets the number, nor does a stream on it. What a thread is
 * at that cannot be interrupted (bnx_ftruncate, bnx_readlinkat, a piece of bnx_copy_file) is waited
 * for. A piece is one system call at two descriptors: where `to` keeps it, a full socket or
 * terminal that blocks and that others write to as well, the close of `from` waits for that, too.
 * An operation that is started during the close is the caller's error, as in POSIX.
 * Numbers from 2^20 on, which a process gets only where fs.nr_open was raised, are merely closed:
 * who waits on one is not told, and may meet the next file of it.
 * Returns 0 or -EBADF (it was not open); other errors of close(2) are returned with the fd closed.
 * Context: task, may suspend; not refused by a cancel. Off a task: close(2).
 */
BNX_API int bnx_close(int fd);

BNX_EXTERN_C_END

#endif
