/* SPDX-License-Identifier: MIT */
/* Tests what is done to files by their names (bonxie/path.h). */
#include "tests/io/temp.h"

#include <bonxie/path.h>

/* ---- Names ---- */

static bool is_there(const struct temp *temp, const char *name) {
    return faccessat(temp->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int change_names(void *arg) {
    const struct temp *temp = arg;
    struct temp_name a = temp_name(temp, "a"), b = temp_name(temp, "b"), d = temp_name(temp, "d");
    temp_file(temp, "a", "alpha");
    CHECK_EQ(bnx_rename(a.text, b.text), 0);
    CHECK(!is_there(temp, "a") && is_there(temp, "b"));
    CHECK_EQ(bnx_rename(a.text, b.text), -ENOENT);

    CHECK_EQ(bnx_link(b.text, a.text), 0);
    CHECK_EQ(bnx_link(b.text, a.text), -EEXIST);
    struct stat one, two;
    CHECK_EQ(stat(a.text, &one), 0);
    CHECK_EQ(stat(b.text, &two), 0);
    CHECK(one.st_ino == two.st_ino && one.st_nlink == 2);

    CHECK_EQ(bnx_mkdir(d.text, 0750), 0);
    CHECK_EQ(bnx_mkdir(d.text, 0750), -EEXIST);
    CHECK_EQ(stat(d.text, &one), 0);
    CHECK(S_ISDIR(one.st_mode) && (one.st_mode & 07) == 0);
    CHECK_EQ(bnx_unlink(d.text), -EISDIR);
    CHECK_EQ(bnx_rmdir(b.text), -ENOTDIR);
    CHECK_EQ(bnx_renameat(temp->fd, "b", temp->fd, "d/b", 0), 0);
    CHECK_EQ(bnx_rmdir(d.text), -ENOTEMPTY);
    CHECK_EQ(bnx_renameat(temp->fd, "a", temp->fd, "d/b", RENAME_NOREPLACE), -EEXIST);
    CHECK_EQ(bnx_unlinkat(temp->fd, "d/b", 0), 0);
    CHECK_EQ(bnx_unlinkat(temp->fd, "d", AT_REMOVEDIR), 0);
    CHECK_EQ(bnx_unlink(a.text), 0);
    CHECK(!is_there(temp, "a") && !is_there(temp, "b") && !is_there(temp, "d"));

    CHECK_EQ(bnx_mkdirat(temp->fd, "d", 0700), 0);
    temp_file(temp, "d/x", "x");
    CHECK_EQ(bnx_linkat(temp->fd, "d/x", temp->fd, "y", 0), 0);
    CHECK_EQ(bnx_unlinkat(temp->fd, "y", 0), 0);
    CHECK_EQ(bnx_unlinkat(temp->fd, "d/x", 0), 0);
    CHECK_EQ(bnx_rmdir(d.text), 0);
    return 0;
}

/* Claim: names are given, exchanged and taken away, and the kernel's refusals come back. */
TEST(path_names, "path.names") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(change_names, &temp);
    temp_close(&temp);
}

static int use_links(void *arg) {
    const struct temp *temp = arg;
    struct temp_name link = temp_name(temp, "link");
    char target[64];
    memset(target, '#', sizeof(target));
    CHECK_EQ(bnx_symlink("to/nowhere", link.text), 0);
    CHECK_EQ(bnx_symlinkat("elsewhere", temp->fd, "link"), -EEXIST);
    CHECK_EQ(bnx_readlink(link.text, target, sizeof(target)), 10);
    CHECK(memcmp(target, "to/nowhere#", 11) == 0); /* without a NUL */
    CHECK_EQ(bnx_readlinkat(temp->fd, "link", target, 2), 2);
    CHECK_EQ(bnx_readlinkat(temp->fd, "missing", target, 2), -ENOENT);
    CHECK_EQ(bnx_readlink(temp->path, target, sizeof(target)), -EINVAL); /* no link */
    struct statx status;
    CHECK_EQ(bnx_stat(link.text, &status), -ENOENT);
    CHECK_EQ(bnx_lstat(link.text, &status), 0);
    CHECK(S_ISLNK(status.stx_mode) && status.stx_size == 10);
    CHECK_EQ(bnx_unlink(link.text), 0);
    return 0;
}

/* Claim: a symbolic link keeps what it was given, is read, and is or is not followed. */
TEST(path_links, "path.links") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(use_links, &temp);
    temp_close(&temp);
}

