/* SPDX-License-Identifier: MIT */
/* What every public header of bonxie needs: linkage, the type of a task's function. */
#ifndef BONXIE_BASE_H
#define BONXIE_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define BNX_EXTERN_C_BEGIN extern "C" {
#define BNX_EXTERN_C_END }
#else
#define BNX_EXTERN_C_BEGIN
#define BNX_EXTERN_C_END
#endif

#define BNX_API __attribute__((visibility("default")))

BNX_EXTERN_C_BEGIN

struct bnx_runtime;
struct bnx_task;
struct bnx_scope;
struct bnx_future;
struct bnx_waitable;
struct bnx_thread_block;

/**
 * What a task runs. Returns >= 0, a result of its own meaning, or < 0, an -errno.
 */
typedef int (*bnx_task_fn)(void *arg);

BNX_EXTERN_C_END

#endif
