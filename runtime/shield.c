/* SPDX-License-Identifier: MIT */
/* Shields: scopes that hide a cancel from above for a grace period (scope_pvt.h). */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/timer.h"

#include <errno.h>

/* One report names the opener and so many tasks: they are looked at under the scope's lock. */
#define STRAGGLERS_NAMED_MAX 8

static bool begin_ending(struct bnx_shield *shield) {
    uint32_t whole = BNX_SHIELD_WHOLE;
    return shield->grace != NULL &&
           bnx_cas_acq_rel(&shield->state, &whole, (uint32_t)BNX_SHIELD_ENDING); /* S4 */
}

void bnx_shield_start_grace(struct bnx_scope *scope) {
    struct bnx_shield *shield = scope->shield;
    if (BNX_PLANT(shield_for_ever) || !begin_ending(shield)) {
        return;
    }
    struct bnx_runtime *runtime = scope->runtime;
    struct bnx_worker *worker = bnx_worker_current();
    uint64_t breaks_ns = bnx_clock_after(bnx_clock_now(), scope->grace_ns);
    uint64_t reports_ns = bnx_clock_after(breaks_ns, scope->grace_ns);
    if (worker != NULL && worker->runtime == runtime) {
        bnx_timer_node_start(worker, shield->grace, BNX_TIMER_SHIELD, scope, 0, breaks_ns);
        bnx_timer_node_start(worker, shield->stragglers, BNX_TIMER_STRAGGLERS, scope, 0,
                             reports_ns);
    } else {
        worker = &runtime->workers[0];
        bnx_timer_node_start_at(worker, shield->grace, BNX_TIMER_SHIELD, scope, breaks_ns);
        bnx_timer_node_start_at(worker, shield->stragglers, BNX_TIMER_STRAGGLERS, scope,
                                reports_ns);
    }
    bnx_store_release(&shield->state, (uint32_t)BNX_SHIELD_ARMED); /* S4 */
}

int bnx_shield_open(struct bnx_worker *worker, struct bnx_scope *scope) {
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
    if (bnx_cancel_find(scope->owner, &found)) {
        bnx_shield_start_grace(scope);
    }
    return 0;
}

void bnx_shield_break(struct bnx_scope *scope) {
    bnx_store_release(&scope->shield->is_broken, 1);         /* S5 */
    bnx_fetch_add_seq_cst(&scope->runtime->cancel_epoch, 1); /* T2 */
    bnx_scope_walk(scope);
}

/* What a report says of a task; copied under the lock, said without it. */
struct straggler {
    uint64_t id;
    const char *name;
    const char *reason;
    const void *object;
    const void *site;
    uint64_t since_ns;
};

static struct straggler straggler_of(const struct bnx_task *task) {
    uint8_t reason = bnx_load_relaxed(&task->wait_reason); /* for reports, as all here */
    return (struct straggler){.id = bnx_load_relaxed(&task->id),
                              .name = bnx_load_relaxed(&task->name),
                              .reason = bnx_wait_reason_name((enum bnx_wait_reason)reason),
                              .object = bnx_load_relaxed(&task->wait_object),
                              .site = bnx_load_relaxed(&task->site),
                              .since_ns = bnx_load_relaxed(&task->since_ns)};
}

static void report(const struct bnx_scope *scope, const struct straggler *straggler,
                   uint64_t now_ns) {
    uint64_t waited_ns = now_ns > straggler->since_ns ? now_ns - straggler->since_ns : 0;
    bnx_runtime_log(
        scope->runtime, BNX_LOG_ERROR,
        "scope %s: task %llu (%s) has outlived its grace: %s %p for %llu ms, spawned "
        "at %p",
        scope->name != NULL ? scope->name : "unnamed", (unsigned long long)straggler->id,
        straggler->name != NULL ? straggler->name : "unnamed", straggler->reason, straggler->object,
        (unsigned long long)(waited_ns / BNX_NS_PER_MS), straggler->site);
}

void bnx_shield_report(struct bnx_scope *scope) {
    struct straggler stragglers[1 + STRAGGLERS_NAMED_MAX] = {straggler_of(scope->owner)};
    size_t count = 1;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    const struct bnx_task *task;
    CK_LIST_FOREACH(task, bnx_scope_members(scope), member) {
        if (count == BNX_ARRAY_COUNT(stragglers)) {
            break;
        }
        stragglers[count++] = straggler_of(task);
    }
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    uint64_t now_ns = bnx_clock_now();
    for (size_t i = 0; i < count; i++) {
        report(scope, &stragglers[i], now_ns);
    }
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
