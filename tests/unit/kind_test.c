/* SPDX-License-Identifier: MIT */
/* The claim that a handle tells its kind. */
#include "tests/support/sched.h"

#include <bonxie/chan.h>
#include <bonxie/gen.h>
#include <bonxie/kind.h>

static int return_zero(void *arg) {
    (void)arg;
    return 0;
}

static int tell_kinds(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    struct bnx_future *future = NULL;
    unsigned char nothing[64] = {0};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, return_zero, NULL, &task), 0);
    CHECK_EQ(bnx_future_create(&future), 0);
    CHECK_EQ(bnx_kind(task), BNX_KIND_TASK);
    CHECK_EQ(bnx_kind(bnx_task_self()), BNX_KIND_TASK);
    CHECK_EQ(bnx_kind(future), BNX_KIND_FUTURE);
    CHECK_EQ(bnx_kind(&scope), BNX_KIND_SCOPE);
    CHECK_EQ(bnx_kind(NULL), BNX_KIND_NONE);
    CHECK_EQ(bnx_kind(nothing), BNX_KIND_NONE);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_future_unref(future);
    return 0;
}

static int yield_nothing(struct bnx_gen *gen, void *arg) {
    (void)gen;
    (void)arg;
    return 0;
}

/* Claim: a handle tells its kind. */
TEST(kind_tells, "kind.tells") {
    sched_run(1, tell_kinds, NULL);
    struct bnx_chan *chan = NULL;
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_chan_create(sizeof(int), 1, &chan), 0);
    CHECK_EQ(bnx_gen_create(&gen, yield_nothing, NULL, NULL), 0);
    CHECK_EQ(bnx_kind(chan), BNX_KIND_CHANNEL);
    CHECK_EQ(bnx_kind(gen), BNX_KIND_GENERATOR);
    bnx_gen_destroy(gen);
    bnx_chan_destroy(chan);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
