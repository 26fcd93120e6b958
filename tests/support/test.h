/* SPDX-License-Identifier: MIT */
/*
 * The test harness: claims that register themselves, checks that end the process.
 *
 *   TEST(deque_steal_takes_oldest, "deque.steal_takes_oldest") { ... CHECK_EQ(taken, 1); }
 *   int main(int argc, char **argv) { return bnx_test_main(argc, argv); }
 *
 * Concepts
 *   A claim is one test, named module.claim; ctest runs each in a process of its own. `exe` runs
 *   them all, each in a forked child; `exe CLAIM [ARG...]` runs one in this process; `exe - ARG...`
 *   runs them all with arguments; `exe --list` prints the names.
 *
 *   A check that does not hold prints file, line and values and ends the process with _exit(1). It
 *   never jumps: a check may stand in a task, and longjmp from a task's stack is undefined. No
 *   watchdog runs here; ctest's timeout ends a claim that hangs.
 */
#ifndef BNX_TESTS_SUPPORT_TEST_H
#define BNX_TESTS_SUPPORT_TEST_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bnx_test {
    const char *name;      /* "module.claim" */
    void (*run)(void);     /* returns when the claim holds */
    struct bnx_test *next; /* in the order of registration */
};

/* Defines and registers a claim; the body follows. */
#define TEST(identifier, claim)                                                                    \
    static void test_##identifier(void);                                                           \
    __attribute__((constructor)) static void register_##identifier(void) {                         \
        static struct bnx_test test = {claim, test_##identifier, NULL};                            \
        bnx_test_register(&test);                                                                  \
    }                                                                                              \
    static void test_##identifier(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            bnx_test_fail(__FILE__, __LINE__, "%s does not hold", #condition);                     \
        }                                                                                          \
    } while (0)

/* Integers of any width, each operand evaluated once; compared after conversion to long long. */
#define CHECK_EQ(actual, expected)                                                                 \
    do {                                                                                           \
        long long check_actual_ = (long long)(actual);                                             \
        long long check_expected_ = (long long)(expected);                                         \
        if (check_actual_ != check_expected_) {                                                    \
            bnx_test_fail(__FILE__, __LINE__, "%s is %lld, not %lld (%s)", #actual, check_actual_, \
                          check_expected_, #expected);                                             \
        }                                                                                          \
    } while (0)

#define CHECK_STR(actual, expected)                                                                \
    do {                                                                                           \
        const char *check_actual_ = (actual);                                                      \
        const char *check_expected_ = (expected);                                                  \
        if (check_actual_ == NULL || strcmp(check_actual_, check_expected_) != 0) {                \
            bnx_test_fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #actual,                 \
                          check_actual_ == NULL ? "(null)" : check_actual_, check_expected_);      \
        }                                                                                          \
    } while (0)

/* Ends the claim as skipped: the environment lacks what it needs. */
#define SKIP(...) bnx_test_skip(__VA_ARGS__)

/** Does what the command line asks. Returns the exit code: 0 held, 1 not, 2 usage, 77 skipped. */
int bnx_test_main(int argc, char **argv);

/** Scales a count by the environment's BONXIE_SCALE (positive, default 1). Never below 1. */
uint64_t bnx_test_scale(uint64_t count);

/** The seed of this run: BONXIE_SEED or a fixed default. Prints it, so that a failure replays. */
uint64_t bnx_test_seed(void);

/** The index-th argument after the claim, NULL when there is none. Valid until exit. */
const char *bnx_test_arg(int index);

/** Ends the process as failed. Context: any thread, any task, also after fork; never returns. */
void bnx_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn, cold));

/** Ends the process with 77 and prints the reason. Context: as bnx_test_fail. */
void bnx_test_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn, cold));

/** Adds a claim; called by TEST's constructor only. */
void bnx_test_register(struct bnx_test *test);

#ifdef __cplusplus
}
#endif

#endif
