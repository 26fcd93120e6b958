/* SPDX-License-Identifier: MIT */
/* Tests reads of files: from the page cache at once, from the disk by an operation (io/hint.h). */
#include "io/hint.h"
#include "tests/io/temp.h"

#include <bonxie/path.h>

/* ---- From the page cache and from the disk ---- */

#define COLD_BYTES ((size_t)1 << 20)

struct cold {
    int fd;
    uint64_t hash;
};

/* Every other 64 KiB is not in the page cache. */
static void cool(int fd) {
    CHECK_EQ(fdatasync(fd), 0);
    for (off_t at = 0; at < (off_t)COLD_BYTES; at += 128 << 10) {
        CHECK_EQ(posix_fadvise(fd, at, 64 << 10, POSIX_FADV_DONTNEED), 0);
    }
}

static int read_cold(void *arg) {
    const struct cold *cold = arg;
    char *data = malloc(COLD_BYTES + 1);
    CHECK(data != NULL);
    CHECK_EQ(posix_fadvise(cold->fd, 0, 0, POSIX_FADV_RANDOM), 0); /* read what is asked for */
    cool(cold->fd);
    CHECK_EQ(bnx_pread(cold->fd, data, COLD_BYTES + 1, 0), COLD_BYTES);
    CHECK(io_hash(IO_HASH_START, data, COLD_BYTES) == cold->hash);
    memset(data, 0, COLD_BYTES);
    cool(cold->fd);
    CHECK_EQ(lseek(cold->fd, 0, SEEK_SET), 0);
    CHECK_EQ(bnx_read(cold->fd, data, COLD_BYTES), COLD_BYTES);
    CHECK_EQ(lseek(cold->fd, 0, SEEK_CUR), COLD_BYTES);
    CHECK(io_hash(IO_HASH_START, data, COLD_BYTES) == cold->hash);
    memset(data, 0, COLD_BYTES);
    cool(cold->fd);
    struct iovec parts[] = {{data, 100 << 10}, {data + (100 << 10), COLD_BYTES - (100 << 10)}};
    CHECK_EQ(bnx_preadv(cold->fd, parts, 2, 0), COLD_BYTES);
    CHECK(io_hash(IO_HASH_START, data, COLD_BYTES) == cold->hash);
    free(data);
    return 0;
}

/* Claim: a read of a file that is in the page cache in parts is as long as was asked for, and
 * right: what is not there is read from the disk. */
TEST(cache_cold, "cache.reads_on_from_disk") {
    struct temp temp;
    temp_open(&temp);
    struct cold cold = {.fd = temp_random(&temp, COLD_BYTES, bnx_test_seed())};
    cold.hash = temp_hash(cold.fd, 0, COLD_BYTES);
    sched_run_each(read_cold, &cold);
    CHECK_EQ(close(cold.fd), 0);
    temp_close(&temp);
}

/* ---- What is tried at once ---- */

#define READS 10

/* The calls of the table, counted. */
static uint64_t reads_at_once;
static uint64_t looks;
static struct bnx_os kernel;

static ssize_t counted_preadv(int fd, const struct iovec *parts, int count, off_t offset,
                              int flags) {
    bnx_fetch_add_relaxed(&reads_at_once, flags != 0);
    return kernel.preadv(fd, parts, count, offset, flags);
}

static int counted_fstat(int fd, struct stat *out_stat) {
    bnx_fetch_add_relaxed(&looks, 1);
    return kernel.fstat(fd, out_stat);
}

static void count_calls(bnx_task_fn fn, void *arg) {
    kernel = bnx_os;
    bnx_os.preadv = counted_preadv;
    bnx_os.fstat = counted_fstat;
    sched_run_each(fn, arg);
    bnx_os = kernel;
}

static void counts_reset(void) {
    bnx_store_relaxed(&reads_at_once, 0);
    bnx_store_relaxed(&looks, 0);
}

