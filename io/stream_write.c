/* SPDX-License-Identifier: MIT */
/* The writing side of streams (bonxie/stream.h). */
#include "io/stream_pvt.h"

#include "runtime/check.h"

#include <limits.h>
#include <string.h>

#define PIECES_MAX 1024
#define BUFFER_BYTES_MIN 4096 /* a write buffer's first size */

/* What is left of the caller's pieces. */
struct cursor {
    const struct iovec *pieces;
    int count;
    size_t offset; /* in the first one */
};

/* How much may be unsent when a write returns. */
static size_t high_water(const struct bnx_stream *stream) {
    return BNX_PLANT(stream_ignores_high_water) ? SSIZE_MAX : stream->options.write_bytes;
}

static size_t unsent_in(const struct bnx_stream_writer *writer) {
    return writer->end - writer->begin;
}

/* Lists the bytes at the cursor. Returns how many parts they are. */
static int list(const struct cursor *cursor, struct iovec *out_parts, int count_max) {
    int count = 0;
    size_t offset = cursor->offset;
    for (int i = 0; i < cursor->count && count < count_max; i++) {
        const struct iovec *piece = &cursor->pieces[i];
        if (piece->iov_len > offset) {
            out_parts[count].iov_base = (char *)piece->iov_base + offset;
            out_parts[count++].iov_len = piece->iov_len - offset;
        }
        offset = 0;
    }
    return count;
}

static void advance(struct cursor *cursor, size_t bytes) {
    cursor->offset += bytes;
    while (cursor->count > 0 &&
           cursor->offset >= cursor->pieces->iov_len) { /* ends: fewer pieces */
        cursor->offset -= cursor->pieces->iov_len;
        cursor->pieces++;
        cursor->count--;
    }
}

/* ---- The buffer ---- */

static void drop(struct bnx_stream_writer *writer, size_t bytes) {
    writer->begin += bytes;
    if (writer->begin == writer->end) {
        bnx_os.release(writer->buffer);
        writer->buffer = NULL;
        writer->capacity = 0;
        writer->begin = 0;
        writer->end = 0;
    }
}

/* Room behind what is unsent; the high-water mark allows for it. */
static int make_room(struct bnx_stream *stream, size_t bytes) {
    struct bnx_stream_writer *writer = &stream->writer;
    size_t unsent = unsent_in(writer);
    size_t needed = unsent + bytes;
    if (bytes <= writer->capacity - writer->end) {
        return 0;
    }
    if (needed <= writer->capacity) {
        memmove(writer->buffer, writer->buffer + writer->begin, unsent);
    } else {
        size_t capacity = writer->capacity > 0 ? writer->capacity : BUFFER_BYTES_MIN;
        while (capacity < needed) { /* ends: it doubles */
            capacity *= 2;
        }
        size_t bytes_max = high_water(stream);
        capacity = capacity < bytes_max ? capacity : bytes_max;
        char *buffer = bnx_os.allocate(capacity, 1);
        if (buffer == NULL) {
            return -ENOMEM;
        }
        if (unsent > 0) {
            memcpy(buffer, writer->buffer + writer->begin, unsent);
        }
        bnx_os.release(writer->buffer);
        writer->buffer = buffer;
        writer->capacity = capacity;
    }
    writer->begin = 0;
    writer->end = unsent;
    return 0;
}

/* Copies so many bytes, for which the high-water mark allows, from the cursor. */
static int append(struct bnx_stream *stream, struct cursor *cursor, size_t bytes) {
    struct bnx_stream_writer *writer = &stream->writer;
    int error = make_room(stream, bytes);
    if (error != 0) {
        return error;
    }
    struct iovec part;
    while (bytes > 0 && list(cursor, &part, 1) > 0) { /* ends: one part fewer each round */
        size_t taken = part.iov_len < bytes ? part.iov_len : bytes;
        memcpy(writer->buffer + writer->end, part.iov_base, taken);
        writer->end += taken;
        bytes -= taken;
        advance(cursor, taken);
    }
    return 0;
}

ssize_t bnx_stream_hold(struct bnx_stream *stream, const struct iovec *piece) {
    struct cursor cursor = {piece, 1, 0};
    size_t room = high_water(stream) - unsent_in(&stream->writer);
    size_t bytes = piece->iov_len < room ? piece->iov_len : room;
    int error = append(stream, &cursor, bytes);
    return error != 0 ? error : (ssize_t)bytes;
}

/* ---- Sending ---- */

