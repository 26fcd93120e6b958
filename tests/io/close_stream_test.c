/* SPDX-License-Identifier: MIT */
/*
 * Tests bnx_close beneath a stream: no call of it, begun before or after, meets the file that has
 * the number then.
 *
 * Method: the descriptor is closed by another one than the stream, and its number given to a file
 * that has something for each call: what a call takes or leaves there is seen from its other end.
 */
#include "tests/io/temp.h"

#include <bonxie/stream.h>

struct scene {
    int own[2];      /* the end beneath the stream, its peer */
    int stranger[2]; /* the end that gets the number, its peer */
    struct bnx_stream *stream;
};

static void begin(struct scene *scene, const struct bnx_stream_options *options) {
    int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    CHECK_EQ(socketpair(AF_UNIX, flags, 0, scene->own), 0);
    CHECK_EQ(socketpair(AF_UNIX, flags, 0, scene->stranger), 0);
    CHECK_EQ(bnx_stream_open(scene->own[0], options, &scene->stream), 0);
}

/* The number means another file, which has a byte to read and room to write. */
static void replace(struct scene *scene) {
    CHECK_EQ(bnx_close(scene->own[0]), 0);
    CHECK_EQ(dup3(scene->stranger[0], scene->own[0], O_CLOEXEC), scene->own[0]);
    CHECK_EQ(send(scene->stranger[1], "s", 1, 0), 1);
}

