/* SPDX-License-Identifier: MIT */
/*
 * bnx_serve (bonxie/serve.h): acceptors, connections, and the end.
 *
 * Concepts
 *   Two scopes, one in the other, both the calling task's: the acceptors' sees a cancel at once;
 *   inside it that of the connections is a shield whose grace is the drain. So the drain is what
 *   the runtime does for any shield, and a listener that breaks ends the service in the same way,
 *   by a cancel of the acceptors' scope. Handlers that are to see it at once (BNX_SERVE_CANCEL)
 *   get a cancel of their own, by the last acceptor, when nobody can connect any more.
 *   An acceptor holds the connections' scope, since it is not beneath it. The last one to leave
 *   takes in what the kernel has queued, closes the listeners and lets go of the scope.
 *   Without a limit each acceptor waits in accept, several on one listener: the kernel wakes one a
 *   connection, in turn. With a limit there is one a listener, which waits until somebody comes,
 *   then for room, and then accepts: nobody holds room while he waits for a peer, so no listener
 *   starves beside another, and those in the queue stay with the kernel.
 *
 * Ordering
 *   V1 leaving: fetch_sub acq_rel of acceptors_left; the last one sees what all have done.
 *   V2 the reserve: exchange and CAS acq_rel; who takes the descriptor alone closes it.
 *   `free` and `live` are under the lock. The counts are statistics.
 */
#include <bonxie/serve.h>

#include <bonxie/event.h>
#include <bonxie/file.h>
#include <bonxie/net.h>
#include <bonxie/runtime.h>
#include <bonxie/sem.h>

#include "io/listener.h"
#include "io/op.h"

#include "runtime/clock.h"
#include "runtime/list.h"
#include "runtime/lock.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#define FLAGS_KNOWN                                                                                \
    ((unsigned)(BNX_SERVE_REUSE_PORT | BNX_SERVE_END_INPUT | BNX_SERVE_CANCEL |                    \
                BNX_SERVE_TAKE_LISTENERS))
#define QUEUE_MAX 65536 /* taken at the end: a kernel's queue is smaller */

/* A connection, or the memory for one. */
struct connection {
    CK_LIST_ENTRY(connection) link; /* in free, live or told; under the lock */
    struct server *server;          /* immutable */
    int fd;                         /* of the handler that runs */
};

CK_LIST_HEAD(connection_list, connection);

struct acceptor {
    struct server *server;
    int listener;
    struct bnx_fd_steps steps; /* at the listener, which may be the caller's: each accept is one */
};

struct server {
    int (*handler)(int fd, void *arg); /* immutable, as all up to the scopes */
    void *arg;
    struct bnx_serve_options options;
    uint64_t drain_ns; /* never 0 */
    uint64_t grace_ns; /* what handlers' shields inherit: the caller's, or the drain where they see
                          the cancel as it begins */
    bool owns_listeners;
    int *listeners;
    size_t listener_count;
    struct bnx_socket_file file; /* of the listener that it owns */
    struct acceptor *acceptors;
    uint32_t acceptor_count;
    struct bnx_scope accepting;
    struct bnx_scope connections;
    uint32_t acceptors_left;      /* V1 */
    int error;                    /* of the first listener that broke */
    int reserve;                  /* a descriptor to do without; -1: in use, or none was free; V2 */
    struct bnx_sem room;          /* how many more connections, where there is a limit */
    struct bnx_lock lock;         /* of the lists */
    struct connection_list spare; /* memory for connections */
    struct connection_list live;  /* not told yet that the input has ended */
    struct connection_list told;  /* the others that live */
    struct bnx_serve_stats *stats;
    struct bnx_serve_stats own_stats; /* where the caller wants none */
};

/* ---- Connections ---- */

static void count(uint64_t *counter, uint64_t change) {
    (void)bnx_fetch_add_relaxed(counter, change); /* statistics */
}

void bnx_serve_stats_read(const struct bnx_serve_stats *stats, struct bnx_serve_stats *out_stats) {
    out_stats->accepted = bnx_load_relaxed(&stats->accepted); /* statistics, as the others */
    out_stats->active = bnx_load_relaxed(&stats->active);
    out_stats->refused = bnx_load_relaxed(&stats->refused);
    out_stats->failed = bnx_load_relaxed(&stats->failed);
}

