/* SPDX-License-Identifier: MIT */
/* Tests who asks for names: once at a time, as long as somebody waits, in threads of its own. */
#include "tests/io/names.h"

#include <sys/wait.h>

#define THREADS_MAX 8 /* that ask, in the process */

/* ---- Single flight ---- */

#define CROWD 1000

/* A crowd looks up one name; all wait before the resolver answers: it was asked once. */
static int ask_as_crowd(void *arg) {
    (void)arg;
    static struct bnx_task *crowd[CROWD];
    static uint32_t round;
    char name[32];
    (void)snprintf(name, sizeof(name), "held-%u.crowd", ++round);
    uint32_t count = (uint32_t)bnx_test_scale(CROWD);
    uint32_t before = names_calls();
    struct bnx_scope scope;
    names_shut();
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_EQ(bnx_spawn_with(&scope, NULL, names_look_up_task, name, &crowd[i]), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        io_await_wait(crowd[i], BNX_WAIT_RESOLVE);
    }
    names_open();
    for (uint32_t i = 0; i < count; i++) {
        int result;
        CHECK_EQ(bnx_join(crowd[i], &result), 0);
        CHECK_EQ(result, before + 1);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(names_calls(), before + 1);
    return 0;
}

TEST(dns_single_flight, "dns.single_flight") {
    names_install();
    sched_run_each(ask_as_crowd, NULL);
}

/* Other names do not wait for one that hangs. */
static int ask_beside_held(void *arg) {
    (void)arg;
    static char held[THREADS_MAX - 1][16];
    uint32_t before = names_calls();
    struct bnx_scope scope;
    names_shut();
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uint32_t i = 0; i < BNX_ARRAY_COUNT(held); i++) {
        (void)snprintf(held[i], sizeof(held[i]), "held-%u", i);
        CHECK_EQ(bnx_spawn(&scope, names_look_up_task, held[i]), 0);
    }
    names_await_calls(before + THREADS_MAX - 1);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(names_look_up("from-7.beside"), 7);
        CHECK_EQ(bnx_dns_forget(NULL), 0);
    }
    names_open();
    CHECK_EQ(bnx_scope_close(&scope), 0);
    return 0;
}

TEST(dns_slow_names, "dns.slow_names_delay_nobody") {
    names_install();
    sched_run_each(ask_beside_held, NULL);
}

/* ---- Giving up ---- */

static int look_up_in_vain(void *arg) {
    CHECK_EQ(names_look_up(arg), -ECANCELED);
    return 0;
}

static int give_up(void *arg) {
    uint32_t before = names_calls();
    struct bnx_scope scope;
    struct bnx_task *task;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, look_up_in_vain, arg, &task), 0);
    io_await_wait(task, BNX_WAIT_RESOLVE);
    names_await_calls(before + 1);
    bnx_scope_cancel(&scope, 0);
    (void)bnx_scope_close(&scope);
    CHECK_EQ(names_look_up("from-5"), 5); /* nothing of it is in the way */
    return 0;
}

static int give_up_by_deadline(void *arg) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    CHECK_EQ(bnx_scope_open(&scope, &options), 0);
    CHECK_EQ(names_look_up(arg), -ETIMEDOUT);
    (void)bnx_scope_close(&scope);
    return 0;
}

static int find_again(void *arg) {
    CHECK_EQ(names_look_up(arg), 0);
    return 0;
}

/* A cancel and a deadline end a look-up, and a runtime ends, while the resolver still hangs; what
 * it says in the end is kept. */
TEST(dns_give_up, "dns.cancel_leaves_the_call") {
    static const char *const zero[] = {"192.0.2.0", NULL};
    names_install();
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "held-%zu.leave", i);
        names.answers = zero;
        names_shut();
        uint32_t before = names_calls();
        sched_run(sched_worker_counts[i], give_up, name);
        sched_run(sched_worker_counts[i], give_up_by_deadline, name);
        uint32_t begun = names_calls();
        CHECK(begun >= before + 1);
        uint32_t ended = bnx_load_acquire(&names.ended);
        CHECK_EQ(begun - ended, 1); /* it hangs */
        names_open();
        sched_wait_post(&names.ended, begun);
        sched_run(sched_worker_counts[i], find_again, name);
        CHECK_EQ(names_calls(), begun);
        CHECK_EQ(bnx_dns_forget(NULL), 0);
    }
}

