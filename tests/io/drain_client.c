/* SPDX-License-Identifier: MIT */
/*
 * drain_client ADDRESS:PORT PID
 *
 * Claim: a server that gets SIGTERM under load closes its listener first, answers in full every
 * request whose last byte was in its socket before the signal, says "Connection: close" in the last
 * answer of each connection, and exits within 2 s.
 * Method: one thread drives all connections, each with several requests in flight, so it knows
 * exactly which were written in full before it sends the signal; over loopback send(2) puts them
 * into the server's socket. Three kinds of connections are there at that moment:
 *   busy    sends the next request after each answer until one says close, as keep-alive clients
 *           do: each must see that answer, then the end of the stream, never a reset;
 *   quiet   sends nothing after the signal: all its requests are answered, then the stream ends;
 *   fresh   connected just before the signal, maybe not accepted yet: the same.
 * When the first answer says close, a new connection must be refused. The exit code is the parent's
 * to check: this client watches a pidfd.
 */
#include "tests/io/client.h"

#include <signal.h>
#include <sys/syscall.h>

#define BUSY 48
#define QUIET 16
#define FRESH 16
#define CONNECTIONS (BUSY + QUIET + FRESH)
#define DEPTH 8
#define IN_BYTES 65536
#define LOAD_ANSWERS 20000 /* before the signal, times BONXIE_SCALE */
#define EXIT_MS_MAX 2000   /* the claim; BONXIE_SCALE below 1 multiplies it by 10 */

enum kind { KIND_BUSY, KIND_QUIET, KIND_FRESH };

struct connection {
    int fd; /* -1 = ended */
    enum kind kind;
    bool is_closing; /* an answer said close */
    uint64_t sent;   /* requests written in full */
    uint64_t answered;
    uint64_t owed; /* requests written in full before the signal */
    size_t in_bytes;
    char in[IN_BYTES];
};

static struct connection connections[CONNECTIONS];
static bool is_signalled;
static bool is_refused; /* a connection after the first close was refused */
static uint64_t closes; /* connections whose last answer said close */

