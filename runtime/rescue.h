/* SPDX-License-Identifier: MIT */
/*
 * The rescue signal: makes a stalled worker's thread let the kernel post its completions; and a
 * second one, without SA_RESTART, which ends a call that a thread of the pool blocks in.
 *
 * A real-time signal that nobody uses (still at SIG_DFL) is taken when the first runtime starts and
 * given back by the last. The handler runs on the worker's alternate stack, keeps errno, and calls
 * the driver's nudge. It is sent by tgkill to the thread of a live worker only.
 *
 * Ordering
 *   X1 live: sending and the worker's teardown are under one lock; the handler needs none, because
 *      it runs on the worker's own thread.
 *   X2 pending: exchange seq_cst by the sender, store-release by the handler: at most one signal on
 *      its way.
 */
#ifndef BNX_RUNTIME_RESCUE_H
#define BNX_RUNTIME_RESCUE_H

#include <stdint.h>

struct bnx_worker;

/** Takes the signals. Returns 0 or -EBUSY: no real-time signal is free. Counted. */
int bnx_rescue_install(void);
void bnx_rescue_uninstall(void);

/** On a worker's thread: lets the signal through, and stops it again. */
void bnx_rescue_worker_enter(struct bnx_worker *worker);
void bnx_rescue_worker_leave(struct bnx_worker *worker);

/** Sends the signal to a live worker unless one is on its way. Any thread. */
void bnx_rescue_signal(struct bnx_worker *worker);

/** On a thread of the pool: lets the interrupting signal through, and stops it again. */
void bnx_rescue_thread_enter(void);
void bnx_rescue_thread_leave(void);

/** Interrupts what such a thread, which is alive, blocks in. Does nothing where no signal was to be
 * had. Any thread. */
void bnx_rescue_interrupt(uint32_t tid);

#endif
