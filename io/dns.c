/* SPDX-License-Identifier: MIT */
/* Names (bonxie/dns.h): what needs no look-up at once, everything else by a look-up (lookup.h). */
#include <bonxie/dns.h>

#include "io/lookup.h"

#include "runtime/check.h"
#include "runtime/waiter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define NAMES_MAX 4096u /* sixteen a bucket of the table */

/* ---- Waiting for an answer ---- */

static int wait_for_answer(struct bnx_lookup *lookup) {
    struct bnx_waitable *waitable = bnx_future_waitable(lookup->done);
    int error =
        bnx_waitable_wait(bnx_waitable_ops_of(waitable), waitable, BNX_WAIT_RESOLVE, lookup);
    while (BNX_PLANT(dns_cancel_waits) && error != 0 &&
           bnx_future_poll(lookup->done, NULL) == -EAGAIN) {
        bnx_yield();
    }
    return error;
}

/* Asks, and copies at most so many addresses. Returns how many, or the error. */
static int ask(enum bnx_lookup_kind kind, const char *name, struct bnx_address *out_addresses,
               size_t addresses_max) {
    struct bnx_lookup *lookup;
    bool is_done;
    int error = bnx_lookup_get(kind, name, &lookup, &is_done);
    if (error != 0) {
        return error;
    }
    if (is_done) {
        bnx_task_spend(bnx_task_current());
    } else {
        error = wait_for_answer(lookup);
    }
    int result = error != 0 ? error : lookup->error;
    if (result == 0) {
        size_t count = lookup->count < addresses_max ? lookup->count : addresses_max;
        memcpy(out_addresses, lookup->addresses, count * sizeof(*out_addresses));
        result = (int)count;
    }
    bnx_lookup_put(lookup);
    return result;
}

/* ---- Services and ports ---- */

static in_port_t *port_of(struct bnx_address *address) {
    if (address->storage.ss_family == AF_INET6) {
        return &((struct sockaddr_in6 *)(void *)&address->storage)->sin6_port;
    }
    return &((struct sockaddr_in *)(void *)&address->storage)->sin_port;
}

/* The port in network order. */
static int find_port(const char *service, in_port_t *out_port) {
    size_t length = service != NULL ? strlen(service) : 0;
    unsigned port = 0;
    if (service != NULL && length == 0) {
        return -EINVAL;
    }
    if (length > BNX_HOST_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    if (length == 0 || strspn(service, "0123456789") == length) {
        for (size_t i = 0; i < length && port <= UINT16_MAX; i++) {
            port = port * 10 + (unsigned)(service[i] - '0');
        }
        *out_port = htons((uint16_t)port);
        return port <= UINT16_MAX ? 0 : -EINVAL;
    }
    struct bnx_address found;
    int count = ask(BNX_LOOKUP_SERVICE, service, &found, 1);
    if (count > 0) {
        *out_port = *port_of(&found);
    }
    return count < 0 ? count : 0;
}

/* ---- Hosts ---- */

/* An address as text. Returns 1; -ENODATA: not of that family; 0: it is a name. */
static int read_address(const char *host, int family, struct bnx_address *out_address) {
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)(void *)&out_address->storage;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)(void *)&out_address->storage;
    struct in_addr of_ipv4;
    struct in6_addr of_ipv6;
    int found;
    if (inet_pton(AF_INET, host, &of_ipv4) == 1) {
        found = AF_INET;
    } else if (inet_pton(AF_INET6, host, &of_ipv6) == 1) {
        found = AF_INET6;
    } else {
        return 0;
    }
    if (family != 0 && family != found) {
        return -ENODATA;
    }
    memset(out_address, 0, sizeof(*out_address));
    out_address->storage.ss_family = (sa_family_t)found;
    if (found == AF_INET) {
        ipv4->sin_addr = of_ipv4;
        out_address->bytes = sizeof(*ipv4);
    } else {
        ipv6->sin6_addr = of_ipv6;
        out_address->bytes = sizeof(*ipv6);
    }
    return 1;
}

