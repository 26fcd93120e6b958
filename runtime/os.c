/* SPDX-License-Identifier: MIT */
/* The Linux side of the table in os.h: one small function a syscall, errno turned into a result. */
#include "runtime/os.h"

#include "runtime/atomic.h"
#include "runtime/check.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* errno becomes the result where the call has just failed. */
#define OR_ERRNO(call)                                                                             \
    __extension__({                                                                                \
        __typeof__(call) result_ = (call);                                                         \
        result_ < 0 ? (__typeof__(call))-errno : result_;                                          \
    })

static void *thread_main(void *arg) {
    struct bnx_os_thread *thread = arg;
    if (thread->name != NULL) {
        (void)pthread_setname_np(pthread_self(), thread->name);
    }
    thread->entry(thread->arg);
    return NULL;
}

static int linux_thread_create(struct bnx_os_thread *thread) {
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return -error;
    }
    bool is_detached = thread->is_detached; /* its record may be gone later */
    if (is_detached) {
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    }
    if (thread->stack_bytes != 0) {
        error = pthread_attr_setstacksize(&attributes, thread->stack_bytes);
    }
    /* The new thread inherits the mask, so no signal can land on it before it is ready. */
    sigset_t blocked, before;
    sigfillset(&blocked);
    if (BNX_PLANT(worker_takes_signals)) {
        sigemptyset(&blocked);
    }
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGILL);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGTRAP);
    sigdelset(&blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    pthread_t handle = 0;
    if (error == 0) {
        error = pthread_create(&handle, &attributes, thread_main, thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        return -error;
    }
    if (!is_detached) {
        thread->handle = (uint64_t)handle;
    }
    return 0;
}

static int linux_thread_join(struct bnx_os_thread *thread) {
    return -pthread_join((pthread_t)thread->handle, NULL);
}

static void linux_thread_yield(void) {
    (void)sched_yield();
}

static int linux_thread_id(void) {
    return (int)syscall(SYS_gettid);
}

static int linux_thread_signal(int tid, int signo) {
    return (int)OR_ERRNO(syscall(SYS_tgkill, getpid(), tid, signo));
}

static int linux_thread_cpu_clock(int tid, uint64_t *out_ns) {
    /* The kernel's encoding of a thread's CPU clock: CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK. */
    clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6u);
    struct timespec used;
    if (clock_gettime(clock, &used) != 0) {
        return -errno;
    }
    *out_ns = (uint64_t)used.tv_sec * UINT64_C(1000000000) + (uint64_t)used.tv_nsec;
    return 0;
}

static int linux_affinity_get(cpu_set_t *out_set, size_t set_bytes) {
    return OR_ERRNO(sched_getaffinity(0, set_bytes, out_set));
}

static int linux_affinity_set(const cpu_set_t *set, size_t set_bytes) {
    return OR_ERRNO(sched_setaffinity(0, set_bytes, set));
}

static int linux_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    struct timespec deadline = {(time_t)(deadline_ns / UINT64_C(1000000000)),
                                (long)(deadline_ns % UINT64_C(1000000000))};
    /* WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, plain WAIT a relative one. */
    return (int)OR_ERRNO(syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected,
                                 deadline_ns == BNX_NEVER_NS ? NULL : &deadline, NULL,
                                 FUTEX_BITSET_MATCH_ANY));
}

static int linux_futex_wake(uint32_t *word, int count) {
    return (int)OR_ERRNO(syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0));
}

static int linux_membarrier(int command) {
    return (int)OR_ERRNO(syscall(SYS_membarrier, command, 0, 0));
}

static uint64_t linux_clock_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void *linux_mmap(size_t bytes, int protection, int flags, int *out_error) {
    void *start = mmap(NULL, bytes, protection, flags, -1, 0);
    if (start == MAP_FAILED) {
        *out_error = -errno;
    }
    return start;
}

static int linux_munmap(void *start, size_t bytes) {
    return OR_ERRNO(munmap(start, bytes));
}

