/* SPDX-License-Identifier: MIT */
/*
 * Items that flow through two channels in every way there is, and are counted at both ends.
 *
 * Producers and consumers, tasks and OS threads, send and receive by plain calls, selects, tries,
 * batches, with deadlines, and some of them are cancelled in the middle. Each item is a number of
 * its own: a producer notes whether its send said that it went, a consumer that it came. In the end
 * what went has come, once, and nothing else has. Runs on threads and on the simulated machine.
 */
#ifndef BNX_TESTS_SUPPORT_CHAN_FLOW_H
#define BNX_TESTS_SUPPORT_CHAN_FLOW_H

#include "tests/support/sched.h"

#define CHAN_FLOW_PARTIES_MAX 16
#define CHAN_FLOW_ITEMS_MAX 4096
#define CHAN_FLOW_BATCH 3

struct chan_flow_options {
    struct bnx_options runtime;
    uint64_t seed;
    size_t capacities[2];
    uint32_t producers; /* tasks */
    uint32_t consumers; /* tasks; at least one */
    uint32_t victims;   /* tasks that are cancelled: producers and consumers in turn */
    uint32_t threads;   /* producers and consumers in turn */
    uint32_t share;     /* items of a producer */
};

struct chan_flow {
    const struct chan_flow_options *options;
    struct bnx_chan *chans[2];
    struct bnx_chan *done;             /* a signal from each producing thread */
    uint32_t items;                    /* handed out so far */
    uint8_t went[CHAN_FLOW_ITEMS_MAX]; /* by item; its producer */
    uint8_t came[CHAN_FLOW_ITEMS_MAX]; /* by item; any consumer */
};

struct chan_flow_party {
    struct chan_flow *flow;
    struct bnx_rng rng;
    uint32_t first; /* producer: its items are [first, end) */
    uint32_t end;
    bool is_open[2]; /* consumer: channels that are not drained */
    struct bnx_os_thread thread;
};

/* Overwrites what a call before it has left on the stack: who still writes there is seen. */
static BNX_NOINLINE void chan_flow_scribble(void) {
    volatile unsigned char frame[1024];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xee;
    }
}

static uint32_t chan_flow_draw(struct chan_flow_party *party, uint32_t bound) {
    return bnx_rng_below(&party->rng, bound);
}

static void chan_flow_came(struct chan_flow *flow, uint64_t item) {
    CHECK(item < CHAN_FLOW_ITEMS_MAX);
    CHECK_EQ(bnx_fetch_add_acq_rel(&flow->came[item], 1), 0);
}

/* A deadline that is soon: 0 to 20 us. Off a task there is none to have. */
static bool chan_flow_hurry(struct chan_flow_party *party, struct bnx_scope *scope) {
    if (bnx_task_current() == NULL) {
        return false;
    }
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + chan_flow_draw(party, 20000)};
    CHECK_EQ(bnx_scope_open(scope, &options), 0);
    return true;
}

static int chan_flow_select_send(struct chan_flow_party *party, uint64_t item, uint32_t how) {
    struct chan_flow *flow = party->flow;
    uint32_t side = chan_flow_draw(party, 2);
    uint64_t got = UINT64_MAX;
    struct bnx_case cases[] = {
        BNX_CASE_SEND(flow->chans[side], &item),
        how == 0 ? BNX_CASE_RECV(flow->chans[1 - side], &got)
                 : BNX_CASE_SEND(flow->chans[1 - side], &item),
        BNX_CASE_AFTER(how == 1 ? chan_flow_draw(party, 20000) : UINT64_MAX),
    };
    int index = bnx_select(cases, 3, 0);
    chan_flow_scribble();
    if (index < 0 || index == 2) {
        return index < 0 ? index : -ETIMEDOUT;
    }
    CHECK_EQ(cases[index].result, 0);
    if (how == 0 && index == 1) {
        chan_flow_came(flow, got);
        return -EAGAIN;
    }
    return 0;
}

