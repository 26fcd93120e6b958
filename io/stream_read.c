/* SPDX-License-Identifier: MIT */
/* The reading side of streams (bonxie/stream.h). */
#include "io/stream_pvt.h"

#include <bonxie/net.h>

#include "runtime/check.h"

#include <limits.h>
#include <string.h>

#define DELIMITER_BYTES_MAX 256

/* ---- The buffer ---- */

/* Back to the few bytes in the stream; nothing is unread. */
static void give_back(struct bnx_stream_reader *reader) {
    if (reader->buffer != reader->first && !BNX_PLANT(stream_keeps_buffer)) {
        bnx_os.release(reader->buffer);
        reader->buffer = reader->first;
        reader->capacity = BNX_STREAM_FIRST_BYTES;
    }
    reader->begin = 0;
    reader->end = 0;
}

static int grow(struct bnx_stream_reader *reader, size_t capacity) {
    char *buffer = bnx_os.allocate(capacity + 1, 1);
    if (buffer == NULL) {
        return -ENOMEM;
    }
    size_t unread = bnx_stream_in_buffer(reader);
    memcpy(buffer, reader->buffer + reader->begin, unread);
    if (reader->buffer != reader->first) {
        bnx_os.release(reader->buffer);
    }
    reader->buffer = buffer;
    reader->capacity = capacity;
    reader->begin = 0;
    reader->end = unread;
    return 0;
}

/* Room for so many bytes, those unread included, and for one more than these. */
static int make_room(struct bnx_stream_reader *reader, size_t bytes) {
    size_t unread = bnx_stream_in_buffer(reader);
    size_t needed = bytes > unread ? bytes : unread + 1;
    if (needed > reader->capacity) {
        size_t twice = 2 * reader->capacity; /* so that a long line is copied seldom */
        return grow(reader, needed > twice ? needed : twice);
    }
    /* Moved when that at least doubles the room, so that each byte is moved seldom. */
    if (needed > reader->capacity - reader->begin ||
        reader->capacity - reader->end < (reader->capacity - unread) / 2) {
        memmove(reader->buffer, reader->buffer + reader->begin, unread);
        reader->begin = 0;
        reader->end = unread;
    }
    return 0;
}

/* ---- Filling it ---- */

static ssize_t check_count(ssize_t got, size_t bytes) {
    BNX_CHECK(got <= 0 || (size_t)got <= bytes); /* else the transport has written too far */
    return got;
}

static ssize_t read_transport(struct bnx_stream *stream, char *buffer, size_t bytes) {
    int error = bnx_stream_take_error(&stream->reader.error);
    if (error != 0) {
        return error;
    }
    struct bnx_fd_steps steps;
    ssize_t got = bnx_stream_step_begin(stream, &steps);
    if (got == 0) {
        got = check_count(stream->ops->read(stream->transport, buffer, bytes), bytes);
        bnx_fd_steps_leave(&steps);
    }
    return got;
}

/* The same of a socket, without waiting: -EAGAIN. */
static ssize_t read_socket_now(struct bnx_stream *stream, char *buffer, size_t bytes) {
    struct bnx_fd_steps steps;
    ssize_t got = bnx_stream_step_begin(stream, &steps);
    if (got == 0) {
        got = check_count(bnx_recv(stream->fd, buffer, bytes, MSG_DONTWAIT), bytes);
        bnx_fd_steps_leave(&steps);
    }
    return got;
}

static ssize_t added(struct bnx_stream_reader *reader, ssize_t got) {
    reader->is_flowing = got > 0 && (size_t)got == reader->capacity - reader->end;
    reader->end += got > 0 ? (size_t)got : 0;
    return got;
}

/* Much at once; on a socket without waiting: -EAGAIN. */
static ssize_t fill_much(struct bnx_stream *stream, size_t bytes_wanted) {
    struct bnx_stream_reader *reader = &stream->reader;
    size_t read_bytes = stream->options.read_bytes;
    int error = make_room(reader, bytes_wanted > read_bytes ? bytes_wanted : read_bytes);
    if (error != 0) {
        return error;
    }
    char *at = reader->buffer + reader->end;
    size_t room = reader->capacity - reader->end;
    if (stream->is_socket && reader->error == 0) {
        return added(reader, read_socket_now(stream, at, room));
    }
    return added(reader, read_transport(stream, at, room));
}

/* What a copy has left in its pipe. */
static ssize_t fill_from_pipe(struct bnx_stream *stream, size_t bytes_wanted) {
    struct bnx_stream_reader *reader = &stream->reader;
    int error = make_room(reader, bytes_wanted);
    if (error != 0) {
        return error;
    }
    ssize_t got =
        bnx_os.read(reader->pipe[0], reader->buffer + reader->end, reader->capacity - reader->end);
    if (got > 0) {
        reader->end += (size_t)got;
        reader->pipe_bytes -= (size_t)got;
        bnx_stream_pipe_end(reader);
    }
    return got;
}

