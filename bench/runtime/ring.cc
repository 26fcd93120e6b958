/* SPDX-License-Identifier: MIT */
/*
 * Many tasks that hand something on.
 *   BM_TaskRing/TASKS/WORKERS     a token goes round a ring of tasks, each of which waits at a
 *                                 channel of its own; one hop
 *   BM_Chameneos/WORKERS          ten creatures meet in pairs at one place, which holds one who
 *                                 waits for another; one meeting
 *   BM_SpawnStorm/THREADS/WORKERS so many OS threads spawn into one runtime; one task, from the
 *                                 first spawn to the end of the last task
 */
#include "bench/runtime/harness.h"

#include <cerrno>
#include <thread>
#include <vector>

/* ---- The ring ---- */

static const int64_t hops_per_batch = 100000;

struct seat {
    struct bnx_chan *from;
    struct bnx_chan *to;
    struct bnx_chan *finish; /* for who has the token when its hops are used up */
    int64_t hops;
};

static int hand_on(void *arg) {
    struct seat *seat = static_cast<struct seat *>(arg);
    int64_t hops_left;
    int error;
    while ((error = bnx_chan_recv(seat->from, &hops_left)) == 0) { /* until it is closed */
        seat->hops++;
        hops_left--;
        error = bnx_chan_send(hops_left == 0 ? seat->finish : seat->to, &hops_left);
        if (error != 0) {
            return error;
        }
    }
    return error == -ENODATA ? 0 : error;
}

/* Room for one: who hands on does not wait. */
static struct bnx_chan *make_slot() {
    struct bnx_chan *chan = nullptr;
    bnx_bench_require(bnx_chan_create(sizeof(int64_t), 1, &chan) == 0, "bnx_chan_create");
    return chan;
}

static void send_round(struct bnx_chan *start, struct bnx_chan *finish) {
    int64_t hops = hops_per_batch;
    bnx_bench_require(bnx_chan_send(start, &hops) == 0 && bnx_chan_recv(finish, &hops) == 0 &&
                          hops == 0,
                      "token");
}

static void run_ring(benchmark::State &state) {
    std::vector<struct seat> seats(static_cast<size_t>(state.range(0)));
    struct bnx_chan *finish = make_slot();
    for (struct seat &seat : seats) {
        seat = {make_slot(), nullptr, finish, 0};
    }
    bnx_bench_scope scope;
    for (size_t i = 0; i < seats.size(); i++) {
        seats[i].to = seats[(i + 1) % seats.size()].from;
        scope.spawn(hand_on, &seats[i]);
    }
    int64_t rounds = 1;
    send_round(seats[0].from, finish); /* every task has begun, on a stack of its own */
    while (state.KeepRunningBatch(hops_per_batch)) {
        send_round(seats[0].from, finish);
        rounds++;
    }
    for (const struct seat &seat : seats) {
        bnx_chan_close(seat.from);
    }
    scope.close();
    int64_t hops = 0;
    for (const struct seat &seat : seats) {
        hops += seat.hops;
        bnx_chan_destroy(seat.from);
    }
    bnx_chan_destroy(finish);
    bnx_bench_require(hops == rounds * hops_per_batch, "BM_TaskRing");
}

static void BM_TaskRing(benchmark::State &state) {
    struct bnx_options options = {};
    options.worker_count = static_cast<uint32_t>(state.range(1));
    options.stack = BNX_STACK_64K;
    bnx_bench_run(options, [&] { run_ring(state); });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TaskRing)->Args({10000, 1})->Args({10000, 2})->UseRealTime();

/* ---- Chameneos ---- */

static const int colours = 3;
static const int64_t meetings_per_batch = 50000;

struct creature;

struct meeting_place {
    struct bnx_mutex mutex;
    struct creature *waiting; /* under the mutex, as the next */
    int64_t meetings_left;
};

struct creature {
    struct meeting_place *place;
    struct bnx_sem met; /* released by who came second */
    int id;
    int colour; /* of one who waits: written by who came second */
    int64_t meetings;
    int64_t alone; /* with itself: none */
};

