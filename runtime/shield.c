/* SPDX-License-Identifier: MIT */
/* Shields: scopes that hide a cancel from above for a grace period (scope_pvt.h). */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/timer.h"

#include <errno.h>

/* One report names so many tasks: it is written under the scope's lock. */
#define STRAGGLERS_NAMED_MAX 8

static void arm(struct bnx_worker *worker, struct bnx_shield *shield) {
    struct bnx_scope *scope = shield->scope;
    uint64_t breaks_ns = bnx_clock_after(bnx_clock_now(), scope->grace_ns);
    uint64_t reports_ns = bnx_clock_after(breaks_ns, scope->grace_ns);
    bnx_timer_node_start(worker, shield->grace, BNX_TIMER_SHIELD, scope, 0, breaks_ns);
    bnx_timer_node_start(worker, shield->stragglers, BNX_TIMER_STRAGGLERS, scope, 0, reports_ns);
    bnx_store_release(&shield->state, (uint32_t)BNX_SHIELD_ARMED); /* S4 */
}

/* The message of a walk has arrived; the walk holds the scope for it. */
static void deliver(struct bnx_worker *worker, struct bnx_message *message) {
    struct bnx_shield *shield = BNX_CONTAINER_OF(message, struct bnx_shield, message);
    struct bnx_scope *scope = shield->scope;
    arm(worker, shield);
    bnx_scope_child_left(scope);
}

static bool begin_ending(struct bnx_shield *shield) {
    uint32_t whole = BNX_SHIELD_WHOLE;
    return shield->grace != NULL &&
           bnx_cas_acq_rel(&shield->state, &whole, (uint32_t)BNX_SHIELD_ENDING); /* S4 */
}

void bnx_shield_start_grace(struct bnx_scope *scope) {
    struct bnx_shield *shield = scope->shield;
    if (BNX_PLANT(shield_for_ever) || !bnx_scope_try_hold(scope)) {
        return; /* not held: no task is left in it that could be waiting */
    }
    if (!begin_ending(shield)) {
        bnx_scope_child_left(scope);
        return;
    }
    struct bnx_runtime *runtime = scope->runtime;
    struct bnx_worker *worker = bnx_worker_current();
    if (worker == NULL || worker->runtime != runtime) {
        worker = &runtime->workers[0];
    }
    shield->message.deliver = deliver;
    bnx_worker_send(worker, &shield->message);
}

int bnx_shield_open(struct bnx_worker *worker, struct bnx_scope *scope) {
    if (scope->depth == BNX_SCOPE_DEPTH_MAX) {
        return -EAGAIN;
    }
    struct bnx_shield *shield = bnx_os.allocate(sizeof(*shield), _Alignof(struct bnx_shield));
    if (shield == NULL) {
        return -ENOMEM;
    }
    *shield = (struct bnx_shield){.scope = scope};
    shield->grace = bnx_timer_node_take(worker);
    shield->stragglers = bnx_timer_node_take(worker);
    if (shield->grace == NULL || shield->stragglers == NULL) {
        scope->shield = shield;
        bnx_shield_close(worker, scope);
        scope->shield = NULL;
        return -ENOMEM;
    }
    scope->shield = shield;
    scope->shield_depth = scope->depth;
    bnx_scope_link_chain(scope);
    struct bnx_cancel_found found; /* S4: after the link; the scope is not yet the innermost */
    if (bnx_cancel_find(scope->owner, &found) && begin_ending(shield)) {
        arm(worker, shield);
    }
    return 0;
}

void bnx_shield_break(struct bnx_scope *scope) {
    bnx_store_release(&scope->shield->is_broken, 1);         /* S5 */
    bnx_fetch_add_seq_cst(&scope->runtime->cancel_epoch, 1); /* T2 */
    bnx_scope_walk(scope);
}

static void report_task(struct bnx_scope *scope, const struct bnx_task *task) {
    const char *name = bnx_load_relaxed(&task->name); /* for reports, as all here */
    const char *scope_name = scope->name != NULL ? scope->name : "unnamed";
    uint64_t since_ns = bnx_load_relaxed(&task->since_ns);
    uint64_t now_ns = bnx_clock_now();
    bnx_runtime_log(
        scope->runtime, BNX_LOG_ERROR,
        "scope %s: task %llu (%s) has outlived its grace: %s %p for %llu ms, spawned "
        "at %p",
        scope_name, (unsigned long long)bnx_load_relaxed(&task->id),
        name != NULL ? name : "unnamed",
        bnx_wait_reason_name((enum bnx_wait_reason)bnx_load_relaxed(&task->wait_reason)),
        bnx_load_relaxed(&task->wait_object),
        (unsigned long long)((now_ns - since_ns) / BNX_NS_PER_MS), bnx_load_relaxed(&task->site));
}

void bnx_shield_report(struct bnx_scope *scope) {
    int named = 0;
    report_task(scope, scope->owner);
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    const struct bnx_task *task;
    CK_LIST_FOREACH(task, bnx_scope_members(scope), member) {
        if (++named > STRAGGLERS_NAMED_MAX) {
            break;
        }
        report_task(scope, task);
    }
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
}

void bnx_shield_close(struct bnx_worker *worker, struct bnx_scope *scope) {
    struct bnx_shield *shield = scope->shield;
    bool is_armed = bnx_load_acquire(&shield->state) == BNX_SHIELD_ARMED; /* S4 */
    struct bnx_timer_node *nodes[] = {shield->grace, shield->stragglers};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(nodes); i++) {
        if (nodes[i] != NULL && is_armed) {
            bnx_timer_node_end(worker, nodes[i]);
        } else if (nodes[i] != NULL) {
            bnx_timer_node_give_back(worker, nodes[i]);
        }
    }
    if (!shield->is_in_frame) {
        bnx_os.release(shield);
    }
}
