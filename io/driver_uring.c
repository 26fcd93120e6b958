/* SPDX-License-Identifier: MIT */
/*
 * The io_uring driver: one ring a worker (ring.h), ops in, completions out.
 *
 * Concepts
 *   user_data is a pointer with a kind in its low 3 bits and, for ops and cancels, the low 16 bits
 *   of the task's wait sequence on top: a completion that does not fit its op is caught.
 *   Ops are queued and submitted together, when the worker polls or parks.
 *   A wake (wakeup.h) is a write to an eventfd on which a multishot poll is armed; it is never
 *   read. The worker's poller (poller.h), once somebody waits in it, is watched in the same way.
 *   While no op is in flight and the poller is not open, only a wake can bring the worker work: it
 *   sleeps on the wake's word then. Both begin on the worker itself, when it is awake, but for the
 *   poller, whose opener wakes it (poller.h, P2).
 *   A cancel that the kernel answers with "not found" or "too late" has not ended its op; it is
 *   sent again after 10 ms while the op's wait word still wants it; so is one of a zero-copy send
 *   that only waits for its notification, and finds nothing each time.
 *
 * Sleeping for several (bnx_options.min_wait_ns)
 *   The kernel counts completions and knows no urgent one: it would let a wake wait until there are
 *   enough. So as many polls are armed on the eventfd as the sleep waits for completions: one write
 *   is enough for all. What a cancel ends is not to wait either: for some time after each one the
 *   worker sleeps until the first completion, and the cancel is asked for again until it is done.
 *
 * Service
 *   Completions are copied out under the service lock, a batch at a time, and handled outside it by
 *   the owner, under it by a rescuer. A rescuer handles ops and those who wait in the poller: what
 *   belongs to the owner (cancel answers that need another try, watches that end) it leaves in
 *   `deferred`.
 *
 * Ordering
 *   U1, U2 the wake: wakeup.h. C1 the queues of the ring: ring.h.
 *   `deferred` is under the service lock.
 */
#include "io/driver.h"
#include "io/prepare.h"
#include "io/ring.h"
#include "io/wakeup.h"

#include "runtime/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define KIND_BITS 3
#define KIND_MASK ((UINT64_C(1) << KIND_BITS) - 1)
#define POINTER_BITS 48
#define POINTER_MASK (((UINT64_C(1) << POINTER_BITS) - 1) & ~KIND_MASK)

enum completion_kind {
    KIND_OP,
    KIND_WAKE,
    KIND_CANCEL,
    KIND_CLOSE, /* nobody waits for it */
    KIND_POLLER
};

#define REAP_BATCH 64   /* completions copied in one hold of the service */
#define DEFERRED_MAX 64 /* a rescuer stops when it cannot put down more */
#define RETRIES_MAX 256 /* cancels to send again; beyond that they are sent at once */
#define RETRY_NS (10 * BNX_NS_PER_MS)
#define SLEEP_BATCH BNX_CAPACITY(8u, 3u) /* completions that end a sleep; as many polls per wake */

struct completion {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

struct retry {
    struct bnx_task *task;
    uint64_t sequence;
};

struct uring_driver {
    struct bnx_io_driver io;
    struct bnx_ring ring;
    uint32_t wakes_wanted; /* polls on the wake's eventfd; immutable */
    uint32_t wakes_armed;  /* owner */
    uint64_t min_wait_ns;  /* as in the options; 0 = none; immutable */
    uint64_t prompt_ns;    /* until then a sleep waits for the first completion; owner */
    bool is_poller_armed;  /* owner */
    struct bnx_wakeup wakeup;
    BNX_APART uint64_t retry_ns; /* when the retries are due; owner */
    uint32_t retry_count;        /* owner */
    uint32_t deferred_count;     /* under the service lock */
    struct retry retries[RETRIES_MAX];
    struct completion deferred[DEFERRED_MAX];
    CK_LIST_HEAD(flying_list, bnx_op) flying; /* all ops in flight; under the service lock */
};

static struct uring_driver *uring_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF((struct bnx_driver *)(uintptr_t)driver, struct uring_driver, io.base);
}

