/* SPDX-License-Identifier: MIT */
/*
 * The simulator (bonxie/sim.h): virtual threads, a virtual clock, a seeded scheduler.
 *
 * Concepts
 *   thread   a stack, saved registers, and what the real machine keeps per OS thread: the worker
 *            pointer, errno, the control words. Thread 0 is the caller of bnx_sim_run. Whatever
 *            stack a thread runs on, its own or a task's, a switch saves it and comes back to it.
 *   step     one access to a shared word, by way of bnx_sim_point, or one entry of the os table. It
 *            costs STEP_NS, and at it the machine may switch. Between two steps nothing happens.
 *   machine  the entries of bnx_os for threads, futexes and time are replaced while it runs; the
 *            files that describe the CPUs are absent, so that every machine simulates the same one.
 *   chance   random switches with a probability, or priorities with random demotions (which finds
 *            bugs that need few switches at rare places); the seed chooses, and how much of either.
 *            Now and then the clock leaps, as if the thread had lost its CPU for a while.
 *
 * Invariants
 *   machine.current is the only thread that runs; the others are runnable, asleep or ended.
 *   A thread that is asleep is in no list: a wake finds it by its word's address.
 *   The same seed gives the same run: nothing here depends on addresses, the real clock or an
 *   earlier run, and what is kept between runs (stacks) decides nothing.
 *
 * No access to a shared word in this file: one OS thread sees all of it, and it must not step.
 */
#include <bonxie/sim.h>

#include "runtime/clock.h"
#include "runtime/rng.h"
#include "runtime/runtime_pvt.h"

#include <bonxie/dump.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS_MAX 256
#define STACK_BYTES ((size_t)512 * 1024)
#define GUARD_BYTES ((size_t)64 * 1024)
#define CPU_COUNT_DEFAULT 4
#define CPU_COUNT_MAX 1024
#define TID_FIRST 1000
#define STEP_NS 10 /* an uncontended access, near enough */
#define STEPS_MAX_DEFAULT UINT64_C(20000000)
#define SPURIOUS_DEFAULT 64
/* A thread that has run so long while others could is spinning, or might be. */
#define FAIR_STEPS 3000
#define LEAP_ONE_IN 64   /* of the switches */
#define LEAP_BITS_MAX 21 /* at most 2 ms: longer than a round of the watchdog */
#define CLOCK_START_NS BNX_NS_PER_S

enum state { UNUSED, RUNNABLE, ASLEEP, ENDED };

struct thread {
    struct bnx_context context;
    struct bnx_worker *worker; /* bnx_worker_current() of the thread, while it does not run */
    int saved_errno;           /* as above */
    struct bnx_fp fp;          /* as above */
    void *asan_fake;           /* its fake stack, while it does not run */
    const void *stack_bottom;  /* of the stack that it runs on, for AddressSanitizer */
    size_t stack_bytes;
    enum state state;
    uint32_t *futex;      /* ASLEEP: the word */
    uint64_t deadline_ns; /* ASLEEP: when it wakes by itself */
    int wake_result;      /* what its futex_wait returns */
    int signo;            /* a signal to be handled, 0 = none */
    int64_t priority;     /* with demotions: the highest runs */
    uint64_t cpu_ns;      /* that it has used */
    uint32_t ended_word;  /* futex of the joiner: 1 once ended */
    void (*entry)(void *);
    void *arg;
    const char *name;
    bnx_task_fn fn; /* of bnx_sim_thread_start */
    void *fn_arg;
    int fn_result;
    char *stack; /* kept for the next thread in this slot; NULL: none yet, or thread 0 */
};

static struct {
    bool is_running;
    bool must_look; /* with demotions: somebody has become runnable */
    struct bnx_sim_options options;
    struct bnx_sim_report report;
    struct bnx_rng rng;
    struct thread *current;
    struct thread *previous; /* who switched to it */
    uint32_t thread_count;   /* slots ever used in this run */
    uint64_t now_ns;
    uint64_t next_deadline_ns; /* not later than that of any sleeper */
    uint64_t run_steps;        /* since the last switch */
    int64_t priority_low;      /* below all given so far */
    struct bnx_os os;          /* the real one */
} machine;

static struct thread threads[THREADS_MAX];

static uint32_t number_of(const struct thread *thread) {
    return (uint32_t)(thread - threads);
}

static bool draw_one_in(uint32_t count) {
    return bnx_rng_below(&machine.rng, count) == 0;
}

/* ---- Failure ---- */

