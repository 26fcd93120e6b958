/* SPDX-License-Identifier: MIT */
/*
 * Tests bnx_close beside calls of several steps: none of them meets the file that has the number
 * afterwards.
 *
 * Method: the task is woken, and before it has its turn what woke it is taken away, the descriptor
 * is closed, and its number given to a file that has something for it. It would take that.
 */
#include "tests/io/temp.h"

#include <bonxie/datagram.h>
#include <bonxie/stream.h>

/* ---- Between a wait and what follows it ---- */

struct scene {
    int own[2];      /* the end that is used and closed, its peer */
    int stranger[2]; /* the end that gets the number, its peer */
    struct temp temp;
    int target;                 /* of a copy: a file */
    struct sockaddr_in address; /* of the listener own[0], as the next */
    struct sockaddr_in other;
    ssize_t result;
    char got;
    struct bnx_task *task;
};

struct act {
    int (*run)(void *scene); /* the task: calls, and stores the result */
    enum bnx_wait_reason reason;
    void (*open)(struct scene *scene);
    void (*prepare)(struct scene *scene); /* so that the call waits */
    void (*wake)(struct scene *scene);
    void (*rob)(struct scene *scene);   /* takes away what has woken it */
    void (*tempt)(struct scene *scene); /* gives the stranger what the call wants */
    void (*check)(struct scene *scene); /* that the stranger still has it */
    bool is_cancelled;
};

/* Collects until the task is awake, and gives it no turn. */
static void collect_for(const struct bnx_task *task) {
    struct bnx_driver *driver = bnx_worker_driver(bnx_worker_current());
    while (bnx_task_state(task) == BNX_TASK_PARKED) { /* ends: it has been woken */
        bnx_cancels_send(bnx_worker_current(), false);
        (void)driver->ops->poll(driver);
    }
}

static int play(const struct act *act, bool is_robbed) {
    struct scene scene = {.target = -1};
    struct bnx_scope scope;
    act->open(&scene);
    if (act->prepare != NULL) {
        act->prepare(&scene);
    }
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, act->run, &scene, &scene.task), 0);
    io_await_wait(scene.task, act->reason);
    io_round_trip(); /* the wait is the kernel's by now */
    if (act->is_cancelled) {
        bnx_cancel(scene.task, 0);
    } else {
        act->wake(&scene);
    }
    collect_for(scene.task);
    if (is_robbed && act->rob != NULL) {
        act->rob(&scene);
    }
    CHECK_EQ(bnx_close(scene.own[0]), 0);
    CHECK_EQ(dup3(scene.stranger[0], scene.own[0], O_CLOEXEC), scene.own[0]);
    act->tempt(&scene);
    CHECK_EQ(bnx_join(scene.task, NULL), 0);
    act->check(&scene);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    io_close_pair(scene.own);
    io_close_pair(scene.stranger);
    if (scene.target >= 0) {
        CHECK_EQ(close(scene.target), 0);
        temp_close(&scene.temp);
    }
    return 0;
}

static int play_both(void *arg) {
    for (int robbed = 0; robbed < 2; robbed++) {
        CHECK_EQ(play(arg, robbed != 0), 0);
    }
    return 0;
}

/* ---- What goes on in a scene ---- */

static void wake_with_byte(struct scene *scene) {
    CHECK_EQ(send(scene->own[1], "o", 1, 0), 1);
}

static void rob_byte(struct scene *scene) {
    char byte;
    CHECK_EQ(recv(scene->own[0], &byte, 1, MSG_DONTWAIT), 1);
}

static void tempt_with_byte(struct scene *scene) {
    CHECK_EQ(send(scene->stranger[1], "s", 1, 0), 1);
}

static void check_byte(struct scene *scene) {
    char byte = 0;
    CHECK_EQ(recv(scene->stranger[0], &byte, 1, MSG_DONTWAIT), 1);
    CHECK_EQ(byte, 's');
    CHECK(scene->result == -EBADF || (scene->result == 1 && scene->got == 'o'));
}

static void open_datagrams(struct scene *scene) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, scene->own), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, scene->stranger), 0);
}

/* ---- In parts ---- */

static void open_streams(struct scene *scene) {
    io_unix_pair(scene->own);
    io_unix_pair(scene->stranger);
}

static int receive_exact(void *arg) {
    struct scene *scene = arg;
    char bytes[2] = {0, 0};
    scene->result = bnx_recv_exact(scene->own[0], bytes, sizeof(bytes));
    scene->got = bytes[0];
    return 0;
}

/* One has received a part of what it waits for, and the socket is closed: the rest does not come
 * from another one. */
TEST(exact, "io.close_beside_an_exact_receive") {
    struct act act = {.run = receive_exact,
                      .reason = BNX_WAIT_RECV,
                      .open = open_streams,
                      .wake = wake_with_byte,
                      .tempt = tempt_with_byte,
                      .check = check_byte};
    sched_run(1, play_both, &act);
}

