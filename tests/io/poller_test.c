/* SPDX-License-Identifier: MIT */
/* Tests the poller of a worker: who waits there is told, whoever collects and whoever opens. */
#include "tests/io/fixture.h"

#include "io/op.h"

#include <poll.h>
#include <sys/eventfd.h>

static struct bnx_poller *poller_of(struct bnx_worker *worker) {
    return &bnx_io_driver_of(bnx_worker_driver(worker))->poller;
}

static int open_eventfd(void) {
    int fd = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(fd >= 0);
    return fd;
}

static void make_readable(int fd) {
    uint64_t one = 1;
    CHECK_EQ(bnx_os.write(fd, &one, sizeof(one)), sizeof(one));
}

/* ---- A task that waits in its worker's poller ---- */

struct watcher {
    int fd;
    int expected;
    uint32_t is_told; /* its wait is over */
    struct bnx_task *task;
};

static int watch(void *arg) {
    struct watcher *watcher = arg;
    struct bnx_poller *poller = poller_of(bnx_worker_current());
    CHECK_EQ(bnx_poller_open(poller), 0);
    struct bnx_poller *held = NULL;
    int fd = watcher->fd; /* who closes it forgets it */
    CHECK_EQ(bnx_poller_wait(poller, fd, POLLIN, BNX_WAIT_TEST, &held), watcher->expected);
    CHECK(held == (watcher->expected > 0 ? poller : NULL));
    bnx_poller_let_go(&held, fd);
    bnx_store_release(&watcher->is_told, 1); /* -> who computes until then */
    return 0;
}

static void spawn_watcher(struct bnx_scope *scope, struct watcher *watcher) {
    CHECK_EQ(bnx_spawn_with(scope, NULL, watch, watcher, &watcher->task), 0);
}

#define WATCHERS 300 /* several batches of a collect */

static int watch_many(void *arg) {
    static struct watcher watchers[WATCHERS];
    struct bnx_scope scope;
    (void)arg;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < WATCHERS; i++) {
        watchers[i] = (struct watcher){.fd = open_eventfd(), .expected = POLLIN};
        spawn_watcher(&scope, &watchers[i]);
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        io_await_wait(watchers[i].task, BNX_WAIT_TEST);
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        make_readable(watchers[i].fd);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (size_t i = 0; i < WATCHERS; i++) {
        CHECK_EQ(bnx_close(watchers[i].fd), 0);
    }
    return 0;
}

/* More descriptors that become ready at once than one look takes: all who wait are told, also where
 * a ring watches the poller, which is told of new events alone. */
TEST(many_at_once, "poller.many_at_once") {
    sched_run_each(watch_many, NULL);
}

/* ---- Beside tasks that compute ---- */

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static void join_fork(void) {
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, do_nothing, NULL), 0);
    CHECK_EQ(bnx_fork_join(&fork), 0);
}

static void run_child(void) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, do_nothing, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static void compute_beside_watcher(void (*step)(void)) {
    struct watcher watcher = {.fd = open_eventfd(), .expected = POLLIN};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_watcher(&scope, &watcher);
    io_await_wait(watcher.task, BNX_WAIT_TEST);
    make_readable(watcher.fd);
    while (bnx_load_acquire(&watcher.is_told) == 0) { /* ends when its worker looks */
        step();
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_close(watcher.fd), 0);
}

static int compute(void *arg) {
    (void)arg;
    compute_beside_watcher(join_fork);
    compute_beside_watcher(run_child);
    return 0;
}

/* A task that runs forks and children one after the other, and never waits, gives way so that who
 * waits in the poller is told: nothing else on the worker is ready, and no operation in flight. */
TEST(beside_computing, "poller.told_beside_computing") {
    sched_run_each(compute, NULL);
}

/* ---- Closing ---- */

