/* SPDX-License-Identifier: MIT */
/*
 * The simulator (bonxie/sim.h): virtual threads, a virtual clock, a seeded scheduler.
 *
 * Concepts
 *   thread   a stack, saved registers, and what the real machine keeps per OS thread: the worker
 *            pointer, errno, the control words. Thread 0 is the caller of bnx_sim_run. Whatever
 *            stack a thread runs on, its own or a task's, a switch saves it and comes back to it.
 *   step     one access to a shared word, by way of bnx_sim_access, or one entry of the os table.
 *            It costs STEP_NS, and at it the machine may switch. Between two steps nothing happens.
 *   machine  the entries of bnx_os for threads, futexes and time are replaced while it runs; the
 *            files that describe the CPUs are absent, so that every machine simulates the same one.
 *   chance   random switches with a probability, or priorities with random demotions (which finds
 *            bugs that need few switches at rare places); the seed chooses, and how much of either.
 *            Now and then the clock leaps, as if the thread had lost its CPU for a while.
 *
 * Invariants
 *   bnx_sim_machine.current is the only thread that runs; others are runnable, asleep or ended.
 *   A thread that is asleep is in no list: a wake finds it by its word's address.
 *   The same seed gives the same run: nothing here depends on addresses, the real clock or an
 *   earlier run, and what is kept between runs (stacks) decides nothing.
 *
 * No access to a shared word in this file: one OS thread sees all of it, and it must not step.
 */
#include <bonxie/sim.h>

#include "runtime/clock.h"
#include "runtime/runtime_pvt.h"
#include "runtime/sim_pvt.h"

#include <bonxie/dump.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU_COUNT_DEFAULT 4
#define CPU_COUNT_MAX 1024
#define STEP_NS 10 /* an uncontended access, near enough */
#define STEPS_MAX_DEFAULT UINT64_C(20000000)
#define SPURIOUS_DEFAULT 64
/* A thread that has run so long while others could is spinning, or might be. */
#define FAIR_STEPS 3000
#define LEAP_ONE_IN 64   /* of the switches */
#define LEAP_BITS_MAX 21 /* at most 2 ms: longer than a round of the watchdog */
#define CLOCK_START_NS BNX_NS_PER_S

struct bnx_sim_machine bnx_sim_machine;
struct bnx_sim_thread bnx_sim_threads[BNX_SIM_THREADS_MAX];
bnx_sim_counter_fn bnx_sim_counter;

bool bnx_sim_draw_one_in(uint32_t count) {
    return bnx_rng_below(&bnx_sim_machine.rng, count) == 0;
}

/* ---- Failure ---- */

static void describe_thread(const struct bnx_sim_thread *thread) {
    static const char *const states[] = {"unused", "runnable", "asleep", "ended"};
    bool is_current = thread == bnx_sim_machine.current;
    const struct bnx_worker *worker = is_current ? bnx_worker_current() : thread->worker;
    (void)fprintf(stderr, "  thread %u %s %s", bnx_sim_number_of(thread), thread->name,
                  is_current ? "running" : states[thread->state]);
    if (worker != NULL) {
        (void)fprintf(stderr, " worker %u%s", worker->index, worker->current ? " in a task" : "");
    }
    if (thread->state == BNX_SIM_ASLEEP) {
        (void)fprintf(stderr, " on %p = %u", (void *)thread->futex, *thread->futex);
        if (thread->deadline_ns != BNX_NEVER_NS) {
            (void)fprintf(stderr, " for %lld ns",
                          (long long)(thread->deadline_ns - bnx_sim_machine.now_ns));
        }
    }
    (void)fputc('\n', stderr);
}

/* Once for each runtime: by the first thread that is a worker of it. */
static void dump_runtimes(void) {
    struct bnx_runtime *seen = NULL;
    for (uint32_t i = 0; i < bnx_sim_machine.thread_count; i++) {
        struct bnx_worker *worker = bnx_sim_threads[i].worker;
        if (bnx_sim_threads[i].state != BNX_SIM_ENDED && worker != NULL &&
            worker->runtime != seen) {
            seen = worker->runtime;
            (void)bnx_runtime_dump(seen, STDERR_FILENO);
        }
    }
}

