/* SPDX-License-Identifier: MIT */
/*
 * Names: the addresses of a host, as the system's own resolver gives them, without blocking.
 *
 *     struct bnx_address addresses[BNX_RESOLVE_ADDRESSES_MAX];
 *     struct bnx_resolve_options options = {.service = "https"};
 *     int count = bnx_resolve("example.org", &options, addresses, BNX_RESOLVE_ADDRESSES_MAX);
 *
 * getaddrinfo(3) is what asks, so /etc/hosts, nsswitch.conf and resolv.conf count. It runs in
 * threads of its own, at most 8 in the process, with the signals blocked; a cancelled task leaves
 * it behind and goes on at once. Who looks up what somebody else is looking up waits for the same
 * answer. Answers are kept for a while, for all runtimes of the process together: getaddrinfo does
 * not tell how long they hold, so how long is a setting (bnx_dns_configure).
 *
 * What getaddrinfo says, and what the calls here return:
 *
 *     EAI_NONAME      -ENOENT           no such name
 *     EAI_NODATA      -ENODATA          the name has no address
 *     EAI_ADDRFAMILY  -ENODATA          it has none of that family
 *     EAI_SERVICE     -EPROTONOSUPPORT  no such service
 *     EAI_AGAIN       -EAGAIN           no server has answered: later it may
 *     EAI_FAIL        -EIO              a server has answered nonsense, or refuses to
 *     EAI_FAMILY      -EAFNOSUPPORT
 *     EAI_MEMORY      -ENOMEM
 *     EAI_OVERFLOW    -EOVERFLOW
 *     EAI_SYSTEM      errno, negated
 *     any other       -EIO
 *
 * The first four are kept as answers are, for a shorter while; the others are not.
 */
#ifndef BONXIE_DNS_H
#define BONXIE_DNS_H

#include <bonxie/base.h>
#include <bonxie/net.h>

BNX_EXTERN_C_BEGIN

#define BNX_HOST_BYTES_MAX 255       /* of a name, without its NUL */
#define BNX_RESOLVE_ADDRESSES_MAX 32 /* of an answer; what comes behind them is dropped */

/* Zeroed means defaults. */
struct bnx_resolve_options {
    const char *service; /* a port ("443") or a name ("https", of TCP); NULL = port 0 */
    int family;          /* AF_INET or AF_INET6; 0 = both */
};

/**
 * Looks up the addresses of a host, the preferred one first (RFC 6724, as getaddrinfo sorts them).
 * @param host a name, or an address as text ("127.0.0.1", "::1"), which needs no look-up.
 * @param options NULL for defaults.
 * @param out_addresses receives the first addresses_max (>= 1) of them; untouched on failure.
 * Returns how many were stored, at least 1; an error of the table above; -EINVAL (no name, no
 * service, no room); -ENAMETOOLONG; -EAFNOSUPPORT (options); -ENOMEM; -EAGAIN also when no thread
 * can be started; -ECANCELED, -ETIMEDOUT; -EPERM off a task; -ECHILD (fork child).
 * Context: task, suspends until the answer is there.
 */
BNX_API int bnx_resolve(const char *host, const struct bnx_resolve_options *options,
                        struct bnx_address *out_addresses, size_t addresses_max);

#define BNX_DNS_KEEP_NEVER UINT64_MAX /* positive_ns, negative_ns: not kept at all */

/* Zeroed means defaults. */
struct bnx_dns_options {
    uint64_t positive_ns; /* how long addresses are kept; 0 = 30 s */
    uint64_t negative_ns; /* how long it is kept that there are none; 0 = 3 s */
    uint32_t names_max;   /* answers kept; beyond it the least recently used goes; 0 = 256 */
};

/**
 * Sets how answers are kept, for the whole process; those there stay until their time comes.
 * @param options NULL for defaults. names_max is at most 4096.
 * Returns 0; -EINVAL; -ECHILD (fork child). Context: any thread; never suspends.
 */
BNX_API int bnx_dns_configure(const struct bnx_dns_options *options);

/**
 * Forgets what is known of a host, so that the next look-up asks anew; one under way ends as it
 * would, for those who wait for it, and is not kept.
 * @param host NULL: all names, of services as well.
 * Returns 0; -ECHILD (fork child). Context: any thread; never suspends.
 */
BNX_API int bnx_dns_forget(const char *host);

BNX_EXTERN_C_END

#endif
