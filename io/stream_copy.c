/* SPDX-License-Identifier: MIT */
/*
 * Copying from one stream to another (bonxie/stream.h).
 *
 * Concepts
 *   What is received goes from the one's read buffer to the other's transport, and is read when it
 *   has been sent: at every moment each byte is in exactly one place that a later call will read.
 *   splice   while much comes at a time, between descriptors that never wait: into a pipe and out
 *            of it, so that the bytes stay in the kernel. What a cancel or an error finds in the
 *            pipe belongs to the source, which reads it first (bnx_stream_fill).
 *   Little messages are not spliced: three system calls move more slowly than two and a copy.
 */
#include "io/stream_pvt.h"

#include <bonxie/task.h>

#include <limits.h>

/* Of the pipe, if the system allows it. 2 GB over loopback through io/examples/proxy.c --splice 1
 * --workers 1, an EPYC of 2 shared cores, the best of three: 0.38 ns of CPU a byte with 64 KiB,
 * 0.30 with 256, 0.24 with 1024; without splice 0.47. But an ordinary user's pipes together have
 * 64 MiB (fs.pipe-user-pages-soft). */
#define SPLICE_BYTES (256u << 10)
#define SPLICE_WORTH_BYTES (8u << 10) /* less at a time is received and sent */

/* After so many, a tenth of a millisecond's work, other tasks have their turn. */
#define TURN_BYTES (256u << 10)

struct copy {
    struct bnx_stream *from;
    struct bnx_stream *to;
    bool may_splice;
    bool is_from_error; /* which side an error came from */
    int hold_error;     /* of the other side, which holds the bytes that the last pass has moved */
    struct bnx_fd_steps at_from; /* of splices, as the next */
    struct bnx_fd_steps at_to;
};

/* ---- Through the process ---- */

/* To a transport that repeats writes: what it does not take stays in its stream's buffer, and the
 * copy ends. Nothing is unsent before. */
static ssize_t pass_held(struct copy *copy, const struct iovec *piece) {
    ssize_t held = bnx_stream_hold(copy->to, piece);
    if (held > 0) {
        copy->hold_error = bnx_stream_send_unsent(copy->to);
    }
    return held;
}

/* Returns the count, 0: the end. */
static ssize_t pass_buffer(struct copy *copy, size_t bytes_max) {
    struct bnx_stream_reader *reader = &copy->from->reader;
    if (bnx_stream_in_buffer(reader) == 0) {
        ssize_t got = bnx_stream_fill(copy->from, 1);
        if (got <= 0) {
            copy->is_from_error = true;
            return got;
        }
    }
    size_t unread = bnx_stream_in_buffer(reader);
    struct iovec piece = {reader->buffer + reader->begin, unread < bytes_max ? unread : bytes_max};
    if (BNX_PLANT(stream_copy_reads_first)) {
        reader->begin += piece.iov_len;
    }
    bool must_hold = copy->to->ops->repeats_writes != 0 && !BNX_PLANT(stream_repeats_nothing);
    ssize_t sent = must_hold ? pass_held(copy, &piece) : bnx_stream_send(copy->to, &piece, 1);
    if (sent > 0 && !BNX_PLANT(stream_copy_reads_first)) {
        reader->begin += (size_t)sent;
    }
    return sent;
}

/* ---- Through a pipe ---- */

void bnx_stream_pipe_end(struct bnx_stream_reader *reader) {
    if (reader->pipe[0] >= 0 && reader->pipe_bytes == 0) {
        (void)bnx_os.close(reader->pipe[0]);
        (void)bnx_os.close(reader->pipe[1]);
        reader->pipe[0] = -1;
        reader->pipe[1] = -1;
    }
}

/* Whether a splice at the descriptor never waits, on its own or for a disk. */
static bool is_spliceable(int fd) {
    struct stat status;
    int flags = fd >= 0 ? bnx_os.fcntl(fd, F_GETFL, 0) : -EBADF;
    return flags >= 0 && (flags & O_NONBLOCK) != 0 && bnx_os.fstat(fd, &status) == 0 &&
           (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode));
}

static bool open_pipe(struct bnx_stream_reader *reader) {
    if (reader->pipe[0] < 0) {
        int fds[2];
        if (bnx_os.pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
            return false; /* no descriptors: copying needs none */
        }
        reader->pipe[0] = fds[0];
        reader->pipe[1] = fds[1];
        (void)bnx_os.fcntl(fds[1], F_SETPIPE_SZ, SPLICE_BYTES); /* slower without */
    }
    return true;
}

/* Moves what is there from a pipe to the descriptor or back. Returns the count; -EAGAIN: nothing,
 * but it has waited until the descriptor was ready. A step: it waits at the descriptor alone. */
