/* SPDX-License-Identifier: MIT */
/* Command-line flags of the example programs: a table, and one function that reads it. */
#ifndef BNX_IO_EXAMPLES_OPTIONS_H
#define BNX_IO_EXAMPLES_OPTIONS_H

#include <stdint.h>

/* One flag, "--name VALUE" or "--name=VALUE". Exactly one of text and count is set. */
struct bnx_flag {
    const char *name;     /* without the dashes */
    const char *argument; /* what the help calls its value, "ADDRESS:PORT" */
    const char *help;     /* one line; says the default */
    const char **text;    /* receives a pointer into argv */
    uint32_t *count;      /* receives a decimal number */
};

/**
 * Reads argv by the table; "--help" is always there and prints summary and table on stdout.
 * @param flags ends with an entry whose name is NULL.
 * A flag that is not given leaves its variable as it is: that is the default.
 * Returns 0 to go on, 1 after the help (exit with 0), -EINVAL after a message on stderr (exit
 * with 2).
 */
int bnx_flags_parse(int argc, char **argv, const char *summary, const struct bnx_flag *flags);

/**
 * Prints "listening on ADDRESS:PORT" with the listener's real address, one flushed line on stdout.
 * Returns 0 or -errno (nothing printed).
 */
int bnx_announce(int listener);

#endif
