/* SPDX-License-Identifier: MIT */
/* Serves one connection of the cache. */
#include "io/examples/cache_connection.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IN_SMALL_BYTES 1280  /* 16 pipelined SETs of short keys and values, and a few more */
#define OUT_SMALL_BYTES 512  /* their replies, several times */
#define IN_BYTES_MAX 131072u /* received at once while requests are short */
#define NS_PER_S UINT64_C(1000000000)
#define DRAIN_NS (1 * NS_PER_S)     /* for the replies to be taken when the server stops */
#define LINGER_NS (1 * NS_PER_S)    /* for an error's reply to be taken */
#define LINGER_BYTES_MAX (1u << 20) /* of what the peer still sends then */

/* From malloc: in the task's frame it would leave the calls beneath it no room in the one page that
 * an idle task keeps. */
struct connection {
    struct bnx_cache *cache;
    int fd;
    bool is_last;   /* nothing more is executed: replies leave, then it closes */
    bool has_error; /* the peer broke the protocol: unread bytes may follow */
    size_t sent;    /* of out */
    struct bnx_resp_request request;
    struct bnx_cache_text in;
    struct bnx_cache_text out;
    char out_small[OUT_SMALL_BYTES];
    char in_small[IN_SMALL_BYTES];
};

/* Sends all replies. Suspends. Returns 0 or -errno; what is unsent stays. */
static int replies_send(struct connection *connection) {
    struct bnx_cache_text *out = &connection->out;
    while (connection->sent < out->bytes) { /* ends: progress or an error */
        ssize_t bytes = bnx_send(connection->fd, out->data + connection->sent,
                                 out->bytes - connection->sent, 0);
        if (bytes < 0) {
            return (int)bytes;
        }
        connection->sent += (size_t)bytes;
    }
    connection->sent = 0;
    if (out->data == out->small) {
        out->bytes = 0;
    } else {
        bnx_cache_text_reset(out);
    }
    return 0;
}

/* Makes room for a reply, by sending the others where that is due. Suspends. */
static int reply_prepare(struct connection *connection) {
    struct bnx_cache_text *out = &connection->out;
    if (out->bytes < BNX_CACHE_OUT_BYTES && bnx_cache_text_reserve(out, BNX_CACHE_ERROR_BYTES)) {
        return 0;
    }
    out->has_failed = false;
    return replies_send(connection); /* the small memory is room enough */
}

static void protocol_error(struct connection *connection) {
    const char *error = connection->request.error;
    bnx_cache_text_append(&connection->out, error, strlen(error));
    connection->is_last = true;
    connection->has_error = true;
}

/* Executes the requests that are there in full. Suspends where replies must leave before more of
 * them are made. Returns 0 or -errno: what has been executed is no longer in .in. */
static int requests_execute(struct connection *connection) {
    struct bnx_cache_text *in = &connection->in;
    struct bnx_resp_request *request = &connection->request;
    size_t at = 0;
    uint64_t count = 0;
    int error = 0;
    while (!connection->is_last) { /* ends: each turn takes a request */
        error = reply_prepare(connection);
        if (error < 0) {
            break;
        }
        enum bnx_resp_result result = bnx_resp_parse(request, in->data + at, in->bytes - at);
        if (result == BNX_RESP_MORE) {
            break;
        }
        if (result == BNX_RESP_MALFORMED) {
            protocol_error(connection);
            break;
        }
        if (request->arg_count > 0) {
            struct bnx_cache_call call = {.cache = connection->cache,
                                          .request = in->data + at,
                                          .args = request->args,
                                          .arg_count = request->arg_count,
                                          .reply = &connection->out};
            bnx_cache_execute(&call);
            connection->is_last = call.is_last;
            count++;
        }
        at += request->at;
        bnx_resp_reset(request);
    }
    if (at == in->bytes && in->data == in->small) {
        in->bytes = 0;
    } else {
        bnx_cache_text_consume(in, at);
    }
    if (count > 0) {
        atomic_fetch_add_explicit(&connection->cache->commands, count, memory_order_relaxed);
    }
    return error;
}

/* Receives more behind what is there. Suspends, unless flags say MSG_DONTWAIT. Returns the count,
 * 0 at the end, or -errno; -ENOMEM when the request is longer than the memory left. */
