/* SPDX-License-Identifier: MIT */
/* What the tests of stacks and of the crash report share: a pool with a log, children that die. */
#ifndef BNX_TESTS_UNIT_STACK_FIXTURE_H
#define BNX_TESTS_UNIT_STACK_FIXTURE_H

#include "runtime/stack.h"
#include "tests/support/test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Everything a test with one worker needs. */
struct fixture {
    struct bnx_stack_pool pool;
    struct bnx_stack_cache cache;
    char log[512]; /* the last line */
    int log_count;
};

static inline void keep_log(void *arg, const char *text) {
    struct fixture *fixture = arg;
    (void)snprintf(fixture->log, sizeof(fixture->log), "%s", text);
    fixture->log_count++;
}

static inline void fixture_open(struct fixture *fixture, size_t stacks_max) {
    memset(fixture, 0, sizeof(*fixture));
    struct bnx_stack_options options = {stacks_max, keep_log, fixture};
    CHECK_EQ(bnx_stack_pool_init(&fixture->pool, &options), 0);
    bnx_stack_cache_init(&fixture->cache, &fixture->pool);
}

static inline void fixture_close(struct fixture *fixture) {
    bnx_stack_cache_check(&fixture->cache);
    bnx_stack_cache_fini(&fixture->cache);
    bnx_stack_pool_fini(&fixture->pool);
}

static inline size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* How a child ended. */
struct death {
    int status;      /* of waitpid */
    char text[4096]; /* what it said on stderr */
};

static inline void die_in_child(void (*body)(void *), void *arg, struct death *out) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(ends[1], STDERR_FILENO);
        /* A sanitizer's own handlers would turn the signal into an exit. */
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGBUS, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got = 1;
    /* Ends: the child closes its end when it dies. */
    while (got > 0 && used < sizeof(out->text) - 1) {
        got = read(ends[0], out->text + used, sizeof(out->text) - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    out->text[used] = '\0';
    close(ends[0]);
    CHECK_EQ(waitpid(child, &out->status, 0), child);
}

static inline void check_killed_by(const struct death *death, int signo) {
    CHECK(WIFSIGNALED(death->status));
    CHECK_EQ(WTERMSIG(death->status), signo);
}

#endif
