/* SPDX-License-Identifier: MIT */
/*
 * The parts of the conservation stress: who acts, on what, and the books that are kept of it.
 *
 * Concepts
 *   A crew is some tasks and some OS threads, the actors, that share one set of objects. Each actor
 *   does operations at random and writes down what each one returned (the tally) and what it has
 *   given and taken by it (the accounts). A call may be ended by a deadline, by a cancel of its
 *   scope, of its task or of the whole crew, and by the close of a channel; some are made in a
 *   shield.
 *
 *   Accounts come in pairs: what goes in on one side comes out on the other. In the end each pair
 *   must match to the last unit, whatever ended the calls in between.
 */
#ifndef BNX_TESTS_STRESS_CONSERVE_H
#define BNX_TESTS_STRESS_CONSERVE_H

#include "tests/support/sched.h"

#define MEMBERS 24 /* tasks of a crew */
#define THREADS 2  /* OS threads of a crew that act; one more cancels */
#define SHARE 400  /* operations of an actor whom nobody stops */
#define SEM_TOKENS 4
#define LIMITER_TOKENS 2
#define CHANS 2
#define BROADCAST_KEPT 8
#define HURRY_NS 20000 /* the longest time to a deadline that is meant to end a call */

enum op {
    OP_SEM,
    OP_LIMITER,
    OP_MUTEX,
    OP_RWLOCK,
    OP_DEPOSIT,
    OP_WITHDRAW,
    OP_SEND,
    OP_RECV,
    OP_SELECT,
    OP_ANNOUNCE,
    OP_LISTEN,
    OP_ONESHOT,
    OP_FUTURE,
    OP_FAMILY,
    OP_REST,
    OP_DISTURB,
    OP_COUNT
};

enum outcome { DONE, LATE, CANCELLED, REFUSED, CLOSED, OUTCOME_COUNT };

enum account {
    TOKENS_TAKEN,
    TOKENS_RETURNED,
    BORROWED,
    REPAID,
    MUTEX_SECTIONS,
    MUTEX_COUNTED, /* by the plain counter that the mutex guards */
    RWLOCK_WRITES,
    RWLOCK_COUNTED,
    DEPOSITED,
    WITHDRAWN,
    ITEMS_SENT,
    ITEMS_RECEIVED,
    SUM_SENT,
    SUM_RECEIVED,
    SQUARES_SENT,
    SQUARES_RECEIVED,
    MESSAGES_DUE,
    MESSAGES_GOT, /* or told to be lost */
    ONESHOTS_SENT,
    ONESHOTS_RECEIVED,
    FUTURES_SET,
    FUTURES_READ,
    SPAWNED,
    ENDED,
    FAILED,
    ERRORS_COUNTED,
    ACCOUNT_COUNT
};

struct books {
    uint64_t tally[2][OP_COUNT][OUTCOME_COUNT]; /* by tasks, by threads */
    uint64_t accounts[ACCOUNT_COUNT];
};

struct crew {
    struct bnx_runtime *runtime;
    uint64_t seed;
    uint64_t number;        /* of the crew */
    struct bnx_scope scope; /* of its tasks */
    struct bnx_task *members[MEMBERS];
    uint32_t is_open; /* posted: members may be cancelled, until the scope's hold is released */
    struct bnx_sem sem;
    uint64_t sem_used; /* tokens that are taken; atomic */
    struct bnx_limiter limiter;
    uint64_t limiter_used; /* as sem_used */
    struct bnx_mutex mutex;
    uint64_t mutex_count; /* under it, plain */
    struct bnx_rwlock rwlock;
    uint64_t rwlock_count; /* under it, plain */
    struct bnx_mutex store_mutex;
    struct bnx_cond not_empty;
    uint64_t stored; /* under store_mutex */
    struct bnx_chan *chans[CHANS];
    uint64_t next_item; /* numbers of items, each used once */
    struct bnx_broadcast *broadcast;
    struct bnx_mutex announce_mutex; /* orders messages and the begin and end of subscriptions */
    uint64_t next_message;           /* under it */
    struct books books;              /* of all who have ended; atomic adds */
};

struct actor {
    struct crew *crew;
    bool is_task;
    struct bnx_rng rng;
    struct bnx_subscription subscription; /* broadcast NULL: none */
    uint64_t next_message;                /* that the subscription gives next */
    struct books books;
    struct bnx_os_thread thread; /* of those that are no task */
};

/** A number below bound. */
static inline uint32_t draw(struct actor *self, uint32_t bound) {
    return bnx_rng_below(&self->rng, bound);
}

static inline void book(struct actor *self, enum account account, uint64_t amount) {
    self->books.accounts[account] += amount;
}

/** As book, by a child of an actor. */
static inline void crew_book(struct crew *crew, enum account account, uint64_t amount) {
    bnx_fetch_add_relaxed(&crew->books.accounts[account], amount); /* read after all have ended */
}

/**
 * Tokens that the caller has taken, or is about to give back.
 * @param used how many are in use; it never exceeds limit.
 */
static inline void use_begin(uint64_t *used, uint64_t count, uint64_t limit) {
    CHECK(bnx_fetch_add_relaxed(used, count) + count <= limit); /* a count and no more */
}

static inline void use_end(uint64_t *used, uint64_t count) {
    bnx_fetch_sub_relaxed(used, count); /* a count and no more */
}

/**
 * Calls fn(arg) as it is, or in a scope that ends it soon: by a deadline, by a cancel from a child,
 * or in a shield by a deadline. An OS thread calls it as it is.
 * @param plain of eight calls so many are made as they are.
 * Returns fn's value.
 */
int attempt(struct actor *self, uint32_t plain, bnx_task_fn fn, void *arg);

/** Locks a mutex in spite of any cancel. Ends: its holders do not wait. */
void lock_anyway(struct bnx_mutex *mutex);

/** Does one operation. Returns what it returned: >= 0, or an error. */
int operate(struct actor *self, enum op op);

/** Those of conserve_things.c: items, messages, values, tasks. */
int operate_on_things(struct actor *self, enum op op);

/** Ends the actor's subscription: whatever was due to it has come, or was told to be lost. */
void unsubscribe(struct actor *self);

#endif