static ssize_t requests_receive(struct connection *connection, int flags) {
    struct bnx_cache_text *in = &connection->in;
    if (in->bytes == in->room && !bnx_cache_text_grow(in, 1)) {
        return -ENOMEM;
    }
    ssize_t bytes = bnx_recv(connection->fd, in->data + in->bytes, in->room - in->bytes, flags);
    if (bytes <= 0) {
        return bytes;
    }
    in->bytes += (size_t)bytes;
    if (in->bytes < in->room || in->room >= IN_BYTES_MAX || !bnx_cache_text_grow(in, 1)) {
        in->has_failed = false;
        return bytes;
    }
    /* It has filled the room: there is probably more, which may as well be answered by the same
     * send. */
    ssize_t more =
        bnx_recv(connection->fd, in->data + in->bytes, in->room - in->bytes, MSG_DONTWAIT);
    in->bytes += more > 0 ? (size_t)more : 0;
    return bytes;
}

/* Receives, executes and sends once. Suspends. Returns 1 to go on, 0 at the end, or -errno. */
static int turn(struct connection *connection, int flags) {
    ssize_t bytes = requests_receive(connection, flags);
    if (bytes == -ENOMEM) {
        bnx_cache_text_reset(&connection->in);
        bnx_cache_reply_oom(&connection->out);
        connection->is_last = true;
        connection->has_error = true;
    } else if (bytes <= 0) {
        return (int)bytes;
    }
    int error = requests_execute(connection);
    error = error == 0 ? replies_send(connection) : error;
    if (error < 0) {
        return error;
    }
    return connection->is_last ? 0 : 1;
}

/* What a stop still owes: the requests that have arrived, and replies that have not left. */
static void connection_drain(struct connection *connection) {
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD,
                                        .deadline_ns = bnx_now() + DRAIN_NS};
    struct bnx_scope scope;
    if (bnx_scope_open(&scope, &options) < 0) {
        return;
    }
    int result = requests_execute(connection);
    result = result == 0 ? replies_send(connection) : result;
    while (result == 0 && !connection->is_last) { /* ends: dry, at its end, or at the deadline */
        result = turn(connection, MSG_DONTWAIT);
        result = result == 1 ? 0 : result < 0 ? result : 1;
    }
    (void)bnx_scope_close(&scope);
}

/* Closes our side and reads on for a while: a close with unread bytes would be a reset, which may
 * destroy the reply on its way. Suspends. */
static void connection_linger(struct connection *connection) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + LINGER_NS};
    struct bnx_scope scope;
    if (bnx_shutdown(connection->fd, SHUT_WR) < 0 || bnx_scope_open(&scope, &options) < 0) {
        return;
    }
    ssize_t bytes = 1;
    for (size_t total = 0; bytes > 0 && total < LINGER_BYTES_MAX; total += (size_t)bytes) {
        bytes = bnx_recv(connection->fd, connection->in_small, IN_SMALL_BYTES, 0);
        if (bytes < 0) {
            break;
        }
    }
    (void)bnx_scope_close(&scope);
}

void bnx_cache_connection_serve(struct bnx_cache *cache, int fd, bool is_stopping) {
    struct connection *connection = malloc(sizeof(*connection));
    if (connection == NULL) {
        bnx_cache_connection_refuse(fd);
        return;
    }
    memset(connection, 0, offsetof(struct connection, out_small));
    connection->cache = cache;
    connection->fd = fd;
    bnx_resp_init(&connection->request);
    bnx_cache_text_init(&connection->in, &cache->messages, connection->in_small, IN_SMALL_BYTES);
    bnx_cache_text_init(&connection->out, &cache->messages, connection->out_small, OUT_SMALL_BYTES);
    atomic_fetch_add_explicit(&cache->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cache->accepted, 1, memory_order_relaxed);
    int result = is_stopping ? -ECANCELED : 1;
    while (result == 1) { /* ends with the connection, or with the scope */
        result = turn(connection, 0);
    }
    if (result == -ECANCELED) {
        connection_drain(connection);
    } else if (result == 0 && connection->has_error) {
        connection_linger(connection);
    }
    bnx_resp_reset(&connection->request);
    bnx_cache_text_reset(&connection->in);
    bnx_cache_text_reset(&connection->out);
    bnx_close(fd);
    free(connection);
    atomic_fetch_sub_explicit(&cache->connections, 1, memory_order_relaxed);
}

void bnx_cache_connection_refuse(int fd) {
    static const char refusal[] = "-ERR max number of clients reached\r\n";
    (void)send(fd, refusal, sizeof(refusal) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    bnx_close(fd);
}
