/* SPDX-License-Identifier: MIT */
/*
 * The hottest paths, each run twice under callgrind: counts.py counts their instructions so.
 *
 *     paths            runs all of them
 *     paths NAME ...   these alone; to look at one with callgrind_annotate
 *
 * Each path is run ROUNDS times and then twice as often, with a dump of callgrind's counters after
 * either, which names the path and the rounds. The difference of the two is ROUNDS operations, and
 * nothing of what comes before and after them.
 *
 * The counts repeat because the machine does: one worker, which never steals; a fixed seed; no
 * watchdog; and a clock that goes CLOCK_STEP_NS forward at each look, for how often the scheduler
 * polls depends on time. The driver is epoll, what it says to the kernel is not counted.
 *
 * Without valgrind the program does the same and checks the same sums, only nothing is counted.
 */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <bonxie/bonxie.h>
#include <bonxie/net.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

/* Above all that comes once in so many operations: polls, and a batch of stacks. */
#define ROUNDS UINT64_C(4096)
/* A look at the clock comes once in 16 switches, of 16 to 30 ns each. */
#define CLOCK_STEP_NS 500
/* About what a look costs outside of valgrind, where it is no system call: an added one must show.
 */
#define CLOCK_LOOK_STEPS 20
#define BUFFERED_ITEMS 1024
#define TIMER_AFTER_NS (3600 * BNX_NS_PER_S)
#define MESSAGE_BYTES 64

static void require(bool is_right, const char *what) {
    if (!is_right) {
        fprintf(stderr, "paths: %s: wrong result\n", what);
        _exit(1); /* from whatever stack this is */
    }
}

/* ---- The clock ---- */

static uint64_t clock_ns = BNX_NS_PER_S;
static uint64_t clock_step_ns; /* 0 until the first task runs: what starts beside it looks too */

static uint64_t clock_now(void) {
    for (int i = 0; i < CLOCK_LOOK_STEPS; i++) {
        __asm__ volatile("");
    }
    return bnx_fetch_add_relaxed(&clock_ns, clock_step_ns); /* one thread, once it goes */
}

/* ---- The paths; each makes `count` operations ---- */

static void open_scope(struct bnx_scope *scope) {
    require(bnx_scope_open(scope, NULL) == 0, "bnx_scope_open");
}

static void close_scope(struct bnx_scope *scope) {
    require(bnx_scope_close(scope) == 0, "bnx_scope_close");
}

static int yield_often(void *arg) {
    for (uint64_t i = *(uint64_t *)arg; i > 0; i--) {
        bnx_yield();
    }
    return 0;
}

/* Two tasks in turn, half of the yields each. */
static void run_yield(uint64_t count) {
    uint64_t half = count / 2;
    struct bnx_scope scope;
    open_scope(&scope);
    require(bnx_spawn(&scope, yield_often, &half) == 0, "bnx_spawn");
    require(bnx_spawn(&scope, yield_often, &half) == 0, "bnx_spawn");
    close_scope(&scope);
}

static int add_one(void *arg) {
    ++*(uint64_t *)arg;
    return 0;
}

static void run_spawn_join(uint64_t count) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct bnx_scope scope;
        int error = bnx_scope_open(&scope, NULL);
        error |= bnx_spawn(&scope, add_one, &sum);
        error |= bnx_scope_close(&scope);
        require(error == 0, "bnx_spawn");
    }
    require(sum == count, "spawn_join");
}

static void run_fork(uint64_t count) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct bnx_fork fork;
        int error = bnx_fork(&fork, add_one, &sum);
        error |= bnx_fork_join(&fork);
        require(error == 0, "bnx_fork");
    }
    require(sum == count, "fork");
}

static void run_scope(uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        struct bnx_scope scope;
        int error = bnx_scope_open(&scope, NULL);
        error |= bnx_scope_close(&scope);
        require(error == 0, "bnx_scope_open");
    }
}

#define FUTURES 4
static struct bnx_future *futures[FUTURES]; /* future i, while it is needed, at i % FUTURES */

struct relay {
    uint64_t first; /* index */
    uint64_t count; /* of futures that two tasks set in turn */
};

static void make_future(uint64_t index) {
    require(bnx_future_create(&futures[index % FUTURES]) == 0, "bnx_future_create");
}

/* Awaits every second future from the first on, drops it, makes the next that it will await, and
 * sets the one between, in which the other task waits. */
