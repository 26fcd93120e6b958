/* SPDX-License-Identifier: MIT */
/*
 * The inside of a scope: who counts its children and finds its blocked tasks, how a cancel travels.
 *
 * Concepts
 *   children   children_local counts what the opener spawned less what ended inline; it is plain,
 *              the opener's alone. word counts the rest: + spawned by others, - ended elsewhere.
 *              Their sum is the number of living children. Close adds the local part to the word
 *              once, with WAITS; who brings the sum to zero from then on resumes the opener.
 *   findable   a cancel must wake tasks that wait. A task is linked into its scope's members when
 *              it first waits, and each scope above it into its parent then; a task that never
 *              waits costs no list operation. What is not linked does not wait, and finds a cancel
 *              by itself: every call that could wait compares the cancel epoch first.
 *   cancel     sets the scope's word, bumps the epoch, then walks members, openers and linked
 *              scopes beneath. The flag is not copied down: the check walks up (wait.c).
 *
 * Invariants
 *   children == children_local + (word >> BNX_SCOPE_COUNT_SHIFT), >= 0 whenever the opener runs.
 *   A linked scope's parent chain is linked, and so is a member's scope.
 *
 * Ordering
 *   S1 child end  fetch_sub acq_rel of word -> the opener's fetch_add acq_rel, or its resume: what
 *                 the child did is visible after close. The decrement is the child's last touch.
 *   S2 lists      under the lock of the scope that holds the list. Locks are taken parent first.
 *   S3 linked     store-release of is_linked -> load-acquire in make_findable: the scope is in its
 *                 parent's list, and at 2 so is its whole chain.
 */
#ifndef BNX_RUNTIME_SCOPE_PVT_H
#define BNX_RUNTIME_SCOPE_PVT_H

#include "runtime/lock.h"
#include "runtime/task_pvt.h"

/* word = count << 2 | flags */
#define BNX_SCOPE_WAITS INT64_C(1)
#define BNX_SCOPE_COUNT_SHIFT 2
#define BNX_SCOPE_ONE (INT64_C(1) << BNX_SCOPE_COUNT_SHIFT)

/* cancel = reason (the -errno, as 32 bits) << 32 | flags */
#define BNX_CANCEL_SET UINT64_C(1)
#define BNX_CANCEL_DEADLINE UINT64_C(2)

_Static_assert(sizeof(struct bnx_lock) <= sizeof(uint32_t),
               "the public struct has room for a lock");

static inline struct bnx_lock *bnx_scope_lock(struct bnx_scope *scope) {
    return (struct bnx_lock *)(void *)&scope->lock;
}

/** What a scope's kind points to (kind.h). */
extern const char bnx_scope_kind;

/** Cancels with flags; the first cancel counts, later ones do nothing. (cancel.c) */
void bnx_scope_cancel_with(struct bnx_scope *scope, int reason, uint64_t flags);

#endif
