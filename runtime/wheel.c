/* SPDX-License-Identifier: MIT */
/* The timer wheel: placing, taking, and the word that remotes change. wheel.h has the concepts. */
#include "runtime/wheel.h"

#define SLOT_MASK (BNX_WHEEL_SLOTS - 1)
#define TOP_LEVEL (BNX_WHEEL_LEVELS - 1)
#define TOP_SHIFT (TOP_LEVEL * BNX_WHEEL_SLOT_BITS)

/* At most so many timers are moved down ahead of time by one advance: some 25 us when they are in
 * no cache. */
#define EARLY_MAX 256
#define EARLY_PASSES_MAX 15 /* of one slot */

/* The occupied slot that comes up first. */
struct first_slot {
    uint64_t start_tick; /* UINT64_MAX: the wheel is empty */
    unsigned slot;       /* level * BNX_WHEEL_SLOTS + index */
};

static uint64_t word_make(uint32_t generation, enum bnx_timer_phase state, uint64_t tick) {
    return (uint64_t)(generation & BNX_TIMER_GENERATION_MASK) << BNX_TIMER_GENERATION_SHIFT |
           (uint64_t)state << BNX_TIMER_STATE_SHIFT | tick;
}

static uint32_t word_generation(uint64_t word) {
    return (uint32_t)(word >> BNX_TIMER_GENERATION_SHIFT);
}

static enum bnx_timer_phase word_state(uint64_t word) {
    return (enum bnx_timer_phase)((word >> BNX_TIMER_STATE_SHIFT) &
                                  ((1u << BNX_TIMER_STATE_BITS) - 1));
}

static uint64_t word_tick(uint64_t word) {
    return word & BNX_TIMER_TICK_NEVER;
}

/* Rounds up, so that the tick does not begin before the deadline. */
static uint64_t tick_of_deadline(uint64_t deadline_ns) {
    uint64_t tick = deadline_ns >> BNX_WHEEL_TICK_BITS;
    if ((deadline_ns & (BNX_WHEEL_TICK_NS - 1)) != 0 && !BNX_PLANT(wheel_round_down)) {
        tick++;
    }
    if (BNX_PLANT(wheel_wrap_deadline)) {
        return tick & BNX_TIMER_TICK_NEVER;
    }
    return tick < BNX_TIMER_TICK_NEVER ? tick : BNX_TIMER_TICK_NEVER;
}

/* Rounds down, and stops before the tick that means never. */
static uint64_t tick_of_clock(uint64_t now_ns) {
    uint64_t tick = now_ns >> BNX_WHEEL_TICK_BITS;
    return tick < BNX_TIMER_TICK_NEVER ? tick : BNX_TIMER_TICK_NEVER - 1;
}

static uint64_t tick_to_ns(uint64_t tick) {
    return tick >= BNX_TIMER_TICK_NEVER ? BNX_NEVER_NS : tick << BNX_WHEEL_TICK_BITS;
}

/*
 * The slot of a tick as seen from now. The level is that of the highest digit in which they differ,
 * so a slot's timers agree in all higher digits, and until now reaches a slot, one tick always maps
 * to one slot. The top level is a ring: its slots may lie beyond now's round, and
 * what is too far for the ring takes the slot that comes up last.
 */
static unsigned slot_of_tick(uint64_t now, uint64_t tick) {
    if (tick <= now) {
        return (unsigned)now & SLOT_MASK;
    }
    unsigned level = (63u - (unsigned)__builtin_clzll(tick ^ now)) / BNX_WHEEL_SLOT_BITS;
    if (bnx_unlikely(level >= TOP_LEVEL)) {
        uint64_t distance = (tick >> TOP_SHIFT) - (now >> TOP_SHIFT);
        if (distance > SLOT_MASK) {
            tick = now + ((uint64_t)SLOT_MASK << TOP_SHIFT);
        }
        level = TOP_LEVEL;
    }
    unsigned index = (unsigned)(tick >> (level * BNX_WHEEL_SLOT_BITS)) & SLOT_MASK;
    return level * BNX_WHEEL_SLOTS + index;
}

