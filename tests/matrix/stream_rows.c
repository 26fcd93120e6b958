/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: streams. */
#include "tests/matrix/matrix.h"

#include <bonxie/stream.h>

/* The stream has fds[1]; the other side is fds[0], as it comes from the kernel. */
static void open_stream(struct matrix_place *place) {
    struct bnx_stream_options options = {.write_bytes = 4};
    CHECK_EQ(bnx_stream_open(place->fds[1], &options, &place->stream), 0);
}

static void reader_prepare(struct matrix_place *place) {
    io_unix_pair(place->fds);
    open_stream(place);
}

/* Nothing can be sent, and four bytes are to be. */
static void writer_prepare(struct matrix_place *place) {
    io_unix_pair(place->fds);
    io_fill_up(place->fds[1]);
    open_stream(place);
    CHECK_EQ(bnx_stream_write(place->stream, "four", 4), 4);
}

static void close_peer(struct matrix_place *place) {
    CHECK_EQ(close(place->fds[0]), 0);
}

static void close_both(struct matrix_place *place) {
    (void)bnx_stream_close(place->stream); /* what is unsent has gone, or has room now */
    close_peer(place);
}

/* ---- Reading ---- */

static int64_t read_some(struct matrix_place *place) {
    return bnx_stream_read(place->stream, place->data, sizeof(place->data));
}

static int64_t read_exact(struct matrix_place *place) {
    return bnx_stream_read_exact(place->stream, place->data, 5);
}

static int64_t read_until(struct matrix_place *place) {
    const char *data = NULL;
    return bnx_stream_read_until(place->stream, "ur\n", 3, &data);
}

static int64_t read_line(struct matrix_place *place) {
    const char *line = NULL;
    size_t bytes = 0;
    return bnx_stream_read_line(place->stream, &line, &bytes);
}

static int64_t peek(struct matrix_place *place) {
    const void *data = NULL;
    return bnx_stream_peek(place->stream, 1, &data);
}

static int64_t copy(struct matrix_place *place) {
    return bnx_stream_copy(place->stream, place->stream, 5);
}

static void write_line(struct matrix_place *place) {
    CHECK_EQ(bnx_os.write(place->fds[0], "four\n", 5), 5);
}

/* ---- Writing ---- */

static void drain(struct matrix_place *place) {
    ssize_t got;
    char data[4096];
    do { /* ends: nobody writes that fast */
        got = bnx_os.recv(place->fds[0], data, sizeof(data), MSG_DONTWAIT);
    } while (got > 0);
}

static int64_t write_some(struct matrix_place *place) {
    return bnx_stream_write(place->stream, "more", 4);
}

static int64_t write_pieces(struct matrix_place *place) {
    struct iovec pieces[] = {{(void *)(uintptr_t) "mo", 2}, {(void *)(uintptr_t) "re", 2}};
    return bnx_stream_write_pieces(place->stream, pieces, 2);
}

static int64_t flush(struct matrix_place *place) {
    return bnx_stream_flush(place->stream);
}

static int64_t half_close(struct matrix_place *place) {
    return bnx_stream_shutdown(place->stream);
}

static int64_t close_stream(struct matrix_place *place) {
    return bnx_stream_close(place->stream);
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_stream_read", "nothing there", reader_prepare, NULL, read_some, write_line, close_both,
     MATRIX_REFUSED_TASK(5), 0},
    {"bnx_stream_read_exact", "nothing there", reader_prepare, NULL, read_exact, write_line,
     close_both, MATRIX_REFUSED_TASK(5), 0},
    {"bnx_stream_read_until", "nothing there", reader_prepare, NULL, read_until, write_line,
     close_both, MATRIX_REFUSED_TASK(5), 0},
    {"bnx_stream_read_line", "nothing there", reader_prepare, NULL, read_line, write_line,
     close_both, MATRIX_REFUSED_TASK(1), 0},
    {"bnx_stream_peek", "nothing there", reader_prepare, NULL, peek, write_line, close_both,
     MATRIX_REFUSED_TASK(5), 0},
    {"bnx_stream_copy", "nothing there", reader_prepare, NULL, copy, write_line, close_both,
     MATRIX_REFUSED_TASK(5), 0},
    {"bnx_stream_write", "no room", writer_prepare, NULL, write_some, drain, close_both,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_stream_write_pieces", "no room", writer_prepare, NULL, write_pieces, drain, close_both,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_stream_flush", "no room", writer_prepare, NULL, flush, drain, close_both,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_stream_shutdown", "no room", writer_prepare, NULL, half_close, drain, close_both,
     MATRIX_REFUSED_TASK(0), 0},
    {"bnx_stream_close", "no room", writer_prepare, NULL, close_stream, drain, close_peer,
     MATRIX_REFUSED_TASK(0), 0},
};
/* clang-format on */

const struct matrix_part matrix_stream = {rows, BNX_ARRAY_COUNT(rows)};