static int linux_mprotect(void *start, size_t bytes, int protection) {
    return OR_ERRNO(mprotect(start, bytes, protection));
}

static int linux_madvise(void *start, size_t bytes, int advice) {
    return OR_ERRNO(madvise(start, bytes, advice));
}

static void *linux_allocate(size_t bytes, size_t alignment) {
    void *block = NULL;
    if (alignment < sizeof(void *)) {
        alignment = sizeof(void *);
    }
    return posix_memalign(&block, alignment, bytes) == 0 ? block : NULL;
}

static void linux_release(void *block) {
    free(block);
}

static int linux_openat(int directory, const char *path, int flags, mode_t mode) {
    return OR_ERRNO(openat(directory, path, flags, mode));
}

static int linux_close(int fd) {
    return OR_ERRNO(close(fd));
}

static ssize_t linux_read(int fd, void *buffer, size_t bytes) {
    return OR_ERRNO(read(fd, buffer, bytes));
}

static ssize_t linux_write(int fd, const void *buffer, size_t bytes) {
    return OR_ERRNO(write(fd, buffer, bytes));
}

static ssize_t linux_preadv(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return OR_ERRNO(preadv2(fd, parts, count, offset, flags));
}

static ssize_t linux_pwritev(int fd, const struct iovec *parts, int count, off_t offset,
                             int flags) {
    return OR_ERRNO(pwritev2(fd, parts, count, offset, flags));
}

static int linux_chmod(const char *path, mode_t mode) {
    return OR_ERRNO(chmod(path, mode));
}

static int linux_fstat(int fd, struct stat *out_stat) {
    return OR_ERRNO(fstat(fd, out_stat));
}

static int linux_openat2(int directory, const char *path, const struct open_how *how) {
    return (int)OR_ERRNO(syscall(SYS_openat2, directory, path, how, sizeof(*how)));
}

static int linux_fsync(int fd, bool is_data_only) {
    return OR_ERRNO(is_data_only ? fdatasync(fd) : fsync(fd));
}

static int linux_fallocate(int fd, int mode, off_t offset, off_t bytes) {
    return OR_ERRNO(fallocate(fd, mode, offset, bytes));
}

static int linux_ftruncate(int fd, off_t bytes) {
    return OR_ERRNO(ftruncate(fd, bytes));
}

static int linux_statx(int directory, const char *path, int flags, unsigned mask,
                       struct statx *out) {
    return OR_ERRNO(statx(directory, path, flags, mask, out));
}

static int linux_renameat(int from, const char *path, int to, const char *new_path,
                          unsigned flags) {
    return OR_ERRNO(renameat2(from, path, to, new_path, flags));
}

static int linux_unlinkat(int directory, const char *path, int flags) {
    return OR_ERRNO(unlinkat(directory, path, flags));
}

static int linux_mkdirat(int directory, const char *path, mode_t mode) {
    return OR_ERRNO(mkdirat(directory, path, mode));
}

static int linux_linkat(int from, const char *path, int to, const char *new_path, int flags) {
    return OR_ERRNO(linkat(from, path, to, new_path, flags));
}

static int linux_symlinkat(const char *target, int directory, const char *path) {
    return OR_ERRNO(symlinkat(target, directory, path));
}

static ssize_t linux_readlinkat(int directory, const char *path, char *out_target, size_t bytes) {
    return OR_ERRNO(readlinkat(directory, path, out_target, bytes));
}

static ssize_t linux_getdents64(int fd, void *out_entries, size_t bytes) {
    return OR_ERRNO(getdents64(fd, out_entries, bytes));
}

static off_t linux_lseek(int fd, off_t offset, int whence) {
    return OR_ERRNO(lseek(fd, offset, whence));
}

static ssize_t linux_copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset,
                                     size_t bytes) {
    return OR_ERRNO(copy_file_range(from, from_offset, to, to_offset, bytes, 0));
}

