/* SPDX-License-Identifier: MIT */
/* The runtime as its parts see it: workers, global queue, pools, root scope, life cycle. */
#ifndef BNX_RUNTIME_RUNTIME_PVT_H
#define BNX_RUNTIME_RUNTIME_PVT_H

#include "runtime/idle.h"
#include "runtime/lock.h"
#include "runtime/topology.h"
#include "runtime/worker.h"

#include <bonxie/future.h>
#include <bonxie/runtime.h>

struct bnx_thread_pool;
struct bnx_watchdog;
struct bnx_guest;

/*
 * Queues that all workers share. FIFO under a lock; the links are the items' first words.
 *
 *   global  what overflows a runq, what foreign threads spawn or wake.
 *   lanes   the ready tasks of class LATENCY, and those of class BATCH. They are in no other
 *           queue, so no scope's close runs them inline. Pinned tasks go to their worker whatever
 *           their class is, and forks, which have none, where all forks go.
 *
 * Who is next (queue.c, worker.c)
 *   A LATENCY task goes before everything else, a BATCH task is taken when there is nothing else:
 *   not here, not in the global queue, not at other workers beyond what they keep for themselves,
 *   and not outside, where the loop looks before each one. So that nobody starves, a worker that
 *   has served LATENCY fifteen times in a row looks elsewhere once, and one that has passed over a
 *   waiting BATCH task fifteen times takes it. A program without lanes pays one load of lanes_used
 *   a pick.
 *
 * Ordering
 *   G1 push: the count's store seq_cst -> the parker's load seq_cst (push side of I1, idle.h).
 *   G2 lane push: the bit's fetch_or seq_cst, by whoever finds the lane empty, under its lock ->
 *      the parker's load seq_cst of lanes_used. Who finds it filled has the bit set before, by the
 *      lock. Other reads are hints: a worker that misses a task is awake and looks again.
 */
struct bnx_global_queue {
    BNX_APART struct bnx_lock lock; /* guards first and last */
    void *first;                    /* an item; NULL = empty */
    void *last;
    uint32_t count; /* written under the lock, read by anyone; G1 */
};

#define BNX_LANES 2
#define BNX_LANE_LATENCY 0
#define BNX_LANE_BATCH 1
#define BNX_LANE_BIT(lane) (1u << (lane))
/* One turn in so many is for those whom a class keeps waiting. */
#define BNX_LANE_TURNS 16

enum bnx_runtime_phase {
    BNX_PHASE_RUNNING,
    BNX_PHASE_STOPPING, /* the root scope is cancelled, spawns from outside are refused */
    BNX_PHASE_ENDING    /* no task is left; workers leave their loops */
};

/*
 * Ordering
 *   R1 phase: store seq_cst, then the workers are woken -> the parker's last look, seq_cst.
 *   R3 foreign wakers: fetch_add seq_cst before the task is queued, fetch_sub seq_cst as the last
 *      touch of the runtime -> load seq_cst by destroy, once the last task has ended.
 *   R2 gates: fetch_add seq_cst of a futex word -> load seq_cst by who waits for its count.
 */
struct bnx_runtime {
    /* Read often, written rarely: at the front, where bnx_task_cancel_check finds it. */
    BNX_APART uint64_t cancel_epoch; /* scopes and tasks cancelled so far; T2 in task_pvt.h */
    uint32_t phase;                  /* enum bnx_runtime_phase; any thread */

    /* Immutable after create. */
    uint32_t worker_count;
    bool is_placed; /* each worker stays near its CPU of the topology; see load_machine */
    uint32_t tasks_max;
    uint8_t stack_class;
    unsigned flags;
    uint64_t grace_ns;
    uint64_t spin_ns;     /* as in the options, the environment's BONXIE_SPIN_US counted */
    uint64_t min_wait_ns; /* as in the options */
    uint64_t seed;
    const struct bnx_driver_ops *driver_ops;
    void (*log)(enum bnx_log_level, const char *, void *);
    void *log_arg;
    struct bnx_worker *workers;
    struct bnx_topology topology;
    struct bnx_thread_pool *threads;
    struct bnx_watchdog *watchdog;
    struct bnx_guest *guest; /* NULL: the workers have threads of their own */
    uint32_t *fork_guard;    /* a word in a MADV_WIPEONFORK page: 1 here, 0 in a fork child */

