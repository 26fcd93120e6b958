/* SPDX-License-Identifier: MIT */
/* Claims about channels: order, waiting, closing, cancels and deadlines, threads. */
#include "runtime/chan_pvt.h"
#include "tests/support/sched.h"

static struct bnx_chan *make(size_t elem_bytes, size_t capacity) {
    struct bnx_chan *chan = NULL;
    CHECK_EQ(bnx_chan_create(elem_bytes, capacity, &chan), 0);
    return chan;
}

/* Claim: items come out as they went in, in their order, whatever their size; a full channel and an
 * empty one are -EAGAIN. Method: fill and drain a small ring many times, so that it wraps. */
TEST(chan_fifo, "chan.fifo") {
    static const size_t sizes[] = {1, 3, 8, 24, 300};
    for (size_t s = 0; s < BNX_ARRAY_COUNT(sizes); s++) {
        struct bnx_chan *chan = make(sizes[s], 5);
        CHECK_EQ(bnx_chan_capacity(chan), 5);
        unsigned char item[300];
        unsigned char sent = 0;
        unsigned char received = 0;
        for (int round = 0; round < 20; round++) {
            for (int i = 0; i < 1 + round % 5; i++) {
                memset(item, sent++, sizeof(item));
                CHECK_EQ(bnx_chan_try_send(chan, item), 0);
                CHECK_EQ(bnx_chan_count(chan), i + 1);
            }
            CHECK_EQ(round % 5 == 4 ? bnx_chan_try_send(chan, item) : -EAGAIN, -EAGAIN);
            while (bnx_chan_try_recv(chan, item) == 0) {
                for (size_t at = 0; at < sizes[s]; at++) {
                    CHECK_EQ(item[at], received);
                }
                received++;
            }
            CHECK_EQ(received, sent);
            CHECK_EQ(bnx_chan_try_recv(chan, item), -EAGAIN);
        }
        bnx_chan_destroy(chan);
    }
}

/* Claim: items of 0 bytes are signals that are counted; a received item may be thrown away; what
 * cannot be is refused. */
TEST(chan_limits, "chan.limits") {
    struct bnx_chan *chan = make(0, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(bnx_chan_try_send(chan, NULL), 0);
    }
    CHECK_EQ(bnx_chan_try_send(chan, NULL), -EAGAIN);
    CHECK_EQ(bnx_chan_recv_many(chan, NULL, 2), 2);
    CHECK_EQ(bnx_chan_try_recv(chan, NULL), 0);
    CHECK_EQ(bnx_chan_try_recv(chan, NULL), -EAGAIN);
    bnx_chan_destroy(chan);

    int item = 5;
    chan = make(sizeof(item), 2);
    CHECK_EQ(bnx_chan_send(chan, NULL), -EINVAL);
    CHECK_EQ(bnx_chan_try_send(chan, NULL), -EINVAL);
    CHECK_EQ(bnx_chan_send_many(chan, NULL, 1), -EINVAL);
    CHECK_EQ(bnx_chan_recv_many(chan, NULL, 1), -EINVAL);
    CHECK_EQ(bnx_chan_send_many(chan, &item, 0), 0);
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    CHECK_EQ(bnx_chan_recv(chan, NULL), 0);
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    CHECK_EQ(bnx_chan_count(chan), 1);
    const void *kind = NULL;
    memcpy(&kind, (const char *)chan + BNX_KIND_OFFSET, sizeof(kind));
    CHECK(kind == &bnx_chan_kind);
    bnx_chan_destroy(chan); /* with an item left */

    CHECK_EQ(bnx_chan_create(SIZE_MAX / 2, 3, &chan), -ENOMEM);
    CHECK_EQ(bnx_chan_create(1, SIZE_MAX, &chan), -ENOMEM);
    bnx_chan_destroy(NULL);
}

/* ---- Waiting ---- */

enum call { SEND, RECV, SEND_MANY, RECV_MANY, CALLS };

struct caller {
    struct bnx_chan *chan;
    enum call call;
    int item;   /* to send, or received */
    int result; /* of the call */
};