static int read_hot(void *arg) {
    const struct temp *temp = arg;
    char data[100];
    struct temp_name name = temp_name(temp, "hot");
    int fd = bnx_open(name.text, O_RDONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    counts_reset();
    for (int i = 0; i < READS; i++) {
        CHECK_EQ(bnx_pread(fd, data, 5, i), 5);
    }
    CHECK_EQ(bnx_load_relaxed(&reads_at_once), READS);
    CHECK_EQ(bnx_load_relaxed(&looks), 1);
    CHECK_EQ(bnx_pread(fd, data, sizeof(data), 0), 36); /* the end is looked for at once as well */
    CHECK_EQ(bnx_load_relaxed(&reads_at_once), READS + 2);
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

/* Claim: what is in the page cache is read by one system call, on the worker; the descriptor is
 * looked at once. */
TEST(cache_hot, "cache.hot_reads_at_once") {
    struct temp temp;
    temp_open(&temp);
    temp_file(&temp, "hot", "abcdefghijklmnopqrstuvwxyz0123456789");
    count_calls(read_hot, &temp);
    temp_close(&temp);
}

/* Reads a file that is open with O_DIRECT. */
static void read_direct(int fd, char *data, size_t alignment) {
    counts_reset();
    for (int i = 0; i < READS; i++) {
        struct iovec part = {data, alignment};
        CHECK_EQ(bnx_pread(fd, data, alignment, 0), alignment);
        CHECK_EQ(bnx_preadv(fd, &part, 1, 0), alignment);
        CHECK_EQ(bnx_pwrite(fd, data, alignment, (off_t)alignment), alignment);
    }
    CHECK_EQ(bnx_load_relaxed(&reads_at_once), 0);
    CHECK(bnx_load_relaxed(&looks) <= 1);
}

static int read_direct_both(void *arg) {
    const struct temp *temp = arg;
    struct temp_name name = temp_name(temp, "direct");
    struct bnx_direct_alignment alignment;
    int fd = bnx_open(name.text, O_RDWR | O_DIRECT | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_direct_align(fd, &alignment), 0);
    CHECK(alignment.offset_bytes >= 512 && alignment.offset_bytes <= 4096);
    CHECK(alignment.memory_bytes >= 1 && alignment.memory_bytes <= 4096);
    char *data = aligned_alloc(4096, 4096);
    CHECK(data != NULL);
    read_direct(fd, data, alignment.offset_bytes); /* ours: it is known */
    CHECK_EQ(bnx_close(fd), 0);
    CHECK(!bnx_hint_has(fd, BNX_HINT_DIRECT)); /* the next of that number is another */
    fd = open(name.text, O_RDWR | O_DIRECT | O_CLOEXEC);
    CHECK(fd >= 0);
    read_direct(fd, data, alignment.offset_bytes); /* another's: it is looked at */
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_direct_align(-1, &alignment), -EBADF);
    free(data);
    return 0;
}

/* Makes the file; skips the claim where there is no direct I/O. */
static void direct_make(struct temp *temp) {
    int fd = openat(temp->fd, "direct", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EINVAL) {
        temp_close(temp);
        SKIP("no direct I/O in /tmp");
    }
    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, 16384), 0);
    CHECK_EQ(close(fd), 0);
}

/* Claim: with O_DIRECT nothing is tried at once, because that would wait for the disk; who opened
 * the file does not matter. */
TEST(cache_direct, "cache.direct_is_not_tried") {
    struct temp temp;
    temp_open(&temp);
    direct_make(&temp);
    count_calls(read_direct_both, &temp);
    temp_close(&temp);
}

static int read_replaced(void *arg) {
    const struct temp *temp = arg;
    struct temp_name name = temp_name(temp, "direct");
    char *data = aligned_alloc(4096, 4096);
    CHECK(data != NULL);
    int fd = bnx_open(name.text, O_RDONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_pread(fd, data, 4096, 0), 4096);
    CHECK(bnx_hint_has(fd, BNX_HINT_CACHED));
    int other = open(name.text, O_RDONLY | O_DIRECT | O_CLOEXEC);
    CHECK(other >= 0);
    CHECK_EQ(dup2(other, fd), fd); /* behind our back */
    for (uint32_t i = 0; i < BNX_HINT_READS * sched_worker_count(); i++) {
        CHECK_EQ(bnx_pread(fd, data, 4096, 0), 4096);
    }
    CHECK(bnx_hint_has(fd, BNX_HINT_DIRECT));
    CHECK(!bnx_hint_has(fd, BNX_HINT_CACHED));
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_close(other), 0);
    free(data);
    return 0;
}

