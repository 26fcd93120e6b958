/* SPDX-License-Identifier: MIT */
/* Claims about broadcast channels, watched values and oneshots. */
#include "tests/support/crowd.h"

/* ---- Broadcast ---- */

static struct bnx_broadcast *create_broadcast(size_t capacity) {
    struct bnx_broadcast *broadcast = NULL;
    CHECK_EQ(bnx_broadcast_create(sizeof(uint64_t), capacity, &broadcast), 0);
    return broadcast;
}

static void send_number(struct bnx_broadcast *broadcast, uint64_t value) {
    CHECK_EQ(bnx_broadcast_send(broadcast, &value), 0);
}

/* Claim: a subscriber gets each message since its subscription; one that is lapped is told how many
 * it has lost and goes on with the oldest kept; after close the kept ones are got, then -ENODATA,
 * and send is -EPIPE. Method: off a task, step by step. */
TEST(broadcast_steps, "broadcast.lapped_is_told") {
    struct bnx_broadcast *broadcast = NULL;
    CHECK_EQ(bnx_broadcast_create(0, 1, &broadcast), -EINVAL);
    CHECK_EQ(bnx_broadcast_create(8, 0, &broadcast), -EINVAL);
    CHECK_EQ(bnx_broadcast_create(8, SIZE_MAX / 8, &broadcast), -ENOMEM);
    broadcast = create_broadcast(3);
    struct bnx_subscription early;
    struct bnx_subscription late;
    uint64_t value = 99;
    uint64_t lost = 99;
    bnx_broadcast_subscribe(broadcast, &early);
    CHECK_EQ(bnx_broadcast_try_recv(&early, &value, NULL), -EAGAIN);
    send_number(broadcast, 0);
    send_number(broadcast, 1);
    bnx_broadcast_subscribe(broadcast, &late);
    CHECK_EQ(bnx_broadcast_subscriber_count(broadcast), 2);
    CHECK_EQ(bnx_broadcast_recv(&early, &value, &lost), 0);
    CHECK_EQ(value, 0);
    for (uint64_t i = 2; i < 7; i++) {
        send_number(broadcast, i);
    }
    CHECK_EQ(lost, 99);
    CHECK_EQ(bnx_broadcast_recv(&early, &value, &lost), -EOVERFLOW);
    CHECK_EQ(value, 0);
    CHECK_EQ(lost, 3); /* 1 2 3 */
    CHECK_EQ(bnx_broadcast_recv(&early, &value, &lost), 0);
    CHECK_EQ(value, 4);
    CHECK_EQ(bnx_broadcast_recv(&late, &value, NULL), -EOVERFLOW);
    bnx_broadcast_close(broadcast);
    CHECK_EQ(bnx_broadcast_send(broadcast, &value), -EPIPE);
    for (uint64_t i = 4; i < 7; i++) {
        CHECK_EQ(bnx_broadcast_recv(&late, &value, NULL), 0);
        CHECK_EQ(value, i);
    }
    CHECK_EQ(bnx_broadcast_recv(&late, &value, NULL), -ENODATA);
    bnx_broadcast_unsubscribe(&early);
    bnx_broadcast_unsubscribe(&early);
    CHECK_EQ(bnx_broadcast_recv(&early, &value, NULL), -EINVAL);
    CHECK_EQ(bnx_broadcast_subscriber_count(broadcast), 1);
    bnx_broadcast_unsubscribe(&late);
    bnx_broadcast_destroy(broadcast);
    bnx_broadcast_destroy(NULL);
}

#define CAPACITY 8

struct airwave {
    struct bnx_broadcast *broadcast;
    uint64_t next; /* the number to send next; under the sender's turn */
    uint32_t is_sending;
};

/* Messages are numbered in the order in which they are sent. */
static void send_next(struct airwave *airwave) {
    while (bnx_exchange_acq_rel(&airwave->is_sending, 1) != 0) {
        bnx_yield(); /* ends: a turn is one send, and does not suspend */
    }
    send_number(airwave->broadcast, airwave->next++);
    bnx_store_release(&airwave->is_sending, 0);
}

