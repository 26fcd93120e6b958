/* SPDX-License-Identifier: MIT */
/* Tests a guest on the null driver: one worker in the loop of a host (bonxie/runtime.h). */
#include "runtime/guest.h"
#include "runtime/scope_pvt.h"
#include "tests/support/sched.h"
#include "tests/unit/guest_fixture.h"

#include <fenv.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS 4

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int add_one(void *arg) {
    ++*(int *)arg;
    return 0;
}

static int sleep_a_little(void *arg) {
    int error = bnx_sleep(2 * BNX_NS_PER_MS);
    return error != 0 ? error : add_one(arg);
}

static int sleep_for_ever(void *arg) {
    (void)arg;
    return bnx_sleep(BNX_NEVER_NS);
}

/* ---- The documented loop ---- */

static bool is_over;

static void read_own(int fd) {
    uint64_t count;
    CHECK_EQ(bnx_os.read(fd, &count, sizeof(count)), sizeof(count));
    is_over = true;
}

static void host_loop(struct bnx_runtime *runtime, int own_fd) {
    struct pollfd fds[2] = {{.fd = own_fd, .events = POLLIN},
                            {.fd = bnx_runtime_fd(runtime), .events = POLLIN}};
    while (!is_over) {
        poll(fds, 2, -1);
        if ((fds[0].revents & POLLIN) != 0) {
            read_own(own_fd);
        }
        if ((fds[1].revents & POLLIN) != 0) {
            bnx_runtime_poll(runtime, 0);
        }
    }
}

static int sleep_and_tell(void *arg) {
    int slept = 0;
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(bnx_spawn(&scope, sleep_a_little, &slept), 0);
    }
    CHECK_EQ(bnx_scope_close(&scope), 0);
    CHECK_EQ(slept, 10);
    uint64_t one = 1;
    CHECK_EQ(bnx_os.write(*(int *)arg, &one, sizeof(one)), sizeof(one));
    return 0;
}

/* The loop in the manual runs sleeping tasks to their end; the last one tells the host. */
TEST(guest_host_loop, "guest.host_loop") {
    struct bnx_runtime *runtime = guest_create();
    int own_fd = bnx_os.eventfd(0, EFD_CLOEXEC);
    CHECK(own_fd >= 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, sleep_and_tell, &own_fd, NULL), 0);
    host_loop(runtime, own_fd);
    CHECK_EQ(bnx_os.close(own_fd), 0);
    sched_destroy(runtime);
}

static void read_file(const char *path, char *out, size_t bytes) {
    const char *root = bnx_test_arg(0);
    if (root == NULL) {
        SKIP("needs the source directory as its argument");
    }
    char full[PATH_MAX];
    CHECK(snprintf(full, sizeof(full), "%s/%s", root, path) < (int)sizeof(full));
    FILE *file = fopen(full, "r");
    CHECK(file != NULL);
    size_t length = fread(out, 1, bytes - 1, file);
    CHECK(length > 0 && length < bytes - 1);
    out[length] = '\0';
    CHECK_EQ(fclose(file), 0);
}

/* host_loop, line by line, is what the header shows. */
TEST(guest_loop_is_documented, "guest.loop_is_documented") {
    static char header[65536], source[65536];
    read_file("runtime/include/bonxie/runtime.h", header, sizeof(header));
    read_file("tests/unit/guest_test.c", source, sizeof(source));
    const char *shown = strstr(header, "A host's loop:\n *\n");
    CHECK(shown != NULL);
    shown += strlen("A host's loop:\n *\n");
    const char *compiled = strstr(source, "int own_fd) {\n    struct pollfd");
    CHECK(compiled != NULL);
    compiled = strchr(compiled, '\n') + 1;
    int lines = 0;
    while (strncmp(shown, " *     ", 7) == 0) { /* ends with the empty comment line */
        size_t length = strcspn(shown, "\n") - 3;
        CHECK(strncmp(shown + 3, compiled, length) == 0 && compiled[length] == '\n');
        shown += length + 4;
        compiled += length + 1;
        lines++;
    }
    CHECK_EQ(lines, 11);
    CHECK(strncmp(compiled, "}\n", 2) == 0);
}

