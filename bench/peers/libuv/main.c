/* SPDX-License-Identifier: MIT */
/*
 * The peer libuv: what an event loop has of the rows. Timers are callbacks in the loop's thread; a
 * sleep is a timer that fires once; a message to another loop is uv_async_send.
 */
#include "bench/peers/peer.h"

#include <pthread.h>
#include <uv.h>

#define NS_PER_MS UINT64_C(1000000)
#define PENDING_COUNT 1000000
#define STARTS_PER_ROUND 1000
#define HOPS_PER_ROUND 100

static void print_version(void) {
    printf("libuv %s, " PEER_COMPILER "\n", uv_version_string());
}

static void check(int result, const char *what) {
    peer_require(result == 0, what);
}

/* ---- Timers armed and stopped ---- */

static void count_fired(uv_timer_t *timer) {
    ++*(uint64_t *)timer->data;
}

struct timers {
    uv_timer_t timer;
    uint64_t number; /* of the next deadline */
    uint64_t fired;  /* none may */
};

static struct peer_work start_and_stop(void *arg, uint64_t rounds) {
    struct timers *timers = arg;
    struct peer_work work = {rounds * STARTS_PER_ROUND, 0, 0};
    for (uint64_t i = 0; i < work.operations; i++) {
        uint64_t after_ms = 3600000 + peer_far_ns(timers->number++) / NS_PER_MS;
        work.checksum += uv_timer_start(&timers->timer, count_fired, after_ms, 0) == 0;
        work.checksum += (uint64_t)uv_is_active((uv_handle_t *)&timers->timer);
        uv_timer_stop(&timers->timer);
    }
    work.checksum += timers->fired;
    work.expected = 2 * work.operations;
    return work;
}

static void run_timers(const struct peer_run *run, size_t pending_count) {
    uv_loop_t loop;
    struct timers timers = {.number = pending_count};
    uv_timer_t *pending = calloc(pending_count + 1, sizeof(*pending));
    peer_require(pending != NULL, "calloc");
    check(uv_loop_init(&loop), "uv_loop_init");
    check(uv_timer_init(&loop, &timers.timer), "uv_timer_init");
    timers.timer.data = &timers.fired;
    for (size_t i = 0; i < pending_count; i++) {
        check(uv_timer_init(&loop, &pending[i]), "uv_timer_init");
        pending[i].data = &timers.fired;
        check(uv_timer_start(&pending[i], count_fired, 3600000 + peer_far_ns(i) / NS_PER_MS, 0),
              "uv_timer_start");
    }
    peer_measure(run, start_and_stop, &timers);
}

static void run_timer_arm(const struct peer_run *run) {
    run_timers(run, 0);
}

static void run_timer_arm_1m(const struct peer_run *run) {
    run_timers(run, PENDING_COUNT);
}

/* ---- Sleeps ---- */

static void run_sleep_1m(const struct peer_run *run) {
    uv_loop_t loop;
    uint64_t fired = 0;
    (void)run;
    uint64_t cpu_begin_ns = peer_cpu_ns();
    uint64_t begin_ns = peer_now_ns();
    uv_timer_t *timers = malloc(PEER_SLEEPS * sizeof(*timers));
    peer_require(timers != NULL, "malloc");
    check(uv_loop_init(&loop), "uv_loop_init");
    for (uint64_t i = 0; i < PEER_SLEEPS; i++) {
        check(uv_timer_init(&loop, &timers[i]), "uv_timer_init");
        timers[i].data = &fired;
        uint64_t after_ms = peer_sleep_ns(i) / NS_PER_MS + 1; /* rounded up: never early */
        check(uv_timer_start(&timers[i], count_fired, after_ms, 0), "uv_timer_start");
    }
    check(uv_run(&loop, UV_RUN_DEFAULT), "uv_run");
    uint64_t wall_ns = peer_now_ns() - begin_ns;
    uint64_t cpu_ns = peer_cpu_ns() - cpu_begin_ns;
    struct peer_work work = {PEER_SLEEPS, fired, PEER_SLEEPS};
    peer_print_once(wall_ns, cpu_ns, &work);
    free(timers);
}

/* ---- Two loops ---- */

/* A loop in a thread of its own; it sends what it has got on to the other. */
struct end {
    uv_loop_t loop;
    uv_async_t inbox;
    uv_async_t stop;   /* ends the loop */
    struct end *other; /* end */
    uint64_t ball;     /* written by the sender before the send */
    uint64_t left;     /* hops that this end still has to make */
    uint64_t sum;      /* of what came */
};

static void send_ball(struct end *to, uint64_t ball) {
    __atomic_store_n(&to->ball, ball, __ATOMIC_RELEASE);
    check(uv_async_send(&to->inbox), "uv_async_send");
}

static void receive_ball(uv_async_t *inbox) {
    struct end *self = inbox->data;
    uint64_t ball = __atomic_load_n(&self->ball, __ATOMIC_ACQUIRE);
    self->sum += ball;
    if (self->left == 0) {
        uv_stop(&self->loop); /* the side that began has its last answer */
        return;
    }
    self->left--;
    send_ball(self->other, ball + 1);
}

static void stop_loop(uv_async_t *stop) {
    uv_stop(stop->loop);
}

static void end_init(struct end *end, struct end *other) {
    memset(end, 0, sizeof(*end));
    end->other = other;
    check(uv_loop_init(&end->loop), "uv_loop_init");
    check(uv_async_init(&end->loop, &end->inbox, receive_ball), "uv_async_init");
    check(uv_async_init(&end->loop, &end->stop, stop_loop), "uv_async_init");
    end->inbox.data = end;
}

static void *run_far_end(void *arg) {
    struct end *end = arg;
    uv_run(&end->loop, UV_RUN_DEFAULT); /* until it is stopped: the result is not 0 */
    return NULL;
}

/* The near end throws ball 0, 2, 4 ..., the far end answers with 1, 3, 5 ... */
static struct peer_work bounce(void *arg, uint64_t rounds) {
    struct end *near_end = arg;
    struct end *far_end = near_end->other;
    uint64_t throws = rounds * HOPS_PER_ROUND / 2;
    near_end->sum = 0;
    near_end->left = throws - 1;
    __atomic_store_n(&far_end->sum, 0, __ATOMIC_RELAXED); /* the send publishes it */
    __atomic_store_n(&far_end->left, throws, __ATOMIC_RELAXED);
    send_ball(far_end, 0);
    uv_run(&near_end->loop, UV_RUN_DEFAULT);
    struct peer_work work = {2 * throws, near_end->sum + far_end->sum, peer_sum_below(2 * throws)};
    return work;
}

static void run_bounce(const struct peer_run *run) {
    struct end near_end;
    struct end far_end;
    pthread_t thread;
    end_init(&near_end, &far_end);
    end_init(&far_end, &near_end);
    check(pthread_create(&thread, NULL, run_far_end, &far_end), "pthread_create");
    peer_measure(run, bounce, &near_end);
    check(uv_async_send(&far_end.stop), "uv_async_send");
    check(pthread_join(thread, NULL), "pthread_join");
}

static const struct peer_row rows[] = {
    {"timer_arm", "1", run_timer_arm},
    {"timer_arm_1m", "1", run_timer_arm_1m},
    {"sleep_1m", "1", run_sleep_1m},
    {"bounce", "2", run_bounce},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv) {
    const struct peer peer = {print_version, rows, server_main};
    return peer_main(&peer, argc, argv);
}
