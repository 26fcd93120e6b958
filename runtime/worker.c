/* SPDX-License-Identifier: MIT */
/* A worker's loop and thread: when to poll, when to steal, when to sleep (worker.h). */
#include "runtime/clock.h"
#include "runtime/rescue.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <limits.h>
#include <sched.h>

/* Messages handled in one visit of the loop; the rest waits for the next one. */
#define MESSAGES_PER_VISIT 256
/* The spin before a park adapts between these; see rest(). */
#define SPIN_NS_MAX BNX_SPIN_NS_FIRST
#define SPIN_NS_MIN UINT64_C(1000)
#define SPIN_PAUSES_PER_LOOK 8
#define SLICE_NS_GRACE UINT64_C(1000)
/* How long a guest keeps its host, at least a task longer: others wait for their turn there. */
#define VISIT_NS BNX_NS_PER_MS

/* ---- The service lock ---- */

bool bnx_worker_service_try(struct bnx_worker *worker) {
    return bnx_service_try(worker);
}

void bnx_worker_service_enter(struct bnx_worker *worker) {
    bnx_service_enter(worker);
}

void bnx_worker_service_leave(struct bnx_worker *worker) {
    bnx_service_leave(worker);
}

void bnx_service_wait(struct bnx_worker *worker) {
    int tries = 0;
    while (!bnx_service_try(worker)) { /* ends: a rescuer's section is bounded and never sleeps */
        if (++tries % BNX_LOCK_PAUSES_MAX == 0) {
            bnx_os.thread_yield();
        }
        bnx_pause();
    }
}

bool bnx_worker_rescue_enter(struct bnx_worker *victim) {
    uint32_t none = 0;
    if (!bnx_cas_seq_cst(&victim->rescuer, &none, 1)) { /* W2 */
        return false;
    }
    bnx_heavy_barrier();                              /* W2 */
    if (bnx_load_seq_cst(&victim->owner_busy) == 0) { /* W2 W3 */
        return true;
    }
    bnx_store_release(&victim->rescuer, 0); /* W3 */
    return false;
}

static void pause_or_yield(int *tries) {
    if (++*tries % BNX_LOCK_PAUSES_MAX == 0) {
        bnx_os.thread_yield();
    }
    bnx_pause();
}

void bnx_worker_rescue_wait(struct bnx_worker *victim) {
    int tries = 0;
    uint32_t none = 0;
    while (!bnx_cas_seq_cst(&victim->rescuer, &none, 1)) { /* W2; ends: rescuers' are bounded */
        none = 0;
        pause_or_yield(&tries);
    }
    bnx_heavy_barrier();                              /* W2 */
    if (bnx_load_seq_cst(&victim->owner_busy) == 0) { /* W2 W3 */
        return;
    }
    /* A driver may keep the service while it sleeps. Such a worker has said that it is parked
     * before it entered the service, so the wake is not lost, and it does not enter again while we
     * wait. */
    bnx_runtime_wake(victim->runtime, victim->index);
    while (bnx_load_seq_cst(&victim->owner_busy) != 0) { /* W2 W3; ends: see above */
        pause_or_yield(&tries);
    }
}

void bnx_worker_rescue_leave(struct bnx_worker *victim) {
    bnx_store_release(&victim->rescuer, 0); /* W3 */
}

/* ---- The loop ---- */

static void handle_messages(struct bnx_worker *worker) {
    if (bnx_load_relaxed(&worker->cancels) != NULL) { /* a hint: this is not the last look */
        bnx_cancels_send(worker, false);
    }
    for (int i = 0; i < MESSAGES_PER_VISIT; i++) {
        struct bnx_mpscq_node *node = bnx_mpscq_pop(&worker->inbox);
        if (node == NULL) {
            return;
        }
        struct bnx_message *message = BNX_CONTAINER_OF(node, struct bnx_message, node);
        message->deliver(worker, message);
    }
}

/* A sample counts for four times the average at most: a worker that lost its CPU for a while has
 * not had longer tasks. */
static void note_slice(struct bnx_worker *worker, uint64_t slice_ns) {
    uint64_t average_ns = bnx_load_relaxed(&worker->slice_ns); /* owner-written, a hint to others */
    uint64_t most_ns = 4 * average_ns + SLICE_NS_GRACE;
    slice_ns = slice_ns < most_ns ? slice_ns : most_ns;
    bnx_store_relaxed(&worker->slice_ns, (3 * average_ns + slice_ns) / 4);
}

