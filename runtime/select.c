/* SPDX-License-Identifier: MIT */
/*
 * Select (bonxie/select.h): waits at several objects and commits at exactly one.
 *
 * Concepts
 *   take     does a case if that is possible at once, under the lock of its object alone.
 *   add      registers the case's waiter, unless the case could be taken: one step under that lock.
 *   claim    the CAS by which a peer wins the sleeper (waiter.h). He then does the case himself,
 *            copying the item under his channel's lock, and wakes us.
 *   round    the whole of the protocol below, once.
 *
 * Protocol
 *   1 scan      take each case, in random order; one succeeds: done.
 *   2 begin     publish the wait: from here on one claim may end it.
 *   3 add       each case, in the order of the objects' addresses. A refused one means that it
 *               could be taken now: withdraw. That succeeds: nobody has claimed us and nobody will,
 *               so remove what was added and start again at 1. It fails: we have been claimed: 4.
 *   4 sleep     until claimed by a peer (winner), the deadline's timer (winner NULL) or a cancel.
 *   5 remove    all waiters that were added but the winner's.
 *   No two locks are ever held together, and a case is taken only while no wait of ours is
 *   published: so it cannot be done twice, nor two of them.
 *
 * Invariants
 *   Before the return, and before each new round, no waiter of this call is in any queue.
 *   Exactly one of: a take of step 1 succeeded, a claim succeeded, a withdraw succeeded and the
 *   round had no effect.
 *
 * Progress
 *   Selects that meet on unbuffered channels find each other by their registrations. Let S give up
 *   a round because it saw T registered at object o. T is published and goes on only to objects
 *   above o, as S came from below. If T gives up as well, it does so because of some U registered
 *   at an object above o, and so on: addresses rise along this chain, so it ends, with one that did
 *   not give up. He sleeps registered where the one before him saw him, and that one looks there in
 *   its next scan: it takes him, or does another case, or finds that somebody else has claimed him.
 *   In each of these a select commits or a cancel takes effect. So the whole moves; nobody circles.
 *   One pair is not in that order: two selects that each both send and receive on one channel see
 *   each other at the same object. Their random back-off, from round BACKOFF_AFTER on, parts them.
 *   A waiter that cannot be claimed any more may be seen too. The next take removes it.
 *
 * Ordering
 *   The objects' locks, and the claims T3, N1 and N2 of waiter.h.
 */
#include <bonxie/select.h>

#include "runtime/chan_pvt.h"
#include "runtime/clock.h"
#include "runtime/timer.h"
#include "runtime/worker.h"

#include <errno.h>
#include <limits.h>

/* Rounds that end in a withdraw before each further one waits a random while. */
#define BACKOFF_AFTER 4
/* The longest such while, in pauses (30 us); a power of two. */
#define BACKOFF_PAUSES_MAX 1024

#define RETRY (-EAGAIN) /* of a round: it had no effect */

struct selection {
    struct bnx_sleeper sleeper;
    struct bnx_case *cases;
    int count;
    int deadline_index;        /* the case with the earliest deadline; -1: none */
    uint64_t deadline_ns;      /* of that case; BNX_NEVER_NS: none */
    struct bnx_rng thread_rng; /* of an OS thread; a task draws from its worker's */
};

/* ---- The three operations on a case ---- */

static inline bool is_inert(const struct bnx_case *one) {
    return one->object == NULL;
}

static enum bnx_chan_direction direction_of(const struct bnx_case *one) {
    return one->kind == BNX_CASE_KIND_SEND ? BNX_CHAN_SEND : BNX_CHAN_RECV;
}

static bool case_take(struct bnx_case *one) {
    if (is_inert(one)) {
        return false;
    }
    if (one->kind == BNX_CASE_KIND_WAIT) {
        struct bnx_waitable *waitable = one->object;
        return bnx_waitable_ops_of(waitable)->take(waitable, one->item, &one->result);
    }
    int result; /* the case's own stays as it was when nothing happens */
    bool is_over = bnx_chan_take(one->object, direction_of(one), one->item, &result);
    if (is_over) {
        one->result = result;
    }
    return is_over;
}

static bool case_add(struct bnx_case *one, struct bnx_sleeper *sleeper) {
    if (is_inert(one)) {
        return true;
    }
    bnx_waiter_init(&one->waiter, sleeper, one->item);
    if (one->kind == BNX_CASE_KIND_WAIT) {
        struct bnx_waitable *waitable = one->object;
        return bnx_waitable_ops_of(waitable)->add(waitable, &one->waiter);
    }
    return bnx_chan_add(one->object, direction_of(one), &one->waiter);
}

