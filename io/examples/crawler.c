/* SPDX-License-Identifier: MIT */
/*
 * crawler: follows the links of a site from one page on, some pages at a time, each page once.
 *
 *     crawler                                              (a small site inside the program)
 *     crawler --server 127.0.0.1:8080 --start /index.html  (that server)
 *
 * Three tasks take pages from a common list, get them over connections that are kept, and append
 * the links that are new. A page that fails (no answer in time, a broken connection, a status of
 * 500 or more) is tried again, twice. Each page is printed when it is done, with its status, or 0
 * where there was no answer; a bar on stderr shows how far it is. After Ctrl-C what is under way is
 * cancelled, and the summary says how far it came.
 */
#include "io/examples/http_client.h"
#include "io/examples/http_site.h"
#include "io/examples/options.h"

#include <bonxie/bonxie.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES_MAX 256
#define TRIES_MAX 3
#define BACK_OFF_NS UINT64_C(20000000) /* before the second try; twice as long before the third */

struct crawl {
    struct bnx_http_pool pool;
    struct bnx_progress progress;
    uint64_t timeout_ns;
    struct bnx_mutex lock;
    struct bnx_cond changed;       /* a page was appended, or all are done */
    char (*paths)[PATH_BYTES_MAX]; /* all that were ever found, in that order; from here on all is
                                      under the lock */
    uint32_t found;                /* of them */
    uint32_t taken;                /* of these, by a task */
    uint32_t done;                 /* of these */
    uint32_t found_max;
    uint32_t retries;
    uint32_t failed; /* pages that had no good answer in the end */
};

/* One task's: what it gets, and for whom. */
struct visit {
    struct crawl *crawl;
    char path[PATH_BYTES_MAX];
    struct bnx_http_reply reply;
};

/* ---- The list ---- */

/* Under the lock. A page that is known, or one too many, is left out. */
static void append(struct crawl *crawl, const char *path, size_t path_bytes) {
    if (path_bytes == 0 || path_bytes >= PATH_BYTES_MAX || crawl->found == crawl->found_max) {
        return;
    }
    for (uint32_t i = 0; i < crawl->found; i++) {
        if (strlen(crawl->paths[i]) == path_bytes &&
            memcmp(crawl->paths[i], path, path_bytes) == 0) {
            return;
        }
    }
    memcpy(crawl->paths[crawl->found], path, path_bytes);
    crawl->paths[crawl->found][path_bytes] = '\0';
    crawl->found++;
    bnx_cond_signal(&crawl->changed);
}

/* The next page, waiting for one while others may find some. Returns 1; 0: all are done; < 0. */
static int take(struct crawl *crawl, char out_path[PATH_BYTES_MAX]) {
    int error = bnx_mutex_lock(&crawl->lock);
    if (error < 0) {
        return error;
    }
    while (error == 0 && crawl->taken == crawl->found && crawl->done < crawl->taken) {
        error = bnx_cond_wait(&crawl->changed, &crawl->lock); /* ends: all pages get done */
    }
    bool is_there = error == 0 && crawl->taken < crawl->found;
    if (is_there) {
        memcpy(out_path, crawl->paths[crawl->taken++], PATH_BYTES_MAX);
    }
    bnx_mutex_unlock(&crawl->lock);
    return error < 0 ? error : is_there;
}

/* Links of the site itself, without what is behind a '#'. Under the lock. */
static void append_links(struct crawl *crawl, const char *body) {
    static const char mark[] = "href=\"/";
    for (const char *at = strstr(body, mark); at != NULL; at = strstr(at, mark)) {
        at += sizeof(mark) - 2;
        if (at[1] != '/') { /* "//host/path" is another site's */
            append(crawl, at, strcspn(at, "\"# \t\r\n"));
        }
    }
}

static int finish(struct visit *visit, int status) {
    struct crawl *crawl = visit->crawl;
    int error = bnx_mutex_lock(&crawl->lock);
    if (error < 0) {
        return error;
    }
    if (status == 200) {
        append_links(crawl, visit->reply.body);
    }
    crawl->done++;
    crawl->failed += status == 0 || status >= 500;
    if (crawl->done == crawl->found) {
        bnx_cond_broadcast(&crawl->changed);
    }
    printf("%d %s\n", status, visit->path);
    bnx_mutex_unlock(&crawl->lock);
    bnx_progress_add(&crawl->progress, 1);
    return 0;
}

/* ---- The pages ---- */

static int get(void *arg) {
    struct visit *visit = arg;
    return bnx_http_get(&visit->crawl->pool, visit->path, &visit->reply);
}

static int count_retry(struct crawl *crawl) {
    int error = bnx_mutex_lock(&crawl->lock);
    if (error == 0) {
        crawl->retries++;
        bnx_mutex_unlock(&crawl->lock);
    }
    return error;
}

