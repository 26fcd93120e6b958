/* SPDX-License-Identifier: MIT */
/*
 * The inside of the user's own timers (bonxie/timer.h): what they hold, and who may touch it.
 *
 * Concepts
 *   deadline  one word: when the timer fires, 0 while it is not armed. An extend is a CAS of it,
 *             and takes no lock.
 *   node      the arming in some worker's wheel (timer.h); it is due at the deadline or earlier.
 *             When it comes up too early, for the deadline was put off, it is armed again. So a
 *             timer that is put off a thousand times touches the wheel once.
 *   callback  a kept task descriptor, taken by the create. A timer that fires while its callback
 *             runs has it called once more afterwards.
 *   favour    a timer that one worker alone has used again and again is in that worker's favour:
 *             its starts and stops there are plain stores. They leave the node where it is; a start
 *             finds one that comes up early enough, and when that of a stopped timer comes up it is
 *             let go. So a timeout that is started and stopped for each request touches the wheel
 *             once in its own length, and an idle worker is woken for nothing once at most.
 *             Another thread that starts or stops the timer takes the favour away first, for a
 *             membarrier: about as much as the uses that earned the favour had cost by the lock.
 *
 * Invariants (under the lock, or in the favoured worker's short way)
 *   deadline != 0  =>  node != NULL, and it comes up no later than the deadline, but for the moment
 *   in which the task of the last callback ends.
 *   node != NULL  =>  !is_fired, and a deadline >= serves_ns is one that the node is in time for.
 *   node != NULL and deadline == 0  =>  the timer was stopped in favour.
 *   The favour is given by the lock's holder to itself. Who holds the lock and is another thread
 *   touches what the short way writes, {deadline, due_ns}, only after it has taken the favour away.
 *   A node belongs to who took it out of the timer: an expiry that finds another one there, or
 *   none, lets go of its own and does nothing; whoever took it out ends it and waits for that.
 *   is_running <=> the descriptor is queued or runs, and run_callback has not made its last look.
 *
 * Ordering
 *   U1 descriptor  the end of the callback's task sets DONE in its joiners (Q2 in waitq.h) -> who
 *                  uses or frees the descriptor next.
 *   U2 favour      the favoured worker: store light timer_in_hand, load light favoured; who takes
 *                  the favour away: store seq_cst favoured = NULL, heavy barrier, load seq_cst of
 *                  that worker's timer_in_hand. One of the two sees what the other stored.
 *   U3 favour      leaving the short way: timer_in_hand = NULL store-release -> the same load. What
 *                  others write later, the worker reads by the lock under which it earns the next.
 *   Destroy        it ends the favour without a barrier, under the lock, unless the callback runs
 *                  elsewhere: nobody is in the short way then. The caller sees to it that every use
 *                  happened before, for the memory is freed. A callback's own uses happened before
 *                  is_running became false, under the same lock. One that begins later finds no
 *                  favour; its starts are refused, and a favour that it earns by stops can arm
 *                  nothing, for no node is left.
 *   All else is under the lock, or is the deadline: a number on its own, so its accesses are
 *   relaxed. A CAS settles extend against expiry. Start and stop may overwrite an extend: it never
 *   makes a deadline of none or none of one, so it is as if it had come just before.
 */
#ifndef BNX_RUNTIME_USER_TIMER_PVT_H
#define BNX_RUNTIME_USER_TIMER_PVT_H

#include <bonxie/timer.h>

#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"
#include "runtime/waiter.h"

struct bnx_timer {
    /* The short ways touch these, up to serves_ns: 64 bytes. */
    uint64_t deadline_ns;         /* rounded by the slack; 0 = not armed; extend by any thread */
    struct bnx_lock lock;         /* guards what has no other comment */
    bool is_fired;                /* since the last start; never with a period */
    bool is_running;              /* see Invariants */
    bool is_used;                 /* the descriptor has been queued at least once */
    bool is_doomed;               /* destroyed by its own callback, which frees it */
    struct bnx_waitable waitable; /* tells a timer from other handles; immutable */
    struct bnx_worker *favoured;  /* NULL: nobody; U2 */
    uint64_t granule_ns;          /* deadlines are multiples of it; a power of two; immutable */
    uint64_t due_ns;              /* the deadline before it was rounded: what a period adds to */
    struct bnx_timer_node *node;  /* see Invariants */
    uint64_t serves_ns;           /* as this one */
    struct bnx_worker *user;      /* of the last use by the lock; NULL: no worker of this runtime */
    uint32_t uses;                /* by it in a row */
    uint32_t fires_left;          /* firings while the callback ran: it is called again for them */
    struct bnx_runtime *runtime;  /* immutable, and so the next five */
    struct bnx_task *task;        /* of the callback, or NULL */
    void (*fn)(struct bnx_timer *timer, void *arg);
    void *arg;
    const char *name;
    uint64_t period_ns;             /* 0 = it fires once */
    struct bnx_waiter_list waiters; /* who waits until it fires */
    struct bnx_waiter_list enders;  /* who waits until the callback is over */
    bool is_shut;                   /* a destroy has begun: starts are refused, those of a callback
                                     * that runs meanwhile */
};
_Static_assert(offsetof(struct bnx_timer, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

#endif