/* The rest of what has just filled the small buffer. */
static void top_up(struct bnx_stream *stream, size_t bytes_wanted) {
    struct bnx_stream_reader *reader = &stream->reader;
    if (!stream->is_socket || !reader->is_flowing) {
        return;
    }
    ssize_t more = fill_much(stream, bytes_wanted);
    if (more < 0 && more != -EAGAIN && more != -EINTR && more != -ENOMEM) {
        (void)bnx_stream_partial(&reader->error, 1, more);
    }
}

ssize_t bnx_stream_fill(struct bnx_stream *stream, size_t bytes_wanted) {
    struct bnx_stream_reader *reader = &stream->reader;
    if (reader->pipe_bytes > 0) {
        return fill_from_pipe(stream, bytes_wanted);
    }
    if (reader->is_flowing) {
        ssize_t got = fill_much(stream, bytes_wanted);
        if (got != -EAGAIN && got != -EINTR) {
            return got;
        }
        reader->is_flowing = false;
    }
    if (bnx_stream_in_buffer(reader) == 0) {
        give_back(reader);
    } else {
        int error = make_room(reader, bytes_wanted);
        if (error != 0) {
            return error;
        }
    }
    char *at = reader->buffer + reader->end;
    ssize_t got = added(reader, read_transport(stream, at, reader->capacity - reader->end));
    top_up(stream, bytes_wanted);
    return got;
}

/* ---- Reading into the caller's memory ---- */

static size_t take(struct bnx_stream_reader *reader, void *buffer, size_t bytes) {
    size_t unread = bnx_stream_in_buffer(reader);
    size_t taken = bytes < unread ? bytes : unread;
    memcpy(buffer, reader->buffer + reader->begin, taken);
    reader->begin += taken;
    return taken;
}

/* At least one byte, the end, or an error. */
static ssize_t read_some(struct bnx_stream *stream, void *buffer, size_t bytes) {
    struct bnx_stream_reader *reader = &stream->reader;
    if (bnx_stream_in_buffer(reader) == 0) {
        if (bytes >= BNX_STREAM_FIRST_BYTES && reader->pipe_bytes == 0) {
            give_back(reader);
            return read_transport(stream, buffer, bytes);
        }
        ssize_t got = bnx_stream_fill(stream, 1);
        if (got <= 0) {
            return got;
        }
    }
    return (ssize_t)take(reader, buffer, bytes);
}

ssize_t bnx_stream_read(struct bnx_stream *stream, void *buffer, size_t bytes) {
    ssize_t got = bnx_stream_enter(&stream->reader.mutex);
    if (got != 0) {
        return got;
    }
    if (bytes > 0) {
        got = read_some(stream, buffer, bytes);
    }
    bnx_stream_leave(&stream->reader.mutex);
    return got;
}

