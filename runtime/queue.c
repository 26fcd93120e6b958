/* SPDX-License-Identifier: MIT */
/* A worker's queues: waking others, pushing, flushing, picking what runs next (worker.h). */
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/runtime_pvt.h"

/* A poll at the latest after so many ticks: a multiple of nothing, so that it does not beat with
 * the caller's own rounds. When they are short, as many as fit into the span, up to a maximum. */
#define TICKS_PER_POLL 61
#define TICKS_PER_POLL_MAX 256
#define POLL_SPAN_NS UINT64_C(2000)
/* The clock is read every so many ticks (a read costs as much as two switches). */
#define TICKS_PER_CLOCK 16
#define POLL_INTERVAL_NS UINT64_C(100000)
/* Slices after which a task that runs its children or forks inline gives way to others. */
#define SLICES_MAX 16

/* Items taken from the global queue at once: a fair share, and few holds of a shared lock. */
#define GLOBAL_BATCH BNX_CAPACITY(32, 2)

/* ---- Waking ---- */

static void wake_worker(struct bnx_runtime *runtime, uint32_t index) {
    if (bnx_unlikely(runtime->guest != NULL)) {
        bnx_guest_wake(runtime->guest);
        return;
    }
    struct bnx_worker *worker = &runtime->workers[index];
    worker->driver->ops->wake(worker->driver);
}

void bnx_runtime_wake(struct bnx_runtime *runtime, uint32_t index) {
    if (bnx_idle_is_parked(&runtime->idle, index)) {
        wake_worker(runtime, index);
    }
}

void bnx_runtime_wake_one(struct bnx_runtime *runtime) {
    int index = bnx_idle_claim_any(&runtime->idle);
    if (index >= 0) {
        wake_worker(runtime, (uint32_t)index);
    }
}

void bnx_worker_wake_one_slow(struct bnx_worker *worker) {
    bnx_counter_bump(&worker->counters.wakes_sent);
    bnx_runtime_wake_one(worker->runtime);
}

/* Waking a worker costs the waker 4 us and the woken one 8 until it has stolen something, which is
 * then not where its memory is: a queue that this worker empties soon is not worth it. If it does
 * not, the watchdog notices in 1 or 2 ms. */
static void wake_for_ready(struct bnx_worker *worker) {
    if (bnx_likely(!bnx_idle_may_wake(&worker->runtime->idle))) {
        return;
    }
    if (!bnx_worker_is_short(worker)) {
        bnx_counter_bump(&worker->counters.wakes_sent);
        bnx_runtime_wake_one(worker->runtime);
    }
}

void bnx_worker_wake(struct bnx_worker *worker) {
    bnx_runtime_wake(worker->runtime, worker->index);
}

void bnx_worker_send(struct bnx_worker *worker, struct bnx_message *message) {
    bnx_mpscq_push(&worker->inbox, &message->node);
    bnx_runtime_wake(worker->runtime, worker->index);
    bnx_watchdog_kick(worker->runtime);
}

/* ---- The global queue ---- */

static void **link_of(void *item) {
    return (void **)((uintptr_t)item & ~(uintptr_t)1);
}

/* Under the queue's lock. Its count is not changed. */
static void append_locked(struct bnx_global_queue *queue, void *first, void *last) {
    *link_of(last) = NULL;
    if (queue->last != NULL) {
        *link_of(queue->last) = first;
    } else {
        queue->first = first;
    }
    queue->last = last;
}

/* As append_locked. Returns NULL where nothing is left. */
static void *take_first_locked(struct bnx_global_queue *queue) {
    void *item = queue->first;
    if (item != NULL) {
        queue->first = *link_of(item);
        if (queue->first == NULL) {
            queue->last = NULL;
        }
    }
    return item;
}

void bnx_global_push(struct bnx_runtime *runtime, void *first, void *last, uint32_t count) {
    struct bnx_global_queue *queue = &runtime->global;
    bnx_lock_acquire(&queue->lock); /* L1 */
    append_locked(queue, first, last);
    bnx_store_seq_cst(&queue->count, queue->count + count); /* G1 */
    bnx_lock_release(&queue->lock);                         /* L1 */
}

