/* SPDX-License-Identifier: MIT */
/* Tests processes as bonxie/process.h promises them: pipes, results, signals, ends, leftovers. */
#include "tests/io/fixture.h"

#include <bonxie/process.h>

#include <sys/prctl.h>
#include <sys/wait.h>

/* Runs fn with each worker count; afterwards no child and no descriptor is left. */
static void run_clean(bnx_task_fn fn) {
    sched_run(1, fn, NULL); /* what the first use opens for good is open now */
    int before = io_fd_count();
    sched_run_each(fn, NULL);
    CHECK_EQ(io_fd_count(), before);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
}

/* An argument vector that has a shell run a script. */
#define SHELL(script)                                                                              \
    (char *[]) {                                                                                   \
        (char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){script}, NULL                                \
    }

static struct bnx_process *spawn(struct bnx_scope *scope,
                                 const struct bnx_process_options *options) {
    struct bnx_process *process = NULL;
    CHECK_EQ(bnx_process_spawn(scope, options, &process), 0);
    CHECK(bnx_process_id(process) > 0);
    return process;
}

static void read_whole(int fd, char *text, size_t bytes_max) {
    size_t bytes = 0;
    ssize_t got;
    while ((got = bnx_read(fd, text + bytes, bytes_max - 1 - bytes)) >
           0) { /* ends: the text does */
        bytes += (size_t)got;
    }
    CHECK_EQ(got, 0);
    text[bytes] = '\0';
}

/* ---- Pipes ---- */

#define TALKERS 8

static int talk(void *arg) {
    int number = (int)(intptr_t)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_process_options options = {
        .argv = SHELL("read line; echo \"got $line\"; echo oops >&2; exit 7"),
        .input = {.kind = BNX_STDIO_PIPE},
        .output = {.kind = BNX_STDIO_PIPE},
        .errors = {.kind = BNX_STDIO_PIPE},
    };
    struct bnx_process *process = spawn(&scope, &options);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = bnx_process_take_pipe(process, i);
        CHECK(fds[i] >= 0);
        CHECK((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_EQ(bnx_process_take_pipe(process, i), -EBADF);
    }
    char line[32];
    char expected[64];
    char text[64];
    (void)snprintf(line, sizeof(line), "%d\n", number);
    (void)snprintf(expected, sizeof(expected), "got %d\n", number);
    CHECK_EQ(bnx_write(fds[0], line, strlen(line)), strlen(line));
    read_whole(fds[1], text, sizeof(text));
    CHECK_STR(text, expected);
    read_whole(fds[2], text, sizeof(text));
    CHECK_STR(text, "oops\n");
    CHECK_EQ(bnx_process_wait(process), 7);
    CHECK_EQ(bnx_process_wait(process), 7);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_close(fds[i]), 0);
    }
    return bnx_scope_close(&scope);
}

static int talk_to_several(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (intptr_t i = 0; i < TALKERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, talk, (void *)i), 0);
    }
    return bnx_scope_close(&scope);
}

/* Several at once, each fed and read through pipes of its own. */
TEST(process_pipes, "process.pipes") {
    run_clean(talk_to_several);
}

/* ---- What a process gets, and what it does not ---- */

/* The words after a name in /proc/self/status of a process. */
static uint64_t mask_in(const char *text, const char *name) {
    const char *at = strstr(text, name);
    CHECK(at != NULL);
    return strtoull(at + strlen(name), NULL, 16);
}

static int look_inside(void *arg) {
    (void)arg;
    static char text[4096];
    struct bnx_process_text output = {.data = text, .bytes_max = sizeof(text) - 1};
    char *status[] = {(char[]){"cat"}, (char[]){"/proc/self/status"}, NULL};
    struct bnx_process_options options = {.argv = status};
    CHECK_EQ(bnx_process_run(&options, NULL, &output, NULL), 0);
    text[output.bytes] = '\0';
    const uint64_t of_libc = UINT64_C(3) << 31; /* its own two, below SIGRTMIN */
    CHECK_EQ(mask_in(text, "SigBlk:\t"), 0);
    CHECK_EQ(mask_in(text, "SigIgn:\t") & ~of_libc, 0);
    return 0;
}

/* No signal is blocked in it, though workers block all, nor ignored, though the program ignores. */
TEST(process_signals_are_reset, "process.signals_are_reset") {
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    run_clean(look_inside);
}

