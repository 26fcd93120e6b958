/* SPDX-License-Identifier: MIT */
/*
 * Functions that leave a block of bonxie/defer.h in each way, for C and for C++. The includer
 * defines BLOCK_FUNCTION, which makes a function's name.
 *
 * Ways: 0 the end, 1 break, 2 return (7), 3 goto. The first two return -1, goto -2.
 */
#ifndef BNX_TESTS_UNIT_BLOCK_WAYS_H
#define BNX_TESTS_UNIT_BLOCK_WAYS_H

#include <bonxie/defer.h>
#include <bonxie/task.h>

#define BLOCK_WAYS 4

static int block_end_task(void *arg) {
    uint64_t *ended = (uint64_t *)arg;
    bnx_yield();
    ++*ended;
    return 0;
}

static int *block_take(int *open) {
    ++*open;
    return open;
}

static void block_give(int **open) {
    --**open;
}

int BLOCK_FUNCTION(leave_lock)(struct bnx_mutex *mutex, int way);
int BLOCK_FUNCTION(leave_scope)(int way, int *out_result, uint64_t *ended);
int BLOCK_FUNCTION(leave_with)(int way, int *out_open);

int BLOCK_FUNCTION(leave_lock)(struct bnx_mutex *mutex, int way) {
    BNX_LOCK(mutex) {
        if (way == 1) {
            break;
        }
        if (way == 2) {
            return bnx_mutex_is_locked(mutex) ? 7 : 0;
        }
        if (way == 3) {
            goto out;
        }
    }
    return bnx_mutex_is_locked(mutex) ? 0 : -1;
out:
    return -2;
}

int BLOCK_FUNCTION(leave_scope)(int way, int *out_result, uint64_t *ended) {
    BNX_WITH_SCOPE(scope, NULL, out_result) {
        if (bnx_spawn(&scope, block_end_task, ended) != 0) {
            return 0;
        }
        if (way == 1) {
            break;
        }
        if (way == 2) {
            return 7;
        }
        if (way == 3) {
            goto out;
        }
    }
    return *ended == 1 ? -1 : 0;
out:
    return -2;
}

int BLOCK_FUNCTION(leave_with)(int way, int *out_open) {
    BNX_WITH(int *, open, block_take(out_open), block_give) {
        if (way == 1) {
            break;
        }
        if (way == 2) {
            return *open == 1 ? 7 : 0;
        }
        if (way == 3) {
            goto out;
        }
    }
    return *out_open == 0 ? -1 : 0;
out:
    return -2;
}

#endif