uint32_t bnx_global_take(struct bnx_runtime *runtime, void **out, uint32_t max) {
    struct bnx_global_queue *queue = &runtime->global;
    if (bnx_load_seq_cst(&queue->count) == 0) { /* G1 */
        return 0;
    }
    bnx_lock_acquire(&queue->lock); /* L1 */
    uint32_t taken = 0;
    while (taken < max && queue->first != NULL) {
        out[taken++] = take_first_locked(queue);
    }
    bnx_store_seq_cst(&queue->count, queue->count - taken); /* G1 */
    bnx_lock_release(&queue->lock);                         /* L1 */
    return taken;
}

/* ---- The lanes ---- */

/* Returns how many wait in the lane now. */
static uint32_t push_lane(struct bnx_runtime *runtime, struct bnx_task *task) {
    unsigned lane = task->class == BNX_CLASS_LATENCY ? BNX_LANE_LATENCY : BNX_LANE_BATCH;
    struct bnx_global_queue *queue = &runtime->lanes[lane];
    bnx_lock_acquire(&queue->lock); /* L1 */
    append_locked(queue, task, task);
    uint32_t count = queue->count + 1;
    bnx_store_relaxed(&queue->count, count); /* under the lock; the bit is what others read */
    if (count == 1) {
        (void)bnx_fetch_or_seq_cst(&runtime->lanes_used, BNX_LANE_BIT(lane)); /* G2 */
    }
    bnx_lock_release(&queue->lock); /* L1 */
    return count;
}

void *bnx_lane_take(struct bnx_runtime *runtime, unsigned lane) {
    if (!bnx_lane_waits(runtime, lane)) {
        return NULL;
    }
    struct bnx_global_queue *queue = &runtime->lanes[lane];
    bnx_lock_acquire(&queue->lock); /* L1 */
    void *item = take_first_locked(queue);
    if (item != NULL) {
        bnx_store_relaxed(&queue->count, queue->count - 1); /* as in push_lane */
        if (queue->first == NULL) {
            (void)bnx_fetch_and_seq_cst(&runtime->lanes_used, ~BNX_LANE_BIT(lane)); /* G2 */
        }
    }
    bnx_lock_release(&queue->lock); /* L1 */
    return item;
}

/* A worker that picks at once, because it yields or is on its loop, needs help only with a queue
 * that keeps it busy; one whose task goes on does not look before that waits. */
static BNX_NOINLINE void ready_in_lane(struct bnx_worker *worker, struct bnx_task *task) {
    struct bnx_runtime *runtime = task->runtime;
    bool is_foreign = worker == NULL || worker->runtime != runtime;
    bool picks_now = !is_foreign && (worker->current == NULL || worker->current == task);
    uint32_t count = push_lane(runtime, task);
    if (is_foreign) {
        bnx_runtime_wake_one(runtime);
        bnx_watchdog_kick(runtime);
        return;
    }
    bool is_watched = bnx_runtime_is_watched(runtime);
    if (!picks_now || !is_watched ||
        count * bnx_load_relaxed(&worker->slice_ns) >= BNX_WAKE_COST_NS) {
        bnx_worker_wake_one(worker);
    }
}

/* ---- Pushing ---- */

/* The runq is full: its older half and the item go to the global queue as one chain. */
static BNX_COLD void push_overflow(struct bnx_worker *worker, void *item) {
    void *moved[BNX_RUNQ_CAPACITY / 2 + 1];
    uint32_t count = bnx_runq_overflow(&worker->runq, moved, BNX_RUNQ_CAPACITY / 2);
    moved[count++] = item;
    for (uint32_t i = 0; i + 1 < count; i++) {
        *link_of(moved[i]) = moved[i + 1];
    }
    bnx_global_push(worker->runtime, moved[0], moved[count - 1], count);
    bnx_runtime_wake_one(worker->runtime);
}

#if BNX_FORCE_MIGRATE
/* Every task that becomes ready goes to the next worker, so that whatever it kept from before the
 * suspension is wrong. */
static void deliver_item(struct bnx_worker *worker, struct bnx_message *message) {
    struct bnx_task *task = BNX_CONTAINER_OF(message, struct bnx_task, message);
    if (bnx_unlikely(!bnx_runq_push(&worker->runq, task))) {
        push_overflow(worker, task);
    }
}

