/* SPDX-License-Identifier: MIT */
/* Generators under load: bodies that wait, drivers that compete, cancels, storms of creation. */
#include "runtime/gen_pvt.h"
#include "runtime/rng.h"
#include "tests/support/sched.h"

#define TASKS 8
#define SHARED 4

static struct bnx_gen *make(bnx_gen_fn fn, void *arg) {
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_gen_create(&gen, fn, arg, NULL), 0);
    return gen;
}

/* Spawns count tasks with the same argument and waits for them. */
static void run_tasks(int count, bnx_task_fn fn, void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn(&scope, fn, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

/* ---- Bodies that wait, one inside the other ---- */

static int spawned(void *arg) {
    bnx_yield();
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    return 0;
}

struct level {
    uint32_t depth;  /* levels beneath this one */
    uint64_t values; /* to give in all */
};

/* Gives 1 ... values; after each it waits in one way or another; every other level delegates. */
static int waiting_body(struct bnx_gen *gen, void *arg) {
    struct level *level = arg;
    if (level->depth > 0) {
        level->depth--;
        bool delegates = level->depth % 2 == 0;
        struct bnx_gen *inner = make(waiting_body, level);
        int error = delegates ? bnx_gen_yield_from(gen, inner, NULL) : 0;
        void *value = NULL;
        while (!delegates && error == 0 && bnx_gen_next(inner, &value) > 0) {
            bnx_yield();
            error = bnx_gen_yield(gen, value, NULL);
        }
        bnx_gen_destroy(inner);
        return error;
    }
    for (uint64_t n = 1; n <= level->values; n++) {
        uint64_t ended = 0;
        struct bnx_scope scope;
        switch (n % 4) {
        case 0:
            CHECK_EQ(bnx_sleep(1), 0);
            break;
        case 1:
            bnx_yield();
            break;
        case 2: /* children on this stack, and on others */
            CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
            CHECK_EQ(bnx_spawn(&scope, spawned, &ended), 0);
            CHECK_EQ(bnx_spawn(&scope, spawned, &ended), 0);
            CHECK_EQ(bnx_scope_close(&scope), 0);
            CHECK_EQ(ended, 2);
            break;
        default:
            break;
        }
        int error = bnx_gen_yield(gen, (void *)(uintptr_t)n, NULL);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static int wait_in_bodies(void *arg) {
    uint64_t values = *(const uint64_t *)arg;
    for (uint32_t depth = 0; depth < 5; depth++) {
        struct level level = {depth, values};
        struct bnx_gen *gen = make(waiting_body, &level);
        struct bnx_stack *stack = bnx_task_current()->stack;
        void *value = NULL;
        for (uint64_t n = 1; n <= values; n++) {
            CHECK_EQ(bnx_gen_next(gen, &value), 1);
            CHECK_EQ((uintptr_t)value, n);
            CHECK(bnx_task_current()->stack == stack);
        }
        CHECK_EQ(bnx_gen_next(gen, &value), 0);
        bnx_gen_destroy(gen);
    }
    return 0;
}

static int many_wait_in_bodies(void *arg) {
    run_tasks(TASKS, wait_in_bodies, arg);
    return 0;
}

/* Every value arrives once and in order, wherever the bodies had to wait in between. */
TEST(gen_bodies_wait, "gen.bodies_wait") {
    uint64_t values = bnx_test_scale(1000);
    sched_run_each(many_wait_in_bodies, &values);
}

/* ---- One generator, many drivers ---- */

/* Each next takes two steps that a second driver in between would spoil. arg: its own count */
static int exclusive_body(struct bnx_gen *gen, void *arg) {
    uint64_t *count = arg;
    for (;;) {
        uint64_t before = *count;
        if (before % 7 == 0) {
            bnx_yield();
        }
        *count = before + 1;
        int error = bnx_gen_yield(gen, (void *)(uintptr_t)(before + 1), NULL);
        if (error < 0) {
            return error;
        }
    }
}

struct shared {
    struct bnx_gen *gens[SHARED];
    uint64_t counts[SHARED]; /* the bodies' own */
    uint64_t taken[SHARED];  /* values received, by all */
    uint64_t rounds;
    uint64_t seed;
};

static int drive_shared(void *arg) {
    struct shared *shared = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_fetch_add_relaxed(&shared->seed, 1), 0);
    for (uint64_t i = 0; i < shared->rounds; i++) {
        uint64_t which = bnx_rng_below(&rng, SHARED);
        void *value = NULL;
        int result = bnx_gen_next(shared->gens[which], &value);
        if (result == 1) {
            bnx_fetch_add_relaxed(&shared->taken[which], 1);
        } else {
            CHECK_EQ(result, -EBUSY);
            bnx_yield();
        }
    }
    return 0;
}

static void drive_shared_thread(void *arg) {
    (void)drive_shared(arg);
}

static int compete(void *arg) {
    struct shared *shared = arg;
    struct bnx_os_thread threads[2];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(threads); i++) {
        sched_thread_start(&threads[i], drive_shared_thread, shared);
    }
    run_tasks(TASKS, drive_shared, shared);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(threads); i++) {
        sched_thread_join(&threads[i]);
    }
    return 0;
}

/* Tasks and threads compete for generators: one at a time drives, the others are told -EBUSY, and
 * no value is lost or given twice. */
TEST(gen_one_driver, "gen.one_driver") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct shared shared = {.rounds = bnx_test_scale(20000), .seed = bnx_test_seed()};
        for (int k = 0; k < SHARED; k++) {
            shared.gens[k] = make(exclusive_body, &shared.counts[k]);
        }
        sched_run(sched_worker_counts[i], compete, &shared);
        for (int k = 0; k < SHARED; k++) {
            CHECK_EQ(shared.counts[k], shared.taken[k]);
            CHECK(shared.taken[k] > 0);
            bnx_gen_destroy(shared.gens[k]);
        }
    }
}

