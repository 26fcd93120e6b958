/* SPDX-License-Identifier: MIT */
/*
 * Tests what the library does when the kernel refuses: each system call in turn fails on its k-th
 * call, for k = 1, 2, 3 and so on, while one scene is played.
 *
 * Method: the entries of the os table count their calls. A scene is a runtime that is created,
 * serves an echo over TCP, moves bytes through a pipe, writes and reads a file, sleeps, and is
 * destroyed. Its first error must be the one that the call was given, or none: then the library has
 * coped. After it the same runtime plays the scene without a fault, and in the end descriptors,
 * heap blocks and mappings are as before.
 */
#include "tests/io/fixture.h"

#include "io/op.h"

#include <sys/mman.h>

/* ---- The os table with a fault ---- */

/* name, error, parameters, arguments: what fails with what. Not in the list is what cannot fail, or
 * whose failure is nobody's to see (close, munmap). */
#define FAULTS(X)                                                                                  \
    X(thread_create, -EAGAIN, (struct bnx_os_thread * a), (a))                                     \
    X(affinity_get, -EPERM, (cpu_set_t * a, size_t b), (a, b))                                     \
    X(affinity_set, -EINVAL, (const cpu_set_t *a, size_t b), (a, b))                               \
    X(timer_slack, -EPERM, (unsigned long a), (a))                                                 \
    X(futex_wait, -EINTR, (uint32_t * a, uint32_t b, uint64_t c), (a, b, c))                       \
    X(mprotect, -ENOMEM, (void *a, size_t b, int c), (a, b, c))                                    \
    X(madvise, -EINVAL, (void *a, size_t b, int c), (a, b, c))                                     \
    X(openat, -EMFILE, (int a, const char *b, int c, mode_t d), (a, b, c, d))                      \
    X(openat2, -EMFILE, (int a, const char *b, const struct open_how *c), (a, b, c))               \
    X(fsync, -EIO, (int a, bool b), (a, b))                                                        \
    X(fallocate, -ENOSPC, (int a, int b, off_t c, off_t d), (a, b, c, d))                          \
    X(fstat, -EIO, (int a, struct stat *b), (a, b))                                                \
    X(poll, -ENOMEM, (struct pollfd * a, nfds_t b, int c), (a, b, c))                              \
    X(eventfd, -EMFILE, (unsigned a, int b), (a, b))                                               \
    X(epoll_create, -EMFILE, (int a), (a))                                                         \
    X(epoll_control, -ENOSPC, (int a, int b, int c, unsigned d, uint64_t e), (a, b, c, d, e))      \
    X(epoll_wait, -EINTR, (int a, struct epoll_event *b, int c, uint64_t d), (a, b, c, d))         \
    X(socket, -EMFILE, (int a, int b, int c), (a, b, c))                                           \
    X(setsockopt, -ENOBUFS, (int a, int b, int c, const void *d, socklen_t e), (a, b, c, d, e))    \
    X(getsockopt, -ENOBUFS, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e))         \
    X(bind, -EADDRINUSE, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))                \
    X(listen, -EADDRINUSE, (int a, int b), (a, b))                                                 \
    X(accept4, -EMFILE, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))            \
    X(connect, -ENETUNREACH, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))            \
    X(shutdown, -ENOTCONN, (int a, int b), (a, b))                                                 \
    X(getsockname, -ENOBUFS, (int a, struct sockaddr *b, socklen_t *c), (a, b, c))                 \
    X(uring_setup, -EMFILE, (unsigned a, void *b), (a, b))                                         \
    X(uring_enter, -EAGAIN, (int a, unsigned b, unsigned c, unsigned d, const void *e, size_t f),  \
      (a, b, c, d, e, f))                                                                          \
    X(uring_register, -EINVAL, (int a, unsigned b, const void *c, unsigned d), (a, b, c, d))

