/* SPDX-License-Identifier: MIT */
/* The timer wheel on a virtual clock: against a model, at its edges, and what its calls promise. */
#include "runtime/wheel.h"

#include "runtime/rng.h"
#include "tests/support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_YEAR (UINT64_C(31557600) * BNX_NS_PER_S)
#define NO_LIMIT SIZE_MAX
#define MODEL_TIMERS 512
/* Magnitudes up to 146 years; in the shrink build, whose top level ends after 5 hours and whose far
 * timers so go round and round, up to 52 days. */
#define DURATION_BITS_MAX BNX_CAPACITY(62, 52)

/* A start that lies on no boundary of any level. */
#define START_NS (UINT64_C(0x2a5b7c9d) * BNX_WHEEL_TICK_NS + 12345)

/* What the model knows of one timer; it finds everything by looking at all of them. */
struct model_timer {
    struct bnx_wheel_timer timer;
    bool is_armed;
    bool is_cancelled;
    uint32_t generation;
    uint64_t tick; /* the first tick at which it may expire; overdue ones: the wheel's at arm */
};

struct model {
    struct bnx_wheel wheel;
    struct bnx_rng rng;
    uint64_t now_ns;
    uint64_t armed_count;
    uint64_t expired_count;
    uint64_t dropped_count;
    struct model_timer timers[MODEL_TIMERS];
};

static struct model model; /* too large for a stack of any size */

/* Division, not shifts: nothing is shared with the code under test. */
static uint64_t model_tick(uint64_t deadline_ns) {
    uint64_t tick = deadline_ns / 65536 + (deadline_ns % 65536 != 0 ? 1 : 0);
    return tick < (UINT64_C(1) << 48) - 1 ? tick : UINT64_MAX;
}

static void model_init(uint64_t seed, uint64_t start_ns) {
    memset(&model, 0, sizeof(model));
    bnx_rng_init(&model.rng, seed, start_ns);
    model.now_ns = start_ns;
    bnx_wheel_init(&model.wheel, start_ns);
}

/* A duration whose magnitude is uniform: every level is as likely as every other. */
static uint64_t random_duration(unsigned bits_max) {
    uint32_t bits = bnx_rng_below(&model.rng, bits_max + 1);
    return bnx_rng_next(&model.rng) & ((UINT64_C(1) << bits) - 1);
}

static void model_arm(struct model_timer *entry, uint64_t deadline_ns) {
    uint64_t tick = model_tick(deadline_ns);
    entry->tick = tick > model.wheel.now_tick ? tick : model.wheel.now_tick;
    uint32_t before = bnx_wheel_timer_generation(&entry->timer);
    entry->generation = bnx_wheel_arm(&model.wheel, &entry->timer, deadline_ns);
    CHECK(entry->generation != before);
    CHECK_EQ(bnx_wheel_timer_generation(&entry->timer), entry->generation);
    entry->is_armed = true;
    model.armed_count++;
}

static void model_disarm(struct model_timer *entry) {
    enum bnx_disarm expected = entry->is_cancelled ? BNX_DISARM_CANCELLED
                               : entry->is_armed   ? BNX_DISARM_ARMED
                                                   : BNX_DISARM_GONE;
    CHECK_EQ(bnx_wheel_disarm(&model.wheel, &entry->timer), expected);
    CHECK_EQ(bnx_wheel_timer_state(&entry->timer), BNX_TIMER_IDLE);
    entry->is_armed = entry->is_cancelled = false;
}

static void model_cancel(struct model_timer *entry) {
    CHECK_EQ(bnx_wheel_timer_cancel(&entry->timer, entry->generation), entry->is_armed);
    entry->is_cancelled |= entry->is_armed;
    entry->is_armed = false;
}

