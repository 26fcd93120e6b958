/* SPDX-License-Identifier: MIT */
/*
 * What was last seen of a descriptor: a byte a number, a guess that saves syscalls and is never
 * believed. bnx_close clears it; a stale byte costs one needless EAGAIN. Where a number was closed
 * and used again, or O_DIRECT set, behind our back, it costs reads of a disk that hold the worker,
 * until it is looked at again: one in BNX_HINT_READS is.
 */
#ifndef BNX_IO_HINT_H
#define BNX_IO_HINT_H

#include "runtime/atomic.h"

#define BNX_HINT_FDS (1 << 20) /* untouched pages cost nothing; descriptors beyond have no hint */

#define BNX_HINT_READS 64 /* a look costs 200 ns: 3 ns a read */

enum bnx_hint {
    BNX_HINT_READABLE = 1, /* the last receive said that more is there */
    BNX_HINT_SOCKET = 2,   /* it has received before: a poll before the receive is no risk */
    BNX_HINT_SEEN = 4,     /* somebody has looked what it is: the next three are known */
    BNX_HINT_CACHED = 8,   /* a file, read through the page cache: its reads are tried at once */
    BNX_HINT_DIRECT = 16,  /* opened with O_DIRECT: what is tried at once waits for the disk */
    BNX_HINT_WAITS = 32    /* a terminal, a device: a call may wait although poll(2) says that it is
                            * ready, since another was faster, or room is less than is written */
};

/* One byte a descriptor; any thread, relaxed: guesses order nothing. */
extern uint8_t bnx_hints[BNX_HINT_FDS];

static inline bool bnx_hint_has(int fd, enum bnx_hint hint) {
    return (unsigned)fd < BNX_HINT_FDS &&
           (bnx_load_relaxed(&bnx_hints[fd]) & hint) != 0; /* a guess */
}

static inline void bnx_hint_set(int fd, enum bnx_hint hint, bool is_set) {
    if ((unsigned)fd >= BNX_HINT_FDS) {
        return;
    }
    unsigned before = bnx_load_relaxed(&bnx_hints[fd]); /* a guess: a lost update is one */
    unsigned after = is_set ? before | (unsigned)hint : before & ~(unsigned)hint;
    if (after != before) {
        bnx_store_relaxed(&bnx_hints[fd], (uint8_t)after); /* as above */
    }
}

static inline void bnx_hint_clear(int fd) {
    if ((unsigned)fd < BNX_HINT_FDS) {
        bnx_store_relaxed(&bnx_hints[fd], 0); /* as above */
    }
}

/** Looks what a descriptor is, unless somebody has: one syscall, for a file two, once. */
void bnx_hint_look(int fd);

/** The same, again at each BNX_HINT_READS-th call of a thread. Returns whether it is CACHED. */
bool bnx_hint_is_cached(int fd);

#endif
