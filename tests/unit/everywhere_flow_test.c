/* SPDX-License-Identifier: MIT */
/* As everywhere_test.c: channels, generators, time, offload, forks, futures. */
#include "tests/support/everywhere.h"

#define SOON_NS UINT64_C(1000)

static int first_error(int one, int other) {
    return one != 0 ? one : other;
}

/* Returns 0, or that the scope is cancelled and has not taken all. */
static int spawn_all(struct bnx_scope *scope, bnx_task_fn fn, void *arg, int count) {
    int error = 0;
    for (int i = 0; i < count && error == 0; i++) {
        error = bnx_spawn(scope, fn, arg);
    }
    CHECK(error == 0 || error == -ECANCELED);
    return error;
}

/* ---- Channels: what was sent is received or still there ---- */

struct pipe {
    struct bnx_chan *first;
    struct bnx_chan *second;
    uint64_t sent;     /* into first */
    uint64_t moved;    /* out of first */
    uint64_t arrived;  /* out of second */
    uint32_t senders;  /* at work; the last one closes first */
    uint32_t starters; /* as senders; of second */
};

static void pipe_open(struct pipe *pipe, size_t capacity) {
    *pipe = (struct pipe){.senders = 2, .starters = 1};
    CHECK_EQ(bnx_chan_create(sizeof(uint64_t), capacity, &pipe->first), 0);
    CHECK_EQ(bnx_chan_create(sizeof(uint64_t), capacity, &pipe->second), 0);
}

static void pipe_close(struct pipe *pipe) {
    CHECK_EQ(pipe->sent, pipe->moved + bnx_chan_count(pipe->first));
    bnx_chan_destroy(pipe->first);
    bnx_chan_destroy(pipe->second);
}

static int send_items(void *arg) {
    struct pipe *pipe = arg;
    int error = 0;
    for (uint64_t i = 0; i < 3 && error == 0; i++) {
        error = bnx_chan_send(pipe->first, &i);
        (void)bnx_fetch_add_relaxed(&pipe->sent, error == 0);
    }
    if (bnx_fetch_sub_relaxed(&pipe->senders, 1) == 1) {
        bnx_chan_close(pipe->first);
    }
    return error;
}

static int move_items(void *arg) {
    struct pipe *pipe = arg;
    uint64_t item;
    int error;
    while ((error = bnx_chan_recv(pipe->first, &item)) == 0) { /* ends: it is closed */
        (void)bnx_fetch_add_relaxed(&pipe->moved, 1);
        error = bnx_chan_send(pipe->second, &item);
        if (error != 0) {
            break;
        }
    }
    bnx_chan_close(pipe->second);
    return error == -ENODATA ? 0 : error;
}

static int take_items(void *arg) {
    struct pipe *pipe = arg;
    uint64_t items[2];
    ssize_t count;
    while ((count = bnx_chan_recv_many(pipe->second, items, 2)) > 0) { /* ends: it is closed */
        pipe->arrived += (uint64_t)count;
    }
    return count == -ENODATA ? 0 : (int)count;
}

static int use_channels(void *arg) {
    (void)arg;
    int error = 0;
    for (size_t capacity = 0; capacity < 2; capacity++) {
        struct pipe pipe;
        struct bnx_scope scope;
        pipe_open(&pipe, capacity);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        error = first_error(error, spawn_all(&scope, send_items, &pipe, 2));
        error = first_error(error, spawn_all(&scope, move_items, &pipe, 1));
        error = first_error(error, spawn_all(&scope, take_items, &pipe, 1));
        error = first_error(error, bnx_scope_close(&scope));
        CHECK(error != 0 || pipe.arrived == 6);
        pipe_close(&pipe);
    }
    return error;
}

TEST(everywhere_channels, "cancel.at_every_suspension_channels") {
    everywhere(use_channels);
}

