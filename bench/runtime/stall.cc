/* SPDX-License-Identifier: MIT */
/*
 * BM_StallLoad/PERCENT: a server with 64 connections over socket pairs on two workers, and beside
 * it tasks that compute for 10 ms without giving way; they come at random, as often as needs so
 * much of one CPU. The client, a thread of its own, sends 10,000 messages of 64 bytes a second at
 * random times, whether or not those before them have been answered. One operation is one message;
 * the counters are the time from when it was to be sent to the end of its echo.
 */
#include "bench/runtime/arrivals.h"
#include "bench/runtime/latency.h"

#include <bonxie/file.h>
#include <bonxie/net.h>

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

static const int64_t messages_count = 6000;
static const size_t connections = 64;
static const double message_every_ns = 100000;
static const size_t message_bytes = 64;
static const uint64_t stall_ns = 10000000;
/* Not to begin before the server listens on all connections. */
static const uint64_t lead_ns = 20000000;

/* ---- The server ---- */

struct stall_server {
    std::vector<int> fds;
    int64_t percent; /* of one CPU that the stalls take */
    int is_over;     /* the client is done; any thread */
    int64_t echoed;  /* bytes; any thread */
};

struct stall_line {
    struct stall_server *server;
    int fd;
};

static int echo_all(void *arg) {
    struct stall_line *line = static_cast<struct stall_line *>(arg);
    char bytes[4 * message_bytes];
    ssize_t count;
    while ((count = bnx_recv(line->fd, bytes, sizeof(bytes), 0)) > 0) { /* until it hangs up */
        ssize_t sent = bnx_send_all(line->fd, bytes, static_cast<size_t>(count));
        if (sent < 0) {
            return static_cast<int>(sent);
        }
        __atomic_fetch_add(&line->server->echoed, sent, __ATOMIC_RELAXED);
    }
    return static_cast<int>(count);
}

static int stall(void *) {
    bnx_bench_burn(stall_ns);
    return 0;
}

static int spawn_stalls(void *arg) {
    struct stall_server *server = static_cast<struct stall_server *>(arg);
    double load = static_cast<double>(server->percent) / 100;
    bnx_bench_arrivals schedule(static_cast<double>(stall_ns) / load);
    bnx_bench_scope stalls;
    uint64_t due_ns = bnx_now();
    while (__atomic_load_n(&server->is_over, __ATOMIC_RELAXED) == 0) {
        due_ns += schedule.next_ns();
        bnx_bench_require(bnx_sleep_until(due_ns) == 0, "bnx_sleep_until");
        stalls.spawn(stall, nullptr);
    }
    stalls.close();
    return 0;
}

static int serve_all(void *arg) {
    struct stall_server *server = static_cast<struct stall_server *>(arg);
    std::vector<struct stall_line> lines;
    for (int fd : server->fds) {
        lines.push_back({server, fd});
    }
    bnx_bench_scope scope;
    for (struct stall_line &line : lines) {
        scope.spawn(echo_all, &line);
    }
    if (server->percent > 0) {
        scope.spawn(spawn_stalls, server);
    }
    scope.close();
    return 0;
}

/* ---- The client ---- */

/* A connection as its client sees it. */
struct caller {
    std::vector<uint64_t> due_ns; /* of the messages sent */
    size_t received;              /* bytes of their echoes */
    uint64_t sum_sent;            /* of all bytes */
    uint64_t sum_received;
};

static void send_message(int fd, struct caller *caller, uint64_t due_ns, int64_t number) {
    unsigned char message[message_bytes] = {};
    message[0] = static_cast<unsigned char>(number);
    message[message_bytes - 1] = static_cast<unsigned char>(number >> 8);
    ssize_t sent = send(fd, message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
    bnx_bench_require(sent == ssize_t{message_bytes}, "send");
    caller->due_ns.push_back(due_ns);
    caller->sum_sent += message[0] + message[message_bytes - 1];
}

static void take_echoes(int fd, struct caller *caller, bnx_bench_latencies *times) {
    unsigned char bytes[16 * message_bytes];
    ssize_t count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    bnx_bench_require(count > 0, "recv");
    uint64_t now_ns = bnx_now();
    size_t first = caller->received / message_bytes;
    caller->received += static_cast<size_t>(count);
    for (size_t i = first; i < caller->received / message_bytes; i++) {
        times->add(now_ns - caller->due_ns[i]);
    }
    for (ssize_t i = 0; i < count; i++) {
        caller->sum_received += bytes[i];
    }
}

static void wait_for_echoes(std::vector<struct pollfd> &polls, uint64_t until_ns) {
    uint64_t now_ns = bnx_now();
    uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec timeout = {static_cast<time_t>(wait_ns / 1000000000),
                               static_cast<long>(wait_ns % 1000000000)};
    int ready = ppoll(polls.data(), polls.size(), &timeout, nullptr);
    bnx_bench_require(ready >= 0 || errno == EINTR, "ppoll");
}

static void call_all(std::vector<struct pollfd> &polls, bnx_bench_latencies *times) {
    std::vector<struct caller> callers(polls.size());
    bnx_bench_arrivals schedule(message_every_ns);
    uint64_t due_ns = bnx_now() + lead_ns;
    int64_t sent = 0;
    while (times->count() < messages_count) {
        for (; sent < messages_count && due_ns <= bnx_now(); sent++) {
            size_t at = static_cast<size_t>(sent) % polls.size();
            send_message(polls[at].fd, &callers[at], due_ns, sent);
            due_ns += schedule.next_ns();
        }
        wait_for_echoes(polls, sent < messages_count ? due_ns : bnx_now() + stall_ns);
        for (size_t i = 0; i < polls.size(); i++) {
            if (polls[i].revents != 0) {
                take_echoes(polls[i].fd, &callers[i], times);
            }
        }
    }
    for (const struct caller &caller : callers) {
        bnx_bench_require(caller.sum_sent == caller.sum_received &&
                              caller.received == caller.due_ns.size() * message_bytes,
                          "BM_StallLoad");
    }
}

static void BM_StallLoad(benchmark::State &state) {
    struct stall_server server = {{}, state.range(0), 0, 0};
    std::vector<struct pollfd> polls;
    for (size_t i = 0; i < connections; i++) {
        int fds[2];
        bnx_bench_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0,
                          "socketpair");
        polls.push_back({fds[0], POLLIN, 0});
        server.fds.push_back(fds[1]);
    }
    bnx_bench_latencies times(messages_count);
    std::thread thread([&server] {
        struct bnx_options options = {};
        options.worker_count = 2;
        bnx_bench_require(bnx_run(&options, serve_all, &server) == 0, "bnx_run");
    });
    while (state.KeepRunningBatch(messages_count)) {
        call_all(polls, &times);
    }
    __atomic_store_n(&server.is_over, 1, __ATOMIC_RELAXED);
    for (const struct pollfd &poll : polls) {
        close(poll.fd);
    }
    thread.join();
    for (int fd : server.fds) {
        bnx_bench_require(bnx_close(fd) == 0, "bnx_close");
    }
    bnx_bench_require(server.echoed == messages_count * int64_t{message_bytes}, "BM_StallLoad");
    times.report(state);
}
/* One batch: the times have room for one. */
BENCHMARK(BM_StallLoad)->Arg(0)->Arg(64)->Arg(160)->Iterations(messages_count)->UseRealTime();
