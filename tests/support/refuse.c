/* SPDX-License-Identifier: MIT */
/*
 * Runs a program where the machine refuses it something, as containers and hardened hosts do.
 *
 *   refuse EPERM COMMAND...     every io_uring call fails with EPERM, by a seccomp filter
 *   refuse ENOSYS COMMAND...    the same with ENOSYS
 *   refuse memlock COMMAND...   an unprivileged user with 64 KiB of locked memory; for root alone
 *
 * Exit 77 with the reason where that is not to be had, else what the command exits with.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_SKIPPED 77
#define NOBODY 65534
#define MEMLOCK_BYTES (64 * 1024)

static int skip(const char *what) {
    printf("skipped: %s: %s\n", what, strerror(errno));
    return EXIT_SKIPPED;
}

/* The numbers are those of every architecture but alpha: the filter asks for none. */
static int refuse_io_uring(int code) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        return skip("no seccomp filters here");
    }
    return 0;
}

static int become_nobody(void) {
    struct rlimit limit = {MEMLOCK_BYTES, MEMLOCK_BYTES};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        return skip("cannot become an unprivileged user");
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: refuse EPERM|ENOSYS|memlock COMMAND...\n");
        return EXIT_USAGE;
    }
    /* Before: an unprivileged user may not get as far as the program. */
    int program = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (program < 0) {
        perror(argv[2]);
        return EXIT_USAGE;
    }
    int code;
    if (strcmp(argv[1], "EPERM") == 0) {
        code = refuse_io_uring(EPERM);
    } else if (strcmp(argv[1], "ENOSYS") == 0) {
        code = refuse_io_uring(ENOSYS);
    } else if (strcmp(argv[1], "memlock") == 0) {
        code = become_nobody();
    } else {
        fprintf(stderr, "refuse: what is %s?\n", argv[1]);
        return EXIT_USAGE;
    }
    if (code != 0) {
        return code;
    }
    fexecve(program, argv + 2, environ);
    perror(argv[2]);
    return EXIT_USAGE;
}
