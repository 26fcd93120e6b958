/* SPDX-License-Identifier: MIT */
/*
 * The kernel as a table of functions: every syscall of bonxie goes through bnx_os.
 *
 * Concepts
 *   Each entry does one syscall and returns its result, or -errno: errno is read here, next to the
 *   call, and nowhere else. A test replaces entries to make the k-th call fail; the simulator
 *   replaces the thread, futex and clock entries and so becomes the machine.
 *
 * Invariants
 *   The table is written before the first runtime exists and by tests between runtimes, never while
 *   a worker runs.
 */
#ifndef BNX_RUNTIME_OS_H
#define BNX_RUNTIME_OS_H

#include "runtime/compiler.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

struct mmsghdr;  /* of sys/socket.h with GNU extensions */
struct addrinfo; /* of netdb.h */
struct open_how; /* of linux/openat2.h */
struct termios;  /* of termios.h */
struct winsize;  /* of sys/ioctl.h */
struct statx;    /* of sys/stat.h with GNU extensions */

#define BNX_NEVER_NS UINT64_MAX /* a deadline that does not come */

/* An OS thread as this table sees it; embedded by whoever starts one. */
struct bnx_os_thread {
    uint64_t handle;       /* pthread_t, or the simulator's index; set by thread_create */
    void (*entry)(void *); /* runs on the new thread; immutable after create */
    void *arg;             /* entry's argument */
    size_t stack_bytes;    /* 0 = the system's default */
    const char *name;      /* <= 15 characters, static; NULL = inherit */
    bool is_detached;      /* nobody joins it; the record may end once entry has begun */
};

/* A process to be started: nothing is blocked or ignored in it, and of the caller's descriptors it
 * has these three alone. */
struct bnx_os_process {
    const char *file; /* without a '/' looked for in PATH */
    char *const *argv;
    char *const *envp;
    const char *directory; /* NULL = the caller's */
    int stdio[3];          /* what it has at 0, 1, 2; not less than 3, or -1 = the caller's own */
    bool is_merged;        /* what it has at 2 is what it has at 1 */
};

struct bnx_os {
    /* Threads. All signals are blocked in a new thread but the synchronous faults. */
    int (*thread_create)(struct bnx_os_thread *thread);
    int (*thread_join)(struct bnx_os_thread *thread);
    void (*thread_yield)(void);
    int (*thread_id)(void);                                      /* gettid(2) */
    int (*thread_signal)(int tid, int signo);                    /* tgkill(2) to this process */
    int (*thread_cpu_clock)(int tid, uint64_t *out_ns);          /* CPU time used by tid */
    int (*affinity_get)(cpu_set_t *out_set, size_t set_bytes);   /* this thread's */
    int (*affinity_set)(const cpu_set_t *set, size_t set_bytes); /* this thread's */
    int (*timer_slack)(unsigned long ns);                        /* this thread's */

