/* SPDX-License-Identifier: MIT */
/*
 * What one operation of each hot path costs in locked instructions and in contended writes, on the
 * simulated machine (count.h): the price of more workers than this machine has CPUs. Prints a line
 * "path workers locked contended" for each; compare.py holds them against a table.
 *
 * A path is run ROUNDS times, and then twice as often; the difference of the two is ROUNDS
 * operations and nothing of what comes before and after them. It is the mean of SEEDS machines,
 * each of which interleaves the workers in its own way, the same at each run of the program. The
 * accesses of all workers count, also of those who only look for work. Nobody spins.
 */
#include "runtime/deque.h"
#include "runtime/os.h"
#include "runtime/runq.h"
#include "tests/traffic/count.h"

#include <bonxie/bonxie.h>
#include <bonxie/sim.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 1600 /* a multiple of all below */
#define SEEDS 12
#define SWITCH_ONE_IN 7 /* accesses, so long a worker runs before another one has a turn */
#define STEPS_MAX UINT64_C(2000000000)
#define BATCH 16   /* tasks in one scope */
#define YIELDERS 8 /* tasks that yield in turn */
#define RAID 8     /* items that a thief finds in a queue */
#define SENDERS 4  /* and as many receivers */
#define BUFFERED 128
#define HOUR_NS UINT64_C(3600000000000)

static void require(bool is_right, const char *what) {
    if (!is_right) {
        fprintf(stderr, "traffic_paths: %s: wrong result\n", what);
        _exit(1); /* from whatever stack this is */
    }
}

/* Shared objects lie where no other is, on whichever stack the compiler would put them. */
#define ALONE __attribute__((aligned(128)))

static void open_scope(struct bnx_scope *scope) {
    require(bnx_scope_open(scope, NULL) == 0, "bnx_scope_open");
}

static void spawn(struct bnx_scope *scope, bnx_task_fn fn, void *arg) {
    require(bnx_spawn(scope, fn, arg) == 0, "bnx_spawn");
}

static void close_scope(struct bnx_scope *scope) {
    require(bnx_scope_close(scope) == 0, "bnx_scope_close");
}

/* ---- The paths; each makes `count` operations ---- */

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

static void run_spawn(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct bnx_scope scope;
        open_scope(&scope);
        spawn(&scope, do_nothing, NULL);
        close_scope(&scope);
    }
}

static void run_spawn_batch(uint32_t count) {
    for (uint32_t i = 0; i < count; i += BATCH) {
        struct bnx_scope scope;
        open_scope(&scope);
        for (uint32_t j = 0; j < BATCH; j++) {
            spawn(&scope, do_nothing, NULL);
        }
        close_scope(&scope);
    }
}

static void run_fork(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct bnx_fork fork;
        int error = bnx_fork(&fork, do_nothing, NULL);
        require(error == 0 && bnx_fork_join(&fork) == 0, "bnx_fork");
    }
}

static int yield_often(void *arg) {
    for (uint32_t i = *(uint32_t *)arg; i > 0; i--) {
        bnx_yield();
    }
    return 0;
}

static void run_yield(uint32_t count) {
    uint32_t each = count / YIELDERS;
    struct bnx_scope scope;
    open_scope(&scope);
    for (int i = 0; i < YIELDERS; i++) {
        spawn(&scope, yield_often, &each);
    }
    close_scope(&scope);
}

/* One descriptor: worker 0 pushes it, worker 1 takes it. */
static void run_steal_one(uint32_t count) {
    static struct bnx_deque deque ALONE;
    static char item;
    if (deque.array == NULL) {
        require(bnx_deque_init(&deque, BNX_DEQUE_CAPACITY, 0) == 0, "bnx_deque_init");
    }
    for (uint32_t i = 0; i < count; i++) {
        bool lost_race = false;
        traffic_as(0);
        int error = bnx_deque_push(&deque, &item);
        traffic_as(1);
        void *stolen = bnx_deque_steal(&deque, &lost_race);
        require(error == 0 && stolen == &item && !lost_race, "bnx_deque_steal");
    }
    traffic_as(-1);
}