/* Asks the outside: completions, timers, messages. */
static void poll_outside(struct bnx_worker *worker) {
    bnx_store_relaxed(&worker->poll_requested, 0); /* a hint */
    uint32_t ticks = worker->tick - worker->poll_tick;
    if (ticks != 0) {
        note_slice(worker, (bnx_clock_now() - worker->poll_ns) / ticks);
    }
    bnx_worker_plan_looks(worker);
    worker->poll_tick = worker->tick;
    bnx_counter_bump(&worker->counters.polls);
    worker->driver->ops->poll(worker->driver);
    worker->now_ns = bnx_clock_now();
    worker->poll_ns = worker->now_ns;
    bnx_timers_fire(worker);
    handle_messages(worker);
}

/* What runs because of it goes before a BATCH task that waits, as from the worker's own queues. */
static void *take_global(struct bnx_worker *worker) {
    void *item = bnx_worker_take_global(worker);
    if (item != NULL && bnx_lane_waits(worker->runtime, BNX_LANE_BATCH) &&
        !BNX_PLANT(batch_waits_for_global)) {
        worker->batch_passed++;
    }
    return item;
}

/* What to run, from near to far. Every other look begins with the global queue, so that it is
 * served while the worker's own queue never empties; not before LATENCY, which lets it in. The
 * looks themselves take turns: by the polls it would be never, or always, where there are two of
 * them from one look to the next, as between the visits of a guest. */
static void *find_item(struct bnx_worker *worker) {
    worker->tick++;
    bnx_store_relaxed(&worker->heartbeat, worker->heartbeat + 1); /* for the watchdog */
    worker->is_global_first = BNX_PLANT(global_turn_by_polls) ? (worker->counters.polls & 1) != 0
                                                              : !worker->is_global_first;
    bool is_global_first =
        worker->is_global_first && !bnx_lane_waits(worker->runtime, BNX_LANE_LATENCY);
    void *item = is_global_first ? take_global(worker) : NULL;
    if (item == NULL) {
        item = bnx_worker_pick_local(worker);
    }
    return item != NULL || is_global_first ? item : take_global(worker);
}

/* Nothing else is there: a BATCH task, unless the outside has something after all. */
static void *find_batch(struct bnx_worker *worker) {
    if (!bnx_lane_waits(worker->runtime, BNX_LANE_BATCH)) {
        return NULL;
    }
    if (!BNX_PLANT(batch_no_poll)) {
        poll_outside(worker);
    }
    void *item = find_item(worker);
    if (item == NULL) {
        worker->batch_passed = 0;
        item = bnx_lane_take(worker->runtime, BNX_LANE_BATCH);
    }
    return item;
}

/* Whether there is anything that all workers may take, or that the others have and do not keep. A
 * short runq is left to its owner, who is awake with it (steal.c). */
static bool sees_queued(const struct bnx_worker *worker, bool counts_own) {
    struct bnx_runtime *runtime = worker->runtime;
    if (bnx_load_seq_cst(&runtime->global.count) != 0 ||                                /* G1 */
        (bnx_load_seq_cst(&runtime->lanes_used) != 0 && !BNX_PLANT(lane_no_recheck))) { /* G2 */
        return true;
    }
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct bnx_worker *other = &runtime->workers[i];
        bool is_all_counted = other == worker && counts_own;
        if (!bnx_deque_is_empty_seq_cst(&other->deque) ||
            (!bnx_runq_is_empty_seq_cst(&other->runq) &&
             (is_all_counted || !bnx_worker_is_short(other)))) {
            return true;
        }
    }
    return false;
}

/* The worker has found work: it no longer searches. The last searcher that stops looks whether
 * there is more than it takes itself, because producers that saw it have woken nobody (I2). */
static void stop_searching(struct bnx_worker *worker) {
    if (!worker->is_searching) {
        return;
    }
    worker->is_searching = false;
    if (bnx_idle_search_end(&worker->runtime->idle) && !BNX_PLANT(search_ends_quietly) &&
        sees_queued(worker, false)) {
        bnx_runtime_wake_one(worker->runtime);
    }
}

bool bnx_worker_sees_work(const struct bnx_worker *worker) {
    return bnx_worker_has_messages(worker) ||
           bnx_load_seq_cst(&worker->runtime->phase) == BNX_PHASE_ENDING || /* R1 */
           worker->driver->ops->is_pending(worker->driver) || sees_queued(worker, true);
}

/* Whether there is nothing to steal but from deques that the worker leaves alone (steal.c): it
 * would not sleep beside them, for its last look finds them. */
static bool sees_only_deques(const struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    bool is_any = false;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        const struct bnx_worker *other = &runtime->workers[i];
        if (bnx_runq_count(&other->runq) != 0 && !bnx_worker_is_short(other)) {
            return false;
        }
        is_any = is_any || bnx_deque_count(&other->deque) != 0;
    }
    return is_any;
}

/* Whether it leaves a short runq to an owner who has not passed by since (steal.c). */
static bool waits_for_owner(const struct bnx_worker *worker) {
    return worker->is_searching && worker->eyed != NULL && worker->spin_ns >= SPIN_NS_MIN &&
           !BNX_PLANT(thief_sleeps_beside) && bnx_runq_count(&worker->eyed->runq) != 0 &&
           bnx_load_relaxed(&worker->eyed->heartbeat) == worker->eyed_heartbeat; /* a hint */
}

