/* SPDX-License-Identifier: MIT */
/* Claims about the work-stealing deque that one thread can check, as owner and thief in turn. */
#include "runtime/deque.h"

#include "runtime/os.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdint.h>

#define CAPACITY ((uint32_t)BNX_DEQUE_CAPACITY)

static void *item(uint64_t number) {
    return (void *)(uintptr_t)number;
}

static uint64_t number(const void *taken) {
    return (uint64_t)(uintptr_t)taken;
}

static void init(struct bnx_deque *deque, uint64_t start_index) {
    CHECK_EQ(bnx_deque_init(deque, CAPACITY, start_index), 0);
}

/* Pushes first, first + 1, … */
static void push_run(struct bnx_deque *deque, uint64_t first, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_deque_push(deque, item(first + i)), 0);
        CHECK(bnx_deque_check(deque));
    }
}

static uint64_t steal(struct bnx_deque *deque) {
    bool is_lost = true;
    void *taken = bnx_deque_steal(deque, &is_lost);
    CHECK(!is_lost);
    CHECK(bnx_deque_check(deque));
    return number(taken);
}

static uint64_t pop(struct bnx_deque *deque) {
    void *taken = bnx_deque_pop(deque);
    CHECK(bnx_deque_check(deque));
    return number(taken);
}

/* The owner gets its items back newest first. */
TEST(pop_newest, "deque.pop_takes_newest") {
    struct bnx_deque deque;
    init(&deque, 0);
    push_run(&deque, 1, 100);
    CHECK_EQ(bnx_deque_count(&deque), 100);
    for (uint64_t i = 100; i >= 1; i--) {
        CHECK_EQ(pop(&deque), i);
    }
    CHECK_EQ(pop(&deque), 0);
    bnx_deque_fini(&deque);
}

/* Thieves get the items oldest first, and leave the newest to the owner. */
TEST(steal_oldest, "deque.steal_takes_oldest") {
    struct bnx_deque deque;
    init(&deque, 0);
    push_run(&deque, 1, 100);
    for (uint64_t i = 1; i <= 99; i++) {
        CHECK_EQ(steal(&deque), i);
        CHECK_EQ(bnx_deque_count(&deque), 100 - i);
    }
    CHECK_EQ(pop(&deque), 100);
    CHECK_EQ(steal(&deque), 0);
    bnx_deque_fini(&deque);
}

/* The owner, too, can take the oldest. */
TEST(pop_oldest, "deque.pop_oldest_takes_oldest") {
    struct bnx_deque deque;
    init(&deque, 0);
    push_run(&deque, 1, 10);
    for (uint64_t i = 1; i <= 5; i++) {
        CHECK_EQ(number(bnx_deque_pop_oldest(&deque)), i);
        CHECK(bnx_deque_check(&deque));
    }
    CHECK_EQ(pop(&deque), 10);
    CHECK_EQ(steal(&deque), 6);
    for (uint64_t i = 7; i <= 9; i++) {
        CHECK_EQ(number(bnx_deque_pop_oldest(&deque)), i);
    }
    CHECK(bnx_deque_pop_oldest(&deque) == NULL);
    CHECK_EQ(pop(&deque), 0);
    bnx_deque_fini(&deque);
}

/* An empty deque gives nothing to anyone, however it became empty, and works again afterwards. */
TEST(empty, "deque.empty") {
    struct bnx_deque deque;
    init(&deque, 0);
    for (uint64_t round = 1; round <= 3; round++) {
        CHECK(bnx_deque_is_empty_seq_cst(&deque));
        CHECK_EQ(bnx_deque_count(&deque), 0);
        CHECK_EQ(pop(&deque), 0);
        CHECK_EQ(pop(&deque), 0);
        CHECK_EQ(steal(&deque), 0);
        CHECK(bnx_deque_pop_oldest(&deque) == NULL);
        CHECK(bnx_deque_newest(&deque) == NULL);
        push_run(&deque, round, 1);
        CHECK(!bnx_deque_is_empty_seq_cst(&deque));
        uint64_t taken = round == 1   ? pop(&deque)
                         : round == 2 ? steal(&deque)
                                      : number(bnx_deque_pop_oldest(&deque));
        CHECK_EQ(taken, round);
    }
    bnx_deque_fini(&deque);
}

