/* SPDX-License-Identifier: MIT */
/*
 * Tests the rescue of a stalled worker: what waits in its ring and wheel is served by another.
 *
 * Method: 32 tasks begin to wait on worker 0, then a task pinned there stops ticking. It goes on
 * only when all 32 have been served, or gives up, after longer than any machine is busy, and
 * the claim has failed. The latencies are printed.
 */
#include "tests/io/fixture.h"

#define TASKS 32
#define ROUNDS 20
#define GIVE_UP_NS (20 * BNX_NS_PER_S)
#define SLEEP_NS (5 * BNX_NS_PER_MS)

enum how { WAIT_RECV, WAIT_SLEEP };
enum stall { STALL_SPIN, STALL_READ };

struct rescue {
    enum how how;
    enum stall stall;
    uint32_t round;
    uint64_t waiting; /* tasks about to wait on worker 0 */
    uint64_t served;  /* tasks that have been served */
    struct sched_bell all_wait;
    uint32_t go; /* posted when the spinner stalls: the client begins */
    int pipe[2]; /* what the spinner reads from */
    int pairs[TASKS][2];
    uint64_t latencies_ns[ROUNDS * TASKS];
    uint64_t unserved; /* tasks that waited until the spinner gave up */
    char report[512];  /* of a stall that names the spinner */
};

static int be_served(void *arg) {
    uintptr_t *words = arg;
    struct rescue *rescue = (struct rescue *)words[0];
    size_t index = words[1];
    while (sched_worker_index() != 0) { /* ends: an idle worker 0 steals it */
        bnx_yield();
    }
    if (bnx_fetch_add_acq_rel(&rescue->waiting, 1) + 1 == TASKS) {
        sched_bell_ring(&rescue->all_wait); /* its task is pinned here: after this one parks */
    }
    if (rescue->how == WAIT_SLEEP) {
        uint64_t deadline_ns = bnx_now() + SLEEP_NS;
        CHECK_EQ(bnx_sleep_until(deadline_ns), 0);
        rescue->latencies_ns[rescue->round * TASKS + index] = bnx_now() - deadline_ns;
    } else {
        char byte;
        CHECK_EQ(bnx_recv(rescue->pairs[index][0], &byte, 1, 0), 1);
        CHECK_EQ(bnx_send(rescue->pairs[index][0], &byte, 1, 0), 1);
    }
    bnx_fetch_add_acq_rel(&rescue->served, 1);
    return 0;
}

static void spin(struct rescue *rescue) {
    uint64_t give_up_ns = bnx_now() + GIVE_UP_NS;
    while (bnx_load_acquire(&rescue->served) < TASKS && bnx_now() < give_up_ns) {
        bnx_pause();
    }
}

/* Pinned to worker 0: stalls once all wait there. */
static int stall(void *arg) {
    struct rescue *rescue = arg;
    bnx_task_name_set("the-spinner");
    sched_bell_wait(&rescue->all_wait); /* meanwhile worker 0 is idle and steals */
    sched_post(&rescue->go);
    if (rescue->stall == STALL_SPIN) {
        spin(rescue);
    } else {
        char byte;
        CHECK_EQ(bnx_os.read(rescue->pipe[0], &byte, 1), 1);
    }
    rescue->unserved += TASKS - bnx_load_acquire(&rescue->served);
    return 0;
}

/* Lets a spinner that blocks in read(2) go when spin() would have ended. */
static void let_go(void *arg) {
    struct rescue *rescue = arg;
    sched_wait_post(&rescue->go, rescue->round + 1);
    spin(rescue);
    CHECK_EQ(bnx_os.write(rescue->pipe[1], "x", 1), 1);
}

/* An outsider with a connection to each task: a request to all, then their answers. */
static void request_all(void *arg) {
    struct rescue *rescue = arg;
    sched_wait_post(&rescue->go, rescue->round + 1);
    uint64_t sent_ns[TASKS];
    struct pollfd polls[TASKS];
    for (size_t i = 0; i < TASKS; i++) {
        polls[i] = (struct pollfd){.fd = rescue->pairs[i][1], .events = POLLIN};
        sent_ns[i] = bnx_now();
        CHECK_EQ(bnx_os.send(rescue->pairs[i][1], "x", 1, 0), 1);
    }
    for (size_t left = TASKS; left > 0;) {
        CHECK(bnx_os.poll(polls, TASKS, -1) > 0);
        for (size_t i = 0; i < TASKS; i++) {
            char byte;
            if (polls[i].fd >= 0 && polls[i].revents != 0) {
                CHECK_EQ(bnx_os.recv(polls[i].fd, &byte, 1, 0), 1);
                rescue->latencies_ns[rescue->round * TASKS + i] = bnx_now() - sent_ns[i];
                polls[i].fd = -1;
                left--;
            }
        }
    }
}

