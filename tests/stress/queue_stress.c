/* SPDX-License-Identifier: MIT */
/*
 * The queues under real threads: each item is taken exactly once, in the order that is promised.
 *
 * Method: an item is a cell with a plain number, written before the push and read after the take,
 * so that ThreadSanitizer sees a missing publish edge. Every take counts in the cell. The run ends
 * when all cells have been taken; a lost item therefore hangs, and the time limit of the test
 * reports it. The owner keeps its queue short, since the races are at the ends, with a long burst
 * now and then.
 */
#include "runtime/deque.h"
#include "runtime/mpscq.h"
#include "runtime/os.h"
#include "runtime/rng.h"
#include "runtime/runq.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define THIEVES 3
#define PRODUCERS 3
#define SHORT_BURST 4
#define LONG_BURST 600 /* overfills a run queue, and makes a deque grow */
#define LONG_BURST_ONE_IN 512
#define PAUSES_MAX 32 /* as long as a thief needs for its barrier */
#define PAUSE_ONE_IN 4

struct cell {
    struct bnx_mpscq_node node; /* for the inbox queue */
    uint32_t number;            /* from 1, in push order; plain: the queue's edges must order it */
    uint32_t producer;          /* who pushed it; plain as well */
    uint32_t takes;             /* any thread adds */
};

/* One run. The queue in question is chosen by the entry functions of its threads. */
struct arena {
    struct cell *cells;                 /* owner or producers write before the push */
    uint32_t cell_count;                /* immutable */
    uint32_t left;                      /* cells not yet taken; any thread subtracts */
    uint32_t waiting;                   /* threads that have not reached the start */
    uint32_t parked;                    /* 1 while the consumer sleeps or is about to */
    uint64_t seed;                      /* immutable */
    struct bnx_deque deque;             /* thread 0 owns */
    struct bnx_runq runqs[1 + THIEVES]; /* thread i owns runq i */
    struct bnx_mpscq inbox;             /* thread 0 consumes */
};

struct actor {
    struct bnx_os_thread thread;
    struct arena *arena;
    uint32_t index; /* 0 is the owner */
    uint32_t taken; /* items; this thread writes, run reads after the join */
};

/* All threads leave here together, or the first ones would have finished before the last begin. */
static void start_line(struct arena *arena) {
    (void)bnx_fetch_sub_relaxed(&arena->waiting, 1u);
    while (bnx_load_relaxed(&arena->waiting) != 0) { /* ends: every thread was created */
        bnx_os.thread_yield();
    }
}

/* Counts a take; numbers must rise from *latest on when latest is given. */
static void take(struct actor *actor, struct cell *cell, uint32_t *latest) {
    struct arena *arena = actor->arena;
    CHECK(cell >= arena->cells);
    CHECK(cell < arena->cells + arena->cell_count);
    CHECK_EQ(bnx_fetch_add_relaxed(&cell->takes, 1u), 0);
    if (latest != NULL) {
        CHECK(cell->number > *latest);
        *latest = cell->number;
    }
    actor->taken++;
    CHECK(bnx_fetch_sub_relaxed(&arena->left, 1u) != 0);
}

static bool is_over(const struct arena *arena) {
    return bnx_load_relaxed(&arena->left) == 0;
}

static uint32_t burst_length(struct bnx_rng *rng) {
    if (bnx_rng_below(rng, LONG_BURST_ONE_IN) == 0) {
        return LONG_BURST;
    }
    return 1 + bnx_rng_below(rng, SHORT_BURST);
}

/* Now and then lets the others get at the queue; mostly not: the races are where it is hot. */
static void pause_a_while(struct bnx_rng *rng) {
    if (bnx_rng_below(rng, PAUSE_ONE_IN) != 0) {
        return;
    }
    for (uint32_t n = bnx_rng_below(rng, PAUSES_MAX); n > 0; n--) {
        bnx_pause();
    }
}

static struct cell *cell_make(struct arena *arena, uint32_t index, uint32_t producer) {
    struct cell *cell = &arena->cells[index];
    cell->number = index + 1;
    cell->producer = producer;
    return cell;
}

