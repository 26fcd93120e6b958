/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: locks, counters, flags, and time. */
#include "tests/matrix/matrix.h"

/* ---- Mutex and condition variable ---- */

static void mutex_hold(struct matrix_place *place) {
    CHECK_EQ(bnx_mutex_lock(&place->mutex), 0);
}

static int64_t mutex_lock(struct matrix_place *place) {
    int error = bnx_mutex_lock(&place->mutex);
    if (error == 0) {
        bnx_mutex_unlock(&place->mutex);
    }
    return error;
}

static void mutex_pass(struct matrix_place *place) {
    bnx_mutex_unlock(&place->mutex);
}

/* One that is not let pass waits on the condition in vain. */
static int64_t cond_wait(struct matrix_place *place) {
    CHECK_EQ(bnx_mutex_try_lock(&place->mutex), 0);
    int error = 0;
    do { /* ends when it is let pass or cancelled */
        error = bnx_cond_wait(&place->cond, &place->mutex);
        CHECK_EQ(bnx_mutex_try_lock(&place->mutex), -EBUSY);
    } while (error == 0 && bnx_load_relaxed(&place->is_passed) == 0); /* under the mutex */
    bnx_mutex_unlock(&place->mutex);
    return error;
}

/* Without the mutex: the caller may be between the unlock and the end of its wait. */
static void cond_pass(struct matrix_place *place) {
    bnx_store_release(&place->is_passed, 1);
    bnx_cond_signal(&place->cond);
}

/* ---- Semaphore, event, once ---- */

static int64_t sem_acquire(struct matrix_place *place) {
    return bnx_sem_acquire(&place->sem);
}

static int64_t sem_acquire_n(struct matrix_place *place) {
    return bnx_sem_acquire_n(&place->sem, 3);
}

static void sem_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_sem_release_n(&place->sem, 3), 0);
}

static int64_t event_wait(struct matrix_place *place) {
    return bnx_event_wait(&place->event);
}

static int once_fn(void *arg) {
    struct matrix_place *place = arg;
    bnx_event_set(&place->is_begun);
    return matrix_wait(place);
}

static int run_once(void *arg) {
    struct matrix_place *place = arg;
    CHECK_EQ(bnx_once_run(&place->once, once_fn, place), 0);
    return 0;
}

static void once_prepare(struct matrix_place *place) {
    matrix_help(place, run_once);
    CHECK_EQ(bnx_event_wait(&place->is_begun), 0);
}

static int64_t once_run(struct matrix_place *place) {
    return bnx_once_run(&place->once, once_fn, place);
}

/* ---- Many readers, one writer; rounds; counts; tokens ---- */

static void rwlock_hold_write(struct matrix_place *place) {
    CHECK_EQ(bnx_rwlock_try_write_lock(&place->rwlock), 0);
}

static int64_t rwlock_read_lock(struct matrix_place *place) {
    int error = bnx_rwlock_read_lock(&place->rwlock);
    if (error == 0) {
        bnx_rwlock_read_unlock(&place->rwlock);
    }
    return error;
}

static void rwlock_pass_write(struct matrix_place *place) {
    bnx_rwlock_write_unlock(&place->rwlock);
}

static void rwlock_hold_read(struct matrix_place *place) {
    CHECK_EQ(bnx_rwlock_try_read_lock(&place->rwlock), 0);
}

static int64_t rwlock_write_lock(struct matrix_place *place) {
    int error = bnx_rwlock_write_lock(&place->rwlock);
    if (error == 0) {
        bnx_rwlock_write_unlock(&place->rwlock);
    }
    return error;
}

static void rwlock_pass_read(struct matrix_place *place) {
    bnx_rwlock_read_unlock(&place->rwlock);
}

static void rwlock_end(struct matrix_place *place) {
    rwlock_hold_write(place);
    rwlock_pass_write(place);
}

static void barrier_prepare(struct matrix_place *place) {
    bnx_barrier_init(&place->barrier, 2);
}

static int64_t barrier_wait(struct matrix_place *place) {
    return bnx_barrier_wait(&place->barrier);
}

static void barrier_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_barrier_wait(&place->barrier), 1);
}

static void waitgroup_prepare(struct matrix_place *place) {
    bnx_waitgroup_add(&place->group, 1);
}

static int64_t waitgroup_wait(struct matrix_place *place) {
    return bnx_waitgroup_wait(&place->group);
}

static void waitgroup_pass(struct matrix_place *place) {
    bnx_waitgroup_done(&place->group);
}

static void limiter_prepare(struct matrix_place *place) {
    bnx_limiter_init(&place->limiter, 1);
    CHECK_EQ(bnx_limiter_try_acquire_for(&place->limiter, &place->sem), 0);
}

static int64_t limiter_acquire(struct matrix_place *place) {
    int error = bnx_limiter_acquire(&place->limiter);
    CHECK(error != 0 || bnx_limiter_release(&place->limiter) == 0);
    return error;
}

static int64_t limiter_acquire_for(struct matrix_place *place) {
    int error = bnx_limiter_acquire_for(&place->limiter, &place->event);
    CHECK(error != 0 || bnx_limiter_release_for(&place->limiter, &place->event) == 0);
    return error;
}

static void limiter_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_limiter_release_for(&place->limiter, &place->sem), 0);
}

