/* SPDX-License-Identifier: MIT */
/*
 * The task descriptor, and how a task waits and is woken.
 *
 * Concepts
 *   A descriptor is pooled and type-stable: its memory belongs to the runtime until that is
 *   destroyed, so a stale pointer may be read, and a stale wake fails by its sequence number.
 *
 *   item     what the queues hold: a task, or a fork with bit 0 set. Both begin with a link word.
 *   current  the task on a worker. It is in no queue.
 *   park     the current task leaves the worker; before that it has published where it waits.
 *   ready    exactly one party, the one that claimed the task's wait, puts it into a queue.
 *
 * The wait word {sequence << 3 | state} decides who that party is:
 *
 *     IDLE --begin--> WAITING --claim (waker | canceller | timer)--> CLAIMED --ready, end--> IDLE
 *
 *     IDLE --begin--> OP --completion--> IDLE (ready)
 *       OP --canceller--> OP_CANCEL_QUEUED --its message is handled--> OP_CANCEL_SENT
 *         OP_CANCEL_QUEUED --completion--> OP_DONE_QUEUED --message--> IDLE (ready)
 *         OP_CANCEL_SENT --completion--> IDLE (ready)
 *         OP_CANCEL_SENT --the driver could not, or must ask again--> OP_CANCEL_QUEUED
 *
 *     UNSTARTED --bnx_task_start: IDLE, ready | dropped: IDLE, done-->   (BNX_START_MANUAL)
 *
 *   The sequence number has in its upper bits the depth of the innermost shield around the task, so
 *   that a canceller sees in the word itself, at the instant of its CAS, whether its cancel reaches
 *   the task: a cancel of a scope at depth d does when that shield lies at d or above.
 *
 *   WAITING may be claimed by anybody who knows the sequence number; one CAS decides. OP is a wait
 *   for the kernel: a cancel only asks, and the terminal completion alone ends it, because the
 *   kernel may write to the task's stack until then. The cancel request travels as the task's own
 *   message node to the worker whose ring holds the op; while that node is queued the completion
 *   must not resume the task, which is what OP_DONE_QUEUED is for.
 *
 * Invariants
 *   one place   a task is at any time exactly one of: current on a worker, in one queue, claimed
 *               and about to be queued, waiting, beneath its inline child, offloaded, unstarted
 *               (its wait says so), done.
 *   on_cpu      1 from the moment a worker takes the task until its registers are saved; whoever
 *               resumes it waits for 0.
 *
 * Ordering
 *   T1 switch    finish_switch store-release on_cpu = 0 -> resume load-acquire on_cpu: the saved
 *                registers are complete.
 *   T2 wait      the waiter's store seq_cst wait = WAITING, then load seq_cst of the runtime's
 *                cancel epoch; the canceller's fetch_add seq_cst of the epoch, then load seq_cst of
 *                wait. At least one sees the other: no cancel is lost.
 *   T3 claim     the claimer's CAS acq_rel of wait; what the waiter wrote before is visible to it.
 *                The claimer's later writes (wake_code) travel with the queue that ready() uses.
 *   T4 hook      exchange acq_rel of a flag: one thread registers the fork handler.
 *   T5 start     store seq_cst wait = UNSTARTED, once the descriptor is filled -> CAS acq_rel by
 *                the one that starts or drops it. In the root scope that store and then a load
 *                seq_cst of the phase; a stop stores the phase and then loads wait: one sees the
 *                other.
 */
#ifndef BNX_RUNTIME_TASK_PVT_H
#define BNX_RUNTIME_TASK_PVT_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/context.h"
#include "runtime/list.h"
#include "runtime/mpscq.h"
#include "runtime/stack.h"

#include <bonxie/fork.h>
#include <bonxie/scope.h>
#include <bonxie/task.h>
#include <bonxie/waitable.h>

struct bnx_locals;
struct bnx_worker;
struct bnx_waitq;

