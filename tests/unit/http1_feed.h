/* SPDX-License-Identifier: MIT */
/* Feeds a request to the HTTP/1.1 parser in pieces and keeps what it came to. */
#ifndef BNX_TESTS_UNIT_HTTP1_FEED_H
#define BNX_TESTS_UNIT_HTTP1_FEED_H

#include "io/examples/http1.h"

#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX 1000

/* What a parse of one request came to; all of it must be the same however the bytes are cut. */
struct outcome {
    int status;                       /* 200 complete, 0 wants more, else the status of the error */
    size_t consumed;                  /* head and body, when complete */
    struct bnx_http1_request request; /* when complete; progress fields zeroed */
    char content[BODY_BYTES_MAX + 1]; /* the decoded body, NUL-terminated */
    size_t content_bytes;
};

/* A request that a piece at a time arrives. data is exactly as long as what has come, so that
 * AddressSanitizer sees a read beyond it. */
struct feed {
    struct outcome outcome;
    struct bnx_http1_request request;
    struct bnx_http1_body body;
    size_t head_bytes; /* 0 until the head is complete */
    size_t at;         /* body bytes up to here are decoded */
    bool is_over;      /* complete or failed */
};

static inline void feed_init(struct feed *feed) {
    memset(feed, 0, sizeof(*feed));
    bnx_http1_request_init(&feed->request, BODY_BYTES_MAX);
}

static inline void feed_fail(struct feed *feed, int status) {
    feed->outcome.status = -status;
    feed->is_over = true;
}

static inline void feed_body(struct feed *feed, const char *data, size_t bytes) {
    while (true) {
        struct bnx_http1_piece piece;
        int status = bnx_http1_body_parse(&feed->body, data + feed->at, bytes - feed->at, &piece);
        if (status < 0) {
            feed_fail(feed, status);
            return;
        }
        CHECK(piece.content_bytes <= piece.consumed && piece.consumed <= bytes - feed->at);
        CHECK(status == 1 || piece.consumed > 0 || feed->at == bytes);
        feed->at += piece.consumed;
        CHECK(feed->outcome.content_bytes + piece.content_bytes <= BODY_BYTES_MAX);
        memcpy(feed->outcome.content + feed->outcome.content_bytes,
               data + feed->at - piece.content_bytes, piece.content_bytes);
        feed->outcome.content_bytes += piece.content_bytes;
        if (status == 1) {
            feed->outcome.status = 200;
            feed->outcome.consumed = feed->at;
            feed->outcome.request = feed->request;
            feed->outcome.request.line_at = 0;
            feed->outcome.request.scan_at = 0;
            feed->is_over = true;
            return;
        }
        if (feed->at == bytes) {
            return;
        }
    }
}

/* Gives the parser everything up to `bytes`; data is the request's first byte. */
static inline void feed_upto(struct feed *feed, const char *data, size_t bytes) {
    if (feed->is_over) {
        return;
    }
    char *exact = malloc(bytes > 0 ? bytes : 1);
    CHECK(exact != NULL);
    memcpy(exact, data, bytes);
    if (feed->head_bytes == 0) {
        int head = bnx_http1_head_parse(&feed->request, exact, bytes);
        if (head < 0) {
            feed_fail(feed, head);
        } else if (head > 0) {
            feed->head_bytes = (size_t)head;
            feed->at = (size_t)head;
            bnx_http1_body_init(&feed->body, &feed->request);
        } else {
            CHECK(bytes < BNX_HTTP1_HEAD_BYTES_MAX);
        }
    }
    if (feed->head_bytes > 0 && !feed->is_over) {
        feed_body(feed, exact, bytes);
    }
    free(exact);
}

static inline void parse_whole(struct feed *feed, const char *data, size_t bytes) {
    feed_init(feed);
    feed_upto(feed, data, bytes);
}

static inline void check_same(const struct feed *cut, const struct feed *whole) {
    CHECK_EQ(cut->outcome.status, whole->outcome.status);
    CHECK_EQ(cut->outcome.consumed, whole->outcome.consumed);
    if (whole->outcome.status == 200) {
        CHECK_EQ(cut->outcome.content_bytes, whole->outcome.content_bytes);
        CHECK_STR(cut->outcome.content, whole->outcome.content);
        CHECK_EQ(cut->outcome.request.method, whole->outcome.request.method);
        CHECK_EQ(cut->outcome.request.path_at, whole->outcome.request.path_at);
        CHECK_EQ(cut->outcome.request.path_bytes, whole->outcome.request.path_bytes);
        CHECK_EQ(cut->outcome.request.is_kept_alive, whole->outcome.request.is_kept_alive);
        CHECK_EQ(cut->outcome.request.is_chunked, whole->outcome.request.is_chunked);
        CHECK_EQ(cut->outcome.request.expects_continue, whole->outcome.request.expects_continue);
    }
}

#endif
