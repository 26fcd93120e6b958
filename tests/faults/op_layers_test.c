/* SPDX-License-Identifier: MIT */
/*
 * Tests what stands on the operations when they end short or with an error: a service, dialling,
 * streams, copies, files by their names, a process.
 *
 * Method: all of them are one scene. With short transfers everything must be as without. With an
 * error in the k-th operation of a kind, for k = 1, 2, 3 and so on, the scene's first error must be
 * that one, or none: then somebody has coped. After it the same runtime plays the scene without a
 * fault, and in the end no descriptor is left.
 */
#include "tests/faults/op_faults.h"
#include "tests/io/temp.h"

#include <bonxie/dial.h>
#include <bonxie/dir.h>
#include <bonxie/path.h>
#include <bonxie/process.h>
#include <bonxie/serve.h>
#include <bonxie/stream.h>

#define CLIENTS 3
#define LINES 6
#define BLOCK_BYTES 600

struct scene {
    struct bnx_scope scope;
    struct temp temp;
    int64_t first_error;
    struct bnx_task *service;
    struct bnx_event is_listening;
    char address[BNX_ADDRESS_TEXT_BYTES];
    uint64_t clients_left;
    char block[BLOCK_BYTES]; /* what is moved about */
    int pair[2];
    int pipe[2];
};

/* Whether a call has succeeded. The first error of a scene ends it: the others are cancelled. */
static bool is_good(struct scene *scene, ssize_t result) {
    int64_t none = 0;
    if (result < 0 && bnx_cas_acq_rel(&scene->first_error, &none, (int64_t)result)) {
        bnx_scope_cancel(&scene->scope, 0);
    }
    return result >= 0;
}

/* The scene has lost something, although no call has failed. */
static void check_same(struct scene *scene, const void *got, const void *sent, size_t bytes) {
    if (bnx_load_acquire(&scene->first_error) == 0) {
        CHECK(memcmp(got, sent, bytes) == 0);
    }
}

/* What a call must have returned, unless the scene is over. */
static bool is_all(struct scene *scene, ssize_t result, size_t bytes) {
    bool good = is_good(scene, result);
    if (good && bnx_load_acquire(&scene->first_error) == 0) {
        CHECK_EQ(result, bytes);
    }
    return good && (size_t)result == bytes;
}

/* ---- A service and its clients ---- */

static int told_listening(const int *listeners, size_t count, void *arg) {
    struct scene *scene = arg;
    struct bnx_address local;
    CHECK_EQ(count, 1);
    CHECK_EQ(bnx_address_local(listeners[0], &local), 0);
    CHECK(bnx_address_format(&local, scene->address, sizeof(scene->address)) > 0);
    bnx_event_set(&scene->is_listening);
    return 0;
}

static int echo(int fd, void *arg) {
    struct scene *scene = arg;
    struct bnx_stream_options options = {.keep_open = 1, .write_bytes = 8}; /* pieces at once */
    struct bnx_stream *stream;
    const char *line;
    size_t bytes;
    CHECK_EQ(bnx_stream_open(fd, &options, &stream), 0);
    while (is_good(scene, 0)) { /* ends with the stream, or an error */
        int got = bnx_stream_read_line(stream, &line, &bytes);
        if (!is_good(scene, got) || got == 0) {
            break;
        }
        struct iovec pieces[] = {{(void *)(uintptr_t)line, bytes}, {(void *)(uintptr_t) "\n", 1}};
        if (!is_all(scene, bnx_stream_write_pieces(stream, pieces, 2), bytes + 1) ||
            !is_good(scene, bnx_stream_flush(stream))) {
            break;
        }
    }
    (void)is_good(scene, bnx_stream_close(stream));
    return 0;
}

static int serve(void *arg) {
    struct scene *scene = arg;
    struct bnx_serve_options options = {.on_listening = told_listening,
                                        .on_listening_arg = scene,
                                        .connections_max = CLIENTS - 1,
                                        .drain_ns = 100 * BNX_NS_PER_MS};
    int error = bnx_serve(NULL, "127.0.0.1:0", echo, scene, &options);
    if (error != -ECANCELED) {
        (void)is_good(scene, error);
    }
    return 0;
}

