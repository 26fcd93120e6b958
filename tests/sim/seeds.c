/* SPDX-License-Identifier: MIT */
/* The runs are made in a child, so that the parent can name the seed whatever ends it (seeds.h). */
#include "tests/sim/seeds.h"

#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct progress {
    uint64_t seed; /* that runs, or the last one */
    uint64_t steps;
};

static void run_all(uint64_t first, uint64_t count, bnx_task_fn scenario,
                    struct progress *progress) {
    for (uint64_t i = 0; i < count; i++) {
        progress->seed = first + i;
        struct bnx_sim_options options = {.seed = first + i};
        struct bnx_sim_report report;
        int result = bnx_sim_run(&options, scenario, NULL, &report);
        progress->steps += report.steps;
        CHECK_EQ(result, 0);
    }
}

void seeds_run(uint64_t count, bnx_task_fn scenario) {
    uint64_t first = bnx_test_seed();
    count = bnx_test_scale(count);
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(progress != MAP_FAILED);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    (void)fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run_all(first, count, scenario, progress);
        exit(0);
    }
    int status = 0;
    /* Ends: the child is ours and nobody else waits for it. */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9;
    uint64_t done = progress->seed - first;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("run %llu of %llu failed after %.2f s, replay with BONXIE_SEED=0x%llx\n",
               (unsigned long long)done, (unsigned long long)count, seconds,
               (unsigned long long)progress->seed);
        exit(1);
    }
    printf("%llu seeds, %llu steps, %.0f seeds/s\n", (unsigned long long)count,
           (unsigned long long)progress->steps, (double)count / seconds);
    (void)munmap(progress, sizeof(*progress));
}

struct bnx_options seeds_options(void) {
    struct bnx_options options = {.worker_count = 1 + bnx_sim_draw(3)};
    /* A spin is some hundred steps of nothing: most runs go without, some keep it in play. */
    options.spin_ns = bnx_sim_draw(4) == 0 ? 500 : BNX_SPIN_NEVER;
    if (bnx_sim_draw(4) != 0) {
        /* Without the watchdog a work that nobody was woken for hangs for good, and is seen. */
        options.flags |= BNX_NO_WATCHDOG;
    }
    return options;
}

int seeds_bnx_run(bnx_task_fn fn, void *arg) {
    struct bnx_options options = seeds_options();
    return bnx_run(&options, fn, arg);
}