static int call_chan(void *arg) {
    struct caller *caller = arg;
    ssize_t result = 0;
    switch (caller->call) {
    case SEND:
        result = bnx_chan_send(caller->chan, &caller->item);
        break;
    case RECV:
        result = bnx_chan_recv(caller->chan, &caller->item);
        break;
    case SEND_MANY:
        result = bnx_chan_send_many(caller->chan, &caller->item, 1);
        break;
    case RECV_MANY:
        result = bnx_chan_recv_many(caller->chan, &caller->item, 1);
        break;
    case CALLS:
        break;
    }
    caller->result = (int)result;
    return 0;
}

static int done_result(enum call call) {
    return call >= SEND_MANY ? 1 : 0;
}

static bool sends(enum call call) {
    return call == SEND || call == SEND_MANY;
}

/* Spawns a caller and returns once it waits. */
static struct bnx_task *spawn_waiting(struct bnx_scope *scope, struct caller *caller) {
    struct bnx_task *task = NULL;
    caller->result = -1;
    CHECK_EQ(bnx_spawn_with(scope, NULL, call_chan, caller, &task), 0);
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: nobody is there to serve it */
        bnx_yield();
    }
    return task;
}

static void join(struct bnx_task *task) {
    CHECK_EQ(bnx_join(task, NULL), 0);
}

#define CROWD 5

static int serve_in_order(void *arg) {
    (void)arg;
    for (int call = 0; call < CALLS; call++) {
        struct bnx_chan *chan = make(sizeof(int), 0);
        struct bnx_scope scope;
        struct caller callers[CROWD];
        struct bnx_task *tasks[CROWD];
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < CROWD; i++) {
            callers[i] = (struct caller){.chan = chan, .call = (enum call)call, .item = i};
            tasks[i] = spawn_waiting(&scope, &callers[i]);
        }
        for (int i = 0; i < CROWD; i++) {
            int item = 100 + i;
            if (sends((enum call)call)) {
                CHECK_EQ(bnx_chan_recv(chan, &item), 0);
                CHECK_EQ(item, i);
            } else {
                CHECK_EQ(bnx_chan_try_send(chan, &item), 0);
            }
            join(tasks[i]); /* exactly he was served */
            CHECK_EQ(callers[i].result, done_result((enum call)call));
            CHECK_EQ(callers[i].item, sends((enum call)call) ? i : 100 + i);
        }
        CHECK_EQ(bnx_chan_count(chan), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        bnx_chan_destroy(chan);
    }
    return 0;
}

/* Claim: without a buffer sender and receiver meet, and who waits longest is served first. Method:
 * several wait, one after the other; each peer call ends the wait of the oldest. */
TEST(chan_order, "chan.serves_in_order") {
    sched_run_each(serve_in_order, NULL);
}

/* One of a crowd, with an item of the size that has the shortest way. */
struct guest {
    struct bnx_chan *chan;
    uint64_t item;
    bool sends;
};

static int visit(void *arg) {
    struct guest *guest = arg;
    return guest->sends ? bnx_chan_send(guest->chan, &guest->item)
                        : bnx_chan_recv(guest->chan, &guest->item);
}

static void gather(struct bnx_scope *scope, struct guest *guests, struct bnx_task **out_tasks) {
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(bnx_spawn_with(scope, NULL, visit, &guests[i], &out_tasks[i]), 0);
        while (bnx_task_state(out_tasks[i]) != BNX_TASK_PARKED) { /* ends: nobody serves it */
            bnx_yield();
        }
    }
}

