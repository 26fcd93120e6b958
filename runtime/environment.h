/* SPDX-License-Identifier: MIT */
/* What the environment may say where the options leave it open. */
#ifndef BNX_RUNTIME_ENVIRONMENT_H
#define BNX_RUNTIME_ENVIRONMENT_H

#include <bonxie/runtime.h>

/**
 * Fills what the caller left at its default from BONXIE_WORKERS (1 to 256), BONXIE_DRIVER (auto,
 * uring, epoll) and BONXIE_SPIN_US (0 = never, to 1000000). An explicit option wins; in a setuid
 * program the environment is not read.
 * Returns 0; -EINVAL for an option or a value out of range, with a line for the log callback.
 */
int bnx_environment_apply(struct bnx_options *options);

#endif
