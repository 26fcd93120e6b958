/* SPDX-License-Identifier: MIT */
/* Waits for several things at once, and callbacks, against sets, cancels, deadlines and stops. */
#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <bonxie/iter.h>

/* ---- Several ---- */

#define FUTURES 20 /* more than a frame has room for; a wait takes some of them */
#define TASKS 8
#define THREADS 2
#define FAILED(index) (-1000 - (int)(index))

/* One round: tasks and threads that wait for futures, which others set meanwhile. */
struct mix {
    struct bnx_future *futures[FUTURES]; /* one in three fails */
    uint64_t seed;
    uint64_t users;   /* ids of those who wait, for their seeds */
    uint64_t setters; /* likewise */
    uint32_t next;    /* the future that is set next */
};

static int outcome_of(size_t index) {
    return index % 3 == 0 ? FAILED(index) : 0;
}

static bool is_done(const struct mix *mix, size_t index) {
    return bnx_future_poll(mix->futures[index], NULL) != -EAGAIN;
}

/* What one wait is for. */
struct wish {
    struct mix *mix;
    struct bnx_waitable *waitables[FUTURES];
    size_t first; /* index of the first future in waitables */
    size_t count;
};

static void check_all_done(const struct wish *wish) {
    for (size_t i = 0; i < wish->count; i++) {
        CHECK(is_done(wish->mix, wish->first + i));
    }
}

static bool is_cancel(int result) {
    return result == -ECANCELED || result == -ETIMEDOUT;
}

static int wish_first(struct wish *wish) {
    size_t index = FUTURES;
    int result = bnx_wait(wish->waitables, wish->count, BNX_WAIT_FIRST, &index);
    if (is_cancel(result)) {
        CHECK_EQ(index, FUTURES);
        return result;
    }
    CHECK(index < wish->count && is_done(wish->mix, wish->first + index));
    CHECK_EQ(result, outcome_of(wish->first + index));
    return 0;
}

static int wish_error(struct wish *wish) {
    size_t index = FUTURES;
    int result = bnx_wait(wish->waitables, wish->count, BNX_WAIT_FIRST_ERROR, &index);
    if (is_cancel(result)) {
        CHECK_EQ(index, FUTURES);
        return result;
    }
    if (result == 0) {
        check_all_done(wish);
        return 0;
    }
    CHECK(index < wish->count);
    CHECK_EQ(result, FAILED(wish->first + index));
    return 0;
}

static int wish_race(struct wish *wish) {
    size_t index = FUTURES;
    int result = bnx_race(wish->waitables, wish->count, &index);
    if (is_cancel(result)) {
        CHECK_EQ(index, FUTURES);
        return result;
    }
    if (result < 0) { /* all have failed */
        check_all_done(wish);
        return 0;
    }
    CHECK(index < wish->count);
    CHECK_EQ(outcome_of(wish->first + index), 0);
    return 0;
}

static int wish_gather(struct wish *wish, unsigned flags) {
    int results[FUTURES];
    results[0] = 1;
    int result = bnx_gather(wish->waitables, wish->count, results, flags);
    if (is_cancel(result)) {
        CHECK_EQ(results[0], 1);
        return result;
    }
    for (size_t i = 0; i < wish->count; i++) {
        CHECK(results[i] == outcome_of(wish->first + i) ||
              (result < 0 && results[i] == -EINPROGRESS));
    }
    if (result == 0) {
        check_all_done(wish);
    }
    return 0;
}

static int wish_completed(struct wish *wish, struct bnx_rng *rng) {
    struct bnx_iter iter;
    uint32_t seen = 0;
    size_t stop_after = (size_t)bnx_rng_below(rng, 2 * (uint32_t)wish->count);
    size_t taken = 0;
    int result = 0;
    CHECK_EQ(bnx_as_completed(wish->waitables, wish->count, &iter), 0);
    BNX_FOR_EACH_OR(value, &iter, &result) {
        size_t index = (size_t)(uintptr_t)value;
        CHECK(index < wish->count && (seen & (1u << index)) == 0);
        CHECK(is_done(wish->mix, wish->first + index));
        seen |= 1u << index;
        if (++taken == stop_after) {
            break;
        }
    }
    if (result == 0 && taken != stop_after) {
        CHECK_EQ(taken, wish->count);
    }
    return result;
}

/* Overwrites the part of the stack where the wait's registrations lay. */
static BNX_NOINLINE void trample(void) {
    volatile unsigned char frame[2048];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xa5;
    }
}