    struct bnx_idle idle;
    struct bnx_global_queue global;
    struct bnx_global_queue lanes[BNX_LANES];
    BNX_APART uint32_t lanes_used; /* bit i: lane i holds something; any thread; G2 */
    struct bnx_stack_pool stacks;
    struct bnx_pool tasks;
    struct bnx_pool timers;
    struct bnx_scope root;    /* owns every task spawned with scope NULL or from outside */
    uint64_t foreign_id_next; /* ids of tasks spawned by foreign threads; any thread */
    uint32_t foreign_wakers;  /* threads that keep it alive while they wake or cancel; R3 */
    uint32_t root_empty;      /* futex: bumped whenever the root scope may have become empty */
    uint32_t workers_ready;   /* futex: workers whose driver is open, or failed */
    uint32_t workers_go;      /* futex: worker_count once all may run, or give up; R2 */
    uint32_t workers_left;    /* futex: workers that have left their loops, and the destroyer; R2 */
};

/** Whether a watchdog stands behind the shortcuts of the scheduler: a hint. Any thread. */
static inline bool bnx_runtime_is_watched(const struct bnx_runtime *runtime) {
    return bnx_load_relaxed(&runtime->watchdog) != NULL; /* D3 is for those who look into it */
}
_Static_assert(offsetof(struct bnx_runtime, cancel_epoch) == 0, "read as its first word (wait.h)");

/** Adds a chain of count items, first to last linked by their first words. Wakes nobody. */
void bnx_global_push(struct bnx_runtime *runtime, void *first, void *last, uint32_t count);

/** Takes up to max items, oldest first, into out. Returns how many. */
uint32_t bnx_global_take(struct bnx_runtime *runtime, void **out, uint32_t max);

/** Takes the oldest task of a lane; NULL: it is empty. */
void *bnx_lane_take(struct bnx_runtime *runtime, unsigned lane);

/** Says without any order whether a lane holds something. */
static inline bool bnx_lane_waits(const struct bnx_runtime *runtime, unsigned lane) {
    return (bnx_load_relaxed(&runtime->lanes_used) & BNX_LANE_BIT(lane)) != 0; /* a hint */
}

/** Wakes some parked worker unless one searches. After work was put where all look. */
void bnx_runtime_wake_one(struct bnx_runtime *runtime);

/** The rest of bnx_worker_wake_one. (queue.c) */
void bnx_worker_wake_one_slow(struct bnx_worker *worker);

/** Wakes a parked worker if one sleeps and nobody searches. After a push to own queues. */
static inline void bnx_worker_wake_one(struct bnx_worker *worker) {
    if (bnx_unlikely(bnx_idle_may_wake(&worker->runtime->idle))) {
        bnx_worker_wake_one_slow(worker);
    }
}

/** Wakes the given worker if it sleeps. After something was put into its inbox. */
void bnx_runtime_wake(struct bnx_runtime *runtime, uint32_t index);

/** True in a fork child of the process that created the runtime: nothing may be touched. */
static inline bool bnx_runtime_is_forked(const struct bnx_runtime *runtime) {
    return bnx_unlikely(bnx_load_relaxed(runtime->fork_guard) == 0) &&
           !BNX_PLANT(fork_unnoticed); /* alone on its page */
}

/** Formats one line for the log callback. Any thread; not a signal handler. */
void bnx_runtime_log(struct bnx_runtime *runtime, enum bnx_log_level level, const char *format, ...)
    BNX_PRINTF(3, 4);