static uint64_t user_data_of(const void *pointer, enum completion_kind kind, uint64_t sequence) {
    return (uint64_t)(uintptr_t)pointer | (uint64_t)kind | sequence << POINTER_BITS;
}

static void *pointer_of(uint64_t user_data) {
    return (void *)(uintptr_t)(user_data & POINTER_MASK);
}

static uint64_t sequence_of(const struct bnx_task *task) {
    return BNX_WAIT_SEQUENCE(bnx_load_relaxed(&task->wait)); /* the op's: it is in flight */
}

/* ---- Starting ---- */

static bool uring_make_room(struct bnx_driver *driver) {
    struct bnx_ring *ring = &uring_of(driver)->ring;
    if (bnx_ring_unsubmitted(ring) + ring->reserved < ring->uring.sq.ring_entries) {
        return true;
    }
    (void)bnx_ring_flush(ring); /* refused while the CQ overflows: the caller comes again */
    return bnx_ring_unsubmitted(ring) + ring->reserved < ring->uring.sq.ring_entries;
}

static bool uring_start(struct bnx_driver *driver, struct bnx_op *op) {
    struct uring_driver *self = uring_of(driver);
    struct io_uring_sqe *sqe = bnx_ring_take(&self->ring, false);
    if (sqe == NULL) {
        return false;
    }
    bnx_op_prepare(sqe, op);
    sqe->user_data = user_data_of(op, KIND_OP, sequence_of(op->task));
    bnx_tsan_release(op); /* the kernel hands it to whoever completes it, out of the tool's sight */
    bnx_fd_counts_add(&self->io.counts, op->fd, BNX_FD_OP);
    bnx_fd_counts_add(&self->io.counts, bnx_op_second_fd(op), BNX_FD_OP);
    (void)bnx_fetch_add_relaxed(&self->io.base.ops_in_flight, 1); /* a count */
    bnx_worker_service_enter(self->io.base.worker);
    CK_LIST_INSERT_HEAD(&self->flying, op, flying);
    bnx_worker_service_leave(self->io.base.worker);
    bnx_ring_put(&self->ring);
    return true;
}

/* What a cancel ends is not to wait for others: until it is asked for again, and longer. */
static void be_prompt(struct uring_driver *self) {
    if (self->min_wait_ns != 0 && !BNX_PLANT(min_wait_delays_cancel)) {
        self->prompt_ns = bnx_clock_now() + 2 * RETRY_NS;
    }
}

/* An SQE for a cancel: from the reserve, and if even that is in use, after a submission. */
static struct io_uring_sqe *take_for_cancel(struct uring_driver *self) {
    struct io_uring_sqe *sqe = bnx_ring_take(&self->ring, true);
    if (sqe == NULL) {
        (void)bnx_ring_flush(&self->ring);
        sqe = bnx_ring_take(&self->ring, true);
    }
    return sqe;
}

/* The kernel has not found the op, or not yet: asks again after a while, at once where the list is
 * full. Owner, not in the handler. */
static void retry_later(struct uring_driver *self, struct bnx_task *task, uint64_t sequence) {
    if (self->retry_count == RETRIES_MAX) {
        bnx_op_cancel_again(self->io.base.worker, task, sequence);
        return;
    }
    if (self->retry_count == 0) {
        self->retry_ns = bnx_clock_now() + RETRY_NS;
    }
    self->retries[self->retry_count++] = (struct retry){task, sequence};
}

static bool uring_cancel(struct bnx_driver *driver, struct bnx_task *task, void *op,
                         uint64_t sequence) {
    struct uring_driver *self = uring_of(driver);
    bool is_planted = BNX_PLANT(cancel_dropped_when_full);
    struct io_uring_sqe *sqe =
        is_planted ? bnx_ring_take(&self->ring, false) : take_for_cancel(self);
    if (sqe == NULL) {
        return is_planted; /* the CQ overflows: room comes with the next reap */
    }
    be_prompt(self);
    io_uring_prep_cancel64(sqe, user_data_of(op, KIND_OP, sequence), 0);
    sqe->user_data = user_data_of(task, KIND_CANCEL, sequence);
    bnx_ring_put(&self->ring);
    return true;
}

