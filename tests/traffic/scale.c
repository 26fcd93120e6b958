/* SPDX-License-Identifier: MIT */
/*
 * How the traffic on each shared word grows with the workers: traffic_scale [WORKERS ...], 4 16 64
 * 128 without arguments. Prints for each load and word the accesses of one operation, and the
 * contended writes among them (count.h), a column for each number of workers.
 *   skynet  a tree of tasks, ten children a node, 10,000 leaves; one task
 *   echo    two connections for each worker, of operations that take a while; one round trip
 *   mpmc    a sender and a receiver for each worker, one channel with room for 128; one item
 *
 * On the simulated machine (count.h). A word of a worker stands for that of all workers together;
 * "elsewhere" is all that lies in tasks, scopes and stacks. The workers take turns after a few
 * accesses, as if each had a CPU of its own, but time is the same for all of them: it passes with
 * every access of anybody. What depends on time, how soon somebody sleeps and how old a ready task
 * is, comes sooner with many workers than on a real machine.
 */
#include "runtime/runtime_pvt.h"
#include "tests/support/driver_sim.h"
#include "tests/traffic/count.h"

#include <bonxie/bonxie.h>
#include <bonxie/sim.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MAX 8
#define SWITCH_ONE_IN 3
#define STEPS_MAX UINT64_C(100000000000)
#define SHOWN_MIN 0.01 /* a word with fewer accesses an operation than this is left out */

static void require(bool is_right, const char *what) {
    if (!is_right) {
        fprintf(stderr, "traffic_scale: %s: wrong result\n", what);
        _exit(1); /* from whatever stack this is */
    }
}

static uint32_t workers; /* of this run; immutable while it lasts */

/* ---- skynet ---- */

#define CHILDREN 10
#define LEAVES 10000
#define TREE_TASKS 11110 /* the root is the caller itself */

struct tree {
    uint64_t first;
    uint64_t leaves;
    uint64_t sum; /* out */
};

static int grow(void *arg) {
    struct tree *tree = arg;
    if (tree->leaves == 1) {
        tree->sum = tree->first;
        return 0;
    }
    struct tree children[CHILDREN];
    struct bnx_scope scope;
    require(bnx_scope_open(&scope, NULL) == 0, "bnx_scope_open");
    for (uint64_t i = 0; i < CHILDREN; i++) {
        uint64_t leaves = tree->leaves / CHILDREN;
        children[i] = (struct tree){tree->first + i * leaves, leaves, 0};
        require(bnx_spawn(&scope, grow, &children[i]) == 0, "bnx_spawn");
    }
    require(bnx_scope_close(&scope) == 0, "bnx_scope_close");
    for (int i = 0; i < CHILDREN; i++) {
        tree->sum += children[i].sum;
    }
    return 0;
}

static uint64_t run_skynet(void) {
    struct tree tree = {0, LEAVES, 0};
    require(grow(&tree) == 0 && tree.sum == (uint64_t)LEAVES * (LEAVES - 1) / 2, "skynet");
    return TREE_TASKS;
}

/* ---- echo ---- */

#define CONNECTIONS 2 /* for each worker */
#define TRIPS 50      /* of each connection */
#define MESSAGE_BYTES 64
#define LATENCY_NS 5000

/* One direction of a trip; a driver may refuse an operation for a while. */
static int transfer(void) {
    int count;
    while ((count = sim_op(LATENCY_NS, MESSAGE_BYTES)) == -EAGAIN) { /* one in eight */
        bnx_yield();
    }
    return count;
}

static int serve(void *arg) {
    uint64_t *trips = arg;
    for (int i = 0; i < TRIPS; i++) {
        require(transfer() == MESSAGE_BYTES && transfer() == MESSAGE_BYTES, "sim_op");
        ++*trips;
    }
    return 0;
}

static uint64_t run_echo(void) {
    static uint64_t trips[CONNECTIONS * BNX_WORKERS_MAX][16]; /* a line each, and its neighbour */
    struct bnx_scope scope;
    uint64_t sum = 0;
    require(bnx_scope_open(&scope, NULL) == 0, "bnx_scope_open");
    for (uint32_t i = 0; i < CONNECTIONS * workers; i++) {
        trips[i][0] = 0;
        require(bnx_spawn(&scope, serve, trips[i]) == 0, "bnx_spawn");
    }
    require(bnx_scope_close(&scope) == 0, "bnx_scope_close");
    for (uint32_t i = 0; i < CONNECTIONS * workers; i++) {
        sum += trips[i][0];
    }
    require(sum == (uint64_t)CONNECTIONS * workers * TRIPS, "echo");
    return sum;
}

/* ---- mpmc ---- */

#define ITEMS 100 /* of each sender */
#define ROOM 128

static struct bnx_chan *chan;

