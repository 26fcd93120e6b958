/* SPDX-License-Identifier: MIT */
/* Reading a directory (bonxie/dir.h): in pieces, by a thread of the pool. */
#include <bonxie/dir.h>

#include "io/op.h"

#include <bonxie/file.h>
#include <bonxie/offload.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

#define BUFFER_BYTES ((size_t)32 << 10) /* about 1000 entries; what libc's readdir takes as well */

static enum bnx_file_type type_of(unsigned char type) {
    switch (type) {
    case DT_REG:
        return BNX_FILE_REGULAR;
    case DT_DIR:
        return BNX_FILE_DIRECTORY;
    case DT_LNK:
        return BNX_FILE_LINK;
    case DT_FIFO:
        return BNX_FILE_FIFO;
    case DT_SOCK:
        return BNX_FILE_SOCKET;
    case DT_CHR:
        return BNX_FILE_CHARACTER;
    case DT_BLK:
        return BNX_FILE_BLOCK;
    default:
        return BNX_FILE_UNKNOWN;
    }
}

static int read_entries(void *arg) {
    const struct bnx_dir *dir = arg;
    ssize_t got = -EINTR;
    while (got == -EINTR) { /* ends: a signal for somebody else comes once */
        got = bnx_os.getdents64(dir->fd, dir->buffer, BUFFER_BYTES);
    }
    return (int)got;
}

/* Takes the next record out of the buffer. False: it is empty. */
static bool take_entry(struct bnx_dir *dir) {
    while (dir->at < dir->bytes) { /* ends: a record fewer each round */
        const struct dirent64 *record = (const void *)(dir->buffer + dir->at);
        dir->at += record->d_reclen;
        if (strcmp(record->d_name, ".") != 0 && strcmp(record->d_name, "..") != 0) {
            dir->entry = (struct bnx_dir_entry){
                .name = record->d_name, .type = type_of(record->d_type), .inode = record->d_ino};
            return true;
        }
    }
    return false;
}

static int next_entry(struct bnx_iter *iter, void **out_value) {
    struct bnx_dir *dir = iter->ctx;
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int result = bnx_task_cancel_check(self);
    if (result != 0) {
        return result;
    }
    while (!take_entry(dir)) { /* ends: a record more each round, or the end */
        result = bnx_offload(read_entries, dir);
        if (result <= 0) {
            return result == -ENOENT ? 0 : result; /* removed: it has none left */
        }
        dir->bytes = (size_t)result;
        dir->at = 0;
    }
    if (result == 0) {
        bnx_task_spend(self);
    }
    *out_value = &dir->entry;
    return 1;
}

static void close_dir(struct bnx_iter *iter) {
    struct bnx_dir *dir = iter->ctx;
    (void)bnx_close(dir->fd);
    bnx_os.release(dir->buffer);
}

int bnx_dir_openat(struct bnx_dir *dir, int directory, const char *path, int flags) {
    *dir = (struct bnx_dir){.fd = -1};
    struct open_how how = {.flags =
                               (uint64_t)(unsigned)(O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags)};
    int fd = bnx_openat2(directory, path, &how);
    if (fd < 0) {
        return fd;
    }
    dir->buffer = bnx_os.allocate(BUFFER_BYTES, _Alignof(struct dirent64));
    if (dir->buffer == NULL) {
        (void)bnx_close(fd);
        return -ENOMEM;
    }
    dir->fd = fd;
    dir->iter = (struct bnx_iter){.next = next_entry, .close = close_dir, .ctx = dir};
    return 0;
}

int bnx_dir_open(struct bnx_dir *dir, const char *path) {
    return bnx_dir_openat(dir, AT_FDCWD, path, 0);
}
