/* SPDX-License-Identifier: MIT */
/* Timers and tickers on the simulated machine: races of a few timers, and exact virtual times. */
#include "runtime/atomic.h"
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/wheel.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 3000
#define TIMERS_MAX 2
#define PLAYERS_MAX 3
#define ACTS_MAX 8

struct target {
    struct bnx_timer *timer;
    uint64_t starts;
    uint64_t stopped; /* starts that have ended unfired */
    uint64_t calls;
    uint64_t inside;     /* callbacks that run */
    uint64_t not_before; /* no callback may begin earlier: the shortest deadline that holds */
};

struct storm {
    struct bnx_runtime *runtime;
    struct target targets[TIMERS_MAX];
    uint32_t count; /* of timers */
};

static void count_call(struct bnx_timer *timer, void *arg) {
    struct target *target = arg;
    CHECK(timer == target->timer);
    CHECK_EQ(bnx_fetch_add_acq_rel(&target->inside, 1), 0); /* one at a time */
    if (bnx_sim_draw(3) == 0) {
        bnx_yield();
    }
    bnx_fetch_add_relaxed(&target->calls, 1);
    CHECK_EQ(bnx_fetch_sub_acq_rel(&target->inside, 1), 1);
}

static uint64_t some_deadline(void) {
    return bnx_now() + bnx_sim_draw(3) * BNX_WHEEL_TICK_NS / 2;
}

static void act_once(struct target *target) {
    uint64_t stopped = 0;
    switch (bnx_sim_draw(6)) {
    case 0:
        stopped = (uint64_t)bnx_timer_stop(target->timer);
        break;
    case 1:
        stopped = (uint64_t)bnx_timer_cancel(target->timer);
        break;
    case 2: {
        int error = bnx_timer_extend(target->timer, some_deadline());
        CHECK(error == 0 || error == -EALREADY);
        break;
    }
    default:
        stopped = (uint64_t)bnx_timer_start(target->timer, some_deadline());
        bnx_fetch_add_relaxed(&target->starts, 1);
        break;
    }
    CHECK(stopped <= 1);
    bnx_fetch_add_relaxed(&target->stopped, stopped);
}

static int play(void *arg) {
    struct storm *storm = arg;
    for (uint32_t i = 1 + bnx_sim_draw(ACTS_MAX); i > 0; i--) {
        act_once(&storm->targets[bnx_sim_draw(storm->count)]);
        if (bnx_sim_draw(3) == 0) {
            CHECK_EQ(bnx_sleep(1 + bnx_sim_draw(2 * BNX_WHEEL_TICK_NS)), 0);
        }
    }
    return 0;
}

static int play_together(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(PLAYERS_MAX); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&scope, play, arg), 0);
    }
    return bnx_scope_close(&scope);
}

static int storm_once(void *arg) {
    (void)arg;
    struct storm storm = {.count = 1 + bnx_sim_draw(TIMERS_MAX)};
    struct bnx_options options = seeds_options();
    CHECK_EQ(bnx_runtime_create(&options, &storm.runtime), 0);
    for (uint32_t i = 0; i < storm.count; i++) {
        struct target *target = &storm.targets[i];
        struct bnx_timer_options timer = {
            .runtime = storm.runtime, .fn = count_call, .arg = target};
        CHECK_EQ(bnx_timer_create(&target->timer, &timer), 0);
    }
    int thread = bnx_sim_thread_start(play, &storm);
    CHECK(thread > 0);
    CHECK_EQ(bnx_runtime_run(storm.runtime, play_together, &storm), 0);
    CHECK_EQ(bnx_sim_thread_join(thread), 0);
    for (uint32_t i = 0; i < storm.count; i++) {
        struct target *target = &storm.targets[i];
        target->stopped += (uint64_t)bnx_timer_cancel(target->timer);
        CHECK_EQ(target->calls + target->stopped, target->starts);
        CHECK_EQ(target->inside, 0);
        bnx_timer_destroy(target->timer);
    }
    CHECK_EQ(bnx_runtime_wait(storm.runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_destroy(storm.runtime), 0);
    return 0;
}

/* Tasks and a thread start, extend, stop and cancel the same timers while they fire: each start
 * ends once, callbacks do not overlap, and a cancel leaves none behind. */
TEST(timer_storm, "sim.timer_storm") {
    seeds_run(SEEDS, storm_once);
}

/* ---- Putting off and cutting short ---- */

static void note_time(struct bnx_timer *timer, void *arg) {
    struct target *target = arg;
    (void)timer;
    CHECK(bnx_now() >= bnx_load_acquire(&target->not_before));
    bnx_fetch_add_relaxed(&target->calls, 1);
}

static int put_off(void *arg) {
    struct target *target = arg;
    for (uint32_t i = 1 + bnx_sim_draw(4); i > 0; i--) {
        uint64_t deadline_ns = bnx_now() + (1 + bnx_sim_draw(4)) * BNX_WHEEL_TICK_NS;
        if (bnx_timer_extend(target->timer, deadline_ns) != 0) {
            return 0;
        }
        uint64_t before_ns = bnx_load_acquire(&target->not_before);
        while (before_ns < deadline_ns && /* ends: it only grows */
               !bnx_cas_acq_rel(&target->not_before, &before_ns, deadline_ns)) {
        }
        CHECK_EQ(bnx_sleep(bnx_sim_draw(2 * BNX_WHEEL_TICK_NS)), 0);
    }
    return 0;
}

static int cut_short(void *arg) {
    CHECK_EQ(bnx_timer_start(arg, bnx_now()), 1);
    return 0;
}

static int put_off_then_cut(void *arg) {
    (void)arg;
    struct target target = {0};
    struct bnx_timer_options options = {.fn = note_time, .arg = &target};
    CHECK_EQ(bnx_timer_create(&target.timer, &options), 0);
    uint64_t begin_ns = bnx_now();
    CHECK_EQ(bnx_timer_start(target.timer, begin_ns + BNX_WHEEL_TICK_NS), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 1 + bnx_sim_draw(2); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&scope, put_off, &target), 0);
    }
    CHECK_EQ(bnx_timer_wait(target.timer), 0);
    CHECK_EQ(bnx_timer_cancel(target.timer), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(target.calls, 1);

    bnx_store_release(&target.not_before, 0);
    begin_ns = bnx_now();
    CHECK_EQ(bnx_timer_start(target.timer, begin_ns + 3600 * BNX_NS_PER_S), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, cut_short, target.timer), 0);
    CHECK_EQ(bnx_timer_wait(target.timer), 0);
    CHECK(bnx_now() - begin_ns < 3000 * BNX_NS_PER_S); /* virtual time: what it did not wait for */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_timer_destroy(target.timer);
    CHECK_EQ(target.calls, 2);
    return 0;
}