static void model_extend(struct model_timer *entry, uint64_t deadline_ns) {
    uint64_t tick = model_tick(deadline_ns);
    uint64_t current = model_tick(bnx_wheel_timer_deadline_ns(&entry->timer));
    bool is_extended = bnx_wheel_timer_extend(&entry->timer, entry->generation, deadline_ns);
    CHECK_EQ(is_extended, entry->is_armed && tick >= current);
    if (is_extended && tick > entry->tick) {
        entry->tick = tick;
    }
}

static uint64_t model_earliest(void) {
    uint64_t earliest = UINT64_MAX;
    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        if (model.timers[i].is_armed && model.timers[i].tick < earliest) {
            earliest = model.timers[i].tick;
        }
    }
    return earliest;
}

static void model_check_next(void) {
    uint64_t earliest = model_earliest();
    if (earliest != UINT64_MAX) {
        CHECK(bnx_wheel_next_ns(&model.wheel) <= earliest * 65536);
        CHECK(bnx_wheel_next_published(&model.wheel) <= earliest * 65536);
    }
}

/* One advance; what it gives must be what the model says, in the model's order. */
static bool model_advance(uint64_t now_ns, size_t max) {
    model.now_ns = now_ns;
    struct bnx_wheel_batch batch;
    size_t count = bnx_wheel_advance(&model.wheel, now_ns, max, &batch);
    CHECK_EQ(count, batch.expired.count);
    CHECK(batch.expired.count + batch.dropped.count <= max);
    uint64_t tick_last = 0;
    struct bnx_wheel_timer *timer;
    while ((timer = bnx_wheel_timer_list_pop(&batch.expired)) != NULL) {
        struct model_timer *entry = BNX_CONTAINER_OF(timer, struct model_timer, timer);
        CHECK_EQ(bnx_wheel_timer_state(timer), BNX_TIMER_TAKEN);
        CHECK(entry->is_armed);
        CHECK(entry->tick >= tick_last);
        CHECK(entry->tick <= now_ns / 65536 || entry->tick <= model.wheel.now_tick);
        tick_last = entry->tick;
        CHECK_EQ(bnx_wheel_disarm(&model.wheel, timer), BNX_DISARM_GONE);
        CHECK(!bnx_wheel_timer_cancel(timer, entry->generation));
        entry->is_armed = false;
        model.expired_count++;
        bnx_wheel_timer_finish(timer);
    }
    while ((timer = bnx_wheel_timer_list_pop(&batch.dropped)) != NULL) {
        struct model_timer *entry = BNX_CONTAINER_OF(timer, struct model_timer, timer);
        CHECK(entry->is_cancelled);
        entry->is_cancelled = false;
        model.dropped_count++;
        bnx_wheel_timer_finish(timer);
    }
    uint64_t earliest = model_earliest();
    CHECK(earliest >= tick_last);
    if (!batch.has_more) {
        CHECK(earliest > now_ns / 65536);
    }
    return batch.has_more;
}

/* Cuts a big jump in calls of max timers; each call works, so this ends. */
static void model_advance_whole(uint64_t now_ns, size_t max) {
    while (model_advance(now_ns, max)) {
        CHECK(bnx_wheel_check(&model.wheel));
    }
}

static void model_step(unsigned duration_bits) {
    struct model_timer *entry = &model.timers[bnx_rng_below(&model.rng, MODEL_TIMERS)];
    uint64_t duration = random_duration(duration_bits);
    uint64_t later = bnx_clock_after(model.now_ns, duration);
    switch (bnx_rng_below(&model.rng, 8)) {
    case 0:
    case 1:
    case 2:
        if (bnx_wheel_timer_state(&entry->timer) == BNX_TIMER_IDLE) {
            bool is_past = bnx_rng_below(&model.rng, 16) == 0 && duration < model.now_ns;
            model_arm(entry, is_past ? model.now_ns - duration : later);
        }
        break;
    case 3:
        model_disarm(entry);
        break;
    case 4:
        model_cancel(entry);
        break;
    case 5:
        model_extend(entry, later);
        break;
    default:
        later = bnx_clock_after(model.now_ns, random_duration(duration_bits - 8));
        if (bnx_rng_below(&model.rng, 4) == 0) {
            (void)model_advance(later, 1 + bnx_rng_below(&model.rng, 8));
        } else {
            model_advance_whole(later, 1 + bnx_rng_below(&model.rng, 64));
        }
    }
    model_check_next();
}

