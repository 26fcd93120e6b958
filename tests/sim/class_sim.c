/* SPDX-License-Identifier: MIT */
/* Classes of tasks, and tasks started by hand, on the simulated machine. */
#include "runtime/atomic.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 2000
#define ROUNDS_MAX 6
#define TASKS 4

static void dawdle(void) {
    switch (bnx_sim_draw(5)) {
    case 0:
        bnx_yield();
        break;
    case 1:
        (void)bnx_sleep(1 + bnx_sim_draw(200000));
        break;
    case 2:
        (void)bnx_checkpoint();
        break;
    default:
        break;
    }
}

static struct bnx_spawn_options of_any_class(void) {
    return (struct bnx_spawn_options){.task_class = (enum bnx_class)bnx_sim_draw(4)};
}

/* ---- Waking ---- */

struct rally {
    struct bnx_future *balls[2 * ROUNDS_MAX];
    uint32_t count;
};

static void rally_init(struct rally *rally) {
    rally->count = 2 * (1 + bnx_sim_draw(ROUNDS_MAX));
    for (uint32_t i = 0; i < rally->count; i++) {
        CHECK_EQ(bnx_future_create(&rally->balls[i]), 0);
    }
}

static void rally_fini(struct rally *rally) {
    for (uint32_t i = 0; i < rally->count; i++) {
        bnx_future_unref(rally->balls[i]);
    }
}

/* Player `me` returns every other ball. */
static void play(struct rally *rally, uint32_t me) {
    for (uint32_t i = 0; i < rally->count; i++) {
        if (i % 2 == me) {
            dawdle();
            CHECK_EQ(bnx_future_set(rally->balls[i], NULL), 0);
        } else {
            CHECK_EQ(bnx_future_await(rally->balls[i], NULL), 0);
        }
    }
}

static int play_second(void *arg) {
    play(arg, 1);
    return 0;
}

static int spawn_second(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_spawn_options options = of_any_class();
    CHECK_EQ(bnx_spawn_with(&scope, &options, play_second, arg, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int wake(void *arg) {
    (void)arg;
    struct rally rally;
    rally_init(&rally);
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    struct bnx_future *done = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, spawn_second, &rally, &done), 0);
    play(&rally, 0);
    CHECK_EQ(bnx_future_await(done, NULL), 0);
    bnx_future_unref(done);
    CHECK_EQ(bnx_runtime_wait(runtime, UINT64_MAX), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    rally_fini(&rally);
    return 0;
}

/* A task of any class and a thread that is no worker wake each other in turn, whoever sleeps. */
TEST(class_wake, "sim.class_wake") {
    seeds_run(SEEDS, wake);
}

/* ---- All get on ---- */

struct crowd {
    uint64_t turns; /* of those that count */
    uint64_t until;
};

static int never_wait(void *arg) {
    struct crowd *crowd = arg;
    while (bnx_load_acquire(&crowd->turns) < crowd->until) {
        bnx_yield();
    }
    return 0;
}

static int count_turns(void *arg) {
    struct crowd *crowd = arg;
    for (uint64_t i = 0; i < crowd->until; i++) {
        (void)bnx_fetch_add_acq_rel(&crowd->turns, 1);
        dawdle();
    }
    return 0;
}

static int crowd_out(void *arg) {
    (void)arg;
    struct crowd crowd = {.until = 3};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_spawn_options busy = of_any_class();
    for (uint32_t i = 1 + bnx_sim_draw(TASKS); i > 0; i--) {
        CHECK_EQ(bnx_spawn_with(&scope, &busy, never_wait, &crowd, NULL), 0);
    }
    struct bnx_spawn_options patient = of_any_class();
    CHECK_EQ(bnx_spawn_with(&scope, &patient, count_turns, &crowd, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int share(void *arg) {
    return seeds_bnx_run(crowd_out, arg);
}

/* Beside tasks of one class that are always ready, one of another gets its turns: else the
 * simulator's limit on steps ends the run. */
TEST(class_share, "sim.class_share") {
    seeds_run(SEEDS, share);
}

/* ---- Started by hand ---- */

struct starters {
    struct bnx_task *task;
    uint32_t calls;
    uint32_t starts;
};

static int note_call(void *arg) {
    struct starters *starters = arg;
    (void)bnx_fetch_add_relaxed(&starters->calls, 1); /* read after the close */
    dawdle();
    return 3;
}

static int start_it(void *arg) {
    struct starters *starters = arg;
    dawdle();
    int error = bnx_task_start(starters->task);
    CHECK(error == 0 || error == -EALREADY);
    (void)bnx_fetch_add_relaxed(&starters->starts, error == 0); /* as above */
    return 0;
}

static int join_it(void *arg) {
    struct starters *starters = arg;
    int result = 0;
    CHECK_EQ(bnx_join(starters->task, &result), 0);
    CHECK(result == 3 || result == -ECANCELED);
    return 0;
}

static int start_or_drop(void *arg) {
    (void)arg;
    struct starters starters = {0};
    struct bnx_spawn_options manual = of_any_class();
    manual.start = BNX_START_MANUAL;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &manual, note_call, &starters, &starters.task), 0);
    for (uint32_t i = bnx_sim_draw(3); i > 0; i--) {
        CHECK_EQ(bnx_spawn(&scope, start_it, &starters), 0);
    }
    CHECK_EQ(bnx_spawn(&scope, join_it, &starters), 0);
    dawdle();
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(starters.calls, starters.starts);
    CHECK(starters.starts <= 1);
    return 0;
}

static int start_races_close(void *arg) {
    return seeds_bnx_run(start_or_drop, arg);
}

/* Of those who start a task and the close that drops it one wins; it is called as often as that was
 * a starter, and its joiner learns which it was. */
TEST(start_races_close, "sim.start_races_close") {
    seeds_run(SEEDS, start_races_close);
}

static int spawn_late(void *arg) {
    struct starters *starters = arg;
    for (uint32_t i = 0; i < TASKS; i++) {
        struct bnx_spawn_options manual = of_any_class();
        struct bnx_task *task = NULL;
        manual.start = BNX_START_MANUAL;
        if (bnx_spawn_with(NULL, &manual, note_call, starters, &task) != 0) {
            return 0; /* stopped */
        }
        uint32_t what = bnx_sim_draw(4);
        if (what == 0) {
            (void)bnx_task_start(task);
        }
        if (what <= 1) {
            bnx_task_detach(task);
        }
        dawdle();
    }
    return 0;
}

static int start_races_stop(void *arg) {
    (void)arg;
    struct starters starters = {0};
    struct bnx_options options = seeds_options();
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, spawn_late, &starters, NULL), 0);
    for (uint32_t i = bnx_sim_draw(60); i > 0; i--) {
        bnx_pause();
    }
    CHECK_EQ(bnx_runtime_stop(runtime), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, UINT64_MAX), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    return 0;
}

/* Tasks that nobody will start do not keep a runtime from ending, however late they came. */
TEST(start_races_stop, "sim.start_races_stop") {
    seeds_run(5 * SEEDS, start_races_stop); /* the window is small: one seed in 300 hits it */
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
