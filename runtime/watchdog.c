/* SPDX-License-Identifier: MIT */
/*
 * The watchdog: a thread that sees workers that have stopped ticking, and has others do their work.
 *
 * Concepts
 *   Once a millisecond it compares each worker's heartbeat with the last one. A worker whose task
 *   has run for a whole millisecond without a tick is stalled. Its queues can be stolen from
 *   anyway; its completions and timers cannot, so
 *     1 the worker's thread gets the rescue signal, whose handler lets the kernel post completions
 *       (a deferred ring posts nothing while its owner computes);
 *     2 an idle worker gets a message to serve the victim: it enters the victim's service, reaps
 *       its completions, fires its timers, and runs whom they wake.
 *   A signal is sent when the thread has used CPU since the last look, or has been blocked for ten
 *   milliseconds: a thread that is merely preempted needs none. At most one is unacknowledged.
 *   A stall is reported once, with the task that causes it: ten milliseconds of CPU time, or of
 *   sleep in a call. Waiting for a CPU is neither.
 *   The watchdog also stands behind two relaxed shortcuts of the scheduler: it wakes a worker when
 *   work stays queued anywhere while one sleeps, and asks a worker to poll that has not for a
 *   round. While workers stall it glances at their queues more often: nobody is told of what a
 *   task makes ready that computes for a millisecond, and it would wait for all of that.
 *   It sleeps while all workers do; who comes awake calls bnx_watchdog_kick. Before that it gives
 *   memory of free stacks back.
 *
 * Ordering
 *   D1 sleep: the watchdog's store seq_cst of `asleep`, then its look at the parked bits; a
 *      worker's unpark (seq_cst, idle.h), then its load seq_cst of `asleep`. A guest's visit (V2 in
 *      guest.h) stands for the unpark.
 *   D3 start: store-release of runtime->watchdog once it is whole -> load-acquire by kick and
 *      stalls, which workers call before it is there.
 *   D2 the rescue message is in flight between store-release is_sent = 1 and the rescuer's 0.
 */
#include "runtime/clock.h"
#include "runtime/dump_pvt.h"
#include "runtime/guest.h"
#include "runtime/rescue.h"
#include "runtime/runtime_pvt.h"
#include "runtime/timer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ROUND_NS BNX_NS_PER_MS
#define GLANCES 4                       /* a round, its own look included */
#define SLOW_NS (10 * BNX_NS_PER_MS)    /* after a stall: another one is likely */
#define BLOCKED_NS (10 * BNX_NS_PER_MS) /* without CPU use: blocked in a call, not preempted */
#define REPORT_NS (10 * BNX_NS_PER_MS)
#define LASTING_LOOKS 4              /* a runq that is not empty so often in a row lasts */
#define NEXT_OLD_NS UINT64_C(200000) /* by a clock that is read between tasks only */
#define ROUNDS_BEFORE_SLEEP                                                                        \
    20                   /* all parked for so many rounds: a busy server's pauses are shorter */
#define TRIM_STACKS 4096 /* freed stacks whose memory is returned each time all sleep: some ms */
#define STACK_BYTES ((size_t)256 * 1024)

struct watch {
    struct bnx_message message; /* to the rescuer */
    struct bnx_worker *victim;
    uint32_t is_sent;   /* the message is on its way or being handled; D2 */
    uint64_t heartbeat; /* the rest: the watchdog's alone */
    uint64_t polls;
    uint64_t since_ns;     /* when the heartbeat was seen to change last */
    uint64_t cpu_ns;       /* CPU time of the thread at the last look */
    uint64_t cpu_used_ns;  /* CPU time used in this stall */
    uint64_t cpu_since_ns; /* when that changed last */
    bool is_reported;
    uint64_t slow_until_ns;    /* glanced at until then */
    uint64_t glance_heartbeat; /* at the last look or glance */
    uint32_t queued_looks;     /* in a row that have found something in its runq */
};

struct bnx_watchdog {
    struct bnx_runtime *runtime;
    struct bnx_os_thread thread;
    uint32_t asleep;      /* futex: 1 while it sleeps until kicked; D1 */
    uint32_t is_stopping; /* futex: set once */
    uint64_t stalls;      /* reported; relaxed */
    struct watch watches[];
};