/* ---- When the descriptor is readable ---- */

/* It is when there is something to do, and is not any more once a poll has done it. */
TEST(guest_fd_tells, "guest.fd_tells") {
    struct bnx_runtime *runtime = guest_create();
    int fd = bnx_runtime_fd(runtime);
    int count = 0;
    CHECK(fd >= 0);
    CHECK(!is_readable(fd));
    CHECK_EQ(bnx_runtime_poll(runtime, 0), 0);
    CHECK(!is_readable(fd));
    for (int i = 1; i <= 100; i++) {
        CHECK_EQ(bnx_runtime_spawn(runtime, add_one, &count, NULL), 0);
        CHECK(is_readable(fd));
        CHECK(bnx_runtime_poll(runtime, 0) > 0);
        CHECK_EQ(count, i);
        CHECK(falls_silent(runtime));
    }
    CHECK_EQ(bnx_runtime_poll(runtime, 0), 0);
    sched_destroy(runtime);
}

/* A sleep ends by the descriptor alone, and few visits do it: a timer in a coarse level of the
 * wheel may ask for one or two before it is due. */
TEST(guest_timer, "guest.timer") {
    struct bnx_runtime *runtime = guest_create();
    int visits = 0;
    int slept = 0;
    int rounds = (int)bnx_test_scale(50);
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(bnx_runtime_spawn(runtime, sleep_a_little, &slept, NULL), 0);
        while (slept == i) { /* ends with the sleep */
            (void)turn(runtime);
            visits++;
        }
    }
    CHECK(visits <= 8 * rounds);
    CHECK(falls_silent(runtime));
    sched_destroy(runtime);
}

static int run_classes(void *arg) {
    static const enum bnx_class classes[] = {BNX_CLASS_BATCH, BNX_CLASS_NORMAL, BNX_CLASS_LATENCY};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(classes); i++) {
        struct bnx_scope_options options = {.task_class = classes[i]};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, &options), 0);
        CHECK_EQ(bnx_spawn(&scope, sleep_a_little, arg), 0);
        CHECK_EQ(bnx_spawn(&scope, sleep_a_little, arg), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
    }
    return 0;
}

/* Tasks of every class get their turn, and leave the descriptor quiet. */
TEST(guest_classes, "guest.classes") {
    struct bnx_runtime *runtime = guest_create();
    int slept = 0;
    CHECK_EQ(bnx_runtime_spawn(runtime, run_classes, &slept, NULL), 0);
    while (slept < 6) { /* ends with the tasks */
        (void)turn(runtime);
    }
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK(!is_readable(bnx_runtime_fd(runtime)));
    sched_destroy(runtime);
}

static int tell_thread(void *arg) {
    *(int *)arg = bnx_os.thread_id();
    return 5;
}

static int offload_it(void *arg) {
    int host = bnx_os.thread_id();
    CHECK_EQ(bnx_offload(tell_thread, arg), 5);
    CHECK(*(int *)arg != host);
    CHECK_EQ(bnx_os.thread_id(), host);
    return 0;
}

/* A task that has gone to a thread of the pool comes back to the host, which it wakes. */
TEST(guest_offload, "guest.offload") {
    struct bnx_runtime *runtime = guest_create();
    for (int i = 0; i < 20; i++) {
        int tid = 0;
        struct bnx_future *done = NULL;
        CHECK_EQ(bnx_runtime_spawn(runtime, offload_it, &tid, &done), 0);
        while (bnx_future_poll(done, NULL) == -EAGAIN) { /* ends with the task */
            (void)turn(runtime);
        }
        bnx_future_unref(done);
    }
    sched_destroy(runtime);
}

static struct {
    struct bnx_runtime *runtime;
    ssize_t (*read)(int fd, void *buffer, size_t bytes);
    bool is_armed;
    int count;
} late;

static void spawn_late(void *arg) {
    (void)arg;
    CHECK_EQ(bnx_runtime_spawn(late.runtime, add_one, &late.count, NULL), 0);
}

