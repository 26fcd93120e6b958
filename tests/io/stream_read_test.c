/* SPDX-License-Identifier: MIT */
/* Tests the reading side of streams against what the whole input says. */
#include "tests/io/memory_transport.h"

#include <sys/ioctl.h>

#define INPUT_BYTES 20000

/* ---- Any calls, any cuts ---- */

/* Bytes of which few differ, so that delimiters are frequent, and nearly so. */
static void make_input(char *input, size_t bytes, struct bnx_rng *rng) {
    static const char alphabet[] = "aab\r\n";
    uint32_t rare = 1 + bnx_rng_below(rng, 60);
    for (size_t i = 0; i < bytes; i++) {
        bool is_letter = bnx_rng_below(rng, rare) != 0;
        input[i] =
            is_letter ? (char)('a' + bnx_rng_below(rng, 2)) : alphabet[bnx_rng_below(rng, 5)];
    }
}

struct reading {
    struct bnx_rng *rng;
    const char *input; /* all of it */
    size_t bytes;
    size_t at; /* what has been read */
    size_t line_max;
    struct bnx_stream *stream;
};

/* What read_until has to return, limits included, if nothing but the input decides. */
static ssize_t expect_until(const struct reading *reading, const char *delimiter, size_t bytes,
                            size_t limit) {
    const char *data = reading->input + reading->at;
    size_t left = reading->bytes - reading->at;
    const char *found = memmem(data, left, delimiter, bytes);
    size_t before = found != NULL ? (size_t)(found - data) : left;
    if (before > limit) {
        return -EMSGSIZE;
    }
    return (ssize_t)(found != NULL ? before + bytes : left);
}

static void check_read(struct reading *reading, bool is_exact) {
    char data[3000];
    size_t bytes = bnx_rng_below(reading->rng, bnx_rng_below(reading->rng, 2) ? 20 : sizeof(data));
    size_t left = reading->bytes - reading->at;
    ssize_t got = is_exact ? bnx_stream_read_exact(reading->stream, data, bytes)
                           : bnx_stream_read(reading->stream, data, bytes);
    size_t most = bytes < left ? bytes : left;
    CHECK(got >= (most > 0) && (size_t)got <= most);
    CHECK(!is_exact || (size_t)got == most);
    CHECK(memcmp(data, reading->input + reading->at, (size_t)got) == 0);
    reading->at += (size_t)got;
}

static void check_until(struct reading *reading) {
    static const char *const delimiters[] = {"\n", "\r\n", "aab", "aaaa", "ababb"};
    const char *delimiter = delimiters[bnx_rng_below(reading->rng, 5)];
    const char *data = NULL;
    size_t bytes = strlen(delimiter);
    ssize_t expected = expect_until(reading, delimiter, bytes, reading->line_max);
    CHECK_EQ(bnx_stream_read_until(reading->stream, delimiter, bytes, &data), expected);
    if (expected > 0) {
        CHECK(memcmp(data, reading->input + reading->at, (size_t)expected) == 0);
        reading->at += (size_t)expected;
    }
}

static void check_line(struct reading *reading) {
    const char *line = NULL;
    const char *from = reading->input + reading->at;
    size_t bytes = 0;
    ssize_t expected = expect_until(reading, "\n", 1, SIZE_MAX);
    size_t length = (size_t)expected;
    if (length > 0 && from[length - 1] == '\n') {
        length -= length >= 2 && from[length - 2] == '\r' ? 2 : 1;
    }
    int got = bnx_stream_read_line(reading->stream, &line, &bytes);
    if (length > reading->line_max) {
        CHECK_EQ(got, -EMSGSIZE);
        return;
    }
    CHECK_EQ(got, expected > 0);
    if (got > 0) {
        CHECK_EQ(bytes, length);
        CHECK(memcmp(line, from, length) == 0);
        CHECK_EQ(line[length], 0);
        reading->at += (size_t)expected;
    }
}

