/* SPDX-License-Identifier: MIT */
/*
 * A strand: tasks of which never two run at the same time, on however many workers.
 *
 *     static struct bnx_strand strand = BNX_STRAND_INIT;
 *     bnx_strand_spawn(&strand, &scope, buyer, &tomatoes);
 *     bnx_strand_spawn(&strand, &scope, buyer, &potatoes);    both change `shelf`, without a lock
 *
 * What a single-threaded event loop gives: between two calls that may suspend, nobody else on the
 * strand runs, so data that only its tasks touch needs no lock and no atomics. Every call that
 * suspends (a wait of any kind, bnx_yield, bnx_checkpoint, bnx_offload, bnx_scope_close) leaves the
 * strand and is back on it before it returns; in between others run, so what was read before must
 * be read again. What was done by one is visible to the next.
 *
 * A task is on a strand by how it was spawned, while its function runs; destructors of its
 * task-local storage run beside it. What it spawns with bnx_spawn is not on the strand; what it
 * forks (fork.h) may or may not be, so a fork keeps its hands off the strand's data. In bnx_offload
 * the function runs off the strand.
 *
 * Coming back is first come, first served, and is not cut short by a cancel: a cancelled task, too,
 * touches its data on the strand alone. A task that computes for long keeps the others out. A
 * strand is no thread: its tasks move between workers like any other.
 */
#ifndef BONXIE_STRAND_H
#define BONXIE_STRAND_H

#include <bonxie/base.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

/* All zero is a strand that nobody is on. All fields are private. It outlives its tasks. */
struct bnx_strand {
    uint32_t word;          /* whether a task runs on it, and others wait */
    uint32_t lock;          /* guards the list */
    struct bnx_task *first; /* tasks that wait to come on, oldest first */
    struct bnx_task *last;
};

/* clang-format off */
#define BNX_STRAND_INIT {0}
/* clang-format on */

/**
 * Spawns fn(arg) on a strand.
 * @param scope as for bnx_spawn. The strand outlives it.
 * Returns as bnx_spawn. Context: task; never suspends.
 */
BNX_API int bnx_strand_spawn(struct bnx_strand *strand, struct bnx_scope *scope, bnx_task_fn fn,
                             void *arg);

/**
 * Runs fn(arg) on a strand, in a task of its own, and waits for it; called on that strand, it calls
 * fn at once.
 * Returns fn's value; when fn never ran, as bnx_spawn.
 * Context: task, suspends. The caller's cancel reaches fn; it does not cut the wait short.
 */
BNX_API int bnx_strand_run(struct bnx_strand *strand, bnx_task_fn fn, void *arg);

/** Tells whether the calling task is on the strand. For asserts. Any thread; never suspends. */
BNX_API bool bnx_strand_is_current(const struct bnx_strand *strand);

BNX_EXTERN_C_END

#endif
