/* SPDX-License-Identifier: MIT */
/*
 * Starting a process (os.h), by posix_spawn(3): the child shares the memory until its exec, so it
 * copies no page tables and the exec's error comes back; the calling thread sleeps meanwhile.
 */
#include "runtime/check.h"
#include "runtime/os.h"

#include <spawn.h>
#include <unistd.h>

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
            error = posix_spawnp(out_pid, how->file, &actions, &attributes, how->argv, how->envp);
        }
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return -error;
}
