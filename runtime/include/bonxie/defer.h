/* SPDX-License-Identifier: MIT */
/*
 * Blocks that end what they began, on every way out.
 *
 *     BNX_LOCK(&mutex) {
 *         if (count == 0) {
 *             return -EAGAIN;
 *         }
 *         count--;
 *     }
 *
 *     int error;
 *     BNX_WITH_SCOPE(scope, NULL, &error) {
 *         bnx_spawn(&scope, serve, &listener);
 *     }
 *
 *     BNX_WITH(struct buffer, buffer, buffer_take(pool), buffer_give) {
 *         fill(&buffer);
 *     }
 *
 * The ways out of a block, in C and in C++:
 *   its end, `continue`  the block ends, and the program goes on behind it
 *   `break`              the same: it leaves this block, not a loop around it
 *   `goto`, `return`     the block ends, then the jump is made; a returned expression is evaluated
 *                        before
 *   a C++ exception      as return; with -fexceptions
 *   exit, longjmp        are NO way out: nothing is ended. Do not longjmp out of a block.
 *
 * Each is a `for` loop of one turn over a variable with __attribute__((cleanup)): gcc and clang.
 */
#ifndef BONXIE_DEFER_H
#define BONXIE_DEFER_H

#include <bonxie/mutex.h>
#include <bonxie/scope.h>

BNX_EXTERN_C_BEGIN

#define BNX_DEFER_JOIN_(a, b) a##b
#define BNX_DEFER_JOIN(a, b) BNX_DEFER_JOIN_(a, b)
#define BNX_DEFER_UNIQUE(prefix) BNX_DEFER_JOIN(prefix, __COUNTER__) /* blocks nest */

struct bnx_lock_block {
    struct bnx_mutex *mutex; /* NULL: the lock was refused */
    bool is_due;             /* the body has its turn */
};

static inline struct bnx_lock_block bnx_lock_block_enter(struct bnx_mutex *mutex) {
    struct bnx_lock_block block;
    block.is_due = bnx_mutex_lock(mutex) == 0;
    block.mutex = block.is_due ? mutex : NULL;
    return block;
}

static inline void bnx_lock_block_leave(struct bnx_lock_block *block) {
    if (block->mutex != NULL) {
        bnx_mutex_unlock(block->mutex);
    }
}

/**
 * Runs the block that follows with the mutex locked. When bnx_mutex_lock refuses, because the
 * caller's scope is cancelled, the block is skipped: the next call that may suspend says so, or
 * bnx_checkpoint.
 */
#define BNX_LOCK(mutex) BNX_LOCK_AS(mutex, BNX_DEFER_UNIQUE(bnx_lock_block_))
#define BNX_LOCK_AS(mutex, block)                                                                  \
    for (struct bnx_lock_block block                                                               \
         __attribute__((cleanup(bnx_lock_block_leave))) = bnx_lock_block_enter(mutex);             \
         block.is_due; block.is_due = false)

struct bnx_scope_block {
    struct bnx_scope *scope; /* NULL: it could not be opened */
    int *out_result;         /* may be NULL */
    bool is_due;             /* the body has its turn */
};

static inline struct bnx_scope_block bnx_scope_block_enter(struct bnx_scope *scope,
                                                           const struct bnx_scope_options *options,
                                                           int *out_result) {
    struct bnx_scope_block block;
    int error = bnx_scope_open(scope, options);
    if (error != 0 && out_result != NULL) {
        *out_result = error;
    }
    block.is_due = error == 0;
    block.scope = block.is_due ? scope : NULL;
    block.out_result = out_result;
    return block;
}

static inline void bnx_scope_block_leave(struct bnx_scope_block *block) {
    if (block->scope != NULL) {
        int result = bnx_scope_close(block->scope);
        if (block->out_result != NULL) {
            *block->out_result = result;
        }
    }
}

/**
 * Runs the block that follows in a scope of its own: `struct bnx_scope scope`. Every way out closes
 * it, which waits for its tasks; to leave early without waiting for their work, cancel it before.
 * @param scope the name that the scope gets in the block.
 * @param options as in bnx_scope_open.
 * @param out_result int *, receives what bnx_scope_close returns, or, when the block was skipped,
 *   what bnx_scope_open did. May be NULL.
 */
#define BNX_WITH_SCOPE(scope, options, out_result)                                                 \
    BNX_WITH_SCOPE_AS(scope, options, out_result, BNX_DEFER_UNIQUE(bnx_scope_turn_),               \
                      BNX_DEFER_UNIQUE(bnx_scope_block_))
#define BNX_WITH_SCOPE_AS(scope, options, out_result, turn, block)                                 \
    for (struct bnx_scope scope, *turn = &scope; turn != NULL; turn = NULL)                        \
        for (struct bnx_scope_block block __attribute__((cleanup(bnx_scope_block_leave))) =        \
                 bnx_scope_block_enter(&scope, options, out_result);                               \
             block.is_due; block.is_due = false)

/**
 * Runs the block that follows with `type variable = enter`, and calls leave(&variable) at its end.
 * @param type without commas and arrays; @param enter an expression of that type; @param leave the
 *   name of a function that takes a pointer to the variable. It runs in no shield: in a cancelled
 *   scope its waits say so at once. What must wait to clean up is for bnx_defer (scope.h).
 */
#define BNX_WITH(type, variable, enter, leave)                                                     \
    BNX_WITH_AS(type, variable, enter, leave, BNX_DEFER_UNIQUE(bnx_with_turn_))
#define BNX_WITH_AS(type, variable, enter, leave, turn)                                            \
    for (int turn = 1; turn != 0; turn = 0)                                                        \
        for (type variable __attribute__((cleanup(leave))) = (enter); turn != 0; turn = 0)

BNX_EXTERN_C_END

#endif