static int await_and_set(void *arg) {
    const struct relay *relay = arg;
    for (uint64_t i = relay->first; i < relay->count; i += 2) {
        void *value = NULL;
        int error = bnx_future_await(futures[i % FUTURES], &value);
        bnx_future_unref(futures[i % FUTURES]);
        if (i + 2 < relay->count) {
            make_future(i + 2);
        }
        if (i + 1 < relay->count) {
            error |= bnx_future_set(futures[(i + 1) % FUTURES], value);
        }
        require(error == 0 && value == (void *)futures, "bnx_future_await");
    }
    return 0;
}

static void run_future(uint64_t count) {
    struct relay even = {0, count};
    struct relay odd = {1, count};
    make_future(0);
    make_future(1);
    struct bnx_scope scope;
    open_scope(&scope);
    require(bnx_spawn(&scope, await_and_set, &odd) == 0, "bnx_spawn");
    bnx_yield();
    require(bnx_future_set(futures[0], (void *)futures) == 0, "bnx_future_set");
    require(await_and_set(&even) == 0, "await_and_set");
    close_scope(&scope);
}

struct flow {
    struct bnx_chan *to;
    struct bnx_chan *back; /* NULL: no answers */
    uint64_t count;        /* of items sent */
};

static int send_items(void *arg) {
    const struct flow *flow = arg;
    for (uint64_t i = 0; i < flow->count; i++) {
        uint64_t answer = i;
        int error = bnx_chan_send(flow->to, &i);
        if (flow->back != NULL) {
            error |= bnx_chan_recv(flow->back, &answer);
        }
        require(error == 0 && answer == i, "bnx_chan_send");
    }
    return 0;
}

static int recv_items(void *arg) {
    const struct flow *flow = arg;
    for (uint64_t i = 0; i < flow->count; i++) {
        uint64_t item = 0;
        int error = bnx_chan_recv(flow->to, &item);
        if (flow->back != NULL) {
            error |= bnx_chan_send(flow->back, &item);
        }
        require(error == 0 && item == i, "bnx_chan_recv");
    }
    return 0;
}

static void run_flow(struct flow *flow) {
    struct bnx_scope scope;
    open_scope(&scope);
    require(bnx_spawn(&scope, send_items, flow) == 0, "bnx_spawn");
    require(bnx_spawn(&scope, recv_items, flow) == 0, "bnx_spawn");
    close_scope(&scope);
    bnx_chan_destroy(flow->to);
    bnx_chan_destroy(flow->back);
}

static struct bnx_chan *make_chan(size_t capacity) {
    struct bnx_chan *chan = NULL;
    require(bnx_chan_create(sizeof(uint64_t), capacity, &chan) == 0, "bnx_chan_create");
    return chan;
}

static void run_chan_hop(uint64_t count) {
    struct flow flow = {make_chan(0), make_chan(0), count / 2};
    run_flow(&flow);
}

static void run_chan_spsc(uint64_t count) {
    struct flow flow = {make_chan(BUFFERED_ITEMS), NULL, count};
    run_flow(&flow);
}

static void run_mutex(uint64_t count) {
    struct bnx_mutex mutex;
    bnx_mutex_init(&mutex);
    for (uint64_t i = 0; i < count; i++) {
        require(bnx_mutex_lock(&mutex) == 0, "bnx_mutex_lock");
        bnx_mutex_unlock(&mutex);
    }
}

static int count_up(struct bnx_gen *gen, void *arg) {
    int error = 0;
    for (uintptr_t n = (uintptr_t)arg; error >= 0; n++) {
        error = bnx_gen_yield(gen, (void *)n, NULL);
    }
    return error;
}

static void run_gen_next(uint64_t count) {
    struct bnx_gen *gen = NULL;
    require(bnx_gen_create(&gen, count_up, NULL, NULL) == 0, "bnx_gen_create");
    for (uint64_t i = 0; i < count; i++) {
        void *value = NULL;
        require(bnx_gen_next(gen, &value) == 1 && (uintptr_t)value == i, "bnx_gen_next");
    }
    bnx_gen_destroy(gen);
}

/* What a deadline costs that does not come. */
static void run_timer(uint64_t count) {
    struct bnx_worker *worker = bnx_worker_current();
    uint64_t deadline_ns = worker->now_ns + TIMER_AFTER_NS;
    for (uint64_t i = 0; i < count; i++) {
        struct bnx_timer_node *node = bnx_timer_node_take(worker);
        require(node != NULL, "bnx_timer_node_take");
        /* The sequence of a wait that is over: were it to fire, nobody would be woken. */
        bnx_timer_node_start(worker, node, BNX_TIMER_WAKE, worker->current, 0, deadline_ns);
        bnx_timer_node_end(worker, node);
    }
    require(bnx_wheel_next_ns(&worker->wheel) == BNX_NEVER_NS, "timer");
}

