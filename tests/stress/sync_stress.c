/* SPDX-License-Identifier: MIT */
/* Synchronisation objects under load: tasks and OS threads, cancels and deadlines, mixed. */
#include "runtime/rng.h"
#include "tests/support/sched.h"

#include <stdlib.h>

/* Overwrites the part of the stack where a wait's record lay. */
static BNX_NOINLINE void trample(void) {
    volatile unsigned char frame[512];
    for (size_t i = 0; i < sizeof(frame); i++) {
        frame[i] = 0xa5;
    }
}

static int cancel_soon(void *arg) {
    bnx_yield();
    bnx_scope_cancel(arg, 0);
    return 0;
}

/* Calls fn(arg) in a scope that is cancelled within some 60 us, by its deadline or by a task. */
static int hurry(struct bnx_rng *rng, bnx_task_fn fn, void *arg) {
    struct bnx_scope scope;
    struct bnx_scope_options soon = {.deadline_ns = 0};
    bool is_deadline = bnx_rng_below(rng, 2) == 0;
    if (is_deadline) {
        soon.deadline_ns = bnx_now() + bnx_rng_below(rng, 60000);
    }
    CHECK_EQ(bnx_scope_open(&scope, &soon), 0);
    if (!is_deadline) {
        CHECK_EQ(bnx_spawn(&scope, cancel_soon, &scope), 0);
    }
    int result = fn(arg);
    trample();
    CHECK(result == 0 || result == (is_deadline ? -ETIMEDOUT : -ECANCELED));
    (void)bnx_scope_close(&scope); /* cancelled by now, or not */
    return result;
}

/* ---- A wake beats a timeout ---- */

struct race {
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    struct bnx_event event;
    uint64_t items;  /* cond: under the mutex */
    uint64_t taken;  /* items or tokens */
    uint64_t served; /* patient tasks that have got theirs */
    uint64_t seed;
    uint64_t stream; /* of the next task's random numbers */
    uint64_t rounds;
};

static void race_rng(struct race *race, struct bnx_rng *out_rng) {
    bnx_rng_init(out_rng, race->seed, bnx_fetch_add_relaxed(&race->stream, 1));
}

static int take_token(void *arg) {
    struct race *race = arg;
    return bnx_sem_acquire(&race->sem);
}

static int take_tokens_hurriedly(void *arg) {
    struct race *race = arg;
    struct bnx_rng rng;
    race_rng(race, &rng);
    for (uint64_t i = 0; i < race->rounds; i++) {
        if (hurry(&rng, take_token, race) == 0) {
            bnx_fetch_add_relaxed(&race->taken, 1);
        }
    }
    return 0;
}

static int give_tokens(void *arg) {
    struct race *race = arg;
    struct bnx_rng rng;
    race_rng(race, &rng);
    for (uint64_t i = 0; i < race->rounds; i++) {
        CHECK_EQ(bnx_sem_release(&race->sem), 0);
        for (uint32_t yields = bnx_rng_below(&rng, 4); yields > 0; yields--) {
            bnx_yield();
        }
    }
    return 0;
}

