/* SPDX-License-Identifier: MIT */
/*
 * Iterators: one value after the other, from whatever has some, lazily.
 *
 *     struct bnx_iter_stage numbers, even, squares;
 *     struct bnx_iter *iter = bnx_iter_range(&numbers, 0, 10, 1);
 *     iter = bnx_iter_filter(&even, iter, is_even, NULL);
 *     iter = bnx_iter_map(&squares, iter, square, NULL);
 *     BNX_FOR_EACH(value, iter) {
 *         printf("%d\n", (int)(intptr_t)value);
 *     }
 *
 * A value is a pointer, or a number cast to one (intptr_t). What it points to is valid until the
 * next call of next, or longer where the source says so. A callback may wait, if the caller of next
 * may. An iterator is used by one task or thread at a time and is not safe to share.
 *
 * Something of your own becomes one by filling the three fields. Stages live in their user's frame,
 * where they must stay while they are in use; nothing here allocates.
 */
#ifndef BONXIE_ITER_H
#define BONXIE_ITER_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

struct bnx_chan;
struct bnx_gen;

/* Zeroed means: no values. */
struct bnx_iter {
    /**
     * Returns 1 with a value in *out_value (never NULL); 0: no more, now or before; < 0 an error,
     * after which it is not called again. May suspend.
     */
    int (*next)(struct bnx_iter *iter, void **out_value);
    /** Ends it, early or not: gives back what it holds. May suspend. NULL: nothing to do. */
    void (*close)(struct bnx_iter *iter);
    void *ctx; /* next's and close's own */
};

/** Calls next; 0 where there is none. Returns as struct bnx_iter says. */
static inline int bnx_iter_next(struct bnx_iter *iter, void **out_value) {
    return iter->next != NULL ? iter->next(iter, out_value) : 0;
}

/**
 * Closes an iterator and, through it, its sources. From then on next returns 0, and another close
 * does nothing. Context: as the iterator's; suspends if its close does.
 */
BNX_API void bnx_iter_close(struct bnx_iter *iter);

/* What BNX_FOR_EACH keeps beside the user's variable. Private. */
struct bnx_iter_loop {
    struct bnx_iter *iter; /* closed at the end of the loop */
    int *error;            /* where the result of the last next goes; NULL: nowhere */
    int is_begun;          /* the loop runs once */
};

/** A step of BNX_FOR_EACH. */
static inline int bnx_iter_loop_next(struct bnx_iter_loop *loop, void **out_value) {
    int result = bnx_iter_next(loop->iter, out_value);
    if (result <= 0 && loop->error != NULL) {
        *loop->error = result;
    }
    return result > 0;
}

/** The end of BNX_FOR_EACH, by whichever way. */
static inline void bnx_iter_loop_end(struct bnx_iter_loop *loop) {
    bnx_iter_close(loop->iter);
}

#define BNX_ITER_PASTE_(a, b) a##b
#define BNX_ITER_NAME_(a, b) BNX_ITER_PASTE_(a, b)
#define BNX_ITER_LOOP_(value, loop, iter_pointer, error_pointer)                                   \
    for (struct bnx_iter_loop loop                                                                 \
         __attribute__((cleanup(bnx_iter_loop_end))) = {(iter_pointer), (error_pointer), 0};       \
         loop.is_begun == 0; loop.is_begun = 1)                                                    \
        for (void *value = NULL; bnx_iter_loop_next(&loop, &value);)

/**
 * Runs the statement that follows for each value of an iterator, then closes it: at the end, and
 * also on break, return and goto out of it (not on longjmp).
 *     BNX_FOR_EACH(value, &iter) { ... }
 * @param value the name of the `void *` that it declares.
 * An error ends the loop just as the end does; BNX_FOR_EACH_OR tells them apart.
 */
#define BNX_FOR_EACH(value, iter_pointer)                                                          \
    BNX_ITER_LOOP_(value, BNX_ITER_NAME_(bnx_loop_, __LINE__), iter_pointer, NULL)

/**
 * As BNX_FOR_EACH; *error_pointer becomes 0 at the end of the values, < 0 by an error, and is left
 * alone when the loop was left in another way.
 */
#define BNX_FOR_EACH_OR(value, iter_pointer, error_pointer)                                        \
    BNX_ITER_LOOP_(value, BNX_ITER_NAME_(bnx_loop_, __LINE__), iter_pointer, error_pointer)

/* ---- Stages: sources and what stands between a source and its user ---- */

/* A value of bnx_iter_zip. */
struct bnx_pair {
    void *first;
    void *second;
};

/* A value of bnx_iter_enumerate. */
struct bnx_indexed {
    size_t index; /* from 0 */
    void *value;
};

/** Makes another value of one. Returns >= 0, or an error < 0, which next then returns. */
typedef int (*bnx_map_fn)(void *value, void **out_value, void *arg);
/** Says whether a value is meant: 1 yes, 0 no, < 0 an error. */
typedef int (*bnx_test_fn)(void *value, void *arg);
/** Does something with a value. Returns >= 0, or an error < 0, which ends the loop. */
typedef int (*bnx_each_fn)(void *value, void *arg);
/** Adds a value to what was accumulated. Returns as bnx_each_fn. */
typedef int (*bnx_fold_fn)(void *accumulator, void *value);