static void talk(struct scene *scene, struct bnx_stream *stream) {
    const char *line;
    size_t bytes;
    for (int i = 0; i < LINES; i++) {
        char text[64];
        int length = snprintf(text, sizeof(text), "line %d, and its end\r\n", i);
        if (!is_all(scene, bnx_stream_write(stream, text, (size_t)length), (size_t)length) ||
            !is_good(scene, bnx_stream_flush(stream)) ||
            !is_all(scene, bnx_stream_read_line(stream, &line, &bytes), 1)) {
            return;
        }
        check_same(scene, line, text, (size_t)length - 2);
    }
    if (is_good(scene, bnx_stream_shutdown(stream))) {
        (void)is_all(scene, bnx_stream_read_line(stream, &line, &bytes), 0);
    }
}

static int be_client(void *arg) {
    struct scene *scene = arg;
    struct bnx_stream *stream;
    if (is_good(scene, bnx_event_wait(&scene->is_listening))) {
        int fd = bnx_dial(scene->address, NULL);
        if (is_good(scene, fd)) {
            CHECK_EQ(bnx_stream_open(fd, NULL, &stream), 0);
            talk(scene, stream);
            (void)is_good(scene, bnx_stream_close(stream));
        }
    }
    if (bnx_fetch_sub_acq_rel(&scene->clients_left, 1) == 1) {
        bnx_cancel(scene->service, 0);
    }
    return 0;
}

/* ---- A block through a pair and a pipe ---- */

static int send_block(void *arg) {
    struct scene *scene = arg;
    (void)is_all(scene, bnx_send_all(scene->pair[1], scene->block, BLOCK_BYTES), BLOCK_BYTES);
    CHECK_EQ(bnx_shutdown(scene->pair[1], SHUT_WR), 0);
    return 0;
}

static int pass_block(void *arg) {
    struct scene *scene = arg;
    struct bnx_stream_options options = {.keep_open = 1, .no_splice = 1};
    struct bnx_stream *from, *to;
    CHECK_EQ(bnx_stream_open(scene->pair[0], &options, &from), 0);
    CHECK_EQ(bnx_stream_open(scene->pipe[1], &options, &to), 0);
    ssize_t moved;
    while (is_good(scene, moved = bnx_stream_copy(from, to, SIZE_MAX)) && moved > 0) { /* ends: so
        does the block */
    }
    (void)is_good(scene, bnx_stream_close(to));
    (void)is_good(scene, bnx_stream_close(from));
    return 0;
}

static int receive_block(void *arg) {
    struct scene *scene = arg;
    struct bnx_stream_options options = {.keep_open = 1};
    struct bnx_stream *stream;
    char got[BLOCK_BYTES];
    CHECK_EQ(bnx_stream_open(scene->pipe[0], &options, &stream), 0);
    if (is_all(scene, bnx_stream_read_exact(stream, got, BLOCK_BYTES), BLOCK_BYTES)) {
        check_same(scene, got, scene->block, BLOCK_BYTES);
    }
    (void)is_good(scene, bnx_stream_close(stream));
    return 0;
}

/* ---- Files ---- */

/* Writes the block in two pieces, copies what the kernel cannot, and reads the block again. */
static void use_file(struct scene *scene, const char *path) {
    struct iovec pieces[] = {{scene->block, 100}, {scene->block + 100, BLOCK_BYTES - 100}};
    struct bnx_stream_options options = {.write_bytes = 64};
    struct bnx_stream *stream;
    struct statx status;
    char got[BLOCK_BYTES];
    int fd = bnx_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (!is_good(scene, fd)) {
        return;
    }
    CHECK_EQ(bnx_stream_open(fd, &options, &stream), 0);
    if (is_good(scene, bnx_fallocate(fd, 0, 0, BLOCK_BYTES)) &&
        is_all(scene, bnx_stream_write_pieces(stream, pieces, 2), BLOCK_BYTES) &&
        is_good(scene, bnx_stream_flush(stream)) && is_good(scene, bnx_fsync(fd)) &&
        is_good(scene, bnx_fstat(fd, &status))) {
        CHECK_EQ(status.stx_size, BLOCK_BYTES);
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        if (is_all(scene, bnx_stream_read_exact(stream, got, BLOCK_BYTES), BLOCK_BYTES)) {
            check_same(scene, got, scene->block, BLOCK_BYTES);
        }
    }
    (void)is_good(scene, bnx_stream_close(stream));
}

