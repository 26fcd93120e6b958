/* SPDX-License-Identifier: MIT */
/*
 * Tests listeners in trouble and on their way from one program to the next (bonxie/serve.h).
 *
 * This program is also the server that is restarted: `listener_test --generation` serves what it
 * inherits.
 */
#include "tests/io/fixture.h"

#include <bonxie/serve.h>

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static int nonblocking_listener(struct sockaddr_in *out_address) {
    int fd = io_tcp_listener(out_address, 1024);
    CHECK_EQ(bnx_os.fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    return fd;
}

/* ---- An iterator ---- */

struct visitors {
    int listener;
    struct sockaddr_in address;
    uint64_t count;
    struct bnx_task *host;
};

static int visit(void *arg) {
    struct visitors *visitors = arg;
    int fds[10];
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        fds[i] = io_tcp_connect(&visitors->address);
    }
    sched_await_count(&visitors->count, BNX_ARRAY_COUNT(fds));
    bnx_cancel(visitors->host, 0);
    for (size_t i = 0; i < BNX_ARRAY_COUNT(fds); i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
    return 0;
}

static int receive_visitors(void *arg) {
    struct visitors *visitors = arg;
    struct bnx_iter iter;
    int error = 1;
    BNX_FOR_EACH_OR(value, bnx_iter_from_listener(&iter, visitors->listener), &error) {
        int fd = (int)(intptr_t)value;
        CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_EQ(bnx_close(fd), 0);
        bnx_fetch_add_acq_rel(&visitors->count, 1);
    }
    CHECK_EQ(error, -ECANCELED);
    return 0;
}

static int iterate(void *arg) {
    (void)arg;
    struct visitors visitors = {0};
    struct bnx_iter iter;
    void *value;
    visitors.listener = nonblocking_listener(&visitors.address);
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    CHECK_EQ(bnx_spawn_with(&scope, NULL, receive_visitors, &visitors, &visitors.host), 0);
    CHECK_EQ(bnx_spawn(&scope, visit, &visitors), 0);
    (void)bnx_scope_close(&scope);
    CHECK_EQ(visitors.count, 10);
    CHECK_EQ(close(visitors.listener), 0); /* it was left open */
    CHECK_EQ(bnx_iter_next(bnx_iter_from_listener(&iter, visitors.listener), &value), -EBADF);
    return 0;
}

/* Each connection is a value; a cancel, and a listener that is none, end it with their error. */
TEST(listener_iterator, "serve.iterator") {
    struct bnx_iter iter;
    void *value;
    CHECK_EQ(bnx_iter_next(bnx_iter_from_listener(&iter, 0), &value), -EPERM);
    sched_run_each(iterate, NULL);
}

/* ---- Out of descriptors ---- */

#define CLIENTS 200
#define DESCRIPTORS_MAX 64
#define ROUNDS 8

static struct {
    int (*eventfd)(unsigned value, int flags);
    uint64_t rounds; /* the reserve was taken back, or that was tried: once a round */
} jam;

static int count_round(unsigned value, int flags) {
    bnx_fetch_add_acq_rel(&jam.rounds, 1);
    return jam.eventfd(value, flags);
}

static int client_open(const struct sockaddr_in *address) {
    int fd = io_tcp_connect(address);
    (void)bnx_os.send(fd, "x", 1, MSG_NOSIGNAL); /* fails where it was turned away at once */
    return fd;
}

/* 200 clients, each of which comes again until it is answered. Returns how often one was turned
 * away. */
static int run_clients(const struct sockaddr_in *address) {
    struct pollfd fds[CLIENTS];
    int left = CLIENTS;
    int turned_away = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        fds[i] = (struct pollfd){.fd = client_open(address), .events = POLLIN};
    }
    while (left > 0) { /* ends: the test gives all of them an answer */
        CHECK(poll(fds, CLIENTS, -1) > 0);
        for (size_t i = 0; i < CLIENTS; i++) {
            char byte;
            if (fds[i].fd < 0 || fds[i].revents == 0) {
                continue;
            }
            ssize_t got = bnx_os.recv(fds[i].fd, &byte, 1, 0);
            CHECK_EQ(close(fds[i].fd), 0);
            bool is_answered = got == 1;
            fds[i].fd = is_answered ? -1 : client_open(address);
            left -= is_answered ? 1 : 0;
            turned_away += is_answered ? 0 : 1;
        }
    }
    return turned_away;
}

