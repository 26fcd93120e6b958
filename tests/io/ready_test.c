/* SPDX-License-Identifier: MIT */
/* Tests readiness (bonxie/ready.h): from tasks and threads, alone and among other things. */
#include "tests/io/ready.h"

/* ---- One wait ---- */

static void drain(int fd) {
    char data[64];
    CHECK(bnx_os.read(fd, data, sizeof(data)) > 0);
}

static int temporary_file(void) {
    char name[] = "/tmp/bonxie-ready-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_EQ(unlink(name), 0);
    return fd;
}

/* What needs no wait, the same for tasks and threads. */
static void wait_for_what_is_there(void) {
    int fds[2];
    io_pipe(fds);
    CHECK_EQ(bnx_fd_wait(fds[1], POLLOUT), POLLOUT);
    write_one(fds[1]);
    CHECK_EQ(bnx_fd_wait(fds[0], POLLIN), POLLIN);
    CHECK_EQ(bnx_fd_wait(fds[0], POLLIN | POLLPRI), POLLIN);
    drain(fds[0]);
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(bnx_fd_wait(fds[0], POLLIN), POLLHUP);
    CHECK_EQ(bnx_fd_wait(fds[0], 0), POLLHUP);
    CHECK_EQ(bnx_fd_wait(fds[0], 1u << 16), -EINVAL);
    CHECK_EQ(bnx_fd_wait(fds[0], POLLNVAL), -EINVAL);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(bnx_fd_wait(fds[0], POLLIN), -EBADF);
    CHECK_EQ(bnx_fd_wait(-1, POLLIN), -EBADF);
    int file = temporary_file(); /* it never waits, so it is ready */
    CHECK_EQ(bnx_fd_wait(file, POLLIN), POLLIN);
    CHECK_EQ(bnx_fd_wait(file, POLLIN | POLLOUT), POLLIN | POLLOUT);
    CHECK_EQ(close(file), 0);
}

struct one_wait {
    int fd;
    unsigned events;
    int expected;
    uint32_t done; /* futex: of a thread */
};

static int wait_in_task(void *arg) {
    struct one_wait *wait = arg;
    CHECK_EQ(bnx_fd_wait(wait->fd, wait->events), wait->expected);
    return 0;
}

static void start_wait(struct bnx_scope *scope, struct one_wait *wait) {
    struct bnx_task *task;
    CHECK_EQ(bnx_scope_open(scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(scope, NULL, wait_in_task, wait, &task), 0);
    io_await_wait(task, BNX_WAIT_FD);
}

static int wait_in_tasks(void *arg) {
    struct bnx_scope scope;
    int fds[2];
    (void)arg;
    wait_for_what_is_there();
    io_pipe(fds);
    struct one_wait wait = {.fd = fds[0], .events = POLLIN, .expected = POLLIN};
    start_wait(&scope, &wait);
    write_one(fds[1]);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    drain(fds[0]);
    wait.expected = -ECANCELED;
    start_wait(&scope, &wait);
    bnx_scope_cancel(&scope, 0);
    (void)bnx_scope_close(&scope);
    wait.expected = -EBADF;
    start_wait(&scope, &wait);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(fds[1]), 0);
    io_pipe(fds);
    wait = (struct one_wait){.fd = fds[0], .events = 0, .expected = POLLHUP};
    start_wait(&scope, &wait);
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(fds[0]), 0);

    int file = temporary_file(); /* urgent data never comes to a file */
    CHECK_EQ(bnx_fd_wait(file, POLLPRI), -EPERM);
    CHECK_EQ(bnx_close(file), 0);
    return 0;
}

static void wait_in_thread(void *arg) {
    struct one_wait *wait = arg;
    wait_for_what_is_there();
    sched_post(&wait->done);
    CHECK_EQ(bnx_fd_wait(wait->fd, wait->events), wait->expected);
}

