/* SPDX-License-Identifier: MIT */
/* What the parts of op_faults.h share: its state, and the part that meddles with rings. */
#ifndef BNX_TESTS_FAULTS_OP_FAULTS_PVT_H
#define BNX_TESTS_FAULTS_OP_FAULTS_PVT_H

#include "tests/faults/op_faults.h"

#include "runtime/lock.h"
#include "tests/support/test.h"

#include <errno.h>
#include <liburing.h>

#define VIEWS_MAX 16
#define HELD_MAX 1024
#define FAILING_MAX 64
#define CUTS_MAX 64
#define PARTS_MAX 64

/* What a kind of operation meets. */
struct plan {
    enum op_faults_part part;
    int error;
    uint64_t kth; /* the one that finds 1 fails */
    bool is_each; /* all fail */
    bool is_held;
};

/* A ring of the runtime. */
struct view {
    struct io_uring uring; /* our own mapping */
    unsigned sq_seen;      /* submissions that have been looked at */
    unsigned cq_seen;      /* the same of completions */
};

/* A completion, or an event, that has come and is not told. */
struct held {
    int fd; /* of the ring, or the epoll instance */
    unsigned kind;
    uint64_t user_data; /* or key */
    int32_t result;     /* or events */
    uint32_t flags;
    struct bnx_op *op; /* of a ring's; NULL: a cancel */
    void *received;    /* what was in its buffer; NULL: nothing */
};

/* An operation that was replaced. */
struct failing {
    uint64_t user_data;
    int error;
};

/* Vectors of a submission that are shorter than the caller made them, until the kernel has read
 * them. */
struct cut {
    const struct view *view;
    unsigned at; /* its place in the queue */
    struct iovec *parts;
    size_t count;
    struct iovec whole[PARTS_MAX];
};

struct op_faults {
    struct bnx_os real;
    struct bnx_lock lock; /* of all that follows */
    bool has_rings;       /* the last runtime */
    bool is_never_inline;
    bool has_failed;
    int cancel_answer;
    uint64_t cancels;
    uint64_t failures;
    struct plan plans[OP_FAULTS_KINDS];
    struct view views[VIEWS_MAX];
    uint32_t view_count;
    struct held held[HELD_MAX];
    uint32_t held_count;
    struct held due[HELD_MAX]; /* events that epoll_wait shall tell */
    uint32_t due_count;
    struct failing failing[FAILING_MAX];
    uint32_t failing_count;
    struct cut cuts[CUTS_MAX];
    uint32_t cut_count;
    uint32_t blocked; /* calls on threads of the pool that are held back */
    uint32_t gate;    /* futex of those */
    int doorbell;     /* an eventfd in every epoll instance */
    struct bnx_lock post_lock;
    int poster_error;       /* why there is no poster, and so no ring; immutable after install */
    bool can_post;          /* what was held back on a ring; as above */
    struct io_uring poster; /* its messages are the completions that come late; under post_lock */
};

extern struct op_faults op_faults;

static inline void lock(void) {
    bnx_lock_acquire(&op_faults.lock);
}

static inline void unlock(void) {
    bnx_lock_release(&op_faults.lock);
}

/** Whether a transfer may end before its end: not that of a message, or of a counter. */
bool op_faults_knows_short(int fd);

/** Shortens vectors to a part of what they hold. */
void op_faults_cut(struct iovec *parts, size_t count, enum op_faults_part part);

/** Whether this operation is the one that fails. Under the lock. */
bool op_faults_is_hit(struct plan *plan);

/** Wraps the ring's calls. */
void op_faults_install_rings(void);

/** Forgets the rings. Under the lock. */
void op_faults_forget_rings(void);

/** The ring of that descriptor; NULL: it is none's. Under the lock. */
struct view *op_faults_view_of(int fd);

/** Posts a completion that was held back. */
void op_faults_let_go(struct held *held);

#endif
