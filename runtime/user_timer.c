/* SPDX-License-Identifier: MIT */
/* Timers of the user's own, with callbacks (bonxie/timer.h); user_timer_pvt.h has the concepts. */
#include "runtime/user_timer_pvt.h"

#include "runtime/clock.h"
#include "runtime/scope_pvt.h"
#include "runtime/sync_pvt.h"
#include "runtime/waitq.h"

#include <errno.h>

/* Uses in a row that earn the favour: by the lock they cost some 2 us more than in favour, and a
 * membarrier is 0.4 to 5. */
#define FAVOUR_AFTER (BNX_SIM ? 2u : BNX_CAPACITY(256u, 2u))

/* The calling worker if it is one of the timer's runtime: only then its pools and wheel serve. */
static struct bnx_worker *worker_of(const struct bnx_timer *timer) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL && worker->runtime == timer->runtime ? worker : NULL;
}

/* ---- Favour ---- */

/* Returns the calling worker if the timer is in its favour; then leave_short must follow. */
static inline struct bnx_worker *enter_short(struct bnx_timer *timer) {
    struct bnx_worker *worker = bnx_worker_current();
    /* relaxed: looked at again below, and only this worker stores its own address there */
    if (worker == NULL || bnx_load_relaxed(&timer->favoured) != worker) {
        return NULL;
    }
    bnx_store_light(&worker->timer_in_hand, timer);               /* U2 */
    if (bnx_likely(bnx_load_light(&timer->favoured) == worker)) { /* U2 */
        return worker;
    }
    bnx_store_release(&worker->timer_in_hand, NULL); /* U3 */
    return NULL;
}

static inline void leave_short(struct bnx_worker *worker) {
    bnx_store_release(&worker->timer_in_hand, NULL); /* U3 */
}

static BNX_COLD void take_favour(struct bnx_timer *timer, const struct bnx_worker *favoured) {
    bnx_store_seq_cst(&timer->favoured, NULL); /* U2 */
    if (BNX_PLANT(timer_takes_favour_at_once)) {
        return;
    }
    bnx_heavy_barrier(); /* U2 */
    int tries = 0;
    /* Ends: after a dozen instructions of that worker. */
    while (bnx_load_seq_cst(&favoured->timer_in_hand) == timer) { /* U2 U3 */
        if (++tries % BNX_LOCK_PAUSES_MAX == 0) {
            bnx_os.thread_yield();
        }
        bnx_pause();
    }
}

/* Takes the lock for what changes deadline and node. */
static void lock_to_change(struct bnx_timer *timer) {
    bnx_lock_acquire(&timer->lock); /* L1 */
    /* relaxed: changed under the lock alone */
    struct bnx_worker *favoured = bnx_load_relaxed(&timer->favoured);
    if (bnx_unlikely(favoured != NULL && favoured != bnx_worker_current())) {
        take_favour(timer, favoured);
    }
}

