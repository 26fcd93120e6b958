/* SPDX-License-Identifier: MIT */
/*
 * Channels: one operation is one item, from the send to the receive.
 *   BM_ChanPingPong/WORKERS  two tasks and two unbuffered channels, one item on its way
 *   BM_ChanSpsc/WORKERS      one sender, one receiver, a buffer of 1024
 *   BM_ChanMpmc/PRODUCERS/CONSUMERS/CAPACITY/WORKERS
 *   BM_PthreadRing           two OS threads, a ring of 1024 under a mutex and two conditions
 *   BM_Select/CASES          two tasks as in the ping-pong; the receiver waits at CASES channels of
 *                            which one gets the item
 */
#include "bench/runtime/harness.h"

#include <pthread.h>
#include <vector>

static const int64_t items_per_batch = 200000;
static const size_t ring_capacity = 1024;

static struct bnx_chan *make_chan(size_t capacity) {
    struct bnx_chan *chan = nullptr;
    bnx_bench_require(bnx_chan_create(sizeof(int64_t), capacity, &chan) == 0, "bnx_chan_create");
    return chan;
}

/* ---- Ping-pong ---- */

struct rally {
    struct bnx_chan *ping;
    struct bnx_chan *pong;
    int64_t rounds;
    int64_t sum;
};

static int play_ping(void *arg) {
    struct rally *rally = static_cast<struct rally *>(arg);
    for (int64_t i = 0; i < rally->rounds; i++) {
        int64_t answer = 0;
        if (bnx_chan_send(rally->ping, &i) != 0 || bnx_chan_recv(rally->pong, &answer) != 0) {
            return -EIO;
        }
        rally->sum += answer;
    }
    bnx_chan_close(rally->ping);
    return 0;
}

static int play_pong(void *arg) {
    struct rally *rally = static_cast<struct rally *>(arg);
    int64_t item;
    while (bnx_chan_recv(rally->ping, &item) == 0) {
        if (bnx_chan_send(rally->pong, &item) != 0) {
            return -EIO;
        }
    }
    return 0;
}