uint64_t bnx_watchdog_stalls(const struct bnx_runtime *runtime) {
    const struct bnx_watchdog *watchdog = bnx_load_acquire(&runtime->watchdog); /* D3 */
    return watchdog != NULL ? bnx_load_relaxed(&watchdog->stalls) : 0;
}

void bnx_watchdog_kick(struct bnx_runtime *runtime) {
    struct bnx_watchdog *watchdog = bnx_load_acquire(&runtime->watchdog); /* D3 */
    if (watchdog != NULL && bnx_load_seq_cst(&watchdog->asleep) != 0 &&   /* D1 */
        bnx_exchange_seq_cst(&watchdog->asleep, 0) != 0) {                /* D1 */
        (void)bnx_os.futex_wake(&watchdog->asleep, 1);
    }
}

/* ---- On the rescuer ---- */

static void serve(struct bnx_worker *rescuer, struct bnx_worker *victim) {
    size_t served = 0;
    if (victim->driver->ops->reap_for != NULL && bnx_worker_rescue_enter(victim)) {
        served += victim->driver->ops->reap_for(victim->driver);
        bnx_worker_rescue_leave(victim);
    }
    bnx_cancels_resume_done(victim);
    uint64_t now_ns = bnx_clock_now();
    if (bnx_load_relaxed(&victim->wheel_next_ns) <= now_ns && bnx_worker_rescue_enter(victim)) {
        served += bnx_timers_fire_for(victim, now_ns);
    }
    if (served != 0) {
        bnx_counter_bump(&rescuer->counters.rescues);
    }
}

static void deliver_rescue(struct bnx_worker *worker, struct bnx_message *message) {
    struct watch *watch = BNX_CONTAINER_OF(message, struct watch, message);
    struct bnx_worker *victim = watch->victim;
    if (worker != victim && !BNX_PLANT(no_rescue)) {
        serve(worker, victim);
    }
    bnx_store_release(&watch->is_sent, 0); /* D2 */
}

/* ---- On the watchdog's thread ---- */

/* A guest whose host is away is none to watch, whatever waits for it: only the host can help. */
static bool is_parked(const struct bnx_runtime *runtime, uint32_t index) {
    return runtime->guest != NULL ? bnx_guest_is_away(runtime->guest)
                                  : bnx_idle_is_parked(&runtime->idle, index);
}

/* Something that only the worker itself, or its rescuer, can see to. */
static bool has_private_work(struct bnx_worker *worker, uint64_t now_ns) {
    return worker->driver->ops->is_pending(worker->driver) ||
           worker->driver->ops->reap_for != NULL ||
           bnx_load_relaxed(&worker->wheel_next_ns) <= now_ns || /* a hint */
           !bnx_mpscq_is_empty_seq_cst(&worker->inbox);
}

static void report(struct bnx_watchdog *watchdog, struct watch *watch, uint64_t now_ns) {
    /* Stale at once, but descriptors are type-stable: at worst another task is named. */
    const struct bnx_task *task = bnx_load_acquire(&watch->victim->current); /* W5 */
    if (task == NULL) {
        return; /* it has just gone on */
    }
    watch->is_reported = true;
    bnx_store_relaxed(&watchdog->stalls, watchdog->stalls + 1); /* one writer */
    char line[256];
    (void)bnx_task_describe(task, now_ns, line, sizeof(line));
    bnx_runtime_log(watchdog->runtime, BNX_LOG_WARNING, "worker %u stalled for %llu ms by %s",
                    watch->victim->index,
                    (unsigned long long)((now_ns - watch->since_ns) / BNX_NS_PER_MS), line);
}

