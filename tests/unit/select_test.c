/* SPDX-License-Identifier: MIT */
/* Claims about select: one case is done, no other; fairness, cancels, deadlines, threads. */
#include "tests/support/sched.h"

static struct bnx_chan *make(size_t capacity) {
    struct bnx_chan *chan = NULL;
    CHECK_EQ(bnx_chan_create(sizeof(int), capacity, &chan), 0);
    return chan;
}

static void put(struct bnx_chan *chan, int item) {
    CHECK_EQ(bnx_chan_try_send(chan, &item), 0);
}

/* Claim: of cases that can all be done, one is, and it is not always the same. Method: each round
 * every channel has an item and one has room; what is gone afterwards is what the index says. */
TEST(select_one, "select.does_one") {
    struct bnx_chan *chans[4];
    for (int i = 0; i < 4; i++) {
        chans[i] = make(1);
        put(chans[i], i);
    }
    struct bnx_chan *room = make(1);
    int picks[5] = {0};
    for (int round = 0; round < 2000; round++) {
        int got = -1;
        int item = 77;
        struct bnx_case cases[] = {
            BNX_CASE_RECV(chans[0], &got), BNX_CASE_RECV(chans[1], &got),
            BNX_CASE_RECV(chans[2], &got), BNX_CASE_RECV(chans[3], &got),
            BNX_CASE_SEND(room, &item),    BNX_CASE_DEADLINE(0),
        };
        int index = bnx_select(cases, 6, round % 2 == 0 ? BNX_SELECT_TRY : 0);
        CHECK(index >= 0 && index < 5); /* a deadline that has passed comes last */
        CHECK_EQ(cases[index].result, 0);
        CHECK_EQ(got, index == 4 ? -1 : index);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(bnx_chan_count(chans[i]), i == index ? 0 : 1);
        }
        CHECK_EQ(bnx_chan_count(room), index == 4 ? 1 : 0);
        if (index == 4) {
            CHECK_EQ(bnx_chan_try_recv(room, &got), 0);
            CHECK_EQ(got, 77);
        } else {
            put(chans[index], index);
        }
        picks[index]++;
    }
    for (int i = 0; i < 5; i++) {
        CHECK(picks[i] > 300); /* of 400; 5 deviations and a half */
        CHECK(picks[i] < 500);
    }
    for (int i = 0; i < 4; i++) {
        bnx_chan_destroy(chans[i]);
    }
    bnx_chan_destroy(room);
}

static int try_cancelled(void *arg) {
    struct bnx_chan *chan = arg;
    struct bnx_scope scope;
    int item = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    put(chan, 3);
    struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item)};
    CHECK_EQ(bnx_select(cases, 1, 0), -ECANCELED);
    CHECK_EQ(bnx_chan_count(chan), 1);
    CHECK_EQ(bnx_select(cases, 1, BNX_SELECT_TRY), 0);
    CHECK_EQ(item, 3);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: TRY never waits and no cancel refuses it; every other select is refused, even one that
 * could be done at once; nonsense is -EINVAL; a case of nothing never fires. */
