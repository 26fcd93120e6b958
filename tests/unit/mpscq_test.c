/* SPDX-License-Identifier: MIT */
/* Claims about the inbox queue that one thread can check, pushes stopped between their steps. */
#include "runtime/mpscq.h"

#include "tests/support/test.h"

#define NODES 8

/* Pops exactly node and leaves a sound chain. */
static void pop_is(struct bnx_mpscq *queue, const struct bnx_mpscq_node *node) {
    CHECK(bnx_mpscq_pop(queue) == node);
    CHECK(bnx_mpscq_check(queue, NODES + 1));
}

/* Nodes leave in the order in which they came, for every fill, again and again. */
TEST(fifo, "mpscq.fifo") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[NODES];
    bnx_mpscq_init(&queue);
    for (size_t filled = 0; filled <= NODES; filled++) {
        for (size_t i = 0; i < filled; i++) {
            bnx_mpscq_push(&queue, &nodes[i]);
            CHECK(bnx_mpscq_check(&queue, NODES + 1));
        }
        for (size_t i = 0; i < filled; i++) {
            pop_is(&queue, &nodes[i]);
        }
        CHECK(bnx_mpscq_pop(&queue) == NULL);
        CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
    }
}

/* Emptiness is exact when no push is under way, also with the stub behind or between the nodes. */
TEST(empty, "mpscq.empty") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[3];
    bnx_mpscq_init(&queue);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
    CHECK(bnx_mpscq_pop(&queue) == NULL);
    bnx_mpscq_push(&queue, &nodes[0]);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    bnx_mpscq_push(&queue, &nodes[1]);
    pop_is(&queue, &nodes[0]);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    pop_is(&queue, &nodes[1]);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
    bnx_mpscq_push(&queue, &nodes[2]);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    pop_is(&queue, &nodes[2]);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
}

/* A node may be pushed again, or overwritten, as soon as it has been popped. */
TEST(reuse, "mpscq.popped_node_is_free") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[2];
    bnx_mpscq_init(&queue);
    for (int i = 0; i < 100; i++) {
        bnx_mpscq_push(&queue, &nodes[0]);
        bnx_mpscq_push(&queue, &nodes[1]);
        pop_is(&queue, &nodes[0]);
        nodes[0].next = &nodes[0];
        bnx_mpscq_push(&queue, &nodes[0]);
        pop_is(&queue, &nodes[1]);
        nodes[1].next = &nodes[1];
        pop_is(&queue, &nodes[0]);
        nodes[0].next = &nodes[0];
        CHECK(bnx_mpscq_pop(&queue) == NULL);
    }
}

/* A push between its two steps: nothing to pop, but not empty either; a parker stays awake. */
TEST(half_push, "mpscq.half_push_is_not_empty") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node node;
    bnx_mpscq_init(&queue);
    struct bnx_mpscq_node *predecessor = bnx_mpscq_claim(&queue, &node);
    CHECK(bnx_mpscq_pop(&queue) == NULL);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    bnx_mpscq_link(predecessor, &node);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    pop_is(&queue, &node);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
}

/* A half push hides the pushes after it, and no others; once linked, all come in order. */
TEST(half_push_order, "mpscq.half_push_hides_later_ones") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[4];
    bnx_mpscq_init(&queue);
    bnx_mpscq_push(&queue, &nodes[0]);
    bnx_mpscq_push(&queue, &nodes[1]);
    struct bnx_mpscq_node *predecessor = bnx_mpscq_claim(&queue, &nodes[2]);
    bnx_mpscq_push(&queue, &nodes[3]);
    CHECK(bnx_mpscq_pop(&queue) == &nodes[0]);
    CHECK(bnx_mpscq_pop(&queue) ==
          NULL); /* node 1 has no successor yet, so it may still be written */
    CHECK(bnx_mpscq_pop(&queue) == NULL);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    bnx_mpscq_link(predecessor, &nodes[2]);
    pop_is(&queue, &nodes[1]);
    pop_is(&queue, &nodes[2]);
    pop_is(&queue, &nodes[3]);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
}

/* A producer claims after the consumer has read last and before it puts the stub behind it. The
 * consumer's half of that pop is replayed by hand. */
TEST(stub_race, "mpscq.stub_behind_half_push") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[3];
    bnx_mpscq_init(&queue);
    bnx_mpscq_push(&queue, &nodes[0]);
    struct bnx_mpscq_node *predecessor = bnx_mpscq_claim(&queue, &nodes[1]);
    CHECK(predecessor == &nodes[0]);
    /* The consumer's pop, from the point where it has read last == node 0. */
    queue.first = &nodes[0];
    bnx_mpscq_push(&queue, &queue.stub);
    CHECK(bnx_mpscq_pop(&queue) == NULL);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue)); /* although last is the stub */
    bnx_mpscq_push(&queue, &nodes[2]);
    CHECK(bnx_mpscq_pop(&queue) == NULL);
    bnx_mpscq_link(predecessor, &nodes[1]);
    pop_is(&queue, &nodes[0]);
    pop_is(&queue, &nodes[1]);
    CHECK(!bnx_mpscq_is_empty_seq_cst(&queue));
    pop_is(&queue, &nodes[2]);
    CHECK(bnx_mpscq_is_empty_seq_cst(&queue));
}

/* The check notices a lost link, a chain that does not reach last, and a cycle. */
TEST(check, "mpscq.check") {
    struct bnx_mpscq queue;
    struct bnx_mpscq_node nodes[2];
    bnx_mpscq_init(&queue);
    CHECK(bnx_mpscq_check(&queue, 0));
    bnx_mpscq_push(&queue, &nodes[0]);
    bnx_mpscq_push(&queue, &nodes[1]);
    CHECK(bnx_mpscq_check(&queue, 2));
    CHECK(!bnx_mpscq_check(&queue, 1));
    nodes[0].next = NULL;
    CHECK(!bnx_mpscq_check(&queue, 2));
    nodes[0].next = &nodes[0];
    CHECK(!bnx_mpscq_check(&queue, 100));
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
