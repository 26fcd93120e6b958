/* SPDX-License-Identifier: MIT */
/* Claims about progress: what a line says, and what reaches a pipe and a terminal. */
#include "runtime/progress_pvt.h"
#include "tests/support/sched.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- The line ---- */

struct example {
    struct bnx_progress_view view;
    const char *line;
};

/* Claim: label, share, bar, count, rate and time left stand in the line, in whatever width; the bar
 * goes first where there is no room. Method: a table. */
TEST(progress_lines, "progress.lines") {
    static const struct example examples[] = {
        {{"pages", 420, 1000, 5 * BNX_NS_PER_S, 0, 0}, "pages:  42% 420/1000  84.0/s  ETA 0:07"},
        {{"pages", 420, 1000, 5 * BNX_NS_PER_S, 0, 60},
         "pages:  42% [#######>...........] 420/1000  84.0/s  ETA 0:07"},
        {{"pages", 420, 1000, 5 * BNX_NS_PER_S, 0, 46},
         "pages:  42% [##>..] 420/1000  84.0/s  ETA 0:07"},
        {{"pages", 420, 1000, 5 * BNX_NS_PER_S, 0, 45}, "pages:  42% 420/1000  84.0/s  ETA 0:07"},
        {{"pages", 420, 1000, 5 * BNX_NS_PER_S, 0, 12}, "pages:  42% "},
        {{"pages", 1000, 1000, 65 * BNX_NS_PER_S, 0, 60},
         "pages: 100% [###################] 1000/1000  15.4/s  in 1:05"},
        {{NULL, 0, 1000, 5 * BNX_NS_PER_S, 0, 0}, "  0% 0/1000  0.00/s  in 0:05"},
        {{"", 0, 10, 0, 0, 0}, "  0% 0/10  0.00/s  in 0:00"},
        {{"more", 12, 10, BNX_NS_PER_S, 0, 41}, "more: 100% [#####] 12/10  12.0/s  in 0:01"},
        {{"lines", 12345678, 0, 10 * BNX_NS_PER_S, 2, 60}, "lines: - 12345678  1.23M/s  in 0:10"},
        {{"lines", 7, 0, 3700 * BNX_NS_PER_S, 3, 0}, "lines: 7  0.00/s  in 1:01:40"},
        {{"slow", 1, 1000000000, BNX_NS_PER_S, 0, 0},
         "slow:   0% 1/1000000000  1.00/s  after 0:01"},
        {{"x", 999, 1000, BNX_NS_PER_S, 0, 0}, "x:  99% 999/1000  999/s  ETA 0:00"},
        {{"x", UINT64_MAX, UINT64_MAX, BNX_NS_PER_S, 0, 0},
         "x: 100% 18446744073709551615/18446744073709551615  18446744T/s  in 0:01"},
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(examples); i++) {
        char line[512];
        size_t length = bnx_progress_format(&examples[i].view, line, sizeof(line));
        CHECK_STR(line, examples[i].line);
        CHECK_EQ(length, strlen(line));
    }
}

/* Claim: no line is longer than its width, however long the label is. */
TEST(progress_width, "progress.width") {
    char label[1000];
    memset(label, 'x', sizeof(label) - 1);
    label[sizeof(label) - 1] = '\0';
    for (unsigned columns = 1; columns <= BNX_PROGRESS_COLUMNS_MAX; columns++) {
        for (size_t shown = 0; shown < sizeof(label); shown += 37) {
            struct bnx_progress_view view = {
                label + sizeof(label) - 1 - shown, 5, 9, 1, 0, columns};
            char line[512];
            size_t length = bnx_progress_format(&view, line, sizeof(line));
            CHECK(length <= columns);
            CHECK_EQ(strlen(line), length);
        }
    }
}

/* ---- Pipe and terminal ---- */

#define ADDERS 8
#define ADDS 125
#define COLUMNS 50

struct job {
    int fd;
    unsigned flags;
    uint64_t total;
    int first_drawn; /* read end: wait until something was drawn before the end; -1: do not */
    struct bnx_progress progress;
};

static int add_some(void *arg) {
    struct job *job = arg;
    for (int i = 0; i < ADDS; i++) {
        bnx_progress_add(&job->progress, 1);
        if (i % 10 == 0) {
            bnx_yield();
        }
    }
    return 0;
}

