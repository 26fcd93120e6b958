/* SPDX-License-Identifier: MIT */
/*
 * The io_uring driver: one ring a worker (ring.h), ops in, completions out.
 *
 * Concepts
 *   user_data is a pointer with a kind in its low 3 bits and, for ops and cancels, the low 16 bits
 *   of the task's wait sequence on top: a completion that does not fit its op is caught.
 *   Ops are queued and submitted together, when the worker polls or parks.
 *   A wake is a write to an eventfd on which a multishot poll is armed; it is never read. The
 *   worker's poller (poller.h), once somebody waits in it, is watched in the same way.
 *   A cancel that the kernel answers with "not found" or "too late" has not ended its op; it is
 *   sent again after 10 ms while the op's wait word still wants it.
 *
 * Service
 *   Completions are copied out under the service lock, a batch at a time, and handled outside it by
 *   the owner, under it by a rescuer. A rescuer handles ops and those who wait in the poller: what
 *   belongs to the owner (cancel answers that need another try, watches that end) it leaves in
 *   `deferred`.
 *
 * Ordering
 *   U1 wake: exchange seq_cst of `notified` 0 -> 1 and then the write; the owner's exchange seq_cst
 *      to 0 when the wake has come, and only then its look at the queues. A waker that finds 1 put
 *      its work there before that look.
 *   U2 counts per descriptor: op.h, O1.
 *   U3 the queues of the ring: ring.h, C1.
 *   `deferred` is under the service lock.
 */
#include "io/driver.h"
#include "io/prepare.h"
#include "io/ring.h"

#include "runtime/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

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
#define COUNTED_FDS (1 << 20) /* untouched pages cost nothing; the kernel's usual hard limit */

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
    int wake_fd;                 /* immutable */
    bool is_wake_armed;          /* owner */
    bool is_poller_armed;        /* owner */
    BNX_APART uint32_t notified; /* a wake is on its way; any thread; U1 */
    BNX_APART uint64_t retry_ns; /* when the retries are due; owner */
    uint32_t retry_count;        /* owner */
    uint32_t deferred_count;     /* under the service lock */
    struct retry retries[RETRIES_MAX];
    struct completion deferred[DEFERRED_MAX];
    uint32_t *counts;                         /* ops in flight per descriptor; U2 */
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

/* ---- Counting ops per descriptor ---- */

static void count_add(struct uring_driver *self, int fd) {
    if ((unsigned)fd < COUNTED_FDS) {
        (void)bnx_fetch_add_seq_cst(&self->counts[fd], 1); /* U2 */
    }
    (void)bnx_fetch_add_relaxed(&self->io.base.ops_in_flight, 1); /* a count */
}

static void count_sub(struct uring_driver *self, int fd) {
    if ((unsigned)fd < COUNTED_FDS) {
        (void)bnx_fetch_sub_seq_cst(&self->counts[fd], 1); /* U2 */
    }
    (void)bnx_fetch_sub_relaxed(&self->io.base.ops_in_flight, 1); /* a count */
}

