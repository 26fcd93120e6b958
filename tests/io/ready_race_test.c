/* SPDX-License-Identifier: MIT */
/* Tests readiness (bonxie/ready.h) under contention: many waits, cancels and closes at once. */
#include "tests/io/ready.h"

#include <sys/eventfd.h>

/* ---- Many who wait for one ---- */

#define TASKS 6
#define THREADS 2

struct crowd {
    int fds[2]; /* the reading end does not block */
    struct bnx_fd_event event;
    struct bnx_fd_event events[TASKS]; /* of each task, prepared where it ran */
    struct bnx_event stop;
    uint64_t bytes; /* to come */
    uint64_t taken;
    uint64_t cancelled;
};

/* Takes what it is told of until told to stop. */
static void take_bytes(struct crowd *crowd, struct bnx_fd_event *event) {
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_fd_event_waitable(event)),
                               BNX_CASE_WAIT(bnx_event_waitable(&crowd->stop))};
    for (;;) { /* ends with the stop */
        int which = bnx_select(cases, 2, 0);
        if (which == -ECANCELED) {
            bnx_fetch_add_relaxed(&crowd->cancelled, 1);
            return;
        }
        if (which == 1) {
            return;
        }
        CHECK_EQ(which, 0);
        CHECK_EQ(cases[0].result, POLLIN);
        char byte;
        ssize_t got = bnx_os.read(crowd->fds[0], &byte, 1);
        CHECK(got == 1 || got == -EAGAIN);
        if (got == 1 && bnx_fetch_add_acq_rel(&crowd->taken, 1) + 1 == crowd->bytes) {
            bnx_event_set(&crowd->stop);
        }
    }
}

static int take_in_task(void *arg) {
    struct crowd *crowd = ((struct crowd **)arg)[0];
    struct bnx_fd_event *event = ((struct bnx_fd_event **)arg)[1];
    if (event != &crowd->event) {
        *event = event_on(crowd->fds[0], POLLIN);
    }
    take_bytes(crowd, event);
    return 0;
}

static void take_in_thread(void *arg) {
    struct crowd *crowd = arg;
    take_bytes(crowd, &crowd->event);
}

static int write_bytes(void *arg) {
    struct crowd *crowd = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    for (uint64_t sent = 0; sent < crowd->bytes;) {
        uint64_t most = crowd->bytes - sent;
        size_t count = 1 + bnx_rng_below(&rng, 8);
        count = count < most ? count : (size_t)most;
        CHECK_EQ(bnx_write(crowd->fds[1], "12345678", count), (ssize_t)count);
        sent += count;
        if (bnx_rng_below(&rng, 2) != 0) {
            bnx_yield();
        }
    }
    return 0;
}

