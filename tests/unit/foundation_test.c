/* SPDX-License-Identifier: MIT */
/* The foundation's small parts: random source, clock arithmetic, spin lock, intrusive lists. */
#include "runtime/clock.h"
#include "runtime/list.h"
#include "runtime/lock.h"
#include "runtime/rng.h"
#include "tests/support/test.h"

#include <pthread.h>

/* One seed and stream give one sequence: the first draws are compared word by word. */
TEST(rng_replays, "foundation.rng_replays") {
    uint64_t seed = bnx_test_seed();
    struct bnx_rng first, second;
    bnx_rng_init(&first, seed, 7);
    bnx_rng_init(&second, seed, 7);
    for (int draw = 0; draw < 1000; draw++) {
        CHECK_EQ(bnx_rng_next(&first), bnx_rng_next(&second));
    }
}

/* Streams of one seed share no draw: 64 bits collide in 2000 draws with a chance below 2^-42. */
TEST(rng_streams_differ, "foundation.rng_streams_differ") {
    enum { DRAWS = 1000 };
    uint64_t seed = bnx_test_seed();
    struct bnx_rng first, second;
    bnx_rng_init(&first, seed, 0);
    bnx_rng_init(&second, seed, 1);
    uint64_t drawn[DRAWS];
    for (int draw = 0; draw < DRAWS; draw++) {
        drawn[draw] = bnx_rng_next(&first);
    }
    for (int draw = 0; draw < DRAWS; draw++) {
        uint64_t other = bnx_rng_next(&second);
        for (int before = 0; before < DRAWS; before++) {
            CHECK(drawn[before] != other);
        }
    }
}

/* Every bound is exclusive, the smallest and the largest included. */
TEST(rng_below_stays_below, "foundation.rng_below_stays_below") {
    static const uint32_t bounds[] = {1, 2, 3, 7, 64, 1000003, UINT32_MAX};
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 0);
    for (size_t at = 0; at < BNX_ARRAY_COUNT(bounds); at++) {
        for (int draw = 0; draw < 10000; draw++) {
            CHECK(bnx_rng_below(&rng, bounds[at]) < bounds[at]);
        }
    }
}

/* 160,000 draws over 16 values: each count lies within ten standard deviations (97) of its mean. */
TEST(rng_below_is_even, "foundation.rng_below_is_even") {
    enum { VALUES = 16, MEAN = 10000, SLACK = 970 };
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 3);
    int counts[VALUES] = {0};
    for (int draw = 0; draw < VALUES * MEAN; draw++) {
        counts[bnx_rng_below(&rng, VALUES)]++;
    }
    for (int value = 0; value < VALUES; value++) {
        CHECK(counts[value] > MEAN - SLACK && counts[value] < MEAN + SLACK);
    }
}

/* "For ever" stays for ever, and a sum that would wrap becomes it. */
TEST(clock_saturates, "foundation.clock_saturates") {
    CHECK(bnx_clock_after(0, 0) == 0);
    CHECK(bnx_clock_after(5, 7) == 12);
    CHECK(bnx_clock_after(1, BNX_NEVER_NS) == BNX_NEVER_NS);
    CHECK(bnx_clock_after(BNX_NEVER_NS, 1) == BNX_NEVER_NS);
    CHECK(bnx_clock_after(BNX_NEVER_NS, BNX_NEVER_NS) == BNX_NEVER_NS);
    CHECK(bnx_clock_after(BNX_NEVER_NS - 1, 1) == BNX_NEVER_NS);
    CHECK(bnx_clock_after(BNX_NEVER_NS - 2, 1) == BNX_NEVER_NS - 1);
}

/* Consecutive reads never go back. */
TEST(clock_is_monotonic, "foundation.clock_is_monotonic") {
    uint64_t before_ns = bnx_clock_now();
    CHECK(before_ns > 0);
    for (int read = 0; read < 10000; read++) {
        uint64_t now_ns = bnx_clock_now();
        CHECK(now_ns >= before_ns);
        before_ns = now_ns;
    }
}

enum { LOCK_THREADS = 4 };

struct lock_shared {
    struct bnx_lock lock;
    uint64_t rounds;
    uint64_t sum;    /* under the lock; plain, so that a broken lock loses updates */
    uint64_t mirror; /* under the lock; always equals sum there */
};

static void *lock_main(void *arg) {
    struct lock_shared *shared = arg;
    for (uint64_t round = 0; round < shared->rounds; round++) {
        bnx_lock_acquire(&shared->lock);
        CHECK_EQ(shared->sum, shared->mirror);
        shared->sum++;
        shared->mirror++;
        bnx_lock_release(&shared->lock);
    }
    return NULL;
}