#define TRANSFER_FAULTS(X)                                                                         \
    X(preadv, -EIO, (int a, const struct iovec *b, int c, off_t d, int e), (a, b, c, d, e))        \
    X(pwritev, -ENOSPC, (int a, const struct iovec *b, int c, off_t d, int e), (a, b, c, d, e))    \
    X(recv, -ECONNRESET, (int a, void *b, size_t c, int d), (a, b, c, d))                          \
    X(send, -ECONNRESET, (int a, const void *b, size_t c, int d), (a, b, c, d))

#define NAME_FAULT(name, error, parameters, arguments) FAULT_##name,
enum fault {
    FAULTS(NAME_FAULT) TRANSFER_FAULTS(NAME_FAULT) FAULT_allocate,
    FAULT_mmap,
    FAULT_COUNT
};

static struct {
    struct bnx_os real;
    enum fault chosen;  /* FAULT_COUNT: none */
    int64_t until;      /* calls until it fails; the one that finds 1 does */
    uint32_t fails_all; /* no allocation and no mapping succeeds */
    uint64_t refused;   /* allocations and mappings, of that */
    int64_t blocks;     /* of the heap, now */
    int64_t mappings;   /* now */
} table = {.chosen = FAULT_COUNT};

static bool is_hit(enum fault fault) {
    return bnx_load_acquire(&table.chosen) == fault && bnx_fetch_sub_acq_rel(&table.until, 1) == 1;
}

#define MAKE_FAULT(name, error, parameters, arguments)                                             \
    static int faulty_##name parameters {                                                          \
        return is_hit(FAULT_##name) ? (error) : table.real.name arguments;                         \
    }
#define MAKE_TRANSFER_FAULT(name, error, parameters, arguments)                                    \
    static ssize_t faulty_##name parameters {                                                      \
        return is_hit(FAULT_##name) ? (error) : table.real.name arguments;                         \
    }
FAULTS(MAKE_FAULT)
TRANSFER_FAULTS(MAKE_TRANSFER_FAULT)

static bool is_refused(enum fault fault) {
    if (bnx_load_acquire(&table.fails_all) != 0) {
        bnx_fetch_add_acq_rel(&table.refused, 1);
        return true;
    }
    return is_hit(fault);
}

static void *faulty_allocate(size_t bytes, size_t alignment) {
    void *block = is_refused(FAULT_allocate) ? NULL : table.real.allocate(bytes, alignment);
    bnx_fetch_add_acq_rel(&table.blocks, block != NULL ? 1 : 0);
    return block;
}

static void faulty_release(void *block) {
    bnx_fetch_sub_acq_rel(&table.blocks, block != NULL ? 1 : 0);
    table.real.release(block);
}

static void *faulty_mmap(size_t bytes, int protection, int flags, int *out_error) {
    if (is_refused(FAULT_mmap)) {
        *out_error = -ENOMEM;
        return MAP_FAILED;
    }
    void *start = table.real.mmap(bytes, protection, flags, out_error);
    bnx_fetch_add_acq_rel(&table.mappings, start != MAP_FAILED ? 1 : 0);
    return start;
}

static int faulty_munmap(void *start, size_t bytes) {
    bnx_fetch_sub_acq_rel(&table.mappings, 1);
    return table.real.munmap(start, bytes);
}

#define SET_FAULT(name, error, parameters, arguments) bnx_os.name = faulty_##name;
static void install(void) {
    table.real = bnx_os;
    FAULTS(SET_FAULT)
    TRANSFER_FAULTS(SET_FAULT)
    bnx_os.allocate = faulty_allocate;
    bnx_os.release = faulty_release;
    bnx_os.mmap = faulty_mmap;
    bnx_os.munmap = faulty_munmap;
}

#define TELL_FAULT(name, error, parameters, arguments) [FAULT_##name] = {#name, error},
static const struct {
    const char *name;
    int error;
} fault_infos[] = {[FAULT_allocate] = {"allocate", -ENOMEM},
                   [FAULT_mmap] = {"mmap", -ENOMEM},
                   FAULTS(TELL_FAULT) TRANSFER_FAULTS(TELL_FAULT)};

/* From now on the k-th call fails; 0: none does. */
static void arm(enum fault fault, int64_t kth) {
    bnx_store_release(&table.until, kth);
    bnx_store_release(&table.chosen, kth != 0 ? fault : FAULT_COUNT);
}

