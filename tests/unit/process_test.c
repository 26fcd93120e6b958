/* SPDX-License-Identifier: MIT */
/* Claims about a runtime in its process: fork(2), dumps, the CPU's registers. */
#include "tests/support/sched.h"

#include <fcntl.h>
#include <fenv.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- fork(2) ---- */

static int do_nothing(void *arg) {
    (void)arg;
    return 0;
}

struct load {
    struct bnx_runtime *runtime;
    uint64_t rounds;  /* of all tasks */
    uint64_t is_over; /* the tasks end */
};

static int make_load(void *arg) {
    struct load *load = arg;
    while (bnx_load_relaxed(&load->is_over) == 0) { /* ends: the test says so */
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (int i = 0; i < 5; i++) {
            CHECK_EQ(bnx_spawn(&scope, do_nothing, NULL), 0);
        }
        CHECK_EQ(bnx_scope_close(&scope), 0);
        CHECK_EQ(bnx_sleep(1000), 0);
        bnx_fetch_add_relaxed(&load->rounds, 1);
    }
    return 0;
}

/* In the child; its exit code says which call was wrong. */
static void refuse_in_child(struct bnx_runtime *runtime) {
    struct bnx_future *future = NULL;
    if (bnx_runtime_spawn(runtime, do_nothing, NULL, NULL) != -ECHILD ||
        bnx_runtime_spawn(runtime, do_nothing, NULL, &future) != -ECHILD) {
        _exit(1);
    }
    if (bnx_runtime_run(runtime, do_nothing, NULL) != -ECHILD) {
        _exit(2);
    }
    if (bnx_runtime_stop(runtime) != -ECHILD ||
        bnx_runtime_wait(runtime, BNX_NEVER_NS) != -ECHILD) {
        _exit(3);
    }
    if (bnx_runtime_destroy(runtime) != -ECHILD) {
        _exit(4);
    }
    _exit(0);
}

static void expect_exit_0(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) { /* ends: the child is ours */
        CHECK_EQ(errno, EINTR);
    }
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static int fork_here(void *arg) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        refuse_in_child(arg);
    }
    return (int)child;
}

/* Claim: after fork(2) in the middle of traffic every call in the child is -ECHILD and the parent
 * goes on. Method: forks from the main thread and from a task; the load advances after each. */
TEST(runtime_fork, "runtime.fork_from_task") {
    struct load load = {.runtime = sched_create(3)};
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_runtime_spawn(load.runtime, make_load, &load, NULL), 0);
    }
    uint64_t rounds = bnx_test_scale(20);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t before = bnx_load_relaxed(&load.rounds);
        int child = i % 2 == 0 ? fork_here(load.runtime)
                               : bnx_runtime_run(load.runtime, fork_here, load.runtime);
        CHECK(child > 0);
        expect_exit_0(child);
        CHECK_EQ(bnx_runtime_run(load.runtime, do_nothing, NULL), 0);
        while (bnx_load_relaxed(&load.rounds) <= before) { /* ends: the load goes on */
            CHECK_EQ(bnx_sleep(1000), 0);
        }
    }
    bnx_store_relaxed(&load.is_over, 1);
    CHECK_EQ(bnx_runtime_wait(load.runtime, BNX_NEVER_NS), 0);
    sched_destroy(load.runtime);
}

/* ---- Dumps ---- */

#define DUMPED 20

struct dumped {
    struct sched_bell bells[DUMPED];
    struct bnx_task *tasks[DUMPED];
};

static int wait_named(void *arg) {
    sched_bell_wait(arg);
    return 0;
}

/* Reads the whole of a file from its start; the text ends with a zero. */
static void read_back(int fd, char *text, size_t bytes) {
    ssize_t got = pread(fd, text, bytes - 1, 0);
    CHECK(got > 0 && (size_t)got < bytes - 1);
    text[got] = '\0';
}

static void expect_dump(struct dumped *dumped, int fd) {
    static char text[64 * 1024];
    int lines = bnx_dump(fd);
    CHECK(lines >= DUMPED + 1);
    read_back(fd, text, sizeof(text));
    for (int i = 0; i < DUMPED; i++) {
        char line[64];
        (void)snprintf(line, sizeof(line), "task %llu waiter parked test(",
                       (unsigned long long)bnx_task_id(dumped->tasks[i]));
        CHECK(strstr(text, line) != NULL);
    }
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines--;
    }
    CHECK_EQ(lines, 0);
}

