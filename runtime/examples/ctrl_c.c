/* SPDX-License-Identifier: MIT */
/*
 * ctrl_c: many tasks sleep; Ctrl-C ends them all in good order, a second one at once.
 *
 * The first SIGINT cancels the root scope: every sleep returns -ECANCELED, every task ends, every
 * scope closes, and the program exits with 130. With --stubborn one task blocks where no cancel
 * reaches it; a second SIGINT then prints what still lives, and exits.
 */
#include <bonxie/bonxie.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SLEEPERS_MAX 1000000
#define GRACE_NS (UINT64_C(3600) * 1000000000)

struct night {
    uint64_t sleepers; /* how many */
    int is_stubborn;   /* 1: one task more, which blocks a thread */
};

static int sleep_tight(void *arg) {
    (void)arg;
    return bnx_sleep_until(UINT64_MAX);
}

static int block_thread(void *arg) {
    (void)bnx_future_set(arg, NULL);
    while (pause() < 0) { /* ends with the process */
    }
    return 0;
}

/* A pool thread that blocks in the kernel cannot be told to stop. */
static int block_for_ever(void *arg) {
    int error = bnx_offload(block_thread, arg);
    bnx_promise_drop(arg); /* comes here only where no thread could be had */
    return error;
}

/* Comes back when it blocks: before that a cancel would reach it. */
static int spawn_stubborn(struct bnx_scope *scope) {
    struct bnx_spawn_options options = {.name = "stubborn"};
    struct bnx_future *blocks = NULL;
    int error = bnx_future_create(&blocks);
    if (error < 0) {
        return error;
    }
    error = bnx_spawn_with(scope, &options, block_for_ever, bnx_future_ref(blocks), NULL);
    if (error == 0) {
        error = bnx_future_await(blocks, NULL);
    } else {
        bnx_future_unref(blocks); /* the task's, which is not there */
    }
    bnx_future_unref(blocks);
    return error;
}

static int sleep_all(const struct night *night) {
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (uint64_t i = 0; i < night->sleepers && error == 0; i++) {
        error = bnx_spawn(&scope, sleep_tight, NULL);
    }
    printf("%llu tasks sleep; press Ctrl-C\n", (unsigned long long)night->sleepers);
    (void)fflush(stdout);
    int close_error = bnx_scope_close(&scope);
    return error < 0 ? error : close_error;
}

static int run(void *arg) {
    const struct night *night = arg;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    if (night->is_stubborn != 0) {
        error = spawn_stubborn(&scope);
    }
    if (error == 0) {
        error = sleep_all(night);
    }
    int cancelled = bnx_checkpoint();
    if (cancelled < 0) {
        printf("cancelled: all %llu have ended\n", (unsigned long long)night->sleepers);
        (void)fflush(stdout);
        error = cancelled;
    }
    int close_error = bnx_scope_close(&scope); /* waits for the stubborn one */
    return error < 0 ? error : close_error;
}

static void help_print(const char *program) {
    printf("%s: many tasks sleep until SIGINT cancels them\n\nFlags:\n"
           "  --sleepers N\n      How many; 1000 is the default.\n"
           "  --stubborn\n      One more that no cancel reaches: press Ctrl-C twice.\n"
           "  --help\n      Print this and exit.\n",
           program);
}

/* As bnx_workers_parse: 0, 1 after the help, -EINVAL after a message. */
static int parse(int argc, char **argv, struct night *night) {
    static const struct option flags[] = {
        {"sleepers", required_argument, NULL, 'n'},
        {"stubborn", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) { /* ends: argc arguments */
        switch (flag) {
        case 'h':
            help_print(argv[0]);
            return 1;
        case 's':
            night->is_stubborn = 1;
            break;
        case 'n': {
            char *end = NULL;
            night->sleepers = strtoull(optarg, &end, 10);
            if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' ||
                night->sleepers > SLEEPERS_MAX) {
                fprintf(stderr, "%s: --sleepers: not a number up to %d: %s\n", argv[0],
                        SLEEPERS_MAX, optarg);
                return -EINVAL;
            }
            break;
        }
        default:
            return -EINVAL; /* getopt_long has said why */
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[optind]);
        return -EINVAL;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct night night = {.sleepers = 1000};
    int parsed = parse(argc, argv, &night);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    /* Time enough to press the key a second time. */
    struct bnx_options options = {.grace_ns = night.is_stubborn != 0 ? GRACE_NS : 0};
    int result = bnx_main_with(&options, run, &night);
    return result > 0 ? result : result < 0; /* 130: SIGINT */
}
