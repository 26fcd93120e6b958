/* SPDX-License-Identifier: MIT */
/* Loops at fixed times (bonxie/ticker.h). */
#include <bonxie/ticker.h>

#include "runtime/clock.h"
#include "runtime/timer.h"
#include "runtime/wait.h"

#include <errno.h>

int bnx_ticker_init(struct bnx_ticker *ticker, uint64_t period_ns, enum bnx_ticker_policy policy) {
    if (period_ns == 0 || (unsigned)policy > BNX_TICKER_DELAY) {
        return -EINVAL;
    }
    ticker->period_ns = period_ns;
    ticker->next_ns = bnx_clock_after(bnx_clock_now(), period_ns);
    ticker->policy = policy;
    return 0;
}

/* A tick that is due is taken without a wait, by a loop that may take many: it costs a unit of the
 * slice, and a cancel is noticed. */
static int take_due(void) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return 0;
    }
    int error = bnx_task_cancel_check(self);
    if (error == 0) {
        bnx_task_spend(self);
    }
    return error;
}

/* The time of the tick after the one at next_ns, of which `missed` further ones are past. */
static uint64_t following(const struct bnx_ticker *ticker, uint64_t now_ns, uint64_t missed) {
    switch (ticker->policy) {
    case BNX_TICKER_SKIP:
        if (!BNX_PLANT(ticker_skips_none)) {
            return bnx_clock_after(ticker->next_ns + missed * ticker->period_ns, ticker->period_ns);
        }
        break;
    case BNX_TICKER_BURST:
        break;
    case BNX_TICKER_DELAY:
        return bnx_clock_after(missed != 0 ? now_ns : ticker->next_ns, ticker->period_ns);
    }
    return bnx_clock_after(ticker->next_ns, ticker->period_ns);
}

int bnx_ticker_next(struct bnx_ticker *ticker, uint64_t *out_missed) {
    if (ticker->period_ns == 0) {
        return -EINVAL;
    }
    bool is_due = ticker->next_ns <= bnx_clock_now();
    int error = is_due ? take_due() : bnx_sleep_for(ticker->next_ns, BNX_WAIT_TICKER, ticker);
    if (error != 0) {
        return error;
    }
    uint64_t now_ns = bnx_clock_now();
    uint64_t missed = (now_ns - ticker->next_ns) / ticker->period_ns;
    ticker->next_ns = following(ticker, now_ns, missed);
    if (out_missed != NULL) {
        *out_missed = missed;
    }
    return 0;
}