/* A file of /proc has no length: it goes through a buffer. */
static void copy_file(struct scene *scene, const char *path) {
    char expected[256], got[256];
    int from = bnx_open("/proc/version", O_RDONLY | O_CLOEXEC, 0);
    int to = is_good(scene, from) ? bnx_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : from;
    if (is_good(scene, to)) {
        int64_t done = 0, moved;
        while (is_good(scene, moved = bnx_copy_file(from, NULL, to, NULL, UINT64_MAX)) &&
               moved > 0) { /* ends: with the file */
            done += moved;
        }
        ssize_t bytes = pread(from, expected, sizeof(expected), 0);
        if (bnx_load_acquire(&scene->first_error) == 0) {
            CHECK(bytes > 0 && done >= bytes);
            CHECK_EQ(pread(to, got, sizeof(got), 0), bytes);
            CHECK(memcmp(got, expected, (size_t)bytes) == 0);
        }
        CHECK_EQ(bnx_close(to), 0);
    }
    CHECK_EQ(from < 0 ? 0 : bnx_close(from), 0);
}

static int use_files(void *arg) {
    struct scene *scene = arg;
    struct temp_name inside = temp_name(&scene->temp, "directory");
    struct temp_name file = temp_name(&scene->temp, "directory/file");
    struct temp_name other = temp_name(&scene->temp, "directory/other");
    struct temp_name link = temp_name(&scene->temp, "link");
    if (is_good(scene, bnx_mkdir(inside.text, 0700))) {
        use_file(scene, file.text);
        copy_file(scene, other.text);
        if (is_good(scene, bnx_link(file.text, link.text)) &&
            is_good(scene, bnx_unlink(link.text)) &&
            is_good(scene, bnx_symlink(file.text, link.text)) &&
            is_good(scene, bnx_rename(file.text, other.text))) {
            (void)is_good(scene, bnx_unlink(other.text));
        }
    }
    return 0;
}

/* ---- A process ---- */

static void talk_to_process(struct scene *scene, struct bnx_process *process) {
    int in = bnx_process_take_pipe(process, STDIN_FILENO);
    int out = bnx_process_take_pipe(process, STDOUT_FILENO);
    char got[BLOCK_BYTES];
    struct bnx_stream *to, *from;
    CHECK_EQ(bnx_stream_open(in, NULL, &to), 0);
    CHECK_EQ(bnx_stream_open(out, NULL, &from), 0);
    bool is_sent = is_all(scene, bnx_stream_write(to, scene->block, BLOCK_BYTES), BLOCK_BYTES);
    if (is_good(scene, bnx_stream_close(to)) && is_sent &&
        is_all(scene, bnx_stream_read_exact(from, got, BLOCK_BYTES), BLOCK_BYTES)) {
        check_same(scene, got, scene->block, BLOCK_BYTES);
        (void)is_all(scene, bnx_process_wait(process), 0);
    }
    (void)is_good(scene, bnx_stream_close(from));
}

static int use_process(void *arg) {
    struct scene *scene = arg;
    char *const argv[] = {(char *)(uintptr_t) "cat", NULL};
    struct bnx_process_options options = {
        .argv = argv, .input = {.kind = BNX_STDIO_PIPE}, .output = {.kind = BNX_STDIO_PIPE}};
    struct bnx_process *process;
    struct bnx_scope scope;
    if (is_good(scene, bnx_scope_open(&scope, NULL))) {
        if (is_good(scene, bnx_process_spawn(&scope, &options, &process))) {
            talk_to_process(scene, process);
        }
        (void)bnx_scope_close(&scope); /* a cancel's error, or none */
    }
    return 0;
}

/* ---- The scene ---- */

static int play(void *arg) {
    static const bnx_task_fn roles[] = {send_block, pass_block,  receive_block,
                                        use_files,  use_process, be_client};
    struct scene scene;
    struct bnx_rng rng;
    (void)arg;
    memset(&scene, 0, sizeof(scene));
    bnx_rng_init(&rng, 1, 0);
    io_fill(scene.block, BLOCK_BYTES, &rng);
    temp_open(&scene.temp);
    io_unix_pair(scene.pair);
    io_pipe(scene.pipe);
    bnx_event_init(&scene.is_listening);
    scene.clients_left = CLIENTS;
    CHECK_EQ(bnx_scope_open(&scene.scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scene.scope, NULL, serve, &scene, &scene.service), 0);
    for (size_t i = 0; i + 1 < BNX_ARRAY_COUNT(roles) + CLIENTS; i++) {
        size_t role = i < BNX_ARRAY_COUNT(roles) ? i : BNX_ARRAY_COUNT(roles) - 1;
        (void)is_good(&scene, bnx_spawn(&scene.scope, roles[role], &scene));
    }
    (void)bnx_scope_close(&scene.scope); /* a cancel's error, or none */
    io_close_pair(scene.pair);
    io_close_pair(scene.pipe);
    temp_close(&scene.temp);
    return (int)scene.first_error;
}

