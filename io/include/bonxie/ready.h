/* SPDX-License-Identifier: MIT */
/*
 * Readiness: waiting until a descriptor can be read or written, without doing so. For libraries
 * that do their own I/O on their own descriptors, and for waiting at a descriptor among other
 * things.
 *
 *     int events = bnx_fd_wait(fd, POLLIN);
 *
 *     struct bnx_fd_event input;
 *     bnx_fd_event_init(&input, fd, POLLIN);
 *     struct bnx_case cases[] = {
 *         BNX_CASE_WAIT(bnx_fd_event_waitable(&input)),
 *         BNX_CASE_AFTER(UINT64_C(1000000000)),
 *     };
 *     int which = bnx_select(cases, 2, 0);
 *
 * Events are poll(2)'s: POLLIN, POLLOUT, POLLPRI, POLLRDHUP; POLLERR and POLLHUP always come. A
 * file that never waits (a regular file) is ready at once. Ready is a hint: of several who are told
 * one may take what is there, so whoever is told tries without blocking.
 *
 * A descriptor that somebody waits for is closed by bnx_close, which ends the waits of tasks, and
 * all waits for a bnx_fd_event, with -EBADF; not those of threads in bnx_fd_wait. Whoever closes it
 * by other means leaves them waiting.
 */
#ifndef BONXIE_READY_H
#define BONXIE_READY_H

#include <bonxie/base.h>
#include <bonxie/waitable.h>

BNX_EXTERN_C_BEGIN

struct bnx_poller;
struct bnx_fd_counts;

/**
 * Waits until a descriptor is ready.
 * @param events what for; 0: errors and hang-ups alone.
 * Returns those that are there, > 0; -ECANCELED, -ETIMEDOUT; -EBADF: no descriptor, or closed
 * meanwhile; -EINVAL: other bits; -EPERM: a file that never waits and never has these events, such
 * as POLLPRI (a thread waits for ever); -ENOMEM, -ENOSPC: the kernel has no room for the wait.
 * Context: task, suspends; on any other thread it blocks, in poll(2).
 */
BNX_API int bnx_fd_wait(int fd, unsigned events);

/*
 * The steps of a call that does its own system calls on a descriptor, and waits in between. Where
 * it waits the descriptor may be closed, and its number given to another file.
 *
 *     struct bnx_fd_steps steps = bnx_fd_steps_of(fd);            when it is known what fd is
 *     int error = bnx_fd_steps_enter(&steps);                     in a call, once or several times
 *     while (error == 0 && (got = recv(fd, buffer, bytes, MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
 *         events = bnx_fd_wait(fd, POLLIN);
 *         error = events < 0 ? events : 0;
 *     }
 *     bnx_fd_steps_leave(&steps);                                 where enter returned 0
 *
 * All fields are private. A copy of it is for another call, which may go on at the same time.
 */
struct bnx_fd_steps {
    int fd;
    uint32_t closes;              /* of the number, when its file was last known */
    struct bnx_fd_counts *counts; /* where the step that goes on is counted; NULL: nowhere */
};

/** Returns the steps to come at what the number means now. Any thread; never suspends. */
BNX_API struct bnx_fd_steps bnx_fd_steps_of(int fd);

/**
 * Begins a step: until it ends the number means what it meant, since bnx_close waits for that.
 * Meanwhile the task waits for nothing but this descriptor, and does not close it.
 * Returns 0; -EBADF: bnx_close was called with the number since, and nothing is begun.
 * Context: any thread; never suspends. Off a task no close waits.
 */
BNX_API int bnx_fd_steps_enter(struct bnx_fd_steps *steps);

/** Ends the step that was begun. Context: any thread; never suspends. */
BNX_API void bnx_fd_steps_leave(struct bnx_fd_steps *steps);

/*
 * A descriptor's readiness as a waitable (waitable.h), for tasks and threads alike. Its result is
 * what bnx_fd_wait returns. It is no edge and keeps nothing: done while the descriptor is ready.
 * All fields are private; here so that the size is known. It needs no end of its own: its memory
 * may go as soon as nobody waits.
 */
struct bnx_fd_event {
    struct bnx_waitable waitable; /* immutable after init, as the next three */
    int fd;
    unsigned events;
    struct bnx_poller *poller; /* whose worker waits; lives as long as the runtime */
    int32_t error;             /* a registration's, for the next take; any thread */
};

/**
 * Prepares an event. The calling task's worker looks out for it on behalf of all.
 * @param events as for bnx_fd_wait.
 * Returns 0; -EINVAL: other bits, or fd < 0; -EMFILE, -ENFILE, -ENOMEM; -EPERM off a task.
 * Context: task; never suspends.
 */
BNX_API int bnx_fd_event_init(struct bnx_fd_event *event, int fd, unsigned events);

/** Returns it as a waitable: borrowed, valid as long as the event. */
static inline struct bnx_waitable *bnx_fd_event_waitable(struct bnx_fd_event *event) {
    return &event->waitable;
}

/**
 * Called by a watch, in a task of its own.
 * @param revents > 0: the events; < 0: the watch has ended: -ECANCELED or -ETIMEDOUT with its
 *   scope, -EBADF by bnx_close, or as bnx_fd_wait: the last call, whose result only counts as the
 *   task's.
 * Returns 0 to go on; anything else ends the watch, and < 0 is the task's error in its scope.
 */
typedef int (*bnx_fd_watch_fn)(int fd, int revents, void *arg);

/* What to watch. */
struct bnx_fd_watch_options {
    int fd;
    unsigned events; /* as for bnx_fd_wait */
    bnx_fd_watch_fn fn;
    void *arg;
};

/**
 * Calls fn each time the descriptor is ready, one call after the other, until fn says that it is
 * enough, the scope is cancelled, or bnx_close closes the descriptor. Fn does what a task may,
 * waiting included; what it leaves unread brings the next call at once. It is called once at least.
 * @param scope as for bnx_spawn; NULL is the root scope.
 * @param options copied.
 * Returns 0; -EINVAL: no fn, or other events; otherwise as bnx_spawn: then fn is never called.
 * Context: as bnx_spawn; never suspends.
 */
BNX_API int bnx_fd_watch(struct bnx_scope *scope, const struct bnx_fd_watch_options *options);

BNX_EXTERN_C_END

#endif
