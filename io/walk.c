/* SPDX-License-Identifier: MIT */
/*
 * Walking a tree (bonxie/dir.h).
 *
 * Concepts
 *   level  a directory on the way from where the walk began to where it is: open, so that what is
 *          in it is reached by its name alone, whoever renames what lies above.
 *   The path is text for the user; no call of ours uses it but the first.
 *   A directory is entered by the call after the one that has returned it, and without following a
 *   link that may have taken its place.
 */
#include <bonxie/dir.h>

#include "io/op.h"

#include <bonxie/file.h>
#include <bonxie/path.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct bnx_walk_level {
    struct bnx_dir dir;
    struct bnx_walk_level *below; /* NULL: the walk began here */
    size_t path_length;           /* of the directory's own path */
    size_t name_at;               /* where in it its name begins */
    uint32_t depth;               /* of the directory itself */
    dev_t device;                 /* with the inode: is a followed link's target above us? */
    ino_t inode;
};

static bool is_cancel(int error) {
    return error == -ECANCELED || error == -ETIMEDOUT;
}

/* It was there a moment ago, as what it was. With O_NOFOLLOW a link that came instead is a loop. */
static bool is_vanished(int error) {
    return error == -ENOENT || error == -ENOTDIR || error == -ELOOP;
}

/* ---- The path ---- */

/* Room for so many characters and the NUL; what the path says stays. */
static int make_room(struct bnx_walk *walk, size_t length) {
    size_t bytes = walk->path_bytes_max != 0 ? walk->path_bytes_max : 256;
    while (bytes <= length) { /* ends: it doubles */
        bytes *= 2;
    }
    if (bytes == walk->path_bytes_max) {
        return 0;
    }
    char *path = bnx_os.allocate(bytes, 1);
    if (path == NULL) {
        return -ENOMEM;
    }
    if (walk->path != NULL) {
        memcpy(path, walk->path, walk->path_bytes_max);
        bnx_os.release(walk->path);
    }
    walk->path = path;
    walk->path_bytes_max = bytes;
    return 0;
}

/* Appends a name to the first `length` characters. Returns where it begins, or -ENOMEM. */
static ssize_t append_name(struct bnx_walk *walk, size_t length, const char *name) {
    size_t name_length = strlen(name);
    int error = make_room(walk, length + 1 + name_length);
    if (error != 0) {
        return error;
    }
    if (length > 0 && walk->path[length - 1] != '/') {
        walk->path[length++] = '/';
    }
    memcpy(walk->path + length, name, name_length + 1);
    return (ssize_t)length;
}

/* ---- Types ---- */

static enum bnx_file_type type_of_mode(unsigned mode) {
    return S_ISREG(mode)    ? BNX_FILE_REGULAR
           : S_ISDIR(mode)  ? BNX_FILE_DIRECTORY
           : S_ISLNK(mode)  ? BNX_FILE_LINK
           : S_ISFIFO(mode) ? BNX_FILE_FIFO
           : S_ISSOCK(mode) ? BNX_FILE_SOCKET
           : S_ISCHR(mode)  ? BNX_FILE_CHARACTER
           : S_ISBLK(mode)  ? BNX_FILE_BLOCK
                            : BNX_FILE_UNKNOWN;
}

static int ask_type(const struct bnx_walk_entry *entry, int flags, enum bnx_file_type *out_type) {
    struct statx status;
    int error = bnx_statx(entry->directory, entry->name, flags, STATX_TYPE, &status);
    if (error == 0) {
        *out_type = type_of_mode(status.stx_mode);
    }
    return error;
}

/* Finds out what the directory did not say, and where a link that is followed points to: one that
 * points nowhere is a link. Returns 0, or -errno: it vanished, or a cancel. */
static int complete_type(const struct bnx_walk *walk, struct bnx_walk_entry *entry) {
    int error = 0;
    if (entry->type == BNX_FILE_UNKNOWN) {
        error = ask_type(entry, AT_SYMLINK_NOFOLLOW, &entry->type);
    }
    if (error == 0 && entry->type == BNX_FILE_LINK && (walk->flags & BNX_WALK_FOLLOW) != 0) {
        error = ask_type(entry, 0, &entry->type);
        error = is_cancel(error) ? error : 0;
    }
    return error;
}

/* ---- Levels ---- */

static bool is_above(const struct bnx_walk_level *level, const struct stat *status) {
    for (; level != NULL; level = level->below) { /* ends: BNX_WALK_DEPTH_MAX */
        if (level->device == status->st_dev && level->inode == status->st_ino) {
            return true;
        }
    }
    return false;
}

static int open_level(struct bnx_walk *walk, struct bnx_walk_level *level) {
    const struct bnx_walk_entry *entry = &walk->entry;
    bool may_follow = (walk->flags & BNX_WALK_FOLLOW) != 0 || BNX_PLANT(walk_follows_swap);
    int flags = may_follow ? 0 : O_NOFOLLOW;
    struct stat status;
    int error = bnx_dir_openat(&level->dir, entry->directory, entry->name, flags);
    if (error != 0) {
        return is_vanished(error) ? -ENOENT : error;
    }
    error = bnx_os.fstat(level->dir.fd, &status);
    if (error == 0 && is_above(walk->top, &status) && !BNX_PLANT(walk_goes_round)) {
        error = -ELOOP;
    }
    if (error != 0) {
        bnx_iter_close(&level->dir.iter);
        return error;
    }
    level->device = status.st_dev;
    level->inode = status.st_ino;
    return 0;
}

