/* SPDX-License-Identifier: MIT */
/* Tests bnx_stream_copy: through the buffer and by splice(2), ended early and taken up again. */
#include "tests/io/memory_transport.h"

#define INPUT_BYTES 50000

/* ---- In memory, with faults ---- */

struct copying {
    struct bnx_rng *rng;
    struct memory *from;
    struct memory *to;
    uint64_t errors;
};

static int copy_it_all(void *arg) {
    struct copying *copying = arg;
    struct bnx_rng *rng = copying->rng;
    struct bnx_stream_options options = {.read_bytes = 1 + bnx_rng_below(rng, 3000)};
    struct bnx_stream *from = memory_open(copying->from, &options);
    struct bnx_stream *to = memory_open(copying->to, NULL);
    size_t bytes = copying->from->input_bytes;
    size_t done = 0;
    bool is_due = false;                  /* an error has ended the last call */
    for (;;) {                            /* ends: at the end, the errors are finite */
        if (bnx_rng_below(rng, 3) == 0) { /* what is unread and unsent goes first */
            char data[40];
            ssize_t got = bnx_stream_read(from, data, 1 + bnx_rng_below(rng, sizeof(data)));
            copying->errors += got < 0;
            is_due = is_due && got >= 0;
            if (got > 0) {
                ssize_t wrote = bnx_stream_write(to, data, (size_t)got);
                if (wrote < 0) { /* of an earlier copy */
                    copying->errors++;
                    is_due = false;
                    wrote = bnx_stream_write(to, data, (size_t)got);
                }
                CHECK_EQ(wrote, got);
                done += (size_t)got;
            }
        }
        size_t wanted = bnx_rng_below(rng, 2) != 0 ? SIZE_MAX : 1 + bnx_rng_below(rng, 9000);
        ssize_t moved = bnx_stream_copy(from, to, wanted);
        if (moved < 0) {
            CHECK_EQ(moved, -ENOBUFS);
            copying->errors++;
            is_due = false;
            continue;
        }
        CHECK_EQ(bnx_stream_unsent(to), is_due ? bnx_stream_unsent(to) : 0);
        CHECK((size_t)moved <= wanted);
        done += (size_t)moved;
        if (moved == 0) {
            break;
        }
        is_due = (size_t)moved < wanted && done < bytes;
    }
    CHECK_EQ(done, bytes);
    CHECK_EQ(copying->to->output_bytes, bytes);
    CHECK_EQ(bnx_stream_close(from), 0);
    return bnx_stream_close(to);
}

/* Whatever is cut, and when each so many-th read and write fails: each byte arrives once, in order,
 * and the counts add up. */
TEST(stream_copy_memory, "stream.copy_counts_what_it_moves") {
    static char input[INPUT_BYTES];
    static char output[INPUT_BYTES];
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    for (uint64_t round = bnx_test_scale(500); round > 0; round--) {
        struct memory from = {.input = input, .input_bytes = bnx_rng_below(&rng, INPUT_BYTES)};
        struct memory to = {.output = output, .output_room = from.input_bytes};
        from.fail_every = bnx_rng_below(&rng, 2) != 0 ? 2 + bnx_rng_below(&rng, 20) : 0;
        to.fail_every = bnx_rng_below(&rng, 2) != 0 ? 2 + bnx_rng_below(&rng, 20) : 0;
        from.error = -ENOBUFS;
        to.error = -ENOBUFS;
        memory_shuffle(&from, &rng);
        memory_shuffle(&to, &rng);
        io_fill(input, from.input_bytes, &rng);
        struct copying copying = {.rng = &rng, .from = &from, .to = &to};
        sched_run(1, copy_it_all, &copying);
        CHECK(memcmp(input, output, from.input_bytes) == 0);
        uint64_t errors = from.fail_every != 0 ? from.reads / from.fail_every : 0;
        errors += to.fail_every != 0 ? to.writes / to.fail_every : 0;
        CHECK_EQ(copying.errors, errors);
    }
}

/* ---- Between sockets ---- */

static struct bnx_os real;
static uint64_t spliced; /* bytes */
static uint64_t splices; /* calls */
static uint64_t
    refuse_at; /* the number of the call that, and after which each, is refused; 0: none */

static ssize_t count_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes,
                            unsigned flags) {
    uint64_t number = bnx_fetch_add_relaxed(&splices, 1) + 1;
    if (refuse_at != 0 && number >= refuse_at) {
        return -EINVAL;
    }
    ssize_t moved = real.splice(from, from_offset, to, to_offset, bytes, flags);
    if (moved > 0) {
        bnx_fetch_add_relaxed(&spliced, (uint64_t)moved);
    }
    return moved;
}