static ssize_t splice_or_wait(struct bnx_fd_steps *steps, int pipe, size_t bytes, unsigned events) {
    ssize_t error = bnx_fd_step_begin_here(steps);
    if (error != 0) {
        return error;
    }
    bool is_in = events == POLLIN;
    int from = is_in ? steps->fd : pipe;
    int to = is_in ? pipe : steps->fd;
    ssize_t moved = bnx_os.splice(from, NULL, to, NULL, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved == -EAGAIN || moved == -EINTR) {
        struct bnx_op op = {.kind = BNX_OP_POLL, .fd = steps->fd, .flags = (int)events};
        error = bnx_op_run(&op, is_in ? BNX_WAIT_RECV : BNX_WAIT_SEND);
        moved = error < 0 ? error : -EAGAIN;
    }
    bnx_fd_step_end(steps);
    return moved;
}

/* One splice that waits until it can do something. */
static ssize_t splice_once(struct bnx_fd_steps *steps, int pipe, size_t bytes, unsigned events) {
    struct bnx_task *self = bnx_task_current();
    for (;;) { /* ends: it moves something, fails, or is cancelled */
        int error = bnx_task_cancel_check(self);
        if (error != 0) {
            return error;
        }
        ssize_t moved = splice_or_wait(steps, pipe, bytes, events);
        if (moved != -EAGAIN) {
            bnx_task_spend(self);
            return moved;
        }
    }
}

/* Returns the count that has come out of the pipe; 0: the end; -EINVAL: this cannot be spliced. */
static ssize_t pass_pipe(struct copy *copy, size_t bytes_max) {
    struct bnx_stream_reader *reader = &copy->from->reader;
    if (!open_pipe(reader)) {
        return -EINVAL;
    }
    if (reader->pipe_bytes == 0) {
        size_t wanted = bytes_max < SPLICE_BYTES ? bytes_max : SPLICE_BYTES;
        ssize_t got = splice_once(&copy->at_from, reader->pipe[1], wanted, POLLIN);
        if (got <= 0) {
            copy->is_from_error = true;
            return got;
        }
        reader->pipe_bytes = (size_t)got;
        reader->is_flowing = got >= SPLICE_WORTH_BYTES;
    }
    size_t offered = reader->pipe_bytes < bytes_max ? reader->pipe_bytes : bytes_max;
    ssize_t sent = splice_once(&copy->at_to, reader->pipe[0], offered, POLLOUT);
    if (sent > 0) {
        reader->pipe_bytes -= (size_t)sent;
    } else if (BNX_PLANT(stream_forgets_pipe)) {
        reader->pipe_bytes = 0;
    }
    return sent != 0 ? sent : -EIO;
}

/* ---- The copy ---- */

static ssize_t pass(struct copy *copy, size_t bytes_max) {
    struct bnx_stream_reader *reader = &copy->from->reader;
    copy->is_from_error = false;
    bool is_worth_it = reader->is_flowing || reader->pipe_bytes > 0;
    if (copy->may_splice && is_worth_it && reader->error == 0 &&
        bnx_stream_in_buffer(reader) == 0) {
        ssize_t moved = pass_pipe(copy, bytes_max);
        if (moved != -EINVAL || BNX_PLANT(stream_splice_or_fail)) {
            return moved;
        }
        copy->may_splice = false;
    }
    return pass_buffer(copy, bytes_max);
}

static ssize_t copy_locked(struct copy *copy, size_t bytes_max) {
    size_t moved = 0;
    size_t turn = 0;
    ssize_t got = copy->to->writer.is_shut ? -EPIPE : bnx_stream_send_unsent(copy->to);
    if (got < 0) {
        return got;
    }
    while (moved < bytes_max) { /* ends: at the end of the source, by an error or a cancel */
        got = pass(copy, bytes_max - moved);
        if (got <= 0) {
            break;
        }
        moved += (size_t)got;
        turn += (size_t)got;
        if (copy->hold_error != 0) {
            got = copy->hold_error;
            break;
        }
        if (turn >= TURN_BYTES) {
            turn = 0;
            bnx_yield();
        }
    }
    if (got < 0) {
        int *kept = copy->is_from_error ? &copy->from->reader.error : &copy->to->writer.error;
        return bnx_stream_partial(kept, moved, got);
    }
    return (ssize_t)moved;
}

/* Of a descriptor those that began with its stream. */
static void begin_steps(const struct bnx_stream *stream, struct bnx_fd_steps *out_steps) {
    *out_steps = stream->steps.fd >= 0 ? stream->steps : bnx_fd_steps_of(stream->fd);
}

ssize_t bnx_stream_copy(struct bnx_stream *from, struct bnx_stream *to, size_t bytes_max) {
    struct copy copy = {.from = from, .to = to};
    begin_steps(from, &copy.at_from);
    begin_steps(to, &copy.at_to);
    ssize_t result = bnx_stream_enter(&from->reader.mutex);
    if (result != 0) {
        return result;
    }
    result = bnx_stream_enter(&to->writer.mutex);
    if (result == 0) {
        result = bnx_stream_take_error(&to->writer.error);
        if (result == 0) {
            copy.may_splice =
                from->options.no_splice == 0 && is_spliceable(from->fd) && is_spliceable(to->fd);
            result = copy_locked(&copy, bytes_max < SSIZE_MAX ? bytes_max : SSIZE_MAX);
            bnx_stream_pipe_end(&from->reader);
        }
        bnx_stream_leave(&to->writer.mutex);
    }
    bnx_stream_leave(&from->reader.mutex);
    return result;
}
