/* SPDX-License-Identifier: MIT */
/*
 * Tests what io/ does where something is refused, reused, too large, or comes at a bad moment.
 *
 * Method: the entries of the os table refuse or wait in place of the kernel. A wait that never ends
 * is a claim that does not hold.
 */
#include "tests/io/fixture.h"

#include "runtime/scope_pvt.h"

#include <sys/mman.h>

/* ---- Faults ---- */

/* What stands in the os table while a claim runs; the real entries behind it. */
static struct {
    int (*setup)(unsigned entries, void *params);
    int (*enter)(int ring_fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                 size_t arg_bytes);
    unsigned entries_max;     /* of a ring; beyond it there is no memory */
    uint32_t refuses_all;     /* no enter succeeds */
    uint32_t refuses_submits; /* none with something to submit */
    uint64_t refused;         /* enters so far */
    uint64_t submitted;       /* what the kernel has taken so far */
} faults;

static int setup_small(unsigned entries, void *params) {
    return entries > faults.entries_max ? -ENOMEM : faults.setup(entries, params);
}

static int enter_or_refuse(int ring_fd, unsigned submit, unsigned wait, unsigned flags,
                           const void *arg, size_t arg_bytes) {
    if (bnx_load_acquire(&faults.refuses_all) != 0 ||
        (submit != 0 && bnx_load_acquire(&faults.refuses_submits) != 0)) {
        bnx_fetch_add_acq_rel(&faults.refused, 1);
        return -EAGAIN;
    }
    int result = faults.enter(ring_fd, submit, wait, flags, arg, arg_bytes);
    bnx_fetch_add_acq_rel(&faults.submitted, result > 0 ? (uint64_t)result : 0);
    return result;
}

/* Before the first runtime of the claim, which has a process of its own. */
static void faults_install(void) {
    io_needs_ring(); /* no other driver has these entries */
    faults.setup = bnx_os.uring_setup;
    faults.enter = bnx_os.uring_enter;
    bnx_os.uring_enter = enter_or_refuse;
}

/* A task that receives on a descriptor, and what came of it. */
struct receiver {
    int fd;
    ssize_t expected;
    struct bnx_task *task;
    uint64_t *ended; /* counts receivers, or NULL */
};

static int receive(void *arg) {
    struct receiver *receiver = arg;
    char bytes[4];
    CHECK_EQ(bnx_recv(receiver->fd, bytes, sizeof(bytes), 0), receiver->expected);
    if (receiver->ended != NULL) {
        bnx_fetch_add_acq_rel(receiver->ended, 1);
    }
    return 0;
}

static void spawn_receiver(struct bnx_scope *scope, struct receiver *receiver) {
    CHECK_EQ(bnx_spawn_with(scope, NULL, receive, receiver, &receiver->task), 0);
    io_await_wait(receiver->task, BNX_WAIT_RECV);
}

/* ---- Closing ---- */

static int close_reused(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 20; round++) {
        int pair[2];
        io_unix_pair(pair);
        int other[2]; /* it may also get the operation, if that starts late */
        io_unix_pair(other);
        struct receiver receiver = {.fd = pair[0], .expected = -EBADF};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        spawn_receiver(&scope, &receiver);
        CHECK_EQ(dup2(other[0], pair[0]),
                 pair[0]); /* closed behind the library's back, and reused */
        CHECK_EQ(bnx_close(pair[0]), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        io_close_pair(other);
        CHECK_EQ(close(pair[1]), 0);
    }
    return 0;
}

/* bnx_close of a number that stands for another file than the one an operation was started on: the
 * close ends, and the operation does. */
TEST(close_reused, "io.close_of_reused_number_ends") {
    sched_run_each(close_reused, NULL);
}

static int close_one_of_two(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 20; round++) {
        int pair[2];
        io_unix_pair(pair);
        struct receiver closed = {.fd = pair[0], .expected = -EBADF};
        struct receiver spared = {.fd = dup(pair[0]), .expected = 4};
        CHECK(spared.fd >= 0);
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        spawn_receiver(&scope, round % 2 == 0 ? &closed : &spared);
        spawn_receiver(&scope, round % 2 == 0 ? &spared : &closed);
        CHECK_EQ(bnx_close(closed.fd), 0);
        CHECK_EQ(bnx_join(closed.task, NULL), 0);
        CHECK_EQ(bnx_os.send(pair[1], "abcd", 4, 0), 4);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bnx_close(spared.fd), 0);
        CHECK_EQ(close(pair[1]), 0);
    }
    return 0;
}

