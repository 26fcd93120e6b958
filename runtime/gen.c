/* SPDX-License-Identifier: MIT */
/* Generators: driving, yielding, delegating, ending (gen_pvt.h). */
#include "runtime/gen_pvt.h"
#include "runtime/runtime_pvt.h"

#include <errno.h>

const char bnx_gen_kind;

/* ---- Switching ---- */

/*
 * The switch itself, expanded in each function that switches: another call around it would be one
 * more return that the CPU predicts wrongly.
 */
static BNX_SWITCH_FUNCTION void switch_stacks(struct bnx_context *from,
                                              const struct bnx_context *to) {
    bnx_context_switch(from, to);
}

static BNX_SWITCH_FUNCTION void switch_back(struct bnx_context *from,
                                            const struct bnx_context *to) {
    bnx_context_return(from, to);
}

/* The running task, NULL off a task. What it has spawned and not started goes to the queues: the
 * deque holds nothing of one stack while another runs. */
static inline struct bnx_task *current_task(void) {
    struct bnx_worker *worker = bnx_worker_current();
    if (bnx_unlikely(worker == NULL)) {
        return NULL;
    }
    if (bnx_unlikely(bnx_deque_count(&worker->deque) != 0) && !BNX_PLANT(gen_no_flush)) {
        bnx_worker_flush(worker);
    }
    return worker->current;
}

/* The task goes on on another stack, in a moment. */
static inline void move_task(struct bnx_task *task, struct bnx_stack *stack) {
    if (bnx_likely(task != NULL) && !BNX_PLANT(gen_stack_stays)) {
        task->stack = stack;
    }
}

/* The first thing on a body's stack after each switch to it. */
static inline void land(struct bnx_gen *gen, void *own_fake) {
    struct bnx_gen_drive *drive = &gen->drive;
    if (BNX_ASAN && drive->caller_stack == NULL) {
        bnx_asan_switch_finish(own_fake, &drive->caller_stack, &drive->caller_stack_bytes);
    } else {
        bnx_asan_switch_finish(own_fake, NULL, NULL); /* not from the caller's stack */
    }
}

static void body_entry(void);

static BNX_COLD void prepare_start(struct bnx_gen *gen) {
    struct bnx_stack *stack = bnx_gen_stack(gen);
    gen->state = BNX_GEN_STARTED;
    bnx_context_init(&gen->context, gen, body_entry);
    stack->asan_fake_stack = NULL;
#if BNX_TSAN
    if (stack->tsan_fiber == NULL) {
        stack->tsan_fiber = bnx_tsan_fiber_create();
    }
#endif
}

/* Continues a body, whose drive is filled in; returns when control comes back to *from. fake: where
 * the stack that is left keeps its fake stack. */
static BNX_ALWAYS_INLINE void enter(struct bnx_gen *gen, struct bnx_task *task,
                                    struct bnx_context *from, void **fake) {
    struct bnx_stack *stack = bnx_gen_stack(gen);
    if (!BNX_PLANT(gen_no_owner)) {
        bnx_store_relaxed(&stack->owner, (void *)task); /* for the crash report */
    }
    move_task(task, stack);
    bnx_asan_switch_start(fake, stack->low, (size_t)((char *)gen - stack->low));
    bnx_tsan_fiber_switch(stack->tsan_fiber);
    switch_stacks(from, &gen->context);
}

/* Back to who drives; returns when the body is continued, but for its end. */
static BNX_ALWAYS_INLINE void leave(struct bnx_gen *gen, struct bnx_task *task,
                                    struct bnx_context *from, void **fake) {
    struct bnx_gen_drive *drive = &gen->drive;
    move_task(task, drive->from);
    bnx_asan_switch_start(fake, drive->caller_stack, drive->caller_stack_bytes);
    bnx_tsan_fiber_switch(drive->caller_fiber);
    switch_back(from, &drive->caller);
}

/* ---- Driving ---- */

/* One drive of a generator whose innermost can run; the caller holds is_busy. Returns as
 * bnx_gen_next. */