static void link_into(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer, unsigned slot,
                      unsigned pass) {
    struct bnx_wheel_timer_link *head = &wheel->slots[slot];
    struct bnx_wheel_timer_link *last = head->prev;
    timer->link.next = head;
    timer->link.prev = last;
    last->next = &timer->link;
    head->prev = &timer->link;
    timer->slot = slot & 0xfff;
    timer->pass = pass & 0xf;
    wheel->occupied[slot / BNX_WHEEL_SLOTS] |= UINT64_C(1) << (slot & SLOT_MASK);
}

/* At the tail: timers of one tick keep the order in which they were armed, but for those that have
 * been moved ahead of time, and for cut cascades. */
static void link_at(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer, uint64_t tick) {
    link_into(wheel, timer, slot_of_tick(wheel->now_tick, tick), 0);
}

static void unlink_from(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer) {
    struct bnx_wheel_timer_link *next = timer->link.next;
    struct bnx_wheel_timer_link *prev = timer->link.prev;
    next->prev = prev;
    prev->next = next;
    if (next == prev && !BNX_PLANT(wheel_stale_occupancy)) {
        /* Both neighbours are the head: two timers of one slot are never the same. */
        unsigned slot = timer->slot;
        wheel->occupied[slot / BNX_WHEEL_SLOTS] &= ~(UINT64_C(1) << (slot & SLOT_MASK));
    }
}

/*
 * Every level, from the top: where two start at one tick, the higher is emptied first, for it may
 * hold timers of that very tick (a cascade cut by max).
 */
static struct first_slot find_first(const struct bnx_wheel *wheel) {
    struct first_slot first = {.start_tick = UINT64_MAX, .slot = 0};
    for (unsigned level = BNX_WHEEL_LEVELS; level-- > 0;) {
        uint64_t occupied = wheel->occupied[level];
        if (occupied == 0) {
            continue;
        }
        unsigned shift = level * BNX_WHEEL_SLOT_BITS;
        uint64_t position = wheel->now_tick >> shift;
        unsigned current = (unsigned)position & SLOT_MASK;
        uint64_t ahead = occupied >> current;
        unsigned distance = ahead != 0
                                ? (unsigned)__builtin_ctzll(ahead)
                                : BNX_WHEEL_SLOTS - current + (unsigned)__builtin_ctzll(occupied);
        uint64_t start = (position + distance) << shift;
        if (start < first.start_tick) {
            first.start_tick = start;
            first.slot = level * BNX_WHEEL_SLOTS + ((current + distance) & SLOT_MASK);
        }
    }
    return first;
}

static void list_append(struct bnx_wheel_timer_list *list, struct bnx_wheel_timer *timer) {
    timer->link.next = NULL;
    if (list->first == NULL) {
        list->first = timer;
    } else {
        list->last->link.next = &timer->link;
    }
    list->last = timer;
    list->count++;
}

/*
 * Decides about one timer of a slot that came up, already unlinked: drop, move or take. The retry
 * happens at most once: a claim fails only because a remote cancelled, or extended beyond now.
 */
static void settle(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer,
                   struct bnx_wheel_batch *batch) {
    uint64_t word = bnx_load_acquire(&timer->word); /* E2 */
    for (;;) {
        uint64_t taken = word_make(word_generation(word), BNX_TIMER_TAKEN, word_tick(word));
        if (word_state(word) == BNX_TIMER_CANCELLED) {
            /* relaxed: no remote changes a cancelled word */
            bnx_store_relaxed(&timer->word, taken);
            list_append(&batch->dropped, timer);
            return;
        }
        bool is_later = word_tick(word) > wheel->now_tick;
        if (is_later && !BNX_PLANT(wheel_no_cascade)) {
            link_at(wheel, timer, word_tick(word));
            return;
        }
        if (BNX_PLANT(wheel_fire_without_claim)) {
            bnx_store_relaxed(&timer->word, taken); /* relaxed: a planted bug */
            break;
        }
        if (bnx_cas_acq_rel(&timer->word, &word, taken)) { /* E2 */
            break;
        }
    }
    list_append(&batch->expired, timer);
}