static int compare_status(void *arg) {
    const struct temp *temp = arg;
    struct temp_name file = temp_name(temp, "file");
    temp_file(temp, "file", "twelve bytes");
    struct stat expected;
    CHECK_EQ(stat(file.text, &expected), 0);
    int fd = open(file.text, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    struct statx by_path = {0}, by_fd = {0}, by_name = {0};
    CHECK_EQ(bnx_stat(file.text, &by_path), 0);
    CHECK_EQ(bnx_fstat(fd, &by_fd), 0);
    CHECK_EQ(bnx_statx(temp->fd, "file", 0, STATX_SIZE | STATX_INO, &by_name), 0);
    const struct statx *each[] = {&by_path, &by_fd, &by_name};
    for (size_t i = 0; i < BNX_ARRAY_COUNT(each); i++) {
        CHECK_EQ(each[i]->stx_size, 12);
        CHECK_EQ(each[i]->stx_ino, expected.st_ino);
    }
    CHECK_EQ(by_path.stx_mode, expected.st_mode);
    CHECK_EQ(by_path.stx_mtime.tv_sec, expected.st_mtim.tv_sec);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(bnx_fstat(fd, &by_fd), -EBADF);
    CHECK_EQ(bnx_statx(temp->fd, "file", 0x40000000, STATX_SIZE, &by_name), -EINVAL);
    return 0;
}

/* Claim: a path, a descriptor and a name in a directory tell the same of a file, and what stat(2)
 * tells. */
TEST(path_status, "path.status") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(compare_status, &temp);
    temp_close(&temp);
}

/* ---- Refused ---- */

/* Everything once, on something that is there. */
struct attempt {
    const struct temp *temp;
    int64_t expected;
};

static void attempt_each(const struct attempt *attempt) {
    const struct temp *temp = attempt->temp;
    char target[8];
    struct statx status;
    int64_t expected = attempt->expected;
    const char *path = temp->path;
    CHECK_EQ(bnx_stat(path, &status), expected);
    CHECK_EQ(bnx_lstat(path, &status), expected);
    CHECK_EQ(bnx_fstat(temp->fd, &status), expected);
    CHECK_EQ(bnx_statx(temp->fd, "file", 0, STATX_SIZE, &status), expected);
    CHECK_EQ(bnx_rename("/nowhere/a", "/nowhere/b"), expected);
    CHECK_EQ(bnx_renameat(temp->fd, "file", temp->fd, "other", 0), expected);
    CHECK_EQ(bnx_unlink("/nowhere/a"), expected);
    CHECK_EQ(bnx_unlinkat(temp->fd, "file", 0), expected);
    CHECK_EQ(bnx_rmdir("/nowhere/a"), expected);
    CHECK_EQ(bnx_mkdir("/nowhere/a", 0700), expected);
    CHECK_EQ(bnx_mkdirat(temp->fd, "directory", 0700), expected);
    CHECK_EQ(bnx_link("/nowhere/a", "/nowhere/b"), expected);
    CHECK_EQ(bnx_linkat(temp->fd, "file", temp->fd, "other", 0), expected);
    CHECK_EQ(bnx_symlink("target", "/nowhere/a"), expected);
    CHECK_EQ(bnx_symlinkat("target", temp->fd, "link"), expected);
    CHECK_EQ(bnx_readlink("/nowhere/a", target, sizeof(target)), expected);
    CHECK_EQ(bnx_readlinkat(temp->fd, "file", target, sizeof(target)), expected);
    CHECK(is_there(temp, "file"));
    CHECK(!is_there(temp, "other") && !is_there(temp, "directory") && !is_there(temp, "link"));
}

static int attempt_cancelled(void *arg) {
    struct attempt attempt = {.temp = arg, .expected = -ECANCELED};
    struct bnx_scope scope;
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    attempt_each(&attempt);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: a cancelled task's calls are refused and do nothing, and so are those off a task. */
TEST(path_refused, "path.cancelled_is_refused") {
    struct temp temp;
    temp_open(&temp);
    temp_file(&temp, "file", "");
    sched_run_each(attempt_cancelled, &temp);
    struct attempt off_task = {.temp = &temp, .expected = -EPERM};
    attempt_each(&off_task);
    temp_close(&temp);
}

static int pass_nothing(void *arg) {
    const struct temp *temp = arg;
    char target[8];
    struct statx status;
    CHECK_EQ(bnx_stat(NULL, &status), -EINVAL);
    CHECK_EQ(bnx_stat("/", NULL), -EINVAL);
    CHECK_EQ(bnx_rename(NULL, "a"), -EINVAL);
    CHECK_EQ(bnx_rename("a", NULL), -EINVAL);
    CHECK_EQ(bnx_unlink(NULL), -EINVAL);
    CHECK_EQ(bnx_mkdir(NULL, 0), -EINVAL);
    CHECK_EQ(bnx_link("a", NULL), -EINVAL);
    CHECK_EQ(bnx_symlink(NULL, "a"), -EINVAL);
    CHECK_EQ(bnx_symlink("a", NULL), -EINVAL);
    CHECK_EQ(bnx_readlink(NULL, target, 1), -EINVAL);
    CHECK_EQ(bnx_unlinkat(-1, "relative", 0), -EBADF);
    CHECK_EQ(bnx_mkdirat(temp->fd, "", 0700), -ENOENT);
    return 0;
}

/* Claim: no path is an error of its own, and a wrong directory the kernel's. */
TEST(path_wrong, "path.wrong_arguments") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(pass_nothing, &temp);
    temp_close(&temp);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
