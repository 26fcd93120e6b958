/* SPDX-License-Identifier: MIT */
/* What the tests of timers share: a callback that leaves a record, and how a timer is made. */
#ifndef BNX_TESTS_UNIT_TIMER_FIXTURE_H
#define BNX_TESTS_UNIT_TIMER_FIXTURE_H

#include "tests/support/sched.h"

#define HOUR_NS (3600 * BNX_NS_PER_S)
#define SOON_NS (2 * BNX_WHEEL_TICK_NS)

/* What a callback leaves behind. */
struct record {
    uint64_t calls;      /* of the callback, that are over */
    uint64_t inside;     /* callbacks that run now */
    uint64_t not_before; /* no call may begin earlier */
    uint64_t early;      /* calls that did */
    struct bnx_timer *timer;
    struct bnx_future *done; /* set by the first call; NULL: none */
};

static inline void record_call(struct bnx_timer *timer, void *arg) {
    struct record *record = arg;
    CHECK(timer == record->timer);
    CHECK_EQ(bnx_fetch_add_acq_rel(&record->inside, 1), 0);
    if (bnx_now() < bnx_load_acquire(&record->not_before)) {
        bnx_fetch_add_acq_rel(&record->early, 1);
    }
    bnx_yield();
    CHECK_EQ(bnx_fetch_sub_acq_rel(&record->inside, 1), 1);
    bnx_fetch_add_acq_rel(&record->calls, 1);
}

static inline struct bnx_timer *create(struct bnx_timer_options options) {
    struct bnx_timer *timer = NULL;
    CHECK_EQ(bnx_timer_create(&timer, &options), 0);
    return timer;
}

#endif
