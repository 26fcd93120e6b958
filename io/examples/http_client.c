/* SPDX-License-Identifier: MIT */
/* Requests, replies and the connections that they share (http_client.h). */
#include "io/examples/http_client.h"

#include "io/examples/http1.h"

#include <bonxie/dial.h>
#include <bonxie/file.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_BYTES_MAX 8192
#define REQUEST_BYTES_MAX 2048

/* One request's reply as it comes. */
struct exchange {
    int fd;
    size_t bytes;                     /* received and not consumed, from buffer[0] on */
    bool has_received;                /* at least one byte */
    bool is_kept;                     /* the connection can go back to the pool */
    bool ends_at_end;                 /* the body has no length: it ends with the connection */
    struct bnx_http1_request framing; /* of the body: the server's parser reads replies' as well */
    char buffer[HEAD_BYTES_MAX + 1];
};

/* ---- The pool ---- */

void bnx_http_pool_init(struct bnx_http_pool *pool, const char *server) {
    memset(pool, 0, sizeof(*pool));
    pool->server = server;
    bnx_mutex_init(&pool->lock);
}

void bnx_http_pool_fini(struct bnx_http_pool *pool) {
    for (uint32_t i = 0; i < pool->idle_count; i++) {
        bnx_close(pool->idle[i]);
    }
    pool->idle_count = 0;
}

/* A connection, idle or new; *out_is_new tells. */
static int connection_take(struct bnx_http_pool *pool, bool *out_is_new) {
    int fd = -1;
    int error = bnx_mutex_lock(&pool->lock);
    if (error < 0) {
        return error;
    }
    if (pool->idle_count > 0) {
        fd = pool->idle[--pool->idle_count];
    } else {
        pool->connected++;
    }
    bnx_mutex_unlock(&pool->lock);
    *out_is_new = fd < 0;
    return fd >= 0 ? fd : bnx_dial(pool->server, NULL);
}

static void connection_give(struct bnx_http_pool *pool, int fd, bool is_kept) {
    if (is_kept && bnx_mutex_lock(&pool->lock) == 0) {
        if (pool->idle_count < BNX_HTTP_IDLE_MAX) {
            pool->idle[pool->idle_count++] = fd;
            fd = -1;
        }
        bnx_mutex_unlock(&pool->lock);
    }
    if (fd >= 0) {
        bnx_close(fd);
    }
}

/* ---- The head ---- */

static int receive_more(struct exchange *exchange) {
    size_t room = HEAD_BYTES_MAX - exchange->bytes;
    if (room == 0) {
        return -EMSGSIZE;
    }
    ssize_t got = bnx_recv(exchange->fd, exchange->buffer + exchange->bytes, room, 0);
    if (got <= 0) {
        return got < 0 ? (int)got : -ECONNRESET;
    }
    exchange->has_received = true;
    exchange->bytes += (size_t)got;
    exchange->buffer[exchange->bytes] = '\0';
    return 0;
}

static void consume(struct exchange *exchange, size_t bytes) {
    exchange->bytes -= bytes;
    memmove(exchange->buffer, exchange->buffer + bytes, exchange->bytes + 1);
}

/* One header field, NUL-terminated. */
static int read_field(struct exchange *exchange, char *line) {
    char *value = strchr(line, ':');
    if (value == NULL) {
        return -EPROTO;
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    value[strcspn(value, " \t\r")] = '\0';
    if (strcasecmp(line, "Content-Length") == 0) {
        char *end;
        exchange->framing.content_bytes = strtoull(value, &end, 10);
        exchange->ends_at_end = false;
        return *value < '0' || *value > '9' || *end != '\0' ? -EPROTO : 0;
    }
    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        exchange->framing.is_chunked = true;
        exchange->ends_at_end = false;
        return strcasecmp(value, "chunked") == 0 ? 0 : -EPROTO;
    }
    if (strcasecmp(line, "Connection") == 0) {
        exchange->is_kept = strcasecmp(value, "close") != 0;
    }
    return 0;
}

/* "HTTP/1.1 200 OK", then fields; head ends before the empty line. Returns the status. */
static int read_head(struct exchange *exchange, char *head) {
    int minor, status;
    if (strlen(head) < 12 || sscanf(head, "HTTP/1.%1d %3d", &minor, &status) != 2 || status < 100) {
        return -EPROTO;
    }
    exchange->is_kept = minor >= 1;
    exchange->ends_at_end = true;
    char *rest = strchr(head, '\n');
    while (rest != NULL) { /* ends: one line fewer each round */
        char *line = rest + 1;
        rest = strchr(line, '\n');
        if (rest != NULL) {
            *rest = '\0';
        }
        int error = read_field(exchange, line);
        if (error < 0) {
            return error;
        }
    }
    if (status < 200 || status == 204 || status == 304) { /* never with a body */
        exchange->framing = (struct bnx_http1_request){0};
        exchange->ends_at_end = false;
    }
    return status;
}

