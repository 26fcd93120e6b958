/* SPDX-License-Identifier: MIT */
/*
 * Tests sleeping for several completions (bnx_options.min_wait_ns): no wake, timer or cancel waits.
 *
 * Method: the shortest sleep is longer than a test may take, and enough operations are in flight
 * that never complete: what had to wait for it would come too late for ctest.
 */
#include "io/ring.h"
#include "tests/io/fixture.h"

#define FOREVER_NS (3600 * BNX_NS_PER_S)
#define IDLE 32 /* operations on each worker, or nearly */

static const struct bnx_options patient = {.min_wait_ns = FOREVER_NS, .seed = 1};

static struct bnx_runtime *create(uint32_t worker_count, uint64_t min_wait_ns) {
    struct bnx_options options = patient;
    struct bnx_runtime *runtime = NULL;
    options.worker_count = worker_count;
    options.min_wait_ns = min_wait_ns;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    return runtime;
}

/* ---- Operations that never complete ---- */

struct idle {
    int pair[2];
    uint64_t count;
    uint64_t ended;
};

static int receive_nothing(void *arg) {
    struct idle *idle = arg;
    char byte;
    bnx_fetch_add_acq_rel(&idle->count, 1);
    CHECK_EQ(bnx_recv(idle->pair[0], &byte, 1, 0), -ECANCELED);
    bnx_fetch_add_acq_rel(&idle->ended, 1);
    return 0;
}

static int begin_idle(void *arg) {
    struct idle *idle = arg;
    uint32_t workers = sched_worker_count();
    for (uint32_t i = 0; i < IDLE * workers; i++) {
        struct bnx_spawn_options options = {.flags = BNX_SPAWN_PINNED, .worker = i % workers};
        struct bnx_task *task;
        CHECK_EQ(bnx_spawn_with(NULL, &options, receive_nothing, idle, &task), 0);
        bnx_task_detach(task);
    }
    sched_await_count(&idle->count, IDLE * (uint64_t)workers);
    return 0;
}

static struct bnx_runtime *create_with_idle(uint32_t worker_count, struct idle *idle) {
    struct bnx_runtime *runtime = create(worker_count, FOREVER_NS);
    memset(idle, 0, sizeof(*idle));
    io_unix_pair(idle->pair);
    CHECK_EQ(bnx_runtime_run(runtime, begin_idle, idle), 0);
    return runtime;
}

static void end_with_idle(struct bnx_runtime *runtime, const struct idle *idle) {
    sched_destroy(runtime);
    io_close_pair(idle->pair);
}

/* ---- What does not wait ---- */

static int say_seven(void *arg) {
    (void)arg;
    return 7;
}

static int hop(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t worker = (sched_worker_index() + 1) % sched_worker_count();
        struct bnx_spawn_options options = {.flags = BNX_SPAWN_PINNED, .worker = worker};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &options, say_seven, NULL, NULL), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 7;
}

/* A worker that sleeps so is woken by a thread, and by another worker. */
TEST(wake, "min_wait.wakes_are_prompt") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct idle idle;
        struct bnx_runtime *runtime = create_with_idle(sched_worker_counts[i], &idle);
        for (int round = 0; round < 20; round++) {
            CHECK_EQ(bnx_runtime_run(runtime, say_seven, NULL), 7);
            CHECK_EQ(bnx_runtime_run(runtime, hop, NULL), 7);
        }
        end_with_idle(runtime, &idle);
    }
}

static int sleep_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    return 0;
}

/* A timer comes in its time. */
TEST(timer, "min_wait.timers_are_prompt") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct idle idle;
        struct bnx_runtime *runtime = create_with_idle(sched_worker_counts[i], &idle);
        CHECK_EQ(bnx_runtime_run(runtime, sleep_often, NULL), 0);
        end_with_idle(runtime, &idle);
    }
}

static int receive_late(void *arg) {
    struct idle *idle = arg;
    char byte;
    CHECK_EQ(bnx_recv(idle->pair[0], &byte, 1, 0), -ETIMEDOUT);
    return 0;
}

static int time_out_often(void *arg) {
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_timeout(BNX_NS_PER_MS, receive_late, arg), 0);
    }
    return 0;
}

/* A cancel ends its operation, and so does a stop all of them. */
TEST(cancel, "min_wait.cancels_are_prompt") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct idle idle;
        struct bnx_runtime *runtime = create_with_idle(sched_worker_counts[i], &idle);
        CHECK_EQ(bnx_runtime_run(runtime, time_out_often, &idle), 0);
        end_with_idle(runtime, &idle);
        CHECK_EQ(idle.ended, idle.count);
    }
}

