/* SPDX-License-Identifier: MIT */
/* Arming, firing and ending the timers of tasks and scopes (timer.h). */
#include "runtime/timer.h"

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <errno.h>

/* Timers touched in one hold of the service: a rescuer, and the owner, wait for it. */
#define FIRE_BATCH 128

#define LINE_BYTES 64
#define STACK_LINES 4 /* the frames of a park, of the sleep and of its caller */

#define TIMER_CROWD 4                         /* see timer.h */
#define TIMER_REST_NS (4 * BNX_WHEEL_TICK_NS) /* as this */

struct bnx_timer_node *bnx_timer_node_take(struct bnx_worker *worker) {
    int error = 0;
    return bnx_pool_get(&worker->runtime->timers, &worker->timers, &error);
}

void bnx_timer_node_give_back(struct bnx_worker *worker, struct bnx_timer_node *node) {
    bnx_pool_put(&worker->runtime->timers, &worker->timers, node);
}

/* The published bound only ever gets earlier here; the loop sets it anew after each advance.
 * Written in the service alone, so that no thread overwrites an earlier one. */
static void publish_next(struct bnx_worker *worker, uint64_t deadline_ns) {
    if (deadline_ns < bnx_load_relaxed(&worker->wheel_next_ns)) { /* in the service; a hint */
        bnx_store_relaxed(&worker->wheel_next_ns, deadline_ns);
    }
}

static void fill(struct bnx_worker *home, struct bnx_timer_node *node, enum bnx_timer_kind kind,
                 void *arg, uint64_t sequence) {
    node->home = home;
    node->sequence = sequence;
    node->timer.kind = (uint8_t)kind;
    node->timer.arg = arg;
}

void bnx_timer_node_start(struct bnx_worker *worker, struct bnx_timer_node *node,
                          enum bnx_timer_kind kind, void *arg, uint64_t sequence,
                          uint64_t deadline_ns) {
    fill(worker, node, kind, arg, sequence);
    bnx_service_enter(worker);
    node->generation = bnx_wheel_arm(&worker->wheel, &node->timer, deadline_ns);
    publish_next(worker, deadline_ns);
    bnx_service_leave(worker);
}

void bnx_timer_node_start_at(struct bnx_worker *home, struct bnx_timer_node *node,
                             enum bnx_timer_kind kind, void *arg, uint64_t deadline_ns) {
    fill(home, node, kind, arg, 0);
    bnx_worker_rescue_wait(home);
    node->generation = bnx_wheel_arm(&home->wheel, &node->timer, deadline_ns);
    publish_next(home, deadline_ns);
    bnx_worker_rescue_leave(home);
    /* A parker sets its bit before it reads the wheel under the same lock: either it has seen the
     * timer, or its bit is seen here. */
    if (!BNX_PLANT(timer_far_start_wakes_none)) {
        bnx_runtime_wake(home->runtime, home->index);
    }
}

/* A node that was cancelled elsewhere has come home. */
static void deliver_cancelled(struct bnx_worker *worker, struct bnx_message *message) {
    struct bnx_timer_node *node = BNX_CONTAINER_OF(message, struct bnx_timer_node, message);
    bnx_service_enter(worker);
    enum bnx_disarm found = bnx_wheel_disarm(&worker->wheel, &node->timer);
    bnx_service_leave(worker);
    if (found == BNX_DISARM_GONE && bnx_wheel_timer_state(&node->timer) == BNX_TIMER_TAKEN) {
        bnx_worker_send(worker, message); /* a rescuer has just dropped it and will let go of it */
        return;
    }
    bnx_timer_node_give_back(worker, node);
}

/* Gives back a node that was armed, maybe from a thread that is no worker of its runtime. */
static void give_ended(struct bnx_worker *worker, struct bnx_timer_node *node) {
    bnx_pool_put(&node->home->runtime->timers, worker != NULL ? &worker->timers : NULL, node);
}

/* Waits until whoever took the timer has fired it. Ends: firing never suspends. */
static void wait_fired(struct bnx_timer_node *node) {
    int tries = 0;
    while (bnx_wheel_timer_state(&node->timer) == BNX_TIMER_TAKEN) {
        if (++tries % BNX_LOCK_PAUSES_MAX == 0) {
            bnx_os.thread_yield();
        }
        bnx_pause();
    }
}

void bnx_timer_node_end(struct bnx_worker *worker, struct bnx_timer_node *node) {
    if (node->home == worker) {
        bnx_service_enter(worker);
        enum bnx_disarm found = bnx_wheel_disarm(&worker->wheel, &node->timer);
        bnx_service_leave(worker);
        if (found == BNX_DISARM_GONE) {
            wait_fired(node);
        }
        bnx_timer_node_give_back(worker, node);
        return;
    }
    if (!BNX_PLANT(timer_no_remote_cancel) &&
        bnx_wheel_timer_cancel(&node->timer, node->generation)) {
        node->message.deliver = deliver_cancelled;
        bnx_worker_send(node->home, &node->message);
        return;
    }
    wait_fired(node);
    give_ended(worker, node);
}

