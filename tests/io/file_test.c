/* SPDX-License-Identifier: MIT */
/* Tests reading and writing of files and pipes (bonxie/file.h). */
#include "tests/io/temp.h"

#include <linux/openat2.h>

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

/* ---- Opening a fifo, which waits on one of the kernel's own threads ---- */

struct fifo {
    char path[64];
    uint64_t begun;
};

static void fifo_make(struct fifo *fifo) {
    *fifo = (struct fifo){.path = "/tmp/bonxie-fifo-XXXXXX"};
    CHECK(mkdtemp(fifo->path) != NULL);
    strcat(fifo->path, "/fifo");
    CHECK_EQ(mkfifo(fifo->path, 0600), 0);
}

static void fifo_remove(struct fifo *fifo) {
    CHECK_EQ(unlink(fifo->path), 0);
    *strrchr(fifo->path, '/') = '\0';
    CHECK_EQ(rmdir(fifo->path), 0);
}

static int open_alone(void *arg) {
    struct fifo *fifo = arg;
    bnx_fetch_add_acq_rel(&fifo->begun, 1);
    int fd = bnx_open(fifo->path, O_RDONLY | O_CLOEXEC, 0);
    CHECK_EQ(fd, -ECANCELED);
    return fd;
}

static int cancel_opens(void *arg) {
    struct fifo *fifo = arg;
    for (uint64_t i = 0; i < 2 + bnx_test_scale(30); i++) {
        struct bnx_scope scope;
        uint64_t before = bnx_load_acquire(&fifo->begun);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, open_alone, fifo), 0);
        sched_await_count(&fifo->begun, before + 1);
        for (uint64_t turn = 0; turn < i * 10; turn++) { /* submitted, or not yet */
            bnx_yield();
        }
        if (i % 2 == 1) { /* begun, most probably */
            CHECK_EQ(bnx_sleep(5 * BNX_NS_PER_MS), 0);
        }
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    }
    return 0;
}

/* Claim: an open of a fifo that nobody writes to is ended by a cancel, although the kernel's first
 * answer to that is "already running": the task goes on with the operation's own end. */
TEST(open_cancelled, "io.open_is_cancelled") {
    struct fifo fifo;
    fifo_make(&fifo);
    sched_run_each(cancel_opens, &fifo);
    fifo_remove(&fifo);
}

static int open_writer(void *arg) {
    struct fifo *fifo = arg;
    int fd = bnx_open(fifo->path, O_WRONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_write(fd, "x", 1), 1);
    return bnx_close(fd);
}

/* A fifo a round: the kernel's thread that read from one may hold its read end for a moment after
 * the close, and a writer that came then would meet nobody. */
static int open_both(void *arg) {
    (void)arg;
    for (uint64_t i = 0; i < 2 + bnx_test_scale(50); i++) {
        struct fifo fifo;
        struct bnx_scope scope;
        char byte = 0;
        fifo_make(&fifo);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, open_writer, &fifo), 0);
        int fd = bnx_open(fifo.path, O_RDONLY | O_CLOEXEC, 0);
        CHECK(fd >= 0);
        CHECK_EQ(bnx_read(fd, &byte, 1), 1);
        CHECK_EQ(byte, 'x');
        CHECK_EQ(bnx_read(fd, &byte, 1), 0);
        CHECK_EQ(bnx_close(fd), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        fifo_remove(&fifo);
    }
    CHECK_EQ(bnx_open(NULL, O_RDONLY, 0), -EINVAL);
    CHECK_EQ(bnx_open("/nowhere/at/all", O_RDONLY, 0), -ENOENT);
    return 0;
}

/* Claim: two tasks that open the ends of a fifo meet, on one worker too: neither holds it. */
TEST(open_meets, "io.open_waits_for_the_other_end") {
    sched_run_each(open_both, NULL);
}

/* ---- Several buffers ---- */

