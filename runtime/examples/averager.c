/* SPDX-License-Identifier: MIT */
/*
 * averager: numbers are sent in, a count and an average come out as the result; then four groups of
 * them through one grouper, which delegates each group to a fresh averager.
 *
 * NULL ends a group. The report is sorted by key. Type: averager
 */
#include "runtime/examples/generators.h"

struct result {
    int count;
    double average;
};

/* Takes numbers until NULL comes. Its result is a struct result: *arg. */
static int averager(struct bnx_gen *gen, void *arg) {
    struct result *result = arg;
    double total = 0;
    *result = (struct result){0, 0};
    for (;;) {
        void *term = NULL;
        int error = bnx_gen_yield(gen, NULL, &term);
        if (error < 0) {
            return error;
        }
        if (term == NULL) {
            break;
        }
        total += *(const double *)term;
        result->count++;
        result->average = total / result->count;
    }
    bnx_gen_return(gen, result);
    return 0;
}

/* Delegates to an averager, then to the next one, and so on; writes each result to *arg. */
static int grouper(struct bnx_gen *gen, void *arg) {
    for (;;) {
        struct result result;
        void *got = NULL;
        struct bnx_gen *inner = bnx_gen_make(averager, &result);
        int error = bnx_gen_yield_from(gen, inner, &got);
        bnx_gen_destroy(inner);
        if (error < 0) {
            return error;
        }
        *(struct result *)arg = *(const struct result *)got;
    }
}

struct group {
    const char *key; /* "girls;kg" */
    const double *values;
    size_t count;
    struct result result;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GROUP(key, array)                                                                          \
    {                                                                                              \
        key, array, COUNT(array), {                                                                \
            0, 0                                                                                   \
        }                                                                                          \
    }

static const double girls_kg[] = {40.9, 38.5, 44.3, 42.2, 45.2, 41.7, 44.5, 38.0, 40.6, 44.5};
static const double girls_m[] = {1.6, 1.51, 1.4, 1.3, 1.41, 1.39, 1.33, 1.46, 1.45, 1.43};
static const double boys_kg[] = {39.0, 40.8, 43.2, 40.8, 43.1, 38.6, 41.4, 40.6, 36.3};
static const double boys_m[] = {1.38, 1.5, 1.32, 1.25, 1.37, 1.48, 1.25, 1.49, 1.46};

static int compare(const void *a, const void *b) {
    return strcmp(((const struct group *)a)->key, ((const struct group *)b)->key);
}

static void report(struct group *groups, size_t count) {
    qsort(groups, count, sizeof(groups[0]), compare);
    for (size_t i = 0; i < count; i++) {
        const char *unit = strchr(groups[i].key, ';');
        int group_chars = (int)(unit - groups[i].key);
        printf("%2d %-5.*s averaging %.2f%s\n", groups[i].result.count, group_chars, groups[i].key,
               groups[i].result.average, unit + 1);
    }
}

static void one_average(void) {
    double values[] = {10, 30, 6.5};
    struct result result;
    struct bnx_gen *gen = bnx_gen_make(averager, &result);
    bnx_must(bnx_gen_next(gen, NULL), "bnx_gen_next");
    for (size_t i = 0; i < COUNT(values); i++) {
        bnx_must(bnx_gen_send(gen, &values[i], NULL), "bnx_gen_send");
    }
    bnx_must(bnx_gen_send(gen, NULL, NULL), "bnx_gen_send");
    void *got = NULL;
    bnx_must(bnx_gen_result(gen, &got), "bnx_gen_result");
    const struct result *average = got;
    printf("count=%d, average=%.1f\n", average->count, average->average);
    bnx_gen_destroy(gen);
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "running averages, and averages of groups by delegation");
    one_average();
    struct group groups[] = {GROUP("girls;kg", girls_kg), GROUP("girls;m", girls_m),
                             GROUP("boys;kg", boys_kg), GROUP("boys;m", boys_m)};
    struct result last;
    struct bnx_gen *gen = bnx_gen_make(grouper, &last);
    bnx_must(bnx_gen_next(gen, NULL), "bnx_gen_next");
    for (size_t i = 0; i < COUNT(groups); i++) {
        for (size_t k = 0; k < groups[i].count; k++) {
            void *value = (void *)(uintptr_t)&groups[i].values[k];
            bnx_must(bnx_gen_send(gen, value, NULL), "bnx_gen_send");
        }
        bnx_must(bnx_gen_send(gen, NULL, NULL), "bnx_gen_send"); /* ends the group */
        groups[i].result = last;
    }
    bnx_gen_destroy(gen);
    report(groups, COUNT(groups));
    return 0;
}
