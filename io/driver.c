/* SPDX-License-Identifier: MIT */
/* What both drivers have, and the choice between them (driver.h). */
#include "io/driver.h"

#include "runtime/compiler.h"
#include "runtime/os.h"

uint32_t bnx_fd_closes[BNX_COUNTED_FDS];

int bnx_io_driver_init(struct bnx_io_driver *driver, const struct bnx_io_ops *ops,
                       const struct bnx_driver_config *config, struct bnx_worker *worker) {
    driver->base.ops = &ops->port;
    driver->base.worker = worker;
    driver->busy = (struct bnx_busy){0};
    bnx_poller_init(&driver->poller, worker);
    driver->base.waiting = &driver->poller.waiting;
    bnx_blocking_init(&driver->blocking);
    /* A sleep ends at a timer's deadline: on a futex and in a poller up to 50 us late otherwise. */
    if (!config->is_guest) {         /* the thread is the host's */
        (void)bnx_os.timer_slack(1); /* refused: timers come a little late */
    }
    return bnx_fd_counts_init(&driver->counts);
}

void bnx_io_driver_fini(struct bnx_io_driver *driver) {
    bnx_fd_counts_fini(&driver->counts);
}

/* valgrind runs one thread at a time, and lets no other in while one is inside io_uring_enter(2):
 * with that worker asleep, nobody could ever wake it. It also knows nothing of what the kernel
 * writes for a ring. */
void bnx_driver_choose(enum bnx_driver_kind kind, const struct bnx_driver_ops **out_ops,
                       const struct bnx_driver_ops **out_fallback) {
    if (kind == BNX_DRIVER_AUTO && bnx_valgrind_is_running()) {
        kind = BNX_DRIVER_EPOLL;
    }
    *out_ops = kind == BNX_DRIVER_EPOLL ? &bnx_epoll_ops.port : &bnx_uring_ops.port;
    *out_fallback = kind == BNX_DRIVER_AUTO ? &bnx_epoll_ops.port : NULL;
}
