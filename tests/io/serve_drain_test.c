/* SPDX-License-Identifier: MIT */
/* Tests how services end (bonxie/serve.h): the drain, the queue, the listeners. */
#include "tests/io/service.h"

static int drain_patiently(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer_at_gate};
    service.options.drain_ns = 3600 * BNX_NS_PER_S;
    service_start(&service);
    int fds[8];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        fds[i] = bnx_connect(service.bound);
        CHECK(fds[i] >= 0);
    }
    sched_await_count(&service.entered, BNX_ARRAY_COUNT(fds));
    bnx_cancel(service.task, 0);
    CHECK_EQ(bnx_event_wait(&service.draining), 0);
    CHECK_EQ(bnx_connect(service.bound), -ECONNREFUSED);
    CHECK_EQ(stat_of(&service.stats.active), BNX_ARRAY_COUNT(fds));
    bnx_event_set(&service.gate);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        expect_answer(fds[i]);
    }
    service_wait(&service);
    CHECK_EQ(bnx_load_acquire(&service.seen), 0);
    return 0;
}

/* After the cancel nobody is accepted any more, and who was is served to the end: the handlers do
 * not see the cancel. */
TEST(serve_drain, "serve.drain") {
    sched_run_each(drain_patiently, NULL);
}

static int drain_hastily(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer_at_gate};
    service.options.drain_ns = 2 * BNX_NS_PER_MS;
    char end;
    service_start(&service);
    int fd = bnx_connect(service.bound);
    CHECK(fd >= 0);
    sched_await_count(&service.entered, 1);
    service_stop(&service);
    CHECK_EQ(bnx_load_acquire(&service.seen), -ECANCELED);
    CHECK_EQ(service.stats.failed, 0);
    CHECK_EQ(bnx_recv(fd, &end, 1, 0), 0);
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

/* Handlers that do not end by themselves are cancelled when the drain is over. */
TEST(serve_drain_ends, "serve.drain_ends") {
    sched_run_each(drain_hastily, NULL);
}

static int end_input(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer};
    service.options.drain_ns = 3600 * BNX_NS_PER_S;
    service.options.flags = BNX_SERVE_END_INPUT;
    char end;
    service_start(&service);
    int fds[40];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        fds[i] = bnx_connect(service.bound);
        CHECK(fds[i] >= 0);
        CHECK_EQ(bnx_send_all(fds[i], "ask", i % 2 == 0 ? 3 : 2), i % 2 == 0 ? 3 : 2);
    }
    sched_await_count(&service.entered, BNX_ARRAY_COUNT(fds));
    service_stop(&service);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        if (i % 2 == 0) {
            expect_answer(fds[i]);
        } else {
            CHECK_EQ(bnx_recv(fds[i], &end, 1, 0), 0);
            CHECK_EQ(bnx_close(fds[i]), 0);
        }
    }
    return 0;
}

/* With BNX_SERVE_END_INPUT handlers get what has arrived and then the end of the stream. */
TEST(serve_end_input, "serve.drain_ends_input") {
    sched_run_each(end_input, NULL);
}

/* Sees the cancel, by when nobody can connect any more, and answers in a shield. */
static int answer_in_shield(int fd, void *arg) {
    struct service *service = arg;
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD};
    struct bnx_scope shield;
    char ask;
    bnx_fetch_add_acq_rel(&service->entered, 1);
    CHECK_EQ(bnx_recv(fd, &ask, 1, 0), -ECANCELED);
    CHECK_EQ(bnx_scope_open(&shield, &options), 0);
    CHECK_EQ(bnx_connect(service->bound), -ECONNREFUSED);
    CHECK_EQ(bnx_event_wait(&service->gate), 0);
    CHECK_EQ(bnx_send_all(fd, "answer", 6), 6);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    return -ECANCELED;
}

static int drain_by_cancel(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer_in_shield};
    service.options.drain_ns = 3600 * BNX_NS_PER_S;
    service.options.flags = BNX_SERVE_CANCEL;
    service_start(&service);
    int fds[8];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        fds[i] = bnx_connect(service.bound);
        CHECK(fds[i] >= 0);
    }
    sched_await_count(&service.entered, BNX_ARRAY_COUNT(fds) / 2); /* the others may be queued */
    bnx_cancel(service.task, 0);
    sched_await_count(&service.entered, BNX_ARRAY_COUNT(fds));
    bnx_event_set(&service.gate);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        expect_answer(fds[i]);
    }
    service_wait(&service);
    CHECK_EQ(service.stats.failed, 0);
    return 0;
}

/* With BNX_SERVE_CANCEL handlers see the cancel once the listeners are closed, and what they then
 * do in a shield has the drain's time. */
TEST(serve_drain_cancels, "serve.drain_cancels") {
    sched_run_each(drain_by_cancel, NULL);
}

#define QUEUED 30

struct queue {
    struct service service;
    int fds[QUEUED];
};

