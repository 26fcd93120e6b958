/* SPDX-License-Identifier: MIT */
/*
 * The worker: an OS thread of a runtime, its queues, its event loop.
 *
 * Concepts
 *   loop     the worker's own stack: polls, fires timers, steals, parks. Tasks never run on it.
 *   tick     every switch to a task and every inline start. It stores the heartbeat and looks
 *            whether a poll is due; if so the next task goes over the loop, otherwise the parking
 *            task picks its successor itself and switches straight to it.
 *   service  the part of a worker that another may do for it while it is stalled: its completion
 *            queue and its wheel. Guarded by the service lock, which costs the owner two plain
 *            stores and a load.
 *
 * Invariants
 *   The deque holds only what the task that is on the worker now, and those beneath it, have
 *   spawned or forked. It is empty whenever the worker's loop runs.
 *   A task in next_slot, runq, lane or global queue may be taken by any worker; in an inbox by its
 *   owner. What comes before what is in runtime_pvt.h.
 *
 * Ordering
 *   W1 next slot   store-release by the owner -> exchange acquire by a thief (and the owner).
 *   W2 service     owner: store light owner_busy = 1, load light rescuer; rescuer: store
 *                  rescuer = 1, heavy barrier, load owner_busy. At most one of them goes in.
 *   W3 service     leaving: store-release 0 -> the other's load-acquire: its changes are visible.
 *   W4 cancels     push CAS seq_cst -> exchange seq_cst of the whole list, by the owner, its signal
 *                  handler or a rescuer; and the push side of I1. Push and take-all only: no ABA.
 *   W5 current     store-release by the owner -> load-acquire by the watchdog: the descriptor's
 *                  memory is there to be read.
 */
#ifndef BNX_RUNTIME_WORKER_H
#define BNX_RUNTIME_WORKER_H

#include "runtime/crash.h"
#include "runtime/deque.h"
#include "runtime/driver.h"
#include "runtime/pool.h"
#include "runtime/rng.h"
#include "runtime/runq.h"
#include "runtime/task_pvt.h"
#include "runtime/wait.h"
#include "runtime/wheel.h"

/* Operations of one slice that may complete at once before the task gives way. */
#define BNX_BUDGET BNX_CAPACITY(128, 4)
/* How often in a row the next slot is served before the runq gets its turn. */
#define BNX_NEXT_STREAK_MAX 3
/* The next slot is stolen only when it has waited longer: its owner is about to run it. */
#define BNX_NEXT_STEAL_AGE_NS UINT64_C(3000)
/* Descriptors in the deque beyond which a spawn moves the older half out, so a flush is bounded. */
#define BNX_DEQUE_FLUSH_AT BNX_CAPACITY(1024, 8)
/* Descriptors in a deque from which on a thief asks its owner for a share (steal.c). */
#define BNX_SHARE_MIN BNX_CAPACITY(64, 4)

/* What a thief asks an owner, who takes it away when it spawns, runs a child, or joins forks. */
enum bnx_share {
    BNX_SHARE_NONE,   /* nothing, or it was answered */
    BNX_SHARE_WANTED, /* a part of the deque */
    BNX_SHARE_SIGN    /* to take this away: a sign that it passes by */
};

/* How long a worker spins before it parks, at first; then it adapts. 20 us pay, 5 us are worse than
 * none: a loopback reply takes about 10. */
#define BNX_SPIN_NS_FIRST UINT64_C(20000)
/* A lane that is emptied within this time needs no second worker. */
#define BNX_WAKE_COST_NS UINT64_C(10000)
/* A runq that its owner empties within this time is left to it (steal.c). */
#define BNX_BACKLOG_NS UINT64_C(50000)
/* Anywhere (not placed), SMT sibling, same cache, same node, remote. */
#define BNX_STEAL_TIERS 5

/* What a switch leaves to be finished on the other side; per thread that runs stacks. */
struct bnx_carrier {
    struct bnx_context context;    /* of the thread's own stack while a task runs on it */
    struct bnx_task *switch_prev;  /* the task whose registers were just saved, or NULL */
    struct bnx_stack *switch_dead; /* a stack that nobody runs on any more, or NULL */
    int *errno_location;           /* of the thread; immutable after init */
    void *tsan_fiber;              /* of the thread's own stack */
    void *asan_fake;               /* the thread's own fake stack while away */
    const void *stack_bottom;      /* of the thread's own stack, for AddressSanitizer */
    size_t stack_bytes;
    struct bnx_fp fp; /* the thread's control words, for tasks that do not own theirs */
};

