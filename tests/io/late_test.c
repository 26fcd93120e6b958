/* SPDX-License-Identifier: MIT */
/* Tests what comes late: a completion behind a queued cancel, a task's end after its program's. */
#include "tests/io/fixture.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* A completion that comes in while its task's cancel is still queued on a stalled worker. */
enum crossing_step { NOT_YET, STALLED, IN_HANDLER, CANCELLED };

static struct {
    int (*enter)(int ring_fd, unsigned submit, unsigned wait, unsigned flags, const void *arg,
                 size_t arg_bytes);
    uint32_t step;     /* enum crossing_step */
    int victim_tid;    /* the stalled thread; written before STALLED */
    uint64_t served;   /* the task has gone on */
    uint64_t unserved; /* rounds in which it did only when the stall was over */
    struct bnx_task *task;
    int pair[2];
    struct sched_bell about_to_wait; /* the task is, on worker 0 */
    struct sched_bell all_there;
} crossing;
#define CROSSING_GIVE_UP_NS BNX_NS_PER_S

static void await_step(enum crossing_step step) {
    while (bnx_load_acquire(&crossing.step) < (uint32_t)step) { /* ends: the others go on */
        bnx_pause();
    }
}

/* In the handler, after it has sent the cancels that were there: one more comes, then the kernel
 * posts the completion, and a rescuer takes it before the handler can send that cancel. */
static int enter_when_cancelled(int ring_fd, unsigned submit, unsigned wait, unsigned flags,
                                const void *arg, size_t arg_bytes) {
    bool is_first =
        bnx_load_acquire(&crossing.step) == STALLED && bnx_os.thread_id() == crossing.victim_tid;
    if (is_first) {
        bnx_store_release(&crossing.step, IN_HANDLER);
        await_step(CANCELLED);
    }
    int result = crossing.enter(ring_fd, submit, wait, flags, arg, arg_bytes);
    while (is_first && BNX_WAIT_STATE(bnx_load_acquire(&crossing.task->wait)) ==
                           BNX_WAIT_OP_CANCEL_QUEUED) { /* ends: a rescuer takes the completion */
        bnx_pause();
    }
    return result;
}

static int be_crossed(void *arg) {
    (void)arg;
    char bytes[4];
    while (sched_worker_index() != 0) { /* ends: an idle worker 0 steals it */
        bnx_yield();
    }
    sched_bell_ring(&crossing.about_to_wait); /* its task is pinned here: after this one parks */
    CHECK_EQ(bnx_recv(crossing.pair[0], bytes, sizeof(bytes), 0), 4);
    bnx_store_release(&crossing.served, 1);
    return 0;
}

/* On worker 1: cancels while the handler is at work, and is then free to rescue. */
static int cancel_in_handler(void *arg) {
    (void)arg;
    sched_bell_wait(&crossing.all_there);
    await_step(IN_HANDLER);
    bnx_cancel(crossing.task, 0);
    bnx_store_release(&crossing.step, CANCELLED);
    return 0;
}

/* On worker 0: ticks no more until the task has been served, or gives up. */
static int stall_crossed(void *arg) {
    (void)arg;
    sched_bell_wait(&crossing.about_to_wait); /* meanwhile worker 0 is idle and steals */
    io_await_wait(crossing.task, BNX_WAIT_RECV);
    sched_bell_ring(&crossing.all_there);
    CHECK_EQ(bnx_os.send(crossing.pair[1], "abcd", 4, 0), 4);
    crossing.victim_tid = bnx_os.thread_id();
    bnx_store_release(&crossing.step, STALLED);
    uint64_t give_up_ns = bnx_now() + CROSSING_GIVE_UP_NS;
    while (bnx_load_acquire(&crossing.served) == 0 && bnx_now() < give_up_ns) {
        bnx_pause();
    }
    crossing.unserved += bnx_load_acquire(&crossing.served) == 0;
    return 0;
}

static int cross_each(void *arg) {
    (void)arg;
    const struct bnx_spawn_options on_worker_0 = {.flags = BNX_SPAWN_PINNED, .worker = 0};
    const struct bnx_spawn_options on_worker_1 = {.flags = BNX_SPAWN_PINNED, .worker = 1};
    for (int round = 0; round < 10 && crossing.unserved == 0; round++) {
        struct bnx_scope scope;
        io_unix_pair(crossing.pair);
        bnx_store_release(&crossing.served, 0);
        bnx_store_release(&crossing.step, NOT_YET);
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, be_crossed, NULL, &crossing.task), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &on_worker_0, stall_crossed, NULL, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, &on_worker_1, cancel_in_handler, NULL, NULL), 0);
        CHECK_EQ(bnx_scope_close(&scope), 0);
        io_close_pair(crossing.pair);
    }
    return 0;
}

/* The rescuer of a stalled worker resumes a task whose data has come, also when a cancel of it is
 * queued there: data wins over the cancel. Only the second after which the stalled task gives up is
 * a time. */
TEST(rescue_crossed, "watchdog.rescue_beside_cancel") {
    if (BNX_TSAN || BNX_FORCE_MIGRATE) {
        SKIP("ThreadSanitizer holds signals back, and a forced migration goes to the stalled "
             "worker");
    }
    io_needs_ring(); /* elsewhere a cancel is never queued */
    crossing.enter = bnx_os.uring_enter;
    bnx_os.uring_enter = enter_when_cancelled;
    sched_run(2, cross_each, NULL);
    CHECK_EQ(crossing.unserved, 0);
}

/* ---- A straggler ---- */

#define REUSED 16 /* more descriptors than bnx_main has open */

static struct {
    struct bnx_runtime *runtime;
    uint32_t go; /* posted when bnx_main has returned and its descriptors would be reused */
} straggler;

static int outlive_main(void *arg) {
    (void)arg;
    bnx_store_release(&straggler.runtime, bnx_runtime_current());
    CHECK_EQ(kill(getpid(), SIGTERM), 0);
    sched_wait_post(&straggler.go, 1);
    return 0x5a5a5a5a;
}

/* Where bnx_main's frames were. */
static BNX_NOINLINE void watch_frames(void) {
    volatile unsigned char area[8192];
    for (size_t i = 0; i < sizeof(area); i++) {
        area[i] = 0xa5;
    }
    sched_post(&straggler.go);
    CHECK_EQ(bnx_runtime_wait(bnx_load_acquire(&straggler.runtime), BNX_NEVER_NS), 0);
    for (size_t i = 0; i < sizeof(area); i++) {
        CHECK_EQ(area[i], 0xa5);
    }
}

static void be_program(void) {
    int fds[REUSED];
    struct bnx_options options = {.worker_count = 2, .grace_ns = 20 * BNX_NS_PER_MS};
    CHECK_EQ(bnx_main_with(&options, outlive_main, NULL), 128 + SIGTERM);
    for (int i = 0; i < REUSED; i++) {
        fds[i] = memfd_create("reused", MFD_CLOEXEC);
        CHECK(fds[i] >= 0);
    }
    watch_frames();
    for (int i = 0; i < REUSED; i++) {
        struct stat status;
        CHECK_EQ(fstat(fds[i], &status), 0);
        CHECK_EQ(status.st_size, 0);
    }
    _exit(0); /* the runtime is left to the kernel */
}

/* A task that ends when bnx_main has given it up and returned writes neither to frames nor to
 * descriptors that are others' by now. */
TEST(straggler, "main.straggler_harms_nobody") {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        be_program();
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