static BNX_ALWAYS_INLINE int drive(struct bnx_gen *gen, struct bnx_task *task, void *value,
                                   int signal, void **out_value) {
    struct bnx_gen *innermost = gen->innermost;
    struct bnx_gen_drive *back = &innermost->drive;
    innermost->value = value;
    innermost->signal = signal;
    back->task = task;
    back->outermost = gen;
    if (bnx_likely(task != NULL)) {
        back->scope = task->scope_top;
        back->from = task->stack;
    }
    if (BNX_TSAN) {
        back->caller_fiber = bnx_tsan_fiber_current();
    }
    if (BNX_ASAN) {
        back->caller_stack = NULL; /* land() will know */
    }
    void *fake = NULL;
    enter(innermost, task, &back->caller, &fake);
    bnx_asan_switch_finish(fake, NULL, NULL);
    innermost = gen->innermost; /* another one perhaps */
    int result = innermost->signal;
    if (result > 0 && out_value != NULL) {
        *out_value = innermost->value;
    }
    return result;
}

static inline bool take(struct bnx_gen *gen) {
    return BNX_PLANT(gen_not_exclusive) || bnx_exchange_acquire(&gen->is_busy, 1) == 0; /* G1 */
}

static inline void release(struct bnx_gen *gen) {
    bnx_store_release(&gen->is_busy, 0); /* G1 */
}

/* Off a task: true in a fork child, where nothing is touched. */
static BNX_COLD bool is_forked(void) {
    return bnx_off_task_error() == -ECHILD;
}

static void finish(struct bnx_gen *gen, int error) {
    gen->state = BNX_GEN_FINISHED;
    gen->error = error;
}

/* A generator that is its own innermost and does not stand at a yield. Returns true: it can run
 * now; false: *out_result is what the drive returns. */
static BNX_COLD bool begin(struct bnx_gen *gen, const void *value, int error, int *out_result) {
    *out_result = error;
    if (gen->state == BNX_GEN_FINISHED) {
        return false;
    }
    if (error < 0) {
        finish(gen, error);
        return false;
    }
    if (value != NULL) {
        *out_result = -EINVAL;
        return false;
    }
    prepare_start(gen);
    return true;
}

static BNX_NOINLINE int drive_alone(struct bnx_gen *gen, void *value, int error, void **out_value) {
    struct bnx_task *task = current_task();
    if (bnx_unlikely(task == NULL) && is_forked()) {
        return -ECHILD;
    }
    if (bnx_unlikely(!take(gen))) {
        return -EBUSY;
    }
    int result = 0;
    if (bnx_likely(gen->innermost->state == BNX_GEN_STARTED) || begin(gen, value, error, &result)) {
        gen->innermost->drive.answer = 1;
        result = drive(gen, task, value, error, out_value);
    }
    release(gen);
    return result;
}

int bnx_gen_next(struct bnx_gen *gen, void **out_value) {
    return drive_alone(gen, NULL, 0, out_value);
}

int bnx_gen_send(struct bnx_gen *gen, void *value, void **out_value) {
    return drive_alone(gen, value, 0, out_value);
}

int bnx_gen_throw(struct bnx_gen *gen, int error, void **out_value) {
    return error < 0 ? drive_alone(gen, NULL, error, out_value) : -EINVAL;
}

static void log_abuse(struct bnx_task *task, const char *text) {
    if (task != NULL) {
        bnx_runtime_log(task->runtime, BNX_LOG_ERROR, "task %llu (%s): %s",
                        (unsigned long long)task->id, task->name != NULL ? task->name : "unnamed",
                        text);
    }
}

/* The caller holds is_busy. */
static int close_held(struct bnx_gen *gen, struct bnx_task *task) {
    if (gen->innermost->state != BNX_GEN_STARTED) {
        if (gen->state == BNX_GEN_UNSTARTED) {
            finish(gen, 0);
        }
        return 0;
    }
    gen->innermost->drive.answer = BNX_PLANT(gen_yield_in_close_passes) ? 1 : -EBUSY;
    int result = drive(gen, task, NULL, BNX_GEN_CLOSED, NULL);
    if (gen->state != BNX_GEN_FINISHED) {
        log_abuse(bnx_task_current(), "a generator has yielded although it was closed");
    }
    return result;
}

