/* SPDX-License-Identifier: MIT */
/* What the tests of readiness share. */
#ifndef BNX_TESTS_IO_READY_H
#define BNX_TESTS_IO_READY_H

#include "tests/io/fixture.h"

#include <bonxie/ready.h>

#include <poll.h>

static inline void write_one(int fd) {
    CHECK_EQ(bnx_os.write(fd, "x", 1), 1);
}

static inline struct bnx_fd_event event_on(int fd, unsigned events) {
    struct bnx_fd_event event;
    CHECK_EQ(bnx_fd_event_init(&event, fd, events), 0);
    return event;
}

static inline int wait_event(struct bnx_fd_event *event) {
    struct bnx_waitable *waitable = bnx_fd_event_waitable(event);
    return bnx_wait(&waitable, 1, BNX_WAIT_FIRST, NULL);
}

#endif