/* Owner-written, read by anyone for statistics: relaxed. */
struct bnx_worker_counters {
    uint64_t spawned;
    uint64_t inlined;
    uint64_t forks_stolen;
    uint64_t switches;
    uint64_t steals;
    uint64_t parks;
    uint64_t wakes_sent;
    uint64_t polls;
    uint64_t rescues;
};

/** Adds one. Owner only. */
static inline void bnx_counter_bump(uint64_t *counter) {
    bnx_store_relaxed(counter, *counter + 1); /* one writer: no RMW */
}

struct bnx_worker {
    /* Owner only. */
    struct bnx_carrier carrier;
    struct bnx_task *current;     /* the task on this worker, NULL on the loop */
    struct bnx_runtime *runtime;  /* immutable after init */
    struct bnx_driver *driver;    /* immutable between open and close */
    uint32_t index;               /* immutable after init */
    uint32_t tick;                /* ticks since start, wraps */
    uint32_t poll_tick;           /* tick of the last poll */
    uint32_t poll_since;          /* a poll is due at so many ticks after it */
    uint32_t look_since;          /* and a look at the clock at so many */
    int32_t budget;               /* what is left of the current slice */
    uint32_t slices_kept;         /* slices that a task went on with although others may be ready */
    uint32_t next_streak;         /* times in a row that the next slot was served */
    uint32_t latency_streak;      /* times in a row that LATENCY was served; runtime_pvt.h */
    bool is_global_turn;          /* when LATENCY has kept others waiting: the global queue first */
    bool is_global_first;         /* the loop began its last look with the global queue */
    uint32_t batch_passed;        /* times that BATCH, which may wait, was passed over */
    bool is_searching;            /* counted in idle.searching */
    uint64_t now_ns;              /* the clock as last read */
    uint64_t poll_ns;             /* clock of the last poll */
    uint64_t timers_rest_ns;      /* it sleeps until then at least, as far as timers go; timer.h */
    uint64_t id_next;             /* id of the next task spawned here; steps by worker_count */
    struct bnx_pool_cache tasks;  /* free descriptors */
    struct bnx_pool_cache timers; /* free timer nodes */
    struct bnx_future *futures;   /* free ones (future.c) */
    uint32_t futures_count;
    struct bnx_stack_cache stacks; /* free stacks */
    struct bnx_rng rng;
    uint16_t *victims; /* the other workers, near ones first; immutable after init */
    uint16_t tier_end[BNX_STEAL_TIERS]; /* where in victims each tier ends; immutable after init */
    uint32_t loot_count;          /* descriptors that the last raid on a deque brought; steal.c */
    struct bnx_worker *loot_from; /* whose they were */
    uint64_t loot_ns;             /* when that was */
    uint64_t raid_pause_ns;       /* how long deques were last left alone; 0: they are not */
    uint64_t raid_after_ns;       /* until when */
    struct bnx_worker *eyed;      /* whose short runq it leaves alone, or NULL; steal.c */
    uint64_t eyed_heartbeat;      /* as last seen there */
    uint64_t eyed_beat_ns;        /* when that was new */
    struct {
        void *first;
        void *last;
    } pinned;             /* ready tasks that only this worker may run, FIFO */
    bool pinned_had_turn; /* the last pick was one of them, and others may wait */
    uint64_t spin_ns;     /* how long it spins before parking; adapts */
    struct bnx_worker_counters counters;

    /* Owner writes, others read. */
    BNX_APART uint64_t heartbeat; /* ticks, for the watchdog; relaxed */
    void *next_slot;              /* the item made ready last; W1 */
    uint64_t next_since_ns;       /* when; relaxed, a hint for thieves */
    uint64_t slice_ns;            /* how long a tick takes on average, a moving one; relaxed */
    uint32_t fresh_from;          /* indices in runq: what lies between them has not run yet; */
    uint32_t fresh_until;         /* relaxed, hints */
    uint32_t is_in_loop;          /* 1 while the loop runs, not a task; relaxed, for the watchdog */
    uint32_t tid;                 /* immutable after start */
    const void *timer_in_hand;    /* a timer that it uses without the lock; user_timer_pvt.h */