static void check_peek(struct reading *reading) {
    const void *data = NULL;
    size_t left = reading->bytes - reading->at;
    size_t bytes = bnx_rng_below(reading->rng, (uint32_t)reading->line_max + 10);
    ssize_t got = bnx_stream_peek(reading->stream, bytes, &data);
    if (bytes > reading->line_max) {
        CHECK_EQ(got, -EMSGSIZE);
        return;
    }
    CHECK(got >= 0 && (size_t)got <= left && (size_t)got >= (bytes < left ? bytes : left));
    CHECK(memcmp(data, reading->input + reading->at, (size_t)got) == 0);
    CHECK_EQ(bnx_stream_unread(reading->stream), got);
    CHECK_EQ(bnx_stream_consume(reading->stream, (size_t)got + 1), -EINVAL);
    size_t part = bnx_rng_below(reading->rng, (uint32_t)got + 1);
    CHECK_EQ(bnx_stream_consume(reading->stream, part), 0);
    reading->at += part;
}

static int read_it_all(void *arg) {
    struct reading *reading = arg;
    while (reading->at < reading->bytes) {
        switch (bnx_rng_below(reading->rng, 8)) {
        case 0:
            check_read(reading, true);
            break;
        case 1:
        case 2:
            check_until(reading);
            break;
        case 3:
        case 4:
        case 5:
            check_line(reading);
            break;
        case 6:
            check_peek(reading);
            break;
        default:
            check_read(reading, false);
        }
    }
    char byte;
    CHECK_EQ(bnx_stream_read(reading->stream, &byte, 1), 0);
    CHECK_EQ(bnx_stream_read(reading->stream, &byte, 1), 0);
    CHECK_EQ(bnx_stream_unread(reading->stream), 0);
    CHECK_EQ(bnx_stream_close(reading->stream), 0);
    return 0;
}

/* Random calls return what the input says, however the transport cuts it, whatever the buffer. */
TEST(stream_cuts, "stream.cuts_do_not_show") {
    static char input[INPUT_BYTES];
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 1);
    for (uint64_t round = bnx_test_scale(1000); round > 0; round--) {
        struct memory memory = {.input = input, .input_bytes = bnx_rng_below(&rng, INPUT_BYTES)};
        struct bnx_stream_options options = {.read_bytes = 1 + bnx_rng_below(&rng, 3000),
                                             .line_max = 1 + bnx_rng_below(&rng, 300)};
        make_input(input, memory.input_bytes, &rng);
        memory_shuffle(&memory, &rng);
        struct reading reading = {.rng = &rng,
                                  .input = input,
                                  .bytes = memory.input_bytes,
                                  .line_max = options.line_max,
                                  .stream = memory_open(&memory, &options)};
        sched_run(1 + bnx_rng_below(&rng, 3), read_it_all, &reading);
        CHECK(memory.is_closed);
    }
}

/* ---- Delimiters and lines ---- */

static int read_until_edge(void *arg) {
    struct bnx_stream *stream = arg;
    const char *data = NULL;
    CHECK_EQ(bnx_stream_read_until(stream, "aab", 3, &data), 7);
    CHECK(memcmp(data, "xyaaaab", 7) == 0);
    CHECK_EQ(bnx_stream_read_until(stream, "aab", 3, &data), 3);
    CHECK_EQ(bnx_stream_read_until(stream, "aab", 3, &data), 2);
    CHECK(memcmp(data, "aa", 2) == 0);
    CHECK_EQ(bnx_stream_read_until(stream, "aab", 3, &data), 0);
    CHECK_EQ(bnx_stream_read_until(stream, "", 0, &data), -EINVAL);
    CHECK_EQ(bnx_stream_read_until(stream, NULL, 1, &data), -EINVAL);
    CHECK_EQ(bnx_stream_read_until(stream, "x", 257, &data), -EINVAL);
    return bnx_stream_close(stream);
}

/* A delimiter is found whatever pieces it comes in, and after a beginning that was none. */
TEST(stream_edge, "stream.delimiter_over_edges") {
    static const char input[] = "xyaaaabaabaa";
    for (size_t cut = 1; cut < sizeof(input); cut++) {
        struct memory memory = {.input = input, .input_bytes = sizeof(input) - 1, .cut_max = cut};
        sched_run(1, read_until_edge, memory_open(&memory, NULL));
    }
}