/* A worker that can serve the victim: one that sleeps, else one that ticks. NULL: none. */
static struct bnx_worker *find_rescuer(const struct bnx_watchdog *watchdog,
                                       const struct watch *watch) {
    struct bnx_runtime *runtime = watchdog->runtime;
    struct bnx_worker *ticking = NULL;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct bnx_worker *worker = &runtime->workers[i];
        if (worker == watch->victim) {
            continue;
        }
        if (is_parked(runtime, i)) {
            return worker;
        }
        if (watchdog->watches[i].since_ns > watch->since_ns) {
            ticking = worker;
        }
    }
    return ticking;
}

static void send_rescuer(struct bnx_watchdog *watchdog, struct watch *watch) {
    if (bnx_load_acquire(&watch->is_sent) != 0) { /* D2 */
        return;
    }
    struct bnx_worker *rescuer = find_rescuer(watchdog, watch);
    if (rescuer != NULL) {
        bnx_store_release(&watch->is_sent, 1); /* D2 */
        bnx_worker_send(rescuer, &watch->message);
    }
}

/* Whether the thread sleeps in the kernel, rather than waits for a CPU: the letter after the name
 * in its stat file. */
static bool is_asleep(const struct bnx_worker *worker) {
    char path[64];
    char text[256];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%u/stat", worker->tid);
    int fd = bnx_os.openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    ssize_t bytes = bnx_os.read(fd, text, sizeof(text) - 1);
    (void)bnx_os.close(fd);
    text[bytes > 0 ? bytes : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end != NULL &&
           (strncmp(name_end, ") S", 3) == 0 || strncmp(name_end, ") D", 3) == 0);
}

static void handle_stall(struct bnx_watchdog *watchdog, struct watch *watch, uint64_t now_ns) {
    struct bnx_runtime *runtime = watchdog->runtime;
    struct bnx_worker *victim = watch->victim;
    uint64_t cpu_ns = 0;
    bool is_running =
        bnx_os.thread_cpu_clock((int)victim->tid, &cpu_ns) != 0 || cpu_ns != watch->cpu_ns;
    if (is_running) {
        watch->cpu_used_ns += watch->cpu_ns != 0 ? cpu_ns - watch->cpu_ns : 0;
        watch->cpu_ns = cpu_ns;
        watch->cpu_since_ns = now_ns;
    }
    bool is_blocked = now_ns - watch->cpu_since_ns >= BLOCKED_NS && is_asleep(victim);
    if (!watch->is_reported && (watch->cpu_used_ns >= REPORT_NS || is_blocked)) {
        report(watchdog, watch, now_ns);
    }
    if ((runtime->flags & BNX_NO_RESCUE) == 0 && has_private_work(victim, now_ns)) {
        if (is_running || is_blocked) {
            bnx_rescue_signal(victim);
        }
        send_rescuer(watchdog, watch);
    }
}

static void set_behind(struct bnx_worker *worker, bool is_behind) {
    bool is_plain = BNX_PLANT(watchdog_never_behind);
    if ((bnx_load_relaxed(&worker->is_behind) != 0) != is_behind && !is_plain) {
        bnx_store_relaxed(&worker->is_behind, is_behind); /* a hint, and only ours */
    }
}

/* Whether others should take from its runq however short that is. One that passes by may well have
 * something there at a look: it is too much for it when that is never empty. */
static void judge_runq(struct watch *watch, bool is_stalled) {
    bool is_queued = bnx_runq_count(&watch->victim->runq) != 0;
    watch->queued_looks = is_queued ? watch->queued_looks + 1 : 0;
    set_behind(watch->victim, is_queued && (is_stalled || watch->queued_looks >= LASTING_LOOKS));
}

/* One look at one worker. Returns whether it is awake, or has been since the last look. */
static bool look_at(struct bnx_watchdog *watchdog, struct watch *watch, uint64_t now_ns) {
    struct bnx_worker *worker = watch->victim;
    uint64_t heartbeat = bnx_load_relaxed(&worker->heartbeat); /* a hint, as are the next two */
    bool is_in_loop = bnx_load_relaxed(&worker->is_in_loop) != 0;
    uint64_t polls = bnx_load_relaxed(&worker->counters.polls);
    bool has_ticked = heartbeat != watch->heartbeat;
    judge_runq(watch, !has_ticked && !is_in_loop);
    if (has_ticked || is_in_loop) {
        if (!is_in_loop && polls == watch->polls) {
            bnx_store_relaxed(&worker->poll_requested, 1); /* a hint */
        }
        watch->heartbeat = heartbeat;
        watch->polls = polls;
        watch->since_ns = now_ns;
        watch->cpu_since_ns = now_ns;
        watch->cpu_ns = 0;
        watch->cpu_used_ns = 0;
        watch->is_reported = false;
    } else if (now_ns - watch->since_ns >= ROUND_NS) {
        handle_stall(watchdog, watch, now_ns);
    }
    return has_ticked || !is_parked(watchdog->runtime, worker->index);
}

/* Whether the worker has something that another one should take. */
static bool needs_help(const struct bnx_worker *worker, uint64_t now_ns) {
    bool is_next = bnx_load_relaxed(&worker->next_slot) != NULL; /* hints, both */
    bool is_old = bnx_load_relaxed(&worker->next_since_ns) + NEXT_OLD_NS <= now_ns;
    return bnx_deque_count(&worker->deque) != 0 || (is_next && is_old) ||
           (bnx_runq_count(&worker->runq) != 0 && !bnx_worker_is_short(worker));
}

/* Whether the worker has run the same task since the last glance and has something for others. */
static bool has_left_behind(struct watch *watch) {
    struct bnx_worker *worker = watch->victim;
    uint64_t heartbeat = bnx_load_relaxed(&worker->heartbeat); /* hints, all of them */
    bool is_same =
        heartbeat == watch->glance_heartbeat && bnx_load_relaxed(&worker->is_in_loop) == 0;
    bool is_queued = bnx_runq_count(&worker->runq) != 0;
    watch->glance_heartbeat = heartbeat;
    if (is_same && is_queued) {
        set_behind(worker, true);
    }
    return is_same && (is_queued || bnx_load_relaxed(&worker->next_slot) != NULL);
}

/* Work in a queue that any worker may take, while one sleeps. */
static void wake_for_queued(struct bnx_watchdog *watchdog, uint64_t now_ns) {
    struct bnx_runtime *runtime = watchdog->runtime;
    if (!bnx_idle_may_wake(&runtime->idle)) {
        return;
    }
    if (bnx_load_relaxed(&runtime->global.count) != 0 || /* hints, both */
        bnx_load_relaxed(&runtime->lanes_used) != 0) {
        bnx_runtime_wake_one(runtime);
        return;
    }
    bool is_wanted = false;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        is_wanted |= needs_help(&runtime->workers[i], now_ns);
    }
    if (is_wanted) {
        bnx_runtime_wake_one(runtime);
    }
}