static void describe_thread(const struct thread *thread) {
    static const char *const states[] = {"unused", "runnable", "asleep", "ended"};
    bool is_current = thread == machine.current;
    const struct bnx_worker *worker = is_current ? bnx_worker_current() : thread->worker;
    (void)fprintf(stderr, "  thread %u %s %s", number_of(thread), thread->name,
                  is_current ? "running" : states[thread->state]);
    if (worker != NULL) {
        (void)fprintf(stderr, " worker %u%s", worker->index, worker->current ? " in a task" : "");
    }
    if (thread->state == ASLEEP) {
        (void)fprintf(stderr, " on %p = %u", (void *)thread->futex, *thread->futex);
        if (thread->deadline_ns != BNX_NEVER_NS) {
            (void)fprintf(stderr, " for %lld ns",
                          (long long)(thread->deadline_ns - machine.now_ns));
        }
    }
    (void)fputc('\n', stderr);
}

/* Once for each runtime: by the first thread that is a worker of it. */
static void dump_runtimes(void) {
    struct bnx_runtime *seen = NULL;
    for (uint32_t i = 0; i < machine.thread_count; i++) {
        struct bnx_worker *worker = threads[i].worker;
        if (threads[i].state != ENDED && worker != NULL && worker->runtime != seen) {
            seen = worker->runtime;
            (void)bnx_runtime_dump(seen, STDERR_FILENO);
        }
    }
}

static BNX_NORETURN BNX_COLD void fail(const char *reason) {
    machine.is_running = false; /* from here on a look is only a look */
    machine.current->worker = bnx_worker_current();
    (void)fprintf(stderr,
                  "bonxie: simulation failed: %s\n  BONXIE_SEED=0x%llx step %llu at %llu ns\n",
                  reason, (unsigned long long)machine.options.seed,
                  (unsigned long long)machine.report.steps, (unsigned long long)machine.now_ns);
    for (uint32_t i = 0; i < machine.thread_count; i++) {
        if (threads[i].state != UNUSED) {
            describe_thread(&threads[i]);
        }
    }
    (void)fflush(stderr);
    dump_runtimes();
    abort();
}

/* ---- The switch ---- */

/* On the stack that was entered: what the real machine would have had ready. */
static void arrive(void) {
    struct thread *self = machine.current;
    struct thread *left = machine.previous;
    bnx_asan_switch_finish(self->asan_fake, &left->stack_bottom, &left->stack_bytes);
    bnx_worker_bind(self->worker);
    struct bnx_fp now;
    bnx_fp_read(&now);
    bnx_fp_swap(&now, &self->fp);
    errno = self->saved_errno; /* one OS thread: its address does not change */
}

/* Lets another thread go on; returns when this one is chosen again. */
static BNX_NOINLINE void switch_to(struct thread *next) {
    struct thread *self = machine.current;
    self->saved_errno = errno;
    self->worker = bnx_worker_current();
    bnx_fp_read(&self->fp);
    machine.previous = self;
    machine.current = next;
    machine.run_steps = 0;
    machine.report.switches++;
    uint64_t event = machine.report.steps << 8 ^ number_of(next);
    machine.report.trace_hash = (machine.report.trace_hash ^ event) * UINT64_C(0x100000001b3);
    bool is_leaving = self->state == ENDED;
    bnx_asan_switch_start(is_leaving ? NULL : &self->asan_fake, next->stack_bottom,
                          next->stack_bytes);
    bnx_context_switch(&self->context, &next->context);
    arrive();
}

/* ---- Time ---- */

static void make_runnable(struct thread *thread, int wake_result) {
    thread->state = RUNNABLE;
    thread->wake_result = wake_result;
    machine.must_look = true;
}

/* Wakes whose deadline has come, and finds the next deadline. */
static void expire(void) {
    machine.next_deadline_ns = BNX_NEVER_NS;
    for (uint32_t i = 0; i < machine.thread_count; i++) {
        struct thread *thread = &threads[i];
        if (thread->state != ASLEEP) {
            continue;
        }
        if (thread->deadline_ns <= machine.now_ns) {
            make_runnable(thread, -ETIMEDOUT);
        } else if (thread->deadline_ns < machine.next_deadline_ns) {
            machine.next_deadline_ns = thread->deadline_ns;
        }
    }
}

static void advance(uint64_t ns) {
    machine.now_ns += ns;
    if (machine.now_ns >= machine.next_deadline_ns) {
        expire();
    }
}

/* Nobody can run: it is as late as the first sleeper's deadline. */
static void idle(void) {
    expire(); /* a wake leaves the bound too early */
    if (machine.next_deadline_ns == BNX_NEVER_NS) {
        fail("every thread waits for ever");
    }
    if (machine.next_deadline_ns > machine.now_ns) {
        machine.now_ns = machine.next_deadline_ns;
        expire();
    }
}

