/* SPDX-License-Identifier: MIT */
/*
 * A runtime: worker threads, one event loop each, that run tasks and steal them from each other.
 *
 * Most programs call bnx_main (a program of its own, with signals) or bnx_run (part of a program)
 * and nothing else of this file. Several runtimes may live in one process.
 */
#ifndef BONXIE_RUNTIME_H
#define BONXIE_RUNTIME_H

#include <bonxie/base.h>
#include <bonxie/stack.h>

BNX_EXTERN_C_BEGIN

enum bnx_driver_kind {
    BNX_DRIVER_AUTO = 0,  /* io_uring today, unless BONXIE_DRIVER says otherwise */
    BNX_DRIVER_URING = 1, /* io_uring, Linux 6.1 or newer */
    BNX_DRIVER_EPOLL = 2  /* readiness; runs where io_uring is forbidden or too old */
};

enum bnx_log_level {
    BNX_LOG_INFO = 0,
    BNX_LOG_WARNING = 1, /* a fall-back was taken, a limit was met */
    BNX_LOG_ERROR = 2    /* something was lost: a leaked task, a failed detached task */
};

enum bnx_option_flags {
    BNX_NO_RESCUE = 1u << 0,   /* no rescue signal: a stalled worker's completions wait for it */
    BNX_NO_WATCHDOG = 1u << 1, /* no watchdog thread: no stall reports, no rescue */
    BNX_NO_AFFINITY =
        1u << 2, /* workers run on any CPU; else, when they are as many as the CPUs, each stays
                  * with those that share a last-level cache, and so do threads and programs that
                  * a task starts other than by this library */
    BNX_CRASH_REPORT =
        1u << 3,        /* SIGSEGV and SIGBUS on a stack guard name the task; bnx_main sets it */
    BNX_GUEST = 1u << 4 /* no threads for workers: the caller's loop runs the one worker there is */
};

#define BNX_SPIN_NEVER UINT64_MAX /* spin_ns: park at once */

/* Zeroed means defaults. Read by bnx_runtime_create and not kept. */
struct bnx_options {
    uint32_t
        worker_count; /* 0 = the CPUs this process may use (affinity, cgroup quota), at most 256 */
    enum bnx_driver_kind driver; /* what the workers park on */
    uint64_t spin_ns; /* an idle worker spins so long before it parks; 0 = adaptive, up to 20 us */
    uint64_t min_wait_ns; /* for throughput: an idle worker sleeps until 8 operations, or all it
                           * has, have completed, or so long until one has; 0 = until one has.
                           * Wakes, timers and cancels do not wait, and nobody spins. Left aside on
                           * epoll, by guests, before Linux 6.12. Measure: it may cost CPU */
    enum bnx_stack_class stack; /* of tasks that do not say; 0 = 256 KiB of address space */
    uint32_t tasks_max; /* live tasks, at most; 0 = 16,777,216. Beyond it a spawn is -EAGAIN */
    uint32_t offload_threads_max; /* of the pool behind bnx_offload; 0 = 64 */
    uint64_t grace_ns; /* bnx_main, _stop: how long cancelled tasks may clean up; 0 = 2 s */
    uint64_t seed;     /* of every random choice of the scheduler; 0 = from the clock */
    unsigned flags;    /* enum bnx_option_flags */
    void (*log)(enum bnx_log_level level, const char *line,
                void *arg); /* any thread; NULL = silence */
    void *log_arg;
};

/**
 * Runs fn(arg) as the first task of a new runtime, waits for it and for every task it left in the
 * root scope (cancelled once fn has returned), and destroys the runtime.
 * @param options NULL for defaults.
 * Returns fn's value; or, when fn never ran, -EINVAL (options or environment), -ENOMEM, -EMFILE,
 * -EAGAIN (threads), -ENOSYS, -EPERM, -EACCES or -EINVAL (the kernel refuses the driver or is too
 * old for it), -EDEADLK (from a task).
 * Context: any thread that is no task. Blocks.
 */
BNX_API int bnx_run(const struct bnx_options *options, bnx_task_fn fn, void *arg);

