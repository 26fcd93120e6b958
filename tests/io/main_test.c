/* SPDX-License-Identifier: MIT */
/* Tests bnx_main as a program's parent sees it: signals, exit codes, what stands on stderr. */
#include "tests/io/fixture.h"

#include <sys/wait.h>

#define TEXT_BYTES 8192

/* A program in a child process. */
struct program {
    bnx_task_fn fn;
    uint64_t grace_ns;
    pid_t pid;
    int ready[2];  /* the program says that it waits */
    int stderr_fd; /* what it writes there */
};

static int ready_fd; /* in the child */

static void say_ready(void) {
    CHECK_EQ(bnx_os.write(ready_fd, "r", 1), 1);
}

static void program_start(struct program *program) {
    int errors[2];
    io_pipe(program->ready);
    io_pipe(errors);
    program->pid = fork();
    CHECK(program->pid >= 0);
    if (program->pid == 0) {
        ready_fd = program->ready[1];
        CHECK(dup2(errors[1], STDERR_FILENO) >= 0);
        struct bnx_options options = {.worker_count = 2, .grace_ns = program->grace_ns};
        int status = bnx_main_with(&options, program->fn, NULL);
        _exit(status < 0 ? 99 : status);
    }
    CHECK_EQ(close(program->ready[1]), 0);
    CHECK_EQ(close(errors[1]), 0);
    program->stderr_fd = errors[0];
}

static void program_await_ready(struct program *program) {
    char byte;
    CHECK_EQ(read(program->ready[0], &byte, 1), 1);
}

/* Whether a line of a program's stderr is about the machine: no io_uring, or too busy. */
static bool is_of_machine(const char *line, size_t bytes) {
    static const char *const signs[] = {"bonxie: uring is refused (", " stalled for "};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(signs); i++) {
        if (memmem(line, bytes, signs[i], strlen(signs[i])) != NULL) {
            return true;
        }
    }
    return false;
}

static void drop_lines_of_machine(char *text) {
    char *kept = text;
    size_t bytes;
    for (char *line = text; *line != '\0'; line += bytes) { /* ends: a line a turn */
        bytes = strcspn(line, "\n");
        bytes += line[bytes] == '\n';
        if (!is_of_machine(line, bytes)) {
            memmove(kept, line, bytes);
            kept += bytes;
        }
    }
    *kept = '\0';
}

/* Reads its stderr, but for lines about the machine. Returns its exit code, or 1000 + the signal
 * that killed it. */