/* The peek shows what the next pop takes, and takes nothing. */
TEST(newest, "deque.newest_peeks") {
    struct bnx_deque deque;
    init(&deque, 0);
    for (uint64_t i = 1; i <= 50; i++) {
        push_run(&deque, i, 1);
        CHECK_EQ(number(bnx_deque_newest(&deque)), i);
        CHECK_EQ(bnx_deque_count(&deque), i);
    }
    for (uint64_t i = 50; i >= 1; i--) {
        CHECK_EQ(number(bnx_deque_newest(&deque)), i);
        CHECK_EQ(pop(&deque), i);
    }
    CHECK(bnx_deque_newest(&deque) == NULL);
    bnx_deque_fini(&deque);
}

/* Growing again and again, from the smallest array, with a rotated start, loses nothing. */
TEST(grow, "deque.grow_keeps_items") {
    for (uint64_t start = 0; start < 5; start++) {
        struct bnx_deque deque;
        CHECK_EQ(bnx_deque_init(&deque, 2, start), 0);
        push_run(&deque, 1, 1000);
        CHECK_EQ(bnx_deque_count(&deque), 1000);
        for (uint64_t i = 1; i <= 500; i++) {
            CHECK_EQ(steal(&deque), i);
        }
        push_run(&deque, 1001, 1000);
        for (uint64_t i = 2000; i >= 501; i--) {
            CHECK_EQ(pop(&deque), i);
        }
        CHECK_EQ(pop(&deque), 0);
        bnx_deque_fini(&deque);
    }
}

/* The indices pass the maximum of 32 and of 64 bits, with growth and every operation on the way. */
TEST(wrap, "deque.wrap") {
    static const uint64_t starts[] = {UINT32_MAX - UINT64_C(3), UINT64_MAX - 3};
    for (size_t s = 0; s < BNX_ARRAY_COUNT(starts); s++) {
        struct bnx_deque deque;
        CHECK_EQ(bnx_deque_init(&deque, 2, starts[s]), 0);
        for (uint64_t i = 1; i <= 10; i++) {
            push_run(&deque, i, 1);
            CHECK(!bnx_deque_is_empty_seq_cst(&deque));
            CHECK_EQ(i % 2 == 0 ? pop(&deque) : steal(&deque), i);
            CHECK(bnx_deque_is_empty_seq_cst(&deque));
            CHECK_EQ(pop(&deque), 0);
        }
        bnx_deque_fini(&deque);

        CHECK_EQ(bnx_deque_init(&deque, 2, starts[s]), 0);
        push_run(&deque, 1, 9);
        CHECK_EQ(bnx_deque_count(&deque), 9);
        CHECK_EQ(steal(&deque), 1);
        CHECK_EQ(number(bnx_deque_pop_oldest(&deque)), 2);
        for (uint64_t i = 9; i >= 3; i--) {
            CHECK_EQ(number(bnx_deque_newest(&deque)), i);
            CHECK_EQ(pop(&deque), i);
        }
        CHECK_EQ(pop(&deque), 0);
        bnx_deque_fini(&deque);
    }
}

static void *allocate_nothing(size_t bytes, size_t alignment) {
    (void)bytes;
    (void)alignment;
    return NULL;
}

/* When the heap refuses, the push says so and changes nothing; later it succeeds. */
TEST(no_memory, "deque.push_without_memory") {
    void *(*allocate)(size_t, size_t) = bnx_os.allocate;
    struct bnx_deque deque;
    bnx_os.allocate = allocate_nothing;
    CHECK_EQ(bnx_deque_init(&deque, 2, 0), -ENOMEM);
    bnx_deque_fini(&deque);

    bnx_os.allocate = allocate;
    CHECK_EQ(bnx_deque_init(&deque, 2, 0), 0);
    push_run(&deque, 1, 2);
    bnx_os.allocate = allocate_nothing;
    CHECK_EQ(bnx_deque_push(&deque, item(3)), -ENOMEM);
    CHECK(bnx_deque_check(&deque));
    CHECK_EQ(bnx_deque_count(&deque), 2);
    CHECK_EQ(number(bnx_deque_newest(&deque)), 2);
    bnx_os.allocate = allocate;
    push_run(&deque, 3, 1);
    CHECK_EQ(steal(&deque), 1);
    CHECK_EQ(pop(&deque), 3);
    CHECK_EQ(pop(&deque), 2);
    bnx_deque_fini(&deque);
}