static struct connection *connection_new(struct server *server, int fd) {
    bnx_lock_acquire(&server->lock);
    struct connection *connection = CK_LIST_FIRST(&server->spare);
    if (connection != NULL) {
        CK_LIST_REMOVE(connection, link);
    }
    bnx_lock_release(&server->lock);
    if (connection == NULL) {
        connection = bnx_os.allocate(sizeof(*connection), _Alignof(struct connection));
    }
    if (connection == NULL) {
        return NULL;
    }
    *connection = (struct connection){.server = server, .fd = fd};
    bnx_lock_acquire(&server->lock);
    CK_LIST_INSERT_HEAD(&server->live, connection, link);
    bnx_lock_release(&server->lock);
    return connection;
}

/* Nobody looks at its descriptor any more after this, but the caller. */
static void connection_unlink(struct connection *connection) {
    struct server *server = connection->server;
    bnx_lock_acquire(&server->lock);
    CK_LIST_REMOVE(connection, link);
    bnx_lock_release(&server->lock);
}

static void connection_spare(struct connection *connection) {
    struct server *server = connection->server;
    bnx_lock_acquire(&server->lock);
    CK_LIST_INSERT_HEAD(&server->spare, connection, link);
    bnx_lock_release(&server->lock);
}

static void room_give(struct server *server) {
    if (server->options.connections_max != 0) {
        (void)bnx_sem_release(&server->room); /* it was taken: no overflow */
    }
}

static int run_handler(struct server *server, int fd) {
    const struct bnx_serve_options *options = &server->options;
    struct bnx_scope_options scope_options = {.name = options->name, .grace_ns = server->grace_ns};
    if (options->connection_ns != 0) {
        scope_options.deadline_ns = bnx_clock_after(bnx_clock_now(), options->connection_ns);
    }
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, &scope_options);
    if (error != 0) {
        return error;
    }
    int result = server->handler(fd, server->arg);
    (void)bnx_scope_close(&scope); /* it says what the handler was told */
    return result;
}

static int connection_task(void *arg) {
    struct connection *connection = arg;
    struct server *server = connection->server;
    int result = run_handler(server, connection->fd);
    connection_unlink(connection);
    if (!BNX_PLANT(serve_leaves_open)) {
        (void)bnx_close(connection->fd);
    }
    connection_spare(connection);
    if (result < 0 && result != -ECANCELED) {
        count(&server->stats->failed, 1);
    }
    count(&server->stats->active, (uint64_t)-1);
    room_give(server);
    return result; /* < 0 is for the log: the scope supervises */
}

/* Starts a handler for an accepted connection, or closes it. Returns 0, or why not. */
static int take_in(struct server *server, int fd) {
    const struct bnx_spawn_options options = {.name = server->options.name,
                                              .stack = server->options.stack};
    struct connection *connection = connection_new(server, fd);
    int error = -ENOMEM;
    if (connection != NULL) {
        count(&server->stats->accepted, 1);
        count(&server->stats->active, 1);
        error = bnx_spawn_with(&server->connections, &options, connection_task, connection, NULL);
        if (error == 0) {
            return 0;
        }
        count(&server->stats->accepted, (uint64_t)-1);
        count(&server->stats->active, (uint64_t)-1);
        connection_unlink(connection);
        connection_spare(connection);
    }
    (void)bnx_close(fd);
    count(&server->stats->refused, 1);
    room_give(server);
    return error;
}

/* ---- Accepting ---- */

/* One step at the listener. */
static int accept_by(struct acceptor *acceptor, int (*call)(int listener)) {
    int fd = bnx_fd_step_begin_here(&acceptor->steps);
    if (fd == 0) {
        fd = call(acceptor->listener);
        bnx_fd_step_end(&acceptor->steps);
    }
    return fd;
}

static int await_connection(int listener) {
    struct bnx_op op = {.kind = BNX_OP_POLL, .fd = listener, .flags = POLLIN};
    return (int)bnx_op_run(&op, BNX_WAIT_ACCEPT);
}

static int accept_connection(int listener) {
    return bnx_accept(listener, NULL);
}

/* Waits for a connection, then for room for it. Returns its descriptor, or an error. */
static int accept_limited(struct acceptor *acceptor) {
    int events = accept_by(acceptor, await_connection);
    if (events < 0) {
        return events;
    }
    int error = bnx_sem_acquire(&acceptor->server->room);
    if (error != 0) {
        return error;
    }
    int fd = accept_by(acceptor, bnx_accept_try); /* -EAGAIN: another process serves it as well */
    if (fd < 0) {
        room_give(acceptor->server);
    }
    return fd;
}

