/* SPDX-License-Identifier: MIT */
/* Claims about barriers and wait groups. */
#include "tests/support/crowd.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Barriers ---- */

#define PARTIES 5
#define PHASES 50

struct phases {
    struct bnx_barrier barrier;
    uint64_t phase_of[PARTIES]; /* each party's own; read by the others behind the barrier */
    uint64_t next_party;
    uint64_t last_count;
};

static int go_through_phases(void *arg) {
    struct phases *phases = arg;
    uint64_t me = bnx_fetch_add_relaxed(&phases->next_party, 1);
    for (uint64_t phase = 1; phase <= PHASES; phase++) {
        phases->phase_of[me] = phase;
        int result = bnx_barrier_wait(&phases->barrier);
        CHECK(result == 0 || result == 1);
        bnx_fetch_add_relaxed(&phases->last_count, (uint64_t)result);
        for (int i = 0; i < PARTIES; i++) {
            CHECK_EQ(phases->phase_of[i], phase);
        }
        CHECK(bnx_barrier_wait(&phases->barrier) >= 0);
    }
    return 0;
}

static void thread_phases(void *arg) {
    CHECK_EQ(go_through_phases(arg), 0);
}

static int barrier_phases(void *arg) {
    (void)arg;
    struct phases phases = {.next_party = 0};
    bnx_barrier_init(&phases.barrier, PARTIES);
    struct bnx_os_thread threads[2];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 2; i++) {
        sched_thread_start(&threads[i], thread_phases, &phases);
    }
    for (int i = 2; i < PARTIES; i++) {
        CHECK_EQ(bnx_spawn(&scope, go_through_phases, &phases), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (int i = 0; i < 2; i++) {
        sched_thread_join(&threads[i]);
    }
    CHECK_EQ(phases.last_count, PHASES);
    return 0;
}

/* Claim: nobody passes before all have come, what each did before is visible to all, exactly one
 * party of a round gets 1, and the next round may begin at once. Method: plain cells, one a party;
 * tasks and threads, two barriers a phase. */
TEST(barrier_phases, "barrier.all_or_none") {
    sched_run_each(barrier_phases, NULL);
}

struct tally {
    struct bnx_barrier barrier;
    uint64_t last_count;
};

static int pass(void *arg) {
    struct tally *tally = arg;
    int result = bnx_barrier_wait(&tally->barrier);
    if (result == 1) {
        bnx_fetch_add_relaxed(&tally->last_count, 1);
    }
    return result;
}

/* Claim: a party that is cancelled counts as not come, and one that has passed is not cancelled:
 * every round has as many parties as it should. Method: a crowd at a barrier for five; passes and
 * completed rounds are counted. */
TEST(barrier_cancel, "barrier.cancelled_party_leaves") {
    struct tally tally = {.barrier = BNX_BARRIER_INIT(PARTIES)};
    struct crowd crowd = {.use = pass, .arg = &tally, .never_left = true};
    crowd_run(&crowd);
    CHECK(tally.last_count > 0);
    CHECK_EQ(crowd.done, tally.last_count * PARTIES);
}

/* ---- Wait groups ---- */

struct job {
    struct bnx_waitgroup *group;
    int result; /* written before done, read after wait */
};

static int do_job(void *arg) {
    struct job *job = arg;
    if (job->result % 3 == 0) {
        bnx_yield();
    }
    job->result = -job->result;
    bnx_waitgroup_done(job->group);
    return 0;
}

static void thread_job(void *arg) {
    CHECK_EQ(do_job(arg), 0);
}

/* The group is in this frame and ends with it, while the last done may still be on its way back. */
static BNX_NOINLINE void wait_for_jobs(struct bnx_scope *scope, struct job *jobs, int count) {
    struct bnx_waitgroup group = BNX_WAITGROUP_INIT;
    CHECK_EQ(bnx_waitgroup_wait(&group), 0);
    bnx_waitgroup_add(&group, count + 1);
    struct bnx_os_thread thread;
    for (int i = 0; i <= count; i++) {
        jobs[i] = (struct job){&group, i + 1};
        if (i == count) {
            sched_thread_start(&thread, thread_job, &jobs[i]);
        } else {
            CHECK_EQ(bnx_spawn(scope, do_job, &jobs[i]), 0);
        }
    }
    CHECK_EQ(bnx_waitgroup_wait(&group), 0);
    for (int i = 0; i <= count; i++) {
        CHECK_EQ(jobs[i].result, -(i + 1));
    }
    bnx_waitgroup_add(&group, 2);
    bnx_waitgroup_add(&group, -2);
    CHECK_EQ(bnx_waitgroup_wait(&group), 0);
    sched_thread_join(&thread);
    memset(&group, 0xa5, sizeof(group));
}

static int waitgroup_rounds(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(300);
    for (uint64_t round = 0; round < rounds; round++) {
        struct job jobs[9];
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        wait_for_jobs(&scope, jobs, (int)(round % 9));
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

/* Claim: wait returns when the count is zero and not before, what was done is visible, the group
 * can be used again, and its memory is free once wait is back. Method: plain results; a group in a
 * frame that ends, tasks and a thread that finish it. */
TEST(waitgroup_waits, "waitgroup.waits_for_zero") {
    sched_run_each(waitgroup_rounds, NULL);
}

static int wait_group(void *arg) {
    return bnx_waitgroup_wait(arg);
}

static int waiters_give_up(void *arg) {
    (void)arg;
    struct bnx_waitgroup group = BNX_WAITGROUP_INIT;
    bnx_waitgroup_add(&group, 1);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_task *waiters[4];
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, wait_group, &group, &waiters[i]), 0);
        crowd_await_parked(waiters[i]);
    }
    int result = 0;
    bnx_cancel(waiters[0], 0);
    bnx_cancel(waiters[2], 0);
    CHECK_EQ(bnx_join(waiters[0], &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(bnx_join(waiters[2], &result), 0);
    CHECK_EQ(result, -ECANCELED);
    bnx_waitgroup_done(&group);
    CHECK_EQ(bnx_join(waiters[1], &result), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(bnx_join(waiters[3], &result), 0);
    CHECK_EQ(result, 0);
    return bnx_scope_close(&scope);
}

/* Claim: a cancelled waiter leaves, the others are woken. */
TEST(waitgroup_cancel, "waitgroup.cancelled_waiter_leaves") {
    sched_run_each(waiters_give_up, NULL);
}

/* Claim: a count below zero is a programmer's error. Method: a child process that makes it. */
TEST(waitgroup_negative, "waitgroup.below_zero_panics") {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct bnx_waitgroup group = BNX_WAITGROUP_INIT;
        bnx_waitgroup_add(&group, 1);
        bnx_waitgroup_done(&group);
        (void)signal(SIGABRT, SIG_DFL);
        bnx_waitgroup_done(&group);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
