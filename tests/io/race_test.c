/* SPDX-License-Identifier: MIT */
/* Tests cancels and deadlines that race completions: whose the buffers are, and what is lost. */
#include "tests/io/fixture.h"

#include "runtime/lock.h"

#define TASKS 16
#define FRAME_BYTES 4096 /* the callee's frames lie within so much below the caller's */
#define PATTERN 0xa5

enum what { DO_RECV, DO_READ, DO_ACCEPT, DO_SEND, DO_WRITE, DO_CONNECT, DO_COUNT };

/* One task's descriptors, and what a canceller needs of it. */
struct racer {
    struct race *race;
    struct bnx_rng rng;
    int pair[2];
    int pipe[2];
    int listener;
    struct bnx_address address;
    struct bnx_lock lock;    /* guards scope */
    struct bnx_scope *scope; /* open now, or NULL */
};

struct race {
    struct racer racers[TASKS];
    uint64_t seed;
    uint64_t rounds; /* of each racer */
    uint64_t done;   /* racers that have ended */
};

/* ---- Who disturbs ---- */

static void cancel_one(struct racer *racer) {
    bnx_lock_acquire(&racer->lock);
    if (racer->scope != NULL) {
        bnx_scope_cancel(racer->scope, 0);
    }
    bnx_lock_release(&racer->lock);
}