/* Between the read of the eventfd and the end of the visit another thread spawns. */
static ssize_t read_then_spawn(int fd, void *buffer, size_t bytes) {
    ssize_t result = late.read(fd, buffer, bytes);
    if (late.is_armed && fd == late.runtime->guest->event_fd) {
        late.is_armed = false;
        struct bnx_os_thread thread;
        sched_thread_start(&thread, spawn_late, NULL);
        sched_thread_join(&thread);
    }
    return result;
}

/* A wake that finds the mark of the last one, whose write was read already, is not lost. */
TEST(guest_late_wake, "guest.late_wake") {
    late.read = bnx_os.read;
    bnx_os.read = read_then_spawn;
    late.runtime = guest_create();
    CHECK_EQ(bnx_runtime_spawn(late.runtime, add_one, &late.count, NULL), 0);
    late.is_armed = true;
    CHECK(bnx_runtime_poll(late.runtime, 0) > 0);
    CHECK(!late.is_armed);
    CHECK_EQ(late.count, 1);
    CHECK(is_readable(bnx_runtime_fd(late.runtime)));
    CHECK(bnx_runtime_poll(late.runtime, 0) > 0);
    CHECK_EQ(late.count, 2);
    sched_destroy(late.runtime);
    bnx_os.read = late.read;
}

/* ---- Other threads ---- */

struct crowd {
    struct bnx_runtime *runtime;
    int ran;      /* the rest: the host's tasks */
    int finished; /* threads that have made their last call */
    int rounds;
};

static int await_answer(void *arg) {
    void *value = NULL;
    CHECK_EQ(bnx_future_await(arg, &value), 0);
    CHECK(value == arg);
    bnx_future_unref(arg);
    return 7;
}

static void use_guest(void *arg) {
    struct crowd *crowd = arg;
    for (int i = 0; i < crowd->rounds; i++) {
        struct bnx_future *answer = NULL;
        struct bnx_future *done = NULL;
        void *result = NULL;
        CHECK_EQ(bnx_future_create(&answer), 0);
        struct bnx_future *ours = bnx_future_ref(answer);
        CHECK_EQ(bnx_runtime_spawn(crowd->runtime, await_answer, answer, &done), 0);
        CHECK_EQ(bnx_runtime_spawn(crowd->runtime, add_one, &crowd->ran, NULL), 0);
        CHECK_EQ(bnx_future_set(ours, ours), 0);
        CHECK_EQ(bnx_future_await(done, &result), 0);
        CHECK_EQ((intptr_t)result, 7);
        CHECK_EQ(bnx_runtime_run(crowd->runtime, nothing, NULL), 0);
        bnx_future_unref(done);
        bnx_future_unref(ours);
    }
    CHECK_EQ(bnx_runtime_spawn(crowd->runtime, add_one, &crowd->finished, NULL), 0);
}

/* Threads spawn, set futures, wait for answers and run tasks; the host does nothing but its loop.
 * Each of the four wakes of a round makes one visit at most, and one by a write that comes late. */
TEST(guest_other_threads, "guest.other_threads") {
    struct crowd crowd = {.runtime = guest_create(), .rounds = (int)bnx_test_scale(500)};
    struct bnx_os_thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        sched_thread_start(&threads[i], use_guest, &crowd);
    }
    long visits = 0;
    while (crowd.finished < THREADS) { /* ends with the threads */
        (void)turn(crowd.runtime);
        visits++;
    }
    CHECK_EQ(crowd.ran, THREADS * crowd.rounds);
    CHECK(visits <= 2L * THREADS * (4L * crowd.rounds + 1));
    for (int i = 0; i < THREADS; i++) {
        sched_thread_join(&threads[i]);
    }
    sched_destroy(crowd.runtime);
}

static void spawn_one(void *arg) {
    CHECK_EQ(bnx_runtime_spawn(arg, nothing, NULL, NULL), 0);
}

