/* SPDX-License-Identifier: MIT */
/*
 * The epoll driver: where io_uring is refused, by a container's profile, a sysctl, an old kernel.
 *
 * Concepts
 *   An op is tried at once; where it would have to wait, the task waits in its worker's poller
 *   (poller.h) and tries again when woken. What no readiness tells, files and paths, a thread of
 *   the pool does (blocking.h). No op is ever in flight here: cancel and close are the poller's
 *   and the pool's.
 *   The worker sleeps in the poller.
 *
 * Ordering
 *   U1 wake: wakeup.h. The worker always sleeps in the poller, never on the word: any thread may
 *      add a waiter there.
 *   U3 rescued wake: a rescuer that collects the wake leaves it in `is_wake_taken`, under the
 *      service lock, which the owner's sleep holds: else a late rescuer could eat the wake between
 *      the owner's last look and its sleep, or out of the sleep.
 */
#include "io/driver.h"
#include "io/perform.h"
#include "io/wakeup.h"

#include "runtime/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* A socket with an error that its reader does not take, such as a full error queue, is ready for
 * ever and has nothing: so long between two tries. */
#define ERROR_NAP_NS BNX_NS_PER_MS

struct epoll_driver {
    struct bnx_io_driver io;
    bool is_wake_taken;     /* a rescuer has collected a wake; under the service lock; U3 */
    uint32_t never_changes; /* its poll word: events show in no memory */
    struct bnx_wakeup wakeup;
};

static struct epoll_driver *epoll_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF(bnx_io_driver_of(driver), struct epoll_driver, io);
}

/* ---- Running ops ---- */

static bool is_transfer(const struct bnx_op *op) {
    return op->kind == BNX_OP_READ || op->kind == BNX_OP_WRITE || op->kind == BNX_OP_READV ||
           op->kind == BNX_OP_WRITEV;
}

/* As bnx_op_try. Some terminals, fifos and devices cannot say "not now", unless they are in
 * non-blocking mode. They may block even when they are ready, because another reader was faster, or
 * the room is less than is written: once ready, that is for a thread of the pool. */
static ssize_t try_now(const struct bnx_op *op, bool was_ready) {
    ssize_t result = bnx_op_try(op);
    if (result != -EOPNOTSUPP || !is_transfer(op)) {
        return result;
    }
    int flags = bnx_os.fcntl(op->fd, F_GETFL, 0);
    if (flags < 0 || (flags & O_NONBLOCK) != 0 || (was_ready && BNX_PLANT(epoll_blocks))) {
        return flags < 0 ? flags : bnx_op_perform(op);
    }
    return was_ready ? -EOPNOTSUPP : -EAGAIN;
}

/* A poll for no event waits for errors and hang-ups. */
static bool is_pooled(const struct bnx_op *op) {
    return bnx_op_events(op) == 0 && op->kind != BNX_OP_POLL;
}

static ssize_t run_in_pool(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason) {
    struct bnx_driver *driver = bnx_driver_current();
    return bnx_blocking_run(&bnx_io_driver_of(driver)->blocking, self, op, reason);
}

/* held: see bnx_poller_wait; the caller lets it go when the op is over. */
static ssize_t try_until_done(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason,
                              struct bnx_poller **held) {
    int events = 0;
    for (;;) { /* ends: with a result, or a cancel */
        ssize_t result = try_now(op, events != 0);
        if (result == -EOPNOTSUPP) {
            return run_in_pool(self, op, reason);
        }
        if (result != -EAGAIN && result != -EINTR) {
            bnx_task_spend(self);
            return result;
        }
        if (events != 0 && ((unsigned)events & bnx_op_events(op)) == 0 &&
            !BNX_PLANT(epoll_spins_on_error)) {
            bnx_task_nap(self, ERROR_NAP_NS);
        }
        struct bnx_poller *poller = &bnx_io_driver_of(bnx_driver_current())->poller;
        events = bnx_poller_wait(poller, op->fd, bnx_op_events(op), reason, held);
        if (events == -EPERM) { /* a file: it is always ready, and may take its time */
            return run_in_pool(self, op, reason);
        }
        if (events < 0) {
            return events;
        }
    }
}

static bool is_stream(int fd) {
    int type = 0;
    socklen_t bytes = sizeof(type);
    return bnx_os.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM;
}

/* MSG_WAITALL is the kernel's only in a call that waits. Datagrams stay what they are. */
static ssize_t receive_all(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason,
                           struct bnx_poller **held) {
    struct bnx_op part = *op;
    struct bnx_fd_steps steps;
    size_t done = 0;
    bnx_fd_steps_init(&steps, op->fd);
    part.flags &= ~MSG_WAITALL;
    while (done < op->bytes) { /* ends: progress, the end of the stream, or an error */
        part.buffer = (char *)op->buffer + done;
        part.bytes = op->bytes - done;
        ssize_t got = bnx_fd_step_begin_here(&steps);
        if (got == 0) {
            got = try_until_done(self, &part, reason, held);
            bnx_fd_step_end(&steps);
        }
        if (got <= 0) {
            return done > 0 ? (ssize_t)done : got;
        }
        done += (size_t)got;
        if (done < op->bytes && done == (size_t)got && !is_stream(op->fd)) {
            break;
        }
    }
    return (ssize_t)done;
}