/* Claim: what expires, when, in which order, and what every call returns is what a model says that
 * looks at all timers each time. Method: 1e6 random operations over all magnitudes of time; a clock
 * that comes near its end starts over. */
TEST(wheel_matches_model, "wheel.matches_model") {
    uint64_t seed = bnx_test_seed();
    uint64_t step_count = bnx_test_scale(1000000);
    uint64_t expired_count = 0;
    uint64_t dropped_count = 0;
    uint64_t start_ns = START_NS;
    model_init(seed, start_ns);
    for (uint64_t step = 0; step < step_count; step++) {
        if (model.now_ns > UINT64_MAX / 4 * 3) {
            expired_count += model.expired_count;
            dropped_count += model.dropped_count;
            start_ns = bnx_rng_next(&model.rng) >> 2;
            model_init(seed, start_ns);
        }
        model_step(DURATION_BITS_MAX);
        if (step % 64 == 0) {
            CHECK(bnx_wheel_check(&model.wheel));
        }
    }
    expired_count += model.expired_count;
    dropped_count += model.dropped_count;
    printf("steps %" PRIu64 ", expired %" PRIu64 ", dropped %" PRIu64 "\n", step_count,
           expired_count, dropped_count);
    CHECK(expired_count > 0);
    CHECK(dropped_count > 0);
}

/* Claim: a clock jump of any size expires exactly what is due, in order, and its work does not
 * depend on the time that passed. Method: timers over all magnitudes; jumps of 1 ms to 200 years;
 * the work is what max counts: one touch a level and a round of the top level for each timer. */
TEST(wheel_jumps, "wheel.jumps") {
    uint64_t seed = bnx_test_seed();
    const uint64_t jumps_ns[] = {
        BNX_NS_PER_MS,
        7 * BNX_NS_PER_MS,
        300 * BNX_NS_PER_MS,
        20 * BNX_NS_PER_S,
        3600 * BNX_NS_PER_S,
        NS_PER_YEAR / 12,
        NS_PER_YEAR,
        9 * NS_PER_YEAR,
        10 * NS_PER_YEAR,
        19 * NS_PER_YEAR,
        100 * NS_PER_YEAR,
        200 * NS_PER_YEAR,
        BNX_WHEEL_TICK_NS << (3 * BNX_WHEEL_SLOT_BITS),
    };
    for (size_t j = 0; j < BNX_ARRAY_COUNT(jumps_ns); j++) {
        uint64_t jump_ns = jumps_ns[j];
        model_init(seed + j, START_NS);
        for (size_t i = 0; i < MODEL_TIMERS; i++) {
            uint64_t deadline_ns = START_NS + random_duration(DURATION_BITS_MAX);
            if (i < 8) {
                deadline_ns = START_NS + jump_ns + i * BNX_WHEEL_TICK_NS - 4 * BNX_WHEEL_TICK_NS;
            }
            model_arm(&model.timers[i], deadline_ns);
        }
        uint64_t round_ticks =
            BNX_WHEEL_RANGE_TICKS - (BNX_WHEEL_RANGE_TICKS >> BNX_WHEEL_SLOT_BITS);
        uint64_t rounds = (jump_ns / BNX_WHEEL_TICK_NS) / round_ticks;
        size_t touch_max = MODEL_TIMERS * (BNX_WHEEL_LEVELS + 1 + (size_t)rounds);
        CHECK(!model_advance(START_NS + jump_ns, touch_max));
        CHECK(model.expired_count >= 4);
        CHECK(bnx_wheel_check(&model.wheel));
        model_advance_whole(UINT64_MAX, 64);
        CHECK_EQ(model.expired_count, MODEL_TIMERS);
    }
    /* An empty wheel touches nothing, however far it goes. */
    model_init(seed, 0);
    CHECK(!model_advance(200 * NS_PER_YEAR, 1));
}