/* Before anybody accepts: connections, then the cancel. */
static int connect_and_cancel(const int *listeners, size_t listener_count, void *arg) {
    struct service *service = arg;
    struct queue *queue = BNX_CONTAINER_OF(service, struct queue, service);
    for (size_t i = 0; i < QUEUED; i++) {
        queue->fds[i] = connect_plainly(listeners[0]);
        CHECK_EQ(bnx_os.send(queue->fds[i], "ask", 3, 0), 3);
    }
    bnx_scope_cancel(&service->scope, 0);
    return told_listening(listeners, listener_count, arg);
}

static int drain_queue(void *arg) {
    struct queue queue = {.service = {.address = "127.0.0.1:0", .handler = answer}};
    queue.service.options.on_listening = connect_and_cancel;
    queue.service.options.flags = *(unsigned *)arg;
    service_start(&queue.service);
    service_wait(&queue.service);
    CHECK_EQ(queue.service.stats.accepted, QUEUED);
    for (size_t i = 0; i < QUEUED; i++) {
        expect_answer(queue.fds[i]);
    }
    return 0;
}

/* Who is connected and was not accepted before the cancel is served as well. */
TEST(serve_queue, "serve.drain_takes_the_queue") {
    unsigned flags = 0;
    sched_run_each(drain_queue, &flags);
    flags = BNX_SERVE_REUSE_PORT;
    sched_run_each(drain_queue, &flags);
}

static int drain_given_queue(void *arg) {
    (void)arg;
    struct sockaddr_in ignored;
    int given = io_tcp_listener(&ignored, 2 * QUEUED);
    CHECK_EQ(bnx_os.fcntl(given, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    struct queue queue = {.service = {.handler = answer}};
    queue.service.options.on_listening = connect_and_cancel;
    queue.service.options.flags = BNX_SERVE_TAKE_LISTENERS;
    queue.service.options.listeners = &given;
    queue.service.options.listener_count = 1;
    service_start(&queue.service);
    service_wait(&queue.service);
    CHECK_EQ(queue.service.stats.accepted, QUEUED);
    CHECK_EQ(bnx_connect(queue.service.bound), -ECONNREFUSED);
    for (size_t i = 0; i < QUEUED; i++) {
        expect_answer(queue.fds[i]);
    }
    return 0;
}

/* Listeners that were given with BNX_SERVE_TAKE_LISTENERS end as the service's own. */
TEST(serve_takes, "serve.takes_listeners") {
    sched_run_each(drain_given_queue, NULL);
}

#define CROWD_CLIENTS 4

struct crowd {
    char address[BNX_ADDRESS_TEXT_BYTES];
    uint64_t stops; /* the clients do */
    uint64_t answered;
    uint64_t ended; /* clients */
};

static int ask_until_told(void *arg) {
    struct crowd *crowd = arg;
    while (bnx_load_acquire(&crowd->stops) == 0) {
        ask(crowd->address);
        bnx_fetch_add_acq_rel(&crowd->answered, 1);
    }
    bnx_fetch_add_acq_rel(&crowd->ended, 1);
    return 0;
}

/* Serves until some more clients have been answered; the last time until none is left. */
static uint64_t serve_a_while(struct crowd *crowd, const int *listener, uint64_t rounds_left) {
    struct service service = {.handler = answer};
    service.options.listeners = listener;
    service.options.listener_count = 1;
    service.options.connections_max = rounds_left % 3 == 0 ? 2 : 0;
    uint64_t answered = bnx_load_acquire(&crowd->answered);
    service_start(&service);
    sched_await_count(&crowd->answered, answered + rounds_left % 4);
    if (rounds_left == 0) {
        bnx_store_release(&crowd->stops, 1);
        sched_await_count(&crowd->ended, CROWD_CLIENTS);
    }
    service_stop(&service);
    return service.stats.accepted;
}

static int serve_again_and_again(void *arg) {
    (void)arg;
    struct sockaddr_in ignored;
    struct bnx_scope clients;
    struct crowd crowd = {0};
    uint64_t accepted = 0;
    int listener = io_tcp_listener(&ignored, 64);
    CHECK_EQ(bnx_os.fcntl(listener, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    local_address(listener, crowd.address);
    CHECK_EQ(bnx_scope_open(&clients, NULL), 0);
    for (int i = 0; i < CROWD_CLIENTS; i++) {
        CHECK_EQ(bnx_spawn(&clients, ask_until_told, &crowd), 0);
    }
    for (uint64_t left = 12 + bnx_test_scale(100); left-- > 0;) {
        accepted += serve_a_while(&crowd, &listener, left);
    }
    CHECK_EQ(bnx_scope_close(&clients), 0);
    CHECK_EQ(accepted, crowd.answered);
    CHECK_EQ(close(listener), 0);
    return 0;
}

/* A listener is served, given up and served again while clients come without a pause: each of them
 * is answered, by the service that ends or by the next. */
TEST(serve_again, "serve.cancel_loses_nobody") {
    sched_run_each(serve_again_and_again, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
