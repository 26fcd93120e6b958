/* SPDX-License-Identifier: MIT */
/*
 * Stealing: one bounded raid over the other workers.
 *
 * Victims are visited near ones first (SMT sibling, same cache, same node, remote), from a random
 * start with a random stride that is coprime to their number, so that thieves do not all queue at
 * the same one. From a runq half is taken, from a deque the oldest descriptor; the next slot only
 * in the last pass, and only when it has waited long enough that its owner is evidently not about
 * to run it.
 *
 * Short queues
 *   What waits in a runq has run before, mostly, and is about to again: its stack and what it works
 *   on are in its owner's cache, a socket's packets come in near it. Moved it costs a
 *   microsecond or two more, and again when it comes back: two workers on 64 connections spent 1.3
 *   of the CPU a request that one did. A runq that its owner should empty within BNX_BACKLOG_NS is
 *   short: it is left alone, nobody is woken for it, and a worker sleeps beside it. Except when
 *   - its oldest item is one of a flush, a child that has not run: nothing is lost by moving it;
 *   - the owner has not passed by for that long, while a thief is awake and looks: it computes, or
 *     has no CPU;
 *   - the watchdog says so (is_behind): it has found the owner stalled, or the runq not empty at
 *     each of its looks for some milliseconds. That is no burst, it is too much work for one, in a
 *     circle of few tasks: a queue never gets long where each waits for the next.
 *   So without a watchdog no runq is short. Of one that is not, by a victim that ticks, a single
 *   item is left alone in the first pass.
 *
 * Shares
 *   A descriptor stolen from a deque costs a membarrier, which interrupts the owner: in a virtual
 *   machine 13 us of the thief, for a task that may take 30 ns. From a wide deque the thief asks
 *   instead: the owner, at its next spawn or child, moves a part of it to its runq, where half of
 *   that is taken at once and without a barrier. An owner that does not answer, because its task
 *   computes, is stolen from as any other, and not asked again until it has passed by. One that
 *   joins forks passes by once in a budget of them.
 *
 * Loot
 *   What a raid on a deque has brought is judged by how long it kept the thief busy. When that was
 *   too short, and its owner was there to run it, the deques are left alone for a while, longer
 *   each time: 1000 empty tasks cost two workers 70 ns each when the second one helped at all
 *   costs, 29 now, and one worker 25.
 */
#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"

#define PASSES 2          /* the second one also takes what the first left to its owner */
#define ANSWER_PAUSES 100 /* about 3 us */
/* What keeps a thief busy for less was cheaper to run where it was: one descriptor, for which a
 * membarrier was made; each of a share, whose memory is in the owner's cache. */
