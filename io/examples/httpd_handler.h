/* SPDX-License-Identifier: MIT */
/*
 * Drives one connection of httpd: its I/O, its deadlines, and its end.
 *
 * Concepts
 *   awake, asleep  a connection that has been silent for two seconds gives back its buffers and
 *       the stack that they were on, and waits in a shallow call: so an idle one costs one page of
 *       stack, and a busy one pays nothing for that.
 *   window  a scope with a deadline, in which the waits of a connection stand. It is renewed at
 *       most once a second, so a timeout costs nothing per request, and comes up to a second early.
 *   patience  a head has to come within one patience; of a body 4 KiB, of an answer 4 KiB in three,
 *       since the kernel says that there is room only when a third of its buffer is free. So nobody
 *       holds a connection by a byte now and then, and a slow line has 400 bytes a second to be
 *       faster than.
 *   drain  when the service ends a handler's calls say -ECANCELED (BNX_SERVE_CANCEL). By then the
 *       listener is closed, and what was in its queue has been accepted. The handler goes on in a
 *       shield:
 *       1  it reads until the socket is dry and answers each complete request, the last one with
 *          "Connection: close";
 *       2  without an unanswered request the connection stays open for the quiet time: a client
 *          that sends at once the next request after each answer, as keep-alive clients do, gets an
 *          answer that says close instead of a reset, which it would have to guess the meaning of;
 *       3  after the last answer our side is shut down and the peer's bytes are read until its end,
 *          for a close with unread bytes is a reset that may destroy the answer on its way.
 */
#ifndef BNX_IO_EXAMPLES_HTTPD_HANDLER_H
#define BNX_IO_EXAMPLES_HTTPD_HANDLER_H

#include "io/examples/httpd_connection.h"

/* What all connections share; immutable once the server listens. */
struct bnx_httpd_service {
    struct bnx_httpd_site site;
    uint64_t patience_ns;
    uint64_t idle_ns;  /* between requests */
    uint64_t quiet_ns; /* draining: for a peer that owes nothing to say something, and for the last
                        * answer to be taken */
};

/**
 * Serves a connection to its end.
 * @param fd stays the caller's.
 * @param arg a struct bnx_httpd_service.
 * Returns 0: what goes wrong is the peer's trouble. Context: task, suspends.
 */
int bnx_httpd_handle(int fd, void *arg);

#endif