/* Empties one slot that came up, as far as max allows. Returns how many timers it touched. */
static size_t empty_slot(struct bnx_wheel *wheel, unsigned slot, size_t max,
                         struct bnx_wheel_batch *batch) {
    struct bnx_wheel_timer_link *head = &wheel->slots[slot];
    size_t touched = 0;
    /* A timer that is moved never comes back into this slot: its digit of this level, or a higher
     * one, now differs from the clock's. */
    while (head->next != head && (touched < max || BNX_PLANT(wheel_ignore_max))) {
        struct bnx_wheel_timer *timer = (struct bnx_wheel_timer *)(void *)head->next;
        unlink_from(wheel, timer);
        settle(wheel, timer, batch);
        touched++;
    }
    return touched;
}

/* ---- Ahead of time ---- */

/* The pass over a slot that comes up in `left` ticks: one from a quarter of its length before, the
 * next when half of that is left, and so on. 0: it is too early. */
static unsigned pass_now(uint64_t left, unsigned shift) {
    unsigned pass = 0;
    while (pass < EARLY_PASSES_MAX && left <= (UINT64_C(1) << shift) >> (pass + 2)) {
        pass++;
    }
    return pass;
}

/* Moves timers of the slot of this level that comes up next to the level below, where they can be
 * told apart by less than a round. Returns how many it has touched. */
static size_t empty_early(struct bnx_wheel *wheel, unsigned level, size_t max) {
    unsigned shift = level * BNX_WHEEL_SLOT_BITS;
    unsigned below_shift = shift - BNX_WHEEL_SLOT_BITS;
    uint64_t next = (wheel->now_tick >> shift) + 1;
    unsigned slot = level * BNX_WHEEL_SLOTS + ((unsigned)next & SLOT_MASK);
    unsigned pass = pass_now((next << shift) - wheel->now_tick, shift);
    uint64_t furthest =
        (wheel->now_tick >> below_shift) + SLOT_MASK + (BNX_PLANT(wheel_early_too_far) ? 1 : 0);
    struct bnx_wheel_timer_link *head = &wheel->slots[slot];
    size_t touched = 0;
    while (touched < max && pass > 0 && head->next != head) {
        struct bnx_wheel_timer *timer = (struct bnx_wheel_timer *)(void *)head->next;
        if (timer->pass == pass) {
            break; /* all before it have been looked at in this pass */
        }
        /* relaxed: an extend that comes now makes it come up early in the lower slot, as it does
         * in any; a cancelled one is dropped there */
        uint64_t below = word_tick(bnx_load_relaxed(&timer->word)) >> below_shift;
        unsigned below_slot = (level - 1) * BNX_WHEEL_SLOTS + ((unsigned)below & SLOT_MASK);
        bool is_near = below <= furthest;
        unlink_from(wheel, timer);
        link_into(wheel, timer, is_near ? below_slot : slot, is_near ? 0 : pass);
        touched++;
    }
    return touched;
}

/* The top level is a ring of its own, and a slot of level 1 holds few. */
static void work_ahead(struct bnx_wheel *wheel) {
    size_t touched = 0;
    for (unsigned level = 2; level < TOP_LEVEL; level++) {
        if (wheel->occupied[level] != 0 && !BNX_PLANT(wheel_never_early)) {
            touched += empty_early(wheel, level, EARLY_MAX - touched);
        }
    }
}

void bnx_wheel_init(struct bnx_wheel *wheel, uint64_t now_ns) {
    wheel->now_tick = tick_of_clock(now_ns);
    for (unsigned level = 0; level < BNX_WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
    }
    for (unsigned slot = 0; slot < BNX_WHEEL_LEVELS * BNX_WHEEL_SLOTS; slot++) {
        wheel->slots[slot].next = &wheel->slots[slot];
        wheel->slots[slot].prev = &wheel->slots[slot];
    }
    bnx_store_relaxed(&wheel->next_ns, BNX_NEVER_NS); /* relaxed: see bnx_wheel_next_published */
}