static void glance(struct bnx_watchdog *watchdog) {
    struct bnx_runtime *runtime = watchdog->runtime;
    bool is_wanted = false;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        is_wanted |= has_left_behind(&watchdog->watches[i]);
    }
    if (is_wanted && bnx_idle_may_wake(&runtime->idle)) {
        bnx_runtime_wake_one(runtime);
    }
}

/* The time until the next round: with glances while a worker stalls, or has lately, and another one
 * has nothing to run: where all have, this thread would only take a CPU from them. */
static void wait_for_round(struct bnx_watchdog *watchdog, uint64_t round_ns) {
    struct bnx_runtime *runtime = watchdog->runtime;
    bool is_any_slow = false;
    bool is_any_free = false;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct watch *watch = &watchdog->watches[i];
        bool is_stalled = watch->since_ns != round_ns;
        watch->slow_until_ns = is_stalled ? round_ns + SLOW_NS : watch->slow_until_ns;
        watch->glance_heartbeat = watch->heartbeat;
        is_any_slow = is_any_slow || watch->slow_until_ns > round_ns;
        is_any_free = is_any_free || bnx_load_relaxed(&watch->victim->is_in_loop) != 0; /* a hint */
    }
    bool is_wanted = is_any_slow && is_any_free && !BNX_PLANT(watchdog_never_glances);
    for (int i = 1; i < GLANCES && is_wanted; i++) {
        uint64_t at_ns = round_ns + (uint64_t)i * (ROUND_NS / GLANCES);
        (void)bnx_os.futex_wait(&watchdog->is_stopping, 0, at_ns);
        glance(watchdog);
    }
    (void)bnx_os.futex_wait(&watchdog->is_stopping, 0, round_ns + ROUND_NS);
}

