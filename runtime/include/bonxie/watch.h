/* SPDX-License-Identifier: MIT */
/*
 * A watched value: one value, of which only the latest counts, and readers that wait for it to
 * change. For settings, states, progress.
 *
 * Who is slow misses the values in between and never the last one. Values are copied, in and out,
 * in a short critical section: a large thing goes by its pointer.
 */
#ifndef BONXIE_WATCH_H
#define BONXIE_WATCH_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_watch;

/* What one reader has seen, in its own memory; one task or thread at a time uses it. Private. */
struct bnx_watch_reader {
    struct bnx_watch *watch; /* immutable */
    uint64_t seen;           /* the version it has seen last */
};

/**
 * Creates a watched value.
 * @param elem_bytes 1 to 4096. @param initial the first value, copied; NULL: all zero.
 * Returns 0; -EINVAL; -ENOMEM. Context: any thread.
 */
BNX_API int bnx_watch_create(size_t elem_bytes, const void *initial, struct bnx_watch **out_watch);

/** Frees it. NULL is allowed. Nobody uses it any more. */
BNX_API void bnx_watch_destroy(struct bnx_watch *watch);

/**
 * Replaces the value and wakes all readers that wait, also when it is the same as before.
 * Returns 0; -EPIPE: it is closed. Context: any thread; never suspends.
 */
BNX_API int bnx_watch_set(struct bnx_watch *watch, const void *elem);

/** Copies the latest value, closed or not. Context: any thread; never suspends. */
BNX_API void bnx_watch_get(struct bnx_watch *watch, void *out_elem);

/** It will not change any more. Wakes all readers. Context: any thread; never suspends. */
BNX_API void bnx_watch_close(struct bnx_watch *watch);

/** Prepares a reader that has seen the present value. It needs no end. Any thread. */
BNX_API void bnx_watch_reader_init(struct bnx_watch_reader *reader, struct bnx_watch *watch);

/**
 * Waits until there is a version that the reader has not seen, and takes it for seen.
 * @param out_elem receives the latest value; may be NULL; untouched on failure.
 * Returns 0; -ENODATA: it is closed and the reader has seen the last one; -ECANCELED or -ETIMEDOUT:
 * the caller's scope was cancelled first; -ENOMEM (an OS thread).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_watch_changed(struct bnx_watch_reader *reader, void *out_elem);

/** As bnx_watch_changed without waiting: -EAGAIN. Context: any thread. */
BNX_API int bnx_watch_try_changed(struct bnx_watch_reader *reader, void *out_elem);

BNX_EXTERN_C_END

#endif
