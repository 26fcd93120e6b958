/* SPDX-License-Identifier: MIT */
/*
 * The two drivers of this library, and which one a runtime gets.
 */
#ifndef BNX_IO_DRIVER_H
#define BNX_IO_DRIVER_H

#include "io/op.h"

extern const struct bnx_io_ops bnx_uring_ops;
extern const struct bnx_io_ops bnx_epoll_ops;

/** Prepares what both have. Returns 0 or -errno. */
int bnx_io_driver_init(struct bnx_io_driver *driver, const struct bnx_io_ops *ops,
                       const struct bnx_driver_config *config, struct bnx_worker *worker);

/** Ends that, except the poller, which each closes at its time. */
void bnx_io_driver_fini(struct bnx_io_driver *driver);

#endif
