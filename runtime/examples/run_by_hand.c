/* SPDX-License-Identifier: MIT */
/*
 * run_by_hand: bodies that never yield, driven by one next, without a runtime.
 *
 * The first finishes at once with the result 1; the second delegates to another one, which returns
 * 2. next says 0, finished, and bnx_gen_result has the result. Type: run_by_hand
 */
#include "runtime/examples/generators.h"

static int give_one(struct bnx_gen *gen, void *arg) {
    (void)arg;
    bnx_gen_return(gen, (void *)(intptr_t)1);
    return 0;
}

static int give_two(struct bnx_gen *gen, void *arg) {
    (void)arg;
    bnx_gen_return(gen, (void *)(intptr_t)2);
    return 0;
}

static int call_another(struct bnx_gen *gen, void *arg) {
    (void)arg;
    void *result = NULL;
    struct bnx_gen *inner = bnx_gen_make(give_two, NULL);
    int error = bnx_gen_yield_from(gen, inner, &result);
    bnx_gen_destroy(inner);
    bnx_gen_return(gen, result);
    return error;
}

static void run(bnx_gen_fn fn) {
    struct bnx_gen *gen = bnx_gen_make(fn, NULL);
    void *value = NULL;
    void *result = NULL;
    if (bnx_gen_next(gen, &value) == 0 && bnx_gen_result(gen, &result) == 0) {
        printf("%d\n", (int)(intptr_t)result);
    }
    bnx_gen_destroy(gen);
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "generators that only have a result, driven by hand");
    run(give_one);
    run(call_another);
    return 0;
}
