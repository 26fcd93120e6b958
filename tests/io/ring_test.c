/* SPDX-License-Identifier: MIT */
/* Claims about a ring by itself (io/ring.h), without a driver. */
#include "tests/io/fixture.h"

#include "io/ring.h"

#define TRIES 100

struct turns {
    uint32_t turn;     /* whose it is; relaxed: it must order nothing */
    const void *first; /* where the first thread's ring had its SQEs; relaxed, as turn */
    uint32_t met;      /* times the second one's were there as well; joined before it is read */
};

/* Opens a ring, prepares a request in each of its slots, and closes it. Returns where they were. */
static const void *use_ring(void) {
    struct bnx_ring ring;
    CHECK_EQ(bnx_ring_init(&ring), 0);
    const void *slots = ring.uring.sq.sqes;
    struct io_uring_sqe *sqe;
    while ((sqe = bnx_ring_take(&ring, true)) != NULL) { /* ends: nothing is submitted */
        io_uring_prep_nop(sqe);
        bnx_ring_put(&ring);
    }
    bnx_ring_fini(&ring);
    return slots;
}

static void await_turn(const uint32_t *turn, uint32_t until) {
    while (bnx_load_relaxed(turn) != until) { /* see turns; ends with the other thread's turn */
        bnx_os.thread_yield();
    }
}

static void go_first(void *arg) {
    struct turns *turns = arg;
    for (uint32_t i = 0; i < TRIES; i++) {
        await_turn(&turns->turn, 2 * i);
        bnx_store_relaxed(&turns->first, use_ring()); /* see turns */
        bnx_store_relaxed(&turns->turn, 2 * i + 1);   /* as above */
    }
}

static void go_second(void *arg) {
    struct turns *turns = arg;
    for (uint32_t i = 0; i < TRIES; i++) {
        await_turn(&turns->turn, 2 * i + 1);
        turns->met += use_ring() == bnx_load_relaxed(&turns->first); /* see turns */
        bnx_store_relaxed(&turns->turn, 2 * i + 2);                  /* as above */
    }
}

/* A ring may get the memory that another thread's has just given back, with no word between the two
 * threads: the kernel's is the order, and a race detector is to know it. */
TEST(memory_again, "ring.memory_again") {
    io_needs_ring();
    struct turns turns = {0};
    struct bnx_os_thread first;
    struct bnx_os_thread second;
    sched_thread_start(&second, go_second, &turns);
    sched_thread_start(&first, go_first, &turns);
    sched_thread_join(&first);
    sched_thread_join(&second);
    CHECK(turns.met > 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
