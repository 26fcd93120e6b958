/* SPDX-License-Identifier: MIT */
/* Running one operation, and closing descriptors that operations wait on (op.h). */
#include "io/op.h"

#include <bonxie/file.h>
#include <bonxie/runtime.h>

#include "io/hint.h"

#include "runtime/clock.h"

#include <errno.h>

/* An operation on one of the kernel's own threads that a cancel's signal has interrupted may end
 * with a code that is the kernel's alone, ERESTARTSYS and its like: to us it is an interruption. */
#define RESTART_FIRST 512
#define RESTART_LAST 516

/* How often an op is begun again that the kernel has ended unasked; who can have no thread for it
 * has none after that. */
#define AGAIN_MAX 8
#define AGAIN_NAP_NS BNX_NS_PER_MS

static bool is_interrupted(int32_t result) {
    return result == -EINTR || (result <= -RESTART_FIRST && result >= -RESTART_LAST &&
                                !BNX_PLANT(op_restart_code_is_error));
}

/* The kernel's answer to a cancel: by the task's scope, by bnx_close, or by nobody that we know. */
static ssize_t explain_cancel(struct bnx_task *self, const struct bnx_op *op) {
    if (op->is_closed) {
        return -EBADF;
    }
    int error = bnx_task_cancel_check(self);
    return error != 0 ? error : op->result;
}

/* Hands the op to the driver of the worker that the task is on; the task then waits in it. */
static int start(struct bnx_task *self, struct bnx_op *op) {
    for (;;) { /* ends: completions make room again */
        int error = bnx_task_cancel_check(self);
        if (error != 0) {
            return error;
        }
        struct bnx_driver *driver = bnx_driver_current();
        const struct bnx_io_ops *ops = bnx_io_ops_of(driver);
        if (ops->make_room(driver)) {
            error = bnx_op_begin(self);
            if (error != 0 || ops->start(driver, op)) {
                return error;
            }
            bnx_op_abort(self);
        }
        bnx_yield();
    }
}

ssize_t bnx_op_run(struct bnx_op *op, enum bnx_wait_reason reason) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    return bnx_io_ops_of(bnx_driver_current())->run(self, op, reason);
}

/* Returns 0, with how it has ended in the op, or why it was not begun. */
static int run_once(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason) {
    int fd = op->fd; /* once it is started the driver may write there */
    op->task = self;
    op->is_closed = false;
    self->op = op;
    int error = start(self, op);
    if (error != 0) {
        return error;
    }
    bnx_op_park(self, reason, fd);
    if (is_interrupted(op->result)) {
        op->result = -EINTR;
    }
    return 0;
}

/* Whether the kernel has ended it for reasons of its own: a signal came while it waited, or while a
 * thread was started for it, which the kernel calls a cancel; or it can start none. What has been
 * seen of a connect cannot be asked for again. */
static bool is_unasked(struct bnx_task *self, const struct bnx_op *op) {
    bool is_ended = op->result == -ECANCELED || op->result == -EINTR;
    bool is_repeatable = op->kind != BNX_OP_RAW && op->kind != BNX_OP_CONNECT;
    return is_ended && is_repeatable && !op->is_closed && bnx_task_cancel_check(self) == 0 &&
           !BNX_PLANT(op_unasked_is_told);
}

ssize_t bnx_op_run_in_flight(struct bnx_task *self, struct bnx_op *op,
                             enum bnx_wait_reason reason) {
    int error = run_once(self, op, reason);
    for (int again = 0; error == 0 && is_unasked(self, op); again++) {
        if (again == AGAIN_MAX) {
            return op->result == -ECANCELED ? -EAGAIN : op->result;
        }
        bnx_task_nap(self, AGAIN_NAP_NS);
        error = run_once(self, op, reason);
    }
    if (error != 0) {
        return error;
    }
    bool is_lost = BNX_PLANT(cancel_beats_success) && bnx_task_cancel_check(self) != 0;
    if (op->result == -ECANCELED || op->result == -EINTR || is_lost) {
        return explain_cancel(self, op);
    }
    return BNX_PLANT(op_error_is_swallowed) && op->result < 0 ? 0 : op->result;
}

