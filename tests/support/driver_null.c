/* SPDX-License-Identifier: MIT */
/* The driver without a kernel ring: parks on a futex. For tests of the scheduler alone. */
#include "tests/support/driver_null.h"

#include "runtime/clock.h"

#include <errno.h>

/*
 * Ordering
 *   N1 wake: store seq_cst of the word, then futex wake -> park reads it (the kernel's order).
 */
struct null_driver {
    struct bnx_driver base;
    uint32_t never_changes; /* its poll word: there are no completions */
    uint32_t wakes;         /* futex: wakes sent and not consumed; N1 */
};

struct null_outside null_outside;

static struct null_driver *null_of(struct bnx_driver *driver) {
    return BNX_CONTAINER_OF(driver, struct null_driver, base);
}

static int null_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                     struct bnx_driver **out_driver);

static void null_close(struct bnx_driver *driver) {
    bnx_os.release(null_of(driver));
}

static size_t null_poll(struct bnx_driver *driver) {
    return null_outside.poll != NULL ? null_outside.poll(driver->worker) : 0;
}

static bool null_is_pending(const struct bnx_driver *driver) {
    return null_outside.is_pending != NULL && null_outside.is_pending(driver->worker);
}

static void null_park(struct bnx_driver *driver, uint64_t deadline_ns) {
    struct null_driver *self = null_of(driver);
    if (bnx_load_seq_cst(&self->wakes) == 0) { /* N1 */
        (void)bnx_os.futex_wait(&self->wakes, 0, deadline_ns);
    }
    bnx_store_seq_cst(&self->wakes, 0); /* N1 */
}

static void null_wake(struct bnx_driver *driver) {
    struct null_driver *self = null_of(driver);
    if (bnx_exchange_seq_cst(&self->wakes, 1) == 0) { /* N1 */
        (void)bnx_os.futex_wake(&self->wakes, 1);
    }
}

static bool null_cancel(struct bnx_driver *driver, struct bnx_task *task, void *op,
                        uint64_t sequence) {
    (void)driver;
    (void)task;
    (void)op;
    (void)sequence;
    bnx_panic(__FILE__, __LINE__, "the null driver has no operations");
}

static const struct bnx_driver_ops null_ops = {
    .name = "null",
    .open = null_open,
    .close = null_close,
    .poll = null_poll,
    .is_pending = null_is_pending,
    .park = null_park,
    .wake = null_wake,
    .cancel = null_cancel,
};

static int null_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                     struct bnx_driver **out_driver) {
    (void)config;
    struct null_driver *self = bnx_os.allocate(sizeof(*self), BNX_CACHELINE_BYTES);
    if (self == NULL) {
        return -ENOMEM;
    }
    *self = (struct null_driver){.base = {.ops = &null_ops, .worker = worker}};
    self->base.poll_word = &self->never_changes;
    *out_driver = &self->base;
    return 0;
}

void bnx_driver_choose(enum bnx_driver_kind kind, const struct bnx_driver_ops **out_ops,
                       const struct bnx_driver_ops **out_fallback) {
    (void)kind;
    *out_ops = &null_ops;
    *out_fallback = NULL;
}