/* Claim: nothing fires before its deadline, and all that is due has fired one tick after it.
 * Method: single timers about tick, slot and level boundaries; the clock stops 1 ns short, then
 * goes to the end of the tick. */
TEST(wheel_no_early_fire, "wheel.no_early_fire") {
    model_init(bnx_test_seed(), START_NS);
    struct model_timer *entry = &model.timers[0];
    for (unsigned bits = 0; bits < 62; bits++) {
        for (unsigned offset = 0; offset < 5; offset++) {
            model_init(bits, START_NS);
            uint64_t deadline_ns = START_NS + (UINT64_C(1) << bits) + offset * 16384;
            if (offset == 4) {
                deadline_ns =
                    deadline_ns / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS + BNX_WHEEL_TICK_NS;
            }
            struct bnx_wheel_batch batch;
            (void)bnx_wheel_arm(&model.wheel, &entry->timer, deadline_ns);
            CHECK_EQ(bnx_wheel_advance(&model.wheel, deadline_ns - 1, NO_LIMIT, &batch), 0);
            CHECK_EQ(bnx_wheel_timer_state(&entry->timer), BNX_TIMER_ARMED);
            uint64_t last_ns = deadline_ns + BNX_WHEEL_TICK_NS - 1;
            CHECK_EQ(bnx_wheel_advance(&model.wheel, last_ns, NO_LIMIT, &batch), 1);
            CHECK(batch.expired.first == &entry->timer);
            bnx_wheel_timer_finish(&entry->timer);
        }
    }
}

/* Claim: next_ns is never later than the first expiry, is exact for a timer alone, and is never
 * when nothing is linked; sleeping until it again and again reaches every timer in few steps.
 * Method: timers over all magnitudes, the clock moved to next_ns only. */
TEST(wheel_next_is_lower_bound, "wheel.next_is_lower_bound") {
    model_init(bnx_test_seed(), START_NS);
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);
    uint64_t deadline_ns = START_NS / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS + NS_PER_YEAR;
    deadline_ns = deadline_ns / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS;
    model_arm(&model.timers[0], deadline_ns);
    CHECK_EQ(bnx_wheel_next_ns(&model.wheel), deadline_ns);
    model_disarm(&model.timers[0]);
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);

    for (size_t i = 0; i < MODEL_TIMERS; i++) {
        model_arm(&model.timers[i], START_NS + random_duration(58));
    }
    /* Each wake expires a timer or moves some a level down. */
    size_t wakes_max = MODEL_TIMERS * (BNX_WHEEL_LEVELS + 1);
    if (BNX_SHRINK) {
        wakes_max += (UINT64_C(1) << 58) / BNX_WHEEL_TICK_NS / (BNX_WHEEL_RANGE_TICKS / 2);
    }
    size_t wakes = 0;
    while (model.expired_count < MODEL_TIMERS) {
        uint64_t next_ns = bnx_wheel_next_ns(&model.wheel);
        CHECK(next_ns != BNX_NEVER_NS);
        model_check_next();
        model_advance_whole(next_ns > model.now_ns ? next_ns : model.now_ns, NO_LIMIT);
        CHECK(++wakes <= wakes_max);
    }
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);
}

/* Claim: the published bound falls with each earlier arm, never exceeds the first deadline, and is
 * never once an advance has found the wheel empty. Method: arms in falling and rising order. */
