/* SPDX-License-Identifier: MIT */
/*
 * A cache that speaks the protocol of redis (RESP2), on every core.
 *
 *   cache                             listens on 127.0.0.1:6380
 *   redis-cli -p 6380                 a client; or nc, with a line of words a command:
 *   printf 'SET a 1 EX 60\nGET a\n' | nc -N 127.0.0.1 6380
 *   redis-benchmark -p 6380 -t set,get,incr,lpush -P 16 -c 100
 *   cache --unix /tmp/cache.sock      and redis-cli -s /tmp/cache.sock
 *
 *   PING ECHO SELECT QUIT INFO COMMAND CONFIG GET, GET SET (EX PX NX XX) MGET MSET INCR DECR,
 *   DEL EXISTS EXPIRE TTL TYPE KEYS DBSIZE FLUSHALL, LPUSH LPOP LRANGE, SADD
 *
 * Concepts
 *   A task a connection (cache_connection.h) executes its commands itself, on whatever worker it
 *   happens to run: the keys are spread over shards with a lock each (cache_store.h). Another task
 *   frees what has expired. Nothing is written to a disk, and when the memory is used up, commands
 *   that need more are refused: nothing is evicted.
 *
 *   SIGINT and SIGTERM cancel the tasks. The backlog is taken, the listeners close, requests that
 *   have arrived are answered, main returns 0.
 */
#include "io/examples/cache_connection.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>
#include <bonxie/file.h>
#include <bonxie/net.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCEPT_RETRY_NS UINT64_C(10000000)  /* out of descriptors or memory: again in 10 ms */
#define EXPIRE_NS UINT64_C(100000000)       /* between two walks for expired keys */
#define EXPIRE_IDLE_NS UINT64_C(1000000000) /* while there are no keys with a time */
#define BACKLOG_NS UINT64_C(1000000000)     /* for serving the backlog at the stop */
#define BACKLOG_MAX 65536                   /* taken then; the kernel's is smaller */
#define BYTES_PER_MIB 1048576u
#define LISTENERS_MAX 2

struct server {
    struct bnx_cache cache;
    const char *addresses[LISTENERS_MAX]; /* NULL: none; immutable */
    const char *path;                     /* of the unix socket; NULL: none; immutable */
    struct stat file;                     /* the same; its inode is 0 while it is not ours */
    struct bnx_scope *tasks;              /* of everything that serves */
};

/* What a task gets: small enough to be copied into its descriptor. */
struct accepted {
    struct server *server;
    int fd;
};

static int connection_task(void *arg) {
    const struct accepted *accepted = arg;
    bnx_cache_connection_serve(&accepted->server->cache, accepted->fd, false);
    return 0; /* an error here would cancel the other connections */
}

/* Accepts until the scope is cancelled. Suspends. Returns 0, or -errno when the listener broke. */
static int accept_loop(struct server *server, int listener) {
    while (true) { /* ends with the scope */
        int fd = bnx_accept(listener, NULL);
        if (fd >= 0) {
            struct accepted accepted = {.server = server, .fd = fd};
            int error = bnx_spawn_copy(server->tasks, connection_task, &accepted, sizeof(accepted));
            if (error == -ECANCELED) {
                bnx_cache_connection_serve(&server->cache, fd, true);
            } else if (error < 0) {
                bnx_cache_connection_refuse(fd);
            }
            continue;
        }
        int error = fd;
        if (error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM) {
            error = bnx_sleep(ACCEPT_RETRY_NS);
        }
        if (error == -ECANCELED) {
            return 0;
        }
        if (error == -EBADF || error == -EINVAL || error == -ENOTSOCK) {
            return error; /* anything else is one connection's trouble */
        }
    }
}

/* Serves the connections whose handshake is done: their requests may have arrived. bnx_listen made
 * the listener non-blocking, so the last call says EAGAIN. Suspends. */
static void backlog_serve(struct server *server, int listener) {
    struct bnx_scope_options options = {.flags = BNX_SCOPE_SHIELD,
                                        .deadline_ns = bnx_now() + BACKLOG_NS};
    struct bnx_scope scope;
    if (bnx_scope_open(&scope, &options) < 0) {
        return;
    }
    for (int i = 0; i < BACKLOG_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            bnx_cache_connection_serve(&server->cache, fd, true);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            break;
        }
    }
    (void)bnx_scope_close(&scope);
}

