/* SPDX-License-Identifier: MIT */
/* Tests the end of a process that a debugger holds (io/process.c). */
#include "tests/io/fixture.h"

#include <bonxie/process.h>

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static struct {
    int (*waitid)(idtype_t type, id_t id, siginfo_t *info, int options);
    uint64_t vain; /* looks that have found nothing to reap */
} looks;

static int waitid_counted(idtype_t type, id_t id, siginfo_t *info, int options) {
    int error = looks.waitid(type, id, info, options);
    if (error == 0 && info->si_pid == 0) {
        bnx_fetch_add_acq_rel(&looks.vain, 1);
    }
    return error;
}

/* A process that traces another one until it is told to end. It says how that began. */
struct tracer {
    pid_t pid;
    int control[2];
};

static void be_tracer(pid_t traced, int control) {
    char byte;
    /* Else it would keep the traced one's input open. */
    (void)close_range(STDERR_FILENO + 1, (unsigned)control - 1, 0);
    (void)close_range((unsigned)control + 1, UINT_MAX, 0);
    int error = ptrace(PTRACE_SEIZE, traced, NULL, NULL) == 0 ? 0 : errno;
    (void)!write(control, &error, sizeof(error));
    (void)!read(control, &byte, 1); /* the end of it */
    _exit(0);
}

static int tracer_start(struct tracer *tracer, pid_t traced) {
    int error = 0;
    io_unix_pair(tracer->control);
    tracer->pid = fork();
    CHECK(tracer->pid >= 0);
    if (tracer->pid == 0) {
        (void)close(tracer->control[0]);
        be_tracer(traced, tracer->control[1]);
    }
    CHECK_EQ(close(tracer->control[1]), 0);
    CHECK_EQ(read(tracer->control[0], &error, sizeof(error)), (ssize_t)sizeof(error));
    return error;
}

static void tracer_end(const struct tracer *tracer) {
    CHECK_EQ(close(tracer->control[0]), 0);
    CHECK_EQ(waitpid(tracer->pid, NULL, 0), tracer->pid);
}

static bool is_zombie(pid_t pid) {
    char path[32], text[256];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    ssize_t bytes = read(fd, text, sizeof(text) - 1);
    CHECK(bytes > 0);
    text[bytes] = '\0';
    CHECK_EQ(close(fd), 0);
    const char *state = strrchr(text, ')');
    return state != NULL && strncmp(state, ") Z", 3) == 0;
}

struct held {
    struct bnx_process *process;
    int result;
};

static int wait_for_held(void *arg) {
    struct held *held = arg;
    held->result = bnx_process_wait(held->process);
    return 0;
}

static int end_while_traced(void *arg) {
    struct tracer tracer;
    struct held held = {0};
    struct bnx_scope scope, waiting;
    struct bnx_task *waiter;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){"read line; exit 5"}, NULL};
    struct bnx_process_options options = {.argv = argv, .input = {.kind = BNX_STDIO_PIPE}};
    CHECK_EQ(bnx_process_spawn(&scope, &options, &held.process), 0);
    pid_t pid = bnx_process_id(held.process);
    int error = tracer_start(&tracer, pid);
    if (error != 0) {
        *(int *)arg = error;
        tracer_end(&tracer);
        return bnx_scope_close(&scope);
    }
    CHECK_EQ(bnx_scope_open(&waiting, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&waiting, NULL, wait_for_held, &held, &waiter), 0);
    io_await_wait(waiter, BNX_WAIT_PROCESS);
    CHECK_EQ(bnx_close(bnx_process_take_pipe(held.process, STDIN_FILENO)), 0);
    while (!is_zombie(pid)) { /* ends: its input has */
        bnx_yield();
    }
    sched_await_count(&looks.vain, bnx_load_acquire(&looks.vain) + 1);
    CHECK_EQ(held.result, 0); /* it goes on waiting */
    tracer_end(&tracer);
    CHECK_EQ(bnx_scope_close(&waiting), 0);
    CHECK_EQ(held.result, 5);
    return bnx_scope_close(&scope);
}

/* It ends while a debugger holds it, so that nobody else can reap it: when it is let go of, who
 * waits for it is told. */
TEST(process_traced, "process.end_of_a_traced_one") {
    int error = 0;
    looks.waitid = bnx_os.waitid;
    bnx_os.waitid = waitid_counted;
    sched_run_each(end_while_traced, &error);
    if (error != 0) {
        SKIP("cannot trace: %s", strerror(error));
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
