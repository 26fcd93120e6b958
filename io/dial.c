/* SPDX-License-Identifier: MIT */
/*
 * Dialling (bonxie/dial.h): a look-up, and a race of connection attempts in a scope of its own.
 *
 * Ordering
 *   D1 winner: CAS acq_rel by each attempt that has a connection; those who find it taken close
 *      theirs. The dialler reads it after the scope's close.
 */
#include <bonxie/dial.h>

#include <bonxie/dns.h>
#include <bonxie/file.h>
#include <bonxie/scope.h>
#include <bonxie/select.h>
#include <bonxie/sem.h>

#include "io/hint.h"
#include "io/op.h"

#include "runtime/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#define ATTEMPT_DELAY_NS UINT64_C(250000000) /* what RFC 8305 recommends */
#define SERVICE_BYTES_MAX 64
#define NOBODY (-1)

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24 /* Linux 4.2; kernel ABI */
#endif

struct attempt {
    struct dial *dial;                 /* immutable */
    const struct bnx_address *address; /* immutable */
    int error;                         /* of one that has failed; the attempt */
};

/* One call, in its caller's frame. */
struct dial {
    const char *text;
    const struct bnx_dial_options *options;
    int family;
    struct bnx_address local; /* .bytes 0: none */
    uint32_t count;
    struct bnx_address addresses[BNX_RESOLVE_ADDRESSES_MAX]; /* in the resolver's order */
    struct attempt attempts[BNX_RESOLVE_ADDRESSES_MAX];      /* in the order of attempts */
    struct bnx_sem failed; /* a token for each attempt that has failed */
    int winner;            /* the connection, or NOBODY; D1 */
};

/* ---- One attempt ---- */

