/* SPDX-License-Identifier: MIT */
/*
 * Timers of the user's own, with callbacks (bonxie/timer.h).
 *
 * Concepts
 *   deadline  one word: when the timer fires, 0 while it is not armed. An extend is a CAS of it,
 *             and takes no lock.
 *   node      the arming in some worker's wheel (timer.h); it is due at the deadline or earlier.
 *             When it comes up too early, for the deadline was put off, it is armed again. So a
 *             timer that is put off a thousand times touches the wheel once.
 *   callback  a kept task descriptor, taken by the create. A timer that fires while its callback
 *             runs has it called once more afterwards.
 *
 * Invariants (under the lock)
 *   deadline != 0  =>  node != NULL, and it comes up no later than the deadline, but for the moment
 *   in which the task of the last callback ends.
 *   A node belongs to who took it out of the timer: an expiry that finds another one there, or
 *   none, lets go of its own and does nothing; whoever took it out ends it and waits for that.
 *   is_running <=> the descriptor is queued or runs, and run_callback has not made its last look.
 *
 * Ordering
 *   U1 descriptor  the end of the callback's task sets DONE in its joiners (Q2 in waitq.h) -> who
 *                  uses or frees the descriptor next.
 *   All else is under the lock, or is the deadline: a number on its own, so its accesses are
 *   relaxed, and a CAS settles extend against expiry.
 */
#include <bonxie/timer.h>

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/sync_pvt.h"
#include "runtime/timer.h"
#include "runtime/waiter.h"
#include "runtime/waitq.h"

#include <errno.h>

struct bnx_timer {
    uint64_t deadline_ns;         /* rounded by the slack; 0 = not armed; extend by any thread */
    struct bnx_lock lock;         /* guards what has no other comment */
    bool is_fired;                /* since the last start; never with a period */
    bool is_running;              /* see Invariants */
    bool is_used;                 /* the descriptor has been queued at least once */
    bool is_doomed;               /* destroyed by its own callback, which frees it */
    struct bnx_waitable waitable; /* tells a timer from other handles; immutable */
    struct bnx_runtime *runtime;  /* immutable */
    struct bnx_task *task;        /* of the callback, or NULL; immutable */
    void (*fn)(struct bnx_timer *timer, void *arg); /* immutable, and so the next four */
    void *arg;
    const char *name;
    uint64_t period_ns;          /* 0 = it fires once */
    uint64_t granule_ns;         /* deadlines are multiples of it; a power of two */
    uint64_t due_ns;             /* the deadline before it was rounded: what a period adds to */
    struct bnx_timer_node *node; /* see Invariants */
    uint32_t fires_left;         /* firings while the callback ran, for which it is called again */
    struct bnx_waiter_list waiters; /* who waits until it fires */
    struct bnx_waiter_list enders;  /* who waits until the callback is over */
};
_Static_assert(offsetof(struct bnx_timer, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

/* The calling worker if it is one of the timer's runtime: only then its pools and wheel serve. */
static struct bnx_worker *worker_of(const struct bnx_timer *timer) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL && worker->runtime == timer->runtime ? worker : NULL;
}

/* ---- A timer as a waitable ---- */

static struct bnx_timer *timer_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_timer, waitable);
}

static bool take_fired(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct bnx_timer *timer = timer_of(waitable);
    bnx_lock_acquire(&timer->lock); /* L1 */
    bool is_fired = timer->is_fired;
    bnx_lock_release(&timer->lock); /* L1 */
    if (is_fired) {
        *out_result = 0;
    }
    return is_fired;
}

static bool add_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_timer *timer = timer_of(waitable);
    bnx_lock_acquire(&timer->lock); /* L1 */
    bool is_added = !timer->is_fired;
    if (is_added) {
        bnx_waiter_list_push(&timer->waiters, waiter);
    }
    bnx_lock_release(&timer->lock); /* L1 */
    return is_added;
}

static void remove_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_timer *timer = timer_of(waitable);
    bnx_lock_acquire(&timer->lock); /* L1 */
    bnx_waiter_list_remove(&timer->waiters, waiter);
    bnx_lock_release(&timer->lock); /* L1 */
}

static const struct bnx_waitable_ops timer_ops = {
    .take = take_fired,
    .add = add_waiter,
    .remove = remove_waiter,
    .name = "timer",
};

