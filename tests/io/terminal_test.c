/* SPDX-License-Identifier: MIT */
/* Tests the terminal as bonxie/terminal.h promises it, on a pseudo-terminal. */
#include "tests/io/fixture.h"

#include <bonxie/signal.h>
#include <bonxie/terminal.h>

#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

/* A pseudo-terminal: the test is at its keyboard and sees what it shows. */
struct pty {
    int keyboard;
    int terminal;
    struct termios before;
};

static void open_pty(struct pty *pty) {
    pty->keyboard = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(pty->keyboard >= 0);
    CHECK_EQ(grantpt(pty->keyboard), 0);
    CHECK_EQ(unlockpt(pty->keyboard), 0);
    pty->terminal = open(ptsname(pty->keyboard), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(pty->terminal >= 0);
    CHECK_EQ(tcgetattr(pty->terminal, &pty->before), 0);
    CHECK((pty->before.c_lflag & ICANON) != 0);
}

static void close_pty(const struct pty *pty) {
    CHECK_EQ(close(pty->keyboard), 0);
    CHECK_EQ(close(pty->terminal), 0);
}

static struct termios mode_of(const struct pty *pty) {
    struct termios mode;
    CHECK_EQ(tcgetattr(pty->terminal, &mode), 0);
    return mode;
}

static bool is_as_before(const struct pty *pty) {
    struct termios mode = mode_of(pty);
    return mode.c_iflag == pty->before.c_iflag && mode.c_oflag == pty->before.c_oflag &&
           mode.c_lflag == pty->before.c_lflag && mode.c_cflag == pty->before.c_cflag;
}

/* ---- Modes ---- */

static int read_key(void *arg) {
    const struct pty *pty = arg;
    char key = 0;
    CHECK_EQ(bnx_read(pty->terminal, &key, 1), 1);
    return key;
}

static int press_keys(void *arg) {
    (void)arg;
    struct pty pty;
    struct bnx_scope scope;
    struct bnx_task *task;
    int key;
    open_pty(&pty);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_terminal_raw(&scope, pty.terminal, 0), 0);
    CHECK_EQ(mode_of(&pty).c_lflag & (tcflag_t)(ICANON | ECHO | ISIG), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_key, &pty, &task), 0);
    io_await_wait(task, BNX_WAIT_READ);
    CHECK_EQ(bnx_os.write(pty.keyboard, "k", 1), 1); /* and no new line */
    CHECK_EQ(bnx_join(task, &key), 0);
    CHECK_EQ(key, 'k');
    CHECK_EQ(bnx_os.write(pty.keyboard, "\003", 1), 1);
    CHECK_EQ(read_key(&pty), 3);
    CHECK_EQ(bnx_write(pty.terminal, "a\nb", 3), 3);
    char shown[8];
    CHECK_EQ(bnx_read(pty.keyboard, shown, sizeof(shown)), 3); /* no echo, nothing added */
    CHECK(memcmp(shown, "a\nb", 3) == 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(is_as_before(&pty));

    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_terminal_raw(&scope, pty.terminal, BNX_TERMINAL_SIGNALS), 0);
    CHECK_EQ(mode_of(&pty).c_lflag & (tcflag_t)(ICANON | ECHO | ISIG), ISIG);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK(is_as_before(&pty));
    close_pty(&pty);
    return 0;
}

/* Each key comes at once and unchanged; the scope's end, also by a cancel, brings the mode back. */
TEST(terminal_raw, "terminal.raw") {
    sched_run_each(press_keys, NULL);
}