/* Sends into one or the other, whatever takes it. */
static int select_items(void *arg) {
    struct pipe *pipe = arg;
    for (uint64_t left = 4; left > 0;) {
        struct bnx_case cases[] = {BNX_CASE_SEND(pipe->first, &left),
                                   BNX_CASE_SEND(pipe->second, &left), BNX_CASE_AFTER(SOON_NS)};
        int which = bnx_select(cases, 3, 0);
        if (which < 0) {
            return which;
        }
        if (which != 2) {
            CHECK_EQ(cases[which].result, 0);
            pipe->sent++;
            left--;
        }
    }
    bnx_chan_close(pipe->first);
    bnx_chan_close(pipe->second);
    return 0;
}

static int select_any(void *arg) {
    struct pipe *pipe = arg;
    int open = 2;
    struct bnx_chan *first = pipe->first;
    struct bnx_chan *second = pipe->second;
    while (open > 0) { /* ends: both are closed */
        uint64_t item;
        struct bnx_case cases[] = {BNX_CASE_RECV(first, &item), BNX_CASE_RECV(second, &item)};
        int which = bnx_select(cases, 2, 0);
        if (which < 0) {
            return which;
        }
        if (cases[which].result == 0) {
            pipe->arrived++;
            continue;
        }
        CHECK_EQ(cases[which].result, -ENODATA);
        first = which == 0 ? NULL : first;
        second = which == 1 ? NULL : second;
        open--;
    }
    return 0;
}

static int use_select(void *arg) {
    (void)arg;
    int error = 0;
    for (size_t capacity = 0; capacity < 2; capacity++) {
        struct pipe pipe;
        struct bnx_scope scope;
        pipe_open(&pipe, capacity);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        error = first_error(error, spawn_all(&scope, select_items, &pipe, 1));
        error = first_error(error, spawn_all(&scope, select_any, &pipe, 1));
        error = first_error(error, bnx_scope_close(&scope));
        size_t left = bnx_chan_count(pipe.first) + bnx_chan_count(pipe.second);
        CHECK_EQ(pipe.sent, pipe.arrived + left);
        CHECK(error != 0 || pipe.arrived == 4);
        pipe.moved = pipe.sent - bnx_chan_count(pipe.first);
        pipe_close(&pipe);
    }
    return error;
}

TEST(everywhere_select, "cancel.at_every_suspension_select") {
    everywhere(use_select);
}

/* ---- Broadcast, watch, oneshot ---- */

struct news {
    struct bnx_broadcast *broadcast;
    struct bnx_watch *watch;
    struct bnx_oneshot *oneshot;
};

static int tell(void *arg) {
    struct news *news = arg;
    int error = 0;
    for (int i = 1; i < 4 && error == 0; i++) {
        CHECK_EQ(bnx_broadcast_send(news->broadcast, &i), 0);
        CHECK_EQ(bnx_watch_set(news->watch, &i), 0);
        error = bnx_sleep(SOON_NS);
    }
    bnx_broadcast_close(news->broadcast);
    bnx_watch_close(news->watch);
    int reply = 9;
    CHECK(error != 0 || bnx_oneshot_send(news->oneshot, &reply) != -EALREADY);
    bnx_oneshot_drop_sender(news->oneshot);
    return error;
}

static int hear(void *arg) {
    struct news *news = arg;
    struct bnx_subscription subscription;
    int got = 0;
    int error;
    bnx_broadcast_subscribe(news->broadcast, &subscription);
    do { /* ends: it is closed */
        error = bnx_broadcast_recv(&subscription, &got, NULL);
    } while (error == 0 || error == -EOVERFLOW);
    bnx_broadcast_unsubscribe(&subscription);
    return error == -ENODATA ? 0 : error;
}

static int see(void *arg) {
    struct news *news = arg;
    struct bnx_watch_reader reader;
    int last = 0;
    int error;
    bnx_watch_reader_init(&reader, news->watch);
    while ((error = bnx_watch_changed(&reader, &last)) == 0) { /* ends: it is closed */
    }
    return error == -ENODATA ? 0 : error;
}

