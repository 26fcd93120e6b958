/* SPDX-License-Identifier: MIT */
/* Rows of the matrix: messages, datagrams, descriptors over sockets, readiness. */
#include "tests/matrix/matrix.h"

#include <bonxie/datagram.h>
#include <bonxie/pass.h>
#include <bonxie/ready.h>

#include <poll.h>

/* ---- Between a pair: fds[0] receives, fds[1] sends ---- */

static void pair_prepare(struct matrix_place *place) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, place->fds), 0);
}

static void pair_end(struct matrix_place *place) {
    io_close_pair(place->fds);
}

static void write_four(struct matrix_place *place) {
    CHECK_EQ(bnx_os.write(place->fds[1], "four", 4), 4);
}

static void full_prepare(struct matrix_place *place) {
    pair_prepare(place);
    io_fill_up(place->fds[1]);
}

/* Reads all there is; the other side may be sending meanwhile. */
static void drain(struct matrix_place *place) {
    char data[4096];
    while (recv(place->fds[0], data, sizeof(data), MSG_DONTWAIT) > 0) { /* ends: it is finite */
    }
}

static int64_t recvmsg_some(struct matrix_place *place) {
    struct iovec room = {place->data, sizeof(place->data)};
    struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};
    return bnx_recvmsg(place->fds[0], &message, 0);
}

static int64_t sendmsg_some(struct matrix_place *place) {
    struct iovec part = {place->data, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return bnx_sendmsg(place->fds[1], &message, 0);
}

static int64_t recv_from(struct matrix_place *place) {
    return bnx_recv_from(place->fds[0], place->data, sizeof(place->data), &place->target);
}

static int64_t send_to_peer(struct matrix_place *place) {
    return bnx_send_to(place->fds[1], "four", 4, NULL);
}

static int64_t recv_batch(struct matrix_place *place) {
    struct bnx_datagram batch[2] = {{.data = place->data, .room = 8},
                                    {.data = place->data + 8, .room = 8}};
    return bnx_recv_batch(place->fds[0], batch, 2);
}

static int64_t send_batch(struct matrix_place *place) {
    struct bnx_datagram one = {.data = place->data, .bytes = 4};
    return bnx_send_batch(place->fds[1], &one, 1);
}

static int64_t recv_fds(struct matrix_place *place) {
    struct bnx_parcel parcel = {.data = place->data, .bytes = sizeof(place->data)};
    return bnx_recv_fds(place->fds[0], &parcel);
}

static int64_t send_fds(struct matrix_place *place) {
    struct bnx_parcel parcel = {.data = place->data, .bytes = 4, .fds = place->fds, .fd_count = 1};
    return bnx_send_fds(place->fds[1], &parcel);
}

/* ---- To a name whose queue is full ---- */

static void queue_prepare(struct matrix_place *place) {
    static uint32_t number; /* no two sockets of this process have a name in common */
    (void)snprintf(place->name, sizeof(place->name), "unix:@bonxie-queue-%d-%u", getpid(),
                   bnx_fetch_add_relaxed(&number, 1));
    CHECK_EQ(bnx_address_parse(place->name, &place->target), 0);
    place->fds[0] = bnx_datagram_open(place->name, NULL, NULL);
    place->fds[1] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(place->fds[0] >= 0 && place->fds[1] >= 0);
    while (sendto(place->fds[1], "x", 1, MSG_DONTWAIT, (void *)&place->target.storage,
                  place->target.bytes) == 1) { /* ends: the queue is finite */
    }
}

static int64_t send_to_name(struct matrix_place *place) {
    return bnx_send_to(place->fds[1], "four", 4, &place->target);
}

/* ---- Readiness ---- */

static int64_t wait_readable(struct matrix_place *place) {
    return bnx_fd_wait(place->fds[0], POLLIN);
}

/* clang-format off */
static const struct matrix_row rows[] = {
    {"bnx_recvmsg", "nothing there", pair_prepare, NULL, recvmsg_some, write_four, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_sendmsg", "no room", full_prepare, NULL, sendmsg_some, drain, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_recv_from", "nothing there", pair_prepare, NULL, recv_from, write_four, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send_to", "no room", full_prepare, NULL, send_to_peer, drain, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send_to", "a full queue", queue_prepare, NULL, send_to_name, drain, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_recv_batch", "nothing there", pair_prepare, NULL, recv_batch, write_four, pair_end,
     MATRIX_REFUSED_TASK(1), 0},
    {"bnx_send_batch", "no room", full_prepare, NULL, send_batch, drain, pair_end,
     MATRIX_REFUSED_TASK(1), 0},
    {"bnx_recv_fds", "nothing there", pair_prepare, NULL, recv_fds, write_four, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_send_fds", "no room", full_prepare, NULL, send_fds, drain, pair_end,
     MATRIX_REFUSED_TASK(4), 0},
    {"bnx_fd_wait", "nothing there", pair_prepare, NULL, wait_readable, write_four, pair_end,
     MATRIX_REFUSED(POLLIN), 0},
};
/* clang-format on */

const struct matrix_part matrix_socket = {rows, BNX_ARRAY_COUNT(rows)};
