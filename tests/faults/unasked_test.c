/* SPDX-License-Identifier: MIT */
/*
 * Tests operations that the kernel ends although nobody has asked for that, or does not end.
 *
 * Method: op_faults.h; who is woken has no turn before the descriptor has been closed and its
 * number given to another file, which has something for it.
 */
#include "tests/faults/op_faults.h"
#include "tests/io/temp.h"

#include <bonxie/net.h>
#include <bonxie/path.h>

#include <string.h>
#include <sys/timerfd.h>

static void run(uint32_t workers, bnx_task_fn fn, void *arg) {
    struct bnx_runtime *runtime = op_faults_create(workers, 1);
    CHECK_EQ(bnx_runtime_run(runtime, fn, arg), 0);
    op_faults_destroy(runtime);
}

/* ---- Between two attempts ---- */

struct reader {
    int fd;
    char byte;
    ssize_t got;
    struct bnx_task *task;
};

static int read_one(void *arg) {
    struct reader *reader = arg;
    reader->got = bnx_recv(reader->fd, &reader->byte, 1, 0);
    return 0;
}

/* Collects until the task is awake, and gives it no turn. */
static void collect_for(const struct bnx_task *task) {
    struct bnx_driver *driver = bnx_worker_driver(bnx_worker_current());
    while (bnx_task_state(task) == BNX_TASK_PARKED) { /* ends: it has been woken */
        (void)driver->ops->poll(driver);
    }
}

static int close_between(void *arg) {
    int own[2], stranger[2];
    char byte = 0;
    struct bnx_scope scope;
    struct reader reader = {0};
    io_unix_pair(own);
    io_unix_pair(stranger);
    reader.fd = own[0];
    op_faults_fail(BNX_OP_RECV, *(const int *)arg, 1);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_one, &reader, &reader.task), 0);
    io_await_wait(reader.task, BNX_WAIT_RECV);
    collect_for(reader.task); /* ended, without having been asked to */
    CHECK(op_faults_has_failed());
    CHECK_EQ(bnx_close(own[0]), 0);
    CHECK_EQ(dup3(stranger[0], own[0], O_CLOEXEC), own[0]);
    CHECK_EQ(send(stranger[1], "s", 1, 0), 1);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(reader.got, -EBADF);
    CHECK_EQ(recv(stranger[0], &byte, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(byte, 's');
    io_close_pair(own);
    io_close_pair(stranger);
    return 0;
}

/* The kernel ends a receive, and before it is begun again, its descriptor is closed: it does not
 * begin on the next file of that number. */
TEST(between, "unasked.close_between_attempts") {
    io_needs_ring();
    op_faults_install();
    for (int i = 0; i < 2; i++) {
        int error = i == 0 ? -ECANCELED : -EINTR;
        run(1, close_between, &error);
    }
}

/* ---- Again and again ---- */

#define ATTEMPTS 9 /* the first, and eight more */

static int fail_each_time(void *arg) {
    (void)arg;
    int pair[2];
    char byte;
    io_unix_pair(pair);
    op_faults_fail_each(BNX_OP_RECV, -ECANCELED);
    CHECK_EQ(bnx_recv(pair[0], &byte, 1, 0), -EAGAIN);
    CHECK_EQ(op_faults_failures(), ATTEMPTS);
    op_faults_clear();
    op_faults_fail_each(BNX_OP_RECV, -EINTR);
    CHECK_EQ(bnx_recv(pair[0], &byte, 1, 0), -EINTR);
    CHECK_EQ(op_faults_failures(), ATTEMPTS);
    op_faults_clear();
    CHECK_EQ(send(pair[1], "x", 1, 0), 1); /* nothing is left of it */
    CHECK_EQ(bnx_recv(pair[0], &byte, 1, 0), 1);
    io_close_pair(pair);
    return 0;
}

/* Where the kernel ends each attempt, the call says -EAGAIN after a bounded number of them. */
TEST(bounded, "unasked.ends_are_bounded") {
    io_needs_ring();
    op_faults_install();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], fail_each_time, NULL);
    }
}

/* ---- A connect ---- */

static int connect_again(void *arg) {
    (void)arg;
    struct sockaddr_in name;
    int listener = io_tcp_listener(&name, 8);
    struct bnx_address address = {.bytes = sizeof(name)};
    memcpy(&address.storage, &name, sizeof(name));
    for (int i = 0; i < 2; i++) {
        op_faults_fail(BNX_OP_CONNECT, i == 0 ? -ECANCELED : -EINTR, 1);
        int fd = bnx_connect_to(&address);
        CHECK(op_faults_has_failed());
        CHECK(fd >= 0);
        CHECK_EQ(bnx_close(fd), 0);
        op_faults_clear();
    }
    CHECK_EQ(close(listener), 0);
    return 0;
}

