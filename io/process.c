/* SPDX-License-Identifier: MIT */
/*
 * Processes (bonxie/process.h): a pidfd, and a waitable that is done when it becomes readable.
 *
 * Concepts
 *   watch  a waiter of the process itself in the poller of the worker that started it, from the
 *          start to the release. A pidfd becomes readable once: then whoever finds that out reaps,
 *          and claims all who wait. One that a debugger holds is readable as well, and cannot be
 *          reaped before that lets it go, of which nothing tells.
 *   looker who waits in bnx_process_wait, or at the end of the scope: told that the process is
 *          held, he looks again and again, and by him all others learn of its end.
 *   end    a deferred function of the scope. Its wait for a process that got SIGKILL is refused by
 *          no cancel: the kernel ends the process at once, unless it sleeps in a driver.
 *
 * Ordering
 *   Q1 the process's lock: the result, the waiters, the pipes. Taken inside the poller's (P1).
 */
#include <bonxie/process.h>

#include "io/op.h"

#include "runtime/waiter.h"

#include <bonxie/file.h>
#include <bonxie/offload.h>
#include <bonxie/time.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RUNNING INT32_MIN /* no result yet */
#define GRACE_NS UINT64_C(1000000000)
#define HELD_NS UINT64_C(10000000) /* between two looks at one that a debugger holds */

struct bnx_process {
    struct bnx_waitable waitable; /* immutable */
    struct bnx_lock lock;
    int result;                     /* Q1 */
    struct bnx_waiter_list waiters; /* Q1 */
    struct bnx_waiter_list lookers; /* Q1 */
    int pipes[3];                   /* our ends; -1: none, or given out; Q1 */
    bool is_held;                   /* it has ended, and cannot be reaped yet; Q1 */
    struct bnx_waiter watch;        /* the poller's */
    struct bnx_poller *poller;      /* immutable, as all that follows */
    int pidfd;
    pid_t pid;
    int end_signal;
    uint64_t grace_ns;
};

static struct bnx_process *process_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_process, waitable);
}

/* ---- Its end ---- */

static int result_of(const siginfo_t *info) {
    return info->si_code == CLD_EXITED ? info->si_status : BNX_PROCESS_KILLED + info->si_status;
}

static void wake_all(struct bnx_waiter_list *list, int result) {
    struct bnx_wakee wakee;
    while (bnx_waiter_list_claim(list, result, &wakee) != NULL) { /* ends: one fewer each round */
        bnx_wakee_wake(&wakee);
    }
}

/* Reaps it, if it has ended. Under the lock. */
static void look(struct bnx_process *process) {
    if (process->result != RUNNING) {
        return;
    }
    siginfo_t info = {0};
    int error = bnx_os.waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG);
    if (error == 0 && info.si_pid == 0) {
        return;
    }
    process->result = error != 0 ? error : result_of(&info);
    wake_all(&process->waiters, process->result);
    wake_all(&process->lookers, process->result);
}

/* The pidfd is readable. The fire function of the watch: under the poller's lock. */
static bool on_end(struct bnx_waiter *watch, struct bnx_wakee *out_wakee) {
    struct bnx_process *process = watch->owner;
    (void)out_wakee;                  /* nobody: each of the others was woken by himself */
    bnx_lock_acquire(&process->lock); /* Q1 */
    look(process);
    process->is_held = process->result == RUNNING && !BNX_PLANT(process_looks_once);
    if (process->is_held) {
        wake_all(&process->lookers, 0);
    }
    bnx_lock_release(&process->lock); /* Q1 */
    return true;
}

static bool is_held(struct bnx_process *process) {
    bnx_lock_acquire(&process->lock); /* Q1 */
    bool is_held = process->is_held;
    bnx_lock_release(&process->lock); /* Q1 */
    return is_held;
}

static bool take(struct bnx_waitable *waitable, void *data, int *out_result) {
    struct bnx_process *process = process_of(waitable);
    (void)data;
    bnx_lock_acquire(&process->lock); /* Q1 */
    look(process);
    int result = process->result;
    bnx_lock_release(&process->lock); /* Q1 */
    if (result != RUNNING) {
        *out_result = result;
    }
    return result != RUNNING;
}