/* Tasks and threads wait for what is there, for what comes, for a cancel and for a close. */
TEST(ready_wait, "ready.wait") {
    int before = io_fd_count();
    sched_run_each(wait_in_tasks, NULL);
    struct bnx_os_thread thread;
    int fds[2];
    io_pipe(fds);
    struct one_wait wait = {.fd = fds[0], .events = POLLIN, .expected = POLLIN};
    sched_thread_start(&thread, wait_in_thread, &wait);
    sched_wait_post(&wait.done, 1);
    write_one(fds[1]);
    sched_thread_join(&thread);
    io_close_pair(fds);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Events ---- */

static int use_events(void *arg) {
    int fds[2];
    struct bnx_fd_event event;
    (void)arg;
    io_pipe(fds);
    CHECK_EQ(bnx_fd_event_init(&event, -1, POLLIN), -EINVAL);
    CHECK_EQ(bnx_fd_event_init(&event, fds[0], 1u << 16), -EINVAL);
    struct bnx_fd_event input = event_on(fds[0], POLLIN), output = event_on(fds[1], POLLOUT);
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_fd_event_waitable(&input)),
                               BNX_CASE_WAIT(bnx_fd_event_waitable(&output))};
    CHECK_EQ(bnx_select(cases, 1, BNX_SELECT_TRY), -EAGAIN);
    CHECK_EQ(bnx_select(cases, 2, 0), 1);
    CHECK_EQ(cases[1].result, POLLOUT);
    write_one(fds[1]);
    CHECK_EQ(wait_event(&input), POLLIN);
    CHECK_EQ(wait_event(&input), POLLIN); /* as long as it is ready */
    CHECK_EQ(bnx_select(cases, 1, BNX_SELECT_TRY), 0);
    CHECK_EQ(cases[0].result, POLLIN);
    drain(fds[0]);
    CHECK_EQ(bnx_select(cases, 1, BNX_SELECT_TRY), -EAGAIN);

    struct bnx_waitable *both[] = {bnx_fd_event_waitable(&output), bnx_fd_event_waitable(&input)};
    int results[2];
    write_one(fds[1]);
    CHECK_EQ(bnx_gather(both, 2, results, 0), 0);
    CHECK(results[0] == POLLOUT && results[1] == POLLIN);

    int file = temporary_file();
    struct bnx_fd_event always = event_on(file, POLLIN), never = event_on(file, POLLPRI);
    CHECK_EQ(wait_event(&always), POLLIN);
    CHECK_EQ(wait_event(&never), -EPERM);
    CHECK_EQ(close(file), 0);
    io_close_pair(fds);
    CHECK_EQ(wait_event(&always), -EBADF);
    CHECK_EQ(wait_event(&input), -EBADF);
    return 0;
}

/* An event is done while its descriptor is ready, in select, wait and gather. */
TEST(ready_event, "ready.event") {
    int before = io_fd_count();
    sched_run_each(use_events, NULL);
    struct bnx_fd_event event;
    CHECK_EQ(bnx_fd_event_init(&event, 0, POLLIN), -EPERM);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Registrations, counted: a thread that waits shows nowhere else ---- */

static uint64_t registered;
static int (*real_epoll_control)(int epoll_fd, int control, int fd, unsigned events, uint64_t key);

static int counting_epoll_control(int epoll_fd, int control, int fd, unsigned events,
                                  uint64_t key) {
    int error = real_epoll_control(epoll_fd, control, fd, events, key);
    if (error == 0 && (events & POLLIN) != 0 && key != UINT64_MAX) { /* no driver's own wake */
        (void)bnx_fetch_add_acq_rel(&registered, 1);
    }
    return error;
}

static void count_registrations(bool is_on) {
    if (is_on) {
        registered = 0;
        real_epoll_control = bnx_os.epoll_control;
    }
    bnx_os.epoll_control = is_on ? counting_epoll_control : real_epoll_control;
}

/* ---- The first event ---- */

struct first {
    struct bnx_fd_event event;
    struct bnx_future *seen; /* what the thread's wait has returned */
    int fds[2];
    uint32_t is_asked; /* futex: the thread may begin */
    bool is_task;      /* who waits is a task on the worker after this one; else a thread */
    bool is_slow;      /* the thread has time to wait before the write */
};

static void wait_first(struct first *first) {
    struct bnx_waitable *waitable = bnx_fd_event_waitable(&first->event);
    int result = bnx_wait(&waitable, 1, BNX_WAIT_FIRST, NULL);
    CHECK_EQ(result, POLLIN);
}

static void wait_first_in_thread(void *arg) {
    struct first *first = arg;
    sched_wait_post(&first->is_asked, 1);
    wait_first(first);
    CHECK_EQ(bnx_future_set(first->seen, NULL), 0);
}

static int wait_first_in_task(void *arg) {
    wait_first(arg);
    return 0;
}

/* With a thread it writes when that one waits, or at any time. */
static int run_first(void *arg) {
    struct first *first = arg;
    first->event = event_on(first->fds[0], POLLIN);
    if (first->is_task) {
        struct bnx_scope scope;
        struct bnx_task *task;
        struct bnx_spawn_options options = {
            .flags = BNX_SPAWN_PINNED, .worker = (sched_worker_index() + 1) % sched_worker_count()};
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &options, wait_first_in_task, first, &task), 0);
        io_await_wait(task, BNX_WAIT_SEVERAL);
        write_one(first->fds[1]);
        return bnx_scope_close(&scope);
    }
    sched_post(&first->is_asked);
    if (first->is_slow) {
        sched_await_count(&registered, 1);
    }
    write_one(first->fds[1]);
    return bnx_future_await(first->seen, NULL);
}