/* ---- The choice ---- */

/* With demotions the highest priority, else any; `except` only where it is the only one. */
static struct thread *choose(const struct thread *except) {
    struct thread *runnable[THREADS_MAX];
    uint32_t count = 0;
    struct thread *highest = NULL;
    for (uint32_t i = 0; i < machine.thread_count; i++) {
        struct thread *thread = &threads[i];
        if (thread->state != RUNNABLE || thread == except) {
            continue;
        }
        runnable[count++] = thread;
        if (highest == NULL || thread->priority > highest->priority) {
            highest = thread;
        }
    }
    if (count == 0) {
        return except != NULL && except->state == RUNNABLE ? machine.current : NULL;
    }
    if (machine.options.demote_one_in != 0) {
        return highest;
    }
    return runnable[bnx_rng_below(&machine.rng, count)];
}

/* As if the thread had lost its CPU to another process, mostly for a moment. */
static void leap(void) {
    uint32_t bits = bnx_rng_below(&machine.rng, LEAP_BITS_MAX + 1);
    advance(bnx_rng_next(&machine.rng) & ((UINT64_C(1) << bits) - 1));
}

static void go_on_with(struct thread *next) {
    if (next != machine.current) {
        if (draw_one_in(LEAP_ONE_IN)) {
            leap();
        }
        switch_to(next);
    }
}

static void demote(struct thread *thread) {
    thread->priority = --machine.priority_low;
}

/* The signal that was sent to the current thread, on whatever stack it is. */
static BNX_COLD void handle_signal(void) {
    struct thread *self = machine.current;
    struct sigaction action;
    int signo = self->signo;
    self->signo = 0;
    if (sigaction(signo, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
        action.sa_handler != SIG_IGN) {
        action.sa_handler(signo);
    }
}

/* One step of the current thread. has_yielded: another goes on if one can. */
static void step(bool has_yielded) {
    struct thread *self = machine.current;
    if (++machine.report.steps > machine.options.steps_max) {
        fail("it does not end");
    }
    self->cpu_ns += STEP_NS;
    advance(STEP_NS);
    bool is_unfair = ++machine.run_steps >= FAIR_STEPS;
    if (machine.options.demote_one_in == 0) {
        if (has_yielded || is_unfair) {
            go_on_with(choose(self));
        } else if (draw_one_in(machine.options.switch_one_in)) {
            go_on_with(choose(NULL));
        }
    } else {
        if (has_yielded || is_unfair || draw_one_in(machine.options.demote_one_in)) {
            demote(self);
            machine.must_look = true;
        }
        if (machine.must_look) {
            machine.must_look = false;
            machine.run_steps = 0;
            go_on_with(choose(NULL));
        }
    }
    if (bnx_unlikely(self->signo != 0)) {
        handle_signal();
    }
}

void bnx_sim_point(void) {
    if (machine.is_running) {
        step(false);
    }
}

bool bnx_sim_is_running(void) {
    return machine.is_running;
}

/* The current thread cannot go on. Returns when it can again. */
static void leave_cpu(void) {
    struct thread *next;
    while ((next = choose(NULL)) == NULL) { /* ends: idle makes one runnable, or fails */
        idle();
    }
    go_on_with(next);
}

/* ---- The os table of the machine ---- */

static int sim_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    step(false);
    struct thread *self = machine.current;
    if (*word != expected) {
        return -EAGAIN;
    }
    if (deadline_ns <= machine.now_ns) {
        return -ETIMEDOUT;
    }
    if (draw_one_in(machine.options.spurious_one_in)) {
        return 0;
    }
    self->futex = word;
    self->deadline_ns = deadline_ns;
    self->state = ASLEEP;
    if (deadline_ns < machine.next_deadline_ns) {
        machine.next_deadline_ns = deadline_ns;
    }
    leave_cpu();
    if (bnx_unlikely(self->signo != 0)) {
        handle_signal();
    }
    return self->wake_result;
}

static int sim_futex_wake(uint32_t *word, int count) {
    step(false);
    int woken = 0;
    uint32_t first = bnx_rng_below(&machine.rng, machine.thread_count); /* in no order */
    for (uint32_t i = 0; i < machine.thread_count && woken < count; i++) {
        struct thread *thread = &threads[(first + i) % machine.thread_count];
        if (thread->state == ASLEEP && thread->futex == word) {
            make_runnable(thread, 0);
            woken++;
        }
    }
    step(false);
    return woken;
}

