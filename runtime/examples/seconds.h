/* SPDX-License-Identifier: MIT */
/* The command line of examples that take their time: --seconds S, --workers N and --help. */
#ifndef BNX_RUNTIME_EXAMPLES_SECONDS_H
#define BNX_RUNTIME_EXAMPLES_SECONDS_H

#include <stdint.h>

struct bnx_seconds_options {
    uint32_t worker_count; /* 0 = all CPUs */
    const char *seconds;   /* as given: what is printed; the default before the parse */
    uint64_t ns;           /* the same as a number */
};

/**
 * Reads argv.
 * @param summary one line for the help.
 * @param options holds the default of seconds; receives all.
 * Returns 0 to go on; 1 after the help (exit with 0); -EINVAL after a message on stderr (exit
 * with 2).
 */
int bnx_seconds_parse(int argc, char **argv, const char *summary,
                      struct bnx_seconds_options *options);

#endif
