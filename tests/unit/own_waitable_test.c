/* SPDX-License-Identifier: MIT */
/*
 * Claims about waitables that are not the library's: written against its public headers alone.
 *
 * The two here are what an author would write: a latch, which happens once, and a mailbox, which
 * hands each letter to one of those who wait. Both keep a mutex and a list.
 */
#include "tests/support/test.h"

#include <bonxie/bonxie.h>
#include <bonxie/iter.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

struct own {
    struct bnx_waitable waitable;
    pthread_mutex_t mutex;      /* guards the three below */
    struct bnx_waiter *waiters; /* newest first */
    int letters;                /* mailbox: in the box. latch: 1 once it is open */
    int next;                   /* mailbox: what the next letter says */
};

static struct own *own_of(struct bnx_waitable *waitable) {
    return (struct own *)(void *)waitable; /* its first member */
}

enum { IN_LIST = 1 };

static void unlink_locked(struct own *own, struct bnx_waiter *waiter) {
    if (waiter->state != IN_LIST) {
        return;
    }
    if (waiter->prev != NULL) {
        waiter->prev->next = waiter->next;
    } else {
        own->waiters = waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->prev = waiter->prev;
    }
    waiter->state = 0;
}

static bool add_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct own *own = own_of(waitable);
    pthread_mutex_lock(&own->mutex);
    bool is_added = own->letters == 0;
    if (is_added) {
        waiter->prev = NULL;
        waiter->next = own->waiters;
        if (own->waiters != NULL) {
            own->waiters->prev = waiter;
        }
        own->waiters = waiter;
        waiter->state = IN_LIST;
    }
    pthread_mutex_unlock(&own->mutex);
    return is_added;
}

static void remove_waiter(struct bnx_waitable *waitable, struct bnx_waiter *waiter) {
    struct own *own = own_of(waitable);
    pthread_mutex_lock(&own->mutex);
    unlink_locked(own, waiter);
    pthread_mutex_unlock(&own->mutex);
}

static void own_init(struct own *own, const struct bnx_waitable_ops *ops) {
    *own = (struct own){.waitable = {ops}};
    pthread_mutex_init(&own->mutex, NULL);
}

/* ---- The latch ---- */

static bool latch_take(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct own *latch = own_of(waitable);
    pthread_mutex_lock(&latch->mutex);
    bool is_open = latch->letters != 0;
    pthread_mutex_unlock(&latch->mutex);
    if (is_open) {
        *out_result = 42;
    }
    return is_open;
}

static const struct bnx_waitable_ops latch_ops = {
    .take = latch_take, .add = add_waiter, .remove = remove_waiter, .name = "latch"};

/* Claims all under the mutex and wakes them one by one after it. */
static void latch_open(struct own *latch) {
    pthread_mutex_lock(&latch->mutex);
    latch->letters = 1;
    while (latch->waiters != NULL) {
        struct bnx_waiter *waiter = latch->waiters;
        struct bnx_wakee wakee;
        unlink_locked(latch, waiter);
        if (bnx_waiter_claim(waiter, 42, &wakee)) {
            pthread_mutex_unlock(&latch->mutex);
            bnx_wakee_wake(&wakee);
            pthread_mutex_lock(&latch->mutex);
        }
    }
    pthread_mutex_unlock(&latch->mutex);
}

/* ---- The mailbox ---- */

static bool mailbox_take(struct bnx_waitable *waitable, void *data, int *out_result) {
    (void)data;
    struct own *box = own_of(waitable);
    pthread_mutex_lock(&box->mutex);
    bool has_one = box->letters > 0;
    if (has_one) {
        box->letters--;
        *out_result = box->next++;
    }
    pthread_mutex_unlock(&box->mutex);
    return has_one;
}

static const struct bnx_waitable_ops mailbox_ops = {.take = mailbox_take,
                                                    .add = add_waiter,
                                                    .remove = remove_waiter,
                                                    .hands_out = true,
                                                    .name = "mailbox"};

static void mailbox_post(struct own *box) {
    struct bnx_wakee wakee = {NULL, NULL};
    pthread_mutex_lock(&box->mutex);
    bool is_his = false;
    while (!is_his && box->waiters != NULL) {
        struct bnx_waiter *waiter = box->waiters;
        unlink_locked(box, waiter);
        is_his = bnx_waiter_claim(waiter, box->next, &wakee);
    }
    if (is_his) {
        box->next++;
    } else {
        box->letters++;
    }
    pthread_mutex_unlock(&box->mutex);
    if (is_his) {
        bnx_wakee_wake(&wakee);
    }
}

/* ---- Claims ---- */

