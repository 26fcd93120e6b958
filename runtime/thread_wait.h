/* SPDX-License-Identifier: MIT */
/*
 * How an OS thread that is no task waits: on an event count of its own, Concurrency Kit's ck_ec.
 *
 * A block comes from a list that only grows, and goes back to it: a waker that is late touches
 * memory that is still a block, and wakes somebody who looks again. Blocks are never freed.
 *
 * A wait that several parties may end is decided by one word {sequence << 2 | state}, as a task's
 * is:
 *
 *     IDLE --begin--> WAITING --claim--> CLAIMED --wake--> IDLE
 *
 * Whoever wakes claims; so does the thread that takes its wait back.
 *
 * A claim with an old sequence number fails, whatever the block is used for by then.
 *
 * Ordering
 *   V1 signal -> wait returns. ck_ec is invisible to ThreadSanitizer: the edge is announced to it.
 *   V2 claim  begin's store-release -> the claim's CAS acq_rel: what the thread wrote before.
 *   V3 woken  wake's store-release -> sleep's load-acquire: what the claimer wrote.
 */
#ifndef BNX_RUNTIME_THREAD_WAIT_H
#define BNX_RUNTIME_THREAD_WAIT_H

#include "runtime/compiler.h"

#include <stdbool.h>
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

/** Begins a wait that may be claimed. Returns its sequence number. The block's holder. */
uint64_t bnx_thread_block_begin(struct bnx_thread_block *block);

/** Claims a wait. True: the caller wakes it, or is the holder and has taken it back. Any thread. */
bool bnx_thread_block_claim(struct bnx_thread_block *block, uint64_t sequence);

/** Ends a wait that the caller has claimed. Any thread. */
void bnx_thread_block_wake(struct bnx_thread_block *block);

/** Sleeps until the wait is over. The block's holder. */
void bnx_thread_block_sleep(struct bnx_thread_block *block, uint64_t sequence);

/**
 * The same, until a deadline at the latest (bnx_clock_now; BNX_NEVER_NS: none). False: it has come,
 * and the wait was not over then; it may be claimed still.
 */
bool bnx_thread_block_sleep_until(struct bnx_thread_block *block, uint64_t sequence,
                                  uint64_t deadline_ns);

#endif