/* The first frame of every thread but thread 0. */
static void thread_entry(void) {
    arrive();
    struct thread *self = machine.current;
    self->entry(self->arg);
    self->ended_word = 1;
    (void)sim_futex_wake(&self->ended_word, 1);
    self->state = ENDED; /* now nobody comes back to this stack */
    leave_cpu();
    __builtin_unreachable();
}

static char *make_stack(void) {
    int error = 0;
    char *memory = machine.os.mmap(GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, &error);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    (void)machine.os.mprotect(memory, GUARD_BYTES, PROT_NONE); /* without it less is noticed */
    return memory + GUARD_BYTES;
}

static struct thread *make_thread(const char *name, void (*entry)(void *), void *arg) {
    uint32_t index = 1;
    while (index < THREADS_MAX && threads[index].state != UNUSED) {
        index++;
    }
    if (index == THREADS_MAX) {
        return NULL;
    }
    struct thread *thread = &threads[index];
    char *stack = thread->stack != NULL ? thread->stack : make_stack();
    if (stack == NULL) {
        return NULL;
    }
    bnx_asan_unpoison(stack, STACK_BYTES);
    *thread = (struct thread){.stack = stack, .state = RUNNABLE, .entry = entry, .arg = arg};
    thread->name = name != NULL ? name : "-";
    thread->stack_bottom = stack;
    thread->stack_bytes = STACK_BYTES;
    thread->priority = (int64_t)bnx_rng_below(&machine.rng, 1u << 30);
    bnx_fp_read(&thread->fp);
    bnx_context_init(&thread->context, stack + STACK_BYTES, thread_entry);
    if (index >= machine.thread_count) {
        machine.thread_count = index + 1;
    }
    machine.must_look = true;
    return thread;
}

static int sim_thread_create(struct bnx_os_thread *os_thread) {
    step(false);
    struct thread *thread = make_thread(os_thread->name, os_thread->entry, os_thread->arg);
    if (thread == NULL) {
        return -EAGAIN;
    }
    os_thread->handle = number_of(thread);
    step(false);
    return 0;
}

static void join(struct thread *thread) {
    while (thread->ended_word == 0) { /* ends with the thread */
        (void)sim_futex_wait(&thread->ended_word, 0, BNX_NEVER_NS);
    }
    while (thread->state != ENDED) { /* ends: it is on its way out */
        step(true);
    }
    thread->state = UNUSED;
}

static int sim_thread_join(struct bnx_os_thread *os_thread) {
    join(&threads[os_thread->handle]);
    return 0;
}

static void sim_thread_yield(void) {
    if (machine.is_running) {
        step(true);
    }
}

static int sim_thread_id(void) {
    return TID_FIRST + (int)number_of(machine.current);
}

static struct thread *thread_of_tid(int tid) {
    int index = tid - TID_FIRST;
    bool is_alive = index >= 0 && index < (int)machine.thread_count &&
                    (threads[index].state == RUNNABLE || threads[index].state == ASLEEP);
    return is_alive ? &threads[index] : NULL;
}

static int sim_thread_signal(int tid, int signo) {
    step(false);
    struct thread *thread = thread_of_tid(tid);
    if (thread == NULL) {
        return -ESRCH;
    }
    thread->signo = signo;
    if (thread->state == ASLEEP) {
        make_runnable(thread, -EINTR);
    }
    return 0;
}

static int sim_thread_cpu_clock(int tid, uint64_t *out_ns) {
    const struct thread *thread = thread_of_tid(tid);
    if (thread == NULL) {
        return -EINVAL;
    }
    *out_ns = thread->cpu_ns;
    return 0;
}

static int sim_affinity_get(cpu_set_t *out_set, size_t set_bytes) {
    if (set_bytes * 8 < machine.options.cpu_count) {
        return -EINVAL;
    }
    CPU_ZERO_S(set_bytes, out_set);
    for (uint32_t cpu = 0; cpu < machine.options.cpu_count; cpu++) {
        CPU_SET_S(cpu, set_bytes, out_set);
    }
    return 0;
}

static int sim_affinity_set(const cpu_set_t *set, size_t set_bytes) {
    (void)set;
    (void)set_bytes;
    return 0;
}

static int sim_membarrier(int command) {
    (void)command;
    return -ENOSYS;
}

static uint64_t sim_clock_now(void) {
    step(false);
    return machine.now_ns;
}

/* What says how many CPUs this machine has, and how they are placed, is not there. */
static int sim_openat(int directory, const char *path, int flags, mode_t mode) {
    if (strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/proc/", 6) == 0) {
        return -ENOENT;
    }
    return machine.os.openat(directory, path, flags, mode);
}

