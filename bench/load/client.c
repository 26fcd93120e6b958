/* SPDX-License-Identifier: MIT */
/* One thread of the load generator: its connections and their loop, closed or open. */
#include "bench/load/load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define IN_BYTES 65536  /* more than any head; content may be longer */
#define OUT_BYTES 65536 /* per send: whole requests for HTTP, any part of the stream for echo */
#define WAIT_NS UINT64_C(10000000) /* the end is looked for at least so often */

struct connection {
    int fd; /* -1 = closed */
    bool waits_to_send;
    uint32_t in_flight;      /* requests sent, or due to be, without their answer */
    bool is_scheduled;       /* open loop: in the schedule's heap */
    uint32_t counted_first;  /* ring of counted_ns: the oldest in flight */
    uint32_t in_bytes;       /* in[0..): received and not consumed */
    uint64_t due_bytes;      /* of the request stream, up to here wanted */
    uint64_t sent_bytes;     /* of the request stream */
    uint64_t received_bytes; /* echo: of the answer stream */
    uint64_t last_ns;        /* when the last answer came, or what is in flight was sent */
    uint64_t room_ns;        /* open loop: since when it can send */
    struct bnx_response response;
    uint64_t counted_ns[BNX_LOAD_PIPELINE_MAX]; /* from when the latency of a request counts */
    char in[IN_BYTES];
};

struct client {
    struct bnx_load_thread *thread;
    int epoll_fd;
    bool is_warming; /* before the start: nothing is counted, nothing follows an answer */
    uint32_t open_count;
    uint64_t issued;       /* requests due so far */
    uint64_t in_flight;    /* of all connections */
    uint64_t wanted_bytes; /* http: content length of every answer; UINT64_MAX = not known yet */
    char *out;             /* OUT_BYTES + one period of the request stream */
    size_t out_period;     /* the request stream repeats after so many bytes */
    struct connection *connections;
    struct bnx_schedule schedule; /* open loop; its times are since started_ns */
};

uint64_t bnx_load_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void connection_fail(struct client *client, struct connection *connection,
                            enum bnx_load_error error) {
    client->thread->errors[error]++;
    close(connection->fd);
    connection->fd = -1;
    client->open_count--;
    client->in_flight -= connection->in_flight; /* those answers will not come */
}

static size_t request_bytes(const struct client *client) {
    const struct bnx_load_options *options = client->thread->options;
    return options->is_echo ? options->message_bytes : options->request_bytes;
}

/* Makes a request due whose latency counts from a time. The connection has room for it. */
static void request_issue(struct client *client, struct connection *connection, uint64_t counted_ns,
                          uint64_t now_ns) {
    uint32_t index = (connection->counted_first + connection->in_flight) % BNX_LOAD_PIPELINE_MAX;
    connection->counted_ns[index] = counted_ns;
    connection->last_ns = connection->in_flight == 0 ? now_ns : connection->last_ns;
    connection->in_flight++;
    connection->due_bytes += request_bytes(client);
    client->in_flight++;
    client->issued++;
}

static bool is_open_loop(const struct client *client) {
    return client->thread->options->rate > 0;
}

static bool is_share_used(const struct client *client) {
    return client->thread->request_count > 0 && client->issued >= client->thread->request_count;
}

static uint64_t duration_ns(const struct client *client) {
    return client->thread->request_count > 0
               ? UINT64_MAX
               : (uint64_t)(client->thread->options->duration_s * 1e9);
}