TEST(select_try, "select.try") {
    struct bnx_chan *chan = make(1);
    int item = 0;
    struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item), BNX_CASE_SEND(NULL, NULL),
                               BNX_CASE_RECV(NULL, NULL), BNX_CASE_WAIT(NULL),
                               BNX_CASE_DEADLINE(UINT64_MAX)};
    CHECK_EQ(bnx_select(cases, 5, BNX_SELECT_TRY), -EAGAIN);
    CHECK_EQ(bnx_select(NULL, 0, BNX_SELECT_TRY), -EAGAIN);
    put(chan, 4);
    CHECK_EQ(bnx_select(cases, 5, 0), 0);
    CHECK_EQ(item, 4);
    CHECK_EQ(bnx_select(cases, -1, 0), -EINVAL);
    CHECK_EQ(bnx_select(NULL, 1, 0), -EINVAL);
    CHECK_EQ(bnx_select(cases, 5, 1u << 7), -EINVAL);
    cases[1] = BNX_CASE_SEND(chan, NULL);
    CHECK_EQ(bnx_select(cases, 5, 0), -EINVAL);
    cases[1].kind = 99;
    CHECK_EQ(bnx_select(cases, 5, 0), -EINVAL);
    memset(&cases[1], 0, sizeof(cases[1]));
    CHECK_EQ(bnx_select(cases, 5, BNX_SELECT_TRY), -EAGAIN);
    sched_run_each(try_cancelled, chan);
    bnx_chan_close(chan);
    CHECK_EQ(bnx_select(cases, 5, 0), 0);
    CHECK_EQ(cases[0].result, -ENODATA);
    cases[0] = BNX_CASE_SEND(chan, &item);
    CHECK_EQ(bnx_select(cases, 5, 0), 0);
    CHECK_EQ(cases[0].result, -EPIPE);
    bnx_chan_destroy(chan);
}

/* ---- Waiting for each kind ---- */

struct objects {
    struct bnx_chan *in;
    struct bnx_chan *out;
    struct bnx_chan *shut;
    struct bnx_future *future;
    struct bnx_task *task;
    struct bnx_chan *leave; /* closed: the task ends */
};

struct waiting {
    struct objects *objects;
    struct bnx_case cases[6];
    int got;
    int sent;
    int index;
};

static int return_42(void *arg) {
    CHECK_EQ(bnx_chan_recv(arg, NULL), -ENODATA);
    return 42;
}

static int select_each(void *arg) {
    struct waiting *waiting = arg;
    struct objects *objects = waiting->objects;
    waiting->got = -1;
    waiting->sent = 55;
    waiting->cases[0] = BNX_CASE_RECV(objects->in, &waiting->got);
    waiting->cases[1] = BNX_CASE_SEND(objects->out, &waiting->sent);
    waiting->cases[2] = BNX_CASE_RECV(objects->shut, &waiting->got);
    waiting->cases[3] = BNX_CASE_WAIT(bnx_future_waitable(objects->future));
    waiting->cases[4] = BNX_CASE_WAIT(bnx_task_waitable(objects->task));
    waiting->cases[5] = BNX_CASE_AFTER(UINT64_MAX - 5);
    waiting->index = bnx_select(waiting->cases, 6, 0);
    return 0;
}

static struct bnx_task *spawn_parked(struct bnx_scope *scope, bnx_task_fn fn, void *arg) {
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_spawn_with(scope, NULL, fn, arg, &task), 0);
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: nothing of it can be done */
        bnx_yield();
    }
    return task;
}

static void do_case(struct objects *objects, int which) {
    int item = -1;
    switch (which) {
    case 0:
        put(objects->in, 66);
        break;
    case 1:
        CHECK_EQ(bnx_chan_try_recv(objects->out, &item), 0);
        CHECK_EQ(item, 55);
        break;
    case 2:
        bnx_chan_close(objects->shut);
        break;
    case 3:
        CHECK_EQ(bnx_future_fail(objects->future, -EIO), 0);
        break;
    default:
        bnx_chan_close(objects->leave);
        break;
    }
}

