/* SPDX-License-Identifier: MIT */
/*
 * What the bare servers share: flags, the listening socket, and the answer to GET /plaintext.
 *
 * The answers are byte for byte as long as those of httpd, so that costs per request compare. The
 * parser looks for the end of the head and at the first bytes of the request line, no more: a limit
 * that no complete server goes below.
 */
#ifndef BNX_BENCH_PEERS_BARE_H
#define BNX_BENCH_PEERS_BARE_H

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BARE_BUFFER_BYTES 8192 /* per connection and direction */
#define BARE_ANSWER_BYTES 256  /* more than an answer has */

struct bare_options {
    const char *program;
    struct sockaddr_in address; /* --listen */
    bool is_http;               /* --mode */
    int thread_count;           /* --threads */
};

static inline void bare_usage(const char *program, FILE *to) {
    fprintf(to,
            "%s: a server without a library, for comparison\n\nFlags:\n"
            "  --mode echo|http\n      What to serve (echo).\n"
            "  --listen ADDRESS:PORT\n      IPv4 (127.0.0.1:25000, http 127.0.0.1:8080).\n"
            "  --threads N\n      Threads, each with a listener of its own (1).\n"
            "  --help\n      Print this and exit.\n",
            program);
}

static inline bool bare_address_parse(const char *text, struct sockaddr_in *out) {
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return colon[1] != '\0' && *end == '\0' && port <= 65535 &&
           inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

/* Exits with 0 after --help and with 2 on a bad flag. */
static inline struct bare_options bare_options_parse(int argc, char **argv, int thread_count_max) {
    static const struct option flags[] = {
        {"mode", required_argument, NULL, 'm'},
        {"listen", required_argument, NULL, 'l'},
        {"threads", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct bare_options options = {.program = argv[0], .thread_count = 1};
    const char *address = NULL;
    bool is_good = true;
    for (int flag = 0; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        if (flag == 'h') {
            bare_usage(argv[0], stdout);
            exit(0);
        } else if (flag == 'm') {
            options.is_http = strcmp(optarg, "http") == 0;
            is_good = is_good && (options.is_http || strcmp(optarg, "echo") == 0);
        } else if (flag == 'l') {
            address = optarg;
        } else if (flag == 't') {
            options.thread_count = atoi(optarg);
        } else {
            is_good = false;
        }
    }
    if (address == NULL) {
        address = options.is_http ? "127.0.0.1:8080" : "127.0.0.1:25000";
    }
    is_good = is_good && optind == argc && options.thread_count >= 1 &&
              options.thread_count <= thread_count_max &&
              bare_address_parse(address, &options.address);
    if (!is_good) {
        bare_usage(argv[0], stderr);
        exit(2);
    }
    return options;
}

static inline void bare_fail(const char *what) {
    perror(what);
    exit(1);
}

/* Opens a listener; with port 0 in options it puts the real one there, for the next thread's. */
static inline int bare_listen(struct bare_options *options, int socket_flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
    int one = 1;
    socklen_t bytes = sizeof(options->address);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        (options->thread_count > 1 &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0) ||
        bind(fd, (struct sockaddr *)&options->address, bytes) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&options->address, &bytes) < 0) {
        bare_fail("listen");
    }
    return fd;
}

static inline void bare_announce(const struct bare_options *options) {
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &options->address.sin_addr, host, sizeof(host));
    printf("listening on %s:%d\n", host, ntohs(options->address.sin_port));
    fflush(stdout);
}

static inline void bare_nodelay(int fd) {
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* The complete answer, rebuilt once a second. One per thread. */
struct bare_answer {
    time_t seconds;
    size_t bytes;
    char text[BARE_ANSWER_BYTES];
};

static inline void bare_answer_refresh(struct bare_answer *answer) {
    time_t now = time(NULL);
    if (now == answer->seconds) {
        return;
    }
    struct tm tm;
    char date[64];
    answer->seconds = now;
    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    answer->bytes = (size_t)snprintf(answer->text, sizeof(answer->text),
                                     "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/plain\r\n"
                                     "Content-Length: 13\r\n\r\nHello, World!",
                                     date);
}

/* The bytes of one connection. */
struct bare_buffers {
    size_t in_bytes;  /* received and not consumed */
    size_t out_at;    /* sent of the output */
    size_t out_bytes; /* to be sent */
    char in[BARE_BUFFER_BYTES];
    char out[BARE_BUFFER_BYTES];
};

/*
 * Answers every complete GET /plaintext of the input into the output while there is room.
 * Returns 1 when something is to be sent, 0 when more input is needed, -1 when something else came.
 */
static inline int bare_http_answer(struct bare_answer *answer, struct bare_buffers *buffers) {
    static const char wanted[] = "GET /plaintext ";
    size_t at = 0;
    bare_answer_refresh(answer);
    while (sizeof(buffers->out) - buffers->out_bytes >= answer->bytes) {
        const char *begin = buffers->in + at;
        const char *end = memmem(begin, buffers->in_bytes - at, "\r\n\r\n", 4);
        if (end == NULL) {
            break;
        }
        if (strncmp(begin, wanted, sizeof(wanted) - 1) != 0) {
            return -1;
        }
        at += (size_t)(end + 4 - begin);
        memcpy(buffers->out + buffers->out_bytes, answer->text, answer->bytes);
        buffers->out_bytes += answer->bytes;
    }
    buffers->in_bytes -= at;
    memmove(buffers->in, buffers->in + at, buffers->in_bytes);
    if (buffers->in_bytes == sizeof(buffers->in) && buffers->out_bytes == 0) {
        return -1; /* a head that does not fit */
    }
    return buffers->out_bytes > 0;
}

#endif
