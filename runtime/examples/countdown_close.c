/* SPDX-License-Identifier: MIT */
/*
 * countdown_close: a body that is closed at 3 is told at its yield, and cleans up.
 *
 * Type: countdown_close
 */
#include "runtime/examples/generators.h"

static int countdown(struct bnx_gen *gen, void *arg) {
    printf("Counting down from %d\n", (int)(intptr_t)arg);
    for (intptr_t n = (intptr_t)arg; n > 0; n--) {
        int error = bnx_gen_yield(gen, (void *)n, NULL);
        if (error == BNX_GEN_CLOSED) {
            printf("Only made it to %d\n", (int)n);
        }
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a generator is closed in the middle of its count");
    struct bnx_gen *gen = bnx_gen_make(countdown, (void *)(intptr_t)5);
    struct bnx_iter iter;
    BNX_FOR_EACH(value, bnx_iter_from_gen(&iter, gen)) {
        printf("%d\n", (int)(intptr_t)value);
        if ((intptr_t)value == 3) {
            break; /* closes the iterator, and so the generator */
        }
    }
    bnx_gen_destroy(gen);
    return 0;
}