/* bnx_close of one number ends the operations on it, and not those on a dup of it. */
TEST(close_dup, "io.close_spares_dup") {
    sched_run_each(close_one_of_two, NULL);
}

/* ---- Lengths ---- */

#define HUGE_BYTES ((size_t)4 << 30)   /* 0 in 32 bits */
#define ENOUGH_BYTES ((size_t)1 << 20) /* more than any socket or pipe holds before a transfer */

struct transfer {
    ssize_t (*call)(int fd, void *buffer, size_t bytes);
    enum bnx_wait_reason reason;
    bool is_pipe;
    bool is_output;
    /* Of one try: */
    int fd;
    void *buffer;
    size_t bytes;
    ssize_t moved;
    uint64_t ended;
};

static ssize_t huge_recv(int fd, void *buffer, size_t bytes) {
    return bnx_recv(fd, buffer, bytes, 0);
}

static ssize_t huge_send(int fd, void *buffer, size_t bytes) {
    return bnx_send(fd, buffer, bytes, 0);
}

static ssize_t huge_read(int fd, void *buffer, size_t bytes) {
    return bnx_read(fd, buffer, bytes);
}

static ssize_t huge_write(int fd, void *buffer, size_t bytes) {
    return bnx_write(fd, buffer, bytes);
}

static int run_transfer(void *arg) {
    struct transfer *transfer = arg;
    transfer->moved = transfer->call(transfer->fd, transfer->buffer, transfer->bytes);
    bnx_store_release(&transfer->ended, 1);
    return 0;
}

/* The call waits; then the other end gives four bytes, or takes what there is. A kernel without
 * pipes that never block, before 6.4, goes on until all of it is written, or the reader is gone. */
static void transfer_huge(struct transfer transfer, void *buffer, size_t bytes) {
    static char sink[4096];
    int fds[2];
    if (transfer.is_pipe) {
        io_pipe(fds);
    } else {
        io_unix_pair(fds);
    }
    transfer.fd = fds[transfer.is_output ? 1 : 0];
    int peer = fds[transfer.is_output ? 0 : 1];
    transfer.buffer = buffer;
    transfer.bytes = bytes;
    if (transfer.is_output) {
        io_fill_up(transfer.fd);
    }
    struct bnx_scope scope;
    struct bnx_task *task;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, run_transfer, &transfer, &task), 0);
    io_await_wait(task, transfer.reason);
    if (!transfer.is_output) {
        CHECK_EQ(bnx_os.write(peer, "abcd", 4), 4);
    } else {
        size_t taken = 0;
        CHECK_EQ(bnx_os.fcntl(peer, F_SETFL, O_RDWR | O_NONBLOCK), 0);
        while (bnx_load_acquire(&transfer.ended) == 0 && taken < ENOUGH_BYTES) { /* room comes */
            ssize_t got = bnx_os.read(peer, sink, sizeof(sink));
            taken += got > 0 ? (size_t)got : 0;
            bnx_yield();
        }
    }
    CHECK_EQ(close(peer), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(transfer.is_output ? transfer.moved > 0 : transfer.moved == 4);
    CHECK_EQ(close(transfer.fd), 0);
}

static int transfer_each(void *arg) {
    static const struct transfer transfers[] = {
        {.call = huge_recv, .reason = BNX_WAIT_RECV},
        {.call = huge_read, .reason = BNX_WAIT_READ, .is_pipe = true},
        {.call = huge_send, .reason = BNX_WAIT_SEND, .is_output = true},
        {.call = huge_write, .reason = BNX_WAIT_WRITE, .is_output = true, .is_pipe = true},
    };
    static const size_t lengths[] = {HUGE_BYTES, HUGE_BYTES - 4096, HUGE_BYTES / 2};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(transfers); i++) {
        for (size_t j = 0; j < BNX_ARRAY_COUNT(lengths); j++) {
            transfer_huge(transfers[i], arg, lengths[j]);
        }
    }
    return 0;
}

