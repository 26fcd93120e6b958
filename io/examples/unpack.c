/* SPDX-License-Identifier: MIT */
/*
 * Files of text, packed or not, as streams: a transport that unpacks.
 *
 * A read of the transport gives what is in the block of plain bytes. Once that is empty the next
 * packed bytes are read, and a thread of the pool makes a block of them: one bnx_offload for 64 KiB
 * of text, so that what it costs to go there and back does not count.
 *
 * A file may consist of several members, one packed after the other; it must end with one's end.
 */
#include "io/examples/unpack.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>

#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PACKED_BYTES 32768
#define PLAIN_BYTES 65536

struct unpacker;

/* One way to pack. */
struct format {
    const char *suffix; /* of the files' names */
    /* Makes ready for a member. Returns 0 or -ENOMEM. */
    int (*begin)(struct unpacker *unpacker);
    /* Unpacks what fits. Returns 1: the member has ended, and another may begin; 0; -EBADMSG,
     * -ENOMEM. */
    int (*step)(struct unpacker *unpacker);
    void (*end)(struct unpacker *unpacker);
};

struct unpacker {
    const struct format *format;
    union {
        z_stream gzip;
        bz_stream bzip2;
    } state;
    int fd;
    int error;      /* for when all that is unpacked has been read; 0: none */
    bool is_within; /* a member: the file must not end here */
    size_t taken;   /* of the packed bytes that are there */
    size_t packed;  /* that are there */
    size_t read;    /* of the plain bytes that are there */
    size_t plain;   /* that are there */
    char in[PACKED_BYTES];
    char out[PLAIN_BYTES];
};

/* ---- gzip ---- */

static int gzip_begin(struct unpacker *unpacker) {
    return inflateInit2(&unpacker->state.gzip, 16 + MAX_WBITS) == Z_OK ? 0 : -ENOMEM; /* 16: gzip */
}

