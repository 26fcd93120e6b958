/* SPDX-License-Identifier: MIT */
/*
 * Tests which driver a runtime gets: io_uring, or epoll where any worker is refused its ring.
 *
 * Method: the os table refuses the ring of the k-th thread that asks for one, however often it
 * asks. tests/io/refused.sh has the kernel refuse them all.
 */
#include "tests/io/fixture.h"

#include <pthread.h>

#define WORKERS 4

/* ---- Refusals ---- */

static struct {
    int (*setup)(unsigned entries, void *params);
    int error;       /* what the k-th thread gets */
    uint32_t kth;    /* counted from 1 */
    uint32_t askers; /* threads that have asked */
    uint64_t log_lines;
    char line[256]; /* the last one */
} refusal;

static __thread uint32_t my_place; /* of this thread among the askers; 0: it has not asked */

static int setup_refused(unsigned entries, void *params) {
    if (my_place == 0) {
        my_place = bnx_fetch_add_acq_rel(&refusal.askers, 1) + 1;
    }
    return my_place == refusal.kth ? refusal.error : refusal.setup(entries, params);
}

static void log_line(enum bnx_log_level level, const char *line, void *arg) {
    (void)level;
    (void)arg;
    if (strstr(line, " stalled for ") != NULL) {
        return; /* a busy machine: not what is asked here */
    }
    refusal.log_lines++;
    (void)snprintf(refusal.line, sizeof(refusal.line), "%s", line);
}

static void refuse_kth(uint32_t kth, int error) {
    refusal.kth = kth;
    refusal.error = error;
    refusal.askers = 0;
    refusal.log_lines = 0;
    my_place = 0;
}

/* A ring is to be had here, and the environment says nothing. */
static void install(void) {
    io_needs_ring();
    CHECK_EQ(unsetenv("BONXIE_DRIVER"), 0);
    refusal.setup = bnx_os.uring_setup;
    bnx_os.uring_setup = setup_refused;
}

/* ---- What a runtime has ---- */

static int exchange(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        io_round_trip();
        CHECK_EQ(bnx_sleep(0), 0);
    }
    return 0;
}

static int exchange_everywhere(void *arg) {
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    for (int i = 0; i < 4 * WORKERS; i++) {
        CHECK_EQ(bnx_spawn(&scope, exchange, arg), 0);
    }
    return bnx_scope_close(&scope);
}

static void check_driver(const struct bnx_runtime *runtime, const char *name) {
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        CHECK_STR(runtime->workers[i].driver->ops->name, name);
    }
}

/* Creates a runtime and destroys it, which leaves nothing. Returns what create has. */
static int create_and_check(struct bnx_options options, const char *driver) {
    int fds = io_fd_count();
    options.log = log_line;
    struct bnx_runtime *runtime = NULL;
    int error = bnx_runtime_create(&options, &runtime);
    if (error == 0) {
        check_driver(runtime, driver);
        CHECK_EQ(bnx_runtime_run(runtime, exchange_everywhere, NULL), 0);
        sched_destroy(runtime);
    } else {
        CHECK(runtime == NULL);
    }
    CHECK_EQ(io_fd_count(), fds);
    io_await_alone();
    return error;
}

/* ---- The claims ---- */

static const int refusals[] = {-EPERM, -ENOSYS, -ENOMEM, -EACCES, -EINVAL};

/* One worker of four is refused its ring: all of them have epoll, and one line says why. Without a
 * refusal all have a ring, and nobody says anything. */
TEST(one_for_all, "driver.fallback_is_one_for_all") {
    install();
    for (size_t i = 0; i < BNX_ARRAY_COUNT(refusals); i++) {
        for (uint32_t kth = 1; kth <= WORKERS + 1; kth++) {
            struct bnx_options options = {.worker_count = WORKERS, .seed = 1};
            refuse_kth(kth, refusals[i]);
            CHECK_EQ(create_and_check(options, kth <= WORKERS ? "epoll" : "uring"), 0);
            CHECK_EQ(refusal.log_lines, kth <= WORKERS ? 1 : 0);
            if (kth <= WORKERS) {
                CHECK(strstr(refusal.line, "uring is refused") != NULL);
                CHECK(strstr(refusal.line, strerrordesc_np(-refusals[i])) != NULL);
                CHECK(strstr(refusal.line, "epoll") != NULL);
            }
        }
    }
}

/* Who wants io_uring and nothing else is told why he cannot have it. */
TEST(explicit, "driver.fallback_is_not_for_explicit") {
    install();
    for (size_t i = 0; i < BNX_ARRAY_COUNT(refusals); i++) {
        for (uint32_t kth = 1; kth <= WORKERS + 1; kth++) {
            struct bnx_options options = {
                .worker_count = WORKERS, .seed = 1, .driver = BNX_DRIVER_URING};
            refuse_kth(kth, refusals[i]);
            CHECK_EQ(create_and_check(options, "uring"), kth <= WORKERS ? refusals[i] : 0);
            CHECK_EQ(refusal.log_lines, 0);
        }
    }
}

/* What epoll would lack as well, descriptors for instance, is no reason to try it. */
TEST(other_errors, "driver.fallback_is_for_refusals") {
    install();
    struct bnx_options options = {.worker_count = WORKERS, .seed = 1};
    refuse_kth(2, -EMFILE);
    CHECK_EQ(create_and_check(options, NULL), -EMFILE);
    CHECK_EQ(refusal.log_lines, 0);
}

/* A guest falls back as others do. */
TEST(guest, "driver.fallback_of_a_guest") {
    install();
    struct bnx_options options = {.seed = 1, .flags = BNX_GUEST};
    refuse_kth(1, -EPERM);
    CHECK_EQ(create_and_check(options, "epoll"), 0);
    CHECK_EQ(refusal.log_lines, 1);
    refuse_kth(1, -EPERM);
    options.driver = BNX_DRIVER_URING;
    CHECK_EQ(create_and_check(options, "uring"), -EPERM);
}

/* What the machine as it is gives: the argument's driver for all, with a line where that is not the
 * first choice. For refused.sh; without an argument, either. */
TEST(is_chosen, "driver.is_chosen") {
    CHECK_EQ(unsetenv("BONXIE_DRIVER"), 0);
    const char *wanted = bnx_test_arg(0);
    struct bnx_options options = {.worker_count = WORKERS, .seed = 1, .log = log_line};
    struct bnx_runtime *runtime = NULL;
    CHECK_EQ(bnx_runtime_create(&options, &runtime), 0);
    const char *name = runtime->workers[0].driver->ops->name;
    printf("%s: %s\n", name, refusal.line);
    check_driver(runtime, wanted != NULL && strcmp(wanted, "any") != 0 ? wanted : name);
    CHECK_EQ(refusal.log_lines, strcmp(name, "epoll") == 0 ? 1 : 0);
    CHECK_EQ(bnx_runtime_run(runtime, exchange_everywhere, NULL), 0);
    sched_destroy(runtime);
    options.driver = BNX_DRIVER_URING;
    int error = bnx_runtime_create(&options, &runtime);
    CHECK_EQ(error != 0, strcmp(name, "epoll") == 0);
    if (error == 0) {
        sched_destroy(runtime);
    }
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