static void case_remove(struct bnx_case *one) {
    if (is_inert(one)) {
        return;
    }
    if (one->kind == BNX_CASE_KIND_WAIT) {
        struct bnx_waitable *waitable = one->object;
        bnx_waitable_ops_of(waitable)->remove(waitable, &one->waiter);
    } else {
        bnx_chan_remove(one->object, direction_of(one), &one->waiter);
    }
}

/* ---- Two orders of the cases: at random, and by address ---- */

static uint32_t draw_below(struct selection *selection, uint32_t bound) {
    struct bnx_rng *rng =
        selection->sleeper.task != NULL ? &bnx_worker_current()->rng : &selection->thread_rng;
    return bnx_rng_below(rng, bound);
}

static void swap_places(struct bnx_case *cases, int a, int b) {
    int order = cases[a].order;
    cases[a].order = cases[b].order;
    cases[b].order = order;
}

static void shuffle(struct selection *selection) {
    struct bnx_case *cases = selection->cases;
    for (int i = 0; i < selection->count; i++) {
        cases[i].order = i;
    }
    for (int i = selection->count - 1; i > 0 && !BNX_PLANT(select_first_wins); i--) {
        swap_places(cases, i, (int)draw_below(selection, (uint32_t)i + 1));
    }
}

static bool is_before(const struct bnx_case *cases, int place, int other) {
    uintptr_t address = (uintptr_t)cases[cases[place].order].object;
    return address < (uintptr_t)cases[cases[other].order].object;
}

/* One step of the heap sort: the greatest of [root, count) comes to its root. */
static void sift_down(struct bnx_case *cases, int root, int count) {
    while (root < count / 2) { /* ends: one level down each time */
        int child = 2 * root + 1;
        if (child + 1 < count && is_before(cases, child, child + 1)) {
            child++;
        }
        if (!is_before(cases, root, child)) {
            return;
        }
        swap_places(cases, root, child);
        root = child;
    }
}

/* In place, because there is no limit on the number of cases and nothing may be allocated. */
static void sort_by_address(struct bnx_case *cases, int count) {
    for (int root = count / 2 - 1; root >= 0; root--) {
        sift_down(cases, root, count);
    }
    for (int last = count - 1; last > 0; last--) {
        swap_places(cases, 0, last);
        sift_down(cases, 0, last);
    }
}

/* ---- A round ---- */

/* Step 1. Returns the index of the case that was done; RETRY: none can be, now. */
static int scan(struct selection *selection) {
    shuffle(selection);
    for (int place = 0; place < selection->count; place++) {
        int index = selection->cases[place].order;
        if (case_take(&selection->cases[index])) {
            return index;
        }
    }
    if (selection->deadline_index >= 0 && selection->deadline_ns <= bnx_clock_now()) {
        selection->cases[selection->deadline_index].result = 0;
        return selection->deadline_index;
    }
    return RETRY;
}

/* Step 3. Returns how many places were added: fewer than all when one of them could be taken. */
static int add_all(struct selection *selection) {
    sort_by_address(selection->cases, selection->count);
    for (int place = 0; place < selection->count; place++) {
        int index = selection->cases[place].order;
        if (!case_add(&selection->cases[index], &selection->sleeper)) {
            return place;
        }
    }
    return selection->count;
}

/* Step 5. winner NULL: all that were added. */
static void remove_all(struct selection *selection, int added, const struct bnx_waiter *winner) {
    for (int place = 0; place < added && !BNX_PLANT(select_losers_stay); place++) {
        struct bnx_case *one = &selection->cases[selection->cases[place].order];
        if (&one->waiter != winner) {
            case_remove(one);
        }
    }
}

/* Step 4 of a thread: without a timer, the deadline bounds its sleep. */
static int sleep_on_thread(struct selection *selection) {
    struct bnx_sleeper *sleeper = &selection->sleeper;
    if (!bnx_thread_block_sleep_until(sleeper->block, sleeper->sequence, selection->deadline_ns) &&
        bnx_sleeper_withdraw(sleeper)) {
        return 0;
    }
    return bnx_sleeper_sleep(sleeper, BNX_WAIT_SELECT, selection->cases);
}

/* Step 4. The timer's claim is a wake without a winner. */
static int sleep_until_claimed(struct selection *selection, struct bnx_timer_node *node) {
    struct bnx_sleeper *sleeper = &selection->sleeper;
    if (sleeper->task == NULL) {
        return sleep_on_thread(selection);
    }
    if (node != NULL) {
        bnx_timer_node_start(bnx_worker_current(), node, BNX_TIMER_WAKE, sleeper->task,
                             sleeper->sequence, selection->deadline_ns);
    }
    int error = bnx_sleeper_sleep(sleeper, BNX_WAIT_SELECT, selection->cases);
    if (node != NULL) {
        bnx_timer_node_end(bnx_worker_current(), node);
    }
    return error;
}