/* Receives a head. Returns its status. */
static int receive_head(struct exchange *exchange) {
    char *end;
    while ((end = strstr(exchange->buffer, "\r\n\r\n")) == NULL) { /* ends: the buffer fills up */
        int error = receive_more(exchange);
        if (error < 0) {
            return error;
        }
    }
    *end = '\0';
    exchange->framing = (struct bnx_http1_request){.body_bytes_max = BNX_HTTP_BODY_BYTES_MAX};
    int status = read_head(exchange, exchange->buffer);
    consume(exchange, (size_t)(end + 4 - exchange->buffer));
    return status;
}

/* ---- The body ---- */

static int append(struct bnx_http_reply *reply, const char *data, size_t bytes) {
    if (bytes > BNX_HTTP_BODY_BYTES_MAX - reply->body_bytes) {
        return -EMSGSIZE;
    }
    memcpy(reply->body + reply->body_bytes, data, bytes);
    reply->body_bytes += bytes;
    reply->body[reply->body_bytes] = '\0';
    return 0;
}

static int receive_to_end(struct exchange *exchange, struct bnx_http_reply *reply) {
    int error;
    exchange->is_kept = false;
    do { /* ends: with the connection, or the body is too long */
        error = append(reply, exchange->buffer, exchange->bytes);
        exchange->bytes = 0;
        error = error < 0 ? error : receive_more(exchange);
    } while (error == 0);
    return error == -ECONNRESET ? 0 : error;
}

static int receive_body(struct exchange *exchange, struct bnx_http_reply *reply) {
    if (exchange->ends_at_end) {
        return receive_to_end(exchange, reply);
    }
    struct bnx_http1_body body;
    bnx_http1_body_init(&body, &exchange->framing);
    for (;;) { /* ends: with the body, too long a one, or the connection */
        struct bnx_http1_piece piece;
        int result = bnx_http1_body_parse(&body, exchange->buffer, exchange->bytes, &piece);
        if (result < 0) {
            return result == -413 ? -EMSGSIZE : -EPROTO;
        }
        size_t content_at = piece.consumed - piece.content_bytes;
        int error = append(reply, exchange->buffer + content_at, piece.content_bytes);
        consume(exchange, piece.consumed);
        if (error == 0 && result == 0 && exchange->bytes == 0) {
            error = receive_more(exchange);
        }
        if (error < 0 || result == 1) {
            return error;
        }
    }
}

/* ---- A request ---- */

static int request_write(char request[REQUEST_BYTES_MAX], const char *server, const char *path) {
    int bytes =
        snprintf(request, REQUEST_BYTES_MAX, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, server);
    bool is_fine = path[0] == '/' && strpbrk(path, " \t\r\n") == NULL;
    return is_fine && bytes < REQUEST_BYTES_MAX ? bytes : -EINVAL;
}

static int exchange_run(struct exchange *exchange, const char *request, size_t request_bytes,
                        struct bnx_http_reply *reply) {
    reply->body_bytes = 0;
    reply->body[0] = '\0';
    ssize_t sent = bnx_send_all(exchange->fd, request, request_bytes);
    if (sent < (ssize_t)request_bytes) {
        return sent < 0 ? (int)sent : -ECONNRESET;
    }
    int status;
    do { /* ends: a "100 Continue" or its like is followed by the reply */
        status = receive_head(exchange);
    } while (status >= 100 && status < 200);
    if (status < 0) {
        return status;
    }
    reply->status = status;
    return receive_body(exchange, reply);
}

int bnx_http_get(struct bnx_http_pool *pool, const char *path, struct bnx_http_reply *out_reply) {
    char request[REQUEST_BYTES_MAX];
    int bytes = request_write(request, pool->server, path);
    if (bytes < 0) {
        return bytes;
    }
    for (;;) { /* ends: idle connections are few, and the last one is new */
        bool is_new = false;
        int fd = connection_take(pool, &is_new);
        if (fd < 0) {
            return fd;
        }
        struct exchange exchange;
        exchange.fd = fd;
        exchange.bytes = 0;
        exchange.has_received = false;
        exchange.is_kept = false;
        exchange.buffer[0] = '\0';
        int error = exchange_run(&exchange, request, (size_t)bytes, out_reply);
        connection_give(pool, fd, error == 0 && exchange.is_kept && exchange.bytes == 0);
        /* An idle connection that the server has closed says nothing of the request. */
        bool is_stale = (error == -ECONNRESET || error == -EPIPE) && !exchange.has_received;
        if (is_new || !is_stale) {
            return error;
        }
    }
}
