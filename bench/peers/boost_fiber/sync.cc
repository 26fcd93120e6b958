/* SPDX-License-Identifier: MIT */
/* Channels, mutexes, and what goes from one thread to the other. There is no semaphore. */
#include "bench/peers/boost_fiber/rows.h"
#include "bench/peers/boost_fiber/workers.h"

#include <vector>

static const uint64_t hops_per_round = 1000;
static const uint64_t items_per_round = 8000;
static const uint64_t producers = 4;
static const uint64_t consumers = 4;
static const uint64_t room = 128; /* a buffered_channel holds one less */
static const uint64_t sections_per_round = 1600;
static const uint64_t wakes_per_round = 100;

using unbuffered = fibers::unbuffered_channel<uint64_t>;
using buffered = fibers::buffered_channel<uint64_t>;

static void require_success(fibers::channel_op_status status) {
    peer_require(status == fibers::channel_op_status::success, "a channel");
}

/* ---- Channels ---- */

static void answer(unbuffered &there, unbuffered &back) {
    uint64_t item;
    while (there.pop(item) == fibers::channel_op_status::success) { /* until it is closed */
        require_success(back.push(item));
    }
}

static uint64_t ask(unbuffered &there, unbuffered &back, uint64_t throws) {
    uint64_t sum = 0;
    uint64_t item = 0;
    for (uint64_t i = 0; i < throws; i++) {
        require_success(there.push(i));
        require_success(back.pop(item));
        sum += item;
    }
    return sum;
}

void run_chan_hop(const struct peer_run *run) {
    measure_on_workers(run, idle_thread::sleeps, [](uint64_t rounds) {
        uint64_t throws = rounds * hops_per_round / 2;
        uint64_t sum = 0;
        unbuffered there;
        unbuffered back;
        fibers::fiber pong = spawn_later([&] { answer(there, back); });
        fibers::fiber ping = spawn_later([&] {
            sum = ask(there, back, throws);
            there.close();
        });
        ping.join();
        pong.join();
        return peer_work{2 * throws, sum, peer_sum_below(throws)};
    });
}

static uint64_t consume(buffered &channel) {
    uint64_t sum = 0;
    uint64_t item;
    while (channel.pop(item) == fibers::channel_op_status::success) { /* until it is closed */
        sum += item;
    }
    return sum;
}

void run_mpmc(const struct peer_run *run) {
    measure_on_workers(run, idle_thread::sleeps, [](uint64_t rounds) {
        uint64_t items = rounds * items_per_round;
        buffered channel(room);
        uint64_t sums[consumers];
        fibers::fiber sinks[consumers];
        fibers::fiber sources[producers];
        for (uint64_t i = 0; i < consumers; i++) {
            sinks[i] = spawn_later([&channel, sum = &sums[i]] { *sum = consume(channel); });
        }
        for (uint64_t i = 0; i < producers; i++) {
            sources[i] = spawn_later([&channel, items, i] {
                uint64_t end = (i + 1) * items / producers;
                for (uint64_t item = i * items / producers; item < end; item++) {
                    require_success(channel.push(item));
                }
            });
        }
        for (fibers::fiber &source : sources) {
            source.join();
        }
        channel.close();
        struct peer_work work = {items, 0, peer_sum_below(items)};
        for (uint64_t i = 0; i < consumers; i++) {
            sinks[i].join();
            work.checksum += sums[i];
        }
        return work;
    });
}

/* ---- Mutex ---- */

void run_mutex_1(const struct peer_run *run) {
    measure_on_workers(run, idle_thread::sleeps, [](uint64_t rounds) {
        uint64_t sections = rounds * sections_per_round;
        uint64_t count = 0;
        fibers::mutex mutex;
        for (uint64_t i = 0; i < sections; i++) {
            mutex.lock();
            count++;
            mutex.unlock();
        }
        return peer_work{sections, count, sections};
    });
}

static void run_crowd(const struct peer_run *run, uint64_t tasks_count, bool yields) {
    measure_on_workers(run, idle_thread::sleeps, [=](uint64_t rounds) {
        uint64_t share = rounds * sections_per_round / tasks_count;
        uint64_t count = 0;
        fibers::mutex mutex;
        std::vector<fibers::fiber> tasks(tasks_count);
        for (fibers::fiber &task : tasks) {
            task = spawn_later([&mutex, &count, share, yields] {
                for (uint64_t i = 0; i < share; i++) {
                    mutex.lock();
                    uint64_t before = count;
                    if (yields) {
                        boost::this_fiber::yield();
                    }
                    count = before + 1;
                    mutex.unlock();
                }
            });
        }
        for (fibers::fiber &task : tasks) {
            task.join();
        }
        return peer_work{share * tasks_count, count, share * tasks_count};
    });
}

void run_mutex_16(const struct peer_run *run) {
    run_crowd(run, 16, false);
}

void run_mutex_yield(const struct peer_run *run) {
    run_crowd(run, 4, true);
}

/* ---- From thread to thread ---- */

/* The main fibers of two threads, which no other thread takes over. */
template <class Near, class Far>
static void run_ends(idle_thread idle, Near near_end, Far far_end) {
    sharing_threads both(2, idle);
    std::thread thread([&] {
        both.join();
        far_end();
    });
    both.join();
    near_end();
    thread.join();
}

void run_bounce(const struct peer_run *run) {
    unbuffered there;
    unbuffered back;
    run_ends(
        idle_thread::sleeps,
        [&] {
            measure(run, [&](uint64_t rounds) {
                uint64_t throws = rounds * wakes_per_round / 2;
                return peer_work{2 * throws, ask(there, back, throws), peer_sum_below(throws)};
            });
            there.close();
        },
        [&] { answer(there, back); });
}

/* One batch of wakes: each promise is kept once. */
struct game {
    explicit game(uint64_t pairs) : pings(pairs), pongs(pairs) {
    }

    std::vector<fibers::promise<void>> pings;
    std::vector<fibers::promise<void>> pongs;
};

static uint64_t wake_and_wait(struct game &game) {
    uint64_t count = 0;
    for (size_t i = 0; i < game.pings.size(); i++) {
        fibers::future<void> pong = game.pongs[i].get_future();
        game.pings[i].set_value();
        pong.get();
        count += 2;
    }
    return count;
}

static void wait_and_wake(struct game &game) {
    for (size_t i = 0; i < game.pings.size(); i++) {
        game.pings[i].get_future().get();
        game.pongs[i].set_value();
    }
}

static void run_wakes(const struct peer_run *run, idle_thread idle) {
    fibers::unbuffered_channel<struct game *> games;
    unbuffered done; /* the other end is still inside its last promise when this one wakes */
    run_ends(
        idle,
        [&] {
            measure(run, [&](uint64_t rounds) {
                uint64_t pairs = rounds * wakes_per_round / 2;
                struct game game(pairs);
                require_success(games.push(&game));
                uint64_t count = wake_and_wait(game);
                uint64_t pairs_done = 0;
                require_success(done.pop(pairs_done));
                peer_require(pairs_done == pairs, "a game");
                return peer_work{2 * pairs, count, 2 * pairs};
            });
            games.close();
        },
        [&] {
            struct game *game;
            while (games.pop(game) == fibers::channel_op_status::success) { /* until closed */
                wait_and_wake(*game);
                require_success(done.push(game->pings.size()));
            }
        });
}

void run_wake_hot(const struct peer_run *run) {
    run_wakes(run, idle_thread::spins);
}

void run_wake_parked(const struct peer_run *run) {
    run_wakes(run, idle_thread::sleeps);
}
