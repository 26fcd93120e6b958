/* SPDX-License-Identifier: MIT */
/* What example programs share: command-line flags as a table, the main of small servers. */
#ifndef BNX_IO_EXAMPLES_OPTIONS_H
#define BNX_IO_EXAMPLES_OPTIONS_H

#include <bonxie/base.h>

#include <stdint.h>

/* One flag, "--name VALUE" or "--name=VALUE". Exactly one of text and count is set. */
struct bnx_flag {
    const char *name;     /* without the dashes */
    const char *argument; /* what the help calls its value; "ADDRESS:PORT" has to be one */
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

/** Reads a decimal number that is all of the text. Returns 0 or -EINVAL. */
int bnx_count_parse(const char *text, uint32_t *out_count);

/**
 * Prints "listening on ADDRESS:PORT" with the listener's real address, one flushed line on stdout.
 * Returns 0 or -errno (nothing printed).
 */
int bnx_announce(int listener);

/** Raises the limit of descriptors as far as this process may: a server's is its connections. */
void bnx_descriptors_raise(void);

/* A server whose flags are --listen and --workers alone. */
struct bnx_small_server {
    const char *summary; /* for the help */
    const char *address; /* where it listens by default */
    bnx_task_fn serve;   /* the root task; gets the address, a const char *; its result is main's */
};

/** The server's main. Returns the exit status. */
int bnx_small_server_main(int argc, char **argv, const struct bnx_small_server *server);

#endif