/* ---- scopes (scope.c, cancel.c) ---- */

/** Prepares a runtime's root scope. */
void bnx_scope_init_root(struct bnx_scope *root, struct bnx_runtime *runtime);

/** Spawns from any thread into the root scope. Returns as bnx_runtime_spawn. (spawn.c) */
int bnx_spawn_root(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg, const void *site);

/** Takes and fills a descriptor, counts nothing (spawn.c). NULL, *out_error: -ENOMEM, -EAGAIN. */
struct bnx_task *bnx_task_make(struct bnx_runtime *runtime, struct bnx_worker *worker,
                               struct bnx_scope *scope, bnx_task_fn fn, void *arg, const void *site,
                               int *out_error);

/**
 * Prepares a kept descriptor of the root scope for another run of its function: the caller calls
 * bnx_task_ready next. False: the runtime stops. Never allocates. Context: worker. (spawn.c)
 */
bool bnx_task_renew(struct bnx_worker *worker, struct bnx_task *task);

/** A task of the scope has ended with a result: records an error, cancels the siblings. */
void bnx_scope_child_result(struct bnx_scope *scope, struct bnx_task *task, int result);

/** Takes one child off the scope's count and resumes the closing parent after the last. */
void bnx_scope_child_left(struct bnx_scope *scope);

/** Removes the task from its scope's members if it is there. */
void bnx_scope_member_remove_linked(struct bnx_task *task);
static inline void bnx_scope_member_remove(struct bnx_task *task) {
    if (bnx_unlikely(task->is_linked != 0)) {
        bnx_scope_member_remove_linked(task);
    }
}

/** Removes a scope from its parent's list if it is there. */
void bnx_scope_unlink_linked(struct bnx_scope *scope);
static inline void bnx_scope_unlink(struct bnx_scope *scope) {
    if (bnx_load_relaxed(&scope->is_linked) != 0) { /* all who could link it have ended */
        bnx_scope_unlink_linked(scope);
    }
}

/** The number of children the root scope still has. */
int64_t bnx_scope_root_children(const struct bnx_scope *root);

/**
 * Wakes a task that waits, or asks its op to end, because a scope at this depth around it was
 * cancelled; one that a shield below it hides is left alone. Under the lock that keeps it linked.
 */
void bnx_task_interrupt(struct bnx_task *task, uint32_t depth);

/* ---- the rest ---- */

int bnx_watchdog_start(struct bnx_runtime *runtime);
void bnx_watchdog_stop(struct bnx_runtime *runtime);

/** Frees what stop left for late kicks; once the workers have ended. */
void bnx_watchdog_free(struct bnx_runtime *runtime);

/** How many stalls it has reported. */
uint64_t bnx_watchdog_stalls(const struct bnx_runtime *runtime);

/* ---- task-local storage (local.c) ---- */

/** Gives a new task what it inherits of the calling one's values. Returns 0 or -ENOMEM. */
int bnx_locals_inherit(const struct bnx_task *parent, struct bnx_task *child);

/** Destroys a task's values, last set first. Its function has returned, or will never be called. */
void bnx_locals_end(struct bnx_task *task);

/* ---- tasks that wait for bnx_task_start (handle.c) ---- */

/** Drops the scope's tasks that were never started. By its opener, when the scope closes. */
void bnx_task_drop_unstarted(struct bnx_scope *scope);

/** The same for the root scope of a runtime that stops. */
void bnx_runtime_drop_unstarted(struct bnx_runtime *runtime);

/** Drops one. Returns false when it was started, or dropped, before. */
bool bnx_task_drop(struct bnx_task *task);

/** Gives up one of the two references to a task of the root scope that has a handle. */
void bnx_task_drop_handle(struct bnx_worker *worker, struct bnx_task *task);

/* ---- the watchdog ---- */

/** A worker has work again: the watchdog must not sleep. Cheap when it does not. */
void bnx_watchdog_kick(struct bnx_runtime *runtime);

#endif
