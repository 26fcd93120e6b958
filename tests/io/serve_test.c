/* SPDX-License-Identifier: MIT */
/* Tests services as bonxie/serve.h promises them: serving, limits, trouble. */
#include "tests/io/service.h"
#include "tests/io/temp.h"

/* ---- Serving ---- */

struct serving {
    const char *address; /* NULL: two given listeners */
    unsigned flags;
};

static int serve_and_ask(void *arg) {
    const struct serving *serving = arg;
    struct sockaddr_in ignored;
    int given[2] = {-1, -1};
    int fds_before = io_fd_count();
    struct service service = {.address = serving->address, .handler = answer};
    service.options.flags = serving->flags;
    size_t listeners = 1;
    if (serving->address == NULL) {
        given[0] = io_tcp_listener(&ignored, 64);
        given[1] = io_tcp_listener(&ignored, 64);
        for (size_t i = 0; i < 2; i++) {
            CHECK_EQ(bnx_os.fcntl(given[i], F_SETFL, O_RDWR | O_NONBLOCK), 0);
        }
        service.options.listeners = given;
        service.options.listener_count = listeners = 2;
    } else if (serving->flags != 0 && strncmp(serving->address, "unix:", 5) != 0) {
        listeners = sched_worker_count();
    }
    service_start(&service);
    CHECK_EQ(service.listener_count, listeners);
    ask_from_four(&service);
    if (serving->address == NULL) {
        local_address(given[1], service.bound);
        ask_from_four(&service);
    }
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, serving->address == NULL ? 200 : 100);
    CHECK_EQ(service.stats.refused, 0);
    CHECK_EQ(service.stats.failed, 0);
    for (size_t i = 0; i < 2 && serving->address == NULL; i++) {
        CHECK_EQ(close(given[i]), 0); /* they are the caller's */
    }
    CHECK_EQ(io_fd_count(), fds_before);
    return 0;
}

/* Each kind of listener: every client is answered, and no descriptor is left. */
TEST(serve_serves, "serve.serves") {
    char name[64];
    (void)snprintf(name, sizeof(name), "unix:@bonxie-serve-%d", getpid());
    const struct serving all[] = {
        {"127.0.0.1:0", 0}, {"127.0.0.1:0", BNX_SERVE_REUSE_PORT},
        {name, 0},          {name, BNX_SERVE_REUSE_PORT},
        {NULL, 0},          {NULL, BNX_SERVE_REUSE_PORT},
    };
    for (size_t i = 0; i < BNX_ARRAY_COUNT(all); i++) {
        sched_run_each(serve_and_ask, (void *)(uintptr_t)&all[i]);
    }
}

static int fail_with_eio(int fd, void *arg) {
    (void)answer(fd, arg);
    return -EIO;
}

static int serve_failing(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = fail_with_eio};
    service_start(&service);
    ask_from_four(&service);
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, 100);
    CHECK_EQ(service.stats.failed, 100);
    return 0;
}

/* A handler's error is counted and disturbs nobody. */
TEST(serve_errors, "serve.handler_errors_stay_apart") {
    sched_run_each(serve_failing, NULL);
}

static int never(int fd, void *arg) {
    (void)fd;
    (void)arg;
    CHECK(false);
    return 0;
}

static int refuse_listening(const int *listeners, size_t listener_count, void *arg) {
    (void)arg;
    CHECK(listener_count == 1 && listeners[0] >= 0);
    return -EDOM;
}

static int use_wrongly(void *arg) {
    (void)arg;
    struct bnx_scope foreign;
    memset(&foreign, 0, sizeof(foreign));
    int pair[2];
    io_unix_pair(pair);
    int fds_before = io_fd_count();
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", NULL, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, "nonsense", never, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, NULL), -EINVAL);
    CHECK_EQ(bnx_serve(NULL, "unix:/none/such/socket", never, NULL, NULL), -ENOENT);
    CHECK_EQ(bnx_serve(&foreign, "127.0.0.1:0", never, NULL, NULL), -EINVAL);
    struct bnx_serve_options options = {.flags = 1u << 31};
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, &options), -EINVAL);
    options = (struct bnx_serve_options){.on_listening = refuse_listening};
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, &options), -EDOM);
    options = (struct bnx_serve_options){.listener_count = 1};
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL);
    options.listeners = pair;
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL); /* it blocks */
    CHECK_EQ(bnx_os.fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EINVAL); /* it does not listen */
    CHECK_EQ(close(pair[0]), 0);
    CHECK_EQ(bnx_serve(NULL, NULL, never, NULL, &options), -EBADF);
    CHECK_EQ(io_fd_count(), fds_before - 1);
    CHECK_EQ(close(pair[1]), 0);
    return 0;
}

/* Wrong arguments, a listener that is none, and a callback that refuses: told, nothing left. */
TEST(serve_wrong, "serve.wrong_use") {
    CHECK_EQ(bnx_serve(NULL, "127.0.0.1:0", never, NULL, NULL), -EPERM);
    sched_run_each(use_wrongly, NULL);
}

/* ---- Limits ---- */

static int answer_slowly(int fd, void *arg) {
    struct service *service = arg;
    uint64_t inside = bnx_fetch_add_acq_rel(&service->inside, 1) + 1;
    uint64_t most = bnx_load_relaxed(&service->inside_max);
    while (inside > most && !bnx_cas_relaxed(&service->inside_max, &most, inside)) {
    }
    for (int i = 0; i < 20; i++) {
        bnx_yield();
    }
    int result = answer(fd, arg);
    bnx_fetch_sub_acq_rel(&service->inside, 1);
    return result;
}