/* The stranger has its byte, has been sent nothing, and is open under its new number. */
static void end(struct scene *scene) {
    char byte = 0;
    CHECK_EQ(bnx_os.recv(scene->stranger[1], &byte, 1, MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_os.recv(scene->own[0], &byte, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(byte, 's');
    io_close_pair(scene->own);
    io_close_pair(scene->stranger);
}

/* ---- Between two calls ---- */

static int close_between_calls(void *arg) {
    const struct bnx_stream_options *options = arg;
    struct scene scene;
    char byte = 0;
    begin(&scene, options);
    CHECK_EQ(send(scene.own[1], "o", 1, 0), 1);
    CHECK_EQ(bnx_stream_read(scene.stream, &byte, 1), 1);
    CHECK_EQ(bnx_stream_write(scene.stream, "unsent", 6), 6);
    replace(&scene);
    CHECK_EQ(bnx_stream_read(scene.stream, &byte, 1), -EBADF);
    CHECK_EQ(bnx_stream_flush(scene.stream), -EBADF);
    CHECK_EQ(bnx_stream_shutdown(scene.stream), -EBADF);
    CHECK_EQ(bnx_stream_copy(scene.stream, scene.stream, 1), -EBADF);
    CHECK_EQ(bnx_stream_close(scene.stream), -EBADF);
    end(&scene);
    return 0;
}

/* A stream whose descriptor another one has closed says so at each call; it ends without sending
 * what it held, or closing the number, which is not its own any more. */
TEST(between_calls, "stream.closed_beneath_between_calls") {
    struct bnx_stream_options kept = {.keep_open = 1};
    struct bnx_stream_options taken_over = {0};
    sched_run_each(close_between_calls, &kept);
    sched_run_each(close_between_calls, &taken_over);
}

/* Nothing unsent: the half-close itself, and the close's own error. */
static int close_before_shutdown(void *arg) {
    (void)arg;
    struct scene scene;
    begin(&scene, NULL);
    replace(&scene);
    CHECK_EQ(bnx_stream_shutdown(scene.stream), -EBADF);
    CHECK_EQ(bnx_os.send(scene.own[0], "", 0, MSG_NOSIGNAL), 0); /* else -EPIPE */
    CHECK_EQ(bnx_stream_close(scene.stream), -EBADF);
    end(&scene);
    return 0;
}

/* The other's connection is not half-closed either, nor closed by a stream that has no bytes left
 * for it. */
TEST(before_shutdown, "stream.closed_beneath_is_not_shut") {
    sched_run_each(close_before_shutdown, NULL);
}

/* ---- Between two steps of a call ---- */

struct reading {
    struct scene scene;
    ssize_t got;
    char bytes[2];
};

static int read_two(void *arg) {
    struct reading *reading = arg;
    reading->got = bnx_stream_read_exact(reading->scene.stream, reading->bytes, 2);
    return 0;
}

/* Collects until the task is awake, and gives it no turn. */
static void collect_for(const struct bnx_task *task) {
    struct bnx_driver *driver = bnx_worker_driver(bnx_worker_current());
    while (bnx_task_state(task) == BNX_TASK_PARKED) { /* ends: it has been sent something */
        (void)driver->ops->poll(driver);
    }
}

static int close_within_call(void *arg) {
    (void)arg;
    struct reading reading = {.got = 0};
    struct bnx_scope scope;
    struct bnx_task *task;
    char byte;
    begin(&reading.scene, NULL);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_two, &reading, &task), 0);
    io_await_wait(task, BNX_WAIT_RECV);
    io_round_trip(); /* the wait is the kernel's by now */
    CHECK_EQ(send(reading.scene.own[1], "o", 1, 0), 1);
    collect_for(task);
    replace(&reading.scene);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(reading.got, 1);
    CHECK_EQ(reading.bytes[0], 'o');
    CHECK_EQ(bnx_stream_read(reading.scene.stream, &byte, 1), -EBADF);
    CHECK_EQ(bnx_stream_close(reading.scene.stream), -EBADF);
    end(&reading.scene);
    return 0;
}

/* Closed when a call has read a part: it returns that, and does not read on from the other file. */
TEST(within_call, "stream.closed_beneath_within_a_call") {
    sched_run(1, close_within_call, NULL);
}

/* ---- Beside a system call ---- */

static struct {
    struct scene scene;
    uint32_t is_inside; /* the stream's call */
    uint32_t is_closing;
    uint32_t is_closed;
    struct bnx_task *task; /* who closes */
} meeting;

static ssize_t (*real_send)(int fd, const void *buffer, size_t bytes, int flags);

/* Begins, and goes on when the closer waits for it or does not. */
static ssize_t slow_send(int fd, const void *buffer, size_t bytes, int flags) {
    if (fd == meeting.scene.own[0] && bnx_load_acquire(&meeting.is_inside) == 0) {
        bnx_store_release(&meeting.is_inside, 1);
        while (bnx_load_acquire(&meeting.is_closed) == 0 &&
               (bnx_load_acquire(&meeting.is_closing) == 0 ||
                bnx_task_state(meeting.task) != BNX_TASK_PARKED)) { /* ends: either of the two */
            bnx_os.thread_yield();
        }
        /* A closer that waited for this worker, which is held here, would name the descriptor. */
        CHECK(bnx_load_relaxed(&meeting.task->wait_object) == NULL);
    }
    return real_send(fd, buffer, bytes, flags);
}

static int close_inside(void *arg) {
    (void)arg;
    while (bnx_load_acquire(&meeting.is_inside) == 0) { /* ends: the call begins */
        bnx_yield();
    }
    bnx_store_release(&meeting.is_closing, 1);
    replace(&meeting.scene);
    bnx_store_release(&meeting.is_closed, 1);
    return 0;
}

static int close_beside_send(void *arg) {
    struct bnx_scope scope;
    char byte = 0;
    (void)arg;
    meeting.is_inside = 0;
    meeting.is_closing = 0;
    meeting.is_closed = 0;
    begin(&meeting.scene, NULL);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, close_inside, NULL, &meeting.task), 0);
    bnx_yield();
    CHECK_EQ(bnx_stream_write(meeting.scene.stream, "o", 1), 1);
    CHECK_EQ(bnx_stream_flush(meeting.scene.stream), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(recv(meeting.scene.own[1], &byte, 1, 0), 1);
    CHECK_EQ(byte, 'o');
    CHECK_EQ(bnx_stream_close(meeting.scene.stream), -EBADF);
    end(&meeting.scene);
    return 0;
}

/* A stream is about to send: the close waits for that, and, since nothing is in flight there, asks
 * no worker, which may be held for long. */
TEST(call, "stream.close_waits_for_a_call") {
    if (BNX_FORCE_MIGRATE) {
        SKIP("a forced migration goes to the worker that is held");
    }
    real_send = bnx_os.send;
    bnx_os.send = slow_send;
    sched_run(2, close_beside_send, NULL);
    sched_run(3, close_beside_send, NULL);
    sched_run(8, close_beside_send, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