enum ends { TCP, UNIX, PIPE, ENDS };

struct relay {
    enum ends ends;
    size_t bytes;       /* to be moved */
    uint64_t seed;      /* of what they are, and of when it is cancelled */
    bool is_disturbed;  /* cancels end the copy again and again */
    int no_splice;      /* the option */
    int in[2];          /* the source reads in[0] */
    int out[2];         /* the target writes out[1] */
    uint64_t sent_hash; /* of what went in */
    uint64_t got_hash;  /* of what came out */
    size_t got_bytes;
    uint32_t is_done;
};

/* A pair whose first end reads and whose second writes, both non-blocking. */
static void open_ends(enum ends ends, int fds[2]) {
    if (ends == PIPE) {
        io_pipe(fds);
    } else if (ends == UNIX) {
        io_unix_pair(fds);
    } else {
        io_tcp_pair(fds);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK), 0);
    }
}

static int feed(void *arg) {
    struct relay *relay = arg;
    struct bnx_stream *stream = NULL;
    struct bnx_rng rng;
    char data[20000];
    bnx_rng_init(&rng, relay->seed, 1);
    CHECK_EQ(bnx_stream_open(relay->in[1], NULL, &stream), 0);
    relay->sent_hash = IO_HASH_START;
    for (size_t left = relay->bytes; left > 0;) {
        size_t bytes = 1 + bnx_rng_below(&rng, bnx_rng_below(&rng, 3) != 0 ? sizeof(data) : 100);
        bytes = bytes < left ? bytes : left;
        memset(data, (int)bnx_rng_below(&rng, 256), bytes);
        relay->sent_hash = io_hash(relay->sent_hash, data, bytes);
        CHECK_EQ(bnx_stream_write(stream, data, bytes), bytes);
        left -= bytes;
        if (bnx_rng_below(&rng, 4) == 0) {
            CHECK_EQ(bnx_stream_flush(stream), 0);
            bnx_yield();
        }
    }
    return bnx_stream_close(stream);
}

static int drain(void *arg) {
    struct relay *relay = arg;
    struct bnx_stream *stream = NULL;
    struct bnx_rng rng;
    char data[30000];
    ssize_t got;
    bnx_rng_init(&rng, relay->seed, 2);
    CHECK_EQ(bnx_stream_open(relay->out[0], NULL, &stream), 0);
    relay->got_hash = IO_HASH_START;
    relay->got_bytes = 0;
    while ((got = bnx_stream_read(stream, data, 1 + bnx_rng_below(&rng, sizeof(data)))) > 0) {
        relay->got_hash = io_hash(relay->got_hash, data, (size_t)got);
        relay->got_bytes += (size_t)got;
        if (bnx_rng_below(&rng, 4) == 0) {
            bnx_yield();
        }
    }
    CHECK_EQ(got, 0);
    return bnx_stream_close(stream);
}

struct attempt {
    struct bnx_stream *from;
    struct bnx_stream *to;
    size_t bytes_max;
    ssize_t result;
    struct bnx_scope scope;
    uint32_t is_over;
};

static int copy_once(void *arg) {
    struct attempt *attempt = arg;
    attempt->result = bnx_stream_copy(attempt->from, attempt->to, attempt->bytes_max);
    bnx_store_release(&attempt->is_over, 1);
    return 0;
}

/* Cancels the copy after a few turns, if it is still at it. */
static void copy_disturbed(struct attempt *attempt, struct bnx_rng *rng) {
    CHECK_EQ(bnx_scope_open(&attempt->scope, NULL), 0);
    bnx_store_release(&attempt->is_over, 0);
    CHECK_EQ(bnx_spawn(&attempt->scope, copy_once, attempt), 0);
    for (uint32_t i = bnx_rng_below(rng, 40); i > 0; i--) {
        bnx_yield();
    }
    if (bnx_load_acquire(&attempt->is_over) == 0) {
        bnx_scope_cancel(&attempt->scope, 0);
    }
    (void)bnx_scope_close(&attempt->scope);
}

