/* SPDX-License-Identifier: MIT */
/* Generators as their users see them: each claim off a task, and in a task. */
#include "runtime/gen_pvt.h"
#include "tests/support/sched.h"

static void *number(intptr_t value) {
    return (void *)value;
}

static struct bnx_gen *make(bnx_gen_fn fn, void *arg) {
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_gen_create(&gen, fn, arg, NULL), 0);
    return gen;
}

static void expect_value(struct bnx_gen *gen, intptr_t value) {
    void *got = NULL;
    CHECK_EQ(bnx_gen_next(gen, &got), 1);
    CHECK_EQ((intptr_t)got, value);
}

static void expect_sent(struct bnx_gen *gen, intptr_t send, intptr_t value) {
    void *got = NULL;
    CHECK_EQ(bnx_gen_send(gen, number(send), &got), 1);
    CHECK_EQ((intptr_t)got, value);
}

/* Drives it with fn(gen) off a task, and in a task with each number of workers. */
static void run_both(bnx_task_fn fn) {
    CHECK_EQ(fn(NULL), 0);
    sched_run_each(fn, NULL);
}

/* ---- Bodies ---- */

/* 1 ... n, and n as the result. arg: n */
static int count_up(struct bnx_gen *gen, void *arg) {
    intptr_t last = (intptr_t)arg;
    for (intptr_t n = 1; n <= last; n++) {
        int error = bnx_gen_yield(gen, number(n), NULL);
        if (error < 0) {
            return error;
        }
    }
    bnx_gen_return(gen, arg);
    return 0;
}

/* What happened to a body. */
struct diary {
    int starts;
    int last_error;        /* that a yield returned */
    int answer;            /* what the body then returns; > 0: it goes on, and yields it */
    struct bnx_gen *inner; /* delegates */
    void *inner_result;    /* of the delegation */
};

/* Yields ten times what was sent, until something else happens. arg: struct diary */
static int echo(struct bnx_gen *gen, void *arg) {
    struct diary *diary = arg;
    diary->starts++;
    void *sent = NULL;
    for (;;) {
        int error = bnx_gen_yield(gen, number(10 * (intptr_t)sent), &sent);
        if (error < 0) {
            diary->last_error = error;
            if (diary->answer <= 0) {
                return diary->answer;
            }
            sent = number(diary->answer);
        }
    }
}

/* Delegates to diary->inner and returns its error. arg: struct diary */
static int pass_on(struct bnx_gen *gen, void *arg) {
    struct diary *diary = arg;
    diary->last_error = bnx_gen_yield_from(gen, diary->inner, &diary->inner_result);
    if (diary->last_error == 0) {
        int error = bnx_gen_yield(gen, number(-1), NULL);
        diary->last_error = error;
    }
    return diary->last_error;
}

/* ---- The basics ---- */

static int values(void *arg) {
    (void)arg;
    struct bnx_gen *gen = make(count_up, number(3));
    void *result = NULL;
    CHECK_EQ(bnx_gen_result(gen, &result), -EAGAIN);
    expect_value(gen, 1);
    expect_value(gen, 2);
    expect_value(gen, 3);
    CHECK_EQ(bnx_gen_result(gen, &result), -EAGAIN);
    void *untouched = &result;
    CHECK_EQ(bnx_gen_next(gen, &untouched), 0);
    CHECK_EQ(bnx_gen_next(gen, &untouched), 0);
    CHECK(untouched == &result);
    CHECK_EQ(bnx_gen_result(gen, &result), 0);
    CHECK_EQ((intptr_t)result, 3);
    bnx_gen_destroy(gen);
    bnx_gen_destroy(NULL);
    return 0;
}

/* next gives what the body yields, then 0 for ever, and the result is there. */
TEST(gen_values, "gen.values") {
    run_both(values);
}

