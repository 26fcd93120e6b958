/* SPDX-License-Identifier: MIT */
/*
 * async_iteration: iterators in a task: one round a plain string, one whose next sleeps, and a list
 * collected through a filter and a map that wait.
 *
 * An iterator of your own is three fields. Whatever it calls may wait: only this task does.
 * Type: async_iteration
 */
#include "runtime/examples/generators.h"

#define PAUSE_NS UINT64_C(1000000)

/* ---- Two iterators of our own ---- */

static int next_letter(struct bnx_iter *iter, void **out_value) {
    char *letter = iter->ctx;
    if (*letter == '\0') {
        return 0;
    }
    *out_value = letter;
    iter->ctx = letter + 1;
    return 1;
}

static int next_digit(struct bnx_iter *iter, void **out_value) {
    intptr_t digit = (intptr_t)iter->ctx;
    if (digit == 5) {
        return 0;
    }
    int error = bnx_sleep(PAUSE_NS);
    if (error < 0) {
        return error;
    }
    *out_value = (void *)digit;
    iter->ctx = (void *)(digit + 1);
    return 1;
}

/* ---- Callbacks that wait ---- */

static int is_even(void *value, void *arg) {
    (void)arg;
    int error = bnx_sleep(PAUSE_NS);
    return error < 0 ? error : (intptr_t)value % 2 == 0;
}

static int square(void *value, void **out_value, void *arg) {
    (void)arg;
    *out_value = (void *)((intptr_t)value * (intptr_t)value);
    return bnx_sleep(PAUSE_NS);
}

static void print_list(void *const *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        printf("%s%d", i == 0 ? "[" : ", ", (int)(intptr_t)values[i]);
    }
    printf("]\n");
}

static int run(void *arg) {
    (void)arg;
    char hello[] = "hello";
    struct bnx_iter letters = {.next = next_letter, .ctx = hello};
    BNX_FOR_EACH(letter, &letters) {
        printf("%c\n", *(const char *)letter);
    }
    int error = 0;
    struct bnx_iter digits = {.next = next_digit};
    BNX_FOR_EACH_OR(digit, &digits, &error) {
        printf("%d\n", (int)(intptr_t)digit);
    }
    if (error < 0) {
        return error;
    }
    struct bnx_iter_stage filter;
    struct bnx_iter_stage map;
    void *squares[5] = {NULL};
    size_t count = 0;
    digits = (struct bnx_iter){.next = next_digit};
    struct bnx_iter *even = bnx_iter_filter(&filter, &digits, is_even, NULL);
    error = bnx_iter_collect(bnx_iter_map(&map, even, square, NULL), squares, 5, &count);
    print_list(squares, count);
    return error;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "iterators that wait, in a task");
    bnx_must(bnx_run(NULL, run, NULL), "bnx_run");
    return 0;
}
