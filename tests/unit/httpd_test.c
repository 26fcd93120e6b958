/* SPDX-License-Identifier: MIT */
/* Tests a connection of the httpd example without sockets: bytes in, bytes out. */
#include "io/examples/httpd_connection.h"

#include "runtime/rng.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_BYTES_MAX 65536
#define STEPS_MAX 1000000 /* far more than any stream here takes: a connection that does not end */

static const struct bnx_httpd_site site = {.root_fd = -1};

/* All kinds of requests, one behind the other; the answers to be seen are counted by ANSWERS. */
static const char stream[] =
    "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"
    "HEAD /plaintext HTTP/1.1\r\nHost: a\r\n\r\n"
    "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1"
    "\r\n\r\nGET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    "PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3;x=y\r\nabc\r\n04\r\ndefg\r\n0\r\nT: u\r\n\r\n"
    "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    "GET /plaintext?q HTTP/1.1\r\nHost: a\r\n\r\n";
#define ANSWERS 9

/* What a connection said, NUL-terminated. */
struct output {
    size_t bytes;
    char text[OUT_BYTES_MAX + 1];
};

/* How a run is driven. */
struct run {
    struct bnx_rng *rng; /* NULL: everything in one piece */
    bool is_draining;    /* the connection is told that the server stops */
    bool takes_buffers;  /* they are spoilt whenever nothing is in them, as for a sleep */
    const char *input;
    size_t input_bytes;
};

static size_t part_of(struct bnx_rng *rng, size_t bytes) {
    return rng == NULL || bytes == 0 ? bytes : 1 + bnx_rng_below(rng, (uint32_t)bytes);
}

static void check_invariants(const struct bnx_httpd_connection *connection) {
    CHECK(connection->in_begin <= connection->in_end);
    CHECK(connection->in_end <= sizeof(connection->buffers->in));
    CHECK(connection->out_begin <= connection->out_end);
    CHECK(connection->out_end <= sizeof(connection->buffers->out));
    CHECK(connection->file_fd == -1);
}

/* Drives a connection through the input, then its end, and collects the output. */
static void drive(const struct run *run, struct output *output) {
    struct bnx_httpd_connection *connection = malloc(sizeof(*connection));
    CHECK(connection != NULL);
    memset(connection, 0xa5, sizeof(*connection));
    bnx_httpd_init(connection, &site, -1);
    connection->buffers = malloc(sizeof(*connection->buffers));
    CHECK(connection->buffers != NULL);
    connection->is_draining = run->is_draining;
    size_t at = 0;
    output->bytes = 0;
    enum bnx_httpd_want want = BNX_HTTPD_RECEIVE;
    for (int step = 0; want != BNX_HTTPD_END; step++) {
        CHECK(step < STEPS_MAX);
        want = bnx_httpd_next(connection);
        check_invariants(connection);
        CHECK(want != BNX_HTTPD_READ);
        if (want == BNX_HTTPD_RECEIVE) {
            if (run->takes_buffers && connection->in_end == 0 && connection->out_end == 0) {
                memset(connection->buffers, 0x5a, sizeof(*connection->buffers));
            }
            size_t room = sizeof(connection->buffers->in) - connection->in_end;
            CHECK(room > 0);
            size_t left = run->input_bytes - at;
            size_t bytes = part_of(run->rng, left < room ? left : room);
            if (bytes == 0 && run->is_draining && !connection->is_dry) {
                connection->is_dry = true;
                continue;
            }
            memcpy(connection->buffers->in + connection->in_end, run->input + at, bytes);
            at += bytes;
            bnx_httpd_received(connection, bytes);
        } else if (want == BNX_HTTPD_SEND) {
            size_t bytes = part_of(run->rng, connection->out_end - connection->out_begin);
            CHECK(bytes > 0 && output->bytes + bytes <= OUT_BYTES_MAX);
            memcpy(output->text + output->bytes, connection->buffers->out + connection->out_begin,
                   bytes);
            output->bytes += bytes;
            bnx_httpd_sent(connection, bytes);
        }
    }
    bnx_httpd_fini(connection);
    free(connection->buffers);
    free(connection);
    output->text[output->bytes] = '\0';
    for (char *date = output->text; (date = strstr(date, "\r\nDate: ")) != NULL; date += 8) {
        CHECK(strlen(date) >= 8 + BNX_HTTP1_DATE_BYTES);
        memset(date + 8, '-', BNX_HTTP1_DATE_BYTES); /* the one thing that may differ */
    }
}