static int prepare_socket(const struct dial *dial, int fd) {
    int one = 1;
    if (dial->options->nagle == 0) { /* slower without, not wrong */
        (void)bnx_os.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (dial->local.bytes == 0) {
        return 0;
    }
    /* Where no port is asked for, connect then chooses it: there are more to choose from. */
    (void)bnx_os.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bnx_os.bind(fd, (const struct sockaddr *)&dial->local.storage, dial->local.bytes);
}

static int connect_to(const struct dial *dial, const struct bnx_address *address) {
    if (address->storage.ss_family == AF_UNIX) {
        return bnx_connect_to(address);
    }
    int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = bnx_os.socket(address->storage.ss_family, type, 0);
    if (fd < 0) {
        return fd;
    }
    int error = prepare_socket(dial, fd);
    if (error == 0) {
        struct bnx_op op = {.kind = BNX_OP_CONNECT,
                            .fd = fd,
                            .buffer = (void *)(uintptr_t)&address->storage,
                            .bytes = address->bytes};
        error = (int)bnx_op_run(&op, BNX_WAIT_CONNECT);
    }
    if (error != 0) {
        (void)bnx_os.close(fd);
        return error;
    }
    bnx_hint_clear(fd);
    bnx_hint_set(fd, BNX_HINT_SOCKET, true);
    return fd;
}

/* The first one to end well cancels the others by its result. */
static int attempt_task(void *arg) {
    struct attempt *attempt = arg;
    struct dial *dial = attempt->dial;
    int fd = connect_to(dial, attempt->address);
    if (fd < 0) {
        attempt->error = fd;
        (void)bnx_sem_release(&dial->failed);
        return fd;
    }
    int nobody = NOBODY;
    if (bnx_cas_acq_rel(&dial->winner, &nobody, fd)) { /* D1 */
        return 0;
    }
    if (!BNX_PLANT(dial_keeps_losers)) {
        (void)bnx_close(fd);
    }
    return -ECANCELED;
}

/* ---- The race ---- */

/* Whether the error tells more than that this host has no way to such an address. */
static bool is_telling(int error) {
    return error != -ENETUNREACH && error != -EADDRNOTAVAIL && error != -EAFNOSUPPORT &&
           error != -ECANCELED && error != 0;
}

static int error_of(const struct dial *dial) {
    for (uint32_t i = 0; i < dial->count; i++) {
        if (is_telling(dial->attempts[i].error) || BNX_PLANT(dial_first_error)) {
            return dial->attempts[i].error;
        }
    }
    return dial->attempts[0].error;
}

/* Until an attempt fails, or has had its time. Returns < 0: somebody has won, or a cancel. */
static int wait_for_turn(struct dial *dial) {
    uint64_t delay_ns = dial->options->attempt_delay_ns;
    struct bnx_case cases[] = {
        BNX_CASE_WAIT(bnx_sem_waitable(&dial->failed)),
        BNX_CASE_AFTER(delay_ns != 0 ? delay_ns : ATTEMPT_DELAY_NS),
    };
    if (BNX_PLANT(dial_failure_waits)) {
        cases[0] = (struct bnx_case){0};
    }
    if (BNX_PLANT(dial_one_at_a_time)) {
        cases[1] = (struct bnx_case){0};
    }
    return bnx_select(cases, 2, 0);
}

static void attempt_all(struct dial *dial, struct bnx_scope *scope) {
    for (uint32_t i = 0; i < dial->count; i++) {
        struct attempt *attempt = &dial->attempts[i];
        int error = bnx_spawn(scope, attempt_task, attempt); /* from now on its record is its own */
        if (error != 0) {
            attempt->error = error;
        } else if (i + 1 < dial->count && wait_for_turn(dial) < 0) {
            return;
        }
    }
}

static int race(struct dial *dial) {
    struct bnx_scope scope;
    struct bnx_scope_options options = {
        .policy = BNX_PLANT(dial_waits_for_losers) ? BNX_SCOPE_COLLECT : BNX_SCOPE_RACE};
    int error = bnx_scope_open(&scope, &options);
    if (error != 0) {
        return error;
    }
    attempt_all(dial, &scope);
    (void)bnx_scope_close(&scope); /* what it says is told by winner, cancel check and errors */
    int winner = bnx_load_relaxed(&dial->winner); /* all who write it have ended */
    if (winner != NOBODY) {
        return winner;
    }
    error = bnx_task_cancel_check(bnx_task_current());
    return error != 0 ? error : error_of(dial);
}

/* ---- The addresses ---- */

/* "host:service" or "[host]:service"; a host without brackets has no colon of its own. */
static int split(const char *text, char host[BNX_HOST_BYTES_MAX + 1],
                 char service[SERVICE_BYTES_MAX + 1]) {
    bool is_bracketed = text[0] == '[';
    const char *start = text + is_bracketed;
    const char *end = strchr(start, is_bracketed ? ']' : ':');
    const char *colon = end != NULL ? end + is_bracketed : NULL;
    if (colon == NULL || *colon != ':' || end == start || strchr(colon + 1, ':') != NULL) {
        return -EINVAL;
    }
    size_t host_bytes = (size_t)(end - start);
    size_t service_bytes = strlen(colon + 1);
    if (host_bytes > BNX_HOST_BYTES_MAX || service_bytes > SERVICE_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    memcpy(host, start, host_bytes);
    host[host_bytes] = '\0';
    memcpy(service, colon + 1, service_bytes + 1);
    return service_bytes != 0 ? 0 : -EINVAL;
}

static int find_addresses(struct dial *dial) {
    struct bnx_address *first = &dial->addresses[0];
    int error = bnx_address_parse(dial->text, first);
    bool is_unix = strncmp(dial->text, "unix:", 5) == 0;
    if (error == 0 || is_unix) {
        dial->count = 1;
        bool is_other = !is_unix && dial->family != 0 && dial->family != first->storage.ss_family;
        return error == 0 && is_other ? -EAFNOSUPPORT : error;
    }
    char host[BNX_HOST_BYTES_MAX + 1];
    char service[SERVICE_BYTES_MAX + 1];
    error = split(dial->text, host, service);
    if (error != 0) {
        return error;
    }
    struct bnx_resolve_options options = {.service = service, .family = dial->family};
    int count = bnx_resolve(host, &options, dial->addresses, BNX_ARRAY_COUNT(dial->addresses));
    dial->count = count > 0 ? (uint32_t)count : 0;
    return count < 0 ? count : 0;
}

/* The first address of that family from there on, or of the other one; count: there is none. */
static uint32_t find_family(const struct dial *dial, uint32_t from, int family, bool is_it) {
    while (from < dial->count &&
           (dial->addresses[from].storage.ss_family == family) != is_it) { /* ends: each once */
        from++;
    }
    return from;
}

/* The family of the first address begins, and they take turns while both have some left. */
static void order_attempts(struct dial *dial) {
    int family = dial->addresses[0].storage.ss_family;
    uint32_t next[2] = {find_family(dial, 0, family, false), 0}; /* the other one's, its own */
    bool is_it = true;
    for (uint32_t i = 0; i < dial->count; i++) {
        if (next[is_it] == dial->count) {
            is_it = !is_it;
        }
        uint32_t at = next[is_it];
        dial->attempts[i] = (struct attempt){.dial = dial, .address = &dial->addresses[at]};
        next[is_it] = find_family(dial, at + 1, family, is_it);
        is_it = BNX_PLANT(dial_no_turns) ? is_it : !is_it;
    }
}

/* ---- The call ---- */

static int dial_now(void *arg) {
    struct dial *dial = arg;
    int error = find_addresses(dial);
    if (error != 0) {
        return error;
    }
    if (dial->count == 1) {
        return connect_to(dial, &dial->addresses[0]);
    }
    order_attempts(dial);
    return race(dial);
}

static int read_options(struct dial *dial) {
    dial->family = dial->options->family;
    if (dial->family != 0 && dial->family != AF_INET && dial->family != AF_INET6) {
        return -EAFNOSUPPORT;
    }
    if (dial->options->local == NULL) {
        dial->local.bytes = 0;
        return 0;
    }
    int error = bnx_address_parse(dial->options->local, &dial->local);
    int family = dial->local.storage.ss_family;
    if (error != 0 || family == AF_UNIX || (dial->family != 0 && dial->family != family)) {
        return -EINVAL;
    }
    dial->family = family;
    return 0;
}

int bnx_dial(const char *address, const struct bnx_dial_options *options) {
    static const struct bnx_dial_options defaults;
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    if (address == NULL) {
        return -EINVAL;
    }
    struct dial dial; /* not cleared: it is large, and written as it is used */
    dial.text = address;
    dial.options = options != NULL ? options : &defaults;
    dial.winner = NOBODY;
    bnx_sem_init(&dial.failed, 0);
    int error = read_options(&dial);
    if (error == 0) {
        error = bnx_task_cancel_check(self);
    }
    if (error != 0) {
        return error;
    }
    uint64_t timeout_ns = dial.options->timeout_ns;
    int fd = timeout_ns != 0 ? bnx_timeout(timeout_ns, dial_now, &dial) : dial_now(&dial);
    /* Beneath a deadline of its own it is told -ECANCELED of one above. */
    error = fd == -ECANCELED ? bnx_task_cancel_check(self) : 0;
    return error != 0 ? error : fd;
}