struct jammed {
    int listener;
    pid_t clients;
    struct bnx_event gate;
    struct bnx_serve_stats stats;
    struct bnx_scope scope;
    uint64_t is_listening;
    int result;
};

static int answer_at_gate(int fd, void *arg) {
    struct jammed *jammed = arg;
    char byte;
    int error = bnx_event_wait(&jammed->gate);
    if (error == 0 && bnx_recv(fd, &byte, 1, 0) == 1) {
        CHECK_EQ(bnx_send(fd, "y", 1, 0), 1);
    }
    return 0;
}

static int jam_listening(const int *listeners, size_t listener_count, void *arg) {
    (void)listeners;
    (void)listener_count;
    struct jammed *jammed = arg;
    bnx_store_release(&jammed->is_listening, 1);
    return 0;
}

static int serve_jammed(void *arg) {
    struct jammed *jammed = arg;
    struct bnx_serve_options options = {.listeners = &jammed->listener,
                                        .listener_count = 1,
                                        .on_listening = jam_listening,
                                        .on_listening_arg = jammed,
                                        .stats = &jammed->stats};
    jammed->result = bnx_serve(NULL, NULL, answer_at_gate, jammed, &options);
    return jammed->result;
}

static int wait_for_clients(void *arg) {
    struct jammed *jammed = arg;
    int status = -1;
    CHECK_EQ(waitpid(jammed->clients, &status, 0), jammed->clients);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int serve_with_few(void *arg) {
    struct jammed *jammed = arg;
    CHECK_EQ(bnx_scope_open(&jammed->scope, NULL), 0);
    CHECK_EQ(bnx_spawn(&jammed->scope, serve_jammed, jammed), 0);
    sched_await_count(&jammed->is_listening, 1);
    /* One acceptor at least has had eight rounds. The reserve's place may have let it accept once,
     * so that its pauses grew from the least again: 1 + 2 + 4 ms at least, twice. */
    uint64_t begin_ns = bnx_clock_now();
    sched_await_count(&jam.rounds, bnx_load_acquire(&jam.rounds) + ROUNDS * sched_worker_count());
    uint64_t jammed_ns = bnx_clock_now() - begin_ns;
    CHECK(jammed_ns >= 10 * BNX_NS_PER_MS);
    while (sched_worker_count() == 1 && bnx_load_relaxed(&jammed->stats.refused) == 0) {
        CHECK_EQ(bnx_sleep(BNX_NS_PER_MS), 0); /* ends: a single acceptor keeps its reserve */
    }
    bnx_event_set(&jammed->gate);
    /* Acceptors may take the reserve's place from each other: then nobody is turned away. */
    int none = bnx_offload(wait_for_clients, jammed);
    CHECK(none == 0 || none == 2);
    bnx_scope_cancel(&jammed->scope, 0);
    CHECK_EQ(bnx_scope_close(&jammed->scope), -ECANCELED);
    CHECK_EQ(jammed->result, -ECANCELED);
    CHECK_EQ(jammed->stats.accepted, CLIENTS);
    CHECK((jammed->stats.refused == 0) == (none == 2));
    return 0;
}

/* 64 descriptors and 200 clients whose handlers wait: acceptors pause longer and longer instead of
 * burning the CPU, clients are turned away and counted, and as soon as handlers end all are
 * served. */
TEST(listener_emfile, "serve.emfile") {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    jam.eventfd = bnx_os.eventfd;
    bnx_os.eventfd = count_round;
    for (size_t i = 0; i < SCHED_WORKER_COUNTS; i++) {
        struct jammed jammed = {0};
        struct sockaddr_in address;
        jammed.listener = nonblocking_listener(&address);
        limit.rlim_cur = DESCRIPTORS_MAX;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        jammed.clients = fork();
        if (jammed.clients == 0) {
            (void)io_fd_limit_raise();
            CHECK_EQ(close(jammed.listener), 0);
            _exit(run_clients(&address) > 0 ? 0 : 2);
        }
        CHECK(jammed.clients > 0);
        sched_run(sched_worker_counts[i], serve_with_few, &jammed);
        CHECK_EQ(close(jammed.listener), 0);
    }
}

/* ---- Inherited listeners ---- */

static void environment(const char *pid, const char *fds, const char *names) {
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", getpid());
    CHECK_EQ(setenv("LISTEN_PID", pid != NULL ? pid : own, 1), 0);
    CHECK_EQ(fds != NULL ? setenv("LISTEN_FDS", fds, 1) : unsetenv("LISTEN_FDS"), 0);
    CHECK_EQ(names != NULL ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES"), 0);
}

/* What cannot be taken: nothing is written, and the variables are gone. */
static void take_nothing(int expected) {
    struct bnx_inherited inherited[2], before[2];
    memset(inherited, 0x5a, sizeof(inherited));
    memcpy(before, inherited, sizeof(before));
    CHECK_EQ(bnx_listen_inherited(inherited, 2), expected);
    CHECK(memcmp(inherited, before, sizeof(before)) == 0);
    CHECK(getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDS") == NULL);
    CHECK(getenv("LISTEN_FDNAMES") == NULL);
}

/* The protocol of socket activation: whose they are, how many, their names; wrong values; flags. */
TEST(listener_inherited, "serve.inherited") {
    struct sockaddr_in ignored;
    CHECK_EQ(unsetenv("LISTEN_PID"), 0);
    CHECK_EQ(unsetenv("LISTEN_FDS"), 0);
    take_nothing(0);
    environment("1", "1", NULL);
    take_nothing(0);
    environment(NULL, NULL, "a");
    take_nothing(0);
    static const char *const wrong[] = {"", "x", "-1", "1x", " 1", "99999999999999999999"};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(wrong); i++) {
        environment(NULL, wrong[i], NULL);
        take_nothing(-EINVAL);
        environment(wrong[i], "1", NULL);
        take_nothing(-EINVAL);
    }
    environment(NULL, "3", NULL);
    take_nothing(-ENOSPC);
    environment(NULL, "0", NULL);
    take_nothing(0);

    int fd = io_tcp_listener(&ignored, 8);
    CHECK_EQ(dup2(fd, 4), 4); /* without close-on-exec, and it blocks */
    if (fd != 3) {
        CHECK_EQ(dup2(fd, 3), 3);
    }
    static const struct {
        const char *names;
        const char *first, *second;
    } named[] = {
        {"http:admin", "http", "admin"},
        {"http", "http", ""},
        {":admin", "", "admin"},
        {NULL, "", ""},
        {"", "", ""},
        {"a:b:c", "a", "b"},
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(named); i++) {
        struct bnx_inherited inherited[2];
        environment(NULL, "2", named[i].names);
        CHECK_EQ(bnx_listen_inherited(inherited, 2), 2);
        CHECK_EQ(inherited[0].fd, 3);
        CHECK_EQ(inherited[1].fd, 4);
        CHECK_STR(inherited[0].name, named[i].first);
        CHECK_STR(inherited[1].name, named[i].second);
        CHECK((fcntl(3, F_GETFL) & O_NONBLOCK) != 0);
        CHECK((fcntl(4, F_GETFD) & FD_CLOEXEC) != 0);
        take_nothing(0); /* once is enough */
    }
    CHECK_EQ(close(4), 0);
    environment(NULL, "2", NULL);
    take_nothing(-EBADF);
}

/* ---- From program to program ---- */

#define HANDOVERS 20
#define HANDOVER_CLIENTS 3

/* One generation of the server. */
struct generation {
    struct bnx_scope scope;
    int listener;
};

/* 'e': says it back. 'p': says who serves. 'n': starts the successor and ends. 'q': ends. */
static int obey(int fd, void *arg) {
    struct generation *generation = arg;
    char *argv[] = {"/proc/self/exe", "--generation", NULL};
    char path[256];
    char order;
    if (bnx_recv(fd, &order, 1, 0) != 1) {
        return 0;
    }
    if (order == 'e') {
        return (int)bnx_send_all(fd, &order, 1);
    }
    if (order == 'n') {
        ssize_t bytes = readlink(argv[0], path, sizeof(path) - 1);
        CHECK(bytes > 0);
        path[bytes] = '\0';
        argv[0] = path;
        CHECK(bnx_listen_handover(argv, &generation->listener, 1) > 0);
    }
    if (order != 'p') {
        bnx_scope_cancel(&generation->scope, 0);
    }
    int pid = getpid();
    return (int)bnx_send_all(fd, &pid, sizeof(pid));
}

static int serve_generation(void *arg) {
    (void)arg;
    struct generation generation = {0};
    struct bnx_inherited inherited;
    CHECK_EQ(bnx_listen_inherited(&inherited, 1), 1);
    generation.listener = inherited.fd;
    CHECK_EQ(bnx_scope_open(&generation.scope, NULL), 0);
    struct bnx_serve_options options = {
        .listeners = &generation.listener, .listener_count = 1, .drain_ns = 3600 * BNX_NS_PER_S};
    CHECK_EQ(bnx_serve(&generation.scope, NULL, obey, &generation, &options), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&generation.scope), -ECANCELED);
    return 0;
}

/* Gives an order and waits for the answer. */
static void order(const struct sockaddr_in *address, char what, void *answer, size_t bytes) {
    int fd = io_tcp_connect(address);
    CHECK_EQ(bnx_os.send(fd, &what, 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(bnx_os.recv(fd, answer, bytes, MSG_WAITALL), bytes);
    CHECK_EQ(close(fd), 0);
}

struct load {
    struct bnx_os_thread thread;
    struct sockaddr_in address;
    const uint32_t *is_over;
    uint64_t count;
};

/* A connection refused, or one reset, fails the claim. */
static void run_load(void *arg) {
    struct load *load = arg;
    while (bnx_load_acquire(load->is_over) == 0) {
        char echo = 0;
        order(&load->address, 'e', &echo, 1);
        CHECK_EQ(echo, 'e');
        load->count++;
    }
}

static void expect_exit(pid_t pid) {
    int status = -1;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Twenty restarts of a server while clients connect without a pause: each generation starts the
 * next one with its listener and drains, nobody is refused, nobody is reset, and all end well. */
TEST(listener_handover, "serve.handover") {
    struct load loads[HANDOVER_CLIENTS];
    uint32_t is_over = 0;
    struct sockaddr_in address;
    char *argv[] = {"/proc/self/exe", "--generation", NULL};
    char path[256];
    ssize_t bytes = readlink(argv[0], path, sizeof(path) - 1);
    CHECK(bytes > 0);
    path[bytes] = '\0';
    argv[0] = path;
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* each generation is the child of the last */
    int listener = io_tcp_listener(&address, 1024);
    int current = bnx_listen_handover(argv, &listener, 1);
    CHECK(current > 0);
    CHECK_EQ(close(listener), 0); /* from here on the generations alone keep it alive */
    for (size_t i = 0; i < HANDOVER_CLIENTS; i++) {
        loads[i].address = address;
        loads[i].is_over = &is_over;
        loads[i].count = 0;
        sched_thread_start(&loads[i].thread, run_load, &loads[i]);
    }
    for (uint64_t i = 0; i < HANDOVERS; i++) {
        int old = 0;
        order(&address, 'n', &old, sizeof(old));
        CHECK_EQ(old, current);
        expect_exit(old);
        order(&address, 'p', &current, sizeof(current));
        CHECK(current != old);
    }
    bnx_store_release(&is_over, 1);
    for (size_t i = 0; i < HANDOVER_CLIENTS; i++) {
        sched_thread_join(&loads[i].thread);
        CHECK(loads[i].count > 0);
    }
    order(&address, 'q', &current, sizeof(current));
    expect_exit(current);
}

/* Wrong arguments; a program that is not there. */
TEST(listener_handover_wrong, "serve.handover_wrong_use") {
    struct sockaddr_in ignored;
    char *argv[] = {"/none/such/program", NULL};
    char *none[] = {NULL};
    int listener = io_tcp_listener(&ignored, 8);
    int fds_before = io_fd_count();
    int status = -1;
    int closed = 1000;
    CHECK_EQ(bnx_listen_handover(NULL, &listener, 1), -EINVAL);
    CHECK_EQ(bnx_listen_handover(none, &listener, 1), -EINVAL);
    CHECK_EQ(bnx_listen_handover(argv, NULL, 1), -EINVAL);
    CHECK_EQ(bnx_listen_handover(argv, &listener, 0), -EINVAL);
    CHECK_EQ(bnx_listen_handover(argv, &listener, 65), -EINVAL);
    CHECK_EQ(bnx_listen_handover(argv, &closed, 1), -EBADF);
    int pid = bnx_listen_handover(argv, &listener, 1);
    CHECK(pid > 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 127);
    CHECK_EQ(io_fd_count(), fds_before);
    CHECK_EQ(close(listener), 0);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--generation") == 0) {
        struct bnx_options options = {.worker_count = 2, .seed = 1};
        return bnx_run(&options, serve_generation, NULL);
    }
    return bnx_test_main(argc, argv);
}
