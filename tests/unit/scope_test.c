/* SPDX-License-Identifier: MIT */
/* Claims about scopes: what a close waits for, errors, children that run on the parent's stack. */
#include "tests/support/sched.h"

#include <bonxie/time.h>

/* ---- Closing waits ---- */

struct tree {
    uint64_t ended;
    int depth;
};

struct tree_node {
    struct tree *tree;
    int depth;
};

/* Every inner node waits in its own way before its close. */
static int grow(void *arg) {
    struct tree_node node = *(struct tree_node *)arg;
    if (node.depth > 0) {
        struct tree_node below = {node.tree, node.depth - 1};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(bnx_spawn_copy(&scope, grow, &below, sizeof(below)), 0);
            if (i == node.depth % 3) {
                bnx_yield();
            }
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
    } else {
        CHECK_EQ(bnx_sleep(1), 0);
    }
    bnx_fetch_add_relaxed(&node.tree->ended, 1); /* read after the close */
    return 0;
}

static int close_tree(void *arg) {
    (void)arg;
    for (int round = 0; round < 5; round++) {
        struct tree tree = {0};
        struct tree_node root = {&tree, 5};
        CHECK_EQ(grow(&root), 0);
        CHECK_EQ(bnx_load_relaxed(&tree.ended), 364); /* 1 + 3 + ... + 3^5 */
    }
    return 0;
}

/* Claim: close returns after every task in the scope, stolen, inline or queued, has ended. Method:
 * a tree three wide and five deep whose nodes yield, sleep and close, counted after each close. */
TEST(scope_close_waits, "scope.close_waits_for_all") {
    sched_run_each(close_tree, NULL);
}

/* A child that waits while it runs on its parent's stack. */
struct inline_case {
    struct sched_bell bell;
    struct bnx_task *parent;
    uint64_t was_beneath;
    uint64_t started;
};

static int wait_inline(void *arg) {
    struct inline_case *shared = arg;
    if (bnx_task_state(shared->parent) == BNX_TASK_BENEATH) {
        bnx_fetch_add_relaxed(&shared->was_beneath, 1);
    }
    bnx_fetch_add_acq_rel(&shared->started, 1);
    sched_bell_wait(&shared->bell);
    return 0;
}

static int close_beneath(void *arg) {
    struct inline_case *shared = arg;
    uint64_t frame[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    shared->parent = bnx_task_self();
    CHECK_EQ(bnx_spawn(&scope, wait_inline, shared), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (uint64_t i = 0; i < 8; i++) {
        CHECK_EQ(bnx_load_relaxed(&frame[i]), i + 1);
    }
    CHECK(bnx_task_self() == shared->parent);
    CHECK_EQ(bnx_task_state(shared->parent), BNX_TASK_RUNNING);
    bnx_yield();
    return 0;
}

#define INLINE_PARENTS 50

static int close_with_inline(void *arg) {
    (void)arg;
    struct inline_case *cases = bnx_os.allocate(sizeof(*cases) * INLINE_PARENTS, 64);
    CHECK(cases != NULL);
    memset(cases, 0, sizeof(*cases) * INLINE_PARENTS);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < INLINE_PARENTS; i++) {
        CHECK_EQ(bnx_spawn(&scope, close_beneath, &cases[i]), 0);
    }
    uint64_t was_beneath = 0;
    for (int i = 0; i < INLINE_PARENTS; i++) {
        sched_await_count(&cases[i].started, 1);
        was_beneath += bnx_load_relaxed(&cases[i].was_beneath);
        sched_bell_ring(&cases[i].bell);
        if (i % 3 == 0) {
            bnx_yield();
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (sched_worker_count() == 1) {
        CHECK_EQ(was_beneath, INLINE_PARENTS); /* nobody could steal */
    }
    bnx_os.release(cases);
    return 0;
}

/* Claim: a child that runs on its parent's stack may wait; that stack parks, the parent is beneath
 * it, and goes on, maybe on another worker, when the child has returned. Method: children that wait
 * for a bell that others ring; on one worker each of them ran inline. */
TEST(scope_inline_waits, "scope.inline_child_waits") {
    sched_run_each(close_with_inline, NULL);
}

static int spawn_more(void *arg) {
    struct tree_node *node = arg;
    bnx_fetch_add_relaxed(&node->tree->ended, 1);
    return 0;
}

struct shared_scope {
    struct bnx_scope *scope;
    struct tree_node node;
};

static int spawn_into_parent(void *arg) {
    struct shared_scope *shared = arg;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_spawn(shared->scope, spawn_more, &shared->node), 0);
        if (i % 4 == 0) {
            bnx_yield();
        }
    }
    return 0;
}

static int children_spawn(void *arg) {
    (void)arg;
    for (int round = 0; round < 20; round++) {
        struct tree tree = {0};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        struct shared_scope shared = {&scope, {&tree, 0}};
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(bnx_spawn(&scope, spawn_into_parent, &shared), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bnx_load_relaxed(&tree.ended), 100);
    }
    return 0;
}

/* Claim: children may spawn into the scope they belong to, and the close waits for those, too. */
TEST(scope_children_spawn, "scope.children_spawn_siblings") {
    sched_run_each(children_spawn, NULL);
}

/* ---- Errors ---- */

static int fail_with(void *arg) {
    return (int)(intptr_t)arg;
}

static int sleep_until_cancelled(void *arg) {
    uint64_t *count = arg;
    CHECK_EQ(bnx_sleep_until(UINT64_MAX), -ECANCELED);
    CHECK_EQ(bnx_sleep(1), -ECANCELED); /* a level: again and again */
    bnx_fetch_add_relaxed(count, 1);
    return -ECANCELED;
}

static int first_error_wins(void *arg) {
    (void)arg;
    for (int round = 0; round < 20; round++) {
        uint64_t cancelled = 0;
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 10; i++) {
            CHECK_EQ(bnx_spawn(&scope, sleep_until_cancelled, &cancelled), 0);
        }
        if (round % 2 == 0) {
            bnx_yield(); /* some wait by now, others have not started */
        }
        CHECK_EQ(bnx_spawn(&scope, fail_with, (void *)(intptr_t)-EIO), 0);
        CHECK_EQ(bnx_scope_close(&scope), -EIO);
        CHECK_EQ(bnx_load_relaxed(&cancelled), 10);
        CHECK_EQ(bnx_checkpoint(), 0); /* the error stayed inside */
    }
    return 0;
}