/* What a worker's inbox holds: deliver() runs on the worker's own stack. */
struct bnx_message {
    struct bnx_mpscq_node node;
    void (*deliver)(struct bnx_worker *worker, struct bnx_message *message);
};

/* What a task waits for; indexes the names that reports print. */
enum bnx_wait_reason {
    BNX_WAIT_NONE,
    BNX_WAIT_CHILDREN,
    BNX_WAIT_FORK,
    BNX_WAIT_JOIN,
    BNX_WAIT_FUTURE,
    BNX_WAIT_SLEEP,
    BNX_WAIT_OFFLOAD,
    BNX_WAIT_READ,
    BNX_WAIT_WRITE,
    BNX_WAIT_RECV,
    BNX_WAIT_SEND,
    BNX_WAIT_ACCEPT,
    BNX_WAIT_CONNECT,
    BNX_WAIT_POLL,
    BNX_WAIT_CLOSE,
    BNX_WAIT_OPEN,
    BNX_WAIT_FILE,
    BNX_WAIT_FD,
    BNX_WAIT_SIGNAL,
    BNX_WAIT_PROCESS,
    BNX_WAIT_RESOLVE,
    BNX_WAIT_MUTEX,
    BNX_WAIT_RWLOCK,
    BNX_WAIT_COND,
    BNX_WAIT_SEM,
    BNX_WAIT_EVENT,
    BNX_WAIT_BARRIER,
    BNX_WAIT_ONCE,
    BNX_WAIT_WAITGROUP,
    BNX_WAIT_LIMITER,
    BNX_WAIT_STRAND,
    BNX_WAIT_CHAN_SEND,
    BNX_WAIT_CHAN_RECV,
    BNX_WAIT_BROADCAST,
    BNX_WAIT_WATCH,
    BNX_WAIT_SELECT,
    BNX_WAIT_SEVERAL,
    BNX_WAIT_TIMER,
    BNX_WAIT_TICKER,
    BNX_WAIT_TEST,
    BNX_WAIT_REASON_COUNT
};

#define BNX_WAIT_STATE_BITS 3
enum bnx_wait_state {
    BNX_WAIT_IDLE = 0,
    BNX_WAIT_WAITING = 1,
    BNX_WAIT_CLAIMED = 2,
    BNX_WAIT_OP = 3,
    BNX_WAIT_OP_CANCEL_QUEUED = 4,
    BNX_WAIT_OP_DONE_QUEUED = 5,
    BNX_WAIT_OP_CANCEL_SENT = 6,
    BNX_WAIT_UNSTARTED = 7
};
#define BNX_WAIT_WORD(sequence, state) (((sequence) << BNX_WAIT_STATE_BITS) | (uint64_t)(state))
#define BNX_WAIT_SEQUENCE(word) ((word) >> BNX_WAIT_STATE_BITS)
#define BNX_WAIT_COUNTER_BITS 45 /* of a sequence number; above it the depth of the shield */
#define BNX_WAIT_SHIELD_DEPTH(sequence) ((uint32_t)((sequence) >> BNX_WAIT_COUNTER_BITS))
#define BNX_WAIT_STATE(word) ((enum bnx_wait_state)((word) & ((1u << BNX_WAIT_STATE_BITS) - 1)))

/* Why a claimed wait ended. */
enum bnx_wake_code {
    BNX_WAKE = 0,       /* what it waited for has come */
    BNX_WAKE_CANCEL = 1 /* look at the cancel state and give up */
};

/* Written before the task is shared, and constant from then on. */
enum bnx_task_flag {
    BNX_TASK_KEEP_HANDLE = 1u << 0, /* the descriptor outlives the task, for bnx_join */
    BNX_TASK_PINNED = 1u << 1,      /* spawned for one worker; never in a stealable queue */
    BNX_TASK_FP_STATE = 1u << 2,    /* owns mxcsr/x87/FPCR */
    BNX_TASK_ARG_HEAP = 1u << 3,    /* arg was copied to the heap and is freed at the end */
    BNX_TASK_FORK = 1u << 4,        /* runs a stolen fork; arg is the struct bnx_fork */
    BNX_TASK_ROOT_HANDLE = 1u << 5, /* of the root scope: the last of task and handle frees it */
    BNX_TASK_OWN_STACK = 1u << 6, /* a stack class was given at spawn: not run on another's stack */
    BNX_TASK_MANUAL = 1u << 7 /* runs only after bnx_task_start; its wait is UNSTARTED till then */
};