static int wait_for_each(void *arg) {
    (void)arg;
    static const int results[] = {0, 0, -ENODATA, -EIO, 42};
    for (int which = 0; which < 5; which++) {
        struct objects objects = {.in = make(0), .out = make(0), .shut = make(0), .leave = make(0)};
        CHECK_EQ(bnx_future_create(&objects.future), 0);
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        objects.task = spawn_parked(&scope, return_42, objects.leave);
        struct waiting waiting = {.objects = &objects};
        struct bnx_task *task = spawn_parked(&scope, select_each, &waiting);
        do_case(&objects, which);
        CHECK_EQ(bnx_join(task, NULL), 0);
        CHECK_EQ(waiting.index, which);
        CHECK_EQ(waiting.cases[which].result, results[which]);
        CHECK_EQ(waiting.got, which == 0 ? 66 : -1);
        int item;
        if (which != 2) { /* the losers are gone from the queues */
            CHECK_EQ(bnx_chan_try_send(objects.in, &which), -EAGAIN);
            CHECK_EQ(bnx_chan_try_recv(objects.out, &item), -EAGAIN);
        }
        bnx_chan_close(objects.leave);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        bnx_chan_destroy(objects.in);
        bnx_chan_destroy(objects.out);
        bnx_chan_destroy(objects.shut);
        bnx_chan_destroy(objects.leave);
        bnx_future_unref(objects.future);
    }
    return 0;
}

/* Claim: a select that sleeps is woken by whichever case comes, with its result, and has left all
 * other objects when it returns. */
TEST(select_each_kind, "select.wakes_for_each_kind") {
    sched_run_each(wait_for_each, NULL);
}

static int leave_losers(void *arg) {
    (void)arg;
    struct objects objects = {.in = make(0), .out = make(0), .shut = make(0), .leave = make(0)};
    CHECK_EQ(bnx_future_create(&objects.future), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    objects.task = spawn_parked(&scope, return_42, objects.leave);
    struct waiting waiting = {.objects = &objects};
    struct bnx_task *task = spawn_parked(&scope, select_each, &waiting);
    put(objects.in, 66);
    CHECK_EQ(bnx_join(task, NULL), 0);
    bnx_chan_destroy(objects.out); /* panics when somebody is in its queues */
    bnx_chan_destroy(objects.shut);
    bnx_chan_destroy(objects.in);
    bnx_chan_close(objects.leave);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_chan_destroy(objects.leave);
    bnx_future_unref(objects.future);
    return 0;
}

/* Claim: the channels of the cases that lost may be freed at once. */
TEST(select_losers, "select.leaves_losers") {
    sched_run_each(leave_losers, NULL);
}

/* ---- Cancels and deadlines ---- */

/* Calls fn(arg) in a scope with a deadline 1 ms from now. */
static void call_with_deadline(bnx_task_fn fn, void *arg) {
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + 1000000};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(fn(arg), 0);
    CHECK_EQ(bnx_scope_close(&scope), -ETIMEDOUT);
}

static int select_nothing(void *arg) {
    struct waiting *waiting = arg;
    waiting->index = bnx_select(NULL, 0, 0);
    return 0;
}

static int cancel_waiting(void *arg) {
    (void)arg;
    for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
        struct objects objects = {.in = make(0), .out = make(0), .shut = make(0), .leave = make(0)};
        CHECK_EQ(bnx_future_create(&objects.future), 0);
        struct bnx_scope outer;
        CHECK_EQ(bnx_scope_open(&outer, NULL), 0);
        objects.task = spawn_parked(&outer, return_42, objects.leave);
        struct waiting waiting = {.objects = &objects};
        struct waiting idle = {.objects = NULL};
        if (by_deadline != 0) {
            call_with_deadline(select_each, &waiting);
            call_with_deadline(select_nothing, &idle);
        } else {
            struct bnx_scope scope;
            CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
            (void)spawn_parked(&scope, select_each, &waiting);
            (void)spawn_parked(&scope, select_nothing, &idle);
            bnx_scope_cancel(&scope, 0);
            CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        }
        int error = by_deadline != 0 ? -ETIMEDOUT : -ECANCELED;
        CHECK_EQ(waiting.index, error);
        CHECK_EQ(idle.index, error);
        CHECK_EQ(waiting.got, -1);
        bnx_chan_destroy(objects.in);
        bnx_chan_destroy(objects.out);
        bnx_chan_destroy(objects.shut);
        bnx_chan_close(objects.leave);
        CHECK_EQ(bnx_scope_close(&outer), 0);
        bnx_chan_destroy(objects.leave);
        bnx_future_unref(objects.future);
    }
    return 0;
}

