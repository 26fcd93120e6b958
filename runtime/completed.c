/* SPDX-License-Identifier: MIT */
/*
 * bnx_as_completed (bonxie/waitable.h): many waitables, one after the other as they become done.
 *
 * Every entry is registered from the beginning. One that fires puts itself behind those that did
 * before, under the lock, and claims whoever sleeps in next. The block with the entries is freed
 * once each waiter was removed: until then a fire may be on its way to it.
 */
#include "runtime/lock.h"
#include "runtime/os.h"
#include "runtime/waiter.h"

#include <bonxie/iter.h>

#include <errno.h>

struct entry {
    struct bnx_waiter waiter;
    struct bnx_waitable *waitable; /* immutable */
    struct entry *next;            /* done after this one; under the lock */
    bool is_added;                 /* registered: to be removed; the iterator's user */
};

struct completed {
    struct bnx_lock lock; /* guards the three below; taken inside a waitable's own */
    struct entry *first;  /* done and not yet given out, in that order */
    struct entry *last;
    struct bnx_waiter_list waiting; /* the user of the iterator, while it sleeps */
    size_t left;                    /* not yet given out; the user */
    size_t count;                   /* immutable */
    struct entry entries[];         /* count of them */
};

static void append(struct completed *completed, struct entry *entry) {
    entry->next = NULL;
    if (completed->first == NULL) {
        completed->first = entry;
    } else if (BNX_PLANT(completed_newest_first)) {
        entry->next = completed->first;
        completed->first = entry;
        return;
    } else {
        completed->last->next = entry;
    }
    completed->last = entry;
}

/* Any thread. */
static bool fire(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee) {
    struct completed *completed = waiter->owner;
    bnx_lock_acquire(&completed->lock); /* L1 */
    append(completed, BNX_CONTAINER_OF(waiter, struct entry, waiter));
    (void)bnx_waiter_list_claim(&completed->waiting, 0, out_wakee);
    bnx_lock_release(&completed->lock); /* L1 */
    return true;
}

static struct entry *pop(struct completed *completed) {
    bnx_lock_acquire(&completed->lock); /* L1 */
    struct entry *entry = completed->first;
    if (entry != NULL) {
        completed->first = entry->next;
    }
    bnx_lock_release(&completed->lock); /* L1 */
    return entry;
}

/* Sleeps unless something is there. Returns 0: look again. */
static int sleep_once(struct completed *completed, struct bnx_sleeper *sleeper) {
    struct bnx_waiter waiter;
    bnx_waiter_init(&waiter, sleeper, NULL);
    int error = bnx_sleeper_begin(sleeper);
    if (error != 0) {
        return error;
    }
    bnx_lock_acquire(&completed->lock); /* L1 */
    bool is_there = completed->first != NULL;
    if (!is_there) {
        bnx_waiter_list_push(&completed->waiting, &waiter);
    }
    bnx_lock_release(&completed->lock); /* L1 */
    if (is_there && bnx_sleeper_withdraw(sleeper)) {
        return 0;
    }
    error = bnx_sleeper_sleep(sleeper, BNX_WAIT_SEVERAL, completed);
    if (error != 0) {
        bnx_lock_acquire(&completed->lock); /* L1 */
        bnx_waiter_list_remove(&completed->waiting, &waiter);
        bnx_lock_release(&completed->lock); /* L1 */
    }
    return error;
}

static int next_done(struct bnx_iter *iter, void **out_value) {
    struct completed *completed = iter->ctx;
    struct bnx_sleeper sleeper;
    bnx_sleeper_init(&sleeper);
    int error = sleeper.task != NULL ? bnx_task_cancel_check(sleeper.task) : 0;
    if (error != 0 || completed == NULL || completed->left == 0) {
        return error;
    }
    struct entry *entry;
    while ((entry = pop(completed)) == NULL && error == 0) { /* ends: each wake brings one */
        error = sleep_once(completed, &sleeper);
    }
    bnx_sleeper_fini(&sleeper);
    if (error != 0) {
        return error;
    }
    completed->left--;
    *out_value = (void *)(uintptr_t)(entry - completed->entries);
    if (sleeper.task != NULL) {
        bnx_task_spend(sleeper.task);
    }
    return 1;
}

static void close_iter(struct bnx_iter *iter) {
    struct completed *completed = iter->ctx;
    if (completed == NULL) {
        return;
    }
    iter->ctx = NULL;
    for (size_t i = 0; i < completed->count; i++) {
        struct entry *entry = &completed->entries[i];
        if (entry->is_added && !BNX_PLANT(completed_leave_registered)) {
            bnx_waitable_ops_of(entry->waitable)->remove(entry->waitable, &entry->waiter);
        }
    }
    bnx_os.release(completed);
}

int bnx_as_completed(struct bnx_waitable *const *waitables, size_t count,
                     struct bnx_iter *out_iter) {
    if (waitables == NULL && count != 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        if (waitables[i] == NULL || bnx_waitable_ops_of(waitables[i])->hands_out) {
            return -EINVAL;
        }
    }
    if (count > (SIZE_MAX - sizeof(struct completed)) / sizeof(struct entry)) {
        return -ENOMEM;
    }
    struct completed *completed = bnx_os.allocate(sizeof(*completed) + count * sizeof(struct entry),
                                                  _Alignof(struct completed));
    if (completed == NULL) {
        return -ENOMEM;
    }
    *completed = (struct completed){.left = count, .count = count};
    bnx_lock_init(&completed->lock);
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = &completed->entries[i];
        *entry =
            (struct entry){.waiter = {.fire = fire, .owner = completed}, .waitable = waitables[i]};
        entry->is_added = bnx_waitable_ops_of(waitables[i])->add(waitables[i], &entry->waiter);
        if (!entry->is_added) {
            bnx_lock_acquire(&completed->lock); /* L1 */
            append(completed, entry);
            bnx_lock_release(&completed->lock); /* L1 */
        }
    }
    *out_iter = (struct bnx_iter){.next = next_done, .close = close_iter, .ctx = completed};
    return 0;
}