static bool all_parked(const struct bnx_runtime *runtime) {
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        if (!is_parked(runtime, i)) {
            return false;
        }
    }
    return true;
}

static void sleep_until_kicked(struct bnx_watchdog *watchdog) {
    (void)bnx_stack_trim(&watchdog->runtime->stacks, TRIM_STACKS);
    bnx_store_seq_cst(&watchdog->asleep, 1);                                              /* D1 */
    if (all_parked(watchdog->runtime) && bnx_load_seq_cst(&watchdog->is_stopping) == 0) { /* D1 */
        (void)bnx_os.futex_wait(&watchdog->asleep, 1, BNX_NEVER_NS);
    }
    bnx_store_seq_cst(&watchdog->asleep, 0); /* D1 */
    uint64_t now_ns = bnx_clock_now();
    for (uint32_t i = 0; i < watchdog->runtime->worker_count; i++) {
        watchdog->watches[i].since_ns = now_ns; /* the time asleep was no stall */
        watchdog->watches[i].cpu_since_ns = now_ns;
    }
}

static void watchdog_main(void *arg) {
    struct bnx_watchdog *watchdog = arg;
    struct bnx_runtime *runtime = watchdog->runtime;
    int quiet_rounds = 0;
    while (bnx_load_seq_cst(&watchdog->is_stopping) == 0) { /* D1 */
        uint64_t now_ns = bnx_clock_now();
        bool is_any_awake = false;
        for (uint32_t i = 0; i < runtime->worker_count; i++) {
            is_any_awake |= look_at(watchdog, &watchdog->watches[i], now_ns);
        }
        wake_for_queued(watchdog, now_ns);
        quiet_rounds = is_any_awake ? 0 : quiet_rounds + 1;
        if (quiet_rounds >= ROUNDS_BEFORE_SLEEP && !BNX_PLANT(watchdog_never_sleeps)) {
            quiet_rounds = 0;
            sleep_until_kicked(watchdog);
        } else {
            wait_for_round(watchdog, now_ns);
        }
    }
}

int bnx_watchdog_start(struct bnx_runtime *runtime) {
    size_t bytes = sizeof(struct bnx_watchdog) + sizeof(struct watch) * runtime->worker_count;
    struct bnx_watchdog *watchdog = bnx_os.allocate(bytes, BNX_CACHELINE_BYTES);
    if (watchdog == NULL) {
        return -ENOMEM;
    }
    memset(watchdog, 0, bytes);
    watchdog->runtime = runtime;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        watchdog->watches[i].victim = &runtime->workers[i];
        watchdog->watches[i].message.deliver = deliver_rescue;
        watchdog->watches[i].since_ns = bnx_clock_now();
    }
    watchdog->thread = (struct bnx_os_thread){.entry = watchdog_main,
                                              .arg = watchdog,
                                              .stack_bytes = STACK_BYTES,
                                              .name = "bnx-watchdog"};
    int error = bnx_os.thread_create(&watchdog->thread);
    if (error != 0) {
        bnx_os.release(watchdog);
        return error;
    }
    bnx_store_release(&runtime->watchdog, watchdog); /* D3 kick, stalls: seen whole */
    return 0;
}

void bnx_watchdog_stop(struct bnx_runtime *runtime) {
    struct bnx_watchdog *watchdog = runtime->watchdog;
    if (watchdog == NULL) {
        return;
    }
    bnx_store_seq_cst(&watchdog->is_stopping, 1); /* D1 */
    (void)bnx_os.futex_wake(&watchdog->is_stopping, 1);
    bnx_watchdog_kick(runtime);
    (void)bnx_os.thread_join(&watchdog->thread);
}

void bnx_watchdog_free(struct bnx_runtime *runtime) {
    bnx_os.release(runtime->watchdog);
    runtime->watchdog = NULL;
}
