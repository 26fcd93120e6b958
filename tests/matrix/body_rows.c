/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: what runs a function of the user's, or waits for one that runs. */
#include "tests/matrix/matrix.h"

/* ---- Scopes, forks, strands, the pool ---- */

/* Pinned, so that the closer cannot run it itself. */
static int64_t scope_close(struct matrix_place *place) {
    struct bnx_scope scope;
    struct bnx_spawn_options pinned = {.flags = BNX_SPAWN_PINNED};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    int error = bnx_spawn_with(&scope, &pinned, matrix_wait_steadily_task, place, NULL);
    bool is_empty = error == -ECANCELED;
    CHECK(is_empty || error == 0);
    error = bnx_scope_close(&scope);
    return is_empty ? 0 : error;
}

/* Held by somebody who is no child: a cancelled scope takes none. */
static int64_t scope_close_held(struct matrix_place *place) {
    struct bnx_scope *scope = &place->scope;
    CHECK_EQ(bnx_scope_open(scope, NULL), 0);
    bnx_scope_hold(scope);
    bnx_store_release(&place->is_passed, 1);
    return bnx_scope_close(scope);
}

static void scope_release(struct matrix_place *place) {
    CHECK_EQ(bnx_load_acquire(&place->is_passed), 1);
    bnx_scope_release(&place->scope);
}

static int timeout_fn(void *arg) {
    return matrix_wait(arg);
}

static int64_t timeout(struct matrix_place *place) {
    return bnx_timeout(3600 * BNX_NS_PER_S, timeout_fn, place);
}

static int64_t timeout_comes(struct matrix_place *place) {
    int error = bnx_timeout(place->wait_ns, timeout_fn, place);
    return error == -ETIMEDOUT ? 1 : error;
}

static int64_t fork_join(struct matrix_place *place) {
    struct bnx_fork fork;
    CHECK_EQ(bnx_fork(&fork, matrix_wait_steadily_task, place), 0);
    return bnx_fork_join(&fork);
}

static void wait_piece(size_t begin, size_t end, void *arg) {
    (void)begin;
    (void)end;
    (void)matrix_wait_steadily(arg);
}

static int64_t parallel_for(struct matrix_place *place) {
    return bnx_parallel_for(0, 4, 1, wait_piece, place);
}

static int64_t strand_run(struct matrix_place *place) {
    return bnx_strand_run(&place->strand, matrix_wait_task, place);
}

static int block_thread(void *arg) {
    struct matrix_place *place = arg;
    sched_wait_post(&place->posts, 1);
    return 3;
}

static int64_t offload(struct matrix_place *place) {
    return bnx_offload(block_thread, place);
}

static void post(struct matrix_place *place) {
    sched_post(&place->posts);
}

/* ---- What does not wait, or for nobody ---- */

static int64_t yield(struct matrix_place *place) {
    (void)place;
    bnx_yield();
    return 0;
}

static int64_t checkpoint(struct matrix_place *place) {
    (void)place;
    return bnx_checkpoint();
}

static int64_t progress_finish(struct matrix_place *place) {
    struct bnx_progress progress;
    struct bnx_progress_options options = {.runtime = place->runtime};
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_progress_open(&progress, fd, &options), 0);
    bnx_progress_add(&progress, 1);
    bnx_progress_finish(&progress);
    CHECK_EQ(close(fd), 0);
    return 0;
}

/* ---- Generators whose bodies wait ---- */

/* Waits before the first yield, and after it, whatever made it go on. */
static int gen_body(struct bnx_gen *gen, void *arg) {
    struct matrix_place *place = arg;
    int error = matrix_wait(place);
    while (error == 0 && !place->is_ended) { /* ends: it is closed, or its wait refused */
        error = bnx_gen_yield(gen, place, NULL);
        if (error == BNX_GEN_CLOSED) {
            place->is_ended = true;
        }
        bnx_event_set(&place->is_begun);
        error = matrix_wait(place);
    }
    return error;
}

static void gen_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_gen_create(&place->gen, gen_body, place, NULL), 0);
}

/* Stands at its first yield, and waits when it goes on. */
static void gen_prepare_begun(struct matrix_place *place) {
    gen_prepare(place);
    bnx_event_set(&place->event);
    CHECK_EQ(bnx_gen_next(place->gen, NULL), 1);
    bnx_event_clear(&place->event);
}

/* The party has let it pass by now. */
static void gen_end(struct matrix_place *place) {
    bnx_gen_destroy(place->gen);
}

static int64_t gen_next(struct matrix_place *place) {
    void *value = NULL;
    int result = bnx_gen_next(place->gen, &value);
    CHECK(value == (result == 1 ? place : NULL));
    return result;
}

static int64_t gen_send(struct matrix_place *place) {
    return bnx_gen_send(place->gen, place, NULL);
}