/* Feeds and drains what the racers wait for, and cancels them, from no worker. */
static void disturb(void *arg) {
    struct race *race = arg;
    struct bnx_rng rng;
    char data[8192];
    memset(data, 0x11, sizeof(data));
    bnx_rng_init(&rng, race->seed, 1000);
    while (bnx_load_acquire(&race->done) < TASKS) {
        struct racer *racer = &race->racers[bnx_rng_below(&rng, TASKS)];
        size_t bytes = 1 + bnx_rng_below(&rng, sizeof(data));
        struct bnx_address from;
        socklen_t from_bytes = sizeof(from.storage);
        switch (bnx_rng_below(&rng, 8)) {
        case 0:
            (void)send(racer->pair[1], data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
            break;
        case 1:
            (void)recv(racer->pair[1], data, bytes, MSG_DONTWAIT);
            break;
        case 2:
            (void)!write(racer->race->racers[bnx_rng_below(&rng, TASKS)].pipe[1], data, bytes);
            break;
        case 3:
            (void)!read(racer->pipe[0], data, bytes);
            break;
        case 4: {
            int fd = accept4(racer->listener, (void *)&from.storage, &from_bytes,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                CHECK_EQ(close(fd), 0);
            }
            break;
        }
        case 5: {
            int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            CHECK(fd >= 0);
            (void)connect(fd, (void *)&racer->address.storage, racer->address.bytes);
            CHECK_EQ(close(fd), 0);
            break;
        }
        default:
            cancel_one(racer);
        }
    }
}

/* ---- Who races ---- */

/* One operation whose buffer lies in a frame that is gone afterwards. */
static BNX_NOINLINE ssize_t operate(struct racer *racer, enum what what) {
    char buffer[2048];
    memset(buffer, 0x22, sizeof(buffer));
    struct bnx_address peer;
    ssize_t got = 0;
    switch (what) {
    case DO_RECV:
        return bnx_recv(racer->pair[0], buffer, sizeof(buffer), 0);
    case DO_READ:
        return bnx_read(racer->pipe[0], buffer, sizeof(buffer));
    case DO_SEND:
        return bnx_send(racer->pair[0], buffer, sizeof(buffer), 0);
    case DO_WRITE:
        return bnx_write(racer->pipe[1], buffer, sizeof(buffer));
    case DO_ACCEPT:
        got = bnx_accept(racer->listener, &peer);
        break;
    case DO_CONNECT:
        peer = racer->address;
        got = bnx_connect_to(&peer);
        break;
    case DO_COUNT:
        break;
    }
    if (got >= 0) {
        CHECK_EQ(bnx_close((int)got), 0);
        return 0;
    }
    return got;
}

/* The same piece of the stack with a pattern on it: nobody writes there any more. */
static BNX_NOINLINE void watch_frame(struct racer *racer) {
    volatile unsigned char area[FRAME_BYTES];
    for (size_t i = 0; i < sizeof(area); i++) {
        area[i] = PATTERN;
    }
    for (uint32_t turns = bnx_rng_below(&racer->rng, 4); turns > 0; turns--) {
        bnx_yield();
    }
    for (size_t i = 0; i < sizeof(area); i++) {
        CHECK_EQ(area[i], PATTERN);
    }
}

static void set_scope(struct racer *racer, struct bnx_scope *scope) {
    bnx_lock_acquire(&racer->lock);
    racer->scope = scope;
    bnx_lock_release(&racer->lock);
}

static int run_racer(void *arg) {
    struct racer *racer = arg;
    for (uint64_t round = 0; round < racer->race->rounds; round++) {
        struct bnx_scope scope;
        uint64_t wait_ns = bnx_rng_below(&racer->rng, 400000);
        struct bnx_scope_options options = {.deadline_ns = bnx_now() + wait_ns};
        CHECK_EQ(bnx_scope_open(&scope, &options), 0);
        set_scope(racer, &scope);
        for (int i = 0; i < 3; i++) {
            enum what what = bnx_rng_below(&racer->rng, DO_COUNT);
            ssize_t got = operate(racer, what);
            if (got < 0 && got != -ECANCELED && got != -ETIMEDOUT) {
                bnx_test_fail(__FILE__, __LINE__, "operation %d: %zd", (int)what, got);
            }
            watch_frame(racer);
        }
        if (bnx_rng_below(&racer->rng, 4) == 0) { /* also from a worker */
            cancel_one(&racer->race->racers[bnx_rng_below(&racer->rng, TASKS)]);
        }
        set_scope(racer, NULL);
        (void)bnx_scope_close(&scope);
    }
    bnx_fetch_add_acq_rel(&racer->race->done, 1);
    return 0;
}

static void racer_open(struct racer *racer, struct race *race, uint64_t index) {
    *racer = (struct racer){.race = race};
    bnx_rng_init(&racer->rng, race->seed, index);
    bnx_lock_init(&racer->lock);
    io_unix_pair(racer->pair);
    CHECK_EQ(pipe2(racer->pipe, O_CLOEXEC | O_NONBLOCK), 0); /* the disturber must not wait */
    char name[64];
    (void)snprintf(name, sizeof(name), "unix:@bonxie-race-%d-%d", getpid(), (int)index);
    racer->listener = bnx_listen(name, NULL);
    CHECK(racer->listener >= 0);
    CHECK_EQ(bnx_address_parse(name, &racer->address), 0);
}

static int run_race(void *arg) {
    struct race *race = arg;
    struct bnx_os_thread thread;
    struct bnx_scope scope;
    race->done = 0;
    for (uint64_t i = 0; i < TASKS; i++) {
        racer_open(&race->racers[i], race, i);
    }
    sched_thread_start(&thread, disturb, race);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < TASKS; i++) {
        CHECK_EQ(bnx_spawn(&scope, run_racer, &race->racers[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    sched_thread_join(&thread);
    for (uint64_t i = 0; i < TASKS; i++) {
        struct racer *racer = &race->racers[i];
        io_close_pair(racer->pair);
        io_close_pair(racer->pipe);
        CHECK_EQ(close(racer->listener), 0);
    }
    return 0;
}

/* Operations of every kind with their buffers on the task's stack are cancelled from other workers,
 * from a foreign thread and by deadlines while their data comes: once the call has returned, nobody
 * writes to that stack. */
TEST(cancel_owns_buffer, "io.cancel_owns_buffer") {
    static struct race race;
    race.seed = bnx_test_seed();
    race.rounds = bnx_test_scale(20000) + 20; /* a million operations */
    int before = io_fd_count();
    sched_run(2, run_race, &race);
    race.rounds /= 4; /* without other workers there are fewer ways to meet */
    sched_run(1, run_race, &race);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- What is lost: nothing ---- */

struct census {
    int listener;
    struct bnx_address address;
    int pair[2];
    uint64_t rounds;
    uint64_t connected;
    uint64_t accepted;
    uint64_t sent;
    uint64_t received;
    uint64_t cancelled; /* calls that a cancel ended */
    struct bnx_scope *scope;
    uint64_t seed;
};

static int race_accept(void *arg) {
    struct census *census = arg;
    int fd = bnx_accept(census->listener, NULL);
    CHECK(fd >= 0 || fd == -ECANCELED);
    if (fd >= 0) {
        bnx_fetch_add_relaxed(&census->accepted, 1);
        CHECK_EQ(bnx_close(fd), 0);
    } else {
        bnx_fetch_add_relaxed(&census->cancelled, 1);
    }
    return 0;
}

static int race_recv(void *arg) {
    struct census *census = arg;
    char byte = 0;
    ssize_t got = bnx_recv(census->pair[0], &byte, 1, 0);
    CHECK(got == 1 || got == -ECANCELED);
    if (got == 1) {
        CHECK_EQ((unsigned char)byte, census->received % 251);
        census->received++;
    } else {
        bnx_fetch_add_relaxed(&census->cancelled, 1);
    }
    return 0;
}

static void census_round(struct census *census, struct bnx_rng *rng) {
    struct bnx_scope scope;
    struct bnx_task *accepter, *receiver;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, race_accept, census, &accepter), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, race_recv, census, &receiver), 0);
    io_await_wait(accepter, BNX_WAIT_ACCEPT);
    io_await_wait(receiver, BNX_WAIT_RECV);
    int turns = (int)bnx_rng_below(rng, 4);
    bool is_cancelled_first = bnx_rng_below(rng, 2) != 0;
    if (is_cancelled_first) {
        bnx_scope_cancel(&scope, 0);
        for (int i = 0; i < turns; i++) {
            bnx_pause();
        }
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (void *)&census->address.storage, census->address.bytes), 0);
    CHECK_EQ(close(fd), 0);
    census->connected++;
    char byte = (char)(census->sent % 251);
    CHECK_EQ(send(census->pair[1], &byte, 1, 0), 1);
    census->sent++;
    if (!is_cancelled_first) {
        for (int i = 0; i < turns; i++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
    }
    (void)bnx_scope_close(&scope);
}

/* Takes what the cancelled ones have left there. */
static void census_drain(struct census *census) {
    int fd;
    char byte;
    while ((fd = accept4(census->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        census->accepted++;
        CHECK_EQ(close(fd), 0);
    }
    while (recv(census->pair[0], &byte, 1, MSG_DONTWAIT) == 1) {
        CHECK_EQ((unsigned char)byte, census->received % 251);
        census->received++;
    }
}

static int run_census(void *arg) {
    struct census *census = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, census->seed, 0);
    for (uint64_t i = 0; i < census->rounds; i++) {
        census_round(census, &rng);
        census_drain(census);
    }
    return 0;
}

/* A cancel races accept and recv: each connection is accepted once or still waits, each byte comes
 * once and in order, no descriptor is left over. */
TEST(success_beats_cancel, "io.success_beats_cancel") {
    struct census census = {.rounds = bnx_test_scale(20000), .seed = bnx_test_seed()};
    int before = io_fd_count();
    io_unix_pair(census.pair);
    char name[64];
    (void)snprintf(name, sizeof(name), "unix:@bonxie-census-%d", getpid());
    census.listener = bnx_listen(name, NULL);
    CHECK(census.listener >= 0);
    CHECK_EQ(bnx_address_parse(name, &census.address), 0);
    sched_run(1, run_census, &census);
    sched_run(2, run_census, &census);
    CHECK_EQ(census.accepted, census.connected);
    CHECK_EQ(census.received, census.sent);
    CHECK(census.cancelled > 0 || census.rounds < 1000); /* few rounds may all be won */
    io_close_pair(census.pair);
    CHECK_EQ(close(census.listener), 0);
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