static int use_news(void *arg) {
    (void)arg;
    struct news news;
    struct bnx_scope scope;
    int reply = 0;
    CHECK_EQ(bnx_broadcast_create(sizeof(int), 2, &news.broadcast), 0);
    CHECK_EQ(bnx_watch_create(sizeof(int), NULL, &news.watch), 0);
    CHECK_EQ(bnx_oneshot_create(sizeof(int), &news.oneshot), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    int error = bnx_spawn(&scope, tell, &news);
    if (error != 0) {
        bnx_oneshot_drop_sender(news.oneshot);
    }
    (void)spawn_all(&scope, hear, &news, 2);
    (void)spawn_all(&scope, see, &news, 2);
    error = first_error(error, bnx_oneshot_recv(news.oneshot, &reply));
    CHECK(error != 0 || reply == 9);
    bnx_oneshot_drop_receiver(news.oneshot);
    int closed = bnx_scope_close(&scope);
    error = closed == -ECANCELED ? closed : first_error(error == -ENODATA ? 0 : error, closed);
    CHECK_EQ(bnx_broadcast_subscriber_count(news.broadcast), 0);
    bnx_broadcast_destroy(news.broadcast);
    bnx_watch_destroy(news.watch);
    return error;
}

TEST(everywhere_news, "cancel.at_every_suspension_broadcast_watch_oneshot") {
    everywhere(use_news);
}

/* ---- Generators and iterators ---- */

static int body(struct bnx_gen *gen, void *arg) {
    struct bnx_mutex *mutex = arg;
    int error = 0;
    for (intptr_t i = 1; i < 4 && error == 0; i++) {
        error = bnx_sleep(SOON_NS);
        error = error == 0 ? bnx_mutex_lock(mutex) : error;
        if (error == 0) {
            error = bnx_gen_yield(gen, (void *)i, NULL); /* with the mutex held */
            bnx_mutex_unlock(mutex);
        }
    }
    return error == BNX_GEN_CLOSED ? 0 : error;
}

static int outer(struct bnx_gen *gen, void *arg) {
    struct bnx_gen *inner = arg;
    return bnx_gen_yield_from(gen, inner, NULL);
}

static int use_generators(void *arg) {
    (void)arg;
    struct bnx_mutex mutex = BNX_MUTEX_INIT;
    struct bnx_gen *inner = NULL;
    struct bnx_gen *gen = NULL;
    void *value = NULL;
    CHECK_EQ(bnx_gen_create(&inner, body, &mutex, NULL), 0);
    CHECK_EQ(bnx_gen_create(&gen, outer, inner, NULL), 0);
    int result;
    intptr_t seen = 0;
    while ((result = bnx_gen_next(gen, &value)) > 0) { /* ends: three values */
        CHECK_EQ((intptr_t)value, ++seen);
    }
    CHECK(result != 0 || seen == 3);
    CHECK(!bnx_mutex_is_locked(&mutex));
    bnx_gen_destroy(gen);
    bnx_gen_destroy(inner);
    struct bnx_gen_options primed = {.flags = BNX_GEN_PRIMED};
    gen = NULL;
    int error = bnx_gen_create(&gen, body, &mutex, &primed);
    CHECK((gen != NULL) == (error == 0));
    if (error == 0) {
        error = bnx_gen_send(gen, NULL, &value);
        bnx_gen_destroy(gen); /* in the middle */
        CHECK(!bnx_mutex_is_locked(&mutex));
    }
    return result < 0 ? result : (error < 0 ? error : 0);
}

TEST(everywhere_generators, "cancel.at_every_suspension_generators") {
    everywhere(use_generators);
}

static int map_slowly(void *value, void **out_value, void *arg) {
    (void)arg;
    *out_value = value;
    return bnx_sleep(SOON_NS);
}

static int add_value(void *accumulator, void *value) {
    *(uint64_t *)accumulator += *(uint64_t *)value;
    return bnx_checkpoint();
}

static int use_iterators(void *arg) {
    (void)arg;
    struct pipe pipe;
    struct bnx_scope scope;
    struct bnx_iter_stage received;
    struct bnx_iter_stage mapped;
    uint64_t item = 0;
    uint64_t sum = 0;
    pipe_open(&pipe, 1);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    (void)spawn_all(&scope, send_items, &pipe, 2);
    struct bnx_iter *iter = bnx_iter_from_chan(&received, pipe.first, &item);
    iter = bnx_iter_map(&mapped, iter, map_slowly, NULL);
    int error = bnx_iter_fold(iter, &sum, add_value);
    error = first_error(error, bnx_scope_close(&scope));
    CHECK(error != 0 || sum == 6);
    CHECK(pipe.sent >= bnx_chan_count(pipe.first));
    pipe.moved = pipe.sent - bnx_chan_count(pipe.first);
    pipe_close(&pipe);
    return error;
}

TEST(everywhere_iterators, "cancel.at_every_suspension_iterators") {
    everywhere(use_iterators);
}

/* ---- Time ---- */

static void on_timer(struct bnx_timer *timer, void *arg) {
    (void)timer;
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, 1);
    (void)bnx_sleep(SOON_NS);
}

