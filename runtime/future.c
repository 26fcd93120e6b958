/* SPDX-License-Identifier: MIT */
/*
 * Futures (bonxie/future.h): a one-shot wait queue, a value, a count of references, and what shall
 * happen beside the waking of waiters: callbacks, an fd.
 *
 * Concepts
 *   cache  free futures of a worker. Each was allocated by itself and is released by itself, so a
 *          future may outlive every runtime.
 *   call   a callback that waits for the future, with a reference of its own. One that a task has
 *          registered is a waiter of the queue: its fire claims and readies an unstarted task of
 *          the root scope. That task is found by a stop as any other that waits. One registered
 *          elsewhere is in the future's list, and whoever sets the future calls it.
 *
 * The setter touches nothing of the future once DONE is visible: a waiter may drop the last
 * reference then. What it still needs it takes along under LOCK: the list, whose calls hold
 * references, and the fd, for which it takes one.
 *
 * Ordering
 *   F1 references: fetch_sub acq_rel; the last one sees what all others did with the future. Who
 *      holds the only one needs no RMW: load-acquire says so, and nobody else can take another.
 *   F2 fd: stored by CAS acq_rel, under LOCK or after DONE -> load-acquire.
 *   Value, error and calls are written under the queue's LOCK and read there or after is_done (Q2
 *   in waitq.h). T2 and R1 in on_done are those of task_pvt.h and runtime_pvt.h: the task is
 *   published as waiting, then the stop is looked for.
 */
#include <bonxie/future.h>

#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/wait_once.h"
#include "runtime/waiter.h"

#include <errno.h>
#include <sys/eventfd.h>

/* 64 KiB a worker at most. AddressSanitizer sees a late use only of what was released. */
#define CACHED_MAX (BNX_ASAN ? 0 : BNX_CAPACITY(1024, 2))

struct call;

struct bnx_future {
    struct bnx_waitq queue;       /* any thread */
    uint32_t references;          /* any thread; F1 */
    int error;                    /* written once before done; 0 = value counts */
    struct bnx_waitable waitable; /* tells a future from other handles; immutable */
    void *value;                  /* written once before done; of a cached one: the next */
    struct call *calls;           /* for the setter to make, last registered first; under LOCK */
    int fd;                       /* -1: nobody has asked for it; any thread; F2 */
};
_Static_assert(offsetof(struct bnx_future, waitable) == BNX_KIND_OFFSET, "bnx_kind reads it");

/* A registered callback. */
struct call {
    struct bnx_waiter waiter;                         /* of the future, where there is a task */
    struct bnx_future *future;                        /* a reference; immutable */
    void (*fn)(struct bnx_future *future, void *arg); /* immutable */
    void *arg;                                        /* immutable */
    struct bnx_task *task; /* that calls fn; NULL: the setter does; immutable */
    uint64_t sequence;     /* of the task's wait; written before it is published */
    struct call *next;     /* in the future's list; under LOCK, then the setter's */
    bool is_added;         /* the waiter is in the queue; as sequence */
};

/* ---- A future as a waitable ---- */

static struct bnx_future *future_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_future, waitable);
}

static bool take_outcome(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct bnx_future *future = future_of(waitable);
    if (!bnx_waitq_is_done(&future->queue)) {
        return false;
    }
    *out_result = future->error;
    return true;
}

static bool add_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    return bnx_waitq_add(&future_of(waitable)->queue, waiter);
}

static void remove_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    bnx_waitq_remove(&future_of(waitable)->queue, waiter);
}

const struct bnx_waitable_ops bnx_future_ops = {
    .take = take_outcome,
    .add = add_waiter,
    .remove = remove_waiter,
    .name = "future",
};

struct bnx_waitable *bnx_future_waitable(struct bnx_future *future) {
    return &future->waitable;
}

/* ---- Memory ---- */

static struct bnx_future *take_memory(void) {
    struct bnx_worker *worker = bnx_worker_current();
    if (bnx_likely(worker != NULL && worker->futures != NULL)) {
        struct bnx_future *future = worker->futures;
        worker->futures = future->value;
        worker->futures_count--;
        return future;
    }
    return bnx_os.allocate(sizeof(struct bnx_future), _Alignof(struct bnx_future));
}

static void give_memory(struct bnx_future *future) {
    struct bnx_worker *worker = bnx_worker_current();
    if (bnx_likely(worker != NULL && worker->futures_count + 1 <= CACHED_MAX)) {
        future->waitable.ops = NULL; /* a stale handle is of no kind */
        future->value = worker->futures;
        worker->futures = future;
        worker->futures_count++;
        return;
    }
    bnx_os.release(future);
}