/* ---- Cancels ---- */

struct victim {
    uint64_t entered; /* bodies that have begun */
    uint64_t ended;   /* bodies that have returned */
};

static int endless_body(struct bnx_gen *gen, void *arg) {
    struct victim *victim = arg;
    bnx_fetch_add_release(&victim->entered, 1);
    int error = 0;
    for (uintptr_t n = 0; error == 0; n++) {
        error = n % 3 == 0 ? bnx_sleep(n % 2 == 0 ? 1000 : UINT64_C(3600000000000)) : 0;
        if (error == 0) {
            error = bnx_gen_yield(gen, (void *)n, NULL);
        }
    }
    bnx_fetch_add_relaxed(&victim->ended, 1);
    return error;
}

static int drive_until_error(void *arg) {
    struct bnx_gen *gen = make(endless_body, arg);
    int result = 1;
    while (result == 1) {
        result = bnx_gen_next(gen, NULL);
    }
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    bnx_gen_destroy(gen);
    return result;
}

static int cancel_bodies(void *arg) {
    uint64_t rounds = *(const uint64_t *)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        struct victim victim = {0};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int k = 0; k < TASKS; k++) {
            CHECK_EQ(bnx_spawn(&scope, drive_until_error, &victim), 0);
        }
        sched_await_count(&victim.entered, i % TASKS + 1);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(victim.entered, TASKS);
        CHECK_EQ(victim.ended, TASKS);
    }
    return 0;
}

/* A cancel that comes while bodies sleep, or run, ends each of them once. */
TEST(gen_cancel_in_body, "gen.cancel_in_body") {
    uint64_t rounds = bnx_test_scale(200);
    sched_run_each(cancel_bodies, &rounds);
}

/* ---- Storms ---- */

#define SLOTS 64

struct storm {
    struct bnx_gen *slots[SLOTS]; /* NULL: free; exchanged whole */
    uint64_t counts[SLOTS];
    uint64_t rounds;
    uint64_t seed;
    uint64_t live; /* created, not destroyed */
};

static int short_body(struct bnx_gen *gen, void *arg) {
    bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    int error = bnx_gen_yield(gen, gen, NULL);
    bnx_fetch_sub_relaxed((uint64_t *)arg, 1);
    return error;
}

static int brew(void *arg) {
    struct storm *storm = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_fetch_add_relaxed(&storm->seed, 1), 0);
    for (uint64_t i = 0; i < storm->rounds; i++) {
        struct bnx_gen *fresh = make(short_body, &storm->live);
        if (bnx_rng_below(&rng, 4) != 0) {
            void *value = NULL;
            CHECK_EQ(bnx_gen_next(fresh, &value), 1);
            CHECK(value == fresh);
        }
        uint64_t slot = bnx_rng_below(&rng, SLOTS);
        bnx_gen_destroy(bnx_exchange_acq_rel(&storm->slots[slot], fresh));
        if (i % 64 == 0) {
            bnx_yield();
        }
    }
    return 0;
}

static void brew_thread(void *arg) {
    (void)brew(arg);
}

static int brew_everywhere(void *arg) {
    struct bnx_os_thread thread;
    sched_thread_start(&thread, brew_thread, arg);
    run_tasks(TASKS, brew, arg);
    sched_thread_join(&thread);
    return 0;
}

/* Generators are created by one and destroyed by another, task or thread, or after the runtime:
 * each body that has begun is closed. */
TEST(gen_storm, "gen.storm") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct storm storm = {.rounds = bnx_test_scale(20000), .seed = bnx_test_seed()};
        sched_run(sched_worker_counts[i], brew_everywhere, &storm);
        for (int k = 0; k < SLOTS; k++) {
            bnx_gen_destroy(storm.slots[k]);
        }
        CHECK_EQ(storm.live, 0);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
