/* SPDX-License-Identifier: MIT */
/* Opens static files for httpd. */
#include "io/examples/httpd_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *content_type_find(const char *path) {
    static const struct {
        const char *suffix;
        const char *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".htm", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/markdown; charset=utf-8"},
        {".xml", "application/xml"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".ico", "image/x-icon"},
        {".pdf", "application/pdf"},
        {".wasm", "application/wasm"},
        {".woff2", "font/woff2"},
    };
    const char *suffix = strrchr(path, '.');
    for (size_t i = 0; suffix != NULL && i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcasecmp(suffix, types[i].suffix) == 0) {
            return types[i].type;
        }
    }
    return "application/octet-stream";
}

/* Opens below the directory: RESOLVE_BENEATH makes the kernel refuse ".." and symbolic links that
 * lead out, also when somebody renames directories meanwhile, which no check of ours could see.
 * O_NONBLOCK: a fifo without a writer must not hold the worker. Returns the fd or -errno. */
static int open_beneath(int directory_fd, const char *path) {
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, directory_fd, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

static int status_of(int error) {
    switch (error) {
    case -EACCES:
    case -EPERM:
        return -403;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        return -503;
    case -ENOENT:
    case -ENOTDIR:
    case -ELOOP:
    case -EXDEV: /* it would have left the directory */
    case -ENAMETOOLONG:
    case -ENXIO: /* a socket */
    case -ENODEV:
        return -404;
    default:
        return -500;
    }
}

int bnx_httpd_file_open(int root_fd, const char *path, struct bnx_httpd_file *out_file) {
    const char *name = path[1] != '\0' ? path + 1 : ".";
    int fd = open_beneath(root_fd, name);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) {
        int error = fd < 0 ? fd : -errno;
        if (fd >= 0) {
            close(fd);
        }
        return status_of(error);
    }
    if (S_ISDIR(status.st_mode)) {
        int directory_fd = fd;
        name = "index.html";
        fd = open_beneath(directory_fd, name);
        close(directory_fd);
        if (fd < 0) {
            return status_of(fd);
        }
        if (fstat(fd, &status) < 0) {
            status.st_mode = 0;
        }
    } else if (name[strlen(name) - 1] == '/') {
        status.st_mode = 0; /* "/file/" is no name of "/file" */
    }
    if (!S_ISREG(status.st_mode)) {
        close(fd);
        return -404;
    }
    *out_file = (struct bnx_httpd_file){
        .fd = fd,
        .bytes = (uint64_t)status.st_size,
        .modified_seconds = status.st_mtim.tv_sec,
        .content_type = content_type_find(name),
    };
    return 0;
}