/* ---- What does ---- */

static struct {
    int (*enter)(int ring_fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                 size_t arg_bytes);
    uint64_t patient_waits;
    int64_t far_s; /* no timeout is sooner; 0: any may be */
} seen;

static int enter_watched(int ring_fd, unsigned submit, unsigned wait, unsigned flags,
                         const void *arg, size_t arg_bytes) {
    if (wait > 1) {
        const struct bnx_ring_wait_arg *how = arg;
        CHECK_EQ(arg_bytes, sizeof(*how));
        CHECK(how->min_wait_us > 0);
        /* Without one the kernel ends the sleep after the least time, though nothing has come. */
        const struct __kernel_timespec *timeout = (const void *)(uintptr_t)how->timeout;
        CHECK(timeout != NULL && timeout->tv_sec >= seen.far_s);
        bnx_fetch_add_relaxed(&seen.patient_waits, 1);
    }
    return seen.enter(ring_fd, submit, wait, flags, arg, arg_bytes);
}

#define STREAMS 64

struct stream {
    int pair[2];
    uint64_t seed;
    size_t bytes;
};

static int send_stream(void *arg) {
    const struct stream *stream = arg;
    unsigned char data[512];
    struct bnx_rng rng;
    bnx_rng_init(&rng, stream->seed, 0);
    for (size_t done = 0; done < stream->bytes; done += sizeof(data)) {
        unsigned char echoed[sizeof(data)];
        io_fill(data, sizeof(data), &rng);
        CHECK_EQ(bnx_send_all(stream->pair[0], data, sizeof(data)), sizeof(data));
        CHECK_EQ(bnx_recv_exact(stream->pair[0], echoed, sizeof(echoed)), sizeof(echoed));
        CHECK(memcmp(data, echoed, sizeof(data)) == 0);
    }
    CHECK_EQ(bnx_shutdown(stream->pair[0], SHUT_WR), 0);
    return 0;
}

static int echo_stream(void *arg) {
    const struct stream *stream = arg;
    unsigned char data[300];
    ssize_t got;
    while ((got = bnx_recv(stream->pair[1], data, sizeof(data), 0)) > 0) {
        CHECK_EQ(bnx_send_all(stream->pair[1], data, (size_t)got), got);
    }
    CHECK_EQ(got, 0);
    return 0;
}

static int exchange(void *arg) {
    struct stream *streams = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < STREAMS; i++) {
        CHECK_EQ(bnx_spawn(&scope, send_stream, &streams[i]), 0);
        CHECK_EQ(bnx_spawn(&scope, echo_stream, &streams[i]), 0);
    }
    return bnx_scope_close(&scope);
}

/* Bytes go back and forth on many connections at once and stay the same. */
TEST(bytes, "min_wait.bytes") {
    static struct stream streams[STREAMS];
    uint64_t seed = bnx_test_seed();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = create(sched_worker_counts[i], 100 * BNX_NS_PER_US);
        for (size_t j = 0; j < STREAMS; j++) {
            streams[j] = (struct stream){.seed = seed + j, .bytes = bnx_test_scale(200) * 512};
            io_unix_pair(streams[j].pair);
        }
        CHECK_EQ(bnx_runtime_run(runtime, exchange, streams), 0);
        for (size_t j = 0; j < STREAMS; j++) {
            io_close_pair(streams[j].pair);
        }
        sched_destroy(runtime);
    }
}

/* With operations in flight a worker does sleep for several of them, where the kernel can, and has
 * a far timeout where there is no timer. */
TEST(sleeps, "min_wait.sleeps_for_several") {
    io_needs_ring();
    struct bnx_ring ring;
    CHECK_EQ(bnx_ring_init(&ring), 0);
    bool has_min_wait = ring.has_min_wait;
    bnx_ring_fini(&ring);
    if (!has_min_wait) {
        SKIP("needs Linux 6.12");
    }
    seen.enter = bnx_os.uring_enter;
    seen.far_s = 1000; /* there is no timer */
    bnx_os.uring_enter = enter_watched;
    struct idle idle;
    struct bnx_runtime *runtime = create_with_idle(2, &idle);
    while (bnx_load_relaxed(&seen.patient_waits) == 0) { /* ends: it then goes to sleep again */
        CHECK_EQ(bnx_runtime_run(runtime, say_seven, NULL), 7);
    }
    end_with_idle(runtime, &idle);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
