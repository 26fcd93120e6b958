/* SPDX-License-Identifier: MIT */
/* The simulated machine as its halves see it: the scheduler (sim.c) and the os table (sim_os.c). */
#ifndef BNX_RUNTIME_SIM_PVT_H
#define BNX_RUNTIME_SIM_PVT_H

#include "runtime/atomic.h"
#include "runtime/context.h"
#include "runtime/os.h"
#include "runtime/rng.h"

#include <bonxie/sim.h>

#include <stdbool.h>

struct bnx_worker;

#define BNX_SIM_THREADS_MAX 256

enum bnx_sim_state { BNX_SIM_UNUSED, BNX_SIM_RUNNABLE, BNX_SIM_ASLEEP, BNX_SIM_ENDED };

/* All by whoever runs: there is one OS thread. */
struct bnx_sim_thread {
    struct bnx_context context; /* its registers, while it does not run */
    struct bnx_worker *worker;  /* bnx_worker_current() of the thread, while it does not run */
    int saved_errno;            /* as above */
    struct bnx_fp fp;           /* as above */
    void *asan_fake;            /* its fake stack, while it does not run */
    const void *stack_bottom;   /* of the stack that it runs on, for AddressSanitizer */
    size_t stack_bytes;         /* as above */
    enum bnx_sim_state state;   /* RUNNABLE also while it runs */
    uint32_t *futex;            /* BNX_SIM_ASLEEP: the word */
    uint64_t deadline_ns;       /* BNX_SIM_ASLEEP: when it wakes by itself */
    int wake_result;            /* what its futex_wait returns */
    int signo;                  /* a signal to be handled, 0 = none */
    int64_t priority;           /* with demotions: the highest runs */
    uint64_t cpu_ns;            /* that it has used */
    uint32_t ended_word;        /* futex of the joiner: 1 once ended */
    void (*entry)(void *);      /* what it runs */
    void *arg;                  /* of entry */
    const char *name;           /* for reports */
    bnx_task_fn fn;             /* of bnx_sim_thread_start, as the next two */
    void *fn_arg;
    int fn_result;
    char *stack; /* kept for the next thread in this slot; NULL: none yet, or thread 0 */
};

struct bnx_sim_machine {
    bool is_running;                 /* bnx_sim_run is under way and has not failed */
    bool must_look;                  /* with demotions: somebody has become runnable */
    struct bnx_sim_options options;  /* nothing left open */
    struct bnx_sim_report report;    /* so far */
    struct bnx_rng rng;              /* every choice comes from it */
    struct bnx_sim_thread *current;  /* who runs */
    struct bnx_sim_thread *previous; /* who switched to it */
    uint32_t thread_count;           /* slots ever used in this run */
    uint64_t now_ns;                 /* the virtual clock */
    uint64_t next_deadline_ns;       /* not later than that of any sleeper */
    uint64_t run_steps;              /* since the last switch */
    int64_t priority_low;            /* below all given so far */
    struct bnx_os os;                /* the real one */
};

extern struct bnx_sim_machine bnx_sim_machine;
extern struct bnx_sim_thread bnx_sim_threads[BNX_SIM_THREADS_MAX];

static inline uint32_t bnx_sim_number_of(const struct bnx_sim_thread *thread) {
    return (uint32_t)(thread - bnx_sim_threads);
}

/* ---- Counting (sim.c) ---- */

/* Called before each access to a word by a virtual thread, and not a step itself. */
typedef void (*bnx_sim_counter_fn)(uint32_t thread, uintptr_t word, enum bnx_access access);

/* NULL: nobody counts. */
extern bnx_sim_counter_fn bnx_sim_counter;

/* ---- The scheduler (sim.c) ---- */

/** One step of the current thread; has_yielded: another goes on if one can. May switch. */
void bnx_sim_step(bool has_yielded);

/** The current thread cannot go on. Returns when it can again; never, when it has ended. */
void bnx_sim_leave_cpu(void);

/** A sleeper may go on; wake_result is what its futex_wait returns. */
void bnx_sim_make_runnable(struct bnx_sim_thread *thread, int wake_result);

/** The first thing on a stack that was switched to. */
void bnx_sim_arrive(void);

/** Runs the handler of the signal that was sent to the current thread. */
void bnx_sim_handle_signal(void);

/** True at one call in so many. */
bool bnx_sim_draw_one_in(uint32_t count);

/* ---- The os table (sim_os.c) ---- */

/** Replaces the entries of bnx_os; the real ones stay in bnx_sim_machine.os. */
void bnx_sim_os_install(void);

/** Makes a thread that is runnable. NULL: too many, or no memory. name is static, may be NULL. */
struct bnx_sim_thread *bnx_sim_thread_make(const char *name, void (*entry)(void *), void *arg);

/** Waits until the thread has ended and frees its slot; fn_result stays until the next make. */
void bnx_sim_thread_end(struct bnx_sim_thread *thread);

#endif
