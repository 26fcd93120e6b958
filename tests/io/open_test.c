/* SPDX-License-Identifier: MIT */
/*
 * Tests opening where openat2(2) is refused, as by container profiles that are older than it.
 *
 * Method: the os table refuses it, and a ring's probe says that there is no such opcode.
 */
#include "io/ring.h"
#include "tests/io/temp.h"

#include <linux/openat2.h>

static struct {
    int error; /* of openat2 */
    uint64_t refused;
    int (*ring_register)(int ring_fd, unsigned opcode, const void *arg, unsigned count);
} refusal;

static int openat2_refused(int directory, const char *path, const struct open_how *how) {
    (void)directory;
    (void)path;
    (void)how;
    bnx_fetch_add_relaxed(&refusal.refused, 1);
    return refusal.error;
}

static int register_without(int ring_fd, unsigned opcode, const void *arg, unsigned count) {
    int result = refusal.ring_register(ring_fd, opcode, arg, count);
    if (opcode == IORING_REGISTER_PROBE && result == 0) {
        ((struct io_uring_probe *)(uintptr_t)arg)->ops[IORING_OP_OPENAT2].flags = 0;
    }
    return result;
}

static void without_opcode(void) {
    refusal.ring_register = bnx_os.uring_register;
    bnx_os.uring_register = register_without;
}

static int open_and_use(void *arg) {
    const struct temp *temp = arg;
    struct open_how how = {.flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, .mode = 0600};
    struct stat status;
    char data[4];
    int fd = bnx_openat2(temp->fd, "new", &how);
    CHECK(fd >= 0);
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_mode & 07777, 0600);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_EQ(bnx_pwrite(fd, "four", 4, 0), 4);
    CHECK_EQ(bnx_pread(fd, data, 4, 0), 4);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_openat2(temp->fd, "new", &how), -EEXIST);
    CHECK_EQ(bnx_open("/none/such", O_RDONLY | O_CLOEXEC, 0), -ENOENT);
    CHECK_EQ(unlinkat(temp->fd, "new", 0), 0);
    return 0;
}

static int open_by_rules(void *arg) {
    const struct temp *temp = arg;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    CHECK_EQ(bnx_openat2(temp->fd, ".", &how), refusal.error);
    how = (struct open_how){.flags = O_RDONLY | O_CLOEXEC | UINT64_C(1) << 40};
    CHECK_EQ(bnx_openat2(temp->fd, ".", &how), refusal.error);
    return open_and_use(arg);
}

/* Where openat2(2) is refused, in either way, files open by openat(2), and what that says is said;
 * but rules and flags that it does not know are not left aside. */
TEST(refused, "file.opens_without_openat2") {
    static const int errors[] = {-ENOSYS, -EPERM};
    struct temp temp;
    temp_open(&temp);
    without_opcode();
    bnx_os.openat2 = openat2_refused;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(errors); i++) {
        refusal.error = errors[i];
        sched_run_each(open_by_rules, &temp);
    }
    CHECK(refusal.refused > 0);
    temp_close(&temp);
}

struct opener {
    const char *path;
    int fd;
    struct bnx_task *task;
};

static int open_fifo(void *arg) {
    struct opener *opener = arg;
    opener->fd = bnx_open(opener->path, O_RDONLY | O_CLOEXEC, 0);
    return 0;
}

static int open_and_cancel(void *arg) {
    for (int is_cancelled = 0; is_cancelled < 2; is_cancelled++) {
        struct opener opener = {.path = arg};
        struct bnx_scope scope;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        CHECK_EQ(bnx_spawn_with(&scope, NULL, open_fifo, &opener, &opener.task), 0);
        io_await_wait(opener.task, BNX_WAIT_OPEN);
        int writer = -1;
        if (is_cancelled != 0) {
            bnx_scope_cancel(&scope, 0);
        } else {
            writer = bnx_open(arg, O_WRONLY | O_CLOEXEC, 0);
            CHECK(writer >= 0);
        }
        (void)bnx_scope_close(&scope);
        if (is_cancelled != 0) {
            CHECK_EQ(opener.fd, -ECANCELED);
        } else {
            CHECK_EQ(bnx_close(opener.fd), 0);
            CHECK_EQ(bnx_close(writer), 0);
        }
    }
    return 0;
}

/* A ring without the opcode: the open still holds no worker, and a cancel still ends it. */
TEST(no_opcode, "file.open_without_opcode_waits") {
    struct temp temp;
    char path[sizeof(temp.path) + 8];
    temp_open(&temp);
    without_opcode();
    (void)snprintf(path, sizeof(path), "%s/fifo", temp.path);
    CHECK_EQ(mkfifo(path, 0600), 0);
    sched_run_each(open_and_cancel, path);
    CHECK_EQ(unlink(path), 0);
    temp_close(&temp);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
