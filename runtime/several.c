/* SPDX-License-Identifier: MIT */
/*
 * Waiting for several waitables at once: bnx_wait, bnx_gather, bnx_race (bonxie/waitable.h).
 *
 * Concepts
 *   call      one such wait, in the frame of the task or thread that makes it.
 *   entry     the call's part for one waitable: its waiter and what is known of it.
 *   decisive  a result that ends the call by itself: any for FIRST, an error for FIRST_ERROR, a
 *             success for a race, none for ALL. Without one the call ends when nothing is pending.
 *
 * Protocol
 *     look at all -> begin -> register with those that are not done -> sleep -> remove every waiter
 *   A waiter that fires is decisive, or counts `pending` down; the decisive one and the one that
 *   counts the last claim the sleeper, and the others wake nobody. What an `add` refuses because it
 *   is there already is taken only when the sleeper has been withdrawn: until then another waiter
 *   may win, and two would have been taken where one was asked for.
 *
 * Leaving
 *   A fire may be on its way through the call until its waiter was removed, whoever has claimed the
 *   sleeper. So each registered waiter is removed, but the winner's: its claimer touches it last
 *   before it wakes.
 *
 * Invariants
 *   pending == registered entries that have not fired, plus those that were found done while
 *   registering and are taken off together at its end. It is 0 at most once.
 *
 * Ordering
 *   M1 count   fetch_sub acq_rel of pending: exactly one brings it to 0, after all the others.
 *   Results are read after `remove`, under whose lock they were written, or after the wake.
 */
#include "runtime/runtime_pvt.h"
#include "runtime/waiter.h"

#include <errno.h>

/* So many entries lie in the caller's frame: under 1 KiB of a stack of 16. */
#define INLINE_ENTRIES 16

enum until { UNTIL_ALL, UNTIL_FIRST, UNTIL_ERROR, UNTIL_SUCCESS };

struct entry {
    struct bnx_waiter waiter; /* its result is -EINPROGRESS until the waitable is done */
    bool is_done;             /* seen by the caller itself: not registered any more */
    bool is_added;            /* registered: to be removed */
};

struct call {
    struct bnx_sleeper sleeper;
    struct bnx_waitable *const *waitables; /* the caller's; immutable, as the next three */
    size_t count;
    enum until until;
    struct entry *entries;  /* count of them */
    struct entry *decision; /* the entry that ended it; the caller alone */
    uint64_t pending;       /* any thread; M1 */
};

static bool is_decisive(const struct call *call, int result) {
    switch (call->until) {
    case UNTIL_ALL:
        return false;
    case UNTIL_FIRST:
        return true;
    case UNTIL_ERROR:
        return result < 0;
    case UNTIL_SUCCESS:
        return result >= 0;
    }
    __builtin_unreachable();
}

/* Any thread, several at once; under the lock of the waitable, or what stands for it. */
static bool fire(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee) {
    struct call *call = waiter->owner;
    if (!is_decisive(call, waiter->result) &&
        bnx_fetch_sub_acq_rel(&call->pending, 1) != 1 && /* M1 */
        !BNX_PLANT(several_one_is_all)) {
        return true; /* noted; the caller sleeps on */
    }
    return bnx_sleeper_claim(&call->sleeper, waiter, out_wakee);
}

/* Takes what is there already. Returns true: that ends the call. */
static bool look(struct call *call) {
    uint64_t pending = 0;
    struct entry *last = NULL;
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        if (entry->is_done) {
            continue;
        }
        struct bnx_waitable *waitable = call->waitables[i];
        int result;
        if (!bnx_waitable_ops_of(waitable)->take(waitable, NULL, &result)) {
            pending++;
            continue;
        }
        entry->waiter.result = result;
        entry->is_done = true;
        last = entry;
        if (is_decisive(call, result)) {
            call->decision = entry;
            return true;
        }
    }
    bnx_store_relaxed(&call->pending, pending); /* nothing is registered yet */
    if (last != NULL) {
        call->decision = last; /* of those known; counts if nothing is pending */
    }
    return pending == 0;
}

