/* SPDX-License-Identifier: MIT */
/*
 * Tests that the sends of many ready tasks go to the kernel together, and the send of one at once.
 *
 * Method: pairs of tasks send messages to and fro and compare them; the os table counts what is
 * sent by a call of its own, by descriptor.
 */
#include "tests/io/fixture.h"

#define PAIRS 64
#define FEW_PAIRS 8
#define MESSAGE_BYTES 64
#define FDS_MAX 1024

static struct {
    ssize_t (*send)(int fd, const void *buffer, size_t bytes, int flags);
    uint64_t all;
    uint64_t by_fd[FDS_MAX];
} calls;

static ssize_t send_counted(int fd, const void *buffer, size_t bytes, int flags) {
    CHECK(fd < FDS_MAX);
    bnx_fetch_add_relaxed(&calls.all, 1);
    bnx_fetch_add_relaxed(&calls.by_fd[fd], 1);
    return calls.send(fd, buffer, bytes, flags);
}

struct player {
    int fd;
    bool begins;
    uint64_t seed; /* of the messages, which both know */
    uint64_t rounds;
};

static void say(const struct player *player, const void *message) {
    CHECK_EQ(bnx_send_all(player->fd, message, MESSAGE_BYTES), MESSAGE_BYTES);
}

static void hear(const struct player *player, const void *message) {
    unsigned char heard[MESSAGE_BYTES];
    CHECK_EQ(bnx_recv_exact(player->fd, heard, sizeof(heard)), sizeof(heard));
    CHECK(memcmp(heard, message, sizeof(heard)) == 0);
}

static int play(void *arg) {
    const struct player *player = arg;
    struct bnx_rng rng;
    char whistle;
    bnx_rng_init(&rng, player->seed, 0);
    CHECK_EQ(bnx_recv_exact(player->fd, &whistle, 1), 1);
    for (uint64_t round = 0; round < player->rounds; round++) {
        unsigned char message[MESSAGE_BYTES];
        io_fill(message, sizeof(message), &rng);
        if (player->begins) {
            say(player, message);
            hear(player, message);
        } else {
            hear(player, message);
            say(player, message);
        }
    }
    return 0;
}

struct game {
    size_t pairs;
    uint64_t seed;
    uint64_t rounds;
    enum bnx_class class_of_first; /* of one player; the others are ordinary */
    int fd_of_first;
};

static int play_all(void *arg) {
    struct game *game = arg;
    static struct player players[2 * PAIRS];
    static struct bnx_task *tasks[2 * PAIRS];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < game->pairs; i++) {
        int fds[2];
        io_unix_pair(fds);
        for (size_t side = 0; side < 2; side++) {
            struct player *player = &players[2 * i + side];
            *player = (struct player){fds[side], side == 0, game->seed + i, game->rounds};
            struct bnx_spawn_options options = {0};
            options.task_class = i + side == 0 ? game->class_of_first : BNX_CLASS_NORMAL;
            CHECK_EQ(bnx_spawn_with(&scope, &options, play, player, &tasks[2 * i + side]), 0);
        }
    }
    game->fd_of_first = players[0].fd;
    for (size_t i = 0; i < 2 * game->pairs; i++) {
        io_await_wait(tasks[i], BNX_WAIT_RECV);
    }
    for (size_t i = 0; i < 2 * game->pairs; i++) { /* without a break: they all begin together */
        CHECK_EQ(write(players[i].fd, "w", 1), 1);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    for (size_t i = 0; i < 2 * game->pairs; i++) {
        CHECK_EQ(bnx_close(players[i].fd), 0);
    }
    return 0;
}

static struct game prepare(size_t pairs) {
    calls.send = bnx_os.send;
    bnx_os.send = send_counted;
    return (struct game){.pairs = pairs,
                         .seed = bnx_test_seed(),
                         .rounds = bnx_test_scale(1000) + 50,
                         .class_of_first = BNX_CLASS_NORMAL};
}

/* Of the messages of many tasks on one worker less than half are sent alone, in some game at the
 * latest: on a machine that stalls it completions may come one by one. On a slow one they would all
 * the time, if the tasks did not begin together. Those of a LATENCY task among them all are sent
 * alone. */
TEST(together, "busy.sends_go_together") {
    io_needs_ring(); /* elsewhere each send is a call */
    struct game game = prepare(PAIRS);
    game.class_of_first = BNX_CLASS_LATENCY;
    do { /* ends: see above */
        calls.all = 0;
        memset(calls.by_fd, 0, sizeof(calls.by_fd));
        sched_run(1, play_all, &game);
        CHECK_EQ(calls.by_fd[game.fd_of_first], game.rounds);
    } while (calls.all >= PAIRS * game.rounds);
}

/* Messages of many tasks on any number of workers stay the same, however they are sent. */
TEST(bytes, "busy.bytes") {
    struct game game = prepare(PAIRS);
    sched_run_each(play_all, &game);
}

/* Of the messages of a few tasks some go alone, those of a LATENCY task at least, and some by the
 * ring: in the builds with sanitizers as well, which take a worker for busy sooner. In some game
 * with each number of workers, as above. */
TEST(both_ways, "busy.few_send_in_both_ways") {
    io_needs_ring(); /* elsewhere each send is a call */
    struct game game = prepare(FEW_PAIRS);
    game.class_of_first = BNX_CLASS_LATENCY;
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        uint64_t all = 2 * FEW_PAIRS * game.rounds;
        do { /* ends: see above */
            calls.all = 0;
            memset(calls.by_fd, 0, sizeof(calls.by_fd));
            sched_run(sched_worker_counts[i], play_all, &game);
            CHECK_EQ(calls.by_fd[game.fd_of_first], game.rounds);
            CHECK(calls.all >= game.rounds && calls.all <= all);
        } while (calls.all == all);
        printf("%u workers: %llu of %llu messages by the ring\n", sched_worker_counts[i],
               (unsigned long long)(all - calls.all), (unsigned long long)all);
    }
}

/* Each message of two tasks that have the worker for themselves is sent at once. */
TEST(alone, "busy.one_sends_alone") {
    struct game game = prepare(1);
    sched_run(1, play_all, &game);
    CHECK_EQ(calls.all, 2 * game.rounds);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