/* Sends what is due until the socket is full. */
static void output_send(struct client *client, struct connection *connection) {
    while (connection->sent_bytes < connection->due_bytes) {
        uint64_t left = connection->due_bytes - connection->sent_bytes;
        size_t wanted = left < OUT_BYTES ? (size_t)left : OUT_BYTES;
        const char *from = client->out + connection->sent_bytes % client->out_period;
        ssize_t bytes = send(connection->fd, from, wanted, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (bytes < 0 && errno == EAGAIN) {
            break;
        }
        if (bytes < 0) {
            connection_fail(client, connection, BNX_LOAD_SEND);
            return;
        }
        connection->sent_bytes += (uint64_t)bytes;
    }
    bool waits = connection->sent_bytes < connection->due_bytes;
    if (waits != connection->waits_to_send) {
        struct epoll_event event = {.events = waits ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                    .data.ptr = connection};
        connection->waits_to_send = waits;
        (void)epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    }
}

static void answer_count(struct client *client, struct connection *connection, uint64_t now_ns) {
    uint64_t counted_ns = connection->counted_ns[connection->counted_first];
    connection->counted_first = (connection->counted_first + 1) % BNX_LOAD_PIPELINE_MAX;
    connection->in_flight--;
    client->in_flight--;
    connection->last_ns = now_ns;
    client->thread->answered++;
    bnx_histogram_add(&client->thread->latency, now_ns - counted_ns);
}

/* Takes the complete responses of the input. Returns 0, or -1 when the connection failed. */
static int responses_take(struct client *client, struct connection *connection, uint64_t now_ns) {
    size_t at = 0;
    int result = 1;
    while (result == 1 && at < connection->in_bytes) {
        size_t consumed = 0;
        result = bnx_response_parse(&connection->response, connection->in + at,
                                    connection->in_bytes - at, &consumed);
        at += consumed;
        if (result == 1) {
            const struct bnx_response *response = &connection->response;
            if (client->wanted_bytes == UINT64_MAX) {
                client->wanted_bytes = response->content_bytes;
            }
            if (response->status != 200) {
                connection_fail(client, connection, BNX_LOAD_STATUS);
                return -1;
            }
            if (response->content_bytes != client->wanted_bytes || connection->in_flight == 0) {
                result = -1;
                break;
            }
            answer_count(client, connection, now_ns);
        }
    }
    connection->in_bytes -= (uint32_t)at;
    memmove(connection->in, connection->in + at, connection->in_bytes);
    if (result < 0 || connection->in_bytes == IN_BYTES) {
        connection_fail(client, connection, BNX_LOAD_FORMAT);
        return -1;
    }
    return 0;
}

/* Checks what came back and counts whole messages. Returns 0, or -1 when the connection failed. */
static int echo_take(struct client *client, struct connection *connection, uint64_t now_ns) {
    const char *wanted = client->out + connection->received_bytes % client->out_period;
    uint64_t message_bytes = client->thread->options->message_bytes;
    uint64_t before = connection->received_bytes / message_bytes;
    connection->received_bytes += connection->in_bytes;
    if (memcmp(connection->in, wanted, connection->in_bytes) != 0 ||
        connection->received_bytes > connection->sent_bytes) {
        connection_fail(client, connection, BNX_LOAD_CONTENT);
        return -1;
    }
    connection->in_bytes = 0;
    uint64_t count = connection->received_bytes / message_bytes - before;
    for (uint64_t i = 0; i < count; i++) {
        answer_count(client, connection, now_ns);
    }
    return 0;
}

/* Closed loop: further requests, up to the pipeline's depth and the thread's share. */
static void closed_issue(struct client *client, struct connection *connection, uint64_t now_ns) {
    while (connection->in_flight < client->thread->options->pipeline && !is_share_used(client)) {
        request_issue(client, connection, now_ns, now_ns);
    }
    output_send(client, connection);
}

/* Open loop: the connection waits for its next arrival, if it has room and there is one. */
static void arrival_await(struct client *client, struct connection *connection, uint64_t now_ns) {
    uint32_t index = (uint32_t)(connection - client->connections);
    if (!connection->is_scheduled && connection->in_flight < client->thread->options->pipeline &&
        client->schedule.arrivals[index].due_ns < duration_ns(client)) {
        connection->is_scheduled = true;
        connection->room_ns = now_ns;
        bnx_schedule_push(&client->schedule, index);
    }
}

/* Open loop: sends what is due. A connection whose arrivals have run ahead of its answers gets its
 * room, and its turn, when an answer comes. */
static void arrivals_issue(struct client *client, uint64_t now_ns) {
    uint64_t since_start_ns = now_ns - client->thread->started_ns;
    while (bnx_schedule_due(&client->schedule) <= since_start_ns && !is_share_used(client)) {
        uint32_t index = bnx_schedule_pop(&client->schedule);
        struct connection *connection = &client->connections[index];
        connection->is_scheduled = false;
        if (connection->fd < 0) {
            continue;
        }
        uint64_t due_ns = client->thread->started_ns + client->schedule.arrivals[index].due_ns;
        uint64_t ready_ns = connection->room_ns > due_ns ? connection->room_ns : due_ns;
        bnx_histogram_add(&client->thread->late, now_ns - ready_ns);
        request_issue(client, connection, due_ns, now_ns);
        bnx_schedule_advance(&client->schedule, index);
        arrival_await(client, connection, now_ns);
        output_send(client, connection);
    }
}

/* Open loop: what was due before the end and has no answer counts with the age it has reached. */
static void unanswered_count(struct client *client, uint64_t now_ns) {
    struct bnx_load_thread *thread = client->thread;
    uint64_t end_ns = duration_ns(client);
    for (uint32_t i = 0; i < thread->connection_count && thread->request_count == 0; i++) {
        const struct connection *connection = &client->connections[i];
        if (connection->fd < 0) {
            continue; /* counted as an error */
        }
        for (uint32_t k = 0; k < connection->in_flight; k++) {
            uint32_t at = (connection->counted_first + k) % BNX_LOAD_PIPELINE_MAX;
            bnx_histogram_add(&thread->latency, now_ns - connection->counted_ns[at]);
            thread->unanswered++;
        }
        while (client->schedule.arrivals[i].due_ns < end_ns) { /* ends: each is later */
            uint64_t due_ns = thread->started_ns + client->schedule.arrivals[i].due_ns;
            bnx_histogram_add(&thread->latency, now_ns > due_ns ? now_ns - due_ns : 0);
            thread->unanswered++;
            bnx_schedule_advance(&client->schedule, i);
        }
    }
}

static void input_receive(struct client *client, struct connection *connection) {
    ssize_t bytes = recv(connection->fd, connection->in + connection->in_bytes,
                         sizeof(connection->in) - connection->in_bytes, MSG_DONTWAIT);
    if (bytes < 0 && errno == EAGAIN) {
        return;
    }
    if (bytes <= 0) {
        connection_fail(client, connection, bytes == 0 ? BNX_LOAD_CLOSED : BNX_LOAD_RECEIVE);
        return;
    }
    uint64_t now_ns = bnx_load_now();
    connection->in_bytes += (uint32_t)bytes;
    client->thread->received_bytes += (uint64_t)bytes;
    int result = client->thread->options->is_echo ? echo_take(client, connection, now_ns)
                                                  : responses_take(client, connection, now_ns);
    if (result < 0 || client->is_warming) {
        return;
    }
    if (is_open_loop(client)) {
        arrival_await(client, connection, now_ns);
        arrivals_issue(client, now_ns);
    } else {
        closed_issue(client, connection, now_ns);
    }
}

/* Connects, blocking: setting up is not what is measured. */
static void connection_open(struct client *client, struct connection *connection) {
    const struct bnx_load_options *options = client->thread->options;
    const struct sockaddr *address = (const struct sockaddr *)&options->address;
    int one = 1;
    connection->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (connection->fd < 0 || connect(connection->fd, address, options->address_bytes) < 0 ||
        epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0) {
        client->thread->errors[BNX_LOAD_CONNECT]++;
        if (connection->fd >= 0) {
            close(connection->fd);
        }
        connection->fd = -1;
        return;
    }
    if (address->sa_family != AF_UNIX) {
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    client->open_count++;
}

/* Fails the connections whose answers do not come any more. */
static void stalls_find(struct client *client, uint64_t now_ns) {
    for (uint32_t i = 0; i < client->thread->connection_count; i++) {
        struct connection *connection = &client->connections[i];
        if (connection->fd >= 0 && connection->in_flight > 0 &&
            now_ns - connection->last_ns > BNX_LOAD_STALL_NS) {
            connection_fail(client, connection, BNX_LOAD_STALL);
        }
    }
}

static bool is_over(const struct client *client, uint64_t now_ns) {
    uint64_t elapsed_ns = now_ns - client->thread->started_ns;
    if (client->open_count == 0) {
        return true;
    }
    if (is_open_loop(client)) {
        bool is_due = client->schedule.heap_count > 0 && !is_share_used(client);
        return (client->in_flight == 0 && !is_due) ||
               (client->thread->request_count == 0 &&
                elapsed_ns >= duration_ns(client) + BNX_LOAD_DRAIN_NS);
    }
    if (client->thread->request_count > 0) {
        return client->in_flight == 0; /* the share is used up, or lost with its connections */
    }
    return elapsed_ns >= duration_ns(client);
}

/* How long to wait for an event: until something is due, and not too long. */
static struct timespec timeout_make(const struct client *client, uint64_t now_ns) {
    uint64_t wait_ns = WAIT_NS;
    if (is_open_loop(client) && !is_share_used(client)) {
        uint64_t due_ns = bnx_schedule_due(&client->schedule);
        uint64_t elapsed_ns = now_ns - client->thread->started_ns;
        uint64_t until_ns = due_ns > elapsed_ns ? due_ns - elapsed_ns : 0;
        wait_ns = until_ns < wait_ns ? until_ns : wait_ns;
    }
    return (struct timespec){.tv_nsec = (long)wait_ns};
}

/* Waits for events, serves them, and looks for stalls once a second. Returns the time. */
static uint64_t events_serve(struct client *client, uint64_t now_ns, uint64_t *checked_ns) {
    struct epoll_event events[EVENTS_MAX];
    struct timespec timeout = timeout_make(client, now_ns);
    int count = epoll_pwait2(client->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (connection->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
            output_send(client, connection);
        }
        if (connection->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
            input_receive(client, connection);
        }
    }
    now_ns = bnx_load_now();
    if (now_ns - *checked_ns > BNX_LOAD_STALL_NS / 5) {
        *checked_ns = now_ns;
        stalls_find(client, now_ns);
    }
    return now_ns;
}

/* One request on each connection, so that all are accepted before anything is measured: what a
 * thousand accepts cost would show in the server's CPU per request. */
static void warm_up(struct client *client) {
    struct bnx_load_thread *thread = client->thread;
    uint64_t now_ns = bnx_load_now();
    uint64_t checked_ns = now_ns;
    client->is_warming = true;
    for (uint32_t i = 0; i < thread->connection_count; i++) {
        if (client->connections[i].fd >= 0) {
            request_issue(client, &client->connections[i], now_ns, now_ns);
            output_send(client, &client->connections[i]);
        }
    }
    while (client->in_flight > 0) { /* ends: what stalls is given up */
        now_ns = events_serve(client, now_ns, &checked_ns);
    }
    client->is_warming = false;
    client->issued = 0;
    thread->answered = 0;
    thread->received_bytes = 0;
    memset(&thread->latency, 0, sizeof(thread->latency));
}

static void client_run(struct client *client) {
    struct bnx_load_thread *thread = client->thread;
    thread->started_ns = bnx_load_now();
    for (uint32_t i = 0; i < thread->connection_count; i++) {
        struct connection *connection = &client->connections[i];
        if (connection->fd >= 0 && is_open_loop(client)) {
            arrival_await(client, connection, thread->started_ns);
        } else if (connection->fd >= 0) {
            closed_issue(client, connection, bnx_load_now());
        }
    }
    uint64_t checked_ns = thread->started_ns;
    uint64_t now_ns = thread->started_ns;
    while (!is_over(client, now_ns)) { /* ends: by time, by count, or when all have stalled */
        now_ns = events_serve(client, now_ns, &checked_ns);
        if (is_open_loop(client)) {
            arrivals_issue(client, now_ns);
        }
    }
    thread->ended_ns = now_ns;
    if (is_open_loop(client)) {
        unanswered_count(client, now_ns);
    }
}

/* Lays the request stream out so that any OUT_BYTES of it lie in one piece. Returns 0 or -1. */
static int stream_make(struct client *client) {
    const struct bnx_load_options *options = client->thread->options;
    client->out_period = options->is_echo ? 251 : options->request_bytes;
    size_t bytes = OUT_BYTES + client->out_period;
    client->out = malloc(bytes);
    if (client->out == NULL) {
        return -1;
    }
    for (size_t i = 0; i < bytes; i++) {
        client->out[i] =
            options->is_echo ? bnx_load_pattern(i) : options->request[i % client->out_period];
    }
    return 0;
}

/* Returns 0 or -1. */
static int schedule_make(struct client *client) {
    const struct bnx_load_thread *thread = client->thread;
    struct bnx_schedule_options options = {
        .rate = thread->options->rate,
        .is_poisson = thread->options->is_poisson,
        .seed = thread->options->seed,
        .connection_count = thread->options->connection_count,
        .first = thread->connection_first,
        .count = thread->connection_count,
    };
    return options.rate > 0 ? bnx_schedule_init(&client->schedule, &options) : 0;
}

void *bnx_load_thread_run(void *arg) {
    struct bnx_load_thread *thread = arg;
    struct client client = {
        .thread = thread,
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
        .wanted_bytes =
            thread->options->message_bytes > 0 ? thread->options->message_bytes : UINT64_MAX,
        .connections = calloc(thread->connection_count, sizeof(struct connection)),
    };
    bool is_ready = client.epoll_fd >= 0 && client.connections != NULL &&
                    stream_make(&client) == 0 && schedule_make(&client) == 0;
    (void)prctl(PR_SET_TIMERSLACK, 1);
    for (uint32_t i = 0; is_ready && i < thread->connection_count; i++) {
        connection_open(&client, &client.connections[i]);
    }
    if (is_ready) {
        warm_up(&client);
    }
    pthread_barrier_wait(thread->start); /* all are connected */
    pthread_barrier_wait(thread->start); /* main has read the clocks */
    if (is_ready) {
        client_run(&client);
    } else {
        thread->errors[BNX_LOAD_CONNECT]++;
    }
    for (uint32_t i = 0; client.connections != NULL && i < thread->connection_count; i++) {
        if (is_ready && client.connections[i].fd >= 0) {
            close(client.connections[i].fd);
        }
    }
    if (client.epoll_fd >= 0) {
        close(client.epoll_fd);
    }
    bnx_schedule_fini(&client.schedule);
    free(client.connections);
    free(client.out);
    return NULL;
}
