/* SPDX-License-Identifier: MIT */
/* Tests that a cancel ends every wait for the kernel, loses nothing, and leaves nothing behind. */
#include "tests/io/temp.h"

#include "runtime/lock.h"

#include <sys/un.h>

/* ---- Calls that wait, one of each kind ---- */

/* What the calls wait on: nothing ever comes, nothing is ever taken. */
struct place {
    int silent[2];      /* a unix pair: receives wait */
    int full[2];        /* a unix pair: sends wait */
    int silent_pipe[2]; /* reads wait */
    int full_pipe[2];   /* writes wait */
    int listener;       /* accepts wait */
    int full_listener;  /* connects to it wait: TCP, the answer is lost */
    struct bnx_address full_address;
    int full_unix_listener; /* the same, in a blocking call on one of the kernel's threads */
    struct bnx_address full_unix_address;
    int filler[4]; /* connections that fill the listeners */
    int urandom;
    char *large;    /* takes long to fill from there */
    uint64_t begun; /* calls that are about to wait */
    int direct;     /* a file of LARGE_BYTES, not of the page cache */
    char fifo[512]; /* that nobody writes to */
};
#define LARGE_BYTES ((size_t)16 << 20)

static char scratch[4096];

static ssize_t wait_recv(struct place *place) {
    return bnx_recv(place->silent[0], scratch, sizeof(scratch), 0);
}

static ssize_t wait_recv_exact(struct place *place) {
    return bnx_recv_exact(place->silent[0], scratch, sizeof(scratch));
}

static ssize_t wait_send(struct place *place) {
    return bnx_send(place->full[0], scratch, sizeof(scratch), 0);
}

static ssize_t wait_send_all(struct place *place) {
    return bnx_send_all(place->full[0], scratch, sizeof(scratch));
}

static ssize_t wait_read(struct place *place) {
    return bnx_read(place->silent_pipe[0], scratch, sizeof(scratch));
}

static ssize_t wait_write(struct place *place) {
    return bnx_write(place->full_pipe[1], scratch, sizeof(scratch));
}

static ssize_t wait_accept(struct place *place) {
    struct bnx_address peer;
    return bnx_accept(place->listener, &peer);
}

static ssize_t wait_connect(struct place *place) {
    return bnx_connect_to(&place->full_address);
}

static ssize_t wait_connect_unix(struct place *place) {
    return bnx_connect_to(&place->full_unix_address);
}

static ssize_t wait_sleep(struct place *place) {
    (void)place;
    return bnx_sleep_until(BNX_NEVER_NS);
}

static const struct kind {
    const char *name;
    ssize_t (*call)(struct place *place);
    enum bnx_wait_reason reason;
} kinds[] = {
    {"recv", wait_recv, BNX_WAIT_RECV},
    {"recv_exact", wait_recv_exact, BNX_WAIT_RECV},
    {"send", wait_send, BNX_WAIT_SEND},
    {"send_all", wait_send_all, BNX_WAIT_SEND},
    {"read", wait_read, BNX_WAIT_READ},
    {"write", wait_write, BNX_WAIT_WRITE},
    {"accept", wait_accept, BNX_WAIT_ACCEPT},
    {"connect", wait_connect, BNX_WAIT_CONNECT},
    {"connect to a unix socket", wait_connect_unix, BNX_WAIT_CONNECT},
    {"sleep", wait_sleep, BNX_WAIT_SLEEP},
};
#define KINDS BNX_ARRAY_COUNT(kinds)

