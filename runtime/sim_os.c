/* SPDX-License-Identifier: MIT */
/*
 * What the simulated machine puts into the os table: threads, futexes, the clock, the CPUs (sim.c).
 *
 * Each entry is a step, or several, so the machine may switch there; between two steps it is alone.
 */
#include "runtime/check.h"
#include "runtime/sim_pvt.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define STACK_BYTES ((size_t)512 * 1024)
#define GUARD_BYTES ((size_t)64 * 1024)
#define TID_FIRST 1000

/* ---- Futexes ---- */

static int sim_futex_wait(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    bnx_sim_step(false);
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    if (*word != expected) {
        return -EAGAIN;
    }
    if (deadline_ns <= bnx_sim_machine.now_ns) {
        return -ETIMEDOUT;
    }
    if (bnx_sim_draw_one_in(bnx_sim_machine.options.spurious_one_in)) {
        return 0;
    }
    self->futex = word;
    self->deadline_ns = deadline_ns;
    self->state = BNX_SIM_ASLEEP;
    if (deadline_ns < bnx_sim_machine.next_deadline_ns) {
        bnx_sim_machine.next_deadline_ns = deadline_ns;
    }
    bnx_sim_leave_cpu();
    if (bnx_unlikely(self->signo != 0)) {
        bnx_sim_handle_signal();
    }
    return self->wake_result;
}

static int sim_futex_wake(uint32_t *word, int count) {
    bnx_sim_step(false);
    int woken = 0;
    uint32_t first =
        bnx_rng_below(&bnx_sim_machine.rng, bnx_sim_machine.thread_count); /* in no order */
    for (uint32_t i = 0; i < bnx_sim_machine.thread_count && woken < count; i++) {
        struct bnx_sim_thread *thread =
            &bnx_sim_threads[(first + i) % bnx_sim_machine.thread_count];
        if (thread->state == BNX_SIM_ASLEEP && thread->futex == word) {
            bnx_sim_make_runnable(thread, 0);
            woken++;
        }
    }
    bnx_sim_step(false);
    return woken;
}

/* ---- Threads ---- */

/* The first frame of every thread but thread 0. */
static void thread_entry(void) {
    bnx_sim_arrive();
    struct bnx_sim_thread *self = bnx_sim_machine.current;
    self->entry(self->arg);
    self->ended_word = 1;
    (void)sim_futex_wake(&self->ended_word, 1);
    self->state = BNX_SIM_ENDED; /* now nobody comes back to this stack */
    bnx_sim_leave_cpu();
    __builtin_unreachable();
}

static char *make_stack(void) {
    int error = 0;
    char *memory = bnx_sim_machine.os.mmap(GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, &error);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    (void)bnx_sim_machine.os.mprotect(memory, GUARD_BYTES,
                                      PROT_NONE); /* without it less is noticed */
    return memory + GUARD_BYTES;
}

struct bnx_sim_thread *bnx_sim_thread_make(const char *name, void (*entry)(void *), void *arg) {
    uint32_t index = 1;
    while (index < BNX_SIM_THREADS_MAX && bnx_sim_threads[index].state != BNX_SIM_UNUSED) {
        index++;
    }
    if (index == BNX_SIM_THREADS_MAX) {
        return NULL;
    }
    struct bnx_sim_thread *thread = &bnx_sim_threads[index];
    char *stack = thread->stack != NULL ? thread->stack : make_stack();
    if (stack == NULL) {
        return NULL;
    }
    bnx_asan_unpoison(stack, STACK_BYTES);
    *thread = (struct bnx_sim_thread){
        .stack = stack, .state = BNX_SIM_RUNNABLE, .entry = entry, .arg = arg};
    thread->name = name != NULL ? name : "-";
    thread->stack_bottom = stack;
    thread->stack_bytes = STACK_BYTES;
    thread->priority = (int64_t)bnx_rng_below(&bnx_sim_machine.rng, 1u << 30);
    bnx_fp_read(&thread->fp);
    bnx_context_init(&thread->context, stack + STACK_BYTES, thread_entry);
    if (index >= bnx_sim_machine.thread_count) {
        bnx_sim_machine.thread_count = index + 1;
    }
    bnx_sim_machine.must_look = true;
    return thread;
}

static int sim_thread_create(struct bnx_os_thread *os_thread) {
    bnx_sim_step(false);
    struct bnx_sim_thread *thread =
        bnx_sim_thread_make(os_thread->name, os_thread->entry, os_thread->arg);
    if (thread == NULL) {
        return -EAGAIN;
    }
    os_thread->handle = bnx_sim_number_of(thread);
    bnx_sim_step(false);
    return 0;
}

void bnx_sim_thread_end(struct bnx_sim_thread *thread) {
    while (thread->ended_word == 0) { /* ends with the thread */
        (void)sim_futex_wait(&thread->ended_word, 0, BNX_NEVER_NS);
    }
    while (thread->state != BNX_SIM_ENDED) { /* ends: it is on its way out */
        bnx_sim_step(true);
    }
    thread->state = BNX_SIM_UNUSED;
}

static int sim_thread_join(struct bnx_os_thread *os_thread) {
    bnx_sim_thread_end(&bnx_sim_threads[os_thread->handle]);
    return 0;
}

static void sim_thread_yield(void) {
    bnx_sim_step(true);
}

static int sim_thread_id(void) {
    return TID_FIRST + (int)bnx_sim_number_of(bnx_sim_machine.current);
}

static struct bnx_sim_thread *thread_of_tid(int tid) {
    int index = tid - TID_FIRST;
    bool is_alive = index >= 0 && index < (int)bnx_sim_machine.thread_count &&
                    (bnx_sim_threads[index].state == BNX_SIM_RUNNABLE ||
                     bnx_sim_threads[index].state == BNX_SIM_ASLEEP);
    return is_alive ? &bnx_sim_threads[index] : NULL;
}

static int sim_thread_signal(int tid, int signo) {
    bnx_sim_step(false);
    struct bnx_sim_thread *thread = thread_of_tid(tid);
    if (thread == NULL) {
        return -ESRCH;
    }
    thread->signo = signo;
    if (thread->state == BNX_SIM_ASLEEP) {
        bnx_sim_make_runnable(thread, -EINTR);
    }
    return 0;
}

static int sim_thread_cpu_clock(int tid, uint64_t *out_ns) {
    const struct bnx_sim_thread *thread = thread_of_tid(tid);
    if (thread == NULL) {
        return -EINVAL;
    }
    *out_ns = thread->cpu_ns;
    return 0;
}

/* ---- The machine: CPUs, clock, files ---- */

static int sim_affinity_get(cpu_set_t *out_set, size_t set_bytes) {
    if (set_bytes * 8 < bnx_sim_machine.options.cpu_count) {
        return -EINVAL;
    }
    CPU_ZERO_S(set_bytes, out_set);
    for (uint32_t cpu = 0; cpu < bnx_sim_machine.options.cpu_count; cpu++) {
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
    bnx_sim_step(false);
    return bnx_sim_machine.now_ns;
}

/* What says how many CPUs this machine has, and how they are placed, is not there. */
static int sim_openat(int directory, const char *path, int flags, mode_t mode) {
    if (strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/proc/", 6) == 0) {
        return -ENOENT;
    }
    return bnx_sim_machine.os.openat(directory, path, flags, mode);
}

void bnx_sim_os_install(void) {
    bnx_sim_machine.os = bnx_os;
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
