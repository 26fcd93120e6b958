/* SPDX-License-Identifier: MIT */
/*
 * Running tasks: the one place where stacks are switched, and what happens before and after it.
 *
 * Every switch goes through switch_stacks, inlined where a task leaves its worker; the first
 * thing on the other side is finish_switch, which releases the task that was left (T1) and frees a
 * stack that ended. Between the two the thread's carrier remembers what was left.
 */
#include "runtime/runtime_pvt.h"
#include "runtime/strand.h"
#include "runtime/suspension.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* The worker of this OS thread. initial-exec: one load relative to the thread pointer, also in a
 * shared library (8 bytes fit the reserve that the loader keeps for libraries opened late). */
__thread struct bnx_worker *bnx_worker_tls;

struct bnx_task *bnx_task_current(void) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL ? worker->current : NULL;
}

/* In a fork child the parent's workers do not exist: the one thread that is left runs no task, even
 * if it was a worker that called fork. Written by the atfork handler alone, before anything else
 * runs. */
static bool is_fork_child;

static void forget_worker(void) {
    bnx_worker_tls = NULL;
    is_fork_child = true;
}

int bnx_task_hook_fork(void) {
    static uint32_t is_hooked;
    if (bnx_exchange_acq_rel(&is_hooked, 1) != 0) { /* T4: once in a process */
        return 0;
    }
    return -pthread_atfork(NULL, NULL, forget_worker);
}

int bnx_off_task_error(void) {
    return is_fork_child ? -ECHILD : -EPERM;
}

void bnx_worker_bind(struct bnx_worker *worker) {
    bnx_worker_tls = worker;
}

/* errno's address is cached over switches just like any thread-local's, so each carrier keeps its
 * own thread's. A thread without one, of the offload pool, asks anew. */
static BNX_NOINLINE int *errno_location(void) {
    return &errno;
}

static inline int errno_get(const struct bnx_worker *worker) {
    return *worker->carrier.errno_location;
}

static inline void errno_put(const struct bnx_worker *worker, int value) {
    if (BNX_PLANT(task_errno_stays)) {
        return;
    }
    *(bnx_likely(worker != NULL) ? worker->carrier.errno_location : errno_location()) = value;
}

void bnx_carrier_init(struct bnx_carrier *carrier) {
    carrier->errno_location = errno_location();
    carrier->tsan_fiber = bnx_tsan_fiber_current();
    carrier->switch_prev = NULL;
    carrier->switch_dead = NULL;
    bnx_fp_read(&carrier->fp);
#if BNX_ASAN
    pthread_attr_t attributes;
    void *low = NULL;
    size_t bytes = 0;
    BNX_CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    (void)pthread_attr_getstack(&attributes, &low, &bytes);
    pthread_attr_destroy(&attributes);
    carrier->stack_bottom = low;
    carrier->stack_bytes = bytes;
#endif
}

/* A stack to leave or to enter, as the sanitizers want to know it. */
struct side {
    struct bnx_context *context;
    void **asan_fake; /* where the left stack's fake stack is kept; NULL: it never runs again */
    void *tsan_fiber;
    const void *bottom;
    size_t bytes;
};

static BNX_ALWAYS_INLINE struct side side_of_task(struct bnx_task *task) {
    struct bnx_stack *stack = task->stack;
    return (struct side){&task->context, &stack->asan_fake_stack, stack->tsan_fiber, stack->low,
                         bnx_stack_usable_bytes(stack)};
}

static BNX_ALWAYS_INLINE struct side side_of_carrier(struct bnx_carrier *carrier) {
    return (struct side){&carrier->context, &carrier->asan_fake, carrier->tsan_fiber,
                         carrier->stack_bottom, carrier->stack_bytes};
}

/* The switch itself. */
static BNX_SWITCH_FUNCTION void switch_stacks(struct bnx_context *from,
                                              const struct bnx_context *to) {
    bnx_context_switch(from, to);
}

/* Leaves one stack for another; returns when somebody comes back to the first, maybe on another
 * thread. Inlined, so that what only sanitizers want to know costs nothing without them. */