/* A listener with no room left: the kernel neither takes nor refuses who comes now. */
static void open_full_listeners(struct place *place) {
    struct sockaddr_in address;
    place->full_listener = io_tcp_listener(&address, 0);
    place->full_address.bytes = sizeof(address);
    memcpy(&place->full_address.storage, &address, sizeof(address));
    place->filler[0] = io_tcp_connect(&address);

    char name[64];
    (void)snprintf(name, sizeof(name), "unix:@bonxie-cancel-%d", getpid());
    struct bnx_listen_options options = {.backlog = 1};
    place->full_unix_listener = bnx_listen(name, &options);
    CHECK(place->full_unix_listener >= 0);
    CHECK_EQ(bnx_address_parse(name, &place->full_unix_address), 0);
    const struct sockaddr *target = (const void *)&place->full_unix_address.storage;
    for (int i = 1; i < 4; i++) {
        place->filler[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(connect(place->filler[i], target, place->full_unix_address.bytes) == 0 ||
              errno == EAGAIN);
    }
}

static void place_open(struct place *place) {
    io_unix_pair(place->silent);
    io_unix_pair(place->full);
    io_fill_up(place->full[0]);
    io_pipe(place->silent_pipe);
    io_pipe(place->full_pipe);
    io_fill_up(place->full_pipe[1]);
    place->listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(place->listener >= 0);
    open_full_listeners(place);
    place->urandom = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    CHECK(place->urandom >= 0);
}

static void place_close(struct place *place) {
    io_close_pair(place->silent);
    io_close_pair(place->full);
    io_close_pair(place->silent_pipe);
    io_close_pair(place->full_pipe);
    CHECK_EQ(close(place->listener), 0);
    CHECK_EQ(close(place->full_listener), 0);
    CHECK_EQ(close(place->full_unix_listener), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(close(place->filler[i]), 0);
    }
    CHECK_EQ(close(place->urandom), 0);
}

/* ---- Sticky ---- */

struct waiter {
    const struct kind *kind;
    struct place *place;
    ssize_t expected;
    int ready[2]; /* a unix pair with data in it */
    int data_pipe[2];
};

static void expect(const struct waiter *waiter, const char *when, ssize_t got) {
    if (got != waiter->expected) {
        bnx_test_fail(__FILE__, __LINE__, "%s, %s: %zd, not %zd", waiter->kind->name, when, got,
                      waiter->expected);
    }
}

static int wait_and_look(void *arg) {
    struct waiter *waiter = arg;
    expect(waiter, "cancelled in it", waiter->kind->call(waiter->place));
    for (size_t i = 0; i < KINDS; i++) {
        expect(waiter, "again", kinds[i].call(waiter->place));
    }
    /* Also where nothing would wait. */
    expect(waiter, "recv of data", bnx_recv(waiter->ready[0], scratch, 1, 0));
    expect(waiter, "recv of data", bnx_recv(waiter->ready[0], scratch, 1, MSG_DONTWAIT));
    expect(waiter, "send", bnx_send(waiter->ready[0], scratch, 1, 0));
    expect(waiter, "read of data", bnx_read(waiter->data_pipe[0], scratch, 1));
    expect(waiter, "write", bnx_write(waiter->data_pipe[1], scratch, 1));
    expect(waiter, "pread", bnx_pread(waiter->place->urandom, scratch, 1, 0));
    expect(waiter, "yield", bnx_sleep(0));
    expect(waiter, "checkpoint", bnx_checkpoint());
    /* A close is never refused. */
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(bnx_close(waiter->ready[i]), 0);
        CHECK_EQ(bnx_close(waiter->data_pipe[i]), 0);
    }
    return 0;
}

static void waiter_open(struct waiter *waiter) {
    io_unix_pair(waiter->ready);
    io_pipe(waiter->data_pipe);
    CHECK_EQ(write(waiter->ready[1], "abcdef", 6), 6);
    CHECK_EQ(write(waiter->data_pipe[1], "abcdef", 6), 6);
}

static int cancel_each(void *arg) {
    struct place *place = arg;
    for (size_t i = 0; i < KINDS; i++) {
        struct waiter waiter = {.kind = &kinds[i], .place = place, .expected = -ECANCELED};
        waiter_open(&waiter);
        struct bnx_scope scope;
        struct bnx_task *task;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_and_look, &waiter, &task), 0);
        io_await_wait(task, kinds[i].reason);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    }
    return 0;
}

/* A cancel ends each kind of wait, and from then on every call says so. */
TEST(cancel_is_sticky, "io.cancel_is_sticky") {
    struct place place;
    place_open(&place);
    int before = io_fd_count();
    sched_run_each(cancel_each, &place);
    CHECK_EQ(io_fd_count(), before);
    place_close(&place);
}

