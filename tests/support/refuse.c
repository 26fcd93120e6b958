/* SPDX-License-Identifier: MIT */
/*
 * Runs a program where the machine refuses it something, as containers and hardened hosts do.
 *
 *   refuse EPERM COMMAND...     every io_uring call fails with EPERM, by a seccomp filter
 *   refuse ENOSYS COMMAND...    the same with ENOSYS
 *   refuse second COMMAND...    EPERM for a ring while another thread of the process has one
 *   refuse memlock COMMAND...   an unprivileged user with 64 KiB of locked memory; for root alone
 *
 * Exit 77 with the reason where that is not to be had, else what the command exits with. The same
 * holds for all that the command starts.
 *
 * second: the filter asks this program, which stays and keeps the book of who was given a ring. Of
 * a runtime's workers the first to ask gets one, and the second is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_SKIPPED 77
#define NOBODY 65534
#define MEMLOCK_BYTES (64 * 1024)
#define HOLDERS_MAX                                                                                \
    4096 /* threads with a ring at one time, of all processes; dead ones are dropped */
#define NOTICE_BYTES 512 /* far more than what any kernel says, or is told, of one call */

static int skip(const char *what) {
    printf("skipped: %s: %s\n", what, strerror(errno));
    return EXIT_SKIPPED;
}

static int install_filter(struct sock_filter *rules, size_t count, unsigned flags) {
    struct sock_fprog program = {(unsigned short)count, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
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
    if (install_filter(rules, sizeof(rules) / sizeof(rules[0]), 0) != 0) {
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

/* ---- No second ring ---- */

static struct holder {
    pid_t process;
    pid_t thread;
} holders[HOLDERS_MAX];
static size_t holder_count;

static pid_t process_of(pid_t thread) {
    char path[64];
    char line[256];
    int process = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL &&
           sscanf(line, "Tgid: %d", &process) != 1) { /* ends: the file does */
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return process;
}

static bool is_alive(const struct holder *holder) {
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)holder->process,
                   (int)holder->thread);
    return access(path, F_OK) == 0;
}

/* Whether the thread may have a ring. If so that is noted. */
static bool may_have_ring(pid_t thread) {
    struct holder self = {process_of(thread), thread};
    bool is_alone = true;
    bool is_noted = false;
    size_t kept = 0;
    for (size_t i = 0; i < holder_count; i++) {
        if (is_alive(&holders[i])) {
            bool is_self = holders[i].thread == thread;
            is_noted |= is_self;
            is_alone &= is_self || holders[i].process != self.process;
            holders[kept++] = holders[i];
        }
    }
    holder_count = kept;
    if (is_alone && !is_noted) {
        if (holder_count == HOLDERS_MAX) {
            fprintf(stderr, "refuse: more than %d threads have a ring\n", HOLDERS_MAX);
            exit(EXIT_USAGE);
        }
        holders[holder_count++] = self;
    }
    return is_alone;
}

static void answer_one(int listener) {
    _Alignas(struct seccomp_notif) char asked_bytes[NOTICE_BYTES] = {0};
    _Alignas(struct seccomp_notif_resp) char answer_bytes[NOTICE_BYTES] = {0};
    struct seccomp_notif *asked = (struct seccomp_notif *)asked_bytes;
    struct seccomp_notif_resp *answer = (struct seccomp_notif_resp *)answer_bytes;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, asked) != 0) {
        return; /* the thread was killed meanwhile, or a signal came */
    }
    answer->id = asked->id;
    if (may_have_ring((pid_t)asked->pid)) {
        answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    } else {
        answer->error = -EPERM;
    }
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer); /* ENOENT: killed meanwhile */
}

/* Answers until the command has ended; then ends as it did. */
static _Noreturn void keep_the_book(int listener, pid_t command) {
    int command_fd = (int)syscall(SYS_pidfd_open, command, 0);
    struct pollfd polled[] = {{listener, POLLIN, 0}, {command_fd, POLLIN, 0}};
    if (command_fd < 0) {
        perror("refuse: pidfd_open");
        exit(EXIT_USAGE);
    }
    while (polled[1].revents == 0) { /* ends when the command does */
        if (poll(polled, 2, -1) < 0 && errno != EINTR) {
            perror("refuse: poll");
            exit(EXIT_USAGE);
        }
        if ((polled[0].revents & POLLIN) != 0) {
            answer_one(listener);
        }
    }
    int status;
    if (waitpid(command, &status, 0) != command) {
        perror("refuse: waitpid");
        exit(EXIT_USAGE);
    }
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Returns in a child process, where it is so; this one stays to answer. */
static int refuse_second_ring(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    int listener =
        install_filter(rules, sizeof(rules) / sizeof(rules[0]), SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (listener < 0) {
        return skip("no seccomp filters that ask");
    }
    pid_t command = fork();
    if (command < 0) {
        return skip("cannot fork");
    }
    if (command > 0) {
        keep_the_book(listener, command);
    }
    return close(listener);
}

static int refuse(const char *what) {
    if (strcmp(what, "EPERM") == 0) {
        return refuse_io_uring(EPERM);
    }
    if (strcmp(what, "ENOSYS") == 0) {
        return refuse_io_uring(ENOSYS);
    }
    if (strcmp(what, "second") == 0) {
        return refuse_second_ring();
    }
    if (strcmp(what, "memlock") == 0) {
        return become_nobody();
    }
    fprintf(stderr, "refuse: what is %s?\n", what);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: refuse EPERM|ENOSYS|second|memlock COMMAND...\n");
        return EXIT_USAGE;
    }
    /* Before: an unprivileged user may not get as far as the program. */
    int program = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (program < 0) {
        perror(argv[2]);
        return EXIT_USAGE;
    }
    int code = refuse(argv[1]);
    if (code != 0) {
        return code;
    }
    fexecve(program, argv + 2, environ);
    perror(argv[2]);
    return EXIT_USAGE;
}
