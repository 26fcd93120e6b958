/* SPDX-License-Identifier: MIT */
/*
 * The conservation stress: nothing is lost and nothing comes from nowhere.
 *
 * Method: conserve.h. Crew after crew of tasks and OS threads, with 1, 2, 3 and 8 workers, until
 * so many operations are done. Each crew ends by its deadline, by a cancel from an OS thread, or
 * because all have done their share; then its channels are closed, and its books must balance:
 * taken = returned, sent = received + left, counted = counted by the lock, set = read, spawned =
 * ended, failed = counted as errors.
 */
#include "tests/stress/conserve.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OPERATIONS UINT64_C(10000000)  /* all worker counts together */
#define COVERAGE_MIN UINT64_C(1000000) /* with fewer operations some may not have met every end */
#define CREW_NS UINT32_C(20000000)     /* the latest deadline of a crew */

static const char *const op_names[OP_COUNT] = {
    "sem",    "limiter",  "mutex",  "rwlock",  "deposit", "withdraw", "send", "recv",
    "select", "announce", "listen", "oneshot", "future",  "family",   "rest", "disturb"};

/* What balances what. */
static const struct {
    const char *what;
    enum account in;
    enum account out;
} balances[] = {
    {"tokens taken, returned", TOKENS_TAKEN, TOKENS_RETURNED},
    {"tokens borrowed, repaid", BORROWED, REPAID},
    {"sections, counted under the mutex", MUTEX_SECTIONS, MUTEX_COUNTED},
    {"writes, counted under the rwlock", RWLOCK_WRITES, RWLOCK_COUNTED},
    {"deposited, withdrawn or left", DEPOSITED, WITHDRAWN},
    {"items sent, received or left", ITEMS_SENT, ITEMS_RECEIVED},
    {"the sum of items", SUM_SENT, SUM_RECEIVED},
    {"the sum of their squares", SQUARES_SENT, SQUARES_RECEIVED},
    {"messages due, got or told lost", MESSAGES_DUE, MESSAGES_GOT},
    {"oneshots sent, received", ONESHOTS_SENT, ONESHOTS_RECEIVED},
    {"futures set, read", FUTURES_SET, FUTURES_READ},
    {"tasks spawned, ended", SPAWNED, ENDED},
    {"failures, errors counted", FAILED, ERRORS_COUNTED},
};

/* ---- An actor ---- */

static enum outcome outcome_of(enum op op, int result) {
    if (result >= 0) {
        return DONE;
    }
    switch (result) {
    case -ETIMEDOUT:
        return LATE;
    case -ECANCELED:
        return CANCELLED;
    case -EAGAIN:
    case -EBUSY:
        return REFUSED;
    case -EPIPE:
    case -ENODATA:
        return CLOSED;
    default:
        bnx_test_fail(__FILE__, __LINE__, "%s has returned %d", op_names[op], result);
    }
}

static void act(struct actor *self) {
    for (uint32_t i = 0; i < SHARE && bnx_checkpoint() == 0; i++) {
        enum op op = (enum op)draw(self, OP_COUNT);
        enum outcome outcome = outcome_of(op, operate(self, op));
        self->books.tally[self->is_task ? 0 : 1][op][outcome]++;
    }
    unsubscribe(self);
}

static void add_books(struct books *to, const struct books *from) {
    const uint64_t *amounts = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof(*from) / sizeof(*amounts); i++) {
        if (amounts[i] != 0) {
            bnx_fetch_add_relaxed((uint64_t *)to + i, amounts[i]); /* read after all have ended */
        }
    }
}

static void actor_init(struct actor *self, struct crew *crew, bool is_task, uint64_t stream) {
    *self = (struct actor){.crew = crew, .is_task = is_task};
    bnx_rng_init(&self->rng, crew->seed, crew->number * 64 + stream);
}

static int act_as_task(void *arg) {
    struct actor *self = arg;
    act(self);
    book(self, ENDED, 1);
    add_books(&self->crew->books, &self->books);
    return 0;
}

static void act_as_thread(void *arg) {
    struct actor *self = arg;
    act(self);
    add_books(&self->crew->books, &self->books);
}

/* ---- A crew ---- */

