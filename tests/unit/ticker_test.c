/* SPDX-License-Identifier: MIT */
/* Claims about tickers, on a clock that the test moves: no runtime, so every time is exact. */
#include "runtime/clock.h"
#include "runtime/os.h"
#include "tests/support/sched.h"

static uint64_t now_ns;
static uint64_t oversleep_ns; /* how much later than its deadline the next sleep ends */

static uint64_t read_clock(void) {
    return now_ns;
}

/* Time passes only in a sleep. */
static int sleep_on_clock(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    CHECK_EQ(*word, expected);
    CHECK(deadline_ns > now_ns);
    now_ns = deadline_ns + oversleep_ns;
    oversleep_ns = 0;
    return -ETIMEDOUT;
}

static void begin_at(uint64_t start_ns) {
    bnx_os.clock_now = read_clock;
    bnx_os.futex_wait = sleep_on_clock;
    now_ns = start_ns;
    oversleep_ns = 0;
}

static struct bnx_ticker start(enum bnx_ticker_policy policy) {
    struct bnx_ticker ticker;
    begin_at(1000);
    CHECK_EQ(bnx_ticker_init(&ticker, 100, policy), 0);
    return ticker;
}

/* The next tick comes at at_ns, when `missed` further ones are due. */
static void expect(struct bnx_ticker *ticker, uint64_t at_ns, uint64_t missed) {
    uint64_t found = UINT64_MAX;
    CHECK_EQ(bnx_ticker_next(ticker, &found), 0);
    CHECK_EQ(now_ns, at_ns);
    CHECK_EQ(found, missed);
}

/* Claim: a loop in time gets each tick at its time, whatever the policy, and a body that takes less
 * than a period, or a sleep that lasts a bit longer, shifts none. */
TEST(ticker_in_time, "ticker.keeps_time") {
    for (unsigned policy = BNX_TICKER_SKIP; policy <= BNX_TICKER_DELAY; policy++) {
        struct bnx_ticker ticker = start((enum bnx_ticker_policy)policy);
        expect(&ticker, 1100, 0);
        expect(&ticker, 1200, 0);
        now_ns += 99;
        expect(&ticker, 1300, 0);
        oversleep_ns = 70;
        expect(&ticker, 1470, 0);
        expect(&ticker, 1500, 0);
        CHECK_EQ(bnx_ticker_next(&ticker, NULL), 0);
        CHECK_EQ(now_ns, 1600);
    }
}

/* Claim: SKIP leaves the missed ticks out, says how many, and stays on the multiples. */
TEST(ticker_skip, "ticker.skip") {
    struct bnx_ticker ticker = start(BNX_TICKER_SKIP);
    expect(&ticker, 1100, 0);
    now_ns = 1450; /* 1200 late, 1300 and 1400 as well */
    expect(&ticker, 1450, 2);
    expect(&ticker, 1500, 0);
    now_ns = 1700; /* 1600 late, 1700 just now */
    expect(&ticker, 1700, 1);
    expect(&ticker, 1800, 0);
}

/* Claim: BURST makes up for all of them at once, saying how many are still owed. */
TEST(ticker_burst, "ticker.burst") {
    struct bnx_ticker ticker = start(BNX_TICKER_BURST);
    expect(&ticker, 1100, 0);
    now_ns = 1450;
    expect(&ticker, 1450, 2);
    expect(&ticker, 1450, 1);
    expect(&ticker, 1450, 0);
    expect(&ticker, 1500, 0);
}

/* Claim: DELAY leaves them out and counts the period from the late tick. */
TEST(ticker_delay, "ticker.delay") {
    struct bnx_ticker ticker = start(BNX_TICKER_DELAY);
    expect(&ticker, 1100, 0);
    now_ns = 1450;
    expect(&ticker, 1450, 2);
    expect(&ticker, 1550, 0);
    expect(&ticker, 1650, 0);
}

/* Claim: periods near the end of time saturate; wrong arguments are refused. */
TEST(ticker_limits, "ticker.limits") {
    struct bnx_ticker ticker = {0};
    CHECK_EQ(bnx_ticker_next(&ticker, NULL), -EINVAL);
    CHECK_EQ(bnx_ticker_init(&ticker, 0, BNX_TICKER_SKIP), -EINVAL);
    CHECK_EQ(bnx_ticker_init(&ticker, 1, (enum bnx_ticker_policy)3), -EINVAL);
    begin_at(1000);
    CHECK_EQ(bnx_ticker_init(&ticker, UINT64_MAX - 10, BNX_TICKER_SKIP), 0);
    CHECK_EQ(ticker.next_ns, BNX_NEVER_NS);
    CHECK_EQ(bnx_ticker_init(&ticker, 1, BNX_TICKER_SKIP), 0);
    now_ns = 5000; /* 3998 beyond the first */
    expect(&ticker, 5000, 3999);
    expect(&ticker, 5001, 0);
}

/* ---- On a task ---- */

static int tick_until_cancelled(void *arg) {
    uint64_t *ticks = arg;
    struct bnx_ticker ticker;
    uint64_t begin_ns = bnx_now();
    CHECK_EQ(bnx_ticker_init(&ticker, BNX_WHEEL_TICK_NS, BNX_TICKER_BURST), 0);
    int error;
    while ((error = bnx_ticker_next(&ticker, NULL)) == 0) { /* ends: it is cancelled */
        uint64_t count = bnx_fetch_add_acq_rel(ticks, 1) + 1;
        CHECK(bnx_now() >= begin_ns + count * BNX_WHEEL_TICK_NS); /* none is early */
    }
    CHECK_EQ(error, -ECANCELED);
    CHECK_EQ(bnx_ticker_next(&ticker, NULL), -ECANCELED);
    return error;
}

static int cancel_ticker(void *arg) {
    (void)arg;
    uint64_t ticks = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, tick_until_cancelled, &ticks), 0);
    sched_await_count(&ticks, 20);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: on a task no tick is early and a cancel ends the wait for one, also where ticks are owed
 * and there is nothing to wait for. */
TEST(ticker_cancel, "ticker.cancel") {
    sched_run_each(cancel_ticker, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
