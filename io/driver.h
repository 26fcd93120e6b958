/* SPDX-License-Identifier: MIT */
/*
 * The two drivers of this library, and which one a runtime gets.
 */
#ifndef BNX_IO_DRIVER_H
#define BNX_IO_DRIVER_H

#include "io/op.h"

extern const struct bnx_io_ops bnx_uring_ops;
extern const struct bnx_io_ops bnx_epoll_ops;

/** Prepares what both have. */
void bnx_io_driver_init(struct bnx_io_driver *driver, const struct bnx_io_ops *ops,
                        struct bnx_worker *worker);

#endif
