/* SPDX-License-Identifier: MIT */
/*
 * Copies a file, or with -r a tree, and shows how far it is.
 *
 *     cp big.iso copy.iso            inside the kernel (copy_file_range)
 *     cp -r project backup           files, directories and links, depth first
 *     cp --direct big.iso copy.iso   past the page cache, 8 pieces of 1 MiB at a time
 *     cp --help
 *
 * SIGINT ends it between two pieces; the file that it was at is removed, those before stay. Modes
 * are kept; owners, times and holes are not.
 */
#include "io/examples/cp_direct.h"

#include <bonxie/bonxie.h>
#include <bonxie/dir.h>
#include <bonxie/file.h>
#include <bonxie/path.h>
#include <bonxie/progress.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_BYTES (UINT64_C(64) << 20) /* between two counts of the bar */

struct job {
    const char *from;
    const char *to;
    bool is_recursive;
    bool is_direct;
    bool is_quiet;
    uint32_t reads; /* in flight, with --direct */
    struct bnx_progress progress;
    struct statx target; /* the tree that is written, lest it is copied into itself */
    const char *at;      /* the path that has failed */
};

/* ---- One file ---- */

static int copy_through_kernel(struct job *job, int from, int to) {
    while (true) { /* ends with the file, an error or a cancel */
        int64_t count = bnx_copy_file(from, NULL, to, NULL, STEP_BYTES);
        if (count <= 0) {
            return (int)count;
        }
        bnx_progress_add(&job->progress, (uint64_t)count);
    }
}

static int copy_content(struct job *job, int from, int to, const struct statx *status) {
    if (!job->is_direct || status->stx_size == 0) {
        return copy_through_kernel(job, from, to);
    }
    return bnx_copy_direct(from, to, status->stx_size, job->reads, &job->progress);
}

static bool is_same(const struct statx *a, const struct statx *b) {
    return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
           a->stx_dev_minor == b->stx_dev_minor;
}

/* Opens the target after the source, and cuts it off only when it is known to be another file. */
static int copy_opened(struct job *job, int from, const char *to_path) {
    struct statx status, old;
    int error = bnx_fstat(from, &status);
    if (error != 0) {
        return error;
    }
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (job->is_direct ? O_DIRECT : 0);
    int to = bnx_open(to_path, flags, status.stx_mode & 0777);
    if (to < 0) {
        return to;
    }
    /* Not bnx_fstat: a cancel would end it, and who made the file would not know that he did. */
    error = statx(to, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &old) == 0 ? 0 : -errno;
    if (error == 0) {
        if (is_same(&status, &old)) {
            error = -EEXIST;
        } else if (old.stx_size > 0) { /* ext4 writes at the close what was cut off before */
            error = bnx_ftruncate(to, 0);
        }
        if (error == 0) {
            error = copy_content(job, from, to, &status);
            if (error < 0 && S_ISREG(old.stx_mode)) { /* no device, no fifo */
                (void)unlink(to_path); /* bnx_unlink would be refused after a cancel */
            }
        }
    }
    int close_error = bnx_close(to);
    return error != 0 ? error : close_error;
}

static int copy_file(struct job *job, const char *from_path, const char *to_path) {
    int from = bnx_open(from_path, O_RDONLY | O_CLOEXEC | (job->is_direct ? O_DIRECT : 0), 0);
    int error = from < 0 ? from : copy_opened(job, from, to_path);
    if (from >= 0) {
        (void)bnx_close(from);
    }
    if (error < 0) {
        job->at = from < 0 ? from_path : to_path;
    }
    return error;
}

/* ---- A tree ---- */

static int copy_link(const struct bnx_walk_entry *entry, const char *to_path) {
    char target[PATH_MAX];
    ssize_t length = bnx_readlinkat(entry->directory, entry->name, target, sizeof(target) - 1);
    if (length < 0) {
        return (int)length;
    }
    target[length] = '\0';
    return bnx_symlink(target, to_path);
}

/* Before what is in it. Its own mode may forbid to write into it; the owner's bits are added. */
static int copy_directory(struct job *job, struct bnx_walk *walk,
                          const struct bnx_walk_entry *entry, const char *to_path) {
    struct statx status;
    int error = bnx_stat(entry->path, &status);
    if (error != 0) {
        return error;
    }
    if (entry->depth > 0 && is_same(&status, &job->target)) {
        bnx_walk_prune(walk); /* the copy itself, within what is copied */
        return 0;
    }
    error = bnx_mkdir(to_path, (status.stx_mode & 0777) | S_IRWXU);
    if (error == -EEXIST) {
        error = 0; /* it is filled up */
    }
    return error == 0 && entry->depth == 0 ? bnx_stat(to_path, &job->target) : error;
}

/* Says what is wrong with a path while that is known: paths end with their entry. */
static int report(const struct job *job, int error) {
    if (error == -EEXIST) {
        fprintf(stderr, "%s: exists, or is what is copied\n", job->at);
    } else if (error < 0 && error != -ECANCELED) {
        fprintf(stderr, "%s: %s\n", job->at, strerror(-error));
    }
    return error;
}