/* Returns how many items from `item` on went; < 0: none. */
static int chan_flow_send(struct chan_flow_party *party, uint64_t item) {
    struct bnx_chan *chan = party->flow->chans[chan_flow_draw(party, 2)];
    uint64_t batch[CHAN_FLOW_BATCH] = {item, item + 1, item + 2};
    uint64_t left = party->end - item;
    uint32_t how = chan_flow_draw(party, 7);
    struct bnx_scope scope;
    int result = 0;
    switch (how) {
    case 0:
    case 1:
    case 2:
        result = chan_flow_select_send(party, item, how);
        break;
    case 3:
        result = bnx_chan_try_send(chan, &item);
        break;
    case 4:
        return (int)bnx_chan_send_many(chan, batch,
                                       left < CHAN_FLOW_BATCH ? left : CHAN_FLOW_BATCH);
    case 5:
        if (chan_flow_hurry(party, &scope)) {
            result = bnx_chan_send(chan, &item);
            (void)bnx_scope_close(&scope);
            break;
        }
        /* fall through */
    default:
        result = bnx_chan_send(chan, &item);
        break;
    }
    chan_flow_scribble();
    return result == 0 ? 1 : result;
}

static int chan_flow_produce(void *arg) {
    struct chan_flow_party *party = arg;
    uint64_t item = party->first;
    while (item < party->end) {
        int count = chan_flow_send(party, item);
        if (count < 0 && bnx_checkpoint() != 0) {
            return 0; /* cancelled: the rest does not go */
        }
        CHECK(count > 0 || count == -EAGAIN || count == -ETIMEDOUT || count == -ECANCELED);
        for (; count > 0; count--) {
            party->flow->went[item++] = 1;
        }
        /* One in two of those that did not go is given up. */
        item += count < 0 && chan_flow_draw(party, 2) == 0 ? 1 : 0;
    }
    return 0;
}

/*
 * Receives from one channel. Returns how many came, or an error. A consumer does not wait there for
 * ever: all items may go to the other.
 */
static int chan_flow_recv(struct chan_flow_party *party, uint32_t side, uint64_t *out_items) {
    struct bnx_chan *chan = party->flow->chans[side];
    uint32_t how = chan_flow_draw(party, 3);
    struct bnx_scope scope;
    int result;
    if (how == 0 || !chan_flow_hurry(party, &scope)) {
        result = bnx_chan_try_recv(chan, out_items);
        bnx_yield();
    } else {
        result = how == 1 ? bnx_chan_recv(chan, out_items)
                          : (int)bnx_chan_recv_many(chan, out_items, CHAN_FLOW_BATCH);
        (void)bnx_scope_close(&scope);
        if (how == 2) {
            return result;
        }
    }
    return result == 0 ? 1 : result;
}

static int chan_flow_select_recv(struct chan_flow_party *party, uint32_t *out_side,
                                 uint64_t *out_items) {
    struct chan_flow *flow = party->flow;
    bool is_hurried = chan_flow_draw(party, 2) == 0;
    struct bnx_case cases[] = {
        BNX_CASE_RECV(party->is_open[0] ? flow->chans[0] : NULL, out_items),
        BNX_CASE_RECV(party->is_open[1] ? flow->chans[1] : NULL, out_items),
        BNX_CASE_AFTER(is_hurried ? chan_flow_draw(party, 20000) : UINT64_MAX),
    };
    int index = bnx_select(cases, 3, 0);
    if (index < 0 || index == 2) {
        return index < 0 ? index : -ETIMEDOUT;
    }
    *out_side = (uint32_t)index;
    return cases[index].result == 0 ? 1 : cases[index].result;
}

static int chan_flow_consume(void *arg) {
    struct chan_flow_party *party = arg;
    party->is_open[0] = party->is_open[1] = true;
    while (party->is_open[0] || party->is_open[1]) { /* ends when both are closed and drained */
        uint64_t items[CHAN_FLOW_BATCH];
        uint32_t side = chan_flow_draw(party, 2);
        side = party->is_open[side] ? side : 1 - side;
        int count = chan_flow_draw(party, 2) == 0 ? chan_flow_select_recv(party, &side, items)
                                                  : chan_flow_recv(party, side, items);
        chan_flow_scribble();
        if (count == -ENODATA) {
            party->is_open[side] = false;
        } else if (count < 0 && bnx_checkpoint() != 0) {
            return 0;
        }
        CHECK(count > 0 || count == -EAGAIN || count == -ETIMEDOUT || count == -ECANCELED ||
              count == -ENODATA);
        for (int i = 0; i < count; i++) {
            chan_flow_came(party->flow, items[i]);
        }
    }
    return 0;
}

static void chan_flow_produce_on_thread(void *arg) {
    struct chan_flow_party *party = arg;
    CHECK_EQ(chan_flow_produce(party), 0);
    CHECK_EQ(bnx_chan_send(party->flow->done, NULL), 0);
}

