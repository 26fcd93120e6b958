/* SPDX-License-Identifier: MIT */
/* Guards: overflows that name their owner, and what is left when the kernel refuses. */
#include "runtime/stack.h"

#include "runtime/crash.h"
#include "runtime/os.h"
#include "tests/support/test.h"
#include "tests/unit/stack_fixture.h"

#include <alloca.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define ADVICE_GUARD_INSTALL 102

/* ---- running on a stack ---- */

static ucontext_t main_context, stack_context;

static void run_on(struct bnx_stack *stack, void (*body)(void)) {
    CHECK_EQ(getcontext(&stack_context), 0);
    stack_context.uc_stack.ss_sp = stack->low;
    stack_context.uc_stack.ss_size = bnx_stack_usable_bytes(stack);
    stack_context.uc_link = &main_context;
    makecontext(&stack_context, body, 0);
    CHECK_EQ(swapcontext(&main_context, &stack_context), 0);
}

static volatile int depth_max = INT_MAX;
static struct bnx_stack *running;

BNX_NOINLINE static int recurse(int depth) {
    volatile char frame[256];
    frame[0] = (char)depth;
    if (depth >= depth_max) {
        return 0;
    }
    return recurse(depth + 1) + frame[0];
}

static void overflow_by_recursion(void) {
    (void)recurse(0);
}

/* The array ends within the guard: the next frame or its own lowest byte hits it. */
static void overflow_by_alloca(void) {
    char here;
    size_t bytes = (size_t)(&here - running->low) + 512;
    volatile char *array = alloca(bytes);
    array[0] = 1;
}

static size_t describe_name(void *owner, char *buffer, size_t bytes) {
    size_t length = strlen(owner);
    length = length < bytes ? length : bytes;
    memcpy(buffer, owner, length);
    return length;
}

struct overflow {
    enum bnx_stack_class class;
    void (*body)(void);
};

static void overflow(void *arg) {
    const struct overflow *overflow = arg;
    static struct fixture fixture;
    static char name[] = "task 'parser' #42";
    fixture_open(&fixture, 0);
    /* Not the first slot: below it lies a neighbour. */
    CHECK(bnx_stack_alloc(&fixture.cache, overflow->class) != NULL);
    running = bnx_stack_alloc(&fixture.cache, overflow->class);
    CHECK(running != NULL);
    bnx_store_relaxed(&running->owner, name);
    CHECK_EQ(bnx_crash_altstack_set(), 0);
    CHECK_EQ(bnx_crash_install(describe_name), 0);
    run_on(running, overflow->body);
}

static void check_overflow_is_named(void) {
    void (*const bodies[])(void) = {overflow_by_recursion, overflow_by_alloca};
    for (int size_class = BNX_STACK_DEFAULT; size_class <= BNX_STACK_1M; size_class++) {
        for (size_t i = 0; i < BNX_ARRAY_COUNT(bodies); i++) {
            struct overflow arg = {(enum bnx_stack_class)size_class, bodies[i]};
            struct death death;
            die_in_child(overflow, &arg, &death);
            check_killed_by(&death, SIGSEGV);
            /* AddressSanitizer may have had its say about swapcontext before. */
            const char *line = strstr(death.text, "bonxie: stack overflow: task 'parser' #42;");
            CHECK(line != NULL);
            CHECK_EQ(strchr(line, '\n') + 1 - line, strlen(line));
        }
    }
}

/* Claim: an overflow by recursion or by one large frame kills the process with SIGSEGV after one
 * line with the owner's name, in every class. Method: children overflow for real, stderr is a
 * pipe. */
TEST(overflow_is_named, "stack.overflow_is_named") {
    check_overflow_is_named();
}

/* ---- the kernel, refusing ---- */

static struct bnx_os real_os;
static int64_t
    calls_until_failure; /* counts down; the call that makes it 0 fails; negative: none does */
static bool is_madvise_guard_refused;
static size_t bytes_mapped;
static const char *map_count_text; /* what /proc/sys/vm/max_map_count says; NULL = the truth */
static int map_count_fd = -1;

static bool fails_now(void) {
    return --calls_until_failure == 0;
}

