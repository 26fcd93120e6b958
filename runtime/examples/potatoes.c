/* SPDX-License-Identifier: MIT */
/*
 * potatoes: two buyers at one shelf. Each takes through an asynchronous generator; who finds the
 * shelf empty asks for 1 to 10 more, which come after a while, and the other one goes on meanwhile.
 * What the first buyer takes he calls a potato, the second a tomato; both go into one basket.
 *
 * Between two waits a buyer looks, takes and counts, in plain variables. What keeps the other one
 * out is the guard: a strand, on which never two tasks run at the same time; or a mutex; or, in the
 * port that is wrong on more than one worker, nothing. On a single-threaded event loop nothing is
 * enough; here ThreadSanitizer tells.
 * Type: potatoes
 *       potatoes --shelf 2 --take 10 --refill 3 --guard mutex
 */
#include <bonxie/bonxie.h>

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUYERS 2
#define COUNT_MAX 1000000

enum guard { GUARD_STRAND, GUARD_MUTEX, GUARD_NONE };

static const char *const guard_names[] = {"strand", "mutex", "none"};
static const char *const words[BUYERS] = {"potato", "tomato"};

/* The command line. */
struct order {
    uint32_t worker_count; /* 0 = all CPUs */
    int shelf;             /* on it at the begin */
    int take;              /* each buyer's */
    int refill;            /* so many come; 0 = 1 to 10 */
    unsigned seed;         /* of the random numbers */
    double seconds;        /* the longest time until they come */
    enum guard guard;
};

/* Plain: the guard orders it, or nothing does. */
struct shop {
    struct order order;
    struct bnx_strand strand;
    struct bnx_mutex mutex;
    int first;          /* the number of the next on the shelf */
    int end;            /* numbers below that have come */
    int basket[BUYERS]; /* what each has put into it */
};

struct buyer {
    struct shop *shop;
    int index;
    unsigned seed; /* of its random numbers */
};

/* Lets the others in while it sleeps, unless the guard is a mutex, which it keeps. */
static int ask_for_more(struct buyer *self) {
    struct shop *shop = self->shop;
    double share = (double)rand_r(&self->seed) / RAND_MAX;
    int count = shop->order.refill != 0 ? shop->order.refill : 1 + rand_r(&self->seed) % 10;
    int error = bnx_sleep((uint64_t)(share * shop->order.seconds * 1e9));
    if (error == 0) {
        shop->end += count;
    }
    return error;
}

/* Takes one. Asks until there is one: after a wait the other buyer may have been faster. */
static int take_guarded(struct buyer *self, int *out_number) {
    struct shop *shop = self->shop;
    while (shop->first >= shop->end) { /* ends: more come */
        int error = ask_for_more(self);
        if (error < 0) {
            return error;
        }
    }
    *out_number = ++shop->first;
    shop->basket[self->index]++;
    return 0;
}

static int take(struct buyer *self, int *out_number) {
    struct shop *shop = self->shop;
    if (shop->order.guard != GUARD_MUTEX) {
        return take_guarded(self, out_number);
    }
    int error = bnx_mutex_lock(&shop->mutex);
    if (error == 0) {
        error = take_guarded(self, out_number);
        bnx_mutex_unlock(&shop->mutex);
    }
    return error;
}