/*
 * Whom a batch wakes has slept long: his descriptor and his stack are in no cache any more, and
 * touched one after the other they are most of what a sleep costs. So the lines of all descriptors
 * are asked for at once before the first is claimed, and those of a stack when its task is: by the
 * time it runs they have come.
 */
static void expect_tasks(const struct bnx_wheel_batch *batch) {
    const struct bnx_wheel_timer *timer = batch->expired.first;
    while (timer != NULL) { /* ends: at most FIRE_BATCH */
        if (timer->kind == BNX_TIMER_WAKE) {
            const struct bnx_task *task = timer->arg;
            __builtin_prefetch(task, 1);
            __builtin_prefetch(&task->wait, 1);
            __builtin_prefetch(&task->state, 1);
        }
        timer = (const struct bnx_wheel_timer *)(const void *)timer->link.next;
    }
}

/* The task is claimed and not ready yet: while its registers are saved, nobody changes them. */
static void expect_stack(const struct bnx_task *task) {
    if (bnx_load_acquire(&task->on_cpu) == 0) { /* T1 */
        const unsigned char *sp = task->context.sp;
        for (size_t line = 0; line < STACK_LINES; line++) {
            __builtin_prefetch(sp + line * LINE_BYTES, 1);
        }
    }
}

/* The node may be ended and freed by its owner the moment it is finished: finish comes before the
 * wake, and after the cancel walk. */
static bool fire(struct bnx_wheel_timer *timer) {
    struct bnx_timer_node *node = BNX_CONTAINER_OF(timer, struct bnx_timer_node, timer);
    if (timer->kind == BNX_TIMER_CALL) {
        bnx_timer_expire(node);
        return false;
    }
    if (timer->kind == BNX_TIMER_WAKE) {
        struct bnx_task *task = timer->arg;
        uint64_t sequence = node->sequence;
        bool is_ticker = bnx_load_relaxed(&task->wait_reason) == BNX_WAIT_TICKER; /* a hint */
        bnx_wheel_timer_finish(timer);
        bool is_claimed = bnx_wait_claim(task, sequence, BNX_WAKE);
        if (is_claimed) {
            expect_stack(task);
            bnx_task_ready(task);
        }
        return is_claimed && !is_ticker;
    }
    if (timer->kind == BNX_TIMER_SHIELD) {
        bnx_shield_break(timer->arg);
    } else if (timer->kind == BNX_TIMER_STRAGGLERS) {
        bnx_shield_report(timer->arg);
    } else {
        bnx_scope_cancel_with(timer->arg, BNX_CANCEL_DEADLINE, -ETIMEDOUT);
    }
    bnx_wheel_timer_finish(timer);
    return false;
}

/* Returns how many tasks have been woken that were not waiting for a tick. */
static size_t finish_batch(struct bnx_wheel_batch *batch) {
    size_t woken = 0;
    expect_tasks(batch);
    struct bnx_wheel_timer *timer;
    while ((timer = bnx_wheel_timer_list_pop(&batch->expired)) !=
           NULL) { /* ends: at most FIRE_BATCH */
        woken += fire(timer);
    }
    while ((timer = bnx_wheel_timer_list_pop(&batch->dropped)) != NULL) { /* as above */
        bnx_wheel_timer_finish(timer); /* the message that is on its way frees the node */
    }
    return woken;
}

void bnx_timers_fire(struct bnx_worker *worker) {
    if (bnx_load_relaxed(&worker->wheel_next_ns) > worker->now_ns) { /* owner-written */
        return;
    }
    struct bnx_wheel_batch batch;
    size_t woken = 0;
    do { /* ends: each round takes what is due by a fixed now */
        if (!bnx_service_try(worker)) {
            return; /* a rescuer fires them */
        }
        (void)bnx_wheel_advance(&worker->wheel, worker->now_ns, FIRE_BATCH, &batch);
        bnx_store_relaxed(&worker->wheel_next_ns, bnx_wheel_next_ns(&worker->wheel)); /* a hint */
        bnx_service_leave(worker);
        woken += finish_batch(&batch);
    } while (batch.has_more);
    bool is_crowd = woken >= TIMER_CROWD && !BNX_PLANT(timer_no_rest);
    worker->timers_rest_ns = is_crowd ? bnx_clock_after(worker->now_ns, TIMER_REST_NS) : 0;
}

size_t bnx_timers_fire_for(struct bnx_worker *victim, uint64_t now_ns) {
    struct bnx_wheel_batch batch;
    size_t fired = bnx_wheel_advance(&victim->wheel, now_ns, FIRE_BATCH, &batch);
    bnx_worker_rescue_leave(victim);
    (void)finish_batch(&batch);
    return fired;
}

uint64_t bnx_worker_timers_next(struct bnx_worker *worker) {
    bnx_service_enter(worker);
    uint64_t next_ns = bnx_wheel_next_ns(&worker->wheel);
    bnx_store_relaxed(&worker->wheel_next_ns, next_ns); /* for the watchdog */
    bnx_service_leave(worker);
    return next_ns > worker->timers_rest_ns ? next_ns : worker->timers_rest_ns;
}
