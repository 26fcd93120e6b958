/* SPDX-License-Identifier: MIT */
/* Making tasks: filling a descriptor, counting it in its scope, handing it to the queues. */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/waitq.h"

#include <errno.h>
#include <string.h>

#define SPAWN_COPY_BYTES_MAX 65536

void bnx_task_free(struct bnx_worker *worker, struct bnx_task *task) {
    bnx_store_relaxed(&task->id, 0); /* dumps skip it */
    bnx_pool_put(&task->runtime->tasks, worker != NULL ? &worker->tasks : NULL, task);
}

/* Ids are unique without a shared counter: each worker counts in steps. */
static uint64_t next_id(struct bnx_runtime *runtime, struct bnx_worker *worker) {
    uint64_t step = runtime->worker_count + 1;
    if (worker == NULL) {
        return bnx_fetch_add_relaxed(&runtime->foreign_id_next, step); /* only unique */
    }
    uint64_t id = worker->id_next;
    worker->id_next += step;
    return id;
}

/* Everything of a descriptor but its wait word, which counts on through all its lives. */
static inline void fill(struct bnx_task *task, struct bnx_runtime *runtime,
                        struct bnx_worker *worker, struct bnx_scope *scope, bnx_task_fn fn,
                        void *arg, const void *site) {
    task->waitable.ops = &bnx_task_ops;
    task->stack = NULL;
    task->fn = fn;
    task->arg = arg;
    task->runtime = runtime;
    task->scope = scope;
    task->scope_top = NULL;
    task->on_cpu = 0;
    task->cancel = 0;
    bnx_store_relaxed(&task->name, NULL); /* these two for reports */
    bnx_store_relaxed(&task->site, site);
    bnx_store_relaxed(&task->scope_name, scope->name); /* as these */
    task->cancel_seen = 0;
    task->pin_count = 0;
    task->stack_class = runtime->stack_class;
    bnx_store_relaxed(&task->flags, 0); /* a stopping runtime looks at the flags of all */
    task->is_linked = 0;
    bnx_store_relaxed(&task->class, scope->class_of_tasks); /* for reports, as the next two */
    task->locals = NULL;
    bnx_store_relaxed(&task->state, (uint8_t)BNX_TASK_NEW);
    bnx_store_relaxed(&task->id, next_id(runtime, worker));
}

/* Inlined where a task spawns, and in bnx_task_make. */
static BNX_ALWAYS_INLINE struct bnx_task *make(struct bnx_runtime *runtime,
                                               struct bnx_worker *worker, struct bnx_scope *scope,
                                               bnx_task_fn fn, void *arg, const void *site,
                                               int *out_error) {
    struct bnx_task *task =
        bnx_pool_get(&runtime->tasks, worker != NULL ? &worker->tasks : NULL, out_error);
    if (task != NULL) {
        fill(task, runtime, worker, scope, fn, arg, site);
    }
    return task;
}

struct bnx_task *bnx_task_make(struct bnx_runtime *runtime, struct bnx_worker *worker,
                               struct bnx_scope *scope, bnx_task_fn fn, void *arg, const void *site,
                               int *out_error) {
    return make(runtime, worker, scope, fn, arg, site, out_error);
}

static void add_flags(struct bnx_task *task, unsigned flags) {
    bnx_store_relaxed(&task->flags, (uint8_t)(task->flags | flags)); /* as in fill */
}

bool bnx_task_renew(struct bnx_worker *worker, struct bnx_task *task) {
    struct bnx_runtime *runtime = task->runtime;
    (void)bnx_fetch_add_seq_cst(&runtime->root.word, BNX_SCOPE_ONE); /* R1 S1 */
    if (bnx_load_seq_cst(&runtime->phase) != BNX_PHASE_RUNNING) {    /* R1, as bnx_spawn_root */
        bnx_scope_child_left(&runtime->root);
        return false;
    }
    fill(task, runtime, worker, &runtime->root, task->fn, task->arg, task->site);
    task->joiners = 0;
    bnx_store_relaxed(&task->flags, (uint8_t)BNX_TASK_KEEP_HANDLE); /* as in fill */
    return true;
}