static void run(struct arena *arena, uint32_t cell_count, void (*owner)(void *),
                void (*other)(void *), uint32_t others) {
    arena->cells = calloc(cell_count, sizeof(struct cell));
    CHECK(arena->cells != NULL);
    arena->cell_count = cell_count;
    arena->left = cell_count;
    arena->waiting = 1 + others;
    arena->seed = bnx_test_seed();

    struct actor actors[1 + THIEVES] = {0};
    CHECK(others < BNX_ARRAY_COUNT(actors));
    for (uint32_t i = 0; i <= others; i++) {
        actors[i].arena = arena;
        actors[i].index = i;
        actors[i].thread.entry = i == 0 ? owner : other;
        actors[i].thread.arg = &actors[i];
        CHECK_EQ(bnx_os.thread_create(&actors[i].thread), 0);
    }
    for (uint32_t i = 0; i <= others; i++) {
        CHECK_EQ(bnx_os.thread_join(&actors[i].thread), 0);
        printf("thread %u took %u of %u\n", i, actors[i].taken, cell_count);
    }
    for (uint32_t i = 0; i < cell_count; i++) {
        CHECK_EQ(arena->cells[i].takes, 1);
    }
    free(arena->cells);
}

/* ---- the deque ---- */

static void deque_owner(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    struct bnx_deque *deque = &arena->deque;
    struct bnx_rng rng;
    bnx_rng_init(&rng, arena->seed, 0);
    start_line(arena);
    uint32_t made = 0;
    while (made < arena->cell_count) {
        for (uint32_t n = burst_length(&rng); n > 0 && made < arena->cell_count; n--) {
            CHECK_EQ(bnx_deque_push(deque, cell_make(arena, made, 0)), 0);
            made++;
        }
        if (bnx_rng_below(&rng, 8) == 0) {
            struct cell *oldest = bnx_deque_pop_oldest(deque);
            if (oldest != NULL) {
                take(actor, oldest, NULL);
            }
        }
        pause_a_while(&rng);
        uint32_t before = UINT32_MAX; /* within one series of pops, numbers fall */
        for (uint32_t n = burst_length(&rng); n > 0; n--) {
            struct cell *cell = bnx_deque_pop(deque);
            if (cell == NULL) {
                break;
            }
            CHECK(cell->number < before);
            before = cell->number;
            take(actor, cell, NULL);
        }
        CHECK(bnx_deque_check(deque));
    }
    struct cell *cell;
    while ((cell = bnx_deque_pop(deque)) != NULL) { /* ends: nothing is pushed any more */
        take(actor, cell, NULL);
    }
}

static void deque_thief(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    uint32_t latest = 0; /* the oldest item is taken each time, so numbers rise */
    start_line(arena);
    while (!is_over(arena)) {
        bool is_lost = false;
        struct cell *cell = bnx_deque_steal(&arena->deque, &is_lost);
        if (cell != NULL) {
            take(actor, cell, &latest);
        } else if (!is_lost) {
            bnx_os.thread_yield();
        }
    }
}

static void deque_run(void) {
    static struct arena arena;
    /* Near the end of the indices and the smallest array: the first burst wraps and grows. */
    CHECK_EQ(bnx_deque_init(&arena.deque, 2, UINT64_MAX - 3), 0);
    run(&arena, (uint32_t)bnx_test_scale(3000000), deque_owner, deque_thief, THIEVES);
    CHECK(bnx_deque_is_empty_seq_cst(&arena.deque));
    bnx_deque_fini(&arena.deque);
}

/* Owner and three thieves, the owner's side light where membarrier is there: each item is taken
 * once, by thieves in push order, by the owner newest first. */
TEST(deque_each_once, "deque.each_once") {
    bnx_os_init();
    deque_run();
}

static int membarrier_missing(int command) {
    (void)command;
    return -ENOSYS;
}

/* The same on a kernel without membarrier. */
TEST(deque_each_once_seq_cst, "deque.each_once_without_membarrier") {
    bnx_os.membarrier = membarrier_missing;
    bnx_os_init();
    deque_run();
}

/* ---- the run queue ---- */

static void runq_owner(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    struct bnx_runq *runq = &arena->runqs[0];
    struct bnx_rng rng;
    bnx_rng_init(&rng, arena->seed, 0);
    start_line(arena);
    uint32_t made = 0;
    uint32_t latest = 0; /* the owner, too, takes the oldest each time */
    while (made < arena->cell_count) {
        for (uint32_t n = burst_length(&rng); n > 0 && made < arena->cell_count; n--) {
            struct cell *cell = cell_make(arena, made, 0);
            made++;
            if (bnx_runq_push(runq, cell)) {
                continue;
            }
            void *out[BNX_RUNQ_CAPACITY / 2];
            uint32_t count = bnx_runq_overflow(runq, out, BNX_RUNQ_CAPACITY / 2);
            for (uint32_t i = 0; i < count; i++) {
                take(actor, out[i], &latest);
            }
            if (count == 0 || !bnx_runq_push(runq, cell)) {
                take(actor, cell, NULL); /* goes past the queue, so it is out of order */
            }
        }
        pause_a_while(&rng);
        for (uint32_t n = burst_length(&rng); n > 0; n--) {
            struct cell *cell = bnx_runq_pop(runq);
            if (cell == NULL) {
                break;
            }
            take(actor, cell, &latest);
        }
        CHECK(bnx_runq_check(runq));
    }
    struct cell *cell;
    while ((cell = bnx_runq_pop(runq)) != NULL) { /* ends: nothing is pushed any more */
        take(actor, cell, &latest);
    }
}