/* Claim: a number that has come to mean another file, unseen, is looked at again after a while. */
TEST(cache_stale, "cache.stale_hint_heals") {
    struct temp temp;
    temp_open(&temp);
    direct_make(&temp);
    sched_run_each(read_replaced, &temp);
    temp_close(&temp);
}

static int read_pipe(void *arg) {
    int fds[2];
    char byte;
    (void)arg;
    io_pipe(fds);
    bnx_hint_clear(fds[0]);
    counts_reset();
    for (int i = 0; i < READS; i++) {
        CHECK_EQ(bnx_os.write(fds[1], "x", 1), 1);
        CHECK_EQ(bnx_read(fds[0], &byte, 1), 1);
    }
    CHECK_EQ(bnx_load_relaxed(&looks), 1);
    const char *driver = getenv("BONXIE_DRIVER");
    if (driver == NULL || strcmp(driver, "epoll") != 0) { /* which tries everything */
        CHECK_EQ(bnx_load_relaxed(&reads_at_once), 0);
    }
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_close(fds[1]), 0);
    return 0;
}

/* Claim: a descriptor that is no file costs one look, once. */
TEST(cache_pipe, "cache.pipe_is_looked_at_once") {
    if (getenv("BONXIE_DRIVER") == NULL) {
        io_needs_ring();
    }
    count_calls(read_pipe, NULL);
}

/* ---- Time slices ---- */

struct endless {
    int fd;
    bool is_vectored;
    uint32_t is_over;
};

static int read_endlessly(void *arg) {
    struct endless *endless = arg;
    char data[64];
    struct iovec part = {data, sizeof(data)};
    while (bnx_load_acquire(&endless->is_over) == 0) {
        ssize_t got = endless->is_vectored ? bnx_preadv(endless->fd, &part, 1, 0)
                                           : bnx_pread(endless->fd, data, sizeof(data), 0);
        CHECK_EQ(got, sizeof(data));
    }
    return 0;
}

static void outlive(int fd, bool is_vectored) {
    struct bnx_scope scope;
    struct endless endless = {.fd = fd, .is_vectored = is_vectored};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < sched_worker_count(); i++) {
        CHECK_EQ(bnx_spawn(&scope, read_endlessly, &endless), 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_sleep(1), 0);
    }
    bnx_store_release(&endless.is_over, 1);
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static int outlive_readers(void *arg) {
    outlive((int)(intptr_t)arg, false);
    outlive((int)(intptr_t)arg, true);
    return 0;
}

/* Claim: reads that never wait give way all the same: of a file in the page cache and of /dev/zero,
 * a task on each worker. */
TEST(cache_spends, "cache.reads_give_way") {
    struct temp temp;
    temp_open(&temp);
    int fd = temp_random(&temp, 4096, 1);
    sched_run_each(outlive_readers, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
    fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    sched_run_each(outlive_readers, (void *)(intptr_t)fd);
    CHECK_EQ(close(fd), 0);
    temp_close(&temp);
}

static int read_cancelled(void *arg) {
    int fd = (int)(intptr_t)arg;
    char data[4];
    struct iovec part = {data, sizeof(data)};
    struct bnx_scope scope;
    CHECK_EQ(bnx_pread(fd, data, 4, 0), 4);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_pread(fd, data, 4, 0), -ECANCELED);
    CHECK_EQ(bnx_read(fd, data, 4), -ECANCELED);
    CHECK_EQ(bnx_readv(fd, &part, 1), -ECANCELED);
    CHECK_EQ(bnx_preadv(fd, &part, 1, 0), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
    return 0;
}

/* Claim: a cancelled task's read is refused, also where it would not have waited. */
TEST(cache_refused, "cache.cancelled_is_refused") {
    struct temp temp;
    temp_open(&temp);
    int fd = temp_random(&temp, 4096, 1);
    sched_run_each(read_cancelled, (void *)(intptr_t)fd);
    char byte;
    struct iovec part = {&byte, 1};
    CHECK_EQ(bnx_pread(fd, &byte, 1, 0), -EPERM);
    CHECK_EQ(bnx_preadv(fd, &part, 1, 0), -EPERM);
    CHECK_EQ(close(fd), 0);
    temp_close(&temp);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