/* A spawned task goes where it is cheapest: the spawner's deque, from which its scope's close takes
 * it, a thief steals it, or the next suspension moves it to the runq. */
static BNX_ALWAYS_INLINE void submit(struct bnx_worker *worker, struct bnx_task *task) {
    if (worker == NULL) {
        bnx_task_ready(task);
        return;
    }
    bnx_counter_bump(&worker->counters.spawned);
    if (bnx_unlikely(!bnx_task_is_ordinary(task))) {
        bnx_task_ready(task);
        return;
    }
    if (bnx_unlikely(bnx_deque_push(&worker->deque, task) != 0)) {
        bnx_worker_push(worker, task); /* no memory for a larger array */
        return;
    }
    uint32_t unstarted = bnx_deque_count(&worker->deque);
    if (bnx_unlikely(unstarted >= BNX_DEQUE_FLUSH_AT)) {
        bnx_worker_flush_half(worker);
    }
    bnx_worker_share_if_asked(worker);
    /* A single child is most often run inline at once, or flushed, which wakes. */
    if (unstarted > 1) {
        bnx_worker_wake_one(worker);
    }
}

/* Counts one unit of the spawner's slice; a spawn never suspends, so the debt is paid later. */
static inline void spend_spawn(struct bnx_worker *worker) {
    if (worker->budget > 0) {
        worker->budget--;
    }
}

static inline void count_child(struct bnx_scope *scope, const struct bnx_task *self) {
    if (bnx_unlikely(scope->children_max != 0)) {
        return; /* counted when it was admitted */
    }
    if (scope->owner == self && self != NULL) {
        scope->children_local++;
    } else {
        (void)bnx_fetch_add_relaxed(&scope->word, BNX_SCOPE_ONE); /* the spawner keeps it above 0 */
    }
}

/* Whether a cancel has reached a scope, be it the spawner's own, one around it, or one that he
 * holds. */
static bool is_cancelled(const struct bnx_scope *scope) {
    struct bnx_cancel_found found;
    return bnx_cancel_find_from(scope->owner, scope, &found);
}

/* The usual case, one's own scope: it is clean when the caller is. */
static inline bool refuses(struct bnx_task *self, const struct bnx_scope *scope) {
    if (bnx_likely(scope == bnx_task_scope(self)) && bnx_task_cancel_check(self) == 0) {
        return false;
    }
    return is_cancelled(scope);
}

/* The checks that all spawns from a task share. Returns 0 with the scope to use. */
static inline int admit_spawn(struct bnx_task *self, struct bnx_scope **scope, bnx_task_fn fn) {
    if (bnx_unlikely(self == NULL)) {
        return bnx_off_task_error();
    }
    if (bnx_unlikely(fn == NULL)) {
        return -EINVAL;
    }
    if (*scope == NULL) {
        *scope = &self->runtime->root;
        if (bnx_load_relaxed(&self->runtime->phase) !=
            BNX_PHASE_RUNNING) { /* a late one is refused */
            return -ESHUTDOWN;
        }
    }
    if (bnx_unlikely((*scope)->runtime != self->runtime)) {
        return -EINVAL; /* its cancels are not seen over here */
    }
    if (bnx_unlikely(refuses(self, *scope)) && !BNX_PLANT(spawn_into_cancelled)) {
        return (*scope)->owner == NULL ? -ESHUTDOWN : -ECANCELED; /* a stop cancels the root */
    }
    if (bnx_unlikely((*scope)->children_max != 0) && !bnx_scope_count_limited(*scope)) {
        return -EAGAIN;
    }
    return 0;
}

/* The spawn was admitted and cannot go on. Returns error. */
static BNX_COLD int give_up(struct bnx_scope *scope, int error) {
    if (scope->children_max != 0) {
        bnx_scope_child_left(scope);
    }
    return error;
}

static BNX_COLD struct bnx_task *inherit(struct bnx_worker *worker, const struct bnx_task *self,
                                         struct bnx_task *task, int *out_error) {
    if (task == NULL) {
        return NULL; /* *out_error says why */
    }
    int error = bnx_locals_inherit(self, task);
    if (error == 0) {
        return task;
    }
    bnx_task_free(worker, task);
    *out_error = error;
    return NULL;
}

