/* SPDX-License-Identifier: MIT */
/*
 * get_status: ten requests at once, a task each; each prints its status and its number when it has
 * its answer. Those that answer first are printed first.
 *
 *     get_status                             (from a small site inside the program)
 *     get_status --server example.org:http   (from that server)
 */
#include "io/examples/http_client.h"
#include "io/examples/http_site.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 10

struct request {
    struct bnx_http_pool *pool;
    int id;
};

static int get_one(void *arg) {
    const struct request *request = arg;
    char path[32];
    struct bnx_http_reply *reply = malloc(sizeof(*reply));
    if (reply == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(path, sizeof(path), "/get?a=%d", request->id);
    int error = bnx_http_get(request->pool, path, reply);
    if (error == 0) {
        printf("%d %d\n", reply->status, request->id);
    }
    free(reply);
    return error;
}

static int get_all(struct bnx_http_pool *pool) {
    struct request requests[REQUESTS];
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    for (int id = 0; id < REQUESTS && error == 0; id++) {
        requests[id] = (struct request){pool, id};
        error = bnx_spawn(&scope, get_one, &requests[id]);
    }
    /* The first error cancels the others, and a spawn that comes later says so. */
    int close_error = bnx_scope_close(&scope);
    return close_error < 0 ? close_error : error;
}

static int run(void *arg) {
    const char *server = arg;
    static struct bnx_http_site site;
    struct bnx_http_pool pool;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return 1;
    }
    if (server == NULL) {
        error = bnx_http_site_open(&site, &scope, 0);
        server = site.address;
    }
    if (error == 0) {
        bnx_http_pool_init(&pool, server);
        error = get_all(&pool);
        bnx_http_pool_fini(&pool);
    }
    bnx_scope_cancel(&scope, 0); /* the site's tasks */
    (void)bnx_scope_close(&scope);
    if (error < 0 && error != -ECANCELED) {
        fprintf(stderr, "get_status: %s: %s\n", server != NULL ? server : "no site",
                strerror(-error));
        return 1;
    }
    return error;
}

int main(int argc, char **argv) {
    const char *server = NULL;
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"server", "HOST:PORT", "Whom to ask (a site inside the program).", &server, NULL},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "gets ten pages at once", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is there, into a pipe as well */
    status = bnx_main_with(&options, run, (void *)(uintptr_t)server);
    return status < 0 ? 1 : status;
}
