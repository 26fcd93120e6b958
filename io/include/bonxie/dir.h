/* SPDX-License-Identifier: MIT */
/*
 * What is in a directory, and in all directories beneath one, as iterators (iter.h).
 *
 *     struct bnx_walk walk;
 *     int error = bnx_walk_open(&walk, "/etc", NULL);
 *     if (error == 0) {
 *         BNX_FOR_EACH_OR(value, &walk.iter, &error) {
 *             const struct bnx_walk_entry *entry = value;
 *             puts(entry->path);
 *         }
 *     }
 *
 * Reading a directory does not hold the worker; a cancel ends it between two pieces of 32 KiB.
 */
#ifndef BONXIE_DIR_H
#define BONXIE_DIR_H

#include <bonxie/base.h>
#include <bonxie/iter.h>

BNX_EXTERN_C_BEGIN

enum bnx_file_type {
    BNX_FILE_UNKNOWN, /* the file system does not say it here: see bnx_statx */
    BNX_FILE_REGULAR,
    BNX_FILE_DIRECTORY,
    BNX_FILE_LINK, /* a symbolic one */
    BNX_FILE_FIFO,
    BNX_FILE_SOCKET,
    BNX_FILE_CHARACTER, /* a device */
    BNX_FILE_BLOCK      /* a device */
};

/* ---- One directory ---- */

/* A value of the iterator; valid until the next. */
struct bnx_dir_entry {
    const char *name;
    enum bnx_file_type type;
    uint64_t inode;
};

/* In its user's frame, where it must stay. */
struct bnx_dir {
    struct bnx_iter iter; /* values: struct bnx_dir_entry, in the file system's own order */
    int fd;               /* the directory, for calls that end in `at`; borrowed, closed with it */
    /* Private. */
    struct bnx_dir_entry entry;
    char *buffer;
    size_t bytes; /* in the buffer */
    size_t at;    /* of the next in the buffer */
};

/**
 * Opens a directory. Its iterator leaves out "." and ".."; next returns -ECANCELED and -ETIMEDOUT
 * as any call that suspends, and -errno.
 * @param path not NULL; borrowed for the call.
 * Returns 0: the caller closes it, with bnx_iter_close(&dir->iter), which BNX_FOR_EACH does; or
 * -errno; -ENOMEM; -ECANCELED, -ETIMEDOUT; -EPERM off a task. On failure the iterator is empty.
 * Context: task, suspends.
 */
BNX_API int bnx_dir_open(struct bnx_dir *dir, const char *path);

/**
 * As bnx_dir_open.
 * @param directory where a relative path begins. @param flags beside O_DIRECTORY: O_NOFOLLOW, or 0.
 */
BNX_API int bnx_dir_openat(struct bnx_dir *dir, int directory, const char *path, int flags);

/* ---- A tree ---- */

enum bnx_walk_flags {
    BNX_WALK_FOLLOW = 1u << 0, /* symbolic links to directories are entered */
    BNX_WALK_LEAVE = 1u << 1   /* a directory that was entered comes a second time, after what is
                                * in it: not one that was pruned, that lies at depth_max, that
                                * vanished before, or that came a second time with its error */
};

#define BNX_WALK_DEPTH_MAX 255 /* each level holds a descriptor and 32 KiB */

/* Zeroed means defaults. */
struct bnx_walk_options {
    unsigned flags;     /* enum bnx_walk_flags */
    uint32_t depth_max; /* directories so deep are not entered; 0 = BNX_WALK_DEPTH_MAX */
};

/* A value of the iterator; valid until the next. */
struct bnx_walk_entry {
    const char *path;        /* where the walk began, then the names on the way */
    const char *name;        /* the last of them: of `directory` */
    int directory;           /* that it is in, for calls that end in `at`; AT_FDCWD for the first */
    uint32_t depth;          /* of the first: 0 */
    enum bnx_file_type type; /* never unknown; a link that is followed is what it points to */
    int is_leaving;          /* non-zero: the second time, with BNX_WALK_LEAVE */
    int error; /* 0, or -errno: a directory that has come before cannot be read, or not further */
};

struct bnx_walk_level;

/* In its user's frame, where it must stay. */
struct bnx_walk {
    struct bnx_iter iter; /* values: struct bnx_walk_entry; a directory before what is in it */
    /* Private. */
    struct bnx_walk_entry entry;
    struct bnx_walk_level *top; /* the innermost directory that is open; NULL: none */
    char *path;
    size_t path_bytes_max; /* of the block */
    unsigned flags;
    uint32_t depth_max;
    int is_begun;   /* the first entry has come */
    int will_enter; /* the last entry is a directory that comes next */
    int is_found;   /* the innermost directory's last entry has not been shown yet */
};

/**
 * Begins to walk a tree, depth first. The first entry is what the path names, directory or not.
 * What vanishes meanwhile is left out. What cannot be read comes as an entry with its error, and
 * the walk goes on: among those -ELOOP, a followed link to a directory that it is in, and
 * -ENAMETOOLONG, deeper than BNX_WALK_DEPTH_MAX.
 * The iterator's next returns -ENOMEM, -ECANCELED, -ETIMEDOUT; when it is called again, nothing is
 * left out.
 * @param path not NULL; borrowed for the call. @param options NULL for defaults.
 * Returns 0: the caller closes it, with bnx_iter_close(&walk->iter), which BNX_FOR_EACH does; or
 * -errno: there is no such file; -EINVAL; -ENOMEM; -ECANCELED, -ETIMEDOUT; -EPERM off a task. On
 * failure the iterator is empty. Context: task, suspends.
 */
BNX_API int bnx_walk_open(struct bnx_walk *walk, const char *path,
                          const struct bnx_walk_options *options);

/** Leaves out what is in the directory that has come last, and with BNX_WALK_LEAVE its second
 * coming. Context: as the iterator's. */
BNX_API void bnx_walk_prune(struct bnx_walk *walk);

BNX_EXTERN_C_END

#endif
