/* SPDX-License-Identifier: MIT */
/*
 * Fork-join (bonxie/fork.h): the deque holds forks as it holds unstarted tasks, with bit 0 set.
 *
 * A fork is run by exactly one party: its forker, which pops it, or the worker that takes it from
 * the deque, the runq or the global queue, where a suspension of the forker moves it. That worker
 * makes it a task, because it may wait.
 *
 * Ordering
 *   K1 end: the runner's exchange acq_rel of word to DONE or RETURNED -> the forker's load-acquire,
 *      or its resume by the runner. It is the runner's last touch of the fork.
 */
#include <bonxie/fork.h>

#include "runtime/runtime_pvt.h"

#include <errno.h>

/* The fork's word: 0 pending, a task that waits, or one of these. Tasks are aligned. */
#define DONE ((uintptr_t)1)
#define RETURNED ((uintptr_t)2) /* whoever took it had no descriptor for it: the forker's again */

static inline void *item_of(struct bnx_fork *fork) {
    return (void *)((uintptr_t)fork | 1);
}

/* The function of the task that a taken fork becomes. */
static int run_taken(void *arg) {
    struct bnx_fork *fork = arg;
    fork->result = fork->fn(fork->arg);
    struct bnx_task *self = bnx_task_current();
    /* Out of the forker's scope first: it may be closed the moment the forker goes on. */
    bnx_scope_member_remove(self);
    uintptr_t waiter = bnx_exchange_acq_rel(&fork->word, DONE); /* K1 */
    if (waiter != 0) {
        bnx_task_ready((struct bnx_task *)waiter);
    }
    return 0;
}

struct bnx_task *bnx_task_of_fork(struct bnx_worker *worker, void *item) {
    struct bnx_fork *fork = (struct bnx_fork *)((uintptr_t)item & ~(uintptr_t)1);
    int error = 0;
    struct bnx_task *task = bnx_task_make(worker->runtime, worker, fork->scope, run_taken, fork,
                                          (const void *)(uintptr_t)fork->fn, &error);
    if (task == NULL) {
        uintptr_t waiter = bnx_exchange_acq_rel(&fork->word, RETURNED); /* K1 */
        if (waiter != 0) {
            bnx_task_ready((struct bnx_task *)waiter);
        }
        return NULL;
    }
    bnx_store_relaxed(&task->flags, BNX_TASK_FORK); /* these two are read by reports and a stop */
    bnx_store_relaxed(&task->class, fork->forker->class);
    task->locals = fork->forker->locals; /* borrowed: the forker waits for us */
    return task;
}

/* The deque is full: it grows, or without memory the function runs at once. Apart, so that the
 * usual way through bnx_fork saves no register. */
static BNX_COLD int fork_grow(struct bnx_worker *worker, struct bnx_fork *fork) {
    if (bnx_deque_push(&worker->deque, item_of(fork)) != 0) {
        fork->result = fork->fn(fork->arg);
        bnx_store_relaxed(&fork->word, DONE); /* nobody else knows it */
        return 0;
    }
    bnx_worker_wake_one(worker);
    return 0;
}

int bnx_fork(struct bnx_fork *fork, bnx_task_fn fn, void *arg) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (bnx_unlikely(self == NULL)) {
        return bnx_off_task_error();
    }
    fork->fn = fn;
    fork->arg = arg;
    fork->scope = bnx_task_scope(self);
    fork->forker = self;
    bnx_store_relaxed(&fork->word, 0); /* the deque publishes it */
    if (bnx_unlikely(!bnx_deque_try_push(&worker->deque, item_of(fork)))) {
        return fork_grow(worker, fork);
    }
    bnx_worker_wake_one(worker);
    return 0;
}

/* Somebody has the fork, or a suspension has queued it. */
static BNX_NOINLINE int join_taken(struct bnx_worker *worker, struct bnx_fork *fork) {
    struct bnx_task *self = worker->current;
    /* What lies above it in the deque was spawned after it and not closed yet; it must not wait for
     * us, nor may the fork itself if it lies beneath. */
    if (bnx_deque_count(&worker->deque) != 0) {
        bnx_worker_flush(worker);
    }
    uintptr_t pending = 0;
    if (bnx_load_acquire(&fork->word) == 0 &&                      /* K1 */
        bnx_cas_acq_rel(&fork->word, &pending, (uintptr_t)self)) { /* K1 */
        (void)bnx_task_park(self, BNX_WAIT_FORK, fork);
    }
    if (bnx_load_acquire(&fork->word) == RETURNED) { /* K1 */
        return fork->fn(fork->arg);
    }
    return fork->result;
}

int bnx_fork_join(struct bnx_fork *fork) {
    struct bnx_worker *worker = bnx_worker_current();
    BNX_ASSERT(worker != NULL && worker->current != NULL);
    void *item = bnx_deque_pop(&worker->deque);
    if (bnx_likely(item == item_of(fork))) {
        if (bnx_unlikely(--worker->budget <= 0)) {
            bnx_fork_tick(worker);
        }
        return fork->fn(fork->arg);
    }
    if (item != NULL && bnx_deque_push(&worker->deque, item) != 0) {
        bnx_worker_push(worker, item);
    }
    return join_taken(worker, fork);
}

void bnx_fork_tick(struct bnx_worker *worker) {
    worker->budget = BNX_BUDGET;
    worker->tick++;
    bnx_store_relaxed(&worker->heartbeat, worker->heartbeat + 1); /* for the watchdog */
    if (!BNX_PLANT(fork_gives_no_sign)) {
        bnx_worker_share_if_asked(worker);
    }
    if (bnx_worker_wants_turn(worker)) {
        bnx_yield();
    }
}

struct range {
    size_t begin;
    size_t end;
    size_t grain;
    void (*fn)(size_t begin, size_t end, void *arg);
    void *arg;
};

static int run_range(void *arg) {
    const struct range *range = arg;
    size_t count = range->end - range->begin;
    if (count <= range->grain) {
        range->fn(range->begin, range->end, range->arg);
        return 0;
    }
    size_t middle = range->begin + count / 2;
    struct range upper = {middle, range->end, range->grain, range->fn, range->arg};
    struct range lower = {range->begin, middle, range->grain, range->fn, range->arg};
    struct bnx_fork fork;
    int error = bnx_fork(&fork, run_range, &upper);
    BNX_ASSERT(error == 0);
    (void)error;
    (void)run_range(&lower); /* depth: log2 of the number of pieces */
    return bnx_fork_join(&fork);
}

int bnx_parallel_for(size_t begin, size_t end, size_t grain,
                     void (*fn)(size_t begin, size_t end, void *arg), void *arg) {
    if (begin > end || fn == NULL) {
        return -EINVAL;
    }
    if (begin == end) {
        return 0;
    }
    struct bnx_worker *worker = bnx_worker_current();
    if (worker == NULL || worker->current == NULL) {
        fn(begin, end, arg);
        return 0;
    }
    if (grain == 0) {
        /* Eight pieces a worker: the last ones end close together, and a piece is not too small. */
        grain = (end - begin) / (8 * (size_t)worker->runtime->worker_count) + 1;
    }
    struct range all = {begin, end, grain, fn, arg};
    return run_range(&all);
}
