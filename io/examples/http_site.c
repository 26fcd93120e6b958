/* SPDX-License-Identifier: MIT */
/* The web site of the examples (http_site.h): a task per connection, requests one after another. */
#include "io/examples/http_site.h"

#include "io/examples/http1.h"

#include <bonxie/file.h>
#include <bonxie/time.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_NS UINT64_C(4000000) /* times 1 to 7, by what is asked for */
#define FOREVER_NS UINT64_C(3600000000000)
#define ANSWER_BYTES_MAX 1024
#define SILENCE 0 /* in place of a status */

struct connection {
    struct bnx_http_site *site;
    int fd;
};

static int page_write(char *out, size_t room, const struct bnx_http_site *site, uint32_t number) {
    uint32_t linked[] = {2 * number + 1, 2 * number + 2, number / 2, 0};
    int bytes = snprintf(out, room, "<h1>%u</h1>", number);
    for (size_t i = 0; i < sizeof(linked) / sizeof(linked[0]); i++) {
        if (linked[i] < site->page_count) {
            bytes += snprintf(out + bytes, room - (size_t)bytes, "<a href=\"/page/%u\">%u</a>",
                              linked[i], linked[i]);
        }
    }
    return bytes;
}

/* What a page does when it is asked for the first time. */
static int page_status(struct bnx_http_site *site, uint32_t number) {
    if (__atomic_fetch_add(&site->asked[number], 1, __ATOMIC_RELAXED) == 0) {
        if (number % 9 == 4) {
            return SILENCE;
        }
        if (number % 5 == 2) {
            return 503;
        }
    }
    __atomic_fetch_add(&site->answered[number], 1, __ATOMIC_RELAXED);
    return 200;
}

/* Finds what is asked for and waits a while. Returns the status, SILENCE, or < 0: the end. */
static int answer(struct bnx_http_site *site, const char *target, char *body, size_t room,
                  int *out_bytes) {
    unsigned number = 0;
    bool is_page = sscanf(target, "/page/%u", &number) == 1 && number < site->page_count;
    *out_bytes = 0;
    if (!is_page && sscanf(target, "/get?a=%u", &number) != 1) {
        return 404;
    }
    int error = bnx_sleep(DELAY_NS * (1 + number * 5 % 7));
    if (error < 0) {
        return error;
    }
    if (!is_page) {
        *out_bytes = snprintf(body, room, "{\"args\": {\"a\": \"%u\"}}\n", number);
        return 200;
    }
    int status = page_status(site, number);
    if (status == 200) {
        *out_bytes = page_write(body, room, site, number);
    }
    return status;
}

static void count_one_more(struct bnx_http_site *site) {
    uint64_t now = __atomic_add_fetch(&site->in_flight, 1, __ATOMIC_RELAXED);
    uint64_t most = __atomic_load_n(&site->in_flight_max, __ATOMIC_RELAXED);
    while (now > most && !__atomic_compare_exchange_n(&site->in_flight_max, &most, now, false,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    } /* ends: most grows with each failure */
}

static int send_answer(int fd, int status, const char *body, int body_bytes) {
    char head[BNX_HTTP1_RESPONSE_HEAD_MAX];
    struct bnx_http1_response response = {.status = (unsigned)status,
                                          .content_bytes = (uint64_t)body_bytes};
    size_t head_bytes = bnx_http1_response_write(head, sizeof(head), &response);
    ssize_t sent = bnx_send_all(fd, head, head_bytes);
    if (sent == (ssize_t)head_bytes && body_bytes > 0) {
        sent = bnx_send_all(fd, body, (size_t)body_bytes);
    }
    return sent < 0 ? (int)sent : 0;
}

/* One request whose head lies at the start of data. */
static int serve_request(struct connection *connection, const struct bnx_http1_request *request,
                         const char *data) {
    char target[64];
    char body[ANSWER_BYTES_MAX];
    int body_bytes;
    (void)snprintf(target, sizeof(target), "%.*s", (int)request->target_bytes,
                   data + request->target_at);
    count_one_more(connection->site);
    int status = answer(connection->site, target, body, sizeof(body), &body_bytes);
    __atomic_sub_fetch(&connection->site->in_flight, 1, __ATOMIC_RELAXED);
    if (status == SILENCE) { /* whoever asked gives up, and closes; the scope ends this */
        status = bnx_sleep(FOREVER_NS);
    }
    return status < 0 ? status : send_answer(connection->fd, status, body, body_bytes);
}

static int connection_task(void *arg) {
    struct connection connection = *(struct connection *)arg;
    char data[BNX_HTTP1_HEAD_BYTES_MAX];
    size_t bytes = 0;
    struct bnx_http1_request request;
    bnx_http1_request_init(&request, 0);
    for (;;) { /* ends with the connection or the scope */
        int head_bytes = bytes > 0 ? bnx_http1_head_parse(&request, data, bytes) : 0;
        if (head_bytes == 0) {
            ssize_t got = bnx_recv(connection.fd, data + bytes, sizeof(data) - bytes, 0);
            if (got <= 0) {
                break;
            }
            bytes += (size_t)got;
            continue;
        }
        if (head_bytes < 0 || serve_request(&connection, &request, data) < 0) {
            break;
        }
        bytes -= (size_t)head_bytes;
        memmove(data, data + head_bytes, bytes);
        bnx_http1_request_init(&request, 0);
    }
    bnx_close(connection.fd);
    return 0;
}

static int accept_task(void *arg) {
    struct bnx_http_site *site = arg;
    for (;;) { /* ends with the scope */
        int fd = bnx_accept(site->listener, NULL);
        if (fd < 0) {
            bnx_close(site->listener);
            return fd == -ECANCELED ? 0 : fd;
        }
        struct connection connection = {site, fd};
        if (bnx_spawn_copy(site->scope, connection_task, &connection, sizeof(connection)) < 0) {
            bnx_close(fd);
        }
    }
}

int bnx_http_site_open(struct bnx_http_site *site, struct bnx_scope *scope, uint32_t page_count) {
    struct bnx_address address;
    memset(site, 0, sizeof(*site));
    if (page_count > BNX_HTTP_SITE_PAGES_MAX) {
        return -EINVAL;
    }
    site->page_count = page_count;
    site->scope = scope;
    site->listener = bnx_listen("127.0.0.1:0", NULL);
    if (site->listener < 0) {
        return site->listener;
    }
    int error = bnx_address_local(site->listener, &address);
    if (error == 0) {
        error = bnx_address_format(&address, site->address, sizeof(site->address));
    }
    if (error >= 0) {
        error = bnx_spawn(scope, accept_task, site);
    }
    if (error < 0) {
        bnx_close(site->listener);
    }
    return error;
}
