/* SPDX-License-Identifier: MIT */
/*
 * Tests TLS streams (bonxie/tls.h): handshakes that succeed and that must not, bytes, ends,
 * cancels.
 *
 * Method: certificates are made by the process itself, in a directory of its own; both ends are
 * tasks over a socket pair, so that nothing but the library and OpenSSL is in between.
 */
#include "tests/io/memory_transport.h"
#include "tests/io/tls_parties.h"

/* ---- Handshakes ---- */

static int agree(void *arg) {
    (void)arg;
    const struct bnx_tls_options client = {.authorities_file = files.authority, .alpn = "h2,echo"};
    const struct bnx_tls_options server = {.certificate_file = files.server, .alpn = "echo,other"};
    struct parties parties;
    parties_make(&parties, &client, &server);
    CHECK_EQ(bnx_tls_server_add(parties.server, "two.test", files.other, NULL), 0);
    for (int round = 0; round < 2; round++) {
        meet(&parties);
        CHECK_EQ(parties.client_result, 0);
        CHECK_EQ(parties.server_result, 0);
        CHECK(strcmp(parties.client_info.protocol, "TLSv1.3") == 0);
        CHECK(strcmp(parties.client_info.alpn, "echo") == 0);
        CHECK(strcmp(parties.server_info.alpn, "echo") == 0);
        CHECK_EQ(parties.client_info.is_resumed != 0, round == 1);
        CHECK_EQ(parties.server_info.is_resumed != 0, round == 1);
        part(&parties);
    }
    parties.host = "two.test";
    meet(&parties);
    CHECK_EQ(parties.client_result, 0);
    part(&parties);
    parties_free(&parties);
    return 0;
}

/* Claim: client and server agree on TLS 1.3, ALPN by the server's choice, the certificate by the
 * name asked for; a second connection takes the session up. */
TEST(agree, "tls.handshake_agrees") {
    files_make();
    sched_run_each(agree, NULL);
    files_remove();
}

static int agree_and_measure(void *arg) {
    size_t *used = arg;
    int result = agree(NULL);
    size_t mine = bnx_task_stack_used(bnx_task_self());
    CHECK(mine > 0);
    *used = mine;
    return result;
}

static int agree_on_small_stacks(void *arg) {
    (void)arg;
    const struct bnx_spawn_options small = {.stack = BNX_STACK_64K};
    struct bnx_scope scope;
    size_t used = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &small, agree_and_measure, &used, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    printf("a handshake has used %zu bytes of stack\n", used);
    CHECK(used < 64 * 1024);
    return 0;
}

/* Claim: a handshake, verification included, fits a stack of 64 KiB. */
TEST(small_stack, "tls.handshake_fits_small_stack") {
    files_make();
    sched_run(1, agree_on_small_stacks, NULL);
    files_remove();
}

