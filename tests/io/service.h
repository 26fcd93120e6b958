/* SPDX-License-Identifier: MIT */
/* A service in a task of a test, handlers for it, and who asks it. */
#ifndef BNX_TESTS_IO_SERVICE_H
#define BNX_TESTS_IO_SERVICE_H

#include "tests/io/fixture.h"

#include <bonxie/serve.h>

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

static inline void local_address(int fd, char out[BNX_ADDRESS_TEXT_BYTES]) {
    struct bnx_address local;
    CHECK_EQ(bnx_address_local(fd, &local), 0);
    CHECK(bnx_address_format(&local, out, BNX_ADDRESS_TEXT_BYTES) > 0);
}

static inline int told_listening(const int *listeners, size_t listener_count, void *arg) {
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

static inline int run_service(void *arg) {
    struct service *service = arg;
    service->result =
        bnx_serve(&service->scope, service->address, service->handler, service, &service->options);
    return service->result;
}

static inline void service_start(struct service *service) {
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

static inline void service_wait(struct service *service) {
    int closed = bnx_scope_close(&service->scope); /* the task was cancelled, or its scope */
    CHECK(closed == 0 || closed == -ECANCELED);
    CHECK_EQ(service->result, -ECANCELED);
    CHECK(bnx_event_is_set(&service->draining));
    struct bnx_serve_stats stats;
    bnx_serve_stats_read(&service->stats, &stats);
    CHECK_EQ(stats.active, 0);
}

static inline void service_stop(struct service *service) {
    bnx_cancel(service->task, 0);
    service_wait(service);
}

static inline uint64_t stat_of(const uint64_t *stat) {
    return bnx_load_relaxed(stat); /* statistics */
}

static inline int answer(int fd, void *arg) {
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
static inline void ask(const char *address) {
    char got[8];
    int fd = bnx_connect(address);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_send_all(fd, "ask", 3), 3);
    CHECK_EQ(bnx_recv_exact(fd, got, 6), 6);
    CHECK(memcmp(got, "answer", 6) == 0);
    CHECK_EQ(bnx_close(fd), 0);
}

static inline int ask_often(void *arg) {
    struct service *service = arg;
    for (int i = 0; i < 25; i++) {
        ask(service->bound);
    }
    return 0;
}

static inline void ask_from_four(struct service *service) {
    struct bnx_scope clients;
    CHECK_EQ(bnx_scope_open(&clients, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(bnx_spawn(&clients, ask_often, service), 0);
    }
    CHECK_EQ(bnx_scope_close(&clients), 0);
}

static inline int answer_at_gate(int fd, void *arg) {
    struct service *service = arg;
    bnx_fetch_add_acq_rel(&service->entered, 1);
    int error = bnx_event_wait(&service->gate);
    if (error != 0) {
        bnx_store_release(&service->seen, (int64_t)error);
    }
    ssize_t sent = error == 0 ? bnx_send_all(fd, "answer", 6) : error;
    return sent < 0 ? (int)sent : 0;
}

static inline int connect_plainly(int listener) {
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    return io_tcp_connect(&address);
}

static inline void expect_answer(int fd) {
    char got[8];
    CHECK_EQ(bnx_recv_exact(fd, got, 6), 6);
    CHECK(memcmp(got, "answer", 6) == 0);
    CHECK_EQ(bnx_recv(fd, got, 1, 0), 0);
    CHECK_EQ(bnx_close(fd), 0);
}

#endif