static int serve_two_at_most(void *arg) {
    struct service service = {.address = "127.0.0.1:0", .handler = answer_slowly};
    service.options.connections_max = 2;
    service.options.flags = *(unsigned *)arg;
    service_start(&service);
    ask_from_four(&service);
    service_stop(&service);
    CHECK_EQ(service.stats.accepted, 100);
    CHECK(service.inside_max <= 2);
    return 0;
}

/* Four clients at two places: never more than two are served, and all of them are. */
TEST(serve_limit, "serve.limit") {
    unsigned flags = 0;
    sched_run_each(serve_two_at_most, &flags);
    flags = BNX_SERVE_REUSE_PORT;
    sched_run_each(serve_two_at_most, &flags);
}

static int share_one_place(void *arg) {
    (void)arg;
    struct sockaddr_in ignored;
    int given[2];
    for (size_t i = 0; i < 2; i++) {
        given[i] = io_tcp_listener(&ignored, 64);
        CHECK_EQ(bnx_os.fcntl(given[i], F_SETFL, O_RDWR | O_NONBLOCK), 0);
    }
    struct service service = {.handler = answer_at_gate};
    service.options.listeners = given;
    service.options.listener_count = 2;
    service.options.connections_max = 1;
    service_start(&service);
    for (size_t round = 0; round < 8; round++) {
        int first = connect_plainly(given[round % 2]);
        sched_await_count(&service.entered, 2 * round + 1);
        int second = connect_plainly(given[round / 2 % 2]);
        bnx_event_set(&service.gate);
        expect_answer(first);
        expect_answer(second);
        CHECK_EQ(bnx_load_acquire(&service.entered), 2 * round + 2);
        bnx_event_clear(&service.gate);
    }
    service_stop(&service);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(close(given[i]), 0);
    }
    return 0;
}

/* One place for two listeners: no matter at which of them somebody comes, he gets it. */
TEST(serve_share, "serve.listeners_share_the_limit") {
    sched_run_each(share_one_place, NULL);
}

/* ---- The file of a unix socket ---- */

struct file_case {
    struct temp temp;
    struct temp_name path;
    char address[BNX_ADDRESS_TEXT_BYTES];
};

static void file_case_open(struct file_case *file) {
    temp_open(&file->temp);
    file->path = temp_name(&file->temp, "socket");
    int length = snprintf(file->address, sizeof(file->address), "unix:%s", file->path.text);
    CHECK(length > 0 && (size_t)length < sizeof(file->address));
}

static bool is_there(const struct file_case *file) {
    return access(file->path.text, F_OK) == 0;
}

static int serve_on_file(void *arg) {
    const struct file_case *file = arg;
    for (int round = 0; round < 2; round++) {
        struct service service = {.address = file->address, .handler = answer};
        service_start(&service);
        CHECK(is_there(file));
        ask(file->address);
        service_stop(&service);
        CHECK(!is_there(file));
    }
    return 0;
}

/* The file of a unix socket is gone when its server is. */
TEST(unix_file, "serve.unix_file_goes") {
    struct file_case file;
    file_case_open(&file);
    sched_run_each(serve_on_file, &file);
    temp_close(&file.temp);
}

static int serve_beside_others(void *arg) {
    const struct file_case *file = arg;
    struct service service = {.address = file->address, .handler = answer};
    service_start(&service);
    CHECK_EQ(unlink(file->path.text), 0);
    int other = bnx_listen(file->address, NULL);
    CHECK(other >= 0);
    CHECK_EQ(bnx_close(other), 0); /* nobody listens there now, but the file is not ours */
    service_stop(&service);
    CHECK(is_there(file));
    return 0;
}

static int kept_listener; /* as the process keeps it that a server is handed over to */

static int keep_listener(const int *listeners, size_t listener_count, void *arg) {
    kept_listener = dup(listeners[0]);
    CHECK(kept_listener >= 0);
    return told_listening(listeners, listener_count, arg);
}

static int serve_and_hand_over(void *arg) {
    const struct file_case *file = arg;
    struct service service = {
        .address = file->address, .handler = answer, .options.on_listening = keep_listener};
    service_start(&service);
    service_stop(&service);
    CHECK(is_there(file));
    int fd = bnx_connect(file->address);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(close(kept_listener), 0);
    return 0;
}

/* It stays where it has become another's, and where somebody else listens on that socket. */
TEST(unix_file_of_others, "serve.unix_file_of_others_stays") {
    struct file_case file;
    file_case_open(&file);
    sched_run_each(serve_beside_others, &file);
    sched_run_each(serve_and_hand_over, &file);
    temp_close(&file.temp);
}

static int serve_with_deadline(void *arg) {
    (void)arg;
    struct service service = {.address = "127.0.0.1:0", .handler = answer_at_gate};
    service.options.connection_ns = 1 * BNX_NS_PER_MS;
    char end;
    service_start(&service);
    int fd = bnx_connect(service.bound);
    CHECK(fd >= 0);
    CHECK_EQ(bnx_recv(fd, &end, 1, 0), 0);
    CHECK_EQ(bnx_load_acquire(&service.seen), -ETIMEDOUT);
    CHECK_EQ(bnx_close(fd), 0);
    service_stop(&service);
    CHECK_EQ(service.stats.failed, 1);
    return 0;
}

/* A connection's deadline ends what its handler waits for, and its peer sees the end. */
TEST(serve_deadline, "serve.deadline") {
    sched_run_each(serve_with_deadline, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