/* Reports its errors itself. */
static int copy_entry(struct job *job, struct bnx_walk *walk, const struct bnx_walk_entry *entry) {
    char to_path[PATH_MAX];
    const char *within = entry->path + strlen(job->from);
    int length = snprintf(to_path, sizeof(to_path), "%s%s%s", job->to,
                          *within == '\0' || *within == '/' ? "" : "/", within);
    int error = entry->error;
    if (length < 0 || (size_t)length >= sizeof(to_path)) {
        error = -ENAMETOOLONG;
    } else if (error == 0 && entry->type == BNX_FILE_DIRECTORY) {
        error = copy_directory(job, walk, entry, to_path);
    } else if (error == 0 && entry->type == BNX_FILE_LINK) {
        error = copy_link(entry, to_path);
    } else if (error == 0 && entry->type == BNX_FILE_REGULAR) {
        return report(job, copy_file(job, entry->path, to_path)); /* either path may be it */
    } else if (error == 0) {
        fprintf(stderr, "%s: neither a file nor a directory nor a link: left out\n", entry->path);
    }
    job->at = entry->path;
    return report(job, error);
}

static int copy_tree(struct job *job) {
    struct bnx_walk walk;
    job->at = job->from;
    int error = bnx_walk_open(&walk, job->from, NULL);
    if (error != 0) {
        return report(job, error);
    }
    BNX_FOR_EACH_OR(value, &walk.iter, &error) {
        error = copy_entry(job, &walk, value);
        if (error < 0) {
            return error;
        }
    }
    job->at = job->from;
    return report(job, error);
}

/* ---- The program ---- */

/* Into a directory that is there a copy goes under the last part of its own name. */
static int complete_target(struct job *job, char *path, size_t bytes) {
    struct statx status;
    int error = bnx_stat(job->to, &status);
    if (error != 0 || !S_ISDIR(status.stx_mode)) {
        return error == -ENOENT ? 0 : error;
    }
    size_t end = strlen(job->from);
    while (end > 1 && job->from[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && job->from[begin - 1] != '/') {
        begin--;
    }
    int length = snprintf(path, bytes, "%s/%.*s", job->to, (int)(end - begin), job->from + begin);
    if (length < 0 || (size_t)length >= bytes) {
        return -ENAMETOOLONG;
    }
    job->to = path;
    return 0;
}

static int copy_all(void *arg) {
    struct job *job = arg;
    char path[PATH_MAX];
    struct statx source;
    job->at = job->from;
    int error = bnx_lstat(job->from, &source);
    if (error == 0 && S_ISLNK(source.stx_mode) && !job->is_recursive) {
        error = bnx_stat(job->from, &source);
    }
    if (error == 0 && S_ISDIR(source.stx_mode) && !job->is_recursive) {
        error = -EISDIR;
    }
    error = error == 0 ? complete_target(job, path, sizeof(path)) : error;
    if (error != 0) {
        return report(job, error) < 0 ? 1 : 0;
    }
    if (!job->is_quiet) {
        const struct bnx_progress_options options = {
            .label = "bytes", .total = S_ISREG(source.stx_mode) ? source.stx_size : 0};
        (void)bnx_progress_open(&job->progress, STDERR_FILENO, &options);
    }
    error = job->is_recursive ? copy_tree(job) : report(job, copy_file(job, job->from, job->to));
    bnx_progress_finish(&job->progress);
    return error == 0 ? 0 : error == -ECANCELED ? error : 1;
}

static void print_help(const char *program) {
    printf("%s: copies a file, or a tree\n\n%s [FLAG...] FROM TO\n\nFlags:\n"
           "  -r, --recursive\n      Copy directories with what is in them.\n"
           "  --direct\n      Read and write past the page cache (O_DIRECT).\n"
           "  --reads N\n      With --direct: how many at a time, 1 to 64 (8).\n"
           "  --workers N\n      Worker threads; 0: one per CPU (0).\n"
           "  -q, --quiet\n      No progress bar.\n"
           "  --help\n      Print this and exit.\n",
           program, program);
}

/* Returns a number from 0 to `most`, or -1 after a message. */
static long parse_count(const char *text, long least, long most) {
    char *end;
    long number = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < least || number > most) {
        fprintf(stderr, "not a number from %ld to %ld: %s\n", least, most, text);
        return -1;
    }
    return number;
}

int main(int argc, char **argv) {
    static const struct option flags[] = {{"recursive", no_argument, NULL, 'r'},
                                          {"direct", no_argument, NULL, 'd'},
                                          {"reads", required_argument, NULL, 'n'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    static struct job job = {.reads = 8};
    struct bnx_options options = {0};
    long count = 0;
    int flag;
    while ((flag = getopt_long(argc, argv, "rq", flags, NULL)) >= 0) { /* ends with argv */
        switch (flag) {
        case 'r':
            job.is_recursive = true;
            break;
        case 'd':
            job.is_direct = true;
            break;
        case 'q':
            job.is_quiet = true;
            break;
        case 'n':
            count = parse_count(optarg, 1, 64);
            job.reads = (uint32_t)count;
            break;
        case 'w':
            count = parse_count(optarg, 0, 1024);
            options.worker_count = (uint32_t)count;
            break;
        case 'h':
            print_help(argv[0]);
            return 0;
        default:
            count = -1;
            break;
        }
        if (count < 0) {
            return 2;
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, "%s: FROM and TO are needed; see --help\n", argv[0]);
        return 2;
    }
    job.from = argv[optind];
    job.to = argv[optind + 1];
    int status = bnx_main_with(&options, copy_all, &job);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
