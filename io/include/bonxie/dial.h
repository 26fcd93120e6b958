/* SPDX-License-Identifier: MIT */
/*
 * Dialling: a connection to a name, over whichever of its addresses answers first.
 *
 *     int fd = bnx_dial("example.org:https", NULL);
 *
 * The name's addresses are tried in the resolver's order, the families by turns (RFC 8305, "happy
 * eyeballs"): the next one when an attempt has failed, or has taken 250 ms without an answer while
 * it goes on. The first connection wins; the other attempts are cancelled and closed.
 */
#ifndef BONXIE_DIAL_H
#define BONXIE_DIAL_H

#include <bonxie/base.h>

BNX_EXTERN_C_BEGIN

/* Zeroed means defaults. */
struct bnx_dial_options {
    uint64_t timeout_ns;       /* of look-up and attempts together; 0 = none but the scope's */
    uint64_t attempt_delay_ns; /* until the next attempt joins one that waits; 0 = 250 ms */
    const char *local;         /* the local address, "192.0.2.1:0", and so the family; NULL = any */
    int family;                /* AF_INET or AF_INET6; 0 = both */
    int nagle;                 /* non-zero: without TCP_NODELAY */
};

/**
 * Connects to "host:port", "host:service", "[::1]:80", "unix:/path" or "unix:@name"; what is an
 * address already, as bnx_address_parse reads it, is not looked up.
 * @param options NULL for defaults. Of those, a unix socket has the timeout alone.
 * Returns the fd, non-blocking and close-on-exec (the caller closes it with bnx_close); -EINVAL
 * (the address, or the local one); as bnx_resolve when the name has no address; -EAFNOSUPPORT (a
 * family that is none, or not the address's); -ETIMEDOUT: timeout_ns has passed; when all attempts
 * have failed, the error of the first one that failed beyond this host, else of the first;
 * -ECANCELED, -ETIMEDOUT; -EPERM off a task; -ECHILD (fork child).
 * Context: task, suspends. Uses 10 KiB of its stack.
 */
BNX_API int bnx_dial(const char *address, const struct bnx_dial_options *options);

BNX_EXTERN_C_END

#endif
