/* SPDX-License-Identifier: MIT */
/*
 * The inside of a generator: a stack of its own, and who is to be resumed when.
 *
 *   | guard | frames of the body ............ | struct bnx_gen | struct bnx_stack | colour |
 *                                             ^ where sp starts, 64-aligned
 *
 * Concepts
 *   drive      next, send, throw and close: switch from the caller's stack to the body's.
 *   outermost  the generator that is driven.
 *   innermost  where a chain of delegations ends: the body that stands at a yield. The outermost
 *              points to it, so that next and send reach it in one switch. The drive writes the way
 *              back, struct bnx_gen_drive, into the innermost, so that a yield looks nowhere else.
 *              When the innermost ends, its delegator becomes the innermost, inherits the way back
 *              and goes on.
 *   A generator that delegates to nobody and that nobody delegates to is both.
 *
 *   The body runs as a part of the task that drives it: task->stack is the body's stack meanwhile.
 *   So whatever the body waits for parks the task on that stack, and it may come back on another
 *   worker: nothing here keeps a worker over a switch.
 *
 * Invariants
 *   is_busy is 1 from the start of a drive to its end, and from the start to the end of a
 *   delegation to it. All other fields belong to who has set it, or to the body that runs.
 *   A body that runs: task->stack == bnx_gen_stack(gen), task == drive.task.
 *   While nobody drives it: innermost stands at a yield, or has not started, or has finished; only
 *   a generator that is its own innermost can be one of the last two.
 *
 * Ordering
 *   G1 busy   exchange acquire of is_busy -> store-release 0 by who had it before: the generator's
 *             fields and its stack, from one thread to the next.
 */
#ifndef BNX_RUNTIME_GEN_PVT_H
#define BNX_RUNTIME_GEN_PVT_H

#include "runtime/context.h"
#include "runtime/task_pvt.h"

#include <bonxie/gen.h>

enum bnx_gen_state { BNX_GEN_UNSTARTED, BNX_GEN_STARTED, BNX_GEN_FINISHED };

/*
 * The way back to who drives; the innermost's counts. `from` and `scope` are copied from words that
 * have just been written, and lie apart lest a compiler copies them by one wider load, which would
 * wait for the stores (5 ns).
 */
struct bnx_gen_drive {
    struct bnx_task *task;     /* that drives; NULL: a thread without one */
    struct bnx_stack *from;    /* the stack that the task was on */
    struct bnx_gen *outermost; /* what is driven */
    struct bnx_scope *scope;   /* the innermost one that the task had open at the start */
    struct bnx_context caller; /* registers of who drives */
    int32_t answer;            /* what the drive returns for a yield: 1, in a close -EBUSY */
    void *caller_fiber;        /* for ThreadSanitizer */
    const void *caller_stack;  /* for AddressSanitizer */
    size_t caller_stack_bytes; /* for AddressSanitizer */
};

struct bnx_gen {
    void *value;                /* the innermost's: yielded, or sent */
    struct bnx_gen *innermost;  /* the outermost's; itself while it delegates to nobody */
    const void *kind;           /* &bnx_gen_kind; immutable */
    int32_t signal;             /* the innermost's. In: what the yield returns; out: the drive */
    uint32_t is_busy;           /* any thread; G1 */
    struct bnx_context context; /* registers of the body while it stands */
    struct bnx_gen_drive drive; /* the innermost's */

    /* Seldom. */
    struct bnx_gen *delegator; /* whose body delegates to this one, or NULL */
    bnx_gen_fn fn;             /* immutable */
    void *arg;                 /* immutable */
    void *result;              /* by bnx_gen_return */
    int32_t error;             /* < 0: with which it has ended */
    uint8_t state;             /* enum bnx_gen_state */
} __attribute__((aligned(BNX_CACHELINE_BYTES)));
_Static_assert(offsetof(struct bnx_gen, kind) == BNX_KIND_OFFSET, "bnx_kind reads it");
_Static_assert(sizeof(struct bnx_gen) % BNX_CACHELINE_BYTES == 0, "the body's stack is aligned");

/** What a generator's kind points to (kind.h). */
extern const char bnx_gen_kind;

/** The stack at whose top the generator lies. */
static inline struct bnx_stack *bnx_gen_stack(struct bnx_gen *gen) {
    return (struct bnx_stack *)(void *)(gen + 1);
}

/** Takes a stack for a generator, NULL: none to be had; gives it back. Any thread. (gen_stack.c) */
struct bnx_stack *bnx_gen_stack_take(enum bnx_stack_class class);
void bnx_gen_stack_give(struct bnx_stack *stack);

#endif