static int accept_next(struct acceptor *acceptor) {
    return acceptor->server->options.connections_max != 0 && !BNX_PLANT(serve_no_limit)
               ? accept_limited(acceptor)
               : accept_by(acceptor, accept_connection);
}

/* Out of descriptors: gives up the reserve to accept a connection and close it, so that its peer
 * sees an end; then takes it back, or as soon as one is free. */
static void turn_one_away(struct acceptor *acceptor) {
    struct server *server = acceptor->server;
    int reserve = bnx_exchange_acq_rel(&server->reserve, -1); /* V2 */
    if (reserve >= 0) {
        (void)bnx_os.close(reserve);
        int fd = accept_by(acceptor, bnx_accept_try);
        if (fd >= 0) {
            (void)bnx_os.close(fd);
            count(&server->stats->refused, 1);
        }
    }
    int expected = -1;
    int fd = bnx_os.eventfd(0, EFD_CLOEXEC);
    if (fd >= 0 && !bnx_cas_acq_rel(&server->reserve, &expected, fd)) { /* V2 */
        (void)bnx_os.close(fd);                                         /* another was faster */
    }
}

/* Handlers for those whom the kernel has connected and nobody has accepted: a close would reset
 * them. */
static void take_in_queue(struct server *server, int listener) {
    bool is_limited = server->options.connections_max != 0;
    for (int i = 0; i < QUEUE_MAX; i++) { /* ends earlier: with the queue, or the room */
        if (is_limited && bnx_sem_try_acquire(&server->room) != 0) {
            return;
        }
        int fd = bnx_accept_try(listener);
        if (fd < 0 && is_limited) {
            room_give(server);
        }
        if (fd < 0 && fd != -ECONNABORTED && fd != -EINTR) {
            return;
        }
        if (fd >= 0) {
            (void)take_in(server, fd);
        }
    }
}

/* One at a time, so that the lock is held for a short call only. */
static void end_input(struct server *server) {
    for (;;) { /* ends: no connection comes any more, and each is taken off the list */
        bnx_lock_acquire(&server->lock);
        struct connection *connection = CK_LIST_FIRST(&server->live);
        if (connection != NULL) {
            CK_LIST_REMOVE(connection, link);
            CK_LIST_INSERT_HEAD(&server->told, connection, link);
            (void)bnx_os.shutdown(connection->fd, SHUT_RD); /* gone already: nothing to tell */
        }
        bnx_lock_release(&server->lock);
        if (connection == NULL) {
            return;
        }
    }
}

/* By the last acceptor: from now on nothing more is accepted. */
static void end_accepting(struct server *server) {
    bool ends_listeners =
        server->owns_listeners || (server->options.flags & BNX_SERVE_TAKE_LISTENERS) != 0;
    for (size_t i = 0; i < server->listener_count && ends_listeners; i++) {
        if (!BNX_PLANT(serve_drops_queue)) {
            take_in_queue(server, server->listeners[i]);
        }
        (void)bnx_close(server->listeners[i]);
    }
    bnx_socket_file_remove(&server->file);
    if (server->options.draining != NULL) {
        bnx_event_set(server->options.draining);
    }
    if ((server->options.flags & BNX_SERVE_END_INPUT) != 0) {
        end_input(server);
    }
    if ((server->options.flags & BNX_SERVE_CANCEL) != 0 && !BNX_PLANT(serve_tells_nobody)) {
        bnx_scope_cancel(&server->connections, 0);
    }
    bnx_scope_release(&server->connections); /* the server may be gone after this */
}

static void acceptor_leave(struct server *server, uint32_t leaving) {
    if (bnx_fetch_sub_acq_rel(&server->acceptors_left, leaving) == leaving) { /* V1 */
        end_accepting(server);
    }
}

static int acceptor_task(void *arg) {
    struct acceptor *acceptor = arg;
    struct server *server = acceptor->server;
    uint64_t backoff_ns = 0;
    int error = 0;
    while (error == 0) { /* ends with the scope, or with the listener */
        int fd = accept_next(acceptor);
        int failed = fd >= 0 ? take_in(server, fd) : fd;
        if (failed == 0) {
            backoff_ns = 0;
            continue;
        }
        if (bnx_accept_is_out_of_fds(failed) && fd < 0 && !BNX_PLANT(serve_turns_none_away)) {
            turn_one_away(acceptor);
        }
        /* A spawn's -EAGAIN is no other's luck: there are too many tasks. */
        error = bnx_accept_back_off(fd >= 0 && failed == -EAGAIN ? -ENOMEM : failed, &backoff_ns);
    }
    if (error != -ECANCELED) {
        int none = 0;
        (void)bnx_cas_acq_rel(&server->error, &none, error); /* V1: read when all have left */
        bnx_scope_cancel(&server->accepting, error);
    }
    acceptor_leave(server, 1);
    return 0;
}