/* A connect that the kernel ends unasked is made with another socket. */
TEST(connect, "unasked.connects_again") {
    op_faults_install();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], connect_again, NULL);
    }
}

/* ---- A timer's own ---- */

static int read_timer(void *arg) {
    (void)arg;
    uint64_t ticks = 0;
    int timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    CHECK(timer >= 0);
    struct itimerspec when = {.it_value.tv_sec = 4000000000};
    int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    CHECK_EQ(timerfd_settime(timer, flags, &when, NULL), 0);
    op_faults_fail(BNX_OP_READ, -ECANCELED, 1);
    CHECK_EQ(bnx_read(timer, &ticks, sizeof(ticks)), -ECANCELED);
    CHECK(op_faults_has_failed());
    CHECK_EQ(close(timer), 0);
    return 0;
}

/* The clock is set, and so a timer that is to say that ends the read: the caller is told. */
TEST(timer, "unasked.a_timers_own_is_told") {
    op_faults_install();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], read_timer, NULL);
    }
}

/* ---- Many at once ---- */

#define LANES 6

struct lane {
    uint64_t seed;
    uint64_t cycles;
    uint64_t *done;
};

static int run_lane(void *arg) {
    struct lane *lane = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, lane->seed, 0);
    for (uint64_t i = 0; i < lane->cycles; i++) {
        struct bnx_scope scope;
        int pair[2];
        struct reader reader = {0};
        char nonce = (char)(1 + bnx_rng_below(&rng, 120));
        io_unix_pair(pair);
        reader.fd = pair[0];
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, read_one, &reader, &reader.task), 0);
        while (bnx_task_state(reader.task) == BNX_TASK_NEW ||
               bnx_task_state(reader.task) == BNX_TASK_READY) { /* ends: it has its turn */
            bnx_yield();
        }
        op_faults_fail(BNX_OP_RECV, bnx_rng_below(&rng, 2) == 0 ? -ECANCELED : -EINTR,
                       1 + bnx_rng_below(&rng, 3));
        io_await_wait(reader.task, BNX_WAIT_RECV);
        for (uint32_t turns = bnx_rng_below(&rng, 4); turns > 0; turns--) {
            bnx_yield();
        }
        CHECK_EQ(bnx_close(pair[0]), 0);
        (void)bnx_os.send(pair[1], &nonce, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(reader.got, -EBADF); /* else it was a byte of another lane's */
        CHECK_EQ(close(pair[1]), 0);
        /* Somebody who has something for whoever gets here with a number that is closed. */
        io_unix_pair(pair);
        CHECK_EQ(send(pair[1], &nonce, 1, 0), 1);
        bnx_yield();
        CHECK_EQ(bnx_recv(pair[0], &reader.byte, 1, 0), 1);
        CHECK_EQ(reader.byte, nonce);
        io_close_pair(pair);
    }
    bnx_fetch_add_acq_rel(lane->done, 1);
    return 0;
}

static int run_lanes(void *arg) {
    uint64_t seed = bnx_test_seed();
    uint64_t done = 0;
    struct lane lanes[LANES];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){.seed = seed + i, .cycles = *(const uint64_t *)arg, .done = &done};
        CHECK_EQ(bnx_spawn(&scope, run_lane, &lanes[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(done, LANES);
    return 0;
}

/* Sockets come and go on reused numbers, each closed while a receive on it is ended by the kernel
 * and begun again: none gets a byte of another socket. */
TEST(race, "unasked.race_closes") {
    io_needs_ring();
    op_faults_install();
    uint64_t cycles = bnx_test_scale(400) + 5;
    int before = io_fd_count();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], run_lanes, &cycles);
    }
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Two directories ---- */

struct closer {
    int fd;
    uint32_t is_closed;
    struct bnx_task *task;
};

static int close_it(void *arg) {
    struct closer *closer = arg;
    CHECK_EQ(bnx_close(closer->fd), 0);
    bnx_store_release(&closer->is_closed, 1);
    return 0;
}

struct change {
    const char *name;
    enum bnx_op_kind kind;
    int (*call)(int first, int second);
    int fds[2]; /* directories */
};

static int rename_across(int first, int second) {
    return bnx_renameat(first, "a", second, "b", 0);
}

