/* SPDX-License-Identifier: MIT */
/*
 * countdown: a generator runs when it is asked: nothing is printed before the first next.
 *
 * Next twice; a loop over a second one; a loop that breaks at 2, which closes the third; the sum of
 * a fourth. Type: countdown
 */
#include "runtime/examples/generators.h"

static int countdown(struct bnx_gen *gen, void *arg) {
    printf("Count down from %d\n", (int)(intptr_t)arg);
    for (intptr_t n = (intptr_t)arg; n > 0; n--) {
        int error = bnx_gen_yield(gen, (void *)n, NULL);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static struct bnx_gen *from(intptr_t start) {
    return bnx_gen_make(countdown, (void *)start);
}

static int add(void *sum, void *value) {
    *(intptr_t *)sum += (intptr_t)value;
    return 0;
}

static void take_two(void) {
    struct bnx_gen *gen = from(10);
    printf("created\n");
    void *value = NULL;
    for (int i = 0; i < 2 && bnx_gen_next(gen, &value) > 0; i++) {
        printf("%d\n", (int)(intptr_t)value);
    }
    bnx_gen_destroy(gen);
}

/* Prints the numbers down to `last`, and what the generator then says. */
static void loop_down_to(intptr_t last) {
    struct bnx_gen *gen = from(10);
    struct bnx_iter iter;
    BNX_FOR_EACH(value, bnx_iter_from_gen(&iter, gen)) {
        printf("%d\n", (int)(intptr_t)value);
        if ((intptr_t)value == last) {
            break;
        }
    }
    void *value = NULL;
    if (bnx_gen_next(gen, &value) == 0) {
        printf("finished\n");
    }
    bnx_gen_destroy(gen);
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a generator counts down, by next and by loops");
    take_two();
    loop_down_to(1);
    loop_down_to(2);
    struct bnx_gen *gen = from(10);
    struct bnx_iter iter;
    intptr_t sum = 0;
    bnx_must(bnx_iter_fold(bnx_iter_from_gen(&iter, gen), &sum, add), "bnx_iter_fold");
    printf("%d\n", (int)sum);
    bnx_gen_destroy(gen);
    return 0;
}
