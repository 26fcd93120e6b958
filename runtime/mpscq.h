/* SPDX-License-Identifier: MIT */
/*
 * An intrusive queue from many producers to one consumer, unbounded and free of allocation.
 *
 * Concepts
 *   producer  any thread. A push is wait-free: one exchange and one store.
 *   consumer  the owner, the one thread that pops.
 *   first     the consumer's cursor: the oldest node, not yet taken, or the stub.
 *   last      the newest node; producers exchange it.
 *   stub      a node of the queue's own, so that the chain is never empty.
 *
 *            first                               last
 *              |                                  |
 *            oldest -> ... -> a        b -> ... -> newest
 *                             ^ the producer of b has exchanged last, but not yet linked a to b
 *
 *   A push has two steps: claim (exchange last) and link (store the predecessor's next). Between
 *   them the node and all that follow are out of the consumer's reach. So the queue is *not*
 *   linearizable: a pop may return NULL after a push of another thread has returned, while an
 *   older push is between its steps. The consumer must therefore
 *   - take NULL for "empty for now", never for "empty";
 *   - not wait in a loop for the rest: the producer may have lost its CPU;
 *   - not park unless bnx_mpscq_is_empty_seq_cst says so. It says no during a half push, so a
 *     parker never sleeps over one.
 *   After a pop the node belongs to the consumer, who may free it or push it again at once.
 *
 *   This is Dmitry Vyukov's intrusive MPSC queue.
 *
 * Invariants
 *   From first, next pointers lead to last, but for one missing link per half push.
 *   first is never a node that has been returned. The stub is in the chain at most once, and all of
 *   first == stub and last == stub hold if and only if the queue is empty.  (bnx_mpscq_check)
 *   A node's next is written twice: NULL by its own producer, then once by its successor's.
 *
 * Ordering
 *   E1 link     link store-release next -> pop load-acquire next. Who reaches a node sees what its
 *               producer wrote before the push.
 *   E2 chain    claim exchange-seq_cst last -> the next claim's. The NULL in a node's next comes
 *               before its successor's link; were it to come after, the link would be lost.
 *   E3 park     claim exchange-seq_cst last, then the producer's seq_cst load of "parked"; the
 *               parker's seq_cst store of "parked", then is_empty load-seq_cst last. At least one
 *               of the two sees the other: the producer wakes, or the parker stays awake. It is
 *               the claim that must be seen, not the link: the claim comes first, and it alone is
 *               visible to a load of last.
 *
 *   Attempts to break it, and why they fail:
 *   - A producer touches a node after it was returned: only the successor's producer writes it, and
 *     the consumer returns a node only after it has seen that write.
 *   - The last node has no successor: the consumer pushes the stub behind it first. A producer that
 *     slips in between gives first -> its node -> stub; the stub is then linked behind that node,
 *     and the pop returns NULL until the producer has linked its own.
 *   - The stub is pushed while it is still in the chain: it is pushed only when last == first, and
 *     first is not the stub. Had the consumer pushed it before, and not passed it, then coherence
 *     of last would let it read that push or a later one, never first.
 *   - is_empty is misled: last == stub alone may mean "stub behind two nodes", hence the test of
 *     first as well. With first == stub, last leaves the stub with the first claim and comes back
 *     only through this consumer.
 *
 * Rejected
 *   A linked stack, popped as a whole and turned round: a compare-and-swap loop for producers, and
 *   the batch costs the consumer a second pass.
 *   A bounded array: a full inbox would make a waker wait for the worker that it wakes.
 *   Counting messages for the emptiness test: a second contended word.
 */
#ifndef BNX_RUNTIME_MPSCQ_H
#define BNX_RUNTIME_MPSCQ_H

#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/compiler.h"

#include <stdbool.h>
#include <stddef.h>

/* Embedded in what is sent. In one queue at a time. */
struct bnx_mpscq_node {
    struct bnx_mpscq_node *next; /* producers write, the consumer reads; undefined out of a queue */
};

struct bnx_mpscq {
    /* Any thread. */
    struct bnx_mpscq_node *last BNX_APART; /* the newest node; moved by exchange */
    struct bnx_mpscq_node stub;            /* keeps the chain from being empty */

    /* The consumer writes; others may peek, for a hint. On its own line: producers would else take
     * it from under the consumer with each push. */
    struct bnx_mpscq_node *first BNX_APART; /* the oldest node not taken, or the stub */
};

_Static_assert(offsetof(struct bnx_mpscq, first) >= BNX_APART_BYTES,
               "first has its own cache line");