static int run_job(void *arg) {
    struct job *job = arg;
    struct bnx_progress_options options = {
        .label = "test", .total = job->total, .flags = job->flags};
    CHECK_EQ(bnx_progress_open(&job->progress, job->fd, &options), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < ADDERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, add_some, job), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (job->first_drawn >= 0) {
        struct pollfd drawn = {.fd = job->first_drawn, .events = POLLIN};
        while (poll(&drawn, 1, 0) == 0) { /* ends: the first tick is due at once */
            CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
        }
    }
    bnx_progress_finish(&job->progress);
    bnx_progress_finish(&job->progress); /* does nothing */
    return 0;
}

static size_t read_all(int fd, char *out, size_t bytes) {
    size_t length = 0;
    ssize_t got;
    while (length + 1 < bytes && (got = read(fd, out + length, bytes - 1 - length)) > 0) {
        length += (size_t)got;
    }
    out[length] = '\0';
    return length;
}

/* Claim: to a pipe go whole lines, and the last one has the whole count. */
TEST(progress_pipe, "progress.plain_lines") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        int ends[2];
        CHECK_EQ(pipe(ends), 0);
        struct job job = {.fd = ends[1], .total = ADDERS * ADDS, .first_drawn = -1};
        sched_run(sched_worker_counts[i], run_job, &job);
        close(ends[1]);
        char text[4096];
        size_t length = read_all(ends[0], text, sizeof(text));
        close(ends[0]);
        CHECK(length > 0 && text[length - 1] == '\n');
        CHECK(strchr(text, '\r') == NULL && strchr(text, '\x1b') == NULL);
        text[length - 1] = '\0';
        const char *newline = strrchr(text, '\n');
        const char *last = newline != NULL ? newline + 1 : text;
        CHECK(strncmp(last, "test: 100% 1000/1000  ", 22) == 0);
    }
}

static int open_terminal(int *out_other) {
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(terminal >= 0);
    CHECK_EQ(grantpt(terminal), 0);
    CHECK_EQ(unlockpt(terminal), 0);
    char name[64];
    CHECK_EQ(ptsname_r(terminal, name, sizeof(name)), 0);
    *out_other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(*out_other >= 0);
    struct winsize size = {.ws_row = 24, .ws_col = COLUMNS};
    CHECK_EQ(ioctl(terminal, TIOCSWINSZ, &size), 0);
    return terminal;
}

/* Every drawing begins with a return and a clear, and fits the width. */
static void check_drawings(const char *text) {
    const char *drawing = text;
    while ((drawing = strstr(drawing, "\r\x1b[K")) != NULL) {
        drawing += 4;
        CHECK(strcspn(drawing, "\r\n") < COLUMNS);
    }
}

static void run_on_terminal(uint64_t total, unsigned flags, char *out, size_t bytes) {
    int other;
    int terminal = open_terminal(&other);
    struct job job = {.fd = other, .total = total, .flags = flags, .first_drawn = terminal};
    sched_run(2, run_job, &job);
    CHECK_EQ(fcntl(terminal, F_SETFL, O_NONBLOCK), 0);
    (void)read_all(terminal, out, bytes);
    close(other);
    close(terminal);
    check_drawings(out);
}

/* Claim: on a terminal the line is drawn over and over within its width, and completed or cleared
 * at the end. */
TEST(progress_terminal, "progress.on_a_terminal") {
    char text[16384];
    run_on_terminal(ADDERS * ADDS, 0, text, sizeof(text));
    CHECK(strstr(text, "\r\x1b[Ktest: ") != NULL);
    CHECK(strstr(text, "test: 100% [") != NULL);
    CHECK_STR(text + strlen(text) - 2, "\r\n"); /* the terminal's end of line */

    run_on_terminal(ADDERS * ADDS, BNX_PROGRESS_CLEAR, text, sizeof(text));
    CHECK_STR(text + strlen(text) - 4, "\r\x1b[K");

    run_on_terminal(0, 0, text, sizeof(text));
    CHECK(strstr(text, " 1000  ") != NULL);
    CHECK(strchr(text, '%') == NULL && strchr(text, '#') == NULL);
}

/* Claim: where it cannot be shown the calls are harmless. */
TEST(progress_misuse, "progress.without_runtime") {
    struct bnx_progress progress;
    CHECK_EQ(bnx_progress_open(&progress, 2, NULL), -EPERM);
    bnx_progress_add(&progress, 1);
    bnx_progress_set(&progress, 5);
    bnx_progress_finish(&progress);
    struct bnx_progress_options options = {.flags = 8};
    CHECK_EQ(bnx_progress_open(&progress, 2, &options), -EINVAL);
    bnx_progress_finish(&progress);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