static int list_descriptors(void *arg) {
    (void)arg;
    int leaks[2];
    CHECK_EQ(pipe(leaks), 0); /* no O_CLOEXEC: an exec alone would pass them on */
    char text[256];
    struct bnx_process_text output = {.data = text, .bytes_max = sizeof(text) - 1};
    struct bnx_process_options options = {
        .argv = SHELL("ls /proc/$$/fd; exit 0"),
    };
    CHECK_EQ(bnx_process_run(&options, NULL, &output, NULL), 0);
    text[output.bytes] = '\0';
    CHECK_STR(text, "0\n1\n2\n");
    io_close_pair(leaks);
    return 0;
}

/* Of our descriptors it has three, whether or not they are closed by an exec. */
TEST(process_inherits_nothing, "process.inherits_nothing") {
    run_clean(list_descriptors);
}

/* Descriptors that overlap with those that they are to become: input from 1's file and so on. */
static int swap_descriptors(void *arg) {
    (void)arg;
    int fds[2];
    char text[64];
    io_pipe(fds);
    int kept = dup(STDIN_FILENO);
    CHECK(kept >= 0);
    CHECK_EQ(dup2(fds[1], STDIN_FILENO), STDIN_FILENO); /* its output will be our 0 */
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_process_options options = {
        .argv = SHELL("cat; echo err >&2"),
        .input = {.kind = BNX_STDIO_NULL},
        .output = {.kind = BNX_STDIO_FD, .fd = STDIN_FILENO},
        .errors = {.kind = BNX_STDIO_OUTPUT},
    };
    struct bnx_process *process = spawn(&scope, &options);
    CHECK_EQ(bnx_process_wait(process), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    CHECK_EQ(close(kept), 0);
    CHECK_EQ(close(fds[1]), 0);
    read_whole(fds[0], text, sizeof(text));
    CHECK_STR(text, "err\n");
    CHECK_EQ(close(fds[0]), 0);
    return 0;
}

static int start_elsewhere(void *arg) {
    (void)arg;
    char text[64];
    struct bnx_process_text output = {.data = text, .bytes_max = sizeof(text) - 1};
    char *environment[] = {(char[]){"NAME=skua"}, NULL};
    struct bnx_process_options options = {
        .argv = SHELL("pwd; echo $NAME"), .envp = environment, .directory = "/proc"};
    CHECK_EQ(bnx_process_run(&options, NULL, &output, NULL), 0);
    text[output.bytes] = '\0';
    CHECK_STR(text, "/proc\nskua\n");
    return swap_descriptors(NULL);
}

/* The sizes of timer slack: the program's own, and the one that the child says it has. */
static int compare_slack(void *arg) {
    unsigned long expected_ns = *(const unsigned long *)arg;
    char text[64];
    struct bnx_process_text output = {.data = text, .bytes_max = sizeof(text) - 1};
    char *slack[] = {(char[]){"cat"}, (char[]){"/proc/self/timerslack_ns"}, NULL};
    struct bnx_process_options options = {.argv = slack};
    CHECK_EQ(bnx_process_run(&options, NULL, &output, NULL), 0);
    text[output.bytes] = '\0';
    CHECK_EQ(strtoul(text, NULL, 10), expected_ns);
    return 0;
}

/* A program gets the timer slack that ours has, though a worker has hardly any and whom it starts,
 * the pool's threads among them, has the same. */
TEST(process_timer_slack, "process.timer_slack_is_the_programs") {
    unsigned long odd_ns = 70001; /* nobody's default */
    CHECK_EQ(prctl(PR_SET_TIMERSLACK, odd_ns), 0);
    sched_run_each(compare_slack, &odd_ns);
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), odd_ns);
}

/* Directory, environment, /dev/null, a descriptor of ours, errors into the output. */
TEST(process_options, "process.options") {
    run_clean(start_elsewhere);
}

/* ---- What cannot be started ---- */

static int start_wrongly(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_scope inner;
    struct bnx_process *process = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    char *absent[] = {(char[]){"/none/such"}, NULL};
    char *nothing[] = {NULL};
    struct bnx_process_options options = {.argv = absent, .output = {.kind = BNX_STDIO_PIPE}};
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -ENOENT);
    options.file = "/etc/passwd";
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -EACCES);
    options.file = "/bin/true";
    options.directory = "/none/such";
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -ENOENT);
    options.directory = NULL;
    options.input = (struct bnx_stdio){.kind = BNX_STDIO_FD, .fd = 1 << 19};
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -EBADF);
    options.input = (struct bnx_stdio){.kind = BNX_STDIO_OUTPUT};
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -EINVAL);
    options.input = (struct bnx_stdio){0};
    CHECK_EQ(bnx_process_spawn(NULL, &options, &process), -EINVAL);
    options.argv = nothing;
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -EINVAL);
    options.argv = absent;
    CHECK_EQ(bnx_scope_open(&inner, NULL), 0);
    bnx_scope_cancel(&inner, 0);
    CHECK_EQ(bnx_process_spawn(&inner, &options, &process), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&inner), -ECANCELED);
    CHECK(process == NULL);
    return bnx_scope_close(&scope);
}