/**
 * bnx_run for a whole program: SIGINT and SIGTERM cancel the root scope, tasks get grace_ns to end,
 * stragglers are reported on stderr; a second signal dumps all tasks to stderr and exits at once.
 * SIGPIPE is ignored. A stack overflow names its task.
 * Returns fn's value; 130 (SIGINT) or 143 (SIGTERM) where fn returned -ECANCELED after a signal; a
 * negative -errno as bnx_run when fn never ran.
 * Context: the main thread, before other threads exist (it blocks SIGINT and SIGTERM for them).
 */
BNX_API int bnx_main(bnx_task_fn fn, void *arg);

/** bnx_main with options; NULL for defaults. */
BNX_API int bnx_main_with(const struct bnx_options *options, bnx_task_fn fn, void *arg);

/**
 * Creates a runtime; its workers start now and park.
 * @param options NULL for defaults.
 * @param out_runtime receives the runtime; untouched on failure. Free it with bnx_runtime_destroy.
 * Returns 0, or as bnx_run when fn never ran.
 * Context: any thread that is no task.
 */
BNX_API int bnx_runtime_create(const struct bnx_options *options, struct bnx_runtime **out_runtime);

/**
 * Runs fn(arg) as a task and waits until it has returned. May be called again and again, also by
 * several threads at once. Tasks that fn left in the root scope go on.
 * Returns fn's value; when fn never ran: -ENOMEM, -EAGAIN (tasks_max), -ESHUTDOWN (stopped),
 * -EDEADLK (called from a task).
 * The host of a guest runs its tasks meanwhile, as in bnx_runtime_poll; other threads only wait.
 */
BNX_API int bnx_runtime_run(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg);

/**
 * Asks the runtime to stop: its root scope is cancelled, so every suspending call says -ECANCELED;
 * later spawns into it fail with -ESHUTDOWN. Does not wait.
 * Context: any thread, tasks included, never suspends; not a signal handler. Returns 0; again: 0.
 */
BNX_API int bnx_runtime_stop(struct bnx_runtime *runtime);

/**
 * Waits until no task is left.
 * @param deadline_ns monotonic (bnx_now); UINT64_MAX waits for ever.
 * Returns 0; -ETIMEDOUT with tasks still alive; -EDEADLK (called from a task).
 * The host of a guest runs its tasks meanwhile, as in bnx_runtime_poll, once at least.
 */
BNX_API int bnx_runtime_wait(struct bnx_runtime *runtime, uint64_t deadline_ns);

/**
 * Ends the workers and frees the runtime.
 * Returns 0; -EBUSY while tasks live, with a report through the log callback, and nothing changed;
 * -EDEADLK (called from a task); -EPERM: a guest, by another thread than its host. NULL is 0.
 */
BNX_API int bnx_runtime_destroy(struct bnx_runtime *runtime);

/**
 * Spawns fn(arg) into the root scope of a runtime from any thread.
 * @param out_future receives a future that carries fn's value as (void *)(intptr_t), one reference
 *   (bnx_future_unref) owned by the caller; NULL: no future.
 * Returns 0; -ENOMEM, -EAGAIN (tasks_max), -ESHUTDOWN (stopping), -EINVAL, -ECHILD (fork child).
 * Context: any thread; never suspends.
 */
BNX_API int bnx_runtime_spawn(struct bnx_runtime *runtime, bnx_task_fn fn, void *arg,
                              struct bnx_future **out_future);

