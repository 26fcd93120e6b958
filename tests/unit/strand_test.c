/* SPDX-License-Identifier: MIT */
/* Claims about strands. */
#include "tests/support/crowd.h"

/* Plain data that only the tasks of one strand touch: ThreadSanitizer sees what is not ordered. */
struct shared {
    struct bnx_strand strand;
    int is_inside; /* a task is between two suspensions */
    uint64_t count;
    uint64_t suspensions;
    struct bnx_future *future;
};

/* One piece of work that nobody of the strand may interrupt. */
static void work(struct shared *shared) {
    CHECK(bnx_strand_is_current(&shared->strand));
    CHECK_EQ(shared->is_inside, 0);
    shared->is_inside = 1;
    uint64_t count = shared->count;
    for (int i = 0; i < 20; i++) {
        bnx_pause();
    }
    shared->count = count + 1;
    shared->is_inside = 0;
}

static int nothing(void *arg) {
    (void)arg;
    return 7;
}

/* Suspends in one of many ways. */
static void suspend(struct shared *shared) {
    struct bnx_scope scope;
    switch (shared->suspensions++ % 5) {
    case 0:
        bnx_yield();
        break;
    case 1:
        (void)bnx_sleep(1000);
        break;
    case 2:
        (void)bnx_offload(nothing, NULL);
        break;
    case 3:
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        (void)bnx_spawn(&scope, nothing, NULL);
        (void)bnx_spawn(&scope, nothing, NULL);
        (void)bnx_scope_close(&scope);
        break;
    case 4:
        (void)bnx_checkpoint();
        break;
    }
}

#define MEMBERS 12
#define PIECES 40

static int member(void *arg) {
    for (int i = 0; i < PIECES; i++) {
        work(arg);
        suspend(arg);
    }
    return 0;
}

static int run_members(void *arg) {
    (void)arg;
    struct shared shared = {.strand = BNX_STRAND_INIT};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < MEMBERS; i++) {
        CHECK_EQ(bnx_strand_spawn(&shared.strand, &scope, member, &shared), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(shared.count, MEMBERS * PIECES);
    return 0;
}

/* Claim: of the tasks of a strand one runs at a time, also after each way to suspend, and what one
 * did the next one sees. Method: plain data, a read and a write far apart. */
TEST(strand_alone, "strand.one_at_a_time") {
    sched_run_each(run_members, NULL);
}

static int run_cancelled(void *arg) {
    (void)arg;
    struct shared shared = {.strand = BNX_STRAND_INIT};
    uint64_t rounds = bnx_test_scale(200);
    uint64_t started = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        struct bnx_scope_options options = {.deadline_ns = bnx_now() + round % 16 * 10000};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, round % 2 == 0 ? &options : NULL), 0);
        for (int i = 0; i < MEMBERS; i++) {
            started += bnx_strand_spawn(&shared.strand, &scope, member, &shared) == 0;
        }
        bnx_yield();
        if (round % 2 != 0) {
            bnx_scope_cancel(&scope, 0);
        }
        (void)bnx_scope_close(&scope);
    }
    CHECK_EQ(shared.count, started * PIECES);
    return 0;
}

/* Claim: a cancelled task comes back to its strand like any other. Method: members in scopes that
 * are cancelled or late; they ignore it and go on with their work. */
TEST(strand_cancelled, "strand.cancel_keeps_order") {
    sched_run_each(run_cancelled, NULL);
}

/* ---- Waiting leaves the strand ---- */

static int await_future(void *arg) {
    struct shared *shared = arg;
    work(shared);
    CHECK_EQ(bnx_future_await(shared->future, NULL), 0);
    work(shared);
    return 0;
}

static int set_future(void *arg) {
    struct shared *shared = arg;
    work(shared);
    return bnx_future_set(shared->future, NULL);
}

static int set_for_member(void *arg) {
    (void)arg;
    struct shared shared = {.strand = BNX_STRAND_INIT};
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&shared.future), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_strand_spawn(&shared.strand, &scope, await_future, &shared), 0);
    bnx_yield();
    CHECK_EQ(bnx_strand_spawn(&shared.strand, &scope, set_future, &shared), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(shared.count, 3);
    bnx_future_unref(shared.future);
    return 0;
}

/* Claim: a task that waits is not on its strand: another one may do what it waits for. */
TEST(strand_wait, "strand.wait_leaves") {
    sched_run_each(set_for_member, NULL);
}

/* ---- Scopes ---- */

