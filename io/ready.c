/* SPDX-License-Identifier: MIT */
/*
 * Readiness (bonxie/ready.h): a wait is an op, an event has waiters in a poller, a watch is a task.
 *
 * Concepts
 *   An event belongs to the poller (poller.h) of the worker on which it was prepared. That worker
 *   itself has opened the poller then: so it looks there, on io_uring by its ring, whenever it
 *   polls or sleeps from then on, and no other thread that registers has to tell it.
 *   Registering never finds the event "there already": epoll says so at once, through the poller.
 *   What epoll refuses is told by the next take: poll(2) says that a file is always ready, and any
 *   other refusal is kept in `error`.
 *
 * Ordering
 *   F1 error  CAS and exchange acq_rel: the word carries nothing but itself.
 */
#include <bonxie/ready.h>

#include <bonxie/scope.h>

#include "io/op.h"

#include <errno.h>
#include <poll.h>

#define EVENTS ((unsigned)(POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLERR | POLLHUP))

/* What is there at once, or after having waited. 0: nothing; < 0: -errno. */
static int poll_one(int fd, unsigned events, int timeout_ms) {
    struct pollfd ready = {.fd = fd, .events = (short)events};
    int count = bnx_os.poll(&ready, 1, timeout_ms);
    if (count <= 0) {
        return count;
    }
    return (ready.revents & POLLNVAL) != 0 ? -EBADF : ready.revents;
}

/* ---- One wait ---- */

static int wait_on_thread(int fd, unsigned events) {
    int result;
    do { /* ends with the wait: signals are few */
        result = poll_one(fd, events, -1);
    } while (result == -EINTR);
    return result;
}

int bnx_fd_wait(int fd, unsigned events) {
    if ((events & ~EVENTS) != 0) {
        return -EINVAL;
    }
    if (fd < 0) {
        return -EBADF; /* poll(2) would wait for nothing */
    }
    if (bnx_task_current() == NULL) {
        return wait_on_thread(fd, events);
    }
    struct bnx_op op = {.kind = BNX_OP_POLL, .fd = fd, .flags = (int)events};
    ssize_t result = bnx_op_run(&op, BNX_WAIT_FD);
    return result == -EINVAL ? -EPERM : (int)result; /* a ring's word for it */
}

/* ---- Several steps ---- */

struct bnx_fd_steps bnx_fd_steps_of(int fd) {
    struct bnx_fd_steps steps = {.fd = fd, .closes = bnx_fd_closes_of(fd)};
    return steps;
}

int bnx_fd_steps_enter(struct bnx_fd_steps *steps) {
    steps->counts = NULL;
    if (BNX_PLANT(fd_steps_are_nothing)) {
        return 0;
    }
    if (bnx_task_current() == NULL) {
        return bnx_fd_steps_are_over(steps) ? -EBADF : 0;
    }
    return bnx_fd_step_begin_here(steps);
}

void bnx_fd_steps_leave(struct bnx_fd_steps *steps) {
    if (steps->counts != NULL) {
        bnx_fd_step_end(steps);
    }
}

/* ---- The event ---- */

static struct bnx_fd_event *event_of(struct bnx_waitable *waitable) {
    return BNX_CONTAINER_OF(waitable, struct bnx_fd_event, waitable);
}

static bool take(struct bnx_waitable *waitable, void *data, int *out_result) {
    struct bnx_fd_event *event = event_of(waitable);
    (void)data;
    int result = bnx_exchange_acq_rel(&event->error, 0); /* F1 */
    if (result == 0) {
        result = poll_one(event->fd, event->events, 0);
    }
    if (result == 0 || result == -EINTR) {
        return false;
    }
    *out_result = result;
    return true;
}

static bool add(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_fd_event *event = event_of(waitable);
    int error = bnx_poller_add(event->poller, event->fd, event->events, waiter);
    /* A file that is always ready is refused as well: then poll(2) is asked first. */
    bool is_told = error == 0 || poll_one(event->fd, event->events, 0) != 0;
    if (!is_told && !BNX_PLANT(fd_event_refusal_forgotten)) {
        int32_t none = 0;
        (void)bnx_cas_acq_rel(&event->error, &none, error); /* F1: else another one is there */
    }
    return error == 0;
}

static void leave(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct bnx_fd_event *event = event_of(waitable);
    bnx_poller_remove(event->poller, event->fd, waiter);
}

static const struct bnx_waitable_ops fd_event_ops = {
    .take = take,
    .add = add,
    .remove = leave,
    .name = "fd",
};

int bnx_fd_event_init(struct bnx_fd_event *event, int fd, unsigned events) {
    if ((events & ~EVENTS) != 0 || fd < 0) {
        return -EINVAL;
    }
    if (bnx_task_current() == NULL) {
        return bnx_off_task_error();
    }
    struct bnx_poller *poller = &bnx_io_driver_of(bnx_driver_current())->poller;
    int error = bnx_poller_open(poller);
    if (error != 0) {
        return error;
    }
    *event = (struct bnx_fd_event){
        .waitable = {.ops = &fd_event_ops}, .fd = fd, .events = events, .poller = poller};
    return 0;
}

/* ---- The watch ---- */

struct watch {
    struct bnx_fd_watch_options options;
    struct bnx_fd_steps steps; /* each wait is one: fn may suspend, and the number be closed */
};

static int wait_next(struct watch *watch) {
    int error = BNX_PLANT(watch_is_no_step) ? 0 : bnx_fd_step_begin_here(&watch->steps);
    if (error != 0) {
        return error;
    }
    int revents = bnx_fd_wait(watch->options.fd, watch->options.events);
    if (!BNX_PLANT(watch_is_no_step)) {
        bnx_fd_step_end(&watch->steps);
    }
    return revents;
}

static int watch_task(void *arg) {
    struct watch *watch = arg;
    for (;;) { /* ends when fn says so, or with the scope, or the descriptor */
        int revents = wait_next(watch);
        int result = watch->options.fn(watch->options.fd, revents, watch->options.arg);
        if (result != 0 || revents < 0) {
            return result;
        }
    }
}

int bnx_fd_watch(struct bnx_scope *scope, const struct bnx_fd_watch_options *options) {
    if (options == NULL || options->fn == NULL || (options->events & ~EVENTS) != 0) {
        return -EINVAL;
    }
    struct watch watch = {.options = *options};
    bnx_fd_steps_init(&watch.steps, options->fd);
    return bnx_spawn_copy(scope, watch_task, &watch, sizeof(watch));
}