/* ---- The scene ---- */

#define ECHO_BYTES ((size_t)8 * 1024)
#define PIPE_BYTES ((size_t)256 * 1024) /* more than it holds */
#define FILE_BYTES ((size_t)4096)

struct scene {
    struct bnx_scope scope;
    int64_t first_error;
    int listener;
    struct bnx_address address;
    int pipe[2];
};

/* Whether a call has succeeded. The first error of a scene ends it: the others are cancelled. */
static bool is_good(struct scene *scene, ssize_t result) {
    int64_t none = 0;
    if (result < 0 && bnx_cas_acq_rel(&scene->first_error, &none, (int64_t)result)) {
        bnx_scope_cancel(&scene->scope, 0);
    }
    return result >= 0;
}

static int serve(void *arg) {
    struct scene *scene = arg;
    char data[ECHO_BYTES]; /* in pieces it would wait for delayed acknowledgements */
    int fd = bnx_accept(scene->listener, NULL);
    if (!is_good(scene, fd)) {
        return 0;
    }
    ssize_t got;
    while (is_good(scene, got = bnx_recv(fd, data, sizeof(data), 0)) && got > 0) {
        if (!is_good(scene, bnx_send_all(fd, data, (size_t)got))) {
            break;
        }
    }
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int talk(void *arg) {
    struct scene *scene = arg;
    char data[ECHO_BYTES];
    memset(data, 'e', sizeof(data));
    int fd = bnx_connect_to(&scene->address);
    if (!is_good(scene, fd)) {
        return 0;
    }
    if (is_good(scene, bnx_send_all(fd, data, sizeof(data))) &&
        is_good(scene, bnx_recv_exact(fd, data, sizeof(data)))) {
        (void)is_good(scene, bnx_shutdown(fd, SHUT_WR));
    }
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int fill_pipe(void *arg) {
    struct scene *scene = arg;
    static const char data[PIPE_BYTES];
    ssize_t got;
    for (size_t done = 0; done < sizeof(data); done += (size_t)got) {
        if (!is_good(scene, got = bnx_write(scene->pipe[1], data + done, sizeof(data) - done))) {
            return 0;
        }
    }
    return 0;
}

static int drain_pipe(void *arg) {
    struct scene *scene = arg;
    char data[4096];
    ssize_t got;
    for (size_t done = 0; done < PIPE_BYTES; done += (size_t)got) {
        if (!is_good(scene, got = bnx_read(scene->pipe[0], data, sizeof(data)))) {
            return 0;
        }
    }
    return 0;
}

static int use_file(void *arg) {
    struct scene *scene = arg;
    char data[FILE_BYTES] = "a file";
    int fd = bnx_open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (!is_good(scene, fd)) {
        return 0;
    }
    if (is_good(scene, bnx_fallocate(fd, 0, 0, FILE_BYTES)) &&
        is_good(scene, bnx_pwrite(fd, data, sizeof(data), 0)) && is_good(scene, bnx_fsync(fd))) {
        (void)is_good(scene, bnx_pread(fd, data, sizeof(data), 0));
    }
    CHECK_EQ(bnx_close(fd), 0);
    return 0;
}

static int doze(void *arg) {
    struct scene *scene = arg;
    for (int i = 0; i < 3; i++) {
        (void)is_good(scene, bnx_sleep(BNX_NS_PER_MS / 2));
    }
    return 0;
}

static int play_in(struct scene *scene) {
    static const bnx_task_fn roles[] = {serve, talk, fill_pipe, drain_pipe, use_file, doze};
    int error = bnx_scope_open(&scene->scope, NULL);
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < BNX_ARRAY_COUNT(roles); i++) {
        (void)is_good(scene, bnx_spawn(&scene->scope, roles[i], scene));
    }
    (void)bnx_scope_close(&scene->scope);
    return (int)scene->first_error;
}

static int play(void *arg) {
    struct scene scene;
    (void)arg;
    memset(&scene, 0, sizeof(scene));
    scene.listener = bnx_listen("127.0.0.1:0", NULL);
    if (scene.listener < 0) {
        return scene.listener;
    }
    int error = bnx_address_local(scene.listener, &scene.address);
    if (error == 0) {
        io_pipe(scene.pipe);
        error = play_in(&scene);
        io_close_pair(scene.pipe);
    }
    CHECK_EQ(bnx_close(scene.listener), 0);
    return error;
}

/* ---- The claims ---- */

#define KTH_MAX 30 /* the first calls of a kind differ, later ones repeat */
#define WORKERS 2

struct books {
    int fds;
    int64_t blocks;
    int64_t mappings;
};

static struct books books_now(void) {
    return (struct books){io_fd_count(), bnx_load_acquire(&table.blocks),
                          bnx_load_acquire(&table.mappings)};
}

/* One performance with a fault, one without. Returns whether the fault was reached. */
static bool play_with(enum fault fault, int64_t kth) {
    struct books before = books_now();
    int expected = fault_infos[fault].error;
    struct bnx_options options = {.worker_count = WORKERS, .seed = 1};
    struct bnx_runtime *runtime = NULL;
    arm(fault, kth);
    int error = bnx_runtime_create(&options, &runtime);
    if (error == 0) {
        error = bnx_runtime_run(runtime, play, NULL);
    }
    if (error != 0 && error != expected) {
        bnx_test_fail(__FILE__, __LINE__, "call %lld of %s: the scene's error is %d, not %d",
                      (long long)kth, fault_infos[fault].name, error, expected);
    }
    bool is_reached = bnx_load_acquire(&table.until) <= 0;
    arm(fault, 0);
    if (runtime == NULL) {
        CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    }
    CHECK_EQ(bnx_runtime_run(runtime, play, NULL), 0);
    sched_destroy(runtime);
    struct books after = books_now();
    if (after.fds != before.fds || after.blocks > before.blocks ||
        after.mappings > before.mappings) {
        bnx_test_fail(__FILE__, __LINE__,
                      "call %lld of %s: leaves %d descriptors, %lld blocks, %lld mappings",
                      (long long)kth, fault_infos[fault].name, after.fds - before.fds,
                      (long long)(after.blocks - before.blocks),
                      (long long)(after.mappings - before.mappings));
    }
    return is_reached;
}

/* What a process keeps, once: tables, blocks of its threads. */
static void warm_up(void) {
    arm(FAULT_allocate, 0);
    for (int i = 0; i < 2; i++) {
        sched_run(WORKERS, play, NULL);
    }
}

/* Each call of the table fails once, at its first call, its second, and so on. */
TEST(each_call, "faults.each_call_in_turn") {
    install();
    warm_up();
    int64_t most = (int64_t)bnx_test_scale(KTH_MAX);
    for (int fault = 0; fault < FAULT_COUNT; fault++) {
        int64_t kth = 1;
        while (kth <= most && play_with((enum fault)fault, kth)) {
            kth++;
        }
        printf("%s: %lld\n", fault_infos[fault].name, (long long)kth - 1);
    }
}

/* ---- Nothing is allocated to wake ---- */

#define SOCKETS 20

struct waits {
    int sockets[SOCKETS][2];
    int pipe[2];
    int listener;
    char path[64];
    uint32_t ready;
    uint64_t ended;
};

struct waits_arg {
    struct waits *waits;
    int fd;
};

static int wait_for_bytes(void *arg) {
    struct waits_arg *own = arg;
    char byte;
    CHECK_EQ(bnx_recv(own->fd, &byte, 1, 0), 1);
    bnx_fetch_add_acq_rel(&own->waits->ended, 1);
    return 0;
}

static int wait_for_pipe(void *arg) {
    struct waits *waits = arg;
    char byte;
    CHECK_EQ(bnx_read(waits->pipe[0], &byte, 1), 1);
    bnx_fetch_add_acq_rel(&waits->ended, 1);
    return 0;
}

static int wait_for_client(void *arg) {
    struct waits *waits = arg;
    int fd = bnx_accept(waits->listener, NULL);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_close(fd), 0);
    bnx_fetch_add_acq_rel(&waits->ended, 1);
    return 0;
}

