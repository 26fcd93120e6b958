/* SPDX-License-Identifier: MIT */
/* The load generator's flags and its target. */
#include "bench/load/load.h"

#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static void usage_print(const char *program, FILE *to) {
    fprintf(
        to,
        "%s [FLAGS] TARGET: a load generator\n\n"
        "TARGET is [http://]ADDRESS:PORT[/PATH] or [http://]unix:SOCKET[:/PATH].\n\nFlags:\n"
        "  --connections N\n      Connections in all (64).\n"
        "  --threads N\n      Threads that share them (1).\n"
        "  --duration S\n      Seconds, with a fraction if wanted (10).\n"
        "  --requests N\n      Stop after so many answers instead.\n"
        "  --pipeline D\n      Requests in flight on each connection, at most (1).\n"
        "  --rate R\n      Open loop: R requests a second in all are due whatever the server "
        "does,\n"
        "      and their latency counts from then. Without it a closed loop.\n"
        "  --arrivals even|poisson\n      When they are due (even).\n"
        "  --seed N\n      Of --arrivals poisson (1).\n"
        "  --mode http|echo\n      What to send (http).\n"
        "  --bytes B\n      echo: of a message (64). http: content length wanted of each answer\n"
        "      (that of the first).\n"
        "  --server-pid P\n      Report the CPU time of this process and its children as well.\n"
        "  --json\n      Report as one JSON object.\n"
        "  --histogram\n      The same with the latency's buckets: [[us, count], ...].\n"
        "  --help\n      Print this and exit.\n"
        "Exits with 1 when any answer is wrong or missing; what an open loop has due and "
        "unanswered\n"
        "at its end is reported, and no error.\n",
        program);
}

/* Makes the request for a path. Returns 0, or -1 after a message. */
static int request_make(struct bnx_load_options *options, const char *path, const char *host) {
    int bytes = snprintf(options->request, sizeof(options->request),
                         "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
    if (bytes < 0 || (size_t)bytes >= sizeof(options->request)) {
        fprintf(stderr, "too long: %s\n", path);
        return -1;
    }
    options->request_bytes = (size_t)bytes;
    return 0;
}

/* Splits "SOCKET" or "SOCKET:/PATH". Returns 0, or -1 after a message. */
static int unix_target_parse(struct bnx_load_options *options, const char *target) {
    struct sockaddr_un *address = (struct sockaddr_un *)&options->address;
    const char *colon = strstr(target, ":/");
    size_t bytes = colon != NULL ? (size_t)(colon - target) : strlen(target);
    if (bytes == 0 || bytes >= sizeof(address->sun_path)) {
        fprintf(stderr, "not the path of a socket: %s\n", target);
        return -1;
    }
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, target, bytes); /* the rest is 0 */
    options->address_bytes = sizeof(*address);
    return request_make(options, colon != NULL ? colon + 1 : "/", "localhost");
}

