/* SPDX-License-Identifier: MIT */
/* Stacks: what they cost, how they are recycled and found. */
#include "runtime/stack.h"

#include "tests/support/test.h"
#include "tests/unit/stack_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define ADVICE_GUARD_INSTALL 102

/* Looked up here and not in the pool, so that a pool that forgets the call does not excuse
 * itself. */
static bool kernel_has_guards(void) {
    void *page =
        mmap(NULL, page_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    bool has = madvise(page, page_bytes(), ADVICE_GUARD_INSTALL) == 0;
    munmap(page, page_bytes());
    return has;
}

static int maps_lines(void) {
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL);
    int lines = 0;
    for (int c = fgetc(maps); c != EOF; c = fgetc(maps)) {
        lines += c == '\n';
    }
    fclose(maps);
    return lines;
}

static size_t resident_pages(const struct bnx_stack *stack) {
    static unsigned char present[1024];
    size_t bytes = (size_t)(stack->top - stack->low) + page_bytes();
    size_t pages = bytes / page_bytes();
    CHECK(pages <= sizeof(present));
    CHECK_EQ(mincore(stack->low, pages * page_bytes(), present), 0);
    size_t count = 0;
    for (size_t i = 0; i < pages; i++) {
        count += present[i] & 1u;
    }
    return count;
}

/* ---- what they cost ---- */

/* Claim: parked tasks cost no mappings. Method: 200,000 stacks of the default class, a page touched
 * in each; count the lines of /proc/self/maps. Fewer under a sanitizer, whose shadow is per
 * stack. */
TEST(maps_stay_few, "stack.maps_stay_few") {
    if (!kernel_has_guards()) {
        SKIP("the kernel has no MADV_GUARD_INSTALL");
    }
    size_t count = bnx_test_scale(BNX_ASAN || BNX_TSAN ? 10000 : 200000);
    struct fixture fixture;
    fixture_open(&fixture, 0);
    for (size_t i = 0; i < count; i++) {
        struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_DEFAULT);
        CHECK(stack != NULL && stack->is_guarded);
        stack->top[-64] = 1;
    }
    int lines = maps_lines();
    printf("%zu stacks, %d mappings\n", count, lines);
    CHECK(lines < 400);
    CHECK_EQ(fixture.log_count, 0);
    fixture_close(&fixture);
}

/* Claim: a stack that was used no deeper than 2 KiB keeps exactly one page resident, whatever its
 * colour and class. Method: write 2 KiB below the top of two batches of each class, ask mincore. */
TEST(one_page_resident, "stack.one_page_resident") {
    struct fixture fixture;
    fixture_open(&fixture, 0);
    for (int size_class = BNX_STACK_16K; size_class <= BNX_STACK_1M; size_class++) {
        for (int i = 0; i < 64; i++) {
            struct bnx_stack *stack =
                bnx_stack_alloc(&fixture.cache, (enum bnx_stack_class)size_class);
            CHECK(stack != NULL);
            CHECK_EQ(bnx_stack_class_of(stack), size_class);
            CHECK(bnx_stack_usable_bytes(stack) >= ((size_t)16384 << 2 * (size_class - 1)) - 1024);
            CHECK_EQ((uintptr_t)stack->top % 16, 0);
            memset(stack->top - 2048, 1, 2048);
            CHECK_EQ(resident_pages(stack), 1);
        }
    }
    fixture_close(&fixture);
}

/* Claim: tops lie on 16 different cache lines of their pages, and slots are an odd number of pages
 * apart. Method: look at 64 stacks of each class. */
TEST(tops_are_coloured, "stack.tops_are_coloured") {
    struct fixture fixture;
    fixture_open(&fixture, 0);
    for (int size_class = BNX_STACK_16K; size_class <= BNX_STACK_1M; size_class++) {
        uint64_t lines = 0;
        char *low = NULL;
        int neighbours = 0;
        for (int i = 0; i < 64; i++) {
            struct bnx_stack *stack =
                bnx_stack_alloc(&fixture.cache, (enum bnx_stack_class)size_class);
            CHECK(stack != NULL);
            lines |= UINT64_C(1) << ((uintptr_t)stack->top % 4096 / 64);
            ptrdiff_t slot = stack->low - low;
            if (low != NULL && slot > 0 && slot < (ptrdiff_t)3 << 19) {
                CHECK_EQ((size_t)slot / page_bytes() % 2, 1);
                neighbours++;
            }
            low = stack->low;
        }
        /* A shrunken slab is too short for every colour. */
        CHECK(neighbours > 0);
        CHECK_EQ(__builtin_popcountll(lines), 16);
    }
    fixture_close(&fixture);
}