static void race_sem(struct race *race) {
    struct bnx_scope scope;
    bnx_sem_init(&race->sem, 0);
    bnx_store_relaxed(&race->taken, 0);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(bnx_spawn(&scope, i < 4 ? take_tokens_hurriedly : give_tokens, race), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(race->taken + bnx_sem_count(&race->sem), 2 * race->rounds);
}

static int take_item(void *arg) {
    struct race *race = arg;
    int error = bnx_mutex_lock(&race->mutex);
    if (error != 0) {
        return error;
    }
    while (error == 0 && race->items == 0) { /* ends: an item comes, or a cancel */
        error = bnx_cond_wait(&race->cond, &race->mutex);
    }
    if (error == 0) {
        race->items--;
    }
    bnx_mutex_unlock(&race->mutex);
    return error;
}

static int take_item_patiently(void *arg) {
    struct race *race = arg;
    CHECK_EQ(take_item(race), 0);
    bnx_fetch_add_acq_rel(&race->served, 1);
    return 0;
}

static int take_item_hurriedly(void *arg) {
    struct bnx_rng rng;
    race_rng(arg, &rng);
    (void)hurry(&rng, take_item, arg);
    return 0;
}

/* One item and one signal at a time, until the patient one is served: a signal that ended the wait
 * of a hurried one, who then left without the item, leaves him asleep beside it. */
static void serve_patient(struct race *race) {
    while (bnx_load_acquire(&race->served) == 0) { /* ends: he takes an item at last */
        uint64_t left;
        CHECK_EQ(bnx_mutex_lock(&race->mutex), 0);
        race->items++;
        bnx_cond_signal(&race->cond);
        bnx_mutex_unlock(&race->mutex);
        do { /* ends: he is there, or will be; or he has gone with the one before this */
            bnx_yield();
            CHECK_EQ(bnx_mutex_lock(&race->mutex), 0);
            left = race->items;
            bnx_mutex_unlock(&race->mutex);
        } while (left != 0 && bnx_load_acquire(&race->served) == 0);
        bnx_yield();
    }
}

static void race_cond(struct race *race) {
    for (uint64_t round = 0; round < race->rounds; round++) {
        struct bnx_scope scope;
        bnx_store_relaxed(&race->served, 0);
        race->items = 0; /* one that came too late for the last patient one */
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(bnx_spawn(&scope, i < 3 ? take_item_hurriedly : take_item_patiently, race), 0);
        }
        for (uint64_t i = 0; i < round % 8; i++) {
            bnx_yield();
        }
        serve_patient(race);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
}

static int wait_event(void *arg) {
    struct race *race = arg;
    return bnx_event_wait(&race->event);
}

static int wait_event_hurriedly(void *arg) {
    struct bnx_rng rng;
    race_rng(arg, &rng);
    (void)hurry(&rng, wait_event, arg);
    return 0;
}

static void race_event(struct race *race) {
    for (uint64_t round = 0; round < race->rounds; round++) {
        struct bnx_scope scope;
        bnx_event_clear(&race->event);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(bnx_spawn(&scope, i < 3 ? wait_event_hurriedly : wait_event, race), 0);
        }
        for (uint64_t i = 0; i < round % 8; i++) {
            bnx_yield();
        }
        bnx_event_set(&race->event);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
}

static int race_all(void *arg) {
    struct race *race = arg;
    race_sem(race);
    race_cond(race);
    race_event(race);
    return 0;
}

/* Claim: a wake that has claimed a waiter is a wake, whatever cancel or deadline comes with it: no
 * token is lost and no signal eaten. Method: tight deadlines and cancels against releases, signals
 * and sets; tokens are counted, and a patient waiter hangs when a signal is eaten. */
TEST(sync_wake_beats_timeout, "sync.wake_beats_timeout") {
    struct race race = {.seed = bnx_test_seed(), .rounds = bnx_test_scale(1000)};
    sched_run_each(race_all, &race);
}

/* ---- Mutual exclusion ---- */

#define CROWD_TASKS 6
#define CROWD_THREADS 2

struct crowd {
    struct bnx_mutex mutex;
    struct bnx_sem sem;
    uint64_t sections; /* under the mutex */
    uint64_t inside;   /* tokens in use */
    uint64_t passed;   /* sections counted by those who had them */
    uint64_t seed;
    uint64_t stream;
    uint64_t rounds;
    uint32_t token_count;
    bool yields; /* tasks give way while they hold it */
};

static int lock_crowd(void *arg) {
    struct crowd *crowd = arg;
    return bnx_mutex_lock(&crowd->mutex);
}

static void crowd_section(struct crowd *crowd) {
    uint64_t sections = crowd->sections;
    if (crowd->yields) {
        bnx_yield();
    }
    crowd->sections = sections + 1;
    bnx_mutex_unlock(&crowd->mutex);
}

static int enter_crowd(void *arg) {
    struct crowd *crowd = arg;
    struct bnx_rng rng;
    uint64_t passed = 0;
    bnx_rng_init(&rng, crowd->seed, bnx_fetch_add_relaxed(&crowd->stream, 1));
    for (uint64_t i = 0; i < crowd->rounds; i++) {
        uint32_t way = bnx_rng_below(&rng, 8);
        int error;
        if (way == 0 && bnx_task_self() != NULL) {
            error = hurry(&rng, lock_crowd, crowd);
        } else {
            error = way == 1 ? bnx_mutex_try_lock(&crowd->mutex) : bnx_mutex_lock(&crowd->mutex);
            CHECK(error == 0 || way == 1);
        }
        if (error == 0) {
            passed++;
            crowd_section(crowd);
        }
    }
    bnx_fetch_add_acq_rel(&crowd->passed, passed);
    return 0;
}

static void run_thread(void *arg) {
    (void)enter_crowd(arg);
}

static int run_tasks(bnx_task_fn fn, struct crowd *crowd, int count) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn(&scope, fn, crowd), 0);
    }
    return bnx_scope_close(&scope);
}

