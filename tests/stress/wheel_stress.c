/* SPDX-License-Identifier: MIT */
/* The timer wheel under threads: remotes cancel and extend by CAS while others arm and advance. */
#include "runtime/wheel.h"

#include "runtime/lock.h"
#include "runtime/rng.h"
#include "tests/support/test.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#define TIMERS 32 /* few, so that everybody meets on the same words */
#define REMOTES 2
#define BATCH_MAX 8
#define START_NS (UINT64_C(1) << 40)
/* Each kind of end must have happened this often before a storm may stop. */
#define EVENTS_MIN 1000

/* One timer and the account of its ends. Apart from the others: only the word is fought over. */
struct record {
    struct bnx_wheel_timer timer BNX_APART;
    uint64_t handle;         /* generation of the arming that remotes shall try; the owner writes */
    uint64_t extended;       /* {generation, tick} that a remote was promised; remotes write */
    uint64_t cancel_count;   /* cancels that returned true; remotes add */
    uint64_t armed_count;    /* written by the owner */
    uint64_t disarmed_count; /* disarm found it armed; the owner */
    uint64_t returned_count; /* disarm found it cancelled, or dropped by expiry; who finds it */
    uint64_t expired_count;  /* taken as expired; the taker */
};

struct storm {
    struct record records[TIMERS];
    struct bnx_wheel wheel;
    struct bnx_lock lock;   /* guards wheel, where a rescuer advances it as well */
    bool has_rescuer;       /* immutable while threads run */
    uint64_t seed;          /* immutable while threads run */
    uint64_t now_ns;        /* the virtual clock; structural threads add, remotes read */
    uint64_t is_over;       /* the owner sets it, all read */
    uint64_t cancel_count;  /* totals, so that the owner knows when enough has happened */
    uint64_t extend_count;  /* remotes add */
    uint64_t rescued_count; /* the rescuer adds */
};

static struct storm storm;

struct remote {
    pthread_t thread;
    uint64_t stream; /* of the random source */
};

static uint64_t handle_pack(uint32_t generation, uint64_t tick) {
    return (uint64_t)generation << BNX_TIMER_GENERATION_SHIFT | tick;
}

static void wheel_lock(void) {
    if (storm.has_rescuer) {
        bnx_lock_acquire(&storm.lock);
    }
}

static void wheel_unlock(void) {
    if (storm.has_rescuer) {
        bnx_lock_release(&storm.lock);
    }
}

static void *remote_run(void *arg) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm.seed, ((struct remote *)arg)->stream);
    /* Ends: the owner says so after a bounded number of armings. */
    while (!bnx_load_acquire(&storm.is_over)) {
        struct record *record = &storm.records[bnx_rng_below(&rng, TIMERS)];
        uint32_t generation = (uint32_t)bnx_load_acquire(&record->handle);
        if (bnx_rng_below(&rng, 4) != 0) {
            if (bnx_wheel_timer_cancel(&record->timer, generation)) {
                /* relaxed, as all counts: read after the threads have been joined */
                bnx_fetch_add_relaxed(&record->cancel_count, 1);
                bnx_fetch_add_relaxed(&storm.cancel_count, 1);
            }
            continue;
        }
        uint64_t duration_ns = bnx_rng_below(&rng, 8 * BNX_WHEEL_TICK_NS);
        uint64_t tick = (bnx_load_relaxed(&storm.now_ns) + duration_ns) >> BNX_WHEEL_TICK_BITS;
        if (bnx_wheel_timer_extend(&record->timer, generation, tick << BNX_WHEEL_TICK_BITS)) {
            bnx_store_relaxed(&record->extended, handle_pack(generation, tick));
            bnx_fetch_add_relaxed(&storm.extend_count, 1);
        }
    }
    return NULL;
}

/* Accounts for one batch and makes its timers idle. The counts come before finish: after it the
 * owner may arm the timer again. */
static void settle_batch(struct bnx_wheel_batch *batch, uint64_t now_ns) {
    struct bnx_wheel_timer *timer;
    while ((timer = bnx_wheel_timer_list_pop(&batch->expired)) != NULL) {
        struct record *record = BNX_CONTAINER_OF(timer, struct record, timer);
        CHECK(bnx_wheel_timer_deadline_ns(timer) <= now_ns);
        uint64_t promised = bnx_load_relaxed(&record->extended);
        if (promised >> BNX_TIMER_GENERATION_SHIFT == bnx_wheel_timer_generation(timer)) {
            CHECK((promised & BNX_TIMER_TICK_NEVER) <= now_ns >> BNX_WHEEL_TICK_BITS);
        }
        CHECK_EQ(bnx_wheel_timer_state(timer), BNX_TIMER_TAKEN);
        record->expired_count++;
        bnx_wheel_timer_finish(timer);
    }
    while ((timer = bnx_wheel_timer_list_pop(&batch->dropped)) != NULL) {
        struct record *record = BNX_CONTAINER_OF(timer, struct record, timer);
        record->returned_count++;
        bnx_wheel_timer_finish(timer);
    }
}

/* Moves the clock by up to two ticks. Returns how many expired. */
static size_t advance_some(struct bnx_rng *rng) {
    uint64_t step_ns = bnx_rng_below(rng, 2 * BNX_WHEEL_TICK_NS);
    struct bnx_wheel_batch batch;
    wheel_lock();
    uint64_t now_ns = bnx_fetch_add_relaxed(&storm.now_ns, step_ns) + step_ns;
    size_t count = bnx_wheel_advance(&storm.wheel, now_ns, BATCH_MAX, &batch);
    wheel_unlock();
    settle_batch(&batch, now_ns);
    return count;
}

