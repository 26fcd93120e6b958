/* SPDX-License-Identifier: MIT */
/*
 * A small web site inside the program, for the examples that fetch something: it answers late, in
 * another order than it was asked in, and counts.
 *
 *     /get?a=N   {"args": {"a": "N"}}
 *     /page/N    a page with links to others; some fail at first: N % 5 == 2 with a 503, N % 9 == 4
 *                by no answer at all
 */
#ifndef BNX_IO_EXAMPLES_HTTP_SITE_H
#define BNX_IO_EXAMPLES_HTTP_SITE_H

#include <bonxie/net.h>
#include <bonxie/scope.h>

#include <stdint.h>

#define BNX_HTTP_SITE_PAGES_MAX 1000

struct bnx_http_site {
    uint32_t page_count; /* immutable */
    int listener;
    uint64_t in_flight;     /* requests being answered; any task, atomic */
    uint64_t in_flight_max; /* the most so far; any task, atomic */
    struct bnx_scope *scope;
    char address[BNX_ADDRESS_TEXT_BYTES];       /* "127.0.0.1:PORT" */
    uint32_t asked[BNX_HTTP_SITE_PAGES_MAX];    /* how often for each page; any task, atomic */
    uint32_t answered[BNX_HTTP_SITE_PAGES_MAX]; /* with 200 */
};

/**
 * Opens a site of so many pages on a free port; its tasks are the scope's, and end with its cancel.
 * The site must live until the scope is closed.
 * Returns 0 or -errno.
 */
int bnx_http_site_open(struct bnx_http_site *site, struct bnx_scope *scope, uint32_t page_count);

#endif
