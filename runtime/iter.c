/* SPDX-License-Identifier: MIT */
/* Iterators: sources, stages, sinks. */
#include <bonxie/chan.h>
#include <bonxie/gen.h>
#include <bonxie/iter.h>

#include "runtime/check.h"

#include <errno.h>

void bnx_iter_close(struct bnx_iter *iter) {
    void (*close)(struct bnx_iter *) = iter->close;
    iter->next = NULL;
    if (!BNX_PLANT(iter_close_repeats)) {
        iter->close = NULL; /* first: a source that is reached twice is closed once */
    }
    if (close != NULL) {
        close(iter);
    }
}

static struct bnx_iter_stage *stage_of(struct bnx_iter *iter) {
    return BNX_CONTAINER_OF(iter, struct bnx_iter_stage, iter);
}

static void close_sources(struct bnx_iter *iter) {
    struct bnx_iter_stage *stage = stage_of(iter);
    if (stage->source != NULL) {
        bnx_iter_close(stage->source);
    }
    if (stage->second != NULL) {
        bnx_iter_close(stage->second);
    }
}

/* Fills what every stage has. */
static struct bnx_iter *stage_init(struct bnx_iter_stage *stage,
                                   int (*next)(struct bnx_iter *, void **), struct bnx_iter *source,
                                   void *arg) {
    *stage = (struct bnx_iter_stage){
        .iter = {.next = next, .close = close_sources}, .source = source, .arg = arg};
    return &stage->iter;
}

/* ---- Sources ---- */

static int next_element(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    if (stage->state.array.left == 0) {
        return 0;
    }
    stage->state.array.left--;
    *out_value = stage->state.array.next;
    stage->state.array.next += stage->state.array.elem_bytes;
    return 1;
}

struct bnx_iter *bnx_iter_array(struct bnx_iter_stage *stage, void *elements, size_t count,
                                size_t elem_bytes) {
    (void)stage_init(stage, next_element, NULL, NULL);
    stage->state.array.next = elements;
    stage->state.array.elem_bytes = elem_bytes;
    stage->state.array.left = count;
    return &stage->iter;
}

static int next_number(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    if (stage->state.range.left == 0) {
        return 0;
    }
    intptr_t number = stage->state.range.next;
    if (--stage->state.range.left != 0) { /* so that it never goes past the largest number */
        stage->state.range.next = number + stage->state.range.step;
    }
    *out_value = (void *)number;
    return 1;
}

/* How many numbers lie in a range. Unsigned, because the distance of two may be no intptr_t. */
static size_t range_count(intptr_t begin, intptr_t end, intptr_t step) {
    if (step == 0 || (step > 0 ? begin >= end : begin <= end)) {
        return 0;
    }
    size_t distance = step > 0 ? (size_t)end - (size_t)begin : (size_t)begin - (size_t)end;
    size_t width = step > 0 ? (size_t)step : 0 - (size_t)step;
    return (distance - 1) / width + 1;
}

struct bnx_iter *bnx_iter_range(struct bnx_iter_stage *stage, intptr_t begin, intptr_t end,
                                intptr_t step) {
    (void)stage_init(stage, next_number, NULL, NULL);
    stage->state.range.next = begin;
    stage->state.range.step = step;
    stage->state.range.left = range_count(begin, end, step);
    return &stage->iter;
}

static int next_of_gen(struct bnx_iter *iter, void **out_value) {
    return bnx_gen_next(iter->ctx, out_value);
}

static void close_gen(struct bnx_iter *iter) {
    (void)bnx_gen_close(iter->ctx); /* a body that yields again is logged */
}

struct bnx_iter *bnx_iter_from_gen(struct bnx_iter *iter, struct bnx_gen *gen) {
    *iter = (struct bnx_iter){.next = next_of_gen, .close = close_gen, .ctx = gen};
    return iter;
}

static int next_of_chan(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    int error = bnx_chan_recv(stage->iter.ctx, stage->arg);
    if (error < 0) {
        return error == -ENODATA ? 0 : error;
    }
    *out_value = stage->arg;
    return 1;
}

struct bnx_iter *bnx_iter_from_chan(struct bnx_iter_stage *stage, struct bnx_chan *chan,
                                    void *item) {
    (void)stage_init(stage, next_of_chan, NULL, item);
    stage->iter.ctx = chan;
    return &stage->iter;
}

/* ---- Stages ---- */

static int next_mapped(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    void *value = NULL;
    int result = bnx_iter_next(stage->source, &value);
    if (result <= 0) {
        return result;
    }
    result = stage->fn.map(value, out_value, stage->arg);
    return result < 0 ? result : 1;
}

struct bnx_iter *bnx_iter_map(struct bnx_iter_stage *stage, struct bnx_iter *source, bnx_map_fn fn,
                              void *arg) {
    (void)stage_init(stage, next_mapped, source, arg);
    stage->fn.map = fn;
    return &stage->iter;
}