/*
 * A guest: a runtime inside the event loop of somebody else (flag BNX_GUEST).
 *
 * It has one worker, which runs on the thread that created the runtime, its host, and only while
 * that is in bnx_runtime_poll, _run, _wait or _destroy. A ring belongs to the thread that made it,
 * so other threads may not poll or destroy it (-EPERM); they may spawn, stop, run and wait, set
 * futures and cancel while the host goes on polling. A host's loop:
 *
 *     struct pollfd fds[2] = {{.fd = own_fd, .events = POLLIN},
 *                             {.fd = bnx_runtime_fd(runtime), .events = POLLIN}};
 *     while (!is_over) {
 *         poll(fds, 2, -1);
 *         if ((fds[0].revents & POLLIN) != 0) {
 *             read_own(own_fd);
 *         }
 *         if ((fds[1].revents & POLLIN) != 0) {
 *             bnx_runtime_poll(runtime, 0);
 *         }
 *     }
 *
 * worker_count is 0 or 1; BNX_CRASH_REPORT and bnx_main are refused (-EINVAL), and no signal is
 * used: the thread, its signal mask, its signal stack and its CPUs are the host's. The watchdog
 * thread there is all the same, unless BNX_NO_WATCHDOG; it reports a task that keeps the host, and
 * never a host that does not poll. The host's signal handlers run on the stack of the task that
 * they interrupt, unless they ask for SA_ONSTACK. A poll leaves errno and the rounding mode alone.
 *
 * Between two polls the host is a thread like any other, but that nobody runs the guest's tasks
 * while it sleeps elsewhere: a bnx_future_await, or a mutex, semaphore or channel of bonxie, that
 * waits there for a task of the guest waits for ever. bnx_join says -EDEADLK. Poll until
 * bnx_future_poll has it, or use bnx_runtime_run. The thread must live as long as its guest: the
 * kernel ends the operations of a thread that exits.
 */

/**
 * Runs what is ready in a guest: takes completions, fires timers, runs tasks, until all of them
 * wait, for about a millisecond at most (longer where one task takes longer); then what is left
 * makes bnx_runtime_fd readable at once.
 * @param max_ns how long to wait for something to do, when there is nothing: 0 does not wait,
 *   UINT64_MAX waits for ever. In whole milliseconds, rounded up.
 * Returns the number of switches between stacks that this took, more than 0 whenever a task has
 * run; 0: nothing to do, or a signal handler has run while it waited; -EINVAL: no guest; -EPERM:
 * another thread than the one that created it; -EDEADLK: from a task, of whichever runtime, or a
 * callback on a worker; -ECHILD (fork child).
 * Context: the host. Blocks up to max_ns.
 */
BNX_API int bnx_runtime_poll(struct bnx_runtime *runtime, uint64_t max_ns);

/**
 * Returns a descriptor that poll(2) and epoll report as readable (level-triggered) when a
 * bnx_runtime_poll would find something to do: a completion, a due timer, a wake from elsewhere. It
 * stays the same for the life of the runtime, which owns it: wait for it and do nothing else with
 * it. Each poll sets it anew, so a host that polls without having waited for it breaks nothing.
 * -EINVAL: no guest; -ECHILD (fork child). Any thread.
 */
BNX_API int bnx_runtime_fd(const struct bnx_runtime *runtime);

/** Returns the runtime of the calling task, or NULL on a thread that runs no task. */
BNX_API struct bnx_runtime *bnx_runtime_current(void);

/** Returns how many workers a runtime has. */
BNX_API uint32_t bnx_runtime_worker_count(const struct bnx_runtime *runtime);

/* Counters since the runtime was created, summed over its workers; not a cut in time. */
struct bnx_runtime_stats {
    uint64_t spawned;      /* tasks spawned */
    uint64_t inlined;      /* tasks that ran on their parent's stack at its scope's close */
    uint64_t forks_stolen; /* forks run by another worker than the one that forked them */
    uint64_t switches;     /* stack switches */
    uint64_t steals;       /* successful raids on another worker's queues */
    uint64_t parks;        /* times a worker went to sleep */
    uint64_t wakes_sent;   /* times a sleeping worker was woken by another thread */
    uint64_t polls;        /* times a worker asked its driver for completions */
    uint64_t completions;  /* operations completed by the driver */
    uint64_t rescues; /* times a stalled worker's completions or timers were served by another */
    uint64_t stalls;  /* stall reports */
};

/** Fills out_stats. Context: any thread; never suspends. */
BNX_API void bnx_runtime_stats(const struct bnx_runtime *runtime,
                               struct bnx_runtime_stats *out_stats);

BNX_EXTERN_C_END

#endif