struct bnx_waitable *bnx_timer_waitable(struct bnx_timer *timer) {
    return &timer->waitable;
}

/* ---- The callback ---- */

static struct bnx_waitq *joiners_of(const struct bnx_timer *timer) {
    return (struct bnx_waitq *)(void *)&timer->task->joiners;
}

/* The callback is over, but its task has not ended yet: the descriptor is not ours. Under the lock,
 * or where nobody starts the timer any more. */
static bool is_ending(const struct bnx_timer *timer) {
    return timer->is_used && !timer->is_running && !bnx_waitq_is_done(joiners_of(timer)); /* U1 */
}

/* Waits until the task has ended: most often it has. Nobody starts the timer any more. */
static void wait_ended(const struct bnx_timer *timer) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, NULL);
    while (is_ending(timer)) { /* ends with the task; a cancel wakes once each */
        if (bnx_sleeper_begin_always(&sleeper) != 0) {
            bnx_os.thread_yield(); /* a thread without memory to sleep: it looks again */
            continue;
        }
        bool is_added = bnx_waitq_add(joiners_of(timer), &waiter);
        if ((is_added || !bnx_sleeper_withdraw(&sleeper)) &&
            bnx_sleeper_sleep(&sleeper, BNX_WAIT_TIMER, timer) != 0 && is_added) {
            bnx_waitq_remove(joiners_of(timer), &waiter);
        }
    }
    bnx_sleeper_fini(&sleeper);
}

/* After a call of fn: whether it is to be called again. When not, the timer may be gone. */
static bool goes_on(struct bnx_timer *timer) {
    struct bnx_wake_chain enders;
    bnx_wake_chain_init(&enders);
    bnx_lock_acquire(&timer->lock); /* L1 */
    bool is_doomed = timer->is_doomed;
    bool is_due = timer->fires_left != 0 && !is_doomed;
    if (is_due) {
        timer->fires_left--;
    } else {
        timer->is_running = false;
        bnx_wake_chain_claim_all(&enders, &timer->enders, 0);
    }
    bnx_lock_release(&timer->lock); /* L1 */
    if (is_doomed) {
        struct bnx_task *self = timer->task; /* reports look at the flags of all */
        bnx_store_relaxed(&self->flags, (uint8_t)(self->flags & ~BNX_TASK_KEEP_HANDLE));
        bnx_os.release(timer);
    }
    bnx_wake_chain_wake(&enders);
    return is_due;
}

static int run_callback(void *arg) {
    struct bnx_timer *timer = arg;
    bnx_task_name_set(timer->name);
    do { /* ends: one call for each firing */
        timer->fn(timer, timer->arg);
        bnx_task_spend(bnx_task_current());
    } while (goes_on(timer));
    return 0;
}

static bool is_own_callback(const struct bnx_timer *timer) {
    const struct bnx_task *task = bnx_task_current();
    while (task != NULL && task != timer->task) { /* ends: forks nest on live frames */
        task = bnx_task_forker(task);
    }
    return task != NULL;
}

/* The timer has fired: has the callback called once more. Under the lock. Returns the descriptor
 * when the caller must queue it. */
static struct bnx_task *owe_callback(struct bnx_timer *timer) {
    if (timer->task == NULL) {
        return NULL;
    }
    if (timer->is_running) {
        /* Periods that a slow callback was too slow for are one. */
        timer->fires_left = timer->period_ns != 0 ? 1 : timer->fires_left + 1;
        return NULL;
    }
    if (!bnx_task_renew(bnx_worker_current(), timer->task)) {
        return NULL;
    }
    timer->is_used = true;
    timer->is_running = true;
    return timer->task;
}

/* ---- Deadlines and nodes ---- */

/* No deadline is 0, which says that there is none. */
static uint64_t round_up(const struct bnx_timer *timer, uint64_t deadline_ns) {
    uint64_t mask = timer->granule_ns - 1;
    if (deadline_ns > BNX_NEVER_NS - mask) {
        return BNX_NEVER_NS;
    }
    uint64_t rounded = (deadline_ns + mask) & ~mask;
    return rounded != 0 ? rounded : 1;
}

/* Takes the deadline away unless it was put off beyond armed_ns. Under the lock; extends may run
 * meanwhile. */
