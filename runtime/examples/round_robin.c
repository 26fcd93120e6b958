/* SPDX-License-Identifier: MIT */
/*
 * round_robin: a scheduler in forty lines, made of nothing but generators that yield in turn.
 *
 * First three counters side by side; then searches for Lucas numbers of 6, 7 and 9 digits, and one
 * for a number that is not there, which fails. Results and errors are kept by task number.
 * Type: round_robin
 */
#include "runtime/examples/generators.h"

#define TASKS_MAX 8

/* ---- The scheduler ---- */

struct scheduler {
    struct bnx_gen *tasks[TASKS_MAX]; /* by number; NULL once it has ended */
    intptr_t results[TASKS_MAX];      /* of those that have finished */
    int errors[TASKS_MAX];            /* < 0: of those that have failed */
    int queue[TASKS_MAX];             /* numbers of those that still run, in turn */
    int queue_count;
    int task_count;
    int is_verbose;
};

static void add(struct scheduler *self, bnx_gen_fn fn, intptr_t arg) {
    self->tasks[self->task_count] = bnx_gen_make(fn, (void *)arg);
    self->queue[self->queue_count++] = self->task_count++;
}

/* Runs a task up to its next yield. Returns whether it has one more turn. */
static int run_turn(struct scheduler *self, int id) {
    if (self->is_verbose) {
        printf("Running task %d ...", id);
    }
    int result = bnx_gen_next(self->tasks[id], NULL);
    const char *what = "now yielded";
    if (result < 0) {
        self->errors[id] = result;
        what = "failed";
    } else if (result == 0) {
        void *value = NULL;
        bnx_must(bnx_gen_result(self->tasks[id], &value), "bnx_gen_result");
        self->results[id] = (intptr_t)value;
        what = "completed with result:";
    }
    if (self->is_verbose && result == 0) {
        printf("%s %ld\n", what, (long)self->results[id]);
    } else if (self->is_verbose) {
        printf("%s\n", what);
    }
    return result > 0;
}

static void run(struct scheduler *self) {
    while (self->queue_count > 0) {
        int id = self->queue[0];
        self->queue_count--;
        memmove(self->queue, self->queue + 1, sizeof(int) * (size_t)self->queue_count);
        if (run_turn(self, id)) {
            self->queue[self->queue_count++] = id;
        } else {
            bnx_gen_destroy(self->tasks[id]);
        }
    }
}

/* ---- Tasks ---- */

static int countdown(struct bnx_gen *gen, void *arg) {
    for (intptr_t n = (intptr_t)arg; n > 0; n--) {
        printf("T-minus %d\n", (int)n);
        int error = bnx_gen_yield(gen, NULL, NULL);
        if (error < 0) {
            return error;
        }
    }
    printf("Blast off!\n");
    return 0;
}

static int countup(struct bnx_gen *gen, void *arg) {
    for (intptr_t n = 0; n < (intptr_t)arg; n++) {
        printf("Counting up %d\n", (int)n);
        int error = bnx_gen_yield(gen, NULL, NULL);
        if (error < 0) {
            return error;
        }
    }
    return 0;
}

static int digits(intptr_t number) {
    int count = 1;
    while (number >= 10) {
        number /= 10;
        count++;
    }
    return count;
}

/* The first Lucas number with so many digits, below a million million. One turn for each that is
 * none. */
static int search(struct bnx_gen *gen, void *arg) {
    intptr_t a = 2;
    intptr_t b = 1;
    while (digits(a) <= 12) {
        if (digits(a) == (intptr_t)arg) {
            bnx_gen_return(gen, (void *)a);
            return 0;
        }
        int error = bnx_gen_yield(gen, NULL, NULL);
        if (error < 0) {
            return error;
        }
        intptr_t next = a + b;
        a = b;
        b = next;
    }
    return -ENOENT;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a scheduler made of generators, round robin");
    struct scheduler counters = {0};
    add(&counters, countdown, 10);
    add(&counters, countdown, 5);
    add(&counters, countup, 15);
    run(&counters);

    struct scheduler searches = {.is_verbose = 1};
    add(&searches, search, 6);
    add(&searches, search, 7);
    add(&searches, search, 9);
    add(&searches, search, 30);
    run(&searches);
    for (int id = 0; id < searches.task_count; id++) {
        if (searches.errors[id] < 0) {
            printf("task %d: not found\n", id);
        } else {
            printf("task %d: %ld\n", id, (long)searches.results[id]);
        }
    }
    return 0;
}
