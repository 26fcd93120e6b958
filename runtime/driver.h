/* SPDX-License-Identifier: MIT */
/*
 * The port: what a worker needs of the outside world. io/ implements it on io_uring and epoll,
 * tests/support/driver_null.c on a futex, and the simulator on nothing.
 *
 * Concepts
 *   A driver is one instance per worker, opened, used and closed on that worker's thread. The
 *   worker calls poll when it is due, park when it has nothing to run. A completed operation makes
 *   its task ready by bnx_op_finish. wake() alone may be called by any thread; it is sticky: a wake
 *   that comes before the park makes that park return at once.
 *
 * Invariants
 *   A task that waits in an op is resumed by that op's terminal completion and by nothing else.
 *   At most one op per task is in flight; the driver counts them in ops_in_flight.
 */
#ifndef BNX_RUNTIME_DRIVER_H
#define BNX_RUNTIME_DRIVER_H

#include "runtime/task_pvt.h"

#include <bonxie/runtime.h>

/* What all drivers share with their worker; the first member of each driver's own struct. */
struct bnx_driver {
    const struct bnx_driver_ops *ops; /* immutable after open */
    struct bnx_worker *worker;        /* immutable after open */
    const uint32_t *poll_word;        /* changes when completions are visible; read on each tick */
    uint32_t poll_seen;               /* its value when everything visible had been reaped; owner */
    uint32_t ops_in_flight;           /* terminal completions still to come; owner or rescuer */
    const uint32_t *waiting;          /* how many wait for readiness instead; NULL: nobody ever;
                                       * any thread writes, relaxed, a hint; itself immutable */
    uint64_t completions;             /* reaped since open; owner or rescuer */
};

struct bnx_driver_config {
    uint32_t worker_index;
    uint32_t worker_count;
    bool is_guest;        /* the thread belongs to a host (guest.h) */
    uint64_t min_wait_ns; /* as in the options; a driver may leave it aside */
};

struct bnx_driver_ops {
    const char *name;

    /** Opens an instance for the worker on this thread. Returns 0 or -errno. */
    int (*open)(const struct bnx_driver_config *config, struct bnx_worker *worker,
                struct bnx_driver **out_driver);

    /** Closes it. Precondition: ops_in_flight == 0. */
    void (*close)(struct bnx_driver *driver);

    /** Submits what is queued and reaps what has completed; never sleeps. Returns completions. */
    size_t (*poll)(struct bnx_driver *driver);

    /** Says whether a poll would find something, from memory alone. Any thread; a hint. */
    bool (*is_pending)(const struct bnx_driver *driver);

    /** Submits, then sleeps until a completion, a wake or the deadline; then reaps. */
    void (*park)(struct bnx_driver *driver, uint64_t deadline_ns);

    /** Makes the current or next park return. Any thread. */
    void (*wake)(struct bnx_driver *driver);

    /** Owner, also in the rescue signal's handler: asks the kernel to end an op. The task's wait
     * word is OP_CANCEL_SENT with that sequence, or past it: the task itself must not be looked
     * at, since a rescuer may have resumed it. False: not now, the request is queued again. */
    bool (*cancel)(struct bnx_driver *driver, struct bnx_task *task, void *op, uint64_t sequence);

    /** Owner thread, in the rescue signal's handler: submit what is queued, make completions
     * visible to others. NULL: not supported. */
    void (*nudge)(struct bnx_driver *driver);

    /** A rescuer under the worker's service lock: finishes what is visible, a bounded number; it
     * writes op records and wakes tasks, and leaves everything else to the owner. Returns how many.
     * NULL: not supported. */
    size_t (*reap_for)(struct bnx_driver *driver);

    /* Of a guest (guest.h), whose host sleeps in place of park; wake is not called then. */

    /** From now on each completion that a poll would find makes the eventfd readable, also one that
     * is not visible before a poll. Returns 0 or -errno. NULL: see pollable_fd. */
    int (*notify)(struct bnx_driver *driver, int eventfd);

    /** A descriptor that is readable while a poll would find something. NULL: see notify; both:
     * there are no completions. */
    int (*pollable_fd)(const struct bnx_driver *driver);

    /** When it wants to be polled although nothing completes; BNX_NEVER_NS. NULL: never. */
    uint64_t (*next_ns)(const struct bnx_driver *driver);
};

/**
 * Chooses the driver for all workers of a runtime; defined by whoever provides the drivers: io/, or
 * a test's null driver.
 * @param kind what the options say.
 * @param out_fallback receives the driver for all of them where the machine refuses the first one
 *   to any; NULL: none.
 */
void bnx_driver_choose(enum bnx_driver_kind kind, const struct bnx_driver_ops **out_ops,
                       const struct bnx_driver_ops **out_fallback);

/** The driver of the worker on this thread; NULL off a worker. Not to be kept over a suspension. */
struct bnx_driver *bnx_driver_current(void);

/* ---- What drivers and operations call (worker.c, task.c) ---- */

/**
 * Begins an op: the current task's wait word becomes OP and names the worker whose driver holds it.
 * Returns 0, or -ECANCELED, -ETIMEDOUT: cancelled on entry, nothing published.
 * Call before the request is handed to the kernel; then bnx_op_park.
 */
int bnx_op_begin(struct bnx_task *self);

/** Takes back a begun op whose request could not be handed over. Returns after the withdrawal; may
 * suspend when a cancel was on its way. */
void bnx_op_abort(struct bnx_task *self);

/** Parks until the op's terminal completion, or returns at once when it has come. */
void bnx_op_park(struct bnx_task *self, enum bnx_wait_reason reason, int fd);

/** The terminal completion of the op that the task waits in. Owner or rescuer; never allocates. */
void bnx_op_finish(struct bnx_task *task);

/** True when that op of the task should still be cancelled. For drivers that ask again. */
bool bnx_op_is_cancel_wanted(const struct bnx_task *task, uint64_t sequence);

/** Owner: a cancel that was sent has done nothing; it is queued anew, unless the op is over. */
void bnx_op_cancel_again(struct bnx_worker *worker, struct bnx_task *task, uint64_t sequence);

/**
 * Hands waiting cancel requests to the worker's driver. Owner: its loop, or the rescue signal's
 * handler (is_in_handler), where the driver is known not to be in the middle of anything.
 */
void bnx_cancels_send(struct bnx_worker *worker, bool is_in_handler);

/** Owner's service lock around the completion queue; false: a rescuer is at work, skip the reap. */
bool bnx_worker_service_try(struct bnx_worker *worker);
void bnx_worker_service_leave(struct bnx_worker *worker);

/** The same, waiting for a rescuer to finish its bounded section. */
void bnx_worker_service_enter(struct bnx_worker *worker);

/** Sleeps about so long whether cancelled or not; may return early. Task; suspends. */
void bnx_task_nap(struct bnx_task *self, uint64_t ns);

/** The index of a worker. */
uint32_t bnx_worker_index(const struct bnx_worker *worker);

/** Makes a worker that sleeps look around: something that it looks at has changed. Any thread. */
void bnx_worker_wake(struct bnx_worker *worker);

/** Sends a message to a worker; deliver() runs there. Any thread; never allocates. */
void bnx_worker_send(struct bnx_worker *worker, struct bnx_message *message);

/** Worker i of the runtime that the calling task belongs to. */
struct bnx_worker *bnx_worker_peer(uint32_t index);
struct bnx_driver *bnx_worker_driver(struct bnx_worker *worker);

#endif