static int send_items(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < ITEMS; i++) {
        require(bnx_chan_send(chan, &i) == 0, "bnx_chan_send");
    }
    return 0;
}

static int receive_items(void *arg) {
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t item;
        require(bnx_chan_recv(chan, &item) == 0, "bnx_chan_recv");
        *(uint64_t *)arg += item;
    }
    return 0;
}

static uint64_t run_mpmc(void) {
    static uint64_t sums[BNX_WORKERS_MAX][16]; /* a line each, and its neighbour */
    struct bnx_scope scope;
    uint64_t sum = 0;
    require(bnx_chan_create(sizeof(uint32_t), ROOM, &chan) == 0, "bnx_chan_create");
    require(bnx_scope_open(&scope, NULL) == 0, "bnx_scope_open");
    for (uint32_t i = 0; i < workers; i++) {
        sums[i][0] = 0;
        require(bnx_spawn(&scope, send_items, NULL) == 0, "bnx_spawn");
        require(bnx_spawn(&scope, receive_items, sums[i]) == 0, "bnx_spawn");
    }
    require(bnx_scope_close(&scope) == 0, "bnx_scope_close");
    for (uint32_t i = 0; i < workers; i++) {
        sum += sums[i][0];
    }
    require(sum == (uint64_t)workers * ITEMS * (ITEMS - 1) / 2, "mpmc");
    return (uint64_t)workers * ITEMS;
}

/* ---- The words ---- */

#define IN(type, field, shown)                                                                     \
    { shown, offsetof(struct type, field), sizeof(((struct type *)0)->field) }

struct field {
    const char *name;
    size_t offset;
    size_t bytes;
};

static const struct field runtime_fields[] = {
    IN(bnx_runtime, cancel_epoch, "cancel_epoch"),
    IN(bnx_runtime, phase, "phase"),
    IN(bnx_runtime, idle.searching, "idle.searching"),
    IN(bnx_runtime, idle.parked_count, "idle.parked_count"),
    IN(bnx_runtime, idle.parked, "idle.parked"),
    IN(bnx_runtime, global.lock, "global.lock"),
    IN(bnx_runtime, global.count, "global.count"),
    IN(bnx_runtime, lanes_used, "lanes_used"),
    IN(bnx_runtime, lanes, "lanes"),
    IN(bnx_runtime, stacks, "stacks"),
    IN(bnx_runtime, tasks, "tasks (pool)"),
    IN(bnx_runtime, timers, "timers (pool)"),
    IN(bnx_runtime, root, "root scope"),
};

static const struct field worker_fields[] = {
    IN(bnx_worker, next_slot, "worker.next_slot"),
    IN(bnx_worker, next_since_ns, "worker.next_since_ns"),
    IN(bnx_worker, heartbeat, "worker.heartbeat"),
    IN(bnx_worker, is_in_loop, "worker.is_in_loop"),
    IN(bnx_worker, poll_requested, "worker.poll_requested"),
    IN(bnx_worker, rescuer, "worker.rescuer"),
    IN(bnx_worker, owner_busy, "worker.owner_busy"),
    IN(bnx_worker, runq.head, "worker.runq.head"),
    IN(bnx_worker, runq.tail, "worker.runq.tail"),
    IN(bnx_worker, runq.slots, "worker.runq.slots"),
    IN(bnx_worker, deque, "worker.deque"),
    IN(bnx_worker, inbox, "worker.inbox"),
    IN(bnx_worker, cancels, "worker.cancels"),
    IN(bnx_worker, wheel, "worker.wheel"),
    IN(bnx_worker, wheel_next_ns, "worker.wheel_next_ns"),
    IN(bnx_worker, counters, "worker.counters"),
};

enum { OTHER_RUNTIME, OTHER_WORKER, CHANNEL, ELSEWHERE, OTHERS };
static const char *const other_names[OTHERS] = {"runtime, other", "worker, other", "channel",
                                                "elsewhere"};
#define WORDS (BNX_ARRAY_COUNT(runtime_fields) + BNX_ARRAY_COUNT(worker_fields) + OTHERS)
#define OTHERS_FIRST (WORDS - OTHERS)

static double accesses[WORDS][COLUMNS_MAX];  /* of one operation */
static double contended[WORDS][COLUMNS_MAX]; /* writes, likewise */
static uint32_t column;                      /* of this run */
static uint64_t operations;                  /* of this run */

static const struct bnx_runtime *runtime; /* of this run */

static const char *name_of(size_t word) {
    if (word >= OTHERS_FIRST) {
        return other_names[word - OTHERS_FIRST];
    }
    size_t runtime_count = BNX_ARRAY_COUNT(runtime_fields);
    return word < runtime_count ? runtime_fields[word].name
                                : worker_fields[word - runtime_count].name;
}