struct pair {
    struct bnx_sem mine;
    struct bnx_sem other;
    uint64_t count; /* of rounds */
};

static int hand_back(void *arg) {
    struct pair *pair = arg;
    for (uint64_t i = 0; i < pair->count; i++) {
        int error = bnx_sem_acquire(&pair->other);
        error |= bnx_sem_release(&pair->mine);
        require(error == 0, "bnx_sem_acquire");
    }
    return 0;
}

static void run_sem_hop(uint64_t count) {
    struct pair pair = {.count = count / 2};
    bnx_sem_init(&pair.mine, 0);
    bnx_sem_init(&pair.other, 0);
    struct bnx_scope scope;
    open_scope(&scope);
    require(bnx_spawn(&scope, hand_back, &pair) == 0, "bnx_spawn");
    for (uint64_t i = 0; i < pair.count; i++) {
        int error = bnx_sem_release(&pair.other);
        error |= bnx_sem_acquire(&pair.mine);
        require(error == 0, "bnx_sem_acquire");
    }
    close_scope(&scope);
}

/* A message that is there: neither call waits. */
static void run_send_recv(uint64_t count) {
    int fds[2];
    char message[MESSAGE_BYTES] = "";
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0, "socketpair");
    for (uint64_t i = 0; i < count; i++) {
        ssize_t sent = bnx_send(fds[0], message, sizeof(message), 0);
        ssize_t got = bnx_recv(fds[1], message, sizeof(message), 0);
        require(sent == MESSAGE_BYTES && got == MESSAGE_BYTES, "bnx_recv");
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

/* ---- The runs ---- */

static const struct path {
    const char *name;
    void (*run)(uint64_t count);
} paths[] = {
    {"yield", run_yield},         {"spawn_join", run_spawn_join}, {"fork", run_fork},
    {"scope", run_scope},         {"future", run_future},         {"chan_hop", run_chan_hop},
    {"chan_spsc", run_chan_spsc}, {"mutex", run_mutex},           {"gen_next", run_gen_next},
    {"timer", run_timer},         {"sem_hop", run_sem_hop},       {"send_recv", run_send_recv},
};

/* The first run fills caches and maps memory. A dump sets the counters to 0. */
static void count(const struct path *path) {
    path->run(ROUNDS);
    CALLGRIND_DUMP_STATS_AT("before");
    for (uint64_t rounds = ROUNDS; rounds <= 2 * ROUNDS; rounds *= 2) {
        char label[64];
        snprintf(label, sizeof(label), "%s %llu", path->name, (unsigned long long)rounds);
        path->run(rounds);
        CALLGRIND_DUMP_STATS_AT(label);
    }
}

/* Posted by the last task: a wait of the library's own looks at the clock now and then. */
static sem_t is_over;

/* @param arg the names that were asked for, NULL after the last. */
static int count_chosen(void *arg) {
    char **names = arg;
    clock_step_ns = CLOCK_STEP_NS;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(paths); i++) {
        bool is_chosen = *names == NULL;
        for (char **name = names; *name != NULL; name++) {
            is_chosen |= strcmp(*name, paths[i].name) == 0;
        }
        if (is_chosen) {
            count(&paths[i]);
        }
    }
    (void)sem_post(&is_over);
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    struct bnx_options options = {
        .worker_count = 1,
        .driver = BNX_DRIVER_EPOLL,
        .seed = 1,
        .flags = BNX_NO_WATCHDOG | BNX_NO_RESCUE | BNX_NO_AFFINITY,
    };
    struct bnx_runtime *runtime = NULL;
    bnx_os.clock_now = clock_now;
    require(sem_init(&is_over, 0, 0) == 0, "sem_init");
    require(bnx_runtime_create(&options, &runtime) == 0, "bnx_runtime_create");
    require(bnx_runtime_spawn(runtime, count_chosen, argv + 1, NULL) == 0, "bnx_runtime_spawn");
    require(sem_wait(&is_over) == 0, "sem_wait");
    require(bnx_runtime_stop(runtime) == 0, "bnx_runtime_stop");
    require(bnx_runtime_wait(runtime, BNX_NEVER_NS) == 0, "bnx_runtime_wait");
    require(bnx_runtime_destroy(runtime) == 0, "bnx_runtime_destroy");
    return 0;
}
