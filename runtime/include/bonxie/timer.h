/* SPDX-License-Identifier: MIT */
/*
 * Timers: something that happens at a time, unless it is stopped or put off before.
 *
 *     static void close_idle(struct bnx_timer *timer, void *connection) { ... }
 *
 *     struct bnx_timer_options options = {.fn = close_idle, .arg = connection,
 *                                         .slack_ns = BNX_TIMER_COARSE};
 *     bnx_timer_create(&timer, &options);
 *     bnx_timer_start_after(timer, idle_ns);
 *     ...
 *     bnx_timer_extend(timer, bnx_now() + idle_ns);    (at each request)
 *     ...
 *     bnx_timer_destroy(timer);                        (no callback runs any more)
 *
 * A timer is stopped when it is created. A start arms it; each start ends by exactly one of: it
 * fires, or it is stopped (by a stop, a cancel, a destroy, or another start). A timer that has
 * fired is a waitable that is done, until it is started again.
 *
 * The callback is a task of the root scope, so it may wait; one at a time for each timer. What it
 * needs is reserved by the create: firing never allocates and never fails. From bnx_runtime_stop on
 * no callback begins: a timer that fires then is done, and its callback is not called.
 *
 * Every call may be made by any task and any OS thread, on one timer at the same time, but for
 * destroy. A timer must be destroyed before its runtime.
 */
#ifndef BONXIE_TIMER_H
#define BONXIE_TIMER_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_timer;

/* A slack for idle and keep-alive timeouts, 67 ms: thousands of them fire together, and most calls
 * that put one off find that nothing changes. */
#define BNX_TIMER_COARSE (UINT64_C(1) << 26)

/* Zeroed means defaults. */
struct bnx_timer_options {
    struct bnx_runtime *runtime;                    /* NULL = of the calling task */
    void (*fn)(struct bnx_timer *timer, void *arg); /* called when it fires; NULL = nobody */
    void *arg;
    uint64_t period_ns; /* after it has fired it is due again so much later; 0 = it fires once */
    uint64_t slack_ns;  /* it may fire so much later than a sleep ends: deadlines coincide then */
    const char *name;   /* of the callback's task, in reports; not copied; NULL = none */
};

/**
 * Creates a stopped timer.
 * @param options NULL for defaults: a timer without callback, to be waited for.
 * Returns 0; -EPERM: no runtime given off a task; -ENOMEM; -EAGAIN: a callback counts as a task,
 * and tasks_max is reached; -ECHILD (fork child).
 * Context: any thread; never suspends. Ownership: bnx_timer_destroy.
 */
BNX_API int bnx_timer_create(struct bnx_timer **out_timer, const struct bnx_timer_options *options);

/**
 * Arms a timer, or arms it anew for an earlier or later time; from a task on this worker's wheel.
 * @param deadline_ns monotonic (bnx_now); passed: it fires at once; UINT64_MAX: never.
 * Returns 0; 1: it was armed, and that start has ended without firing; -ENOMEM: nothing changed;
 * -ESHUTDOWN: the callback that starts its own timer again, and a destroy has begun; -ECHILD.
 * Context: any thread, the callback included; never suspends.
 */
BNX_API int bnx_timer_start(struct bnx_timer *timer, uint64_t deadline_ns);

/** As bnx_timer_start, so many ns from now. */
BNX_API int bnx_timer_start_after(struct bnx_timer *timer, uint64_t ns);

/**
 * Puts an armed timer off: one compare-and-swap, whichever worker holds it.
 * @param deadline_ns an earlier one than the timer has changes nothing.
 * Returns 0: it will not fire before deadline_ns; -EALREADY: it is not armed, it has fired or was
 * stopped. Context: any thread; never suspends.
 */
BNX_API int bnx_timer_extend(struct bnx_timer *timer, uint64_t deadline_ns);

/**
 * Stops a timer. A callback that has begun, or is about to, is not waited for.
 * Returns 1: it was armed and will not fire; 0: it was not. Context: any thread, the callback
 * included; never suspends.
 */
BNX_API int bnx_timer_stop(struct bnx_timer *timer);

/**
 * Stops a timer and waits until its callback is over: what the callback uses may then be freed. A
 * close: not refused by a cancel, not cut short by one.
 * Returns 1: it was armed and will not fire; 0: it was not, it has fired or was never started;
 * -EDEADLK: called by its own callback, nothing changed (bnx_timer_stop is the call to make there);
 * -ECHILD.
 * Context: task, suspends; on any other thread it blocks. Who starts it meanwhile has it armed, and
 * maybe its callback running, when this returns.
 */
BNX_API int bnx_timer_cancel(struct bnx_timer *timer);

/**
 * Waits until the timer fires. It need not be armed: a stopped timer is waited for until somebody
 * starts it and it fires.
 * Returns 0, at once when it has fired and was not started again; -ECANCELED or -ETIMEDOUT: the
 * caller's scope was cancelled first; -ENOMEM (a thread); -ECHILD.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_timer_wait(struct bnx_timer *timer);

/**
 * Returns the timer as a waitable: done, with 0, when it has fired and was not started again. One
 * with a period is never found done; who waits for it is woken when it fires next. Borrowed, valid
 * until the destroy. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_timer_waitable(struct bnx_timer *timer);

/** Returns when the timer is due, slack included; 0: it is not armed. A snapshot. Any thread. */
BNX_API uint64_t bnx_timer_deadline(const struct bnx_timer *timer);

/**
 * Cancels a timer and frees it. Its own callback may do so as its last use of it; it is then freed
 * when the callback has returned. NULL is allowed.
 * Context: as bnx_timer_cancel; nobody else uses the timer or waits for it, but for its callback:
 * that may be running, and start the timer in vain.
 */
BNX_API void bnx_timer_destroy(struct bnx_timer *timer);

BNX_EXTERN_C_END

#endif