/* Thief 1 steals from the owner alone, so its items are in push order; the others also steal from
 * thieves, 1 included. */
static void runq_thief(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    struct bnx_runq *mine = &arena->runqs[actor->index];
    struct bnx_rng rng;
    bnx_rng_init(&rng, arena->seed, actor->index);
    uint32_t risen = 0;
    uint32_t *latest = actor->index == 1 ? &risen : NULL;
    start_line(arena);
    while (!is_over(arena)) {
        uint32_t from = actor->index == 1 ? 0 : bnx_rng_below(&rng, 1 + THIEVES);
        if (from == actor->index) {
            continue;
        }
        uint32_t count = 0;
        struct cell *cell = bnx_runq_steal(&arena->runqs[from], mine, &count);
        CHECK((cell == NULL) == (count == 0));
        if (cell == NULL) {
            bnx_os.thread_yield();
        }
        pause_a_while(&rng);   /* so that the loot can be stolen in turn */
        while (cell != NULL) { /* ends: the queue is bounded, and nobody else adds to it */
            take(actor, cell, latest);
            cell = bnx_runq_pop(mine);
        }
        CHECK(bnx_runq_check(mine));
    }
}

/* Owner and three thieves, who rob each other as well: each item is taken once, in order. */
TEST(runq_each_once, "runq.each_once") {
    static struct arena arena;
    for (uint32_t i = 0; i <= THIEVES; i++) {
        bnx_runq_init(&arena.runqs[i], UINT32_MAX - 3);
    }
    run(&arena, (uint32_t)bnx_test_scale(3000000), runq_owner, runq_thief, THIEVES);
    for (uint32_t i = 0; i <= THIEVES; i++) {
        CHECK(bnx_runq_is_empty_seq_cst(&arena.runqs[i]));
    }
}

/* ---- the inbox queue ---- */

/* Producer i pushes the cells with index % PRODUCERS == i - 1, and wakes a parked consumer. */
static void inbox_producer(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    struct bnx_rng rng;
    bnx_rng_init(&rng, arena->seed, actor->index);
    start_line(arena);
    for (uint32_t i = actor->index - 1; i < arena->cell_count; i += PRODUCERS) {
        bnx_mpscq_push(&arena->inbox, &cell_make(arena, i, actor->index - 1)->node);
        if (bnx_load_seq_cst(&arena->parked) != 0) {
            bnx_store_seq_cst(&arena->parked, 0u);
            CHECK(bnx_os.futex_wake(&arena->parked, 1) >= 0);
        }
        /* Pauses let the consumer run dry and park. */
        pause_a_while(&rng);
    }
}

static void inbox_consumer(void *arg) {
    struct actor *actor = arg;
    struct arena *arena = actor->arena;
    uint32_t latest[PRODUCERS] = {0};
    start_line(arena);
    while (!is_over(arena)) {
        struct bnx_mpscq_node *node = bnx_mpscq_pop(&arena->inbox);
        if (node != NULL) {
            struct cell *cell = BNX_CONTAINER_OF(node, struct cell, node);
            uint32_t producer = cell->producer;
            CHECK(producer < PRODUCERS);
            /* Nobody touches a popped node: filling it would break a late link. */
            node->next = node;
            take(actor, cell, &latest[producer]);
            continue;
        }
        bnx_store_seq_cst(&arena->parked, 1u);
        if (bnx_mpscq_is_empty_seq_cst(&arena->inbox)) {
            int result = bnx_os.futex_wait(&arena->parked, 1, BNX_NEVER_NS);
            CHECK(result == 0 || result == -EAGAIN || result == -EINTR);
        } else {
            bnx_os.thread_yield(); /* a producer is between its steps, and may need this CPU */
        }
        bnx_store_relaxed(&arena->parked, 0u);
    }
    CHECK(bnx_mpscq_pop(&arena->inbox) == NULL);
    CHECK(bnx_mpscq_is_empty_seq_cst(&arena->inbox));
}

/* Three producers and a consumer that parks whenever it finds nothing: each node arrives once, each
 * producer's in order, and no push is slept over (that would hang). */
TEST(mpscq_each_once, "mpscq.each_once") {
    static struct arena arena;
    bnx_mpscq_init(&arena.inbox);
    run(&arena, (uint32_t)bnx_test_scale(1000000), inbox_consumer, inbox_producer, PRODUCERS);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