static int next_wanted(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    void *value = NULL;
    for (;;) { /* ends with the source, unless the source has no end */
        int result = bnx_iter_next(stage->source, &value);
        if (result <= 0) {
            return result;
        }
        result = stage->fn.test(value, stage->arg);
        if (result < 0) {
            return result;
        }
        if (result > 0) {
            *out_value = value;
            return 1;
        }
    }
}

struct bnx_iter *bnx_iter_filter(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                 bnx_test_fn fn, void *arg) {
    (void)stage_init(stage, next_wanted, source, arg);
    stage->fn.test = fn;
    return &stage->iter;
}

static int next_taken(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    if (stage->state.count == 0) {
        bnx_iter_close(stage->source);
        return 0;
    }
    stage->state.count--;
    return bnx_iter_next(stage->source, out_value);
}

struct bnx_iter *bnx_iter_take(struct bnx_iter_stage *stage, struct bnx_iter *source,
                               size_t count) {
    (void)stage_init(stage, next_taken, source, NULL);
    stage->state.count = count;
    return &stage->iter;
}

static int next_while(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    void *value = NULL;
    int result = bnx_iter_next(stage->source, &value);
    if (result > 0) {
        result = stage->fn.test(value, stage->arg);
        if (result == 0) {
            bnx_iter_close(stage->source);
        }
    }
    if (result > 0) {
        *out_value = value;
        result = 1;
    }
    return result;
}

struct bnx_iter *bnx_iter_take_while(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                     bnx_test_fn fn, void *arg) {
    (void)stage_init(stage, next_while, source, arg);
    stage->fn.test = fn;
    return &stage->iter;
}

static int next_of_chain(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    if (stage->source != NULL) {
        int result = bnx_iter_next(stage->source, out_value);
        if (result != 0) {
            return result;
        }
        bnx_iter_close(stage->source);
        stage->source = NULL;
    }
    return bnx_iter_next(stage->second, out_value);
}

struct bnx_iter *bnx_iter_chain(struct bnx_iter_stage *stage, struct bnx_iter *first,
                                struct bnx_iter *second) {
    (void)stage_init(stage, next_of_chain, first, NULL);
    stage->second = second;
    return &stage->iter;
}

static int next_pair(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    int result = bnx_iter_next(stage->source, &stage->out.pair.first);
    if (result > 0) {
        result = bnx_iter_next(stage->second, &stage->out.pair.second);
    }
    if (result > 0) {
        *out_value = &stage->out.pair;
    } else {
        close_sources(iter);
    }
    return result;
}

struct bnx_iter *bnx_iter_zip(struct bnx_iter_stage *stage, struct bnx_iter *first,
                              struct bnx_iter *second) {
    (void)stage_init(stage, next_pair, first, NULL);
    stage->second = second;
    return &stage->iter;
}

static int next_indexed(struct bnx_iter *iter, void **out_value) {
    struct bnx_iter_stage *stage = stage_of(iter);
    int result = bnx_iter_next(stage->source, &stage->out.indexed.value);
    if (result > 0) {
        stage->out.indexed.index = stage->state.count++;
        *out_value = &stage->out.indexed;
    }
    return result;
}

struct bnx_iter *bnx_iter_enumerate(struct bnx_iter_stage *stage, struct bnx_iter *source) {
    return stage_init(stage, next_indexed, source, NULL);
}

/* ---- Sinks ---- */

int bnx_iter_fold(struct bnx_iter *iter, void *accumulator, bnx_fold_fn fn) {
    int error = 0;
    BNX_FOR_EACH_OR(value, iter, &error) {
        int result = fn(accumulator, value);
        if (result < 0) {
            return result;
        }
    }
    return error;
}

int bnx_iter_find(struct bnx_iter *iter, bnx_test_fn fn, void *arg, void **out_value) {
    int error = 0;
    BNX_FOR_EACH_OR(value, iter, &error) {
        int result = fn(value, arg);
        if (result > 0) {
            *out_value = value;
            return 1;
        }
        if (result < 0) {
            return result;
        }
    }
    return error;
}

int bnx_iter_collect(struct bnx_iter *iter, void **out_values, size_t values_max,
                     size_t *out_count) {
    int error = 0;
    *out_count = 0;
    BNX_FOR_EACH_OR(value, iter, &error) {
        if (*out_count == values_max) {
            return -ENOSPC;
        }
        out_values[(*out_count)++] = value;
    }
    return error;
}

int bnx_iter_for_each(struct bnx_iter *iter, bnx_each_fn fn, void *arg) {
    int error = 0;
    BNX_FOR_EACH_OR(value, iter, &error) {
        int result = fn(value, arg);
        if (result < 0) {
            return result;
        }
    }
    return error;
}

int bnx_iter_count(struct bnx_iter *iter, size_t *out_count) {
    int error = 0;
    *out_count = 0;
    BNX_FOR_EACH_OR(value, iter, &error) {
        (void)value;
        (*out_count)++;
    }
    return error;
}
