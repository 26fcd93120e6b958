/* SPDX-License-Identifier: MIT */
/*
 * What a worker that looks for work does, step by step (runtime/worker.c, runtime/steal.c).
 *
 * Method: the watchdog, which would help within milliseconds whatever a worker omits, is not there,
 * or stands still. Tasks that do not yield hold their workers; so what is not done is never done.
 */
#include "tests/support/driver_null.h"
#include "tests/support/sched.h"

/* As in runtime/steal.c: it is left alone for so long. */
#define OVERDUE_NS (2 * BNX_BACKLOG_NS)

/* ---- A watchdog that stands still ---- */

static struct {
    int (*futex_wait)(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
    int main_thread;      /* which sleeps until the end; before the others begin */
    uint32_t is_released; /* futex */
} frozen;

/* Off the workers and the main thread only the watchdog sleeps. */
static int freeze(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    if (bnx_worker_current() == NULL && bnx_os.thread_id() != frozen.main_thread) {
        while (bnx_load_acquire(&frozen.is_released) == 0) { /* ends with release_watchdog */
            (void)frozen.futex_wait(&frozen.is_released, 0, BNX_NEVER_NS);
        }
    }
    return frozen.futex_wait(word, expected, deadline_ns);
}

static void release_watchdog(void) {
    bnx_store_release(&frozen.is_released, 1);
    (void)bnx_os.futex_wake(&frozen.is_released, INT_MAX);
}

/* Runs fn, which lets the watchdog go at its end. */
static void run_frozen(uint32_t worker_count, bnx_task_fn fn, void *arg) {
    frozen.main_thread = bnx_os.thread_id();
    frozen.futex_wait = bnx_os.futex_wait;
    frozen.is_released = 0;
    bnx_os.futex_wait = freeze;
    sched_run(worker_count, fn, arg);
    bnx_os.futex_wait = frozen.futex_wait;
}

static void run_unwatched(uint32_t worker_count, bnx_task_fn fn, void *arg) {
    struct bnx_options options = {
        .worker_count = worker_count, .seed = 1, .flags = BNX_NO_WATCHDOG};
    CHECK_EQ(bnx_run(&options, fn, arg), 0);
}

/* ---- Workers that are held ---- */

/* A task that keeps its worker until it is let go. */
struct holder {
    struct bnx_worker *worker; /* whom it holds; seen once is_there is */
    uint32_t is_there;
    uint32_t may_go;
};

static void await_flag(const uint32_t *flag) {
    while (bnx_load_acquire(flag) == 0) { /* ends with the store by another worker */
        bnx_pause();
    }
}

static int hold(void *arg) {
    struct holder *holder = arg;
    holder->worker = bnx_worker_current();
    bnx_store_release(&holder->is_there, 1);
    await_flag(&holder->may_go);
    return 0;
}

static void let_go(struct holder *holder) {
    bnx_store_release(&holder->may_go, 1);
}

static struct bnx_runtime *own_runtime(void) {
    return bnx_worker_current()->runtime;
}

static void await_parked(uint32_t count) {
    while (bnx_load_relaxed(&own_runtime()->idle.parked_count) < count) { /* ends: no work */
        bnx_pause();
    }
}

/* Has another worker run the holder. The caller has no other child that waits to be run. */
static void hold_another(struct bnx_scope *scope, struct holder *holder) {
    CHECK_EQ(bnx_spawn(scope, hold, holder), 0);
    while (bnx_load_acquire(&holder->is_there) == 0) { /* ends: whoever wakes steals it */
        bnx_runtime_wake_one(own_runtime());
        bnx_pause();
    }
}

/* ---- The last searcher's look ---- */

static int meet(void *arg) {
    uint32_t *present = arg;
    bnx_fetch_add_acq_rel(present, 1);
    while (bnx_load_acquire(present) < 3) { /* ends when all three run */
        bnx_pause();
    }
    return 0;
}

static int spawn_two(void *arg) {
    uint32_t present = 0;
    struct bnx_scope scope;
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    await_parked(2);
    CHECK_EQ(bnx_spawn(&scope, meet, &present), 0); /* wakes nobody: it may be run inline */
    CHECK_EQ(bnx_spawn(&scope, meet, &present), 0);
    (void)meet(&present);
    return bnx_scope_close(&scope);
}

/* Claim: a worker that has found work and was the last to search wakes another one for what is
 * left. Method: two children that must run at the same time as their parent; the second one's spawn
 * wakes one worker. */
TEST(last_searcher, "idle.last_searcher_looks_again") {
    for (uint64_t round = 0; round < bnx_test_scale(200) + 5; round++) {
        run_unwatched(3, spawn_two, NULL);
    }
}

/* ---- Own completions first ---- */

enum event { EVENT_NONE, EVENT_POLL, EVENT_STEAL };

/* Of the worker that is asked for its completions. */
static struct {
    struct bnx_worker *worker; /* who has one; NULL: nobody */
    enum event events[2];
    uint32_t event_count;
} outside;

static void note(enum event event) {
    uint32_t at = bnx_load_acquire(&outside.event_count); /* one writer at a time: the worker */
    CHECK(at < BNX_ARRAY_COUNT(outside.events));
    outside.events[at] = event;
    bnx_store_release(&outside.event_count, at + 1);
}

static bool is_pending(const struct bnx_worker *worker) {
    return bnx_load_relaxed(&outside.worker) == worker; /* its own store, or another's number */
}

static size_t poll_once(struct bnx_worker *worker) {
    if (!is_pending(worker)) {
        return 0;
    }
    bnx_store_relaxed(&outside.worker, NULL); /* as above */
    note(EVENT_POLL);
    return 1;
}

/* Ends with a completion on its worker. */
static int end_with_completion(void *arg) {
    struct holder *holder = arg;
    (void)hold(holder);
    bnx_store_relaxed(&outside.worker, holder->worker); /* as above */
    return 0;
}

static int be_stolen(void *arg) {
    (void)arg;
    note(EVENT_STEAL);
    return 0;
}

static int offer_beside_completion(void *arg) {
    struct holder holder = {0};
    struct bnx_scope scope;
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, end_with_completion, &holder), 0);
    while (bnx_load_acquire(&holder.is_there) == 0) { /* ends: whoever wakes steals it */
        bnx_runtime_wake_one(own_runtime());
    }
    CHECK_EQ(bnx_spawn(&scope, be_stolen, NULL), 0);
    let_go(&holder);
    while (bnx_load_acquire(&outside.event_count) < 2) { /* ends: the worker does both */
        bnx_pause();
    }
    return bnx_scope_close(&scope);
}