static void *failing_mmap(size_t bytes, int protection, int flags, int *out_error) {
    if (fails_now()) {
        *out_error = -ENOMEM;
        return MAP_FAILED;
    }
    void *start = real_os.mmap(bytes, protection, flags, out_error);
    bytes_mapped += start != MAP_FAILED ? bytes : 0;
    return start;
}

static int counting_munmap(void *start, size_t bytes) {
    bytes_mapped -= bytes;
    return real_os.munmap(start, bytes);
}

static int failing_mprotect(void *start, size_t bytes, int protection) {
    return fails_now() ? -ENOMEM : real_os.mprotect(start, bytes, protection);
}

static int failing_madvise(void *start, size_t bytes, int advice) {
    if (fails_now() || (advice == ADVICE_GUARD_INSTALL && is_madvise_guard_refused)) {
        return -EINVAL;
    }
    return real_os.madvise(start, bytes, advice);
}

static int failing_openat(int directory, const char *path, int flags, mode_t mode) {
    int fd = fails_now() ? -EMFILE : real_os.openat(directory, path, flags, mode);
    if (strcmp(path, "/proc/sys/vm/max_map_count") == 0) {
        map_count_fd = fd;
    }
    return fd;
}

static ssize_t failing_read(int fd, void *buffer, size_t bytes) {
    if (fails_now()) {
        return -EIO;
    }
    if (fd != map_count_fd || map_count_text == NULL) {
        return real_os.read(fd, buffer, bytes);
    }
    size_t length = strlen(map_count_text);
    CHECK(length <= bytes);
    memcpy(buffer, map_count_text, length);
    return (ssize_t)length;
}

static void os_replace(void) {
    real_os = bnx_os;
    calls_until_failure = -1;
    bnx_os.mmap = failing_mmap;
    bnx_os.munmap = counting_munmap;
    bnx_os.mprotect = failing_mprotect;
    bnx_os.madvise = failing_madvise;
    bnx_os.openat = failing_openat;
    bnx_os.read = failing_read;
}

/* Claim: on a kernel without MADV_GUARD_INSTALL guards still name an overflow. Method: madvise
 * refuses. */
TEST(guard_falls_back, "stack.guard_falls_back_to_mprotect") {
    os_replace();
    is_madvise_guard_refused = true;
    check_overflow_is_named();
    struct fixture fixture;
    fixture_open(&fixture, 0);
    struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_64K);
    CHECK(stack != NULL && stack->is_guarded);
    CHECK(bnx_load_relaxed(&fixture.pool.guard_mappings) > 0);
    bnx_stack_free(&fixture.cache, stack);
    fixture_close(&fixture);
}

/* Claim: mprotect guards stop at 45 % of max_map_count, over all pools; later stacks work without a
 * guard and the log says so once; a closed pool gives its share back. Method: max_map_count of
 * 100. */
TEST(map_limit, "stack.map_limit_leaves_unguarded") {
    os_replace();
    is_madvise_guard_refused = true;
    map_count_text = "100\n";
    static struct fixture first, second;
    for (int round = 0; round < 2; round++) {
        fixture_open(&first, 0);
        fixture_open(&second, 0);
        struct fixture *const fixtures[] = {&first, &second};
        size_t guarded = 0;
        struct bnx_stack *stacks[200];
        for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
            stacks[i] = bnx_stack_alloc(&fixtures[i % 2]->cache, BNX_STACK_16K);
            CHECK(stacks[i] != NULL);
            stacks[i]->low[0] = 1;
            guarded += stacks[i]->is_guarded;
        }
        CHECK_EQ(guarded, 22); /* 45 mappings, two each; 200 + a batch exist, all of them asked */
        CHECK_EQ(first.log_count, 1);
        CHECK_EQ(second.log_count, 1);
        CHECK(strstr(first.log, "max_map_count") != NULL);
        for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
            bnx_stack_free(&fixtures[i % 2]->cache, stacks[i]);
        }
        fixture_close(&first);
        fixture_close(&second);
    }
}

