/* SPDX-License-Identifier: MIT */
/* Tests reading and writing of files and pipes (bonxie/file.h). */
#include "tests/io/fixture.h"

#define PIPE_TOTAL (UINT64_C(8) << 20)

struct piping {
    int fds[2];
    uint64_t bytes;
    uint64_t seed;
    uint64_t hash; /* of what was written */
};

static int write_pipe(void *arg) {
    struct piping *piping = arg;
    struct bnx_rng rng;
    char data[5000]; /* divides nothing */
    bnx_rng_init(&rng, piping->seed, 0);
    piping->hash = IO_HASH_START;
    for (uint64_t left = piping->bytes; left > 0;) {
        size_t bytes = 1 + bnx_rng_below(&rng, sizeof(data));
        bytes = bytes < left ? bytes : (size_t)left;
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (char)bnx_rng_next(&rng);
        }
        for (size_t at = 0; at < bytes;) {
            ssize_t wrote = bnx_write(piping->fds[1], data + at, bytes - at);
            CHECK(wrote > 0);
            at += (size_t)wrote;
        }
        piping->hash = io_hash(piping->hash, data, bytes);
        left -= bytes;
    }
    CHECK_EQ(bnx_close(piping->fds[1]), 0);
    return 0;
}

static int read_pipe(void *arg) {
    struct piping *piping = arg;
    struct bnx_scope scope;
    io_pipe(piping->fds);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, write_pipe, piping), 0);
    char data[4096];
    uint64_t hash = IO_HASH_START;
    uint64_t bytes = 0;
    ssize_t got;
    while ((got = bnx_read(piping->fds[0], data, sizeof(data))) > 0) {
        hash = io_hash(hash, data, (size_t)got);
        bytes += (uint64_t)got;
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bytes, piping->bytes);
    CHECK(hash == piping->hash);
    CHECK_EQ(bnx_close(piping->fds[0]), 0);
    return 0;
}

/* What goes into a pipe comes out, and then its end. */
TEST(file_transfers, "file.transfers") {
    struct piping piping = {.bytes = bnx_test_scale(PIPE_TOTAL) + 1, .seed = bnx_test_seed()};
    sched_run_each(read_pipe, &piping);
}

static int use_offsets(void *arg) {
    int fd = (int)(intptr_t)arg;
    char data[16] = {0};
    CHECK_EQ(bnx_os.fcntl(fd, F_GETFL, 0) & O_ACCMODE, O_RDWR);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(bnx_write(fd, "abc", 3), 3);
    CHECK_EQ(bnx_write(fd, "def", 3), 3);
    CHECK_EQ(bnx_pread(fd, data, 4, 1), 4);
    CHECK(memcmp(data, "bcde", 4) == 0);
    CHECK_EQ(bnx_pwrite(fd, "X", 1, 2), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6); /* neither has moved it */
    CHECK_EQ(bnx_read(fd, data, 4), 0);
    CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
    CHECK_EQ(bnx_read(fd, data, sizeof(data)), 5);
    CHECK(memcmp(data, "bXdef", 5) == 0);
    CHECK_EQ(bnx_pwrite(fd, "far", 3, 1000000), 3);
    CHECK_EQ(bnx_pread(fd, data, sizeof(data), 999998), 5);
    CHECK(memcmp(data, "\0\0far", 5) == 0);
    CHECK_EQ(bnx_pread(fd, data, sizeof(data), 1000003), 0);
    CHECK_EQ(bnx_read(fd, data, 0), 0);
    CHECK_EQ(bnx_pread(fd, (void *)8, 4, 0), -EFAULT);
    return 0;
}

/* Reads and writes at the file's position move it, those at an offset do not. */
TEST(file_offsets, "file.offsets") {
    char path[] = "/tmp/bonxie-file-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(path), 0);
    sched_run_each(use_offsets, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