/* ---- Listeners ---- */

/* Whether a listener a worker is wanted and can be. */
static uint32_t listeners_wanted(const struct bnx_serve_options *options, const char *address) {
    bool is_spread = (options->flags & BNX_SERVE_REUSE_PORT) != 0 && address != NULL &&
                     strncmp(address, "unix:", 5) != 0;
    return is_spread ? bnx_runtime_worker_count(bnx_runtime_current()) : 1;
}

static void close_listeners(struct server *server) {
    for (size_t i = 0; i < server->listener_count && server->owns_listeners; i++) {
        (void)bnx_close(server->listeners[i]);
    }
    bnx_socket_file_remove(&server->file);
}

/* Opens so many at one address. A port 0 is chosen by the first. */
static int open_listeners(struct server *server, const char *address, uint32_t wanted) {
    const struct bnx_serve_options *options = &server->options;
    struct bnx_listen_options listen_options = {
        .backlog = options->backlog, .mode = options->mode, .reuse_port = wanted > 1};
    char bound[BNX_ADDRESS_TEXT_BYTES];
    for (uint32_t i = 0; i < wanted; i++) {
        int fd = bnx_listen(address, &listen_options);
        if (fd < 0) {
            close_listeners(server);
            return fd;
        }
        server->listeners[server->listener_count++] = fd;
        bnx_socket_file_note(&server->file, fd);
        struct bnx_address local;
        if (i == 0 && wanted > 1 && bnx_address_local(fd, &local) == 0 &&
            bnx_address_format(&local, bound, sizeof(bound)) > 0) {
            address = bound;
        }
    }
    return 0;
}

/* One that blocks would hold its worker in the kernel; on one that does not listen nobody comes. */
static int check_given(const struct bnx_serve_options *options) {
    for (size_t i = 0; i < options->listener_count; i++) {
        int fd = options->listeners[i];
        int listens = 0;
        socklen_t bytes = sizeof(listens);
        int flags = bnx_os.fcntl(fd, F_GETFL, 0);
        int error =
            flags < 0 ? flags : bnx_os.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes);
        if (error != 0) {
            return error;
        }
        if ((flags & O_NONBLOCK) == 0 || listens == 0) {
            return -EINVAL;
        }
    }
    return 0;
}

/* Room for the listeners and acceptors, and the listeners. */
static int prepare(struct server *server, const char *address) {
    const struct bnx_serve_options *options = &server->options;
    uint32_t workers = bnx_runtime_worker_count(bnx_runtime_current());
    server->owns_listeners = options->listener_count == 0;
    uint32_t wanted = server->owns_listeners ? listeners_wanted(options, address)
                                             : (uint32_t)options->listener_count;
    server->acceptor_count = options->connections_max != 0 || wanted > workers ? wanted : workers;
    size_t acceptor_bytes = server->acceptor_count * sizeof(server->acceptors[0]);
    server->acceptors = bnx_os.allocate(acceptor_bytes + wanted * sizeof(server->listeners[0]),
                                        _Alignof(struct acceptor));
    if (server->acceptors == NULL) {
        return -ENOMEM;
    }
    server->listeners = (int *)(void *)(server->acceptors + server->acceptor_count);
    int error;
    if (server->owns_listeners) {
        error = open_listeners(server, address, wanted);
    } else {
        error = check_given(options);
        memcpy(server->listeners, options->listeners, wanted * sizeof(server->listeners[0]));
        server->listener_count = wanted;
    }
    if (error != 0) {
        bnx_os.release(server->acceptors);
    }
    return error;
}

/* ---- Serving ---- */

static bool is_pinned(const struct server *server) {
    return server->owns_listeners && server->listener_count > 1;
}

