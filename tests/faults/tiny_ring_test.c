/* SPDX-License-Identifier: MIT */
/*
 * Tests that queues that are far too small lose nothing: on io_uring two submissions and sixteen
 * completions, on epoll one event a call.
 *
 * Method: the os table makes each ring so small, and each epoll_wait so poor. Then hundreds of
 * tasks of all sorts run at once: connections, streams, files, timers, deadlines, cancels, waits
 * for readiness, and floods of completions that the queue cannot hold. Each byte is accounted for,
 * and each operation ends.
 */
#include "tests/io/temp.h"

#include <bonxie/ready.h>

#include <liburing.h>

#define SUBMISSIONS 2
#define COMPLETIONS 16

static struct bnx_os real;
static uint32_t ring_count;

static int setup_tiny(unsigned entries, void *params) {
    struct io_uring_params *asked = params;
    (void)entries;
    asked->cq_entries = COMPLETIONS;
    int fd = real.uring_setup(SUBMISSIONS, params);
    if (fd >= 0) {
        CHECK_EQ(asked->sq_entries, SUBMISSIONS);
        CHECK_EQ(asked->cq_entries, COMPLETIONS);
        (void)bnx_fetch_add_acq_rel(&ring_count, 1);
    }
    return fd;
}

/* Who watches an epoll instance by a ring is told of new events alone, so he gets all there are. */
static int wait_for_one(int epoll_fd, struct epoll_event *out_events, int max, uint64_t deadline) {
    int room = bnx_load_acquire(&ring_count) == 0 ? 1 : max;
    return real.epoll_wait(epoll_fd, out_events, room, deadline);
}

static void install(void) {
    real = bnx_os;
    bnx_os.uring_setup = setup_tiny;
    bnx_os.epoll_wait = wait_for_one;
}

/* ---- The crowd ---- */

#define OF_EACH 40 /* tasks, or pairs of them, of each sort */
#define STREAM_BYTES 20000
#define CHUNK_BYTES 700
#define FILE_BYTES 5000
#define ROUNDS 10
#define FLOOD 64 /* completions at once: four times what fits */

struct crowd {
    struct bnx_rng rng; /* of the seeds; the first task */
    struct temp temp;
    int listener;
    struct bnx_address address;
    uint64_t begun;    /* parts of the work */
    uint64_t ended;    /* the same */
    uint64_t sent;     /* bytes */
    uint64_t received; /* the same */
    uint64_t rounds;
};

struct part {
    struct crowd *crowd;
    uint64_t seed;
    int fds[2];
    uint64_t hash; /* of what went through */
};

static void part_begin(struct part *part, struct bnx_rng *rng) {
    bnx_rng_init(rng, part->seed, 0);
    (void)bnx_fetch_add_acq_rel(&part->crowd->begun, 1);
}

static int part_end(struct part *part) {
    (void)bnx_fetch_add_acq_rel(&part->crowd->ended, 1);
    return 0;
}

/* Sends the bytes of the seed in pieces of random length. */
static void send_stream(struct part *part, int fd, struct bnx_rng *rng) {
    char data[CHUNK_BYTES];
    part->hash = IO_HASH_START;
    for (size_t done = 0; done < STREAM_BYTES;) {
        size_t bytes = 1 + bnx_rng_below(rng, CHUNK_BYTES);
        bytes = bytes < STREAM_BYTES - done ? bytes : STREAM_BYTES - done;
        io_fill(data, bytes, rng);
        CHECK_EQ(bnx_send_all(fd, data, bytes), bytes);
        part->hash = io_hash(part->hash, data, bytes);
        done += bytes;
    }
    (void)bnx_fetch_add_acq_rel(&part->crowd->sent, STREAM_BYTES);
}

/* Receives until the end. Returns the hash. */
static uint64_t receive_stream(struct crowd *crowd, int fd) {
    char data[CHUNK_BYTES];
    uint64_t hash = IO_HASH_START;
    ssize_t got;
    while ((got = bnx_recv(fd, data, sizeof(data), 0)) > 0) { /* ends with the stream */
        hash = io_hash(hash, data, (size_t)got);
        (void)bnx_fetch_add_acq_rel(&crowd->received, (uint64_t)got);
    }
    CHECK_EQ(got, 0);
    return hash;
}

/* ---- Connections: what a client sends comes back as its hash ---- */

static int answer(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    part_begin(part, &rng);
    uint64_t hash = receive_stream(part->crowd, part->fds[0]);
    CHECK_EQ(bnx_send_all(part->fds[0], &hash, sizeof(hash)), sizeof(hash));
    CHECK_EQ(bnx_close(part->fds[0]), 0);
    return part_end(part);
}