static bool claim_deadline(struct bnx_timer *timer, uint64_t armed_ns, uint64_t *out_deadline_ns) {
    uint64_t deadline_ns = bnx_load_relaxed(&timer->deadline_ns); /* the CAS decides */
    do { /* ends: each failure is an extend, and one beyond armed_ns is the last */
        if (deadline_ns > armed_ns && !BNX_PLANT(timer_ignores_extend)) {
            return false;
        }
    } while (!bnx_cas_relaxed(&timer->deadline_ns, &deadline_ns, 0)); /* a number on its own */
    *out_deadline_ns = deadline_ns;
    return true;
}

/* The first time after now that is a whole number of periods after the one that has fired. */
static uint64_t next_due(struct bnx_timer *timer, uint64_t fired_ns) {
    uint64_t now_ns = bnx_clock_now();
    if (round_up(timer, timer->due_ns) != fired_ns) {
        timer->due_ns = fired_ns; /* it was put off */
    }
    uint64_t late_ns = now_ns > timer->due_ns ? now_ns - timer->due_ns : 0;
    timer->due_ns += late_ns / timer->period_ns * timer->period_ns;
    timer->due_ns = bnx_clock_after(timer->due_ns, timer->period_ns);
    return round_up(timer, timer->due_ns);
}

/* Arms a node, on this worker's wheel if there is one. Under the lock. */
static void arm(struct bnx_timer *timer, struct bnx_timer_node *node, uint64_t deadline_ns) {
    struct bnx_worker *worker = worker_of(timer);
    timer->node = node;
    if (worker != NULL) {
        bnx_timer_node_start(worker, node, BNX_TIMER_CALL, timer, 0, deadline_ns);
        return;
    }
    struct bnx_runtime *runtime = timer->runtime;
    /* Any worker will do; so that it is not always the same one, the address says which. */
    uint64_t at = ((uintptr_t)timer / sizeof(*timer)) % runtime->worker_count;
    bnx_timer_node_start_at(&runtime->workers[at], node, BNX_TIMER_CALL, timer, deadline_ns);
}

/* The node has come up: the timer fires, or was put off. Returns the callback to queue, or NULL.
 * Under the lock. A node that stays with the timer goes to the wheel of the worker that runs this:
 * a rescuer has no other. */
static struct bnx_task *expire(struct bnx_timer *timer, struct bnx_timer_node *node,
                               struct bnx_wake_chain *waiters) {
    uint64_t armed_ns = bnx_wheel_timer_deadline_ns(&node->timer);
    struct bnx_task *callback = NULL;
    uint64_t fired_ns;
    if (is_ending(timer) && !BNX_PLANT(timer_reuses_running_task)) {
        bnx_wheel_timer_finish(&node->timer);
        arm(timer, node, bnx_clock_after(bnx_clock_now(), BNX_WHEEL_TICK_NS)); /* has ended then */
        return NULL;
    }
    if (claim_deadline(timer, armed_ns, &fired_ns)) {
        callback = owe_callback(timer);
        bnx_wake_chain_claim_all(waiters, &timer->waiters, 0);
        timer->is_fired = timer->period_ns == 0;
        if (timer->is_fired) {
            timer->node = NULL;
            return callback;
        }
        bnx_store_relaxed(&timer->deadline_ns, next_due(timer, fired_ns)); /* a number */
    }
    bnx_wheel_timer_finish(&node->timer);
    arm(timer, node, bnx_load_relaxed(&timer->deadline_ns)); /* as above */
    return callback;
}

void bnx_timer_expire(struct bnx_timer_node *node) {
    struct bnx_timer *timer = node->timer.arg;
    struct bnx_task *callback = NULL;
    struct bnx_wake_chain waiters;
    bnx_wake_chain_init(&waiters);
    bool is_in_use = false;
    bnx_lock_acquire(&timer->lock); /* L1 */
    bool is_ours = timer->node == node;
    if (is_ours || BNX_PLANT(timer_fires_stale_node)) {
        callback = expire(timer, node, &waiters);
        is_in_use = timer->node == node;
    }
    bnx_lock_release(&timer->lock); /* L1: the last touch of the timer */
    if (!is_in_use) {
        bnx_wheel_timer_finish(&node->timer); /* whoever took it out waits for this, and frees it */
        if (is_ours) {
            bnx_timer_node_give_back(bnx_worker_current(), node);
        }
    }
    if (callback != NULL) {
        bnx_task_ready(callback);
    }
    bnx_wake_chain_wake(&waiters);
}

