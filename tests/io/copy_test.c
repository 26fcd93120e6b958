/* SPDX-License-Identifier: MIT */
/* Tests copying between descriptors (bnx_copy_file in bonxie/file.h). */
#include "tests/io/temp.h"

#include <sys/ioctl.h>

#define POOL_THREAD "bnx-offload"
#define BYTES ((size_t)300007) /* divides nothing */

struct copying {
    struct temp temp;
    int from;
    uint64_t hash; /* of its BYTES */
};

static void copying_open(struct copying *copying) {
    temp_open(&copying->temp);
    copying->from = temp_random(&copying->temp, BYTES, bnx_test_seed());
    copying->hash = temp_hash(copying->from, 0, BYTES);
}

static void copying_close(struct copying *copying) {
    CHECK_EQ(close(copying->from), 0);
    temp_close(&copying->temp);
}

static struct bnx_os kernel; /* while a test has put something else in its place */

/* ---- Files ---- */

/* All of it, then parts, with and without offsets, into a new file. */
static void copy_files(const struct copying *copying, int to) {
    off_t from_at = 0, to_at = 0;
    int from = copying->from;
    CHECK_EQ(bnx_copy_file(from, &from_at, to, &to_at, UINT64_MAX), BYTES);
    CHECK(from_at == BYTES && to_at == BYTES);
    CHECK(temp_hash(to, 0, BYTES) == copying->hash);
    CHECK_EQ(bnx_copy_file(from, &from_at, to, &to_at, UINT64_MAX), 0);
    CHECK(from_at == BYTES && to_at == BYTES);

    CHECK_EQ(ftruncate(to, 0), 0);
    CHECK_EQ(lseek(from, 0, SEEK_SET), 0);
    CHECK_EQ(lseek(to, 0, SEEK_SET), 0);
    CHECK_EQ(bnx_copy_file(from, NULL, to, NULL, 100), 100);
    CHECK_EQ(lseek(from, 0, SEEK_CUR), 100);
    CHECK_EQ(lseek(to, 0, SEEK_CUR), 100);
    CHECK_EQ(bnx_copy_file(from, NULL, to, NULL, BYTES), BYTES - 100);
    CHECK_EQ(lseek(from, 0, SEEK_CUR), BYTES);
    CHECK(temp_hash(to, 0, BYTES) == copying->hash);

    from_at = 1000;
    CHECK_EQ(lseek(to, 0, SEEK_SET), 0);
    CHECK_EQ(bnx_copy_file(from, &from_at, to, NULL, 5000), 5000);
    CHECK_EQ(from_at, 6000);
    CHECK(temp_hash(to, 0, 5000) == temp_hash(from, 1000, 5000));
    CHECK_EQ(bnx_copy_file(from, &from_at, to, NULL, 0), 0);
}

static int copy_to_file(void *arg) {
    const struct copying *copying = arg;
    int to = temp_random(&copying->temp, 1, 1);
    copy_files(copying, to);
    CHECK_EQ(close(to), 0);
    return 0;
}

/* Claim: a range of a file is copied to another, by offsets or positions; they move with it. */
TEST(copy_in_kernel, "copy.files") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(copy_to_file, &copying);
    copying_close(&copying);
}

static ssize_t no_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes) {
    (void)from;
    (void)from_offset;
    (void)to;
    (void)to_offset;
    (void)bytes;
    return -EXDEV;
}

/* Claim: where the kernel cannot copy between the two by itself, the copy is the same. */
TEST(copy_by_hand, "copy.files_through_a_buffer") {
    struct copying copying;
    copying_open(&copying);
    kernel = bnx_os;
    bnx_os.copy_file_range = no_range;
    sched_run_each(copy_to_file, &copying);
    bnx_os = kernel;
    copying_close(&copying);
}

