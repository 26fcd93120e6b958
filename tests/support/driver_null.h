/* SPDX-License-Identifier: MIT */
/* What a test says in place of the null driver, which has no completions. */
#ifndef BNX_TESTS_SUPPORT_DRIVER_NULL_H
#define BNX_TESTS_SUPPORT_DRIVER_NULL_H

#include "runtime/driver.h"

/* Of all runtimes; set before the first one is made. NULL: the driver's own answer, there is none.
 * Each is called by the worker's own thread, is_pending by others as well. */
struct null_outside {
    size_t (*poll)(struct bnx_worker *worker);
    bool (*is_pending)(const struct bnx_worker *worker);
};
extern struct null_outside null_outside;

#endif