static ssize_t linux_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes,
                            unsigned flags) {
    return OR_ERRNO(splice(from, from_offset, to, to_offset, bytes, flags));
}

static ssize_t linux_sendfile(int to, int from, off_t *from_offset, size_t bytes) {
    return OR_ERRNO(sendfile(to, from, from_offset, bytes));
}

static int linux_fcntl(int fd, int command, int arg) {
    return OR_ERRNO(fcntl(fd, command, arg));
}

static int linux_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    return OR_ERRNO(poll(fds, count, timeout_ms));
}

static int linux_terminal_columns(int fd) {
    struct winsize size;
    int error = OR_ERRNO(ioctl(fd, TIOCGWINSZ, &size));
    return error < 0 ? error : size.ws_col;
}

static int linux_terminal_size(int fd, struct winsize *out_size) {
    return OR_ERRNO(ioctl(fd, TIOCGWINSZ, out_size));
}

static int linux_terminal_get(int fd, struct termios *out_mode) {
    return OR_ERRNO(tcgetattr(fd, out_mode));
}

static int linux_terminal_set(int fd, const struct termios *mode) {
    return OR_ERRNO(tcsetattr(fd, TCSANOW, mode));
}

static int linux_eventfd(unsigned value, int flags) {
    return OR_ERRNO(eventfd(value, flags));
}

static int linux_signalfd(int fd, const sigset_t *set, int flags) {
    return OR_ERRNO(signalfd(fd, set, flags));
}

static int linux_timerfd_create(int flags) {
    return OR_ERRNO(timerfd_create(CLOCK_MONOTONIC, flags));
}

static int linux_timerfd_settime(int fd, uint64_t deadline_ns) {
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (deadline_ns != BNX_NEVER_NS) {
        deadline_ns = deadline_ns > 0 ? deadline_ns : 1; /* zero would disarm it */
        when.it_value.tv_sec = (time_t)(deadline_ns / UINT64_C(1000000000));
        when.it_value.tv_nsec = (long)(deadline_ns % UINT64_C(1000000000));
    }
    return OR_ERRNO(timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL));
}

static int linux_timerfd_look(int fd) {
    struct itimerspec ignored;
    return OR_ERRNO(timerfd_gettime(fd, &ignored));
}

static int linux_epoll_create(int flags) {
    return OR_ERRNO(epoll_create1(flags));
}

static int linux_epoll_add(int epoll_fd, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return OR_ERRNO(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
}

static int linux_epoll_control(int epoll_fd, int control, int fd, unsigned events, uint64_t key) {
    struct epoll_event event = {.events = events, .data = {.u64 = key}};
    return OR_ERRNO(epoll_ctl(epoll_fd, control, fd, &event));
}

/* Linux 5.11 has epoll_pwait2; where it is refused (gVisor), the deadline comes up to 1 ms late. */
static int linux_epoll_wait(int epoll_fd, struct epoll_event *out_events, int max,
                            uint64_t deadline_ns) {
    if (deadline_ns == 0 || deadline_ns == BNX_NEVER_NS) {
        return OR_ERRNO(epoll_wait(epoll_fd, out_events, max, deadline_ns == 0 ? 0 : -1));
    }
    uint64_t now_ns = linux_clock_now();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    const uint64_t second = UINT64_C(1000000000);
    struct timespec left = {(time_t)(left_ns / second), (long)(left_ns % second)};
    int count = OR_ERRNO(epoll_pwait2(epoll_fd, out_events, max, &left, NULL));
    if (count != -ENOSYS && count != -EPERM) {
        return count;
    }
    uint64_t left_ms = left_ns / 1000000 + (left_ns % 1000000 != 0);
    return OR_ERRNO(
        epoll_wait(epoll_fd, out_events, max, left_ms < INT_MAX ? (int)left_ms : INT_MAX));
}

static int linux_socket(int domain, int type, int protocol) {
    return OR_ERRNO(socket(domain, type, protocol));
}

static int linux_socketpair(int domain, int type, int protocol, int out_fds[2]) {
    return OR_ERRNO(socketpair(domain, type, protocol, out_fds));
}

static int linux_pipe2(int out_fds[2], int flags) {
    return OR_ERRNO(pipe2(out_fds, flags));
}

static int linux_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes) {
    return OR_ERRNO(setsockopt(fd, level, name, value, bytes));
}