static BNX_ALWAYS_INLINE void leave(struct side from, struct side to) {
    bnx_asan_switch_start(from.asan_fake, to.bottom, to.bytes);
    bnx_tsan_fiber_switch(to.tsan_fiber);
    switch_stacks(from.context, to.context);
}

/* A stack that was left for good. */
static BNX_NOINLINE void free_dead(struct bnx_worker *worker) {
    struct bnx_stack *dead = worker->carrier.switch_dead;
    worker->carrier.switch_dead = NULL;
    /* Its fiber ended in the middle of a call; the next task on this stack gets a new one. */
    bnx_tsan_fiber_destroy(dead->tsan_fiber);
    dead->tsan_fiber = NULL;
    bnx_stack_free(&worker->stacks, dead);
}

/* After a switch, on the stack that was entered: lets go of what was left. own_fake is the entered
 * stack's fake stack, NULL on its first run. */
static inline void finish_switch(struct bnx_worker *worker, void *own_fake) {
    bnx_asan_switch_finish(own_fake, NULL, NULL);
    if (worker == NULL) {
        return; /* an offload thread: its carrier finishes what it left itself */
    }
    struct bnx_task *prev = worker->carrier.switch_prev;
    if (prev != NULL) {
        worker->carrier.switch_prev = NULL;
        if (!BNX_PLANT(task_no_on_cpu)) {
            bnx_store_release(&prev->on_cpu, 0); /* T1: the last touch */
        }
    }
    if (bnx_unlikely(worker->carrier.switch_dead != NULL)) {
        free_dead(worker);
    }
}

/* A task that is being resumed must have been left completely by its last worker. Returns false
 * when that takes longer than a switch does: that worker has been preempted in the middle of it. */
static bool has_been_left(struct bnx_task *task) {
    for (int pauses = 0; pauses < 64; pauses++) {
        if (bnx_load_acquire(&task->on_cpu) == 0) { /* T1 */
            return true;
        }
        bnx_pause();
    }
    return false;
}

static void set_state(struct bnx_task *task, enum bnx_task_state state) {
    bnx_store_relaxed(&task->state, (uint8_t)state); /* for reports */
}

/* ---- Taking an item ---- */

/* Not now: it goes behind everything else, a pinned task to its worker's inbox again, one of a lane
 * behind the others there. */
static void put_back(struct bnx_worker *worker, struct bnx_task *task) {
    if (!bnx_task_is_ordinary(task)) {
        bnx_task_ready(task);
        return;
    }
    bnx_global_push(worker->runtime, task, task, 1);
    bnx_runtime_wake_one(worker->runtime); /* who sleeps may have the memory that is missing here */
}

static void task_entry(void);

static void prepare_start(struct bnx_task *task, struct bnx_stack *stack) {
    task->stack = stack;
    stack->asan_fake_stack = NULL;
    bnx_store_relaxed(&stack->owner, (void *)task); /* for the crash report */
    bnx_context_init(&task->context, stack->top, task_entry);
#if BNX_TSAN
    if (stack->tsan_fiber == NULL) {
        stack->tsan_fiber = bnx_tsan_fiber_create();
    }
#endif
}

/*
 * Makes sure that an item can run now: a fork becomes a task, a task has been left by its last
 * worker, a new one has a stack (`given`, one that has just become free, where it fits). Returns
 * NULL when it cannot, with the item back in the global queue: memory returns when tasks end.
 */
static BNX_NOINLINE struct bnx_task *admit_slow(struct bnx_worker *worker, void *item,
                                                struct bnx_stack *given) {
    struct bnx_task *task = item;
    if (bnx_item_is_fork(item)) {
        task = bnx_task_of_fork(worker, item);
        if (task == NULL) {
            return NULL; /* given back to its forker, which runs it */
        }
    }
    if (task->stack != NULL) {
        if (!BNX_PLANT(task_no_on_cpu) && !has_been_left(task)) {
            put_back(worker, task);
            return NULL;
        }
        return task;
    }
    struct bnx_stack *stack = given;
    if (stack == NULL || bnx_stack_class_of(stack) != (enum bnx_stack_class)task->stack_class) {
        stack = bnx_stack_alloc(&worker->stacks, (enum bnx_stack_class)task->stack_class);
        if (stack == NULL) {
            put_back(worker, task);
            return NULL;
        }
    }
    prepare_start(task, stack);
    return task;
}