/* All threads hang; one more look-up waits for a thread and is given up: it is never made. */
static int give_up_queued(void *arg) {
    (void)arg;
    static char held[THREADS_MAX][16];
    uint32_t before = names_calls();
    struct bnx_scope hanging, scope;
    struct bnx_task *task;
    names_shut();
    CHECK_EQ(bnx_scope_open(&hanging, NULL), 0);
    for (uint32_t i = 0; i < THREADS_MAX; i++) {
        (void)snprintf(held[i], sizeof(held[i]), "held-%u", i);
        CHECK_EQ(bnx_spawn(&hanging, names_look_up_task, held[i]), 0);
    }
    names_await_calls(before + THREADS_MAX);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, look_up_in_vain, (void *)(uintptr_t) "unmade", &task), 0);
    io_await_wait(task, BNX_WAIT_RESOLVE);
    bnx_scope_cancel(&scope, 0);
    (void)bnx_scope_close(&scope);
    CHECK_EQ(names_calls(), before + THREADS_MAX);
    names_open();
    CHECK_EQ(bnx_scope_close(&hanging), 0);
    for (uint32_t i = 0; i < THREADS_MAX; i++) { /* behind it in the queue, were it there */
        char name[32];
        (void)snprintf(name, sizeof(name), "from-3.%u", i);
        CHECK_EQ(names_look_up(name), 3);
    }
    CHECK_EQ(names_calls(), before + 2 * THREADS_MAX);
    CHECK_EQ(bnx_dns_forget(NULL), 0);
    return 0;
}

TEST(dns_queued, "dns.what_nobody_wants_is_not_asked") {
    names_install();
    sched_run_each(give_up_queued, NULL);
}

#define STORM_NAMES 16

static uint64_t storm_seed;

static int storm_task(void *arg) {
    struct bnx_rng rng;
    bnx_rng_init(&rng, storm_seed, (uint64_t)(uintptr_t)arg);
    for (uint64_t i = 0; i < bnx_test_scale(300); i++) {
        char name[32];
        uint32_t number = (uint32_t)bnx_rng_below(&rng, STORM_NAMES);
        (void)snprintf(name, sizeof(name), "from-%u", number);
        int found = names_look_up(name);
        if (found == -ECANCELED) {
            return 0;
        }
        CHECK_EQ(found, number);
        if (bnx_rng_below(&rng, 8) == 0) {
            CHECK_EQ(bnx_dns_forget(bnx_rng_below(&rng, 2) == 0 ? name : NULL), 0);
        }
    }
    return 0;
}

static int storm(void *arg) {
    (void)arg;
    for (uint64_t round = 0; round < 2 + bnx_test_scale(20); round++) {
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        for (uintptr_t i = 1; i <= 8; i++) {
            CHECK_EQ(bnx_spawn(&scope, storm_task, (void *)(round * 8 + i)), 0);
        }
        if (round % 2 == 1) {
            for (uint64_t i = 0; i < round; i++) {
                bnx_yield();
            }
            bnx_scope_cancel(&scope, 0);
        }
        (void)bnx_scope_close(&scope);
    }
    return 0;
}

/* Look-ups, cancels, evictions and a forgetful cache at once: each answer is that of its name. */
TEST(dns_storm, "dns.storm") {
    names_install();
    storm_seed = bnx_test_seed();
    struct bnx_dns_options options = {.names_max = 4};
    CHECK_EQ(bnx_dns_configure(&options), 0);
    sched_run_each(storm, NULL);
}

/* ---- Threads and memory ---- */

static int (*real_thread_create)(struct bnx_os_thread *thread);

static int thread_create_of_others(struct bnx_os_thread *thread) {
    return thread->name != NULL && strcmp(thread->name, "bnx-resolve") == 0
               ? -EAGAIN
               : real_thread_create(thread);
}

static int ask_without_threads(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, &(struct bnx_scope_options){.policy = BNX_SCOPE_COLLECT}), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(bnx_spawn(&scope, names_look_up_task, arg), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), -EAGAIN);
    CHECK_EQ(bnx_scope_error_count(&scope), 100);
    return 0;
}