static int dump_waiters(void *arg) {
    (void)arg;
    struct dumped dumped = {.bells = {{SCHED_BELL_SILENT}}};
    struct bnx_spawn_options named = {.name = "waiter"};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < DUMPED; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, &named, wait_named, &dumped.bells[i], &dumped.tasks[i]), 0);
    }
    for (int i = 0; i < DUMPED; i++) {
        while (bnx_task_state(dumped.tasks[i]) != BNX_TASK_PARKED) { /* ends: it gets there */
            bnx_yield();
        }
    }
    int fd = memfd_create("dump", MFD_CLOEXEC);
    CHECK(fd >= 0);
    expect_dump(&dumped, fd);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(bnx_dump(-1), -EBADF);
    for (int i = 0; i < DUMPED; i++) {
        sched_bell_ring(&dumped.bells[i]);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: a dump has one line a live task, with its id, name, state and what it waits for; it may be
 * made at any time from any thread. Method: tasks that wait are all found by a task's dump; a
 * thread dumps again and again while others spawn, sleep and end. */
TEST(dump_under_load, "dump.under_load") {
    struct load load = {.runtime = sched_create(2)};
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(bnx_runtime_spawn(load.runtime, make_load, &load, NULL), 0);
    }
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    uint64_t rounds = bnx_test_scale(300);
    for (uint64_t i = 0; i < rounds; i++) {
        CHECK(bnx_runtime_dump(load.runtime, fd) >= 0);
    }
    CHECK_EQ(close(fd), 0);
    bnx_store_relaxed(&load.is_over, 1);
    CHECK_EQ(bnx_runtime_wait(load.runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_runtime_run(load.runtime, dump_waiters, NULL), 0);
    sched_destroy(load.runtime);
}

/* ---- Registers ---- */

/*
 * Fills the registers that the ABI lets a function keep over a call, and where the switch is known
 * to clobber, suspends through a call, and compares. On x86-64 no vector register survives a call,
 * so what is checked is that the compiler was told so: values live over the call are intact.
 */
typedef double vector __attribute__((vector_size(32)));

static BNX_NOINLINE void suspend(uint64_t round) {
    if (round % 4 == 0) {
        CHECK_EQ(bnx_sleep(1000), 0);
    } else {
        bnx_yield();
    }
}

#if defined(__x86_64__)
/* Returns how many of rbx, rbp, r12-r15 differ after the call. */
static BNX_NOINLINE uint64_t keep_registers(uint64_t seed, uint64_t round) {
    uint64_t bad = 0;
    __asm__ volatile("pushq %%rbp\n\t"
                     "pushq %%rbx\n\t"
                     "movq %%rsp, %%r12\n\t" /* the stack pointer is checked through r12 */
                     "andq $-16, %%rsp\n\t"
                     "pushq %%r12\n\t"
                     "pushq %[seed]\n\t"
                     "leaq 1(%[seed]), %%rbx\n\t"
                     "leaq 2(%[seed]), %%r13\n\t"
                     "leaq 3(%[seed]), %%r14\n\t"
                     "leaq 4(%[seed]), %%r15\n\t"
                     "leaq 5(%[seed]), %%rbp\n\t"
                     "movq %[round], %%rdi\n\t"
                     "call *%[callee]\n\t"
                     "popq %%rdx\n\t"
                     "popq %%rcx\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "subq %%r12, %%rcx\n\t"
                     "orq %%rcx, %%rax\n\t"
                     "subq %%rdx, %%rbx\n\t"
                     "xorq $1, %%rbx\n\t"
                     "orq %%rbx, %%rax\n\t"
                     "subq %%rdx, %%r13\n\t"
                     "xorq $2, %%r13\n\t"
                     "orq %%r13, %%rax\n\t"
                     "subq %%rdx, %%r14\n\t"
                     "xorq $3, %%r14\n\t"
                     "orq %%r14, %%rax\n\t"
                     "subq %%rdx, %%r15\n\t"
                     "xorq $4, %%r15\n\t"
                     "orq %%r15, %%rax\n\t"
                     "subq %%rdx, %%rbp\n\t"
                     "xorq $5, %%rbp\n\t"
                     "orq %%rbp, %%rax\n\t"
                     "movq %%r12, %%rsp\n\t"
                     "popq %%rbx\n\t"
                     "popq %%rbp\n\t"
                     : "=&a"(bad)
                     : [seed] "S"(seed), [round] "D"(round), [callee] "d"(suspend)
                     : "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
    return bad;
}
#else
static BNX_NOINLINE uint64_t keep_registers(uint64_t seed, uint64_t round) {
    uint64_t bad = 0;
    register uint64_t x20 __asm__("x20") = seed + 1;
    register uint64_t x28 __asm__("x28") = seed + 2;
    register double d8 __asm__("d8") = (double)seed;
    register double d15 __asm__("d15") = (double)(seed + 3);
    __asm__ volatile("" : "+r"(x20), "+r"(x28), "+w"(d8), "+w"(d15));
    suspend(round);
    __asm__ volatile("" : "+r"(x20), "+r"(x28), "+w"(d8), "+w"(d15));
    bad |= x20 ^ (seed + 1);
    bad |= x28 ^ (seed + 2);
    bad |= d8 != (double)seed || d15 != (double)(seed + 3);
    return bad;
}
#endif

/* Many vectors live over a suspension: more than fit if one were lost. */
static BNX_NOINLINE void keep_vectors(uint64_t seed, uint64_t round) {
    vector vectors[20];
    for (int i = 0; i < 20; i++) {
        double base = (double)(seed + (uint64_t)i);
        vectors[i] = (vector){base, base + 1, base + 2, base + 3};
    }
    vector sum = vectors[0] * 2;
    vector product = vectors[1] + vectors[2];
    suspend(round);
    for (int lane = 0; lane < 4; lane++) {
        double base = (double)(seed + (uint64_t)lane);
        CHECK(sum[lane] == base * 2);
        CHECK(product[lane] == base * 2 + 3);
        for (int i = 0; i < 20; i++) {
            CHECK(vectors[i][lane] == base + i);
        }
    }
}

static int keep_all(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    for (uint64_t round = 0; round < 100; round++) {
        CHECK_EQ(keep_registers(seed * 1000003 + round, round), 0);
        keep_vectors(seed + round, round);
    }
    return 0;
}

static int keep_many(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uintptr_t i = 1; i <= 30; i++) {
        CHECK_EQ(bnx_spawn(&scope, keep_all, (void *)i), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

/* Claim: everything that the ABI keeps over a call is kept over a suspension, on another worker
 * too. Method: each register holds a value of the task's own; many tasks in turns. */
TEST(context_registers, "context.registers") {
    sched_run_each(keep_many, NULL);
}

static BNX_NOINLINE int rounding(void) {
    return fegetround();
}

static int offload_rounding(void *arg) {
    CHECK_EQ(rounding(), (int)(intptr_t)arg);
    return 0;
}

static int round_own_way(void *arg) {
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    uint64_t index = (uintptr_t)arg;
    int mode = modes[index % 4];
    CHECK_EQ(rounding(), FE_TONEAREST);
    CHECK_EQ(fesetround(mode), 0);
    for (uint64_t round = 0; round < 100; round++) {
        suspend(round);
        CHECK_EQ(rounding(), mode);
        if (round % 10 == 0) {
            CHECK_EQ(bnx_offload(offload_rounding, (void *)(intptr_t)mode), 0);
            CHECK_EQ(rounding(), mode);
        }
    }
    return 0; /* and leaves it so */
}

static int offload_nearest(void *arg) {
    (void)arg;
    CHECK_EQ(rounding(), FE_TONEAREST);
    return 0;
}

static int round_as_usual(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 100; round++) {
        suspend(round);
        CHECK_EQ(rounding(), FE_TONEAREST);
        if (round % 10 == 0) {
            CHECK_EQ(bnx_offload(offload_nearest, NULL), 0);
        }
    }
    return 0;
}

static int round_many(void *arg) {
    (void)arg;
    struct bnx_spawn_options own = {.flags = BNX_SPAWN_FP_STATE};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uintptr_t i = 0; i < 20; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, &own, round_own_way, (void *)i, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, round_as_usual, NULL), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(rounding(), FE_TONEAREST);
    return 0;
}

/* Claim: a task spawned with its own control words keeps its rounding mode over suspensions, other
 * workers and the offload pool, and no other task ever sees it. */
TEST(context_rounding, "context.rounding_mode") {
    sched_run_each(round_many, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