static inline struct bnx_task *admit(struct bnx_worker *worker, void *item,
                                     struct bnx_stack *given) {
    struct bnx_task *task = item;
    if (bnx_likely(!bnx_item_is_fork(item) && task->stack != NULL &&
                   bnx_load_acquire(&task->on_cpu) == 0)) { /* T1 */
        return task;
    }
    return admit_slow(worker, item, given);
}

/* The task becomes the worker's current one; NULL: the loop takes over. */
static BNX_ALWAYS_INLINE void occupy(struct bnx_worker *worker, struct bnx_task *task) {
    bnx_store_release(&worker->current, task); /* W5 */
    if (task != NULL) {
        bnx_store_relaxed(&task->on_cpu, 1); /* we hold the task: nobody else resumes it */
        worker->budget = BNX_BUDGET;
        set_state(task, BNX_TASK_RUNNING);
    }
}

/* Continues with an admitted task, or with the loop where it is NULL. */
static BNX_ALWAYS_INLINE void leave_for(struct bnx_worker *worker, struct side from,
                                        struct bnx_task *task) {
    struct side to = task != NULL ? side_of_task(task) : side_of_carrier(&worker->carrier);
    occupy(worker, task);
    bnx_counter_bump(&worker->counters.switches);
    leave(from, to);
}

void bnx_worker_run(struct bnx_worker *worker, void *item) {
    struct bnx_task *task = admit(worker, item, NULL);
    if (task == NULL) {
        return;
    }
    struct side from = side_of_carrier(&worker->carrier);
    bnx_store_relaxed(&worker->is_in_loop, 0); /* for the watchdog */
    leave_for(worker, from, task);
    finish_switch(worker, worker->carrier.asan_fake);
    bnx_store_relaxed(&worker->is_in_loop, 1); /* for the watchdog */
}

/* ---- Parking and yielding ---- */

/* A task that owns its control words takes them along; others find the thread's. */
static void fp_leave(const struct bnx_carrier *carrier, struct bnx_fp *out_own) {
    bnx_fp_read(out_own);
    bnx_fp_swap(out_own, &carrier->fp);
}

static void fp_return(const struct bnx_fp *own) {
    if (BNX_PLANT(context_fp_stays)) {
        return;
    }
    struct bnx_fp now;
    bnx_fp_read(&now);
    bnx_fp_swap(&now, own);
}

/* The current task gives up the worker for whatever is next. Returns when it is resumed. Inlined:
 * a return after a switch is one that the CPU has not seen called. */
static BNX_ALWAYS_INLINE struct bnx_worker *switch_away(struct bnx_worker *worker,
                                                        struct bnx_task *self) {
    void *item = bnx_worker_pick(worker);
    if (item == self) {
        /* Made ready on this worker before it left: it never has to. */
        worker->budget = BNX_BUDGET;
        set_state(self, BNX_TASK_RUNNING);
        return worker;
    }
    int saved_errno = errno_get(worker);
    bool owns_fp = (self->flags & BNX_TASK_FP_STATE) != 0;
    struct bnx_fp fp;
    if (bnx_unlikely(owns_fp)) {
        fp_leave(&worker->carrier, &fp);
    }
    struct bnx_task *next = item == NULL ? NULL : admit(worker, item, NULL);
    struct side from = side_of_task(self);
    worker->carrier.switch_prev = self;
    leave_for(worker, from, next);
    worker = bnx_worker_current();
    finish_switch(worker, self->stack->asan_fake_stack);
    if (bnx_unlikely(owns_fp)) {
        fp_return(&fp);
    }
    errno_put(worker, saved_errno);
    return worker;
}

