/* SPDX-License-Identifier: MIT */
/*
 * The event: a flag that can be waited for. Set, it lets everybody pass until it is cleared.
 *
 * Who has seen it set may free its memory: the call that set it does not touch it any more. So it
 * may lie in the frame of the one who waits.
 */
#ifndef BONXIE_EVENT_H
#define BONXIE_EVENT_H

#include <bonxie/base.h>
#include <bonxie/waitable.h>

#include <stdbool.h>

BNX_EXTERN_C_BEGIN

/* All zero is ready and not set. All fields are private. */
struct bnx_event {
    struct bnx_waiter *first;     /* of those who wait: the oldest */
    struct bnx_waiter *last;      /* the youngest */
    struct bnx_waitable waitable; /* set when it is first asked for */
    uint32_t word;                /* is it set; the lock of the list */
};

#define BNX_EVENT_INIT                                                                             \
    { NULL, NULL, {NULL}, 0 }

/** Makes an event ready and not set, as all zero is. */
BNX_API void bnx_event_init(struct bnx_event *event);

/**
 * Sets the event and wakes all who wait; it stays set. Nothing happens when it is set already.
 * Context: any thread; never suspends.
 */
BNX_API void bnx_event_set(struct bnx_event *event);

/** Clears the event. Who was woken by a set before returns 0 all the same. Context: as set. */
BNX_API void bnx_event_clear(struct bnx_event *event);

/** Returns whether it is set; if so, what was done before the set is visible. Any thread. */
BNX_API bool bnx_event_is_set(const struct bnx_event *event);

/**
 * Waits until the event is set.
 * Returns 0; -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled before or meanwhile;
 * -ENOMEM: a thread that must block has no memory to block with.
 * Context: task, suspends while it is not set, and gives way when its time slice is used up; on any
 * other thread it blocks.
 */
BNX_API int bnx_event_wait(struct bnx_event *event);

/**
 * Returns the event as a waitable: done, with the result 0, while it is set. Borrowed, valid as
 * long as the event. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_event_waitable(struct bnx_event *event);

BNX_EXTERN_C_END

#endif
