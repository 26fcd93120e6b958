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

/* Returns 0, a cancel, or -EAGAIN: there is no room. */
static int start_at_once(struct bnx_task *self, struct bnx_op *op) {
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    struct bnx_driver *driver = bnx_driver_current();
    const struct bnx_io_ops *ops = bnx_io_ops_of(driver);
    if (!ops->make_room(driver)) {
        return -EAGAIN;
    }
    error = bnx_op_begin(self);
    if (error != 0 || ops->start(driver, op)) {
        return error;
    }
    bnx_op_abort(self);
    return -EAGAIN;
}

/* Of one op, at each of its descriptors. */
struct steps {
    struct bnx_fd_steps first;
    struct bnx_fd_steps second;
};

/* The same where the task has waited since it looked at the descriptors: a step. It ends when the
 * op is counted itself, by the same driver: the count never falls in between. */
static BNX_COLD int start_again(struct bnx_task *self, struct bnx_op *op, struct steps *steps) {
    int error = bnx_fd_step_begin_here(&steps->first);
    if (error != 0) {
        return error;
    }
    error = bnx_fd_step_begin_here(&steps->second);
    if (error == 0) {
        error = start_at_once(self, op);
        bnx_fd_step_end(&steps->second);
    }
    bnx_fd_step_end(&steps->first);
    return error;
}

/* Hands the op to the driver of the worker that the task is on; the task then waits in it. */
static int start(struct bnx_task *self, struct bnx_op *op, struct steps *steps, bool is_again) {
    bool is_seen = !is_again || BNX_PLANT(op_again_unseen); /* the task has not waited yet */
    int error = is_seen ? start_at_once(self, op) : start_again(self, op, steps);
    while (error == -EAGAIN) { /* ends: completions make room again */
        bnx_yield();
        error = start_again(self, op, steps);
    }
    return error;
}

ssize_t bnx_op_run(struct bnx_op *op, enum bnx_wait_reason reason) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    return bnx_io_ops_of(bnx_driver_current())->run(self, op, reason);
}

/* Returns 0, with how it has ended in the op, or why it was not begun. */
static int run_once(struct bnx_task *self, struct bnx_op *op, enum bnx_wait_reason reason,
                    struct steps *steps, bool is_again) {
    op->task = self;
    op->is_closed = false;
    self->op = op;
    int error = start(self, op, steps, is_again);
    if (error != 0) {
        return error;
    }
    bnx_op_park(self, reason, steps->first.fd); /* the driver may have written to the op's */
    if (is_interrupted(op->result)) {
        op->result = -EINTR;
    }
    return 0;
}

/* A timer's own word: the clock was set (TFD_TIMER_CANCEL_ON_SET). A read takes that away. */
static bool is_of_timer(const struct bnx_op *op) {
    bool is_read = op->kind == BNX_OP_READ || op->kind == BNX_OP_READV;
    return is_read && op->result == -ECANCELED && bnx_os.timerfd_look(op->fd) == 0 &&
           !BNX_PLANT(op_timer_is_read_again);
}

/* Whether the kernel has ended it for reasons of its own: a signal came while it waited, or while a
 * thread was started for it, which the kernel calls a cancel; or it can start none. What has been
 * seen of a connect cannot be asked for again. */
static bool is_unasked(struct bnx_task *self, const struct bnx_op *op) {
    bool is_ended = op->result == -ECANCELED || op->result == -EINTR;
    bool is_repeatable = op->kind != BNX_OP_RAW && op->kind != BNX_OP_CONNECT;
    return is_ended && is_repeatable && !op->is_closed && bnx_task_cancel_check(self) == 0 &&
           !is_of_timer(op) && !BNX_PLANT(op_unasked_is_told);
}