/* Steps 2 to 5, with a timer node if it takes one. */
static int wait_round(struct selection *selection, struct bnx_timer_node *node, bool *out_is_used) {
    struct bnx_sleeper *sleeper = &selection->sleeper;
    int error = bnx_sleeper_begin(sleeper);
    if (error != 0) {
        return error;
    }
    int added = add_all(selection);
    if (added < selection->count &&
        (bnx_sleeper_withdraw(sleeper) || BNX_PLANT(select_blind_withdraw))) {
        remove_all(selection, added, NULL);
        return RETRY;
    }
    *out_is_used = node != NULL;
    error = sleep_until_claimed(selection, node);
    struct bnx_waiter *winner = error == 0 ? sleeper->winner : NULL;
    remove_all(selection, added, winner);
    if (error != 0) {
        return error;
    }
    if (winner == NULL) {
        selection->cases[selection->deadline_index].result = 0;
        return selection->deadline_index;
    }
    struct bnx_case *done = BNX_CONTAINER_OF(winner, struct bnx_case, waiter);
    done->result = winner->result;
    return (int)(done - selection->cases);
}

/* Returns as bnx_select, or RETRY. */
static int wait_for_one(struct selection *selection) {
    struct bnx_timer_node *node = NULL;
    if (selection->deadline_ns != BNX_NEVER_NS && selection->sleeper.task != NULL) {
        node = bnx_timer_node_take(bnx_worker_current());
        if (node == NULL) {
            return -ENOMEM;
        }
    }
    bool is_used = false;
    int index = wait_round(selection, node, &is_used);
    if (node != NULL && !is_used) {
        bnx_timer_node_give_back(bnx_worker_current(), node);
    }
    return index;
}

/* Another has been in the way several times: we part at random. */
static void back_off(struct selection *selection, int round) {
    int shift = round - BACKOFF_AFTER;
    uint32_t bound = shift < 10 ? 1u << shift : BACKOFF_PAUSES_MAX;
    for (uint32_t pauses = draw_below(selection, bound + 1); pauses > 0; pauses--) {
        bnx_pause();
    }
    bnx_yield();
}

/* ---- The call ---- */

static bool is_valid(const struct bnx_case *one) {
    switch ((enum bnx_case_kind)one->kind) {
    case BNX_CASE_KIND_NONE:
    case BNX_CASE_KIND_DEADLINE:
        return one->object == NULL;
    case BNX_CASE_KIND_SEND:
        return one->object == NULL || one->item != NULL || bnx_chan_elem_bytes(one->object) == 0;
    case BNX_CASE_KIND_RECV:
    case BNX_CASE_KIND_WAIT:
        return true;
    }
    return false;
}

static int prepare(struct selection *selection, struct bnx_case *cases, int count) {
    selection->cases = cases;
    selection->count = count;
    selection->deadline_index = -1;
    selection->deadline_ns = BNX_NEVER_NS;
    for (int i = 0; i < count; i++) {
        if (!is_valid(&cases[i])) {
            return -EINVAL;
        }
        if (cases[i].kind == BNX_CASE_KIND_DEADLINE &&
            cases[i].deadline_ns < selection->deadline_ns) {
            selection->deadline_ns = cases[i].deadline_ns;
            selection->deadline_index = i;
        }
    }
    bnx_sleeper_init(&selection->sleeper);
    if (selection->sleeper.task == NULL) {
        /* Threads differ by the count alone, so that a simulated run replays. */
        static uint64_t streams;
        uint64_t stream = bnx_fetch_add_relaxed(&streams, 1); /* any value that is its own */
        bnx_rng_init(&selection->thread_rng, UINT64_C(0x62786e), stream);
    }
    return 0;
}

int bnx_select(struct bnx_case *cases, int count, unsigned flags) {
    if (count < 0 || (count > 0 && cases == NULL) || (flags & ~(unsigned)BNX_SELECT_TRY) != 0) {
        return -EINVAL;
    }
    struct selection selection;
    int error = prepare(&selection, cases, count);
    if (error != 0) {
        return error;
    }
    struct bnx_task *self = selection.sleeper.task;
    bool may_wait = (flags & BNX_SELECT_TRY) == 0;
    if (may_wait && self != NULL) {
        error = bnx_task_cancel_check(self);
        if (error != 0) {
            return error;
        }
    }
    int index = scan(&selection);
    if (index >= 0) {
        if (may_wait && self != NULL) {
            bnx_task_spend(self);
        }
        return index;
    }
    /* Ends: see Progress. */
    for (int round = 0; may_wait && index == RETRY; round += round < INT_MAX) {
        index = wait_for_one(&selection);
        if (index == RETRY) {
            if (round >= BACKOFF_AFTER) {
                back_off(&selection, round);
            }
            index = scan(&selection);
        }
    }
    bnx_sleeper_fini(&selection.sleeper);
    return index;
}
