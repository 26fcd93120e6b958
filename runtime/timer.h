/* SPDX-License-Identifier: MIT */
/*
 * Timers that belong to somebody: a sleeping task, a scope with a deadline.
 *
 * Concepts
 *   A node is pooled and owned by who started it, from bnx_timer_node_start to
 *   bnx_timer_node_end, also after it has fired. It sits in the wheel of the worker that started
 *   it, its home.
 *   Ending a node elsewhere than at home cancels it by one CAS on its word; the node then travels
 *   home as a message and is unlinked and freed there. A thread that is no worker arms a node on
 *   some worker's wheel, under that worker's service lock.
 *   A crowd is TIMER_CROWD sleepers or more that are woken in one visit; tickers, which would miss
 *   ticks, do not count, nor do timers with callbacks. A worker that then goes to sleep wakes for
 *   its timers no earlier than TIMER_REST_NS after that visit: a wake costs as much CPU as two or
 *   three of the tasks that it wakes. 100,000 sleeps within a second took 3.0 us each instead of
 *   4.7; half of them were 170 us late instead of 57, 1 in 100 more than 0.39 ms (on a guest with
 *   two CPUs: bonxie-bench --benchmark_filter=BM_Sleeps/touched/100000). Twice the rest gained
 *   nothing. Other wakes, and visits of one who is awake, serve timers as ever.
 *   Firing happens at home, or by a rescuer, and outside the service lock. While a node fires its
 *   state is TAKEN; bnx_timer_node_end waits for that to pass, so that a scope is not closed under
 *   the cancel walk of its own deadline. The wait is short: firing never suspends.
 *
 * Invariants
 *   A node is freed exactly once: by bnx_timer_node_end when it has fired or was unlinked there,
 *   else by the message that bnx_timer_node_end sent.
 */
#ifndef BNX_RUNTIME_TIMER_H
#define BNX_RUNTIME_TIMER_H

#include "runtime/task_pvt.h"
#include "runtime/wheel.h"

enum bnx_timer_kind {
    BNX_TIMER_WAKE,      /* arg: a struct bnx_task whose wait `sequence` is claimed as a wake */
    BNX_TIMER_CALL,      /* arg: a struct bnx_timer (bonxie/timer.h) */
    BNX_TIMER_SCOPE,     /* arg: a struct bnx_scope that is cancelled by its deadline */
    BNX_TIMER_SHIELD,    /* arg: a struct bnx_scope, a shield whose grace period is spent */
    BNX_TIMER_STRAGGLERS /* arg: the same scope, one grace period later */
};

struct bnx_timer_node {
    struct bnx_message message;   /* on the way home */
    struct bnx_wheel_timer timer; /* kind and arg inside */
    struct bnx_worker *home;      /* whose wheel; the starter */
    uint64_t sequence;            /* BNX_TIMER_WAKE: of the task's wait; the starter */
    uint32_t generation;          /* of this arming; the starter */
};

/**
 * Takes a node without arming it. NULL: out of memory.
 * Context: task or loop of the worker; never suspends.
 */
struct bnx_timer_node *bnx_timer_node_take(struct bnx_worker *worker);

/** Arms a taken node on the worker's wheel. arg and sequence as the kind says. */
void bnx_timer_node_start(struct bnx_worker *worker, struct bnx_timer_node *node,
                          enum bnx_timer_kind kind, void *arg, uint64_t sequence,
                          uint64_t deadline_ns);

/** As bnx_timer_node_start for a thread that is no worker of home's runtime. Wakes home. */
void bnx_timer_node_start_at(struct bnx_worker *home, struct bnx_timer_node *node,
                             enum bnx_timer_kind kind, void *arg, uint64_t deadline_ns);

/** Gives back a node that was taken and not armed. */
void bnx_timer_node_give_back(struct bnx_worker *worker, struct bnx_timer_node *node);

/**
 * Ends an armed node: it does not fire any more, or has done so completely. Frees it.
 * @param worker the calling one; NULL: a thread that is no worker of the node's runtime.
 */
void bnx_timer_node_end(struct bnx_worker *worker, struct bnx_timer_node *node);

/**
 * A BNX_TIMER_CALL has expired; this finishes, re-arms or frees the node. Context: a worker's loop,
 * home's or a rescuer's; outside the service. (user_timer.c)
 */
void bnx_timer_expire(struct bnx_timer_node *node);

/** bnx_sleep_until with what reports say the task waits for. (time.c) */
int bnx_sleep_for(uint64_t deadline_ns, enum bnx_wait_reason reason, const void *object);

/** Fires what is due on the worker's own wheel. Context: the worker's loop. */
void bnx_timers_fire(struct bnx_worker *worker);

/**
 * Fires what is due on a stalled worker's wheel; the caller has entered its service and this leaves
 * it. Returns how many fired.
 */
size_t bnx_timers_fire_for(struct bnx_worker *victim, uint64_t now_ns);

/** When the worker's next timer is due; BNX_NEVER_NS when none is. Context: the worker's loop. */
uint64_t bnx_worker_timers_next(struct bnx_worker *worker);

#endif