/* No thread can be started: that is the answer for all, and later there is another. */
TEST(dns_no_threads, "dns.no_threads") {
    names_install();
    real_thread_create = bnx_os.thread_create;
    bnx_os.thread_create = thread_create_of_others;
    sched_run_each(ask_without_threads, (void *)(uintptr_t) "host");
    CHECK_EQ(names_calls(), 0);
    bnx_os.thread_create = real_thread_create;
    names.answers = (const char *const[]){"192.0.2.0", NULL};
    sched_run(2, find_again, (void *)(uintptr_t) "host");
}

static int (*real_futex_wait)(uint32_t *word, uint32_t expected, uint64_t deadline_ns);
static __thread bool is_asking_thread;

/* A thread that has asked once never idles: its next wait is over at once. */
static int futex_wait_impatient(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
    return is_asking_thread && deadline_ns != BNX_NEVER_NS
               ? -ETIMEDOUT
               : real_futex_wait(word, expected, deadline_ns);
}

static int getaddrinfo_marking(const char *host, const char *service, const struct addrinfo *hints,
                               struct addrinfo **out_list, int *out_error) {
    is_asking_thread = true;
    return names_getaddrinfo(host, service, hints, out_list, out_error);
}

static int come_and_go_task(void *arg) {
    for (uint64_t i = 0; i < bnx_test_scale(200); i++) {
        char name[48];
        (void)snprintf(name, sizeof(name), "from-9.%p.%u", arg, (unsigned)i);
        CHECK_EQ(names_look_up(name), 9);
    }
    return 0;
}

static int come_and_go(void *arg) {
    (void)arg;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (uintptr_t i = 0; i < 3; i++) {
        CHECK_EQ(bnx_spawn(&scope, come_and_go_task, (void *)i), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(bnx_dns_forget(NULL), 0);
    return 0;
}

/* Threads leave as soon as they find nothing to do: no look-up is left without one. */
TEST(dns_come_and_go, "dns.threads_come_and_go") {
    names_install();
    real_futex_wait = bnx_os.futex_wait;
    bnx_os.futex_wait = futex_wait_impatient;
    bnx_os.getaddrinfo = getaddrinfo_marking;
    sched_run_each(come_and_go, NULL);
}

static void *(*real_allocate)(size_t bytes, size_t alignment);
static uint64_t allocations_left = UINT64_MAX;

static void *allocate_but_one(size_t bytes, size_t alignment) {
    return bnx_fetch_sub_relaxed(&allocations_left, 1) == 1 ? NULL
                                                            : real_allocate(bytes, alignment);
}

/* The k-th allocation of a look-up fails, for each k. */
static int ask_without_memory(void *arg) {
    (void)arg;
    uint64_t failures = 0;
    bool is_refused = true;
    CHECK_EQ(names_look_up("from-1.before"), 1);
    for (uint64_t k = 1; is_refused; k++) { /* ends: a look-up makes a few */
        CHECK_EQ(bnx_dns_forget(NULL), 0);
        bnx_store_relaxed(&allocations_left, k);
        int result = names_look_up("from-1.memory");
        uint64_t left = bnx_exchange_acq_rel(&allocations_left, UINT64_MAX);
        is_refused = left == 0 || left > k;
        failures += result == -ENOMEM ? 1 : 0;
        /* It may have been somebody else's: a thread of an earlier look-up. */
        CHECK(result == 1 || (result == -ENOMEM && is_refused));
    }
    CHECK(failures >= 2);
    return 0;
}

TEST(dns_memory, "dns.no_memory") {
    names_install();
    real_allocate = bnx_os.allocate;
    bnx_os.allocate = allocate_but_one;
    sched_run(1, ask_without_memory, NULL);
}

/* ---- Forks ---- */

static void check_in_child(void) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct bnx_address found;
        bool is_refused = bnx_resolve("127.0.0.1", NULL, &found, 1) == -ECHILD &&
                          bnx_dns_forget(NULL) == -ECHILD && bnx_dns_configure(NULL) == -ECHILD;
        _exit(is_refused ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int fork_beside_call(void *arg) {
    (void)arg;
    check_in_child();
    return 0;
}

/* In a child the threads are not there, whatever they were at: each call says so. */
TEST(dns_fork, "dns.fork") {
#if BNX_TSAN
    SKIP("a fork of threads is more than ThreadSanitizer follows");
#endif
    names_install();
    names_shut();
    sched_run(2, give_up, (void *)(uintptr_t) "held-fork");
    sched_run(2, fork_beside_call, NULL);
    check_in_child();
    names_open();
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