static void *rescuer_run(void *arg) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm.seed, ((struct remote *)arg)->stream);
    /* Ends: as remote_run. */
    while (!bnx_load_acquire(&storm.is_over)) {
        bnx_fetch_add_relaxed(&storm.rescued_count, advance_some(&rng));
    }
    return NULL;
}

static void owner_arm(struct record *record, struct bnx_rng *rng) {
    if (bnx_wheel_timer_state(&record->timer) != BNX_TIMER_IDLE) {
        return; /* linked, or its taker has not finished */
    }
    /* A quarter goes to a higher level, the rest is due soon. */
    uint64_t range_ns =
        bnx_rng_below(rng, 4) == 0 ? 200 * BNX_WHEEL_TICK_NS : 4 * BNX_WHEEL_TICK_NS;
    wheel_lock();
    uint64_t deadline_ns = bnx_load_relaxed(&storm.now_ns) + bnx_rng_next(rng) % range_ns;
    uint32_t generation = bnx_wheel_arm(&storm.wheel, &record->timer, deadline_ns);
    record->armed_count++;
    wheel_unlock();
    bnx_store_release(&record->handle, generation);
}

static void owner_disarm(struct record *record) {
    wheel_lock();
    switch (bnx_wheel_disarm(&storm.wheel, &record->timer)) {
    case BNX_DISARM_ARMED:
        record->disarmed_count++;
        break;
    case BNX_DISARM_CANCELLED:
        record->returned_count++;
        break;
    case BNX_DISARM_GONE:
        break;
    }
    wheel_unlock();
}

static void owner_run(uint64_t step_count) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm.seed, 0);
    bool is_enough = false;
    /* Ends: the other threads work until is_over and so reach their minimum. */
    for (uint64_t step = 0; step < step_count || !is_enough; step++) {
        struct record *record = &storm.records[bnx_rng_below(&rng, TIMERS)];
        uint32_t choice = bnx_rng_below(&rng, 8);
        if (choice < 4) {
            owner_arm(record, &rng);
        } else if (choice < 5) {
            owner_disarm(record);
        } else {
            (void)advance_some(&rng);
        }
        if (step % 256 == 0) {
            wheel_lock();
            CHECK(bnx_wheel_check(&storm.wheel));
            wheel_unlock();
            is_enough =
                bnx_load_relaxed(&storm.cancel_count) >= EVENTS_MIN &&
                bnx_load_relaxed(&storm.extend_count) >= EVENTS_MIN &&
                (!storm.has_rescuer || bnx_load_relaxed(&storm.rescued_count) >= EVENTS_MIN);
        }
    }
}

static void storm_run(bool has_rescuer) {
    memset(&storm, 0, sizeof(storm));
    storm.seed = bnx_test_seed();
    storm.has_rescuer = has_rescuer;
    storm.now_ns = START_NS;
    bnx_lock_init(&storm.lock);
    bnx_wheel_init(&storm.wheel, START_NS);
    struct remote remotes[REMOTES + 1];
    size_t thread_count = REMOTES + (has_rescuer ? 1 : 0);
    for (size_t i = 0; i < thread_count; i++) {
        remotes[i].stream = i + 1;
        void *(*run)(void *) = i < REMOTES ? remote_run : rescuer_run;
        CHECK_EQ(pthread_create(&remotes[i].thread, NULL, run, &remotes[i]), 0);
    }
    owner_run(bnx_test_scale(1000000));
    bnx_store_release(&storm.is_over, 1);
    for (size_t i = 0; i < thread_count; i++) {
        CHECK_EQ(pthread_join(remotes[i].thread, NULL), 0);
    }

    struct bnx_wheel_batch batch;
    (void)bnx_wheel_advance(&storm.wheel, UINT64_MAX, SIZE_MAX, &batch);
    settle_batch(&batch, UINT64_MAX);
    CHECK(bnx_wheel_check(&storm.wheel));
    CHECK(bnx_wheel_next_ns(&storm.wheel) == BNX_NEVER_NS);
    uint64_t armed_count = 0;
    uint64_t expired_count = 0;
    for (size_t i = 0; i < TIMERS; i++) {
        struct record *record = &storm.records[i];
        CHECK_EQ(record->returned_count, record->cancel_count);
        CHECK_EQ(record->armed_count,
                 record->expired_count + record->disarmed_count + record->cancel_count);
        armed_count += record->armed_count;
        expired_count += record->expired_count;
    }
    CHECK(expired_count > 0);
    printf("armed %" PRIu64 ", expired %" PRIu64 ", cancelled %" PRIu64 ", extended %" PRIu64 "\n",
           armed_count, expired_count, storm.cancel_count, storm.extend_count);
}

/* Claim: each arming ends exactly once, expired, disarmed or cancelled, each cancelled node comes
 * back exactly once, and none expires before a deadline that an extend has promised. Method: the
 * owner arms, disarms and advances a virtual clock while remotes cancel and extend the same few
 * timers; then the accounts of each timer must balance. */
TEST(wheel_remote_cancel, "wheel.remote_cancel") {
    storm_run(false);
}

/* Claim: the same holds when two threads make the structural calls under one lock, and a taker may
 * settle its batch outside it. Method: as above, with a rescuer that advances the owner's wheel. */
TEST(wheel_rescuer_advances, "wheel.rescuer_advances") {
    storm_run(true);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
