/* SPDX-License-Identifier: MIT */
/*
 * How far a long job is: a bar on a terminal, now and then a line elsewhere.
 *
 *     struct bnx_progress progress;
 *     bnx_progress_open(&progress, STDERR_FILENO,
 *                       &(struct bnx_progress_options){.label = "pages", .total = count});
 *     ...
 *     bnx_progress_add(&progress, 1);                  (from whatever task or thread)
 *     ...
 *     bnx_progress_finish(&progress);
 *
 *     pages:  42% [##############>.....................] 420/1000  84.0/s  ETA 0:06
 *
 * A task of the runtime draws: on a terminal ten times a second, in the width that the terminal has
 * then (80 columns where it does not say); elsewhere a line a second, when something has changed,
 * and the last one. Nothing is drawn from the calls that count.
 */
#ifndef BONXIE_PROGRESS_H
#define BONXIE_PROGRESS_H

#include <bonxie/base.h>
#include <bonxie/timer.h>

BNX_EXTERN_C_BEGIN

enum bnx_progress_flags {
    BNX_PROGRESS_CLEAR =
        1u << 0 /* on a terminal, finish blanks the line instead of completing it */
};

/* Zeroed means defaults. */
struct bnx_progress_options {
    const char *label; /* borrowed until finish; NULL = none */
    uint64_t total;    /* what the count comes to; 0 = not known: a spinner and the count */
    struct bnx_runtime *runtime; /* NULL = of the calling task */
    unsigned flags;              /* enum bnx_progress_flags */
};

/* On the caller's stack or in static storage. All fields are private. */
struct bnx_progress {
    uint64_t count;          /* any thread */
    uint64_t total;          /* immutable after open */
    const char *label;       /* immutable after open */
    struct bnx_timer *timer; /* that draws; NULL: not open; immutable after open */
    uint64_t start_ns;       /* immutable after open */
    uint64_t drawn;          /* the count at the last drawing; who draws */
    uint32_t frame;          /* of the spinner; who draws */
    int fd;                  /* immutable after open */
    unsigned flags;          /* immutable after open */
};

/**
 * Begins to show a count of 0.
 * @param progress stays where it is until finish.
 * @param fd written to, by a pool thread, for it may block; borrowed.
 * @param options NULL for defaults.
 * Returns 0; -EPERM: no runtime given off a task; -ENOMEM; -EAGAIN (tasks_max); -EINVAL: an unknown
 * flag; -ECHILD. On failure the other calls may be made all the same, and show nothing.
 * Context: any thread; never suspends.
 */
BNX_API int bnx_progress_open(struct bnx_progress *progress, int fd,
                              const struct bnx_progress_options *options);

/** Adds to the count: one relaxed atomic add. Context: any thread; never suspends. */
BNX_API void bnx_progress_add(struct bnx_progress *progress, uint64_t count);

/** Sets the count. Context: any thread; never suspends. */
BNX_API void bnx_progress_set(struct bnx_progress *progress, uint64_t count);

/**
 * Shows the last state: on a terminal the line is completed, or cleared; elsewhere one more line is
 * written. After it nothing is drawn any more. A second call, or one without an open, does nothing.
 * Context: task, suspends; on any other thread it blocks. A close: not refused by a cancel.
 */
BNX_API void bnx_progress_finish(struct bnx_progress *progress);

BNX_EXTERN_C_END

#endif