/* A buffer whose length does not fit an int, or not 32 bits: what is there is transferred. */
TEST(huge_length, "net.huge_length") {
    void *buffer = mmap(NULL, HUGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(buffer != MAP_FAILED);
    sched_run(1, transfer_each, buffer);
    CHECK_EQ(munmap(buffer, HUGE_BYTES), 0);
}

/* ---- A connection's wake ---- */

struct acceptors {
    int listener;
    uint64_t accepted;
};

static int accept_one(void *arg) {
    struct acceptors *acceptors = arg;
    int fd = bnx_accept(acceptors->listener, NULL);
    CHECK(fd >= 0 || fd == -ECANCELED);
    if (fd >= 0) {
        CHECK_EQ(bnx_close(fd), 0);
        bnx_fetch_add_acq_rel(&acceptors->accepted, 1);
    }
    return 0;
}

static int pass_wakes_on(void *arg) {
    (void)arg;
    struct sockaddr_in address;
    struct acceptors acceptors = {.listener = io_tcp_listener(&address, 64)};
    CHECK_EQ(bnx_os.fcntl(acceptors.listener, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    for (uint64_t round = 0; round < 4 + bnx_test_scale(200); round++) {
        uint64_t before = bnx_load_acquire(&faults.submitted);
        struct bnx_task *first, *second;
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, accept_one, &acceptors, &first), 0);
        io_await_wait(first, BNX_WAIT_ACCEPT);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, accept_one, &acceptors, &second), 0);
        io_await_wait(second, BNX_WAIT_ACCEPT);
        sched_await_count(&faults.submitted, before + 2);
        bnx_cancel(round / 4 % 2 == 0 ? first : second, 0);
        for (uint64_t turn = 0; turn < round % 4; turn++) {
            bnx_yield();
        }
        int fd = io_tcp_connect(&address);
        sched_await_count(&acceptors.accepted, round + 1);
        CHECK_EQ(close(fd), 0);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    }
    CHECK_EQ(close(acceptors.listener), 0);
    return 0;
}

/* The kernel wakes one of two acceptors for a connection. When that one is being cancelled, the
 * connection is accepted all the same, by either. */
TEST(accept_wake, "io.accept_wake_is_passed_on") {
    faults_install();
    sched_run(1, pass_wakes_on, NULL);
    sched_run(2, pass_wakes_on, NULL);
}

/* ---- Refusals ---- */

#define RECEIVERS 800 /* more than a ring and the list of cancels to repeat together hold */

struct crowd {
    int pair[2];
    struct receiver *receivers;
    uint64_t ended;
};

static void crowd_open(struct crowd *crowd) {
    io_unix_pair(crowd->pair);
    crowd->receivers = calloc(RECEIVERS, sizeof(crowd->receivers[0]));
    CHECK(crowd->receivers != NULL);
    crowd->ended = 0;
}

static void crowd_close(struct crowd *crowd) {
    free(crowd->receivers);
    io_close_pair(crowd->pair);
}

static void crowd_spawn(struct crowd *crowd, struct bnx_scope *scope) {
    uint64_t before = bnx_load_acquire(&faults.submitted);
    for (int i = 0; i < RECEIVERS; i++) {
        crowd->receivers[i] =
            (struct receiver){.fd = crowd->pair[0], .expected = -ECANCELED, .ended = &crowd->ended};
        CHECK_EQ(
            bnx_spawn_with(scope, NULL, receive, &crowd->receivers[i], &crowd->receivers[i].task),
            0);
    }
    for (int i = 0; i < RECEIVERS; i++) {
        io_await_wait(crowd->receivers[i].task, BNX_WAIT_RECV);
    }
    sched_await_count(&faults.submitted, before + RECEIVERS);
}

static int cancel_small(void *arg) {
    (void)arg;
    struct crowd crowd;
    struct bnx_scope scope;
    crowd_open(&crowd);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    crowd_spawn(&crowd, &scope);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    crowd_close(&crowd);
    return close_one_of_two(NULL);
}

/* Where memory suffices only for a ring of 16 entries, operations and cancels find room in it. */
TEST(small_ring, "ring.small_has_room") {
    faults_install();
    faults.entries_max = 16;
    bnx_os.uring_setup = setup_small;
    sched_run(1, cancel_small, NULL);
    sched_run(2, cancel_small, NULL);
}