static int close_and_reuse(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 1 + bnx_test_scale(200); round++) {
        int fds[2];
        io_unix_pair(fds);
        struct watcher closed = {.fd = fds[0], .expected = -EBADF};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        spawn_watcher(&scope, &closed);
        io_await_wait(closed.task, BNX_WAIT_TEST);
        int dupped = dup(fds[0]); /* the file lives on, and so would its registration */
        CHECK(dupped >= 0);
        CHECK_EQ(bnx_close(fds[0]), 0);
        CHECK_EQ(bnx_join(closed.task, NULL), 0);
        int other[2];
        io_unix_pair(other);
        if (other[0] != fds[0]) { /* most often the kernel has given the number again by itself */
            CHECK_EQ(dup2(other[0], fds[0]), fds[0]);
            CHECK_EQ(close(other[0]), 0);
        }
        struct watcher reused = {.fd = fds[0], .expected = POLLIN};
        spawn_watcher(&scope, &reused);
        io_await_wait(reused.task, BNX_WAIT_TEST);
        CHECK_EQ(bnx_os.send(fds[1], "x", 1, 0), 1); /* the closed number's file: tells nobody */
        io_round_trip();
        CHECK_EQ(bnx_os.send(other[1], "x", 1, 0), 1);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bnx_close(fds[0]), 0);
        CHECK_EQ(close(dupped), 0);
        CHECK_EQ(close(fds[1]), 0);
        CHECK_EQ(close(other[1]), 0);
    }
    return 0;
}

/* bnx_close ends who waits for the number with -EBADF, although a dup keeps the file; the number's
 * next file has events of its own alone. */
TEST(close_ends, "poller.close_ends_waits") {
    sched_run_each(close_and_reuse, NULL);
}

static int close_behind(void *arg) {
    (void)arg;
    int fd = open_eventfd();
    int dupped = dup(fd);
    CHECK(dupped >= 0);
    struct watcher first = {.fd = fd, .expected = POLLIN};
    struct watcher second = {.fd = fd, .expected = -EBADF};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_watcher(&scope, &first);
    io_await_wait(first.task, BNX_WAIT_TEST);
    spawn_watcher(&scope, &second);
    io_await_wait(second.task, BNX_WAIT_TEST);
    CHECK_EQ(close(fd), 0); /* the registration stays, the number is gone */
    make_readable(dupped);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(dupped), 0);
    return 0;
}

/* A descriptor that is closed without bnx_close: who cannot be waited for any more is told so. */
TEST(closed_behind, "poller.closed_behind_is_told") {
    sched_run(1 /* both in one poller */, close_behind, NULL);
}

static struct {
    int (*close)(int fd);
    struct watcher watcher;
    uint32_t may_begin;
} late;

/* Everybody has been told that the descriptor will be closed; then somebody begins to wait. */
static int close_late(int fd) {
    if (fd == late.watcher.fd) {
        bnx_store_release(&late.may_begin, 1);
        const struct bnx_task *task = late.watcher.task;
        while (bnx_task_state(task) != BNX_TASK_PARKED ||
               bnx_load_relaxed(&task->wait_reason) != BNX_WAIT_TEST) {
            bnx_yield(); /* ends: it gets its turn */
        }
        for (uint32_t i = 0; i < sched_worker_count(); i++) { /* it has left the poller's lock */
            bnx_lock_acquire(&poller_of(bnx_worker_peer(i))->lock);
            bnx_lock_release(&poller_of(bnx_worker_peer(i))->lock);
        }
    }
    return late.close(fd);
}

static int watch_late(void *arg) {
    while (bnx_load_acquire(&late.may_begin) == 0) { /* ends: the close is under way */
        bnx_yield();
    }
    return watch(arg);
}

static int close_beside_late(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    late.watcher = (struct watcher){.fd = open_eventfd(), .expected = -EBADF};
    late.may_begin = 0;
    CHECK_EQ(bnx_spawn_with(&scope, NULL, watch_late, &late.watcher, &late.watcher.task), 0);
    CHECK_EQ(bnx_close(late.watcher.fd), 0);
    late.watcher.fd = -1;
    return bnx_scope_close(&scope);
}