static bool add(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_process *process = process_of(waitable);
    bnx_lock_acquire(&process->lock); /* Q1 */
    bool is_added = process->result == RUNNING;
    if (is_added) {
        bnx_waiter_list_push(&process->waiters, waiter);
    }
    bnx_lock_release(&process->lock); /* Q1 */
    return is_added;
}

static void leave(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_process *process = process_of(waitable);
    bnx_lock_acquire(&process->lock); /* Q1 */
    bnx_waiter_list_remove(&process->waiters, waiter);
    bnx_lock_release(&process->lock); /* Q1 */
}

/* As add and leave, for a looker: one that is held is none to wait for. */
static bool add_looker(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_process *process = process_of(waitable);
    bnx_lock_acquire(&process->lock); /* Q1 */
    bool is_added = process->result == RUNNING && !process->is_held;
    if (is_added) {
        bnx_waiter_list_push(&process->lookers, waiter);
    }
    bnx_lock_release(&process->lock); /* Q1 */
    return is_added;
}

static void leave_looker(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_process *process = process_of(waitable);
    bnx_lock_acquire(&process->lock); /* Q1 */
    bnx_waiter_list_remove(&process->lookers, waiter);
    bnx_lock_release(&process->lock); /* Q1 */
}

static const struct bnx_waitable_ops looker_ops = {
    .take = take,
    .add = add_looker,
    .remove = leave_looker,
    .name = "process",
};

static const struct bnx_waitable_ops process_ops = {
    .take = take,
    .add = add,
    .remove = leave,
    .name = "process",
};

struct bnx_waitable *bnx_process_waitable(struct bnx_process *process) {
    return &process->waitable;
}

int bnx_process_wait(struct bnx_process *process) {
    struct bnx_task *self = bnx_task_current();
    int result;
    int error = self != NULL ? bnx_task_cancel_check(self) : 0;
    if (error != 0) {
        return error;
    }
    if (take(&process->waitable, NULL, &result)) {
        if (self != NULL) {
            bnx_task_spend(self);
        }
        return result;
    }
    do { /* ends with the process, or a cancel */
        error = is_held(process)
                    ? bnx_sleep(HELD_NS)
                    : bnx_waitable_wait(&looker_ops, &process->waitable, BNX_WAIT_PROCESS,
                                        (const void *)(intptr_t)process->pid);
    } while (error == 0 && !take(&process->waitable, NULL, &result));
    return error != 0 ? error : result;
}

pid_t bnx_process_id(const struct bnx_process *process) {
    return process->pid;
}

int bnx_process_signal(struct bnx_process *process, int signo) {
    return bnx_os.pidfd_signal(process->pidfd, signo);
}

int bnx_process_take_pipe(struct bnx_process *process, int number) {
    if (number < 0 || number > STDERR_FILENO) {
        return -EBADF;
    }
    bnx_lock_acquire(&process->lock); /* Q1 */
    int fd = process->pipes[number];
    process->pipes[number] = -1;
    bnx_lock_release(&process->lock); /* Q1 */
    return fd >= 0 ? fd : -EBADF;
}

/* ---- With its scope ---- */

/* Whatever cancels come: each ends one of the waits. It has got SIGKILL. */
static void wait_steadily(struct bnx_process *process) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    int result;
    bnx_sleeper_init(&sleeper);
    while (!take(&process->waitable, NULL, &result)) { /* ends with the process */
        if (is_held(process)) {
            bnx_task_nap(bnx_task_current(), HELD_NS);
            continue;
        }
        bnx_waiter_init(&waiter, &sleeper, NULL);
        (void)bnx_sleeper_begin_always(&sleeper); /* fails for a thread alone */
        bool is_added = add_looker(&process->waitable, &waiter);
        if ((is_added || !bnx_sleeper_withdraw(&sleeper)) &&
            bnx_sleeper_sleep(&sleeper, BNX_WAIT_PROCESS, (const void *)(intptr_t)process->pid) !=
                0 &&
            is_added) {
            leave_looker(&process->waitable, &waiter);
        }
    }
}

