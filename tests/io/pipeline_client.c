/* SPDX-License-Identifier: MIT */
/*
 * pipeline_client ADDRESS:PORT
 *
 * Claim: httpd answers pipelined requests as it answers them one by one, wherever the stream is
 * cut. Method: 1000 seeded requests of all kinds are sent one at a time, each answer is kept, its
 * Date blanked. Then they go out again in groups of 1 to 32; each group is sent once per byte
 * offset, cut there in two. The second part leaves only when the answers to all requests complete
 * in the first have come: so the server has read up to there and no timing is needed. BONXIE_SCALE
 * below 1 takes every so many offsets. At last some groups go byte by byte.
 */
#include "tests/io/client.h"

#define REQUESTS 1000
#define GROUP_MAX 32
#define TEXT_MAX 1024
#define ANSWER_MAX 2048
#define BYTEWISE_GROUPS 8

struct exchange {
    size_t request_bytes;
    size_t answer_bytes;
    bool is_head;
    char request[TEXT_MAX];
    char answer[ANSWER_MAX]; /* as it came one by one, Date blanked */
};

static struct exchange exchanges[REQUESTS];

static size_t append(char *out, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static size_t append(char *out, size_t at, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(out + at, TEXT_MAX - at, format, args);
    va_end(args);
    if (bytes < 0 || at + (size_t)bytes >= TEXT_MAX) {
        fail("a request does not fit");
    }
    return at + (size_t)bytes;
}

static size_t body_chunked(char *out, size_t at, uint64_t *random) {
    static const char *const extensions[] = {"", ";a", ";name=\"quo;ted\"", " ; b=c"};
    uint32_t chunks = random_below(random, 5);
    for (uint32_t i = 0; i < chunks; i++) {
        uint32_t bytes = 1 + random_below(random, 24);
        at = append(out, at, i % 2 == 0 ? "%x%s\r\n" : "0%X%s\r\n", bytes,
                    extensions[random_below(random, 4)]);
        for (uint32_t k = 0; k < bytes; k++) {
            out[at++] = "\r\n0abc"[random_below(random, 6)];
        }
        at = append(out, at, "\r\n");
    }
    return append(out, at, "0\r\n%s\r\n", random_below(random, 2) ? "X-Trailer: y\r\n" : "");
}

static size_t body_plain(char *out, size_t at, uint64_t *random) {
    uint32_t bytes = random_below(random, 60);
    at = append(out, at, "Content-Length: %" PRIu32 "\r\n\r\n", bytes);
    for (uint32_t k = 0; k < bytes; k++) {
        out[at++] = "GET / \r\n"[random_below(random, 8)];
    }
    return at;
}

static void request_make(struct exchange *exchange, uint64_t *random) {
    char *out = exchange->request;
    size_t at = 0;
    switch (random_below(random, 10)) {
    case 0:
        exchange->is_head = true;
        at = append(out, at, "HEAD /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        break;
    case 1:
        at =
            append(out, at, "GET /none/%x HTTP/1.1\r\nHost: a\r\n\r\n", random_below(random, 4096));
        break;
    case 2:
        at = append(out, at, "GET /./x/../plain%%74ext?q HTTP/1.1\r\nhost: b:1\r\n\r\n");
        break;
    case 3:
        at = append(out, at, "DELETE /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        break;
    case 4:
        at = append(out, at, "GET / HTTP/1.1\r\nHost: a\r\nX-%x: \t%x \r\n\r\n",
                    random_below(random, 99), random_below(random, 99));
        break;
    case 5:
    case 6:
        at = append(out, at,
                    "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
        at = body_chunked(out, at, random);
        break;
    case 7:
        at = append(out, at, "PUT /upload HTTP/1.1\r\nHost: a\r\n");
        at = body_plain(out, at, random);
        break;
    case 8:
        at = append(out, at, "GET http://a/plaintext HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        break;
    default:
        at = append(out, at, "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        break;
    }
    exchange->request_bytes = at;
}

/* Overwrites the value of every Date in place: it is the one thing that may differ. */
static void dates_blank(char *text, size_t bytes) {
    for (char *at = text;
         (at = memmem(at, bytes - (size_t)(at - text), "\r\nDate: ", 8)) != NULL;) {
        at += 8;
        if ((size_t)(at - text) + 29 > bytes) {
            return;
        }
        memset(at, '-', 29);
    }
}

/* Asks for one request alone and keeps the answer; its length is where Content-Length says. */
static void exchange_alone(int fd, struct exchange *exchange) {
    must_send(fd, exchange->request, exchange->request_bytes);
    size_t bytes = 0;
    size_t wanted = 0;
    while (wanted == 0 || bytes < wanted) {
        if (bytes == ANSWER_MAX) {
            fail("an answer is too long");
        }
        size_t received = must_receive(fd, exchange->answer + bytes, ANSWER_MAX - bytes);
        if (received == 0) {
            fail("closed instead of an answer to: %.*s", (int)exchange->request_bytes,
                 exchange->request);
        }
        bytes += received;
        const char *end = memmem(exchange->answer, bytes, "\r\n\r\n", 4);
        const char *length = memmem(exchange->answer, bytes, "\r\nContent-Length: ", 18);
        if (end != NULL && (length == NULL || length > end)) {
            fail("an answer without a length: %.*s", (int)bytes, exchange->answer);
        }
        if (end != NULL) {
            wanted = (size_t)(end + 4 - exchange->answer) +
                     (exchange->is_head ? 0 : (size_t)atoi(length + 18));
        }
    }
    if (bytes != wanted) {
        fail("%zu bytes after an answer: %.*s", bytes - wanted, (int)bytes, exchange->answer);
    }
    exchange->answer_bytes = bytes;
    dates_blank(exchange->answer, bytes);
}

/* Receives the answers of exchanges [first, end) and compares them. */
static void answers_check(int fd, size_t first, size_t end, const char *what) {
    static char got[GROUP_MAX * ANSWER_MAX];
    size_t wanted = 0;
    for (size_t i = first; i < end; i++) {
        wanted += exchanges[i].answer_bytes;
    }
    for (size_t bytes = 0; bytes < wanted;) {
        size_t received = must_receive(fd, got + bytes, wanted - bytes);
        if (received == 0) {
            fail("%s: closed after %zu of %zu bytes", what, bytes, wanted);
        }
        bytes += received;
    }
    dates_blank(got, wanted);
    size_t at = 0;
    for (size_t i = first; i < end; i++) {
        if (memcmp(got + at, exchanges[i].answer, exchanges[i].answer_bytes) != 0) {
            fail("%s: request %zu\n%.*s\nwas answered\n%.*s\ninstead of\n%.*s", what, i,
                 (int)exchanges[i].request_bytes, exchanges[i].request,
                 (int)exchanges[i].answer_bytes, got + at, (int)exchanges[i].answer_bytes,
                 exchanges[i].answer);
        }
        at += exchanges[i].answer_bytes;
    }
}

/* Requests that go out together. */
struct group {
    size_t first;
    size_t end;
    size_t bytes;
    char text[GROUP_MAX * TEXT_MAX];
};

/* Sends a group in two parts and checks all answers. */
static void group_cut(int fd, const struct group *group, size_t cut) {
    char what[64];
    size_t complete = group->first;
    size_t complete_bytes = 0;
    while (complete < group->end && complete_bytes + exchanges[complete].request_bytes <= cut) {
        complete_bytes += exchanges[complete++].request_bytes;
    }
    snprintf(what, sizeof(what), "cut at %zu of %zu", cut, group->bytes);
    must_send(fd, group->text, cut);
    answers_check(fd, group->first, complete, what);
    must_send(fd, group->text + cut, group->bytes - cut);
    answers_check(fd, complete, group->end, what);
}

static void group_bytewise(int fd, const struct group *group) {
    for (size_t at = 0; at < group->bytes; at++) {
        must_send(fd, group->text + at, 1);
    }
    answers_check(fd, group->first, group->end, "byte by byte");
}

static void group_make(struct group *group, size_t first, uint64_t *random) {
    group->first = first;
    group->bytes = 0;
    group->end = first + 1 + random_below(random, GROUP_MAX);
    group->end = group->end < REQUESTS ? group->end : REQUESTS;
    for (size_t i = first; i < group->end; i++) {
        memcpy(group->text + group->bytes, exchanges[i].request, exchanges[i].request_bytes);
        group->bytes += exchanges[i].request_bytes;
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = address_parse(argc > 1 ? argv[1] : NULL);
    uint64_t random = test_seed();
    size_t stride = test_scale() < 1 ? (size_t)(1 / test_scale()) : 1;
    int fd = must_connect(&address);
    for (size_t i = 0; i < REQUESTS; i++) {
        request_make(&exchanges[i], &random);
        exchange_alone(fd, &exchanges[i]);
    }
    static struct group group;
    size_t groups = 0;
    size_t cuts = 0;
    for (size_t first = 0; first < REQUESTS; first = group.end, groups++) {
        group_make(&group, first, &random);
        for (size_t cut = groups % stride; cut <= group.bytes; cut += stride, cuts++) {
            group_cut(fd, &group, cut);
        }
        if (groups < BYTEWISE_GROUPS) {
            group_bytewise(fd, &group);
        }
    }
    close(fd);
    printf("%d requests, %zu groups, %zu cuts: the same answers\n", REQUESTS, groups, cuts);
    return 0;
}
