/* SPDX-License-Identifier: MIT */
/* Synchronisation objects on the simulated machine: many interleavings, cancels at any time. */
#include "runtime/atomic.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>

#define SEEDS 3000
#define TASKS_MAX 5
#define ROUNDS_MAX 5
#define TOKENS_MAX 3

/* Something that takes a while, of which sort the seed says. */
static void dawdle(void) {
    switch (bnx_sim_draw(5)) {
    case 0:
        bnx_yield();
        break;
    case 1:
        (void)bnx_sleep(1 + bnx_sim_draw(200000));
        break;
    default:
        break;
    }
}

/* Overwrites what a call before it has left on the stack: who still reads that reads nonsense. */
static BNX_NOINLINE void scribble(void) {
    volatile unsigned char frame[768];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xee;
    }
}

struct table {
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    struct bnx_event event;
    uint64_t sections; /* under the mutex */
    uint64_t passed;   /* sections that were entered */
    uint64_t items;    /* under the mutex */
    uint64_t inside;   /* tokens in use; patient tasks that have their item */
    uint32_t rounds;
    uint32_t tasks;
};

static int cancel_scope(void *arg) {
    dawdle();
    bnx_scope_cancel(arg, 0);
    return 0;
}

enum mood { PATIENT, HURRIED, EITHER };

/* Calls fn(table): patiently, or in a scope that a deadline or a task cancels at some time. */
static int call(bnx_task_fn fn, struct table *table, enum mood mood) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {.deadline_ns = 0};
    uint32_t way = mood == PATIENT ? 0 : mood == HURRIED ? 1 + bnx_sim_draw(2) : bnx_sim_draw(3);
    if (way == 0) {
        int error = fn(table);
        scribble();
        CHECK_EQ(error, 0);
        return 0;
    }
    if (way == 1) {
        options.deadline_ns = bnx_now() + bnx_sim_draw(300000);
    }
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    if (way == 2) {
        CHECK_EQ(bnx_spawn(&scope, cancel_scope, &scope), 0);
    }
    int error = fn(table);
    scribble();
    CHECK(error == 0 || error == (way == 1 ? -ETIMEDOUT : -ECANCELED));
    (void)bnx_scope_close(&scope); /* cancelled by now, or not */
    return error;
}

