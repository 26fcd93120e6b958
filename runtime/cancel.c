/* SPDX-License-Identifier: MIT */
/* How a cancel finds those who wait: lists of members and scopes, and the walk (scope_pvt.h). */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <errno.h>

/* One lock hold interrupts at most so many members: those who are woken want the lock. */
#define WALK_BATCH 64

CK_LIST_HEAD(member_list, bnx_task);

static struct member_list *members_of(struct bnx_scope *scope) {
    return (struct member_list *)(void *)&scope->members;
}
_Static_assert(sizeof(struct member_list) == sizeof(void *), "the public struct has room for it");

/* ---- Linking ---- */

static BNX_COLD void link_member(struct bnx_task *task) {
    struct bnx_scope *scope = task->scope;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    CK_LIST_INSERT_HEAD(members_of(scope), task, member);
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    task->is_linked = 1;
}

/* Links a scope into its parent, if no task beneath it has done so yet. */
static BNX_COLD void link_scope(struct bnx_scope *scope) {
    struct bnx_scope *parent = scope->parent;
    bnx_lock_acquire(bnx_scope_lock(parent));       /* S2 */
    if (bnx_load_relaxed(&scope->is_linked) == 0) { /* under the lock */
        struct bnx_scope *first = parent->scopes;
        scope->sibling_next = first;
        scope->sibling_link = (struct bnx_scope **)&parent->scopes;
        if (first != NULL) {
            first->sibling_link = &scope->sibling_next;
        }
        parent->scopes = scope;
        bnx_store_release(&scope->is_linked, 1); /* S3 linked -> make_findable: so is all above */
    }
    bnx_lock_release(bnx_scope_lock(parent)); /* S2 */
}

void bnx_scope_make_findable(struct bnx_task *self) {
    if (bnx_unlikely(self->is_linked == 0)) {
        link_member(self);
    }
    /* Ends at the root, which has no parent, or at a scope under which somebody has waited: whoever
     * linked that one has linked, or is now linking, those above. "Now linking" is a gap: the walk
     * may come from above and miss us. So the chain is walked to the root when one is missing. */
    struct bnx_scope *scope = bnx_task_scope(self);
    if (bnx_likely(scope->parent == NULL || bnx_load_acquire(&scope->is_linked) == 2)) { /* S3 */
        return;
    }
    for (struct bnx_scope *at = scope; at->parent != NULL; at = at->parent) {
        if (bnx_load_acquire(&at->is_linked) == 0) { /* S3 */
            link_scope(at);
        }
    }
    bnx_store_release(&scope->is_linked, 2); /* S3: the whole chain above is linked */
}

void bnx_scope_member_remove(struct bnx_task *task) {
    if (task->is_linked == 0) {
        return;
    }
    struct bnx_scope *scope = task->scope;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    CK_LIST_REMOVE(task, member);
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    task->is_linked = 0;
}

void bnx_scope_unlink(struct bnx_scope *scope) {
    if (bnx_load_relaxed(&scope->is_linked) == 0) { /* all who could link it have ended */
        return;
    }
    struct bnx_scope *parent = scope->parent;
    bnx_lock_acquire(bnx_scope_lock(parent)); /* S2 */
    *scope->sibling_link = scope->sibling_next;
    if (scope->sibling_next != NULL) {
        scope->sibling_next->sibling_link = scope->sibling_link;
    }
    bnx_lock_release(bnx_scope_lock(parent)); /* S2 */
}

/* ---- The walk ---- */

static void walk_locked(struct bnx_scope *scope);

/* Interrupts the opener and everything beneath a scope that is kept alive by a lock above it. */
static void walk_beneath(struct bnx_scope *scope) {
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2: parent first */
    walk_locked(scope);
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
}

/* Whether a task runs on behalf of another: it is that one, or a fork that descends from it. */
static bool is_part_of(const struct bnx_task *task, const struct bnx_task *whole) {
    while (task != NULL && task != whole) { /* ends: forks nest on live frames */
        task = bnx_task_forker(task);
    }
    return task != NULL;
}

static void walk_scopes_locked(struct bnx_scope *scope, const struct bnx_task *owner) {
    for (struct bnx_scope *child = scope->scopes; child != NULL; child = child->sibling_next) {
        if (owner == NULL || is_part_of(child->owner, owner)) {
            bnx_task_interrupt(child->owner);
            walk_beneath(child);
        }
    }
}

