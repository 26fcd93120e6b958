/* SPDX-License-Identifier: MIT */
/*
 * Starting a process (os.h), by posix_spawn(3): the child shares the memory until its exec, so it
 * copies no page tables and the exec's error comes back; the calling thread sleeps meanwhile.
 *
 * Timer slack: a worker takes as little of it as there is, and whom a thread starts, threads and
 * programs, inherits the starter's. A program is to be started as if by one that runs no workers:
 * the slack that was found before it was first changed is the calling thread's during the start.
 */
#include "runtime/atomic.h"
#include "runtime/check.h"
#include "runtime/os.h"

#include <errno.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

static uint64_t slack_before_ns; /* 0: it was never changed; relaxed, a number on its own */

int bnx_linux_timer_slack(unsigned long ns) {
    int before_ns = prctl(PR_GET_TIMERSLACK);
    if (before_ns > 0 && (unsigned long)before_ns != ns) { /* else it was inherited, changed */
        bnx_store_relaxed(&slack_before_ns, (uint64_t)before_ns); /* a number */
    }
    return prctl(PR_SET_TIMERSLACK, ns) == 0 ? 0 : -errno;
}

/* Returns the calling thread's own slack, to be set again afterwards; 0: nothing was changed. */
static int take_program_slack(void) {
    unsigned long program_ns = (unsigned long)bnx_load_relaxed(&slack_before_ns); /* a number */
    if (program_ns == 0 || BNX_PLANT(process_keeps_slack)) {
        return 0;
    }
    int own_ns = prctl(PR_GET_TIMERSLACK);
    (void)prctl(PR_SET_TIMERSLACK, program_ns);
    return own_ns;
}

/* What happens in the child before its exec, in this order. Returns 0 or an error number. */
static int add_actions(const struct bnx_os_process *how, posix_spawn_file_actions_t *actions) {
    int error = 0;
    for (int i = 0; i < 3 && error == 0; i++) {
        if (how->stdio[i] >= 0) {
            error = posix_spawn_file_actions_adddup2(actions, how->stdio[i], i);
        }
    }
    if (error == 0 && how->is_merged) {
        error = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    }
    if (error == 0 && !BNX_PLANT(process_inherits)) {
        error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    }
    if (error == 0 && how->directory != NULL) {
        error = posix_spawn_file_actions_addchdir_np(actions, how->directory);
    }
    return error;
}

/* The calling thread blocks signals and the program may ignore some; the child does neither. */
static void reset_signals(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    (void)posix_spawnattr_setsigmask(attributes, &none);
    (void)posix_spawnattr_setsigdefault(attributes, &all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (BNX_PLANT(process_keeps_mask)) {
        flags = POSIX_SPAWN_SETSIGDEF;
    }
    (void)posix_spawnattr_setflags(attributes, flags);
}

int bnx_linux_process_spawn(const struct bnx_os_process *how, pid_t *out_pid) {
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) {
        return -error;
    }
    posix_spawnattr_t attributes;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        reset_signals(&attributes);
        error = add_actions(how, &actions);
        if (error == 0) {
            int own_ns = take_program_slack(); /* in the child nothing of ours is called */
            error = posix_spawnp(out_pid, how->file, &actions, &attributes, how->argv, how->envp);
            if (own_ns > 0) {
                (void)prctl(PR_SET_TIMERSLACK, (unsigned long)own_ns);
            }
        }
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return -error;
}