#define LOOT_NS_ALONE 5000
#define LOOT_NS_SHARED 500
/* How long deques are left alone then, doubled each time in a row. */
#define RAID_PAUSE_NS_FIRST 8000
#define RAID_PAUSE_NS_MAX 64000

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b) {
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* ---- Short queues ---- */

bool bnx_worker_is_fresh(const struct bnx_worker *worker) {
    uint32_t oldest = bnx_runq_head_real(bnx_load_relaxed(&worker->runq.head)); /* hints, all */
    uint32_t from = bnx_load_relaxed(&worker->fresh_from);
    uint32_t count = bnx_load_relaxed(&worker->fresh_until) - from;
    return oldest - from < count && count <= BNX_RUNQ_CAPACITY; /* else of two different windows */
}

bool bnx_worker_is_short(const struct bnx_worker *worker) {
    if (!bnx_runtime_is_watched(worker->runtime) || bnx_worker_is_fresh(worker) ||
        bnx_load_relaxed(&worker->is_behind) != 0) { /* a hint */
        return false;
    }
    uint64_t queued = bnx_runq_count(&worker->runq);
    return queued * bnx_load_relaxed(&worker->slice_ns) < BNX_BACKLOG_NS;
}

/* The runq of the victim is short: whether its owner has not passed by for so long that the thief
 * takes from it all the same. It keeps an eye on one such victim at a time, until that ticks. */
static bool is_overdue(struct bnx_worker *thief, struct bnx_worker *victim, uint64_t now_ns) {
    if (thief->eyed == NULL) {
        thief->eyed = victim;
        thief->eyed_heartbeat = bnx_load_relaxed(&victim->heartbeat); /* a hint */
        thief->eyed_beat_ns = now_ns;
    }
    return thief->eyed == victim && now_ns - thief->eyed_beat_ns >= BNX_BACKLOG_NS;
}

/* Forgets the one that it keeps an eye on if that has passed by since. */
static void look_at_eyed(struct bnx_worker *thief) {
    if (thief->eyed != NULL &&
        bnx_load_relaxed(&thief->eyed->heartbeat) != thief->eyed_heartbeat) { /* a hint */
        thief->eyed = NULL;
    }
}

/* As bnx_runq_steal. What has not run yet does not run by being moved. */
static void *steal_half(struct bnx_worker *thief, struct bnx_worker *victim, uint32_t *count) {
    bool was_fresh = bnx_worker_is_fresh(victim);
    uint32_t tail = bnx_load_relaxed(&thief->runq.tail); /* the owner's own store */
    void *item = bnx_runq_steal(&victim->runq, &thief->runq, count);
    if (item != NULL && was_fresh) {
        bnx_store_relaxed(&thief->fresh_from, tail); /* hints, both */
        bnx_store_relaxed(&thief->fresh_until, tail + *count - 1);
    }
    return item;
}

/* ---- Next slots, shares, loot ---- */

static void *steal_next_slot(struct bnx_worker *victim, uint64_t now_ns) {
    if (bnx_load_relaxed(&victim->next_slot) == NULL) { /* a hint; the exchange decides */
        return NULL;
    }
    uint64_t since_ns = bnx_load_relaxed(&victim->next_since_ns); /* a hint */
    if (now_ns < since_ns + BNX_NEXT_STEAL_AGE_NS) {
        return NULL;
    }
    return bnx_exchange_acquire(&victim->next_slot, NULL); /* W1 */
}

/* Returns whether the owner has answered. */
static bool ask_for_share(struct bnx_worker *victim) {
    if (bnx_load_relaxed(&victim->share_asked) != BNX_SHARE_NONE) { /* a hint */
        return false;
    }
    bnx_store_relaxed(&victim->share_asked, BNX_SHARE_WANTED); /* a hint */
    for (int i = 0; i < ANSWER_PAUSES; i++) {
        if (bnx_load_relaxed(&victim->share_asked) == BNX_SHARE_NONE) { /* a hint */
            return true;
        }
        bnx_pause();
    }
    bnx_store_relaxed(&victim->share_asked, BNX_SHARE_SIGN); /* nobody waits for one any more */
    return false;
}

/* Whether what the last raid brought was worth it; if not, deques are left alone for a while. */
static void judge_loot(struct bnx_worker *thief, uint64_t now_ns) {
    if (thief->loot_count == 0) {
        return;
    }
    uint64_t fair_ns =
        thief->loot_count == 1 ? LOOT_NS_ALONE : (uint64_t)thief->loot_count * LOOT_NS_SHARED;
    /* An owner that has not passed by since would not have run it. */
    bool is_absent = bnx_load_relaxed(&thief->loot_from->share_asked) != BNX_SHARE_NONE;
    if (is_absent || now_ns - thief->loot_ns >= fair_ns) {
        thief->raid_pause_ns = 0;
    } else {
        uint64_t pause_ns = thief->raid_pause_ns * 2;
        pause_ns = pause_ns > RAID_PAUSE_NS_FIRST ? pause_ns : RAID_PAUSE_NS_FIRST;
        thief->raid_pause_ns = pause_ns < RAID_PAUSE_NS_MAX ? pause_ns : RAID_PAUSE_NS_MAX;
        thief->raid_after_ns = now_ns + thief->raid_pause_ns;
    }
    thief->loot_count = 0;
}

static void note_loot(struct bnx_worker *thief, struct bnx_worker *victim, uint32_t count) {
    if (bnx_load_relaxed(&victim->share_asked) == BNX_SHARE_NONE) { /* hints, both */
        bnx_store_relaxed(&victim->share_asked, BNX_SHARE_SIGN);
    }
    thief->loot_from = victim;
    thief->loot_count = count;
    thief->loot_ns = bnx_clock_now();
}

/* From the deque, or what its owner has moved out of it. */
static void *raid_deque(struct bnx_worker *thief, struct bnx_worker *victim) {
    void *item = NULL;
    uint32_t count = 0;
    bool is_wide = bnx_deque_count(&victim->deque) >= BNX_SHARE_MIN;
    if (is_wide && (bnx_runq_count(&victim->runq) >= 2 || ask_for_share(victim))) {
        item = steal_half(thief, victim, &count);
    }
    if (item == NULL) { /* it has none, or another thief is at it, who may have lost his CPU */
        bool lost_race = false;
        item = bnx_deque_steal(&victim->deque, &lost_race);
        count = 1;
    }
    if (item == NULL) {
        return NULL;
    }
    note_loot(thief, victim, count);
    if (bnx_item_is_fork(item)) {
        bnx_counter_bump(&thief->counters.forks_stolen);
    }
    return item;
}

/* ---- The raid ---- */

/* Whether something in the runq is worth taking. */
static bool is_runq_worth(struct bnx_worker *thief, struct bnx_worker *victim, bool is_last_pass,
                          uint64_t now_ns) {
    uint32_t queued = bnx_runq_count(&victim->runq);
    if (queued == 0) {
        if (thief->eyed == victim && !BNX_PLANT(thief_eyes_nothing)) {
            thief->eyed = NULL;
        }
        return false;
    }
    if (bnx_worker_is_short(victim)) {
        return is_overdue(thief, victim, now_ns);
    }
    bool is_ticking = bnx_load_relaxed(&victim->is_in_loop) == 0; /* a hint */
    return queued >= 2 || !is_ticking || is_last_pass;
}

static void *steal_from(struct bnx_worker *thief, struct bnx_worker *victim, bool is_last_pass,
                        uint64_t now_ns) {
    void *item = NULL;
    if (now_ns >= thief->raid_after_ns && bnx_deque_count(&victim->deque) != 0) {
        item = raid_deque(thief, victim);
    }
    if (item != NULL) {
        return item;
    }
    if (is_runq_worth(thief, victim, is_last_pass, now_ns)) {
        uint32_t count = 0;
        item = steal_half(thief, victim, &count);
        if (item != NULL) {
            return item;
        }
    }
    return is_last_pass ? steal_next_slot(victim, now_ns) : NULL;
}

/* One pass over the victims [begin, end) of one tier, each visited once. */
static void *raid_tier(struct bnx_worker *thief, uint32_t begin, uint32_t end, bool is_last_pass,
                       uint64_t now_ns) {
    struct bnx_runtime *runtime = thief->runtime;
    uint32_t count = end - begin;
    if (count == 0) {
        return NULL;
    }
    uint32_t at = bnx_rng_below(&thief->rng, count);
    uint32_t stride = 1 + bnx_rng_below(&thief->rng, count);
    while (greatest_common_divisor(stride, count) != 1) { /* ends: 1 is coprime to all */
        stride--;
    }
    for (uint32_t i = 0; i < count; i++, at = (at + stride) % count) {
        struct bnx_worker *victim = &runtime->workers[thief->victims[begin + at]];
        void *item = steal_from(thief, victim, is_last_pass, now_ns);
        if (item != NULL) {
            return item;
        }
    }
    return NULL;
}

void *bnx_worker_steal(struct bnx_worker *worker) {
    uint64_t now_ns = bnx_clock_now();
    worker->now_ns = now_ns;
    judge_loot(worker, now_ns);
    look_at_eyed(worker);
    for (int pass = 0; pass < PASSES || BNX_PLANT(steal_without_end); pass++) {
        uint32_t begin = 0;
        for (int tier = 0; tier < BNX_STEAL_TIERS; tier++) {
            uint32_t end = worker->tier_end[tier];
            void *item = raid_tier(worker, begin, end, pass == PASSES - 1, now_ns);
            if (item != NULL) {
                worker->eyed = NULL;
                bnx_counter_bump(&worker->counters.steals);
                return item;
            }
            begin = end;
        }
    }
    return NULL;
}

void bnx_worker_rank_victims(struct bnx_worker *worker) {
    struct bnx_runtime *runtime = worker->runtime;
    const struct bnx_topology *topology = &runtime->topology;
    uint32_t count = 0;
    uint32_t own_cpu = runtime->is_placed ? bnx_topology_worker_cpu(topology, worker->index) : 0;
    for (uint32_t tier = 0; tier < BNX_STEAL_TIERS; tier++) {
        for (uint32_t i = 0; i < runtime->worker_count; i++) {
            uint32_t distance = 0;
            if (runtime->is_placed) {
                uint32_t cpu = bnx_topology_worker_cpu(topology, i);
                distance = bnx_topology_distance(topology, own_cpu, cpu);
            }
            if (i != worker->index && distance == tier) {
                worker->victims[count++] = (uint16_t)i;
            }
        }
        worker->tier_end[tier] = (uint16_t)count;
    }
}