static int wait_in_grace(void *arg) {
    return bnx_process_wait(arg);
}

static void close_pipes(struct bnx_process *process) {
    for (int i = 0; i < 3; i++) {
        int fd = bnx_process_take_pipe(process, i);
        if (fd >= 0) {
            (void)bnx_close(fd);
        }
    }
}

/* Nobody knows the process any more. */
static void release(struct bnx_process *process) {
    bnx_poller_remove(process->poller, process->pidfd, &process->watch);
    (void)bnx_poller_close_fd(process->poller, process->pidfd);
    (void)bnx_os.close(process->pidfd);
    bnx_os.release(process);
}

/* The deferred function. SIGCONT, because one that is stopped would not hear of its end. */
static void end(void *arg) {
    struct bnx_process *process = arg;
    int result;
    close_pipes(process);
    bool has_ended = take(&process->waitable, NULL, &result);
    if (!has_ended && !BNX_PLANT(process_outlives_scope)) {
        (void)bnx_process_signal(process, process->end_signal); /* -ESRCH: it has just ended */
        (void)bnx_process_signal(process, SIGCONT);
        (void)bnx_timeout(process->grace_ns, wait_in_grace, process);
        if (!take(&process->waitable, NULL, &result)) {
            (void)bnx_process_signal(process, SIGKILL);
            wait_steadily(process);
        }
    }
    release(process);
}

/* ---- Starting ---- */

/* What a thread of the pool needs. */
struct start {
    struct bnx_os_process how;
    int theirs[3]; /* ends that are closed once the process has them; -1: none */
    struct bnx_process *process;
};

/* A number above those that the process gets them at: none of them is overwritten on the way. */
static int move_up(int fd, bool is_ours) {
    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    int moved = bnx_os.fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (is_ours) {
        (void)bnx_os.close(fd);
    }
    return moved;
}

static int open_pipe(struct start *start, int number) {
    int fds[2];
    int error = bnx_os.pipe2(fds, O_CLOEXEC);
    if (error != 0) {
        return error;
    }
    bool is_input = number == STDIN_FILENO;
    start->process->pipes[number] = fds[is_input ? 1 : 0];
    return fds[is_input ? 0 : 1];
}

static int open_one(struct start *start, int number, const struct bnx_stdio *stdio) {
    int fd = -1;
    switch (stdio->kind) {
    case BNX_STDIO_INHERIT:
        return 0;
    case BNX_STDIO_NULL:
        fd = move_up(bnx_os.openat(AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0), true);
        start->theirs[number] = fd;
        break;
    case BNX_STDIO_PIPE:
        fd = move_up(open_pipe(start, number), true);
        start->theirs[number] = fd;
        break;
    case BNX_STDIO_FD:
        fd = move_up(stdio->fd, false);
        start->theirs[number] = fd != stdio->fd ? fd : -1;
        break;
    case BNX_STDIO_OUTPUT:
        start->how.is_merged = true;
        return 0;
    }
    start->how.stdio[number] = fd;
    return fd < 0 ? fd : 0;
}

static void close_theirs(struct start *start) {
    for (int i = 0; i < 3; i++) {
        if (start->theirs[i] >= 0) {
            (void)bnx_os.close(start->theirs[i]);
            start->theirs[i] = -1;
        }
    }
}

/* One that gets no watch. */
static void kill_unwatched(struct bnx_process *process) {
    siginfo_t info;
    id_t id = (id_t)process->pidfd;
    (void)bnx_os.pidfd_signal(process->pidfd, SIGKILL);
    while (bnx_os.waitid(P_PIDFD, id, &info, WEXITED) == -EINTR) { /* ends: it was killed */
    }
}

/* One that gets no pidfd, for want of descriptors. */
static void kill_nameless(pid_t pid) {
    siginfo_t info;
    (void)bnx_os.kill(pid, SIGKILL); /* it was not waited for: the number is still its own */
    while (bnx_os.waitid(P_PID, (id_t)pid, &info, WEXITED) == -EINTR) { /* ends: it was killed */
    }
}