/* A poll that may wait is ended by another thread's spawn, or by its time. */
TEST(guest_poll_waits, "guest.poll_waits") {
    struct bnx_runtime *runtime = guest_create();
    CHECK_EQ(bnx_runtime_poll(runtime, 1), 0);
    for (int i = 0; i < 20; i++) {
        struct bnx_os_thread thread;
        sched_thread_start(&thread, spawn_one, runtime);
        CHECK(bnx_runtime_poll(runtime, UINT64_MAX) > 0);
        sched_thread_join(&thread);
    }
    CHECK_EQ(bnx_runtime_poll(runtime, 0), 0);
    sched_destroy(runtime);
}

struct outsider {
    struct bnx_runtime *runtime;
    int finished;
};

static void misuse(void *arg) {
    struct outsider *outsider = arg;
    struct bnx_runtime *runtime = outsider->runtime;
    CHECK_EQ(bnx_runtime_poll(runtime, 0), -EPERM);
    CHECK_EQ(bnx_runtime_destroy(runtime), -EPERM);
    CHECK_EQ(bnx_runtime_wait(runtime, 0), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, add_one, &outsider->finished, NULL), 0);
}

/* Only the thread that created it may run it; the others leave it as it was. */
TEST(guest_belongs_to_host, "guest.belongs_to_host") {
    struct outsider outsider = {.runtime = guest_create()};
    struct bnx_os_thread thread;
    sched_thread_start(&thread, misuse, &outsider);
    sched_thread_join(&thread);
    CHECK_EQ(outsider.finished, 0);
    CHECK(bnx_runtime_poll(outsider.runtime, 0) > 0);
    CHECK_EQ(outsider.finished, 1);
    sched_destroy(outsider.runtime);
}

/* ---- Run, wait, stop, destroy ---- */

static int leave_sleeper(void *arg) {
    return bnx_spawn(NULL, sleep_a_little, arg);
}

/* The host's own run and wait run the tasks; a wait has its deadline; destroy refuses while a task
 * lives; stop ends it. */
TEST(guest_run_and_wait, "guest.run_and_wait") {
    struct bnx_runtime *runtime = guest_create();
    int slept = 0;
    CHECK_EQ(bnx_runtime_run(runtime, sleep_a_little, &slept), 0);
    CHECK_EQ(slept, 1);
    CHECK_EQ(bnx_runtime_run(runtime, leave_sleeper, &slept), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(slept, 2);
    struct bnx_future *done = NULL;
    CHECK_EQ(bnx_runtime_spawn(runtime, sleep_for_ever, NULL, &done), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, 0), -ETIMEDOUT);
    CHECK_EQ(bnx_runtime_wait(runtime, bnx_clock_now() + 2 * BNX_NS_PER_MS), -ETIMEDOUT);
    CHECK_EQ(bnx_runtime_destroy(runtime), -EBUSY);
    CHECK_EQ(bnx_future_poll(done, NULL), -EAGAIN);
    CHECK_EQ(bnx_runtime_stop(runtime), 0);
    void *value = NULL;
    while (bnx_future_poll(done, &value) == -EAGAIN) { /* ends with the task */
        (void)turn(runtime);
    }
    CHECK_EQ((intptr_t)value, -ECANCELED);
    bnx_future_unref(done);
    CHECK_EQ(bnx_runtime_spawn(runtime, nothing, NULL, NULL), -ESHUTDOWN);
    CHECK_EQ(bnx_runtime_wait(runtime, 0), 0);
    CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    struct bnx_options options = {.flags = BNX_GUEST, .worker_count = 1};
    CHECK_EQ(bnx_run(&options, leave_sleeper, &slept), 0);
}

static void refuse_many(void *arg) {
    struct outsider *outsider = arg;
    while (bnx_runtime_spawn(outsider->runtime, nothing, NULL, NULL) == 0) {
    } /* ends with the stop */
}