static int serve_beside_buffer(void *arg) {
    (void)arg;
    struct bnx_chan *chan = make(sizeof(uint64_t), CROWD);
    for (uint64_t round = 0; round < 6; round++) {
        bool sends = round % 2 == 0;
        struct bnx_scope scope;
        struct guest guests[CROWD];
        struct bnx_task *tasks[CROWD];
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (uint64_t i = 0; i < CROWD; i++) {
            uint64_t item = i;
            CHECK_EQ(sends ? bnx_chan_send(chan, &item) : 0, 0); /* it is full, or empty */
            guests[i] = (struct guest){chan, CROWD + i, sends};
        }
        gather(&scope, guests, tasks);
        for (uint64_t i = 0; i < CROWD; i++) {
            uint64_t item = i;
            CHECK_EQ(sends ? bnx_chan_recv(chan, &item) : bnx_chan_send(chan, &item), 0);
            CHECK_EQ(item, i);
            join(tasks[i]); /* exactly he was served */
            CHECK_EQ(guests[i].item, sends ? CROWD + i : i);
            CHECK_EQ(bnx_chan_count(chan), sends ? CROWD : 0);
        }
        for (uint64_t i = 0; sends && i < CROWD; i++) {
            uint64_t item = 0;
            CHECK_EQ(bnx_chan_recv(chan, &item), 0);
            CHECK_EQ(item, CROWD + i);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    bnx_chan_destroy(chan);
    return 0;
}

/* Claim: the buffer goes past nobody who waits: a sender serves the receivers that do, one by one,
 * and a receiver lets the senders of a full channel in. Method: five of a kind wait, plain calls
 * serve them in their order, again and again on one channel. */
TEST(chan_buffer, "chan.buffer_passes_nobody") {
    sched_run_each(serve_beside_buffer, NULL);
}

static int refill(void *arg) {
    (void)arg;
    struct bnx_chan *chan = make(sizeof(int), 2);
    struct bnx_scope scope;
    struct caller first = {.chan = chan, .call = SEND, .item = 3};
    struct caller second = {.chan = chan, .call = SEND_MANY, .item = 4};
    int item = 1;
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    item = 2;
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    struct bnx_task *third = spawn_waiting(&scope, &first);
    struct bnx_task *fourth = spawn_waiting(&scope, &second);
    CHECK_EQ(bnx_chan_recv(chan, &item), 0);
    CHECK_EQ(item, 1);
    join(third); /* though nobody has received its item */
    CHECK_EQ(first.result, 0);
    CHECK_EQ(bnx_chan_count(chan), 2);
    CHECK_EQ(bnx_chan_recv(chan, &item), 0);
    CHECK_EQ(item, 2);
    join(fourth);
    CHECK_EQ(bnx_chan_recv(chan, &item), 0);
    CHECK_EQ(item, 3);
    CHECK_EQ(bnx_chan_recv(chan, &item), 0);
    CHECK_EQ(item, 4);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_chan_destroy(chan);
    return 0;
}

/* Claim: room in a full buffer goes to the sender who has waited longest, at once; the order of the
 * items stays. */
TEST(chan_refill, "chan.room_goes_to_waiting_sender") {
    sched_run_each(refill, NULL);
}

static int close_on_waiting(void *arg) {
    (void)arg;
    for (int call = 0; call < CALLS; call++) {
        enum { WAITERS = 70 }; /* more than one hold of the lock serves */
        struct bnx_chan *chan = make(sizeof(int), 0);
        struct bnx_scope scope;
        struct caller callers[WAITERS];
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < WAITERS; i++) {
            callers[i] = (struct caller){.chan = chan, .call = (enum call)call, .item = 7};
            (void)spawn_waiting(&scope, &callers[i]);
        }
        bnx_chan_close(chan);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        for (int i = 0; i < WAITERS; i++) {
            CHECK_EQ(callers[i].result, sends((enum call)call) ? -EPIPE : -ENODATA);
            CHECK_EQ(callers[i].item, 7);
        }
        bnx_chan_destroy(chan);
    }
    return 0;
}

static int close_and_drain(void *arg) {
    (void)arg;
    struct bnx_chan *chan = make(sizeof(int), 4);
    int items[4] = {1, 2, 3, 4};
    CHECK_EQ(bnx_chan_send_many(chan, items, 4), 4);
    bnx_chan_close(chan);
    bnx_chan_close(chan);
    CHECK_EQ(bnx_chan_send(chan, items), -EPIPE);
    CHECK_EQ(bnx_chan_try_send(chan, items), -EPIPE);
    CHECK_EQ(bnx_chan_send_many(chan, items, 4), -EPIPE);
    int item = 0;
    CHECK_EQ(bnx_chan_recv(chan, &item), 0);
    CHECK_EQ(item, 1);
    CHECK_EQ(bnx_chan_try_recv(chan, &item), 0);
    CHECK_EQ(item, 2);
    CHECK_EQ(bnx_chan_recv_many(chan, items, 4), 2);
    CHECK_EQ(items[0], 3);
    CHECK_EQ(items[1], 4);
    CHECK_EQ(bnx_chan_recv(chan, &item), -ENODATA);
    CHECK_EQ(bnx_chan_try_recv(chan, &item), -ENODATA);
    CHECK_EQ(bnx_chan_recv_many(chan, items, 4), -ENODATA);
    CHECK_EQ(item, 2);
    bnx_chan_destroy(chan);
    return 0;
}

/* Claim: a close ends every wait, is -EPIPE to senders, and lets receivers drain first. */
TEST(chan_close, "chan.close_ends_waits") {
    sched_run_each(close_on_waiting, NULL);
    sched_run_each(close_and_drain, NULL);
    CHECK_EQ(close_and_drain(NULL), 0); /* off a task */
}

/* ---- Cancels and deadlines ---- */

static int call_cancelled(void *arg) {
    (void)arg;
    struct bnx_chan *chan = make(sizeof(int), 2);
    int item = 1;
    CHECK_EQ(bnx_chan_send(chan, &item), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    for (int call = 0; call < CALLS; call++) { /* each of them could be done at once */
        struct caller caller = {.chan = chan, .call = (enum call)call, .item = 2};
        CHECK_EQ(call_chan(&caller), 0);
        CHECK_EQ(caller.result, -ECANCELED);
    }
    CHECK_EQ(bnx_chan_count(chan), 1);
    CHECK_EQ(bnx_chan_try_send(chan, &item), 0);
    CHECK_EQ(bnx_chan_try_recv(chan, &item), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    bnx_chan_destroy(chan);
    return 0;
}

/* Claim: in a cancelled scope every call that could wait is refused, the others are not. */
TEST(chan_cancelled, "chan.cancelled_before") {
    sched_run_each(call_cancelled, NULL);
}

static int cancel_waiting(void *arg) {
    (void)arg;
    for (int call = 0; call < CALLS; call++) {
        struct bnx_chan *chan = make(sizeof(int), 0);
        struct caller caller = {.chan = chan, .call = (enum call)call, .item = 9};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        (void)spawn_waiting(&scope, &caller);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        CHECK_EQ(caller.result, -ECANCELED);
        CHECK_EQ(caller.item, 9);
        int item = 1;
        CHECK_EQ(sends((enum call)call) ? bnx_chan_try_recv(chan, &item)
                                        : bnx_chan_try_send(chan, &item),
                 -EAGAIN);
        bnx_chan_destroy(chan);
    }
    return 0;
}

static int cancel_leaves_nobody(void *arg) {
    (void)arg;
    for (int call = 0; call < CALLS; call++) {
        struct bnx_chan *chan = make(sizeof(int), 0);
        struct caller caller = {.chan = chan, .call = (enum call)call};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        (void)spawn_waiting(&scope, &caller);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        bnx_chan_destroy(chan); /* panics when somebody is still in a queue */
    }
    return 0;
}

/* Claim: a cancel ends a wait; nothing has been sent or received then, and nobody is left in the
 * channel's queues. */
TEST(chan_cancel_waiting, "chan.cancelled_while_waiting") {
    sched_run_each(cancel_waiting, NULL);
    sched_run_each(cancel_leaves_nobody, NULL);
}

/* Calls fn(arg) in a scope with a deadline 1 ms from now. */
static void call_with_deadline(bnx_task_fn fn, void *arg) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + 1000000};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(fn(arg), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
}

static int time_out(void *arg) {
    (void)arg;
    for (int call = 0; call < CALLS; call++) {
        struct bnx_chan *chan = make(sizeof(int), 0);
        struct caller caller = {.chan = chan, .call = (enum call)call, .item = 9};
        call_with_deadline(call_chan, &caller);
        CHECK_EQ(caller.result, -ETIMEDOUT);
        CHECK_EQ(caller.item, 9);
        bnx_chan_destroy(chan);
    }
    return 0;
}

/* Claim: so does the deadline of the caller's scope. */
TEST(chan_deadline, "chan.deadline_while_waiting") {
    sched_run_each(time_out, NULL);
}

/* ---- Many ---- */

#define BULK 1000

struct bulk {
    struct bnx_chan *chan;
    int received;
};

static int send_bulk(void *arg) {
    struct bulk *bulk = arg;
    int items[BULK];
    for (int i = 0; i < BULK; i++) {
        items[i] = i;
    }
    for (size_t sent = 0; sent < BULK;) {
        ssize_t count = bnx_chan_send_many(bulk->chan, items + sent, BULK - sent);
        CHECK(count > 0);
        sent += (size_t)count;
    }
    bnx_chan_close(bulk->chan);
    return 0;
}

static int recv_bulk(void *arg) {
    struct bulk *bulk = arg;
    int items[BULK];
    ssize_t count;
    while ((count = bnx_chan_recv_many(bulk->chan, items, BULK)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            CHECK_EQ(items[i], bulk->received++);
        }
    }
    CHECK_EQ(count, -ENODATA);
    return 0;
}

static int move_bulk(void *arg) {
    (void)arg;
    static const size_t capacities[] = {0, 1, 40, BULK};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(capacities); i++) {
        struct bulk bulk = {.chan = make(sizeof(int), capacities[i])};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, recv_bulk, &bulk), 0);
        CHECK_EQ(bnx_spawn(&scope, send_bulk, &bulk), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bulk.received, BULK);
        bnx_chan_destroy(bulk.chan);
    }
    struct bnx_chan *chan = make(sizeof(int), BULK);
    int items[BULK] = {0};
    CHECK_EQ(bnx_chan_send_many(chan, items, BULK - 1), BULK - 1); /* all that go, in one call */
    CHECK_EQ(bnx_chan_send_many(chan, items, 2), 1);
    CHECK_EQ(bnx_chan_recv_many(chan, items, BULK), BULK);
    bnx_chan_destroy(chan);
    return 0;
}

