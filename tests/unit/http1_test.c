/* SPDX-License-Identifier: MIT */
/* Tests the HTTP/1.1 parser and response writer of the examples; no I/O, no runtime. */
#include "io/examples/http1.h"

#include "runtime/rng.h"
#include "tests/support/test.h"
#include "tests/unit/http1_feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H "Host: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
    const char *request;
    int status; /* 0: it wants more */
} requests[] = {
    /* Good. */
    {"GET / HTTP/1.1\r\n" H "\r\n", 200},
    {"\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 200},
    {"GET /a?b=c&d=/.. HTTP/1.1\r\n" H "\r\n", 200},
    {"GET / HTTP/1.0\r\n\r\n", 200},
    {"GET / HTTP/1.7\r\n" H "\r\n", 200},
    {"GET http://a:80/b HTTP/1.1\r\n" H "\r\n", 200},
    {"GET http://a HTTP/1.1\r\n" H "\r\n", 200},
    {"GET HTTPS://a?q HTTP/1.1\r\n" H "\r\n", 200},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 200},
    {"CONNECT a:443 HTTP/1.1\r\n" H "\r\n", 200},
    {"DELETE /x HTTP/1.1\r\nhost:\t[::1]:80 \t\r\n\r\n", 200},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200},
    {"GET / HTTP/1.1\r\n" H "X: \x80\xff\t y\r\nY:\r\n\r\n", 200},
    {"GET / HTTP/1.1\r\n" H "!#$%&'*+-.^_`|~9aZ: x\r\n\r\n", 200},
    {"GET / HTTP/1.1\r\n" H "Connection: , close ,\r\n\r\n", 200},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", 200},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0005\r\n\r\nhello", 200},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200},
    {"POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", 200},
    {CHUNKED "5\r\nhello\r\n0\r\n\r\n", 200},
    {CHUNKED "1\r\nh\r\n0004\r\nello\r\n000\r\n\r\n", 200},
    {CHUNKED "A;x=\"y\";z\r\n0123456789\r\nb ; q\r\n0123456789a\r\n0;end\r\n\r\n", 200},
    {CHUNKED "1\r\n\r\r\n0\r\nTrailer-A: 1\r\nB:\t2\r\n\r\n", 200},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\nX: y\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: ,Chunked,\r\n\r\n0\r\n\r\n", 200},
    /* Unfinished. */
    {"", 0},
    {"G", 0},
    {"GET / HTTP/1.1\r\n" H "\r", 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhell", 0},
    {CHUNKED "5\r\nhello\r\n0\r\n\r", 0},
    /* The request line. */
    {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
    {"GET /  HTTP/1.1\r\n" H "\r\n", 400},
    {"GET\t/ HTTP/1.1\r\n" H "\r\n", 400},
    {" GET / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /a b HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\r\n", 400},
    {"GET\r\n", 400},
    {"GET  HTTP/1.1\r\n" H "\r\n", 400},
    {"G(T / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET * HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http:///x HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http://a#b HTTP/1.1\r\n" H "\r\n", 400},
    {"GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http://u@a/ HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /#x HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\x80 HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n" H "\r\n", 400},
    {"CONNECT /x HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / http/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.10\r\n" H "\r\n", 400},
    {"GET / HTTP/11\r\n" H "\r\n", 400},
    {"GET / HTTP/1.x\r\n" H "\r\n", 400},
    {"GET / HTTP/2.0\r\n" H "\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"GET / HTTP/0.9\r\n" H "\r\n", 505},
    {"BREW / HTTP/1.1\r\n" H "\r\n", 501},
    {"get / HTTP/1.1\r\n" H "\r\n", 501},
    {"\x16\x03\x01\x02", 400},
    {"GET / HTTP/1.1\n" H "\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
    {"\nGET / HTTP/1.1\r\n" H "\r\n", 400},
    {"\rGET / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\r\n" H "\r\n", 400},
    /* Fields. */
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.0\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n X: a\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\x80: a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Expect: tea\r\n\r\n", 417},
    {"GET / HTTP/1.1\r\n" H "Expect:\r\n\r\n", 417},
    /* Framing. */
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nx", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999x\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     400},
    {CHUNKED "\r\n", 400},
    {CHUNKED "5\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "5\r\nhello0\r\n\r\n", 400},
    {CHUNKED "5\r\nhello\n0\r\n\r\n", 400},
    {CHUNKED "5\r\nhellox\n0\r\n\r\n", 400},
    {CHUNKED " 5\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "5 \r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "-5\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "5;\x01\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "5;a\rb\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "00000000000000005\r\nhello\r\n0\r\n\r\n", 400},
    {CHUNKED "3e9\r\n", 413},
    {CHUNKED "ffffffffffffffff\r\n", 413},
    {CHUNKED "5\r\nhello\r\n3e5\r\n", 413},
    {CHUNKED "0\r\n X: y\r\n\r\n", 400},
    {CHUNKED "0\r\nX : y\r\n\r\n", 400},
    {CHUNKED "0\r\nX: y\n\r\n", 400},
    {CHUNKED "0\r\n\rx", 400},
};

#define REQUEST_COUNT (sizeof(requests) / sizeof(requests[0]))

/* Each request of the table gets the status beside it, and a good one is consumed to its end. */
TEST(http1_table, "http1.table") {
    for (size_t i = 0; i < REQUEST_COUNT; i++) {
        size_t bytes = strlen(requests[i].request);
        struct feed feed;
        parse_whole(&feed, requests[i].request, bytes);
        if (feed.outcome.status != requests[i].status) {
            printf("request %zu: %s\n", i, requests[i].request);
        }
        CHECK_EQ(feed.outcome.status, requests[i].status);
        if (feed.outcome.status == 200) {
            CHECK_EQ(feed.outcome.consumed, bytes);
        }
    }
}

/* A NUL cannot stand in the table: put at each place of a good head in turn, it is always 400. */
TEST(http1_nul_is_refused, "http1.nul_is_refused") {
    static const char good[] = "GET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for (size_t at = 0; at + 1 < sizeof(good); at++) {
        char bad[sizeof(good)];
        memcpy(bad, good, sizeof(good));
        bad[at] = '\0';
        struct feed feed;
        parse_whole(&feed, bad, sizeof(good) - 1);
        /* The last LF turned into NUL leaves a line that has not ended. */
        CHECK_EQ(feed.outcome.status, at + 2 == sizeof(good) ? 0 : 400);
    }
}

/* Each request, cut into two at every offset and then into single bytes, comes to the same. */
TEST(http1_cut_anywhere, "http1.cut_anywhere") {
    for (size_t i = 0; i < REQUEST_COUNT; i++) {
        const char *data = requests[i].request;
        size_t bytes = strlen(data);
        struct feed whole;
        parse_whole(&whole, data, bytes);
        for (size_t cut = 0; cut <= bytes; cut++) {
            struct feed feed;
            parse_whole(&feed, data, cut);
            feed_upto(&feed, data, bytes);
            check_same(&feed, &whole);
        }
        struct feed feed;
        feed_init(&feed);
        for (size_t upto = 0; upto <= bytes; upto++) {
            feed_upto(&feed, data, upto);
        }
        check_same(&feed, &whole);
    }
}

/* Builds PREFIX, count times FILL, SUFFIX, and parses it whole and in two parts at some offsets. */
static int parse_built(const char *prefix, const char *fill, size_t count, const char *suffix) {
    size_t fill_bytes = strlen(fill);
    size_t bytes = strlen(prefix) + fill_bytes * count + strlen(suffix);
    char *data = malloc(bytes + 1);
    CHECK(data != NULL);
    char *at = stpcpy(data, prefix);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, fill);
    }
    stpcpy(at, suffix);
    struct feed whole;
    parse_whole(&whole, data, bytes);
    for (size_t cut = 0; cut <= bytes; cut += 1 + bytes / 97) {
        struct feed feed;
        parse_whole(&feed, data, cut);
        feed_upto(&feed, data, bytes);
        check_same(&feed, &whole);
    }
    free(data);
    return whole.outcome.status;
}

/* Each limit is met exactly: the largest that fits is good, one more is the documented status. */
TEST(http1_limits, "http1.limits") {
    const char *end = " HTTP/1.1\r\n" H "\r\n";
    CHECK_EQ(parse_built("GET /", "a", BNX_HTTP1_TARGET_BYTES_MAX - 1, end), 200);
    CHECK_EQ(parse_built("GET /", "a", BNX_HTTP1_TARGET_BYTES_MAX, end), 414);
    CHECK_EQ(parse_built("GET /", "a", BNX_HTTP1_TARGET_BYTES_MAX * 3, ""), 414);
    CHECK_EQ(parse_built("GET /", "a", BNX_HTTP1_TARGET_BYTES_MAX * 3, end), 414);

    CHECK_EQ(parse_built("", "A", BNX_HTTP1_TARGET_BYTES_MAX * 3 / 2, " / HTTP/1.1\r\n"), 414);
    CHECK_EQ(parse_built("", "A", BNX_HTTP1_TARGET_BYTES_MAX / 2, " / HTTP/1.1\r\n"), 501);
    CHECK_EQ(parse_built("GET / ", "A", BNX_HTTP1_TARGET_BYTES_MAX * 3 / 2, "\r\n"), 414);

    const char *start = "GET / HTTP/1.1\r\n" H "X: ";
    size_t room = BNX_HTTP1_HEAD_BYTES_MAX - strlen(start) - 4;
    CHECK_EQ(parse_built(start, "a", room, "\r\n\r\n"), 200);
    CHECK_EQ(parse_built(start, "a", room + 1, "\r\n\r\n"), 431);
    CHECK_EQ(parse_built(start, "a", room * 2, ""), 431);
    CHECK_EQ(parse_built("GET / HTTP/1.1\r\n" H, "a: b\r\n", BNX_HTTP1_FIELDS_MAX - 1, "\r\n"),
             200);
    CHECK_EQ(parse_built("GET / HTTP/1.1\r\n" H, "a: b\r\n", BNX_HTTP1_FIELDS_MAX, "\r\n"), 431);
    CHECK_EQ(parse_built("", "\r\n", BNX_HTTP1_HEAD_BYTES_MAX / 2, "GET / HTTP/1.1\r\n\r\n"), 431);

    CHECK_EQ(parse_built(CHUNKED "1;", "a", BNX_HTTP1_CHUNK_EXTRA_MAX - 1, "\r\nx\r\n0\r\n\r\n"),
             200);
    CHECK_EQ(parse_built(CHUNKED "1;", "a", BNX_HTTP1_CHUNK_EXTRA_MAX, "\r\nx\r\n0\r\n\r\n"), 400);
    CHECK_EQ(parse_built(CHUNKED "0\r\nX:", "a", BNX_HTTP1_TRAILER_BYTES_MAX / 2, "\r\n\r\n"), 200);
    CHECK_EQ(parse_built(CHUNKED "0\r\nX:", "a", BNX_HTTP1_TRAILER_BYTES_MAX, "\r\n\r\n"), 431);
    CHECK_EQ(parse_built(CHUNKED "0\r\n", "a: b\r\n", BNX_HTTP1_TRAILER_BYTES_MAX, "\r\n"), 431);
    CHECK_EQ(parse_built("POST / HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n", "x", 1000, ""),
             200);
    CHECK_EQ(parse_built(CHUNKED, "1\r\nx\r\n", BODY_BYTES_MAX, "0\r\n\r\n"), 200);
    CHECK_EQ(parse_built(CHUNKED, "1\r\nx\r\n", BODY_BYTES_MAX + 1, "0\r\n\r\n"), 413);
}

/* What the head says: persistence in both versions, the path of each form, the body's content. */
TEST(http1_meaning, "http1.meaning") {
    static const struct {
        const char *fields;
        int minor;
        bool is_kept_alive;
    } cases[] = {
        {"HTTP/1.1\r\n" H, 1, true},
        {"HTTP/1.1\r\n" H "Connection: Close\r\n", 1, false},
        {"HTTP/1.1\r\n" H "Connection: keep-alive, close\r\n", 1, false},
        {"HTTP/1.1\r\n" H "Connection: x\r\nConnection: close\r\n", 1, false},
        {"HTTP/1.1\r\n" H "Connection: closed\r\n", 1, true},
        {"HTTP/1.9\r\n" H, 1, true},
        {"HTTP/1.0\r\n", 0, false},
        {"HTTP/1.0\r\nConnection: Keep-Alive\r\n", 0, true},
        {"HTTP/1.0\r\nConnection: Keep-Alive, close\r\n", 0, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        int bytes = snprintf(text, sizeof(text), "GET / %s\r\n", cases[i].fields);
        struct feed feed;
        parse_whole(&feed, text, (size_t)bytes);
        CHECK_EQ(feed.outcome.status, 200);
        CHECK_EQ(feed.outcome.request.minor_version, cases[i].minor);
        CHECK_EQ(feed.outcome.request.is_kept_alive, cases[i].is_kept_alive);
    }

    static const struct {
        const char *target;
        const char *path;
    } targets[] = {
        {"/a/b?c/d", "/a/b"}, {"http://h:1/a?b", "/a"}, {"http://h", ""}, {"https://h?x", ""},
        {"/?", "/"},          {"http://[::1]:8/", "/"},
    };
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char text[200];
        int bytes =
            snprintf(text, sizeof(text), "\r\nGET %s HTTP/1.1\r\n" H "\r\n", targets[i].target);
        struct feed feed;
        parse_whole(&feed, text, (size_t)bytes);
        CHECK_EQ(feed.outcome.status, 200);
        char path[200];
        size_t path_bytes = feed.outcome.request.path_bytes;
        memcpy(path, text + feed.outcome.request.path_at, path_bytes);
        path[path_bytes] = '\0';
        CHECK_STR(path, targets[i].path);
    }

    struct feed feed;
    const char *body = CHUNKED "6;a\r\nhello \r\n5\r\nworld\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1";
    parse_whole(&feed, body, strlen(body));
    CHECK_EQ(feed.outcome.status, 200);
    CHECK_STR(feed.outcome.content, "hello world");
    CHECK_EQ(feed.outcome.consumed, strlen(body) - strlen("GET / HTTP/1.1"));
    CHECK(!feed.outcome.request.expects_continue);

    const char *expect =
        "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
    parse_whole(&feed, expect, strlen(expect));
    CHECK(feed.outcome.request.expects_continue);
    const char *bodiless = "GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n";
    parse_whole(&feed, bodiless, strlen(bodiless));
    CHECK(!feed.outcome.request.expects_continue);
}

/* Paths: decoded once, normalised, never above the root. */
TEST(http1_path, "http1.path") {
    static const struct {
        const char *path;
        const char *wanted; /* NULL: 400 */
    } cases[] = {
        {"/", "/"},
        {"/a", "/a"},
        {"/a/", "/a/"},
        {"//a///b//", "/a/b/"},
        {"/a/./b", "/a/b"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/../b", "/b"},
        {"/a/b/../../c", "/c"},
        {"/...", "/..."},
        {"/..a/b..", "/..a/b.."},
        {"/%61%2Fb", "/a/b"},
        {"/%2561", "/%61"},
        {"/a%20b", "/a b"},
        {"/a/%2e%2E/b", "/b"},
        {"/..", NULL},
        {"/../a", NULL},
        {"/a/../../b", NULL},
        {"/%2e%2e/a", NULL},
        {"/a%2f..%2f..%2fb", NULL},
        {"/./..", NULL},
        {"//..", NULL},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%zz", NULL},
        {"/%00", NULL},
        {"", NULL},
        {"a", NULL},
        {"*", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t bytes = strlen(cases[i].path);
        char *out = malloc(bytes + 2);
        CHECK(out != NULL);
        int length = bnx_http1_path_decode(cases[i].path, bytes, out, bytes + 2);
        if (cases[i].wanted == NULL) {
            CHECK_EQ(length, -400);
        } else {
            CHECK_STR(out, cases[i].wanted);
            CHECK_EQ(length, strlen(out));
        }
        CHECK_EQ(bnx_http1_path_decode(cases[i].path, bytes, out, bytes + 1), -414);
        free(out);
    }
}

/* The decoded path of random bytes made of dangerous parts never has a ".." segment or a "//". */
TEST(http1_path_stays_inside, "http1.path_stays_inside") {
    static const char *const parts[] = {"/", "..", ".", "%2e", "%2f", "a", "%", "//", "%5c", "\\"};
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    uint64_t rounds = bnx_test_scale(200000);
    for (uint64_t round = 0; round < rounds; round++) {
        char path[128] = "/";
        uint32_t count = bnx_rng_below(&rng, 12);
        for (uint32_t i = 0; i < count; i++) {
            strcat(path, parts[bnx_rng_below(&rng, sizeof(parts) / sizeof(parts[0]))]);
        }
        char out[130];
        int length = bnx_http1_path_decode(path, strlen(path), out, sizeof(out));
        if (length < 0) {
            CHECK_EQ(length, -400);
            continue;
        }
        CHECK_EQ(length, strlen(out));
        CHECK_EQ(out[0], '/');
        CHECK(strstr(out, "//") == NULL && strstr(out, "/../") == NULL);
        CHECK(length < 3 || strcmp(out + length - 3, "/..") != 0);
    }
}

/* A response head is what RFC 9112 says, and is refused whole when one byte of room is missing. */
TEST(http1_response, "http1.response") {
    char date[BNX_HTTP1_DATE_BYTES + 1];
    bnx_http1_date_write(date, 784111777);
    CHECK_STR(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    bnx_http1_date_write(date, 951782400);
    CHECK_STR(date, "Tue, 29 Feb 2000 00:00:00 GMT");
    bnx_http1_date_write(date, INT64_MAX);
    CHECK_STR(date, "Thu, 01 Jan 1970 00:00:00 GMT");

    struct bnx_http1_response response = {
        .status = 404,
        .content_type = "text/plain",
        .content_bytes = 1234567890123,
        .date = date,
        .last_modified = date,
        .allow = "GET, HEAD",
        .is_last = true,
    };
    const char *wanted = "HTTP/1.1 404 Not Found\r\n"
                         "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                         "Content-Type: text/plain\r\n"
                         "Content-Length: 1234567890123\r\n"
                         "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                         "Allow: GET, HEAD\r\n"
                         "Connection: close\r\n\r\n";
    for (size_t room = 0; room <= strlen(wanted); room++) {
        char *out = malloc(room + 1);
        CHECK(out != NULL);
        size_t bytes = bnx_http1_response_write(out, room, &response);
        CHECK_EQ(bytes, room < strlen(wanted) ? 0 : room);
        out[bytes] = '\0';
        CHECK_STR(out, bytes == 0 ? "" : wanted);
        free(out);
    }
    char out[BNX_HTTP1_RESPONSE_HEAD_MAX];
    struct bnx_http1_response interim = {.status = 100};
    size_t bytes = bnx_http1_response_write(out, sizeof(out), &interim);
    out[bytes] = '\0';
    CHECK_STR(out, "HTTP/1.1 100 Continue\r\n\r\n");
    struct bnx_http1_response old = {.status = 200, .is_kept_alive_10 = true};
    bytes = bnx_http1_response_write(out, sizeof(out), &old);
    out[bytes] = '\0';
    CHECK_STR(out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}

/* Overwrites, inserts, removes or doubles a few bytes; returns the new length. */
static size_t mutate(struct bnx_rng *rng, char *data, size_t bytes, size_t room) {
    static const char spice[] = "\r\n\0 \t:;,/%.0159afAF\x80\xff\x7f-+*";
    uint32_t count = 1 + bnx_rng_below(rng, 4);
    for (uint32_t i = 0; i < count && bytes > 0; i++) {
        size_t at = bnx_rng_below(rng, (uint32_t)bytes);
        char c = bnx_rng_below(rng, 4) == 0 ? (char)bnx_rng_below(rng, 256)
                                            : spice[bnx_rng_below(rng, sizeof(spice) - 1)];
        switch (bnx_rng_below(rng, 4)) {
        case 0:
            data[at] = c;
            break;
        case 1:
            if (bytes < room) {
                memmove(data + at + 1, data + at, bytes - at);
                data[at] = c;
                bytes++;
            }
            break;
        case 2:
            memmove(data + at, data + at + 1, bytes - at - 1);
            bytes--;
            break;
        default: {
            size_t part = 1 + bnx_rng_below(rng, (uint32_t)(bytes - at));
            if (bytes + part <= room) {
                memmove(data + at + part, data + at, bytes - at);
                bytes += part;
            }
            break;
        }
        }
    }
    return bytes;
}

/* Mutated requests never crash the parser (AddressSanitizer looks at exact copies), never give an
 * undocumented status, and come to the same whole and in random pieces. */
TEST(http1_mutants, "http1.mutants") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    uint64_t rounds = bnx_test_scale(200000);
    uint64_t good = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        char data[2048];
        const char *origin = requests[bnx_rng_below(&rng, REQUEST_COUNT)].request;
        size_t bytes = strlen(origin);
        memcpy(data, origin, bytes);
        bytes = mutate(&rng, data, bytes, sizeof(data));
        struct feed whole;
        parse_whole(&whole, data, bytes);
        int status = whole.outcome.status;
        CHECK(status == 0 || status == 200 || status == 400 || status == 413 || status == 417 ||
              status == 431 || status == 501 || status == 505);
        good += status == 200;
        struct feed feed;
        feed_init(&feed);
        for (size_t upto = 0; upto < bytes; upto += 1 + bnx_rng_below(&rng, 40)) {
            feed_upto(&feed, data, upto);
        }
        feed_upto(&feed, data, bytes);
        check_same(&feed, &whole);
        if (status == 200) {
            char path[256];
            (void)bnx_http1_path_decode(data + whole.outcome.request.path_at,
                                        whole.outcome.request.path_bytes, path, sizeof(path));
        }
    }
    CHECK(rounds < 1000 || good > 0); /* the mutants are not all so broken that they test little */
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
