/* SPDX-License-Identifier: MIT */
/* Tests a runtime among signals, forks and stops, in quiet and under load. */
#include "tests/io/fixture.h"

#include <dirent.h>
#include <sys/time.h>
#include <sys/wait.h>

/* ---- Traffic that goes on until it is told to stop ---- */

#define PAIRS 16

struct traffic {
    int fds[PAIRS][2];
    uint64_t trips;
    uint32_t is_over;
};

static int answer(void *arg) {
    int fd = (int)(intptr_t)arg;
    char data[512];
    ssize_t got;
    while ((got = bnx_recv(fd, data, sizeof(data), 0)) > 0) {
        if (bnx_send_all(fd, data, (size_t)got) != got) {
            break;
        }
    }
    return 0;
}

static int ask(void *arg) {
    uintptr_t *words = arg;
    struct traffic *traffic = (struct traffic *)words[0];
    int fd = (int)words[1];
    char data[512];
    memset(data, 0x33, sizeof(data));
    while (bnx_load_acquire(&traffic->is_over) == 0) {
        if (bnx_send_all(fd, data, sizeof(data)) != sizeof(data) ||
            bnx_recv_exact(fd, data, sizeof(data)) != sizeof(data)) {
            return bnx_checkpoint() != 0 ? 0 : -EIO; /* cancelled, or a broken echo */
        }
        bnx_fetch_add_acq_rel(&traffic->trips, 1);
    }
    CHECK_EQ(bnx_shutdown(fd, SHUT_WR), 0);
    return 0;
}

static void traffic_open(struct traffic *traffic) {
    memset(traffic, 0, sizeof(*traffic));
    for (size_t i = 0; i < PAIRS; i++) {
        (i % 2 == 0 ? io_unix_pair : io_tcp_pair)(traffic->fds[i]);
    }
}

static void traffic_close(struct traffic *traffic) {
    for (size_t i = 0; i < PAIRS; i++) {
        io_close_pair(traffic->fds[i]);
    }
}

static int run_traffic(void *arg) {
    struct traffic *traffic = arg;
    struct bnx_scope scope;
    const struct bnx_spawn_options options = {.stack = BNX_STACK_16K};
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < PAIRS; i++) {
        void *server_end = (void *)(intptr_t)traffic->fds[i][1];
        uintptr_t words[2] = {(uintptr_t)traffic, (uintptr_t)traffic->fds[i][0]};
        int error = bnx_spawn_with(&scope, &options, answer, server_end, NULL);
        if (error == 0) {
            error = bnx_spawn_copy(&scope, ask, words, sizeof(words));
        }
        CHECK(error == 0 || error == -ECANCELED);
    }
    return bnx_scope_close(&scope);
}

/* ---- Signals ---- */

#define SIGNALS 300

static struct {
    uint64_t handled;
    uint64_t on_worker; /* where no signal of the program may run */
} profile;

static void on_profile(int signo) {
    (void)signo;
    volatile char large[64 * 1024]; /* more than a small task stack has */
    large[0] = 1;
    large[sizeof(large) - 1] = 1;
    if (bnx_worker_current() != NULL) {
        bnx_fetch_add_acq_rel(&profile.on_worker, 1);
    }
    bnx_fetch_add_acq_rel(&profile.handled, 1);
}

static void end_after_signals(void *arg) {
    struct traffic *traffic = arg;
    uint64_t wanted = bnx_test_scale(SIGNALS);
    while (bnx_load_acquire(&profile.handled) < wanted) {
        bnx_os.thread_yield();
    }
    uint64_t before = bnx_load_acquire(&traffic->trips);
    while (bnx_load_acquire(&traffic->trips) == before) { /* ends: the traffic goes on */
        bnx_os.thread_yield();
    }
    bnx_store_release(&traffic->is_over, 1);
}

static int write_to_closed(void *arg) {
    (void)arg;
    int fds[2];
    io_pipe(fds);
    CHECK_EQ(close(fds[0]), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_write(fds[1], "x", 1), -EPIPE);
    }
    CHECK_EQ(close(fds[1]), 0);
    io_unix_pair(fds);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(bnx_send(fds[1], "x", 1, 0), -EPIPE);
    CHECK_EQ(bnx_write(fds[1], "x", 1), -EPIPE);
    CHECK_EQ(close(fds[1]), 0);
    return 0;
}

/* A profiler's signal at 997 Hz of CPU time never lands on a task's stack, and the traffic goes on;
 * a write to a closed pipe or socket is an error, where SIGPIPE would end the process. */