static int sleep_long(void *arg) {
    (void)arg;
    return bnx_sleep_until(BNX_NEVER_NS);
}

static int use_timers(void *arg) {
    (void)arg;
    uint32_t fired = 0;
    struct bnx_timer *timer = NULL;
    struct bnx_timer_options options = {.fn = on_timer, .arg = &fired};
    struct bnx_ticker ticker;
    CHECK_EQ(bnx_timer_create(&timer, &options), 0);
    CHECK_EQ(bnx_timer_start_after(timer, SOON_NS), 0);
    int error = bnx_timer_wait(timer);
    (void)bnx_timer_cancel(timer);
    CHECK(error != 0 || fired == 1);
    CHECK(bnx_timer_start_after(timer, SOON_NS) >= 0);
    bnx_timer_destroy(timer);
    CHECK_EQ(bnx_ticker_init(&ticker, SOON_NS, BNX_TICKER_SKIP), 0);
    for (int i = 0; i < 3 && error == 0; i++) {
        error = bnx_ticker_next(&ticker, NULL);
    }
    if (error == 0) {
        error = bnx_timeout(SOON_NS, sleep_long, NULL);
        CHECK(error == -ETIMEDOUT || error == -ECANCELED);
        error = error == -ETIMEDOUT ? 0 : error;
    }
    return error;
}

TEST(everywhere_timers, "cancel.at_every_suspension_timers") {
    everywhere(use_timers);
}

/* ---- The pool, forks, futures, tasks that are started by hand ---- */

static int work(void *arg) {
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, 1);
    bnx_os.thread_yield();
    return 3;
}

static int work_outside(void *arg) {
    int result = bnx_offload(work, arg);
    return result == 3 ? bnx_checkpoint() : result;
}

static int use_offload(void *arg) {
    (void)arg;
    uint32_t done = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    (void)spawn_all(&scope, work_outside, &done, 3);
    int error = work_outside(&done);
    error = first_error(error, bnx_scope_close(&scope));
    CHECK(error != 0 || done == 4);
    return error;
}

TEST(everywhere_offload, "cancel.at_every_suspension_offload") {
    everywhere(use_offload);
}

static int count_twice(void *arg) {
    int error = bnx_sleep(SOON_NS);
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, 2);
    return error;
}

static int open_and_count(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    /* What the scope has refused the close does not tell, nor must anybody else have heard it. */
    int error = spawn_all(&scope, count_twice, arg, 2);
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, 1);
    return first_error(error, bnx_scope_close(&scope));
}

static void count_piece(size_t begin, size_t end, void *arg) {
    (void)bnx_sleep(SOON_NS);
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, (uint32_t)(end - begin));
}

