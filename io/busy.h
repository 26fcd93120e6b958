/* SPDX-License-Identifier: MIT */
/*
 * Whether many operations complete at a time on a worker. The tasks behind them run in one tick,
 * and their sends go to the kernel together, at its end, instead of by one call each (net.c).
 *
 * Measured: server CPU per request against a server that always calls send(2), `bonxie-load --pid`
 * and examples/echo and httpd (/plaintext), one worker, BONXIE_SPIN_US=0, 2-vCPU AMD EPYC guest,
 * Linux 6.18, beside other work; rounds of 10,000 requests in turns, mean of the paired ratios and
 * how many of 24 rounds it won. Echo of 64 bytes: 64 connections 0.88 (19), 512 0.91 (18), 1000
 * 0.92 (16); httpd: 64 0.87 (21), 512 0.95 (13). Those were with a worker busy from 16 completions
 * a reap on. From 4 on, two workers, whose reaps are smaller, need 0.86 of that with 16 and 64
 * connections, 1.0 with 512 and 1000 (9 rounds, quiet); one worker the same as before.
 * Its price: what is queued waits for the task that runs.
 */
#ifndef BNX_IO_BUSY_H
#define BNX_IO_BUSY_H

#include "runtime/check.h"

/* Completions a reap from which a worker is busy, and below which it is no more: apart, so that it
 * does not waver. Few in the builds that look for errors, where the tests of some tasks shall send
 * in both ways. */
#define BNX_BUSY_IS_EASY (BNX_ASAN || BNX_TSAN || BNX_SHRINK)
#define BNX_BUSY_FROM (BNX_BUSY_IS_EASY ? 2u : 4u)
#define BNX_BUSY_UNTIL (BNX_BUSY_IS_EASY ? 1u : 2u)
#define BNX_BUSY_ONE 16u /* the average is in such parts of one */

struct bnx_busy {
    uint32_t average; /* completions a reap; the last one counts for a quarter; owner */
    bool is_busy;     /* owner */
};

/** After a reap, with what it has found; one that found nothing says nothing. Owner. */
static inline void bnx_busy_note(struct bnx_busy *self, size_t reaped) {
    if (reaped != 0) {
        self->average = (3 * self->average + (uint32_t)reaped * BNX_BUSY_ONE) / 4;
        uint32_t bound = self->is_busy ? BNX_BUSY_UNTIL : BNX_BUSY_FROM;
        self->is_busy = self->average >= bound * BNX_BUSY_ONE && !BNX_PLANT(send_alone);
    }
}

#endif
