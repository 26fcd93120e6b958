/* SPDX-License-Identifier: MIT */
/* Tests services as bonxie/serve.h promises them: serving, limits, the drain, trouble. */
#include "tests/io/fixture.h"

#include <bonxie/serve.h>

#include <dirent.h>

/* The number of open descriptors. Quicker than io_fd_count: a worker is not to stall in it. */
static int open_count(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) { /* ends: with the table */
        count++;
    }
    CHECK_EQ(closedir(directory), 0);
    return count;
}

/* ---- A service in a task, and who asks it ---- */

struct service {
    const char *address;
    int (*handler)(int fd, void *arg);
    struct bnx_serve_options options;
    struct bnx_serve_stats stats;
    struct bnx_event draining;
    struct bnx_event gate;  /* handlers that wait for it are let pass */
    struct bnx_scope scope; /* the service's task is in it */
    struct bnx_task *task;
    char bound[BNX_ADDRESS_TEXT_BYTES];
    uint64_t is_listening;
    size_t listener_count; /* as on_listening was told */
    uint64_t entered;      /* handlers that have begun */
    uint64_t inside;       /* handlers that are at it */
    uint64_t inside_max;
    int64_t seen; /* what a handler's wait failed with */
    int result;   /* of bnx_serve */
};

static void local_address(int fd, char out[BNX_ADDRESS_TEXT_BYTES]) {
    struct bnx_address local;
    CHECK_EQ(bnx_address_local(fd, &local), 0);
    CHECK(bnx_address_format(&local, out, BNX_ADDRESS_TEXT_BYTES) > 0);
}

static int told_listening(const int *listeners, size_t listener_count, void *arg) {
    struct service *service = arg;
    char other[BNX_ADDRESS_TEXT_BYTES];
    local_address(listeners[0], service->bound);
    for (size_t i = 1; i < listener_count && service->options.listeners == NULL; i++) {
        local_address(listeners[i], other);
        CHECK_STR(other, service->bound);
    }
    service->listener_count = listener_count;
    bnx_store_release(&service->is_listening, 1);
    return 0;
}

static int run_service(void *arg) {
    struct service *service = arg;
    service->result =
        bnx_serve(&service->scope, service->address, service->handler, service, &service->options);
    return service->result;
}

static void service_start(struct service *service) {
    service->options.stats = &service->stats;
    service->options.draining = &service->draining;
    if (service->options.on_listening == NULL) {
        service->options.on_listening = told_listening;
    }
    service->options.on_listening_arg = service;
    CHECK_EQ(bnx_scope_open(&service->scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&service->scope, NULL, run_service, service, &service->task), 0);
    sched_await_count(&service->is_listening, 1);
}

static void service_wait(struct service *service) {
    int closed = bnx_scope_close(&service->scope); /* the task was cancelled, or its scope */
    CHECK(closed == 0 || closed == -ECANCELED);
    CHECK_EQ(service->result, -ECANCELED);
    CHECK(bnx_event_is_set(&service->draining));
    struct bnx_serve_stats stats;
    bnx_serve_stats_read(&service->stats, &stats);
    CHECK_EQ(stats.active, 0);
}

static void service_stop(struct service *service) {
    bnx_cancel(service->task, 0);
    service_wait(service);
}

static uint64_t stat_of(const uint64_t *stat) {
    return bnx_load_relaxed(stat); /* statistics */
}

static int answer(int fd, void *arg) {
    struct service *service = arg;
    char ask[3];
    bnx_fetch_add_acq_rel(&service->entered, 1);
    ssize_t got = bnx_recv_exact(fd, ask, sizeof(ask));
    if (got != sizeof(ask)) {
        return got < 0 ? (int)got : 0;
    }
    ssize_t sent = bnx_send_all(fd, "answer", 6);
    return sent < 0 ? (int)sent : 0;
}

/* Asks once. */
static void ask(const char *address) {
    char got[8];
    int fd = bnx_connect(address);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_send_all(fd, "ask", 3), 3);
    CHECK_EQ(bnx_recv_exact(fd, got, 6), 6);
    CHECK(memcmp(got, "answer", 6) == 0);
    CHECK_EQ(bnx_close(fd), 0);
}

static int ask_often(void *arg) {
    struct service *service = arg;
    for (int i = 0; i < 25; i++) {
        ask(service->bound);
    }
    return 0;
}