static void install(void) {
    machine.os = bnx_os;
    bnx_os.thread_create = sim_thread_create;
    bnx_os.thread_join = sim_thread_join;
    bnx_os.thread_yield = sim_thread_yield;
    bnx_os.thread_id = sim_thread_id;
    bnx_os.thread_signal = sim_thread_signal;
    bnx_os.thread_cpu_clock = sim_thread_cpu_clock;
    bnx_os.affinity_get = sim_affinity_get;
    bnx_os.affinity_set = sim_affinity_set;
    bnx_os.futex_wait = sim_futex_wait;
    bnx_os.futex_wake = sim_futex_wake;
    bnx_os.membarrier = sim_membarrier;
    bnx_os.clock_now = sim_clock_now;
    bnx_os.openat = sim_openat;
}

/* ---- A run ---- */

/* What the caller left open, the seed decides: how often to switch, and in which way. */
static void complete_options(struct bnx_sim_options *options) {
    static const uint32_t switch_choices[] = {2, 3, 5, 8, 16, 32, 100};
    static const uint32_t demote_choices[] = {20, 60, 200, 600, 2000};
    bool is_open = options->switch_one_in == 0 && options->demote_one_in == 0;
    uint32_t at = bnx_rng_below(&machine.rng, BNX_ARRAY_COUNT(switch_choices));
    uint32_t demote_at = bnx_rng_below(&machine.rng, BNX_ARRAY_COUNT(demote_choices));
    if (options->switch_one_in == 0) {
        options->switch_one_in = switch_choices[at];
    }
    if (draw_one_in(3) && is_open) {
        options->demote_one_in = demote_choices[demote_at];
    }
    options->steps_max = options->steps_max != 0 ? options->steps_max : STEPS_MAX_DEFAULT;
    options->cpu_count = options->cpu_count != 0 ? options->cpu_count : CPU_COUNT_DEFAULT;
    if (options->spurious_one_in == 0) {
        options->spurious_one_in = SPURIOUS_DEFAULT;
    }
}

static void begin(const struct bnx_sim_options *options) {
    memset(&machine, 0, sizeof(machine));
    machine.options = *options;
    bnx_rng_init(&machine.rng, options->seed, 0);
    complete_options(&machine.options);
    machine.now_ns = CLOCK_START_NS + bnx_rng_below(&machine.rng, UINT32_MAX);
    machine.next_deadline_ns = BNX_NEVER_NS;
    machine.thread_count = 1;
    machine.current = &threads[0];
    machine.previous = &threads[0];
    threads[0] = (struct thread){.state = RUNNABLE, .name = "first"};
    threads[0].priority = (int64_t)bnx_rng_below(&machine.rng, 1u << 30);
    install();
}

int bnx_sim_run(const struct bnx_sim_options *options, bnx_task_fn fn, void *arg,
                struct bnx_sim_report *out_report) {
    if (machine.is_running) {
        return -EBUSY;
    }
    if (options->cpu_count > CPU_COUNT_MAX) {
        return -EINVAL;
    }
    begin(options);
    uint64_t start_ns = machine.now_ns;
    machine.is_running = true;
    int result = fn(arg);
    for (uint32_t i = 1; i < machine.thread_count; i++) {
        if (threads[i].state != UNUSED) {
            fail("a thread was not joined");
        }
    }
    machine.is_running = false;
    bnx_os = machine.os;
    if (out_report != NULL) {
        *out_report = machine.report;
        out_report->virtual_ns = machine.now_ns - start_ns;
    }
    return result;
}

/* ---- For the simulated program ---- */

static void run_fn(void *arg) {
    struct thread *self = arg;
    self->fn_result = self->fn(self->fn_arg);
}

int bnx_sim_thread_start(bnx_task_fn fn, void *arg) {
    BNX_CHECK(machine.is_running);
    struct thread *thread = make_thread("foreign", run_fn, NULL);
    if (thread == NULL) {
        return -EAGAIN;
    }
    thread->arg = thread;
    thread->fn = fn;
    thread->fn_arg = arg;
    step(false);
    return (int)number_of(thread);
}

int bnx_sim_thread_join(int thread) {
    BNX_CHECK(machine.is_running && thread > 0 && thread < (int)machine.thread_count);
    join(&threads[thread]);
    return threads[thread].fn_result;
}

uint32_t bnx_sim_draw(uint32_t bound) {
    BNX_CHECK(machine.is_running);
    return bnx_rng_below(&machine.rng, bound);
}
