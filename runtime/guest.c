/* SPDX-License-Identifier: MIT */
/* Visits of the host, and how it learns that one is due (guest.h). */
#include "runtime/guest.h"

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

/* ---- Opening and closing ---- */

static int close_fd(int fd, int error) {
    if (fd >= 0) {
        (void)bnx_os.close(fd);
    }
    return error;
}

static int open_fds(struct bnx_guest *guest) {
    guest->epoll_fd = guest->event_fd = guest->timer_fd = -1;
    if ((guest->event_fd = bnx_os.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        return guest->event_fd;
    }
    if ((guest->timer_fd = bnx_os.timerfd_create(TFD_CLOEXEC | TFD_NONBLOCK)) < 0) {
        return guest->timer_fd;
    }
    if ((guest->epoll_fd = bnx_os.epoll_create(EPOLL_CLOEXEC)) < 0) {
        return guest->epoll_fd;
    }
    int error = bnx_os.epoll_add(guest->epoll_fd, guest->event_fd);
    return error != 0 ? error : bnx_os.epoll_add(guest->epoll_fd, guest->timer_fd);
}

static void close_fds(struct bnx_guest *guest) {
    (void)close_fd(guest->epoll_fd, 0);
    (void)close_fd(guest->timer_fd, 0);
    (void)close_fd(guest->event_fd, 0);
}

/* The driver, which from now on tells the eventfd of its completions. */
static int open_worker(struct bnx_guest *guest) {
    struct bnx_worker *worker = guest->runtime->workers;
    int error = bnx_worker_open(worker);
    if (error == 0 && worker->driver->ops->notify != NULL && !BNX_PLANT(guest_ring_is_silent)) {
        error = worker->driver->ops->notify(worker->driver, guest->event_fd);
    }
    if (error == 0 && worker->driver->ops->pollable_fd != NULL) {
        error = bnx_os.epoll_add(guest->epoll_fd, worker->driver->ops->pollable_fd(worker->driver));
    }
    if (error != 0) {
        bnx_worker_close(worker);
    }
    bnx_worker_bind(NULL);
    return error;
}

int bnx_guest_open(struct bnx_runtime *runtime) {
    if (BNX_SIM) {
        return -ENOSYS; /* a virtual thread cannot sleep in a real poll(2) */
    }
    struct bnx_guest *guest = bnx_os.allocate(sizeof(*guest), BNX_APART_BYTES);
    if (guest == NULL) {
        return -ENOMEM;
    }
    memset(guest, 0, sizeof(*guest));
    guest->runtime = runtime;
    guest->host_tid = bnx_os.thread_id();
    guest->armed_ns = BNX_NEVER_NS;
    int error = open_fds(guest);
    if (error == 0) {
        error = open_worker(guest);
    }
    if (error != 0) {
        close_fds(guest);
        bnx_os.release(guest);
        return error;
    }
    runtime->guest = guest;
    bnx_idle_enter(&runtime->idle, runtime->workers->index); /* away until the first visit */
    return 0;
}

void bnx_guest_close(struct bnx_runtime *runtime) {
    struct bnx_guest *guest = runtime->guest;
    (void)bnx_guest_visit(guest); /* messages may have come since the last one */
    bnx_worker_bind(runtime->workers);
    bnx_worker_close(runtime->workers);
    close_fds(guest);
    runtime->guest = NULL;
    bnx_os.release(guest);
}

/* ---- Waking ---- */

void bnx_guest_wake(struct bnx_guest *guest) {
    if (bnx_exchange_seq_cst(&guest->notified, 1) == 0) { /* V1 */
        uint64_t one = 1;
        (void)bnx_os.write(guest->event_fd, &one, sizeof(one)); /* 2^64 wakes would fill it */
    }
}

static void clear_wakes(struct bnx_guest *guest) {
    uint64_t count;
    if (!BNX_PLANT(guest_keeps_wakes)) {
        (void)bnx_os.read(guest->event_fd, &count, sizeof(count)); /* most often there is none */
    }
    (void)bnx_exchange_seq_cst(&guest->notified, 0); /* V1 */
}

static void arm_timer(struct bnx_guest *guest, struct bnx_worker *worker) {
    const struct bnx_driver *driver = worker->driver;
    uint64_t next_ns = bnx_worker_timers_next(worker);
    uint64_t driver_ns = driver->ops->next_ns != NULL ? driver->ops->next_ns(driver) : BNX_NEVER_NS;
    next_ns = driver_ns < next_ns ? driver_ns : next_ns;
    if (next_ns != guest->armed_ns && !BNX_PLANT(guest_no_timer)) {
        (void)bnx_os.timerfd_settime(guest->timer_fd, next_ns); /* fails for no valid time */
        guest->armed_ns = next_ns;
    }
}

/* ---- A visit ---- */

/* The errno and the rounding mode that the host had come back to it: tasks have changed both. */
uint64_t bnx_guest_visit(struct bnx_guest *guest) {
    struct bnx_runtime *runtime = guest->runtime;
    struct bnx_worker *worker = runtime->workers;
    int saved_errno = errno;
    bnx_worker_bind(worker);
    bnx_carrier_init(&worker->carrier); /* anew: the host may have changed its control words */
    bnx_store_seq_cst(&guest->is_visited, 1); /* V2 */
    bnx_watchdog_kick(runtime);
    uint64_t before = worker->counters.switches;
    bool is_done = bnx_worker_visit(worker);
    uint64_t switches = worker->counters.switches - before;
    bnx_worker_visit_end(worker); /* steps 1 to 4 of guest.h */
    arm_timer(guest, worker);
    clear_wakes(guest);
    if (!is_done || (!BNX_PLANT(guest_no_last_look) && bnx_worker_sees_work(worker))) {
        bnx_guest_wake(guest);
    }
    bnx_store_seq_cst(&guest->is_visited, 0); /* V2 */
    struct bnx_fp fp;
    bnx_fp_read(&fp);
    bnx_fp_swap(&fp, &worker->carrier.fp);
    bnx_worker_bind(BNX_PLANT(guest_stays_bound) ? worker : NULL);
    errno = saved_errno;
    return switches;
}

bool bnx_guest_wait(struct bnx_guest *guest, uint64_t deadline_ns) {
    int timeout_ms = -1;
    if (deadline_ns != BNX_NEVER_NS) {
        uint64_t now_ns = bnx_clock_now();
        if (now_ns >= deadline_ns) {
            return false;
        }
        uint64_t left_ms = (deadline_ns - now_ns - 1) / BNX_NS_PER_MS + 1; /* not too early */
        timeout_ms = left_ms < INT_MAX ? (int)left_ms : INT_MAX;
    }
    struct pollfd pollfd = {.fd = guest->epoll_fd, .events = POLLIN};
    return bnx_os.poll(&pollfd, 1, timeout_ms) > 0;
}

/* The host runs the task itself. The future is set, never failed: -EAGAIN says pending. */
int bnx_guest_visit_until_set(struct bnx_guest *guest, struct bnx_future *future,
                              void **out_value) {
    int error;
    while ((error = bnx_future_poll(future, out_value)) == -EAGAIN) { /* ends with the task */
        if (bnx_guest_visit(guest) == 0) {
            (void)bnx_guest_wait(guest, BNX_NEVER_NS);
        }
    }
    return error;
}

/* The look comes after the visit: a foreign thread that leaves the root scope last wakes the guest,
 * but its wake may have come during the visit, and is gone then. */
int bnx_guest_visit_until_empty(struct bnx_guest *guest, uint64_t deadline_ns) {
    for (;;) { /* ends with the last task, or with time */
        uint64_t switches = bnx_guest_visit(guest);
        if (bnx_scope_root_children(&guest->runtime->root) == 0) {
            return 0;
        }
        if (switches == 0) {
            (void)bnx_guest_wait(guest, deadline_ns);
        }
        if (deadline_ns != BNX_NEVER_NS && bnx_clock_now() >= deadline_ns) {
            return -ETIMEDOUT;
        }
    }
}

bool bnx_guest_is_host(const struct bnx_guest *guest) {
    return guest->host_tid == bnx_os.thread_id();
}

/* ---- What the host calls ---- */

int bnx_runtime_poll(struct bnx_runtime *runtime, uint64_t max_ns) {
    if (runtime == NULL) {
        return -EINVAL;
    }
    if (bnx_runtime_is_forked(runtime)) {
        return -ECHILD;
    }
    struct bnx_guest *guest = runtime->guest;
    if (guest == NULL) {
        return -EINVAL;
    }
    if (bnx_worker_current() != NULL) {
        return -EDEADLK;
    }
    if (!bnx_guest_is_host(guest) && !BNX_PLANT(guest_any_thread)) {
        return -EPERM;
    }
    uint64_t deadline_ns = max_ns != 0 ? bnx_clock_after(bnx_clock_now(), max_ns) : 0;
    uint64_t switches;
    do { /* ends: with work, with time, or with a signal */
        switches = bnx_guest_visit(guest);
    } while (switches == 0 && bnx_guest_wait(guest, deadline_ns));
    return switches < INT_MAX ? (int)switches : INT_MAX;
}

int bnx_runtime_fd(const struct bnx_runtime *runtime) {
    if (runtime == NULL || bnx_runtime_is_forked(runtime)) {
        return runtime == NULL ? -EINVAL : -ECHILD;
    }
    return runtime->guest != NULL ? runtime->guest->epoll_fd : -EINVAL;
}
