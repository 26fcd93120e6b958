/* SPDX-License-Identifier: MIT */
/* Iterators: what each stage lets through, when sources are closed, where errors go. */
#include "tests/support/sched.h"

#include <bonxie/chan.h>

/* A source that counts: 1, 2, ... up to last, then an error or the end. */
struct source {
    struct bnx_iter iter; /* first: the source is found through it */
    intptr_t next_number;
    intptr_t last;
    int end;    /* what next returns after the last */
    int calls;  /* of next */
    int closed; /* calls of close */
};

static int source_next(struct bnx_iter *iter, void **out_value) {
    struct source *source = iter->ctx;
    source->calls++;
    if (source->next_number > source->last) {
        return source->end;
    }
    *out_value = (void *)source->next_number++;
    return 1;
}

static void source_close(struct bnx_iter *iter) {
    struct source *source = iter->ctx;
    source->closed++;
}

static struct bnx_iter *source_init(struct source *source, intptr_t last, int end) {
    *source = (struct source){.next_number = 1, .last = last, .end = end};
    source->iter = (struct bnx_iter){.next = source_next, .close = source_close, .ctx = source};
    return &source->iter;
}

/* The iterator gives exactly these, and then the end. */
static void expect(struct bnx_iter *iter, const intptr_t *values, size_t count) {
    void *got = NULL;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_iter_next(iter, &got), 1);
        CHECK_EQ((intptr_t)got, values[i]);
    }
    CHECK_EQ(bnx_iter_next(iter, &got), 0);
    CHECK_EQ(bnx_iter_next(iter, &got), 0);
}
#define EXPECT(iter, ...)                                                                          \
    expect((iter), (const intptr_t[]){__VA_ARGS__},                                                \
           sizeof((intptr_t[]){__VA_ARGS__}) / sizeof(intptr_t))

static int is_even(void *value, void *arg) {
    if (arg != NULL && (intptr_t)value == *(intptr_t *)arg) {
        return -EIO;
    }
    return (intptr_t)value % 2 == 0;
}

static int is_below(void *value, void *arg) {
    return (intptr_t)value < *(intptr_t *)arg;
}

static int square(void *value, void **out_value, void *arg) {
    if (arg != NULL && (intptr_t)value == *(intptr_t *)arg) {
        return -EIO;
    }
    *out_value = (void *)((intptr_t)value * (intptr_t)value);
    return 7; /* any number that is no error */
}

static int same(void *value, void **out_value, void *arg) {
    (void)arg;
    *out_value = value;
    return 0;
}

/* Numbers of a range in both directions, to the very ends of the type; elements of an array. */
TEST(iter_sources, "iter.sources") {
    struct bnx_iter_stage stage;
    EXPECT(bnx_iter_range(&stage, 0, 3, 1), 0, 1, 2);
    EXPECT(bnx_iter_range(&stage, 5, -2, -3), 5, 2, -1);
    EXPECT(bnx_iter_range(&stage, 0, 10, 4), 0, 4, 8);
    expect(bnx_iter_range(&stage, 3, 3, 1), NULL, 0);
    expect(bnx_iter_range(&stage, 3, 9, -1), NULL, 0);
    expect(bnx_iter_range(&stage, 3, 9, 0), NULL, 0);
    EXPECT(bnx_iter_range(&stage, INTPTR_MAX - 3, INTPTR_MAX, 2), INTPTR_MAX - 3, INTPTR_MAX - 1);
    EXPECT(bnx_iter_range(&stage, INTPTR_MAX, INTPTR_MIN, INTPTR_MIN), INTPTR_MAX, -1);
    EXPECT(bnx_iter_range(&stage, INTPTR_MIN, INTPTR_MAX, INTPTR_MAX), INTPTR_MIN, -1,
           INTPTR_MAX - 1);
    short elements[3] = {4, 5, 6};
    struct bnx_iter *iter = bnx_iter_array(&stage, elements, 3, sizeof(elements[0]));
    EXPECT(iter, (intptr_t)&elements[0], (intptr_t)&elements[1], (intptr_t)&elements[2]);
    expect(bnx_iter_array(&stage, NULL, 0, 8), NULL, 0);
    struct bnx_iter none = {0};
    expect(&none, NULL, 0);
    bnx_iter_close(&none);
}