static int crowd_tasks(void *arg) {
    return run_tasks(enter_crowd, arg, CROWD_TASKS);
}

/* Claim: one at a time holds a mutex, task or thread, whether he locked it, tried, or hurried; each
 * who was told that he holds it did. Method: a plain count; ThreadSanitizer sees the rest. */
TEST(sync_exclusion, "sync.mutual_exclusion") {
    struct crowd crowd = {.seed = bnx_test_seed(), .rounds = bnx_test_scale(5000)};
    for (size_t i = 0; i < 2 * SCHED_WORKER_COUNTS; i++) {
        struct bnx_os_thread threads[CROWD_THREADS];
        crowd.yields = i % 2 == 1;
        for (int thread = 0; thread < CROWD_THREADS; thread++) {
            sched_thread_start(&threads[thread], run_thread, &crowd);
        }
        sched_run(sched_worker_counts[i / 2], crowd_tasks, &crowd);
        for (int thread = 0; thread < CROWD_THREADS; thread++) {
            sched_thread_join(&threads[thread]);
        }
        CHECK_EQ(crowd.sections, crowd.passed);
        CHECK(!bnx_mutex_is_locked(&crowd.mutex));
    }
}

static int enter_always(void *arg) {
    struct crowd *crowd = arg;
    for (uint64_t i = 0; i < crowd->rounds; i++) {
        CHECK_EQ(bnx_mutex_lock(&crowd->mutex), 0);
        crowd_section(crowd);
    }
    return 0;
}

static int four_tasks(void *arg) {
    struct crowd *crowd = arg;
    for (int way = 0; way < 2; way++) {
        crowd->yields = way == 1;
        crowd->sections = 0;
        CHECK_EQ(run_tasks(enter_always, crowd, 4), 0);
        CHECK_EQ(crowd->sections, 4 * crowd->rounds);
    }
    return 0;
}

/* Claim: four tasks get through all their sections on any number of workers; nobody waits for ever
 * for a wake that was spared. What it costs is for BM_MutexContended to say. */
TEST(sync_no_convoy, "sync.no_convoy") {
    struct crowd crowd = {.rounds = bnx_test_scale(100000)};
    sched_run_each(four_tasks, &crowd);
}

/* ---- Tokens ---- */

#define TOKEN_COUNT 5

struct acquire {
    struct crowd *crowd;
    uint32_t count;
};

static int acquire_some(void *arg) {
    struct acquire *acquire = arg;
    return bnx_sem_acquire_n(&acquire->crowd->sem, acquire->count);
}

