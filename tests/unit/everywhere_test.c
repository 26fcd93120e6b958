/* SPDX-License-Identifier: MIT */
/* Claims that a cancel at any place where a task may wait leaves everything in order. */
#include "tests/support/everywhere.h"

/* Each scenario is a function that makes what it needs, uses it, gives it back, and checks that
 * nothing was lost. Its sleeps are short: what counts is that they are places. */
#define SOON_NS UINT64_C(1000)

static int first_error(int one, int other) {
    return one != 0 ? one : other;
}

/* Spawns so many times; a cancelled scope takes none, and then says so when it closes. */
static void spawn_all(struct bnx_scope *scope, bnx_task_fn fn, void *arg, int count) {
    for (int i = 0; i < count; i++) {
        int error = bnx_spawn(scope, fn, arg);
        CHECK(error == 0 || error == -ECANCELED);
    }
}

/* ---- Scopes, shields, defers ---- */

struct books {
    int taken;    /* what is to be given back; the scopes' tasks come one after the other */
    int deferred; /* functions that were deferred, less those that ran */
};

static void give_back(void *arg) {
    struct books *books = arg;
    (void)bnx_sleep(SOON_NS);
    (void)bnx_fetch_sub_relaxed((uint32_t *)&books->taken, 1);
    (void)bnx_fetch_sub_relaxed((uint32_t *)&books->deferred, 1);
}

static int take_something(void *arg) {
    struct books *books = arg;
    struct bnx_scope scope;
    struct bnx_scope shield;
    struct bnx_scope_options shielded = {.flags = BNX_SCOPE_SHIELD};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    (void)bnx_fetch_add_relaxed((uint32_t *)&books->taken, 1);
    (void)bnx_fetch_add_relaxed((uint32_t *)&books->deferred, 1);
    CHECK_EQ(bnx_defer(&scope, give_back, books), 0);
    int error = bnx_sleep(SOON_NS);
    CHECK_EQ(bnx_scope_open(&shield, &shielded), 0);
    CHECK_EQ(bnx_sleep(SOON_NS), 0);
    CHECK_EQ(bnx_checkpoint(), 0);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    error = first_error(error, bnx_checkpoint());
    return first_error(error, bnx_scope_close(&scope));
}

static int nest(void *arg) {
    struct bnx_scope scope;
    struct bnx_scope_options collect = {.policy = BNX_SCOPE_COLLECT};
    CHECK_EQ(bnx_scope_open(&scope, &collect), 0);
    spawn_all(&scope, take_something, arg, 3);
    int error = bnx_sleep(SOON_NS);
    return first_error(error, bnx_scope_close(&scope));
}

