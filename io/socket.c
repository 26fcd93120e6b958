/* SPDX-License-Identifier: MIT */
/* Pairs, pipes and socket options (bonxie/socket.h): thin, and none of it waits. */
#include <bonxie/socket.h>

#include "io/hint.h"

#include "runtime/os.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int bnx_pipe(int out_fds[2]) {
    int fds[2];
    int error = bnx_os.pipe2(fds, O_CLOEXEC);
    if (error != 0) {
        return error;
    }
    for (int i = 0; i < 2; i++) {
        bnx_hint_clear(fds[i]);
        out_fds[i] = fds[i];
    }
    return 0;
}

int bnx_socketpair(int type, int out_fds[2]) {
    int fds[2];
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) {
        return -EINVAL;
    }
    int error = bnx_os.socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds);
    if (error != 0) {
        return error;
    }
    for (int i = 0; i < 2; i++) {
        bnx_hint_clear(fds[i]);
        bnx_hint_set(fds[i], BNX_HINT_SOCKET, true);
        out_fds[i] = fds[i];
    }
    return 0;
}

static int set_option(int fd, int level, int name, int value) {
    return bnx_os.setsockopt(fd, level, name, &value, sizeof(value));
}

int bnx_socket_nodelay(int fd, int is_on) {
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, is_on != 0);
}

int bnx_socket_keepalive(int fd, const struct bnx_keepalive *keepalive) {
    if (keepalive == NULL) {
        return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    }
    const struct {
        int name;
        int value;
    } times[] = {
        {TCP_KEEPIDLE, keepalive->idle_s},
        {TCP_KEEPINTVL, keepalive->interval_s},
        {TCP_KEEPCNT, keepalive->probes},
    };
    int error = 0;
    for (size_t i = 0; i < BNX_ARRAY_COUNT(times) && error == 0; i++) {
        if (times[i].value != 0) {
            error = set_option(fd, IPPROTO_TCP, times[i].name, times[i].value);
        }
    }
    return error != 0 ? error : set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

int bnx_socket_buffers(int fd, int recv_bytes, int send_bytes) {
    int error = recv_bytes != 0 ? set_option(fd, SOL_SOCKET, SO_RCVBUF, recv_bytes) : 0;
    if (error == 0 && send_bytes != 0) {
        error = set_option(fd, SOL_SOCKET, SO_SNDBUF, send_bytes);
    }
    return error;
}

int bnx_socket_linger(int fd, int seconds) {
    struct linger linger = {.l_onoff = seconds >= 0, .l_linger = seconds >= 0 ? seconds : 0};
    return bnx_os.setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

int bnx_socket_error(int fd) {
    int pending = 0;
    socklen_t bytes = sizeof(pending);
    int error = bnx_os.getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &bytes);
    return error != 0 ? error : -pending;
}