static int wait_for_writer(void *arg) {
    struct waits *waits = arg;
    int fd = bnx_open(waits->path, O_RDONLY | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_close(fd), 0);
    bnx_fetch_add_acq_rel(&waits->ended, 1);
    return 0;
}

static int wait_for_time(void *arg) {
    struct waits *waits = arg;
    while (bnx_load_acquire(&waits->ended) == 0) { /* ends: the others are woken */
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0);
    }
    bnx_fetch_add_acq_rel(&waits->ended, 1);
    return 0;
}

static void spawn_waiting(struct bnx_scope *scope, bnx_task_fn fn, void *arg,
                          enum bnx_wait_reason reason) {
    struct bnx_task *task;
    CHECK_EQ(bnx_spawn_with(scope, NULL, fn, arg, &task), 0);
    io_await_wait(task, reason);
}

static int wait_everywhere(void *arg) {
    struct waits *waits = arg;
    struct waits_arg args[SOCKETS];
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (size_t i = 0; i < SOCKETS; i++) {
        args[i] = (struct waits_arg){waits, waits->sockets[i][0]};
        spawn_waiting(&scope, wait_for_bytes, &args[i], BNX_WAIT_RECV);
    }
    spawn_waiting(&scope, wait_for_pipe, waits, BNX_WAIT_READ);
    spawn_waiting(&scope, wait_for_client, waits, BNX_WAIT_ACCEPT);
    spawn_waiting(&scope, wait_for_writer, waits, BNX_WAIT_OPEN);
    CHECK_EQ(bnx_spawn(&scope, wait_for_time, waits), 0);
    CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0); /* timers of both kinds have their nodes */
    sched_post(&waits->ready);
    return bnx_scope_close(&scope);
}