static int linux_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes) {
    return OR_ERRNO(getsockopt(fd, level, name, value, bytes));
}

static int linux_bind(int fd, const struct sockaddr *address, socklen_t bytes) {
    return OR_ERRNO(bind(fd, address, bytes));
}

static int linux_listen(int fd, int backlog) {
    return OR_ERRNO(listen(fd, backlog));
}

static int linux_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags) {
    return OR_ERRNO(accept4(fd, address, bytes, flags));
}

static int linux_connect(int fd, const struct sockaddr *address, socklen_t bytes) {
    return OR_ERRNO(connect(fd, address, bytes));
}

static ssize_t linux_recv(int fd, void *buffer, size_t bytes, int flags) {
    return OR_ERRNO(recv(fd, buffer, bytes, flags));
}

static ssize_t linux_send(int fd, const void *buffer, size_t bytes, int flags) {
    return OR_ERRNO(send(fd, buffer, bytes, flags));
}

static ssize_t linux_recvmsg(int fd, struct msghdr *message, int flags) {
    return OR_ERRNO(recvmsg(fd, message, flags));
}

static ssize_t linux_sendmsg(int fd, const struct msghdr *message, int flags) {
    return OR_ERRNO(sendmsg(fd, message, flags));
}

static int linux_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    return OR_ERRNO(recvmmsg(fd, messages, count, flags, NULL));
}

static int linux_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    return OR_ERRNO(sendmmsg(fd, messages, count, flags));
}

static int linux_shutdown(int fd, int how) {
    return OR_ERRNO(shutdown(fd, how));
}

static int linux_getsockname(int fd, struct sockaddr *address, socklen_t *bytes) {
    return OR_ERRNO(getsockname(fd, address, bytes));
}

static int linux_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                             struct addrinfo **out_list, int *out_error) {
    int code = getaddrinfo(host, service, hints, out_list);
    if (code == EAI_SYSTEM) {
        *out_error = -errno;
    }
    return code;
}

static void linux_freeaddrinfo(struct addrinfo *list) {
    freeaddrinfo(list);
}

static int linux_pidfd_open(pid_t pid) {
    return (int)OR_ERRNO(syscall(SYS_pidfd_open, pid, 0));
}

