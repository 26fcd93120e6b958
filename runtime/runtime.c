/* SPDX-License-Identifier: MIT */
/*
 * The life of a runtime: create, run, stop, wait, destroy.
 *
 * Shutdown
 *   1 stop     phase STOPPING, the root scope is cancelled; spawns from outside and into the root
 *              scope are refused from now on.
 *   2 wait     every task ends by itself, told by its suspending calls. With the tasks go their
 *              ops, offload jobs and timers, because each is waited for by its task.
 *   3 destroy  only when the root scope has no child; phase ENDING; all workers are woken and leave
 *              their loops; they meet, and each closes its own driver on its own thread.
 *   A task that was counted in the root scope before step 3 looked is seen there; one counted later
 *   reads the phase afterwards and is refused (bnx_spawn_root). So no task exists in ENDING.
 */
#include "runtime/runtime_pvt.h"
#include "runtime/scope_pvt.h"
#include "runtime/timer.h"

#include "runtime/clock.h"
#include "runtime/dump_pvt.h"
#include "runtime/environment.h"
#include "runtime/guest.h"
#include "runtime/rescue.h"
#include "runtime/thread_pool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

#define TASKS_MAX_DEFAULT (UINT32_C(1) << 24)
#define OFFLOAD_THREADS_DEFAULT 64
#define GRACE_NS_DEFAULT (UINT64_C(2) * BNX_NS_PER_S)
#define TIMERS_MAX UINT32_MAX
#define WORKER_STACK_BYTES ((size_t)512 * 1024)

void bnx_runtime_log(struct bnx_runtime *runtime, enum bnx_log_level level, const char *format,
                     ...) {
    if (runtime->log == NULL) {
        return;
    }
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    runtime->log(level, line, runtime->log_arg);
}

/* ---- Create ---- */

static void init_worker(struct bnx_runtime *runtime, uint32_t index) {
    struct bnx_worker *worker = &runtime->workers[index];
    worker->runtime = runtime;
    worker->index = index;
    worker->id_next = index + 2; /* 0 means free, 1 begins the ids of foreign threads */
    bnx_rng_init(&worker->rng, runtime->seed, index);
    /* Spinning on the only CPU would keep from running whoever is waited for. */
    worker->spin_ns = runtime->spin_ns == BNX_SPIN_NEVER ? 0 : runtime->spin_ns;
    if (runtime->spin_ns == 0) {
        worker->spin_ns = runtime->topology.cpu_count > 1 ? BNX_SPIN_NS_FIRST : 0;
    }
    bnx_runq_init(&worker->runq, (uint32_t)(UINT32_MAX - 3));
    bnx_mpscq_init(&worker->inbox);
    bnx_wheel_init(&worker->wheel, bnx_clock_now());
    worker->wheel_next_ns = BNX_NEVER_NS;
    worker->slice_ns = BNX_BACKLOG_NS / 2; /* until it is known: two ready tasks wake another */
    bnx_stack_cache_init(&worker->stacks, &runtime->stacks);
    bnx_worker_rank_victims(worker);
}

static int allocate_workers(struct bnx_runtime *runtime) {
    size_t bytes = sizeof(struct bnx_worker) * runtime->worker_count;
    runtime->workers = bnx_os.allocate(bytes, BNX_APART_BYTES);
    if (runtime->workers == NULL) {
        return -ENOMEM;
    }
    memset(runtime->workers, 0, bytes);
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct bnx_worker *worker = &runtime->workers[i];
        size_t victims_bytes = sizeof(uint16_t) * (runtime->worker_count + 1);
        worker->victims = bnx_os.allocate(victims_bytes, sizeof(uint16_t));
        if (worker->victims == NULL || bnx_deque_init(&worker->deque, BNX_DEQUE_CAPACITY, 0) != 0) {
            return -ENOMEM;
        }
        init_worker(runtime, i);
    }
    return 0;
}

static void free_workers(struct bnx_runtime *runtime) {
    for (uint32_t i = 0; runtime->workers != NULL && i < runtime->worker_count; i++) {
        bnx_deque_fini(&runtime->workers[i].deque);
        bnx_os.release(runtime->workers[i].victims);
    }
    bnx_os.release(runtime->workers);
    runtime->workers = NULL;
}

static void open_gates(struct bnx_runtime *runtime) {
    bnx_store_seq_cst(&runtime->workers_go, runtime->worker_count); /* R2 */
    (void)bnx_os.futex_wake(&runtime->workers_go, INT32_MAX);
}