/* Spins for a moment: completions that come within microseconds are cheaper awake than asleep. The
 * time is halved when it was spent in vain and grows when it was not. */
static bool spin(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    uint64_t now_ns = bnx_clock_now();
    uint64_t end_ns = now_ns + worker->spin_ns;
    while (now_ns < end_ns || (now_ns < worker->raid_after_ns && sees_only_deques(worker)) ||
           waits_for_owner(worker)) {
        if (waits_for_owner(worker) && now_ns >= worker->eyed_beat_ns + BNX_BACKLOG_NS) {
            return true;
        }
        for (int i = 0; i < SPIN_PAUSES_PER_LOOK; i++) {
            bnx_pause();
            if (worker->driver->ops->is_pending(worker->driver) ||
                bnx_worker_has_messages(worker) ||
                bnx_load_relaxed(&runtime->global.count) != 0 || /* hints, both */
                bnx_load_relaxed(&runtime->lanes_used) != 0) {
                if (runtime->spin_ns == 0) {
                    worker->spin_ns = SPIN_NS_MAX;
                }
                return true;
            }
        }
        now_ns = bnx_clock_now();
        if (bnx_load_relaxed(&worker->wheel_next_ns) <= now_ns) { /* owner-written */
            return true;
        }
    }
    if (runtime->spin_ns == 0) {
        worker->spin_ns = worker->spin_ns / 2 > SPIN_NS_MIN ? worker->spin_ns / 2 : SPIN_NS_MIN;
    }
    return false;
}

/* Steps 1 and 2 of the parker (idle.h). */
static void announce_park(struct bnx_worker *worker) {
    struct bnx_idle *idle = &worker->runtime->idle;
    bnx_idle_enter(idle, worker->index);
    if (worker->is_searching) {
        worker->is_searching = false;
        (void)bnx_idle_search_end(idle); /* the last look follows in any case */
    }
}

static void revoke_park(struct bnx_worker *worker) {
    if (!bnx_idle_leave(&worker->runtime->idle, worker->index)) {
        worker->is_searching = true; /* whoever took the bit has counted us */
    }
}

static void sleep_now(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    announce_park(worker);
    uint64_t deadline_ns = bnx_worker_timers_next(worker);
    if (BNX_PLANT(idle_no_recheck) || !bnx_worker_sees_work(worker)) { /* step 3 */
        bnx_counter_bump(&worker->counters.parks);
        worker->poll_tick = worker->tick;
        worker->driver->ops->park(worker->driver, deadline_ns);
    }
    revoke_park(worker);
    bnx_watchdog_kick(runtime);
}

/* Nothing to run here: steal, do bulk work, spin, sleep. Returns an item, or NULL to go round the
 * loop again. */
static void *rest(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    worker->poll_tick = worker->tick; /* what follows is no task's time */
    bool has_own = worker->driver->ops->is_pending(worker->driver) && !BNX_PLANT(rest_steals_first);
    if (has_own) { /* its own before others' */
        poll_outside(worker);
        void *own = find_item(worker);
        if (own != NULL) {
            return own;
        }
    }
    if (!worker->is_searching && runtime->worker_count > 1) {
        worker->is_searching = bnx_idle_search_begin(&runtime->idle);
    }
    if (worker->is_searching) {
        void *item = bnx_worker_steal(worker);
        if (item != NULL) {
            worker->batch_passed++;
            return item;
        }
    }
    void *item = find_batch(worker);
    if (item != NULL) {
        return item;
    }
    /* Searchers spin, at most half of the awake workers, so one on a small machine; and whom it has
     * paid lately: two workers that wake each other are both idle while the message is on its way,
     * and the one that sleeps then costs the other 15 us. */
    bool may_spin =
        worker->is_searching || worker->spin_ns > SPIN_NS_MIN || runtime->worker_count == 1;
    if (!may_spin || !spin(worker)) {
        sleep_now(worker);
    }
    poll_outside(worker);
    return NULL;
}

static void run_loop(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    for (;;) { /* ends with the runtime */
        if (bnx_worker_poll_due(worker)) {
            poll_outside(worker);
        }
        void *item = find_item(worker);
        if (item == NULL) {
            if (bnx_load_seq_cst(&runtime->phase) == BNX_PHASE_ENDING) { /* R1 */
                return;
            }
            item = rest(worker);
        }
        if (item != NULL) {
            stop_searching(worker);
            bnx_worker_run(worker, item);
        }
    }
}

/* ---- A guest's loop (guest.h) ---- */