static int copy_odd(void *arg) {
    const struct copying *copying = arg;
    off_t from_at = 0, to_at = 0;
    int to = temp_random(&copying->temp, 1, 1);
    /* A file whose length is not known before it is read. */
    int proc = open("/proc/version", O_RDONLY | O_CLOEXEC);
    CHECK(proc >= 0);
    CHECK(bnx_copy_file(proc, NULL, to, &to_at, UINT64_MAX) > 20);
    CHECK_EQ(close(proc), 0);
    char data[5];
    CHECK_EQ(pread(to, data, 5, 0), 5);
    CHECK(memcmp(data, "Linux", 5) == 0);
    /* A device; and a file that only grows. */
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(bnx_copy_file(zero, NULL, to, &to_at, 1000000), 1000000);
    CHECK_EQ(close(zero), 0);
    int flags = fcntl(to, F_GETFL);
    CHECK_EQ(ftruncate(to, 3), 0);
    CHECK_EQ(fcntl(to, F_SETFL, flags | O_APPEND), 0);
    CHECK_EQ(bnx_copy_file(copying->from, &from_at, to, NULL, 1000), 1000);
    CHECK_EQ(lseek(to, 0, SEEK_END), 1003);
    CHECK_EQ(fcntl(to, F_SETFL, flags), 0);
    /* Onto itself: refused, not done. */
    uint64_t before = temp_hash(copying->from, 0, BYTES);
    from_at = 0;
    to_at = 1000;
    CHECK_EQ(bnx_copy_file(copying->from, &from_at, copying->from, &to_at, 5000), -EINVAL);
    CHECK(from_at == 0 && to_at == 1000);
    CHECK(temp_hash(copying->from, 0, BYTES) == before);
    CHECK_EQ(close(to), 0);
    return 0;
}

/* Claim: what is no plain file is copied as well, and what cannot be is refused and left alone. */
TEST(copy_of_odd, "copy.odd_files") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(copy_odd, &copying);
    copying_close(&copying);
}

#define FAR ((off_t)5 << 30)

static int copy_far(void *arg) {
    const struct copying *copying = arg;
    int to = temp_random(&copying->temp, 1, 1);
    off_t from_at = 0, to_at = FAR;
    CHECK_EQ(bnx_copy_file(copying->from, &from_at, to, &to_at, UINT64_MAX), BYTES);
    CHECK_EQ(to_at, FAR + (off_t)BYTES);
    CHECK(temp_hash(to, FAR, BYTES) == copying->hash);
    from_at = FAR;
    to_at = 0;
    CHECK_EQ(bnx_copy_file(to, &from_at, to, &to_at, UINT64_MAX), BYTES);
    CHECK(temp_hash(to, 0, BYTES) == copying->hash);
    CHECK_EQ(close(to), 0);
    return 0;
}

/* Claim: beyond 4 GiB as well, from and to; also within one file. */
TEST(copy_beyond, "copy.beyond_4_gib") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(copy_far, &copying);
    copying_close(&copying);
}

/* ---- Pipes and sockets ---- */

struct flow {
    const struct copying *copying;
    int fds[2]; /* fds[0] reads, fds[1] writes */
};

static int drain_flow(void *arg) {
    struct flow *flow = arg;
    char data[5000];
    uint64_t hash = IO_HASH_START;
    size_t bytes = 0;
    ssize_t got;
    while ((got = bnx_read(flow->fds[0], data, sizeof(data))) > 0) {
        hash = io_hash(hash, data, (size_t)got);
        bytes += (size_t)got;
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(bytes, BYTES);
    CHECK(hash == flow->copying->hash);
    return 0;
}

static void copy_into(struct flow *flow) {
    struct bnx_scope scope;
    off_t from_at = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, drain_flow, flow), 0);
    CHECK_EQ(bnx_copy_file(flow->copying->from, &from_at, flow->fds[1], NULL, UINT64_MAX), BYTES);
    CHECK_EQ(from_at, BYTES);
    CHECK_EQ(bnx_close(flow->fds[1]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(flow->fds[0]), 0);
}

static int feed_flow(void *arg) {
    struct flow *flow = arg;
    char data[5000];
    for (off_t at = 0; at < (off_t)BYTES;) {
        ssize_t got = bnx_pread(flow->copying->from, data, sizeof(data), at);
        CHECK(got > 0);
        for (ssize_t done = 0; done < got;) {
            ssize_t wrote = bnx_write(flow->fds[1], data + done, (size_t)(got - done));
            CHECK(wrote > 0);
            done += wrote;
        }
        at += got;
    }
    CHECK_EQ(bnx_close(flow->fds[1]), 0);
    return 0;
}