TEST(wheel_published_next, "wheel.published_next") {
    model_init(bnx_test_seed(), START_NS);
    CHECK(bnx_wheel_next_published(&model.wheel) == BNX_NEVER_NS);
    const uint64_t base_ns = (START_NS / BNX_WHEEL_TICK_NS + 1) * BNX_WHEEL_TICK_NS;
    for (uint64_t i = 10; i > 0; i--) {
        model_arm(&model.timers[i],
                  base_ns + i * BNX_NS_PER_S / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS);
        CHECK_EQ(bnx_wheel_next_published(&model.wheel),
                 bnx_wheel_timer_deadline_ns(&model.timers[i].timer));
    }
    uint64_t first_ns = bnx_wheel_timer_deadline_ns(&model.timers[1].timer);
    model_arm(&model.timers[11], base_ns + 60 * BNX_NS_PER_S);
    CHECK_EQ(bnx_wheel_next_published(&model.wheel), first_ns);
    model_advance_whole(first_ns, NO_LIMIT);
    CHECK(bnx_wheel_next_published(&model.wheel) > first_ns);
    model_check_next();
    model_advance_whole(base_ns + 61 * BNX_NS_PER_S, NO_LIMIT);
    CHECK_EQ(model.expired_count, 11);
    CHECK(bnx_wheel_next_published(&model.wheel) == BNX_NEVER_NS);
}

/* Claim: the last tick of a 64-bit clock is an end, not a way round to zero; no level's index and
 * no round of the top level wraps wrongly. Method: clocks that start just below the end, below each
 * level's boundary and below 2^32 ticks; then the model's operations across it. */
TEST(wheel_wrap, "wheel.wrap") {
    uint64_t seed = bnx_test_seed();
    model_init(seed, UINT64_MAX - 10 * BNX_NS_PER_S);
    model_arm(&model.timers[0], UINT64_MAX - 9 * BNX_NS_PER_S);
    model_arm(&model.timers[1], UINT64_MAX - 3 * BNX_WHEEL_TICK_NS);
    model_arm(&model.timers[2], UINT64_MAX - BNX_WHEEL_TICK_NS / 2);
    model_arm(&model.timers[3], bnx_clock_after(model.now_ns, 60 * BNX_NS_PER_S));
    CHECK(bnx_wheel_timer_deadline_ns(&model.timers[3].timer) == BNX_NEVER_NS);
    CHECK(!model_advance(UINT64_MAX - 8 * BNX_NS_PER_S, NO_LIMIT));
    CHECK_EQ(model.expired_count, 1);
    CHECK(!model_advance(UINT64_MAX, NO_LIMIT));
    CHECK_EQ(model.expired_count, 2);
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);
    model_disarm(&model.timers[2]);
    model_disarm(&model.timers[3]);

    for (unsigned bits = 32; bits <= 64; bits++) {
        uint64_t boundary_ns = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) * 3;
        boundary_ns = bits == 63 ? UINT64_C(1) << 63 : boundary_ns;
        model_init(seed, boundary_ns - 20 * BNX_NS_PER_MS);
        for (uint64_t step = 0; step < 500; step++) {
            model_step(32);
            CHECK(bnx_wheel_check(&model.wheel));
        }
        CHECK(model.now_ns > boundary_ns || bits == 64);
        CHECK(model.expired_count > 0);
    }
}

/* Claim: a handle of an earlier arming neither cancels nor extends a later one, also across the
 * wrap of the generation. Method: more armings than there are generations, each tried with the last
 * handle and ended with its own. */
TEST(wheel_stale_handle_fails, "wheel.stale_handle_fails") {
    model_init(bnx_test_seed(), START_NS);
    struct bnx_wheel_timer *timer = &model.timers[1].timer;
    uint32_t stale = bnx_wheel_arm(&model.wheel, timer, START_NS + BNX_NS_PER_S);
    CHECK_EQ(bnx_wheel_disarm(&model.wheel, timer), BNX_DISARM_ARMED);
    for (uint32_t i = 0; i < 2 * BNX_TIMER_GENERATION_MASK; i++) {
        CHECK(!bnx_wheel_timer_cancel(timer, stale)); /* idle */
        uint32_t generation = bnx_wheel_arm(&model.wheel, timer, START_NS + BNX_NS_PER_S);
        CHECK(!bnx_wheel_timer_cancel(timer, stale));
        CHECK(!bnx_wheel_timer_extend(timer, stale, START_NS + 2 * BNX_NS_PER_S));
        CHECK_EQ(bnx_wheel_timer_state(timer), BNX_TIMER_ARMED);
        CHECK(bnx_wheel_timer_cancel(timer, generation));
        CHECK(!bnx_wheel_timer_cancel(timer, generation));
        CHECK_EQ(bnx_wheel_disarm(&model.wheel, timer), BNX_DISARM_CANCELLED);
        stale = generation;
    }
}