static int accept_task(void *arg) {
    const struct accepted *accepted = arg; /* its descriptor is a listener */
    int error = accept_loop(accepted->server, accepted->fd);
    backlog_serve(accepted->server, accepted->fd);
    bnx_close(accepted->fd);
    return error;
}

static int expire_task(void *arg) {
    struct server *server = arg;
    int error = 0;
    while (error == 0) { /* ends with the scope */
        bool has_timed = bnx_cache_store_expire(&server->cache.store);
        error = bnx_sleep(has_timed ? EXPIRE_NS : EXPIRE_IDLE_NS);
    }
    return error == -ECANCELED ? 0 : error;
}

/* Opens a listener and starts its task. Returns 0 or -errno; the task closes the listener. */
static int listener_start(struct server *server, const char *address) {
    int listener = bnx_listen(address, NULL);
    if (listener < 0) {
        fprintf(stderr, "cannot listen on %s: %s\n", address, strerror(-listener));
        return listener;
    }
    if (server->path != NULL && address == server->addresses[1] &&
        lstat(server->path, &server->file) != 0) {
        server->file.st_ino = 0;
    }
    struct accepted accepted = {.server = server, .fd = listener};
    int error = bnx_announce(listener);
    error = error == 0 ? bnx_spawn_copy(server->tasks, accept_task, &accepted, sizeof(accepted))
                       : error;
    if (error < 0) {
        bnx_close(listener);
    }
    return error;
}

/* Removes the file of the socket, unless another server has put its own there. */
static void file_remove(const struct server *server) {
    struct stat now;
    if (server->file.st_ino != 0 && lstat(server->path, &now) == 0 &&
        now.st_ino == server->file.st_ino && now.st_dev == server->file.st_dev) {
        (void)unlink(server->path);
    }
}

static int serve(void *arg) {
    struct server *server = arg;
    struct bnx_scope tasks;
    /* The expiry's task and those that accept are no connections. */
    uint32_t others = 1 + (server->addresses[1] != NULL ? 2 : 1);
    uint32_t connections_max = server->cache.connections_max;
    struct bnx_scope_options options = {.children_max = connections_max < UINT32_MAX - others
                                                            ? connections_max + others
                                                            : UINT32_MAX};
    int error = bnx_scope_open(&tasks, &options);
    if (error < 0) {
        return 1;
    }
    server->tasks = &tasks;
    error = bnx_spawn(&tasks, expire_task, server);
    for (size_t i = 0; i < LISTENERS_MAX && error == 0; i++) {
        if (server->addresses[i] != NULL) {
            error = listener_start(server, server->addresses[i]);
        }
    }
    if (error < 0) {
        bnx_scope_cancel(&tasks, error);
    }
    int result = bnx_scope_close(&tasks);
    file_remove(server);
    if (result < 0 && result != -ECANCELED) {
        error = result;
    }
    return error < 0 && error != -ECANCELED ? 1 : 0;
}

int main(int argc, char **argv) {
    static struct server server = {.addresses = {"127.0.0.1:6380", NULL}};
    struct bnx_options options = {0};
    uint32_t memory_mib = 1024;
    uint32_t keys_max = UINT32_MAX;
    server.cache.connections_max = 100000;
    const struct bnx_flag flags[] = {
        {"listen", "ADDRESS:PORT", "Where to listen (127.0.0.1:6380).", &server.addresses[0], NULL},
        {"unix", "PATH", "Listen on this unix socket as well (none).", &server.path, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {"memory", "MIB", "For keys and values, and as much for long messages (1024).", NULL,
         &memory_mib},
        {"keys", "N", "At most so many keys (4294967295).", NULL, &keys_max},
        {"connections", "N", "At most so many at once (100000).", NULL,
         &server.cache.connections_max},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "keeps keys and values in memory", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    char unix_address[256];
    if (server.path != NULL) {
        snprintf(unix_address, sizeof(unix_address), "unix:%s", server.path);
        server.addresses[1] = unix_address;
    }
    status =
        bnx_cache_store_init(&server.cache.store, (size_t)memory_mib * BYTES_PER_MIB, keys_max);
    if (status == 0) {
        server.cache.start_ns = bnx_now();
        server.cache.messages.max = server.cache.store.budget.max;
        bnx_descriptors_raise();
        status = bnx_main_with(&options, serve, &server);
        bnx_cache_store_fini(&server.cache.store);
    }
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(-status));
        return 1;
    }
    return status;
}
