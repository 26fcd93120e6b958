/* SPDX-License-Identifier: MIT */
/* Tests datagrams as bonxie/datagram.h promises them: sockets, messages, batches, lost peers. */
#include "tests/io/fixture.h"

#include <bonxie/datagram.h>

#include <sys/stat.h>

static void local_name(int fd, char out[BNX_ADDRESS_TEXT_BYTES]) {
    struct bnx_address local;
    CHECK_EQ(bnx_address_local(fd, &local), 0);
    CHECK(bnx_address_format(&local, out, BNX_ADDRESS_TEXT_BYTES) > 0);
}

/* A name of the abstract namespace that no other socket has. */
static void fresh_name(char out[64]) {
    static uint32_t number;
    (void)snprintf(out, 64, "unix:@bonxie-datagram-%d-%u", getpid(),
                   bnx_fetch_add_relaxed(&number, 1));
}

/* ---- Opening ---- */

static int option_of(int fd, int name) {
    int value = -1;
    socklen_t bytes = sizeof(value);
    CHECK_EQ(getsockopt(fd, SOL_SOCKET, name, &value, &bytes), 0);
    return value;
}

/* Wrong addresses, an address in use, ports that are shared, options that show on the socket. */
TEST(datagram_open, "datagram.open") {
    int before = io_fd_count();
    CHECK_EQ(bnx_datagram_open(NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_datagram_open("nonsense", NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_datagram_open(NULL, "nonsense", NULL), -EINVAL);
    CHECK_EQ(bnx_datagram_open("127.0.0.1:0", "[::1]:1", NULL), -EINVAL);
    CHECK_EQ(bnx_datagram_open("127.0.0.1:0", "unix:@x", NULL), -EINVAL);
    CHECK_EQ(bnx_datagram_open("192.0.2.1:1", NULL, NULL), -EADDRNOTAVAIL);
    CHECK_EQ(bnx_datagram_open(NULL, "unix:@bonxie-nobody-has-it", NULL), -ECONNREFUSED);

    char name[BNX_ADDRESS_TEXT_BYTES];
    struct bnx_datagram_options shared = {.reuse_port = 1, .broadcast = 1};
    int first = bnx_datagram_open("127.0.0.1:0", NULL, NULL);
    CHECK(first >= 0);
    CHECK((fcntl(first, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_EQ(option_of(first, SO_BROADCAST), 0);
    local_name(first, name);
    CHECK_EQ(bnx_datagram_open(name, NULL, &shared),
             -EADDRINUSE); /* the first one does not share */
    CHECK_EQ(bnx_close(first), 0);
    int second = bnx_datagram_open(name, NULL, &shared);
    int third = bnx_datagram_open(name, NULL, &shared);
    CHECK(second >= 0 && third >= 0);
    CHECK_EQ(option_of(third, SO_BROADCAST), 1);
    CHECK_EQ(bnx_close(second), 0);
    CHECK_EQ(bnx_close(third), 0);
    CHECK_EQ(io_fd_count(), before);
}

/* The file of a unix socket that nobody receives on is replaced; one in use, and a file that is no
 * socket, are left alone; what did not become a socket leaves no file. */
TEST(datagram_stale, "datagram.open_replaces_stale_socket") {
    char directory[] = "/tmp/bonxie-datagram-XXXXXX";
    char path[64], name[72];
    struct stat status;
    struct bnx_datagram_options options = {.mode = 0600};
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof(path), "%s/socket", directory);
    (void)snprintf(name, sizeof(name), "unix:%s", path);
    int fd = bnx_datagram_open(name, NULL, &options);
    CHECK(fd >= 0);
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0600);
    CHECK_EQ(bnx_datagram_open(name, NULL, NULL), -EADDRINUSE);
    CHECK_EQ(bnx_close(fd), 0);
    fd = bnx_datagram_open(name, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_datagram_open(name, "unix:@bonxie-nobody-has-it", NULL), -ECONNREFUSED);
    CHECK_EQ(stat(path, &status), -1);

    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    CHECK_EQ(close(file), 0);
    CHECK_EQ(bnx_datagram_open(name, NULL, NULL), -EADDRINUSE);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(directory), 0);
}

/* ---- One message at a time ---- */

/* A datagram stays what it is: two parts are sent, three received, a short room cuts the end off
 * and says so, an empty one is one. The sender's address comes along. */
static void exchange(int from, int to, const struct bnx_address *target, const char *sender) {
    char first[3], second[4], rest[8];
    struct iovec parts[] = {{"hello ", 6}, {"world", 5}};
    struct iovec rooms[] = {{first, sizeof(first)}, {second, sizeof(second)}, {rest, sizeof(rest)}};
    struct bnx_address peer;
    struct msghdr sent = {.msg_iov = parts, .msg_iovlen = 2};
    if (target != NULL) {
        sent.msg_name = (void *)(uintptr_t)&target->storage;
        sent.msg_namelen = target->bytes;
    }
    struct msghdr got = {.msg_iov = rooms, .msg_iovlen = 3};
    CHECK_EQ(bnx_sendmsg(from, &sent, 0), 11);
    CHECK_EQ(bnx_recvmsg(to, &got, MSG_PEEK), 11);
    CHECK_EQ(bnx_recvmsg(to, &got, 0), 11);
    CHECK_EQ(got.msg_flags & MSG_TRUNC, 0);
    CHECK(memcmp(first, "hel", 3) == 0 && memcmp(second, "lo w", 4) == 0);
    CHECK(memcmp(rest, "orld", 4) == 0);

    CHECK_EQ(bnx_send_to(from, "twelve bytes", 12, target), 12);
    got.msg_iovlen = 1;
    CHECK_EQ(bnx_recvmsg(to, &got, 0), 3);
    CHECK((got.msg_flags & MSG_TRUNC) != 0);

    CHECK_EQ(bnx_send_to(from, NULL, 0, target), 0);
    CHECK_EQ(bnx_send_to(from, "end", 3, target), 3);
    CHECK_EQ(bnx_recv_from(to, rest, sizeof(rest), NULL), 0);
    CHECK_EQ(bnx_recv_from(to, rest, sizeof(rest), &peer), 3);
    char name[BNX_ADDRESS_TEXT_BYTES] = "";
    if (peer.bytes != 0) {
        CHECK(bnx_address_format(&peer, name, sizeof(name)) > 0);
    }
    CHECK_STR(name, sender);
    CHECK_EQ(bnx_recvmsg(to, &got, MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_recvmsg(to, &got, MSG_WAITALL), -EINVAL);
}

static int exchange_all(void *arg) {
    char name[BNX_ADDRESS_TEXT_BYTES], sender[BNX_ADDRESS_TEXT_BYTES];
    struct bnx_address target;
    (void)arg;
    int to = bnx_datagram_open("127.0.0.1:0", NULL, NULL);
    local_name(to, name);
    CHECK_EQ(bnx_address_parse(name, &target), 0);
    int from = bnx_datagram_open("127.0.0.1:0", NULL, NULL);
    local_name(from, sender);
    exchange(from, to, &target, sender);
    CHECK_EQ(bnx_close(from), 0);
    from = bnx_datagram_open(NULL, name, NULL); /* connected: no address at each send */
    local_name(from, sender);
    exchange(from, to, NULL, sender);
    CHECK_EQ(bnx_close(from), 0);
    CHECK_EQ(bnx_close(to), 0);

    fresh_name(name);
    CHECK_EQ(bnx_address_parse(name, &target), 0);
    to = bnx_datagram_open(name, NULL, NULL);
    from = bnx_datagram_open(NULL, name, NULL);
    exchange(from, to, &target, ""); /* without a name of its own */
    CHECK_EQ(bnx_close(from), 0);
    fresh_name(sender);
    from = bnx_datagram_open(sender, name, NULL);
    exchange(from, to, NULL, sender);
    CHECK_EQ(bnx_close(from), 0);
    CHECK_EQ(bnx_close(to), 0);
    return 0;
}

TEST(datagram_messages, "datagram.messages") {
    int before = io_fd_count();
    sched_run_each(exchange_all, NULL);
    CHECK_EQ(io_fd_count(), before);
    struct msghdr message = {0};
    struct bnx_datagram one = {0};
    CHECK_EQ(bnx_recvmsg(0, &message, 0), -EPERM);
    CHECK_EQ(bnx_sendmsg(0, &message, 0), -EPERM);
    CHECK_EQ(bnx_recv_batch(0, &one, 1), -EPERM);
    CHECK_EQ(bnx_send_batch(0, &one, 1), -EPERM);
}

/* ---- Batches ---- */

#define WINDOW 50 /* datagrams under way: what a socket's buffer certainly holds */
#define BATCH 40  /* more than goes to the kernel at once, less than a window */

struct stream_of {
    int from;
    int to;
    bool is_ordered; /* unix: as they were sent */
    uint64_t count;
    uint64_t received;
    struct bnx_sem room; /* datagrams that may be sent */
    unsigned char *seen; /* by number */
    struct bnx_address target;
};

static int send_numbers(void *arg) {
    struct stream_of *stream = arg;
    uint64_t numbers[BATCH];
    struct bnx_datagram batch[BATCH];
    uint64_t next = 0;
    while (next < stream->count) { /* ends: progress */
        int size = 0;
        CHECK_EQ(bnx_sem_acquire(&stream->room), 0);
        do {
            numbers[size] = next + (uint64_t)size;
            batch[size] = (struct bnx_datagram){
                .data = &numbers[size], .bytes = sizeof(numbers[0]), .address = stream->target};
            size++;
        } while (size < BATCH && next + (uint64_t)size < stream->count &&
                 bnx_sem_try_acquire(&stream->room) == 0);
        for (int done = 0; done < size;) { /* ends: progress */
            int sent = bnx_send_batch(stream->from, batch + done, size - done);
            CHECK(sent >= 1 && sent <= size - done);
            done += sent;
        }
        next += (uint64_t)size;
    }
    return 0;
}

static int receive_numbers(void *arg) {
    struct stream_of *stream = arg;
    uint64_t numbers[BATCH];
    struct bnx_datagram batch[BATCH];
    while (stream->received < stream->count) { /* ends: each comes */
        for (int i = 0; i < BATCH; i++) {
            batch[i] = (struct bnx_datagram){.data = &numbers[i], .room = sizeof(numbers[0])};
        }
        int got = bnx_recv_batch(stream->to, batch, BATCH);
        CHECK(got >= 1 && got <= BATCH);
        for (int i = 0; i < got; i++) {
            CHECK_EQ(batch[i].bytes, sizeof(numbers[0]));
            CHECK_EQ(batch[i].flags & MSG_TRUNC, 0);
            CHECK(numbers[i] < stream->count && stream->seen[numbers[i]] == 0);
            CHECK(!stream->is_ordered || numbers[i] == stream->received + (uint64_t)i);
            stream->seen[numbers[i]] = 1;
            CHECK_EQ(bnx_sem_release(&stream->room), 0);
        }
        stream->received += (uint64_t)got;
    }
    return 0;
}

static void run_stream(struct stream_of *stream) {
    struct bnx_scope scope;
    stream->count = bnx_test_scale(10000) + 100;
    stream->seen = calloc(stream->count, 1);
    CHECK(stream->seen != NULL);
    bnx_sem_init(&stream->room, WINDOW);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, receive_numbers, stream), 0);
    CHECK_EQ(bnx_spawn(&scope, send_numbers, stream), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(stream->received, stream->count);
    free(stream->seen);
    CHECK_EQ(bnx_close(stream->from), 0);
    CHECK_EQ(bnx_close(stream->to), 0);
}

static int run_streams(void *arg) {
    char name[BNX_ADDRESS_TEXT_BYTES];
    (void)arg;
    struct stream_of udp = {.to = bnx_datagram_open("127.0.0.1:0", NULL, NULL)};
    local_name(udp.to, name);
    CHECK_EQ(bnx_address_parse(name, &udp.target), 0);
    udp.from = bnx_datagram_open("127.0.0.1:0", NULL, NULL);
    run_stream(&udp);

    fresh_name(
        name); /* the receiver's queue is shorter than the window: the senders have to wait */
    struct stream_of connected = {.is_ordered = true};
    connected.to = bnx_datagram_open(name, NULL, NULL);
    connected.from = bnx_datagram_open(NULL, name, NULL);
    run_stream(&connected);

    fresh_name(name);
    struct stream_of named = {.is_ordered = true};
    CHECK_EQ(bnx_address_parse(name, &named.target), 0);
    named.to = bnx_datagram_open(name, NULL, NULL);
    fresh_name(name);
    named.from = bnx_datagram_open(name, NULL, NULL);
    run_stream(&named);
    return 0;
}

/* Ten thousand datagrams by batches over UDP and over unix sockets, connected and by name: each
 * comes once and whole, over unix sockets in order. */
TEST(datagram_batch, "datagram.batch") {
    sched_run_each(run_streams, NULL);
}

/* ---- A peer without room ---- */

struct full {
    int from;
    int to;
    struct bnx_address target;
    int expected; /* of the send that has to wait */
    bool by_batch;
    struct bnx_task *sender;
};

static int send_one_more(void *arg) {
    struct full *full = arg;
    struct bnx_datagram one = {.data = "more", .bytes = 4, .address = full->target};
    if (full->by_batch) {
        CHECK_EQ(bnx_send_batch(full->from, &one, 1), full->expected > 0 ? 1 : full->expected);
    } else {
        CHECK_EQ(bnx_send_to(full->from, "more", 4, &full->target), full->expected);
    }
    return 0;
}

/* Returns how many the queue takes. */
static int fill_queue(const struct full *full) {
    int count = 0;
    while (sendto(full->from, "fill", 4, MSG_DONTWAIT, (const void *)&full->target.storage,
                  full->target.bytes) == 4) { /* ends: the queue is finite */
        count++;
    }
    CHECK_EQ(errno, EAGAIN);
    return count;
}

static void full_open(struct full *full, bool by_batch, int expected) {
    char name[64];
    fresh_name(name);
    *full = (struct full){.by_batch = by_batch, .expected = expected};
    CHECK_EQ(bnx_address_parse(name, &full->target), 0);
    full->to = bnx_datagram_open(name, NULL, NULL);
    fresh_name(name);
    full->from = bnx_datagram_open(name, NULL, NULL);
    CHECK(full->to >= 0 && full->from >= 0);
}

enum ending { ROOM, CANCEL, CLOSE, ENDINGS };

static void wait_for_room(bool by_batch, enum ending ending) {
    static const int expected[ENDINGS] = {[ROOM] = 4, [CANCEL] = -ECANCELED, [CLOSE] = -EBADF};
    struct full full;
    struct bnx_scope scope;
    char data[8];
    full_open(&full, by_batch, expected[ending]);
    int count = fill_queue(&full);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, send_one_more, &full, &full.sender), 0);
    io_await_wait(full.sender, BNX_WAIT_SEND);
    if (ending == CANCEL) {
        bnx_scope_cancel(&scope, 0);
    } else if (ending == CLOSE) {
        CHECK_EQ(bnx_close(full.from), 0);
    }
    if (ending != ROOM) {
        (void)bnx_scope_close(&scope);
    }
    for (int i = 0; i < count; i++) {
        CHECK_EQ(bnx_recv(full.to, data, sizeof(data), 0), 4);
        CHECK(memcmp(data, "fill", 4) == 0);
    }
    if (ending == ROOM) {
        CHECK_EQ(bnx_recv(full.to, data, sizeof(data), 0), 4);
        CHECK(memcmp(data, "more", 4) == 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    CHECK_EQ(bnx_recv(full.to, data, sizeof(data), MSG_DONTWAIT), -EAGAIN);
    CHECK_EQ(bnx_close(full.to), 0);
    CHECK_EQ(bnx_close(full.from), ending == CLOSE ? -EBADF : 0);
}

static int wait_each(void *arg) {
    (void)arg;
    for (enum ending ending = ROOM; ending < ENDINGS; ending++) {
        wait_for_room(false, ending);
        wait_for_room(true, ending);
    }
    return 0;
}

/* A send to a unix name whose queue is full waits until the receiver reads, and no other task
 * notices; a cancel and a close end the wait, and then nothing was sent. */
TEST(datagram_queue, "datagram.full_queue_waits") {
    int before = io_fd_count();
    sched_run_each(wait_each, NULL);
    CHECK_EQ(io_fd_count(), before);
}

/* The wait for a queue takes no processor time: the calls that find it full are counted. */
static uint64_t sends;
static ssize_t (*real_sendmsg)(int fd, const struct msghdr *message, int flags);

static ssize_t counting_sendmsg(int fd, const struct msghdr *message, int flags) {
    bnx_fetch_add_relaxed(&sends, 1);
    return real_sendmsg(fd, message, flags);
}

static int wait_and_count(void *arg) {
    (void)arg;
    wait_for_room(false, ROOM);
    return 0;
}

TEST(datagram_quiet, "datagram.full_queue_is_not_polled") {
    real_sendmsg = bnx_os.sendmsg;
    bnx_os.sendmsg = counting_sendmsg;
    sched_run(1, wait_and_count, NULL);
    bnx_os.sendmsg = real_sendmsg;
    CHECK_EQ(sends, 2); /* the try, and the call that waits */
}

/* ---- A peer that is gone ---- */

static int lose_peers(void *arg) {
    char name[BNX_ADDRESS_TEXT_BYTES], data[8];
    struct bnx_datagram one = {.data = data, .bytes = 1, .room = sizeof(data)};
    (void)arg;
    int to = bnx_datagram_open("127.0.0.1:0", NULL, NULL);
    local_name(to, name);
    int from = bnx_datagram_open(NULL, name, NULL);
    CHECK_EQ(bnx_close(to), 0);
    /* UDP hears of it afterwards, one error for each that found nobody. */
    CHECK_EQ(bnx_send_to(from, "x", 1, NULL), 1);
    CHECK_EQ(bnx_recv_from(from, data, sizeof(data), NULL), -ECONNREFUSED);
    CHECK_EQ(bnx_send_batch(from, &one, 1), 1);
    CHECK_EQ(bnx_recv_batch(from, &one, 1), -ECONNREFUSED);
    CHECK_EQ(bnx_close(from), 0);

    fresh_name(name);
    to = bnx_datagram_open(name, NULL, NULL);
    from = bnx_datagram_open(NULL, name, NULL);
    CHECK_EQ(bnx_close(to), 0);
    CHECK_EQ(bnx_send_to(from, "x", 1, NULL), -ECONNREFUSED);
    CHECK_EQ(bnx_send_batch(from, &one, 1), -ENOTCONN); /* it has been told once */
    CHECK_EQ(bnx_send_batch(from, &one, 0), -EINVAL);
    CHECK_EQ(bnx_recv_batch(from, &one, -1), -EINVAL);
    CHECK_EQ(bnx_close(from), 0);
    CHECK_EQ(bnx_recv_batch(from, &one, 1), -EBADF);
    CHECK_EQ(bnx_send_batch(from, &one, 1), -EBADF);
    return 0;
}

/* Who sends to somebody that is gone is told so: by the send, or by what comes next. */
TEST(datagram_vanished, "datagram.vanished_peer") {
    sched_run_each(lose_peers, NULL);
}

/* ---- Census ---- */

struct census {
    int pair[2];
    uint64_t sent;
    uint64_t received;
    uint64_t cancelled;
    bool by_batch;
};

static int receive_one(void *arg) {
    struct census *census = arg;
    uint64_t number;
    struct bnx_datagram one = {.data = &number, .room = sizeof(number)};
    ssize_t got = census->by_batch ? bnx_recv_batch(census->pair[0], &one, 1)
                                   : bnx_recv_from(census->pair[0], &number, sizeof(number), NULL);
    if (got == -ECANCELED) {
        census->cancelled++;
        return 0;
    }
    CHECK_EQ(got, census->by_batch ? 1 : (ssize_t)sizeof(number));
    CHECK_EQ(number, census->received);
    census->received++;
    return 0;
}

static int race_cancels(void *arg) {
    struct census *census = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 0);
    uint64_t rounds = bnx_test_scale(5000) + 50;
    for (uint64_t i = 0; i < rounds; i++) {
        struct bnx_scope scope;
        struct bnx_task *receiver;
        census->by_batch = bnx_rng_below(&rng, 2) != 0;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_one, census, &receiver), 0);
        io_await_wait(receiver, BNX_WAIT_RECV);
        bool is_cancelled_first = bnx_rng_below(&rng, 2) != 0;
        if (is_cancelled_first) {
            bnx_scope_cancel(&scope, 0);
        }
        CHECK_EQ(send(census->pair[1], &census->sent, sizeof(census->sent), 0), 8);
        census->sent++;
        for (uint32_t turns = bnx_rng_below(&rng, 4); turns > 0; turns--) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        (void)bnx_scope_close(&scope);
        if (census->received < census->sent) { /* the cancelled one has left it there */
            CHECK_EQ(receive_one(census), 0);
        }
        CHECK_EQ(census->received, census->sent);
    }
    return 0;
}

/* A cancel races receives of both kinds: each datagram comes once and in order. */
TEST(datagram_census, "datagram.success_beats_cancel") {
    struct census census = {0};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, census.pair), 0);
    sched_run_each(race_cancels, &census);
    CHECK(census.cancelled > 0 || bnx_test_scale(1000) < 1000); /* few rounds may all be won */
    io_close_pair(census.pair);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