    /* Sleeps while *word == expected: 0 woken (or spuriously), -EAGAIN the word differs, -ETIMEDOUT
     * the CLOCK_MONOTONIC deadline has come (BNX_NEVER_NS: none), -EINTR a signal. */
    int (*futex_wait)(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
    int (*futex_wake)(uint32_t *word, int count);
    int (*membarrier)(int command);

    uint64_t (*clock_now)(void); /* CLOCK_MONOTONIC in ns */

    /* Memory. mmap returns MAP_FAILED with *out_error set to the -errno. */
    void *(*mmap)(size_t bytes, int protection, int flags, int *out_error);
    int (*munmap)(void *start, size_t bytes);
    int (*mprotect)(void *start, size_t bytes, int protection);
    int (*madvise)(void *start, size_t bytes, int advice);
    /* The heap: all that is not a slab. NULL means -ENOMEM. alignment is a power of two. */
    void *(*allocate)(size_t bytes, size_t alignment);
    void (*release)(void *block);

    /* Files and sockets, as the system calls of the same name. */
    int (*openat)(int directory, const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*read)(int fd, void *buffer, size_t bytes);
    ssize_t (*write)(int fd, const void *buffer, size_t bytes);
    /* offset -1: the position. flags: RWF_*. */
    ssize_t (*preadv)(int fd, const struct iovec *parts, int count, off_t offset, int flags);
    ssize_t (*pwritev)(int fd, const struct iovec *parts, int count, off_t offset, int flags);
    int (*chmod)(const char *path, mode_t mode);
    int (*openat2)(int directory, const char *path, const struct open_how *how);
    int (*fsync)(int fd, bool is_data_only);
    int (*fallocate)(int fd, int mode, off_t offset, off_t bytes);
    int (*ftruncate)(int fd, off_t bytes);
    int (*statx)(int directory, const char *path, int flags, unsigned mask, struct statx *out);
    int (*renameat)(int from, const char *path, int to, const char *new_path, unsigned flags);
    int (*unlinkat)(int directory, const char *path, int flags);
    int (*mkdirat)(int directory, const char *path, mode_t mode);
    int (*linkat)(int from, const char *path, int to, const char *new_path, int flags);
    int (*symlinkat)(const char *target, int directory, const char *path);
    ssize_t (*readlinkat)(int directory, const char *path, char *out_target, size_t bytes);
    ssize_t (*getdents64)(int fd, void *out_entries, size_t bytes);
    off_t (*lseek)(int fd, off_t offset, int whence);
    /* NULL offsets: the position. */
    ssize_t (*copy_file_range)(int from, off_t *from_offset, int to, off_t *to_offset,
                               size_t bytes);
    ssize_t (*sendfile)(int to, int from, off_t *from_offset, size_t bytes);
    ssize_t (*splice)(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes,
                      unsigned flags);
    int (*fstat)(int fd, struct stat *out_stat);
    int (*fcntl)(int fd, int command, int arg);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*terminal_columns)(int fd); /* its width, 0 = it does not say; -ENOTTY: not a terminal */
    int (*terminal_size)(int fd, struct winsize *out_size);
    int (*terminal_get)(int fd, struct termios *out_mode);
    int (*terminal_set)(int fd, const struct termios *mode); /* at once */
    int (*eventfd)(unsigned value, int flags);
    int (*signalfd)(int fd, const sigset_t *set, int flags);
    int (*timerfd_create)(int flags);                     /* of CLOCK_MONOTONIC */
    int (*timerfd_settime)(int fd, uint64_t deadline_ns); /* BNX_NEVER_NS disarms it */
    int (*timerfd_look)(int fd);                          /* 0, or -EINVAL: it is none */
    int (*epoll_create)(int flags);
    int (*epoll_add)(int epoll_fd, int fd); /* EPOLLIN, level-triggered */
    int (*epoll_control)(int epoll_fd, int control, int fd, unsigned events, uint64_t key);
    /* 0 = does not sleep; BNX_NEVER_NS = until an event. Returns how many, or -errno. */
    int (*epoll_wait)(int epoll_fd, struct epoll_event *out_events, int max, uint64_t deadline_ns);
    int (*socket)(int domain, int type, int protocol);
    int (*socketpair)(int domain, int type, int protocol, int out_fds[2]);
    int (*pipe2)(int out_fds[2], int flags);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t bytes);
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *bytes);
    int (*bind)(int fd, const struct sockaddr *address, socklen_t bytes);
    int (*listen)(int fd, int backlog);
    int (*accept4)(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t bytes);
    ssize_t (*recv)(int fd, void *buffer, size_t bytes, int flags);
    ssize_t (*send)(int fd, const void *buffer, size_t bytes, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    int (*recvmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags); /* no timeout */
    int (*sendmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags);
    int (*shutdown)(int fd, int how);
    int (*getsockname)(int fd, struct sockaddr *address, socklen_t *bytes);

    /* Names, as getaddrinfo(3): 0 or EAI_*, with EAI_SYSTEM the -errno in *out_error. Blocks. */
    int (*getaddrinfo)(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out_list, int *out_error);
    void (*freeaddrinfo)(struct addrinfo *list);

    /* Processes. Spawn returns what the child's exec has failed with, if it has. */
    int (*process_spawn)(const struct bnx_os_process *how, pid_t *out_pid);
    int (*pidfd_open)(pid_t pid);
    int (*pidfd_signal)(int pidfd, int signo);
    int (*waitid)(idtype_t kind, id_t id, siginfo_t *out_info, int options);
    int (*kill)(pid_t pid, int signo);

    /* io_uring: raw, so that the library's own calls can fail in a test as well. */
    int (*uring_setup)(unsigned entries, void *params);
    int (*uring_enter)(int ring_fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                       size_t arg_bytes);
    int (*uring_register)(int ring_fd, unsigned opcode, const void *arg, unsigned count);
};

/* The table in use. */
extern struct bnx_os bnx_os;

/** The table's process_spawn and timer_slack, which have a file of their own: os_process.c. */
int bnx_linux_process_spawn(const struct bnx_os_process *how, pid_t *out_pid);
int bnx_linux_timer_slack(unsigned long ns);

/**
 * Registers the process for membarrier(2), so that light accesses become cheap. Idempotent.
 * Called by the first runtime before its workers start. Never fails: without membarrier the light
 * accesses stay seq_cst.
 */
void bnx_os_init(void);

#endif
