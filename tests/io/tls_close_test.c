/* SPDX-License-Identifier: MIT */
/*
 * Tests bnx_close beneath TLS: neither a handshake nor a stream goes on with the file that has the
 * number then.
 *
 * Method: the descriptor is closed by another one, and its number given to a socket that has a byte
 * to read and room to write: what was taken or left there is seen from its other end.
 */
#include "tests/io/tls_parties.h"

struct scene {
    int own[2];      /* the client's end, its peer */
    int stranger[2]; /* the end that gets the number, its peer */
    struct bnx_tls *client;
    int result;
};

static void open_stranger(struct scene *scene) {
    int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    CHECK_EQ(socketpair(AF_UNIX, flags, 0, scene->stranger), 0);
}

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

/* ---- A handshake ---- */

static int shake(void *arg) {
    struct scene *scene = arg;
    struct bnx_stream *stream = NULL;
    scene->result = bnx_tls_connect(scene->client, scene->own[0], "one.test", NULL, &stream, NULL);
    return 0;
}

/* Collects until the task is awake, and gives it no turn. */
static void collect_for(const struct bnx_task *task) {
    struct bnx_driver *driver = bnx_worker_driver(bnx_worker_current());
    while (bnx_task_state(task) == BNX_TASK_PARKED) { /* ends: it has been sent something */
        (void)driver->ops->poll(driver);
    }
}

static int close_within_handshake(void *arg) {
    (void)arg;
    const struct bnx_spawn_options options = {.stack = BNX_STACK_64K};
    struct scene scene = {.result = 0};
    struct bnx_scope scope;
    struct bnx_task *task;
    char byte;
    CHECK_EQ(bnx_tls_client_create(NULL, &scene.client), 0);
    io_unix_pair(scene.own);
    open_stranger(&scene);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &options, shake, &scene, &task), 0);
    io_await_wait(task, BNX_WAIT_FD);
    io_round_trip(); /* the wait is the kernel's by now */
    CHECK_EQ(send(scene.own[1], "o", 1, 0), 1);
    collect_for(task);
    CHECK_EQ(recv(scene.own[0], &byte, 1, MSG_DONTWAIT), 1); /* so that it would wait again */
    replace(&scene);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(scene.result, -EBADF);
    bnx_tls_destroy(scene.client);
    end(&scene);
    return 0;
}

/* Claim: a handshake that is woken when its descriptor is being closed ends with -EBADF, and reads
 * nothing of the next one's. */
TEST(handshake, "tls.closed_beneath_a_handshake") {
    sched_run(1, close_within_handshake, NULL);
}

/* ---- A stream ---- */

static int close_between_calls(void *arg) {
    const struct bnx_stream_options *options = arg;
    struct parties parties;
    char byte = 0;
    parties_make_usual(&parties);
    parties.options = *options;
    meet(&parties);
    CHECK_EQ(parties.client_result, 0);
    struct scene scene = {.own = {parties.fds[0], parties.fds[1]}};
    open_stranger(&scene);
    struct bnx_stream *stream = parties.streams[0];
    CHECK_EQ(bnx_stream_write(stream, "unsent", 6), 6);
    replace(&scene);
    CHECK_EQ(bnx_stream_flush(stream), -EBADF);
    CHECK_EQ(bnx_stream_read(stream, &byte, 1), -EBADF);
    CHECK_EQ(bnx_stream_shutdown(stream), -EBADF);
    CHECK_EQ(bnx_stream_close(stream), -EBADF);
    (void)bnx_stream_close(parties.streams[1]); /* its peer is gone without a farewell */
    if (options->keep_open == 0) {
        scene.own[1] = dup(scene.own[0]); /* for the closing */
    }
    end(&scene);
    parties_free(&parties);
    return 0;
}

/* Claim: a stream whose descriptor another one has closed says so at each call, and ends without
 * sending a farewell to the file that has the number, or closing it. */
TEST(stream, "tls.closed_beneath_between_calls") {
    struct bnx_stream_options kept = {.keep_open = 1};
    struct bnx_stream_options taken_over = {0};
    files_make();
    sched_run_each(close_between_calls, &kept);
    sched_run_each(close_between_calls, &taken_over);
    files_remove();
}

static int close_alone(void *arg) {
    const struct bnx_stream_options *options = arg;
    struct parties parties;
    char byte;
    parties_make_usual(&parties);
    parties.options = *options;
    meet(&parties);
    CHECK_EQ(parties.client_result, 0);
    CHECK_EQ(bnx_stream_close(parties.streams[0]), 0);
    CHECK_EQ(bnx_stream_read(parties.streams[1], &byte, 1), 0);
    bool is_open = fcntl(parties.fds[0], F_GETFD) >= 0;
    CHECK_EQ(is_open, options->keep_open != 0);
    CHECK_EQ(bnx_stream_close(parties.streams[1]), 0);
    if (options->keep_open != 0) {
        io_close_pair(parties.fds);
    }
    parties_free(&parties);
    return 0;
}

/* Claim: where nobody has closed it the close says farewell and closes the descriptor, or leaves
 * it, as asked. */
TEST(farewell, "tls.close_says_farewell") {
    struct bnx_stream_options kept = {.keep_open = 1};
    struct bnx_stream_options taken_over = {0};
    files_make();
    sched_run_each(close_alone, &kept);
    sched_run_each(close_alone, &taken_over);
    files_remove();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
