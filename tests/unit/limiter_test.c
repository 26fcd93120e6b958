/* SPDX-License-Identifier: MIT */
/* Claims about the limiter. */
#include "tests/support/crowd.h"

static struct bnx_limiter_statistics statistics_of(struct bnx_limiter *limiter) {
    struct bnx_limiter_statistics statistics;
    bnx_limiter_statistics_get(limiter, &statistics);
    return statistics;
}

/* Claim: a token is a borrower's: a second one is -EDEADLK, a release without one -EPERM; none left
 * is -EAGAIN to those who only try. Method: off a task and with borrowers by pointer; a thousand of
 * them, given back in another order. */
TEST(limiter_borrowers, "limiter.token_has_a_borrower") {
    static char borrowers[1000];
    struct bnx_limiter limiter;
    bnx_limiter_init(&limiter, 2);
    CHECK_EQ(bnx_limiter_release(&limiter), -EPERM);
    CHECK_EQ(bnx_limiter_acquire(&limiter), 0);
    CHECK_EQ(bnx_limiter_acquire(&limiter), -EDEADLK);
    CHECK_EQ(bnx_limiter_try_acquire(&limiter), -EDEADLK);
    CHECK_EQ(bnx_limiter_acquire_for(&limiter, NULL), -EINVAL);
    CHECK_EQ(bnx_limiter_acquire_for(&limiter, &borrowers[0]), 0);
    CHECK_EQ(bnx_limiter_try_acquire_for(&limiter, &borrowers[1]), -EAGAIN);
    CHECK_EQ(bnx_limiter_release_for(&limiter, &borrowers[1]), -EPERM);
    CHECK_EQ(statistics_of(&limiter).borrowed, 2);
    CHECK_EQ(bnx_limiter_release(&limiter), 0);
    CHECK_EQ(bnx_limiter_release(&limiter), -EPERM);
    bnx_limiter_tokens_set(&limiter, SIZE_MAX);
    for (int i = 1; i < 1000; i++) {
        CHECK_EQ(bnx_limiter_acquire_for(&limiter, &borrowers[i]), 0);
    }
    CHECK_EQ(statistics_of(&limiter).borrowed, 1000);
    for (int i = 0; i < 1000; i++) {
        int other = i * 7 % 1000;
        CHECK_EQ(bnx_limiter_try_acquire_for(&limiter, &borrowers[other]), -EDEADLK);
        CHECK_EQ(bnx_limiter_release_for(&limiter, &borrowers[other]), 0);
        CHECK_EQ(bnx_limiter_release_for(&limiter, &borrowers[other]), -EPERM);
    }
    CHECK_EQ(statistics_of(&limiter).borrowed, 0);
    bnx_limiter_fini(&limiter);
    bnx_limiter_fini(&limiter);
}

static void *allocate_nothing(size_t bytes, size_t alignment) {
    (void)bytes;
    (void)alignment;
    return NULL;
}

/* Claim: without memory an acquire fails and changes nothing; what has been borrowed can be given
 * back. Method: the allocator fails. */
TEST(limiter_memory, "limiter.no_memory") {
    static char borrowers[100];
    struct bnx_limiter limiter;
    void *(*allocate)(size_t bytes, size_t alignment) = bnx_os.allocate;
    bnx_limiter_init(&limiter, 100);
    CHECK_EQ(bnx_limiter_acquire(&limiter), 0);
    bnx_os.allocate = allocate_nothing;
    size_t count = 0;
    while (bnx_limiter_acquire_for(&limiter, &borrowers[count]) == 0) {
        count++;
        CHECK(count < 100);
    }
    CHECK_EQ(bnx_limiter_acquire_for(&limiter, &borrowers[count]), -ENOMEM);
    CHECK_EQ(statistics_of(&limiter).borrowed, count + 1);
    CHECK_EQ(bnx_limiter_release(&limiter), 0);
    bnx_os.allocate = allocate;
    CHECK_EQ(bnx_limiter_acquire_for(&limiter, &borrowers[count]), 0);
    bnx_limiter_fini(&limiter);
}

/* ---- Waiting ---- */

static int acquire(void *arg) {
    return bnx_limiter_acquire(arg);
}