/* The outside has been asked, cancels that this brought are submitted: is there work now? */
static void *find_late_item(struct bnx_worker *worker) {
    poll_outside(worker);
    (void)worker->driver->ops->poll(worker->driver);
    void *item = find_item(worker);
    return item != NULL ? item : find_batch(worker);
}

bool bnx_worker_visit(struct bnx_worker *worker) {
    revoke_park(worker);
    worker->poll_tick = worker->tick; /* the host's time is no task's */
    poll_outside(worker);
    uint64_t start_ns = worker->now_ns;
    do { /* ends: with work, or with time */
        void *item = find_item(worker);
        if (item == NULL) {
            item = find_late_item(worker);
        }
        if (item == NULL) {
            return true;
        }
        stop_searching(worker);
        bnx_worker_run(worker, item);
        if (bnx_worker_poll_due(worker)) {
            poll_outside(worker);
        }
    } while (worker->now_ns - start_ns < VISIT_NS || BNX_PLANT(guest_stays_for_ever));
    return false;
}

void bnx_worker_visit_end(struct bnx_worker *worker) {
    announce_park(worker);
}

/* ---- The thread ---- */

static void bump(uint32_t *futex_word) {
    bnx_fetch_add_seq_cst(futex_word, 1); /* R2 */
    (void)bnx_os.futex_wake(futex_word, INT_MAX);
}

static void wait_for(uint32_t *futex_word, uint32_t count) {
    uint32_t seen;
    while ((seen = bnx_load_seq_cst(futex_word)) < count) { /* R2 */
        (void)bnx_os.futex_wait(futex_word, seen, BNX_NEVER_NS);
    }
}

/* Of the CPUs near it the kernel chooses: with one of its own it would wait behind whatever else
 * runs there while others idle. */
void bnx_worker_keep_near(const struct bnx_worker *worker, bool is_near) {
    const struct bnx_topology *topology = &worker->runtime->topology;
    if (!worker->runtime->is_placed) {
        return;
    }
    size_t bytes = CPU_ALLOC_SIZE(topology->cpus[topology->cpu_count - 1].cpu + 1);
    cpu_set_t *set = bnx_os.allocate(bytes, sizeof(void *));
    if (set == NULL) {
        return; /* slower, not wrong */
    }
    uint32_t cpu = bnx_topology_worker_cpu(topology, worker->index);
    if (is_near) {
        bnx_topology_neighbours(topology, cpu, set, bytes);
    } else {
        (void)bnx_topology_within(topology, cpu, BNX_TIER_REMOTE, set, bytes);
    }
    (void)bnx_os.affinity_set(set, bytes); /* as above: the CPUs may have gone since */
    bnx_os.release(set);
}

int bnx_worker_open(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    bnx_worker_bind(worker);
    bnx_carrier_init(&worker->carrier);
    worker->tid = (uint32_t)bnx_os.thread_id();
    worker->is_in_loop = 1;
    struct bnx_driver_config config = {.worker_index = worker->index,
                                       .worker_count = runtime->worker_count,
                                       .is_guest = (runtime->flags & BNX_GUEST) != 0,
                                       .min_wait_ns = runtime->min_wait_ns};
    return runtime->driver_ops->open(&config, worker, &worker->driver);
}

void bnx_worker_close(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    if (worker->driver != NULL) {
        runtime->driver_ops->close(worker->driver);
    }
    bnx_stack_cache_fini(&worker->stacks);
    bnx_pool_cache_fini(&runtime->tasks, &worker->tasks);
    bnx_pool_cache_fini(&runtime->timers, &worker->timers);
    bnx_future_cache_fini(worker);
    bnx_worker_bind(NULL);
}

void bnx_worker_main(void *arg) {
    struct bnx_worker *worker = arg;
    struct bnx_runtime *runtime = worker->runtime;
    bnx_worker_keep_near(worker, true);
    worker->start_error = bnx_worker_open(worker);
    if (worker->start_error == 0) {
        worker->start_error = bnx_crash_altstack_set();
    }
    bump(&runtime->workers_ready);
    wait_for(&runtime->workers_go, runtime->worker_count);
    if (bnx_load_seq_cst(&runtime->phase) != BNX_PHASE_ENDING) { /* R1 */
        worker->now_ns = bnx_clock_now();
        bool may_be_rescued = (runtime->flags & BNX_NO_RESCUE) == 0;
        if (may_be_rescued) {
            bnx_rescue_worker_enter(worker);
        }
        run_loop(worker);
        if (may_be_rescued) {
            bnx_rescue_worker_leave(worker);
        }
    }
    bump(&runtime->workers_left);
    /* Everyone has left the loop, and the destroyer its round of wakes, before anyone closes its
     * driver: until then a wake may be on its way. */
    wait_for(&runtime->workers_left, runtime->worker_count + 1);
    bnx_crash_altstack_clear();
    bnx_worker_close(worker);
}