/* Claim: the batch calls move at least one item and as many as go, in order. */
TEST(chan_many, "chan.many") {
    sched_run_each(move_bulk, NULL);
}

/* ---- Threads ---- */

#define THREAD_ITEMS 2000

struct flow {
    struct bnx_chan *to_task;
    struct bnx_chan *to_thread;
};

static int echo(void *arg) {
    struct flow *flow = arg;
    int item;
    while (bnx_chan_recv(flow->to_task, &item) == 0) {
        CHECK_EQ(bnx_chan_send(flow->to_thread, &item), 0);
    }
    bnx_chan_close(flow->to_thread);
    return 0;
}

static void feed(void *arg) {
    struct flow *flow = arg;
    int count = (int)bnx_test_scale(THREAD_ITEMS);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(bnx_chan_send(flow->to_task, &i), 0);
    }
    bnx_chan_close(flow->to_task);
}

/* Claim: OS threads send and receive as tasks do. Method: one thread feeds a task, whose echo
 * another receives, buffered and not. */
TEST(chan_threads, "chan.threads") {
    for (size_t i = 0; i < 2 * SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i / 2]);
        size_t capacity = i % 2 == 0 ? 0 : 7;
        struct flow flow = {make(sizeof(int), capacity), make(sizeof(int), capacity)};
        struct bnx_os_thread feeder;
        sched_thread_start(&feeder, feed, &flow);
        CHECK_EQ(bnx_runtime_spawn(runtime, echo, &flow, NULL), 0);
        int item = -1;
        int expected = 0;
        while (bnx_chan_recv(flow.to_thread, &item) == 0) {
            CHECK_EQ(item, expected++);
        }
        CHECK_EQ(expected, bnx_test_scale(THREAD_ITEMS));
        sched_thread_join(&feeder);
        sched_destroy(runtime);
        bnx_chan_destroy(flow.to_task);
        bnx_chan_destroy(flow.to_thread);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
