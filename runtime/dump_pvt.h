/* SPDX-License-Identifier: MIT */
/* A task in one line, for dumps, stall reports and the crash report. */
#ifndef BNX_RUNTIME_DUMP_PVT_H
#define BNX_RUNTIME_DUMP_PVT_H

#include "runtime/task_pvt.h"

/**
 * Writes id, name, state, wait and spawn site of a task, without a newline, NUL-terminated.
 * Returns the length, less than bytes. Context: anywhere; a signal handler in practice (snprintf of
 * integers and strings only).
 */
size_t bnx_task_describe(const struct bnx_task *task, uint64_t now_ns, char *out, size_t bytes);

#endif
