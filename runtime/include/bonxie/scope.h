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
 * its scope. What a task that returns an error (< 0) does to the others is the scope's policy.
 *
 * Cancel is a level: once a scope is cancelled every suspending call in it, and in scopes beneath
 * it, says so until it ends: -ETIMEDOUT in the scope whose own deadline did it, -ECANCELED
 * everywhere else. An operation once started returns its result if it has one; the next call says
 * -ECANCELED. Calls that never refuse because of a cancel, and are never cut short by one:
 * bnx_scope_close, bnx_fork_join, bnx_close, the re-lock in bnx_cond_wait, and everything that
 * never suspends.
 *
 * Cleaning up after a cancel needs calls that wait. A shield is a scope (BNX_SCOPE_SHIELD) whose
 * tasks, its opener among them, do not see a cancel that comes from above; deferred functions run
 * in one. From the cancel on they have a grace period; when it is spent the shield breaks, and one
 * grace period later its opener and up to eight of its tasks that still live are reported through
 * the log callback.
 */
#ifndef BONXIE_SCOPE_H
#define BONXIE_SCOPE_H

#include <bonxie/base.h>
#include <bonxie/stack.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

enum bnx_scope_policy {
    BNX_SCOPE_FAIL_FAST = 0, /* the first error cancels the scope and is what close returns */
    BNX_SCOPE_COLLECT = 1,   /* an error cancels nobody; close returns the first one */
    BNX_SCOPE_SUPERVISE = 2, /* an error cancels nobody, is logged, and close returns 0 */
    BNX_SCOPE_RACE = 3       /* the first result >= 0 cancels the others and is what close returns;
                                when all failed, the first error; when none has ended by itself,
                                -ECANCELED; 0 when nothing was spawned */
};

enum bnx_scope_flags {
    BNX_SCOPE_SHIELD = 1u << 0 /* a cancel or deadline from above is not seen inside, for a while */
};

/* How urgently tasks run. Inherited by scope. */
enum bnx_class {
    BNX_CLASS_INHERIT = 0, /* as the enclosing scope; the root scope is NORMAL */
    BNX_CLASS_LATENCY = 1, /* before all others; for the few that answer somebody */
    BNX_CLASS_NORMAL = 2,
    BNX_CLASS_BATCH = 3 /* when nothing else is ready, and at least one turn in sixteen */
};

/* Zeroed means defaults. */
struct bnx_scope_options {
    uint64_t
        deadline_ns;  /* monotonic (bnx_now); 0 = the enclosing scope's. The earlier one counts */
    const char *name; /* in reports; not copied: alive as long as the runtime; NULL = none */
    enum bnx_scope_policy policy;
    unsigned flags; /* enum bnx_scope_flags */
    uint32_t
        children_max; /* living children, at most; beyond it a spawn is -EAGAIN; 0 = no limit */
    enum bnx_class task_class; /* of the tasks spawned into it */
    uint64_t grace_ns; /* of the shields and deferred functions in it; 0 = the enclosing scope's, at
                          the root that of bnx_options */
};

#define BNX_SCOPE_ERRORS_MAX 8

/* A task that has failed. */
struct bnx_scope_error {
    int result;       /* what its function returned, < 0 */
    uint64_t task_id; /* 0: the opener itself (bnx_scope_fail) */
    const char *name; /* the task's, or NULL */
    const void *site; /* where it was spawned: a code address */
};

struct bnx_defer_node;

