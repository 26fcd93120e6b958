/* SPDX-License-Identifier: MIT */
/* The simulator itself: what its machine promises to whoever is simulated on it. */
#include "runtime/clock.h"
#include "runtime/lock.h"
#include "tests/sim/seeds.h"
#include "tests/support/test.h"

#include <bonxie/bonxie.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define TASKS 12

static int leaf(void *arg) {
    uint32_t *sum = arg;
    (void)bnx_fetch_add_relaxed(sum, 1); /* counted after the close */
    bnx_yield();
    return bnx_sleep(1 + 1000 * (uint64_t)bnx_sim_draw(100));
}

static int root(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < TASKS; i++) {
        CHECK_EQ(bnx_spawn(&scope, leaf, arg), 0);
    }
    return bnx_scope_close(&scope);
}

/* A scenario with everything in it: workers, steals, timers, a watchdog. */
static int mixed(void *arg) {
    (void)arg;
    uint32_t sum = 0;
    int result = seeds_bnx_run(root, &sum);
    CHECK_EQ(sum, TASKS);
    return result;
}

static struct bnx_sim_report run_once(uint64_t seed) {
    struct bnx_sim_options options = {.seed = seed};
    struct bnx_sim_report report;
    CHECK_EQ(bnx_sim_run(&options, mixed, NULL, &report), 0);
    return report;
}

/* The same seed gives the same run, the first time and after other runs in the same process. */
TEST(same_seed_same_run, "sim.same_seed_same_run") {
    uint64_t first = bnx_test_seed();
    uint64_t seeds = bnx_test_scale(100);
    struct bnx_sim_report cold = run_once(first);
    for (uint64_t i = 0; i < seeds; i++) {
        struct bnx_sim_report one = run_once(first + i);
        struct bnx_sim_report other = run_once(first + i);
        CHECK(one.trace_hash == other.trace_hash);
        CHECK_EQ(one.steps, other.steps);
        CHECK_EQ(one.switches, other.switches);
        CHECK_EQ(one.virtual_ns, other.virtual_ns);
    }
    struct bnx_sim_report warm = run_once(first);
    CHECK(cold.trace_hash == warm.trace_hash);
    CHECK_EQ(cold.steps, warm.steps);
}

/* Different seeds give different interleavings. Not each: with one worker and few switches two may
 * coincide, but of a hundred runs ninety are new. */
TEST(seeds_differ, "sim.seeds_differ") {
    uint64_t first = bnx_test_seed();
    uint64_t hashes[100];
    int count_new = 0;
    for (uint64_t i = 0; i < 100; i++) {
        hashes[i] = run_once(first + i).trace_hash;
        uint64_t j = 0;
        while (hashes[j] != hashes[i]) { /* ends: i at the latest */
            j++;
        }
        count_new += j == i;
    }
    CHECK(count_new >= 90);
}

static uint32_t shared_word;

static int add_without_lock(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++) {
        uint32_t seen = bnx_load_relaxed(&shared_word);
        bnx_store_relaxed(&shared_word, seen + 1); /* the race that is to be seen */
    }
    return 0;
}

static int race(void *arg) {
    uint32_t *lost = arg;
    shared_word = 0;
    int thread = bnx_sim_thread_start(add_without_lock, NULL);
    CHECK(thread > 0);
    (void)add_without_lock(NULL);
    CHECK_EQ(bnx_sim_thread_join(thread), 0);
    *lost += 20 - shared_word;
    return 0;
}

/* A read and a write that should be one step are torn apart: some seed loses a count. */
TEST(switches_between_accesses, "sim.switches_between_accesses") {
    uint64_t first = bnx_test_seed();
    uint32_t lost = 0;
    for (uint64_t i = 0; i < 50; i++) {
        struct bnx_sim_options options = {.seed = first + i};
        CHECK_EQ(bnx_sim_run(&options, race, &lost, NULL), 0);
    }
    CHECK(lost > 0);
}

