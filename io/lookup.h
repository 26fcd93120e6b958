/* SPDX-License-Identifier: MIT */
/*
 * Look-ups of names: who asks getaddrinfo(3), who waits for the answer, how long it is kept.
 *
 * Concepts
 *   look-up  one question and its answer, on the heap. Whoever asks the same meanwhile joins it: a
 *            name is asked for once at a time. Those who wait hold a reference each, and wait for
 *            the future `done`.
 *   thread   makes look-ups, one at a time, and may block in one for as long as the resolver likes.
 *            The threads are the process's, not a runtime's: nobody waits for them. They are
 *            started on demand, at most 8, detached, and end when idle for some seconds.
 *   table    finds look-ups by question: those under way, and those kept, of which the least
 *            recently used goes first.
 *   A look-up that is given up by all who waited is taken back while no thread has begun it; one
 *   that has begun ends in its own time, and its answer is kept.
 *
 * Invariants
 *   Under the lock: a look-up is QUEUED and in `jobs`, or ASKED and in no list, or KEPT and in
 *   `kept`; kept_count and job_count are the lengths of the lists.
 *   references = 1 while it is in the table + 1 while it is QUEUED or ASKED + 1 for each user.
 *   job_count > 0 => thread_count > busy_count, or all 8 threads are busy: some thread will look.
 *
 * Ordering
 *   All lists, counts and references are under the lock (L1 in lock.h). An answer is written by the
 *   thread alone, before it takes the lock to file it, and before `done` is set; it is read after
 *   `done`, or by who has found it KEPT under the lock.
 *   O1 futex  `jobs_posted` is bumped, seq_cst, after the push; a thread loads it under the lock,
 *             having found nothing, and sleeps on the value that it loaded.
 */
#ifndef BNX_IO_LOOKUP_H
#define BNX_IO_LOOKUP_H

#include <bonxie/dns.h>
#include <bonxie/future.h>

#include "runtime/list.h"

#include <stdbool.h>

/* How long answers are kept, and how many, unless somebody says otherwise. */
#define BNX_LOOKUP_POSITIVE_NS UINT64_C(30000000000)
#define BNX_LOOKUP_NEGATIVE_NS UINT64_C(3000000000)
#define BNX_LOOKUP_KEPT_MAX 256u

/* What is asked. */
enum bnx_lookup_kind {
    BNX_LOOKUP_HOST,      /* addresses of either family */
    BNX_LOOKUP_HOST_IPV4, /* of this one */
    BNX_LOOKUP_HOST_IPV6,
    BNX_LOOKUP_SERVICE /* the port of a service: the answer's one address has it */
};

/* A list around its own head. */
struct bnx_lookup_link {
    struct bnx_lookup_link *next;
    struct bnx_lookup_link *prev;
};

struct bnx_lookup {
    struct bnx_future *done;       /* a reference; immutable */
    enum bnx_lookup_kind kind;     /* immutable */
    uint32_t hash;                 /* of kind and name; immutable */
    int error;                     /* the answer: 0 or an -errno; the thread */
    uint32_t count;                /* of addresses; the thread */
    struct bnx_address *addresses; /* NULL: none; owned; the thread */

    CK_LIST_ENTRY(bnx_lookup) in_bucket; /* from here on all is under the lock */
    struct bnx_lookup_link link;         /* in jobs or kept */
    struct bnx_lookup *next_dead;        /* to be freed by who holds the last reference */
    uint64_t expires_ns;                 /* of a kept one */
    uint32_t references;
    uint32_t users; /* of those, tasks */
    uint8_t state;
    bool is_listed; /* in the table */

    char name[]; /* immutable */
};

/**
 * Finds or begins a look-up and takes a reference to it.
 * @param out_is_done true: its answer is there. Else the caller waits for its future.
 * Returns 0; -ENOMEM. That no thread could be started is what the look-up then answers.
 * Context: task; never suspends.
 */
int bnx_lookup_get(enum bnx_lookup_kind kind, const char *name, struct bnx_lookup **out_lookup,
                   bool *out_is_done);

/** Gives the reference back; a look-up that nobody wants any more and none has begun is dropped. */
void bnx_lookup_put(struct bnx_lookup *lookup);

/** Forgets the answers of that host, NULL: of all names, also those under way. Any thread. */
void bnx_lookup_forget(const char *host);

/** How long answers are kept, in ns (0: not at all), and how many. Any thread. */
void bnx_lookup_limits_set(uint64_t positive_ns, uint64_t negative_ns, uint32_t kept_max);

#endif
