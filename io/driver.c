/* SPDX-License-Identifier: MIT */
/* What both drivers have, and the choice between them (driver.h). */
#include "io/driver.h"

void bnx_io_driver_init(struct bnx_io_driver *driver, const struct bnx_io_ops *ops,
                        struct bnx_worker *worker) {
    driver->base.ops = &ops->port;
    driver->base.worker = worker;
    bnx_poller_init(&driver->poller, worker);
    bnx_blocking_init(&driver->blocking);
}

void bnx_driver_choose(enum bnx_driver_kind kind, const struct bnx_driver_ops **out_ops,
                       const struct bnx_driver_ops **out_fallback) {
    *out_ops = kind == BNX_DRIVER_EPOLL ? &bnx_epoll_ops.port : &bnx_uring_ops.port;
    *out_fallback = kind == BNX_DRIVER_AUTO ? &bnx_epoll_ops.port : NULL;
}