/* Spawns the acceptors. Those that could not be count as having left. */
static int start_acceptors(struct server *server) {
    int error = 0;
    uint32_t started = 0;
    server->acceptors_left = server->acceptor_count;
    for (uint32_t i = 0; i < server->acceptor_count && error == 0; i++) {
        struct acceptor *acceptor = &server->acceptors[i];
        *acceptor = (struct acceptor){.server = server,
                                      .listener = server->listeners[i % server->listener_count]};
        bnx_fd_steps_init(&acceptor->steps, acceptor->listener);
        struct bnx_spawn_options options = {.name = "acceptor"};
        if (is_pinned(server)) {
            options.flags = BNX_SPAWN_PINNED;
            options.worker = i;
        }
        error = bnx_spawn_with(&server->accepting, &options, acceptor_task, acceptor, NULL);
        started += error == 0 ? 1 : 0;
    }
    if (error != 0) {
        bnx_scope_cancel(&server->accepting, error);
        acceptor_leave(server, server->acceptor_count - started);
    }
    return error;
}

/* Opens the scopes, runs the acceptors in them, and comes back when all have ended. */
static int run(struct server *server) {
    struct bnx_task *self = bnx_task_current();
    const struct bnx_serve_options *options = &server->options;
    struct bnx_scope_options connections = {.name = options->name,
                                            .policy = BNX_SCOPE_SUPERVISE,
                                            .flags =
                                                BNX_PLANT(serve_no_shield) ? 0 : BNX_SCOPE_SHIELD,
                                            .grace_ns = server->drain_ns,
                                            .task_class = options->task_class};
    int error = bnx_scope_open(&server->accepting, NULL);
    if (error != 0) {
        close_listeners(server);
        return error;
    }
    error = bnx_scope_open(&server->connections, &connections);
    if (error == 0) {
        bnx_scope_hold(&server->connections);
        error = start_acceptors(server);
        (void)bnx_scope_close(&server->connections); /* its errors are in the log */
    } else {
        close_listeners(server);
    }
    (void)bnx_scope_close(&server->accepting);
    if (bnx_load_acquire(&server->error) != 0) { /* V1 */
        return server->error;
    }
    /* -ECANCELED is what the inner scope calls the caller's own deadline, too. */
    return error != 0 && error != -ECANCELED ? error : bnx_task_cancel_check(self);
}

static void free_connections(struct server *server) {
    struct connection *connection;
    while ((connection = CK_LIST_FIRST(&server->spare)) != NULL) { /* ends: one fewer each round */
        CK_LIST_REMOVE(connection, link);
        bnx_os.release(connection);
    }
}

/* Serves with what has been prepared. */
static int serve(struct server *server) {
    const struct bnx_serve_options *options = &server->options;
    int error = server->reserve < 0 ? server->reserve : 0;
    if (error == 0 && options->on_listening != NULL) {
        error = options->on_listening(server->listeners, server->listener_count,
                                      options->on_listening_arg);
    }
    if (error < 0) {
        close_listeners(server);
    } else {
        error = run(server);
    }
    free_connections(server);
    if (server->reserve >= 0) {
        (void)bnx_os.close(server->reserve);
    }
    bnx_os.release(server->acceptors);
    return error;
}

static bool is_around(const struct bnx_task *task, const struct bnx_scope *scope) {
    const struct bnx_scope *at = bnx_task_scope(task);
    while (at != NULL && at != scope) { /* ends: at the root */
        at = at->parent;
    }
    return at != NULL;
}

int bnx_serve(struct bnx_scope *scope, const char *address, int (*handler)(int fd, void *arg),
              void *arg, const struct bnx_serve_options *options) {
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    struct server server = {.handler = handler, .arg = arg};
    if (options != NULL) {
        server.options = *options;
    }
    uint64_t grace_ns = bnx_task_scope(self)->grace_ns;
    server.drain_ns = server.options.drain_ns != 0 ? server.options.drain_ns : grace_ns / 2;
    server.grace_ns = (server.options.flags & BNX_SERVE_CANCEL) != 0 ? server.drain_ns : grace_ns;
    if (handler == NULL || (server.options.flags & ~FLAGS_KNOWN) != 0 ||
        (scope != NULL && !is_around(self, scope)) ||
        (server.options.listener_count != 0 && server.options.listeners == NULL)) {
        return -EINVAL;
    }
    int error = bnx_task_cancel_check(self);
    if (error == 0) {
        error = prepare(&server, address);
    }
    if (error != 0) {
        return error;
    }
    server.stats = server.options.stats != NULL ? server.options.stats : &server.own_stats;
    bnx_sem_init(&server.room, server.options.connections_max);
    bnx_lock_init(&server.lock);
    server.reserve = bnx_os.eventfd(0, EFD_CLOEXEC);
    return serve(&server);
}