/* Subscribes, sends four, gets until it has the last of them: the numbers run on but for those
 * lost. */
static int listen_a_while(void *arg) {
    struct airwave *airwave = arg;
    struct bnx_subscription subscription;
    bnx_broadcast_subscribe(airwave->broadcast, &subscription);
    uint64_t first = UINT64_MAX;
    uint64_t got = 0;
    uint64_t missed = 0;
    int result = 0;
    for (int i = 0; i < 4; i++) {
        send_next(airwave);
    }
    while (got + missed < 4 && result == 0) {
        uint64_t value = 0;
        uint64_t lost = 0;
        result = bnx_broadcast_recv(&subscription, &value, &lost);
        if (result == 0) {
            first = first == UINT64_MAX ? value - missed : first;
            CHECK_EQ(value, first + got + missed);
            got++;
        } else if (result == -EOVERFLOW) {
            CHECK(lost > 0);
            missed += lost;
            result = 0;
        }
    }
    bnx_broadcast_unsubscribe(&subscription);
    return result;
}

/* Claim: no message is lost untold, and none comes twice, whoever else sends, subscribes or gives
 * up. Method: a crowd of subscribers that all send; the numbers got and lost must run on. */
TEST(broadcast_crowd, "broadcast.nothing_lost_untold") {
    struct airwave airwave = {.broadcast = create_broadcast(CAPACITY)};
    struct crowd crowd = {.use = listen_a_while, .arg = &airwave};
    crowd_run(&crowd);
    CHECK_EQ(bnx_broadcast_subscriber_count(airwave.broadcast), 0);
    bnx_broadcast_destroy(airwave.broadcast);
}

struct listener {
    struct bnx_broadcast *broadcast;
    uint64_t ready; /* listeners that have subscribed */
    uint64_t sum;
};

static int sum_up(void *arg) {
    struct listener *listener = arg;
    struct bnx_subscription subscription;
    bnx_broadcast_subscribe(listener->broadcast, &subscription);
    bnx_fetch_add_acq_rel(&listener->ready, 1);
    uint64_t value;
    uint64_t expected = 0;
    int result;
    while ((result = bnx_broadcast_recv(&subscription, &value, NULL)) == 0) {
        CHECK_EQ(value, expected);
        expected++;
        bnx_fetch_add_relaxed(&listener->sum, value);
    }
    bnx_broadcast_unsubscribe(&subscription);
    return result == -ENODATA ? 0 : result;
}

static void thread_sum_up(void *arg) {
    CHECK_EQ(sum_up(arg), 0);
}

static int send_to_all(void *arg) {
    (void)arg;
    struct listener listener = {.broadcast = create_broadcast(1000)};
    struct bnx_os_thread thread;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    sched_thread_start(&thread, thread_sum_up, &listener);
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(bnx_spawn(&scope, sum_up, &listener), 0);
    }
    sched_await_count(&listener.ready, 10);
    for (uint64_t i = 0; i < 1000; i++) {
        send_number(listener.broadcast, i);
        if (i % 50 == 0) {
            bnx_yield();
        }
    }
    bnx_broadcast_close(listener.broadcast);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    sched_thread_join(&thread);
    CHECK_EQ(listener.sum, 10 * 999 * 1000 / 2);
    bnx_broadcast_destroy(listener.broadcast);
    return 0;
}

/* Claim: every subscriber gets every message, in order, tasks and threads alike. */
TEST(broadcast_all, "broadcast.reaches_all") {
    sched_run_each(send_to_all, NULL);
}

/* ---- Watched values ---- */

struct pair {
    uint64_t number;
    uint64_t twice;
};

struct watched {
    struct bnx_watch *watch;
    uint64_t readers_done;
};