static void end_node(struct bnx_timer *timer, struct bnx_timer_node *node) {
    if (node != NULL) {
        bnx_timer_node_end(worker_of(timer), node);
    }
}

/* ---- Create and destroy ---- */

static int reserve_callback(struct bnx_timer *timer, const void *site) {
    int error = 0;
    timer->task = bnx_task_make(timer->runtime, worker_of(timer), &timer->runtime->root,
                                run_callback, timer, site, &error);
    if (timer->task != NULL) {
        bnx_store_relaxed(&timer->task->id, 0); /* for dumps it is free until it is queued */
    }
    return error;
}

int bnx_timer_create(struct bnx_timer **out_timer, const struct bnx_timer_options *options) {
    static const struct bnx_timer_options defaults;
    const struct bnx_timer_options *chosen = options != NULL ? options : &defaults;
    struct bnx_runtime *runtime = chosen->runtime;
    if (runtime == NULL) {
        runtime = bnx_runtime_current();
    }
    if (runtime == NULL) {
        return bnx_off_task_error();
    }
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD;
    }
    struct bnx_timer *timer = bnx_os.allocate(sizeof(*timer), _Alignof(struct bnx_timer));
    if (timer == NULL) {
        return -ENOMEM;
    }
    *timer = (struct bnx_timer){.waitable = {&timer_ops},
                                .runtime = runtime,
                                .fn = chosen->fn,
                                .arg = chosen->arg,
                                .name = chosen->name,
                                .period_ns = chosen->period_ns,
                                .granule_ns = 1};
    bnx_lock_init(&timer->lock);
    while (timer->granule_ns <= chosen->slack_ns / 2) { /* ends: doubles up to the slack */
        timer->granule_ns *= 2;
    }
    if (chosen->fn != NULL) {
        int error = reserve_callback(timer, __builtin_return_address(0));
        if (error != 0) {
            bnx_os.release(timer);
            return error;
        }
    }
    *out_timer = timer;
    return 0;
}

void bnx_timer_destroy(struct bnx_timer *timer) {
    if (timer == NULL || bnx_runtime_is_forked(timer->runtime)) {
        return;
    }
    if (is_own_callback(timer)) {
        (void)bnx_timer_stop(timer);
        bnx_lock_acquire(&timer->lock); /* L1 */
        timer->is_doomed = true;
        bnx_lock_release(&timer->lock); /* L1 */
        return;
    }
    (void)bnx_timer_cancel(timer);
    BNX_CHECK(timer->waiters.first == NULL); /* nobody waits for what is destroyed */
    if (timer->task != NULL) {
        wait_ended(timer);
        bnx_task_free(worker_of(timer), timer->task);
    }
    bnx_os.release(timer);
}

/* ---- Start, extend, stop ---- */

/* Whether the node that is armed comes up in time for the deadline. Under the lock. */
static bool is_served(const struct bnx_timer *timer, uint64_t deadline_ns) {
    if (timer->node == NULL) {
        return false;
    }
    uint64_t armed_ns = bnx_wheel_timer_deadline_ns(&timer->node->timer);
    return armed_ns <= bnx_clock_after(deadline_ns, BNX_WHEEL_TICK_NS - 1);
}

int bnx_timer_start(struct bnx_timer *timer, uint64_t deadline_ns) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return -ECHILD;
    }
    uint64_t rounded_ns = round_up(timer, deadline_ns);
    struct bnx_worker *worker = worker_of(timer);
    struct bnx_timer_node *spare = NULL;
    struct bnx_timer_node *old = NULL;
    bnx_lock_acquire(&timer->lock); /* L1 */
    if (!is_served(timer, rounded_ns)) {
        bnx_lock_release(&timer->lock); /* L1: a pool may have to map memory */
        int error = 0;
        spare =
            bnx_pool_get(&timer->runtime->timers, worker != NULL ? &worker->timers : NULL, &error);
        if (spare == NULL) {
            return error;
        }
        bnx_lock_acquire(&timer->lock); /* L1 */
    }
    uint64_t before_ns = bnx_exchange_relaxed(&timer->deadline_ns, rounded_ns); /* a number */
    timer->due_ns = deadline_ns;
    timer->is_fired = false;
    if (spare != NULL && !is_served(timer, rounded_ns)) {
        old = timer->node;
        arm(timer, spare, rounded_ns);
        spare = NULL;
    }
    bnx_lock_release(&timer->lock); /* L1 */
    end_node(timer, old);
    if (spare != NULL) {
        bnx_pool_put(&timer->runtime->timers, worker != NULL ? &worker->timers : NULL, spare);
    }
    return before_ns != 0 ? 1 : 0;
}

