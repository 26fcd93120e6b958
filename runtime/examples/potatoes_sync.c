/* SPDX-License-Identifier: MIT */
/*
 * potatoes_sync: two ways to take a potato from an empty shelf that do not work. See potatoes for
 * one that does.
 *
 * The first asks the shelf again and again. Nobody else has a turn meanwhile, so it stays empty.
 * The second is a generator that asks for more when the shelf is empty, driven by hand; but it asks
 * with a sleep that blocks the thread, and every other task of the worker with it. It gets its
 * potato; a task that wanted to say something in between did not have its turn; and the runtime
 * complains, through its log callback, about the one who slept.
 * Type: potatoes_sync
 */
#include "runtime/examples/generators.h"

#include <pthread.h>
#include <time.h>

#define POLLS_MAX 3
#define NAP_NS 50000000 /* usually it is noticed in the first one */
#define NAPS_MAX 200

struct shelf {
    int potatoes;
};

/* ---- The synchronous take ---- */

/* Returns 0, or -EAGAIN: it has given up. */
static int take(struct shelf *shelf) {
    for (int poll = 1; poll <= POLLS_MAX; poll++) {
        if (shelf->potatoes > 0) {
            shelf->potatoes--;
            return 0;
        }
        printf("poll %d: the shelf is empty\n", poll);
    }
    printf("gives up after %d polls: nobody can fill the shelf while this function runs\n",
           POLLS_MAX);
    return -EAGAIN;
}

/* ---- The port, driven by hand, that blocks ---- */

/* What the stall detector has said. Its thread writes it, the sleeper reads it. */
static struct {
    pthread_mutex_t mutex;
    char line[256];
} report = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void keep_report(enum bnx_log_level level, const char *line, void *arg) {
    (void)level;
    (void)arg;
    if (strstr(line, "stalled") != NULL) {
        pthread_mutex_lock(&report.mutex);
        snprintf(report.line, sizeof(report.line), "%s", line);
        pthread_mutex_unlock(&report.mutex);
    }
}

static int has_report(void) {
    pthread_mutex_lock(&report.mutex);
    int has = report.line[0] != '\0';
    pthread_mutex_unlock(&report.mutex);
    return has;
}

/*
 * Blocks the thread, so that no task of this worker runs meanwhile: bnx_sleep would let them. The
 * runtime sends a signal to who blocks its worker: a sleep that it cuts short is resumed.
 */
static void nap(void) {
    struct timespec left = {0, NAP_NS};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) { /* ends: less is left each time */
    }
}

static void ask_for_potatoes(struct shelf *shelf) {
    for (int i = 0; i < NAPS_MAX && !has_report(); i++) {
        nap();
    }
    shelf->potatoes += 1;
}

static int take_port(struct bnx_gen *gen, void *arg) {
    struct shelf *shelf = arg;
    for (;;) { /* ends: the generator is closed */
        if (shelf->potatoes == 0) {
            ask_for_potatoes(shelf);
        }
        shelf->potatoes--;
        int error = bnx_gen_yield(gen, "a potato", NULL);
        if (error < 0) {
            return error;
        }
    }
}

static int drive_by_hand(void *arg) {
    int *has_had_turn = arg;
    struct shelf shelf = {0};
    struct bnx_gen *gen = bnx_gen_make(take_port, &shelf);
    void *potato = NULL;
    if (bnx_gen_next(gen, &potato) > 0) {
        printf("got %s; the other task %s\n", (const char *)potato,
               *has_had_turn ? "had its turn" : "had no turn meanwhile");
    }
    bnx_gen_destroy(gen);
    return 0;
}

static int want_turn(void *arg) {
    int *has_had_turn = arg;
    *has_had_turn = 1;
    printf("the other task has its turn\n");
    return 0;
}

static int run(void *arg) {
    (void)arg;
    struct bnx_spawn_options options = {.name = "sleeper"};
    int has_had_turn = 0;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    error = bnx_spawn_with(&scope, &options, drive_by_hand, &has_had_turn, NULL);
    error = error < 0 ? error : bnx_spawn(&scope, want_turn, &has_had_turn);
    bnx_yield(); /* in the order in which they were spawned: to the sleeper */
    int close_error = bnx_scope_close(&scope);
    return error < 0 ? error : close_error;
}

int main(int argc, char **argv) {
    bnx_help(argc, argv, "a take that blocks: an empty shelf, and who noticed");
    struct shelf empty = {0};
    printf("synchronous:\n");
    if (take(&empty) == 0) {
        return 1;
    }
    printf("by hand:\n");
    struct bnx_options options = {.worker_count = 1, .log = keep_report};
    bnx_must(bnx_run(&options, run, NULL), "bnx_run");
    if (!has_report()) {
        fprintf(stderr, "nobody has noticed\n");
        return 1;
    }
    printf("log: %s\n", report.line);
    return 0;
}
