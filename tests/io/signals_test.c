/* SPDX-License-Identifier: MIT */
/* Tests streams of signals as bonxie/signal.h promises them, and writes that raise no signal. */
#include "tests/io/fixture.h"

#include <bonxie/signal.h>

#include <sys/wait.h>

#define NUMBER (SIGRTMIN + 3) /* a real-time signal: each is counted, and brings a value */

static void send_number(int value) {
    CHECK_EQ(sigqueue(getpid(), NUMBER, (union sigval){.sival_int = value}), 0);
}

static struct bnx_signal_stream *open_stream(const int *signals, size_t count) {
    struct bnx_signal_stream *stream = NULL;
    CHECK_EQ(bnx_signal_open(signals, count, &stream), 0);
    return stream;
}

static void block_all(void) {
    const int signals[] = {SIGUSR1, SIGUSR2, SIGHUP, NUMBER};
    CHECK_EQ(bnx_signal_block(signals, BNX_ARRAY_COUNT(signals)), 0);
}

/* Runs fn with each worker count; afterwards no descriptor is left, and no thread. */
static void run_clean(bnx_task_fn fn) {
    sched_run(1, fn, NULL); /* what the first use opens for good is open now */
    int fds = io_fd_count();
    sched_run_each(fn, NULL);
    CHECK_EQ(io_fd_count(), fds);
    io_await_alone();
}

/* ---- What comes ---- */

struct reader {
    struct bnx_signal_stream *stream;
    struct bnx_signal_info info;
};

static int read_one(void *arg) {
    struct reader *reader = arg;
    return bnx_signal_next(reader->stream, &reader->info);
}

/* One waits before it comes, one asks afterwards; a third does not want it. */
static int read_by_several(void *arg) {
    (void)arg;
    const int both[] = {SIGUSR1, NUMBER};
    const int other[] = {SIGUSR2};
    struct reader first = {.stream = open_stream(both, 2)};
    struct bnx_signal_stream *second = open_stream(both, 1);
    struct bnx_signal_stream *third = open_stream(other, 1);
    struct bnx_scope scope;
    struct bnx_task *task;
    struct bnx_signal_info info;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_one, &first, &task), 0);
    io_await_wait(task, BNX_WAIT_SIGNAL);
    CHECK_EQ(bnx_signal_try_next(second, &info), -EAGAIN);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    int result;
    CHECK_EQ(bnx_join(task, &result), 0);
    CHECK_EQ(result, SIGUSR1);
    CHECK_EQ(first.info.signo, SIGUSR1);
    CHECK_EQ(first.info.pid, getpid());
    CHECK_EQ(first.info.uid, getuid());
    CHECK_EQ(first.info.code, SI_USER);
    CHECK_EQ(bnx_signal_next(second, &info), SIGUSR1);
    CHECK_EQ(info.pid, getpid());

    send_number(1);
    send_number(2);
    CHECK_EQ(bnx_signal_next(first.stream, &info), NUMBER);
    CHECK_EQ(info.value, 1);
    CHECK_EQ(info.code, SI_QUEUE);
    CHECK_EQ(bnx_signal_next(first.stream, &info), NUMBER);
    CHECK_EQ(info.value, 2);
    CHECK_EQ(bnx_signal_try_next(first.stream, NULL), -EAGAIN);
    CHECK_EQ(bnx_signal_try_next(second, NULL), -EAGAIN);
    CHECK_EQ(bnx_signal_try_next(third, NULL), -EAGAIN);
    bnx_signal_close(third);
    bnx_signal_close(second);
    bnx_signal_close(first.stream);
    return bnx_scope_close(&scope);
}

/* Each stream gets what it wants, whoever else does; in order, with sender and value. */
TEST(signals_each_stream, "signals.each_stream") {
    block_all();
    run_clean(read_by_several);
}

#define NUMBERS_MAX 96

/* One signal that comes again before it is taken is one; numbers are counted, up to a limit. */
static int let_them_pile_up(void *arg) {
    (void)arg;
    const int signals[] = {SIGUSR1, SIGUSR2, NUMBER};
    struct bnx_signal_stream *stream = open_stream(signals, 3);
    const int last[] = {SIGHUP};
    struct bnx_signal_stream *marks = open_stream(last, 1);
    struct bnx_signal_info info;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    }
    for (int i = 0; i < NUMBERS_MAX + 20; i++) {
        send_number(i);
    }
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    sigset_t pending;
    do { /* ends: the library takes them all */
        bnx_yield();
        CHECK_EQ(sigpending(&pending), 0);
    } while (sigismember(&pending, NUMBER) == 1);
    CHECK_EQ(kill(getpid(), SIGHUP), 0); /* when this one is there, the last number is too */
    CHECK_EQ(bnx_signal_next(marks, NULL), SIGHUP);
    int ones = 0;
    int twos = 0;
    int numbers = 0;
    int signo;
    while ((signo = bnx_signal_try_next(stream, &info)) > 0) {
        ones += signo == SIGUSR1;
        twos += signo == SIGUSR2;
        if (signo == NUMBER) {
            CHECK_EQ(info.value, numbers++);
        }
    }
    CHECK_EQ(signo, -EAGAIN);
    CHECK_EQ(ones, 1);
    CHECK_EQ(twos, 1);
    CHECK_EQ(numbers, NUMBERS_MAX);
    bnx_signal_close(marks);
    bnx_signal_close(stream);
    return 0;
}