/* Cancels some members, and maybe all of them. */
static void cancel_some(void *arg) {
    struct actor *self = arg;
    struct crew *crew = self->crew;
    sched_wait_post(&crew->is_open, 1);
    for (uint32_t count = draw(self, 4); count > 0; count--) {
        (void)bnx_sleep(draw(self, CREW_NS / 4));
        struct bnx_task *member = bnx_load_acquire(&crew->members[draw(self, MEMBERS)]);
        if (member != NULL) {
            bnx_cancel(member, -EPROTO);
        }
    }
    if (draw(self, 4) == 0) {
        bnx_scope_cancel(&crew->scope, -EPROTO);
    }
    bnx_scope_release(&crew->scope); /* from here on no handle is valid */
}

static int run_members(void *arg) {
    struct crew *crew = arg;
    struct actor *actors = calloc(MEMBERS, sizeof(*actors));
    struct bnx_rng rng;
    CHECK(actors != NULL);
    bnx_rng_init(&rng, crew->seed, crew->number * 64 + 60);
    struct bnx_scope_options options = {.deadline_ns =
                                            bnx_now() + 1000000 + bnx_rng_below(&rng, CREW_NS)};
    CHECK_EQ(bnx_scope_open(&crew->scope, &options), 0);
    bnx_scope_hold(&crew->scope);
    for (uint64_t i = 0; i < MEMBERS; i++) {
        struct bnx_task *member = NULL;
        actor_init(&actors[i], crew, true, i);
        int error = bnx_spawn_with(&crew->scope, NULL, act_as_task, &actors[i], &member);
        if (error == -ECANCELED) {
            break; /* the deadline has come: those that are there are the crew */
        }
        CHECK_EQ(error, 0);
        crew_book(crew, SPAWNED, 1);
        bnx_store_release(&crew->members[i], member);
    }
    sched_post(&crew->is_open);
    int result = bnx_scope_close(&crew->scope);
    CHECK(result == 0 || result == -ETIMEDOUT || result == -ECANCELED);
    CHECK_EQ(bnx_scope_error_count(&crew->scope), 0);
    free(actors);
    return 0;
}

static struct crew *crew_create(struct bnx_runtime *runtime, uint64_t seed, uint64_t number) {
    static const size_t capacities[][CHANS] = {{0, 3}, {0, 0}, {1, 64}};
    struct crew *crew = calloc(1, sizeof(*crew));
    CHECK(crew != NULL);
    crew->runtime = runtime;
    crew->seed = seed;
    crew->number = number;
    bnx_sem_init(&crew->sem, SEM_TOKENS);
    bnx_limiter_init(&crew->limiter, LIMITER_TOKENS);
    for (size_t i = 0; i < CHANS; i++) {
        size_t capacity = capacities[number % BNX_ARRAY_COUNT(capacities)][i];
        CHECK_EQ(bnx_chan_create(sizeof(uint64_t), capacity, &crew->chans[i]), 0);
    }
    CHECK_EQ(bnx_broadcast_create(sizeof(uint64_t), BROADCAST_KEPT, &crew->broadcast), 0);
    return crew;
}

/* What is left where, once all have ended. */
static void book_left(struct crew *crew) {
    uint64_t item;
    for (size_t i = 0; i < CHANS; i++) {
        while (bnx_chan_try_recv(crew->chans[i], &item) == 0) { /* ends: it is closed */
            crew_book(crew, ITEMS_RECEIVED, 1);
            crew_book(crew, SUM_RECEIVED, item);
            crew_book(crew, SQUARES_RECEIVED, item * item);
        }
    }
    crew_book(crew, MUTEX_COUNTED, crew->mutex_count);
    crew_book(crew, RWLOCK_COUNTED, crew->rwlock_count);
    crew_book(crew, WITHDRAWN, crew->stored);
}

static void check_balance(const struct books *books) {
    for (size_t i = 0; i < BNX_ARRAY_COUNT(balances); i++) {
        uint64_t in = books->accounts[balances[i].in];
        uint64_t out = books->accounts[balances[i].out];
        if (in != out) {
            bnx_test_fail(__FILE__, __LINE__, "%s: %" PRIu64 ", %" PRIu64, balances[i].what, in,
                          out);
        }
    }
}

