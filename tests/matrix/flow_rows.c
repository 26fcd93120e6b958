/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: channels and their kin, futures, tasks, several at once, iterators. */
#include "tests/matrix/matrix.h"

/* ---- Channels: room for one item ---- */

static void chan_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_chan_create(sizeof(int), 1, &place->chan), 0);
}

static void chan_fill(struct matrix_place *place) {
    int item = 1;
    chan_prepare(place);
    CHECK_EQ(bnx_chan_try_send(place->chan, &item), 0);
}

static void chan_prepare_unbuffered(struct matrix_place *place) {
    CHECK_EQ(bnx_chan_create(sizeof(int), 0, &place->chan), 0);
}

static int64_t chan_send(struct matrix_place *place) {
    int item = 2;
    return bnx_chan_send(place->chan, &item);
}

static int64_t chan_send_many(struct matrix_place *place) {
    int items[] = {2, 3};
    return bnx_chan_send_many(place->chan, items, 2);
}

static int64_t chan_recv(struct matrix_place *place) {
    int item = 0;
    int error = bnx_chan_recv(place->chan, &item);
    CHECK_EQ(item, error == 0 ? 7 : 0);
    return error;
}

static int64_t chan_recv_many(struct matrix_place *place) {
    int items[2] = {0, 0};
    int64_t count = bnx_chan_recv_many(place->chan, items, 2);
    CHECK_EQ(items[0], count > 0 ? 7 : 0);
    return count;
}

static void chan_pass_send(struct matrix_place *place) {
    int item = 0;
    CHECK_EQ(bnx_chan_try_recv(place->chan, &item), 0);
    CHECK(item != 0);
}

static void chan_pass_recv(struct matrix_place *place) {
    int item = 7;
    CHECK_EQ(bnx_chan_try_send(place->chan, &item), 0);
}

/* What passed is what the codes say: nobody is left to pass anything to. */
static void chan_end(struct matrix_place *place) {
    CHECK(bnx_chan_count(place->chan) <= 1);
    bnx_chan_destroy(place->chan);
}

/* ---- Select ---- */

static int64_t select_recv(struct matrix_place *place) {
    int item = 0;
    struct bnx_case cases[] = {BNX_CASE_RECV(place->chan, &item)};
    int64_t index = bnx_select(cases, 1, 0);
    CHECK_EQ(item, index == 0 ? 7 : 0);
    return index;
}

static int64_t select_send(struct matrix_place *place) {
    int item = 2;
    struct bnx_case cases[] = {BNX_CASE_WAIT(NULL), BNX_CASE_SEND(place->chan, &item)};
    return bnx_select(cases, 2, 0);
}

static int64_t select_wait(struct matrix_place *place) {
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_event_waitable(&place->event)),
                               BNX_CASE_WAIT(bnx_future_waitable(place->future))};
    return bnx_select(cases, 2, 0);
}

static int64_t select_deadline(struct matrix_place *place) {
    struct bnx_case cases[] = {BNX_CASE_AFTER(place->wait_ns)};
    return bnx_select(cases, 1, 0);
}

static int64_t select_nothing(struct matrix_place *place) {
    (void)place;
    return bnx_select(NULL, 0, 0);
}

/* ---- Broadcast, watch, oneshot ---- */

static void broadcast_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_broadcast_create(sizeof(int), 4, &place->broadcast), 0);
    bnx_broadcast_subscribe(place->broadcast, &place->subscription);
}

static int64_t broadcast_recv(struct matrix_place *place) {
    int elem = 0;
    int error = bnx_broadcast_recv(&place->subscription, &elem, NULL);
    CHECK_EQ(elem, error == 0 ? 7 : 0);
    return error;
}

static void broadcast_pass(struct matrix_place *place) {
    int elem = 7;
    CHECK_EQ(bnx_broadcast_send(place->broadcast, &elem), 0);
}

static void broadcast_end(struct matrix_place *place) {
    bnx_broadcast_unsubscribe(&place->subscription);
    CHECK_EQ(bnx_broadcast_subscriber_count(place->broadcast), 0);
    bnx_broadcast_destroy(place->broadcast);
}

static void watch_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_watch_create(sizeof(int), NULL, &place->watch), 0);
    bnx_watch_reader_init(&place->reader, place->watch);
}

static int64_t watch_changed(struct matrix_place *place) {
    int elem = 0;
    int error = bnx_watch_changed(&place->reader, &elem);
    CHECK_EQ(elem, error == 0 ? 7 : 0);
    return error;
}

static void watch_pass(struct matrix_place *place) {
    int elem = 7;
    CHECK_EQ(bnx_watch_set(place->watch, &elem), 0);
}