static int program_end(struct program *program, char text[TEXT_BYTES]) {
    size_t bytes = 0;
    ssize_t got;
    while (bytes < TEXT_BYTES - 1 &&
           (got = read(program->stderr_fd, text + bytes, TEXT_BYTES - 1 - bytes)) > 0) {
        bytes += (size_t)got;
    }
    text[bytes] = '\0';
    drop_lines_of_machine(text);
    int status;
    CHECK_EQ(waitpid(program->pid, &status, 0), program->pid);
    CHECK_EQ(close(program->ready[0]), 0);
    CHECK_EQ(close(program->stderr_fd), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- One signal ---- */

static int return_42(void *arg) {
    (void)arg;
    say_ready();
    return 42;
}

static int wait_and_return_7(void *arg) {
    (void)arg;
    say_ready();
    CHECK_EQ(bnx_sleep_until(BNX_NEVER_NS), -ECANCELED);
    return 7;
}

static int wait_and_give_up(void *arg) {
    (void)arg;
    int fds[2];
    char byte;
    io_unix_pair(fds);
    say_ready();
    return (int)bnx_recv(fds[0], &byte, 1, 0);
}

/* Waits in tasks of a scope, each in another call; closes them all in good order. */
static int drain(void *arg) {
    (void)arg;
    int listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(listener >= 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, wait_and_return_7, NULL), 0);
    CHECK_EQ(bnx_accept(listener, NULL), -ECANCELED);
    CHECK_EQ(bnx_close(listener), 0);
    (void)bnx_scope_close(&scope);
    return 3;
}

static const struct {
    bnx_task_fn fn;
    int signo; /* 0: none */
    int expected;
} endings[] = {
    {return_42, 0, 42},
    {wait_and_return_7, SIGTERM, 7},
    {wait_and_return_7, SIGINT, 7},
    {wait_and_give_up, SIGINT, 130},
    {wait_and_give_up, SIGTERM, 143},
    {drain, SIGTERM, 3},
};

/* fn's value is the exit code, also after a signal; 130 and 143 where fn gave up because of it. */
TEST(main_exit_codes, "main.exit_codes") {
    for (size_t i = 0; i < BNX_ARRAY_COUNT(endings); i++) {
        struct program program = {.fn = endings[i].fn};
        char text[TEXT_BYTES];
        program_start(&program);
        program_await_ready(&program);
        if (endings[i].signo != 0) {
            CHECK_EQ(kill(program.pid, endings[i].signo), 0);
        }
        int code = program_end(&program, text);
        if (code != endings[i].expected) {
            bnx_test_fail(__FILE__, __LINE__, "ending %zu: %d, not %d: %s", i, code,
                          endings[i].expected, text);
        }
        CHECK_STR(text, "");
    }
}

/* ---- Tasks that do not end ---- */

static int refuse_to_end(void *arg) {
    (void)arg;
    bnx_task_name_set("the-straggler");
    say_ready();
    for (int error = 0; error <= 0;) { /* until the process ends */
        error = bnx_sleep_until(BNX_NEVER_NS);
        bnx_yield();
    }
    return 0;
}

static int leave_one_behind(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_spawn(NULL, refuse_to_end, NULL), 0);
    return bnx_sleep_until(BNX_NEVER_NS);
}

/* When the grace is over, what still lives is reported, and the process ends all the same. */
TEST(main_straggler, "main.straggler_is_reported") {
    struct program program = {.fn = leave_one_behind, .grace_ns = 50 * BNX_NS_PER_MS};
    char text[TEXT_BYTES];
    program_start(&program);
    program_await_ready(&program);
    CHECK_EQ(kill(program.pid, SIGTERM), 0);
    CHECK_EQ(program_end(&program, text), 143);
    CHECK(strstr(text, "the-straggler") != NULL);
}

/* A second signal does not wait for the grace: all tasks are dumped, the process ends at once. */
TEST(main_second_signal, "main.second_signal_exits") {
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(signals); i++) {
        struct program program = {.fn = leave_one_behind, .grace_ns = UINT64_C(3600000000000)};
        char text[TEXT_BYTES];
        program_start(&program);
        program_await_ready(&program);
        CHECK_EQ(kill(program.pid, SIGTERM), 0);
        /* A second one of a kind that is still pending would be lost. */
        CHECK_EQ(kill(program.pid, SIGINT), 0);
        if (i == 0) {
            CHECK(kill(program.pid, SIGTERM) == 0 || errno == ESRCH);
        }
        int code = program_end(&program, text);
        CHECK(code == 130 || code == 143);
        CHECK(strstr(text, "the-straggler") != NULL);
    }
}

/* ---- SIGPIPE ---- */

static int write_to_closed_pipe(void *arg) {
    (void)arg;
    int fds[2];
    io_pipe(fds);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(bnx_write(fds[1], "x", 1), -EPIPE);
    CHECK_EQ(bnx_os.write(fds[1], "x", 1), -EPIPE); /* nor by a plain one */
    return 5;
}

/* A closed pipe is an error and not the end of the program. */
TEST(main_sigpipe, "main.sigpipe_is_ignored") {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    struct program program = {.fn = write_to_closed_pipe};
    char text[TEXT_BYTES];
    program_start(&program);
    CHECK_EQ(program_end(&program, text), 5);
    CHECK_STR(text, "");
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