/* Returns the field that the offset is in; count: none. */
static size_t find_field(const struct field *fields, size_t count, size_t offset) {
    size_t i = 0;
    while (i < count &&
           (offset < fields[i].offset || offset >= fields[i].offset + fields[i].bytes)) {
        i++;
    }
    return i;
}

static size_t find_word(uintptr_t address) {
    size_t runtime_count = BNX_ARRAY_COUNT(runtime_fields);
    size_t worker_count = BNX_ARRAY_COUNT(worker_fields);
    if (address - (uintptr_t)runtime < sizeof(*runtime)) {
        size_t i = find_field(runtime_fields, runtime_count, address - (uintptr_t)runtime);
        return i < runtime_count ? i : OTHERS_FIRST + OTHER_RUNTIME;
    }
    uintptr_t in_workers = address - (uintptr_t)runtime->workers;
    if (in_workers < workers * sizeof(struct bnx_worker)) {
        size_t i = find_field(worker_fields, worker_count, in_workers % sizeof(struct bnx_worker));
        return i < worker_count ? runtime_count + i : OTHERS_FIRST + OTHER_WORKER;
    }
    /* The lock and the indices at its front; the buffer behind is no shared word. */
    bool is_chan = chan != NULL && address - (uintptr_t)chan < 2 * BNX_CACHELINE_BYTES;
    return OTHERS_FIRST + (is_chan ? CHANNEL : ELSEWHERE);
}

static void add_word(uintptr_t address, const struct traffic *word) {
    size_t i = find_word(address);
    accesses[i][column] += (double)(word->loads + word->writes) / (double)operations;
    contended[i][column] += (double)word->contended / (double)operations;
}

/* ---- The runs ---- */

static const struct load {
    const char *name;
    uint64_t (*run)(void); /* returns how many operations it has made */
} loads[] = {{"skynet", run_skynet}, {"echo", run_echo}, {"mpmc", run_mpmc}};

static const struct load *load; /* of this run */

static int measure(void *arg) {
    (void)arg;
    runtime = bnx_runtime_current();
    operations = load->run(); /* fills caches */
    bnx_chan_destroy(chan);
    chan = NULL;
    traffic_start();
    operations = load->run();
    traffic_stop();
    traffic_each_word(add_word);
    bnx_chan_destroy(chan);
    chan = NULL;
    return 0;
}

static int measure_on_machine(void *arg) {
    struct bnx_options options = {
        .worker_count = workers,
        .spin_ns = BNX_SPIN_NEVER,
        .seed = 1,
        .flags = BNX_NO_WATCHDOG,
    };
    return bnx_run(&options, measure, arg);
}

static void print_row(const char *name, const double *all, const double *taken, uint32_t columns) {
    printf("  %-22s", name);
    for (uint32_t i = 0; i < columns; i++) {
        printf("%9.2f", all[i]);
    }
    printf("  |");
    for (uint32_t i = 0; i < columns; i++) {
        printf("%8.2f", taken[i]);
    }
    printf("\n");
}

static void print_load(const uint32_t *worker_counts, uint32_t columns) {
    double sums[2][COLUMNS_MAX] = {{0}};
    printf("%s, one operation: accesses | contended writes, with so many workers\n  %-22s",
           load->name, "");
    for (uint32_t i = 0; i < 2 * columns; i++) {
        printf(i < columns ? "%9u" : i == columns ? "  |%8u" : "%8u", worker_counts[i % columns]);
    }
    printf("\n");
    for (size_t word = 0; word < WORDS; word++) {
        double most = 0;
        for (uint32_t i = 0; i < columns; i++) {
            sums[0][i] += accesses[word][i];
            sums[1][i] += contended[word][i];
            most = accesses[word][i] > most ? accesses[word][i] : most;
        }
        if (most >= SHOWN_MIN) {
            print_row(name_of(word), accesses[word], contended[word], columns);
        }
    }
    print_row("all", sums[0], sums[1], columns);
}

int main(int argc, char **argv) {
    uint32_t worker_counts[COLUMNS_MAX] = {4, 16, 64, 128};
    uint32_t columns = argc > 1 ? 0 : 4;
    for (int i = 1; i < argc && columns < COLUMNS_MAX; i++) {
        worker_counts[columns++] = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    for (load = loads; load < loads + BNX_ARRAY_COUNT(loads); load++) {
        memset(accesses, 0, sizeof(accesses));
        memset(contended, 0, sizeof(contended));
        for (column = 0; column < columns; column++) {
            workers = worker_counts[column];
            struct bnx_sim_options machine = {.seed = 1,
                                              .steps_max = STEPS_MAX,
                                              .cpu_count = workers,
                                              .switch_one_in = SWITCH_ONE_IN};
            require(bnx_sim_run(&machine, measure_on_machine, NULL, NULL) == 0, "bnx_run");
        }
        print_load(worker_counts, columns);
    }
    return 0;
}