/* Four threads count in plain words under the lock: no update is lost, no half state is seen. */
TEST(lock_excludes, "foundation.lock_excludes") {
    struct lock_shared shared = {.rounds = bnx_test_scale(200000)};
    bnx_lock_init(&shared.lock);
    pthread_t threads[LOCK_THREADS];
    for (int at = 0; at < LOCK_THREADS; at++) {
        CHECK_EQ(pthread_create(&threads[at], NULL, lock_main, &shared), 0);
    }
    for (int at = 0; at < LOCK_THREADS; at++) {
        CHECK_EQ(pthread_join(threads[at], NULL), 0);
    }
    CHECK_EQ(shared.sum, shared.rounds * LOCK_THREADS);
}

/* A held lock refuses a second taker, a released one does not. */
TEST(lock_try_fails_when_held, "foundation.lock_try_fails_when_held") {
    struct bnx_lock lock;
    bnx_lock_init(&lock);
    CHECK(bnx_lock_try(&lock));
    CHECK(!bnx_lock_try(&lock));
    bnx_lock_release(&lock);
    CHECK(bnx_lock_try(&lock));
    bnx_lock_release(&lock);
}

struct item {
    int value;
    CK_LIST_ENTRY(item) list;
    CK_STAILQ_ENTRY(item) stailq;
    CK_SLIST_ENTRY(item) slist;
};

CK_LIST_HEAD(item_list, item);
CK_STAILQ_HEAD(item_stailq, item);
CK_SLIST_HEAD(item_slist, item);

static void check_list(struct item_list *list, const int *expected, int count) {
    int at = 0;
    struct item *item = NULL;
    CK_LIST_FOREACH(item, list, list) {
        CHECK(at < count);
        CHECK_EQ(item->value, expected[at]);
        at++;
    }
    CHECK_EQ(at, count);
}

/* First, middle and last leave a doubly linked list, and the others keep their order. */
TEST(ck_list_removes_anywhere, "foundation.ck_list_removes_anywhere") {
    struct item items[5];
    struct item_list list = CK_LIST_HEAD_INITIALIZER(list);
    for (int at = 4; at >= 0; at--) {
        items[at].value = at;
        CK_LIST_INSERT_HEAD(&list, &items[at], list);
    }
    check_list(&list, (const int[]){0, 1, 2, 3, 4}, 5);
    CK_LIST_REMOVE(&items[0], list);
    CK_LIST_REMOVE(&items[2], list);
    CK_LIST_REMOVE(&items[4], list);
    check_list(&list, (const int[]){1, 3}, 2);
    CK_LIST_INSERT_BEFORE(&items[3], &items[2], list);
    check_list(&list, (const int[]){1, 2, 3}, 3);
    CK_LIST_REMOVE(&items[1], list);
    CK_LIST_REMOVE(&items[3], list);
    CK_LIST_REMOVE(&items[2], list);
    CHECK(CK_LIST_EMPTY(&list));
}

/* Appends come out first in, first out, and a concatenated queue follows and is left empty. */
TEST(ck_stailq_is_fifo, "foundation.ck_stailq_is_fifo") {
    struct item items[6];
    struct item_stailq first = CK_STAILQ_HEAD_INITIALIZER(first);
    struct item_stailq second = CK_STAILQ_HEAD_INITIALIZER(second);
    for (int at = 0; at < 6; at++) {
        items[at].value = at;
        CK_STAILQ_INSERT_TAIL(at < 3 ? &first : &second, &items[at], stailq);
    }
    CK_STAILQ_CONCAT(&first, &second);
    CHECK(CK_STAILQ_EMPTY(&second));
    for (int at = 0; at < 6; at++) {
        struct item *item = CK_STAILQ_FIRST(&first);
        CHECK(item == &items[at]);
        CK_STAILQ_REMOVE_HEAD(&first, stailq);
    }
    CHECK(CK_STAILQ_EMPTY(&first));
    /* The tail pointer is whole again after the last element left. */
    CK_STAILQ_INSERT_TAIL(&first, &items[5], stailq);
    CHECK(CK_STAILQ_FIRST(&first) == &items[5]);
}

/* Pushes come out last in, first out. */
TEST(ck_slist_is_lifo, "foundation.ck_slist_is_lifo") {
    struct item items[3];
    struct item_slist pool = CK_SLIST_HEAD_INITIALIZER(pool);
    for (int at = 0; at < 3; at++) {
        items[at].value = at;
        CK_SLIST_INSERT_HEAD(&pool, &items[at], slist);
    }
    for (int at = 2; at >= 0; at--) {
        CHECK(CK_SLIST_FIRST(&pool) == &items[at]);
        CK_SLIST_REMOVE_HEAD(&pool, slist);
    }
    CHECK(CK_SLIST_EMPTY(&pool));
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
