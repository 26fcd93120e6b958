/* SPDX-License-Identifier: MIT */
/*
 * Signals as a stream: a task waits for the next one, alone or beside other things.
 *
 *     static const int wanted[] = {SIGHUP, SIGUSR1};
 *     int main(void) {
 *         bnx_signal_block(wanted, 2);
 *         return bnx_main(serve, NULL);
 *     }
 *     ... in a task ...
 *     struct bnx_signal_stream *signals;
 *     bnx_signal_open(wanted, 2, &signals);
 *     struct bnx_signal_info info;
 *     while (bnx_signal_next(signals, &info) == SIGHUP) {
 *         reload();
 *     }
 *     bnx_signal_close(signals);
 *
 * Every stream gets every signal of its set, as often as there are streams; within one stream each
 * goes to one task. No handler is installed and no disposition is changed: the kernel keeps a
 * signal that is blocked, and one thread of the library, there while any stream is open, asks it
 * for them (signalfd(2)). That is why the signals must be blocked in every thread of the process:
 * the threads of bonxie block all; bnx_signal_block is for the main thread, before it starts
 * others. One that is not blocked does what it always does, and no stream gets it.
 *
 * As with handlers, a signal that comes again before it was taken is one signal (SIGCHLD!);
 * real-time signals are counted, up to 96 in a stream, and what comes then is lost. Signals for one
 * thread (pthread_kill, SIGPIPE, faults) do not come here.
 *
 * Under bnx_main SIGINT and SIGTERM are its own: they cancel the root scope. Leave them out of the
 * set, or it depends on chance who gets one. A program that wants them itself calls bnx_run
 * instead. After a fork the child has no streams.
 */
#ifndef BONXIE_SIGNAL_H
#define BONXIE_SIGNAL_H

#include <bonxie/base.h>
#include <bonxie/waitable.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

struct bnx_signal_stream;

/* A signal, as siginfo_t has it. */
struct bnx_signal_info {
    int signo;
    int code;  /* how it was sent: SI_USER, SI_QUEUE, CLD_EXITED ... */
    int value; /* of sigqueue(3); of SIGCHLD the status */
    pid_t pid; /* of the sender, or of the child */
    uid_t uid; /* of the same */
};

/**
 * Blocks signals in the calling thread and in those that it starts from then on.
 * @param signals count of them.
 * Returns 0; -EINVAL: as bnx_signal_open; nothing was blocked.
 * Context: the main thread, before other threads exist. Never suspends.
 */
BNX_API int bnx_signal_block(const int *signals, size_t count);

/**
 * Opens a stream.
 * @param signals count of them, at least 1; borrowed for the call.
 * @param out_stream receives the stream; untouched on failure. The caller ends it with
 *   bnx_signal_close.
 * Returns 0; -EINVAL: no signal, or one that cannot wait: SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
 * SIGILL, SIGFPE, SIGTRAP, SIGABRT; -EMFILE, -ENFILE, -ENOMEM, -EAGAIN (no thread).
 * Context: any thread; never suspends.
 */
BNX_API int bnx_signal_open(const int *signals, size_t count,
                            struct bnx_signal_stream **out_stream);

/**
 * Waits for the next signal of a stream.
 * @param out_info receives more about it; may be NULL.
 * Returns its number; -ECANCELED or -ETIMEDOUT: the caller's scope was cancelled first, no signal
 * was taken; -ENOMEM (a thread that must wait).
 * Context: task, suspends; on any other thread it blocks.
 */
BNX_API int bnx_signal_next(struct bnx_signal_stream *stream, struct bnx_signal_info *out_info);

/**
 * Takes a signal that is there already.
 * Returns its number, or -EAGAIN. Context: any thread; never suspends.
 */
BNX_API int bnx_signal_try_next(struct bnx_signal_stream *stream, struct bnx_signal_info *out_info);

/**
 * Returns the stream as a waitable that hands out signals: its result is the signal's number. For
 * bnx_select and bnx_wait with FIRST. Borrowed, valid as long as the stream. Context: any thread.
 */
BNX_API struct bnx_waitable *bnx_signal_waitable(struct bnx_signal_stream *stream);

/**
 * Ends a stream on which nobody waits any more. Signals of its set stay blocked, and the kernel
 * keeps the next ones. The last stream of the process ends the thread and waits for that.
 * Context: any thread; never suspends. NULL does nothing.
 */
BNX_API void bnx_signal_close(struct bnx_signal_stream *stream);

BNX_EXTERN_C_END

#endif
