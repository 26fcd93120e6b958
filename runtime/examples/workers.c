/* SPDX-License-Identifier: MIT */
/* Reads the command line of the example programs. */
#include "runtime/examples/workers.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static int count_parse(const char *text, uint32_t *out_count) {
    char *end = NULL;
    unsigned long count = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || count > UINT32_MAX) {
        return -EINVAL;
    }
    *out_count = (uint32_t)count;
    return 0;
}

static void help_print(const char *program, const char *summary) {
    printf("%s: %s\n\nFlags:\n"
           "  --workers N\n      OS threads that run tasks; 0, the default, is all CPUs.\n"
           "  --help\n      Print this and exit.\n",
           program, summary);
}

int bnx_workers_parse(int argc, char **argv, const char *summary, uint32_t *out_count) {
    static const struct option flags[] = {
        {"workers", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) { /* ends: argc arguments */
        if (flag == 'h') {
            help_print(argv[0], summary);
            return 1;
        }
        if (flag != 'w') {
            return -EINVAL; /* getopt_long has said why */
        }
        if (count_parse(optarg, out_count) < 0) {
            fprintf(stderr, "%s: --workers: not a number: %s\n", argv[0], optarg);
            return -EINVAL;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[optind]);
        return -EINVAL;
    }
    return 0;
}