/* The bound on items holds. The deque is filled by setting its index: its pages stay unused. */
TEST(bound, "deque.items_max") {
    struct bnx_deque deque;
    CHECK_EQ(bnx_deque_init(&deque, (uint32_t)BNX_DEQUE_ITEMS_MAX, 0), 0);
    deque.bottom = BNX_DEQUE_ITEMS_MAX - 1;
    push_run(&deque, 1, 1);
    CHECK_EQ(bnx_deque_push(&deque, item(2)), -ENOMEM);
    CHECK(bnx_deque_check(&deque));
    CHECK_EQ(bnx_deque_count(&deque), BNX_DEQUE_ITEMS_MAX);
    CHECK_EQ(pop(&deque), 1);
    bnx_deque_fini(&deque);
}

static int barriers;
static struct bnx_deque
    *interrupted; /* what the owner works on while the thief is in its barrier */

static int count_barrier(int command) {
    (void)command;
    barriers++;
    return 0;
}

static int interrupt_thief(int command) {
    (void)command;
    barriers++;
    if (interrupted != NULL) {
        CHECK_EQ(pop(interrupted), 1);
        push_run(interrupted, 2, 1);
    }
    return 0;
}

static void replace_membarrier(int (*membarrier)(int)) {
    if (BNX_TSAN || BNX_SIM) {
        SKIP("this build has no heavy barrier");
    }
    bnx_os.membarrier = membarrier;
    bnx_os_init();
    barriers = 0;
}

/* A thief that finds an item pays one barrier, one that finds the deque empty none, the owner none.
 * The system call is replaced by a counter. */
TEST(barrier, "deque.barrier_only_to_steal") {
    replace_membarrier(count_barrier);
    struct bnx_deque deque;
    init(&deque, 0);
    CHECK_EQ(steal(&deque), 0);
    CHECK_EQ(barriers, 0);
    push_run(&deque, 1, 3);
    CHECK_EQ(pop(&deque), 3);
    CHECK_EQ(number(bnx_deque_pop_oldest(&deque)), 1);
    CHECK_EQ(barriers, 0);
    CHECK_EQ(steal(&deque), 2);
    CHECK_EQ(barriers, 1);
    bnx_deque_fini(&deque);
}

/* A thief that stops in its barrier, while the owner takes the item and pushes another, gets
 * nothing and is told that it lost. The owner works inside the replaced system call. */
TEST(slow_thief, "deque.slow_thief_loses") {
    replace_membarrier(interrupt_thief);
    struct bnx_deque deque;
    init(&deque, 0);
    push_run(&deque, 1, 1);
    interrupted = &deque;
    bool is_lost = false;
    CHECK(bnx_deque_steal(&deque, &is_lost) == NULL);
    CHECK(is_lost);
    CHECK_EQ(barriers, 1);
    interrupted = NULL;
    CHECK_EQ(steal(&deque), 2);
    CHECK_EQ(pop(&deque), 0);
    bnx_deque_fini(&deque);
}

/* Fini accepts what init has not made, and what fini has already seen. */
TEST(fini_zeroed, "deque.fini_accepts_zeroed") {
    struct bnx_deque deque = {0};
    bnx_deque_fini(&deque);
    init(&deque, 0);
    bnx_deque_fini(&deque);
    bnx_deque_fini(&deque);
}

/* The check notices indices out of order, too many items, and a missing array. */
TEST(check, "deque.check") {
    struct bnx_deque deque;
    CHECK_EQ(bnx_deque_init(&deque, 4, 10), 0);
    CHECK(bnx_deque_check(&deque));
    deque.bottom = 14;
    CHECK(bnx_deque_check(&deque));
    deque.bottom = 15;
    CHECK(!bnx_deque_check(&deque));
    deque.bottom = 9;
    CHECK(!bnx_deque_check(&deque));
    bnx_deque_fini(&deque);
    CHECK(!bnx_deque_check(&deque));
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
