/* SPDX-License-Identifier: MIT */
/* Tests the writing side of streams: order, back-pressure, errors, half-close, close. */
#include "tests/io/memory_transport.h"

#define OUTPUT_BYTES 60000

/* ---- Any calls, any acceptance ---- */

struct writing {
    struct bnx_rng *rng;
    struct memory *memory;
    struct bnx_stream_options options;
    const struct bnx_transport_ops *ops;
    char *written; /* what the calls said that they took */
    size_t bytes;
    size_t at; /* of the pattern: what the next call writes */
    uint64_t errors;
    bool is_due; /* a call ended early: the next one says why */
};

static char pattern[OUTPUT_BYTES];

/* Up to 20 pieces, some empty, of the pattern's next bytes. Returns their sum. */
static size_t cut_pieces(struct writing *writing, struct iovec *pieces, int count) {
    size_t at = writing->at;
    for (int i = 0; i < count; i++) {
        uint32_t most = bnx_rng_below(writing->rng, 8) == 0 ? 3000 : 60;
        size_t bytes = bnx_rng_below(writing->rng, most);
        bytes = bytes < sizeof(pattern) - at ? bytes : sizeof(pattern) - at;
        pieces[i] = (struct iovec){pattern + at, bytes};
        at += bytes;
    }
    return at - writing->at;
}

static void count_error(struct writing *writing, ssize_t error) {
    CHECK_EQ(error, -ENOBUFS);
    writing->errors++;
    writing->is_due = false;
}

static void write_once(struct writing *writing, struct bnx_stream *stream) {
    struct iovec pieces[20];
    int count = (int)bnx_rng_below(writing->rng, 21);
    size_t bytes = cut_pieces(writing, pieces, count);
    ssize_t wrote = count == 1 ? bnx_stream_write(stream, pieces[0].iov_base, pieces[0].iov_len)
                               : bnx_stream_write_pieces(stream, pieces, count);
    CHECK(bnx_stream_unsent(stream) <= writing->options.write_bytes);
    if (wrote < 0) {
        count_error(writing, wrote);
        return;
    }
    CHECK(!writing->is_due && (size_t)wrote <= bytes);
    writing->at += (size_t)wrote;
    writing->is_due = (size_t)wrote < bytes;
    CHECK_EQ(writing->memory->output_bytes + bnx_stream_unsent(stream), writing->at);
}

static void flush_once(struct writing *writing, struct bnx_stream *stream) {
    int error = bnx_stream_flush(stream);
    if (error != 0) {
        count_error(writing, error);
    } else {
        CHECK_EQ(bnx_stream_unsent(stream), 0);
        CHECK_EQ(writing->memory->output_bytes, writing->at);
    }
}

static int write_it_all(void *arg) {
    struct writing *writing = arg;
    struct bnx_stream *stream = NULL;
    CHECK_EQ(bnx_stream_open_on(writing->ops, writing->memory, &writing->options, &stream), 0);
    while (writing->at < sizeof(pattern) || bnx_stream_unsent(stream) > 0 || writing->is_due) {
        if (writing->at == sizeof(pattern) || bnx_rng_below(writing->rng, 6) == 0) {
            flush_once(writing, stream);
        } else {
            write_once(writing, stream);
        }
    }
    return bnx_stream_close(stream);
}

static void write_each_way(struct bnx_rng *rng, uint64_t fail_every) {
    static char output[OUTPUT_BYTES];
    struct memory memory = {.output = output, .output_room = sizeof(output)};
    memory.fail_every = fail_every;
    memory.error = -ENOBUFS;
    memory_shuffle(&memory, rng);
    struct writing writing = {.rng = rng, .memory = &memory};
    writing.options.write_bytes = 1 + bnx_rng_below(rng, bnx_rng_below(rng, 2) != 0 ? 50 : 9000);
    writing.ops = bnx_rng_below(rng, 3) != 0 ? &memory_ops : &memory_least_ops;
    memset(output, 0, sizeof(output));
    io_fill(pattern, sizeof(pattern), rng);
    sched_run(1, write_it_all, &writing);
    CHECK_EQ(memory.output_bytes, sizeof(pattern));
    CHECK(memcmp(output, pattern, sizeof(pattern)) == 0);
    CHECK_EQ(writing.errors, fail_every != 0 ? memory.writes / fail_every : 0);
}

/* What was written arrives in order, in whatever pieces it is given and taken; never is more unsent
 * than the high-water mark allows. */
