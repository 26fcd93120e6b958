/* SPDX-License-Identifier: MIT */
/* Reads the command line of examples that take their time. */
#include "runtime/examples/seconds.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define SECONDS_MAX 1e6

/* A decimal number without a sign. */
static int number_parse(const char *text, double max, double *out_number) {
    char *end = NULL;
    double number = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(number <= max)) {
        return -EINVAL;
    }
    *out_number = number;
    return 0;
}

static void help_print(const char *program, const char *summary, const char *seconds) {
    printf("%s: %s\n\nFlags:\n"
           "  --seconds S\n      How long it takes; %s is the default, 0.1 will do.\n"
           "  --workers N\n      OS threads that run tasks; 0, the default, is all CPUs.\n"
           "  --help\n      Print this and exit.\n",
           program, summary, seconds);
}

int bnx_seconds_parse(int argc, char **argv, const char *summary,
                      struct bnx_seconds_options *options) {
    static const struct option flags[] = {
        {"seconds", required_argument, NULL, 's'},
        {"workers", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    double number = 0;
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) { /* ends: argc arguments */
        if (flag == 'h') {
            help_print(argv[0], summary, options->seconds);
            return 1;
        }
        if (flag == 's') {
            options->seconds = optarg;
        } else if (flag != 'w') {
            return -EINVAL; /* getopt_long has said why */
        } else if (number_parse(optarg, UINT32_MAX, &number) < 0) {
            fprintf(stderr, "%s: --workers: not a number: %s\n", argv[0], optarg);
            return -EINVAL;
        } else {
            options->worker_count = (uint32_t)number;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[optind]);
        return -EINVAL;
    }
    if (number_parse(options->seconds, SECONDS_MAX, &number) < 0) {
        fprintf(stderr, "%s: --seconds: not a number: %s\n", argv[0], options->seconds);
        return -EINVAL;
    }
    options->ns = (uint64_t)(number * 1e9);
    return 0;
}