/* Each stage lets through what it says. */
TEST(iter_stages, "iter.stages") {
    struct source source;
    struct bnx_iter_stage stage;
    intptr_t limit = 3;
    EXPECT(bnx_iter_map(&stage, source_init(&source, 3, 0), square, NULL), 1, 4, 9);
    EXPECT(bnx_iter_filter(&stage, source_init(&source, 7, 0), is_even, NULL), 2, 4, 6);
    EXPECT(bnx_iter_take(&stage, source_init(&source, 9, 0), 2), 1, 2);
    CHECK_EQ(source.calls, 2); /* never more than asked for */
    CHECK_EQ(source.closed, 1);
    EXPECT(bnx_iter_take(&stage, source_init(&source, 2, 0), 5), 1, 2);
    EXPECT(bnx_iter_take_while(&stage, source_init(&source, 9, 0), is_below, &limit), 1, 2);
    CHECK_EQ(source.calls, 3);
    CHECK_EQ(source.closed, 1);
    struct source other;
    struct bnx_iter *second = source_init(&other, 2, 0);
    EXPECT(bnx_iter_chain(&stage, source_init(&source, 3, 0), second), 1, 2, 3, 1, 2);
    CHECK_EQ(source.closed, 1);

    void *got = NULL;
    second = source_init(&other, 2, 0);
    struct bnx_iter *iter = bnx_iter_zip(&stage, source_init(&source, 3, 0), second);
    for (intptr_t n = 1; n <= 2; n++) {
        CHECK_EQ(bnx_iter_next(iter, &got), 1);
        const struct bnx_pair *pair = got;
        CHECK_EQ((intptr_t)pair->first, n);
        CHECK_EQ((intptr_t)pair->second, n);
    }
    CHECK_EQ(bnx_iter_next(iter, &got), 0);
    CHECK_EQ(bnx_iter_next(iter, &got), 0);
    CHECK(source.closed == 1 && other.closed == 1);

    iter = bnx_iter_enumerate(&stage, source_init(&source, 3, 0));
    for (intptr_t n = 0; n < 3; n++) {
        CHECK_EQ(bnx_iter_next(iter, &got), 1);
        const struct bnx_indexed *indexed = got;
        CHECK_EQ(indexed->index, n);
        CHECK_EQ((intptr_t)indexed->value, n + 1);
    }
    CHECK_EQ(bnx_iter_next(iter, &got), 0);
}

/* A close goes through every stage to every source, once; after it there is nothing more. */
TEST(iter_close_reaches_sources, "iter.close_reaches_sources") {
    struct source sources[2];
    struct bnx_iter_stage zip;
    struct bnx_iter_stage chain;
    struct bnx_iter_stage filter;
    struct bnx_iter_stage map;
    struct bnx_iter_stage take;
    for (size_t used = 0; used < 3; used++) {
        struct bnx_iter *first = source_init(&sources[0], 9, 0);
        struct bnx_iter *iter = bnx_iter_zip(&zip, first, source_init(&sources[1], 9, 0));
        struct bnx_iter_stage empty;
        iter = bnx_iter_chain(&chain, bnx_iter_range(&empty, 0, 0, 1), iter);
        iter = bnx_iter_filter(&filter, iter, is_even, NULL);
        iter = bnx_iter_map(&map, iter, same, NULL);
        iter = bnx_iter_take(&take, iter, 5);
        void *got = NULL;
        for (size_t i = 0; i < used; i++) {
            CHECK_EQ(bnx_iter_next(iter, &got), 1);
        }
        bnx_iter_close(iter);
        bnx_iter_close(iter);
        CHECK(sources[0].closed == 1 && sources[1].closed == 1);
        CHECK_EQ(bnx_iter_next(iter, &got), 0);
    }
}