static bool migrate(struct bnx_worker *worker, void *item) {
    struct bnx_runtime *runtime = worker->runtime;
    if (bnx_item_is_fork(item) || runtime->worker_count == 1) {
        return false;
    }
    struct bnx_task *task = item;
    uint32_t target = (worker->index + 1) % runtime->worker_count;
    task->message.deliver = deliver_item;
    bnx_worker_send(&runtime->workers[target], &task->message);
    return true;
}
#else
static inline bool migrate(struct bnx_worker *worker, void *item) {
    (void)worker;
    (void)item;
    return false;
}
#endif

void bnx_worker_push_quietly(struct bnx_worker *worker, void *item) {
    if (bnx_unlikely(!bnx_runq_push(&worker->runq, item))) {
        push_overflow(worker, item);
    }
}

void bnx_worker_push(struct bnx_worker *worker, void *item) {
    if (migrate(worker, item)) {
        return;
    }
    bnx_worker_push_quietly(worker, item);
    wake_for_ready(worker);
}

static inline void put_next(struct bnx_worker *worker, void *item) {
    bnx_store_relaxed(&worker->next_since_ns, worker->now_ns); /* a hint for thieves */
    bnx_store_release(&worker->next_slot, item);               /* W1 */
}

/* The item runs next on this worker; what was to run next goes to the runq. */
static void push_next(struct bnx_worker *worker, void *item) {
    void *before = bnx_load_relaxed(&worker->next_slot); /* thieves only take it away */
    if (before != NULL) {
        before = bnx_exchange_acquire(&worker->next_slot, NULL); /* W1 */
    }
    put_next(worker, item);
    if (before != NULL) {
        bnx_worker_push(worker, before);
    }
}

/* A pinned task has come home. */
static void deliver_pinned(struct bnx_worker *worker, struct bnx_message *message) {
    void *item = BNX_CONTAINER_OF(message, struct bnx_task, message);
    *link_of(item) = NULL;
    if (worker->pinned.last != NULL) {
        *link_of(worker->pinned.last) = item;
    } else {
        worker->pinned.first = item;
    }
    worker->pinned.last = item;
}

/* A task that the queues of the usual ones must not hold. */
static void ready_apart(struct bnx_worker *worker, struct bnx_task *task) {
    if (bnx_task_is_pinned(task)) {
        task->message.deliver = deliver_pinned;
        bnx_worker_send(&task->runtime->workers[task->worker], &task->message);
    } else {
        ready_in_lane(worker, task);
    }
}

static inline void make_ready(struct bnx_worker *worker, struct bnx_task *task) {
    struct bnx_runtime *runtime = task->runtime;
    bnx_store_relaxed(&task->state, (uint8_t)BNX_TASK_READY); /* for reports */
    if (bnx_unlikely(!bnx_task_is_ordinary(task))) {
        ready_apart(worker, task);
    } else if (bnx_unlikely(worker == NULL || worker->runtime != runtime)) {
        bnx_global_push(runtime, task, task, 1);
        bnx_runtime_wake_one(runtime);
        bnx_watchdog_kick(runtime);
    } else if (worker->current == NULL) {
        bnx_worker_push(worker, task); /* from the loop: a batch of completions stays in order */
    } else if (!migrate(worker, task)) {
        push_next(worker, task);
    }
}

/* All but the usual. */
static BNX_NOINLINE void ready_otherwise(struct bnx_worker *worker, struct bnx_task *task) {
    struct bnx_runtime *runtime = task->runtime;
    if (worker != NULL && worker->runtime == runtime) {
        make_ready(worker, task);
        return;
    }
    /* Once it is queued the task may run, end, and be the last of its runtime, while this thread
     * still looks for a worker to wake: bnx_runtime_destroy waits for it. */
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
    make_ready(worker, task);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3: the last touch */
}

/* The usual: a task wakes another of its own runtime, and nobody is to run next. It needs no frame;
 * the rest leaves by a tail call. */
