/* SPDX-License-Identifier: MIT */
/*
 * BM_EchoUnix/CONNECTIONS/WORKERS: clients and servers, a task each, in one runtime: each client
 * sends 64 bytes over a socket pair and waits for their echo. One operation is one round trip;
 * `CPU` is that of the process, both sides.
 * BM_EchoTcp/CONNECTIONS/WORKERS: the same over TCP within the machine.
 * BM_SlowReaders/SLOW: eight such clients over socket pairs, on two workers, beside SLOW
 * connections to which servers write all the time, and whose clients take 4 KiB every 5 ms. The
 * counters are the times of the eight's round trips, and what each slow one took, in KiB.
 */
#include "bench/runtime/latency.h"

#include <bonxie/file.h>
#include <bonxie/net.h>

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <vector>

static const size_t message_bytes = 64;
static const int64_t trips_per_batch = 6400;

struct line {
    int client_fd;
    int server_fd;
    int64_t trips;              /* of a batch */
    int64_t number;             /* of the next message */
    int64_t echoed;             /* by the server */
    bnx_bench_latencies *times; /* of the trips; NULL: not taken */
};

static int echo_line(void *arg) {
    struct line *line = static_cast<struct line *>(arg);
    char message[message_bytes];
    for (;;) { /* ends when the client hangs up */
        ssize_t count = bnx_recv(line->server_fd, message, sizeof(message), 0);
        if (count <= 0) {
            return static_cast<int>(count);
        }
        ssize_t sent = bnx_send_all(line->server_fd, message, static_cast<size_t>(count));
        if (sent < 0) {
            return static_cast<int>(sent);
        }
        line->echoed += sent;
    }
}

static int talk(void *arg) {
    struct line *line = static_cast<struct line *>(arg);
    char message[message_bytes] = {};
    for (int64_t i = 0; i < line->trips; i++) {
        char answer[message_bytes];
        uint64_t start_ns = line->times == nullptr ? 0 : bnx_now();
        std::memcpy(message, &line->number, sizeof(line->number));
        line->number++;
        ssize_t sent = bnx_send_all(line->client_fd, message, sizeof(message));
        ssize_t got = bnx_recv_exact(line->client_fd, answer, sizeof(answer));
        bnx_bench_require(sent == ssize_t{message_bytes} && got == ssize_t{message_bytes} &&
                              std::memcmp(message, answer, sizeof(message)) == 0,
                          "echo");
        if (line->times != nullptr) {
            line->times->add(bnx_now() - start_ns);
        }
    }
    return 0;
}

static struct line open_pair() {
    int fds[2];
    bnx_bench_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0,
                      "socketpair");
    return {fds[0], fds[1], 0, 0, 0, nullptr};
}

static struct line open_tcp() {
    struct bnx_address address;
    int listener = bnx_listen("127.0.0.1:0", nullptr);
    bnx_bench_require(listener >= 0 && bnx_address_local(listener, &address) == 0, "bnx_listen");
    int client = bnx_connect_to(&address);
    int server = bnx_accept(listener, nullptr);
    bnx_bench_require(client >= 0 && server >= 0 && bnx_close(listener) == 0, "bnx_accept");
    return {client, server, 0, 0, 0, nullptr};
}

/* Connections with a server task each. */
class bnx_bench_exchange {
  public:
    bnx_bench_exchange(int64_t count, struct line (*open_line)())
        : lines(static_cast<size_t>(count)) {
        for (struct line &line : lines) {
            line = open_line();
            servers.spawn(echo_line, &line);
        }
    }

    /* All clients together make so many round trips. */
    void talk_all(int64_t trips, bnx_bench_latencies *times = nullptr) {
        bnx_bench_scope clients;
        for (struct line &line : lines) {
            line.trips = trips / static_cast<int64_t>(lines.size());
            line.times = times;
            clients.spawn(talk, &line);
        }
        clients.close();
    }

    /* Hangs up; returns how many messages the servers have sent back. */
    int64_t close() {
        for (const struct line &line : lines) {
            bnx_bench_require(bnx_close(line.client_fd) == 0, "bnx_close");
        }
        servers.close();
        int64_t echoed = 0;
        for (const struct line &line : lines) {
            bnx_bench_require(bnx_close(line.server_fd) == 0, "bnx_close");
            echoed += line.echoed;
        }
        return echoed / static_cast<int64_t>(message_bytes);
    }