/* ---- Batches ---- */

static int receive_batch(void *arg) {
    struct scene *scene = arg;
    struct bnx_datagram batch[2] = {{.data = &scene->got, .room = 1}, {.data = NULL}};
    scene->result = bnx_recv_batch(scene->own[0], batch, 2);
    return 0;
}

/* One that waits for datagrams is woken, and the socket closed: it gets its own, or -EBADF, and
 * never another socket's. */
TEST(batch, "io.close_beside_a_batch") {
    struct act act = {.run = receive_batch,
                      .reason = BNX_WAIT_RECV,
                      .open = open_datagrams,
                      .wake = wake_with_byte,
                      .rob = rob_byte,
                      .tempt = tempt_with_byte,
                      .check = check_byte};
    sched_run(1, play_both, &act);
}

static int send_batch(void *arg) {
    struct scene *scene = arg;
    struct bnx_datagram batch[1] = {{.data = &scene->got, .bytes = 1}};
    scene->result = bnx_send_batch(scene->own[0], batch, 1);
    return 0;
}

static void fill_own(struct scene *scene) {
    io_fill_up(scene->own[0]);
}

static void drain_own(struct scene *scene) {
    char data[4096];
    while (recv(scene->own[1], data, sizeof(data), MSG_DONTWAIT) > 0) { /* ends: nobody sends */
    }
}

static void tempt_with_room(struct scene *scene) {
    (void)scene; /* it has room */
}

static void check_nothing_came(struct scene *scene) {
    char byte;
    CHECK_EQ(bnx_os.recv(scene->stranger[1], &byte, 1, MSG_DONTWAIT), -EAGAIN);
    CHECK(scene->result == -EBADF || scene->result == 1);
}

/* The same of one that waits to send: nothing arrives where it does not belong. */
TEST(send_batch, "io.close_beside_a_sent_batch") {
    struct act act = {.run = send_batch,
                      .reason = BNX_WAIT_SEND,
                      .open = open_datagrams,
                      .prepare = fill_own,
                      .wake = drain_own,
                      .rob = fill_own,
                      .tempt = tempt_with_room,
                      .check = check_nothing_came};
    sched_run(1, play_both, &act);
}

/* ---- Copies ---- */

static void open_copy(struct scene *scene) {
    int flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    CHECK_EQ(socketpair(AF_UNIX, flags, 0, scene->own), 0);
    CHECK_EQ(socketpair(AF_UNIX, flags, 0, scene->stranger), 0);
}

#define FIRST_BYTES (24 << 10) /* fill the read buffer, and more: from then on it is spliced */

static void send_first(struct scene *scene) {
    static char data[FIRST_BYTES];
    CHECK_EQ(send(scene->own[1], data, sizeof(data), 0), (ssize_t)sizeof(data));
}

static int copy_stream(void *arg) {
    struct scene *scene = arg;
    int sink[2];
    struct bnx_stream_options options = {.keep_open = 1};
    struct bnx_stream *from = NULL;
    struct bnx_stream *to = NULL;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sink), 0);
    CHECK_EQ(bnx_stream_open(scene->own[0], &options, &from), 0);
    CHECK_EQ(bnx_stream_open(sink[0], &options, &to), 0);
    ssize_t moved = bnx_stream_copy(from, to, SIZE_MAX);
    CHECK(moved >= FIRST_BYTES);
    scene->result = moved > FIRST_BYTES ? moved - FIRST_BYTES : -EBADF;
    scene->got = 'o';
    for (ssize_t i = 0; i < FIRST_BYTES; i++) {
        char byte;
        CHECK_EQ(recv(sink[1], &byte, 1, MSG_DONTWAIT), 1);
    }
    char byte = 'o';
    CHECK((moved > FIRST_BYTES) == (recv(sink[1], &byte, 1, MSG_DONTWAIT) == 1));
    CHECK_EQ(byte, 'o');
    CHECK_EQ(bnx_stream_close(to), 0);
    CHECK_EQ(bnx_stream_close(from), 0);
    io_close_pair(sink);
    return 0;
}

/* The same of a copy from one stream to another, which splices. */
TEST(stream, "io.close_beside_a_splice") {
    struct act act = {.run = copy_stream,
                      .reason = BNX_WAIT_RECV,
                      .open = open_copy,
                      .prepare = send_first,
                      .wake = wake_with_byte,
                      .rob = rob_byte,
                      .tempt = tempt_with_byte,
                      .check = check_byte};
    sched_run(1, play_both, &act);
}