static BNX_NORETURN BNX_COLD void fail(const char *reason) {
    bnx_sim_machine.is_running = false; /* from here on a look is only a look */
    bnx_sim_machine.current->worker = bnx_worker_current();
    (void)fprintf(stderr,
                  "bonxie: simulation failed: %s\n  BONXIE_SEED=0x%llx step %llu at %llu ns\n",
                  reason, (unsigned long long)bnx_sim_machine.options.seed,
                  (unsigned long long)bnx_sim_machine.report.steps,
                  (unsigned long long)bnx_sim_machine.now_ns);
    for (uint32_t i = 0; i < bnx_sim_machine.thread_count; i++) {
        if (bnx_sim_threads[i].state != BNX_SIM_UNUSED) {
            describe_thread(&bnx_sim_threads[i]);
        }
    }
    (void)fflush(stderr);
    dump_runtimes();
    abort();
}

/* ---- The switch ---- */

/* On the stack that was entered: what the real machine would have had ready. */
void bnx_sim_arrive(void) {
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    struct bnx_sim_thread *left = bnx_sim_machine.previous;
    bnx_asan_switch_finish(self->asan_fake, &left->stack_bottom, &left->stack_bytes);
    bnx_worker_bind(self->worker);
    struct bnx_fp now;
    bnx_fp_read(&now);
    bnx_fp_swap(&now, &self->fp);
    errno = self->saved_errno; /* one OS thread: its address does not change */
}

/* Lets another thread go on; returns when this one is chosen again. */
static BNX_NOINLINE void switch_to(struct bnx_sim_thread *next) {
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    self->saved_errno = errno;
    self->worker = bnx_worker_current();
    bnx_fp_read(&self->fp);
    bnx_sim_machine.previous = self;
    bnx_sim_machine.current = next;
    bnx_sim_machine.run_steps = 0;
    bnx_sim_machine.report.switches++;
    uint64_t event = bnx_sim_machine.report.steps << 8 ^ bnx_sim_number_of(next);
    bnx_sim_machine.report.trace_hash =
        (bnx_sim_machine.report.trace_hash ^ event) * UINT64_C(0x100000001b3);
    bool is_leaving = self->state == BNX_SIM_ENDED;
    bnx_asan_switch_start(is_leaving ? NULL : &self->asan_fake, next->stack_bottom,
                          next->stack_bytes);
    bnx_context_switch(&self->context, &next->context);
    bnx_sim_arrive();
}

/* ---- Time ---- */

void bnx_sim_make_runnable(struct bnx_sim_thread *thread, int wake_result) {
    thread->state = BNX_SIM_RUNNABLE;
    thread->wake_result = wake_result;
    bnx_sim_machine.must_look = true;
}

/* Wakes whose deadline has come, and finds the next deadline. */
static void expire(void) {
    bnx_sim_machine.next_deadline_ns = BNX_NEVER_NS;
    for (uint32_t i = 0; i < bnx_sim_machine.thread_count; i++) {
        struct bnx_sim_thread *thread = &bnx_sim_threads[i];
        if (thread->state != BNX_SIM_ASLEEP) {
            continue;
        }
        if (thread->deadline_ns <= bnx_sim_machine.now_ns) {
            bnx_sim_make_runnable(thread, -ETIMEDOUT);
        } else if (thread->deadline_ns < bnx_sim_machine.next_deadline_ns) {
            bnx_sim_machine.next_deadline_ns = thread->deadline_ns;
        }
    }
}

static void advance(uint64_t ns) {
    bnx_sim_machine.now_ns += ns;
    if (bnx_sim_machine.now_ns >= bnx_sim_machine.next_deadline_ns) {
        expire();
    }
}

/* Nobody can run: it is as late as the first sleeper's deadline. */
static void idle(void) {
    expire(); /* a wake leaves the bound too early */
    if (bnx_sim_machine.next_deadline_ns == BNX_NEVER_NS) {
        fail("every thread waits for ever");
    }
    if (bnx_sim_machine.next_deadline_ns > bnx_sim_machine.now_ns) {
        bnx_sim_machine.now_ns = bnx_sim_machine.next_deadline_ns;
        expire();
    }
}

/* ---- The choice ---- */

