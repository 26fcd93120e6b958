/* SPDX-License-Identifier: MIT */
/* Seeing inside: one line a task. */
#ifndef BONXIE_DUMP_H
#define BONXIE_DUMP_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/**
 * Writes one line per live task of the calling task's runtime to fd: id, name, state, what it waits
 * for, for how long, and where it was spawned. No task is stopped for it: each line is a snapshot.
 * Returns the number of tasks, or -errno of the write; -EPERM off a task.
 * Context: task; writes with write(2), so a slow fd blocks the worker.
 */
BNX_API int bnx_dump(int fd);

/** As bnx_dump for a given runtime. Context: any thread; not a signal handler. */
BNX_API int bnx_runtime_dump(struct bnx_runtime *runtime, int fd);

BNX_EXTERN_C_END

#endif