static int linux_pidfd_signal(int pidfd, int signo) {
    return (int)OR_ERRNO(syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

static int linux_waitid(idtype_t kind, id_t id, siginfo_t *out_info, int options) {
    return OR_ERRNO(waitid(kind, id, out_info, options));
}

static int linux_kill(pid_t pid, int signo) {
    return OR_ERRNO(kill(pid, signo));
}

static int linux_uring_setup(unsigned entries, void *params) {
    return (int)OR_ERRNO(syscall(SYS_io_uring_setup, entries, params));
}

static int linux_uring_enter(int ring_fd, unsigned submit, unsigned wait, unsigned flags,
                             const void *arg, size_t arg_bytes) {
    return (int)OR_ERRNO(syscall(SYS_io_uring_enter, ring_fd, submit, wait, flags, arg, arg_bytes));
}

static int linux_uring_register(int ring_fd, unsigned opcode, const void *arg, unsigned count) {
    return (int)OR_ERRNO(syscall(SYS_io_uring_register, ring_fd, opcode, arg, count));
}

struct bnx_os bnx_os = {
    .thread_create = linux_thread_create,
    .thread_join = linux_thread_join,
    .thread_yield = linux_thread_yield,
    .thread_id = linux_thread_id,
    .thread_signal = linux_thread_signal,
    .thread_cpu_clock = linux_thread_cpu_clock,
    .affinity_get = linux_affinity_get,
    .affinity_set = linux_affinity_set,
    .timer_slack = bnx_linux_timer_slack,
    .futex_wait = linux_futex_wait,
    .futex_wake = linux_futex_wake,
    .membarrier = linux_membarrier,
    .clock_now = linux_clock_now,
    .mmap = linux_mmap,
    .munmap = linux_munmap,
    .mprotect = linux_mprotect,
    .madvise = linux_madvise,
    .allocate = linux_allocate,
    .release = linux_release,
    .openat = linux_openat,
    .close = linux_close,
    .read = linux_read,
    .write = linux_write,
    .preadv = linux_preadv,
    .pwritev = linux_pwritev,
    .chmod = linux_chmod,
    .openat2 = linux_openat2,
    .fsync = linux_fsync,
    .fallocate = linux_fallocate,
    .ftruncate = linux_ftruncate,
    .statx = linux_statx,
    .renameat = linux_renameat,
    .unlinkat = linux_unlinkat,
    .mkdirat = linux_mkdirat,
    .linkat = linux_linkat,
    .symlinkat = linux_symlinkat,
    .readlinkat = linux_readlinkat,
    .getdents64 = linux_getdents64,
    .lseek = linux_lseek,
    .copy_file_range = linux_copy_file_range,
    .sendfile = linux_sendfile,
    .splice = linux_splice,
    .fstat = linux_fstat,
    .fcntl = linux_fcntl,
    .poll = linux_poll,
    .terminal_columns = linux_terminal_columns,
    .terminal_size = linux_terminal_size,
    .terminal_get = linux_terminal_get,
    .terminal_set = linux_terminal_set,
    .eventfd = linux_eventfd,
    .signalfd = linux_signalfd,
    .timerfd_create = linux_timerfd_create,
    .timerfd_settime = linux_timerfd_settime,
    .timerfd_look = linux_timerfd_look,
    .epoll_create = linux_epoll_create,
    .epoll_add = linux_epoll_add,
    .epoll_control = linux_epoll_control,
    .epoll_wait = linux_epoll_wait,
    .socket = linux_socket,
    .socketpair = linux_socketpair,
    .pipe2 = linux_pipe2,
    .setsockopt = linux_setsockopt,
    .getsockopt = linux_getsockopt,
    .bind = linux_bind,
    .listen = linux_listen,
    .accept4 = linux_accept4,
    .connect = linux_connect,
    .recv = linux_recv,
    .send = linux_send,
    .recvmsg = linux_recvmsg,
    .sendmsg = linux_sendmsg,
    .recvmmsg = linux_recvmmsg,
    .sendmmsg = linux_sendmmsg,
    .shutdown = linux_shutdown,
    .getsockname = linux_getsockname,
    .getaddrinfo = linux_getaddrinfo,
    .freeaddrinfo = linux_freeaddrinfo,
    .process_spawn = bnx_linux_process_spawn,
    .pidfd_open = linux_pidfd_open,
    .pidfd_signal = linux_pidfd_signal,
    .waitid = linux_waitid,
    .kill = linux_kill,
    .uring_setup = linux_uring_setup,
    .uring_enter = linux_uring_enter,
    .uring_register = linux_uring_register,
};

#if !BNX_TSAN && !BNX_SIM
bool bnx_membarrier_is_on;

void bnx_heavy_barrier(void) {
    /* Without membarrier both sides are seq_cst accesses already, and this is not needed. */
    if (bnx_membarrier_is_on) {
        int error = bnx_os.membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        BNX_CHECK(error == 0);
    }
}

void bnx_os_init(void) {
    /* Once: workers of another runtime rely on the answer. */
    static uint32_t is_done;
    if (bnx_exchange_acq_rel(&is_done, 1) != 0) { /* O1 */
        return;
    }
    bnx_membarrier_is_on = bnx_os.membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}
#else
void bnx_os_init(void) {
}
#endif
