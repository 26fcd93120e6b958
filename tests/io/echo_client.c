/* SPDX-License-Identifier: MIT */
/*
 * echo_client ADDRESS:PORT [PID]
 *
 * Claim: an echo server gives every byte back, and what killed clients held is released.
 * Method: 64 MiB (times BONXIE_SCALE) of seeded bytes go through 1, 64 and 1000 connections; what
 * comes back is hashed and counted against what was sent; then our side is shut down and the server
 * must end its side as well. With PID: children that hold 200 busy connections are killed by
 * SIGKILL; afterwards the server must come back to the descriptors it had, and to its memory after
 * the first such round (only where BONXIE_SCALE is not below 1: sanitizers keep freed memory).
 */
#include "tests/io/client.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

#define TOTAL_BYTES (64.0 * 1024 * 1024)
#define PIECE_BYTES 16384
#define WINDOW_BYTES 131072 /* sent and not yet back, per connection: both sides keep moving */
#define FNV_START UINT64_C(0xcbf29ce484222325)
#define KILL_ROUNDS 5
#define KILL_CONNECTIONS 200
#define RSS_SLACK_KB 2048 /* what an allocator may keep of a round more than of the first */

struct stream {
    int fd;
    bool is_shut;        /* our side is closed */
    uint64_t left_bytes; /* still to be made */
    uint64_t sent_bytes;
    uint64_t received_bytes;
    uint64_t random; /* state of the generator */
    uint64_t sent_hash;
    uint64_t received_hash;
    uint32_t piece_at; /* sent of the piece */
    uint32_t piece_bytes;
    char piece[PIECE_BYTES];
};

/* Of 8 bytes a step would depend on how the stream is cut; a byte a step does not. */
static uint64_t hash(uint64_t state, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        state = (state ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    }
    return state;
}

