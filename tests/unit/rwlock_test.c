/* SPDX-License-Identifier: MIT */
/* Claims about the reader-writer lock. */
#include "tests/support/crowd.h"

/* ---- Who gets in ---- */

struct page {
    struct bnx_rwlock lock;
    int writes; /* under the lock */
};

static int lock_and_keep(void *arg) {
    struct page *page = arg;
    int error = bnx_rwlock_read_lock(&page->lock);
    return error != 0 ? error : page->writes;
}

static int write_once(void *arg) {
    struct page *page = arg;
    int error = bnx_rwlock_write_lock(&page->lock);
    if (error == 0) {
        page->writes++;
        bnx_rwlock_write_unlock(&page->lock);
    }
    return error;
}

static struct bnx_task *spawn(struct bnx_scope *scope, bnx_task_fn fn, void *arg) {
    struct bnx_task *task = NULL;
    CHECK_EQ(bnx_spawn_with(scope, NULL, fn, arg, &task), 0);
    return task;
}

static int phases(void *arg) {
    (void)arg;
    struct page page = {.lock = BNX_RWLOCK_INIT};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_rwlock_try_read_lock(&page.lock), 0);
    CHECK_EQ(bnx_rwlock_read_lock(&page.lock), 0);
    CHECK_EQ(bnx_rwlock_try_write_lock(&page.lock), -EAGAIN);
    struct bnx_task *writer = spawn(&scope, write_once, &page);
    crowd_await_parked(writer);
    CHECK_EQ(bnx_rwlock_try_read_lock(&page.lock), -EAGAIN);
    struct bnx_task *readers[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = spawn(&scope, lock_and_keep, &page);
        crowd_await_parked(readers[i]);
    }
    bnx_rwlock_read_unlock(&page.lock);
    CHECK_EQ(bnx_rwlock_try_read_lock(&page.lock), -EAGAIN);
    bnx_rwlock_read_unlock(&page.lock);
    for (int i = 0; i < 3; i++) {
        int writes = 0;
        CHECK_EQ(bnx_join(readers[i], &writes), 0);
        CHECK_EQ(writes, 1);
    }
    CHECK_EQ(bnx_rwlock_try_write_lock(&page.lock), -EAGAIN);
    for (int i = 0; i < 3; i++) {
        bnx_rwlock_read_unlock(&page.lock);
    }
    CHECK_EQ(bnx_rwlock_try_write_lock(&page.lock), 0);
    CHECK_EQ(bnx_rwlock_try_read_lock(&page.lock), -EAGAIN);
    bnx_rwlock_write_unlock(&page.lock);
    return bnx_scope_close(&scope);
}

/* Claim: readers share; a writer that waits stops new readers, also those that only try; it goes
 * first, and the readers behind it then go in together. Method: each step waits until the one
 * before is in the queue; the three readers keep the lock, so that they end only if all are in. */
TEST(rwlock_phases, "rwlock.waiting_writer_stops_readers") {
    sched_run_each(phases, NULL);
}

static int writer_gives_up(void *arg) {
    (void)arg;
    struct page page = {.lock = BNX_RWLOCK_INIT};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_rwlock_read_lock(&page.lock), 0);
    struct bnx_task *writer = spawn(&scope, write_once, &page);
    crowd_await_parked(writer);
    struct bnx_task *reader = spawn(&scope, lock_and_keep, &page);
    crowd_await_parked(reader);
    bnx_cancel(writer, 0);
    int result = 0;
    CHECK_EQ(bnx_join(writer, &result), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(bnx_join(reader, &result), 0);
    CHECK_EQ(result, 0);
    bnx_rwlock_read_unlock(&page.lock);
    bnx_rwlock_read_unlock(&page.lock);
    CHECK_EQ(bnx_rwlock_try_write_lock(&page.lock), 0);
    bnx_rwlock_write_unlock(&page.lock);
    return bnx_scope_close(&scope);
}

/* Claim: when a waiting writer is cancelled, the readers that waited behind it go in beside those
 * that are in. Method: the reader never unlocks by itself, and is joined. */
TEST(rwlock_gives_up, "rwlock.cancelled_writer_stops_nobody") {
    sched_run_each(writer_gives_up, NULL);
}

/* ---- Exclusion ---- */

struct shared {
    struct bnx_rwlock lock;
    uint64_t turn;    /* decides who writes */
    uint64_t first;   /* under the lock */
    uint64_t second;  /* under the lock; equal to first while nobody writes */
    uint64_t readers; /* inside now */
};

static int use_lock(void *arg) {
    struct shared *shared = arg;
    uint64_t turn = bnx_fetch_add_relaxed(&shared->turn, 1);
    if (turn % 4 != 0) {
        int error = bnx_rwlock_read_lock(&shared->lock);
        if (error != 0) {
            return error;
        }
        bnx_fetch_add_relaxed(&shared->readers, 1);
        CHECK_EQ(shared->first, shared->second);
        if (turn % 8 == 1) {
            bnx_yield();
            CHECK_EQ(shared->first, shared->second);
        }
        bnx_fetch_sub_relaxed(&shared->readers, 1);
        bnx_rwlock_read_unlock(&shared->lock);
        return 0;
    }
    int error = bnx_rwlock_write_lock(&shared->lock);
    if (error != 0) {
        return error;
    }
    CHECK_EQ(bnx_load_relaxed(&shared->readers), 0);
    shared->first++;
    if (turn % 8 == 0) {
        bnx_yield();
    }
    shared->second++;
    CHECK_EQ(shared->first, shared->second);
    bnx_rwlock_write_unlock(&shared->lock);
    return 1;
}

/* Claim: a writer is alone, readers see no half write, nobody waits for ever and the lock is free
 * afterwards, whoever gives up. Method: a crowd; plain fields under the lock, so that
 * ThreadSanitizer sees what is not ordered. */
TEST(rwlock_excludes, "rwlock.writer_is_alone") {
    struct shared shared = {.turn = 0};
    struct crowd crowd = {.use = use_lock, .arg = &shared};
    crowd_run(&crowd);
    CHECK_EQ(bnx_rwlock_try_write_lock(&shared.lock), 0);
    CHECK_EQ(shared.first, shared.second);
    CHECK_EQ(crowd.done + crowd.refused, shared.turn);
    bnx_rwlock_write_unlock(&shared.lock);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
