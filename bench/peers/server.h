/* SPDX-License-Identifier: MIT */
/*
 * What the servers written in C and C++ share: flags, listening sockets, the answer to
 * GET /plaintext.
 *
 *   PROGRAM echo|http --listen ADDRESS:PORT|unix:PATH --workers N
 *
 * The answers are byte for byte as long as those of httpd, so that costs per request compare. The
 * parser looks for the end of the head and at the first bytes of the request line, no more: a limit
 * that no complete server goes below, and in favour of the libraries that come without one.
 */
#ifndef BNX_BENCH_PEERS_SERVER_H
#define BNX_BENCH_PEERS_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SERVER_BACKLOG 4096
#define SERVER_WORKERS_MAX 64
#define SERVER_ANSWER_BYTES 256  /* more than an answer has */
#define SERVER_BUFFER_BYTES 8192 /* per connection and direction */

struct server_options {
    const char *program;
    bool is_http;
    int worker_count; /* threads, each with a listener of its own */
    socklen_t address_bytes;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_un un;
    } address; /* --listen */
};

static inline void server_usage(const char *program, FILE *to) {
    fprintf(
        to,
        "%s echo|http [FLAGS]: a server to compare with\n\nFlags:\n"
        "  --listen ADDRESS:PORT|unix:PATH\n      IPv4 (127.0.0.1:25000, http "
        "127.0.0.1:8080).\n"
        "  --workers N\n      Threads, each with a listener of its own; 1 on a unix socket (1).\n"
        "  --help\n      Print this and exit.\n",
        program);
}

static inline void server_fail(const char *what) {
    perror(what);
    exit(1);
}

static inline bool server_address_parse(struct server_options *options, const char *text) {
    char host[64];
    const char *colon = strrchr(text, ':');
    memset(&options->address, 0, sizeof(options->address));
    if (strncmp(text, "unix:", 5) == 0) {
        size_t bytes = strlen(text + 5);
        options->address.un.sun_family = AF_UNIX;
        options->address_bytes = sizeof(options->address.un);
        memcpy(options->address.un.sun_path, text + 5,
               bytes < sizeof(options->address.un.sun_path) ? bytes : 0);
        return bytes > 0 && bytes < sizeof(options->address.un.sun_path) &&
               options->worker_count == 1;
    }
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    options->address.in.sin_family = AF_INET;
    options->address.in.sin_port = htons((uint16_t)port);
    options->address_bytes = sizeof(options->address.in);
    return colon[1] != '\0' && *end == '\0' && port <= 65535 &&
           inet_pton(AF_INET, host, &options->address.in.sin_addr) == 1;
}

/* As many connections as the hard limit allows; a peer that has gone is no signal. */
static inline void server_process_prepare(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Exits with 0 after --help and with 2 on a bad argument. */
static inline void server_options_parse(struct server_options *options, int argc, char **argv) {
    static const struct option flags[] = {
        {"listen", required_argument, NULL, 'l'},
        {"workers", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *mode = argc > 1 ? argv[1] : "";
    const char *address = NULL;
    bool is_good = true;
    memset(options, 0, sizeof(*options));
    options->program = argv[0];
    options->worker_count = 1;
    options->is_http = strcmp(mode, "http") == 0;
    for (int flag = 0; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        if (flag == 'h') {
            server_usage(argv[0], stdout);
            exit(0);
        } else if (flag == 'l') {
            address = optarg;
        } else if (flag == 'w') {
            options->worker_count = atoi(optarg);
        } else {
            is_good = false;
        }
    }
    if (address == NULL) {
        address = options->is_http ? "127.0.0.1:8080" : "127.0.0.1:25000";
    }
    is_good = is_good && optind + 1 == argc && (options->is_http || strcmp(mode, "echo") == 0) &&
              options->worker_count >= 1 && options->worker_count <= SERVER_WORKERS_MAX &&
              server_address_parse(options, address);
    if (!is_good) {
        server_usage(argv[0], stderr);
        exit(2);
    }
    server_process_prepare();
}

/*
 * Opens a listener, by SO_REUSEPORT beside the other workers'. With port 0 it puts the real one
 * into the options, for the next worker's. A unix socket of an earlier run is removed.
 */
static inline int server_listen(struct server_options *options, int socket_flags) {
    bool is_unix = options->address.any.sa_family == AF_UNIX;
    int fd = socket(options->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
    int one = 1;
    socklen_t bytes = sizeof(options->address);
    if (is_unix) {
        (void)unlink(options->address.un.sun_path);
    }
    if (fd < 0 || (!is_unix && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0) ||
        (options->worker_count > 1 &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0) ||
        bind(fd, &options->address.any, options->address_bytes) < 0 ||
        listen(fd, SERVER_BACKLOG) < 0 ||
        (!is_unix && getsockname(fd, &options->address.any, &bytes) < 0)) {
        server_fail("listen");
    }
    return fd;
}

/* Says that all listeners are open. */
static inline void server_announce(const struct server_options *options) {
    char host[INET_ADDRSTRLEN];
    if (options->address.any.sa_family == AF_UNIX) {
        printf("listening on unix:%s\n", options->address.un.sun_path);
    } else {
        inet_ntop(AF_INET, &options->address.in.sin_addr, host, sizeof(host));
        printf("listening on %s:%d\n", host, ntohs(options->address.in.sin_port));
    }
    fflush(stdout);
}

/* Of a TCP connection; it means nothing to others. */
static inline void server_nodelay(int fd) {
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* The complete answer, rebuilt once a second. One per thread. */
struct server_answer {
    time_t seconds;
    size_t bytes;
    char text[SERVER_ANSWER_BYTES];
};

static inline void server_answer_refresh(struct server_answer *answer) {
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
struct server_buffers {
    size_t in_bytes;  /* received and not consumed */
    size_t out_at;    /* sent of the output */
    size_t out_bytes; /* to be sent */
    char in[SERVER_BUFFER_BYTES];
    char out[SERVER_BUFFER_BYTES];
};

/*
 * Answers every complete GET /plaintext of the input into the output while there is room.
 * Returns 1 when something is to be sent, 0 when more input is needed, -1 when something else came.
 */
static inline int server_http_answer(struct server_answer *answer, struct server_buffers *buffers) {
    static const char wanted[] = "GET /plaintext ";
    size_t at = 0;
    server_answer_refresh(answer);
    while (sizeof(buffers->out) - buffers->out_bytes >= answer->bytes) {
        const char *begin = buffers->in + at;
        const char *end = (const char *)memmem(begin, buffers->in_bytes - at, "\r\n\r\n", 4);
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