/* Returns the status, 0 for no answer, < 0 when cancelled. */
static int get_with_retries(struct visit *visit) {
    for (uint32_t try = 1;; try++) { /* ends: at most TRIES_MAX */
        int error = bnx_timeout(visit->crawl->timeout_ns, get, visit);
        if (bnx_checkpoint() < 0) {
            return bnx_checkpoint();
        }
        int status = error == 0 ? visit->reply.status : 0;
        if ((status != 0 && status < 500) || try == TRIES_MAX) {
            return status;
        }
        error = count_retry(visit->crawl);
        error = error == 0 ? bnx_sleep(BACK_OFF_NS * try) : error;
        if (error < 0) {
            return error;
        }
    }
}

static int crawl_task(void *arg) {
    struct visit *visit = malloc(sizeof(*visit));
    if (visit == NULL) {
        return -ENOMEM;
    }
    visit->crawl = arg;
    int result;
    while ((result = take(visit->crawl, visit->path)) > 0) { /* ends: with the pages */
        int status = get_with_retries(visit);
        result = status >= 0 ? finish(visit, status) : status;
        if (result < 0) {
            break;
        }
    }
    free(visit);
    return result;
}

/* ---- The program ---- */

struct arguments {
    const char *server; /* NULL: the own site */
    const char *start;
    uint32_t pages;
    uint32_t limit;
    uint32_t timeout_ms;
};

static int crawl_all(struct crawl *crawl, const struct arguments *arguments) {
    struct bnx_progress_options bar = {.label = "pages", .total = arguments->pages};
    struct bnx_scope scope;
    append(crawl, arguments->start, strlen(arguments->start)); /* nobody else is there yet */
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return error;
    }
    (void)bnx_progress_open(&crawl->progress, STDERR_FILENO, &bar);
    for (uint32_t i = 0; i < arguments->limit && error == 0; i++) {
        error = bnx_spawn(&scope, crawl_task, crawl);
    }
    int close_error = bnx_scope_close(&scope);
    bnx_progress_finish(&crawl->progress);
    fprintf(stderr, "%u of %u pages, %u failed, %u retries, %u connections\n", crawl->done,
            crawl->found, crawl->failed, crawl->retries, crawl->pool.connected);
    return close_error < 0 ? close_error : error; /* the first one, not the spawn's -ECANCELED */
}

static int crawl_server(const struct arguments *arguments, const char *server) {
    struct crawl crawl = {
        .timeout_ns = (uint64_t)arguments->timeout_ms * 1000000,
        .lock = BNX_MUTEX_INIT,
        .changed = BNX_COND_INIT,
        .found_max = arguments->pages,
        .paths = calloc(arguments->pages, PATH_BYTES_MAX),
    };
    if (crawl.paths == NULL) {
        return -ENOMEM;
    }
    bnx_http_pool_init(&crawl.pool, server);
    int error = crawl_all(&crawl, arguments);
    bnx_http_pool_fini(&crawl.pool);
    free(crawl.paths);
    return error;
}

static int run(void *arg) {
    const struct arguments *arguments = arg;
    static struct bnx_http_site site;
    struct bnx_scope scope;
    int error = bnx_scope_open(&scope, NULL);
    if (error < 0) {
        return 1;
    }
    if (arguments->server == NULL) {
        error = bnx_http_site_open(&site, &scope, arguments->pages);
    }
    if (error == 0) {
        error =
            crawl_server(arguments, arguments->server != NULL ? arguments->server : site.address);
    }
    if (arguments->server == NULL) {
        uint64_t most = __atomic_load_n(&site.in_flight_max, __ATOMIC_RELAXED); /* tasks write */
        fprintf(stderr, "the site had at most %u requests at once\n", (unsigned)most);
    }
    bnx_scope_cancel(&scope, 0); /* the site's tasks */
    (void)bnx_scope_close(&scope);
    if (error < 0 && error != -ECANCELED) {
        fprintf(stderr, "crawler: %s\n", strerror(-error));
        return 1;
    }
    return error;
}

int main(int argc, char **argv) {
    struct arguments arguments = {NULL, "/page/0", 31, 3, 1000};
    struct bnx_options options = {0};
    const struct bnx_flag flags[] = {
        {"server", "HOST:PORT", "Whose pages (a site inside the program).", &arguments.server,
         NULL},
        {"start", "PATH", "The page to begin with (/page/0).", &arguments.start, NULL},
        {"pages", "N", "How many pages at most, 1 to 1000 (31).", NULL, &arguments.pages},
        {"limit", "N", "How many at once, 1 to 16 (3).", NULL, &arguments.limit},
        {"timeout", "MS", "How long to wait for a page (1000).", NULL, &arguments.timeout_ms},
        {"workers", "N", "Worker threads; 0: one per CPU (0).", NULL, &options.worker_count},
        {NULL, NULL, NULL, NULL, NULL},
    };
    int status = bnx_flags_parse(argc, argv, "follows the links of a site", flags);
    if (status != 0) {
        return status > 0 ? 0 : 2;
    }
    if (arguments.pages < 1 || arguments.pages > BNX_HTTP_SITE_PAGES_MAX || arguments.limit < 1 ||
        arguments.limit > BNX_HTTP_IDLE_MAX) {
        fprintf(stderr, "%s: out of range; see --help\n", argv[0]);
        return 2;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* each line when it is there, into a pipe as well */
    status = bnx_main_with(&options, run, &arguments);
    return status < 0 ? 1 : status;
}