/* Names are the same in either case; only those of the ASCII letters have one here. */
static void lower_case(char *out, const char *host) {
    size_t i = 0;
    for (; host[i] != '\0'; i++) {
        out[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] - 'A' + 'a') : host[i];
    }
    out[i] = '\0';
}

static int find_addresses(const char *host, int family, struct bnx_address *out_addresses,
                          size_t addresses_max) {
    int count = read_address(host, family, out_addresses);
    if (count != 0) {
        return count;
    }
    char name[BNX_HOST_BYTES_MAX + 1];
    lower_case(name, host);
    enum bnx_lookup_kind kind = family == AF_INET    ? BNX_LOOKUP_HOST_IPV4
                                : family == AF_INET6 ? BNX_LOOKUP_HOST_IPV6
                                                     : BNX_LOOKUP_HOST;
    return ask(kind, name, out_addresses, addresses_max);
}

static int check_arguments(const char *host, int family, const struct bnx_address *out_addresses,
                           size_t addresses_max) {
    if (host == NULL || host[0] == '\0' || out_addresses == NULL || addresses_max == 0) {
        return -EINVAL;
    }
    if (strnlen(host, BNX_HOST_BYTES_MAX + 1) > BNX_HOST_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    return family == 0 || family == AF_INET || family == AF_INET6 ? 0 : -EAFNOSUPPORT;
}

int bnx_resolve(const char *host, const struct bnx_resolve_options *options,
                struct bnx_address *out_addresses, size_t addresses_max) {
    static const struct bnx_resolve_options defaults;
    options = options != NULL ? options : &defaults;
    struct bnx_task *self = bnx_task_current();
    if (self == NULL) {
        return bnx_off_task_error();
    }
    int error = check_arguments(host, options->family, out_addresses, addresses_max);
    if (error == 0) {
        error = bnx_task_cancel_check(self);
    }
    in_port_t port = 0;
    if (error == 0) {
        error = find_port(options->service, &port);
    }
    if (error != 0) {
        return error;
    }
    int count = find_addresses(host, options->family, out_addresses, addresses_max);
    for (int i = 0; i < count; i++) {
        *port_of(&out_addresses[i]) = port;
    }
    return count;
}

/* ---- What is kept ---- */

/* Locks may be held for ever in a fork child, and the threads are not there. */
static bool is_fork_child(void) {
    return bnx_task_current() == NULL && bnx_off_task_error() == -ECHILD;
}

static uint64_t keep_ns(uint64_t chosen_ns, uint64_t default_ns) {
    if (chosen_ns == BNX_DNS_KEEP_NEVER) {
        return 0;
    }
    return chosen_ns != 0 ? chosen_ns : default_ns;
}

int bnx_dns_configure(const struct bnx_dns_options *options) {
    static const struct bnx_dns_options defaults;
    options = options != NULL ? options : &defaults;
    if (is_fork_child()) {
        return -ECHILD;
    }
    if (options->names_max > NAMES_MAX) {
        return -EINVAL;
    }
    bnx_lookup_limits_set(keep_ns(options->positive_ns, BNX_LOOKUP_POSITIVE_NS),
                          keep_ns(options->negative_ns, BNX_LOOKUP_NEGATIVE_NS),
                          options->names_max != 0 ? options->names_max : BNX_LOOKUP_KEPT_MAX);
    return 0;
}

int bnx_dns_forget(const char *host) {
    if (is_fork_child()) {
        return -ECHILD;
    }
    char name[BNX_HOST_BYTES_MAX + 1];
    if (host == NULL) {
        bnx_lookup_forget(NULL);
    } else if (strnlen(host, sizeof(name)) < sizeof(name)) { /* no longer name is known */
        lower_case(name, host);
        bnx_lookup_forget(name);
    }
    return 0;
}
