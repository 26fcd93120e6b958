/* SPDX-License-Identifier: MIT */
/*
 * bonxie inside a program that has a poll loop and threads of its own.
 *
 *     embed --threads 3 --jobs 10
 *     thread 0: 10 jobs, their squares add up to 285
 *     thread 1: 10 jobs, their squares add up to 1285
 *     ...
 *     host: 30 reports and 30 jobs, all in one loop
 *
 * The loop is poll(2) over two descriptors: a pipe of the program's own, on which its threads
 * report, and bnx_runtime_fd, which says that a task can go on. The runtime is a guest: its tasks
 * run on the main thread, in bnx_runtime_poll, and nowhere else, so tasks and loop share data
 * without locks.
 *
 * Each thread posts jobs: bnx_runtime_spawn from any thread, the result by a future. A job is a
 * task; here it asks a server, another task, through a socket.
 */
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/net.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct host {
    struct bnx_runtime *runtime;
    int reports[2];      /* a pipe: a byte a finished job */
    uint32_t jobs;       /* of each thread */
    uint32_t jobs_run;   /* by tasks, on the main thread */
    uint32_t servers;    /* that were started; one more than threads where a thread was refused */
    uint32_t threads;    /* that have not reported their last job */
    uint32_t reports_in; /* seen by the loop */
};

struct poster {
    struct host *host;
    pthread_t thread;
    uint32_t number;
    int sockets[2]; /* the jobs' end, the server's */
    uint64_t sum;
    int error;
};

struct job {
    struct poster *poster;
    uint32_t value;
};

/* ---- Tasks: all on the main thread ---- */

/* Answers each number by its square, until nobody asks any more. */
static int serve(void *arg) {
    int fd = *(const int *)arg;
    uint32_t value;
    ssize_t got;
    while ((got = bnx_recv_exact(fd, &value, sizeof(value))) == (ssize_t)sizeof(value)) {
        value *= value;
        ssize_t sent = bnx_send_all(fd, &value, sizeof(value));
        if (sent < 0) {
            return (int)sent;
        }
    }
    return got < 0 ? (int)got : 0;
}

/* Returns the square, or -errno. */
static int ask(void *arg) {
    const struct job *job = arg;
    int fd = job->poster->sockets[0];
    uint32_t square = 0;
    ssize_t result = bnx_send_all(fd, &job->value, sizeof(job->value));
    if (result >= 0) {
        result = bnx_recv_exact(fd, &square, sizeof(square));
    }
    job->poster->host->jobs_run++; /* no lock: the loop's own thread */
    return result < 0 ? (int)result : (int)square;
}

/* ---- Threads of the program ---- */

/* The future is awaited here, on a thread that is not the host's: it blocks, the loop goes on. */
static int post(struct poster *poster, uint32_t value) {
    struct job job = {poster, value};
    struct bnx_future *done;
    void *result = NULL;
    int error = bnx_runtime_spawn(poster->host->runtime, ask, &job, &done);
    if (error != 0) {
        return error;
    }
    error = bnx_future_await(done, &result);
    bnx_future_unref(done);
    return error != 0 ? error : (int)(intptr_t)result;
}

static void *post_jobs(void *arg) {
    struct poster *poster = arg;
    const struct host *host = poster->host;
    for (uint32_t i = 0; i < host->jobs; i++) {
        int square = post(poster, poster->number * 10 + i);
        if (square < 0) {
            poster->error = square;
        } else {
            poster->sum += (uint64_t)square;
        }
        char report = i + 1 == host->jobs ? 'l' : 'j';
        if (write(host->reports[1], &report, 1) != 1) {
            poster->error = -errno;
        }
    }
    return NULL;
}

/* ---- The program's loop ---- */

/* Its own business beside the guest's. */
static void take_reports(struct host *host) {
    char reports[64];
    ssize_t count = read(host->reports[0], reports, sizeof(reports));
    for (ssize_t i = 0; i < count; i++) {
        host->reports_in++;
        host->threads -= reports[i] == 'l';
    }
}

static void run_loop(struct host *host) {
    struct pollfd fds[2] = {{.fd = host->reports[0], .events = POLLIN},
                            {.fd = bnx_runtime_fd(host->runtime), .events = POLLIN}};
    while (host->threads > 0) { /* ends: each thread has reported its last job */
        if (poll(fds, 2, -1) < 0) {
            continue; /* a signal */
        }
        if ((fds[0].revents & POLLIN) != 0) {
            take_reports(host);
        }
        if ((fds[1].revents & POLLIN) != 0) {
            (void)bnx_runtime_poll(host->runtime, 0);
        }
    }
}

/* ---- Beginning and end ---- */

static int start(struct host *host, struct poster *poster, uint32_t number) {
    *poster = (struct poster){.host = host, .number = number};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, poster->sockets) != 0) {
        return -errno;
    }
    int error = bnx_runtime_spawn(host->runtime, serve, &poster->sockets[1], NULL);
    if (error != 0) {
        (void)close(poster->sockets[0]);
        (void)close(poster->sockets[1]);
        return error;
    }
    host->servers++;
    error = -pthread_create(&poster->thread, NULL, post_jobs, poster);
    host->threads += error == 0;
    return error;
}

/* The servers end when their sockets do: the runtime is then empty. */
static void stop(struct host *host, const struct poster *posters) {
    for (uint32_t i = 0; i < host->servers; i++) {
        (void)shutdown(posters[i].sockets[0], SHUT_RDWR);
    }
    (void)bnx_runtime_wait(host->runtime, UINT64_MAX); /* runs what is left of the guest */
    for (uint32_t i = 0; i < host->servers; i++) {
        (void)close(posters[i].sockets[0]);
        (void)close(posters[i].sockets[1]);
    }
}

static int run(struct host *host, struct poster *posters, uint32_t threads) {
    uint32_t started = 0;
    int error = 0;
    while (started < threads && error == 0) {
        error = start(host, &posters[started], started);
        started += error == 0;
    }
    run_loop(host);
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(posters[i].thread, NULL);
        error = error != 0 ? error : posters[i].error;
    }
    stop(host, posters);
    for (uint32_t i = 0; i < started && error == 0; i++) {
        printf("thread %u: %u jobs, their squares add up to %llu\n", i, host->jobs,
               (unsigned long long)posters[i].sum);
    }
    if (error == 0) {
        printf("host: %u reports and %u jobs, all in one loop\n", host->reports_in, host->jobs_run);
    }
    return error;
}

int main(int argc, char **argv) {
    uint32_t threads = 3;
    struct host host = {.jobs = 10};
    const struct bnx_flag flags[] = {
        {"threads", "N", "Threads that post jobs, 1 to 100 (3).", NULL, &threads},
        {"jobs", "N", "Jobs of each thread, 1 to 1000 (10).", NULL, &host.jobs},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "a runtime in the loop of a program", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (threads < 1 || threads > 100 || host.jobs < 1 || host.jobs > 1000) {
        fprintf(stderr, "%s: a number is out of range; see --help\n", argv[0]);
        return 2;
    }
    struct bnx_options options = {.flags = BNX_GUEST};
    struct poster *posters = calloc(threads, sizeof(*posters));
    int error = posters == NULL ? -ENOMEM : bnx_runtime_create(&options, &host.runtime);
    if (error == 0) {
        error = pipe(host.reports) != 0 ? -errno : run(&host, posters, threads);
        (void)bnx_runtime_destroy(host.runtime);
    }
    free(posters);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-error));
    }
    return error != 0;
}