static int run_crowd(void *arg) {
    struct crowd crowd = {.bytes = bnx_test_scale(4000) + 50};
    struct bnx_os_thread threads[THREADS];
    struct bnx_scope scope;
    (void)arg;
    bnx_event_init(&crowd.stop);
    CHECK_EQ(pipe2(crowd.fds, O_CLOEXEC), 0);
    CHECK_EQ(fcntl(crowd.fds[0], F_SETFL, O_NONBLOCK), 0);
    crowd.event = event_on(crowd.fds[0], POLLIN);
    for (int i = 0; i < THREADS; i++) {
        sched_thread_start(&threads[i], take_in_thread, &crowd);
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < TASKS; i++) {
        void *args[] = {&crowd, i % 2 == 0 ? &crowd.event : &crowd.events[i]};
        CHECK_EQ(bnx_spawn_copy(&scope, take_in_task, args, sizeof(args)), 0);
    }
    CHECK_EQ(bnx_spawn(&scope, write_bytes, &crowd), 0);
    struct bnx_scope losers; /* they come and are cancelled all the time */
    while (bnx_load_acquire(&crowd.taken) < crowd.bytes / 2) { /* ends with the bytes */
        void *args[] = {&crowd, &crowd.event};
        CHECK_EQ(bnx_scope_open(&losers, NULL), 0);
        CHECK_EQ(bnx_spawn_copy(&losers, take_in_task, args, sizeof(args)), 0);
        bnx_yield();
        bnx_scope_cancel(&losers, 0);
        (void)bnx_scope_close(&losers);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (int i = 0; i < THREADS; i++) {
        sched_thread_join(&threads[i]);
    }
    CHECK_EQ(crowd.taken, crowd.bytes);
    io_close_pair(crowd.fds);
    return 0;
}

/* Tasks on all workers and threads wait for one descriptor, by one event and by their own, beside
 * something else; some are cancelled. No byte is left without somebody who is told of it. */
TEST(ready_crowd, "ready.many_wait_for_one") {
    int before = io_fd_count();
    sched_run_each(run_crowd, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Very many at once ---- */

struct flood {
    size_t count;
    int *fds; /* eventfds */
    struct bnx_fd_event *events;
    struct bnx_waitable **waitables;
};

static int gather_flood(void *arg) {
    struct flood *flood = arg;
    CHECK_EQ(bnx_gather(flood->waitables, flood->count, NULL, 0), 0);
    return 0;
}

/* All become ready before the worker that looks out for them looks again. */
static int run_flood(void *arg) {
    struct flood *flood = arg;
    struct bnx_scope scope;
    struct bnx_task *task;
    for (size_t i = 0; i < flood->count; i++) {
        flood->fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        CHECK(flood->fds[i] >= 0);
        flood->events[i] = event_on(flood->fds[i], POLLIN);
        flood->waitables[i] = bnx_fd_event_waitable(&flood->events[i]);
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, gather_flood, flood, &task), 0);
    io_await_wait(task, BNX_WAIT_SEVERAL);
    for (size_t i = 0; i < flood->count; i++) {
        CHECK_EQ(eventfd_write(flood->fds[i], 1), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (size_t i = 0; i < flood->count; i++) {
        CHECK_EQ(close(flood->fds[i]), 0);
    }
    return 0;
}

/* More events than a worker takes in at once: the rest is not forgotten. */
TEST(ready_flood, "ready.many_at_once") {
    uint64_t limit = io_fd_limit_raise();
    struct flood flood = {.count = 10000};
    if (limit < flood.count + 100) {
        SKIP("%llu descriptors are allowed", (unsigned long long)limit);
    }
    flood.fds = calloc(flood.count, sizeof(flood.fds[0]));
    flood.events = calloc(flood.count, sizeof(flood.events[0]));
    flood.waitables = calloc(flood.count, sizeof(flood.waitables[0]));
    CHECK(flood.fds != NULL && flood.events != NULL && flood.waitables != NULL);
    sched_run(1, run_flood, &flood);
    sched_run(2, run_flood, &flood);
    free(flood.fds);
    free(flood.events);
    free(flood.waitables);
}

/* ---- Everything at once ---- */

#define RACERS 8

struct racer {
    uint64_t rounds;
    uint64_t seed;
};

/* One waits, in one of the ways; meanwhile the descriptor becomes ready, or is closed, or the wait
 * is cancelled, or two of these. */
struct duel {
    struct bnx_fd_event event;
    int fds[2];
    int how;
    int result;
};

static int duel_wait(void *arg) {
    struct duel *duel = arg;
    if (duel->how == 0) {
        duel->result = bnx_fd_wait(duel->fds[0], POLLIN);
        return 0;
    }
    if (duel->how == 1) {
        duel->result = wait_event(&duel->event);
        return 0;
    }
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_fd_event_waitable(&duel->event)),
                               BNX_CASE_AFTER(BNX_NS_PER_S * 3600)};
    int which = bnx_select(cases, 2, 0);
    duel->result = which == 0 ? cases[0].result : which;
    return 0;
}

static void fight(struct bnx_rng *rng) {
    struct duel duel = {.how = (int)bnx_rng_below(rng, 3)};
    struct bnx_scope scope;
    struct bnx_task *waiter;
    bool closes = bnx_rng_below(rng, 2) != 0, cancels = bnx_rng_below(rng, 2) != 0;
    bool writes = bnx_rng_below(rng, 2) != 0 || (!closes && !cancels);
    io_unix_pair(duel.fds);
    duel.event = event_on(duel.fds[0], POLLIN);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, duel_wait, &duel, &waiter), 0);
    if (closes || bnx_rng_below(rng, 2) != 0) { /* a close is for those who have begun */
        while (bnx_task_state(waiter) != BNX_TASK_PARKED &&
               bnx_task_state(waiter) != BNX_TASK_DONE) {
            bnx_yield();
        }
    }
    if (writes) {
        write_one(duel.fds[1]);
    }
    if (cancels) {
        bnx_cancel(waiter, 0);
    }
    if (closes) {
        CHECK_EQ(bnx_close(duel.fds[0]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK((writes && duel.result == POLLIN) || (cancels && duel.result == -ECANCELED) ||
          (closes && duel.result == -EBADF));
    if (!closes) {
        CHECK_EQ(close(duel.fds[0]), 0);
    }
    CHECK_EQ(close(duel.fds[1]), 0);
}

static int race(void *arg) {
    const struct racer *racer = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, racer->seed, 2);
    for (uint64_t i = 0; i < racer->rounds; i++) {
        fight(&rng);
    }
    return 0;
}

static int run_races(void *arg) {
    struct racer racers[RACERS];
    struct bnx_scope scope;
    const uint64_t *seed = arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){bnx_test_scale(300) + 10, *seed + i};
        CHECK_EQ(bnx_spawn(&scope, race, &racers[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Readiness, cancels and closes race for waits of each kind: each ends with one of those that came,
 * and nothing is left over. */
TEST(ready_race, "ready.races") {
    uint64_t seed = bnx_test_seed();
    int before = io_fd_count();
    sched_run_each(run_races, &seed);
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
