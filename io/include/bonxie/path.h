/* SPDX-License-Identifier: MIT */
/*
 * What is done to files by their names, from a task: the calls look like POSIX and return what
 * POSIX returns, errors as -errno. A call does not hold the worker while it waits for a disk.
 *
 * A call whose name ends in `at` takes the directory where a relative path begins; AT_FDCWD is the
 * current one. Paths are not NULL (-EINVAL), and borrowed for the call.
 */
#ifndef BONXIE_PATH_H
#define BONXIE_PATH_H

#include <bonxie/base.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

struct statx; /* of sys/stat.h with _GNU_SOURCE */

/**
 * Tells what a file is, as statx(2).
 * @param flags AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, ... @param mask of the fields wanted: STATX_*.
 * Returns 0 or -errno; -ECANCELED, -ETIMEDOUT; -EPERM off a task. Context: task, suspends.
 */
BNX_API int bnx_statx(int directory, const char *path, int flags, unsigned mask, struct statx *out);

/** As bnx_statx: the usual fields and the time of birth; links are followed. */
BNX_API int bnx_stat(const char *path, struct statx *out);

/** As bnx_stat; a link is not followed. */
BNX_API int bnx_lstat(const char *path, struct statx *out);

/** As bnx_stat, of an open file. */
BNX_API int bnx_fstat(int fd, struct statx *out);

/**
 * Gives a file another name; a file that has it is replaced.
 * Returns 0 or -errno; -ECANCELED, -ETIMEDOUT: nothing was done; -EPERM off a task (or as the
 * kernel says). Context: task, suspends.
 */
BNX_API int bnx_rename(const char *path, const char *new_path);

/** As bnx_rename. @param flags RENAME_NOREPLACE, RENAME_EXCHANGE, ... or 0. */
BNX_API int bnx_renameat(int directory, const char *path, int new_directory, const char *new_path,
                         unsigned flags);

/** Removes the name of a file. Returns and context as bnx_rename. */
BNX_API int bnx_unlink(const char *path);

/** Removes an empty directory. Returns and context as bnx_rename. */
BNX_API int bnx_rmdir(const char *path);

/** As bnx_unlink; @param flags AT_REMOVEDIR: as bnx_rmdir. */
BNX_API int bnx_unlinkat(int directory, const char *path, int flags);

/** Makes a directory. Returns and context as bnx_rename. */
BNX_API int bnx_mkdir(const char *path, mode_t mode);

/** As bnx_mkdir. */
BNX_API int bnx_mkdirat(int directory, const char *path, mode_t mode);

/** Gives a file a second name. Returns and context as bnx_rename. */
BNX_API int bnx_link(const char *path, const char *new_path);

/** As bnx_link. @param flags AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, or 0. */
BNX_API int bnx_linkat(int directory, const char *path, int new_directory, const char *new_path,
                       int flags);

/** Makes a symbolic link to whatever the target says. Returns and context as bnx_rename. */
BNX_API int bnx_symlink(const char *target, const char *path);

/** As bnx_symlink. */
BNX_API int bnx_symlinkat(const char *target, int directory, const char *path);

/**
 * Reads where a symbolic link points to, as readlink(2): without a NUL, cut where it does not fit.
 * Returns the count or -errno; -ECANCELED, -ETIMEDOUT; -EPERM off a task. Context: task, suspends;
 * not ended by a cancel once it has begun.
 */
BNX_API ssize_t bnx_readlink(const char *path, char *out_target, size_t bytes);

/** As bnx_readlink. */
BNX_API ssize_t bnx_readlinkat(int directory, const char *path, char *out_target, size_t bytes);

BNX_EXTERN_C_END

#endif
