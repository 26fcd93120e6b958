/* SPDX-License-Identifier: MIT */
/*
 * skynet: a tree of tasks, ten children each, with a million leaves that number themselves; every
 * node returns the sum of its subtree. Once with tasks, each with an identity, a scope and a cancel
 * of its own, and once with forks.
 */
#include "runtime/examples/workers.h"

#include <bonxie/bonxie.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define CHILDREN 10
#define LEAVES UINT64_C(1000000)
#define NODES UINT64_C(1111111) /* all levels: 1 + 10 + ... + 1000000 */
#define SUM UINT64_C(499999500000)

/* One subtree; in its parent's frame, which stays until the subtree has ended. */
struct subtree {
    uint64_t first;  /* number of its first leaf */
    uint64_t leaves; /* a power of ten */
    uint64_t sum;    /* out */
};

static void split(const struct subtree *tree, struct subtree *out_children) {
    uint64_t leaves = tree->leaves / CHILDREN;
    for (uint64_t i = 0; i < CHILDREN; i++) {
        out_children[i] = (struct subtree){tree->first + i * leaves, leaves, 0};
    }
}

static void add_up(struct subtree *tree, const struct subtree *children) {
    for (int i = 0; i < CHILDREN; i++) {
        tree->sum += children[i].sum;
    }
}

static int grow_tasks(void *arg) {
    struct subtree *tree = arg;
    if (tree->leaves == 1) {
        tree->sum = tree->first;
        return 0;
    }
    struct subtree children[CHILDREN];
    split(tree, children);
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (int i = 0; i < CHILDREN && error == 0; i++) {
        error = bnx_spawn(&scope, grow_tasks, &children[i]);
    }
    int close_error = bnx_scope_close(&scope);
    add_up(tree, children);
    return error < 0 ? error : close_error;
}

static int grow_forks(void *arg) {
    struct subtree *tree = arg;
    if (tree->leaves == 1) {
        tree->sum = tree->first;
        return 0;
    }
    struct subtree children[CHILDREN];
    split(tree, children);
    struct bnx_fork forks[CHILDREN];
    int count = 0;
    int error = 0;
    while (count < CHILDREN && error == 0) {
        error = bnx_fork(&forks[count], grow_forks, &children[count]);
        count += error == 0;
    }
    while (count > 0) { /* in reverse order */
        int result = bnx_fork_join(&forks[--count]);
        error = error < 0 ? error : result;
    }
    add_up(tree, children);
    return error;
}

static int measure(const char *what, bnx_task_fn grow) {
    struct subtree tree = {0, LEAVES, 0};
    uint64_t start_ns = bnx_now();
    int error = grow(&tree);
    uint64_t spent_ns = bnx_now() - start_ns;
    if (error < 0) {
        return error;
    }
    printf("%s: sum %" PRIu64 ", %.3f s, %.1f ns per task\n", what, tree.sum,
           (double)spent_ns / 1e9, (double)spent_ns / (double)NODES);
    return tree.sum == SUM ? 0 : -EIO;
}

static int run(void *arg) {
    (void)arg;
    int error = measure("tasks", grow_tasks);
    return error < 0 ? error : measure("forks", grow_forks);
}

int main(int argc, char **argv) {
    struct bnx_options options = {0};
    int parsed = bnx_workers_parse(argc, argv, "a million leaf tasks, then a million leaf forks",
                                   &options.worker_count);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    int error = bnx_main_with(&options, run, NULL);
    if (error != 0) {
        fprintf(stderr, "%s: failed: %d\n", argv[0], error);
    }
    return error == 0 ? 0 : 1;
}