static void copy_out_of(struct flow *flow) {
    struct bnx_scope scope;
    int to = temp_random(&flow->copying->temp, 1, 1);
    off_t to_at = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, feed_flow, flow), 0);
    CHECK_EQ(bnx_copy_file(flow->fds[0], NULL, to, &to_at, UINT64_MAX), BYTES);
    CHECK_EQ(to_at, BYTES);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(flow->fds[0]), 0);
    CHECK(temp_hash(to, 0, BYTES) == flow->copying->hash);
    CHECK_EQ(close(to), 0);
}

static int copy_flows(void *arg) {
    struct flow flow = {.copying = arg};
    io_pipe(flow.fds);
    copy_into(&flow);
    io_pipe(flow.fds);
    copy_out_of(&flow);
    io_unix_pair(flow.fds); /* blocks: through a buffer */
    copy_into(&flow);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, flow.fds), 0);
    copy_into(&flow);
    io_tcp_pair(flow.fds);
    CHECK_EQ(fcntl(flow.fds[1], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    copy_into(&flow);
    return 0;
}

/* Claim: files go into pipes and sockets, blocking or not, and come out of pipes, whole and in
 * order, whoever has to wait for whom. */
TEST(copy_of_flows, "copy.pipes_and_sockets") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(copy_flows, &copying);
    copying_close(&copying);
}

static int copy_wrong(void *arg) {
    const struct copying *copying = arg;
    int fds[2], pipe_fds[2];
    off_t at = 0, negative = -1;
    io_unix_pair(fds);
    io_pipe(pipe_fds);
    CHECK_EQ(write(fds[1], "data", 4), 4);
    CHECK_EQ(write(pipe_fds[1], "data", 4), 4);
    CHECK_EQ(bnx_copy_file(fds[0], NULL, copying->from, &at, 4), -ESPIPE);
    CHECK_EQ(bnx_copy_file(pipe_fds[0], &at, copying->from, &at, 4), -ESPIPE);
    CHECK_EQ(bnx_copy_file(copying->from, &at, pipe_fds[1], &at, 4), -ESPIPE);
    CHECK_EQ(bnx_copy_file(copying->from, &at, fds[0], &at, 4), -ESPIPE);
    CHECK_EQ(bnx_copy_file(-1, &at, copying->from, &at, 4), -EBADF);
    CHECK_EQ(bnx_copy_file(copying->from, &at, -1, &at, 4), -EBADF);
    CHECK_EQ(bnx_copy_file(copying->from, &negative, fds[0], NULL, 4), -EINVAL);
    CHECK_EQ(bnx_copy_file(copying->from, &at, pipe_fds[0], NULL, 4), -EBADF); /* wrong end */
    CHECK_EQ(at, 0);
    char data[8];
    CHECK_EQ(read(fds[0], data, sizeof(data)), 4); /* nothing was taken */
    CHECK_EQ(read(pipe_fds[0], data, sizeof(data)), 4);
    io_close_pair(fds);
    io_close_pair(pipe_fds);
    return 0;
}

/* Claim: what cannot be copied is refused before anything has been read. */
TEST(copy_refused, "copy.wrong_fds") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(copy_wrong, &copying);
    off_t at = 0;
    CHECK_EQ(bnx_copy_file(copying.from, &at, copying.from, &at, 4), -EPERM); /* off a task */
    copying_close(&copying);
}

static int create_no_pool_thread(struct bnx_os_thread *thread) {
    bool is_of_pool = thread->name != NULL && strcmp(thread->name, POOL_THREAD) == 0;
    return is_of_pool ? -EAGAIN : kernel.thread_create(thread);
}

static int copy_in_vain(void *arg) {
    const struct copying *copying = arg;
    int to = temp_random(&copying->temp, 1, 1);
    off_t from_at = 0, to_at = 0;
    CHECK_EQ(bnx_copy_file(copying->from, &from_at, to, &to_at, UINT64_MAX), -EAGAIN);
    CHECK(from_at == 0 && to_at == 0);
    CHECK_EQ(close(to), 0);
    return 0;
}