static int follow(void *arg) {
    struct watched *watched = arg;
    struct bnx_watch_reader reader;
    bnx_watch_reader_init(&reader, watched->watch);
    struct pair pair;
    bnx_watch_get(watched->watch, &pair);
    uint64_t seen = pair.number;
    int result;
    while ((result = bnx_watch_changed(&reader, &pair)) == 0) {
        CHECK_EQ(pair.twice, 2 * pair.number);
        CHECK(pair.number >= seen);
        seen = pair.number;
    }
    CHECK_EQ(result, -ENODATA);
    bnx_watch_get(watched->watch, &pair);
    CHECK_EQ(pair.number, seen);
    bnx_fetch_add_acq_rel(&watched->readers_done, 1);
    return 0;
}

static void thread_follow(void *arg) {
    CHECK_EQ(follow(arg), 0);
}

static int set_values(void *arg) {
    (void)arg;
    struct watched watched = {.watch = NULL};
    CHECK_EQ(bnx_watch_create(sizeof(struct pair), NULL, &watched.watch), 0);
    struct bnx_os_thread thread;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    sched_thread_start(&thread, thread_follow, &watched);
    struct bnx_task *reader = NULL;
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, follow, &watched, &reader), 0);
    }
    crowd_await_parked(reader);
    for (uint64_t i = 1; i <= 200; i++) {
        struct pair pair = {i, 2 * i};
        CHECK_EQ(bnx_watch_set(watched.watch, &pair), 0);
        if (i % 10 == 0) {
            bnx_yield();
        }
    }
    bnx_watch_close(watched.watch);
    CHECK_EQ(bnx_watch_set(watched.watch, &(struct pair){0, 0}), -EPIPE);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    sched_thread_join(&thread);
    CHECK_EQ(watched.readers_done, 9);
    bnx_watch_destroy(watched.watch);
    return 0;
}

/* Claim: a reader sees whole values, in order, and always the last one. Method: readers that follow
 * until close, tasks and a thread. */
TEST(watch_follow, "watch.last_value_is_seen") {
    bnx_watch_destroy(NULL);
    sched_run_each(set_values, NULL);
}

static int await_change(void *arg) {
    return bnx_watch_changed(arg, NULL);
}

