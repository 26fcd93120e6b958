/* SPDX-License-Identifier: MIT */
/* Running one operation, and closing descriptors that operations wait on (op.h). */
#include "io/op.h"

#include <bonxie/file.h>
#include <bonxie/runtime.h>

#include "io/hint.h"

#include <errno.h>

/* The ring's own answer to a cancel, from us by the task's scope or by bnx_close. */
static ssize_t explain_cancel(struct bnx_task *self, int32_t result) {
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    return result == -ECANCELED ? -EBADF : result;
}

ssize_t bnx_op_run(struct bnx_op *op, enum bnx_wait_reason reason) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    struct bnx_driver *driver = bnx_driver_current();
    while (!bnx_io_ops_of(driver)->make_room(driver)) { /* ends: completions make room again */
        bnx_yield();
        driver = bnx_driver_current();
    }
    error = bnx_op_begin(self);
    if (error != 0) {
        return error;
    }
    op->task = self;
    self->op = op;
    bnx_io_ops_of(driver)->start(driver, op);
    bnx_op_park(self, reason, op->fd);
    bool is_lost = BNX_PLANT(cancel_beats_success) && bnx_task_cancel_check(self) != 0;
    if (op->result == -ECANCELED || op->result == -EINTR || is_lost) {
        return explain_cancel(self, op->result);
    }
    return op->result;
}

void bnx_op_complete(struct bnx_op *op, int32_t result, uint32_t flags) {
    struct bnx_task *task = op->task;
    op->result = result;
    op->result_flags = flags;
    bnx_op_finish(task); /* the op's frame may be gone after this */
}

/* ---- Closing ---- */

/* A request to one worker to end all ops on a descriptor; in the closing task's frame. */
struct close_request {
    struct bnx_message message;
    struct bnx_op_answer answer;
    struct bnx_task *closer;
    int fd;
};

static void close_answered(struct bnx_op_answer *answer) {
    struct close_request *request = BNX_CONTAINER_OF(answer, struct close_request, answer);
    bnx_task_ready(request->closer); /* the frame may be gone after this */
}

static void deliver_close(struct bnx_worker *worker, struct bnx_message *message) {
    struct close_request *request = BNX_CONTAINER_OF(message, struct close_request, message);
    struct bnx_driver *driver = bnx_worker_driver(worker);
    bnx_io_ops_of(driver)->cancel_fd(driver, request->fd, &request->answer);
}

/* Asks until no op on the descriptor is left on that worker. Not refused by a cancel. */
static void end_ops_on(struct bnx_task *self, struct bnx_worker *worker, int fd) {
    struct bnx_driver *driver = bnx_worker_driver(worker);
    const struct bnx_io_ops *ops = bnx_io_ops_of(driver);
    while (ops->count_fd(driver, fd) !=
           0) { /* ends: no op is started on a descriptor being closed */
        struct close_request request = {.closer = self, .fd = fd};
        request.message.deliver = deliver_close;
        request.answer.done = close_answered;
        bnx_worker_send(worker, &request.message);
        (void)bnx_task_park(self, BNX_WAIT_CLOSE, (const void *)(intptr_t)fd);
        /* The answer may come before the completions of what it cancelled. */
        for (int i = 0; i < 64 && ops->count_fd(driver, fd) != 0; i++) {
            bnx_yield();
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
    return bnx_os.close(fd);
}
