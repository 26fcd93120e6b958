/* SPDX-License-Identifier: MIT */
/*
 * genexpr: a lazy filter over 0..9999 finds the number with x*x == (x-3)*(x+4).
 *
 * A range and a filter are two stages in this frame; nothing is computed beyond what is asked for.
 * Type: genexpr
 */
#include "runtime/examples/generators.h"

static int is_solution(void *value, void *arg) {
    (void)arg;
    intptr_t x = (intptr_t)value;
    return x * x == (x - 3) * (x + 4);
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a lazy filter over the numbers below 10000");
    struct bnx_iter_stage range;
    struct bnx_iter_stage filter;
    struct bnx_iter *numbers = bnx_iter_range(&range, 0, 10000, 1);
    BNX_FOR_EACH(value, bnx_iter_filter(&filter, numbers, is_solution, NULL)) {
        printf("%d\n", (int)(intptr_t)value);
    }
    return 0;
}