static int time_out_each(void *arg) {
    struct place *place = arg;
    for (size_t i = 0; i < KINDS; i++) {
        struct waiter waiter = {.kind = &kinds[i], .place = place, .expected = -ETIMEDOUT};
        waiter_open(&waiter);
        struct bnx_scope scope;
        struct bnx_scope_options options = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
        CHECK_EQ(bnx_scope_open(&scope, &options), 0);
        if (i % 2 == 0) { /* in the scope's opener, or in a task of the scope */
            CHECK_EQ(wait_and_look(&waiter), 0);
        } else {
            CHECK_EQ(bnx_spawn(&scope, wait_and_look, &waiter), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
        CHECK_EQ(bnx_checkpoint(), 0); /* it ended with its scope */
    }
    return 0;
}

/* A deadline ends each kind of wait, and it is the scope's own, so it is told apart from a
 * cancel. */
TEST(deadline_is_sticky, "io.deadline_is_sticky") {
    struct place place;
    place_open(&place);
    sched_run_each(time_out_each, &place);
    place_close(&place);
}

/* ---- Many at once ---- */

struct storm {
    struct place *place;
    uint64_t waiting;
};

static int wait_in_storm(void *arg) {
    struct storm *storm = arg;
    bnx_fetch_add_acq_rel(&storm->waiting, 1);
    ssize_t got = bnx_recv(storm->place->silent[0], scratch, 1, 0);
    CHECK(got == -ECANCELED);
    return 0;
}

static int run_storm(void *arg) {
    struct storm *storm = arg;
    uint64_t count = bnx_test_scale(20000);
    count = count < 1000 ? 1000 : count;
    const struct bnx_spawn_options options = {.stack = BNX_STACK_16K};
    bnx_store_relaxed(&storm->waiting, 0); /* nobody else is there yet */
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, &options, wait_in_storm, storm, NULL), 0);
    }
    sched_await_count(&storm->waiting, count);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* One cancel ends many more operations than the submission queue has entries: none is forgotten. */
TEST(cancel_storm, "io.cancel_storm") {
    struct place place;
    place_open(&place);
    struct storm storm = {.place = &place};
    sched_run(1, run_storm, &storm);
    sched_run(2, run_storm, &storm);
    place_close(&place);
}

/* ---- From elsewhere ---- */

struct remote {
    struct place *place;
    struct bnx_scope *scope;
    struct bnx_task *task;
    const struct kind *kind;
    uint32_t go; /* posted for the canceller */
};

static int wait_on_worker_0(void *arg) {
    struct remote *remote = arg;
    CHECK_EQ(sched_worker_index(), 0);
    CHECK_EQ(remote->kind->call(remote->place), -ECANCELED);
    return 0;
}

static int cancel_on_worker_1(void *arg) {
    struct remote *remote = arg;
    io_await_wait(remote->task, remote->kind->reason);
    CHECK_EQ(sched_worker_index(), 1);
    bnx_scope_cancel(remote->scope, 0);
    return 0;
}

static void cancel_on_thread(void *arg) {
    struct remote *remote = arg;
    sched_wait_post(&remote->go, 1);
    bnx_scope_cancel(remote->scope, 0);
}

static int cancel_from_elsewhere(void *arg) {
    const struct bnx_spawn_options on_worker_0 = {.flags = BNX_SPAWN_PINNED, .worker = 0};
    const struct bnx_spawn_options on_worker_1 = {.flags = BNX_SPAWN_PINNED, .worker = 1};
    for (size_t i = 0; i < 4 * KINDS; i++) {
        struct remote remote = {.place = arg, .kind = &kinds[i % KINDS]};
        struct bnx_scope scope, cancellers;
        struct bnx_os_thread thread;
        remote.scope = &scope;
        CHECK_EQ(bnx_scope_open(&cancellers, NULL), 0);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &on_worker_0, wait_on_worker_0, &remote, &remote.task), 0);
        bool is_foreign = i / KINDS % 2 == 0;
        if (is_foreign) {
            sched_thread_start(&thread, cancel_on_thread, &remote);
            io_await_wait(remote.task, remote.kind->reason);
            sched_post(&remote.go);
        } else {
            CHECK_EQ(bnx_spawn_with(&cancellers, &on_worker_1, cancel_on_worker_1, &remote, NULL),
                     0);
        }
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(bnx_scope_close(&cancellers), 0);
        if (is_foreign) {
            sched_thread_join(&thread);
        }
    }
    return 0;
}

/* The operation is in the ring of worker 0; the cancel comes from worker 1 or from a thread that is
 * none: it reaches the ring that holds the operation. */