static int read_lines(void *arg) {
    struct bnx_stream *stream = arg;
    static const char *const lines[] = {"one", "", "", "two\rthree", "\r", "four", "x"};
    struct bnx_stream_lines iterator;
    size_t count = 0;
    int error = 1;
    BNX_FOR_EACH_OR(value, bnx_stream_lines(&iterator, stream), &error) {
        CHECK_STR(value, lines[count]);
        CHECK_EQ(iterator.bytes, strlen(lines[count]));
        count++;
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(count, BNX_ARRAY_COUNT(lines));
    return bnx_stream_close(stream);
}

/* Lines end with LF or CRLF, a CR elsewhere is theirs; the last one needs no end. */
TEST(stream_lines, "stream.lines") {
    static const char input[] = "one\n\n\r\ntwo\rthree\n\r\r\nfour\r\nx";
    for (size_t cut = 1; cut < sizeof(input); cut++) {
        struct memory memory = {.input = input, .input_bytes = sizeof(input) - 1, .cut_max = cut};
        sched_run(1, read_lines, memory_open(&memory, NULL));
    }
}

static int read_long_lines(void *arg) {
    struct bnx_stream *stream = arg;
    const char *line = NULL;
    const void *data = NULL;
    size_t bytes = 0;
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), 1);
    CHECK_STR(line, "12345");
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), 1);
    CHECK_STR(line, "abcde");
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), -EMSGSIZE);
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), -EMSGSIZE); /* nothing was read */
    ssize_t unread = bnx_stream_peek(stream, 5, &data);
    CHECK(unread >= 5 && memcmp(data, "67890", 5) == 0);
    CHECK_EQ(bnx_stream_consume(stream, 5), 0);
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), 1); /* its rest is a line of its own */
    CHECK_STR(line, "X");
    CHECK_EQ(bnx_stream_read_until(stream, "\n", 1, &line), -EMSGSIZE); /* 5 and a CR */
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), 1);
    CHECK_STR(line, "last.");
    CHECK_EQ(bnx_stream_peek(stream, 6, &data), -EMSGSIZE);
    CHECK_EQ(bnx_stream_read_line(stream, &line, &bytes), -EMSGSIZE); /* also at the end */
    CHECK_EQ(bnx_stream_unread(stream), 6);
    return bnx_stream_close(stream);
}

/* A line of line_max bytes is one, one byte more is refused and stays to be read. */
TEST(stream_limit, "stream.line_max") {
    static const char input[] = "12345\nabcde\r\n67890X\nlast.\r\nnoend!";
    for (size_t cut = 1; cut < sizeof(input); cut++) {
        struct memory memory = {.input = input, .input_bytes = sizeof(input) - 1, .cut_max = cut};
        struct bnx_stream_options options = {.line_max = 5};
        sched_run(1, read_long_lines, memory_open(&memory, &options));
    }
}

/* ---- Errors ---- */

#define RECORD_BYTES 900

static int read_past_errors(void *arg) {
    struct memory *memory = arg;
    struct bnx_stream_options options = {.read_bytes = 700};
    struct bnx_stream *stream = memory_open(memory, &options);
    char data[RECORD_BYTES];
    size_t done = 0;
    uint64_t errors = 0;
    bool is_due = false; /* what ended the last call is what this one returns */
    while (done < memory->input_bytes) {
        size_t left = memory->input_bytes - done;
        size_t wanted = left < sizeof(data) ? left : sizeof(data);
        ssize_t got = bnx_stream_read_exact(stream, data, wanted);
        if (got < 0) {
            CHECK_EQ(got, -ECONNRESET);
            errors++;
            is_due = false;
            continue;
        }
        CHECK(!is_due);
        CHECK(memcmp(data, memory->input + done, (size_t)got) == 0);
        is_due = (size_t)got < wanted;
        done += (size_t)got;
    }
    CHECK_EQ(errors, memory->fail_read != 0 ? memory->reads >= memory->fail_read
                                            : memory->reads / memory->fail_every);
    return bnx_stream_close(stream);
}

/* An error of the transport's k-th read is returned once, after the bytes before it, and what comes
 * after it is read as well. */
TEST(stream_errors, "stream.errors_lose_nothing") {
    static char input[INPUT_BYTES];
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 2);
    make_input(input, sizeof(input), &rng);
    for (uint64_t k = 1; k < 40; k++) {
        struct memory memory = {
            .input = input, .input_bytes = sizeof(input), .error = -ECONNRESET, .cut_max = 800};
        memory.fail_read = k;
        sched_run(1, read_past_errors, &memory);
        memory.input_at = 0;
        memory.reads = 0;
        memory.is_closed = false;
        memory.fail_read = 0;
        memory.fail_every = 2 + k;
        memory.rng = &rng;
        sched_run(1, read_past_errors, &memory);
    }
}