/* Claim: a deadline that has passed expires on the next advance, even when the clock stands still
 * or reads earlier. Method: deadlines from zero to now. */
TEST(wheel_overdue_is_next, "wheel.overdue_is_next") {
    model_init(bnx_test_seed(), START_NS);
    model_arm(&model.timers[0], 0);
    model_arm(&model.timers[1], START_NS - BNX_NS_PER_S);
    model_arm(&model.timers[2], START_NS / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS);
    CHECK(bnx_wheel_next_ns(&model.wheel) <= START_NS);
    CHECK(bnx_wheel_check(&model.wheel));
    CHECK(!model_advance(START_NS - BNX_NS_PER_MS, NO_LIMIT));
    CHECK_EQ(model.expired_count, 3);
}

/* Claim: disarm says whether the timer was armed, cancelled or gone, and leaves no trace in the
 * wheel. Method: each state, alone and beside a neighbour; then the wheel is empty. */
TEST(wheel_disarm_unlinks, "wheel.disarm_unlinks") {
    model_init(bnx_test_seed(), START_NS);
    struct model_timer *entry = &model.timers[0];
    struct model_timer *other = &model.timers[1];
    uint64_t deadline_ns = START_NS + BNX_NS_PER_S;
    model_disarm(entry); /* never armed: gone */
    model_arm(entry, deadline_ns);
    model_arm(other, deadline_ns); /* same slot: the neighbour stays */
    model_disarm(entry);
    CHECK(bnx_wheel_check(&model.wheel));
    model_disarm(entry); /* disarmed: gone */
    model_arm(entry, deadline_ns);
    model_cancel(entry);
    model_disarm(entry);
    CHECK(bnx_wheel_check(&model.wheel));
    model_disarm(other);
    CHECK(bnx_wheel_check(&model.wheel));
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);
    CHECK(!model_advance(deadline_ns + BNX_NS_PER_S, NO_LIMIT));
    CHECK_EQ(model.expired_count + model.dropped_count, 0);
}

/* Claim: an extended timer does not expire in its old slot but at its new deadline; an earlier
 * deadline is refused. Method: extensions within a slot's level and over many. */
TEST(wheel_extend_moves_lazily, "wheel.extend_moves_lazily") {
    for (unsigned bits = 18; bits < 60; bits++) {
        model_init(bits, START_NS);
        struct model_timer *entry = &model.timers[1];
        uint64_t old_ns = START_NS + 3 * BNX_WHEEL_TICK_NS;
        uint64_t new_ns = old_ns + (UINT64_C(1) << bits);
        model_arm(entry, old_ns);
        CHECK(!bnx_wheel_timer_extend(&entry->timer, entry->generation, START_NS));
        model_extend(entry, new_ns);
        CHECK(!bnx_wheel_timer_extend(&entry->timer, entry->generation, old_ns));
        CHECK(!model_advance(new_ns - 1, NO_LIMIT));
        CHECK_EQ(model.expired_count, 0);
        CHECK(bnx_wheel_check(&model.wheel));
        CHECK(!model_advance(new_ns + BNX_WHEEL_TICK_NS, NO_LIMIT));
        CHECK_EQ(model.expired_count, 1);
    }
}

/* Claim: max bounds what one advance touches, what remains is said, and the next calls finish it.
 * Method: many timers in one slot of a high level, taken in portions while others are armed. */