/* The asynchronous generator: its body sleeps, and whoever drives it sleeps with it. */
static int take_many(struct bnx_gen *gen, void *arg) {
    struct buyer *self = arg;
    for (int i = 0; i < self->shop->order.take; i++) {
        int number = 0;
        int error = take(self, &number);
        error = error < 0 ? error : bnx_gen_yield(gen, (void *)(intptr_t)number, NULL);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static int buy(void *arg) {
    struct buyer *self = arg;
    struct bnx_gen *gen = NULL;
    struct bnx_iter iter;
    int error = bnx_gen_create(&gen, take_many, self, NULL);
    if (error < 0) {
        return error;
    }
    BNX_FOR_EACH_OR(number, bnx_iter_from_gen(&iter, gen), &error) {
        printf("Got %s %d\n", words[self->index], (int)(intptr_t)number);
        bnx_yield(); /* the next customer, please */
    }
    bnx_gen_destroy(gen);
    return error;
}

static int open_shop(void *arg) {
    struct shop *shop = arg;
    struct buyer buyers[BUYERS];
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (int i = 0; i < BUYERS && error == 0; i++) {
        buyers[i] = (struct buyer){shop, i, shop->order.seed + (unsigned)i};
        error = shop->order.guard == GUARD_STRAND
                    ? bnx_strand_spawn(&shop->strand, &scope, buy, &buyers[i])
                    : bnx_spawn(&scope, buy, &buyers[i]);
    }
    int close_error = bnx_scope_close(&scope);
    return error < 0 ? error : close_error;
}

static int run(void *arg) {
    struct shop *shop = arg;
    int error = open_shop(shop);
    if (error == 0) {
        printf("%d came, %d potatoes and %d tomatoes are in the basket, %d left\n", shop->end,
               shop->basket[0], shop->basket[1], shop->end - shop->first);
    }
    return error;
}

/* ---- The command line ---- */

static const struct option flags[] = {
    {"shelf", required_argument, NULL, 's'},
    {"take", required_argument, NULL, 't'},
    {"refill", required_argument, NULL, 'r'},
    {"guard", required_argument, NULL, 'g'},
    {"seconds", required_argument, NULL, 'd'},
    {"seed", required_argument, NULL, 'x'},
    {"workers", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void help_print(const char *program) {
    printf("%s: two buyers at one shelf that is empty now and then\n\nFlags:\n"
           "  --shelf N\n      So many are on it at the begin; 5 is the default.\n"
           "  --take N\n      So many each buyer takes; 50 is the default.\n"
           "  --refill N\n      So many come when it is empty; 0, the default, is 1 to 10.\n"
           "  --guard strand|mutex|none\n      What keeps the other buyer out; strand is the\n"
           "      default, none is wrong.\n"
           "  --seconds S\n      The longest time until more come; 1 is the default.\n"
           "  --seed N\n      Of the random numbers; 1 is the default.\n"
           "  --workers N\n      OS threads that run tasks; 0, the default, is all CPUs.\n"
           "  --help\n      Print this and exit.\n",
           program);
}

/* A decimal number without a sign. */
static bool number_parse(const char *text, double max, double *out_number) {
    char *end = NULL;
    double number = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(number <= max)) {
        return false;
    }
    *out_number = number;
    return true;
}

static bool guard_parse(const char *text, enum guard *out_guard) {
    for (int i = GUARD_STRAND; i <= GUARD_NONE; i++) {
        if (strcmp(text, guard_names[i]) == 0) {
            *out_guard = (enum guard)i;
            return true;
        }
    }
    return false;
}

static bool flag_apply(struct order *order, int flag, const char *text) {
    double number = 0;
    if (flag == 'g') {
        return guard_parse(text, &order->guard);
    }
    if (!number_parse(text, COUNT_MAX, &number)) {
        return false;
    }
    switch (flag) {
    case 's':
        order->shelf = (int)number;
        break;
    case 't':
        order->take = (int)number;
        break;
    case 'r':
        order->refill = (int)number;
        break;
    case 'x':
        order->seed = (unsigned)number;
        break;
    case 'w':
        order->worker_count = (uint32_t)number;
        break;
    default:
        order->seconds = number;
        break;
    }
    return true;
}

/* Returns 0; 1 after the help; -EINVAL after a message. */
static int parse(int argc, char **argv, struct order *order) {
    int flag;
    int index = 0;
    while ((flag = getopt_long(argc, argv, "", flags, &index)) != -1) { /* ends: argc arguments */
        if (flag == 'h') {
            help_print(argv[0]);
            return 1;
        }
        if (flag == '?') {
            return -EINVAL; /* getopt_long has said why */
        }
        if (!flag_apply(order, flag, optarg)) {
            fprintf(stderr, "%s: --%s: cannot be %s\n", argv[0], flags[index].name, optarg);
            return -EINVAL;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[optind]);
        return -EINVAL;
    }
    return 0;
}

int main(int argc, char **argv) {
    struct shop shop = {.order = {.shelf = 5, .take = 50, .seed = 1, .seconds = 1}};
    int parsed = parse(argc, argv, &shop.order);
    if (parsed != 0) {
        return parsed < 0 ? 2 : 0;
    }
    shop.end = shop.order.shelf;
    struct bnx_options options = {.worker_count = shop.order.worker_count};
    int result = bnx_main_with(&options, run, &shop);
    return result > 0 ? result : result < 0; /* 130 after Ctrl-C */
}