static int sends(void *arg) {
    (void)arg;
    struct diary diary = {0};
    struct bnx_gen *gen = make(echo, &diary);
    void *got = NULL;
    CHECK_EQ(bnx_gen_send(gen, number(1), &got), -EINVAL);
    CHECK_EQ(diary.starts, 0);
    CHECK_EQ(bnx_gen_send(gen, NULL, &got), 1);
    expect_sent(gen, 4, 40);
    expect_value(gen, 0);
    expect_sent(gen, 5, 50);
    bnx_gen_destroy(gen);
    struct bnx_gen_options options = {.flags = BNX_GEN_PRIMED};
    CHECK_EQ(bnx_gen_create(&gen, echo, &diary, &options), 0);
    CHECK_EQ(diary.starts, 2);
    expect_sent(gen, 7, 70);
    bnx_gen_destroy(gen);
    CHECK_EQ(bnx_gen_create(&gen, count_up, number(0), &options), 0);
    CHECK_EQ(bnx_gen_next(gen, &got), 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* What is sent is what the yield gives; an unstarted body takes nothing, a primed one does. */
TEST(gen_send, "gen.send") {
    run_both(sends);
}

static int throws(void *arg) {
    (void)arg;
    struct diary diary = {.answer = 8};
    struct bnx_gen *gen = make(echo, &diary);
    void *got = NULL;
    CHECK_EQ(bnx_gen_throw(gen, 0, &got), -EINVAL);
    CHECK_EQ(bnx_gen_throw(gen, -EIO, &got), -EIO);
    CHECK_EQ(diary.starts, 0);
    CHECK_EQ(bnx_gen_next(gen, &got), 0);
    CHECK_EQ(bnx_gen_result(gen, &got), -EIO);
    bnx_gen_destroy(gen);

    gen = make(echo, &diary);
    expect_value(gen, 0);
    CHECK_EQ(bnx_gen_throw(gen, -EIO, &got), 1); /* caught: it goes on */
    CHECK_EQ((intptr_t)got, 80);
    CHECK_EQ(diary.last_error, -EIO);
    diary.answer = -EPROTO;
    CHECK_EQ(bnx_gen_throw(gen, -EBADF, &got), -EPROTO);
    CHECK_EQ(diary.last_error, -EBADF);
    CHECK_EQ(bnx_gen_throw(gen, -ENOENT, &got), -ENOENT); /* finished: it comes back */
    CHECK_EQ(bnx_gen_next(gen, &got), 0);
    CHECK_EQ(bnx_gen_result(gen, &got), -EPROTO);
    bnx_gen_destroy(gen);
    return 0;
}

/* A thrown error is what the yield returns; an unstarted or finished generator gives it back. */
TEST(gen_throw, "gen.throw") {
    run_both(throws);
}

static int closes(void *arg) {
    (void)arg;
    struct diary diary = {.answer = BNX_GEN_CLOSED};
    struct bnx_gen *gen = make(echo, &diary);
    CHECK_EQ(bnx_gen_close(gen), 0); /* never started */
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    CHECK_EQ(diary.starts, 0);
    bnx_gen_destroy(gen);

    const int answers[] = {BNX_GEN_CLOSED, 0, -EIO};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(answers); i++) {
        diary = (struct diary){.answer = answers[i]};
        gen = make(echo, &diary);
        expect_value(gen, 0);
        CHECK_EQ(bnx_gen_close(gen), answers[i] == -EIO ? -EIO : 0);
        CHECK_EQ(diary.last_error, BNX_GEN_CLOSED);
        CHECK_EQ(bnx_gen_close(gen), 0);
        CHECK_EQ(bnx_gen_next(gen, NULL), 0);
        CHECK_EQ(bnx_gen_send(gen, number(1), NULL), 0);
        bnx_gen_destroy(gen);
    }
    diary = (struct diary){.answer = 0};
    gen = make(echo, &diary);
    expect_value(gen, 0);
    bnx_gen_destroy(gen);
    CHECK_EQ(diary.last_error, BNX_GEN_CLOSED);
    return 0;
}

/* The body is told of a close, once, and by destroy as well; its own error comes back. */
TEST(gen_close, "gen.close") {
    run_both(closes);
}

static void count_lines(enum bnx_log_level level, const char *line, void *arg) {
    CHECK_EQ(level, BNX_LOG_ERROR);
    CHECK(strstr(line, "although it was closed") != NULL);
    bnx_fetch_add_relaxed((uint32_t *)arg, 1);
}

static int yields_in_close(void *arg) {
    (void)arg;
    struct diary diary = {.answer = 3};
    struct bnx_gen *gen = make(echo, &diary);
    expect_value(gen, 0);
    CHECK_EQ(bnx_gen_close(gen), -EBUSY);
    expect_sent(gen, 2, 20); /* it is still there */
    diary.answer = 0;
    CHECK_EQ(bnx_gen_close(gen), 0);
    bnx_gen_destroy(gen);
    diary.answer = 3;
    gen = make(echo, &diary);
    expect_value(gen, 0);
    bnx_gen_destroy(gen); /* abandoned */
    return 0;
}

/* A yield in answer to a close: -EBUSY, one line in the log, and the body is where it yielded. */
TEST(gen_yield_in_close, "gen.yield_in_close") {
    uint32_t lines = 0;
    CHECK_EQ(yields_in_close(NULL), 0);
    struct bnx_options options = {
        .worker_count = 2, .seed = 1, .log = count_lines, .log_arg = &lines};
    CHECK_EQ(bnx_run(&options, yields_in_close, NULL), 0);
    CHECK_EQ(lines, 2);
}

/* Calls everything on itself, and on the generator that drives it. */
static int meddle(struct bnx_gen *gen, void *arg) {
    struct bnx_gen *other = arg != NULL ? *(struct bnx_gen **)arg : gen;
    CHECK_EQ(bnx_gen_next(other, NULL), -EBUSY);
    CHECK_EQ(bnx_gen_send(other, gen, NULL), -EBUSY);
    CHECK_EQ(bnx_gen_throw(other, -EIO, NULL), -EBUSY);
    CHECK_EQ(bnx_gen_close(other), -EBUSY);
    CHECK_EQ(bnx_gen_yield_from(gen, other, NULL), -EBUSY);
    return bnx_gen_yield(gen, number(5), NULL);
}

static int drive_meddler(struct bnx_gen *gen, void *arg) {
    struct bnx_gen *inner = make(meddle, &gen);
    expect_value(inner, 5);
    CHECK_EQ(bnx_gen_yield(inner, NULL, NULL), -EPERM); /* not its body */
    bnx_gen_destroy(inner);
    (void)arg;
    return 0;
}

static int is_busy(void *arg) {
    (void)arg;
    struct bnx_gen *gen = make(meddle, NULL);
    expect_value(gen, 5);
    CHECK_EQ(bnx_gen_yield(gen, NULL, NULL), -EPERM);
    bnx_gen_destroy(gen);
    gen = make(drive_meddler, NULL);
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    bnx_gen_destroy(gen);
    return 0;
}

/* A running generator refuses every call, its own body's and those of what it drives. */
TEST(gen_running_is_busy, "gen.running_is_busy") {
    run_both(is_busy);
}

/* ---- Delegation ---- */

static int delegates(void *arg) {
    (void)arg;
    struct diary inside = {.answer = -EPROTO};
    struct diary outside = {.inner = make(echo, &inside)};
    struct bnx_gen *gen = make(pass_on, &outside);
    void *got = NULL;
    CHECK_EQ(bnx_gen_send(gen, gen, &got), -EINVAL);
    expect_value(gen, 0);
    expect_sent(gen, 6, 60);
    CHECK_EQ(bnx_gen_next(outside.inner, &got), -EBUSY);
    inside.answer = 9;
    CHECK_EQ(bnx_gen_throw(gen, -EIO, &got), 1);
    CHECK_EQ((intptr_t)got, 90);
    CHECK_EQ(inside.last_error, -EIO);
    inside.answer = -EPROTO;
    CHECK_EQ(bnx_gen_throw(gen, -EIO, &got), -EPROTO);
    CHECK_EQ(outside.last_error, -EPROTO);
    CHECK_EQ(bnx_gen_next(outside.inner, &got), 0);
    bnx_gen_destroy(gen);
    bnx_gen_destroy(outside.inner);

    inside = (struct diary){.answer = BNX_GEN_CLOSED};
    outside = (struct diary){.inner = make(echo, &inside)};
    gen = make(pass_on, &outside);
    expect_value(gen, 0);
    CHECK_EQ(bnx_gen_close(gen), 0);
    CHECK_EQ(inside.last_error, BNX_GEN_CLOSED);
    CHECK_EQ(outside.last_error, BNX_GEN_CLOSED);
    CHECK_EQ(bnx_gen_result(outside.inner, NULL), 0);
    bnx_gen_destroy(gen);
    bnx_gen_destroy(outside.inner);

    outside = (struct diary){.inner = make(count_up, number(2))};
    gen = make(pass_on, &outside);
    expect_value(gen, 1);
    expect_value(gen, 2);
    expect_value(gen, -1);
    CHECK_EQ((intptr_t)outside.inner_result, 2);
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    bnx_gen_destroy(gen);
    outside.inner_result = NULL;
    gen = make(pass_on, &outside); /* to one that has finished: nothing comes but the result */
    expect_value(gen, -1);
    CHECK_EQ((intptr_t)outside.inner_result, 2);
    bnx_gen_destroy(gen);
    bnx_gen_destroy(outside.inner);
    return 0;
}

/* next, send, throw and close reach the inner generator, its values and its end come out. */
TEST(gen_delegation, "gen.delegation") {
    run_both(delegates);
}

struct nest {
    int depth;               /* of this body; 0: it counts */
    struct bnx_gen *deepest; /* set by the one at 0 */
    int returned;            /* bodies that have come back from their delegation */
};

static int nest(struct bnx_gen *gen, void *arg) {
    struct nest *self = arg;
    if (self->depth == 0) {
        self->deepest = gen;
        return count_up(gen, number(3));
    }
    self->depth--;
    struct bnx_gen *inner = make(nest, self);
    void *result = NULL;
    int error = bnx_gen_yield_from(gen, inner, &result);
    bnx_gen_destroy(inner);
    self->returned++;
    bnx_gen_return(gen, result);
    return error;
}

#define NEST_DEPTH 100

static int delegates_directly(void *arg) {
    (void)arg;
    struct nest self = {.depth = NEST_DEPTH};
    struct bnx_gen *gen = make(nest, &self);
    expect_value(gen, 1);
    CHECK(gen->innermost == self.deepest);
    expect_value(gen, 2);
    CHECK(gen->innermost == self.deepest && self.deepest->drive.outermost == gen);
    expect_value(gen, 3);
    CHECK_EQ(self.returned, 0);
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    CHECK_EQ(self.returned, NEST_DEPTH);
    CHECK(gen->innermost == gen);
    void *result = NULL;
    CHECK_EQ(bnx_gen_result(gen, &result), 0);
    CHECK_EQ((intptr_t)result, 3);
    bnx_gen_destroy(gen);

    self = (struct nest){.depth = NEST_DEPTH};
    gen = make(nest, &self);
    expect_value(gen, 1);
    bnx_gen_destroy(gen);
    CHECK_EQ(self.returned, NEST_DEPTH); /* each was closed and has cleaned up */
    return 0;
}

/* However deep, the outermost resumes the innermost itself; an end goes outwards one by one. */
TEST(gen_delegation_is_direct, "gen.delegation_is_direct") {
    run_both(delegates_directly);
}

/* Goes on yielding when it is closed. arg: struct diary */
static int stubborn(struct bnx_gen *gen, void *arg) {
    struct diary *diary = arg;
    do {
        diary->last_error = bnx_gen_yield_from(gen, diary->inner, NULL);
        (void)bnx_gen_yield(gen, NULL, NULL);
    } while (diary->last_error < 0);
    return 0;
}

static int abandons(void *arg) {
    (void)arg;
    struct diary inside = {.answer = 4};
    struct diary middle = {.inner = make(echo, &inside)};
    struct diary outside = {.inner = make(stubborn, &middle)};
    struct bnx_gen *gen = make(stubborn, &outside);
    expect_value(gen, 0);
    bnx_gen_destroy(gen); /* the innermost yields again; what is delegated to is its own again */
    expect_sent(outside.inner, 3, 30);
    CHECK_EQ(bnx_gen_next(middle.inner, NULL), -EBUSY);
    bnx_gen_destroy(outside.inner);
    expect_sent(middle.inner, 5, 50);
    bnx_gen_destroy(middle.inner);
    return 0;
}

/* When a body is abandoned in a delegation, the rest of the chain can be driven and destroyed. */
TEST(gen_abandoned_chain, "gen.abandoned_chain") {
    run_both(abandons);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