/* The exec's own error comes back; nothing is left of the attempt. */
TEST(process_errors, "process.errors") {
    struct bnx_scope scope;
    struct bnx_process *process = NULL;
    memset(&scope, 0, sizeof(scope));
    struct bnx_process_options options = {.argv = SHELL("exit 0")};
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -EPERM);
    run_clean(start_wrongly);
}

/* ---- System calls that fail on the way ---- */

static struct bnx_os real_os;
static uint32_t calls_left; /* until one of them fails */

static bool is_due(void) {
    return bnx_fetch_add_relaxed(&calls_left, UINT32_MAX) == 1;
}

static int pidfd_open_or_fail(pid_t pid) {
    return is_due() ? -EMFILE : real_os.pidfd_open(pid);
}

static int pipe2_or_fail(int out_fds[2], int flags) {
    return is_due() ? -EMFILE : real_os.pipe2(out_fds, flags);
}

static int epoll_control_or_fail(int epoll_fd, int control, int fd, unsigned events, uint64_t key) {
    bool is_watch = control == EPOLL_CTL_ADD && events == (EPOLLIN | EPOLLONESHOT);
    return is_watch && is_due() ? -ENOSPC
                                : real_os.epoll_control(epoll_fd, control, fd, events, key);
}

static int start_with_failures(void *arg) {
    const int *expected = arg;
    for (uint32_t call = 1; call <= 3; call++) {
        struct bnx_scope scope;
        struct bnx_process *process = NULL;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        struct bnx_process_options options = {
            .argv = SHELL("exec sleep 60"),
            .output = {.kind = BNX_STDIO_PIPE},
            .errors = {.kind = BNX_STDIO_PIPE},
        };
        bnx_store_relaxed(&calls_left, call);
        int error = bnx_process_spawn(&scope, &options, &process);
        bnx_store_relaxed(&calls_left, 0);
        CHECK(error == 0 || error == *expected);
        CHECK(error != 0 || call > 1);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

/* No pidfd, no pipe, no watch: the error comes back, the child that there was is gone. */
TEST(process_faults, "process.faults") {
    real_os = bnx_os;
    static const int too_many = -EMFILE;
    static const int no_watch = -ENOSPC;
    int before = 0;
    for (int round = 0; round < 4; round++) {
        bnx_os.pidfd_open = round == 1 ? pidfd_open_or_fail : real_os.pidfd_open;
        bnx_os.pipe2 = round == 2 ? pipe2_or_fail : real_os.pipe2;
        bnx_os.epoll_control = round == 3 ? epoll_control_or_fail : real_os.epoll_control;
        const int *expected = round == 3 ? &no_watch : &too_many;
        if (round > 0) {
            sched_run(2, start_with_failures, (void *)(uintptr_t)expected);
            CHECK_EQ(io_fd_count(), before);
        } else {
            sched_run_each(talk_to_several, NULL);
            before = io_fd_count();
        }
    }
    bnx_os = real_os;
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

static int open_nothing(pid_t pid) {
    (void)pid;
    return -ESRCH; /* reaped before it was looked for */
}

static int count_kills(pid_t pid, int signo) {
    (void)pid;
    (void)signo;
    bnx_fetch_add_relaxed(&calls_left, 1);
    return 0;
}

static int lose_children(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_process *process = NULL;
    struct bnx_process_options options = {.argv = SHELL("read line"),
                                          .input = {.kind = BNX_STDIO_PIPE}};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), 0);
    CHECK_EQ(bnx_close(bnx_process_take_pipe(process, 0)), 0);
    CHECK_EQ(bnx_process_wait(process), -ECHILD);
    CHECK_EQ(bnx_process_signal(process, SIGKILL), -ESRCH);
    CHECK_EQ(bnx_scope_close(&scope), 0);

    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_os.pidfd_open = open_nothing;
    CHECK_EQ(bnx_process_spawn(&scope, &options, &process), -ECHILD);
    bnx_os.pidfd_open = real_os.pidfd_open;
    return bnx_scope_close(&scope);
}

/* Where the kernel reaps by itself, a process has no result, and nobody who may have got its number
 * is killed in its place. */
TEST(process_lost, "process.without_sigchld") {
    real_os = bnx_os;
    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    bnx_os.kill = count_kills;
    sched_run(1, lose_children, NULL);
    CHECK_EQ(calls_left, 0);
    bnx_os = real_os;
}

/* ---- Waiting ---- */

#define WAITERS 5

struct crowd {
    struct bnx_process *process;
    uint64_t done;
};

static int wait_in_crowd(void *arg) {
    struct crowd *crowd = arg;
    CHECK_EQ(bnx_process_wait(crowd->process), BNX_PROCESS_KILLED + SIGUSR1);
    bnx_fetch_add_acq_rel(&crowd->done, 1);
    return 0;
}

/* Some wait, some wait no more: their scope is cancelled. The process does not mind. */
static int wait_together(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_scope inner;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_process_options options = {.argv = SHELL("exec sleep 60")};
    struct crowd crowd = {.process = spawn(&scope, &options)};
    for (int i = 0; i < WAITERS; i++) {
        struct bnx_task *task;
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_in_crowd, &crowd, &task), 0);
        io_await_wait(task, BNX_WAIT_PROCESS);
    }
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    CHECK_EQ(bnx_scope_open(&inner, &soon), 0);
    CHECK_EQ(bnx_process_wait(crowd.process), -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&inner), -ETIMEDOUT);
    CHECK_EQ(bnx_load_acquire(&crowd.done), 0);
    CHECK_EQ(bnx_process_signal(crowd.process, 12345), -EINVAL);
    CHECK_EQ(bnx_process_signal(crowd.process, SIGUSR1), 0);
    CHECK_EQ(bnx_process_wait(crowd.process), BNX_PROCESS_KILLED + SIGUSR1);
    CHECK_EQ(bnx_process_signal(crowd.process, SIGUSR1), -ESRCH);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(crowd.done, WAITERS);
    return 0;
}