static void watch_end(struct matrix_place *place) {
    bnx_watch_destroy(place->watch);
}

static void oneshot_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_oneshot_create(sizeof(int), &place->oneshot), 0);
}

static int64_t oneshot_recv(struct matrix_place *place) {
    int elem = 0;
    int error = bnx_oneshot_recv(place->oneshot, &elem);
    CHECK_EQ(elem, error == 0 ? 7 : 0);
    return error;
}

static void oneshot_pass(struct matrix_place *place) {
    int elem = 7;
    CHECK_EQ(bnx_oneshot_send(place->oneshot, &elem), 0);
}

static void oneshot_end(struct matrix_place *place) {
    bnx_oneshot_drop_sender(place->oneshot);
    bnx_oneshot_drop_receiver(place->oneshot);
}

/* ---- Futures and tasks ---- */

static void future_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_future_create(&place->future), 0);
}

static int64_t future_await(struct matrix_place *place) {
    void *value = NULL;
    int error = bnx_future_await(place->future, &value);
    CHECK(value == (error == 0 ? place : NULL));
    return error;
}

static void future_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_future_set(place->future, place), 0);
}

static void future_end(struct matrix_place *place) {
    CHECK_EQ(bnx_future_poll(place->future, NULL), 0);
    bnx_future_unref(place->future);
}

static void join_prepare(struct matrix_place *place) {
    matrix_help(place, matrix_wait_task);
    matrix_await_parked(place->helper);
}

static int64_t join(struct matrix_place *place) {
    int result = 1;
    int error = bnx_join(place->helper, &result);
    CHECK_EQ(result, error == 0 ? 0 : 1);
    return error;
}

/* ---- Several at once: a future and an event, or one of the other waitables ---- */

static int64_t wait_all(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_future_waitable(place->future),
                                   bnx_event_waitable(&place->event)};
    return bnx_wait(both, 2, BNX_WAIT_ALL, NULL);
}

static int64_t wait_first_error(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_future_waitable(place->future),
                                   bnx_event_waitable(&place->event)};
    return bnx_wait(both, 2, BNX_WAIT_FIRST_ERROR, NULL);
}

static void both_pass(struct matrix_place *place) {
    bnx_event_set(&place->event);
    future_pass(place);
}

static int64_t wait_first(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_future_waitable(place->future),
                                   bnx_event_waitable(&place->event)};
    size_t index = 9;
    int result = bnx_wait(both, 2, BNX_WAIT_FIRST, &index);
    CHECK(index == (result == 0 ? 0 : 9));
    return result;
}

static int64_t wait_task_and_sem(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_sem_waitable(&place->sem), bnx_task_waitable(place->helper)};
    return bnx_wait(both, 2, BNX_WAIT_FIRST, NULL);
}

static int64_t wait_sem(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_sem_waitable(&place->sem),
                                   bnx_event_waitable(&place->event)};
    return bnx_wait(both, 2, BNX_WAIT_FIRST, NULL);
}

static void sem_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_sem_release(&place->sem), 0);
}

static void timer_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_create(&place->timer, NULL), 0);
}

static int64_t wait_timer(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_timer_waitable(place->timer),
                                   bnx_event_waitable(&place->event)};
    return bnx_wait(both, 2, BNX_WAIT_FIRST, NULL);
}

static void timer_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_start(place->timer, 1), 0);
}

static void timer_end(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_wait(place->timer), 0);
    bnx_timer_destroy(place->timer);
}

static int64_t gather(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_future_waitable(place->future),
                                   bnx_event_waitable(&place->event)};
    int results[2] = {5, 5};
    int error = bnx_gather(both, 2, results, BNX_GATHER_COLLECT);
    CHECK_EQ(results[0], error == 0 ? 0 : 5);
    CHECK_EQ(results[1], error == 0 ? 0 : 5);
    return error;
}

static int64_t race(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_future_waitable(place->future),
                                   bnx_event_waitable(&place->event)};
    return bnx_race(both, 2, NULL);
}

static int64_t as_completed(struct matrix_place *place) {
    struct bnx_waitable *both[] = {bnx_event_waitable(&place->event),
                                   bnx_future_waitable(place->future)};
    struct bnx_iter iter;
    void *value = NULL;
    CHECK_EQ(bnx_as_completed(both, 2, &iter), 0);
    int result = bnx_iter_next(&iter, &value);
    CHECK((uintptr_t)value == (result == 1 ? 1 : 0));
    bnx_iter_close(&iter);
    return result;
}

/* ---- What uses an iterator up: here one over a channel, until that is closed ---- */

