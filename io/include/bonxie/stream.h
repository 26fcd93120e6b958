/* SPDX-License-Identifier: MIT */
/*
 * Streams: buffered reading and writing over a descriptor, or over anything that moves bytes.
 *
 *     struct bnx_stream *stream;
 *     int error = bnx_stream_open(fd, NULL, &stream);
 *     while ((got = bnx_stream_read_line(stream, &line, &bytes)) > 0) {
 *         bnx_stream_write(stream, line, bytes);
 *         bnx_stream_flush(stream);
 *     }
 *     bnx_stream_close(stream);
 *
 * The reading and the writing side are independent: one task may read while another one writes. Two
 * tasks on one side take turns, call by call.
 *
 * A cancel loses no bytes, and neither does an error: what was received stays in the stream for the
 * next reader, and what was not sent yet for the next flush. A call that an error or a cancel ends
 * after it has moved something returns the count; the next call on that side says why.
 *
 * A stream that waits for its next byte holds no buffers: they are allocated when more than a
 * little comes, and given back when it has been read or sent.
 */
#ifndef BONXIE_STREAM_H
#define BONXIE_STREAM_H

#include <bonxie/base.h>
#include <bonxie/iter.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

BNX_EXTERN_C_BEGIN

struct bnx_stream;

/*
 * What moves a stream's bytes: a descriptor, a TLS session, or something of your own. The calls are
 * made by tasks, suspend until they can do something, and return -errno when they cannot; a cancel
 * ends them with -ECANCELED or -ETIMEDOUT, unless they have moved something: then they return that.
 * One task may be in read while another one is in write; never two in the same, or in write and
 * shutdown.
 */
struct bnx_transport_ops {
    /** Reads up to so many bytes, > 0 of them. Returns the count; 0: the end, each time again. */
    ssize_t (*read)(void *transport, void *buffer, size_t bytes);
    /** Writes up to so many bytes, > 0 of them. Returns the count, > 0. */
    ssize_t (*write)(void *transport, const void *buffer, size_t bytes);
    /** Writes up to all of 1 to 16 pieces, none of them empty; as write. NULL: write does it. */
    ssize_t (*write_pieces)(void *transport, const struct iovec *pieces, int count);
    /** Tells the peer that nothing more comes (half-close); it may still send. Returns 0 or -errno.
     * NULL: that cannot be said. */
    int (*shutdown)(void *transport);
    /** Closes and frees it; not refused by a cancel. Returns 0 or -errno. NULL: nothing to do. */
    int (*close)(void *transport);
    /** The descriptor, where the stream's bytes are exactly those of a descriptor; else -1. NULL:
     * -1. Never suspends. */
    int (*fd)(void *transport);
    /** Non-zero: a write that has failed may have begun, and the next one must bring the same bytes
     * again, with more behind them or not. (What is written goes through the stream's buffer.) */
    int repeats_writes;
};

/* Zeroed means defaults. */
struct bnx_stream_options {
    size_t read_bytes; /* of the read buffer; 0 = 16 KiB */
    size_t
        write_bytes; /* of the write buffer: who writes more waits for it to be sent; 0 = 64 KiB */
    size_t line_max; /* longest line, part before a delimiter, and peek; 0 = 64 KiB */
    int no_splice;   /* non-zero: bnx_stream_copy from this stream never uses splice(2) */
    int keep_open;   /* non-zero: descriptor or transport are the caller's, also to close */
};

/**
 * Opens a stream on a descriptor, of which it takes ownership (but see keep_open): a socket is used
 * by bnx_recv and bnx_send, any other descriptor by bnx_read and bnx_write. Where bnx_close has
 * closed it all the same, beneath the stream, each call that needs it returns -EBADF from then on,
 * the stream's own close, too: none of them meets the next file of that number.
 * @param options NULL for defaults.
 * @param out_stream receives the stream, which bnx_stream_close ends together with the descriptor.
 * Returns 0; -EBADF; -EINVAL: a size out of range (1 to 1 GiB); -ENOMEM. On failure the descriptor
 * is still the caller's. Context: anywhere; never suspends.
 */
BNX_API int bnx_stream_open(int fd, const struct bnx_stream_options *options,
                            struct bnx_stream **out_stream);

/**
 * Opens a stream on a transport, of which it takes ownership (but see keep_open).
 * @param ops read and write are not NULL; it lives as long as the stream.
 * @param transport the first argument of each of them.
 * Otherwise as bnx_stream_open.
 */
BNX_API int bnx_stream_open_on(const struct bnx_transport_ops *ops, void *transport,
                               const struct bnx_stream_options *options,
                               struct bnx_stream **out_stream);

/**
 * Sends what is in the write buffer and closes stream and transport. Nobody else uses the stream.
 * A peer that does not read makes it wait; a cancel, also one that came before, or a deadline ends
 * that: the rest is not sent then, and the stream is closed.
 * Returns 0; the error that left bytes unsent, -ECANCELED and -ETIMEDOUT among them; or the close's
 * own. The stream is gone in any case. Context: task, suspends; a cancelled task does not wait.
 */
BNX_API int bnx_stream_close(struct bnx_stream *stream);

/** Returns the descriptor beneath, borrowed; -1: there is none. Any thread; never suspends. */
BNX_API int bnx_stream_fd(const struct bnx_stream *stream);

/* ---- Reading ----
 *
 * What read_until, read_line and peek give points into the stream: it is valid until the next call
 * on the reading side, whoever makes it. So that side then has one reader at a time. */

/**
 * Reads up to so many bytes: what is there, or else the next to come.
 * Returns the count; 0: the end, or bytes is 0; -ECANCELED, -ETIMEDOUT; -EPERM off a task; -ENOMEM,
 * or the transport's error. Context: task, suspends.
 */