static size_t count_of(const char *text, const char *wanted) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, wanted)) != NULL; at += strlen(wanted)) {
        count++;
    }
    return count;
}

/* A pipelined stream gives the same bytes whole, in random pieces with random partial sends, and
 * when its buffers are spoilt whenever they are empty. */
TEST(httpd_any_cut, "httpd.any_cut") {
    static struct output whole;
    static struct output cut;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    struct run run = {.input = stream, .input_bytes = sizeof(stream) - 1};
    drive(&run, &whole);
    CHECK_EQ(count_of(whole.text, "HTTP/1.1 "), ANSWERS);
    CHECK_EQ(count_of(whole.text, "Hello, World!"), 2);
    CHECK_EQ(count_of(whole.text, "12 bytes, fnv1a "), 1);
    CHECK_EQ(count_of(whole.text, "7 bytes, fnv1a 406e475017aa7737\n"), 1);
    uint64_t rounds = bnx_test_scale(20000);
    run.rng = &rng;
    for (uint64_t round = 0; round < rounds; round++) {
        run.takes_buffers = round % 8 == 0;
        drive(&run, &cut);
        CHECK_STR(cut.text, whole.text);
    }
}

/* While the server stops, every complete request is answered, and of all answers exactly the last
 * says close. The stream ends anywhere: what is incomplete is not answered. */
TEST(httpd_last_answer_closes, "httpd.last_answer_closes") {
    static struct output output;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    size_t answered_most = 0;
    for (size_t bytes = 0; bytes < sizeof(stream); bytes++) {
        struct run run = {.is_draining = true, .input = stream, .input_bytes = bytes};
        drive(&run, &output);
        size_t answers = count_of(output.text, "HTTP/1.1 ");
        CHECK(answers == answered_most || answers == answered_most + 1);
        answered_most = answers;
        CHECK_EQ(count_of(output.text, "Connection: close\r\n"), answers > 0);
        const char *last = output.text;
        for (const char *at = last; (at = strstr(at, "HTTP/1.1 ")) != NULL; at++) {
            last = at;
        }
        CHECK(answers == 0 || strstr(last, "Connection: close\r\n") != NULL);
        run.rng = &rng;
        drive(&run, &output);
        CHECK_EQ(count_of(output.text, "HTTP/1.1 "), answers);
        CHECK_EQ(count_of(output.text, "Connection: close\r\n"), answers > 0);
    }
    CHECK_EQ(answered_most, ANSWERS);
}

/* Streams with damaged bytes end, keep the invariants, and answer the same however they are cut. */
TEST(httpd_mutants, "httpd.mutants") {
    static struct output whole;
    static struct output cut;
    static const char spice[] = "\r\n\0 \t:;,/%.0159afAF\x80\xff\x7f-+*";
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 3);
    uint64_t rounds = bnx_test_scale(20000);
    for (uint64_t round = 0; round < rounds; round++) {
        char input[sizeof(stream)];
        memcpy(input, stream, sizeof(stream));
        uint32_t damages = 1 + bnx_rng_below(&rng, 4);
        for (uint32_t i = 0; i < damages; i++) {
            size_t at = bnx_rng_below(&rng, sizeof(stream) - 1);
            input[at] = spice[bnx_rng_below(&rng, sizeof(spice) - 1)];
        }
        struct run run = {.input = input, .input_bytes = sizeof(stream) - 1};
        drive(&run, &whole);
        run.rng = &rng;
        drive(&run, &cut);
        CHECK_STR(cut.text, whole.text);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