/* When all tasks wait, every allocation and every mapping fails from then on: what they wait for
 * happens, and all of them go on and end. */
TEST(no_alloc, "faults.no_alloc_to_wake") {
    install();
    for (uint64_t round = 0; round < 1 + bnx_test_scale(20); round++) {
        struct waits waits = {0};
        struct sockaddr_in address;
        for (size_t i = 0; i < SOCKETS; i++) {
            io_unix_pair(waits.sockets[i]);
        }
        io_pipe(waits.pipe);
        waits.listener = io_tcp_listener(&address, 8);
        (void)snprintf(waits.path, sizeof(waits.path), "/tmp/bonxie-fifo-%d", getpid());
        CHECK_EQ(mkfifo(waits.path, 0600), 0);
        struct bnx_runtime *runtime = sched_create(1 + (uint32_t)(round % 3));
        struct bnx_future *future;
        CHECK_EQ(bnx_runtime_spawn(runtime, wait_everywhere, &waits, &future), 0);
        sched_wait_post(&waits.ready, 1);
        bnx_store_release(&table.fails_all, 1);
        int client = io_tcp_connect(&address);
        int writer = open(waits.path, O_WRONLY | O_CLOEXEC);
        CHECK(writer >= 0);
        CHECK_EQ(table.real.write(waits.pipe[1], "x", 1), 1);
        for (size_t i = 0; i < SOCKETS; i++) {
            CHECK_EQ(table.real.send(waits.sockets[i][1], "x", 1, 0), 1);
        }
        while (bnx_load_acquire(&waits.ended) != SOCKETS + 4) { /* a hang is a failure */
            table.real.thread_yield();
        }
        bnx_store_release(&table.fails_all, 0);
        void *value;
        CHECK_EQ(bnx_future_await(future, &value), 0);
        CHECK_EQ((intptr_t)value, 0);
        bnx_future_unref(future);
        sched_destroy(runtime);
        for (size_t i = 0; i < SOCKETS; i++) {
            io_close_pair(waits.sockets[i]);
        }
        io_close_pair(waits.pipe);
        CHECK_EQ(close(client), 0);
        CHECK_EQ(close(writer), 0);
        CHECK_EQ(close(waits.listener), 0);
        CHECK_EQ(unlink(waits.path), 0);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