static void limiter_end(struct matrix_place *place) {
    struct bnx_limiter_statistics statistics;
    bnx_limiter_statistics_get(&place->limiter, &statistics);
    CHECK_EQ(statistics.borrowed, 0);
    CHECK_EQ(statistics.waiting, 0);
    bnx_limiter_fini(&place->limiter);
}

/* ---- Time ---- */

static int64_t sleep_for(struct matrix_place *place) {
    return bnx_sleep(place->wait_ns);
}

static int64_t sleep_until(struct matrix_place *place) {
    return bnx_sleep_until(place->wait_ns == BNX_NEVER_NS ? BNX_NEVER_NS
                                                          : bnx_now() + place->wait_ns);
}

static int64_t ticker_next(struct matrix_place *place) {
    struct bnx_ticker ticker;
    CHECK_EQ(bnx_ticker_init(&ticker, place->wait_ns, BNX_TICKER_SKIP), 0);
    return bnx_ticker_next(&ticker, NULL);
}

static void timer_prepare(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_create(&place->timer, NULL), 0);
}

static int64_t timer_wait(struct matrix_place *place) {
    return bnx_timer_wait(place->timer);
}

static void timer_pass(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_start(place->timer, 1), 0);
}

static void timer_end(struct matrix_place *place) {
    CHECK_EQ(bnx_timer_wait(place->timer), 0);
    bnx_timer_destroy(place->timer);
}

static void timer_fn(struct bnx_timer *timer, void *arg) {
    struct matrix_place *place = arg;
    (void)timer;
    bnx_event_set(&place->is_begun);
    CHECK_EQ(bnx_event_wait(&place->event), 0);
    bnx_store_release(&place->is_passed, 1);
}

static void timer_run(struct matrix_place *place) {
    struct bnx_timer_options options = {.fn = timer_fn, .arg = place};
    CHECK_EQ(bnx_timer_create(&place->timer, &options), 0);
    CHECK_EQ(bnx_timer_start(place->timer, 1), 0);
    CHECK_EQ(bnx_event_wait(&place->is_begun), 0);
}

static int64_t timer_cancel(struct matrix_place *place) {
    int result = bnx_timer_cancel(place->timer);
    CHECK_EQ(bnx_load_relaxed(&place->is_passed), 1); /* the callback is over */
    return result;
}

static void timer_destroy_only(struct matrix_place *place) {
    bnx_timer_destroy(place->timer);
}

static int64_t timer_destroy(struct matrix_place *place) {
    bnx_timer_destroy(place->timer);
    CHECK_EQ(bnx_load_relaxed(&place->is_passed), 1); /* the callback is over */
    return 0;
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_mutex_lock", "held", NULL, mutex_hold, mutex_lock, mutex_pass, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_cond_wait", "no signal", NULL, NULL, cond_wait, cond_pass, NULL,
     MATRIX_REFUSED(0), MATRIX_MEETING},
    {"bnx_sem_acquire", "no token", NULL, NULL, sem_acquire, sem_pass, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_sem_acquire_n", "no tokens", NULL, NULL, sem_acquire_n, sem_pass, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_event_wait", "not set", NULL, NULL, event_wait, matrix_set, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_once_run", "another runs it", once_prepare, NULL, once_run, matrix_set, matrix_help_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_once_run", "fn waits", NULL, NULL, once_run, matrix_set, NULL,
     MATRIX_REFUSED(0), 0},
    {"bnx_rwlock_read_lock", "a writer has it", NULL, rwlock_hold_write, rwlock_read_lock,
     rwlock_pass_write, rwlock_end, MATRIX_REFUSED(0), 0},
    {"bnx_rwlock_write_lock", "a reader has it", NULL, rwlock_hold_read, rwlock_write_lock,
     rwlock_pass_read, rwlock_end, MATRIX_REFUSED(0), 0},
    {"bnx_barrier_wait", "alone", barrier_prepare, NULL, barrier_wait, barrier_pass, NULL,
     MATRIX_REFUSED(0), MATRIX_MEETING},
    {"bnx_waitgroup_wait", "one to do", waitgroup_prepare, NULL, waitgroup_wait, waitgroup_pass,
     NULL, MATRIX_REFUSED(0), 0},
    {"bnx_limiter_acquire", "no token", limiter_prepare, NULL, limiter_acquire, limiter_pass,
     limiter_end, MATRIX_REFUSED(0), 0},
    {"bnx_limiter_acquire_for", "no token", limiter_prepare, NULL, limiter_acquire_for,
     limiter_pass, limiter_end, MATRIX_REFUSED(0), 0},
    {"bnx_sleep", "time", NULL, NULL, sleep_for, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_TIMED},
    {"bnx_sleep_until", "time", NULL, NULL, sleep_until, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_TIMED},
    {"bnx_ticker_next", "time", NULL, NULL, ticker_next, NULL, NULL,
     MATRIX_REFUSED(0), MATRIX_TIMED},
    {"bnx_timer_wait", "not started", timer_prepare, NULL, timer_wait, timer_pass, timer_end,
     MATRIX_REFUSED(0), 0},
    {"bnx_timer_cancel", "its callback runs", timer_run, NULL, timer_cancel, matrix_set,
     timer_destroy_only, MATRIX_SAME(0), MATRIX_STEADY},
    {"bnx_timer_destroy", "its callback runs", timer_run, NULL, timer_destroy, matrix_set, NULL,
     MATRIX_SAME(0), MATRIX_STEADY},
};
/* clang-format on */

const struct matrix_part matrix_sync = {rows, BNX_ARRAY_COUNT(rows)};