uint32_t bnx_wheel_arm(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer,
                       uint64_t deadline_ns) {
    /* relaxed: nobody but the owner changes the word of an idle timer */
    uint64_t word = bnx_load_relaxed(&timer->word);
    BNX_ASSERT(word_state(word) == BNX_TIMER_IDLE);
    uint64_t tick = tick_of_deadline(deadline_ns);
    link_at(wheel, timer, tick);
    uint32_t generation = word_generation(word);
    if (!BNX_PLANT(wheel_keep_generation)) {
        generation = (generation + 1) & BNX_TIMER_GENERATION_MASK;
    }
    bnx_store_release(&timer->word, word_make(generation, BNX_TIMER_ARMED, tick)); /* E1 */

    uint64_t tick_ns = tick_to_ns(tick);
    /* relaxed: see bnx_wheel_next_published; only structural calls write it */
    if (tick_ns < bnx_load_relaxed(&wheel->next_ns) && !BNX_PLANT(wheel_no_publish)) {
        bnx_store_relaxed(&wheel->next_ns, tick_ns);
    }
    return generation;
}

enum bnx_disarm bnx_wheel_disarm(struct bnx_wheel *wheel, struct bnx_wheel_timer *timer) {
    /* relaxed: IDLE and TAKEN are not left behind the owner's back; the other two are read again */
    uint64_t word = bnx_load_relaxed(&timer->word);
    enum bnx_timer_phase state = word_state(word);
    if (state == BNX_TIMER_IDLE || state == BNX_TIMER_TAKEN) {
        return BNX_DISARM_GONE;
    }
    uint64_t idle = word_make(word_generation(word), BNX_TIMER_IDLE, 0);
    if (BNX_PLANT(wheel_disarm_by_store)) {
        bnx_store_relaxed(&timer->word, idle); /* relaxed: a planted bug */
    } else {
        word = bnx_exchange_acquire(&timer->word, idle); /* E2 */
    }
    unlink_from(wheel, timer);
    return word_state(word) == BNX_TIMER_CANCELLED ? BNX_DISARM_CANCELLED : BNX_DISARM_ARMED;
}

size_t bnx_wheel_advance(struct bnx_wheel *wheel, uint64_t now_ns, size_t max,
                         struct bnx_wheel_batch *out_batch) {
    BNX_ASSERT(max > 0);
    *out_batch = (struct bnx_wheel_batch){.has_more = false};
    uint64_t target = tick_of_clock(now_ns);
    if (target < wheel->now_tick) {
        target = wheel->now_tick; /* another thread has read the clock later than this one */
    }

    size_t touched = 0;
    struct first_slot first = find_first(wheel);
    /* Ends: each round touches a timer, and max of them are the end. */
    while (first.start_tick <= target) {
        if (touched >= max) {
            out_batch->has_more = true;
            break;
        }
        BNX_ASSERT(first.start_tick >= wheel->now_tick);
        wheel->now_tick = first.start_tick;
        touched += empty_slot(wheel, first.slot, max - touched, out_batch);
        first = find_first(wheel);
    }
    if (!out_batch->has_more) {
        wheel->now_tick = target;
        work_ahead(wheel);
    }
    /* relaxed: see bnx_wheel_next_published. The old bound still holds, and may be the better one:
     * a slot above level 0 starts long before its timers are due. */
    bnx_store_relaxed(&wheel->next_ns, bnx_wheel_next_ns(wheel));
    return out_batch->expired.count;
}

uint64_t bnx_wheel_next_ns(const struct bnx_wheel *wheel) {
    struct first_slot first = find_first(wheel);
    if (first.start_tick == UINT64_MAX) {
        return BNX_NEVER_NS;
    }
    if (BNX_PLANT(wheel_next_is_slot_end)) {
        unsigned level = first.slot / BNX_WHEEL_SLOTS;
        first.start_tick += (UINT64_C(1) << (level * BNX_WHEEL_SLOT_BITS)) - 1;
    }
    uint64_t start_ns = tick_to_ns(first.start_tick);
    uint64_t known_ns = bnx_load_relaxed(&wheel->next_ns); /* relaxed: structural, as its writers */
    return start_ns > known_ns ? start_ns : known_ns;
}