static int use_forks(void *arg) {
    (void)arg;
    uint32_t count = 0;
    uint32_t pieces = 0;
    struct bnx_fork forks[2];
    CHECK_EQ(bnx_fork(&forks[0], open_and_count, &count), 0);
    CHECK_EQ(bnx_fork(&forks[1], count_twice, &count), 0);
    int error = bnx_sleep(SOON_NS);
    error = first_error(error, bnx_fork_join(&forks[1]));
    error = first_error(error, bnx_fork_join(&forks[0]));
    CHECK(count >= 3);
    CHECK(error != 0 || count == 7);
    CHECK_EQ(bnx_parallel_for(0, 8, 2, count_piece, &pieces), 0);
    CHECK_EQ(pieces, 8);
    return first_error(error, bnx_checkpoint());
}

TEST(everywhere_forks, "cancel.at_every_suspension_fork_join") {
    everywhere(use_forks);
}

static int promise(void *arg) {
    struct bnx_future *future = arg;
    int error = bnx_sleep(SOON_NS);
    if (error == 0) {
        CHECK_EQ(bnx_future_set(future, future), 0);
    }
    bnx_promise_drop(future);
    return error;
}

static void when_done(struct bnx_future *future, void *arg) {
    CHECK(bnx_future_poll(future, NULL) != -EAGAIN);
    bnx_event_set(arg);
}

static int await_future(void *arg) {
    void *value = NULL;
    int error = bnx_future_await(arg, &value);
    CHECK(value == (error == 0 ? arg : NULL));
    return error == -EPIPE ? 0 : error;
}

static int use_futures(void *arg) {
    (void)arg;
    struct bnx_future *future = NULL;
    struct bnx_event called = BNX_EVENT_INIT;
    struct bnx_scope scope;
    struct bnx_scope shield;
    struct bnx_scope_options shielded = {.flags = BNX_SCOPE_SHIELD};
    CHECK_EQ(bnx_future_create(&future), 0);
    CHECK_EQ(bnx_future_on_done(future, when_done, &called), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    int error = bnx_spawn(&scope, promise, bnx_future_ref(future));
    if (error != 0) {
        bnx_promise_drop(future);
    }
    (void)spawn_all(&scope, await_future, future, 2);
    error = first_error(error, await_future(future));
    error = first_error(error, bnx_scope_close(&scope));
    CHECK_EQ(bnx_scope_open(&shield, &shielded), 0);
    CHECK_EQ(bnx_event_wait(&called), 0); /* the callback is in the root scope */
    CHECK_EQ(bnx_scope_close(&shield), 0);
    bnx_future_unref(future);
    return error;
}

TEST(everywhere_futures, "cancel.at_every_suspension_futures") {
    everywhere(use_futures);
}

static int sleep_once(void *arg) {
    (void)bnx_fetch_add_relaxed((uint32_t *)arg, 1);
    return bnx_sleep(SOON_NS);
}

static int use_manual_start(void *arg) {
    (void)arg;
    uint32_t ran = 0;
    uint32_t started = 0;
    struct bnx_scope scope;
    struct bnx_spawn_options manual = {.start = BNX_START_MANUAL};
    struct bnx_task *tasks[3] = {NULL};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 3; i++) {
        int error = bnx_spawn_with(&scope, &manual, sleep_once, &ran, &tasks[i]);
        CHECK(error == 0 || error == -ECANCELED);
    }
    int error = bnx_sleep(SOON_NS);
    for (int i = 0; i < 2; i++) { /* the third is dropped */
        if (tasks[i] != NULL) {
            CHECK_EQ(bnx_task_start(tasks[i]), 0);
            started++;
        }
    }
    if (tasks[0] != NULL) {
        error = first_error(error, bnx_join(tasks[0], NULL));
    }
    error = first_error(error, bnx_scope_close(&scope));
    CHECK_EQ(ran, started);
    return error;
}

TEST(everywhere_manual_start, "cancel.at_every_suspension_manual_start") {
    everywhere(use_manual_start);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