static void ask_from_four(struct service *service) {
    struct bnx_scope clients;
    CHECK_EQ(bnx_scope_open(&clients, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn(&clients, ask_often, service), 0);
    }
    CHECK_EQ(bnx_scope_close(&clients), 0);
}

/* ---- Serving ---- */

struct serving {
    const char *address; /* NULL: two given listeners */
    unsigned flags;
};

static int serve_and_ask(void *arg) {
    const struct serving *serving = arg;
    struct sockaddr_in ignored;
    int given[2] = {-1, -1};
    int fds_before = open_count();
    struct service service = {.address = serving->address, .handler = answer};
    service.options.flags = serving->flags;
    size_t listeners = 1;
    if (serving->address == NULL) {
        given[0] = io_tcp_listener(&ignored, 64);
        given[1] = io_tcp_listener(&ignored, 64);
        for (size_t i = 0; i < 2; i++) {
            CHECK_EQ(bnx_os.fcntl(given[i], F_SETFL, O_RDWR | O_NONBLOCK), 0);
        }
        service.options.listeners = given;
        service.options.listener_count = listeners = 2;
    } else if (serving->flags != 0 && strncmp(serving->address, "unix:", 5) != 0) {
        listeners = sched_worker_count();
    }
    service_start(&service);
    CHECK_EQ(service.listener_count, listeners);
    ask_from_four(&service);
    if (serving->address == NULL) {
        local_address(given[1], service.bound);
        ask_from_four(&service);
    }
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, serving->address == NULL ? 200 : 100);
    CHECK_EQ(service.stats.refused, 0);
    CHECK_EQ(service.stats.failed, 0);
    for (size_t i = 0; i < 2 && serving->address == NULL; i++) {
        CHECK_EQ(close(given[i]), 0); /* they are the caller's */
    }
    CHECK_EQ(open_count(), fds_before);
    return 0;
}

/* Each kind of listener: every client is answered, and no descriptor is left. */
TEST(serve_serves, "serve.serves") {
    char name[64];
    (void)snprintf(name, sizeof(name), "unix:@bonxie-serve-%d", getpid());
    const struct serving all[] = {
        {"127.0.0.1:0", 0}, {"127.0.0.1:0", BNX_SERVE_REUSE_PORT},
        {name, 0},          {name, BNX_SERVE_REUSE_PORT},
        {NULL, 0},          {NULL, BNX_SERVE_REUSE_PORT},
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(all); i++) {
        sched_run_each(serve_and_ask, (void *)(uintptr_t)&all[i]);
    }
}

static int fail_with_eio(int fd, void *arg) {
    (void)answer(fd, arg);
    return -EIO;
}

static int serve_failing(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = fail_with_eio};
    service_start(&service);
    ask_from_four(&service);
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, 100);
    CHECK_EQ(service.stats.failed, 100);
    return 0;
}

/* A handler's error is counted and disturbs nobody. */
TEST(serve_errors, "serve.handler_errors_stay_apart") {
    sched_run_each(serve_failing, NULL);
}

static int never(int fd, void *arg) {
    (void)fd;
    (void)arg;
    CHECK(false);
    return 0;
}

static int refuse_listening(const int *listeners, size_t listener_count, void *arg) {
    (void)arg;
    CHECK(listener_count == 1 && listeners[0] >= 0);
    return -EDOM;
}

static int use_wrongly(void *arg) {
    (void)arg;
    struct bnx_scope foreign;
    memset(&foreign, 0, sizeof(foreign));
    int pair[2];
    io_unix_pair(pair);
    int fds_before = open_count();
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, "nonsense", never, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, "unix:/none/such/socket", never, NULL, NULL), -ENOENT);
    CHECK_EQ(bnx_serve(&foreign, "127.0.0.1:0", never, NULL, NULL), -EINVAL);
    struct bnx_serve_options options = {.flags = 1u << 31};
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, &options), -EINVAL);
    options = (struct bnx_serve_options){.on_listening = refuse_listening};
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, &options), -EDOM);
    options = (struct bnx_serve_options){.listener_count = 1};
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL);
    options.listeners = pair;
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL); /* it blocks */
    CHECK_EQ(bnx_os.fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL); /* it does not listen */
    CHECK_EQ(close(pair[0]), 0);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EBADF);
    CHECK_EQ(open_count(), fds_before - 1);
    CHECK_EQ(close(pair[1]), 0);
    return 0;
}