static void chan_flow_consume_on_thread(void *arg) {
    CHECK_EQ(chan_flow_consume(arg), 0);
}

/* Gives a party its stream of random numbers and, a producer, its items. */
static void chan_flow_enter(struct chan_flow *flow, struct chan_flow_party *party, uint64_t stream,
                            bool is_producer) {
    *party = (struct chan_flow_party){.flow = flow, .first = flow->items};
    bnx_rng_init(&party->rng, flow->options->seed, stream);
    flow->items += is_producer ? flow->options->share : 0;
    party->end = flow->items;
    CHECK(flow->items <= CHAN_FLOW_ITEMS_MAX);
}

struct chan_flow_run {
    struct chan_flow flow;
    struct chan_flow_party tasks[CHAN_FLOW_PARTIES_MAX];
    struct chan_flow_party threads[CHAN_FLOW_PARTIES_MAX];
};

static int chan_flow_main(void *arg) {
    struct chan_flow_run *run = arg;
    const struct chan_flow_options *options = run->flow.options;
    struct chan_flow_party *party = run->tasks;
    struct bnx_scope consumers;
    struct bnx_scope producers;
    struct bnx_scope victims;
    CHECK_EQ(bnx_scope_open(&consumers, NULL), 0);
    CHECK_EQ(bnx_scope_open(&producers, NULL), 0);
    CHECK_EQ(bnx_scope_open(&victims, NULL), 0);
    uint32_t count = options->producers + options->consumers + options->victims;
    for (uint32_t i = 0; i < count; i++, party++) {
        bool is_victim = i >= options->producers + options->consumers;
        bool is_producer = is_victim ? i % 2 == 0 : i < options->producers;
        chan_flow_enter(&run->flow, party, i, is_producer);
        struct bnx_scope *scope = is_victim ? &victims : is_producer ? &producers : &consumers;
        bnx_task_fn fn = is_producer ? chan_flow_produce : chan_flow_consume;
        CHECK_EQ(bnx_spawn(scope, fn, party), 0);
    }
    struct bnx_rng rng;
    bnx_rng_init(&rng, options->seed, 200); /* beyond the parties' streams */
    CHECK_EQ(bnx_sleep(bnx_rng_below(&rng, 100000)), 0);
    bnx_scope_cancel(&victims, 0);
    CHECK_EQ(bnx_scope_close(&victims), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&producers), 0);
    for (uint32_t i = 0; i < (options->threads + 1) / 2; i++) {
        CHECK_EQ(bnx_chan_recv(run->flow.done, NULL), 0);
    }
    bnx_chan_close(run->flow.chans[0]);
    bnx_chan_close(run->flow.chans[1]);
    CHECK_EQ(bnx_scope_close(&consumers), 0);
    return 0;
}

/** Runs it all once in a runtime of its own, and checks the two counts of every item. */
static void chan_flow_run(struct chan_flow_run *run, const struct chan_flow_options *options) {
    memset(run, 0, sizeof(*run));
    struct chan_flow *flow = &run->flow;
    flow->options = options;
    for (int side = 0; side < 2; side++) {
        CHECK_EQ(bnx_chan_create(sizeof(uint64_t), options->capacities[side], &flow->chans[side]),
                 0);
    }
    CHECK_EQ(bnx_chan_create(0, 0, &flow->done), 0);
    for (uint32_t i = 0; i < options->threads; i++) {
        bool is_producer = i % 2 == 0;
        chan_flow_enter(flow, &run->threads[i], 100 + i, is_producer);
    }
    for (uint32_t i = 0; i < options->threads; i++) {
        sched_thread_start(&run->threads[i].thread,
                           i % 2 == 0 ? chan_flow_produce_on_thread : chan_flow_consume_on_thread,
                           &run->threads[i]);
    }
    CHECK_EQ(bnx_run(&options->runtime, chan_flow_main, run), 0);
    for (uint32_t i = 0; i < options->threads; i++) {
        sched_thread_join(&run->threads[i].thread);
    }
    for (uint32_t item = 0; item < flow->items; item++) {
        CHECK_EQ(flow->came[item], flow->went[item]);
    }
    bnx_chan_destroy(flow->chans[0]);
    bnx_chan_destroy(flow->chans[1]);
    bnx_chan_destroy(flow->done);
}

#endif