static void send_retries(struct uring_driver *self) {
    if (self->retry_count == 0 || bnx_clock_now() < self->retry_ns) {
        return;
    }
    struct bnx_worker *worker = self->io.base.worker;
    for (uint32_t i = 0; i < self->retry_count; i++) {
        bnx_op_cancel_again(worker, self->retries[i].task, self->retries[i].sequence);
    }
    self->retry_count = 0;
    bnx_cancels_send(worker, false);
}

/* By each op's own record: the number may stand for another file by now, and a dup of it has ops
 * that shall go on. */
static void uring_cancel_fd(struct bnx_driver *driver, int fd) {
    struct uring_driver *self = uring_of(driver);
    struct bnx_op *op;
    bnx_worker_service_enter(self->io.base.worker);
    CK_LIST_FOREACH(op, &self->flying, flying) {
        struct io_uring_sqe *sqe = bnx_op_is_at(op, fd) ? take_for_cancel(self) : NULL;
        if (sqe != NULL) { /* else the closer asks again */
            op->is_closed = true;
            be_prompt(self);
            uint64_t sequence = sequence_of(op->task);
            io_uring_prep_cancel64(sqe, user_data_of(op, KIND_OP, sequence), 0);
            sqe->user_data = KIND_CLOSE;
            bnx_ring_put(&self->ring);
        }
    }
    bnx_worker_service_leave(self->io.base.worker);
}

/* ---- Reaping ---- */

/* Returns whether it is armed: the next poll tries again. */
static bool watch(struct uring_driver *self, int fd, enum completion_kind kind) {
    struct io_uring_sqe *sqe = take_for_cancel(self);
    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    sqe->user_data = kind;
    bnx_ring_put(&self->ring);
    return true;
}

/* The wakes, and the poller once somebody waits in it. */
static void watch_others(struct uring_driver *self) {
    for (uint32_t i = self->wakes_armed; i < self->wakes_wanted; i++) {
        self->wakes_armed += watch(self, self->wakeup.fd, KIND_WAKE) ? 1 : 0;
    }
    if (!self->is_poller_armed && bnx_poller_is_open(&self->io.poller)) {
        self->is_poller_armed = watch(self, self->io.poller.epoll_fd, KIND_POLLER);
    }
}

static void check_sequence(const struct bnx_op *op, const struct completion *completion) {
    BNX_CHECK((sequence_of(op->task) & 0xffff) == completion->user_data >> POINTER_BITS);
}

static void complete_op(struct uring_driver *self, const struct completion *completion) {
    struct bnx_op *op = pointer_of(completion->user_data);
    check_sequence(op, completion);
    if (BNX_PLANT(late_end_is_dropped) &&
        bnx_op_is_cancel_wanted(op->task, sequence_of(op->task))) {
        return;
    }
    bnx_fd_counts_sub(&self->io.counts, op->fd, BNX_FD_OP);
    bnx_fd_counts_sub(&self->io.counts, bnx_op_second_fd(op), BNX_FD_OP);
    (void)bnx_fetch_sub_relaxed(&self->io.base.ops_in_flight, 1); /* a count */
    bnx_op_complete(op, completion->result, completion->flags);
}

/* Whether there is nothing left to cancel. Who ends a wanted op holds the service: it is there. */
static bool is_past_cancel(struct uring_driver *self, struct bnx_task *task, uint64_t sequence) {
    bnx_worker_service_enter(self->io.base.worker);
    bool is_past = !bnx_op_is_cancel_wanted(task, sequence) || bnx_op_is_only_notified(task->op);
    bnx_worker_service_leave(self->io.base.worker);
    return is_past;
}