TEST(process_wait, "process.wait") {
    run_clean(wait_together);
}

/* As waitables: gathered, selected beside a channel, waited for by a thread. */
struct thread_wait {
    struct bnx_process *process;
    int result;
};

static void wait_on_thread(void *arg) {
    struct thread_wait *wait = arg;
    wait->result = bnx_process_wait(wait->process);
}

static int wait_for_several(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_process_options quick[] = {{.argv = SHELL("exit 1")}, {.argv = SHELL("exit 2")}};
    struct bnx_process_options slow = {.argv = SHELL("exec sleep 60")};
    struct bnx_process *processes[] = {spawn(&scope, &quick[0]), spawn(&scope, &quick[1]),
                                       spawn(&scope, &slow)};
    struct bnx_waitable *both[] = {bnx_process_waitable(processes[0]),
                                   bnx_process_waitable(processes[1])};
    int results[2];
    CHECK_EQ(bnx_gather(both, 2, results, 0), 0);
    CHECK_EQ(results[0], 1);
    CHECK_EQ(results[1], 2);

    struct bnx_chan *chan;
    int item = 0;
    CHECK_EQ(bnx_chan_create(sizeof(item), 0, &chan), 0);
    struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item),
                               BNX_CASE_WAIT(bnx_process_waitable(processes[2])),
                               BNX_CASE_AFTER(BNX_NS_PER_MS)};
    CHECK_EQ(bnx_select(cases, 3, 0), 2);
    struct thread_wait wait = {.process = processes[2]};
    struct bnx_os_thread thread;
    sched_thread_start(&thread, wait_on_thread, &wait);
    CHECK_EQ(bnx_process_signal(processes[2], SIGKILL), 0);
    CHECK_EQ(bnx_select(cases, 2, 0), 1);
    CHECK_EQ(cases[1].result, BNX_PROCESS_KILLED + SIGKILL);
    sched_thread_join(&thread);
    CHECK_EQ(wait.result, BNX_PROCESS_KILLED + SIGKILL);
    bnx_chan_destroy(chan);
    return bnx_scope_close(&scope);
}

TEST(process_waitable, "process.waitable") {
    run_clean(wait_for_several);
}

/* ---- With its scope ---- */

static bool is_alive(pid_t pid) {
    return kill(pid, 0) == 0;
}

