/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: files, what waits for their other end, and directories. */
#include "tests/matrix/matrix.h"

#include <bonxie/dir.h>
#include <bonxie/path.h>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

/* ---- A fifo: fds[0] is its other end once it is let pass ---- */

static void fifo_prepare(struct matrix_place *place) {
    (void)snprintf(place->name, sizeof(place->name), "/tmp/bonxie-matrix-XXXXXX");
    int fd = mkstemp(place->name); /* a name of its own */
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(unlink(place->name), 0);
    CHECK_EQ(mkfifo(place->name, 0600), 0);
    place->fds[0] = -1;
}

static int64_t close_opened(int fd) {
    return fd < 0 ? fd : close(fd);
}

static int64_t open_fifo(struct matrix_place *place) {
    return close_opened(bnx_open(place->name, O_RDONLY | O_CLOEXEC, 0));
}

static int64_t openat2_fifo(struct matrix_place *place) {
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    return close_opened(bnx_openat2(AT_FDCWD, place->name, &how));
}

/* As a reader too: it is there whether the caller has come yet or not. */
static void fifo_pass(struct matrix_place *place) {
    place->fds[0] = open(place->name, O_RDWR | O_CLOEXEC);
    CHECK(place->fds[0] >= 0);
}

static void fifo_end(struct matrix_place *place) {
    CHECK_EQ(close(place->fds[0]), 0);
    CHECK_EQ(unlink(place->name), 0);
}

/* ---- Vectors: fds[0] reads, fds[1] writes ---- */

static void pair_end(struct matrix_place *place) {
    io_close_pair(place->fds);
}

static void pipe_prepare(struct matrix_place *place) {
    io_pipe(place->fds);
}

static void full_prepare(struct matrix_place *place) {
    io_pipe(place->fds);
    io_fill_up(place->fds[1]);
}

static void write_four(struct matrix_place *place) {
    CHECK_EQ(bnx_os.write(place->fds[1], "four", 4), 4);
}

/* Reads all there is. */
static void drain(struct matrix_place *place) {
    CHECK_EQ(bnx_os.fcntl(place->fds[0], F_SETFL, O_NONBLOCK), 0);
    char data[4096];
    while (bnx_os.read(place->fds[0], data, sizeof(data)) > 0) { /* ends: nobody writes that fast */
    }
    CHECK_EQ(bnx_os.fcntl(place->fds[0], F_SETFL, 0), 0);
}

static int64_t readv_some(struct matrix_place *place) {
    struct iovec parts[] = {{place->data, 1}, {place->data + 1, 100}};
    return bnx_readv(place->fds[0], parts, 2);
}

static int64_t writev_four(struct matrix_place *place) {
    struct iovec parts[] = {{place->data, 1}, {place->data + 1, 3}};
    return bnx_writev(place->fds[1], parts, 2);
}

/* ---- A copy out of a pipe: to `listener` ---- */

static void copy_prepare(struct matrix_place *place) {
    io_pipe(place->fds);
    place->listener = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(place->listener >= 0);
}

static int64_t copy_four(struct matrix_place *place) {
    return bnx_copy_file(place->fds[0], NULL, place->listener, NULL, 4);
}

static void copy_end(struct matrix_place *place) {
    io_close_pair(place->fds);
    CHECK_EQ(close(place->listener), 0);
}

/* ---- A file: what it needs comes by itself ---- */

static void file_prepare(struct matrix_place *place) {
    (void)snprintf(place->name, sizeof(place->name), "/tmp/bonxie-matrix-XXXXXX");
    place->fds[0] = mkstemp(place->name);
    CHECK(place->fds[0] >= 0);
    CHECK_EQ(unlink(place->name), 0);
    CHECK_EQ(bnx_os.write(place->fds[0], "four", 4), 4);
}

static void file_end(struct matrix_place *place) {
    CHECK_EQ(close(place->fds[0]), 0);
}

static int64_t preadv_four(struct matrix_place *place) {
    struct iovec parts[] = {{place->data, 1}, {place->data + 1, 100}};
    return bnx_preadv(place->fds[0], parts, 2, 0);
}

static int64_t pwritev_four(struct matrix_place *place) {
    struct iovec parts[] = {{place->data, 1}, {place->data + 1, 3}};
    return bnx_pwritev(place->fds[0], parts, 2, 0);
}

