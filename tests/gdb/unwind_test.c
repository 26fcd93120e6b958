/* SPDX-License-Identifier: MIT */
/* Unwinding from inside a task: what a crash handler, a profiler or a sanitizer sees. */
#include "tests/support/test.h"

#include "runtime/context.h"

#include <bonxie/bonxie.h>

#include <unwind.h>

#define FRAMES_MAX 64

/* The functions of the frames, innermost first, by their first address. */
struct trace {
    void *functions[FRAMES_MAX];
    int count;
};

static struct trace trace;

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *arg) {
    struct trace *out = arg;
    if (out->count == FRAMES_MAX) {
        return _URC_END_OF_STACK;
    }
    out->functions[out->count++] = (void *)_Unwind_GetRegionStart(context);
    return _URC_NO_REASON;
}

static __attribute__((noinline)) void take_trace(void) {
    trace.count = 0;
    (void)_Unwind_Backtrace(add_frame, &trace);
}

/* The index of a function in the trace, at or after `from`; -1: it is not there. */
static int index_of(void (*function)(void), int from) {
    for (int i = from; i < trace.count; i++) {
        if (trace.functions[i] == (void *)(uintptr_t)function) {
            return i;
        }
    }
    return -1;
}

/* Keeps a call from becoming a jump: its frame must be on the stack. */
static int keep(int value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

static __attribute__((noinline)) int child(void *arg) {
    (void)arg;
    take_trace();
    return keep(0);
}

/* Suspended first, so that the trace crosses frames that have been left and entered again. */
static __attribute__((noinline)) int child_after_yield(void *arg) {
    bnx_yield();
    return keep(child(arg));
}

static __attribute__((noinline)) int parent(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, *(const bnx_task_fn *)arg, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return keep(0);
}

/* One worker: nobody steals the child. Under forced migration there is nowhere to go either. */
static void check_child_above_parent(bnx_task_fn fn) {
    struct bnx_options options = {.worker_count = 1};
    CHECK_EQ(bnx_run(&options, parent, &fn), 0);
    int child_index = index_of((void (*)(void))child, 0);
    int close_index = index_of((void (*)(void))bnx_scope_close, child_index + 1);
    int parent_index = index_of((void (*)(void))parent, close_index + 1);
    CHECK(child_index >= 0);
    CHECK(close_index > child_index);
    CHECK(parent_index > close_index);
    CHECK(trace.functions[trace.count - 1] == (void *)(uintptr_t)bnx_context_trampoline);
}

/* Claim: an unwinder that starts in a child which runs on its parent's stack passes the child, the
 * scope's close and the parent, and ends at the trampoline. Method: _Unwind_Backtrace in it. */
TEST(through_inline_child, "unwind.through_inline_child") {
    check_child_above_parent(child);
}

/* Claim: the same after the child has been suspended and resumed. */
TEST(after_a_switch, "unwind.after_a_switch") {
    check_child_above_parent(child_after_yield);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