static int refuse(void *arg) {
    (void)arg;
    const struct bnx_tls_options trusting = {.authorities_file = files.authority};
    const struct bnx_tls_options blind = {.verify = BNX_TLS_VERIFY_NONE};
    const struct bnx_tls_options known = {.certificate_file = files.server};
    const struct bnx_tls_options unknown = {.certificate_file = files.stranger};
    const struct bnx_tls_options demanding = {.certificate_file = files.server,
                                              .authorities_file = files.authority,
                                              .verify = BNX_TLS_VERIFY_PEER};
    const struct bnx_tls_options shown = {.certificate_file = files.other,
                                          .authorities_file = files.authority};
    const struct {
        const struct bnx_tls_options *client, *server;
        const char *host;
        int expected;
    } rows[] = {
        {&trusting, &unknown, "one.test", -EACCES},   /* nobody vouches for it */
        {&trusting, &known, "other.test", -EACCES},   /* another's */
        {&trusting, &known, "127.0.0.1", -EACCES},    /* another address in it */
        {&trusting, &known, "192.0.2.2", 0},          /* this one */
        {NULL, &known, "one.test", -EACCES},          /* the system does not know our authority */
        {&blind, &unknown, "other.test", 0},          /* asked not to look */
        {&trusting, &demanding, "one.test", -EACCES}, /* shows nothing */
        {&shown, &demanding, "one.test", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct parties parties;
        parties_make(&parties, rows[i].client, rows[i].server);
        parties.host = rows[i].host;
        meet(&parties);
        CHECK_EQ(parties.client_result, rows[i].expected);
        CHECK_EQ(parties.server_result == 0, rows[i].expected == 0);
        part(&parties);
        parties_free(&parties);
    }
    return 0;
}

/* Claim: a certificate that nobody vouches for, another host's, or none where one is asked for ends
 * the handshake on both sides; verification is on unless it is switched off. */
TEST(refuse, "tls.verifies_by_default") {
    files_make();
    sched_run(1, refuse, NULL);
    sched_run(2, refuse, NULL);
    files_remove();
}

/* ---- Bytes ---- */

#define BULK_BYTES (UINT64_C(1) << 20)

struct flow {
    struct bnx_stream *stream;
    uint64_t seed;
    uint64_t total;
};

static int write_flow(void *arg) {
    struct flow *flow = arg;
    struct bnx_rng rng, sizes;
    char bytes[20000];
    bnx_rng_init(&rng, flow->seed, 0);
    bnx_rng_init(&sizes, flow->seed, 1);
    for (uint64_t done = 0; done < flow->total;) {
        uint64_t part = 1 + bnx_rng_below(&sizes, sizeof(bytes));
        part = part < flow->total - done ? part : flow->total - done;
        for (uint64_t i = 0; i < part; i++) {
            bytes[i] = (char)bnx_rng_below(&rng, 256);
        }
        CHECK_EQ(bnx_stream_write(flow->stream, bytes, part), (ssize_t)part);
        done += part;
    }
    CHECK_EQ(bnx_stream_shutdown(flow->stream), 0);
    return 0;
}

static void read_flow(struct flow *flow) {
    struct bnx_rng rng;
    char bytes[7001];
    ssize_t got;
    uint64_t done = 0;
    bnx_rng_init(&rng, flow->seed, 0);
    while ((got = bnx_stream_read(flow->stream, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            CHECK_EQ(bytes[i], (char)bnx_rng_below(&rng, 256));
        }
        done += (uint64_t)got;
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(done, flow->total);
}

static int read_flow_task(void *arg) {
    read_flow(arg);
    return 0;
}

static int flow_both_ways(void *arg) {
    (void)arg;
    struct parties parties;
    struct bnx_scope scope;
    parties_make_usual(&parties);
    meet(&parties);
    uint64_t total = 1000 + bnx_test_scale(BULK_BYTES);
    struct flow there = {parties.streams[0], 1, total}, here = {parties.streams[1], 1, total};
    struct flow back = {parties.streams[1], 2, total}, home = {parties.streams[0], 2, total};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, write_flow, &there), 0);
    CHECK_EQ(bnx_spawn(&scope, write_flow, &back), 0);
    CHECK_EQ(bnx_spawn(&scope, read_flow_task, &here), 0);
    CHECK_EQ(bnx_spawn(&scope, read_flow_task, &home), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    part(&parties);
    parties_free(&parties);
    return 0;
}

/* Claim: both sides write and read at once, in pieces of any size, and every byte arrives in order;
 * a half-close ends one direction and not the other. */
TEST(flow, "tls.carries_bytes_both_ways") {
    files_make();
    sched_run_each(flow_both_ways, NULL);
    files_remove();
}

/* ---- Ends ---- */

static int end_without_notice(void *arg) {
    (void)arg;
    struct parties parties;
    char byte;
    parties_make_usual(&parties);
    meet(&parties);
    CHECK_EQ(bnx_shutdown(parties.fds[1], SHUT_RDWR), 0); /* behind its back */
    CHECK_EQ(bnx_stream_read(parties.streams[0], &byte, 1), -ECONNRESET);
    part(&parties);
    meet(&parties);
    CHECK_EQ(bnx_stream_close(parties.streams[1]), 0); /* as it should be */
    parties.streams[1] = NULL;
    CHECK_EQ(bnx_stream_read(parties.streams[0], &byte, 1), 0);
    part(&parties);
    parties_free(&parties);
    return 0;
}

/* Claim: an end that the peer has announced is the end; one that he has not is -ECONNRESET. */
TEST(ends, "tls.truncation_is_an_error") {
    files_make();
    sched_run(1, end_without_notice, NULL);
    sched_run(2, end_without_notice, NULL);
    files_remove();
}

static int not_tls(void *arg) {
    (void)arg;
    struct bnx_tls *client = NULL;
    struct bnx_stream *stream = NULL;
    struct bnx_tls_info info;
    const struct bnx_tls_options nothing = {.certificate_file = "/none/such"};
    int fds[2];
    CHECK_EQ(bnx_tls_client_create(NULL, &client), 0);
    io_unix_pair(fds);
    CHECK_EQ(bnx_os.send(fds[1], "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0), 28);
    CHECK_EQ(bnx_tls_connect(client, fds[0], "one.test", NULL, &stream, &info), -EPROTO);
    CHECK(info.reason[0] != '\0');
    io_close_pair(fds);
    io_unix_pair(fds);
    CHECK_EQ(close(fds[1]), 0);
    int error = bnx_tls_connect(client, fds[0], "one.test", NULL, &stream, NULL);
    CHECK(error == -ECONNRESET || error == -EPIPE);
    CHECK_EQ(bnx_close(fds[0]), 0);
    CHECK_EQ(bnx_tls_connect(client, -1, "one.test", NULL, &stream, NULL), -EBADF);
    CHECK_EQ(bnx_tls_connect(client, -1, NULL, NULL, &stream, NULL), -EINVAL);
    CHECK_EQ(bnx_tls_connect(client, -1, "", NULL, &stream, NULL), -EINVAL);      /* any name */
    CHECK_EQ(bnx_tls_connect(client, -1, ".test", NULL, &stream, NULL), -EINVAL); /* any beneath */
    CHECK_EQ(bnx_tls_accept(client, -1, NULL, &stream, NULL), -EINVAL);
    bnx_tls_destroy(client);
    CHECK_EQ(bnx_tls_server_create(NULL, &client), -EINVAL);
    CHECK_EQ(bnx_tls_server_create(&nothing, &client), -ENOENT);
    return 0;
}

/* Claim: a peer that speaks something else, goes away, or is no socket ends the handshake with its
 * own error, and files that are not there are said so. */
TEST(wrong, "tls.wrong_peers_and_files") {
    sched_run(1, not_tls, NULL);
    struct bnx_tls *client = NULL;
    struct bnx_stream *stream = NULL;
    CHECK_EQ(bnx_tls_client_create(NULL, &client), 0);
    CHECK_EQ(bnx_tls_connect(client, 0, "one.test", NULL, &stream, NULL), -EPERM);
    bnx_tls_destroy(client);
}

/* ---- Cancel ---- */

static int connect_for_ever(void *arg) {
    struct parties *parties = arg;
    struct bnx_stream *stream = NULL;
    return bnx_tls_connect(parties->client, parties->fds[0], "one.test", NULL, &stream, NULL);
}

static int read_for_ever(void *arg) {
    struct parties *parties = arg;
    char byte;
    return (int)bnx_stream_read(parties->streams[0], &byte, 1);
}

/* Cancels a task that waits in fn, which says so. */
static void cancel_waiting(bnx_task_fn fn, struct parties *parties) {
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, fn, parties, &task), 0);
    io_await_wait(task, BNX_WAIT_FD);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
}

static int cancel_each(void *arg) {
    (void)arg;
    struct parties parties;
    parties_make_usual(&parties);
    io_unix_pair(parties.fds);
    cancel_waiting(connect_for_ever, &parties);
    io_close_pair(parties.fds);
    meet(&parties);
    cancel_waiting(read_for_ever, &parties);
    /* The session has come to no harm. */
    CHECK_EQ(bnx_stream_write(parties.streams[1], "still here", 10), 10);
    CHECK_EQ(bnx_stream_flush(parties.streams[1]), 0);
    char bytes[10];
    CHECK_EQ(bnx_stream_read_exact(parties.streams[0], bytes, 10), 10);
    CHECK(memcmp(bytes, "still here", 10) == 0);
    part(&parties);
    parties_free(&parties);
    return 0;
}

/* Claim: a cancel ends a handshake and a read that wait; after the latter the stream goes on. */
TEST(cancelled, "tls.cancel_is_harmless") {
    files_make();
    sched_run_each(cancel_each, NULL);
    files_remove();
}

/* ---- A write that was ended ---- */

#define PATTERN_BYTES ((size_t)4 << 20) /* more than two sockets hold */

/* What is left to be said, to its end. */
struct finish {
    struct bnx_stream *stream;
    const char *text; /* its NUL goes along */
};

static int write_rest(void *arg) {
    const struct finish *finish = arg;
    size_t bytes = strlen(finish->text) + 1;
    CHECK_EQ(bnx_stream_write(finish->stream, finish->text, bytes), bytes);
    CHECK_EQ(bnx_stream_shutdown(finish->stream), 0);
    return 0;
}

struct unread {
    struct parties parties;
    struct memory source;
    char *pattern;
    ssize_t taken; /* of the pattern, as the ended call said */
    bool is_copy;
};

static int write_unread(void *arg) {
    struct unread *unread = arg;
    struct bnx_stream *to = unread->parties.streams[0];
    if (unread->is_copy) {
        struct bnx_stream *from = memory_open(&unread->source, NULL);
        unread->taken = bnx_stream_copy(from, to, SIZE_MAX);
        CHECK_EQ(bnx_stream_close(from), 0);
    } else {
        unread->taken = bnx_stream_write(to, unread->pattern, PATTERN_BYTES);
    }
    return 0;
}

/* Ends it when it waits for the socket; what it says has been taken is what arrives. */
static void end_write(struct unread *unread) {
    static const char rest[] = "and more";
    struct bnx_scope scope;
    struct bnx_task *task = NULL;
    meet(&unread->parties);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, write_unread, unread, &task), 0);
    io_await_wait(task, BNX_WAIT_FD);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    CHECK(unread->taken == -ECANCELED || unread->taken > 0);
    size_t taken = unread->taken > 0 ? (size_t)unread->taken : 0;
    CHECK(taken < PATTERN_BYTES);

    struct finish finish = {unread->parties.streams[0], rest};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, write_rest, &finish), 0);
    char *back = malloc(PATTERN_BYTES);
    CHECK(back != NULL);
    ssize_t got = bnx_stream_read_exact(unread->parties.streams[1], back, taken + sizeof(rest));
    CHECK_EQ(got, taken + sizeof(rest));
    CHECK(memcmp(back, unread->pattern, taken) == 0);
    CHECK_STR(back + taken, rest);
    CHECK_EQ(bnx_stream_read(unread->parties.streams[1], back, 1), 0);
    free(back);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    part(&unread->parties);
}