static void join_workers(struct bnx_runtime *runtime, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        (void)bnx_os.thread_join(&runtime->workers[i].thread); /* it was started and not joined */
    }
}

/* Counts parties that send no wakes, or none any more, as left. */
static void let_leave(struct bnx_runtime *runtime, uint32_t count) {
    (void)bnx_fetch_add_seq_cst(&runtime->workers_left, count); /* R2 */
    (void)bnx_os.futex_wake(&runtime->workers_left, INT32_MAX);
}

/* The phase says ENDING: all workers leave their loops, then their threads end. */
static void end_workers(struct bnx_runtime *runtime) {
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        bnx_runtime_wake(runtime, i);
    }
    let_leave(runtime, 1);
    join_workers(runtime, runtime->worker_count);
}

/* Lets `started` workers go and end at once, after a failure. */
static void abandon_workers(struct bnx_runtime *runtime, uint32_t started) {
    bnx_store_seq_cst(&runtime->phase, BNX_PHASE_ENDING); /* R1 */
    /* The gates count to worker_count: the ones that never started have left already. */
    let_leave(runtime, runtime->worker_count - started + 1);
    open_gates(runtime);
    join_workers(runtime, started);
}

static int start_workers(struct bnx_runtime *runtime) {
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct bnx_worker *worker = &runtime->workers[i];
        worker->thread = (struct bnx_os_thread){.entry = bnx_worker_main,
                                                .arg = worker,
                                                .stack_bytes = WORKER_STACK_BYTES,
                                                .name = "bnx-worker"};
        int error = bnx_os.thread_create(&worker->thread);
        if (error != 0) {
            abandon_workers(runtime, i);
            return error;
        }
    }
    uint32_t ready;
    while ((ready = bnx_load_seq_cst(&runtime->workers_ready)) < runtime->worker_count) { /* R2 */
        (void)bnx_os.futex_wait(&runtime->workers_ready, ready, BNX_NEVER_NS);
    }
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        int error = runtime->workers[i].start_error;
        if (error != 0) {
            abandon_workers(runtime, runtime->worker_count);
            return error;
        }
    }
    open_gates(runtime);
    return 0;
}

static void log_stack_warning(void *arg, const char *text) {
    bnx_runtime_log(arg, BNX_LOG_WARNING, "%s", text);
}

/* A page that is zero in a fork child: there every word of the runtime belongs to the parent. */
static int make_fork_guard(struct bnx_runtime *runtime) {
    int error = 0;
    void *page = bnx_os.mmap((size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, &error);
    if (page == MAP_FAILED) {
        return error;
    }
    runtime->fork_guard = page;
    *runtime->fork_guard = 1;
    (void)bnx_os.madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK); /* Linux 4.14 */
    return 0;
}