int bnx_gen_close(struct bnx_gen *gen) {
    struct bnx_task *task = current_task();
    if (task == NULL && is_forked()) {
        return -ECHILD;
    }
    if (!take(gen)) {
        return -EBUSY;
    }
    int result = close_held(gen, task);
    release(gen);
    return result;
}

int bnx_gen_result(struct bnx_gen *gen, void **out_result) {
    if (gen->state != BNX_GEN_FINISHED) {
        return -EAGAIN;
    }
    if (gen->error == 0 && out_result != NULL) {
        *out_result = gen->result;
    }
    return gen->error;
}

/* ---- In the body ---- */

static inline bool is_closing(const struct bnx_gen *gen) {
    return gen->drive.answer < 0;
}

/* Whether the caller is the body of a generator, in the task that drives it, and has nothing open.
 * Off a task the stack that is in use is known by the address of a frame. */
static inline int check_body(struct bnx_gen *gen, const struct bnx_task *task) {
    struct bnx_stack *stack = bnx_gen_stack(gen);
    if (bnx_likely(task != NULL)) {
        bool is_driver = gen->drive.task == task || BNX_PLANT(gen_any_task);
        if (bnx_unlikely(task->stack != stack || !is_driver)) {
            return -EPERM;
        }
        bool is_clean = task->scope_top == gen->drive.scope || BNX_PLANT(gen_scope_stays);
        return bnx_likely(is_clean) ? 0 : -EDEADLK;
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool is_inside = here >= (uintptr_t)stack->low && here < (uintptr_t)gen;
    return is_inside && gen->drive.task == NULL ? 0 : -EPERM;
}

BNX_RETURNS_BY_JUMP int bnx_gen_yield(struct bnx_gen *gen, void *value, void **out_sent) {
    struct bnx_task *task = current_task();
    int error = check_body(gen, task);
    if (bnx_unlikely(error < 0)) {
        return error;
    }
    gen->value = value;
    gen->signal = gen->drive.answer;
    struct bnx_stack *stack = bnx_gen_stack(gen);
    leave(gen, task, &gen->context, &stack->asan_fake_stack);
    land(gen, stack->asan_fake_stack);
    if (gen->signal == 0 && out_sent != NULL) {
        *out_sent = gen->value;
    }
    return gen->signal;
}

/* Makes `to` the innermost in place of `from`. */
static void pass_drive(struct bnx_gen *from, struct bnx_gen *to) {
    to->drive = from->drive;
    to->drive.outermost->innermost = to;
}

/* Runs inner, which the caller holds, on behalf of gen until it ends. Returns its error. */
static int delegate(struct bnx_gen *gen, struct bnx_task *task, struct bnx_gen *inner) {
    struct bnx_gen *innermost = inner->innermost;
    inner->delegator = gen;
    if (inner->state == BNX_GEN_UNSTARTED) {
        prepare_start(inner);
    }
    innermost->value = NULL;
    innermost->signal = 0;
    pass_drive(gen, innermost);
    struct bnx_stack *stack = bnx_gen_stack(gen);
    enter(innermost, task, &gen->context, &stack->asan_fake_stack);
    land(gen, stack->asan_fake_stack);
    inner->delegator = NULL;
    return inner->error;
}

int bnx_gen_yield_from(struct bnx_gen *gen, struct bnx_gen *inner, void **out_result) {
    struct bnx_task *task = current_task();
    int error = check_body(gen, task);
    if (error < 0) {
        return error;
    }
    if (inner == NULL) {
        return -EINVAL;
    }
    if (!take(inner)) {
        return -EBUSY;
    }
    bool was_closing = is_closing(gen);
    error = inner->state == BNX_GEN_FINISHED ? inner->error : delegate(gen, task, inner);
    void *result = inner->result;
    release(inner);
    if (error == 0 && !was_closing && is_closing(gen)) {
        return BNX_GEN_CLOSED; /* inner has been closed, not finished */
    }
    if (error == 0 && out_result != NULL) {
        *out_result = result;
    }
    return error;
}

void bnx_gen_return(struct bnx_gen *gen, void *result) {
    gen->result = result;
}

/* The body has returned: its delegator goes on, or who drives. */
static BNX_NORETURN void end_body(struct bnx_gen *gen, int error) {
    struct bnx_task *task = current_task();
    BNX_CHECK(task == gen->drive.task);
    if (task != NULL && task->scope_top != gen->drive.scope) {
        bnx_panic(__FILE__, __LINE__, "a generator's body has returned with a scope still open");
    }
    bool is_closed = is_closing(gen) && error == BNX_GEN_CLOSED;
    finish(gen, is_closed || error > 0 ? 0 : error);
    struct bnx_context nowhere;
    struct bnx_gen *delegator = gen->delegator;
    if (delegator != NULL) {
        pass_drive(gen, delegator);
        enter(delegator, task, &nowhere, NULL);
    } else {
        gen->signal = gen->error;
        leave(gen, task, &nowhere, NULL);
    }
    __builtin_unreachable();
}

/* The first function on every body's stack. */
static void body_entry(void) {
    struct bnx_stack *stack = bnx_stack_find((uintptr_t)__builtin_frame_address(0));
    struct bnx_gen *gen = (struct bnx_gen *)(void *)stack - 1;
    land(gen, NULL);
    end_body(gen, gen->fn(gen, gen->arg));
}

/* ---- Creating and destroying ---- */

/* The fiber stands in the middle of a call: the next body on the stack gets a new one. */
static void free_gen(struct bnx_gen *gen) {
    struct bnx_stack *stack = bnx_gen_stack(gen);
    if (stack->tsan_fiber != NULL) {
        bnx_tsan_fiber_destroy(stack->tsan_fiber);
        stack->tsan_fiber = NULL;
    }
    bnx_gen_stack_give(stack);
}

int bnx_gen_create(struct bnx_gen **out_gen, bnx_gen_fn fn, void *arg,
                   const struct bnx_gen_options *options) {
    static const struct bnx_gen_options defaults;
    const struct bnx_gen_options *chosen = options != NULL ? options : &defaults;
    bool is_primed = (chosen->flags & BNX_GEN_PRIMED) != 0;
    if (fn == NULL || (unsigned)chosen->stack > BNX_STACK_CLASSES ||
        (chosen->flags & ~(unsigned)BNX_GEN_PRIMED) != 0) {
        return -EINVAL;
    }
    if (bnx_task_current() == NULL && is_forked()) {
        return -ECHILD;
    }
    struct bnx_stack *stack = bnx_gen_stack_take(chosen->stack);
    if (stack == NULL) {
        return -ENOMEM;
    }
    struct bnx_gen *gen = (struct bnx_gen *)(void *)stack->top - 1;
    *gen = (struct bnx_gen){.innermost = gen, .kind = &bnx_gen_kind, .fn = fn, .arg = arg};
    int error = is_primed ? bnx_gen_next(gen, NULL) : 0;
    if (error < 0) {
        free_gen(gen);
        return error;
    }
    *out_gen = gen;
    return 0;
}

/* The chain of delegations that starts in an abandoned body has nobody to go back to: the first of
 * its links becomes the outermost again. */
static void release_inner(struct bnx_gen *gen) {
    struct bnx_gen *inner = gen->innermost;
    if (inner == gen || BNX_PLANT(gen_chain_stays_busy)) {
        return;
    }
    while (inner->delegator != gen) { /* ends: the chain does */
        inner = inner->delegator;
    }
    inner->delegator = NULL;
    inner->innermost = gen->innermost;
    release(inner);
}

void bnx_gen_destroy(struct bnx_gen *gen) {
    if (gen == NULL) {
        return;
    }
    struct bnx_task *task = current_task();
    if (task == NULL && is_forked()) {
        return;
    }
    BNX_CHECK(take(gen)); /* nobody drives it, nobody delegates to it */
    (void)close_held(gen, task);
    release_inner(gen);
    free_gen(gen);
}