/* On the opener's stack. All fields are private; here so that the size is known. */
struct bnx_scope {
    struct bnx_scope *parent;    /* the enclosing scope, NULL at the root; immutable after open */
    struct bnx_task *owner;      /* the opener; immutable after open */
    const void *kind;            /* tells a scope from other handles; immutable after open */
    struct bnx_runtime *runtime; /* immutable after open */
    struct bnx_scope *outer;     /* the opener's previously innermost scope; immutable after open */
    const char *name;            /* immutable after open */
    uint64_t deadline_ns; /* the earliest of its own and its ancestors'; immutable after open */
    uint64_t grace_ns;    /* immutable after open */
    struct bnx_timer_node *timer;  /* of its own deadline, or NULL; opener only */
    struct bnx_shield *shield;     /* a shield's state, or NULL; immutable after open */
    struct bnx_defer_node *defers; /* last added first; opener only */
    uint32_t children_max;         /* 0 = no limit; immutable after open */
    uint16_t depth;         /* of nesting, the root's is 0; saturates; immutable after open */
    uint16_t shield_depth;  /* depth of the innermost shield, or its own; immutable after open */
    uint8_t policy;         /* enum bnx_scope_policy; immutable after open */
    uint8_t class_of_tasks; /* enum bnx_class, never INHERIT; immutable after open */
    int64_t children_local; /* spawned by the opener, less those that ended inline; opener only */
    int64_t word;           /* {children that ended or were spawned elsewhere, flags}; shared */
    uint64_t cancel;        /* 0, or the reason and source of the cancel; shared, set once */
    uint32_t lock;          /* guards the lists and error fields below */
    uint32_t is_linked;     /* in the parent's list; written under the parent's lock */
    void *members;          /* tasks of this scope that have waited */
    void *scopes;           /* scopes beneath this one in which a task has waited */
    void *handles;          /* descriptors kept for their handles until close */
    struct bnx_scope *sibling_next;
    struct bnx_scope **sibling_link;
    int winner;               /* RACE: the first result >= 0, or -1 */
    uint32_t error_count;     /* of children that failed; the first 8 are kept */
    uint32_t has_surrendered; /* a child gave up because of a cancel from above */
    struct bnx_scope_error errors[BNX_SCOPE_ERRORS_MAX];
};

/**
 * Opens a scope in the calling task. Scopes nest: the last one opened is the first one closed.
 * @param options NULL for defaults.
 * Returns 0; -EPERM off a task; -EINVAL (an unknown policy, flag or class); -ENOMEM (a deadline and
 * a shield need a timer); -EAGAIN (nested deeper than 65534, counted over all tasks above). Never
 * suspends; about 10 ns.
 */
BNX_API int bnx_scope_open(struct bnx_scope *scope, const struct bnx_scope_options *options);

/**
 * Waits for every task in the scope, runs its deferred functions and ends it. Unstarted tasks run
 * on the caller's own stack.
 * Returns, by policy, what enum bnx_scope_policy says; when no child failed 0; -ETIMEDOUT when the
 * scope's own deadline cancelled it; -ECANCELED when it was itself cancelled otherwise, or when a
 * child gave up because an enclosing scope was: then the caller's next suspending call says it too.
 * Context: the opener; suspends; not refused by a cancel.
 */
BNX_API int bnx_scope_close(struct bnx_scope *scope);

/**
 * Cancels a scope: every suspending call in it, and in scopes beneath it, returns -ECANCELED.
 * @param reason an -errno for the record; 0 = -ECANCELED. The first cancel counts.
 * Context: any thread that knows that bnx_scope_close has not returned: the opener, a task beneath,
 * a holder (bnx_scope_hold), or who finds the scope in a registry from which a deferred function
 * takes it out. Never suspends.
 */
BNX_API void bnx_scope_cancel(struct bnx_scope *scope, int reason);

/**
 * Records that the opener itself has failed, as if it were a child: the policy decides what
 * follows.
 * @param error < 0. -ECANCELED from the scope's own cancel, and -ETIMEDOUT from its own deadline,
 *   are no errors, neither here nor as what a task returns.
 * Context: the opener; never suspends.
 */
BNX_API void bnx_scope_fail(struct bnx_scope *scope, int error);

/**
 * Reads the errors that the scope has kept, in the order in which they came: the first 8.
 * @param out_errors receives the array, borrowed from the scope: valid until it is opened again or
 *   its memory ends.
 * Returns how many there are in the array. Context: the opener, after bnx_scope_close.
 */
BNX_API int bnx_scope_errors(const struct bnx_scope *scope,
                             const struct bnx_scope_error **out_errors);

/**
 * Keeps an open scope open for somebody who is not beneath it: until the release he counts as a
 * child, may spawn into it (as a task) and cancel it.
 * Context: hold: the opener, a task beneath, or another holder; release: any thread. Never
 * suspends.
 */
BNX_API void bnx_scope_hold(struct bnx_scope *scope);
BNX_API void bnx_scope_release(struct bnx_scope *scope);

/** Returns how many children failed, those not kept included. Context: as bnx_scope_errors. */
BNX_API uint32_t bnx_scope_error_count(const struct bnx_scope *scope);

