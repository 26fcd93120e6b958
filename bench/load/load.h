/* SPDX-License-Identifier: MIT */
/*
 * The load generator: a closed loop over plain epoll and threads, so that it favours no library.
 *
 * Concepts
 *   Each connection keeps `pipeline` requests in flight and sends the next one when an answer has
 *   come. Latency is from the send of a request to the receive that completes its answer. Every
 *   answer is checked: status, length, and in echo mode each byte.
 *
 *   A closed loop slows down with the server: its percentiles are those of this many clients, not
 *   of an arrival rate.
 */
#ifndef BNX_BENCH_LOAD_LOAD_H
#define BNX_BENCH_LOAD_LOAD_H

#include "bench/load/histogram.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define BNX_LOAD_PIPELINE_MAX 256
#define BNX_LOAD_CONNECTIONS_MAX 65536
#define BNX_LOAD_THREADS_MAX 256
#define BNX_LOAD_BYTES_MAX (1u << 20)          /* of an echo message */
#define BNX_LOAD_STALL_NS UINT64_C(5000000000) /* no answer for so long: error */

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
    bool is_echo;
    bool is_json;
    uint32_t
        message_bytes; /* echo: of a message; http: wanted content length, 0 = that of the first */
    int server_pid;    /* whose CPU time is read; 0 = none */
    struct sockaddr_storage address;
    socklen_t address_bytes;
    const char *request;  /* one request, or one echo period repeated; see request_bytes */
    size_t request_bytes; /* http: of the request */
};

/* One thread's work. The thread writes everything below `start`; main reads it after the join. */
struct bnx_load_thread {
    const struct bnx_load_options *options;
    pthread_barrier_t *start;  /* all threads and main, once everything is connected */
    uint32_t connection_count; /* this thread's share */
    uint64_t request_count;    /* this thread's share; 0 = by time */
    pthread_t handle;
    uint64_t answered;
    uint64_t received_bytes;
    uint64_t started_ns;
    uint64_t ended_ns;
    uint64_t errors[BNX_LOAD_ERRORS];
    struct bnx_histogram latency;
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

/** Returns CLOCK_MONOTONIC in ns. */
uint64_t bnx_load_now(void);

#endif
