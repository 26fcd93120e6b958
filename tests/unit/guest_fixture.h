/* SPDX-License-Identifier: MIT */
/* What tests of a guest runtime share: making one, looking at its descriptor, visiting it. */
#ifndef BNX_TESTS_UNIT_GUEST_FIXTURE_H
#define BNX_TESTS_UNIT_GUEST_FIXTURE_H

#include "tests/support/sched.h"

#include <poll.h>

static inline struct bnx_runtime *guest_create(void) {
    struct bnx_options options = {.flags = BNX_GUEST, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    return runtime;
}

static inline bool is_readable(int fd) {
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, 0) == 1;
}

/* Waits for the guest's descriptor alone, then polls. */
static inline int turn(struct bnx_runtime *runtime) {
    struct pollfd pollfd = {.fd = bnx_runtime_fd(runtime), .events = POLLIN};
    CHECK_EQ(poll(&pollfd, 1, -1), 1);
    int switches = bnx_runtime_poll(runtime, 0);
    CHECK(switches >= 0);
    return switches;
}

/* A visit that has taken long may end before it has seen that nothing is left: then one or two more
 * find nothing, and the descriptor falls silent. */
static inline bool falls_silent(struct bnx_runtime *runtime) {
    for (int visits = 0; visits < 3 && is_readable(bnx_runtime_fd(runtime)); visits++) {
        CHECK_EQ(bnx_runtime_poll(runtime, 0), 0);
    }
    return !is_readable(bnx_runtime_fd(runtime));
}

#endif
