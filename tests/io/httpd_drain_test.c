/* SPDX-License-Identifier: MIT */
/*
 * A connection of httpd whose service ends: who is waited for, and for how long at most.
 *
 * Method: the handler serves one end of a pair of sockets; the peer, at the other end, begins a
 * request and says no more. The time that is not to be waited for is an hour.
 */
#include "tests/io/fixture.h"

#include "io/examples/httpd_handler.h"

#define HOUR_NS (3600 * BNX_NS_PER_S)

struct visit {
    struct bnx_httpd_service service;
    const char *begun; /* what the peer has said of its request */
};

struct handled {
    struct bnx_httpd_service *service;
    int fd;
};

static int handle(void *arg) {
    const struct handled *handled = arg;
    return bnx_httpd_handle(handled->fd, handled->service);
}

/* Until the handler waits for its peer, or has ended already: patience is short on a busy day. */
static void await_handler(struct bnx_task *task) {
    while (bnx_task_state(task) != BNX_TASK_DONE &&
           (bnx_task_state(task) != BNX_TASK_PARKED ||
            bnx_load_relaxed(&task->wait_reason) != (uint8_t)BNX_WAIT_RECV)) { /* for reports */
        bnx_yield(); /* ends: it does nothing else */
    }
}

/* The handler waits for the rest of a request; then it is cancelled, as by its service. */
static int end_service(void *arg) {
    struct visit *visit = arg;
    int fds[2];
    char answer[1024];
    struct bnx_task *task;
    struct bnx_scope scope;
    struct bnx_scope_options options = {.grace_ns = HOUR_NS};
    io_unix_pair(fds);
    size_t begun_bytes = strlen(visit->begun);
    CHECK_EQ(write(fds[1], visit->begun, begun_bytes), begun_bytes);
    struct handled handled = {&visit->service, fds[0]};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, handle, &handled, &task), 0);
    await_handler(task);
    bnx_cancel(task, 0);

    ssize_t bytes = bnx_recv(fds[1], answer, sizeof(answer) - 1, 0);
    CHECK(bytes > 0);
    answer[bytes] = '\0';
    CHECK(strncmp(answer, "HTTP/1.1 408 ", 13) == 0);
    CHECK_EQ(bnx_close(fds[1]), 0); /* the handler reads until then */
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(close(fds[0]), 0);
    return 0;
}

static void end_beside(const struct bnx_httpd_service *service) {
    static const char *const begun[] = {
        "GET /plaintext HTTP/1.1\r\nHost:",
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(begun); i++) {
        struct visit visit = {.service = *service, .begun = begun[i]};
        visit.service.site.root_fd = -1;
        sched_run_each(end_service, &visit);
    }
}

/* While the service ends, a peer that is in the middle of a request and says nothing is given up
 * after the quiet time, however patient the service is else. */
TEST(silent, "httpd.drain_gives_up_the_silent") {
    struct bnx_httpd_service service = {
        .patience_ns = HOUR_NS, .idle_ns = HOUR_NS, .quiet_ns = BNX_NS_PER_MS};
    end_beside(&service);
}

/* The quiet time makes no wait longer: where patience is shorter, that counts. */
TEST(patience, "httpd.drain_is_no_more_patient") {
    struct bnx_httpd_service service = {
        .patience_ns = BNX_NS_PER_S / 4, .idle_ns = HOUR_NS, .quiet_ns = HOUR_NS};
    end_beside(&service);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
