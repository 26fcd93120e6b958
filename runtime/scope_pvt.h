/* SPDX-License-Identifier: MIT */
/*
 * The inside of a scope: who counts its children and finds its blocked tasks, how a cancel travels.
 *
 * Concepts
 *   children   children_local counts what the opener spawned less what ended inline; it is plain,
 *              the opener's alone. word counts the rest: + spawned by others, - ended elsewhere.
 *              Their sum is the number of living children. Close adds the local part to the word
 *              once, with WAITS, which seals the scope: who brings the sum to zero from then on
 *              resumes the opener, and who is no child can make himself one no more. In a
 *              scope with children_max every child is counted in word, so that the limit is exact.
 *   findable   a cancel must wake tasks that wait. A task is linked into its scope's members when
 *              it first waits, and that scope and each above it into its parent then; a task that
 *              never waits costs no list operation. What is not linked does not wait, and finds a
 *              cancel by itself: every call that could wait compares the cancel epoch first.
 *              The scopes that the task opens itself are not linked by its waits: who cancels one
 *              of them begins with its opener, and a walk from above finds the task as a member.
 *              Those who wait in them link them, and so does a shield, whose grace period a walk
 *              from above must begin.
 *   cancel     sets the scope's word, bumps the epoch, then walks members, openers and linked
 *              scopes beneath. The flag is not copied down: the check walks up (cancel.c).
 *   shield     ends the walk up while it is whole. The walk down goes through it, for what is
 *              cancelled at depth d reaches exactly the tasks whose innermost shield lies at d or
 *              above, and each task that waits says in its wait word where that is (task_pvt.h).
 *              A walk that meets a whole shield which hides others starts its grace period.
 *
 * The grace period of a shield
 *     WHOLE --a cancel from above reaches it--> ENDING --its timers are armed--> ARMED
 *   Whoever finds that a cancel reaches the shield arms its timers: the walk down, under the lock
 *   of the scope above, so that the shield is still linked and its close waits; or its opener, when
 *   it opens under a cancel. A walk on a worker arms them there, one on a foreign thread on worker
 *   0. When the first timer fires the shield breaks: is_broken is set, the epoch bumped, and
 *   everything beneath interrupted as if the shield's scope had been cancelled itself. The second,
 *   one grace period later, reports who is still there.
 *   Shields within shields: the inner one's period begins when the outer one breaks.
 *
 * Invariants
 *   children == children_local + (word >> BNX_SCOPE_COUNT_SHIFT), >= 0 whenever the opener runs.
 *   A linked scope's parent chain is linked, and so is a member's scope. A shield is linked from
 *   its open to its close.
 *   A shield's timers are armed only in ARMED; close ends them after the scope is unlinked, so that
 *   nobody can start them any more.
 *
 * Ordering
 *   S1 child end  fetch_sub acq_rel of word -> the opener's fetch_add acq_rel, or its resume: what
 *                 the child did is visible after close. The decrement is the child's last touch.
 *   S2 lists      under the lock of the scope that holds the list. Locks are taken parent first.
 *   S3 linked     store-release of is_linked -> load-acquire in make_findable: the scope is in its
 *                 parent's list, and at 2 so is its whole chain.
 *   S4 shield     opening links the shield under its parent's lock (S2) and then looks for a cancel
 *                 above; a canceller sets its flag and then walks, under that lock: who comes
 *                 second sees what the first has done, so one of them starts the grace period. CAS
 *                 acq_rel of state: only one. ARMED, store-release -> close's load-acquire: the
 *                 timers.
 *   S5 break      store-release of is_broken before the epoch's fetch_add (T2) -> load-acquire in
 *                 the walk up.
 */
#ifndef BNX_RUNTIME_SCOPE_PVT_H
#define BNX_RUNTIME_SCOPE_PVT_H

#include "runtime/lock.h"
#include "runtime/task_pvt.h"

/* word = count << 2 | flags */
#define BNX_SCOPE_WAITS INT64_C(1)
#define BNX_SCOPE_COUNT_SHIFT 2
#define BNX_SCOPE_ONE (INT64_C(1) << BNX_SCOPE_COUNT_SHIFT)

/* cancel = reason (the -errno, as 32 bits) << 32 | enum bnx_cancel_source; 0 = not cancelled */
#define BNX_CANCEL_SOURCE(word) ((enum bnx_cancel_source)((word)&0xff))
#define BNX_CANCEL_REASON(word) ((int)(int32_t)((word) >> 32))

/* Of nesting. The shield of deferred functions may lie one deeper: it must not be refused. */
#define BNX_SCOPE_DEPTH_MAX (UINT16_MAX - 1)