/* A start or a stop by the lock, and under it. worker as worker_of says. */
static void count_use(struct bnx_timer *timer, struct bnx_worker *worker) {
    if (timer->user != worker) {
        timer->user = worker;
        timer->uses = 0;
    }
    if (++timer->uses >= FAVOUR_AFTER && worker != NULL) {
        timer->uses = 0;
        bnx_store_relaxed(&timer->favoured, worker); /* relaxed: for others it is by the lock */
    }
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
    /* It comes up with the first tick that is not before the deadline, and so do these. */
    timer->serves_ns = ((deadline_ns - 1) & ~(BNX_WHEEL_TICK_NS - 1)) + 1;
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
    if (bnx_load_relaxed(&timer->deadline_ns) == 0 && /* relaxed: no extend changes that */
        !BNX_PLANT(timer_fires_stopped)) {
        timer->node = NULL;
        return NULL;
    }
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
    lock_to_change(timer); /* L1 */
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

/* The deadline becomes another one, 0: none. Returns whether there was one. Extends may run. */
static inline int set_deadline(struct bnx_timer *timer, uint64_t deadline_ns) {
    uint64_t before_ns =
        bnx_load_relaxed(&timer->deadline_ns); /* relaxed: a number, and so below */
    bnx_store_relaxed(&timer->deadline_ns, deadline_ns);
    return before_ns != 0 ? 1 : 0;
}

/* A stop by the lock: no node is left either. */
static BNX_NOINLINE int stop(struct bnx_timer *timer) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return 0;
    }
    lock_to_change(timer); /* L1 */
    int was_armed = set_deadline(timer, 0);
    struct bnx_timer_node *node = timer->node;
    timer->node = NULL;
    count_use(timer, worker_of(timer));
    bnx_lock_release(&timer->lock); /* L1 */
    end_node(timer, node);
    return was_armed;
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
    bool is_own = is_own_callback(timer);
    bnx_lock_acquire(&timer->lock); /* L1 */
    if ((is_own || !timer->is_running) && !BNX_PLANT(timer_destroy_takes_favour)) {
        bnx_store_relaxed(&timer->favoured, NULL); /* no barrier: see Destroy in the head */
    }
    timer->is_doomed = is_own;
    timer->is_shut = true;
    bnx_lock_release(&timer->lock); /* L1 */
    if (is_own) {
        (void)stop(timer);
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

/* Whether the node that is armed comes up in time for the deadline. */
static inline bool is_served(const struct bnx_timer *timer, uint64_t deadline_ns) {
    return timer->node != NULL && deadline_ns >= timer->serves_ns;
}

/* A start by the lock. */
static BNX_NOINLINE int start(struct bnx_timer *timer, uint64_t deadline_ns, uint64_t rounded_ns) {
    if (bnx_runtime_is_forked(timer->runtime)) {
        return -ECHILD;
    }
    struct bnx_worker *worker = worker_of(timer);
    struct bnx_pool_cache *cache = worker != NULL ? &worker->timers : NULL;
    struct bnx_timer_node *spare = NULL;
    struct bnx_timer_node *old = NULL;
    int error = 0;
    lock_to_change(timer); /* L1 */
    if (!is_served(timer, rounded_ns) && (cache == NULL || cache->free == NULL)) {
        bnx_lock_release(&timer->lock); /* L1: the pool may have to map memory */
        spare = bnx_pool_get(&timer->runtime->timers, cache, &error);
        if (spare == NULL) {
            return error;
        }
        lock_to_change(timer); /* L1 */
    }
    int was_armed = -ESHUTDOWN;
    if (bnx_likely(!timer->is_shut) || BNX_PLANT(timer_starts_in_destroy)) {
        was_armed = set_deadline(timer, rounded_ns);
        timer->due_ns = deadline_ns;
        timer->is_fired = false;
        count_use(timer, worker);
        if (!is_served(timer, rounded_ns)) {
            if (spare == NULL) {
                spare = bnx_pool_get(&timer->runtime->timers, cache, &error); /* the cache's */
            }
            old = timer->node;
            arm(timer, spare, rounded_ns);
            spare = NULL;
        }
    }
    bnx_lock_release(&timer->lock); /* L1 */
    end_node(timer, old);
    if (spare != NULL) {
        bnx_pool_put(&timer->runtime->timers, cache, spare);
    }
    return was_armed;
}

int bnx_timer_start(struct bnx_timer *timer, uint64_t deadline_ns) {
    uint64_t rounded_ns = round_up(timer, deadline_ns);
    struct bnx_worker *favoured = enter_short(timer);
    if (favoured != NULL) {
        if (bnx_likely(is_served(timer, rounded_ns))) {
            int was_armed = set_deadline(timer, rounded_ns);
            timer->due_ns = deadline_ns;
            leave_short(favoured);
            return was_armed;
        }
        leave_short(favoured);
    }
    return start(timer, deadline_ns, rounded_ns);
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
    struct bnx_worker *favoured = enter_short(timer);
    if (favoured != NULL) {
        int was_armed = set_deadline(timer, 0);
        leave_short(favoured);
        return was_armed;
    }
    return stop(timer);
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
    int was_armed = stop(timer);
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
