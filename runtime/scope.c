/* SPDX-License-Identifier: MIT */
/* Opening and closing scopes, counting their children, keeping their first error (scope_pvt.h). */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/timer.h"

#include <errno.h>

/* A child runs on its parent's stack only while so much of it is left. */
#define INLINE_STACK_BYTES ((size_t)64 * 1024)

const char bnx_scope_kind;

static void init(struct bnx_scope *scope, struct bnx_runtime *runtime, struct bnx_task *owner) {
    scope->owner = owner;
    scope->runtime = runtime;
    scope->name = NULL;
    scope->timer = NULL;
    scope->children_local = 0;
    scope->word = 0;
    scope->cancel = 0;
    bnx_lock_init(bnx_scope_lock(scope));
    scope->is_linked = 0;
    scope->members = NULL;
    scope->scopes = NULL;
    scope->handles = NULL;
    scope->kind = &bnx_scope_kind;
    scope->shield = NULL;
    scope->defers = NULL;
    scope->children_max = 0;
    scope->policy = BNX_SCOPE_FAIL_FAST;
    scope->winner = -1;
    scope->error_count = 0;
}

void bnx_scope_init_root(struct bnx_scope *root, struct bnx_runtime *runtime) {
    init(root, runtime, NULL);
    root->parent = NULL;
    root->outer = NULL;
    root->deadline_ns = BNX_NEVER_NS;
    root->grace_ns = runtime->grace_ns;
    root->class_of_tasks = BNX_CLASS_NORMAL;
}

int bnx_scope_open(struct bnx_scope *scope, const struct bnx_scope_options *options) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (bnx_unlikely(self == NULL)) {
        return bnx_off_task_error();
    }
    init(scope, worker->runtime, self);
    scope->parent = bnx_task_scope(self);
    scope->outer = self->scope_top;
    scope->deadline_ns = scope->parent->deadline_ns;
    scope->grace_ns = scope->parent->grace_ns;
    scope->class_of_tasks = scope->parent->class_of_tasks;
    if (options != NULL) {
        scope->name = options->name;
        /* An ancestor's earlier deadline cancels this scope as well: no timer of its own. */
        if (options->deadline_ns != 0 && options->deadline_ns < scope->deadline_ns) {
            scope->timer = bnx_timer_node_take(worker);
            if (scope->timer == NULL) {
                return -ENOMEM;
            }
            scope->deadline_ns = options->deadline_ns;
        }
    }
    self->scope_top = scope;
    if (scope->timer != NULL) {
        bnx_timer_node_start(worker, scope->timer, BNX_TIMER_SCOPE, scope, 0, scope->deadline_ns);
    }
    return 0;
}

/* ---- A child ends ---- */

void bnx_scope_child_result(struct bnx_scope *scope, struct bnx_task *task, int result) {
    bool is_detached = scope->owner == NULL;
    /* A child that gives up because it, or its scope, was cancelled has not failed. */
    if (result == -ECANCELED && (bnx_load_relaxed(&scope->cancel) != 0 || /* only flags */
                                 bnx_load_relaxed(&task->cancel) != 0)) {
        return;
    }
    if (is_detached) {
        bnx_runtime_log(scope->runtime, BNX_LOG_ERROR, "task %llu (%s) failed: %d",
                        (unsigned long long)task->id, task->name != NULL ? task->name : "unnamed",
                        result);
        return;
    }
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    if (scope->error_count == 0) {
        scope->errors[0].result = result;
    }
    scope->error_count++;
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    bnx_scope_cancel_with(scope, result, 0);
}

void bnx_scope_child_left(struct bnx_scope *scope) {
    struct bnx_task *owner = scope->owner; /* before the decrement: it is the last touch */
    struct bnx_runtime *runtime = scope->runtime;
    int64_t before = bnx_fetch_sub_acq_rel(&scope->word, BNX_SCOPE_ONE); /* S1 */
    if (before >> BNX_SCOPE_COUNT_SHIFT != 1) {
        return;
    }
    if ((before & BNX_SCOPE_WAITS) != 0) {
        bnx_task_ready(owner);
    } else if (owner == NULL) {
        /* The runtime outlives its root scope's children: bnx_runtime_destroy looks at the word. */
        (void)bnx_fetch_add_seq_cst(&runtime->root_empty, 1); /* R2 */
        (void)bnx_os.futex_wake(&runtime->root_empty, INT32_MAX);
    }
}

