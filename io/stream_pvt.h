/* SPDX-License-Identifier: MIT */
/*
 * What a stream (bonxie/stream.h) consists of: a reading side, a writing side, a transport.
 *
 * Concepts
 *   side     each has a mutex that its calls hold from begin to end: that is how tasks take turns.
 *   small    with nothing unread, the wait for the next byte is a read into `first`, a few bytes
 *            in the stream itself. What fills it shows that more is there: the rest goes into a
 *            buffer from the heap, on a socket by a second receive, which does not wait. So an idle
 *            stream holds no buffer, and little messages need none.
 *   flowing  the last read filled what it was given, so the next one may ask for much.
 *   error    comes after bytes that were moved: it is kept for the next call of its side, because a
 *            socket reports its error once. A cancel is not kept: it belongs to the task.
 *   step     a descriptor may be closed by another than its stream. So each call of the transport
 *            is a step (fd_counts.h) of the stream, which began when it was opened: from the close
 *            on they all fail with -EBADF, and the stream does not close the number again. Another
 *            transport than a descriptor looks after that itself.
 *   pipe     what a splice(2) has taken out of the descriptor and not yet delivered is in a pipe.
 *            It is read before anything else is.
 *
 * Invariants
 *   begin <= end <= capacity; one more byte is there for a NUL.
 *   reader.pipe_bytes > 0  =>  nothing unread in the buffer came after it
 *   writer.buffer != NULL  <=>  writer.begin < writer.end
 *
 * Rejected
 *   Waiting for readiness, then allocating: an operation more for every message.
 */
#ifndef BNX_IO_STREAM_PVT_H
#define BNX_IO_STREAM_PVT_H

#include <bonxie/mutex.h>
#include <bonxie/stream.h>

#include "io/op.h"

#include <errno.h>

#define BNX_STREAM_FIRST_BYTES 512 /* most requests and messages; a stream is one page's eighth */
#define BNX_STREAM_PIECES_MAX 16   /* that a transport is given at once */

struct bnx_stream_reader {
    struct bnx_mutex mutex; /* held by each call; guards the rest */
    int error;              /* for the next read of the transport; 0: none */
    bool is_flowing;        /* the last read filled what it was given */
    char *buffer;           /* first, or from the heap */
    size_t capacity;        /* of the buffer, without the byte for a NUL */
    size_t begin;           /* of what is unread */
    size_t end;
    int pipe[2];       /* to read, to write; -1: none */
    size_t pipe_bytes; /* in it: what a copy could not deliver */
    char first[BNX_STREAM_FIRST_BYTES + 1];
};

struct bnx_stream_writer {
    struct bnx_mutex mutex; /* held by each call; guards the rest */
    int error;              /* for the next call; 0: none */
    bool is_shut;           /* half-closed */
    char *buffer;           /* from the heap, while it holds something */
    size_t capacity;
    size_t begin; /* of what is unsent */
    size_t end;
};

struct bnx_stream {
    const struct bnx_transport_ops *ops; /* immutable, as all of this group */
    void *transport;
    int fd;                    /* beneath, or -1 */
    bool is_socket;            /* the descriptor is one: it can be asked without waiting */
    struct bnx_fd_steps steps; /* of each call of the transport, where that is a descriptor; -1 */
    struct bnx_stream_options options;

    struct bnx_stream_reader reader;
    struct bnx_stream_writer writer;
};

/** Begins a call of a side. Returns 0, or -EPERM off a task, -ECANCELED, -ETIMEDOUT. Suspends. */
static inline int bnx_stream_enter(struct bnx_mutex *mutex) {
    if (bnx_task_current() == NULL) {
        return bnx_off_task_error();
    }
    return BNX_PLANT(stream_takes_no_turns) ? 0 : bnx_mutex_lock(mutex);
}

/** Ends it. */
static inline void bnx_stream_leave(struct bnx_mutex *mutex) {
    if (!BNX_PLANT(stream_takes_no_turns)) {
        bnx_mutex_unlock(mutex);
    }
}

/**
 * The end of a call that has moved some bytes and then met an error: keeps it for the next one.
 * Returns what the call returns.
 */
static inline ssize_t bnx_stream_partial(int *kept, size_t moved, ssize_t error) {
    if (moved == 0) {
        return error;
    }
    bool is_cancel = (error == -ECANCELED || error == -ETIMEDOUT) &&
                     bnx_task_cancel_check(bnx_task_current()) != 0;
    if (!is_cancel && !BNX_PLANT(stream_error_is_lost)) {
        *kept = (int)error;
    }
    return (ssize_t)moved;
}

/**
 * Begins a call of the transport. Returns 0, or -EBADF: its descriptor was closed.
 * @param out_steps to be ended by bnx_fd_steps_leave.
 */
int bnx_stream_step_begin(const struct bnx_stream *stream, struct bnx_fd_steps *out_steps);

/** Takes the error that an earlier call has kept. 0: none. */
static inline int bnx_stream_take_error(int *kept) {
    int error = *kept;
    *kept = 0;
    return error;
}

static inline size_t bnx_stream_in_buffer(const struct bnx_stream_reader *reader) {
    return reader->end - reader->begin;
}

/**
 * Reads from the transport, or the pipe, behind what is unread, and waits for a byte at least.
 * @param bytes_wanted to be unread in the end: for these there is to be room.
 * Returns the count, 0: the end, or -errno with nothing lost. Suspends; the reader is locked.
 */
ssize_t bnx_stream_fill(struct bnx_stream *stream, size_t bytes_wanted);

/** Closes a copy's pipe, if it is empty. */
void bnx_stream_pipe_end(struct bnx_stream_reader *reader);

/**
 * Sends what is unsent and then pieces that follow it, as much as the transport takes at once.
 * @param count 0 is fine where something is unsent.
 * Returns how many of the pieces' bytes were sent, or -errno. Suspends; the writer is locked.
 */
ssize_t bnx_stream_send(struct bnx_stream *stream, const struct iovec *pieces, int count);

/**
 * Puts as much of a piece into the buffer as there is room for, where the transport repeats writes.
 * Returns how many bytes, > 0 where nothing is unsent; -ENOMEM. The writer is locked.
 */
ssize_t bnx_stream_hold(struct bnx_stream *stream, const struct iovec *piece);

/** Sends all that is unsent. Returns 0 or -errno. Suspends; the writer is locked. */
int bnx_stream_send_unsent(struct bnx_stream *stream);

/** The transports of descriptors. */
extern const struct bnx_transport_ops bnx_stream_socket_ops;
extern const struct bnx_transport_ops bnx_stream_file_ops;

#endif
