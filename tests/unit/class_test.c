/* SPDX-License-Identifier: MIT */
/* Claims about the classes of tasks: who goes first, that nobody starves, what inherits a class. */
#include "tests/support/sched.h"

#define EACH 3   /* tasks of each class in a line-up */
#define TURNS 2  /* of each of them */
#define SHARE 50 /* turns of BATCH after which the shares are looked at */

static struct bnx_spawn_options of_class(enum bnx_class class) {
    return (struct bnx_spawn_options){.task_class = class};
}

/* ---- Order ---- */

struct line_up {
    char turns[3 * EACH * TURNS + 1]; /* one letter a turn, in the order in which they came */
    size_t count;
};

static int take_turns(struct line_up *line_up, char letter) {
    for (int i = 0; i < TURNS; i++) {
        line_up->turns[line_up->count++] = letter;
        bnx_yield();
    }
    return 0;
}

static int take_latency(void *arg) {
    return take_turns(arg, 'L');
}

static int take_normal(void *arg) {
    return take_turns(arg, 'N');
}

static int take_batch(void *arg) {
    return take_turns(arg, 'B');
}

static int line_up_three(void *arg) {
    (void)arg;
    static const bnx_task_fn fns[] = {take_batch, take_normal, take_latency};
    static const enum bnx_class classes[] = {BNX_CLASS_BATCH, BNX_CLASS_NORMAL, BNX_CLASS_LATENCY};
    struct line_up line_up = {.count = 0};
    struct bnx_task *tasks[3 * EACH];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 3 * EACH; i++) {
        struct bnx_spawn_options options = of_class(classes[i % 3]);
        CHECK_EQ(bnx_spawn_with(&scope, &options, fns[i % 3], &line_up, &tasks[i]), 0);
    }
    /* A join runs no child on its own stack: all of them go through the queues. */
    for (int i = 0; i < 3 * EACH; i++) {
        CHECK_EQ(bnx_join(tasks[i], NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_STR(line_up.turns, "LLLLLLNNNNNNBBBBBB");
    return 0;
}

/* Claim: with one worker all turns of LATENCY come before all of NORMAL, and these before all of
 * BATCH, whatever the order of the spawns. Fewer turns than those after which somebody must let
 * others in. */
TEST(class_order, "class.order") {
    sched_run(1, line_up_three, NULL);
}

/* ---- Shares ---- */

struct contest {
    uint64_t turns[BNX_CLASS_BATCH + 1]; /* by class */
    uint64_t until;                      /* turns of NORMAL and of BATCH that end it */
};

static int compete(void *arg) {
    struct contest *contest = arg;
    enum bnx_class class = bnx_task_class(bnx_task_self());
    while (bnx_load_relaxed(&contest->turns[BNX_CLASS_BATCH]) < contest->until ||
           bnx_load_relaxed(&contest->turns[BNX_CLASS_NORMAL]) < contest->until / 2) {
        bnx_fetch_add_relaxed(&contest->turns[class], 1);
        bnx_yield();
    }
    return 0;
}

static void run_contest(struct contest *contest, uint32_t latency, uint32_t normal,
                        uint32_t batch) {
    const uint32_t counts[] = {0, latency, normal, batch};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (unsigned class = BNX_CLASS_LATENCY; class <= BNX_CLASS_BATCH; class ++) {
        for (uint32_t i = 0; i < counts[class]; i++) {
            struct bnx_spawn_options options = of_class((enum bnx_class) class);
            CHECK_EQ(bnx_spawn_with(&scope, &options, compete, contest, NULL), 0);
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
}

static int compare_shares(void *arg) {
    (void)arg;
    struct contest contest = {.until = SHARE};
    run_contest(&contest, 1, 1, 1);
    uint64_t latency = contest.turns[BNX_CLASS_LATENCY];
    uint64_t normal = contest.turns[BNX_CLASS_NORMAL];
    uint64_t batch = contest.turns[BNX_CLASS_BATCH];
    /* A sixteenth each, but for the beginning and the end. */
    CHECK(batch * 16 <= latency + normal + batch + 32);
    CHECK((batch + 2) * 16 >= latency + normal + batch);
    CHECK(normal * 16 <= latency + normal + batch + 32);
    CHECK((normal + 2) * 18 >= latency + normal + batch);
    return 0;
}

/* Claim: beside tasks that are always ready, NORMAL gets its turn after fifteen of LATENCY, and
 * BATCH after fifteen of the others; no more than that. */
TEST(class_shares, "class.shares") {
    sched_run(1, compare_shares, NULL);
}

static int crowd_out(void *arg) {
    (void)arg;
    uint32_t many = 2 * sched_worker_count() + 1;
    struct contest contest = {.until = 20};
    run_contest(&contest, many, 1, 1);
    contest = (struct contest){.until = 20};
    run_contest(&contest, 1, many, 1);
    return 0;
}

/* Claim: with more LATENCY tasks than workers, none of which ever waits, NORMAL and BATCH get on;
 * so does BATCH beside as many of NORMAL. Shown by the end of it. */
TEST(class_nobody_starves, "class.nobody_starves") {
    sched_run_each(crowd_out, NULL);
}

/* Tasks from outside: when one ends the next is queued already, and never two. */
struct stream {
    struct bnx_runtime *runtime;
    uint32_t asked;  /* for the next one, by the one before */
    uint32_t queued; /* by the thread */
    uint64_t ran;
    uint64_t ran_before_batch;
};

#define STREAM_LENGTH (10 * BNX_LANE_TURNS)

static int ask_for_next(void *arg) {
    struct stream *stream = arg;
    if (++stream->ran < STREAM_LENGTH) {
        sched_post(&stream->asked);
        sched_wait_post(&stream->queued, (uint32_t)stream->ran + 1); /* with its worker */
    }
    return 0;
}

static void queue_next(void *arg) {
    struct stream *stream = arg;
    for (uint32_t i = 0; i < STREAM_LENGTH; i++) {
        sched_wait_post(&stream->asked, i + 1);
        CHECK_EQ(bnx_runtime_spawn(stream->runtime, ask_for_next, stream, NULL), 0);
        sched_post(&stream->queued);
    }
}

static int note_the_stream(void *arg) {
    struct stream *stream = arg;
    stream->ran_before_batch = stream->ran;
    return 0;
}

static int stream_in(void *arg) {
    struct stream *stream = arg;
    struct bnx_spawn_options batch = of_class(BNX_CLASS_BATCH);
    struct bnx_task *task = NULL;
    struct bnx_os_thread thread;
    struct bnx_scope scope;
    stream->runtime = bnx_runtime_current();
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, &batch, note_the_stream, stream, &task), 0);
    sched_thread_start(&thread, queue_next, stream);
    sched_post(&stream->asked);
    sched_wait_post(&stream->queued, 1);
    CHECK_EQ(bnx_join(task, NULL), 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    while (bnx_load_relaxed(&stream->ran) < STREAM_LENGTH) { /* ends with the stream */
        bnx_yield();
    }
    sched_thread_join(&thread);
    CHECK(stream->ran_before_batch <= 3 * BNX_LANE_TURNS);
    return 0;
}

/* Claim: what comes from outside counts among those that BATCH lets go first, so it gets its turn
 * beside a stream of that. Method: one worker, and always one task in the global queue. */
TEST(class_stream, "class.batch_beside_a_stream") {
    struct stream stream = {0};
    sched_run(1, stream_in, &stream);
}

/* ---- Waiting ---- */

struct rally {
    struct sched_bell bells[2];
    uint64_t rounds;
};

static int serve(void *arg) {
    struct rally *rally = arg;
    for (uint64_t i = 0; i < rally->rounds; i++) {
        sched_bell_ring(&rally->bells[1]);
        sched_bell_wait(&rally->bells[0]);
    }
    return 0;
}

static int answer(void *arg) {
    struct rally *rally = arg;
    for (uint64_t i = 0; i < rally->rounds; i++) {
        sched_bell_wait(&rally->bells[1]);
        sched_bell_ring(&rally->bells[0]);
    }
    return 0;
}

static int play_all_pairs(void *arg) {
    (void)arg;
    struct rally rallies[9];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (unsigned i = 0; i < 9; i++) {
        rallies[i] = (struct rally){.rounds = bnx_test_scale(2000)};
        struct bnx_spawn_options first = of_class((enum bnx_class)(1 + i % 3));
        struct bnx_spawn_options second = of_class((enum bnx_class)(1 + i / 3));
        CHECK_EQ(bnx_spawn_with(&scope, &first, serve, &rallies[i], NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &second, answer, &rallies[i], NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: tasks of each two classes wake each other in turn, all pairs at once, and no wake is lost.
 * Without a watchdog, which would make good for one. */
TEST(class_wakes, "class.no_lost_wake") {
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_options options = {.worker_count = sched_worker_counts[i],
                                      .seed = 1,
                                      .spin_ns = BNX_SPIN_NEVER,
                                      .flags = BNX_NO_WATCHDOG};
        CHECK_EQ(bnx_run(&options, play_all_pairs, NULL), 0);
    }
}

/* ---- Whose class ---- */

static int return_class(void *arg) {
    (void)arg;
    return (int)bnx_task_class(bnx_task_self());
}

/* In a scope without a class of its own, in the frame of a task that has one. */
static int spawn_in_scope(void *arg) {
    const enum bnx_class *expected = arg;
    struct bnx_task *task = NULL;
    struct bnx_scope scope;
    int class = -1;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, return_class, NULL, &task), 0);
    CHECK_EQ(bnx_task_class(task), *expected);
    CHECK_EQ(bnx_join(task, &class), 0);
    CHECK_EQ(class, (int)*expected);
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, return_class, NULL), 0);
    CHECK_EQ(bnx_fork_join(&fork), (int)bnx_task_class(bnx_task_self()));
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

static int check_classes(void *arg) {
    (void)arg;
    CHECK_EQ(return_class(NULL), BNX_CLASS_NORMAL);
    struct bnx_scope scope;
    struct bnx_scope_options batch = {.task_class = BNX_CLASS_BATCH};
    CHECK_EQ(bnx_scope_open(&scope, &batch), 0);
    enum bnx_class expected = BNX_CLASS_BATCH;
    CHECK_EQ(bnx_spawn(&scope, spawn_in_scope, &expected), 0);
    struct bnx_spawn_options latency = of_class(BNX_CLASS_LATENCY);
    struct bnx_task *task = NULL;
    int class = -1;
    CHECK_EQ(bnx_spawn_with(&scope, &latency, return_class, NULL, &task), 0);
    CHECK_EQ(bnx_join(task, &class), 0);
    CHECK_EQ(class, BNX_CLASS_LATENCY);
    struct bnx_spawn_options unknown = of_class((enum bnx_class)(BNX_CLASS_BATCH + 1));
    CHECK_EQ(bnx_spawn_with(&scope, &unknown, return_class, NULL, &task), -EINVAL);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a task has the class of its scope, that of its enclosing one, unless the spawn says
 * otherwise; a fork, stolen or not, runs with its forker's. */
TEST(class_inherited, "class.is_inherited") {
    sched_run_each(check_classes, NULL);
}

/* ---- Pinned ---- */

static int stay(void *arg) {
    uint32_t worker = *(const uint32_t *)arg;
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(sched_worker_index(), worker);
        bnx_yield();
    }
    return 0;
}

static int pin_all(void *arg) {
    (void)arg;
    uint32_t workers[8];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < sched_worker_count(); i++) {
        workers[i] = i;
        for (unsigned class = BNX_CLASS_LATENCY; class <= BNX_CLASS_BATCH; class ++) {
            struct bnx_spawn_options options = of_class((enum bnx_class) class);
            options.flags = BNX_SPAWN_PINNED;
            options.worker = i;
            CHECK_EQ(bnx_spawn_with(&scope, &options, stay, &workers[i], NULL), 0);
        }
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a pinned task stays on its worker, whatever its class is. */
TEST(class_pinned, "class.pinned_stays") {
    sched_run_each(pin_all, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
