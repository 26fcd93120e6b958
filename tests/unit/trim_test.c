/* SPDX-License-Identifier: MIT */
/* Tests that a task gives back the stack that it no longer uses. */
#include "tests/support/sched.h"

#include <string.h>

#define DEEP_BYTES (64 << 10)

static __attribute__((noinline)) void go_deep(void) {
    volatile char frame[DEEP_BYTES];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = (char)i;
    }
}

static int go_deep_and_trim(void *arg) {
    (void)arg;
    char kept[4096];
    memset(kept, 7, sizeof(kept));
    go_deep();
    if (bnx_task_stack_used(bnx_task_self()) == 0) {
        return 0; /* no /proc to see it by */
    }
    CHECK(bnx_task_stack_used(bnx_task_self()) >= DEEP_BYTES);
    bnx_task_stack_trim();
    CHECK(bnx_task_stack_used(bnx_task_self()) < DEEP_BYTES);
    bnx_yield();
    for (size_t i = 0; i < sizeof(kept); i++) {
        CHECK_EQ(kept[i], 7);
    }
    go_deep();
    CHECK(bnx_task_stack_used(bnx_task_self()) >= DEEP_BYTES);
    return 0;
}

static int trim_on_each_kind_of_stack(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn(&scope, go_deep_and_trim, arg), 0);
    }
    (void)go_deep_and_trim(arg);
    CHECK_EQ(bnx_scope_close(&scope), 0); /* some of them run on this task's stack */
    return 0;
}

/* Claim: a trim gives back what returned calls have used, and nothing else; off a task it does
 * nothing. Method: 64 KiB of frames, before, after, and again. */
TEST(task_trim, "task.stack_trim") {
    bnx_task_stack_trim();
    sched_run_each(trim_on_each_kind_of_stack, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