static void free_parts(struct bnx_runtime *runtime) {
    bnx_thread_pool_destroy(runtime->threads);
    bnx_watchdog_free(runtime);
    free_workers(runtime);
    bnx_pool_fini(&runtime->tasks);
    bnx_pool_fini(&runtime->timers);
    bnx_stack_pool_fini(&runtime->stacks);
    bnx_topology_fini(&runtime->topology);
    if (runtime->fork_guard != NULL) {
        (void)bnx_os.munmap(runtime->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    }
    bnx_os.release(runtime);
}

static int load_machine(struct bnx_runtime *runtime) {
    cpu_set_t *allowed = NULL;
    size_t bytes = 0;
    int error = bnx_affinity_load(&allowed, &bytes);
    if (error != 0) {
        return error;
    }
    error = bnx_topology_load(&runtime->topology, "", allowed, bytes);
    if (error == 0 && runtime->worker_count == 0) {
        error = bnx_worker_count("", allowed, bytes, &runtime->worker_count);
    }
    bnx_os.release(allowed);
    if (runtime->worker_count > BNX_WORKERS_MAX) {
        runtime->worker_count = BNX_WORKERS_MAX;
    }
    /* Fewer workers than CPUs share the machine with others. Who chose the same few CPUs in every
     * process, each with a quota of two CPUs say, would pile them all up there. */
    runtime->is_placed = (runtime->flags & BNX_NO_AFFINITY) == 0 &&
                         runtime->worker_count == runtime->topology.cpu_count;
    return error;
}

/* Makes the workers, each with its driver, and lets them run; or leaves none. Nobody else is in. */
static int raise_workers(struct bnx_runtime *runtime) {
    bnx_idle_init(&runtime->idle, runtime->worker_count);
    runtime->phase = BNX_PLANT(raise_keeps_phase) ? runtime->phase : BNX_PHASE_RUNNING;
    runtime->workers_ready = runtime->workers_go = runtime->workers_left = 0;
    bool is_guest = (runtime->flags & BNX_GUEST) != 0;
    int error = allocate_workers(runtime);
    if (error == 0) {
        error = is_guest ? bnx_guest_open(runtime) : start_workers(runtime);
    }
    if (error != 0) {
        free_workers(runtime);
    }
    return error;
}

/* The machine does not have the driver, or not enough for it; what else fails would fail again. */
static bool is_refusal(int error) {
    return error == -ENOSYS || error == -EPERM || error == -EACCES || error == -EINVAL ||
           error == -ENOMEM || error == -EOPNOTSUPP;
}

static int raise_with_some_driver(struct bnx_runtime *runtime, enum bnx_driver_kind kind) {
    const struct bnx_driver_ops *fallback = NULL;
    bnx_driver_choose(kind, &runtime->driver_ops, &fallback);
    int error = raise_workers(runtime);
    if (!is_refusal(error) || fallback == NULL || BNX_PLANT(driver_has_no_fallback)) {
        return error;
    }
    bnx_runtime_log(runtime, BNX_LOG_WARNING, "%s is refused (%s): all workers use %s",
                    runtime->driver_ops->name, strerrordesc_np(-error), fallback->name);
    runtime->driver_ops = fallback;
    return raise_workers(runtime);
}

static int build(struct bnx_runtime *runtime, const struct bnx_options *options) {
    int error = load_machine(runtime);
    if (error != 0) {
        return error;
    }
    bnx_lock_init(&runtime->global.lock);
    for (unsigned lane = 0; lane < BNX_LANES; lane++) {
        bnx_lock_init(&runtime->lanes[lane].lock);
    }
    bnx_scope_init_root(&runtime->root, runtime);
    bnx_pool_init(&runtime->tasks, sizeof(struct bnx_task), runtime->tasks_max);
    bnx_pool_init(&runtime->timers, sizeof(struct bnx_timer_node), TIMERS_MAX);
    struct bnx_stack_options stacks = {.log = log_stack_warning, .log_arg = runtime};
    error = bnx_stack_pool_init(&runtime->stacks, &stacks);
    if (error == 0) {
        error = make_fork_guard(runtime);
    }
    if (error == 0) {
        uint32_t most = options->offload_threads_max;
        error = bnx_thread_pool_create(most != 0 ? most : OFFLOAD_THREADS_DEFAULT,
                                       (runtime->flags & BNX_NO_RESCUE) == 0, &runtime->threads);
    }
    return error != 0 ? error : raise_with_some_driver(runtime, options->driver);
}

static size_t describe_owner(void *owner, char *buffer, size_t bytes) {
    return bnx_task_describe(owner, 0, buffer, bytes);
}

/* Both are services that can do without: a program may hook these signals itself. */
static void hook_signals(struct bnx_runtime *runtime) {
    if ((runtime->flags & BNX_CRASH_REPORT) != 0 && bnx_crash_install(describe_owner) != 0) {
        runtime->flags &= ~(unsigned)BNX_CRASH_REPORT;
    }
    if ((runtime->flags & BNX_NO_WATCHDOG) != 0) {
        runtime->flags |= BNX_NO_RESCUE;
    }
    if ((runtime->flags & BNX_NO_RESCUE) == 0 && bnx_rescue_install() != 0) {
        runtime->flags |= BNX_NO_RESCUE;
        bnx_runtime_log(runtime, BNX_LOG_WARNING, "no free real-time signal: no rescue of stalls");
    }
}

static void unhook_signals(struct bnx_runtime *runtime) {
    if ((runtime->flags & BNX_CRASH_REPORT) != 0) {
        bnx_crash_uninstall();
    }
    if ((runtime->flags & BNX_NO_RESCUE) == 0) {
        bnx_rescue_uninstall();
    }
}

int bnx_runtime_create(const struct bnx_options *options, struct bnx_runtime **out_runtime) {
    struct bnx_options chosen = {0};
    if (options != NULL) {
        chosen = *options;
    }
    if (bnx_worker_current() != NULL) {
        return -EDEADLK;
    }
    int error = bnx_environment_apply(&chosen);
    if (error != 0) {
        return error;
    }
    bnx_os_init();
    error = bnx_task_hook_fork();
    if (error != 0) {
        return error;
    }
    struct bnx_runtime *runtime = bnx_os.allocate(sizeof(*runtime), BNX_APART_BYTES);
    if (runtime == NULL) {
        return -ENOMEM;
    }
    memset(runtime, 0, sizeof(*runtime));
    runtime->worker_count = chosen.worker_count;
    runtime->tasks_max = chosen.tasks_max != 0 ? chosen.tasks_max : TASKS_MAX_DEFAULT;
    runtime->stack_class =
        (uint8_t)(chosen.stack != BNX_STACK_DEFAULT ? chosen.stack : BNX_STACK_256K);
    runtime->flags = chosen.flags;
    runtime->grace_ns = chosen.grace_ns != 0 ? chosen.grace_ns : GRACE_NS_DEFAULT;
    runtime->spin_ns = chosen.min_wait_ns != 0 ? BNX_SPIN_NEVER : chosen.spin_ns;
    runtime->min_wait_ns = chosen.min_wait_ns;
    runtime->seed = chosen.seed != 0 ? chosen.seed : bnx_clock_now();
    runtime->log = chosen.log;
    runtime->log_arg = chosen.log_arg;
    runtime->foreign_id_next = 1;
    hook_signals(runtime);
    error = build(runtime, &chosen);
    if (error != 0) {
        unhook_signals(runtime);
        free_parts(runtime);
        return error;
    }
    if ((chosen.flags & BNX_NO_WATCHDOG) == 0) {
        error = bnx_watchdog_start(runtime);
        if (error != 0) {
            bnx_runtime_log(runtime, BNX_LOG_WARNING, "no watchdog: %d", error);
        }
    }
    *out_runtime = runtime;
    return 0;
}

/* ---- Stop, wait, destroy ---- */

int bnx_runtime_stop(struct bnx_runtime *runtime) {
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD;
    }
    uint32_t running = BNX_PHASE_RUNNING;
    (void)bnx_cas_seq_cst(&runtime->phase, &running, (uint32_t)BNX_PHASE_STOPPING); /* R1 */
    bnx_scope_hold(&runtime->root);
    bnx_scope_cancel_with(&runtime->root, BNX_CANCEL_STOP, -ESHUTDOWN); /* again: does nothing */
    bnx_runtime_drop_unstarted(runtime);
    bnx_scope_release(&runtime->root);
    return 0;
}