enum registered { ALL_ADDED, DECIDED, LOOK_AGAIN };

/* Registers with all that are not done, as long as nothing decides the call. */
static enum registered register_all(struct call *call) {
    uint64_t found = 0;
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        if (entry->is_done) {
            continue;
        }
        struct bnx_waitable *waitable = call->waitables[i];
        entry->waiter = (struct bnx_waiter){.fire = fire, .owner = call, .result = -EINPROGRESS};
        if (bnx_waitable_ops_of(waitable)->add(waitable, &entry->waiter)) {
            entry->is_added = true;
            continue;
        }
        if (call->until == UNTIL_FIRST && !BNX_PLANT(several_take_early)) {
            return LOOK_AGAIN; /* not taken: see the head */
        }
        int result;
        if (!bnx_waitable_ops_of(waitable)->take(waitable, NULL, &result)) {
            return LOOK_AGAIN; /* it was there and is not any more */
        }
        entry->waiter.result = result;
        entry->is_done = true;
        call->decision = entry;
        if (is_decisive(call, result)) {
            return DECIDED;
        }
        found++;
    }
    bool is_last = found != 0 && bnx_fetch_sub_acq_rel(&call->pending, found) == found; /* M1 */
    return is_last ? DECIDED : ALL_ADDED;
}

static void remove_all(struct call *call, const struct bnx_waiter *winner) {
    for (size_t i = 0; i < call->count; i++) {
        struct entry *entry = &call->entries[i];
        if (entry->is_added && &entry->waiter != winner && !BNX_PLANT(several_leave_registered)) {
            bnx_waitable_ops_of(call->waitables[i])->remove(call->waitables[i], &entry->waiter);
        }
        entry->is_added = false;
    }
}

/* Waits until the call is decided. Returns 0 with the decision, or why it was not: a cancel, or no
 * memory for a thread. */
static int decide(struct call *call) {
    struct bnx_sleeper *sleeper = &call->sleeper;
    /* Ends: each further round means that somebody else took what was there, as with any lock-free
     * queue. Things that happen once are there for good in the second round. */
    while (!look(call)) {
        int error = bnx_sleeper_begin(sleeper);
        if (error != 0) {
            return error;
        }
        enum registered registered = register_all(call);
        if (registered == ALL_ADDED || !bnx_sleeper_withdraw(sleeper)) {
            error = bnx_sleeper_sleep(sleeper, BNX_WAIT_SEVERAL, call->waitables);
            remove_all(call, error == 0 ? sleeper->winner : NULL);
            if (error == 0) {
                call->decision = BNX_CONTAINER_OF(sleeper->winner, struct entry, waiter);
            }
            return error;
        }
        remove_all(call, NULL);
        if (registered == DECIDED) {
            break;
        }
    }
    if (sleeper->task != NULL) {
        bnx_task_spend(sleeper->task);
    }
    return 0;
}

/* Only FIRST can take from something that hands out; and a task is never done while it waits. */
static int check_waitables(const struct call *call) {
    if (call->waitables == NULL && call->count != 0) {
        return -EINVAL;
    }
    struct bnx_task *self = call->sleeper.task;
    for (size_t i = 0; i < call->count; i++) {
        struct bnx_waitable *waitable = call->waitables[i];
        if (waitable == NULL ||
            (bnx_waitable_ops_of(waitable)->hands_out && call->until != UNTIL_FIRST)) {
            return -EINVAL;
        }
        if (self != NULL && waitable == &self->waitable) {
            return -EDEADLK;
        }
    }
    return 0;
}

