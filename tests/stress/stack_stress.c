/* SPDX-License-Identifier: MIT */
/* Stacks that are taken by one thread and freed by another, while a third trims. */
#include "runtime/stack.h"

#include "runtime/os.h"
#include "runtime/rng.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#define THREADS 3
#define HELD_MAX 100
#define MAILBOXES 8
#define FRAME_WORDS 64

static struct bnx_stack_pool pool;
static struct bnx_stack
    *mailboxes[MAILBOXES]; /* exchanged acq_rel, so that a stack comes with its frames */

struct actor {
    struct bnx_os_thread thread;
    struct bnx_stack_cache cache;
    struct bnx_rng rng;
    uint64_t rounds;
    struct bnx_stack *held[HELD_MAX];
    uint64_t tokens[HELD_MAX]; /* what was written on held[i] */
    size_t held_count;
};

static uint64_t *frame_of(const struct bnx_stack *stack) {
    return (uint64_t *)(void *)stack->top - FRAME_WORDS;
}

static void write_frame(const struct bnx_stack *stack, uint64_t token) {
    for (size_t i = 0; i < FRAME_WORDS; i++) {
        frame_of(stack)[i] = token;
    }
    stack->low[0] = (char)token;
}

static void check_frame(const struct bnx_stack *stack, uint64_t token) {
    for (size_t i = 0; i < FRAME_WORDS; i++) {
        CHECK(frame_of(stack)[i] == token);
    }
    CHECK(stack->low[0] == (char)token);
}

static void take(struct actor *actor) {
    if (actor->held_count == HELD_MAX) {
        return;
    }
    uint64_t token = bnx_rng_next(&actor->rng);
    struct bnx_stack *stack =
        bnx_stack_alloc(&actor->cache, token % 4 == 0 ? BNX_STACK_64K : BNX_STACK_16K);
    CHECK(stack != NULL);
    CHECK(bnx_load_relaxed(&stack->owner) == NULL);
    bnx_store_relaxed(&stack->owner, actor);
    write_frame(stack, token);
    actor->held[actor->held_count] = stack;
    actor->tokens[actor->held_count++] = token;
}

/* Gives one away: to the cache, or to whoever looks into the mailbox next. */
static void drop(struct actor *actor) {
    if (actor->held_count == 0) {
        return;
    }
    size_t index = bnx_rng_below(&actor->rng, (uint32_t)actor->held_count);
    struct bnx_stack *stack = actor->held[index];
    check_frame(stack, actor->tokens[index]);
    CHECK(bnx_load_relaxed(&stack->owner) == actor);
    actor->held_count--;
    actor->held[index] = actor->held[actor->held_count];
    actor->tokens[index] = actor->tokens[actor->held_count];
    if (bnx_rng_below(&actor->rng, 4) == 0) {
        uint32_t box = bnx_rng_below(&actor->rng, MAILBOXES);
        stack = bnx_exchange_acq_rel(&mailboxes[box], stack);
    }
    if (stack != NULL) {
        bnx_stack_free(&actor->cache, stack);
    }
}

static void act(void *arg) {
    struct actor *actor = arg;
    for (uint64_t round = 0; round < actor->rounds; round++) {
        /* Bursts, so that caches run over and dry. */
        uint32_t burst = bnx_rng_below(&actor->rng, HELD_MAX);
        bool is_taking = bnx_rng_below(&actor->rng, 2) == 0;
        for (uint32_t i = 0; i < burst; i++) {
            if (is_taking) {
                take(actor);
            } else {
                drop(actor);
            }
        }
        if (bnx_rng_below(&actor->rng, 16) == 0) {
            (void)bnx_stack_trim(&pool, BNX_STACK_BATCH);
        }
    }
    while (actor->held_count > 0) {
        drop(actor);
    }
    bnx_stack_cache_check(&actor->cache);
    bnx_stack_cache_fini(&actor->cache);
}

/* Claim: a stack has one holder at a time and none is lost, whoever frees it. Method: three threads
 * write tokens on the stacks they hold and check them; in the end exactly the carved stacks can be
 * taken again, each once. */
TEST(one_holder, "stack.one_holder") {
    static struct actor actors[THREADS];
    CHECK_EQ(bnx_stack_pool_init(&pool, NULL), 0);
    uint64_t seed = bnx_test_seed();
    for (size_t i = 0; i < THREADS; i++) {
        actors[i].rounds = bnx_test_scale(BNX_TSAN || BNX_ASAN ? 1000 : 5000);
        bnx_rng_init(&actors[i].rng, seed, i);
        bnx_stack_cache_init(&actors[i].cache, &pool);
        actors[i].thread = (struct bnx_os_thread){.entry = act, .arg = &actors[i]};
        CHECK_EQ(bnx_os.thread_create(&actors[i].thread), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(bnx_os.thread_join(&actors[i].thread), 0);
    }
    struct bnx_stack_cache cache;
    bnx_stack_cache_init(&cache, &pool);
    for (size_t i = 0; i < MAILBOXES; i++) {
        if (mailboxes[i] != NULL) {
            bnx_stack_free(&cache, mailboxes[i]);
        }
    }
    bnx_stack_cache_fini(&cache);

    size_t expected = bnx_load_relaxed(&pool.carved_count);
    size_t carved = expected;
    size_t taken = 0;
    for (int size_class = BNX_STACK_16K; size_class <= BNX_STACK_64K; size_class++) {
        struct bnx_stack *stack = bnx_stack_alloc(&cache, (enum bnx_stack_class)size_class);
        /* Ends: when the class is used up, a new batch is carved. */
        while (bnx_load_relaxed(&pool.carved_count) == carved) {
            CHECK(stack != NULL);
            CHECK(bnx_load_relaxed(&stack->owner) == NULL);
            bnx_store_relaxed(&stack->owner, &pool);
            taken++;
            stack = bnx_stack_alloc(&cache, (enum bnx_stack_class)size_class);
        }
        carved = bnx_load_relaxed(&pool.carved_count);
    }
    printf("%zu stacks carved\n", expected);
    CHECK_EQ(taken, expected);
    CHECK(taken > THREADS);
    bnx_stack_pool_fini(&pool);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
