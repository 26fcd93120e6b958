/* SPDX-License-Identifier: MIT */
/*
 * An HTTP/1.1 server: one task per connection on every core.
 *
 *   GET /            a page, or index.html of --root
 *   GET /plaintext   Hello, World!
 *   GET /stats       the scheduler's counters, one `name value` a line
 *   POST /upload     the length and FNV-1a hash of the body that came, also with PUT
 *   anything else    a file below --root, if one was given
 *
 * Concepts
 *   bnx_serve accepts; httpd_handler.c serves a connection, and says how one ends.
 *   Stop: SIGINT or SIGTERM. Every request that has come is answered.
 *   Restart: SIGUSR2 starts the program anew with the same arguments, an updated one for instance,
 *   and gives it the listener. As soon as it listens it ends this process, which serves on if that
 *   fails. No connection is refused meanwhile: the listener is never closed.
 *   Under systemd's socket activation it serves the sockets that it finds; --listen is not read.
 */
#include "io/examples/httpd_handler.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>
#include <bonxie/ready.h>
#include <bonxie/serve.h>
#include <bonxie/signal.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define QUIETS_PER_DRAIN 4 /* who says nothing that long says nothing more */
#define LISTENERS_MAX 8
/* Of an answer that its reader does not take, so much at most waits in the kernel. 200 slow readers
 * of a file of 1 MiB held 751 MiB there without it, 30 with it, at the same CPU for a quick one. */
#define UNSENT_BYTES_MAX (64 << 10)

static const int restart_signal = SIGUSR2;

struct server {
    const char *address; /* immutable, as all but the last two */
    struct bnx_httpd_service service;
    uint32_t connections_max;
    uint64_t drain_ns;    /* for what has come, after SIGTERM */
    uint32_t predecessor; /* the process to end; 0 = none */
    char **successor;     /* its arguments */
    int inherited[LISTENERS_MAX];
    size_t inherited_count;
    struct bnx_signal_stream *restarts;
    struct bnx_scope *scope;      /* around the service */
    int listeners[LISTENERS_MAX]; /* that are served; by listening() */
    size_t listener_count;
};

/* ---- Restart ---- */

/* The process that is to take over has been started: waits for its end, which it should not live to
 * see. Suspends. */
static void watch_successor(int pid) {
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int events = pid_fd < 0 ? -errno : bnx_fd_wait(pid_fd, POLLIN);
    if (pid_fd >= 0) {
        (void)bnx_close(pid_fd);
    }
    if (events > 0) {
        (void)waitpid(pid, NULL, 0);
        fprintf(stderr, "the new server has ended; this one goes on\n");
    }
}

/* Duplicates the listeners. Returns how many; 0: the service ends and has closed them, and the
 * numbers may be somebody else's. */
static size_t listeners_keep(const struct server *server, int copies[LISTENERS_MAX]) {
    size_t kept = 0;
    for (; kept < server->listener_count; kept++) {
        int is_listening = 0;
        socklen_t bytes = sizeof(is_listening);
        int fd = fcntl(server->listeners[kept], F_DUPFD_CLOEXEC, 0);
        copies[kept] = fd;
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &bytes) < 0 ||
            is_listening == 0) {
            break;
        }
    }
    for (size_t i = 0; kept < server->listener_count && i <= kept; i++) {
        (void)close(copies[i]);
    }
    return kept == server->listener_count ? kept : 0;
}

/* Starts a successor at each signal. Suspends. */
static int restart_task(void *arg) {
    struct server *server = arg;
    while (bnx_signal_next(server->restarts, NULL) == restart_signal) { /* ends with the scope */
        int copies[LISTENERS_MAX];
        size_t count = listeners_keep(server, copies);
        if (count == 0) {
            continue;
        }
        int pid = bnx_listen_handover(server->successor, copies, count);
        for (size_t i = 0; i < count; i++) {
            (void)close(copies[i]);
        }
        if (pid < 0) {
            fprintf(stderr, "cannot start %s: %s\n", server->successor[0], strerror(-pid));
        } else {
            watch_successor(pid);
        }
    }
    return 0;
}

/* Makes the successor's arguments: ours, and whom it replaces. Returns NULL without memory. */
static char **successor_make(int argc, char **argv) {
    static char flag[32];
    char **successor = calloc((size_t)argc + 2, sizeof(*successor));
    int count = 0;
    for (int i = 0; i < argc && successor != NULL; i++) {
        if (strcmp(argv[i], "--replace") == 0) {
            i++; /* its value */
        } else if (strncmp(argv[i], "--replace=", 10) != 0) {
            successor[count++] = argv[i];
        }
    }
    (void)snprintf(flag, sizeof(flag), "--replace=%ld", (long)getpid());
    if (successor != NULL) {
        successor[count] = flag;
    }
    return successor;
}

/* ---- Service ---- */

/* Called by the service before the first connection. */
static int listening(const int *listeners, size_t listener_count, void *arg) {
    struct server *server = arg;
    const int unsent_bytes = UNSENT_BYTES_MAX;
    memcpy(server->listeners, listeners, listener_count * sizeof(listeners[0]));
    server->listener_count = listener_count;
    for (size_t i = 0; i < listener_count; i++) {
        /* The connections get it from the listener; those of unix sockets need none. */
        (void)setsockopt(listeners[i], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes,
                         sizeof(unsent_bytes));
    }
    int error = bnx_announce(listeners[0]);
    if (error == 0) {
        error = bnx_spawn(server->scope, restart_task, server);
    }
    if (error == 0 && server->predecessor != 0 && getppid() == (pid_t)server->predecessor) {
        (void)kill(getppid(), SIGTERM);
    }
    return error;
}

