/* SPDX-License-Identifier: MIT */
/*
 * A UDP echo server: each datagram goes back to where it came from, a batch of them a system call.
 *
 *     build/release/bin/udp_echo
 *     printf hello | nc -u -w1 127.0.0.1 25001
 *
 * SIGINT or SIGTERM cancels the root scope: the receive says -ECANCELED, and the program ends.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/datagram.h>
#include <bonxie/file.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 32
#define ROOM_BYTES 65536 /* more than any UDP datagram has */

/* What cannot be sent, because its sender is gone for instance, is left out. */
static void send_back(int fd, const struct bnx_datagram *batch, int count) {
    for (int done = 0; done < count;) { /* ends: progress each time */
        int sent = bnx_send_batch(fd, batch + done, count - done);
        if (sent == -ECANCELED) {
            return;
        }
        done += sent > 0 ? sent : 1;
    }
}

static int echo_loop(int fd, char *rooms) {
    struct bnx_datagram batch[BATCH] = {0};
    for (size_t i = 0; i < BATCH; i++) {
        batch[i].data = rooms + i * ROOM_BYTES;
        batch[i].room = ROOM_BYTES;
    }
    for (;;) { /* ends with the scope */
        int count = bnx_recv_batch(fd, batch, BATCH);
        if (count == -ECANCELED) {
            return 0;
        }
        if (count == -EBADF || count == -ENOMEM) {
            return 1;
        }
        send_back(fd, batch, count); /* an error of the socket is that of an earlier datagram */
    }
}

static int serve(void *arg) {
    const char *address = arg;
    int fd = bnx_datagram_open(address, NULL, NULL);
    if (fd < 0) {
        fprintf(stderr, "cannot receive on %s: %s\n", address, strerror(-fd));
        return 1;
    }
    char *rooms = malloc((size_t)BATCH * ROOM_BYTES);
    int status = rooms != NULL && bnx_announce(fd) == 0 ? echo_loop(fd, rooms) : 1;
    free(rooms);
    bnx_close(fd);
    return status;
}

int main(int argc, char **argv) {
    const struct bnx_small_server server = {"sends each UDP datagram back", "127.0.0.1:25001",
                                            serve};
    return bnx_small_server_main(argc, argv, &server);
}