/* Who begins to wait while the descriptor is being closed is told as well. */
TEST(close_late, "poller.close_ends_late_waits") {
    late.close = bnx_os.close;
    bnx_os.close = close_late;
    for (uint64_t round = 0; round < 1 + bnx_test_scale(10); round++) {
        struct bnx_options options = {/* the watchdog closes descriptors of its own */
                                      .worker_count = 1 + (uint32_t)(round % 3),
                                      .seed = 1,
                                      .flags = BNX_NO_WATCHDOG};
        CHECK_EQ(bnx_run(&options, close_beside_late, NULL), 0);
    }
    bnx_os.close = late.close;
}

/* ---- An OS thread waits ---- */

/* A thread waits in the poller of a worker that sleeps and has not opened it yet: it is told, so
 * the worker was told to watch it. */
TEST(from_thread, "poller.opened_from_outside") {
    for (uint64_t round = 0; round < 1 + bnx_test_scale(50); round++) {
        struct bnx_runtime *runtime = sched_create(1);
        while (!bnx_idle_is_parked(&runtime->idle, 0)) { /* ends: it has nothing to do */
            bnx_os.thread_yield();
        }
        struct bnx_poller *poller = poller_of(&runtime->workers[0]);
        int fd = open_eventfd();
        struct bnx_sleeper sleeper;
        struct bnx_waiter waiter;
        bnx_sleeper_init(&sleeper);
        bnx_waiter_init(&waiter, &sleeper, NULL);
        CHECK_EQ(bnx_poller_open(poller), 0);
        CHECK_EQ(bnx_sleeper_begin(&sleeper), 0);
        CHECK_EQ(bnx_poller_add(poller, fd, POLLIN, &waiter), 0);
        make_readable(fd);
        CHECK_EQ(bnx_sleeper_sleep(&sleeper, BNX_WAIT_TEST, NULL), 0);
        CHECK_EQ(waiter.result, POLLIN);
        bnx_sleeper_fini(&sleeper);
        sched_destroy(runtime);
        CHECK_EQ(close(fd), 0);
    }
}

/* ---- Tokens, deadlines, closes ---- */

#define STORM_FDS 4
#define STORM_CONSUMERS 32
#define STORM_TOKENS 20000

struct storm {
    int fds[STORM_FDS]; /* each read takes one token */
    uint64_t total;
    uint64_t taken;
};

/* Waits for a token until a random moment, and takes one. Returns an error at the end. */
static int take_token(struct storm *storm, int fd, uint64_t wait_ns) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + wait_ns};
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, &options);
    if (error != 0) {
        return error;
    }
    struct bnx_poller *poller = poller_of(bnx_worker_current());
    CHECK_EQ(bnx_poller_open(poller), 0);
    struct bnx_poller *held = NULL;
    int events = bnx_poller_wait(poller, fd, POLLIN, BNX_WAIT_TEST, &held);
    (void)bnx_scope_close(&scope);
    if (events == -EBADF || events == -ECANCELED) {
        return events;
    }
    CHECK(events == POLLIN || events == -ETIMEDOUT);
    uint64_t token;
    ssize_t got = bnx_os.read(fd, &token, sizeof(token));
    bnx_poller_let_go(&held, fd);
    bnx_fetch_add_acq_rel(&storm->taken, got > 0 ? 1 : 0);
    return 0;
}

struct consumer {
    struct storm *storm;
    uint32_t index;
};

static int consume(void *arg) {
    const struct consumer *self = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), self->index);
    int fd = self->storm->fds[self->index % STORM_FDS];
    /* Some never give up: for them the last token must be told. */
    bool is_patient = self->index % 3 == 0;
    while (take_token(self->storm, fd,
                      is_patient ? BNX_NS_PER_S * 3600 : bnx_rng_below(&rng, 100000)) == 0) {
    }
    return 0;
}

