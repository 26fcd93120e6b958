/* SPDX-License-Identifier: MIT */
/* What the tests of io/ share: connected pairs, descriptors, patterns of bytes, tables of tasks. */
#ifndef BNX_TESTS_IO_FIXTURE_H
#define BNX_TESTS_IO_FIXTURE_H

#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <bonxie/file.h>
#include <bonxie/net.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/** For a claim about rings: every runtime from now on has them, or the claim is skipped. It asks
 * for as many as a test has workers: some machines give a process a few and refuse the next. */
static inline void io_needs_ring(void) {
    struct bnx_options options = {.worker_count = 8, .driver = BNX_DRIVER_URING};
    struct bnx_runtime *runtime = NULL;
    int error = bnx_runtime_create(&options, &runtime);
    if (error != 0) {
        SKIP("no io_uring here: %s", strerror(-error));
    }
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    CHECK_EQ(setenv("BONXIE_DRIVER", "uring", 1), 0);
}

/** Whether so much memory may be locked. A send without a copy locks what it sends, and rings take
 * of the same: where they share little, the send may be refused at any time. */
static inline bool io_may_lock(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    bool may_lock = mlock(memory, bytes) == 0;
    CHECK_EQ(munmap(memory, bytes), 0);
    return may_lock;
}

/** Two ends of a stream, blocking as they come from the kernel. */
static inline void io_unix_pair(int out_fds[2]) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out_fds), 0);
}

/** A plain listener on a free port of the loopback. */
static inline int io_tcp_listener(struct sockaddr_in *out_address, int backlog) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(any);
    CHECK_EQ(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&any, &bytes), 0);
    *out_address = any;
    return fd;
}

/** A plain connected socket; the peer is in the listener's queue. */
static inline int io_tcp_connect(const struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
    return fd;
}

static inline void io_tcp_pair(int out_fds[2]) {
    struct sockaddr_in address;
    int listener = io_tcp_listener(&address, 8);
    out_fds[0] = io_tcp_connect(&address);
    out_fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(out_fds[1] >= 0);
    CHECK_EQ(close(listener), 0);
}

static inline void io_pipe(int out_fds[2]) {
    CHECK_EQ(pipe2(out_fds, O_CLOEXEC), 0);
}

/** Writes until nothing more is taken: who writes then has to wait. */
static inline void io_fill_up(int fd) {
    static const char data[4096];
    int flags = bnx_os.fcntl(fd, F_GETFL, 0);
    ssize_t wrote;
    CHECK_EQ(bnx_os.fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    while ((wrote = bnx_os.write(fd, data, sizeof(data))) > 0) { /* ends: a buffer is finite */
    }
    CHECK_EQ(wrote, -EAGAIN);
    CHECK_EQ(bnx_os.fcntl(fd, F_SETFL, flags), 0);
}

static inline void io_close_pair(const int fds[2]) {
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/** The number of open descriptors, but for files of /proc: there the watchdog of a busy machine
 * reads. */
static inline int io_fd_count(void) {
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) { /* ends with the folder */
        char target[64];
        ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target));
        bool is_proc = bytes > 6 && memcmp(target, "/proc/", 6) == 0;
        count += bytes > 0 && !is_proc; /* no link: . and .., or closed meanwhile */
    }
    CHECK_EQ(closedir(folder), 0);
    return count;
}

/** Waits until the caller's thread is the only one of the process, but for ThreadSanitizer's own:
 * one that has been joined is listed for a moment longer. One that is left over hangs the test. */
static inline void io_await_alone(void) {
    int count = INT_MAX;
    while (count > 1 + BNX_TSAN) { /* ends: see above */
        DIR *folder = opendir("/proc/self/task");
        CHECK(folder != NULL);
        count = -2;                       /* . and .. */
        while (readdir(folder) != NULL) { /* ends with the folder */
            count++;
        }
        CHECK_EQ(closedir(folder), 0);
        bnx_os.thread_yield();
    }
}

/** As many descriptors as the hard limit allows; that is returned. */
static inline uint64_t io_fd_limit_raise(void) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return (uint64_t)limit.rlim_cur;
}

/** Yields until the task waits for the given reason; what it does next is then up to others. */
static inline void io_await_wait(const struct bnx_task *task, enum bnx_wait_reason reason) {
    while (bnx_task_state(task) != BNX_TASK_PARKED ||
           bnx_load_relaxed(&task->wait_reason) != (uint8_t)reason) {
        bnx_yield();
    }
}

/** The hash of a byte stream, a byte a step: how it is cut does not matter. */
#define IO_HASH_START UINT64_C(0xcbf29ce484222325)
static inline uint64_t io_hash(uint64_t state, const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) {
        state = (state ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return state;
}

/** Fills a buffer with bytes that depend on the seed. */
static inline void io_fill(void *buffer, size_t bytes, struct bnx_rng *rng) {
    unsigned char *at = buffer;
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (unsigned char)bnx_rng_below(rng, 256);
    }
}

/* An operation of the calling task through its worker's ring: what was queued there before it has
 * been handed to the kernel when this returns. */
static inline void io_round_trip(void) {
    int fds[2];
    char byte = 'x';
    io_pipe(fds);
    CHECK_EQ(bnx_os.write(fds[1], &byte, 1), 1);
    CHECK_EQ(bnx_read(fds[0], &byte, 1), 1);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

#endif
