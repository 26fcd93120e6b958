/* SPDX-License-Identifier: MIT */
/* Tests dialling (bonxie/dial.h), with a resolver of its own and loopback addresses. */
#include "tests/io/names.h"

#include <bonxie/dial.h>

#include <netinet/tcp.h>
#include <sys/un.h>

#define HOUR_NS (3600 * BNX_NS_PER_S)

/* ---- Who listens ---- */

static int listen_at(const char *host, uint16_t port, int backlog) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    CHECK_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        CHECK(errno == EADDRINUSE || errno == EACCES); /* a port below 1024 may be root's */
        CHECK_EQ(close(fd), 0);
        return -1;
    }
    CHECK_EQ(listen(fd, backlog), 0);
    return fd;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    return ntohs(address.sin_port);
}

/* One port of the loopback: at 127.0.0.1 a full queue, where connects hang; at 127.0.0.2 a good
 * listener; at 127.0.0.3 and beyond nobody. */
struct place {
    uint16_t port;
    int hole;
    int filler;
    int good;
    char text[64]; /* "host:PORT" */
};

static void place_open(struct place *place, const char *host) {
    for (;;) { /* ends: a port is seldom taken at one address alone */
        place->hole = listen_at("127.0.0.1", 0, 0);
        place->port = port_of(place->hole);
        place->good = listen_at("127.0.0.2", place->port, 64);
        if (place->good >= 0) {
            break;
        }
        CHECK_EQ(close(place->hole), 0);
    }
    struct sockaddr_in full = {.sin_family = AF_INET,
                               .sin_port = htons(place->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    place->filler = io_tcp_connect(&full);
    (void)snprintf(place->text, sizeof(place->text), "%s:%u", host, place->port);
}

static void place_close(struct place *place) {
    CHECK_EQ(close(place->filler), 0);
    CHECK_EQ(close(place->hole), 0);
    CHECK_EQ(close(place->good), 0);
}

static void check_peer(int fd, const char *host, uint16_t port) {
    struct sockaddr_in peer;
    struct in_addr expected;
    socklen_t bytes = sizeof(peer);
    CHECK(fd >= 0);
    CHECK_EQ(inet_pton(AF_INET, host, &expected), 1);
    CHECK_EQ(getpeername(fd, (struct sockaddr *)&peer, &bytes), 0);
    CHECK_EQ(ntohl(peer.sin_addr.s_addr), ntohl(expected.s_addr));
    CHECK_EQ(ntohs(peer.sin_port), port);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

/* ---- The race ---- */

static const char *const hole_then_good[] = {"127.0.0.1", "127.0.0.2", NULL};
static const char *const refused_then_good[] = {"127.0.0.3", "127.0.0.4", "127.0.0.2", NULL};
static const char *const holes[] = {"127.0.0.1", "127.0.0.1", "127.0.0.1", NULL};
static const char *const all_refuse[] = {"127.0.0.3", "127.0.0.4", NULL};

static int dial_past_hole(void *arg) {
    struct place place;
    const struct bnx_dial_options *options = arg;
    place_open(&place, "host");
    int before = io_fd_count();
    int fd = bnx_dial(place.text, options);
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(io_fd_count(), before + 1);
    CHECK_EQ(bnx_close(fd), 0);
    place_close(&place);
    return 0;
}

/* The first address takes no connections: the second one is tried beside it, and wins. The attempt
 * that lost leaves no descriptor. */
TEST(dial_second, "dial.second_address_wins") {
    struct bnx_dial_options soon = {.attempt_delay_ns = BNX_NS_PER_MS};
    names_install();
    names.answers = hole_then_good;
    sched_run_each(dial_past_hole, &soon);
    sched_run(2, dial_past_hole, NULL); /* after a quarter of a second */
}

static int dial_past_refusals(void *arg) {
    (void)arg;
    struct place place;
    struct bnx_dial_options options = {.attempt_delay_ns = HOUR_NS};
    place_open(&place, "host");
    int fd = bnx_dial(place.text, &options);
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(bnx_close(fd), 0);
    place_close(&place);
    return 0;
}

/* An attempt that has failed is followed by the next one at once: nobody waits for an hour. */
TEST(dial_failure, "dial.failure_starts_the_next") {
    names_install();
    names.answers = refused_then_good;
    sched_run_each(dial_past_refusals, NULL);
}

static const char *const everywhere[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4",
                                         "127.0.0.5", "127.0.0.6", "127.0.0.7", NULL};

static int dial_all(void *arg) {
    (void)arg;
    char text[64];
    struct bnx_dial_options options = {.attempt_delay_ns = 1};
    int listener = listen_at("0.0.0.0", 0, 4096);
    CHECK(listener >= 0);
    (void)snprintf(text, sizeof(text), "host:%u", port_of(listener));
    int before = io_fd_count();
    for (uint64_t i = 0; i < 5 + bnx_test_scale(45); i++) {
        int fd = bnx_dial(text, &options);
        CHECK(fd >= 0);
        CHECK_EQ(bnx_close(fd), 0);
    }
    CHECK_EQ(io_fd_count(), before);
    CHECK_EQ(close(listener), 0);
    return 0;
}

/* Several attempts end well at once: one is what the caller gets, the others are closed. */
TEST(dial_winners, "dial.losers_are_closed") {
    names_install();
    names.answers = everywhere;
    sched_run_each(dial_all, NULL);
}

/* ---- Order and errors ---- */

static int (*real_socket)(int domain, int type, int protocol);
static int domains[16];
static uint32_t domain_count;

/* Sockets of IPv6 there are none; which were wanted is written down. */
static int socket_of_ipv4(int domain, int type, int protocol) {
    CHECK(domain_count < BNX_ARRAY_COUNT(domains));
    domains[domain_count++] = domain;
    return domain == AF_INET6 ? -EAFNOSUPPORT : real_socket(domain, type, protocol);
}

static int dial_in_turns(void *arg) {
    (void)arg;
    static const int expected[] = {AF_INET6, AF_INET, AF_INET6, AF_INET, AF_INET, AF_INET};
    struct place place;
    struct bnx_dial_options options = {.attempt_delay_ns = HOUR_NS};
    place_open(&place, "host");
    domain_count = 0;
    CHECK_EQ(bnx_dial(place.text, &options), -ECONNREFUSED);
    CHECK_EQ(domain_count, BNX_ARRAY_COUNT(expected));
    for (uint32_t i = 0; i < domain_count; i++) {
        CHECK_EQ(domains[i], expected[i]);
    }
    place_close(&place);
    return 0;
}

/* The families take turns, the resolver's first one begins, and what is left of one comes last. Of
 * the errors the one that says most is returned. */
TEST(dial_turns, "dial.families_take_turns") {
    static const char *const answers[] = {"2001:db8::1", "2001:db8::2", "127.0.0.3", "127.0.0.4",
                                          "127.0.0.5",   "127.0.0.6",   NULL};
    names_install();
    names.answers = answers;
    real_socket = bnx_os.socket;
    bnx_os.socket = socket_of_ipv4;
    sched_run_each(dial_in_turns, NULL);
}

static int dial_in_vain(void *arg) {
    (void)arg;
    static const struct {
        const char *address;
        struct bnx_dial_options options;
        int error;
    } table[] = {
        {NULL, {0}, -EINVAL},
        {"", {0}, -EINVAL},
        {"host", {0}, -EINVAL},
        {"host:", {0}, -EINVAL},
        {":", {0}, -EINVAL},
        {"ho:st:80", {0}, -EINVAL},
        {"[host]", {0}, -EINVAL},
        {"[host:80", {0}, -EINVAL},
        {"[]:80", {0}, -EINVAL},
        {"[host]x:80", {0}, -EINVAL},
        {"host:65536", {0}, -EINVAL},
        {"127.0.0.1:65536", {0}, -EINVAL},
        {"unix:", {0}, -EINVAL},
        {"unix:/none/such", {0}, -ENOENT},
        {"error-2.host:80", {0}, -ENOENT}, /* EAI_NONAME */
        {"host:unknown", {0}, -EPROTONOSUPPORT},
        {"host:80", {.family = AF_UNIX}, -EAFNOSUPPORT},
        {"[::1]:80", {.family = AF_INET}, -EAFNOSUPPORT},
        {"host:80", {.family = AF_INET6}, -ENODATA},
        {"host:80", {.local = "nonsense"}, -EINVAL},
        {"host:80", {.local = "unix:@x"}, -EINVAL},
        {"host:80", {.local = "127.0.0.1:0", .family = AF_INET6}, -EINVAL},
        {"host:80", {.local = "192.0.2.1:0"}, -EADDRNOTAVAIL},
        {"[::1]:80", {.local = "127.0.0.1:0"}, -EAFNOSUPPORT},
    };
    int before = io_fd_count();
    for (size_t i = 0; i < BNX_ARRAY_COUNT(table); i++) {
        int error = bnx_dial(table[i].address, &table[i].options);
        if (error != table[i].error) {
            bnx_test_fail(__FILE__, __LINE__, "\"%s\" (row %zu) gives %d", table[i].address, i,
                          error);
        }
    }
    CHECK_EQ(io_fd_count(), before);
    return 0;
}

TEST(dial_errors, "dial.errors") {
    names_install();
    names.answers = all_refuse;
    CHECK_EQ(bnx_dial("127.0.0.1:80", NULL), -EPERM);
    sched_run_each(dial_in_vain, NULL);
}

/* ---- Options and forms ---- */

static int option_of(int fd, int level, int name) {
    int value = -1;
    socklen_t bytes = sizeof(value);
    CHECK_EQ(getsockopt(fd, level, name, &value, &bytes), 0);
    return value;
}

static int dial_variously(void *arg) {
    (void)arg;
    struct place place;
    char text[64];
    place_open(&place, "host");

    struct bnx_dial_options options = {.local = "127.0.0.9:0"};
    int fd = bnx_dial(place.text, &options);
    struct bnx_address local;
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(bnx_address_local(fd, &local), 0);
    CHECK(bnx_address_format(&local, text, sizeof(text)) > 0);
    CHECK(strncmp(text, "127.0.0.9:", 10) == 0);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK_EQ(bnx_close(fd), 0);

    options = (struct bnx_dial_options){.nagle = 1, .family = AF_INET};
    fd = bnx_dial(place.text, &options);
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(bnx_close(fd), 0);

    uint32_t calls = names_calls();
    (void)snprintf(text, sizeof(text), "127.0.0.2:%u", place.port);
    fd = bnx_dial(text, NULL);
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(bnx_close(fd), 0);
    (void)snprintf(text, sizeof(text), "[127.0.0.2]:%u", place.port);
    fd = bnx_dial(text, NULL);
    check_peer(fd, "127.0.0.2", place.port);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(names_calls(), calls); /* addresses are not looked up */
    place_close(&place);
    return 0;
}

static int dial_unix(void *arg) {
    (void)arg;
    char text[64];
    (void)snprintf(text, sizeof(text), "unix:@bonxie-dial-%d", getpid());
    int listener = bnx_listen(text, NULL);
    CHECK(listener >= 0);
    struct bnx_dial_options options = {.timeout_ns = HOUR_NS};
    int fd = bnx_dial(text, &options);
    CHECK(fd >= 0);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(bnx_close(listener), 0);
    return 0;
}

TEST(dial_options, "dial.options") {
    static const char *const answers[] = {"::1", "127.0.0.2", NULL};
    names_install();
    names.answers = answers;
    sched_run_each(dial_variously, NULL);
    sched_run_each(dial_unix, NULL);
}

static int dial_service(void *arg) {
    (void)arg;
    int listener = listen_at("127.0.0.2", NAMES_PORT, 64);
    if (listener < 0) {
        SKIP("port %d of 127.0.0.2 cannot be had", NAMES_PORT);
    }
    int fd = bnx_dial("host:known", NULL);
    check_peer(fd, "127.0.0.2", NAMES_PORT);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(close(listener), 0);
    return 0;
}

/* A service has the port that the system knows it by. */
TEST(dial_by_service, "dial.service") {
    static const char *const answers[] = {"127.0.0.2", NULL};
    names_install();
    names.answers = answers;
    sched_run(2, dial_service, NULL);
}

static int dial_localhost(void *arg) {
    (void)arg;
    char text[64];
    int listener = listen_at("127.0.0.1", 0, 64);
    (void)snprintf(text, sizeof(text), "localhost:%u", port_of(listener));
    int fd = bnx_dial(text, NULL);
    check_peer(fd, "127.0.0.1", port_of(listener));
    CHECK_EQ(bnx_send(fd, "x", 1, 0), 1);
    CHECK_EQ(bnx_close(fd), 0);
    CHECK_EQ(close(listener), 0);
    return 0;
}

/* With the system's resolver; where that says ::1 first, nobody listens there. */
TEST(dial_real, "dial.localhost") {
    sched_run_each(dial_localhost, NULL);
}

/* ---- Ends from outside ---- */

static int dial_to_timeout(void *arg) {
    (void)arg;
    struct place place;
    struct bnx_dial_options options = {.timeout_ns = 5 * BNX_NS_PER_MS,
                                       .attempt_delay_ns = BNX_NS_PER_MS};
    place_open(&place, "host");
    int before = io_fd_count();
    CHECK_EQ(bnx_dial(place.text, &options), -ETIMEDOUT);
    (void)snprintf(place.text, sizeof(place.text), "127.0.0.1:%u", place.port);
    CHECK_EQ(bnx_dial(place.text, &options), -ETIMEDOUT);
    CHECK_EQ(bnx_dial("held-timeout:80", &options), -ETIMEDOUT);
    CHECK_EQ(io_fd_count(), before);
    CHECK_EQ(bnx_checkpoint(), 0);
    place_close(&place);
    return 0;
}

/* The timeout covers look-up and attempts, and is nobody else's. */
TEST(dial_timeout, "dial.timeout") {
    names_install();
    names.answers = holes;
    names_shut();
    sched_run_each(dial_to_timeout, NULL);
    names_open();
}

struct cancelled {
    const char *text;
    uint64_t timeout_ns;
    int expected;
};

static int dial_until_cancelled(void *arg) {
    const struct cancelled *cancelled = arg;
    struct bnx_dial_options options = {.attempt_delay_ns = 1, .timeout_ns = cancelled->timeout_ns};
    CHECK_EQ(bnx_dial(cancelled->text, &options), cancelled->expected);
    return 0;
}

static int cancel_dials(void *arg) {
    (void)arg;
    struct place place;
    struct bnx_scope scope;
    place_open(&place, "host");
    int before = io_fd_count();
    struct bnx_scope_options deadline = {.deadline_ns = bnx_now() + BNX_NS_PER_MS};
    CHECK_EQ(bnx_scope_open(&scope, &deadline), 0);
    struct cancelled cancelled = {place.text, HOUR_NS, -ETIMEDOUT};
    (void)dial_until_cancelled(&cancelled);
    (void)bnx_scope_close(&scope);

    for (uint64_t i = 0; i < 2 + bnx_test_scale(50); i++) {
        CHECK_EQ(bnx_scope_open(&scope, NULL), 0);
        cancelled = (struct cancelled){place.text, i % 2 == 0 ? HOUR_NS : 0, -ECANCELED};
        CHECK_EQ(bnx_spawn(&scope, dial_until_cancelled, &cancelled), 0);
        for (uint64_t k = 0; k < i; k++) {
            bnx_yield();
        }
        bnx_scope_cancel(&scope, 0);
        (void)bnx_scope_close(&scope);
    }
    CHECK_EQ(io_fd_count(), before);
    place_close(&place);
    return 0;
}

/* A cancel at any time ends all attempts, and a deadline of the caller's is told as one. */
TEST(dial_cancel, "dial.cancel") {
    names_install();
    names.answers = holes;
    sched_run_each(cancel_dials, NULL);
}

int main(int argc, char **argv) {
    return bnx_test_main(argc, argv);
}
