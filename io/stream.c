/* SPDX-License-Identifier: MIT */
/* Streams (bonxie/stream.h): opening, closing, and descriptors as their transports. */
#include "io/stream_pvt.h"

#include <bonxie/file.h>
#include <bonxie/net.h>

#include "runtime/check.h"

#include <string.h>

#define READ_BYTES_DEFAULT 16384
#define WRITE_BYTES_DEFAULT 65536
#define LINE_MAX_DEFAULT 65536
#define SIZE_LIMIT ((size_t)1 << 30)

/* ---- Descriptors as transports: the pointer is the number ---- */

static int fd_of(void *transport) {
    return (int)(intptr_t)transport;
}

static int close_fd(void *transport) {
    return bnx_close(fd_of(transport));
}

static ssize_t socket_read(void *transport, void *buffer, size_t bytes) {
    return bnx_recv(fd_of(transport), buffer, bytes, 0);
}

static ssize_t socket_write(void *transport, const void *buffer, size_t bytes) {
    return bnx_send(fd_of(transport), buffer, bytes, 0);
}

static ssize_t socket_write_pieces(void *transport, const struct iovec *pieces, int count) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces,
                             .msg_iovlen = (size_t)count};
    ssize_t sent = bnx_os.sendmsg(fd_of(transport), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != -EAGAIN && sent != -EINTR) {
        bnx_task_spend(self);
        return sent;
    }
    struct bnx_op op = {
        .kind = BNX_OP_SENDMSG, .fd = fd_of(transport), .buffer = &message, .flags = MSG_NOSIGNAL};
    return bnx_op_run(&op, BNX_WAIT_SEND);
}

static int socket_shutdown(void *transport) {
    return bnx_shutdown(fd_of(transport), SHUT_WR);
}

const struct bnx_transport_ops bnx_stream_socket_ops = {.read = socket_read,
                                                        .write = socket_write,
                                                        .write_pieces = socket_write_pieces,
                                                        .shutdown = socket_shutdown,
                                                        .close = close_fd,
                                                        .fd = fd_of};

static ssize_t file_read(void *transport, void *buffer, size_t bytes) {
    return bnx_read(fd_of(transport), buffer, bytes);
}

static ssize_t file_write(void *transport, const void *buffer, size_t bytes) {
    return bnx_write(fd_of(transport), buffer, bytes);
}

static ssize_t file_write_pieces(void *transport, const struct iovec *pieces, int count) {
    struct bnx_op op = {.kind = BNX_OP_WRITEV,
                        .fd = fd_of(transport),
                        .buffer = (void *)(uintptr_t)pieces,
                        .bytes = (size_t)count,
                        .offset = UINT64_MAX};
    return bnx_op_run(&op, BNX_WAIT_WRITE);
}

const struct bnx_transport_ops bnx_stream_file_ops = {.read = file_read,
                                                      .write = file_write,
                                                      .write_pieces = file_write_pieces,
                                                      .close = close_fd,
                                                      .fd = fd_of};

/* ---- Opening and closing ---- */

static int set_size(size_t *size, size_t fallback) {
    *size = *size != 0 ? *size : fallback;
    return *size <= SIZE_LIMIT ? 0 : -EINVAL;
}

int bnx_stream_open_on(const struct bnx_transport_ops *ops, void *transport,
                       const struct bnx_stream_options *options, struct bnx_stream **out_stream) {
    struct bnx_stream_options sizes = {0};
    if (ops == NULL || ops->read == NULL || ops->write == NULL || out_stream == NULL) {
        return -EINVAL;
    }
    if (options != NULL) {
        sizes = *options;
    }
    if (set_size(&sizes.read_bytes, READ_BYTES_DEFAULT) != 0 ||
        set_size(&sizes.write_bytes, WRITE_BYTES_DEFAULT) != 0 ||
        set_size(&sizes.line_max, LINE_MAX_DEFAULT) != 0) {
        return -EINVAL;
    }
    struct bnx_stream *stream = bnx_os.allocate(sizeof(*stream), _Alignof(struct bnx_stream));
    if (stream == NULL) {
        return -ENOMEM;
    }
    memset(stream, 0, sizeof(*stream));
    stream->ops = ops;
    stream->transport = transport;
    stream->fd = ops->fd != NULL ? ops->fd(transport) : -1;
    stream->is_socket = ops == &bnx_stream_socket_ops;
    bool is_descriptor = stream->is_socket || ops == &bnx_stream_file_ops;
    stream->steps = bnx_fd_steps_of(is_descriptor ? stream->fd : -1);
    stream->options = sizes;
    stream->reader.buffer = stream->reader.first;
    stream->reader.capacity = BNX_STREAM_FIRST_BYTES;
    stream->reader.pipe[0] = -1;
    stream->reader.pipe[1] = -1;
    *out_stream = stream;
    return 0;
}

int bnx_stream_open(int fd, const struct bnx_stream_options *options,
                    struct bnx_stream **out_stream) {
    struct stat status;
    int error = bnx_os.fstat(fd, &status);
    if (error != 0) {
        return error;
    }
    const struct bnx_transport_ops *ops =
        S_ISSOCK(status.st_mode) ? &bnx_stream_socket_ops : &bnx_stream_file_ops;
    return bnx_stream_open_on(ops, (void *)(intptr_t)fd, options, out_stream);
}

int bnx_stream_step_begin(const struct bnx_stream *stream, struct bnx_fd_steps *out_steps) {
    *out_steps = BNX_PLANT(stream_is_no_step) ? bnx_fd_steps_of(-1) : stream->steps;
    return bnx_fd_steps_enter(out_steps);
}

int bnx_stream_close(struct bnx_stream *stream) {
    BNX_CHECK(!bnx_mutex_is_locked(&stream->reader.mutex));
    BNX_CHECK(!bnx_mutex_is_locked(&stream->writer.mutex));
    int error = bnx_stream_take_error(&stream->writer.error);
    if (error == 0 && !BNX_PLANT(stream_close_no_flush)) {
        error = bnx_stream_send_unsent(stream);
    }
    if (stream->ops->close != NULL && stream->options.keep_open == 0) {
        bool is_closed = bnx_fd_steps_are_over(&stream->steps) && !BNX_PLANT(stream_closes_next);
        int closed = is_closed ? -EBADF : stream->ops->close(stream->transport);
        error = error != 0 ? error : closed;
    }
    stream->reader.pipe_bytes = 0;
    bnx_stream_pipe_end(&stream->reader);
    if (stream->reader.buffer != stream->reader.first) {
        bnx_os.release(stream->reader.buffer);
    }
    bnx_os.release(stream->writer.buffer); /* NULL is fine */
    bnx_os.release(stream);
    return error;
}

int bnx_stream_fd(const struct bnx_stream *stream) {
    return stream->fd;
}
