/* SPDX-License-Identifier: MIT */
/*
 * Streams of signals (bonxie/signal.h).
 *
 * Concepts
 *   hub     a thread and its signalfd, there while a stream is open anywhere in the process. It
 *           asks for what any stream wants, and gives each signal to every stream that wants it.
 *   stream  a queue, and those who wait for it to hold something.
 *
 *   A signalfd a stream would not do: the kernel hands a signal to one reader. And who reads must
 *   belong to no runtime, since streams of several may want the same signal.
 *
 * Invariants (under the lock)
 *   hub == NULL <=> there are no streams, but for a moment in bnx_signal_open and _close.
 *   A stream has waiters only while its queue is empty.
 *   A standard signal is in a queue once at most, so there is always room for it.
 *
 * Ordering
 *   G1 the lock: the hub and all streams.
 */
#include <bonxie/signal.h>

#include "runtime/list.h"
#include "runtime/lock.h"
#include "runtime/thread_pool.h"
#include "runtime/waiter.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#define REALTIME_MAX 96 /* in a queue; the rest of it is for the standard signals */
#define QUEUE_MAX 128
#define BATCH 16 /* signals a read */
#define HUB_STACK_BYTES ((size_t)64 * 1024)

_Static_assert(QUEUE_MAX - REALTIME_MAX >= 31, "each standard signal has room");

struct hub {
    struct bnx_os_thread thread;
    int signal_fd; /* its set is G1's, the rest is immutable */
    int stop_fd;   /* an eventfd: written, it ends the thread */
};

struct bnx_signal_stream {
    struct bnx_waitable waitable; /* immutable */
    sigset_t set;                 /* immutable */
    CK_LIST_ENTRY(bnx_signal_stream) at;
    struct bnx_waiter_list waiters; /* data: a struct bnx_signal_info, or NULL */
    uint32_t first;                 /* of the queue */
    uint32_t count;
    uint32_t realtime_count; /* of those */
    struct bnx_signal_info queue[QUEUE_MAX];
};

/* All of it under the lock. */
static struct {
    struct bnx_lock lock;
    struct hub *hub;
    CK_LIST_HEAD(stream_list, bnx_signal_stream) streams;
} global;

static struct bnx_signal_stream *stream_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_signal_stream, waitable);
}

static bool is_realtime(int signo) {
    return signo >= SIGRTMIN;
}

/* ---- The queue; under the lock ---- */

static bool is_queued(const struct bnx_signal_stream *stream, int signo) {
    for (uint32_t i = 0; i < stream->count; i++) {
        if (stream->queue[(stream->first + i) % QUEUE_MAX].signo == signo) {
            return true;
        }
    }
    return false;
}

static void push(struct bnx_signal_stream *stream, const struct bnx_signal_info *info) {
    bool is_counted = is_realtime(info->signo);
    if (is_counted ? stream->realtime_count == REALTIME_MAX : is_queued(stream, info->signo)) {
        return;
    }
    stream->queue[(stream->first + stream->count) % QUEUE_MAX] = *info;
    stream->count++;
    stream->realtime_count += is_counted;
}

static bool pop(struct bnx_signal_stream *stream, struct bnx_signal_info *out_info) {
    if (stream->count == 0) {
        return false;
    }
    *out_info = stream->queue[stream->first];
    stream->first = (stream->first + 1) % QUEUE_MAX;
    stream->count--;
    stream->realtime_count -= is_realtime(out_info->signo);
    return true;
}

static void give(struct bnx_signal_stream *stream, const struct bnx_signal_info *info) {
    struct bnx_wakee wakee;
    struct bnx_waiter *waiter = bnx_waiter_list_claim(&stream->waiters, info->signo, &wakee);
    if (waiter == NULL) {
        push(stream, info);
        return;
    }
    if (waiter->data != NULL) {
        *(struct bnx_signal_info *)waiter->data = *info;
    }
    bnx_wakee_wake(&wakee);
}

/* ---- The hub ---- */

/* Under the lock. */
static void spread(const struct signalfd_siginfo *from) {
    const struct bnx_signal_info info = {
        .signo = (int)from->ssi_signo,
        .code = from->ssi_code,
        .value = from->ssi_signo == SIGCHLD ? from->ssi_status : from->ssi_int,
        .pid = (pid_t)from->ssi_pid,
        .uid = (uid_t)from->ssi_uid,
    };
    struct bnx_signal_stream *stream;
    CK_LIST_FOREACH(stream, &global.streams, at) {
        if (sigismember(&stream->set, info.signo) == 1) {
            give(stream, &info);
            if (BNX_PLANT(signal_to_one_stream)) {
                break;
            }
        }
    }
}