void bnx_future_cache_fini(struct bnx_worker *worker) {
    while (worker->futures != NULL) { /* ends: at most CACHED_MAX */
        struct bnx_future *future = worker->futures;
        worker->futures = future->value;
        bnx_os.release(future);
    }
    worker->futures_count = 0;
}

int bnx_future_create(struct bnx_future **out_future) {
    struct bnx_future *future = take_memory();
    if (future == NULL) {
        return -ENOMEM;
    }
    future->queue.word = 0; /* not shared yet, as all that follows */
    future->references = 1;
    future->error = 0;
    future->waitable.ops = &bnx_future_ops;
    future->value = NULL;
    future->calls = NULL;
    future->fd = -1;
    *out_future = future;
    return 0;
}

struct bnx_future *bnx_future_ref(struct bnx_future *future) {
    if (!BNX_PLANT(future_ref_not_counted)) {
        (void)bnx_fetch_add_relaxed(&future->references, 1); /* the caller holds one: it is alive */
    }
    return future;
}

void bnx_future_unref(struct bnx_future *future) {
    if (future == NULL || (bnx_load_acquire(&future->references) != 1 &&          /* F1 */
                           bnx_fetch_sub_acq_rel(&future->references, 1) != 1)) { /* F1 */
        return;
    }
    if (bnx_unlikely(future->fd >= 0)) {
        (void)bnx_os.close(future->fd); /* an eventfd's never fails */
    }
    give_memory(future);
}

/* ---- Setting ---- */

static void signal_fd(int fd) {
    const uint64_t one = 1;
    (void)bnx_os.write(fd, &one, sizeof(one)); /* once only: the counter has room */
}

static void release_call(struct call *call) {
    bnx_future_unref(call->future);
    bnx_os.release(call);
}

/* Calls what was registered without a task, first registered first. */
static BNX_COLD void make_calls(struct call *last) {
    struct call *first = NULL;
    while (last != NULL) { /* a list of our own */
        struct call *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    while (first != NULL) { /* as above */
        struct call *call = first;
        first = call->next;
        call->fn(call->future, call->arg);
        release_call(call);
    }
}

static int complete(struct bnx_future *future, void *value, int error) {
    uintptr_t word;
    if (!bnx_waitq_lock(&future->queue, &word)) {
        return -EALREADY;
    }
    future->value = value;
    future->error = error;
    struct call *calls = future->calls;
    int fd = bnx_load_relaxed(&future->fd); /* under LOCK */
    if (bnx_unlikely(fd >= 0)) {
        (void)bnx_future_ref(future);
    }
    bnx_waitq_finish(&future->queue, word, error);
    if (bnx_unlikely(fd >= 0)) {
        if (!BNX_PLANT(future_fd_silent)) {
            signal_fd(fd);
        }
        bnx_future_unref(future);
    }
    if (bnx_unlikely(calls != NULL)) {
        make_calls(calls);
    }
    return 0;
}

int bnx_future_set(struct bnx_future *future, void *value) {
    return complete(future, value, 0);
}

int bnx_future_fail(struct bnx_future *future, int error) {
    return error >= 0 ? -EINVAL : complete(future, NULL, error);
}

void bnx_promise_drop(struct bnx_future *future) {
    if (future != NULL) {
        (void)complete(future, NULL, -EPIPE); /* already set is fine */
        bnx_future_unref(future);
    }
}

/* ---- Waiting ---- */

static int outcome_of(const struct bnx_future *future, void **out_value) {
    if (future->error != 0) {
        return future->error;
    }
    if (out_value != NULL) {
        *out_value = future->value;
    }
    return 0;
}

int bnx_future_await(struct bnx_future *future, void **out_value) {
    int error = bnx_wait_once(&future->queue, BNX_WAIT_FUTURE, future);
    return error != 0 ? error : outcome_of(future, out_value);
}

int bnx_future_poll(struct bnx_future *future, void **out_value) {
    return bnx_waitq_is_done(&future->queue) ? outcome_of(future, out_value) : -EAGAIN;
}

int bnx_future_fd(struct bnx_future *future) {
    int fd = bnx_load_acquire(&future->fd); /* F2 */
    if (fd >= 0) {
        return fd;
    }
    int made = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0) {
        return made;
    }
    /* Under LOCK while it is pending, so that the setter sees it; once done only the CAS decides.
     * */
    uintptr_t word;
    bool is_pending = bnx_waitq_lock(&future->queue, &word);
    fd = -1;
    bool is_ours = bnx_cas_acq_rel(&future->fd, &fd, made); /* F2 */
    if (is_pending) {
        bnx_waitq_unlock(&future->queue, word);
    } else if (is_ours) {
        signal_fd(made);
    }
    if (!is_ours) {
        (void)bnx_os.close(made); /* as in unref */
        return fd;
    }
    return made;
}

