/* SPDX-License-Identifier: MIT */
/* The flags of the example programs, their address, the main of the small servers. */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void help_print(const char *program, const char *summary, const struct bnx_flag *flags) {
    printf("%s: %s\n\nFlags:\n", program, summary);
    for (; flags->name != NULL; flags++) {
        printf("  --%s %s\n      %s\n", flags->name, flags->argument, flags->help);
    }
    printf("  --help\n      Print this and exit.\n");
}

int bnx_count_parse(const char *text, uint32_t *out_count) {
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > UINT32_MAX) {
        return -EINVAL;
    }
    *out_count = (uint32_t)number;
    return 0;
}

/* Finds the flag that an argument names; *out_value is what follows '=', or NULL. */
static const struct bnx_flag *flag_find(const char *argument, const struct bnx_flag *flags,
                                        const char **out_value) {
    if (strncmp(argument, "--", 2) != 0) {
        return NULL;
    }
    size_t name_bytes = strcspn(argument + 2, "=");
    for (; flags->name != NULL; flags++) {
        if (strlen(flags->name) == name_bytes &&
            memcmp(flags->name, argument + 2, name_bytes) == 0) {
            *out_value = argument[2 + name_bytes] == '=' ? argument + 3 + name_bytes : NULL;
            return flags;
        }
    }
    return NULL;
}

int bnx_flags_parse(int argc, char **argv, const char *summary, const struct bnx_flag *flags) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help_print(argv[0], summary, flags);
            return 1;
        }
        const char *value = NULL;
        const struct bnx_flag *flag = flag_find(argv[i], flags, &value);
        if (flag == NULL) {
            fprintf(stderr, "%s: unknown argument %s; see --help\n", argv[0], argv[i]);
            return -EINVAL;
        }
        if (value == NULL) {
            value = argv[++i]; /* argv[argc] is NULL */
        }
        if (value == NULL) {
            fprintf(stderr, "%s: --%s wants %s\n", argv[0], flag->name, flag->argument);
            return -EINVAL;
        }
        struct bnx_address address;
        if (strcmp(flag->argument, "ADDRESS:PORT") == 0 &&
            bnx_address_parse(value, &address) != 0) {
            fprintf(stderr,
                    "%s: --%s %s is no address; 127.0.0.1:8080, [::1]:8080, unix:/path are\n",
                    argv[0], flag->name, value);
            return -EINVAL;
        }
        if (flag->text != NULL) {
            *flag->text = value;
        } else if (bnx_count_parse(value, flag->count) < 0) {
            fprintf(stderr, "%s: --%s: not a number: %s\n", argv[0], flag->name, value);
            return -EINVAL;
        }
    }
    return 0;
}

int bnx_announce(int listener) {
    struct bnx_address address;
    char text[BNX_ADDRESS_TEXT_BYTES];
    int error = bnx_address_local(listener, &address);
    if (error == 0) {
        error = bnx_address_format(&address, text, sizeof(text));
    }
    if (error < 0) {
        return error;
    }
    printf("listening on %s\n", text);
    fflush(stdout);
    return 0;
}

void bnx_descriptors_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections, otherwise */
    }
}

int bnx_small_server_main(int argc, char **argv, const struct bnx_small_server *server) {
    const char *address = server->address;
    struct bnx_options options = {0};
    char listen_help[80];
    (void)snprintf(listen_help, sizeof(listen_help), "Where to listen (%s).", address);
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", listen_help, &address, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, server->summary, flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    status = bnx_main_with(&options, server->serve, (void *)(uintptr_t)address);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