static void iter_pass(struct matrix_place *place) {
    bnx_chan_close(place->chan);
}

static struct bnx_iter *iter_of(struct matrix_place *place) {
    return bnx_iter_from_chan(&place->stage, place->chan, &place->data);
}

static int count_fold(void *accumulator, void *value) {
    (void)value;
    ++*(int *)accumulator;
    return 0;
}

static int64_t iter_fold(struct matrix_place *place) {
    int count = 0;
    int error = bnx_iter_fold(iter_of(place), &count, count_fold);
    CHECK_EQ(count, 0);
    return error;
}

static int never(void *value, void *arg) {
    (void)value;
    (void)arg;
    return 0;
}

static int64_t iter_find(struct matrix_place *place) {
    void *value = NULL;
    return bnx_iter_find(iter_of(place), never, NULL, &value);
}

static int64_t iter_collect(struct matrix_place *place) {
    void *values[2];
    size_t count = 9;
    int error = bnx_iter_collect(iter_of(place), values, 2, &count);
    CHECK_EQ(count, 0);
    return error;
}

static int64_t iter_for_each(struct matrix_place *place) {
    return bnx_iter_for_each(iter_of(place), never, NULL);
}

static int64_t iter_count(struct matrix_place *place) {
    size_t count = 9;
    int error = bnx_iter_count(iter_of(place), &count);
    CHECK_EQ(count, 0);
    return error;
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_chan_send", "full", chan_fill, NULL, chan_send, chan_pass_send, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_chan_send", "nobody there", chan_prepare_unbuffered, NULL, chan_send, chan_pass_send,
     chan_end, MATRIX_REFUSED(0), MATRIX_MEETING},
    {"bnx_chan_send_many", "full", chan_fill, NULL, chan_send_many, chan_pass_send, chan_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_chan_recv", "empty", chan_prepare, NULL, chan_recv, chan_pass_recv, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_chan_recv", "nobody there", chan_prepare_unbuffered, NULL, chan_recv, chan_pass_recv,
     chan_end, MATRIX_REFUSED(0), MATRIX_MEETING},
    {"bnx_chan_recv_many", "empty", chan_prepare, NULL, chan_recv_many, chan_pass_recv, chan_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_select", "receive", chan_prepare, NULL, select_recv, chan_pass_recv, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_select", "send", chan_fill, NULL, select_send, chan_pass_send, chan_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_select", "waitables", future_prepare, NULL, select_wait, future_pass, future_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_select", "deadline", NULL, NULL, select_deadline, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_TIMED},
    {"bnx_select", "nothing", NULL, NULL, select_nothing, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_ENDLESS},
    {"bnx_broadcast_recv", "no message", broadcast_prepare, NULL, broadcast_recv, broadcast_pass,
     broadcast_end, MATRIX_REFUSED(0), 0},
    {"bnx_watch_changed", "no change", watch_prepare, NULL, watch_changed, watch_pass, watch_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_oneshot_recv", "not sent", oneshot_prepare, NULL, oneshot_recv, oneshot_pass, oneshot_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_future_await", "pending", future_prepare, NULL, future_await, future_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_join", "it lives", join_prepare, NULL, join, matrix_set, matrix_help_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "all", future_prepare, NULL, wait_all, both_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first error", future_prepare, NULL, wait_first_error, both_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first, a future", future_prepare, NULL, wait_first, future_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first, a task", join_prepare, NULL, wait_task_and_sem, matrix_set,
     matrix_help_end, MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first, a semaphore", NULL, NULL, wait_sem, sem_pass, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first, an event", NULL, NULL, wait_sem, matrix_set, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_wait", "first, a timer", timer_prepare, NULL, wait_timer, timer_pass, timer_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_gather", "all", future_prepare, NULL, gather, both_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_race", "both pending", future_prepare, NULL, race, future_pass, future_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_as_completed", "next", future_prepare, NULL, as_completed, future_pass, future_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_iter_fold", "its next waits", chan_prepare, NULL, iter_fold, iter_pass, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_iter_find", "its next waits", chan_prepare, NULL, iter_find, iter_pass, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_iter_collect", "its next waits", chan_prepare, NULL, iter_collect, iter_pass, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_iter_for_each", "its next waits", chan_prepare, NULL, iter_for_each, iter_pass, chan_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_iter_count", "its next waits", chan_prepare, NULL, iter_count, iter_pass, chan_end,
     MATRIX_REFUSED(0), 0},
};
/* clang-format on */

const struct matrix_part matrix_flow = {rows, BNX_ARRAY_COUNT(rows)};
