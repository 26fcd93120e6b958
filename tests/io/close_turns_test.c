/* SPDX-License-Identifier: MIT */
/*
 * Tests bnx_close beside calls that give the worker away between two system calls, and a watch
 * whose function does: neither goes on with the next file of the number.
 */
#include "tests/io/temp.h"

#include <bonxie/event.h>
#include <bonxie/file.h>
#include <bonxie/ready.h>

#include <poll.h>

#define FILE_BYTES (4 << 20)

/* ---- A read from the page cache ---- */

struct reading {
    int fd;
    char *buffer;
    ssize_t got;
};

static int read_all(void *arg) {
    struct reading *reading = arg;
    bnx_worker_current()->budget = 2; /* it gives way after the second piece */
    reading->got = bnx_pread(reading->fd, reading->buffer, FILE_BYTES, 0);
    return 0;
}

/* A file of one letter; its pages are in the cache. */
static int file_of(struct temp *temp, const char *name, char letter) {
    static char page[65536];
    memset(page, letter, sizeof(page));
    int fd = openat(temp->fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    for (int i = 0; i < FILE_BYTES / (int)sizeof(page); i++) {
        CHECK_EQ(write(fd, page, sizeof(page)), (ssize_t)sizeof(page));
    }
    return fd;
}

static int close_beside_read(void *arg) {
    (void)arg;
    struct temp temp;
    struct bnx_scope scope;
    struct bnx_task *task;
    temp_open(&temp);
    struct reading reading = {.fd = file_of(&temp, "own", 'o'), .buffer = calloc(1, FILE_BYTES)};
    int stranger = file_of(&temp, "stranger", 's');
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_all, &reading, &task), 0);
    bnx_yield(); /* it reads, and gives way */
    CHECK(bnx_task_state(task) == BNX_TASK_READY);
    CHECK_EQ(bnx_close(reading.fd), 0);
    CHECK_EQ(dup3(stranger, reading.fd, O_CLOEXEC), reading.fd);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(reading.got > 0 && reading.got < FILE_BYTES);
    CHECK(memchr(reading.buffer, 's', FILE_BYTES) == NULL);
    CHECK_EQ(close(reading.fd), 0);
    CHECK_EQ(close(stranger), 0);
    free(reading.buffer);
    temp_close(&temp);
    return 0;
}

/* The rest of a read is not taken from the file that has the number by then. */
TEST(read, "io.close_beside_a_cached_read") {
    sched_run(1, close_beside_read, NULL);
}

/* ---- A watch ---- */

struct watched {
    struct bnx_event is_inside;
    struct bnx_event may_go_on;
    int calls;
    int last;
};

static int on_ready(int fd, int revents, void *arg) {
    struct watched *watched = arg;
    char byte;
    watched->calls++;
    watched->last = revents;
    if (revents < 0) {
        return revents;
    }
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(byte, 'o');
    bnx_event_set(&watched->is_inside);
    return bnx_event_wait(&watched->may_go_on);
}

static int close_beside_watch(void *arg) {
    (void)arg;
    int own[2], stranger[2];
    struct watched watched = {.is_inside = BNX_EVENT_INIT, .may_go_on = BNX_EVENT_INIT};
    struct bnx_scope scope;
    io_unix_pair(own);
    io_unix_pair(stranger);
    struct bnx_fd_watch_options options = {
        .fd = own[0], .events = POLLIN, .fn = on_ready, .arg = &watched};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_fd_watch(&scope, &options), 0);
    CHECK_EQ(write(own[1], "o", 1), 1);
    CHECK_EQ(bnx_event_wait(&watched.is_inside), 0);
    CHECK_EQ(bnx_close(own[0]), 0);
    CHECK_EQ(dup3(stranger[0], own[0], O_CLOEXEC), own[0]);
    CHECK_EQ(write(stranger[1], "s", 1), 1);
    bnx_event_set(&watched.may_go_on);
    CHECK_EQ(bnx_scope_close(&scope), -EBADF);
    CHECK_EQ(watched.calls, 2);
    CHECK_EQ(watched.last, -EBADF);
    io_close_pair(own);
    io_close_pair(stranger);
    return 0;
}

/* Closed while the watch's function waits for something else: the watch ends. */
TEST(watch, "io.close_beside_a_watch") {
    sched_run_each(close_beside_watch, NULL);
}

/* ---- Steps of a library's own ---- */

static int step_twice(void *arg) {
    (void)arg;
    int fds[2];
    io_unix_pair(fds);
    int kept = dup(fds[0]);
    struct bnx_fd_steps steps = bnx_fd_steps_of(fds[0]);
    struct bnx_fd_steps other = steps;
    CHECK_EQ(bnx_fd_steps_enter(&steps), 0);
    CHECK_EQ(bnx_fd_steps_enter(&other), 0);
    bnx_fd_steps_leave(&other);
    bnx_fd_steps_leave(&steps);
    CHECK_EQ(bnx_close(fds[0]), 0); /* waits for neither */
    CHECK_EQ(dup3(kept, fds[0], O_CLOEXEC), fds[0]);
    CHECK_EQ(bnx_fd_steps_enter(&steps), -EBADF);
    struct bnx_fd_steps anew = bnx_fd_steps_of(fds[0]);
    CHECK_EQ(bnx_fd_steps_enter(&anew), 0);
    bnx_fd_steps_leave(&anew);
    CHECK_EQ(bnx_close(kept), 0);
    io_close_pair(fds);
    return 0;
}

static void step_off_task(int fd) {
    struct bnx_fd_steps steps = bnx_fd_steps_of(fd);
    CHECK_EQ(bnx_fd_steps_enter(&steps), 0);
    bnx_fd_steps_leave(&steps);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_fd_steps_enter(&steps), -EBADF);
}

/* A step is refused from the close of its number on, whatever the number means by then; one that
 * has ended holds no close up; a thread's are refused as a task's are. */
TEST(steps, "ready.steps_end_with_the_close") {
    sched_run_each(step_twice, NULL);
    int fds[2];
    io_unix_pair(fds);
    step_off_task(fds[0]);
    step_off_task(fds[1]);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