TEST(signal_safe, "signal.safe") {
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    sched_run_each(write_to_closed, NULL);
    struct sigaction action = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
    CHECK_EQ(sigaction(SIGPROF, &action, NULL), 0);
    static struct traffic traffic;
    traffic_open(&traffic);
    struct bnx_os_thread ender;
    sched_thread_start(&ender, end_after_signals, &traffic);
    struct itimerval interval = {{0, 1003}, {0, 1003}};
    CHECK_EQ(setitimer(ITIMER_PROF, &interval, NULL), 0);
    struct bnx_options options = {.worker_count = 2, .seed = 1, .stack = BNX_STACK_16K};
    CHECK_EQ(bnx_run(&options, run_traffic, &traffic), 0);
    interval = (struct itimerval){{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_PROF, &interval, NULL), 0);
    sched_thread_join(&ender);
    CHECK_EQ(profile.on_worker, 0);
    traffic_close(&traffic);
}

/* ---- Quiet ---- */

#define IDLE_SECONDS 3
#define WAKES_MAX_PER_SECOND 5
#define CPU_PERMILLE_MAX 10

static int wait_quietly(void *arg) {
    char byte;
    CHECK_EQ(bnx_recv((int)(intptr_t)arg, &byte, 1, 0), -ECANCELED);
    return 0;
}

static int sleep_long(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_sleep(UINT64_C(3600) * BNX_NS_PER_S), -ECANCELED);
    return 0;
}

/* How often the threads of the process have gone to sleep, the calling one not counted. */
static uint64_t sleeps_of_others(void) {
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    uint64_t sum = 0;
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char path[300];
        char line[256];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == bnx_os.thread_id()) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            unsigned long long count;
            if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1) {
                sum += count;
            }
        }
        if (file != NULL) {
            (void)fclose(file);
        }
    }
    CHECK_EQ(closedir(directory), 0);
    return sum;
}