static int64_t gen_throw(struct matrix_place *place) {
    return bnx_gen_throw(place->gen, -EDOM, NULL);
}

static int64_t gen_close(struct matrix_place *place) {
    return bnx_gen_close(place->gen);
}

static int64_t gen_destroy(struct matrix_place *place) {
    bnx_gen_destroy(place->gen);
    return 0;
}

static int64_t gen_create_primed(struct matrix_place *place) {
    struct bnx_gen_options options = {.flags = BNX_GEN_PRIMED};
    struct bnx_gen *gen = NULL;
    int error = bnx_gen_create(&gen, gen_body, place, &options);
    CHECK((gen != NULL) == (error == 0));
    place->gen = gen;
    return error;
}

static int outer_body(struct bnx_gen *gen, void *arg) {
    struct matrix_place *place = arg;
    return bnx_gen_yield_from(gen, place->inner, NULL);
}

static void gen_prepare_outer(struct matrix_place *place) {
    CHECK_EQ(bnx_gen_create(&place->inner, gen_body, place, NULL), 0);
    CHECK_EQ(bnx_gen_create(&place->gen, outer_body, place, NULL), 0);
}

static void gen_end_outer(struct matrix_place *place) {
    bnx_gen_destroy(place->gen);
    bnx_gen_destroy(place->inner);
}

/* ---- An iterator whose close waits ---- */

static void close_waits(struct bnx_iter *iter) {
    (void)matrix_wait(iter->ctx);
}

static int64_t iter_close(struct matrix_place *place) {
    struct bnx_iter iter = {.close = close_waits, .ctx = place};
    bnx_iter_close(&iter);
    return 0;
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_scope_close", "a child waits", NULL, NULL, scope_close, matrix_set, NULL,
     MATRIX_SAME(0), MATRIX_STEADY | MATRIX_TASK_ONLY},
    {"bnx_scope_close", "somebody holds it", NULL, NULL, scope_close_held, scope_release, NULL,
     MATRIX_SAME(0), MATRIX_STEADY | MATRIX_TASK_ONLY | MATRIX_MEETING},
    {"bnx_timeout", "fn waits", NULL, NULL, timeout, matrix_set, NULL,
     MATRIX_REFUSED_INSIDE(0), 0},
    {"bnx_timeout", "it comes", NULL, NULL, timeout_comes, NULL, NULL,
     MATRIX_REFUSED_INSIDE(1), MATRIX_TIMED},
    {"bnx_fork_join", "the fork waits", NULL, NULL, fork_join, matrix_set, NULL,
     MATRIX_SAME(0), MATRIX_STEADY | MATRIX_TASK_ONLY},
    {"bnx_parallel_for", "its pieces wait", NULL, NULL, parallel_for, matrix_set, NULL,
     MATRIX_SAME(0), MATRIX_STEADY},
    {"bnx_strand_run", "fn waits", NULL, NULL, strand_run, matrix_set, NULL,
     MATRIX_REFUSED_INSIDE(0), 0},
    {"bnx_offload", "fn blocks", NULL, NULL, offload, post, NULL,
     {3, -ECANCELED, -ECANCELED, 3, 3, 3, 3, 3, 3, 3}, MATRIX_STEADY | MATRIX_OFFLOADS},
    {"bnx_yield", "others run", NULL, NULL, yield, NULL, NULL,
     MATRIX_SAME(0), MATRIX_NO_EVENT},
    {"bnx_checkpoint", "others run", NULL, NULL, checkpoint, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_NO_EVENT},
    {"bnx_progress_finish", "the last line is written", NULL, NULL, progress_finish, NULL, NULL,
     MATRIX_SAME(0), MATRIX_NO_EVENT},
    {"bnx_gen_next", "its body waits", gen_prepare, NULL, gen_next, matrix_set, gen_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_gen_send", "its body waits", gen_prepare_begun, NULL, gen_send, matrix_set, gen_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_gen_throw", "its body waits", gen_prepare_begun, NULL, gen_throw, matrix_set, gen_end,
     MATRIX_REFUSED(1), 0},
    {"bnx_gen_close", "its body waits", gen_prepare_begun, NULL, gen_close, matrix_set, gen_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_gen_destroy", "its body waits", gen_prepare_begun, NULL, gen_destroy, matrix_set, NULL,
     MATRIX_SAME(0), 0},
    {"bnx_gen_create", "primed, its body waits", NULL, NULL, gen_create_primed, matrix_set, gen_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_gen_yield_from", "the inner body waits", gen_prepare_outer, NULL, gen_next, matrix_set,
     gen_end_outer, MATRIX_REFUSED(1), 0},
    {"bnx_iter_close", "its close waits", NULL, NULL, iter_close, matrix_set, NULL,
     MATRIX_SAME(0), 0},
};
/* clang-format on */

const struct matrix_part matrix_body = {rows, BNX_ARRAY_COUNT(rows)};