static uint32_t uring_count_fd(const struct bnx_driver *driver, int fd) {
    return (unsigned)fd < COUNTED_FDS ? bnx_load_seq_cst(&uring_of(driver)->counts[fd])
                                      : 0; /* U2 */
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
    count_add(self, op->fd);
    bnx_worker_service_enter(self->io.base.worker);
    CK_LIST_INSERT_HEAD(&self->flying, op, flying);
    bnx_worker_service_leave(self->io.base.worker);
    bnx_ring_put(&self->ring);
    return true;
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
    if (BNX_PLANT(cancel_dropped_when_full)) {
        struct io_uring_sqe *unreserved = bnx_ring_take(&self->ring, false);
        if (unreserved != NULL) {
            io_uring_prep_cancel64(unreserved, user_data_of(op, KIND_OP, sequence), 0);
            unreserved->user_data = user_data_of(task, KIND_CANCEL, sequence);
            bnx_ring_put(&self->ring);
        }
        return true;
    }
    struct io_uring_sqe *sqe = take_for_cancel(self);
    if (sqe == NULL) {
        return false; /* the CQ overflows: room comes with the next reap */
    }
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
        struct io_uring_sqe *sqe = op->fd == fd ? take_for_cancel(self) : NULL;
        if (sqe != NULL) { /* else the closer asks again */
            op->is_closed = true;
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
    if (!self->is_wake_armed) {
        self->is_wake_armed = watch(self, self->wake_fd, KIND_WAKE);
    }
    if (!self->is_poller_armed && bnx_poller_is_open(&self->io.poller)) {
        self->is_poller_armed = watch(self, self->io.poller.epoll_fd, KIND_POLLER);
    }
}

static void complete_op(struct uring_driver *self, const struct completion *completion) {
    struct bnx_op *op = pointer_of(completion->user_data);
    BNX_CHECK((sequence_of(op->task) & 0xffff) == completion->user_data >> POINTER_BITS);
    count_sub(self, op->fd);
    bnx_op_complete(op, completion->result, completion->flags);
}

/* Everything but ops; the owner alone. */
static void handle_for_owner(struct uring_driver *self, const struct completion *completion) {
    switch ((enum completion_kind)(completion->user_data & KIND_MASK)) {
    case KIND_OP:
        break;
    case KIND_WAKE:
        (void)bnx_exchange_seq_cst(&self->notified, 0); /* U1 */
        if ((completion->flags & IORING_CQE_F_MORE) == 0 && !BNX_PLANT(wake_not_rearmed)) {
            self->is_wake_armed = false;
        }
        break;
    case KIND_CANCEL: {
        struct bnx_task *task = pointer_of(completion->user_data);
        bool is_settled = completion->result != -EALREADY && completion->result != -ENOENT;
        uint64_t sequence = sequence_of(task);
        if (!is_settled && (sequence & 0xffff) == completion->user_data >> POINTER_BITS &&
            bnx_op_is_cancel_wanted(task, sequence)) {
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

/* Copies visible completions and gives their slots back. Under the service lock. */
static uint32_t copy_out(struct uring_driver *self, struct completion *out, uint32_t max) {
    struct io_uring_cq *cq = &self->ring.uring.cq;
    unsigned head = bnx_load_relaxed(cq->khead); /* ours to write while we hold the service */
    unsigned tail = bnx_load_acquire(cq->ktail); /* U3 */
    uint32_t count = 0;
    for (; head != tail && count < max; head++, count++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        out[count] = (struct completion){cqe->user_data, cqe->res, cqe->flags};
        if ((cqe->user_data & KIND_MASK) == KIND_OP) {
            struct bnx_op *op = pointer_of(cqe->user_data);
            bnx_tsan_acquire(op);
            CK_LIST_REMOVE(op, flying);
        }
    }
    bnx_store_release(cq->khead, head); /* U3 */
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

static void uring_park(struct bnx_driver *driver, uint64_t deadline_ns) {
    struct uring_driver *self = uring_of(driver);
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
    bool is_watching = self->is_poller_armed || !bnx_poller_is_open(&self->io.poller);
    if (self->deferred_count == 0 && self->is_wake_armed && is_watching) {
        (void)bnx_ring_wait(&self->ring, deadline_ns); /* time, signals and refusals: go round */
    } else {
        (void)bnx_ring_flush(&self->ring); /* as above */
    }
    bnx_worker_service_leave(self->io.base.worker);
    (void)reap(self);
}

static void uring_wake(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    if (bnx_exchange_seq_cst(&self->notified, 1) == 0) { /* U1 */
        uint64_t one = 1;
        (void)bnx_os.write(self->wake_fd, &one, sizeof(one)); /* 2^64 wakes would fill it */
    }
}

/* In the rescue signal's handler, on the owner's thread: cancels go out, completions come in. */
static void uring_nudge(struct bnx_driver *driver) {
    struct uring_driver *self = uring_of(driver);
    if (bnx_ring_may_nudge(&self->ring)) {
        bnx_cancels_send(self->io.base.worker, true);
        (void)bnx_ring_flush(&self->ring); /* a failure shows again at the owner's next enter */
    }
}

/* ---- In the loop of a host ---- */

static int uring_notify(struct bnx_driver *driver, int eventfd) {
    return bnx_ring_notify(&uring_of(driver)->ring, eventfd);
}

static uint64_t uring_next_ns(const struct bnx_driver *driver) {
    const struct uring_driver *self = uring_of(driver);
    bool is_watching =
        self->is_wake_armed && (self->is_poller_armed || !bnx_poller_is_open(&self->io.poller));
    if (bnx_ring_unsubmitted(&self->ring) != 0 || !is_watching) {
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
    (void)bnx_os.close(self->wake_fd);
    (void)bnx_os.munmap(self->counts, COUNTED_FDS * sizeof(self->counts[0]));
    bnx_os.release(self);
}

static int open_parts(struct uring_driver *self) {
    int error = 0;
    self->counts = bnx_os.mmap(COUNTED_FDS * sizeof(self->counts[0]), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &error);
    if (self->counts == MAP_FAILED) {
        return error;
    }
    self->wake_fd = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->wake_fd < 0) {
        error = self->wake_fd;
        goto unmap;
    }
    error = bnx_ring_init(&self->ring);
    if (error != 0) {
        goto close_wake;
    }
    watch_others(self);
    error = bnx_ring_flush(&self->ring);
    if (error != 0) {
        goto close_ring;
    }
    return 0;
close_ring:
    bnx_ring_fini(&self->ring);
close_wake:
    (void)bnx_os.close(self->wake_fd);
unmap:
    (void)bnx_os.munmap(self->counts, COUNTED_FDS * sizeof(self->counts[0]));
    return error;
}

static int uring_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                      struct bnx_driver **out_driver) {
    (void)config;
    struct uring_driver *self = bnx_os.allocate(sizeof(*self), BNX_APART_BYTES);
    if (self == NULL) {
        return -ENOMEM;
    }
    memset(self, 0, sizeof(*self));
    bnx_io_driver_init(&self->io, &bnx_uring_ops, worker);
    CK_LIST_INIT(&self->flying);
    int error = open_parts(self);
    if (error != 0) {
        bnx_os.release(self);
        return error;
    }
    self->io.base.poll_word = self->ring.uring.cq.ktail;
    self->io.base.poll_seen = bnx_load_relaxed(self->ring.uring.cq.khead); /* ours */
    *out_driver = &self->io.base;
    return 0;
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
    .run = bnx_op_run_in_flight,
    .make_room = uring_make_room,
    .start = uring_start,
    .cancel_fd = uring_cancel_fd,
    .count_fd = uring_count_fd,
};