static int ask_for_size(void *arg) {
    (void)arg;
    struct pty pty;
    struct bnx_scope scope;
    struct bnx_scope outer;
    struct bnx_terminal_size size = {1, 1};
    int fds[2];
    open_pty(&pty);
    io_pipe(fds);
    struct winsize window = {.ws_col = 132, .ws_row = 43};
    CHECK_EQ(ioctl(pty.keyboard, TIOCSWINSZ, &window), 0);
    CHECK_EQ(bnx_terminal_size(fds[0], &size), -ENOTTY);
    CHECK_EQ(size.columns, 1);
    CHECK_EQ(bnx_terminal_size(pty.terminal, &size), 0);
    CHECK_EQ(size.columns, 132);
    CHECK_EQ(size.rows, 43);

    CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_terminal_raw(&scope, fds[0], 0), -ENOTTY);
    CHECK_EQ(bnx_terminal_raw(&scope, -1, 0), -EBADF);
    CHECK_EQ(bnx_terminal_raw(&scope, pty.terminal, 2), -EINVAL);
    CHECK_EQ(bnx_terminal_raw(NULL, pty.terminal, 0), -EINVAL);
    CHECK(is_as_before(&pty));
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_scope_close(&outer), 0);
    io_close_pair(fds);
    close_pty(&pty);
    return 0;
}

TEST(terminal_size, "terminal.size_and_errors") {
    struct bnx_scope scope;
    memset(&scope, 0, sizeof(scope));
    CHECK_EQ(bnx_terminal_raw(&scope, 0, 0), -EPERM);
    sched_run_each(ask_for_size, NULL);
}

/* ---- A program at its terminal ---- */

static int said_fd; /* in the child: what the test reads */

static void say(const char *text) {
    CHECK_EQ(bnx_os.write(said_fd, text, 1), 1);
}

static void expect(int fd, char wanted) {
    char byte;
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(byte, wanted);
}

static int watch_size(void *arg) {
    struct bnx_signal_stream *stream = arg;
    CHECK_EQ(bnx_signal_next(stream, NULL), SIGWINCH);
    struct bnx_terminal_size size;
    CHECK_EQ(bnx_terminal_size(STDIN_FILENO, &size), 0);
    CHECK_EQ(size.columns, 99);
    say("w");
    return 0;
}

/* Shows keys, in small, until it is interrupted. */
static int show_keys(void *arg) {
    const int signals[] = {SIGWINCH};
    struct bnx_signal_stream *stream;
    struct bnx_scope scope;
    (void)arg;
    CHECK_EQ(bnx_signal_open(signals, 1, &stream), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_terminal_raw(&scope, STDIN_FILENO, BNX_TERMINAL_SIGNALS), 0);
    CHECK_EQ(bnx_spawn(&scope, watch_size, stream), 0);
    say("r");
    ssize_t got;
    char key[2] = "";
    while ((got = bnx_read(STDIN_FILENO, key, 1)) == 1) { /* ends: with the interrupt */
        say(key);
    }
    (void)bnx_scope_close(&scope);
    bnx_signal_close(stream);
    return (int)got;
}

static void run_program(const struct pty *pty, int said) {
    const int signals[] = {SIGWINCH};
    CHECK(setsid() > 0);
    CHECK_EQ(ioctl(pty->terminal, TIOCSCTTY, 0), 0);
    CHECK_EQ(dup2(pty->terminal, STDIN_FILENO), STDIN_FILENO);
    said_fd = said;
    CHECK_EQ(bnx_signal_block(signals, 1), 0);
    int status = bnx_main(show_keys, NULL);
    _exit(status < 0 ? 99 : status);
}

/* Ctrl-C is a SIGINT: the program ends as interrupted, its terminal is as it was. */
TEST(terminal_interrupt, "terminal.restored_after_interrupt") {
    struct pty pty;
    int fds[2];
    open_pty(&pty);
    io_pipe(fds);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        run_program(&pty, fds[1]);
    }
    CHECK_EQ(close(fds[1]), 0);
    expect(fds[0], 'r');
    CHECK(!is_as_before(&pty));
    CHECK_EQ(write(pty.keyboard, "x", 1), 1);
    expect(fds[0], 'x');
    struct winsize window = {.ws_col = 99, .ws_row = 9};
    CHECK_EQ(ioctl(pty.keyboard, TIOCSWINSZ, &window), 0);
    expect(fds[0], 'w');
    CHECK_EQ(write(pty.keyboard, "\003", 1), 1);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 130);
    CHECK(is_as_before(&pty));
    CHECK_EQ(close(fds[0]), 0);
    close_pty(&pty);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