static int use_parts(void *arg) {
    int fd = (int)(intptr_t)arg;
    char a[2] = "ab", b[3] = "cde", c[4] = "fghi", out[16] = {0};
    struct iovec source[] = {{a, 2}, {b, 0}, {b, 3}, {c, 4}};
    struct iovec target[] = {{out, 1}, {out + 1, 6}, {out + 7, 9}};
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(bnx_writev(fd, source, 4), 9);
    CHECK_EQ(bnx_pwritev(fd, source, 3, 9), 5);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 9);
    CHECK_EQ(bnx_preadv(fd, target, 3, 0), 14);
    CHECK(memcmp(out, "abcdefghiabcde", 14) == 0);
    memset(out, 0, sizeof(out));
    CHECK_EQ(bnx_preadv(fd, target, 2, 10), 4);
    CHECK(memcmp(out, "bcde", 5) == 0);
    CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
    CHECK_EQ(bnx_readv(fd, target, 2), 7);
    CHECK(memcmp(out, "bcdefgh", 7) == 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 8);
    CHECK_EQ(bnx_preadv(fd, target, 3, 100), 0);
    CHECK_EQ(bnx_readv(fd, NULL, 0), 0);
    CHECK_EQ(bnx_readv(fd, target, -1), -EINVAL);
    CHECK_EQ(bnx_readv(fd, target, 1025), -EINVAL);
    CHECK_EQ(bnx_preadv(fd, target, 1, -1), -EINVAL);
    CHECK_EQ(bnx_readv(-1, target, 1), -EBADF);
    return 0;
}

/* Claim: vectored calls transfer part after part, at the position or beside it. */
TEST(file_parts, "file.parts") {
    struct temp temp;
    temp_open(&temp);
    int fd = temp_random(&temp, 1, 1);
    sched_run_each(use_parts, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
    temp_close(&temp);
}

/* ---- Sizes ---- */

#define FAR ((off_t)5 << 30) /* beyond 32 bits */

static int use_far(void *arg) {
    int fd = (int)(intptr_t)arg;
    char data[8] = {0};
    struct iovec part = {data, sizeof(data)};
    CHECK_EQ(bnx_ftruncate(fd, 0), 0);
    CHECK_EQ(bnx_ftruncate(fd, FAR + 100), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_END), FAR + 100);
    CHECK_EQ(bnx_pwrite(fd, "far", 3, FAR), 3);
    CHECK_EQ(bnx_pread(fd, data, 4, FAR - 1), 4);
    CHECK(memcmp(data, "\0far", 4) == 0);
    CHECK_EQ(bnx_preadv(fd, &part, 1, FAR + 1), 8);
    CHECK(memcmp(data, "ar\0", 3) == 0);
    CHECK_EQ(lseek(fd, FAR, SEEK_SET), FAR);
    CHECK_EQ(bnx_read(fd, data, 3), 3);
    CHECK(memcmp(data, "far", 3) == 0);
    CHECK_EQ(bnx_write(fd, "ther", 4), 4);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), FAR + 7);
    CHECK_EQ(bnx_pread(fd, data, 7, FAR), 7);
    CHECK(memcmp(data, "farther", 7) == 0);
    CHECK_EQ(bnx_pread(fd, data, 8, FAR + 96), 4);
    CHECK_EQ(bnx_pread(fd, data, 8, FAR + 100), 0);
    return 0;
}

