/* SPDX-License-Identifier: MIT */
/* Opening and closing scopes, counting their children, keeping their first error (scope_pvt.h). */
#include "runtime/clock.h"
#include "runtime/guest.h"
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/strand.h"
#include "runtime/timer.h"

#include <errno.h>

/* A child runs on its parent's stack only while so much of it is left. */
#define INLINE_STACK_BYTES ((size_t)64 * 1024)

const char bnx_scope_kind;
_Static_assert(offsetof(struct bnx_scope, kind) == BNX_KIND_OFFSET, "bnx_kind reads it");

static void init(struct bnx_scope *scope, struct bnx_runtime *runtime, struct bnx_task *owner) {
    scope->owner = owner;
    scope->kind = &bnx_scope_kind;
    scope->runtime = runtime;
    scope->name = NULL;
    scope->timer = NULL;
    scope->shield = NULL;
    scope->defers = NULL;
    scope->children_max = 0;
    scope->policy = BNX_SCOPE_FAIL_FAST;
    scope->children_local = 0;
    scope->word = 0;
    scope->cancel = 0;
    bnx_lock_init(bnx_scope_lock(scope));
    scope->is_linked = 0;
    scope->members = NULL;
    scope->scopes = NULL;
    scope->handles = NULL;
    scope->winner = -1;
    scope->has_surrendered = 0;
    scope->error_count = 0;
}

void bnx_scope_init_root(struct bnx_scope *root, struct bnx_runtime *runtime) {
    init(root, runtime, NULL);
    root->parent = NULL;
    root->outer = NULL;
    root->deadline_ns = BNX_NEVER_NS;
    root->grace_ns = runtime->grace_ns;
    root->class_of_tasks = BNX_CLASS_NORMAL;
    root->depth = 0;
    root->shield_depth = 0;
}

static bool are_valid(const struct bnx_scope_options *options) {
    return (unsigned)options->policy <= BNX_SCOPE_RACE &&
           (unsigned)options->task_class <= BNX_CLASS_BATCH &&
           (options->flags & ~(unsigned)BNX_SCOPE_SHIELD) == 0;
}

/* What options ask for; the scope inherits the rest already. */
static BNX_NOINLINE int apply(struct bnx_worker *worker, struct bnx_scope *scope,
                              const struct bnx_scope_options *options) {
    if (!are_valid(options)) {
        return -EINVAL;
    }
    scope->name = options->name;
    scope->policy = (uint8_t)options->policy;
    scope->children_max = options->children_max;
    if (options->task_class != BNX_CLASS_INHERIT) {
        scope->class_of_tasks = (uint8_t)options->task_class;
    }
    if (options->grace_ns != 0) {
        scope->grace_ns = options->grace_ns;
    }
    bool is_shield = (options->flags & BNX_SCOPE_SHIELD) != 0;
    if (is_shield) {
        scope->deadline_ns = BNX_NEVER_NS; /* those above are not seen in here */
    }
    /* An ancestor's earlier deadline cancels this scope as well: no timer of its own. */
    bool has_deadline = options->deadline_ns != 0 && options->deadline_ns < scope->deadline_ns;
    if (has_deadline) {
        scope->timer = bnx_timer_node_take(worker);
        if (scope->timer == NULL) {
            return -ENOMEM;
        }
        scope->deadline_ns = options->deadline_ns;
    }
    int error = is_shield ? bnx_shield_open(worker, scope) : 0;
    if (error != 0 && has_deadline) {
        bnx_timer_node_give_back(worker, scope->timer);
    }
    return error;
}

static inline int open_scope(struct bnx_scope *scope, const struct bnx_scope_options *options,
                             uint16_t depth_max) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (bnx_unlikely(self == NULL)) {
        return bnx_off_task_error();
    }
    struct bnx_scope *parent = bnx_task_scope(self);
    if (bnx_unlikely(parent->depth >= depth_max)) {
        return -EAGAIN;
    }
    init(scope, worker->runtime, self);
    scope->parent = parent;
    scope->outer = self->scope_top;
    scope->deadline_ns = parent->deadline_ns;
    scope->grace_ns = parent->grace_ns;
    scope->class_of_tasks = self->scope_top != NULL ? parent->class_of_tasks : self->class;
    scope->depth = (uint16_t)(parent->depth + 1);
    scope->shield_depth = parent->shield_depth;
    if (options != NULL) {
        int error = apply(worker, scope, options);
        if (error != 0) {
            return error;
        }
    }
    self->scope_top = scope;
    if (scope->timer != NULL) {
        bnx_timer_node_start(worker, scope->timer, BNX_TIMER_SCOPE, scope, 0, scope->deadline_ns);
    }
    return 0;
}

int bnx_scope_open(struct bnx_scope *scope, const struct bnx_scope_options *options) {
    return open_scope(scope, options, BNX_SCOPE_DEPTH_MAX);
}

