/* SPDX-License-Identifier: MIT */
/*
 * lucas_search: an endless generator, of which only as much is computed as is looked at.
 *
 * The first ten Lucas numbers, and the first with six digits. Type: lucas_search
 */
#include "runtime/examples/generators.h"

static int lucas(struct bnx_gen *gen, void *arg) {
    (void)arg;
    intptr_t a = 2;
    intptr_t b = 1;
    for (;;) {
        int error = bnx_gen_yield(gen, (void *)a, NULL);
        if (error < 0) {
            return error;
        }
        intptr_t next = a + b;
        a = b;
        b = next;
    }
}

static int has_six_digits(void *value, void *arg) {
    (void)arg;
    return (intptr_t)value >= 100000 && (intptr_t)value <= 999999;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "an endless generator of Lucas numbers, searched lazily");
    struct bnx_gen *gen = bnx_gen_make(lucas, NULL);
    struct bnx_iter iter;
    struct bnx_iter_stage take;
    BNX_FOR_EACH(value, bnx_iter_take(&take, bnx_iter_from_gen(&iter, gen), 10)) {
        printf("%d\n", (int)(intptr_t)value);
    }
    bnx_gen_destroy(gen);

    gen = bnx_gen_make(lucas, NULL);
    void *found = NULL;
    bnx_must(bnx_iter_find(bnx_iter_from_gen(&iter, gen), has_six_digits, NULL, &found),
             "bnx_iter_find");
    printf("%d\n", (int)(intptr_t)found);
    bnx_gen_destroy(gen);
    return 0;
}
