/* SPDX-License-Identifier: MIT */
/* The watchdog's glances at the queues of a worker that computes (runtime/watchdog.c). */
#include "tests/support/sched.h"

static struct {
    int (*futex_wait)(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
    int main_thread;      /* which sleeps until the end; before the others begin */
    uint64_t deadline_ns; /* of its last sleep; the watchdog's */
    uint64_t short_ones;  /* sleeps that end soon after those before */
} watched;

/* Off the workers and the main thread only the watchdog sleeps. */
static int note_sleep(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    if (bnx_worker_current() == NULL && bnx_os.thread_id() != watched.main_thread) {
        if (deadline_ns - watched.deadline_ns < BNX_NS_PER_MS / 2) {
            bnx_fetch_add_relaxed(&watched.short_ones, 1); /* a count */
        }
        watched.deadline_ns = deadline_ns;
    }
    return watched.futex_wait(word, expected, deadline_ns);
}

static int compute_until_watched(void *arg) {
    (void)arg;
    while (bnx_load_relaxed(&watched.short_ones) < 3) { /* a count */
        bnx_pause();
    }
    return 0;
}

/* Claim: while a task computes, the watchdog looks more often than once a millisecond for what the
 * task has made ready. Method: the task computes until the watchdog has asked for shorter sleeps;
 * how long they really last is not looked at. */
TEST(glances, "watchdog.glances_beside_a_stall") {
    watched.main_thread = bnx_os.thread_id();
    watched.futex_wait = bnx_os.futex_wait;
    bnx_os.futex_wait = note_sleep;
    sched_run(2, compute_until_watched, NULL);
    bnx_os.futex_wait = watched.futex_wait;
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