/* One stage, of whichever sort. In its user's frame; all fields are private, the functions below
 * fill them. */
struct bnx_iter_stage {
    struct bnx_iter iter;    /* what they return; ctx: the channel, else unused */
    struct bnx_iter *source; /* closed with this one; NULL: none */
    struct bnx_iter *second; /* chain, zip: the other source */
    union {
        bnx_map_fn map;
        bnx_test_fn test;
    } fn;      /* the callback */
    void *arg; /* its last argument; of a channel, where items go */
    union {
        size_t count; /* take: how many are left. enumerate: how many there were */
        struct {
            intptr_t next; /* range: the next number */
            intptr_t step; /* range */
            size_t left;   /* range: how many are left */
        } range;
        struct {
            char *next;        /* array: the next element */
            size_t elem_bytes; /* array */
            size_t left;       /* array: how many are left */
        } array;
    } state;
    union {
        struct bnx_pair pair;
        struct bnx_indexed indexed;
    } out; /* zip, enumerate: what the value points to */
};

/* Each fills *stage and returns &stage->iter. Closing it closes its sources. */

/** The addresses of an array's elements. @param elements borrowed while the stage is in use. */
BNX_API struct bnx_iter *bnx_iter_array(struct bnx_iter_stage *stage, void *elements, size_t count,
                                        size_t elem_bytes);

/** begin, begin + step, ... up to but not including end, as `(void *)(intptr_t)`; step 0: none. */
BNX_API struct bnx_iter *bnx_iter_range(struct bnx_iter_stage *stage, intptr_t begin, intptr_t end,
                                        intptr_t step);

/** What fn makes of each value. */
BNX_API struct bnx_iter *bnx_iter_map(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                      bnx_map_fn fn, void *arg);

/** The values for which fn says 1. */
BNX_API struct bnx_iter *bnx_iter_filter(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                         bnx_test_fn fn, void *arg);

/** The first count values; the source is closed as soon as they are through. */
BNX_API struct bnx_iter *bnx_iter_take(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                       size_t count);

/** The values up to the first for which fn says 0; that one is lost, and the source is closed. */
BNX_API struct bnx_iter *bnx_iter_take_while(struct bnx_iter_stage *stage, struct bnx_iter *source,
                                             bnx_test_fn fn, void *arg);

/** All values of first, which is then closed, and after them all of second. */
BNX_API struct bnx_iter *bnx_iter_chain(struct bnx_iter_stage *stage, struct bnx_iter *first,
                                        struct bnx_iter *second);

/**
 * A struct bnx_pair of each two, until one of them has no more; then both are closed. It is valid
 * until the next call. When second ends first, a value of first has been taken and is lost.
 */
BNX_API struct bnx_iter *bnx_iter_zip(struct bnx_iter_stage *stage, struct bnx_iter *first,
                                      struct bnx_iter *second);

/** A struct bnx_indexed of each value, valid until the next call. */
BNX_API struct bnx_iter *bnx_iter_enumerate(struct bnx_iter_stage *stage, struct bnx_iter *source);

/**
 * The values of a generator. Closing the iterator closes the generator; destroying it remains the
 * caller's. @param iter filled, and returned.
 */
BNX_API struct bnx_iter *bnx_iter_from_gen(struct bnx_iter *iter, struct bnx_gen *gen);

/**
 * What is received from a channel, until it is closed and drained. Closing the iterator leaves the
 * channel as it is: others may receive from it.
 * @param item where each is received to, of the channel's elem_bytes; a value is its address.
 */
BNX_API struct bnx_iter *bnx_iter_from_chan(struct bnx_iter_stage *stage, struct bnx_chan *chan,
                                            void *item);

/* ---- Sinks: each uses an iterator up and closes it, whatever it returns ---- */

/**
 * Calls fn(accumulator, value) for each value. Returns 0; < 0 of next or of fn, which ends it.
 * Context: suspends where the iterator's next or close, or fn, does.
 */
BNX_API int bnx_iter_fold(struct bnx_iter *iter, void *accumulator, bnx_fold_fn fn);

/**
 * Finds the first value for which fn says 1. Returns 1, with it in *out_value; 0 none; < 0.
 * Context: as bnx_iter_fold.
 */
BNX_API int bnx_iter_find(struct bnx_iter *iter, bnx_test_fn fn, void *arg, void **out_value);

/**
 * Writes the values to an array. What they point to must last longer than the next call.
 * @param out_count receives how many were written, also on failure.
 * Returns 0; -ENOSPC: there was one more than values_max; < 0 of next. Context: as bnx_iter_fold.
 */
BNX_API int bnx_iter_collect(struct bnx_iter *iter, void **out_values, size_t values_max,
                             size_t *out_count);

/** Calls fn(value, arg) for each value. Returns and context as bnx_iter_fold. */
BNX_API int bnx_iter_for_each(struct bnx_iter *iter, bnx_each_fn fn, void *arg);

/**
 * Counts the values. Returns 0 or < 0 of next; *out_count is how many came before it.
 * Context: as bnx_iter_fold.
 */
BNX_API int bnx_iter_count(struct bnx_iter *iter, size_t *out_count);

BNX_EXTERN_C_END

#endif
