/* SPDX-License-Identifier: MIT */
/*
 * Listeners: trouble with accepting, an iterator over connections, and sockets that are passed from
 * one program to the next (bonxie/serve.h).
 *
 * The protocol of the passing is systemd's: descriptors from 3 on, how many in LISTEN_FDS, for whom
 * in LISTEN_PID, names in LISTEN_FDNAMES.
 */
#include "io/listener.h"

#include <bonxie/iter.h>
#include <bonxie/net.h>
#include <bonxie/serve.h>
#include <bonxie/task.h>
#include <bonxie/time.h>

#include "io/hint.h"
#include "io/op.h"
#include "runtime/check.h"
#include "runtime/clock.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (1 * BNX_NS_PER_MS)
#define BACKOFF_MAX_NS (256 * BNX_NS_PER_MS) /* so late a peer is served once there is room again */
#define INHERITED_FIRST_FD 3
#define HANDOVER_MAX 64

/* ---- Accepting ---- */

int bnx_accept_try(int listener) {
    int fd = bnx_os.accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        bnx_hint_clear(fd);
        bnx_hint_set(fd, BNX_HINT_SOCKET, true);
    }
    return fd;
}

bool bnx_accept_is_out_of_fds(int error) {
    return error == -EMFILE || error == -ENFILE;
}

int bnx_accept_back_off(int error, uint64_t *backoff_ns) {
    switch (error) {
    case -ECANCELED:
    case -EBADF:
    case -EINVAL:
    case -ENOTSOCK:
    case -EOPNOTSUPP:
        return error;
    case -EAGAIN: /* another acceptor was faster */
    case -EINTR:
    case -ECONNABORTED:
        return 0; /* each takes a connection that is gone: no loop without a peer */
    default:      /* descriptors, memory, a network that is down */
        break;
    }
    uint64_t next_ns = *backoff_ns == 0 ? BACKOFF_FIRST_NS : 2 * *backoff_ns;
    *backoff_ns = next_ns < BACKOFF_MAX_NS ? next_ns : BACKOFF_MAX_NS;
    return BNX_PLANT(accept_spins) ? 0 : bnx_sleep(*backoff_ns);
}

/* After a back-off the listener may have been closed. NULL: there was none. */
static int accept_step(int listener, struct bnx_fd_steps *steps) {
    int fd = steps != NULL ? bnx_fd_step_begin_here(steps) : 0;
    if (fd != 0) {
        return fd;
    }
    fd = bnx_accept(listener, NULL);
    if (steps != NULL) {
        bnx_fd_step_end(steps);
    }
    return fd;
}

static int next_connection(struct bnx_iter *iter, void **out_value) {
    int listener = (int)(intptr_t)iter->ctx;
    uint64_t backoff_ns = 0;
    struct bnx_fd_steps steps;
    bnx_fd_steps_init(&steps, listener);
    for (;;) { /* ends: with a connection, a cancel, or the listener */
        int fd = accept_step(listener, backoff_ns != 0 ? &steps : NULL);
        int error = fd >= 0 ? 0 : bnx_accept_back_off(fd, &backoff_ns);
        if (fd >= 0) {
            *out_value = (void *)(intptr_t)fd;
            return 1;
        }
        if (error != 0 || bnx_task_self() == NULL) {
            return error != 0 ? error : fd; /* off a task: -EPERM, which a firewall may say too */
        }
    }
}

struct bnx_iter *bnx_iter_from_listener(struct bnx_iter *iter, int listener) {
    *iter = (struct bnx_iter){.next = next_connection, .ctx = (void *)(intptr_t)listener};
    return iter;
}

/* ---- From whoever started the program ---- */

/* A whole number and nothing else, 0 to INT32_MAX. */
static int number_of(const char *text, long *out_number) {
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > INT32_MAX) {
        return -EINVAL;
    }
    *out_number = number;
    return 0;
}

/* How many descriptors the environment promises to this process. */
static int promised(void) {
    const char *pid_text = getenv("LISTEN_PID");
    const char *count_text = getenv("LISTEN_FDS");
    long pid = 0;
    long count = 0;
    if (pid_text == NULL || count_text == NULL) {
        return 0;
    }
    if (number_of(pid_text, &pid) != 0 || number_of(count_text, &count) != 0) {
        return -EINVAL;
    }
    if (pid != (long)getpid() && !BNX_PLANT(listen_any_pid)) {
        return 0; /* it passed through a parent that has nothing to do with it */
    }
    return (int)count;
}

