/* SPDX-License-Identifier: MIT */
/* The parked bits and the count of searchers; the protocol is in idle.h. */
#include "runtime/idle.h"

#include "runtime/check.h"

#include <string.h>

void bnx_idle_init(struct bnx_idle *idle, uint32_t worker_count) {
    memset(idle, 0, sizeof(*idle));
    idle->worker_count = worker_count;
}

bool bnx_idle_search_begin(struct bnx_idle *idle) {
    uint32_t busy = idle->worker_count - bnx_load_relaxed(&idle->parked_count); /* a hint */
    uint32_t limit = busy / 2 > 0 ? busy / 2 : 1;
    uint32_t now = bnx_load_relaxed(&idle->searching); /* the CAS decides */
    while (now < limit) { /* ends: each failure means another's success */
        if (bnx_cas_seq_cst(&idle->searching, &now, now + 1)) { /* I2 */
            return true;
        }
    }
    return false;
}

bool bnx_idle_search_end(struct bnx_idle *idle) {
    uint32_t before = bnx_fetch_sub_seq_cst(&idle->searching, 1); /* I2 */
    BNX_ASSERT(before > 0);
    return before == 1;
}

void bnx_idle_enter(struct bnx_idle *idle, uint32_t index) {
    bnx_fetch_add_relaxed(&idle->parked_count, 1); /* a hint */
    uint64_t bit = UINT64_C(1) << (index % 64);
    bnx_fetch_or_seq_cst(&idle->parked[index / 64], bit); /* I1 */
}

/* Takes a bit away; exactly one party gets true for each time it was set. */
static bool take_bit(struct bnx_idle *idle, uint32_t index) {
    uint64_t bit = UINT64_C(1) << (index % 64);
    uint64_t before = bnx_fetch_and_seq_cst(&idle->parked[index / 64], ~bit); /* I1 */
    if ((before & bit) == 0) {
        return false;
    }
    bnx_fetch_sub_relaxed(&idle->parked_count, 1); /* a hint */
    return true;
}

bool bnx_idle_leave(struct bnx_idle *idle, uint32_t index) {
    return take_bit(idle, index);
}

bool bnx_idle_is_parked(const struct bnx_idle *idle, uint32_t index) {
    return (bnx_load_seq_cst(&idle->parked[index / 64]) >> (index % 64) & 1) != 0; /* I1 */
}

/* Lowest parked worker whose bit could be taken, or -1. */
static int take_lowest(struct bnx_idle *idle) {
    uint32_t words = (idle->worker_count + 63) / 64;
    for (uint32_t i = 0; i < words; i++) {
        uint64_t bits = bnx_load_seq_cst(&idle->parked[i]); /* I1 */
        while (bits != 0) {                                 /* ends: a bit fewer each round */
            uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(bits);
            if (take_bit(idle, index)) {
                return (int)index;
            }
            bits &= bits - 1;
        }
    }
    return -1;
}

int bnx_idle_claim_any(struct bnx_idle *idle) {
    /* While this thread is counted as a searcher, another producer may rely on it and wake nobody;
     * so before it leaves with nothing it looks again for a worker that parked meanwhile. Ends:
     * each further round needs a worker to have parked since the last. */
    for (;;) {
        uint32_t none = 0;
        if (!bnx_cas_seq_cst(&idle->searching, &none, 1)) { /* I2 */
            return -1;
        }
        int index = take_lowest(idle);
        if (index >= 0) {
            return index;
        }
        bnx_fetch_sub_seq_cst(&idle->searching, 1); /* I2 */
        bool is_parked_now = false;
        for (uint32_t i = 0; i < (idle->worker_count + 63) / 64; i++) {
            is_parked_now |= bnx_load_seq_cst(&idle->parked[i]) != 0; /* I1 */
        }
        if (!is_parked_now) {
            return -1;
        }
    }
}
