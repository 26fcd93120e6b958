/* SPDX-License-Identifier: MIT */
/* How a cancel finds those who wait, and how a task finds a cancel: the lists, the walk down, the
 * walk up (scope_pvt.h). */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"

#include <errno.h>

/* One lock hold interrupts at most so many members: those who are woken want the lock. */
#define WALK_BATCH 64

/* ---- Linking ---- */

static BNX_COLD void link_member(struct bnx_task *task) {
    struct bnx_scope *scope = task->scope;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    CK_LIST_INSERT_HEAD(bnx_scope_members(scope), task, member);
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

/* Ends at the root, which has no parent, or at a scope under which somebody has waited: whoever
 * linked that one has linked, or is now linking, those above. "Now linking" is a gap: the walk may
 * come from above and miss us. So the chain is walked to the root when one is missing. */
void bnx_scope_link_chain(struct bnx_scope *scope) {
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

void bnx_scope_make_findable_slow(struct bnx_task *self) {
    link_member(self);
    if (!BNX_PLANT(cancel_links_no_chain)) {
        bnx_scope_link_chain(self->scope);
    }
}

void bnx_scope_member_remove_linked(struct bnx_task *task) {
    struct bnx_scope *scope = task->scope;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    CK_LIST_REMOVE(task, member);
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    task->is_linked = 0;
}

void bnx_scope_unlink_linked(struct bnx_scope *scope) {
    struct bnx_scope *parent = scope->parent;
    bnx_lock_acquire(bnx_scope_lock(parent)); /* S2 */
    *scope->sibling_link = scope->sibling_next;
    if (scope->sibling_next != NULL) {
        scope->sibling_next->sibling_link = scope->sibling_link;
    }
    bnx_lock_release(bnx_scope_lock(parent)); /* S2 */
}

/* ---- The walk down, from what was cancelled at some depth ---- */

/* Goes into a scope that is linked in one whose lock is held: it is kept alive by that, and takes
 * its own. A whole shield hides what is beneath it, each task says so itself (bnx_task_interrupt);
 * if no other shield hides this one, its grace period begins. */
static struct bnx_scope *descend(struct bnx_scope *scope, uint32_t depth) {
    bnx_task_interrupt(scope->owner, depth);
    if (scope->shield != NULL && scope->parent->shield_depth <= depth) {
        bnx_shield_start_grace(scope);
    }
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2: parent first */
    struct bnx_task *task;
    CK_LIST_FOREACH(task, bnx_scope_members(scope), member) {
        bnx_task_interrupt(task, depth);
    }
    return scope;
}

/* Everything in and beneath a scope, whose parent's lock is held. No recursion: scopes may nest by
 * the ten thousand, each on the stack of its own opener, and this is the canceller's. The locks of
 * the scopes from `top` to where the walk is are held, so each of them stays where it is. */
static void walk_tree(struct bnx_scope *top, uint32_t depth) {
    struct bnx_scope *at = descend(top, depth);
    for (;;) { /* ends: each scope of the tree is entered once and left once */
        if (at->scopes != NULL) {
            at = descend(at->scopes, depth);
            continue;
        }
        struct bnx_scope *next = NULL;
        while (next == NULL) { /* ends: at top at the latest */
            struct bnx_scope *left = at;
            at = left->parent;
            next = left->sibling_next;
            bnx_lock_release(bnx_scope_lock(left)); /* S2 */
            if (left == top) {
                return;
            }
        }
        at = descend(next, depth);
    }
}

/* Whether a task runs on behalf of another: it is that one, or a fork that descends from it. */
static bool is_part_of(const struct bnx_task *task, const struct bnx_task *whole) {
    while (task != NULL && task != whole) { /* ends: forks nest on live frames */
        task = bnx_task_forker(task);
    }
    return task != NULL;
}

/* owner: only scopes that this task, or a fork of it, has opened; NULL: all. */
static void walk_scopes_locked(struct bnx_scope *scope, const struct bnx_task *owner) {
    for (struct bnx_scope *child = scope->scopes; child != NULL; child = child->sibling_next) {
        if (owner == NULL || is_part_of(child->owner, owner)) {
            walk_tree(child, scope->depth);
        }
    }
}

/* The members of the scope that is cancelled itself: there may be a hundred thousand, and each one
 * woken needs the lock to leave. So the lock is given up between batches; the members already
 * interrupted move to a list of their own. Who links itself meanwhile sees the cancel. */
static void walk_members(struct bnx_scope *scope) {
    struct bnx_lock *lock = bnx_scope_lock(scope);
    struct bnx_member_list waiting;
    bnx_lock_acquire(lock); /* S2 */
    CK_LIST_INIT(&waiting);
    CK_LIST_MOVE(&waiting, bnx_scope_members(scope), member);
    CK_LIST_INIT(bnx_scope_members(scope));
    for (int count = 1; !CK_LIST_EMPTY(&waiting); count++) { /* ends: one fewer each round */
        struct bnx_task *task = CK_LIST_FIRST(&waiting);
        CK_LIST_REMOVE(task, member);
        CK_LIST_INSERT_HEAD(bnx_scope_members(scope), task, member);
        bnx_task_interrupt(task, scope->depth);
        if (count % WALK_BATCH == 0) {
            /* `waiting` stays reachable: its elements point at each other and at its head, and a
             * member that ends now removes itself under the lock from whichever list it is in. */
            bnx_lock_release(lock); /* S2 */
            for (int i = 0; i < BNX_LOCK_PAUSES_MAX; i++) {
                bnx_pause(); /* so long that who waits for the lock tries once */
            }
            bnx_lock_acquire(lock); /* S2 */
        }
    }
    walk_scopes_locked(scope, NULL);
    bnx_lock_release(lock); /* S2 */
}

void bnx_scope_walk(struct bnx_scope *scope) {
    if (scope->owner != NULL) {
        bnx_task_interrupt(scope->owner, scope->depth);
    }
    walk_members(scope);
}

void bnx_scope_cancel_with(struct bnx_scope *scope, enum bnx_cancel_source source, int reason) {
    uint64_t none = 0;
    uint64_t value = (uint64_t)(uint32_t)reason << 32 | (uint64_t)source;
    if (!bnx_cas_seq_cst(&scope->cancel, &none, value)) { /* T2 */
        return;
    }
    bnx_fetch_add_seq_cst(&scope->runtime->cancel_epoch, 1); /* T2 */
    if (!BNX_PLANT(cancel_no_walk)) {
        bnx_scope_walk(scope);
    }
}

/* A holder counts as a child of the scope, and so does whoever cancels it: what he wakes may
 * otherwise end, and the scope with it, while the walk still holds its lock. A thread that is no
 * worker of the runtime keeps that alive likewise (R3 in runtime_pvt.h). */
void bnx_scope_hold(struct bnx_scope *scope) {
    (void)bnx_fetch_add_seq_cst(&scope->runtime->foreign_wakers, 1); /* R3 */
    (void)bnx_fetch_add_acq_rel(&scope->word, BNX_SCOPE_ONE);        /* S1 */
}

void bnx_scope_release(struct bnx_scope *scope) {
    struct bnx_runtime *runtime = scope->runtime;
    bnx_scope_child_left(scope);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
}

void bnx_scope_cancel(struct bnx_scope *scope, int reason) {
    struct bnx_runtime *runtime = scope->runtime;
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
    /* A scope that is closing may have seen its last child: its opener is on his way, and counting
     * ourselves now would resume him twice. The caller knows that the close has not returned. */
    bool is_held = bnx_scope_try_hold(scope);
    bnx_scope_cancel_with(scope, BNX_CANCEL_CALL, reason != 0 ? reason : -ECANCELED);
    if (is_held) {
        bnx_scope_child_left(scope);
    }
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
}

bool bnx_scope_try_hold(struct bnx_scope *scope) {
    int64_t word = bnx_load_relaxed(&scope->word); /* the CAS decides */
    do {                                           /* lock-free: a failure is another's success */
        if ((word & BNX_SCOPE_WAITS) != 0 && word >> BNX_SCOPE_COUNT_SHIFT == 0 &&
            !BNX_PLANT(scope_hold_sealed)) {
            return false;
        }
    } while (!bnx_cas_acq_rel(&scope->word, &word, word + BNX_SCOPE_ONE)); /* S1 */
    return true;
}

static void interrupt_parts(struct bnx_task *task) {
    struct bnx_scope *scope = task->scope;
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    bnx_task_interrupt(task, scope->depth);
    struct bnx_task *member;
    CK_LIST_FOREACH(member, bnx_scope_members(scope), member) {
        if (member != task && is_part_of(member, task)) {
            bnx_task_interrupt(member, scope->depth);
        }
    }
    walk_scopes_locked(scope, task);
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
}

void bnx_cancel(struct bnx_task *task, int reason) {
    uint32_t none = 0;
    uint32_t value = (uint32_t)(reason < 0 ? reason : -ECANCELED);
    struct bnx_scope *scope = task->scope;
    struct bnx_runtime *runtime = task->runtime;
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
    if (bnx_scope_try_hold(scope)) { /* else it has ended, and its scope is about to */
        if (bnx_cas_seq_cst(&task->cancel, &none, value)) {   /* T2 */
            bnx_fetch_add_seq_cst(&runtime->cancel_epoch, 1); /* T2 */
            interrupt_parts(task);
        }
        bnx_scope_child_left(scope);
    }
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3 */
}

/* ---- The walk up, from a task to the root ---- */

static bool is_cancelled_scope(const struct bnx_scope *scope, struct bnx_cancel_found *out_found) {
    uint64_t word = bnx_load_relaxed(&scope->cancel); /* only flags here and below */
    if (word == 0) {
        return false;
    }
    out_found->source = BNX_CANCEL_SOURCE(word);
    out_found->reason = BNX_CANCEL_REASON(word);
    out_found->scope = scope;
    out_found->task = NULL;
    return true;
}

static bool is_cancelled_task(const struct bnx_task *task, struct bnx_cancel_found *out_found) {
    uint32_t word = bnx_load_relaxed(&task->cancel); /* as above */
    if (word == 0) {
        return false;
    }
    out_found->source = BNX_CANCEL_TASK;
    out_found->reason = (int)word;
    out_found->scope = NULL;
    out_found->task = task;
    return true;
}

/* Everything on the way is alive: each scope encloses the next, and a fork its descendants. */
bool bnx_cancel_find_from(const struct bnx_task *task, const struct bnx_scope *start,
                          struct bnx_cancel_found *out_found) {
    const struct bnx_scope *scope = start;
    out_found->is_own = false;
    for (;;) { /* ends at the root, whose owner is NULL */
        for (; scope != NULL && scope->owner == task; scope = scope->parent) {
            if (is_cancelled_scope(scope, out_found) &&
                (scope == start || !BNX_PLANT(cancel_of_own_scope_only))) {
                out_found->is_own = scope == start;
                return true;
            }
            if (bnx_scope_is_whole_shield(scope)) {
                return false;
            }
        }
        if (task == NULL) {
            return false;
        }
        if (is_cancelled_task(task, out_found)) {
            return true;
        }
        /* The scope it was spawned into is its opener's; a fork's is its forker's, or one above. */
        const struct bnx_task *forker = bnx_task_forker(task);
        task = forker != NULL ? forker : scope->owner;
    }
}

bool bnx_cancel_find(const struct bnx_task *task, struct bnx_cancel_found *out_found) {
    return bnx_cancel_find_from(task, bnx_task_scope(task), out_found);
}

int bnx_cancel_info_get(struct bnx_cancel_info *out_info) {
    struct bnx_task *self = bnx_task_current();
    struct bnx_cancel_found found;
    *out_info = (struct bnx_cancel_info){0};
    if (self == NULL || !bnx_cancel_find(self, &found)) {
        return 0;
    }
    out_info->source = found.source;
    out_info->reason = found.reason;
    out_info->scope_name = found.scope != NULL ? found.scope->name : NULL;
    out_info->is_own = found.is_own;
    return bnx_task_cancel_check(self);
}
