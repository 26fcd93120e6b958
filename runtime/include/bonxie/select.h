/* SPDX-License-Identifier: MIT */
/*
 * Select: waits for several things and does exactly one of them.
 *
 *     struct bnx_case cases[] = {
 *         BNX_CASE_RECV(jobs, &job),
 *         BNX_CASE_SEND(results, &result),
 *         BNX_CASE_WAIT(bnx_future_waitable(stop)),
 *         BNX_CASE_AFTER(UINT64_C(1000000)),
 *     };
 *     switch (bnx_select(cases, 4, 0)) {
 *     case 0: ... cases[0].result is 0, or -ENODATA: jobs is closed and drained
 *     ...
 *     }
 *
 * The case whose index it returns has been done: its item was sent or received, its waitable's
 * token taken. None of the others has been. When several can go the choice is random, so that none
 * of them starves; a deadline is looked at last.
 */
#ifndef BONXIE_SELECT_H
#define BONXIE_SELECT_H

#include <bonxie/chan.h>
#include <bonxie/time.h>
#include <bonxie/waitable.h>

#include <string.h>

BNX_EXTERN_C_BEGIN

enum bnx_case_kind {
    BNX_CASE_KIND_NONE = 0, /* never fires; a zeroed case */
    BNX_CASE_KIND_SEND = 1,
    BNX_CASE_KIND_RECV = 2,
    BNX_CASE_KIND_WAIT = 3,
    BNX_CASE_KIND_DEADLINE = 4
};

/* Made by the macros below. All fields but result are private. May be used again and again. */
struct bnx_case {
    int kind;     /* enum bnx_case_kind; immutable during the call */
    int result;   /* of the case that was done: send and recv as bnx_chan_send and bnx_chan_recv
                   return (0, -EPIPE, -ENODATA), wait the waitable's result, deadline 0 */
    int order;    /* which case comes at this place of the scan */
    void *object; /* the channel or waitable; NULL: never fires */
    void *item;   /* to send, or the room to receive into */
    uint64_t deadline_ns;     /* monotonic (bnx_now) */
    struct bnx_waiter waiter; /* in the object's queue while the call sleeps */
};

static inline struct bnx_case bnx_case_make(int kind, void *object, void *item,
                                            uint64_t deadline_ns) {
    struct bnx_case made;
    memset(&made, 0, sizeof(made));
    made.kind = kind;
    made.object = object;
    made.item = item;
    made.deadline_ns = deadline_ns;
    return made;
}

/** A case that sends *item (read when the case is done). chan NULL: it never fires. */
static inline struct bnx_case bnx_case_send(struct bnx_chan *chan, const void *item) {
    return bnx_case_make(BNX_CASE_KIND_SEND, chan, (void *)(uintptr_t)item, 0);
}

/** A case that receives into *out_item; NULL throws the item away. chan NULL: it never fires. */
static inline struct bnx_case bnx_case_recv(struct bnx_chan *chan, void *out_item) {
    return bnx_case_make(BNX_CASE_KIND_RECV, chan, out_item, 0);
}

/** A case that takes from a waitable: a future, a task, a semaphore. NULL: it never fires. */
static inline struct bnx_case bnx_case_wait(struct bnx_waitable *waitable) {
    return bnx_case_make(BNX_CASE_KIND_WAIT, waitable, NULL, 0);
}

/** A case that fires at a time (bnx_now); UINT64_MAX: never. */
static inline struct bnx_case bnx_case_deadline(uint64_t deadline_ns) {
    return bnx_case_make(BNX_CASE_KIND_DEADLINE, NULL, NULL, deadline_ns);
}

/** A case that fires so many ns from now: from when it is made, not from the select. */
static inline struct bnx_case bnx_case_after(uint64_t ns) {
    uint64_t now_ns = bnx_now();
    return bnx_case_deadline(ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + ns);
}

#define BNX_CASE_SEND(chan, item) bnx_case_send(chan, item)
#define BNX_CASE_RECV(chan, out_item) bnx_case_recv(chan, out_item)
#define BNX_CASE_WAIT(waitable) bnx_case_wait(waitable)
#define BNX_CASE_DEADLINE(deadline_ns) bnx_case_deadline(deadline_ns)
#define BNX_CASE_AFTER(ns) bnx_case_after(ns)

enum bnx_select_flags {
    BNX_SELECT_TRY = 1u << 0 /* never waits, and is not refused by a cancel: -EAGAIN */
};

/**
 * Waits until one of the cases can be done, and does it.
 * @param cases count of them, in the caller's memory; the library's until the return. One channel
 *   may stand in several; a select never sends to itself.
 * @param count >= 0. Without a case that can fire it waits for a cancel: an OS thread for ever.
 * @param flags enum bnx_select_flags.
 * Returns the index of the case, its outcome in cases[index].result; -EAGAIN (BNX_SELECT_TRY);
 * -ECANCELED, -ETIMEDOUT: the caller's scope was cancelled, no case was done; -EINVAL: a negative
 * count, an unknown flag or kind, or nothing to send; -ENOMEM: a thread, or a deadline, that has to
 * wait.
 * Context: task, suspends; on any other thread it blocks.
 * Ownership: nobody points at the cases, or at the items, after the return.
 */
BNX_API int bnx_select(struct bnx_case *cases, int count, unsigned flags);

BNX_EXTERN_C_END

#endif