int bnx_scope_open_for_defers(struct bnx_scope *scope, const struct bnx_scope_options *options) {
    return open_scope(scope, options, BNX_SCOPE_DEPTH_MAX + 1);
}

/* ---- A child ends ---- */

/* A task that gives up because it was cancelled, by whomever, has not failed. But it has not done
 * its work either, so close must not say 0, unless it was this one task that was cancelled. */
static bool is_surrender(struct bnx_scope *scope, const struct bnx_task *task, int result) {
    struct bnx_cancel_found found;
    if ((result != -ECANCELED && result != -ETIMEDOUT) ||
        !bnx_cancel_find_from(task, scope, &found) ||
        (result == -ETIMEDOUT && found.source != BNX_CANCEL_DEADLINE)) {
        return false;
    }
    if (found.task != task || scope->policy == BNX_SCOPE_RACE) {
        bnx_store_relaxed(&scope->has_surrendered, 1); /* read after the child's end: S1 */
    }
    return true;
}

static void keep_error(struct bnx_scope *scope, const struct bnx_scope_error *error) {
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    if (scope->error_count < BNX_SCOPE_ERRORS_MAX) {
        scope->errors[scope->error_count] = *error;
    }
    scope->error_count++;
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
}

static void log_error(const struct bnx_scope *scope, const struct bnx_scope_error *error) {
    bnx_runtime_log(scope->runtime, BNX_LOG_ERROR, "task %llu (%s) failed: %d",
                    (unsigned long long)error->task_id,
                    error->name != NULL ? error->name : "unnamed", error->result);
}

static void take_error(struct bnx_scope *scope, const struct bnx_scope_error *error) {
    if (scope->owner == NULL) { /* detached: told to the log, kept nowhere */
        log_error(scope, error);
        return;
    }
    keep_error(scope, error);
    if (scope->policy == BNX_SCOPE_SUPERVISE) {
        log_error(scope, error);
    } else if (scope->policy == BNX_SCOPE_FAIL_FAST) {
        bnx_scope_cancel_with(scope, BNX_CANCEL_CHILD, error->result);
    }
}

/* The first to succeed in a race. */
static BNX_NOINLINE void take_win(struct bnx_scope *scope, int result) {
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    bool is_first = scope->winner < 0;
    if (is_first) {
        scope->winner = result;
    }
    bnx_lock_release(bnx_scope_lock(scope)); /* S2 */
    if (is_first) {
        bnx_scope_cancel_with(scope, BNX_CANCEL_CHILD, 0);
    }
}

void bnx_scope_child_result(struct bnx_scope *scope, struct bnx_task *task, int result) {
    if (result >= 0) {
        take_win(scope, result);
    } else if (!is_surrender(scope, task, result)) {
        struct bnx_scope_error error = {result, task->id, task->name, task->site};
        take_error(scope, &error);
    }
}

void bnx_scope_fail(struct bnx_scope *scope, int error) {
    struct bnx_task *self = bnx_task_current();
    BNX_CHECK(error < 0 && self != NULL && self == scope->owner);
    if (!is_surrender(scope, self, error)) {
        struct bnx_scope_error record = {.result = error, .name = self->name};
        take_error(scope, &record);
    }
}

int bnx_scope_errors(const struct bnx_scope *scope, const struct bnx_scope_error **out_errors) {
    uint32_t count = scope->error_count;
    *out_errors = scope->errors;
    return (int)(count < BNX_SCOPE_ERRORS_MAX ? count : BNX_SCOPE_ERRORS_MAX);
}

uint32_t bnx_scope_error_count(const struct bnx_scope *scope) {
    return scope->error_count;
}

bool bnx_scope_count_limited(struct bnx_scope *scope) {
    int64_t before = bnx_fetch_add_relaxed(&scope->word, BNX_SCOPE_ONE); /* the spawner keeps it */
    if (before >> BNX_SCOPE_COUNT_SHIFT < (int64_t)scope->children_max) {
        return true;
    }
    /* The spawner is the opener, which does not wait now, or is counted itself: this is not the
     * decrement that anybody waits for. */
    (void)bnx_fetch_sub_relaxed(&scope->word, BNX_SCOPE_ONE);
    return false;
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
        if (bnx_unlikely(runtime->guest != NULL) && bnx_worker_current() != runtime->workers &&
            !BNX_PLANT(guest_last_is_silent)) {
            bnx_guest_wake(runtime->guest); /* its host may wait for this in bnx_runtime_wait */
        }
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
        (self->flags & BNX_TASK_FP_STATE) == 0 && !bnx_task_is_pinned(self) &&
        (!bnx_task_has_strand(self) || BNX_PLANT(strand_holds_inline)) && has_room_for(self)) {
        return child;
    }
    if (bnx_deque_push(&worker->deque, item) != 0) {
        bnx_worker_push(worker, item); /* cannot be: its slot is still there */
    }
    return NULL;
}

