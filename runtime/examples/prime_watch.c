/* SPDX-License-Identifier: MIT */
/*
 * prime_watch: two generators take turns: one searches for Lucas numbers that are prime, by trial
 * divisions with a yield after each; the other prints a message every 0.25 s.
 *
 * Sleep is built of what is there: look at a clock, and yield until it is late enough. The clock is
 * the program's own: a turn of the search counts as 5 ms. So the messages always come at the same
 * places. With --real the clock is the machine's, and each turn takes these 5 ms.
 * Type: prime_watch [--real]
 */
#include "runtime/examples/generators.h"

#define TURN_NS UINT64_C(5000000)
#define MESSAGE_NS UINT64_C(250000000)
#define LUCAS_MAX 10000

/* What the two share. */
struct watch {
    int is_real;
    uint64_t turns_ns; /* the program's own clock */
};

static uint64_t now_ns(const struct watch *watch) {
    return watch->is_real ? bnx_now() : watch->turns_ns;
}

/* Delegated to: yields until so much time has passed. arg: the clock */
static int sleep_quarter(struct bnx_gen *gen, void *arg) {
    const struct watch *watch = arg;
    uint64_t until_ns = now_ns(watch) + MESSAGE_NS;
    int error = 0;
    while (error == 0 && now_ns(watch) < until_ns) {
        error = bnx_gen_yield(gen, NULL, NULL);
    }
    return error;
}

static int repeat_message(struct bnx_gen *gen, void *arg) {
    int error = 0;
    while (error == 0) {
        printf("still searching\n");
        struct bnx_gen *sleep = bnx_gen_make(sleep_quarter, arg);
        error = bnx_gen_yield_from(gen, sleep, NULL);
        bnx_gen_destroy(sleep);
    }
    return error;
}

/* Result: NULL where the number *arg is not prime. */
static int is_prime(struct bnx_gen *gen, void *arg) {
    intptr_t number = *(const intptr_t *)arg;
    int error = 0;
    for (intptr_t divisor = 2; divisor * divisor <= number && error == 0; divisor++) {
        if (number % divisor == 0) {
            return 0;
        }
        error = bnx_gen_yield(gen, NULL, NULL);
    }
    bnx_gen_return(gen, number >= 2 ? arg : NULL);
    return error;
}

static int search(struct bnx_gen *gen, void *arg) {
    (void)arg;
    intptr_t a = 2;
    intptr_t b = 1;
    while (a < LUCAS_MAX) {
        void *found = NULL;
        struct bnx_gen *test = bnx_gen_make(is_prime, &a);
        int error = bnx_gen_yield_from(gen, test, &found);
        bnx_gen_destroy(test);
        if (error < 0) {
            return error;
        }
        if (found != NULL) {
            printf("Found: %d\n", (int)a);
        }
        intptr_t next = a + b;
        a = b;
        b = next;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct watch watch = {.is_real = argc == 2 && strcmp(argv[1], "--real") == 0};
    bnx_help(watch.is_real ? 1 : argc, argv,
             "a search and a message by turns; --real by the machine's clock");
    struct bnx_gen *message = bnx_gen_make(repeat_message, &watch);
    struct bnx_gen *searcher = bnx_gen_make(search, NULL);
    int result = 1;
    while (result > 0) {
        bnx_must(bnx_gen_next(message, NULL), "bnx_gen_next");
        result = bnx_gen_next(searcher, NULL);
        watch.turns_ns += TURN_NS;
        if (watch.is_real) {
            bnx_must(bnx_sleep(TURN_NS), "bnx_sleep");
        }
    }
    bnx_must(result, "the search");
    bnx_gen_destroy(message);
    bnx_gen_destroy(searcher);
    return 0;
}