/* One that stays, one that is stopped, one that will hear of nothing but SIGKILL. */
static int leave_behind(void *arg) {
    (void)arg;
    static const char *const scripts[] = {"exec sleep 60", "kill -STOP $$; exec sleep 60",
                                          "trap '' TERM; echo; exec sleep 60"};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(scripts); i++) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        char script[64];
        (void)snprintf(script, sizeof(script), "%s", scripts[i]);
        char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, script, NULL};
        struct bnx_process_options options = {
            .argv = argv, .output = {.kind = BNX_STDIO_PIPE}, .grace_ns = 20 * BNX_NS_PER_MS};
        struct bnx_process *process = spawn(&scope, &options);
        pid_t pid = bnx_process_id(process);
        CHECK(is_alive(pid));
        if (i == 2) { /* its trap is set */
            char byte;
            int fd = bnx_process_take_pipe(process, STDOUT_FILENO);
            CHECK_EQ(bnx_read(fd, &byte, 1), 1);
            CHECK_EQ(bnx_close(fd), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK(!is_alive(pid));
    }
    return 0;
}

TEST(process_ends_with_scope, "process.ends_with_scope") {
    run_clean(leave_behind);
}

struct cancelled {
    pid_t pid;
    struct bnx_event is_started;
};

static int wait_for_end(void *arg) {
    struct cancelled *cancelled = arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_process_options options = {.argv = SHELL("trap '' TERM; echo; exec sleep 60"),
                                          .output = {.kind = BNX_STDIO_PIPE}};
    struct bnx_process *process = spawn(&scope, &options);
    int fd = bnx_process_take_pipe(process, STDOUT_FILENO);
    char byte;
    CHECK_EQ(bnx_read(fd, &byte, 1), 1);
    cancelled->pid = bnx_process_id(process);
    bnx_event_set(&cancelled->is_started);
    CHECK_EQ(bnx_process_wait(process), -ECANCELED);
    CHECK_EQ(bnx_close(fd), 0);
    (void)bnx_scope_close(&scope);
    CHECK(!is_alive(cancelled->pid));
    return 0;
}

/* The scope above is cancelled; the grace of its deferred functions is over before SIGKILL would be
 * due: it comes then. */
static int cancel_above(void *arg) {
    (void)arg;
    struct cancelled cancelled = {0};
    struct bnx_scope scope;
    struct bnx_scope_options options = {.grace_ns = 10 * BNX_NS_PER_MS};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn(&scope, wait_for_end, &cancelled), 0);
    CHECK_EQ(bnx_event_wait(&cancelled.is_started), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK(!is_alive(cancelled.pid));
    return 0;
}

TEST(process_ends_with_cancel, "process.ends_with_cancel") {
    run_clean(cancel_above);
}

/* ---- All in one call ---- */

#define TEXT_BYTES ((size_t)1 << 20) /* more than pipes hold: who feeds must read as well */

static int run_whole(void *arg) {
    (void)arg;
    static char sent[TEXT_BYTES];
    static char back[TEXT_BYTES];
    struct bnx_rng rng;
    bnx_rng_init(&rng, 1, 0);
    io_fill(sent, sizeof(sent), &rng);
    char errors_data[16];
    struct bnx_process_text input = {.data = sent, .bytes = sizeof(sent)};
    struct bnx_process_text output = {.data = back, .bytes_max = sizeof(back)};
    struct bnx_process_text errors = {.data = errors_data, .bytes_max = sizeof(errors_data)};
    struct bnx_process_options options = {.argv = SHELL("echo err >&2; cat; exit 3")};
    CHECK_EQ(bnx_process_run(&options, &input, &output, &errors), 3);
    CHECK_EQ(output.bytes, sizeof(back));
    CHECK(memcmp(sent, back, sizeof(sent)) == 0);
    CHECK_EQ(errors.bytes, 4);

    output.bytes_max--;
    CHECK_EQ(bnx_process_run(&options, &input, &output, &errors), -EMSGSIZE);
    CHECK_EQ(output.bytes, output.bytes_max);

    options.argv = SHELL("exec <&-; exit 4"); /* reads nothing */
    CHECK_EQ(bnx_process_run(&options, &input, NULL, NULL), 4);
    options.argv = SHELL("exec sleep 60");
    struct bnx_scope scope;
    struct bnx_scope_options soon = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    int error = bnx_process_run(&options, &input, &output, NULL);
    CHECK(error == -ECANCELED || error == -ETIMEDOUT);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
    return 0;
}

TEST(process_run, "process.run") {
    run_clean(run_whole);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
