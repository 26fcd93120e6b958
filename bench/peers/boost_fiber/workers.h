/* SPDX-License-Identifier: MIT */
/* Threads that share their fibers, and stacks for those. */
#ifndef BNX_BENCH_PEERS_BOOST_FIBER_WORKERS_H
#define BNX_BENCH_PEERS_BOOST_FIBER_WORKERS_H

#include "bench/peers/peer.h"

#include <boost/fiber/all.hpp>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <utility>
#include <vector>

namespace fibers = boost::fibers;

/*
 * Stacks of 64 KiB, kept when their fiber ends. Boost's own pool is for one thread, and a stack of
 * fixedsize_stack comes from malloc each time. Never inlined: a fiber may be in another thread
 * after the next suspension, where the address of a thread_local is another one.
 */
class cached_stack {
  public:
    __attribute__((noinline)) boost::context::stack_context allocate() {
        struct node *stack = cached;
        if (stack != nullptr) {
            cached = stack->next;
        } else {
            stack = static_cast<struct node *>(std::malloc(bytes));
            peer_require(stack != nullptr, "malloc");
        }
        boost::context::stack_context context;
        context.size = bytes;
        context.sp = reinterpret_cast<char *>(stack) + bytes;
        return context;
    }

    __attribute__((noinline)) void deallocate(boost::context::stack_context &context) {
        char *begin = static_cast<char *>(context.sp) - bytes;
        struct node *stack = reinterpret_cast<struct node *>(begin);
        stack->next = cached;
        cached = stack;
    }

  private:
    struct node {
        struct node *next;
    };
    static const std::size_t bytes = 64 * 1024;
    static thread_local struct node *cached;
};

/* A fiber that runs at once; its spawner goes on when it waits or ends. */
template <class Fn> fibers::fiber spawn_now(Fn fn) {
    return fibers::fiber(fibers::launch::dispatch, std::allocator_arg, cached_stack(),
                         std::move(fn));
}

/* A fiber that is put into the queue. */
template <class Fn> fibers::fiber spawn_later(Fn fn) {
    return fibers::fiber(fibers::launch::post, std::allocator_arg, cached_stack(), std::move(fn));
}

/*
 * What a thread without fibers does. On the rows in which fibers wait for each other a thread that
 * spins costs the others up to ten times as much; where the work branches, one that has to be woken
 * comes too late: fib takes ten times as long.
 */
enum class idle_thread { sleeps, spins };

/* Returns when all threads have come so far: a thread steals from those that are to be there. */
class sharing_threads {
  public:
    sharing_threads(unsigned workers, idle_thread when_idle) : count(workers), idle(when_idle) {
        peer_require(pthread_barrier_init(&all_here, nullptr, workers) == 0, "a barrier");
    }

    void join() {
        bool sleeps = idle == idle_thread::sleeps;
        fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count, sleeps);
        pthread_barrier_wait(&all_here);
    }

  private:
    unsigned count;
    idle_thread idle;
    pthread_barrier_t all_here;
};

/* Calls body() in this thread's main fiber; workers - 1 more threads run its fibers as well. */
template <class Body> void run_workers(unsigned workers, idle_thread idle, Body body) {
    if (workers == 1) {
        body(); /* with the default scheduler, round_robin */
        return;
    }
    sharing_threads all(workers, idle);
    fibers::mutex mutex;
    fibers::condition_variable ended;
    bool has_ended = false;
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < workers; i++) {
        threads.emplace_back([&] {
            all.join();
            std::unique_lock<fibers::mutex> lock(mutex);
            ended.wait(lock, [&] { return has_ended; });
        });
    }
    all.join();
    body();
    {
        std::unique_lock<fibers::mutex> lock(mutex);
        has_ended = true;
    }
    ended.notify_all();
    for (std::thread &thread : threads) {
        thread.join();
    }
}

/* peer_measure for a batch that is a lambda. */
template <class Batch> void measure(const struct peer_run *run, Batch batch) {
    peer_measure(
        run, [](void *arg, uint64_t rounds) { return (*static_cast<Batch *>(arg))(rounds); },
        &batch);
}

template <class Batch>
void measure_on_workers(const struct peer_run *run, idle_thread idle, Batch batch) {
    run_workers(run->workers, idle, [&] { measure(run, batch); });
}

#endif
