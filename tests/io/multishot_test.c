/* SPDX-License-Identifier: MIT */
/*
 * Tests that wakes and the poller's events still come when the completion queue has overflowed.
 *
 * The kernel ends a multishot poll whose completion finds no room, and says so by a flag alone. The
 * driver has two: on its wake and on the worker's poller.
 */
#include "tests/io/fixture.h"

#include "io/driver.h"

#define QUEUE_ENTRIES 16u
#define FLOOD 64 /* receives that complete at once, four times what the queue holds */

static struct { int (*setup)(unsigned entries, void *params); } real;

/* Queues of 16: of io_uring_params the first words are the lengths of the two. */
static int setup_tiny(unsigned entries, void *params) {
    uint32_t *lengths = params;
    if (entries > QUEUE_ENTRIES) {
        return -ENOMEM;
    }
    lengths[1] = QUEUE_ENTRIES;
    return real.setup(entries, params);
}

struct flood {
    int pairs[FLOOD][2];
    uint64_t received;
    int watched[2]; /* a pair that the poller watches */
    struct bnx_poller *poller;
    uint64_t seen; /* events of the poller */
    struct bnx_event event;
    uint32_t rings; /* how often the thread shall set the event */
    struct bnx_task *sleeper;
};

static int receive(void *arg) {
    struct flood *flood = arg;
    char byte;
    size_t index = (size_t)bnx_fetch_add_acq_rel(&flood->received, 1);
    CHECK_EQ(bnx_recv(flood->pairs[index][0], &byte, 1, 0), 1);
    bnx_fetch_add_acq_rel(&flood->received, 1);
    return 0;
}

static int watch(void *arg) {
    struct flood *flood = arg;
    char byte;
    struct bnx_poller *held = NULL;
    CHECK(bnx_poller_wait(flood->poller, flood->watched[0], POLLIN, BNX_WAIT_FD, &held) > 0);
    bnx_poller_let_go(&held, flood->watched[0]);
    CHECK_EQ(bnx_os.recv(flood->watched[0], &byte, 1, 0), 1);
    bnx_fetch_add_acq_rel(&flood->seen, 1);
    return 0;
}

/* Sixty-four receives complete in one go, and after `before` of them the wake and an event of the
 * poller come. */
static void flood_once(struct flood *flood, size_t before) {
    struct bnx_driver *driver = bnx_driver_current();
    struct bnx_scope scope;
    struct bnx_task *watcher;
    flood->received = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < FLOOD; i++) {
        CHECK_EQ(bnx_spawn(&scope, receive, flood), 0);
    }
    CHECK_EQ(bnx_spawn_with(&scope, NULL, watch, flood, &watcher), 0);
    sched_await_count(&flood->received, FLOOD);
    io_await_wait(watcher, BNX_WAIT_FD);
    io_round_trip();
    for (size_t i = 0; i < FLOOD; i++) {
        if (i == before) {
            driver->ops->wake(driver);
            CHECK_EQ(bnx_os.send(flood->watched[1], "x", 1, 0), 1);
        }
        CHECK_EQ(bnx_os.send(flood->pairs[i][1], "x", 1, 0), 1);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(flood->received, 2 * FLOOD);
}

static void set_from_thread(void *arg) {
    struct flood *flood = arg;
    for (uint32_t count = 1; count <= FLOOD; count++) {
        sched_wait_post(&flood->rings, count);
        while (bnx_task_state(flood->sleeper) != BNX_TASK_PARKED) { /* ends: it comes to that */
            bnx_os.thread_yield();
        }
        bnx_event_set(&flood->event);
    }
}

/* The only worker has nothing to do but to sleep: the thread's set has to wake it. */
static void sleep_until_set(struct flood *flood) {
    sched_post(&flood->rings);
    CHECK_EQ(bnx_event_wait(&flood->event), 0);
    bnx_event_clear(&flood->event);
}

static int flood_and_wake(void *arg) {
    (void)arg;
    static struct flood flood;
    struct bnx_os_thread thread;
    flood.poller = &bnx_io_driver_of(bnx_driver_current())->poller;
    flood.sleeper = bnx_task_self();
    CHECK_EQ(bnx_poller_open(flood.poller), 0);
    io_unix_pair(flood.watched);
    for (size_t i = 0; i < FLOOD; i++) {
        io_unix_pair(flood.pairs[i]);
    }
    sched_thread_start(&thread, set_from_thread, &flood);
    for (size_t before = 0; before < FLOOD; before++) {
        flood_once(&flood, before);
        sleep_until_set(&flood);
    }
    CHECK_EQ(flood.seen, FLOOD);
    sched_thread_join(&thread);
    for (size_t i = 0; i < FLOOD; i++) {
        io_close_pair(flood.pairs[i]);
    }
    io_close_pair(flood.watched);
    return 0;
}

/* A completion queue of 16 is flooded, with the wake and the poller's event at each place of the
 * flood: every receive completes, every event is seen, and the next wake wakes. */
TEST(multishot, "io.multishot_rearms") {
    io_needs_ring();
    real.setup = bnx_os.uring_setup;
    bnx_os.uring_setup = setup_tiny;
    struct bnx_options options = {.worker_count = 1, .seed = 1, .spin_ns = BNX_SPIN_NEVER};
    CHECK_EQ(bnx_run(&options, flood_and_wake, NULL), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
