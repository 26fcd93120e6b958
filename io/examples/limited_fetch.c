/* SPDX-License-Identifier: MIT */
/*
 * limited_fetch: twelve fetches, at most three at a time: each takes a token of a semaphore first.
 * A fetch of a gets {"args": {"a": "a"}}, and prints what it has found as it comes.
 *
 *     limited_fetch                          (from a small site inside the program, which says on
 *                                            stderr how many it has had at once)
 *     limited_fetch --server httpbin.org:80  (from that server)
 */
#include "io/examples/http_client.h"
#include "io/examples/http_site.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fetches {
    const char *server; /* NULL: the own site */
    struct bnx_http_site site;
    struct bnx_http_pool pool;
    struct bnx_sem tokens;
    uint32_t count;
    uint32_t limit;
};

struct fetch {
    struct fetches *fetches;
    uint32_t a;
};

/* The value of "a" in the reply, whose shape is known. */
static int find_a(const struct bnx_http_reply *reply, unsigned *out_a) {
    const char *at = strstr(reply->body, "\"a\": \"");
    return reply->status == 200 && at != NULL && sscanf(at, "\"a\": \"%u\"", out_a) == 1 ? 0
                                                                                         : -EPROTO;
}

static int fetch_now(const struct fetch *fetch, struct bnx_http_reply *reply) {
    char path[32];
    unsigned a;
    (void)snprintf(path, sizeof(path), "/get?a=%u", fetch->a);
    int error = bnx_http_get(&fetch->fetches->pool, path, reply);
    error = error == 0 ? find_a(reply, &a) : error;
    if (error == 0) {
        printf("fetch(%u) = %u\n", fetch->a, a);
    }
    return error;
}

static int fetch_task(void *arg) {
    const struct fetch *fetch = arg;
    int error = bnx_sem_acquire(&fetch->fetches->tokens);
    if (error < 0) {
        return error;
    }
    struct bnx_http_reply *reply = malloc(sizeof(*reply));
    error = reply != NULL ? fetch_now(fetch, reply) : -ENOMEM;
    free(reply);
    bnx_sem_release(&fetch->fetches->tokens);
    return error;
}

static int fetch_all(struct fetches *fetches) {
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (uint32_t a = 0; a < fetches->count && error == 0; a++) {
        struct fetch fetch = {fetches, a};
        error = bnx_spawn_copy(&scope, fetch_task, &fetch, sizeof(fetch));
    }
    int close_error = bnx_scope_close(&scope);
    return close_error < 0 ? close_error : error; /* the first one, not the spawn's -ECANCELED */
}

static int run(void *arg) {
    struct fetches *fetches = arg;
    struct bnx_scope scope;
    bool is_own = fetches->server == NULL;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return 1;
    }
    if (is_own) {
        error = bnx_http_site_open(&fetches->site, &scope, 0);
    }
    if (error == 0) {
        bnx_http_pool_init(&fetches->pool, is_own ? fetches->site.address : fetches->server);
        bnx_sem_init(&fetches->tokens, fetches->limit);
        error = fetch_all(fetches);
        bnx_http_pool_fini(&fetches->pool);
    }
    bnx_scope_cancel(&scope, 0); /* the site's tasks */
    (void)bnx_scope_close(&scope);
    if (error < 0 && error != -ECANCELED) {
        fprintf(stderr, "limited_fetch: %s\n", strerror(-error));
        return 1;
    }
    if (is_own) {
        fprintf(stderr, "at most %u at once\n", (unsigned)fetches->site.in_flight_max);
    }
    return error;
}

int main(int argc, char **argv) {
    static struct fetches fetches = {.count = 12, .limit = 3};
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"server", "HOST:PORT", "Whom to ask (a site inside the program).", &fetches.server, NULL},
        {"count", "N", "How many fetches (12).", NULL, &fetches.count},
        {"limit", "N", "How many at once, 1 or more (3).", NULL, &fetches.limit},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "fetches twelve values, three at a time", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (fetches.limit == 0) {
        fprintf(stderr, "%s: --limit: at least 1\n", argv[0]);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is there, into a pipe as well */
    status = bnx_main_with(&options, run, &fetches);
    return status < 0 ? 1 : status;
}
