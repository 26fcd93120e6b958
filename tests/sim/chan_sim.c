/* SPDX-License-Identifier: MIT */
/* Channels and selects on the simulated machine: thousands of interleavings. */
#include "tests/sim/seeds.h"
#include "tests/support/chan_flow.h"

#define SEEDS 3000

static int flow(void *arg) {
    (void)arg;
    static struct chan_flow_run run;
    struct chan_flow_options options = {
        .runtime = seeds_options(),
        .seed = bnx_sim_draw(UINT32_MAX),
        .capacities = {bnx_sim_draw(3), bnx_sim_draw(2)},
        .producers = 1 + bnx_sim_draw(2),
        .consumers = 1 + bnx_sim_draw(2),
        .victims = bnx_sim_draw(4),
        .threads = bnx_sim_draw(3),
        .share = 1 + bnx_sim_draw(6),
    };
    chan_flow_run(&run, &options);
    return 0;
}

/* Every item that went has come, once: plain calls, selects, tries, batches, deadlines, cancels. */
TEST(chan_flow, "sim.chan_flow") {
    seeds_run(SEEDS, flow);
}

/* ---- Selects that can only serve each other ---- */

struct meeting {
    struct bnx_chan *chans[2];
    uint32_t rounds;
};

struct member {
    struct meeting *meeting;
    uint32_t side;   /* sends there, receives at the other; with one channel it does both there */
    uint32_t served; /* sends and receives that were done */
};

static int meet(void *arg) {
    struct member *member = arg;
    struct meeting *meeting = member->meeting;
    while (member->served < meeting->rounds) {
        uint32_t sent = member->served;
        uint32_t got = UINT32_MAX;
        struct bnx_case cases[] = {BNX_CASE_SEND(meeting->chans[member->side], &sent),
                                   BNX_CASE_RECV(meeting->chans[1 - member->side], &got)};
        int index = bnx_select(cases, 2, 0);
        chan_flow_scribble();
        CHECK(index == 0 || index == 1);
        CHECK_EQ(cases[index].result, 0);
        CHECK_EQ(got, index == 1 ? member->served : UINT32_MAX);
        member->served++;
    }
    return 0;
}

/* Its cancel races the begin, the look and the sleep of a select. */
static int wait_for_cancel(void *arg) {
    struct bnx_future *future = arg;
    struct bnx_case cases[] = {BNX_CASE_WAIT(bnx_future_waitable(future)), BNX_CASE_AFTER(3000)};
    int index;
    do { /* ends with the cancel */
        index = bnx_select(cases, 2, 0);
        chan_flow_scribble();
    } while (index == 1);
    CHECK_EQ(index, -ECANCELED);
    return 0;
}

static int meet_all(void *arg) {
    (void)arg;
    struct meeting meeting = {.rounds = 1 + bnx_sim_draw(6)};
    CHECK_EQ(bnx_chan_create(sizeof(uint32_t), 0, &meeting.chans[0]), 0);
    meeting.chans[1] = meeting.chans[0];
    bool has_two = bnx_sim_draw(2) == 0;
    if (has_two) {
        CHECK_EQ(bnx_chan_create(sizeof(uint32_t), 0, &meeting.chans[1]), 0);
    }
    struct member members[2] = {{.meeting = &meeting, .side = 0}, {.meeting = &meeting, .side = 1}};
    struct bnx_future *future = NULL;
    CHECK_EQ(bnx_future_create(&future), 0);
    struct bnx_scope scope;
    struct bnx_scope victims;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, meet, &members[0]), 0);
    CHECK_EQ(bnx_spawn(&scope, meet, &members[1]), 0);
    CHECK_EQ(bnx_scope_open(&victims, NULL), 0);
    CHECK_EQ(bnx_spawn(&victims, wait_for_cancel, future), 0);
    CHECK_EQ(bnx_sleep(bnx_sim_draw(5000)), 0);
    bnx_scope_cancel(&victims, 0);
    CHECK_EQ(bnx_scope_close(&victims), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    bnx_future_unref(future);
    bnx_chan_destroy(meeting.chans[0]);
    if (has_two) {
        bnx_chan_destroy(meeting.chans[1]);
    }
    return 0;
}

static int meet_somewhere(void *arg) {
    return seeds_bnx_run(meet_all, arg);
}

/* Two selects that can only serve each other do, on two channels and on one, round by round. */
TEST(select_meet, "sim.select_meet") {
    seeds_run(SEEDS, meet_somewhere);
}

/* ---- Threads that only receive ---- */

#define TAKERS_MAX 3

struct handout {
    struct bnx_chan *chan;
    uint32_t share; /* of a taker */
    uint32_t takers;
    uint64_t next; /* the next item; any task */
};

struct taker {
    struct handout *handout;
    struct bnx_os_thread thread;
    uint64_t sum;
};

static void take_share(void *arg) {
    struct taker *taker = arg;
    for (uint32_t i = 0; i < taker->handout->share; i++) {
        uint64_t item = 0;
        CHECK_EQ(bnx_chan_recv(taker->handout->chan, &item), 0);
        taker->sum += item;
    }
}

static int give_out(void *arg) {
    struct handout *handout = arg;
    uint64_t end = (uint64_t)handout->share * handout->takers;
    uint64_t item;
    while ((item = bnx_fetch_add_relaxed(&handout->next, 1)) < end) { /* a number on its own */
        CHECK_EQ(bnx_chan_send(handout->chan, &item), 0);
    }
    return 0;
}

static int give_out_all(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    uint32_t givers = 1 + bnx_sim_draw(2);
    for (uint32_t i = 0; i < givers; i++) {
        CHECK_EQ(bnx_spawn(&scope, give_out, arg), 0);
    }
    return bnx_scope_close(&scope);
}

static int serve_threads(void *arg) {
    (void)arg;
    struct handout handout = {.share = 1 + bnx_sim_draw(6), .takers = 1 + bnx_sim_draw(TAKERS_MAX)};
    CHECK_EQ(bnx_chan_create(sizeof(uint64_t), 1 + bnx_sim_draw(4), &handout.chan), 0);
    struct taker takers[TAKERS_MAX];
    for (uint32_t i = 0; i < handout.takers; i++) {
        takers[i] = (struct taker){.handout = &handout};
        sched_thread_start(&takers[i].thread, take_share, &takers[i]);
    }
    CHECK_EQ(seeds_bnx_run(give_out_all, &handout), 0);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < handout.takers; i++) {
        sched_thread_join(&takers[i].thread);
        sum += takers[i].sum;
    }
    uint64_t items = (uint64_t)handout.share * handout.takers;
    CHECK_EQ(sum, items * (items - 1) / 2);
    bnx_chan_destroy(handout.chan);
    return 0;
}

/* What tasks send through a buffer reaches threads that only receive, to the last item: no thread
 * waits beside one, whoever else waited with it. */
TEST(chan_takers, "sim.chan_takers") {
    seeds_run(SEEDS, serve_threads);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