/* Runs fn in some tasks. */
static void run_tasks(struct table *table, bnx_task_fn fn) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < table->tasks; i++) {
        CHECK_EQ(bnx_spawn(&scope, fn, table), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static void table_init(struct table *table) {
    *table = (struct table){.rounds = 1 + bnx_sim_draw(ROUNDS_MAX)};
    table->tasks = 2 + bnx_sim_draw(TASKS_MAX - 1);
}

/* ---- Mutex ---- */

static int lock(void *arg) {
    struct table *table = arg;
    return bnx_mutex_lock(&table->mutex);
}

static void section(struct table *table) {
    uint64_t sections = table->sections;
    dawdle();
    table->sections = sections + 1;
    bnx_mutex_unlock(&table->mutex);
    (void)bnx_fetch_add_relaxed(&table->passed, 1);
}

static int enter(void *arg) {
    struct table *table = arg;
    for (uint32_t i = 0; i < table->rounds; i++) {
        bool is_tried = bnx_sim_draw(5) == 0;
        int error = is_tried ? bnx_mutex_try_lock(&table->mutex) : call(lock, table, EITHER);
        if (error == 0) {
            section(table);
        }
        dawdle();
    }
    return 0;
}

static int share_mutex(void *arg) {
    (void)arg;
    struct table table;
    table_init(&table);
    run_tasks(&table, enter);
    CHECK_EQ(table.sections, table.passed);
    CHECK(!bnx_mutex_is_locked(&table.mutex));
    return 0;
}

static int mutex_scenario(void *arg) {
    return seeds_bnx_run(share_mutex, arg);
}

/* One at a time; whoever is cancelled in the queue, woken in vain or handed the mutex, nobody of
 * the others waits for ever, and it is free in the end. */
TEST(sync_mutex, "sim.mutex") {
    seeds_run(SEEDS, mutex_scenario);
}

/* ---- Cond ---- */

static int take_item(void *arg) {
    struct table *table = arg;
    int error = bnx_mutex_lock(&table->mutex);
    if (error != 0) {
        return error;
    }
    while (error == 0 && table->items == 0) { /* ends: an item comes, or a cancel */
        error = bnx_cond_wait(&table->cond, &table->mutex);
        CHECK(bnx_mutex_is_locked(&table->mutex));
    }
    if (error == 0) {
        table->items--;
    }
    bnx_mutex_unlock(&table->mutex);
    return error;
}

static int take_one_patiently(void *arg) {
    struct table *table = arg;
    (void)call(take_item, table, PATIENT);
    (void)bnx_fetch_add_acq_rel(&table->inside, 1);
    return 0;
}

static int take_one_hurriedly(void *arg) {
    (void)call(take_item, arg, HURRIED);
    return 0;
}

static void put_items(struct table *table, uint64_t count) {
    CHECK_EQ(bnx_mutex_lock(&table->mutex), 0);
    table->items += count;
    if (count == 1 && bnx_sim_draw(2) == 0) {
        bnx_mutex_unlock(&table->mutex);
        bnx_cond_signal(&table->cond);
        return;
    }
    if (count == 1) {
        bnx_cond_signal(&table->cond);
    } else {
        bnx_cond_broadcast(&table->cond);
    }
    dawdle();
    bnx_mutex_unlock(&table->mutex);
}

/* Waits until all items are taken, or all patient tasks have theirs. */
static void await_taken_or(struct table *table, uint64_t served) {
    uint64_t items;
    do { /* ends: while a patient one is left he takes what there is */
        bnx_yield();
        CHECK_EQ(bnx_mutex_lock(&table->mutex), 0);
        items = table->items;
        bnx_mutex_unlock(&table->mutex);
    } while (items != 0 && bnx_load_acquire(&table->inside) < served);
}

static void spawn_some(struct bnx_scope *scope, bnx_task_fn fn, struct table *table) {
    for (uint32_t i = 0; i <= table->rounds; i++) {
        CHECK_EQ(bnx_spawn(scope, fn, table), 0);
    }
}

static int share_cond(void *arg) {
    (void)arg;
    struct table table;
    struct bnx_scope patient;
    struct bnx_scope hurried;
    table_init(&table);
    CHECK_EQ(bnx_scope_open(&patient, NULL), 0);
    spawn_some(&patient, take_one_patiently, &table);
    CHECK_EQ(bnx_scope_open(&hurried, NULL), 0);
    spawn_some(&hurried, take_one_hurriedly, &table);
    for (uint32_t given = 0; given < table.rounds; given++) {
        dawdle();
        put_items(&table, 1);
        await_taken_or(&table, table.rounds + 1);
    }
    CHECK_EQ(bnx_scope_close(&hurried), 0);
    while (bnx_load_acquire(&table.inside) < table.rounds + 1) { /* ends: each takes one */
        put_items(&table, 1 + bnx_sim_draw(2));
        await_taken_or(&table, table.rounds + 1);
    }
    CHECK_EQ(bnx_scope_close(&patient), 0);
    return 0;
}

static int cond_scenario(void *arg) {
    return seeds_bnx_run(share_cond, arg);
}

/* Each item is taken by somebody who waited for it; a signal that a hurried waiter did not use is
 * the next one's: a patient one beside an item hangs otherwise. */
TEST(sync_cond, "sim.cond") {
    seeds_run(SEEDS, cond_scenario);
}

/* ---- Semaphore, event ---- */

static int acquire_one(void *arg) {
    struct table *table = arg;
    return bnx_sem_acquire(&table->sem);
}

static int acquire_two(void *arg) {
    struct table *table = arg;
    return bnx_sem_acquire_n(&table->sem, 2);
}

static int use_tokens(void *arg) {
    struct table *table = arg;
    for (uint32_t i = 0; i < table->rounds; i++) {
        uint32_t count = 1 + bnx_sim_draw(2);
        if (call(count == 1 ? acquire_one : acquire_two, table, EITHER) != 0) {
            continue;
        }
        CHECK(bnx_fetch_add_relaxed(&table->inside, count) + count <= TOKENS_MAX);
        dawdle();
        (void)bnx_fetch_sub_relaxed(&table->inside, count);
        CHECK_EQ(bnx_sem_release_n(&table->sem, count), 0);
    }
    return 0;
}

static int share_sem(void *arg) {
    (void)arg;
    struct table table;
    table_init(&table);
    bnx_sem_init(&table.sem, TOKENS_MAX);
    run_tasks(&table, use_tokens);
    CHECK_EQ(bnx_sem_count(&table.sem), TOKENS_MAX);
    return 0;
}

static int sem_scenario(void *arg) {
    return seeds_bnx_run(share_sem, arg);
}

/* Tokens are where they belong, and nobody for whom they suffice waits. */
TEST(sync_sem, "sim.sem") {
    seeds_run(SEEDS, sem_scenario);
}

static int wait_event(void *arg) {
    struct table *table = arg;
    return bnx_event_wait(&table->event);
}

static int wait_event_somehow(void *arg) {
    (void)call(wait_event, arg, EITHER);
    return 0;
}

/* The event lies in the frame of a task that waits for it alone. */
static int set_event(void *arg) {
    dawdle();
    bnx_event_set(arg);
    return 0;
}

static void wait_in_frame(struct bnx_scope *scope) {
    struct bnx_event event = BNX_EVENT_INIT;
    CHECK_EQ(bnx_spawn(scope, set_event, &event), 0);
    dawdle();
    CHECK_EQ(bnx_event_wait(&event), 0);
}

static int share_event(void *arg) {
    (void)arg;
    struct table table;
    struct bnx_scope scope;
    table_init(&table);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < table.tasks; i++) {
        CHECK_EQ(bnx_spawn(&scope, wait_event_somehow, &table), 0);
        dawdle();
    }
    wait_in_frame(&scope);
    scribble();
    CHECK_EQ(bnx_spawn(&scope, set_event, &table.event), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(bnx_event_is_set(&table.event));
    return 0;
}

static int event_scenario(void *arg) {
    return seeds_bnx_run(share_event, arg);
}

/* All who wait pass; who passed may free it while the set returns. */
TEST(sync_event, "sim.event") {
    seeds_run(SEEDS, event_scenario);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