static ssize_t run_when_ready(struct bnx_task *self, struct bnx_op *op,
                              enum bnx_wait_reason reason) {
    struct bnx_poller *held = NULL;
    int fd = op->fd; /* the op may write there */
    bool is_whole =
        op->kind == BNX_OP_RECV && (op->flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL;
    ssize_t result =
        is_whole ? receive_all(self, op, reason, &held) : try_until_done(self, op, reason, &held);
    bnx_poller_let_go(&held, fd);
    return result;
}

static ssize_t epoll_run(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason) {
    ssize_t result = bnx_task_cancel_check(self);
    op->is_closed = false;
    op->result_flags = 0;
    if (result == 0) {
        result = is_pooled(op) ? run_in_pool(self, op, reason) : run_when_ready(self, op, reason);
    }
    op->result = (int32_t)result;
    return result;
}

/* ---- The port ---- */

/* Owner. */
static size_t collect(struct epoll_driver *self, uint64_t deadline_ns, bool is_wake_taken) {
    bool is_woken = false;
    size_t woken = bnx_poller_collect(&self->io.poller, deadline_ns, &is_woken);
    if (is_woken || is_wake_taken) {
        bnx_wakeup_take(&self->wakeup);
    }
    return woken;
}

/* Whether a rescuer has left a wake here; then it is the owner's. Under the service lock. */
static bool take_rescued_wake(struct epoll_driver *self) {
    bool is_wake_taken = self->is_wake_taken && !BNX_PLANT(epoll_rescuer_eats_wake); /* U3 */
    self->is_wake_taken = false;
    return is_wake_taken;
}

/* A rescued wake is taken here as well: while it counts as sent the worker never parks. */
static size_t epoll_poll(struct bnx_driver *driver) {
    struct epoll_driver *self = epoll_of(driver);
    bool is_wake_taken = false;
    if (bnx_worker_service_try(driver->worker)) {
        is_wake_taken = take_rescued_wake(self);
        bnx_worker_service_leave(driver->worker);
    }
    size_t woken = collect(self, 0, is_wake_taken);
    bnx_store_relaxed(&driver->completions, driver->completions + woken); /* statistics */
    return woken;
}

static bool epoll_is_pending(const struct bnx_driver *driver) {
    /* Events do not show in memory, wakes do: a hint. The sleep itself looks for events first. */
    return bnx_wakeup_is_sent(&epoll_of(driver)->wakeup);
}

static void epoll_park(struct bnx_driver *driver, uint64_t deadline_ns) {
    struct epoll_driver *self = epoll_of(driver);
    if (!bnx_worker_service_try(driver->worker)) {
        return; /* a rescuer is at work: what it finds is on its way */
    }
    bool is_wake_taken = take_rescued_wake(self);
    size_t woken = collect(self, is_wake_taken ? 0 : deadline_ns, is_wake_taken);
    bnx_worker_service_leave(driver->worker);
    bnx_store_relaxed(&driver->completions, driver->completions + woken); /* statistics */
}

static void epoll_wake(struct bnx_driver *driver) {
    bnx_wakeup_send(&epoll_of(driver)->wakeup);
}

static bool epoll_cancel(struct bnx_driver *driver, struct bnx_task *task, void *op,
                         uint64_t sequence) {
    (void)driver;
    (void)task;
    (void)op;
    (void)sequence;
    bnx_panic(__FILE__, __LINE__, "the epoll driver has no operations in flight");
}

static size_t epoll_reap_for(struct bnx_driver *driver) {
    struct epoll_driver *self = epoll_of(driver);
    bool is_woken = false;
    size_t woken = bnx_poller_collect(&self->io.poller, 0, &is_woken);
    self->is_wake_taken |= is_woken; /* U3 */
    return woken;
}

static int epoll_pollable_fd(const struct bnx_driver *driver) {
    return bnx_io_driver_of(driver)->poller.epoll_fd;
}

static void epoll_close(struct bnx_driver *driver) {
    struct epoll_driver *self = epoll_of(driver);
    bnx_poller_fini(&self->io.poller);
    bnx_wakeup_fini(&self->wakeup);
    bnx_io_driver_fini(&self->io);
    bnx_os.release(self);
}

static int open_parts(struct epoll_driver *self) {
    int error = bnx_wakeup_init(&self->wakeup);
    if (error != 0) {
        return error;
    }
    error = bnx_poller_open(&self->io.poller);
    if (error == 0) {
        error = bnx_poller_watch_wake(&self->io.poller, self->wakeup.fd);
    }
    if (error != 0 && !BNX_PLANT(epoll_open_leaks)) {
        bnx_poller_fini(&self->io.poller);
        bnx_wakeup_fini(&self->wakeup);
    }
    return error;
}

static int epoll_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                      struct bnx_driver **out_driver) {
    struct epoll_driver *self = bnx_os.allocate(sizeof(*self), BNX_APART_BYTES);
    if (self == NULL) {
        return -ENOMEM;
    }
    memset(self, 0, sizeof(*self));
    int error = bnx_io_driver_init(&self->io, &bnx_epoll_ops, config, worker);
    if (error != 0) {
        goto release;
    }
    self->io.base.poll_word = &self->never_changes;
    error = open_parts(self);
    if (error != 0) {
        goto fini;
    }
    *out_driver = &self->io.base;
    return 0;
fini:
    bnx_io_driver_fini(&self->io);
release:
    bnx_os.release(self);
    return error;
}

const struct bnx_io_ops bnx_epoll_ops = {
    .port = {.name = "epoll",
             .open = epoll_open,
             .close = epoll_close,
             .poll = epoll_poll,
             .is_pending = epoll_is_pending,
             .park = epoll_park,
             .wake = epoll_wake,
             .cancel = epoll_cancel,
             .reap_for = epoll_reap_for,
             .pollable_fd = epoll_pollable_fd},
    .run = epoll_run,
};