/* Enters the directory that has come last. -ENOENT: it vanished. */
static int enter(struct bnx_walk *walk) {
    const struct bnx_walk_entry *entry = &walk->entry;
    if (entry->depth >= BNX_WALK_DEPTH_MAX) {
        return -ENAMETOOLONG;
    }
    struct bnx_walk_level *level = bnx_os.allocate(sizeof(*level), _Alignof(struct bnx_walk_level));
    if (level == NULL) {
        return -ENOMEM;
    }
    memset(level, 0, sizeof(*level));
    int error = open_level(walk, level);
    if (error != 0) {
        bnx_os.release(level);
        return error;
    }
    level->below = walk->top;
    level->depth = entry->depth;
    level->path_length = strlen(entry->path);
    level->name_at = (size_t)(entry->name - entry->path);
    walk->top = level;
    return 0;
}

static void leave(struct bnx_walk *walk) {
    struct bnx_walk_level *level = walk->top;
    walk->top = level->below;
    bnx_iter_close(&level->dir.iter);
    bnx_os.release(level);
}

/* ---- Entries ---- */

/* The innermost directory again: it is done, or cannot be read further. */
static int again(struct bnx_walk *walk, int error, void **out_value) {
    const struct bnx_walk_level *level = walk->top;
    walk->path[level->path_length] = '\0';
    walk->entry =
        (struct bnx_walk_entry){.path = walk->path,
                                .name = walk->path + level->name_at,
                                .directory = level->below != NULL ? level->below->dir.fd : AT_FDCWD,
                                .depth = level->depth,
                                .type = BNX_FILE_DIRECTORY,
                                .is_leaving = error == 0,
                                .error = error};
    leave(walk);
    *out_value = &walk->entry;
    return 1;
}

/* What a directory holds. Returns 1; -ENOENT: it has vanished; -ENOMEM, or a cancel. */
static int show(struct bnx_walk *walk, const struct bnx_dir_entry *found) {
    const struct bnx_walk_level *level = walk->top;
    ssize_t name_at = append_name(walk, level->path_length, found->name);
    if (name_at < 0) {
        return (int)name_at;
    }
    walk->entry = (struct bnx_walk_entry){.path = walk->path,
                                          .name = walk->path + name_at,
                                          .directory = level->dir.fd,
                                          .depth = level->depth + 1,
                                          .type = found->type};
    int error = complete_type(walk, &walk->entry);
    if (error != 0) {
        return is_cancel(error) ? error : -ENOENT;
    }
    walk->will_enter =
        walk->entry.type == BNX_FILE_DIRECTORY && walk->entry.depth < walk->depth_max;
    return 1;
}

/* The next in the directories that are open. */
static int next_found(struct bnx_walk *walk, void **out_value) {
    while (walk->top != NULL) { /* ends: an entry fewer, or a level fewer, each round */
        struct bnx_dir *dir = &walk->top->dir;
        void *ignored = NULL;
        int result = walk->is_found ? 1 : bnx_iter_next(&dir->iter, &ignored);
        if (is_cancel(result)) {
            return result;
        }
        if (result > 0) {
            result = show(walk, &dir->entry);
            walk->is_found = result != 1 && result != -ENOENT && !BNX_PLANT(walk_drops_found);
            if (result == -ENOENT) {
                continue;
            }
            *out_value = &walk->entry;
            return result;
        }
        if (result < 0 || (walk->flags & BNX_WALK_LEAVE) != 0) {
            return again(walk, result, out_value);
        }
        leave(walk);
    }
    return 0;
}

static int next_of_walk(struct bnx_iter *iter, void **out_value) {
    struct bnx_walk *walk = iter->ctx;
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    if (!walk->is_begun) {
        walk->is_begun = 1;
        *out_value = &walk->entry;
        return 1;
    }
    if (walk->will_enter) {
        error = enter(walk);
        if (is_cancel(error) || error == -ENOMEM) {
            return error; /* it is still to be entered */
        }
        walk->will_enter = 0;
        if (error != 0 && error != -ENOENT) {
            walk->entry.error = error;
            *out_value = &walk->entry;
            return 1;
        }
    }
    return next_found(walk, out_value);
}

static void close_walk(struct bnx_iter *iter) {
    struct bnx_walk *walk = iter->ctx;
    while (walk->top != NULL) { /* ends: a level fewer each round */
        leave(walk);
    }
    bnx_os.release(walk->path);
    walk->path = NULL;
}

int bnx_walk_open(struct bnx_walk *walk, const char *path, const struct bnx_walk_options *options) {
    static const struct bnx_walk_options defaults = {0};
    options = options != NULL ? options : &defaults;
    *walk = (struct bnx_walk){.flags = options->flags, .depth_max = options->depth_max};
    if (path == NULL || (options->flags & ~(unsigned)(BNX_WALK_FOLLOW | BNX_WALK_LEAVE)) != 0) {
        return -EINVAL;
    }
    walk->depth_max = walk->depth_max != 0 ? walk->depth_max : UINT32_MAX;
    ssize_t error = append_name(walk, 0, path);
    if (error < 0) {
        return (int)error;
    }
    walk->entry =
        (struct bnx_walk_entry){.path = walk->path, .name = walk->path, .directory = AT_FDCWD};
    error = complete_type(walk, &walk->entry);
    if (error != 0) {
        bnx_os.release(walk->path);
        walk->path = NULL;
        return (int)error;
    }
    walk->will_enter = walk->entry.type == BNX_FILE_DIRECTORY;
    walk->iter = (struct bnx_iter){.next = next_of_walk, .close = close_walk, .ctx = walk};
    return 0;
}

void bnx_walk_prune(struct bnx_walk *walk) {
    walk->will_enter = 0;
}
