/* SPDX-License-Identifier: MIT */
/* What tests of streams share: a transport in memory that cuts and fails as it is told. */
#ifndef BNX_TESTS_IO_MEMORY_TRANSPORT_H
#define BNX_TESTS_IO_MEMORY_TRANSPORT_H

#include "tests/io/fixture.h"

#include <bonxie/stream.h>

struct memory {
    struct bnx_rng *rng; /* cuts; NULL: as much as fits */
    size_t cut_max;      /* of each transfer; 0: no limit */
    const char *input;   /* what it reads from */
    size_t input_bytes;  /* of it; 0 afterwards */
    size_t input_at;     /* has been read */
    char *output;        /* what was written */
    size_t output_bytes; /* of it */
    size_t output_room;  /* beyond it a write is the test's error */
    uint64_t reads;      /* calls of each kind */
    uint64_t writes;
    uint64_t fail_read;  /* the number of the read that fails; 0: none */
    uint64_t fail_write; /* likewise */
    uint64_t fail_every; /* each so many-th call fails; 0: none */
    int error;           /* with which */
    bool waits;          /* each call gives way, and is refused by a cancel */
    bool is_shut;        /* the writing side */
    bool is_closed;
};

static inline size_t memory_cut(struct memory *memory, size_t bytes) {
    if (memory->cut_max != 0 && bytes > memory->cut_max) {
        bytes = memory->cut_max;
    }
    return memory->rng != NULL ? 1 + bnx_rng_below(memory->rng, (uint32_t)bytes) : bytes;
}

/* Begins a call. Returns 0 or the error that it has. */
static inline int memory_begin(struct memory *memory, uint64_t number, uint64_t fails) {
    CHECK(!memory->is_closed);
    if (memory->waits) {
        int error = bnx_checkpoint();
        if (error != 0) {
            return error;
        }
    }
    bool is_failing =
        number == fails || (memory->fail_every != 0 && number % memory->fail_every == 0);
    return is_failing ? memory->error : 0;
}

static inline ssize_t memory_read(void *transport, void *buffer, size_t bytes) {
    struct memory *memory = transport;
    CHECK(bytes > 0);
    int error = memory_begin(memory, ++memory->reads, memory->fail_read);
    if (error != 0) {
        return error;
    }
    size_t left = memory->input_bytes - memory->input_at;
    if (left == 0) {
        return 0;
    }
    bytes = memory_cut(memory, bytes < left ? bytes : left);
    memcpy(buffer, memory->input + memory->input_at, bytes);
    memory->input_at += bytes;
    return (ssize_t)bytes;
}

static inline ssize_t memory_write_pieces(void *transport, const struct iovec *pieces, int count) {
    struct memory *memory = transport;
    CHECK(count >= 1 && count <= 16);
    CHECK(!memory->is_shut);
    int error = memory_begin(memory, ++memory->writes, memory->fail_write);
    if (error != 0) {
        return error;
    }
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        CHECK(pieces[i].iov_len > 0);
        bytes += pieces[i].iov_len;
    }
    bytes = memory_cut(memory, bytes);
    size_t left = bytes;
    for (int i = 0; left > 0; i++) { /* ends: bytes is no more than they have */
        size_t part = left < pieces[i].iov_len ? left : pieces[i].iov_len;
        CHECK(part <= memory->output_room - memory->output_bytes);
        memcpy(memory->output + memory->output_bytes, pieces[i].iov_base, part);
        memory->output_bytes += part;
        left -= part;
    }
    return (ssize_t)bytes;
}

static inline ssize_t memory_write(void *transport, const void *buffer, size_t bytes) {
    struct iovec piece = {(void *)(uintptr_t)buffer, bytes};
    return memory_write_pieces(transport, &piece, 1);
}

static inline int memory_shutdown(void *transport) {
    struct memory *memory = transport;
    CHECK(!memory->is_shut);
    memory->is_shut = true;
    return 0;
}

static inline int memory_close(void *transport) {
    struct memory *memory = transport;
    CHECK(!memory->is_closed);
    memory->is_closed = true;
    return 0;
}

static const struct bnx_transport_ops memory_ops = {.read = memory_read,
                                                    .write = memory_write,
                                                    .write_pieces = memory_write_pieces,
                                                    .shutdown = memory_shutdown,
                                                    .close = memory_close};
/* The least that a transport may offer. */
static const struct bnx_transport_ops memory_least_ops = {.read = memory_read,
                                                          .write = memory_write};

static inline struct bnx_stream *memory_open(struct memory *memory,
                                             const struct bnx_stream_options *options) {
    struct bnx_stream *stream = NULL;
    CHECK_EQ(bnx_stream_open_on(&memory_ops, memory, options, &stream), 0);
    CHECK_EQ(bnx_stream_fd(stream), -1);
    return stream;
}

/** The number of open sockets and pipes. Of other descriptors the runtime may open some. */
static inline int memory_ends(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++) {
        char path[32];
        char name[8] = "";
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(path, name, sizeof(name)); /* no access that races a close */
        count += bytes > 0 && (memcmp(name, "socket:", 7) == 0 || memcmp(name, "pipe:", 5) == 0);
    }
    return count;
}

/** Lets it cut, or not: some runs each. */
static inline void memory_shuffle(struct memory *memory, struct bnx_rng *rng) {
    memory->rng = bnx_rng_below(rng, 4) != 0 ? rng : NULL;
    memory->cut_max = bnx_rng_below(rng, 2) != 0 ? 1 + bnx_rng_below(rng, 700) : 0;
}

#endif