  private:
    std::vector<struct line> lines;
    bnx_bench_scope servers;
};

static void echo_batches(benchmark::State &state, struct line (*open_line)()) {
    bnx_bench_exchange exchange(state.range(0), open_line);
    while (state.KeepRunningBatch(trips_per_batch)) {
        exchange.talk_all(trips_per_batch);
    }
    bnx_bench_require(exchange.close() == static_cast<int64_t>(state.iterations()), "echoes");
    state.SetItemsProcessed(state.iterations());
}

static void BM_EchoUnix(benchmark::State &state) {
    bnx_bench_run_workers(state.range(1), [&] { echo_batches(state, open_pair); });
}
BENCHMARK(BM_EchoUnix)
    ->Args({1, 1})
    ->Args({64, 1})
    ->Args({1, 2})
    ->Args({64, 2})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

static void BM_EchoTcp(benchmark::State &state) {
    bnx_bench_run_workers(state.range(1), [&] { echo_batches(state, open_tcp); });
}
BENCHMARK(BM_EchoTcp)
    ->Args({1, 1})
    ->Args({64, 1})
    ->Args({1, 2})
    ->Args({64, 2})
    ->MeasureProcessCPUTime()
    ->UseRealTime();

/* ---- Slow readers ---- */

static const int64_t quick_lines = 8;
static const int64_t quick_trips = quick_lines * 3200;
static const size_t gulp_bytes = 4096;
static const uint64_t gulp_every_ns = 5000000;

struct slow_line {
    int client_fd;
    int server_fd;
    const int *is_over; /* the quick ones are done; any thread */
    int64_t sent;
    int64_t taken;
};

/* Writes for as long as there is somebody at the other end. */
static int pour(void *arg) {
    struct slow_line *line = static_cast<struct slow_line *>(arg);
    static const char water[64 << 10] = {};
    ssize_t sent;
    while ((sent = bnx_send(line->server_fd, water, sizeof(water), MSG_NOSIGNAL)) > 0) {
        line->sent += sent;
    }
    return sent == -EPIPE || sent == -ECONNRESET ? 0 : -EIO;
}

static int sip(void *arg) {
    struct slow_line *line = static_cast<struct slow_line *>(arg);
    char gulp[gulp_bytes];
    do { /* until the quick ones are done */
        ssize_t count = bnx_recv(line->client_fd, gulp, sizeof(gulp), 0);
        int error = count > 0 ? bnx_sleep(gulp_every_ns) : -EIO;
        if (error < 0) {
            return error;
        }
        line->taken += count;
    } while (__atomic_load_n(line->is_over, __ATOMIC_RELAXED) == 0);
    return bnx_close(line->client_fd);
}

static void run_beside_slow(benchmark::State &state, bnx_bench_latencies *times) {
    int is_over = 0;
    std::vector<struct slow_line> slow(static_cast<size_t>(state.range(0)));
    bnx_bench_scope pairs;
    for (struct slow_line &line : slow) {
        struct line fds = open_pair();
        line = {fds.client_fd, fds.server_fd, &is_over, 0, 0};
        pairs.spawn(pour, &line);
        pairs.spawn(sip, &line);
    }
    bnx_bench_exchange exchange(quick_lines, open_pair);
    while (state.KeepRunningBatch(quick_trips)) {
        exchange.talk_all(quick_trips, times);
    }
    bnx_bench_require(exchange.close() == quick_trips, "echoes");
    __atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
    pairs.close();
    int64_t taken = 0;
    for (const struct slow_line &line : slow) {
        bnx_bench_require(line.taken > 0 && line.taken <= line.sent, "BM_SlowReaders");
        bnx_bench_require(bnx_close(line.server_fd) == 0, "bnx_close");
        taken += line.taken;
    }
    if (!slow.empty()) {
        state.counters["slow_kib"] =
            static_cast<double>(taken) / 1024 / static_cast<double>(slow.size());
    }
}

static void BM_SlowReaders(benchmark::State &state) {
    bnx_bench_latencies times(quick_trips);
    bnx_bench_run_workers(2, [&] { run_beside_slow(state, &times); });
    times.report(state);
}
/* One batch: the times have room for one. */
BENCHMARK(BM_SlowReaders)->Arg(0)->Arg(64)->Iterations(quick_trips)->UseRealTime();