/* An error of a source or of a callback comes out of whatever stands behind it. */
TEST(iter_errors_pass, "iter.errors_pass") {
    struct source source;
    struct source other;
    struct bnx_iter_stage stage;
    struct bnx_iter_stage behind;
    void *got = NULL;
    intptr_t bad = 2;
    size_t count = 0;
    CHECK_EQ(bnx_iter_count(source_init(&source, 3, -EPROTO), &count), -EPROTO);
    CHECK(count == 3 && source.closed == 1);
    struct bnx_iter *iter = source_init(&source, 3, 0);
    iter = bnx_iter_enumerate(&behind, bnx_iter_map(&stage, iter, square, &bad));
    CHECK_EQ(bnx_iter_count(iter, &count), -EIO);
    CHECK(count == 1 && source.closed == 1);
    iter = bnx_iter_take(&behind,
                         bnx_iter_filter(&stage, source_init(&source, 3, 0), is_even, &bad), 9);
    CHECK_EQ(bnx_iter_next(iter, &got), -EIO);
    iter = bnx_iter_take_while(&stage, source_init(&source, 3, 0), is_even, (intptr_t[]){1});
    CHECK_EQ(bnx_iter_next(iter, &got), -EIO);
    struct bnx_iter *second = source_init(&other, 1, -EPROTO);
    CHECK_EQ(bnx_iter_count(bnx_iter_zip(&stage, source_init(&source, 3, 0), second), &count),
             -EPROTO);
    CHECK(count == 1 && source.closed == 1 && other.closed == 1);
    second = source_init(&other, 1, -EPROTO);
    CHECK_EQ(bnx_iter_count(bnx_iter_chain(&stage, source_init(&source, 3, 0), second), &count),
             -EPROTO);
    CHECK_EQ(count, 4);
}

static int add(void *accumulator, void *value) {
    *(intptr_t *)accumulator += (intptr_t)value;
    return (intptr_t)value == 5 ? -ERANGE : 0;
}

static int add_each(void *value, void *arg) {
    return add(arg, value);
}

/* Each sink returns what it says and closes what it has used, also when it stops early. */
TEST(iter_sinks, "iter.sinks") {
    struct source source;
    intptr_t sum = 0;
    CHECK_EQ(bnx_iter_fold(source_init(&source, 4, 0), &sum, add), 0);
    CHECK(sum == 10 && source.closed == 1);
    CHECK_EQ(bnx_iter_for_each(source_init(&source, 9, 0), add_each, &sum), -ERANGE);
    CHECK(sum == 25 && source.closed == 1 && source.calls == 5);
    CHECK_EQ(bnx_iter_fold(source_init(&source, 9, 0), &sum, add), -ERANGE);
    CHECK(source.closed == 1 && source.calls == 5);

    void *got = &source;
    intptr_t bad = 2;
    CHECK_EQ(bnx_iter_find(source_init(&source, 9, 0), is_even, NULL, &got), 1);
    CHECK((intptr_t)got == 2 && source.closed == 1);
    got = &source;
    CHECK_EQ(bnx_iter_find(source_init(&source, 1, 0), is_even, NULL, &got), 0);
    CHECK_EQ(bnx_iter_find(source_init(&source, 3, 0), is_even, &bad, &got), -EIO);
    CHECK(got == &source && source.closed == 1);

    void *values[3] = {NULL};
    size_t count = 9;
    CHECK_EQ(bnx_iter_collect(source_init(&source, 3, 0), values, 3, &count), 0);
    CHECK(count == 3 && (intptr_t)values[0] == 1 && (intptr_t)values[2] == 3);
    CHECK_EQ(source.closed, 1);
    CHECK_EQ(bnx_iter_collect(source_init(&source, 3, 0), values, 2, &count), -ENOSPC);
    CHECK(count == 2 && source.closed == 1);
    CHECK_EQ(bnx_iter_collect(source_init(&source, 0, 0), NULL, 0, &count), 0);
    CHECK_EQ(count, 0);
    CHECK_EQ(bnx_iter_count(source_init(&source, 6, 0), &count), 0);
    CHECK(count == 6 && source.closed == 1);
}

static intptr_t leave_by_return(struct bnx_iter *iter, struct bnx_iter *inner) {
    BNX_FOR_EACH(value, iter) {
        BNX_FOR_EACH(other, inner) {
            if ((intptr_t)other == 2) {
                return (intptr_t)value;
            }
        }
    }
    return 0;
}

/* The loop closes its iterator on its end, break, goto and return; continue goes on; an error and
 * the end are told apart. */