static void overrun_unguarded(void *arg) {
    static struct fixture fixture;
    os_replace();
    is_madvise_guard_refused = true;
    map_count_text = "0\n"; /* not a limit: the default */
    fixture_open(&fixture, 0);
    fixture.pool.guard_mappings_max = 0;
    struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_16K);
    CHECK(stack != NULL && !stack->is_guarded);
    stack->low[0] = 1;
    stack->low[*(const ptrdiff_t *)arg] = 1;
    bnx_stack_free(&fixture.cache, stack);
}

/* Claim: without a guard, a byte written below the stack is noticed when it is freed, anywhere in
 * the pages that the guard would have had; one inside is not. Method: children write and free. */
TEST(unguarded_overrun, "stack.unguarded_overrun_is_caught") {
    const ptrdiff_t outside[] = {-1, -8, -(ptrdiff_t)page_bytes()};
    struct death death;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(outside); i++) {
        ptrdiff_t at = outside[i];
        die_in_child(overrun_unguarded, &at, &death);
        check_killed_by(&death, SIGABRT);
        CHECK(strstr(death.text, "overflowed its stack of 16 KiB") != NULL);
    }
    ptrdiff_t inside = 8;
    die_in_child(overrun_unguarded, &inside, &death);
    CHECK(WIFEXITED(death.status) && WEXITSTATUS(death.status) == 0);
}

/* What a runtime does in its life. Returns how many allocations came back NULL. */
static int live_once(void) {
    static struct fixture fixture;
    static struct bnx_stack *stacks[80];
    memset(&fixture, 0, sizeof(fixture));
    struct bnx_stack_options options = {0, keep_log, &fixture};
    int error = bnx_stack_pool_init(&fixture.pool, &options);
    if (error != 0) {
        CHECK_EQ(error, -ENOMEM);
        bnx_stack_pool_fini(&fixture.pool);
        return 1;
    }
    bnx_stack_cache_init(&fixture.cache, &fixture.pool);
    int refused = 0;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
        enum bnx_stack_class class = i % 2 == 0 ? BNX_STACK_16K : BNX_STACK_DEFAULT;
        stacks[i] = bnx_stack_alloc(&fixture.cache, class);
        if (stacks[i] == NULL) {
            refused++;
            continue;
        }
        stacks[i]->low[0] = 1;
        stacks[i]->top[-1] = 1;
    }
    for (size_t i = 0; i < BNX_ARRAY_COUNT(stacks); i++) {
        if (stacks[i] != NULL) {
            bnx_stack_free(&fixture.cache, stacks[i]);
        }
    }
    bnx_stack_cache_fini(&fixture.cache);
    (void)bnx_stack_trim(&fixture.pool, SIZE_MAX);
    bnx_stack_pool_fini(&fixture.pool);
    return refused;
}

/* Claim: whichever system call fails, the answer is NULL (or a stack that works), nothing is leaked
 * and the next call may succeed. Method: fail call 1, 2, 3, … until a life passes without a
 * failure; in a second run there are no guards by madvise. Then one mapping fails, twice, and the
 * third try succeeds. */
TEST(alloc_failure, "stack.alloc_failure_is_null") {
    os_replace();
    for (int round = 0; round < 2; round++) {
        is_madvise_guard_refused = round == 1;
        int refused = 0;
        int64_t failures = 0;
        /* Ends: a life makes a few hundred calls. */
        for (int64_t call = 1; failures == call - 1; call++) {
            calls_until_failure = call;
            refused += live_once();
            failures += calls_until_failure <= 0;
            CHECK_EQ(bytes_mapped, 0);
        }
        CHECK(failures > 80); /* a guard each, at least */
        CHECK(refused > 0);
    }
    calls_until_failure = -1;
    struct fixture fixture;
    fixture_open(&fixture, 0);
    for (int i = 0; i < 2; i++) {
        calls_until_failure = 1;
        CHECK(bnx_stack_alloc(&fixture.cache, BNX_STACK_1M) == NULL);
    }
    struct bnx_stack *stack = bnx_stack_alloc(&fixture.cache, BNX_STACK_1M);
    CHECK(stack != NULL);
    bnx_stack_free(&fixture.cache, stack);
    fixture_close(&fixture);
    CHECK_EQ(bytes_mapped, 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