TEST(wheel_advance_is_bounded, "wheel.advance_is_bounded") {
    model_init(bnx_test_seed(), START_NS);
    uint64_t deadline_ns = START_NS + 3600 * BNX_NS_PER_S;
    for (size_t i = 0; i < MODEL_TIMERS / 2; i++) {
        model_arm(&model.timers[i], deadline_ns + i % 4 * BNX_WHEEL_TICK_NS);
    }
    size_t calls = 0;
    size_t next_index = MODEL_TIMERS / 2;
    while (model_advance(deadline_ns + 3600 * BNX_NS_PER_S, 8)) {
        calls++;
        CHECK(bnx_wheel_check(&model.wheel));
        CHECK(bnx_wheel_next_ns(&model.wheel) <= model.now_ns);
        if (next_index < MODEL_TIMERS) {
            model_arm(&model.timers[next_index++], deadline_ns);
        }
    }
    CHECK(calls >= MODEL_TIMERS / 2 / 8);
    CHECK(next_index > MODEL_TIMERS / 2);
    CHECK_EQ(model.expired_count, next_index);
}

/* Claim: what waits in one far slot is not moved on all at once when that comes up: most of it has
 * been moved before, and comes out at its own tick. Method: a slot of level 2 is filled and lived
 * through tick by tick; no advance may touch a fifth of its timers. */
TEST(wheel_works_ahead, "wheel.works_ahead") {
    const size_t count = 5000;
    const uint64_t slot_ticks = UINT64_C(1) << (2 * BNX_WHEEL_SLOT_BITS);
    struct bnx_wheel_timer *timers = calloc(count, sizeof(*timers));
    CHECK(timers != NULL);
    model_init(bnx_test_seed(), START_NS);
    uint64_t begin_tick = (START_NS / BNX_WHEEL_TICK_NS / slot_ticks + 2) * slot_ticks;
    for (size_t i = 0; i < count; i++) {
        uint64_t own = begin_tick + bnx_rng_next(&model.rng) % slot_ticks;
        (void)bnx_wheel_arm(&model.wheel, &timers[i], own * BNX_WHEEL_TICK_NS);
    }
    uint64_t now_ns = START_NS / BNX_WHEEL_TICK_NS * BNX_WHEEL_TICK_NS;
    for (size_t expired_count = 0; expired_count < count; now_ns += BNX_WHEEL_TICK_NS) {
        struct bnx_wheel_batch batch;
        expired_count += bnx_wheel_advance(&model.wheel, now_ns, count / 5, &batch);
        CHECK(!batch.has_more);
        struct bnx_wheel_timer *timer;
        while ((timer = bnx_wheel_timer_list_pop(&batch.expired)) != NULL) {
            CHECK_EQ(bnx_wheel_timer_deadline_ns(timer), now_ns);
            bnx_wheel_timer_finish(timer);
        }
        CHECK(now_ns / BNX_WHEEL_TICK_NS % 16 != 0 || bnx_wheel_check(&model.wheel));
        CHECK(now_ns / BNX_WHEEL_TICK_NS < begin_tick + slot_ticks);
    }
    free(timers);
}

/* Claim: bnx_wheel_check notices each invariant broken. Method: break one at a time, by hand. */
TEST(wheel_check_notices, "wheel.check_notices") {
    model_init(bnx_test_seed(), START_NS);
    struct bnx_wheel *wheel = &model.wheel;
    struct bnx_wheel_timer *timer = &model.timers[0].timer;
    model_arm(&model.timers[0], START_NS + BNX_NS_PER_S);
    CHECK(bnx_wheel_check(wheel));
    uint64_t *occupied = &wheel->occupied[timer->slot / BNX_WHEEL_SLOTS];
    uint64_t occupied_saved = *occupied;
    *occupied = 0;
    CHECK(!bnx_wheel_check(wheel)); /* I1 */
    *occupied = occupied_saved;

    uint64_t word = timer->word;
    timer->word = word & ~(UINT64_C(3) << BNX_TIMER_STATE_SHIFT);
    CHECK(!bnx_wheel_check(wheel)); /* I2 */
    timer->word = word - (BNX_NS_PER_S >> BNX_WHEEL_TICK_BITS);
    CHECK(!bnx_wheel_check(wheel)); /* I3 */
    timer->word = word;

    uint64_t now_tick = wheel->now_tick;
    wheel->now_tick = (word & BNX_TIMER_TICK_NEVER) - 1;
    CHECK(!bnx_wheel_check(wheel)); /* I4 */
    wheel->now_tick = now_tick;

    wheel->next_ns = START_NS + 2 * BNX_NS_PER_S;
    CHECK(!bnx_wheel_check(wheel)); /* I5 */
    wheel->next_ns = START_NS;
    struct bnx_wheel_timer_link *prev = timer->link.prev;
    timer->link.prev = NULL;
    CHECK(!bnx_wheel_check(wheel)); /* links */
    timer->link.prev = prev;
    CHECK(bnx_wheel_check(wheel));
}