enum bnx_cancel_source {
    BNX_CANCEL_NONE = 0,     /* not cancelled */
    BNX_CANCEL_CALL = 1,     /* bnx_scope_cancel */
    BNX_CANCEL_DEADLINE = 2, /* a scope's deadline; the reason is -ETIMEDOUT */
    BNX_CANCEL_CHILD = 3,    /* a child failed (the reason is its error), or won a race (0) */
    BNX_CANCEL_TASK = 4,     /* bnx_cancel of this task or of one above it */
    BNX_CANCEL_STOP = 5      /* the runtime stops, or the program got a signal */
};

/* Why the calling task is cancelled. */
struct bnx_cancel_info {
    enum bnx_cancel_source source;
    int reason;             /* as given to the cancel; 0 = none */
    const char *scope_name; /* of the scope that was cancelled; NULL: none, or it has no name */
    bool is_own;            /* it is the calling task's innermost scope */
};

/**
 * Says whether the calling task is cancelled, and by what: the innermost cancel counts.
 * Returns 0, -ECANCELED or -ETIMEDOUT, as a suspending call would. Context: task (elsewhere 0);
 * never suspends.
 */
BNX_API int bnx_cancel_info_get(struct bnx_cancel_info *out_info);

/**
 * Has fn(arg) called when the scope closes: after all its tasks have ended, last deferred first, in
 * a shield with the scope's grace period. It may wait; what it opens it must close.
 * Returns 0; -EPERM (not the scope's opener); -ENOMEM; -EINVAL. On failure fn is never called.
 * Context: the opener; never suspends.
 */
BNX_API int bnx_defer(struct bnx_scope *scope, void (*fn)(void *arg), void *arg);

/**
 * Returns, in a deferred function, why the scope ends: what bnx_scope_close will return when that
 * is an error, else -ECANCELED or -ETIMEDOUT when the opener is cancelled from above, else 0.
 * Elsewhere 0. Context: anywhere; never suspends.
 */
BNX_API int bnx_defer_error(void);

/**
 * Calls fn(arg) in a scope with a deadline so many ns from now.
 * Returns fn's value; when fn never ran, -ENOMEM or -EPERM (off a task). A call in fn that the
 * deadline ended has returned -ETIMEDOUT; fn decides what it makes of that.
 * Context: task; suspends if fn does.
 */
BNX_API int bnx_timeout(uint64_t ns, bnx_task_fn fn, void *arg);

/**
 * Spawns fn(arg) into a scope.
 * @param scope NULL = the root scope of the calling task's runtime: its error cancels nobody.
 * Returns 0: fn will be called exactly once, also when the scope is cancelled before it starts.
 * -ECANCELED: the scope is cancelled; -EAGAIN: tasks_max, or the scope's children_max; -ENOMEM;
 * -EPERM: off a task; -EINVAL: fn is NULL, or the scope is another
 * runtime's; -ESHUTDOWN: the runtime stops. On failure fn is never
 * called.
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

enum bnx_start {
    BNX_START_NOW = 0,
    BNX_START_MANUAL = 1 /* it costs a descriptor and does nothing until bnx_task_start */
};

/* Zeroed means defaults. */
struct bnx_spawn_options {
    const char *name; /* in reports; not copied: alive as long as the runtime; NULL = none */
    enum bnx_stack_class stack; /* 0 = the runtime's default */
    uint32_t worker;            /* with BNX_SPAWN_PINNED: the index of the worker */
    unsigned flags;             /* enum bnx_spawn_flags */
    enum bnx_start start;       /* MANUAL needs out_task */
    enum bnx_class task_class;  /* INHERIT = the scope's */
};

/**
 * Spawns with options and, if wanted, a handle.
 * @param options NULL for defaults.
 * @param out_task receives the handle; NULL: none. It is borrowed from the scope: valid for the
 *   opener until bnx_scope_close is called, for tasks beneath as long as they live, and for others
 *   while they hold the scope (bnx_scope_hold); a handle of the root scope (scope NULL) ends with
 *   exactly one bnx_join or bnx_task_detach.
 * Returns as bnx_spawn; -EINVAL also for an unknown flag, start or class, for a worker that does
 * not exist, and for BNX_START_MANUAL without out_task; -EPERM also for BNX_START_MANUAL into a
 * scope that the calling task has not opened, but for the root scope.
 */
BNX_API int bnx_spawn_with(struct bnx_scope *scope, const struct bnx_spawn_options *options,
                           bnx_task_fn fn, void *arg, struct bnx_task **out_task);

BNX_EXTERN_C_END

#endif
