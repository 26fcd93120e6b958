/* SPDX-License-Identifier: MIT */
/*
 * BM_SendAll/BYTES       a buffer over TCP within the machine by bnx_send_all; the receiver, a task
 *                        of the same worker, reads it in pieces of 64 KiB
 * BM_SendZerocopy/BYTES  the same by bnx_send_zerocopy
 * Both: the column CPU is that of the process, the receiver's copy included.
 */
#include "bench/runtime/harness.h"

#include <bonxie/file.h>
#include <bonxie/net.h>

#include <vector>

static const size_t piece_bytes = 64 << 10;

typedef ssize_t (*send_fn)(int fd, const void *buffer, size_t bytes);

/* What arrives: a count, and the first byte of each piece. */
struct sink {
    int fd;
    uint64_t bytes;
    uint64_t sum;
};

static int receive_all(void *arg) {
    struct sink *sink = static_cast<struct sink *>(arg);
    std::vector<unsigned char> piece(piece_bytes);
    for (;;) { /* ends with the stream */
        ssize_t got = bnx_recv_exact(sink->fd, piece.data(), piece.size());
        bnx_bench_require(got >= 0, "bnx_recv_exact");
        if (got == 0) {
            return 0;
        }
        sink->bytes += static_cast<uint64_t>(got);
        sink->sum += piece[0];
    }
}

static void send_buffers(benchmark::State &state, send_fn send) {
    size_t bytes = static_cast<size_t>(state.range(0));
    std::vector<unsigned char> buffer(bytes);
    for (size_t i = 0; i < bytes; i += piece_bytes) {
        buffer[i] = static_cast<unsigned char>(i / piece_bytes + 1);
    }
    uint64_t buffer_sum = 0;
    for (size_t i = 0; i < bytes; i += piece_bytes) {
        buffer_sum += buffer[i];
    }
    struct bnx_address address;
    int listener = bnx_listen("127.0.0.1:0", nullptr);
    bnx_bench_require(listener >= 0 && bnx_address_local(listener, &address) == 0, "bnx_listen");
    int fd = bnx_connect_to(&address);
    struct sink sink = {bnx_accept(listener, nullptr), 0, 0};
    bnx_bench_require(fd >= 0 && sink.fd >= 0, "bnx_accept");
    bnx_bench_scope scope;
    scope.spawn(receive_all, &sink);
    for (auto _ : state) {
        bnx_bench_require(send(fd, buffer.data(), bytes) == static_cast<ssize_t>(bytes), "send");
    }
    bnx_bench_require(bnx_shutdown(fd, SHUT_WR) == 0, "bnx_shutdown");
    scope.close();
    uint64_t count = static_cast<uint64_t>(state.iterations());
    bnx_bench_require(sink.bytes == count * bytes && sink.sum == count * buffer_sum, "sum");
    bnx_bench_require(bnx_close(fd) == 0 && bnx_close(sink.fd) == 0 && bnx_close(listener) == 0,
                      "bnx_close");
    state.SetBytesProcessed(state.iterations() * state.range(0));
}

static void BM_SendAll(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] { send_buffers(state, bnx_send_all); });
}
BENCHMARK(BM_SendAll)->Arg(64 << 10)->Arg(1 << 20)->MeasureProcessCPUTime()->UseRealTime();

static void BM_SendZerocopy(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] { send_buffers(state, bnx_send_zerocopy); });
}
BENCHMARK(BM_SendZerocopy)->Arg(64 << 10)->Arg(1 << 20)->MeasureProcessCPUTime()->UseRealTime();