static int use_scopes(void *arg) {
    (void)arg;
    struct books books = {0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_all(&scope, nest, &books, 2);
    int error = bnx_scope_close(&scope);
    CHECK_EQ(books.taken, 0);
    CHECK_EQ(books.deferred, 0);
    return error;
}

TEST(everywhere_scopes, "cancel.at_every_suspension_scopes") {
    everywhere(use_scopes);
}

/* ---- Several at once ---- */

static int sleep_a_little(void *arg) {
    (void)arg;
    return bnx_sleep(SOON_NS);
}

static int wait_for_several(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    struct bnx_task *tasks[3] = {NULL};
    struct bnx_waitable *all[3];
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    int error = 0;
    for (int i = 0; i < 3 && error == 0; i++) {
        error = bnx_spawn_with(&scope, NULL, sleep_a_little, NULL, &tasks[i]);
        all[i] = error == 0 ? bnx_task_waitable(tasks[i]) : NULL;
    }
    int results[3] = {1, 1, 1};
    if (error == 0) {
        error = bnx_wait(all, 3, BNX_WAIT_FIRST, NULL);
        error = first_error(error, bnx_gather(all, 3, results, BNX_GATHER_COLLECT));
        error = first_error(error, bnx_race(all, 3, NULL));
        struct bnx_iter iter;
        int seen = 0;
        CHECK_EQ(bnx_as_completed(all, 3, &iter), 0);
        BNX_FOR_EACH_OR(value, &iter, &error) {
            CHECK((uintptr_t)value < 3);
            seen++;
        }
        CHECK(error != 0 || seen == 3);
        error = first_error(error, bnx_join(tasks[0], &results[0]));
    }
    return first_error(error, bnx_scope_close(&scope));
}

TEST(everywhere_several, "cancel.at_every_suspension_several") {
    everywhere(wait_for_several);
}

/* ---- Locks ---- */

struct shared {
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    struct bnx_rwlock rwlock;
    struct bnx_barrier barrier;
    struct bnx_limiter limiter;
    struct bnx_once once;
    struct bnx_event event;
    struct bnx_waitgroup group;
    struct bnx_strand strand;
    uint32_t inside; /* who holds what one may hold */
    uint32_t items;  /* under the mutex */
    uint32_t plain;  /* on the strand */
};

static void enter(struct shared *shared) {
    CHECK_EQ(bnx_fetch_add_relaxed(&shared->inside, 1), 0);
}

static void leave(struct shared *shared) {
    CHECK_EQ(bnx_fetch_sub_relaxed(&shared->inside, 1), 1);
}

static int put_items(void *arg) {
    struct shared *shared = arg;
    for (int i = 0; i < 2; i++) {
        int error = bnx_mutex_lock(&shared->mutex);
        if (error != 0) {
            return error;
        }
        enter(shared);
        error = bnx_sleep(SOON_NS); /* held over a wait */
        shared->items++;
        bnx_cond_signal(&shared->cond);
        leave(shared);
        bnx_mutex_unlock(&shared->mutex);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int get_items(void *arg) {
    struct shared *shared = arg;
    int error = bnx_mutex_lock(&shared->mutex);
    if (error != 0) {
        return error;
    }
    for (int i = 0; i < 2 && error == 0; i++) {
        while (shared->items == 0 && error == 0) {
            error = bnx_cond_wait(&shared->cond, &shared->mutex);
            enter(shared);
            leave(shared);
        }
        shared->items -= error == 0;
    }
    bnx_mutex_unlock(&shared->mutex);
    return error;
}

static int use_mutex(void *arg) {
    (void)arg;
    struct shared shared = {.items = 0};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    spawn_all(&scope, get_items, &shared, 2);
    spawn_all(&scope, put_items, &shared, 2);
    int error = bnx_scope_close(&scope);
    CHECK(!bnx_mutex_is_locked(&shared.mutex));
    CHECK(error != 0 || shared.items == 0);
    return error;
}

TEST(everywhere_mutex, "cancel.at_every_suspension_mutex_and_cond") {
    everywhere(use_mutex);
}

static int run_first(void *arg) {
    (void)arg;
    return bnx_sleep(SOON_NS);
}

static int use_each_lock(void *arg) {
    struct shared *shared = arg;
    int error = bnx_once_run(&shared->once, run_first, NULL);
    if (error == 0 && (error = bnx_sem_acquire(&shared->sem)) == 0) {
        error = bnx_sleep(SOON_NS);
        CHECK_EQ(bnx_sem_release(&shared->sem), 0);
    }
    if (error == 0 && (error = bnx_rwlock_read_lock(&shared->rwlock)) == 0) {
        error = bnx_sleep(SOON_NS);
        bnx_rwlock_read_unlock(&shared->rwlock);
    }
    if (error == 0 && (error = bnx_rwlock_write_lock(&shared->rwlock)) == 0) {
        enter(shared);
        error = bnx_sleep(SOON_NS);
        leave(shared);
        bnx_rwlock_write_unlock(&shared->rwlock);
    }
    if (error == 0 && (error = bnx_limiter_acquire(&shared->limiter)) == 0) {
        error = bnx_sleep(SOON_NS);
        CHECK_EQ(bnx_limiter_release(&shared->limiter), 0);
    }
    if (error == 0) {
        error = bnx_barrier_wait(&shared->barrier);
        error = error > 0 ? 0 : error;
    }
    bnx_event_set(&shared->event);
    bnx_waitgroup_done(&shared->group);
    return first_error(error, bnx_event_wait(&shared->event));
}

static int use_locks(void *arg) {
    (void)arg;
    struct shared shared = {.sem = BNX_SEM_INIT(1)};
    struct bnx_scope scope;
    bnx_barrier_init(&shared.barrier, 3);
    bnx_limiter_init(&shared.limiter, 1);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_waitgroup_add(&shared.group, 3);
    spawn_all(&scope, use_each_lock, &shared, 3);
    int error = bnx_waitgroup_wait(&shared.group);
    error = first_error(error, bnx_scope_close(&scope));
    CHECK_EQ(bnx_sem_count(&shared.sem), 1);
    CHECK_EQ(bnx_rwlock_try_write_lock(&shared.rwlock), 0);
    bnx_rwlock_write_unlock(&shared.rwlock);
    struct bnx_limiter_statistics statistics;
    bnx_limiter_statistics_get(&shared.limiter, &statistics);
    CHECK_EQ(statistics.borrowed, 0);
    CHECK_EQ(statistics.waiting, 0);
    bnx_limiter_fini(&shared.limiter);
    CHECK_EQ(shared.barrier.arrived, 0);
    return error;
}

TEST(everywhere_locks, "cancel.at_every_suspension_locks") {
    everywhere(use_locks);
}

static int add_on_strand(void *arg) {
    struct shared *shared = arg;
    uint32_t before = shared->plain;
    shared->plain = before + 1;
    int error = bnx_sleep(SOON_NS);
    CHECK(bnx_strand_is_current(&shared->strand));
    shared->plain++;
    return error;
}

static int use_strand(void *arg) {
    (void)arg;
    struct shared shared = {.plain = 0};
    struct bnx_scope scope;
    uint32_t spawned = 0;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4; i++) {
        spawned += bnx_strand_spawn(&shared.strand, &scope, add_on_strand, &shared) == 0;
    }
    int error = bnx_strand_run(&shared.strand, add_on_strand, &shared);
    error = first_error(error, bnx_scope_close(&scope));
    CHECK(shared.plain == 2 * spawned || shared.plain == 2 * spawned + 2);
    return error;
}

TEST(everywhere_strand, "cancel.at_every_suspension_strand") {
    everywhere(use_strand);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