/* Everything but ops; the owner alone. */
static void handle_for_owner(struct uring_driver *self, const struct completion *completion) {
    switch ((enum completion_kind)(completion->user_data & KIND_MASK)) {
    case KIND_OP:
        break;
    case KIND_WAKE:
        bnx_wakeup_take(&self->wakeup);
        if ((completion->flags & IORING_CQE_F_MORE) == 0 && !BNX_PLANT(wake_not_rearmed)) {
            self->wakes_armed--;
        }
        break;
    case KIND_CANCEL: {
        struct bnx_task *task = pointer_of(completion->user_data);
        bool is_settled = completion->result != -EALREADY && completion->result != -ENOENT;
        uint64_t sequence = sequence_of(task);
        if (!is_settled && (sequence & 0xffff) == completion->user_data >> POINTER_BITS &&
            !is_past_cancel(self, task, sequence)) {
            if (BNX_PLANT(cancel_already_is_done)) {
                bnx_op_complete(task->op, -ECANCELED, 0);
                break;
            }
            retry_later(self, task, sequence);
        }
        break;
    }
    case KIND_CLOSE:
        break; /* the closer looks at the count */
    case KIND_POLLER: {
        bool is_woken;
        if ((completion->flags & IORING_CQE_F_MORE) == 0 && !BNX_PLANT(poller_not_rearmed)) {
            self->is_poller_armed = false;
        }
        (void)bnx_poller_collect(&self->io.poller, 0, &is_woken); /* it watches no eventfd */
        break;
    }
    }
}

/* A completion of an op. False: it is the first of two (op.h), and the op is still in flight, but,
 * once it has sent something, at its descriptor no more; the second is given the first one's
 * result. Under the service lock. */
static bool take_op(struct uring_driver *self, struct completion *completion) {
    struct bnx_op *op = pointer_of(completion->user_data);
    bnx_tsan_acquire(op);
    if ((completion->flags & IORING_CQE_F_MORE) != 0 && !BNX_PLANT(zerocopy_no_notification)) {
        check_sequence(op, completion);
        op->result = completion->result;
        if (completion->result >= 0 || BNX_PLANT(zerocopy_failure_lets_go)) {
            bnx_fd_counts_sub(&self->io.counts, op->fd, BNX_FD_OP);
            op->fd = -1;
        }
        return false;
    }
    if ((completion->flags & IORING_CQE_F_NOTIF) != 0) {
        completion->result = op->result;
    }
    CK_LIST_REMOVE(op, flying);
    return true;
}

/* Copies visible completions and gives their slots back. Under the service lock. */
static uint32_t copy_out(struct uring_driver *self, struct completion *out, uint32_t max) {
    struct io_uring_cq *cq = &self->ring.uring.cq;
    unsigned head = bnx_load_relaxed(cq->khead); /* ours to write while we hold the service */
    unsigned tail = bnx_load_acquire(cq->ktail); /* C1 */
    uint32_t count = 0;
    for (; head != tail && count < max; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        out[count] = (struct completion){cqe->user_data, cqe->res, cqe->flags};
        if ((cqe->user_data & KIND_MASK) != KIND_OP || take_op(self, &out[count])) {
            count++;
        }
    }
    bnx_store_release(cq->khead, head); /* C1 */
    return count;
}

static uint32_t take_deferred(struct uring_driver *self, struct completion *out) {
    uint32_t count = self->deferred_count;
    memcpy(out, self->deferred, count * sizeof(out[0]));
    self->deferred_count = 0;
    return count;
}

static size_t reap(struct uring_driver *self) {
    struct completion batch[REAP_BATCH + DEFERRED_MAX];
    size_t reaped = 0;
    uint32_t count;
    do { /* ends: bounded by the queue's length a round, and the kernel posts only when entered */
        if (!bnx_worker_service_try(self->io.base.worker)) {
            return reaped; /* a rescuer is at work */
        }
        count = take_deferred(self, batch);
        uint32_t copied = copy_out(self, batch + count, REAP_BATCH);
        self->io.base.poll_seen = bnx_load_relaxed(self->ring.uring.cq.khead); /* ours */
        bnx_worker_service_leave(self->io.base.worker);
        count += copied;
        for (uint32_t i = 0; i < count; i++) {
            if ((batch[i].user_data & KIND_MASK) == KIND_OP) {
                complete_op(self, &batch[i]);
            } else {
                handle_for_owner(self, &batch[i]);
            }
        }
        reaped += count;
    } while (count >= REAP_BATCH);
    bnx_store_relaxed(&self->io.base.completions,
                      self->io.base.completions + reaped); /* statistics */
    bnx_busy_note(&self->io.busy, reaped);
    return reaped;
}