int bnx_runtime_wait(struct bnx_runtime *runtime, uint64_t deadline_ns) {
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD;
    }
    if (bnx_worker_current() != NULL) {
        return -EDEADLK;
    }
    if (runtime->guest != NULL && bnx_guest_is_host(runtime->guest)) {
        return bnx_guest_visit_until_empty(runtime->guest, deadline_ns);
    }
    for (;;) { /* ends with the last task, or with time */
        uint32_t seen = bnx_load_seq_cst(&runtime->root_empty); /* R2 */
        if (bnx_scope_root_children(&runtime->root) == 0) {
            return 0;
        }
        if (bnx_os.futex_wait(&runtime->root_empty, seen, deadline_ns) == -ETIMEDOUT) {
            return bnx_scope_root_children(&runtime->root) == 0 ? 0 : -ETIMEDOUT;
        }
    }
}

struct leak_report {
    struct bnx_runtime *runtime;
    uint64_t now_ns;
    int lines;
};

#define LEAK_LINES_MAX 20

static int report_leak(void *object, void *arg) {
    const struct bnx_task *task = object;
    struct leak_report *report = arg;
    if (bnx_load_relaxed(&task->id) == 0 || /* free */
        bnx_load_relaxed(&task->state) == BNX_TASK_DONE) {
        return 0;
    }
    char line[256];
    (void)bnx_task_describe(task, report->now_ns, line, sizeof(line));
    bnx_runtime_log(report->runtime, BNX_LOG_ERROR, "still alive: %s", line);
    return ++report->lines >= LEAK_LINES_MAX;
}

static int find_alive(void *object, void *arg) {
    const struct bnx_task *task = object;
    bool *is_alive = arg;
    *is_alive = bnx_load_relaxed(&task->id) != 0 && /* the answer that the caller has orders both */
                bnx_load_relaxed(&task->state) != BNX_TASK_DONE;
    return *is_alive;
}