/* On a thread of the pool: it sleeps until the program is loaded. */
static int start_child(void *arg) {
    struct start *start = arg;
    struct bnx_process *process = start->process;
    int error = bnx_os.process_spawn(&start->how, &process->pid);
    if (error != 0) {
        return error;
    }
    process->pidfd = bnx_os.pidfd_open(process->pid);
    if (process->pidfd == -ESRCH) {
        return -ECHILD; /* reaped by somebody else: the number may be another's by now */
    }
    if (process->pidfd < 0) {
        kill_nameless(process->pid);
        return process->pidfd;
    }
    return 0;
}

/* The child runs: it gets its watch and its place in the scope, or is ended again. */
static int settle(struct bnx_scope *scope, struct bnx_process *process) {
    int error = bnx_poller_add(process->poller, process->pidfd, POLLIN, &process->watch);
    if (error == 0) {
        error = bnx_defer(scope, end, process);
        if (error != 0) {
            bnx_poller_remove(process->poller, process->pidfd, &process->watch);
        }
    }
    if (error != 0) {
        kill_unwatched(process);
        (void)bnx_poller_close_fd(process->poller, process->pidfd);
        (void)bnx_os.close(process->pidfd);
    }
    return error;
}

static bool is_valid(const struct bnx_process_options *options) {
    const struct bnx_stdio *stdio[] = {&options->input, &options->output, &options->errors};
    if (options->argv == NULL || options->argv[0] == NULL || options->end_signal < 0 ||
        options->end_signal >= NSIG) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        bool is_last = i == STDERR_FILENO;
        unsigned kind_max = is_last ? BNX_STDIO_OUTPUT : BNX_STDIO_FD;
        if ((unsigned)stdio[i]->kind > kind_max ||
            (stdio[i]->kind == BNX_STDIO_FD && stdio[i]->fd < 0)) {
            return false;
        }
    }
    return true;
}

static int start_process(struct bnx_scope *scope, const struct bnx_process_options *options,
                         struct bnx_process *process) {
    struct start start = {
        .how = {.file = options->file != NULL ? options->file : options->argv[0],
                .argv = options->argv,
                .envp = options->envp != NULL ? options->envp : environ,
                .directory = options->directory,
                .stdio = {-1, -1, -1}},
        .theirs = {-1, -1, -1},
        .process = process,
    };
    process->poller = &bnx_io_driver_of(bnx_driver_current())->poller;
    int error = bnx_poller_open(process->poller);
    const struct bnx_stdio *stdio[] = {&options->input, &options->output, &options->errors};
    for (int i = 0; i < 3 && error == 0; i++) {
        error = open_one(&start, i, stdio[i]);
    }
    if (error == 0) {
        error = bnx_offload(start_child, &start);
    }
    close_theirs(&start);
    return error != 0 ? error : settle(scope, process);
}

int bnx_process_spawn(struct bnx_scope *scope, const struct bnx_process_options *options,
                      struct bnx_process **out_process) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    if (scope == NULL || options == NULL || out_process == NULL || !is_valid(options)) {
        return -EINVAL;
    }
    if (scope->owner != self) {
        return -EPERM;
    }
    int error = bnx_task_cancel_check(self);
    if (error != 0) {
        return error;
    }
    struct bnx_process *process = bnx_os.allocate(sizeof(*process), _Alignof(struct bnx_process));
    if (process == NULL) {
        return -ENOMEM;
    }
    *process = (struct bnx_process){
        .waitable = {&process_ops},
        .result = RUNNING,
        .pipes = {-1, -1, -1},
        .watch = {.fire = on_end, .owner = process},
        .end_signal = options->end_signal != 0 ? options->end_signal : SIGTERM,
        .grace_ns = options->grace_ns != 0 ? options->grace_ns : GRACE_NS,
    };
    bnx_lock_init(&process->lock);
    error = start_process(scope, options, process);
    if (error != 0) {
        close_pipes(process);
        bnx_os.release(process);
        return error;
    }
    *out_process = process;
    return 0;
}