/* bnx_task_make for a child of self, which passes its task-local values on. */
static BNX_ALWAYS_INLINE struct bnx_task *make_child(struct bnx_worker *worker,
                                                     struct bnx_scope *scope, bnx_task_fn fn,
                                                     void *arg, const void *site, int *out_error) {
    const struct bnx_task *self = worker->current;
    struct bnx_task *task = make(worker->runtime, worker, scope, fn, arg, site, out_error);
    if (bnx_unlikely(self->locals != NULL)) {
        return inherit(worker, self, task, out_error);
    }
    return task;
}

int bnx_spawn(struct bnx_scope *scope, bnx_task_fn fn, void *arg) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    int refused = admit_spawn(self, &scope, fn);
    if (bnx_unlikely(refused != 0)) {
        return refused;
    }
    int error = 0;
    struct bnx_task *task = make_child(worker, scope, fn, arg, __builtin_return_address(0), &error);
    if (bnx_unlikely(task == NULL)) {
        return give_up(scope, error);
    }
    count_child(scope, self);
    spend_spawn(worker);
    submit(worker, task);
    return 0;
}

int bnx_spawn_copy(struct bnx_scope *scope, bnx_task_fn fn, const void *arg, size_t arg_bytes) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (arg_bytes > SPAWN_COPY_BYTES_MAX || (arg == NULL && arg_bytes != 0)) {
        return -EINVAL;
    }
    int error = admit_spawn(self, &scope, fn);
    if (error != 0) {
        return error;
    }
    void *heap = NULL;
    if (arg_bytes > BNX_TASK_ARG_BYTES) {
        heap = bnx_os.allocate(arg_bytes, _Alignof(max_align_t));
        if (heap == NULL) {
            return give_up(scope, -ENOMEM);
        }
    }
    struct bnx_task *task =
        make_child(worker, scope, fn, heap, __builtin_return_address(0), &error);
    if (task == NULL) {
        bnx_os.release(heap);
        return give_up(scope, error);
    }
    if (heap == NULL) {
        task->arg = task->copy;
    } else {
        add_flags(task, BNX_TASK_ARG_HEAP);
    }
    if (arg_bytes != 0) {
        memcpy(task->arg, arg, arg_bytes);
    }
    count_child(scope, self);
    spend_spawn(worker);
    submit(worker, task);
    return 0;
}

/* The scope keeps the descriptors of its handles until it closes; the root scope never closes, so
 * there two parties hold one: the task until its end, the caller until join or detach. */
static void keep_handle(struct bnx_scope *scope, struct bnx_task *task) {
    task->joiners = 0;
    add_flags(task, BNX_TASK_KEEP_HANDLE);
    if (scope->owner == NULL) {
        add_flags(task, BNX_TASK_ROOT_HANDLE);
        bnx_store_relaxed(&task->handle_count,
                          BNX_PLANT(handle_not_counted) ? 1 : 2); /* not shared */
        return;
    }
    bnx_lock_acquire(bnx_scope_lock(scope)); /* S2 */
    task->handle_next = scope->handles;
    bnx_store_relaxed(&scope->handles, (void *)task); /* its close looks whether there is any */
    bnx_lock_release(bnx_scope_lock(scope));          /* S2 */
}

static int check_options(const struct bnx_runtime *runtime,
                         const struct bnx_spawn_options *options) {
    const unsigned known = BNX_SPAWN_PINNED | BNX_SPAWN_FP_STATE;
    if ((options->flags & ~known) != 0 || (unsigned)options->stack > BNX_STACK_CLASSES ||
        (unsigned)options->start > BNX_START_MANUAL ||
        (unsigned)options->task_class > BNX_CLASS_BATCH) {
        return -EINVAL;
    }
    bool is_pinned = (options->flags & BNX_SPAWN_PINNED) != 0;
    return is_pinned && options->worker >= runtime->worker_count ? -EINVAL : 0;
}