/* Whether there are tasks that have more to do than to leave. Waits for those that have not. */
static bool is_anyone_alive(struct bnx_runtime *runtime) {
    bool is_alive = false;
    /* Ends: a task that has done its work leaves in some instructions; nobody spawns any more. */
    while (!is_alive && bnx_scope_root_children(&runtime->root) != 0) {
        (void)bnx_pool_foreach(&runtime->tasks, find_alive, &is_alive);
        bnx_os.thread_yield();
    }
    return is_alive;
}

int bnx_runtime_destroy(struct bnx_runtime *runtime) {
    if (runtime == NULL) {
        return 0;
    }
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD; /* first: the child of a fork in a task has that worker's thread-local */
    }
    if (bnx_worker_current() != NULL) {
        return -EDEADLK;
    }
    if (runtime->guest != NULL && !bnx_guest_is_host(runtime->guest)) {
        return -EPERM;
    }
    uint32_t before = bnx_exchange_seq_cst(&runtime->phase, BNX_PHASE_STOPPING); /* R1 */
    if (is_anyone_alive(runtime)) {
        bnx_store_seq_cst(&runtime->phase, before);                 /* R1 */
        if (bnx_load_seq_cst(&runtime->root.cancel) != 0) {         /* R1: a stop came in between */
            bnx_store_seq_cst(&runtime->phase, BNX_PHASE_STOPPING); /* R1 */
        }
        struct leak_report report = {runtime, bnx_clock_now(), 0};
        (void)bnx_pool_foreach(&runtime->tasks, report_leak, &report);
        return -EBUSY;
    }
    /* Ends: their task has run already, so they are about to leave. */
    while (bnx_load_seq_cst(&runtime->foreign_wakers) != 0) { /* R3 */
        bnx_os.thread_yield();
    }
    bnx_thread_pool_destroy(runtime->threads); /* its threads may still be waking workers */
    runtime->threads = NULL;
    bnx_watchdog_stop(runtime);
    bnx_store_seq_cst(&runtime->phase, BNX_PHASE_ENDING); /* R1 */
    if (runtime->guest != NULL) {
        bnx_guest_close(runtime);
    } else {
        end_workers(runtime);
    }
    unhook_signals(runtime);
    free_parts(runtime);
    return 0;
}

/* ---- Asking ---- */

struct bnx_runtime *bnx_runtime_current(void) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL ? worker->runtime : NULL;
}

uint32_t bnx_runtime_worker_count(const struct bnx_runtime *runtime) {
    return runtime->worker_count;
}

void bnx_runtime_stats(const struct bnx_runtime *runtime, struct bnx_runtime_stats *out_stats) {
    struct bnx_runtime_stats sum = {0};
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        const struct bnx_worker *worker = &runtime->workers[i];
        const struct bnx_worker_counters *counters = &worker->counters;
        /* Relaxed: counters that their workers go on writing. */
        sum.spawned += bnx_load_relaxed(&counters->spawned);
        sum.inlined += bnx_load_relaxed(&counters->inlined);
        sum.forks_stolen += bnx_load_relaxed(&counters->forks_stolen);
        sum.switches += bnx_load_relaxed(&counters->switches);
        sum.steals += bnx_load_relaxed(&counters->steals);
        sum.parks += bnx_load_relaxed(&counters->parks);
        sum.wakes_sent += bnx_load_relaxed(&counters->wakes_sent);
        sum.polls += bnx_load_relaxed(&counters->polls);
        sum.rescues += bnx_load_relaxed(&counters->rescues);
        sum.completions += bnx_load_relaxed(&worker->driver->completions);
    }
    sum.stalls = bnx_watchdog_stalls(runtime);
    *out_stats = sum;
}

/* ---- What drivers ask of their worker ---- */

uint32_t bnx_worker_index(const struct bnx_worker *worker) {
    return worker->index;
}

struct bnx_driver *bnx_driver_current(void) {
    struct bnx_worker *worker = bnx_worker_current();
    return worker != NULL ? worker->driver : NULL;
}

struct bnx_thread_pool *bnx_thread_pool_current(void) {
    return bnx_worker_current()->runtime->threads;
}

struct bnx_worker *bnx_worker_peer(uint32_t index) {
    return &bnx_worker_current()->runtime->workers[index];
}

struct bnx_driver *bnx_worker_driver(struct bnx_worker *worker) {
    return worker->driver;
}