static int use_tokens(void *arg) {
    struct crowd *crowd = arg;
    struct bnx_rng rng;
    bnx_rng_init(&rng, crowd->seed, bnx_fetch_add_relaxed(&crowd->stream, 1));
    for (uint64_t i = 0; i < crowd->rounds; i++) {
        struct acquire acquire = {crowd, 1 + bnx_rng_below(&rng, 3)};
        bool is_hurried = bnx_task_self() != NULL && bnx_rng_below(&rng, 4) == 0;
        int error = is_hurried ? hurry(&rng, acquire_some, &acquire) : acquire_some(&acquire);
        if (error == 0) {
            CHECK(bnx_fetch_add_relaxed(&crowd->inside, acquire.count) + acquire.count <=
                  TOKEN_COUNT);
            bnx_yield();
            bnx_fetch_sub_relaxed(&crowd->inside, acquire.count);
            CHECK_EQ(bnx_sem_release_n(&crowd->sem, acquire.count), 0);
        }
    }
    return 0;
}

static void use_tokens_in_thread(void *arg) {
    (void)use_tokens(arg);
}

static int token_tasks(void *arg) {
    return run_tasks(use_tokens, arg, CROWD_TASKS);
}

/* Claim: there are never more tokens in use than there are, and in the end all are back, however
 * their takers were cancelled. Method: tasks and threads take one to three; who waits in vain,
 * because one was lost or somebody before him left without serving him, hangs. */
TEST(sync_tokens, "sync.tokens_are_conserved") {
    struct crowd crowd = {.seed = bnx_test_seed(), .rounds = bnx_test_scale(3000)};
    bnx_sem_init(&crowd.sem, TOKEN_COUNT);
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_os_thread thread;
        sched_thread_start(&thread, use_tokens_in_thread, &crowd);
        sched_run(sched_worker_counts[i], token_tasks, &crowd);
        sched_thread_join(&thread);
        CHECK_EQ(bnx_sem_count(&crowd.sem), TOKEN_COUNT);
        CHECK_EQ(bnx_load_relaxed(&crowd.inside), 0);
    }
}

/* ---- Objects that end at once ---- */

struct mail {
    struct bnx_event *box; /* whoever waits has made it, and frees it; NULL: the last */
    uint32_t posts;        /* futex: boxes posted */
    uint32_t taken;        /* futex: boxes taken */
};

static void set_boxes(void *arg) {
    struct mail *mail = arg;
    for (uint32_t round = 1;; round++) { /* ends with the last box */
        sched_wait_post(&mail->posts, round);
        struct bnx_event *box = mail->box;
        sched_post(&mail->taken);
        if (box == NULL) {
            return;
        }
        bnx_event_set(box);
    }
}

static int wait_boxes(void *arg) {
    struct mail *mail = arg;
    uint64_t rounds = bnx_test_scale(20000);
    for (uint64_t round = 0; round <= rounds; round++) {
        struct bnx_event *box = round < rounds ? malloc(sizeof(*box)) : NULL;
        uint32_t taken = bnx_load_seq_cst(&mail->taken);
        if (box != NULL) {
            bnx_event_init(box);
        }
        mail->box = box;
        sched_post(&mail->posts);
        while (bnx_load_seq_cst(&mail->taken) == taken) { /* ends: the thread takes each */
            bnx_yield();
        }
        while (box != NULL && round % 2 == 0 && !bnx_event_is_set(box)) { /* ends: it is set */
            bnx_yield();
        }
        if (box != NULL) {
            CHECK_EQ(bnx_event_wait(box), 0);
            memset(box, 0xa5, sizeof(*box));
        }
        free(box);
    }
    return 0;
}

/* Claim: who has seen an event set may free it at once, while the call that set it returns. Method:
 * a thread sets, a task waits, or looks until it is set, and frees; AddressSanitizer sees a late
 * touch. */
TEST(event_may_be_freed, "event.may_be_freed_once_set") {
    struct mail mail = {.posts = 0};
    struct bnx_os_thread thread;
    sched_thread_start(&thread, set_boxes, &mail);
    sched_run(2, wait_boxes, &mail);
    sched_thread_join(&thread);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