/* Threads spawn until a stop refuses it: what they had spawned by then is waited for. */
TEST(guest_wait_races_refusal, "guest.wait_races_refusal") {
    uint64_t rounds = bnx_test_scale(200);
    for (uint64_t i = 0; i < rounds; i++) {
        struct outsider outsider = {.runtime = guest_create()};
        struct bnx_os_thread threads[2];
        sched_thread_start(&threads[0], refuse_many, &outsider);
        sched_thread_start(&threads[1], refuse_many, &outsider);
        (void)turn(outsider.runtime);
        CHECK_EQ(bnx_runtime_stop(outsider.runtime), 0);
        CHECK_EQ(bnx_runtime_wait(outsider.runtime, BNX_NEVER_NS), 0);
        sched_thread_join(&threads[0]);
        sched_thread_join(&threads[1]);
        CHECK_EQ(bnx_runtime_wait(outsider.runtime, BNX_NEVER_NS), 0);
        CHECK_EQ(bnx_runtime_destroy(outsider.runtime), 0);
    }
}

static struct {
    struct bnx_runtime *runtime;
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    bool is_held;
} last;

static void leave_last(void *arg) {
    (void)arg;
    bnx_scope_release(&last.runtime->root);
}

/* The host is about to sleep: now another thread leaves the root scope. */
static int leave_then_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    if (last.is_held) {
        last.is_held = false;
        struct bnx_os_thread thread;
        sched_thread_start(&thread, leave_last, NULL);
        sched_thread_join(&thread);
    }
    return last.poll(fds, count, timeout_ms);
}

/* Whoever leaves the root scope last wakes the host that waits for that, also a thread that is no
 * worker: one whose spawn is refused, or that has cancelled it. */
TEST(guest_wait_sees_last, "guest.wait_sees_last") {
    last.poll = bnx_os.poll;
    bnx_os.poll = leave_then_poll;
    last.runtime = guest_create();
    bnx_scope_hold(&last.runtime->root);
    last.is_held = true;
    CHECK_EQ(bnx_runtime_wait(last.runtime, BNX_NEVER_NS), 0);
    CHECK(!last.is_held);
    CHECK_EQ(bnx_runtime_destroy(last.runtime), 0);
    bnx_os.poll = last.poll;
}

/* A thousand lives, used and unused, leave no descriptor behind. */
TEST(guest_thousand_lives, "guest.thousand_lives") {
    uint64_t lives = bnx_test_scale(1000);
    int count = 0;
    int lowest = bnx_os.eventfd(0, EFD_CLOEXEC);
    CHECK(lowest >= 0);
    CHECK_EQ(bnx_os.close(lowest), 0);
    for (uint64_t i = 0; i < lives; i++) {
        struct bnx_runtime *runtime = guest_create();
        if (i % 3 != 0) {
            CHECK_EQ(bnx_runtime_run(runtime, add_one, &count), 0);
        }
        if (i % 3 == 1) {
            CHECK_EQ(bnx_runtime_stop(runtime), 0);
        }
        CHECK_EQ(bnx_runtime_destroy(runtime), 0);
    }
    CHECK_EQ(count, lives - (lives + 2) / 3);
    int fd = bnx_os.eventfd(0, EFD_CLOEXEC);
    CHECK_EQ(fd, lowest);
    CHECK_EQ(bnx_os.close(fd), 0);
}

/* ---- The host's thread ---- */

static int yield_until(void *arg) {
    const bool *is_enough = arg;
    while (!*is_enough) { /* ends when the host says so */
        bnx_yield();
    }
    return 0;
}

/* Tasks that are always ready do not keep the host: it gets its turn, and is asked to come back. */
TEST(guest_gives_turn, "guest.gives_turn") {
    struct bnx_runtime *runtime = guest_create();
    bool is_enough = false;
    CHECK_EQ(bnx_runtime_spawn(runtime, yield_until, &is_enough, NULL), 0);
    CHECK_EQ(bnx_runtime_spawn(runtime, yield_until, &is_enough, NULL), 0);
    for (int i = 0; i < 5; i++) {
        CHECK(turn(runtime) > 0);
        CHECK(is_readable(bnx_runtime_fd(runtime)));
    }
    is_enough = true;
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK(!is_readable(bnx_runtime_fd(runtime)));
    sched_destroy(runtime);
}