ssize_t bnx_op_run_in_flight(struct bnx_task *self, struct bnx_op *op,
                             enum bnx_wait_reason reason) {
    struct steps steps;
    bnx_fd_steps_init(&steps.first, op->fd);
    bnx_fd_steps_init(&steps.second, bnx_op_second_fd(op));
    int error = run_once(self, op, reason, &steps, false);
    for (int again = 0; error == 0 && is_unasked(self, op); again++) {
        if (again == AGAIN_MAX) {
            return op->result == -ECANCELED ? -EAGAIN : op->result;
        }
        bnx_task_nap(self, AGAIN_NAP_NS);
        error = run_once(self, op, reason, &steps, true);
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

/* Rounds of waiting for the completions of ended ops that only yield; then each sleeps. As many
 * are between two times of asking. */
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

/* A close that goes on. */
struct closing {
    int fd;
    uint32_t asked_ago; /* passes since one has asked a worker; 0: it may ask */
};

/* Whether anything is still at the descriptor; who waits for readiness, and what a thread is at,
 * has been told to end. *out_has_ops: what the worker has to end. */
static bool is_busy(struct bnx_driver *driver, int fd, bool *out_has_ops) {
    struct bnx_io_driver *io = bnx_io_driver_of(driver);
    bool is_held = bnx_poller_close_fd(&io->poller, fd);
    bool is_pooled = bnx_blocking_close_fd(&io->blocking, fd);
    uint32_t count = bnx_fd_counts_get(&io->counts, fd);
    *out_has_ops = count >= (BNX_PLANT(close_asks_steps) ? BNX_FD_STEP : BNX_FD_OP) &&
                   bnx_io_ops_of(driver)->cancel_fd != NULL;
    return is_held || is_pooled || count != 0;
}

/* Has a worker end what it has in flight at the descriptor. Each op that was started there is asked
 * for by its own record, whatever the number means by now. */
static void end_ops_on(struct bnx_task *self, struct bnx_worker *worker, int fd) {
    struct close_request request = {.closer = self, .fd = fd};
    request.message.deliver = deliver_close;
    bnx_worker_send(worker, &request.message);
    (void)bnx_task_park(self, BNX_WAIT_CLOSE, (const void *)(intptr_t)fd);
}

/* One pass. Returns whether it has found anybody. What a step begins after the pass has looked is
 * asked for by the next one, unless this one has asked somebody. */
static bool end_all(struct bnx_task *self, struct closing *closing) {
    uint32_t workers = bnx_runtime_worker_count(self->runtime);
    bool may_ask = closing->asked_ago % CLOSE_YIELDS == 0;
    bool is_any = false;
    bool is_asked = false;
    for (uint32_t i = 0; i < workers; i++) {
        struct bnx_worker *worker = bnx_worker_peer(i);
        struct bnx_driver *driver = bnx_worker_driver(worker);
        bool has_ops = false;
        is_any |= is_busy(driver, closing->fd, &has_ops);
        if (has_ops && may_ask) {
            end_ops_on(self, worker, closing->fd);
            is_asked = true;
        }
    }
    closing->asked_ago = is_asked ? 1 : may_ask ? 0 : closing->asked_ago + 1;
    return is_any;
}

/* Not refused by a cancel. Ends: what is at the descriptor is ended, and further steps are refused;
 * a system call that is made there takes its time. */
static void end_all_at(struct bnx_task *self, int fd) {
    struct closing closing = {.fd = fd};
    for (uint32_t round = 0; end_all(self, &closing); round++) {
        if (round < CLOSE_YIELDS) {
            bnx_yield();
        } else {
            bnx_task_nap(self, CLOSE_NAP_NS);
        }
    }
}

int bnx_close(int fd) {
    struct bnx_task *self = bnx_task_current();
    bnx_hint_clear(fd);
    bnx_fd_closes_note(fd);
    if (self != NULL && fd >= 0 && !BNX_PLANT(close_at_once)) {
        end_all_at(self, fd);
    }
    bnx_hint_clear(fd); /* again: an op that has just ended may have set it */
    int error = bnx_os.close(fd);
    for (uint32_t i = 0; self != NULL && i < bnx_runtime_worker_count(self->runtime); i++) {
        bnx_poller_closed_fd(&bnx_io_driver_of(bnx_worker_driver(bnx_worker_peer(i)))->poller, fd);
    }
    return error;
}