TEST(signals_pile_up, "signals.pile_up") {
    block_all();
    run_clean(let_them_pile_up);
}

/* ---- Waiting among other things ---- */

static int select_one(void *arg) {
    (void)arg;
    const int signals[] = {SIGUSR1};
    struct bnx_signal_stream *stream = open_stream(signals, 1);
    struct bnx_chan *chan;
    int item = 0;
    CHECK_EQ(bnx_chan_create(sizeof(item), 1, &chan), 0);
    struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item),
                               BNX_CASE_WAIT(bnx_signal_waitable(stream)),
                               BNX_CASE_AFTER(BNX_NS_PER_MS)};
    CHECK_EQ(bnx_select(cases, 3, 0), 2);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(bnx_select(cases, 2, 0), 1);
    CHECK_EQ(cases[1].result, SIGUSR1);
    item = 7;
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    CHECK_EQ(bnx_select(cases, 2, 0), 0);
    CHECK_EQ(bnx_signal_try_next(stream, NULL), -EAGAIN);

    struct bnx_scope scope;
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    struct bnx_signal_info info;
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    CHECK_EQ(bnx_signal_next(stream, &info), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    size_t index = 9;
    struct bnx_waitable *waitable = bnx_signal_waitable(stream);
    CHECK_EQ(bnx_wait(&waitable, 1, BNX_WAIT_FIRST, &index), SIGUSR1);
    CHECK_EQ(index, 0);
    bnx_chan_destroy(chan);
    bnx_signal_close(stream);
    return 0;
}

/* A select takes a signal, or leaves it; a wait that is cancelled takes none. */
TEST(signals_select, "signals.select") {
    block_all();
    run_clean(select_one);
}

#define READERS 4
#define IN_FLIGHT 64

struct flow {
    struct bnx_signal_stream *stream;
    uint64_t count; /* of signals read */
    uint64_t sum;   /* of their values */
    uint64_t total; /* to be sent */
};

static int read_with_deadlines(void *arg) {
    struct flow *flow = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, 1, (uint64_t)(uintptr_t)&rng);
    while (bnx_load_acquire(&flow->count) < flow->total) { /* ends: all are sent */
        struct bnx_scope scope;
        struct bnx_scope_options soon = {.deadline_ns = bnx_now() + bnx_rng_below(&rng, 200000)};
        struct bnx_signal_info info;
        CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
        int signo = bnx_signal_next(flow->stream, &info);
        (void)bnx_scope_close(&scope);
        CHECK(signo == NUMBER || signo == -ETIMEDOUT);
        if (signo == NUMBER) {
            bnx_fetch_add_acq_rel(&flow->sum, (uint64_t)info.value);
            bnx_fetch_add_acq_rel(&flow->count, 1);
        }
    }
    return 0;
}

static void send_flow(void *arg) {
    struct flow *flow = arg;
    for (uint64_t i = 0; i < flow->total; i++) {
        while (i - bnx_load_acquire(&flow->count) >= IN_FLIGHT) { /* ends: they are read */
            bnx_os.thread_yield();
        }
        send_number((int)i);
    }
}

static int conserve(void *arg) {
    const int signals[] = {NUMBER};
    (void)arg;
    struct flow flow = {.stream = open_stream(signals, 1), .total = 50 + bnx_test_scale(5000)};
    struct bnx_os_thread sender;
    struct bnx_scope scope;
    sched_thread_start(&sender, send_flow, &flow);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < READERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, read_with_deadlines, &flow), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    sched_thread_join(&sender);
    CHECK_EQ(flow.count, flow.total);
    CHECK_EQ(flow.sum, flow.total * (flow.total - 1) / 2);
    bnx_signal_close(flow.stream);
    return 0;
}

/* Readers whose waits are ended at random times lose none and get none twice. */
TEST(signals_conserved, "signals.conserved") {
    block_all();
    run_clean(conserve);
}

/* ---- Opening and closing ---- */

