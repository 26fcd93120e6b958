/* SPDX-License-Identifier: MIT */
/*
 * A task for each piece in flight: task i copies the pieces i, i + count, i + 2 count, ... Direct
 * I/O is aligned: the last piece is written longer than it is, and then the file cut off.
 */
#include "io/examples/cp_direct.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/progress.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES ((size_t)1 << 20)
#define MEMORY_ALIGNMENT 4096 /* more than any device asks for */
#define COPIERS_MAX 64

struct copier {
    int from;
    int to;
    uint64_t first; /* offset of its first piece */
    uint64_t step;  /* to the next */
    uint64_t bytes; /* of the file */
    size_t alignment;
    struct bnx_progress *progress;
};

/* Reads a piece; a short read is gone on with where it ends at a multiple of the alignment. */
static int read_piece(const struct copier *copier, char *buffer, size_t bytes, uint64_t offset) {
    size_t room = (bytes + copier->alignment - 1) / copier->alignment * copier->alignment;
    size_t done = 0;
    while (done < bytes) { /* ends: progress, or the end of the file */
        ssize_t got = bnx_pread(copier->from, buffer + done, room - done, (off_t)(offset + done));
        if (got < 0) {
            return (int)got;
        }
        done += (size_t)got;
        if (done < bytes && (got == 0 || done % copier->alignment != 0)) {
            return -EAGAIN;
        }
    }
    memset(buffer + bytes, 0, room - bytes);
    return 0;
}

static int write_piece(const struct copier *copier, const char *buffer, size_t bytes,
                       uint64_t offset) {
    size_t room = (bytes + copier->alignment - 1) / copier->alignment * copier->alignment;
    for (size_t done = 0; done < room;) { /* ends: progress, or an error */
        ssize_t wrote = bnx_pwrite(copier->to, buffer + done, room - done, (off_t)(offset + done));
        if (wrote <= 0) {
            return wrote == 0 ? -EIO : (int)wrote;
        }
        done += (size_t)wrote;
    }
    return 0;
}

static int copy_pieces(void *arg) {
    const struct copier *copier = arg;
    char *buffer = aligned_alloc(MEMORY_ALIGNMENT, PIECE_BYTES);
    if (buffer == NULL) {
        return -ENOMEM;
    }
    int error = 0;
    for (uint64_t at = copier->first; at < copier->bytes && error == 0; at += copier->step) {
        uint64_t left = copier->bytes - at;
        size_t bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        error = read_piece(copier, buffer, bytes, at);
        if (error == 0) {
            error = write_piece(copier, buffer, bytes, at);
        }
        if (error == 0) {
            bnx_progress_add(copier->progress, bytes);
        }
    }
    free(buffer);
    return error;
}

int bnx_copy_direct(int from, int to, uint64_t bytes, uint32_t count,
                    struct bnx_progress *progress) {
    struct bnx_direct_alignment in, out;
    int error = bnx_direct_align(from, &in);
    error = error == 0 ? bnx_direct_align(to, &out) : error;
    if (error != 0) {
        return error;
    }
    size_t alignment = in.offset_bytes > out.offset_bytes ? in.offset_bytes : out.offset_bytes;
    struct copier copiers[COPIERS_MAX];
    struct bnx_scope scope;
    error = bnx_scope_open(&scope, NULL);
    if (error != 0) {
        return error;
    }
    for (uint32_t i = 0; i < count && i < COPIERS_MAX && error == 0; i++) {
        copiers[i] = (struct copier){.from = from,
                                     .to = to,
                                     .first = i * PIECE_BYTES,
                                     .step = count * PIECE_BYTES,
                                     .bytes = bytes,
                                     .alignment = alignment,
                                     .progress = progress};
        error = bnx_spawn(&scope, copy_pieces, &copiers[i]);
    }
    bool is_ours = error != 0 && error != -ECANCELED; /* else a task has ended the others */
    if (is_ours) {
        bnx_scope_cancel(&scope, 0);
    }
    int close_error = bnx_scope_close(&scope); /* the first error of a task */
    error = is_ours ? error : close_error;
    return error != 0 ? error : bnx_ftruncate(to, (off_t)bytes);
}