/* All there are. At 0 they have ended, and nobody is left who could spawn another. */
static inline int64_t children_of(const struct bnx_scope *scope) {
    int64_t word = bnx_load_acquire(&scope->word); /* S1 */
    return (word >> BNX_SCOPE_COUNT_SHIFT) + scope->children_local;
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
        bnx_worker_share_if_asked(worker);
        /* The word is looked at only where all may have ended: thieves write it. */
        if (--scope->children_local <= 0 && children_of(scope) == 0) {
            return worker;
        }
    }
}

/* From here on whoever takes the last child off wakes the opener, and nobody who is no child may
 * hold the scope any more once the last has left (bnx_scope_try_hold). */
static void seal(struct bnx_task *self, struct bnx_scope *scope) {
    int64_t local = scope->children_local;
    scope->children_local = 0;
    int64_t added = (int64_t)((uint64_t)local << BNX_SCOPE_COUNT_SHIFT) + BNX_SCOPE_WAITS;
    int64_t word = bnx_fetch_add_acq_rel(&scope->word, added); /* S1 */
    if ((word >> BNX_SCOPE_COUNT_SHIFT) + local != 0) {
        (void)bnx_task_park(self, BNX_WAIT_CHILDREN, scope);
    }
}

static inline void wait_children(struct bnx_task *self, struct bnx_scope *scope) {
    if (children_of(scope) != 0) {
        seal(self, scope);
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
    if (scope->policy == BNX_SCOPE_RACE && scope->winner >= 0) {
        return scope->winner;
    }
    if (scope->error_count != 0 && scope->policy != BNX_SCOPE_SUPERVISE) {
        return scope->errors[0].result;
    }
    uint64_t cancel = bnx_load_relaxed(&scope->cancel); /* no one else is left */
    if (cancel == 0) {
        return bnx_load_relaxed(&scope->has_surrendered) != 0 ? -ECANCELED : 0; /* as above */
    }
    return BNX_CANCEL_SOURCE(cancel) == BNX_CANCEL_DEADLINE ? -ETIMEDOUT : -ECANCELED;
}

/* What deferred functions are told: the scope's own failure, or the cancel that comes from above.
 *  */
static int reason_to_end(const struct bnx_task *self, int result) {
    struct bnx_cancel_found found;
    if (result < 0 || !bnx_cancel_find(self, &found)) {
        return result < 0 ? result : 0;
    }
    return -ECANCELED;
}

/* Deferred functions may spawn into the scope: it is opened for children once more. */
static void run_defers(struct bnx_task *self, struct bnx_scope *scope, int result) {
    if ((bnx_load_relaxed(&scope->word) & BNX_SCOPE_WAITS) != 0) { /* the opener's to set */
        /* No child is left who could see it go, and no holder: try_hold refuses until now. */
        (void)bnx_fetch_sub_acq_rel(&scope->word, BNX_SCOPE_WAITS); /* S1 */
    }
    bnx_defers_run(scope, reason_to_end(self, result));
    bnx_task_drop_unstarted(scope);
    wait_children(self, scope);
}

/* What few scopes have: deferred functions, a deadline, a shield, handles. Returns the result. */
static BNX_NOINLINE int close_extras(struct bnx_task *self, struct bnx_scope *scope, int result) {
    if (scope->defers != NULL) {
        run_defers(self, scope, result);
        result = result < 0 ? result : result_of(scope); /* what they spawned may have failed */
    }
    if (scope->timer != NULL) {
        bnx_timer_node_end(bnx_worker_current(), scope->timer);
    }
    bnx_scope_unlink(scope);
    struct bnx_worker *worker = bnx_worker_current();
    if (scope->shield != NULL) {
        bnx_shield_close(worker, scope);
        self->cancel_seen = UINT64_MAX; /* what was found clean was clean inside the shield */
    }
    free_handles(worker, scope);
    return result;
}

int bnx_scope_close(struct bnx_scope *scope) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    BNX_CHECK(self != NULL && self == scope->owner && self->scope_top == scope);
    if (bnx_unlikely(bnx_load_relaxed(&scope->handles) != NULL)) { /* the opener's own are there */
        bnx_task_drop_unstarted(scope);
    }
    if (scope->children_local > 0) {
        (void)run_children(worker, self, scope);
    }
    wait_children(self, scope);
    int result = result_of(scope);
    if (bnx_unlikely(scope->timer != NULL || scope->defers != NULL || scope->shield != NULL ||
                     scope->handles != NULL)) {
        result = close_extras(self, scope, result);
    } else {
        bnx_scope_unlink(scope);
    }
    self->scope_top = scope->outer;
    return result;
}

int bnx_timeout(uint64_t ns, bnx_task_fn fn, void *arg) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {.deadline_ns = bnx_clock_after(bnx_clock_now(), ns)};
    int error = fn == NULL ? -EINVAL : bnx_scope_open(&scope, &options);
    if (error != 0) {
        return error;
    }
    int result = fn(arg);
    (void)bnx_scope_close(
        &scope); /* it holds no task but those that fn's callees put there: none */
    return result;
}
