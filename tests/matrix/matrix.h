/* SPDX-License-Identifier: MIT */
/*
 * The table of all calls that suspend: how each is made to wait, what ends that, what it returns.
 *
 * Concepts
 *   row      a call of the public API in one situation in which it waits.
 *   column   what happens to it: nothing, a cancel before or meanwhile, a deadline, and so on.
 *   caller   the task, or in one column the OS thread, that makes the call.
 *   party    the other side, a task or an OS thread: it holds what the caller wants, watches until
 *            the caller is known to wait, and then cancels it or lets it pass. It lets it pass in
 *            every column, in some of them when the caller has gone: that must hurt nobody.
 *
 * tests/style/suspends.py reads the names from the rows, and fails for a function that suspends,
 * as its doc block says, and has none.
 */
#ifndef BNX_TESTS_MATRIX_MATRIX_H
#define BNX_TESTS_MATRIX_MATRIX_H

#include "tests/io/fixture.h"

enum matrix_column {
    MATRIX_PLAIN,        /* it waits, and is let pass */
    MATRIX_BEFORE,       /* its scope is cancelled before, and it would wait */
    MATRIX_BEFORE_READY, /* the same, and it would not wait */
    MATRIX_WHILE,        /* cancelled while it waits */
    MATRIX_DEADLINE,     /* the deadline of its innermost scope comes while it waits */
    MATRIX_SHIELDED,     /* the scope around a shield is cancelled while it waits inside */
    MATRIX_GRACE,        /* the same, and the shield breaks */
    MATRIX_WORKER,       /* it is let pass by a task that stays on another worker */
    MATRIX_THREAD,       /* it is let pass by an OS thread */
    MATRIX_ON_THREAD,    /* the call itself is made by an OS thread */
    MATRIX_COLUMNS
};

/* Why a column cannot apply, and what else is special. */
enum matrix_flags {
    /* No cancel ends its wait once it has begun: it is to be let pass in every column. */
    MATRIX_STEADY = 1u << 0,
    /* It waits for nothing that a test could hold back (a yield, a file's data): only what is
     * decided before the call applies. */
    MATRIX_NO_EVENT = 1u << 1,
    /* What it waits for is a time: nobody lets it pass. */
    MATRIX_TIMED = 1u << 2,
    /* Two meet: the other one would wait itself for a caller that is not there. */
    MATRIX_MEETING = 1u << 3,
    /* A part of what a task has (its scope, its forks): a thread has none. */
    MATRIX_TASK_ONLY = 1u << 4,
    /* Without a cancel it would wait for ever: only what a cancel or a deadline ends applies. */
    MATRIX_ENDLESS = 1u << 5,
    /* It waits on a thread of the pool. */
    MATRIX_OFFLOADS = 1u << 6
};

/* All that the rows wait on; zeroed for each cell. */
struct matrix_place {
    uint64_t wait_ns;  /* how long a timed call waits */
    bool is_on_thread; /* the caller is an OS thread */
    bool is_ended;     /* a generator has been closed */
    struct bnx_runtime *runtime;
    uint32_t posts;     /* futex: lets pass who blocks a thread */
    uint32_t is_passed; /* the condition behind the condition variable */
    struct bnx_mutex mutex;
    struct bnx_cond cond;
    struct bnx_sem sem;
    struct bnx_event event;
    struct bnx_event is_begun; /* whoever the caller waits for is at it */
    struct bnx_once once;
    struct bnx_rwlock rwlock;
    struct bnx_barrier barrier;
    struct bnx_waitgroup group;
    struct bnx_limiter limiter;
    struct bnx_strand strand;
    struct bnx_chan *chan;
    struct bnx_broadcast *broadcast;
    struct bnx_subscription subscription;
    struct bnx_watch *watch;
    struct bnx_watch_reader reader;
    struct bnx_oneshot *oneshot;
    struct bnx_future *future;
    struct bnx_process *process;
    struct bnx_signal_stream *signals;
    struct bnx_timer *timer;
    struct bnx_gen *gen;
    struct bnx_gen *inner;
    struct bnx_iter iter;
    struct bnx_iter_stage stage;
    struct bnx_stream *stream; /* on fds[1] */
    struct bnx_scope scope;    /* of helpers; opened by prepare */
    struct bnx_task *helper;   /* in it */
    struct bnx_task *beneath;  /* that waits on the caller's stack, at the close of its scope */
    int fds[2];                /* a pair */
    int listener;              /* and filler[i] fill it up */
    int filler[3];             /* connections */
    struct bnx_address target; /* of the listener */
    char name[64];             /* the same as text */
    char data[4096];           /* of transfers */
};