/* One raid: worker 0 pushes RAID items and pops what is left, worker 1 takes half and pops it. */
static void run_steal_half(uint32_t count) {
    static struct bnx_runq victim ALONE;
    static struct bnx_runq thief ALONE;
    static char item;
    bnx_runq_init(&victim, 0);
    bnx_runq_init(&thief, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t moved = 0;
        uint32_t found = 0;
        traffic_as(0);
        for (int j = 0; j < RAID; j++) {
            require(bnx_runq_push(&victim, &item), "bnx_runq_push");
        }
        traffic_as(1);
        found += bnx_runq_steal(&victim, &thief, &moved) != NULL;
        while (bnx_runq_pop(&thief) != NULL) {
            found++;
        }
        traffic_as(0);
        while (bnx_runq_pop(&victim) != NULL) {
            found++;
        }
        require(found == RAID, "bnx_runq_steal");
    }
    traffic_as(-1);
}

struct hop {
    struct bnx_sem there ALONE;
    struct bnx_sem back ALONE;
    uint32_t rounds;
};

static int hop_there(void *arg) {
    struct hop *hop = arg;
    for (uint32_t i = 0; i < hop->rounds; i++) {
        int error = bnx_sem_release(&hop->there);
        require(error == 0 && bnx_sem_acquire(&hop->back) == 0, "bnx_sem_acquire");
    }
    return 0;
}

static int hop_back(void *arg) {
    struct hop *hop = arg;
    for (uint32_t i = 0; i < hop->rounds; i++) {
        int error = bnx_sem_acquire(&hop->there);
        require(error == 0 && bnx_sem_release(&hop->back) == 0, "bnx_sem_release");
    }
    return 0;
}

static void spawn_pinned(struct bnx_scope *scope, uint32_t worker, bnx_task_fn fn, void *arg) {
    struct bnx_spawn_options options = {.worker = worker, .flags = BNX_SPAWN_PINNED};
    require(bnx_spawn_with(scope, &options, fn, arg, NULL) == 0, "bnx_spawn_with");
}

/* A task on the other worker, which sleeps, and back: half of the operations each way. */
static void run_wake(uint32_t count) {
    static struct hop hop;
    hop = (struct hop){.rounds = count / 2};
    struct bnx_scope scope;
    open_scope(&scope);
    spawn_pinned(&scope, 0, hop_there, &hop);
    spawn_pinned(&scope, 1, hop_back, &hop);
    close_scope(&scope);
}

static void run_timer(uint32_t count) {
    struct bnx_timer *timer = NULL;
    require(bnx_timer_create(&timer, NULL) == 0, "bnx_timer_create");
    for (uint32_t i = 0; i < count; i++) {
        int error = bnx_timer_start(timer, bnx_now() + HOUR_NS);
        require(error == 0 && bnx_timer_stop(timer) == 1, "bnx_timer_stop");
    }
    bnx_timer_destroy(timer);
}

static void run_sleep(uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        require(bnx_sleep(1) == 0, "bnx_sleep");
    }
}

static struct bnx_future *futures[2] ALONE;

static int set_futures(void *arg) {
    for (uint32_t i = 0; i < *(uint32_t *)arg; i++) {
        require(bnx_future_await(futures[0], NULL) == 0, "bnx_future_await");
        bnx_future_unref(futures[0]);
        require(bnx_future_create(&futures[0]) == 0, "bnx_future_create");
        require(bnx_future_set(futures[1], NULL) == 0, "bnx_future_set");
    }
    return 0;
}

/* Two tasks, each awaits what the other one sets, drops it and makes the next. */
static void run_future(uint32_t count) {
    uint32_t rounds = count / 2;
    struct bnx_scope scope;
    require(bnx_future_create(&futures[0]) == 0, "bnx_future_create");
    open_scope(&scope);
    spawn(&scope, set_futures, &rounds);
    for (uint32_t i = 0; i < rounds; i++) {
        require(bnx_future_create(&futures[1]) == 0, "bnx_future_create");
        require(bnx_future_set(futures[0], NULL) == 0, "bnx_future_set");
        require(bnx_future_await(futures[1], NULL) == 0, "bnx_future_await");
        bnx_future_unref(futures[1]);
    }
    close_scope(&scope);
    bnx_future_unref(futures[0]);
}

struct flow {
    struct bnx_chan *chan;
    uint32_t count; /* of items that each sender sends, and each receiver receives */
};

static int send_items(void *arg) {
    const struct flow *flow = arg;
    for (uint32_t i = 0; i < flow->count; i++) {
        require(bnx_chan_send(flow->chan, &i) == 0, "bnx_chan_send");
    }
    return 0;
}