static void open_pipes(struct scene *scene) {
    CHECK_EQ(pipe2(scene->own, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(pipe2(scene->stranger, O_CLOEXEC | O_NONBLOCK), 0);
    temp_open(&scene->temp);
    scene->target = open(scene->temp.path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    CHECK(scene->target >= 0);
}

static int copy_from_pipe(void *arg) {
    struct scene *scene = arg;
    scene->result = bnx_copy_file(scene->own[0], NULL, scene->target, NULL, 1);
    CHECK(pread(scene->target, &scene->got, 1, 0) == (scene->result == 1 ? 1 : 0));
    return 0;
}

static void wake_pipe(struct scene *scene) {
    CHECK_EQ(bnx_os.write(scene->own[1], "o", 1), 1);
}

static void rob_pipe(struct scene *scene) {
    char byte;
    CHECK_EQ(bnx_os.read(scene->own[0], &byte, 1), 1);
}

static void tempt_pipe(struct scene *scene) {
    CHECK_EQ(bnx_os.write(scene->stranger[1], "s", 1), 1);
}

static void check_pipe(struct scene *scene) {
    char byte = 0;
    CHECK_EQ(bnx_os.read(scene->stranger[0], &byte, 1), 1);
    CHECK_EQ(byte, 's');
    CHECK(scene->result == -EBADF || (scene->result == 1 && scene->got == 'o'));
}

/* The same of a copy from a pipe to a file, which threads of the pool do. */
TEST(copy, "io.close_beside_a_copy") {
    struct act act = {.run = copy_from_pipe,
                      .reason = BNX_WAIT_READ,
                      .open = open_pipes,
                      .wake = wake_pipe,
                      .rob = rob_pipe,
                      .tempt = tempt_pipe,
                      .check = check_pipe};
    sched_run(1, play_both, &act);
}

/* ---- An accept's last look ---- */

static void open_listeners(struct scene *scene) {
    scene->own[0] = io_tcp_listener(&scene->address, 8);
    scene->stranger[0] = io_tcp_listener(&scene->other, 8);
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? scene->own[0] : scene->stranger[0];
        CHECK_EQ(bnx_os.fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    }
    scene->own[1] = dup(scene->own[0]); /* for the closing */
    CHECK(scene->own[1] >= 0);
}

static int accept_one(void *arg) {
    struct scene *scene = arg;
    scene->result = bnx_accept(scene->own[0], NULL);
    return 0;
}

static void tempt_with_connection(struct scene *scene) {
    scene->stranger[1] = io_tcp_connect(&scene->other);
}

static void check_connection(struct scene *scene) {
    int fd = accept4(scene->stranger[0], NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(scene->result, -ECANCELED);
}

/* An accept is cancelled, and before it looks for the last time, the listener closed: it takes no
 * connection of another one. */
TEST(accept, "io.close_beside_a_cancelled_accept") {
    struct act act = {.run = accept_one,
                      .reason = BNX_WAIT_ACCEPT,
                      .open = open_listeners,
                      .tempt = tempt_with_connection,
                      .check = check_connection,
                      .is_cancelled = true};
    sched_run(1, play_both, &act);
}

/* ---- Beside a system call ---- */

struct closer {
    int fd;
    int stranger;
    uint32_t is_inside; /* the call */
    uint32_t is_closing;
    uint32_t is_closed;
    struct bnx_task *task;
};

static struct closer closer;
static int (*real_ftruncate)(int fd, off_t bytes);

/* In the call: until the closer waits for it, or does not. */
static void await_closer(void) {
    bnx_store_release(&closer.is_inside, 1);
    while (bnx_load_acquire(&closer.is_closed) == 0 &&
           (bnx_load_acquire(&closer.is_closing) == 0 ||
            bnx_task_state(closer.task) != BNX_TASK_PARKED)) { /* ends: either of the two */
        bnx_os.thread_yield();
    }
}

static int slow_ftruncate(int fd, off_t bytes) {
    await_closer();
    return real_ftruncate(fd, bytes);
}

static int close_inside(void *arg) {
    (void)arg;
    while (bnx_load_acquire(&closer.is_inside) == 0) { /* ends: the call begins */
        bnx_yield();
    }
    bnx_store_release(&closer.is_closing, 1);
    CHECK_EQ(bnx_close(closer.fd), 0);
    CHECK_EQ(dup3(closer.stranger, closer.fd, O_CLOEXEC), closer.fd);
    bnx_store_release(&closer.is_closed, 1);
    return 0;
}

static off_t size_of(int fd) {
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    return status.st_size;
}

static int close_beside_call(void *arg) {
    struct temp *temp = arg;
    struct bnx_scope scope;
    int own = temp_random(temp, 100, 1);
    int kept = dup(own);
    closer = (struct closer){.fd = own, .stranger = temp_random(temp, 100, 2)};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, close_inside, NULL, &closer.task), 0);
    CHECK_EQ(bnx_ftruncate(own, 7), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(size_of(kept), 7);
    CHECK_EQ(size_of(closer.stranger), 100);
    CHECK_EQ(close(kept), 0);
    CHECK_EQ(close(own), 0);
    CHECK_EQ(close(closer.stranger), 0);
    return 0;
}

/* A thread of the pool is about to truncate the file: the close waits for that. */
TEST(call, "io.close_waits_for_a_call") {
    struct temp temp;
    temp_open(&temp);
    real_ftruncate = bnx_os.ftruncate;
    bnx_os.ftruncate = slow_ftruncate;
    sched_run_each(close_beside_call, &temp);
    temp_close(&temp);
}

static ssize_t (*real_range)(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes);

static ssize_t slow_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t bytes) {
    await_closer();
    return real_range(from, from_offset, to, to_offset, bytes);
}

static void close_beside_piece(struct temp *temp, bool is_target) {
    struct bnx_scope scope;
    int from = temp_random(temp, 100, 1);
    int to = temp_random(temp, 1, 2);
    int stranger = temp_random(temp, 100, 3);
    int kept = dup(to);
    uint64_t hash = temp_hash(from, 0, 100);
    uint64_t strange_hash = temp_hash(stranger, 0, 100);
    closer = (struct closer){.fd = is_target ? to : from, .stranger = stranger};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, close_inside, NULL, &closer.task), 0);
    off_t from_at = 0, to_at = 0;
    CHECK_EQ(bnx_copy_file(from, &from_at, to, &to_at, 100), 100);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(temp_hash(kept, 0, 100) == hash);
    CHECK(temp_hash(stranger, 0, 100) == strange_hash);
    int all[] = {from, to, stranger, kept};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(close(all[i]), 0);
    }
}