static int gzip_step(struct unpacker *unpacker) {
    z_stream *gzip = &unpacker->state.gzip;
    gzip->next_in = (Bytef *)unpacker->in + unpacker->taken;
    gzip->avail_in = (uInt)(unpacker->packed - unpacker->taken);
    gzip->next_out = (Bytef *)unpacker->out + unpacker->plain;
    gzip->avail_out = (uInt)(PLAIN_BYTES - unpacker->plain);
    int result = inflate(gzip, Z_NO_FLUSH);
    unpacker->taken = unpacker->packed - gzip->avail_in;
    unpacker->plain = PLAIN_BYTES - gzip->avail_out;
    if (result == Z_STREAM_END) {
        (void)inflateReset(gzip);
        return 1;
    }
    if (result == Z_OK || result == Z_BUF_ERROR) { /* the latter: there was nothing to do */
        return 0;
    }
    return result == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

static void gzip_end(struct unpacker *unpacker) {
    (void)inflateEnd(&unpacker->state.gzip);
}

/* ---- bzip2 ---- */

static int bzip2_begin(struct unpacker *unpacker) {
    unpacker->state.bzip2 = (bz_stream){0};
    return BZ2_bzDecompressInit(&unpacker->state.bzip2, 0, 0) == BZ_OK ? 0 : -ENOMEM;
}

static void bzip2_end(struct unpacker *unpacker) {
    (void)BZ2_bzDecompressEnd(&unpacker->state.bzip2); /* once too often is no harm */
}

static int bzip2_step(struct unpacker *unpacker) {
    bz_stream *bzip2 = &unpacker->state.bzip2;
    bzip2->next_in = unpacker->in + unpacker->taken;
    bzip2->avail_in = (unsigned)(unpacker->packed - unpacker->taken);
    bzip2->next_out = unpacker->out + unpacker->plain;
    bzip2->avail_out = (unsigned)(PLAIN_BYTES - unpacker->plain);
    int result = BZ2_bzDecompress(bzip2);
    unpacker->taken = unpacker->packed - bzip2->avail_in;
    unpacker->plain = PLAIN_BYTES - bzip2->avail_out;
    if (result == BZ_STREAM_END) {
        bzip2_end(unpacker);
        int error = bzip2_begin(unpacker);
        return error < 0 ? error : 1;
    }
    if (result == BZ_OK) {
        return 0;
    }
    return result == BZ_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

static const struct format formats[] = {
    {".gz", gzip_begin, gzip_step, gzip_end},
    {".bz2", bzip2_begin, bzip2_step, bzip2_end},
};

/* By the name; NULL: not packed. */
static const struct format *format_of(const char *path) {
    size_t path_bytes = strlen(path);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        size_t bytes = strlen(formats[i].suffix);
        if (path_bytes > bytes && strcmp(path + path_bytes - bytes, formats[i].suffix) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

/* ---- The transport ---- */

/* Unpacks until the block is full, or nothing more comes of what is there. In the pool. */
static int unpack_block(void *arg) {
    struct unpacker *unpacker = arg;
    while (unpacker->error == 0 && unpacker->plain < PLAIN_BYTES) { /* ends: progress, or return */
        size_t taken = unpacker->taken;
        size_t plain = unpacker->plain;
        int result = unpacker->format->step(unpacker);
        if (result == 0 && taken == unpacker->taken && plain == unpacker->plain) {
            return 0;
        }
        unpacker->is_within = result == 0;
        unpacker->error = result < 0 ? result : 0;
    }
    return 0;
}

static ssize_t read_packed(struct unpacker *unpacker) {
    ssize_t got = bnx_read(unpacker->fd, unpacker->in, sizeof(unpacker->in));
    if (got > 0) {
        unpacker->taken = 0;
        unpacker->packed = (size_t)got;
    }
    return got;
}

/* Fills the block. Returns how much is in it; 0: the end; -errno. */
static ssize_t fill(struct unpacker *unpacker) {
    ssize_t got = 1;
    while (unpacker->read == unpacker->plain && unpacker->error == 0) { /* ends: with the file */
        if (unpacker->taken == unpacker->packed) {
            got = read_packed(unpacker);
        }
        if (got < 0) {
            return got;
        }
        unpacker->read = 0;
        unpacker->plain = 0;
        int error = bnx_offload(unpack_block, unpacker); /* at the end as well: what is held back */
        if (error < 0) {
            return error;
        }
        if (got == 0 && unpacker->plain == 0 && unpacker->error == 0) {
            return unpacker->is_within ? -EBADMSG : 0;
        }
    }
    ssize_t bytes = (ssize_t)(unpacker->plain - unpacker->read);
    return bytes > 0 ? bytes : unpacker->error;
}

static ssize_t read_plain(void *transport, void *buffer, size_t bytes) {
    struct unpacker *unpacker = transport;
    ssize_t there = fill(unpacker);
    if (there <= 0) {
        return there;
    }
    size_t count = bytes < (size_t)there ? bytes : (size_t)there;
    memcpy(buffer, unpacker->out + unpacker->read, count);
    unpacker->read += count;
    return (ssize_t)count;
}

static ssize_t write_nothing(void *transport, const void *buffer, size_t bytes) {
    (void)transport, (void)buffer, (void)bytes;
    return -EBADF; /* open for reading alone */
}

static int close_unpacker(void *transport) {
    struct unpacker *unpacker = transport;
    unpacker->format->end(unpacker);
    int error = bnx_close(unpacker->fd);
    free(unpacker);
    return error;
}

static const struct bnx_transport_ops unpacker_ops = {
    .read = read_plain, .write = write_nothing, .close = close_unpacker};

/* ---- Opening ---- */

static int open_packed(int fd, const struct format *format,
                       const struct bnx_stream_options *options, struct bnx_stream **out_stream) {
    struct unpacker *unpacker = malloc(sizeof(*unpacker));
    if (unpacker == NULL) {
        return -ENOMEM;
    }
    memset(unpacker, 0, offsetof(struct unpacker, in));
    unpacker->format = format;
    unpacker->fd = fd;
    unpacker->is_within = true; /* nothing at all is no packed file */
    int error = format->begin(unpacker);
    if (error == 0) {
        error = bnx_stream_open_on(&unpacker_ops, unpacker, options, out_stream);
        if (error == 0) {
            return 0;
        }
        format->end(unpacker);
    }
    free(unpacker);
    return error;
}

int bnx_unpack_open(const char *path, struct bnx_stream **out_stream) {
    static const struct bnx_stream_options options = {.line_max = BNX_UNPACK_LINE_MAX};
    const struct format *format = format_of(path);
    int fd = bnx_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    int error = format != NULL ? open_packed(fd, format, &options, out_stream)
                               : bnx_stream_open(fd, &options, out_stream);
    if (error < 0) {
        (void)bnx_close(fd);
    }
    return error;
}
