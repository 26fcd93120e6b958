/* SPDX-License-Identifier: MIT */
/* Static files below one directory: opening them without ever leaving it, and their types. */
#ifndef BNX_IO_EXAMPLES_HTTPD_FILES_H
#define BNX_IO_EXAMPLES_HTTPD_FILES_H

#include <stdint.h>

struct bnx_httpd_file {
    int fd;                   /* open for reading; the caller closes it */
    uint64_t bytes;           /* length when it was opened */
    int64_t modified_seconds; /* Unix time */
    const char *content_type; /* static */
};

/**
 * Opens the regular file that a decoded path names; for a directory its index.html.
 *
 * @param root_fd a directory; no path and no symbolic link leads out of it (the kernel sees to
 * that) @param path    starts with '/', normalised, NUL-terminated
 * Returns 0, or -STATUS: -404 also for what is no regular file, -403, -503 (out of descriptors or
 *   memory), -500. Context: anywhere; the open itself blocks the thread as open(2) does.
 */
int bnx_httpd_file_open(int root_fd, const char *path, struct bnx_httpd_file *out_file);

#endif
