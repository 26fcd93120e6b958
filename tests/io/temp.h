/* SPDX-License-Identifier: MIT */
/* Files and directories of a test, in a directory of its own. */
#ifndef BNX_TESTS_IO_TEMP_H
#define BNX_TESTS_IO_TEMP_H

#include "tests/io/fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp {
    char path[64]; /* of the directory */
    int fd;        /* the same, open */
};

static inline void temp_open(struct temp *temp) {
    *temp = (struct temp){.path = "/tmp/bonxie-temp-XXXXXX"};
    CHECK(mkdtemp(temp->path) != NULL);
    temp->fd = open(temp->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(temp->fd >= 0);
}

static inline int temp_remove(const char *path, const struct stat *status, int type,
                              struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void temp_close(struct temp *temp) {
    CHECK_EQ(close(temp->fd), 0);
    CHECK_EQ(nftw(temp->path, temp_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
}

struct temp_name {
    char text[512];
};

/** The path of a name in it. */
static inline struct temp_name temp_name(const struct temp *temp, const char *name) {
    struct temp_name full;
    int length = snprintf(full.text, sizeof(full.text), "%s/%s", temp->path, name);
    CHECK(length > 0 && (size_t)length < sizeof(full.text));
    return full;
}

/** Makes a file with that text. */
static inline void temp_file(const struct temp *temp, const char *name, const char *text) {
    int fd = openat(temp->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    CHECK_EQ(close(fd), 0);
}

/** A file without a name, of that many bytes that the seed decides. */
static inline int temp_random(const struct temp *temp, size_t bytes, uint64_t seed) {
    struct bnx_rng rng;
    char *data = malloc(bytes);
    CHECK(data != NULL);
    bnx_rng_init(&rng, seed, 0);
    io_fill(data, bytes, &rng);
    int fd = open(temp->path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    for (size_t at = 0; at < bytes;) {
        ssize_t wrote = write(fd, data + at, bytes - at);
        CHECK(wrote > 0);
        at += (size_t)wrote;
    }
    free(data);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/** The hash of a range of a file. */
static inline uint64_t temp_hash(int fd, off_t offset, size_t bytes) {
    char data[4096];
    uint64_t hash = IO_HASH_START;
    while (bytes > 0) { /* ends: fewer left each round */
        ssize_t got = pread(fd, data, bytes < sizeof(data) ? bytes : sizeof(data), offset);
        CHECK(got > 0);
        hash = io_hash(hash, data, (size_t)got);
        offset += got;
        bytes -= (size_t)got;
    }
    return hash;
}

#endif