static int sleep_an_hour(void *arg) {
    uint64_t *slept_ns = arg;
    uint64_t begin_ns = bnx_now();
    int error = bnx_sleep(3600 * BNX_NS_PER_S);
    *slept_ns = bnx_now() - begin_ns;
    return error;
}

static int run_hour(void *arg) {
    return seeds_bnx_run(sleep_an_hour, arg);
}

/* Virtual time jumps to the next deadline: an hour takes no hour, and nothing wakes before it. */
TEST(time_jumps, "sim.time_jumps") {
    uint64_t first = bnx_test_seed();
    for (uint64_t i = 0; i < 20; i++) {
        uint64_t slept_ns = 0;
        struct bnx_sim_options options = {.seed = first + i};
        struct bnx_sim_report report;
        CHECK_EQ(bnx_sim_run(&options, run_hour, &slept_ns, &report), 0);
        CHECK(slept_ns >= 3600 * BNX_NS_PER_S);
        CHECK(report.virtual_ns >= slept_ns);
    }
}

static int release_word(void *arg) {
    bnx_store_release((uint32_t *)arg, 1);
    return 0;
}

static int spin_for_other(void *arg) {
    (void)arg;
    uint32_t word = 0;
    int thread = bnx_sim_thread_start(release_word, &word);
    while (bnx_load_acquire(&word) == 0) { /* ends when the machine is fair */
        bnx_pause();
    }
    return bnx_sim_thread_join(thread);
}

/* Who spins cannot keep the other from running, even with the higher priority: each run ends. */
TEST(spinner_starves_nobody, "sim.spinner_starves_nobody") {
    uint64_t first = bnx_test_seed();
    for (uint64_t i = 0; i < 50; i++) {
        struct bnx_sim_options options = {
            .seed = first + i, .demote_one_in = UINT32_MAX, .steps_max = 100000};
        CHECK_EQ(bnx_sim_run(&options, spin_for_other, NULL, NULL), 0);
    }
}

static int take_token(void *arg) {
    (void)arg;
    uint32_t never = 0;
    while (bnx_load_acquire(&never) == 0) {
        (void)bnx_os.futex_wait(&never, 0, BNX_NEVER_NS);
    }
    return 0;
}

static int wait_for_ever(void *arg) {
    (void)arg;
    int thread = bnx_sim_thread_start(take_token, NULL);
    return bnx_sim_thread_join(thread);
}

static int spin_for_ever(void *arg) {
    (void)arg;
    uint32_t never = 0;
    while (bnx_load_relaxed(&never) == 0) { /* alone; the limit ends it */
        bnx_pause();
    }
    return 0;
}

/* Runs a failing simulation in a child; its report must name the seed and hold the text. */
static void check_fails(bnx_task_fn fn, const char *text) {
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        struct bnx_sim_options options = {.seed = 0x5eed, .steps_max = 10000};
        (void)bnx_sim_run(&options, fn, NULL, NULL);
        _exit(0);
    }
    CHECK_EQ(close(ends[1]), 0);
    char report[4096];
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], report + used, sizeof(report) - 1 - used)) > 0) { /* ends: EOF */
        used += (size_t)got;
    }
    report[used] = '\0';
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(report, "BONXIE_SEED=0x5eed") != NULL);
    CHECK(strstr(report, text) != NULL);
}

/* Threads that all wait for ever are reported with what they wait on, and the run aborts. */
TEST(deadlock_is_reported, "sim.deadlock_is_reported") {
    check_fails(wait_for_ever, "thread 1 foreign asleep on ");
    check_fails(wait_for_ever, "every thread waits for ever");
}

/* A run that goes on and on is ended by the limit of its steps. */
TEST(livelock_is_reported, "sim.livelock_is_reported") {
    check_fails(spin_for_ever, "it does not end");
}

static int leave_thread(void *arg) {
    (void)arg;
    return bnx_sim_thread_start(release_word, &shared_word) > 0 ? 0 : -EAGAIN;
}

/* A thread that outlives the run would go on in the next one: it is an error of the program. */
TEST(leaked_thread_is_reported, "sim.leaked_thread_is_reported") {
    check_fails(leave_thread, "a thread was not joined");
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
