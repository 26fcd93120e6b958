/* SPDX-License-Identifier: MIT */
/* Options checked, and completed from the environment (environment.h). */
#include "runtime/environment.h"

#include "runtime/clock.h"
#include "runtime/idle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPIN_US_MAX 1000000

static int refuse(const struct bnx_options *options, const char *name, const char *value) {
    if (options->log != NULL) {
        char line[256];
        (void)snprintf(line, sizeof(line), "bad value of %s: \"%.100s\"", name, value);
        options->log(BNX_LOG_ERROR, line, options->log_arg);
    }
    return -EINVAL;
}

/* Reads a whole decimal number. Returns false for anything else. */
static bool parse_number(const char *text, unsigned long max, unsigned long *out) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *out = value;
    return true;
}

static int apply_workers(struct bnx_options *options) {
    const char *text = secure_getenv("BONXIE_WORKERS");
    unsigned long count = 0;
    if (options->worker_count != 0 || text == NULL) {
        return 0;
    }
    if (!parse_number(text, BNX_WORKERS_MAX, &count) || count == 0) {
        return refuse(options, "BONXIE_WORKERS", text);
    }
    options->worker_count = (uint32_t)count;
    return 0;
}

/* The thread is the host's: no second worker, no signal and no signal stack of ours. */
static int apply_guest(struct bnx_options *options) {
    if (options->worker_count > 1 || (options->flags & BNX_CRASH_REPORT) != 0) {
        return -EINVAL;
    }
    options->worker_count = 1;
    options->flags |= BNX_NO_RESCUE;
    return 0;
}

static int apply_driver(struct bnx_options *options) {
    const char *text = secure_getenv("BONXIE_DRIVER");
    if (options->driver != BNX_DRIVER_AUTO || text == NULL || strcmp(text, "auto") == 0) {
        return 0;
    }
    if (strcmp(text, "uring") == 0) {
        options->driver = BNX_DRIVER_URING;
    } else if (strcmp(text, "epoll") == 0) {
        options->driver = BNX_DRIVER_EPOLL;
    } else {
        return refuse(options, "BONXIE_DRIVER", text);
    }
    return 0;
}

static int apply_spin(struct bnx_options *options) {
    const char *text = secure_getenv("BONXIE_SPIN_US");
    unsigned long us = 0;
    if (options->spin_ns != 0 || text == NULL) {
        return 0;
    }
    if (!parse_number(text, SPIN_US_MAX, &us)) {
        return refuse(options, "BONXIE_SPIN_US", text);
    }
    options->spin_ns = us == 0 ? BNX_SPIN_NEVER : us * BNX_NS_PER_US;
    return 0;
}

int bnx_environment_apply(struct bnx_options *options) {
    const unsigned known =
        BNX_NO_RESCUE | BNX_NO_WATCHDOG | BNX_NO_AFFINITY | BNX_CRASH_REPORT | BNX_GUEST;
    if (options->worker_count > BNX_WORKERS_MAX || (options->flags & ~known) != 0 ||
        (unsigned)options->driver > BNX_DRIVER_EPOLL || (unsigned)options->stack > BNX_STACK_1M) {
        return -EINVAL;
    }
    int error = (options->flags & BNX_GUEST) != 0 ? apply_guest(options) : apply_workers(options);
    if (error == 0) {
        error = apply_driver(options);
    }
    return error != 0 ? error : apply_spin(options);
}
