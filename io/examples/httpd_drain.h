/* SPDX-License-Identifier: MIT */
/*
 * How httpd stops: it finishes its connections after the cancel, when no task can wait any more.
 *
 * Concepts
 *   Once the root scope is cancelled every suspending call says -ECANCELED, for good. Yet a request
 *   that had arrived in full is owed an answer in full, which may take a wait: the peer's receive
 *   window is closed, the rest of a request is on its way. So each connection's task gives its
 *   state to the drain and returns; when the last one has, one thread finishes them all with
 *   poll(2) and non-blocking calls, bounded by deadlines. It blocks its worker; no task is left
 *   that needs it.
 *
 *   1  the accept loop takes what the backlog still holds, then the listener closes;
 *   2  every connection reads until its socket is dry and answers each complete request, the last
 *      one with "Connection: close";
 *   3  one without an unanswered request stays open for BNX_HTTPD_IDLE_NS: a client that sends at
 *      once the next request after each answer, as keep-alive clients do, gets an answer that says
 *      close instead of a reset, which it would have to guess the meaning of;
 *   4  after the last answer our side is shut down and the peer's bytes are read until its end, for
 *      a close with unread bytes is a reset that may destroy the answer on its way.
 *
 * Rejected
 *   Answering in the tasks themselves: whoever waits there blocks a worker and with it the others'
 *   connections, and an answer may say close before the listener is closed.
 */
#ifndef BNX_IO_EXAMPLES_HTTPD_DRAIN_H
#define BNX_IO_EXAMPLES_HTTPD_DRAIN_H

#include "io/examples/httpd_connection.h"

#include <pthread.h>

#define BNX_HTTPD_IDLE_NS UINT64_C(500000000)   /* step 3, and 4 */
#define BNX_HTTPD_DRAIN_NS UINT64_C(1600000000) /* everything; bnx_main's grace is 2 s */

/* Connections given up by their tasks. */
struct bnx_httpd_drain {
    pthread_mutex_t lock;               /* held for a few instructions, never over a suspension */
    struct bnx_httpd_connection *first; /* under lock; linked by .next, each from malloc */
};

/**
 * Takes over a connection at whatever point it is; the caller forgets it and its socket.
 * Without memory for the copy it is closed. Context: any thread; never suspends.
 */
void bnx_httpd_drain_add(struct bnx_httpd_drain *drain, struct bnx_httpd_connection *connection);

/**
 * Finishes and closes all connections. Nothing is added any more.
 * Context: blocks the thread, at most about BNX_HTTPD_DRAIN_NS; never suspends.
 */
void bnx_httpd_drain_run(struct bnx_httpd_drain *drain);

#endif