#define BNX_TASK_ARG_BYTES 24 /* an argument copied at spawn that fits needs no heap */

struct bnx_task {
    struct bnx_message message;   /* link in a queue or inbox; whoever holds the task */
    struct bnx_waitable waitable; /* tells a task from other handles (kind.h); immutable */
    struct bnx_context context;   /* saved registers while suspended; T1 */
    struct bnx_stack *stack;      /* NULL until it has started; a task beneath shares its child's */
    bnx_task_fn fn;               /* immutable after spawn */
    void *arg;                    /* immutable after spawn */
    struct bnx_runtime *runtime;  /* immutable after spawn */
    struct bnx_scope *scope;      /* that it was spawned into; immutable after spawn */
    struct bnx_scope *scope_top;  /* the innermost one it has open, or NULL; the task itself */

    uint64_t wait;   /* {sequence, wait state}; any thread; T2 T3 */
    uint32_t on_cpu; /* any thread; T1 */
    uint32_t cancel; /* nonzero once bnx_cancel was called for it; any thread */

    uint64_t id;             /* immutable after spawn; 0 = the descriptor is free */
    const char *name;        /* the task itself; read by reports */
    const void *site;        /* return address of the spawn; immutable after spawn */
    const void *wait_object; /* what it waits on: an fd or an address; reports only */
    uint64_t since_ns;       /* when it began to wait, by the worker's clock; reports only */
    void *op;                /* the driver's record of the op in flight; for a cancel; the task */
    uint64_t cancel_seen;    /* cancel epoch up to which its chain was found clean; the task */
    CK_LIST_ENTRY(bnx_task) member; /* in scope->members; under that scope's lock */
    const char *scope_name;         /* its scope's; immutable after spawn; read by reports */
    int32_t result;                 /* of fn; written before the end is published */
    uint16_t worker;                /* pinned: its worker. In an op: whose ring holds it */
    uint16_t pin_count;             /* bnx_pin_begin depth; the task itself */
    uint8_t wake_code;              /* enum bnx_wake_code; the claimer */
    uint8_t state;                  /* enum bnx_task_state; relaxed, for reports */
    uint8_t wait_reason;            /* enum bnx_wait_reason; relaxed, for reports */
    uint8_t stack_class;            /* enum bnx_stack_class; immutable after spawn */
    uint8_t flags;                  /* enum bnx_task_flag; immutable after spawn */
    uint8_t handle_count;           /* ROOT_HANDLE: the task and its handle; any thread */
    uint8_t is_linked;              /* 1: findable, in its scope's members; the task itself */
    uint8_t class;                  /* enum bnx_class, never INHERIT; immutable after spawn */
    struct bnx_locals *locals;      /* task-local storage, or NULL; the task itself */
    union {
        /* Without a handle: of the argument (bnx_spawn_copy). */
        _Alignas(16) unsigned char copy[BNX_TASK_ARG_BYTES];
        /* With a handle. */
        struct {
            uintptr_t joiners;            /* a struct bnx_waitq: who waits in bnx_join */
            struct bnx_task *handle_next; /* in scope->handles; under that scope's lock */
        };
    };
};
_Static_assert(sizeof(struct bnx_task) <= 256, "a task that has not started costs one descriptor");
_Static_assert(offsetof(struct bnx_task, message) == 0, "an item's first word is its queue link");

