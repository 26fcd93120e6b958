/* SPDX-License-Identifier: MIT */
/*
 * Processes: started, talked to through pipes, waited for, and gone when their scope ends.
 *
 *     struct bnx_process_options options = {.argv = argv, .output = {.kind = BNX_STDIO_PIPE}};
 *     struct bnx_process *process;
 *     int error = bnx_process_spawn(&scope, &options, &process);
 *     ...
 *     int fd = bnx_process_take_pipe(process, STDOUT_FILENO);
 *     ... bnx_read(fd, ...), bnx_close(fd) ...
 *     int result = bnx_process_wait(process);
 *
 * A process belongs to a scope, as a task does: when the scope closes, after its tasks have ended,
 * a process that still runs is ended, by a signal, and by SIGKILL when its grace is over. It is
 * reaped in any case: no zombie stays, and no descriptor. (The processes that it has started itself
 * are its own affair.)
 *
 * The process begins with no signal blocked or ignored, and of the caller's descriptors it has 0, 1
 * and 2 and no others, whatever O_CLOEXEC says. It may run on all CPUs of the runtime. Its timer
 * slack is what the program's was before its first runtime. (Workers have 1 ns; a thread that a
 * task starts by itself inherits that.)
 *
 * A process is known by its pidfd: neither SIGCHLD nor a handler is used, and no other process can
 * be meant by mistake. SIGCHLD must not be ignored, and nobody else may wait for it (waitpid(-1)):
 * then its result is -ECHILD.
 */
#ifndef BONXIE_PROCESS_H
#define BONXIE_PROCESS_H

#include <bonxie/base.h>
#include <bonxie/scope.h>
#include <bonxie/waitable.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

enum bnx_stdio_kind {
    BNX_STDIO_INHERIT = 0, /* the caller's own */
    BNX_STDIO_NULL = 1,    /* /dev/null */
    BNX_STDIO_PIPE = 2,    /* a pipe, whose other end bnx_process_take_pipe gives */
    BNX_STDIO_FD = 3,      /* the descriptor in fd, which stays the caller's */
    BNX_STDIO_OUTPUT = 4   /* of errors alone: where the output goes */
};

struct bnx_stdio {
    enum bnx_stdio_kind kind;
    int fd; /* of BNX_STDIO_FD */
};

/* Zeroed means defaults, but for argv. */
struct bnx_process_options {
    char *const *argv;     /* ends with NULL; not empty */
    const char *file;      /* the program; NULL = argv[0]. Without a '/' it is looked for in PATH */
    char *const *envp;     /* ends with NULL; NULL = the caller's environment */
    const char *directory; /* it starts in; a relative file is looked for there. NULL = caller's */
    struct bnx_stdio input;  /* what it has at 0 */
    struct bnx_stdio output; /* at 1 */
    struct bnx_stdio errors; /* at 2 */
    int end_signal;          /* what ends it when its scope closes; 0 = SIGTERM */
    uint64_t grace_ns;       /* how long it may then take until SIGKILL; 0 = 1 s */
};

struct bnx_process;

/* A result from here on is a signal's number plus this. */
#define BNX_PROCESS_KILLED 256

/**
 * Starts a process.
 * @param scope opened by the calling task, not NULL.
 * @param options not NULL; all of it is borrowed for the call.
 * @param out_process receives the handle: borrowed from the scope, valid until bnx_scope_close has
 *   run its deferred functions. Untouched on failure.
 * Returns 0: the program runs. -ENOENT, -EACCES, -ENOEXEC, ... : as execve(2) or chdir(2) said;
 * -EMFILE, -ENFILE, -ENOMEM, -EAGAIN (RLIMIT_NPROC, or no thread to start it from), -EBADF (a given
 * descriptor); -ECHILD (it has ended and was reaped by somebody else); -EINVAL (options); -EPERM:
 * off a task, or the scope is not the caller's own; -ECANCELED, -ETIMEDOUT: nothing was started.
 * Context: task, suspends: a thread of the pool sleeps until the program has been loaded.
 */
BNX_API int bnx_process_spawn(struct bnx_scope *scope, const struct bnx_process_options *options,
                              struct bnx_process **out_process);

/**
 * Gives out the caller's end of a pipe: from then on it is the caller's, who ends it by bnx_close.
 * One that nobody takes is closed with the scope. It has O_CLOEXEC.
 * @param number 0, 1 or 2: of the process's descriptor.
 * Returns the descriptor; -EBADF: no pipe, or taken before. Context: any thread; never suspends.
 */
BNX_API int bnx_process_take_pipe(struct bnx_process *process, int number);

/** Returns the process's number; once it was waited for, another may have it. Any thread. */
BNX_API pid_t bnx_process_id(const struct bnx_process *process);

/**
 * Waits until the process has ended. Any number of times, by any number of tasks.
 * Returns its exit status, 0 to 255; BNX_PROCESS_KILLED and more: the signal that ended it, plus
 * that; -ECHILD: somebody else has waited for it; -ECANCELED, -ETIMEDOUT: the caller's scope was
 * cancelled first, the process goes on.
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_process_wait(struct bnx_process *process);

/**
 * Returns the process as a waitable: done when it has ended, with the result of bnx_process_wait.
 * Borrowed, valid as long as the handle. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_process_waitable(struct bnx_process *process);

/**
 * Sends it a signal; never to another process that has got its number.
 * Returns 0; -ESRCH: it has ended and was waited for; -EINVAL: no such signal; -EPERM (it has
 * another user). Context: any thread; never suspends.
 */
BNX_API int bnx_process_signal(struct bnx_process *process, int signo);

/* What a process has written: the caller's memory. */
struct bnx_process_text {
    char *data;
    size_t bytes_max; /* room in data */
    size_t bytes;     /* written; set by bnx_process_run */
};

/**
 * Runs a process to its end, with a text as its input and its output and errors collected.
 * @param options not NULL; input, output and errors in it are those of what is NULL here.
 * @param input what it reads at 0, then the end; it need not read it all. NULL: as options say.
 * @param output receives what it writes at 1, errors at 2; each may be NULL: as options say.
 * Returns as bnx_process_wait; -EMSGSIZE: it wrote more than there was room for, and was ended; or
 * as bnx_process_spawn; -ECANCELED, -ETIMEDOUT: it was ended. What was collected till then is
 * there.
 * Context: task, suspends.
 */
BNX_API int bnx_process_run(const struct bnx_process_options *options,
                            const struct bnx_process_text *input, struct bnx_process_text *output,
                            struct bnx_process_text *errors);

BNX_EXTERN_C_END

#endif