/* Claim: offsets and positions beyond 4 GiB are what they say. */
TEST(file_far, "file.beyond_4_gib") {
    struct temp temp;
    temp_open(&temp);
    int fd = temp_random(&temp, 1, 1);
    sched_run_each(use_far, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
    temp_close(&temp);
}

static int use_sizes(void *arg) {
    int fd = (int)(intptr_t)arg;
    struct stat status;
    CHECK_EQ(bnx_ftruncate(fd, 0), 0);
    CHECK_EQ(bnx_fallocate(fd, 0, 4096, 1 << 20), 0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_size, 4096 + (1 << 20));
    CHECK(status.st_blocks * 512 >= 1 << 20);
    CHECK_EQ(bnx_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 << 20), 0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK(status.st_blocks * 512 < 1 << 20);
    CHECK_EQ(bnx_fsync(fd), 0);
    CHECK_EQ(bnx_fdatasync(fd), 0);
    CHECK_EQ(bnx_fallocate(fd, 0, -1, 1), -EINVAL);
    CHECK_EQ(bnx_fallocate(fd, 0, 0, 0), -EINVAL);
    CHECK_EQ(bnx_ftruncate(fd, -1), -EINVAL);
    CHECK_EQ(bnx_fsync(-1), -EBADF);
    CHECK_EQ(bnx_ftruncate(-1, 0), -EBADF);
    int pipe_fds[2];
    io_pipe(pipe_fds);
    CHECK_EQ(bnx_fsync(pipe_fds[0]), -EINVAL);
    CHECK_EQ(bnx_pread(pipe_fds[0], &status, 1, 0), -ESPIPE);
    CHECK_EQ(bnx_pwrite(pipe_fds[1], "x", 1, 0), -ESPIPE);
    io_close_pair(pipe_fds);
    return 0;
}

/* Claim: files are given and lose room, and their length, and are synced. */
TEST(file_sizes, "file.sizes") {
    struct temp temp;
    temp_open(&temp);
    int fd = temp_random(&temp, 1, 1);
    sched_run_each(use_sizes, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
    temp_close(&temp);
}

static int open_in(void *arg) {
    const struct temp *temp = arg;
    struct open_how how = {
        .flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, .mode = 0640, .resolve = RESOLVE_BENEATH};
    struct stat status;
    int fd = bnx_openat2(temp->fd, "new", &how);
    CHECK(fd >= 0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_mode & 07777 & ~0640u, 0);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_openat2(temp->fd, "new", &how), -EEXIST);
    how = (struct open_how){.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    CHECK_EQ(bnx_openat2(temp->fd, "../etc", &how), -EXDEV);
    CHECK_EQ(bnx_openat2(temp->fd, NULL, &how), -EINVAL);
    CHECK_EQ(bnx_openat2(temp->fd, "new", NULL), -EINVAL);
    CHECK_EQ(unlinkat(temp->fd, "new", 0), 0);
    return 0;
}

/* Claim: an open is relative to a directory and obeys the rules of openat2(2). */
TEST(file_openat2, "file.openat2") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(open_in, &temp);
    temp_close(&temp);
}

/* ---- Files that are none ---- */

static int read_odd(void *arg) {
    char data[4096], expected[4096];
    (void)arg;
    int fd = bnx_open("/proc/version", O_RDONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    ssize_t length = pread(fd, expected, sizeof(expected), 0);
    CHECK(length > 20);
    CHECK_EQ(bnx_read(fd, data, 10), 10);
    CHECK_EQ(bnx_read(fd, data + 10, sizeof(data) - 10), length - 10);
    CHECK(memcmp(data, expected, (size_t)length) == 0);
    CHECK_EQ(bnx_read(fd, data, sizeof(data)), 0);
    CHECK_EQ(bnx_pread(fd, data, 5, 3), 5);
    CHECK(memcmp(data, expected + 3, 5) == 0);
    CHECK_EQ(bnx_close(fd), 0);
    fd = bnx_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
    CHECK_EQ(bnx_read(fd, data, 10), 0);
    CHECK_EQ(bnx_write(fd, data, 10), 10);
    CHECK_EQ(bnx_close(fd), 0);
    fd = bnx_open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    CHECK_EQ(bnx_read(fd, data, 10), -EISDIR);
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

/* Claim: what looks like a file and is computed, or nothing, or a directory, is read as read(2)
 * does. */
TEST(file_odd, "file.odd_files") {
    sched_run_each(read_odd, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