/* The first who waits for an event is woken, whoever he is: the worker that looks out for it
 * sleeps, and its poller was opened a moment ago, in a runtime of its own each time. */
TEST(ready_first, "ready.first_event_from_elsewhere") {
    uint64_t rounds = bnx_test_scale(60) + 4;
    count_registrations(true);
    for (uint64_t i = 0; i < rounds; i++) {
        registered = 0;
        struct first first = {.is_task = i % 2 == 0, .is_slow = i % 4 == 1};
        struct bnx_os_thread thread;
        io_pipe(first.fds);
        CHECK_EQ(bnx_future_create(&first.seen), 0);
        if (!first.is_task) {
            sched_thread_start(&thread, wait_first_in_thread, &first);
        }
        sched_run(1 + (uint32_t)i % 3, run_first, &first);
        if (!first.is_task) {
            sched_thread_join(&thread);
        }
        bnx_future_unref(first.seen);
        io_close_pair(first.fds);
    }
    count_registrations(false);
}

/* ---- In a guest ---- */

struct visitor {
    int fds[2];
    uint64_t rounds;
    uint64_t taken;
};

static int take_as_guest(void *arg) {
    struct visitor *visitor = arg;
    struct bnx_fd_event event = event_on(visitor->fds[0], POLLIN);
    while (visitor->taken < visitor->rounds) { /* ends with the bytes */
        CHECK_EQ(wait_event(&event), POLLIN);
        drain(visitor->fds[0]);
        visitor->taken++;
    }
    return 0;
}

/* The host sleeps on the guest's descriptor alone, and that becomes readable for each event. */
TEST(ready_guest, "ready.guest") {
    struct bnx_options options = {.flags = BNX_GUEST, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    struct visitor visitor = {.rounds = bnx_test_scale(500) + 5};
    io_pipe(visitor.fds);
    count_registrations(true);
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, take_as_guest, &visitor, NULL), 0);
    struct pollfd pollfd = {.fd = bnx_runtime_fd(runtime), .events = POLLIN};
    for (uint64_t round = 0; round < visitor.rounds; round++) {
        while (registered <= round) { /* ends: it registers, and waits */
            CHECK(bnx_runtime_poll(runtime, 0) >= 0);
        }
        write_one(visitor.fds[1]);
        while (visitor.taken == round) { /* ends with the event */
            CHECK_EQ(poll(&pollfd, 1, -1), 1);
            CHECK(bnx_runtime_poll(runtime, 0) >= 0);
        }
    }
    sched_destroy(runtime);
    count_registrations(false);
    io_close_pair(visitor.fds);
}

/* ---- Close ---- */

#define TASKS 6

struct closing {
    struct bnx_fd_event event;
};

static int wait_for_close(void *arg) {
    struct closing *closing = arg;
    CHECK_EQ(wait_event(&closing->event), -EBADF);
    return 0;
}

static void wait_for_close_in_thread(void *arg) {
    struct closing *closing = arg;
    CHECK_EQ(wait_event(&closing->event), -EBADF);
}

static int close_under_waits(void *arg) {
    int fds[2];
    struct bnx_scope scope;
    struct bnx_task *tasks[TASKS];
    struct bnx_os_thread thread;
    (void)arg;
    io_unix_pair(fds);
    uint64_t before = registered;
    struct closing closing = {.event = event_on(fds[0], POLLIN)};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_for_close, &closing, &tasks[i]), 0);
        io_await_wait(tasks[i], BNX_WAIT_SEVERAL);
    }
    sched_thread_start(&thread, wait_for_close_in_thread, &closing);
    sched_await_count(&registered, before + TASKS + 1);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    sched_thread_join(&thread);
    CHECK_EQ(bnx_os.send(fds[1], "x", 1, MSG_NOSIGNAL), -EPIPE); /* it is really gone */
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

/* All who wait for an event, tasks and threads, are told -EBADF by bnx_close. */
TEST(ready_close, "ready.close_ends_waits") {
    int before = io_fd_count();
    count_registrations(true);
    sched_run_each(close_under_waits, NULL);
    count_registrations(false);
    CHECK_EQ(io_fd_count(), before);
}

/* ---- What epoll refuses ---- */

static int refused_fd;

static int refusing_epoll_control(int epoll_fd, int control, int fd, unsigned events,
                                  uint64_t key) {
    if (fd == bnx_load_relaxed(&refused_fd)) {
        return -ENOSPC;
    }
    return real_epoll_control(epoll_fd, control, fd, events, key);
}