/* Recursion is bounded by the depth of nested scopes, each of which holds a frame of its opener. */
static void walk_locked(struct bnx_scope *scope) {
    struct bnx_task *task;
    CK_LIST_FOREACH(task, members_of(scope), member) {
        bnx_task_interrupt(task);
    }
    walk_scopes_locked(scope, NULL);
}

/* The members of the scope that is cancelled itself: there may be a hundred thousand, and each one
 * woken needs the lock to leave. So the lock is given up between batches; the members already
 * interrupted move to a list of their own. Who links itself meanwhile sees the cancel. */
static void walk_members(struct bnx_scope *scope) {
    struct bnx_lock *lock = bnx_scope_lock(scope);
    struct member_list waiting;
    bnx_lock_acquire(lock); /* S2 */
    CK_LIST_INIT(&waiting);
    CK_LIST_MOVE(&waiting, members_of(scope), member);
    CK_LIST_INIT(members_of(scope));
    for (int count = 1; !CK_LIST_EMPTY(&waiting); count++) { /* ends: one fewer each round */
        struct bnx_task *task = CK_LIST_FIRST(&waiting);
        CK_LIST_REMOVE(task, member);
        CK_LIST_INSERT_HEAD(members_of(scope), task, member);
        bnx_task_interrupt(task);
        if (count % WALK_BATCH == 0) {
            /* `waiting` stays reachable: its elements point at each other and at its head, and a
             * member that ends now removes itself under the lock from whichever list it is in. */
            bnx_lock_release(lock); /* S2 */
            bnx_pause();
            bnx_lock_acquire(lock); /* S2 */
        }
    }
    walk_scopes_locked(scope, NULL);
    bnx_lock_release(lock); /* S2 */
}

void bnx_scope_cancel_with(struct bnx_scope *scope, int reason, uint64_t flags) {
    uint64_t none = 0;
    uint64_t value = (uint64_t)(uint32_t)reason << 32 | flags | BNX_CANCEL_SET;
    if (!bnx_cas_seq_cst(&scope->cancel, &none, value)) { /* T2 */
        return;
    }
    bnx_fetch_add_seq_cst(&scope->runtime->cancel_epoch, 1); /* T2 */
    if (BNX_PLANT(cancel_no_walk)) {
        return;
    }
    if (scope->owner != NULL) {
        bnx_task_interrupt(scope->owner);
    }
    walk_members(scope);
}

/* Whoever cancels counts as a child of the scope meanwhile: what it wakes may otherwise end, and
 * the scope with it, while the walk still holds its lock. A thread that is no worker of the runtime
 * keeps that alive likewise (R3 in runtime_pvt.h). */
static void hold(struct bnx_scope *scope) {
    (void)bnx_fetch_add_seq_cst(&scope->runtime->foreign_wakers, 1); /* R3 */
    (void)bnx_fetch_add_acq_rel(&scope->word, BNX_SCOPE_ONE);        /* S1 */
}

static void let_go(struct bnx_scope *scope) {
    struct bnx_runtime *runtime = scope->runtime;
    bnx_scope_child_left(scope);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
}

void bnx_scope_cancel(struct bnx_scope *scope, int reason) {
    hold(scope);
    bnx_scope_cancel_with(scope, reason != 0 ? reason : -ECANCELED, 0);
    let_go(scope);
}

void bnx_cancel(struct bnx_task *task, int reason) {
    (void)reason; /* recorded with the scope's errors once those are kept */
    uint32_t none = 0;
    struct bnx_scope *scope = task->scope;
    hold(scope);
    if (bnx_cas_seq_cst(&task->cancel, &none, 1)) {             /* T2 */
        bnx_fetch_add_seq_cst(&task->runtime->cancel_epoch, 1); /* T2 */
        bnx_lock_acquire(bnx_scope_lock(scope));                /* S2 */
        bnx_task_interrupt(task);
        struct bnx_task *member;
        CK_LIST_FOREACH(member, members_of(scope), member) {
            if (member != task && is_part_of(member, task)) {
                bnx_task_interrupt(member);
            }
        }
        walk_scopes_locked(scope, task);
        bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    }
    let_go(scope);
}
