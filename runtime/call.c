/* SPDX-License-Identifier: MIT */
/* Calls into a runtime from outside: bnx_runtime_spawn, bnx_runtime_run, bnx_run. */
#include "runtime/check.h"
#include "runtime/guest.h"
#include "runtime/runtime_pvt.h"

#include <errno.h>

struct call {
    bnx_task_fn fn;
    void *arg;
    struct bnx_future *future;
};

/* The value of fn travels in a future; the reference it holds is dropped after it was set. */
static int run_call(void *arg) {
    struct call call = *(struct call *)arg;
    bnx_os.release(arg);
    int result = call.fn(call.arg);
    if (!BNX_PLANT(call_answers_alive)) {
        /* Before the answer: who has that may destroy the runtime while this task is on its way
         * out (is_anyone_alive). */
        bnx_store_relaxed(&bnx_task_current()->state,
                          (uint8_t)BNX_TASK_DONE); /* the future's set */
    }
    (void)bnx_future_set(call.future, (void *)(intptr_t)result);
    bnx_future_unref(call.future);
    return 0;
}

static int spawn_call(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg, const void *site,
                      struct bnx_future **out_future) {
    struct call *call = bnx_os.allocate(sizeof(*call), _Alignof(struct call));
    if (call == NULL) {
        return -ENOMEM;
    }
    *call = (struct call){.fn = fn, .arg = arg};
    int error = bnx_future_create(&call->future);
    if (error != 0) {
        bnx_os.release(call);
        return error;
    }
    struct bnx_future *future = bnx_future_ref(call->future);
    error = bnx_spawn_root(runtime, run_call, call, site);
    if (error != 0) {
        bnx_future_unref(future);
        bnx_future_unref(call->future);
        bnx_os.release(call);
        return error;
    }
    *out_future = future;
    return 0;
}

int bnx_runtime_spawn(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg,
                      struct bnx_future **out_future) {
    if (runtime == NULL || fn == NULL) {
        return -EINVAL;
    }
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD;
    }
    const void *site = __builtin_return_address(0);
    return out_future != NULL ? spawn_call(runtime, fn, arg, site, out_future)
                              : bnx_spawn_root(runtime, fn, arg, site);
}

int bnx_runtime_run(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg) {
    if (runtime == NULL || fn == NULL) {
        return -EINVAL;
    }
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD; /* first: the child of a fork in a task has that worker's thread-local */
    }
    if (bnx_worker_current() != NULL) {
        return -EDEADLK;
    }
    struct bnx_future *future = NULL;
    int error = spawn_call(runtime, fn, arg, __builtin_return_address(0), &future);
    if (error != 0) {
        return error;
    }
    void *value = NULL;
    error = runtime->guest != NULL && bnx_guest_is_host(runtime->guest)
                ? bnx_guest_visit_until_set(runtime->guest, future, &value)
                : bnx_future_await(future, &value);
    bnx_future_unref(future);
    return error != 0 ? error : (int)(intptr_t)value;
}

int bnx_run(const struct bnx_options *options, bnx_task_fn fn, void *arg) {
    struct bnx_runtime *runtime = NULL;
    int error = bnx_runtime_create(options, &runtime);
    if (error != 0) {
        return error;
    }
    int result = bnx_runtime_run(runtime, fn, arg);
    (void)bnx_runtime_stop(runtime);
    (void)bnx_runtime_wait(runtime, BNX_NEVER_NS);
    error = bnx_runtime_destroy(runtime);
    BNX_CHECK(error == 0);
    return result;
}
