/* SPDX-License-Identifier: MIT */
/*
 * A service: listens, runs a handler for each connection as a task, and ends without losing any.
 *
 *     static int answer(int fd, void *arg) { ... return 0; }     // bnx_serve closes fd
 *
 *     static int program(void *arg) {
 *         return bnx_serve(NULL, "127.0.0.1:8080", answer, NULL, NULL);
 *     }
 *
 * The end comes with a cancel: SIGTERM under bnx_main, bnx_scope_cancel, a deadline. Then the
 * listeners close, connections that were waiting to be accepted still get their handler, handlers
 * have drain_ns to finish, and what is left is cancelled. They do not see the cancel before that:
 * their calls wait as ever. So whoever waits for a peer that says nothing is told by
 * BNX_SERVE_END_INPUT or BNX_SERVE_CANCEL, or looks at `draining`.
 *
 * Restart without a refused connection: a listening socket is a queue in the kernel that lives as
 * long as somebody holds it, so the old program gives it to the new one and then ends.
 *   - Under systemd's socket activation nothing is to be done: bnx_listen_inherited, and systemd
 *     holds the socket between the two.
 *   - Without: the program keeps the listeners that on_listening tells it, starts its successor
 *     with bnx_listen_handover and cancels its bnx_serve. The successor finds the listeners by
 *     bnx_listen_inherited and serves them (options.listeners, BNX_SERVE_TAKE_LISTENERS). Those
 *     that come meanwhile wait in the queue, or either of the two accepts them.
 */
#ifndef BONXIE_SERVE_H
#define BONXIE_SERVE_H

#include <bonxie/base.h>
#include <bonxie/scope.h>
#include <bonxie/stack.h>

#include <sys/types.h>

BNX_EXTERN_C_BEGIN

struct bnx_event;
struct bnx_iter;

/* What a service has done so far. In the caller's memory, zeroed before; written by any worker:
 * read with bnx_serve_stats_read. */
struct bnx_serve_stats {
    uint64_t accepted; /* connections that got a handler */
    uint64_t active;   /* handlers that have not returned */
    uint64_t refused;  /* connections closed at once: no descriptor, no memory, tasks_max */
    uint64_t failed;   /* handlers that returned an error */
};

enum bnx_serve_flags {
    BNX_SERVE_REUSE_PORT = 1u << 0, /* one listener a worker (SO_REUSEPORT): the kernel spreads
                                       connections, and a worker that is busy keeps those of its
                                       listener waiting. Not of unix sockets and given listeners:
                                       there it says nothing */
    BNX_SERVE_END_INPUT = 1u << 1,  /* when the drain begins the receiving side of each connection
                                       is shut down: its handler gets what has arrived, then the
                                       end of the stream */
    BNX_SERVE_CANCEL = 1u << 2,     /* when the drain begins handlers see the cancel. What they owe
                                       all the same they do in a shield (scope.h), whose grace is
                                       drain_ns unless it says otherwise */
    BNX_SERVE_TAKE_LISTENERS = 1u << 3 /* given listeners end as opened ones do: when the drain
                                          begins who waits in their queues gets a handler, and they
                                          are closed. When `draining` is not set they are not */
};

/* Zeroed means defaults. */
struct bnx_serve_options {
    unsigned flags;             /* enum bnx_serve_flags */
    uint32_t connections_max;   /* at a time; beyond it the rest waits in the kernel's queue; 0 = no
                                  limit */
    uint64_t connection_ns;     /* how long one may last: the deadline of its scope; 0 = for ever */
    uint64_t drain_ns;          /* what handlers have left once the service ends; 0 = half of the
                                  calling task's grace. Under bnx_main: less than the grace */
    const char *name;           /* of the handlers' tasks, in reports; not copied; NULL = none */
    enum bnx_class task_class;  /* of the handlers' tasks */
    enum bnx_stack_class stack; /* of the handlers' tasks; 0 = the runtime's default */
    int backlog;                /* of the queue; 0 = 4096 */
    unsigned mode;              /* of a unix socket's file; 0 = as the umask says */
    const int *listeners;       /* to serve instead of an address: non-blocking listening sockets.
                                   Borrowed, but for BNX_SERVE_TAKE_LISTENERS */
    size_t listener_count;      /* of listeners */
    /* Called once by the calling task before the first connection is accepted, with the listeners:
     * tells the port that 0 became. < 0 ends the service, which returns it. NULL = none */
    int (*on_listening)(const int *listeners, size_t listener_count, void *arg);
    void *on_listening_arg;
    struct bnx_event *draining;    /* set when nothing more is accepted; NULL = none */
    struct bnx_serve_stats *stats; /* NULL = none */
};