struct bnx_worker *bnx_task_park(struct bnx_task *self, enum bnx_wait_reason reason,
                                 const void *object) {
    struct bnx_worker *worker = bnx_worker_current();
    BNX_ASSERT(worker != NULL && worker->current == self);
    BNX_SUSPENSION(self);
    bool was_on_strand = bnx_task_has_strand(self) && bnx_strand_leave(self);
    bnx_store_relaxed(&self->wait_reason, (uint8_t)reason); /* these four for reports */
    bnx_store_relaxed(&self->wait_object, object);
    bnx_store_relaxed(&self->since_ns, worker->now_ns);
    set_state(self, BNX_TASK_PARKED);
    if (bnx_unlikely(bnx_deque_count(&worker->deque) != 0)) {
        bnx_worker_flush(worker);
    }
    worker = switch_away(worker, self);
    bnx_store_relaxed(&self->wait_reason, (uint8_t)BNX_WAIT_NONE); /* for reports */
    /* On an offload thread, which has no worker, a task stays off its strand. */
    if (bnx_unlikely(was_on_strand) && worker != NULL) {
        worker = bnx_strand_come_back(self);
    }
    return worker;
}

/* Inlined where there is room and nobody to wake. */
static inline void push_self(struct bnx_worker *worker, struct bnx_task *self) {
    if (bnx_unlikely(BNX_FORCE_MIGRATE || bnx_idle_may_wake(&worker->runtime->idle) ||
                     !bnx_runq_push(&worker->runq, self))) {
        bnx_worker_push(worker, self);
    }
}

void bnx_yield(void) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (self == NULL) {
        bnx_os.thread_yield();
        return;
    }
    bool was_on_strand = bnx_task_has_strand(self) && bnx_strand_leave(self);
    set_state(self, BNX_TASK_READY);
    if (bnx_unlikely(bnx_deque_count(&worker->deque) != 0)) {
        bnx_worker_flush(worker);
    }
    if (bnx_likely(bnx_task_is_ordinary(self))) {
        push_self(worker, self);
    } else {
        bnx_task_ready(self);
    }
    (void)switch_away(worker, self);
    if (bnx_unlikely(was_on_strand)) {
        (void)bnx_strand_come_back(self);
    }
}

void bnx_task_spend(struct bnx_task *self) {
    struct bnx_worker *worker = bnx_worker_current();
    BNX_ASSERT(worker->current == self);
    (void)self;
    bnx_worker_spend(worker);
}

/* ---- Running a task from its start to its end ---- */

/* Publishes the result to whoever waits for the task itself (not to its scope). The descriptor is
 * gone after this unless somebody holds a handle. */
static void release_descriptor(struct bnx_worker *worker, struct bnx_task *task) {
    if ((task->flags & BNX_TASK_ARG_HEAP) != 0) {
        bnx_os.release(task->arg);
    }
    set_state(task, BNX_TASK_DONE);
    if ((task->flags & BNX_TASK_KEEP_HANDLE) == 0) {
        bnx_task_free(worker, task);
        return;
    }
    task->stack = NULL;
    bnx_task_finish_handle(worker, task);
}

/* The task's function has returned. What remains, telling its scope, the caller does last. */
static void end_task(struct bnx_worker *worker, struct bnx_task *task, int result) {
    if (bnx_unlikely(task->scope_top != NULL)) {
        bnx_panic(__FILE__, __LINE__, "task %llu (%s) returned with a scope still open",
                  (unsigned long long)task->id, task->name != NULL ? task->name : "unnamed");
    }
    if (bnx_unlikely(task->flags & BNX_TASK_FP_STATE)) {
        fp_return(&worker->carrier.fp);
    }
    bnx_scope_member_remove(task);
    task->result = result;
    /* A fork counts in no scope, and that of its forker may be gone. */
    if ((task->flags & BNX_TASK_FORK) == 0 &&
        bnx_unlikely(result < 0 || task->scope->policy == BNX_SCOPE_RACE)) {
        bnx_scope_child_result(task->scope, task, result);
    }
    release_descriptor(worker, task);
}