static int accept_all(void *arg) {
    struct part *part = arg;
    struct bnx_scope scope;
    struct bnx_rng rng;
    part_begin(part, &rng);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < OF_EACH; i++) {
        struct part one = {.crowd = part->crowd};
        one.fds[0] = bnx_accept(part->crowd->listener, NULL);
        CHECK(one.fds[0] >= 0);
        CHECK_EQ(bnx_spawn_copy(&scope, answer, &one, sizeof(one)), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return part_end(part);
}

static int ask(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    uint64_t hash = 0;
    part_begin(part, &rng);
    int fd = bnx_connect_to(&part->crowd->address);
    CHECK(fd >= 0);
    send_stream(part, fd, &rng);
    CHECK_EQ(bnx_shutdown(fd, SHUT_WR), 0);
    CHECK_EQ(bnx_recv_exact(fd, &hash, sizeof(hash)), sizeof(hash));
    CHECK_EQ(hash, part->hash);
    CHECK_EQ(bnx_close(fd), 0);
    return part_end(part);
}

/* ---- Pairs ---- */

static int send_to_pair(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    part_begin(part, &rng);
    send_stream(part, part->fds[1], &rng);
    CHECK_EQ(bnx_shutdown(part->fds[1], SHUT_WR), 0);
    return part_end(part);
}

static int use_pair(void *arg) {
    struct part *part = arg;
    struct bnx_scope scope;
    struct bnx_rng rng;
    part_begin(part, &rng);
    io_unix_pair(part->fds);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, send_to_pair, part), 0);
    uint64_t hash = receive_stream(part->crowd, part->fds[0]);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(hash, part->hash);
    io_close_pair(part->fds);
    return part_end(part);
}

/* ---- Files ---- */

static int use_file(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    char wrote[FILE_BYTES], got[FILE_BYTES];
    part_begin(part, &rng);
    int fd = bnx_open(part->crowd->temp.path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    for (int round = 0; round < ROUNDS; round++) {
        io_fill(wrote, sizeof(wrote), &rng);
        CHECK_EQ(bnx_pwrite(fd, wrote, sizeof(wrote), 0), sizeof(wrote));
        CHECK_EQ(bnx_fsync(fd), 0);
        CHECK_EQ(bnx_pread(fd, got, sizeof(got), 0), sizeof(got));
        CHECK(memcmp(wrote, got, sizeof(got)) == 0);
    }
    CHECK_EQ(bnx_close(fd), 0);
    return part_end(part);
}

/* ---- Time, deadlines, cancels ---- */

static int receive_byte(void *arg) {
    struct part *part = arg;
    char byte;
    return (int)bnx_recv(part->fds[0], &byte, 1, 0);
}

static int use_time(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    part_begin(part, &rng);
    io_unix_pair(part->fds);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_EQ(bnx_sleep(bnx_rng_below(&rng, BNX_NS_PER_MS)), 0);
        uint64_t ns = 1 + bnx_rng_below(&rng, BNX_NS_PER_MS);
        CHECK_EQ(bnx_timeout(ns, receive_byte, part), -ETIMEDOUT);
    }
    io_close_pair(part->fds);
    return part_end(part);
}

/* A byte and a cancel come at the same time: either the byte has been received, or it is there. */
static int use_cancel(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    part_begin(part, &rng);
    io_unix_pair(part->fds);
    for (int round = 0; round < ROUNDS; round++) {
        struct bnx_scope scope;
        struct bnx_task *task;
        int result = 0;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_byte, part, &task), 0);
        for (uint32_t i = bnx_rng_below(&rng, 4); i > 0; i--) {
            bnx_yield();
        }
        bool has_byte = bnx_rng_below(&rng, 2) == 0;
        CHECK_EQ(has_byte ? write(part->fds[1], "x", 1) : 1, 1);
        bnx_cancel(task, 0);
        CHECK_EQ(bnx_join(task, &result), 0);
        (void)bnx_scope_close(&scope); /* the cancel's error, or none */
        CHECK(result == -ECANCELED || (result == 1 && has_byte));
        CHECK_EQ(has_byte && result != 1 ? receive_byte(part) : 1, 1);
    }
    io_close_pair(part->fds);
    return part_end(part);
}

/* ---- Readiness ---- */

