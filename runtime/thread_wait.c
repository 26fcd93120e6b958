/* SPDX-License-Identifier: MIT */
/* Event counts for OS threads that wait (thread_wait.h): ck_ec on the futex of the os table. */
#include "runtime/thread_wait.h"

#include "runtime/clock.h"
#include "runtime/lock.h"

#include <ck_ec.h>

#define STATE_BITS 2
enum wait_state { IDLE = 0, WAITING = 1, CLAIMED = 2 };

struct bnx_thread_block {
    struct ck_ec32 event;          /* any thread */
    uint64_t word;                 /* {sequence, wait state}; any thread; V2 V3 */
    struct bnx_thread_block *next; /* while free; under the list's lock */
};

static struct {
    struct bnx_lock lock;
    struct bnx_thread_block *first;
} free_blocks = {.lock = {CK_SPINLOCK_FAS_INITIALIZER}};

static uint64_t deadline_of(const struct timespec *deadline) {
    if (deadline == NULL) {
        return BNX_NEVER_NS;
    }
    return (uint64_t)deadline->tv_sec * BNX_NS_PER_S + (uint64_t)deadline->tv_nsec;
}

static int ec_gettime(const struct ck_ec_ops *ops, struct timespec *out) {
    (void)ops;
    uint64_t now_ns = bnx_clock_now();
    out->tv_sec = (time_t)(now_ns / BNX_NS_PER_S);
    out->tv_nsec = (long)(now_ns % BNX_NS_PER_S);
    return 0;
}

static void ec_wait32(const struct ck_ec_wait_state *state, const uint32_t *word, uint32_t expected,
                      const struct timespec *deadline) {
    (void)state;
    (void)bnx_os.futex_wait((uint32_t *)(uintptr_t)word, expected, deadline_of(deadline));
}

static void ec_wake32(const struct ck_ec_ops *ops, const uint32_t *word) {
    (void)ops;
    (void)bnx_os.futex_wake((uint32_t *)(uintptr_t)word, INT32_MAX);
}

static const struct ck_ec_ops ec_ops = {
    .gettime = ec_gettime,
    .wait32 = ec_wait32,
    .wake32 = ec_wake32,
    /* The waiters here wait for tasks: longer than any spin is worth. */
    .busy_loop_iter = 1,
};

static const struct ck_ec_mode ec_mode = {.ops = &ec_ops, .single_producer = false};

struct bnx_thread_block *bnx_thread_block_take(void) {
    bnx_lock_acquire(&free_blocks.lock); /* L1 */
    struct bnx_thread_block *block = free_blocks.first;
    if (block != NULL) {
        free_blocks.first = block->next;
    }
    bnx_lock_release(&free_blocks.lock); /* L1 */
    if (block == NULL) {
        block = bnx_os.allocate(sizeof(*block), BNX_CACHELINE_BYTES);
        if (block != NULL) {
            ck_ec32_init(&block->event, 0);
            block->word = 0;
        }
    }
    return block;
}

void bnx_thread_block_give(struct bnx_thread_block *block) {
    bnx_lock_acquire(&free_blocks.lock); /* L1 */
    block->next = free_blocks.first;
    free_blocks.first = block;
    bnx_lock_release(&free_blocks.lock); /* L1 */
}

uint32_t bnx_thread_block_count(struct bnx_thread_block *block) {
    BNX_ATOMIC_POINT(block, LOAD);
    uint32_t count = ck_ec32_value(&block->event);
    bnx_tsan_acquire(block); /* V1 */
    return count;
}

void bnx_thread_block_wait(struct bnx_thread_block *block, uint32_t seen) {
    (void)ck_ec32_wait(&block->event, &ec_mode, seen, NULL);
    bnx_tsan_acquire(block); /* V1 */
}

void bnx_thread_block_signal(struct bnx_thread_block *block) {
    BNX_ATOMIC_POINT(block, RMW);
    bnx_tsan_release(block); /* V1 */
    ck_ec32_inc(&block->event, &ec_mode);
}

static uint64_t word_of(uint64_t sequence, enum wait_state state) {
    return sequence << STATE_BITS | state;
}

uint64_t bnx_thread_block_begin(struct bnx_thread_block *block) {
    uint64_t sequence =
        (bnx_load_relaxed(&block->word) >> STATE_BITS) + 1;      /* the holder bumps it */
    bnx_store_release(&block->word, word_of(sequence, WAITING)); /* V2 */
    return sequence;
}

bool bnx_thread_block_claim(struct bnx_thread_block *block, uint64_t sequence) {
    uint64_t waiting = word_of(sequence, WAITING);
    return bnx_cas_acq_rel(&block->word, &waiting, word_of(sequence, CLAIMED)); /* V2 */
}

void bnx_thread_block_wake(struct bnx_thread_block *block) {
    uint64_t word = bnx_load_relaxed(&block->word); /* ours while it is claimed */
    bnx_store_release(&block->word, word_of(word >> STATE_BITS, IDLE)); /* V3 */
    bnx_thread_block_signal(block);
}

void bnx_thread_block_sleep(struct bnx_thread_block *block, uint64_t sequence) {
    for (;;) { /* ends with the wake */
        uint32_t seen = bnx_thread_block_count(block);
        if (bnx_load_acquire(&block->word) == word_of(sequence, IDLE)) { /* V3 */
            return;
        }
        bnx_thread_block_wait(block, seen);
    }
}

bool bnx_thread_block_sleep_until(struct bnx_thread_block *block, uint64_t sequence,
                                  uint64_t deadline_ns) {
    if (deadline_ns == BNX_NEVER_NS) {
        bnx_thread_block_sleep(block, sequence);
        return true;
    }
    struct timespec deadline = {
        .tv_sec = (time_t)(deadline_ns / BNX_NS_PER_S),
        .tv_nsec = (long)(deadline_ns % BNX_NS_PER_S),
    };
    for (;;) { /* ends with the wake or the deadline */
        uint32_t seen = bnx_thread_block_count(block);
        if (bnx_load_acquire(&block->word) == word_of(sequence, IDLE)) { /* V3 */
            return true;
        }
        if (bnx_clock_now() >= deadline_ns) {
            return false;
        }
        (void)ck_ec32_wait(&block->event, &ec_mode, seen, &deadline);
        bnx_tsan_acquire(block); /* V1 */
    }
}
