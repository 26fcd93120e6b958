/* SPDX-License-Identifier: MIT */
/*
 * What the holder of a task handle, and the task itself, may ask and do (bonxie/task.h).
 *
 * Ordering
 *   H1 root handle  the task and the holder each take one off handle_count, fetch_sub acq_rel; who
 *                   comes last finds what the other wrote, and frees.
 */
#include "runtime/guest.h"
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

void bnx_task_drop_handle(struct bnx_worker *worker, struct bnx_task *task) {
    if (worker != NULL && worker->runtime != task->runtime) {
        worker = NULL; /* a task of another runtime joined it */
    }
    if (bnx_fetch_sub_acq_rel(&task->handle_count, 1) == 1) { /* H1 */
        bnx_task_free(worker, task);
    }
}

void bnx_task_finish_handle(struct bnx_worker *worker, struct bnx_task *task) {
    bool is_root = (task->flags & BNX_TASK_ROOT_HANDLE) != 0;
    (void)bnx_waitq_complete(joiners_of(task), task->result);
    if (is_root) {
        bnx_task_drop_handle(worker, task);
    }
}

/* The host of a guest, outside of a poll: asleep here it would run the task never. */
static bool waits_for_itself(struct bnx_task *task) {
    const struct bnx_guest *guest = task->runtime->guest;
    return bnx_unlikely(guest != NULL) && bnx_task_current() == NULL &&
           !bnx_waitq_is_done(joiners_of(task)) && bnx_guest_is_host(guest);
}

int bnx_join(struct bnx_task *task, int *out_result) {
    if (task == bnx_task_current()) {
        return -EDEADLK;
    }
    if (waits_for_itself(task)) {
        return -EDEADLK;
    }
    bool is_root = (task->flags & BNX_TASK_ROOT_HANDLE) != 0;
    int error = bnx_wait_once(joiners_of(task), BNX_WAIT_JOIN, task);
    if (error != 0) {
        return error;
    }
    if (out_result != NULL) {
        *out_result = task->result;
    }
    if (is_root) {
        bnx_task_drop_handle(bnx_worker_current(), task);
    }
    return 0;
}

void bnx_task_detach(struct bnx_task *task) {
    BNX_CHECK((task->flags & BNX_TASK_ROOT_HANDLE) != 0);
    struct bnx_worker *worker = bnx_worker_current();
    if ((task->flags & BNX_TASK_MANUAL) == 0) {
        bnx_task_drop_handle(worker, task);
        return;
    }
    struct bnx_runtime *runtime = task->runtime;
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3: it may be the last task */
    (void)bnx_task_drop(task);
    bnx_task_drop_handle(worker, task);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3: the last touch */
}

/* ---- Tasks that wait for bnx_task_start ---- */

/* One CAS decides who has an unstarted task: the one that starts it, or one that drops it (T5). */
static bool claim_unstarted(struct bnx_task *task, uint64_t word) {
    uint64_t idle = BNX_WAIT_WORD(BNX_WAIT_SEQUENCE(word), BNX_WAIT_IDLE);
    bool is_unstarted = BNX_WAIT_STATE(word) == BNX_WAIT_UNSTARTED ||
                        (BNX_PLANT(manual_start_any) && BNX_WAIT_STATE(word) == BNX_WAIT_WAITING);
    return is_unstarted && bnx_cas_acq_rel(&task->wait, &word, idle); /* T5 */
}

int bnx_task_start(struct bnx_task *task) {
    if (bnx_runtime_is_forked(task->runtime)) {
        return -ECHILD;
    }
    if (!claim_unstarted(task, bnx_load_seq_cst(&task->wait))) { /* T5 */
        return -EALREADY;
    }
    bnx_task_ready(task);
    return 0;
}

/* The caller has claimed it. */
static void drop(struct bnx_task *task) {
    struct bnx_runtime *runtime = task->runtime;
    struct bnx_scope *scope = task->scope;
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3: it may be the last task */
    bnx_runtime_log(runtime, BNX_LOG_WARNING, "task %llu (%s) created but never started, at %p",
                    (unsigned long long)task->id, task->name != NULL ? task->name : "unnamed",
                    task->site);
    if (task->locals != NULL) {
        bnx_locals_end(task);
    }
    task->result = -ECANCELED;
    bnx_store_relaxed(&task->state, (uint8_t)BNX_TASK_DONE); /* for reports */
    bnx_task_finish_handle(bnx_worker_current(), task);
    bnx_scope_child_left(scope);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3: the last touch */
}

bool bnx_task_drop(struct bnx_task *task) {
    bool is_ours = claim_unstarted(task, bnx_load_seq_cst(&task->wait)); /* T5 */
    if (is_ours) {
        drop(task);
    }
    return is_ours;
}

void bnx_task_drop_unstarted(struct bnx_scope *scope) {
    /* Others may put their handles before these meanwhile; none of them is unstarted. */
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    struct bnx_task *task = scope->handles;
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    for (; task != NULL; task = task->handle_next) {
        (void)bnx_task_drop(task);
    }
}

static int drop_of_root(void *object, void *arg) {
    struct bnx_task *task = object;
    (void)arg;
    /* The flags are those of the task that the wait word tells of, or the CAS fails. */
    uint64_t word = bnx_load_seq_cst(&task->wait); /* T5 */
    if (BNX_WAIT_STATE(word) == BNX_WAIT_UNSTARTED &&
        (bnx_load_relaxed(&task->flags) & BNX_TASK_ROOT_HANDLE) != 0 && /* as above */
        claim_unstarted(task, word)) {
        drop(task);
    }
    return 0;
}

/* They are in no list. A stop is rare, so it looks at all descriptors. */
void bnx_runtime_drop_unstarted(struct bnx_runtime *runtime) {
    (void)bnx_fetch_add_seq_cst(&runtime->foreign_wakers, 1); /* R3: it may drop the last task */
    (void)bnx_pool_foreach(&runtime->tasks, drop_of_root, NULL);
    (void)bnx_fetch_sub_seq_cst(&runtime->foreign_wakers, 1); /* R3: the last touch */
}

/* ---- What one may ask of a task, and it of itself ---- */

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

enum bnx_class bnx_task_class(const struct bnx_task *task) {
    return (enum bnx_class)bnx_load_relaxed(&task->class); /* immutable while the handle is valid */
}

const char *bnx_task_name(const struct bnx_task *task) {
    return bnx_load_relaxed(&task->name); /* for reports */
}

size_t bnx_task_stack_used(const struct bnx_task *task) {
    return task->stack != NULL ? bnx_stack_used(task->stack) : 0;
}

/* The frames that the trim itself needs, down to the system call. */
#define TRIM_FRAMES_BYTES 1024

void bnx_task_stack_trim(void) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    struct bnx_stack *stack = bnx_stack_find(here);
    if (stack != NULL && !BNX_PLANT(stack_trims_nothing)) {
        bnx_stack_trim_below(stack, here - TRIM_FRAMES_BYTES);
    }
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