TEST(iter_for_each_closes, "iter.for_each_closes") {
    struct source source;
    struct source inner;
    intptr_t sum = 0;
    BNX_FOR_EACH(value, source_init(&source, 5, 0)) {
        if ((intptr_t)value == 2) {
            continue;
        }
        sum += (intptr_t)value;
    }
    CHECK(sum == 13 && source.closed == 1 && source.calls == 6);
    BNX_FOR_EACH(value, source_init(&source, 5, 0)) {
        if ((intptr_t)value == 2) {
            break;
        }
    }
    CHECK(source.closed == 1 && source.calls == 2);
    BNX_FOR_EACH(value, source_init(&source, 5, 0)) {
        (void)value;
        goto out;
    }
out:
    CHECK(source.closed == 1 && source.calls == 1);
    (void)source_init(&source, 5, 0);
    CHECK_EQ(leave_by_return(&source.iter, source_init(&inner, 3, 0)), 1);
    CHECK(source.closed == 1 && inner.closed == 1 && inner.calls == 2);

    int error = 1;
    BNX_FOR_EACH_OR(value, source_init(&source, 1, -EPROTO), &error) {
        CHECK_EQ((intptr_t)value, 1);
    }
    CHECK_EQ(error, -EPROTO);
    BNX_FOR_EACH_OR(value, source_init(&source, 1, 0), &error) {
        CHECK_EQ((intptr_t)value, 1);
    }
    CHECK_EQ(error, 0);
    error = 1;
    BNX_FOR_EACH_OR(value, source_init(&source, 2, 0), &error) {
        (void)value;
        break;
    }
    CHECK_EQ(error, 1);
}

/* ---- With generators and waits ---- */

static int count_slowly(struct bnx_gen *gen, void *arg) {
    int *closed = arg;
    for (intptr_t n = 1;; n++) {
        int error = bnx_sleep(1000);
        if (error == 0 || error == -EPERM) {
            error = bnx_gen_yield(gen, (void *)n, NULL);
        }
        if (error < 0) {
            (*closed)++;
            return error;
        }
    }
}

static int is_even_later(void *value, void *arg) {
    bnx_yield();
    return is_even(value, arg);
}

static int from_gen(void *arg) {
    (void)arg;
    int closed = 0;
    struct bnx_gen *gen = NULL;
    CHECK_EQ(bnx_gen_create(&gen, count_slowly, &closed, NULL), 0);
    struct bnx_iter source;
    struct bnx_iter_stage filter;
    struct bnx_iter_stage take;
    struct bnx_iter *iter = bnx_iter_from_gen(&source, gen);
    iter = bnx_iter_filter(&filter, iter, is_even_later, NULL);
    iter = bnx_iter_take(&take, iter, 3);
    intptr_t sum = 0;
    BNX_FOR_EACH(value, iter) {
        sum += (intptr_t)value;
    }
    CHECK_EQ(sum, 12);
    CHECK_EQ(closed, 1);
    CHECK_EQ(bnx_gen_next(gen, NULL), 0);
    bnx_gen_destroy(gen);
    return 0;
}

static int many_from_gen(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(bnx_spawn(&scope, from_gen, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* A generator's values; its body and the callbacks wait; closing the iterator closes it. */
TEST(iter_from_gen, "iter.from_gen") {
    sched_run_each(many_from_gen, NULL);
}

static int send_numbers(void *arg) {
    struct bnx_chan *chan = arg;
    for (int n = 1; n <= 10; n++) {
        CHECK_EQ(bnx_chan_send(chan, &n), 0);
        bnx_yield();
    }
    bnx_chan_close(chan);
    return 0;
}

static int from_chan(void *arg) {
    (void)arg;
    struct bnx_chan *chan = NULL;
    CHECK_EQ(bnx_chan_create(sizeof(int), 2, &chan), 0);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&scope, send_numbers, chan), 0);
    struct bnx_iter_stage source;
    int item = 0;
    int sum = 0;
    BNX_FOR_EACH(value, bnx_iter_from_chan(&source, chan, &item)) {
        sum += *(const int *)value;
        if (item == 4) {
            break; /* the channel stays open */
        }
    }
    CHECK_EQ(sum, 10);
    int error = 1;
    BNX_FOR_EACH_OR(value, bnx_iter_from_chan(&source, chan, &item), &error) {
        sum += *(const int *)value;
    }
    CHECK(sum == 55 && error == 0);
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    void *none = NULL;
    CHECK_EQ(bnx_iter_next(bnx_iter_from_chan(&source, chan, &item), &none), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    bnx_chan_destroy(chan);
    return 0;
}

/* A channel's items until it is closed and drained; leaving the loop leaves it open. */
TEST(iter_from_chan, "iter.from_chan") {
    sched_run_each(from_chan, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