    /* Others write, owner reads. */
    BNX_APART uint32_t poll_requested; /* the watchdog asks for a poll; relaxed, a hint */
    uint32_t share_asked;              /* enum bnx_share; relaxed, a hint */
    uint32_t is_behind;                /* its runq needs others, says the watchdog; relaxed */
    uint32_t is_signalled;             /* a rescue signal is on its way; X2 in rescue.h */
    uint32_t is_live;                  /* the thread takes rescue signals; X1 in rescue.h */
    uint32_t rescuer;                  /* a rescuer wants or holds the service; W2 W3 */
    BNX_APART uint32_t owner_busy;     /* the owner is in the service; W2 W3 */

    struct bnx_runq runq;
    struct bnx_deque deque;
    struct bnx_mpscq inbox;
    struct bnx_mpscq_node *cancels; /* tasks whose ops here shall end; any thread; W4 */
    struct bnx_wheel wheel;         /* under the service lock */
    uint64_t wheel_next_ns;         /* lower bound of the next expiry; relaxed, for the watchdog */

    struct bnx_os_thread thread;
    int start_error; /* of the driver's open; read after the start barrier */
};

/** Takes over this OS thread for a worker or offload thread: sanitizers learn its stack. */
void bnx_carrier_init(struct bnx_carrier *carrier);

/** Sees to it that a fork child takes no thread for a worker. Once per process; 0 or -ENOMEM. */
int bnx_task_hook_fork(void);

/** Binds the worker to this OS thread; NULL unbinds. */
void bnx_worker_bind(struct bnx_worker *worker);

/** Binds the worker to this OS thread and opens its driver. 0 or -errno; close in either case. */
int bnx_worker_open(struct bnx_worker *worker);

/** Closes the driver, gives the caches back, unbinds. Its thread. */
void bnx_worker_close(struct bnx_worker *worker);

/**
 * A guest's worker: runs what is ready, about a millisecond at most. Returns true when nothing is
 * left that is ready. Context: its host's thread, bound to the worker.
 */
bool bnx_worker_visit(struct bnx_worker *worker);

/** It counts as parked from now on; the last look (sees_work) must follow. Context: as above. */
void bnx_worker_visit_end(struct bnx_worker *worker);

/** True when there is anything that this worker would run: the parker's last look (I1, I2). */
bool bnx_worker_sees_work(const struct bnx_worker *worker);

/** Where a placed worker's thread, the caller, may run: near whom it trades with, or anywhere. */
void bnx_worker_keep_near(const struct bnx_worker *worker, bool is_near);

/** The worker's thread: runs until the runtime says that no task is left and it may end. */
void bnx_worker_main(void *worker);

/* ---- switching (task.c) ---- */

/** From the loop: runs an item until control comes back to the loop. */
void bnx_worker_run(struct bnx_worker *worker, void *item);

/** From an offload thread: continues a parked task here until it returns. */
void bnx_carrier_run(struct bnx_carrier *carrier, struct bnx_task *task);

/** From a task on an offload thread: back to that thread's own stack. Returns on a worker. */
void bnx_carrier_leave(struct bnx_carrier *carrier, struct bnx_task *task);

/** Runs an unstarted task on the stack of the current one. Returns the worker. */
struct bnx_worker *bnx_task_run_inline(struct bnx_worker *worker, struct bnx_task *parent,
                                       struct bnx_task *child);

/* ---- queues (queue.c, spawn.c, steal.c) ---- */

/** Returns a descriptor that nobody points to any more. worker NULL: a foreign thread. */
void bnx_task_free(struct bnx_worker *worker, struct bnx_task *task);

/** Turns a fork that has left its forker's deque into a task. NULL: no descriptor now. (fork.c) */
struct bnx_task *bnx_task_of_fork(struct bnx_worker *worker, void *item);

/** Releases the worker's free futures. (future.c) */
void bnx_future_cache_fini(struct bnx_worker *worker);

/** A task with a handle has ended: wakes who joins it. Its descriptor may be gone after this. */
void bnx_task_finish_handle(struct bnx_worker *worker, struct bnx_task *task);

/** Picks what runs next from the worker's own queues. NULL: go to the loop (a poll is due, or
 * nothing is there). Counts a tick. */
void *bnx_worker_pick(struct bnx_worker *worker);

/** The same without the tick and the look at the outside. Within a class the next slot goes first,
 * for message passing, but not for ever. */
void *bnx_worker_pick_local(struct bnx_worker *worker);

/** Moves a batch from the global queue to the worker's runq; returns its first item, or NULL. */
void *bnx_worker_take_global(struct bnx_worker *worker);

