/* SPDX-License-Identifier: MIT */
/*
 * The driver with simulated operations (driver_sim.h).
 *
 * Concepts
 *   flight   the operations that the "kernel" has; each lies in its task's frame, due at a time.
 *   A cancel makes an operation due soon, with -ECANCELED, unless it is due already: then its
 *   result stands, as when a completion waits unseen in a ring.
 *   Lists are touched between two steps of the simulated machine, so they need no lock, not even
 *   where another worker asks or a rescuer reaps.
 *
 * Ordering
 *   N1 wake: store seq_cst of the word, then futex wake -> park reads it (the futex's own order).
 */
#include "tests/support/driver_sim.h"

#include "runtime/clock.h"
#include "runtime/driver.h"

#include <bonxie/sim.h>

#include <errno.h>

#define CANCEL_NS_MAX 3000 /* how long a cancel takes at most */
#define REAP_MAX 4         /* completions finished in one hold of the service */
#define OP_MAGIC UINT64_C(0x0b0b0b0b51f05eed)

struct op {
    uint64_t magic; /* while it is in flight: an op in a frame that is gone has lost it */
    struct op *next;
    struct bnx_task *task;
    uint64_t due_ns;
    int result;
    bool is_in_flight;
};

struct sim_driver {
    struct bnx_driver base;
    uint32_t never_changes; /* its poll word: a ring that must be asked */
    uint32_t wakes;         /* futex: wakes sent and not consumed; N1 */
    struct op *flight;
};

uint64_t sim_ops_ended, sim_cancels_late;

static struct sim_driver *sim_of(const struct bnx_driver *driver) {
    return BNX_CONTAINER_OF((struct bnx_driver *)(uintptr_t)driver, struct sim_driver, base);
}

static void op_check(const struct op *op) {
    BNX_CHECK(op->magic == OP_MAGIC && op->is_in_flight);
}

/* Takes one operation that is due out of flight, any of them. NULL: none. */
static struct op *take_due(struct sim_driver *self, uint64_t now_ns) {
    struct op **chosen = NULL;
    uint32_t due = 0;
    for (struct op **at = &self->flight; *at != NULL; at = &(*at)->next) {
        op_check(*at);
        if ((*at)->due_ns <= now_ns && bnx_sim_draw(++due) == 0) {
            chosen = at;
        }
    }
    if (chosen == NULL) {
        return NULL;
    }
    struct op *op = *chosen;
    *chosen = op->next;
    op->is_in_flight = false;
    return op;
}

static size_t reap(struct sim_driver *self) {
    uint64_t now_ns = bnx_clock_now();
    size_t count = 0;
    struct op *op;
    while (count < REAP_MAX && (op = take_due(self, now_ns)) != NULL) {
        self->base.ops_in_flight--;
        self->base.completions++;
        count++;
        struct bnx_task *task = op->task;
        op->magic = 0;
        bnx_op_finish(task); /* the frame with the op may be gone from here on */
    }
    return count;
}

static uint64_t next_due_ns(const struct sim_driver *self) {
    uint64_t next_ns = BNX_NEVER_NS;
    for (const struct op *op = self->flight; op != NULL; op = op->next) {
        next_ns = op->due_ns < next_ns ? op->due_ns : next_ns;
    }
    return next_ns;
}

static size_t sim_poll(struct bnx_driver *driver) {
    if (!bnx_worker_service_try(driver->worker)) {
        return 0; /* a rescuer reaps */
    }
    size_t count = reap(sim_of(driver));
    bnx_worker_service_leave(driver->worker);
    return count;
}

static bool sim_is_pending(const struct bnx_driver *driver) {
    uint64_t now_ns = bnx_clock_now();
    return next_due_ns(sim_of(driver)) <= now_ns;
}

static void sim_park(struct bnx_driver *driver, uint64_t deadline_ns) {
    struct sim_driver *self = sim_of(driver);
    uint64_t due_ns = next_due_ns(self);
    if (bnx_load_seq_cst(&self->wakes) == 0) { /* N1 */
        (void)bnx_os.futex_wait(&self->wakes, 0, due_ns < deadline_ns ? due_ns : deadline_ns);
    }
    bnx_store_seq_cst(&self->wakes, 0); /* N1 */
    (void)sim_poll(driver);
}

static void sim_wake(struct bnx_driver *driver) {
    struct sim_driver *self = sim_of(driver);
    if (bnx_exchange_seq_cst(&self->wakes, 1) == 0) { /* N1 */
        (void)bnx_os.futex_wake(&self->wakes, 1);
    }
}

/* On the owner, as a cancel request is. */
static bool sim_cancel(struct bnx_driver *driver, struct bnx_task *task, void *unused,
                       uint64_t sequence) {
    (void)unused;
    (void)sequence;
    BNX_CHECK(bnx_driver_current() == driver);
    uint64_t now_ns = bnx_clock_now();
    for (struct op *op = sim_of(driver)->flight; op != NULL; op = op->next) {
        op_check(op);
        if (op->task == task && op->due_ns > now_ns) {
            op->due_ns = now_ns + bnx_sim_draw(CANCEL_NS_MAX);
            op->result = -ECANCELED;
            sim_ops_ended++;
            return true;
        }
    }
    sim_cancels_late++;
    return true;
}

static void sim_nudge(struct bnx_driver *driver) {
    (void)driver; /* what is due is due: there is nothing to bring about */
}

static size_t sim_reap_for(struct bnx_driver *driver) {
    return reap(sim_of(driver));
}

static void sim_close(struct bnx_driver *driver) {
    struct sim_driver *self = sim_of(driver);
    BNX_CHECK(self->flight == NULL && driver->ops_in_flight == 0);
    bnx_os.release(self);
}

static int sim_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                    struct bnx_driver **out_driver);

static const struct bnx_driver_ops sim_ops = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .poll = sim_poll,
    .is_pending = sim_is_pending,
    .park = sim_park,
    .wake = sim_wake,
    .cancel = sim_cancel,
    .nudge = sim_nudge,
    .reap_for = sim_reap_for,
};

static int sim_open(const struct bnx_driver_config *config, struct bnx_worker *worker,
                    struct bnx_driver **out_driver) {
    (void)config;
    struct sim_driver *self = bnx_os.allocate(sizeof(*self), BNX_CACHELINE_BYTES);
    if (self == NULL) {
        return -ENOMEM;
    }
    *self = (struct sim_driver){.base = {.ops = &sim_ops, .worker = worker}};
    self->base.poll_word = &self->never_changes;
    *out_driver = &self->base;
    return 0;
}

void bnx_driver_choose(enum bnx_driver_kind kind, const struct bnx_driver_ops **out_ops,
                       const struct bnx_driver_ops **out_fallback) {
    (void)kind;
    *out_ops = &sim_ops;
    *out_fallback = NULL;
}

int sim_op(uint64_t latency_ns, int result) {
    struct bnx_task *self = bnx_task_current();
    struct op op = {.magic = OP_MAGIC, .task = self, .result = result};
    int error = bnx_op_begin(self);
    if (error != 0) {
        return error;
    }
    if (bnx_sim_draw(8) == 0) {
        bnx_op_abort(self);
        return -EAGAIN;
    }
    struct sim_driver *driver = sim_of(bnx_driver_current());
    op.due_ns = bnx_clock_now() + latency_ns;
    op.is_in_flight = true;
    op.next = driver->flight;
    driver->flight = &op;
    driver->base.ops_in_flight++;
    bnx_op_park(self, BNX_WAIT_TEST, 0);
    BNX_CHECK(!op.is_in_flight); /* nothing but the terminal completion ends the wait */
    return op.result;
}
