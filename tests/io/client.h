/* SPDX-License-Identifier: MIT */
/*
 * What the test clients share: plain sockets, poll, and an exit on the first thing that is wrong.
 *
 * They know nothing of bonxie, so that a bug on both sides cannot hide. Timeouts here are guards
 * against a hang, never the claim.
 */
#ifndef BNX_TESTS_IO_CLIENT_H
#define BNX_TESTS_IO_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GUARD_MS 30000 /* nothing at all for so long: the server hangs */

static inline void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "FAILED: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static inline struct sockaddr_in address_parse(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        fail("wanted ADDRESS:PORT");
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fail("no IPv4 address: %s", host);
    }
    return address;
}

/* Connects, blocking. Returns the fd or -errno. */
static inline int client_connect(const struct sockaddr_in *address) {
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static inline int must_connect(const struct sockaddr_in *address) {
    int fd = client_connect(address);
    if (fd < 0) {
        fail("connect: %s", strerror(-fd));
    }
    return fd;
}

static inline void must_send(int fd, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent < 0) {
            fail("send: %s", strerror(errno));
        }
        data += sent;
        bytes -= (size_t)sent;
    }
}

/* Receives once; waits until there is something. Returns the count, 0 at the end. */
static inline size_t must_receive(int fd, char *data, size_t bytes) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, GUARD_MS) <= 0) {
        fail("the server does not answer");
    }
    ssize_t received = recv(fd, data, bytes, 0);
    if (received < 0) {
        fail("receive: %s", strerror(errno));
    }
    return (size_t)received;
}

/* BONXIE_SCALE, 1 by default: below 1 in builds that are slow. */
static inline double test_scale(void) {
    const char *text = getenv("BONXIE_SCALE");
    double scale = text != NULL ? atof(text) : 1;
    return scale > 0 ? scale : 1;
}

/* BONXIE_SEED or a fixed one; printed, so that a failure replays. */
static inline uint64_t test_seed(void) {
    const char *text = getenv("BONXIE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : UINT64_C(0xb0521e);
    printf("BONXIE_SEED=0x%" PRIx64 "\n", seed);
    fflush(stdout);
    return seed;
}

/* SplitMix64. */
static inline uint64_t random_next(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t random_below(uint64_t *state, uint32_t bound) {
    return (uint32_t)(((random_next(state) >> 32) * bound) >> 32);
}

static inline uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* As many descriptors as the hard limit allows. */
static inline void descriptors_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#endif