/* ---- Callbacks ---- */

/* The future is done, or the runtime stops. */
static int run_call(void *arg) {
    struct call *call = arg;
    if (call->is_added) {
        bnx_waitq_remove(&call->future->queue,
                         &call->waiter); /* its setter may be on its way here */
    }
    call->fn(call->future, call->arg);
    release_call(call);
    return 0;
}

/* Wakes by starting the task: nobody points to the call any more when that happens. */
static bool fire_call(struct bnx_waiter *waiter, struct bnx_wakee *out_wakee) {
    const struct call *call = waiter->owner;
    if (!bnx_wait_claim(call->task, call->sequence, BNX_WAKE)) {
        return false; /* the runtime stops, and that starts the task */
    }
    out_wakee->task = call->task;
    return true;
}

static struct call *make_call(struct bnx_future *future,
                              void (*fn)(struct bnx_future *future, void *arg), void *arg) {
    struct call *call = bnx_os.allocate(sizeof(*call), _Alignof(struct call));
    if (call != NULL) {
        *call = (struct call){.future = bnx_future_ref(future), .fn = fn, .arg = arg};
    }
    return call;
}

/* Off a task: whoever sets the future calls; where that has happened already, the caller. */
static void register_with_setter(struct call *call) {
    struct bnx_future *future = call->future;
    uintptr_t word;
    if (!bnx_waitq_lock(&future->queue, &word)) {
        make_calls(call);
        return;
    }
    call->next = future->calls;
    future->calls = call;
    bnx_waitq_unlock(&future->queue, word);
}

/* Publishes the call's task as waiting for the future. It is ready at once where that is done; from
 * here on it may run at any time, and the call may be gone. */
static void register_task(struct bnx_runtime *runtime, struct call *call) {
    struct bnx_task *task = call->task;
    struct bnx_future *future = call->future;
    bnx_scope_make_findable(task);
    uintptr_t word;
    if (!bnx_waitq_lock(&future->queue, &word)) {
        bnx_task_ready(task); /* a stop leaves it alone: it does not wait */
        return;
    }
    uint64_t sequence = bnx_wait_next_sequence(task);
    call->waiter = (struct bnx_waiter){.fire = fire_call, .owner = call};
    call->sequence = sequence;
    call->is_added = true;
    (void)bnx_wait_publish_always(task); /* claimed by a stop it waits for LOCK in run_call */
    bnx_waitq_push(&future->queue, word, &call->waiter);
    (void)bnx_load_seq_cst(&runtime->cancel_epoch);     /* T2 */
    if (bnx_load_relaxed(&runtime->root.cancel) != 0 && /* only a flag */
        !BNX_PLANT(future_call_ignores_stop) && bnx_wait_claim(task, sequence, BNX_WAKE_CANCEL)) {
        bnx_task_ready(task);
    }
}

int bnx_future_on_done(struct bnx_future *future, void (*fn)(struct bnx_future *future, void *arg),
                       void *arg) {
    if (fn == NULL) {
        return -EINVAL;
    }
    struct call *call = make_call(future, fn, arg);
    if (call == NULL) {
        return -ENOMEM;
    }
    struct bnx_worker *worker = bnx_worker_current();
    if (worker == NULL || worker->current == NULL) {
        register_with_setter(call);
        return 0;
    }
    struct bnx_runtime *runtime = worker->runtime;
    int error = 0;
    (void)bnx_fetch_add_seq_cst(&runtime->root.word, BNX_SCOPE_ONE); /* R1 S1 */
    if (bnx_load_seq_cst(&runtime->phase) != BNX_PHASE_RUNNING) {    /* R1: as bnx_spawn_root */
        error = -ESHUTDOWN;
    } else {
        call->task = bnx_task_make(runtime, worker, &runtime->root, run_call, call,
                                   __builtin_return_address(0), &error);
    }
    if (call->task == NULL) {
        bnx_scope_child_left(&runtime->root);
        release_call(call);
        return error;
    }
    register_task(runtime, call);
    return 0;
}
