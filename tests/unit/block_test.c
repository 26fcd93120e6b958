/* SPDX-License-Identifier: MIT */
/* Claims about the blocks of bonxie/defer.h: in C, and by block_cxx.cc in C++. */
#include "tests/support/sched.h"

#define BLOCK_FUNCTION(name) c_##name
#include "tests/unit/block_ways.h"

int cxx_leave_lock(struct bnx_mutex *mutex, int way);
int cxx_leave_scope(int way, int *out_result, uint64_t *ended);
int cxx_leave_with(int way, int *out_open);

static const int results[] = {-1, -1, 7, -2}; /* by the way out */

static void check_ways(int (*leave_lock)(struct bnx_mutex *, int),
                       int (*leave_scope)(int, int *, uint64_t *), int (*leave_with)(int, int *)) {
    for (int way = 0; way < BLOCK_WAYS; way++) {
        struct bnx_mutex mutex = BNX_MUTEX_INIT;
        CHECK_EQ(leave_lock(&mutex, way), results[way]);
        CHECK(!bnx_mutex_is_locked(&mutex));
        uint64_t ended = 0;
        int result = 1;
        CHECK_EQ(leave_scope(way, &result, &ended), results[way]);
        CHECK_EQ(result, 0);
        CHECK_EQ(ended, 1);
        CHECK(bnx_task_self()->scope_top == NULL);
        int open = 0;
        CHECK_EQ(leave_with(way, &open), results[way]);
        CHECK_EQ(open, 0);
    }
}

static int check_blocks(void *arg) {
    (void)arg;
    check_ways(c_leave_lock, c_leave_scope, c_leave_with);
    check_ways(cxx_leave_lock, cxx_leave_scope, cxx_leave_with);
    return 0;
}

/* Claim: a block that is left by its end, `break`, `return` or `goto` ends what it began, once: the
 * mutex is free, the scope closed after its tasks, the variable given back; `break` goes on behind
 * it. In C and in C++. */
TEST(block_ways, "block.every_way_out") {
    sched_run_each(check_blocks, NULL);
}

static int check_skipped(void *arg) {
    (void)arg;
    struct bnx_mutex mutex = BNX_MUTEX_INIT;
    struct bnx_scope scope;
    int turns = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    BNX_LOCK(&mutex) {
        turns++;
    }
    CHECK_EQ(turns, 0);
    CHECK(!bnx_mutex_is_locked(&mutex));
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    BNX_LOCK(&mutex) {
        struct bnx_mutex other = BNX_MUTEX_INIT;
        BNX_LOCK(&other) {
            turns += bnx_mutex_is_locked(&mutex) && bnx_mutex_is_locked(&other) ? 1 : 0;
        }
    }
    CHECK_EQ(turns, 1);
    return 0;
}

/* Off a task a scope cannot be opened. */
static void check_no_scope(void) {
    int result = 0;
    int turns = 0;
    BNX_WITH_SCOPE(scope, NULL, &result) {
        turns++;
    }
    CHECK_EQ(turns, 0);
    CHECK_EQ(result, -EPERM);
}

/* Claim: a block whose beginning was refused is skipped, and ends nothing: a lock by a cancel, a
 * scope off a task. Blocks nest. */
TEST(block_skipped, "block.refused_is_skipped") {
    sched_run(1, check_skipped, NULL);
    check_no_scope();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