static void *(*real_allocate)(size_t bytes, size_t alignment);
static uint32_t allocations_left; /* before one fails */

static void *allocate_some(size_t bytes, size_t alignment) {
    bool is_buffer = alignment == 1; /* of a stream */
    if (is_buffer && allocations_left > 0 && --allocations_left == 0) {
        return NULL;
    }
    return real_allocate(bytes, alignment);
}

static int read_without_memory(void *arg) {
    struct memory *memory = arg;
    struct bnx_stream_options options = {.read_bytes = 1000};
    struct bnx_stream *stream = memory_open(memory, &options);
    const char *line = NULL;
    size_t bytes = 0;
    uint32_t refusals = 0;
    for (size_t done = 0; done < memory->input_bytes;) {
        int got = bnx_stream_read_line(stream, &line, &bytes);
        if (got == -ENOMEM) {
            refusals++;
            continue;
        }
        CHECK_EQ(got, 1);
        CHECK(memcmp(line, memory->input + done, bytes) == 0);
        done += bytes + 1;
    }
    CHECK_EQ(refusals, 1);
    return bnx_stream_close(stream);
}

/* The k-th buffer cannot be had: -ENOMEM, and the same call succeeds when there is memory again. */
TEST(stream_memory, "stream.no_memory_loses_nothing") {
    static char input[INPUT_BYTES];
    memset(input, 'x', sizeof(input));
    for (size_t i = 1; i <= 5; i++) {
        input[i * sizeof(input) / 5 - 1] = '\n';
    }
    struct bnx_os real = bnx_os;
    real_allocate = real.allocate;
    for (uint32_t k = 1; k <= 3; k++) {
        struct memory memory = {.input = input, .input_bytes = sizeof(input), .cut_max = 3000};
        bnx_os.allocate = allocate_some;
        allocations_left = k;
        sched_run(1, read_without_memory, &memory);
        bnx_os.allocate = real.allocate;
    }
}

/* ---- Descriptors ---- */

static int64_t buffers; /* that streams hold */

static void *(*counted_real)(size_t bytes, size_t alignment);
static void (*released_real)(void *block);
static void *counted[64];

static void *count_buffer(size_t bytes, size_t alignment) {
    void *block = counted_real(bytes, alignment);
    for (size_t i = 0; alignment == 1 && i < BNX_ARRAY_COUNT(counted); i++) {
        if (bnx_load_relaxed(&counted[i]) == NULL) {
            bnx_store_relaxed(&counted[i], block);
            bnx_fetch_add_relaxed(&buffers, 1);
            return block;
        }
    }
    return block;
}

static void count_release(void *block) {
    for (size_t i = 0; block != NULL && i < BNX_ARRAY_COUNT(counted); i++) {
        if (bnx_load_relaxed(&counted[i]) == block) {
            bnx_store_relaxed(&counted[i], NULL);
            bnx_fetch_add_relaxed(&buffers, -1);
        }
    }
    released_real(block);
}

static int read_everything(void *arg) {
    struct bnx_stream *stream = arg;
    char data[100];
    size_t done = 0;
    ssize_t got;
    while ((got = bnx_stream_read(stream, data, sizeof(data))) > 0) {
        done += (size_t)got;
    }
    CHECK_EQ(got, 0);
    CHECK_EQ(done, 3 * 5000);
    return 0;
}

static int feed_and_look(void *arg) {
    (void)arg;
    static const char data[5000];
    int fds[2];
    struct bnx_scope scope;
    struct bnx_stream *stream = NULL;
    struct bnx_task *reader = NULL;
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_fd(stream), fds[0]);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, read_everything, stream, &reader), 0);
    for (int i = 0; i < 3; i++) {
        int unread = 1;
        CHECK_EQ(bnx_send_all(fds[1], data, sizeof(data)), sizeof(data));
        while (unread > 0) { /* ends: the reader takes it */
            bnx_yield();
            CHECK_EQ(ioctl(fds[0], FIONREAD, &unread), 0);
        }
        io_await_wait(reader, BNX_WAIT_RECV);
        CHECK_EQ(bnx_load_relaxed(&buffers), 0);
    }
    CHECK_EQ(bnx_close(fds[1]), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_stream_close(stream), 0);
    CHECK_EQ(bnx_load_relaxed(&buffers), 0);
    return 0;
}