static int link_across(int first, int second) {
    return bnx_linkat(first, "a", second, "c", 0);
}

static int symlink_across(int first, int second) {
    (void)first;
    return bnx_symlinkat("a", second, "d");
}

static int make_change(void *arg) {
    const struct change *change = arg;
    CHECK_EQ(change->call(change->fds[0], change->fds[1]), 0);
    return 0;
}

/* Its completion is held back: it is at both directories. Whoever closes one waits for it. */
static void close_directory(struct change *change, const struct temp *temp, int which) {
    struct bnx_rng rng;
    struct bnx_scope scope;
    struct closer closer = {0};
    struct bnx_task *task;
    bnx_rng_init(&rng, 1, 0);
    temp_file(temp, "a", "text");
    for (int i = 0; i < 2; i++) {
        change->fds[i] = open(temp->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(change->fds[i] >= 0);
    }
    closer.fd = change->fds[which];
    op_faults_hold(change->kind);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, make_change, change, &task), 0);
    while (op_faults_held() == 0) { /* ends: the kernel has done it */
        bnx_yield();
    }
    CHECK_EQ(bnx_spawn_with(&scope, NULL, close_it, &closer, &closer.task), 0);
    while (bnx_load_acquire(&closer.is_closed) == 0 &&
           bnx_task_state(closer.task) != BNX_TASK_PARKED) { /* ends: either of the two */
        bnx_yield();
    }
    CHECK_EQ(bnx_load_acquire(&closer.is_closed), 0);
    op_faults_release(change->kind, &rng);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(change->fds[1 - which]), 0);
}

static int close_directories(void *arg) {
    static struct change changes[] = {
        {.name = "b", .kind = BNX_OP_RENAME, .call = rename_across},
        {.name = "c", .kind = BNX_OP_LINK, .call = link_across},
        {.name = "d", .kind = BNX_OP_SYMLINK, .call = symlink_across},
    };
    const struct temp *temp = arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(changes); i++) {
        for (int which = changes[i].kind == BNX_OP_SYMLINK ? 1 : 0; which < 2; which++) {
            close_directory(&changes[i], temp, which);
            CHECK_EQ(unlinkat(temp->fd, changes[i].name, 0), 0);
        }
    }
    return 0;
}

/* A rename, a link and a symbolic link between two directories are in flight: a close of either
 * directory waits for them. */
TEST(directories, "io.close_sees_both_directories") {
    struct temp temp;
    op_faults_install();
    temp_open(&temp);
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], close_directories, &temp);
    }
    temp_close(&temp);
}

/* ---- A zero-copy send that fails ---- */

struct sender {
    int fd;
    ssize_t sent;
    struct bnx_task *task;
};

static int send_to_nobody(void *arg) {
    struct sender *sender = arg;
    sender->sent = bnx_send_zerocopy(sender->fd, "x", 1);
    return 0;
}

static int fail_zerocopy(void *arg) {
    (void)arg;
    int pair[2];
    struct bnx_rng rng;
    struct bnx_scope scope;
    bnx_rng_init(&rng, 1, 0);
    io_tcp_pair(pair);
    struct sender sender = {.fd = pair[0]};
    struct closer closer = {.fd = pair[0]};
    CHECK_EQ(shutdown(pair[0], SHUT_WR), 0);
    op_faults_hold(BNX_OP_SEND_ZEROCOPY);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, send_to_nobody, &sender, &sender.task), 0);
    while (op_faults_held() == 0) { /* ends: the notification has come */
        bnx_yield();
    }
    CHECK_EQ(bnx_spawn_with(&scope, NULL, close_it, &closer, &closer.task), 0);
    while (bnx_load_acquire(&closer.is_closed) == 0 &&
           bnx_task_state(closer.task) != BNX_TASK_PARKED) { /* ends: either of the two */
        bnx_yield();
    }
    CHECK_EQ(bnx_load_acquire(&closer.is_closed), 0);
    op_faults_release(BNX_OP_SEND_ZEROCOPY, &rng);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(sender.sent, -EPIPE);
    CHECK_EQ(close(pair[1]), 0);
    return 0;
}

/* A zero-copy send has failed, and its notification is to come: it is at its descriptor until then,
 * since it may have to be sent with a copy. */
TEST(zerocopy, "zerocopy.failed_keeps_descriptor") {
    io_needs_ring();
    op_faults_install();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        run(sched_worker_counts[i], fail_zerocopy, NULL);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
