/* SPDX-License-Identifier: MIT */
/*
 * Stress of cancels from everywhere against scopes, shields and deferred functions that open and
 * close all the time.
 *
 * Method: a tree of tasks, each with random nests of scopes in which it waits for something that
 * never comes; every wait is ended by a cancel, a deadline or a broken shield. Tasks cancel their
 * siblings and the scopes they were spawned into; an OS thread cancels the trees. What is checked:
 * every task that was spawned has ended, every deferred function has run once, and nothing waits
 * for ever.
 */
#include "tests/support/sched.h"

#define TREES UINT64_C(300)
#define TASKS_PER_SCOPE 3
#define DEPTH_MAX 5
#define GRACE_NS_MAX UINT32_C(1000000)

struct storm {
    uint64_t seed;
    uint64_t spawned;
    uint64_t ended;
    uint64_t deferred;
    uint64_t deferred_run;
    uint64_t next_tree;
};

struct node {
    struct storm *storm;
    struct bnx_scope *scope; /* that it was spawned into */
    uint32_t depth;
    uint64_t seed;
};

static void count_deferred(void *arg) {
    struct storm *storm = arg;
    (void)bnx_sleep(1);
    bnx_fetch_add_relaxed(&storm->deferred_run, 1);
}

static int live(void *arg);

static void spawn_some(struct node *self, struct bnx_scope *scope, struct bnx_rng *rng) {
    for (int i = 0; i < TASKS_PER_SCOPE && self->depth < DEPTH_MAX; i++) {
        struct node node = {self->storm, scope, self->depth + 1, bnx_rng_next(rng)};
        /* Counted first: it may have ended before this one goes on. */
        bnx_fetch_add_relaxed(&self->storm->spawned, 1);
        int error = bnx_spawn_copy(scope, live, &node, sizeof(node));
        if (error != 0) {
            CHECK(error == -ECANCELED || error == -EAGAIN);
            bnx_fetch_sub_relaxed(&self->storm->spawned, 1);
        }
    }
}

/* One scope: maybe a shield, maybe with a deadline, maybe with something deferred. */
static void be_in_scope(struct node *self, struct bnx_rng *rng) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {.grace_ns = 1 + bnx_rng_below(rng, GRACE_NS_MAX)};
    if (bnx_rng_below(rng, 2) == 0) {
        options.flags = BNX_SCOPE_SHIELD;
    }
    if (bnx_rng_below(rng, 2) == 0) {
        options.deadline_ns = bnx_now() + bnx_rng_below(rng, 2 * GRACE_NS_MAX);
    }
    options.policy = (enum bnx_scope_policy)bnx_rng_below(rng, 4);
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    if (bnx_rng_below(rng, 4) == 0) {
        CHECK_EQ(bnx_defer(&scope, count_deferred, self->storm), 0);
        bnx_fetch_add_relaxed(&self->storm->deferred, 1);
    }
    spawn_some(self, &scope, rng);
    if (bnx_rng_below(rng, 3) == 0) {
        (void)bnx_sleep(bnx_rng_below(rng, GRACE_NS_MAX));
    }
    if (bnx_rng_below(rng, 3) == 0) {
        bnx_scope_cancel(&scope, -EPROTO);
    } else if (bnx_rng_below(rng, 2) == 0) {
        bnx_scope_cancel(self->scope, -EPROTO);
    }
    (void)bnx_scope_close(&scope);
}

static int live(void *arg) {
    struct node self = *(struct node *)arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, self.seed, 0);
    if (self.depth < DEPTH_MAX) {
        be_in_scope(&self, &rng);
    }
    int error = 0;
    if (bnx_rng_below(&rng, 2) == 0) {
        error = bnx_sleep_until(UINT64_MAX); /* ends: its tree is cancelled */
    }
    bnx_fetch_add_relaxed(&self.storm->ended, 1);
    return bnx_rng_below(&rng, 3) == 0 ? -EIO : error;
}

struct tree {
    struct storm *storm;
    struct bnx_scope scope;
    uint32_t is_open; /* posted once the scope may be cancelled */
};

static int grow(void *arg) {
    struct tree *tree = arg;
    struct storm *storm = tree->storm;
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm->seed, bnx_fetch_add_relaxed(&storm->next_tree, 1));
    CHECK_EQ(bnx_scope_open(&tree->scope, NULL), 0);
    bnx_scope_hold(&tree->scope); /* for the thread */
    struct node root = {storm, &tree->scope, 0, 0};
    spawn_some(&root, &tree->scope, &rng);
    sched_post(&tree->is_open);
    (void)bnx_scope_close(&tree->scope);
    return 0;
}

static void cut(void *arg) {
    struct tree *tree = arg;
    sched_wait_post(&tree->is_open, 1);
    bnx_scope_cancel(&tree->scope, -EPROTO);
    bnx_scope_release(&tree->scope);
}

static void storm_on(uint32_t workers) {
    struct storm storm = {.seed = bnx_test_seed()};
    struct bnx_runtime *runtime = sched_create(workers);
    uint64_t trees = bnx_test_scale(TREES);
    for (uint64_t i = 0; i < trees; i++) {
        struct tree tree = {.storm = &storm};
        struct bnx_os_thread thread;
        sched_thread_start(&thread, cut, &tree);
        CHECK_EQ(bnx_runtime_run(runtime, grow, &tree), 0);
        sched_thread_join(&thread);
    }
    sched_destroy(runtime);
    CHECK(storm.spawned > 0);
    CHECK_EQ(storm.ended, storm.spawned);
    CHECK_EQ(storm.deferred_run, storm.deferred);
}

/* Claim: whatever cancels whatever, every task ends and every deferred function runs. */
TEST(shield_storm, "shield.storm") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        storm_on(sched_worker_counts[i]);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