/* Copies until the end, by attempts that a cancel ends, and sometimes by read and write. */
static void relay_all(struct relay *relay, struct bnx_stream *from, struct bnx_stream *to) {
    struct bnx_rng rng;
    size_t done = 0;
    bnx_rng_init(&rng, relay->seed, 3);
    for (;;) { /* ends: the source does */
        struct attempt attempt = {.from = from, .to = to, .bytes_max = SIZE_MAX};
        if (!relay->is_disturbed) {
            attempt.result = bnx_stream_copy(from, to, SIZE_MAX);
        } else {
            attempt.bytes_max = bnx_rng_below(&rng, 3) != 0 ? SIZE_MAX : bnx_rng_below(&rng, 30000);
            copy_disturbed(&attempt, &rng);
        }
        CHECK(attempt.result >= 0 || attempt.result == -ECANCELED);
        CHECK(attempt.result < 0 || (size_t)attempt.result <= attempt.bytes_max);
        if (attempt.result == 0 && attempt.bytes_max > 0) {
            break;
        }
        done += attempt.result > 0 ? (size_t)attempt.result : 0;
        if (relay->is_disturbed && bnx_rng_below(&rng, 5) == 0) {
            char data[700];
            ssize_t got = bnx_stream_read(from, data, 1 + bnx_rng_below(&rng, sizeof(data)));
            CHECK_EQ(bnx_stream_write(to, data, (size_t)got), got);
            done += (size_t)got;
        }
    }
    CHECK_EQ(bnx_stream_unread(from), 0);
    CHECK_EQ(done, relay->bytes);
}

static int run_relay(void *arg) {
    struct relay *relay = arg;
    int ends = memory_ends();
    struct bnx_scope scope;
    struct bnx_stream *from = NULL;
    struct bnx_stream *to = NULL;
    struct bnx_stream_options options = {.no_splice = relay->no_splice};
    open_ends(relay->ends, relay->in);
    open_ends(relay->ends, relay->out);
    CHECK_EQ(bnx_stream_open(relay->in[0], &options, &from), 0);
    CHECK_EQ(bnx_stream_open(relay->out[1], NULL, &to), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, feed, relay), 0);
    CHECK_EQ(bnx_spawn(&scope, drain, relay), 0);
    relay_all(relay, from, to);
    CHECK_EQ(bnx_stream_close(from), 0);
    CHECK_EQ(bnx_stream_close(to), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(relay->got_bytes, relay->bytes);
    CHECK(relay->got_hash == relay->sent_hash);
    CHECK_EQ(memory_ends(), ends);
    return 0;
}

static void relay_each_way(struct relay *relay) {
    relay->seed = bnx_test_seed();
    relay->bytes = bnx_test_scale(6000000) + 100000;
    real = bnx_os;
    bnx_os.splice = count_splice;
    for (relay->ends = 0; relay->ends < ENDS; relay->ends++) {
        for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
            splices = 0;
            spliced = 0;
            sched_run(sched_worker_counts[i], run_relay, relay);
            if (relay->no_splice == 0 && refuse_at == 0) {
                CHECK(spliced > 0);
            } else {
                CHECK_EQ(splices, refuse_at);
            }
        }
    }
    bnx_os = real;
}

/* What flows between sockets, or pipes, is spliced, and all of it arrives. */
TEST(stream_splice, "stream.copy_splices") {
    struct relay relay = {0};
    relay_each_way(&relay);
}

/* Where the option forbids it no splice is made. */
TEST(stream_no_splice, "stream.copy_without_splice") {
    struct relay relay = {.no_splice = 1};
    relay_each_way(&relay);
}

/* A splice that the system refuses, the first one or one out of the full pipe: the copy goes on
 * without, and what is in the pipe comes first. */
TEST(stream_splice_refused, "stream.copy_goes_on_without_splice") {
    for (refuse_at = 1; refuse_at <= 4; refuse_at++) {
        struct relay relay = {0};
        relay_each_way(&relay);
    }
    refuse_at = 0;
}

/* Cancelled at any moment, and taken up again by a copy or a read: no byte is lost or doubled. */
TEST(stream_copy_cancel, "stream.copy_cancel_loses_nothing") {
    struct relay relay = {.is_disturbed = true};
    relay_each_way(&relay);
    relay.no_splice = 1;
    relay_each_way(&relay);
}

/* ---- Both directions ---- */

static int echo(void *arg) {
    struct bnx_stream *stream = arg;
    CHECK_EQ(bnx_stream_copy(stream, stream, 4), 4);
    CHECK_EQ(bnx_stream_copy(stream, stream, SIZE_MAX), 9);
    CHECK_EQ(bnx_stream_copy(stream, stream, SIZE_MAX), 0);
    return bnx_stream_shutdown(stream);
}