static int open_latch(void *arg) {
    bnx_yield();
    latch_open(arg);
    return 0;
}

static int wait_latch(void *arg) {
    struct bnx_waitable *only[] = {arg};
    CHECK_EQ(bnx_wait(only, 1, BNX_WAIT_FIRST, NULL), 42);
    int result = 0;
    CHECK_EQ(bnx_gather(only, 1, &result, 0), 0);
    CHECK_EQ(result, 42);
    return 0;
}

static int use_latch(void *arg) {
    (void)arg;
    struct own latch;
    struct bnx_scope scope;
    struct bnx_future *never = NULL;
    own_init(&latch, &latch_ops);
    CHECK_EQ(bnx_future_create(&never), 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_spawn(&scope, wait_latch, &latch.waitable), 0);
    }
    CHECK_EQ(bnx_spawn(&scope, open_latch, &latch), 0);
    struct bnx_waitable *both[] = {bnx_future_waitable(never), &latch.waitable};
    struct bnx_iter iter;
    CHECK_EQ(bnx_as_completed(both, 2, &iter), 0);
    size_t index = 99;
    CHECK_EQ(bnx_race(both, 2, &index), 42);
    CHECK_EQ(index, 1);
    BNX_FOR_EACH(value, &iter) {
        CHECK_EQ((uintptr_t)value, 1);
        break;
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK(latch.waiters == NULL);
    bnx_future_unref(never);
    return 0;
}

static void run_each(bnx_task_fn fn) {
    static const uint32_t worker_counts[] = {1, 2, 3, 8};
    for (size_t i = 0; i < sizeof(worker_counts) / sizeof(worker_counts[0]); i++) {
        struct bnx_options options = {.worker_count = worker_counts[i]};
        CHECK_EQ(bnx_run(&options, fn, NULL), 0);
    }
}

/* Claim: something of one's own that happens once works in every wait, with tasks that come before
 * and after it has happened. */
TEST(own_once, "waitable.own_latch") {
    run_each(use_latch);
}

#define READERS 8

struct post {
    struct own boxes[2];
    int letters;        /* to be posted into each box */
    atomic_int read[2]; /* read from each */
    atomic_int sum[2];  /* of what they said */
};

static int read_letters(void *arg) {
    struct post *post = arg;
    struct bnx_waitable *both[] = {&post->boxes[0].waitable, &post->boxes[1].waitable};
    for (;;) {
        size_t index = 99;
        int letter = bnx_wait(both, 2, BNX_WAIT_FIRST, &index);
        if (letter < 0) {
            return letter;
        }
        post->sum[index] += letter;
        post->read[index]++;
    }
}

static void *post_from_thread(void *arg) {
    struct post *post = arg;
    for (int i = 0; i < 2 * post->letters; i++) {
        mailbox_post(&post->boxes[i % 2]);
        if (i % 8 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

static int use_mailboxes(void *arg) {
    (void)arg;
    struct post post = {.letters = (int)bnx_test_scale(1000)};
    struct bnx_scope scope;
    pthread_t thread;
    own_init(&post.boxes[0], &mailbox_ops);
    own_init(&post.boxes[1], &mailbox_ops);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < READERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, read_letters, &post), 0);
    }
    CHECK_EQ(pthread_create(&thread, NULL, post_from_thread, &post), 0);
    while (post.read[0] + post.read[1] < 2 * post.letters) { /* ends: each letter is read */
        bnx_yield();
    }
    pthread_join(thread, NULL);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(post.read[i], post.letters);
        CHECK_EQ(post.sum[i], post.letters * (post.letters - 1) / 2);
        CHECK(post.boxes[i].waiters == NULL);
        CHECK_EQ(post.boxes[i].letters, 0);
    }
    struct bnx_waitable *box = &post.boxes[0].waitable;
    struct bnx_iter iter;
    CHECK_EQ(bnx_wait(&box, 1, BNX_WAIT_ALL, NULL), -EINVAL);
    CHECK_EQ(bnx_wait(&box, 1, BNX_WAIT_FIRST_ERROR, NULL), -EINVAL);
    CHECK_EQ(bnx_gather(&box, 1, NULL, 0), -EINVAL);
    CHECK_EQ(bnx_race(&box, 1, NULL), -EINVAL);
    CHECK_EQ(bnx_as_completed(&box, 1, &iter), -EINVAL);
    return 0;
}

/* Claim: what hands something out gives each piece to exactly one of those who wait for the first
 * of several, and none is lost. Method: eight readers on two boxes, an OS thread that posts; the
 * letters of each box are numbered and added up. */
TEST(own_hands_out, "waitable.own_mailbox") {
    run_each(use_mailboxes);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