static uint64_t cpu_us(void) {
    struct rusage usage;
    CHECK_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* A runtime whose tasks all wait, for a socket or for a time far off, wakes up for nothing. */
TEST(idle_is_quiet, "idle.is_quiet") {
    int fds[2];
    io_unix_pair(fds);
    struct bnx_runtime *runtime = sched_create(2);
    for (int i = 0; i < 10; i++) {
        void *fd = (void *)(intptr_t)fds[0];
        CHECK_EQ(bnx_runtime_spawn(runtime, i % 2 == 0 ? wait_quietly : sleep_long, fd, NULL), 0);
    }
    struct bnx_runtime_stats stats;
    do { /* ends: the workers have nothing to do, and the watchdog follows them */
        bnx_runtime_stats(runtime, &stats);
        (void)usleep(100000);
    } while (bnx_idle_is_parked(&runtime->idle, 0) + bnx_idle_is_parked(&runtime->idle, 1) != 2);
    uint64_t sleeps = sleeps_of_others();
    uint64_t cpu = cpu_us();
    uint64_t start_ns = bnx_now();
    CHECK_EQ(bnx_sleep(IDLE_SECONDS * BNX_NS_PER_S), 0);
    uint64_t passed_us = (bnx_now() - start_ns) / 1000;
    sleeps = sleeps_of_others() - sleeps;
    cpu = cpu_us() - cpu;
    printf("%llu sleeps, %llu us of CPU in %llu us\n", (unsigned long long)sleeps,
           (unsigned long long)cpu, (unsigned long long)passed_us);
    CHECK(sleeps * 1000000 <= 2 * WAKES_MAX_PER_SECOND * passed_us);
    CHECK(cpu * 1000 <= CPU_PERMILLE_MAX * passed_us);
    sched_destroy(runtime);
    io_close_pair(fds);
}

/* ---- Fork ---- */

/* In the child nothing of the runtime may be used, and every call says so. */
static BNX_NORETURN void check_as_child(struct bnx_runtime *runtime, struct traffic *traffic) {
    CHECK_EQ(bnx_runtime_spawn(runtime, run_traffic, traffic, NULL), -ECHILD);
    CHECK_EQ(bnx_runtime_run(runtime, run_traffic, traffic), -ECHILD);
    CHECK_EQ(bnx_runtime_stop(runtime), -ECHILD);
    CHECK_EQ(bnx_runtime_wait(runtime, 0), -ECHILD);
    CHECK_EQ(bnx_runtime_destroy(runtime), -ECHILD);
    _exit(0);
}

static void fork_and_check(struct bnx_runtime *runtime, struct traffic *traffic) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        check_as_child(runtime, traffic);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static int fork_in_task(void *arg) {
    struct traffic *traffic = arg;
    fork_and_check(bnx_runtime_current(), traffic);
    return 0;
}

/* Forks under traffic: the children may not touch the runtime, the parent's traffic goes on. */
TEST(runtime_fork, "runtime.fork") {
#if BNX_TSAN
    SKIP("a fork of threads is more than ThreadSanitizer follows");
#endif
    static struct traffic traffic;
    traffic_open(&traffic);
    struct bnx_runtime *runtime = sched_create(2);
    struct bnx_future *future;
    CHECK_EQ(bnx_runtime_spawn(runtime, run_traffic, &traffic, &future), 0);
    for (uint64_t i = 0; i < 2 + bnx_test_scale(50); i++) {
        uint64_t before = bnx_load_acquire(&traffic.trips);
        fork_and_check(runtime, &traffic);
        CHECK_EQ(bnx_runtime_run(runtime, fork_in_task, &traffic), 0);
        while (bnx_load_acquire(&traffic.trips) < before + 100) { /* ends: the traffic goes on */
            bnx_os.thread_yield();
        }
    }
    bnx_store_release(&traffic.is_over, 1);
    void *value;
    CHECK_EQ(bnx_future_await(future, &value), 0);
    CHECK_EQ((intptr_t)value, 0);
    bnx_future_unref(future);
    sched_destroy(runtime);
    traffic_close(&traffic);
}

/* ---- Stop ---- */

static int wait_in_accept(void *arg) {
    (void)arg;
    int listener = bnx_listen("127.0.0.1:0", NULL);
    CHECK(listener >= 0);
    CHECK_EQ(bnx_accept(listener, NULL), -ECANCELED);
    CHECK_EQ(bnx_close(listener), 0);
    return 0;
}

static int block_a_little(void *arg) {
    (void)arg;
    return usleep(200);
}

static int offload_again(void *arg) {
    (void)arg;
    int result;
    while ((result = bnx_offload(block_a_little, NULL)) == 0) {
        uint64_t deadline_ns = bnx_now() + 50000;
        if (bnx_sleep_until(deadline_ns) != 0) {
            return 0;
        }
    }
    CHECK_EQ(result, -ECANCELED);
    return 0;
}

/* A runtime is stopped under traffic of all kinds, at any moment: it ends, nothing is left open. */
TEST(stop_any_time, "io.stop_any_time") {
    struct bnx_rng rng;
    bnx_rng_init(&rng, bnx_test_seed(), 0);
    int before = io_fd_count();
    for (uint64_t round = 0; round < 3 + bnx_test_scale(300); round++) {
        static struct traffic traffic;
        traffic_open(&traffic);
        struct bnx_runtime *runtime = sched_create(1 + bnx_rng_below(&rng, 3));
        CHECK_EQ(bnx_runtime_spawn(runtime, run_traffic, &traffic, NULL), 0);
        CHECK_EQ(bnx_runtime_spawn(runtime, wait_in_accept, NULL, NULL), 0);
        CHECK_EQ(bnx_runtime_spawn(runtime, offload_again, NULL, NULL), 0);
        uint64_t until_ns = bnx_now() + bnx_rng_below(&rng, 3000000);
        while (bnx_now() < until_ns) { /* a random moment is the point */
            bnx_os.thread_yield();
        }
        sched_destroy(runtime);
        traffic_close(&traffic);
    }
    CHECK_EQ(io_fd_count(), before);
}

/* ---- Operations that never wait ---- */

struct heartbeat {
    int fds[2];
    uint64_t beats;
    uint64_t operations;
};

#define BEATS 20

static int beat(void *arg) {
    struct heartbeat *heartbeat = arg;
    for (int i = 0; i < BEATS; i++) {
        CHECK_EQ(bnx_sleep(2 * BNX_NS_PER_MS), 0);
        bnx_fetch_add_acq_rel(&heartbeat->beats, 1);
    }
    return 0;
}

/* Each of them finds its data there: the budget alone makes it give way. */
static int receive_busily(void *arg) {
    struct heartbeat *heartbeat = arg;
    char byte;
    while (bnx_load_acquire(&heartbeat->beats) < BEATS) { /* ends when the other gets its turns */
        CHECK_EQ(bnx_recv(heartbeat->fds[0], &byte, 1, MSG_PEEK), 1);
        CHECK_EQ(bnx_send(heartbeat->fds[0], "", 0, 0), 0);
    }
    return 0;
}

static int read_busily(void *arg) {
    struct heartbeat *heartbeat = arg;
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char data[64];
    CHECK(fd >= 0);
    while (bnx_load_acquire(&heartbeat->beats) < BEATS) { /* as above */
        CHECK_EQ(bnx_read(fd, data, sizeof(data)), sizeof(data));
    }
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int run_heartbeat(void *arg) {
    static const bnx_task_fn busy[] = {receive_busily, read_busily};
    (void)arg;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(busy); i++) {
        struct heartbeat heartbeat = {0};
        struct bnx_scope scope;
        io_unix_pair(heartbeat.fds);
        CHECK_EQ(bnx_os.send(heartbeat.fds[1], "abcd", 4, 0), 4);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn(&scope, busy[i], &heartbeat), 0);
        CHECK_EQ(bnx_spawn(&scope, beat, &heartbeat), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        io_close_pair(heartbeat.fds);
    }
    return 0;
}

/* Timers fire beside a task whose every operation completes at once, on one worker. */
TEST(heartbeat_survives, "io.heartbeat_survives") {
    sched_run(1, run_heartbeat, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
