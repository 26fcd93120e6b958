/* SPDX-License-Identifier: MIT */
/* Finds files by their names, and says which of their lines match, as grep does. */
#include "io/examples/grep.h"

#include "io/examples/options.h"
#include "io/examples/unpack.h"

#include <bonxie/bonxie.h>
#include <bonxie/dir.h>

#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAILED 2 /* the program's exit status, as grep's */

/* ---- Reports ---- */

static bool is_cancel(int error) {
    return error == -ECANCELED || error == -ETIMEDOUT;
}

int bnx_grep_skip(struct bnx_grep *grep, const char *path, int error) {
    if (is_cancel(error)) {
        return error;
    }
    const char *reason = error == -EBADMSG    ? "damaged, or not what its name says"
                         : error == -EMSGSIZE ? "a line is too long"
                                              : strerror(-error);
    fprintf(stderr, "%s: %s\n", path, reason);
    grep->has_failed = true;
    return 0;
}

/* ---- Finding ---- */

static int append_path(struct bnx_grep *grep, const char *path) {
    size_t count = grep->path_count;
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        char **paths = reallocarray(grep->paths, count == 0 ? 1 : 2 * count, sizeof(*paths));
        if (paths == NULL) {
            return -ENOMEM;
        }
        grep->paths = paths;
    }
    grep->paths[count] = strdup(path);
    if (grep->paths[count] == NULL) {
        return -ENOMEM;
    }
    grep->path_count++;
    return 0;
}

static int consider(struct bnx_grep *grep, const struct bnx_walk_entry *entry) {
    if (entry->error != 0) {
        return bnx_grep_skip(grep, entry->path, entry->error);
    }
    if (entry->type != BNX_FILE_REGULAR &&
        entry->type != BNX_FILE_LINK) { /* to nowhere: an error */
        return 0;
    }
    const char *slash = strrchr(entry->path, '/');
    const char *name = slash != NULL ? slash + 1 : entry->path;
    return fnmatch(grep->glob, name, 0) == 0 ? append_path(grep, entry->path) : 0;
}

static int find_below(struct bnx_grep *grep, const char *place) {
    const struct bnx_walk_options options = {.flags = BNX_WALK_FOLLOW,
                                             .depth_max = grep->is_recursive ? 0 : 1};
    struct bnx_walk walk;
    int error = bnx_walk_open(&walk, place, &options);
    if (error < 0) {
        return bnx_grep_skip(grep, place, error);
    }
    BNX_FOR_EACH_OR(entry, &walk.iter, &error) {
        int result = consider(grep, entry);
        if (result < 0) {
            return result;
        }
    }
    return error;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A directory has no order of its own, so all are found before the first is opened. */
static int find_files(struct bnx_grep *grep) {
    for (char **place = grep->places; *place != NULL; place++) {
        int error = find_below(grep, *place);
        if (error < 0) {
            return error;
        }
    }
    if (grep->path_count > 0) {
        qsort(grep->paths, grep->path_count, sizeof(grep->paths[0]), compare_paths);
    }
    return 0;
}

static void forget_files(struct bnx_grep *grep) {
    for (size_t i = 0; i < grep->path_count; i++) {
        free(grep->paths[i]);
    }
    free(grep->paths);
}

/* ---- Lines ---- */

int bnx_grep_matches(const struct bnx_grep *grep, const struct bnx_grep_line *line) {
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)line->bytes};
    return regexec(&grep->pattern, line->text, 1, &range, REG_STARTEND) == 0;
}

int bnx_grep_print(struct bnx_grep *grep, const struct bnx_grep_line *line) {
    const struct iovec pieces[] = {
        {(void *)(uintptr_t)line->path, strlen(line->path)},
        {(void *)(uintptr_t) ": ", 2},
        {(void *)(uintptr_t)line->text, line->bytes},
        {(void *)(uintptr_t) "\n", 1},
    };
    ssize_t written = bnx_stream_write_pieces(grep->output, pieces, 4);
    grep->has_printed = true;
    /* Fewer bytes than all: the next call, or the close, says why. */
    return written < 0 ? (int)written : 0;
}

/* ---- The program ---- */

struct program {
    const char *name;
    struct bnx_grep grep;
    int (*search)(struct bnx_grep *grep);
    bool is_unread; /* nobody reads the output any more */
};

/* The output's buffer is written when it is full, and at the end. */
static int search_files(struct program *program) {
    struct bnx_grep *grep = &program->grep;
    const struct bnx_stream_options options = {
        .keep_open = 1, .write_bytes = isatty(STDOUT_FILENO) == 1 ? 1 : 0}; /* shown at once */
    int error = bnx_stream_open(STDOUT_FILENO, &options, &grep->output);
    if (error < 0) {
        return error;
    }
    error = program->search(grep);
    int close_error = bnx_stream_close(grep->output);
    return error < 0 ? error : close_error;
}