void bnx_op_complete(struct bnx_op *op, int32_t result, uint32_t flags) {
    struct bnx_task *task = op->task;
    if (BNX_PLANT(op_end_allocates)) {
        void *block = bnx_os.allocate(1, 1);
        if (block == NULL) {
            return;
        }
        bnx_os.release(block);
    }
    op->result = result;
    op->result_flags = flags;
    bnx_op_finish(task); /* the op's frame may be gone after this */
}

/* ---- Closing ---- */

/* Rounds of waiting for the completions of ended ops that only yield; then each sleeps. */
#define CLOSE_YIELDS 16
#define CLOSE_NAP_NS UINT64_C(1000000)

/* A request to one worker to end all ops on a descriptor; in the closing task's frame. */
struct close_request {
    struct bnx_message message;
    struct bnx_task *closer;
    int fd;
};

static void deliver_close(struct bnx_worker *worker, struct bnx_message *message) {
    struct close_request *request = BNX_CONTAINER_OF(message, struct close_request, message);
    struct bnx_driver *driver = bnx_worker_driver(worker);
    bnx_io_ops_of(driver)->cancel_fd(driver, request->fd);
    bnx_task_ready(request->closer); /* the frame may be gone after this */
}

/* Whether anything is still at the descriptor; who waits for readiness, and what a thread is at,
 * has been told to end. */
static bool is_busy(struct bnx_driver *driver, int fd) {
    const struct bnx_io_ops *ops = bnx_io_ops_of(driver);
    bool is_held = bnx_poller_close_fd(&bnx_io_driver_of(driver)->poller, fd);
    bool is_pooled = bnx_blocking_close_fd(&bnx_io_driver_of(driver)->blocking, fd);
    return is_held || is_pooled || (ops->count_fd != NULL && ops->count_fd(driver, fd) != 0);
}

/* Asks until no op on the descriptor is left on that worker. Not refused by a cancel. Ends: each op
 * that was started there is asked for by its own record, whatever the number means by now. */
static void end_ops_on(struct bnx_task *self, struct bnx_worker *worker, int fd) {
    struct bnx_driver *driver = bnx_worker_driver(worker);
    const struct bnx_io_ops *ops = bnx_io_ops_of(driver);
    for (uint32_t round = 0; is_busy(driver, fd); round++) {
        if (round % CLOSE_YIELDS == 0 && ops->cancel_fd != NULL) {
            struct close_request request = {.closer = self, .fd = fd};
            request.message.deliver = deliver_close;
            bnx_worker_send(worker, &request.message);
            (void)bnx_task_park(self, BNX_WAIT_CLOSE, (const void *)(intptr_t)fd);
        } else if (round < CLOSE_YIELDS) {
            bnx_yield();
        } else {
            bnx_task_nap(self, CLOSE_NAP_NS);
        }
    }
}

int bnx_close(int fd) {
    struct bnx_task *self = bnx_task_current();
    bnx_hint_clear(fd);
    if (self != NULL && fd >= 0 && !BNX_PLANT(close_at_once)) {
        uint32_t workers = bnx_runtime_worker_count(bnx_runtime_current());
        for (uint32_t i = 0; i < workers; i++) {
            end_ops_on(self, bnx_worker_peer(i), fd);
        }
    }
    bnx_hint_clear(fd); /* again: an op that has just ended may have set it */
    int error = bnx_os.close(fd);
    for (uint32_t i = 0; self != NULL && i < bnx_runtime_worker_count(self->runtime); i++) {
        bnx_poller_closed_fd(&bnx_io_driver_of(bnx_worker_driver(bnx_worker_peer(i)))->poller, fd);
    }
    return error;
}