static int receive_items(void *arg) {
    const struct flow *flow = arg;
    for (uint32_t i = 0; i < flow->count; i++) {
        uint32_t item;
        require(bnx_chan_recv(flow->chan, &item) == 0, "bnx_chan_recv");
    }
    return 0;
}

static void run_flow(uint32_t count, uint32_t senders, size_t capacity) {
    struct flow flow = {NULL, count / senders};
    require(bnx_chan_create(sizeof(uint32_t), capacity, &flow.chan) == 0, "bnx_chan_create");
    struct bnx_scope scope;
    open_scope(&scope);
    for (uint32_t i = 0; i < senders; i++) {
        spawn(&scope, send_items, &flow);
        spawn(&scope, receive_items, &flow);
    }
    close_scope(&scope);
    bnx_chan_destroy(flow.chan);
}

static void run_chan_unbuffered(uint32_t count) {
    run_flow(count, 1, 0);
}

static void run_chan_buffered(uint32_t count) {
    run_flow(count, 1, BUFFERED);
}

static void run_chan_mpmc(uint32_t count) {
    run_flow(count, SENDERS, BUFFERED);
}

/* ---- The runs ---- */

static const struct path {
    const char *name;
    uint32_t workers;
    void (*run)(uint32_t count);
} paths[] = {
    {"spawn", 1, run_spawn},
    {"spawn", 4, run_spawn},
    {"spawn_batch", 1, run_spawn_batch},
    {"spawn_batch", 4, run_spawn_batch},
    {"fork", 1, run_fork},
    {"fork", 4, run_fork},
    {"yield", 1, run_yield},
    {"yield", 4, run_yield},
    {"steal_one", 1, run_steal_one},
    {"steal_half", 1, run_steal_half},
    {"wake", 2, run_wake},
    {"timer", 1, run_timer},
    {"timer", 4, run_timer},
    {"sleep", 1, run_sleep},
    {"sleep", 4, run_sleep},
    {"future", 1, run_future},
    {"future", 4, run_future},
    {"chan_unbuffered", 1, run_chan_unbuffered},
    {"chan_unbuffered", 4, run_chan_unbuffered},
    {"chan_buffered", 1, run_chan_buffered},
    {"chan_buffered", 4, run_chan_buffered},
    {"chan_mpmc", 1, run_chan_mpmc},
    {"chan_mpmc", 4, run_chan_mpmc},
};

/* What the operations cost, each. A difference of two means may be just below nothing. */
static double each(int64_t count) {
    return count < 0 ? 0 : (double)count / ROUNDS / SEEDS;
}

struct measurement {
    const struct path *path;
    int64_t locked; /* of ROUNDS operations, summed over the seeds */
    int64_t contended;
};

static int measure(void *arg) {
    struct measurement *out = arg;
    out->path->run(ROUNDS); /* fills caches */
    struct traffic before = traffic_so_far();
    out->path->run(ROUNDS);
    struct traffic once = traffic_so_far();
    out->path->run(2 * ROUNDS);
    struct traffic thrice = traffic_so_far();
    out->locked += (int64_t)(thrice.locked - 2 * once.locked + before.locked);
    out->contended += (int64_t)(thrice.contended - 2 * once.contended + before.contended);
    return 0;
}

static int measure_on_machine(void *arg) {
    struct measurement *out = arg;
    struct bnx_options options = {
        .worker_count = out->path->workers,
        .spin_ns = BNX_SPIN_NEVER,
        .seed = 1,
        .flags = BNX_NO_WATCHDOG,
    };
    traffic_start();
    int error = bnx_run(&options, measure, out);
    traffic_stop();
    return error;
}

/* With an argument: the first seed, 1 otherwise; to see how much another choice of them changes. */
int main(int argc, char **argv) {
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(paths); i++) {
        struct measurement sum = {&paths[i], 0, 0};
        for (uint64_t seed = first; seed < first + SEEDS; seed++) {
            struct bnx_sim_options machine = {.seed = seed,
                                              .steps_max = STEPS_MAX,
                                              .cpu_count = paths[i].workers,
                                              .switch_one_in = SWITCH_ONE_IN};
            require(bnx_sim_run(&machine, measure_on_machine, &sum, NULL) == 0, "bnx_run");
        }
        printf("%-16s %7u %9.2f %9.2f\n", paths[i].name, paths[i].workers, each(sum.locked),
               each(sum.contended));
    }
    return 0;
}