static void piece_make(struct stream *stream) {
    uint64_t bytes = stream->left_bytes < PIECE_BYTES ? stream->left_bytes : PIECE_BYTES;
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = random_next(&stream->random);
        memcpy(stream->piece + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
    stream->piece_at = 0;
    stream->piece_bytes = (uint32_t)bytes;
    stream->left_bytes -= bytes;
}

static bool wants_to_send(const struct stream *stream) {
    return (stream->left_bytes > 0 || stream->piece_at < stream->piece_bytes) &&
           stream->sent_bytes - stream->received_bytes < WINDOW_BYTES;
}

static void stream_send(struct stream *stream) {
    if (stream->piece_at == stream->piece_bytes) {
        piece_make(stream);
    }
    const char *data = stream->piece + stream->piece_at;
    ssize_t bytes =
        send(stream->fd, data, stream->piece_bytes - stream->piece_at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (bytes < 0 && errno != EAGAIN) {
        fail("send: %s", strerror(errno));
    }
    if (bytes > 0) {
        stream->sent_hash = hash(stream->sent_hash, data, (size_t)bytes);
        stream->piece_at += (uint32_t)bytes;
        stream->sent_bytes += (uint64_t)bytes;
    }
    if (stream->left_bytes == 0 && stream->piece_at == stream->piece_bytes) {
        stream->is_shut = true;
        if (shutdown(stream->fd, SHUT_WR) < 0) {
            fail("shutdown: %s", strerror(errno));
        }
    }
}

/* Returns false at the server's end. */
static bool stream_receive(struct stream *stream) {
    static char data[65536];
    ssize_t bytes = recv(stream->fd, data, sizeof(data), MSG_DONTWAIT);
    if (bytes < 0) {
        if (errno != EAGAIN) {
            fail("receive: %s", strerror(errno));
        }
        return true;
    }
    stream->received_hash = hash(stream->received_hash, data, (size_t)bytes);
    stream->received_bytes += (uint64_t)bytes;
    if (stream->received_bytes > stream->sent_bytes) {
        fail("more came back than was sent");
    }
    return bytes > 0;
}

static void stream_end(struct stream *stream) {
    if (!stream->is_shut || stream->received_bytes != stream->sent_bytes) {
        fail("closed after %" PRIu64 " of %" PRIu64 " bytes", stream->received_bytes,
             stream->sent_bytes);
    }
    if (stream->received_hash != stream->sent_hash) {
        fail("other bytes came back");
    }
    close(stream->fd);
    stream->fd = -1;
}

static void streams_run(const struct sockaddr_in *address, size_t count, uint64_t seed) {
    struct stream *streams = calloc(count, sizeof(*streams));
    struct pollfd *polls = calloc(count, sizeof(*polls));
    if (streams == NULL || polls == NULL) {
        fail("out of memory");
    }
    uint64_t each = (uint64_t)(TOTAL_BYTES * test_scale()) / count + 1;
    for (size_t i = 0; i < count; i++) {
        streams[i].fd = must_connect(address);
        streams[i].left_bytes = each;
        streams[i].random = seed + i;
        streams[i].sent_hash = FNV_START;
        streams[i].received_hash = FNV_START;
    }
    for (size_t left = count; left > 0;) {
        for (size_t i = 0; i < count; i++) {
            short events = wants_to_send(&streams[i]) ? POLLIN | POLLOUT : POLLIN;
            polls[i] = (struct pollfd){.fd = streams[i].fd, .events = events};
        }
        if (poll(polls, (nfds_t)count, GUARD_MS) <= 0) {
            fail("the server does not answer");
        }
        for (size_t i = 0; i < count; i++) {
            if ((polls[i].revents & POLLOUT) != 0) {
                stream_send(&streams[i]);
            }
            if ((polls[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0 &&
                !stream_receive(&streams[i])) {
                stream_end(&streams[i]);
                left--;
            }
        }
    }
    free(streams);
    free(polls);
    printf("%zu connections, %" PRIu64 " bytes each: the same bytes\n", count, each);
}

static size_t descriptor_count(int pid) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        fail("%s: %s", path, strerror(errno));
    }
    size_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static long rss_kb(int pid) {
    char path[64];
    char line[256];
    long kb = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kb) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    if (kb < 0) {
        fail("%s cannot be read", path);
    }
    return kb;
}

/* The child: holds connections whose echoes it has seen and does not read on, until it is
 * killed. */
static void __attribute__((noreturn)) victim_run(const struct sockaddr_in *address, int ready_fd) {
    static char data[PIECE_BYTES];
    for (int i = 0; i < KILL_CONNECTIONS; i++) {
        int fd = must_connect(address);
        must_send(fd, data, 64);
        (void)must_receive(fd, data, sizeof(data));
        /* Half of them leave the server with an echo that nobody takes. */
        while (i % 2 == 0 && send(fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
        }
    }
    if (write(ready_fd, "r", 1) != 1) {
        _exit(1);
    }
    while (true) { /* until SIGKILL */
        pause();
    }
}

static void kill_round(const struct sockaddr_in *address, int server_pid, size_t descriptors) {
    int ready[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) < 0) {
        fail("pipe: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        victim_run(address, ready[1]);
    }
    close(ready[1]);
    if (child < 0 || read(ready[0], &byte, 1) != 1) {
        fail("the clients to be killed did not start");
    }
    close(ready[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    /* Nobody tells us when the server has closed: look until it has. */
    for (uint64_t start_ms = now_ms(); descriptor_count(server_pid) != descriptors; usleep(1000)) {
        if (now_ms() - start_ms > GUARD_MS) {
            fail("the server has %zu descriptors, before the killed clients it had %zu",
                 descriptor_count(server_pid), descriptors);
        }
    }
}

static void kills_run(const struct sockaddr_in *address, int server_pid, size_t descriptors) {
    kill_round(address, server_pid, descriptors);
    long before_kb = rss_kb(server_pid);
    for (int round = 0; round < KILL_ROUNDS; round++) {
        kill_round(address, server_pid, descriptors);
    }
    long after_kb = rss_kb(server_pid);
    if (test_scale() >= 1 && after_kb > before_kb + RSS_SLACK_KB) {
        fail("the server grew from %ld to %ld KiB", before_kb, after_kb);
    }
    printf("%d rounds of %d killed clients: %zu descriptors, %ld KiB before, %ld after\n",
           KILL_ROUNDS, KILL_CONNECTIONS, descriptors - 2, before_kb, after_kb);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = address_parse(argc > 1 ? argv[1] : NULL);
    int server_pid = argc > 2 ? atoi(argv[2]) : 0;
    uint64_t seed = test_seed();
    descriptors_raise();
    size_t descriptors = server_pid > 0 ? descriptor_count(server_pid) : 0;
    streams_run(&address, 1, seed);
    streams_run(&address, 64, seed);
    streams_run(&address, 1000, seed);
    if (server_pid > 0) {
        kills_run(&address, server_pid, descriptors);
    }
    return 0;
}