static int open_and_close(void *arg) {
    const int signals[] = {SIGUSR1};
    uint64_t rounds = bnx_test_scale(200);
    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_signal_stream *one = open_stream(signals, 1);
        struct bnx_signal_stream *other = open_stream(signals, 1);
        bnx_signal_close(one);
        bnx_yield();
        bnx_signal_close(other);
    }
    return 0;
}

static int open_in_tasks(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn(&scope, open_and_close, NULL), 0);
    }
    return bnx_scope_close(&scope);
}

/* The first stream starts a thread, the last one ends it, whoever does it meanwhile. */
TEST(signals_open_and_close, "signals.open_and_close") {
    block_all();
    run_clean(open_in_tasks);
}

/* What no stream can have is refused; so is nothing. A stream outlives the runtime, and serves
 * threads. */
TEST(signals_errors, "signals.errors") {
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGABRT, 0, -1, 65};
    struct bnx_signal_stream *stream = NULL;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(refused); i++) {
        CHECK_EQ(bnx_signal_open(&refused[i], 1, &stream), -EINVAL);
        CHECK_EQ(bnx_signal_block(&refused[i], 1), -EINVAL);
    }
    CHECK_EQ(bnx_signal_open(NULL, 1, &stream), -EINVAL);
    CHECK_EQ(bnx_signal_open(refused, 0, &stream), -EINVAL);
    CHECK(stream == NULL);
    bnx_signal_close(NULL);
    block_all();
    const int signals[] = {SIGUSR1};
    stream = open_stream(signals, 1);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(bnx_signal_next(stream, NULL), SIGUSR1);
    bnx_signal_close(stream);
}

/* ---- Beside the signals of bnx_main ---- */

static int ready_fd;

static int count_hangups(void *arg) {
    const int signals[] = {SIGHUP};
    struct bnx_signal_stream *stream = open_stream(signals, 1);
    (void)arg;
    int signo;
    CHECK_EQ(bnx_os.write(ready_fd, "r", 1), 1);
    while ((signo = bnx_signal_next(stream, NULL)) == SIGHUP) {
        CHECK_EQ(bnx_os.write(ready_fd, "h", 1), 1);
    }
    CHECK_EQ(signo, -ECANCELED);
    bnx_signal_close(stream);
    return signo;
}

/* A program of bnx_main reloads at each SIGHUP, and ends at a SIGTERM as any other does. */
TEST(signals_beside_main, "signals.beside_main") {
    const int signals[] = {SIGHUP};
    int fds[2];
    char byte;
    io_pipe(fds);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ready_fd = fds[1];
        CHECK_EQ(bnx_signal_block(signals, 1), 0);
        int status = bnx_main(count_hangups, NULL);
        _exit(status < 0 ? 99 : status);
    }
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    CHECK_EQ(byte, 'r');
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(kill(pid, SIGHUP), 0);
        CHECK_EQ(read(fds[0], &byte, 1), 1);
        CHECK_EQ(byte, 'h');
    }
    CHECK_EQ(kill(pid, SIGTERM), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 143);
    io_close_pair(fds);
}

/* ---- SIGPIPE in a guest ---- */

static int write_to_closed(void *arg) {
    (void)arg;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        (i == 0 ? io_pipe : io_unix_pair)(fds);
        CHECK_EQ(close(fds[0]), 0);
        CHECK_EQ(bnx_write(fds[1], "x", 1), -EPIPE);
        CHECK_EQ(bnx_write(fds[1], "x", 1), -EPIPE);
        CHECK_EQ(close(fds[1]), 0);
    }
    uint64_t one = 1;
    int fd = bnx_os.eventfd(0, 0); /* a file that knows no flags */
    CHECK_EQ(bnx_write(fd, &one, sizeof(one)), sizeof(one));
    CHECK_EQ(close(fd), 0);
    return 0;
}

static bool can_write_quietly(void) {
    int fds[2];
    struct iovec byte = {(char[]){"x"}, 1};
    io_pipe(fds);
    bool can = pwritev2(fds[1], &byte, 1, -1, 0x100) == 1; /* RWF_NOSIGNAL */
    io_close_pair(fds);
    return can;
}

/* On a host's thread, which neither blocks nor ignores SIGPIPE, a write to what is closed is an
 * error and no signal. */
TEST(signals_guest, "signals.guest_write_raises_none") {
    if (!can_write_quietly()) {
        SKIP("a kernel without RWF_NOSIGNAL: the host has to ignore SIGPIPE");
    }
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    struct bnx_options options = {.flags = BNX_GUEST, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    CHECK_EQ(bnx_runtime_run(runtime, write_to_closed, NULL), 0);
    sched_destroy(runtime);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