/* Where every handle keeps the pointer that tells its kind: a bnx_waitable's ops, or a stand-in. */
#define BNX_KIND_OFFSET 16
_Static_assert(offsetof(struct bnx_task, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

/* Items: what runq, deque and global queue hold. */
static inline bool bnx_item_is_fork(const void *item) {
    return ((uintptr_t)item & 1) != 0;
}

/* ---- The current task (task.c) ---- */

/* The worker of this OS thread; only task.c names it otherwise. */
extern __attribute__((tls_model("initial-exec"),
                      visibility("hidden"))) __thread struct bnx_worker *bnx_worker_tls;

/**
 * Returns the worker that runs on this OS thread, or NULL. Read anew at each call: compilers
 * compute a thread-local's address once and keep it over a call that comes back on another thread,
 * but a volatile asm is evaluated each time.
 */
static inline struct bnx_worker *bnx_worker_current(void) {
    struct bnx_worker *worker;
#if defined(__x86_64__)
    __asm__ volatile("movq bnx_worker_tls@gottpoff(%%rip), %0\n\t"
                     "movq %%fs:(%0), %0"
                     : "=r"(worker));
#else
    uint64_t base;
    __asm__ volatile("mrs %1, tpidr_el0\n\t"
                     "adrp %0, :gottprel:bnx_worker_tls\n\t"
                     "ldr %0, [%0, #:gottprel_lo12:bnx_worker_tls]\n\t"
                     "ldr %0, [%1, %0]"
                     : "=&r"(worker), "=&r"(base));
#endif
    return worker;
}

/** Returns the current task, or NULL (a worker's own stack, the offload pool, a foreign thread). */
struct bnx_task *bnx_task_current(void);

/** What a call that needs a task says where there is none: -EPERM; -ECHILD in a fork child. */
int bnx_off_task_error(void);

/**
 * Parks the current task until somebody calls bnx_task_ready for it. The caller has published the
 * wait, so that may already have happened.
 * Returns the worker it came back on. Context: task; suspends.
 */
struct bnx_worker *bnx_task_park(struct bnx_task *self, enum bnx_wait_reason reason,
                                 const void *object);

/**
 * Makes a task ready that the caller has claimed. On a worker it goes to that worker's queue, from
 * elsewhere to the global queue, a pinned task to its worker's inbox.
 * Context: any thread; never suspends, never allocates, may wake a worker.
 */
void bnx_task_ready(struct bnx_task *task);

/** Counts one operation that completed at once against the time slice; yields when it is spent. */
void bnx_task_spend(struct bnx_task *self);

/** The scope whose cancel counts for the task now: its innermost open one, else its own. */
static inline struct bnx_scope *bnx_task_scope(const struct bnx_task *task) {
    return task->scope_top != NULL ? task->scope_top : task->scope;
}

/** What a task is as a waitable, and what tells it from other handles. (handle.c) */
extern const struct bnx_waitable_ops bnx_task_ops;

/** The task on whose behalf a taken fork runs; NULL for any other. Alive until the fork's join. */
static inline struct bnx_task *bnx_task_forker(const struct bnx_task *task) {
    return (task->flags & BNX_TASK_FORK) != 0 ? ((const struct bnx_fork *)task->arg)->forker : NULL;
}

/** True when the task goes through no lane (runtime_pvt.h) and to no certain worker. */
static inline bool bnx_task_is_ordinary(const struct bnx_task *task) {
    return task->class == BNX_CLASS_NORMAL && (task->flags & BNX_TASK_PINNED) == 0 &&
           task->pin_count == 0;
}

/** True when the task may run on task->worker only. */
static inline bool bnx_task_is_pinned(const struct bnx_task *task) {
    return (task->flags & BNX_TASK_PINNED) != 0 || task->pin_count != 0;
}

/** Makes the task findable by cancels: links it, its scope and every scope above. Under no lock. */
void bnx_scope_make_findable_slow(struct bnx_task *self);
static inline void bnx_scope_make_findable(struct bnx_task *self) {
    if (bnx_unlikely(self->is_linked == 0)) {
        bnx_scope_make_findable_slow(self);
    }
}

/** The name of a wait reason, for reports. */
const char *bnx_wait_reason_name(enum bnx_wait_reason reason);

#endif