static int run(void *arg) {
    struct program *program = arg;
    struct bnx_grep *grep = &program->grep;
    int error = find_files(grep);
    if (error == 0) {
        error = search_files(program);
    }
    forget_files(grep);
    program->is_unread = error == -EPIPE;
    if (error < 0) {
        if (!is_cancel(error) && !program->is_unread) {
            fprintf(stderr, "%s: %s\n", program->name, strerror(-error));
        }
        return is_cancel(error) ? error : FAILED;
    }
    return grep->has_failed ? FAILED : grep->has_printed ? 0 : 1;
}

/* As grep ends then: by the signal, which bnx_main has held back; where whoever has started us
 * ignores it, with a message. */
static void end_unread(const char *name) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(SIGPIPE);
    fprintf(stderr, "%s: %s\n", name, strerror(EPIPE));
}

static void print_help(const char *program, const char *summary) {
    printf(
        "%s: %s\n\n%s [FLAG...] PATTERN [GLOB [PLACE...]]\n\n"
        "Prints \"file: line\" for each line with the PATTERN, an extended regular expression, of\n"
        "the files whose name is as GLOB says (*), in the directory PLACE (.). Files that end in\n"
        ".gz and .bz2 are unpacked. Links are followed.\n\nFlags:\n"
        "  -r, --recursive\n      Look also into directories below.\n"
        "  --from N\n      Print no match before the N-th (1).\n"
        "  --to N\n      Print none after the N-th: stop there.\n"
        "  --workers N\n      Worker threads; 0: one per CPU (0).\n"
        "  --help\n      Print this and exit.\n\n"
        "Exits with 0 if it has printed a line, with 1 if none, with 2 if anything failed. Where\n"
        "nobody reads them any more, as behind `| head`, it ends by SIGPIPE.\n",
        program, summary, program);
}

static int set_number(const char *program, const char *text, uint32_t least, uint32_t *out_number) {
    if (bnx_count_parse(text, out_number) < 0 || *out_number < least) {
        fprintf(stderr, "%s: not a number from %u on: %s\n", program, (unsigned)least, text);
        return -EINVAL;
    }
    return 0;
}

/* Returns 0; 1 after the help; -EINVAL after a message. */
static int read_flags(int argc, char **argv, struct bnx_grep *grep, uint32_t *out_workers) {
    static const struct option flags[] = {
        {"recursive", no_argument, NULL, 'r'}, {"from", required_argument, NULL, 'f'},
        {"to", required_argument, NULL, 't'},  {"workers", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
    int error = 0;
    int flag;
    while (error == 0 && (flag = getopt_long(argc, argv, "r", flags, NULL)) >= 0) { /* ends: argv */
        switch (flag) {
        case 'r':
            grep->is_recursive = true;
            break;
        case 'f':
            error = set_number(argv[0], optarg, 1, &grep->first);
            break;
        case 't':
            error = set_number(argv[0], optarg, 1, &grep->last);
            break;
        case 'w':
            error = set_number(argv[0], optarg, 0, out_workers);
            break;
        case 'h':
            return 1;
        default:
            return -EINVAL; /* getopt_long has said why */
        }
    }
    return error;
}

/* What stands behind the flags. Returns 0, or -EINVAL after a message. */
static int read_words(const char *program, char **words, struct bnx_grep *grep) {
    static char here[] = ".";
    static char *places[] = {here, NULL};
    if (words[0] == NULL || grep->first > grep->last) {
        fprintf(stderr, "%s: %s; see --help\n", program,
                words[0] == NULL ? "a PATTERN is needed" : "--to is before --from");
        return -EINVAL;
    }
    int error = regcomp(&grep->pattern, words[0], REG_EXTENDED);
    if (error != 0) {
        char reason[128];
        (void)regerror(error, &grep->pattern, reason, sizeof(reason));
        fprintf(stderr, "%s: %s: %s\n", program, words[0], reason);
        return -EINVAL;
    }
    grep->glob = words[1] != NULL ? words[1] : "*";
    grep->places = words[1] != NULL && words[2] != NULL ? words + 2 : places;
    return 0;
}

int bnx_grep_main(int argc, char **argv, const char *summary,
                  int (*search)(struct bnx_grep *grep)) {
    struct program program = {
        .name = argv[0], .grep = {.first = 1, .last = UINT32_MAX}, .search = search};
    struct bnx_options options = {0};
    int status = read_flags(argc, argv, &program.grep, &options.worker_count);
    if (status > 0) {
        print_help(argv[0], summary);
        return 0;
    }
    if (status < 0 || read_words(argv[0], argv + optind, &program.grep) < 0) {
        return FAILED;
    }
    status = bnx_main_with(&options, run, &program);
    regfree(&program.grep.pattern);
    if (program.is_unread) {
        end_unread(argv[0]);
    }
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return FAILED;
    }
    return status;
}
