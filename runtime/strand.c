/* SPDX-License-Identifier: MIT */
/*
 * Strands (bonxie/strand.h, strand.h): a FIFO lock that its tasks hold while they run.
 *
 * Concepts
 *   word: 0, BUSY, or BUSY | WAITERS. While WAITERS is set the strand goes from hand to hand: who
 *   leaves it makes the next one ready, and BUSY stays.
 *   A task that waits for the strand is in its list by the link with which it is in queues.
 *
 * Invariants
 *   WAITERS is set exactly while the list is not empty, whenever the lock is free.
 *
 * Ordering
 *   ST1 strand: release by the CAS that leaves -> acquire by the CAS that enters. From hand to hand
 *       the edge is that of making the next one ready.
 */
#include "runtime/strand.h"

#include "runtime/lock.h"

#define BUSY 1u
#define WAITERS 2u

static struct bnx_lock *lock_of(struct bnx_strand *strand) {
    return (struct bnx_lock *)(void *)&strand->lock;
}

static struct bnx_strand_call *call_of(const struct bnx_task *task) {
    return task->arg;
}

static struct bnx_strand *strand_of(const struct bnx_strand_call *call) {
    return (struct bnx_strand *)(call->strand & ~BNX_STRAND_INSIDE);
}

static struct bnx_task *next_of(struct bnx_task *task) {
    struct bnx_mpscq_node *node = task->message.node.next;
    return node != NULL ? BNX_CONTAINER_OF(node, struct bnx_task, message.node) : NULL;
}

static void push(struct bnx_strand *strand, struct bnx_task *task) {
    task->message.node.next = NULL;
    if (strand->last != NULL) {
        strand->last->message.node.next = &task->message.node;
    } else {
        strand->first = task;
    }
    strand->last = task;
}

static struct bnx_task *pop(struct bnx_strand *strand) {
    struct bnx_task *task = strand->first;
    strand->first = next_of(task);
    if (strand->first == NULL) {
        strand->last = NULL;
    }
    return task;
}

/* Takes the strand if it is free. Under the lock: if not, WAITERS is set from then on. */
static bool take_or_announce(struct bnx_strand *strand) {
    for (;;) { /* ends: each failure is a step of the task on the strand, which takes one */
        uint32_t word = 0;
        if (bnx_cas_acquire(&strand->word, &word, BUSY)) { /* ST1 */
            return true;
        }
        if ((word & WAITERS) != 0 ||
            bnx_cas_relaxed(&strand->word, &word, BUSY | WAITERS)) { /* only a flag */
            return false;
        }
    }
}

static BNX_NOINLINE void enter_slow(struct bnx_strand *strand, struct bnx_task *self) {
    bnx_lock_acquire(lock_of(strand)); /* L1 */
    bool is_taken = take_or_announce(strand);
    if (!is_taken) {
        push(strand, self);
    }
    bnx_lock_release(lock_of(strand)); /* L1 */
    if (!is_taken) {
        (void)bnx_task_park(self, BNX_WAIT_STRAND, strand);
    }
}

struct bnx_worker *bnx_strand_come_back(struct bnx_task *self) {
    struct bnx_strand_call *call = call_of(self);
    struct bnx_strand *strand = strand_of(call);
    uint32_t word = 0;
    if (bnx_unlikely(!bnx_cas_acquire(&strand->word, &word, BUSY)) && /* ST1 */
        !BNX_PLANT(strand_lets_all_in)) {
        enter_slow(strand, self);
    }
    call->strand |= BNX_STRAND_INSIDE;
    return bnx_worker_current();
}

static BNX_NOINLINE void leave_slow(struct bnx_strand *strand) {
    bnx_lock_acquire(lock_of(strand)); /* L1 */
    struct bnx_task *next = pop(strand);
    if (strand->first == NULL) {
        bnx_store_relaxed(&strand->word, BUSY); /* only a flag: the strand stays taken */
    }
    bnx_lock_release(lock_of(strand)); /* L1 */
    bnx_task_ready(next);
}

static void leave(struct bnx_strand_call *call) {
    struct bnx_strand *strand = strand_of(call);
    call->strand &= ~BNX_STRAND_INSIDE;
    uint32_t word = BUSY;
    if (bnx_unlikely(!bnx_cas_release(&strand->word, &word, 0)) && /* ST1 */
        !BNX_PLANT(strand_lets_all_in)) {
        leave_slow(strand);
    }
}

bool bnx_strand_leave(struct bnx_task *self) {
    struct bnx_strand_call *call = call_of(self);
    if ((call->strand & BNX_STRAND_INSIDE) == 0 || BNX_PLANT(strand_held_over_waits)) {
        return false;
    }
    leave(call);
    return true;
}

int bnx_strand_main(void *arg) {
    struct bnx_strand_call *call = arg;
    struct bnx_task *self = bnx_task_current();
    (void)bnx_strand_come_back(self);
    int result = call->fn(call->arg);
    leave(call);
    return result;
}

int bnx_strand_spawn(struct bnx_strand *strand, struct bnx_scope *scope, bnx_task_fn fn,
                     void *arg) {
    if (fn == NULL) {
        return bnx_spawn(scope, fn, arg); /* which says what is wrong */
    }
    struct bnx_strand_call call = {(uintptr_t)strand, fn, arg};
    return bnx_spawn_copy(scope, bnx_strand_main, &call, sizeof(call));
}

bool bnx_strand_is_current(const struct bnx_strand *strand) {
    const struct bnx_task *self = bnx_task_current();
    return self != NULL && bnx_task_has_strand(self) && strand_of(call_of(self)) == strand;
}

struct run {
    bnx_task_fn fn;
    void *arg;
    int result;
};

/* Its error is the caller's to judge: the scope sees none. */
static int run_once(void *arg) {
    struct run *run = arg;
    run->result = run->fn(run->arg);
    return 0;
}

int bnx_strand_run(struct bnx_strand *strand, bnx_task_fn fn, void *arg) {
    if (fn != NULL && bnx_strand_is_current(strand)) {
        return fn(arg);
    }
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error != 0) {
        return error;
    }
    struct run run = {fn, arg, 0};
    error = bnx_strand_spawn(strand, &scope, fn != NULL ? run_once : NULL, &run);
    (void)bnx_scope_close(&scope); /* nothing cancels it but what cancels the caller */
    return error != 0 ? error : run.result;
}