TEST(stream_order, "stream.writes_in_order") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    for (uint64_t round = bnx_test_scale(300); round > 0; round--) {
        write_each_way(&rng, 0);
    }
}

/* The same when each so many-th write of the transport fails: each error is returned once, and the
 * counts say what has to be written again. */
TEST(stream_write_errors, "stream.write_errors_lose_nothing") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    for (uint64_t round = bnx_test_scale(300); round > 0; round--) {
        write_each_way(&rng, 2 + bnx_rng_below(&rng, 9));
    }
}

static void *(*real_allocate)(size_t bytes, size_t alignment);
static bool is_empty; /* memory */

static void *allocate_or_not(size_t bytes, size_t alignment) {
    return alignment == 1 && is_empty ? NULL : real_allocate(bytes, alignment);
}

static int write_without_memory(void *arg) {
    struct memory *memory = arg;
    struct bnx_stream *stream = memory_open(memory, NULL);
    is_empty = true;
    CHECK_EQ(bnx_stream_write(stream, "four", 4), -ENOMEM);
    is_empty = false;
    CHECK_EQ(bnx_stream_write(stream, "four", 4), 4);
    is_empty = true;
    CHECK_EQ(bnx_stream_write(stream, pattern, 8192), -ENOMEM); /* the buffer would have to grow */
    CHECK_EQ(bnx_stream_unsent(stream), 4);
    is_empty = false;
    return bnx_stream_close(stream);
}

/* Without memory nothing is written, and what was before is not lost. */
TEST(stream_write_memory, "stream.write_without_memory") {
    char output[64];
    struct memory memory = {.output = output, .output_room = sizeof(output)};
    struct bnx_os real = bnx_os;
    real_allocate = real.allocate;
    bnx_os.allocate = allocate_or_not;
    sched_run(1, write_without_memory, &memory);
    bnx_os = real;
    CHECK_EQ(memory.output_bytes, 4);
    CHECK(memcmp(output, "four", 4) == 0);
}

/* ---- Back-pressure ---- */

#define MARK 10000

static int write_much(void *arg) {
    struct bnx_stream *stream = arg;
    char data[1000] = {0};
    for (int i = 0; i < 3000; i++) {
        CHECK_EQ(bnx_stream_write(stream, data, sizeof(data)), sizeof(data));
        CHECK(bnx_stream_unsent(stream) <= MARK);
    }
    return bnx_stream_close(stream);
}

static int hold_back(void *arg) {
    (void)arg;
    int fds[2];
    struct bnx_scope scope;
    struct bnx_stream *stream = NULL;
    struct bnx_stream_options options = {.write_bytes = MARK};
    struct bnx_task *writer = NULL;
    char data[4096];
    size_t got = 0;
    ssize_t bytes;
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], &options, &stream), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, write_much, stream, &writer), 0);
    io_await_wait(writer, BNX_WAIT_SEND); /* it would be done otherwise */
    while ((bytes = bnx_recv(fds[1], data, sizeof(data), 0)) > 0) {
        got += (size_t)bytes;
    }
    CHECK_EQ(bytes, 0);
    CHECK_EQ(got, 3000 * 1000);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return bnx_close(fds[1]);
}

/* Who writes more than a peer reads waits, with the buffer full and no fuller. */
TEST(stream_mark, "stream.high_water_holds_back") {
    sched_run_each(hold_back, NULL);
}

/* ---- Ends ---- */

static int half_close(void *arg) {
    (void)arg;
    int fds[2];
    struct bnx_stream *stream = NULL;
    char data[64];
    const char *line = NULL;
    size_t bytes = 0;
    io_tcp_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_write(stream, "request", 7), 7);
    CHECK_EQ(bnx_stream_unsent(stream), 7);
    CHECK_EQ(bnx_stream_shutdown(stream), 0);
    CHECK_EQ(bnx_recv_exact(fds[1], data, sizeof(data)), 7); /* and the end */
    CHECK_EQ(bnx_stream_shutdown(stream), 0);
    CHECK_EQ(bnx_stream_write(stream, "x", 1), -EPIPE);
    CHECK_EQ(bnx_stream_copy(stream, stream, 1), -EPIPE);
    CHECK_EQ(bnx_send_all(fds[1], "reply", 5), 5);
    CHECK_EQ(bnx_close(fds[1]), 0);
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), 1);
    CHECK_STR(line, "reply");
    CHECK_EQ(bnx_stream_close(stream), 0);

    io_pipe(fds);
    CHECK_EQ(bnx_stream_open(fds[1], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_write(stream, "four", 4), 4);
    CHECK_EQ(bnx_stream_shutdown(stream), -EOPNOTSUPP);
    CHECK_EQ(bnx_read(fds[0], data, sizeof(data)), 4); /* flushed all the same */
    CHECK_EQ(bnx_stream_close(stream), 0);
    CHECK_EQ(bnx_read(fds[0], data, sizeof(data)), 0);
    return bnx_close(fds[0]);
}