/* Copies the next of the names that colons divide; empty where there is none. */
static const char *name_take(const char *names, char out[BNX_INHERITED_NAME_BYTES]) {
    size_t bytes = names != NULL ? strcspn(names, ":") : 0;
    size_t kept = bytes < BNX_INHERITED_NAME_BYTES - 1 ? bytes : BNX_INHERITED_NAME_BYTES - 1;
    memcpy(out, names != NULL ? names : "", kept);
    out[kept] = '\0';
    return names != NULL && names[bytes] == ':' ? names + bytes + 1 : NULL;
}

static int make_ours(int fd) {
    int flags = bnx_os.fcntl(fd, F_GETFL, 0);
    if (flags < 0) {
        return flags;
    }
    int error = bnx_os.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return error < 0 ? error : bnx_os.fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int take_inherited(struct bnx_inherited *out_inherited, size_t inherited_max) {
    int count = promised();
    if (count <= 0) {
        return count;
    }
    if ((size_t)count > inherited_max) {
        return -ENOSPC;
    }
    for (int i = 0; i < count; i++) {
        int error = make_ours(INHERITED_FIRST_FD + i);
        if (error < 0) {
            return error;
        }
    }
    const char *names = getenv("LISTEN_FDNAMES");
    for (int i = 0; i < count; i++) {
        out_inherited[i].fd = INHERITED_FIRST_FD + i;
        names = name_take(names, out_inherited[i].name);
        bnx_hint_clear(out_inherited[i].fd);
    }
    return count;
}

int bnx_listen_inherited(struct bnx_inherited *out_inherited, size_t inherited_max) {
    int result = take_inherited(out_inherited, inherited_max);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return result;
}

/* ---- To the successor ---- */

/* What the new process is to be like: our listeners from 3 on and nothing after them, signals as
 * the system has them. */
static int describe(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                    const int *copies, size_t count) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    error = error != 0 ? error : posix_spawnattr_setsigdefault(attributes, &all);
    error = error != 0 ? error
                       : posix_spawnattr_setflags(
                             attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    for (size_t i = 0; i < count && error == 0; i++) {
        error = posix_spawn_file_actions_adddup2(actions, copies[i], INHERITED_FIRST_FD + (int)i);
    }
    if (error == 0) {
        error = posix_spawn_file_actions_addclosefrom_np(actions, INHERITED_FIRST_FD + (int)count);
    }
    return -error;
}

/* Starts the shell that tells the program its process id and becomes it. */
static int start_shell(char *const argv[], const int *copies, size_t count) {
    size_t words = 0;
    while (argv[words] != NULL) { /* ends: argv does */
        words++;
    }
    char script[128];
    char *const prefix[] = {"/bin/sh", "-c", script};
    char **line =
        bnx_os.allocate((words + BNX_ARRAY_COUNT(prefix) + 1) * sizeof(*line), _Alignof(char *));
    if (line == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(script, sizeof(script),
                   "unset LISTEN_FDNAMES; export LISTEN_PID=$$ LISTEN_FDS=%zu; exec \"$0\" \"$@\"",
                   count);
    memcpy(line, prefix, sizeof(prefix));
    memcpy(line + BNX_ARRAY_COUNT(prefix), argv, (words + 1) * sizeof(*line));
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = -posix_spawn_file_actions_init(&actions);
    if (error != 0) {
        goto release;
    }
    error = -posix_spawnattr_init(&attributes);
    if (error != 0) {
        goto destroy_actions;
    }
    error = describe(&actions, &attributes, copies, count);
    pid_t pid = 0;
    error = error != 0 ? error : -posix_spawn(&pid, line[0], &actions, &attributes, line, environ);
    error = error != 0 ? error : (int)pid;
    (void)posix_spawnattr_destroy(&attributes);
destroy_actions:
    (void)posix_spawn_file_actions_destroy(&actions);
release:
    bnx_os.release(line);
    return error;
}

int bnx_listen_handover(char *const argv[], const int *listeners, size_t listener_count) {
    if (argv == NULL || argv[0] == NULL || listeners == NULL || listener_count == 0 ||
        listener_count > HANDOVER_MAX) {
        return -EINVAL;
    }
    /* Above all numbers that they become: none is overwritten before it has been copied. */
    int copies[HANDOVER_MAX];
    size_t copied = 0;
    int result = 0;
    for (; copied < listener_count && result >= 0; copied += result >= 0 ? 1 : 0) {
        result =
            bnx_os.fcntl(listeners[copied], F_DUPFD_CLOEXEC, INHERITED_FIRST_FD + HANDOVER_MAX);
        copies[copied] = result;
    }
    if (result >= 0) {
        result = start_shell(argv, copies, listener_count);
    }
    for (size_t i = 0; i < copied; i++) {
        (void)bnx_os.close(copies[i]);
    }
    return result;
}