/**
 * Serves until it is cancelled: runs handler(fd, arg) for each connection as a task with a scope of
 * its own, and closes fd when the handler has returned.
 * @param scope the service ends when it is cancelled: one that the calling task is in; NULL: the
 *   innermost. Any cancel of the calling task ends the service as well.
 * @param address as bnx_listen reads it; not read, and may be NULL, where listeners are given. The
 *   file of a unix socket goes with its listener, unless somebody else listens on it by then.
 * @param handler its fd is non-blocking and close-on-exec. What it returns < 0 is counted and
 *   logged, and harms no other connection.
 * @param options NULL for defaults; read by the call, and not kept.
 * Out of descriptors it turns away a connection at a time, so that a peer sees an end and no hang,
 * at intervals that grow from 1 ms to 256 ms.
 * Returns, when every handler has returned: -ECANCELED or -ETIMEDOUT; the error of bnx_listen, of
 * on_listening, or of a listener that broke; -EINVAL (no handler, an unknown flag, a scope that the
 * caller is not in, a listener that blocks or is none); -ENOMEM; -EMFILE; -EPERM off a task.
 * Context: task, suspends.
 */
BNX_API int bnx_serve(struct bnx_scope *scope, const char *address,
                      int (*handler)(int fd, void *arg), void *arg,
                      const struct bnx_serve_options *options);

/** Reads the counts: each is right, all are of neighbouring moments. Any thread. */
BNX_API void bnx_serve_stats_read(const struct bnx_serve_stats *stats,
                                  struct bnx_serve_stats *out_stats);

/**
 * Makes an iterator (iter.h) over the connections of a listener. A value is the descriptor, as
 * `(void *)(intptr_t)`, which the user closes with bnx_close. Closing the iterator leaves the
 * listener open.
 * @param iter filled, and returned; next suspends, waits out a lack of descriptors or memory, and
 *   returns the error of a cancel or of a listener that broke.
 * Context: anywhere; never suspends.
 */
BNX_API struct bnx_iter *bnx_iter_from_listener(struct bnx_iter *iter, int listener);

#define BNX_INHERITED_NAME_BYTES 256

/* A descriptor that came from whoever started the program. */
struct bnx_inherited {
    int fd;
    char name[BNX_INHERITED_NAME_BYTES]; /* from LISTEN_FDNAMES; empty where there is none */
};

/**
 * Takes the listening sockets that systemd, or bnx_listen_handover, has left to this process
 * (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES): makes them non-blocking and close-on-exec, and unsets
 * the three variables, so that they are taken once.
 * @param out_inherited receives them in their order; the caller closes each.
 * Returns how many, 0 when there are none or they are another process's; -EINVAL: a number that is
 * none; -ENOSPC: more than inherited_max; -EBADF: one is not open. On failure nothing was written,
 * and the variables are unset as well.
 * Context: before other threads read the environment; never suspends.
 */
BNX_API int bnx_listen_inherited(struct bnx_inherited *out_inherited, size_t inherited_max);

/**
 * Starts a program with listeners that it finds by bnx_listen_inherited. The listeners stay the
 * caller's as well.
 * @param argv the program's path, its arguments, NULL; it gets the caller's environment, of its
 *   descriptors standard input, output and error, and none of its signal masks and dispositions. It
 *   is started by way of /bin/sh, since the variables hold its process id, which only it knows.
 * @param listeners listener_count of them, 1 to 64.
 * Returns its process id, > 0, for waitpid(2): the caller's child; -EINVAL; -EMFILE, -EBADF,
 * -ENOMEM, -EAGAIN, -ENOENT (no /bin/sh). When the program cannot be run the child exits with 126
 * or 127.
 * Context: any thread; blocks while the child is made; never suspends.
 */
BNX_API int bnx_listen_handover(char *const argv[], const int *listeners, size_t listener_count);

BNX_EXTERN_C_END

#endif