static int wait_refused(void *arg) {
    int fds[2];
    (void)arg;
    io_pipe(fds);
    struct bnx_fd_event event = event_on(fds[0], POLLIN);
    bnx_store_relaxed(&refused_fd, fds[0]);
    CHECK_EQ(wait_event(&event), -ENOSPC);
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_fd_event_waitable(&event))};
    CHECK_EQ(bnx_select(cases, 1, 0), 0);
    CHECK_EQ(cases[0].result, -ENOSPC);
    bnx_store_relaxed(&refused_fd, -1);
    write_one(fds[1]);
    CHECK_EQ(wait_event(&event), POLLIN); /* it may be used on */
    io_close_pair(fds);
    return 0;
}

/* A wait that the kernel has no room for ends with its error. */
TEST(ready_refused, "ready.refusal_is_told") {
    refused_fd = -1;
    real_epoll_control = bnx_os.epoll_control;
    bnx_os.epoll_control = refusing_epoll_control;
    sched_run_each(wait_refused, NULL);
    bnx_os.epoll_control = real_epoll_control;
}

/* ---- Callbacks ---- */

struct watched {
    int fd;
    int calls;
    int bytes;
    int last;    /* what ended it: the last call's events */
    int stop_at; /* bytes after which fn returns `result`; 0: never */
    int result;
    struct bnx_sem called;
};

static int on_ready(int fd, int revents, void *arg) {
    struct watched *watched = arg;
    watched->calls++;
    watched->last = revents;
    CHECK_EQ(fd, watched->fd);
    if (revents > 0) {
        char byte;
        watched->bytes += bnx_read(fd, &byte, 1) == 1;
        (void)bnx_sem_release(&watched->called);
    }
    return watched->stop_at != 0 && watched->bytes == watched->stop_at ? watched->result : 0;
}

static void watch(struct bnx_scope *scope, struct watched *watched, int fd) {
    struct bnx_fd_watch_options options = {
        .fd = fd, .events = POLLIN, .fn = on_ready, .arg = watched};
    watched->fd = fd;
    bnx_sem_init(&watched->called, 0);
    CHECK_EQ(bnx_scope_open(scope, NULL), 0);
    CHECK_EQ(bnx_fd_watch(scope, &options), 0);
    memset(&options, 0, sizeof(options)); /* copied */
}

static int watch_until_stopped(void *arg) {
    int fds[2];
    struct bnx_scope scope;
    (void)arg;
    io_pipe(fds);
    CHECK_EQ(bnx_os.write(fds[1], "12345", 5), 5);
    struct watched stops = {.stop_at = 4, .result = 1};
    watch(&scope, &stops, fds[0]);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(stops.calls == 4 && stops.bytes == 4 && stops.last == POLLIN);

    struct watched fails = {.stop_at = 1, .result = -EPROTO};
    watch(&scope, &fails, fds[0]);
    CHECK_EQ(bnx_scope_close(&scope), -EPROTO);

    struct watched cancelled = {0};
    watch(&scope, &cancelled, fds[0]);
    write_one(fds[1]);
    CHECK_EQ(bnx_sem_acquire(&cancelled.called), 0);
    bnx_scope_cancel(&scope, 0);
    (void)bnx_scope_close(&scope);
    CHECK(cancelled.calls == 2 && cancelled.bytes == 1 && cancelled.last == -ECANCELED);

    CHECK_EQ(bnx_scope_open(&scope, NULL), 0); /* it is called once at least */
    bnx_scope_cancel(&scope, 0);
    struct bnx_fd_watch_options options = {
        .fd = fds[0], .events = POLLIN, .fn = on_ready, .arg = &cancelled};
    CHECK_EQ(bnx_fd_watch(&scope, &options), -ECANCELED);
    (void)bnx_scope_close(&scope);
    CHECK_EQ(cancelled.calls, 2);
    options.events = 1u << 16;
    CHECK_EQ(bnx_fd_watch(NULL, &options), -EINVAL);
    options = (struct bnx_fd_watch_options){.fd = fds[0], .events = POLLIN};
    CHECK_EQ(bnx_fd_watch(NULL, &options), -EINVAL);
    CHECK_EQ(bnx_fd_watch(NULL, NULL), -EINVAL);

    struct watched closed = {0};
    watch(&scope, &closed, fds[0]);
    write_one(fds[1]);
    CHECK_EQ(bnx_sem_acquire(&closed.called), 0);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(closed.calls == 2 && closed.last == -EBADF);
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

/* A watch calls back for each event until its function says so, and once more, with the reason,
 * when anything else ends it. */
TEST(ready_watch, "ready.watch") {
    int before = io_fd_count();
    sched_run_each(watch_until_stopped, NULL);
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
