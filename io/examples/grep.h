/* SPDX-License-Identifier: MIT */
/* What grep_pull and grep_push share: the command line, finding files, matching, printing. */
#ifndef BNX_IO_EXAMPLES_GREP_H
#define BNX_IO_EXAMPLES_GREP_H

#include <bonxie/stream.h>

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One search. One task works on it. */
struct bnx_grep {
    regex_t pattern;   /* of lines; POSIX extended */
    const char *glob;  /* of the files' names */
    char **places;     /* where to look for them; ends with NULL */
    bool is_recursive; /* also in directories beneath */
    uint32_t first;    /* of the matches that are printed, from 1 */
    uint32_t last;     /* of these; UINT32_MAX: none is the last */
    char **paths;      /* of the files that were found, in order of their bytes */
    size_t path_count; /* of these */
    bool has_failed;   /* something was reported */
    bool has_printed;  /* a line at least */
    struct bnx_stream *output;
};

/* A file that is open, with its lines to be read. */
struct bnx_grep_file {
    const char *path;
    struct bnx_stream *stream;
};

/* A line, valid until its file's next. */
struct bnx_grep_line {
    const char *path;
    const char *text; /* without its end */
    size_t bytes;     /* of the text, which may hold NULs */
};

/**
 * What to do about a file that cannot be read, or not further: reports it on stderr.
 * Returns 0: go on with the next one; error, when that is a cancel: the search ends.
 */
int bnx_grep_skip(struct bnx_grep *grep, const char *path, int error);

/** Returns 1 if the pattern is somewhere in the line, else 0. */
int bnx_grep_matches(const struct bnx_grep *grep, const struct bnx_grep_line *line);

/** Prints "path: line". Returns 0 or -errno. Context: task, suspends when nobody reads them. */
int bnx_grep_print(struct bnx_grep *grep, const struct bnx_grep_line *line);

/**
 * The program: reads the command line, finds the files, and lets `search` print the matches.
 * @param summary what the program shows, for its help.
 * @param search returns 0, or -errno that ends the program.
 * Returns main's result.
 */
int bnx_grep_main(int argc, char **argv, const char *summary, int (*search)(struct bnx_grep *grep));

#endif