/* Claim: a cancel or the scope's deadline ends a select that sleeps: nothing was done, and it is in
 * no queue. One without cases waits for just that. */
TEST(select_cancel, "select.cancelled_while_waiting") {
    sched_run_each(cancel_waiting, NULL);
}

static int time_out(void *arg) {
    (void)arg;
    struct bnx_chan *chan = make(0);
    int item = 0;
    for (int round = 0; round < 3; round++) {
        uint64_t now_ns = bnx_now();
        uint64_t first_ns = now_ns + (round == 2 ? 0 : 300000);
        struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item), BNX_CASE_DEADLINE(first_ns + 100),
                                   BNX_CASE_DEADLINE(first_ns), BNX_CASE_AFTER(UINT64_MAX)};
        CHECK_EQ(bnx_select(cases, 4, 0), 2);
        CHECK_EQ(cases[2].result, 0);
        CHECK(bnx_now() >= first_ns);
    }
    struct bnx_case cases[] = {BNX_CASE_RECV(chan, &item), BNX_CASE_DEADLINE(0)};
    CHECK_EQ(bnx_select(cases, 2, BNX_SELECT_TRY), 1);
    bnx_chan_destroy(chan);
    return 0;
}

static void time_out_on_thread(void *arg) {
    CHECK_EQ(time_out(arg), 0);
}

/* Claim: the earliest deadline fires, never early, in tasks and in threads; nobody is in the queue
 * of what did not come. */
TEST(select_deadline, "select.deadline") {
    sched_run_each(time_out, NULL);
    struct bnx_os_thread thread;
    sched_thread_start(&thread, time_out_on_thread, NULL);
    sched_thread_join(&thread);
}

/* ---- Selects that meet ---- */

struct meeting {
    struct bnx_chan *a;
    struct bnx_chan *b;
    uint64_t rounds;
    uint64_t met;  /* items that came, less those that went: both sides */
    bool is_first; /* sends to a and receives from b; else the other way */
};

static int meet(void *arg) {
    struct meeting *meeting = arg;
    for (uint64_t i = 0; i < meeting->rounds; i++) {
        int sent = (int)i;
        int got = -1;
        struct bnx_case cases[] = {
            BNX_CASE_SEND(meeting->is_first ? meeting->a : meeting->b, &sent),
            BNX_CASE_RECV(meeting->is_first ? meeting->b : meeting->a, &got)};
        int index = bnx_select(cases, 2, 0);
        CHECK(index == 0 || index == 1);
        CHECK_EQ(cases[index].result, 0);
        CHECK_EQ(got, index == 1 ? (int)i : -1);
        meeting->met += index == 1 ? 1 : 0;
    }
    return 0;
}

static int meet_in_pairs(void *arg) {
    struct bnx_chan *a = make(0);
    struct bnx_chan *b = arg != NULL ? make(0) : a; /* one channel: both send and receive on it */
    uint64_t rounds = bnx_test_scale(20000);
    struct meeting first = {.a = a, .b = b, .rounds = rounds, .is_first = true};
    struct meeting second = {.a = a, .b = b, .rounds = rounds};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, meet, &first), 0);
    CHECK_EQ(bnx_spawn(&scope, meet, &second), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(first.met + second.met, rounds); /* each round one item went over */
    bnx_chan_destroy(a);
    if (b != a) {
        bnx_chan_destroy(b);
    }
    return 0;
}

/* Claim: two selects that can only serve each other do, round by round, and never get stuck.
 * Method: S1 sends to a or receives from b, S2 the opposite; every item names its round. */
TEST(select_meet, "select.meet") {
    char two_channels;
    sched_run_each(meet_in_pairs, &two_channels);
}