/**
 * Makes an empty queue.
 * Threads: none may use the queue yet. A queue needs no fini; it must not move in memory.
 */
static inline void bnx_mpscq_init(struct bnx_mpscq *queue) {
    /* Relaxed: whoever hands the queue to other threads publishes it. */
    bnx_store_relaxed(&queue->stub.next, NULL);
    bnx_store_relaxed(&queue->last, &queue->stub);
    bnx_store_relaxed(&queue->first, &queue->stub);
}

/** First step of a push: makes node the newest. Returns: its predecessor, for bnx_mpscq_link. */
static inline struct bnx_mpscq_node *bnx_mpscq_claim(struct bnx_mpscq *queue,
                                                     struct bnx_mpscq_node *node) {
    bnx_store_relaxed(&node->next, NULL);            /* E2 publishes it */
    return bnx_exchange_seq_cst(&queue->last, node); /* E2, E3 */
}

/** Second step of a push: lets the consumer reach node. */
static inline void bnx_mpscq_link(struct bnx_mpscq_node *predecessor, struct bnx_mpscq_node *node) {
    bnx_store_release(&predecessor->next, node); /* E1 */
}

/**
 * Adds a node as the newest.
 * Context: any thread; wait-free. The exchange is seq_cst: a seq_cst load of the consumer's
 *   "parked" after this call makes the pair of E3.
 * Ownership: the node is the queue's until it is popped.
 */
static inline void bnx_mpscq_push(struct bnx_mpscq *queue, struct bnx_mpscq_node *node) {
    struct bnx_mpscq_node *predecessor = bnx_mpscq_claim(queue, node);
    bnx_mpscq_link(predecessor, node);
}

/**
 * Takes the oldest node.
 * Returns: the node, now the caller's, or NULL: empty, or a producer is between its two steps.
 * Context: the consumer; never waits. Threads: producers may push meanwhile.
 */
static inline struct bnx_mpscq_node *bnx_mpscq_pop(struct bnx_mpscq *queue) {
    struct bnx_mpscq_node *first = bnx_load_relaxed(&queue->first); /* the consumer's own store */
    struct bnx_mpscq_node *next = bnx_load_acquire(&first->next);   /* E1 */
    if (first == &queue->stub) {
        if (next == NULL) {
            return NULL;
        }
        bnx_store_relaxed(&queue->first, next); /* read by the consumer, and for hints */
        first = next;
        next = bnx_load_acquire(&first->next); /* E1 */
    }
    if (bnx_unlikely(next == NULL)) {
        /* Relaxed: an old value that equals first only means that the stub lands further behind. */
        if (bnx_load_relaxed(&queue->last) != first) {
            return NULL;
        }
        bnx_mpscq_push(queue, &queue->stub);
        next = bnx_load_acquire(&first->next); /* E1 */
        if (next == NULL) {
            return NULL;
        }
    }
    bnx_store_relaxed(&queue->first, next); /* read by the consumer, and for hints */
    return first;
}

/**
 * Tells whether nothing is there and nothing is on its way: the last look of a worker that is about
 * to park.
 * Returns: true when the queue was empty, no half push included, at the moment of the load of last.
 * Context: the consumer, after its seq_cst store of "parked" (E3). For other threads it is a hint.
 */
static inline bool bnx_mpscq_is_empty_seq_cst(const struct bnx_mpscq *queue) {
    const struct bnx_mpscq_node *first = bnx_load_relaxed(&queue->first); /* consumer's own store */
    if (BNX_PLANT(mpscq_early_empty)) {
        return first == &queue->stub && bnx_load_relaxed(&first->next) == NULL;
    }
    return first == &queue->stub && bnx_load_seq_cst(&queue->last) == &queue->stub; /* E3 */
}

/**
 * Checks that the chain leads from first to last, passing the stub at most once, within max nodes.
 * Context: the consumer, while no producer is active.
 */
static inline bool bnx_mpscq_check(const struct bnx_mpscq *queue, size_t max) {
    /* Relaxed: nobody else is active. */
    const struct bnx_mpscq_node *last = bnx_load_relaxed(&queue->last);
    const struct bnx_mpscq_node *node = bnx_load_relaxed(&queue->first);
    size_t stubs = 0;
    for (size_t i = 0; i <= max && node != NULL; i++) {
        stubs += node == &queue->stub;
        if (node == last) {
            return stubs <= 1 && bnx_load_relaxed(&node->next) == NULL;
        }
        node = bnx_load_relaxed(&node->next);
    }
    return false;
}

#endif