BNX_API ssize_t bnx_stream_read(struct bnx_stream *stream, void *buffer, size_t bytes);

/**
 * Reads until the buffer is full.
 * Returns bytes; fewer: the stream ended there, or an error or a cancel came, which the next call
 * returns; otherwise as bnx_stream_read. Context: task, suspends.
 */
BNX_API ssize_t bnx_stream_read_exact(struct bnx_stream *stream, void *buffer, size_t bytes);

/**
 * Reads up to and including a delimiter.
 * @param delimiter_bytes 1 to 256.
 * @param out_data receives where it is.
 * Returns the count, the delimiter's bytes included; what the stream ends with is given without;
 * 0: the end. -EMSGSIZE: more than line_max bytes come before the delimiter. They are still to be
 * read: by bnx_stream_read, or peek and consume; what follows them is then searched anew. -EINVAL;
 * otherwise as bnx_stream_read, with nothing read. Context: task, suspends.
 */
BNX_API ssize_t bnx_stream_read_until(struct bnx_stream *stream, const void *delimiter,
                                      size_t delimiter_bytes, const char **out_data);

/**
 * Reads a line, up to LF or CRLF, which is not part of it. It is followed by a NUL.
 * Returns 1; 0: the end; otherwise as bnx_stream_read_until. The last line may lack its LF.
 * Context: task, suspends.
 */
BNX_API int bnx_stream_read_line(struct bnx_stream *stream, const char **out_line,
                                 size_t *out_bytes);

/**
 * Shows what is to be read next, without reading it, and waits until there is enough.
 * @param bytes_min at most line_max; 0: whatever is there, at once.
 * Returns how many bytes are at *out_data, also more than bytes_min; fewer: the stream ends there.
 * -EMSGSIZE: more than line_max; otherwise as bnx_stream_read. Context: task, suspends.
 */
BNX_API ssize_t bnx_stream_peek(struct bnx_stream *stream, size_t bytes_min, const void **out_data);

/**
 * Reads so many of the bytes that were shown by a peek.
 * Returns 0; -EINVAL: more than are there. Context: the one reader; never suspends.
 */
BNX_API int bnx_stream_consume(struct bnx_stream *stream, size_t bytes);

/** Returns how many bytes have been received and not read. Context: the one reader. */
BNX_API size_t bnx_stream_unread(const struct bnx_stream *stream);

/* An iterator over lines; lives in its user's frame. */
struct bnx_stream_lines {
    struct bnx_iter iter;
    struct bnx_stream *stream; /* private */
    size_t bytes;              /* of the line that next has given */
};

/**
 * Iterates over lines: each value is a const char *, as of bnx_stream_read_line. Closing it does
 * not close the stream.
 * Returns &lines->iter. Context: anywhere; never suspends; its next is as bnx_stream_read_line.
 */
BNX_API struct bnx_iter *bnx_stream_lines(struct bnx_stream_lines *lines,
                                          struct bnx_stream *stream);

/* ---- Writing ---- */

/**
 * Writes: into the buffer while there is room, else the caller waits until the transport has taken
 * enough. What another task writes comes before or after, never between.
 * Returns bytes; fewer: an error or a cancel came, which the next call returns. -EPIPE: after a
 * shutdown; -ECANCELED, -ETIMEDOUT; -EPERM off a task; -ENOMEM, or the transport's error: then
 * nothing was written. Context: task, suspends.
 */
BNX_API ssize_t bnx_stream_write(struct bnx_stream *stream, const void *buffer, size_t bytes);

/**
 * Writes several pieces as one.
 * @param count 0 to 1024. Otherwise as bnx_stream_write; -EINVAL.
 */
BNX_API ssize_t bnx_stream_write_pieces(struct bnx_stream *stream, const struct iovec *pieces,
                                        int count);

/**
 * Waits until the transport has taken everything.
 * Returns 0; -ECANCELED, -ETIMEDOUT, -EPERM off a task, or the transport's error: the rest stays in
 * the buffer. Context: task, suspends.
 */
BNX_API int bnx_stream_flush(struct bnx_stream *stream);

/**
 * Flushes and tells the peer that nothing more comes (half-close); reading goes on.
 * Returns 0, also the second time; -EOPNOTSUPP: not a socket, or the transport cannot say it;
 * otherwise as bnx_stream_flush. Context: task, suspends.
 */
BNX_API int bnx_stream_shutdown(struct bnx_stream *stream);

/** Returns how many bytes wait in the write buffer. Context: the one writer; never suspends. */
BNX_API size_t bnx_stream_unsent(const struct bnx_stream *stream);

/**
 * Moves bytes from one stream to the other, up to bytes_max or to the end, and flushes them. Where
 * both are non-blocking sockets or pipes and much comes at a time, the kernel moves them by
 * splice(2), not through the process.
 * @param bytes_max SIZE_MAX = to the end.
 * Returns the count: so many bytes were taken from the one and sent to the other, and not one more
 * (where its transport repeats writes, an error may leave the last of them in the write buffer).
 * 0: the end, or bytes_max is 0. An error or a cancel as with bnx_stream_read and bnx_stream_write:
 * call it until it returns no more than 0 to know why it has ended. from and to may be one stream.
 * Outside bnx_main a splice to a socket that was reset may raise SIGPIPE, where a worker takes it.
 * Context: task, suspends; it holds the one's reading and the other's writing side.
 */
BNX_API ssize_t bnx_stream_copy(struct bnx_stream *from, struct bnx_stream *to, size_t bytes_max);

BNX_EXTERN_C_END

#endif