/** True when messages or cancel requests wait, also half pushed. Owner; the last look (I1). */
static inline bool bnx_worker_has_messages(const struct bnx_worker *worker) {
    return !bnx_mpscq_is_empty_seq_cst(&worker->inbox) ||
           bnx_load_seq_cst(&worker->cancels) != NULL; /* W4 */
}

/** A rescuer: resumes tasks whose ops completed while their cancel requests were queued at the
 * victim (wait.c). */
void bnx_cancels_resume_done(struct bnx_worker *victim);

/** As bnx_worker_push, and wakes nobody. */
void bnx_worker_push_quietly(struct bnx_worker *worker, void *item);

/** Queues a ready item on the worker's runq, half of the runq overflowing to the global queue. */
void bnx_worker_push(struct bnx_worker *worker, void *item);

/** Moves everything in the deque to the runq, oldest first. Called at each suspension. */
void bnx_worker_flush(struct bnx_worker *worker);

/** Moves the older half of a deque that has grown past its bound. */
void bnx_worker_flush_half(struct bnx_worker *worker);

/** Answers a thief: moves a part of the deque to the runq if that was asked for. Owner. */
void bnx_worker_share(struct bnx_worker *worker);

/** Asked at each spawn, each child run inline, and now and then while forks are joined. */
static inline void bnx_worker_share_if_asked(struct bnx_worker *worker) {
    if (bnx_unlikely(bnx_load_relaxed(&worker->share_asked) != BNX_SHARE_NONE)) {
        bnx_worker_share(worker);
    }
}

/** At a poll: decides after how many ticks the next is due. Owner. */
void bnx_worker_plan_looks(struct bnx_worker *worker);

/** True when something waits that the loop must see to: completions, timers, messages. */
bool bnx_worker_poll_due(struct bnx_worker *worker);

/**
 * Whether a task that has spent its slice without waiting should give way: others are ready, or the
 * loop has something to look at. Reads the clock.
 */
bool bnx_worker_wants_turn(struct bnx_worker *worker);

/** A fork's join has spent the slice: gives way if that is wanted. (fork.c) */
void bnx_fork_tick(struct bnx_worker *worker);

/** As bnx_task_spend, for a task that knows its worker. */
static inline void bnx_worker_spend(struct bnx_worker *worker) {
    if (bnx_unlikely(--worker->budget <= 0) && !BNX_PLANT(sched_no_budget)) {
        bnx_yield();
    }
}

/** Steals an item for the worker; NULL: nothing found. (steal.c) */
void *bnx_worker_steal(struct bnx_worker *worker);

/** Whether others leave what waits in its runq to it: a hint. Any thread. (steal.c) */
bool bnx_worker_is_short(const struct bnx_worker *worker);
/** Whether the oldest item there has not run yet: likewise. */
bool bnx_worker_is_fresh(const struct bnx_worker *worker);

/** Fills victims and tier_end from the topology. Before the workers start. (steal.c) */
void bnx_worker_rank_victims(struct bnx_worker *worker);

/* ---- service lock (worker.c) ---- */

/** A rescuer's side. False: the owner is inside, or another rescuer. */
bool bnx_worker_rescue_enter(struct bnx_worker *victim);
/** As bnx_worker_rescue_enter, waiting; wakes a worker that sleeps in its service. Any thread. */
void bnx_worker_rescue_wait(struct bnx_worker *victim);
void bnx_worker_rescue_leave(struct bnx_worker *victim);

/** Owner: enters; false: a rescuer is inside. Two plain stores and a load; for io/ a call. */
static inline bool bnx_service_try(struct bnx_worker *worker) {
    bnx_store_light(&worker->owner_busy, 1);                 /* W2 */
    if (bnx_likely(bnx_load_light(&worker->rescuer) == 0)) { /* W2 W3 */
        return true;
    }
    bnx_store_release(&worker->owner_busy, 0); /* W3 */
    return false;
}

static inline void bnx_service_leave(struct bnx_worker *worker) {
    bnx_store_release(&worker->owner_busy, 0); /* W3 */
}

/** The rest of bnx_service_enter: waits until the rescuer is through. */
void bnx_service_wait(struct bnx_worker *worker) BNX_COLD;

/** Owner: enters, waiting for a rescuer to finish its bounded section. */
static inline void bnx_service_enter(struct bnx_worker *worker) {
    if (bnx_unlikely(!bnx_service_try(worker))) {
        bnx_service_wait(worker);
    }
}

#endif
