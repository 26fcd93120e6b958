/* SPDX-License-Identifier: MIT */
/*
 * Generators: a function that hands out values one by one and keeps its place in between.
 *
 *     static int count_down(struct bnx_gen *gen, void *arg) {
 *         for (intptr_t n = *(int *)arg; n > 0; n--) {
 *             int error = bnx_gen_yield(gen, (void *)n, NULL);
 *             if (error < 0) {
 *                 return error;
 *             }
 *         }
 *         return 0;
 *     }
 *
 *     bnx_gen_create(&gen, count_down, &start, NULL);
 *     while (bnx_gen_next(gen, &value) > 0) { ... }
 *     bnx_gen_destroy(gen);
 *
 * The body runs on a stack of its own, as part of whoever calls next, send, throw or close: a task,
 * or a thread that has nothing to do with a runtime. In a task it may do whatever a task may:
 * sleep, lock, wait for I/O; the call then suspends the task, and a cancel of the task is what the
 * body's waits see. On a plain thread it blocks the thread where it waits.
 *
 * A generator may be driven by one task or thread now and by another one later, also after the
 * runtime in which it was made is gone. While it runs, every other call is -EBUSY.
 *
 * What a body has opened it must have closed when it yields: scopes (checked), forks, pins. It may
 * hold memory and tokens over a yield: close, and so destroy, gives it the chance to clean up. A
 * mutex belongs to the task or thread that locked it: hold one over a yield only where nobody else
 * drives, closes or destroys the generator.
 */
#ifndef BONXIE_GEN_H
#define BONXIE_GEN_H

#include <bonxie/base.h>
#include <bonxie/stack.h>

#include <errno.h>

BNX_EXTERN_C_BEGIN

struct bnx_gen;

/* What a yield returns when the generator is closed: clean up, and return it or 0. */
#define BNX_GEN_CLOSED (-ESHUTDOWN)

/**
 * A generator's body. Returns 0: finished, with the result of bnx_gen_return if there was one; < 0:
 * an error, which the call that was driving it returns.
 */
typedef int (*bnx_gen_fn)(struct bnx_gen *gen, void *arg);

enum bnx_gen_flags {
    BNX_GEN_PRIMED = 1u << 0 /* create runs it up to its first yield, so that it can be sent to */
};

/* Zeroed means defaults. */
struct bnx_gen_options {
    enum bnx_stack_class stack; /* of the body; 0 = BNX_STACK_256K */
    unsigned flags;             /* enum bnx_gen_flags */
};

/**
 * Creates a generator. Its body does not run before the first next, unless it is primed.
 * @param fn not NULL. @param arg passed to it, may be NULL. @param options NULL for defaults.
 * Returns 0; -ENOMEM; -EINVAL: fn is NULL, or an unknown class or flag; -ECHILD in a fork child.
 * Primed: also the error with which the body ended before its first yield; no generator then. What
 * the first yield gave is dropped.
 * Context: any thread; never suspends, unless it is primed and its body does.
 * Ownership: the caller's, until bnx_gen_destroy.
 */
BNX_API int bnx_gen_create(struct bnx_gen **out_gen, bnx_gen_fn fn, void *arg,
                           const struct bnx_gen_options *options);

/**
 * Runs the body up to its next yield.
 * @param out_value receives what was yielded; untouched otherwise; may be NULL.
 * Returns 1: a value; 0: finished, now or before; < 0: the error with which the body has just ended
 * (from then on 0); -EBUSY: it is running, or another generator delegates to it; -ECHILD in a fork
 * child.
 * Context: any thread; suspends where the body does. It is no suspending call of its own: a cancel
 * does not refuse it.
 */
BNX_API int bnx_gen_next(struct bnx_gen *gen, void **out_value);

/**
 * As bnx_gen_next; the yield at which the body stands gives it value. -EINVAL: it has not started,
 * and value is not NULL.
 */
BNX_API int bnx_gen_send(struct bnx_gen *gen, void *value, void **out_value);

/**
 * As bnx_gen_next; the yield at which the body stands returns error.
 * @param error < 0 (else -EINVAL). A body that has not started never will, and the error comes
 *   back, as it does when the body has finished.
 */
BNX_API int bnx_gen_throw(struct bnx_gen *gen, int error, void **out_value);

/**
 * Ends the body: the yield at which it stands returns BNX_GEN_CLOSED. One that has not started
 * never will.
 * Returns 0: it has ended, now or before; < 0 another error with which the body has ended; -EBUSY:
 * it has yielded again, which is logged, and is still there; or as in bnx_gen_next; -ECHILD.
 * Context: as bnx_gen_next.
 */
BNX_API int bnx_gen_close(struct bnx_gen *gen);

/**
 * Reads the result.
 * @param out_result receives what the body gave to bnx_gen_return, NULL if it did not.
 * Returns 0; -EAGAIN: it has not finished; < 0 the error with which it has ended.
 * Context: any thread, but not beside a call that drives it.
 */
BNX_API int bnx_gen_result(struct bnx_gen *gen, void **out_result);

/**
 * Closes a generator and frees it. A body that yields in answer to the close is abandoned where it
 * stands: what its frames hold is lost. NULL is allowed; destroying one that runs, or to which
 * another delegates, is a panic.
 * Context: as bnx_gen_next: any thread, whatever ran the body before.
 */
BNX_API void bnx_gen_destroy(struct bnx_gen *gen);

/**
 * In the body: hands out a value and waits to be driven again.
 * @param gen the generator whose body calls.
 * @param out_sent receives what was sent, NULL after a plain next; untouched unless 0 is returned;
 *   may be NULL.
 * Returns 0; BNX_GEN_CLOSED: clean up and return; another error < 0 that was thrown; without having
 * yielded -EDEADLK: a scope opened in the body is still open, -EPERM: the caller is not gen's body
 * (or a task it has spawned, or a function it has offloaded).
 * Context: gen's body; never suspends the task that runs it: the call that drives gen returns. It
 * may come back in another task and on another thread.
 */
BNX_API int bnx_gen_yield(struct bnx_gen *gen, void *value, void **out_sent);

/**
 * In the body: hands out everything that another generator yields, until it ends. Next, send, throw
 * and close of gen go to inner, at the same cost however deep the delegation is.
 * @param inner from its present place on; if it has finished its result is there at once. It
 *   remains the caller's to destroy, and cannot be driven by others meanwhile.
 * @param out_result receives inner's result; untouched unless 0 is returned; may be NULL.
 * Returns 0: inner has finished; the error with which it has ended; BNX_GEN_CLOSED: gen is being
 * closed, and so was inner; -EBUSY: inner runs, is delegated to or is gen itself; -EINVAL: inner is
 * NULL; and as bnx_gen_yield. Context: as bnx_gen_yield; suspends where inner's body does.
 */
BNX_API int bnx_gen_yield_from(struct bnx_gen *gen, struct bnx_gen *inner, void **out_result);

/** In the body: sets what bnx_gen_result gives once the body has returned 0: do that next. */
BNX_API void bnx_gen_return(struct bnx_gen *gen, void *result);

BNX_EXTERN_C_END

#endif