/* With demotions the highest priority, else any; `except` only where it is the only one. */
static struct bnx_sim_thread *choose(const struct bnx_sim_thread *except) {
    struct bnx_sim_thread *runnable[BNX_SIM_THREADS_MAX];
    uint32_t count = 0;
    struct bnx_sim_thread *highest = NULL;
    for (uint32_t i = 0; i < bnx_sim_machine.thread_count; i++) {
        struct bnx_sim_thread *thread = &bnx_sim_threads[i];
        if (thread->state != BNX_SIM_RUNNABLE || thread == except) {
            continue;
        }
        runnable[count++] = thread;
        if (highest == NULL || thread->priority > highest->priority) {
            highest = thread;
        }
    }
    if (count == 0) {
        return except != NULL && except->state == BNX_SIM_RUNNABLE ? bnx_sim_machine.current : NULL;
    }
    if (bnx_sim_machine.options.demote_one_in != 0) {
        return highest;
    }
    return runnable[bnx_rng_below(&bnx_sim_machine.rng, count)];
}

/* As if the thread had lost its CPU to another process, mostly for a moment. */
static void leap(void) {
    uint32_t bits = bnx_rng_below(&bnx_sim_machine.rng, LEAP_BITS_MAX + 1);
    advance(bnx_rng_next(&bnx_sim_machine.rng) & ((UINT64_C(1) << bits) - 1));
}

static void go_on_with(struct bnx_sim_thread *next) {
    if (next != bnx_sim_machine.current) {
        if (bnx_sim_draw_one_in(LEAP_ONE_IN)) {
            leap();
        }
        switch_to(next);
    }
}

static void demote(struct bnx_sim_thread *thread) {
    thread->priority = --bnx_sim_machine.priority_low;
}