ssize_t bnx_stream_read_exact(struct bnx_stream *stream, void *buffer, size_t bytes) {
    struct bnx_stream_reader *reader = &stream->reader;
    ssize_t got = bnx_stream_enter(&reader->mutex);
    if (got != 0) {
        return got;
    }
    size_t done = 0;
    while (done < bytes) { /* ends: progress, the end of the stream, or an error */
        got = read_some(stream, (char *)buffer + done, bytes - done);
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
    if (got < 0) {
        got = bnx_stream_partial(&reader->error, done, got);
    } else {
        got = (ssize_t)done;
    }
    bnx_stream_leave(&reader->mutex);
    return got;
}

/* ---- Reading in place ---- */

struct delimiter {
    const void *data;
    size_t bytes;
    size_t limit; /* where it begins at the latest */
};

/* Waits until a delimiter is in the buffer. Returns the count up to its end; without one what the
 * stream ends with; 0 at the end. Nothing is read yet. */
static ssize_t find(struct bnx_stream *stream, const struct delimiter *delimiter) {
    struct bnx_stream_reader *reader = &stream->reader;
    size_t limit = BNX_PLANT(stream_line_unbounded) ? SSIZE_MAX : delimiter->limit;
    size_t searched = 0; /* none begins before */
    for (;;) {           /* ends: each round more is unread, which has a limit */
        const char *data = reader->buffer + reader->begin;
        size_t unread = bnx_stream_in_buffer(reader);
        const char *found =
            memmem(data + searched, unread - searched, delimiter->data, delimiter->bytes);
        size_t before = found != NULL ? (size_t)(found - data) : unread;
        if (found != NULL && before <= limit) {
            return (ssize_t)(before + delimiter->bytes);
        }
        if (found != NULL || unread >= limit + delimiter->bytes) {
            return -EMSGSIZE;
        }
        if (!BNX_PLANT(stream_skips_edge)) {
            searched = unread < delimiter->bytes ? 0 : unread - (delimiter->bytes - 1);
        } else {
            searched = unread;
        }
        ssize_t got = bnx_stream_fill(stream, unread + 1);
        if (got < 0) {
            return got;
        }
        if (got == 0) {
            return unread <= limit ? (ssize_t)unread : -EMSGSIZE;
        }
    }
}

ssize_t bnx_stream_read_until(struct bnx_stream *stream, const void *delimiter,
                              size_t delimiter_bytes, const char **out_data) {
    if (delimiter == NULL || delimiter_bytes == 0 || delimiter_bytes > DELIMITER_BYTES_MAX) {
        return -EINVAL;
    }
    struct bnx_stream_reader *reader = &stream->reader;
    ssize_t got = bnx_stream_enter(&reader->mutex);
    if (got != 0) {
        return got;
    }
    struct delimiter wanted = {delimiter, delimiter_bytes, stream->options.line_max};
    got = find(stream, &wanted);
    if (got > 0) {
        *out_data = reader->buffer + reader->begin;
        reader->begin += (size_t)got;
    }
    bnx_stream_leave(&reader->mutex);
    return got;
}

/* The length of a line without what ends it; whether it had an end at all. */
static size_t strip(const char *line, size_t bytes) {
    if (line[bytes - 1] != '\n') {
        return bytes;
    }
    return bytes >= 2 && line[bytes - 2] == '\r' ? bytes - 2 : bytes - 1;
}

int bnx_stream_read_line(struct bnx_stream *stream, const char **out_line, size_t *out_bytes) {
    struct bnx_stream_reader *reader = &stream->reader;
    ssize_t got = bnx_stream_enter(&reader->mutex);
    if (got != 0) {
        return (int)got;
    }
    size_t line_max = stream->options.line_max;
    struct delimiter end = {"\n", 1, line_max + 1}; /* a CR may precede it */
    got = find(stream, &end);
    if (got > 0) {
        char *line = reader->buffer + reader->begin;
        size_t bytes = strip(line, (size_t)got);
        if (bytes > line_max) {
            got = -EMSGSIZE;
        } else {
            reader->begin += (size_t)got;
            line[bytes] = '\0'; /* what ended it; behind the last byte there is room for that */
            *out_line = line;
            *out_bytes = bytes;
            got = 1;
        }
    }
    bnx_stream_leave(&reader->mutex);
    return (int)got;
}

ssize_t bnx_stream_peek(struct bnx_stream *stream, size_t bytes_min, const void **out_data) {
    if (bytes_min > stream->options.line_max) {
        return -EMSGSIZE;
    }
    struct bnx_stream_reader *reader = &stream->reader;
    ssize_t got = bnx_stream_enter(&reader->mutex);
    if (got != 0) {
        return got;
    }
    got = 1;
    while (bnx_stream_in_buffer(reader) < bytes_min && got > 0) { /* ends: progress, or not */
        got = bnx_stream_fill(stream, bytes_min);
    }
    if (got >= 0) {
        *out_data = reader->buffer + reader->begin;
        got = (ssize_t)bnx_stream_in_buffer(reader);
    }
    bnx_stream_leave(&reader->mutex);
    return got;
}

int bnx_stream_consume(struct bnx_stream *stream, size_t bytes) {
    if (bytes > bnx_stream_in_buffer(&stream->reader)) {
        return -EINVAL;
    }
    stream->reader.begin += bytes;
    return 0;
}

size_t bnx_stream_unread(const struct bnx_stream *stream) {
    return bnx_stream_in_buffer(&stream->reader) + stream->reader.pipe_bytes;
}

/* ---- Lines ---- */

static int next_line(struct bnx_iter *iter, void **out_value) {
    struct bnx_stream_lines *lines = BNX_CONTAINER_OF(iter, struct bnx_stream_lines, iter);
    const char *line = NULL;
    int got = bnx_stream_read_line(lines->stream, &line, &lines->bytes);
    if (got > 0) {
        *out_value = (void *)(uintptr_t)line;
    }
    return got;
}

struct bnx_iter *bnx_stream_lines(struct bnx_stream_lines *lines, struct bnx_stream *stream) {
    *lines = (struct bnx_stream_lines){.iter = {.next = next_line}, .stream = stream};
    return &lines->iter;
}