void bnx_task_ready(struct bnx_task *task) {
    struct bnx_worker *worker = bnx_worker_current();
    if (bnx_unlikely(worker == NULL || worker->runtime != task->runtime ||
                     worker->current == NULL || !bnx_task_is_ordinary(task) ||
                     bnx_load_relaxed(&worker->next_slot) != NULL || BNX_FORCE_MIGRATE)) {
        ready_otherwise(worker, task); /* relaxed: thieves only take it away */
        return;
    }
    bnx_store_relaxed(&task->state, (uint8_t)BNX_TASK_READY); /* for reports */
    put_next(worker, task);
}

/* ---- Flushing the deque ---- */

/* So many items that have not run yet go to the runq next (steal.c). Hints, all of them: the window
 * goes on from what is left of it, or begins anew. */
static void mark_fresh(struct bnx_worker *worker, uint32_t count) {
    uint32_t tail = bnx_load_relaxed(&worker->runq.tail);
    uint32_t oldest = bnx_runq_head_real(bnx_load_relaxed(&worker->runq.head));
    uint32_t room = BNX_RUNQ_CAPACITY - (tail - oldest);
    bnx_store_relaxed(&worker->fresh_from, bnx_worker_is_fresh(worker) ? oldest : tail);
    bnx_store_relaxed(&worker->fresh_until, tail + (count < room ? count : room));
}

/* Queues a chain of items, oldest first: what fits goes to the runq, the rest to the global queue
 * in one lock hold. */
static void push_chain(struct bnx_worker *worker, void *first, uint32_t count) {
    mark_fresh(worker, count);
    while (first != NULL) { /* ends: count items */
        void *next = *link_of(first);
        if (!bnx_runq_push(&worker->runq, first)) {
            while (BNX_PLANT(runq_spin_when_full)) { /* the bug: a full queue that waits for room */
            }
            break;
        }
        first = next;
        count--;
    }
    if (first != NULL) {
        void *last = first;
        while (*link_of(last) != NULL) { /* ends: count items */
            last = *link_of(last);
        }
        bnx_global_push(worker->runtime, first, last, count);
        bnx_runtime_wake_one(worker->runtime);
        return;
    }
    bnx_worker_wake_one(worker);
}

void bnx_worker_flush(struct bnx_worker *worker) {
    void *first = NULL;
    uint32_t count = 0;
    void *item;
    /* Newest first onto the front of the chain: it ends up in spawn order. Ends: see flush_half. */
    while ((item = bnx_deque_pop(&worker->deque)) != NULL) {
        *link_of(item) = first;
        first = item;
        count++;
    }
    push_chain(worker, first, count);
}

/* The oldest ones, as many as wanted. */
static void flush_oldest(struct bnx_worker *worker, uint32_t wanted) {
    void *first = NULL;
    void **end = &first;
    uint32_t count = 0;
    while (count < wanted) {
        void *item = bnx_deque_pop_oldest(&worker->deque);
        if (item == NULL) {
            break;
        }
        *end = item;
        end = link_of(item);
        count++;
    }
    *end = NULL;
    push_chain(worker, first, count);
}

void bnx_worker_flush_half(struct bnx_worker *worker) {
    flush_oldest(worker, bnx_deque_count(&worker->deque) / 2);
}

void bnx_worker_share(struct bnx_worker *worker) {
    uint32_t queued = bnx_runq_count(&worker->runq);
    uint32_t room = queued < BNX_RUNQ_CAPACITY / 2 ? BNX_RUNQ_CAPACITY / 2 - queued : 0;
    uint32_t unstarted = bnx_deque_count(&worker->deque);
    bool is_wanted = bnx_load_relaxed(&worker->share_asked) == BNX_SHARE_WANTED; /* a hint */
    if (is_wanted && unstarted >= BNX_SHARE_MIN && room > 0) {
        flush_oldest(worker, unstarted / 2 < room ? unstarted / 2 : room);
    }
    bnx_store_relaxed(&worker->share_asked, BNX_SHARE_NONE); /* the runq publishes what there is */
}

/* ---- Picking ---- */

static inline void *take_next(struct bnx_worker *worker) {
    if (bnx_load_relaxed(&worker->next_slot) == NULL) { /* thieves only take it away */
        return NULL;
    }
    return bnx_exchange_acquire(&worker->next_slot, NULL); /* W1 */
}