static int put_off_and_cut(void *arg) {
    return seeds_bnx_run(put_off_then_cut, arg);
}

/* Other workers put a timer off, and cut it short: it fires not before the time that holds, and at
 * once when it is cut. */
TEST(timer_moves, "sim.timer_moves") {
    seeds_run(SEEDS, put_off_and_cut);
}

/* ---- Tickers ---- */

#define PERIOD_NS (4 * BNX_WHEEL_TICK_NS)

static int follow_ticker(void *arg) {
    enum bnx_ticker_policy policy = (enum bnx_ticker_policy)(uintptr_t)arg;
    struct bnx_ticker ticker;
    CHECK_EQ(bnx_ticker_init(&ticker, PERIOD_NS, policy), 0);
    uint64_t due_ns = ticker.next_ns;
    for (uint32_t i = 2 + bnx_sim_draw(6); i > 0; i--) {
        if (bnx_sim_draw(2) == 0) {
            CHECK_EQ(bnx_sleep(bnx_sim_draw(3 * PERIOD_NS)), 0);
        }
        uint64_t missed = UINT64_MAX;
        CHECK_EQ(bnx_ticker_next(&ticker, &missed), 0);
        uint64_t now_ns = bnx_now();
        CHECK(now_ns >= due_ns + missed * PERIOD_NS);
        switch (policy) {
        case BNX_TICKER_SKIP:
            due_ns += (missed + 1) * PERIOD_NS;
            break;
        case BNX_TICKER_BURST:
            due_ns += PERIOD_NS;
            break;
        case BNX_TICKER_DELAY:
            CHECK(missed != 0 || ticker.next_ns == due_ns + PERIOD_NS);
            CHECK(ticker.next_ns <= now_ns + PERIOD_NS);
            due_ns = ticker.next_ns;
            break;
        }
        CHECK_EQ(ticker.next_ns, due_ns);
    }
    return 0;
}

static int follow_tickers(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uintptr_t policy = BNX_TICKER_SKIP; policy <= BNX_TICKER_DELAY; policy++) {
        CHECK_EQ(bnx_spawn(&scope, follow_ticker, (void *)policy), 0);
    }
    return bnx_scope_close(&scope);
}

static int run_tickers(void *arg) {
    return seeds_bnx_run(follow_tickers, arg);
}

/* Loops that are slow at times get the ticks that their policy promises, at its times. */
TEST(tickers, "sim.ticker_policies") {
    seeds_run(SEEDS / 3, run_tickers);
}

/* ---- Crowds ---- */

#define SLEEPERS 64
#define SLEEPERS_A_TICK 4

static int sleep_in_crowd(void *arg) {
    uint64_t due_ns = *(uint64_t *)arg;
    CHECK_EQ(bnx_sleep_until(due_ns), 0);
    CHECK(bnx_now() >= due_ns);
    CHECK(bnx_now() - due_ns <= 6 * BNX_WHEEL_TICK_NS); /* a tick, a rest of four, the way there */
    return 0;
}

static int sleep_together(void *arg) {
    (void)arg;
    uint64_t due_ns[SLEEPERS];
    struct bnx_scope scope;
    struct bnx_worker *worker = &bnx_runtime_current()->workers[0];
    uint64_t parks = bnx_load_relaxed(&worker->counters.parks); /* relaxed: of this thread */
    uint64_t begin_ns = bnx_now() + 8 * BNX_WHEEL_TICK_NS;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < SLEEPERS; i++) {
        due_ns[i] = begin_ns + i * BNX_WHEEL_TICK_NS / SLEEPERS_A_TICK;
        CHECK_EQ(bnx_spawn(&scope, sleep_in_crowd, &due_ns[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    parks = bnx_load_relaxed(&worker->counters.parks) - parks; /* relaxed: as above */
    CHECK(parks > 0);
    CHECK(parks <= SLEEPERS / SLEEPERS_A_TICK / 2);
    return 0;
}

static int run_crowd(void *arg) {
    struct bnx_options options = {
        .worker_count = 1, .spin_ns = BNX_SPIN_NEVER, .flags = BNX_NO_WATCHDOG};
    return bnx_run(&options, sleep_together, arg);
}

/* Where several timers are due in each tick, the worker wakes for several ticks at a time, and
 * nobody is late by more than that. */
TEST(crowds, "sim.timer_crowds") {
    seeds_run(SEEDS / 10, run_crowd);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
