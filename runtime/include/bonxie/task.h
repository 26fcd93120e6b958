/* SPDX-License-Identifier: MIT */
/*
 * Tasks: stackful coroutines with an identity, a scope that owns them, and a result.
 *
 * A task is created by a spawn (scope.h), runs on any worker, and ends when its function returns.
 * It may call anything at any depth; a call that must wait parks the task, not the thread. After a
 * call that may suspend the task may be on another OS thread: keep no address of a thread_local, no
 * held pthread mutex and no assumption about gettid() across it. errno is carried over.
 */
#ifndef BONXIE_TASK_H
#define BONXIE_TASK_H

#include <bonxie/base.h>
#include <bonxie/scope.h>

BNX_EXTERN_C_BEGIN

enum bnx_task_state {
    BNX_TASK_NEW = 0,       /* spawned, not started; costs a descriptor only */
    BNX_TASK_READY = 1,     /* in a queue */
    BNX_TASK_RUNNING = 2,   /* on a worker */
    BNX_TASK_PARKED = 3,    /* waits for something */
    BNX_TASK_BENEATH = 4,   /* its child runs on its stack, at the close of its scope */
    BNX_TASK_OFFLOADED = 5, /* on a thread of the offload pool */
    BNX_TASK_DONE = 6       /* its function has returned, or it was dropped before it started */
};

/**
 * Starts a task that was spawned with BNX_START_MANUAL. Who never does that loses it: its scope's
 * close, a detach, or for the root scope the runtime's stop, drops it unstarted, with a line in the
 * log and -ECANCELED for those who join it. A cancel leaves it as it is: started, it is cancelled.
 * Returns 0; -EALREADY: it was started, or dropped, before; -ECHILD (fork child).
 * Context: any thread with a valid handle; never suspends.
 */
BNX_API int bnx_task_start(struct bnx_task *task);

/**
 * Waits until the task has ended.
 * @param task a handle from bnx_spawn_with; see there for how long it lives.
 * @param out_result receives the value of the task's function; may be NULL; untouched on failure.
 * Returns 0; -ECANCELED or -ETIMEDOUT when the caller's scope was cancelled first (the task lives
 * on); -EDEADLK (a task joining itself; the host of a guest, while the task is not done).
 * Context: task, suspends; on another thread it blocks. Joining a task of the root scope (spawned
 * with scope NULL) ends its handle.
 */
BNX_API int bnx_join(struct bnx_task *task, int *out_result);

/**
 * Returns the task as a waitable: done when its function has returned, with its value. Borrowed,
 * valid as long as the handle. Context: any thread with a valid handle.
 */
BNX_API struct bnx_waitable *bnx_task_waitable(struct bnx_task *task);

/**
 * Gives up the handle of a root-scope task that will not be joined. The task runs on; one that was
 * never started is dropped.
 * Context: any thread; never suspends.
 */
BNX_API void bnx_task_detach(struct bnx_task *task);

/**
 * Cancels one task and everything in the scopes it has open: from now on its suspending calls
 * return -ECANCELED. A level, not an edge: it stays so until the task ends.
 * @param reason an -errno for the record (0 = -ECANCELED); the task's calls return -ECANCELED.
 * Context: any thread that holds a valid handle; never suspends.
 */
BNX_API void bnx_cancel(struct bnx_task *task, int reason);

/** Lets other ready tasks run first. Context: task, suspends; elsewhere sched_yield(2). */
BNX_API void bnx_yield(void);

/**
 * Says whether the calling task is cancelled, and gives way when its time slice is spent. For long
 * computations.
 * Returns 0, -ECANCELED or -ETIMEDOUT. Context: task, may suspend; elsewhere 0.
 */
BNX_API int bnx_checkpoint(void);

/** Returns the calling task, or NULL on a thread that runs no task. Borrowed. */
BNX_API struct bnx_task *bnx_task_self(void);

/** Returns the number of a task: unique in its runtime, never 0. */
BNX_API uint64_t bnx_task_id(const struct bnx_task *task);

/** Returns the task's state: a snapshot, stale at once. Context: any thread with a valid handle. */
BNX_API enum bnx_task_state bnx_task_state(const struct bnx_task *task);

/** Returns the task's class: never INHERIT. Context: any thread with a valid handle. */
BNX_API enum bnx_class bnx_task_class(const struct bnx_task *task);

/** Returns the name of a state, in lower case; "?" for none. */
BNX_API const char *bnx_task_state_name(enum bnx_task_state state);

/* A task as bnx_tasks_foreach saw it. */
struct bnx_task_info {
    uint64_t id;
    const char *name;          /* or NULL */
    const char *scope_name;    /* of the scope that it was spawned into, or NULL */
    enum bnx_task_state state; /* never DONE */
    enum bnx_class task_class; /* never INHERIT */
    const char *wait_reason;   /* what a PARKED task waits for: "recv"; else NULL */
    const void *object;        /* PARKED: an fd as a number, an address, or NULL */
    uint64_t age_ns;           /* PARKED: how long it has waited; else 0 */
    const void *site;          /* where it was spawned: a code address */
};

/**
 * Calls fn for each living task of the runtime, started or not, in no order. Nothing is stopped for
 * it: each is a snapshot, words of which may belong to neighbouring moments, and a task that begins
 * or ends meanwhile may be missed.
 * @param fn returns 0 to go on; info is borrowed for the call. It may do what the caller may.
 * Returns 0, or the first other value of fn.
 * Context: any thread, while the runtime is there; never suspends, but for fn; no signal handler.
 */
BNX_API int bnx_tasks_foreach(struct bnx_runtime *runtime,
                              int (*fn)(const struct bnx_task_info *info, void *arg), void *arg);

/**
 * Names the calling task in reports and dumps.
 * @param name not copied: static, or alive as long as the runtime (reports may read it late).
 */
BNX_API void bnx_task_name_set(const char *name);

/** Returns the task's name, or NULL. */
BNX_API const char *bnx_task_name(const struct bnx_task *task);

/**
 * Returns the most bytes of its stack the task has used so far (page-granular below the first
 * page); 0 before it has a stack. Context: the task itself, or a task that is not running.
 */
BNX_API size_t bnx_task_stack_used(const struct bnx_task *task);

/**
 * Gives the memory of the calling task's stack that only calls which have returned have used back
 * to the kernel. For a task that has been deep, or had large buffers in frames, and is about to
 * wait for long: it costs then what one that always waited in a shallow call does. A system call,
 * 1 to 6 us, and page faults when it goes that deep again.
 * Context: task, generators included; elsewhere no effect. Never suspends.
 */
BNX_API void bnx_task_stack_trim(void);

/**
 * Keeps the calling task on its worker until the matching bnx_pin_end, around foreign code that
 * needs its thread (thread_local, a held pthread mutex). Nests. Context: task; elsewhere no effect.
 */
BNX_API void bnx_pin_begin(void);
BNX_API void bnx_pin_end(void);

BNX_EXTERN_C_END

#endif