TEST(cancel_after_migration, "io.cancel_after_migration") {
    struct place place;
    place_open(&place);
    sched_run(2, cancel_from_elsewhere, &place);
    place_close(&place);
}

/* ---- Too late to cancel ---- */

static int read_long(void *arg) {
    struct place *place = arg;
    bnx_fetch_add_acq_rel(&place->begun, 1);
    ssize_t got = bnx_read(place->urandom, place->large, LARGE_BYTES);
    CHECK(got > 0 || got == -ECANCELED);
    /* The buffer is ours again: nobody writes to it any more. */
    memset(place->large, 0, LARGE_BYTES);
    for (int i = 0; i < 200; i++) {
        bnx_yield();
    }
    for (size_t i = 0; i < LARGE_BYTES; i += 512) {
        CHECK_EQ(place->large[i], 0);
    }
    return 0;
}

static int connect_long(void *arg) {
    struct place *place = arg;
    bnx_fetch_add_acq_rel(&place->begun, 1);
    CHECK_EQ(wait_connect_unix(arg), -ECANCELED);
    return 0;
}

/* A disk is not interrupted: the read ends by itself, with its data or before it has begun. */
static int read_direct(void *arg) {
    struct place *place = arg;
    bnx_fetch_add_acq_rel(&place->begun, 1);
    ssize_t got = bnx_pread(place->direct, place->large, LARGE_BYTES, 0);
    CHECK(got == -ECANCELED || got == (ssize_t)LARGE_BYTES || (got > 0 && got % 512 == 0));
    memset(place->large, 0, LARGE_BYTES);
    for (int i = 0; i < 200; i++) {
        bnx_yield();
    }
    for (size_t i = 0; i < LARGE_BYTES; i += 512) {
        CHECK_EQ(place->large[i], 0);
    }
    return 0;
}

static int open_fifo(void *arg) {
    struct place *place = arg;
    bnx_fetch_add_acq_rel(&place->begun, 1);
    CHECK_EQ(bnx_open(place->fifo, O_RDONLY | O_CLOEXEC, 0), -ECANCELED);
    return 0;
}

static int cancel_too_late(void *arg) {
    static const bnx_task_fn tries[] = {read_long, connect_long, read_direct, open_fifo};
    struct place *place = arg;
    for (uint64_t i = 0; i < 4 + bnx_test_scale(40); i++) {
        struct bnx_scope scope;
        uint64_t before = bnx_load_acquire(&place->begun);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, tries[i % BNX_ARRAY_COUNT(tries)], place), 0);
        sched_await_count(&place->begun, before + 1);
        for (int turn = 0; turn < 100; turn++) { /* until it is submitted, most times */
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    }
    return 0;
}

/* A file that is read from the disk each time; where there is no direct I/O, from memory. */
static void open_files(struct place *place, struct temp *temp) {
    temp_open(temp);
    struct temp_name file = temp_name(temp, "direct"), fifo = temp_name(temp, "fifo");
    memset(place->large, 'x', LARGE_BYTES);
    int fd = open(file.text, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, place->large, LARGE_BYTES), LARGE_BYTES);
    CHECK_EQ(close(fd), 0);
    place->direct = open(file.text, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (place->direct < 0) {
        CHECK_EQ(errno, EINVAL);
        place->direct = open(file.text, O_RDONLY | O_CLOEXEC);
    }
    CHECK(place->direct >= 0);
    CHECK_EQ(mkfifo(fifo.text, 0600), 0);
    (void)snprintf(place->fifo, sizeof(place->fifo), "%s", fifo.text);
}

/* An operation that runs on one of the kernel's threads answers a cancel with "too late" and runs
 * on: the task goes on when it has ended, not before. Reads of a device and of a disk, a connect,
 * an open of a fifo. */
TEST(cancel_already, "io.cancel_already_is_not_done") {
    struct place place = {0};
    place_open(&place);
    place.large = aligned_alloc(4096, LARGE_BYTES);
    CHECK(place.large != NULL);
    struct temp temp;
    open_files(&place, &temp);
    sched_run(1, cancel_too_late, &place);
    sched_run(2, cancel_too_late, &place);
    CHECK_EQ(close(place.direct), 0);
    temp_close(&temp);
    free(place.large);
    place_close(&place);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