/* Claim: a worker that has completions of its own sees to them before it steals. Method: on one of
 * two workers a task ends; by then the other has a child to be stolen, and a completion is there
 * that no flag has told of. */
TEST(own_first, "steal.own_completions_first") {
    null_outside = (struct null_outside){.poll = poll_once, .is_pending = is_pending};
    for (uint64_t round = 0; round < bnx_test_scale(200) + 5; round++) {
        outside.event_count = 0;
        run_unwatched(2, offer_beside_completion, NULL);
        CHECK_EQ(outside.events[0], EVENT_POLL);
        CHECK_EQ(outside.events[1], EVENT_STEAL);
    }
}

/* ---- Short queues ---- */

static int count_run(void *arg) {
    bnx_fetch_add_acq_rel((uint32_t *)arg, 1);
    return 0;
}

/* A child that has left the deque for the runq, as if it had run before. */
static void queue_child(struct bnx_scope *scope, uint32_t *runs) {
    struct bnx_worker *worker = bnx_worker_current();
    CHECK_EQ(bnx_spawn(scope, count_run, runs), 0);
    void *item = bnx_deque_pop(&worker->deque);
    CHECK(item != NULL);
    CHECK(bnx_runq_push(&worker->runq, item));
    CHECK(bnx_worker_is_short(worker));
}