static int serve(void *arg) {
    struct server *server = arg;
    struct bnx_serve_options options = {
        .flags = BNX_SERVE_CANCEL | BNX_SERVE_TAKE_LISTENERS,
        .connections_max = server->connections_max,
        .drain_ns = server->drain_ns,
        .name = "connection",
        .listeners = server->inherited,
        .listener_count = server->inherited_count,
        .on_listening = listening,
        .on_listening_arg = server,
    };
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error == 0) {
        server->scope = &scope;
        error = bnx_serve(NULL, server->address, bnx_httpd_handle, &server->service, &options);
        bnx_scope_cancel(&scope, 0);
        (void)bnx_scope_close(&scope);
    }
    if (error != -ECANCELED) {
        fprintf(stderr, "cannot serve on %s: %s\n", server->address, strerror(-error));
        return 1;
    }
    return 0;
}

/* The counters of the runtime that the calling task belongs to. */
static size_t stats_write(char *out, size_t room) {
    struct bnx_runtime *runtime = bnx_runtime_current();
    struct bnx_runtime_stats stats = {0};
    if (runtime == NULL) {
        return 0;
    }
    bnx_runtime_stats(runtime, &stats);
    int bytes =
        snprintf(out, room,
                 "pid %ld\nworkers %" PRIu32 "\nspawned %" PRIu64 "\ninlined %" PRIu64
                 "\nforks_stolen %" PRIu64 "\nswitches %" PRIu64 "\nsteals %" PRIu64
                 "\nparks %" PRIu64 "\nwakes_sent %" PRIu64 "\npolls %" PRIu64
                 "\ncompletions %" PRIu64 "\nrescues %" PRIu64 "\nstalls %" PRIu64 "\n",
                 (long)getpid(), bnx_runtime_worker_count(runtime), stats.spawned, stats.inlined,
                 stats.forks_stolen, stats.switches, stats.steals, stats.parks, stats.wakes_sent,
                 stats.polls, stats.completions, stats.rescues, stats.stalls);
    return bytes > 0 && (size_t)bytes < room ? (size_t)bytes : 0;
}

/* What was left to this process is served in place of --listen. Returns 0 or -errno. */
static int inherit(struct server *server) {
    struct bnx_inherited inherited[LISTENERS_MAX];
    int count = bnx_listen_inherited(inherited, LISTENERS_MAX);
    for (int i = 0; i < count; i++) {
        server->inherited[server->inherited_count++] = inherited[i].fd;
    }
    return count < 0 ? count : 0;
}

/* Runs the server with its flags read. Returns the program's status. */
static int run(struct server *server, const struct bnx_options *options, const char *program) {
    int error = inherit(server);
    error = error == 0 ? bnx_signal_block(&restart_signal, 1) : error;
    error = error == 0 ? bnx_signal_open(&restart_signal, 1, &server->restarts) : error;
    int status = error == 0 ? bnx_main_with(options, serve, server) : error;
    bnx_signal_close(server->restarts);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", program, strerror(-status));
        return 1;
    }
    return status;
}

int main(int argc, char **argv) {
    struct server server = {
        .address = "127.0.0.1:8080",
        .service = {.site = {.root_fd = -1, .stats_write = stats_write}},
    };
    const char *root = NULL;
    uint32_t patience_seconds = 10;
    uint32_t idle_seconds = 60;
    uint32_t drain_seconds = 2;
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:8080).", &server.address, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {"root", "DIRECTORY", "Serve the files below it (none).", &root, NULL},
        {"connections", "N", "At a time; more wait; 0: as many as come (0).", NULL,
         &server.connections_max},
        {"patience", "SECONDS",
         "For a head, for 4 KiB of a body; thrice that for 4 KiB of an answer (10).", NULL,
         &patience_seconds},
        {"idle", "SECONDS", "How long a connection may say nothing between requests (60).", NULL,
         &idle_seconds},
        {"drain", "SECONDS",
         "To answer what has come, at the end; a quarter of that for a quiet peer (2).", NULL,
         &drain_seconds},
        {"replace", "PID", "The httpd to end when this one listens; SIGUSR2 gives it (none).", NULL,
         &server.predecessor},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "serves HTTP/1.1; SIGUSR2 restarts it", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (root != NULL) {
        server.service.site.root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (server.service.site.root_fd < 0) {
            fprintf(stderr, "%s: %s: %s\n", argv[0], root, strerror(errno));
            return 2;
        }
    }
    server.service.patience_ns = patience_seconds * NS_PER_S;
    server.service.idle_ns = idle_seconds * NS_PER_S;
    server.drain_ns = drain_seconds * NS_PER_S;
    server.service.quiet_ns = server.drain_ns / QUIETS_PER_DRAIN;
    options.grace_ns = server.drain_ns + NS_PER_S;
    server.successor = successor_make(argc, argv);
    if (server.successor == NULL) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(ENOMEM));
        return 1;
    }
    bnx_descriptors_raise();
    status = run(&server, &options, argv[0]);
    free(server.successor);
    if (server.service.site.root_fd >= 0) {
        close(server.service.site.root_fd);
    }
    return status;
}
