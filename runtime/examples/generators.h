/* SPDX-License-Identifier: MIT */
/* What the generator examples share: their command line, and a generator or the end. */
#ifndef BNX_RUNTIME_EXAMPLES_GENERATORS_H
#define BNX_RUNTIME_EXAMPLES_GENERATORS_H

#include <bonxie/bonxie.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Without arguments returns. --help prints what the program shows and exits with 0; else 2. */
static inline void bnx_help(int argc, char **argv, const char *summary) {
    if (argc == 1) {
        return;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        printf("%s: %s\n\nFlags:\n  --help\n      Print this and exit.\n", argv[0], summary);
        exit(0);
    }
    fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[1]);
    exit(2);
}

/** Ends the program where a call has failed. */
static inline void bnx_must(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(-result));
        exit(1);
    }
}

/** Creates a generator with default options. */
static inline struct bnx_gen *bnx_gen_make(bnx_gen_fn fn, void *arg) {
    struct bnx_gen *gen = NULL;
    bnx_must(bnx_gen_create(&gen, fn, arg, NULL), "bnx_gen_create");
    return gen;
}

#endif