/* Claim: so do two that both send and receive on one channel; none of them serves itself. */
TEST(select_meet_on_one, "select.never_meets_itself") {
    sched_run_each(meet_in_pairs, NULL);
}

/* ---- Threads ---- */

#define THREADS 3

struct post {
    struct bnx_chan *in;
    struct bnx_chan *out;
    uint64_t count;
};

static void forward_on_thread(void *arg) {
    struct post *post = arg;
    for (;;) { /* ends when in is closed */
        int item = -1;
        struct bnx_case from[] = {BNX_CASE_RECV(post->in, &item), BNX_CASE_AFTER(100000000)};
        int index = bnx_select(from, 2, 0);
        if (index == 1) {
            continue;
        }
        CHECK_EQ(index, 0);
        if (from[0].result == -ENODATA) {
            return;
        }
        struct bnx_case to[] = {BNX_CASE_WAIT(NULL), BNX_CASE_SEND(post->out, &item)};
        CHECK_EQ(bnx_select(to, 2, 0), 1);
        CHECK_EQ(to[1].result, 0);
    }
}

static int post_and_collect(void *arg) {
    struct post *post = arg;
    uint64_t sent = 0;
    uint64_t received = 0;
    while (received < post->count) {
        int item = (int)sent;
        int got = -1;
        struct bnx_case cases[] = {BNX_CASE_SEND(sent < post->count ? post->in : NULL, &item),
                                   BNX_CASE_RECV(post->out, &got)};
        int index = bnx_select(cases, 2, 0);
        CHECK(index >= 0);
        CHECK_EQ(cases[index].result, 0);
        sent += index == 0 ? 1 : 0;
        received += index == 1 ? 1 : 0;
    }
    bnx_chan_close(post->in);
    return 0;
}

/* Claim: OS threads select as tasks do, with and without a deadline. Method: threads forward from
 * one unbuffered channel to another between a task that both sends and receives. */
TEST(select_threads, "select.threads") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct post post = {make(0), make(0), bnx_test_scale(3000)};
        struct bnx_os_thread threads[THREADS];
        for (int t = 0; t < THREADS; t++) {
            sched_thread_start(&threads[t], forward_on_thread, &post);
        }
        sched_run(sched_worker_counts[i], post_and_collect, &post);
        for (int t = 0; t < THREADS; t++) {
            sched_thread_join(&threads[t]);
        }
        bnx_chan_destroy(post.in);
        bnx_chan_destroy(post.out);
    }
}

#define CASES 1500

struct crowd {
    struct bnx_chan *chans[CASES];
    struct bnx_case cases[CASES];
    int got;
};

static int select_from_crowd(void *arg) {
    struct crowd *crowd = arg;
    return bnx_select(crowd->cases, CASES, 0);
}

static int wake_from_crowd(void *arg) {
    struct crowd *crowd = arg;
    for (int which = 0; which < CASES; which += 599) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        struct bnx_task *task = spawn_parked(&scope, select_from_crowd, crowd);
        put(crowd->chans[which], which);
        int index = -1;
        CHECK_EQ(bnx_join(task, &index), 0);
        CHECK_EQ(index, which);
        CHECK_EQ(crowd->got, which);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

/* Claim: the number of cases has no limit but memory, and their array may be used again. Method:
 * many unbuffered channels, in an order that is not that of their addresses; one gets an item. */
TEST(select_many_cases, "select.many_cases") {
    static struct crowd crowd;
    for (int i = 0; i < CASES; i++) {
        crowd.chans[(i * 7) % CASES] = make(0); /* 7 and CASES have no common factor */
    }
    for (int i = 0; i < CASES; i++) {
        crowd.cases[i] = BNX_CASE_RECV(crowd.chans[i], &crowd.got);
    }
    sched_run_each(wake_from_crowd, &crowd);
    for (int i = 0; i < CASES; i++) {
        bnx_chan_destroy(crowd.chans[i]);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