/* Who waits for the next byte of a socket holds no buffer, however much has come before. */
TEST(stream_idle, "stream.idle_holds_no_buffer") {
    struct bnx_os real = bnx_os;
    counted_real = real.allocate;
    released_real = real.release;
    bnx_os.allocate = count_buffer;
    bnx_os.release = count_release;
    sched_run(1, feed_and_look, NULL);
    bnx_os = real;
}

/* Neither a number that is no descriptor nor sizes that cannot be are opened; what was not opened
 * is still open beneath. Off a task nothing moves. */
TEST(stream_wrong, "stream.wrong_use") {
    struct bnx_stream *stream = NULL;
    struct memory memory = {0};
    struct bnx_stream_options options = {.line_max = ((size_t)1 << 30) + 1};
    int fds[2];
    char byte = 'x';
    io_unix_pair(fds);
    CHECK_EQ(bnx_stream_open(-1, NULL, &stream), -EBADF);
    CHECK_EQ(bnx_stream_open(fds[0], &options, &stream), -EINVAL);
    CHECK_EQ(bnx_stream_open_on(NULL, &memory, NULL, &stream), -EINVAL);
    CHECK_EQ(bnx_stream_open_on(&(struct bnx_transport_ops){.read = memory_read}, &memory, NULL,
                                &stream),
             -EINVAL);
    CHECK(stream == NULL);
    CHECK_EQ(bnx_stream_open(fds[0], NULL, &stream), 0);
    CHECK_EQ(bnx_stream_read(stream, &byte, 1), -EPERM);
    CHECK_EQ(bnx_stream_write(stream, &byte, 1), -EPERM);
    CHECK_EQ(bnx_stream_close(stream), 0);
    CHECK_EQ(fcntl(fds[0], F_GETFD), -1);
    CHECK_EQ(close(fds[1]), 0);
}

/* ---- Several readers ---- */

#define READERS 6
#define RECORDS 3000

struct crowd {
    struct bnx_stream *stream;
    uint8_t seen[RECORDS];
};

static int read_records(void *arg) {
    struct crowd *crowd = arg;
    uint32_t record[4];
    ssize_t got;
    while ((got = bnx_stream_read_exact(crowd->stream, record, sizeof(record))) == sizeof(record)) {
        CHECK(record[0] < RECORDS);
        for (uint32_t i = 1; i < 4; i++) {
            CHECK_EQ(record[i], record[0] * i);
        }
        CHECK_EQ(crowd->seen[record[0]], 0); /* its own byte: no other reader touches it */
        crowd->seen[record[0]] = 1;
    }
    CHECK_EQ(got, 0);
    return 0;
}

static int send_records(void *arg) {
    struct bnx_stream *stream = arg;
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t record[4] = {i, i, 2 * i, 3 * i};
        CHECK_EQ(bnx_stream_write(stream, record, sizeof(record)), sizeof(record));
        if (i % 7 == 0) {
            CHECK_EQ(bnx_stream_flush(stream), 0);
        }
    }
    return bnx_stream_close(stream);
}

static int run_readers(void *arg) {
    (void)arg;
    int fds[2];
    static struct crowd crowd;
    struct bnx_scope scope;
    struct bnx_stream *writer = NULL;
    struct bnx_stream_options options = {.read_bytes = 777};
    memset(&crowd, 0, sizeof(crowd));
    io_tcp_pair(fds);
    CHECK_EQ(bnx_stream_open(fds[0], &options, &crowd.stream), 0);
    CHECK_EQ(bnx_stream_open(fds[1], NULL, &writer), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < READERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, read_records, &crowd), 0);
    }
    CHECK_EQ(bnx_spawn(&scope, send_records, writer), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        CHECK_EQ(crowd.seen[i], 1);
    }
    return bnx_stream_close(crowd.stream);
}

/* Several tasks read records from one stream: each record goes to one of them, whole. */
TEST(stream_readers, "stream.readers_take_turns") {
    sched_run_each(run_readers, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