/* Waits in a random way for a random range of the futures. */
static int wish_once(struct mix *mix, struct bnx_rng *rng) {
    struct wish wish = {.mix = mix};
    wish.first = (size_t)bnx_rng_below(rng, FUTURES);
    wish.count = 1 + (size_t)bnx_rng_below(rng, FUTURES - (uint32_t)wish.first);
    for (size_t i = 0; i < wish.count; i++) {
        wish.waitables[i] = bnx_future_waitable(mix->futures[wish.first + i]);
    }
    switch (bnx_rng_below(rng, 6)) {
    case 0:
        return wish_first(&wish);
    case 1:
        return wish_error(&wish);
    case 2:
        return wish_race(&wish);
    case 3:
        return wish_gather(&wish, 0);
    case 4:
        return wish_gather(&wish, BNX_GATHER_COLLECT);
    default:
        return wish_completed(&wish, rng);
    }
}

static int wish_many(struct mix *mix) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, mix->seed, bnx_fetch_add_relaxed(&mix->users, 1));
    int result = 0;
    for (int i = 0; i < 4 && result == 0; i++) {
        result = wish_once(mix, &rng);
        trample();
    }
    return result;
}

static int wish_in_task(void *arg) {
    struct mix *mix = arg;
    struct bnx_rng rng;
    struct bnx_scope scope;
    bnx_rng_init(&rng, mix->seed, bnx_fetch_add_relaxed(&mix->users, 1));
    struct bnx_scope_options options = {0};
    if (bnx_rng_below(&rng, 3) == 0) {
        options.deadline_ns = bnx_now() + bnx_rng_below(&rng, 100000);
    }
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    int result = wish_many(mix);
    CHECK(result == 0 || is_cancel(result));
    (void)bnx_scope_close(&scope);
    return 0;
}

static void wish_on_thread(void *arg) {
    CHECK_EQ(wish_many(arg), 0);
}

static void set_next(struct mix *mix) {
    size_t index = bnx_fetch_add_relaxed(&mix->next, 1);
    if (index >= FUTURES) {
        return;
    }
    struct bnx_rng rng;
    bnx_rng_init(&rng, mix->seed, 1000);
    size_t turned = (size_t)bnx_rng_below(&rng, FUTURES);
    index = (index + turned) % FUTURES;
    int outcome = outcome_of(index);
    int error = outcome < 0 ? bnx_future_fail(mix->futures[index], outcome)
                            : bnx_future_set(mix->futures[index], mix);
    CHECK_EQ(error, 0);
}

static int set_in_task(void *arg) {
    struct mix *mix = arg;
    while (bnx_load_relaxed(&mix->next) < FUTURES) { /* ends: each round sets one */
        set_next(mix);
        bnx_yield();
    }
    return 0;
}

static void set_on_thread(void *arg) {
    struct mix *mix = arg;
    while (bnx_load_relaxed(&mix->next) < FUTURES) { /* as above */
        set_next(mix);
        bnx_os.thread_yield();
    }
}

static int mix_tasks(void *arg) {
    struct mix *mix = arg;
    struct bnx_scope setters;
    struct bnx_scope users;
    struct bnx_rng rng;
    bnx_rng_init(&rng, mix->seed, 1001);
    CHECK_EQ(bnx_scope_open(&setters, NULL), 0);
    CHECK_EQ(bnx_scope_open(&users, NULL), 0);
    CHECK_EQ(bnx_spawn(&setters, set_in_task, mix), 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(bnx_spawn(&users, wish_in_task, mix), 0);
    }
    uint64_t yields = bnx_rng_below(&rng, 30);
    bool is_cancelled = bnx_rng_below(&rng, 2) == 0;
    for (uint64_t i = 0; is_cancelled && i < yields; i++) {
        bnx_yield();
    }
    if (is_cancelled) {
        bnx_scope_cancel(&users, 0);
    }
    (void)bnx_scope_close(&users);
    CHECK_EQ(bnx_scope_close(&setters), 0);
    return 0;
}