/* Resolves a host, which may be in brackets. Returns 0, or -1 after a message. */
static int host_resolve(struct bnx_load_options *options, char *host, const char *port) {
    size_t bytes = strlen(host);
    if (bytes > 1 && host[0] == '[' && host[bytes - 1] == ']') {
        host[bytes - 1] = '\0';
        host++;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        return -1;
    }
    memcpy(&options->address, found->ai_addr, found->ai_addrlen);
    options->address_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* Reads the target, as the help describes it. Returns 0, or -1 after a message. */
static int target_parse(struct bnx_load_options *options, const char *target) {
    const char *at = strncmp(target, "http://", 7) == 0 ? target + 7 : target;
    if (strncmp(at, "unix:", 5) == 0) {
        return unix_target_parse(options, at + 5);
    }
    size_t authority_bytes = strcspn(at, "/");
    const char *path = at[authority_bytes] != '\0' ? at + authority_bytes : "/";
    char authority[256];
    if (authority_bytes >= sizeof(authority)) {
        fprintf(stderr, "address too long: %s\n", target);
        return -1;
    }
    memcpy(authority, at, authority_bytes);
    authority[authority_bytes] = '\0';
    if (request_make(options, path, authority) < 0) {
        return -1;
    }
    char *colon = strrchr(authority, ':');
    const char *port = "80";
    if (colon != NULL && strchr(colon, ']') == NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    return host_resolve(options, authority, port);
}

static bool number_parse(const char *text, double min, double max, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= min && *out <= max;
}

/* Takes one flag that has an argument. */
static bool flag_take(struct bnx_load_options *options, int flag, const char *text) {
    double number = 0;
    bool is_good = true;
    switch (flag) {
    case 'a':
        options->is_poisson = strcmp(text, "poisson") == 0;
        return options->is_poisson || strcmp(text, "even") == 0;
    case 'b':
        is_good = number_parse(text, 1, BNX_LOAD_BYTES_MAX, &number);
        options->message_bytes = (uint32_t)number;
        return is_good;
    case 'c':
        is_good = number_parse(text, 1, BNX_LOAD_CONNECTIONS_MAX, &number);
        options->connection_count = (uint32_t)number;
        return is_good;
    case 'd':
        return number_parse(text, 0.01, 1e6, &options->duration_s);
    case 'm':
        options->is_echo = strcmp(text, "echo") == 0;
        return options->is_echo || strcmp(text, "http") == 0;
    case 'n':
        is_good = number_parse(text, 1, 1e15, &number);
        options->request_count = (uint64_t)number;
        return is_good;
    case 'p':
        is_good = number_parse(text, 1, BNX_LOAD_PIPELINE_MAX, &number);
        options->pipeline = (uint32_t)number;
        return is_good;
    case 'P':
        is_good = number_parse(text, 1, 1e9, &number);
        options->server_pid = (int)number;
        return is_good;
    case 'r':
        return number_parse(text, 0.001, BNX_LOAD_RATE_MAX, &options->rate);
    case 's':
        is_good = number_parse(text, 0, 1e15, &number);
        options->seed = (uint64_t)number;
        return is_good;
    case 't':
        is_good = number_parse(text, 1, BNX_LOAD_THREADS_MAX, &number);
        options->thread_count = (uint32_t)number;
        return is_good;
    default:
        return false;
    }
}

/* No thread is without a connection, or without a request when they are counted. */
static void defaults_fill(struct bnx_load_options *options) {
    if (options->is_echo && options->message_bytes == 0) {
        options->message_bytes = 64;
    }
    if (options->thread_count > options->connection_count) {
        options->thread_count = options->connection_count;
    }
    if (options->request_count > 0 && options->thread_count > options->request_count) {
        options->thread_count = (uint32_t)options->request_count;
    }
}

int bnx_load_options_parse(int argc, char **argv, struct bnx_load_options *options) {
    static const struct option flags[] = {
        {"arrivals", required_argument, NULL, 'a'},
        {"bytes", required_argument, NULL, 'b'},
        {"connections", required_argument, NULL, 'c'},
        {"duration", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {"histogram", no_argument, NULL, 'H'},
        {"json", no_argument, NULL, 'j'},
        {"mode", required_argument, NULL, 'm'},
        {"pid", required_argument, NULL, 'P'}, /* the older name of the next but one */
        {"pipeline", required_argument, NULL, 'p'},
        {"server-pid", required_argument, NULL, 'P'},
        {"rate", required_argument, NULL, 'r'},
        {"requests", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    bool is_good = true;
    for (int flag = 0; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        if (flag == 'h') {
            usage_print(argv[0], stdout);
            return 1;
        }
        if (flag == 'j' || flag == 'H') {
            options->is_json = true;
            options->has_histogram = options->has_histogram || flag == 'H';
        } else {
            is_good = flag_take(options, flag, optarg) && is_good;
        }
    }
    if (!is_good || optind + 1 != argc) {
        usage_print(argv[0], stderr);
        return 2;
    }
    defaults_fill(options);
    return target_parse(options, argv[optind]) < 0 ? 2 : 0;
}