static int cancel_refused(void *arg) {
    (void)arg;
    struct crowd crowd;
    struct bnx_scope scope;
    crowd_open(&crowd);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    crowd_spawn(&crowd, &scope);
    bnx_store_release(&faults.refuses_all, 1);
    bnx_scope_cancel(&scope, 0);
    sched_await_count(&faults.refused, bnx_load_acquire(&faults.refused) + 200);
    bnx_store_release(&faults.refuses_all, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK_EQ(crowd.ended, RECEIVERS);
    crowd_close(&crowd);
    return 0;
}

/* While the kernel refuses to be entered, 800 operations are cancelled: when it no longer does, all
 * of them end. */
TEST(cancel_refused, "io.cancel_survives_refusal") {
    faults_install();
    sched_run(1, cancel_refused, NULL);
    sched_run(2, cancel_refused, NULL);
}

static int reap_refused(void *arg) {
    (void)arg;
    int ready[2], late[2];
    io_unix_pair(ready);
    io_unix_pair(late);
    uint64_t ended = 0;
    struct receiver first = {.fd = ready[0], .expected = 4, .ended = &ended};
    struct receiver refused = {.fd = late[0], .expected = 4};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    uint64_t before = bnx_load_acquire(&faults.submitted);
    spawn_receiver(&scope, &first);
    sched_await_count(&faults.submitted, before + 1);
    bnx_store_release(&faults.refuses_submits, 1);
    spawn_receiver(&scope, &refused);
    CHECK_EQ(bnx_os.send(ready[1], "abcd", 4, 0), 4);
    sched_await_count(&ended, 1);
    bnx_store_release(&faults.refuses_submits, 0);
    CHECK_EQ(bnx_os.send(late[1], "abcd", 4, 0), 4);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    io_close_pair(ready);
    io_close_pair(late);
    return 0;
}

/* While the kernel refuses an operation, the completion of another still comes in. */
TEST(refused_reaps, "io.refused_submission_reaps") {
    faults_install();
    sched_run(1, reap_refused, NULL);
    CHECK(faults.refused > 0);
    sched_run(2, reap_refused, NULL);
}

/* ---- The rescue signal's handler at a bad moment ---- */

/* The handler runs between an operation's look for room and its start, and takes that room. */
struct ambush {
    struct crowd crowd;
    struct bnx_scope victims; /* the crowd's */
    struct bnx_scope scope;   /* the late operation's; its lock holds the operation up */
    uint64_t begins;          /* the late operation does */
    uint64_t signals;         /* rescue signals sent */
    int (*thread_signal)(int tid, int signo);
};
static struct ambush ambush;

static int count_signal(int tid, int signo) {
    bnx_fetch_add_acq_rel(&ambush.signals, 1);
    return ambush.thread_signal(tid, signo);
}

static void await_from_thread(const uint64_t *counter, uint64_t count) {
    while (bnx_load_acquire(counter) < count) { /* ends: the watchdog sees a stalled worker */
        bnx_os.thread_yield();
    }
}

/* Holds the lock that the late operation needs, so that its worker stalls there; has the handler
 * find 800 cancels, which take all room while nothing is submitted; then lets the operation go. */
static void lie_in_wait(void *arg) {
    (void)arg;
    bnx_lock_acquire(bnx_scope_lock(&ambush.scope));
    bnx_fetch_add_acq_rel(&ambush.begins, 1);
    await_from_thread(&ambush.begins, 2);
    await_from_thread(&ambush.signals, bnx_load_acquire(&ambush.signals) + 2);
    bnx_store_release(&faults.refuses_submits, 1);
    uint64_t refused = bnx_load_acquire(&faults.refused);
    bnx_scope_cancel(&ambush.victims, 0);
    await_from_thread(&faults.refused, refused + 1);
    bnx_lock_release(bnx_scope_lock(&ambush.scope));
    await_from_thread(&faults.refused, refused + 100);
    bnx_store_release(&faults.refuses_submits, 0);
}

static int operate_late(void *arg) {
    (void)arg;
    int pair[2];
    char byte;
    io_unix_pair(pair);
    CHECK_EQ(bnx_os.send(pair[1], "x", 1, 0), 1);
    sched_await_count(&ambush.begins, 1);
    bnx_fetch_add_acq_rel(&ambush.begins, 1);
    CHECK_EQ(bnx_recv(pair[0], &byte, 1, 0), 1);
    io_close_pair(pair);
    return 0;
}

static int walk_into_ambush(void *arg) {
    (void)arg;
    struct bnx_os_thread thread;
    crowd_open(&ambush.crowd);
    CHECK_EQ(bnx_scope_open(&ambush.scope, NULL), 0);
    CHECK_EQ(bnx_scope_open(&ambush.victims, NULL), 0);
    crowd_spawn(&ambush.crowd, &ambush.victims);
    CHECK_EQ(bnx_spawn(&ambush.scope, operate_late, NULL), 0);
    sched_thread_start(&thread, lie_in_wait, NULL);
    CHECK_EQ(bnx_scope_close(&ambush.victims), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&ambush.scope), 0);
    sched_thread_join(&thread);
    CHECK_EQ(ambush.crowd.ended, RECEIVERS);
    crowd_close(&ambush.crowd);
    return 0;
}

/* An operation whose room the handler has used up starts later, and nothing is lost. */
TEST(start_without_room, "io.start_without_room_waits") {
    if (BNX_TSAN) {
        SKIP("ThreadSanitizer holds signals back");
    }
    faults_install();
    ambush.thread_signal = bnx_os.thread_signal;
    bnx_os.thread_signal = count_signal;
    sched_run(1, walk_into_ambush, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
