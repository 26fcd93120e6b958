/* SPDX-License-Identifier: MIT */
/* Claims about the run queue that one thread can check, playing owner and thief in turn. */
#include "runtime/runq.h"

#include "tests/support/test.h"

#include <stdint.h>

#define CAPACITY ((uint32_t)BNX_RUNQ_CAPACITY)
#define HALF (CAPACITY / 2)

static void *item(uint32_t number) {
    return (void *)(uintptr_t)number;
}

static uint32_t number(const void *taken) {
    return (uint32_t)(uintptr_t)taken;
}

/* Pushes first, first + 1, …; the queue must have room. */
static void push_run(struct bnx_runq *runq, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        CHECK(bnx_runq_push(runq, item(first + i)));
        CHECK(bnx_runq_check(runq));
    }
}

/* Pops exactly first, first + 1, … and no more. */
static void pop_run(struct bnx_runq *runq, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(number(bnx_runq_pop(runq)), first + i);
        CHECK(bnx_runq_check(runq));
    }
    CHECK(bnx_runq_pop(runq) == NULL);
}

/* Items leave in the order in which they came; counts and emptiness agree. */
TEST(fifo, "runq.fifo") {
    struct bnx_runq runq;
    bnx_runq_init(&runq, 0);
    push_run(&runq, 1, CAPACITY);
    CHECK_EQ(bnx_runq_count(&runq), CAPACITY);
    CHECK(!bnx_runq_is_empty_seq_cst(&runq));
    pop_run(&runq, 1, CAPACITY);
    CHECK_EQ(bnx_runq_count(&runq), 0);
}

/* A queue that is new, and one that has been drained, give nothing to anyone. */
TEST(empty, "runq.empty") {
    struct bnx_runq runq, thief;
    bnx_runq_init(&runq, 0);
    bnx_runq_init(&thief, 0);
    for (int round = 0; round < 2; round++) {
        uint32_t count = 77;
        void *out[CAPACITY];
        CHECK(bnx_runq_is_empty_seq_cst(&runq));
        CHECK(bnx_runq_pop(&runq) == NULL);
        CHECK(bnx_runq_steal(&runq, &thief, &count) == NULL);
        CHECK_EQ(count, 0);
        CHECK_EQ(bnx_runq_overflow(&runq, out, CAPACITY), 0);
        CHECK(bnx_runq_check(&runq));
        push_run(&runq, 1, 3);
        pop_run(&runq, 1, 3);
    }
}

/* A push into a full queue says so and changes nothing. */
TEST(full, "runq.full") {
    struct bnx_runq runq;
    bnx_runq_init(&runq, 0);
    push_run(&runq, 1, CAPACITY);
    CHECK(!bnx_runq_push(&runq, item(1000)));
    CHECK_EQ(bnx_runq_count(&runq), CAPACITY);
    CHECK(bnx_runq_check(&runq));
    pop_run(&runq, 1, CAPACITY);
}

/* The indices pass UINT32_MAX while every operation is in use, with a queue kept nearly full. */
TEST(wrap, "runq.wrap") {
    struct bnx_runq runq, thief;
    bnx_runq_init(&runq, UINT32_MAX - 3);
    bnx_runq_init(&thief, UINT32_MAX - 3);
    push_run(&runq, 1, CAPACITY);
    CHECK(!bnx_runq_push(&runq, item(1000)));
    CHECK_EQ(bnx_runq_count(&runq), CAPACITY);
    uint32_t oldest = 1;
    uint32_t newest = CAPACITY;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(number(bnx_runq_pop(&runq)), oldest);
        oldest++;
        newest++;
        CHECK(bnx_runq_push(&runq, item(newest)));
        CHECK(bnx_runq_check(&runq));
    }
    uint32_t count = 0;
    CHECK_EQ(number(bnx_runq_steal(&runq, &thief, &count)), oldest);
    CHECK_EQ(count, HALF);
    CHECK_EQ(bnx_runq_count(&runq), HALF);
    pop_run(&thief, oldest + 1, HALF - 1);
    pop_run(&runq, oldest + HALF, HALF);

    bnx_runq_init(&runq, UINT32_MAX - 3);
    push_run(&runq, 1, CAPACITY);
    void *out[CAPACITY];
    CHECK_EQ(bnx_runq_overflow(&runq, out, CAPACITY), HALF);
    CHECK_EQ(number(out[HALF - 1]), HALF);
    pop_run(&runq, HALF + 1, HALF);
}

/* Overflow takes the older half, in order, and leaves room for as many pushes. */
TEST(overflow, "runq.overflow_takes_half") {
    struct bnx_runq runq;
    bnx_runq_init(&runq, 0);
    push_run(&runq, 1, CAPACITY);
    void *out[CAPACITY];
    CHECK_EQ(bnx_runq_overflow(&runq, out, CAPACITY), HALF);
    CHECK(bnx_runq_check(&runq));
    for (uint32_t i = 0; i < HALF; i++) {
        CHECK_EQ(number(out[i]), 1 + i);
    }
    push_run(&runq, CAPACITY + 1, HALF);
    CHECK(!bnx_runq_push(&runq, item(1000)));
    pop_run(&runq, HALF + 1, CAPACITY);
}

