/* SPDX-License-Identifier: MIT */
/*
 * bnx_main: a runtime and the signal policy of a whole program (bonxie/runtime.h).
 *
 * The calling thread runs no task. It waits on two descriptors: a signalfd for SIGINT and SIGTERM,
 * which are blocked in every thread, and an eventfd that says the first task has ended and the root
 * scope is empty.
 */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"

#include <bonxie/dump.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct program {
    struct bnx_runtime *runtime;
    bnx_task_fn fn;
    void *arg;
    int result;
    int done_fd; /* eventfd: fn has returned */
    int signal_fd;
    bool has_stragglers; /* tasks outlived the grace and may still use this */
    int signo;           /* the first one that came, or 0 */
};

static int run_program(void *arg) {
    struct program *program = arg;
    program->result = program->fn(program->arg);
    uint64_t one = 1;
    (void)bnx_os.write(program->done_fd, &one, sizeof(one)); /* an eventfd that nobody overfills */
    return 0;
}

static void print_log(enum bnx_log_level level, const char *line, void *arg) {
    (void)arg;
    if (level >= BNX_LOG_WARNING) {
        (void)fprintf(stderr, "bonxie: %s\n", line);
    }
}

/* The second signal: what hangs is what matters now, not leaving in good order. */
static BNX_NORETURN void dump_and_exit(struct program *program, int signo) {
    (void)fprintf(stderr, "bonxie: second signal, tasks still alive:\n");
    (void)bnx_runtime_dump(program->runtime, STDERR_FILENO);
    _exit(128 + signo);
}

static void take_signal(struct program *program) {
    struct signalfd_siginfo info;
    if (bnx_os.read(program->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return;
    }
    if (program->signo != 0) {
        dump_and_exit(program, (int)info.ssi_signo);
    }
    program->signo = (int)info.ssi_signo;
    (void)bnx_runtime_stop(program->runtime);
}

/* Waits for fn, then for what it left in the root scope; signals may come all the while. Returns
 * false when the grace is over and tasks still live. */
static bool wait_for_end(struct program *program) {
    struct bnx_runtime *runtime = program->runtime;
    uint64_t deadline_ns = BNX_NEVER_NS;
    bool is_done = false;
    for (;;) { /* ends with the last task, or with the grace */
        if (is_done && bnx_runtime_wait(runtime, 0) == 0) {
            return true;
        }
        uint64_t now_ns = bnx_clock_now();
        if (program->signo != 0 && deadline_ns == BNX_NEVER_NS) {
            deadline_ns = bnx_clock_after(now_ns, runtime->grace_ns);
        }
        if (now_ns >= deadline_ns) {
            return false;
        }
        struct pollfd fds[2] = {{.fd = program->signal_fd, .events = POLLIN},
                                {.fd = program->done_fd, .events = POLLIN}};
        /* Once fn is done its descriptor stays readable and says nothing: look again soon. */
        int timeout_ms = is_done ? 1 : -1;
        if (deadline_ns != BNX_NEVER_NS && !is_done) {
            uint64_t left_ms = (deadline_ns - now_ns) / BNX_NS_PER_MS + 1;
            timeout_ms = left_ms < INT_MAX ? (int)left_ms : INT_MAX;
        }
        if (bnx_os.poll(fds, is_done ? 1 : 2, timeout_ms) <= 0) {
            continue;
        }
        if ((fds[0].revents & POLLIN) != 0) {
            take_signal(program);
        }
        if (!is_done && (fds[1].revents & POLLIN) != 0) {
            is_done = true;
            (void)bnx_runtime_stop(runtime);
        }
    }
}

static void close_program(struct program *program) {
    if (program->signal_fd >= 0) {
        (void)bnx_os.close(program->signal_fd);
    }
    if (program->done_fd >= 0) {
        (void)bnx_os.close(program->done_fd);
    }
    bnx_os.release(program);
}

static int open_descriptors(struct program *program, const sigset_t *signals) {
    program->signal_fd = -1;
    program->done_fd = bnx_os.eventfd(0, EFD_CLOEXEC);
    if (program->done_fd < 0) {
        return program->done_fd;
    }
    program->signal_fd = bnx_os.signalfd(-1, signals, SFD_CLOEXEC);
    return program->signal_fd < 0 ? program->signal_fd : 0;
}

static int run_with_descriptors(struct program *program, const struct bnx_options *options) {
    int error = bnx_runtime_create(options, &program->runtime);
    if (error != 0) {
        return error;
    }
    error = bnx_runtime_spawn(program->runtime, run_program, program, NULL);
    if (error != 0) {
        (void)bnx_runtime_destroy(program->runtime);
        return error;
    }
    if (!wait_for_end(program)) {
        (void)fprintf(stderr, "bonxie: tasks that did not end in time:\n");
        (void)bnx_runtime_dump(program->runtime, STDERR_FILENO);
        program->has_stragglers = true;
        return 128 +
               program->signo; /* their stacks, rings and the runtime are left to the kernel */
    }
    (void)bnx_runtime_destroy(program->runtime);
    if (program->signo != 0 && program->result == -ECANCELED) {
        return 128 + program->signo;
    }
    return program->result;
}

int bnx_main_with(const struct bnx_options *options, bnx_task_fn fn, void *arg) {
    if (fn == NULL) {
        return -EINVAL;
    }
    struct bnx_options chosen = {0};
    if (options != NULL) {
        chosen = *options;
    }
    chosen.flags |= BNX_CRASH_REPORT;
    if (chosen.log == NULL) {
        chosen.log = print_log;
    }
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction pipe_before;
    (void)sigaction(SIGPIPE, &ignore, &pipe_before);
    /* On the heap: a straggler may still write to it when this frame is gone. */
    struct program *program = bnx_os.allocate(sizeof(*program), _Alignof(struct program));
    int result = -ENOMEM;
    if (program != NULL) {
        *program = (struct program){.fn = fn, .arg = arg};
        result = open_descriptors(program, &signals);
        if (result == 0) {
            result = run_with_descriptors(program, &chosen);
        }
        if (!program->has_stragglers) {
            close_program(program);
        }
    }
    (void)sigaction(SIGPIPE, &pipe_before, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

int bnx_main(bnx_task_fn fn, void *arg) {
    return bnx_main_with(NULL, fn, arg);
}
