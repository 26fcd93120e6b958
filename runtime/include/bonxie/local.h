/* SPDX-License-Identifier: MIT */
/*
 * Task-local storage: values that belong to a task and go where it goes, as thread-locals cannot.
 *
 *     static void *share(void *value) {
 *         return request_ref(value);
 *     }
 *     static void drop(void *value) {
 *         request_unref(value);
 *     }
 *     static const struct bnx_local current_request = {drop, share, "request"};
 *
 *     bnx_local_set(&current_request, request_ref(request));
 *     ...
 *     struct request *request = bnx_local_get(&current_request);
 *
 * A key is a static struct; its address is what counts. A task that spawns passes on the values
 * whose key has `inherit`. A fork (fork.h) has no values of its own: it sees its forker's, and
 * while forks are not joined yet neither they nor the forker may set any.
 */
#ifndef BONXIE_LOCAL_H
#define BONXIE_LOCAL_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_local {
    /* Called with each value that the task still has when its function has returned, on the task,
     * last set first; for a task that was never started, by whoever drops it. It must not suspend,
     * nor set values (-EPERM). NULL: nothing is called. */
    void (*destroy)(void *value);
    /* Called at a spawn, on the spawning task, with its value: returns the new task's, or NULL for
     * none. It must not suspend, nor set values. NULL: the value is not passed on. */
    void *(*inherit)(void *value);
    const char *name; /* for people who debug; may be NULL */
};

/**
 * Sets the calling task's value. The one before is the caller's again: nothing is called for it.
 * @param key not NULL; static, or alive until the last task that has a value for it has ended.
 * @param value NULL unsets it.
 * Returns 0; -ENOMEM (not when a value is replaced or unset); -EPERM: off a task, in a fork that
 * another worker has taken, in a destroy or inherit function.
 * Context: task; never suspends.
 */
BNX_API int bnx_local_set(const struct bnx_local *key, void *value);

/**
 * Returns the calling task's value, or NULL: it has none, or there is no task. Borrowed from the
 * task. Context: anywhere; never suspends. A few ns, and one more for each value set before it.
 */
BNX_API void *bnx_local_get(const struct bnx_local *key);

BNX_EXTERN_C_END

#endif