/* Claim: the high-water mark is the deepest byte written, in any page, and asking touches nothing.
 * Method: write single bytes ever deeper, leaving pages between untouched; compare residency before
 * and after. */
TEST(used_is_high_water, "stack.used_is_high_water") {
    struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_1M);
    CHECK(stack != NULL);
    CHECK_EQ(bnx_stack_used(stack), 0);
    const size_t depths[] = {8, 104, 4096, 20000, 500000, bnx_stack_usable_bytes(stack)};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(depths); i++) {
        stack->top[-(ptrdiff_t)depths[i]] = 1;
        size_t resident = resident_pages(stack);
        CHECK_EQ(bnx_stack_used(stack), depths[i]);
        CHECK_EQ(resident_pages(stack), resident);
        CHECK(resident <= i + 1);
    }
    /* A page that was written with zeros only does not count. */
    struct bnx_stack *other = bnx_stack_alloc(&fixture.cache, BNX_STACK_256K);
    CHECK(other != NULL);
    ((volatile char *)other->low)[0] = 0;
    other->top[-9000] = 1;
    CHECK_EQ(bnx_stack_used(other), 9000);
    bnx_stack_free(&fixture.cache, other);
    bnx_stack_free(&fixture.cache, stack);
    fixture_close(&fixture);
}

/* ---- recycling ---- */

/* Claim: a cache holds at most BNX_STACK_CACHED_MAX stacks of a class; the rest serves other
 * workers, and nothing new is carved for them. Method: free 500 in one cache, take 500 - bound from
 * another. */
TEST(cache_bound, "stack.cache_bound") {
    enum { COUNT = 500 };
    struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stacks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = bnx_stack_alloc(&fixture.cache, BNX_STACK_64K);
        CHECK(stacks[i] != NULL);
    }
    for (int i = 0; i < COUNT; i++) {
        bnx_stack_free(&fixture.cache, stacks[i]);
        const struct bnx_stack_bin *bin = &fixture.cache.bins[BNX_STACK_64K - 1];
        CHECK(bin->loaded_count + (bin->spare != NULL ? BNX_STACK_BATCH : 0) <=
              BNX_STACK_CACHED_MAX);
    }
    bnx_stack_cache_check(&fixture.cache);
    size_t carved = bnx_load_relaxed(&fixture.pool.carved_count);
    struct bnx_stack_cache other;
    bnx_stack_cache_init(&other, &fixture.pool);
    for (int i = 0; i < COUNT - BNX_STACK_CACHED_MAX; i++) {
        CHECK(bnx_stack_alloc(&other, BNX_STACK_64K) != NULL);
    }
    CHECK_EQ(bnx_load_relaxed(&fixture.pool.carved_count), carved);
    bnx_stack_cache_fini(&other);
    fixture_close(&fixture);
}

/* Claim: within the cache's bound the stack freed last comes back first. Method: free more than a
 * batch in a known order, take them back. */
TEST(reuse_is_lifo, "stack.reuse_is_lifo") {
    struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stacks[BNX_STACK_CACHED_MAX];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
        stacks[i] = bnx_stack_alloc(&fixture.cache, BNX_STACK_256K);
        CHECK(stacks[i] != NULL);
    }
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
            bnx_store_relaxed(&stacks[i]->owner, &fixture);
            bnx_stack_free(&fixture.cache, stacks[i]);
        }
        for (size_t i = BNX_ARRAY_COUNT(stacks); i-- > 0;) {
            CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_DEFAULT) == stacks[i]);
            CHECK(bnx_load_relaxed(&stacks[i]->owner) == NULL);
        }
    }
    fixture_close(&fixture);
}

static void touch_guard(void *arg) {
    struct bnx_stack *stack = arg;
    *(volatile char *)(stack->low - 1) = 1;
}

/* Claim: trimming leaves a free stack one page, its header and its guard; nothing is trimmed twice;
 * stacks in use are left alone. Method: fill stacks, free all but one, trim, ask mincore; a child
 * hits a guard. */