/* The signal that was sent to the current thread, on whatever stack it is. */
void bnx_sim_handle_signal(void) {
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    struct sigaction action;
    int signo = self->signo;
    self->signo = 0;
    if (sigaction(signo, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
        action.sa_handler != SIG_IGN) {
        action.sa_handler(signo);
    }
}

/* One step of the current thread. has_yielded: another goes on if one can. */
void bnx_sim_step(bool has_yielded) {
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    if (bnx_unlikely(!bnx_sim_machine.is_running)) {
        return; /* the report of a failure is being written */
    }
    if (++bnx_sim_machine.report.steps > bnx_sim_machine.options.steps_max) {
        fail("it does not end");
    }
    self->cpu_ns += STEP_NS;
    advance(STEP_NS);
    bool is_unfair = ++bnx_sim_machine.run_steps >= FAIR_STEPS;
    if (bnx_sim_machine.options.demote_one_in == 0) {
        if (has_yielded || is_unfair) {
            go_on_with(choose(self));
        } else if (bnx_sim_draw_one_in(bnx_sim_machine.options.switch_one_in)) {
            go_on_with(choose(NULL));
        }
    } else {
        if (has_yielded || is_unfair ||
            bnx_sim_draw_one_in(bnx_sim_machine.options.demote_one_in)) {
            demote(self);
            bnx_sim_machine.must_look = true;
        }
        if (bnx_sim_machine.must_look) {
            bnx_sim_machine.must_look = false;
            bnx_sim_machine.run_steps = 0;
            go_on_with(choose(NULL));
        }
    }
    if (bnx_unlikely(self->signo != 0)) {
        bnx_sim_handle_signal();
    }
}

void bnx_sim_point(void) {
    if (bnx_sim_machine.is_running) {
        bnx_sim_step(false);
    }
}

void bnx_sim_access(uintptr_t word, enum bnx_access access) {
    bnx_sim_point();
    /* After the step: the access itself follows, and nobody comes between. */
    if (bnx_sim_counter != NULL && bnx_sim_machine.is_running) {
        bnx_sim_counter(bnx_sim_number_of(bnx_sim_machine.current), word, access);
    }
}

bool bnx_sim_is_running(void) {
    return bnx_sim_machine.is_running;
}

/* The current thread cannot go on. Returns when it can again. */
void bnx_sim_leave_cpu(void) {
    struct bnx_sim_thread *next;
    while ((next = choose(NULL)) == NULL) { /* ends: idle makes one runnable, or fails */
        idle();
    }
    go_on_with(next);
}

/* ---- A run ---- */

/* What the caller left open, the seed decides: how often to switch, and in which way. */
static void complete_options(struct bnx_sim_options *options) {
    static const uint32_t switch_choices[] = {2, 3, 5, 8, 16, 32, 100};
    static const uint32_t demote_choices[] = {20, 60, 200, 600, 2000};
    bool is_open = options->switch_one_in == 0 && options->demote_one_in == 0;
    uint32_t at = bnx_rng_below(&bnx_sim_machine.rng, BNX_ARRAY_COUNT(switch_choices));
    uint32_t demote_at = bnx_rng_below(&bnx_sim_machine.rng, BNX_ARRAY_COUNT(demote_choices));
    if (options->switch_one_in == 0) {
        options->switch_one_in = switch_choices[at];
    }
    if (bnx_sim_draw_one_in(3) && is_open) {
        options->demote_one_in = demote_choices[demote_at];
    }
    options->steps_max = options->steps_max != 0 ? options->steps_max : STEPS_MAX_DEFAULT;
    options->cpu_count = options->cpu_count != 0 ? options->cpu_count : CPU_COUNT_DEFAULT;
    if (options->spurious_one_in == 0) {
        options->spurious_one_in = SPURIOUS_DEFAULT;
    }
}

static void begin(const struct bnx_sim_options *options) {
    memset(&bnx_sim_machine, 0, sizeof(bnx_sim_machine));
    bnx_sim_machine.options = *options;
    bnx_rng_init(&bnx_sim_machine.rng, options->seed, 0);
    complete_options(&bnx_sim_machine.options);
    bnx_sim_machine.now_ns = CLOCK_START_NS + bnx_rng_below(&bnx_sim_machine.rng, UINT32_MAX);
    bnx_sim_machine.next_deadline_ns = BNX_NEVER_NS;
    bnx_sim_machine.thread_count = 1;
    bnx_sim_machine.current = &bnx_sim_threads[0];
    bnx_sim_machine.previous = &bnx_sim_threads[0];
    bnx_sim_threads[0] = (struct bnx_sim_thread){.state = BNX_SIM_RUNNABLE, .name = "first"};
    bnx_sim_threads[0].priority = (int64_t)bnx_rng_below(&bnx_sim_machine.rng, 1u << 30);
    bnx_sim_os_install();
}

int bnx_sim_run(const struct bnx_sim_options *options, bnx_task_fn fn, void *arg,
                struct bnx_sim_report *out_report) {
    if (bnx_sim_machine.is_running) {
        return -EBUSY;
    }
    if (options->cpu_count > CPU_COUNT_MAX) {
        return -EINVAL;
    }
    begin(options);
    uint64_t start_ns = bnx_sim_machine.now_ns;
    bnx_sim_machine.is_running = true;
    int result = fn(arg);
    for (uint32_t i = 1; i < bnx_sim_machine.thread_count; i++) {
        if (bnx_sim_threads[i].state != BNX_SIM_UNUSED) {
            fail("a thread was not joined");
        }
    }
    bnx_sim_machine.is_running = false;
    bnx_os = bnx_sim_machine.os;
    if (out_report != NULL) {
        *out_report = bnx_sim_machine.report;
        out_report->virtual_ns = bnx_sim_machine.now_ns - start_ns;
    }
    return result;
}

/* ---- For the simulated program ---- */

static void run_fn(void *arg) {
    struct bnx_sim_thread *self = arg;
    self->fn_result = self->fn(self->fn_arg);
}

int bnx_sim_thread_start(bnx_task_fn fn, void *arg) {
    BNX_CHECK(bnx_sim_machine.is_running);
    struct bnx_sim_thread *thread = bnx_sim_thread_make("foreign", run_fn, NULL);
    if (thread == NULL) {
        return -EAGAIN;
    }
    thread->arg = thread;
    thread->fn = fn;
    thread->fn_arg = arg;
    bnx_sim_step(false);
    return (int)bnx_sim_number_of(thread);
}

int bnx_sim_thread_join(int thread) {
    BNX_CHECK(bnx_sim_machine.is_running && thread > 0 &&
              thread < (int)bnx_sim_machine.thread_count);
    bnx_sim_thread_end(&bnx_sim_threads[thread]);
    return bnx_sim_threads[thread].fn_result;
}

uint32_t bnx_sim_draw(uint32_t bound) {
    BNX_CHECK(bnx_sim_machine.is_running);
    return bnx_rng_below(&bnx_sim_machine.rng, bound);
}
