/* SPDX-License-Identifier: MIT */
/*
 * The load generator: plain epoll and threads, so that it favours no library.
 *
 * Concepts
 *   Closed loop: each connection keeps `pipeline` requests in flight and sends the next one when an
 *   answer has come. Latency is from the send of a request to the receive that completes the
 *   answer. A closed loop slows down with the server: its percentiles are those of this many
 *   clients, and while the server pauses it asks, and so counts, next to nothing.
 *
 *   Open loop: requests are due at times that the server has no influence on (schedule.h). Latency
 *   is from the time when a request was due, even if its connection was still busy then: a pause
 *   shows in the latency of everything that was due meanwhile. What is unanswered at the end is
 *   counted with the age that it has reached.
 *
 *   Before the start each connection asks once, and nothing of it is counted. Every answer is
 *   checked: status, length, and in echo mode each byte.
 */
#ifndef BNX_BENCH_LOAD_LOAD_H
#define BNX_BENCH_LOAD_LOAD_H

#include "bench/load/histogram.h"
#include "bench/load/schedule.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define BNX_LOAD_PIPELINE_MAX 256
#define BNX_LOAD_CONNECTIONS_MAX 65536
#define BNX_LOAD_THREADS_MAX 256
#define BNX_LOAD_BYTES_MAX (1u << 20)          /* of an echo message */
#define BNX_LOAD_REQUEST_BYTES 2048            /* of an HTTP request, at most */
#define BNX_LOAD_STALL_NS UINT64_C(5000000000) /* no answer for so long: error */
#define BNX_LOAD_DRAIN_NS UINT64_C(1000000000) /* open loop: waits so long for the last answers */
#define BNX_LOAD_RATE_MAX 1e9                  /* requests a second */
#define BNX_LOAD_PROCESSES_MAX 256             /* whose CPU time is added up */

enum bnx_load_error {
    BNX_LOAD_CONNECT, /* a connection was refused */
    BNX_LOAD_SEND,    /* send failed */
    BNX_LOAD_RECEIVE, /* receive failed */
    BNX_LOAD_CLOSED,  /* the server closed with answers outstanding */
    BNX_LOAD_STATUS,  /* another status than 200 */
    BNX_LOAD_FORMAT,  /* not a response, or not of the wanted length */
    BNX_LOAD_CONTENT, /* echo: other bytes than were sent */
    BNX_LOAD_STALL,   /* no answer in BNX_LOAD_STALL_NS */
    BNX_LOAD_ERRORS,
};

struct bnx_load_options {
    uint32_t connection_count;
    uint32_t thread_count;
    uint32_t pipeline;
    double duration_s;      /* used when request_count is 0 */
    uint64_t request_count; /* in all; 0 = by time */
    double rate;            /* open loop: requests a second in all; 0 = closed loop */
    bool is_poisson;        /* open loop: at random instead of evenly */
    uint64_t seed;          /* of the random ones */
    bool is_echo;
    bool is_json;
    bool has_histogram;     /* JSON: the buckets as well */
    uint32_t message_bytes; /* echo: of a message; http: of the content, 0 = as the first */
    int server_pid;         /* whose CPU time is read; 0 = none */
    struct sockaddr_storage address;
    socklen_t address_bytes;
    size_t request_bytes;                 /* of the next */
    char request[BNX_LOAD_REQUEST_BYTES]; /* http: one request */
};

/* One thread's work. The thread writes everything below `start`; main reads it after the join. */
struct bnx_load_thread {
    const struct bnx_load_options *options;
    pthread_barrier_t *start;  /* all threads and main: connected; and then off */
    uint32_t connection_count; /* this thread's share */
    uint32_t connection_first; /* of them, counted over all threads */
    uint64_t request_count;    /* this thread's share; 0 = by time */
    pthread_t handle;
    uint64_t answered;
    uint64_t unanswered; /* open loop: due before the end, and not answered soon after */
    uint64_t received_bytes;
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t errors[BNX_LOAD_ERRORS];
    struct bnx_histogram latency;
    struct bnx_histogram late; /* open loop: how long it let a request wait that it could send */
};

/* The CPU time of a server: a process and its children, all their threads. */
struct bnx_load_cpu {
    int process_count; /* 0: none is known */
    int pids[BNX_LOAD_PROCESSES_MAX];
};

/* Where a response stream stands. Zeroed = before the first response. */
struct bnx_response {
    uint64_t content_left;  /* of the current response's content */
    uint64_t content_bytes; /* of the last head */
    unsigned status;        /* of the last head */
    bool is_in_content;
};

/**
 * Consumes response bytes up to the end of one response, or as far as they go.
 * Returns 1 at an end, 0 when more is needed, -1 when this is no response with a Content-Length.
 * A head has to lie in data as a whole: *out_consumed stays in front of an unfinished one.
 */
int bnx_response_parse(struct bnx_response *response, const char *data, size_t bytes,
                       size_t *out_consumed);

/** The echo stream's byte at a position: of period 251, a prime, so that shifted data shows. */
static inline char bnx_load_pattern(uint64_t position) {
    return (char)(position % 251);
}

/** Runs one thread's share; arg is its struct bnx_load_thread. Blocks. */
void *bnx_load_thread_run(void *arg);

/** Reads flags and target. Returns 0 to go on, 1 after the help, 2 after a message. */
int bnx_load_options_parse(int argc, char **argv, struct bnx_load_options *options);

/** Finds a process and the children it has now; none if pid is 0. */
void bnx_load_cpu_init(struct bnx_load_cpu *cpu, int pid);

/** Returns the ns of CPU that they have used; 0 when one of them is gone or there is none. */
uint64_t bnx_load_cpu_read(const struct bnx_load_cpu *cpu);

/** Returns the ns of CPU that this process has used. */
uint64_t bnx_load_cpu_own(void);

/** Returns CLOCK_MONOTONIC in ns. */
uint64_t bnx_load_now(void);

#endif
