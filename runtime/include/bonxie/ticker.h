/* SPDX-License-Identifier: MIT */
/*
 * Tickers: a loop that runs at fixed times.
 *
 *     struct bnx_ticker ticker;
 *     bnx_ticker_init(&ticker, 1000000000, BNX_TICKER_SKIP);
 *     while (bnx_ticker_next(&ticker, NULL) == 0) {
 *         report();
 *     }
 *
 * Ticks are due at the times of the init plus one period, two periods and so on, however long the
 * loop's body takes; the policy says what becomes of those that it was too slow for. A ticker is
 * memory and nothing else: it needs no fini, and one task or thread at a time uses it. A tick is as
 * late as a sleep (bonxie/time.h), beside crowds of them too.
 */
#ifndef BONXIE_TICKER_H
#define BONXIE_TICKER_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

enum bnx_ticker_policy {
    BNX_TICKER_SKIP = 0,  /* they are left out; the next one comes at a multiple of the period */
    BNX_TICKER_BURST = 1, /* they come at once, one after the other, until none is owed */
    BNX_TICKER_DELAY = 2  /* they are left out; the next one comes a period after the late one */
};

/* All fields are private. */
struct bnx_ticker {
    uint64_t period_ns;            /* immutable after init */
    uint64_t next_ns;              /* when the next tick is due; the ticker's user */
    enum bnx_ticker_policy policy; /* immutable after init */
};

/**
 * Prepares a ticker; the first tick is due one period from now.
 * @param period_ns > 0.
 * Returns 0; -EINVAL: the period is 0 or the policy unknown. Context: any thread; never suspends.
 */
BNX_API int bnx_ticker_init(struct bnx_ticker *ticker, uint64_t period_ns,
                            enum bnx_ticker_policy policy);

/**
 * Waits for the next tick; one that is due already comes at once.
 * @param out_missed receives how many further ticks were due by then: with SKIP and DELAY they are
 *   left out, with BURST the next calls return them. May be NULL; untouched on failure.
 * Returns 0; -ECANCELED or -ETIMEDOUT: the task's scope was cancelled before or meanwhile, and the
 * tick is still to come; -ENOMEM; -EINVAL: not a ticker that init has prepared.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_ticker_next(struct bnx_ticker *ticker, uint64_t *out_missed);

BNX_EXTERN_C_END

#endif