/* Claim: where no thread can be started, a copy says so, and does not try for ever. */
TEST(copy_no_thread, "copy.without_threads") {
    struct copying copying;
    copying_open(&copying);
    kernel = bnx_os;
    bnx_os.thread_create = create_no_pool_thread;
    sched_run_each(copy_in_vain, &copying);
    bnx_os = kernel;
    copying_close(&copying);
}

/* ---- Cancel ---- */

struct stuck {
    int from;
    int to;
    uint64_t copied;
};

static int copy_stuck(void *arg) {
    struct stuck *stuck = arg;
    off_t from_at = 0;
    bool is_pipe = lseek(stuck->from, 0, SEEK_CUR) < 0;
    int64_t result =
        bnx_copy_file(stuck->from, is_pipe ? NULL : &from_at, stuck->to, NULL, UINT64_MAX);
    if (result >= 0) {
        CHECK(is_pipe || from_at == result);
        stuck->copied = (uint64_t)result;
        result = bnx_copy_file(stuck->from, is_pipe ? NULL : &from_at, stuck->to, NULL, UINT64_MAX);
    }
    CHECK_EQ(result, -ECANCELED);
    return 0;
}

static void cancel_copy(struct stuck *stuck, enum bnx_wait_reason reason) {
    struct bnx_scope scope;
    struct bnx_task *task;
    stuck->copied = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, copy_stuck, stuck, &task), 0);
    io_await_wait(task, reason);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
}

static size_t drain_all(int fd) {
    char data[4096];
    size_t bytes = 0;
    ssize_t got;
    CHECK_EQ(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    while ((got = read(fd, data, sizeof(data))) > 0) {
        bytes += (size_t)got;
    }
    return bytes;
}

/* More than a blocking socket takes: no thread may wait in its send. */
static void cancel_from_full_pipe(void) {
    int pipe_fds[2], fds[2];
    int bytes = 4096;
    io_pipe(pipe_fds);
    io_unix_pair(fds);
    CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    io_fill_up(pipe_fds[1]);
    CHECK_EQ(ioctl(pipe_fds[0], FIONREAD, &bytes), 0);
    struct stuck stuck = {.from = pipe_fds[0], .to = fds[1]};
    struct bnx_scope scope;
    struct bnx_task *task;
    struct pollfd ready = {.fd = fds[1], .events = POLLOUT};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, copy_stuck, &stuck, &task), 0);
    while (poll(&ready, 1, 0) != 0) { /* ends: the socket is small */
        bnx_yield();
    }
    io_await_wait(task, BNX_WAIT_WRITE);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK(stuck.copied > 0);
    CHECK_EQ(drain_all(fds[0]), stuck.copied);
    CHECK_EQ(drain_all(pipe_fds[0]), (size_t)bytes - stuck.copied);
    io_close_pair(pipe_fds);
    io_close_pair(fds);
}

static int cancel_copies(void *arg) {
    const struct copying *copying = arg;
    int fds[2];
    io_pipe(fds);
    struct stuck stuck = {.from = copying->from, .to = fds[1]};
    cancel_copy(&stuck, BNX_WAIT_WRITE); /* the pipe is full */
    CHECK_EQ(drain_all(fds[0]), stuck.copied);
    io_close_pair(fds);

    io_unix_pair(fds);
    stuck = (struct stuck){.from = copying->from, .to = fds[1]};
    cancel_copy(&stuck, BNX_WAIT_WRITE); /* through a buffer */
    CHECK_EQ(drain_all(fds[0]), stuck.copied);
    io_close_pair(fds);

    cancel_from_full_pipe();

    io_pipe(fds);
    int to = temp_random(&copying->temp, 1, 1);
    stuck = (struct stuck){.from = fds[0], .to = to};
    CHECK_EQ(write(fds[1], "data", 4), 4);
    cancel_copy(&stuck, BNX_WAIT_READ); /* the pipe is empty */
    CHECK_EQ(stuck.copied + drain_all(fds[0]), 4);
    CHECK_EQ(close(to), 0);
    io_close_pair(fds);
    return 0;
}

/* Claim: a cancel ends a copy that waits for either side; what was copied is told, and every byte
 * is on one side or the other. */
TEST(copy_is_cancelled, "copy.cancel_loses_nothing") {
    struct copying copying;
    copying_open(&copying);
    sched_run_each(cancel_copies, &copying);
    copying_close(&copying);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