static void run_round(struct rescue *rescue) {
    const struct bnx_spawn_options on_worker_0 = {.flags = BNX_SPAWN_PINNED, .worker = 0};
    struct bnx_os_thread client, releaser;
    rescue->waiting = 0;
    rescue->served = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < TASKS; i++) {
        uintptr_t words[2] = {(uintptr_t)rescue, i};
        CHECK_EQ(bnx_spawn_copy(&scope, be_served, words, sizeof(words)), 0);
    }
    if (rescue->how == WAIT_RECV) {
        sched_thread_start(&client, request_all, rescue);
    }
    if (rescue->stall == STALL_READ) {
        sched_thread_start(&releaser, let_go, rescue);
    }
    CHECK_EQ(bnx_spawn_with(&scope, &on_worker_0, stall, rescue, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (rescue->how == WAIT_RECV) {
        sched_thread_join(&client);
    }
    if (rescue->stall == STALL_READ) {
        sched_thread_join(&releaser);
    }
}

static int run_rounds(void *arg) {
    struct rescue *rescue = arg;
    for (rescue->round = 0; rescue->round < ROUNDS; rescue->round++) {
        run_round(rescue);
        if (rescue->unserved != 0) {
            break;
        }
    }
    return 0;
}

static void keep_report(enum bnx_log_level level, const char *line, void *arg) {
    struct rescue *rescue = arg;
    if (level == BNX_LOG_WARNING && strstr(line, "stalled") != NULL &&
        strstr(line, "the-spinner") != NULL) {
        (void)snprintf(rescue->report, sizeof(rescue->report), "%s", line);
    }
}

static int compare(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void run_rescue(enum how how, enum stall stall_how) {
    static struct rescue rescue;
    if (BNX_TSAN || BNX_FORCE_MIGRATE) {
        SKIP("ThreadSanitizer holds signals back, and a forced migration goes to the stalled "
             "worker");
    }
    rescue.how = how;
    rescue.stall = stall_how;
    io_pipe(rescue.pipe);
    for (size_t i = 0; i < TASKS; i++) {
        io_unix_pair(rescue.pairs[i]);
    }
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = keep_report, .log_arg = &rescue};
    CHECK_EQ(bnx_run(&options, run_rounds, &rescue), 0);
    qsort(rescue.latencies_ns, ROUNDS * TASKS, sizeof(rescue.latencies_ns[0]), compare);
    printf("p50 %.2f ms, p99 %.2f ms, most %.2f ms; %s\n",
           (double)rescue.latencies_ns[ROUNDS * TASKS / 2] / 1e6,
           (double)rescue.latencies_ns[ROUNDS * TASKS * 99 / 100] / 1e6,
           (double)rescue.latencies_ns[ROUNDS * TASKS - 1] / 1e6, rescue.report);
    CHECK_EQ(rescue.unserved, 0);
}

/* What 32 connections of the stalled worker receive is answered while it spins. */
TEST(rescue, "watchdog.rescue") {
    run_rescue(WAIT_RECV, STALL_SPIN);
}

/* So are 32 timers. */
TEST(rescue_sleep, "watchdog.rescue_timers") {
    run_rescue(WAIT_SLEEP, STALL_SPIN);
}

/* The same while the worker blocks in a read(2) of its task. */
TEST(rescue_blocked, "watchdog.rescue_blocked") {
    run_rescue(WAIT_RECV, STALL_READ);
}

TEST(rescue_blocked_sleep, "watchdog.rescue_blocked_timers") {
    run_rescue(WAIT_SLEEP, STALL_READ);
}

/* ---- The report ---- */

struct long_stall {
    uint32_t reports; /* that name the spinner */
    char line[512];
};

static void count_report(enum bnx_log_level level, const char *line, void *arg) {
    struct long_stall *state = arg;
    if (level == BNX_LOG_WARNING && strstr(line, "stalled") != NULL &&
        strstr(line, "the-spinner") != NULL) {
        (void)snprintf(state->line, sizeof(state->line), "%s", line);
        bnx_fetch_add_acq_rel(&state->reports, 1);
    }
}

static int spin_until_reported(void *arg) {
    struct long_stall *state = arg;
    bnx_task_name_set("the-spinner");
    while (bnx_load_acquire(&state->reports) == 0) { /* ends with the report */
        bnx_pause();
    }
    return 0;
}

static int spawn_spinner(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    const struct bnx_spawn_options options = {.stack = BNX_STACK_64K};
    CHECK_EQ(bnx_spawn_with(&scope, &options, spin_until_reported, arg, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* A task that keeps its worker is reported once, by its name and with the place of its spawn. */
TEST(rescue_report, "watchdog.report_names_the_task") {
    struct long_stall state = {0};
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = count_report, .log_arg = &state};
    CHECK_EQ(bnx_run(&options, spawn_spinner, &state), 0);
    printf("%s\n", state.line);
    CHECK_EQ(state.reports, 1);
    CHECK(strstr(state.line, "spawn") != NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