static int run_echo(void *arg) {
    (void)arg;
    int fds[2];
    struct bnx_stream *stream = NULL;
    struct bnx_scope scope;
    char data[64];
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, echo, stream), 0);
    CHECK_EQ(bnx_send_all(fds[1], "four and nine", 13), 13);
    CHECK_EQ(bnx_shutdown(fds[1], SHUT_WR), 0);
    CHECK_EQ(bnx_recv_exact(fds[1], data, sizeof(data)), 13);
    CHECK(memcmp(data, "four and nine", 13) == 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_stream_close(stream), 0);
    return bnx_close(fds[1]);
}

/* A stream copied to itself is an echo; what was copied is sent, not buffered. */
TEST(stream_echo, "stream.copy_echoes") {
    sched_run_each(run_echo, NULL);
}

/* ---- A transport that has begun what it then refuses ---- */

#define REPEAT_ROUNDS 200

/* As an encrypting one: of a write that fails it has taken some bytes all the same. */
struct beginner {
    struct bnx_rng *rng;
    struct memory memory;
    char begun[1000];
    size_t begun_bytes; /* the next write begins with these */
};

static ssize_t write_or_begin(void *transport, const void *buffer, size_t bytes) {
    struct beginner *beginner = transport;
    CHECK(bytes >= beginner->begun_bytes);
    CHECK(memcmp(buffer, beginner->begun, beginner->begun_bytes) == 0);
    if (bnx_rng_below(beginner->rng, 3) == 0) {
        beginner->begun_bytes = bytes < sizeof(beginner->begun) ? bytes : sizeof(beginner->begun);
        memcpy(beginner->begun, buffer, beginner->begun_bytes);
        return -ENOBUFS;
    }
    size_t taken = beginner->begun_bytes > 0 ? beginner->begun_bytes : bytes;
    beginner->begun_bytes = 0;
    return memory_write(&beginner->memory, buffer, taken);
}

static const struct bnx_transport_ops beginner_ops = {
    .read = memory_read, .write = write_or_begin, .repeats_writes = 1};

/* Gives up what was refused: what comes next are other bytes. */
static int give_up_often(void *arg) {
    struct beginner *beginner = arg;
    struct bnx_rng *rng = beginner->rng;
    static char data[9000]; /* by one task at a time */
    static char expected[REPEAT_ROUNDS * sizeof(data)];
    size_t bytes = 0;
    struct bnx_stream *to = NULL;
    struct bnx_stream_options options = {.write_bytes = 1 + bnx_rng_below(rng, 5000)};
    CHECK_EQ(bnx_stream_open_on(&beginner_ops, beginner, &options, &to), 0);
    for (int round = 0; round < REPEAT_ROUNDS; round++) {
        size_t wanted = 1 + bnx_rng_below(rng, sizeof(data));
        io_fill(data, wanted, rng);
        ssize_t taken;
        if (bnx_rng_below(rng, 2) != 0) {
            struct memory source = {.input = data, .input_bytes = wanted};
            struct bnx_stream *from = memory_open(&source, NULL);
            taken = bnx_stream_copy(from, to, SIZE_MAX);
            CHECK_EQ(bnx_stream_close(from), 0);
        } else {
            taken = bnx_stream_write(to, data, wanted);
        }
        CHECK(taken > 0 || taken == -ENOBUFS);
        memcpy(expected + bytes, data, taken > 0 ? (size_t)taken : 0);
        bytes += taken > 0 ? (size_t)taken : 0;
        CHECK(bnx_stream_unsent(to) <= options.write_bytes);
        CHECK_EQ(beginner->memory.output_bytes + bnx_stream_unsent(to), bytes);
    }
    while (bnx_stream_flush(to) != 0) { /* ends: one in three fails */
    }
    CHECK_EQ(beginner->memory.output_bytes, bytes);
    CHECK(memcmp(beginner->memory.output, expected, bytes) == 0);
    return bnx_stream_close(to);
}

/* To a transport whose writes have to be repeated each one is, whatever the caller does after the
 * error: what a call said that it took arrives, and nothing else. */
TEST(stream_repeats, "stream.repeats_writes") {
    static char output[REPEAT_ROUNDS * 9000];
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    for (int round = 0; round < 3; round++) {
        struct beginner beginner = {.rng = &rng,
                                    .memory = {.output = output, .output_room = sizeof(output)}};
        sched_run(1, give_up_often, &beginner);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
