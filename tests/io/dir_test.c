/* SPDX-License-Identifier: MIT */
/* Tests directories and trees as iterators (bonxie/dir.h). */
#include "tests/io/temp.h"

#include <bonxie/dir.h>

/* ---- One directory ---- */

#define MANY 600 /* of 120 bytes each: several pieces */

static int list_many(void *arg) {
    const struct temp *temp = arg;
    struct bnx_dir dir;
    struct temp_name many = temp_name(temp, "many");
    static uint8_t seen[MANY]; /* by one task at a time */
    memset(seen, 0, sizeof(seen));
    int error = bnx_dir_open(&dir, many.text);
    CHECK_EQ(error, 0);
    size_t count = 0;
    BNX_FOR_EACH_OR(value, &dir.iter, &error) {
        const struct bnx_dir_entry *entry = value;
        unsigned number = (unsigned)atoi(entry->name + 1);
        CHECK(entry->name[0] == 'f' && number < MANY && seen[number] == 0);
        CHECK(entry->type == BNX_FILE_REGULAR);
        CHECK(entry->inode != 0);
        seen[number] = 1;
        count++;
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(count, MANY);
    void *value;
    CHECK_EQ(bnx_iter_next(&dir.iter, &value), 0);
    return 0;
}

/* Claim: a directory of many pieces gives each name once, without "." and "..". */
TEST(dir_lists, "dir.lists_each_once") {
    struct temp temp;
    temp_open(&temp);
    CHECK_EQ(mkdirat(temp.fd, "many", 0700), 0);
    for (unsigned i = 0; i < MANY; i++) {
        char name[128];
        (void)snprintf(name, sizeof(name), "many/f%0100u", i);
        CHECK_EQ(mknodat(temp.fd, name, S_IFREG | 0600, 0), 0);
    }
    int before = io_fd_count();
    sched_run_each(list_many, &temp);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

static enum bnx_file_type type_in(const struct temp *temp, const char *name) {
    struct bnx_dir dir;
    enum bnx_file_type type = BNX_FILE_UNKNOWN;
    CHECK_EQ(bnx_dir_openat(&dir, temp->fd, "types", O_NOFOLLOW), 0);
    BNX_FOR_EACH(value, &dir.iter) {
        const struct bnx_dir_entry *entry = value;
        if (strcmp(entry->name, name) == 0) {
            type = entry->type;
            break; /* closes it early */
        }
    }
    return type;
}

static int list_types(void *arg) {
    const struct temp *temp = arg;
    CHECK_EQ(type_in(temp, "file"), BNX_FILE_REGULAR);
    CHECK_EQ(type_in(temp, "directory"), BNX_FILE_DIRECTORY);
    CHECK_EQ(type_in(temp, "link"), BNX_FILE_LINK);
    CHECK_EQ(type_in(temp, "fifo"), BNX_FILE_FIFO);
    struct bnx_dir dir;
    CHECK_EQ(bnx_dir_open(&dir, "/nowhere/at/all"), -ENOENT);
    void *value;
    CHECK_EQ(bnx_iter_next(&dir.iter, &value), 0);
    CHECK_EQ(bnx_dir_openat(&dir, temp->fd, "types/file", 0), -ENOTDIR);
    CHECK_EQ(bnx_dir_openat(&dir, temp->fd, "types/link", O_NOFOLLOW), -ENOTDIR);
    CHECK_EQ(bnx_dir_open(&dir, NULL), -EINVAL);
    return 0;
}

static void make_types(const struct temp *temp) {
    CHECK_EQ(mkdirat(temp->fd, "types", 0700), 0);
    temp_file(temp, "types/file", "");
    CHECK_EQ(mkdirat(temp->fd, "types/directory", 0700), 0);
    CHECK_EQ(symlinkat("directory", temp->fd, "types/link"), 0);
    CHECK_EQ(mkfifoat(temp->fd, "types/fifo", 0600), 0);
}

/* Claim: entries say what they are; an iterator that is left early gives back what it holds. */
TEST(dir_types, "dir.types") {
    struct temp temp;
    temp_open(&temp);
    make_types(&temp);
    int before = io_fd_count();
    sched_run_each(list_types, &temp);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

static int list_cancelled(void *arg) {
    const struct temp *temp = arg;
    struct bnx_scope scope;
    struct bnx_dir dir, late;
    void *value;
    CHECK_EQ(bnx_dir_openat(&dir, temp->fd, "types", 0), 0);
    CHECK_EQ(bnx_iter_next(&dir.iter, &value), 1);
    CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
    bnx_scope_cancel(&scope, 0);
    CHECK_EQ(bnx_iter_next(&dir.iter, &value), -ECANCELED); /* although the next is in memory */
    bnx_iter_close(&dir.iter);
    CHECK_EQ(bnx_dir_openat(&late, temp->fd, "types", 0), -ECANCELED);
    CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
    return 0;
}

/* Claim: a cancel ends an iteration wherever it is, and its descriptor is closed all the same. */
TEST(dir_cancelled, "dir.cancelled") {
    struct temp temp;
    temp_open(&temp);
    make_types(&temp);
    int before = io_fd_count();
    sched_run_each(list_cancelled, &temp);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

/* ---- A tree ---- */

/*  tree/  a/  b/  c     (c: a file)
 *         d             (a file)
 *         up  -> ..     (a loop)
 *         side -> a     (a directory twice)
 *         lost -> nowhere
 */
static void make_tree(const struct temp *temp) {
    CHECK_EQ(mkdirat(temp->fd, "tree", 0700), 0);
    CHECK_EQ(mkdirat(temp->fd, "tree/a", 0700), 0);
    CHECK_EQ(mkdirat(temp->fd, "tree/a/b", 0700), 0);
    temp_file(temp, "tree/a/b/c", "c");
    temp_file(temp, "tree/d", "d");
    CHECK_EQ(symlinkat("..", temp->fd, "tree/up"), 0);
    CHECK_EQ(symlinkat("a", temp->fd, "tree/side"), 0);
    CHECK_EQ(symlinkat("nowhere", temp->fd, "tree/lost"), 0);
}

#define SEEN_MAX 64
/* The paths of a walk beneath where it began, in order of their text. */
struct seen {
    char lines[SEEN_MAX][80];
    size_t count;
};

static int compare_lines(const void *a, const void *b) {
    return strcmp(a, b);
}

static void see(struct seen *seen, const struct bnx_walk_entry *entry, size_t root_length) {
    static const char types[] = "?fdlpscb";
    CHECK(seen->count < SEEN_MAX);
    const char *error = entry->error == -ELOOP ? " loop" : entry->error != 0 ? " error" : "";
    (void)snprintf(seen->lines[seen->count++], sizeof(seen->lines[0]), "%s %c%u%s%s",
                   entry->path + root_length, types[entry->type], entry->depth,
                   entry->is_leaving != 0 ? " left" : "", error);
    /* The name is of the directory, also when the path is not of the current one. */
    struct stat by_path, by_name;
    CHECK_EQ(fstatat(AT_FDCWD, entry->path, &by_path, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_EQ(fstatat(entry->directory, entry->name, &by_name, AT_SYMLINK_NOFOLLOW), 0);
    CHECK(by_path.st_ino == by_name.st_ino);
}

static void walk_and_see(const struct temp *temp, const struct bnx_walk_options *options,
                         struct seen *seen) {
    struct temp_name root = temp_name(temp, "tree");
    struct bnx_walk walk;
    seen->count = 0;
    int error = bnx_walk_open(&walk, root.text, options);
    CHECK_EQ(error, 0);
    BNX_FOR_EACH_OR(value, &walk.iter, &error) {
        see(seen, value, strlen(root.text));
    }
    CHECK_EQ(error, 0);
}

static void expect_seen(struct seen *seen, const char *expected) {
    char all[SEEN_MAX * 80] = "";
    qsort(seen->lines, seen->count, sizeof(seen->lines[0]), compare_lines);
    for (size_t i = 0; i < seen->count; i++) {
        (void)strcat(strcat(all, seen->lines[i]), "\n");
    }
    CHECK_STR(all, expected);
}

static int walk_tree(void *arg) {
    const struct temp *temp = arg;
    struct seen *seen = malloc(sizeof(*seen));
    CHECK(seen != NULL);
    walk_and_see(temp, NULL, seen);
    expect_seen(seen, " d0\n/a d1\n/a/b d2\n/a/b/c f3\n/d f1\n/lost l1\n/side l1\n/up l1\n");
    const struct bnx_walk_options shallow = {.depth_max = 1};
    walk_and_see(temp, &shallow, seen);
    expect_seen(seen, " d0\n/a d1\n/d f1\n/lost l1\n/side l1\n/up l1\n");
    const struct bnx_walk_options leave = {.flags = BNX_WALK_LEAVE};
    walk_and_see(temp, &leave, seen);
    CHECK_STR(seen->lines[0], " d0");
    CHECK_STR(seen->lines[seen->count - 1], " d0 left");
    expect_seen(seen, " d0\n d0 left\n/a d1\n/a d1 left\n/a/b d2\n/a/b d2 left\n/a/b/c f3\n/d f1\n"
                      "/lost l1\n/side l1\n/up l1\n");
    free(seen);
    return 0;
}

/* Claim: a walk meets everything once, a directory before what is in it and, when asked, after it;
 * links are not followed. */
TEST(walk_meets, "walk.meets_all") {
    struct temp temp;
    temp_open(&temp);
    make_tree(&temp);
    int before = io_fd_count();
    sched_run_each(walk_tree, &temp);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

static int walk_links(void *arg) {
    const struct temp *temp = arg;
    const struct bnx_walk_options follow = {.flags = BNX_WALK_FOLLOW};
    struct seen *seen = malloc(sizeof(*seen));
    CHECK(seen != NULL);
    CHECK_EQ(unlinkat(temp->fd, "tree/up", 0), 0);
    CHECK_EQ(symlinkat(".", temp->fd, "tree/up"), 0);
    walk_and_see(temp, &follow, seen);
    expect_seen(seen, " d0\n/a d1\n/a/b d2\n/a/b/c f3\n/d f1\n/lost l1\n/side d1\n/side/b d2\n"
                      "/side/b/c f3\n/up d1\n/up d1 loop\n");
    free(seen);
    return 0;
}

/* Claim: a walk that follows links enters what they point to, keeps one that points nowhere, and
 * does not go round in a loop. */
TEST(walk_follows, "walk.follows_links") {
    struct temp temp;
    temp_open(&temp);
    make_tree(&temp);
    sched_run_each(walk_links, &temp);
    temp_close(&temp);
}

static int walk_pruned(void *arg) {
    const struct temp *temp = arg;
    struct temp_name root = temp_name(temp, "tree");
    struct bnx_walk walk;
    size_t count = 0;
    CHECK_EQ(bnx_walk_open(&walk, root.text, NULL), 0);
    BNX_FOR_EACH(value, &walk.iter) {
        const struct bnx_walk_entry *entry = value;
        count++;
        CHECK(entry->depth <= 1);
        if (strcmp(entry->name, "a") == 0) {
            bnx_walk_prune(&walk);
        }
    }
    CHECK_EQ(count, 6);

    struct temp_name file = temp_name(temp, "tree/d");
    CHECK_EQ(bnx_walk_open(&walk, file.text, NULL), 0);
    void *value;
    CHECK_EQ(bnx_iter_next(&walk.iter, &value), 1);
    CHECK_EQ(((const struct bnx_walk_entry *)value)->type, BNX_FILE_REGULAR);
    CHECK_EQ(bnx_iter_next(&walk.iter, &value), 0);
    bnx_iter_close(&walk.iter);

    struct temp_name nothing = temp_name(temp, "nothing");
    const struct bnx_walk_options unknown = {.flags = 1u << 30};
    CHECK_EQ(bnx_walk_open(&walk, nothing.text, NULL), -ENOENT);
    CHECK_EQ(bnx_iter_next(&walk.iter, &value), 0);
    CHECK_EQ(bnx_walk_open(&walk, root.text, &unknown), -EINVAL);
    CHECK_EQ(bnx_walk_open(&walk, NULL, NULL), -EINVAL);
    return 0;
}

/* Claim: what is pruned is not entered; a walk may begin at a file, and not at nothing, nor off a
 * task. */
TEST(walk_prunes, "walk.prunes") {
    struct temp temp;
    temp_open(&temp);
    make_tree(&temp);
    int before = io_fd_count();
    sched_run_each(walk_pruned, &temp);
    struct bnx_dir dir;
    struct bnx_walk walk;
    void *value;
    CHECK_EQ(bnx_dir_open(&dir, temp.path), -EPERM); /* off a task */
    CHECK_EQ(bnx_walk_open(&walk, temp.path, NULL), -EPERM);
    CHECK_EQ(bnx_iter_next(&walk.iter, &value), 0);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

/* Removes each directory when it has come, before it is entered, and puts a link or a file in the
 * place of some. */
static int walk_vanishing(void *arg) {
    const struct temp *temp = arg;
    struct temp_name root = temp_name(temp, "vanishing");
    CHECK_EQ(mkdir(root.text, 0700), 0);
    for (int i = 0; i < 30; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "vanishing/%d", i);
        CHECK_EQ(mkdirat(temp->fd, name, 0700), 0);
    }
    struct bnx_walk walk;
    unsigned count = 0;
    int error = bnx_walk_open(&walk, root.text, NULL);
    CHECK_EQ(error, 0);
    BNX_FOR_EACH_OR(value, &walk.iter, &error) {
        const struct bnx_walk_entry *entry = value;
        CHECK_EQ(entry->error, 0);
        CHECK(entry->depth <= 1);
        if (entry->depth == 1) {
            CHECK_EQ(unlinkat(entry->directory, entry->name, AT_REMOVEDIR), 0);
            if (count % 3 == 1) {
                CHECK_EQ(symlinkat("/", entry->directory, entry->name), 0);
            } else if (count % 3 == 2) {
                CHECK_EQ(mknodat(entry->directory, entry->name, S_IFREG | 0600, 0), 0);
            }
            count++;
        }
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(count, 30);
    CHECK_EQ(nftw(root.text, temp_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
    return 0;
}

/* Claim: a walk survives that what it is about to enter is gone, or something else by now; a link
 * that took its place is not followed. */
TEST(walk_survives, "walk.survives_what_vanishes") {
    struct temp temp;
    temp_open(&temp);
    sched_run_each(walk_vanishing, &temp);
    temp_close(&temp);
}

static int walk_deep(void *arg) {
    const struct temp *temp = arg;
    struct bnx_walk walk;
    struct temp_name root = temp_name(temp, "deep");
    int64_t deepest = -1;
    int last_error = 0;
    int error = bnx_walk_open(&walk, root.text, NULL);
    CHECK_EQ(error, 0);
    BNX_FOR_EACH_OR(value, &walk.iter, &error) {
        const struct bnx_walk_entry *entry = value;
        CHECK_EQ(entry->depth, entry->error != 0 ? deepest : deepest + 1);
        deepest = entry->depth;
        last_error = entry->error;
    }
    CHECK_EQ(error, 0);
    CHECK_EQ(deepest, BNX_WALK_DEPTH_MAX);
    CHECK_EQ(last_error, -ENAMETOOLONG);
    return 0;
}

/* Claim: a tree deeper than a walk goes, with names so long that no path could be opened, is walked
 * as far as that, and the walk says where it has stopped. */
TEST(walk_is_bounded, "walk.depth_is_bounded") {
    struct temp temp;
    temp_open(&temp);
    CHECK_EQ(mkdirat(temp.fd, "deep", 0700), 0);
    int fd = openat(temp.fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[101];
    memset(name, 'n', sizeof(name) - 1);
    name[100] = '\0';
    for (int depth = 1; depth <= BNX_WALK_DEPTH_MAX + 1; depth++) {
        CHECK_EQ(mkdirat(fd, name, 0700), 0);
        int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(inner >= 0);
        CHECK_EQ(close(fd), 0);
        fd = inner;
    }
    CHECK_EQ(close(fd), 0);
    int before = io_fd_count();
    sched_run_each(walk_deep, &temp);
    CHECK_EQ(io_fd_count(), before);
    /* nftw cannot remove what it cannot name: from within, an inner one to the top each time. */
    for (int depth = 1; depth <= BNX_WALK_DEPTH_MAX + 1; depth++) {
        CHECK_EQ(renameat(temp.fd, "deep", temp.fd, "old"), 0);
        fd = openat(temp.fd, "old", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(fd >= 0);
        CHECK_EQ(renameat(fd, name, temp.fd, "deep"), 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(unlinkat(temp.fd, "old", AT_REMOVEDIR), 0);
    }
    temp_close(&temp);
}

static int walk_cancelled(void *arg) {
    const struct temp *temp = arg;
    struct temp_name root = temp_name(temp, "tree");
    for (int steps = 0; steps < 8; steps++) {
        struct bnx_walk walk;
        struct bnx_scope scope;
        void *value;
        CHECK_EQ(bnx_walk_open(&walk, root.text, NULL), 0);
        for (int i = 0; i < steps; i++) {
            CHECK_EQ(bnx_iter_next(&walk.iter, &value), 1);
        }
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        bnx_scope_cancel(&scope, 0);
        CHECK_EQ(bnx_iter_next(&walk.iter, &value), -ECANCELED);
        CHECK_EQ(bnx_scope_close(&scope), -ECANCELED);
        bnx_iter_close(&walk.iter);
    }
    return 0;
}

/* Claim: a cancel ends a walk at any step, and no directory stays open. */
TEST(walk_is_cancelled, "walk.cancelled") {
    struct temp temp;
    temp_open(&temp);
    make_tree(&temp);
    int before = io_fd_count();
    sched_run_each(walk_cancelled, &temp);
    CHECK_EQ(io_fd_count(), before);
    temp_close(&temp);
}

/* ---- Going on after a cancel ---- */

static struct bnx_os kernel;
static struct bnx_scope *due; /* the scope that the next call of a hook cancels; NULL: none */

static void cancel_if_due(void) {
    struct bnx_scope *scope = bnx_exchange_acq_rel(&due, NULL);
    if (scope != NULL) {
        bnx_scope_cancel(scope, 0);
    }
}

static ssize_t read_and_cancel(int fd, void *out_entries, size_t bytes) {
    cancel_if_due();
    return kernel.getdents64(fd, out_entries, bytes);
}

static void *allocate_and_cancel(size_t bytes, size_t alignment) {
    cancel_if_due();
    return kernel.allocate(bytes, alignment);
}

/* Each step in a scope of its own, cancelled where the hook is; a step that this has ended is made
 * once more. */
static int walk_on(void *arg) {
    const struct temp *temp = arg;
    const struct bnx_walk_options follow = {.flags = BNX_WALK_FOLLOW};
    struct temp_name root = temp_name(temp, "tree");
    struct seen *seen = calloc(1, sizeof(*seen));
    struct bnx_walk walk;
    CHECK(seen != NULL);
    CHECK_EQ(bnx_walk_open(&walk, root.text, &follow), 0);
    int result = 1;
    int cancels = 0;
    while (result != 0) { /* ends: with the walk */
        struct bnx_scope scope;
        void *value = NULL;
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        bnx_store_release(&due, &scope);
        result = bnx_iter_next(&walk.iter, &value);
        bnx_store_release(&due, NULL);
        (void)bnx_scope_close(&scope);
        if (result == -ECANCELED) {
            cancels++;
            result = bnx_iter_next(&walk.iter, &value);
        }
        CHECK(result >= 0);
        if (result > 0) {
            see(seen, value, strlen(root.text));
        }
    }
    bnx_iter_close(&walk.iter);
    CHECK(cancels > 0);
    expect_seen(seen, " d0\n/a d1\n/a/b d2\n/a/b/c f3\n/d f1\n/links d1\n/links/only d2\n"
                      "/links/only/b d3\n/links/only/b/c f4\n/lost l1\n/side d1\n/side/b d2\n"
                      "/side/b/c f3\n");
    free(seen);
    return 0;
}

/* Claim: a step of a walk that a cancel has ended is taken up by the next one: whether it was about
 * to enter a directory or to look where a link points to, nothing is left out. */
TEST(walk_goes_on, "walk.goes_on_after_cancel") {
    struct temp temp;
    temp_open(&temp);
    make_tree(&temp);
    CHECK_EQ(unlinkat(temp.fd, "tree/up", 0), 0);
    CHECK_EQ(mkdirat(temp.fd, "tree/links", 0700), 0);
    CHECK_EQ(symlinkat("../a", temp.fd, "tree/links/only"), 0);
    kernel = bnx_os;
    bnx_os.getdents64 = read_and_cancel;
    sched_run(1, walk_on, &temp);
    sched_run(2, walk_on, &temp);
    bnx_os.getdents64 = kernel.getdents64;
    bnx_os.allocate = allocate_and_cancel;
    sched_run(1, walk_on, &temp);
    bnx_os = kernel;
    temp_close(&temp);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
