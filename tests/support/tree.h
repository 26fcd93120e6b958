/* SPDX-License-Identifier: MIT */
/* A directory tree of small text files, for modules that read /sys or /proc below a given root. */
#ifndef BNX_TESTS_SUPPORT_TREE_H
#define BNX_TESTS_SUPPORT_TREE_H

#include "runtime/compiler.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char bnx_tree_root[64]; /* the directory of the tree in use; one at a time */

/** Makes an empty tree at bnx_tree_root. */
static inline void bnx_tree_create(void) {
    strcpy(bnx_tree_root, "/tmp/bnx-tree-XXXXXX");
    CHECK(mkdtemp(bnx_tree_root) != NULL);
}

static inline int bnx_tree_remove_one(const char *path, const struct stat *status, int kind,
                                      struct FTW *walk) {
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/** Removes the tree. A claim that fails leaves it behind, to be looked at. */
static inline void bnx_tree_remove(void) {
    CHECK_EQ(nftw(bnx_tree_root, bnx_tree_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/** Makes or overwrites one file. */
static inline void bnx_file_write(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(close(fd), 0);
}

/** Writes a file below the root, and the directories on the way to it. The format is its path. */
static inline void BNX_PRINTF(2, 3) bnx_tree_add(const char *text, const char *format, ...) {
    char below[PATH_MAX / 2];
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(below, sizeof(below), format, arguments);
    va_end(arguments);
    CHECK(bytes > 0 && (size_t)bytes < sizeof(below));

    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s%s", bnx_tree_root, below);
    for (char *slash = strchr(path + strlen(bnx_tree_root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    bnx_file_write(path, text);
}

#endif