static size_t uring_reap_for(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    struct completion batch[REAP_BATCH];
    uint32_t room = DEFERRED_MAX - self->deferred_count;
    uint32_t count = copy_out(self, batch, room < REAP_BATCH ? room : REAP_BATCH);
    size_t ops = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned kind = (unsigned)(batch[i].user_data & KIND_MASK);
        bool is_woken;
        if (kind == KIND_OP) {
            complete_op(self, &batch[i]);
            ops++;
            continue;
        }
        if (kind == KIND_POLLER) { /* whoever collects; to arm it again is the owner's */
            ops += bnx_poller_collect(&self->io.poller, 0, &is_woken);
        }
        self->deferred[self->deferred_count++] = batch[i];
    }
    return ops;
}

static size_t uring_poll(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    send_retries(self);
    watch_others(self);
    bool has_hidden = (bnx_load_relaxed(self->ring.uring.sq.kflags) & /* a hint */
                       (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    if (bnx_ring_unsubmitted(&self->ring) != 0 || has_hidden) {
        (void)bnx_ring_flush(&self->ring); /* refused: the reap makes room, the next poll submits */
    }
    return reap(self);
}

static bool uring_is_pending(const struct bnx_driver *driver) {
    return bnx_ring_is_pending(&uring_of(driver)->ring);
}

/* Whether all that it is to be woken by is armed. */
static bool is_watching(const struct uring_driver *self) {
    return self->wakes_armed == self->wakes_wanted &&
           (self->is_poller_armed || !bnx_poller_is_open(&self->io.poller));
}

/* How many completions a sleep waits for. */
static uint32_t completions_wanted(const struct uring_driver *self) {
    uint32_t in_flight = bnx_load_relaxed(&self->io.base.ops_in_flight); /* a count */
    if (self->min_wait_ns == 0 || in_flight < 2 || bnx_clock_now() < self->prompt_ns) {
        return 1;
    }
    return in_flight < SLEEP_BATCH ? in_flight : SLEEP_BATCH;
}

/* Whether nothing but a wake can bring the worker work. Retries, and what a rescuer has deferred,
 * are of ops in flight, or of no use any more. */
static bool waits_for_wakes_only(const struct uring_driver *self) {
    bool has_ops = bnx_load_relaxed(&self->io.base.ops_in_flight) != 0; /* they begin here */
    bool has_poller = bnx_poller_is_open(&self->io.poller);
    return (!has_ops || BNX_PLANT(uring_sleeps_over_op)) &&
           (!has_poller || BNX_PLANT(uring_sleeps_over_poller));
}

static void uring_park(struct bnx_driver *driver, uint64_t deadline_ns) {
    struct uring_driver *self = uring_of(driver);
    if (waits_for_wakes_only(self) && bnx_wakeup_sleep(&self->wakeup, deadline_ns)) {
        return;
    }
    send_retries(self);
    watch_others(self);
    if (self->retry_count != 0 && self->retry_ns < deadline_ns) {
        deadline_ns = self->retry_ns;
    }
    /* While a rescuer holds the service its completions are on their way: no sleep over them. The
     * sleep keeps it, or a late rescuer could put this very wake into `deferred`. */
    if (!bnx_worker_service_try(self->io.base.worker)) {
        return;
    }
    if (self->deferred_count == 0 && is_watching(self)) {
        struct bnx_ring_sleep sleep = {deadline_ns, self->min_wait_ns, completions_wanted(self)};
        (void)bnx_ring_wait(&self->ring, &sleep); /* time, signals and refusals: go round */
    } else {
        (void)bnx_ring_flush(&self->ring); /* as above */
    }
    bnx_worker_service_leave(self->io.base.worker);
    (void)reap(self);
}

static void uring_wake(struct bnx_driver *driver) {
    bnx_wakeup_send(&uring_of(driver)->wakeup);
}

/* In the rescue signal's handler, on the owner's thread: cancels go out, completions come in. */
static void uring_nudge(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    if (bnx_ring_may_nudge(&self->ring)) {
        bnx_cancels_send(self->io.base.worker, true);
        (void)bnx_ring_flush(&self->ring); /* a failure shows again at the owner's next enter */
    }
}

/* ---- Running ops ---- */

/* On a kernel that was built without an opcode. */
static ssize_t run_without(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason) {
    struct uring_driver *driver = uring_of(bnx_driver_current());
    ssize_t result;
    if (op->kind == BNX_OP_SEND_ZEROCOPY && !driver->ring.has_send_zc) {
        result = -EOPNOTSUPP;
    } else if (op->kind == BNX_OP_OPEN && !driver->ring.has_openat2) {
        result = bnx_task_cancel_check(self);
        if (result == 0) {
            result = bnx_blocking_run(&driver->io.blocking, self, op, reason);
        }
    } else {
        return bnx_op_run_in_flight(self, op, reason);
    }
    op->is_closed = false;
    op->result_flags = 0;
    op->result = (int32_t)result;
    return result;
}

static ssize_t uring_run(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason) {
    bool lacks_any = uring_of(bnx_driver_current())->ring.lacks_any;
    return lacks_any ? run_without(self, op, reason) : bnx_op_run_in_flight(self, op, reason);
}

/* ---- In the loop of a host ---- */

static int uring_notify(struct bnx_driver *driver, int eventfd) {
    return bnx_ring_notify(&uring_of(driver)->ring, eventfd);
}

static uint64_t uring_next_ns(const struct bnx_driver *driver) {
    const struct uring_driver *self = uring_of(driver);
    if (bnx_ring_unsubmitted(&self->ring) != 0 || !is_watching(self)) {
        return 0; /* the kernel refused the last submission, or a watch has ended: again at once */
    }
    return self->retry_count != 0 ? self->retry_ns : BNX_NEVER_NS;
}

/* ---- Opening ---- */

static void uring_close(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    BNX_CHECK(bnx_load_relaxed(&self->io.base.ops_in_flight) == 0); /* all workers have left */
    bnx_poller_fini(&self->io.poller);
    bnx_ring_fini(&self->ring);
    bnx_wakeup_fini(&self->wakeup);
    bnx_io_driver_fini(&self->io);
    bnx_os.release(self);
}

static int open_parts(struct uring_driver *self) {
    int error = bnx_wakeup_init(&self->wakeup);
    if (error != 0) {
        return error;
    }
    error = bnx_ring_init(&self->ring);
    if (error != 0) {
        goto close_wake;
    }
    self->min_wait_ns = self->ring.has_min_wait ? self->min_wait_ns : 0;
    bool is_one = self->min_wait_ns == 0 || BNX_PLANT(min_wait_delays_wake);
    self->wakes_wanted = is_one ? 1 : SLEEP_BATCH;
    watch_others(self);
    error = bnx_ring_flush(&self->ring);
    if (error != 0) {
        goto close_ring;
    }
    return 0;
close_ring:
    bnx_ring_fini(&self->ring);
close_wake:
    bnx_wakeup_fini(&self->wakeup);
    return error;
}

static int uring_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                      struct bnx_driver **out_driver) {
    struct uring_driver *self = bnx_os.allocate(sizeof(*self), BNX_APART_BYTES);
    if (self == NULL) {
        return -ENOMEM;
    }
    memset(self, 0, sizeof(*self));
    CK_LIST_INIT(&self->flying);
    self->min_wait_ns = config->is_guest ? 0 : config->min_wait_ns;
    int error = bnx_io_driver_init(&self->io, &bnx_uring_ops, config, worker);
    if (error != 0) {
        goto release;
    }
    error = open_parts(self);
    if (error != 0) {
        goto fini;
    }
    self->io.base.poll_word = self->ring.uring.cq.ktail;
    self->io.base.poll_seen = bnx_load_relaxed(self->ring.uring.cq.khead); /* ours */
    *out_driver = &self->io.base;
    return 0;
fini:
    bnx_io_driver_fini(&self->io);
release:
    bnx_os.release(self);
    return error;
}

const struct bnx_io_ops bnx_uring_ops = {
    .port = {.name = "uring",
             .open = uring_open,
             .close = uring_close,
             .poll = uring_poll,
             .is_pending = uring_is_pending,
             .park = uring_park,
             .wake = uring_wake,
             .cancel = uring_cancel,
             .nudge = uring_nudge,
             .reap_for = uring_reap_for,
             .notify = uring_notify,
             .next_ns = uring_next_ns},
    .run = uring_run,
    .make_room = uring_make_room,
    .start = uring_start,
    .cancel_fd = uring_cancel_fd,
};