static double pair_cost_ns(struct bnx_wheel_timer *timer, uint64_t pairs) {
    uint64_t started_ns = bnx_clock_now();
    for (uint64_t i = 0; i < pairs; i++) {
        (void)bnx_wheel_arm(&model.wheel, timer, model.now_ns + (i & 1023) * BNX_NS_PER_MS);
        CHECK_EQ(bnx_wheel_disarm(&model.wheel, timer), BNX_DISARM_ARMED);
    }
    return (double)(bnx_clock_now() - started_ns) / (double)pairs;
}

/* Claim: a million pending timers stay sound under arm and disarm and each comes out exactly once.
 * Method: arms them over 30 s, arms and disarms one beside them, advances in portions to the end.
 * The costs it prints are for the reader; the benchmarks judge them. */
TEST(wheel_million_pending, "wheel.million_pending") {
    uint64_t pending_count = bnx_test_scale(1000000);
    uint64_t pairs = bnx_test_scale(2000000);
    struct bnx_wheel_timer *timers = calloc(pending_count, sizeof(*timers));
    CHECK(timers != NULL);
    model_init(bnx_test_seed(), START_NS);
    double alone_ns = pair_cost_ns(&model.timers[0].timer, pairs);
    uint64_t started_ns = bnx_clock_now();
    for (uint64_t i = 0; i < pending_count; i++) {
        uint64_t duration_ns = bnx_rng_next(&model.rng) % (30 * BNX_NS_PER_S);
        (void)bnx_wheel_arm(&model.wheel, &timers[i], START_NS + duration_ns);
    }
    double arm_ns = (double)(bnx_clock_now() - started_ns) / (double)pending_count;
    double beside_ns = pair_cost_ns(&model.timers[0].timer, pairs);
    CHECK(bnx_wheel_check(&model.wheel));

    uint64_t expired_count = 0;
    started_ns = bnx_clock_now();
    for (uint64_t now_ns = START_NS; expired_count < pending_count; now_ns += BNX_NS_PER_MS) {
        CHECK(now_ns < START_NS + 31 * BNX_NS_PER_S);
        struct bnx_wheel_batch batch;
        do {
            expired_count += bnx_wheel_advance(&model.wheel, now_ns, 256, &batch);
            struct bnx_wheel_timer *timer;
            while ((timer = bnx_wheel_timer_list_pop(&batch.expired)) != NULL) {
                CHECK(bnx_wheel_timer_deadline_ns(timer) <= now_ns);
                bnx_wheel_timer_finish(timer);
            }
        } while (batch.has_more);
    }
    double expire_ns = (double)(bnx_clock_now() - started_ns) / (double)pending_count;
    CHECK_EQ(expired_count, pending_count);
    CHECK(bnx_wheel_next_ns(&model.wheel) == BNX_NEVER_NS);
    printf("arm+disarm alone %.1f ns, beside %" PRIu64 " pending %.1f; arm cold %.1f; cascade and "
           "expire %.1f\n",
           alone_ns, pending_count, beside_ns, arm_ns, expire_ns);
    free(timers);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