static int close_beside_pieces(void *arg) {
    close_beside_piece(arg, false);
    close_beside_piece(arg, true);
    return 0;
}

/* A piece of a copy is one call at two descriptors: the close of either waits for it. */
TEST(piece, "io.close_waits_for_a_piece") {
    struct temp temp;
    temp_open(&temp);
    real_range = bnx_os.copy_file_range;
    bnx_os.copy_file_range = slow_range;
    sched_run_each(close_beside_pieces, &temp);
    temp_close(&temp);
}

/* ---- Many at once ---- */

#define LANES 6
#define READERS 3 /* at one socket: each takes what has woken the others */

struct lane {
    uint64_t seed;
    uint64_t cycles;
    int fds[2];
    uint64_t nonce;
};

static int receive_own(void *arg) {
    struct lane *lane = arg;
    uint64_t got[2] = {0, 0};
    struct bnx_datagram batch[2] = {{.data = &got[0], .room = 8}, {.data = &got[1], .room = 8}};
    int count = bnx_recv_batch(lane->fds[0], batch, 2);
    CHECK(count > 0 || count == -EBADF);
    for (int i = 0; i < count; i++) {
        CHECK(got[i] == lane->nonce);
    }
    return 0;
}

static int run_lane(void *arg) {
    struct lane *lane = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, lane->seed, 0);
    for (uint64_t i = 0; i < lane->cycles; i++) {
        struct bnx_scope scope;
        struct bnx_task *readers[READERS];
        CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, lane->fds), 0);
        lane->nonce = bnx_rng_next(&rng);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int j = 0; j < READERS; j++) {
            CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_own, lane, &readers[j]), 0);
        }
        for (int j = 0; j < READERS; j++) {
            io_await_wait(readers[j], BNX_WAIT_RECV);
        }
        for (uint32_t turns = bnx_rng_below(&rng, 4); turns > 0; turns--) {
            (void)bnx_os.send(lane->fds[1], &lane->nonce, sizeof(lane->nonce), MSG_DONTWAIT);
            if (bnx_rng_below(&rng, 2) == 0) {
                bnx_yield();
            }
        }
        CHECK_EQ(bnx_close(lane->fds[0]), 0);
        CHECK_EQ(close(lane->fds[1]), 0); /* its number, too, is another lane's */
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

static int run_lanes(void *arg) {
    uint64_t seed = bnx_test_seed();
    struct lane lanes[LANES];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint64_t i = 0; i < LANES; i++) {
        lanes[i] = (struct lane){.seed = seed + i, .cycles = *(const uint64_t *)arg};
        CHECK_EQ(bnx_spawn(&scope, run_lane, &lanes[i]), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Sockets come and go on reused numbers, each closed while tasks are in a batch on it that take
 * away what has woken the others: each datagram is of the socket that the call began on. */
TEST(lanes, "io.close_beside_many_batches") {
    uint64_t cycles = bnx_test_scale(4000) + 10;
    int before = io_fd_count();
    sched_run_each(run_lanes, &cycles);
    CHECK_EQ(io_fd_count(), before);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