/* Claim: the first child that fails cancels its siblings, started or not, and close returns its
 * error; siblings that give up with -ECANCELED add nothing; the opener itself is not cancelled. */
TEST(scope_first_error, "scope.first_error_wins") {
    sched_run_each(first_error_wins, NULL);
}

static int positive_is_no_error(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, fail_with, (void *)(intptr_t)5), 0);
    CHECK_EQ(bnx_checkpoint(), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a result above zero is no error. */
TEST(scope_positive, "scope.positive_result_is_no_error") {
    sched_run_each(positive_is_no_error, NULL);
}

static int root_errors(void *arg) {
    (void)arg;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_spawn(NULL, fail_with, (void *)(intptr_t)-EIO), 0);
    CHECK_EQ(bnx_spawn_with(NULL, NULL, fail_with, (void *)(intptr_t)-EPIPE, &task), 0);
    int result = 0;
    CHECK_EQ(bnx_join(task, &result), 0);
    CHECK_EQ(result, -EPIPE);
    CHECK_EQ(bnx_sleep(1), 0);
    return 0;
}

static void count_errors(enum bnx_log_level level, const char *line, void *arg) {
    if (level == BNX_LOG_ERROR && strstr(line, "failed") != NULL) {
        bnx_fetch_add_relaxed((uint64_t *)arg, 1);
    }
}

/* Claim: the error of a task of the root scope cancels nobody and goes to the log. */
TEST(scope_root_errors, "scope.root_errors_are_logged") {
    uint64_t errors = 0;
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = count_errors, .log_arg = &errors};
    CHECK_EQ(bnx_run(&options, root_errors, NULL), 0);
    CHECK_EQ(errors, 2);
}

/* ---- Special children of a close ---- */

static int see_stack(void *arg) {
    struct bnx_task *parent = arg;
    CHECK(bnx_task_state(parent) != BNX_TASK_BENEATH); /* these have a stack of their own */
    bnx_yield();
    return 0;
}

static int special_children(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_spawn_options stack = {.stack = BNX_STACK_16K};
    struct bnx_spawn_options fp = {.flags = BNX_SPAWN_FP_STATE};
    struct bnx_spawn_options pinned = {.flags = BNX_SPAWN_PINNED};
    CHECK_EQ(bnx_spawn_with(&scope, &stack, see_stack, bnx_task_self(), NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &fp, see_stack, bnx_task_self(), NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &pinned, see_stack, bnx_task_self(), NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_pin_begin();
    CHECK_EQ(bnx_spawn(&scope, see_stack, bnx_task_self()), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_pin_end();
    return 0;
}

/* Claim: a task with a stack class, control words or a worker of its own, and any child of a pinned
 * parent, runs on its own stack. */
TEST(scope_special, "scope.special_children_have_a_stack") {
    sched_run_each(special_children, NULL);
}

/* Recursion by scopes: each level's child runs on the same stack until that is nearly used up. */
static int descend(void *arg) {
    uint64_t *depth = arg;
    char frame[1024];
    memset(frame, 1, sizeof(frame));
    bnx_compiler_barrier();
    if ((*depth)++ >= 2000) {
        return 0;
    }
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, descend, depth), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(frame[17], 1);
    return 0;
}

/* Claim: nested closes run inline only while the stack has room. Method: 2000 levels with a frame
 * of a kilobyte each on a stack of 256. */
TEST(scope_deep, "scope.inline_stops_before_overflow") {
    uint64_t depth = 0;
    sched_run(1, descend, &depth);
    depth = 0;
    sched_run(2, descend, &depth);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