/* After how many ticks to look next, from a poll on. Ticks of a few nanoseconds are polled for less
 * often, without a look at the clock in between: should they grow longer all at once, the watchdog
 * asks for a poll within 2 ms. */
void bnx_worker_plan_looks(struct bnx_worker *worker) {
    uint64_t ticks = POLL_SPAN_NS / (bnx_load_relaxed(&worker->slice_ns) + 1);
    bool is_watched = bnx_runtime_is_watched(worker->runtime);
    bool is_short = is_watched && ticks > TICKS_PER_POLL;
    bool is_bounded = ticks > TICKS_PER_POLL_MAX && !BNX_PLANT(poll_without_bound);
    worker->poll_since = TICKS_PER_POLL;
    worker->look_since = TICKS_PER_CLOCK - 1;
    if (is_short) {
        worker->poll_since = is_bounded ? TICKS_PER_POLL_MAX : (uint32_t)ticks;
    }
    if (is_short || BNX_PLANT(poll_looks_at_no_clock)) {
        worker->look_since = worker->poll_since;
    }
    if (BNX_PLANT(poll_never_due)) {
        worker->look_since = UINT32_MAX;
    }
}

/* Whether a poll is due because of the ticks or the time since the last one. What is due stays so
 * until the poll: who picks asks, and then the loop, to which that sends it. */
static BNX_NOINLINE bool look_at_clock(struct bnx_worker *worker, uint32_t since) {
    if (since >= worker->poll_since) {
        return true;
    }
    worker->now_ns = bnx_clock_now();
    if (worker->now_ns - worker->poll_ns >= POLL_INTERVAL_NS) {
        return true;
    }
    uint32_t next = since + TICKS_PER_CLOCK;
    worker->look_since = next < worker->poll_since ? next : worker->poll_since;
    return false;
}

static inline bool poll_due(struct bnx_worker *worker) {
    struct bnx_driver *driver = worker->driver;
    uint32_t since = worker->tick - worker->poll_tick;
    if (bnx_load_relaxed(driver->poll_word) != driver->poll_seen || /* hints, both */
        bnx_load_relaxed(&worker->poll_requested) != 0 || bnx_worker_has_messages(worker)) {
        return true;
    }
    return bnx_unlikely(since >= worker->look_since) && look_at_clock(worker, since);
}

/* Whether a poll may make a task ready although no completion is visible: a deferred ring shows
 * none, and readiness shows in no memory. */
static bool is_awaited_outside(const struct bnx_driver *driver) {
    return bnx_load_relaxed(&driver->ops_in_flight) != 0 || /* hints, both */
           (driver->waiting != NULL && bnx_load_relaxed(driver->waiting) != 0 &&
            !BNX_PLANT(turn_forgets_poller));
}

bool bnx_worker_wants_turn(struct bnx_worker *worker) {
    struct bnx_driver *driver = worker->driver;
    if (bnx_load_relaxed(driver->poll_word) != driver->poll_seen || /* a hint */
        bnx_worker_has_messages(worker) || bnx_lane_waits(worker->runtime, BNX_LANE_LATENCY)) {
        return true;
    }
    worker->now_ns = bnx_clock_now();
    /* Others may be ready, but giving way moves all unstarted children to new stacks: not every few
     * microseconds. The count is the bound for long children, and where the clock stands still. */
    if (worker->now_ns - worker->poll_ns < POLL_INTERVAL_NS && ++worker->slices_kept < SLICES_MAX) {
        return false;
    }
    worker->slices_kept = 0;
    bool is_awaited = is_awaited_outside(driver);
    worker->look_since = is_awaited ? 0 : worker->look_since; /* the pick shall ask the clock */
    if (is_awaited || bnx_runq_count(&worker->runq) != 0 ||   /* hints, all five */
        bnx_load_relaxed(&worker->next_slot) != NULL || worker->pinned.first != NULL ||
        bnx_load_relaxed(&worker->wheel_next_ns) <= worker->now_ns ||
        bnx_load_relaxed(&worker->runtime->global.count) != 0 ||
        bnx_load_relaxed(&worker->runtime->lanes_used) != 0) {
        return true;
    }
    worker->poll_ns = worker->now_ns; /* a poll would find nothing */
    return false;
}

