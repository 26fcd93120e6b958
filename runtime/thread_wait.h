/* SPDX-License-Identifier: MIT */
/*
 * How an OS thread that is no task waits: on an event count of its own, Concurrency Kit's ck_ec.
 *
 * A block comes from a list that only grows, and goes back to it: a waker that is late touches
 * memory that is still a block, and wakes somebody who looks again. Blocks are never freed.
 *
 * Ordering
 *   V1 signal -> wait returns. ck_ec is invisible to ThreadSanitizer: the edge is announced to it.
 */
#ifndef BNX_RUNTIME_THREAD_WAIT_H
#define BNX_RUNTIME_THREAD_WAIT_H

#include "runtime/compiler.h"

#include <stdint.h>

struct bnx_thread_block;

/** Takes a block. Returns NULL when out of memory. Any thread. */
struct bnx_thread_block *bnx_thread_block_take(void);

/** Gives a block back. */
void bnx_thread_block_give(struct bnx_thread_block *block);

/** Reads the count to wait on; before the condition is checked. */
uint32_t bnx_thread_block_count(struct bnx_thread_block *block);

/** Sleeps until the count differs from `seen`. May return early: check the condition again. */
void bnx_thread_block_wait(struct bnx_thread_block *block, uint32_t seen);

/** Bumps the count and wakes the sleeper. Any thread. */
void bnx_thread_block_signal(struct bnx_thread_block *block);

#endif
