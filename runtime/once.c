/* SPDX-License-Identifier: MIT */
/*
 * Once (bonxie/once.h): a locked word {DONE, RUNNING, LOCK} and a list of those who wait.
 *
 * Ordering
 *   Y1 (sync_pvt.h): the runner's store of DONE -> the load-acquire of who finds it: what fn did,
 *   and `result`, which is constant from then on. A waiter's outcome travels with his wake.
 */
#include <bonxie/once.h>

#include "runtime/sync_pvt.h"

#include <errno.h>

#define RUNNING 2u
#define DONE 4u

static struct bnx_waiter_list *list_of(struct bnx_once *once) {
    return (struct bnx_waiter_list *)(void *)&once->first;
}
_Static_assert(offsetof(struct bnx_once, last) - offsetof(struct bnx_once, first) ==
                   offsetof(struct bnx_waiter_list, last),
               "the public struct has room for the list");

static void unlock_word(struct bnx_once *once, uint32_t word) {
    bnx_store_release(&once->word, word); /* Y1 */
}

void bnx_once_init(struct bnx_once *once) {
    *once = (struct bnx_once)BNX_ONCE_INIT;
}

/* Calls fn; who waits meanwhile gets what it returns. */
static int run(struct bnx_once *once, bnx_task_fn fn, void *arg) {
    int result = fn(arg);
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    (void)bnx_sync_lock(&once->word);
    once->result = result;
    bnx_store_relaxed(&once->owner, NULL); /* only compared, with the caller */
    bnx_wake_chain_claim_all(&chain, list_of(once), result);
    unlock_word(once, result >= 0 ? DONE : 0);
    bnx_wake_chain_wake(&chain);
    return result;
}

static void leave(struct bnx_once *once, struct bnx_waiter *waiter) {
    uint32_t word = bnx_sync_lock(&once->word);
    bnx_waiter_list_remove(list_of(once), waiter);
    unlock_word(once, word);
}

/* Waits for the one that runs. Returns whether there was one, or a cancel was faster: then
 * *out_result is what the call returns. */
static bool wait_for_runner(struct bnx_once *once, int *out_result) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bnx_sleeper_init(&sleeper);
    bnx_waiter_init(&waiter, &sleeper, NULL);
    int error = bnx_sleeper_begin(&sleeper);
    if (error != 0) {
        *out_result = error;
        return true;
    }
    uint32_t word = bnx_sync_lock(&once->word);
    bool is_added = (word & RUNNING) != 0;
    if (is_added) {
        bnx_waiter_list_push(list_of(once), &waiter);
    }
    unlock_word(once, word);
    bool is_over = is_added || !bnx_sleeper_withdraw(&sleeper);
    if (is_over) {
        error = bnx_sleeper_sleep(&sleeper, BNX_WAIT_ONCE, once);
        if (is_added && error != 0) {
            leave(once, &waiter);
        }
        *out_result = error != 0 ? error : waiter.result;
    }
    bnx_sleeper_fini(&sleeper);
    return is_over;
}

static BNX_NOINLINE int run_slow(struct bnx_once *once, bnx_task_fn fn, void *arg) {
    const void *caller = bnx_sync_caller(bnx_sync_self());
    for (;;) { /* ends: each round means that another's try has ended meanwhile */
        uint32_t word = bnx_sync_lock(&once->word);
        bool is_ours = word == 0;
        if (is_ours) {
            bnx_store_relaxed(&once->owner, caller); /* as in run */
        }
        unlock_word(once, is_ours ? RUNNING : word);
        if (is_ours) {
            return run(once, fn, arg);
        }
        if (word == DONE) {
            return once->result;
        }
        if (caller != NULL && bnx_load_relaxed(&once->owner) == caller) { /* as in run */
            return -EDEADLK;
        }
        int result;
        if (wait_for_runner(once, &result)) {
            return result;
        }
    }
}

int bnx_once_run(struct bnx_once *once, bnx_task_fn fn, void *arg) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (bnx_unlikely(error != 0)) {
        return error;
    }
    if (bnx_likely(bnx_load_acquire(&once->word) == DONE)) { /* Y1 */
        return once->result;
    }
    return run_slow(once, fn, arg);
}
