/* SPDX-License-Identifier: MIT */
/* Socket addresses as text and back (bonxie/net.h). */
#include <bonxie/net.h>

#include "runtime/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"

static int parse_unix(const char *path, struct bnx_address *out) {
    struct sockaddr_un *address = (struct sockaddr_un *)(void *)&out->storage;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(address->sun_path)) {
        return -EINVAL;
    }
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    size_t bytes = offsetof(struct sockaddr_un, sun_path) + length;
    if (path[0] == '@') {
        address->sun_path[0] = '\0'; /* an abstract name: its length counts, no NUL ends it */
    } else {
        bytes++;
    }
    out->bytes = (socklen_t)bytes;
    return 0;
}

/* 0 to 65535, digits only. */
static int parse_port(const char *text) {
    int port = 0;
    if (*text == '\0') {
        return -1;
    }
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '9') {
            return -1;
        }
        port = port * 10 + (*at - '0');
        if (port > UINT16_MAX) {
            return -1;
        }
    }
    return port;
}

static int parse_ipv6(const char *text, struct bnx_address *out) {
    const char *end = strchr(text, ']');
    char host[INET6_ADDRSTRLEN];
    if (end == NULL || end[1] != ':' || (size_t)(end - text - 1) >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, text + 1, (size_t)(end - text - 1));
    host[end - text - 1] = '\0';
    int port = parse_port(end + 2);
    struct sockaddr_in6 *address = (struct sockaddr_in6 *)(void *)&out->storage;
    if (port < 0 || inet_pton(AF_INET6, host, &address->sin6_addr) != 1) {
        return -EINVAL;
    }
    address->sin6_family = AF_INET6;
    address->sin6_port = htons((uint16_t)port);
    out->bytes = sizeof(*address);
    return 0;
}

static int parse_ipv4(const char *text, struct bnx_address *out) {
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN];
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return -EINVAL;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    int port = parse_port(colon + 1);
    struct sockaddr_in *address = (struct sockaddr_in *)(void *)&out->storage;
    if (host[0] == '\0') {
        address->sin_addr.s_addr = htonl(INADDR_ANY);
    } else if (inet_pton(AF_INET, host, &address->sin_addr) != 1) {
        return -EINVAL;
    }
    if (port < 0) {
        return -EINVAL;
    }
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    out->bytes = sizeof(*address);
    return 0;
}

int bnx_address_parse(const char *text, struct bnx_address *out) {
    if (text == NULL || out == NULL) {
        return -EINVAL;
    }
    struct bnx_address parsed;
    memset(&parsed, 0, sizeof(parsed));
    int error;
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        error = parse_unix(text + strlen(UNIX_PREFIX), &parsed);
    } else if (text[0] == '[') {
        error = parse_ipv6(text, &parsed);
    } else {
        error = parse_ipv4(text, &parsed);
    }
    if (error == 0) {
        *out = parsed;
    }
    return error;
}

static int format_unix(const struct bnx_address *address, char *out, size_t out_bytes) {
    const struct sockaddr_un *unix_address = (const void *)&address->storage;
    size_t name_bytes = address->bytes - offsetof(struct sockaddr_un, sun_path);
    if (address->bytes <= offsetof(struct sockaddr_un, sun_path)) {
        return snprintf(out, out_bytes, UNIX_PREFIX); /* an unnamed socket */
    }
    const char *path = unix_address->sun_path;
    if (path[0] == '\0') {
        return snprintf(out, out_bytes, UNIX_PREFIX "@%.*s", (int)name_bytes - 1, path + 1);
    }
    return snprintf(out, out_bytes, UNIX_PREFIX "%.*s", (int)strnlen(path, name_bytes), path);
}

int bnx_address_format(const struct bnx_address *address, char *out, size_t out_bytes) {
    char host[INET6_ADDRSTRLEN] = "";
    int length = -1;
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *ipv4 = (const void *)&address->storage;
        (void)inet_ntop(AF_INET, &ipv4->sin_addr, host, sizeof(host));
        length = snprintf(out, out_bytes, "%s:%u", host, ntohs(ipv4->sin_port));
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *ipv6 = (const void *)&address->storage;
        (void)inet_ntop(AF_INET6, &ipv6->sin6_addr, host, sizeof(host));
        length = snprintf(out, out_bytes, "[%s]:%u", host, ntohs(ipv6->sin6_port));
    } else if (address->storage.ss_family == AF_UNIX) {
        length = format_unix(address, out, out_bytes);
    }
    if (length < 0) {
        return -EINVAL;
    }
    return (size_t)length < out_bytes ? length : -ENOSPC;
}

int bnx_address_local(int fd, struct bnx_address *out) {
    struct bnx_address local;
    memset(&local, 0, sizeof(local));
    local.bytes = sizeof(local.storage);
    int error = bnx_os.getsockname(fd, (struct sockaddr *)&local.storage, &local.bytes);
    if (error == 0) {
        *out = local;
    }
    return error;
}