enum bnx_shield_state {
    BNX_SHIELD_WHOLE = 0,
    BNX_SHIELD_ENDING = 1, /* who made it so is arming the timers */
    BNX_SHIELD_ARMED = 2
};

struct bnx_shield {
    struct bnx_scope *scope;           /* immutable */
    struct bnx_timer_node *grace;      /* breaks it; NULL: no memory, it never breaks; immutable */
    struct bnx_timer_node *stragglers; /* reports what still lives; as above */
    uint32_t state;                    /* enum bnx_shield_state; any thread; S4 */
    uint32_t is_broken;                /* 1: a cancel from above is seen inside; S5 */
    int defer_error;                   /* what deferred functions are told; immutable */
    bool is_of_defers;                 /* deferred functions run in it; immutable */
    bool is_in_frame;                  /* not from the heap; immutable */
};

_Static_assert(sizeof(struct bnx_lock) <= sizeof(uint32_t),
               "the public struct has room for a lock");

static inline struct bnx_lock *bnx_scope_lock(struct bnx_scope *scope) {
    return (struct bnx_lock *)(void *)&scope->lock;
}

CK_LIST_HEAD(bnx_member_list, bnx_task);
_Static_assert(sizeof(struct bnx_member_list) == sizeof(void *), "the public struct has room");

static inline struct bnx_member_list *bnx_scope_members(struct bnx_scope *scope) {
    return (struct bnx_member_list *)(void *)&scope->members;
}

/** What a scope's kind points to (kind.h). */
extern const char bnx_scope_kind;

/** True when the scope is a shield that has not broken. */
static inline bool bnx_scope_is_whole_shield(const struct bnx_scope *scope) {
    return scope->shield != NULL && bnx_load_acquire(&scope->shield->is_broken) == 0; /* S5 */
}

/* ---- cancel.c ---- */

/** Cancels; the first cancel counts, later ones do nothing. The scope is known to stay open. */
void bnx_scope_cancel_with(struct bnx_scope *scope, enum bnx_cancel_source source, int reason);

/**
 * Counts the caller, who is no child, as one, unless the scope is sealed and has seen its last
 * child: then false. The scope's memory is known to be there. Let go by bnx_scope_child_left.
 */
bool bnx_scope_try_hold(struct bnx_scope *scope);

/** Interrupts all that waits in and beneath the scope and that no shield hides from its depth. */
void bnx_scope_walk(struct bnx_scope *scope);

/** Links a scope and all above it into their parents' lists. */
void bnx_scope_link_chain(struct bnx_scope *scope);

/** The innermost cancel that a task sees. */
struct bnx_cancel_found {
    enum bnx_cancel_source source;
    int reason;
    const struct bnx_scope *scope; /* that was cancelled; NULL: a task was */
    const struct bnx_task *task;   /* that was cancelled; NULL: a scope was */
    bool is_own;                   /* it is the task's innermost scope */
};

/**
 * Walks from the task's innermost scope to the root or to the first whole shield.
 * Returns whether something there is cancelled. Context: the task itself, or whoever ends it.
 */
bool bnx_cancel_find(const struct bnx_task *task, struct bnx_cancel_found *out_found);

/** As bnx_cancel_find, from a scope on: one that the task has open, or was spawned into. */
bool bnx_cancel_find_from(const struct bnx_task *task, const struct bnx_scope *start,
                          struct bnx_cancel_found *out_found);

/* ---- shield.c ---- */

/** Makes a scope that is being opened, and not the innermost yet, a shield. Returns 0, -ENOMEM,
 * -EAGAIN (nested too deep). The opener. */
int bnx_shield_open(struct bnx_worker *worker, struct bnx_scope *scope);

/**
 * A cancel from above has reached it. Under the lock of the scope's parent. Never allocates; may
 * wait for a worker to leave its service, a bounded section in which no scope's lock is taken.
 */
void bnx_shield_start_grace(struct bnx_scope *scope);

/** Its timers fire. */
void bnx_shield_break(struct bnx_scope *scope);
void bnx_shield_report(struct bnx_scope *scope);

/** Ends the timers and frees it. The scope is unlinked and has no child left. */
void bnx_shield_close(struct bnx_worker *worker, struct bnx_scope *scope);

/* ---- scope.c, defer.c ---- */

/** Counts a child into a scope with children_max. False: it is full. */
bool bnx_scope_count_limited(struct bnx_scope *scope);

/** As bnx_scope_open, as the shield of deferred functions: nested too deep is no reason. */
int bnx_scope_open_for_defers(struct bnx_scope *scope, const struct bnx_scope_options *options);

/** Runs what was deferred, in a shield. `error` is what the functions are told. */
void bnx_defers_run(struct bnx_scope *scope, int error);

#endif
