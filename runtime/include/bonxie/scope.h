/* SPDX-License-Identifier: MIT */
/*
 * Scopes own tasks: a scope cannot be left before every task in it has ended.
 *
 *     struct bnx_scope scope;
 *     bnx_scope_open(&scope, NULL);
 *     bnx_spawn(&scope, serve, &listener);
 *     bnx_spawn(&scope, report, &stats);
 *     int error = bnx_scope_close(&scope);
 *
 * After the close both have ended, so a task may point into the frame of the function that opened
 * its scope. The first task that returns an error cancels the others; bnx_scope_close returns that
 * error. Cancel is a level: once a scope is cancelled every suspending call in it says so until it
 * ends.
 *
 * Calls that never refuse because of a cancel, and are never cut short by one: bnx_scope_close,
 * bnx_fork_join, bnx_close, and everything that never suspends.
 */
#ifndef BONXIE_SCOPE_H
#define BONXIE_SCOPE_H

#include <bonxie/base.h>
#include <bonxie/stack.h>

BNX_EXTERN_C_BEGIN

/* Zeroed means defaults. */
struct bnx_scope_options {
    uint64_t
        deadline_ns;  /* monotonic (bnx_now); 0 = the enclosing scope's. The earlier one counts */
    const char *name; /* in reports; not copied; NULL = none */
};

/* On the opener's stack. All fields are private; here so that the size is known. */
struct bnx_scope {
    struct bnx_scope *parent;    /* the enclosing scope, NULL at the root; immutable after open */
    struct bnx_task *owner;      /* the opener; immutable after open */
    struct bnx_runtime *runtime; /* immutable after open */
    struct bnx_scope *outer;     /* the opener's previously innermost scope; immutable after open */
    const char *name;            /* immutable after open */
    uint64_t deadline_ns; /* the earliest of its own and its ancestors'; immutable after open */
    struct bnx_timer_node *timer; /* of its own deadline, or NULL; opener only */
    int64_t children_local; /* spawned by the opener, less those that ended inline; opener only */
    int64_t word;           /* {children that ended or were spawned elsewhere, flags}; shared */
    uint64_t cancel;        /* 0, or the reason of the cancel; shared, set once */
    uint32_t lock;          /* guards the lists and error fields below */
    uint32_t is_linked;     /* in the parent's list; written under the parent's lock */
    void *members;          /* tasks of this scope that have waited */
    void *scopes;           /* scopes beneath this one in which a task has waited */
    void *handles;          /* descriptors kept for their handles until close */
    struct bnx_scope *sibling_next;
    struct bnx_scope **sibling_link;
    int first_error; /* of a child; 0 = none */
    uint32_t error_count;
};

/**
 * Opens a scope in the calling task. Scopes nest: the last one opened is the first one closed.
 * @param options NULL for defaults.
 * Returns 0; -EPERM off a task; -ENOMEM (a deadline needs a timer). Never suspends; about 10 ns.
 */
BNX_API int bnx_scope_open(struct bnx_scope *scope, const struct bnx_scope_options *options);

/**
 * Waits for every task in the scope and ends it. Unstarted tasks run on the caller's own stack.
 * Returns 0; the first error of a child; -ETIMEDOUT when the scope's own deadline cancelled it;
 * -ECANCELED when it was itself cancelled otherwise and no child failed. A cancel of an enclosing
 * scope is not this scope's result: the caller's next suspending call says it.
 * Context: the opener; suspends; not refused by a cancel.
 */
BNX_API int bnx_scope_close(struct bnx_scope *scope);

/**
 * Cancels a scope: every suspending call in it, and in scopes beneath it, returns -ECANCELED.
 * @param reason an -errno for the record; 0 = -ECANCELED. The first cancel counts.
 * Context: any thread, while the scope is open; never suspends.
 */
BNX_API void bnx_scope_cancel(struct bnx_scope *scope, int reason);

/**
 * Spawns fn(arg) into a scope.
 * @param scope NULL = the root scope of the calling task's runtime: its error cancels nobody.
 * Returns 0: fn will be called exactly once, also when the scope is cancelled before it starts.
 * -ECANCELED: the scope is cancelled; -EAGAIN: tasks_max; -ENOMEM; -EPERM: off a task; -EINVAL: fn
 * is NULL; -ESHUTDOWN: the runtime stops. On failure fn is never called.
 * Context: the scope's opener or a task beneath it; never suspends. About 10 ns; the task gets a
 * stack only when it has to wait.
 */
BNX_API int bnx_spawn(struct bnx_scope *scope, bnx_task_fn fn, void *arg);

/**
 * Spawns with a copy of *arg, so that the argument may live on a frame that ends.
 * @param arg_bytes at most 65536. Otherwise as bnx_spawn; -EINVAL: too large.
 */
BNX_API int bnx_spawn_copy(struct bnx_scope *scope, bnx_task_fn fn, const void *arg,
                           size_t arg_bytes);

enum bnx_spawn_flags {
    BNX_SPAWN_PINNED = 1u << 0,  /* runs on one worker only: that of .worker */
    BNX_SPAWN_FP_STATE = 1u << 1 /* rounding mode and exception masks belong to the task */
};

/* Zeroed means defaults. */
struct bnx_spawn_options {
    const char *name; /* in reports; not copied: alive as long as the runtime; NULL = none */
    enum bnx_stack_class stack; /* 0 = the runtime's default */
    uint32_t worker;            /* with BNX_SPAWN_PINNED: the index of the worker */
    unsigned flags;             /* enum bnx_spawn_flags */
};

/**
 * Spawns with options and, if wanted, a handle.
 * @param options NULL for defaults.
 * @param out_task receives the handle; NULL: none. It is borrowed from the scope and valid until
 *   bnx_scope_close has returned; a handle of the root scope (scope NULL) ends with exactly one
 *   bnx_join or bnx_task_detach.
 * Returns as bnx_spawn; -EINVAL also for an unknown flag or a worker that does not exist.
 */
BNX_API int bnx_spawn_with(struct bnx_scope *scope, const struct bnx_spawn_options *options,
                           bnx_task_fn fn, void *arg, struct bnx_task **out_task);

BNX_EXTERN_C_END

#endif