struct matrix_row {
    const char *name; /* of the function */
    const char *how;  /* which of its ways of waiting; for reports */
    /* In order: by the test's task, by the party, by the caller, by the party, by the test's task
     * when all have gone. All but call may be NULL. */
    void (*prepare)(struct matrix_place *place);
    void (*hold)(struct matrix_place *place);
    int64_t (*call)(struct matrix_place *place); /* leaves everything as it was */
    void (*pass)(struct matrix_place *place);    /* never suspends */
    void (*end)(struct matrix_place *place);
    int64_t codes[MATRIX_COLUMNS]; /* what the call returns */
    unsigned flags;                /* enum matrix_flags */
};

/* What most calls return: `done` when they are let pass; refused and ended by a cancel. */
#define MATRIX_CODES(done, cancelled, deadline, on_thread)                                         \
    {                                                                                              \
        [MATRIX_PLAIN] = (done), [MATRIX_BEFORE] = (cancelled),                                    \
        [MATRIX_BEFORE_READY] = (cancelled), [MATRIX_WHILE] = (cancelled),                         \
        [MATRIX_DEADLINE] = (deadline), [MATRIX_SHIELDED] = (done), [MATRIX_GRACE] = (cancelled),  \
        [MATRIX_WORKER] = (done), [MATRIX_THREAD] = (done), [MATRIX_ON_THREAD] = (on_thread)       \
    }
/* Of a call that tasks and threads make alike. */
#define MATRIX_REFUSED(done) MATRIX_CODES(done, -ECANCELED, -ETIMEDOUT, done)
/* Of one that is a task's alone. */
#define MATRIX_REFUSED_TASK(done) MATRIX_CODES(done, -ECANCELED, -ETIMEDOUT, -EPERM)
/* Of one that waits in a scope or a task of its own: the deadline is not that one's. */
#define MATRIX_REFUSED_INSIDE(done) MATRIX_CODES(done, -ECANCELED, -ECANCELED, -EPERM)
/* Of one that returns the same whatever happens. */
#define MATRIX_SAME(done) MATRIX_CODES(done, done, done, done)

struct matrix_part {
    const struct matrix_row *rows;
    size_t count;
};

extern const struct matrix_part matrix_sync;
extern const struct matrix_part matrix_flow;
extern const struct matrix_part matrix_body;
extern const struct matrix_part matrix_io;
extern const struct matrix_part matrix_process;
extern const struct matrix_part matrix_file;
extern const struct matrix_part matrix_socket;
extern const struct matrix_part matrix_stream;

/* ---- What several parts use ---- */

/** Waits for the event; whoever is cancelled gives up. */
static inline int matrix_wait(struct matrix_place *place) {
    return bnx_event_wait(&place->event);
}

/** The same as a task's function. */
static inline int matrix_wait_task(void *arg) {
    struct matrix_place *place = arg;
    bnx_store_release(&place->beneath, bnx_task_self());
    return matrix_wait(place);
}

/** Waits for the event in a shield that outlasts the test: no cancel from above is seen. */
static inline int matrix_wait_steadily(struct matrix_place *place) {
    struct bnx_scope shield;
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD, .grace_ns = 3600 * BNX_NS_PER_S};
    int error = bnx_scope_open(&shield, &options);
    if (error == -EPERM) { /* a thread */
        return matrix_wait(place);
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(matrix_wait(place), 0);
    CHECK_EQ(bnx_scope_close(&shield), 0);
    return 0;
}

static inline int matrix_wait_steadily_task(void *arg) {
    return matrix_wait_steadily(arg);
}

static inline void matrix_set(struct matrix_place *place) {
    bnx_event_set(&place->event);
}

/** Spawns a helper with a handle into place->scope, which this opens. */
static inline void matrix_help(struct matrix_place *place, bnx_task_fn fn) {
    CHECK_EQ(bnx_scope_open(&place->scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&place->scope, NULL, fn, place, &place->helper), 0);
}

static inline void matrix_help_end(struct matrix_place *place) {
    CHECK_EQ(bnx_scope_close(&place->scope), 0);
}

/** Yields until a task waits. */
static inline void matrix_await_parked(const struct bnx_task *task) {
    while (bnx_task_state(task) != BNX_TASK_PARKED) { /* ends: it comes by itself */
        bnx_yield();
    }
}

#endif