static void report(const struct call *call, int *out_results, size_t *out_index) {
    if (out_results != NULL) {
        for (size_t i = 0; i < call->count; i++) {
            out_results[i] = call->entries[i].waiter.result;
            if (out_results[i] == -EINPROGRESS) {
                /* The search may have ended before it came to this one. It happens once: no take
                 * uses it up, and what is not done leaves the result alone. */
                struct bnx_waitable *waitable = call->waitables[i];
                (void)bnx_waitable_ops_of(waitable)->take(waitable, NULL, &out_results[i]);
            }
        }
    }
    if (out_index != NULL && is_decisive(call, call->decision->waiter.result)) {
        *out_index = (size_t)(call->decision - call->entries);
    }
}

/* Outputs are untouched unless it returns 0, with *out_result of the entry that came last or was
 * decisive; 0 where count is 0. */
static int wait_until(struct call *call, int *out_results, size_t *out_index, int *out_result) {
    bnx_sleeper_init(&call->sleeper);
    int error = check_waitables(call);
    if (error == 0 && call->sleeper.task != NULL) {
        error = bnx_task_cancel_check(call->sleeper.task);
    }
    if (error != 0 || call->count == 0) {
        *out_result = 0;
        return error;
    }
    struct entry inline_entries[INLINE_ENTRIES];
    call->entries = inline_entries;
    if (call->count > INLINE_ENTRIES) {
        call->entries =
            call->count <= SIZE_MAX / sizeof(struct entry)
                ? bnx_os.allocate(call->count * sizeof(struct entry), _Alignof(struct entry))
                : NULL;
        if (call->entries == NULL) {
            return -ENOMEM;
        }
    }
    for (size_t i = 0; i < call->count; i++) {
        call->entries[i].waiter.result = -EINPROGRESS;
        call->entries[i].is_done = false;
        call->entries[i].is_added = false;
    }
    error = decide(call);
    if (error == 0) {
        *out_result = call->decision->waiter.result;
        report(call, out_results, out_index);
    }
    bnx_sleeper_fini(&call->sleeper);
    if (call->entries != inline_entries) {
        bnx_os.release(call->entries);
    }
    return error;
}

int bnx_wait(struct bnx_waitable *const *waitables, size_t count, enum bnx_wait_mode mode,
             size_t *out_index) {
    struct call call = {.waitables = waitables, .count = count};
    switch (mode) {
    case BNX_WAIT_ALL:
        call.until = UNTIL_ALL;
        break;
    case BNX_WAIT_FIRST:
        call.until = UNTIL_FIRST;
        break;
    case BNX_WAIT_FIRST_ERROR:
        call.until = UNTIL_ERROR;
        break;
    default: /* the caller's number, which need not be one of them */
        return -EINVAL;
    }
    if (call.until == UNTIL_FIRST && count == 0) {
        return -EINVAL;
    }
    int result;
    int error = wait_until(&call, NULL, out_index, &result);
    if (error != 0) {
        return error;
    }
    return call.until == UNTIL_FIRST || is_decisive(&call, result) ? result : 0;
}

int bnx_gather(struct bnx_waitable *const *waitables, size_t count, int *out_results,
               unsigned flags) {
    if ((flags & ~(unsigned)BNX_GATHER_COLLECT) != 0) {
        return -EINVAL;
    }
    struct call call = {.waitables = waitables, .count = count};
    call.until = (flags & BNX_GATHER_COLLECT) != 0 ? UNTIL_ALL : UNTIL_ERROR;
    int result;
    int error = wait_until(&call, out_results, NULL, &result);
    if (error != 0) {
        return error;
    }
    return is_decisive(&call, result) ? result : 0;
}

int bnx_race(struct bnx_waitable *const *waitables, size_t count, size_t *out_index) {
    if (count == 0) {
        return -EINVAL;
    }
    struct call call = {.waitables = waitables, .count = count, .until = UNTIL_SUCCESS};
    int result;
    int error = wait_until(&call, NULL, out_index, &result);
    return error != 0 ? error : result;
}