static void apply_options(struct bnx_task *task, const struct bnx_spawn_options *options) {
    bnx_store_relaxed(&task->name, options->name); /* for reports */
    if (options->stack != BNX_STACK_DEFAULT) {
        task->stack_class = (uint8_t)options->stack;
        add_flags(task, BNX_TASK_OWN_STACK);
    }
    if ((options->flags & BNX_SPAWN_PINNED) != 0) {
        task->worker = (uint16_t)options->worker;
        add_flags(task, BNX_TASK_PINNED);
    }
    if ((options->flags & BNX_SPAWN_FP_STATE) != 0) {
        add_flags(task, BNX_TASK_FP_STATE);
    }
    if (options->task_class != BNX_CLASS_INHERIT) {
        bnx_store_relaxed(&task->class, (uint8_t)options->task_class); /* for reports */
    }
}

/* A scope's close drops what was not started: whoever spawns that must have ended by then, so it is
 * the opener; the root scope's are dropped by the runtime's stop. */
static int check_manual(const struct bnx_task *self, const struct bnx_scope *scope) {
    return scope->owner == NULL || scope->owner == self ? 0 : -EPERM;
}

/* Nobody has the task until bnx_task_start, or the one that drops it, takes it (T5). */
static int leave_unstarted(struct bnx_worker *worker, struct bnx_task *task,
                           struct bnx_task **out_task) {
    uint64_t sequence = bnx_wait_next_sequence(task);
    bool is_root = (task->flags & BNX_TASK_ROOT_HANDLE) != 0;
    add_flags(task, BNX_TASK_MANUAL);
    bnx_counter_bump(&worker->counters.spawned);
    bnx_store_seq_cst(&task->wait, BNX_WAIT_WORD(sequence, BNX_WAIT_UNSTARTED));   /* T5 */
    if (is_root && bnx_load_seq_cst(&task->runtime->phase) != BNX_PHASE_RUNNING && /* T5 R1 */
        !BNX_PLANT(manual_no_phase)) {
        (void)bnx_task_drop(task); /* or the stop has */
        bnx_task_drop_handle(worker, task);
        return -ESHUTDOWN;
    }
    *out_task = task;
    return 0;
}

int bnx_spawn_with(struct bnx_scope *scope, const struct bnx_spawn_options *options, bnx_task_fn fn,
                   void *arg, struct bnx_task **out_task) {
    static const struct bnx_spawn_options defaults;
    const struct bnx_spawn_options *chosen = options != NULL ? options : &defaults;
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    int error = admit_spawn(self, &scope, fn);
    if (error != 0) {
        return error;
    }
    bool is_manual = chosen->start == BNX_START_MANUAL;
    error = check_options(worker->runtime, chosen);
    if (error == 0 && is_manual) {
        error = out_task == NULL ? -EINVAL : check_manual(self, scope);
    }
    if (error != 0) {
        return give_up(scope, error);
    }
    struct bnx_task *task = make_child(worker, scope, fn, arg, __builtin_return_address(0), &error);
    if (task == NULL) {
        return give_up(scope, error);
    }
    apply_options(task, chosen);
    count_child(scope, self);
    spend_spawn(worker);
    if (out_task != NULL) {
        keep_handle(scope, task);
    }
    if (is_manual) {
        return leave_unstarted(worker, task, out_task);
    }
    submit(worker, task);
    if (out_task != NULL) {
        *out_task = task;
    }
    return 0;
}

int bnx_spawn_root(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg, const void *site) {
    struct bnx_worker *worker = bnx_worker_current();
    if (worker != NULL && (worker->runtime != runtime || worker->current == NULL)) {
        worker = NULL;
    }
    int error = 0;
    (void)bnx_fetch_add_seq_cst(&runtime->root.word, BNX_SCOPE_ONE); /* R1 S1 */
    /* Counted first, then the phase is read: a stop either sees the child or refuses it. */
    if (bnx_load_seq_cst(&runtime->phase) != BNX_PHASE_RUNNING) { /* R1 */
        error = -ESHUTDOWN;
    }
    struct bnx_task *task = NULL;
    if (error == 0) {
        task = bnx_task_make(runtime, worker, &runtime->root, fn, arg, site, &error);
    }
    if (task == NULL) {
        bnx_scope_child_left(&runtime->root);
        return error;
    }
    submit(worker, task);
    return 0;
}