static int storm_in_poller(void *arg) {
    struct storm *storm = arg;
    struct bnx_scope scope;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1000);
    storm->taken = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < sched_worker_count(); i++) { /* or it would take a number of ours */
        CHECK_EQ(bnx_poller_open(poller_of(bnx_worker_peer(i))), 0);
    }
    for (size_t i = 0; i < STORM_FDS; i++) {
        storm->fds[i] = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
        CHECK(storm->fds[i] >= 0);
    }
    for (uint32_t i = 0; i < STORM_CONSUMERS; i++) {
        struct consumer consumer = {storm, i};
        CHECK_EQ(bnx_spawn_copy(&scope, consume, &consumer, sizeof(consumer)), 0);
    }
    for (uint64_t i = 0; i < storm->total; i++) {
        make_readable(storm->fds[bnx_rng_below(&rng, STORM_FDS)]);
        if (bnx_rng_below(&rng, 8) == 0) {
            bnx_yield();
        }
    }
    while (bnx_load_acquire(&storm->taken) != storm->total) { /* each token is somebody's */
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    if (BNX_TSAN) { /* a close beside a call is what it calls a race */
        bnx_scope_cancel(&scope, 0);
    }
    for (size_t i = 0; i < STORM_FDS && !BNX_TSAN; i++) {
        CHECK_EQ(bnx_close(storm->fds[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), BNX_TSAN ? -ECANCELED : 0);
    for (size_t i = 0; i < STORM_FDS && BNX_TSAN; i++) {
        CHECK_EQ(bnx_close(storm->fds[i]), 0);
    }
    return 0;
}

/* Many wait for the tokens of few descriptors, some for a moment only, on all workers; in the end
 * the descriptors are closed. No token is left while somebody waits for one, nobody waits for ever.
 */
TEST(storm, "poller.storm") {
    struct storm storm = {.total = bnx_test_scale(STORM_TOKENS)};
    sched_run_each(storm_in_poller, &storm);
}

/* ---- The rescuer ---- */

struct rescue {
    uint32_t posts;
    uint32_t is_rescued;
};

/* In the task: on the owner's thread, which polls, as it does before it sleeps. */
static int poll_after_rescue(void *arg) {
    struct rescue *rescue = arg;
    sched_post(&rescue->posts);
    sched_wait_post(&rescue->is_rescued, 1);
    struct bnx_driver *driver = bnx_driver_current();
    (void)driver->ops->poll(driver);
    CHECK(!driver->ops->is_pending(driver));
    return 0;
}

/* In the task: on the owner's thread, which then sleeps as it does when it has nothing to run. */
static int sleep_after_rescue(void *arg) {
    struct rescue *rescue = arg;
    sched_post(&rescue->posts);
    sched_wait_post(&rescue->is_rescued, 1);
    struct bnx_driver *driver = bnx_driver_current();
    driver->ops->park(driver, BNX_NEVER_NS);
    driver->ops->wake(driver); /* and the next wake is none too many */
    driver->ops->park(driver, BNX_NEVER_NS);
    return 0;
}

/* A wake comes, and a late rescuer collects it while the owner runs this task. */
static void rescue_wake_beside(bnx_task_fn fn) {
    struct bnx_options options = {.worker_count = 1, .seed = 1, .flags = BNX_NO_WATCHDOG};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    for (uint64_t round = 0; round < 1 + bnx_test_scale(100); round++) {
        struct rescue rescue = {0};
        struct bnx_future *future;
        CHECK_EQ(bnx_runtime_spawn(runtime, fn, &rescue, &future), 0);
        sched_wait_post(&rescue.posts, 1);
        struct bnx_worker *victim = &runtime->workers[0];
        victim->driver->ops->wake(victim->driver);
        CHECK(bnx_worker_rescue_enter(victim));
        (void)victim->driver->ops->reap_for(victim->driver);
        bnx_worker_rescue_leave(victim);
        sched_post(&rescue.is_rescued);
        void *value;
        CHECK_EQ(bnx_future_await(future, &value), 0);
        bnx_future_unref(future);
    }
    sched_destroy(runtime);
}

/* When that was just before the owner sleeps, the owner does not. */
TEST(rescued_wake, "poller.rescued_wake_stays") {
    rescue_wake_beside(sleep_after_rescue);
}

/* And a poll ends it: a worker for which a wake stays pending never sleeps again. */
TEST(rescued_wake_ends, "poller.rescued_wake_ends") {
    rescue_wake_beside(poll_after_rescue);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