static void BM_ChanPingPong(benchmark::State &state) {
    bnx_bench_run_workers(state.range(0), [&] {
        while (state.KeepRunningBatch(items_per_batch)) {
            int64_t rounds = items_per_batch / 2; /* a round is two items */
            struct rally rally = {make_chan(0), make_chan(0), rounds, 0};
            bnx_bench_scope scope;
            scope.spawn(play_ping, &rally);
            scope.spawn(play_pong, &rally);
            scope.close();
            bnx_bench_require(rally.sum == rounds * (rounds - 1) / 2, "BM_ChanPingPong");
            bnx_chan_destroy(rally.ping);
            bnx_chan_destroy(rally.pong);
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ChanPingPong)->Arg(1)->Arg(2)->UseRealTime();

/* ---- Many to many ---- */

struct flow {
    struct bnx_chan *chan;
    int64_t first; /* producer: the items [first, end) */
    int64_t end;
    int64_t sum; /* consumer: of what came */
};

static int produce(void *arg) {
    struct flow *flow = static_cast<struct flow *>(arg);
    for (int64_t i = flow->first; i < flow->end; i++) {
        int error = bnx_chan_send(flow->chan, &i);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int consume(void *arg) {
    struct flow *flow = static_cast<struct flow *>(arg);
    int64_t item;
    int error;
    while ((error = bnx_chan_recv(flow->chan, &item)) == 0) {
        flow->sum += item;
    }
    return error == -ENODATA ? 0 : error;
}

static void flow_batch(int64_t producers, int64_t consumers, size_t capacity) {
    struct bnx_chan *chan = make_chan(capacity);
    std::vector<struct flow> sources(static_cast<size_t>(producers));
    std::vector<struct flow> sinks(static_cast<size_t>(consumers));
    bnx_bench_scope receivers;
    for (struct flow &sink : sinks) {
        sink = {chan, 0, 0, 0};
        receivers.spawn(consume, &sink);
    }
    bnx_bench_scope senders;
    int64_t share = items_per_batch / producers;
    for (int64_t i = 0; i < producers; i++) {
        struct flow &source = sources[static_cast<size_t>(i)];
        source = {chan, i * share, (i + 1) * share, 0};
        senders.spawn(produce, &source);
    }
    senders.close();
    bnx_chan_close(chan);
    receivers.close();
    int64_t sum = 0;
    for (const struct flow &sink : sinks) {
        sum += sink.sum;
    }
    int64_t sent = producers * share;
    bnx_bench_require(sum == sent * (sent - 1) / 2, "channel flow");
    bnx_chan_destroy(chan);
}

static void BM_ChanSpsc(benchmark::State &state) {
    bnx_bench_run_workers(state.range(0), [&] {
        while (state.KeepRunningBatch(items_per_batch)) {
            flow_batch(1, 1, ring_capacity);
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ChanSpsc)->Arg(1)->Arg(2)->UseRealTime();

static void BM_ChanMpmc(benchmark::State &state) {
    bnx_bench_run_workers(state.range(3), [&] {
        while (state.KeepRunningBatch(items_per_batch)) {
            flow_batch(state.range(0), state.range(1), static_cast<size_t>(state.range(2)));
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ChanMpmc)
    ->Args({4, 4, 0, 1})
    ->Args({4, 4, 64, 1})
    ->Args({4, 4, 128, 1})
    ->Args({4, 4, 0, 2})
    ->Args({4, 4, 64, 2})
    ->Args({4, 4, 128, 2})
    ->Args({100, 100, 64, 2})
    ->UseRealTime();

/* ---- The same with what POSIX has ---- */

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    std::vector<int64_t> items;
    size_t first;
    size_t count;
};

static void ring_send(struct ring *ring, int64_t item) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->count == ring_capacity) {
        pthread_cond_wait(&ring->not_full, &ring->mutex);
    }
    ring->items[(ring->first + ring->count) % ring_capacity] = item;
    bool was_empty = ring->count++ == 0;
    pthread_mutex_unlock(&ring->mutex);
    if (was_empty) {
        pthread_cond_signal(&ring->not_empty);
    }
}

static int64_t ring_recv(struct ring *ring) {
    pthread_mutex_lock(&ring->mutex);
    while (ring->count == 0) {
        pthread_cond_wait(&ring->not_empty, &ring->mutex);
    }
    int64_t item = ring->items[ring->first];
    ring->first = (ring->first + 1) % ring_capacity;
    bool was_full = ring->count-- == ring_capacity;
    pthread_mutex_unlock(&ring->mutex);
    if (was_full) {
        pthread_cond_signal(&ring->not_full);
    }
    return item;
}

static void *ring_produce(void *arg) {
    for (int64_t i = 0; i < items_per_batch; i++) {
        ring_send(static_cast<struct ring *>(arg), i);
    }
    return nullptr;
}

static void BM_PthreadRing(benchmark::State &state) {
    struct ring ring = {PTHREAD_MUTEX_INITIALIZER,
                        PTHREAD_COND_INITIALIZER,
                        PTHREAD_COND_INITIALIZER,
                        std::vector<int64_t>(ring_capacity),
                        0,
                        0};
    while (state.KeepRunningBatch(items_per_batch)) {
        pthread_t producer;
        bnx_bench_require(pthread_create(&producer, nullptr, ring_produce, &ring) == 0,
                          "pthread_create");
        int64_t sum = 0;
        for (int64_t i = 0; i < items_per_batch; i++) {
            sum += ring_recv(&ring);
        }
        pthread_join(producer, nullptr);
        bnx_bench_require(sum == items_per_batch * (items_per_batch - 1) / 2, "BM_PthreadRing");
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PthreadRing)->UseRealTime();

/* ---- Select ---- */

struct choice {
    std::vector<struct bnx_chan *> chans;
    int64_t rounds;
    int64_t received;
};

static int send_round_robin(void *arg) {
    struct choice *choice = static_cast<struct choice *>(arg);
    for (int64_t i = 0; i < choice->rounds; i++) {
        size_t at = static_cast<size_t>(i) % choice->chans.size();
        int error = bnx_chan_send(choice->chans[at], &i);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int receive_any(void *arg) {
    struct choice *choice = static_cast<struct choice *>(arg);
    int64_t item = 0;
    std::vector<struct bnx_case> cases;
    for (struct bnx_chan *chan : choice->chans) {
        cases.push_back(BNX_CASE_RECV(chan, &item));
    }
    for (int64_t i = 0; i < choice->rounds; i++) {
        int index = bnx_select(cases.data(), static_cast<int>(cases.size()), 0);
        if (index < 0 || item != i) {
            return -EIO;
        }
        choice->received++;
    }
    return 0;
}

static void BM_Select(benchmark::State &state) {
    bnx_bench_run_workers(1, [&] {
        while (state.KeepRunningBatch(items_per_batch)) {
            struct choice choice = {{}, items_per_batch, 0};
            for (int64_t i = 0; i < state.range(0); i++) {
                choice.chans.push_back(make_chan(0));
            }
            bnx_bench_scope scope;
            scope.spawn(receive_any, &choice);
            scope.spawn(send_round_robin, &choice);
            scope.close();
            bnx_bench_require(choice.received == items_per_batch, "BM_Select");
            for (struct bnx_chan *chan : choice.chans) {
                bnx_chan_destroy(chan);
            }
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Select)->Arg(1)->Arg(2)->Arg(8)->Arg(64)->UseRealTime();
