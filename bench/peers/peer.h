/* SPDX-License-Identifier: MIT */
/*
 * What the peers written in C and C++ share: arguments, batches, clocks, the printed line.
 *
 *   peer-NAME --version              one line
 *   peer-NAME --list                 one row a line, and the numbers of workers it runs on
 *   peer-NAME ROW WORKERS SECONDS    "wall_ns_per_op cpu_ns_per_op operations checksum"
 *   peer-NAME echo|http ...          see server_main
 *
 * A row starts its peer, calls peer_measure from wherever its work begins, and stops the peer. CPU
 * is the process's, all threads together.
 */
#ifndef BNX_BENCH_PEERS_PEER_H
#define BNX_BENCH_PEERS_PEER_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One row under way. */
struct peer_run {
    const char *row;  /* its name */
    unsigned workers; /* threads */
    double seconds;   /* of measured time, at least */
};

struct peer_row {
    const char *name;
    const char *workers; /* the numbers of workers it runs on: "1", "2" or "1 2" */
    void (*run)(const struct peer_run *run);
};

/* What a batch did. The checksum follows from the work and expected from a closed form. */
struct peer_work {
    uint64_t operations;
    uint64_t checksum;
    uint64_t expected;
};

/* Does `rounds` rounds of the row's work. */
typedef struct peer_work (*peer_batch_fn)(void *arg, uint64_t rounds);

/* The program's part, of what C and C++ do not allow in one header. */
struct peer {
    void (*print_version)(void);
    const struct peer_row *rows;         /* the last has no name */
    int (*serve)(int argc, char **argv); /* NULL without servers */
};

/* argv[1] is "echo" or "http". Returns the exit code. */
int server_main(int argc, char **argv);

/* From whatever thread or stack this is. */
static inline void peer_fail(const char *what) {
    fprintf(stderr, "peer: %s\n", what);
    _exit(1);
}

static inline void peer_require(bool is_right, const char *what) {
    if (!is_right) {
        peer_fail(what);
    }
}

static inline uint64_t peer_clock_ns(clockid_t clock) {
    struct timespec time;
    peer_require(clock_gettime(clock, &time) == 0, "clock_gettime");
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static inline uint64_t peer_now_ns(void) {
    return peer_clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t peer_cpu_ns(void) {
    return peer_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static inline uint64_t peer_resident_bytes(void) {
    unsigned long pages_all = 0;
    unsigned long pages_resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    peer_require(file != NULL && fscanf(file, "%lu %lu", &pages_all, &pages_resident) == 2,
                 "/proc/self/statm");
    fclose(file);
    return (uint64_t)pages_resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 0 + 1 + ... + (count - 1), modulo 2^64. */
static inline uint64_t peer_sum_below(uint64_t count) {
    return count % 2 == 0 ? count / 2 * (count - 1) : (count - 1) / 2 * count;
}

static inline void peer_print(double wall_ns, double cpu_ns, const struct peer_work *work) {
    peer_require(work->checksum == work->expected, "wrong checksum");
    printf("%.2f %.2f %" PRIu64 " %" PRIu64 "\n", wall_ns, cpu_ns, work->operations,
           work->checksum);
    fflush(stdout);
}

/* Prints the figures of one batch that was not repeated. */
static inline void peer_print_once(uint64_t wall_ns, uint64_t cpu_ns,
                                   const struct peer_work *work) {
    double operations = (double)work->operations;
    peer_print((double)wall_ns / operations, (double)cpu_ns / operations, work);
}

/*
 * Runs batches of twice as many rounds each time until they have taken run->seconds together, and
 * prints their figures. The first batch of one round is not counted.
 */
static inline void peer_measure(const struct peer_run *run, peer_batch_fn batch, void *arg) {
    struct peer_work all = {0, 0, 0};
    uint64_t wall_ns = 0;
    uint64_t cpu_ns = 0;
    struct peer_work warm = batch(arg, 1);
    peer_require(warm.checksum == warm.expected, "wrong checksum");
    for (uint64_t rounds = 1; (double)wall_ns < run->seconds * 1e9; rounds *= 2) {
        uint64_t cpu_begin_ns = peer_cpu_ns();
        uint64_t begin_ns = peer_now_ns();
        struct peer_work work = batch(arg, rounds);
        wall_ns += peer_now_ns() - begin_ns;
        cpu_ns += peer_cpu_ns() - cpu_begin_ns;
        peer_require(work.checksum == work.expected, "wrong checksum");
        all.operations += work.operations;
        all.checksum += work.checksum;
        all.expected += work.expected;
    }
    peer_print_once(wall_ns, cpu_ns, &all);
}

/* In the course of an hour and in no order: where timers that never fire are due. */
static inline uint64_t peer_far_ns(uint64_t number) {
    return number * UINT64_C(2654435761) % UINT64_C(3600000000000);
}

/* A million sleeps, in no order, over ten seconds. */
#define PEER_SLEEPS UINT64_C(1000000)
#define PEER_SLEEPS_SPREAD_NS UINT64_C(10000000000)

static inline uint64_t peer_sleep_ns(uint64_t number) {
    return number * UINT64_C(2654435761) % PEER_SLEEPS_SPREAD_NS + 1;
}

/* How many tasks idle_task parks. */
#define PEER_IDLE_TASKS UINT64_C(100000)

static inline uint64_t peer_fib(uint64_t n) {
    uint64_t value = 0;
    uint64_t next = 1;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t sum = value + next;
        value = next;
        next = sum;
    }
    return value;
}

/* Calls that fib(n) makes, its own included. */
static inline uint64_t peer_fib_calls(uint64_t n) {
    return 2 * peer_fib(n + 1) - 1;
}

#define PEER_FIB_N 30
#define PEER_SKYNET_LEAVES UINT64_C(1000000)
#define PEER_SKYNET_TASKS UINT64_C(1111110) /* the root is the caller itself */

/* "1" and "2" are all that occurs. */
static inline bool peer_row_runs_on(const struct peer_row *row, unsigned workers) {
    return workers < 10 && strchr(row->workers, (int)('0' + workers)) != NULL;
}

static inline int peer_usage(const char *program) {
    fprintf(stderr, "usage: %s --version | --list | ROW WORKERS SECONDS | echo ... | http ...\n",
            program);
    return 2;
}

static inline int peer_main(const struct peer *peer, int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        peer->print_version();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const struct peer_row *row = peer->rows; row->name != NULL; row++) {
            printf("%s %s\n", row->name, row->workers);
        }
        return 0;
    }
    if (argc >= 2 && (strcmp(argv[1], "echo") == 0 || strcmp(argv[1], "http") == 0)) {
        return peer->serve == NULL ? peer_usage(argv[0]) : peer->serve(argc, argv);
    }
    if (argc != 4) {
        return peer_usage(argv[0]);
    }
    struct peer_run run = {argv[1], (unsigned)atoi(argv[2]), atof(argv[3])};
    for (const struct peer_row *row = peer->rows; row->name != NULL; row++) {
        if (strcmp(row->name, run.row) == 0 && peer_row_runs_on(row, run.workers)) {
            row->run(&run);
            return 0;
        }
    }
    fprintf(stderr, "%s: no row %s on %s workers\n", argv[0], argv[1], argv[2]);
    return 2;
}

#endif