static void request_send(struct connection *connection) {
    static const char *const requests[] = {
        "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /plaintext HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    const char *request = requests[connection->sent % 3];
    size_t bytes = strlen(request);
    ssize_t sent = send(connection->fd, request, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (is_signalled && sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        fail("connection %td: reset, and no answer had said close", connection - connections);
    }
    if (sent != (ssize_t)bytes) {
        fail("a request could not be sent: %s", sent < 0 ? strerror(errno) : "partly");
    }
    connection->sent++;
}

/* Returns the length of the response at the front of the input, 0 when it is not complete. */
static size_t response_find(const struct connection *connection, bool *out_says_close) {
    static const char body[] = "Hello, World!";
    const char *end = memmem(connection->in, connection->in_bytes, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    size_t head_bytes = (size_t)(end + 4 - connection->in);
    size_t bytes = head_bytes + sizeof(body) - 1;
    if (connection->in_bytes < bytes) {
        return 0;
    }
    if (memcmp(connection->in, "HTTP/1.1 200 ", 13) != 0 ||
        memcmp(connection->in + head_bytes, body, sizeof(body) - 1) != 0) {
        fail("a wrong answer: %.*s", (int)bytes, connection->in);
    }
    *out_says_close = memmem(connection->in, head_bytes, "\r\nConnection: close\r\n", 21) != NULL;
    return bytes;
}

/* The first answer that says close: the listener has to be closed by then. */
static void refusal_check(const struct sockaddr_in *address) {
    int fd = client_connect(address);
    if (fd != -ECONNREFUSED) {
        fail("an answer said close, and the listener still accepts (%d)", fd);
    }
    is_refused = true;
}

static void answers_take(struct connection *connection, const struct sockaddr_in *address) {
    bool says_close = false;
    for (size_t bytes = 0; (bytes = response_find(connection, &says_close)) > 0;) {
        if (connection->is_closing) {
            fail("an answer follows the one that said close");
        }
        connection->in_bytes -= bytes;
        memmove(connection->in, connection->in + bytes, connection->in_bytes);
        connection->answered++;
        connection->is_closing = says_close;
        if (says_close && !is_signalled) {
            fail("an answer says close before the signal");
        }
        if (says_close && !is_refused) {
            refusal_check(address);
        }
        if (!says_close && (!is_signalled || connection->kind == KIND_BUSY)) {
            request_send(connection);
        }
    }
}

static void connection_end(struct connection *connection) {
    if (!is_signalled) {
        fail("closed before the signal");
    }
    if (connection->in_bytes > 0) {
        fail("closed in the middle of an answer");
    }
    if (connection->answered < connection->owed) {
        fail("connection %td: %" PRIu64 " requests were written before the signal, %" PRIu64
             " answered",
             connection - connections, connection->owed, connection->answered);
    }
    if (connection->kind == KIND_BUSY && !connection->is_closing) {
        fail("connection %td: no last answer said close", connection - connections);
    }
    closes += connection->is_closing;
    close(connection->fd);
    connection->fd = -1;
}

static void connection_receive(struct connection *connection, const struct sockaddr_in *address) {
    ssize_t bytes = recv(connection->fd, connection->in + connection->in_bytes,
                         IN_BYTES - connection->in_bytes, MSG_DONTWAIT);
    if (bytes < 0 && errno == EAGAIN) {
        return;
    }
    if (bytes < 0) {
        fail("connection %td: receive: %s after %" PRIu64 " of %" PRIu64 " answers",
             connection - connections, strerror(errno), connection->answered, connection->owed);
    }
    if (bytes == 0) {
        connection_end(connection);
        return;
    }
    connection->in_bytes += (size_t)bytes;
    answers_take(connection, address);
}

/* One turn over all open connections. Returns how many there are. */
static size_t connections_turn(const struct sockaddr_in *address) {
    struct pollfd polls[CONNECTIONS];
    size_t open_count = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        polls[i] = (struct pollfd){.fd = connections[i].fd, .events = POLLIN};
        open_count += connections[i].fd >= 0;
    }
    if (open_count == 0) {
        return 0;
    }
    if (poll(polls, CONNECTIONS, GUARD_MS) <= 0) {
        fail("the server does not answer");
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (connections[i].fd >= 0 && polls[i].revents != 0) {
            connection_receive(&connections[i], address);
        }
    }
    return open_count;
}

static void connection_open(size_t index, enum kind kind, const struct sockaddr_in *address) {
    connections[index].kind = kind;
    connections[index].fd = must_connect(address);
    for (int i = 0; i < DEPTH; i++) {
        request_send(&connections[index]);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = address_parse(argc > 1 ? argv[1] : NULL);
    int server_pid = argc > 2 ? atoi(argv[2]) : 0;
    int pid_fd = (int)syscall(SYS_pidfd_open, server_pid, 0);
    if (server_pid <= 0 || pid_fd < 0) {
        fail("wanted the PID of the server");
    }
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connections[i].fd = -1;
    }
    for (size_t i = 0; i < BUSY + QUIET; i++) {
        connection_open(i, i < BUSY ? KIND_BUSY : KIND_QUIET, &address);
    }
    uint64_t wanted = (uint64_t)(LOAD_ANSWERS * test_scale());
    for (uint64_t answers = 0; answers < wanted;) {
        (void)connections_turn(&address);
        answers = 0;
        for (size_t i = 0; i < CONNECTIONS; i++) {
            answers += connections[i].answered;
        }
    }
    for (size_t i = BUSY + QUIET; i < CONNECTIONS; i++) {
        connection_open(i, KIND_FRESH, &address);
    }
    uint64_t owed = 0;
    uint64_t answered = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        connections[i].owed = connections[i].sent;
        owed += connections[i].sent;
        answered += connections[i].answered;
    }
    is_signalled = true;
    uint64_t signalled_ms = now_ms();
    if (kill(server_pid, SIGTERM) < 0) {
        fail("kill: %s", strerror(errno));
    }
    while (connections_turn(&address) > 0) {
    }
    struct pollfd exit_poll = {.fd = pid_fd, .events = POLLIN};
    if (poll(&exit_poll, 1, GUARD_MS) != 1) {
        fail("the server does not exit");
    }
    uint64_t passed_ms = now_ms() - signalled_ms;
    if (passed_ms > (test_scale() < 1 ? 10 * EXIT_MS_MAX : EXIT_MS_MAX)) {
        fail("the server took %" PRIu64 " ms to exit", passed_ms);
    }
    if (!is_refused) {
        fail("no answer said close");
    }
    printf("%" PRIu64 " requests owed at the signal, %" PRIu64
           " of them outstanding: all answered; "
           "%" PRIu64 " of %d connections told to close; exit after %" PRIu64 " ms\n",
           owed, owed - answered, closes, CONNECTIONS, passed_ms);
    return 0;
}