static int end_writes(void *arg) {
    (void)arg;
    struct unread unread = {0};
    struct bnx_rng rng;
    unread.pattern = malloc(PATTERN_BYTES);
    CHECK(unread.pattern != NULL);
    bnx_rng_init(&rng, 3, 0);
    io_fill(unread.pattern, PATTERN_BYTES, &rng);
    parties_make_usual(&unread.parties);
    end_write(&unread);
    unread.is_copy = true;
    unread.source = (struct memory){.input = unread.pattern, .input_bytes = PATTERN_BYTES};
    end_write(&unread);
    parties_free(&unread.parties);
    free(unread.pattern);
    return 0;
}

/* Claim: after a write or a copy that a cancel has ended, what it said was taken arrives, and then
 * what is written next: nothing else, and nothing twice. */
TEST(ended_writes, "tls.ended_write_is_exact") {
    files_make();
    sched_run_each(end_writes, NULL);
    files_remove();
}

/* ---- Descriptors that stay ---- */

static int keep_descriptor(void *arg) {
    (void)arg;
    struct parties parties;
    char byte;
    parties_make_usual(&parties);
    parties.options.keep_open = 1;
    meet(&parties);
    CHECK_EQ(parties.client_result, 0);
    part(&parties);
    CHECK(bnx_os.fcntl(parties.fds[0], F_GETFD, 0) >= 0);
    CHECK_EQ(bnx_os.recv(parties.fds[1], &byte, 1, MSG_DONTWAIT), 1); /* the end was announced */
    io_close_pair(parties.fds);
    parties_free(&parties);
    return 0;
}

/* Claim: with keep_open a close ends the connection, frees it, and leaves the descriptor open. */
TEST(keep_open, "tls.keeps_descriptor_open") {
    files_make();
    sched_run(1, keep_descriptor, NULL);
    sched_run(2, keep_descriptor, NULL);
    files_remove();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