static int64_t fsync_file(struct matrix_place *place) {
    return bnx_fsync(place->fds[0]);
}

static int64_t fdatasync_file(struct matrix_place *place) {
    return bnx_fdatasync(place->fds[0]);
}

static int64_t fallocate_file(struct matrix_place *place) {
    return bnx_fallocate(place->fds[0], 0, 0, 4);
}

static int64_t ftruncate_file(struct matrix_place *place) {
    return bnx_ftruncate(place->fds[0], 4);
}

/* Whether there is direct I/O does not matter. */
static int64_t direct_align(struct matrix_place *place) {
    struct bnx_direct_alignment alignment;
    int error = bnx_direct_align(place->fds[0], &alignment);
    return error == -EOPNOTSUPP ? 0 : error;
}

static int64_t fstat_file(struct matrix_place *place) {
    struct statx status;
    return bnx_fstat(place->fds[0], &status);
}

/* ---- Names that are always there ---- */

static int64_t stat_root(struct matrix_place *place) {
    struct statx status;
    (void)place;
    return bnx_stat("/", &status);
}

static int64_t lstat_root(struct matrix_place *place) {
    struct statx status;
    (void)place;
    return bnx_lstat("/", &status);
}

static int64_t statx_root(struct matrix_place *place) {
    struct statx status;
    (void)place;
    return bnx_statx(AT_FDCWD, "/", 0, STATX_TYPE, &status);
}

static int64_t open_dir(struct matrix_place *place) {
    struct bnx_dir dir;
    (void)place;
    int error = bnx_dir_open(&dir, "/");
    bnx_iter_close(&dir.iter);
    return error;
}

static int64_t openat_dir(struct matrix_place *place) {
    struct bnx_dir dir;
    (void)place;
    int error = bnx_dir_openat(&dir, AT_FDCWD, "/", O_NOFOLLOW);
    bnx_iter_close(&dir.iter);
    return error;
}

static int64_t open_walk(struct matrix_place *place) {
    struct bnx_walk walk;
    (void)place;
    int error = bnx_walk_open(&walk, "/", NULL);
    bnx_iter_close(&walk.iter);
    return error;
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_open", "a fifo without its other end", fifo_prepare, NULL, open_fifo, fifo_pass, fifo_end,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_openat2", "a fifo without its other end", fifo_prepare, NULL, openat2_fifo, fifo_pass,
     fifo_end, MATRIX_REFUSED_TASK(0), 0},
    {"bnx_readv", "nothing there", pipe_prepare, NULL, readv_some, write_four, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_writev", "no room", full_prepare, NULL, writev_four, drain, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_copy_file", "an empty pipe", copy_prepare, NULL, copy_four, write_four, copy_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_preadv", "a file", file_prepare, NULL, preadv_four, NULL, file_end,
     MATRIX_REFUSED_TASK(4), MATRIX_NO_EVENT},
    {"bnx_pwritev", "a file", file_prepare, NULL, pwritev_four, NULL, file_end,
     MATRIX_REFUSED_TASK(4), MATRIX_NO_EVENT},
    {"bnx_fsync", "a file", file_prepare, NULL, fsync_file, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_fdatasync", "a file", file_prepare, NULL, fdatasync_file, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_fallocate", "a file", file_prepare, NULL, fallocate_file, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_ftruncate", "a file", file_prepare, NULL, ftruncate_file, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_direct_align", "a file", file_prepare, NULL, direct_align, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_fstat", "a file", file_prepare, NULL, fstat_file, NULL, file_end,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_stat", "a directory", NULL, NULL, stat_root, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_lstat", "a directory", NULL, NULL, lstat_root, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_statx", "a directory", NULL, NULL, statx_root, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_dir_open", "a directory", NULL, NULL, open_dir, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_dir_openat", "a directory", NULL, NULL, openat_dir, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
    {"bnx_walk_open", "a directory", NULL, NULL, open_walk, NULL, NULL,
     MATRIX_REFUSED_TASK(0), MATRIX_NO_EVENT},
};
/* clang-format on */

const struct matrix_part matrix_file = {rows, BNX_ARRAY_COUNT(rows)};