int bnx_timer_start_after(struct bnx_timer *timer, uint64_t ns) {
    return bnx_timer_start(timer, bnx_clock_after(bnx_clock_now(), ns));
}

int bnx_timer_extend(struct bnx_timer *timer, uint64_t deadline_ns) {
    uint64_t rounded_ns = round_up(timer, deadline_ns);
    uint64_t before_ns = bnx_load_relaxed(&timer->deadline_ns); /* the CAS decides */
    while (before_ns < rounded_ns) { /* ends: a failure is another's later deadline, or its end */
        if (before_ns == 0) {
            return -EALREADY;
        }
        if (bnx_cas_relaxed(&timer->deadline_ns, &before_ns, rounded_ns)) { /* a number */
            return 0;
        }
    }
    return 0;
}

int bnx_timer_stop(struct bnx_timer *timer) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return 0;
    }
    bnx_lock_acquire(&timer->lock);                                    /* L1 */
    uint64_t before_ns = bnx_exchange_relaxed(&timer->deadline_ns, 0); /* against extend */
    struct bnx_timer_node *node = timer->node;
    timer->node = NULL;
    bnx_lock_release(&timer->lock); /* L1 */
    end_node(timer, node);
    return before_ns != 0 ? 1 : 0;
}

uint64_t bnx_timer_deadline(const struct bnx_timer *timer) {
    return bnx_load_relaxed(&timer->deadline_ns); /* a snapshot */
}

/* ---- Waiting ---- */

/* Waits until the callback is over, or a cancel wakes the caller. Returns whether it is over. */
static bool wait_for_callback(struct bnx_timer *timer, struct bnx_sleeper *sleeper) {
    struct bnx_waiter waiter;
    bnx_waiter_init(&waiter, sleeper, NULL);
    if (bnx_sleeper_begin_always(sleeper) != 0) {
        bnx_os.thread_yield(); /* a thread without memory to sleep: it looks again and again */
        bnx_lock_acquire(&timer->lock); /* L1 */
        bool is_over = !timer->is_running;
        bnx_lock_release(&timer->lock); /* L1 */
        return is_over;
    }
    bnx_lock_acquire(&timer->lock); /* L1 */
    bool is_running = timer->is_running;
    if (is_running) {
        bnx_waiter_list_push(&timer->enders, &waiter);
    }
    bnx_lock_release(&timer->lock); /* L1 */
    if (!is_running) {
        if (!bnx_sleeper_withdraw(sleeper)) {
            (void)bnx_sleeper_sleep(sleeper, BNX_WAIT_TIMER, timer); /* a cancel was first */
        }
        return true;
    }
    if (bnx_sleeper_sleep(sleeper, BNX_WAIT_TIMER, timer) == 0) {
        return true;
    }
    bnx_lock_acquire(&timer->lock); /* L1 */
    bnx_waiter_list_remove(&timer->enders, &waiter);
    bnx_lock_release(&timer->lock); /* L1 */
    return false;
}

int bnx_timer_cancel(struct bnx_timer *timer) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return -ECHILD;
    }
    if (is_own_callback(timer)) {
        return -EDEADLK;
    }
    int was_armed = bnx_timer_stop(timer);
    if (timer->task != NULL && !BNX_PLANT(timer_cancel_waits_not)) {
        struct bnx_sleeper sleeper;
        bnx_sleeper_init(&sleeper);
        while (!wait_for_callback(timer, &sleeper)) { /* ends with it; a cancel wakes once each */
        }
        bnx_sleeper_fini(&sleeper);
    }
    return was_armed;
}

int bnx_timer_wait(struct bnx_timer *timer) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return -ECHILD;
    }
    struct bnx_task *self = bnx_task_current();
    int error = self != NULL ? bnx_task_cancel_check(self) : 0;
    int result;
    if (error != 0 || !take_fired(&timer->waitable, NULL, &result)) {
        return error != 0 ? error
                          : bnx_waitable_wait(&timer_ops, &timer->waitable, BNX_WAIT_TIMER, timer);
    }
    if (self != NULL) {
        bnx_task_spend(self);
    }
    return result;
}