static int acquire_for_limiter(void *arg) {
    return bnx_limiter_acquire_for(arg, arg);
}

static int hand_out(void *arg) {
    (void)arg;
    struct bnx_limiter limiter;
    struct bnx_task *tasks[5];
    struct bnx_scope scope;
    bnx_limiter_init(&limiter, 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 5; i++) {
        bnx_task_fn fn = i == 4 ? acquire_for_limiter : acquire;
        CHECK_EQ(bnx_spawn_with(&scope, NULL, fn, &limiter, &tasks[i]), 0);
        crowd_await_parked(tasks[i]);
    }
    CHECK_EQ(bnx_limiter_acquire_for(&limiter, &limiter), -EDEADLK); /* it waits */
    CHECK_EQ(bnx_limiter_release_for(&limiter, &limiter), -EPERM);
    CHECK_EQ(statistics_of(&limiter).waiting, 5);
    bnx_cancel(tasks[0], 0);
    int result = 0;
    CHECK_EQ(bnx_join(tasks[0], &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(statistics_of(&limiter).waiting, 4);
    bnx_limiter_tokens_set(&limiter, 2);
    CHECK_EQ(bnx_join(tasks[1], &result), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(bnx_join(tasks[2], &result), 0);
    CHECK_EQ(statistics_of(&limiter).waiting, 2);
    bnx_limiter_tokens_set(&limiter, 1);
    CHECK_EQ(bnx_limiter_release_for(&limiter, tasks[1]), 0);
    CHECK_EQ(statistics_of(&limiter).waiting, 2); /* one is one too many still */
    CHECK_EQ(bnx_limiter_release_for(&limiter, tasks[2]), 0);
    CHECK_EQ(bnx_join(tasks[3], &result), 0);
    CHECK_EQ(statistics_of(&limiter).waiting, 1);
    CHECK_EQ(bnx_limiter_try_acquire(&limiter), -EAGAIN);
    CHECK_EQ(bnx_limiter_release_for(&limiter, tasks[3]), 0);
    CHECK_EQ(bnx_join(tasks[4], &result), 0);
    CHECK_EQ(bnx_limiter_release_for(&limiter, &limiter), 0);
    bnx_limiter_tokens_set(&limiter, 0);
    struct bnx_task *last = NULL;
    CHECK_EQ(bnx_spawn_with(&scope, NULL, acquire, &limiter, &last), 0);
    crowd_await_parked(last);
    bnx_cancel(last, 0);
    CHECK_EQ(bnx_join(last, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(statistics_of(&limiter).borrowed, 0);
    bnx_limiter_fini(&limiter);
    return 0;
}

/* Claim: tokens go to those who have waited longest; more tokens wake as many, fewer keep all
 * waiting until enough are back; one that waits is a borrower already, and one that was cancelled
 * has left no trace: the limiter may end. */
TEST(limiter_order, "limiter.first_come_first_served") {
    sched_run_each(hand_out, NULL);
}

/* ---- A crowd ---- */

#define TOKENS 3

struct shared {
    struct bnx_limiter limiter;
    uint64_t inside;
};

static int borrow(void *arg) {
    struct shared *shared = arg;
    int error = bnx_limiter_acquire(&shared->limiter);
    if (error != 0) {
        return error;
    }
    CHECK(bnx_fetch_add_relaxed(&shared->inside, 1) < TOKENS);
    bnx_yield();
    bnx_fetch_sub_relaxed(&shared->inside, 1);
    CHECK_EQ(bnx_limiter_release(&shared->limiter), 0);
    return 0;
}

/* Claim: never more borrowers than tokens, and no token is lost, whoever gives up. */
TEST(limiter_crowd, "limiter.keeps_its_tokens") {
    struct shared shared = {.inside = 0};
    struct crowd crowd = {.use = borrow, .arg = &shared};
    bnx_limiter_init(&shared.limiter, TOKENS);
    crowd_run(&crowd);
    struct bnx_limiter_statistics statistics = statistics_of(&shared.limiter);
    CHECK_EQ(statistics.tokens, TOKENS);
    CHECK_EQ(statistics.borrowed, 0);
    CHECK_EQ(statistics.waiting, 0);
    bnx_limiter_fini(&shared.limiter);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