/* One step under the lock: what nobody wants any more stays in the kernel. The read cannot wait. */
static void take_signals(const struct hub *hub) {
    struct signalfd_siginfo infos[BATCH];
    bnx_lock_acquire(&global.lock); /* G1 */
    ssize_t bytes = hub == global.hub ? bnx_os.read(hub->signal_fd, infos, sizeof(infos)) : 0;
    for (ssize_t i = 0; i < bytes / (ssize_t)sizeof(infos[0]); i++) {
        spread(&infos[i]);
    }
    bnx_lock_release(&global.lock); /* G1 */
}

static void listen_for_signals(void *arg) {
    const struct hub *hub = arg;
    struct pollfd fds[2] = {{.fd = hub->signal_fd, .events = POLLIN},
                            {.fd = hub->stop_fd, .events = POLLIN}};
    do { /* ends when it is stopped; a refused poll is tried again */
        (void)bnx_os.poll(fds, 2, -1);
        take_signals(hub);
    } while ((fds[1].revents & POLLIN) == 0);
}

/* What all streams want; under the lock. A poll of the old set goes on with the new one. */
static int update_set(const struct hub *hub) {
    sigset_t all;
    sigemptyset(&all);
    struct bnx_signal_stream *stream;
    CK_LIST_FOREACH(stream, &global.streams, at) {
        sigorset(&all, &all, &stream->set);
    }
    int fd = bnx_os.signalfd(hub->signal_fd, &all, 0);
    return fd < 0 ? fd : 0;
}

static void close_hub(struct hub *hub) {
    if (hub == NULL) {
        return;
    }
    uint64_t one = 1;
    (void)bnx_os.write(hub->stop_fd, &one, sizeof(one)); /* the only write: there is room */
    (void)bnx_os.thread_join(&hub->thread);
    (void)bnx_os.close(hub->signal_fd);
    (void)bnx_os.close(hub->stop_fd);
    bnx_os.release(hub);
}

static int open_hub(struct hub **out_hub) {
    struct hub *hub = bnx_os.allocate(sizeof(*hub), _Alignof(struct hub));
    if (hub == NULL) {
        return -ENOMEM;
    }
    sigset_t none;
    sigemptyset(&none);
    int error = hub->signal_fd = bnx_os.signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
    if (hub->signal_fd < 0) {
        goto release;
    }
    error = hub->stop_fd = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (hub->stop_fd < 0) {
        goto close_signal;
    }
    hub->thread = (struct bnx_os_thread){.entry = listen_for_signals,
                                         .arg = hub,
                                         .stack_bytes = HUB_STACK_BYTES,
                                         .name = "bnx-signals"};
    error = bnx_thread_start(&hub->thread);
    if (error != 0) {
        goto close_stop;
    }
    *out_hub = hub;
    return 0;
close_stop:
    (void)bnx_os.close(hub->stop_fd);
close_signal:
    (void)bnx_os.close(hub->signal_fd);
release:
    bnx_os.release(hub);
    return error;
}

/* ---- Opening and closing ---- */

static int set_of(const int *signals, size_t count, sigset_t *out_set) {
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                  SIGILL,  SIGFPE,  SIGTRAP, SIGABRT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; signals != NULL && i < count; i++) {
        for (size_t k = 0; k < BNX_ARRAY_COUNT(refused); k++) {
            if (signals[i] == refused[k]) {
                return -EINVAL;
            }
        }
        if (sigaddset(&set, signals[i]) != 0) {
            return -EINVAL;
        }
    }
    if (signals == NULL || count == 0) {
        return -EINVAL;
    }
    *out_set = set;
    return 0;
}