TEST(trim_keeps_one_page, "stack.trim_keeps_one_page") {
    enum { COUNT = 100 };
    struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stacks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = bnx_stack_alloc(&fixture.cache, BNX_STACK_64K);
        CHECK(stacks[i] != NULL);
        memset(stacks[i]->low, 1, bnx_stack_usable_bytes(stacks[i]));
    }
    for (int i = 1; i < COUNT; i++) {
        bnx_stack_free(&fixture.cache, stacks[i]);
    }
    bnx_stack_cache_fini(&fixture.cache);
    size_t batch = bnx_stack_trim(&fixture.pool, 1);
    CHECK(batch >= 1 && batch <= BNX_STACK_BATCH);
    size_t free_count = bnx_load_relaxed(&fixture.pool.carved_count) - 1;
    CHECK_EQ(bnx_stack_trim(&fixture.pool, SIZE_MAX), free_count - batch);
    CHECK_EQ(bnx_stack_trim(&fixture.pool, SIZE_MAX), 0);
    CHECK(resident_pages(stacks[0]) >= 16);
    for (int i = 1; i < COUNT; i++) {
        CHECK_EQ(resident_pages(stacks[i]), 1);
        CHECK(bnx_stack_find((uintptr_t)stacks[i]->low) == stacks[i]);
    }
    struct death death;
    die_in_child(touch_guard, stacks[COUNT - 1], &death);
    check_killed_by(&death, SIGSEGV);
    for (size_t i = 0; i < free_count; i++) {
        CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_64K) != NULL);
    }
    CHECK_EQ(bnx_load_relaxed(&fixture.pool.carved_count), free_count + 1);
    fixture_close(&fixture);
}

/* Claim: stacks_max bounds the stacks of all classes together; a freed one can be had again.
 * Method: 50. */
TEST(limit, "stack.limit_is_null") {
    struct fixture fixture;
    fixture_open(&fixture, 50);
    struct bnx_stack *last = NULL;
    for (int i = 0; i < 25; i++) {
        CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_64K) != NULL);
    }
    /* A batch of 64K stacks is there already and counts. */
    size_t left = 50 - bnx_load_relaxed(&fixture.pool.carved_count);
    for (size_t i = 0; i < left; i++) {
        last = bnx_stack_alloc(&fixture.cache, BNX_STACK_1M);
        CHECK(last != NULL);
    }
    CHECK(left > 0);
    CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_1M) == NULL);
    CHECK_EQ(bnx_load_relaxed(&fixture.pool.carved_count), 50);
    bnx_stack_free(&fixture.cache, last);
    CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_1M) == last);
    fixture_close(&fixture);
}

/* ---- finding, and the ends of life ---- */

/* Claim: every address of a slot, guard included, finds its stack; an address outside finds none,
 * nor does one of a closed pool. Method: two pools; the edges of many slots. */
TEST(find_by_address, "stack.find_by_address") {
    static struct fixture first, second;
    fixture_open(&first, 0);
    fixture_open(&second, 0);
    for (int size_class = BNX_STACK_16K; size_class <= BNX_STACK_1M; size_class++) {
        for (int i = 0; i < 100; i++) {
            struct fixture *fixture = i % 2 == 0 ? &first : &second;
            struct bnx_stack *stack =
                bnx_stack_alloc(&fixture->cache, (enum bnx_stack_class)size_class);
            CHECK(stack != NULL);
            uintptr_t low = (uintptr_t)stack->low;
            CHECK(bnx_stack_find(low) == stack);
            CHECK(bnx_stack_find(low - 1) == stack);
            CHECK(bnx_stack_find(low - page_bytes()) == stack);
            CHECK(bnx_stack_find((uintptr_t)stack->top - 1) == stack);
            CHECK(bnx_stack_find((uintptr_t)stack->top + sizeof(*stack) - 1) == stack);
        }
    }
    char here;
    CHECK(bnx_stack_find((uintptr_t)&here) == NULL);
    CHECK(bnx_stack_find(0) == NULL);
    CHECK(bnx_stack_find(UINTPTR_MAX) == NULL);
    struct bnx_stack *gone = bnx_stack_alloc(&first.cache, BNX_STACK_16K);
    struct bnx_stack *here_still = bnx_stack_alloc(&second.cache, BNX_STACK_16K);
    uintptr_t address = (uintptr_t)gone->low;
    fixture_close(&first);
    CHECK(bnx_stack_find(address) == NULL);
    CHECK(bnx_stack_find((uintptr_t)here_still->low) == here_still);
    fixture_close(&second);
}

/* Claim: pools and caches that were never opened can be closed, twice as well. Method: do it. */
TEST(fini_accepts_zeroed, "stack.fini_accepts_zeroed") {
    static struct fixture fixture;
    bnx_stack_cache_fini(&fixture.cache);
    bnx_stack_pool_fini(&fixture.pool);
    fixture_open(&fixture, 0);
    for (int i = 0; i < 2; i++) {
        bnx_stack_cache_fini(&fixture.cache);
        bnx_stack_pool_fini(&fixture.pool);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