/* Overflow keeps to the room that the caller has. */
TEST(overflow_bound, "runq.overflow_keeps_to_max") {
    struct bnx_runq runq;
    bnx_runq_init(&runq, 0);
    push_run(&runq, 1, CAPACITY);
    void *out[1];
    CHECK_EQ(bnx_runq_overflow(&runq, out, 1), 1);
    CHECK_EQ(number(out[0]), 1);
    pop_run(&runq, 2, CAPACITY - 1);
}

/* A thief gets half, rounded up, for every number of items; the rest stays in order. */
TEST(steal_half, "runq.steal_takes_half") {
    for (uint32_t filled = 1; filled <= CAPACITY; filled++) {
        struct bnx_runq victim, thief;
        bnx_runq_init(&victim, 0);
        bnx_runq_init(&thief, 5);
        push_run(&victim, 1, filled);
        uint32_t count = 0;
        uint32_t half = filled - filled / 2;
        CHECK(bnx_runq_steal(&victim, &thief, &count) != NULL);
        CHECK_EQ(count, half);
        CHECK_EQ(bnx_runq_count(&thief), half - 1);
        CHECK(bnx_runq_check(&victim));
        CHECK(bnx_runq_check(&thief));
        pop_run(&thief, 2, half - 1);
        pop_run(&victim, half + 1, filled - half);
    }
}

/* What a thief runs at once is the oldest item; the others follow in its queue, in order. */
TEST(steal_oldest, "runq.steal_takes_oldest") {
    struct bnx_runq victim, thief;
    bnx_runq_init(&victim, 0);
    bnx_runq_init(&thief, 0);
    push_run(&victim, 1, 4);
    uint32_t count = 0;
    CHECK_EQ(number(bnx_runq_steal(&victim, &thief, &count)), 1);
    pop_run(&thief, 2, 1);
    CHECK_EQ(number(bnx_runq_steal(&victim, &thief, &count)), 3);
    CHECK_EQ(count, 1);
    pop_run(&victim, 4, 1);
}

/* A thief whose own queue is full takes no more than it can keep: the one that it runs at once. */
TEST(steal_room, "runq.steal_keeps_to_room") {
    struct bnx_runq victim, thief;
    bnx_runq_init(&victim, 0);
    bnx_runq_init(&thief, 0);
    push_run(&victim, 1, CAPACITY);
    push_run(&thief, 1001, CAPACITY);
    uint32_t count = 0;
    CHECK_EQ(number(bnx_runq_steal(&victim, &thief, &count)), 1);
    CHECK_EQ(count, 1);
    CHECK(bnx_runq_check(&thief));
    pop_run(&thief, 1001, CAPACITY);
    pop_run(&victim, 2, CAPACITY - 1);
}

/* While a thief copies, the owner may pop on, but gets no room: the claimed slots are still read.
 * The steal is stopped between its steps by calling them one by one. */
TEST(mark, "runq.claimed_slots_are_kept") {
    struct bnx_runq victim, thief;
    bnx_runq_init(&victim, 0);
    bnx_runq_init(&thief, 0);
    push_run(&victim, 1, CAPACITY);
    uint32_t first = 77;
    CHECK_EQ(bnx_runq_claim(&victim, CAPACITY, &first), HALF);
    CHECK_EQ(first, 0);
    CHECK(bnx_runq_check(&victim));
    CHECK_EQ(bnx_runq_count(&victim), HALF);

    CHECK(!bnx_runq_push(&victim, item(1000)));
    void *out[CAPACITY];
    CHECK_EQ(bnx_runq_overflow(&victim, out, CAPACITY), 0);
    uint32_t count = 77;
    CHECK(bnx_runq_steal(&victim, &thief, &count) == NULL);
    CHECK_EQ(count, 0);

    pop_run(&victim, HALF + 1, HALF);
    CHECK(bnx_runq_is_empty_seq_cst(&victim));
    CHECK(!bnx_runq_push(&victim, item(1000)));
    for (uint32_t i = 0; i < HALF; i++) {
        CHECK_EQ(number(victim.slots[i]), 1 + i);
    }

    bnx_runq_finish(&victim);
    CHECK(bnx_runq_check(&victim));
    push_run(&victim, 2001, CAPACITY);
    pop_run(&victim, 2001, CAPACITY);
}

/* The check notices each way in which the indices can be out of order. */
TEST(check, "runq.check") {
    struct bnx_runq runq;
    bnx_runq_init(&runq, 10);
    CHECK(bnx_runq_check(&runq));
    runq.tail = 9;
    CHECK(!bnx_runq_check(&runq));
    runq.tail = 10 + CAPACITY;
    CHECK(bnx_runq_check(&runq));
    runq.tail = 10 + CAPACITY + 1;
    CHECK(!bnx_runq_check(&runq));
    runq.tail = 11;
    runq.head = bnx_runq_head(11, 10);
    CHECK(!bnx_runq_check(&runq));
    runq.head = bnx_runq_head(10, 12);
    CHECK(!bnx_runq_check(&runq));
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