/* Wrong arguments, a listener that is none, and a callback that refuses: told, nothing left. */
TEST(serve_wrong, "serve.wrong_use") {
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, NULL), -EPERM);
    sched_run_each(use_wrongly, NULL);
}

/* ---- Limits ---- */

static int answer_slowly(int fd, void *arg) {
    struct service *service = arg;
    uint64_t inside = bnx_fetch_add_acq_rel(&service->inside, 1) + 1;
    uint64_t most = bnx_load_relaxed(&service->inside_max);
    while (inside > most && !bnx_cas_relaxed(&service->inside_max, &most, inside)) {
    }
    for (int i = 0; i < 20; i++) {
        bnx_yield();
    }
    int result = answer(fd, arg);
    bnx_fetch_sub_acq_rel(&service->inside, 1);
    return result;
}

static int serve_two_at_most(void *arg) {
    struct service service = {.address = "127.0.0.1:0", .handler = answer_slowly};
    service.options.connections_max = 2;
    service.options.flags = *(unsigned *)arg;
    service_start(&service);
    ask_from_four(&service);
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, 100);
    CHECK(service.inside_max <= 2);
    return 0;
}

/* Four clients at two places: never more than two are served, and all of them are. */
TEST(serve_limit, "serve.limit") {
    unsigned flags = 0;
    sched_run_each(serve_two_at_most, &flags);
    flags = BNX_SERVE_REUSE_PORT;
    sched_run_each(serve_two_at_most, &flags);
}

static int answer_at_gate(int fd, void *arg) {
    struct service *service = arg;
    bnx_fetch_add_acq_rel(&service->entered, 1);
    int error = bnx_event_wait(&service->gate);
    if (error != 0) {
        bnx_store_release(&service->seen, (int64_t)error);
    }
    ssize_t sent = error == 0 ? bnx_send_all(fd, "answer", 6) : error;
    return sent < 0 ? (int)sent : 0;
}

static int connect_plainly(int listener) {
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    return io_tcp_connect(&address);
}

static void expect_answer(int fd) {
    char got[8];
    CHECK_EQ(bnx_recv_exact(fd, got, 6), 6);
    CHECK(memcmp(got, "answer", 6) == 0);
    CHECK_EQ(bnx_recv(fd, got, 1, 0), 0);
    CHECK_EQ(bnx_close(fd), 0);
}

static int share_one_place(void *arg) {
    (void)arg;
    struct sockaddr_in ignored;
    int given[2];
    for (size_t i = 0; i < 2; i++) {
        given[i] = io_tcp_listener(&ignored, 64);
        CHECK_EQ(bnx_os.fcntl(given[i], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    }
    struct service service = {.handler = answer_at_gate};
    service.options.listeners = given;
    service.options.listener_count = 2;
    service.options.connections_max = 1;
    service_start(&service);
    for (size_t round = 0; round < 8; round++) {
        int first = connect_plainly(given[round % 2]);
        sched_await_count(&service.entered, 2 * round + 1);
        int second = connect_plainly(given[round / 2 % 2]);
        bnx_event_set(&service.gate);
        expect_answer(first);
        expect_answer(second);
        CHECK_EQ(bnx_load_acquire(&service.entered), 2 * round + 2);
        bnx_event_clear(&service.gate);
    }
    service_stop(&service);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(close(given[i]), 0);
    }
    return 0;
}

/* One place for two listeners: no matter at which of them somebody comes, he gets it. */
TEST(serve_share, "serve.listeners_share_the_limit") {
    sched_run_each(share_one_place, NULL);
}

static int serve_with_deadline(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer_at_gate};
    service.options.connection_ns = 1 * BNX_NS_PER_MS;
    char end;
    service_start(&service);
    int fd = bnx_connect(service.bound);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_recv(fd, &end, 1, 0), 0);
    CHECK_EQ(bnx_load_acquire(&service.seen), -ETIMEDOUT);
    CHECK_EQ(bnx_close(fd), 0);
    service_stop(&service);
    CHECK_EQ(service.stats.failed, 1);
    return 0;
}

/* A connection's deadline ends what its handler waits for, and its peer sees the end. */
TEST(serve_deadline, "serve.deadline") {
    sched_run_each(serve_with_deadline, NULL);
}

/* ---- The drain ---- */

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