/* Every transfer ends after one byte, or after half of it, done at once or by an operation: nothing
 * is lost or done twice. */
TEST(layers_short, "faults.layers_finish_short_ops") {
    op_faults_install();
    int fds = io_fd_count();
    for (uint32_t i = 0; i < bnx_test_scale(SCHED_WORKER_COUNTS); i++) {
        for (int part = OP_FAULTS_WHOLE; part <= OP_FAULTS_HALF; part++) {
            struct bnx_runtime *runtime =
                op_faults_create(sched_worker_counts[(i + 1) % SCHED_WORKER_COUNTS], 1);
            for (unsigned kind = 0; kind < BNX_OP_OPEN; kind++) {
                op_faults_short(kind, (enum op_faults_part)part);
            }
            for (int round = 0; round < 2; round++) {
                op_faults_no_inline(round == 1);
                CHECK_EQ(bnx_runtime_run(runtime, play, NULL), 0);
            }
            op_faults_destroy(runtime);
        }
    }
    CHECK_EQ(io_fd_count(), fds);
}

/* ---- The k-th operation fails ---- */

#define KTH_MAX 15 /* the first ones of a kind differ, later ones repeat */

static const struct {
    unsigned kind;
    int error;
} failures[] = {
    {BNX_OP_READ, EIO},        {BNX_OP_WRITE, ENOSPC},    {BNX_OP_WRITEV, EDQUOT},
    {BNX_OP_RECV, ECONNRESET}, {BNX_OP_SEND, EPIPE},      {BNX_OP_SENDMSG, ETIMEDOUT},
    {BNX_OP_ACCEPT, ENOBUFS},  {BNX_OP_CONNECT, ENOBUFS}, {BNX_OP_POLL, ENOMEM},
    {BNX_OP_OPEN, ENFILE},     {BNX_OP_FSYNC, EIO},       {BNX_OP_FALLOCATE, ENOSPC},
    {BNX_OP_STATX, EACCES},    {BNX_OP_RENAME, EXDEV},    {BNX_OP_UNLINK, EBUSY},
    {BNX_OP_MKDIR, EMLINK},    {BNX_OP_LINK, EPERM},      {BNX_OP_SYMLINK, EROFS},
};

/* Returns whether there was a k-th operation. */
static bool play_with(struct bnx_runtime *runtime, size_t failure, uint64_t kth) {
    op_faults_fail(failures[failure].kind, -failures[failure].error, kth);
    int error = bnx_runtime_run(runtime, play, NULL);
    bool has_failed = op_faults_has_failed();
    op_faults_clear();
    if (error != 0 && (!has_failed || error != -failures[failure].error)) {
        bnx_test_fail(__FILE__, __LINE__, "operation %llu of kind %u: the scene's error is %d",
                      (unsigned long long)kth, failures[failure].kind, error);
    }
    CHECK_EQ(bnx_runtime_run(runtime, play, NULL), 0);
    return has_failed;
}

/* Each operation of each kind fails once, at its first, its second, and so on. */
TEST(layers_fail, "faults.each_op_in_turn") {
    op_faults_install();
    int fds = io_fd_count();
    for (size_t i = 0; i < BNX_ARRAY_COUNT(failures); i++) {
        struct bnx_runtime *runtime =
            op_faults_create(sched_worker_counts[i % SCHED_WORKER_COUNTS], 1);
        uint64_t kth = 1;
        while (kth <= bnx_test_scale(KTH_MAX) && play_with(runtime, i, kth)) {
            kth++;
        }
        printf("kind %u: %llu\n", failures[i].kind, (unsigned long long)kth - 1);
        CHECK(kth > 1);
        op_faults_destroy(runtime);
        CHECK_EQ(io_fd_count(), fds);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