static int meddle(void *arg) {
    (void)arg;
    CHECK(bnx_runtime_current() != NULL);
    errno = EXDEV;
    CHECK_EQ(fesetround(FE_TOWARDZERO), 0);
    return 0;
}

/* After a poll the thread is no worker, and has its errno and its rounding mode. */
TEST(guest_leaves_no_trace, "guest.leaves_no_trace") {
    struct bnx_runtime *runtime = guest_create();
    CHECK(bnx_runtime_current() == NULL);
    CHECK_EQ(fesetround(FE_UPWARD), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(bnx_runtime_spawn(runtime, meddle, NULL, NULL), 0);
        errno = ENOTTY;
        CHECK(bnx_runtime_poll(runtime, 0) > 0);
        CHECK_EQ(errno, ENOTTY);
        CHECK_EQ(fegetround(), FE_UPWARD);
        CHECK(bnx_runtime_current() == NULL);
    }
    CHECK_EQ(fesetround(FE_TONEAREST), 0);
    sched_destroy(runtime);
}

/* ---- Wrong use ---- */

static int poll_from_task(void *arg) {
    CHECK_EQ(bnx_runtime_poll(arg, 0), -EDEADLK);
    CHECK_EQ(bnx_runtime_run(arg, nothing, NULL), -EDEADLK);
    CHECK_EQ(bnx_runtime_wait(arg, 0), -EDEADLK);
    return 0;
}

struct listener {
    struct bnx_future *word;
    struct bnx_task *task;
};

static int await_word(void *arg) {
    return bnx_future_await(arg, NULL);
}

static int spawn_with_handle(void *arg) {
    struct listener *listener = arg;
    return bnx_spawn_with(NULL, NULL, await_word, listener->word, &listener->task);
}

/* What cannot work is refused: two workers, a crash report, bnx_main, polls of what is no guest,
 * from a task of it or of another runtime, and a join for ever. */
TEST(guest_misuse, "guest.misuse") {
    struct bnx_runtime *runtime = NULL;
    struct bnx_options options = {.flags = BNX_GUEST, .worker_count = 2};
    CHECK_EQ(bnx_runtime_create(&options, &runtime), -EINVAL);
    options = (struct bnx_options){.flags = BNX_GUEST | BNX_CRASH_REPORT};
    CHECK_EQ(bnx_runtime_create(&options, &runtime), -EINVAL);
    options = (struct bnx_options){.flags = BNX_GUEST};
    CHECK_EQ(bnx_main_with(&options, nothing, NULL), -EINVAL);
    CHECK_EQ(setenv("BONXIE_WORKERS", "3", 1), 0);
    runtime = guest_create();
    CHECK_EQ(bnx_runtime_worker_count(runtime), 1);
    CHECK_EQ(unsetenv("BONXIE_WORKERS"), 0);

    CHECK_EQ(bnx_runtime_poll(NULL, 0), -EINVAL);
    CHECK_EQ(bnx_runtime_fd(NULL), -EINVAL);
    struct bnx_runtime *other = sched_create(1);
    CHECK_EQ(bnx_runtime_poll(other, 0), -EINVAL);
    CHECK_EQ(bnx_runtime_fd(other), -EINVAL);
    CHECK_EQ(bnx_runtime_run(other, poll_from_task, runtime), 0);
    CHECK_EQ(bnx_runtime_run(runtime, poll_from_task, runtime), 0);
    sched_destroy(other);

    struct listener listener = {0};
    CHECK_EQ(bnx_future_create(&listener.word), 0);
    CHECK_EQ(bnx_runtime_run(runtime, spawn_with_handle, &listener), 0);
    CHECK_EQ(bnx_join(listener.task, NULL), -EDEADLK);
    CHECK_EQ(bnx_future_set(listener.word, NULL), 0);
    CHECK_EQ(bnx_runtime_wait(runtime, BNX_NEVER_NS), 0);
    CHECK_EQ(bnx_join(listener.task, NULL), 0);
    bnx_future_unref(listener.word);
    sched_destroy(runtime);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