int bnx_signal_block(const int *signals, size_t count) {
    sigset_t set;
    int error = set_of(signals, count, &set);
    return error != 0 ? error : -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Puts the stream into the list. *spare, if there is one, becomes the hub where there is none; then
 * *spare is NULL. -ENOENT: there is no hub. */
static int enlist(struct bnx_signal_stream *stream, struct hub **spare) {
    int error = -ENOENT;
    bnx_lock_acquire(&global.lock); /* G1 */
    if (global.hub == NULL && *spare != NULL) {
        global.hub = *spare;
        *spare = NULL;
    }
    if (global.hub != NULL) {
        CK_LIST_INSERT_HEAD(&global.streams, stream, at);
        error = update_set(global.hub);
        if (error != 0) {
            CK_LIST_REMOVE(stream, at);
        }
        if (CK_LIST_EMPTY(&global.streams)) {
            *spare = global.hub;
            global.hub = NULL;
        }
    }
    bnx_lock_release(&global.lock); /* G1 */
    return error;
}

int bnx_signal_try_next(struct bnx_signal_stream *stream, struct bnx_signal_info *out_info) {
    struct bnx_signal_info info;
    bnx_lock_acquire(&global.lock); /* G1 */
    bool is_there = pop(stream, &info);
    bnx_lock_release(&global.lock); /* G1 */
    if (!is_there) {
        return -EAGAIN;
    }
    if (out_info != NULL) {
        *out_info = info;
    }
    return info.signo;
}

static bool take(struct bnx_waitable *waitable, void *data, int *out_result) {
    int signo = bnx_signal_try_next(stream_of(waitable), data);
    if (signo > 0) {
        *out_result = signo;
    }
    return signo > 0;
}

static bool add(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_signal_stream *stream = stream_of(waitable);
    bnx_lock_acquire(&global.lock); /* G1 */
    bool is_added = stream->count == 0;
    if (is_added) {
        bnx_waiter_list_push(&stream->waiters, waiter);
    }
    bnx_lock_release(&global.lock); /* G1 */
    return is_added;
}

static void leave(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    bnx_lock_acquire(&global.lock); /* G1 */
    bnx_waiter_list_remove(&stream_of(waitable)->waiters, waiter);
    bnx_lock_release(&global.lock); /* G1 */
}

static const struct bnx_waitable_ops signal_ops = {
    .take = take,
    .add = add,
    .remove = leave,
    .hands_out = true,
    .name = "signal",
};

struct bnx_waitable *bnx_signal_waitable(struct bnx_signal_stream *stream) {
    return &stream->waitable;
}

int bnx_signal_open(const int *signals, size_t count, struct bnx_signal_stream **out_stream) {
    sigset_t set;
    int error = out_stream != NULL ? set_of(signals, count, &set) : -EINVAL;
    if (error != 0) {
        return error;
    }
    struct bnx_signal_stream *stream =
        bnx_os.allocate(sizeof(*stream), _Alignof(struct bnx_signal_stream));
    if (stream == NULL) {
        return -ENOMEM;
    }
    memset(stream, 0, sizeof(*stream));
    stream->waitable.ops = &signal_ops;
    stream->set = set;
    struct hub *spare = NULL;
    error = enlist(stream, &spare);
    if (error == -ENOENT) {
        error = open_hub(&spare);
        if (error == 0) {
            error = enlist(stream, &spare);
        }
    }
    close_hub(spare); /* another one was first, or it found no use */
    if (error != 0) {
        bnx_os.release(stream);
        return error;
    }
    *out_stream = stream;
    return 0;
}

void bnx_signal_close(struct bnx_signal_stream *stream) {
    if (stream == NULL) {
        return;
    }
    struct hub *last = NULL;
    bnx_lock_acquire(&global.lock); /* G1 */
    BNX_CHECK(stream->waiters.first == NULL);
    CK_LIST_REMOVE(stream, at);
    if (CK_LIST_EMPTY(&global.streams)) {
        last = global.hub;
        global.hub = NULL;
    } else {
        (void)update_set(global.hub); /* refused: signals come that nobody wants */
    }
    bnx_lock_release(&global.lock); /* G1 */
    close_hub(last);
    bnx_os.release(stream);
}

/* ---- Waiting ---- */

/* One wait. Returns 0: the signal has been handed over, or is to be taken; *out_is_handed says. */
static int sleep_once(struct bnx_signal_stream *stream, struct bnx_sleeper *sleeper,
                      struct bnx_waiter *waiter, bool *out_is_handed) {
    int error = bnx_sleeper_begin(sleeper);
    if (error != 0) {
        return error;
    }
    bool is_added = add(&stream->waitable, waiter);
    if (!is_added && bnx_sleeper_withdraw(sleeper)) {
        return 0;
    }
    error = bnx_sleeper_sleep(sleeper, BNX_WAIT_SIGNAL, stream);
    if (error != 0 && is_added) {
        leave(&stream->waitable, waiter);
    }
    *out_is_handed = error == 0;
    return error;
}

int bnx_signal_next(struct bnx_signal_stream *stream, struct bnx_signal_info *out_info) {
    struct bnx_sleeper sleeper;
    struct bnx_waiter waiter;
    bool is_handed = false;
    bnx_sleeper_init(&sleeper);
    int result = sleeper.task != NULL ? bnx_task_cancel_check(sleeper.task) : 0;
    if (result != 0) {
        return result;
    }
    result = bnx_signal_try_next(stream, out_info);
    if (result > 0 && sleeper.task != NULL) {
        bnx_task_spend(sleeper.task);
    }
    while (result == -EAGAIN) { /* ends: somebody else has taken it, or it is ours */
        bnx_waiter_init(&waiter, &sleeper, out_info);
        result = sleep_once(stream, &sleeper, &waiter, &is_handed);
        if (result == 0) {
            result = is_handed ? waiter.result : bnx_signal_try_next(stream, out_info);
        }
    }
    bnx_sleeper_fini(&sleeper);
    return result;
}