static int await_beside(void *arg) {
    struct shared *shared = arg;
    CHECK(!bnx_strand_is_current(&shared->strand));
    return bnx_future_await(shared->future, NULL);
}

static int close_over_child(void *arg) {
    struct shared *shared = arg;
    struct bnx_scope scope;
    work(shared);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, await_beside, shared), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    work(shared);
    return 0;
}

static int close_for_setter(void *arg) {
    (void)arg;
    struct shared shared = {.strand = BNX_STRAND_INIT};
    struct bnx_scope scope;
    CHECK_EQ(bnx_future_create(&shared.future), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_strand_spawn(&shared.strand, &scope, close_over_child, &shared), 0);
    bnx_yield();
    CHECK_EQ(bnx_strand_spawn(&shared.strand, &scope, set_future, &shared), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(shared.count, 3);
    bnx_future_unref(shared.future);
    return 0;
}

/* Claim: a task of a strand that closes a scope leaves the strand to the others: no child of it
 * runs inline on its stack and keeps the strand while it waits. Method: the child waits for what
 * another task of the strand does. */
TEST(strand_close, "strand.close_leaves") {
    sched_run_each(close_for_setter, NULL);
}

/* ---- bnx_strand_run ---- */

static int work_once(void *arg) {
    work(arg);
    return 7;
}

static int fail_inside(void *arg) {
    work(arg);
    CHECK_EQ(bnx_strand_run(&((struct shared *)arg)->strand, work_once, arg), 7);
    return -EIO;
}

static int visitor(void *arg) {
    struct shared *shared = arg;
    CHECK(!bnx_strand_is_current(&shared->strand));
    CHECK_EQ(bnx_strand_run(&shared->strand, work_once, shared), 7);
    CHECK_EQ(bnx_strand_run(&shared->strand, fail_inside, shared), -EIO);
    CHECK_EQ(bnx_strand_run(&shared->strand, NULL, shared), -EINVAL);
    CHECK(!bnx_strand_is_current(&shared->strand));
    return 0;
}

static int between_strands(void *arg) {
    struct shared *both = arg;
    work(&both[0]);
    CHECK_EQ(bnx_strand_run(&both[1].strand, work_once, &both[1]), 7);
    work(&both[0]);
    return 0;
}

static int run_visitors(void *arg) {
    (void)arg;
    struct shared both[2] = {{.strand = BNX_STRAND_INIT}, {.strand = BNX_STRAND_INIT}};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn(&scope, visitor, &both[i % 2]), 0);
        CHECK_EQ(bnx_strand_spawn(&both[0].strand, &scope, between_strands, both), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(both[0].count, 10 * 3 + 20 * 2);
    CHECK_EQ(both[1].count, 10 * 3 + 20);
    return 0;
}

/* Claim: bnx_strand_run runs a function on a strand and returns its value, from beside it, from
 * another strand, and from the strand itself; off a task it is -EPERM. */
TEST(strand_run, "strand.run") {
    struct shared shared = {.strand = BNX_STRAND_INIT};
    CHECK_EQ(bnx_strand_run(&shared.strand, work_once, &shared), -EPERM);
    CHECK_EQ(bnx_strand_spawn(&shared.strand, NULL, work_once, &shared), -EPERM);
    CHECK(!bnx_strand_is_current(&shared.strand));
    sched_run_each(run_visitors, NULL);
}

/* ---- Offloaded work is off the strand ---- */

struct meeting {
    struct shared shared;
    uint32_t posts;
};

static int await_post(void *arg) {
    struct meeting *meeting = arg;
    sched_wait_post(&meeting->posts, 1);
    return 0;
}

static int offload_wait(void *arg) {
    struct meeting *meeting = arg;
    work(&meeting->shared);
    CHECK_EQ(bnx_offload(await_post, meeting), 0);
    work(&meeting->shared);
    return 0;
}

static int post(void *arg) {
    struct meeting *meeting = arg;
    work(&meeting->shared);
    sched_post(&meeting->posts);
    work(&meeting->shared);
    return 0;
}

static int meet(void *arg) {
    (void)arg;
    struct meeting meeting = {.posts = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_strand_spawn(&meeting.shared.strand, &scope, offload_wait, &meeting), 0);
    bnx_yield();
    CHECK_EQ(bnx_strand_spawn(&meeting.shared.strand, &scope, post, &meeting), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(meeting.shared.count, 4);
    return 0;
}

/* Claim: blocking work does not hold the strand. Method: it blocks until a task of the strand has
 * run. */
TEST(strand_offload, "strand.offload_leaves") {
    sched_run_each(meet, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
