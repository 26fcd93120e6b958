/* SPDX-License-Identifier: MIT */
/*
 * What the holder of a task handle, and the task itself, may ask and do (bonxie/task.h).
 *
 * Ordering
 *   H1 root handle  the task and the holder each take one off handle_count, fetch_sub acq_rel; who
 *                   comes last finds what the other wrote, and frees.
 */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/wait_once.h"

#include <errno.h>

static struct bnx_waitq *joiners_of(struct bnx_task *task) {
    return (struct bnx_waitq *)(void *)&task->joiners;
}

/* ---- A task as a waitable: done when its function has returned ---- */

static struct bnx_task *task_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_task, waitable);
}

static bool take_result(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct bnx_task *task = task_of(waitable);
    if (!bnx_waitq_is_done(joiners_of(task))) {
        return false;
    }
    *out_result = task->result;
    return true;
}

static bool add_joiner(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    return bnx_waitq_add(joiners_of(task_of(waitable)), waiter);
}

static void remove_joiner(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    bnx_waitq_remove(joiners_of(task_of(waitable)), waiter);
}

const struct bnx_waitable_ops bnx_task_ops = {
    .take = take_result,
    .add = add_joiner,
    .remove = remove_joiner,
    .name = "task",
};

struct bnx_waitable *bnx_task_waitable(struct bnx_task *task) {
    return &task->waitable;
}

static void drop_root_handle(struct bnx_worker *worker, struct bnx_task *task) {
    if (bnx_fetch_sub_acq_rel(&task->handle_count, 1) == 1) { /* H1 */
        bnx_task_free(worker, task);
    }
}

void bnx_task_finish_handle(struct bnx_worker *worker, struct bnx_task *task) {
    bool is_root = (task->flags & BNX_TASK_ROOT_HANDLE) != 0;
    (void)bnx_waitq_complete(joiners_of(task), task->result, NULL, NULL);
    if (is_root) {
        drop_root_handle(worker, task);
    }
}

int bnx_join(struct bnx_task *task, int *out_result) {
    if (task == bnx_task_current()) {
        return -EDEADLK;
    }
    int error = bnx_wait_once(joiners_of(task), BNX_WAIT_JOIN, task);
    if (error != 0) {
        return error;
    }
    if (out_result != NULL) {
        *out_result = task->result;
    }
    if ((task->flags & BNX_TASK_ROOT_HANDLE) != 0) {
        drop_root_handle(bnx_worker_current(), task);
    }
    return 0;
}

void bnx_task_detach(struct bnx_task *task) {
    BNX_CHECK((task->flags & BNX_TASK_ROOT_HANDLE) != 0);
    drop_root_handle(bnx_worker_current(), task);
}

struct bnx_task *bnx_task_self(void) {
    return bnx_task_current();
}

uint64_t bnx_task_id(const struct bnx_task *task) {
    return bnx_load_relaxed(&task->id); /* immutable while the handle is valid */
}

enum bnx_task_state bnx_task_state(const struct bnx_task *task) {
    return (enum bnx_task_state)bnx_load_relaxed(&task->state); /* a snapshot */
}

void bnx_task_name_set(const char *name) {
    struct bnx_task *self = bnx_task_current();
    if (self != NULL) {
        bnx_store_relaxed(&self->name, name); /* for reports */
    }
}

const char *bnx_task_name(const struct bnx_task *task) {
    return bnx_load_relaxed(&task->name); /* for reports */
}

size_t bnx_task_stack_used(const struct bnx_task *task) {
    return task->stack != NULL ? bnx_stack_used(task->stack) : 0;
}

void bnx_pin_begin(void) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (self == NULL) {
        return;
    }
    BNX_CHECK(self->pin_count < UINT16_MAX);
    if (self->pin_count++ == 0) {
        self->worker = (uint16_t)worker->index;
    }
}

void bnx_pin_end(void) {
    struct bnx_task *self = bnx_task_current();
    if (self != NULL) {
        BNX_CHECK(self->pin_count > 0);
        self->pin_count--;
    }
}
