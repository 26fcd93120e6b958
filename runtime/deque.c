/* SPDX-License-Identifier: MIT */
/* The slow and the foreign side of the work-stealing deque; the head of deque.h explains it. */
#include "runtime/deque.h"

#include "runtime/os.h"

#include <errno.h>

static struct bnx_deque_array *array_create(uint64_t capacity, struct bnx_deque_array *previous) {
    size_t bytes = sizeof(struct bnx_deque_array) + (size_t)capacity * sizeof(void *);
    struct bnx_deque_array *array = bnx_os.allocate(bytes, BNX_CACHELINE_BYTES);
    if (array == NULL) {
        return NULL;
    }
    array->mask = capacity - 1;
    array->previous = previous;
    return array;
}

int bnx_deque_init(struct bnx_deque *deque, uint32_t capacity, uint64_t start_index) {
    BNX_CHECK(BNX_IS_POWER_OF_TWO(capacity));
    BNX_CHECK(capacity >= 2);
    BNX_CHECK(capacity <= BNX_DEQUE_ITEMS_MAX);

    *deque = (struct bnx_deque){0};
    struct bnx_deque_array *array = array_create(capacity, NULL);
    if (array == NULL) {
        return -ENOMEM;
    }
    /* Relaxed: whoever hands the deque to other threads publishes it. */
    bnx_store_relaxed(&deque->top, start_index);
    bnx_store_relaxed(&deque->bottom, start_index);
    bnx_store_relaxed(&deque->array, array);
    return 0;
}

void bnx_deque_fini(struct bnx_deque *deque) {
    struct bnx_deque_array *array = bnx_load_relaxed(&deque->array); /* nobody else is there */
    /* Ends: each array is at least twice the next one. */
    while (array != NULL) {
        struct bnx_deque_array *previous = array->previous;
        bnx_os.release(array);
        array = previous;
    }
    *deque = (struct bnx_deque){0};
}

int bnx_deque_push_grow(struct bnx_deque *deque, void *item) {
    struct bnx_deque_array *old = bnx_load_relaxed(&deque->array); /* the owner's own store */
    uint64_t capacity = old->mask + 1;
    if (capacity >= BNX_DEQUE_ITEMS_MAX) {
        return -ENOMEM;
    }
    struct bnx_deque_array *array = array_create(capacity * 2, old);
    if (array == NULL) {
        return -ENOMEM;
    }

    uint64_t bottom = bnx_load_relaxed(&deque->bottom); /* the owner's own store */
    /* Relaxed: what a thief has taken meanwhile is copied in vain, and nothing is overwritten. */
    uint64_t top = bnx_load_relaxed(&deque->top);
    for (uint64_t i = top; i != bottom; i++) {
        /* Relaxed: the owner's own stores; E4 publishes the copy. */
        void *kept = bnx_load_relaxed(&old->slots[i & old->mask]);
        bnx_store_relaxed(&array->slots[i & array->mask], kept);
    }
    if (!BNX_PLANT(deque_grow_forgets)) {
        bnx_store_release(&deque->array, array); /* E4 */
    }
    bnx_store_relaxed(&array->slots[bottom & array->mask], item); /* E1 publishes it */
    bnx_store_release(&deque->bottom, bottom + 1);                /* E1 */
    return 0;
}

void *bnx_deque_pop_last(struct bnx_deque *deque, uint64_t bottom, uint64_t top) {
    void *item = NULL;
    if (bottom == top) {
        struct bnx_deque_array *array = bnx_load_relaxed(&deque->array); /* the owner's own store */
        item = bnx_load_relaxed(&array->slots[bottom & array->mask]);    /* the owner's own store */
        if (BNX_PLANT(deque_no_last_cas)) {
            return item;
        }
        if (!bnx_cas_seq_cst(&deque->top, &top, top + 1)) { /* E2, E3 */
            item = NULL;
        }
    }
    /* Relaxed: bottom equals top again, so this exposes no item. */
    bnx_store_relaxed(&deque->bottom, bottom + 1);
    return item;
}

void *bnx_deque_steal(struct bnx_deque *deque, bool *out_lost_race) {
    *out_lost_race = false;
    /* Relaxed: a hint that saves the barrier. An item that it misses is found by the next look; the
     * look that must not miss one is bnx_deque_is_empty_seq_cst. */
    if (bnx_deque_count(deque) == 0) {
        return NULL;
    }

    uint64_t top = bnx_load_seq_cst(&deque->top); /* E3 */
    if (!BNX_PLANT(deque_no_barrier)) {
        bnx_heavy_barrier(); /* E3 */
    }
    uint64_t bottom = bnx_load_seq_cst(&deque->bottom); /* E1, E3 */
    if ((int64_t)(bottom - top) <= 0) {
        return NULL;
    }
    const struct bnx_deque_array *array = bnx_load_acquire(&deque->array); /* E4 */
    /* Relaxed: E1 brought the slot here; if it is being filled again, the cas below fails. */
    void *item = bnx_load_relaxed(&array->slots[top & array->mask]);
    if (!bnx_cas_seq_cst(&deque->top, &top, top + 1)) { /* E2, E3 */
        *out_lost_race = true;
        return NULL;
    }
    return item;
}

void *bnx_deque_pop_oldest(struct bnx_deque *deque) {
    uint64_t bottom = bnx_load_relaxed(&deque->bottom); /* the owner's own store */
    const struct bnx_deque_array *array =
        bnx_load_relaxed(&deque->array);          /* the owner's own store */
    uint64_t top = bnx_load_relaxed(&deque->top); /* the cas decides */
    /* Ends: the cas fails only when a thief has taken an item, and nobody adds any meanwhile. */
    while ((int64_t)(bottom - top) > 0) {
        void *item = bnx_load_relaxed(&array->slots[top & array->mask]); /* the owner's own store */
        if (bnx_cas_seq_cst(&deque->top, &top, top + 1)) {               /* E3 */
            return item;
        }
    }
    return NULL;
}

bool bnx_deque_check(const struct bnx_deque *deque) {
    const struct bnx_deque_array *array =
        bnx_load_relaxed(&deque->array); /* the owner's own store */
    if (array == NULL || !BNX_IS_POWER_OF_TWO(array->mask + 1)) {
        return false;
    }
    /* Relaxed: bottom is the owner's own; top can only have grown since, towards it. */
    uint64_t count = bnx_load_relaxed(&deque->bottom) - bnx_load_relaxed(&deque->top);
    return count <= array->mask + 1 && array->mask < BNX_DEQUE_ITEMS_MAX;
}
