/* SPDX-License-Identifier: MIT */
/*
 * What the machine and libc can do without a scheduler: the limits that other rows are read by.
 *   BM_BareFlag         one way of a message between two threads that spin on a word
 *   BM_BareFutex        the same through futexes, each thread asleep while it waits
 *                       Both with each thread on a CPU of its own, where two workers mostly are:
 *                       left alone, the kernel soon puts two that wake each other on one CPU, where
 *                       a futex takes 2.6 us, since nothing has to wake a CPU, and not 15
 *   BM_BareSwapcontext  one switch by swapcontext(3), with its system call for the signal mask
 */
#include "bench/runtime/harness.h"

#include <climits>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <thread>
#include <ucontext.h>
#include <vector>

static const int64_t rounds_per_batch = 2000;
/* A spinning thread gives way after so many looks: both may be on one CPU. */
static const int looks_per_yield = 10000;

/* One way of a ball between two threads: word counts the strokes. */
struct ball {
    alignas(128) uint32_t word;
    void (*wait)(uint32_t *word, uint32_t until);
    void (*hit)(uint32_t *word, uint32_t value);
};

static void spin_until(uint32_t *word, uint32_t until) {
    for (int looks = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != until; looks++) {
        if (looks % looks_per_yield == 0) {
            sched_yield();
        }
    }
}

static void store(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static void sleep_until(uint32_t *word, uint32_t until) {
    uint32_t seen;
    while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != until) {
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }
}

static void store_and_wake(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

/* Strokes first, first + 2, ...: the caller makes them, somebody else those between. */
static void play(struct ball *ball, uint32_t first) {
    for (uint32_t i = 0; i < rounds_per_batch; i++) {
        ball->wait(&ball->word, first + 2 * i);
        ball->hit(&ball->word, first + 2 * i + 1);
    }
}

/* Puts the thread on one of the CPUs that it may use, the first or the second. */
static void take_cpu(const cpu_set_t &allowed, int which) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && static_cast<int>(seen++) == which) {
            CPU_SET(cpu, &set);
        }
    }
    if (CPU_COUNT(&set) == 1) { /* else there is one CPU for both */
        bnx_bench_require(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
    }
}

static void play_batches(benchmark::State &state, struct ball *ball) {
    cpu_set_t allowed;
    bnx_bench_require(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity");
    take_cpu(allowed, 0);
    while (state.KeepRunningBatch(2 * rounds_per_batch)) {
        ball->word = UINT32_MAX;
        std::thread other([ball, &allowed] {
            take_cpu(allowed, 1);
            play(ball, 1);
        });
        store(&ball->word, 0);
        play(ball, 0);
        other.join();
        bnx_bench_require(ball->word == 2 * rounds_per_batch, "ball");
    }
    bnx_bench_require(sched_setaffinity(0, sizeof(allowed), &allowed) == 0, "sched_setaffinity");
    state.SetItemsProcessed(state.iterations());
}

static void BM_BareFlag(benchmark::State &state) {
    struct ball ball = {0, spin_until, store};
    play_batches(state, &ball);
}
BENCHMARK(BM_BareFlag)->UseRealTime();

static void BM_BareFutex(benchmark::State &state) {
    struct ball ball = {0, sleep_until, store_and_wake};
    play_batches(state, &ball);
}
BENCHMARK(BM_BareFutex)->UseRealTime();

static ucontext_t here;
static ucontext_t there;
static int64_t visits; /* swapcontext is opaque: the compiler keeps no copy over it */

static void second_stack() {
    for (;;) { /* ends: nobody comes back */
        visits++;
        swapcontext(&there, &here);
    }
}

static void BM_BareSwapcontext(benchmark::State &state) {
    std::vector<char> stack(65536);
    bnx_bench_require(getcontext(&there) == 0, "getcontext");
    there.uc_stack.ss_sp = stack.data();
    there.uc_stack.ss_size = stack.size();
    there.uc_link = nullptr;
    makecontext(&there, second_stack, 0);
    while (state.KeepRunningBatch(2 * rounds_per_batch)) {
        visits = 0;
        for (int64_t i = 0; i < rounds_per_batch; i++) {
            swapcontext(&here, &there);
        }
        bnx_bench_require(visits == rounds_per_batch, "BM_BareSwapcontext");
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_BareSwapcontext)->UseRealTime();
