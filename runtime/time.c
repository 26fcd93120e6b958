/* SPDX-License-Identifier: MIT */
/* Reading time and sleeping (bonxie/time.h). */
#include <bonxie/time.h>

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <errno.h>

uint64_t bnx_now(void) {
    return bnx_clock_now();
}

/* Off a task: the thread itself sleeps, on a word that nobody changes. */
static int thread_sleep_until(uint64_t deadline_ns) {
    int error = bnx_off_task_error();
    if (error == -ECHILD) {
        return error;
    }
    uint32_t word = 0;
    while (bnx_clock_now() <
           deadline_ns) { /* ends with time; signals and spurious wakes go round */
        (void)bnx_os.futex_wait(&word, 0, deadline_ns);
    }
    return 0;
}

int bnx_sleep_for(uint64_t deadline_ns, enum bnx_wait_reason reason, const void *object) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_task *self = worker != NULL ? worker->current : NULL;
    if (self == NULL) {
        return thread_sleep_until(deadline_ns);
    }
    struct bnx_timer_node *node = NULL;
    if (deadline_ns != BNX_NEVER_NS) {
        node = bnx_timer_node_take(worker);
        if (node == NULL) {
            return -ENOMEM;
        }
    }
    uint64_t sequence = bnx_wait_next_sequence(self);
    int error = bnx_wait_publish(self);
    if (error < 0) {
        if (node != NULL) {
            bnx_timer_node_give_back(worker, node);
        }
        return error;
    }
    if (node != NULL) {
        bnx_timer_node_start(worker, node, BNX_TIMER_WAKE, self, sequence, deadline_ns);
    }
    worker = bnx_task_park(self, reason, object);
    error = bnx_wait_end(self);
    if (node != NULL) {
        bnx_timer_node_end(worker, node);
    }
    return error;
}

int bnx_sleep_until(uint64_t deadline_ns) {
    return bnx_sleep_for(deadline_ns, BNX_WAIT_SLEEP, NULL);
}

void bnx_task_nap(struct bnx_task *self, uint64_t ns) {
    struct bnx_worker *worker = bnx_worker_current();
    struct bnx_timer_node *node = bnx_timer_node_take(worker);
    if (node == NULL) {
        bnx_yield();
        return;
    }
    uint64_t sequence = bnx_wait_publish_always(self);
    uint64_t deadline_ns = bnx_clock_after(bnx_clock_now(), ns);
    bnx_timer_node_start(worker, node, BNX_TIMER_WAKE, self, sequence, deadline_ns);
    worker = bnx_task_park(self, BNX_WAIT_CLOSE, NULL);
    (void)bnx_wait_end(self); /* a cancel only makes it short */
    bnx_timer_node_end(worker, node);
}

int bnx_sleep(uint64_t ns) {
    if (ns == 0) {
        struct bnx_task *self = bnx_task_current();
        int error = self != NULL ? bnx_task_cancel_check(self) : 0;
        if (error == 0) {
            bnx_yield();
        }
        return error;
    }
    return bnx_sleep_until(bnx_clock_after(bnx_clock_now(), ns));
}