static int compute_beside_thief(void *arg) {
    struct holder holder = {0};
    struct bnx_scope scope;
    uint32_t runs = 0;
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    hold_another(&scope, &holder);
    queue_child(&scope, &runs);
    let_go(&holder);
    await_flag(&runs);
    release_watchdog();
    return bnx_scope_close(&scope);
}

/* Claim: a thief that is awake does not go to sleep beside a short runq before its owner has passed
 * by: if he computes, it takes the item. Method: a task that computes until its queued child has
 * run; the other worker's task ends when the child is queued. */
TEST(waits_for_owner, "steal.owner_is_waited_for") {
    for (uint64_t round = 0; round < bnx_test_scale(100) + 5; round++) {
        run_frozen(2, compute_beside_thief, NULL);
    }
}

static void wait_until_overdue(void) {
    uint64_t end_ns = bnx_clock_now() + OVERDUE_NS;
    while (bnx_clock_now() < end_ns) { /* ends with the time */
        bnx_pause();
    }
}

/* The caller is the thief; the victims are held, and their queues are the caller's to fill. */
static int eye_two(void *arg) {
    struct bnx_worker *thief = bnx_worker_current();
    struct holder holders[2] = {{0}};
    struct bnx_scope scope;
    uint64_t items[2] = {0};
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    hold_another(&scope, &holders[0]);
    hold_another(&scope, &holders[1]);
    struct bnx_worker *first = holders[0].worker;
    struct bnx_worker *second = holders[1].worker;

    thief->eyed = NULL;
    CHECK(bnx_runq_push(&first->runq, &items[0]));
    CHECK(bnx_worker_is_short(first));
    CHECK(bnx_worker_steal(thief) == NULL);
    CHECK(thief->eyed == first);
    CHECK(bnx_runq_pop(&first->runq) == &items[0]);

    CHECK(bnx_runq_push(&second->runq, &items[1]));
    CHECK(bnx_worker_is_short(second));
    CHECK(bnx_worker_steal(thief) == NULL);
    wait_until_overdue();
    void *item = bnx_worker_steal(thief);
    CHECK(item == &items[1]);
    CHECK(thief->eyed == NULL);

    let_go(&holders[0]);
    let_go(&holders[1]);
    release_watchdog();
    return bnx_scope_close(&scope);
}

/* Claim: a thief that keeps an eye on one short runq forgets it when that is empty, though its
 * owner has not passed by, and sees to another one. Method: the raids of one worker, the two others
 * held by tasks; the watchdog stands still. */
TEST(forgets_empty, "steal.empty_victim_is_forgotten") {
    for (uint64_t round = 0; round < bnx_test_scale(100) + 5; round++) {
        run_frozen(3, eye_two, NULL);
    }
}

/* ---- Forks ---- */

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static int fork_on(void *arg) {
    struct bnx_worker *worker = bnx_worker_current();
    (void)arg;
    bnx_store_relaxed(&worker->share_asked, BNX_SHARE_SIGN); /* as a thief does */
    for (int i = 0; i <= BNX_BUDGET; i++) {
        struct bnx_fork fork;
        CHECK_EQ(bnx_fork(&fork, do_nothing, NULL), 0);
        CHECK_EQ(bnx_fork_join(&fork), 0);
    }
    CHECK_EQ(bnx_load_relaxed(&worker->share_asked), BNX_SHARE_NONE);
    return 0;
}

/* Claim: a worker that does nothing but forks shows thieves that it passes by, within a budget of
 * them. Method: one worker, asked as by a thief. */
TEST(forks_are_a_sign, "steal.forks_are_a_sign") {
    run_unwatched(1, fork_on, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
