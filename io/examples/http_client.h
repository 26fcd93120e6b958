/* SPDX-License-Identifier: MIT */
/*
 * A small HTTP/1.1 client: GET from one server, over connections that are kept for later.
 *
 * A pool belongs to one server. A connection goes back to it after a whole reply that does not end
 * it; one that the server has closed meanwhile is noticed at its next request, which is then made
 * anew on another one. Every call may wait: a scope's deadline is its timeout.
 */
#ifndef BNX_IO_EXAMPLES_HTTP_CLIENT_H
#define BNX_IO_EXAMPLES_HTTP_CLIENT_H

#include <bonxie/sync.h>

#include <stddef.h>
#include <stdint.h>

#define BNX_HTTP_IDLE_MAX 16          /* connections kept; one more is closed */
#define BNX_HTTP_BODY_BYTES_MAX 65536 /* of a reply; a longer one is -EMSGSIZE */

struct bnx_http_pool {
    const char *server; /* "host:port", as bnx_dial wants it; immutable */
    struct bnx_mutex lock;
    int idle[BNX_HTTP_IDLE_MAX]; /* the last one used is taken first; under the lock */
    uint32_t idle_count;         /* under the lock */
    uint32_t connected;          /* how many were opened; under the lock */
};

struct bnx_http_reply {
    int status;        /* 200 */
    size_t body_bytes; /* without the NUL behind it */
    char body[BNX_HTTP_BODY_BYTES_MAX + 1];
};

/** @param server borrowed as long as the pool. */
void bnx_http_pool_init(struct bnx_http_pool *pool, const char *server);

/** Closes what is idle; no request may be under way. */
void bnx_http_pool_fini(struct bnx_http_pool *pool);

/**
 * Gets a path ("/page?x=1") from the pool's server.
 * Returns 0; an error of the connection; -ECONNRESET: it ended within the reply; -EPROTO: what came
 * is no HTTP; -EMSGSIZE: a head or body too long; -EINVAL: a path with blanks, or too long;
 * -ECANCELED, -ETIMEDOUT.
 */
int bnx_http_get(struct bnx_http_pool *pool, const char *path, struct bnx_http_reply *out_reply);

#endif