static int one_change(void *arg) {
    (void)arg;
    int value = 5;
    struct bnx_watch *watch = NULL;
    struct bnx_watch_reader readers[3];
    struct bnx_task *tasks[3];
    CHECK_EQ(bnx_watch_create(0, &value, &watch), -EINVAL);
    CHECK_EQ(bnx_watch_create(sizeof(value), &value, &watch), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 3; i++) {
        bnx_watch_reader_init(&readers[i], watch);
        CHECK_EQ(bnx_watch_try_changed(&readers[i], NULL), -EAGAIN);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, await_change, &readers[i], &tasks[i]), 0);
        crowd_await_parked(tasks[i]);
    }
    int result = 0;
    bnx_cancel(tasks[0], 0);
    CHECK_EQ(bnx_join(tasks[0], &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(bnx_watch_set(watch, &value), 0); /* the same value, another version */
    CHECK_EQ(bnx_join(tasks[1], &result), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(bnx_join(tasks[2], &result), 0);
    CHECK_EQ(result, 0);
    value = 0;
    CHECK_EQ(bnx_watch_changed(&readers[0], &value), 0); /* it had not seen it */
    CHECK_EQ(value, 5);
    CHECK_EQ(bnx_watch_try_changed(&readers[0], &value), -EAGAIN);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_watch_destroy(watch);
    return 0;
}

/* Claim: a set wakes all who wait, and a reader that gave up sees the change the next time. */
TEST(watch_change, "watch.set_wakes_all") {
    sched_run_each(one_change, NULL);
}

/* ---- Oneshots ---- */

/* Claim: one value, once; each side is told that the other has gone. Method: off a task. */
TEST(oneshot_steps, "oneshot.each_side_is_told") {
    struct bnx_oneshot *oneshot = NULL;
    int value = 7;
    CHECK_EQ(bnx_oneshot_create(5000, &oneshot), -EINVAL);
    CHECK_EQ(bnx_oneshot_create(sizeof(int), &oneshot), 0);
    CHECK_EQ(bnx_oneshot_try_recv(oneshot, &value), -EAGAIN);
    CHECK(bnx_oneshot_is_wanted(oneshot));
    CHECK_EQ(bnx_oneshot_send(oneshot, &value), 0);
    CHECK_EQ(bnx_oneshot_send(oneshot, &value), -EALREADY);
    bnx_oneshot_drop_sender(oneshot);
    value = 0;
    CHECK_EQ(bnx_oneshot_recv(oneshot, &value), 0);
    CHECK_EQ(value, 7);
    CHECK_EQ(bnx_oneshot_recv(oneshot, &value), -ENODATA);
    bnx_oneshot_drop_receiver(oneshot);

    CHECK_EQ(bnx_oneshot_create(0, &oneshot), 0);
    bnx_oneshot_drop_receiver(oneshot);
    CHECK(!bnx_oneshot_is_wanted(oneshot));
    CHECK_EQ(bnx_oneshot_send(oneshot, NULL), -EPIPE);
    bnx_oneshot_drop_sender(oneshot);

    CHECK_EQ(bnx_oneshot_create(0, &oneshot), 0);
    bnx_oneshot_drop_sender(oneshot);
    CHECK_EQ(bnx_oneshot_recv(oneshot, NULL), -ENODATA);
    bnx_oneshot_drop_receiver(oneshot);
    bnx_oneshot_drop_sender(NULL);
    bnx_oneshot_drop_receiver(NULL);
}

struct reply {
    struct bnx_oneshot *oneshot;
    uint64_t sent; /* 0: the sender gives up */
};

static int answer(void *arg) {
    struct reply *reply = arg;
    if (reply->sent != 0) {
        CHECK_EQ(bnx_oneshot_send(reply->oneshot, &reply->sent), 0);
    }
    bnx_oneshot_drop_sender(reply->oneshot);
    return 0;
}

static void thread_answer(void *arg) {
    CHECK_EQ(answer(arg), 0);
}

static int receive(void *arg) {
    struct reply *reply = arg;
    uint64_t value = 0;
    int error = bnx_oneshot_recv(reply->oneshot, &value);
    CHECK_EQ(value, error == 0 ? reply->sent : 0);
    CHECK(error == 0 || error == -ECANCELED || (error == -ENODATA && reply->sent == 0));
    return error == 0 ? 1 : (error == -ENODATA ? 2 : 0);
}

static void ask(uint64_t round) {
    struct reply reply = {.sent = round % 4 == 3 ? 0 : round + 1};
    struct bnx_task *receiver = NULL;
    struct bnx_scope scope;
    struct bnx_os_thread thread;
    bool by_thread = round % 5 == 0;
    CHECK_EQ(bnx_oneshot_create(sizeof(uint64_t), &reply.oneshot), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, receive, &reply, &receiver), 0);
    if (round % 3 == 0) {
        crowd_await_parked(receiver);
    }
    if (by_thread) {
        sched_thread_start(&thread, thread_answer, &reply);
    } else {
        CHECK_EQ(bnx_spawn(&scope, answer, &reply), 0);
    }
    if (round % 2 == 0) {
        bnx_cancel(receiver, 0);
    }
    int outcome = -1;
    CHECK_EQ(bnx_join(receiver, &outcome), 0);
    if (outcome == 0) { /* cancelled: the reply is still to be had */
        CHECK_EQ(receive(&reply), reply.sent != 0 ? 1 : 2);
    }
    bnx_oneshot_drop_receiver(reply.oneshot);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    if (by_thread) {
        sched_thread_join(&thread);
    }
}

static int ask_often(void *arg) {
    (void)arg;
    uint64_t rounds = bnx_test_scale(2000);
    for (uint64_t round = 0; round < rounds; round++) {
        ask(round);
    }
    return 0;
}

/* Claim: a reply is received exactly once, also when the receiver is cancelled in that moment, and
 * the sides may be dropped in any order. Method: senders that answer or give up, in tasks and
 * threads, against receivers that are cancelled and ask again. */
TEST(oneshot_races, "oneshot.value_survives_cancel") {
    sched_run_each(ask_often, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