/* A shutdown sends what is unsent first, ends the writing and leaves the reading. */
TEST(stream_half_close, "stream.half_close") {
    sched_run_each(half_close, NULL);
}

static int close_cancelled(void *arg) {
    int *fds = arg;
    struct bnx_scope scope;
    struct bnx_stream *stream = NULL;
    char byte = 'x';
    io_fill_up(fds[0]);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_write(stream, &byte, 1), 1);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_stream_write(stream, &byte, 1), -ECANCELED);
    CHECK_EQ(bnx_stream_flush(stream), -ECANCELED);
    CHECK_EQ(bnx_stream_read(stream, &byte, 1), -ECANCELED);
    CHECK_EQ(bnx_stream_close(stream), -ECANCELED);
    CHECK_EQ(fcntl(fds[0], F_GETFD), -1);
    (void)bnx_scope_close(&scope);
    return 0;
}

static int close_each_way(void *arg) {
    (void)arg;
    int fds[2];
    struct bnx_stream *stream = NULL;
    char data[64];
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_write(stream, "last words", 10), 10);
    CHECK_EQ(bnx_stream_close(stream), 0);
    CHECK_EQ(bnx_recv_exact(fds[1], data, sizeof(data)), 10);
    CHECK_EQ(bnx_close(fds[1]), 0);

    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_write(stream, "last words", 10), 10);
    CHECK_EQ(bnx_close(fds[1]), 0);
    CHECK_EQ(bnx_stream_close(stream), -EPIPE);
    CHECK_EQ(fcntl(fds[0], F_GETFD), -1);

    io_unix_pair(fds);
    CHECK_EQ(close_cancelled(fds), 0);
    return bnx_close(fds[1]);
}

/* A close sends what is unsent; what it cannot send it drops, says why, and has closed. */
TEST(stream_close, "stream.close_flushes") {
    sched_run_each(close_each_way, NULL);
}

/* ---- Several writers ---- */

#define WRITERS 5
#define MESSAGES 400

struct choir {
    struct bnx_stream *stream;
    uint32_t next; /* a writer's number */
};

static int write_messages(void *arg) {
    struct choir *choir = arg;
    uint32_t number = bnx_fetch_add_relaxed(&choir->next, 1);
    unsigned char message[300];
    memset(message, (int)number, sizeof(message));
    for (int i = 0; i < MESSAGES; i++) {
        struct iovec pieces[] = {{message, 100}, {message + 100, 200}};
        CHECK_EQ(bnx_stream_write_pieces(choir->stream, pieces, 2), sizeof(message));
        if (i % 5 == 0) {
            CHECK_EQ(bnx_stream_flush(choir->stream), 0);
        }
    }
    return 0;
}

static int check_messages(void *arg) {
    struct bnx_stream *stream = arg;
    unsigned char message[300];
    for (int i = 0; i < WRITERS * MESSAGES; i++) {
        CHECK_EQ(bnx_stream_read_exact(stream, message, sizeof(message)), sizeof(message));
        for (size_t j = 1; j < sizeof(message); j++) {
            CHECK_EQ(message[j], message[0]);
        }
    }
    return bnx_stream_close(stream);
}

static int run_writers(void *arg) {
    (void)arg;
    int fds[2];
    struct choir choir = {0};
    struct bnx_scope scope;
    struct bnx_scope readers;
    struct bnx_stream *reader = NULL;
    struct bnx_stream_options options = {.write_bytes = 1000};
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], &options, &choir.stream), 0);
    CHECK_EQ(bnx_stream_open(fds[1], NULL, &reader), 0);
    CHECK_EQ(bnx_scope_open(&readers, NULL), 0);
    CHECK_EQ(bnx_spawn(&readers, check_messages, reader), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < WRITERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, write_messages, &choir), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_stream_close(choir.stream), 0);
    return bnx_scope_close(&readers);
}

/* What several tasks write to one stream is never mixed. */
TEST(stream_writers, "stream.writers_take_turns") {
    sched_run_each(run_writers, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
