/* SPDX-License-Identifier: MIT */
/* The command line that both example programs have: --workers N and --help. */
#ifndef BNX_RUNTIME_EXAMPLES_WORKERS_H
#define BNX_RUNTIME_EXAMPLES_WORKERS_H

#include <stdint.h>

/**
 * Reads argv.
 * @param summary one line for the help.
 * @param out_count receives N; untouched without the flag.
 * Returns 0 to go on; 1 after the help (exit with 0); -EINVAL after a message on stderr (exit
 * with 2).
 */
int bnx_workers_parse(int argc, char **argv, const char *summary, uint32_t *out_count);

#endif