int64_t bnx_scope_root_children(const struct bnx_scope *root) {
    return bnx_load_seq_cst(&root->word) >> BNX_SCOPE_COUNT_SHIFT; /* R1 S1 */
}

/* ---- Closing ---- */

static bool has_room_for(const struct bnx_task *self) {
    char *here = __builtin_frame_address(0);
    return (size_t)(here - self->stack->low) >= INLINE_STACK_BYTES;
}

/* Takes the newest descriptor if it is a child of this scope that may run on this stack. It is
 * popped before it is looked at: until then a thief may have it. */
static struct bnx_task *take_inline_child(struct bnx_worker *worker, struct bnx_task *self,
                                          struct bnx_scope *scope) {
    void *item = bnx_deque_pop(&worker->deque);
    if (item == NULL) {
        return NULL;
    }
    const unsigned special = BNX_TASK_OWN_STACK | BNX_TASK_FP_STATE;
    struct bnx_task *child = item;
    if (!bnx_item_is_fork(item) && child->scope == scope && (child->flags & special) == 0 &&
        (self->flags & BNX_TASK_FP_STATE) == 0 && !bnx_task_is_pinned(self) && has_room_for(self)) {
        return child;
    }
    if (bnx_deque_push(&worker->deque, item) != 0) {
        bnx_worker_push(worker, item); /* cannot be: its slot is still there */
    }
    return NULL;
}

/* Runs unstarted children on this stack, newest first, until one does not fit or others wait for
 * the worker; the rest is flushed when the caller parks. */
static struct bnx_worker *run_children(struct bnx_worker *worker, struct bnx_task *self,
                                       struct bnx_scope *scope) {
    for (;;) { /* ends: one descriptor fewer each round */
        if (bnx_unlikely(worker->budget <= 0)) {
            if (bnx_worker_wants_turn(worker)) {
                return worker;
            }
            worker->budget = BNX_BUDGET;
        }
        struct bnx_task *child = take_inline_child(worker, self, scope);
        if (child == NULL) {
            return worker;
        }
        worker->budget--;
        worker->tick++;
        bnx_store_relaxed(&worker->heartbeat, worker->heartbeat + 1); /* for the watchdog */
        worker = bnx_task_run_inline(worker, self, child);
        scope->children_local--;
    }
}

static void wait_for_children(struct bnx_task *self, struct bnx_scope *scope) {
    int64_t local = scope->children_local;
    scope->children_local = 0;
    int64_t word = bnx_load_acquire(&scope->word); /* S1 */
    if ((word >> BNX_SCOPE_COUNT_SHIFT) + local == 0) {
        return; /* all have ended, and nobody is left who could spawn another */
    }
    int64_t added = (int64_t)((uint64_t)local << BNX_SCOPE_COUNT_SHIFT) + BNX_SCOPE_WAITS;
    word = bnx_fetch_add_acq_rel(&scope->word, added); /* S1 */
    if ((word >> BNX_SCOPE_COUNT_SHIFT) + local != 0) {
        (void)bnx_task_park(self, BNX_WAIT_CHILDREN, scope);
    }
}

static void free_handles(struct bnx_worker *worker, struct bnx_scope *scope) {
    struct bnx_task *task = scope->handles;
    while (task != NULL) {
        struct bnx_task *next = task->handle_next;
        bnx_task_free(worker, task);
        task = next;
    }
}

static int result_of(const struct bnx_scope *scope) {
    if (scope->error_count != 0) {
        return scope->errors[0].result;
    }
    uint64_t cancel = bnx_load_relaxed(&scope->cancel); /* no one else is left */
    if (cancel == 0) {
        return 0;
    }
    return (cancel & BNX_CANCEL_DEADLINE) != 0 ? -ETIMEDOUT : -ECANCELED;
}

int bnx_scope_close(struct bnx_scope *scope) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    BNX_CHECK(self != NULL && self == scope->owner && self->scope_top == scope);
    if (scope->children_local > 0) {
        worker = run_children(worker, self, scope);
    }
    wait_for_children(self, scope);
    worker = bnx_worker_current();
    if (bnx_unlikely(scope->timer != NULL)) {
        bnx_timer_node_end(worker, scope->timer);
    }
    bnx_scope_unlink(scope);
    if (bnx_unlikely(scope->handles != NULL)) {
        free_handles(worker, scope);
    }
    self->scope_top = scope->outer;
    return result_of(scope);
}
