/* SPDX-License-Identifier: MIT */
/*
 * What happens to the others.
 *   BM_HogBeside/HOGS   16 tasks sleep a millisecond at a time on two workers, beside so many
 *                       tasks that compute without end and never give way. One operation is one
 *                       sleep; the counters are how much later than due they went on
 *   BM_Overload         requests come at four times the rate at which four tasks, by way of a
 *                       channel with room for 64, serve them (a millisecond each); each request
 *                       gives up when it has not got into the channel within 20 ms. One operation
 *                       is one request. Counters: `goodput`, what was served as a part of what
 *                       could have been; `expired`, the part that gave up; the times are from when
 *                       a request was to come to the end of its service
 * Slow readers are in echo.cc, what computes beside a server in class.cc.
 */
#include "bench/runtime/latency.h"

#include <cerrno>
#include <vector>

/* ---- A hog ---- */

static const int64_t sleepers = 16;
static const int64_t sleeps_each = 150;
static const uint64_t sleep_ns = 1000000;

struct pen {
    int64_t running; /* hogs that have begun; any thread */
    int is_over;     /* any thread */
    uint64_t work;   /* that hogs have done; any thread */
    bnx_bench_latencies *late;
};

static int hog(void *arg) {
    struct pen *pen = static_cast<struct pen *>(arg);
    __atomic_fetch_add(&pen->running, 1, __ATOMIC_RELAXED);
    uint64_t work = 0;
    while (__atomic_load_n(&pen->is_over, __ATOMIC_RELAXED) == 0) {
        work++;
    }
    __atomic_fetch_add(&pen->work, work, __ATOMIC_RELAXED);
    return 0;
}

static int nap(void *arg) {
    struct pen *pen = static_cast<struct pen *>(arg);
    for (int64_t i = 0; i < sleeps_each; i++) {
        uint64_t due_ns = bnx_now() + sleep_ns;
        int error = bnx_sleep_until(due_ns);
        if (error < 0) {
            return error;
        }
        pen->late->add(bnx_now() - due_ns);
    }
    return 0;
}

static void BM_HogBeside(benchmark::State &state) {
    const int64_t hogs_count = state.range(0);
    bnx_bench_latencies late(sleepers * sleeps_each);
    struct pen pen = {0, 0, 0, &late};
    bnx_bench_run_workers(2, [&] {
        bnx_bench_scope hogs;
        for (int64_t i = 0; i < hogs_count; i++) {
            hogs.spawn(hog, &pen);
        }
        while (__atomic_load_n(&pen.running, __ATOMIC_RELAXED) < hogs_count) {
            bnx_yield();
        }
        while (state.KeepRunningBatch(sleepers * sleeps_each)) {
            bnx_bench_scope naps;
            for (int64_t i = 0; i < sleepers; i++) {
                naps.spawn(nap, &pen);
            }
            naps.close();
        }
        __atomic_store_n(&pen.is_over, 1, __ATOMIC_RELAXED);
        hogs.close();
    });
    bnx_bench_require(late.count() == sleepers * sleeps_each && (pen.work > 0) == (hogs_count > 0),
                      "BM_HogBeside");
    late.report(state, "late_");
}
BENCHMARK(BM_HogBeside)->Arg(0)->Arg(1)->Iterations(sleepers *sleeps_each)->UseRealTime();

/* ---- Overload ---- */

static const int64_t requests_count = 8000;
static const int64_t servers_count = 4;
static const size_t room = 64; /* requests */
static const uint64_t service_ns = 1000000;
static const uint64_t between_ns = service_ns / servers_count / 4; /* four times too often */
static const uint64_t patience_ns = 20000000;

/* One worker: the counts are its own. */
struct counter_desk {
    struct bnx_chan *queue; /* of request pointers */
    int64_t served;
    int64_t expired;
    bnx_bench_latencies *times;
};

struct request {
    struct counter_desk *desk;
    uint64_t due_ns;
    bool is_served;
};

static int send_request(void *arg) {
    struct request *request = static_cast<struct request *>(arg);
    struct bnx_scope_options options = {};
    struct bnx_scope scope;
    options.deadline_ns = request->due_ns + patience_ns;
    bnx_bench_require(bnx_scope_open(&scope, &options) == 0, "bnx_scope_open");
    int error = bnx_chan_send(request->desk->queue, &request);
    (void)bnx_scope_close(&scope); /* the deadline may come after the send, too */
    request->desk->expired += error == -ETIMEDOUT;
    return error == -ETIMEDOUT ? 0 : error;
}

static int serve_requests(void *arg) {
    struct counter_desk *desk = static_cast<struct counter_desk *>(arg);
    struct request *request = nullptr;
    int error;
    while ((error = bnx_chan_recv(desk->queue, &request)) == 0) { /* until it is closed */
        error = bnx_sleep(service_ns);
        if (error < 0) {
            return error;
        }
        bnx_bench_require(!request->is_served, "a request served twice");
        request->is_served = true;
        desk->served++;
        desk->times->add(bnx_now() - request->due_ns);
    }
    return error == -ENODATA ? 0 : error;
}

static void send_all(struct counter_desk *desk, std::vector<struct request> &requests) {
    bnx_bench_scope senders;
    uint64_t due_ns = bnx_now();
    for (struct request &request : requests) {
        due_ns += between_ns;
        if (bnx_now() < due_ns) {
            bnx_bench_require(bnx_sleep_until(due_ns) == 0, "bnx_sleep_until");
        }
        request = {desk, due_ns, false};
        senders.spawn(send_request, &request);
    }
    senders.close();
}

static void BM_Overload(benchmark::State &state) {
    bnx_bench_latencies times(requests_count);
    struct counter_desk desk = {nullptr, 0, 0, &times};
    std::vector<struct request> requests(requests_count);
    double served_max = 0;
    bnx_bench_run_workers(1, [&] {
        bnx_bench_require(bnx_chan_create(sizeof(struct request *), room, &desk.queue) == 0,
                          "bnx_chan_create");
        while (state.KeepRunningBatch(requests_count)) {
            uint64_t begin_ns = bnx_now();
            bnx_bench_scope servers;
            for (int64_t i = 0; i < servers_count; i++) {
                servers.spawn(serve_requests, &desk);
            }
            send_all(&desk, requests);
            bnx_chan_close(desk.queue);
            servers.close();
            served_max = static_cast<double>(bnx_now() - begin_ns) /
                         static_cast<double>(service_ns) * static_cast<double>(servers_count);
        }
        bnx_chan_destroy(desk.queue);
    });
    bnx_bench_require(desk.served + desk.expired == requests_count &&
                          times.count() == desk.served && desk.served > 0,
                      "BM_Overload");
    times.report(state);
    state.counters["goodput"] = static_cast<double>(desk.served) / served_max;
    state.counters["expired"] =
        static_cast<double>(desk.expired) / static_cast<double>(requests_count);
}
/* One batch: the times have room for one, and the channel is closed after it. */
BENCHMARK(BM_Overload)->Iterations(requests_count)->UseRealTime();
