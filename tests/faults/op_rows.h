/* SPDX-License-Identifier: MIT */
/*
 * The calls that wait for an operation: how each is made, what lets it pass, what must be where
 * afterwards.
 */
#ifndef BNX_TESTS_FAULTS_OP_ROWS_H
#define BNX_TESTS_FAULTS_OP_ROWS_H

#include "tests/faults/op_faults.h"
#include "tests/io/temp.h"

#include <bonxie/process.h>

#define OP_TEXT "held back"
#define OP_TEXT_BYTES 9
#define LOCKED_BYTES ((size_t)1 << 20) /* far more than rings leave of a small limit */

/* ---- The place where a call is made ---- */

struct place {
    int fds[2]; /* a pair: the call is made on `at`, the other one is the peer's */
    int at;     /* -1: closed, or none */
    int listener;
    int peer;
    struct bnx_address address;
    struct temp temp;
    struct temp_name from;
    struct temp_name to;
    struct statx status;
    struct bnx_scope *scope; /* of a process */
    struct bnx_process *process;
    char data[64];
};

enum row_flags {
    ROW_COUNTED = 1u << 0,  /* it may transfer less */
    ROW_FILE = 1u << 1,     /* without a ring a thread of the pool does it */
    ROW_POLLED = 1u << 2,   /* with a ring it is the poller that tells it, as without */
    ROW_RING = 1u << 3,     /* without one it is refused */
    ROW_PAGES = 1u << 4,    /* read from the page cache piece by piece */
    ROW_NO_FAULT = 1u << 5, /* no operation of its own */
    ROW_NAMES = 1u << 6     /* its operation is not on `at` */
};

struct row {
    const char *name;
    unsigned kind;
    unsigned flags;
    int64_t done; /* what it returns when it has passed */
    void (*prepare)(struct place *place);
    int64_t (*call)(struct place *place);
    void (*pass)(struct place *place); /* NULL: nothing has to happen */
    /* What must hold after it has transferred, or done, so much; 0: nothing. */
    void (*verify)(struct place *place, int64_t took);
    void (*end)(struct place *place);
    int errors[8]; /* what the kernel may say */
};

extern const struct row op_rows[];
extern const size_t op_row_count;

/* ---- What is done with a row ---- */

static inline bool is_there(const struct row *row) {
    bool is_locking = row->kind == BNX_OP_SEND_ZEROCOPY;
    return ((row->flags & ROW_RING) == 0 || op_faults_has_rings()) &&
           (!is_locking || io_may_lock(LOCKED_BYTES));
}

/* Whether its end is the kernel's to tell: a cancel then waits for it. */
static inline bool is_in_flight(const struct row *row) {
    return op_faults_has_rings() ? (row->flags & ROW_POLLED) == 0 : (row->flags & ROW_FILE) != 0;
}

static inline void verify(const struct row *row, struct place *place, int64_t result) {
    if (row->verify != NULL) {
        int64_t done = (row->flags & ROW_COUNTED) != 0 ? row->done : 1;
        bool is_part = (row->flags & ROW_COUNTED) != 0 && result >= 0;
        row->verify(place, is_part ? result : result == row->done ? done : 0);
    }
}

static inline void end(const struct row *row, struct place *place) {
    if (row->end != NULL) {
        row->end(place);
    }
}

static inline void pass(const struct row *row, struct place *place) {
    if (row->pass != NULL) {
        row->pass(place);
    }
}

static inline void start(const struct row *row, struct place *place, struct bnx_scope *scope) {
    memset(place, 0, sizeof(*place));
    place->scope = scope;
    row->prepare(place);
}

/** The test has closed `at`: the other one is left. */
static inline void forget_closed(struct place *place) {
    for (int i = 0; i < 2; i++) {
        place->fds[i] = place->fds[i] == place->at ? -1 : place->fds[i];
    }
    place->at = -1;
}

#endif