/* Runs the worker's current task on this stack to its end. Returns the worker it ended on. */
static struct bnx_worker *run_current(struct bnx_worker *worker) {
    struct bnx_task *task = worker->current;
    int result = task->fn(task->arg);
    if (bnx_unlikely(task->locals != NULL)) {
        bnx_locals_end(task);
    }
    worker = bnx_worker_current();
    BNX_ASSERT(worker->current == task);
    if (bnx_unlikely(bnx_deque_count(&worker->deque) != 0)) {
        bnx_worker_flush(worker); /* spawned into other scopes than its own */
    }
    struct bnx_scope *scope = task->scope;
    bool is_fork = (task->flags & BNX_TASK_FORK) != 0;
    end_task(worker, task, result);
    bnx_store_relaxed(&worker->current, NULL); /* owner-written */
    if (!is_fork) {
        bnx_scope_child_left(scope);
    }
    return worker;
}

/* The first function on every task stack. When its task has ended, it takes over the next one that
 * has not started yet without a switch. */
static void task_entry(void) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_stack *stack = worker->current->stack;
    finish_switch(worker, NULL);
    struct bnx_task *next;
    for (;;) { /* ends by leaving the stack for good */
        worker = run_current(worker);
        void *item = bnx_worker_pick(worker);
        next = item == NULL ? NULL : admit(worker, item, stack);
        if (next == NULL || next->stack != stack) {
            break;
        }
        occupy(worker, next);
    }
    struct bnx_context nowhere;
    struct side from = {&nowhere, NULL, stack->tsan_fiber, NULL, 0};
    worker->carrier.switch_dead = stack;
    leave_for(worker, from, next);
    __builtin_unreachable();
}

struct bnx_worker *bnx_task_run_inline(struct bnx_worker *worker, struct bnx_task *parent,
                                       struct bnx_task *child) {
    set_state(parent, BNX_TASK_BENEATH);
    child->stack = parent->stack;
    bnx_store_relaxed(&child->on_cpu, 1);       /* we hold the task */
    bnx_store_release(&worker->current, child); /* W5 */
    bnx_counter_bump(&worker->counters.inlined);
    set_state(child, BNX_TASK_RUNNING);
    bnx_store_relaxed(&child->stack->owner, (void *)child); /* for the crash report */
    int result = child->fn(child->arg);
    if (bnx_unlikely(child->locals != NULL)) {
        bnx_locals_end(child);
    }
    worker = bnx_worker_current(); /* the child may have waited and come back elsewhere */
    BNX_ASSERT(worker->current == child);
    end_task(worker, child, result);
    bnx_store_release(&worker->current, parent);              /* W5 */
    bnx_store_relaxed(&parent->stack->owner, (void *)parent); /* for the crash report */
    set_state(parent, BNX_TASK_RUNNING);
    return worker;
}

/* ---- On a thread of the offload pool ---- */

void bnx_carrier_run(struct bnx_carrier *carrier, struct bnx_task *task) {
    while (!has_been_left(task)) { /* ends: its worker is between two instructions of a switch */
        bnx_os.thread_yield();
    }
    bnx_store_relaxed(&task->on_cpu, 1); /* we hold the task */
    set_state(task, BNX_TASK_OFFLOADED);
    struct side from = side_of_carrier(carrier);
    struct side to = side_of_task(task);
    leave(from, to);
    bnx_asan_switch_finish(carrier->asan_fake, NULL, NULL);
    bnx_store_release(&task->on_cpu, 0); /* T1 */
    bnx_task_ready(task);
}

void bnx_carrier_leave(struct bnx_carrier *carrier, struct bnx_task *task) {
    struct side from = side_of_task(task);
    struct side to = side_of_carrier(carrier);
    int saved_errno = *carrier->errno_location;
    bool owns_fp = (task->flags & BNX_TASK_FP_STATE) != 0;
    struct bnx_fp fp;
    if (owns_fp) {
        fp_leave(carrier, &fp);
    }
    leave(from, to);
    struct bnx_worker *worker = bnx_worker_current();
    finish_switch(worker, task->stack->asan_fake_stack);
    if (owns_fp) {
        fp_return(&fp);
    }
    errno_put(worker, saved_errno);
    if (bnx_unlikely(bnx_task_has_strand(task))) {
        (void)bnx_strand_come_back(task);
    }
}