ssize_t bnx_stream_send(struct bnx_stream *stream, const struct iovec *pieces, int count) {
    struct bnx_stream_writer *writer = &stream->writer;
    struct iovec parts[BNX_STREAM_PIECES_MAX];
    int part_count = 0;
    size_t unsent = unsent_in(writer);
    if (unsent > 0) {
        parts[part_count].iov_base = writer->buffer + writer->begin;
        parts[part_count++].iov_len = unsent;
    }
    for (int i = 0; i < count && part_count < BNX_STREAM_PIECES_MAX; i++) {
        parts[part_count++] = pieces[i];
    }
    struct bnx_fd_steps steps;
    size_t offered = 0;
    ssize_t sent = bnx_stream_step_begin(stream, &steps);
    if (sent != 0) {
        return sent;
    }
    if (part_count > 1 && stream->ops->write_pieces != NULL) {
        for (int i = 0; i < part_count; i++) {
            offered += parts[i].iov_len;
        }
        sent = stream->ops->write_pieces(stream->transport, parts, part_count);
    } else {
        offered = parts[0].iov_len;
        sent = stream->ops->write(stream->transport, parts[0].iov_base, offered);
    }
    bnx_fd_steps_leave(&steps);
    if (sent <= 0) {
        return sent < 0 ? sent : -EIO; /* it neither took something nor said why */
    }
    BNX_CHECK((size_t)sent <= offered);
    size_t of_buffer = (size_t)sent < unsent ? (size_t)sent : unsent;
    if (of_buffer > 0) {
        drop(writer, BNX_PLANT(stream_drops_all_unsent) ? unsent : of_buffer);
    }
    return sent - (ssize_t)of_buffer;
}

int bnx_stream_send_unsent(struct bnx_stream *stream) {
    ssize_t error = 0;
    while (unsent_in(&stream->writer) > 0 && error >= 0) { /* ends: progress or an error */
        error = bnx_stream_send(stream, NULL, 0);
    }
    return error < 0 ? (int)error : 0;
}

/* Moves some of the bytes at the cursor on. Returns how many, 0: it has made room for them. */
static ssize_t write_some(struct bnx_stream *stream, struct cursor *cursor, size_t bytes) {
    struct iovec parts[BNX_STREAM_PIECES_MAX];
    size_t room = high_water(stream) - unsent_in(&stream->writer);
    bool must_buffer = stream->ops->repeats_writes != 0 && !BNX_PLANT(stream_repeats_nothing);
    if (bytes <= room || (must_buffer && room > 0)) {
        size_t taken = bytes < room ? bytes : room;
        int error = append(stream, cursor, taken);
        return error != 0 ? error : (ssize_t)taken;
    }
    if (must_buffer) {
        return bnx_stream_send_unsent(stream);
    }
    ssize_t sent = bnx_stream_send(stream, parts, list(cursor, parts, BNX_STREAM_PIECES_MAX));
    if (sent > 0) {
        advance(cursor, (size_t)sent);
    }
    return sent;
}

/* Returns the count, or -errno when none of the bytes was taken. */
static ssize_t write_all(struct bnx_stream *stream, struct cursor *cursor, size_t bytes) {
    size_t done = 0;
    while (done < bytes) { /* ends: progress or an error */
        ssize_t moved = write_some(stream, cursor, bytes - done);
        if (moved < 0) {
            return bnx_stream_partial(&stream->writer.error, done, moved);
        }
        done += (size_t)moved;
    }
    return (ssize_t)done;
}

/* ---- The calls ---- */

/* Begins a call that writes. */
static int enter(struct bnx_stream *stream) {
    struct bnx_stream_writer *writer = &stream->writer;
    int error = bnx_stream_enter(&writer->mutex);
    if (error == 0) {
        error = bnx_stream_take_error(&writer->error);
        if (error != 0) {
            bnx_stream_leave(&writer->mutex);
        }
    }
    return error;
}

ssize_t bnx_stream_write_pieces(struct bnx_stream *stream, const struct iovec *pieces, int count) {
    if (count < 0 || count > PIECES_MAX) {
        return -EINVAL;
    }
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > SSIZE_MAX - bytes) {
            return -EINVAL;
        }
        bytes += pieces[i].iov_len;
    }
    int error = enter(stream);
    if (error != 0) {
        return error;
    }
    struct cursor cursor = {pieces, count, 0};
    ssize_t wrote = stream->writer.is_shut ? -EPIPE : write_all(stream, &cursor, bytes);
    bnx_stream_leave(&stream->writer.mutex);
    return wrote;
}

ssize_t bnx_stream_write(struct bnx_stream *stream, const void *buffer, size_t bytes) {
    struct iovec piece = {(void *)(uintptr_t)buffer, bytes};
    return bnx_stream_write_pieces(stream, &piece, 1);
}

int bnx_stream_flush(struct bnx_stream *stream) {
    int error = enter(stream);
    if (error != 0) {
        return error;
    }
    error = bnx_stream_send_unsent(stream);
    bnx_stream_leave(&stream->writer.mutex);
    return error;
}

static int shut_down(struct bnx_stream *stream) {
    struct bnx_fd_steps steps;
    if (stream->ops->shutdown == NULL) {
        return -EOPNOTSUPP;
    }
    int error = bnx_stream_step_begin(stream, &steps);
    if (error == 0) {
        error = stream->ops->shutdown(stream->transport);
        bnx_fd_steps_leave(&steps);
    }
    return error;
}

int bnx_stream_shutdown(struct bnx_stream *stream) {
    struct bnx_stream_writer *writer = &stream->writer;
    int error = enter(stream);
    if (error != 0) {
        return error;
    }
    if (!writer->is_shut) {
        error = BNX_PLANT(stream_shuts_unsent) ? 0 : bnx_stream_send_unsent(stream);
        error = error != 0 ? error : shut_down(stream);
        writer->is_shut = error == 0;
    }
    bnx_stream_leave(&writer->mutex);
    return error;
}

size_t bnx_stream_unsent(const struct bnx_stream *stream) {
    return unsent_in(&stream->writer);
}