static void crew_destroy(struct crew *crew) {
    struct bnx_limiter_statistics statistics;
    bnx_limiter_statistics_get(&crew->limiter, &statistics);
    CHECK_EQ(statistics.borrowed, 0);
    CHECK_EQ(statistics.waiting, 0);
    CHECK_EQ(bnx_sem_count(&crew->sem), SEM_TOKENS);
    CHECK(!bnx_mutex_is_locked(&crew->mutex));
    CHECK_EQ(bnx_rwlock_try_write_lock(&crew->rwlock), 0);
    CHECK_EQ(bnx_broadcast_subscriber_count(crew->broadcast), 0);
    bnx_limiter_fini(&crew->limiter);
    bnx_broadcast_destroy(crew->broadcast);
    for (size_t i = 0; i < CHANS; i++) {
        bnx_chan_destroy(crew->chans[i]);
    }
    free(crew);
}

/* One crew, from its begin to the balance of its books, which are added to *books. */
static void run_crew(struct bnx_runtime *runtime, uint64_t seed, uint64_t number,
                     struct books *books) {
    struct crew *crew = crew_create(runtime, seed, number);
    struct actor threads[THREADS];
    struct actor canceller;
    actor_init(&canceller, crew, false, MEMBERS);
    sched_thread_start(&canceller.thread, cancel_some, &canceller);
    for (uint64_t i = 0; i < THREADS; i++) {
        actor_init(&threads[i], crew, false, MEMBERS + 1 + i);
        sched_thread_start(&threads[i].thread, act_as_thread, &threads[i]);
    }
    CHECK_EQ(bnx_runtime_run(runtime, run_members, crew), 0);
    for (size_t i = 0; i < CHANS; i++) {
        bnx_chan_close(crew->chans[i]);
    }
    bnx_broadcast_close(crew->broadcast);
    sched_thread_join(&canceller.thread);
    for (size_t i = 0; i < THREADS; i++) {
        sched_thread_join(&threads[i].thread);
    }
    book_left(crew);
    check_balance(&crew->books);
    add_books(books, &crew->books);
    crew_destroy(crew);
}

/* ---- All of them ---- */

static uint64_t operations(const struct books *books, enum op op, enum outcome outcome) {
    return books->tally[0][op][outcome] + books->tally[1][op][outcome];
}

static uint64_t all_operations(const struct books *books) {
    uint64_t sum = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            sum += operations(books, (enum op)op, (enum outcome)outcome);
        }
    }
    return sum;
}

static void print_books(const struct books *books) {
    printf("%-9s %9s %9s %9s %9s %9s\n", "", "done", "late", "cancelled", "refused", "closed");
    for (int op = 0; op < OP_COUNT; op++) {
        printf("%-9s", op_names[op]);
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            printf(" %9" PRIu64, operations(books, (enum op)op, (enum outcome)outcome));
        }
        printf("\n");
    }
}

/* Each operation has been done, and ended in each way that the others may end it. */
static void check_coverage(const struct books *books) {
    for (int op = 0; op < OP_COUNT; op++) {
        CHECK(operations(books, (enum op)op, DONE) > 0);
        CHECK(books->tally[1][op][DONE] > 0);
    }
    for (int op = OP_SEM; op <= OP_SELECT; op++) {
        CHECK(operations(books, (enum op)op, CANCELLED) > 0);
        CHECK(operations(books, (enum op)op, LATE) > 0);
    }
    CHECK(operations(books, OP_SEND, CLOSED) > 0);
    CHECK(operations(books, OP_RECV, CLOSED) > 0);
}

/*
 * Claim: tokens, items, messages, values, tasks and errors are conserved, whatever ends the calls
 * that move them.
 */
TEST(conserve_all, "conserve.books_balance") {
    static struct books books;
    uint64_t seed = bnx_test_seed();
    uint64_t number = 0;
    uint64_t target = bnx_test_scale(OPERATIONS);
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct bnx_runtime *runtime = sched_create(sched_worker_counts[i]);
        while (all_operations(&books) < target * (i + 1) / SCHED_WORKER_COUNTS) {
            run_crew(runtime, seed, number++, &books); /* the loop ends: each crew does some */
        }
        sched_destroy(runtime);
    }
    printf("%" PRIu64 " crews\n", number);
    print_books(&books);
    check_balance(&books);
    if (target >= COVERAGE_MIN) {
        check_coverage(&books);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
