/* SPDX-License-Identifier: MIT */
/* The test harness: registration, one process a claim, and the ends a claim can come to. */
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_HELD 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_SKIPPED 77 /* SKIP_RETURN_CODE of every ctest entry */

#define SEED_DEFAULT UINT64_C(0xb0521e)
#define MESSAGE_BYTES 1024

/* Filled by constructors, before main; read by one thread. */
static struct bnx_test *tests_first;
static struct bnx_test **tests_end = &tests_first;

static char *const *arguments;
static int argument_count;

void bnx_test_register(struct bnx_test *test) {
    *tests_end = test;
    tests_end = &test->next;
}

/* One write(2): no stdio lock that a stopped thread may hold, no buffer that _exit would lose. */
static void say(const char *prefix, const char *format, va_list values) {
    char text[MESSAGE_BYTES];
    size_t used = strlen(prefix);
    memcpy(text, prefix, used);
    int more = vsnprintf(text + used, sizeof(text) - used - 1, format, values);
    if (more > 0) {
        used += (size_t)more;
    }
    if (used > sizeof(text) - 2) {
        used = sizeof(text) - 2;
    }
    text[used++] = '\n';
    ssize_t written = write(STDOUT_FILENO, text, used);
    (void)written;
}

void bnx_test_fail(const char *file, int line, const char *format, ...) {
    char prefix[256];
    (void)snprintf(prefix, sizeof(prefix), "%s:%d: ", file, line);
    va_list values;
    va_start(values, format);
    say(prefix, format, values);
    va_end(values);
    _exit(EXIT_FAILED);
}

void bnx_test_skip(const char *format, ...) {
    va_list values;
    va_start(values, format);
    say("skipped: ", format, values);
    va_end(values);
    _exit(EXIT_SKIPPED);
}

static void usage_error(const char *what, const char *value) {
    (void)fprintf(stderr, "%s: %s\n", what, value);
    exit(EXIT_USAGE);
}

uint64_t bnx_test_scale(uint64_t count) {
    const char *text = getenv("BONXIE_SCALE");
    double scale = 1.0;
    if (text != NULL && *text != '\0') {
        char *end = NULL;
        scale = strtod(text, &end);
        if (*end != '\0' || !(scale > 0.0 && scale <= 1e6)) {
            usage_error("BONXIE_SCALE is not a number in (0, 1e6]", text);
        }
    }
    double scaled = (double)count * scale;
    return scaled < 1.0 ? 1 : (uint64_t)scaled;
}

uint64_t bnx_test_seed(void) {
    const char *text = getenv("BONXIE_SEED");
    uint64_t seed = SEED_DEFAULT;
    if (text != NULL && *text != '\0') {
        char *end = NULL;
        errno = 0;
        seed = strtoull(text, &end, 0);
        if (*end != '\0' || errno != 0) {
            usage_error("BONXIE_SEED is not a 64-bit number", text);
        }
    }
    printf("BONXIE_SEED=0x%llx\n", (unsigned long long)seed);
    return seed;
}

const char *bnx_test_arg(int index) {
    return index >= 0 && index < argument_count ? arguments[index] : NULL;
}

/* Runs the claim in a child, so that its failure, crash or leak ends the child alone. */
static int run_forked(const struct bnx_test *test) {
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        usage_error("fork", strerror(errno));
    }
    if (child == 0) {
        test->run();
        exit(EXIT_HELD); /* not _exit: the sanitizers look for leaks and races on the way out */
    }
    int status = 0;
    /* Ends: the child is ours and nobody else waits for it. */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (WIFSIGNALED(status)) {
        printf("ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
    const char *verdict = code == EXIT_HELD ? "ok" : code == EXIT_SKIPPED ? "skipped" : "FAILED";
    printf("%s %s\n", verdict, test->name);
    return code;
}

static int run_all(void) {
    bool is_failed = false;
    for (const struct bnx_test *test = tests_first; test != NULL; test = test->next) {
        int code = run_forked(test);
        is_failed |= code != EXIT_HELD && code != EXIT_SKIPPED;
    }
    return is_failed ? EXIT_FAILED : EXIT_HELD;
}

static const struct bnx_test *find(const char *name) {
    for (const struct bnx_test *test = tests_first; test != NULL; test = test->next) {
        if (strcmp(test->name, name) == 0) {
            return test;
        }
    }
    return NULL;
}

static int list(void) {
    for (const struct bnx_test *test = tests_first; test != NULL; test = test->next) {
        if (find(test->name) != test) {
            usage_error("two claims have one name", test->name);
        }
        puts(test->name);
    }
    return EXIT_HELD;
}

int bnx_test_main(int argc, char **argv) {
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2) {
        return run_all();
    }
    arguments = argv + 2;
    argument_count = argc - 2;
    if (strcmp(argv[1], "--list") == 0) {
        return list();
    }
    if (strcmp(argv[1], "-") == 0) {
        return run_all();
    }
    const struct bnx_test *test = find(argv[1]);
    if (test == NULL) {
        usage_error("no such claim", argv[1]);
        return EXIT_USAGE;
    }
    test->run();
    return EXIT_HELD;
}