static int use_ready(void *arg) {
    struct part *part = arg;
    struct bnx_rng rng;
    struct bnx_fd_event event;
    char byte;
    part_begin(part, &rng);
    io_unix_pair(part->fds);
    CHECK_EQ(bnx_fd_event_init(&event, part->fds[0], POLLIN), 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct bnx_waitable *waitable = &event.waitable;
        size_t index;
        CHECK_EQ(bnx_fd_wait(part->fds[1], POLLOUT), POLLOUT);
        CHECK_EQ(write(part->fds[1], "x", 1), 1);
        CHECK_EQ(round % 2 == 0 ? bnx_fd_wait(part->fds[0], POLLIN) : POLLIN, POLLIN);
        CHECK_EQ(bnx_wait(&waitable, 1, BNX_WAIT_ALL, &index), 0);
        CHECK_EQ(bnx_read(part->fds[0], &byte, 1), 1);
    }
    io_close_pair(part->fds);
    return part_end(part);
}

/* ---- Floods ---- */

struct flood {
    struct part *part;
    int pairs[FLOOD][2];
    uint64_t next;
};

static int receive_in_flood(void *arg) {
    struct flood *flood = arg;
    char byte;
    uint64_t index = bnx_fetch_add_acq_rel(&flood->next, 1);
    CHECK_EQ(bnx_recv(flood->pairs[index][0], &byte, 1, 0), 1);
    return 0;
}

static int use_flood(void *arg) {
    struct flood flood = {.part = arg};
    struct bnx_rng rng;
    part_begin(flood.part, &rng);
    for (int i = 0; i < FLOOD; i++) {
        io_unix_pair(flood.pairs[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct bnx_scope scope;
        bnx_store_release(&flood.next, 0);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < FLOOD; i++) {
            CHECK_EQ(bnx_spawn(&scope, receive_in_flood, &flood), 0);
        }
        sched_await_count(&flood.next, FLOOD);
        io_round_trip();
        for (int i = 0; i < FLOOD; i++) {
            CHECK_EQ(write(flood.pairs[i][1], "x", 1), 1);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    for (int i = 0; i < FLOOD; i++) {
        io_close_pair(flood.pairs[i]);
    }
    return part_end(flood.part);
}

/* ---- All at once ---- */

static int run_crowd(void *arg) {
    static const bnx_task_fn sorts[] = {ask, use_pair, use_file, use_time, use_cancel, use_ready};
    struct crowd *crowd = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < OF_EACH; i++) {
        for (size_t sort = 0; sort < BNX_ARRAY_COUNT(sorts); sort++) {
            struct part part = {.crowd = crowd, .seed = bnx_rng_next(&crowd->rng)};
            CHECK_EQ(bnx_spawn_copy(&scope, sorts[sort], &part, sizeof(part)), 0);
        }
    }
    struct part one = {.crowd = crowd, .seed = 1};
    CHECK_EQ(bnx_spawn_copy(&scope, accept_all, &one, sizeof(one)), 0);
    CHECK_EQ(bnx_spawn_copy(&scope, use_flood, &one, sizeof(one)), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(crowd->ended, crowd->begun);
    CHECK_EQ(crowd->begun, (uint64_t)OF_EACH * (BNX_ARRAY_COUNT(sorts) + 2) + 2);
    CHECK_EQ(crowd->sent, (uint64_t)2 * OF_EACH * STREAM_BYTES);
    CHECK_EQ(crowd->received, crowd->sent);
    return 0;
}

static void run_with(uint32_t workers, uint64_t seed) {
    struct crowd crowd;
    memset(&crowd, 0, sizeof(crowd));
    bnx_rng_init(&crowd.rng, seed, workers);
    int fds = io_fd_count();
    temp_open(&crowd.temp);
    crowd.listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(crowd.listener >= 0);
    CHECK_EQ(bnx_address_local(crowd.listener, &crowd.address), 0);
    sched_run(workers, run_crowd, &crowd);
    CHECK_EQ(close(crowd.listener), 0);
    temp_close(&crowd.temp);
    CHECK_EQ(io_fd_count(), fds);
}

/* Hundreds of tasks of all sorts on queues of two and sixteen, or one event a call: what was sent
 * is received, what was written is read, what was begun ends. */
TEST(tiny, "faults.tiny_queues_lose_nothing") {
    uint64_t seed = bnx_test_seed();
    install();
    for (uint64_t i = 0; i < bnx_test_scale(SCHED_WORKER_COUNTS); i++) {
        run_with(sched_worker_counts[(i + 1) % SCHED_WORKER_COUNTS], seed + i);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