/* Pinned tasks have a list of their own, because thieves look into the runq. They take turns. */
static void *take_pinned(struct bnx_worker *worker) {
    void *item = worker->pinned.first;
    if (item != NULL) {
        worker->pinned.first = *link_of(item);
        if (worker->pinned.first == NULL) {
            worker->pinned.last = NULL;
        }
    }
    return item;
}

static BNX_ALWAYS_INLINE void *pick_usual(struct bnx_worker *worker) {
    void *item = NULL;
    if (bnx_unlikely(worker->pinned.first != NULL) && !worker->pinned_had_turn) {
        worker->pinned_had_turn = !BNX_PLANT(pinned_first);
        return take_pinned(worker);
    }
    worker->pinned_had_turn = false;
    if (worker->next_streak < BNX_NEXT_STREAK_MAX || BNX_PLANT(sched_no_streak_cap)) {
        item = take_next(worker);
        if (item != NULL) {
            worker->next_streak++;
            return item;
        }
    }
    worker->next_streak = 0;
    item = bnx_runq_pop(&worker->runq);
    if (item == NULL) {
        item = take_next(worker);
    }
    return item != NULL ? item : take_pinned(worker);
}

void *bnx_worker_take_global(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    uint32_t count = bnx_load_relaxed(&runtime->global.count); /* a hint */
    uint32_t share = count / runtime->worker_count + 1;
    void *items[GLOBAL_BATCH];
    uint32_t taken =
        bnx_global_take(runtime, items, share < GLOBAL_BATCH ? share : (uint32_t)GLOBAL_BATCH);
    if (taken > 1) {
        mark_fresh(worker, taken - 1); /* most of them: from outside, or from a flush */
    }
    for (uint32_t i = 1; i < taken; i++) {
        bnx_worker_push_quietly(worker, items[i]);
    }
    return taken > 0 ? items[0] : NULL;
}

/* LATENCY has been served often enough: what it kept waiting, the global queue included. */
static void *pick_kept_waiting(struct bnx_worker *worker) {
    worker->latency_streak = 0;
    worker->is_global_turn = !worker->is_global_turn;
    void *item = worker->is_global_turn ? bnx_worker_take_global(worker) : NULL;
    item = item != NULL ? item : pick_usual(worker);
    return item != NULL ? item : bnx_worker_take_global(worker);
}

/* While a lane holds something (runtime_pvt.h). BATCH is served here only when its turn has come:
 * that nothing else is there the loop decides. */
static BNX_NOINLINE void *pick_with_lanes(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    void *item = NULL;
    if (worker->batch_passed >= BNX_LANE_TURNS - 1 && !BNX_PLANT(batch_no_turn)) {
        worker->batch_passed = 0;
        item = bnx_lane_take(runtime, BNX_LANE_BATCH);
        if (item != NULL) {
            return item;
        }
    }
    if (worker->latency_streak >= BNX_LANE_TURNS - 1 && !BNX_PLANT(latency_no_end)) {
        item = pick_kept_waiting(worker);
    }
    if (item == NULL) {
        item = bnx_lane_take(runtime, BNX_LANE_LATENCY);
        worker->latency_streak = item != NULL ? worker->latency_streak + 1 : 0;
    }
    if (item == NULL) {
        item = pick_usual(worker);
    }
    if (item != NULL) {
        worker->batch_passed++;
    }
    return item;
}

static inline void *pick_local(struct bnx_worker *worker) {
    if (bnx_unlikely(bnx_load_relaxed(&worker->runtime->lanes_used) != 0)) { /* a hint */
        return pick_with_lanes(worker);
    }
    return pick_usual(worker);
}

void *bnx_worker_pick(struct bnx_worker *worker) {
    worker->tick++;
    bnx_store_relaxed(&worker->heartbeat, worker->heartbeat + 1); /* for the watchdog */
    if (bnx_unlikely(poll_due(worker))) {
        return NULL;
    }
    return pick_local(worker);
}

bool bnx_worker_poll_due(struct bnx_worker *worker) {
    return poll_due(worker);
}

void *bnx_worker_pick_local(struct bnx_worker *worker) {
    return pick_local(worker);
}