static void mix_once(uint64_t seed, uint64_t round) {
    struct mix mix = {.seed = seed + round};
    struct bnx_os_thread threads[THREADS + 1];
    for (int i = 0; i < FUTURES; i++) {
        CHECK_EQ(bnx_future_create(&mix.futures[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        sched_thread_start(&threads[i], wish_on_thread, &mix);
    }
    sched_thread_start(&threads[THREADS], set_on_thread, &mix);
    sched_run(sched_worker_counts[round % SCHED_WORKER_COUNTS], mix_tasks, &mix);
    for (int i = 0; i <= THREADS; i++) {
        sched_thread_join(&threads[i]);
    }
    for (int i = 0; i < FUTURES; i++) {
        CHECK(is_done(&mix, (size_t)i));
        bnx_future_unref(mix.futures[i]);
    }
}

/* Claim: whatever sets, cancels and deadlines come while tasks and threads wait for several futures
 * in every way, each wait ends, says what is true then, and leaves nobody who writes to its frame.
 * Method: random waits for random ranges of twenty futures; each waiter overwrites the stack below
 * it as soon as it is back. A lost wake hangs. */
TEST(wait_mix, "wait.several_under_fire") {
    uint64_t seed = bnx_test_seed();
    uint64_t rounds = bnx_test_scale(1000);
    for (uint64_t round = 0; round < rounds; round++) {
        mix_once(seed, round);
    }
}

/* ---- Callbacks ---- */

#define PROMISES 16

struct calls {
    struct bnx_future *futures[PROMISES];
    uint64_t registered;
    uint64_t called;
    uint64_t seen_done; /* of those called */
};

static void count_call(struct bnx_future *future, void *arg) {
    struct calls *calls = arg;
    if (bnx_future_poll(future, NULL) == 0) {
        bnx_fetch_add_relaxed(&calls->seen_done, 1);
    }
    bnx_fetch_add_acq_rel(&calls->called, 1);
}

static int register_calls(void *arg) {
    struct calls *calls = arg;
    for (int i = 0; i < 2 * PROMISES; i++) {
        int error = bnx_future_on_done(calls->futures[i % PROMISES], count_call, calls);
        CHECK(error == 0 || error == -ESHUTDOWN);
        if (error == 0) {
            bnx_fetch_add_acq_rel(&calls->registered, 1);
        }
        if (i % 4 == 0) {
            bnx_yield();
        }
    }
    return 0;
}

static void set_all(void *arg) {
    struct calls *calls = arg;
    for (int i = 0; i < PROMISES; i++) {
        int error = bnx_future_set(calls->futures[i], NULL);
        CHECK(error == 0 || error == -EALREADY);
        bnx_future_unref(calls->futures[i]);
    }
}

static void calls_once(uint64_t seed, uint64_t round) {
    struct calls calls = {.registered = 0};
    struct bnx_os_thread setters[2];
    struct bnx_rng rng;
    bnx_rng_init(&rng, seed, round);
    struct bnx_runtime *runtime = sched_create(sched_worker_counts[round % SCHED_WORKER_COUNTS]);
    for (int i = 0; i < PROMISES; i++) {
        CHECK_EQ(bnx_future_create(&calls.futures[i]), 0);
        (void)bnx_future_ref(bnx_future_ref(calls.futures[i])); /* the setters' */
    }
    CHECK_EQ(bnx_runtime_spawn(runtime, register_calls, &calls, NULL), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, register_calls, &calls, NULL), 0);
    uint64_t enough = bnx_rng_below(&rng, 3 * PROMISES);
    while (bnx_load_acquire(&calls.registered) < enough) { /* ends: there are more */
        bnx_os.thread_yield();
    }
    for (int i = 0; i < 2; i++) {
        sched_thread_start(&setters[i], set_all, &calls);
    }
    sched_destroy(runtime); /* while they are at it */
    CHECK_EQ(calls.called, calls.registered);
    for (int i = 0; i < 2; i++) {
        sched_thread_join(&setters[i]);
    }
    CHECK(calls.seen_done <= calls.called);
    for (int i = 0; i < PROMISES; i++) {
        CHECK_EQ(bnx_future_poll(calls.futures[i], NULL), 0);
        bnx_future_unref(calls.futures[i]);
    }
}

/* Claim: each registered callback is called exactly once, whether the future is set or the runtime
 * stops, or both at once; after the stop nobody touches the runtime. Method: two threads set while
 * the runtime that has registered stops and is destroyed. */
TEST(future_callbacks_stop, "future.callbacks_against_stop") {
    uint64_t seed = bnx_test_seed();
    uint64_t rounds = bnx_test_scale(2000);
    for (uint64_t round = 0; round < rounds; round++) {
        calls_once(seed, round);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
