/* SPDX-License-Identifier: MIT */
/* The loops over the runtime's internal mechanisms (internals.h). */
#include "bench/micro/internals.h"

#include "runtime/context.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <stdlib.h>

/* ---- The switch ---- */

#define SWITCH_STACK_BYTES ((size_t)64 * 1024)

static struct bnx_context here;
static struct bnx_context there;
static uint64_t visits; /* atomic: the compiler sees no call of the function that counts it */

/* As in the scheduler: one place that switches, not inlined. */
static BNX_NOINLINE void hop(struct bnx_context *from, const struct bnx_context *to) {
    bnx_context_switch(from, to);
}

static void second_stack(void) {
    for (;;) {                                                     /* ends: nobody comes back */
        bnx_store_relaxed(&visits, bnx_load_relaxed(&visits) + 1); /* one thread */
        hop(&there, &here);
    }
}

uint64_t bnx_bench_switch(uint64_t rounds) {
    char *stack = malloc(SWITCH_STACK_BYTES);
    if (stack == NULL) {
        return 0;
    }
    uintptr_t top = ((uintptr_t)stack + SWITCH_STACK_BYTES) & ~(uintptr_t)15;
    bnx_context_init(&there, (void *)top, second_stack);
    bnx_store_relaxed(&visits, 0); /* as above */
    for (uint64_t i = 0; i < rounds; i++) {
        hop(&here, &there);
    }
    free(stack);
    return bnx_load_relaxed(&visits); /* as above */
}

/* ---- Queues ---- */

#define QUEUE_ITEMS 64

/* The queues do not look into their items. */
static char items[QUEUE_ITEMS];

uint64_t bnx_bench_runq_push_pop(uint64_t rounds) {
    static struct bnx_runq runq;
    bnx_runq_init(&runq, 0);
    uint64_t returned = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        void *item = &items[i % QUEUE_ITEMS];
        (void)bnx_runq_push(&runq, item);
        returned += bnx_runq_pop(&runq) == item;
    }
    return returned;
}

uint64_t bnx_bench_runq_steal(uint64_t rounds, uint64_t *out_moved) {
    static struct bnx_runq runqs[2];
    bnx_runq_init(&runqs[0], 0);
    bnx_runq_init(&runqs[1], 0);
    for (int i = 0; i < QUEUE_ITEMS; i++) {
        (void)bnx_runq_push(&runqs[0], &items[i]);
    }
    uint64_t raids = 0;
    uint64_t moved = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_runq *thief = &runqs[(i + 1) % 2];
        uint32_t count = 0;
        void *item = bnx_runq_steal(&runqs[i % 2], thief, &count);
        if (item != NULL) {
            (void)bnx_runq_push(thief, item); /* a worker would run it */
            raids++;
            moved += count;
        }
    }
    *out_moved = moved;
    return bnx_runq_count(&runqs[0]) + bnx_runq_count(&runqs[1]) == QUEUE_ITEMS ? raids : 0;
}

uint64_t bnx_bench_deque_push_pop(uint64_t rounds) {
    static struct bnx_deque deque;
    if (bnx_deque_init(&deque, QUEUE_ITEMS * 2, 0) != 0) {
        return 0;
    }
    uint64_t returned = 0;
    /* Others lie beneath, so that the pop is not that of the last item. */
    for (int i = 0; i < QUEUE_ITEMS; i++) {
        if (bnx_deque_push(&deque, &items[i]) != 0) {
            rounds = 0;
        }
    }
    for (uint64_t i = 0; i < rounds; i++) {
        void *item = &items[i % QUEUE_ITEMS];
        if (bnx_deque_push(&deque, item) != 0) {
            break;
        }
        returned += bnx_deque_pop(&deque) == item;
    }
    bnx_deque_fini(&deque);
    return returned;
}

uint64_t bnx_bench_inbox_push(uint64_t rounds) {
    static struct bnx_mpscq inbox;
    static struct bnx_mpscq_node nodes[QUEUE_ITEMS];
    bnx_mpscq_init(&inbox);
    uint64_t returned = 0;
    for (uint64_t done = 0; done < rounds; done += QUEUE_ITEMS) {
        for (int i = 0; i < QUEUE_ITEMS; i++) {
            bnx_mpscq_push(&inbox, &nodes[i]);
        }
        for (int i = 0; i < QUEUE_ITEMS; i++) {
            returned += bnx_mpscq_pop(&inbox) == &nodes[i];
        }
    }
    return returned;
}

/* ---- Timers ---- */

/* Far enough that none of them comes due, and not all in one slot. */
#define TIMER_AFTER_NS UINT64_C(1000000000)
#define TIMER_STEP_NS UINT64_C(1000)

uint64_t bnx_bench_timer_arm_cancel(uint64_t rounds) {
    struct bnx_worker *worker = bnx_worker_current();
    if (worker == NULL || worker->current == NULL) {
        return 0;
    }
    struct bnx_task *self = worker->current;
    uint64_t done = 0;
    uint64_t deadline_ns = worker->now_ns + TIMER_AFTER_NS;
    while (done < rounds) {
        struct bnx_timer_node *node = bnx_timer_node_take(worker);
        if (node == NULL) {
            return 0;
        }
        /* The sequence of a wait that is over: were it to fire, nobody would be woken. */
        bnx_timer_node_start(worker, node, BNX_TIMER_WAKE, self, 0, deadline_ns);
        bnx_timer_node_end(worker, node);
        deadline_ns += TIMER_STEP_NS;
        done++;
    }
    return bnx_wheel_next_ns(&worker->wheel) == BNX_NEVER_NS ? done : 0;
}

uint64_t bnx_bench_wheel_arm_disarm(uint64_t rounds) {
    static struct bnx_wheel wheel;
    static struct bnx_wheel_timer timer;
    bnx_wheel_init(&wheel, 0);
    uint64_t disarmed = 0;
    uint64_t deadline_ns = TIMER_AFTER_NS;
    for (uint64_t i = 0; i < rounds; i++) {
        (void)bnx_wheel_arm(&wheel, &timer, deadline_ns);
        disarmed += bnx_wheel_disarm(&wheel, &timer) == BNX_DISARM_ARMED;
        deadline_ns += TIMER_STEP_NS;
    }
    return disarmed;
}

#define FIRE_TIMERS 1000
#define FIRE_BATCH 128
/* Apart from each other by more than a tick: most of them go down a level before they fire. */
#define FIRE_STEP_NS (3 * BNX_WHEEL_TICK_NS)

uint64_t bnx_bench_wheel_fire(uint64_t rounds) {
    static struct bnx_wheel wheel;
    static struct bnx_wheel_timer timers[FIRE_TIMERS];
    bnx_wheel_init(&wheel, 0);
    uint64_t now_ns = 0;
    uint64_t expired = 0;
    for (uint64_t done = 0; done < rounds; done += FIRE_TIMERS) {
        for (uint64_t i = 0; i < FIRE_TIMERS; i++) {
            (void)bnx_wheel_arm(&wheel, &timers[i], now_ns + (i + 1) * FIRE_STEP_NS);
        }
        now_ns += (FIRE_TIMERS + 1) * FIRE_STEP_NS;
        struct bnx_wheel_batch batch;
        do { /* ends: FIRE_TIMERS of them */
            expired += bnx_wheel_advance(&wheel, now_ns, FIRE_BATCH, &batch);
            struct bnx_wheel_timer *timer;
            while ((timer = bnx_wheel_timer_list_pop(&batch.expired)) != NULL) { /* as above */
                bnx_wheel_timer_finish(timer);
            }
        } while (batch.has_more);
    }
    return expired;
}
