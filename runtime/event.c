/* SPDX-License-Identifier: MIT */
/*
 * The event (bonxie/event.h): a locked word {SET, LOCK} and a list of those who wait for SET.
 *
 * Invariant, whenever LOCK is free: SET => nobody is in the list.
 *
 * Ordering
 *   Y1 (sync_pvt.h): the set's store of SET, which releases LOCK, is its last access to the event.
 *   Whoever finds SET without LOCK passes at once and may free the event. SET with LOCK is not
 *   enough: some set or clear is still at it; he takes the lock, and so waits for it to finish.
 */
#include <bonxie/event.h>

#include "runtime/sync_pvt.h"

#define SET 2u

static struct bnx_waiter_list *list_of(struct bnx_event *event) {
    return (struct bnx_waiter_list *)(void *)&event->first;
}
_Static_assert(offsetof(struct bnx_event, last) - offsetof(struct bnx_event, first) ==
                   offsetof(struct bnx_waiter_list, last),
               "the public struct has room for the list");
_Static_assert(offsetof(struct bnx_event, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

static struct bnx_event *event_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_event, waitable);
}

static void unlock_word(struct bnx_event *event, uint32_t word) {
    bnx_store_release(&event->word, word); /* Y1 */
}

void bnx_event_init(struct bnx_event *event) {
    *event = (struct bnx_event)BNX_EVENT_INIT;
}

void bnx_event_set(struct bnx_event *event) {
    struct bnx_wake_chain chain;
    bnx_wake_chain_init(&chain);
    (void)bnx_sync_lock(&event->word);
    bnx_wake_chain_claim_all(&chain, list_of(event), 0);
    unlock_word(event, SET);
    bnx_wake_chain_wake(&chain);
}

void bnx_event_clear(struct bnx_event *event) {
    (void)bnx_sync_lock(&event->word);
    unlock_word(event, 0);
}

bool bnx_event_is_set(const struct bnx_event *event) {
    uint32_t word = bnx_load_acquire(&event->word); /* Y1 */
    if ((word & BNX_SYNC_LOCK) != 0) {
        word = bnx_sync_lock((uint32_t *)(uintptr_t)&event->word);
        unlock_word((struct bnx_event *)(uintptr_t)event, word);
    }
    return word == SET;
}

static bool take(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    if (!bnx_event_is_set(event_of(waitable))) {
        return false;
    }
    *out_result = 0;
    return true;
}

static bool add(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_event *event = event_of(waitable);
    uint32_t word = bnx_sync_lock(&event->word);
    if (word != SET) {
        bnx_waiter_list_push(list_of(event), waiter);
    }
    unlock_word(event, word);
    return word != SET;
}

static void leave(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_event *event = event_of(waitable);
    uint32_t word = bnx_sync_lock(&event->word);
    bnx_waiter_list_remove(list_of(event), waiter);
    unlock_word(event, word);
}

static const struct bnx_waitable_ops event_ops = {
    .take = take,
    .add = add,
    .remove = leave,
    .name = "event",
};

struct bnx_waitable *bnx_event_waitable(struct bnx_event *event) {
    return bnx_sync_waitable(&event->waitable, &event_ops);
}

int bnx_event_wait(struct bnx_event *event) {
    int error = bnx_sync_enter(bnx_sync_self());
    if (error != 0 || bnx_event_is_set(event)) {
        return error;
    }
    return bnx_waitable_wait(&event_ops, &event->waitable, BNX_WAIT_EVENT, event);
}