/* Two of one colour keep it, two of different ones become the third. */
static int colour_after(int one, int other) {
    return one == other ? one : colours - one - other;
}

/* Meets another one. Returns 1; 0 when all meetings are over; a negative errno. */
static int meet(struct creature *self) {
    struct meeting_place *place = self->place;
    int error = bnx_mutex_lock(&place->mutex);
    if (error < 0) {
        return error;
    }
    if (place->meetings_left == 0) {
        bnx_mutex_unlock(&place->mutex);
        return 0;
    }
    struct creature *other = place->waiting;
    if (other == nullptr) {
        place->waiting = self;
        bnx_mutex_unlock(&place->mutex);
        error = bnx_sem_acquire(&self->met);
    } else {
        place->waiting = nullptr;
        place->meetings_left--;
        bnx_mutex_unlock(&place->mutex);
        self->alone += other->id == self->id;
        self->colour = other->colour = colour_after(self->colour, other->colour);
        error = bnx_sem_release(&other->met);
    }
    self->meetings++;
    return error < 0 ? error : 1;
}

static int live(void *arg) {
    struct creature *self = static_cast<struct creature *>(arg);
    int result;
    do { /* ends with the meetings */
        result = meet(self);
    } while (result > 0);
    return result;
}

static void BM_Chameneos(benchmark::State &state) {
    const int first_colours[] = {0, 1, 2, 1, 2, 0, 1, 2, 1, 0};
    struct creature creatures[10];
    bnx_bench_run_workers(state.range(0), [&] {
        while (state.KeepRunningBatch(meetings_per_batch)) {
            struct meeting_place place = {BNX_MUTEX_INIT, nullptr, meetings_per_batch};
            bnx_bench_scope scope;
            for (int i = 0; i < 10; i++) {
                creatures[i] = {&place, BNX_SEM_INIT(0), i, first_colours[i], 0, 0};
                scope.spawn(live, &creatures[i]);
            }
            scope.close();
            int64_t meetings = 0, alone = 0;
            for (const struct creature &creature : creatures) {
                meetings += creature.meetings;
                alone += creature.alone;
            }
            bnx_bench_require(meetings == 2 * meetings_per_batch && alone == 0, "BM_Chameneos");
        }
    });
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Chameneos)->Arg(1)->Arg(2)->UseRealTime();

/* ---- Spawns from outside ---- */

static const int64_t storm_per_batch = 100000;

static int count_arrival(void *arg) {
    __atomic_fetch_add(static_cast<int64_t *>(arg), 1, __ATOMIC_RELAXED);
    return 0;
}

static void spawn_share(struct bnx_runtime *runtime, int64_t share, int64_t *count) {
    for (int64_t i = 0; i < share; i++) {
        bnx_bench_require(bnx_runtime_spawn(runtime, count_arrival, count, nullptr) == 0,
                          "bnx_runtime_spawn");
    }
}

static void BM_SpawnStorm(benchmark::State &state) {
    struct bnx_options options = {};
    struct bnx_runtime *runtime = nullptr;
    options.worker_count = static_cast<uint32_t>(state.range(1));
    bnx_bench_require(bnx_runtime_create(&options, &runtime) == 0, "bnx_runtime_create");
    const int64_t share = storm_per_batch / state.range(0);
    while (state.KeepRunningBatch(storm_per_batch)) {
        int64_t count = 0;
        std::vector<std::thread> threads;
        for (int64_t i = 0; i < state.range(0); i++) {
            threads.emplace_back(spawn_share, runtime, share, &count);
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
        bnx_bench_require(bnx_runtime_wait(runtime, UINT64_MAX) == 0, "bnx_runtime_wait");
        bnx_bench_require(count == storm_per_batch, "BM_SpawnStorm");
    }
    bnx_bench_require(bnx_runtime_destroy(runtime) == 0, "bnx_runtime_destroy");
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SpawnStorm)->Args({2, 1})->Args({2, 2})->UseRealTime();
