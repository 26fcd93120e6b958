/* SPDX-License-Identifier: MIT */
/* As tests/unit/everywhere_test.c, with streams: what a cancel leaves undone is done afterwards,
 * and then each byte has arrived once. */
#include "tests/support/everywhere.h"

#include "tests/io/memory_transport.h"

#define BYTES 2400

/* A writer, a relay and a reader, which keep what they have done when they are cancelled. */
struct line {
    int first[2];  /* from the writer to the relay; non-blocking, so that it is spliced */
    int second[2]; /* from the relay to the reader */
    struct bnx_stream *writer;
    struct bnx_stream *from;
    struct bnx_stream *to;
    struct bnx_stream *reader;
    size_t written;
    size_t relayed;
    size_t read;
    bool is_passed_on; /* the end, by the relay */
};

static char byte_at(size_t at) {
    return at % 61 == 60 ? '\n' : (char)('a' + at % 23);
}

static int write_all(void *arg) {
    struct line *line = arg;
    while (line->written < BYTES) {
        char data[250];
        size_t bytes = BYTES - line->written < sizeof(data) ? BYTES - line->written : sizeof(data);
        for (size_t i = 0; i < bytes; i++) {
            data[i] = byte_at(line->written + i);
        }
        ssize_t wrote = bnx_stream_write(line->writer, data, bytes);
        if (wrote < 0) {
            return (int)wrote;
        }
        line->written += (size_t)wrote;
    }
    return bnx_stream_shutdown(line->writer);
}

static int relay_all(void *arg) {
    struct line *line = arg;
    ssize_t moved = 0;
    while (!line->is_passed_on && (moved = bnx_stream_copy(line->from, line->to, 1000)) > 0) {
        line->relayed += (size_t)moved;
    }
    int error = moved < 0 ? (int)moved : bnx_stream_shutdown(line->to);
    line->is_passed_on = error == 0;
    return error;
}

static void check_bytes(struct line *line, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        CHECK_EQ(data[i], byte_at(line->read + i));
    }
    line->read += bytes;
}

static int read_all(struct line *line) {
    const char *data = NULL;
    char copy[100];
    for (;;) { /* ends: at the end of the stream, or cancelled */
        ssize_t got = bnx_stream_read_until(line->reader, "\n", 1, &data);
        if (got > 0) {
            check_bytes(line, data, (size_t)got);
            got = bnx_stream_read_exact(line->reader, copy, sizeof(copy));
            check_bytes(line, copy, got > 0 ? (size_t)got : 0);
        }
        if (got <= 0) {
            return (int)got;
        }
    }
}

static void open_line(struct line *line) {
    struct bnx_stream_options small = {.read_bytes = 600, .write_bytes = 300};
    memset(line, 0, sizeof(*line));
    io_unix_pair(line->first);
    io_unix_pair(line->second);
    CHECK_EQ(fcntl(line->first[1], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    CHECK_EQ(fcntl(line->second[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    CHECK_EQ(bnx_stream_open(line->first[0], &small, &line->writer), 0);
    CHECK_EQ(bnx_stream_open(line->first[1], &small, &line->from), 0);
    CHECK_EQ(bnx_stream_open(line->second[0], &small, &line->to), 0);
    CHECK_EQ(bnx_stream_open(line->second[1], &small, &line->reader), 0);
}

/* Does the rest, one after the other: the sockets have room for it. */
static void finish(struct line *line) {
    struct bnx_scope shield;
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = 3600 * BNX_NS_PER_S};
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    CHECK_EQ(write_all(line), 0);
    CHECK_EQ(relay_all(line), 0);
    CHECK_EQ(read_all(line), 0);
    CHECK_EQ(line->relayed, BYTES);
    CHECK_EQ(line->read, BYTES);
    CHECK_EQ(bnx_scope_close(&shield), 0);
}

static int use_streams(void *arg) {
    (void)arg;
    struct line line;
    struct bnx_scope scope;
    int ends = memory_ends();
    open_line(&line);
    int error = bnx_scope_open(&scope, NULL);
    CHECK_EQ(error, 0);
    error = bnx_spawn(&scope, write_all, &line);
    if (error == 0) {
        error = bnx_spawn(&scope, relay_all, &line);
    }
    if (error == 0) {
        error = read_all(&line);
    }
    int closed = bnx_scope_close(&scope);
    finish(&line);
    (void)bnx_stream_close(line.writer); /* nothing is unsent: a cancel takes nothing away */
    (void)bnx_stream_close(line.from);
    (void)bnx_stream_close(line.to);
    (void)bnx_stream_close(line.reader);
    CHECK_EQ(memory_ends(), ends);
    return error != 0 ? error : closed;
}

TEST(everywhere_streams, "cancel.at_every_suspension_streams") {
    everywhere(use_streams);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