bool bnx_wheel_timer_cancel(struct bnx_wheel_timer *timer, uint32_t generation) {
    uint64_t word = bnx_load_relaxed(&timer->word); /* relaxed: the CAS compares it */
    /* Ends: a failed CAS means that another call ended the arming or made its deadline later. */
    while (word_generation(word) == generation && word_state(word) == BNX_TIMER_ARMED) {
        uint64_t cancelled = word_make(generation, BNX_TIMER_CANCELLED, word_tick(word));
        if (bnx_cas_acq_rel(&timer->word, &word, cancelled)) { /* E1, E2 */
            return true;
        }
    }
    return false;
}

bool bnx_wheel_timer_extend(struct bnx_wheel_timer *timer, uint32_t generation,
                            uint64_t deadline_ns) {
    uint64_t tick = tick_of_deadline(deadline_ns);
    uint64_t word = bnx_load_relaxed(&timer->word); /* relaxed: the CAS compares it */
    /* Ends: as in cancel. An equal tick is stored again: the CAS is what proves it still armed. */
    while (word_generation(word) == generation && word_state(word) == BNX_TIMER_ARMED &&
           word_tick(word) <= tick) {
        uint64_t extended = word_make(generation, BNX_TIMER_ARMED, tick);
        if (bnx_cas_acq_rel(&timer->word, &word, extended)) { /* E1, E2 */
            return true;
        }
    }
    return false;
}

/* I2, I3, I5 and the links of one slot's circle; false also when the circle does not close. */
static bool slot_is_sound(const struct bnx_wheel *wheel, unsigned slot) {
    unsigned level = slot / BNX_WHEEL_SLOTS;
    unsigned shift = level * BNX_WHEEL_SLOT_BITS;
    uint64_t position = wheel->now_tick >> shift;
    unsigned distance = (slot - (unsigned)position) & SLOT_MASK;
    uint64_t start = (position + distance) << shift;
    bool is_current = distance == 0;
    const struct bnx_wheel_timer_link *head = &wheel->slots[slot];
    if (is_current && level > 0 && head->next != head && start != wheel->now_tick) {
        return false; /* I4 */
    }
    const struct bnx_wheel_timer_link *link = head;
    do {
        const struct bnx_wheel_timer_link *next = link->next;
        if (next->prev != link) {
            return false;
        }
        link = next;
        if (link == head) {
            break;
        }
        const struct bnx_wheel_timer *timer = (const struct bnx_wheel_timer *)(const void *)link;
        uint64_t word = bnx_load_relaxed(&timer->word); /* relaxed: one value is judged */
        enum bnx_timer_phase state = word_state(word);
        bool is_linked_state = state == BNX_TIMER_ARMED || state == BNX_TIMER_CANCELLED;
        bool is_in_time = word_tick(word) >= start || (is_current && level == 0);
        uint64_t due = word_tick(word) > wheel->now_tick ? word_tick(word) : wheel->now_tick;
        bool is_bounded = wheel->next_ns <= tick_to_ns(due);
        if (timer->slot != slot || !is_linked_state || !is_in_time || !is_bounded) {
            return false;
        }
    } while (true); /* ends: a circle whose back links hold returns to its head */
    return true;
}

bool bnx_wheel_check(const struct bnx_wheel *wheel) {
    for (unsigned slot = 0; slot < BNX_WHEEL_LEVELS * BNX_WHEEL_SLOTS; slot++) {
        uint64_t occupied = wheel->occupied[slot / BNX_WHEEL_SLOTS];
        bool is_marked = (occupied >> (slot & SLOT_MASK) & 1) != 0;
        bool is_filled = wheel->slots[slot].next != &wheel->slots[slot];
        if (is_marked != is_filled || !slot_is_sound(wheel, slot)) {
            return false; /* I1 or one of the others */
        }
    }
    return true;
}
